//! Streamable HTTP: a message is a request, and what is said back its answer, as JSON or as events.

use super::conversation::{Asking, SESSION, is_accepted};
use super::message::{self, MODERN, Message, Progress, RpcError};
use super::sse::Events;
use super::{Server, Trouble, content, headers};
use crate::http::{Http, beginning, check_type};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Response, StatusCode};
use serde_json::{Map, Value};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most messages that are read before an answer, progress and the like.
const MESSAGES_MAX: usize = 10_000;
/// Most requests of the server's own that are refused within one exchange.
const REFUSED_MAX: usize = 16;
/// Most bytes that are read of an answer that is an error.
const ERROR_BYTES_MAX: usize = 16 * 1024;
/// Largest event of a stream that only tells of changes.
const EVENT_BYTES_MAX: usize = 256 * 1024;
/// How long the server may take over what has no answer.
const BESIDE_MAX: Duration = Duration::from_secs(5);

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Result(Map<String, Value>, HeaderMap),
    Error(RpcError),
    Status(StatusCode, String),
}

/// Where a message goes, and in which session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) http: &'a Http,
    pub(super) path: &'a str,
    pub(super) version: &'a str,
    pub(super) session: Option<&'a Session>,
}

/// A session of the legacy era. It is ended where this ends.
#[derive(Debug)]
pub(super) struct Session {
    id: HeaderValue,
    /// Says that it is over.
    end: Option<Box<(Client, Request)>>,
}

impl Session {
    pub(super) fn new(
        mut id: HeaderValue,
        http: &Http,
        path: &str,
        version: &str,
    ) -> Result<Self, Trouble> {
        // Whoever has it is in the session.
        id.set_sensitive(true);
        let mut session = Self { id, end: None };
        let place = Place { http, path, version, session: Some(&session) };
        let end = (http.client()?.clone(), place.request(Method::DELETE)?);
        session.end = Some(Box::new(end));
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some(end), Ok(runtime)) = (self.end.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (client, mut request) = *end;
        *request.timeout_mut() = Some(BESIDE_MAX);
        // A server that does not hear of it ends the session by itself.
        runtime.spawn(async move { drop(client.execute(request).await) });
    }
}

/// What is said.
#[derive(Debug)]
pub(super) struct What<'a> {
    pub(super) id: u64,
    pub(super) method: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) body: Vec<u8>,
}

impl Place<'_> {
    fn request(&self, method: Method) -> Result<Request, Trouble> {
        let mut request = self.http.request_to(method, self.path)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(headers::plain(self.version).map(|value| (VERSION, value)));
        headers.extend(self.session.map(|session| (SESSION, session.id.clone())));
        Ok(request)
    }
}

