//! A plain MCP client of the older era, which changes nothing of what it is answered, and passes over what
//! it has not asked for: over HTTP, to a gateway or to a server, and over a program's pipes.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Plain {
    way: Way,
    asked: u64,
}

enum Way {
    Http { http: reqwest::Client, url: String, token: Option<String>, session: Option<String> },
    Program { child: Child, stdin: ChildStdin, stdout: BufReader<ChildStdout> },
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Way::Program { child, .. } = &mut self.way {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Plain {
    pub(crate) async fn over_http(url: &str, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (url, token) = (url.to_owned(), token.map(str::to_owned));
        Self::new(Way::Http { http, url, token, session: None }).await
    }

    pub(crate) async fn to(mut program: Command) -> Self {
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = program.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::new(Way::Program { child, stdin, stdout: BufReader::new(stdout) }).await
    }

    async fn new(way: Way) -> Self {
        let mut client = Self { way, asked: 0 };
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "plain", "version": "1" },
        });
        let answer = client.ask("initialize", hello).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        client.exchange(&ready).await;
        client
    }

    /// The answer as it came: with `result` or `error`.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.exchange(&request).await.unwrap_or_else(|| panic!("no answer to {request}"))
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// All of a list, page by page; nothing of what the server does not know.
    pub(crate) async fn list(&mut self, method: &str, member: &str) -> Vec<Value> {
        let (mut all, mut params) = (Vec::new(), json!({}));
        loop {
            let answer = self.ask(method, params).await;
            let Some(page) = answer["result"][member].as_array() else {
                assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
                return all;
            };
            all.extend(page.iter().cloned());
            match &answer["result"]["nextCursor"] {
                Value::Null => return all,
                cursor => params = json!({ "cursor": cursor }),
            }
        }
    }

    async fn exchange(&mut self, message: &Value) -> Option<Value> {
        let id = message.get("id");
        match &mut self.way {
            Way::Http { http, url, token, session } => {
                let mut request = http.post(url.as_str()).json(message);
                request = request.header("accept", "application/json, text/event-stream");
                if message["method"] != "initialize" {
                    request = request.header("mcp-protocol-version", "2025-11-25");
                }
                if let Some(session) = session {
                    request = request.header("mcp-session-id", session.as_str());
                }
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let mut answer = request.send().await.unwrap();
                if let Some(given) = answer.headers().get("mcp-session-id") {
                    *session = Some(given.to_str().unwrap().to_owned());
                }
                let id = id?;
                let kind = answer.headers().get("content-type").cloned();
                if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
                    return Some(answer.json().await.unwrap());
                }
                let mut heard = Vec::new();
                loop {
                    while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = heard.drain(..=end).collect();
                        let Some(data) = line.strip_prefix(b"data:") else { continue };
                        let Ok(message) = serde_json::from_slice::<Value>(data) else { continue };
                        if message["id"] == *id && message.get("method").is_none() {
                            return Some(message);
                        }
                    }
                    heard.extend(answer.chunk().await.unwrap()?);
                }
            }
            Way::Program { stdin, stdout, .. } => {
                writeln!(stdin, "{message}").unwrap();
                let id = id?;
                loop {
                    let mut line = String::new();
                    assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it ended: {message}");
                    let heard: Value = serde_json::from_str(&line).unwrap();
                    if heard["id"] == *id && heard.get("method").is_none() {
                        return Some(heard);
                    }
                }
            }
        }
    }
}

/// What a server defines, by the names that pins have for it.
pub(crate) async fn defined(client: &mut Plain) -> Value {
    json!({
        "tools": client.list("tools/list", "tools").await,
        "resources": client.list("resources/list", "resources").await,
        "templates": client.list("resources/templates/list", "resourceTemplates").await,
        "prompts": client.list("prompts/list", "prompts").await,
    })
}
