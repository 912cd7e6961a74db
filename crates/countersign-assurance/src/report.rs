//! What a run has shown, for people and for programs.

mod against;
mod junit;
mod page;
mod text;

use crate::judge::Broken;
use crate::script::{Made, Observed};
pub use against::Against;
use countersign_posture::evals::{Case, CaseKind};
pub use junit::junit;
pub use page::{html, markdown};
use serde_json::{Value, json};
use std::collections::BTreeMap;
pub use text::{failure, summary, table};

/// A run.
#[derive(Debug)]
pub struct Report {
    /// The posture's digest.
    pub posture: String,
    /// What stood in for what.
    pub overlay: Vec<String>,
    /// The run's seed.
    pub seed: u64,
    /// How many gateways ran.
    pub gateways: usize,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Each case, in the order of the files.
    pub verdicts: Vec<Verdict>,
    /// Cases that held in one of several repetitions and not in another.
    pub flaky: Vec<String>,
    /// What differs from an earlier run.
    pub against: Option<Against>,
}

/// What came of one case.
#[derive(Debug)]
pub struct Verdict {
    /// `suite/name`.
    pub id: String,
    /// The file's name.
    pub suite: String,
    /// What it shows.
    pub shows: String,
    /// Its kind.
    pub kind: CaseKind,
    /// Where it is written: file and line.
    pub place: (String, usize),
    /// What does not hold.
    pub broken: Vec<Broken>,
    /// The calls as they happened.
    pub calls: Vec<Made>,
    /// What the agent said in the end.
    pub answer: Vec<String>,
    /// How many tokens of a model it cost.
    pub tokens: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Verdict {
    pub(crate) fn new(case: &Case, observed: Observed, broken: Vec<Broken>) -> Self {
        let line = case.place.source.position(case.place.span.start).0;
        Self {
            id: case.id(),
            suite: case.suite.clone(),
            shows: case.shows.clone(),
            kind: case.kind,
            place: (case.place.source.path().to_owned(), line),
            broken,
            calls: observed.calls,
            answer: observed.told,
            tokens: observed.tokens,
            took_ms: observed.took_ms,
        }
    }

    /// Whether everything holds.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.broken.is_empty()
    }
}

impl Report {
    /// Takes in another run of the same cases: what has failed once has failed, and what has not
    /// failed each time is flaky.
    pub fn repeated(&mut self, other: Self) {
        self.took_ms = self.took_ms.saturating_add(other.took_ms);
        self.gateways = self.gateways.saturating_add(other.gateways);
        for (verdict, other) in self.verdicts.iter_mut().zip(other.verdicts) {
            if verdict.passed() != other.passed() && !self.flaky.contains(&verdict.id) {
                self.flaky.push(verdict.id.clone());
            }
            if verdict.passed() {
                *verdict = other;
            }
        }
    }

    /// How many of each kind passed and failed.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<CaseKind, (usize, usize)> {
        let mut kinds: BTreeMap<CaseKind, (usize, usize)> = BTreeMap::new();
        for verdict in &self.verdicts {
            let (passed, failed) = kinds.entry(verdict.kind).or_default();
            let counted = if verdict.passed() { passed } else { failed };
            *counted = counted.saturating_add(1);
        }
        kinds
    }

    /// The cases of which something does not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.passed())
    }

    /// For programs, and as a baseline.
    #[must_use]
    pub fn json(&self) -> Value {
        let cases = self.verdicts.iter().map(|verdict| {
            let broken = verdict.broken.iter();
            json!({
                "id": verdict.id, "kind": verdict.kind.as_str(), "shows": verdict.shows,
                "file": verdict.place.0, "line": verdict.place.1, "passed": verdict.passed(),
                "took_ms": verdict.took_ms, "tokens": verdict.tokens, "answer": verdict.answer,
                "broken": broken.map(|b| json!({ "rule": b.rule, "told": b.told })).collect::<Vec<_>>(),
                "calls": verdict.calls.iter().map(call).collect::<Vec<_>>(),
            })
        });
        json!({
            "posture": self.posture, "seed": self.seed, "gateways": self.gateways,
            "took_ms": self.took_ms, "overlay": self.overlay,
            "passed": self.verdicts.len().saturating_sub(self.failures().count()),
            "failed": self.failures().count(),
            "flaky": self.flaky,
            "against": self.against.as_ref().map(|against| json!({
                "newly_failing": against.newly_failing, "newly_passing": against.newly_passing,
                "new": against.new, "gone": against.gone,
            })),
            "cases": cases.collect::<Vec<_>>(),
        })
    }
}

fn call(made: &Made) -> Value {
    json!({
        "tool": made.tool, "arguments": made.arguments, "tenant": made.tenant,
        "end": made.told.end, "rows": made.told.rows,
    })
}
