//! What requests are like that the pipeline's earlier stages let through, as far as Cedar can say it: so
//! that a request which a solver finds can be made.

use super::Granted;
use super::claim::quoted;
use crate::sample::{Leaf, leaves};
use crate::solver::told;
use cedar_policy::PolicySet;
use countersign_core::principal::CallerRef;
use countersign_core::scope::{ArgumentPath, ScopeRule, Step};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Policies that forbid what no request can be.
pub(super) fn forbidding(granted: &Granted<'_>) -> Result<PolicySet, String> {
    let mut conditions = vec![
        "context.clearance >= 1 && context.clearance <= 4".to_owned(),
        "context.hour >= 0 && context.hour < 24 && context.minute >= 0 && context.minute < 60"
            .to_owned(),
        "context.weekday >= 1 && context.weekday <= 7 && context.now > 0".to_owned(),
        format!("[{}].contains(principal.subject)", quoted("ann")),
    ];
    let agents = granted.agents.iter().map(|(agent, client)| {
        let [agent, client] = [agent.as_str(), client.as_str()].map(quoted);
        format!("(principal.agent == {agent} && principal.actor == {client})")
    });
    conditions.push(agents.collect::<Vec<_>>().join(" || "));
    let leaves = leaves(granted.tool);
    let mut tenants = BTreeSet::new();
    for leaf in &leaves {
        let found = texts(leaf);
        if is_tenant(granted, leaf) {
            tenants.extend(found.iter().cloned());
        }
        conditions.extend(among(leaf, &found));
    }
    if tenants.is_empty() {
        tenants.extend(["tenant_a", "tenant_b"].map(str::to_owned));
    }
    conditions.push(format!("[{}].contains(principal.tenant)", listed(&tenants)));
    conditions.extend(granted.tool.scope.iter().filter_map(evidence));
    let policies = conditions.iter().map(|condition| {
        format!("forbid (principal, action, resource) unless {{ {condition} }};\n")
    });
    let policies: PolicySet = policies.collect::<String>().parse().map_err(|error| told(&error))?;
    let mut named = PolicySet::new();
    for (at, policy) in policies.policies().enumerate() {
        let id = cedar_policy::PolicyId::new(format!("likely/{at}"));
        named.add(policy.new_id(id)).map_err(|error| told(&error))?;
    }
    Ok(named)
}

fn is_tenant(granted: &Granted<'_>, leaf: &Leaf) -> bool {
    granted.tool.scope.iter().any(|rule| match rule {
        ScopeRule::Equals { path, caller } | ScopeRule::In { path, caller } => {
            *caller == CallerRef::Tenant && path.to_string() == leaf.path
        }
        ScopeRule::Bind { .. } | ScopeRule::Domains { .. } => false,
    })
}

/// That a text is one of these, where there is one and Cedar can speak of it.
fn among(leaf: &Leaf, texts: &BTreeSet<String>) -> Option<String> {
    let (expression, there) = place(&leaf.steps)?;
    let condition = match leaf.steps.last()? {
        Step::Each => format!("[{}].containsAll({expression})", listed(texts)),
        Step::Member(_) => format!("[{}].contains({expression})", listed(texts)),
    };
    (!texts.is_empty()).then(|| format!("!({there}) || {condition}"))
}

/// That the values which a scope rule compares are those at its path, where there are texts or one array
/// of them.
fn evidence(rule: &ScopeRule) -> Option<String> {
    let (ScopeRule::Equals { path, .. } | ScopeRule::In { path, .. }) = rule else { return None };
    let (expression, there) = place(ArgumentPath::steps(path))?;
    let key = quoted(&path.to_string());
    let values = match path.steps().last()? {
        Step::Each => expression,
        Step::Member(_) => format!("[{expression}]"),
    };
    Some(format!(
        "!({there}) && !(context.scope has {key}) || \
         {there} && context.scope has {key} && context.scope[{key}] == {values}"
    ))
}

