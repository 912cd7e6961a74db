//! The call pipeline, top to bottom.
//!
//! ```text
//! admit:   Proposed → Authenticated → Resolved → Metered → Validated → Bound → Authorized
//!            → LookedUp → Cleared → Recorded
//!          ────────── the watershed: above it nothing has been done to any system ──────────
//! fulfil:  Recorded → Executed → Verified → Screened → Completed
//! ```
//!
//! Each stage is a struct with private fields, followed by the one function that makes it. A stage
//! lists what is known by then and, by omission, what is gone: the credential ends at [`Caller`],
//! what the agent sent at [`Validated`]. A check returns evidence or a refusal, never a `bool`.
//!
//! Two airlocks: a connector acts only with a [`Permit`], which only [`Recorded`] yields (and looks
//! up only with an [`Inquiry`], and asks a decision point only with a [`Consultation`], which only
//! [`Authorized`] yields), and a door answers only with an [`Answer`], which only this module makes.
//!
//! An identity cannot be made by hand:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::{Caller, Door}, principal::Principal};
//! # fn principal() -> std::sync::Arc<Principal> { std::process::abort() }
//! let caller = Caller { principal: principal(), door: Door::Http };
//! ```
//!
//! Neither can a permit, not even out of another:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::Permit, tool::Tool, id::CallId, args::Arguments};
//! # use countersign_core::principal::Principal;
//! # use std::sync::Arc;
//! # fn parts() -> (CallId, Arc<Principal>, Arc<Tool>, Arguments) { std::process::abort() }
//! # fn given() -> Permit { std::process::abort() }
//! let (call, principal, tool, arguments) = parts();
//! let permit = Permit { call, principal, tool, arguments: arguments.into(), ..given() };
//! ```
//!
//! Nor an answer:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::Completed, id::CallId, port::Receipt};
//! # fn parts() -> (CallId, Receipt) { std::process::abort() }
//! let (call, receipt) = parts();
//! let answer = Completed { call, receipt, text: "raw".into(), value: "raw".into() };
//! ```
//!
//! A permit is spent by use:
//!
//! ```compile_fail,E0382
//! # use countersign_core::{call::Permit, port::Connector};
//! async fn twice(connector: &dyn Connector, permit: Permit) {
//!     let first = connector.execute(permit).await;
//!     let second = connector.execute(permit).await;
//! }
//! ```
//!
//! And it cannot be copied to be spent again:
//!
//! ```compile_fail,E0308
//! # use countersign_core::call::Permit;
//! fn copy(permit: &Permit) -> Permit {
//!     permit.clone()
//! }
//! ```
//!
//! A connector takes nothing less, so no stage can be skipped on the way to it:
//!
//! ```compile_fail,E0308
//! # use countersign_core::{call::Cleared, port::Connector};
//! async fn early(connector: &dyn Connector, call: Cleared) {
//!     let report = connector.execute(call).await;
//! }
//! ```
//!
//! A look-up takes an inquiry, which nobody else can make:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::Inquiry, id::TenantId, scope::Query};
//! # use serde_json::{Map, Value};
//! # fn parts() -> (TenantId, std::sync::Arc<Query>, Map<String, Value>) { std::process::abort() }
//! let (tenant, query, values) = parts();
//! let inquiry = Inquiry { tenant, query, values };
//! ```
//!
//! Nor can anybody else ask a decision point:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::Consultation, ladder::DecisionPoint, principal::Principal};
//! # use countersign_core::{posture::Agent, tool::Tool};
//! # use std::sync::Arc;
//! # type Values = serde_json::Map<String, serde_json::Value>;
//! # fn parts() -> (DecisionPoint, Arc<Principal>, Arc<Agent>, Arc<Tool>, Values) {
//! #     std::process::abort()
//! # }
//! let (point, principal, agent, tool, arguments) = parts();
//! let rung = countersign_core::tool::Rung::UNGATED;
//! let asked = Consultation { point, principal, agent, tool, arguments, rung };
//! ```
//!
//! And the functions between the stages are this module's own:
//!
//! ```compile_fail,E0624
//! # use countersign_core::call::{Authorized, Monitor};
//! fn around(monitor: &Monitor, call: Authorized) {
//!     let cleared = monitor.look_up(call);
//! }
//! ```

mod explained;
mod gated;

use crate::args::{self, Arguments, ArgumentsError};
pub use crate::draft::Answers;
use crate::draft::{Change, Conflict, Draft, Outcome, Reach, State, Step, Who};
use crate::id::{AgentId, CallId, Digest, SubjectId, TenantId, Timestamp, ToolName};
pub use crate::ladder::Clearance;
use crate::ladder::{Budget, Check, DecisionPoint, Per, Summed};
use crate::port::{
    Authenticator, Clock, Connector, Credential, Denial, Entropy, Found, Journal, Pdp, People,
    Permission, Proposer, Question, Receipt, Refused as Noted, Register, Report, Shape, Unrecorded,
};
use crate::posture::{Agent, Grant, Posture};
use crate::principal::Principal;
use crate::quota::{Counter, Limits, Window};
use crate::record::{Entry, Kind};
use crate::refusal::{
    Applied, AuthenticationFailure, Fault, Forbidden, Public, Refusal, SystemFault, SystemFaultKind,
};
use crate::scope::{self, Asks, LookUp, Query, ScopeEvidence, ScopeViolation};
use crate::screen;
use crate::tool::{Effect, Issue, Offered, Plan, Rung, Tool};
pub use crate::trail::LookedUpBy;
use crate::trail::{Shown, Trail, bounded, cut};
pub use explained::{Evidence, Explained};
use gated::{Gated, Stopped};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

/// The tool by which an agent asks after a draft. It is built in: no posture can declare it.
pub const CHECK_DRAFT: &str = "check_draft";

/// The monitor and everything plugged into it. Immutable: a new posture is a new monitor, and a
/// running call keeps the one it began with.
#[derive(Debug)]
pub struct Monitor {
    /// What is in force.
    pub posture: Arc<Posture>,
    /// Knows who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// Decides.
    pub pdp: Arc<dyn Pdp>,
    /// Counts and remembers.
    pub journal: Arc<dyn Journal>,
    /// Knows the drafts, and what is suspended.
    pub register: Arc<dyn Register>,
    /// Knows which person asks.
    pub people: Arc<dyn People>,
    /// Acts.
    pub connector: Arc<dyn Connector>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub entropy: Arc<dyn Entropy>,
}

