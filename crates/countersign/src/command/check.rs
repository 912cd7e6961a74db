//! `countersign check`: everything that is wrong, at once.

use super::{At, End};
use crate::assemble::{self, Posture};
use crate::here;
use crate::render::{self, Failure};
use crate::report::{self, Format};
use countersign_posture::Severity;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    at: At,
    /// How findings are told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also tell what keeps `serve` from starting on this machine: for whoever runs it, where it runs
    #[arg(long)]
    here: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let gathered = assemble::gather(&self.at.file());
        let (gathered, mut findings) = gathered.inspect_err(|failure| self.not_run(failure))?;
        let (posture, mut missing) = match gathered {
            Some((deployment, posture)) => {
                let missing = here::look(&deployment, posture.as_ref()).1;
                (posture, missing)
            }
            None => (None, Vec::new()),
        };
        let not_here = missing.len();
        if self.here {
            findings.append(&mut missing);
        }
        let errors = findings.iter().filter(|f| f.severity() == Severity::Error).count();
        let warnings = findings.len().saturating_sub(errors);
        let posture = posture.filter(|_| errors == 0);
        let (mut line, mut summary) = summed(posture.as_ref(), errors, warnings);
        if not_here > 0 && !self.here {
            line.push_str(&format!(
                "\nwhat `serve` needs and this machine lacks: {not_here}; see `check --here`"
            ));
            summary.as_object_mut().map(|told| told.insert("not_here".to_owned(), json!(not_here)));
        }
        let others = report::bound(&mut findings);
        if others > 0 {
            summary.as_object_mut().map(|told| told.insert("not_shown".to_owned(), json!(others)));
            line.push_str(&format!("; {others} more are not shown"));
        }
        match self.format {
            Format::Text => {
                render::findings(&findings);
                render::line(line);
            }
            Format::Json => render::line(report::json(&findings, &summary)),
            Format::Github => {
                report::github(&findings).for_each(render::line);
                render::line(line);
            }
            Format::Sarif => render::line(report::sarif(&findings, None)),
        }
        Ok(if posture.is_some() { End::Fine } else { End::Findings })
    }

    /// Whoever reads standard output as JSON reads there as well that there was nothing to check.
    fn not_run(&self, failure: &Failure) {
        let said = failure.to_string();
        match self.format {
            Format::Json => render::line(json!({ "findings": [], "summary": null, "error": said })),
            Format::Sarif => render::line(report::sarif(&[], Some(&said))),
            Format::Text | Format::Github => {}
        }
    }
}

/// What was found and read, in a line and for programs.
fn summed(posture: Option<&Posture>, errors: usize, warnings: usize) -> (String, Value) {
    let Some(Posture { loaded, .. }) = posture else {
        let summary = json!({ "errors": errors, "warnings": warnings });
        return (format!("{errors} errors, {warnings} warnings"), summary);
    };
    let tools = loaded.posture.agents.values().flat_map(|agent| agent.grants.keys());
    let (agents, systems) = (loaded.posture.agents.len(), loaded.systems.len());
    let tools = tools.collect::<BTreeSet<_>>().len();
    let digest = loaded.posture.digest.to_string();
    let line = format!(
        "fine: {agents} agents, {tools} granted tools, {systems} systems; {warnings} warnings; posture {digest}"
    );
    let summary = json!({
        "errors": errors, "warnings": warnings, "agents": agents, "granted_tools": tools,
        "systems": systems, "posture": digest,
    });
    (line, summary)
}
