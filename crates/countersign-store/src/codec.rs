//! Drafts and what people decide as rows have them: JSON of our own, read back strictly. What cannot
//! be read is no draft, and nothing is done by it.

use countersign_core::absence::Delegation;
use countersign_core::draft::{Decided, Draft, Outcome, State, Who};
use countersign_core::id::{
    ActorId, AgentId, CallId, DelegationId, Digest, DraftId, IssuerId, SubjectId, SystemName,
    TenantId, Timestamp, ToolName,
};
use countersign_core::person::Tenants;
use countersign_core::principal::Principal;
use countersign_core::refusal::Applied;
use countersign_core::tool::Rung;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What of a draft never changes.
pub(crate) fn fixed(draft: &Draft) -> String {
    let Principal {
        issuer,
        subject,
        actor,
        tenant,
        sid,
        person,
        scopes,
        attributes,
        agent_build,
        model,
        expires,
    } = &draft.principal;
    json!({
        "call": draft.call.as_str(),
        "principal": {
            "issuer": issuer.as_str(),
            "subject": subject.as_str(),
            "actor": actor.as_str(),
            "tenant": tenant.as_str(),
            "sid": sid,
            "person": person,
            "scopes": scopes,
            "attributes": attributes,
            "agent_build": agent_build,
            "model": model,
            "expires": expires.micros(),
        },
        "tool": draft.tool.as_str(),
        "system": draft.system.as_str(),
        "arguments": String::from_utf8_lossy(&draft.arguments),
        "decision": draft.decision.to_string(),
        "rung": draft.rung.number(),
        "summary": draft.summary,
        "same_as": draft.same_as.as_ref().map(DraftId::as_str),
    })
    .to_string()
}

/// What columns of their own hold.
pub(crate) struct Columns {
    pub(crate) id: String,
    pub(crate) binding: Vec<u8>,
    pub(crate) state: String,
    pub(crate) proposed: i64,
    pub(crate) expires: i64,
    pub(crate) agent: String,
    pub(crate) fixed: String,
    pub(crate) decided: Option<String>,
    pub(crate) committed: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) delivered: bool,
}

/// A draft read back; `None` if it is not one that was written here.
pub(crate) fn draft(columns: Columns) -> Option<Draft> {
    let Columns { id, binding, state, proposed, expires, agent, .. } = columns;
    let fixed: Value = serde_json::from_str(&columns.fixed).ok()?;
    let decided = known(columns.decided, |text| decided_back(&serde_json::from_str(text).ok()?))?;
    let outcome = known(columns.outcome, |text| outcome_back(&serde_json::from_str(text).ok()?))?;
    let committed = known(columns.committed, |call| CallId::new(call).ok())?;
    let same_as = known(perhaps(&fixed, "same_as")?, |id| DraftId::new(id).ok())?;
    Some(Draft {
        id: DraftId::new(id).ok()?,
        call: CallId::new(text(&fixed, "call")?).ok()?,
        proposed: Timestamp::from_micros(proposed),
        expires: Timestamp::from_micros(expires),
        principal: principal(fixed.get("principal")?)?,
        agent: AgentId::new(agent).ok()?,
        tool: ToolName::new(text(&fixed, "tool")?).ok()?,
        system: SystemName::new(text(&fixed, "system")?).ok()?,
        arguments: text(&fixed, "arguments")?.as_bytes().to_vec(),
        binding: Digest::from_bytes(binding.try_into().ok()?),
        decision: digest(text(&fixed, "decision")?)?,
        rung: Rung::new(u8::try_from(fixed.get("rung")?.as_u64()?).ok()?),
        summary: text(&fixed, "summary")?.to_owned(),
        same_as,
        state: State::parse(&state)?,
        decided,
        committed,
        outcome,
        delivered: columns.delivered,
    })
}

/// What a column holds, if it holds something; `None` if that cannot be read.
fn known<T>(text: Option<String>, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    text.map_or(Some(None), |text| read(&text).map(Some))
}

fn texts(value: &Value) -> Option<BTreeSet<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

