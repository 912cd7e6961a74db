//! The gateway at the other end, over streamable HTTP.

use super::events::Events;
use super::message::Message;
use super::{TOKEN, URL};
use arc_swap::ArcSwapOption;
use countersign_core::bound::BODY_BYTES_MAX;
use countersign_gateway::oidc::client;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Longest answer, and longest event of a stream. A result has at most 16 MiB, and is there twice:
/// as text, where its quotes are escaped, and structured.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is passed on of what is no message.
const SAID_CHARS_MAX: usize = 300;
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take: longer than any statement (300 s) with its look-ups.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(360);
/// A call may have been made whose answer is lost.
const LOST: &str = "what was asked may have been done all the same, so look before asking again";

/// The gateway, and what every request to it carries.
#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    at: String,
    headers: HeaderMap,
    /// What a handshake has agreed on.
    version: ArcSwapOption<HeaderValue>,
}

/// Why a message has no answer of the gateway: one sentence, and what to do.
#[derive(Debug)]
pub(super) struct Trouble {
    message: String,
    /// The status, and what the gateway itself said.
    data: Option<Value>,
}

/// What counts of a message that the gateway sends.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "jsonrpc")]
    _jsonrpc: String,
    id: Option<Value>,
    error: Option<Value>,
    method: Option<String>,
}

