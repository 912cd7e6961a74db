//! The HTTP API: `GET /v1/tools`, `POST /v1/calls`. Refusals and faults are answers, with status
//! 200 like every answer of the pipeline; 401 and 403 are for tokens alone.

use super::{Doors, Known, annotations, told, waiting::Waiting};
use crate::resource::{Error, step_up};
use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use countersign_core::args;
use countersign_core::call::{Answer, Listed};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Whose notation a list of tools is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// MCP's `tools/list`.
    #[default]
    Mcp,
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's Chat Completions API.
    OpenAi,
}

/// The query of `GET /v1/tools`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    #[serde(default)]
    format: Format,
}

/// `GET /v1/tools?format=mcp|anthropic|openai`
pub(crate) async fn tools(
    Extension(known): Extension<Known>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(ListQuery { format })) = query else {
        let why = "The query may have `format`, which is `mcp`, `anthropic` or `openai`.";
        return problem(StatusCode::BAD_REQUEST, "malformed_request", why);
    };
    let tools: Vec<Value> =
        known.tools().into_iter().map(|listed| in_format(format, listed)).collect();
    ([("cache-control", "private, no-store")], Json(json!({ "tools": tools }))).into_response()
}

fn in_format(format: Format, listed: Listed) -> Value {
    let (read_only, destructive) = annotations(&listed);
    let Listed { name, description, input, .. } = listed;
    let name = name.as_str();
    match format {
        Format::Mcp => json!({
            "name": name,
            "description": description,
            "inputSchema": input,
            "annotations": {
                "readOnlyHint": read_only, "destructiveHint": destructive, "openWorldHint": false,
            },
        }),
        Format::Anthropic => {
            json!({ "name": name, "description": description, "input_schema": input })
        }
        Format::OpenAi => json!({
            "type": "function",
            "function": { "name": name, "description": description, "parameters": input },
        }),
    }
}

/// `POST /v1/calls` with `{"tool": …, "arguments": {…}}`
pub(crate) async fn calls(
    State(doors): State<Doors>,
    Extension(known): Extension<Known>,
    body: axum::body::Bytes,
) -> Response {
    let (tool, arguments) = match proposed(&body) {
        Ok(proposed) => proposed,
        Err(why) => return problem(StatusCode::BAD_REQUEST, "malformed_request", &why),
    };
    // Dropped with the request, if its client goes away.
    let here = CancellationToken::new();
    let _gone = here.clone().drop_guard();
    let waiting = Arc::new(Waiting::until(here));
    match doors.call_for(known, (tool, arguments), None, Some(waiting)).await {
        Some(answer) => {
            let lacking = match &answer {
                Answer::Refused(refused) => refused.refusal().lacking_scope().map(str::to_owned),
                Answer::Completed(_) | Answer::Faulted(_) => None,
            };
            let response = Json(written(answer)).into_response();
            match lacking {
                Some(scope) => {
                    let error = Error::InsufficientScope(&scope);
                    step_up(response, doors.resource.challenge("/v1/calls", Some(&error)))
                }
                None => response,
            }
        }
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The call was lost."),
    }
}

fn proposed(body: &[u8]) -> Result<(String, Value), String> {
    let malformed =
        |why: &str| format!("The body must be {{\"tool\": …, \"arguments\": {{…}}}}: {why}.");
    let value = args::parse(body).map_err(|error| malformed(&error.to_string()))?;
    let Value::Object(mut members) = value else { return Err(malformed("it is not an object")) };
    let tool = members.remove("tool");
    let arguments = members.remove("arguments").unwrap_or(Value::Null);
    match (tool, members.keys().next()) {
        (Some(Value::String(tool)), None) => Ok((tool, arguments)),
        (Some(Value::String(_)), Some(_)) => Err(malformed("it has another member")),
        (_, _) => Err(malformed("`tool` is not a string")),
    }
}

fn written(answer: Answer) -> Value {
    let call = answer.call().as_str().to_owned();
    let (status, public) = match answer {
        Answer::Completed(completed) => {
            let receipt = completed.receipt();
            let record = json!({ "stream": &*receipt.stream, "seq": receipt.sequence });
            return json!({
                "call": call,
                "status": "completed",
                "is_error": false,
                "record": record,
                "result": completed.into_value(),
            });
        }
        Answer::Refused(refused) => ("refused", refused.public()),
        Answer::Faulted(faulted) => ("faulted", faulted.public()),
    };
    json!({ "call": call, "status": status, "is_error": true, "error": told(&public, &call) })
}

/// An answer to what never became a call.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}
