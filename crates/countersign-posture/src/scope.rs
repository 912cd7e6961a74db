//! `scope:` of a tool: which argument is tied to which part of the caller.

use crate::decode::{Decoder, Item};
use crate::email::decode_domains;
use crate::finding::{Code, did_you_mean};
use crate::input::{Argument, Arguments, identifier};
use crate::look_up::{self, LookUpEntry};
use crate::node::{Entry, Span};
use crate::posture::caller;
use countersign_core::bound::LOOK_UP_VALUES_MAX;
use countersign_core::scope::{ArgumentPath, Asks, ResultRule, ScopeRule, Step};
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
    /// What a system has to confirm; such an entry has no rule.
    pub(crate) look_up: Option<LookUpEntry>,
    pub(crate) span: Span,
}

impl ScopeEntry {
    /// Whether it says whose its argument is: a rule with a mistake in it does not.
    pub(crate) fn is_whole(&self) -> bool {
        self.rule.is_some() || self.look_up.as_ref().is_some_and(|entry| entry.path.is_some())
    }
}

/// Reads `result:`: by column, whose value every row must carry.
pub(crate) fn decode_result(
    decoder: &mut Decoder,
    item: Item<'_>,
    attributes: Option<&BTreeSet<String>>,
) -> Option<Vec<ResultRule>> {
    let entries = decoder.entries(item).unwrap_or_default();
    let rules = entries.iter().map(|Entry { key, key_span, value }| {
        if let Some(problem) = identifier(key) {
            decoder.report(Code::BadName, *key_span, format!("`{key}` {problem}"));
        }
        let caller = caller(decoder, Item { name: key, node: value }, attributes)?;
        Some(ResultRule { column: key.clone(), caller })
    });
    // All of them are read, so that every mistake is told.
    rules.collect::<Vec<_>>().into_iter().collect()
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
    let mut found =
        ScopeEntry { rule: None, path, argument, binds: false, look_up: None, span: *key_span };
    let item = Item { name: key, node: value };
    let Some(mut fields) = decoder.fields(item) else { return found };
    let equals = fields.optional("equals").map(|item| caller(decoder, item, attributes));
    let within = fields.optional("in").map(|item| caller(decoder, item, attributes));
    let bind = fields.optional("bind").map(|item| caller(decoder, item, attributes));
    let owned = fields.optional("owned").map(|item| (item, Asks::Owned));
    let allowed = fields.optional("allowed").map(|item| (item, Asks::Allowed));
    let domains = fields.optional("domains").map(|item| decode_domains(decoder, item));
    fields.finish(decoder);
    if let (Some(domains), None, None, None, None, None) =
        (&domains, &equals, &within, &bind, owned, allowed)
    {
        let path = check_path(decoder, entry, arguments, Compares::Addresses);
        let rule = path.zip(domains.clone());
        found.rule = rule.map(|(path, domains)| ScopeRule::Domains { path, domains });
        return found;
    }
    // Beside `domains` no other rule counts.
    let asks = owned.xor(allowed).filter(|_| domains.is_none());
    match (equals, within, bind, asks) {
        (Some(caller), None, None, None) => {
            let path = check_path(decoder, entry, arguments, Compares::Claims);
            found.rule = path.zip(caller).map(|(path, caller)| ScopeRule::Equals { path, caller });
        }
        (None, Some(caller), None, None) => {
            let path = check_path(decoder, entry, arguments, Compares::Claims);
            found.rule = path.zip(caller).map(|(path, caller)| ScopeRule::In { path, caller });
        }
        (None, None, Some(caller), None) => {
            check_bound(decoder, key, *key_span, arguments);
            found.binds = true;
            found.rule = caller.map(|caller| ScopeRule::Bind { name: key.clone(), caller });
        }
        (None, None, None, Some((item, asks))) => {
            let path = check_path(decoder, entry, arguments, Compares::Systems);
            found.look_up = look_up::decode(decoder, item, asks, path);
        }
        _ => {
            let message = format!(
                "the rule for `{key}` needs one of `equals`, `in`, `bind`, `owned`, `allowed` and `domains`"
            );
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

/// What an identifier is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compares {
    /// Claims, which are texts.
    Claims,
    /// What a system says, at most [`LOOK_UP_VALUES_MAX`] times a call.
    Systems,
    /// Domains of addresses.
    Addresses,
}

/// The path, if what it leads to is always there and can be compared.
fn check_path(
    decoder: &mut Decoder,
    Entry { key: text, key_span, .. }: &Entry,
    arguments: &Arguments,
    compares: Compares,
) -> Option<ArgumentPath> {
    let span = *key_span;
    let Some(path) = ArgumentPath::parse(text) else {
        decoder.report(Code::ScopePath, span, format!("`{text}` is no path to an argument"));
        decoder.help("paths look like `a`, `a.b`, `a[].b` and `a[]`");
        return None;
    };
    let Err((code, message)) = follow(&path, arguments, compares) else { return Some(path) };
    decoder.report(code, span, format!("`{text}` {message}"));
    if code == Code::ScopePath {
        decoder.helped(did_you_mean(text, arguments.keys().map(String::as_str)));
    } else if code == Code::LookUpBound {
        decoder.help("lower `maxItems`");
    }
    None
}

type Astray = (Code, &'static str);

fn follow(path: &ArgumentPath, arguments: &Arguments, compares: Compares) -> Result<(), Astray> {
    const MISSING: Astray = (Code::ScopePath, "is nothing that the input declares");
    let Some((Step::Member(first), rest)) = path.steps().split_first() else {
        return Err(MISSING);
    };
    let Argument { schema, optional, .. } = arguments.get(first).ok_or(MISSING)?;
    let mut required = !optional;
    let mut values: u64 = 1;
    // Something else is wrong with the argument: that has been said.
    let Some(mut schema) = schema.as_ref() else { return Ok(()) };
    for step in rest {
        schema = match step {
            Step::Each => {
                let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
                values = values.saturating_mul(most);
                schema.get("items")
            }
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
    match (compares, schema.get("type").and_then(Value::as_str)) {
        (Compares::Addresses, _) => match schema.get("format").and_then(Value::as_str) {
            Some("email") => Ok(()),
            _ => Err((Code::ScopeType, "is no mail address, and only those have a domain")),
        },
        (Compares::Claims, Some("string")) => Ok(()),
        (Compares::Claims, _) => {
            Err((Code::ScopeType, "is no string, and only strings can be compared with claims"))
        }
        (Compares::Systems, Some("string" | "integer"))
            if usize::try_from(values).is_ok_and(|values| values <= LOOK_UP_VALUES_MAX) =>
        {
            Ok(())
        }
        (Compares::Systems, Some("string" | "integer")) => {
            const _: () = assert!(LOOK_UP_VALUES_MAX == 32, "the message says so");
            Err((
                Code::LookUpBound,
                "may be more than the 32 identifiers that one call may ask about",
            ))
        }
        (Compares::Systems, _) => Err((
            Code::ScopeType,
            "is neither a string nor an integer, and only those are looked up",
        )),
    }
}
