//! What people are told, as JSON.

use countersign_core::absence::Delegation;
use countersign_core::act::{Done, Visitor};
use countersign_core::args;
use countersign_core::call::Monitor;
use countersign_core::draft::{
    Decided, Draft, Outcome, State, Suspension, Switch, UnknownOutcome, Who,
};
use countersign_core::id::{ActorId, Timestamp};
use countersign_core::ladder::Approvers;
use countersign_core::person::{Person, Tenants};
use countersign_core::port::Place;
use countersign_core::posture::{Agent, Grant, Posture};
use countersign_core::principal::Principal;
use countersign_core::tool::Rung;
use serde_json::{Value, json};

/// RFC 3339, in UTC, to the microsecond.
pub(super) fn time(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
    format!("{at:.6}")
}

/// A place in the list of drafts, as an address has it.
pub(crate) fn place((at, id): Place) -> String {
    let id = id.map(|id| format!("~{id}")).unwrap_or_default();
    format!("{}{id}", time(at))
}

fn who(who: &Who) -> Value {
    let Who { issuer, id, address } = who;
    json!({ "issuer": issuer.as_str(), "id": id, "address": address })
}

pub(super) fn person(person: &Person) -> Value {
    let Person { who: is, groups, tenants, roles, signed_in, expires } = person;
    let tenants = match tenants {
        Tenants::All => json!("all"),
        Tenants::Of(tenants) => json!(tenants.iter().map(|t| t.as_str()).collect::<Vec<_>>()),
    };
    json!({
        "person": who(is),
        "groups": groups,
        "tenants": tenants,
        "roles": roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "signed_in": signed_in.map(time),
        "expires": time(*expires),
    })
}

/// All of a draft but what the tool answered, which is the agent's.
pub(super) fn draft(monitor: &Monitor, visitor: &Visitor, draft: &Draft) -> Value {
    let Draft { principal, outcome, decided, .. } = draft;
    let Principal { issuer, subject, person, tenant, .. } = principal;
    let grant = monitor.posture.agents.get(&principal.actor);
    let grant = grant.and_then(|agent| agent.grants.get(&draft.tool));
    let gate = grant.filter(|grant| grant.decision_digest == draft.decision);
    let gate = gate.and_then(|grant| grant.tool.ladder.gate.as_ref());
    json!({
        "id": draft.id.as_str(),
        "state": draft.state.as_str(),
        "summary": draft.summary,
        "tool": draft.tool.as_str(),
        "system": draft.system.as_str(),
        // Kept as they were sent, in canonical form; what cannot be read is shown as nothing.
        "arguments": args::parse(&draft.arguments).unwrap_or_default(),
        "tenant": tenant.as_str(),
        "agent": draft.agent.as_str(),
        "on_behalf_of": {
            "issuer": issuer.as_str(), "subject": subject.as_str(), "person": person,
        },
        "rung": draft.rung.number(),
        "approvers": gate.map(|gate| approvers(&gate.approvers)),
        "standing_in": monitor.standing_in(draft).iter().map(|one| json!({
            "who": one.to, "in_stead_of": who(&one.from), "until": time(one.until),
        })).collect::<Vec<_>>(),
        "previewable": gate.is_some_and(|gate| gate.preview.is_some()),
        "could_approve": draft.state == State::Waiting && monitor.could_approve(visitor, draft),
        "fresh_sign_in": draft.rung >= Rung::NAMED,
        "yours": monitor.is_theirs(visitor, draft),
        "proposed": time(draft.proposed),
        "expires": time(draft.expires),
        "call": draft.call.as_str(),
        "decided": decided.as_ref().map(decision),
        "committed": draft.committed.as_ref().map(|call| call.as_str()),
        "outcome": outcome.as_ref().map(|Outcome { applied, code, resolved, result: _ }| json!({
            "applied": applied.as_str(), "code": code, "resolved": resolved,
        })),
        "same_as": draft.same_as.as_ref().map(|id| id.as_str()),
        "delivered": draft.delivered,
    })
}

