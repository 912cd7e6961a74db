//! A monitor whose ports are in memory, write down what they were asked, and fail on demand.

use countersign_core::absence::{Delegation, Delegations};
use countersign_core::call::{
    Answer, Caller, Consultation, Door, Explained, Inquiry, Monitor, Permit, Proposed,
};
use countersign_core::draft::{Change, Conflict, Draft, Reach, Suspension, UnknownOutcome, Who};
use countersign_core::id::{
    ActorId, AgentId, Digest, DraftId, IssuerId, SubjectId, SystemName, TenantId, Timestamp,
    ToolName,
};
use countersign_core::ladder::Ladder;
use countersign_core::person::{Person, Role, Tenants};
use countersign_core::port::{
    Authenticator, Clock, Connector, Credential, Denial, Entropy, Eventually, Found, Journal, Pdp,
    People, Permission, Question, Receipt, Refused, Register, Report, Unrecorded, Which,
};
use countersign_core::posture::{Agent, Grant, Lapse, Posture};
use countersign_core::principal::{CallerRef, Principal};
use countersign_core::quota::{Charge, Counter, LimitReached, Limits, Meter, Reservation};
use countersign_core::record::Entry;
use countersign_core::refusal::{Applied, AuthenticationFailure, SystemFault, SystemFaultKind};
use countersign_core::scope::{ArgumentPath, Asks, LookUp, Query, ResultRule, ScopeRule};
use countersign_core::tool::{
    Effect, InputSchema, Issue, Parameter, Plan, ResultBounds, Rung, SqlPlan, Tool,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// What the ports do; every `bool` is a way to go wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct World(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: Mutex<Vec<String>>,
    headers: Mutex<Vec<Value>>,
    meter: Mutex<Meter>,
    drafts: Mutex<Vec<Draft>>,
    suspensions: Mutex<Vec<Suspension>>,
    delegations: Mutex<Delegations>,
    pub(crate) behaviour: Mutex<Behaviour>,
}

#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    pub(crate) decision: Result<Permission, Denial>,
    pub(crate) intent_fails: bool,
    pub(crate) outcome_fails: bool,
    pub(crate) connector: Acts,
    pub(crate) look_ups: Vec<LookUp>,
    pub(crate) found: Result<Vec<Value>, &'static str>,
    pub(crate) result: Vec<ResultRule>,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) require_scope: Option<&'static str>,
    pub(crate) issuer: Option<&'static str>,
    pub(crate) ladder: Option<Ladder>,
    pub(crate) governed: &'static str,
    pub(crate) person: Option<&'static str>,
    /// When the grant ends by itself.
    pub(crate) lapses_s: Option<i64>,
    pub(crate) now_s: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acts {
    Answers,
    Fails,
    Panics,
    SendsTooMuch,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            decision: Ok(Permission {
                determining: vec!["grant".into()],
                clearance: Rung::UNGATED,
            }),
            intent_fails: false,
            outcome_fails: false,
            connector: Acts::Answers,
            look_ups: Vec::new(),
            found: Ok(Vec::new()),
            result: Vec::new(),
            scopes: Vec::new(),
            require_scope: None,
            issuer: None,
            ladder: None,
            person: Some("ann-7"),
            governed: "decision",
            lapses_s: None,
            now_s: 1_000,
        }
    }
}

impl World {
    pub(crate) fn with(change: impl FnOnce(&mut Behaviour)) -> Self {
        let world = Self::default();
        change(&mut world.0.behaviour.lock().unwrap());
        world
    }
    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.0.behaviour.lock().unwrap());
    }
    fn behaviour(&self) -> Behaviour {
        self.0.behaviour.lock().unwrap().clone()
    }
    fn saw(&self, what: impl Into<String>) {
        self.0.asked.lock().unwrap().push(what.into());
    }
    /// What the ports were asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.asked.lock().unwrap())
    }
    /// The last header that reached the journal.
    pub(crate) fn last_header(&self) -> Value {
        self.0.headers.lock().unwrap().last().unwrap().clone()
    }
    fn header(&self, entry: Entry) {
        let sealed = entry.seal("s", 0, &Digest::from_bytes([0; 32]), |_zeros| {});
        self.0.headers.lock().unwrap().push(serde_json::from_slice(&sealed.header).unwrap());
    }

    pub(crate) fn monitor(&self, effect: Effect) -> Monitor {
        Monitor {
            posture: Arc::new(posture(effect, self.behaviour())),
            authenticator: Arc::new(self.clone()),
            pdp: Arc::new(self.clone()),
            journal: Arc::new(self.clone()),
            register: Arc::new(self.clone()),
            people: Arc::new(self.clone()),
            connector: Arc::new(self.clone()),
            clock: Arc::new(self.clone()),
            entropy: Arc::new(self.clone()),
        }
    }

    /// One call of `t1`'s agent from beginning to end.
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.call_with(Effect::Read, tool, arguments)
    }

    /// What would be decided of the same.
    pub(crate) fn explain(&self, tool: &str, arguments: Value) -> Explained {
        let monitor = self.monitor(Effect::Read);
        let caller = self.caller(&monitor);
        now(monitor.explain(Proposed { caller, tool: tool.into(), arguments, answers: None }))
    }

    pub(crate) fn call_with(&self, effect: Effect, tool: &str, arguments: Value) -> Answer {
        let monitor = self.monitor(effect);
        let caller = self.caller(&monitor);
        now(monitor.call(Proposed { caller, tool: tool.into(), arguments, answers: None }))
    }

    pub(crate) fn caller(&self, monitor: &Monitor) -> Arc<Caller> {
        let credential = Credential::bearer("copilot");
        Arc::new(now(monitor.authenticate(&credential, Door::Http)).unwrap())
    }
}

