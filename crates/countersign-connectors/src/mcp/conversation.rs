//! A conversation with a server: which era it is of, and a request and its answer.

use super::catalogue::Named;
use super::message::{self, LEGACY, MODERN, RpcError};
use super::program::{self, Process};
use super::streamable::{self as http, Heard};
use super::{At, Server, Trouble, content};
use countersign_core::id::{ActorId, IssuerId, SubjectId, TenantId};
use countersign_core::port::Proposer;
use countersign_core::principal::Principal;
use countersign_core::refusal::{Applied, SystemFaultKind};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout};

/// How long a program may take to say that it knows the modern era.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// Most bytes of an answer that is no result of a tool.
pub(super) const SAID_BYTES_MAX: usize = 4 * 1024 * 1024;
/// By what a server of the legacy era knows a session.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Whose a conversation is: of one caller in one tenant, or the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Holder(Option<(IssuerId, SubjectId, ActorId, TenantId)>);

impl Holder {
    pub(super) fn of(principal: &Principal) -> Self {
        let Principal { issuer, subject, actor, tenant, .. } = principal;
        Self(Some((issuer.clone(), subject.clone(), actor.clone(), tenant.clone())))
    }

    pub(super) const fn gateway() -> Self {
        Self(None)
    }
}

/// What a request takes beside its words.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    /// What a server that refuses to do a thing twice knows an effect by.
    pub(super) key: Option<&'a str>,
    /// Arguments that are said again in headers.
    pub(super) mirrored: Vec<(HeaderName, HeaderValue)>,
    /// Most bytes that are read of what is said back.
    pub(super) bytes: usize,
    /// Is no longer 0 once the request may have arrived.
    pub(super) sent: &'a AtomicU64,
    /// Who hears how far it is.
    pub(super) proposer: Option<&'a Arc<dyn Proposer>>,
}

impl<'a> Asking<'a> {
    /// For a request that is no agent's: nobody hears of it, and it changes nothing.
    pub(super) const fn beside(bytes: usize, sent: &'a AtomicU64) -> Self {
        Self { key: None, mirrored: Vec::new(), bytes, sent, proposer: None }
    }
}

/// Begun by whoever needs it first.
#[derive(Debug)]
pub(super) struct Conversation {
    spoken: OnceCell<Spoken>,
    /// Of whoever looks what the server defines: one at a time.
    looking: Semaphore,
    looked: Mutex<Looked>,
}

/// What is known in it of what the server defines.
#[derive(Debug, Default)]
struct Looked {
    /// When it was last looked, and what the server had told by then.
    at: Option<(Instant, u64)>,
    /// What was not as it was reviewed. Others may be shown something else.
    differing: BTreeSet<Named>,
}

/// A conversation that was begun.
#[derive(Debug)]
struct Spoken {
    /// The era, by what stands in it for the version.
    version: &'static str,
    wire: Wire,
    ids: Arc<AtomicU64>,
    /// Whether it says that it tells when something changes.
    tells: bool,
}

#[derive(Debug)]
pub(super) enum Wire {
    /// With the session that the server opened, if it did.
    Http(Option<http::Session>),
    Stdio(Arc<Process>),
}

impl Default for Conversation {
    fn default() -> Self {
        let (spoken, looked) = (OnceCell::new(), Mutex::default());
        Self { spoken, looking: Semaphore::new(1), looked }
    }
}

impl Conversation {
    pub(super) const fn looking(&self) -> &Semaphore {
        &self.looking
    }

    /// Begins it, once, whoever comes meanwhile.
    pub(super) async fn begin(&self, server: &Server, holder: &Holder) -> Result<(), Trouble> {
        self.spoken.get_or_try_init(|| Spoken::begin(server, holder)).await.map(drop)
    }

    fn spoken(&self) -> Result<&Spoken, Trouble> {
        let none = || Trouble::unasked(SystemFaultKind::Unavailable, "nothing was begun");
        self.spoken.get().ok_or_else(none)
    }

    /// Whether the server keeps nothing from one request to the next.
    pub(super) fn is_stateless(&self) -> bool {
        let spoken = self.spoken.get();
        spoken
            .is_some_and(|spoken| spoken.version == MODERN && matches!(spoken.wire, Wire::Http(_)))
    }

