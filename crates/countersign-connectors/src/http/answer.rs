//! An answer made into rows, within bounds.

use crate::gather::Gathered;
use countersign_core::args::parse_answer;
use countersign_core::port::Report;
use countersign_core::tool::{HttpPlan, ResultBounds};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};

/// The one column of a row that is no object.
const VALUE: &str = "value";

/// Why a body was not read to its end.
pub(super) enum Cut {
    /// It is longer than it may be.
    Long(String),
    /// It broke off.
    Broken(reqwest::Error),
}

/// The answer says that it is JSON, in UTF-8 (RFC 8259 §8.1).
pub(crate) fn check_type(headers: &HeaderMap) -> Result<(), String> {
    let written = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut parts = written.unwrap_or_default().split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json =
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    let foreign = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.eq_ignore_ascii_case("charset")
            && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    if !json || parts.any(foreign) {
        return Err("the answer does not say that it is JSON in UTF-8".to_owned());
    }
    Ok(())
}

/// The whole body, piece by piece. JSON cannot be cut, so one that is too long is no answer.
pub(super) async fn body(mut response: Response, bounds: ResultBounds) -> Result<Vec<u8>, Cut> {
    let most = usize::try_from(bounds.bytes_max).unwrap_or(usize::MAX);
    let long = || {
        let what = "the answer is longer than the system's `bytes`";
        Cut::Long(format!("{what}, {most}: ask for less of it, or let more come back"))
    };
    if response.content_length().is_some_and(|length| length > bounds.bytes_max.into()) {
        return Err(long());
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(Cut::Broken)? {
        if body.len() + piece.len() > most {
            return Err(long());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// As much of a body as there is, up to `most` bytes.
pub(crate) async fn beginning(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    // What breaks off is shown as far as it came.
    while body.len() < most
        && let Ok(Some(piece)) = response.chunk().await
    {
        body.extend(piece.iter().take(most - body.len()));
    }
    body
}

/// The body's JSON, read as strictly as what agents send.
pub(super) fn value(body: &[u8]) -> Result<Value, String> {
    parse_answer(body)
        .map_err(|error| format!("the answer is no JSON that everybody reads alike: {error}"))
}

/// The rows: the elements of an array, or else the one value; what is no object becomes one.
pub(super) fn report(answer: Value, plan: &HttpPlan) -> Result<Report, String> {
    rows(answer, (&plan.result, &plan.pick), plan.bounds)
}

/// The rows at a place of an answer, and of each what is picked.
pub(crate) fn rows(
    mut answer: Value,
    (at, pick): (&str, &[(String, String)]),
    bounds: ResultBounds,
) -> Result<Report, String> {
    let found = answer.pointer_mut(at).map(Value::take);
    let found = found.ok_or_else(|| format!("the answer has nothing at `{at}`"))?;
    let found = match found {
        Value::Array(items) => items,
        one => vec![one],
    };
    let mut rows = Gathered::within(bounds);
    for item in found {
        if !rows.has_room() || !rows.keep(row(item, pick)) {
            break;
        }
    }
    Ok(rows.report())
}

fn row(item: Value, pick: &[(String, String)]) -> Map<String, Value> {
    if !pick.is_empty() {
        let column = |at: &str| item.pointer(at).cloned().unwrap_or_default();
        return pick.iter().map(|(name, at)| (name.clone(), column(at))).collect();
    }
    match item {
        Value::Object(members) => members,
        other => Map::from_iter([(VALUE.to_owned(), other)]),
    }
}
