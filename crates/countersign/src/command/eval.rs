//! `countersign eval`: the evaluation suite.

mod generate;
mod ground;

use super::{At, End};
use crate::assemble::{self, Posture};
use crate::machine;
use crate::render::{self, Failure};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use countersign_assurance::overlay::{Isolated, NotIsolated, isolate};
use countersign_assurance::report::{self, Report, Verdict};
use countersign_assurance::run::{AgentKind, Asked, run};
use countersign_posture::evals::{Case, CaseKind, Evals, load_evals};
use countersign_posture::{Severity, deployment_data};
use ground::OwnGround;
use std::num::NonZeroUsize;
use std::path::PathBuf;

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
}

impl Eval {
    pub(super) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::Generate(at) => generate::run(at),
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
    /// Who calls
    #[arg(long, value_enum, default_value_t = Agent::Scripted)]
    agent: Agent,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// What decides about everything that may be one way or another
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many gateways at a time; as many as there are processors, if left out
    #[arg(long)]
    gateways: Option<usize>,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Agent {
    /// Proposes what the case's script says
    Scripted,
    /// Obeys every instruction in what it reads, in the cases that have a goal
    Hijacked,
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
    fn run(&self) -> Result<End, Failure> {
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
        let report = suite.run(cases, self, &told)?;
        match self.format {
            Format::Text => show(&report),
            Format::Json => render::line(format_args!("{:#}", report.json())),
            Format::Junit => render::line(report::junit(&report).trim_end()),
        }
        if !text {
            render::note(report::summary(&report));
        }
        Ok(if report.failures().next().is_none() { End::Fine } else { End::Findings })
    }

    fn wants(&self, case: &Case) -> bool {
        let named = |text: &String| case.id().contains(text.as_str());
        let played = self.agent == Agent::Scripted || case.goal.is_some();
        played
            && (self.only.is_empty() || self.only.iter().any(named))
            && (self.kind.is_empty() || self.kind.iter().any(|kind| kind == case.kind.as_str()))
    }
}

fn show(report: &Report) {
    report.failures().for_each(|verdict| render::line(report::failure(verdict)));
    let (headings, rows) = report::table(report);
    render::line(render::table(&headings, rows));
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
        let program = std::env::current_exe();
        let program = program.map_err(|error| Failure::new(format!("this program: {error}")))?;
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let asked = Asked {
            loaded: &self.posture.loaded,
            isolated: &self.isolated,
            evals: &self.evals,
            cases,
            program: &program,
            gateways: how.gateways.unwrap_or_else(cores),
            seed: how.seed,
            agent: match how.agent {
                Agent::Scripted => AgentKind::Scripted,
                Agent::Hijacked => AgentKind::Hijacked,
            },
        };
        run(&asked, (&self.ground, self.runtime.handle()), told).map_err(Failure::new)
    }
}

fn refused(NotIsolated { systems }: &NotIsolated) -> Failure {
    let systems: Vec<_> = systems.iter().map(|(name, why)| format!("`{name}`: {why}")).collect();
    Failure::new(format!("the suite would reach what is real: {}", systems.join("; ")))
        .help("nothing was started; what can be isolated is said in docs/evaluation.md")
}