/// One request and its answer, and for what the server asked meanwhile.
pub(super) async fn exchange(
    place: &Place<'_>,
    what: What<'_>,
    asking: &Asking<'_>,
    server: &Server,
) -> Result<(Heard, Option<String>), Trouble> {
    let What { id, method, name, body } = what;
    let mut request = place.request(Method::POST)?;
    let headers = request.headers_mut();
    if place.version == MODERN {
        headers.extend(headers::plain(method).map(|value| (METHOD, value)));
        headers.extend(name.and_then(headers::plain).map(|value| (NAME, value)));
        headers.extend(asking.mirrored.iter().cloned());
    }
    if method == "initialize" {
        headers.remove(VERSION); // It is what is agreed on by this.
    }
    headers.extend(asking.key.and_then(headers::plain).map(|value| (IDEMPOTENCY_KEY, value)));
    *request.body_mut() = Some(body.into());
    // An effect goes over a connection of its own: if that does not come about, nothing was sent.
    let client = match asking.key {
        Some(_) => place.http.sender()?,
        None => place.http.client()?.clone(),
    };
    asking.sent.store(1, Ordering::Relaxed);
    let response = client.execute(request).await.map_err(|error| {
        let unsent = error.is_connect() || error.is_builder();
        let applied = if unsent { Applied::NotApplied } else { Applied::Unknown };
        Trouble::from(SystemFault { applied, ..place.http.broken(error) })
    })?;
    if !response.status().is_success() {
        return Ok((refused(place, response).await, None));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("text/event-stream") {
        return events(place, id, response, (asking, server)).await;
    }
    check_type(response.headers()).map_err(|why| failed(&why))?;
    let headers = response.headers().clone();
    let most = if asking.bytes == usize::MAX { EVENT_BYTES_MAX } else { asking.bytes };
    let body = whole(place, response, most).await?;
    let heard = match message::read(&body).map_err(|why| failed(&why))? {
        Message::Answer(answered, outcome) if answered == id => answer(place, outcome, headers)?,
        Message::Error(error) => Heard::Error(error.without(&place.http.secrets())),
        Message::Answer(..) => return Err(failed("the server answered another request")),
        Message::Request(..) | Message::Notification(..) => {
            return Err(failed("the server answered with something that is no answer"));
        }
    };
    Ok((heard, None))
}

/// An answer, unless it repeats what the system is authorised by.
fn answer(
    place: &Place<'_>,
    outcome: Result<Map<String, Value>, RpcError>,
    headers: HeaderMap,
) -> Result<Heard, Trouble> {
    match outcome {
        Ok(result) => {
            let result = Value::Object(result);
            if place.http.shows_credential(&result) {
                return Err(failed("the answer repeats the system's credential"));
            }
            let Value::Object(result) = result else { return Err(failed("the answer is none")) };
            Ok(Heard::Result(result, headers))
        }
        Err(error) => Ok(Heard::Error(error.without(&place.http.secrets()))),
    }
}

/// An answer that is no success: an error of JSON-RPC if it says so, or else the status.
async fn refused(place: &Place<'_>, response: Response) -> Heard {
    let status = response.status();
    let body = beginning(response, ERROR_BYTES_MAX).await;
    match message::read(&body) {
        Ok(Message::Answer(_, Err(error)) | Message::Error(error)) => {
            // A status of the session's counts for more than what is said beside it.
            let unknown = status == StatusCode::NOT_FOUND && !error.is_unknown_method();
            if unknown && place.session.is_some() {
                return Heard::Status(
                    status,
                    content::cut(&error.without(&place.http.secrets()).message),
                );
            }
            Heard::Error(error.without(&place.http.secrets()))
        }
        _ => {
            let said = place.http.screened(&String::from_utf8_lossy(&body));
            Heard::Status(status, said.chars().take(512).collect())
        }
    }
}

async fn events(
    place: &Place<'_>,
    id: u64,
    mut response: Response,
    (asking, server): (&Asking<'_>, &Server),
) -> Result<(Heard, Option<String>), Trouble> {
    let headers = response.headers().clone();
    let listens = asking.bytes == usize::MAX;
    let mut events = Events::default();
    let (mut read, mut messages, mut refused, mut asked) = (0usize, 0usize, 0usize, None);
    while let Some(piece) = response.chunk().await.map_err(|error| broken(place, error))? {
        read = read.saturating_add(piece.len());
        if read > asking.bytes || (listens && events.held() > EVENT_BYTES_MAX) {
            return Err(long(asking.bytes));
        }
        for data in events.take(&piece).into_iter().filter(|data| !data.is_empty()) {
            messages = messages.saturating_add(1);
            if messages > MESSAGES_MAX && !listens {
                return Err(failed("the server tells and tells, and does not answer"));
            }
            match message::read(&data).map_err(|why| failed(&why))? {
                Message::Answer(answered, outcome) if answered == id => {
                    return Ok((answer(place, outcome, headers)?, asked));
                }
                Message::Answer(..) => return Err(failed("the server answered another request")),
                Message::Error(error) => {
                    return Ok((Heard::Error(error.without(&place.http.secrets())), asked));
                }
                Message::Notification(method, _) if message::says_changed(&method) => {
                    server.is_told()
                }
                Message::Notification(_, Some(Progress { of, done, total })) if of == id => {
                    if let Some(proposer) = asking.proposer {
                        proposer.progress(done, total);
                    }
                }
                Message::Notification(..) => {}
                Message::Request(of, method) => {
                    refused = refused.saturating_add(1);
                    if refused > REFUSED_MAX {
                        return Err(failed("the server asks and asks its client"));
                    }
                    // Whether it heard that it is refused changes nothing of what was asked of it.
                    if place.version != MODERN
                        && let Err(trouble) = post(place, message::refusal(&of, &method)).await
                    {
                        tracing::debug!(detail = trouble.detail, "a refusal was not heard");
                    }
                    asked = Some(place.http.screened(&message::named(&method)));
                }
            }
        }
    }
    Err(failed("the server ended its answer before it had answered"))
}

/// Hears what the server tells of its own accord, for as long as it lets us (2025-11-25,
/// basic/transports, "Listening for Messages from the Server").
pub(super) async fn overhear(place: &Place<'_>, server: &Server) -> Result<(), Trouble> {
    let mut request = place.request(Method::GET)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    request.headers_mut().remove(CONTENT_TYPE);
    let response = place.http.client()?.execute(request).await;
    let mut response = response.map_err(|error| broken(place, error))?;
    if !response.status().is_success() {
        return Ok(()); // It tells nothing.
    }
    let mut events = Events::default();
    while let Some(piece) = response.chunk().await.map_err(|error| broken(place, error))? {
        for data in events.take(&piece).into_iter().filter(|data| !data.is_empty()) {
            match message::read(&data) {
                Ok(Message::Notification(method, _)) if message::says_changed(&method) => {
                    server.is_told();
                }
                Ok(Message::Request(of, method)) => {
                    post(place, message::refusal(&of, &method)).await?;
                }
                _ => {}
            }
        }
        if events.held() > EVENT_BYTES_MAX {
            return Err(long(EVENT_BYTES_MAX));
        }
    }
    Ok(())
}

/// Says what has no answer.
pub(super) async fn post(place: &Place<'_>, body: Vec<u8>) -> Result<(), Trouble> {
    let mut request = place.request(Method::POST)?;
    *request.body_mut() = Some(body.into());
    *request.timeout_mut() = Some(BESIDE_MAX);
    let response = place.http.client()?.execute(request).await;
    let response = response.map_err(|error| broken(place, error))?;
    let status = response.status();
    if is_accepted(status) {
        return Ok(());
    }
    let detail = format!("the server answered {} to what has no answer", status.as_u16());
    Err(Trouble::unasked(SystemFaultKind::Failed, &detail).ends())
}

async fn whole(place: &Place<'_>, mut response: Response, most: usize) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| broken(place, error))? {
        if body.len().saturating_add(piece.len()) > most {
            return Err(long(most));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn long(most: usize) -> Trouble {
    failed(&format!(
        "the answer is longer than the {most} bytes that the system's `bytes` leave for it"
    ))
}

fn broken(place: &Place<'_>, error: reqwest::Error) -> Trouble {
    SystemFault { applied: Applied::Unknown, ..place.http.broken(error) }.into()
}

/// It answered, and what it did is not known by that.
fn failed(detail: &str) -> Trouble {
    Trouble::new(SystemFaultKind::Failed, Applied::Unknown, detail)
}
