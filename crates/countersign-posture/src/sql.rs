//! As much of SQL as is needed to know a statement's placeholders, and that it is one statement.
//!
//! Not a parser: the database is. But what is bound, what is quoted and where a statement ends must
//! be seen here exactly as the database's own tokenizer sees it, or a placeholder could hide from
//! the check. What one version of it sees in another way than the next is a problem here.

pub(crate) mod tie;

use std::ops::Range;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's tokenizer.
    Sqlite,
    /// PostgreSQL's scanner (`scan.l`), with `standard_conforming_strings` on.
    Postgres,
}

/// A statement as a connector runs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compiled {
    /// Its text, as the database takes it.
    pub statement: String,
    /// The names that are bound to it, each once: in order of first use, which is that of `$1`, `$2` …
    pub parameters: Vec<String>,
}

/// What stands in a text of SQL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The names after a colon, without it, each once, in order of first use, and where.
    pub placeholders: Vec<(String, Range<usize>)>,
    /// Every use of one: where, and which of `placeholders`.
    uses: Vec<(Range<usize>, usize)>,
    /// How many statements there are; blanks, comments and lone semicolons are none.
    pub statements: usize,
    /// The first word of the first statement, in lower case, if it begins with a word.
    pub keyword: Option<String>,
    /// Whether the statement that `with` introduces changes something.
    pub writes: bool,
    /// Whether it takes rows or tables away.
    pub deletes: bool,
    /// What looks as if text were put into the statement; with a name where that is a placeholder
    /// inside quotes, which is interpolation only if there is such an argument.
    pub interpolations: Vec<(Range<usize>, Option<String>)>,
    /// What cannot be bound or does not end: where, and what is wrong with it.
    pub problems: Vec<(Range<usize>, String)>,
}

impl Scan {
    /// Whether it begins as a statement that only reads.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self.keyword.as_deref(), Some("select" | "values" | "with")) && !self.writes
    }

    /// The placeholders' names, in order of first use.
    #[must_use]
    pub fn parameters(&self) -> Vec<String> {
        self.placeholders.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The text that was scanned, as the database takes it: PostgreSQL's placeholders are numbers.
    #[must_use]
    pub fn compile(&self, sql: &str, dialect: Dialect) -> Compiled {
        let parameters = self.parameters();
        if dialect == Dialect::Sqlite {
            return Compiled { statement: sql.to_owned(), parameters };
        }
        let mut statement = String::with_capacity(sql.len());
        let mut from = 0;
        for (range, which) in &self.uses {
            statement.push_str(sql.get(from..range.start).unwrap_or_default());
            // `a$1` would be a name.
            if statement.ends_with(|c| word_character(c) || c == '$') {
                statement.push(' ');
            }
            statement.push_str(&format!("${}", which.saturating_add(1)));
            from = range.end;
        }
        statement.push_str(sql.get(from..).unwrap_or_default());
        Compiled { statement, parameters }
    }
}

/// Scans a text.
#[must_use]
pub fn scan(sql: &str, dialect: Dialect) -> Scan {
    let mut scanner = Scanner {
        sql,
        dialect,
        at: 0,
        begun: false,
        open: Vec::new(),
        word: String::new(),
        previous: Previous::Other,
        scan: Scan::default(),
    };
    while let Some(next) = scanner.peek() {
        scanner.token(next);
    }
    scanner.end_statement();
    scanner.scan
}

