//! `countersign mcp`: a host's pipes on one side, the real gateway on the other.

use crate::gateway::{Company, Gateway, Who};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "bridge", depots: &[] };
const MADE_UP: &str = "a-made-up-token";

pub(crate) fn command(url: &str, token: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["mcp", url]).env("COUNTERSIGN_TOKEN", token);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the bridge says to all of these lines, and that it ends when they do.
fn said(mut command: Command, lines: &[String]) -> (Vec<Value>, String) {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.join("\n");
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{stderr}");
    let stdout = String::from_utf8(stdout).unwrap();
    (stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), stderr)
}

/// A bridge that is spoken with line by line. Dropping it kills it.
struct Bridge {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Bridge {
    fn to(gateway: &Gateway, token: &str) -> Self {
        let mut child = command(&gateway.url, token).stderr(Stdio::inherit()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn old(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn new(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    old(id, method, params)
}

fn usage(days: u64) -> Value {
    json!({ "name": "get_account_usage", "arguments": { "account_id": "acct_alpha", "days": days } })
}

/// The same message over HTTP: the body of the answer.
async fn direct(gateway: &Gateway, token: &str, message: &Value, agreed: Option<&str>) -> String {
    let mut request = gateway.http.post(format!("{}/mcp", gateway.url)).bearer_auth(token);
    request = request.header("accept", "application/json, text/event-stream").json(message);
    let method = message["method"].as_str().unwrap();
    if !message["params"]["_meta"].is_null() {
        request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
        if let Some(name) = message["params"]["name"].as_str() {
            request = request.header("mcp-name", name);
        }
    } else if let Some(agreed) = agreed {
        request = request.header("mcp-protocol-version", agreed);
    }
    request.send().await.unwrap().text().await.unwrap()
}

/// Without the one thing that differs from call to call: its id.
fn without_call(text: &str) -> String {
    let mut parts = text.split("call_");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        text + part.trim_start_matches(|c: char| c.is_ascii_alphanumeric())
    })
}

#[tokio::test]
async fn what_comes_through_the_bridge_is_byte_for_byte_what_comes_direct() {
    let company = Company::new();
    company.lift_limits();
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let mut bridge = Bridge::to(&gateway, &token);
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let mut agreed = None;
    for (number, message) in [
        new(1, "server/discover", json!({})),
        new(2, "tools/list", json!({})),
        new(3, "tools/call", usage(3)),
        new(4, "tools/call", usage(9_000_000)),
        new(5, "tools/call", json!({ "name": "drop_table", "arguments": {} })),
        new(6, "prompts/get", json!({ "name": "x" })),
        new(7, "no/such", json!({})),
        old(8, "initialize", hello),
        old(9, "ping", json!({})),
        old(10, "tools/list", json!({})),
        old(11, "tools/call", usage(3)),
        old(12, "tools/call", json!({ "name": "drop_table", "arguments": {} })),
        old(13, "logging/setLevel", json!({ "level": "info" })),
    ]
    .into_iter()
    .enumerate()
    {
        bridge.send(&message);
        let (through, direct) = (bridge.hear(), direct(&gateway, &token, &message, agreed).await);
        assert_eq!(without_call(&through), without_call(&direct), "{number}");
        let answer: Value = serde_json::from_str(&through).unwrap();
        assert_eq!(answer["id"], message["id"], "{answer}");
        if message["method"] == "initialize" {
            agreed = Some("2025-11-25");
            bridge.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        }
        if message["params"] == usage(3) {
            assert_eq!(answer["result"]["structuredContent"]["row_count"], 3, "{answer}");
        }
    }
    // The one exception: an answer that does not say whose it is would leave the host waiting.
    let nested = new(
        14,
        "tools/call",
        json!({ "name": "get_account_usage", "arguments": { "days": deep } }),
    );
    bridge.send(&nested);
    let through: Value = serde_json::from_str(&bridge.hear()).unwrap();
    let mut direct: Value =
        serde_json::from_str(&direct(&gateway, &token, &nested, None).await).unwrap();
    assert_eq!((&direct["id"], &direct["error"]["code"]), (&Value::Null, &json!(-32700)));
    direct["id"] = json!(14);
    assert_eq!(through, direct);
}

#[tokio::test]
async fn requests_do_not_wait_for_one_another_and_a_cancelled_one_is_not_answered() {
    let company = Company::new();
    let _crm = company.crm();
    company.edit("posture/systems/crm.yaml", |text| text.replace("timeout: 1s", "timeout: 4s"));
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    // The CRM takes longer than that over those who have left.
    let slow = json!({ "name": "list_contacts", "arguments": { "account_id": "acct_alpha", "former": true, "limit": 5 } });
    let mut bridge = Bridge::to(&gateway, &token);
    bridge.send(&new(1, "tools/call", slow.clone()));
    bridge.send(&new(2, "tools/call", slow));
    bridge.send(&new(3, "tools/call", usage(3)));
    bridge.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }));
    let ids: Vec<Value> = [bridge.hear(), bridge.hear()]
        .map(|line| serde_json::from_str::<Value>(&line).unwrap()["id"].take())
        .into();
    assert_eq!(ids, [3, 2]);
    drop(bridge.stdin.take());
    assert_eq!(bridge.hear(), "", "standard output ends, and says nothing of the first");
    assert!(bridge.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_gateway_that_is_away_or_does_not_know_the_caller_is_said_to_the_host() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let request = new(7, "tools/list", json!({})).to_string();

    let (answers, stderr) = said(command(&gateway.url, MADE_UP), std::slice::from_ref(&request));
    let error = &answers[0]["error"];
    assert_eq!((&answers[0]["id"], &error["code"]), (&json!(7), &json!(-32603)));
    assert!(error["message"].as_str().unwrap().contains("COUNTERSIGN_TOKEN"), "{error}");
    assert_eq!(error["data"]["gateway"]["code"], "unauthenticated", "{error}");
    assert!(stderr.contains("does not accept the token"), "{stderr}");
    assert!(!format!("{error}{stderr}").contains(MADE_UP));

    // The tenant reaches the gateway: another's is not the token's.
    for (tenant, accepted) in [("acct_alpha", true), ("acct_bravo", false)] {
        let mut command = command(&gateway.url, &token);
        command.args(["--tenant", tenant]);
        let (answers, _stderr) = said(command, std::slice::from_ref(&request));
        assert_eq!(answers[0]["error"].is_null(), accepted, "{answers:?}");
    }

    let mut bridge = Bridge::to(&gateway, &token);
    let mut ask = |says: &str| {
        bridge.send(&new(1, "ping/none", json!({})));
        let line = bridge.hear();
        assert!(line.contains(says), "{line}");
    };
    ask("-32601"); // the gateway's own word
    let url = gateway.url.clone();
    gateway.kill();
    ask("no gateway answers");
    let gone = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    let (answers, stderr) = said(command(&url, &token), &[gone, request]);
    assert_eq!(answers.len(), 1, "a notification has no answer: {answers:?}");
    let message = answers[0]["error"]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("no gateway answers at {url} (")), "{message}");
    assert!(message.ends_with("start it, or correct the address in COUNTERSIGN_URL"), "{message}");
    assert!(!stderr.contains(&token), "{stderr}");

    // It is back, with another key: the same bridge finds it.
    let address = url.strip_prefix("http://").unwrap();
    company.edit("countersign.yaml", |text| {
        text.replace("listen: 127.0.0.1:0", &format!("listen: {address}"))
    });
    let _gateway = company.serve();
    ask("does not accept the token");
}

