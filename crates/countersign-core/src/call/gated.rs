//! What becomes of a call that a person has to agree to: it is drafted, and whoever asks again meets
//! the draft. Nothing here acts: an approved draft goes through the pipeline from the top.

use super::{
    Answer, Answers, CHECK_DRAFT, Completed, Inquiry, Monitor, Proposed, RefusedCall, Source,
};
use crate::act;
use crate::args::{Arguments, parse};
use crate::bound::SUMMARY_BYTES_MAX;
use crate::draft::{Change, Conflict, Decided, Draft, Outcome, Reach, State, Step};
use crate::id::{Digest, DraftId, ToolName};
use crate::port::{Found, Unrecorded};
use crate::posture::Agent;
use crate::principal::Principal;
use crate::record::{Entry, Kind};
use crate::refusal::{Applied, Ended, Pending, Refusal, SystemFault, SystemFaultKind};
use crate::scope::{self, Query, ScopeRule};
use crate::tool::{Effect, Issue, Rung, Tool};
use crate::trail::{Trail, bounded};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Why a call does not get to its intent.
pub(super) enum Stopped {
    /// For good.
    Refused(Refusal),
    /// A person has to be asked.
    Gated(Box<Gated>),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A call that everything permits but its gate.
pub(super) struct Gated {
    pub(super) principal: Arc<Principal>,
    pub(super) tool: Arc<Tool>,
    pub(super) arguments: Arguments,
    pub(super) clearance: Rung,
    pub(super) binding: Digest,
    pub(super) answers: Option<Answers>,
}

impl Monitor {
    /// A call that everything permits but its gate meets the draft of the same call, or becomes one.
    pub(super) async fn ask(&self, call: Gated, mut trail: Trail) -> Answer {
        // Nothing is spent before it is carried out: the budget is asked again then.
        self.unspend(&mut trail);
        let latest = match self.register.latest(call.binding).await {
            Ok(latest) => latest,
            Err(error) => return self.refused(trail, unavailable(&error)),
        };
        if let Some(answers) = &call.answers
            && !self.is_genuine(answers, &call.binding).await
        {
            return self.refused(trail, Refusal::OutsideApproval);
        }
        match latest {
            Some(draft) if self.still_answers(&draft, &trail).await => {
                self.meet(draft, trail).await
            }
            latest => self.propose(call, latest, trail).await,
        }
    }

    /// Whether this call is one that people were asked about, and asking again is answered by that.
    pub(super) async fn is_drafted(&self, binding: Digest, trail: &Trail) -> Result<bool, Refusal> {
        match self.register.latest(binding).await.map_err(|error| unavailable(&error))? {
            Some(draft) => Ok(self.still_answers(&draft, trail).await),
            None => Ok(false),
        }
    }

    /// A client may come back with what it was given: the name of a draft of this very call. Whatever
    /// else it answers was never asked.
    async fn is_genuine(&self, answers: &Answers, binding: &Digest) -> bool {
        let Answers::State(state) = answers else { return false };
        let Ok(id) = DraftId::new(state.as_str()) else { return false };
        let draft = self.register.draft(&id).await;
        draft.is_ok_and(|draft| draft.is_some_and(|draft| draft.binding == *binding))
    }

    /// Whether asking again is answered by this draft, or makes a new one.
    async fn still_answers(&self, draft: &Draft, trail: &Trail) -> bool {
        let decision = trail.tool.as_ref().map(|(_, decision)| *decision);
        match draft.state {
            State::Waiting | State::Approved if trail.begun >= draft.expires => {
                self.end(draft, (Kind::DraftExpired, Step::Expire), None).await;
                false
            }
            State::Waiting | State::Approved if Some(draft.decision) != decision => {
                self.outdate(draft).await;
                false
            }
            State::Waiting | State::Approved | State::Committing | State::Unknown => true,
            State::Executed | State::Failed => !draft.delivered,
            State::Rejected => trail.begun < draft.expires,
            State::Withdrawn | State::Expired | State::Void => false,
        }
    }

