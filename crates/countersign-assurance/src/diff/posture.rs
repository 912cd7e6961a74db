//! Two postures: agents, grants, systems, what tokens say, hand-written policies.

use super::{Change, Difference, Notes, Side, Way, tool};
use crate::proof::{Compared, compare};
use countersign_core::id::{ActorId, AgentId, SystemName, ToolName};
use countersign_core::posture::{Agent, Grant, Lapse, Posture};
use countersign_core::tool::{Effect, ResultBounds};
use countersign_posture::{Backend, ClaimMap, Loaded, Registered, Stage, SystemSpec, Vendor};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Agents<'a> = BTreeMap<&'a AgentId, (&'a ActorId, &'a Agent)>;

pub(super) async fn diff(old: Side<'_>, new: Side<'_>) -> Difference {
    let Posture { digest, agents, tenant_limits } = &new.loaded.posture;
    let before = &old.loaded.posture;
    let mut notes = Notes { agent: None, tool: None, changes: Vec::new() };
    let of_tenants = [&before.tenant_limits, tenant_limits];
    tool::limits(&mut notes, "for a tenant over all agents", of_tenants, [&[], &[]]);
    let (of_old, of_new) = (by_name(&before.agents), by_name(agents));
    let renamed = renamed(&of_old, &of_new);
    loaded(&mut notes, (old.loaded, new.loaded), &renamed);
    let lapses = Lapses::of([before, &new.loaded.posture]);
    lapses.told(&mut notes);
    let mut changes = notes.changes;
    let mut at_once = Vec::new();
    for (&name, &(client, agent)) in &of_new {
        let mut notes = Notes { agent: Some(name), tool: None, changes: Vec::new() };
        let was_called = renamed.get(name).copied().unwrap_or(name);
        let known = of_old.get(was_called);
        if was_called != name {
            let bears = |side: Side<'_>, agent: &Agent| {
                agent.grants.keys().any(|tool| side.bundle.written_digest(tool).is_some())
            };
            let bears = bears(new, agent) || known.is_some_and(|(_, was)| bears(old, was));
            renaming(&mut notes, was_called.as_str(), bears);
        }
        match known {
            None => notes.note(Way::Wider, "is a new agent"),
            Some(&(before, was)) => {
                let says = format!("calls as the client {client}, was {before}");
                notes.same(before, client, &says);
                agents_alike(&mut notes, was, agent);
            }
        }
        let both = Both {
            names: [was_called, name],
            sides: [old, new],
            agents: [known.map(|(_, was)| *was), Some(agent)],
            lapses: &lapses,
        };
        let newly = both.tools(&mut notes);
        if newly.len() > 1 {
            at_once.push((name.clone(), newly));
        }
        changes.extend(notes.changes);
    }
    let kept =
        |name: &AgentId| of_new.contains_key(name) || renamed.values().any(|was| *was == name);
    for name in of_old.keys().filter(|name| !kept(name)) {
        let mut notes = Notes { agent: Some(name), tool: None, changes: Vec::new() };
        notes.note(Way::Narrower, "is an agent no more");
        changes.extend(notes.changes);
    }
    changes.extend(policies(old, new).await);
    let postures = [before.digest, *digest].map(|digest| digest.to_string());
    Difference { postures, changes, at_once }
}

/// Agents that have another name and the same client, by the new name.
fn renamed<'a>(old: &Agents<'a>, new: &Agents<'a>) -> BTreeMap<&'a AgentId, &'a AgentId> {
    let fresh = new.iter().filter(|(name, _)| !old.contains_key(*name));
    let pairs = fresh.filter_map(|(name, (client, _))| {
        let mut gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
        gone.find(|(_, (before, _))| before == client).map(|(was, _)| (*name, *was))
    });
    pairs.collect()
}

/// A name counts where people wrote policies: they may name the old one.
fn renaming(notes: &mut Notes<'_>, was: &str, bears: bool) {
    match bears {
        false => notes.note(Way::Other, format!("is renamed from {was}")),
        true => notes.note(
            Way::Wider,
            format!(
                "is renamed from {was}; policies written by hand bear on it, and may name the old"
            ),
        ),
    }
}

