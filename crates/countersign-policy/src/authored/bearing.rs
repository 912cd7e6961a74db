//! What of a policy the caller alone decides. A condition is mostly "who and what": where the who does
//! not hold, the what need not be asked, for as long as the caller is the same.
//!
//! Only of a policy that cannot err: one that does has to, whoever calls.

use cedar_policy::Policy;
use serde_json::{Value, json};

/// The policy with those of its conditions alone that neither arguments nor time can change. Where
/// that one does not apply, neither does the policy. `None` if there are none, or if it may err.
pub(crate) fn caller_part(policy: &Policy) -> Option<Policy> {
    let mut written = policy.to_json().ok()?;
    let conditions = written.get_mut("conditions")?.as_array_mut()?;
    let mut parts = Vec::new();
    for condition in conditions.iter() {
        let (kind, body) = (condition.get("kind")?.as_str()?, condition.get("body")?);
        if !is_total(body) {
            return None;
        }
        let mut of_caller = Vec::new();
        match kind {
            "when" => conjuncts(body, &mut of_caller),
            "unless" if is_of_caller(body) => of_caller.push(body),
            "unless" => {}
            _ => return None,
        }
        let of_caller = of_caller.into_iter();
        parts.extend(of_caller.map(|body| json!({ "kind": kind, "body": body })));
    }
    if parts.is_empty() {
        return None;
    }
    *conditions = parts;
    Policy::from_json(Some(policy.id().clone()), written).ok()
}

/// Those parts of a conjunction that are of the caller alone: each of them has to hold.
fn conjuncts<'a>(body: &'a Value, of_caller: &mut Vec<&'a Value>) {
    let both = body.get("&&").and_then(|and| Some((and.get("left")?, and.get("right")?)));
    match both {
        Some((left, right)) => {
            conjuncts(left, of_caller);
            conjuncts(right, of_caller);
        }
        None if is_of_caller(body) => of_caller.push(body),
        None => {}
    }
}

/// Whether an expression asks about neither arguments nor time: the action and the tool are the same
/// wherever the caller is asked about.
fn is_of_caller(expression: &Value) -> bool {
    match expression {
        Value::Object(members) => {
            members.get("Var").is_none_or(|name| name != "context")
                && members.values().all(is_of_caller)
        }
        Value::Array(all) => all.iter().all(is_of_caller),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Whether an expression that fits its schema comes out whatever it is asked with: no arithmetic,
/// which may overflow, no function, no tag that may be missing. By what it may hold, as Cedar's JSON
/// names it, so that what is new there is not taken for harmless.
fn is_total(expression: &Value) -> bool {
    let Some((name, of)) = expression.as_object().and_then(|all| all.iter().next()) else {
        return false;
    };
    let part = |name: &str| of.get(name).is_some_and(is_total);
    match name.as_str() {
        "Value" | "Var" => true,
        "!" | "isEmpty" => part("arg"),
        "." | "has" | "like" => part("left"),
        "==" | "!=" | "<" | "<=" | ">" | ">=" | "&&" | "||" | "contains" | "containsAll"
        | "containsAny" | "in" => part("left") && part("right"),
        "if-then-else" => part("if") && part("then") && part("else"),
        "Set" => of.as_array().is_some_and(|all| all.iter().all(is_total)),
        _ => false,
    }
}
