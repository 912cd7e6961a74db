//! What a tool's `call:` asks of an MCP server: a tool, a resource or a prompt that people reviewed when
//! they read its pin. An argument stands in it as `{name}`, as in a request.

use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::{Code, did_you_mean};
use crate::input::identifier;
use crate::node::{Entry, Kind, Span};
use crate::pin::{PinFile, Pinned, called, names};
use crate::request::{Known, Parts, Reader, Rows, Stands};
use crate::schema;
use countersign_core::id::SystemName;
use countersign_core::tool::{
    Defined, McpAsk, McpPlan, Offered, Parameter, Piece, Pin, ResourceUri, ResultBounds, Template,
    UriPart,
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A call of a definition as it is written.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Without time and bounds, which are the system's. `None` if something is wrong with it.
    pub(crate) plan: Option<McpPlan>,
    /// The arguments and bound names that it uses.
    pub(crate) names: BTreeSet<String>,
    pub(crate) of: Of,
    /// The pin that it is for, whether or not it can be called so.
    pub(crate) pinned: Option<(Defined, String)>,
    uri: Option<ResourceUri>,
    /// Whether its result is rows.
    pub(crate) rows: bool,
}

/// What a call may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Tool,
    Resource,
    Prompt,
}

/// The key of each, which is also the word for what a tool is offered as.
pub(crate) const ASKS: [(&str, Of); 3] =
    [("tool", Of::Tool), ("resource", Of::Resource), ("prompt", Of::Prompt)];

/// What an error result may be said to mean.
pub(crate) const ERRORS: [(&str, bool); 1] = [("nothing_done", true)];

/// The MCP systems, each with what is pinned of it, if anything is.
pub(crate) type Servers<'a> = BTreeMap<SystemName, Option<&'a PinFile>>;

/// What may stand beside what is asked for.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    arguments: Option<Item<'a>>,
    errors: Option<Item<'a>>,
}

impl<'a> Sent<'a> {
    pub(crate) fn take(fields: &mut Fields<'a>) -> Self {
        Self { arguments: fields.optional("arguments"), errors: fields.optional("errors") }
    }

    /// Reports it where no MCP server is asked.
    pub(crate) fn refuse(&self, decoder: &mut Decoder) {
        for item in [self.arguments, self.errors].into_iter().flatten() {
            let message = format!("`{}` has no part in a call of no definition", item.name);
            decoder.report(Code::BadValue, item.span(), message);
        }
    }
}

