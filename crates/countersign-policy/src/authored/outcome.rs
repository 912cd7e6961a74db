//! What a condition can come out as, by what its parts can be: Cedar knows types, the posture
//! knows more. A rule that is accepted and never matches is worse than none.

use cedar_policy::{AuthorizationError, Authorizer, Context, Entities, Policy, PolicySet, Request};
use countersign_core::principal::CallerRef;
use countersign_core::scope::ScopeRule;
use countersign_core::{
    id::AgentId,
    tool::{Effect, Tool},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// All that something can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Domain {
    /// It is not there.
    Absent,
    /// Anything, for all that is known.
    Any,
    Texts(BTreeSet<String>),
    /// Any text but these.
    Except(BTreeSet<String>),
    /// From, to.
    Range(i64, i64),
}

/// One tool, as far as it says what things can be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) tool: &'a Tool,
    pub(crate) agents: &'a BTreeSet<&'a AgentId>,
}

impl Known<'_> {
    /// What is put in from the token goes by the caller's own name.
    pub(crate) fn canonical<'p>(&self, path: Vec<&'p str>) -> Vec<&'p str> {
        let &[first, second, argument] = path.as_slice() else { return path };
        let bound = |rule: &ScopeRule| match rule {
            ScopeRule::Bind { name, caller } if name == argument => match caller {
                CallerRef::Tenant => Some("tenant"),
                CallerRef::Subject => Some("subject"),
                CallerRef::Actor => Some("actor"),
                CallerRef::Attribute(_) => None,
            },
            ScopeRule::Bind { .. }
            | ScopeRule::Equals { .. }
            | ScopeRule::In { .. }
            | ScopeRule::Domains { .. } => None,
        };
        let input = (first, second) == ("context", "input");
        match self.tool.scope.iter().filter(|_| input).find_map(bound) {
            Some(name) => vec!["principal", name],
            None => path,
        }
    }

    /// What `path` can be.
    pub(crate) fn domain(&self, path: &[&str]) -> Domain {
        match self.canonical(path.to_vec()).as_slice() {
            ["principal", "agent"] => {
                let agents = self.agents.iter().map(|agent| agent.as_str().to_owned());
                Domain::Texts(agents.collect())
            }
            ["principal", "tenant" | "subject" | "actor"] => {
                Domain::Except(BTreeSet::from([String::new()]))
            }
            ["context", "now"] => Domain::Range(0, i64::MAX),
            ["context", "clearance"] if self.tool.effect == Effect::Read => Domain::Range(1, 1),
            ["context", "hour"] => Domain::Range(0, 23),
            ["context", "minute"] => Domain::Range(0, 59),
            ["context", "weekday"] => Domain::Range(1, 7),
            ["context", "clearance"] => Domain::Range(1, 4),
            ["context", "input", names @ ..] => {
                declared(&self.tool.input, names).map_or(Domain::Absent, declared_domain)
            }
            _ => Domain::Any,
        }
    }
}

/// What a tool's input says of an argument.
fn declared<'a>(input: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let (first, rest) = names.split_first()?;
    let argument = input.get("properties")?.get(first)?;
    rest.iter().try_fold(argument, |schema, name| schema.get("properties")?.get(name))
}

fn declared_domain(schema: &Value) -> Domain {
    let only = schema.get("const").map(std::slice::from_ref);
    if let Some(values) = only.or_else(|| schema.get("enum")?.as_array().map(Vec::as_slice)) {
        let numbers: Option<Vec<i64>> = values.iter().map(Value::as_i64).collect();
        if let Some((least, most)) =
            numbers.and_then(|n| n.iter().min().copied().zip(n.iter().max().copied()))
        {
            return Domain::Range(least, most);
        }
        let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
        return texts.collect::<Option<_>>().map_or(Domain::Any, Domain::Texts);
    }
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    match (limit("minimum"), limit("maximum")) {
        (None, None) => Domain::Any,
        (from, to) => Domain::Range(from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX)),
    }
}

/// Something compared with what the policy writes out.
#[derive(Debug, PartialEq)]
pub(crate) struct Comparison<'a> {
    pub(crate) path: Vec<&'a str>,
    operator: &'a str,
    pub(crate) literal: &'a Value,
}

impl Comparison<'_> {
    /// What it comes out as whatever the thing is; `None` if that depends.
    pub(crate) fn outcome(&self, domain: &Domain) -> Option<bool> {
        let equals = match (domain, self.literal) {
            (Domain::Texts(texts), Value::String(text)) => texts.contains(text),
            (Domain::Except(texts), Value::String(text)) => !texts.contains(text),
            (Domain::Range(from, to), Value::Number(number)) => {
                let number = number.as_i64()?;
                let (below, above) = (*to < number, *from > number);
                match self.operator {
                    "<" if below => return Some(true),
                    "<" if above || *from == number => return Some(false),
                    "<=" if below || *to == number => return Some(true),
                    "<=" if above => return Some(false),
                    ">" if above => return Some(true),
                    ">" if below || *to == number => return Some(false),
                    ">=" if above || *from == number => return Some(true),
                    ">=" if below => return Some(false),
                    _ => !below && !above,
                }
            }
            _ => return None,
        };
        match self.operator {
            "==" if !equals => Some(false),
            "!=" if !equals => Some(true),
            _ => None,
        }
    }

    /// Whether it can hold, if it asks for one value; anything else is not judged.
    pub(crate) fn can_be(&self, domain: &Domain) -> bool {
        !matches!(self.operator, "==" | "!=") || self.outcome(domain).is_none()
    }
}

