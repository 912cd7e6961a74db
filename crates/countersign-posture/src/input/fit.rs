//! Whether anything fits a schema of ours at all, and how many values a call of it may hold: what
//! nobody can send, and what no door takes, is told before anybody tries.

use crate::input::Type;
use crate::schema;
use regex_syntax::hir::{Hir, HirKind, Look};
use serde_json::{Map, Value};

/// Why nothing fits `schema`, as what its argument's message says first.
pub(crate) fn nothing_fits(schema: &Map<String, Value>, kind: Type) -> Option<&'static str> {
    if let Some(values) = listed(schema) {
        // A schema that does not compile has been spoken of.
        let compiled = schema::compile(schema).ok()?;
        let none = values.iter().all(|value| !compiled.issues(value).is_empty());
        return none.then_some("no listed value meets the other keywords");
    }
    match kind {
        Type::String => no_text(schema),
        Type::Array => too_few(schema),
        Type::Integer | Type::Number | Type::Boolean | Type::Object => None,
    }
}

/// The values of `enum`, else that of `const`. An empty `enum` has been spoken of.
fn listed(schema: &Map<String, Value>) -> Option<&[Value]> {
    let listed = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    let listed = listed.or_else(|| schema.get("const").map(std::slice::from_ref));
    listed.filter(|values| !values.is_empty())
}

fn size(schema: &Map<String, Value>, keyword: &str) -> Option<u64> {
    schema.get(keyword).and_then(Value::as_u64)
}

fn no_text(schema: &Map<String, Value>) -> Option<&'static str> {
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    let parsed = regex_syntax::parse(pattern).ok()?;
    let Some((fewest, most)) = lengths(&parsed) else {
        return Some("no text matches the pattern");
    };
    let short = size(schema, "maxLength").is_some_and(|max| fewest > max);
    let long = size(schema, "minLength").zip(most).is_some_and(|(min, most)| most < min);
    (short || long).then_some("no text that matches the pattern has such a length")
}

/// The fewest and the most characters of what matches, the latter if there is a longest; `None` if
/// an expression is sure to match nothing.
fn lengths(expression: &Hir) -> Option<(u64, Option<u64>)> {
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => Some((0, Some(0))),
        HirKind::Literal(literal) => {
            let characters = String::from_utf8_lossy(&literal.0).chars().count();
            let characters = u64::try_from(characters).unwrap_or(u64::MAX);
            Some((characters, Some(characters)))
        }
        HirKind::Class(class) => (!class.is_empty()).then_some((1, Some(1))),
        HirKind::Repetition(repeated) => {
            let Some((fewest, most)) = lengths(&repeated.sub) else {
                return (repeated.min == 0).then_some((0, Some(0)));
            };
            let most = match (most, repeated.max) {
                (Some(0), _) => Some(0),
                (most, times) => most.zip(times).map(|(m, times)| m.saturating_mul(times.into())),
            };
            Some((fewest.saturating_mul(repeated.min.into()), most))
        }
        HirKind::Capture(group) => lengths(&group.sub),
        HirKind::Concat(parts) => in_a_row(parts),
        HirKind::Alternation(parts) => {
            let ways = parts.iter().filter_map(lengths);
            ways.reduce(|(fewest, most), (few, many)| {
                (fewest.min(few), most.zip(many).map(|(one, other)| one.max(other)))
            })
        }
    }
}

/// Nothing stands after the end or before the start.
fn in_a_row(parts: &[Hir]) -> Option<(u64, Option<u64>)> {
    let (mut fewest, mut most, mut ended) = (0u64, Some(0u64), false);
    for part in parts {
        let (few, many) = lengths(part)?;
        let seen = part.properties();
        if (ended && few > 0) || (fewest > 0 && seen.look_set_prefix().contains(Look::Start)) {
            return None;
        }
        ended |= seen.look_set_suffix().contains(Look::End);
        fewest = fewest.saturating_add(few);
        most = most.zip(many).map(|(one, other)| one.saturating_add(other));
    }
    Some((fewest, most))
}

fn too_few(schema: &Map<String, Value>) -> Option<&'static str> {
    if schema.get("uniqueItems") != Some(&Value::Bool(true)) {
        return None;
    }
    let different = different(schema.get("items")?.as_object()?)?;
    (size(schema, "minItems")? > different)
        .then_some("there are not as many different elements as `minItems` asks for")
}

/// How many different values fit, if few enough are sure to be all.
fn different(schema: &Map<String, Value>) -> Option<u64> {
    if schema.contains_key("const") {
        return Some(1);
    }
    if let Some(values) = listed(schema) {
        return u64::try_from(values.len()).ok();
    }
    match schema.get("type")?.as_str()? {
        "boolean" => Some(2),
        "integer" => {
            let bound = |keyword| schema.get(keyword).and_then(Value::as_i64);
            let more = bound("maximum")?.checked_sub(bound("minimum")?)?;
            u64::try_from(more).ok()?.checked_add(1)
        }
        _ => None,
    }
}

