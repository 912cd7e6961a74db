//! What stands before every door: is this request meant for us, small enough, and in time?

use crate::bound::BODY_READ_TIMEOUT;
use crate::door::{Doors, Known, http::problem, mcp::StrictArguments, told};
use crate::identity;
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_core::args;
use countersign_core::bound::BODY_BYTES_MAX;
use countersign_core::call::Door;
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Which requests are meant for this gateway.
#[derive(Debug)]
pub struct Guard {
    /// `Host` values that are ours, with or without a port.
    pub hosts: Vec<String>,
    /// `Origin` values that may reach us. A browser page of any other is turned away.
    pub origins: Vec<String>,
    /// Whether a request that came through a proxy is turned away: with the development issuer a
    /// proxy would put an issuer of tokens for everybody on the network.
    pub refuse_forwarded: bool,
    /// Room for requests under way.
    pub room: Semaphore,
}

/// Headers that proxies add.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

impl Guard {
    fn turned_away(&self, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            (None, None) => uri.host(),
            (_, Some(_)) => None,
        };
        if !host.is_some_and(|host| self.is_ours(host)) {
            return Some("The Host header does not name this gateway.");
        }
        if uri.host().is_some_and(|host| !self.is_ours(host)) {
            return Some("The request's target does not name this gateway.");
        }
        let strange = |origin: &HeaderValue| {
            !self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        };
        if headers.get_all(header::ORIGIN).iter().any(strange) {
            return Some("Requests from this Origin are not accepted.");
        }
        if self.refuse_forwarded && FORWARDED.iter().any(|name| headers.contains_key(*name)) {
            return Some("Forwarded requests are not accepted while the development issuer is on.");
        }
        None
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        });
        self.hosts
            .iter()
            .any(|own| own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(name))
    }
}

/// Turns away what is not meant for this gateway, and what there is no room for.
pub(crate) async fn admit(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(why) = guard.turned_away(request.uri(), request.headers()) {
        return problem(StatusCode::FORBIDDEN, "turned_away", why);
    }
    let Ok(_room) = guard.room.try_acquire() else {
        let mut answer =
            problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests are under way.");
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return answer;
    };
    next.run(request).await
}

/// Knows the caller of a request to the HTTP API, and reads its body within bounds.
pub(crate) async fn http(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    match known(&doors, Door::Http, request).await {
        Ok((request, _body)) => next.run(request).await,
        Err(answer) => answer,
    }
}

/// The same for MCP; a `tools/call` travels on with its arguments as the strict reader read them.
pub(crate) async fn mcp(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let (mut request, body) = match known(&doors, Door::Mcp, request).await {
        Ok(known) => known,
        Err(answer) => return answer,
    };
    if body.is_empty() {
        return next.run(request).await; // GET and DELETE, which the service refuses.
    }
    match args::parse(&body) {
        Ok(Value::Object(message)) if message.get("method").is_some_and(|m| m == "tools/call") => {
            match take_arguments(message, &mut request) {
                Ok(()) => next.run(request).await,
                Err(id) => rpc_error(&id, -32602, "`params` must have a `name`"),
            }
        }
        Ok(Value::Object(_)) => next.run(request).await,
        Ok(_) => rpc_error(&Value::Null, -32600, "the body must be one JSON-RPC message"),
        Err(error) => {
            rpc_error(&Value::Null, -32700, &format!("the body is not acceptable JSON: {error}"))
        }
    }
}

/// Puts the arguments of a `tools/call` beside the request, for the pipeline to judge. Those that
/// are no object are taken out of the message: the MCP library would not know it for a call.
/// `Err` is the id of a message that names no tool.
fn take_arguments(mut message: Map<String, Value>, request: &mut Request) -> Result<(), Value> {
    let params = message.get_mut("params").and_then(Value::as_object_mut);
    let Some(params) = params.filter(|params| params.get("name").is_some_and(Value::is_string))
    else {
        return Err(message.remove("id").unwrap_or_default());
    };
    let arguments = params.remove("arguments");
    if arguments.as_ref().is_some_and(|arguments| !arguments.is_object()) {
        *request.body_mut() = Body::from(Value::Object(message).to_string());
    }
    request.extensions_mut().insert(StrictArguments(arguments.unwrap_or_default()));
    Ok(())
}

fn rpc_error(id: &Value, code: i64, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}

/// The request with its caller beside it, and its whole body.
async fn known(doors: &Doors, door: Door, request: Request) -> Result<(Request, Bytes), Response> {
    let credential = identity::bearer(request.headers());
    let in_force = doors.in_force.load_full();
    let caller = match in_force.monitor.authenticate(&credential, door).await {
        Ok(caller) => caller,
        Err(refused) => {
            // RFC 6750 §3: no error code when nothing was sent.
            let challenge = if credential.expose().is_some() {
                "Bearer realm=\"countersign\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"countersign\""
            };
            let body = json!({ "error": told(&refused.public(), refused.call().as_str()) });
            let mut answer = (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            return Err(answer);
        }
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Known { in_force, caller: Arc::new(caller) });
    let body = whole(body).await?;
    Ok((Request::from_parts(parts, Body::from(body.clone())), body))
}

async fn whole(body: Body) -> Result<Bytes, Response> {
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_READ_TIMEOUT, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            &format!("The body may have at most {BODY_BYTES_MAX} bytes."),
        )),
        Ok(Err(_broken)) => {
            Err(problem(StatusCode::BAD_REQUEST, "body_unreadable", "The body could not be read."))
        }
        Err(_elapsed) => {
            Err(problem(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "The body took too long."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            hosts: vec!["127.0.0.1:8787".into(), "localhost".into(), "[::1]".into()],
            origins: vec!["https://app.example".into()],
            refuse_forwarded: true,
            room: Semaphore::new(1),
        }
    }

    fn outcome(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        guard().turned_away(&Uri::from_static("/mcp"), &headers).is_none()
    }

    #[test]
    fn only_our_own_hosts_are_served() {
        for host in ["127.0.0.1:8787", "localhost", "LOCALHOST:99", "[::1]:8787", "[::1]"] {
            assert!(outcome(&[("host", host)]), "{host}");
        }
        for host in ["127.0.0.1", "evil.example", "localhost.evil.example", "", "localhost:x"] {
            assert!(!outcome(&[("host", host)]), "{host}");
        }
        assert!(!outcome(&[]));
        assert!(!outcome(&[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn a_foreign_origin_is_turned_away_and_none_at_all_is_fine() {
        assert!(outcome(&[("host", "localhost"), ("origin", "https://app.example")]));
        for origin in ["https://evil.example", "null", "https://app.example.evil"] {
            assert!(!outcome(&[("host", "localhost"), ("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn a_forwarded_request_does_not_reach_the_development_issuer() {
        for name in FORWARDED {
            assert!(!outcome(&[("host", "localhost"), (name, "1")]), "{name}");
        }
    }
}
