//! What is put on record when what stands behind a tool is no longer what was reviewed.

use crate::call::Monitor;
use crate::id::SystemName;
use crate::port::{DefinitionChange, Unrecorded};
use crate::record::{Entry, Kind};
use crate::tool::{Plan, Tool};
use crate::trail::cut;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Monitor {
    /// Records a change for each tool that rests on the definition. The tool was withdrawn, or is back,
    /// from the moment on that the connector knew.
    ///
    /// # Errors
    /// [`Unrecorded`]: it is on record for some of them, perhaps.
    pub async fn record_change(
        &self,
        system: &SystemName,
        change: &DefinitionChange,
    ) -> Result<(), Unrecorded> {
        for tool in self.resting_on(system, change).into_values() {
            let (kind, name) = &change.of;
            let status = if change.is_mended() { "as_reviewed" } else { "withdrawn" };
            let mut entry = Entry::new(Kind::DefinitionChanged, self.clock.now())
                .with("posture", self.posture.digest.to_string())
                .with("tool", tool.name.as_str())
                .with("system", system.as_str())
                .with("defined", kind.as_str())
                .with("status", status)
                .with("pinned", change.pinned.to_string())
                .body("name", cut(name))
                .body("detail", cut(&change.diff));
            if let Some(found) = &change.found {
                entry = entry.with("found", found.to_string());
            }
            if !change.is_mended() {
                entry = entry.with("alert", "definition_changed");
            }
            self.journal.append(entry).await?;
        }
        Ok(())
    }

    fn resting_on(
        &self,
        system: &SystemName,
        change: &DefinitionChange,
    ) -> BTreeMap<String, Arc<Tool>> {
        let grants = self.posture.agents.values().flat_map(|agent| agent.grants.values());
        let rests = |tool: &Tool| match &tool.plan {
            Plan::Mcp(plan) => tool.system == *system && plan.pin.of == change.of,
            Plan::Sql(_) | Plan::Http(_) | Plan::Email(_) => false,
        };
        let tools = grants.map(|grant| &grant.tool).filter(|tool| rests(tool));
        tools.map(|tool| (tool.name.to_string(), Arc::clone(tool))).collect()
    }
}