#[tokio::test]
async fn what_is_too_long_is_answered_and_the_bridge_goes_on() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let long = |id: u64, bytes: usize| {
        new(id, "tools/call", json!({ "name": "x".repeat(bytes) })).to_string()
    };
    let last = new(3, "tools/list", json!({})).to_string();
    let lines = [long(1, 300_000), long(2, 5_000_000), String::new(), "{".to_owned(), last];
    let (mut answers, _stderr) = said(command(&gateway.url, &token), &lines);
    answers.sort_by_key(|answer| (answer["id"].as_u64(), answer["error"]["code"].as_i64()));
    let errors: Vec<_> =
        answers.iter().map(|a| (a["id"].clone(), a["error"]["code"].clone())).collect();
    assert_eq!(
        errors,
        [
            (Value::Null, json!(-32700)), // no JSON: the gateway's own answer
            (Value::Null, json!(-32603)), // more than the bridge reads: nobody knows the id
            (json!(1), json!(-32603)),
            (json!(3), Value::Null),
        ]
    );
    assert!(answers[2]["error"]["message"].as_str().unwrap().contains("at most 262144 bytes"));
}

/// Answers as what stands before a gateway may, by the name of the tool; and in a stream, which a
/// gateway may do as well.
async fn stand_in(headers: HeaderMap) -> Response {
    let name = headers.get("mcp-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
    let event = |message: Value| format!("event: message\ndata: {message}\n\n");
    let stream =
        |text: String| ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response();
    let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} });
    match name.strip_prefix("status_").and_then(|code| code.parse().ok()) {
        Some(code) => {
            let status = StatusCode::from_u16(code).unwrap();
            (status, [(header::RETRY_AFTER, "9"), (header::LOCATION, "/x")], "no\nJSON")
                .into_response()
        }
        None if name == "stream" => {
            let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "value": 1 } });
            stream(format!(": hello\n\n{}{}", event(progress), event(answer)))
        }
        None if name == "cut" => stream(event(progress)),
        None => (
            [(header::CONTENT_TYPE, "application/json")],
            "{\n \"jsonrpc\": \"2.0\",\r\n \"id\": 1,\n \"result\": {\"a\":  1.0}\n}",
        )
            .into_response(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_becomes_an_error_and_a_stream_becomes_lines() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(stand_in)).await });
    let ask = |name: &str| {
        let call = new(1, "tools/call", json!({ "name": name, "arguments": {} })).to_string();
        said(command(&url, MADE_UP), &[call]).0
    };
    for (name, says) in [
        ("status_401", "does not accept the token"),
        ("status_403", "`public_url`"),
        ("status_404", "without a path"),
        ("status_413", "too long"),
        ("status_302", "redirects"),
        ("status_400", "`data` says why"),
        ("status_503", "try again in 9 seconds"),
        ("status_500", "look before asking again"),
        ("status_200", "not as a gateway does"),
    ] {
        let answers = ask(name);
        assert_eq!((answers.len(), &answers[0]["id"]), (1, &json!(1)));
        let error = &answers[0]["error"];
        assert!(error["message"].as_str().unwrap().contains(says), "{name}: {error}");
        if name != "status_413" {
            assert_eq!(error["data"]["gateway"], "no\nJSON", "{error}");
        }
    }
    let streamed = ask("stream");
    assert_eq!(streamed[0]["method"], "notifications/progress");
    assert_eq!(streamed[1], json!({ "jsonrpc": "2.0", "id": 1, "result": { "value": 1 } }));
    let cut = ask("cut");
    assert!(cut[1]["error"]["message"].as_str().unwrap().contains("ended early"), "{cut:?}");

    // One line, whatever the blanks; and every other byte as it was.
    let mut child = command(&url, MADE_UP).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", new(1, "ping", json!({}))).unwrap();
    let stdout = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(stdout, "{  \"jsonrpc\": \"2.0\",   \"id\": 1,  \"result\": {\"a\":  1.0} }\n");
}

