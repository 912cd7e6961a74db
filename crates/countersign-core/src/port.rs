//! The sockets of the monitor: what it needs from the world, as contracts.
//!
//! Each says what holds on return, what may run concurrently and who retries (nobody does, unless
//! it says so). The monitor re-checks what it can of what a port returns.

use crate::absence::Delegations;
use crate::call::{Consultation, Inquiry, Permit};
use crate::draft::{Conflict, Draft, Reach, State, Suspension, UnknownOutcome, Who};
use crate::id::{AgentId, CallId, Digest, DraftId, SystemName, TenantId, Timestamp, ToolName};
use crate::ladder::Gate;
use crate::person::{Person, Tenants};
use crate::principal::Principal;
use crate::quota::{Charge, Counter, LimitReached, Reservation};
use crate::reading::{
    Behind, Calls, Chain, Cursor, Decisions, Line, News, Page, Parts, Position, Record, Search,
    SessionCall, Span, Tally,
};
use crate::recipient::Recipient;
use crate::record::Entry;
use crate::refusal::{Applied, AuthenticationFailure, Forbidden, SystemFault};
use crate::relaying::Relaying;
use crate::scope::ScopeEvidence;
use crate::tool::{Defined, Rung, Tool};
use serde_json::{Map, Value};
use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

/// A boxed future, so that ports can be trait objects.
pub type Eventually<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The time. Never goes back by more than a clock adjustment does.
pub trait Clock: Send + Sync + Debug {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Unpredictable bytes, from the operating system.
pub trait Entropy: Send + Sync + Debug {
    /// Fills `bytes`. A source that cannot must abort the process: a guessable id is worse.
    fn fill(&self, bytes: &mut [u8]);
}

/// A bearer token as it was sent. It does not outlive authentication and never shows itself.
pub struct Credential {
    token: Option<String>,
    tenant: Option<String>,
}

impl Credential {
    /// A bearer token.
    #[must_use]
    pub fn bearer(token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), tenant: None }
    }
    /// Nothing was sent.
    #[must_use]
    pub const fn none() -> Self {
        Self { token: None, tenant: None }
    }
    /// With the tenant that the caller chose among those that its token speaks for.
    #[must_use]
    pub fn choosing(self, tenant: Option<String>) -> Self {
        Self { tenant, ..self }
    }
    /// The tenant that was chosen. It counts only if the token speaks for it.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
    /// The token, to be verified.
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.token.is_some() { "Credential(…)" } else { "Credential(none)" })
    }
}

/// Who a credential belongs to.
pub trait Authenticator: Send + Sync + Debug {
    /// Verifies signature, issuer, audience and times, and maps claims. May be called concurrently;
    /// the same credential may be answered from a cache until it expires.
    ///
    /// # Errors
    /// [`AuthenticationFailure`] for everything that is not wholly valid.
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>>;
}

/// Which person a credential belongs to.
pub trait People: Send + Sync + Debug {
    /// As [`Authenticator::authenticate`], for people: a token of an agent belongs to none.
    ///
    /// # Errors
    /// [`AuthenticationFailure`] for everything that is not wholly valid.
    fn person<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Person>, AuthenticationFailure>>;
}

/// The policy decision point: a pure function of its bundle and the question.
pub trait Pdp: Send + Sync + Debug {
    /// Permits, with at least one determining policy, or says why not.
    ///
    /// # Errors
    /// [`Denial::Undecided`] if any policy could not be evaluated, whatever the others say.
    fn decide(&self, question: &Question<'_>) -> Result<Permission, Denial>;
}

/// What policy is asked. Everything in it is verified: the principal by its token, the arguments by
/// the tool's schema, the scope by the tool's rules.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The agent of the posture.
    pub agent: &'a AgentId,
    /// Who asks.
    pub principal: &'a Principal,
    /// For which tool.
    pub tool: &'a ToolName,
    /// With which arguments, bound ones included.
    pub arguments: &'a Map<String, Value>,
    /// The values found where scope rules look.
    pub scope: &'a ScopeEvidence,
    /// When the call began.
    pub now: Timestamp,
    /// Who agreed to it, if it is a draft that a person approved.
    pub approver: Option<&'a Who>,
}

/// A permission by policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The policies it rests on; never empty.
    pub determining: Vec<String>,
    /// The clearance without which it does not hold. [`Rung::UNGATED`] if no gate forbids.
    pub clearance: Rung,
}

/// A refusal by policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// No policy permits, or these forbid.
    Forbidden(Forbidden),
    /// This one could not be evaluated.
    Undecided(String),
}