    /// Puts the call before people. Its record is durable before the agent hears of it.
    async fn propose(&self, call: Gated, latest: Option<Draft>, mut trail: Trail) -> Answer {
        let draft = match self.drafted(&call, latest, &trail) {
            Ok(draft) => draft,
            Err(refusal) => return self.refused(trail, refusal),
        };
        let pending = Pending::of(&draft);
        let entry = trail
            .entry(Kind::DraftProposed, trail.begun)
            .with("draft", draft.id.as_str())
            .with("expires", draft.expires.micros())
            .body("summary", draft.summary.as_bytes())
            .charged(std::mem::take(&mut trail.charges));
        let entry = bounded(entry, "arguments", &trail.arguments);
        match self.journal.append(entry.changing(Change::Propose(Box::new(draft)))).await {
            Ok(_receipt) => {
                let refusal = Refusal::ApprovalRequired(pending);
                Answer::Refused(RefusedCall { call: trail.call, refusal })
            }
            // A twin was faster: this one meets its draft.
            Err(Unrecorded::Refused(Conflict::Live(id))) => match self.register.draft(&id).await {
                Ok(Some(draft)) => self.meet(draft, trail).await,
                Ok(None) | Err(_) => self.refused(trail, Refusal::Stale),
            },
            Err(Unrecorded::Refused(_)) => self.refused(trail, Refusal::TooManyDrafts),
            Err(error) => self.refused(trail, unavailable(&error)),
        }
    }

    fn drafted(
        &self,
        call: &Gated,
        latest: Option<Draft>,
        trail: &Trail,
    ) -> Result<Draft, Refusal> {
        let Gated { principal, tool, arguments, clearance, binding, answers: _ } = call;
        let nobody = || Refusal::ApprovalRequired(Pending::would_be(*clearance));
        let gate = tool.ladder.gate.as_ref().ok_or_else(nobody)?;
        let (agent, (_, decision)) =
            trail.agent.as_ref().zip(trail.tool.as_ref()).ok_or_else(nobody)?;
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        let mut summary = gate.summary.with(arguments.values());
        summary.truncate(summary.floor_char_boundary(SUMMARY_BYTES_MAX));
        Ok(Draft {
            id: DraftId::drawn(random),
            call: trail.call.clone(),
            proposed: trail.begun,
            expires: trail.begun.plus_secs(gate.expires_s),
            principal: Principal::clone(principal),
            agent: agent.id.clone(),
            tool: tool.name.clone(),
            system: tool.system.clone(),
            arguments: as_sent(tool, arguments)?,
            binding: *binding,
            decision: *decision,
            rung: *clearance,
            summary,
            same_as: latest.filter(|draft| draft.state == State::Executed).map(|draft| draft.id),
            state: State::Waiting,
            decided: None,
            committed: None,
            outcome: None,
            delivered: false,
        })
    }

    /// What an agent is told of a draft of its own. One that is being carried out is waited for: the
    /// same call while it is under way attaches to it.
    pub(super) async fn meet(&self, draft: Draft, trail: Trail) -> Answer {
        let (mut draft, mut trail) = (draft, trail);
        trail.draft = Some(draft.id.clone());
        if matches!(draft.state, State::Approved | State::Committing) {
            match self.register.settled(&draft.id).await {
                Ok(Some(settled)) => draft = settled,
                Ok(None) => return self.refused(trail, Refusal::Stale),
                Err(error) => return self.refused(trail, unavailable(&error)),
            }
        }
        let reason = || draft.decided.as_ref().and_then(|decided| decided.reason.clone());
        let refusal = match draft.state {
            State::Waiting | State::Approved | State::Committing => {
                Refusal::ApprovalRequired(Pending::of(&draft))
            }
            State::Executed | State::Failed => return self.deliver(draft, trail).await,
            State::Unknown => Refusal::OutcomeUnknown(draft.id),
            State::Rejected => Refusal::Rejected(reason().unwrap_or_default()),
            State::Withdrawn | State::Expired | State::Void => {
                Refusal::DraftEnded(Ended { state: draft.state, applied: None, code: reason() })
            }
        };
        self.refused(trail, refusal)
    }

