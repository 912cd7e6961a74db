//! `countersign posture prove`: policies asked about for every request at once.

use crate::assemble::{self, Posture, Read};
use crate::command::{At, End, serve};
use crate::render::{self, Doing as _, Failure};
use clap::ValueEnum;
use countersign_assurance::proof::{
    Counterexample, NOT_COVERED, Obligation, Proofs, Verdict, prove,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::{fs, path::PathBuf};

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
}

impl Prove {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let (read, findings) = assemble::read(&self.at.file())?;
        let Some(Read { posture: Posture { loaded, bundle, .. }, .. }) = read else {
            render::findings(&findings);
            return Err(Failure::new("a posture with errors is not proved anything of"));
        };
        let solvers = self.solvers.or_else(|| available_parallelism().ok());
        let solvers = solvers.unwrap_or(NonZeroUsize::MIN);
        let runtime = serve::runtime()?;
        let proofs = runtime.block_on(prove(&loaded.posture, &bundle, solvers, &|_| {}));
        let report = report(&proofs, &loaded.posture.digest.to_string());
        if let Some(path) = &self.out {
            fs::write(path, format!("{report:#}\n")).doing(path.display())?;
        }
        match self.format {
            Format::Text => tell(&proofs),
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
    let not_covered = NOT_COVERED.map(|(what, held)| json!({ "what": what, "held_by": held }));
    json!({
        "posture": posture,
        "solver": solver,
        "proved": proofs.whole(),
        "obligations": obligations,
        "not_covered": not_covered,
    })
}

fn shown(found: &Counterexample) -> Value {
    json!({ "call": found.call(), "context": found.context, "unfit": found.unfit })
}

/// What is proved by tool, then everything that is not.
fn tell(proofs: &Proofs) {
    let mut tools: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for Obligation { tool, verdict, .. } in &proofs.obligations {
        let (proved, all) = tools.entry(tool.as_str()).or_default();
        *all = all.saturating_add(1);
        *proved = proved.saturating_add(usize::from(matches!(verdict, Verdict::Proved)));
    }
    let rows = tools
        .iter()
        .map(|(tool, (proved, all))| vec![(*tool).to_owned(), format!("{proved} of {all}")]);
    render::line(render::table(&["tool", "proved"], rows));
    for Obligation { tool, claim, verdict } in &proofs.obligations {
        match verdict {
            Verdict::Proved => {}
            Verdict::Refuted(None) => {
                render::line(format_args!("\n✗ {tool}: {claim}: no request of it is permitted"));
            }
            Verdict::Refuted(Some(found)) => {
                render::line(format_args!(
                    "\n✗ {tool}: {claim}: not so for\n  {}\n  {}",
                    found.call(),
                    Value::Object(found.context.clone()),
                ));
                if !found.unfit.is_empty() {
                    render::line(format_args!(
                        "  refused before policy: {}",
                        found.unfit.join("; ")
                    ));
                }
            }
            Verdict::Undecided(why) => {
                render::line(format_args!("\n? {tool}: {claim}: not proved: {why}"));
            }
        }
    }
    let all = proofs.obligations.len();
    let proved = proofs.obligations.iter().filter(|of| matches!(of.verdict, Verdict::Proved));
    let by = match &proofs.solver {
        Ok(version) => format!("by cvc5 {version}"),
        Err(error) => error.to_string(),
    };
    render::line(format_args!("\n{} of {all} proved, {by}", proved.count()));
    render::line("\nNot covered by these proofs, and what holds it:");
    for (what, held) in NOT_COVERED {
        render::line(format_args!("- {what} {held}."));
    }
}