/// Reads what is asked of `system`.
pub(crate) fn decode(
    decoder: &mut Decoder,
    (of, item): (Of, Item<'_>),
    (sent, parts): (&Sent<'_>, &Parts<'_>),
    (system, servers): (Option<&Spanned<SystemName>>, &Servers<'_>),
    known: &Known<'_>,
) -> Ask {
    let mut reader = Reader { decoder, known, names: BTreeSet::new() };
    let name = reader.decoder.line(item);
    let uri = name.as_deref().filter(|_| of == Of::Resource);
    let uri = uri.map(|text| reader.uri(text, item.span()));
    let found = name.as_deref().zip(system).and_then(|(name, system)| {
        let uri = uri.as_ref().and_then(Option::as_ref);
        find(reader.decoder, (of, name, item.span()), uri, servers.get(&system.value)?)
    });
    let (arguments, at) = match (of, sent.arguments) {
        (Of::Resource, Some(item)) => {
            let message = "a resource takes no `arguments`: they stand in its URI";
            reader.decoder.report(Code::BadValue, item.span(), message);
            (None, item.span())
        }
        (Of::Resource, None) => (None, item.span()),
        (_, Some(item)) => (reader.arguments(item, of), item.span()),
        (_, None) => (Some(reader.defaults(found.as_ref())), item.span()),
    };
    if let (Of::Prompt, Some(Arguments(members))) = (of, &arguments) {
        for (_, Given { value, span }) in members {
            if let Template::Argument(parameter) = value {
                reader.check_place(&parameter.name, *span, Stands::InText);
            }
        }
    }
    let Reader { names, .. } = reader;
    if let (Some(Arguments(members)), Some(Found { of, name, pinned })) = (&arguments, &found) {
        let takes = Takes::of(*of, &pinned.definition);
        check_arguments(decoder, (members, at), (name, &takes), known);
    }
    let whose = match of {
        Of::Tool => None,
        Of::Resource => Some("a resource"),
        Of::Prompt => Some("a prompt"),
    };
    let Rows { at: result, pick } = parts.rows_only(decoder, whose);
    let errors = sent.errors.map(|item| decoder.choice(item, &ERRORS));
    let rows = result.is_some();
    let ask = asked(of, name, &uri, arguments);
    let pinned = found.as_ref().map(|found| (found.of, found.name.clone()));
    let pin = found.and_then(|found| found.pin(decoder, item.span()));
    let plan = || {
        Some(McpPlan {
            ask: ask?,
            pin: pin?,
            rows: result.map_or(Some(None), |known| known.map(Some))?,
            pick: pick?,
            undone_on_error: errors.unwrap_or(Some(false))?,
            timeout_ms: 0,
            bounds: ResultBounds { rows_max: 0, bytes_max: 0 },
        })
    };
    Ask { plan: plan(), names, of, pinned, uri: uri.flatten(), rows }
}

/// What is asked, if nothing is wrong with it.
fn asked(
    of: Of,
    name: Option<String>,
    uri: &Option<Option<ResourceUri>>,
    arguments: Option<Arguments>,
) -> Option<McpAsk> {
    Some(match of {
        Of::Resource => McpAsk::Resource(uri.clone()??),
        Of::Tool => {
            let members = arguments?.0.into_iter().map(|(name, given)| (name, given.value));
            McpAsk::Tool { name: name?, arguments: Template::Object(members.collect()) }
        }
        Of::Prompt => {
            let members = arguments?.0.into_iter();
            let members = members.map(|(name, given)| Some((name, piece(given.value)?)));
            McpAsk::Prompt { name: name?, arguments: members.collect::<Option<_>>()? }
        }
    })
}

/// The argument of a prompt is a text or an argument.
fn piece(template: Template) -> Option<Piece> {
    match template {
        Template::Literal(Value::String(text)) => Some(Piece::Literal(text)),
        Template::Literal(value @ (Value::Bool(_) | Value::Number(_))) => {
            Some(Piece::Literal(value.to_string()))
        }
        Template::Argument(parameter) => Some(Piece::Argument(parameter)),
        Template::Literal(_) | Template::Object(_) | Template::Array(_) => None,
    }
}

/// What is sent, by the server's names.
struct Arguments(Vec<(String, Given)>);

struct Given {
    value: Template,
    span: Span,
}

impl Reader<'_, '_> {
    fn arguments(&mut self, item: Item<'_>, of: Of) -> Option<Arguments> {
        let entries = self.decoder.entries(item)?;
        let members = entries.iter().map(|Entry { key, key_span, value }| {
            let template = self.template(value)?;
            if of == Of::Prompt && piece(template.clone()).is_none() {
                let message =
                    format!("`{key}` is no single value, and a prompt's arguments are texts");
                return self.refuse(value.span, message, "");
            }
            Some((key.clone(), Given { value: template, span: *key_span }))
        });
        // All of them are read, so that every mistake is told.
        members.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Arguments)
    }

    /// Every argument and bound name under its own name, as far as the pin knows it.
    fn defaults(&mut self, found: Option<&Found<'_>>) -> Arguments {
        let Known { arguments, bound } = self.known;
        let takes = found.map(|found| Takes::of(found.of, &found.pinned.definition));
        let names = arguments.keys().map(String::as_str).chain(bound.iter().copied());
        // What is not pinned has been told, and takes what it is given.
        let names = names.filter(|name| takes.as_ref().is_none_or(|takes| takes.known(name)));
        let names: BTreeSet<&str> = names.collect();
        let members = names.into_iter().map(|name| {
            self.names.insert(name.to_owned());
            let argument = arguments.get(name);
            let optional = argument.is_some_and(|argument| argument.optional);
            let parameter = Parameter { name: name.to_owned(), optional };
            let span = argument.map_or(Span::default(), |argument| argument.span);
            (name.to_owned(), Given { value: Template::Argument(parameter), span })
        });
        Arguments(members.collect())
    }

    fn uri(&mut self, text: &str, span: Span) -> Option<ResourceUri> {
        let Some(parts) = parts(text) else {
            let message = format!("`{text}` is no URI with whole arguments in it");
            return self.refuse(span, message, "write it as `docs://{id}`: a scheme first, `{name}` for an argument, and a text between any two");
        };
        let mut whole = true;
        for part in &parts {
            if let UriPart::Argument(name) = part {
                self.names.insert(name.clone());
                whole &= self.check_place(name, span, Stands::InPath).is_some();
                whole &= self.check_text(name, span).is_some();
            }
        }
        whole.then_some(ResourceUri(parts))
    }

    fn check_text(&mut self, name: &str, span: Span) -> Option<()> {
        // A bound name is a text. Something else wrong with the argument has been said.
        let schema = self.known.arguments.get(name).and_then(|argument| argument.schema.as_ref());
        match schema.and_then(|schema| schema.get("type")).and_then(Value::as_str) {
            None | Some("string") => Some(()),
            Some(_) => {
                let message = format!("`{{{name}}}` is no text, and a URI holds texts");
                self.decoder.report(Code::ArgumentPlace, span, message);
                None
            }
        }
    }
}

/// The parts of a URI. `None` if it has no scheme, a brace stands alone, two arguments stand side by
/// side, or it holds what no URI holds.
fn parts(text: &str) -> Option<Vec<UriPart>> {
    let (scheme, _) = text.split_once(':')?;
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let goes_on = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (literal, from) = rest.split_at_checked(rest.find('{').unwrap_or(rest.len()))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
        if !literal.chars().all(fits) || (literal.is_empty() && !parts.is_empty()) {
            return None;
        }
        if !literal.is_empty() {
            parts.push(UriPart::Text(literal.to_owned()));
        }
        rest = match from.strip_prefix('{') {
            None => "",
            Some(from) => {
                let (name, after) = from.split_once('}')?;
                // RFC 6570 §2.3 knows more names; of ours, these are all.
                let name = name.strip_prefix('+').unwrap_or(name);
                if identifier(name).is_some() {
                    return None;
                }
                parts.push(UriPart::Argument(name.to_owned()));
                after
            }
        };
    }
    (begins && goes_on).then_some(parts)
}

