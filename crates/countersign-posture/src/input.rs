//! `input:` of a tool → JSON Schema, closed and bounded.
//!
//! The keywords are JSON Schema's own, a small set of them, and two of ours: `text` marks free text,
//! `public` says why an identifier needs no scope rule. All objects are closed and all their members
//! required unless `optional: true` says otherwise. What would let an agent send something without
//! bound, or name anything at all, is an error here, not a surprise later.

mod fit;

use crate::bound::{LINE_BYTES_MAX, PATTERN_BYTES_MAX};
use crate::decode::{Decoder, Fields, Item};
use crate::finding::Code;
use crate::lint;
use crate::node::{Entry, Kind, Span};
use crate::schema;
use countersign_core::bound::{
    BODY_BYTES_MAX, JSON_VALUES_MAX, SAFE_INTEGER_MAX, TOOL_NAME_BYTES_MAX,
};
use regex_syntax::hir::Look;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What `input:` says.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) arguments: Arguments,
    /// At any depth.
    pub(crate) identifiers: Vec<Identifier>,
}

/// One argument as declared.
#[derive(Debug)]
pub(crate) struct Argument {
    /// Its schema; `None` if something is wrong with it.
    pub(crate) schema: Option<Value>,
    pub(crate) optional: bool,
    pub(crate) span: Span,
}

/// Arguments by name.
pub(crate) type Arguments = BTreeMap<String, Argument>;

/// A string that is neither free text nor one of a list, or a number that is called an identifier: it
/// may name what is another tenant's.
#[derive(Debug)]
pub(crate) struct Identifier {
    /// As a scope rule would write it.
    pub(crate) path: String,
    pub(crate) span: Span,
    /// Where `public` says why it needs no rule.
    pub(crate) public: Option<Span>,
}

/// The closed object that holds `arguments`. `None` if one of them is broken.
pub(crate) fn object(arguments: &Arguments) -> Option<Map<String, Value>> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, Argument { schema, optional, span: _ }) in arguments {
        properties.insert(name.clone(), schema.clone()?);
        if !optional {
            required.push(Value::from(name.as_str()));
        }
    }
    Some(Map::from_iter([
        ("type".to_owned(), Value::from("object")),
        ("properties".to_owned(), Value::Object(properties)),
        ("required".to_owned(), Value::Array(required)),
        ("additionalProperties".to_owned(), Value::Bool(false)),
    ]))
}

/// Reads `input:`.
pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>) -> Input {
    let mut reader = Reader { decoder, path: String::new(), identifiers: Vec::new() };
    let arguments = reader.properties(item);
    let identifiers = reader.identifiers;
    let values = object(&arguments).map_or(0, |schema| fit::values_max(&schema));
    if usize::try_from(values).map_or(true, |values| values > JSON_VALUES_MAX) {
        let message = format!("a full call holds more than the {JSON_VALUES_MAX} values of any");
        decoder.report(Code::UnboundedInput, item.span(), message);
        decoder.help("lower `maxItems`: every list, object and member counts");
    }
    Input { arguments, identifiers }
}

/// Goes down into an input and gathers the identifiers in it.
struct Reader<'d> {
    decoder: &'d mut Decoder,
    /// Where it stands, as a scope rule would write it.
    path: String,
    identifiers: Vec<Identifier>,
}

/// Why a text cannot be an argument's name, as what follows the name. Such names need no quoting in
/// SQL, in Cedar and in a path.
pub(crate) fn identifier(text: &str) -> Option<&'static str> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match begins && goes_on && text.len() <= TOOL_NAME_BYTES_MAX {
        true => None,
        false => {
            Some("is no name: up to 64 letters, digits and `_` are, and no digit stands first")
        }
    }
}

/// JSON's types, as the keyword `type` writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

pub(crate) const TYPES: [(&str, Type); 6] = [
    ("string", Type::String),
    ("integer", Type::Integer),
    ("number", Type::Number),
    ("boolean", Type::Boolean),
    ("array", Type::Array),
    ("object", Type::Object),
];