/// `principal.agent` → `["principal", "agent"]`.
pub(crate) fn path(expression: &Value) -> Option<Vec<&str>> {
    if let Some(root) = expression.get("Var") {
        return root.as_str().map(|root| vec![root]);
    }
    let access = expression.get(".")?;
    let mut names = path(access.get("left")?)?;
    names.push(access.get("attr")?.as_str()?);
    Some(names)
}

/// The comparison that an expression is; those with each member of a list, if it is that.
fn compared(expression: &Value) -> Vec<Comparison<'_>> {
    let Some((operator, sides)) = expression.as_object().and_then(|map| map.iter().next()) else {
        return Vec::new();
    };
    let (Some(left), Some(right)) = (sides.get("left"), sides.get("right")) else {
        return Vec::new();
    };
    let literal = |side: &'_ Value| side.get("Value").is_some();
    let turned = match operator.as_str() {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        same @ ("==" | "!=") => same,
        "contains" => {
            let members = left.get("Set").and_then(Value::as_array).into_iter().flatten();
            let members = members.filter_map(|member| {
                let (path, literal) = (path(right)?, member.get("Value")?);
                Some(Comparison { path, operator: "==", literal })
            });
            return members.collect();
        }
        _ => return Vec::new(),
    };
    let comparison = match (path(left), path(right)) {
        (Some(path), None) if literal(right) => {
            right.get("Value").map(|literal| Comparison { path, operator, literal })
        }
        (None, Some(path)) if literal(left) => {
            left.get("Value").map(|literal| Comparison { path, operator: turned, literal })
        }
        _ => None,
    };
    comparison.into_iter().collect()
}

/// Every comparison in a policy, as Cedar writes it in JSON.
pub(crate) fn comparisons(policy: &Value) -> Vec<Comparison<'_>> {
    let mut found = Vec::new();
    each(policy, &mut |expression| {
        found.extend(compared(expression));
        true
    });
    found
}

/// Visits every value inside `value`, itself first, for as long as `visit` wants to go deeper.
fn each<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value) -> bool) {
    if !visit(value) {
        return;
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| each(member, visit)),
        Value::Array(members) => members.iter().for_each(|member| each(member, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A value that the policy writes out, as all that it can be.
pub(crate) fn literal(expression: &Value) -> Option<Domain> {
    match expression.get("Value")? {
        Value::Bool(value) => Some(Domain::Range(i64::from(*value), i64::from(*value))),
        Value::Number(number) => number.as_i64().map(|number| Domain::Range(number, number)),
        Value::String(text) => Some(Domain::Texts(BTreeSet::from([text.clone()]))),
        // The name of an entity.
        Value::Null | Value::Array(_) | Value::Object(_) => Some(Domain::Any),
    }
}

/// The first part of a policy that errs whatever it is asked, and how: what is made of literals
/// alone can be worked out here.
pub(crate) fn erring(policy: &Value) -> Option<String> {
    let mut found = None;
    let conditions = policy.get("conditions")?;
    each(conditions, &mut |expression| {
        let constant = is_operation(expression) && !varies(expression);
        if constant && found.is_none() {
            found = error(expression);
        }
        !constant && found.is_none()
    });
    found
}

fn is_operation(expression: &Value) -> bool {
    let operators = ["+", "-", "*", "neg", "<", "<=", ">", ">=", "==", "!="];
    expression.as_object().is_some_and(|map| operators.iter().any(|name| map.contains_key(*name)))
}

fn varies(expression: &Value) -> bool {
    let mut found = false;
    each(expression, &mut |inner| {
        found |= inner.get("Var").is_some();
        !found
    });
    found
}

/// How an expression without variables errs, if it does.
fn error(expression: &Value) -> Option<String> {
    let same = json!({"==": {"left": expression, "right": expression}});
    let any = json!({"op": "All"});
    let policy = json!({
        "effect": "permit", "principal": any, "action": any, "resource": any,
        "conditions": [{"kind": "when", "body": same}],
    });
    let policy = Policy::from_json(None, policy).ok()?;
    let policies = PolicySet::from_policies([policy]).ok()?;
    let nobody = || r#"Tool::"""#.parse().ok();
    let request = Request::new(nobody()?, nobody()?, nobody()?, Context::empty(), None).ok()?;
    let response = Authorizer::new().is_authorized(&request, &policies, &Entities::empty());
    let AuthorizationError::PolicyEvaluationError(error) =
        response.diagnostics().errors().next()?;
    Some(error.inner().to_string())
}
