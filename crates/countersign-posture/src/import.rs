//! Drafts of tools from what a company has already: an OpenAPI document, the tables of a database, what
//! an MCP server defines.
//!
//! A draft says what its source says. What the source does not say is left out, never guessed, so that
//! `check` finds it missing where it belongs; what may help to fill it in stands beside it as a comment.

mod argument;
pub mod openapi;
pub mod server;
pub mod table;
#[cfg(test)]
mod tests;

use crate::bound::{
    DESCRIPTION_BYTES_MAX, DRAFT_COMMENT_CHARS_MAX, DRAFT_ENUM_MAX, FILE_BYTES_MAX,
    IMPORT_BYTES_MAX,
};
use crate::decode::Decoder;
use crate::finding::{Code, Source};
use crate::input::identifier;
use crate::lint;
use crate::load::read_text;
use crate::node::{Kind, Node};
use countersign_core::args::parse_document;
use countersign_core::bound::TOOL_NAME_BYTES_MAX;
use countersign_core::id::SystemName;
use countersign_core::screen;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// A file of a posture that somebody has to finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Relative to the posture's folder.
    pub path: String,
    /// What it says.
    pub text: String,
    /// What it does not say yet, each in a few words.
    pub missing: Vec<String>,
}

/// What was made of a source.
#[derive(Debug, Default)]
pub struct Drafted {
    /// Reads first.
    pub drafts: Vec<Draft>,
    /// What no draft was made of, and why.
    pub left_out: Vec<String>,
}

impl Drafted {
    fn take(&mut self, draft: Draft) {
        if draft.text.len() > FILE_BYTES_MAX {
            let why = format!("its draft would be larger than {FILE_BYTES_MAX} bytes");
            self.left_out.push(format!("{}: {why}", draft.path));
        } else {
            self.drafts.push(draft);
        }
    }
}

/// The text of a file that drafts are to be made of.
///
/// # Errors
/// It cannot be read, is no text, or is too large: a sentence.
pub fn source(path: &Path) -> Result<String, String> {
    read_text(path, IMPORT_BYTES_MAX).map_err(|error| error.message)
}

/// Reads a document, JSON or YAML, as plain data. What people cannot see, or readers read differently,
/// is left out.
///
/// # Errors
/// It is neither, or a key stands twice, or it goes too deep: a sentence.
pub fn document(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return parse_document(text.as_bytes()).map_err(|error| error.to_string());
    }
    let mut decoder = Decoder::new(Arc::new(Source::new("", "", text)));
    let node = decoder.read();
    let fatal = decoder
        .findings
        .iter()
        .find(|finding| !matches!(finding.code, Code::HiddenCharacter | Code::AmbiguousScalar));
    match (node, fatal) {
        (Some(node), None) => Ok(plain(&node)),
        (_, Some(finding)) => {
            let (line, column) = finding.position();
            Err(format!("{} (line {line}, column {column})", finding.message))
        }
        (None, None) => Err("there is nothing in it".to_owned()),
    }
}

fn plain(node: &Node) -> Value {
    match &node.kind {
        Kind::List(items) => items.iter().map(plain).collect(),
        Kind::Map(entries) => {
            Value::Object(entries.iter().map(|e| (e.key.clone(), plain(&e.value))).collect())
        }
        _ => node.data(&mut |text| Some(text.to_owned())).unwrap_or(Value::Null),
    }
}

// ── words ───────────────────────────────────────────────────────────────────────────────────────

/// A text of somebody else's as one line without what people cannot see.
fn one_line(text: &str) -> String {
    let mut value = Value::from(text);
    let _count = screen::strip_hidden(&mut value);
    let words: Vec<_> = value.as_str().unwrap_or_default().split_whitespace().collect();
    words.join(" ")
}

/// The same, short enough for a comment.
fn comment(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(DRAFT_COMMENT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default().trim_end()),
        None => line,
    }
}

