//! Policies that people wrote, of one posture against those of another, under the same generated ones.

use super::{Counterexample, Granted, Ground, granted};
use crate::diff::Side;
use crate::solver::{Answer, Found, Solver, told};
use cedar_policy::{Policy, PolicySet};
use cedar_policy_symcc::implies_asserts;
use countersign_core::id::ToolName;

/// What one posture's hand-written policies permit of a tool, against another's.
#[derive(Debug)]
pub(crate) enum Compared {
    /// Nothing more, and something less.
    Narrower,
    /// The same, by other policies.
    Other,
    /// Something more: this, where it can be made.
    Wider(Option<Box<Counterexample>>),
    /// Nobody knows, and why.
    Undecided(String),
}

/// Compares those of each tool that both postures grant.
pub(crate) async fn compare(old: Side<'_>, new: Side<'_>) -> Vec<(ToolName, Compared)> {
    let solver = Found::here().await.map(Solver::new);
    let mut solver = solver.map_err(|error| error.to_string());
    let before = granted(&old.loaded.posture);
    let mut compared = Vec::new();
    for (&name, granted) in &granted(&new.loaded.posture) {
        if !before.contains_key(name)
            || old.bundle.written_digest(name) == new.bundle.written_digest(name)
        {
            continue;
        }
        let found = match &mut solver {
            Ok(solver) => of_tool(solver, granted, (old, new)).await,
            Err(why) => Err(why.clone()),
        };
        compared.push((name.clone(), found.unwrap_or_else(Compared::Undecided)));
    }
    compared
}

async fn of_tool(
    solver: &mut Solver,
    granted: &Granted<'_>,
    (old, new): (Side<'_>, Side<'_>),
) -> Result<Compared, String> {
    let name = &granted.tool.name;
    let texts = new.bundle.policies(name).zip(new.bundle.schema(name));
    let (policies, schema) = texts.ok_or("it has no policies")?;
    let ground = Ground::of(granted, policies, schema)?;
    let before = old.bundle.policies(name).ok_or("it had no policies")?;
    let before: PolicySet = before.parse().map_err(|error| told(&error))?;
    // What is generated is compared as what it was generated from, so both have the new ones.
    let is_written = |policy: &&Policy| policy.annotation("id").is_some_and(|id| !id.contains('.'));
    let generated = ground.policies.policies().filter(|policy| !is_written(policy));
    let written = before.policies().filter(is_written);
    let mut under_old = PolicySet::new();
    for (at, policy) in generated.chain(written).enumerate() {
        let id = cedar_policy::PolicyId::new(format!("compared/{at}"));
        under_old.add(policy.new_id(id)).map_err(|error| told(&error))?;
    }
    let under_old = ground.compile(&under_old)?;
    match solver.ask(&implies_asserts(&ground.compiled, &under_old)).await {
        Answer::Undecided(why) => return Err(why),
        Answer::Fails(any) => {
            // That it is wider stands, whether or not a request is found that can be made.
            let likely = ground.likely(solver, &under_old, &any).await.ok().flatten();
            let found = likely.unwrap_or(any);
            return Ok(Compared::Wider(Counterexample::of(granted, &found).map(Box::new)));
        }
        Answer::Holds => {}
    }
    match solver.ask(&implies_asserts(&under_old, &ground.compiled)).await {
        Answer::Undecided(why) => Err(why),
        Answer::Fails(_) => Ok(Compared::Narrower),
        Answer::Holds => Ok(Compared::Other),
    }
}
