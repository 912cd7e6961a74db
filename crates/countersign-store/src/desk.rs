//! Drafts, suspensions, delegations and unknown outcomes as plain values: what of an entry's changes may be, and
//! what it comes to. [`MemoryJournal`](crate::MemoryJournal) keeps them so; the tables of the journal
//! on disk are judged by the same functions.

use countersign_core::absence::{Delegation, Delegations};
use countersign_core::bound::{
    DELEGATIONS_MAX, DRAFTS_LISTED_MAX, DRAFTS_LIVE_MAX, DRAFTS_LIVE_PER_AGENT_MAX,
};
use countersign_core::draft::{
    Change, Conflict, Decided, Draft, Outcome, Reach, State, Step, Suspension, Switch,
    UnknownOutcome,
};
use countersign_core::id::{
    AgentId, CallId, DelegationId, DraftId, SystemName, TenantId, Timestamp, ToolName,
};
use countersign_core::port::Which;
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands until it is ended: what is suspended, and who stands in for whom. There is little of it,
/// and most of the time nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    suspensions: BTreeMap<Switch, Suspension>,
    /// Shared, as it is seldom changed: whoever writes has a copy of their own, and readers many.
    delegations: Arc<Delegations>,
}

impl Standing {
    pub(crate) fn suspensions(&self) -> Vec<Suspension> {
        self.suspensions.values().cloned().collect()
    }

    pub(crate) fn delegations(&self) -> Arc<Delegations> {
        Arc::clone(&self.delegations)
    }

    pub(crate) fn suspended(&self, reach: &Reach<'_>) -> Option<Suspension> {
        self.suspensions.values().find(|suspension| suspension.of.stops(reach)).cloned()
    }

    /// Lets somebody stand in, instead of whom the same person let before. Those whose time is over go:
    /// nobody is named here longer than until somebody else is.
    pub(crate) fn delegate(
        &mut self,
        delegation: &Delegation,
        replaces: Option<&DelegationId>,
    ) -> Result<(), Conflict> {
        let mut all = self.delegations.values();
        let before = all.find(|old| old.is_of(&delegation.from)).map(|old| old.id.clone());
        if before.as_ref() != replaces || self.delegations.contains_key(&delegation.id) {
            return Err(Conflict::Nothing);
        }
        let stays = |old: &Delegation| Some(&old.id) != before.as_ref() && old.holds(delegation.at);
        let kept = Arc::make_mut(&mut self.delegations);
        kept.retain(|_, old| stays(old));
        if kept.len() >= DELEGATIONS_MAX {
            return Err(Conflict::Full);
        }
        kept.insert(delegation.id.clone(), delegation.clone());
        Ok(())
    }

    pub(crate) fn give_back(&mut self, id: &DelegationId) -> Result<(), Conflict> {
        let ended = Arc::make_mut(&mut self.delegations).remove(id);
        ended.map(drop).ok_or(Conflict::Nothing)
    }

    /// As it was kept. `None` if the same person's is there already.
    pub(crate) fn restore(&mut self, delegation: Delegation) -> Option<()> {
        let twice = self.delegations.values().any(|old| old.is_of(&delegation.from));
        let kept = Arc::make_mut(&mut self.delegations);
        (!twice).then(|| drop(kept.insert(delegation.id.clone(), delegation)))
    }

    /// The first one counts: whoever suspends once more is not who has to be somebody else later.
    pub(crate) fn suspend(&mut self, suspension: Suspension) -> bool {
        let new = !self.suspensions.contains_key(&suspension.of);
        self.suspensions.entry(suspension.of.clone()).or_insert(suspension);
        new
    }

    pub(crate) fn resume(&mut self, of: &Switch) -> Result<(), Conflict> {
        self.suspensions.remove(of).map(drop).ok_or(Conflict::Nothing)
    }

    /// Whether what an entry says may still be: the call that an intent begins, or a decision in
    /// somebody's stead.
    pub(crate) fn admit(&self, entry: &Entry) -> Result<(), Conflict> {
        match (entry.kind(), entry.member("delegation").and_then(Value::as_str)) {
            (Kind::Intent, _) => self.admit_call(entry),
            (Kind::DraftApproved | Kind::DraftRejected, Some(id)) => {
                let delegation = self.delegations.get(id);
                let holds = delegation.is_some_and(|delegation| delegation.holds(entry.at()));
                if holds { Ok(()) } else { Err(Conflict::Nothing) }
            }
            _ => Ok(()),
        }
    }

