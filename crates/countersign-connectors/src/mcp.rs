//! An MCP server as a production system: over Streamable HTTP of both eras, or as a program of ours.
//!
//! What a server defines was reviewed and is pinned. What it defines now is held against that when a
//! conversation begins, when it says that something changed, and as often as the posture says; whatever
//! differs is withdrawn before it is asked for again. A server is asked and never asks: what it wants of
//! its client is refused.

mod catalogue;
mod content;
mod conversation;
mod headers;
mod message;
mod program;
mod sse;
mod streamable;
mod watch;

pub use catalogue::definitions;
pub use program::Program;

use crate::gather::Gathered;
use crate::http;
use crate::http::{Http, HttpSystem};
use crate::leave::misplaced;
use crate::turns::Turns;
use catalogue::Catalogue;
use conversation::{Conversation, Holder};
use countersign_core::call::Permit;
use countersign_core::port::{DefinitionChange, Report};
use countersign_core::principal::Principal;
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, McpAsk, McpPlan, Pin, Plan, Tool};
use lru::LruCache;
use program::Starts;
use serde_json::{Map, Value, json};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// Most conversations that are kept, each for one caller: sessions over HTTP, and processes.
const SESSIONS_MAX: usize = 1_024;
const PROCESSES_MAX: usize = 64;
/// How long a conversation is kept in which nothing is said.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Most bytes of what is said around a result, beyond what may come back.
const AROUND_BYTES: usize = 64 * 1024;

/// An MCP server, as the deployment resolved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpSystem {
    /// How it is reached.
    pub reach: McpReach,
    /// What was reviewed of all that it defines: whatever the posture's tools ask it for.
    pub pins: Vec<Arc<Pin>>,
    /// How old the knowledge may be that it defines them so still, in milliseconds; 0 to look before
    /// every call.
    pub recheck_ms: u32,
    /// Whether it keeps nothing of a caller, so that one conversation may serve them all.
    pub shared: bool,
    /// How long it may take to say what it defines, in milliseconds.
    pub timeout_ms: u32,
    /// Most calls at a time; 0 counts as 1.
    pub concurrency: u32,
}

/// How an MCP server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpReach {
    /// Over Streamable HTTP.
    Http {
        /// Where, and by what it is authorised.
        system: Box<HttpSystem>,
        /// The path of its endpoint.
        path: String,
    },
    /// As a program that is started and spoken to by its standard streams.
    Stdio(Program),
}

/// Why nothing came of a request.
#[derive(Debug)]
pub(crate) struct Trouble {
    kind: SystemFaultKind,
    /// What is known of an effect.
    applied: Applied,
    detail: String,
    said: Option<String>,
    /// Whether the conversation it happened in is over.
    over: bool,
    /// Whether it is because the server has ended the session, and for nothing else.
    session_ended: bool,
}

impl Trouble {
    fn new(kind: SystemFaultKind, applied: Applied, detail: &str) -> Self {
        Self {
            kind,
            applied,
            detail: detail.to_owned(),
            said: None,
            over: false,
            session_ended: false,
        }
    }

    /// Nothing was asked of the server.
    fn unasked(kind: SystemFaultKind, detail: &str) -> Self {
        Self::new(kind, Applied::NotApplied, detail)
    }

    /// The server would not, in these words.
    fn refused(said: String, applied: Applied) -> Self {
        let detail = format!("the server refused: {said}");
        let kind = SystemFaultKind::Refused;
        Self { kind, applied, detail, said: Some(said), over: false, session_ended: false }
    }

    /// With what the server had asked its client for before.
    fn after(self, asked: Option<&str>) -> Self {
        match (&self.said, asked) {
            (Some(said), Some(asked)) => {
                let said = content::cut(&format!("{} {said}", content::asks(asked)));
                Self { said: Some(said), ..self }
            }
            (_, _) => self,
        }
    }

    /// It took too long, and had no effect that was asked for.
    fn late() -> Self {
        Self::unasked(SystemFaultKind::TimedOut, "the server did not answer in time")
    }

    /// The server has ended the session.
    fn session_ended(self) -> Self {
        Self { session_ended: true, ..self.ends() }
    }

    fn ends(self) -> Self {
        Self { over: true, ..self }
    }
}

impl From<SystemFault> for Trouble {
    fn from(fault: SystemFault) -> Self {
        let SystemFault { kind, applied, detail, said } = fault;
        Self { kind, applied, detail, said, over: false, session_ended: false }
    }
}

