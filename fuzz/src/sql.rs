//! The SQL lexer: a placeholder is found if and only if SQLite's tokenizer would take it for one. The
//! judge is a second lexer, written from SQLite's `tokenize.c` token by token, and where a text is a
//! statement, SQLite itself. For PostgreSQL: what is compiled says what was written.

use countersign_posture::sql::{Dialect, Scan, scan};
use rusqlite::Connection;
use rusqlite::limits::Limit;
use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes as the text of a statement.
pub fn sql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.contains(['\0', '\u{feff}']) {
        return; // A posture holds none: `hidden-character`.
    }
    sqlite(text);
    postgres(text);
}

fn sqlite(text: &str) {
    let found = scan(text, Dialect::Sqlite);
    places(text, &found);
    let compiled = found.compile(text, Dialect::Sqlite);
    assert_eq!((compiled.statement.as_str(), &compiled.parameters), (text, &found.parameters()));
    let tokens = tokens(text);
    let quoted = |at: &Range<usize>| {
        tokens.iter().any(|(kind, range)| {
            *kind == Kind::Quoted && range.start <= at.start && at.end <= range.end
        })
    };
    if !found.interpolations.iter().all(|(at, _)| quoted(at)) {
        return; // A template's hole: whatever is in it, the posture is refused.
    }
    if tokens.iter().any(|(kind, at)| *kind == Kind::Illegal && &text[at.clone()] == ":") {
        return; // `a::text`, which SQLite takes for no statement at all.
    }
    let wrong = tokens.iter().any(|(kind, range)| match kind {
        Kind::Illegal | Kind::Unclosed => true,
        Kind::Variable => {
            let name = text[range.clone()].strip_prefix(':');
            name.is_none_or(|name| name.contains([':', '(']))
        }
        Kind::Quoted | Kind::Semicolon | Kind::Other => false,
    });
    if !found.problems.is_empty() {
        // Beyond SQLite: a dollar is part of no name, and nothing ends as if a comment began.
        assert!(wrong || text.contains('$') || text.ends_with("/*"), "{tokens:?} {found:?}");
        return;
    }
    assert!(!wrong, "{tokens:?} {found:?}");
    let mut names: Vec<&str> = Vec::new();
    for (_, range) in tokens.iter().filter(|(kind, _)| *kind == Kind::Variable) {
        let name = &text[range.start + 1..range.end];
        if !names.contains(&name) {
            names.push(name);
        }
    }
    assert_eq!(names, found.parameters(), "{tokens:?}");
    let split = tokens.split(|(kind, _)| *kind == Kind::Semicolon);
    assert_eq!(split.filter(|part| !part.is_empty()).count(), found.statements);
    if found.statements == 1 {
        asked(text, &found);
    }
}

/// What SQLite itself says of it, if to SQLite it is a statement.
fn asked(text: &str, found: &Scan) {
    thread_local! {
        static DATABASE: Connection = {
            let database = Connection::open_in_memory().expect("a database");
            database.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 65_536).expect("a limit");
            database.execute_batch("create table t (a, b, c, id, x, y)").expect("a table");
            database
        };
    }
    DATABASE.with(|database| {
        let Ok(statement) = database.prepare(text) else { return };
        let bound = 1..=statement.parameter_count();
        let bound: Vec<_> =
            bound.map(|at| statement.parameter_name(at).unwrap_or_default().to_owned()).collect();
        let ours: Vec<_> = found.parameters().iter().map(|name| format!(":{name}")).collect();
        // A comparison that SQLite can answer without them may leave some out; none may be added.
        assert_eq!(
            bound.iter().collect::<BTreeSet<_>>(),
            ours.iter().collect(),
            "SQLite binds others"
        );
        if found.reads() {
            assert!(statement.readonly(), "it begins as a read and is none");
        }
    });
}