impl Monitor {
    /// Runs one proposed call to its end.
    ///
    /// Doors spawn this: a client that hangs up must not cancel what lies below the watershed.
    pub async fn call(&self, proposed: Proposed) -> Answer {
        self.call_for(proposed, None).await
    }

    /// The same for somebody who hears how far it is, and may go away.
    pub async fn call_for(
        &self,
        proposed: Proposed,
        proposer: Option<Arc<dyn Proposer>>,
    ) -> Answer {
        let mut trail = Trail { proposer, ..self.trail(&proposed) };
        if proposed.tool == CHECK_DRAFT {
            return self.check_draft(proposed, trail).await;
        }
        let authenticated = self.authenticated(proposed, &mut trail); // who asks?
        self.run(authenticated, trail).await
    }

    /// Carries out an approved draft: the same pipeline from the top, once.
    async fn commit(&self, draft: Arc<Draft>) -> Answer {
        let now = self.clock.now();
        let mut trail = Trail::begin(self.new_call_id(now), now, Door::Commit);
        let reinstated = self.reinstated(draft, &mut trail); // do they still stand?
        self.run(reinstated, trail).await
    }

    async fn run(&self, who: Result<Authenticated, Refusal>, mut trail: Trail) -> Answer {
        let recorded = match self.admit(who, &mut trail).await {
            Ok(recorded) => recorded,
            Err(Stopped::Refused(refusal)) => return Answer::Refused(self.refuse(trail, refusal)),
            Err(Stopped::Gated(gated)) => return self.ask(*gated, trail).await,
        };
        // The watershed. Above it nothing has been done to any system; below it something may.
        // A crash from here on leaves an intent without an outcome: recovery closes it as unknown.
        match self.fulfil(recorded, &mut trail).await {
            Ok(screened) => self.complete(screened, trail).await,
            Err(fault) => self.fail(fault, trail).await,
        }
    }

    async fn admit(
        &self,
        who: Result<Authenticated, Refusal>,
        trail: &mut Trail,
    ) -> Result<Recorded, Stopped> {
        let resolved = self.resolve(who?, trail)?; // for which of their tools?
        let metered = self.meter(resolved, trail)?; // how often already?
        let validated = self.validate(metered)?; // with which arguments, exactly?
        let bound = self.bind(validated, trail)?; // within whose data?
        let authorized = self.authorize(bound, trail)?; // does policy permit it?
        let looked_up = self.look_up(authorized, trail).await?; // do the systems say it is theirs?
        let cleared = self.clear(looked_up, trail).await?; // has a person agreed, if one must?
        Ok(self.record(cleared, trail).await?) // is the intent durable?
    }

    async fn fulfil(&self, recorded: Recorded, trail: &mut Trail) -> Result<Screened, Fault> {
        let executed = self.execute(recorded, trail.proposer.take()).await?; // the effect
        let verified = self.verify(executed)?; // did the system keep to the permit?
        self.screen(verified, trail) // is the result fit to be shown?
    }
}

// ── who asks ────────────────────────────────────────────────────────────────────────────────────

/// Through which door a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// MCP Streamable HTTP.
    Mcp,
    /// The HTTP API.
    Http,
    /// None: an approved draft is carried out.
    Commit,
}

impl Door {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Http => "http",
            Self::Commit => "commit",
        }
    }
}

/// Evidence that a credential was verified and belongs to an agent of the posture. The credential
/// itself is gone.
#[derive(Debug)]
#[must_use]
pub struct Caller {
    principal: Arc<Principal>,
    door: Door,
}

impl Caller {
    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl Monitor {
    /// Verifies a credential, once per request.
    ///
    /// # Errors
    /// [`RefusedCall`] with [`Refusal::Unauthenticated`]: a door answers 401.
    pub async fn authenticate(
        &self,
        credential: &Credential,
        door: Door,
    ) -> Result<Caller, RefusedCall> {
        let now = self.clock.now();
        let failure = match self.authenticator.authenticate(credential, now).await {
            Ok(principal) => match self.posture.agents.get(&principal.actor) {
                Some(agent) if agent.is(&principal) => return Ok(Caller { principal, door }),
                Some(agent) => AuthenticationFailure::UnknownAgent(format!(
                    "the agent `{}` does not call with tokens of `{}`",
                    agent.id, principal.issuer
                )),
                None => AuthenticationFailure::UnknownAgent(format!(
                    "no agent is identified by client `{}`",
                    principal.actor
                )),
            },
            Err(failure) => failure,
        };
        let trail = Trail::begin(self.new_call_id(now), now, door);
        Err(self.refuse(trail, Refusal::Unauthenticated(failure)))
    }

    /// The tools this caller may see, by name, as it may see them: arguments that can only have
    /// the caller's own values list those and nobody else's.
    #[must_use]
    pub fn tools(&self, caller: &Caller) -> Vec<Listed> {
        let Some(agent) = self.posture.agents.get(&caller.principal.actor) else {
            return Vec::new();
        };
        let asks = gated::has_gates(agent).then(gated::listed).flatten();
        let grants = agent.grants.values();
        let granted = grants.filter(|grant| {
            grant.lacking(&caller.principal).is_none() && !self.connector.is_withdrawn(&grant.tool)
        });
        let granted = granted.map(|Grant { tool, .. }| Listed {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input: scope::shown_to(&caller.principal, &tool.scope, &tool.input),
            effect: tool.effect,
            offered: tool.offered.clone(),
        });
        let mut listed: Vec<Listed> = granted.chain(asks).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed
    }

    fn new_call_id(&self, begun: Timestamp) -> CallId {
        let mut random = [0; 6];
        self.entropy.fill(&mut random);
        CallId::begun(begun, random)
    }
}

/// A tool as one caller sees it.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: ToolName,
    /// What a model reads.
    pub description: String,
    /// The JSON Schema of its arguments, for this caller.
    pub input: Map<String, Value>,
    /// What a call changes.
    pub effect: Effect,
    /// As what it is offered.
    pub offered: Offered,
}

