//! The message of a tool's `call:`: to whom, and the author's words with arguments put in. An argument
//! stands in them as `{name}`; a brace that is meant is written twice.

use crate::bound::{LINE_BYTES_MAX, STATEMENT_BYTES_MAX};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::{Code, did_you_mean};
use crate::input::identifier;
use crate::request::Known;
use crate::scope::ScopeEntry;
use countersign_core::bound::RECIPIENTS_MAX;
use countersign_core::ladder::{Fragment, Phrase};
use countersign_core::scope::ScopeRule;
use countersign_core::tool::{Effect, EmailPlan, Parameter, ResultBounds};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;
use std::collections::BTreeSet;

/// A message as it is written.
#[derive(Debug)]
pub(crate) struct Message {
    /// Without time and bounds, which are the system's. `None` if something is wrong with it.
    pub(crate) plan: Option<EmailPlan>,
    /// The arguments and bound names that it uses.
    pub(crate) names: BTreeSet<String>,
    /// Which argument says to whom, as a scope rule would write it.
    pub(crate) to: Option<Spanned<String>>,
}

/// What may stand beside `to`.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    subject: Option<Item<'a>>,
    text: Option<Item<'a>>,
}

impl<'a> Words<'a> {
    pub(crate) fn take(fields: &mut Fields<'a>) -> Self {
        Self { subject: fields.optional("subject"), text: fields.optional("text") }
    }

    /// Reports them where there is no message.
    pub(crate) fn refuse(&self, decoder: &mut Decoder) {
        for item in [self.subject, self.text].into_iter().flatten() {
            let message = format!("`{}` has no part in a call without `to`", item.name);
            decoder.report(Code::BadValue, item.span(), message);
        }
    }
}

/// Reads a message.
pub(crate) fn decode(
    decoder: &mut Decoder,
    to: Item<'_>,
    words: &Words<'_>,
    known: &Known<'_>,
) -> Message {
    let mut names = BTreeSet::new();
    let recipient = recipient(decoder, to, known, &mut names);
    let mut part = |decoder: &mut Decoder, item: Option<Item<'_>>, key, max| {
        let Some(item) = item else {
            let message = format!("a message needs `{key}` beside `to`");
            decoder.report(Code::MissingKey, to.span(), message);
            return None;
        };
        let phrase = phrase(decoder, item, known, max)?;
        names.extend(phrase.0.iter().filter_map(named).map(str::to_owned));
        Some(phrase)
    };
    let subject = part(decoder, words.subject, "subject", LINE_BYTES_MAX);
    let text = part(decoder, words.text, "text", STATEMENT_BYTES_MAX);
    if let (Some(subject), Some(item)) = (&subject, words.subject) {
        check_subject(decoder, subject, item, known);
    }
    let to = recipient.as_ref().map(|(name, each)| {
        let path = format!("{name}{}", if *each { "[]" } else { "" });
        Spanned { value: path, span: to.span() }
    });
    let plan = || {
        Some(EmailPlan {
            to: recipient?.0,
            subject: subject?,
            text: text?,
            timeout_ms: 0,
            bounds: ResultBounds { rows_max: 0, bytes_max: 0 },
        })
    };
    Message { plan: plan(), names, to }
}

pub(crate) fn named(fragment: &Fragment) -> Option<&str> {
    match fragment {
        Fragment::Argument(parameter) => Some(&parameter.name),
        Fragment::Text(_) => None,
    }
}