/// A text as YAML and JSON write it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A name as YAML writes it: in quotes where some reader takes it for other than a text.
fn word(name: &str) -> String {
    const ODD: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match begins && !ODD.contains(&name.to_ascii_lowercase().as_str()) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// What a source says of something, if a model may read it: no orders to one, nothing that is hidden.
/// `Err` says what was found instead.
fn described(text: &str) -> Result<String, &'static str> {
    if screen::strip_hidden(&mut Value::from(text)) > 0 {
        return Err("the source's description holds characters that people cannot see");
    }
    // The first paragraph says what it is.
    let first = text.split("\n\n").find(|part| !part.trim().is_empty()).unwrap_or_default();
    let line = one_line(first);
    match line {
        line if line.is_empty() || line.len() > DESCRIPTION_BYTES_MAX => {
            Err("it has no description")
        }
        line if lint::command(&line).is_some() => {
            Err("the source's description tells a model what to do")
        }
        line => Ok(line),
    }
}

/// A name as tools and arguments have them: `listOrders` becomes `list_orders`, `filter[status]`
/// `filter_status`. Empty if nothing is left of it.
fn snake(name: &str) -> String {
    let mut made = String::new();
    let mut before = ' ';
    for c in name.chars() {
        let hump = before.is_ascii_lowercase() && c.is_ascii_uppercase();
        if (hump || !c.is_ascii_alphanumeric()) && !made.is_empty() && !made.ends_with('_') {
            made.push('_');
        }
        if c.is_ascii_alphanumeric() {
            made.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    made.truncate(TOOL_NAME_BYTES_MAX);
    let made = made.trim_end_matches('_');
    match made.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{made}").chars().take(TOOL_NAME_BYTES_MAX).collect(),
        false => made.to_owned(),
    }
}

/// A name that is not taken yet: itself, or with a number.
fn untaken(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = |number: usize| {
        let end = format!("_{number}");
        let length = TOOL_NAME_BYTES_MAX.saturating_sub(end.len());
        format!("{}{end}", name.get(..length.min(name.len())).unwrap_or(name))
    };
    let mut found = name.to_owned();
    let mut number = 2;
    while !taken.insert(found.clone()) {
        found = numbered(number);
        number = number.saturating_add(1);
    }
    found
}

/// An argument's name for a name of the source's.
fn argument_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let own = if identifier(name).is_none() { name.to_owned() } else { snake(name) };
    untaken(if own.is_empty() { "argument" } else { &own }, taken)
}

/// Whether a name may say whose something is.
fn may_say_whose(name: &str) -> bool {
    const WHOSE: [&str; 13] = [
        "tenant",
        "account",
        "customer",
        "client",
        "org",
        "organisation",
        "organization",
        "company",
        "workspace",
        "team",
        "user",
        "owner",
        "member",
    ];
    let name = snake(name);
    let stem = name.strip_suffix("_id").or(name.strip_suffix("_uuid")).unwrap_or(&name);
    WHOSE.iter().any(|word| stem == *word || stem.strip_suffix('s') == Some(word))
}

/// Names as a comment lists them.
fn list(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(DRAFT_ENUM_MAX).map(|name| comment(name)).collect();
    shown.join(", ")
}

// ── tools ───────────────────────────────────────────────────────────────────────────────────────

/// One argument, as far as it is known.
#[derive(Debug, Clone, Default)]
struct Argument {
    optional: bool,
    /// Keys and values as YAML writes them.
    keys: Vec<(&'static str, String)>,
    inner: Option<Inner>,
    /// What is missing of it.
    missing: Vec<String>,
}

#[derive(Debug, Clone)]
enum Inner {
    Items(Box<Argument>),
    Members(Vec<(String, Argument)>),
}

impl Argument {
    fn key(&mut self, key: &'static str, value: impl Into<String>) {
        self.keys.push((key, value.into()));
    }

    /// All that is missing of it, at any depth.
    fn all_missing(&self, name: &str, found: &mut Vec<String>) {
        found.extend(self.missing.iter().map(|what| format!("{name}: {what}")));
        match &self.inner {
            Some(Inner::Items(items)) => items.all_missing(&format!("{name}[]"), found),
            Some(Inner::Members(members)) => members.iter().for_each(|(member, argument)| {
                argument.all_missing(&format!("{name}.{member}"), found)
            }),
            None => {}
        }
    }