    /// When it was last looked, and what the server had told by then.
    pub(super) fn looked(&self) -> Option<(Instant, u64)> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    /// Whether what the server defines here is not what was reviewed.
    pub(super) fn differs(&self, of: &Named) -> bool {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).differing.contains(of)
    }

    pub(super) fn has_looked(&self, at: (Instant, u64), differing: BTreeSet<Named>) {
        let looked = Looked { at: Some(at), differing };
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = looked;
    }

    /// Asks, and waits for the answer: the caller says for how long.
    pub(super) async fn ask(
        &self,
        server: &Server,
        (method, params): (&str, Map<String, Value>),
        asking: Asking<'_>,
    ) -> Result<Map<String, Value>, Trouble> {
        let spoken = self.spoken()?;
        let (heard, asked) = spoken.say(server, (method, params), &asking).await?;
        let has_session = matches!(spoken.wire, Wire::Http(Some(_)));
        let result =
            judged(heard, has_session).map_err(|trouble| trouble.after(asked.as_deref()))?;
        // Why it is an error is perhaps that the server was refused.
        match asked.filter(|_| result.get("isError") == Some(&Value::Bool(true))) {
            Some(asked) => {
                let detail = content::asks(&asked);
                Err(Trouble::refused(detail, Applied::Unknown))
            }
            None => Ok(result),
        }
    }

    /// Whether the server says that it tells when something changes.
    pub(super) fn tells(&self) -> bool {
        self.spoken.get().is_some_and(|spoken| spoken.tells)
    }

    /// Hears when something changes, for as long as the server tells. It may end at any time.
    pub(super) async fn listen(&self, server: &Server) -> Result<(), Trouble> {
        let spoken = self.spoken()?;
        let changes = json!({
            "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        });
        let listen =
            ("subscriptions/listen", Map::from_iter([("notifications".to_owned(), changes)]));
        let sent = AtomicU64::new(0);
        let asking = Asking::beside(usize::MAX, &sent);
        match (&spoken.wire, &server.at) {
            (Wire::Stdio(process), _) if spoken.version != MODERN => {
                process.ended().await;
                Ok(())
            }
            (Wire::Http(session), At::Http { http, path }) if spoken.version != MODERN => {
                let place =
                    http::Place { http, path, version: spoken.version, session: session.as_ref() };
                http::overhear(&place, server).await
            }
            (_, _) => spoken.say(server, listen, &asking).await.map(drop),
        }
    }
}

impl Spoken {
    async fn begin(server: &Server, holder: &Holder) -> Result<Self, Trouble> {
        match &server.at {
            At::Http { .. } => Self::over_http(server).await,
            At::Stdio { program, starts } => {
                let process = program::start(program, (starts, holder), server)?;
                Self::over_stdio(server, process).await
            }
        }
    }

    fn new(version: &'static str, wire: Wire) -> Self {
        Self { version, wire, ids: Arc::new(AtomicU64::new(1)), tells: false }
    }

    /// Tries the modern era; what no server of that era says leads to the other (2026-07-28,
    /// basic/transports/streamable-http, "Backward Compatibility").
    async fn over_http(server: &Server) -> Result<Self, Trouble> {
        let modern = Self::new(MODERN, Wire::Http(None));
        let mut heard = modern.discover(server).await?;
        if let Heard::Error(error) = &heard
            && error.supported().contains(&MODERN)
        {
            heard = modern.discover(server).await?; // It takes this version, after all.
        }
        match heard {
            Heard::Result(found, _) => modern.discovered(&found),
            Heard::Error(error) if error.is_modern() => {
                let legacy = error.supported().iter().any(|version| LEGACY.contains(version));
                if legacy {
                    Self::new(LEGACY[0], Wire::Http(None)).shaken(server).await
                } else {
                    Err(unspoken(&format!("{:?}", error.supported())))
                }
            }
            Heard::Status(status, said)
                if matches!(status.as_u16(), 401 | 403 | 407 | 429)
                    || !status.is_client_error() =>
            {
                judged(Heard::Status(status, said), false).and(Err(unspoken("nothing")))
            }
            Heard::Error(..) | Heard::Status(..) => {
                Self::new(LEGACY[0], Wire::Http(None)).shaken(server).await
            }
        }
    }

    /// Asks for the modern era. A program that has not answered in time knows no such question, or is
    /// still starting: the other era is begun beside it, and what the program answers decides.
    async fn over_stdio(server: &Server, process: Arc<Process>) -> Result<Self, Trouble> {
        let modern = Self::new(MODERN, Wire::Stdio(Arc::clone(&process)));
        // They count as one: an answer to the question must not be taken for one to the handshake.
        let legacy = || Self {
            ids: Arc::clone(&modern.ids),
            ..Self::new(LEGACY[0], Wire::Stdio(Arc::clone(&process)))
        };
        let heard = {
            let mut asked = pin!(modern.discover(server));
            match timeout(PROBE_MAX, &mut asked).await {
                Ok(heard) => heard?,
                Err(_late) => {
                    let mut shaken = pin!(legacy().shaken(server));
                    tokio::select! {
                        biased; // It answers in order.
                        heard = &mut asked => match heard? {
                            heard @ Heard::Result(..) => heard,
                            Heard::Error(..) | Heard::Status(..) => return shaken.await,
                        },
                        begun = &mut shaken => match begun {
                            Ok(begun) => return Ok(begun),
                            // One of the modern era that answers out of order refuses this first.
                            Err(trouble) => match timeout(PROBE_MAX, &mut asked).await {
                                Ok(Ok(heard @ Heard::Result(..))) => heard,
                                Ok(Ok(_) | Err(_)) | Err(_) => return Err(trouble),
                            },
                        },
                    }
                }
            }
        };
        match heard {
            Heard::Result(found, _) => modern.discovered(&found),
            Heard::Error(error)
                if error.is_modern()
                    && !error.supported().iter().any(|version| LEGACY.contains(version)) =>
            {
                Err(unspoken(&format!("{:?}", error.supported())))
            }
            Heard::Error(..) | Heard::Status(..) => legacy().shaken(server).await,
        }
    }

    async fn discover(&self, server: &Server) -> Result<Heard, Trouble> {
        let sent = AtomicU64::new(0);
        let asking = Asking::beside(SAID_BYTES_MAX, &sent);
        Ok(self.say(server, ("server/discover", Map::new()), &asking).await?.0)
    }

    fn discovered(self, found: &Map<String, Value>) -> Result<Self, Trouble> {
        let versions = found.get("supportedVersions").and_then(Value::as_array);
        let speaks = versions.is_some_and(|all| all.iter().any(|version| version == MODERN));
        if !speaks {
            return Err(unspoken(&Value::from(versions.cloned()).to_string()));
        }
        Ok(Self { tells: tells(found), ..self })
    }

    /// The handshake of the legacy era (2025-11-25, basic/lifecycle).
    async fn shaken(self, server: &Server) -> Result<Self, Trouble> {
        let sent = AtomicU64::new(0);
        let asking = Asking::beside(SAID_BYTES_MAX, &sent);
        let params = json!({
            "protocolVersion": LEGACY[0], "capabilities": {}, "clientInfo": message::client_info(),
        });
        let Value::Object(params) = params else { return Err(unspoken("nothing")) };
        let (heard, _) = self.say(server, ("initialize", params), &asking).await?;
        let session = match &heard {
            Heard::Result(_, headers) => headers.get(SESSION).cloned(),
            Heard::Error(..) | Heard::Status(..) => None,
        };
        let begun = judged(heard, false).map_err(|trouble| {
            let detail = format!("the server would not begin: {}", trouble.detail);
            Trouble::unasked(SystemFaultKind::Unavailable, &detail).ends()
        })?;
        let version = begun.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let Some(version) = LEGACY.into_iter().find(|known| *known == version) else {
            return Err(unspoken(version));
        };
        let wire = match (self.wire, &server.at) {
            (Wire::Http(_), At::Http { http, path }) => {
                let session = session.map(|id| http::Session::new(id, http, path, version));
                Wire::Http(session.transpose()?)
            }
            (wire, _) => wire,
        };
        let spoken = Self { version, wire, ids: self.ids, tells: tells(&begun) };
        spoken.tell(server, "notifications/initialized", json!({})).await?;
        Ok(spoken)
    }

    /// One request, and what was heard; and what the server asked of its client meanwhile, if it did.
    async fn say(
        &self,
        server: &Server,
        (method, mut params): (&str, Map<String, Value>),
        asking: &Asking<'_>,
    ) -> Result<(Heard, Option<String>), Trouble> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        if self.version == MODERN {
            params.insert("_meta".to_owned(), message::meta());
        }
        if asking.proposer.is_some()
            && let Value::Object(meta) = params.entry("_meta").or_insert_with(|| json!({}))
        {
            meta.insert("progressToken".to_owned(), id.into());
        }
        let name = params.get("name").or_else(|| params.get("uri"));
        let name = name.and_then(Value::as_str).map(str::to_owned);
        let body = message::request(id, method, params);
        match (&self.wire, &server.at) {
            (Wire::Http(session), At::Http { http, path }) => {
                let place =
                    http::Place { http, path, version: self.version, session: session.as_ref() };
                let what = http::What { id, method, name: name.as_deref(), body };
                http::exchange(&place, what, asking, server).await
            }
            (Wire::Stdio(process), _) => process.ask(id, body, asking).await,
            (Wire::Http(_), At::Stdio { .. }) => Err(unspoken("nothing")),
        }
    }

    /// A notification.
    async fn tell(&self, server: &Server, method: &str, params: Value) -> Result<(), Trouble> {
        let body = message::notification(method, params);
        match (&self.wire, &server.at) {
            (Wire::Http(session), At::Http { http, path }) => {
                let place =
                    http::Place { http, path, version: self.version, session: session.as_ref() };
                http::post(&place, body).await
            }
            (Wire::Stdio(process), _) => process.tell(body),
            (Wire::Http(_), At::Stdio { .. }) => Err(unspoken("nothing")),
        }
    }
}

