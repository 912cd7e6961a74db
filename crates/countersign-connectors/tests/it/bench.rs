//! A monitor that permits everything, before the real connectors and a real SQLite file.

use crate::nobody::Nobody;
use countersign_connectors::{Connectors, SqliteSystem, System};
use countersign_core::args::Arguments;
use countersign_core::call::{Answer, Door, Monitor, Proposed};
use countersign_core::draft::{Draft, State};
use countersign_core::id::{
    ActorId, AgentId, Digest, IssuerId, SubjectId, SystemName, TenantId, Timestamp, ToolName,
};
use countersign_core::id::{CallId, DraftId};
use countersign_core::ladder::{Affects, Check, Ladder};
use countersign_core::port::{
    Authenticator, Clock, Credential, Denial, Entropy, Eventually, Journal, Pdp, Permission,
    Proposer, Question, Receipt, Refused, Report, Unrecorded,
};
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::principal::Principal;
use countersign_core::quota::{Charge, Counter, LimitReached, Limits, Meter, Reservation};
use countersign_core::record::Entry;
use countersign_core::refusal::{AuthenticationFailure, Fault, SystemFault};
use countersign_core::scope::{ArgumentPath, Asks, LookUp, Query, VALUE};
use countersign_core::tool::{
    Effect, InputSchema, Issue, Parameter, Plan, ResultBounds, Rung, SqlPlan, Tool,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tempfile::TempDir;

/// A clock that goes on by a fixed step whenever somebody looks.
#[derive(Debug, Default)]
pub(crate) struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(100, Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct World;

/// Whoever asks is of this tenant.
#[derive(Debug)]
struct Tenant(TenantId);

impl Authenticator for Tenant {
    fn authenticate<'a>(
        &'a self,
        _: &'a Credential,
        _: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>> {
        Box::pin(async {
            Ok(Arc::new(Principal {
                issuer: IssuerId::new("issuer").unwrap(),
                subject: SubjectId::new("subject").unwrap(),
                actor: ActorId::new("agent").unwrap(),
                tenant: self.0.clone(),
                sid: None,
                person: None,
                scopes: Default::default(),
                attributes: BTreeMap::new(),
                agent_build: None,
                model: None,
                expires: Timestamp::from_micros(i64::MAX),
            }))
        })
    }
}

impl Pdp for World {
    fn decide(&self, _: &Question<'_>) -> Result<Permission, Denial> {
        Ok(Permission { determining: vec!["all".to_owned()], clearance: Rung::UNGATED })
    }
}

impl Journal for World {
    fn give_back(&self, _: &[Charge]) {}
    fn spent(&self, _: &Counter, _: Timestamp) -> u64 {
        0
    }
    fn reserve(&self, _: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached> {
        Meter::default().reserve(&[], now)
    }
    fn append(&self, _: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>> {
        let hash = Digest::sha256(b"");
        Box::pin(async move { Ok(Receipt { stream: "test".into(), sequence: 0, hash }) })
    }
    fn note(&self, _: Refused) {}
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

impl InputSchema for World {
    fn issues(&self, _: &Value) -> Vec<Issue> {
        Vec::new()
    }
}

/// What a tool's author wrote.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) statement: String,
    pub(crate) input: Value,
    pub(crate) system: &'static str,
    pub(crate) timeout_ms: u32,
    pub(crate) rows_max: u32,
    pub(crate) bytes_max: u32,
    pub(crate) look_ups: Vec<LookUp>,
}

impl Ask {
    /// What the input declares.
    fn parameters(&self) -> Vec<Parameter> {
        let required = |name: &String| {
            self.input["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name))
        };
        let declared = self.input["properties"].as_object().into_iter().flatten();
        declared
            .map(|(name, _)| Parameter { name: name.clone(), optional: !required(name) })
            .collect()
    }
}

pub(crate) fn ask(statement: &str) -> Ask {
    Ask {
        statement: statement.to_owned(),
        input: json!({}),
        system: "db",
        timeout_ms: 60_000,
        rows_max: 1_000,
        bytes_max: 1_000_000,
        look_ups: Vec::new(),
    }
}

/// A rule that asks `db` about `path`.
pub(crate) fn look_up(asks: Asks, path: &str, statement: &str, cached_ms: Option<u32>) -> LookUp {
    let parameter = |name: &str| Parameter { name: name.to_owned(), optional: false };
    LookUp {
        path: ArgumentPath::parse(path).unwrap(),
        asks,
        query: Arc::new(Query {
            system: SystemName::new("db").unwrap(),
            plan: SqlPlan {
                statement: statement.to_owned(),
                parameters: vec![parameter(VALUE)],
                timeout_ms: 60_000,
                bounds: ResultBounds { rows_max: 3, bytes_max: 1_000 },
            },
            cached_ms,
        }),
    }
}

/// One system, `db`, and its connectors, which live as long as the bench.
#[derive(Debug)]
pub(crate) struct Bench {
    directory: TempDir,
    clock: Arc<Ticking>,
    connectors: Arc<Connectors>,
}

impl Bench {
    /// With a database that `script` has made.
    pub(crate) fn new(script: &str) -> Self {
        Self::with_concurrency(script, 4)
    }

    pub(crate) fn with_concurrency(script: &str, concurrency: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sqlite");
        make(&path, script);
        let statement_log = Some(directory.path().join("db.log"));
        Self::over(System::Sqlite(SqliteSystem { path, concurrency, statement_log }), directory)
    }

    /// With any system, and what has to live as long.
    pub(crate) fn over(system: System, directory: TempDir) -> Self {
        Self::over_all(BTreeMap::from([(SystemName::new("db").unwrap(), system)]), directory)
    }

    pub(crate) fn over_all(systems: BTreeMap<SystemName, System>, directory: TempDir) -> Self {
        let clock = Arc::new(Ticking(AtomicI64::new(0)));
        let connectors = Arc::new(Connectors::new(systems, Arc::<Ticking>::clone(&clock)));
        Self { directory, clock, connectors }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("db.sqlite")
    }

    /// What the engine says it ran.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.path().join("db.log")
    }

    /// The rows, or the fault.
    pub(crate) async fn call(&self, ask: &Ask, arguments: Value) -> Result<Report, SystemFault> {
        self.call_as("acct_alpha", ask, arguments).await
    }

    /// The same for another tenant's caller.
    pub(crate) async fn call_as(
        &self,
        tenant: &str,
        ask: &Ask,
        arguments: Value,
    ) -> Result<Report, SystemFault> {
        self.call_tool(tenant, tool(ask), arguments).await
    }

    /// The same for a tool as it is, whatever it is called.
    pub(crate) async fn call_tool(
        &self,
        tenant: &str,
        tool: Tool,
        arguments: Value,
    ) -> Result<Report, SystemFault> {
        report(self.answer_to(tenant, tool, arguments).await)
    }

    /// Whatever the monitor answers.
    pub(crate) async fn answer(&self, ask: &Ask, arguments: Value) -> Answer {
        self.answer_to("acct_alpha", tool(ask), arguments).await
    }

    async fn answer_to(&self, tenant: &str, tool: Tool, arguments: Value) -> Answer {
        answer(&self.connectors, &self.clock, (tool, tenant), arguments).await
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, ms: i64) {
        self.clock.0.fetch_add(ms * 1_000, Ordering::Relaxed);
    }

    /// The rows of a call that must succeed.
    pub(crate) async fn rows(&self, statement: &str, arguments: Value) -> Value {
        self.call(&ask(statement), arguments).await.unwrap().result
    }
}

/// Calls a tool as an agent of a tenant does who is granted it and nothing else.
pub(crate) async fn answer(
    connectors: &Arc<Connectors>,
    clock: &Arc<Ticking>,
    (tool, tenant): (Tool, &str),
    arguments: Value,
) -> Answer {
    answer_for(connectors, clock, (tool, tenant), arguments, None).await
}

/// The same for somebody who hears how far it is, and may go away.
pub(crate) async fn answer_for(
    connectors: &Arc<Connectors>,
    clock: &Arc<Ticking>,
    (tool, tenant): (Tool, &str),
    arguments: Value,
    proposer: Option<Arc<dyn Proposer>>,
) -> Answer {
    let name = tool.name.to_string();
    let waits = tool.effect != Effect::Read && tool.ladder.check.is_none();
    let (named, system, rung) = (tool.name.clone(), tool.system.clone(), tool.ladder.rung);
    let monitor = monitor(connectors, clock, tool, tenant);
    let caller = monitor.authenticate(&Credential::bearer("t"), Door::Http).await.unwrap();
    if waits {
        // What nobody checks, somebody has approved: this call comes in as their draft does.
        let principal = caller.principal().clone();
        let values = arguments.as_object().cloned().unwrap_or_default();
        let arguments = Arguments::new(values).unwrap();
        let draft = Draft {
            id: DraftId::drawn([7; 16]),
            call: CallId::new("call").unwrap(),
            proposed: clock.now(),
            expires: clock.now().plus_secs(600),
            binding: arguments.digest(&principal, &named),
            arguments: arguments.canonical().to_vec(),
            principal,
            agent: AgentId::new("agent").unwrap(),
            tool: named,
            system,
            decision: Digest::sha256(b""),
            rung,
            summary: String::new(),
            same_as: None,
            state: State::Approved,
            decided: None,
            committed: None,
            outcome: None,
            delivered: false,
        };
        return monitor.tend(draft).await.unwrap();
    }
    let caller = Arc::new(caller);
    let proposed = Proposed { caller, tool: name, arguments, answers: None };
    monitor.call_for(proposed, proposer).await
}

/// What a connector brought back, or its fault.
pub(crate) fn report(answer: Answer) -> Result<Report, SystemFault> {
    match answer {
        Answer::Completed(completed) => {
            let value = completed.into_value();
            Ok(Report {
                shape: countersign_core::port::Shape::Rows,
                result: value["rows"].clone(),
                rows: value["row_count"].as_u64().unwrap(),
                truncated: value["truncated"].as_bool().unwrap(),
                changed: 0,
                applied: countersign_core::refusal::Applied::Applied,
            })
        }
        Answer::Faulted(faulted) => match faulted.fault() {
            Fault::System(fault) => Err(fault.clone()),
            other => panic!("{other:?}"),
        },
        Answer::Refused(refused) => panic!("{refused:?}"),
    }
}

fn monitor(
    connectors: &Arc<Connectors>,
    clock: &Arc<Ticking>,
    tool: Tool,
    tenant: &str,
) -> Monitor {
    let (limits, name) = (Limits::default(), tool.name.clone());
    let decision_digest = Digest::sha256(b"");
    let grant = Grant {
        tool: Arc::new(tool),
        decision_digest,
        limits,
        require_scope: None,
        lapses: None,
        point_lapses: None,
    };
    let agent = Agent {
        id: AgentId::new("agent").unwrap(),
        issuer: None,
        grants: BTreeMap::from([(name, grant)]),
        limits,
    };
    let agents = BTreeMap::from([(ActorId::new("agent").unwrap(), Arc::new(agent))]);
    Monitor {
        posture: Arc::new(Posture { digest: decision_digest, agents, tenant_limits: limits }),
        authenticator: Arc::new(Tenant(TenantId::new(tenant).unwrap())),
        pdp: Arc::new(World),
        journal: Arc::new(World),
        register: Arc::new(Nobody),
        people: Arc::new(Nobody),
        connector: Arc::<Connectors>::clone(connectors),
        clock: Arc::<Ticking>::clone(clock),
        entropy: Arc::new(World),
    }
}

/// A tool with an effect, for whoever is granted it, whose `check` is a statement.
pub(crate) fn writing(ask: &Ask, affects: RangeInclusive<u64>, check: Option<&Ask>) -> Tool {
    let tool = tool(ask);
    let check = check.map(|check| Check::Sql(statement(check)));
    let affects = Affects { min: *affects.start(), max: *affects.end() };
    let ladder = Ladder { affects, check, ..tool.ladder };
    Tool { effect: Effect::Reversible, ladder, ..tool }
}

fn statement(ask: &Ask) -> SqlPlan {
    SqlPlan {
        statement: ask.statement.clone(),
        parameters: ask.parameters(),
        timeout_ms: ask.timeout_ms,
        bounds: ResultBounds { rows_max: ask.rows_max, bytes_max: ask.bytes_max },
    }
}

fn tool(ask: &Ask) -> Tool {
    let plan = Plan::Sql(statement(ask));
    Tool {
        input: ask.input.as_object().unwrap().clone(),
        look_ups: ask.look_ups.iter().cloned().map(Arc::new).collect(),
        ..planned(ask.system, plan)
    }
}

/// A read of `system` by `plan`, for whatever arguments.
pub(crate) fn planned(system: &str, plan: Plan) -> Tool {
    Tool {
        name: ToolName::new("tool").unwrap(),
        description: String::new(),
        input: serde_json::Map::new(),
        schema: anything(),
        scope: Vec::new(),
        look_ups: Vec::new(),
        result: Vec::new(),
        effect: Effect::Read,
        ladder: Ladder::at(Rung::UNGATED),
        system: SystemName::new(system).unwrap(),
        plan,
        limits: Limits::default(),
        flow: countersign_core::tool::Flow::STRICTEST,
        offered: countersign_core::tool::Offered::Tool,
    }
}

/// A schema that takes whatever comes.
pub(crate) fn anything() -> Arc<dyn InputSchema> {
    Arc::new(World)
}

/// Makes a database file.
pub(crate) fn make(path: &Path, script: &str) {
    Connection::open(path).unwrap().execute_batch(script).unwrap();
}
