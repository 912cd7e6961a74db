//! The register of agents, and what is switched off.

use super::show::{self, Gauge, Moment};
use super::{Console, Form, Frame, Seen, Who, barred, shown, told, unread};
use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use countersign_core::act::{Act, Barred};
use countersign_core::draft::{Suspension, Switch};
use countersign_core::id::TenantId;
use countersign_core::posture::{Agent, Grant};
use countersign_core::reading::Calls;
use countersign_core::sight::Sight;
use std::collections::BTreeSet;

/// Calls of an agent among which its tenants are looked for.
const LATELY: u32 = 200;

#[derive(Template)]
#[template(path = "agents.html")]
struct Page {
    frame: Frame,
    agents: Vec<Line>,
}

struct Line {
    name: String,
    purpose: String,
    owner: String,
    grants: usize,
    gated: usize,
    last: Option<Moment>,
    suspended: Option<Off>,
}

/// Something that is switched off.
#[derive(Debug)]
struct Off {
    kind: &'static str,
    name: String,
    at: Moment,
    by: String,
    reason: String,
    /// Whether this person may switch it on again, their sign-in's age apart.
    resumable: bool,
}

#[derive(Template)]
#[template(path = "agent.html")]
struct One {
    frame: Frame,
    name: String,
    client: String,
    purpose: String,
    owner: String,
    last: Option<Moment>,
    suspended: Option<Off>,
    operates: bool,
    anew: Option<String>,
    grants: Vec<Granted>,
    limits: Vec<(String, Vec<Gauge>)>,
}

struct Granted {
    tool: String,
    system: String,
    effect: &'static str,
    rung: u8,
    approvers: Option<String>,
}

