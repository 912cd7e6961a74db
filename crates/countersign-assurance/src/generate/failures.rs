//! What fails under a call: the journal, and a system that does not keep what it says it has done.

use super::Subject;
use super::written::{Drafted, Line};
use countersign_core::ladder::Check;
use countersign_core::tool::Plan;
use countersign_posture::evals::{CaseKind, JOURNAL};

impl Subject<'_, '_> {
    pub(super) fn failures(&mut self) {
        self.unrecorded();
        self.lost();
    }

    /// What cannot be written down beforehand does not happen.
    fn unrecorded(&mut self) {
        let caller = self.turn();
        let Some(arguments) = self.ground.samples.own(self.tool, &caller) else { return };
        let tool = self.tool.name.as_str();
        let mut script =
            vec![Line::fail(JOURNAL), Line::call(tool, arguments.clone(), "journal_unavailable")];
        // Of two that have to be agreed to the second meets the draft of the first.
        if !self.gated() {
            script.insert(0, Line::call(tool, arguments, "completed"));
        }
        let shows = "What cannot be written down does not happen.".to_owned();
        let mut drafted = Drafted::new(("journal-away", shows, CaseKind::Failure), &caller, script);
        match self.gated() {
            true => drafted.never(tool),
            false => drafted.executed(tool, 1),
        }
        if let Some(asked) = self.asks() {
            let before = if self.gated() { 0 } else { self.tool.look_ups.len() };
            drafted.asked(asked.saturating_add(before));
        }
        self.push(drafted);
    }

    /// An effect that its check does not find has not taken place, and is not told as if it had.
    fn lost(&mut self) {
        let (Plan::Sql(_), Some(Check::Sql(_))) = (&self.tool.plan, &self.tool.ladder.check) else {
            return;
        };
        let system = self.tool.system.as_str();
        if !self.ground.samples.databases.contains_key(system) {
            return;
        }
        let caller = self.turn();
        let Some(arguments) = self.ground.samples.own(self.tool, &caller) else { return };
        let tool = self.tool.name.as_str();
        let call = |end| Line::call(tool, arguments.clone(), end);
        let script = match self.approver(&caller) {
            Some(right) => vec![
                call("approval_required").with("as: draft"),
                Line::lose(system),
                Line::approve("draft", &right, "failed"),
            ],
            None if self.gated() => return,
            None => vec![Line::lose(system), call("post_condition_failed")],
        };
        let shows = "What its check does not find was not done.".to_owned();
        let mut drafted = Drafted::new(("not-kept", shows, CaseKind::Failure), &caller, script);
        drafted.executed(tool, 0);
        self.push(drafted);
    }
}