pub(crate) fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(out) => out,
        Poll::Pending => panic!("the in-memory ports never wait"),
    }
}

fn posture(effect: Effect, behaviour: Behaviour) -> Posture {
    let Behaviour { look_ups, result, require_scope, issuer, ladder, governed, lapses_s, .. } =
        behaviour;
    let look_ups = look_ups.into_iter().map(Arc::new).collect();
    let gated = ladder.is_some();
    let tool = Arc::new(Tool {
        name: ToolName::new("get_usage").unwrap(),
        description: "Usage.".into(),
        input: json!({"properties": {"account": {"type": "string", "enum": ["t1", "t2"]}}})
            .as_object()
            .unwrap()
            .clone(),
        schema: Arc::new(Schema),
        scope: vec![
            ScopeRule::Equals {
                path: ArgumentPath::parse("account").unwrap(),
                caller: CallerRef::Tenant,
            },
            ScopeRule::Bind { name: "tenant".into(), caller: CallerRef::Tenant },
        ],
        look_ups,
        result,
        effect,
        ladder: ladder.unwrap_or_else(|| Ladder::at(effect.rung())),
        system: SystemName::new("db").unwrap(),
        plan: Plan::Sql(SqlPlan {
            statement: "select 1".into(),
            parameters: vec![],
            timeout_ms: 1_000,
            bounds: ResultBounds { rows_max: 3, bytes_max: 1_000 },
        }),
        limits: Limits::default(),
        flow: countersign_core::tool::Flow::STRICTEST,
        offered: countersign_core::tool::Offered::Tool,
    });
    let grant = Grant {
        tool: Arc::clone(&tool),
        decision_digest: Digest::sha256(governed.as_bytes()),
        limits: Limits::default(),
        require_scope: require_scope.map(str::to_owned),
        point_lapses: None,
        lapses: lapses_s
            .map(|secs| Lapse { at: Timestamp::from_secs(secs), of: "the vendor `m`".into() }),
    };
    let agent = Agent {
        id: AgentId::new("copilot").unwrap(),
        issuer: issuer.map(|issuer| IssuerId::new(issuer).unwrap()),
        grants: BTreeMap::from([(tool.name.clone(), grant)]),
        limits: Limits {
            per_session: Some(if gated { 100 } else { 8 }),
            identical_per_minute: Some(5),
            ..Limits::default()
        },
    };
    Posture {
        digest: Digest::sha256(b"posture"),
        agents: BTreeMap::from([(ActorId::new("copilot").unwrap(), Arc::new(agent))]),
        tenant_limits: Limits::default(),
    }
}

/// `account` is one of two, `days` at most 365; written by hand as the crate has no JSON Schema.
#[derive(Debug)]
struct Schema;

impl InputSchema for Schema {
    fn issues(&self, arguments: &Value) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut issue = |path: &str, membership| {
            issues.push(Issue { path: path.into(), expected: "fit".into(), membership });
        };
        match arguments.get("account") {
            Some(Value::String(account)) if account == "t1" || account == "t2" => {}
            Some(Value::String(_)) => issue("account", true),
            _ => issue("account", false),
        }
        if arguments
            .get("days")
            .is_some_and(|d| !d.as_i64().is_some_and(|d| (1..=365).contains(&d)))
        {
            issue("days", false);
        }
        issues
    }
}

impl Authenticator for World {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        _now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>> {
        let actor = credential.expose().map(str::to_owned);
        Box::pin(async move {
            let actor = actor.ok_or(AuthenticationFailure::Missing)?;
            Ok(Arc::new(Principal {
                issuer: IssuerId::new("i").unwrap(),
                subject: SubjectId::new("ann").unwrap(),
                actor: ActorId::new(actor).unwrap(),
                tenant: TenantId::new("t1").unwrap(),
                sid: Some("s1".into()),
                person: self.behaviour().person.map(str::to_owned),
                scopes: self.behaviour().scopes.iter().map(|&scope| scope.into()).collect(),
                attributes: BTreeMap::new(),
                agent_build: None,
                model: None,
                expires: Timestamp::from_secs(2_000),
            }))
        })
    }
}

