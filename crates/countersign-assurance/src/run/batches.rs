//! Which cases share a gateway: those that cannot get in each other's way. Limits and budgets are
//! counted by tenant, so a gateway takes no more calls than its posture lets through.

use super::AgentKind;
use crate::plant::tool;
use countersign_core::quota::Limits;
use countersign_core::tool::Effect;
use countersign_posture::Loaded;
use countersign_posture::evals::{Caller, Case, CaseKind, Step};
use std::collections::BTreeMap;

/// Most cases of one gateway: what it wrote is read when it has ended.
const CASES_MAX: usize = 120;

/// How a decision ends that the gateway does not take.
const NOT_TAKEN: [&str; 5] =
    ["refused", "not_entitled", "stale_sign_in", "not_found", "unauthenticated"];

/// Cases that share a gateway, each with its place in the run.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    pub(crate) cases: Vec<(usize, &'a Case)>,
    counted: BTreeMap<String, u32>,
    closed: bool,
}

/// In an order that only the cases decide.
pub(crate) fn batches<'a>(
    cases: &[&'a Case],
    (loaded, agent): (&Loaded, &AgentKind),
) -> Vec<Batch<'a>> {
    let mut batches: Vec<Batch<'a>> = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let charges = charges(case, loaded);
        // What an agent of its own mind does is counted nowhere beforehand.
        let alone = !matches!(agent, AgentKind::Scripted) || alone(case, loaded);
        let open = batches.iter_mut().find(|batch| !alone && batch.has_room(&charges));
        match open {
            Some(batch) => batch.take((at, case), charges),
            None => {
                let mut batch = Batch { closed: alone, ..Batch::default() };
                batch.take((at, case), charges);
                batches.push(batch);
            }
        }
    }
    // The longest first would end soonest, and those with many cases are.
    batches.sort_by_key(|batch| std::cmp::Reverse(batch.cases.len()));
    batches
}

impl<'a> Batch<'a> {
    /// One case and nothing else.
    pub(crate) fn of(case: &'a Case) -> Self {
        Self { cases: vec![(0, case)], closed: true, ..Self::default() }
    }

    fn has_room(&self, charges: &BTreeMap<String, (u32, u32)>) -> bool {
        let fits = |(key, (calls, max)): (&String, &(u32, u32))| {
            let so_far = self.counted.get(key).copied().unwrap_or(0);
            so_far.saturating_add(*calls) <= *max
        };
        !self.closed && self.cases.len() < CASES_MAX && charges.iter().all(fits)
    }

    fn take(&mut self, case: (usize, &'a Case), charges: BTreeMap<String, (u32, u32)>) {
        self.cases.push(case);
        for (key, (calls, _)) in charges {
            let counted = self.counted.entry(key).or_default();
            *counted = counted.saturating_add(calls);
        }
    }
}

/// Whether a case has to have a gateway to itself: what it does to limits, budgets, drafts or systems
/// would be another's.
fn alone(case: &Case, loaded: &Loaded) -> bool {
    let lasting = case.script.iter().any(|step| match step {
        // What is not taken leaves the draft as it was, and drafts are their own caller's.
        Step::Decide(decide) => {
            decide.approves && !decide.expect.as_deref().is_some_and(|end| NOT_TAKEN.contains(&end))
        }
        Step::StandIn(_) | Step::Fail(_) | Step::Lose(_) => true,
        Step::Call(call) => {
            let budgeted = tool(loaded, &call.tool).is_some_and(|tool| {
                tool.effect == Effect::Reversible && !tool.ladder.budgets.is_empty()
            });
            budgeted || call.times > 20
        }
        Step::Wait(_) => false,
    });
    lasting || matches!(case.kind, CaseKind::Limits | CaseKind::Failure)
}

/// What a case counts as: by counter, how many calls, and how many that counter lets through.
fn charges(case: &Case, loaded: &Loaded) -> BTreeMap<String, (u32, u32)> {
    let mut charges: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for step in &case.script {
        let Step::Call(call) = step else { continue };
        let caller = call.caller.as_ref().unwrap_or(&case.caller);
        for (key, limits) in counters(caller, &call.tool, loaded) {
            let most = [limits.per_minute, limits.per_hour].into_iter().flatten().min();
            if let Some(max) = most {
                let charge = charges.entry(key).or_insert((0, max));
                charge.0 = charge.0.saturating_add(call.times);
            }
        }
    }
    charges
}

fn counters(caller: &Caller, name: &str, loaded: &Loaded) -> Vec<(String, Limits)> {
    let Caller { agent, tenant, .. } = caller;
    let mut counters = vec![(format!("all/{tenant}"), loaded.posture.tenant_limits)];
    let found = loaded.posture.agents.values().find(|known| known.id.as_str() == agent);
    if let Some(found) = found {
        counters.push((format!("{agent}/{tenant}"), found.limits));
        if let Some(grant) = found.grants.get(name) {
            counters.push((format!("{agent}/{name}/{tenant}"), grant.limits));
        }
    }
    if let Some(tool) = tool(loaded, name) {
        counters.push((format!("tool/{name}/{tenant}"), tool.limits));
    }
    counters
}
