//! The state machine of drafts under everything at once: a random walk of agents, people, time,
//! edits, switches, crashes and lost outcomes over the real pipeline, a real SQLite journal and a
//! system that counts. What must hold is judged from the system's own count.
//!
//! A seed repeats its walk: time is set, and the ids by which drafts are ordered are drawn apart from
//! what the journal's writer draws in a thread of its own.

use crate::support::{Counting, Place};
use countersign_core::act::{Act, Visitor};
use countersign_core::call::{
    Answer, Answers, Caller, Consultation, Door, Inquiry, Monitor, Permit, Proposed,
};
use countersign_core::draft::{Draft, State, Step, Switch, Who};
use countersign_core::id::{
    ActorId, AgentId, CallId, Digest, DraftId, IssuerId, SubjectId, SystemName, TenantId,
    Timestamp, ToolName,
};
use countersign_core::ladder::{Approvers, Check, Fragment, Gate, Ladder, Phrase};
use countersign_core::person::{Person, Role, Tenants};
use countersign_core::port::{
    Authenticator, Clock as _, Connector, Credential, Denial, Eventually, Found, Pdp, People,
    Permission, Question, Register as _, Report, Which,
};
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::principal::Principal;
use countersign_core::quota::Limits;
use countersign_core::refusal::{Applied, AuthenticationFailure, SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, InputSchema, Issue, Plan, ResultBounds, Rung, SqlPlan, Tool};
use countersign_store::SqliteStore;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

thread_local! {
    /// Where nothing is to be waited for but time, time has passed.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Steps of the walk; `scripts/soak ladder` takes 100,000.
const STEPS: u32 = 20_000;
/// After so many steps of the walk each step from each state has to be met once more.
const STEPS_PER_MET: u32 = 1_000;

const AGENTS: [&str; 2] = ["copilot", "planner"];
const TENANTS: [&str; 2] = ["t0", "t1"];
/// One on the fourth step, one on the third.
const TOOLS: [&str; 2] = ["pay", "move"];
/// Who may approve what: both tools, the second one, nothing, their own requests at most; and two
/// who switch things.
const PEOPLE: [&str; 6] = [
    "sam-1 sam@acme.example support *",
    "lee-2 lee@acme.example support t0",
    "eve-9 eve@acme.example sales *",
    "ann-7 ann@acme.example support *",
    "op-3 op3@acme.example sre *",
    "op-4 op4@acme.example sre *",
];

/// How the system takes the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Does,
    Refuses,
    /// It does, or does not, and nobody hears of it.
    Loses(bool),
    /// The same, and the gateway dies before it hears of anything.
    Dies(bool),
}

#[derive(Debug)]
struct System {
    mode: Mutex<Mode>,
    effects: Mutex<Vec<CallId>>,
    died: Notify,
}

impl Connector for System {
    fn is_withdrawn(&self, _: &Tool) -> bool {
        false
    }

    fn changes(&self) -> Vec<(SystemName, countersign_core::port::DefinitionChange)> {
        Vec::new()
    }

    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        let mode = *self.mode.lock().unwrap();
        if matches!(mode, Mode::Does | Mode::Loses(true) | Mode::Dies(true)) {
            self.effects.lock().unwrap().push(permit.call().clone());
        }
        let fault = |applied| SystemFault::new(SystemFaultKind::Failed, applied, "made up".into());
        Box::pin(async move {
            match mode {
                Mode::Does => Ok(Report {
                    shape: countersign_core::port::Shape::Rows,
                    result: json!([]),
                    rows: 0,
                    truncated: false,
                    changed: 1,
                    applied: Applied::Applied,
                }),
                Mode::Refuses => Err(fault(Applied::NotApplied)),
                Mode::Loses(_) => Err(fault(Applied::Unknown)),
                Mode::Dies(_) => {
                    self.died.notify_one();
                    std::future::pending().await
                }
            }
        })
    }

    fn consult(&self, _: Consultation) -> Eventually<'_, Result<bool, SystemFault>> {
        Box::pin(std::future::pending())
    }

    fn look_up(&self, _: Inquiry) -> Eventually<'_, Result<Found, SystemFault>> {
        Box::pin(std::future::pending())
    }
}

/// Everybody is who their token says.
#[derive(Debug)]
struct Trusting;