// ── pins ────────────────────────────────────────────────────────────────────────────────────────

/// The pin of what is asked for.
struct Found<'a> {
    of: Defined,
    name: String,
    pinned: &'a Pinned,
}

fn find<'a>(
    decoder: &mut Decoder,
    (of, name, span): (Of, &str, Span),
    uri: Option<&ResourceUri>,
    pins: &Option<&'a PinFile>,
) -> Option<Found<'a>> {
    let Some(pins) = pins else {
        decoder.report(Code::Unpinned, span, format!("nobody has reviewed what `{name}` is"));
        decoder.help("`countersign import mcp SYSTEM` pins what the server defines");
        return None;
    };
    let places = |uri: &ResourceUri| uri.0.iter().any(|part| matches!(part, UriPart::Argument(_)));
    let of = match of {
        Of::Tool => Defined::Tool,
        Of::Prompt => Defined::Prompt,
        Of::Resource if uri?.0.is_empty() => return None,
        Of::Resource if places(uri?) => Defined::Template,
        Of::Resource => Defined::Resource,
    };
    let of_kind = pins.pinned.iter().filter(|((kind, _), _)| *kind == of);
    let same = |pinned: &str| match (of, uri) {
        (Defined::Template, Some(uri)) => {
            parts(pinned).is_some_and(|pinned| nameless(&pinned) == nameless(&uri.0))
        }
        _ => pinned == name,
    };
    let found = of_kind.clone().find(|((_, pinned), _)| same(pinned));
    if let Some(((of, name), pinned)) = found {
        return Some(Found { of: *of, name: name.clone(), pinned });
    }
    // Of a file with a mistake in it, more may have been meant.
    if pins.whole {
        let message = format!("no pin says what the {} `{name}` is", called(of));
        decoder.report(Code::Unpinned, span, message);
        let near = did_you_mean(name, names(pins, of));
        let import = "`countersign import mcp SYSTEM` pins what the server defines now".to_owned();
        decoder.helped(near.or(Some(import)));
    }
    None
}

/// The texts between the places.
fn nameless(parts: &[UriPart]) -> Vec<Option<String>> {
    let text = |part: &'_ UriPart| match part {
        UriPart::Text(text) => Some(text.clone()),
        UriPart::Argument(_) => None,
    };
    parts.iter().map(text).collect()
}

impl Found<'_> {
    /// As a plan holds it.
    fn pin(self, decoder: &mut Decoder, span: Span) -> Option<Arc<Pin>> {
        let Self { of, name, pinned: Pinned { definition, digest, .. } } = self;
        let output = definition.get("outputSchema").filter(|_| of == Defined::Tool);
        let output = output.map(|output| {
            let output = output.as_object().ok_or_else(|| "it is no object".to_owned())?;
            schema::compile_output(output).map_err(|error| error.to_string())
        });
        let output = match output.transpose() {
            Ok(output) => output,
            Err(why) => {
                let message =
                    format!("what `{name}` answers cannot be held against its pin: {why}");
                decoder.report(Code::BadPin, span, message);
                return None;
            }
        };
        let definition = definition.clone();
        Some(Arc::new(Pin { of: (of, name), definition, digest: *digest, output }))
    }
}