    /// What an intent does not name is not stopped. The systems that it has asked are named beside the
    /// one that it reaches.
    fn admit_call(&self, entry: &Entry) -> Result<(), Conflict> {
        if self.suspensions.is_empty() {
            return Ok(());
        }
        let named = |name: &str| entry.member(name).and_then(Value::as_str).unwrap_or_default();
        let (agent, tenant) = (AgentId::new(named("agent")), TenantId::new(named("tenant")));
        let tool = ToolName::new(named("tool"));
        let asked = entry.member("look_ups").and_then(Value::as_array).into_iter().flatten();
        let asked = asked.filter_map(|look_up| look_up.get("system").and_then(Value::as_str));
        let systems: Vec<SystemName> = std::iter::once(named("system"))
            .chain(asked)
            .filter_map(|name| SystemName::new(name).ok())
            .collect();
        let stopped = match (&agent, &tenant) {
            (Ok(agent), Ok(tenant)) => {
                let (tool, systems) = (tool.as_ref().ok(), systems.iter().collect());
                self.suspended(&Reach { agent, tool, systems, tenant })
            }
            // What cannot be told apart is stopped by whatever is there.
            _ => self.suspensions.values().next().cloned(),
        };
        stopped.map_or(Ok(()), |suspension| Err(Conflict::Suspended(Box::new(suspension))))
    }
}

/// Whether an entry carries a draft out just if it spends that draft's approval: an intent that names
/// a draft claims it for its own call, and nothing else claims one. Without that, what was approved
/// once could be carried out again.
pub(crate) fn spends(entry: &Entry) -> Result<(), Conflict> {
    let named = |name: &str| entry.member(name).and_then(Value::as_str);
    let carried_out = named("draft").filter(|_| entry.kind() == Kind::Intent);
    let claimed = entry.changes().iter().find_map(|change| match change {
        Change::Move { draft, step: Step::Claim, commit, .. } => Some((draft, commit)),
        _ => None,
    });
    let spent = match (carried_out, claimed) {
        (None, None) => true,
        (Some(draft), Some((claimed, commit))) => {
            draft == claimed.as_str()
                && commit.is_some()
                && commit.as_ref().map(CallId::as_str) == named("call")
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    if spent { Ok(()) } else { Err(Conflict::Draft(None)) }
}

/// Whether a draft is one that begins: nothing has come of it, least of all an approval.
pub(crate) fn begins(draft: &Draft) -> Result<(), Conflict> {
    let Draft { state, decided, committed, outcome, delivered, .. } = draft;
    let nothing = decided.is_none() && committed.is_none() && outcome.is_none() && !delivered;
    if *state == State::Waiting && nothing { Ok(()) } else { Err(Conflict::Draft(Some(*state))) }
}

/// Whether there is room for one more, with so many of its agent and tenant, and of all.
pub(crate) fn fits(theirs: usize, all: usize) -> Result<(), Conflict> {
    let fits = theirs < DRAFTS_LIVE_PER_AGENT_MAX && all < DRAFTS_LIVE_MAX;
    if fits { Ok(()) } else { Err(Conflict::Full) }
}

/// One move of a draft.
pub(crate) struct Move<'a> {
    pub(crate) step: Step,
    pub(crate) decided: Option<&'a Decided>,
    pub(crate) commit: Option<&'a CallId>,
    pub(crate) outcome: Option<&'a Outcome>,
}

impl Move<'_> {
    /// Takes a draft along, or says where it is instead.
    pub(crate) fn take(&self, draft: &mut Draft) -> Result<(), Conflict> {
        let after = draft.state.after(self.step);
        draft.state = after.ok_or(Conflict::Draft(Some(draft.state)))?;
        let Self { decided, commit, outcome, .. } = self;
        draft.decided = decided.cloned().or_else(|| draft.decided.take());
        draft.committed = commit.cloned().or_else(|| draft.committed.take());
        draft.outcome = outcome.cloned().or_else(|| draft.outcome.take());
        Ok(())
    }
}

/// Marks an outcome as told.
pub(crate) fn deliver(draft: &mut Draft) -> Result<(), Conflict> {
    match draft.state {
        State::Executed | State::Failed if !draft.delivered => {
            draft.delivered = true;
            Ok(())
        }
        state => Err(Conflict::Draft(Some(state))),
    }
}