struct Scanner<'a> {
    sql: &'a str,
    dialect: Dialect,
    at: usize,
    /// Whether the statement at hand has a token yet.
    begun: bool,
    /// What is open around the next token.
    open: Vec<Open>,
    /// The last word outside parentheses, in lower case.
    word: String,
    /// The last token.
    previous: Previous,
    scan: Scan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Parenthesis,
    /// `array[…]`, and what it holds of the kind.
    Elements,
    /// `a[…]`, where a colon makes a slice.
    Subscript,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// The word `array`.
    Array,
    /// An opening parenthesis.
    Parenthesis,
    /// What begins an element of an array.
    Begin,
    Other,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest.find(|c| !wanted(c)).and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.at = self.at.saturating_add(taken.len());
        taken
    }

    fn token(&mut self, next: char) {
        let start = self.at;
        let rest = self.rest();
        let postgres = self.dialect == Dialect::Postgres;
        if rest.starts_with("--") {
            // To SQLite a carriage return is a part of the comment.
            self.take_while(|c| c != '\n' && !(postgres && c == '\r'));
            return;
        }
        if rest.starts_with("/*") {
            self.comment(start);
            return;
        }
        if next.is_ascii_whitespace() {
            self.at = start.saturating_add(1);
            return;
        }
        if word_character(next) {
            self.word(start, next);
            return;
        }
        self.at = start.saturating_add(next.len_utf8());
        let previous = std::mem::replace(&mut self.previous, Previous::Other);
        if let Some(end) = hole_end(next, self.rest()) {
            self.begun = true;
            self.template(start, end);
            return;
        }
        match next {
            ';' => {
                self.end_statement();
                return;
            }
            '\'' | '"' => self.quoted(next, start),
            '`' if !postgres => self.quoted(next, start),
            '[' if !postgres => self.bracketed(start),
            '[' => self.bracket(previous),
            ']' if postgres => self.close(&[Open::Elements, Open::Subscript]),
            ',' if self.open.last() == Some(&Open::Elements) => self.previous = Previous::Begin,
            ':' => self.colon(start),
            '%' if formats(self.rest()) && !before(self.sql, start, word_character) => {
                self.at = self.at.saturating_add(1);
                self.scan.interpolations.push((start..self.at, None));
            }
            '$' if postgres => self.dollar(start),
            '?' | '@' | '$' | '#' if !postgres => {
                self.take_while(word_character);
                self.problem(start, UNBOUND);
            }
            '(' => {
                self.open.push(Open::Parenthesis);
                self.previous = Previous::Parenthesis;
            }
            ')' => self.close(&[Open::Parenthesis]),
            _ => {}
        }
        self.begun = true;
    }

    fn end_statement(&mut self) {
        self.scan.statements = self.scan.statements.saturating_add(usize::from(self.begun));
        self.begun = false;
        self.open.clear();
        self.word.clear();
    }

    /// Closes what is open, if it is one of these; else there is a mistake that the database tells.
    fn close(&mut self, which: &[Open]) {
        if self.open.last().is_some_and(|open| which.contains(open)) {
            self.open.pop();
        }
    }

    fn word(&mut self, start: usize, first: char) {
        let postgres = self.dialect == Dialect::Postgres;
        // A name of PostgreSQL goes on over dollars, a number does not.
        let named = postgres && !first.is_ascii_digit();
        let word = self.take_while(|c| word_character(c) || named && c == '$').to_ascii_lowercase();
        let next = self.peek();
        if postgres && !named && matches!(next, Some('\'' | '"' | '$')) {
            self.problem(start, "a number runs into what follows it");
        }
        if !self.begun && self.scan.statements == 0 {
            self.scan.deletes = matches!(word.as_str(), "drop" | "truncate");
            self.scan.keyword = Some(word.clone());
        }
        self.begun = true;
        let changes = matches!(word.as_str(), "insert" | "update" | "delete");
        let opens = self.previous == Previous::Parenthesis;
        self.previous = if word == "array" { Previous::Array } else { Previous::Other };
        if postgres && word == "e" && next == Some('\'') {
            self.escaped(start);
        }
        let outside = !self.open.contains(&Open::Parenthesis);
        self.scan.deletes |= word == "delete" && (outside || opens);
        if postgres {
            let changes = changes || word == "merge";
            // `with t as (delete …)`, and `select … into t`.
            self.scan.writes |= changes && (outside || opens) || outside && word == "into";
        } else {
            self.scan.writes |= outside && (changes || self.word == "replace" && word == "into");
        }
        if outside {
            self.word = word;
        }
    }

    fn colon(&mut self, start: usize) {
        if self.rest().starts_with(':') {
            self.at = self.at.saturating_add(1);
            if self.dialect == Dialect::Sqlite {
                let name = self.take_while(word_character);
                if name.is_empty() && self.peek() == Some(':') {
                    self.problem(start, UNBOUND); // `:::a` is one name to it.
                }
            }
            return;
        }
        let postgres = self.dialect == Dialect::Postgres;
        if postgres && self.rest().starts_with('=') {
            return; // `name := value` names an argument of a function.
        }
        let slice = postgres && self.open.last() == Some(&Open::Subscript);
        if slice && !self.peek().is_some_and(|c| word_character(c) && !c.is_ascii_digit()) {
            return;
        }
        let name = self.take_while(word_character);
        if name.is_empty() {
            self.problem(start, "a colon stands without a name");
        } else if slice {
            let message = format!(
                "`:{name}` in brackets could be a slice: write `(:{name})` for the argument, `:({name})` for a slice"
            );
            self.problem(start, &message);
        } else if postgres && self.peek() == Some('$') {
            self.problem(start, UNBOUND);
        } else if !postgres && self.tcl(start) {
            // Told.
        } else {
            let range = start..self.at;
            let mut known = self.scan.placeholders.iter();
            let which = known.position(|(known, _)| known == name).unwrap_or_else(|| {
                self.scan.placeholders.push((name.to_owned(), range.clone()));
                self.scan.placeholders.len().saturating_sub(1)
            });
            self.scan.uses.push((range, which));
        }
    }

    /// Whether a name of SQLite goes on as Tcl's do, `:a::b` or `:a(b)`: nothing is bound to those.
    fn tcl(&mut self, start: usize) -> bool {
        let goes_on = self.rest().starts_with("::") || self.peek() == Some('(');
        if goes_on {
            self.problem(start, UNBOUND);
        }
        goes_on
    }

    /// A bracket of PostgreSQL: the elements of an array, or a place in one.
    fn bracket(&mut self, previous: Previous) {
        let inside = self.open.last() == Some(&Open::Elements) && previous == Previous::Begin;
        if previous == Previous::Array || inside {
            self.open.push(Open::Elements);
            self.previous = Previous::Begin;
        } else {
            self.open.push(Open::Subscript);
        }
    }

    /// A text between `$tag$` and the same once more; nothing is special inside.
    fn dollar(&mut self, start: usize) {
        let tag = self.take_while(word_character);
        if tag.starts_with(|c: char| c.is_ascii_digit()) || self.peek() != Some('$') {
            self.problem(start, UNBOUND);
            return;
        }
        self.at = self.at.saturating_add(1);
        let mark = self.sql.get(start..self.at).unwrap_or_default();
        if let Some(end) = self.rest().find(mark) {
            self.at = self.at.saturating_add(end).saturating_add(mark.len());
            self.literal(start);
        } else {
            self.at = self.sql.len();
            self.problem(start, UNCLOSED);
        }
    }

    /// PostgreSQL's `e'…'`, in which a backslash takes the next character's meaning away. It begins
    /// at the quote.
    fn escaped(&mut self, start: usize) {
        self.at = self.at.saturating_add(1);
        loop {
            self.take_while(|c| !matches!(c, '\'' | '\\'));
            let Some(mark) = self.peek() else {
                self.problem(start, UNCLOSED);
                return;
            };
            self.at = self.at.saturating_add(1);
            let next = self.peek();
            if mark == '\'' && next != Some('\'') {
                break;
            }
            self.at = self.at.saturating_add(next.map_or(0, char::len_utf8));
        }
        self.literal(start);
        if goes_on(self.rest()) {
            self.problem(start, "a text with escapes goes on in another line: write it as one");
        }
    }

    /// Up to the closing mark; a doubled mark is one inside.
    fn quoted(&mut self, mark: char, start: usize) {
        loop {
            self.take_while(|c| c != mark);
            if self.peek().is_none() {
                self.problem(start, UNCLOSED);
                return;
            }
            self.at = self.at.saturating_add(1);
            if self.peek() != Some(mark) {
                self.literal(start);
                return;
            }
            self.at = self.at.saturating_add(1);
        }
    }

    /// What is quoted is text to the database, whatever it looks like.
    fn literal(&mut self, start: usize) {
        let text = self.sql.get(start..self.at).unwrap_or_default();
        let formats_itself = formatter(self.sql.get(..start).unwrap_or_default());
        for (offset, c) in text.char_indices() {
            let after = text.get(offset.saturating_add(c.len_utf8())..).unwrap_or_default();
            let word = after.find(|c| !word_character(c)).and_then(|end| after.get(..end));
            let (length, name) = match c {
                ':' if !before(text, offset, |c| word_character(c) || c == ':') => match word {
                    Some(name) if !name.is_empty() => (name.len(), Some(name.to_owned())),
                    _ => continue,
                },
                // Also an array to PostgreSQL: it counts only with the name of an argument in it.
                '{' if braced(after).is_some() && !before(text, offset, opens) => {
                    match braced(after) {
                        Some(name) => (name.len().saturating_add(1), Some(name.to_owned())),
                        None => continue,
                    }
                }
                '<' if after.starts_with('%') && after.contains("%>") => {
                    (after.find("%>").map_or(0, |at| at.saturating_add(2)), None)
                }
                '%' if named_format(after).is_some() && !formats_itself => {
                    (named_format(after).unwrap_or_default(), None)
                }
                '{' if self.dialect == Dialect::Postgres && !hole(after) => continue,
                '#' | '{' | '$' if after.starts_with('{') => (1, None),
                '%' if formats(after) && !formats_itself => (1, None),
                _ => continue,
            };
            let from = start.saturating_add(offset);
            let to = from.saturating_add(1).saturating_add(length);
            self.scan.interpolations.push((from..to, name));
        }
    }

    /// A template's hole outside quotes, up to its end.
    fn template(&mut self, start: usize, end: &str) {
        let length =
            self.rest().find(end).map_or(self.rest().len(), |at| at.saturating_add(end.len()));
        self.at = self.at.saturating_add(length);
        self.scan.interpolations.push((start..self.at, None));
    }

    fn bracketed(&mut self, start: usize) {
        self.take_while(|c| c != ']');
        if self.peek().is_none() {
            self.problem(start, "a bracket is not closed");
        }
        self.at = self.at.saturating_add(1).min(self.sql.len());
    }

    /// Up to its end; PostgreSQL's comments hold comments.
    fn comment(&mut self, start: usize) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            let (length, deeper) = if rest.starts_with("*/") && depth > 0 {
                (2, depth.saturating_sub(1))
            } else if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                (2, depth.saturating_add(1))
            } else {
                (rest.chars().next().map_or(0, char::len_utf8), depth)
            };
            if length == 0 {
                self.problem(start, "a comment is not closed");
                return;
            }
            self.at = self.at.saturating_add(length);
            depth = deeper;
            if depth == 0 {
                return;
            }
        }
    }

    fn problem(&mut self, start: usize, message: &str) {
        self.scan.problems.push((start..self.at, message.to_owned()));
    }
}