impl Pdp for World {
    fn decide(&self, question: &Question<'_>) -> Result<Permission, Denial> {
        self.saw(format!("decide {}", Value::Object(question.arguments.clone())));
        self.behaviour().decision
    }
}

impl World {
    /// What the store's own tests hold it to, as short as it can be said.
    fn judge(&self, change: &Change) -> Result<(), Conflict> {
        let mut drafts = self.0.drafts.lock().unwrap();
        match change {
            Change::Propose(draft) => {
                let live = |d: &&Draft| d.binding == draft.binding && d.state.is_live();
                if let Some(twin) = drafts.iter().find(live) {
                    return Err(Conflict::Live(twin.id.clone()));
                }
                drafts.push(Draft::clone(draft));
            }
            Change::Move { draft, step, decided, commit, outcome } => {
                let draft = drafts.iter_mut().find(|d| d.id == *draft);
                let draft = draft.ok_or(Conflict::Draft(None))?;
                let after = draft.state.after(*step);
                draft.state = after.ok_or(Conflict::Draft(Some(draft.state)))?;
                draft.decided = decided.clone().or(draft.decided.take());
                draft.committed = commit.clone().or(draft.committed.take());
                draft.outcome = outcome.clone().or(draft.outcome.take());
            }
            Change::Deliver(id) => {
                let draft = drafts.iter_mut().find(|d| d.id == *id && !d.delivered);
                draft.ok_or(Conflict::Draft(None))?.delivered = true;
            }
            Change::Suspend(suspension) => {
                self.0.suspensions.lock().unwrap().push(suspension.clone());
            }
            Change::Resume(of) => {
                self.0.suspensions.lock().unwrap().retain(|suspension| suspension.of != *of);
            }
            Change::Delegate { delegation, replaces } => {
                let mut all = self.0.delegations.lock().unwrap();
                all.retain(|id, _| Some(id) != replaces.as_ref());
                all.insert(delegation.id.clone(), delegation.clone());
            }
            Change::Return(id) => drop(self.0.delegations.lock().unwrap().remove(id)),
            Change::Resolve { .. } => return Err(Conflict::Nothing),
        }
        Ok(())
    }

    /// Stands in whatever anybody was asked.
    pub(crate) fn stands_in(&self, delegation: Delegation) {
        self.0.delegations.lock().unwrap().insert(delegation.id.clone(), delegation);
    }

    pub(crate) fn drafts(&self) -> Vec<Draft> {
        self.0.drafts.lock().unwrap().clone()
    }
}

impl Register for World {
    fn moved(&self) -> u64 {
        0
    }
    fn suspended(&self, reach: &Reach<'_>) -> Option<Suspension> {
        self.suspensions().into_iter().find(|suspension| suspension.of.stops(reach))
    }
    fn suspensions(&self) -> Vec<Suspension> {
        self.0.suspensions.lock().unwrap().clone()
    }
    fn delegations(&self) -> Arc<Delegations> {
        Arc::new(self.0.delegations.lock().unwrap().clone())
    }
    fn draft<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        let draft = self.drafts().into_iter().find(|draft| draft.id == *id);
        Box::pin(std::future::ready(Ok(draft)))
    }
    fn latest(&self, binding: Digest) -> Eventually<'_, Result<Option<Draft>, Unrecorded>> {
        let draft = self.drafts().into_iter().rfind(|draft| draft.binding == binding);
        Box::pin(std::future::ready(Ok(draft)))
    }
    fn settled<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        self.draft(id)
    }
    fn drafts(&self, _: Which) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        Box::pin(std::future::ready(Ok(World::drafts(self))))
    }
    fn due(&self, _: Timestamp) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        Box::pin(std::future::ready(Ok(World::drafts(self))))
    }
    fn unknown(&self, _: bool) -> Eventually<'_, Result<Vec<UnknownOutcome>, Unrecorded>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// A token is what it says of a person: `id address group,group tenant age-of-sign-in`.
