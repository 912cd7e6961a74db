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
//! up only with an [`Inquiry`], which only [`Authorized`] yields), and a
//! door answers only with an [`Answer`], which only this module makes.
//!
//! An identity cannot be made by hand:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::{Caller, Door}, principal::Principal};
//! # fn principal() -> std::sync::Arc<Principal> { std::process::abort() }
//! let caller = Caller { principal: principal(), door: Door::Http };
//! ```
//!
//! Neither can a permit:
//!
//! ```compile_fail,E0451
//! # use countersign_core::{call::Permit, tool::Tool, id::{CallId, TenantId}, args::Arguments};
//! # fn parts() -> (CallId, TenantId, std::sync::Arc<Tool>, Arguments) { std::process::abort() }
//! let (call, tenant, tool, arguments) = parts();
//! let permit = Permit { call, tenant, tool, does: todo!(), arguments: arguments.into() };
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
//! And the functions between the stages are this module's own:
//!
//! ```compile_fail,E0624
//! # use countersign_core::call::{Authorized, Monitor};
//! fn around(monitor: &Monitor, call: Authorized) {
//!     let cleared = monitor.look_up(call);
//! }
//! ```

use crate::args::{Arguments, ArgumentsError};
use crate::id::{CallId, Digest, TenantId, Timestamp, ToolName};
use crate::ladder::Check;
use crate::port::{
    Authenticator, Clock, Connector, Credential, Denial, Entropy, Found, Journal, Pdp, Permission,
    Question, Receipt, Refused as Noted, Report,
};
use crate::posture::{Agent, Grant, Posture};
use crate::principal::Principal;
use crate::quota::{Counter, Limits, Window};
use crate::record::Kind;
use crate::refusal::{
    Applied, AuthenticationFailure, Fault, Forbidden, Public, Refusal, SystemFault, SystemFaultKind,
};
use crate::scope::{self, Asks, LookUp, Query, ScopeEvidence, ScopeViolation, VALUE};
use crate::screen;
use crate::tool::{Effect, Issue, Plan, Rung, Tool};
pub use crate::trail::LookedUpBy;
use crate::trail::{Shown, Trail, bounded, cut};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

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
        let mut trail = self.trail(&proposed);
        let recorded = match self.admit(proposed, &mut trail).await {
            Ok(recorded) => recorded,
            Err(refusal) => return Answer::Refused(self.refuse(trail, refusal)),
        };
        // The watershed. Above it nothing has been done to any system; below it something may.
        // A crash from here on leaves an intent without an outcome: recovery closes it as unknown.
        match self.fulfil(recorded, &mut trail).await {
            Ok(screened) => self.complete(screened, trail).await,
            Err(fault) => self.fail(fault, trail).await,
        }
    }

    async fn admit(&self, proposed: Proposed, trail: &mut Trail) -> Result<Recorded, Refusal> {
        let authenticated = self.authenticated(proposed, trail)?; // who asks?
        let resolved = self.resolve(authenticated, trail)?; // for which of their tools?
        let metered = self.meter(resolved, trail)?; // how often already?
        let validated = self.validate(metered)?; // with which arguments, exactly?
        let bound = self.bind(validated, trail)?; // within whose data?
        let authorized = self.authorize(bound, trail)?; // does policy permit it?
        let looked_up = self.look_up(authorized, trail).await?; // do the systems say it is theirs?
        let cleared = self.clear(looked_up)?; // has a person agreed, if one must?
        self.record(cleared, trail).await // is the intent durable?
    }

    async fn fulfil(&self, recorded: Recorded, trail: &mut Trail) -> Result<Screened, Fault> {
        let executed = self.execute(recorded).await?; // the effect
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
}

impl Door {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Http => "http",
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
        let grants = agent.grants.values();
        grants
            .filter(|grant| grant.lacking(&caller.principal).is_none())
            .map(|Grant { tool, .. }| Listed {
                name: tool.name.clone(),
                description: tool.description.clone(),
                input: scope::shown_to(&caller.principal, &tool.scope, &tool.input),
                effect: tool.effect,
            })
            .collect()
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
}

