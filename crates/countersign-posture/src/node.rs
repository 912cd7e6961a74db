//! YAML text → a tree that keeps spans.
//!
//! A small, unsurprising part of YAML 1.2: one document of mappings, lists and scalars. What
//! readers disagree on is refused rather than interpreted, because the reviewer who reads the file
//! and the gateway that runs it must see the same thing.

mod hidden;
mod mistake;

use crate::bound::YAML_DEPTH_MAX;
use crate::finding::{Code, Finding, Place, Source};
use countersign_core::screen;
pub(crate) use hidden::hidden;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Number, Value};
use std::{collections::BTreeSet, sync::Arc};

/// Byte offsets into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

impl Node {
    /// The same as JSON, with each text as `meant` reads it. `None` if a part of it was refused.
    pub(crate) fn data(&self, meant: &mut dyn FnMut(&str) -> Option<String>) -> Option<Value> {
        Some(match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::from(*value),
            Kind::Float(value) => Value::Number(Number::from_f64(*value)?),
            Kind::Text(written) => Value::String(meant(written)?),
            Kind::List(items) => {
                items.iter().map(|item| item.data(meant)).collect::<Option<_>>()?
            }
            Kind::Map(entries) => {
                let members = entries.iter();
                let members = members.map(|e| Some((e.key.clone(), e.value.data(meant)?)));
                Value::Object(members.collect::<Option<_>>()?)
            }
            Kind::Refused => return None,
        })
    }

    /// Whether it is a mapping or a list with nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::Refused => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something was there, and a finding has been made of it: nobody need make another.
    Refused,
}

impl Kind {
    /// As a message names it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Null | Self::Refused => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a decimal number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// One key of a mapping with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// Reads a file. `None`, and findings, if it is no document of ours.
pub(crate) fn read(source: &Arc<Source>, findings: &mut Vec<Finding>) -> Option<Node> {
    Reader {
        source,
        findings,
        offsets: Offsets::of(source.text()),
        frames: Vec::new(),
        root: None,
        documents: 0,
    }
    .run()
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    findings: &'a mut Vec<Finding>,
    offsets: Offsets,
    frames: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
}

/// A collection that is still open.
enum Frame {
    List { start: usize, items: Vec<Node> },
    Map { start: usize, entries: Vec<Entry>, seen: BTreeSet<String>, key: Option<Key> },
}

/// A key that waits for its value. Without a text the entry is dropped: a finding has been made.
struct Key {
    text: Option<String>,
    span: Span,
}

impl Reader<'_> {
    fn run(mut self) -> Option<Node> {
        let source = Arc::clone(self.source);
        let hidden = hidden(&source);
        let misread = !hidden.is_empty();
        // The scanner takes each of them for the end of a line.
        let ends = hidden.iter().any(|finding| finding.place.text().contains(['\r', '\0']));
        self.findings.extend(hidden);
        if ends {
            return None;
        }
        let mut parser = Parser::new_from_str(source.text());
        while let Some(step) = parser.next_event() {
            let (event, span) = match step {
                Ok((event, span)) => (event, self.span(span)),
                Err(error) => {
                    let at = self.offsets.byte(error.marker().index());
                    let mistake = mistake::told(source.text(), at, error.info());
                    if !misread {
                        self.report(mistake.code, mistake.span, &mistake.message);
                        self.help(mistake.help);
                    }
                    return None;
                }
            };
            if !self.step(event, span) {
                return None;
            }
        }
        if self.root.as_ref().is_none_or(|root| matches!(root.kind, Kind::Null)) {
            self.report(Code::EmptyFile, Span::default(), "the file is empty");
            return None;
        }
        self.root
    }

