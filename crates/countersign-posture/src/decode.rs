//! From the tree to typed values, going on after every mistake.

use crate::bound::LINE_BYTES_MAX;
use crate::finding::{Code, Finding, Place, Source, did_you_mean};
use crate::node::{Entry, Kind, Node, Span};
use countersign_core::id::IdError;
use std::{collections::BTreeSet, ops::Range, sync::Arc};

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A node with the name by which messages speak of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) name: &'a str,
    pub(crate) node: &'a Node,
}

impl Item<'_> {
    pub(crate) fn span(&self) -> Span {
        self.node.span
    }
}

/// One file on its way to types, and what is wrong with it so far.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) source: Arc<Source>,
    pub(crate) findings: Vec<Finding>,
}

impl Decoder {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, findings: Vec::new() }
    }

    /// Reads the file's text into its tree.
    pub(crate) fn read(&mut self) -> Option<Node> {
        crate::node::read(&self.source, &mut self.findings)
    }

    pub(crate) fn report(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.findings.push(Finding {
            code,
            place: self.place(span),
            message: message.into(),
            help: None,
        });
    }

    /// Says how to mend what was reported last.
    pub(crate) fn help(&mut self, help: impl Into<String>) {
        self.helped(Some(help.into()));
    }

    /// The same, where there may be nothing to say.
    pub(crate) fn helped(&mut self, help: Option<String>) {
        if let Some(finding) = self.findings.last_mut() {
            finding.help = help;
        }
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place { source: Arc::clone(&self.source), span: span.start..span.end }
    }

    /// What was written there.
    pub(crate) fn written(&self, span: Span) -> &str {
        self.source.text().get(span.start..span.end).unwrap_or_default()
    }

    /// A stretch of a text in the file; all of it where the file writes it in a way that is not
    /// followed (escapes other than those of marks and line ends).
    pub(crate) fn within(&self, whole: Span, text: &str, range: &Range<usize>) -> Span {
        let at = |offset: usize| whole.start.saturating_add(offset);
        aligned(self.written(whole), text, range)
            .map_or(whole, |Range { start, end }| Span { start: at(start), end: at(end) })
    }

    fn wrong_type(&mut self, item: Item<'_>, expected: &str) {
        let Item { name, node } = item;
        match node.kind {
            Kind::Refused => {}
            Kind::Null => {
                self.report(Code::WrongType, node.span, format!("`{name}` has no value"));
                self.help(format!("it must be {expected}"));
            }
            Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_) => {
                let found = node.kind.name();
                let message = format!("`{name}` must be {expected}, not {found}");
                self.report(Code::WrongType, node.span, message);
                if expected == "text" && matches!(node.kind, Kind::Bool(_) | Kind::Int(_)) {
                    self.help("quote it to have the text");
                }
            }
        }
    }

    /// A cursor over the keys of a mapping.
    pub(crate) fn fields<'a>(&mut self, item: Item<'a>) -> Option<Fields<'a>> {
        let entries = self.entries(item)?;
        let open = Span { start: item.node.span.start, end: item.node.span.start };
        Some(Fields { entries, open, known: Vec::new() })
    }

    /// The entries of a mapping whose keys are the author's own.
    pub(crate) fn entries<'a>(&mut self, item: Item<'a>) -> Option<&'a [Entry]> {
        if let Kind::Map(entries) = &item.node.kind {
            return Some(entries);
        }
        self.wrong_type(item, "a mapping");
        None
    }

    pub(crate) fn list<'a>(&mut self, item: Item<'a>) -> Option<&'a [Node]> {
        if let Kind::List(items) = &item.node.kind {
            return Some(items);
        }
        self.wrong_type(item, "a list");
        None
    }

    pub(crate) fn boolean(&mut self, item: Item<'_>) -> Option<bool> {
        if let Kind::Bool(value) = item.node.kind {
            return Some(value);
        }
        self.wrong_type(item, "true or false");
        None
    }

    /// A whole number within a range.
    pub(crate) fn integer(&mut self, item: Item<'_>, min: i64, max: i64) -> Option<i64> {
        match item.node.kind {
            Kind::Int(value) if (min..=max).contains(&value) => Some(value),
            Kind::Int(value) => {
                let name = item.name;
                let message = format!("`{name}` must be from {min} to {max}, not {value}");
                self.report(Code::BadValue, item.span(), message);
                None
            }
            Kind::Null
            | Kind::Bool(_)
            | Kind::Float(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_)
            | Kind::Refused => {
                self.wrong_type(item, "a whole number");
                None
            }
        }
    }

    /// A count from 1 to a maximum.
    pub(crate) fn count(&mut self, item: Item<'_>, max: u32) -> Option<u32> {
        self.integer(item, 1, i64::from(max)).and_then(|value| u32::try_from(value).ok())
    }

    /// Text that is not blank and at most `max` bytes long.
    pub(crate) fn text<'a>(&mut self, item: Item<'a>, max: usize) -> Option<&'a str> {
        let Kind::Text(text) = &item.node.kind else {
            self.wrong_type(item, "text");
            return None;
        };
        let name = item.name;
        if text.trim().is_empty() {
            self.report(Code::BadValue, item.span(), format!("`{name}` must not be blank"));
            return None;
        }
        if text.len() > max {
            let message = format!("`{name}` must be at most {max} bytes long");
            self.report(Code::BadValue, item.span(), message);
            return None;
        }
        Some(text)
    }

    /// Text on one line.
    pub(crate) fn line(&mut self, item: Item<'_>) -> Option<String> {
        let text = self.text(item, LINE_BYTES_MAX)?;
        if text.contains(['\n', '\r']) {
            let message = format!("`{}` must be one line", item.name);
            self.report(Code::BadValue, item.span(), message);
            return None;
        }
        Some(text.to_owned())
    }

    /// A list of lines.
    pub(crate) fn lines(&mut self, item: Item<'_>) -> Vec<Spanned<String>> {
        let items = self.list(item).unwrap_or_default();
        let named = |node| Item { name: item.name, node };
        items
            .iter()
            .filter_map(|node| Some(Spanned { value: self.line(named(node))?, span: node.span }))
            .collect()
    }

    /// A name, checked by the type it becomes.
    pub(crate) fn name<T>(
        &mut self,
        item: Item<'_>,
        make: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Option<Spanned<T>> {
        let Kind::Text(text) = &item.node.kind else {
            self.wrong_type(item, "text");
            return None;
        };
        self.named(text, item, make)
    }

    fn named<T>(
        &mut self,
        text: &str,
        item: Item<'_>,
        make: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Option<Spanned<T>> {
        let span = item.span();
        match make(text.to_owned()) {
            Ok(value) => Some(Spanned { value, span }),
            Err(error) => {
                self.report(Code::BadName, span, format!("`{}` {error}", item.name));
                None
            }
        }
    }

    /// One word of a closed list.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        item: Item<'_>,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let Kind::Text(text) = &item.node.kind else {
            self.wrong_type(item, "text");
            return None;
        };
        let found = choices.iter().find(|(word, _)| word == text).map(|&(_, value)| value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            let message =
                format!("`{}` must be one of {}, not `{text}`", item.name, words.join(", "));
            self.report(Code::BadValue, item.span(), message);
            self.helped(did_you_mean(text, choices.iter().map(|&(word, _)| word)));
        }
        found
    }

    /// A number of units written with its unit: `2s`, `64KiB`.
    pub(crate) fn quantity(
        &mut self,
        item: Item<'_>,
        units: &[(&'static str, u32)],
        max: u32,
    ) -> Option<u32> {
        let name = item.name;
        let allowed: Vec<_> = units.iter().map(|(unit, _)| format!("`{unit}`")).collect();
        let expected = format!("a whole number and a unit, one of {}", allowed.join(", "));
        let Kind::Text(text) = &item.node.kind else {
            self.wrong_type(item, &expected);
            return None;
        };
        let split =
            text.find(|c: char| !c.is_ascii_digit()).and_then(|at| text.split_at_checked(at));
        let parsed = split.and_then(|(digits, unit)| {
            let (_, factor) = units.iter().find(|(known, _)| *known == unit)?;
            let digits =
                Some(digits).filter(|digits| digits.len() == 1 || !digits.starts_with('0'));
            digits?.parse::<u32>().ok().map(|number| number.saturating_mul(*factor))
        });
        match parsed {
            Some(0) => {
                self.report(Code::BadValue, item.span(), format!("`{name}` must be more than 0"));
                None
            }
            Some(value) if value > max => {
                let (unit, factor) = units.last().copied().unwrap_or(("", 1));
                let max = max.checked_div(factor).unwrap_or(max);
                let message = format!("`{name}` must be at most {max}{unit}");
                self.report(Code::BadValue, item.span(), message);
                None
            }
            Some(value) => Some(value),
            None => {
                let message = format!("`{name}` must be {expected}, not `{text}`");
                self.report(Code::BadValue, item.span(), message);
                None
            }
        }
    }

    /// The name inside a file must be the file's own.
    pub(crate) fn named_after_file(&mut self, name: &str, span: Span) {
        let path = self.source.path();
        let file = path.rsplit('/').next().unwrap_or(path);
        let stem = file.strip_suffix(".yaml").unwrap_or(file).to_owned();
        if stem != name {
            let message = format!("the file is called `{stem}` and the name inside is `{name}`");
            self.report(Code::FileName, span, message);
            self.help(format!("rename the file to `{name}.yaml`"));
        }
    }

    /// Reports every name that stands twice.
    pub(crate) fn distinct(&mut self, what: &str, names: impl Iterator<Item = (String, Span)>) {
        let mut seen = BTreeSet::new();
        for (name, span) in names {
            let message = format!("{what} `{name}` stands twice");
            if !seen.insert(name) {
                self.report(Code::Duplicate, span, message);
            }
        }
    }
}

/// Where a stretch of a scalar's text stands in what was written: margins and line ends are not in
/// the text as they are in the file, nor are the marks of a quoted one.
fn aligned(written: &str, text: &str, range: &Range<usize>) -> Option<Range<usize>> {
    let quote = written.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let quote = quote.filter(|_| written != text);
    let mut rest = quote.map_or(written, |quote| written.strip_prefix(quote).unwrap_or(written));
    let mut found = None;
    let mut end = 0;
    for (offset, c) in text.char_indices() {
        if offset >= range.end {
            break;
        }
        let escape = match (quote, c) {
            (Some('"'), '\n') => "\\n",
            (Some('"'), '\t') => "\\t",
            (Some('"'), '"') => "\\\"",
            (Some('"'), '\\') => "\\\\",
            (Some('\''), '\'') => "''",
            _ => "",
        };
        if !c.is_whitespace() {
            rest = rest.trim_start();
        }
        let after = rest.strip_prefix(escape).filter(|_| !escape.is_empty());
        let blank = |rest: &str| rest.starts_with(char::is_whitespace);
        let length = match rest.chars().next() {
            _ if after.is_some() => escape.len(),
            Some(next) if next == c || (c.is_whitespace() && blank(rest)) => next.len_utf8(),
            // Folding and chomping leave more in the text than in the file.
            _ if c.is_whitespace() => 0,
            _ => return None,
        };
        let start = written.len().saturating_sub(rest.len());
        if offset >= range.start && found.is_none() {
            found = Some(start);
        }
        rest = rest.get(length..)?;
        end = start.saturating_add(length);
    }
    found.map(|start| start..end.max(start))
}

/// A cursor over a mapping with known keys. What is not taken by [`Fields::finish`] is unknown.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    entries: &'a [Entry],
    open: Span,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<Item<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Item { name: &entry.key, node: &entry.value })
    }

    /// Where the mapping begins.
    pub(crate) fn open(&self) -> Span {
        self.open
    }

    pub(crate) fn required(
        &mut self,
        decoder: &mut Decoder,
        key: &'static str,
    ) -> Option<Item<'a>> {
        let found = self.optional(key);
        if found.is_none() {
            decoder.report(Code::MissingKey, self.open, format!("the key `{key}` is missing"));
        }
        found
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(self, decoder: &mut Decoder) {
        for entry in self.entries {
            if !self.known.contains(&entry.key.as_str()) {
                let message = format!("the key `{}` means nothing here", entry.key);
                decoder.report(Code::UnknownKey, entry.key_span, message);
                decoder.helped(did_you_mean(&entry.key, self.known.iter().copied()).or_else(
                    || {
                        let known: Vec<_> =
                            self.known.iter().map(|key| format!("`{key}`")).collect();
                        Some(format!("the keys are {}", known.join(", ")))
                    },
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_a_text_is_found_however_the_file_writes_it() {
        for yaml in [
            "a: select é, x from t where b = :nosuch and c\n",
            "a: |\n  select é,\n    x\n\n  from t\n  where b = :nosuch and c\n",
            "a: |-\r\n    select é,\r\n    where b = :nosuch\r\n",
            "a: >\n  select é,\n  x\n\n  where b = :nosuch\n  and c\n",
            "a: select 'é',\n  x where\n  b = :nosuch and c\n",
            "a: 'select ''é'', x where b = :nosuch'\n",
            "a: \"select \\\"é\\\",\\n x\n  where b = :nosuch\"\n",
        ] {
            let mut decoder = Decoder::new(Arc::new(Source::new("", "f", yaml)));
            let node = decoder.read().unwrap();
            let Kind::Map(entries) = &node.kind else { panic!("{yaml}") };
            let value = &entries[0].value;
            let Kind::Text(text) = &value.kind else { panic!("{yaml}") };
            let at = text.find(":nosuch").unwrap();
            let span = decoder.within(value.span, text, &(at..at + 7));
            assert_eq!(decoder.written(span), ":nosuch", "{yaml}");
        }
        let decoder = Decoder::new(Arc::new(Source::new("", "f", "\"\\x41b\"")));
        let whole = Span { start: 0, end: 7 };
        assert_eq!(decoder.within(whole, "Ab", &(1..2)), whole);
    }
}
