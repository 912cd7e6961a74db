//! APIs that the suite answers for: what its files say, on loopback, with a log of what was asked.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use countersign_posture::evals::CannedAnswer;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;

/// A request that reached a stand-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The system.
    pub system: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The body.
    pub body: String,
}

/// A stand-in at work.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    state: Arc<Known>,
}

#[derive(Debug)]
struct Known {
    system: String,
    /// As the suite says, and as a case has them.
    answers: Vec<CannedAnswer>,
    now: Mutex<Vec<CannedAnswer>>,
    asked: Mutex<Vec<Asked>>,
    away: AtomicBool,
}

impl StandIn {
    /// Serves it until the runtime ends.
    pub(crate) fn start(
        runtime: &Handle,
        system: &str,
        answers: Vec<CannedAnswer>,
    ) -> std::io::Result<Self> {
        let listener = loopback()?;
        let address = listener.local_addr()?;
        let state = Arc::new(Known {
            system: system.to_owned(),
            now: Mutex::new(answers.clone()),
            answers,
            asked: Mutex::new(Vec::new()),
            away: AtomicBool::new(false),
        });
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let _in_runtime = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        // It ends with the runtime; what it could not serve, the gateway tells.
        drop(runtime.spawn(async move { axum::serve(listener, routes).await }));
        Ok(Self { address, state })
    }

    /// What was asked since this was asked last.
    pub(crate) fn taken(&self) -> Vec<Asked> {
        let asked = self.state.asked.lock();
        asked.map(|mut asked| std::mem::take(&mut *asked)).unwrap_or_default()
    }

    /// Puts a text after every text of more than a word, in all answers whose path names this tenant.
    /// Returns whether there was one.
    pub(crate) fn plant(&self, tenant: &str, text: &str) -> bool {
        let Ok(mut answers) = self.state.now.lock() else { return false };
        let own = answers.iter_mut().filter(|answer| answer.path.contains(tenant));
        own.map(|answer| spread(&mut answer.body, text)).fold(false, |any, planted| any | planted)
    }

    /// Answers as the suite says again, and whenever it is asked.
    pub(crate) fn mend(&self) {
        self.away(false);
        if let Ok(mut now) = self.state.now.lock() {
            now.clone_from(&self.state.answers);
        }
    }

    /// Whether it is away: every answer is 503.
    pub(crate) fn away(&self, away: bool) {
        self.state.away.store(away, Ordering::Relaxed);
    }
}

/// A free port of this machine alone.
pub(crate) fn loopback() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn answer(
    State(known): State<Arc<Known>>,
    (method, uri, _headers): (Method, Uri, HeaderMap),
    body: Bytes,
) -> Response {
    if let Ok(mut asked) = known.asked.lock() {
        asked.push(Asked {
            system: known.system.clone(),
            method: method.to_string(),
            path: uri.to_string(),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    if known.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let found = known.now.lock().ok().and_then(|answers| {
        let pairs: Vec<_> = uri.query().unwrap_or_default().split('&').collect();
        let asked =
            |(name, value): (&String, &String)| pairs.contains(&format!("{name}={value}").as_str());
        let fits = |answer: &&CannedAnswer| {
            let same = answer.method == method.as_str() && answer.path == uri.path();
            same && answer.query.iter().all(asked)
        };
        answers.iter().filter(fits).max_by_key(|answer| answer.query.len()).cloned()
    });
    let Some(found) = found else { return StatusCode::NOT_FOUND.into_response() };
    tokio::time::sleep(Duration::from_millis(found.takes_ms.into())).await;
    let status = StatusCode::from_u16(found.status).unwrap_or(StatusCode::OK);
    (status, axum::Json(found.body)).into_response()
}

/// Puts a text after every text of more than a word.
fn spread(value: &mut Value, planted: &str) -> bool {
    match value {
        Value::String(text) if text.contains(' ') => {
            text.push('\n');
            text.push_str(planted);
            true
        }
        Value::Array(items) => {
            items.iter_mut().map(|item| spread(item, planted)).fold(false, |any, one| any | one)
        }
        Value::Object(members) => {
            members.values_mut().map(|item| spread(item, planted)).fold(false, |any, one| any | one)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