impl Type {
    fn as_str(self) -> &'static str {
        TYPES.iter().find(|(_, found)| *found == self).map_or("", |(word, _)| word)
    }

    /// The keywords that say something about it, beside `type`, `description`, `enum`, `const`.
    const fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::String => &["pattern", "format", "minLength", "maxLength", "text", "public"],
            Self::Integer => &["minimum", "maximum", "public"],
            Self::Number => &["minimum", "maximum"],
            Self::Boolean => &[],
            Self::Array => &["items", "minItems", "maxItems", "uniqueItems"],
            Self::Object => &["properties"],
        }
    }

    const fn has_constants(self) -> bool {
        match self {
            Self::String | Self::Integer | Self::Number | Self::Boolean => true,
            Self::Array | Self::Object => false,
        }
    }
}

const KEYWORDS: [&str; 15] = [
    "enum",
    "const",
    "minimum",
    "maximum",
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "text",
    "public",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
];

/// What a text can be said to be. It is bounded by being so.
pub(crate) const FORMATS: [(&str, &str); 1] = [("email", "email")];

/// The keywords found, by name.
type Found<'a> = BTreeMap<&'static str, Item<'a>>;

impl Reader<'_> {
    /// Reads `input:` or a nested `properties:`.
    fn properties(&mut self, item: Item<'_>) -> Arguments {
        let entries = self.decoder.entries(item).unwrap_or_default();
        entries.iter().map(|entry| self.argument(entry)).collect()
    }

    fn argument(&mut self, entry: &Entry) -> (String, Argument) {
        let Entry { key, key_span, value } = entry;
        if let Some(problem) = identifier(key) {
            self.decoder.report(Code::BadName, *key_span, format!("`{key}` {problem}"));
        }
        let above = self.path.len();
        if above > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let at = Item { name: key, node: value };
        let mut optional = false;
        let schema = self.decoder.fields(at).and_then(|mut fields| {
            let flag = fields.optional("optional").and_then(|item| self.decoder.boolean(item));
            optional = flag.unwrap_or(false);
            self.schema(fields, at)
        });
        self.path.truncate(above);
        (key.clone(), Argument { schema, optional, span: *key_span })
    }

    fn schema(&mut self, mut fields: Fields<'_>, at: Item<'_>) -> Option<Value> {
        let decoder = &mut *self.decoder;
        let kind = fields.required(decoder, "type").and_then(|item| decoder.choice(item, &TYPES));
        let description = fields.optional("description");
        let description = description.and_then(|item| lint::description(decoder, item));
        let found: Found<'_> =
            KEYWORDS.iter().filter_map(|&key| Some((key, fields.optional(key)?))).collect();
        fields.finish(decoder);
        let kind = kind?;
        check_keywords(decoder, &found, kind);
        let name = self.path.rsplit('.').next().unwrap_or_default();
        if lint::is_money(name, kind == Type::Number) && !counts(kind, &found) {
            let message = format!("`{name}` is money, and money is counted in whole units");
            decoder.report(Code::MoneyType, at.span(), message);
            decoder.help("make it an integer, in the smallest unit: `amount_cents`");
        }
        let mut schema = match kind {
            Type::String => self.string(&found, at),
            Type::Integer => {
                self.numbered(&found, at);
                number(self.decoder, &found, kind, at)
            }
            Type::Number => number(self.decoder, &found, kind, at),
            Type::Boolean => Some(Map::new()),
            Type::Array => self.array(&found, at),
            Type::Object => self.nested(&found, at),
        }?;
        constants(self.decoder, &found, kind, &mut schema)?;
        schema.insert("type".to_owned(), Value::from(kind.as_str()));
        if let Some(why) = fit::nothing_fits(&schema, kind) {
            let message = format!("{why}: nothing would fit");
            self.decoder.report(Code::SchemaConflict, at.span(), message);
            return None;
        }
        if let Some(description) = description {
            schema.insert("description".to_owned(), Value::from(description));
        }
        Some(Value::Object(schema))
    }

    fn string(&mut self, found: &Found<'_>, at: Item<'_>) -> Option<Map<String, Value>> {
        let decoder = &mut *self.decoder;
        let listed = is_listed(found);
        let text = found.get("text").and_then(|&item| decoder.boolean(item)) == Some(true);
        let public = found.get("public").map(|&item| {
            lint::sentence(decoder, item);
            item.span()
        });
        if let Some(span) = public.filter(|_| listed || text) {
            let what = if listed { "values that are listed" } else { "free text" };
            decoder.report(Code::IdlePublic, span, format!("`public` says nothing about {what}"));
            decoder.help("take it out");
        }
        let address = found.get("format").map(|&item| (item, decoder.choice(item, &FORMATS)));
        if let Some((item, _)) = address.filter(|_| listed || text) {
            let message = "`format` says nothing about free text or about values that are listed";
            decoder.report(Code::SchemaConflict, item.span(), message);
        }
        if !listed && !text && (found.contains_key("pattern") || address.is_some()) {
            let path = self.path.clone();
            self.identifiers.push(Identifier { path, span: at.span(), public });
        }
        if listed && text {
            let message = "`text` says that anything may be sent, and the values are listed";
            decoder.report(Code::SchemaConflict, at.span(), message);
        } else if !listed && !text && !found.contains_key("pattern") && address.is_none() {
            let message = format!("`{}` takes any text, and nothing says what it is", at.name);
            decoder.report(Code::LooseString, at.span(), message);
            decoder.help("list its values in `enum`, give it a `pattern`, say `format: email`, or mark free text with `text: true` and `maxLength`");
        } else if text && !found.contains_key("maxLength") {
            unbounded(decoder, at, "text", "`maxLength`");
        }
        let mut schema = Map::new();
        sizes(decoder, found, (["minLength", "maxLength"], BODY_BYTES_MAX), &mut schema)?;
        if let Some(&item) = found.get("pattern") {
            let pattern = decoder.text(item, PATTERN_BYTES_MAX)?;
            let ends = check_pattern(decoder, pattern, item.span())?;
            if !ends && !found.contains_key("maxLength") && address.is_none() {
                unbounded(decoder, at, "text", "`maxLength`, or a pattern that ends");
            }
            schema.insert("pattern".to_owned(), Value::from(pattern));
        }
        if let Some((_, format)) = address {
            schema.insert("format".to_owned(), Value::from(format?));
        }
        Some(schema)
    }

    /// A whole number that names something, by its own name.
    fn numbered(&mut self, found: &Found<'_>, at: Item<'_>) {
        let public = found.get("public").map(|&item| {
            lint::sentence(self.decoder, item);
            item.span()
        });
        let name = self.path.rsplit('.').next().unwrap_or_default();
        let names = lint::names_something(name);
        if let Some(span) = public.filter(|_| !names || is_listed(found)) {
            let what = if names { "values that are listed" } else { "a number that names nothing" };
            let message = format!("`public` says nothing about {what}");
            self.decoder.report(Code::IdlePublic, span, message);
            self.decoder.help("take it out");
        } else if names && !is_listed(found) {
            let path = self.path.clone();
            self.identifiers.push(Identifier { path, span: at.span(), public });
        }
    }

    fn array(&mut self, found: &Found<'_>, at: Item<'_>) -> Option<Map<String, Value>> {
        if !found.contains_key("maxItems") || !found.contains_key("items") {
            unbounded(self.decoder, at, "a list", "`items` and `maxItems`");
        }
        let mut schema = Map::new();
        let bounds = (["minItems", "maxItems"], JSON_VALUES_MAX);
        let sizes = sizes(self.decoder, found, bounds, &mut schema);
        let unique = found.get("uniqueItems").and_then(|&item| self.decoder.boolean(item));
        if let Some(unique) = unique {
            schema.insert("uniqueItems".to_owned(), Value::Bool(unique));
        }
        let item = found.get("items").copied()?;
        let fields = self.decoder.fields(item)?;
        let above = self.path.len();
        self.path.push_str("[]");
        let items = self.schema(fields, item);
        self.path.truncate(above);
        schema.insert("items".to_owned(), items?);
        sizes.map(|()| schema)
    }

    fn nested(&mut self, found: &Found<'_>, at: Item<'_>) -> Option<Map<String, Value>> {
        let Some(&item) = found.get("properties") else {
            unbounded(self.decoder, at, "an object", "`properties`");
            return None;
        };
        object(&self.properties(item))
    }
}

