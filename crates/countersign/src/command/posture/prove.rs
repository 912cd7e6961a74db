//! `countersign posture prove`: policies asked about for every request at once.

use crate::assemble::{self, Posture, Read};
use crate::command::admin::moves_no_terminal;
use crate::command::{At, End, serve};
use crate::render::{self, Doing as _, Failure};
use clap::ValueEnum;
use countersign_assurance::proof::{
    Counterexample, Earlier, NOT_COVERED, Obligation, Proofs, Verdict, prove,
};
use countersign_core::id::ToolName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::{fs, path::PathBuf};

/// After how many tools it is said how far it has come.
const TOLD_EVERY: usize = 25;

#[derive(Debug, clap::Args)]
pub(crate) struct Prove {
    #[command(flatten)]
    at: At,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the report as JSON to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prove again only what has changed since it was proved, by this folder: whoever can write there can
    /// have anything told as proved
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    earlier: Option<PathBuf>,
    /// How many solvers at a time; as many as there are processors, if left out
    #[arg(long, value_name = "NUMBER")]
    solvers: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// Markdown, for a pull request
    Markdown,
}

impl Prove {
    /// All of it, written there for evidence.
    pub(super) const fn whole(at: At, out: PathBuf) -> Self {
        Self { at, format: Format::Text, out: Some(out), earlier: None, solvers: None }
    }

    pub(super) fn run(&self) -> Result<End, Failure> {
        let (read, findings) = assemble::read(&self.at.file())?;
        let Some(Read { posture: Posture { loaded, bundle, .. }, .. }) = read else {
            render::findings(&findings);
            return Err(Failure::new("a posture with errors is not proved anything of"));
        };
        let solvers = self.solvers.or_else(|| available_parallelism().ok());
        let solvers = solvers.unwrap_or(NonZeroUsize::MIN);
        let runtime = serve::runtime()?;
        if let Some(folder) = &self.earlier {
            fs::create_dir_all(folder).doing(folder.display())?;
        }
        let earlier = self.earlier.clone().map(Earlier::new);
        let settled = AtomicUsize::new(0);
        let progress = |_: &ToolName| {
            let settled = settled.fetch_add(1, Relaxed).saturating_add(1);
            if settled.is_multiple_of(TOLD_EVERY) {
                render::note(format_args!("{settled} tools are settled"));
            }
        };
        let proofs =
            runtime.block_on(prove(&loaded.posture, &bundle, solvers, earlier.as_ref(), &progress));
        let digest = loaded.posture.digest.to_string();
        let mut report = report(&proofs, &digest);
        if let (Some(_), Some(told)) = (&self.earlier, report.as_object_mut()) {
            told.insert("earlier".to_owned(), json!(true)); // It is no evidence.
        }
        self.out.iter().try_for_each(|path| render::write_report(path, &report))?;
        match self.format {
            Format::Text => render::line(told(&proofs, &digest, false)),
            Format::Markdown => render::line(told(&proofs, &digest, true)),
            Format::Json => render::line(format_args!("{report:#}")),
        }
        Ok(if proofs.whole() { End::Fine } else { End::Findings })
    }
}

fn report(proofs: &Proofs, posture: &str) -> Value {
    let solver = match &proofs.solver {
        Ok(version) => json!({ "program": "cvc5", "version": version }),
        Err(error) => json!({ "missing": error.to_string() }),
    };
    let obligations = proofs.obligations.iter().map(|Obligation { tool, claim, verdict }| {
        let (verdict, more) = match verdict {
            Verdict::Proved => ("proved", Value::Null),
            Verdict::Refuted(found) => ("refuted", found.as_deref().map_or(Value::Null, shown)),
            Verdict::Undecided(why) => ("undecided", json!(why)),
        };
        let mut told = json!({
            "tool": tool.as_str(), "obligation": claim.name(), "says": claim.to_string(),
            "verdict": verdict,
        });
        if let (Some(told), false) = (told.as_object_mut(), more.is_null()) {
            let key = if verdict == "undecided" { "why" } else { "counterexample" };
            told.insert(key.to_owned(), more);
        }
        told
    });
    let obligations: Vec<_> = obligations.collect();
    let all = proofs.obligations.len();
    let proved = proofs.obligations.iter().filter(|of| matches!(of.verdict, Verdict::Proved));
    let proved = proved.count();
    let not_covered = NOT_COVERED.map(|(what, held)| json!({ "what": what, "held_by": held }));
    json!({
        "posture": posture,
        "solver": solver,
        "proved": proofs.whole(),
        "summary": { "proved": proved, "not_proved": all.saturating_sub(proved) },
        "obligations": obligations,
        "not_covered": not_covered,
    })
}