/// A call as the agent put it. Nothing in it but the caller is to be believed.
#[derive(Debug)]
pub struct Proposed {
    /// Who proposes it.
    pub caller: Arc<Caller>,
    /// The tool's name, as claimed.
    pub tool: String,
    /// The arguments, as claimed; `null` is `{}`.
    pub arguments: Value,
    /// What the client says it answers. It is never a person's approval.
    pub answers: Option<Answers>,
}

/// The caller is who it says, still, and an agent of this posture.
#[derive(Debug)]
#[must_use]
pub struct Authenticated {
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: String,
    arguments: Value,
    source: Source,
}

/// Where a call comes from. Not `Clone`: an approval is claimed once.
#[derive(Debug)]
enum Source {
    /// An agent's request.
    Agent(Option<Answers>),
    /// An approved draft.
    Approval(Arc<Draft>),
}

impl Source {
    fn approver(&self) -> Option<&Who> {
        match self {
            Self::Agent(_) => None,
            Self::Approval(draft) => draft.decided.as_ref()?.by.as_ref(),
        }
    }
}

impl Monitor {
    fn authenticated(&self, call: Proposed, trail: &mut Trail) -> Result<Authenticated, Refusal> {
        let Proposed { caller, tool, arguments, answers } = call;
        let principal = Arc::clone(&caller.principal);
        let failure =
            |why: &str| Refusal::Unauthenticated(AuthenticationFailure::Invalid(why.to_owned()));
        if principal.expires <= trail.begun {
            return Err(failure("the token expired before the call"));
        }
        // Asked again: nothing here says that the caller was met under this posture.
        let agent = self.posture.agents.get(&principal.actor).filter(|agent| agent.is(&principal));
        let agent = Arc::clone(agent.ok_or_else(|| failure("the agent is no longer registered"))?);
        trail.agent = Some(Arc::clone(&agent));
        let source = Source::Agent(answers);
        Ok(Authenticated { principal, agent, tool, arguments, source })
    }

    /// The same of whoever proposed a draft. Not that their token is still good, which it need not
    /// be, but that their agent still is one.
    fn reinstated(&self, draft: Arc<Draft>, trail: &mut Trail) -> Result<Authenticated, Refusal> {
        trail.posture = Some(self.posture.digest);
        trail.of(&draft.principal);
        trail.claimed = draft.tool.to_string();
        trail.draft = Some(draft.id.clone());
        let principal = Arc::new(draft.principal.clone());
        let agent = self.posture.agents.get(&principal.actor);
        let agent = agent.filter(|agent| agent.is(&principal) && agent.id == draft.agent);
        let agent = Arc::clone(agent.ok_or(Refusal::Stale)?);
        trail.agent = Some(Arc::clone(&agent));
        let arguments = args::parse(&draft.arguments)
            .map_err(|error| Refusal::Undecided(format!("the draft's arguments: {error}")))?;
        let tool = draft.tool.to_string();
        Ok(Authenticated { principal, agent, tool, arguments, source: Source::Approval(draft) })
    }
}

// ── what is asked ───────────────────────────────────────────────────────────────────────────────

/// The tool is one that this agent was granted.
#[derive(Debug)]
#[must_use]
pub struct Resolved {
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: Arc<Tool>,
    arguments: Value,
    source: Source,
}

impl Monitor {
    /// A tool that nobody has and one that this agent was not granted miss the same map.
    fn resolve(&self, call: Authenticated, trail: &mut Trail) -> Result<Resolved, Refusal> {
        let Authenticated { principal, agent, tool, arguments, source } = call;
        let grant = ToolName::new(tool).ok().and_then(|name| agent.grants.get(&name));
        let grant = grant.ok_or(Refusal::UnknownTool)?;
        let Grant { tool, decision_digest, .. } = grant;
        let tool = Arc::clone(tool);
        trail.tool = Some((Arc::clone(&tool), *decision_digest));
        if let Some(scope) = grant.lacking(&principal) {
            return Err(Refusal::InsufficientScope(scope.to_owned()));
        }
        let look_ups = tool.look_ups.iter().map(|rule| &rule.query.system);
        let reach = Reach {
            agent: &agent.id,
            tool: Some(&tool.name),
            systems: std::iter::once(&tool.system).chain(look_ups).collect(),
            tenant: &principal.tenant,
        };
        if let Some(suspension) = self.register.suspended(&reach) {
            return Err(Refusal::Suspended(Box::new(suspension)));
        }
        if let Some(lapse) = grant.lapsed(trail.begun) {
            return Err(Refusal::Lapsed(Box::new(lapse.clone())));
        }
        if self.connector.is_withdrawn(&tool) {
            return Err(Refusal::DefinitionChanged);
        }
        Ok(Resolved { principal, agent, tool, arguments, source })
    }
}

/// The call is counted, whatever becomes of it.
#[derive(Debug)]
#[must_use]
pub struct Metered {
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: Arc<Tool>,
    arguments: Result<Arguments, ArgumentsError>,
    source: Source,
}

impl Monitor {
    fn meter(&self, call: Resolved, trail: &mut Trail) -> Result<Metered, Refusal> {
        let (metered, counters) = self.countable(call, trail);
        if let Source::Approval(_) = metered.source {
            return Ok(metered); // Counted when it was proposed.
        }
        let reservation =
            self.journal.reserve(&counters, trail.begun).map_err(Refusal::RateLimited)?;
        trail.charges = reservation.into_charges();
        Ok(metered)
    }

