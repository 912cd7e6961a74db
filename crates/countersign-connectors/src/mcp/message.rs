//! JSON-RPC 2.0 as MCP uses it: what is sent, and what a server says, read strictly.

use crate::secrets::Secrets;
use countersign_core::args::parse_answer;
use serde_json::{Map, Value, json};

/// Of the era without a handshake.
pub(super) const MODERN: &str = "2026-07-28";
/// Of the era with one, the newest first.
pub(super) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// A server says so of a version that it does not speak (2026-07-28, basic/versioning).
const UNSUPPORTED_VERSION: i64 = -32022;
/// Errors that only servers of the modern era know: header mismatch, missing capability, version.
const MODERN_ERRORS: std::ops::RangeInclusive<i64> = UNSUPPORTED_VERSION..=-32020;
/// Method not found (JSON-RPC 2.0 §5.1).
const METHOD_NOT_FOUND: i64 = -32601;

/// Longest id of a server's own request, in bytes.
const ID_BYTES_MAX: usize = 256;

/// What a server says in one message.
#[derive(Debug)]
pub(super) enum Message {
    /// An answer to the request of this number.
    Answer(u64, Result<Map<String, Value>, RpcError>),
    /// An error that is no request's in particular.
    Error(RpcError),
    /// A request of its own: its id, and for what it asks.
    Request(Value, String),
    /// Something that it tells: the method, and how far the request of a number is, if that is it.
    Notification(String, Option<Progress>),
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Progress {
    pub(super) of: u64,
    pub(super) done: f64,
    pub(super) total: Option<f64>,
}

/// What a server says beside the numbers is not passed on: nobody would have screened it.
fn progress(method: &str, params: Option<&Value>) -> Option<Progress> {
    let params = params.filter(|_| method == "notifications/progress")?;
    let number = |name: &str| params.get(name).and_then(Value::as_f64);
    let of = params.get("progressToken").and_then(Value::as_u64)?;
    Some(Progress { of, done: number("progress")?, total: number("total") })
}

/// An error of JSON-RPC.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    data: Value,
}

impl RpcError {
    /// Whether only a server of the modern era says this.
    pub(super) fn is_modern(&self) -> bool {
        MODERN_ERRORS.contains(&self.code)
    }

    /// Whether it says that the request was none that it takes, so that nothing came of it. That
    /// arguments do not fit (−32602) is what a tool may say half-way, too.
    pub(super) fn is_of_request(&self) -> bool {
        self.is_modern() || matches!(self.code, -32700 | -32601 | -32600)
    }

    /// Whether it says that it does not know the method.
    pub(super) const fn is_unknown_method(&self) -> bool {
        self.code == METHOD_NOT_FOUND
    }

    /// Without what the system is authorised by.
    pub(super) fn without(self, secrets: &Secrets) -> Self {
        Self { message: secrets.blot(&self.message), ..self }
    }

    /// The versions that it says it speaks instead.
    pub(super) fn supported(&self) -> Vec<&str> {
        let supported = self.data.get("supported").filter(|_| self.code == UNSUPPORTED_VERSION);
        let supported = supported.and_then(Value::as_array).into_iter().flatten();
        supported.filter_map(Value::as_str).collect()
    }
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it, without its text.
pub(super) fn read(text: &[u8]) -> Result<Message, String> {
    let value = parse_answer(text).map_err(|error| {
        format!("the server's message is no JSON that everybody reads alike: {error}")
    })?;
    let odd = || "the server's message is none of JSON-RPC 2.0".to_owned();
    let Value::Object(mut members) = value else { return Err(odd()) };
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(odd());
    }
    let id = members.remove("id").filter(|id| !id.is_null());
    if let Some(method) = members.remove("method") {
        let method = method.as_str().ok_or_else(odd)?.to_owned();
        return match id {
            // It is said back: a number, or a short text.
            Some(id)
                if id.is_number() || id.as_str().is_some_and(|id| id.len() <= ID_BYTES_MAX) =>
            {
                Ok(Message::Request(id, method))
            }
            Some(_) => Err(odd()),
            None => {
                let progress = progress(&method, members.get("params"));
                Ok(Message::Notification(method, progress))
            }
        };
    }
    let outcome = match (members.remove("result"), members.remove("error")) {
        (Some(Value::Object(result)), None) => Ok(result),
        (None, Some(Value::Object(error))) => Err(RpcError {
            code: error.get("code").and_then(Value::as_i64).ok_or_else(odd)?,
            message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            data: error.get("data").cloned().unwrap_or_default(),
        }),
        _ => return Err(odd()),
    };
    match (id, outcome) {
        (Some(id), outcome) => Ok(Message::Answer(id.as_u64().ok_or_else(odd)?, outcome)),
        (None, Err(error)) => Ok(Message::Error(error)),
        (None, Ok(_)) => Err(odd()),
    }
}

/// What a request says of itself where there is no handshake (2026-07-28, basic, `_meta`). It names no
/// caller: nothing in it is for a server to decide by.
pub(super) fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": client_info(),
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

pub(super) fn client_info() -> Value {
    json!({ "name": "countersign", "version": env!("CARGO_PKG_VERSION") })
}

pub(super) fn request(id: u64, method: &str, params: Map<String, Value>) -> Vec<u8> {
    written(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
}

pub(super) fn notification(method: &str, params: Value) -> Vec<u8> {
    written(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
}

/// A method, to be told of.
pub(super) fn named(method: &str) -> String {
    format!("`{}`", method.chars().take(100).collect::<String>())
}

/// The answer to whatever a server asks of its client. It may ask whether anybody is there.
pub(super) fn refusal(id: &Value, method: &str) -> Vec<u8> {
    written(&match method {
        "ping" => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
        _ => {
            let message = "nothing is asked of this client: it is a gateway";
            let error = json!({ "code": METHOD_NOT_FOUND, "message": message });
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    })
}

fn written(message: &Value) -> Vec<u8> {
    message.to_string().into_bytes()
}

/// Whether a notification says that what a server defines has changed.
pub(super) fn says_changed(method: &str) -> bool {
    method.starts_with("notifications/") && method.ends_with("/list_changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_thing_or_none() {
        let of = |text: &str| read(text.as_bytes());
        assert!(matches!(
            of(r#"{"jsonrpc":"2.0","id":7,"result":{"a":1}}"#),
            Ok(Message::Answer(7, Ok(_)))
        ));
        assert!(matches!(
            of(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"x"}}"#),
            Ok(Message::Answer(7, Err(error))) if !error.is_of_request() && !error.is_modern()
        ));
        assert!(matches!(
            of(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"x","data":{"supported":["2025-11-25"]}}}"#),
            Ok(Message::Error(error)) if error.supported() == ["2025-11-25"]
        ));
        assert!(matches!(
            of(r#"{"jsonrpc":"2.0","id":"s1","method":"sampling/createMessage","params":{}}"#),
            Ok(Message::Request(_, _))
        ));
        assert!(matches!(
            of(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
            Ok(Message::Notification(method, None)) if says_changed(&method)
        ));
    }

    #[test]
    fn what_is_no_message_is_none() {
        let of = |text: &str| read(text.as_bytes());
        let long = "x".repeat(ID_BYTES_MAX + 1);
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"ping"}}"#);
        assert!(of(&long).is_err());
        for odd in [
            "",
            "[]",
            "7",
            "hello",
            r#"{"id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"7","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#,
            r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
        ] {
            assert!(of(odd).is_err(), "{odd}");
        }
    }
}