#[test]
fn it_does_not_begin_without_a_gateway_and_a_token_or_in_the_clear() {
    let run = |arguments: &[&str], token: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .arg("mcp")
            .args(arguments)
            .env_remove("COUNTERSIGN_URL")
            .env_remove("COUNTERSIGN_TOKEN");
        if let Some(token) = token {
            command.env("COUNTERSIGN_TOKEN", token);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, token, says) in [
        (&[][..], Some(MADE_UP), "no gateway is named"),
        (&["http://127.0.0.1:1"], None, "COUNTERSIGN_TOKEN is not set"),
        (&["http://127.0.0.1:1"], Some(" "), "COUNTERSIGN_TOKEN is not set"),
        (&["http://127.0.0.1:1"], Some("made\nup"), "COUNTERSIGN_TOKEN holds no token"),
        (&["http://10.0.0.1:8787"], Some(MADE_UP), "unencrypted"),
        (&["http://gateway.example/mcp"], Some(MADE_UP), "unencrypted"),
        (&["https://ann:made-up@gateway.example"], Some(MADE_UP), "must be written as"),
        (&["https://gateway.example/elsewhere"], Some(MADE_UP), "must be written as"),
    ] {
        let (code, stderr) = run(arguments, token);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("made-up"), "{stderr}");
    }
    for fine in ["http://127.0.0.1:1/mcp", "http://[::1]:1", "https://gateway.example/"] {
        assert_eq!(run(&[fine], Some(MADE_UP)).0, Some(0), "{fine}");
    }
}

#[test]
fn the_documented_configuration_of_a_host_starts_a_bridge() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/clients.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```json").skip(1).map(|rest| rest.split("```").next().unwrap());
    let servers = blocks.map(|block| serde_json::from_str::<Value>(block).unwrap());
    let servers: Vec<Value> =
        servers.map(|block| block["mcpServers"]["countersign"].clone()).collect();
    let server = servers.iter().find(|server| server["command"] == "countersign").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(server["args"].as_array().unwrap().iter().map(text))
        .env_clear()
        .envs(server["env"].as_object().unwrap().iter().map(|(name, value)| (name, text(value))))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
