//! Policies that people wrote, of one posture against those of another, under the same generated ones.

use super::{Counterexample, Granted, Ground, granted};
use crate::diff::Side;
use crate::solver::{Answer, Found, Solver, told};
use cedar_policy::{Policy, PolicyId, PolicySet};
use cedar_policy_symcc::implies_asserts;
use countersign_core::id::ToolName;
use countersign_core::tool::Tool;
use countersign_policy::{groups, schema_beside};
use std::collections::{BTreeMap, BTreeSet};

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

/// Compares those of each tool that both postures grant. Beside it: which policies are other ones.
pub(crate) async fn compare(
    old: Side<'_>,
    new: Side<'_>,
) -> Vec<(ToolName, Vec<String>, Compared)> {
    let solver = Found::here().await.map(Solver::new);
    let mut solver = solver.map_err(|error| error.to_string());
    let before = granted(&old.loaded.posture);
    let mut compared = Vec::new();
    for (&name, granted) in &granted(&new.loaded.posture) {
        let Some(was) = before.get(name) else { continue };
        let written = [written(old, name), written(new, name)];
        let [Ok(of_old), Ok(of_new)] = written else {
            let why = "its policies cannot be read".to_owned();
            compared.push((name.clone(), Vec::new(), Compared::Undecided(why)));
            continue;
        };
        let moved = moved((was.tool, granted.tool), of_old.values().chain(of_new.values()));
        let same = old.bundle.written_digest(name) == new.bundle.written_digest(name);
        let found = match (&mut solver, moved) {
            (_, Some(why)) => Err(why),
            (_, None) if same => continue,
            (Ok(solver), None) => of_tool(solver, granted, (old, new), [&of_old, &of_new]).await,
            (Err(why), None) => Err(why.clone()),
        };
        let found = found.unwrap_or_else(Compared::Undecided);
        compared.push((name.clone(), differing(&of_old, &of_new), found));
    }
    compared
}

/// Policies by their ids.
type Written = BTreeMap<String, Policy>;

/// Those that people wrote which bear on a tool. The names of generated ones hold a dot.
fn written(side: Side<'_>, tool: &ToolName) -> Result<Written, String> {
    let text = side.bundle.policies(tool).ok_or("it has no policies")?;
    let policies: PolicySet = text.parse().map_err(|error| told(&error))?;
    let written = policies.policies().filter_map(|policy| {
        let id = policy.annotation("id").filter(|id| !id.contains('.'))?;
        Some((id.to_owned(), policy.clone()))
    });
    Ok(written.collect())
}

/// Which are there no more, which newly, and which in other words; each with its reason.
fn differing(old: &Written, new: &Written) -> Vec<String> {
    let reason = |policy: &Policy| {
        let reason = policy.annotation("reason");
        reason.map_or_else(String::new, |reason| format!(" (“{reason}”)"))
    };
    let gone = old.iter().filter(|(id, _)| !new.contains_key(*id));
    let gone = gone.map(|(id, policy)| format!("`{id}` is gone{}", reason(policy)));
    let others = new.iter().filter_map(|(id, policy)| match old.get(id) {
        None => Some(format!("`{id}` is new{}", reason(policy))),
        Some(was) if was.to_string() == policy.to_string() => None,
        Some(_) => Some(format!("`{id}` is another{}", reason(policy))),
    });
    gone.chain(others).collect()
}

/// Why a policy need not bear on a tool as it did, though nobody touched it: it asks for what the tool is
/// itself, and that is another. A sentence, if there is such a policy.
fn moved<'a>(
    (old, new): (&Tool, &Tool),
    policies: impl Iterator<Item = &'a Policy>,
) -> Option<String> {
    let [was, is] = [old, new].map(|tool| groups(tool.effect).iter().collect::<BTreeSet<_>>());
    let moved: BTreeSet<&str> = was.symmetric_difference(&is).map(|group| **group).collect();
    let agreed = (old.ladder.least(), &old.ladder.gate) != (new.ladder.least(), &new.ladder.gate);
    let scope = old.scope != new.scope;
    let mut asked = policies.filter_map(|policy| {
        let names = policy.entity_literals();
        let id = policy.annotation("id").unwrap_or_default();
        let text = policy.to_string();
        if names.iter().any(|uid| moved.contains(AsRef::<str>::as_ref(uid.id()))) {
            return Some(format!(
                "`{id}` names a group of effects that the tool came into or left"
            ));
        }
        if agreed && (text.contains("clearance") || text.contains("approver")) {
            return Some(format!("`{id}` asks who agreed, and others are asked to"));
        }
        let bound = scope && text.contains("scope");
        bound.then(|| format!("`{id}` asks for the tool's scope, which is another"))
    });
    asked.next()
}

async fn of_tool(
    solver: &mut Solver,
    granted: &Granted<'_>,
    (old, new): (Side<'_>, Side<'_>),
    [before, after]: [&Written; 2],
) -> Result<Compared, String> {
    let name = &granted.tool.name;
    let policies = new.bundle.policies(name).ok_or("it has no policies")?;
    // Both may speak of what the other does not: of claims, and of other tools.
    let attributes = [old, new].into_iter().flat_map(|side| side.loaded.claims.attributes.keys());
    let attributes: BTreeSet<&str> = attributes.map(String::as_str).collect();
    let names = before.values().chain(after.values()).flat_map(Policy::entity_literals);
    let names = names.map(|uid| AsRef::<str>::as_ref(uid.id()).to_owned()).collect();
    let attributes: Vec<_> = attributes.into_iter().collect();
    let schema = schema_beside(granted.tool, &attributes, names);
    let ground = Ground::of(granted, policies, &schema)?;
    // What is generated is compared as what it was generated from, so both have the new ones.
    let is_written = |policy: &&Policy| policy.annotation("id").is_some_and(|id| !id.contains('.'));
    let generated = ground.policies.policies().filter(|policy| !is_written(policy));
    let mut under_old = PolicySet::new();
    for (at, policy) in generated.chain(before.values()).enumerate() {
        let id = PolicyId::new(format!("compared/{at}"));
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
