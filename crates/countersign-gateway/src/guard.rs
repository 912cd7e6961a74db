//! What stands before every door: is this request meant for us, small enough, and in time?

use crate::bound::{BODY_READ_TIMEOUT, PASS_OVER_MAX};
use crate::connections::Connection;
use crate::door::admin::{self, Met};
use crate::door::{Doors, Known, http::problem, mcp::StrictArguments, told};
use crate::identity;
use crate::resource::{Error, Lacking, step_up};
use axum::body::HttpBody as _;
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
use http_body_util::BodyExt as _;
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
    /// Room for requests to the console: whoever fills it keeps no agent out, nor the admin API.
    pub console_room: Semaphore,
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
    let room = match request.uri().path() {
        TOKEN_PATH => &guard.token_room,
        path if path.starts_with("/console") => &guard.console_room,
        _ => &guard.room,
    };
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

/// Knows the person behind a request to the admin API, and reads its body within bounds. It answers
/// in that API's own form.
pub(crate) async fn people(
    State((doors, guard)): State<Watch>,
    mut request: Request,
    next: Next,
) -> Response {
    let credential = identity::bearer(request.headers());
    let in_force = doors.in_force.load_full();
    match in_force.monitor.welcome(&credential).await {
        Ok(visitor) => {
            if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
                connection.meet();
            }
            request.extensions_mut().insert(Met { in_force, visitor: Arc::new(visitor) });
            match whole(&guard, &mut request).await {
                Ok((_body, _room)) => next.run(request).await,
                Err(answer) => *answer,
            }
        }
        Err(AuthenticationFailure::Busy) => busy(),
        Err(failure) => {
            let mut challenge = "Bearer realm=\"countersign\"";
            if let AuthenticationFailure::Invalid(why) = &failure {
                challenge = "Bearer realm=\"countersign\", error=\"invalid_token\"";
                tracing::debug!(why, "a person's token is refused");
            }
            let why = "This takes the sign-in of a person: sign in again.";
            let mut answer = admin::problem(StatusCode::UNAUTHORIZED, "unauthenticated", why);
            let challenge = HeaderValue::from_static(challenge);
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            answer
        }
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
    let strict = StrictArguments::take(params);
    *request.body_mut() = Body::from(Value::Object(message).to_string());
    request.extensions_mut().insert(strict);
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
            if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
                connection.meet();
            }
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
/// is answered: what is made of a body takes a multiple of it. A body is taken as it is, or not at
/// all: what a compressed one would become has no bound.
async fn whole<'a>(
    guard: &'a Guard,
    request: &mut Request,
) -> Result<(Bytes, SemaphorePermit<'a>), Box<Response>> {
    let refuse = |status, code, why: &str| Box::new(problem(status, code, why));
    let encoded = encoded(request.headers());
    let mut body = std::mem::take(request.body_mut());
    let read = async {
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            drop(tokio::time::timeout(PASS_OVER_MAX, pass_over(&mut body)).await);
            return Err(Unread::TooLarge);
        }
        let taken = taken_in(&guard.bodies, &mut body).await?;
        // Not before: who is still sending does not hear an answer.
        if encoded { Err(Unread::Encoded) } else { Ok(taken) }
    };
    let read = tokio::time::timeout(BODY_READ_TIMEOUT, read).await.unwrap_or(Err(Unread::TooSlow));
    let (body, room) = read.map_err(|unread| match unread {
        Unread::Busy => Box::new(busy()),
        Unread::TooLarge => {
            let why = format!("The body may have at most {BODY_BYTES_MAX} bytes.");
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &why)
        }
        Unread::Encoded => {
            let why = "The body must not be compressed.";
            let mut answer = refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded", why);
            let plain = HeaderValue::from_static("identity");
            answer.headers_mut().insert(header::ACCEPT_ENCODING, plain);
            answer
        }
        Unread::Broken => {
            let why = "The body could not be read.";
            refuse(StatusCode::BAD_REQUEST, "body_unreadable", why)
        }
        Unread::TooSlow => {
            let why = "The body took too long.";
            refuse(StatusCode::REQUEST_TIMEOUT, "body_too_slow", why)
        }
    })?;
    *request.body_mut() = Body::from(body.clone());
    Ok((body, room))
}

/// Whether a body is anything but the bytes themselves, whole or in chunks.
fn encoded(headers: &HeaderMap) -> bool {
    let other = |name, plain: &[u8]| {
        headers.get_all(name).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(plain))
    };
    other(header::CONTENT_ENCODING, b"identity") || other(header::TRANSFER_ENCODING, b"chunked")
}

/// Why a body was not read.
enum Unread {
    Busy,
    TooLarge,
    Encoded,
    Broken,
    TooSlow,
}

/// Lets a body go by that is not taken: who is still sending when the connection closes may never hear
/// why. What is far too large is cut off all the same.
async fn pass_over(body: &mut Body) {
    let mut left = BODY_BYTES_MAX.saturating_mul(4);
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(still) => left = still,
            None => return,
        }
    }
}

/// A body in whole KiB of room, taken as they come: who sends slowly holds what it has sent.
async fn taken_in<'a>(
    bodies: &'a Semaphore,
    body: &mut Body,
) -> Result<(Bytes, SemaphorePermit<'a>), Unread> {
    let acquire = |kib: usize| {
        let kib = u32::try_from(kib).map_err(|_beyond| Unread::Busy)?;
        bodies.try_acquire_many(kib).map_err(|_full| Unread::Busy)
    };
    let mut room = acquire(1)?;
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_broken| Unread::Broken)?.into_data() else { continue };
        if data.len() > BODY_BYTES_MAX.saturating_sub(whole.len()) {
            return Err(Unread::TooLarge);
        }
        whole.extend_from_slice(&data);
        let more = whole.len().div_ceil(1_024).saturating_sub(room.num_permits());
        room.merge(acquire(more)?);
    }
    Ok((Bytes::from(whole), room))
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
            console_room: Semaphore::new(1),
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