fn check_keywords(decoder: &mut Decoder, found: &Found<'_>, kind: Type) {
    for (keyword, item) in found {
        let constant = matches!(*keyword, "enum" | "const");
        let applies =
            if constant { kind.has_constants() } else { kind.keywords().contains(keyword) };
        if !applies {
            let message = format!("`{keyword}` says nothing about type `{}`", kind.as_str());
            decoder.report(Code::SchemaConflict, item.span(), message);
        }
    }
}

fn is_listed(found: &Found<'_>) -> bool {
    found.contains_key("enum") || found.contains_key("const")
}

/// Whether what is called money can be: only a fraction, or a text that is not one of a list,
/// cannot be counted.
fn counts(kind: Type, found: &Found<'_>) -> bool {
    match kind {
        Type::Number => false,
        Type::String => is_listed(found),
        Type::Integer | Type::Boolean | Type::Array | Type::Object => true,
    }
}

fn unbounded(decoder: &mut Decoder, at: Item<'_>, what: &str, needs: &str) {
    let message = format!("`{}` takes {what} without bound", at.name);
    decoder.report(Code::UnboundedInput, at.span(), message);
    decoder.help(format!("give it {needs}"));
}

/// Checks a pattern; `Some` if it is one, and whether there is a longest text that it lets through.
fn check_pattern(decoder: &mut Decoder, pattern: &str, span: Span) -> Option<bool> {
    let schema = Map::from_iter([("pattern".to_owned(), Value::from(pattern))]);
    let parsed = regex_syntax::parse(pattern).ok().filter(|_| schema::compile(&schema).is_ok());
    let Some(parsed) = parsed else {
        if matches!(regex::Regex::new(pattern), Err(regex::Error::CompiledTooBig(_))) {
            let message = format!("`{pattern}` is too large once its repetitions are written out");
            decoder.report(Code::BadPattern, span, message);
            decoder.help("repeat less; how long a text may be is said by `maxLength`");
            return None;
        }
        let message = format!("`{pattern}` is no regular expression of the linear-time kind");
        decoder.report(Code::BadPattern, span, message);
        decoder.help("look-around and back-references are not available");
        return None;
    };
    let seen = parsed.properties();
    if !seen.look_set_prefix().contains(Look::Start) || !seen.look_set_suffix().contains(Look::End)
    {
        let message = format!("`{pattern}` also matches when only a part of the text fits");
        decoder.report(Code::UnanchoredPattern, span, message);
        decoder.help("write it as `^(…)$`");
        return Some(true);
    }
    Some(seen.maximum_len().is_some())
}