    /// Tells the outcome, once: that it was told is durable first.
    async fn deliver(&self, draft: Draft, mut trail: Trail) -> Answer {
        let outcome = draft.outcome.clone();
        let ended = |applied: Option<Applied>, code: Option<String>| {
            Refusal::DraftEnded(Ended { state: draft.state, applied, code })
        };
        if draft.delivered {
            return self.refused(trail, ended(None, None));
        }
        let entry = trail
            .entry(Kind::DraftDelivered, trail.begun)
            .charged(std::mem::take(&mut trail.charges))
            .changing(Change::Deliver(draft.id.clone()));
        let receipt = match self.journal.append(entry).await {
            Ok(receipt) => receipt,
            Err(Unrecorded::Refused(_)) => return self.refused(trail, ended(None, None)),
            Err(error) => return self.refused(trail, unavailable(&error)),
        };
        let call = trail.call;
        match outcome {
            Some(Outcome { code: None, result: Some(text), .. }) => {
                // Our own text, made from a value; one that was damaged is shown as no value.
                let value = serde_json::from_str(&text).unwrap_or_default();
                Answer::Completed(Completed { call, receipt, text, value })
            }
            Some(Outcome { applied, code, .. }) => {
                Answer::Refused(RefusedCall { call, refusal: ended(Some(applied), code) })
            }
            None => Answer::Refused(RefusedCall { call, refusal: ended(None, None) }),
        }
    }

    // ── the tool that asks after a draft ────────────────────────────────────────────────────────

    /// Tells an agent how far a draft of its own is, or takes it back. It reaches no system.
    pub(super) async fn check_draft(&self, proposed: Proposed, mut trail: Trail) -> Answer {
        let call = match self.authenticated(proposed, &mut trail) {
            Ok(call) => call,
            Err(refusal) => return self.refused(trail, refusal),
        };
        if !has_gates(&call.agent) {
            return self.refused(trail, Refusal::UnknownTool);
        }
        let (agent, tenant) = (&call.agent.id, &call.principal.tenant);
        let reach = Reach { agent, tool: None, systems: Vec::new(), tenant };
        if let Some(suspension) = self.register.suspended(&reach) {
            return self.refused(trail, Refusal::Suspended(Box::new(suspension)));
        }
        let counters = self.counters((&call.principal, &call.agent), None, None);
        match self.journal.reserve(&counters, trail.begun) {
            Ok(reservation) => trail.charges = reservation.into_charges(),
            Err(reached) => return self.refused(trail, Refusal::RateLimited(reached)),
        }
        if let Source::Agent(Some(_)) = call.source {
            return self.refused(trail, Refusal::OutsideApproval);
        }
        let (id, withdraw) = match asked(call.arguments) {
            Ok(asked) => asked,
            Err(refusal) => return self.refused(trail, refusal),
        };
        let draft = match self.register.draft(&id).await {
            Ok(draft) => draft,
            Err(error) => return self.refused(trail, unavailable(&error)),
        };
        match draft {
            Some(draft) if is_own(&draft, &call.principal) => {
                trail.draft = Some(draft.id.clone());
                let lapsed = self.grant_of(&draft).and_then(|grant| grant.lapsed(trail.begun));
                if let Some(lapse) = lapsed.cloned() {
                    return self.refused(trail, Refusal::Lapsed(Box::new(lapse)));
                }
                if withdraw {
                    self.take_back(draft, trail).await
                } else {
                    self.meet(draft, trail).await
                }
            }
            // Somebody else's and nobody's read the same; the record tells them apart.
            draft => {
                let foreign = draft.is_some();
                self.refused(trail, Refusal::UnknownDraft { foreign })
            }
        }
    }