/// Proof that an entry reached stable storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Which stream it is in.
    pub stream: Arc<str>,
    /// Its place there, from 0.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// Why an entry was not made durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrecorded {
    /// The journal takes none. The text is for operators.
    #[error("{0}")]
    Unavailable(String),
    /// One of its changes, or the call it begins, is no longer to be. Nothing of it is in the journal.
    #[error("refused with its changes: {0:?}")]
    Refused(Conflict),
}

impl Unrecorded {
    /// The journal takes none; `why` is for operators.
    #[must_use]
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable(why.into())
    }
}

/// The journal and the counters, in one store because they change in one transaction.
pub trait Journal: Send + Sync + Debug {
    /// Counts a call against all counters or none. In memory, never waits; concurrent callers are
    /// admitted exactly up to each maximum. It becomes durable with the entry that carries the
    /// reservation's charges.
    ///
    /// # Errors
    /// [`LimitReached`] if one counter is used up.
    fn reserve(&self, counters: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached>;

    /// What a counter has come to in the window that `now` is in. In memory, never waits.
    fn spent(&self, counter: &Counter, now: Timestamp) -> u64;

    /// Gives back, at once and in memory, what a reservation took and was not used. What an entry
    /// made durable is given back by [`Entry::giving_back`] as well.
    fn give_back(&self, charges: &[Charge]);

    /// Appends. On `Ok` the entry, its charges and its changes are on stable storage, chained, and
    /// survive kill -9 and power loss. On [`Unrecorded::Unavailable`] they may or may not be; nothing
    /// may be built on either. On [`Unrecorded::Refused`] they are not, for a reason that is this
    /// entry's alone: entries are judged one by one in the order of the journal, each by what is
    /// durable and what was judged before it. An intent is refused if what it names is suspended.
    /// Entries of concurrent callers share a sync. Dropping the future does not withdraw the entry.
    /// A full queue is an error at once, never a wait without bound.
    ///
    /// # Errors
    /// [`Unrecorded`]; the caller must not go on, and must not retry.
    fn append(&self, entry: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>>;

    /// Notes a refusal. Never waits and never fails: repeats of the same [`Repeat`] within a minute
    /// become one entry with a count, first and last; memory is bounded. Durable within a second
    /// or so, or when the store is closed.
    fn note(&self, refused: Refused);
}

/// The journal, for those who read it. Whoever reads delays no call: there is no lock between them.
///
/// What is shown comes from the headers and bodies of the journal alone. Every answer is bounded, and
/// holds only what readers of `tenants` may see: records of no tenant are for those who see all. What
/// was recorded within the last second or so may be missing: [`Chain::behind`] says how much.
pub trait Ledger: Send + Sync + Debug {
    /// What was written behind the cursor, at most `max` records in the order in which each stream has
    /// them, and the cursor behind those. It is for the gateway itself and knows no tenants. Of each
    /// record there is at least what `parts` says.
    ///
    /// # Errors
    /// [`Unrecorded::Unavailable`] if it cannot be read now, here and below.
    fn follow(
        &self,
        cursor: Cursor,
        max: u32,
        parts: Parts,
    ) -> Eventually<'_, Result<(Vec<Record>, Cursor), Unrecorded>>;

    /// How far whoever follows the journal is behind it. As [`Ledger::follow`].
    fn behind(&self, cursor: Cursor) -> Eventually<'_, Result<Behind, Unrecorded>>;

    /// Records, each with its place.
    fn records<'a>(
        &'a self,
        which: Search,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<(Position, Record)>, Unrecorded>>;

    /// What became of calls.
    fn calls<'a>(
        &'a self,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<Line>, Unrecorded>>;

    /// The same of what was recorded after `position`: the newest, and how many others there were.
    fn calls_after<'a>(
        &'a self,
        position: Position,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<News, Unrecorded>>;

    /// All records of one call in the order of the journal, at most
    /// [`RECORDS_OF_CALL_MAX`](crate::bound::RECORDS_OF_CALL_MAX).
    fn of_call<'a>(
        &'a self,
        call: &'a CallId,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Vec<(Position, Record)>, Unrecorded>>;

    /// The calls of a session with their arguments, those recorded before `before` if it says so.
    fn of_session<'a>(
        &'a self,
        session: Digest,
        before: Option<Position>,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Page<SessionCall>, Unrecorded>>;

    /// How many calls came to what, by steps of time, oldest first; of `which` everything counts but its
    /// times, place and limit.
    fn tallies<'a>(
        &'a self,
        span: Span,
        which: Calls,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Vec<Tally>, Unrecorded>>;

    /// What became of drafts, by steps of time, oldest first, and who decided.
    fn decisions<'a>(
        &'a self,
        span: Span,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Decisions, Unrecorded>>;

    /// When something was last recorded of an agent.
    fn last_seen<'a>(
        &'a self,
        agent: &'a AgentId,
        tenants: &'a Tenants,
    ) -> Eventually<'a, Result<Option<Timestamp>, Unrecorded>>;

    /// How the journal stands.
    fn chain<'a>(&'a self, tenants: &'a Tenants) -> Eventually<'a, Result<Chain, Unrecorded>>;

    /// Begins to verify the whole journal, on a thread of its own; [`Ledger::chain`] says what came
    /// of it. Does nothing while it is being verified already.
    fn verify(&self);
}

/// What tails the journal: exporters, alert rules, notifications. It can delay or fail no call.
pub trait Relay: Send + Sync + Debug {
    /// How it stands. In memory, never waits.
    fn status(&self) -> Relaying;
}

/// Who may decide about what waits, by the posture in force. In memory, never waits.
pub trait Gates: Send + Sync + Debug {
    /// The gate that a draft waits at; `None` if it is no longer governed as it was proposed.
    fn gate(&self, draft: &Draft) -> Option<Gate>;
}

/// A message of the gateway's own to people of the company: no tool's, and no agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// To whom; at least one.
    pub to: Vec<Recipient>,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// By it a letter that comes again is known: letters, digits, `-`, `_` and `.`.
    pub id: String,
}