    /// The call as it is once counted, and the counters that it runs against.
    fn countable(&self, call: Resolved, trail: &mut Trail) -> (Metered, Vec<Counter>) {
        let Resolved { principal, agent, tool, arguments, source } = call;
        let arguments = match arguments {
            Value::Null => Arguments::new(Map::new()),
            Value::Object(values) => Arguments::new(values),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(ArgumentsError::Malformed("be an object".to_owned()))
            }
        };
        // What cannot be read counts as one and the same call: repeating it is a loop as well.
        let canonical = arguments.as_ref().map(Arguments::canonical).unwrap_or_default();
        trail.arguments = canonical.to_vec();
        // A gated call does nothing by being repeated: it meets its draft.
        let loops = tool.ladder.rung(trail.begun) < Rung::CONFIRMED;
        let counters = self.counters((&principal, &agent), Some(&tool), loops.then_some(canonical));
        (Metered { principal, agent, tool, arguments, source }, counters)
    }

    /// What a call is counted by; `canonical` for one that is to be stopped if it goes round in
    /// circles.
    fn counters(
        &self,
        (principal, agent): (&Principal, &Agent),
        tool: Option<&Tool>,
        canonical: Option<&[u8]>,
    ) -> Vec<Counter> {
        let session = principal.session();
        let tenant = principal.tenant.as_str();
        let same = tool.zip(canonical).map(|(tool, canonical)| {
            Digest::of(
                "countersign/identical/1",
                &[session.as_bytes(), tool.name.as_str().as_bytes(), canonical],
            )
        });
        let mut counters = Vec::new();
        // Agent and tool names hold no `/`, so no two of these share a key.
        let mut count = |who: String, limits: &Limits| {
            let mut push = |what: fmt::Arguments<'_>, window, max: Option<u32>| {
                counters
                    .extend(max.map(|max| Counter::of_calls(format!("{who}/{what}"), window, max)));
            };
            push(format_args!("session/{session}"), Window::Session, limits.per_session);
            push(format_args!("tenant/{tenant}"), Window::Minute, limits.per_minute);
            push(format_args!("tenant/{tenant}"), Window::Hour, limits.per_hour);
            if let Some(same) = same {
                push(format_args!("call/{same}"), Window::Alike, limits.identical_per_minute);
            }
        };
        count(format!("agent/{}", agent.id), &agent.limits);
        count("all".to_owned(), &self.posture.tenant_limits);
        if let Some(tool) = tool {
            count(format!("tool/{}", tool.name), &tool.limits);
            if let Some(grant) = agent.grants.get(&tool.name) {
                count(format!("grant/{}/{}", agent.id, tool.name), &grant.limits);
            }
        }
        counters
    }
}

/// The arguments fit the tool's schema and have one canonical form.
#[derive(Debug)]
#[must_use]
pub struct Validated {
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: Arc<Tool>,
    arguments: Arguments,
    source: Source,
}

impl Monitor {
    fn validate(&self, call: Metered) -> Result<Validated, Refusal> {
        let Metered { principal, agent, tool, arguments, source } = call;
        let arguments = arguments.map_err(|error| {
            let ArgumentsError::Malformed(expected) = error else {
                return Refusal::InvalidArguments(Vec::new());
            };
            let path = "(arguments)".to_owned();
            Refusal::InvalidArguments(vec![Issue { path, expected, membership: false }])
        })?;
        let issues = tool.schema.issues(&Value::Object(arguments.values().clone()));
        if issues.is_empty() {
            return Ok(Validated { principal, agent, tool, arguments, source });
        }
        Err(invalid(&principal, &tool, arguments.values(), issues))
    }
}

/// What is wrong with the arguments, told without an oracle: whether a scoped identifier is
/// another tenant's or nobody's, the answer is the same, and it names only the caller's own.
fn invalid(
    principal: &Principal,
    tool: &Tool,
    arguments: &Map<String, Value>,
    mut issues: Vec<Issue>,
) -> Refusal {
    let scoped: BTreeSet<String> =
        tool.scope.iter().filter_map(|rule| rule.at()).map(ToString::to_string).collect();
    issues.retain(|issue| !(issue.membership && scoped.contains(&without_indices(&issue.path))));
    let violations: Vec<_> =
        tool.scope.iter().filter_map(|rule| rule.verify(principal, arguments).err()).collect();
    if issues.is_empty()
        && let Some(first) = violations.first()
    {
        return Refusal::OutOfScope(first.clone());
    }
    for violation in violations {
        if !issues.iter().any(|issue| without_indices(&issue.path) == violation.path) {
            let expected = violation.expected();
            issues.push(Issue { path: violation.path, expected, membership: true });
        }
    }
    Refusal::InvalidArguments(issues)
}

/// `parcels[0].account_id` → `parcels[].account_id`, the form of an argument path.
fn without_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|&c| {
            inside = (inside || c == '[') && c != ']';
            !inside || c == '['
        })
        .collect()
}

// ── may it be done ──────────────────────────────────────────────────────────────────────────────

/// Every scoped argument is the caller's own; bound ones are put in from the token.
#[derive(Debug)]
#[must_use]
pub struct Bound {
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: Arc<Tool>,
    arguments: Arguments,
    scope: ScopeEvidence,
    source: Source,
}

impl Monitor {
    fn bind(&self, call: Validated, trail: &mut Trail) -> Result<Bound, Refusal> {
        let Validated { principal, agent, tool, arguments, source } = call;
        let (scope, bound) = scope::bind(&tool.scope, &principal, arguments.values())
            .map_err(Refusal::OutOfScope)?;
        let arguments = arguments.with(bound).map_err(|error| {
            Refusal::Undecided(format!("a bound argument has no canonical form: {error}"))
        })?;
        trail.arguments = arguments.canonical().to_vec();
        Ok(Bound { principal, agent, tool, arguments, scope, source })
    }
}

/// Policy permits it, by these policies, at this clearance.
#[derive(Debug)]
#[must_use]
pub struct Authorized {
    principal: Arc<Principal>,
    tool: Arc<Tool>,
    arguments: Arguments,
    clearance: Rung,
    source: Source,
}

impl Monitor {
    fn authorize(&self, call: Bound, trail: &mut Trail) -> Result<Authorized, Refusal> {
        let (authorized, sums) = self.permit(call, trail)?;
        if !sums.is_empty() {
            let counters: Vec<_> = sums.iter().map(|(counter, _)| counter.clone()).collect();
            let reservation = self.journal.reserve(&counters, trail.begun);
            let charges = reservation.map_err(Refusal::OverBudget)?.into_charges();
            let of = sums.into_iter().map(|(_, of)| of);
            trail.spending = charges.into_iter().zip(of).collect();
        }
        Ok(authorized)
    }

