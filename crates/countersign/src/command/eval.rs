//! `countersign eval`: the evaluation suite.

mod agent;
mod generate;
mod ground;
mod mutate;

use super::{At, End};
use crate::assemble::{self, Posture};
use crate::machine;
use crate::render::{self, Doing as _, Failure};
use agent::Choice;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use countersign_assurance::mutate::{Mutated, Reach, mutate as mutate_all};
use countersign_assurance::overlay::{Isolated, NotIsolated, isolate};
use countersign_assurance::port::Ground;
use countersign_assurance::report::{self, Against, Report, Verdict};
use countersign_assurance::run::{AgentKind, Asked, run};
use countersign_posture::evals::{Case, CaseKind, Evals, load_evals};
use countersign_posture::{Severity, deployment_data};
use ground::OwnGround;
pub(crate) use mutate::Mutate;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Eval {
    /// Run the suite: the real gateway as a child process, over copies of the systems
    #[command(
        after_help = "Exit codes: 0 everything holds, 1 something does not, 2 could not run.\n\nExample: countersign eval run my-gateway --kind approval --format junit"
    )]
    Run(Run),
    /// Write cases from the posture alone: for every tool and argument what an attacker would try
    #[command(
        after_help = "What a person has edited is left as it is.\n\nExample: countersign eval generate my-gateway"
    )]
    Generate(At),
    /// Weaken the posture quietly, one control at a time, and see whether a case notices
    #[command(
        after_help = "Exit codes: 0 every weakening is noticed, 1 one is not, 2 could not run.\n\nExample: countersign eval mutate my-gateway"
    )]
    Mutate(Mutate),
}

impl Eval {
    pub(super) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::Generate(at) => generate::run(at),
            Self::Mutate(mutate) => mutate.run(),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    at: At,
    /// Only the cases whose name has this in it; may be given several times
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Only the cases of this kind; may be given several times
    #[arg(long, value_parser = PossibleValuesParser::new(CaseKind::ALL.map(CaseKind::as_str)))]
    kind: Vec<String>,
    #[command(flatten)]
    agent: Choice,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Say what differs from an earlier run, which was written as JSON to this file
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// How often all of it is run: what does not hold each time is flaky, and fails
    #[arg(long, visible_alias = "repeats", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// In how many of the repetitions a case has to hold; in all, if left out
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pass: Option<u32>,
    /// What decides about everything that may be one way or another
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many gateways at a time; as many as there are processors, if left out
    #[arg(long)]
    gateways: Option<usize>,
    /// Write the report as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object, which is also a baseline
    Json,
    /// JUnit's XML
    Junit,
    /// Markdown, for a pull request
    Markdown,
    /// A page for a browser
    Html,
}

/// A posture with its suite, isolated.
struct Suite {
    /// The posture's folder.
    folder: PathBuf,
    posture: Posture,
    evals: Evals,
    isolated: Isolated,
    ground: OwnGround,
    runtime: tokio::runtime::Runtime,
}

impl Run {
    /// A run of scripted cases, for those who need no more of it.
    fn of(gateways: Option<usize>) -> Self {
        let (only, kind) = (Vec::new(), Vec::new());
        let (at, agent) = (At::default(), Choice::default());
        let (format, against, repeat, pass) = (Format::Text, None, 1, None);
        Self { at, only, kind, agent, format, against, repeat, pass, seed: 1, gateways, out: None }
    }

    /// All of it, written there for evidence.
    pub(crate) fn whole(at: At, out: PathBuf) -> Self {
        Self { at, out: Some(out), ..Self::of(None) }
    }

    pub(crate) fn run(&self) -> Result<End, Failure> {
        if self.pass.is_some_and(|pass| pass > self.repeat) {
            return Err(Failure::new(
                "`--pass` is more than `--repeat`: no case could hold so often",
            ));
        }
        let Some(suite) = Suite::read(&self.at)? else { return Ok(End::Findings) };
        let cases: Vec<_> = suite.evals.cases.iter().filter(|case| self.wants(case)).collect();
        if cases.is_empty() {
            return Err(Failure::new("no case fits")
                .help("write some under `evals` in the posture's folder"));
        }
        suite.isolated.lines.iter().for_each(|line| render::note(format_args!("overlay  {line}")));
        let text = self.format == Format::Text;
        let told = |verdict: &Verdict| {
            if !verdict.passed() {
                render::note(format_args!("failed   {}", verdict.id));
            }
        };
        let mut report = suite.run(cases.clone(), self, &told)?;
        for _ in 1..self.repeat {
            report.repeated(suite.run(cases.clone(), self, &told)?);
        }
        report.pass_with(self.pass.unwrap_or(self.repeat));
        report.against = self.against.as_deref().map(|file| against(&report, file)).transpose()?;
        self.out.iter().try_for_each(|path| render::write_report(path, &report.json()))?;
        match self.format {
            Format::Text => show(&report),
            Format::Json => render::line(format_args!("{:#}", report.json())),
            Format::Junit => render::line(report::junit(&report).trim_end()),
            Format::Markdown => render::line(report::markdown(&report).trim_end()),
            Format::Html => render::line(report::html(&report).trim_end()),
        }
        if !text {
            render::note(report::summary(&report));
        }
        Ok(if report.failures().next().is_none() { End::Fine } else { End::Findings })
    }

