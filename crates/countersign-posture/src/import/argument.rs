//! A JSON Schema of somebody else's → an argument with the bounds that it has.

use super::{Argument, Inner, argument_name, described, items, object, quoted, text};
use crate::bound::{DRAFT_DEPTH_MAX, DRAFT_ENUM_MAX, DRAFT_NODES_MAX, LINE_BYTES_MAX};
use crate::input::identifier;
use countersign_core::bound::SAFE_INTEGER_MAX;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Reads the schemas of one document.
pub(super) struct Schemas<'a> {
    /// What `#/…` leads into.
    root: &'a Value,
    /// How many more places will be looked at: schemas that hold one another grow without end.
    left: usize,
    /// The references that are being followed.
    within: Vec<String>,
}

/// Most steps from a reference to what it stands for.
const REFERENCES_MAX: usize = 16;
/// What is said where a draft ends before its source does.
const MORE: &str = "there is more of it than a draft takes";
/// Texts whose form says all that they may be.
const FORMS: [(&str, &str); 3] = [
    ("uuid", "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"),
    ("date", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    ("ipv4", "^[0-9]{1,3}(?:\\.[0-9]{1,3}){3}$"),
];

impl<'a> Schemas<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, left: DRAFT_NODES_MAX, within: Vec::new() }
    }

    /// What a `$ref` stands for, or the value itself. `Err` says why that is not known.
    pub(super) fn resolved<'s>(&self, value: &'s Value) -> Result<&'s Value, String>
    where
        'a: 's,
    {
        let mut at = value;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = text(at, "$ref") else { return Ok(at) };
            let pointer = reference
                .strip_prefix('#')
                .ok_or_else(|| format!("`{}` is in another document", super::comment(reference)))?;
            at = self
                .root
                .pointer(pointer)
                .ok_or_else(|| format!("`{}` leads nowhere", super::comment(reference)))?;
        }
        Err("its references go round in a circle".to_owned())
    }

    /// The argument that a schema allows.
    pub(super) fn argument(&mut self, schema: &Value) -> Argument {
        self.at(schema, 0)
    }

    fn at(&mut self, schema: &Value, depth: usize) -> Argument {
        let unknown = |why: String| Argument { missing: vec![why], ..Argument::default() };
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return unknown(MORE.to_owned());
        }
        if depth > DRAFT_DEPTH_MAX {
            return unknown("type: it goes deeper than a draft does".to_owned());
        }
        let Some(reference) = text(schema, "$ref") else { return self.inside(schema, depth) };
        if self.within.iter().any(|known| known == reference) {
            let reference = super::comment(reference);
            return unknown(format!("type: it holds itself, at `{reference}`"));
        }
        self.within.push(reference.to_owned());
        let argument = self.inside(schema, depth);
        self.within.pop();
        argument
    }

    fn inside(&mut self, schema: &Value, depth: usize) -> Argument {
        let unknown = |why: String| Argument { missing: vec![why], ..Argument::default() };
        let merged = match self.merged(schema, 0) {
            Ok(merged) => Value::Object(merged),
            Err(why) => return unknown(format!("type: {why}")),
        };
        let mut argument = Argument::default();
        let types = types(&merged);
        match types.as_slice() {
            ["string"] => string(&merged, &mut argument),
            [kind @ ("integer" | "number")] => number(&merged, kind, &mut argument),
            ["boolean"] => argument.key("type", "boolean"),
            ["array"] => self.array(&merged, depth, &mut argument),
            ["object"] => self.object(&merged, depth, &mut argument),
            [] => {
                let forms = ["anyOf", "oneOf"].iter().any(|key| merged.get(key).is_some());
                let what = if forms { "takes several forms" } else { "does not say" };
                argument.missing.push(format!("type: the source {what}"));
            }
            several => {
                argument.missing.push(format!("type: the source takes {}", several.join(" or ")))
            }
        }
        if let Some(Ok(words)) = text(&merged, "description").map(described) {
            argument.key("description", quoted(&words));
        }
        argument
    }

    /// A schema with what it refers to, and all parts of which it must fit each, as one.
    fn merged(&mut self, schema: &Value, depth: usize) -> Result<Map<String, Value>, String> {
        if depth > REFERENCES_MAX {
            return Err("its parts go round in a circle".to_owned());
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Err(MORE.to_owned());
        }
        let here = self.resolved(schema)?;
        let Some(object) = here.as_object() else { return Err("it is no schema".to_owned()) };
        let mut merged: Map<String, Value> = object
            .iter()
            .filter(|(key, _)| *key != "allOf")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for part in items(here, "allOf") {
            for (key, value) in self.merged(part, depth.saturating_add(1))? {
                match (merged.get_mut(&key), value) {
                    (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                    (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
                    (Some(_), _) => {}
                    (None, value) => drop(merged.insert(key, value)),
                }
            }
        }
        // One form beside null is that form.
        for key in ["anyOf", "oneOf"] {
            let forms = items(here, key).filter(|form| text(form, "type") != Some("null"));
            if let [form] = forms.collect::<Vec<_>>()[..] {
                for (key, value) in self.merged(form, depth.saturating_add(1))? {
                    merged.entry(key).or_insert(value);
                }
            }
        }
        Ok(merged)
    }

    fn array(&mut self, schema: &Value, depth: usize, argument: &mut Argument) {
        argument.key("type", "array");
        for key in ["minItems", "maxItems"] {
            size(schema, key, argument);
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            argument.key("uniqueItems", "true");
        }
        if schema.get("maxItems").and_then(Value::as_u64).is_none() {
            argument.missing.push("maxItems".to_owned());
        }
        match schema.get("items") {
            Some(of) => {
                let items = self.at(of, depth.saturating_add(1));
                argument.inner = Some(Inner::Items(Box::new(items)));
            }
            None => argument.missing.push("items".to_owned()),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize, argument: &mut Argument) {
        argument.key("type", "object");
        let required: BTreeSet<&str> =
            items(schema, "required").filter_map(Value::as_str).collect();
        let mut members = Vec::new();
        for (name, of) in object(schema, "properties") {
            if of.get("readOnly") == Some(&Value::Bool(true)) {
                continue;
            }
            if self.left == 0 {
                argument.missing.push(MORE.to_owned());
                break;
            }
            if identifier(name).is_some() {
                let what = format!("`{}` is no name here, and was left out", super::comment(name));
                argument.missing.push(what);
                continue;
            }
            let mut member = self.at(of, depth.saturating_add(1));
            member.optional = !required.contains(name.as_str());
            members.push((name.clone(), member));
        }
        if members.is_empty() {
            argument.missing.push("properties: the source names none".to_owned());
        } else {
            argument.inner = Some(Inner::Members(members));
        }
    }
}

/// The types of a schema but null; of one that does not say, what its keywords speak of.
fn types(schema: &Value) -> Vec<&str> {
    let said = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ if schema.get("items").is_some() => vec!["array"],
        _ if items(schema, "enum").next().is_some_and(Value::is_string) => vec!["string"],
        _ => Vec::new(),
    };
    said.into_iter().filter(|kind| *kind != "null").collect()
}

fn string(schema: &Value, argument: &mut Argument) {
    argument.key("type", "string");
    let constants: Vec<_> = items(schema, "enum").filter_map(Value::as_str).collect();
    let constants = constants.iter().copied().chain(text(schema, "const"));
    let constants: Vec<_> = constants.filter(|value| plain(value)).collect();
    let format = text(schema, "format");
    let form = FORMS.iter().find(|(name, _)| Some(*name) == format);
    match text(schema, "pattern") {
        _ if (1..=DRAFT_ENUM_MAX).contains(&constants.len()) => {
            let values: Vec<_> = constants.iter().map(|value| quoted(value)).collect();
            return argument.key("enum", format!("[{}]", values.join(", ")));
        }
        _ if constants.len() > DRAFT_ENUM_MAX => {
            let what = format!("enum: those that are meant of the source's {}", constants.len());
            argument.missing.push(what);
        }
        _ if format == Some("email") => argument.key("format", "email"),
        Some(pattern) if plain(pattern) => argument.key("pattern", quoted(pattern)),
        _ => match form {
            Some((_, pattern)) => argument.key("pattern", quoted(pattern)),
            None => {
                let what = "enum, pattern, or `text: true` for free text";
                argument.missing.push(match format {
                    Some(format) => format!("{what}; the source says `{}`", super::comment(format)),
                    None => what.to_owned(),
                });
            }
        },
    }
    size(schema, "minLength", argument);
    size(schema, "maxLength", argument);
    let says = |key| schema.get(key).is_some();
    let bounded = says("maxLength") || says("pattern") || form.is_some() || format == Some("email");
    if !bounded {
        argument.missing.push("maxLength".to_owned());
    }
}

/// Whether a text can stand in a draft.
fn plain(text: &str) -> bool {
    text.len() <= LINE_BYTES_MAX
        && !text.trim().is_empty()
        && !text.contains(['\n', '\r'])
        && super::one_line(text).len()
            == text.split_whitespace().collect::<Vec<_>>().join(" ").len()
}

fn size(schema: &Value, key: &'static str, argument: &mut Argument) {
    if let Some(size) = schema.get(key).and_then(Value::as_u64) {
        argument.key(key, size.to_string());
    }
}

fn number(schema: &Value, kind: &str, argument: &mut Argument) {
    argument.key("type", kind);
    let constants = items(schema, "enum").chain(schema.get("const"));
    let constants: Vec<_> = constants.filter(|value| value.is_number()).collect();
    if (1..=DRAFT_ENUM_MAX).contains(&constants.len()) {
        let values: Vec<_> = constants.iter().map(ToString::to_string).collect();
        return argument.key("enum", format!("[{}]", values.join(", ")));
    }
    let whole = kind == "integer";
    for (key, beyond, step) in
        [("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)]
    {
        // Of OpenAPI 3.0 `exclusiveMinimum` is a truth value.
        let excluded = schema.get(beyond) == Some(&Value::Bool(true));
        let bound = match (schema.get(key), schema.get(beyond)) {
            (Some(value), _) => bound(value, if excluded { step } else { 0 }, whole),
            (None, Some(value)) => bound(value, step, whole),
            (None, None) => None,
        };
        match bound {
            Some(bound) => argument.key(key, bound),
            None => argument.missing.push(key.to_owned()),
        }
    }
}

/// A bound, moved by a step where it is excluded; only of whole numbers it is known by how much.
fn bound(value: &Value, step: i64, whole: bool) -> Option<String> {
    let safe = |number: &i64| (-SAFE_INTEGER_MAX..=SAFE_INTEGER_MAX).contains(number);
    match (value.as_i64(), whole) {
        (Some(number), true) => number.checked_add(step).filter(safe).map(|n| n.to_string()),
        (Some(number), false) if step == 0 => Some(number).filter(safe).map(|n| n.to_string()),
        (None, false) if step == 0 => {
            value.as_f64().filter(|n| n.is_finite()).map(|n| n.to_string())
        }
        _ => None,
    }
}

/// The members of an object as arguments of their own: by the source's name, with the argument's.
pub(super) fn members(
    schemas: &mut Schemas<'_>,
    schema: &Value,
    taken: &mut BTreeSet<String>,
) -> Option<Vec<(String, String, Argument)>> {
    let merged = Value::Object(schemas.merged(schema, 0).ok()?);
    if types(&merged) != ["object"] || merged.get("properties").is_none() {
        return None;
    }
    let required: BTreeSet<&str> = items(&merged, "required").filter_map(Value::as_str).collect();
    let mut found = Vec::new();
    for (name, of) in object(&merged, "properties").take(DRAFT_NODES_MAX) {
        if of.get("readOnly") == Some(&Value::Bool(true)) {
            continue;
        }
        let mut argument = schemas.argument(of);
        argument.optional = !required.contains(name.as_str());
        found.push((name.clone(), argument_name(name, taken), argument));
    }
    Some(found)
}