    /// Takes one event; `false` if reading on makes no sense.
    fn step(&mut self, event: Event<'_>, span: Span) -> bool {
        match event {
            Event::DocumentStart(_) => return self.document(span),
            Event::Alias(_) => {
                self.feature(span, "an alias is not allowed: write the value out");
                self.push(Node { kind: Kind::Refused, span });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = self.unadorned(span, anchor, tag.is_some());
                self.scalar(&text, style, span, plain);
            }
            Event::SequenceStart(anchor, tag) => {
                self.unadorned(span, anchor, tag.is_some());
                return self.open(Frame::List { start: span.start, items: Vec::new() }, span);
            }
            Event::MappingStart(anchor, tag) => {
                self.unadorned(span, anchor, tag.is_some());
                let seen = BTreeSet::new();
                let frame = Frame::Map { start: span.start, entries: Vec::new(), seen, key: None };
                return self.open(frame, span);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn document(&mut self, span: Span) -> bool {
        self.documents = self.documents.saturating_add(1);
        let before = self.source.text().get(..span.start).unwrap_or_default();
        if self.documents == 1 && before.lines().any(|line| line.starts_with('%')) {
            self.feature(span, "a directive is not allowed: files are YAML 1.2 without tags");
        }
        if self.documents > 1 {
            self.feature(span, "a second document is not allowed: one file, one document");
        }
        self.documents == 1
    }

    fn unadorned(&mut self, span: Span, anchor: usize, tagged: bool) -> bool {
        if anchor > 0 {
            self.feature(span, "an anchor is not allowed: write the value out where it is needed");
        }
        if tagged {
            self.feature(span, "a tag is not allowed: the type follows from the place");
        }
        anchor == 0 && !tagged
    }

    fn open(&mut self, frame: Frame, span: Span) -> bool {
        if self.frames.len() >= YAML_DEPTH_MAX {
            let message = format!("the file is nested deeper than {YAML_DEPTH_MAX} levels");
            self.report(Code::YamlDepth, span, &message);
            return false;
        }
        self.frames.push(frame);
        true
    }

    fn close(&mut self, end: Span) {
        let Some(frame) = self.frames.pop() else { return };
        let (kind, start, last) = match frame {
            Frame::List { start, items } => {
                let last = items.last().map(|item| item.span);
                (Kind::List(items), start, last)
            }
            Frame::Map { start, entries, .. } => {
                let last = entries.last().map(|entry| entry.value.span);
                (Kind::Map(entries), start, last)
            }
        };
        // A flow collection ends with its bracket (the scanner's span goes on to the next token); a
        // block collection where its last value does.
        let rest = self.source.text().get(end.start..end.end).unwrap_or_default();
        let end = match last {
            _ if rest.starts_with([']', '}']) => end.start.saturating_add(1),
            Some(last) => last.end,
            None => end.start,
        };
        self.push(Node { kind, span: Span { start, end: end.max(start) } });
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span, unadorned: bool) {
        let span = self.trimmed(span);
        let hidden = screen::strip_hidden(&mut Value::from(text)) > 0;
        let written = self.source.text().get(span.start..span.end).unwrap_or_default();
        // Those that are written as they are have been reported.
        if hidden && !hidden::any(written) {
            let message = "the text holds characters that people cannot see";
            self.report(Code::HiddenCharacter, span, message);
            self.help("take the escapes out");
        }
        let plain = style == ScalarStyle::Plain;
        if let Some(Frame::Map { seen, key: key @ None, .. }) = self.frames.last_mut() {
            let fresh = seen.insert(text.to_owned());
            let merge = plain && text == "<<";
            let keep = fresh && !merge && !hidden && unadorned;
            *key = Some(Key { text: keep.then(|| text.to_owned()), span });
            if merge {
                self.feature(span, "a merge key is not allowed: write the keys out");
            } else if !fresh {
                let message = format!("the key `{text}` stands twice in one mapping");
                self.report(Code::DuplicateKey, span, &message);
            }
            return;
        }
        let kind = match plain {
            _ if hidden || !unadorned => Kind::Refused,
            true => self.plain(text, span),
            false => Kind::Text(text.to_owned()),
        };
        self.push(Node { kind, span });
    }

    /// What a plain scalar says, by YAML 1.2's core schema without its alternative spellings.
    fn plain(&mut self, text: &str, span: Span) -> Kind {
        let help = match text {
            "" | "null" | "~" => return Kind::Null,
            "true" => return Kind::Bool(true),
            "false" => return Kind::Bool(false),
            "True" | "TRUE" | "False" | "FALSE" | "Null" | "NULL" => {
                "write it in lower case, or quote it to have the text"
            }
            _ if !numeric(text) => return Kind::Text(text.to_owned()),
            _ => match number(text) {
                Some(kind) => return kind,
                None => {
                    "write a decimal number without leading zeros, or quote it to have the text"
                }
            },
        };
        let message = format!("YAML readers read `{text}` differently");
        self.report(Code::AmbiguousScalar, span, &message);
        self.help(help);
        Kind::Refused
    }

    /// Puts a finished value where it belongs.
    fn push(&mut self, node: Node) {
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                Some(Key { text: Some(text), span }) => {
                    entries.push(Entry { key: text, key_span: span, value: node });
                }
                Some(Key { text: None, .. }) => {}
                None => {
                    *key = Some(Key { text: None, span: node.span });
                    self.feature(node.span, "a key must be text");
                }
            },
        }
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let start = self.offsets.byte(span.start.index());
        Span { start, end: self.offsets.byte(span.end.index()).max(start) }
    }

    /// Without the blanks that the scanner took along.
    fn trimmed(&self, span: Span) -> Span {
        let text = self.source.text().get(span.start..span.end).unwrap_or_default();
        Span { start: span.start, end: span.start.saturating_add(text.trim_end().len()) }
    }

    fn feature(&mut self, span: Span, message: &str) {
        self.report(Code::YamlFeature, span, message);
    }

    fn help(&mut self, help: &str) {
        if let Some(finding) = self.findings.last_mut() {
            finding.help = Some(help.to_owned());
        }
    }

    fn report(&mut self, code: Code, span: Span, message: &str) {
        self.findings.push(Finding {
            code,
            place: Place { source: Arc::clone(self.source), span: span.start..span.end },
            message: message.to_owned(),
            help: None,
        });
    }
}

/// Where each character begins, since the scanner counts characters. `None` while that is the same.
struct Offsets(Option<Vec<usize>>, usize);

impl Offsets {
    fn of(text: &str) -> Self {
        let starts = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self(starts, text.len())
    }
    fn byte(&self, character: usize) -> usize {
        match &self.0 {
            Some(starts) => starts.get(character).copied().unwrap_or(self.1),
            None => character.min(self.1),
        }
    }
}

/// Whether some YAML reader might take it for a number.
fn numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), ".inf" | ".nan") {
        return true;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        }
    }
    // Rust reads `inf` and `nan` too: those begin with no digit.
    lower.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit())
        && lower.parse::<f64>().is_ok()
}