    async fn take_back(&self, draft: Draft, trail: Trail) -> Answer {
        let moved = self.end(&draft, (Kind::DraftWithdrawn, Step::Withdraw), None).await;
        match self.register.draft(&draft.id).await {
            Ok(Some(draft)) if moved || draft.state != State::Waiting => {
                self.meet(draft, trail).await
            }
            Ok(_) => self.refused(trail, Refusal::Stale),
            Err(error) => self.refused(trail, unavailable(&error)),
        }
    }

    // ── what the gateway does by itself ─────────────────────────────────────────────────────────

    /// Does for a draft what it is time for: carries it out if it was approved, ends it if its time
    /// is over. Nothing is done for one that is suspended but to end it. An approval that cannot be
    /// carried out for now stays one; one that never can be is void.
    ///
    /// May be called for one draft by several at once: one approval, one effect.
    pub async fn tend(&self, draft: Draft) -> Option<Answer> {
        let now = self.clock.now();
        if !matches!(draft.state, State::Waiting | State::Approved) {
            return None;
        }
        if now >= draft.expires {
            self.end(&draft, (Kind::DraftExpired, Step::Expire), None).await;
            return None;
        }
        let suspended = self.grant_of(&draft).is_some_and(|grant| {
            let reach = act::reach_of(&draft, grant);
            self.register.suspended(&reach).is_some() || grant.lapsed(now).is_some()
        });
        if draft.state == State::Waiting || suspended {
            return None;
        }
        let draft = Arc::new(draft);
        let answer = self.commit(Arc::clone(&draft)).await;
        if let Answer::Refused(refused) = &answer
            && refused.refusal.is_lasting()
        {
            let why = Some(refused.refusal.code().to_owned());
            self.end(&draft, (Kind::DraftVoid, Step::Void), why).await;
        }
        Some(answer)
    }

    /// Ends a draft whose tool, grant or policies are no longer those it was proposed under.
    pub(crate) async fn outdate(&self, draft: &Draft) {
        let why = Some("what governs it has changed".to_owned());
        self.end(draft, (Kind::DraftVoid, Step::Void), why).await;
    }

    /// Ends a draft that nobody decided. `false` if it has got elsewhere, or could not be recorded;
    /// what is due comes up again.
    async fn end(&self, draft: &Draft, (kind, step): (Kind, Step), why: Option<String>) -> bool {
        let at = self.clock.now();
        let mut entry = act::of(draft, Entry::new(kind, at));
        if let Some(why) = &why {
            entry = entry.with("why", why.as_str());
        }
        let decided = Some(Decided { by: None, in_stead_of: None, at, reason: why });
        let draft = draft.id.clone();
        let change = Change::Move { draft, step, decided, commit: None, outcome: None };
        self.journal.append(entry.changing(change)).await.is_ok()
    }

    /// What an approver is shown beside a draft: the tool's own query, with the draft's arguments
    /// bound as the call would have them.
    pub(crate) async fn show_before(
        &self,
        draft: &Draft,
        tool: &Tool,
        query: &Arc<Query>,
    ) -> Result<Found, SystemFault> {
        let values = bound_again(draft, tool).ok_or_else(|| unasked("the draft cannot be read"))?;
        let parameters = query.plan.parameters.iter().map(|parameter| parameter.name.as_str());
        let values =
            parameters.filter_map(|name| Some((name.to_owned(), values.get(name)?.clone())));
        let inquiry = Inquiry {
            tenant: draft.principal.tenant.clone(),
            query: Arc::clone(query),
            values: values.collect(),
        };
        let found = super::caught(async { self.connector.look_up(inquiry).await }).await;
        found.unwrap_or_else(|| Err(unasked("the connector panicked")))
    }

    fn refused(&self, trail: Trail, refusal: Refusal) -> Answer {
        Answer::Refused(self.refuse(trail, refusal))
    }

