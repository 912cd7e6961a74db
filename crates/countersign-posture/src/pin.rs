//! `pins/SYSTEM.json`: what an MCP server's definitions were when people reviewed them.
//!
//! `countersign import mcp` writes them, people read them. They are read by the reader that holds live
//! definitions against them, so that both see the same.

use crate::bound::PINS_REPORTED_MAX;
use crate::decode::Decoder;
use crate::finding::{Code, did_you_mean};
use crate::lint;
use crate::node::{Kind, Node, Span};
use countersign_core::args::parse_answer;
use countersign_core::id::{Digest, SystemName};
use countersign_core::screen;
use countersign_core::tool::Defined;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The member under which each kind stands.
pub(crate) const LISTS: [(&str, Defined); 4] = [
    ("tools", Defined::Tool),
    ("resources", Defined::Resource),
    ("templates", Defined::Template),
    ("prompts", Defined::Prompt),
];

/// As messages speak of it.
pub(crate) const fn called(of: Defined) -> &'static str {
    match of {
        Defined::Tool => "tool",
        Defined::Resource => "resource",
        Defined::Template => "resource template",
        Defined::Prompt => "prompt",
    }
}

/// The pins of one system.
#[derive(Debug, Default)]
pub(crate) struct PinFile {
    pub(crate) system: Option<SystemName>,
    pub(crate) pinned: BTreeMap<(Defined, String), Pinned>,
    /// Whether all that stands there could be read.
    pub(crate) whole: bool,
}

/// One definition.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) definition: Map<String, Value>,
    pub(crate) digest: Digest,
    /// Of its name.
    pub(crate) span: Span,
}

/// Reads a file of pins.
pub(crate) fn decode(decoder: &mut Decoder) -> Option<PinFile> {
    let read = parse_answer(decoder.source.text().as_bytes());
    let members = match read {
        Ok(Value::Object(members)) => members,
        Ok(_) => {
            decoder.report(Code::BadPin, Span::default(), "pins are one JSON object");
            return None;
        }
        Err(error) => {
            let message = format!("this is no JSON that all read alike: {error}");
            decoder.report(Code::BadPin, Span::default(), message);
            return None;
        }
    };
    // JSON is YAML: that reader knows where things stand.
    let tree = crate::node::read(&decoder.source, &mut Vec::new());
    let mut reader = Reader { decoder, tree, file: PinFile { whole: true, ..PinFile::default() } };
    reader.system(&members);
    for (key, value) in &members {
        match LISTS.iter().find(|(list, _)| list == key) {
            Some(&(list, of)) => reader.list(list, of, value),
            None if key == "system" => {}
            None => {
                let help = did_you_mean(key, LISTS.iter().map(|(list, _)| *list));
                let message = format!("the key `{key}` means nothing here");
                reader.wrong(&[At::Key(key)], message);
                reader.decoder.helped(help);
            }
        }
    }
    let Reader { file, .. } = reader;
    Some(file)
}

/// A step down into a value.
#[derive(Debug, Clone, Copy)]
enum At<'a> {
    Key(&'a str),
    Index(usize),
}

struct Reader<'d> {
    decoder: &'d mut Decoder,
    tree: Option<Node>,
    file: PinFile,
}