    /// The call as policy permits it, and what of its budgets it comes to.
    fn permit(
        &self,
        call: Bound,
        trail: &mut Trail,
    ) -> Result<(Authorized, Vec<(Counter, Summed)>), Refusal> {
        let Bound { principal, agent, tool, arguments, scope, source } = call;
        let question = Question {
            agent: &agent.id,
            principal: &principal,
            tool: &tool.name,
            arguments: arguments.values(),
            scope: &scope,
            now: trail.begun,
            approver: source.approver(),
        };
        let Permission { determining, clearance } =
            self.pdp.decide(&question).map_err(|denial| match denial {
                Denial::Forbidden(forbidden) => Refusal::Forbidden(forbidden),
                Denial::Undecided(policy) => Refusal::Undecided(policy),
            })?;
        if determining.is_empty() {
            return Err(Refusal::Forbidden(Forbidden::default())); // A permission nobody gave is none.
        }
        trail.policies = determining;
        // INVARIANT: no policy lowers a tool's rung; the ladder's step is the least clearance.
        let clearance = clearance.max(tool.ladder.rung(trail.begun));
        let sums = budgets(&tool, (&principal, &agent), arguments.values())?;
        Ok((Authorized { principal, tool, arguments, clearance, source }, sums))
    }
}

/// What a call comes to in each of its tool's budgets. Rows are reserved as many as there may be.
pub(crate) fn budgets(
    tool: &Tool,
    (principal, agent): (&Principal, &Agent),
    arguments: &Map<String, Value>,
) -> Result<Vec<(Counter, Summed)>, Refusal> {
    let sum = |budget: &Budget| {
        let amount = match (&budget.of, &tool.plan) {
            (Summed::Argument(path), _) => {
                let values = path.values(arguments).unwrap_or_default();
                let amounts = values.into_iter().map(Value::as_u64).collect::<Option<Vec<_>>>()?;
                amounts.into_iter().try_fold(0, u64::checked_add)?
            }
            (Summed::Recipients, Plan::Email(plan)) => match arguments.get(&plan.to)? {
                Value::Array(all) => u64::try_from(all.len()).ok()?,
                Value::String(_) => 1,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
            },
            (Summed::Recipients, _) => 0,
            (Summed::Rows, _) if tool.effect == Effect::Read => tool.plan.bounds().rows_max.into(),
            (Summed::Rows, _) => tool.ladder.affects.max,
        };
        let whose = match budget.per {
            Per::Tenant => format!("tenant/{}", principal.tenant),
            Per::Agent => format!("agent/{}/tenant/{}", agent.id, principal.tenant),
        };
        let key = format!("budget/{}/{}/{whose}", tool.name, budget.of.name());
        let counter = Counter { key, window: budget.window, max: budget.max, amount };
        Some((counter, budget.of.clone()))
    };
    let sums = tool.ladder.budgets.iter().map(sum).collect::<Option<_>>();
    sums.ok_or_else(|| Refusal::Undecided("what the call comes to cannot be added up".to_owned()))
}

/// What the systems themselves had to confirm, they have.
#[derive(Debug)]
#[must_use]
pub struct LookedUp {
    authorized: Authorized,
}

/// Leave to ask one system one thing, once, by a statement of the posture's author that only
/// reads. It is no permit: nothing but [`crate::port::Connector::look_up`] takes it.
#[derive(Debug)]
#[must_use]
pub struct Inquiry {
    tenant: TenantId,
    query: Arc<Query>,
    values: Map<String, Value>,
}

impl Inquiry {
    /// Whose data it may touch.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    /// The system, the statement and its bounds.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }
    /// What is bound to the statement: a value for each parameter that is not left out.
    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }
}

impl Monitor {
    async fn look_up(&self, call: Authorized, trail: &mut Trail) -> Result<LookedUp, Refusal> {
        for look_up in &call.tool.look_ups {
            self.confirm(&call, look_up, trail).await?;
        }
        Ok(LookedUp { authorized: call })
    }

    /// Every value at the rule's path is the caller's, as the system says now.
    async fn confirm(
        &self,
        call: &Authorized,
        look_up: &Arc<LookUp>,
        trail: &mut Trail,
    ) -> Result<(), Refusal> {
        let path = look_up.path.to_string();
        let foreign = |allowed| {
            Refusal::OutOfScope(ScopeViolation { path: path.clone(), allowed, domains: false })
        };
        // Nothing there is not "owned": an absent filter reads everybody's rows.
        let values = look_up.identifiers(call.arguments.values());
        let values = values.filter(|values| !values.is_empty()).ok_or_else(|| foreign(vec![]))?;
        let asked = trail.looked_up(look_up);
        match look_up.asks {
            Asks::Owned => {
                for value in values {
                    let found = self.inquire(call, look_up, Some(value)).await?;
                    trail.answered(asked, &found);
                    if !found.confirms(value).map_err(|why| unanswered(&why))? {
                        return Err(foreign(vec![]));
                    }
                }
            }
            Asks::Allowed => {
                let found = self.inquire(call, look_up, None).await?;
                trail.answered(asked, &found);
                let allowed = found.list().map_err(|why| unanswered(&why))?;
                if !values.iter().all(|value| allowed.contains(value)) {
                    let texts = allowed.into_iter().filter_map(Value::as_str);
                    return Err(foreign(texts.map(str::to_owned).collect()));
                }
            }
        }
        Ok(())
    }

    async fn inquire(
        &self,
        call: &Authorized,
        look_up: &Arc<LookUp>,
        value: Option<&Value>,
    ) -> Result<Found, Refusal> {
        let inquiry = Inquiry {
            tenant: call.principal.tenant.clone(),
            query: Arc::clone(&look_up.query),
            values: look_up.binding(call.arguments.values(), value),
        };
        let found = caught(async { self.connector.look_up(inquiry).await }).await;
        found.ok_or_else(|| unanswered("the connector panicked"))?.map_err(Refusal::LookUpFailed)
    }
}

fn unanswered(why: &str) -> Refusal {
    Refusal::LookUpFailed(SystemFault::new(
        SystemFaultKind::Failed,
        Applied::NotApplied,
        why.to_owned(),
    ))
}

/// Leave to ask a decision point of the company's, once, whether a call may be made. It is no
/// permit: nothing but [`crate::port::Connector::consult`] takes it.
#[derive(Debug)]
#[must_use]
pub struct Consultation {
    point: DecisionPoint,
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: Arc<Tool>,
    arguments: Map<String, Value>,
    rung: Rung,
}

impl Consultation {
    /// Whom to ask, and for how long.
    #[must_use]
    pub fn point(&self) -> &DecisionPoint {
        &self.point
    }
    /// Whose data the call would touch.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.principal.tenant
    }
    /// Which agent would make it.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.agent.id
    }
    /// On whose behalf.
    #[must_use]
    pub fn subject(&self) -> &SubjectId {
        &self.principal.subject
    }
    /// Which tool.
    #[must_use]
    pub fn tool(&self) -> &ToolName {
        &self.tool.name
    }
    /// With which arguments, bound ones included.
    #[must_use]
    pub fn arguments(&self) -> &Map<String, Value> {
        &self.arguments
    }
    /// The step of the ladder that the call stands on.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        self.rung
    }
}

