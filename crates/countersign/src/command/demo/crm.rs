//! The company's CRM: an API with a key of its own, which knows accounts and nothing of callers. It is
//! part of the example, as its databases are, and served on a listener of its own.

use crate::render::{Doing, Failure};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs::OpenOptions, io::Write as _, net::TcpListener, os::unix::fs::OpenOptionsExt as _,
    path::PathBuf, sync::Arc, time::Duration,
};

/// How long its archive takes: longer than the gateway waits.
const ARCHIVE_TAKES: Duration = Duration::from_secs(5);

/// The CRM.
#[derive(Debug)]
pub(super) struct Crm {
    /// Objects with `id`, `account`, `role`, `former` and more.
    pub(super) contacts: Vec<Value>,
    /// What a request must carry as `X-Api-Key`.
    pub(super) key: SecretString,
    /// Where it writes down what it was asked, a line each.
    pub(super) log: PathBuf,
}

impl Crm {
    /// Serves it until the future is dropped.
    pub(super) async fn serve(self, listener: TcpListener) -> Result<(), Failure> {
        let listener = tokio::net::TcpListener::from_std(listener).doing("the CRM's listener")?;
        let crm = Arc::new(self);
        let routes = Router::new()
            .route("/v2/accounts/{account}/contacts", get(list))
            .route("/v2/accounts/{account}/contacts/{contact}", get(one))
            .layer(middleware::from_fn_with_state(Arc::clone(&crm), admit))
            .with_state(crm);
        axum::serve(listener, routes).await.doing("the CRM")
    }

    fn of<'a>(&'a self, account: &'a str) -> impl Iterator<Item = &'a Value> {
        self.contacts.iter().filter(move |contact| says(contact, "account", account))
    }

    fn log(&self, line: &str) -> std::io::Result<()> {
        let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log)?;
        log.write_all(format!("{line}\n").as_bytes())
    }
}

fn says(contact: &Value, member: &str, text: &str) -> bool {
    contact.get(member).and_then(Value::as_str) == Some(text)
}

/// Writes every request down, and lets in those that carry the key.
async fn admit(State(crm): State<Arc<Crm>>, request: Request, next: Next) -> Response {
    if crm.log(&format!("{} {}", request.method(), request.uri())).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let key = request.headers().get("x-api-key").map(|key| key.as_bytes());
    if key != Some(crm.key.expose_secret().as_bytes()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "no valid key" })))
            .into_response();
    }
    next.run(request).await
}

#[derive(Debug, Deserialize)]
struct Wanted {
    role: Option<String>,
    #[serde(default)]
    former: bool,
    limit: Option<usize>,
}

async fn list(
    State(crm): State<Arc<Crm>>,
    Path(account): Path<String>,
    Query(Wanted { role, former, limit }): Query<Wanted>,
) -> Json<Value> {
    if former {
        tokio::time::sleep(ARCHIVE_TAKES).await;
    }
    let has_left = |contact: &&Value| contact.get("former") == Some(&Value::Bool(true));
    let found = crm.of(&account).filter(|contact| former || !has_left(contact));
    let found =
        found.filter(|contact| role.as_deref().is_none_or(|role| says(contact, "role", role)));
    let items: Vec<_> = found.take(limit.unwrap_or(usize::MAX)).collect();
    Json(json!({ "items": items }))
}

async fn one(
    State(crm): State<Arc<Crm>>,
    Path((account, contact)): Path<(String, String)>,
) -> Response {
    match crm.of(&account).find(|known| says(known, "id", &contact)) {
        Some(found) => Json(found.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "not found" }))).into_response(),
    }
}
