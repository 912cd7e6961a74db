//! What a posture lets each agent reach, as people sign it: grant by grant, in words and figures.

use crate::blast::{Blast, blast};
use crate::sample::{Leaf, leaves};
use countersign_core::ladder::{Approvers, Budget, Exception, Gate, Per};
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::principal::CallerRef;
use countersign_core::quota::Limits;
use countersign_core::scope::{Asks, ScopeRule};
use countersign_core::tool::{Effect, Offered, Tool};
use countersign_policy::Bundle;
use countersign_posture::{Backend, Loaded, Registered};
use serde_json::{Map, Value, json};

/// Everything that a posture permits, by agent.
#[derive(Debug)]
pub struct PermissionSet {
    /// The posture's digest.
    pub posture: String,
    /// Whose posture it is.
    pub organisation: String,
    /// In the order of their names.
    pub agents: Vec<AgentMay>,
}

/// One agent, and what it may reach.
#[derive(Debug)]
pub struct AgentMay {
    /// What the register says of it.
    pub agent: Registered,
    /// Whose tokens it calls with; `None` where only one issuer is trusted.
    pub issuer: Option<String>,
    /// Its limits, for each tenant.
    pub limits: Limits,
    /// In the order of their names.
    pub tools: Vec<May>,
    /// The worst that all of them together come to, for each tenant.
    pub worst: Blast,
}

/// One tool, as one agent may use it.
#[derive(Debug)]
pub struct May {
    /// Its name.
    pub tool: String,
    /// What it is for, as a model reads it.
    pub description: String,
    /// The system it reaches.
    pub system: String,
    /// What that is: `sqlite`, `postgres`, `http`, `email`, `mcp`.
    pub kind: &'static str,
    /// What a call changes.
    pub effect: Effect,
    /// The step it stands on, 1 to 4.
    pub rung: u8,
    /// As what an MCP client is offered it: `tool`, `resource`, `prompt`.
    pub offered: &'static str,
    /// What the token must carry besides.
    pub require_scope: Option<String>,
    /// What ties it to the caller, a sentence each.
    pub scope: Vec<String>,
    /// Each argument of the model's and what it may be.
    pub arguments: Vec<(String, String)>,
    /// The calls that are let through, from the tightest of every limit that counts them.
    pub limits: Limits,
    /// Sums that calls together keep to, a sentence each.
    pub budgets: Vec<String>,
    /// Who has to agree, and for how long they may.
    pub gate: Option<String>,
    /// Whether a person agrees to every call, at any time.
    pub asks_people: bool,
    /// Leave to stand below its effect's step.
    pub exception: Option<Exception>,
    /// What flows through it: reads, holds, sends.
    pub flow: [&'static str; 3],
    /// The policies that people wrote and that bear on it: id, and why.
    pub policies: Vec<(String, Option<String>)>,
    /// What an approval is bound to.
    pub decision: String,
    /// The worst that its calls come to, for each tenant.
    pub worst: Blast,
}

impl PermissionSet {
    /// That of a posture without an error, and of its policies.
    #[must_use]
    pub fn of(loaded: &Loaded, bundle: &Bundle) -> Self {
        let Loaded { posture, systems, organisation, register, .. } = loaded;
        let kind =
            |tool: &Tool| systems.get(&tool.system).map_or("unknown", |of| kind(&of.backend));
        let agents = register.iter().filter_map(|registered| {
            let agent = posture.agents.get(&registered.client)?;
            let tools = agent.grants.values();
            let tools = tools.map(|grant| May {
                policies: policies(&grant.tool, bundle),
                ..may(grant, (agent, posture), kind(&grant.tool))
            });
            let tools: Vec<_> = tools.collect();
            Some(AgentMay {
                agent: registered.clone(),
                issuer: agent.issuer.as_ref().map(ToString::to_string),
                limits: tightest([agent.limits, posture.tenant_limits]),
                worst: Blast::together(
                    tools.iter().map(|may| &may.worst),
                    tightest([agent.limits, posture.tenant_limits]),
                ),
                tools,
            })
        });
        let mut agents: Vec<_> = agents.collect();
        agents.sort_by(|a, b| a.agent.agent.cmp(&b.agent.agent));
        Self { posture: posture.digest.to_string(), organisation: organisation.clone(), agents }
    }

    /// As one JSON object, the same bytes for the same posture.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { posture, organisation, agents } = self;
        let agents: Vec<_> = agents.iter().map(AgentMay::json).collect();
        json!({ "posture": posture, "organisation": organisation, "agents": agents })
    }
}

