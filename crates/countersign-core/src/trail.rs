//! What the journal is told of a call: gathered on its way, written down as entries.

use crate::bound::{DETAIL_BYTES_MAX, RESULT_BYTES_RECORDED_MAX};
use crate::call::{Clearance, Door};
use crate::id::{CallId, Digest, DraftId, SystemName, TenantId, Timestamp};
use crate::ladder::{Exception, Summed};
use crate::port::{Found, Proposer, Receipt};
use crate::posture::Agent;
use crate::principal::Principal;
use crate::quota::Charge;
use crate::record::{Entry, Kind};
use crate::refusal::{Applied, Fault, Refusal};
use crate::scope::LookUp;
use crate::tool::{Rung, Tool};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is known of a call so far, for its records. It carries no authority: no stage is made
/// from it.
#[derive(Debug)]
pub(crate) struct Trail {
    pub(crate) call: CallId,
    pub(crate) begun: Timestamp,
    pub(crate) door: Door,
    pub(crate) posture: Option<Digest>,
    pub(crate) tenant: Option<TenantId>,
    /// What records say of the person, as a body that can be erased. Empty before anybody is known.
    pub(crate) principal: Vec<u8>,
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) claimed: String,
    pub(crate) tool: Option<(Arc<Tool>, Digest)>,
    pub(crate) arguments: Vec<u8>,
    pub(crate) charges: Vec<Charge>,
    pub(crate) policies: Vec<String>,
    pub(crate) look_ups: Vec<LookedUpBy>,
    pub(crate) intent: Option<Receipt>,
    pub(crate) shown: Option<Shown>,
    /// The clearance it needs, once that is known.
    pub(crate) rung: Option<Rung>,
    /// What keeps its tool below its effect's step.
    pub(crate) exception: Option<Exception>,
    /// What clears it.
    pub(crate) cleared: Option<Clearance>,
    /// The decision point that was asked, and what it said.
    pub(crate) consulted: Option<(SystemName, Result<bool, Fault>)>,
    /// The draft it is about.
    pub(crate) draft: Option<DraftId>,
    /// What is reserved of budgets, and of what.
    pub(crate) spending: Vec<(Charge, Summed)>,
    /// How many rows came back or changed.
    pub(crate) used: Option<u64>,
    /// Whoever waits for the answer.
    pub(crate) proposer: Option<Arc<dyn Proposer>>,
}

/// One rule that asked a system, for the call's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedUpBy {
    /// The rule.
    pub rule: Arc<LookUp>,
    /// How many answers the system gave.
    pub asked: u32,
    /// How many were known from before.
    pub cached: u32,
}

/// What came of the result.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) rows: u64,
    pub(crate) truncated: bool,
    pub(crate) hidden: u64,
}

impl Trail {
    pub(crate) fn begin(call: CallId, begun: Timestamp, door: Door) -> Self {
        Self {
            call,
            begun,
            door,
            posture: None,
            tenant: None,
            principal: Vec::new(),
            agent: None,
            claimed: String::new(),
            tool: None,
            arguments: Vec::new(),
            charges: Vec::new(),
            policies: Vec::new(),
            look_ups: Vec::new(),
            intent: None,
            shown: None,
            rung: None,
            exception: None,
            cleared: None,
            consulted: None,
            draft: None,
            spending: Vec::new(),
            used: None,
            proposer: None,
        }
    }

    /// Whose call it is.
    pub(crate) fn of(&mut self, principal: &Principal) {
        self.tenant = Some(principal.tenant.clone());
        self.principal = described(principal);
    }

    /// A rule is about to ask; its place among those of the call.
    pub(crate) fn looked_up(&mut self, rule: &Arc<LookUp>) -> usize {
        self.look_ups.push(LookedUpBy { rule: Arc::clone(rule), asked: 0, cached: 0 });
        self.look_ups.len().saturating_sub(1)
    }

    pub(crate) fn answered(&mut self, at: usize, found: &Found) {
        if let Some(LookedUpBy { asked, cached, .. }) = self.look_ups.get_mut(at) {
            let counted = if found.cached { cached } else { asked };
            *counted = counted.saturating_add(1);
        }
    }

    /// The members that every record of a call has, as far as they are known.
    pub(crate) fn entry(&self, kind: Kind, at: Timestamp) -> Entry {
        let mut entry =
            Entry::new(kind, at).with("call", self.call.as_str()).with("door", self.door.as_str());
        if let Some(posture) = &self.posture {
            entry = entry.with("posture", posture.to_string());
        }
        if let Some(agent) = &self.agent {
            entry = entry.with("agent", agent.id.as_str());
        }
        if let Some((tool, decision)) = &self.tool {
            entry = entry
                .with("tool", tool.name.as_str())
                .with("system", tool.system.as_str())
                .with("effect", tool.effect.as_str())
                .with("rung", self.rung.unwrap_or(tool.ladder.rung(self.begun)).number())
                .with("decision", decision.to_string());
        }
        if let Some(Exception { rung, expires, .. }) = &self.exception {
            entry = entry
                .with("exception", json!({ "rung": rung.number(), "expires": expires.micros() }));
        }
        let by = match &self.cleared {
            Some(Clearance::Check) => Some("check"),
            Some(Clearance::DecisionPoint) => Some("decision_point"),
            Some(Clearance::Approval(_)) => Some("approval"),
            Some(Clearance::Ungated) | None => None,
        };
        if let Some(by) = by {
            entry = entry.with("decided_by", by);
        }
        if let Some((system, said)) = &self.consulted {
            let said = match said {
                Ok(true) => "yes",
                Ok(false) => "no",
                Err(fault) => fault.code(),
            };
            entry = entry.with("consulted", json!({ "system": system.as_str(), "said": said }));
        }
        if let Some(draft) = &self.draft {
            entry = entry.with("draft", draft.as_str());
        }
        if !self.policies.is_empty() {
            entry = entry.with("policies", self.policies.clone());
        }
        if !self.look_ups.is_empty() {
            entry = entry.with("look_ups", self.look_ups.iter().map(written).collect::<Vec<_>>());
        }
        if let Some(tenant) = &self.tenant {
            entry = entry.with("tenant", tenant.as_str()).body("principal", &*self.principal);
        }
        entry
    }

