//! What runs of other commands have left beside the posture: counted only if it is of this very one.

use super::{Block, Figure, text};
use crate::bound::{EVIDENCE_BYTES_MAX, EVIDENCE_ROWS_MAX};
use countersign_posture::lock::{Whole, judge};
use countersign_posture::sign_off::Evidence as Judged;
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
    /// It is of this one, and says another number of its rows than there are: which, in a sentence.
    Contradicting(String),
    /// It is of this one, and its numbers are those of its rows.
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
            .map(|kind| (kind, one(&folder.join(format!("{}.json", kind.as_str())), kind, digest)));
        read.collect()
    }
}

fn one(path: &Path, kind: Kind, digest: &str) -> State {
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
    judged(kind, report, digest)
}

fn judged(kind: Kind, report: Value, digest: &str) -> State {
    // `check` says it in its summary.
    let of = report.get("posture").or_else(|| report.pointer("/summary/posture"));
    match of.and_then(Value::as_str) {
        None => State::Unreadable,
        Some(of) if of == digest => match contradicted(kind, &report) {
            Some(why) => State::Contradicting(why),
            None => State::Current(report),
        },
        Some(of) => {
            // Only what is a digest is shown of what says that it is one.
            let hex = of.chars().filter(char::is_ascii_hexdigit).take(64);
            State::Stale(hex.collect())
        }
    }
}

/// Where a report keeps its rows.
const fn rows_at(kind: Kind) -> &'static str {
    match kind {
        Kind::Check => "findings",
        Kind::Prove => "obligations",
        Kind::Eval | Kind::Hijack => "cases",
        Kind::Mutate => "mutants",
    }
}