/// The argument that says to whom, and whether it is a list.
fn recipient(
    decoder: &mut Decoder,
    item: Item<'_>,
    known: &Known<'_>,
    names: &mut BTreeSet<String>,
) -> Option<(String, bool)> {
    let text = decoder.line(item)?;
    let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let Some(name) = name.filter(|name| identifier(name).is_none()) else {
        let message = format!("`{text}` is no argument, and a message goes to what one says");
        decoder.report(Code::MessageRecipient, item.span(), message);
        decoder.help("write it as `\"{to}\"`, with an argument of `format: email`");
        return None;
    };
    let Some(argument) = known.arguments.get(name) else {
        unknown(decoder, item, name, known);
        return None;
    };
    names.insert(name.to_owned());
    // Something else is wrong with the argument: that has been said.
    let schema = argument.schema.as_ref()?;
    let is_address = |schema: &Value| schema.get("format").and_then(Value::as_str) == Some("email");
    let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let few = usize::try_from(most).is_ok_and(|most| most <= RECIPIENTS_MAX);
    let (why, help) = match schema.get("items") {
        _ if argument.optional => ("may be left out, and a message goes to somebody", "require it"),
        None if is_address(schema) => return Some((name.to_owned(), false)),
        Some(items) if is_address(items) && few => return Some((name.to_owned(), true)),
        Some(items) if is_address(items) => {
            const _: () = assert!(RECIPIENTS_MAX == 16, "the message says so");
            ("may be more than the 16 recipients of one message", "lower `maxItems`")
        }
        None | Some(_) => ("is no mail address", "declare it with `format: email`"),
    };
    decoder.report(Code::MessageRecipient, item.span(), format!("`{{{name}}}` {why}"));
    decoder.help(help);
    None
}

fn unknown(decoder: &mut Decoder, item: Item<'_>, name: &str, known: &Known<'_>) {
    let message = format!("`{{{name}}}` is neither an argument nor bound");
    decoder.report(Code::UnknownPlaceholder, item.span(), message);
    let names = known.arguments.keys().map(String::as_str).chain(known.bound.iter().copied());
    decoder.helped(did_you_mean(name, names));
}

/// A text with places for arguments.
pub(crate) fn phrase(
    decoder: &mut Decoder,
    item: Item<'_>,
    known: &Known<'_>,
    max: usize,
) -> Option<Phrase> {
    let text = decoder.text(item, max)?;
    let Some(fragments) = fragments(text) else {
        let message = format!("`{}` has a brace that is no part of `{{name}}`", item.name);
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("write a brace that is meant twice, as `{{`");
        return None;
    };
    let mut whole = true;
    let fragments = fragments.into_iter().map(|fragment| {
        let Fragment::Argument(Parameter { name, .. }) = fragment else { return fragment };
        let argument = known.arguments.get(&name);
        if argument.is_none() && !known.bound.contains(name.as_str()) {
            unknown(decoder, item, &name, known);
            whole = false;
        }
        let optional = argument.is_some_and(|argument| argument.optional);
        Fragment::Argument(Parameter { name, optional })
    });
    let fragments = fragments.collect();
    whole.then_some(Phrase(fragments))
}

/// `None` if a brace stands alone.
fn fragments(text: &str) -> Option<Vec<Fragment>> {
    let mut fragments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at_checked(at)?;
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else {
            let (name, after) = from.strip_prefix('{')?.split_once('}')?;
            if identifier(name).is_some() {
                return None;
            }
            if !literal.is_empty() {
                fragments.push(Fragment::Text(std::mem::take(&mut literal)));
            }
            let name = name.to_owned();
            fragments.push(Fragment::Argument(Parameter { name, optional: false }));
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        fragments.push(Fragment::Text(literal));
    }
    Some(fragments)
}

/// A subject is one line, whatever is put into it.
fn check_subject(decoder: &mut Decoder, subject: &Phrase, item: Item<'_>, known: &Known<'_>) {
    for fragment in &subject.0 {
        let name = match fragment {
            Fragment::Text(text) if text.contains(is_break) => {
                decoder.report(
                    Code::MessageSubject,
                    item.span(),
                    "`subject` is more than one line",
                );
                continue;
            }
            Fragment::Text(_) => continue,
            Fragment::Argument(parameter) => &parameter.name,
        };
        let schema = known.arguments.get(name).and_then(|argument| argument.schema.as_ref());
        if schema.is_some_and(may_break) {
            let message = format!("`{{{name}}}` may hold a line break, and a subject is one line");
            decoder.report(Code::MessageSubject, item.span(), message);
            decoder
                .help("give it a `pattern` without line breaks: `^[^\\p{C}\\p{Zl}\\p{Zp}]{1,80}$`");
        }
    }
}