/// A decimal number written the one way that all readers agree on.
fn number(text: &str) -> Option<Kind> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = match unsigned.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => unsigned.split_at_checked(at)?,
        None => (unsigned, ""),
    };
    let fraction_is_bare =
        rest.strip_prefix('.').is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || fraction_is_bare {
        return None;
    }
    if rest.is_empty() {
        return text.parse().ok().map(Kind::Int);
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(text: &str) -> (Option<Node>, Vec<Code>) {
        let mut findings = Vec::new();
        let node = read(&Arc::new(Source::new("", "f", text)), &mut findings);
        (node, findings.iter().map(|finding| finding.code).collect())
    }

    fn value(text: &str) -> Kind {
        let (node, codes) = tree(&format!("a: {text}\n"));
        let Some(Node { kind: Kind::Map(mut entries), .. }) = node else {
            panic!("{text}: {codes:?}")
        };
        entries.remove(0).value.kind
    }

    fn under(text: &str, span: Span) -> &str {
        text.get(span.start..span.end).unwrap()
    }

    /// Every span of the tree with the text under it.
    fn spans<'a>(text: &'a str, node: &Node, found: &mut Vec<&'a str>) {
        found.push(under(text, node.span));
        match &node.kind {
            Kind::List(items) => items.iter().for_each(|item| spans(text, item, found)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                found.push(under(text, entry.key_span));
                spans(text, &entry.value, found);
            }),
            _ => {}
        }
    }

    #[test]
    fn only_true_and_false_are_booleans_and_no_stays_text() {
        assert!(matches!(value("true"), Kind::Bool(true)));
        assert!(matches!(value("false"), Kind::Bool(false)));
        for text in ["no", "yes", "on", "off", "y", "N", "2026-11-20", "1_000", "12:30", "nan"] {
            assert!(matches!(value(text), Kind::Text(found) if found == text), "{text}");
        }
        for text in ["127.0.0.1:8787", "2s", "64KiB", "1e", "e1", "0b1", "inf"] {
            assert!(!matches!(value(text), Kind::Int(_) | Kind::Float(_)), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal_without_leading_zeros_and_the_rest_must_be_quoted() {
        assert!(matches!(value("0"), Kind::Int(0)));
        assert!(matches!(value("-12"), Kind::Int(-12)));
        assert!(matches!(value("1.5"), Kind::Float(1.5)));
        assert!(matches!(value("1e3"), Kind::Float(1000.0)));
        for text in [
            "012",
            "-012",
            "+1",
            "0x1F",
            "0o17",
            ".5",
            "1.",
            "00",
            ".inf",
            "-.INF",
            ".nan",
            "True",
            "FALSE",
            "Null",
            "1e999",
            "99999999999999999999",
        ] {
            assert!(matches!(value(text), Kind::Refused), "{text}");
            assert_eq!(tree(&format!("a: {text}")).1, [Code::AmbiguousScalar], "{text}");
            assert!(matches!(value(&format!("\"{text}\"")), Kind::Text(_)), "{text}");
        }
    }

    #[test]
    fn what_yaml_can_do_beyond_trees_is_refused() {
        for (text, expected) in [
            ("a: &x 1\n", Code::YamlFeature),
            ("a: !!str 1\n", Code::YamlFeature),
            ("a: !x {}\n", Code::YamlFeature),
            ("<<: {a: 1}\n", Code::YamlFeature),
            ("[a]: 1\n", Code::YamlFeature),
            ("? {a: 1}\n: 1\n", Code::YamlFeature),
            ("a: 1\n---\nb: 1\n", Code::YamlFeature),
            ("a: 1\na: 2\n", Code::DuplicateKey),
            ("a: 1\n\"a\": 2\n", Code::DuplicateKey),
            ("a: [1\n", Code::YamlSyntax),
            ("a: *x\n", Code::YamlFeature),
            ("a: 1\n b: 2\n", Code::YamlSyntax),
            ("%YAML 1.1\n---\na: 1\n", Code::YamlFeature),
            ("a: \"\\u200b\"\n", Code::HiddenCharacter),
            ("a: b\u{202e}\n", Code::HiddenCharacter),
            ("a: 1 # x\u{2066}\n", Code::HiddenCharacter),
            ("a: 1 # x\rb: 2\n", Code::HiddenCharacter),
            ("\u{feff}a: 1\n", Code::HiddenCharacter),
            ("", Code::EmptyFile),
            ("# nothing\n", Code::EmptyFile),
            ("---\n", Code::EmptyFile),
        ] {
            assert_eq!(tree(text).1, [expected], "{text}");
        }
        let (_, codes) = tree("a: &x 1\nb: *x\n");
        assert_eq!(codes, [Code::YamlFeature, Code::YamlFeature]);
    }

    #[test]
    fn a_mistake_of_form_is_told_where_it_is_and_how_to_mend_it() {
        for (text, code, under, message) in [
            ("a: 1\n\tb: 2\n", Code::YamlSyntax, "\t", "a tab indents"),
            ("a:\n\tb: 2\n", Code::YamlSyntax, "\t", "a tab indents"),
            ("a: 1\nb 2\n", Code::YamlSyntax, "b 2", "no colon"),
            ("a: 1\nb:2\nc: 3\n", Code::YamlSyntax, "b:2", "no space follows"),
            ("b:2\n# note\n\nc: 3\n", Code::YamlSyntax, "b:2", "no space follows"),
            ("a: 1\nb\u{ff1a} 2\n", Code::YamlSyntax, "b\u{ff1a} 2", "full-width"),
            ("a: 1\nb:\u{a0}2\n", Code::YamlSyntax, "b:\u{a0}2", "no-break"),
            ("a: 1\nb:\t2\n", Code::YamlSyntax, "b:\t2", "a tab follows"),
            ("a: 1\nb: \"2\n", Code::YamlSyntax, "", "not closed"),
            ("a: 1\nb: '2\nc: 3\n", Code::YamlSyntax, "", "not closed"),
            ("a: [1\nb: 2\n", Code::YamlSyntax, "", "a list in brackets is not closed"),
            ("a: {b: 1\n", Code::YamlSyntax, "", "a mapping in braces is not closed"),
            ("a: 1\n b: 2\n", Code::YamlSyntax, "b: 2", "not in the column"),
            ("a: b: 2\n", Code::YamlSyntax, "a: b: 2", "a second key"),
            ("a: 1\n- b\n", Code::YamlSyntax, "- b", "a list item"),
            ("a: }\n", Code::YamlSyntax, "", "none opens"),
            ("a: @b\n", Code::YamlSyntax, "", "unquoted"),
            ("a: \"\\q\"\n", Code::YamlSyntax, "", "escape"),
            ("a: *b\n", Code::YamlFeature, "*b", "an alias"),
        ] {
            let mut findings = Vec::new();
            read(&Arc::new(Source::new("", "f", text)), &mut findings);
            let [Finding { code: found, place, message: said, help }] = &findings[..] else {
                panic!("{text:?}: {findings:?}")
            };
            assert_eq!((*found, place.text()), (code, under), "{text:?}: {said}");
            assert!(said.contains(message), "{text:?}: {said}");
            assert!(help.is_some() || code == Code::YamlFeature, "{text:?}");
        }
        assert_eq!(tree(&format!("a: {}", "[".repeat(5_000))).1, [Code::YamlDepth]);
    }

    #[test]
    fn every_hidden_character_is_named_and_hides_no_other_mistake() {
        let mut findings = Vec::new();
        let text = "\u{feff}a: 1 # x\u{200b}\nb: c\u{202e}\u{202e}d\ne: 012\n";
        let node = read(&Arc::new(Source::new("", "f", text)), &mut findings);
        assert!(node.is_some());
        let said: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(findings.len(), 4, "{said:?}");
        for (said, part) in said.iter().zip(["byte order mark", "U+200B, a zero", "U+202E", "012"])
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(findings.iter().all(|finding| finding.help.is_some()));
        let many = "# \u{200b}\n".repeat(100_000);
        assert!(tree(&many).1.len() < 30);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(tree(&nested(YAML_DEPTH_MAX)).1, []);
        assert_eq!(tree(&nested(YAML_DEPTH_MAX + 1)).1, [Code::YamlDepth]);
        let block = (0..40).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>();
        assert_eq!(tree(&block).1, [Code::YamlDepth]);
        assert!(tree(&"[".repeat(100_000)).0.is_none());
        assert!(tree(&"- ".repeat(100_000)).0.is_none());
    }

    #[test]
    fn spans_cover_what_was_written_and_nothing_else() {
        let text = "é: [b ,  'c d']   # note\nf:\n  - { g: h }\n  - i: \"ü\"\n    j: k l\n  # last\nm: |\n  n\n  o\n\nz: 1\n";
        let (node, codes) = tree(text);
        assert_eq!(codes, []);
        let mut found = Vec::new();
        spans(text, &node.unwrap(), &mut found);
        assert_eq!(
            found[1..],
            [
                "é",
                "[b ,  'c d']",
                "b",
                "'c d'",
                "f",
                "- { g: h }\n  - i: \"ü\"\n    j: k l",
                "{ g: h }",
                "g",
                "h",
                "i: \"ü\"\n    j: k l",
                "i",
                "\"ü\"",
                "j",
                "k l",
                "m",
                "n\n  o",
                "z",
                "1",
            ]
        );
        assert_eq!(found[0], text.trim_end());
    }

    #[test]
    fn line_ends_of_other_systems_keep_spans_right() {
        let text = "a: b\r\nc: d\r\n";
        let (node, _) = tree(text);
        let mut found = Vec::new();
        spans(text, &node.unwrap(), &mut found);
        assert_eq!(found[1..], ["a", "b", "c", "d"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,200}") {
            let (node, codes) = tree(&text);
            prop_assert!(node.is_some() || !codes.is_empty());
        }

        #[test]
        fn nothing_that_looks_like_yaml_makes_the_reader_panic(
            text in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "é", ":", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "|", ">", "'", "\"",
                    "#", "&a ", "*a", "!t ", "? ", "---\n", "...\n", "%YAML 1.2\n", "<<: ", "\t", "\r",
                    "\\", "012", "~", "@", "`", "\u{feff}", "\0", "|2-\n", ">+\n",
                ]),
                0..60,
            )
        ) {
            let text = text.concat();
            let (node, codes) = tree(&text);
            prop_assert!(node.is_some() || !codes.is_empty());
            if let Some(node) = node {
                spans(&text, &node, &mut Vec::new());
            }
        }

        #[test]
        fn plain_words_come_back_as_they_were_written(words in prop::collection::vec("[a-zé]{1,9}", 1..9)) {
            let text: String = words.iter().map(|word| format!("- {word}\n")).collect();
            let (node, _) = tree(&text);
            let Kind::List(items) = node.unwrap().kind else { panic!("a list") };
            for (item, word) in items.iter().zip(&words) {
                prop_assert_eq!(under(&text, item.span), word);
            }
        }
    }
}
