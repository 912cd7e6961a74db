//! A model that follows a script, spoken to over real HTTP by the interfaces of all providers. What it
//! asks for is decided by the message, and how far it has come by the results that it is shown.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What it does when a message has this word in it: one call after another, then an answer.
pub(crate) struct Play {
    pub(crate) word: &'static str,
    pub(crate) calls: Vec<(&'static str, Value)>,
}

/// An answer that is none.
pub(crate) type Fault = (u16, &'static [(&'static str, &'static str)], &'static str);

#[derive(Default)]
pub(crate) struct Scripted {
    plays: Vec<Play>,
    faults: Mutex<VecDeque<Fault>>,
    /// What it was asked: path, credential, body.
    asked: Mutex<Vec<(String, String, Value)>>,
}

pub(crate) struct ModelServer {
    pub(crate) url: String,
    scripted: Arc<Scripted>,
}

impl ModelServer {
    pub(crate) async fn new(plays: Vec<Play>) -> Self {
        let scripted = Arc::new(Scripted { plays, ..Scripted::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&scripted));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, scripted }
    }

    /// Answers so the next time, and as it should from then on.
    pub(crate) fn fault(&self, fault: Fault) {
        self.scripted.faults.lock().unwrap().push_back(fault);
    }

    /// What it was asked since this was asked last.
    pub(crate) fn asked(&self) -> Vec<(String, String, Value)> {
        std::mem::take(&mut *self.scripted.asked.lock().unwrap())
    }
}

/// What a model says in one turn.
enum Said {
    /// The call's own name, the tool's, and with what.
    Calls(String, String, Value),
    Text(String),
}

async fn answer(
    State(scripted): State<Arc<Scripted>>,
    (uri, headers): (Uri, HeaderMap),
    Json(body): Json<Value>,
) -> Response {
    let credential = ["x-api-key", "authorization"].iter().find_map(|name| headers.get(*name));
    let credential = credential.unwrap().to_str().unwrap().to_owned();
    scripted.asked.lock().unwrap().push((uri.path().to_owned(), credential, body.clone()));
    if let Some((status, headers, text)) = scripted.faults.lock().unwrap().pop_front() {
        let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        return response;
    }
    match uri.path() {
        "/v1/messages" => messages(scripted.said(&body, "/messages", "tool_result"), &body),
        "/v1/responses" => responses(scripted.said(&body, "/input", "function_call_output")),
        "/v1/chat/completions" => chat(scripted.said(&body, "/messages", "tool")),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Scripted {
    /// What comes next in a conversation whose results are marked by this word.
    fn said(&self, body: &Value, conversation: &str, mark: &str) -> Said {
        let conversation = body.pointer(conversation).cloned().unwrap_or_default();
        let mut results = Vec::new();
        gather(&conversation, mark, &mut results);
        let text = conversation.to_string();
        let Some(play) = self.plays.iter().find(|play| text.contains(play.word)) else {
            return Said::Text("What is it about?".to_owned());
        };
        let names = body["tools"].as_array().into_iter().flatten();
        let mut names =
            names.map(|tool| tool.get("function").unwrap_or(tool)["name"].as_str().unwrap());
        // A host puts its own name for the gateway before the tool's.
        let mut whole = |tool: &str| {
            names
                .find(|name| *name == tool || name.ends_with(&format!("__{tool}")))
                .map(str::to_owned)
        };
        match play.calls.get(results.len()) {
            Some((tool, arguments)) => match whole(tool) {
                Some(name) => {
                    Said::Calls(format!("call_{}", results.len()), name, arguments.clone())
                }
                None => Said::Text(format!("{tool} is not offered")),
            },
            None => Said::Text(format!("I was told: {}", results.last().unwrap())),
        }
    }
}

/// The results in a conversation, in order.
fn gather(value: &Value, mark: &str, results: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if ["type", "role"].iter().any(|key| members.get(*key) == Some(&json!(mark))) {
                let told = members.get("content").or_else(|| members.get("output")).unwrap();
                let mut text = String::new();
                texts(told, &mut text);
                results.push(text);
            } else {
                members.values().for_each(|member| gather(member, mark, results));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, mark, results)),
        _ => {}
    }
}

fn texts(value: &Value, text: &mut String) {
    match value {
        Value::String(part) => text.push_str(part),
        Value::Array(items) => items.iter().for_each(|item| texts(item, text)),
        Value::Object(members) => {
            members.get("text").into_iter().for_each(|part| texts(part, text));
        }
        _ => {}
    }
}

fn messages(said: Said, asked: &Value) -> Response {
    let (content, reason) = match said {
        Said::Calls(id, name, input) => {
            (json!({ "type": "tool_use", "id": id, "name": name, "input": input }), "tool_use")
        }
        Said::Text(text) => (json!({ "type": "text", "text": text }), "end_turn"),
    };
    let usage = json!({ "input_tokens": 10, "output_tokens": 2 });
    let mut message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
        "content": [content], "stop_reason": reason, "stop_sequence": null, "usage": usage,
    });
    if asked["stream"] != true {
        return Json(message).into_response();
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let (mut begun, delta) = (
        content.clone(),
        match content["type"] == "text" {
            true => json!({ "type": "text_delta", "text": content["text"] }),
            false => {
                json!({ "type": "input_json_delta", "partial_json": content["input"].to_string() })
            }
        },
    );
    for (name, nothing) in [("text", json!("")), ("input", json!({}))] {
        if let Some(member) = begun.get_mut(name) {
            *member = nothing;
        }
    }
    let events = [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": begun }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null }, "usage": { "output_tokens": 2 } }),
        json!({ "type": "message_stop" }),
    ];
    let events = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
    let body = Body::from(events.collect::<String>());
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn responses(said: Said) -> Response {
    let item = match said {
        Said::Calls(id, name, arguments) => json!({
            "type": "function_call", "id": "fc_1", "call_id": id, "name": name,
            "arguments": arguments.to_string(), "status": "completed",
        }),
        Said::Text(text) => json!({
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }),
    };
    // A model that thinks says so first, and would be refused if that came back without being stored.
    let thought = json!({ "type": "reasoning", "id": "rs_1", "summary": [] });
    Json(json!({
        "id": "resp_1", "object": "response", "created_at": 0, "model": "scripted",
        "status": "completed", "output": [thought, item], "parallel_tool_calls": true,
        "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": 10, "output_tokens": 2, "total_tokens": 12,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens_details": { "reasoning_tokens": 0 },
        },
    }))
    .into_response()
}

fn chat(said: Said) -> Response {
    let (message, reason) = match said {
        Said::Calls(id, name, arguments) => (
            json!({ "role": "assistant", "content": null, "tool_calls": [{
                "id": id, "type": "function",
                "function": { "name": name, "arguments": arguments.to_string() },
            }] }),
            "tool_calls",
        ),
        Said::Text(text) => (json!({ "role": "assistant", "content": text }), "stop"),
    };
    Json(json!({
        "id": "chatcmpl_1", "object": "chat.completion", "created": 0, "model": "scripted",
        "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 },
    }))
    .into_response()
}