impl Monitor {
    /// Whether the decision point says yes. A connector that panics has not.
    async fn consult(&self, consultation: Consultation) -> Result<bool, SystemFault> {
        let said = caught(async { self.connector.consult(consultation).await }).await;
        said.unwrap_or_else(|| {
            Err(SystemFault::new(
                SystemFaultKind::Failed,
                Applied::NotApplied,
                "the connector panicked".to_owned(),
            ))
        })
    }
}

/// What its rung asks for is there: nothing, a post-condition, a decision point's yes, or a person's.
#[derive(Debug)]
#[must_use]
pub struct Cleared {
    principal: Arc<Principal>,
    tool: Arc<Tool>,
    arguments: Arguments,
    by: Clearance,
}

impl Monitor {
    async fn clear(&self, call: LookedUp, trail: &mut Trail) -> Result<Cleared, Stopped> {
        let Authorized { principal, tool, arguments, clearance, source } = call.authorized;
        trail.exception = tool.ladder.excepted(trail.begun).cloned();
        trail.rung = Some(clearance);
        let by = match (source, ungated(&tool, clearance)) {
            // INVARIANT: a draft acts by its approval alone, which its intent spends. One whose tool
            // nobody need agree to any more is stale, or it would act as often as it is looked at.
            (Source::Approval(draft), _) => {
                let binding = arguments.digest(&principal, &tool.name);
                approved(&draft, (clearance, binding), trail)?
            }
            (Source::Agent(None), Some(by)) => by,
            (Source::Agent(Some(_)), Some(_)) => {
                return Err(Refusal::OutsideApproval.into()); // Nothing was asked.
            }
            (Source::Agent(answers), None) => {
                let binding = arguments.digest(&principal, &tool.name);
                let gated = Gated { principal, tool, arguments, clearance, binding, answers };
                return self.stand_in(gated, trail).await;
            }
        };
        trail.cleared = Some(by.clone());
        Ok(Cleared { principal, tool, arguments, by })
    }

    /// Where the ladder lets a decision point stand in for people, it is asked about a call that they
    /// have not been asked about. What it does not say yes to, they are.
    async fn stand_in(&self, call: Gated, trail: &mut Trail) -> Result<Cleared, Stopped> {
        let Some(consultation) = self.consultation(&call, trail) else {
            return Err(Stopped::Gated(Box::new(call)));
        };
        // INVARIANT: what people were asked about is theirs to decide. A yes would be a second effect
        // beside the one that they approve, or override the no that they gave.
        if self.is_drafted(call.binding, trail).await? {
            return Err(Stopped::Gated(Box::new(call)));
        }
        let system = consultation.point.system.clone();
        let said = self.consult(consultation).await;
        let yes = matches!(said, Ok(true));
        trail.consulted = Some((system, said.map_err(Fault::System)));
        if !yes {
            return Err(Stopped::Gated(Box::new(call)));
        }
        trail.cleared = Some(Clearance::DecisionPoint);
        let Gated { principal, tool, arguments, .. } = call;
        Ok(Cleared { principal, tool, arguments, by: Clearance::DecisionPoint })
    }

    /// Leave to ask the decision point that may stand in at this step, unless it is switched off or was
    /// not reviewed in time. A client that comes back with an answer comes about a draft.
    fn consultation(&self, call: &Gated, trail: &Trail) -> Option<Consultation> {
        let Gated { principal, tool, arguments, clearance, binding: _, answers } = call;
        let point = tool.ladder.gate.as_ref()?.decision.as_ref()?;
        let agent = trail.agent.as_ref()?;
        let tenant = &principal.tenant;
        let reach = Reach { agent: &agent.id, tool: None, systems: vec![&point.system], tenant };
        let reviewed = agent.grants.get(&tool.name)?.may_consult(trail.begun);
        let asked = *clearance < Rung::NAMED && answers.is_none() && reviewed;
        (asked && self.register.suspended(&reach).is_none()).then(|| Consultation {
            point: point.clone(),
            principal: Arc::clone(principal),
            agent: Arc::clone(agent),
            tool: Arc::clone(tool),
            arguments: arguments.values().clone(),
            rung: *clearance,
        })
    }
}

/// What clears a call that nobody need agree to; `None` if somebody must.
fn ungated(tool: &Tool, clearance: Rung) -> Option<Clearance> {
    if clearance <= Rung::UNGATED && tool.effect == Effect::Read {
        return Some(Clearance::Ungated);
    }
    // INVARIANT: an effect that nobody agrees to has a post-condition.
    (clearance <= Rung::CHECKED && tool.ladder.check.is_some()).then_some(Clearance::Check)
}

/// The approval is of this very call, of what governs it now, and of no lower a step.
fn approved(
    draft: &Draft,
    (clearance, binding): (Rung, Digest),
    trail: &Trail,
) -> Result<Clearance, Refusal> {
    let decision = trail.tool.as_ref().map(|(_, decision)| *decision);
    let same = draft.binding == binding && Some(draft.decision) == decision;
    if draft.state == State::Approved
        && same
        && draft.rung >= clearance
        && trail.begun < draft.expires
    {
        Ok(Clearance::Approval(draft.id.clone()))
    } else {
        Err(Refusal::Stale)
    }
}

/// The intent is durable. The only stage that can act.
#[derive(Debug)]
#[must_use]
pub struct Recorded {
    cleared: Cleared,
    call: CallId,
}