impl Reader<'_> {
    fn wrong(&mut self, at: &[At<'_>], message: impl Into<String>) {
        self.file.whole = false;
        let span = self.span(at);
        self.decoder.report(Code::BadPin, span, message);
    }

    /// Where a value stands; where the nearest above it does, if it is not found.
    fn span(&self, path: &[At<'_>]) -> Span {
        let Some(mut node) = self.tree.as_ref() else { return Span::default() };
        for step in path {
            let next = match (step, &node.kind) {
                (At::Key(key), Kind::Map(entries)) => {
                    entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.value)
                }
                (At::Index(index), Kind::List(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node.span
    }

    fn system(&mut self, members: &Map<String, Value>) {
        let Some(name) = members.get("system").and_then(Value::as_str) else {
            return self.wrong(&[], "the key `system`, a text, is missing");
        };
        let path = self.decoder.source.path();
        let stem = path.rsplit('/').next().unwrap_or(path);
        let stem = stem.strip_suffix(".json").unwrap_or(stem).to_owned();
        let span = self.span(&[At::Key("system")]);
        if stem != name {
            let message = format!("the file is called `{stem}` and the name inside is `{name}`");
            self.decoder.report(Code::FileName, span, message);
            return self.decoder.help(format!("rename the file to `{name}.json`"));
        }
        match SystemName::new(name) {
            Ok(name) => self.file.system = Some(name),
            Err(error) => self.wrong(&[At::Key("system")], format!("`system` {error}")),
        }
    }

    fn list(&mut self, list: &str, of: Defined, value: &Value) {
        let Value::Array(definitions) = value else {
            return self.wrong(&[At::Key(list)], format!("`{list}` must be a list"));
        };
        for (index, definition) in definitions.iter().enumerate() {
            let at = [At::Key(list), At::Index(index)];
            if let Err(message) = self.definition(&at, of, definition) {
                self.wrong(&at, message);
            }
        }
    }

    fn definition(&mut self, at: &[At<'_>], of: Defined, value: &Value) -> Result<(), String> {
        let this = called(of);
        let object = value.as_object().ok_or_else(|| format!("a {this} must be an object"))?;
        let name =
            of.name(object).ok_or_else(|| format!("a {this} needs a text `{}`", of.key()))?;
        if let Some(member) = object.keys().find(|key| !of.pinned().contains(&key.as_str())) {
            return Err(format!("`{member}` of a {this} is not pinned"));
        }
        if of == Defined::Tool && !object.get("inputSchema").is_some_and(Value::is_object) {
            return Err(format!("`{name}` has no `inputSchema`"));
        }
        let (definition, digest) = of.pin(object).map_err(|error| error.to_string())?;
        self.words(at, value);
        let span = self.span(&[at, &[At::Key(of.key())]].concat());
        let pinned = Pinned { definition, digest, span };
        match self.file.pinned.insert((of, name.to_owned()), pinned) {
            None => Ok(()),
            Some(_) => Err(format!("the {this} `{name}` stands twice")),
        }
    }

    /// What a definition says, to whoever reads it.
    fn words(&mut self, at: &[At<'_>], definition: &Value) {
        let mut said = Vec::new();
        texts(definition, &mut at.to_vec(), &mut |path, text, described| {
            let hidden = screen::strip_hidden(&mut Value::from(text)) > 0;
            let speaks = described || text.split_whitespace().count() >= SPEECH_WORDS_MIN;
            let command = speaks.then(|| lint::command(text)).flatten();
            if hidden || command.is_some() {
                said.push((self.span(path), text.to_owned(), hidden, command));
            }
        });
        for (span, text, hidden, command) in said {
            if self.decoder.findings.len() >= PINS_REPORTED_MAX {
                return;
            }
            if hidden {
                let message = "the definition holds characters that people cannot see";
                self.decoder.report(Code::HiddenCharacter, span, message);
                self.decoder.help("take the definition out, and ask whose server this is");
            }
            if let Some(range) = command {
                let phrase = text.get(range.clone()).unwrap_or_default();
                let message = format!("`{phrase}` tells a model what to do");
                let span = self.decoder.within(span, &text, &range);
                self.decoder.report(Code::DescriptionCommands, span, message);
                self.decoder.help("agents read the tool's own description, never this; see what its author is after before you grant it");
            }
        }
    }
}

/// Fewest words by which a text that is no description may speak to a model.
const SPEECH_WORDS_MIN: usize = 3;

/// Every text and every key in a value, where it stands, and whether it is there to be read.
fn texts<'a>(
    value: &'a Value,
    path: &mut Vec<At<'a>>,
    each: &mut dyn FnMut(&[At<'a>], &str, bool),
) {
    match value {
        Value::String(text) => {
            let described = matches!(path.last(), Some(At::Key("description" | "title")));
            each(path, text, described);
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(At::Index(index));
                texts(item, path, each);
                path.pop();
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                path.push(At::Key(key));
                each(path, key, false);
                texts(member, path, each);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

// ── names ───────────────────────────────────────────────────────────────────────────────────────

/// Names that people could take for one another: for each that looks like one before it and is not the
/// same, its index and the other's.
pub(crate) fn look_alike(names: &[&str]) -> Vec<(usize, usize)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let first = *seen.entry(lint::look(name)).or_insert(index);
        if names.get(first) != Some(name) {
            pairs.push((index, first));
        }
    }
    pairs
}

/// The names that a list of definitions knows.
pub(crate) fn names(file: &PinFile, of: Defined) -> BTreeSet<&str> {
    let keys = file.pinned.keys().filter(|(kind, _)| *kind == of);
    keys.map(|(_, name)| name.as_str()).collect()
}