fn approvers(approvers: &Approvers) -> Value {
    match approvers {
        Approvers::Named(named) => json!({ "named": named }),
        Approvers::Group { group, subject } => json!({ "group": group, "subject": subject }),
    }
}

fn decision(Decided { by, in_stead_of, at, reason }: &Decided) -> Value {
    let (by, in_stead_of) = (by.as_ref().map(who), in_stead_of.as_ref().map(who));
    json!({ "by": by, "in_stead_of": in_stead_of, "at": time(*at), "reason": reason })
}

pub(super) fn agent(client: &ActorId, agent: &Agent, suspensions: &[Suspension]) -> Value {
    let stops = |suspension: &&Suspension| match &suspension.of {
        Switch::Everything => true,
        Switch::Agent(name) => *name == agent.id,
        Switch::Tool(_) | Switch::System(_) | Switch::Tenant(_) => false,
    };
    let tools = agent.grants.values().map(|Grant { tool, .. }| {
        json!({
            "tool": tool.name.as_str(),
            "effect": tool.effect.as_str(),
            "system": tool.system.as_str(),
            "approvers": tool.ladder.gate.as_ref().map(|gate| approvers(&gate.approvers)),
        })
    });
    json!({
        "agent": agent.id.as_str(),
        "client_id": client.as_str(),
        "issuer": agent.issuer.as_ref().map(|issuer| issuer.as_str()),
        "tools": tools.collect::<Vec<_>>(),
        "suspended": suspensions.iter().find(stops).map(suspension),
    })
}

pub(super) fn suspension(Suspension { of, at, by, reason }: &Suspension) -> Value {
    json!({
        "kind": of.kind(), "name": of.name(), "at": time(*at), "by": who(by), "reason": reason,
    })
}

pub(super) fn delegation(delegation: &Delegation, endable: bool) -> Value {
    // Of the tenants that the absent person decides for not all may be the reader's.
    let Delegation { id, from, tenants: _, to, at, until } = delegation;
    json!({
        "delegation": id.as_str(),
        "in_stead_of": who(from),
        "who": to,
        "at": time(*at),
        "until": time(*until),
        "yours_to_end": endable,
    })
}

pub(super) fn unknown(unknown: &UnknownOutcome) -> Value {
    let UnknownOutcome { call, at, agent, tenant, tool, system, draft, resolved } = unknown;
    json!({
        "call": call.as_str(),
        "at": time(*at),
        "agent": agent.as_str(),
        "tenant": tenant.as_str(),
        "tool": tool.as_str(),
        "system": system.as_str(),
        "draft": draft.as_ref().map(|id| id.as_str()),
        "resolved": resolved.as_ref().map(|(decided, happened)| json!({
            "happened": happened, "decided": decision(decided),
        })),
    })
}

pub(super) fn done(Done { receipt, approved: _ }: &Done) -> Value {
    json!({ "record": { "stream": &*receipt.stream, "seq": receipt.sequence } })
}

/// Whether the posture has what a switch names. Tenants are nobody's list.
pub(crate) fn is_there(posture: &Posture, switch: &Switch) -> bool {
    let mut agents = posture.agents.values();
    let mut grants = posture.agents.values().flat_map(|agent| agent.grants.values());
    match switch {
        Switch::Everything | Switch::Tenant(_) => true,
        Switch::Agent(name) => agents.any(|agent| agent.id == *name),
        Switch::Tool(name) => grants.any(|grant| grant.tool.name == *name),
        Switch::System(name) => grants.any(|Grant { tool, .. }| {
            let point = tool.ladder.gate.as_ref().and_then(|gate| gate.decision.as_ref());
            tool.system == *name
                || tool.look_ups.iter().any(|rule| rule.query.system == *name)
                || point.is_some_and(|point| point.system == *name)
        }),
    }
}
