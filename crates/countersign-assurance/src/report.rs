//! What a run has shown, for people and for programs.

mod against;
mod junit;
mod page;
mod text;

use crate::judge::Broken;
use crate::outside::Tokens;
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
    /// What an agent that is not the suite's own said in the end.
    pub answer: Option<String>,
    /// What it said on its standard error, the end of it.
    pub stderr: String,
    /// What the model cost, in all runs.
    pub tokens: Tokens,
    /// How often it was run.
    pub runs: u32,
    /// In how many of them everything held.
    pub held: u32,
    /// In how many of them everything has to.
    pub pass: u32,
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
            runs: 1,
            held: u32::from(broken.is_empty()),
            pass: 1,
            broken,
            calls: observed.calls,
            answer: observed.answer,
            stderr: observed.stderr,
            tokens: observed.tokens,
            took_ms: observed.took_ms,
        }
    }

    /// Whether everything holds, as often as it has to.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.held >= self.pass
    }

    /// Takes in another run of the same case; what is told is of one that failed, if one did.
    fn and(self, other: Self) -> Self {
        let runs = self.runs.saturating_add(other.runs);
        let held = self.held.saturating_add(other.held);
        let tokens = self.tokens.and(other.tokens);
        let told = if self.broken.is_empty() { other } else { self };
        Self { runs, held, pass: runs, tokens, ..told }
    }
}

impl Report {
    /// Takes in another run of the same cases: everything has to hold each time, and what holds at times
    /// is flaky.
    pub fn repeated(&mut self, other: Self) {
        self.took_ms = self.took_ms.saturating_add(other.took_ms);
        self.gateways = self.gateways.saturating_add(other.gateways);
        let pairs = std::mem::take(&mut self.verdicts).into_iter().zip(other.verdicts);
        self.verdicts = pairs.map(|(verdict, other)| verdict.and(other)).collect();
        let at_times =
            self.verdicts.iter().filter(|verdict| (1..verdict.runs).contains(&verdict.held));
        self.flaky = at_times.map(|verdict| verdict.id.clone()).collect();
    }

    /// Lets a case pass that holds in so many of its runs.
    pub fn pass_with(&mut self, pass: u32) {
        self.verdicts.iter_mut().for_each(|verdict| verdict.pass = pass);
    }

    /// What models cost.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.verdicts.iter().map(|verdict| verdict.tokens).fold(Tokens::default(), Tokens::and)
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

    /// For programs, as a baseline and as evidence: the same of two runs that went alike, however long
    /// they took.
    #[must_use]
    pub fn json(&self) -> Value {
        let cases = self.verdicts.iter().map(|verdict| {
            let broken = verdict.broken.iter();
            json!({
                "id": verdict.id, "kind": verdict.kind.as_str(), "shows": verdict.shows,
                "file": verdict.place.0, "line": verdict.place.1, "passed": verdict.passed(),
                "tokens": tokens(verdict.tokens), "answer": verdict.answer,
                "stderr": verdict.stderr, "runs": verdict.runs, "held": verdict.held,
                "broken": broken.map(|b| json!({ "rule": b.rule, "told": b.told })).collect::<Vec<_>>(),
                "calls": verdict.calls.iter().map(call).collect::<Vec<_>>(),
            })
        });
        json!({
            "posture": self.posture, "seed": self.seed, "gateways": self.gateways,
            "overlay": self.overlay,
            "passed": self.verdicts.len().saturating_sub(self.failures().count()),
            "failed": self.failures().count(),
            "flaky": self.flaky, "tokens": tokens(self.tokens()),
            "against": self.against.as_ref().map(|against| json!({
                "newly_failing": against.newly_failing, "newly_passing": against.newly_passing,
                "new": against.new, "gone": against.gone,
            })),
            "cases": cases.collect::<Vec<_>>(),
        })
    }
}

fn tokens(Tokens { input, output }: Tokens) -> Value {
    json!({ "input": input, "output": output })
}

fn call(made: &Made) -> Value {
    json!({
        "tool": made.tool, "arguments": made.arguments, "tenant": made.tenant,
        "end": made.told.end, "rows": made.told.rows,
    })
}