fn postgres(text: &str) {
    let found = scan(text, Dialect::Postgres);
    places(text, &found);
    if !found.problems.is_empty() || !found.interpolations.is_empty() {
        return;
    }
    let compiled = found.compile(text, Dialect::Postgres);
    assert_eq!(compiled.parameters, found.parameters());
    // Every use became a number, which is a placeholder of no name, and nothing else changed.
    let again = scan(&compiled.statement, Dialect::Postgres);
    assert_eq!(again.placeholders, [], "{compiled:?}");
    assert!(again.problems.len() >= compiled.parameters.len(), "{compiled:?}");
    for (at, _) in &again.problems {
        let number = compiled.statement[at.start + 1..].chars().take_while(char::is_ascii_digit);
        let number: usize = number.collect::<String>().parse().expect("a placeholder's number");
        assert!((1..=compiled.parameters.len()).contains(&number), "{compiled:?}");
    }
    let whole = |scan: &Scan| (scan.statements, scan.keyword.clone(), scan.reads());
    assert_eq!(whole(&again), whole(&found));
}

/// Every place is in the text, and says what it is said to say.
fn places(text: &str, found: &Scan) {
    for (name, at) in &found.placeholders {
        assert_eq!(text.get(at.clone()), Some(format!(":{name}").as_str()));
    }
    let problems = found.problems.iter().map(|(at, _)| at);
    for at in problems.chain(found.interpolations.iter().map(|(at, _)| at)) {
        assert!(text.get(at.clone()).is_some(), "{at:?} is no place in it");
    }
    let names: BTreeSet<_> = found.parameters().into_iter().collect();
    assert_eq!(names.len(), found.placeholders.len(), "a name twice");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quoted,
    Variable,
    Semicolon,
    Illegal,
    /// A comment without an end, which SQLite lets end with the text.
    Unclosed,
    Other,
}

/// The tokens, without blanks and comments.
fn tokens(text: &str) -> Vec<(Kind, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut tokens = Vec::new();
    while at < bytes.len() {
        let (kind, length) = token(&bytes[at..]);
        if let Some(kind) = kind {
            tokens.push((kind, at..at + length));
        }
        at += length;
    }
    tokens
}

/// `IdChar` of SQLite: letters, digits, `_`, `$` and everything beyond ASCII.
fn id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn run(bytes: &[u8], of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| of(**byte)).count()
}

/// The first token: `None` for blanks and comments.
fn token(bytes: &[u8]) -> (Option<Kind>, usize) {
    let next = |at: usize| bytes.get(at).copied().unwrap_or(0);
    match bytes[0] {
        b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' => (None, 1),
        b'-' if next(1) == b'-' => (None, run(bytes, |b| b != b'\n')),
        b'/' if next(1) == b'*' && next(2) != 0 => {
            match bytes[2..].windows(2).position(|pair| pair == b"*/") {
                Some(end) => (None, end + 4),
                None => (Some(Kind::Unclosed), bytes.len()),
            }
        }
        mark @ (b'\'' | b'"' | b'`') => {
            let mut at = 1;
            while at < bytes.len() {
                if bytes[at] == mark {
                    if next(at + 1) != mark {
                        return (Some(Kind::Quoted), at + 1);
                    }
                    at += 1;
                }
                at += 1;
            }
            (Some(Kind::Illegal), bytes.len())
        }
        b'[' => match bytes.iter().position(|byte| *byte == b']') {
            Some(end) => (Some(Kind::Quoted), end + 1),
            None => (Some(Kind::Illegal), bytes.len()),
        },
        b'?' => (Some(Kind::Variable), 1 + run(&bytes[1..], |b| b.is_ascii_digit())),
        b'$' | b'@' | b'#' | b':' => variable(bytes),
        b';' => (Some(Kind::Semicolon), 1),
        byte if id(byte) => (Some(Kind::Other), run(bytes, id)),
        _ => (Some(Kind::Other), 1),
    }
}

/// A variable, with the parts that Tcl's have: `::` inside, and `(…)` at the end.
fn variable(bytes: &[u8]) -> (Option<Kind>, usize) {
    let (mut at, mut named) = (1, 0);
    while at < bytes.len() {
        if id(bytes[at]) {
            named += 1;
        } else if bytes[at] == b'(' && named > 0 {
            let inside = run(&bytes[at + 1..], |b| !b.is_ascii_whitespace() && b != b')');
            let end = at + 1 + inside;
            return match bytes.get(end) {
                Some(b')') => (Some(Kind::Variable), end + 1),
                _ => (Some(Kind::Illegal), end),
            };
        } else if bytes[at] == b':' && bytes.get(at + 1) == Some(&b':') {
            at += 1;
        } else {
            break;
        }
        at += 1;
    }
    (Some(if named == 0 { Kind::Illegal } else { Kind::Variable }), at)
}