impl People for World {
    fn person<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Person>, AuthenticationFailure>> {
        let token = credential.expose().unwrap_or_default().to_owned();
        let [id, address, groups, tenant, age] =
            token.split(' ').collect::<Vec<_>>().try_into().expect("five words");
        let person = Person {
            who: Who {
                issuer: IssuerId::new("i").unwrap(),
                id: id.to_owned(),
                address: (address != "-").then(|| address.to_owned()),
            },
            groups: groups.split(',').map(str::to_owned).collect(),
            tenants: match tenant {
                "*" => Tenants::All,
                tenant => Tenants::Of([TenantId::new(tenant).unwrap()].into()),
            },
            roles: if groups.contains("sre") { [Role::Operator].into() } else { [].into() },
            signed_in: Some(Timestamp::from_secs(now.secs() - age.parse::<i64>().unwrap())),
            expires: Timestamp::from_secs(i64::MAX / 1_000_000),
        };
        Box::pin(std::future::ready(Ok(Arc::new(person))))
    }
}

impl Journal for World {
    fn spent(&self, counter: &Counter, now: Timestamp) -> u64 {
        self.0.meter.lock().unwrap().spent(counter, now)
    }
    fn give_back(&self, charges: &[Charge]) {
        self.0.meter.lock().unwrap().give_back(charges);
    }
    fn reserve(&self, counters: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached> {
        self.0.meter.lock().unwrap().reserve(counters, now)
    }
    fn append(&self, entry: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>> {
        let kind = entry.kind().as_str();
        self.saw(kind);
        let behaviour = self.behaviour();
        let fails = if kind == "intent" { behaviour.intent_fails } else { behaviour.outcome_fails };
        let judged = match fails {
            true => Err(Unrecorded::unavailable("disk full")),
            false => entry
                .changes()
                .iter()
                .try_for_each(|change| self.judge(change))
                .map_err(Unrecorded::Refused),
        };
        self.header(entry);
        Box::pin(async move {
            judged?;
            Ok(Receipt { stream: "s".into(), sequence: 7, hash: Digest::sha256(b"hash") })
        })
    }
    fn note(&self, refused: Refused) {
        self.saw("note");
        self.header(refused.entry);
    }
}

impl Connector for World {
    fn is_withdrawn(&self, _: &Tool) -> bool {
        false
    }

    fn changes(&self) -> Vec<(SystemName, countersign_core::port::DefinitionChange)> {
        Vec::new()
    }

    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        self.saw(format!("execute {}", Value::Object(permit.arguments().clone())));
        let acts = self.behaviour().connector;
        Box::pin(async move {
            let report = |rows: u64| Report {
                shape: countersign_core::port::Shape::Rows,
                result: (0..rows)
                    .map(|n| {
                        // The first row is the caller's in every column, the second is not.
                        let other = if n == 0 { "t1" } else { "t2" };
                        json!({"n": n, "note": "a\u{200b}b", "owner": "t1", "other_owner": other})
                    })
                    .collect(),
                rows,
                truncated: false,
                changed: 0,
                applied: Applied::Applied,
            };
            match acts {
                Acts::Answers => Ok(report(2)),
                Acts::SendsTooMuch => Ok(report(4)),
                Acts::Panics => panic!("a defect in a connector"),
                Acts::Fails => Err(SystemFault::new(
                    SystemFaultKind::Failed,
                    Applied::Unknown,
                    "table secret_ledger is missing".into(),
                )),
            }
        })
    }

    fn look_up(&self, inquiry: Inquiry) -> Eventually<'_, Result<Found, SystemFault>> {
        self.saw(format!("look up {}", Value::Object(inquiry.values().clone())));
        let Behaviour { found, connector, .. } = self.behaviour();
        Box::pin(async move {
            assert_ne!(connector, Acts::Panics, "a defect in a connector");
            let found = found.map(|rows| Found { rows, truncated: false, cached: false });
            found.map_err(|why| {
                SystemFault::new(SystemFaultKind::Unavailable, Applied::NotApplied, why.to_owned())
            })
        })
    }

    /// There is no decision point here.
    fn consult(&self, _: Consultation) -> Eventually<'_, Result<bool, SystemFault>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// A rule that asks a system about `path`, with `:tenant` and `parameter` in its statement.
pub(crate) fn look_up(asks: Asks, path: &str, name: &str) -> LookUp {
    let parameter = |name: &str| Parameter { name: name.into(), optional: false };
    LookUp {
        path: ArgumentPath::parse(path).unwrap(),
        asks,
        query: Arc::new(Query {
            system: SystemName::new("register").unwrap(),
            plan: SqlPlan {
                statement: "select 1".into(),
                parameters: vec![parameter("tenant"), parameter(name)],
                timeout_ms: 1_000,
                bounds: ResultBounds { rows_max: 1, bytes_max: 1_000 },
            },
            cached_ms: None,
        }),
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.behaviour().now_s)
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(9);
        if let [.., last] = bytes {
            *last = u8::try_from(self.0.drafts.lock().unwrap().len()).unwrap();
        }
    }
}

/// An object as the arguments of a call.
pub(crate) fn values(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}
