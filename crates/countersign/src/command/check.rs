//! `countersign check`: everything that is wrong, at once.

use super::End;
use crate::assemble;
use crate::render::{self, Failure};
use std::path::Path;

pub(super) fn run(config: &Path) -> Result<End, Failure> {
    let (read, findings) = assemble::read(config)?;
    let errors = render::findings(&findings);
    let warnings = findings.len().saturating_sub(errors);
    match read {
        Some(read) => {
            let posture = &read.loaded.posture;
            let tools: std::collections::BTreeSet<_> =
                posture.agents.values().flat_map(|agent| agent.grants.keys()).collect();
            render::line(format_args!(
                "fine: {} agents, {} granted tools, {} systems; {warnings} warnings; posture {}",
                posture.agents.len(),
                tools.len(),
                read.loaded.systems.len(),
                posture.digest,
            ));
            Ok(End::Fine)
        }
        None => {
            render::line(format_args!("{errors} errors, {warnings} warnings"));
            Ok(End::Findings)
        }
    }
}