impl From<Trouble> for SystemFault {
    fn from(trouble: Trouble) -> Self {
        let Trouble { kind, applied, detail, said, .. } = trouble;
        Self { kind, applied, detail, said }
    }
}

/// The server at work, and what looks after it until this is dropped.
#[derive(Debug)]
pub(crate) struct Mcp {
    server: Arc<Server>,
    _watch: Option<watch::Watch>,
}

/// The server at work.
#[derive(Debug)]
pub(crate) struct Server {
    system: McpSystem,
    at: At,
    turns: Turns,
    catalogue: Catalogue,
    conversations: Mutex<LruCache<Holder, Kept>>,
    /// Goes on by one whenever the server says that something changed.
    told: AtomicU64,
    changed: Notify,
    me: Weak<Self>,
}

#[derive(Debug)]
struct Kept {
    conversation: Arc<Conversation>,
    used: Instant,
}

/// Where the server is.
#[derive(Debug)]
enum At {
    Http { http: Box<Http>, path: String },
    Stdio { program: Program, starts: Starts },
}

impl Mcp {
    /// Within a runtime if there is anything to look after.
    pub(crate) fn new(system: McpSystem) -> Self {
        let server = Server::new(system);
        let watch = (!server.system.pins.is_empty()).then(|| watch::Watch::begin(&server));
        Self { server, _watch: watch }
    }

    pub(crate) fn system(&self) -> &McpSystem {
        &self.server.system
    }

    pub(crate) fn is_withdrawn(&self, tool: &Tool) -> bool {
        match &tool.plan {
            Plan::Mcp(plan) => self.server.catalogue.differs(&plan.pin),
            Plan::Sql(_) | Plan::Http(_) | Plan::Email(_) => false,
        }
    }

    /// What has been found to differ, or to differ no longer, since it was last asked.
    pub(crate) fn changes(&self) -> Vec<DefinitionChange> {
        self.server.catalogue.changes()
    }

    /// Makes one request: waits for a turn at most as long as it may take, and then lets it take that
    /// long.
    pub(crate) async fn run(&self, permit: Permit) -> Result<Report, SystemFault> {
        let Plan::Mcp(plan) = permit.plan() else { return Err(misplaced("a statement")) };
        let patience = Duration::from_millis(plan.timeout_ms.into());
        let _turn = self.server.turns.take(patience).await?;
        // What cannot be taken back once it is known to be on its way.
        let sent = AtomicU64::new(0);
        let asked = timeout(patience, self.server.ask(&permit, plan, &sent));
        let asked = tokio::select! {
            asked = asked => asked,
            () = gone(&permit) => {
                let detail = "whoever proposed it went away";
                Ok(Err(Trouble::new(SystemFaultKind::GivenUp, Applied::Unknown, detail)))
            }
        };
        let result = asked.unwrap_or_else(|_elapsed| {
            let unknown = sent.load(Ordering::Relaxed) > 0;
            let applied = if unknown { Applied::Unknown } else { Applied::NotApplied };
            let detail = "the request was given up when its time was over";
            Err(Trouble::new(SystemFaultKind::TimedOut, applied, detail))
        })?;
        match content::report(result, plan) {
            Ok(report) => Ok(report),
            // An answer that is none does not undo an effect: it is left out, and that is said.
            Err(Trouble { kind: SystemFaultKind::Failed, detail, .. })
                if permit.tool().effect != Effect::Read =>
            {
                tracing::warn!(detail, "an effect's answer is left out");
                Ok(Report { truncated: true, ..Gathered::within(plan.bounds).report() })
            }
            Err(trouble) => Err(trouble.into()),
        }
    }
}

