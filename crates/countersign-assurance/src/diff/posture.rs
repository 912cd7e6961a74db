//! Two postures: agents, grants, systems, what tokens say, hand-written policies.

use super::{Change, Difference, Notes, Side, Way, tool};
use crate::proof::{Compared, compare};
use countersign_core::id::{ActorId, AgentId, SystemName, ToolName};
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::tool::{Effect, ResultBounds};
use countersign_posture::{Backend, Loaded, SystemSpec, Vendor};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Agents<'a> = BTreeMap<&'a AgentId, (&'a ActorId, &'a Agent)>;

pub(super) async fn diff(old: Side<'_>, new: Side<'_>) -> Difference {
    let Posture { digest, agents, tenant_limits } = &new.loaded.posture;
    let before = &old.loaded.posture;
    let mut notes = Notes { agent: None, tool: None, changes: Vec::new() };
    tool::limits(&mut notes, "for a tenant over all agents", &before.tenant_limits, tenant_limits);
    loaded(&mut notes, old.loaded, new.loaded);
    let mut changes = notes.changes;
    let (of_old, of_new) = (by_name(&before.agents), by_name(agents));
    let mut at_once = Vec::new();
    for (&name, &(client, agent)) in &of_new {
        let mut notes = Notes { agent: Some(name), tool: None, changes: Vec::new() };
        let known = of_old.get(name);
        match known {
            None => notes.note(Way::Wider, "is a new agent"),
            Some(&(before, was)) => {
                let says = format!("calls as the client {client}, was {before}");
                notes.same(before, client, &says);
                agents_alike(&mut notes, was, agent);
            }
        }
        let empty = BTreeMap::new();
        let granted = known.map_or(&empty, |(_, was)| &was.grants);
        let newly: Vec<_> = agent
            .grants
            .iter()
            .filter(|(tool, grant)| {
                grant.tool.effect != Effect::Read && !granted.contains_key(*tool)
            })
            .map(|(tool, _)| tool.clone())
            .collect();
        if newly.len() > 1 {
            at_once.push((name.clone(), newly));
        }
        for (tool, grant) in &agent.grants {
            notes.tool = Some(tool);
            match granted.get(tool) {
                None => notes.note(Way::Wider, given(grant)),
                Some(before) => {
                    let [was, is] = [old, new].map(|side| side.loaded.stage(name, tool));
                    let says = format!("exists up to {}, was {}", is.name(), was.name());
                    match is.cmp(&was) {
                        Ordering::Greater => notes.note(Way::Wider, says),
                        Ordering::Less => notes.note(Way::Narrower, says),
                        Ordering::Equal => {}
                    }
                    grants_alike(&mut notes, before, grant);
                }
            }
        }
        for tool in granted.keys().filter(|tool| !agent.grants.contains_key(*tool)) {
            notes.tool = Some(tool);
            notes.note(Way::Narrower, "may not use it any more");
        }
        changes.extend(notes.changes);
    }
    for name in of_old.keys().filter(|name| !of_new.contains_key(*name)) {
        let mut notes = Notes { agent: Some(name), tool: None, changes: Vec::new() };
        notes.note(Way::Narrower, "is an agent no more");
        changes.extend(notes.changes);
    }
    changes.extend(policies(old, new).await);
    let postures = [before.digest, *digest].map(|digest| digest.to_string());
    Difference { postures, changes, at_once }
}

fn by_name(agents: &BTreeMap<ActorId, Arc<Agent>>) -> Agents<'_> {
    agents.iter().map(|(client, agent)| (&agent.id, (client, agent.as_ref()))).collect()
}

fn given(grant: &Grant) -> String {
    let tool = &grant.tool;
    let gate = tool.ladder.gate.as_ref();
    let gate = gate.map_or_else(String::new, |gate| {
        format!(", after {}", crate::permission::approvers(&gate.approvers))
    });
    format!("may now use it: {}, step {}{gate}", tool.effect.as_str(), tool.ladder.rung.number())
}

fn agents_alike(notes: &mut Notes<'_>, old: &Agent, new: &Agent) {
    let Agent { id: _, issuer, grants: _, limits } = new;
    match (&old.issuer, issuer) {
        (was, is) if was == is => {}
        (None, Some(issuer)) => {
            notes.note(Way::Narrower, format!("calls with tokens of {issuer} only"));
        }
        _ => notes.note(Way::Wider, "calls with tokens of another issuer"),
    }
    tool::limits(notes, "for each tenant", &old.limits, limits);
}

fn grants_alike(notes: &mut Notes<'_>, old: &Grant, new: &Grant) {
    let Grant { tool: of, decision_digest: _, limits, require_scope, lapses } = new;
    let [was, is] = [&old.lapses, lapses].map(|lapse| lapse.as_ref().map(|lapse| lapse.at));
    // What never ends by itself goes on for longest.
    match (was, is) {
        (was, is) if was == is => {}
        (None, Some(_)) => notes.note(Way::Narrower, "ends by itself when a review is not renewed"),
        (Some(was), Some(is)) if is < was => {
            notes.note(Way::Narrower, "ends by itself sooner, unless a review is renewed");
        }
        _ => notes.note(Way::Wider, "ends by itself later, or never"),
    }
    tool::limits(notes, "by this agent", &old.limits, limits);
    match (&old.require_scope, require_scope) {
        (was, is) if was == is => {}
        (None, Some(scope)) => notes.note(Way::Narrower, format!("needs the scope {scope}")),
        (Some(scope), None) => notes.note(Way::Wider, format!("needs the scope {scope} no more")),
        (Some(was), Some(is)) => notes.note(Way::Wider, format!("needs the scope {is}, was {was}")),
        (None, None) => {}
    }
    tool::diff(notes, &old.tool, of);
}