impl Authenticator for Trusting {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        _: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>> {
        let (agent, tenant) = credential.expose().unwrap().split_once(' ').unwrap();
        let principal = Principal {
            issuer: IssuerId::new("i").unwrap(),
            subject: SubjectId::new("ann").unwrap(),
            actor: ActorId::new(agent).unwrap(),
            tenant: TenantId::new(tenant).unwrap(),
            sid: None,
            person: Some("ann-7".into()),
            scopes: BTreeSet::new(),
            attributes: BTreeMap::new(),
            agent_build: None,
            model: None,
            expires: Timestamp::from_secs(i64::MAX / 1_000_000),
        };
        Box::pin(std::future::ready(Ok(Arc::new(principal))))
    }
}

impl People for Trusting {
    fn person<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Person>, AuthenticationFailure>> {
        let words: Vec<&str> = credential.expose().unwrap().split(' ').collect();
        let &[id, address, group, tenant] = words.as_slice() else { panic!("four words") };
        let person = Person {
            who: Who {
                issuer: IssuerId::new("i").unwrap(),
                id: id.into(),
                address: Some(address.into()),
            },
            groups: [group.to_owned()].into(),
            tenants: match tenant {
                "*" => Tenants::All,
                tenant => Tenants::Of([TenantId::new(tenant).unwrap()].into()),
            },
            roles: if group == "sre" { [Role::Operator].into() } else { BTreeSet::new() },
            signed_in: Some(now),
            expires: Timestamp::from_secs(i64::MAX / 1_000_000),
        };
        Box::pin(std::future::ready(Ok(Arc::new(person))))
    }
}

impl Pdp for Trusting {
    fn decide(&self, _: &Question<'_>) -> Result<Permission, Denial> {
        Ok(Permission { determining: vec!["grant".into()], clearance: Rung::UNGATED })
    }
}

impl InputSchema for Trusting {
    fn issues(&self, _: &Value) -> Vec<Issue> {
        Vec::new()
    }
}

fn statement() -> SqlPlan {
    let bounds = ResultBounds { rows_max: 10, bytes_max: 1_000 };
    SqlPlan { statement: String::new(), parameters: Vec::new(), timeout_ms: 1_000, bounds }
}

/// `lowered` to where a check is enough, its gate left as it is.
fn tool(name: &str, lowered: bool) -> Tool {
    let approvers = match name {
        "pay" => Approvers::Named(["sam@acme.example".to_owned()].into()),
        _ => Approvers::Group { group: "support".into(), subject: false },
    };
    let effect = if name == "pay" { Effect::Irreversible } else { Effect::Persistent };
    let summary = Phrase(vec![Fragment::Text("Does it".into())]);
    let gate = Gate {
        approvers,
        expires_s: 600,
        summary,
        preview: None,
        decision: None,
        escalation: None,
        delegates: [].into(),
    };
    let rung = if lowered { Rung::CHECKED } else { effect.rung() };
    let check = lowered.then(|| Check::Sql(statement()));
    Tool {
        name: ToolName::new(name).unwrap(),
        description: String::new(),
        input: Map::new(),
        schema: Arc::new(Trusting),
        scope: Vec::new(),
        look_ups: Vec::new(),
        result: Vec::new(),
        effect,
        ladder: Ladder { gate: Some(gate), check, ..Ladder::at(rung) },
        system: SystemName::new("bank").unwrap(),
        plan: Plan::Sql(statement()),
        limits: Limits::default(),
        flow: countersign_core::tool::Flow::STRICTEST,
        offered: countersign_core::tool::Offered::Tool,
    }
}

/// A generator that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.roll(from.len())) }
    }
}