/// What hands letters over. It is no connector: no agent's call comes to it.
pub trait Post: Send + Sync + Debug {
    /// Hands a letter over, within a bounded time. After an error it may have been taken all the same:
    /// whoever tries again does so by the same id.
    ///
    /// # Errors
    /// One sentence, for operators.
    fn send(&self, letter: Letter) -> Eventually<'_, Result<(), String>>;
}

/// The drafts, suspensions, delegations and unknown outcomes, as the journal's entries have changed them. Reads
/// what is durable; may be called concurrently.
pub trait Register: Send + Sync + Debug {
    /// What of `reach` is suspended. In memory, never waits; a suspension counts here no later than
    /// its entry's append returns.
    fn suspended(&self, reach: &Reach<'_>) -> Option<Suspension>;

    /// A number that is another one once drafts, suspensions, delegations or unknown outcomes have
    /// changed. In memory, never waits.
    fn moved(&self) -> u64;

    /// Everything that is suspended.
    fn suspensions(&self) -> Vec<Suspension>;

    /// Who lets whom stand in, one of each person, also when its time is over. In memory, never waits;
    /// one that has ended counts here no longer once its entry's append has returned. A decision in
    /// somebody's stead is refused with [`Conflict::Nothing`] if its delegation has ended by then.
    fn delegations(&self) -> Arc<Delegations>;

    /// One draft.
    ///
    /// # Errors
    /// [`Unrecorded::Unavailable`], here and below.
    fn draft<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>>;

    /// The latest draft of a binding.
    fn latest(&self, binding: Digest) -> Eventually<'_, Result<Option<Draft>, Unrecorded>>;

    /// The draft once it is neither approved nor committing, or as it is after a bounded wait.
    fn settled<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>>;

    /// Drafts, latest first and those of one moment by their ids, at most [`DRAFTS_LISTED_MAX`](crate::bound::DRAFTS_LISTED_MAX).
    fn drafts(&self, which: Which) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>>;

    /// Drafts for which it is time to do something: the approved, and those that wait beyond their
    /// time. The longest due first, bounded as above.
    fn due(&self, now: Timestamp) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>>;

    /// Effects whose outcome is unknown, the latest first, bounded as above; those that people have
    /// resolved only if `resolved`.
    fn unknown(&self, resolved: bool) -> Eventually<'_, Result<Vec<UnknownOutcome>, Unrecorded>>;
}

/// Which drafts are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Proposed by this agent.
    pub agent: Option<AgentId>,
    /// In this state.
    pub state: Option<State>,
    /// Behind this place: the next page.
    pub before: Option<Place>,
}

/// A place in the list of drafts: when one was proposed, and which it was, as several may have been at a
/// time. Without that, all that were proposed at that time are behind it or none.
pub type Place = (Timestamp, Option<DraftId>);

/// A refused call on its way to the journal.
#[derive(Debug)]
pub struct Refused {
    /// The entry to be written, without `count`, `first` and `last`.
    pub entry: Entry,
    /// Refusals with equal keys are repeats of one another.
    pub repeat: Repeat,
}

/// What makes two refusals repeats of one another.
pub type Repeat = Digest;

/// A production system.
pub trait Connector: Send + Sync + Debug {
    /// Performs the one call that `permit` names, once. There is no other method that acts.
    ///
    /// # Errors
    /// [`SystemFault`], with what is known of the effect. Nothing is retried.
    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>>;

