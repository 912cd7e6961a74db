//! `countersign check`: everything that is wrong, at once.

use super::{At, End};
use crate::assemble;
use crate::render::{self, Failure};
use crate::report::{self, Format};
use countersign_posture::Severity;
use serde_json::json;
use std::collections::BTreeSet;

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    at: At,
    /// How findings are told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Check {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let read = assemble::read(&self.at.file());
        let (read, mut findings) = read.inspect_err(|failure| self.not_run(failure))?;
        let errors = findings.iter().filter(|f| f.severity() == Severity::Error).count();
        let warnings = findings.len().saturating_sub(errors);
        let mut summary = json!({ "errors": errors, "warnings": warnings });
        let mut line = format!("{errors} errors, {warnings} warnings");
        if let Some(read) = &read {
            let posture = &read.loaded.posture;
            let tools = posture.agents.values().flat_map(|agent| agent.grants.keys());
            let (agents, systems) = (posture.agents.len(), read.loaded.systems.len());
            let tools = tools.collect::<BTreeSet<_>>().len();
            let digest = posture.digest.to_string();
            line = format!(
                "fine: {agents} agents, {tools} granted tools, {systems} systems; {warnings} warnings; posture {digest}"
            );
            summary = json!({
                "errors": errors, "warnings": warnings, "agents": agents, "granted_tools": tools,
                "systems": systems, "posture": digest,
            });
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
        Ok(if read.is_some() { End::Fine } else { End::Findings })
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