/// The caller is who it says, still, and an agent of this posture.
#[derive(Debug)]
#[must_use]
pub struct Authenticated {
    principal: Arc<Principal>,
    agent: Arc<Agent>,
    tool: String,
    arguments: Value,
}

impl Monitor {
    fn authenticated(&self, call: Proposed, trail: &mut Trail) -> Result<Authenticated, Refusal> {
        let Proposed { caller, tool, arguments } = call;
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
        Ok(Authenticated { principal, agent, tool, arguments })
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
}

impl Monitor {
    /// A tool that nobody has and one that this agent was not granted miss the same map.
    fn resolve(&self, call: Authenticated, trail: &mut Trail) -> Result<Resolved, Refusal> {
        let Authenticated { principal, agent, tool, arguments } = call;
        let grant = ToolName::new(tool).ok().and_then(|name| agent.grants.get(&name));
        let grant = grant.ok_or(Refusal::UnknownTool)?;
        let Grant { tool, decision_digest, .. } = grant;
        let tool = Arc::clone(tool);
        trail.tool = Some((Arc::clone(&tool), *decision_digest));
        if let Some(scope) = grant.lacking(&principal) {
            return Err(Refusal::InsufficientScope(scope.to_owned()));
        }
        Ok(Resolved { principal, agent, tool, arguments })
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
}

impl Monitor {
    fn meter(&self, call: Resolved, trail: &mut Trail) -> Result<Metered, Refusal> {
        let (metered, counters) = self.countable(call, trail);
        let reservation =
            self.journal.reserve(&counters, trail.begun).map_err(Refusal::RateLimited)?;
        trail.charges = reservation.into_charges();
        Ok(metered)
    }

    /// The call as it is once counted, and the counters that it runs against.
    fn countable(&self, call: Resolved, trail: &mut Trail) -> (Metered, Vec<Counter>) {
        let Resolved { principal, agent, tool, arguments } = call;
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
        let counters = self.counters(&principal, &agent, &tool, canonical);
        (Metered { principal, agent, tool, arguments }, counters)
    }