/// What ends a line, for some reader.
const BREAKS: [char; 7] = ['\n', '\u{b}', '\u{c}', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

fn is_break(c: char) -> bool {
    BREAKS.contains(&c)
}

/// Whether a value that fits may hold a line break. What is not a single value is JSON, in one line.
fn may_break(schema: &Value) -> bool {
    if schema.get("type").and_then(Value::as_str) != Some("string")
        || schema.get("format").is_some()
    {
        return false;
    }
    let listed = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice);
    if let Some(values) = listed.or(schema.get("const").map(std::slice::from_ref)) {
        return values.iter().filter_map(Value::as_str).any(|text| text.contains(is_break));
    }
    let pattern = schema.get("pattern").and_then(Value::as_str);
    let parsed = pattern.and_then(|pattern| regex_syntax::parse(pattern).ok());
    parsed.is_none_or(|parsed| breaks(&parsed))
}

/// Whether a text that a pattern matches may hold a line break.
fn breaks(pattern: &Hir) -> bool {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => String::from_utf8_lossy(&literal.0).contains(is_break),
        HirKind::Class(Class::Unicode(class)) => class
            .ranges()
            .iter()
            .any(|range| BREAKS.iter().any(|c| (range.start()..=range.end()).contains(c))),
        HirKind::Class(Class::Bytes(_)) => true,
        HirKind::Repetition(repetition) => breaks(&repetition.sub),
        HirKind::Capture(capture) => breaks(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(breaks),
    }
}

/// A message cannot be taken back, and goes where a rule says.
pub(crate) fn check(
    decoder: &mut Decoder,
    (effect, place): (Option<Effect>, crate::node::Span),
    message: &Message,
    scope: &[ScopeEntry],
) {
    if effect.is_some_and(|effect| effect != Effect::Irreversible) {
        decoder.report(Code::MessageEffect, place, "a message that was sent cannot be taken back");
        decoder.help("write `effect: irreversible`");
    }
    let Some(Spanned { value: to, span }) = &message.to else { return };
    let says_where = |entry: &ScopeEntry| {
        // A rule with a mistake in it may be meant for this.
        let unknown = !entry.is_whole() && !entry.binds;
        entry.look_up.is_some() || unknown || matches!(entry.rule, Some(ScopeRule::Domains { .. }))
    };
    if !scope.iter().any(|entry| entry.path == *to && says_where(entry)) {
        let message = format!("nothing says where a message may go: `{to}` has no rule for it");
        decoder.report(Code::MessageRecipient, *span, message);
        decoder.help(format!("write under `scope` either `{to}: {{ domains: [example.com] }}` or `allowed` with the tenant's contacts"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pattern_may_break_a_line_exactly_if_a_text_with_a_break_fits() {
        for pattern in [
            "^.{1,80}$", // All but `\n`.
            "^[^\\r\\n]{1,80}$",
            "^\\s*x$",
            "^(a|b\\n)$",
            "^[\\t-\\r]$",
            "^(?s:.)$",
        ] {
            assert!(may_break(&json!({"type": "string", "pattern": pattern})), "{pattern}");
        }
        for pattern in ["^[a-z ]{1,80}$", "^[^\\p{C}\\p{Zl}\\p{Zp}]{1,80}$", "^[0-9]+$", "^a|b$"] {
            assert!(!may_break(&json!({"type": "string", "pattern": pattern})), "{pattern}");
        }
        assert!(may_break(&json!({"type": "string", "maxLength": 3})));
        assert!(may_break(&json!({"type": "string", "enum": ["a", "b\n"]})));
        assert!(!may_break(&json!({"type": "string", "enum": ["a", "b"]})));
        assert!(!may_break(&json!({"type": "integer"})));
        assert!(!may_break(&json!({"type": "string", "format": "email"})));
    }

    #[test]
    fn braces_stand_around_names_or_twice() {
        let argument =
            |name: &str| Fragment::Argument(Parameter { name: name.to_owned(), optional: false });
        let text = |text: &str| Fragment::Text(text.to_owned());
        for (written, read) in [
            ("", vec![]),
            ("a {b} c{d}", vec![text("a "), argument("b"), text(" c"), argument("d")]),
            ("{{b}} {{{b}}}", vec![text("{b} {"), argument("b"), text("}")]),
        ] {
            assert_eq!(fragments(written), Some(read), "{written}");
        }
        for written in ["{", "}", "{}", "{a b}", "{a", "a}", "{a{b}}"] {
            assert_eq!(fragments(written), None, "{written}");
        }
    }
}