impl AgentMay {
    fn json(&self) -> Value {
        let Self { agent, issuer, limits, tools, worst } = self;
        let Registered { agent, client, purpose, team, contact, vendors, review_by, .. } = agent;
        let vendors: Vec<_> = vendors.iter().map(|vendor| vendor.as_str()).collect();
        json!({
            "agent": agent.as_str(), "client": client.as_str(), "issuer": issuer, "purpose": purpose,
            "owner": { "team": team, "contact": contact },
            "vendors": vendors, "review_by": review_by.map(|day| day.to_string()),
            "limits_per_tenant": limits_json(limits),
            "tools": tools.iter().map(May::json).collect::<Vec<_>>(),
            "worst_per_tenant": worst.json(),
        })
    }
}

impl May {
    fn json(&self) -> Value {
        let [reads, holds, sends] = self.flow;
        let policies = self.policies.iter();
        let policies = policies.map(|(id, reason)| json!({ "policy": id, "reason": reason }));
        let arguments: Map<_, _> =
            self.arguments.iter().map(|(name, may)| (name.clone(), json!(may))).collect();
        let exception = self.exception.as_ref().map(|of| {
            let Exception { rung, reason, reviewed_by, expires } = of;
            json!({
                "rung": rung.number(), "reason": reason, "reviewed_by": reviewed_by,
                "expires_us": expires.micros(),
            })
        });
        json!({
            "tool": self.tool, "description": self.description,
            "system": self.system, "kind": self.kind,
            "effect": self.effect.as_str(), "rung": self.rung,
            "offered": self.offered, "require_scope": self.require_scope,
            "scope": self.scope, "arguments": arguments,
            "limits_per_tenant": limits_json(&self.limits), "budgets": self.budgets,
            "gate": self.gate, "asks_people": self.asks_people, "exception": exception,
            "flow": { "reads": reads, "holds": holds, "sends": sends },
            "policies": policies.collect::<Vec<_>>(),
            "decision": self.decision,
            "worst_per_tenant": self.worst.json(),
        })
    }
}

fn may(grant: &Grant, (agent, posture): (&Agent, &Posture), kind: &'static str) -> May {
    let tool = &*grant.tool;
    let limits = tightest([agent.limits, grant.limits, tool.limits, posture.tenant_limits]);
    let leaves = leaves(tool);
    May {
        tool: tool.name.to_string(),
        description: tool.description.clone(),
        system: tool.system.to_string(),
        kind,
        effect: tool.effect,
        rung: tool.ladder.rung.number(),
        offered: match tool.offered {
            Offered::Tool => "tool",
            Offered::Resource(_) => "resource",
            Offered::Prompt => "prompt",
        },
        require_scope: grant.require_scope.clone(),
        scope: scope(tool),
        arguments: leaves.iter().map(|leaf| (leaf.path.clone(), bounds(leaf))).collect(),
        limits,
        budgets: tool.ladder.budgets.iter().map(budget).collect(),
        gate: tool.ladder.gate.as_ref().map(gate),
        asks_people: tool.ladder.asks_people(),
        exception: tool.ladder.exception.clone(),
        flow: [tool.flow.reads.as_str(), tool.flow.holds.as_str(), tool.flow.sends.as_str()],
        policies: Vec::new(),
        decision: grant.decision_digest.to_string(),
        worst: blast(tool, &leaves, &limits),
    }
}

fn policies(tool: &Tool, bundle: &Bundle) -> Vec<(String, Option<String>)> {
    let bearing = bundle.authored().filter(|policy| bundle.bears_on(policy.id, &tool.name));
    bearing.map(|policy| (policy.id.to_owned(), policy.reason.map(str::to_owned))).collect()
}

/// The least of each.
fn tightest<const N: usize>(limits: [Limits; N]) -> Limits {
    let least = |of: fn(&Limits) -> Option<u32>| limits.iter().filter_map(of).min();
    Limits {
        per_session: least(|limits| limits.per_session),
        per_minute: least(|limits| limits.per_minute),
        per_hour: least(|limits| limits.per_hour),
        identical_per_minute: least(|limits| limits.identical_per_minute),
    }
}

fn limits_json(limits: &Limits) -> Value {
    let Limits { per_session, per_minute, per_hour, identical_per_minute } = limits;
    json!({
        "per_session": per_session, "per_minute": per_minute, "per_hour": per_hour,
        "identical_per_minute": identical_per_minute,
    })
}