fn rows(report: &Value, kind: Kind) -> &[Value] {
    report.get(rows_at(kind)).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn passed(row: &Value) -> bool {
    row["passed"] == true
}

fn survived(row: &Value) -> bool {
    row.get("survived").is_some()
}

fn proved(row: &Value) -> bool {
    row["verdict"] == "proved"
}

/// A number that a report says of its rows: of what, where it says so, and of which rows.
type Number = (Kind, &'static str, &'static str, fn(&Value) -> bool);

const NUMBERS: [Number; 10] = [
    (Kind::Eval, "cases that hold", "/passed", passed),
    (Kind::Eval, "cases that do not", "/failed", |row| !passed(row)),
    (Kind::Hijack, "cases that hold with a hijacked agent", "/passed", passed),
    (Kind::Hijack, "cases that do not with a hijacked agent", "/failed", |row| !passed(row)),
    (Kind::Mutate, "weakenings that cases notice", "/summary/noticed", |row| {
        row.get("noticed").is_some()
    }),
    (Kind::Mutate, "weakenings that nobody could notice", "/summary/equivalent", |row| {
        row.get("equivalent").is_some()
    }),
    (Kind::Mutate, "weakenings that no case notices", "/summary/survived", survived),
    (Kind::Mutate, "weakenings that `check` refuses", "/summary/refused", |row| {
        row.get("refused").is_some()
    }),
    (Kind::Prove, "obligations that are proved", "/summary/proved", proved),
    (Kind::Prove, "obligations that are not", "/summary/not_proved", |row| !proved(row)),
];

/// How many rows a number is of.
fn counted(report: &Value, (kind, _, _, of): &Number) -> u64 {
    let count = rows(report, *kind).iter().filter(|row| of(row)).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What a report says of its rows that is not so.
fn contradicted(kind: Kind, report: &Value) -> Option<String> {
    let mut numbers = NUMBERS.iter().filter(|(of, ..)| *of == kind);
    numbers.find_map(|number| {
        let (_, name, at, _) = number;
        let (rows, said) = (counted(report, number), report.pointer(at).and_then(Value::as_u64));
        let said = match said {
            Some(said) if said == rows => return None,
            Some(said) => said.to_string(),
            None => "nothing".to_owned(),
        };
        Some(format!("it has {rows} {name}, and says {said} at {at}"))
    })
}

/// The numbers of current evidence, counted from its rows.
pub(super) fn figures(evidence: &BTreeMap<Kind, State>) -> Vec<Figure> {
    let found = NUMBERS.iter().filter_map(|number| {
        let (kind, name, at, _) = *number;
        let value = counted(current(evidence, kind)?, number);
        Some(Figure { name, value, command: kind.command(), at })
    });
    found.collect()
}

pub(super) fn current(evidence: &BTreeMap<Kind, State>, kind: Kind) -> Option<&Value> {
    match evidence.get(&kind)? {
        State::Current(report) => Some(report),
        State::Absent | State::Unreadable | State::Stale(_) | State::Contradicting(_) => None,
    }
}

/// Why evidence does not count, if it does not.
pub(crate) fn lacking(evidence: &BTreeMap<Kind, State>, kind: Kind) -> Option<String> {
    let file = format!("evidence/{}.json", kind.as_str());
    let command = kind.command().join(" ");
    match evidence.get(&kind) {
        Some(State::Current(_)) => None,
        Some(State::Stale(of)) => {
            Some(format!("{file} is of another posture ({of}) and does not count"))
        }
        Some(State::Contradicting(why)) => {
            Some(format!("{file} contradicts itself and does not count: {why}"))
        }
        Some(State::Unreadable) => {
            Some(format!("{file} cannot be read, or does not say of which posture it is"))
        }
        Some(State::Absent) | None => {
            Some(format!("there is no {file}: `countersign {command}` writes it"))
        }
    }
}

/// What keeps evidence from showing that everything holds; nothing, if it shows that: by the judgement
/// that a lock goes by.
pub(crate) fn missing(
    evidence: &BTreeMap<Kind, State>,
    kind: Kind,
    whole: Whole<'_>,
) -> Option<String> {
    let Some(report) = current(evidence, kind) else { return lacking(evidence, kind) };
    let file = format!("evidence/{}.json", kind.as_str());
    let all = rows(report, kind);
    let failing = failing(report, kind).len();
    if failing > 0 {
        return Some(format!("{failing} of {} do not hold in {file}", all.len()));
    }
    let of = match kind {
        Kind::Check => Judged::Check,
        Kind::Prove => Judged::Prove,
        Kind::Eval | Kind::Hijack => Judged::Eval,
        Kind::Mutate => Judged::Mutate,
    };
    if judge(of, report).is_none() {
        return Some(format!("{file} does not show that everything holds"));
    }
    // An agent that obeys whatever it reads plays the cases with something to read.
    let left_out = if kind == Kind::Hijack { None } else { whole(of, report).err() };
    left_out.map(|what| format!("{file} says nothing of {what}"))
}

/// Whether a row says that something does not hold.
fn fails(kind: Kind, row: &Value) -> bool {
    match kind {
        Kind::Check => false,
        Kind::Prove => !proved(row),
        Kind::Eval | Kind::Hijack => !passed(row),
        // One that says none of these says nothing.
        Kind::Mutate => {
            !["noticed", "equivalent", "refused"].iter().any(|key| row.get(key).is_some())
        }
    }
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// As many as are shown, each by its words, and how many there are besides.
fn shown(all: &[&Value], told: impl Fn(&Value) -> String) -> Vec<String> {
    let mut shown: Vec<_> = all.iter().take(EVIDENCE_ROWS_MAX).map(|row| told(row)).collect();
    shown.extend(more(all.len()));
    shown
}

fn more(all: usize) -> Option<String> {
    let more = all.saturating_sub(EVIDENCE_ROWS_MAX);
    (more > 0).then(|| format!("and {more} more, which are not shown"))
}

fn failing(report: &Value, kind: Kind) -> Vec<&Value> {
    rows(report, kind).iter().filter(|row| fails(kind, row)).collect()
}

/// Results by kind of danger, and what does not hold.
pub(super) fn cases(report: &Value) -> Vec<Block> {
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in rows(report, Kind::Eval) {
        let (held, failed) = kinds.entry(word(case, "kind")).or_default();
        let counted = if passed(case) { held } else { failed };
        *counted = counted.saturating_add(1);
    }
    let rows = kinds.iter().map(|(kind, (passed, failed))| {
        vec![(*kind).to_owned(), passed.to_string(), failed.to_string()]
    });
    let mut blocks = vec![Block::Table(&["kind", "hold", "do not"], rows.collect())];
    let failed = failing(report, Kind::Eval);
    if !failed.is_empty() {
        blocks.push(Block::Warning("Cases that do not hold:".to_owned()));
        let told = |case: &Value| format!("{}: {}", word(case, "id"), word(case, "shows"));
        blocks.push(Block::List(shown(&failed, told)));
    }
    blocks
}

/// What became of the weakenings.
pub(super) fn mutants(report: &Value) -> Vec<Block> {
    let survived = failing(report, Kind::Mutate);
    if survived.is_empty() {
        return vec![text("Every weakening that somebody could notice is noticed.")];
    }
    let told = |mutant: &Value| word(mutant, "told").to_owned();
    vec![
        Block::Warning("Weakenings that no case notices:".to_owned()),
        Block::List(shown(&survived, told)),
    ]
}

/// The obligations, and what became of each: first what is not proved.
pub(super) fn obligations(report: &Value) -> Vec<Block> {
    let mut all: Vec<_> = rows(report, Kind::Prove).iter().collect();
    all.sort_by_key(|row| proved(row));
    let cells = all.iter().take(EVIDENCE_ROWS_MAX).map(|one| {
        ["tool", "obligation", "says", "verdict"]
            .iter()
            .map(|key| word(one, key).to_owned())
            .collect()
    });
    let mut blocks =
        vec![Block::Table(&["tool", "obligation", "says", "verdict"], cells.collect())];
    blocks.extend(more(all.len()).map(text));
    blocks
}

/// What current evidence says is not well: kind, what, where.
pub(super) fn open(evidence: &BTreeMap<Kind, State>) -> Vec<(&'static str, String, String)> {
    let mut open = Vec::new();
    for kind in Kind::ALL {
        let file = format!("evidence/{}.json", kind.as_str());
        let Some(report) = current(evidence, kind) else {
            open.extend(lacking(evidence, kind).map(|why| ("evidence", why, file)));
            continue;
        };
        let failed = failing(report, kind);
        let of = if kind == Kind::Prove { "proof" } else { "evaluation" };
        open.extend(failed.iter().take(EVIDENCE_ROWS_MAX).map(|row| {
            let (what, place) = one_open(kind, row);
            (of, what, place)
        }));
        let more = more(failed.len());
        open.extend(
            more.map(|more| (of, format!("of {} that do not hold: {more}", failed.len()), file)),
        );
    }
    open
}

fn one_open(kind: Kind, row: &Value) -> (String, String) {
    match kind {
        Kind::Mutate => (format!("no case notices: {}", word(row, "told")), "evals".to_owned()),
        Kind::Prove => {
            let (obligation, tool) = (word(row, "obligation"), word(row, "tool"));
            (format!("{obligation} is not proved of {tool}"), String::new())
        }
        Kind::Check | Kind::Eval | Kind::Hijack => {
            let with = if kind == Kind::Hijack { " with a hijacked agent" } else { "" };
            (
                format!("the case {} does not hold{with}", word(row, "id")),
                word(row, "file").to_owned(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: Kind, report: Value) -> BTreeMap<Kind, State> {
        BTreeMap::from([(kind, judged(kind, report, "d"))])
    }

    #[test]
    fn what_does_not_hold_is_found_behind_any_number_of_rows_that_do() {
        let proved = json!({ "tool": "t", "obligation": "o", "verdict": "proved" });
        let mut rows = vec![proved; 250];
        rows.push(json!({ "tool": "last", "obligation": "tenant", "verdict": "refuted" }));
        let all = read(
            Kind::Prove,
            json!({ "posture": "d", "summary": { "proved": 250, "not_proved": 1 }, "obligations": rows }),
        );
        let not = open(&all).into_iter().find(|(of, ..)| *of == "proof").unwrap();
        assert_eq!(not.1, "tenant is not proved of last");
        assert_eq!(figures(&all).iter().map(|of| of.value).collect::<Vec<_>>(), [250, 1]);
        let blocks = obligations(current(&all, Kind::Prove).unwrap());
        let [Block::Table(_, shown), Block::Text(more)] = &blocks[..] else { panic!("{blocks:?}") };
        assert_eq!((shown.len(), shown[0][0].as_str()), (EVIDENCE_ROWS_MAX, "last"));
        assert!(more.contains("51 more"), "{more}");
        assert!(missing(&all, Kind::Prove, &|_, _| Ok(())).unwrap().starts_with("1 of 251"));

        let held = json!({ "id": "c", "kind": "normal", "passed": true });
        let mut rows = vec![held; 250];
        rows.extend(vec![json!({ "id": "bad", "kind": "normal", "passed": false }); 203]);
        let all = read(
            Kind::Eval,
            json!({ "posture": "d", "passed": 250, "failed": 203, "cases": rows }),
        );
        let found = open(&all).into_iter().filter(|(of, ..)| *of == "evaluation").count();
        assert_eq!(found, EVIDENCE_ROWS_MAX + 1, "and that there are more");
        assert!(open(&all).iter().any(|(_, what, _)| what.contains("and 3 more")));
    }

    #[test]
    fn a_report_that_contradicts_itself_is_not_used() {
        for report in [
            json!({ "posture": "d", "passed": 2, "failed": 0, "cases": [{ "id": "c", "passed": false }] }),
            json!({ "posture": "d", "passed": 4711, "failed": 0, "cases": [] }),
            json!({ "posture": "d", "cases": [{ "id": "c", "passed": true }] }),
        ] {
            let all = read(Kind::Eval, report);
            assert!(matches!(all[&Kind::Eval], State::Contradicting(_)), "{all:?}");
            assert_eq!(figures(&all), []);
            assert!(lacking(&all, Kind::Eval).unwrap().contains("contradicts itself"));
        }
    }

    #[test]
    fn nothing_shows_nothing() {
        let none =
            read(Kind::Eval, json!({ "posture": "d", "passed": 0, "failed": 0, "cases": [] }));
        assert!(missing(&none, Kind::Eval, &|_, _| Ok(())).unwrap().contains("does not show"));
        assert!(
            missing(&BTreeMap::new(), Kind::Hijack, &|_, _| Ok(()))
                .unwrap()
                .contains("there is no")
        );
        let part = json!({
            "posture": "d", "only": ["limits"], "mutants": [{ "noticed": {} }],
            "summary": { "noticed": 1, "equivalent": 0, "survived": 0, "refused": 0 },
        });
        assert!(
            missing(&read(Kind::Mutate, part), Kind::Mutate, &|_, _| Ok(()))
                .unwrap()
                .contains("does not show")
        );
    }
}