impl Remote {
    pub(super) fn new(
        at: &str,
        encrypted: bool,
        mut token: HeaderValue,
        tenant: Option<HeaderValue>,
    ) -> Result<Self, reqwest::Error> {
        token.set_sensitive(true);
        let both = HeaderValue::from_static("application/json, text/event-stream");
        let mut headers = HeaderMap::from_iter([
            (AUTHORIZATION, token),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (ACCEPT, both),
        ]);
        if let Some(tenant) = tenant {
            headers.insert("countersign-tenant", tenant);
        }
        // The token goes where it is meant to and nowhere else; and no call is made twice.
        let client = client(encrypted)
            .user_agent(concat!("countersign-mcp/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        Ok(Self { client, at: at.to_owned(), headers, version: ArcSwapOption::empty() })
    }

    /// Whether the host has opened a session by a handshake, as before 2026-07-28.
    pub(super) fn has_handshake(&self) -> bool {
        self.version.load().is_some()
    }

    /// Forwards one message, and what comes back to it.
    pub(super) async fn exchange(
        &self,
        message: &Message,
        line: Vec<u8>,
        answers: &Sender<Vec<u8>>,
    ) -> Result<(), Trouble> {
        let mut headers = self.headers.clone();
        match (&message.headers, &*self.version.load()) {
            (Some(own), _) => headers.extend(own.clone()),
            (None, Some(agreed)) if !message.is_handshake => {
                headers.insert("mcp-protocol-version", HeaderValue::clone(agreed));
            }
            (None, _) => {}
        }
        let url = format!("{}/mcp", self.at);
        let sent = self.client.post(url).headers(headers).body(line).send().await;
        let response = sent.map_err(|error| self.away(error))?;
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if response.status().is_success()
            && kind.is_some_and(|k| k.starts_with(b"text/event-stream"))
        {
            return self.stream(message, response, answers).await;
        }
        let (status, retry_after) =
            (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let body = self.whole(response).await?;
        match serde_json::from_slice(&body) {
            Ok(answer) => {
                self.forward(message, &answer, body, answers).await;
                Ok(())
            }
            Err(_) if status.is_success() && message.awaits.is_none() => Ok(()), // 202
            Err(_) => Err(self.unlike(status, retry_after, &body)),
        }
    }

    /// One message to the host, as it is, unless the host would not know whom it answers.
    async fn forward(
        &self,
        message: &Message,
        answer: &Answer,
        body: Vec<u8>,
        answers: &Sender<Vec<u8>>,
    ) {
        if message.is_handshake {
            let agreed: Value = serde_json::from_slice(&body).unwrap_or_default();
            let agreed = agreed.pointer("/result/protocolVersion").and_then(Value::as_str);
            let agreed = agreed.and_then(|version| HeaderValue::from_str(version).ok());
            self.version.store(agreed.map(Arc::new));
        }
        let body = match (answer, &message.awaits) {
            (Answer { id: None, error: Some(error), .. }, Some(id)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string().into_bytes()
            }
            _ => body,
        };
        drop(answers.send(body).await); // Without the writer nobody is left to tell.
    }

    async fn stream(
        &self,
        message: &Message,
        mut response: Response,
        answers: &Sender<Vec<u8>>,
    ) -> Result<(), Trouble> {
        let mut events = Events::default();
        let mut answered = message.awaits.is_none();
        while let Some(bytes) = response.chunk().await.map_err(|error| self.away(error))? {
            for event in events.take(&bytes) {
                let status = response.status();
                let answer: Answer = serde_json::from_slice(&event)
                    .map_err(|_unlike| self.unlike(status, None, &event))?;
                answered |= answer.method.is_none();
                self.forward(message, &answer, event, answers).await;
            }
            if events.held() > ANSWER_BYTES_MAX {
                return Err(self.too_large());
            }
        }
        match answered {
            true => Ok(()),
            false => Err(Trouble::new(format!("the gateway's answer ended early: {LOST}"))),
        }
    }

    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| self.away(error))? {
            body.extend(bytes);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.too_large());
            }
        }
        Ok(body)
    }

    fn too_large(&self) -> Trouble {
        let at = &self.at;
        Trouble::new(format!(
            "the answer of {at} has more than {ANSWER_BYTES_MAX} bytes: ask for less"
        ))
    }

    /// Nothing came, or not all of it.
    fn away(&self, error: reqwest::Error) -> Trouble {
        let at = &self.at;
        if error.is_connect() {
            let error = error.without_url();
            let mut why: &dyn std::error::Error = &error;
            while let Some(cause) = why.source() {
                why = cause;
            }
            let trust = if at.starts_with("https") {
                ", or have this machine trust its certificate"
            } else {
                ""
            };
            return Trouble::new(format!(
                "no gateway answers at {at} ({why}): start it, or correct the address in {URL}{trust}"
            ));
        }
        let what = if error.is_timeout() { "took too long" } else { "broke off" };
        Trouble::new(format!("the answer of the gateway at {at} {what}: {LOST}"))
    }

    /// An answer that is no message of MCP.
    fn unlike(&self, status: StatusCode, retry_after: Option<HeaderValue>, body: &[u8]) -> Trouble {
        let at = &self.at;
        let message = match status.as_u16() {
            401 => format!(
                "the gateway at {at} does not accept the token: put a valid one into {TOKEN} and start this server again"
            ),
            403 => format!(
                "the gateway at {at} turns the request away: reach it by its `public_url`, or name this host in its `allowed_hosts`"
            ),
            404 | 405 => format!(
                "there is no MCP endpoint at {at}: give the address of a gateway, without a path"
            ),
            413 => return Trouble::too_long(),
            300..=399 => format!("{at} redirects elsewhere: give the gateway's own address"),
            429 | 503 => {
                let after =
                    retry_after.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("a few");
                format!("the gateway at {at} is busy or not ready: try again in {after} seconds")
            }
            400..=499 => format!("the gateway at {at} refuses the message: `data` says why"),
            500.. => format!(
                "the gateway at {at}, or what stands before it, failed: see its log; {LOST}"
            ),
            _ => format!("{at} answers, but not as a gateway does: correct the address in {URL}"),
        };
        let said = match serde_json::from_slice::<Value>(body) {
            Ok(said) => said.get("error").cloned(),
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                (!text.is_empty())
                    .then(|| json!(text.chars().take(SAID_CHARS_MAX).collect::<String>()))
            }
        };
        Trouble { message, data: Some(json!({ "status": status.as_u16(), "gateway": said })) }
    }
}

impl Trouble {
    fn new(message: String) -> Self {
        Self { message, data: None }
    }

    /// More than the gateway takes.
    pub(super) fn too_long() -> Self {
        Self::new(format!(
            "the message is too long: a gateway takes at most {BODY_BYTES_MAX} bytes"
        ))
    }

    /// The JSON-RPC error for the request with this id: an internal error, for the codes of the
    /// specification's own range mean other things.
    pub(super) fn told(&self, id: &Value) -> Vec<u8> {
        let Self { message, data } = self;
        let mut error = json!({ "code": -32603, "message": message });
        if let (Some(data), Some(members)) = (data, error.as_object_mut()) {
            members.insert("data".to_owned(), data.clone());
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string().into_bytes()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