impl Server {
    fn new(system: McpSystem) -> Arc<Self> {
        let (at, kept) = match &system.reach {
            McpReach::Http { system, path } => {
                let http = Box::new(Http::new((**system).clone()));
                (At::Http { http, path: path.clone() }, SESSIONS_MAX)
            }
            McpReach::Stdio(program) => {
                let starts = Starts::default();
                (At::Stdio { program: program.clone(), starts }, PROCESSES_MAX)
            }
        };
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            turns: Turns::new(system.concurrency),
            catalogue: Catalogue::new(system.pins.clone()),
            conversations: Mutex::new(LruCache::new(
                NonZeroUsize::new(kept).unwrap_or(NonZeroUsize::MIN),
            )),
            told: AtomicU64::new(0),
            changed: Notify::new(),
            at,
            system,
        })
    }

    /// For those that outlive what they look after.
    fn teller(&self) -> Weak<Self> {
        Weak::clone(&self.me)
    }

    /// A program of it has ended by itself.
    fn program_ended(&self, holder: Holder, after: Duration) {
        if let At::Stdio { starts, .. } = &self.at {
            starts.ended(holder, after);
        }
    }

    /// Asks what a permit permits, in the conversation that is its caller's.
    async fn ask(
        &self,
        permit: &Permit,
        plan: &McpPlan,
        sent: &AtomicU64,
    ) -> Result<Map<String, Value>, Trouble> {
        let (method, params) = asked(plan, permit.arguments())?;
        match self.ask_once(permit, plan, (method, params.clone()), sent).await {
            // The session had ended: the server has not taken what it was sent in it.
            Err(trouble) if trouble.session_ended => {
                self.ask_once(permit, plan, (method, params), sent).await
            }
            outcome => outcome,
        }
    }

    async fn ask_once(
        &self,
        permit: &Permit,
        plan: &McpPlan,
        (method, params): (&str, Map<String, Value>),
        sent: &AtomicU64,
    ) -> Result<Map<String, Value>, Trouble> {
        let (holder, conversation) = self.conversation(permit.principal()).await?;
        let own = holder == Holder::gateway();
        let asked = async {
            self.look((&conversation, own)).await?;
            if conversation.differs(&plan.pin.of) {
                let detail = "the server defines it otherwise than was reviewed, or no longer";
                return Err(Trouble::unasked(SystemFaultKind::DefinitionChanged, detail));
            }
            let effect = permit.tool().effect != Effect::Read;
            let key = effect.then(|| permit.idempotency_key());
            let mirrored = self.catalogue.mirrored(&plan.pin, &params)?;
            let asking = conversation::Asking {
                key: key.as_deref(),
                mirrored,
                bytes: room(plan),
                sent,
                proposer: permit.proposer(),
            };
            conversation.ask(self, (method, params), asking).await
        };
        asked.await.map_err(|trouble| {
            self.after(&trouble, (&holder, &conversation));
            match trouble.kind {
                SystemFaultKind::Refused if plan.undone_on_error => {
                    Trouble { applied: Applied::NotApplied, ..trouble }
                }
                _ => trouble,
            }
        })
    }

    /// Forgets a conversation that is over, and no other of the same caller.
    fn after(&self, trouble: &Trouble, (holder, conversation): (&Holder, &Arc<Conversation>)) {
        let mut kept = self.kept();
        let is_it = |kept: &Kept| Arc::ptr_eq(&kept.conversation, conversation);
        if trouble.over && kept.peek(holder).is_some_and(is_it) {
            kept.pop(holder);
        }
    }

    /// The conversation of a caller, begun if there is none.
    async fn conversation(
        &self,
        principal: &Principal,
    ) -> Result<(Holder, Arc<Conversation>), Trouble> {
        if self.system.shared {
            return self.common().await;
        }
        if let At::Http { .. } = &self.at {
            // What a server of the modern era is told in one request it does not keep for the next.
            let common = self.common().await?;
            if common.1.is_stateless() {
                return Ok(common);
            }
        }
        self.begun(Holder::of(principal)).await
    }

    /// The one that is nobody's in particular: the gateway's own.
    async fn common(&self) -> Result<(Holder, Arc<Conversation>), Trouble> {
        self.begun(Holder::gateway()).await
    }

    async fn begun(&self, holder: Holder) -> Result<(Holder, Arc<Conversation>), Trouble> {
        let conversation = {
            let mut kept = self.kept();
            let fresh = || Kept { conversation: Arc::default(), used: Instant::now() };
            let found = kept.get_or_insert_mut(holder.clone(), fresh);
            found.used = Instant::now();
            Arc::clone(&found.conversation)
        };
        let begun = conversation.begin(self, &holder).await;
        begun.map_err(|trouble| {
            let trouble = trouble.ends();
            self.after(&trouble, (&holder, &conversation));
            trouble
        })?;
        Ok((holder, conversation))
    }

    /// Ends conversations in which nothing was said for long.
    fn tidy(&self) {
        let mut kept = self.kept();
        while kept.peek_lru().is_some_and(|(_, kept)| kept.used.elapsed() > IDLE_MAX) {
            kept.pop_lru();
        }
    }

    /// A list of conversations is whole at every moment, even if a thread died holding it.
    fn kept(&self) -> std::sync::MutexGuard<'_, LruCache<Holder, Kept>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether the definitions are as they were reviewed, unless that is known well enough in
    /// this conversation.
    async fn look(&self, (conversation, own): (&Conversation, bool)) -> Result<(), Trouble> {
        let recheck = Duration::from_millis(self.system.recheck_ms.into());
        let asked = Instant::now();
        let known = || {
            let told = self.told.load(Ordering::Acquire);
            // Whoever looked after this call had come looked for it, too.
            conversation
                .looked()
                .is_some_and(|(at, then)| then == told && (at.elapsed() < recheck || at >= asked))
        };
        if self.system.pins.is_empty() || known() {
            return Ok(());
        }
        let closed = |_| Trouble::unasked(SystemFaultKind::Unavailable, "the system is shut down");
        let _turn = conversation.looking().acquire().await.map_err(closed)?;
        if known() {
            return Ok(());
        }
        let told = self.told.load(Ordering::Acquire);
        let began = Instant::now();
        let differing = self.catalogue.hold(self, (conversation, own)).await?;
        conversation.has_looked((began, told), differing);
        Ok(())
    }

    /// The server said that something changed.
    fn is_told(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Waits until the server has said so.
    async fn is_changed(&self) {
        self.changed.notified().await;
    }

    /// Keeps a conversation in which nothing is said.
    fn touch(&self, holder: &Holder) {
        if let Some(kept) = self.kept().get_mut(holder) {
            kept.used = Instant::now();
        }
    }
}

