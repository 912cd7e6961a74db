//! The two doors, through the router that serves in production: every answer is well formed and has a
//! code that is documented, and every call that was admitted has its records, in their order.

use super::jwt::GOOD;
use super::world::{Event, World};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use countersign_core::args;
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;
use tower_service::Service as _;

/// The codes of docs/calling.md, of answers to calls.
const CODES: [&str; 17] = [
    "unauthenticated",
    "insufficient_scope",
    "unknown_tool",
    "rate_limited",
    "invalid_arguments",
    "out_of_scope",
    "forbidden",
    "undecided",
    "lookup_failed",
    "approval_required",
    "journal_unavailable",
    "system_unavailable",
    "system_timed_out",
    "system_failed",
    "system_busy",
    "withheld",
    "internal",
];

/// Codes of what never became a call, with their status.
const PROBLEMS: [(u16, &str); 7] = [
    (400, "malformed_request"),
    (403, "turned_away"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (413, "body_too_large"),
    (415, "body_encoded"),
    (400, "body_unreadable"),
];

/// A request as one writes it down: `POST /v1/calls`, headers, an empty line, the body. What is
/// missing of host and token is put in, so that a change of one thing is a change of one thing.
pub fn http(bytes: &[u8]) {
    let Some(sent) = Sent::read(bytes, "POST /v1/calls", &[("host", "localhost")]) else { return };
    let path = sent.request.uri().path().to_owned();
    if path == "/mcp" {
        return; // The other target's.
    }
    let Answered { status, headers, body, events } = answer(sent.request);
    if path == "/healthz" || path == "/readyz" {
        assert!(events.is_empty(), "{events:?}");
        return;
    }
    assert_eq!(headers["content-type"], "application/json", "{status} {body:?}");
    let value: Value = serde_json::from_slice(&body).expect("an answer is JSON");
    assert_eq!(status == StatusCode::UNAUTHORIZED, headers.contains_key("www-authenticate"));
    agrees(status.as_u16(), &value, &events);
    if value["status"].is_string() && value["status"] != "completed" {
        assert!(told(&value["error"]), "{value}");
    }
}

/// An answer of the HTTP door says what the records say.
fn agrees(status: u16, value: &Value, events: &[Event]) {
    let code = value["error"]["code"].as_str();
    match (status, value["status"].as_str()) {
        (200 | 403, Some("completed" | "faulted")) => {
            assert_eq!(code.is_none(), value["status"] == "completed", "{value}");
            assert_eq!(recorded(events), Some(("outcome", text(&value["call"]))), "{value}");
        }
        (200 | 403, Some("refused")) => {
            assert_eq!(recorded(events), Some(("refusal", text(&value["call"]))), "{value}");
        }
        (401, None) => {
            assert_eq!(code, Some("unauthenticated"));
            assert_eq!(recorded(events), Some(("refusal", text(&value["error"]["call"]))));
        }
        (200, None) => {
            let known = ["tools", "access_token", "resource"];
            assert!(known.iter().any(|member| value.get(member).is_some()), "{value}");
            assert!(events.is_empty(), "{events:?}");
        }
        (status, _) => {
            let problem = (status, code.unwrap_or_default());
            assert!(PROBLEMS.contains(&problem), "{status} {value}");
            assert!(events.is_empty(), "{events:?}");
        }
    }
}

/// Headers, an empty line, and a message to the MCP endpoint. A header whose value is `=` says what
/// the message says, as clients of the newest era must.
pub fn mcp(bytes: &[u8]) {
    let usual = [
        ("host", "localhost"),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
    ];
    let Some(sent) = Sent::read(bytes, "POST /mcp", &usual) else { return };
    if sent.request.uri().path() != "/mcp" {
        return;
    }
    let message = sent.message.clone();
    let Answered { status, headers, body, events } = answer(sent.request);
    let json = headers.get("content-type").is_some_and(|kind| kind == "application/json");
    if !json {
        // The library's own: a notification taken, or a request that is none of the protocol's.
        let known = [202, 400, 403, 405, 406, 415];
        assert!(known.contains(&status.as_u16()), "{status} {body:?}");
        assert!(status != StatusCode::ACCEPTED || body.is_empty(), "{body:?}");
        assert!(recorded(&events).is_none_or(|(kind, _)| kind != "outcome"), "{events:?}");
        return;
    }
    let value: Value = serde_json::from_slice(&body).expect("an answer is JSON");
    if value.get("jsonrpc").is_none() {
        let code = text(&value["error"]["code"]);
        let problem = (status.as_u16(), code);
        let refused = status == StatusCode::UNAUTHORIZED && code == "unauthenticated";
        assert!(refused || PROBLEMS.contains(&problem), "{status} {value}");
        assert!(!matches!(recorded(&events), Some(("outcome", _))), "{events:?}");
        return;
    }
    assert_eq!(value["jsonrpc"], "2.0");
    assert!(value.get("result").is_some() != value.get("error").is_some(), "{value}");
    let asked = message.as_ref().and_then(|message| message.get("id"));
    assert!(value["id"].is_null() || Some(&value["id"]) == asked, "{value} to {message:?}");
    spoken(&value, &events);
}

/// An answer of JSON-RPC says what the records say.
fn spoken(value: &Value, events: &[Event]) {
    if let Some(code) = value["error"]["code"].as_i64() {
        let known = [-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32002];
        assert!(known.contains(&code), "{value}");
        let call = value["error"]["data"]["call"].as_str();
        assert_eq!(recorded(events), call.map(|call| ("refusal", call)), "{value} {events:?}");
        return;
    }
    let result = &value["result"];
    let said = &result["structuredContent"];
    match result["isError"].as_bool() {
        None => assert!(events.is_empty(), "{value} {events:?}"),
        Some(true) => {
            assert!(told(said), "{value}");
            let (_, call) = recorded(events).expect("a record");
            assert_eq!(said["call"], call, "{value}");
        }
        Some(false) => {
            assert!(matches!(recorded(events), Some(("outcome", _))), "{value} {events:?}");
            let shown = result["content"][0]["text"].as_str().expect("a text");
            assert!(!shown.contains(['\u{200b}', '\u{1b}']), "what people cannot see is shown");
        }
    }
}

/// Whether this is what an agent is told: a known code, and nothing of the inside.
fn told(error: &Value) -> bool {
    let text = |name: &str| error[name].as_str().is_some_and(|text| !text.is_empty());
    let code =
        error["code"].as_str().is_some_and(|code| CODES.contains(&code) && code != "internal");
    code && text("message") && text("next") && !error.to_string().contains("secret_ledger")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// What the records say came of the one call: `outcome` or `refusal`, and its id. Panics if they are
/// in another order than any call's, or if one is missing.
fn recorded(events: &[Event]) -> Option<(&'static str, &str)> {
    let after = events.iter().position(|event| *event != Event::LookedUp).unwrap_or(events.len());
    match &events[after..] {
        [] if after == 0 => None,
        [Event::Noted(call)] => Some(("refusal", call)),
        [Event::Intent(call), Event::Executed(done), Event::Outcome(ended)]
            if call == done && call == ended =>
        {
            Some(("outcome", call))
        }
        _ => panic!("no call goes this way: {events:?}"),
    }
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    events: Vec<Event>,
}

fn answer(request: Request<Body>) -> Answered {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    });
    thread_local! {
        static COMPANY: (Router, Arc<World>) = World::router();
    }
    let (mut router, world) = COMPANY.with(|(router, world)| (router.clone(), world.clone()));
    drop(world.events());
    let (head, body) = RUNTIME.block_on(async {
        let answer = router.call(request).await.unwrap_or_else(|never| match never {});
        let (head, body) = answer.into_parts();
        (head, body.collect().await.expect("a body").to_bytes())
    });
    assert!(!head.status.is_server_error(), "{} {body:?}", head.status);
    Answered { status: head.status, headers: head.headers, body, events: world.events() }
}

