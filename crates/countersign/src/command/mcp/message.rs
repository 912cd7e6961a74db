//! What the bridge reads of a message that it forwards: what HTTP wants to know in headers.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;

/// Where a request of the 2026-07-28 era says by which version it is meant.
const VERSION_POINTER: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

/// A message from the host. What is no JSON-RPC message has none of these, and is forwarded all the
/// same: the gateway says what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// The id under which the host awaits an answer.
    pub(super) awaits: Option<Value>,
    /// The id of the request that this message cancels.
    pub(super) cancels: Option<Value>,
    /// Whether it opens the handshake of an era before 2026-07-28.
    pub(super) is_handshake: bool,
    /// Of the newer era: the headers that repeat what the body says.
    pub(super) headers: Option<HeaderMap>,
}

impl Message {
    pub(super) fn read(line: &[u8]) -> Self {
        let Ok(message) = serde_json::from_slice::<Value>(line) else { return Self::default() };
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            return Self::default();
        };
        let cancelled = || message.pointer("/params/requestId").cloned();
        Self {
            awaits: message.get("id").filter(|id| !id.is_null()).cloned(),
            cancels: (method == "notifications/cancelled").then(cancelled).flatten(),
            is_handshake: method == "initialize",
            headers: headers(&message, method),
        }
    }
}

/// MCP 2026-07-28, basic/transports, "Standard Headers". There are no `Mcp-Param-…`: no tool of a
/// gateway asks for one.
fn headers(message: &Value, method: &str) -> Option<HeaderMap> {
    let version = message.pointer(VERSION_POINTER)?.as_str()?;
    let name = match method {
        "tools/call" | "prompts/get" => "/params/name",
        "resources/read" => "/params/uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "/params/taskId",
        _ => "",
    };
    let name = message.pointer(name).and_then(Value::as_str);
    let pairs =
        [("mcp-protocol-version", Some(version)), ("mcp-method", Some(method)), ("mcp-name", name)];
    let mut headers = HeaderMap::new();
    for (header, value) in pairs {
        if let Some(value) = value.and_then(|text| HeaderValue::from_str(&spelled(text)).ok()) {
            headers.insert(header, value);
        }
    }
    Some(headers)
}

/// A text as a header's value: what would not survive as one goes as base64.
fn spelled(text: &str) -> String {
    let plain = text.trim() == text
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain { text.to_owned() } else { format!("=?base64?{}?=", BASE64_STANDARD.encode(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: &Value) -> Message {
        Message::read(message.to_string().as_bytes())
    }

    fn sent(method: &str, params: &Value) -> Vec<(String, String)> {
        let mut params = params.clone();
        params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
        let message = read(&json!({ "id": 1, "method": method, "params": params }));
        let headers = message.headers.unwrap();
        headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_request_of_the_newer_era_says_in_headers_what_its_body_says() {
        let version = ("mcp-protocol-version".to_owned(), "2026-07-28".to_owned());
        let method = |name: &str| ("mcp-method".to_owned(), name.to_owned());
        let name = |name: &str| ("mcp-name".to_owned(), name.to_owned());
        assert_eq!(sent("tools/list", &json!({})), [version.clone(), method("tools/list")]);
        for (what, params, named) in [
            ("tools/call", json!({"name": "get_x"}), "get_x"),
            ("resources/read", json!({"uri": "a://b"}), "a://b"),
            ("tasks/get", json!({"taskId": "t-1"}), "t-1"),
            ("tools/call", json!({"name": "größe"}), "=?base64?Z3LDtsOfZQ==?="),
            ("tools/call", json!({"name": " x"}), "=?base64?IHg=?="),
            ("tools/call", json!({"name": "=?base64?eA==?="}), "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(sent(what, &params), [version.clone(), method(what), name(named)]);
        }
    }

    #[test]
    fn a_request_of_an_older_era_has_no_headers_of_its_own() {
        assert!(read(&json!({ "id": 1, "method": "tools/list" })).headers.is_none());
        assert!(read(&json!({ "id": 1, "method": "initialize" })).is_handshake);
    }

    #[test]
    fn only_a_request_awaits_an_answer() {
        assert_eq!(read(&json!({ "id": "a", "method": "ping" })).awaits, Some(json!("a")));
        for other in
            [json!({ "method": "x" }), json!({ "id": 1, "result": {} }), json!([1]), json!(1)]
        {
            assert_eq!(read(&other).awaits, None, "{other}");
        }
        assert_eq!(Message::read(b"{").awaits, None);
    }

    #[test]
    fn a_cancellation_names_the_request_that_it_ends() {
        let cancelled =
            json!({ "method": "notifications/cancelled", "params": { "requestId": 7 } });
        assert_eq!(read(&cancelled).cancels, Some(json!(7)));
    }
}
