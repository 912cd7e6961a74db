//! What of a request is said once more in its headers (2026-07-28, basic/transports/streamable-http).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most arguments that are mirrored.
const MIRRORED_MAX: usize = 32;

/// An argument that is mirrored: the header, and the members that lead to it.
pub(super) type Mirror = (HeaderName, Vec<String>);

/// Which arguments a tool's input schema says are mirrored.
///
/// # Errors
/// It says so in a way that clients must not follow.
pub(super) fn mirrors(schema: &Value) -> Result<Vec<Mirror>, String> {
    let mut found = Vec::new();
    gather(schema, &mut Vec::new(), &mut found)?;
    let names: BTreeSet<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < found.len() || found.len() > MIRRORED_MAX {
        return Err("its `x-mcp-header`s are too many, or two are alike".to_owned());
    }
    let everywhere = count(schema);
    if everywhere != found.len() {
        return Err("an `x-mcp-header` stands where no property of the input is".to_owned());
    }
    Ok(found)
}

const KEY: &str = "x-mcp-header";

fn gather(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirror>) -> Result<(), String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property.get(KEY) {
            let scalar = matches!(
                property.get("type").and_then(Value::as_str),
                Some("string" | "integer" | "boolean")
            );
            let header = header.as_str().filter(|text| scalar && !text.is_empty());
            let header =
                header.and_then(|text| HeaderName::try_from(format!("Mcp-Param-{text}")).ok());
            let header = header.ok_or("an `x-mcp-header` cannot be sent")?;
            found.push((header, path.clone()));
        }
        gather(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How often the key stands anywhere as a keyword of a schema; a property may be called so.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                (KEY, _) => 1,
                ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                    named.values().map(count).sum()
                }
                ("enum" | "const" | "default" | "examples", _) => 0,
                (_, value) => count(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The headers of a request's arguments. One that is not there is left out.
pub(super) fn mirrored(
    mirrors: &[Mirror],
    params: &Map<String, Value>,
) -> Vec<(HeaderName, HeaderValue)> {
    let arguments = params.get("arguments");
    let headers = mirrors.iter().filter_map(|(name, path)| {
        let value = path.iter().try_fold(arguments?, |value, member| value.get(member))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name.clone(), plain(&text)?))
    });
    headers.collect()
}

/// A text as a header's value: as it is, or in Base64 between marks if it could not stand so.
pub(super) fn plain(text: &str) -> Option<HeaderValue> {
    let stands = !text.is_empty()
        && text.trim() == text
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    let encoded = || format!("=?base64?{}?=", STANDARD.encode(text));
    if stands { HeaderValue::from_str(text).ok() } else { HeaderValue::from_str(&encoded()).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_mirrored_where_the_schema_says_so_and_nowhere_else() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "x-mcp-header": {"type": "string"},
        }});
        let mirrors = mirrors(&schema).unwrap();
        let params = json!({"name": "t", "arguments": {"region": "Zürich", "deep": {"n": 7}}});
        let headers = mirrored(&mirrors, params.as_object().unwrap());
        let mut headers: Vec<_> =
            headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        headers.sort();
        assert_eq!(headers, ["mcp-param-n: 7", "mcp-param-region: =?base64?WsO8cmljaA==?="]);
        for odd in [
            json!({"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "A\r\nB"}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": 7}}}),
            json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}}),
            json!({"properties": {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}}),
            json!({"allOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]}),
        ] {
            assert!(super::mirrors(&odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_text_that_cannot_stand_in_a_header_is_marked() {
        for (text, value) in [
            ("us-west", "us-west"),
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("", "=?base64??="),
            ("a\r\nX: y", "=?base64?YQ0KWDogeQ==?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(plain(text).unwrap(), value, "{text:?}");
        }
    }
}