/// What is sent.
struct Sent {
    request: Request<Body>,
    /// Its body, if that is a JSON object.
    message: Option<Value>,
}

impl Sent {
    fn read(bytes: &[u8], line: &str, usual: &[(&str, &str)]) -> Option<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = match end {
            Some(end) => (&bytes[..end], &bytes[end + 2..]),
            None => (&b""[..], bytes),
        };
        let mut lines = std::str::from_utf8(head).ok()?.lines().peekable();
        // A header's name is followed by a colon, a method by none.
        let line = lines.next_if(|first| !first.contains(": ")).unwrap_or(line);
        let (method, target) = line.split_once(' ')?;
        let mut request = Request::builder().method(method).uri(target);
        let message = args::parse(body).ok().filter(Value::is_object);
        for line in lines {
            let (name, value) = line.split_once(": ")?;
            let said = message.as_ref().and_then(|message| says(message, name));
            request = match (value, said) {
                ("=", Some(said)) => request.header(name, said),
                _ => request.header(name, value.replace("TOKEN", &GOOD)),
            };
        }
        let token = format!("Bearer {}", *GOOD);
        for (name, value) in usual.iter().chain([&("authorization", token.as_str())]) {
            if !request.headers_ref()?.contains_key(*name) {
                request = request.header(*name, *value);
            }
        }
        let request = request.body(Body::from(body.to_vec())).ok()?;
        Some(Self { request, message })
    }
}

/// What a message says that a header of the newest era repeats.
fn says<'a>(message: &'a Value, header: &str) -> Option<&'a str> {
    let pointer = match header {
        "mcp-method" => "/method",
        "mcp-name" => "/params/name",
        "mcp-protocol-version" => "/params/_meta/io.modelcontextprotocol~1protocolVersion",
        _ => return None,
    };
    message.pointer(pointer)?.as_str()
}