const UNBOUND: &str = "only `:name` placeholders are bound";
const UNCLOSED: &str = "a quoted text is not closed";

/// Whether a text of PostgreSQL goes on after its closing quote: in a later line, with nothing but
/// blanks and comments in between.
fn goes_on(mut rest: &str) -> bool {
    let mut lines = false;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
        let blank = rest.strip_suffix(trimmed).unwrap_or_default();
        lines |= blank.contains(['\n', '\r']);
        match trimmed.strip_prefix("--") {
            Some(comment) => {
                rest = comment.find(['\n', '\r']).and_then(|end| comment.get(end..)).unwrap_or("");
            }
            None => return lines && trimmed.starts_with('\''),
        }
    }
}

/// Whether what follows a `{` makes it a template's hole, `{{ name }}`; `{{1,2},{3,4}}` is an array.
fn hole(after: &str) -> bool {
    let name = |inside: &str| {
        let name = inside.trim();
        !name.is_empty() && name.chars().all(|c| word_character(c) || c == '.')
    };
    after
        .strip_prefix('{')
        .and_then(|rest| rest.split_once("}}"))
        .is_some_and(|(in_it, _)| name(in_it))
}

/// How a template's hole outside quotes ends that begins with `first`, if one does.
fn hole_end(first: char, rest: &str) -> Option<&'static str> {
    match first {
        '{' if rest.starts_with('{') => Some("}}"),
        '{' if braced(rest).is_some() => Some("}"),
        '#' | '$' if rest.starts_with('{') => Some("}"),
        '<' if rest.starts_with("%=") => Some("%>"),
        '%' if named_format(rest).is_some() => Some(")s"),
        _ => None,
    }
}

