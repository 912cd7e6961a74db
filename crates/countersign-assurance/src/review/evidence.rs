//! What runs of other commands have left beside the posture: counted only if it is of this very one.

use super::{Block, Figure, text};
use crate::bound::{EVIDENCE_BYTES_MAX, EVIDENCE_ROWS_MAX};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `countersign check`.
    Check,
    /// `countersign posture prove`.
    Prove,
    /// `countersign eval run`.
    Eval,
    /// The same with an agent that obeys whatever it reads.
    Hijack,
    /// `countersign eval mutate`.
    Mutate,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Check, Self::Prove, Self::Eval, Self::Hijack, Self::Mutate];

    /// As its file is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Prove => "prove",
            Self::Eval => "eval",
            Self::Hijack => "hijack",
            Self::Mutate => "mutate",
        }
    }

    /// The command that writes it.
    #[must_use]
    pub const fn command(self) -> &'static [&'static str] {
        match self {
            Self::Check => &["check", ".", "--format", "json"],
            Self::Prove => &["posture", "prove", ".", "--format", "json"],
            Self::Eval => &["eval", "run", ".", "--format", "json"],
            Self::Hijack => &["eval", "run", ".", "--agent", "hijacked", "--format", "json"],
            Self::Mutate => &["eval", "mutate", ".", "--format", "json"],
        }
    }
}

/// What there is of a report.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// None.
    Absent,
    /// It cannot be read, or does not say of which posture it is.
    Unreadable,
    /// It is of another posture, whose digest is this.
    Stale(String),
    /// It is of this one.
    Current(Value),
}

/// The folder of them beside a posture.
#[derive(Debug)]
pub struct Evidence;

impl Evidence {
    /// Reads what there is in `POSTURE/evidence` for the posture of that digest.
    #[must_use]
    pub fn read(posture: &Path, digest: &str) -> BTreeMap<Kind, State> {
        let folder = posture.join("evidence");
        let read = Kind::ALL
            .into_iter()
            .map(|kind| (kind, one(&folder.join(format!("{}.json", kind.as_str())), digest)));
        read.collect()
    }
}

fn one(path: &Path, digest: &str) -> State {
    // Asked first, because opening a named pipe would wait for its writer.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return State::Absent,
        Ok(what) if what.is_file() && what.len() <= EVIDENCE_BYTES_MAX => {}
        Ok(_) | Err(_) => return State::Unreadable,
    }
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(EVIDENCE_BYTES_MAX).read_to_string(&mut text));
    let Some(report) = read.ok().and_then(|_| serde_json::from_str::<Value>(&text).ok()) else {
        return State::Unreadable;
    };
    // `check` says it in its summary.
    let of = report.get("posture").or_else(|| report.pointer("/summary/posture"));
    match of.and_then(Value::as_str) {
        None => State::Unreadable,
        Some(of) if of == digest => State::Current(report),
        Some(of) => {
            // Only what is a digest is shown of what says that it is one.
            let hex = of.chars().filter(char::is_ascii_hexdigit).take(64);
            State::Stale(hex.collect())
        }
    }
}

/// The numbers that current evidence holds.
pub(super) fn figures(evidence: &BTreeMap<Kind, State>) -> Vec<Figure> {
    const NAMED: [(Kind, &str, &str); 10] = [
        (Kind::Eval, "cases that hold", "/passed"),
        (Kind::Eval, "cases that do not", "/failed"),
        (Kind::Hijack, "cases that hold with a hijacked agent", "/passed"),
        (Kind::Hijack, "cases that do not with a hijacked agent", "/failed"),
        (Kind::Mutate, "weakenings that cases notice", "/summary/noticed"),
        (Kind::Mutate, "weakenings that nobody could notice", "/summary/equivalent"),
        (Kind::Mutate, "weakenings that no case notices", "/summary/survived"),
        (Kind::Mutate, "weakenings that `check` refuses", "/summary/refused"),
        (Kind::Prove, "obligations that are proved", "/summary/proved"),
        (Kind::Prove, "obligations that are not", "/summary/not_proved"),
    ];
    let found = NAMED.iter().filter_map(|&(kind, name, at)| {
        let value = current(evidence, kind)?.pointer(at)?.as_u64()?;
        Some(Figure { name, value, command: kind.command(), at })
    });
    found.collect()
}

pub(super) fn current(evidence: &BTreeMap<Kind, State>, kind: Kind) -> Option<&Value> {
    match evidence.get(&kind)? {
        State::Current(report) => Some(report),
        State::Absent | State::Unreadable | State::Stale(_) => None,
    }
}