/// Ends once nobody waits for the answer of a read. What an effect does it does to its end.
async fn gone(permit: &Permit) {
    match permit.proposer() {
        Some(proposer) if permit.tool().effect == Effect::Read => proposer.gone().await,
        Some(_) | None => std::future::pending().await,
    }
}

/// Most bytes that are read for one answer: the result, perhaps twice, as text and structured, with what
/// is said around it.
fn room(plan: &McpPlan) -> usize {
    let result = usize::try_from(plan.bounds.bytes_max).unwrap_or(usize::MAX);
    result.saturating_mul(3).saturating_add(AROUND_BYTES)
}

/// The method and what is asked by it.
fn asked(
    plan: &McpPlan,
    arguments: &Map<String, Value>,
) -> Result<(&'static str, Map<String, Value>), Trouble> {
    let odd = |why: String| Trouble::unasked(SystemFaultKind::Failed, &why);
    let (method, params) = match &plan.ask {
        McpAsk::Tool { name, arguments: template } => {
            let filled = http::fill(template, arguments).map_err(odd)?;
            (
                "tools/call",
                json!({ "name": name, "arguments": filled.unwrap_or_else(|| json!({})) }),
            )
        }
        McpAsk::Resource(uri) => {
            let uri = http::uri(uri, arguments).map_err(odd)?;
            ("resources/read", json!({ "uri": uri }))
        }
        McpAsk::Prompt { name, arguments: pieces } => {
            let texts = pieces.iter().filter_map(|(name, piece)| {
                let text = http::text(piece, arguments).transpose()?;
                Some(text.map(|text| (name.clone(), Value::String(text))))
            });
            let texts = texts.collect::<Result<Map<_, _>, _>>().map_err(odd)?;
            ("prompts/get", json!({ "name": name, "arguments": texts }))
        }
    };
    let Value::Object(params) = params else { return Err(odd("nothing is asked".to_owned())) };
    Ok((method, params))
}

/// Reaches the server and begins a conversation, and says what of its definitions is not as it was
/// reviewed: for `doctor`.
pub(crate) async fn examine(
    system: &McpSystem,
) -> Result<Vec<crate::doctor::Symptom>, SystemFault> {
    let server = Server::new(system.clone());
    let looked = server.in_time(async {
        let (_, conversation) = server.common().await?;
        server.look((&conversation, true)).await
    });
    looked.await?;
    let symptom = |change: DefinitionChange| {
        let message = format!("{} is not as it was reviewed:\n{}", change.of(), change.diff);
        let mend = "review what it is now and import it with `countersign import mcp`, or have the server mended";
        crate::doctor::Symptom::new("changed-definition", message, mend)
    };
    Ok(server.catalogue.changes().into_iter().map(symptom).collect())
}