    /// Gives back what was reserved of budgets.
    pub(super) fn unspend(&self, trail: &mut Trail) {
        let spending = std::mem::take(&mut trail.spending);
        let charges: Vec<_> = spending.into_iter().map(|(charge, _)| charge).collect();
        if !charges.is_empty() {
            self.journal.give_back(&charges);
        }
    }
}

/// Whether an agent can have drafts, and so a use for asking after them.
pub(super) fn has_gates(agent: &Agent) -> bool {
    agent.grants.values().any(|grant| grant.tool.ladder.gate.is_some())
}

/// What `check_draft` is told: `{reference, withdraw?}`.
fn asked(arguments: Value) -> Result<(DraftId, bool), Refusal> {
    let malformed = |path: &str, expected: &str| {
        let (path, expected) = (path.to_owned(), expected.to_owned());
        Refusal::InvalidArguments(vec![Issue { path, expected, membership: false }])
    };
    let Value::Object(mut arguments) = arguments else {
        return Err(malformed("(arguments)", "be an object"));
    };
    let reference = arguments.remove("reference");
    let reference = reference.as_ref().and_then(Value::as_str);
    let id = reference.and_then(|text| DraftId::new(text).ok());
    let id = id.ok_or_else(|| malformed("reference", "be the reference of a draft"))?;
    let withdraw = match arguments.remove("withdraw") {
        None => false,
        Some(Value::Bool(withdraw)) => withdraw,
        Some(_) => return Err(malformed("withdraw", "be true or false")),
    };
    match arguments.keys().next() {
        Some(_) => {
            Err(malformed("(arguments)", "have `reference`, perhaps `withdraw`, and nothing else"))
        }
        None => Ok((id, withdraw)),
    }
}

/// The name and schema under which agents find [`Monitor::check_draft`].
pub(super) fn listed() -> Option<super::Listed> {
    let input = serde_json::json!({
        "type": "object",
        "properties": {
            "reference": {
                "type": "string",
                "pattern": "^drf_[0-9a-f]{32}$",
                "maxLength": 36,
                "description": "The reference that the drafted call was answered with.",
            },
            "withdraw": { "type": "boolean", "description": "Whether to take it back." },
        },
        "required": ["reference"],
        "additionalProperties": false,
    });
    Some(super::Listed {
        offered: super::Offered::Tool,
        name: ToolName::new(CHECK_DRAFT).ok()?,
        description: "Tells how far a drafted call is: waiting for a person, rejected, or carried \
                      out, with its result. With `withdraw` it takes the draft back."
            .to_owned(),
        input: input.as_object()?.clone(),
        effect: Effect::Read,
    })
}

/// Whether a draft is this caller's: of the same principal, whatever session proposed it.
fn is_own(draft: &Draft, principal: &Principal) -> bool {
    let Principal { issuer, subject, actor, tenant, .. } = &draft.principal;
    (issuer, subject, actor, tenant)
        == (&principal.issuer, &principal.subject, &principal.actor, &principal.tenant)
}

/// The arguments in canonical form without those that are bound from the token: re-entering, they
/// are bound again.
fn as_sent(tool: &Tool, arguments: &Arguments) -> Result<Vec<u8>, Refusal> {
    let mut values = arguments.values().clone();
    for rule in &tool.scope {
        if let ScopeRule::Bind { name, .. } = rule {
            values.remove(name);
        }
    }
    let sent = Arguments::new(values)
        .map_err(|error| Refusal::Undecided(format!("the draft has no canonical form: {error}")))?;
    Ok(sent.canonical().to_vec())
}

fn bound_again(draft: &Draft, tool: &Tool) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut values)) = parse(&draft.arguments) else { return None };
    let (_evidence, bound) = scope::bind(&tool.scope, &draft.principal, &values).ok()?;
    values.extend(bound);
    Some(values)
}

fn unasked(why: &str) -> SystemFault {
    SystemFault::new(SystemFaultKind::Unavailable, Applied::NotApplied, why.to_owned())
}

fn unavailable(error: &Unrecorded) -> Refusal {
    Refusal::JournalUnavailable(error.to_string())
}