/// What a pinned definition takes.
struct Takes<'a> {
    /// By name, with the schema.
    members: BTreeMap<&'a str, Option<&'a Value>>,
    required: BTreeSet<&'a str>,
    /// Whether it may take others.
    open: bool,
}

impl<'a> Takes<'a> {
    fn of(of: Defined, definition: &'a Map<String, Value>) -> Self {
        match of {
            Defined::Prompt => Self::of_prompt(definition),
            Defined::Tool | Defined::Resource | Defined::Template => Self::of_tool(definition),
        }
    }

    fn of_tool(definition: &'a Map<String, Value>) -> Self {
        let schema = definition.get("inputSchema").and_then(Value::as_object);
        let keyword = |name: &str| schema.and_then(|schema| schema.get(name));
        let members = keyword("properties").and_then(Value::as_object).into_iter().flatten();
        let required = keyword("required").and_then(Value::as_array).into_iter().flatten();
        let elsewhere = ["$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"];
        let open = elsewhere.iter().any(|name| keyword(name).is_some())
            || keyword("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        Self {
            members: members.map(|(name, schema)| (name.as_str(), Some(schema))).collect(),
            required: required.filter_map(Value::as_str).collect(),
            open,
        }
    }

    fn of_prompt(definition: &'a Map<String, Value>) -> Self {
        let arguments = definition.get("arguments").and_then(Value::as_array).into_iter().flatten();
        let named = arguments.filter_map(|argument| {
            let required = argument.get("required") == Some(&Value::Bool(true));
            Some((argument.get("name")?.as_str()?, required))
        });
        let named: Vec<_> = named.collect();
        let required = named.iter().filter(|(_, required)| *required).map(|(name, _)| *name);
        Self {
            required: required.collect(),
            members: named.iter().map(|(name, _)| (*name, None)).collect(),
            open: false,
        }
    }

    fn known(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }
}

/// What is sent fits what the pin takes, as far as that is plain.
fn check_arguments(
    decoder: &mut Decoder,
    (members, span): (&[(String, Given)], Span),
    (name, takes): (&str, &Takes<'_>),
    known: &Known<'_>,
) {
    for (member, given) in members {
        if !takes.known(member) {
            if !takes.open {
                let message = format!("`{name}` takes no argument `{member}`, as it is pinned");
                decoder.report(Code::PinArguments, given.span, message);
                decoder.helped(did_you_mean(member, takes.members.keys().copied()));
            }
            continue;
        }
        let Template::Argument(parameter) = &given.value else { continue };
        if parameter.optional && takes.required.contains(member.as_str()) {
            let message =
                format!("`{}` may be left out, and `{name}` asks for `{member}`", parameter.name);
            decoder.report(Code::PinArguments, given.span, message);
            decoder.help("require it, or send a value of your own");
        }
        let schema = takes.members.get(member.as_str()).copied().flatten();
        let here = type_of(known, &parameter.name);
        if let (Some(types), Some(here)) = (schema.and_then(types), here)
            && !types
                .iter()
                .any(|taken| *taken == here || (*taken == "number" && here == "integer"))
        {
            let taken = types.into_iter().collect::<Vec<_>>().join("`, `");
            let message = format!("`{name}` takes `{member}` as `{taken}`, and this is `{here}`");
            decoder.report(Code::PinType, given.span, message);
        }
    }
    let sent: BTreeSet<_> = members.iter().map(|(member, _)| member.as_str()).collect();
    for missing in takes.required.difference(&sent) {
        let message = format!("`{name}` asks for `{missing}`, and it is not sent");
        decoder.report(Code::PinArguments, span, message);
        decoder.help("write it under `arguments`, as an argument, a bound name or a value");
    }
}

/// The type of an argument; a bound name is a text.
fn type_of<'a>(known: &'a Known<'_>, name: &str) -> Option<&'a str> {
    match known.arguments.get(name) {
        Some(argument) => argument.schema.as_ref()?.get("type")?.as_str(),
        None => Some("string"),
    }
}

/// The types that a schema plainly admits; `None` if that is not plain.
fn types(schema: &Value) -> Option<BTreeSet<&str>> {
    let schema = schema.as_object()?;
    let forms = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array());
    match (schema.get("type"), forms) {
        (Some(Value::String(only)), None) => Some(BTreeSet::from([only.as_str()])),
        (Some(Value::Array(several)), None) => several.iter().map(Value::as_str).collect(),
        (None, Some(forms)) => {
            let of_forms = forms.iter().map(types).collect::<Option<Vec<_>>>()?;
            Some(of_forms.into_iter().flatten().collect())
        }
        _ => None,
    }
}

