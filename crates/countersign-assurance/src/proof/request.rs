//! A request that a solver found, as somebody can make it.

use super::{Granted, example};
use cedar_policy::{Entities, Entity, EvalResult, RestrictedExpression};
use cedar_policy_symcc::Env;
use countersign_core::id::AgentId;
use countersign_core::scope::ScopeRule;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A permitted request of which something does not hold that has to.
#[derive(Debug, Clone, PartialEq)]
pub struct Counterexample {
    /// The OAuth client of the agent.
    pub client: String,
    /// Whose data it may touch.
    pub tenant: String,
    /// On whose behalf it calls.
    pub user: String,
    /// Further claims.
    pub claims: BTreeMap<String, Vec<String>>,
    /// The tool.
    pub tool: String,
    /// The arguments as the model would send them.
    pub arguments: Map<String, Value>,
    /// What the request holds besides: clearance, time, the values at scope rules' paths.
    pub context: Map<String, Value>,
    /// In what the arguments do not fit the tool's schema, which refuses such a call first.
    pub unfit: Vec<String>,
    /// As the solver found it.
    pub(super) found: Env,
}

impl Counterexample {
    pub(super) fn of(granted: &Granted<'_>, found: &Env) -> Option<Self> {
        let caller = found.entities.get(found.request.principal()?)?;
        let text = |name: &str| match caller.attr(name) {
            Some(Ok(EvalResult::String(text))) => Some(text),
            _ => None,
        };
        let agent = text("agent")?;
        let client = granted.agents.iter().find(|(known, _)| known.as_str() == agent);
        let claims = caller.attrs().filter_map(|(name, value)| match value {
            Ok(EvalResult::Set(values)) if name != "known-as" => {
                Some((name.to_owned(), values.iter().filter_map(as_text).collect()))
            }
            _ => None,
        });
        let claims = claims.collect();
        let context = found.request.context()?;
        let (mut arguments, mut rest) = (Map::new(), Map::new());
        for name in ["approver", "clearance", "hour", "minute", "now", "scope", "weekday"] {
            rest.extend(context.get(name).map(|value| (name.to_owned(), plain(&value))));
        }
        if let Some(Value::Object(input)) = context.get("input").map(|value| plain(&value)) {
            arguments = input;
        }
        for rule in &granted.tool.scope {
            if let ScopeRule::Bind { name, .. } = rule {
                // Whoever calls has it from the token, whatever policy would permit.
                arguments.shift_remove(name).map(|value| rest.insert(name.clone(), value));
            }
        }
        let issues =
            |of: &Map<String, Value>| granted.tool.schema.issues(&Value::Object(of.clone()));
        let mut unfit = issues(&arguments);
        if !unfit.is_empty() {
            let mut filled = arguments.clone();
            let scope = rest.get("scope").unwrap_or(&Value::Null);
            example::fill(granted.tool, &mut filled, scope);
            if issues(&filled).is_empty() {
                (arguments, unfit) = (filled, Vec::new());
            }
        }
        Some(Self {
            client: client.map_or(agent, |(_, client)| client.to_string()),
            tenant: text("tenant")?,
            user: text("subject")?,
            claims,
            tool: granted.tool.name.to_string(),
            arguments,
            context: rest,
            found: found.clone(),
            unfit: unfit
                .into_iter()
                .map(|of| format!("{} must {}", of.path, of.expected))
                .collect(),
        })
    }

    /// As `explain --call` and `call --request` read it.
    #[must_use]
    pub fn call(&self) -> Value {
        json!({
            "principal": {
                "agent": self.client, "tenant": self.tenant, "user": self.user, "claims": self.claims,
            },
            "tool": self.tool,
            "arguments": self.arguments,
        })
    }
}

fn as_text(value: &EvalResult) -> Option<String> {
    match value {
        EvalResult::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn plain(value: &EvalResult) -> Value {
    match value {
        EvalResult::Bool(value) => json!(value),
        EvalResult::Long(value) => json!(value),
        EvalResult::String(text) | EvalResult::ExtensionValue(text) => json!(text),
        EvalResult::EntityUid(uid) => json!(uid.to_string()),
        EvalResult::Set(values) => values.iter().map(plain).collect(),
        EvalResult::Record(members) => {
            members.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
    }
}

/// The entities of a request with another agent as its caller.
pub(super) fn with_agent(Env { request, entities }: &Env, agent: &AgentId) -> Option<Entities> {
    let uid = request.principal()?;
    let (_, mut attributes, parents) = entities.get(uid)?.clone().into_inner();
    let agent = RestrictedExpression::new_string(agent.to_string());
    attributes.insert("agent".to_owned(), agent);
    let caller = Entity::new(uid.clone(), attributes, parents).ok()?;
    let others = entities.iter().filter(|entity| entity.uid() != *uid).cloned();
    Entities::from_entities(others.chain([caller]), None).ok()
}
