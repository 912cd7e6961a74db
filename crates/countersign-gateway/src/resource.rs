//! The gateway as a protected resource of OAuth (RFC 9728): what it is called, and who may give
//! tokens for it.

use crate::door::Doors;
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

/// Where its metadata stands; that of the MCP endpoint stands below, under the endpoint's own path.
const METADATA: &str = "/.well-known/oauth-protected-resource";
/// The same for the MCP endpoint.
const MCP: &str = "/mcp";

/// What clients need to know to get a token.
#[derive(Debug)]
pub struct Resource {
    /// How clients reach the gateway: scheme and host.
    pub url: String,
    /// The issuers whose tokens are accepted.
    pub authorization_servers: Vec<String>,
}

/// What metadata is made of: the resource, and the scopes that the posture in force asks for.
pub(crate) type Published = (Arc<Resource>, Doors);

pub(crate) const PATHS: [&str; 2] = [METADATA, "/.well-known/oauth-protected-resource/mcp"];

/// `GET /.well-known/oauth-protected-resource`
pub(crate) async fn root(State((resource, doors)): State<Published>) -> Response {
    metadata(&resource, "", doors)
}

/// `GET /.well-known/oauth-protected-resource/mcp`
pub(crate) async fn mcp(State((resource, doors)): State<Published>) -> Response {
    metadata(&resource, MCP, doors)
}

fn metadata(resource: &Resource, path: &str, doors: Doors) -> Response {
    let in_force = doors.in_force.load();
    let agents = in_force.monitor.posture.agents.values();
    let scopes: BTreeSet<_> = agents
        .flat_map(|agent| agent.grants.values())
        .filter_map(|grant| grant.require_scope.as_deref())
        .collect();
    let mut metadata = json!({
        "resource": format!("{}{path}", resource.url),
        "authorization_servers": resource.authorization_servers,
        "bearer_methods_supported": ["header"],
        "resource_name": "Countersign",
    });
    if let (false, Some(members)) = (scopes.is_empty(), metadata.as_object_mut()) {
        members.insert("scopes_supported".to_owned(), json!(scopes));
    }
    Json(metadata).into_response()
}

impl Resource {
    /// A challenge (RFC 6750 §3, RFC 9728 §5.1) to who asked at `path`.
    pub(crate) fn challenge(&self, path: &str, error: Option<&Error<'_>>) -> HeaderValue {
        let Self { url, .. } = self;
        let below = if path.starts_with(MCP) { MCP } else { "" };
        let mut text =
            format!("Bearer realm=\"countersign\", resource_metadata=\"{url}{METADATA}{below}\"");
        match error {
            None => {}
            Some(Error::InvalidToken) => text.push_str(", error=\"invalid_token\""),
            Some(Error::InsufficientScope(scope)) => {
                text.push_str(&format!(", error=\"insufficient_scope\", scope=\"{scope}\""));
            }
        }
        // A URL or a scope with other characters is none; the bare challenge is still one.
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

/// What was wrong with a token.
pub(crate) enum Error<'a> {
    InvalidToken,
    /// It lacks this one.
    InsufficientScope(&'a str),
}

/// The scope that a call lacked, on its way from the MCP library's handler to the response's status.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lacking(Arc<OnceLock<String>>);

impl Lacking {
    pub(crate) fn note(&self, scope: &str) {
        self.0.get_or_init(|| scope.to_owned());
    }
    pub(crate) fn scope(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// The response with the status and the challenge of a token that lacks a scope.
pub(crate) fn step_up(mut answer: Response, challenge: HeaderValue) -> Response {
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}