/// Whether a brace after it is part of a hole that is told by another.
const fn opens(c: char) -> bool {
    matches!(c, '#' | '$' | '{')
}

/// The name in `{name}`, of which the opening brace is gone.
fn braced(after: &str) -> Option<&str> {
    let (name, _) = after.split_once('}')?;
    let begins = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (begins && name.chars().all(word_character)).then_some(name)
}

/// How long the rest of Python's `%(name)s` is.
fn named_format(after: &str) -> Option<usize> {
    let (name, rest) = after.strip_prefix('(')?.split_once(')')?;
    let is = !name.is_empty() && name.chars().all(word_character) && formats(rest);
    is.then(|| name.len().saturating_add(3))
}

/// Whether what follows a `%` makes it C's `%s`.
fn formats(after: &str) -> bool {
    after.strip_prefix('s').is_some_and(|rest| !rest.starts_with(word_character))
}

/// Whether the character before an offset is such.
fn before(text: &str, offset: usize, such: impl Fn(char) -> bool) -> bool {
    text.get(..offset).is_some_and(|text| text.ends_with(such))
}

/// Whether what precedes a text makes it a format of the database's own.
fn formatter(before: &str) -> bool {
    let Some(before) = before.trim_end().strip_suffix('(') else { return false };
    let before = before.trim_end().to_ascii_lowercase();
    ["strftime", "printf", "format"].iter().any(|name| before.ends_with(name))
}

/// What both databases take into an identifier or a number.
fn word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

#[cfg(test)]
mod tests;
