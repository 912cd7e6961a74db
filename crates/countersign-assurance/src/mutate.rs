//! The posture quietly weakened, one control at a time: does any case notice? A case notices by what a
//! call did; that the posture is another is nothing that it could see.

mod weaken;

use crate::port::Ground;
use crate::report::Verdict;
use crate::run::{Asked, Known, Prepared, batches, one};
use countersign_posture::evals::{Case, Step};
use countersign_posture::{load_posture, posture_data};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;
pub use weaken::{Mutant, mutants};

/// How many cases the first gateway of a mutant is given: most mutants are noticed by one of these.
const FIRST: usize = 24;

/// What became of a mutant.
#[derive(Debug)]
pub struct Tried {
    /// What was weakened.
    pub mutant: Mutant,
    /// What the cases said.
    pub end: End,
}

/// How a mutant ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// `check`, or the start of the gateway, refuses it: it could not have come into force.
    Refused(String),
    /// The first case that noticed, among those that people wrote and among those that were generated,
    /// and the rule that it broke.
    Noticed {
        /// Of those that people wrote.
        written: Option<(String, String)>,
        /// Of those that were generated.
        generated: Option<(String, String)>,
    },
}

impl Tried {
    /// Whether any case noticed.
    #[must_use]
    pub fn killed(&self) -> bool {
        matches!(&self.end, End::Noticed { written, generated } if written.is_some() || generated.is_some())
    }

    /// Whether none did, of a mutant that could have come into force.
    #[must_use]
    pub fn survived(&self) -> bool {
        matches!(&self.end, End::Noticed { written: None, generated: None })
    }
}

/// Which mutants are wanted, by what is told of them; and what is told of each as it ends.
pub type Reach<'a> = (&'a (dyn Fn(&str) -> bool + Sync), &'a (dyn Fn(&Tried) + Sync));

/// Weakens the posture in every way known here, and runs the cases that touch what was weakened until
/// one fails.
///
/// # Errors
/// A sentence, if a copy cannot be made.
pub fn mutate(
    asked: &Asked<'_>,
    (ground, runtime): (&dyn Ground, &Handle),
    (wanted, told): Reach<'_>,
) -> Result<Vec<Tried>, String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a folder for copies: {error}"))?;
    let prepared = Prepared::of(asked, &scratch)?;
    let files = posture_data(&asked.isolated.posture);
    let mut mutants = mutants(&files, &policies(&asked.isolated.posture), asked.loaded);
    mutants.retain(|mutant| wanted(&mutant.told));
    let next = AtomicUsize::new(0);
    let ended: Mutex<BTreeMap<usize, Tried>> = Mutex::default();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = mutants.get(at) else { return };
            let end = attempt(asked, (ground, runtime), (&prepared, mutant));
            let tried = Tried { mutant: mutant.clone(), end: end.unwrap_or_else(End::Refused) };
            told(&tried);
            if let Ok(mut ended) = ended.lock() {
                ended.insert(at, tried);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.gateways.clamp(1, crate::bound::GATEWAYS_MAX) {
            scope.spawn(work);
        }
    });
    let ended = ended.into_inner().map_err(|_poisoned| "a worker was lost")?;
    Ok(ended.into_values().collect())
}

/// The hand-written policies of a posture, by path.
fn policies(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder.join("policies")).into_iter().flatten().flatten();
    let cedar = entries.filter(|entry| entry.path().extension().is_some_and(|is| is == "cedar"));
    let read = cedar.filter_map(|entry| {
        let name = format!("policies/{}", entry.file_name().to_string_lossy());
        Some((name, fs::read_to_string(entry.path()).ok()?))
    });
    read.collect()
}

/// One mutant: `Err` if it could not have come into force.
fn attempt(
    asked: &Asked<'_>,
    (ground, runtime): (&dyn Ground, &Handle),
    (prepared, mutant): (&Prepared, &Mutant),
) -> Result<End, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    copy(&asked.isolated.posture, folder.path()).map_err(|error| error.to_string())?;
    for (file, text) in &mutant.files {
        let path = folder.path().join(file);
        let written = match text {
            Some(text) => fs::write(path, text),
            None => fs::remove_file(path),
        };
        written.map_err(|error| error.to_string())?;
    }
    let (loaded, findings) = load_posture(folder.path());
    let Some(loaded) = loaded else {
        let errors = findings.iter().map(ToString::to_string);
        return Err(errors.take(1).collect());
    };
    let isolated = asked.isolated.with_posture(folder.path());
    let trying = asked.on(&loaded, &isolated);
    let pattern = prepared.pattern(&trying, (ground, runtime))?;
    let known = prepared.known(&loaded);
    let noticed = |generated: bool| {
        let mut cases: Vec<&Case> = asked
            .cases
            .iter()
            .copied()
            .filter(|case| {
                case.suite.starts_with("generated-") == generated && touches(case, mutant)
            })
            .collect();
        // Those that speak of what was weakened come first.
        cases
            .sort_by_key(|case| !mutant.words.iter().any(|word| case.name.contains(word.as_str())));
        first(&cases, &trying, (&pattern, &known))
    };
    Ok(End::Noticed { written: noticed(false)?, generated: noticed(true)? })
}

/// The first case of which something does not hold.
fn first(
    cases: &[&Case],
    trying: &Asked<'_>,
    (pattern, known): (&crate::site::Pattern<'_>, &Known<'_>),
) -> Result<Option<(String, String)>, String> {
    let (head, tail) = cases.split_at(cases.len().min(FIRST));
    for part in [head, tail] {
        for batch in batches(part, (known.loaded, &trying.agent)) {
            let verdicts = one(pattern, known, (&batch, trying))?;
            let failed = verdicts.into_iter().map(|(_, verdict)| verdict).find(|v| !v.passed());
            if let Some(Verdict { id, broken, .. }) = failed {
                let rule = broken.first().map_or("", |broken| broken.rule);
                return Ok(Some((id, rule.to_owned())));
            }
        }
    }
    Ok(None)
}

/// Whether a case has to do with what was weakened.
fn touches(case: &Case, mutant: &Mutant) -> bool {
    let called: BTreeSet<&str> = case
        .script
        .iter()
        .filter_map(|step| match step {
            Step::Call(call) => Some(call.tool.as_str()),
            Step::Decide(_) | Step::Fail(_) | Step::Lose(_) | Step::Wait(_) => None,
        })
        .collect();
    mutant.tools.is_empty() || mutant.tools.iter().any(|tool| called.contains(tool.as_str()))
}

/// The posture's files, without its suite.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() && entry.file_name() != "evals" {
            copy(&path, &target)?;
        } else if path.is_file() {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