/// What a person says came of a draft's call, as its outcome.
pub(crate) fn resolved(happened: bool) -> (Step, Outcome) {
    let (step, applied) = if happened {
        (Step::Succeed, Applied::Applied)
    } else {
        (Step::Fail, Applied::NotApplied)
    };
    (step, Outcome { applied, code: None, result: None, resolved: true })
}

/// Whether an entry is the outcome of a call that may have had an effect.
pub(crate) fn tells(entry: &Entry) -> bool {
    entry.kind() == Kind::Outcome && entry.member("effect").is_none_or(|effect| effect != "read")
}

/// What such an outcome says of an effect that it knows of: whose, and what became of it. If the call
/// is one whose outcome was unknown, it no longer is.
pub(crate) fn known(entry: &Entry) -> Option<(CallId, Applied)> {
    let named = |name: &str| entry.member(name).and_then(Value::as_str);
    let all = [Applied::Applied, Applied::NotApplied, Applied::Compensated];
    let applied = all.into_iter().find(|known| named("applied") == Some(known.as_str()))?;
    let call = CallId::new(named("call")?).ok()?;
    tells(entry).then_some((call, applied))
}

/// An outcome that came late moves its draft, unless one of its own changes did.
pub(crate) fn late(draft: &mut Draft, applied: Applied) -> Result<(), Conflict> {
    if draft.state != State::Unknown {
        return Ok(());
    }
    let outcome = Outcome { applied, code: None, result: None, resolved: false };
    let (step, outcome) = (Step::of(applied), Some(&outcome));
    Move { step, decided: None, commit: None, outcome }.take(draft)
}

/// How an unknown outcome ends that no person has resolved.
pub(crate) const fn by_itself(at: Timestamp) -> Decided {
    Decided { by: None, in_stead_of: None, at, reason: None }
}

/// The effect of which an outcome says that nobody knows.
pub(crate) fn unknown(entry: &Entry) -> Option<UnknownOutcome> {
    let named = |name: &str| entry.member(name).and_then(Value::as_str);
    if !tells(entry) || named("applied") != Some(Applied::Unknown.as_str()) {
        return None;
    }
    Some(UnknownOutcome {
        call: CallId::new(named("call")?).ok()?,
        at: entry.at(),
        agent: AgentId::new(named("agent")?).ok()?,
        tenant: TenantId::new(named("tenant")?).ok()?,
        tool: ToolName::new(named("tool")?).ok()?,
        system: SystemName::new(named("system")?).ok()?,
        draft: named("draft").and_then(|id| DraftId::new(id).ok()),
        resolved: None,
    })
}

/// Whether a draft is one of those.
fn is_among(draft: &Draft, which: &Which) -> bool {
    let Which { tenant, agent, state, before } = which;
    tenant.as_ref().is_none_or(|tenant| *tenant == draft.principal.tenant)
        && agent.as_ref().is_none_or(|agent| *agent == draft.agent)
        && state.is_none_or(|state| state == draft.state)
        && before
            .as_ref()
            .is_none_or(|(at, id)| (draft.proposed, Some(&draft.id)) < (*at, id.as_ref()))
}

/// All of it in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    /// In the order of their records.
    drafts: Vec<Arc<Draft>>,
    pub(crate) standing: Standing,
    unknown: Vec<UnknownOutcome>,
}