impl Monitor {
    async fn record(&self, cleared: Cleared, trail: &mut Trail) -> Result<Recorded, Refusal> {
        let mut charges = std::mem::take(&mut trail.charges);
        charges.extend(trail.spending.iter().map(|(charge, _)| charge.clone()));
        let entry = trail.entry(Kind::Intent, trail.begun).charged(charges);
        let mut entry = bounded(entry, "arguments", &trail.arguments);
        if let Clearance::Approval(draft) = &cleared.by {
            // One approval, one effect: it is spent by the very transaction that writes the intent.
            entry = entry.changing(Change::Move {
                draft: draft.clone(),
                step: Step::Claim,
                decided: None,
                commit: Some(trail.call.clone()),
                outcome: None,
            });
        }
        match self.journal.append(entry).await {
            Ok(receipt) => {
                trail.intent = Some(receipt);
                Ok(Recorded { cleared, call: trail.call.clone() })
            }
            Err(Unrecorded::Refused(Conflict::Suspended(suspension))) => {
                Err(Refusal::Suspended(suspension))
            }
            Err(Unrecorded::Refused(_)) => Err(Refusal::Conflict),
            Err(Unrecorded::Unavailable(why)) => Err(Refusal::JournalUnavailable(why)),
        }
    }
}

// ── below the watershed ─────────────────────────────────────────────────────────────────────────

/// Leave to perform one call, once. Not `Clone`, and spent by use.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    call: CallId,
    principal: Arc<Principal>,
    tool: Arc<Tool>,
    does: Does,
    arguments: Arc<Arguments>,
    proposer: Option<Arc<dyn Proposer>>,
}

/// What a permit is for.
#[derive(Debug)]
enum Does {
    /// The tool's plan, with its check.
    Call,
    /// What puts back an effect whose check failed.
    Undo(Arc<Plan>),
}

impl Permit {
    /// Which call.
    #[must_use]
    pub fn call(&self) -> &CallId {
        &self.call
    }
    /// Whose data it may touch.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.principal.tenant
    }
    /// Whose call it is. What a system keeps for one of them is never used for another.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    /// The tool, with the system to reach, the plan to carry out and its bounds.
    #[must_use]
    pub fn tool(&self) -> &Tool {
        &self.tool
    }
    /// The plan to carry out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        match &self.does {
            Does::Call => &self.tool.plan,
            Does::Undo(plan) => plan,
        }
    }
    /// What has to hold afterwards: it is part of the plan.
    #[must_use]
    pub fn check(&self) -> Option<&Check> {
        self.tool.ladder.check.as_ref().filter(|_| matches!(self.does, Does::Call))
    }
    /// One and the same for this call and nothing else, for systems that refuse to do a thing twice
    /// (`Idempotency-Key`).
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        match self.does {
            Does::Call => self.call.to_string(),
            Does::Undo(_) => format!("{}-undo", self.call),
        }
    }
    /// Whoever waits for the answer, if they hear anything before.
    #[must_use]
    pub fn proposer(&self) -> Option<&Arc<dyn Proposer>> {
        self.proposer.as_ref()
    }
    /// The arguments to bind, and nothing else of what the agent sent.
    #[must_use]
    pub fn arguments(&self) -> &Map<String, Value> {
        self.arguments.values()
    }
}

/// The system has answered.
#[derive(Debug)]
#[must_use]
pub struct Executed {
    principal: Arc<Principal>,
    tool: Arc<Tool>,
    report: Report,
}

impl Monitor {
    async fn execute(
        &self,
        call: Recorded,
        proposer: Option<Arc<dyn Proposer>>,
    ) -> Result<Executed, Fault> {
        let Recorded { cleared: Cleared { principal, tool, arguments, .. }, call } = call;
        let arguments = Arc::new(arguments);
        let permit = |does| Permit {
            call: call.clone(),
            principal: Arc::clone(&principal),
            tool: Arc::clone(&tool),
            does,
            arguments: Arc::clone(&arguments),
            proposer: proposer.clone(),
        };
        let outcome = match (self.perform(permit(Does::Call)).await, &tool.ladder.undo) {
            (Err(fault), Some(undo)) if fault.is_to_be_undone() => {
                let undone = self.perform(permit(Does::Undo(Arc::clone(undo)))).await;
                Err(fault.after(undone.map(drop)))
            }
            (outcome, _) => outcome,
        };
        match outcome {
            Ok(report) => Ok(Executed { principal, tool, report }),
            // A read that failed changed nothing, whatever else is unknown.
            Err(fault) if tool.effect == Effect::Read => {
                Err(Fault::System(SystemFault { applied: Applied::NotApplied, ..fault }))
            }
            Err(fault) => Err(Fault::System(fault)),
        }
    }

    /// A connector that panics must not take the outcome's record with it.
    async fn perform(&self, permit: Permit) -> Result<Report, SystemFault> {
        let outcome = caught(async { self.connector.execute(permit).await }).await;
        outcome.unwrap_or_else(|| {
            Err(SystemFault::new(
                SystemFaultKind::Failed,
                Applied::Unknown,
                "the connector panicked".to_owned(),
            ))
        })
    }
}

/// `None` if `future` panicked.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_panic) => std::task::Poll::Ready(None),
    })
    .await
}

/// The system kept to the permit's bounds, and every row is the caller's that has to be.
#[derive(Debug)]
#[must_use]
pub struct Verified {
    report: Report,
}

impl Monitor {
    fn verify(&self, call: Executed) -> Result<Verified, Fault> {
        let Executed { principal, tool, report } = call;
        let rows_max = u64::from(tool.plan.bounds().rows_max);
        let all = report.result.as_array();
        let rows = all.map(|rows| u64::try_from(rows.len()).unwrap_or(u64::MAX));
        if rows != Some(report.rows) || report.rows > rows_max {
            return Err(Fault::Withheld(format!(
                "the connector reported {} rows, sent {rows:?}, and may send {rows_max}",
                report.rows
            )));
        }
        let all = all.map(Vec::as_slice).unwrap_or_default();
        if let Some(rule) = tool.result.iter().find(|rule| !rule.holds(&principal, all)) {
            return Err(Fault::ForeignRows(rule.column.clone()));
        }
        Ok(Verified { report })
    }
}

/// The result is fit to be shown, and not yet on record.
#[derive(Debug)]
#[must_use]
pub struct Screened {
    text: String,
    value: Value,
    applied: Applied,
}

impl Monitor {
    fn screen(&self, call: Verified, trail: &mut Trail) -> Result<Screened, Fault> {
        let Report { mut result, shape, rows, truncated, changed, applied } = call.report;
        let mut hidden = screen::strip_hidden(&mut result);
        trail.used = Some(rows.max(changed));
        let value = match shape {
            Shape::Rows => json!({ "rows": result, "row_count": rows, "truncated": truncated }),
            Shape::Content(None) => json!({ "content": result, "truncated": truncated }),
            Shape::Content(Some(mut structured)) => {
                hidden = hidden.saturating_add(screen::strip_hidden(&mut structured));
                json!({ "content": result, "structuredContent": structured, "truncated": truncated })
            }
            Shape::Contents => json!({ "contents": result, "truncated": truncated }),
            Shape::Messages => json!({ "messages": result, "truncated": truncated }),
        };
        let text = value.to_string();
        trail.shown = Some(Shown { rows, truncated, hidden });
        Ok(Screened { text, value, applied })
    }
}