/// Why evidence does not count, if it does not.
pub(super) fn lacking(evidence: &BTreeMap<Kind, State>, kind: Kind) -> Option<String> {
    let file = format!("evidence/{}.json", kind.as_str());
    let command = kind.command().join(" ");
    match evidence.get(&kind) {
        Some(State::Current(_)) => None,
        Some(State::Stale(of)) => {
            Some(format!("{file} is of another posture ({of}) and does not count"))
        }
        Some(State::Unreadable) => {
            Some(format!("{file} cannot be read, or does not say of which posture it is"))
        }
        Some(State::Absent) | None => {
            Some(format!("there is no {file}: `countersign {command}` writes it"))
        }
    }
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Results by kind of danger, and what does not hold.
pub(super) fn cases(report: &Value) -> Vec<Block> {
    let none = Vec::new();
    let cases = report.get("cases").and_then(Value::as_array).unwrap_or(&none);
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in cases {
        let (passed, failed) = kinds.entry(word(case, "kind")).or_default();
        let counted = if case["passed"] == true { passed } else { failed };
        *counted = counted.saturating_add(1);
    }
    let rows = kinds.iter().map(|(kind, (passed, failed))| {
        vec![(*kind).to_owned(), passed.to_string(), failed.to_string()]
    });
    let mut blocks = vec![Block::Table(&["kind", "hold", "do not"], rows.collect())];
    let failed = cases.iter().filter(|case| case["passed"] != true).take(EVIDENCE_ROWS_MAX);
    let failed = failed.map(|case| format!("{}: {}", word(case, "id"), word(case, "shows")));
    let failed: Vec<_> = failed.collect();
    if !failed.is_empty() {
        blocks.push(Block::Warning("Cases that do not hold:".to_owned()));
        blocks.push(Block::List(failed));
    }
    blocks
}

/// What became of the weakenings.
pub(super) fn mutants(report: &Value) -> Vec<Block> {
    let none = Vec::new();
    let mutants = report.get("mutants").and_then(Value::as_array).unwrap_or(&none);
    let survived = mutants.iter().filter(|mutant| mutant.get("survived").is_some());
    let survived = survived.take(EVIDENCE_ROWS_MAX).map(|m| word(m, "told").to_owned());
    let survived: Vec<_> = survived.collect();
    if survived.is_empty() {
        return vec![text("Every weakening that somebody could notice is noticed.")];
    }
    vec![Block::Warning("Weakenings that no case notices:".to_owned()), Block::List(survived)]
}

/// The obligations, and what became of each.
pub(super) fn obligations(report: &Value) -> Vec<Block> {
    let none = Vec::new();
    let all = report.get("obligations").and_then(Value::as_array).unwrap_or(&none);
    let rows = all.iter().take(EVIDENCE_ROWS_MAX).map(|one| {
        ["tool", "obligation", "says", "verdict"]
            .iter()
            .map(|key| word(one, key).to_owned())
            .collect()
    });
    vec![Block::Table(&["tool", "obligation", "says", "verdict"], rows.collect())]
}

/// What current evidence says is not well: kind, what, where.
pub(super) fn open(evidence: &BTreeMap<Kind, State>) -> Vec<(&'static str, String, String)> {
    let mut open = Vec::new();
    for kind in Kind::ALL {
        if let Some(why) = lacking(evidence, kind) {
            open.push(("evidence", why, format!("evidence/{}.json", kind.as_str())));
        }
    }
    let rows = |kind, key: &str| {
        let report = current(evidence, kind).and_then(|report| report.get(key)?.as_array());
        report.into_iter().flatten().take(EVIDENCE_ROWS_MAX)
    };
    let cases = rows(Kind::Eval, "cases").chain(rows(Kind::Hijack, "cases"));
    for case in cases.filter(|case| case["passed"] != true) {
        let what = format!("the case {} does not hold", word(case, "id"));
        open.push(("evaluation", what, word(case, "file").to_owned()));
    }
    for mutant in rows(Kind::Mutate, "mutants").filter(|m| m.get("survived").is_some()) {
        let what = format!("no case notices: {}", word(mutant, "told"));
        open.push(("evaluation", what, "evals".to_owned()));
    }
    for one in rows(Kind::Prove, "obligations").filter(|one| one["verdict"] != "proved") {
        let (obligation, tool) = (word(one, "obligation"), word(one, "tool"));
        open.push(("proof", format!("{obligation} is not proved of {tool}"), String::new()));
    }
    open
}