/// What is about every agent, and systems.
fn loaded(notes: &mut Notes<'_>, old: &Loaded, new: &Loaded) {
    if old.organisation != new.organisation {
        notes.note(Way::Other, format!("is of {}, was {}", new.organisation, old.organisation));
    }
    notes.same(
        &old.claims,
        &new.claims,
        "reads who calls, and for whom, at other places of a token",
    );
    if old.profile != new.profile {
        notes.note(Way::Other, "is written for another kind of organisation");
    }
    let owners = |loaded: &Loaded| {
        let said = loaded
            .register
            .iter()
            .map(|of| (of.agent.clone(), of.purpose.clone(), of.team.clone(), of.contact.clone()));
        said.collect::<Vec<_>>()
    };
    if owners(old) != owners(new) {
        notes.note(Way::Other, "says other things of an agent's purpose or owner");
    }
    for entry in &new.register {
        let before = old.register.iter().find(|before| before.agent == entry.agent);
        let more =
            entry.vendors.iter().filter(|of| before.is_some_and(|b| !b.vendors.contains(of)));
        for vendor in more {
            notes.note(Way::Wider, format!("{} is newly made of what {vendor} gives", entry.agent));
        }
    }
    for (name, vendor) in &new.vendors {
        match old.vendors.get(name) {
            None => notes.note(Way::Other, format!("knows the vendor {name}")),
            Some(before) => self::vendor(notes, before, vendor),
        }
    }
    let names: BTreeSet<&SystemName> = old.systems.keys().chain(new.systems.keys()).collect();
    for name in names {
        match (old.systems.get(name), new.systems.get(name)) {
            (Some(old), Some(new)) => system(notes, name, old, new),
            (None, Some(_)) => notes.note(Way::Other, format!("knows the system {name}")),
            (Some(_), None) => notes.note(Way::Other, format!("knows the system {name} no more")),
            (None, None) => {}
        }
    }
}

/// What was decided about a vendor: in production an agent needs it.
fn vendor(notes: &mut Notes<'_>, old: &Vendor, new: &Vendor) {
    let Vendor { name, decision, classes, open_conditions, review_by, record, place: _, due: _ } =
        new;
    let less = classes.is_subset(&old.classes)
        && old.open_conditions.iter().all(|of| open_conditions.contains(of))
        && *decision == old.decision
        && (old.review_by.is_none() || review_by.is_some_and(|day| Some(day) <= old.review_by));
    let same = (classes, open_conditions, review_by)
        == (&old.classes, &old.open_conditions, &old.review_by)
        && *decision == old.decision;
    match (same, less) {
        (true, _) if *record == old.record => {}
        (true, _) => notes.note(Way::Other, format!("says other things of the vendor {name}")),
        (false, true) => notes.note(Way::Narrower, format!("decides less about the vendor {name}")),
        (false, false) => {
            notes.note(Way::Wider, format!("decides otherwise about the vendor {name}"))
        }
    }
}

fn system(notes: &mut Notes<'_>, of: &SystemName, old: &SystemSpec, new: &SystemSpec) {
    let SystemSpec { name: _, backend, timeout_ms, bounds, concurrency, place: _, vendors } = new;
    if *vendors != old.vendors {
        notes.note(Way::Wider, format!("names other vendors for the system {of}"));
    }
    let networks = |backend: &Backend| match backend {
        Backend::Http { networks, .. } => Some(networks.clone()),
        Backend::Sqlite { .. } | Backend::Postgres { .. } | Backend::Email(_) | Backend::Mcp(_) => {
            None
        }
    };
    let lent = |backend: &Backend| match backend {
        Backend::Http { origin, auth, networks: _, plaintext } => Backend::Http {
            origin: origin.clone(),
            auth: auth.clone(),
            networks: Vec::new(),
            plaintext: *plaintext,
        },
        other => other.clone(),
    };
    if lent(backend) != lent(&old.backend) {
        notes.note(Way::Wider, format!("reaches {of} in another way, or as somebody else"));
    } else if networks(backend) != networks(&old.backend) {
        let [was, is] = [networks(&old.backend), networks(backend)].map(Option::unwrap_or_default);
        // None at all is everything that is public.
        let fewer = !is.is_empty() && is.iter().all(|network| was.contains(network));
        let way = if fewer { Way::Narrower } else { Way::Wider };
        notes.note(way, format!("looks for {of} in other networks"));
    }
    let of_calls = ResultBounds { ..*bounds };
    if (*timeout_ms, of_calls, *concurrency) != (old.timeout_ms, old.bounds, old.concurrency) {
        // Of tools that do not say otherwise; their own bounds are compared with them.
        notes.note(Way::Other, format!("gives {of} other times and bounds"));
    }
}

/// Hand-written policies that bear on a tool which both grant, for every request at once.
async fn policies(old: Side<'_>, new: Side<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (tool, found) in compare(old, new).await {
        let mut notes = Notes { agent: None, tool: Some(&tool), changes: Vec::new() };
        match found {
            Compared::Narrower => {
                notes.note(Way::Narrower, "is forbidden more by policies written by hand")
            }
            Compared::Other => {
                notes.note(Way::Other, "has policies written by hand in other words")
            }
            Compared::Undecided(why) => {
                notes.note(
                    Way::Wider,
                    format!("has other policies written by hand; undecided: {why}"),
                );
            }
            Compared::Wider(found) => {
                let says = "is forbidden less by policies written by hand".to_owned();
                let example = found.map(|found| found.call());
                let tool = Some(ToolName::clone(&tool));
                notes.changes.push(Change { agent: None, tool, way: Way::Wider, says, example });
            }
        }
        changes.extend(notes.changes);
    }
    changes
}