// ── what the agent is told ──────────────────────────────────────────────────────────────────────

/// What the caller is told. Doors serialize this and nothing else.
#[derive(Debug)]
#[must_use]
pub enum Answer {
    /// Executed, screened and on record.
    Completed(Completed),
    /// Stopped before anything was done.
    Refused(RefusedCall),
    /// Stopped after something may have been done.
    Faulted(FaultedCall),
}

impl Answer {
    /// The call's id, by which its records are found.
    #[must_use]
    pub fn call(&self) -> &CallId {
        match self {
            Self::Completed(completed) => &completed.call,
            Self::Refused(refused) => &refused.call,
            Self::Faulted(faulted) => &faulted.call,
        }
    }
}

/// The outcome is durable. The only stage whose result may reach the agent.
#[derive(Debug)]
#[must_use]
pub struct Completed {
    call: CallId,
    receipt: Receipt,
    text: String,
    value: Value,
}

impl Completed {
    /// The result as JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
    /// The same as a value: `{rows, row_count, truncated}`; of an MCP server `{content, truncated}`, with
    /// `structuredContent` if there is any, `{contents, truncated}` or `{messages, truncated}`.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }
    /// Whether it is blocks of content of an MCP server's.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.value.get("content").is_some()
    }
    /// Where the outcome stands in the journal.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// A call that was stopped before anything was done. Its record is on the way.
#[derive(Debug)]
#[must_use]
pub struct RefusedCall {
    call: CallId,
    refusal: Refusal,
}

impl RefusedCall {
    /// The call's id, by which its record is found.
    #[must_use]
    pub fn call(&self) -> &CallId {
        &self.call
    }
    /// Why.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }
    /// What the agent is told.
    #[must_use]
    pub fn public(&self) -> Public {
        self.refusal.public()
    }
}

/// A call that was begun and did not end well.
#[derive(Debug)]
#[must_use]
pub struct FaultedCall {
    call: CallId,
    fault: Fault,
}

impl FaultedCall {
    /// The call's id, by which its records are found.
    #[must_use]
    pub fn call(&self) -> &CallId {
        &self.call
    }
    /// How it ended.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
    /// What the agent is told.
    #[must_use]
    pub fn public(&self) -> Public {
        self.fault.public()
    }
}

impl Monitor {
    async fn complete(&self, screened: Screened, trail: Trail) -> Answer {
        let Screened { text, value, applied } = screened;
        let entry = trail
            .outcome(self.clock.now())
            .with("status", "ok")
            .with("applied", applied.as_str())
            .with("result_bytes", text.len());
        let entry = bounded(entry, "result", text.as_bytes());
        let result = Some(text.clone());
        let outcome = Outcome { applied, code: None, result, resolved: false };
        let entry = self.settle(entry, &trail, outcome);
        match self.journal.append(entry).await {
            Ok(receipt) => Answer::Completed(Completed { call: trail.call, receipt, text, value }),
            // The intent stays without an outcome; recovery closes it as unknown.
            Err(error) => Answer::Faulted(FaultedCall {
                call: trail.call,
                fault: Fault::JournalUnavailable(error.to_string()),
            }),
        }
    }

    async fn fail(&self, fault: Fault, trail: Trail) -> Answer {
        let entry = trail
            .outcome(self.clock.now())
            .with("status", "fault")
            .with("code", fault.code())
            .with("applied", fault.applied().as_str())
            .body("detail", cut(fault.detail()));
        let entry = match fault.alert() {
            Some(alert) => entry.with("alert", alert),
            None => entry,
        };
        let (applied, code) = (fault.applied(), Some(fault.code().to_owned()));
        let outcome = Outcome { applied, code, result: None, resolved: false };
        let entry = self.settle(entry, &trail, outcome);
        let fault = match self.journal.append(entry).await {
            Ok(_receipt) => fault,
            Err(error) => Fault::JournalUnavailable(error.to_string()),
        };
        Answer::Faulted(FaultedCall { call: trail.call, fault })
    }

    /// What an outcome changes besides: the draft that it is of, and what of budgets was not used.
    fn settle(&self, entry: Entry, trail: &Trail, outcome: Outcome) -> Entry {
        let returned = trail.unused(outcome.applied);
        self.journal.give_back(&returned);
        let entry = entry.giving_back(returned);
        let Some(Clearance::Approval(draft)) = &trail.cleared else { return entry };
        entry.changing(Change::Move {
            draft: draft.clone(),
            step: Step::of(outcome.applied),
            decided: None,
            commit: None,
            outcome: Some(outcome),
        })
    }

    /// Notes the refusal. It never waits: an agent that is refused must not be able to slow down
    /// those that are not.
    fn refuse(&self, mut trail: Trail, refusal: Refusal) -> RefusedCall {
        self.unspend(&mut trail);
        let repeat = trail.repeat(&refusal);
        let mut entry = trail
            .entry(Kind::Refusal, trail.begun)
            .with("code", refusal.code())
            .body("claimed_tool", cut(&trail.claimed))
            .body("detail", cut(&refusal.detail()));
        if let Refusal::Forbidden(Forbidden { policies, .. }) = &refusal {
            entry = entry.with("policies", policies.clone());
        }
        if let Some(alert) = refusal.alert() {
            entry = entry.with("alert", alert);
        }
        let entry = bounded(entry, "arguments", &trail.arguments).charged(trail.charges);
        self.journal.note(Noted { entry, repeat });
        RefusedCall { call: trail.call, refusal }
    }
}

impl Monitor {
    fn trail(&self, proposed: &Proposed) -> Trail {
        let now = self.clock.now();
        let mut trail = Trail::begin(self.new_call_id(now), now, proposed.caller.door);
        trail.posture = Some(self.posture.digest);
        trail.of(&proposed.caller.principal);
        trail.claimed.clone_from(&proposed.tool);
        trail
    }
}