const fn kind(backend: &Backend) -> &'static str {
    match backend {
        Backend::Sqlite { .. } => "sqlite",
        Backend::Postgres { .. } => "postgres",
        Backend::Http { .. } => "http",
        Backend::Email(_) => "email",
        Backend::Mcp(_) => "mcp",
    }
}

pub(crate) fn caller(caller: &CallerRef) -> String {
    let name = match caller {
        CallerRef::Tenant => "tenant",
        CallerRef::Subject => "subject",
        CallerRef::Actor => "actor",
        CallerRef::Attribute(name) => name,
    };
    format!("caller.{name}")
}

fn scope(tool: &Tool) -> Vec<String> {
    let rules = tool.scope.iter().map(scope_rule);
    let look_ups = tool.look_ups.iter().map(|rule| match rule.asks {
        Asks::Owned => format!(
            "`{}` is looked up in {}: it is there for the caller",
            rule.path, rule.query.system
        ),
        Asks::Allowed => format!("`{}` is on a list that {} gives", rule.path, rule.query.system),
    });
    let results = tool.result.iter().map(|rule| {
        format!("every row that comes back has {} as its `{}`", caller(&rule.caller), rule.column)
    });
    rules.chain(look_ups).chain(results).collect()
}

pub(crate) fn scope_rule(rule: &ScopeRule) -> String {
    match rule {
        ScopeRule::Equals { path, caller: of } => format!("`{path}` is {}", caller(of)),
        ScopeRule::In { path, caller: of } => format!("`{path}` is one of {}", caller(of)),
        ScopeRule::Bind { name, caller: of } => {
            format!("`{name}` is put in from {}", caller(of))
        }
        ScopeRule::Domains { path, domains } => {
            let domains: Vec<_> = domains.iter().map(|domain| domain.as_str()).collect();
            format!("`{path}` is an address at {}", domains.join(", "))
        }
    }
}

/// What an argument may be, from its schema.
fn bounds(leaf: &Leaf) -> String {
    let schema = &leaf.schema;
    let optional = if leaf.required { "" } else { ", or left out" };
    if let Some(only) = schema.get("const") {
        return format!("{only}{optional}");
    }
    if let Some(listed) = leaf.listed() {
        let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
        return format!("one of {}{optional}", listed.join(", "));
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("value");
    let said = |key: &str| {
        schema.get(key).map(|value| match value {
            Value::String(text) => format!("{key} {text}"),
            value => format!("{key} {value}"),
        })
    };
    let keys = [
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "multipleOf",
    ];
    let said: Vec<_> =
        std::iter::once(kind.to_owned()).chain(keys.iter().filter_map(|key| said(key))).collect();
    format!("{}{optional}", said.join(", "))
}

pub(crate) fn budget(Budget { of, max, window, per }: &Budget) -> String {
    let per = match per {
        Per::Tenant => "tenant",
        Per::Agent => "agent and tenant",
    };
    format!("`{}` up to {max} per {} per {per}", of.name(), window.as_str())
}

fn gate(gate: &Gate) -> String {
    let decision = gate.decision.as_ref().map_or_else(String::new, |point| {
        format!(", or the decision point {} for them", point.system)
    });
    let preview = if gate.preview.is_some() { ", who are shown a preview" } else { "" };
    let escalation = gate.escalation.as_ref().map_or_else(String::new, |then| {
        format!("; after {} also {}", span(then.after_s), approvers(&then.to))
    });
    let delegates: Vec<_> = gate.delegates.iter().map(String::as_str).collect();
    let delegates = match delegates.is_empty() {
        true => String::new(),
        false => format!("; in the stead of one who is away {}", delegates.join(", ")),
    };
    format!(
        "{}{preview}{decision}, within {}{escalation}{delegates}",
        approvers(&gate.approvers),
        span(gate.expires_s)
    )
}

/// A span in seconds, as a posture writes it.
fn span(seconds: u32) -> String {
    let of = |unit: u32| seconds.is_multiple_of(unit).then(|| seconds.div_euclid(unit));
    match (of(3_600), of(60)) {
        (Some(hours), _) => format!("{hours}h"),
        (None, Some(minutes)) => format!("{minutes}m"),
        (None, None) => format!("{seconds}s"),
    }
}

pub(crate) fn approvers(approvers: &Approvers) -> String {
    match approvers {
        Approvers::Named(names) => {
            names.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
        }
        Approvers::Group { group, subject } => {
            let themselves = if *subject { ", or whoever it is asked for" } else { "" };
            format!("anybody of the group {group}{themselves}")
        }
    }
}