fn principal(value: &Value) -> Option<Principal> {
    let attributes = value.get("attributes")?.as_object()?.iter();
    let attributes: Option<BTreeMap<_, _>> =
        attributes.map(|(name, values)| Some((name.clone(), texts(values)?))).collect();
    Some(Principal {
        issuer: IssuerId::new(text(value, "issuer")?).ok()?,
        subject: SubjectId::new(text(value, "subject")?).ok()?,
        actor: ActorId::new(text(value, "actor")?).ok()?,
        tenant: TenantId::new(text(value, "tenant")?).ok()?,
        sid: perhaps(value, "sid")?,
        person: perhaps(value, "person")?,
        scopes: texts(value.get("scopes")?)?,
        attributes: attributes?,
        agent_build: perhaps(value, "agent_build")?,
        model: perhaps(value, "model")?,
        expires: Timestamp::from_micros(value.get("expires")?.as_i64()?),
    })
}

pub(crate) fn who(who: &Who) -> Value {
    json!({ "issuer": who.issuer.as_str(), "id": who.id, "address": who.address })
}

pub(crate) fn who_back(value: &Value) -> Option<Who> {
    Some(Who {
        issuer: IssuerId::new(text(value, "issuer")?).ok()?,
        id: text(value, "id")?.to_owned(),
        address: perhaps(value, "address")?,
    })
}

pub(crate) fn decided(decided: &Decided) -> Value {
    let Decided { by, in_stead_of, at, reason } = decided;
    let (by, in_stead_of) = (by.as_ref().map(who), in_stead_of.as_ref().map(who));
    json!({ "by": by, "in_stead_of": in_stead_of, "at": at.micros(), "reason": reason })
}

pub(crate) fn decided_back(value: &Value) -> Option<Decided> {
    let person = |name: &str| match value.get(name)? {
        Value::Null => Some(None),
        person => who_back(person).map(Some),
    };
    let (by, in_stead_of) = (person("by")?, person("in_stead_of")?);
    let at = Timestamp::from_micros(value.get("at")?.as_i64()?);
    Some(Decided { by, in_stead_of, at, reason: perhaps(value, "reason")? })
}

/// A delegation, of which `terms` is [`Delegation::terms`].
pub(crate) fn delegation(
    id: &str,
    (at, until): (Timestamp, Timestamp),
    terms: &str,
) -> Option<Delegation> {
    let terms = Value::Object(parse(terms)?);
    let tenants = match terms.get("tenants")? {
        Value::Null => Tenants::All,
        tenants => {
            let tenants = texts(tenants)?.into_iter().map(|tenant| TenantId::new(tenant).ok());
            Tenants::Of(tenants.collect::<Option<_>>()?)
        }
    };
    let (id, from) = (DelegationId::new(id).ok()?, who_back(terms.get("from")?)?);
    Some(Delegation { id, from, tenants, to: text(&terms, "to")?.to_owned(), at, until })
}

pub(crate) fn outcome(outcome: &Outcome) -> Value {
    let Outcome { applied, code, result, resolved } = outcome;
    json!({ "applied": applied.as_str(), "code": code, "result": result, "resolved": resolved })
}

fn outcome_back(value: &Value) -> Option<Outcome> {
    let all = [Applied::Applied, Applied::NotApplied, Applied::Compensated, Applied::Unknown];
    let applied = text(value, "applied")?;
    Some(Outcome {
        applied: all.into_iter().find(|known| known.as_str() == applied)?,
        code: perhaps(value, "code")?,
        result: perhaps(value, "result")?,
        resolved: value.get("resolved")?.as_bool()?,
    })
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

/// A text or nothing; `None` if it is neither.
fn perhaps(value: &Value, name: &str) -> Option<Option<String>> {
    match value.get(name)? {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn digest(text: &str) -> Option<Digest> {
    Some(Digest::from_bytes(hex::decode(text).ok()?.try_into().ok()?))
}

/// For rows without anything of it.
pub(crate) fn parse(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}
