//! A run: cases in batches, each with a gateway of its own, several at a time.

mod batches;

use crate::bound::{CALL_TAKES_MS, CASE_TAKES_MS, CLOCK_MS, GATEWAYS_MAX};
use crate::door::client;
use crate::generate::granted;
use crate::judge::{Facts, judge};
use crate::outside::{Model, Program, Stopped};
use crate::overlay::Isolated;
use crate::own::Marks;
use crate::plant::{Part, placeholders};
use crate::port::Ground;
use crate::preflight::preflight;
use crate::report::{Report, Verdict};
use crate::sample::leaves;
use crate::script::{Observed, Session};
use crate::site::{Pattern, Site};
use crate::world::{self, Owned};
pub(crate) use batches::{Batch, batches};
use countersign_core::principal::CallerRef;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::{Plan, Tool};
use countersign_posture::Loaded;
use countersign_posture::evals::{Case, CaseDoor, CaseKind, Evals, Step};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// What a run is about.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The posture whose promises are kept or not.
    pub loaded: &'a Loaded,
    /// What it is tried on.
    pub isolated: &'a Isolated,
    /// The suite.
    pub evals: &'a Evals,
    /// Which of its cases.
    pub cases: Vec<&'a Case>,
    /// The program that is tried.
    pub program: &'a Path,
    /// How many gateways at a time.
    pub gateways: usize,
    /// What decides about everything that may be one way or another.
    pub seed: u64,
    /// Who calls.
    pub agent: AgentKind,
}

impl Asked<'_> {
    /// The same of another posture: no cases of its own, one gateway, a scripted agent.
    pub(crate) fn on<'b>(&'b self, loaded: &'b Loaded, isolated: &'b Isolated) -> Asked<'b> {
        let Asked { evals, program, seed, .. } = *self;
        let (cases, agent) = (Vec::new(), AgentKind::Scripted);
        Asked { loaded, isolated, evals, cases, program, gateways: 1, seed, agent }
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum AgentKind {
    /// Proposes what the case's script says.
    Scripted,
    /// Obeys every instruction in what it reads.
    Hijacked,
    /// The team's own program.
    Command(Program),
    /// A model, in a loop of the suite's own.
    Model(Model),
}

/// What every case of a run is judged by.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) loaded: &'a Loaded,
    pub(crate) marks: &'a Marks,
    /// Every tenant that a case calls for.
    pub(crate) tenants: &'a BTreeSet<String>,
    /// Names of columns and arguments.
    pub(crate) names: &'a BTreeSet<String>,
}