/// What the walk knows by itself: who approved what, and nothing of how the store keeps it.
struct Walk {
    dice: Dice,
    place: Place,
    /// `None` only while one process is gone and the next has not begun.
    store: Option<Arc<SqliteStore>>,
    system: Arc<System>,
    /// The journal's writer draws from the place's in its own time.
    entropy: Arc<Counting>,
    /// How often each tool's declaration was edited.
    edits: [u32; 2],
    /// Whether the tools have fallen to a step on which nobody need agree.
    lowered: bool,
    /// Who suspended it.
    suspended: BTreeMap<Switch, &'static str>,
    /// Every draft that is not at an end, as it was last seen.
    live: BTreeMap<DraftId, Draft>,
    /// How many there were, and ended as what.
    ended: BTreeMap<DraftId, State>,
    /// Approvals that nothing has used yet, and their tool's edits at that time.
    unspent: BTreeMap<DraftId, u32>,
    /// Drafts that took effect, as the system counts.
    effects: BTreeSet<DraftId>,
    met: BTreeMap<(State, State), u32>,
    seen_effects: usize,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let place = Place::new();
        place.clock.advance(1_000_000);
        let store = Some(Arc::new(place.open()));
        let system =
            System { mode: Mutex::new(Mode::Does), effects: Mutex::default(), died: Notify::new() };
        Self {
            dice: Dice(seed),
            place,
            store,
            system: Arc::new(system),
            entropy: Arc::default(),
            edits: [0; 2],
            lowered: false,
            suspended: BTreeMap::new(),
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            unspent: BTreeMap::new(),
            effects: BTreeSet::new(),
            met: BTreeMap::new(),
            seen_effects: 0,
        }
    }

    fn store(&self) -> &Arc<SqliteStore> {
        self.store.as_ref().unwrap()
    }

    fn monitor(&self) -> Monitor {
        let tools = TOOLS.map(|name| Arc::new(tool(name, self.lowered)));
        let agents = AGENTS.map(|name| {
            let grants = tools.iter().zip(&self.edits).map(|(tool, edits)| {
                let digest = Digest::sha256(format!("{} {edits}", tool.name).as_bytes());
                let grant = Grant {
                    tool: Arc::clone(tool),
                    decision_digest: digest,
                    limits: Limits::default(),
                    require_scope: None,
                    lapses: None,
                    point_lapses: None,
                };
                (tool.name.clone(), grant)
            });
            let agent = Agent {
                id: AgentId::new(name).unwrap(),
                issuer: None,
                grants: grants.collect(),
                limits: Limits::default(),
            };
            (ActorId::new(name).unwrap(), Arc::new(agent))
        });
        let posture = Posture {
            digest: Digest::sha256(b"posture"),
            agents: agents.into(),
            tenant_limits: Limits::default(),
        };
        Monitor {
            posture: Arc::new(posture),
            authenticator: Arc::new(Trusting),
            people: Arc::new(Trusting),
            pdp: Arc::new(Trusting),
            journal: self.store().clone(),
            register: self.store().clone(),
            connector: self.system.clone(),
            clock: self.place.clock.clone(),
            entropy: self.entropy.clone(),
        }
    }

    fn caller(&mut self, monitor: &Monitor) -> Arc<Caller> {
        let agent = AGENTS[self.dice.roll(2)];
        let tenant = TENANTS[self.dice.roll(2)];
        let credential = Credential::bearer(format!("{agent} {tenant}"));
        Arc::new(wait(monitor.authenticate(&credential, Door::Http)).unwrap())
    }

    fn visitor(monitor: &Monitor, who: &str) -> Visitor {
        wait(monitor.welcome(&Credential::bearer(who))).unwrap()
    }

    fn some_draft(&mut self) -> Option<Draft> {
        let live: Vec<Draft> = self.live.values().cloned().collect();
        self.dice.pick(&live).cloned()
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..25 => self.ask(),
            25..50 => self.approve(),
            50..54 => self.reject(),
            54..62 => self.withdraw(),
            62..73 => self.tend(),
            73..81 => self.pass_time(),
            81..85 => self.switch(),
            85..90 => self.edits[self.dice.roll(2)] += 1,
            90..96 => self.resolve(),
            96..98 => self.replay(),
            _ => self.crash(),
        }
        self.look();
    }

    /// An agent asks, for itself or with what a client made up.
    fn ask(&mut self) {
        let monitor = self.monitor();
        let caller = self.caller(&monitor);
        let tool = TOOLS[self.dice.roll(2)].to_owned();
        let arguments = json!({ "n": self.dice.roll(3) });
        let answers = match self.dice.roll(20) {
            0 => Some(Answers::Form),
            1 => self.some_draft().map(|draft| Answers::State(draft.id.to_string())),
            _ => None,
        };
        let answer = wait(monitor.call(Proposed { caller, tool, arguments, answers }));
        if let Answer::Refused(refused) = &answer
            && let Some(reference) = refused.public().reference
        {
            let id = DraftId::new(reference).unwrap();
            let draft = wait(self.store().draft(&id)).unwrap().expect("what an agent was told of");
            if !self.ended.contains_key(&id) {
                self.live.entry(id).or_insert(draft);
            }
        }
    }

    fn approve(&mut self) {
        let Some(draft) = self.some_draft() else { return };
        // Half of the time one of those who may.
        let among = if self.dice.roll(2) == 0 { 2 } else { PEOPLE.len() };
        let who = PEOPLE[self.dice.roll(among)];
        let monitor = self.monitor();
        let act = Act::Approve(draft.id.clone());
        if wait(monitor.act(&Self::visitor(&monitor, who), act)).is_err() {
            return;
        }
        // Everything that has to be so for it, said once more in other words.
        let lee = who.starts_with("lee") && draft.principal.tenant.as_str() == "t0";
        let entitled = who.starts_with("sam") || (lee && draft.tool.as_str() == "move");
        assert!(entitled, "{who} approved {draft:?}");
        assert_eq!(draft.state, State::Waiting);
        assert!(self.place.clock.now() < draft.expires);
        assert!(!self.is_suspended(&draft));
        let edits = self.edits_of(&draft);
        assert_eq!(draft.decision, Digest::sha256(format!("{} {edits}", draft.tool).as_bytes()));
        assert_eq!(self.unspent.insert(draft.id, edits), None, "approved twice");
    }

    fn reject(&mut self) {
        let Some(draft) = self.some_draft() else { return };
        let monitor = self.monitor();
        let visitor = Self::visitor(&monitor, PEOPLE[self.dice.roll(2)]);
        let _done = wait(monitor.act(&visitor, Act::Reject(draft.id, "no".into())));
    }

    /// By the agent's own tool, for a draft that may be another's, or by whoever may.
    fn withdraw(&mut self) {
        let Some(draft) = self.some_draft() else { return };
        let monitor = self.monitor();
        if self.dice.roll(2) == 0 {
            let visitor = Self::visitor(&monitor, PEOPLE[self.dice.roll(PEOPLE.len())]);
            let _done = wait(monitor.act(&visitor, Act::Withdraw(draft.id, "no".into())));
            return;
        }
        let caller = self.caller(&monitor);
        let own = caller.principal().actor == draft.principal.actor
            && caller.principal().tenant == draft.principal.tenant;
        let arguments = json!({ "reference": draft.id.as_str(), "withdraw": true });
        let tool = "check_draft".to_owned();
        let _answer = wait(monitor.call(Proposed { caller, tool, arguments, answers: None }));
        let after = wait(self.store().draft(&draft.id)).unwrap().unwrap();
        assert!(own || after.state == draft.state, "an agent took back another's draft");
    }

    /// The gateway looks after what is due, on a system in some mood.
    fn tend(&mut self) {
        let mode = match self.dice.roll(10) {
            0..4 => Mode::Does,
            4 | 5 => Mode::Refuses,
            6 | 7 => Mode::Loses(self.dice.roll(2) == 0),
            _ => Mode::Dies(self.dice.roll(2) == 0),
        };
        *self.system.mode.lock().unwrap() = mode;
        let due = wait(self.store().due(self.place.clock.now())).unwrap();
        for draft in due {
            let monitor = self.monitor();
            let died = wait(async {
                tokio::select! {
                    biased;
                    () = self.system.died.notified() => true,
                    _answer = monitor.tend(draft) => false,
                }
            });
            if died {
                drop(monitor);
                return self.crash();
            }
        }
    }

    /// A while, or until just after the end of some draft's time.
    fn pass_time(&mut self) {
        let draft = if self.dice.roll(4) == 0 { self.some_draft() } else { None };
        let secs = match draft {
            Some(draft) => draft.expires.micros_since(self.place.clock.now()) / 1_000_000 + 1,
            None => self.dice.roll(300) as u64,
        };
        self.place.clock.advance(secs as i64);
    }

    fn switch(&mut self) {
        let monitor = self.monitor();
        let who = PEOPLE[4 + self.dice.roll(2)];
        let visitor = Self::visitor(&monitor, who);
        let all: Vec<Switch> = self.suspended.keys().cloned().collect();
        if let Some(of) = self.dice.pick(&all).cloned()
            && self.dice.roll(6) > 0
        {
            let done = wait(monitor.act(&visitor, Act::Resume(of.clone(), "fine".into())));
            assert_eq!(done.is_ok(), self.suspended[&of] != who);
            if done.is_ok() {
                self.suspended.remove(&of);
            }
            return;
        }
        let of = match self.dice.roll(12) {
            0..4 => Switch::Agent(AgentId::new(AGENTS[self.dice.roll(2)]).unwrap()),
            4..7 => Switch::Tool(ToolName::new(TOOLS[self.dice.roll(2)]).unwrap()),
            7..10 => Switch::Tenant(TenantId::new(TENANTS[self.dice.roll(2)]).unwrap()),
            10 => Switch::System(SystemName::new("bank").unwrap()),
            _ => Switch::Everything,
        };
        let act = Act::Suspend(of.clone(), "odd".into());
        let _done = wait(monitor.act(&visitor, act)).unwrap();
        self.suspended.entry(of).or_insert(who);
    }

    fn resolve(&mut self) {
        let monitor = self.monitor();
        let unknown = wait(self.store().unknown(false)).unwrap();
        let Some(unknown) = self.dice.pick(&unknown) else { return };
        let call = unknown.call.clone();
        let happened = self.system.effects.lock().unwrap().contains(&call);
        let act = Act::Resolve { call, happened, reason: "the bank's own log".into() };
        let visitor = Self::visitor(&monitor, PEOPLE[4 + self.dice.roll(2)]);
        let _done = wait(monitor.act(&visitor, act)).unwrap();
    }

    /// What was once approved is brought again, as it was then.
    fn replay(&mut self) {
        let Some(draft) = self.some_draft() else { return };
        let stale = Draft { state: State::Approved, ..draft };
        *self.system.mode.lock().unwrap() = Mode::Does;
        let monitor = self.monitor();
        let before = self.system.effects.lock().unwrap().len();
        let _answer = wait(monitor.tend(stale.clone()));
        let after = self.system.effects.lock().unwrap().len();
        assert!(after == before || self.unspent.contains_key(&stale.id), "a forged approval");
    }

    /// The process dies, and another one begins.
    fn crash(&mut self) {
        self.store = None;
        self.store = Some(Arc::new(self.place.open()));
        for id in self.live.keys().chain(self.ended.keys().rev().take(20)) {
            assert!(wait(self.store().draft(id)).unwrap().is_some(), "{id} is lost");
        }
    }

    fn edits_of(&self, draft: &Draft) -> u32 {
        self.edits[usize::from(draft.tool.as_str() == TOOLS[1])]
    }

    fn is_suspended(&self, draft: &Draft) -> bool {
        self.suspended.keys().any(|of| match of {
            Switch::Everything | Switch::System(_) => true,
            Switch::Agent(agent) => *agent == draft.agent,
            Switch::Tool(tool) => *tool == draft.tool,
            Switch::Tenant(tenant) => *tenant == draft.principal.tenant,
        })
    }

    /// What the step has changed, and whether it might.
    fn look(&mut self) {
        let effects = self.system.effects.lock().unwrap().clone();
        let fresh = effects.get(self.seen_effects..).unwrap().to_vec();
        self.seen_effects = effects.len();
        let before = self.live.clone();
        for (id, was) in before {
            let is = wait(self.store().draft(&id)).unwrap().expect("no draft is ever lost");
            for call in fresh.iter().filter(|call| Some(*call) == is.committed.as_ref()) {
                let approved = self.unspent.get(&id);
                assert_eq!(approved, Some(&self.edits_of(&is)), "{call} of {is:?}");
                assert!(self.effects.insert(id.clone()), "{id} took effect twice");
                assert!(!self.is_suspended(&is) && self.place.clock.now() < is.expires);
            }
            self.pass(&was, &is);
            if is.state.is_live() {
                self.live.insert(id, is);
            } else {
                self.live.remove(&id);
                self.ended.insert(id, is.state);
            }
        }
        let accounted = self.effects.len();
        assert_eq!(accounted, effects.len(), "an effect without a draft");
    }

    /// One draft from one look to the next: along the machine, and for a reason.
    fn pass(&mut self, was: &Draft, is: &Draft) {
        if was.state == is.state {
            return;
        }
        // A step of the walk may take a draft several steps: claimed, and what came of it.
        let mut at = VecDeque::from([vec![was.state]]);
        while let Some(path) = at.pop_front() {
            let last = *path.last().unwrap();
            if last == is.state {
                for pair in path.windows(2) {
                    *self.met.entry((pair[0], pair[1])).or_default() += 1;
                }
                at.clear();
                break;
            }
            at.extend(Step::ALL.into_iter().filter_map(|step| {
                let next = last.after(step)?;
                Some(path.iter().copied().chain([next]).collect())
            }));
            assert!(!at.is_empty(), "{:?} became {:?}", was.state, is.state);
        }
        let edited = {
            let edits = self.edits_of(is);
            is.decision != Digest::sha256(format!("{} {edits}", is.tool).as_bytes())
        };
        match is.state {
            State::Void => assert!(edited, "another tool's edit ended {is:?}"),
            State::Expired => assert!(self.place.clock.now() >= is.expires),
            State::Executed | State::Failed | State::Unknown | State::Committing => {
                if was.state == State::Approved {
                    assert!(self.unspent.remove(&is.id).is_some(), "{is:?} without an approval");
                }
            }
            State::Waiting | State::Approved | State::Rejected | State::Withdrawn => {}
        }
        if let Some(known) = is.outcome.as_ref().filter(|_| !is.state.is_live()) {
            let happened = self.effects.contains(&is.id);
            assert_eq!(known.applied == Applied::Applied, happened, "{is:?}");
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "`scripts/soak` says how far it goes")]
fn no_walk_finds_an_effect_without_exactly_one_valid_approval() {
    let steps = std::env::var("COUNTERSIGN_LADDER_STEPS").ok().and_then(|n| n.parse().ok());
    let steps: u32 = steps.unwrap_or(STEPS);
    let mut walk = Walk::new(0x00C0_FFEE);
    for _ in 0..steps {
        walk.step();
    }
    let mut every = BTreeMap::new();
    for state in State::ALL {
        for step in Step::ALL {
            every.extend(state.after(step).map(|after| ((state, after), 0)));
        }
    }
    every.extend(walk.met.clone());
    println!("{} drafts, {} effects, {every:#?}", walk.ended.len(), walk.effects.len());
    let least = steps / STEPS_PER_MET;
    let rare: Vec<_> = every.iter().filter(|(_, met)| **met < least).collect();
    assert!(rare.is_empty(), "met too rarely: {rare:?}");
    assert!(wait(walk.store().drafts(Which::default())).unwrap().len() > 1);
    let Walk { store, place, .. } = walk;
    Arc::try_unwrap(store.unwrap()).unwrap().close().unwrap();
    assert_eq!(place.findings(), []);
}

#[test]
fn an_approval_of_a_tool_that_has_fallen_to_a_lower_step_acts_at_most_once() {
    let mut walk = Walk::new(7);
    let monitor = walk.monitor();
    let caller = walk.caller(&monitor);
    let (tool, arguments) = ("move".to_owned(), json!({ "n": 1 }));
    let _drafted = wait(monitor.call(Proposed { caller, tool, arguments, answers: None }));
    let [draft] = wait(walk.store().drafts(Which::default())).unwrap().try_into().unwrap();
    let sam = Walk::visitor(&monitor, PEOPLE[0]);
    let _done = wait(monitor.act(&sam, Act::Approve(draft.id.clone()))).unwrap();
    walk.lowered = true;
    walk.edits = [1; 2];
    let monitor = walk.monitor();
    for _ in 0..3 {
        for due in wait(walk.store().due(walk.place.clock.now())).unwrap() {
            println!("{:?}", wait(monitor.tend(due)));
        }
    }
    let effects = walk.system.effects.lock().unwrap().len();
    assert!(effects <= 1, "{effects} effects of one approval");
    let is = wait(walk.store().draft(&draft.id)).unwrap().unwrap();
    assert_eq!(effects, usize::from(is.state == State::Executed), "{is:?}");
}
