//! Sums that all calls keep to together: one just below, one that is all of it, and one beyond, over
//! several calls of which each is allowed.

use super::Subject;
use super::written::{Drafted, Line};
use crate::sample::{Leaf, put};
use countersign_core::ladder::{Budget, Summed};
use countersign_core::scope::Step;
use countersign_posture::evals::{Caller, CaseKind};
use serde_json::{Map, Value, json};

/// In how many calls a sum is spent, by preference: small ones are what an attacker would split into.
const SPLITS: [u64; 6] = [10, 12, 8, 6, 4, 2];
/// Most calls of one sum that counts them.
const CALLS_MAX: u64 = 16;

impl Subject<'_, '_> {
    pub(super) fn budgets(&mut self) {
        for budget in self.tool.ladder.budgets.clone() {
            let caller = self.turn();
            let calls = match &budget.of {
                Summed::Argument(path) => {
                    let path = path.to_string();
                    let leaf = self.leaves.iter().find(|leaf| leaf.path == path).cloned();
                    leaf.and_then(|leaf| self.amounts(&budget, &caller, &leaf))
                }
                Summed::Recipients => self.messages(&budget, &caller),
                // How many rows come back is the data's to say, and changes with it.
                Summed::Rows => None,
            };
            if let Some(calls) = calls {
                self.spend(&budget, &caller, calls);
            }
        }
    }

    /// Calls that spend all of it, and one more.
    fn amounts(
        &self,
        budget: &Budget,
        caller: &Caller,
        leaf: &Leaf,
    ) -> Option<Vec<Map<String, Value>>> {
        let bound = |key| leaf.number(key).and_then(|bound| u64::try_from(bound).ok());
        let (least, most) = (bound("minimum").unwrap_or(0).max(1), bound("maximum")?);
        SPLITS.iter().find_map(|split| {
            let each = budget.max.checked_div(*split)?;
            let spent = each.checked_mul(split.checked_sub(1)?)?;
            let below = budget.max.checked_sub(spent)?.checked_sub(least)?;
            if below < least || each.max(below) > most {
                return None;
            }
            let (split, largest) = (usize::try_from(*split).ok()?, each.max(below));
            let count = split.checked_add(2)?;
            let largest = (leaf.steps.as_slice(), &json!(largest));
            let mut calls = self.ground.samples.several((self.tool, caller), largest, count)?;
            let equal = std::iter::repeat_n(each, split.saturating_sub(1));
            for (call, amount) in calls.iter_mut().zip(equal.chain([below, least, least])) {
                put(call, &leaf.steps, json!(amount));
            }
            Some(calls)
        })
    }

    /// Messages to one person each, as many as there may be, and one more.
    fn messages(&self, budget: &Budget, caller: &Caller) -> Option<Vec<Map<String, Value>>> {
        let calls = Some(budget.max).filter(|max| *max < CALLS_MAX)?;
        let arguments = self.ground.samples.own(self.tool, caller)?;
        let alone =
            |leaf: &&Leaf| leaf.free() && leaf.required && !leaf.steps.contains(&Step::Each);
        let text = self.leaves.iter().find(alone)?;
        let numbered = (0..=calls).map(|number| {
            let mut call = arguments.clone();
            put(&mut call, &text.steps, json!(format!("number {number}")));
            call
        });
        Some(numbered.collect())
    }

    fn spend(&mut self, budget: &Budget, caller: &Caller, mut calls: Vec<Map<String, Value>>) {
        let tool = self.tool.name.to_string();
        let Some(beyond) = calls.pop() else { return };
        let right = self.approver(caller);
        let mut script = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            match &right {
                Some(right) => {
                    let draft = format!("draft{at}");
                    let asks = Line::call(&tool, call.clone(), "approval_required");
                    script.push(asks.with(&format!("as: {draft}")));
                    script.push(Line::approve(&draft, right, "executed"));
                }
                None => script.push(Line::call(&tool, call.clone(), "completed")),
            }
        }
        script.push(Line::call(&tool, beyond, "over_budget"));
        let (sum, max) = (budget.of.name(), budget.max);
        let shows =
            format!("All of {max} of `{sum}` may be spent, over several calls, and no more.");
        let name = format!("budget-{sum}");
        let mut drafted = Drafted::new((&name, shows, CaseKind::Limits), caller, script);
        drafted.executed(&tool, u32::try_from(calls.len()).unwrap_or(u32::MAX));
        self.push(drafted);
    }
}