    /// Answers an inquiry: a statement that only reads, which the system itself must be told so
    /// where it can be. An answer may come from before, if the inquiry says for how long.
    ///
    /// # Errors
    /// [`SystemFault`]; the call is then refused. Nothing is retried.
    fn look_up(&self, inquiry: Inquiry) -> Eventually<'_, Result<Found, SystemFault>>;

    /// Asks a decision point, once: `true` only if it said yes in so many words and in time. It is
    /// told of the call and does nothing about it.
    ///
    /// # Errors
    /// [`SystemFault`]: it did not say. That is no yes. Nothing is retried.
    fn consult(&self, consultation: Consultation) -> Eventually<'_, Result<bool, SystemFault>>;

    /// Whether what stands behind a tool is known not to be what was reviewed. In memory, never waits.
    fn is_withdrawn(&self, tool: &Tool) -> bool;

    /// What has been found to be other than it was reviewed, or to be so no longer, since it was last
    /// asked: each once, bounded. In memory, never waits.
    fn changes(&self) -> Vec<(SystemName, DefinitionChange)>;
}

/// A definition that is not what it was when somebody last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionChange {
    /// Of which kind, and by which name.
    pub of: (Defined, String),
    /// The digest of what was reviewed.
    pub pinned: Digest,
    /// Of what there is now; `None` if there is nothing of that name, or not one alone.
    pub found: Option<Digest>,
    /// How it differs from what was reviewed, a line for each line; empty if it is that again.
    pub diff: String,
}

impl DefinitionChange {
    /// For people: "tool `search`".
    #[must_use]
    pub fn of(&self) -> String {
        let (kind, name) = &self.of;
        format!("{} `{name}`", kind.as_str())
    }

    /// Whether it is again what was reviewed.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        self.found == Some(self.pinned)
    }
}

/// Whoever proposed a call, while it is under way.
pub trait Proposer: Send + Sync + Debug {
    /// How far a system says that it is, of how much if it knows. Never waits; may go unheard.
    fn progress(&self, done: f64, of: Option<f64>);

    /// Ends once nobody waits for the answer any more. A read is then given up; an effect is not.
    fn gone(&self) -> Eventually<'_, ()>;
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Objects, one for each row.
    pub rows: Vec<Value>,
    /// Whether there were more than the bounds admit.
    pub truncated: bool,
    /// Whether the answer is one from before.
    pub cached: bool,
}

impl Found {
    /// Whether the first row says that `identifier` is the caller's: by `1`, `true` or itself. That
    /// there is a row is not enough: `exists(…)` and `count(*)` always have one.
    ///
    /// # Errors
    /// A sentence for the journal: a row that says neither yes nor no.
    pub fn confirms(&self, identifier: &Value) -> Result<bool, String> {
        let Some(row) = self.rows.first() else { return Ok(false) };
        match only_column(row) {
            Some(said) if said == identifier => Ok(true),
            Some(Value::Bool(said)) => Ok(*said),
            Some(Value::Null) => Ok(false),
            Some(Value::Number(said)) if said.as_i64() == Some(1) => Ok(true),
            Some(Value::Number(said)) if said.as_i64() == Some(0) => Ok(false),
            Some(_) => Err("the row says neither `1`, `true` nor the identifier".to_owned()),
            None => Err("the row has other than one column".to_owned()),
        }
    }

    /// The rows as a list of values.
    ///
    /// # Errors
    /// A sentence for the journal: a list that was cut, or rows of other than one column.
    pub(crate) fn list(&self) -> Result<Vec<&Value>, String> {
        if self.truncated {
            return Err("the list of what is allowed is longer than its bounds".to_owned());
        }
        let list = self.rows.iter().map(only_column).collect::<Option<Vec<_>>>();
        list.ok_or_else(|| "the list of what is allowed has other than one column".to_owned())
    }
}

fn only_column(row: &Value) -> Option<&Value> {
    let mut members = row.as_object()?.values();
    members.next().filter(|_| members.next().is_none())
}

/// What a connector brought back.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The result: an array of rows, or of what else the shape says. Unscreened.
    pub result: Value,
    /// What is in it.
    pub shape: Shape,
    /// How many there are.
    pub rows: u64,
    /// Whether there were more than the bounds admit.
    pub truncated: bool,
    /// How many rows an effect changed; 0 where the system does not say.
    pub changed: u64,
    /// What is known of the effect.
    pub applied: Applied,
}

/// What a result is an array of.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Rows: objects.
    Rows,
    /// Blocks of content of MCP, and beside them the structured content, if there is any.
    Content(Option<Value>),
    /// Contents of an MCP resource.
    Contents,
    /// Messages of an MCP prompt.
    Messages,
}
