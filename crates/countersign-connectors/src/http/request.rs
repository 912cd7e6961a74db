//! A plan and its arguments made into one request. Every argument stays in its place: it is encoded
//! for it, and what no encoding can keep there is refused.

use super::origin::Origin;
use countersign_core::tool::{HttpPlan, Method, Parameter, Piece, ResourceUri, Template, UriPart};
use reqwest::Request;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Longest URL that is sent, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;
/// Longest value of a header, in bytes.
const HEADER_BYTES_MAX: usize = 4 * 1024;
/// How often an argument of a path is decoded to see what another might make of it.
const DECODINGS_MAX: usize = 4;

type Arguments = Map<String, Value>;

/// The request, without credentials; or, for the journal, why there is none.
pub(super) fn build(
    origin: &Origin,
    plan: &HttpPlan,
    arguments: &Arguments,
) -> Result<Request, String> {
    let (path, query) = (path(&plan.path, arguments)?, query(&plan.query, arguments)?);
    let url = origin.at(&path, query.as_deref());
    let url = url.ok_or("the URL would be read otherwise than it is meant")?;
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(format!("the URL would be longer than {URL_BYTES_MAX} bytes"));
    }
    let mut request = Request::new(method(plan.method), url);
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, piece) in &plan.headers {
        let Some(text) = text(piece, arguments)? else { continue };
        let name = HeaderName::try_from(name).map_err(|_odd| "a header's name cannot be sent")?;
        headers.insert(name, header_value(&text)?);
    }
    if let Some(template) = &plan.body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = fill(template, arguments)?.ok_or("the body's argument was left out")?;
        *request.body_mut() = Some(body.to_string().into());
    }
    Ok(request)
}

const fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

fn path(pieces: &[Piece], arguments: &Arguments) -> Result<String, String> {
    let mut path = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        let last = index.saturating_add(1) == pieces.len();
        let text = text(piece, arguments)?.ok_or("an argument of the path was left out")?;
        match piece {
            Piece::Literal(_) if text.is_empty() && last => {}
            Piece::Literal(_) | Piece::Argument(_) => check_segment(&text)?,
        }
        let kept: &[u8] = match piece {
            Piece::Literal(_) => LITERAL,
            Piece::Argument(_) => &[],
        };
        path.push('/');
        encode(&mut path, &text, kept);
    }
    Ok(path)
}

/// A text that is one segment, and stays one for a system that decodes it once more than it should.
fn check_segment(text: &str) -> Result<(), String> {
    let mut seen = text.as_bytes().to_vec();
    for _ in 0..DECODINGS_MAX {
        // Many systems decode `%2F` before they look for what is meant.
        let odd = |&byte: &u8| matches!(byte, b'/' | b'\\' | b';') || byte.is_ascii_control();
        if seen.iter().any(odd) || matches!(seen.as_slice(), b"" | b"." | b"..") {
            return Err("an argument of the path would lead elsewhere".to_owned());
        }
        let decoded = decode(&seen);
        if decoded == seen {
            return Ok(());
        }
        seen = decoded;
    }
    Err("an argument of the path is encoded too often".to_owned())
}

/// Percent-decoding (RFC 3986 §2.1), as a careless reader does it: what is no escape stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let byte = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        decoded.push(byte.unwrap_or(first));
        rest = byte.and_then(|_| after.get(2..)).unwrap_or(after);
    }
    decoded
}

fn query(pairs: &[(String, Piece)], arguments: &Arguments) -> Result<Option<String>, String> {
    let mut query = String::new();
    for (name, piece) in pairs {
        let Some(text) = text(piece, arguments)? else { continue };
        if !query.is_empty() {
            query.push('&');
        }
        encode(&mut query, name, &[]);
        query.push('=');
        encode(&mut query, &text, &[]);
    }
    Ok((!query.is_empty()).then_some(query))
}

/// What an author's segment may hold beside unreserved characters (RFC 3986 §3.3), as it is.
const LITERAL: &[u8] = b":@!$&'()*+,;=";

/// Everything but unreserved characters (RFC 3986 §2.3) and `kept` as escapes.
fn encode(into: &mut String, text: &str, kept: &[u8]) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            byte if kept.contains(&byte) => into.push(char::from(byte)),
            other => {
                // Writing to a text cannot fail.
                let _written = write!(into, "%{other:02X}");
            }
        }
    }
}

/// The URI of a resource, with its arguments encoded for their places (RFC 6570 §3.2.2).
pub(crate) fn uri(uri: &ResourceUri, arguments: &Arguments) -> Result<String, String> {
    let mut written = String::new();
    for part in &uri.0 {
        match part {
            UriPart::Text(text) => written.push_str(text),
            UriPart::Argument(name) => {
                let value = arguments.get(name).and_then(Value::as_str);
                let value = value.ok_or("an argument of the URI was left out")?;
                check_segment(value)?;
                encode(&mut written, value, &[]);
            }
        }
    }
    if written.len() > URL_BYTES_MAX {
        return Err(format!("the URI would be longer than {URL_BYTES_MAX} bytes"));
    }
    Ok(written)
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    let fits = text.len() <= HEADER_BYTES_MAX
        && text.trim() == text
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    let value = fits.then(|| HeaderValue::from_str(text).ok()).flatten();
    value.ok_or_else(|| "a header's value would be more than visible ASCII".to_owned())
}

/// The text of one place; `None` if its argument was left out.
pub(crate) fn text(piece: &Piece, arguments: &Arguments) -> Result<Option<String>, String> {
    let parameter = match piece {
        Piece::Literal(text) => return Ok(Some(text.clone())),
        Piece::Argument(parameter) => parameter,
    };
    Ok(match given(parameter, arguments)? {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Bool(truth)) => Some(truth.to_string()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
            let name = &parameter.name;
            return Err(format!("the argument `{name}` is nothing that stands outside the body"));
        }
    })
}

fn given<'a>(parameter: &Parameter, arguments: &'a Arguments) -> Result<Option<&'a Value>, String> {
    match arguments.get(&parameter.name) {
        None if !parameter.optional => Err(format!("there is no argument `{}`", parameter.name)),
        found => Ok(found),
    }
}

pub(crate) fn fill(template: &Template, arguments: &Arguments) -> Result<Option<Value>, String> {
    Ok(Some(match template {
        Template::Literal(value) => value.clone(),
        Template::Argument(parameter) => return Ok(given(parameter, arguments)?.cloned()),
        Template::Array(items) => {
            // What is left out is null: its neighbours stay where they are.
            let items = items.iter().map(|item| Ok(fill(item, arguments)?.unwrap_or_default()));
            Value::Array(items.collect::<Result<_, String>>()?)
        }
        Template::Object(members) => {
            let members = members.iter().filter_map(|(name, member)| {
                let filled = fill(member, arguments).transpose()?;
                Some(filled.map(|value| (name.clone(), value)))
            });
            Value::Object(members.collect::<Result<_, _>>()?)
        }
    }))
}
