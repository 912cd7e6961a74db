//! Where a plant goes: beside a text that the call which is to meet it finds.

use crate::site::Site;
use countersign_core::tool::{Plan, Tool};
use countersign_posture::Loaded;
use countersign_posture::evals::{Caller, Plant};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A tool of the posture, whoever was granted it.
pub(crate) fn tool<'l>(loaded: &'l Loaded, name: &str) -> Option<&'l Arc<Tool>> {
    let agents = loaded.posture.agents.values();
    let mut grants = agents.flat_map(|agent| &agent.grants);
    grants.find(|(known, _)| known.as_str() == name).map(|(_, grant)| &grant.tool)
}

pub(crate) fn plant(
    site: &mut Site<'_>,
    loaded: &Loaded,
    (caller, plant): (&Caller, &Plant),
) -> Result<bool, String> {
    let Some(tool) = tool(loaded, &plant.tool) else { return Ok(false) };
    let arguments = bound(tool, caller, &plant.arguments);
    match &tool.plan {
        Plan::Sql(plan) => {
            let sql = written_out(&plan.statement, &arguments);
            site.plant(tool.system.as_str(), &sql, &plant.text)
        }
        Plan::Http(_) => Ok(site.plant_answer(tool.system.as_str(), &caller.tenant, &plant.text)),
        Plan::Email(_) | Plan::Mcp(_) => Ok(false),
    }
}

/// The arguments as the tool's statement gets them: with what is the caller's own put in.
pub(crate) fn bound(tool: &Tool, caller: &Caller, sent: &Map<String, Value>) -> Map<String, Value> {
    use countersign_core::principal::CallerRef;
    use countersign_core::scope::ScopeRule;
    let mut arguments = sent.clone();
    for rule in &tool.scope {
        if let ScopeRule::Bind { name, caller: what } = rule {
            let value = match what {
                CallerRef::Tenant => Some(caller.tenant.clone()),
                CallerRef::Subject => caller.user.clone(),
                CallerRef::Actor => None,
                CallerRef::Attribute(name) => {
                    caller.claims.get(name).and_then(|values| values.first().cloned())
                }
            };
            if let Some(value) = value {
                arguments.insert(name.clone(), Value::from(value));
            }
        }
    }
    arguments
}

/// A statement with its values in it.
pub(crate) fn written_out(statement: &str, arguments: &Map<String, Value>) -> String {
    placeholders(statement).into_iter().fold(String::new(), |mut text, part| {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Name(name) => text.push_str(&literal(arguments.get(name))),
        }
        text
    })
}

fn literal(value: Option<&Value>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match value {
        None | Some(Value::Null) => "null".to_owned(),
        Some(Value::Bool(value)) => i32::from(*value).to_string(),
        Some(Value::Number(value)) => value.to_string(),
        Some(Value::String(text)) => quoted(text),
        Some(value) => quoted(&value.to_string()),
    }
}

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    /// As it is.
    Text(&'t str),
    /// A placeholder's name.
    Name(&'t str),
}

/// A statement in its parts. What stands in quotes or in a remark is no placeholder.
pub(crate) fn placeholders(statement: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    let rest = |at: usize| statement.get(at..).unwrap_or_default();
    while let Some(c) = rest(at).chars().next() {
        let tail = rest(at);
        let skipped = match c {
            '\'' | '"' | '`' => {
                tail.get(1..).and_then(|tail| tail.find(c)).map(|end| end.saturating_add(2))
            }
            '-' if tail.starts_with("--") => tail.find('\n'),
            '/' if tail.starts_with("/*") => tail.find("*/").map(|end| end.saturating_add(2)),
            ':' => {
                let name = tail.get(1..).unwrap_or_default();
                let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
                if !name.is_empty() {
                    parts.push(Part::Text(statement.get(from..at).unwrap_or_default()));
                    parts.push(Part::Name(name));
                    from = at.saturating_add(name.len()).saturating_add(1);
                }
                Some(name.len().saturating_add(1))
            }
            _ => Some(c.len_utf8()),
        };
        at = at.saturating_add(skipped.unwrap_or(tail.len()));
    }
    parts.push(Part::Text(rest(from)));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_placeholders_outside_of_quotes_are_filled() {
        let sql = "select ':a', x /* :a */ from t where b = :b and c ->> 'd' = :c -- :a\nlimit :n";
        let filled = written_out(sql, json!({"a": 1, "b": "it's", "n": 3}).as_object().unwrap());
        assert_eq!(
            filled,
            "select ':a', x /* :a */ from t where b = 'it''s' and c ->> 'd' = null -- :a\nlimit 3"
        );
    }
}
