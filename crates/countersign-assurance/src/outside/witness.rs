//! What stands between an agent that is not the suite's own and the gateway: it hands everything on,
//! and keeps what was asked and what was told. An agent's own word for it would be none.

use crate::bound::{
    EXCHANGES_MAX, LOOKS_EVERY, STREAMS_END_MAX, WITNESS_BODY_BYTES_MAX, WITNESSED_BYTES_MAX,
};
use crate::door::{Doors, Told, told};
use crate::stand_in::loopback;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use countersign_posture::evals::CaseDoor;
use futures_util::stream::unfold;
use reqwest::Client;
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A witness at work.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) url: String,
    watch: Arc<Watch>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Watch {
    gateway: String,
    http: Client,
    limit: Duration,
    seen: Mutex<Seen>,
    /// How many exchanges are under way.
    open: AtomicUsize,
}

/// Everything that went to and fro.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) exchanges: Vec<Exchange>,
    /// Whether all of it was kept.
    pub(super) whole: bool,
    bytes: usize,
}

/// One request, and what was told.
#[derive(Debug)]
pub(super) struct Exchange {
    path: String,
    sent: Bytes,
    status: StatusCode,
    told: Vec<u8>,
}

impl Witness {
    pub(super) fn start(doors: &Doors, limit: Duration) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a witness of what the agent asks: {error}");
        let listener = loopback().map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let seen = Mutex::new(Seen { exchanges: Vec::new(), whole: true, bytes: 0 });
        let watch = Arc::new(Watch {
            gateway: doors.url.clone(),
            http: doors.http.clone(),
            limit,
            seen,
            open: AtomicUsize::new(0),
        });
        let routes = Router::new().fallback(hand_on).with_state(Arc::clone(&watch));
        let _in_runtime = doors.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let server = doors.runtime.spawn(async move {
            // What it could not serve, the agent tells.
            drop(axum::serve(listener, routes).await);
        });
        Ok(Self { url, watch, server })
    }

    /// What it has seen, once what was under way has ended.
    pub(super) fn end(self) -> Seen {
        let mut left = STREAMS_END_MAX;
        while self.watch.open.load(Ordering::Acquire) > 0 && !left.is_zero() {
            std::thread::sleep(LOOKS_EVERY);
            left = left.saturating_sub(LOOKS_EVERY);
        }
        self.server.abort();
        let nothing = Seen { exchanges: Vec::new(), whole: left > Duration::ZERO, bytes: 0 };
        match self.watch.seen.lock() {
            Ok(mut seen) => std::mem::replace(&mut *seen, nothing),
            Err(_poisoned) => Seen { whole: false, ..nothing },
        }
    }
}

/// One exchange under way: it is kept when it ends, however it does.
struct Tap {
    watch: Arc<Watch>,
    exchange: Option<Exchange>,
}

impl Tap {
    fn of(watch: &Arc<Watch>, path: &str, sent: &Bytes) -> Self {
        watch.open.fetch_add(1, Ordering::AcqRel);
        let (path, sent) = (path.to_owned(), sent.clone());
        let exchange = Exchange { path, sent, status: StatusCode::BAD_GATEWAY, told: Vec::new() };
        Self { watch: Arc::clone(watch), exchange: Some(exchange) }
    }

    /// Keeps a part of what is told. Whether there was room for it.
    fn told(&mut self, part: &[u8]) -> bool {
        let room = self.watch.seen.lock().is_ok_and(|mut seen| {
            seen.bytes = seen.bytes.saturating_add(part.len());
            seen.whole &= seen.bytes <= WITNESSED_BYTES_MAX;
            seen.whole
        });
        if let Some(exchange) = self.exchange.as_mut().filter(|_| room) {
            exchange.told.extend_from_slice(part);
        }
        room
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Ok(mut seen) = self.watch.seen.lock() {
            match self.exchange.take().filter(|_| seen.exchanges.len() < EXCHANGES_MAX) {
                Some(exchange) => seen.exchanges.push(exchange),
                None => seen.whole = false,
            }
        }
        self.watch.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn hand_on(State(watch): State<Arc<Watch>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, WITNESS_BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut tap = Tap::of(&watch, parts.uri.path(), &body);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let asked = watch
        .http
        .request(parts.method, format!("{}{target}", watch.gateway))
        .headers(passed(parts.headers))
        .timeout(watch.limit)
        .body(body)
        .send();
    let Ok(answer) = asked.await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers) = (answer.status(), passed(answer.headers().clone()));
    if let Some(exchange) = &mut tap.exchange {
        exchange.status = status;
    }
    // The end is told to the agent after the exchange is kept: a length would tell it before.
    let stream = unfold((answer, tap), |(mut answer, mut tap)| async move {
        match answer.chunk().await {
            Ok(None) => None,
            Ok(Some(part)) if tap.told(&part) => Some((Ok(part), (answer, tap))),
            Ok(Some(_)) => Some((Err("more than is kept".to_owned()), (answer, tap))),
            Err(error) => Some((Err(error.to_string()), (answer, tap))),
        }
    });
    (status, headers, Body::from_stream(stream)).into_response()
}

/// What of a message is meant for the other end.
fn passed(mut headers: HeaderMap) -> HeaderMap {
    for own in [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ] {
        headers.remove(own);
    }
    headers
}

impl Exchange {
    /// The call that it is, if it is one: by which door, of which tool, with what, and what was told.
    pub(super) fn call(&self) -> Option<(CaseDoor, String, Map<String, Value>, Told)> {
        let sent: Value = serde_json::from_slice(&self.sent).ok()?;
        let text = self.text();
        let (door, tool, arguments, body) = match self.path.trim_end_matches('/') {
            "/mcp" if sent.get("method")?.as_str() == Some("tools/call") => {
                let params = sent.get("params")?;
                (CaseDoor::Mcp, params.get("name"), params.get("arguments"), message(&text))
            }
            "/v1/calls" => (CaseDoor::Http, sent.get("tool"), sent.get("arguments"), text.clone()),
            _ => return None,
        };
        let tool = tool?.as_str()?.to_owned();
        let arguments = arguments.and_then(Value::as_object).cloned().unwrap_or_default();
        let told = Told { text, ..told(self.status, body) };
        Some((door, tool, arguments, told))
    }

    /// All that was told.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.told).into_owned()
    }
}

/// The answer among what a server sent, in one piece or as events.
fn message(text: &str) -> String {
    let mut events = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    let answers = |event: &&str| {
        let event: Value = serde_json::from_str(event).unwrap_or_default();
        event.get("result").is_some() || event.get("error").is_some()
    };
    events.rfind(answers).unwrap_or(text).to_owned()
}
