//! The gateway's doors, as an agent and as a person who decides use them.

use crate::bound::{PAGES_MAX, REQUEST_MAX};
use countersign_posture::evals::{CaseDoor, DecideStep};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

/// One gateway's doors.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    pub(crate) url: String,
    pub(crate) http: Client,
    pub(crate) runtime: Handle,
}

/// What an agent is told of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// `completed`, or a code.
    pub end: String,
    /// How many rows came back, of a call that was completed.
    pub rows: Option<u64>,
    /// The draft that it waits for.
    pub draft: Option<String>,
    /// All of the answer's body.
    pub text: String,
}

pub(crate) fn client() -> Result<Client, String> {
    let built = Client::builder().no_proxy().timeout(REQUEST_MAX).build();
    built.map_err(|error| format!("no HTTP client: {error}"))
}

impl Told {
    /// What a model is given to read of it: of MCP's answers the content alone, as clients hand it on.
    pub(crate) fn heard(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        let Some(content) = body.pointer("/result/content").and_then(Value::as_array) else {
            return self.text.clone();
        };
        let texts = content.iter().filter_map(|part| part.get("text")?.as_str());
        texts.collect::<Vec<_>>().join("\n")
    }
}

impl Doors {
    /// Proposes a call.
    pub(crate) fn call(
        &self,
        door: CaseDoor,
        token: Option<&str>,
        (tool, arguments): (&str, &Map<String, Value>),
    ) -> Result<Told, String> {
        let request = match door {
            CaseDoor::Http => {
                let body = json!({ "tool": tool, "arguments": arguments });
                self.http.post(format!("{}/v1/calls", self.url)).json(&body)
            }
            CaseDoor::Mcp => self
                .mcp("tools/call", json!({ "name": tool, "arguments": arguments }))
                .header("mcp-name", tool),
        };
        let (status, text) = self.asked(bearing(request, token))?;
        Ok(told(status, text))
    }

    fn mcp(&self, method: &str, mut params: Value) -> RequestBuilder {
        if let Some(params) = params.as_object_mut() {
            params.insert("_meta".to_owned(), json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "countersign-eval", "version": "1" },
            }));
        }
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.http.post(format!("{}/mcp", self.url)).json(&message);
        request
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
    }

    /// The tools that an agent is shown, as MCP lists them, and the texts in which it is told of them.
    pub(crate) fn tools(
        &self,
        door: CaseDoor,
        token: Option<&str>,
    ) -> Result<(Vec<Value>, Vec<String>), String> {
        let (mut tools, mut told, mut cursor) = (Vec::new(), Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let request = match (door, &cursor) {
                (CaseDoor::Http, _) => self.http.get(format!("{}/v1/tools?format=mcp", self.url)),
                (CaseDoor::Mcp, None) => self.mcp("tools/list", json!({})),
                (CaseDoor::Mcp, Some(cursor)) => {
                    self.mcp("tools/list", json!({ "cursor": cursor }))
                }
            };
            let (status, text) = self.asked(bearing(request, token))?;
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let result = body.get("result").unwrap_or(&body);
            let page = result.get("tools").and_then(Value::as_array);
            tools.extend_from_slice(page.ok_or_else(|| format!("tools are not listed: {status}"))?);
            cursor = result.get("nextCursor").filter(|next| !next.is_null()).cloned();
            told.push(text);
            if cursor.is_none() {
                return Ok((tools, told));
            }
        }
        Err(format!("the list of tools has more than {PAGES_MAX} pages"))
    }

    /// Decides about a draft. The code of why it was not theirs, or nothing.
    pub(crate) fn decide(
        &self,
        token: &str,
        (draft, step): (&str, &DecideStep),
    ) -> Result<Option<String>, String> {
        let (what, body) = match step.approves {
            true => ("approve", json!({})),
            false => ("reject", json!({ "reason": step.reason })),
        };
        self.done(token, (&format!("drafts/{draft}/{what}"), &body))
    }

    /// Lets somebody stand in for whom the token is of. The code of why not, or nothing.
    pub(crate) fn stand_in(
        &self,
        token: &str,
        (to, until): (&str, &str),
    ) -> Result<Option<String>, String> {
        self.done(token, ("delegations", &json!({ "to": to, "until": until })))
    }

    /// What a person does, and the code of why they may not.
    fn done(&self, token: &str, (what, body): (&str, &Value)) -> Result<Option<String>, String> {
        let url = format!("{}/admin/v1/{what}", self.url);
        let (status, text) = self.asked(self.http.post(url).bearer_auth(token).json(body))?;
        if status.is_success() {
            return Ok(None);
        }
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = problem.get("code").and_then(Value::as_str);
        Ok(Some(code.map_or_else(|| status.as_u16().to_string(), str::to_owned)))
    }

    /// A draft's state, as this person sees it.
    pub(crate) fn state(&self, token: &str, draft: &str) -> Result<Option<String>, String> {
        let url = format!("{}/admin/v1/drafts/{draft}", self.url);
        let (_, text) = self.asked(self.http.get(url).bearer_auth(token))?;
        let seen: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(seen.get("state").and_then(Value::as_str).map(str::to_owned))
    }

    fn asked(&self, request: RequestBuilder) -> Result<(StatusCode, String), String> {
        let asked = self.runtime.block_on(async {
            let response: Response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        });
        asked.map_err(|error| format!("the gateway did not answer: {}", error.without_url()))
    }
}

fn bearing(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// What either door's answer says.
pub(crate) fn told(status: StatusCode, text: String) -> Told {
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let structured = body.pointer("/result/structuredContent");
    let refused = [
        body.get("error").filter(|error| error.get("data").is_none()),
        body.pointer("/error/data"),
        structured,
    ];
    let code =
        refused.iter().flatten().find_map(|object| object.get("code").and_then(Value::as_str));
    let result = body.get("result");
    let completed = body.get("status").and_then(Value::as_str) == Some("completed")
        || result.and_then(|result| result.get("isError")) == Some(&Value::Bool(false));
    let rows = structured.or(result).and_then(|result| result.get("row_count")?.as_u64());
    let draft =
        refused.iter().flatten().find_map(|object| object.get("reference").and_then(Value::as_str));
    let end = match code {
        _ if completed => "completed".to_owned(),
        Some("malformed_request") => "malformed".to_owned(),
        Some(code) => code.to_owned(),
        // A client that can show its user where the draft stands is asked to.
        None if result.and_then(|result| result.get("resultType")?.as_str())
            == Some("input_required") =>
        {
            "approval_required".to_owned()
        }
        None if status == StatusCode::PAYLOAD_TOO_LARGE => "too_large".to_owned(),
        None if status == StatusCode::UNAUTHORIZED => "unauthenticated".to_owned(),
        None => "malformed".to_owned(),
    };
    let draft = draft.map(str::to_owned);
    Told { end, rows: rows.filter(|_| completed), draft, text }
}