/// What stands for the value at a path, and whether it is there; `None` behind an array.
fn place(steps: &[Step]) -> Option<(String, String)> {
    let mut expression = "context.input".to_owned();
    let mut there = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Member(name) => {
                let name = quoted(name);
                there.push(format!("{expression} has {name}"));
                expression = format!("{expression}[{name}]");
            }
            Step::Each if at.checked_add(1) == Some(steps.len()) => {}
            Step::Each => return None,
        }
    }
    Some((expression, there.join(" && ")))
}

fn listed(texts: &BTreeSet<String>) -> String {
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
}

/// Some texts that fit; none for what is no text.
fn texts(leaf: &Leaf) -> BTreeSet<String> {
    fitting_texts(&leaf.schema)
}

fn fitting_texts(schema: &Map<String, Value>) -> BTreeSet<String> {
    let said = |key: &str| schema.get(key);
    if let Some(Value::Array(listed)) = said("enum") {
        return listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    if said("type").and_then(Value::as_str) != Some("string") {
        return BTreeSet::new();
    }
    if let Some(pattern) = said("pattern").and_then(Value::as_str) {
        let Ok(form) = regex_syntax::parse(pattern) else { return BTreeSet::new() };
        return [false, true].into_iter().filter_map(|last| written(&form, last)).collect();
    }
    if said("format").is_some() {
        return ["ann@example.com", "bob@example.org"].map(str::to_owned).into();
    }
    let length = said("minLength").and_then(Value::as_u64).unwrap_or(1).max(1);
    ["a", "b"].map(|letter| letter.repeat(usize::try_from(length).unwrap_or(1))).into()
}

/// A value that fits a schema, with as little in it as there may be: what is optional is left out.
pub(crate) fn fitting(schema: &Map<String, Value>) -> Option<Value> {
    let said = |key: &str| schema.get(key);
    if let Some(only) = said("const") {
        return Some(only.clone());
    }
    if let Some(Value::Array(listed)) = said("enum") {
        return listed.first().cloned();
    }
    match said("type").and_then(Value::as_str)? {
        "string" => fitting_texts(schema).pop_first().map(Value::from),
        "integer" | "number" => Some(said("minimum").cloned().unwrap_or_else(|| Value::from(0))),
        "boolean" => Some(Value::Bool(false)),
        "array" => {
            let items = said("items").and_then(Value::as_object)?;
            let times = said("minItems").and_then(Value::as_u64).unwrap_or(1).max(1);
            (0..times).map(|_| fitting(items)).collect::<Option<Vec<_>>>().map(Value::from)
        }
        "object" => {
            let properties = said("properties").and_then(Value::as_object)?;
            let required = said("required").and_then(Value::as_array)?;
            let members = required.iter().filter_map(Value::as_str).map(|name| {
                let schema = properties.get(name)?.as_object()?;
                Some((name.to_owned(), fitting(schema)?))
            });
            members.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        _ => None,
    }
}

/// The first text of a form, or the last, with as few repetitions as there may be.
fn written(form: &Hir, last: bool) -> Option<String> {
    match form.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            let c = if last { ranges.last()?.end() } else { ranges.first()?.start() };
            // A class that begins or ends with what nobody writes is written by a letter in it.
            let plain = |c: &char| c.is_ascii_graphic();
            let within =
                || ('0'..='z').find(|c| ranges.iter().any(|r| (r.start()..=r.end()).contains(c)));
            Some(Some(c).filter(plain).or_else(within)?.to_string())
        }
        HirKind::Class(Class::Bytes(class)) => {
            let range = class.ranges().first()?;
            Some(char::from(if last { range.end() } else { range.start() }).to_string())
        }
        HirKind::Repetition(repetition) => {
            let one = written(&repetition.sub, last)?;
            Some(one.repeat(usize::try_from(repetition.min).ok()?))
        }
        HirKind::Capture(capture) => written(&capture.sub, last),
        HirKind::Concat(parts) => parts.iter().map(|part| written(part, last)).collect(),
        HirKind::Alternation(ways) => written(if last { ways.last() } else { ways.first() }?, last),
    }
}
