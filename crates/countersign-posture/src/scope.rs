//! `scope:` of a tool: which argument is tied to which part of the caller.

use crate::decode::{Decoder, Item};
use crate::finding::{Code, did_you_mean};
use crate::input::{Argument, Arguments, identifier};
use crate::node::{Entry, Span};
use crate::posture::caller;
use countersign_core::scope::{ArgumentPath, ScopeRule, Step};
use serde_json::Value;
use std::collections::BTreeSet;

/// One rule and where it is written.
#[derive(Debug)]
pub(crate) struct ScopeEntry {
    /// `None` if something is wrong with it.
    pub(crate) rule: Option<ScopeRule>,
    /// As it is written.
    pub(crate) path: String,
    /// The argument that it speaks of, or the name that it binds.
    pub(crate) argument: String,
    pub(crate) binds: bool,
    pub(crate) span: Span,
}

/// Reads `scope:`, to hold over `arguments`.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    arguments: &Arguments,
    attributes: Option<&BTreeSet<String>>,
) -> Vec<ScopeEntry> {
    let entries = decoder.entries(item).unwrap_or_default();
    entries.iter().map(|entry| decode_rule(decoder, entry, arguments, attributes)).collect()
}

fn decode_rule(
    decoder: &mut Decoder,
    entry: &Entry,
    arguments: &Arguments,
    attributes: Option<&BTreeSet<String>>,
) -> ScopeEntry {
    let Entry { key, key_span, value } = entry;
    let argument = key.split(['.', '[']).next().unwrap_or_default().to_owned();
    let path = key.clone();
    let mut found = ScopeEntry { rule: None, path, argument, binds: false, span: *key_span };
    let item = Item { name: key, node: value };
    let Some(mut fields) = decoder.fields(item) else { return found };
    let equals = fields.optional("equals").map(|item| caller(decoder, item, attributes));
    let within = fields.optional("in").map(|item| caller(decoder, item, attributes));
    let bind = fields.optional("bind").map(|item| caller(decoder, item, attributes));
    fields.finish(decoder);
    match (equals, within, bind) {
        (Some(caller), None, None) => {
            let path = check_path(decoder, key, *key_span, arguments);
            found.rule = path.zip(caller).map(|(path, caller)| ScopeRule::Equals { path, caller });
        }
        (None, Some(caller), None) => {
            let path = check_path(decoder, key, *key_span, arguments);
            found.rule = path.zip(caller).map(|(path, caller)| ScopeRule::In { path, caller });
        }
        (None, None, Some(caller)) => {
            check_bound(decoder, key, *key_span, arguments);
            found.binds = true;
            found.rule = caller.map(|caller| ScopeRule::Bind { name: key.clone(), caller });
        }
        _ => {
            let message = format!("the rule for `{key}` needs one of `equals`, `in` and `bind`");
            decoder.report(Code::BadValue, *key_span, message);
        }
    }
    found
}

fn check_bound(decoder: &mut Decoder, name: &str, span: Span, arguments: &Arguments) {
    if arguments.contains_key(name) {
        let message = format!("`{name}` is bound, and the input declares it for the model to send");
        decoder.report(Code::BindDeclared, span, message);
        decoder.help("take it out of `input`, or use `equals`");
    } else if let Some(problem) = identifier(name) {
        decoder.report(Code::BadName, span, format!("`{name}` {problem}"));
    }
}

/// The path, if what it leads to is a string that is always there.
fn check_path(
    decoder: &mut Decoder,
    text: &str,
    span: Span,
    arguments: &Arguments,
) -> Option<ArgumentPath> {
    let Some(path) = ArgumentPath::parse(text) else {
        decoder.report(Code::ScopePath, span, format!("`{text}` is no path to an argument"));
        decoder.help("paths look like `a`, `a.b`, `a[].b` and `a[]`");
        return None;
    };
    let Err((code, message)) = follow(&path, arguments) else { return Some(path) };
    decoder.report(code, span, format!("`{text}` {message}"));
    if code == Code::ScopePath {
        decoder.helped(did_you_mean(text, arguments.keys().map(String::as_str)));
    }
    None
}

type Astray = (Code, &'static str);

fn follow(path: &ArgumentPath, arguments: &Arguments) -> Result<(), Astray> {
    const MISSING: Astray = (Code::ScopePath, "is nothing that the input declares");
    let Some((Step::Member(first), rest)) = path.steps().split_first() else {
        return Err(MISSING);
    };
    let Argument { schema, optional, .. } = arguments.get(first).ok_or(MISSING)?;
    let mut required = !optional;
    // Something else is wrong with the argument: that has been said.
    let Some(mut schema) = schema.as_ref() else { return Ok(()) };
    for step in rest {
        schema = match step {
            Step::Each => schema.get("items"),
            Step::Member(name) => {
                let names = schema.get("required").and_then(Value::as_array);
                required &= names.is_some_and(|names| names.iter().any(|found| found == name));
                schema.get("properties").and_then(|properties| properties.get(name))
            }
        }
        .ok_or(MISSING)?;
    }
    if !required {
        return Err((Code::ScopeOptional, "may be left out, and what is scoped must be there"));
    }
    if schema.get("type").and_then(Value::as_str) != Some("string") {
        return Err((
            Code::ScopeType,
            "is no string, and only strings can be compared with claims",
        ));
    }
    Ok(())
}