/// Most values that what fits can hold, every list, object and member counted.
pub(crate) fn values_max(schema: &Map<String, Value>) -> u64 {
    let inside = if let Some(Value::Object(items)) = schema.get("items") {
        values_max(items).saturating_mul(size(schema, "maxItems").unwrap_or(u64::MAX))
    } else if let Some(Value::Object(members)) = schema.get("properties") {
        let members = members.values().filter_map(Value::as_object).map(values_max);
        members.fold(0, u64::saturating_add)
    } else {
        0
    };
    inside.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn why(schema: Value) -> Option<&'static str> {
        let kind = match schema["type"].as_str() {
            Some("string") => Type::String,
            Some("array") => Type::Array,
            _ => Type::Integer,
        };
        let Value::Object(schema) = schema else { panic!("an object") };
        nothing_fits(&schema, kind)
    }

    #[test]
    fn what_nobody_can_send_is_told_from_what_somebody_can() {
        let flags = |min: u64, unique: bool| json!({"type": "array", "items": {"type": "boolean"}, "minItems": min, "maxItems": 5, "uniqueItems": unique});
        let steps = |max: i64| json!({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": max}, "minItems": 5, "maxItems": 5, "uniqueItems": true});
        for (nobody, somebody) in [
            (
                json!({"type": "string", "enum": ["abc"], "const": "d"}),
                json!({"type": "string", "enum": ["abc", "d"], "const": "d"}),
            ),
            (
                json!({"type": "string", "enum": ["abc"], "maxLength": 1}),
                json!({"type": "string", "enum": ["abc", "é"], "maxLength": 1}),
            ),
            (
                json!({"type": "integer", "const": 3, "maximum": 1}),
                json!({"type": "integer", "const": 3, "maximum": 3}),
            ),
            (
                json!({"type": "integer", "enum": [1, 2], "minimum": 5, "maximum": 9}),
                json!({"type": "integer", "enum": [1, 5], "minimum": 5, "maximum": 9}),
            ),
            (
                json!({"type": "string", "pattern": "^[a-z]{1,4}$", "minLength": 9}),
                json!({"type": "string", "pattern": "^[a-z]{1,9}$", "minLength": 9}),
            ),
            (
                json!({"type": "string", "pattern": "^[a-zé]{1,4}$", "maxLength": 0}),
                json!({"type": "string", "pattern": "^(é|bcd)$", "maxLength": 1}),
            ),
            (
                json!({"type": "string", "pattern": "^a$b$"}),
                json!({"type": "string", "pattern": "^(a$)(b?)$"}),
            ),
            (
                json!({"type": "string", "pattern": "^a^b$"}),
                json!({"type": "string", "pattern": "^^(a$|b$c)$"}),
            ),
            (
                json!({"type": "string", "pattern": "^[^\\s\\S]$"}),
                json!({"type": "string", "pattern": "^[^\\s\\S]?$"}),
            ),
            (flags(3, true), flags(2, true)),
            (flags(5, true), flags(5, false)),
            (steps(4), steps(5)),
        ] {
            assert!(why(nobody.clone()).is_some(), "{nobody}");
            assert_eq!(why(somebody.clone()), None, "{somebody}");
        }
    }

    #[test]
    fn every_list_and_member_of_a_full_call_counts() {
        let leaf = json!({"type": "boolean"});
        let list = |items: &Value, max: u64| json!({"items": items, "maxItems": max});
        for (schema, values) in [
            (leaf.clone(), 1),
            (list(&leaf, 5), 6),
            (list(&list(&leaf, 5), 3), 19),
            (list(&json!({"properties": {"a": leaf, "b": list(&leaf, 2)}}), 10), 51),
            (list(&list(&leaf, u64::MAX), u64::MAX), u64::MAX),
        ] {
            assert_eq!(values_max(schema.as_object().unwrap()), values, "{schema}");
        }
    }

    proptest! {
        #[test]
        fn a_text_that_fits_is_never_said_not_to_be(
            parts in proptest::collection::vec(
                proptest::sample::select(vec!["^", "$", "a", "[ab]{1,3}", "(b|)", "(a$|b)", "(^a)?", "é*"]),
                0..6,
            ),
            text in "[abé]{0,5}", low in 0u64..4, high in 0u64..6,
        ) {
            let pattern = format!("^{}$", parts.concat());
            let schema = json!({"type": "string", "pattern": pattern, "minLength": low, "maxLength": high});
            let compiled = schema::compile(schema.as_object().unwrap()).unwrap();
            if compiled.issues(&json!(text)).is_empty() {
                prop_assert_eq!(why(schema.clone()), None, "{} {}", schema, text);
            }
        }
    }
}