// ── offers ──────────────────────────────────────────────────────────────────────────────────────

/// As what the tool is offered. `None` if it cannot be.
pub(crate) fn offered(
    decoder: &mut Decoder,
    item: Option<Item<'_>>,
    ask: Option<&Ask>,
    known: &Known<'_>,
) -> Option<Offered> {
    let Some(item) = item else { return Some(Offered::Tool) };
    let offer = decoder.choice(item, &ASKS)?;
    let asked = ask.map(|ask| ask.of);
    match offer {
        Of::Tool => return Some(Offered::Tool),
        Of::Resource | Of::Prompt if asked != Some(offer) => {
            let Kind::Text(word) = &item.node.kind else { return None };
            let message = format!("this is offered as a {word}, and calls none");
            decoder.report(Code::BadOffer, item.span(), message);
            decoder.help(format!("write `{word}:` under `call`, or offer it as a tool"));
            return None;
        }
        Of::Prompt => {
            for (name, argument) in known.arguments {
                let schema = argument.schema.as_ref().and_then(|schema| schema.get("type"));
                if schema.and_then(Value::as_str).is_some_and(|of| of != "string") {
                    let message = format!("`{name}` is no text, and a prompt's arguments are");
                    decoder.report(Code::BadOffer, argument.span, message);
                }
            }
            return Some(Offered::Prompt);
        }
        Of::Resource => {}
    }
    let uri = ask?.uri.clone()?;
    let place = |part: &UriPart| match part {
        UriPart::Argument(name) => known.bound.contains(name.as_str()).then(|| name.clone()),
        UriPart::Text(_) => None,
    };
    if let Some(name) = uri.0.iter().find_map(place) {
        let message = format!("`{name}` is bound, and whoever reads a resource writes its URI");
        decoder.report(Code::BadOffer, item.span(), message);
        decoder.help("make it an argument with a rule by `equals`, or offer it as a tool");
        return None;
    }
    Some(Offered::Resource(uri))
}

/// Whether one URI fits both: which tool would be asked? A place holds no mark that parts a URI, so that
/// only patterns with the same texts between the same places are told, and a text that fits a pattern.
pub(crate) fn overlap(one: &ResourceUri, other: &ResourceUri) -> bool {
    nameless(&one.0) == nameless(&other.0) || fits(&one.0, &other.0) || fits(&other.0, &one.0)
}

/// Whether the URI `whole`, without places, is one of a pattern.
fn fits(whole: &[UriPart], pattern: &[UriPart]) -> bool {
    let [UriPart::Text(whole)] = whole else { return false };
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    let mut rest = whole.as_str();
    let mut open = false;
    for part in pattern {
        let UriPart::Text(text) = part else {
            open = true;
            continue;
        };
        let found = if open {
            rest.get(1..).and_then(|rest| Some(rest.find(text.as_str())? + 1))
        } else {
            rest.starts_with(text.as_str()).then_some(0)
        };
        let Some(at) = found else { return false };
        let (filled, after) = rest.split_at_checked(at).unwrap_or_default();
        if !filled.chars().all(unreserved) {
            return false;
        }
        rest = after.get(text.len()..).unwrap_or_default();
        open = false;
    }
    match open {
        true => !rest.is_empty() && rest.chars().all(unreserved),
        false => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> ResourceUri {
        ResourceUri(parts(text).unwrap())
    }

    #[test]
    fn a_uri_that_fits_two_patterns_is_told() {
        for (one, other, both) in [
            ("docs://{a}", "docs://{b}", true),
            ("docs://{a}", "docs://handbook", true),
            ("docs://{a}", "docs://hand/book", false),
            ("docs://{a}/{b}", "docs://hand/book", true),
            ("docs://{a}/x", "docs://{a}/y", false),
            ("docs://{a}.html", "docs://handbook.html", true),
            ("docs://{a}.html", "docs://.html", false),
            ("docs://a", "docs://a", true),
            ("docs://a", "docs://b", false),
            ("docs://{a}", "docs://", false),
        ] {
            assert_eq!(overlap(&uri(one), &uri(other)), both, "{one} {other}");
            assert_eq!(overlap(&uri(other), &uri(one)), both, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_uri_is_none() {
        for text in [
            "",
            "docs",
            "{a}://b",
            "docs://{a}{b}",
            "docs://{a",
            "docs://a}",
            "docs://a b",
            "docs://é",
            "docs://{?q}",
            "1a:b",
            ":b",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
        let argument = UriPart::Argument("a".to_owned());
        assert_eq!(parts("urn:x:{+a}"), Some(vec![UriPart::Text("urn:x:".to_owned()), argument]));
    }
}
