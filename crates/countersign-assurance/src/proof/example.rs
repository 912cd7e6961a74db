//! What requests are like that the pipeline's earlier stages let through, as far as Cedar can say it: so
//! that a request which a solver finds can be made.

use super::Granted;
use super::claim::quoted;
use crate::sample::{Leaf, leaves, put};
use crate::solver::told;
use cedar_policy::{EvalResult, Policy, PolicyId, PolicySet};
use cedar_policy_symcc::Env;
use countersign_core::ladder::Approvers;
use countersign_core::principal::CallerRef;
use countersign_core::scope::{ArgumentPath, ScopeRule, Step};
use countersign_core::tool::{Rung, Tool};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What every request is, whatever its arguments: a step of the ladder, and a time.
const EVERY: [&str; 3] = [
    "context.clearance >= 1 && context.clearance <= 4",
    "context.hour >= 0 && context.hour < 24 && context.minute >= 0 && context.minute < 60",
    "context.weekday >= 1 && context.weekday <= 7 && context.now > 0",
];

/// Policies that forbid what is no request at all.
pub(super) fn impossible() -> Result<PolicySet, String> {
    unless(&EVERY.map(str::to_owned))
}

/// Policies that forbid all but some requests that can be made: with the attributes of the caller of one
/// that cannot, perhaps.
pub(super) fn unlikely(granted: &Granted<'_>, any: &Env) -> Result<PolicySet, String> {
    let mut conditions = EVERY.map(str::to_owned).to_vec();
    let caller = any.request.principal().and_then(|uid| any.entities.get(uid));
    let attributes = caller.into_iter().flat_map(|caller| caller.attrs());
    let sets = attributes.filter(|(_, value)| matches!(value, Ok(EvalResult::Set(_))));
    // No token has an empty text in a claim.
    conditions.extend(sets.map(|(name, _)| format!("!principal[{}].contains(\"\")", quoted(name))));
    conditions.push(asks(granted.tool));
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
        conditions.extend(range(leaf));
        conditions.extend(among(leaf, &found).or_else(|| beyond(granted, leaf, &found)));
    }
    if tenants.is_empty() {
        tenants.extend(["tenant_a", "tenant_b"].map(str::to_owned));
    }
    conditions.push(format!("[{}].contains(principal.tenant)", listed(&tenants)));
    conditions.extend(granted.tool.scope.iter().filter_map(evidence));
    unless(&conditions)
}

/// That it is Ann who asks. Where somebody agrees to what they ask for themselves, they are one of those
/// who are asked.
fn asks(tool: &Tool) -> String {
    let ann = format!("principal.subject == {}", quoted("ann"));
    match tool.ladder.gate.as_ref().map(|gate| &gate.approvers) {
        Some(Approvers::Named(people)) if tool.ladder.least() == Rung::NAMED => format!(
            "if principal[\"known-as\"].containsAny(context.approver) \
             then [{}].contains(principal.subject) && [principal.subject] == context.approver \
             && principal[\"known-as\"].containsAll(context.approver) else {ann}",
            listed(people)
        ),
        _ => ann,
    }
}