    fn wants(&self, case: &Case) -> bool {
        let named = |text: &String| case.id().contains(text.as_str());
        self.agent.plays(case)
            && (self.only.is_empty() || self.only.iter().any(named))
            && (self.kind.is_empty() || self.kind.iter().any(|kind| kind == case.kind.as_str()))
    }
}

/// A run beside an earlier one.
fn against(report: &Report, file: &Path) -> Result<Against, Failure> {
    let text = std::fs::read(file).doing(file.display())?;
    let before: serde_json::Value = serde_json::from_slice(&text).doing(file.display())?;
    let found = Against::of(report, &before);
    found.ok_or_else(|| {
        Failure::new(format!("{} is no report of `eval run --format json`", file.display()))
    })
}

fn show(report: &Report) {
    report.failures().for_each(|verdict| render::line(report::failure(verdict)));
    let (headings, rows) = report::table(report);
    render::line(render::table(&headings, rows));
    if let Some(against) = &report.against {
        render::line(against.told());
    }
    render::line(report::summary(report));
}

impl Suite {
    /// Reads everything. `None` if there were errors; they are printed.
    fn read(at: &At) -> Result<Option<Self>, Failure> {
        let file = at.file();
        let (gathered, mut findings) = assemble::gather(&file)?;
        let Some((deployment, Some(posture))) = gathered else {
            render::findings(&findings);
            return Ok(None);
        };
        let folder = deployment.base.join(&deployment.posture);
        let (evals, of_cases) = load_evals(&folder, Some(&posture.loaded));
        findings.extend(of_cases);
        findings.retain(|finding| finding.severity() == Severity::Error);
        let Some(evals) = evals.filter(|_| findings.is_empty()) else {
            render::findings(&findings);
            return Ok(None);
        };
        let data =
            deployment_data(&file).ok_or_else(|| Failure::new("the deployment cannot be read"))?;
        let runtime = super::serve::runtime()?;
        let ground = OwnGround::new(&deployment, &posture.loaded, runtime.handle().clone())?;
        let isolated = isolate((&deployment, data), &posture.loaded, (&ground, &machine::env));
        let isolated = isolated.map_err(|why| refused(&why))?;
        Ok(Some(Self { folder, posture, evals, isolated, ground, runtime }))
    }

    fn run(
        &self,
        cases: Vec<&Case>,
        how: &Run,
        told: &(dyn Fn(&Verdict) + Sync),
    ) -> Result<Report, Failure> {
        let program = program()?;
        let asked = self.asked(cases, (how, how.agent.kind()?), &program);
        run(&asked, (&self.ground, self.runtime.handle()), told).map_err(Failure::new)
    }

    /// Every weakening that is wanted, and what became of it.
    fn mutate(&self, how: &Run, reach: Reach<'_>) -> Result<Mutated, Failure> {
        let program = program()?;
        let cases = self.evals.cases.iter().collect();
        let asked = self.asked(cases, (how, AgentKind::Scripted), &program);
        let ground = (&self.ground as &dyn Ground, self.runtime.handle());
        mutate_all(&asked, ground, reach).map_err(Failure::new)
    }

    fn asked<'s>(
        &'s self,
        cases: Vec<&'s Case>,
        (how, agent): (&Run, AgentKind),
        program: &'s Path,
    ) -> Asked<'s> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Asked {
            loaded: &self.posture.loaded,
            isolated: &self.isolated,
            evals: &self.evals,
            cases,
            program,
            gateways: how.gateways.unwrap_or_else(cores),
            seed: how.seed,
            agent,
        }
    }
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(format!("this program: {error}")))
}

fn refused(NotIsolated { systems }: &NotIsolated) -> Failure {
    let systems: Vec<_> = systems.iter().map(|(name, why)| format!("`{name}`: {why}")).collect();
    Failure::new(format!("the suite would reach what is real: {}", systems.join("; ")))
        .help("nothing was started; what can be isolated is said in docs/evaluation.md")
}