fn tells(found: &Map<String, Value>) -> bool {
    let capabilities = found.get("capabilities").and_then(Value::as_object);
    let mut all = capabilities.into_iter().flat_map(Map::values);
    all.any(|capability| capability.get("listChanged") == Some(&Value::Bool(true)))
}

fn unspoken(version: &str) -> Trouble {
    let version: String = version.chars().take(100).collect();
    let detail = format!("the server speaks no version of MCP that is known here, but {version}");
    Trouble::unasked(SystemFaultKind::Unavailable, &detail).ends()
}

/// The result, or what is known of an effect by what was heard instead.
fn judged(heard: Heard, has_session: bool) -> Result<Map<String, Value>, Trouble> {
    use SystemFaultKind::{Busy, Failed, TimedOut, Unavailable};
    let (status, said) = match heard {
        Heard::Result(result, _) => return Ok(result),
        Heard::Error(error) => return Err(by_error(&error)),
        Heard::Status(status, said) => (status, said),
    };
    let detail = format!("the server answered {}: {said}", status.as_u16());
    let trouble = |kind, applied| Trouble::new(kind, applied, &detail);
    Err(match status.as_u16() {
        404 if has_session => trouble(Unavailable, Applied::NotApplied).session_ended(),
        400 | 404 | 405 | 406 | 415 => trouble(Failed, Applied::NotApplied).ends(),
        408 | 504 => trouble(TimedOut, Applied::Unknown),
        429 => trouble(Busy, Applied::NotApplied),
        502 | 503 => trouble(Unavailable, Applied::Unknown),
        499 => trouble(Failed, Applied::Unknown),
        // To be sent again elsewhere as it is; others may follow what was done.
        307 | 308 | 401..=498 => trouble(Failed, Applied::NotApplied),
        _ => trouble(Failed, Applied::Unknown),
    })
}

fn by_error(error: &RpcError) -> Trouble {
    if error.is_modern() {
        let detail = format!("the server does not take the request: {}", error.message);
        return Trouble::unasked(SystemFaultKind::Failed, &detail).ends();
    }
    let applied = if error.is_of_request() { Applied::NotApplied } else { Applied::Unknown };
    Trouble::refused(content::cut(&error.message), applied)
}

/// A status that says nothing of JSON-RPC.
pub(super) const fn is_accepted(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 202 | 204)
}

/// For where there are none.
pub(super) fn no_headers() -> HeaderMap {
    HeaderMap::new()
}
