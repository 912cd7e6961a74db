//! What stands before every door: is this request meant for us, small enough, and in time?

use crate::bound::BODY_READ_TIMEOUT;
use crate::door::{Doors, Known, http::problem, mcp::StrictArguments, told};
use crate::identity;
use crate::resource::{Error, Lacking, step_up};
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
use countersign_core::refusal::{AuthenticationFailure, Refusal};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

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
    /// Room for requests to the development issuer.
    pub token_room: Semaphore,
    /// Room for bodies, in KiB.
    pub bodies: Semaphore,
}

/// Where the development issuer answers.
pub(crate) const TOKEN_PATH: &str = "/dev/token";

/// What the headers that proxies add begin with.
const FORWARDED: [&str; 8] = [
    "forwarded",
    "via",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-envoy-",
    "true-client-ip",
    "cf-",
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
        let forwarded = |name: &str| FORWARDED.iter().any(|begin| name.starts_with(begin));
        if self.refuse_forwarded && headers.keys().any(|name| forwarded(name.as_str())) {
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
    let room = if request.uri().path() == TOKEN_PATH { &guard.token_room } else { &guard.room };
    let Ok(_room) = room.try_acquire() else { return busy() };
    next.run(request).await
}

fn busy() -> Response {
    let mut answer =
        problem(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many requests are under way.");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// What the doors' own middleware works with.
pub(crate) type Watch = (Doors, Arc<Guard>);

/// Knows the caller of a request to the HTTP API, and reads its body within bounds.
pub(crate) async fn http(
    State((doors, guard)): State<Watch>,
    mut request: Request,
    next: Next,
) -> Response {
    match known(&doors, &guard, Door::Http, &mut request).await {
        Ok((_body, _room)) => next.run(request).await,
        Err(answer) => *answer,
    }
}

/// Reads the body of a request without a caller within bounds.
pub(crate) async fn bounded(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    match whole(&guard, &mut request).await {
        Ok((_body, _room)) => next.run(request).await,
        Err(answer) => *answer,
    }
}

/// The same as [`http`] for MCP; a `tools/call` travels on with its arguments as the strict reader
/// read them.
pub(crate) async fn mcp(
    State((doors, guard)): State<Watch>,
    mut request: Request,
    next: Next,
) -> Response {
    let (body, _room) = match known(&doors, &guard, Door::Mcp, &mut request).await {
        Ok(known) => known,
        Err(answer) => return *answer,
    };
    if body.is_empty() {
        return next.run(request).await; // GET and DELETE, which the service refuses.
    }
    match args::parse(&body) {
        Ok(Value::Object(message)) if message.get("method").is_some_and(|m| m == "tools/call") => {
            let lacking = Lacking::default();
            request.extensions_mut().insert(lacking.clone());
            match take_arguments(message, &mut request) {
                Ok(()) => {
                    let answer = next.run(request).await;
                    match lacking.scope() {
                        None => answer,
                        Some(scope) => {
                            let error = Error::InsufficientScope(scope);
                            step_up(answer, doors.resource.challenge("/mcp", Some(&error)))
                        }
                    }
                }
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

/// Takes the arguments of a `tools/call` out of the message and puts them beside the request, for the
/// pipeline to judge: no other reader reads them. `Err` is the id of a message that names no tool.
fn take_arguments(mut message: Map<String, Value>, request: &mut Request) -> Result<(), Value> {
    let params = message.get_mut("params").and_then(Value::as_object_mut);
    let Some(params) = params.filter(|params| params.get("name").is_some_and(Value::is_string))
    else {
        return Err(message.remove("id").unwrap_or_default());
    };
    let arguments = params.remove("arguments");
    if arguments.is_some() {
        *request.body_mut() = Body::from(Value::Object(message).to_string());
    }
    request.extensions_mut().insert(StrictArguments(arguments.unwrap_or_default()));
    Ok(())
}

fn rpc_error(id: &Value, code: i64, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}

/// Puts the caller beside the request, and reads its whole body.
async fn known<'a>(
    doors: &Doors,
    guard: &'a Guard,
    door: Door,
    request: &mut Request,
) -> Result<(Bytes, SemaphorePermit<'a>), Box<Response>> {
    let headers = request.headers();
    let credential = identity::bearer(headers).choosing(identity::chosen_tenant(headers));
    let in_force = doors.in_force.load_full();
    match in_force.monitor.authenticate(&credential, door).await {
        Ok(caller) => {
            request.extensions_mut().insert(Known { in_force, caller: Arc::new(caller) });
            whole(guard, request).await
        }
        Err(refused)
            if *refused.refusal() == Refusal::Unauthenticated(AuthenticationFailure::Busy) =>
        {
            Err(Box::new(busy()))
        }
        Err(refused) => {
            // RFC 6750 §3: no error code when nothing was sent.
            let error = credential.expose().map(|_sent| Error::InvalidToken);
            let challenge = doors.resource.challenge(request.uri().path(), error.as_ref());
            let body = json!({ "error": told(&refused.public(), refused.call().as_str()) });
            let mut answer = (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Err(Box::new(answer))
        }
    }
}

/// Reads the body, leaves the request with it, and holds the room that it takes until the request
/// is answered: what is made of a body takes a multiple of it.
async fn whole<'a>(
    guard: &'a Guard,
    request: &mut Request,
) -> Result<(Bytes, SemaphorePermit<'a>), Box<Response>> {
    let refuse = |status, code, why: &str| Box::new(problem(status, code, why));
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok());
    let length = length.and_then(|l| l.parse().ok()).unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
    let kib = u32::try_from(length.div_ceil(1_024)).unwrap_or(u32::MAX);
    let Ok(room) = guard.bodies.try_acquire_many(kib) else { return Err(Box::new(busy())) };
    let read = Limited::new(std::mem::take(request.body_mut()), BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(BODY_READ_TIMEOUT, read).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let why = format!("The body may have at most {BODY_BYTES_MAX} bytes.");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &why));
        }
        Ok(Err(_broken)) => {
            let why = "The body could not be read.";
            return Err(refuse(StatusCode::BAD_REQUEST, "body_unreadable", why));
        }
        Err(_elapsed) => {
            let why = "The body took too long.";
            return Err(refuse(StatusCode::REQUEST_TIMEOUT, "body_too_slow", why));
        }
    };
    *request.body_mut() = Body::from(body.clone());
    Ok((body, room))
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
            token_room: Semaphore::new(1),
            bodies: Semaphore::new(1),
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
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-port", "cf-connecting-ip"]
        {
            assert!(!outcome(&[("host", "localhost"), (name, "1")]), "{name}");
        }
    }
}