#[derive(Template)]
#[template(path = "switches.html")]
struct Switches {
    frame: Frame,
    off: Vec<Off>,
    operates: bool,
    anew: Option<String>,
    names: Vec<(&'static str, Vec<String>)>,
}

/// `GET /console/agents`
pub(super) async fn page(State(console): State<Console>, Extension(seen): Who) -> Response {
    match listed(&console, &seen).await {
        Ok(agents) => shown(&Page { frame: seen.frame("Agents"), agents }),
        Err(why) => barred(&seen, &why, "/console/agents"),
    }
}

async fn listed(console: &Console, seen: &Seen) -> Result<Vec<Line>, Barred> {
    let tenants = seen.visitor.sees(Sight::Activity)?;
    let mut lines = Vec::new();
    for agent in seen.in_force.monitor.posture.agents.values() {
        let (purpose, owner) = answering(seen, agent);
        let last = console.doors.ledger.last_seen(&agent.id, tenants).await.map_err(unread)?;
        lines.push(Line {
            last: last.map(show::moment),
            name: agent.id.to_string(),
            purpose,
            owner,
            grants: agent.grants.len(),
            gated: agent.grants.values().filter(|g| g.tool.ladder.gate.is_some()).count(),
            suspended: suspended(seen, agent),
        });
    }
    Ok(lines)
}

fn answering(seen: &Seen, agent: &Agent) -> (String, String) {
    match seen.in_force.owner(&agent.id) {
        Some(owner) => {
            (show::text(&owner.purpose), show::text(&format!("{} ({})", owner.team, owner.contact)))
        }
        None => ("–".to_owned(), "–".to_owned()),
    }
}

fn suspended(seen: &Seen, agent: &Agent) -> Option<Off> {
    let all = seen.in_force.monitor.register.suspensions();
    let mut stops = all.into_iter().filter(|suspension| match &suspension.of {
        Switch::Everything => true,
        Switch::Agent(name) => *name == agent.id,
        Switch::Tool(_) | Switch::System(_) | Switch::Tenant(_) => false,
    });
    stops.next().map(|suspension| off(seen, suspension))
}

fn off(seen: &Seen, suspension: Suspension) -> Off {
    let Suspension { of, at, by, reason } = suspension;
    let own = by == seen.visitor.person().who;
    Off {
        kind: of.kind(),
        name: show::text(of.name()),
        at: show::moment(at),
        by: show::person(&by),
        reason: show::text(&reason),
        resumable: seen.visitor.operates() && !own,
    }
}

/// `GET /console/agents/{name}`
pub(super) async fn one(
    State(console): State<Console>,
    Extension(seen): Who,
    Path(name): Path<String>,
) -> Response {
    let made = async {
        let visible = seen.visitor.sees(Sight::Activity)?;
        let monitor = &seen.in_force.monitor;
        let mut agents = monitor.posture.agents.iter();
        let found = agents.find(|(_, agent)| agent.id.as_str() == name);
        let (client, agent) = found.ok_or(Barred::NotFound)?;
        let (purpose, owner) = answering(&seen, agent);
        let grants = agent.grants.values().map(|Grant { tool, .. }| Granted {
            tool: tool.name.to_string(),
            system: tool.system.to_string(),
            effect: tool.effect.as_str(),
            rung: tool.ladder.rung(monitor.clock.now()).number(),
            approvers: tool.ladder.gate.as_ref().map(|gate| show::approvers(&gate.approvers)),
        });
        // Nobody has a list of tenants: those are shown for which it worked lately.
        let which = Calls { agent: Some(name), limit: Some(LATELY), ..Calls::default() };
        let lately = console.doors.ledger.calls(which, visible).await.map_err(unread)?.items;
        let tenants = lately.iter().filter_map(|line| line.tenant.clone());
        let tenants: BTreeSet<TenantId> = tenants.filter_map(|t| TenantId::new(t).ok()).collect();
        let last = lately.first().map(|line| show::moment(line.at));
        let limits = tenants.iter().map(|tenant| {
            let used = monitor.limits_of(agent, tenant).into_iter().map(show::gauge).collect();
            (show::text(tenant.as_str()), used)
        });
        Ok(One {
            frame: seen.frame(agent.id.to_string()),
            name: agent.id.to_string(),
            client: show::text(client.as_str()),
            purpose,
            owner,
            last,
            suspended: suspended(&seen, agent),
            operates: seen.visitor.operates(),
            anew: anew(&seen),
            grants: grants.collect(),
            limits: limits.collect(),
        })
    };
    match made.await {
        Ok(one) => shown(&one),
        Err(why) => barred(&seen, &why, "/console/agents"),
    }
}

/// Where to sign in anew, which switching on again takes.
fn anew(seen: &Seen) -> Option<String> {
    let now = seen.in_force.monitor.clock.now();
    (!seen.is_fresh(now)).then(|| seen.sign_in_anew())
}

/// `GET /console/switches`
pub(super) async fn switches(Extension(seen): Who) -> Response {
    if let Err(why) = seen.visitor.sees(Sight::Activity) {
        return barred(&seen, &why, "/console/switches");
    }
    let monitor = &seen.in_force.monitor;
    let tenants = &seen.visitor.person().tenants;
    let all = monitor.register.suspensions().into_iter().filter(|s| match &s.of {
        Switch::Tenant(tenant) => tenants.include(tenant),
        Switch::Everything | Switch::Agent(_) | Switch::Tool(_) | Switch::System(_) => true,
    });
    let agents = monitor.posture.agents.values();
    let tools = || agents.clone().flat_map(|agent| agent.grants.values()).map(|grant| &grant.tool);
    let named = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    let names = vec![
        ("agent", named(agents.clone().map(|agent| agent.id.to_string()).collect())),
        ("tool", named(tools().map(|tool| tool.name.to_string()).collect())),
        ("system", named(tools().map(|tool| tool.system.to_string()).collect())),
    ];
    let off = all.map(|suspension| off(&seen, suspension)).collect();
    let (operates, anew) = (seen.visitor.operates(), anew(&seen));
    shown(&Switches { frame: seen.frame("Switches"), off, operates, anew, names })
}

/// `POST /console/switches/suspend`
pub(super) async fn suspend(Extension(seen): Who, body: Bytes) -> Response {
    switched(&seen, &body, Act::Suspend).await
}

/// `POST /console/switches/resume`
pub(super) async fn resume(Extension(seen): Who, body: Bytes) -> Response {
    switched(&seen, &body, Act::Resume).await
}

async fn switched(seen: &Seen, body: &[u8], act: impl Fn(Switch, String) -> Act) -> Response {
    const HERE: &str = "/console/switches";
    let form = match Form::read(seen, body) {
        Ok(form) => form,
        Err(refused) => return *refused,
    };
    let Some(switch) = Switch::parse(form.one("kind"), form.one("name").trim()) else {
        return told(Some(seen), StatusCode::BAD_REQUEST, "Name what is meant: nothing was done.");
    };
    let act = act(switch.clone(), form.reason());
    // One that is misspelt would stop nothing, and whoever did so would believe that it does.
    let known = crate::door::admin::is_there(&seen.in_force.monitor.posture, &switch);
    if matches!(act, Act::Suspend(..)) && !known {
        return barred(seen, &Barred::NotFound, HERE);
    }
    let back = match &switch {
        Switch::Agent(name) => format!("/console/agents/{name}"),
        Switch::Everything | Switch::Tool(_) | Switch::System(_) | Switch::Tenant(_) => {
            HERE.to_owned()
        }
    };
    match seen.act(act).await {
        Ok(_done) => Redirect::to(&back).into_response(),
        Err(why) => barred(seen, &why, &back),
    }
}