fn shown(found: &Counterexample) -> Value {
    json!({ "call": found.call(), "context": found.context, "unfit": found.unfit })
}

/// What is proved by tool, then everything that is not, then what proofs say nothing of.
fn told(proofs: &Proofs, posture: &str, markdown: bool) -> String {
    let mut tools: BTreeMap<&str, [Vec<String>; 2]> = BTreeMap::new();
    for Obligation { tool, claim, verdict } in &proofs.obligations {
        let [proved, open] = tools.entry(tool.as_str()).or_default();
        let names = if matches!(verdict, Verdict::Proved) { proved } else { open };
        names.push(claim.name());
    }
    let rows = tools.into_iter().map(|(tool, names)| {
        let [proved, open] = names.map(|names| together(&names));
        vec![tool.to_owned(), proved, open]
    });
    let headings = ["tool", "proved", "not proved"];
    let table = match markdown {
        true => rows.fold(
            "| tool | proved | not proved |\n| --- | --- | --- |".to_owned(),
            |table, row| format!("{table}\n| {} |", row.join(" | ")),
        ),
        false => render::table(&headings, rows).to_string(),
    };
    let all = proofs.obligations.len();
    let proved = proofs.obligations.iter().filter(|of| matches!(of.verdict, Verdict::Proved));
    let by = match &proofs.solver {
        Ok(version) => format!("by cvc5 {version}"),
        Err(error) => error.to_string(),
    };
    let mut lines = vec![table];
    if proofs.solver.is_ok() {
        lines.extend(proofs.obligations.iter().filter_map(open));
    } else {
        lines.push(NO_SOLVER.to_owned());
    }
    if proofs.obligations.iter().any(|of| matches!(of.verdict, Verdict::Refuted(Some(_)))) {
        lines.push(REPLAY.to_owned());
    }
    lines.push(format!("{} of {all} proved, {by}; posture {posture}", proved.count()));
    lines.push("Not covered by these proofs, and what holds it:".to_owned());
    let not_covered = NOT_COVERED.map(|(what, held)| format!("- {what}\n  Held by {held}."));
    lines.push(not_covered.join("\n"));
    lines.join("\n\n")
}

const NO_SOLVER: &str = "What is not proved was asked of nobody: a solver is needed. `apt-get install cvc5`, or name its program in \
    the variable CVC5.";

const REPLAY: &str = "A request above, saved as request.json, is what `countersign explain --call request.json` explains and \
    `countersign call --request request.json` tries.";

/// Names of obligations, with those of the agents as a number.
fn together(names: &[String]) -> String {
    let (agents, mut others): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.starts_with("use."));
    let number = format!("use by {}", agents.len());
    if !agents.is_empty() {
        others.push(&number);
    }
    others.join(", ")
}

/// What is not proved, and a request that shows it.
fn open(Obligation { tool, claim, verdict }: &Obligation) -> Option<String> {
    let name = claim.name();
    Some(match verdict {
        Verdict::Proved => return None,
        Verdict::Refuted(None) => {
            format!("✗ {tool} {name}: {claim}: no request of it is permitted")
        }
        Verdict::Refuted(Some(found)) => {
            let call = moves_no_terminal(&found.call());
            let context = moves_no_terminal(&Value::Object(found.context.clone()));
            let unfit = match &found.unfit[..] {
                [] => String::new(),
                unfit => format!("\n  refused before policy: {}", unfit.join("; ")),
            };
            format!("✗ {tool} {name}: {claim}: not so for\n    {call}\n  with {context}{unfit}")
        }
        Verdict::Undecided(why) => format!("? {tool} {name}: {claim}: not proved: {why}"),
    })
}
