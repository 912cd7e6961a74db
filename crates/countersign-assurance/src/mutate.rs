//! The posture quietly weakened, one control at a time: does any case notice? A case notices by what a
//! call did; that the posture is another is nothing that it could see.

mod weaken;

use crate::generate::{CAUGHT, GENERATED, GeneratedFile, generate};
use crate::port::Ground;
use crate::report::Verdict;
use crate::run::{Asked, Known, Prepared, batches, one};
use crate::site::Pattern;
use countersign_posture::evals::{Case, Equivalent, Step, load_evals};
use countersign_posture::{load_posture, posture_data};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;
pub use weaken::{Mutant, mutants};

/// How many cases the first gateway of a mutant is given: most mutants are noticed by one of these.
const FIRST: usize = 24;
/// With how many others a mutant is tried that no case notices.
const PAIRS_MAX: usize = 12;

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
    /// Cases noticed.
    Noticed(Notice),
    /// No case notices, because another control gives the very same answers.
    Equivalent(Why),
    /// No case notices; one that would, of those that `generate` makes.
    Survived(Option<Missing>),
}

/// The first case that noticed, and the rule that it broke.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notice {
    /// Of those that people wrote.
    pub written: Option<(String, String)>,
    /// Of those that were generated.
    pub generated: Option<(String, String)>,
}

/// How it is known of a mutant that nobody could notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// With another control gone as well, this case ends otherwise than with that alone gone.
    Behind {
        /// The other control, in the words of its mutant.
        other: String,
        /// The case.
        case: String,
    },
    /// Somebody has said so in the suite.
    Said(String),
}

/// A case that is not in the suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The file that it would stand in.
    pub suite: String,
    /// Its name there.
    pub name: String,
    /// As it is written.
    pub text: String,
}

/// What became of all of them.
#[derive(Debug)]
pub struct Mutated {
    /// Each, in a stable order.
    pub tried: Vec<Tried>,
    /// What the suite says of a mutant that cases notice, or that there is not.
    pub stale: Vec<String>,
}

impl Tried {
    /// Whether any case noticed.
    #[must_use]
    pub const fn killed(&self) -> bool {
        matches!(self.end, End::Noticed(_))
    }

    /// Whether none did, of a mutant that somebody could notice.
    #[must_use]
    pub const fn survived(&self) -> bool {
        matches!(self.end, End::Survived(_))
    }
}

/// Which mutants are wanted, by what is told of them; and what is told of each as it ends.
pub type Reach<'a> = (&'a (dyn Fn(&str) -> bool + Sync), &'a (dyn Fn(&Tried) + Sync));

/// Everything that mutants are tried by.
struct Bench<'a> {
    asked: &'a Asked<'a>,
    ground: &'a dyn Ground,
    runtime: &'a Handle,
    prepared: Prepared,
    files: BTreeMap<String, Value>,
    mutants: Vec<Mutant>,
    /// What `generate` makes and the suite has not, each with its text.
    spare: Vec<(Case, String)>,
}

/// Weakens the posture in every way known here, and runs the cases that touch what was weakened until
/// one fails.
///
/// # Errors
/// A sentence, if a copy cannot be made.
pub fn mutate(
    asked: &Asked<'_>,
    (ground, runtime): (&dyn Ground, &Handle),
    (wanted, told): Reach<'_>,
) -> Result<Mutated, String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("a folder for copies: {error}"))?;
    let prepared = Prepared::of(asked, &scratch)?;
    let files = posture_data(&asked.isolated.posture);
    let mutants = mutants(&files, &policies(&asked.isolated.posture), asked.loaded);
    let spare = spare(asked)?;
    let bench = Bench { asked, ground, runtime, prepared, files, mutants, spare };
    let next = AtomicUsize::new(0);
    let ended: Mutex<BTreeMap<usize, Tried>> = Mutex::default();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = bench.mutants.get(at) else { return };
            if !wanted(&mutant.told) {
                continue;
            }
            let end = bench.attempt(mutant).unwrap_or_else(End::Refused);
            let tried = Tried { mutant: mutant.clone(), end };
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
    let tried: Vec<_> = ended.into_values().collect();
    let noticed = |said: &&Equivalent| {
        let found = tried.iter().find(|tried| tried.mutant.told == said.mutant);
        let none = found.is_none() && wanted(&said.mutant);
        none || found.is_some_and(|tried| !matches!(tried.end, End::Equivalent(_)))
    };
    let stale = asked.evals.equivalents.iter().filter(noticed);
    let stale = stale.map(|said| said.mutant.clone()).collect();
    Ok(Mutated { tried, stale })
}