/// Runs the cases, and tells of each as it ends.
///
/// # Errors
/// A sentence, if a gateway or a copy could not be made: then nothing is known.
pub fn run(
    asked: &Asked<'_>,
    (ground, runtime): (&dyn Ground, &Handle),
    told: &(dyn Fn(&Verdict) + Sync),
) -> Result<Report, String> {
    let began = ground.now_ms();
    let scratch = tempfile::tempdir().map_err(|error| format!("a folder for copies: {error}"))?;
    let prepared = Prepared::of(asked, &scratch)?;
    let pattern = prepared.pattern(asked, (ground, runtime))?;
    let known = prepared.known(asked.loaded);
    let mut verdicts = preflight(asked, &prepared, (ground, runtime))?;
    verdicts.iter().for_each(told);
    let batches = batches(&asked.cases, (asked.loaded, &asked.agent));
    let next = AtomicUsize::new(0);
    let ended: Mutex<Vec<(usize, Verdict)>> = Mutex::default();
    let broke: Mutex<Option<String>> = Mutex::default();
    let work = || {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            if broke.lock().is_ok_and(|broke| broke.is_some()) {
                return;
            }
            match one(&pattern, &known, (batch, asked)) {
                Ok(verdicts) => {
                    verdicts.iter().for_each(|(_, verdict)| told(verdict));
                    if let Ok(mut ended) = ended.lock() {
                        ended.extend(verdicts);
                    }
                }
                Err(why) => {
                    if let Ok(mut broke) = broke.lock() {
                        broke.get_or_insert(why);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..asked.gateways.clamp(1, GATEWAYS_MAX) {
            scope.spawn(work);
        }
    });
    if let Some(why) = broke.into_inner().ok().flatten() {
        return Err(why);
    }
    let mut ended = ended.into_inner().map_err(|_poisoned| "a worker was lost")?;
    ended.sort_by_key(|(at, _)| *at);
    verdicts.extend(ended.into_iter().map(|(_, verdict)| verdict));
    Ok(Report {
        posture: asked.loaded.posture.digest.to_string(),
        overlay: asked.isolated.lines.clone(),
        seed: asked.seed,
        gateways: batches.len(),
        took_ms: ground.now_ms().saturating_sub(began),
        verdicts,
        flaky: Vec::new(),
        against: None,
    })
}

/// What is made once for all gateways of a run: copies of the databases, and what is in them.
#[derive(Debug)]
pub(crate) struct Prepared {
    pristine: BTreeMap<String, PathBuf>,
    owned: BTreeMap<String, Owned>,
    marks: Marks,
    tenants: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Prepared {
    /// Copies the databases, and finds out whose their rows are.
    pub(crate) fn of(asked: &Asked<'_>, scratch: &TempDir) -> Result<Self, String> {
        let tenants = tenants_of(asked.evals.cases.iter());
        let mut pristine = BTreeMap::new();
        let mut owned = BTreeMap::new();
        let mut marks = Marks::default();
        for (reference, real) in &asked.isolated.databases {
            let path: PathBuf = scratch.path().join(format!("{reference}.db"));
            let failed = |error: rusqlite::Error| format!("a copy of {}: {error}", real.display());
            world::copy(real, &path).map_err(failed)?;
            let database = Connection::open(&path).map_err(failed)?;
            let tied = tied(asked.loaded, asked.isolated, reference);
            let of = Owned::of(&database, &tenants, &tied).map_err(failed)?;
            let mut add = |text: &str, owner: Option<&str>| marks.add(text, owner);
            of.texts(&database, &mut add).map_err(failed)?;
            owned.insert(reference.clone(), of);
            pristine.insert(reference.clone(), path);
        }
        asked.evals.answers.iter().for_each(|answer| marks.add_answer(&answer.body, &tenants));
        let tables = owned.values().flat_map(|of| of.tables.values());
        let mut names: BTreeSet<_> = tables.flat_map(|table| table.columns.clone()).collect();
        for (tool, _) in granted(asked.loaded) {
            for leaf in leaves(tool) {
                names.extend(leaf.path.split(['.', '[']).map(str::to_owned));
            }
        }
        Ok(Self { pristine, owned, marks, tenants, names })
    }

    pub(crate) fn pattern<'a>(
        &self,
        asked: &Asked<'a>,
        (ground, runtime): (&'a dyn Ground, &Handle),
    ) -> Result<Pattern<'a>, String> {
        Ok(Pattern {
            isolated: asked.isolated,
            ground,
            program: asked.program,
            runtime: runtime.clone(),
            http: client()?,
            answers: &asked.evals.answers,
            pristine: self.pristine.clone(),
            owned: self.owned.clone(),
        })
    }

    pub(crate) fn known<'a>(&'a self, loaded: &'a Loaded) -> Known<'a> {
        Known { loaded, marks: &self.marks, tenants: &self.tenants, names: &self.names }
    }
}

/// Every tenant that a case calls for.
pub(crate) fn tenants_of<'c>(cases: impl Iterator<Item = &'c Case>) -> BTreeSet<String> {
    let tenants = cases.flat_map(|case| {
        let steps = case.script.iter().filter_map(|step| match step {
            Step::Call(call) => call.caller.as_ref(),
            Step::Decide(_) | Step::StandIn(_) | Step::Fail(_) | Step::Lose(_) | Step::Wait(_) => {
                None
            }
        });
        steps.chain([&case.caller]).map(|caller| caller.tenant.clone())
    });
    tenants.collect()
}

/// Columns that statements of a database compare with the caller's tenant.
pub(crate) fn tied(loaded: &Loaded, isolated: &Isolated, reference: &str) -> BTreeSet<String> {
    let agents = loaded.posture.agents.values();
    let tools = agents.flat_map(|agent| agent.grants.values()).map(|grant| &grant.tool);
    let here = |tool: &&std::sync::Arc<Tool>| {
        isolated.behind.get(tool.system.as_str()).is_some_and(|of| of == reference)
    };
    tools.filter(here).flat_map(|tool| compared(tool)).collect()
}

/// The columns that a tool's statement compares with what is the tenant's.
fn compared(tool: &Tool) -> BTreeSet<String> {
    let Plan::Sql(plan) = &tool.plan else { return BTreeSet::new() };
    let own: BTreeSet<String> = tool
        .scope
        .iter()
        .filter(|rule| rule.caller() == Some(&CallerRef::Tenant))
        .filter_map(|rule| match rule {
            ScopeRule::Bind { name, .. } => Some(name.clone()),
            rule => rule.at().map(ToString::to_string),
        })
        .collect();
    let parts = placeholders(&plan.statement);
    let pairs = parts.windows(2).filter_map(|pair| match pair {
        [Part::Text(before), Part::Name(name)] if own.contains(*name) => {
            let before = before.trim_end().strip_suffix('=')?.trim_end();
            let column = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
            Some(column.to_owned())
        }
        _ => None,
    });
    pairs.filter(|column| !column.is_empty()).collect()
}

/// Runs a batch with a gateway of its own, and judges it by what that left behind.
pub(crate) fn one(
    pattern: &Pattern<'_>,
    known: &Known<'_>,
    (batch, asked): (&Batch<'_>, &Asked<'_>),
) -> Result<Vec<(usize, Verdict)>, String> {
    let mut site = Site::start(pattern)?;
    let mut observed = Vec::new();
    for (at, case) in &batch.cases {
        observed.push(play(pattern, known, &mut site, (case, asked)));
        if let Some(Err(why)) = observed.last() {
            return Err(format!("case {} ({at}): {why}", case.id()));
        }
    }
    site.stop()?;
    let records = pattern.ground.records(site.folder())?;
    let mut journal = pattern.ground.verify(site.folder())?;
    let mut verdicts = Vec::new();
    for ((at, case), observed) in batch.cases.iter().zip(observed) {
        let observed = observed?;
        let facts = Facts { case, observed: &observed, records: &records };
        let mut broken = judge(known, &facts);
        // The journal is the batch's; whoever ran first tells of it.
        broken.extend(journal.drain(..).map(|finding| crate::judge::of_journal(&finding)));
        verdicts.push((*at, Verdict::new(case, observed, broken)));
    }
    Ok(verdicts)
}

fn play(
    pattern: &Pattern<'_>,
    known: &Known<'_>,
    site: &mut Site<'_>,
    (case, asked): (&Case, &Asked<'_>),
) -> Result<Observed, String> {
    if case.kind == CaseKind::Limits {
        within_a_minute(pattern.ground, case);
    }
    let began = pattern.ground.now_ms();
    let door = door(case, asked.seed);
    let mut session = Session::new(site, (pattern.ground, known.loaded), (case, door));
    let went = session.plant().map_err(Stopped::from).and_then(|()| match &asked.agent {
        AgentKind::Scripted => session.follow().map_err(Stopped::from),
        AgentKind::Hijacked => session.obey().map_err(Stopped::from),
        AgentKind::Command(program) => session.start(program),
        AgentKind::Model(model) => session.converse(model),
    });
    match went {
        Ok(()) => {}
        Err(Stopped::Case(why)) => session.observed.broke = Some(why),
        Err(Stopped::Run(why)) => return Err(why),
    }
    let mut observed = session.end()?;
    observed.took_ms = pattern.ground.now_ms().saturating_sub(began);
    Ok(observed)
}

/// Limits are counted by minutes of the clock: a case that is about them begins where it ends before
/// the next minute does.
fn within_a_minute(ground: &dyn Ground, case: &Case) {
    let calls = case.script.iter().map(|step| match step {
        Step::Call(call) => u64::from(call.times),
        Step::Decide(_) | Step::StandIn(_) | Step::Fail(_) | Step::Lose(_) | Step::Wait(_) => 1,
    });
    let takes = CASE_TAKES_MS.saturating_add(calls.sum::<u64>().saturating_mul(CALL_TAKES_MS));
    let left = 60_000_u64.saturating_sub(ground.now_ms().rem_euclid(60_000));
    if left < takes {
        std::thread::sleep(Duration::from_millis(left.saturating_add(CLOCK_MS)));
    }
}

/// By which door a case goes in that does not say: by its name and the seed.
fn door(case: &Case, seed: u64) -> CaseDoor {
    let sum =
        case.id().bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    case.door.unwrap_or(match sum.rotate_left(17) & 1 {
        0 => CaseDoor::Mcp,
        _ => CaseDoor::Http,
    })
}
