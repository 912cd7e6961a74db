//! `countersign policy`: what hand-written policies can speak of, and what stands beside them.

use super::{At, End};
use crate::assemble::{self, Posture, Read};
use crate::policies::attributes;
use crate::render::{self, Failure};
use countersign_core::id::ToolName;
use countersign_posture::{did_you_mean, load_deployment, load_posture};
use std::collections::BTreeSet;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Policy {
    /// Print the Cedar schema of the posture: every tool with its arguments, and what is known of a
    /// caller
    #[command(after_help = "Example: countersign policy schema examples/acme > acme.cedarschema")]
    Schema(At),
    /// Print the policies of a tool as they are evaluated, generated and hand-written
    #[command(after_help = "Example: countersign policy show get_shipment examples/acme")]
    Show(Show),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The tool
    tool: String,
    #[command(flatten)]
    at: At,
}

impl Policy {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Schema(at) => schema(at),
            Self::Show(show) => show.run(),
        }
    }
}

/// The policies are not read: whoever mends one needs the schema.
fn schema(at: &At) -> Result<End, Failure> {
    let (deployment, mut findings) = load_deployment(&at.file());
    let loaded = deployment.and_then(|deployment| {
        let (loaded, found) = load_posture(&deployment.base.join(&deployment.posture));
        findings.extend(found);
        loaded
    });
    let Some(loaded) = loaded else {
        render::findings(&findings);
        return Ok(End::Findings);
    };
    render::line(countersign_policy::schema(&loaded.posture, &attributes(&loaded)).trim_end());
    Ok(End::Fine)
}

impl Show {
    fn run(&self) -> Result<End, Failure> {
        let (read, findings) = assemble::read(&self.at.file())?;
        let Some(Read { posture: Posture { loaded, bundle, .. }, .. }) = read else {
            render::findings(&findings);
            return Ok(End::Findings);
        };
        let name = ToolName::new(self.tool.as_str()).ok();
        if let Some(policies) = name.and_then(|name| bundle.policies(&name).map(str::to_owned)) {
            render::line(policies.trim_end());
            return Ok(End::Fine);
        }
        let granted = loaded.posture.agents.values().flat_map(|agent| agent.grants.keys());
        let granted: BTreeSet<&str> = granted.map(ToolName::as_str).collect();
        let failure = Failure::new(match loaded.places.tool(&self.tool, "tool") {
            Some(_) => format!("no agent is granted the tool `{}`", self.tool),
            None => format!("there is no tool `{}`", self.tool),
        });
        Err(match did_you_mean(&self.tool, granted) {
            Some(near) => failure.help(near),
            None => failure,
        })
    }
}