    fn write(&self, text: &mut String, name: &str, indent: usize) {
        let margin = " ".repeat(indent);
        let name = word(name);
        let todo = match self.missing.as_slice() {
            [] => String::new(),
            missing => format!("   # TODO {}", comment(&missing.join("; "))),
        };
        let optional = self.optional.then(|| ("optional", "true".to_owned()));
        let keys = self.keys.iter().cloned().chain(optional);
        let Some(inner) = &self.inner else {
            let keys: Vec<_> = keys.map(|(key, value)| format!("{key}: {value}")).collect();
            let keys = keys.join(", ");
            let keys = if keys.is_empty() { "{}".to_owned() } else { format!("{{ {keys} }}") };
            return text.push_str(&format!("{margin}{name}: {keys}{todo}\n"));
        };
        text.push_str(&format!("{margin}{name}:{todo}\n"));
        for (key, value) in keys {
            text.push_str(&format!("{margin}  {key}: {value}\n"));
        }
        match inner {
            Inner::Items(items) => items.write(text, "items", indent.saturating_add(2)),
            Inner::Members(members) if members.is_empty() => {
                text.push_str(&format!("{margin}  properties: {{}}\n"));
            }
            Inner::Members(members) => {
                text.push_str(&format!("{margin}  properties:\n"));
                for (member, argument) in members {
                    argument.write(text, member, indent.saturating_add(4));
                }
            }
        }
    }
}

/// A tool, as far as it is known.
#[derive(Debug)]
struct Tool<'a> {
    name: String,
    /// Of what it is a draft.
    from: String,
    /// Comments at its head.
    remarks: Vec<String>,
    description: Result<String, &'static str>,
    /// Whether it is known to read.
    reads: bool,
    /// What may be said of its effect.
    effect: String,
    inputs: Vec<(String, Argument)>,
    /// What may tie it to its caller.
    scope: String,
    system: &'a SystemName,
    /// The lines below `call.system`, without their margin.
    call: Vec<String>,
}

impl Tool<'_> {
    fn draft(&self) -> Draft {
        let Self { name, from, remarks, description, reads, effect, inputs, scope, system, call } =
            self;
        let mut missing = Vec::new();
        let mut text = format!("# A draft of {from}: `countersign check` says what it lacks.\n");
        for remark in remarks {
            text.push_str(&format!("# {}\n", comment(remark)));
        }
        text.push_str(&format!("tool: {}\n", word(name)));
        match description {
            Ok(words) => text.push_str(&format!("description: {}\n", quoted(words))),
            Err(why) => {
                text.push_str(&format!("# TODO description: what it answers; {why}\n"));
                missing.push("description".to_owned());
            }
        }
        if *reads {
            text.push_str("effect: read\n");
        } else {
            text.push_str(&format!("# TODO effect: {effect}\n"));
            missing.push("effect".to_owned());
        }
        match inputs.as_slice() {
            [] => text.push_str("input: {}\n"),
            inputs => {
                text.push_str("input:\n");
                inputs.iter().for_each(|(name, argument)| argument.write(&mut text, name, 2));
            }
        }
        inputs.iter().for_each(|(name, argument)| argument.all_missing(name, &mut missing));
        text.push_str(&format!("# TODO scope: {scope}\n"));
        missing.push("scope".to_owned());
        text.push_str(&format!("call:\n  system: {}\n", word(system.as_str())));
        call.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        Draft { path: format!("tools/{name}.yaml"), text, missing }
    }
}

/// A system's file, without the bounds that only its owner knows.
fn system(name: &SystemName, (backend, remarks): (&str, &[String])) -> Draft {
    let mut text = format!(
        "# A draft: `countersign check` says what it lacks.\nsystem: {}\n",
        word(name.as_str())
    );
    for remark in remarks {
        text.push_str(&format!("# {}\n", comment(remark)));
    }
    text.push_str(backend);
    text.push_str(
        "# TODO timeout: how long a request may take, as 2s\n# TODO rows: most rows of a result, as 100\n# TODO bytes: largest answer, as 64KiB\n",
    );
    let missing = ["timeout", "rows", "bytes", "a reference in countersign.yaml"];
    Draft { path: format!("systems/{name}.yaml"), text, missing: missing.map(str::to_owned).into() }
}

fn object<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