    pub(crate) fn outcome(&self, at: Timestamp) -> Entry {
        let mut entry =
            self.entry(Kind::Outcome, at).with("duration_us", at.micros_since(self.begun));
        if let Some(intent) = &self.intent {
            entry =
                entry.with("intent", json!({ "stream": &*intent.stream, "seq": intent.sequence }));
        }
        if let Some(Shown { rows, truncated, hidden }) = &self.shown {
            entry = entry
                .with("rows", *rows)
                .with("truncated", *truncated)
                .with("hidden_characters", *hidden);
        }
        entry
    }

    /// What was reserved of budgets and not used: all of it where nothing came of the call, and rows
    /// that there were not. Where it is unknown, nothing.
    pub(crate) fn unused(&self, applied: Applied) -> Vec<Charge> {
        let unused = |(charge, of): &(Charge, Summed)| {
            let amount = match applied {
                Applied::NotApplied | Applied::Compensated => charge.amount,
                Applied::Applied if *of == Summed::Rows => charge.amount.saturating_sub(self.used?),
                Applied::Applied | Applied::Unknown => 0,
            };
            (amount > 0).then(|| Charge { amount, ..charge.clone() })
        };
        self.spending.iter().filter_map(unused).collect()
    }

    /// Refusals that are repeats of one another, all of them under one posture, which their record
    /// names. Those that no counter bounds (before metering, or by it) are told apart by caller and
    /// code alone, so that a flood of different ones is one.
    pub(crate) fn repeat(&self, refusal: &Refusal) -> Digest {
        let posture = self.posture.as_ref().map(Digest::as_bytes);
        let (tool, arguments) = match (&self.tool, self.charges.is_empty()) {
            (Some((tool, _)), false) => (tool.name.as_str(), self.arguments.as_slice()),
            (Some((tool, _)), true) => (tool.name.as_str(), [].as_slice()),
            (None, _) => ("", [].as_slice()),
        };
        Digest::of(
            "countersign/repeat/1",
            &[
                posture.map_or(&[], <[u8; 32]>::as_slice),
                &self.principal,
                self.door.as_str().as_bytes(),
                tool.as_bytes(),
                refusal.code().as_bytes(),
                arguments,
            ],
        )
    }
}

fn written(LookedUpBy { rule, asked, cached }: &LookedUpBy) -> Value {
    json!({
        "path": rule.path.to_string(),
        "asks": rule.asks.as_str(),
        "system": rule.query.system.as_str(),
        "asked": asked,
        "cached": cached,
    })
}

/// What a record says of a person, as a body that can be erased.
fn described(principal: &Principal) -> Vec<u8> {
    let Principal {
        issuer,
        subject,
        actor,
        tenant: _,
        sid,
        person,
        scopes: _,
        attributes: _,
        agent_build,
        model,
        expires: _,
    } = principal;
    let mut members = json!({
        "issuer": issuer.as_str(),
        "subject": subject.as_str(),
        "actor": actor.as_str(),
        "session": principal.session().to_string(),
    });
    for (name, value) in
        [("sid", sid), ("person", person), ("agent_build", agent_build), ("model", model)]
    {
        if let (Some(value), Some(members)) = (value, members.as_object_mut()) {
            members.insert(name.to_owned(), value.as_str().into());
        }
    }
    members.to_string().into_bytes()
}

/// A body whole, up to [`RESULT_BYTES_RECORDED_MAX`]; above it, its SHA-256 and size.
pub(crate) fn bounded(entry: Entry, field: &'static str, bytes: &[u8]) -> Entry {
    if bytes.len() <= RESULT_BYTES_RECORDED_MAX {
        return entry.body(field, bytes);
    }
    let digest = Digest::sha256(bytes).to_string();
    entry.body(field, json!({ "sha256": digest, "bytes": bytes.len() }).to_string())
}

/// At most [`DETAIL_BYTES_MAX`] bytes of a text, cut between characters.
pub(crate) fn cut(text: &str) -> &[u8] {
    let end = text.floor_char_boundary(DETAIL_BYTES_MAX.min(text.len()));
    text.as_bytes().get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_under_two_postures_are_no_repeats_of_one_another() {
        let repeat = |posture: &[u8]| {
            let mut trail = Trail::begin(
                CallId::begun(Timestamp::from_secs(1), [7; 6]),
                Timestamp::from_secs(1),
                Door::Http,
            );
            trail.posture = Some(Digest::sha256(posture));
            trail.repeat(&Refusal::UnknownTool)
        };
        assert_eq!(repeat(b"a"), repeat(b"a"));
        assert_ne!(repeat(b"a"), repeat(b"b"));
    }
}