impl Desk {
    /// Makes an entry's changes. On a conflict some of them may have been made: the caller goes on with
    /// what was before.
    pub(crate) fn judge(&mut self, entry: &Entry) -> Result<(), Conflict> {
        self.standing.admit(entry)?;
        spends(entry)?;
        let new = unknown(entry).filter(|new| self.unknown.iter().all(|old| old.call != new.call));
        self.unknown.extend(new);
        for change in entry.changes() {
            self.change(change)?;
        }
        if let Some((call, applied)) = known(entry) {
            self.close(&call, applied, entry.at())?;
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Conflict> {
        match change {
            Change::Propose(draft) => self.propose(draft),
            Change::Move { draft, step, decided, commit, outcome } => {
                let (decided, commit) = (decided.as_ref(), commit.as_ref());
                let outcome = outcome.as_ref();
                Move { step: *step, decided, commit, outcome }.take(self.find(draft)?)
            }
            Change::Deliver(draft) => deliver(self.find(draft)?),
            Change::Suspend(suspension) => {
                self.standing.suspend(suspension.clone());
                Ok(())
            }
            Change::Resume(of) => self.standing.resume(of),
            Change::Delegate { delegation, replaces } => {
                self.standing.delegate(delegation, replaces.as_ref())
            }
            Change::Return(id) => self.standing.give_back(id),
            Change::Resolve { call, decided, happened } => self.resolve(call, decided, *happened),
        }
    }

    fn find(&mut self, id: &DraftId) -> Result<&mut Draft, Conflict> {
        let found = self.drafts.iter_mut().find(|draft| draft.id == *id);
        found.map(Arc::make_mut).ok_or(Conflict::Draft(None))
    }

    fn propose(&mut self, draft: &Draft) -> Result<(), Conflict> {
        begins(draft)?;
        let live = || self.drafts.iter().filter(|draft| draft.state.is_live());
        if let Some(twin) = live().find(|live| live.binding == draft.binding) {
            return Err(Conflict::Live(twin.id.clone()));
        }
        if let Some(taken) = self.draft(&draft.id) {
            return Err(Conflict::Draft(Some(taken.state)));
        }
        let theirs = live().filter(|live| {
            (&live.agent, &live.principal.tenant) == (&draft.agent, &draft.principal.tenant)
        });
        fits(theirs.count(), live().count())?;
        self.drafts.push(Arc::new(draft.clone()));
        Ok(())
    }

    fn close(&mut self, call: &CallId, applied: Applied, at: Timestamp) -> Result<(), Conflict> {
        let open = self.unknown.iter_mut().find(|u| u.call == *call && u.resolved.is_none());
        let Some(open) = open else { return Ok(()) };
        open.resolved = Some((by_itself(at), applied == Applied::Applied));
        let Some(draft) = open.draft.clone() else { return Ok(()) };
        self.find(&draft).map_or(Ok(()), |draft| late(draft, applied))
    }

    fn resolve(
        &mut self,
        call: &CallId,
        decided: &Decided,
        happened: bool,
    ) -> Result<(), Conflict> {
        let open = self.unknown.iter_mut().find(|u| u.call == *call && u.resolved.is_none());
        let open = open.ok_or(Conflict::Nothing)?;
        open.resolved = Some((decided.clone(), happened));
        let Some(draft) = open.draft.clone() else { return Ok(()) };
        let (step, outcome) = resolved(happened);
        let (decided, outcome) = (None, Some(&outcome));
        Move { step, decided, commit: None, outcome }.take(self.find(&draft)?)
    }

    pub(crate) fn draft(&self, id: &DraftId) -> Option<Draft> {
        self.drafts.iter().find(|draft| draft.id == *id).map(|draft| Draft::clone(draft))
    }

    pub(crate) fn latest(&self, binding: &countersign_core::id::Digest) -> Option<Draft> {
        let latest = self.drafts.iter().rfind(|draft| draft.binding == *binding);
        latest.map(|draft| Draft::clone(draft))
    }

    pub(crate) fn listed(&self, which: &Which) -> Vec<Draft> {
        let listed = self.drafts.iter().rev().filter(|draft| is_among(draft, which));
        let mut listed: Vec<Draft> = listed.map(|draft| Draft::clone(draft)).collect();
        listed.sort_by_key(|draft| Reverse((draft.proposed, draft.id.clone())));
        listed.truncate(DRAFTS_LISTED_MAX);
        listed
    }

    pub(crate) fn due(&self, now: Timestamp) -> Vec<Draft> {
        let due = |draft: &&Arc<Draft>| match draft.state {
            State::Approved => true,
            State::Waiting => draft.expires <= now,
            _ => false,
        };
        let due = self.drafts.iter().filter(due);
        let mut due: Vec<Draft> = due.map(|draft| Draft::clone(draft)).collect();
        due.sort_by_key(|draft| draft.expires);
        due.truncate(DRAFTS_LISTED_MAX);
        due
    }

    pub(crate) fn unknown(&self, resolved: bool) -> Vec<UnknownOutcome> {
        let shown = |unknown: &&UnknownOutcome| resolved || unknown.resolved.is_none();
        let mut shown: Vec<UnknownOutcome> = self.unknown.iter().filter(shown).cloned().collect();
        shown.sort_by(|one, other| (other.at, &other.call).cmp(&(one.at, &one.call)));
        shown.truncate(DRAFTS_LISTED_MAX);
        shown
    }
}