/// An agent in both postures.
struct Both<'a> {
    names: [&'a AgentId; 2],
    sides: [Side<'a>; 2],
    agents: [Option<&'a Agent>; 2],
    lapses: &'a Lapses,
}

/// A grant, and of which tool.
type Given<'a> = (&'a ToolName, &'a Grant);

impl<'a> Both<'a> {
    /// Compares what the agent may use. Returns the tools with an effect that it may newly use.
    fn tools(&self, notes: &mut Notes<'a>) -> Vec<ToolName> {
        let empty = BTreeMap::new();
        let [granted, now] = self.agents.map(|agent| agent.map_or(&empty, |agent| &agent.grants));
        let mut gone: BTreeSet<_> =
            granted.keys().filter(|tool| !now.contains_key(*tool)).collect();
        let mut newly = Vec::new();
        for (tool, grant) in now {
            let mut of = Notes { agent: notes.agent, tool: Some(tool), changes: Vec::new() };
            let mut before = granted.get_key_value(tool);
            if before.is_none()
                && let Some(was) = self.renamed((&gone, granted), (tool, grant))
            {
                gone.remove(was);
                let bears = [(0, was), (1, tool)];
                let bears = bears.into_iter().any(|(at, tool)| self.is_written_about(at, tool));
                renaming(&mut of, was.as_str(), bears);
                before = granted.get_key_value(was);
            }
            if before.is_none_or(|before| self.is_newly_written(before, (tool, grant))) {
                newly.extend(Some(tool.clone()).filter(|_| grant.tool.effect != Effect::Read));
            }
            match before {
                None => of.note(Way::Wider, given(grant)),
                Some(before) => self.grants(&mut of, before, (tool, grant)),
            }
            notes.changes.extend(of.changes);
        }
        for tool in gone {
            let mut of = Notes { agent: notes.agent, tool: Some(tool), changes: Vec::new() };
            of.note(Way::Narrower, "may not use it any more");
            notes.changes.extend(of.changes);
        }
        newly
    }

    /// The tool that is gone and had all that this one has.
    fn renamed<'t>(
        &self,
        (gone, granted): (&BTreeSet<&'t ToolName>, &BTreeMap<ToolName, Grant>),
        new: Given<'_>,
    ) -> Option<&'t ToolName> {
        let same = |was: &&ToolName| {
            granted.get(*was).is_some_and(|before| self.same((*was, before), new))
        };
        gone.iter().copied().find(same)
    }

    /// Whether people wrote policies that bear on a tool of one of the sides.
    fn is_written_about(&self, side: usize, tool: &ToolName) -> bool {
        self.sides.get(side).is_none_or(|side| side.bundle.written_digest(tool).is_some())
    }

    fn stages(&self, was: &ToolName, is: &ToolName) -> [Stage; 2] {
        let ([old, new], [before, after]) = (self.sides, self.names);
        [old.loaded.stage(before, was), new.loaded.stage(after, is)]
    }

    /// Whether nothing but the name differs.
    fn same(&self, old: Given<'_>, new: Given<'_>) -> bool {
        let mut notes = Notes { agent: None, tool: None, changes: Vec::new() };
        self.grants(&mut notes, old, new);
        notes.changes.is_empty()
    }

    /// Whether a tool with an effect is newly usable somewhere, or newly has one.
    fn is_newly_written(&self, old: Given<'_>, new: Given<'_>) -> bool {
        let [was, is] = self.stages(old.0, new.0);
        is > was || old.1.tool.effect == Effect::Read
    }

    fn grants(&self, notes: &mut Notes<'_>, old: Given<'_>, new: Given<'_>) {
        let [was, is] = self.stages(old.0, new.0);
        let says = format!("exists up to {}, was {}", is.name(), was.name());
        match is.cmp(&was) {
            Ordering::Greater => notes.note(Way::Wider, says),
            Ordering::Less => notes.note(Way::Narrower, says),
            Ordering::Equal => {}
        }
        grants_alike(notes, self, (old.1, new.1));
    }
}

/// Whether any grant ends by itself: one setting of the posture decides that for all.
struct Lapses {
    any: [bool; 2],
}

impl Lapses {
    fn of(postures: [&Posture; 2]) -> Self {
        let any = postures.map(|posture| {
            let mut grants = posture.agents.values().flat_map(|agent| agent.grants.values());
            grants.any(|grant| grant.lapses.is_some())
        });
        Self { any }
    }

    /// Whether it is told once, and not of each grant.
    fn at_once(&self) -> bool {
        let [was, is] = self.any;
        was != is
    }

    fn told(&self, notes: &mut Notes<'_>) {
        let cause = "(`reviews.on_expiry`, and the last days of reviews)";
        match self.any {
            [true, false] => notes.note(
                Way::Wider,
                format!("no grant ends by itself any more when a review is not renewed {cause}"),
            ),
            [false, true] => notes.note(
                Way::Narrower,
                format!("grants end by themselves when a review is not renewed {cause}"),
            ),
            _ => {}
        }
    }
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
    tool::limits(notes, "for each tenant", [&old.limits, limits], [&[], &[]]);
}

fn grants_alike(notes: &mut Notes<'_>, both: &Both<'_>, (old, new): (&Grant, &Grant)) {
    let Grant { tool: of, decision_digest: _, limits, require_scope, lapses, point_lapses } = new;
    let [was, is] = [&old.lapses, lapses].map(|lapse| lapse.as_ref().map(|lapse| lapse.at));
    let told = |lapse: &Option<Lapse>| {
        lapse.as_ref().map_or_else(|| "never".to_owned(), |lapse| format!("when {}", lapse.of))
    };
    let [before, after] = [&old.lapses, lapses].map(told);
    let times = format!("{after}; was {before}");
    // What never ends by itself goes on for longest.
    match (was, is) {
        (was, is) if was == is || both.lapses.at_once() => {}
        (None, Some(_)) => notes.note(Way::Narrower, format!("ends by itself: {times}")),
        (Some(was), Some(is)) if is < was => {
            notes.note(Way::Narrower, format!("ends by itself sooner: {times}"));
        }
        _ => notes.note(Way::Wider, format!("ends by itself later, or never: {times}")),
    }
    let [was, is] = [&old.point_lapses, point_lapses].map(|of| of.as_ref().map(|of| of.at));
    // Of a tool that had no decision point, that it has one is said with its gate.
    if was != is
        && (was.is_some() || old.tool.ladder.gate.as_ref().is_some_and(|g| g.decision.is_some()))
    {
        let sooner = is.is_some_and(|is| was.is_none_or(|was| is < was));
        let (way, when) = match sooner {
            true => (Way::Narrower, "an earlier day on"),
            false => (Way::Wider, "a later day on, or from none"),
        };
        notes.note(way, format!("its decision point is asked no more, from {when}"));
    }
    // Calls of this grant count against the agent's limits, the tool's and the tenants' as well.
    let around = |at: usize, grant: &Grant| {
        let side = both.sides.get(at).map(|side| side.loaded.posture.tenant_limits);
        let agent = both.agents.get(at).copied().flatten().map(|agent| agent.limits);
        side.into_iter().chain(agent).chain([grant.tool.limits]).collect::<Vec<_>>()
    };
    let [around_old, around_new] = [around(0, old), around(1, new)];
    let [around_old, around_new] =
        [&around_old, &around_new].map(|all| all.iter().collect::<Vec<_>>());
    tool::limits(notes, "by this agent", [&old.limits, limits], [&around_old, &around_new]);
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
fn loaded(
    notes: &mut Notes<'_>,
    (old, new): (&Loaded, &Loaded),
    renamed: &BTreeMap<&AgentId, &AgentId>,
) {
    if old.organisation != new.organisation {
        notes.note(Way::Other, format!("is of {}, was {}", new.organisation, old.organisation));
    }
    claims(notes, &old.claims, &new.claims);
    if old.profile != new.profile {
        notes.note(Way::Other, "is written for another kind of organisation");
    }
    for entry in &new.register {
        let name = renamed.get(&entry.agent).copied().unwrap_or(&entry.agent);
        let before = old.register.iter().find(|before| before.agent == *name);
        if let Some(before) = before {
            owners(notes, before, entry);
        }
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

/// Where a token says who calls, and for whom.
fn claims(notes: &mut Notes<'_>, old: &ClaimMap, new: &ClaimMap) {
    let places = |map: &ClaimMap| {
        let ClaimMap {
            subject,
            actor,
            tenant,
            session,
            person,
            scopes,
            agent_build,
            model,
            attributes,
        } = map.clone();
        let of = [
            ("subject", subject),
            ("actor", actor.join(", ")),
            ("tenant", tenant),
            ("session", session.unwrap_or_default()),
            ("person", person.unwrap_or_default()),
            ("scopes", scopes.join(", ")),
            ("agent_build", agent_build.unwrap_or_default()),
            ("model", model.unwrap_or_default()),
        ];
        let of = of.into_iter().map(|(name, place)| (name.to_owned(), place));
        let others = attributes.into_iter().map(|(name, place)| (format!("caller.{name}"), place));
        of.chain(others).filter(|(_, place)| !place.is_empty()).collect::<BTreeMap<_, _>>()
    };
    let [was, is] = [old, new].map(places);
    let before = notes.changes.len();
    for name in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
        let [was, is] = [&was, &is].map(|of| of.get(name).map_or("nowhere", String::as_str));
        if was != is {
            let says = format!("reads `{name}` at another place of a token: {is}, was {was}");
            notes.note(Way::Wider, says);
        }
    }
    if notes.changes.len() == before {
        // INVARIANT: whatever was not named above.
        notes.same(old, new, "reads who calls, and for whom, at other places of a token");
    }
}

/// What is said of an agent, and nothing goes by.
fn owners(notes: &mut Notes<'_>, old: &Registered, new: &Registered) {
    for (what, was, is) in [
        ("purpose", &old.purpose, &new.purpose),
        ("team", &old.team, &new.team),
        ("contact", &old.contact, &new.contact),
    ] {
        if was != is {
            let says = format!("has another {what}: “{is}”, was “{was}”");
            let agent = Some(new.agent.clone());
            notes.changes.push(Change { agent, tool: None, way: Way::Other, says, example: None });
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
    let told = |of: &Vendor| {
        let until = of
            .review_by
            .map_or_else(|| "with no last day".to_owned(), |day| format!("until {day}"));
        let classes: Vec<_> = of.classes.iter().map(|class| class.as_str()).collect();
        let open = match of.open_conditions.len() {
            0 => String::new(),
            open => format!(", {open} conditions open"),
        };
        format!("{} {until} for {}{open}", of.decision.as_str(), classes.join(", "))
    };
    let says = format!("the vendor {name}: {}, was {}", told(new), told(old));
    match (same, less) {
        (true, _) if *record == old.record => {}
        (true, _) => notes.note(Way::Other, format!("says other things of the vendor {name}")),
        (false, true) => notes.note(Way::Narrower, format!("decides less about {says}")),
        (false, false) => notes.note(Way::Wider, format!("decides otherwise about {says}")),
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
        let told = |backend: &Backend| backend.references().collect::<Vec<_>>().join(", ");
        let [was, is] = [&old.backend, backend].map(told);
        let by = match was == is {
            true => String::new(),
            false => format!(": by {is}, was {was}"),
        };
        notes.note(Way::Wider, format!("reaches {of} in another way, or as somebody else{by}"));
    } else if networks(backend) != networks(&old.backend) {
        let [was, is] = [networks(&old.backend), networks(backend)].map(Option::unwrap_or_default);
        // None at all is everything that is public.
        let fewer = !is.is_empty() && is.iter().all(|network| was.contains(network));
        let way = if fewer { Way::Narrower } else { Way::Wider };
        let told = |networks: &[_]| match networks {
            [] => "anywhere public".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let networks = format!("{}, was {}", told(&is), told(&was));
        notes.note(way, format!("looks for {of} in other networks: {networks}"));
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
    for (tool, which, found) in compare(old, new).await {
        let which = match &which[..] {
            [] => String::new(),
            which => format!(": {}", which.join(", ")),
        };
        let mut notes = Notes { agent: None, tool: Some(&tool), changes: Vec::new() };
        match found {
            Compared::Narrower => {
                let says = format!("is forbidden more by policies written by hand{which}");
                notes.note(Way::Narrower, says);
            }
            Compared::Other => {
                let says = format!("has policies written by hand in other words{which}");
                notes.note(Way::Other, says);
            }
            Compared::Undecided(why) => {
                notes.note(
                    Way::Wider,
                    format!(
                        "may be forbidden less by policies written by hand{which}; undecided: {why}"
                    ),
                );
            }
            Compared::Wider(found) => {
                let says = format!("is forbidden less by policies written by hand{which}");
                let example = found.map(|found| found.call());
                let tool = Some(ToolName::clone(&tool));
                notes.changes.push(Change { agent: None, tool, way: Way::Wider, says, example });
            }
        }
        changes.extend(notes.changes);
    }
    changes
}