fn number(
    decoder: &mut Decoder,
    found: &Found<'_>,
    kind: Type,
    at: Item<'_>,
) -> Option<Map<String, Value>> {
    let bounded = found.contains_key("minimum") && found.contains_key("maximum");
    if !bounded && !found.contains_key("enum") && !found.contains_key("const") {
        unbounded(decoder, at, "numbers", "`minimum` and `maximum`, `enum` or `const`");
    }
    let mut bound = |keyword| match found.get(keyword) {
        Some(&item) => constant(decoder, Item { name: keyword, ..item }, kind).map(Some),
        None => Some(None),
    };
    let (minimum, maximum) = (bound("minimum"), bound("maximum"));
    let (minimum, maximum) = (minimum?, maximum?);
    let ends = (minimum.as_ref().and_then(Value::as_f64), maximum.as_ref().and_then(Value::as_f64));
    if let ((Some(low), Some(high)), Some(item)) = (ends, found.get("minimum"))
        && low > high
    {
        let message = "`minimum` is greater than `maximum`: nothing would fit";
        decoder.report(Code::SchemaConflict, item.span(), message);
        return None;
    }
    let pairs = [("minimum", minimum), ("maximum", maximum)];
    Some(pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// A pair of sizes, the smaller first, and what neither exceeds because no call could hold more.
fn sizes(
    decoder: &mut Decoder,
    found: &Found<'_>,
    ([min, max], ceiling): ([&'static str; 2], usize),
    schema: &mut Map<String, Value>,
) -> Option<()> {
    let mut sizes = Vec::new();
    for keyword in [min, max] {
        if let Some(&item) = found.get(keyword) {
            let size = decoder.integer(item, 0, i64::try_from(ceiling).unwrap_or(i64::MAX))?;
            schema.insert(keyword.to_owned(), Value::from(size));
            sizes.push((size, item.span()));
        }
    }
    if let [(low, span), (high, _)] = sizes.as_slice()
        && low > high
    {
        let message = format!("`{min}` is greater than `{max}`: nothing would fit");
        decoder.report(Code::SchemaConflict, *span, message);
        return None;
    }
    Some(())
}

/// `enum` and `const`.
fn constants(
    decoder: &mut Decoder,
    found: &Found<'_>,
    kind: Type,
    schema: &mut Map<String, Value>,
) -> Option<()> {
    if let Some(&item) = found.get("enum") {
        let nodes = decoder.list(item)?;
        if nodes.is_empty() {
            let message = "`enum` is empty: nothing would fit";
            decoder.report(Code::SchemaConflict, item.span(), message);
        }
        let named = |node| Item { name: "enum", node };
        let values: Vec<_> =
            nodes.iter().map(|node| constant(decoder, named(node), kind)).collect();
        let spans = nodes.iter().map(|node| node.span);
        let written = values.iter().zip(spans);
        let written = written.filter_map(|(value, span)| Some((plain(value.as_ref()?), span)));
        decoder.distinct("the value", written);
        schema.insert("enum".to_owned(), Value::Array(values.into_iter().collect::<Option<_>>()?));
    }
    if let Some(&item) = found.get("const") {
        schema.insert("const".to_owned(), constant(decoder, item, kind)?);
    }
    Some(())
}

/// A value as messages write it.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One value of the type at hand.
fn constant(decoder: &mut Decoder, item: Item<'_>, kind: Type) -> Option<Value> {
    match (kind, &item.node.kind) {
        (Type::Number, Kind::Float(value)) => number_within(decoder, item, *value),
        (Type::Integer | Type::Number, _) => {
            decoder.integer(item, -SAFE_INTEGER_MAX, SAFE_INTEGER_MAX).map(Value::from)
        }
        (Type::Boolean, _) => decoder.boolean(item).map(Value::from),
        (Type::String, _) => decoder.text(item, LINE_BYTES_MAX).map(Value::from),
        (Type::Array | Type::Object, _) => None,
    }
}

fn number_within(decoder: &mut Decoder, item: Item<'_>, value: f64) -> Option<Value> {
    // 1e15 lies well inside what a double keeps apart.
    if value.abs() <= 1e15 {
        return Some(json!(value));
    }
    let message = format!("`{}` must be from -1e15 to 1e15", item.name);
    decoder.report(Code::BadValue, item.span(), message);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Source;
    use std::sync::Arc;

    #[test]
    fn a_pattern_must_match_the_whole_text() {
        let codes = |pattern: &str| {
            let source = Arc::new(Source::new("", "f", pattern));
            let mut decoder = Decoder::new(source);
            let ends = check_pattern(&mut decoder, pattern, Span::default());
            (ends, decoder.findings.first().map(|finding| finding.code))
        };
        for pattern in
            ["^a$", "^(a|b)$", "^[|]$", "^a\\|b$", "^$", "^[(]x$", "^(a)$|^b$", "^a{1,9}$"]
        {
            assert_eq!(codes(pattern), (Some(true), None), "{pattern}");
        }
        for pattern in ["^a+$", "^(a|b*)$", "^a{3,}$"] {
            assert_eq!(codes(pattern), (Some(false), None), "{pattern}");
        }
        for pattern in ["a", "^a", "a$", "^a|b$", "^a\\$", "^(a)|(b)$", "^[a]|b$", "(?m)^a$"] {
            assert_eq!(codes(pattern), (Some(true), Some(Code::UnanchoredPattern)), "{pattern}");
        }
        for pattern in ["^(?=a)$", "^(a)\\1$", "^($", "^a{1,1000000}$"] {
            assert_eq!(codes(pattern), (None, Some(Code::BadPattern)), "{pattern}");
        }
        let source = Arc::new(Source::new("", "f", ""));
        let mut decoder = Decoder::new(source);
        check_pattern(&mut decoder, "^a{1,1000000}$", Span::default());
        assert!(decoder.findings[0].message.contains("too large"), "{:?}", decoder.findings);
    }

    #[test]
    fn names_are_what_sql_and_paths_need_not_quote() {
        for name in ["a", "_a1", "account_id"] {
            assert_eq!(identifier(name), None, "{name}");
        }
        for name in ["", "1a", "a-b", "a.b", "é", "a b", "$ref", &"a".repeat(65)] {
            assert!(identifier(name).is_some(), "{name}");
        }
    }
}