/// What `generate` makes of the posture and the suite has not.
fn spare(asked: &Asked<'_>) -> Result<Vec<(Case, String)>, String> {
    let files = generate(asked.loaded, (asked.isolated, asked.evals))?;
    let failed = |error: std::io::Error| format!("cases of the run's own: {error}");
    let folder = tempfile::tempdir().map_err(failed)?;
    let evals = folder.path().join("evals");
    fs::create_dir_all(&evals).map_err(failed)?;
    let mut texts = BTreeMap::new();
    for GeneratedFile { name, text, parts, .. } in files {
        fs::write(evals.join(&name), text).map_err(failed)?;
        let suite = name.trim_end_matches(".yaml").to_owned();
        texts.extend(parts.into_iter().map(|(case, text)| (format!("{suite}/{case}"), text)));
    }
    let (made, _) = load_evals(folder.path(), Some(asked.loaded));
    let there: BTreeSet<String> = asked.cases.iter().map(|case| case.id()).collect();
    let cases = made.into_iter().flat_map(|evals| evals.cases);
    let missing = cases.filter(|case| !there.contains(&case.id()));
    Ok(missing
        .filter_map(|case| Some((texts.remove(&case.id())?, case)))
        .map(|(t, c)| (c, t))
        .collect())
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

/// Whether a case was generated, at once or because a mutant survived.
fn is_generated(case: &Case) -> bool {
    [GENERATED, CAUGHT].iter().any(|prefix| case.suite.starts_with(prefix))
}

/// A gateway's pattern under a weakened posture, and what its cases are judged by.
type Under<'u> = (&'u Asked<'u>, &'u Pattern<'u>, &'u Known<'u>);

impl Bench<'_> {
    /// Does something under a weakened posture; `Err` if that could not have come into force.
    fn under<T>(
        &self,
        mutant: &Mutant,
        then: impl FnOnce(Under<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        copy(&self.asked.isolated.posture, folder.path()).map_err(|error| error.to_string())?;
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
        let isolated = self.asked.isolated.with_posture(folder.path());
        let trying = self.asked.on(&loaded, &isolated);
        let pattern = self.prepared.pattern(&trying, (self.ground, self.runtime))?;
        let known = self.prepared.known(&loaded);
        then((&trying, &pattern, &known))
    }

    /// One mutant: `Err` if it could not have come into force.
    fn attempt(&self, mutant: &Mutant) -> Result<End, String> {
        let cases = self.touching(mutant);
        let (generated, written): (Vec<_>, Vec<_>) =
            cases.iter().copied().partition(|case| is_generated(case));
        let spare = self.spare.iter().map(|(case, _)| case).filter(|case| touches(case, mutant));
        let spare: Vec<_> = spare.collect();
        let (notice, missed) = self.under(mutant, |under| {
            let (written, generated) = (first(&written, under)?, first(&generated, under)?);
            let notice = Notice { written, generated };
            let missed = match notice == Notice::default() {
                true => first(&spare, under)?,
                false => None,
            };
            Ok((notice, missed))
        })?;
        if notice != Notice::default() {
            return Ok(End::Noticed(notice));
        }
        if let Some((id, _)) = missed {
            let found = self.spare.iter().find(|(case, _)| case.id() == id);
            return Ok(End::Survived(found.map(|(case, text)| Missing {
                suite: case.suite.clone(),
                name: case.name.clone(),
                text: text.clone(),
            })));
        }
        if let Some(why) = self.behind(mutant, &cases) {
            return Ok(End::Equivalent(why));
        }
        let mut said = self.asked.evals.equivalents.iter();
        let said = said.find(|said| said.mutant == mutant.told);
        Ok(match said {
            Some(said) => End::Equivalent(Why::Said(said.because.clone())),
            None => End::Survived(None),
        })
    }

    /// The cases that touch what was weakened; those that speak of it come first.
    fn touching(&self, mutant: &Mutant) -> Vec<&Case> {
        let cases = self.asked.cases.iter().copied();
        let mut cases: Vec<_> = cases.filter(|case| touches(case, mutant)).collect();
        cases
            .sort_by_key(|case| !mutant.words.iter().any(|word| case.name.contains(word.as_str())));
        cases
    }

    /// Which other control hides that this one is gone: without it a case ends otherwise once this one
    /// is gone too.
    fn behind(&self, mutant: &Mutant, cases: &[&Case]) -> Option<Why> {
        let alike = |other: &&Mutant| {
            other.told != mutant.told && other.tools.iter().any(|tool| mutant.tools.contains(tool))
        };
        let mut others: Vec<_> = self.mutants.iter().filter(alike).collect();
        let near = |other: &Mutant| other.words.iter().any(|word| mutant.words.contains(word));
        others.sort_by_key(|other| (!near(other), other.control != "statement"));
        let (head, tail) = cases.split_at(cases.len().min(FIRST));
        others.into_iter().take(PAIRS_MAX).find_map(|other| {
            let both = both(&self.files, mutant, other)?;
            [head, tail].into_iter().find_map(|part| {
                // One that could not have come into force hides nothing.
                let alone = self.under(other, |under| ends(part, under)).ok()?;
                let together = self.under(&both, |under| ends(part, under)).ok()?;
                let case = together.into_iter().find(|(id, end)| alone.get(id) != Some(end))?.0;
                Some(Why::Behind { other: other.told.clone(), case })
            })
        })
    }
}

/// How cases end: their calls, and the rules that they break.
fn ends(
    cases: &[&Case],
    (trying, pattern, known): Under<'_>,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut ends = BTreeMap::new();
    for batch in batches(cases, (known.loaded, &trying.agent)) {
        for (_, verdict) in one(pattern, known, (&batch, trying))? {
            let calls = verdict.calls.iter().map(|made| made.told.end.clone());
            let rules = verdict.broken.iter().map(|broken| broken.rule.to_owned());
            ends.insert(verdict.id, calls.chain(rules).collect());
        }
    }
    Ok(ends)
}

/// Both weakenings at once; `None` where they say different things of one place.
fn both(files: &BTreeMap<String, Value>, one: &Mutant, other: &Mutant) -> Option<Mutant> {
    let mut both = one.clone();
    for (path, text) in &other.files {
        let Some((_, own)) = both.files.iter_mut().find(|(own, _)| own == path) else {
            both.files.push((path.clone(), text.clone()));
            continue;
        };
        let read = |text: &Option<String>| serde_json::from_str(text.as_deref()?).ok();
        let (ours, theirs): (Value, Value) = (read(own)?, read(text)?);
        let merged = merged(files.get(path), Some(&ours), Some(&theirs))?;
        *own = merged.map(|merged| merged.to_string());
    }
    Some(both)
}

/// What two have made of one value; `None` if not both can be.
fn merged(
    base: Option<&Value>,
    one: Option<&Value>,
    other: Option<&Value>,
) -> Option<Option<Value>> {
    if one == base || one == other {
        return Some(other.cloned());
    }
    if other == base {
        return Some(one.cloned());
    }
    let (Some(Value::Object(base)), Some(Value::Object(one)), Some(Value::Object(other))) =
        (base, one, other)
    else {
        return None;
    };
    let mut whole = Map::new();
    for key in one.keys().chain(other.keys()) {
        if let Some(value) = merged(base.get(key), one.get(key), other.get(key))? {
            whole.insert(key.clone(), value);
        }
    }
    Some(Some(Value::Object(whole)))
}

/// The first case of which something does not hold.
fn first(
    cases: &[&Case],
    (trying, pattern, known): Under<'_>,
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
            Step::Decide(_) | Step::StandIn(_) | Step::Fail(_) | Step::Lose(_) | Step::Wait(_) => {
                None
            }
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
