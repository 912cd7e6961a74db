//! Postures and questions for tests, made by hand from core's types.

use crate::{Bundle, CompileError};
use countersign_core::draft::Who;
use countersign_core::id::{
    ActorId, AgentId, Digest, IssuerId, SubjectId, SystemName, TenantId, Timestamp, ToolName,
};
use countersign_core::ladder::Ladder;
use countersign_core::port::{Denial, Pdp, Permission, Question};
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::principal::{CallerRef, Principal};
use countersign_core::quota::Limits;
use countersign_core::recipient::Domain;
use countersign_core::scope::{self, ArgumentPath, ScopeEvidence, ScopeRule};
use countersign_core::tool::{Effect, InputSchema, Issue, Plan, ResultBounds, SqlPlan, Tool};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Takes everything: what core's schema check refuses must not be what makes these tests pass.
#[derive(Debug)]
struct Anything;

impl InputSchema for Anything {
    fn issues(&self, _arguments: &Value) -> Vec<Issue> {
        Vec::new()
    }
}

/// A closed object schema in which everything but `optional` is required.
pub(crate) fn closed(properties: &Value, optional: &[&str]) -> Value {
    let required: Vec<&String> = properties
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| !optional.contains(&name.as_str()))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

pub(crate) fn tool(name: &str, effect: Effect, input: Value, scope: Vec<ScopeRule>) -> Tool {
    let Value::Object(input) = input else { panic!("an object schema") };
    Tool {
        name: ToolName::new(name).unwrap(),
        description: String::new(),
        input,
        schema: Arc::new(Anything),
        scope,
        look_ups: Vec::new(),
        result: Vec::new(),
        effect,
        ladder: Ladder::at(effect.rung()),
        system: SystemName::new("db").unwrap(),
        plan: Plan::Sql(SqlPlan {
            statement: "select 1".to_owned(),
            parameters: Vec::new(),
            timeout_ms: 1,
            bounds: ResultBounds { rows_max: 1, bytes_max: 1 },
        }),
        limits: Limits::default(),
        flow: countersign_core::tool::Flow::STRICTEST,
        offered: countersign_core::tool::Offered::Tool,
    }
}

fn path(text: &str) -> ArgumentPath {
    ArgumentPath::parse(text).unwrap()
}

pub(crate) fn equals(at: &str, caller: CallerRef) -> ScopeRule {
    ScopeRule::Equals { path: path(at), caller }
}

pub(crate) fn within(at: &str, attribute: &str) -> ScopeRule {
    ScopeRule::In { path: path(at), caller: CallerRef::Attribute(attribute.to_owned()) }
}

pub(crate) fn bound(name: &str, caller: CallerRef) -> ScopeRule {
    ScopeRule::Bind { name: name.to_owned(), caller }
}

pub(crate) fn domains(at: &str, names: &[&str]) -> ScopeRule {
    let domains = names.iter().map(|name| Domain::parse(name).unwrap()).collect();
    ScopeRule::Domains { path: path(at), domains }
}

/// Agents by name, each with what it was granted.
pub(crate) fn posture(agents: &[(&str, &[&Arc<Tool>])]) -> Posture {
    let agents = agents.iter().map(|(name, tools)| {
        let grants = tools.iter().map(|&tool| {
            let grant = Grant {
                tool: Arc::clone(tool),
                decision_digest: Digest::sha256(b""),
                limits: Limits::default(),
                require_scope: None,
                lapses: None,
                point_lapses: None,
            };
            (tool.name.clone(), grant)
        });
        let agent = Agent {
            id: AgentId::new(*name).unwrap(),
            issuer: None,
            grants: grants.collect(),
            limits: Limits::default(),
        };
        (ActorId::new(*name).unwrap(), Arc::new(agent))
    });
    Posture {
        digest: Digest::sha256(b""),
        agents: agents.collect(),
        tenant_limits: Limits::default(),
    }
}

/// A posture without hand-written policies.
pub(crate) fn compile(posture: &Posture) -> Result<Bundle, Vec<CompileError>> {
    Bundle::compile(posture, &[], &[])
}

/// One tool, granted to the agent `copilot`.
pub(crate) fn bundle(tool: Tool) -> Bundle {
    compile(&posture(&[("copilot", &[&Arc::new(tool)])])).unwrap()
}

pub(crate) fn caller(tenant: &str, depots: &[&str]) -> Principal {
    let depots = depots.iter().map(|&depot| depot.to_owned()).collect();
    Principal {
        issuer: IssuerId::new("issuer").unwrap(),
        subject: SubjectId::new("user").unwrap(),
        actor: ActorId::new("client").unwrap(),
        tenant: TenantId::new(tenant).unwrap(),
        sid: None,
        person: None,
        scopes: Default::default(),
        attributes: BTreeMap::from([("depots".to_owned(), depots)]),
        agent_build: None,
        model: None,
        expires: Timestamp::from_secs(0),
    }
}

/// Asks with the evidence at hand, whatever the arguments hold.
pub(crate) fn ask(
    bundle: &Bundle,
    (agent, tool): (&str, &str),
    principal: &Principal,
    arguments: &Value,
    scope: &ScopeEvidence,
) -> Result<Permission, Denial> {
    ask_approved(bundle, (agent, tool), principal, (arguments, scope), None)
}

/// Asks about a draft that somebody approved.
pub(crate) fn ask_approved(
    bundle: &Bundle,
    (agent, tool): (&str, &str),
    principal: &Principal,
    (arguments, scope): (&Value, &ScopeEvidence),
    approver: Option<&Who>,
) -> Result<Permission, Denial> {
    bundle.decide(&Question {
        agent: &AgentId::new(agent).unwrap(),
        principal,
        tool: &ToolName::new(tool).unwrap(),
        arguments: arguments.as_object().unwrap(),
        scope,
        now: Timestamp::from_secs(0),
        approver,
    })
}

/// Asks as the pipeline does: with core's evidence and bound arguments, if its scope check passes.
pub(crate) fn call(
    bundle: &Bundle,
    agent: &str,
    tool: &Tool,
    principal: &Principal,
    arguments: &Value,
) -> Option<Result<Permission, Denial>> {
    let mut arguments: Map<String, Value> = arguments.as_object().unwrap().clone();
    let (evidence, bound) = scope::bind(&tool.scope, principal, &arguments).ok()?;
    arguments.extend(bound);
    let arguments = Value::Object(arguments);
    Some(ask(bundle, (agent, tool.name.as_str()), principal, &arguments, &evidence))
}

/// Scope evidence of one path.
pub(crate) fn evidence(path: &str, values: &[&str]) -> ScopeEvidence {
    ScopeEvidence::from([(path.to_owned(), values.iter().map(|&v| v.to_owned()).collect())])
}