fn unless(conditions: &[String]) -> Result<PolicySet, String> {
    let policies = conditions.iter().map(|condition| {
        format!("forbid (principal, action, resource) unless {{ {condition} }};\n")
    });
    let policies: PolicySet = policies.collect::<String>().parse().map_err(|error| told(&error))?;
    let mut named = PolicySet::new();
    for (at, policy) in policies.policies().enumerate() {
        let id = PolicyId::new(format!("likely/{at}"));
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

/// A policy that permits everything of which another does not err.
pub(super) fn decided(policy: &Policy) -> Option<Policy> {
    let written = policy.to_json().ok()?;
    let conditions = written.get("conditions")?.as_array()?;
    let all = conditions.iter().try_fold(json!({ "Value": true }), |all, condition| {
        let body = condition.get("body")?;
        let body = match condition.get("kind")?.as_str()? {
            "unless" => json!({ "!": { "arg": body } }),
            _ => body.clone(),
        };
        Some(json!({ "&&": { "left": all, "right": body } }))
    })?;
    let either = json!({ "||": { "left": all, "right": { "Value": true } } });
    let any = json!({ "op": "All" });
    let permit = json!({
        "effect": "permit", "principal": any, "action": any, "resource": any,
        "conditions": [{ "kind": "when", "body": either }],
    });
    Policy::from_json(Some(PolicyId::new("decided")), permit).ok()
}

/// Where in an element values go, and which.
type Members<'a> = Vec<(&'a [Step], Vec<Value>)>;

/// Puts elements into arrays of objects, one for each value that a scope rule compares there: a solver
/// chooses those values, and need not choose elements that hold them.
pub(super) fn fill(tool: &Tool, arguments: &mut Map<String, Value>, scope: &Value) {
    let leaves = leaves(tool);
    let mut arrays: BTreeMap<&str, (&[Step], Members<'_>)> = BTreeMap::new();
    for leaf in &leaves {
        let at = leaf.steps.iter().position(|step| *step == Step::Each);
        let Some((before, [_, inner @ ..])) = at.map(|at| leaf.steps.split_at(at)) else {
            continue;
        };
        let Some((array, _)) = leaf.path.split_once("[]") else { continue };
        let found = scope.get(&leaf.path).and_then(Value::as_array).cloned();
        let Some(values) =
            found.or_else(|| leaf.required.then(|| Some(vec![fitting(&leaf.schema)?])).flatten())
        else {
            continue;
        };
        arrays.entry(array).or_insert((before, Vec::new())).1.push((inner, values));
    }
    for (before, members) in arrays.into_values() {
        if members.iter().any(|(inner, _)| inner.is_empty() || inner.contains(&Step::Each)) {
            continue; // Cedar sees it; or it is more than can be put together here.
        }
        let length = members.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
        let elements = (0..length).map(|at| {
            let mut element = Map::new();
            for (inner, values) in &members {
                if let Some(value) = values.iter().cycle().nth(at) {
                    put(&mut element, inner, value.clone());
                }
            }
            Value::Object(element)
        });
        put(arguments, before, elements.collect());
    }
}

/// That an integer is within its bounds.
fn range(leaf: &Leaf) -> Option<String> {
    let (expression, there) = place(&leaf.steps)?;
    let bound = |key, sign| Some(format!("{expression} {sign} {}", leaf.number(key)?));
    let bounds = [bound("minimum", ">="), bound("maximum", "<=")].into_iter().flatten();
    let bounds: Vec<_> = bounds.collect();
    let ranged = leaf.is("integer") && leaf.steps.last() != Some(&Step::Each);
    (ranged && !bounds.is_empty())
        .then(|| format!("if {there} then {} else true", bounds.join(" && ")))
}

/// That what a scope rule compares behind an array of objects are texts that fit.
fn beyond(granted: &Granted<'_>, leaf: &Leaf, texts: &BTreeSet<String>) -> Option<String> {
    let compared = granted.tool.scope.iter().any(|rule| match rule {
        ScopeRule::Equals { path, .. } | ScopeRule::In { path, .. } => {
            path.to_string() == leaf.path
        }
        ScopeRule::Bind { .. } | ScopeRule::Domains { .. } => false,
    });
    let key = quoted(&leaf.path);
    let within = format!(
        "context.scope has {key} && [{}].containsAll(context.scope[{key}]) && !context.scope[{key}].isEmpty()",
        listed(texts)
    );
    (compared && !texts.is_empty()).then_some(within)
}

/// That a text is one of these, where there is one and Cedar can speak of it.
fn among(leaf: &Leaf, texts: &BTreeSet<String>) -> Option<String> {
    let (expression, there) = place(&leaf.steps)?;
    let condition = match leaf.steps.last()? {
        Step::Each => {
            format!("[{}].containsAll({expression}) && !{expression}.isEmpty()", listed(texts))
        }
        Step::Member(_) => format!("[{}].contains({expression})", listed(texts)),
    };
    (!texts.is_empty()).then(|| format!("if {there} then {condition} else true"))
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
        "if {there} then context.scope has {key} && context.scope[{key}] == {values} \
         else !(context.scope has {key})"
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