    fn counters(
        &self,
        principal: &Principal,
        agent: &Agent,
        tool: &Tool,
        canonical: &[u8],
    ) -> Vec<Counter> {
        let session = principal.session();
        let tenant = principal.tenant.as_str();
        let same = Digest::of(
            "countersign/identical/1",
            &[session.as_bytes(), tool.name.as_str().as_bytes(), canonical],
        );
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
            push(format_args!("call/{same}"), Window::Alike, limits.identical_per_minute);
        };
        count(format!("agent/{}", agent.id), &agent.limits);
        count(format!("tool/{}", tool.name), &tool.limits);
        count("all".to_owned(), &self.posture.tenant_limits);
        if let Some(grant) = agent.grants.get(&tool.name) {
            count(format!("grant/{}/{}", agent.id, tool.name), &grant.limits);
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
}

impl Monitor {
    fn validate(&self, call: Metered) -> Result<Validated, Refusal> {
        let Metered { principal, agent, tool, arguments } = call;
        let arguments = arguments.map_err(|error| {
            let ArgumentsError::Malformed(expected) = error else {
                return Refusal::InvalidArguments(Vec::new());
            };
            let path = "(arguments)".to_owned();
            Refusal::InvalidArguments(vec![Issue { path, expected, membership: false }])
        })?;
        let issues = tool.schema.issues(&Value::Object(arguments.values().clone()));
        if issues.is_empty() {
            return Ok(Validated { principal, agent, tool, arguments });
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
}

impl Monitor {
    fn bind(&self, call: Validated, trail: &mut Trail) -> Result<Bound, Refusal> {
        let Validated { principal, agent, tool, arguments } = call;
        let (scope, bound) = scope::bind(&tool.scope, &principal, arguments.values())
            .map_err(Refusal::OutOfScope)?;
        let arguments = arguments.with(bound).map_err(|error| {
            Refusal::Undecided(format!("a bound argument has no canonical form: {error}"))
        })?;
        trail.arguments = arguments.canonical().to_vec();
        Ok(Bound { principal, agent, tool, arguments, scope })
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
}

impl Monitor {
    fn authorize(&self, call: Bound, trail: &mut Trail) -> Result<Authorized, Refusal> {
        let Bound { principal, agent, tool, arguments, scope } = call;
        let question = Question {
            agent: &agent.id,
            principal: &principal,
            tool: &tool.name,
            arguments: arguments.values(),
            scope: &scope,
            now: trail.begun,
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
        Ok(Authorized { principal, tool, arguments, clearance })
    }
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
        let parameters =
            look_up.query.plan.parameters.iter().map(|parameter| parameter.name.as_str());
        let value_of = |name: &str| match value {
            Some(value) if name == VALUE => Some(value),
            Some(_) | None => call.arguments.values().get(name),
        };
        let values = parameters.filter_map(|name| Some((name.to_owned(), value_of(name)?.clone())));
        let inquiry = Inquiry {
            tenant: call.principal.tenant.clone(),
            query: Arc::clone(&look_up.query),
            values: values.collect(),
        };
        let found = caught(async { self.connector.look_up(inquiry).await }).await;
        found.ok_or_else(|| unanswered("the connector panicked"))?.map_err(Refusal::LookUpFailed)
    }
}

fn unanswered(why: &str) -> Refusal {
    Refusal::LookUpFailed(SystemFault {
        kind: SystemFaultKind::Failed,
        applied: Applied::NotApplied,
        detail: why.to_owned(),
    })
}

/// Nobody need approve it.
#[derive(Debug)]
#[must_use]
pub struct Cleared {
    principal: Arc<Principal>,
    tool: Arc<Tool>,
    arguments: Arguments,
}

impl Monitor {
    fn clear(&self, call: LookedUp) -> Result<Cleared, Refusal> {
        let Authorized { principal, tool, arguments, clearance } = call.authorized;
        if clearance > Rung::UNGATED {
            return Err(Refusal::ApprovalRequired(clearance));
        }
        Ok(Cleared { principal, tool, arguments })
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
        let charges = std::mem::take(&mut trail.charges);
        let entry = trail.entry(Kind::Intent, trail.begun).charged(charges);
        let entry = bounded(entry, "arguments", &trail.arguments);
        let receipt = self.journal.append(entry).await;
        let receipt = receipt.map_err(|error| Refusal::JournalUnavailable(error.to_string()))?;
        trail.intent = Some(receipt);
        Ok(Recorded { cleared, call: trail.call.clone() })
    }
}

// ── what would be decided ───────────────────────────────────────────────────────────────────────

/// What the pipeline decides of a call up to the watershed, and on what evidence.
#[derive(Debug)]
#[must_use]
pub struct Explained {
    /// One for each stage that the call passed, in the order of [`Explained::STAGES`].
    pub passed: Vec<Evidence>,
    /// What it is refused with by the stage after those; `None` if it passed them all.
    pub refusal: Option<Refusal>,
}

impl Explained {
    /// The stages above the watershed. The last of them, Recorded, is not part of an explanation.
    pub const STAGES: [&str; 8] = [
        "authenticated",
        "resolved",
        "metered",
        "validated",
        "bound",
        "authorized",
        "looked_up",
        "cleared",
    ];
}

/// What one stage knows of a call that passed it.
#[derive(Debug)]
pub enum Evidence {
    /// The caller is this agent of the posture.
    Authenticated(Arc<Agent>),
    /// The tool is one it was granted.
    Resolved(Arc<Tool>),
    /// These counters would be charged. They were neither read nor charged.
    Metered(Vec<Counter>),
    /// These are the arguments, and they fit the schema.
    Validated(Map<String, Value>),
    /// The caller's own values, by the path of their rule, and the arguments with bound ones put in.
    Bound(ScopeEvidence, Map<String, Value>),
    /// These policies permit it, at this clearance.
    Authorized(Vec<String>, Rung),
    /// The systems confirmed these. They were asked.
    LookedUp(Vec<LookedUpBy>),
    /// Nobody need approve it.
    Cleared,
}

impl Monitor {
    /// Takes a call through the stages of [`Monitor::call`] up to [`Cleared`], and no further:
    /// nothing is counted, recorded or done, and no system is asked but by declared look-ups. What
    /// comes of it is words; no stage leaves here.
    pub async fn explain(&self, proposed: Proposed) -> Explained {
        let mut passed = Vec::new();
        let refusal = self.rehearse(proposed, &mut passed).await.err();
        Explained { passed, refusal }
    }

    async fn rehearse(
        &self,
        proposed: Proposed,
        passed: &mut Vec<Evidence>,
    ) -> Result<(), Refusal> {
        let mut trail = self.trail(&proposed);
        let call = self.authenticated(proposed, &mut trail)?;
        passed.push(Evidence::Authenticated(Arc::clone(&call.agent)));
        let call = self.resolve(call, &mut trail)?;
        passed.push(Evidence::Resolved(Arc::clone(&call.tool)));
        let (call, counters) = self.countable(call, &mut trail);
        passed.push(Evidence::Metered(counters));
        let call = self.validate(call)?;
        passed.push(Evidence::Validated(call.arguments.values().clone()));
        let call = self.bind(call, &mut trail)?;
        passed.push(Evidence::Bound(call.scope.clone(), call.arguments.values().clone()));
        let call = self.authorize(call, &mut trail)?;
        passed.push(Evidence::Authorized(std::mem::take(&mut trail.policies), call.clearance));
        let call = self.look_up(call, &mut trail).await?;
        passed.push(Evidence::LookedUp(trail.look_ups));
        self.clear(call).map(drop)?;
        passed.push(Evidence::Cleared);
        Ok(())
    }
}

// ── below the watershed ─────────────────────────────────────────────────────────────────────────

/// Leave to perform one call, once. Not `Clone`, and spent by use.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    call: CallId,
    tenant: TenantId,
    tool: Arc<Tool>,
    does: Does,
    arguments: Arc<Arguments>,
}

/// What a permit is for.
#[derive(Debug, PartialEq, Eq)]
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
        &self.tenant
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
        self.tool.ladder.check.as_ref().filter(|_| self.does == Does::Call)
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
    async fn execute(&self, call: Recorded) -> Result<Executed, Fault> {
        let Recorded { cleared: Cleared { principal, tool, arguments }, call } = call;
        let tenant = principal.tenant.clone();
        let arguments = Arc::new(arguments);
        let permit = |does| Permit {
            call: call.clone(),
            tenant: tenant.clone(),
            tool: Arc::clone(&tool),
            does,
            arguments: Arc::clone(&arguments),
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
            Err(SystemFault {
                kind: SystemFaultKind::Failed,
                applied: Applied::Unknown,
                detail: "the connector panicked".to_owned(),
            })
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
        let Report { mut result, rows, truncated, changed: _, applied } = call.report;
        let hidden = screen::strip_hidden(&mut result);
        let value = json!({ "rows": result, "row_count": rows, "truncated": truncated });
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
    /// The same as a value: `{rows, row_count, truncated}`.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
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
        match self.journal.append(bounded(entry, "result", text.as_bytes())).await {
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
        let fault = match self.journal.append(entry).await {
            Ok(_receipt) => fault,
            Err(error) => Fault::JournalUnavailable(error.to_string()),
        };
        Answer::Faulted(FaultedCall { call: trail.call, fault })
    }

    /// Notes the refusal. It never waits: an agent that is refused must not be able to slow down
    /// those that are not.
    fn refuse(&self, trail: Trail, refusal: Refusal) -> RefusedCall {
        let repeat = trail.repeat(&refusal);
        let mut entry = trail
            .entry(Kind::Refusal, trail.begun)
            .with("code", refusal.code())
            .body("claimed_tool", cut(&trail.claimed))
            .body("detail", cut(&refusal.detail()));
        if let Refusal::Forbidden(Forbidden { policies, .. }) = &refusal {
            entry = entry.with("policies", policies.clone());
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
