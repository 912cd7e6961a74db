//! Drafts, suspensions and unknown outcomes as plain values: what of an entry's changes may be, and
//! what it comes to. [`MemoryJournal`](crate::MemoryJournal) keeps them so; the tables of the journal
//! on disk are judged by the same functions.

use countersign_core::bound::{DRAFTS_LISTED_MAX, DRAFTS_LIVE_MAX, DRAFTS_LIVE_PER_AGENT_MAX};
use countersign_core::draft::{
    Change, Conflict, Decided, Draft, Outcome, Reach, State, Step, Suspension, Switch,
    UnknownOutcome,
};
use countersign_core::id::{AgentId, CallId, DraftId, SystemName, TenantId, Timestamp, ToolName};
use countersign_core::port::Which;
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is suspended. There is little of it, and most of the time nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Suspensions(BTreeMap<Switch, Suspension>);

impl Suspensions {
    pub(crate) fn all(&self) -> Vec<Suspension> {
        self.0.values().cloned().collect()
    }

    pub(crate) fn of(&self, reach: &Reach<'_>) -> Option<Suspension> {
        self.0.values().find(|suspension| suspension.of.stops(reach)).cloned()
    }

    /// The first one counts: whoever suspends once more is not who has to be somebody else later.
    pub(crate) fn suspend(&mut self, suspension: Suspension) -> bool {
        let new = !self.0.contains_key(&suspension.of);
        self.0.entry(suspension.of.clone()).or_insert(suspension);
        new
    }

    pub(crate) fn resume(&mut self, of: &Switch) -> Result<(), Conflict> {
        self.0.remove(of).map(drop).ok_or(Conflict::Nothing)
    }

    /// Whether the call that an intent begins may still be. What it does not name is not stopped.
    pub(crate) fn admit(&self, entry: &Entry) -> Result<(), Conflict> {
        if self.0.is_empty() || entry.kind() != Kind::Intent {
            return Ok(());
        }
        let named = |name: &str| entry.member(name).and_then(Value::as_str).unwrap_or_default();
        let (agent, tenant) = (AgentId::new(named("agent")), TenantId::new(named("tenant")));
        let (tool, system) = (ToolName::new(named("tool")), SystemName::new(named("system")));
        let stopped = match (&agent, &tenant) {
            (Ok(agent), Ok(tenant)) => {
                let (tool, systems) = (tool.as_ref().ok(), system.iter().collect());
                self.of(&Reach { agent, tool, systems, tenant })
            }
            // What cannot be told apart is stopped by whatever is there.
            _ => self.0.values().next().cloned(),
        };
        stopped.map_or(Ok(()), |suspension| Err(Conflict::Suspended(Box::new(suspension))))
    }
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

/// The effect of which an outcome says that nobody knows.
pub(crate) fn unknown(entry: &Entry) -> Option<UnknownOutcome> {
    let named = |name: &str| entry.member(name).and_then(Value::as_str);
    if entry.kind() != Kind::Outcome
        || named("applied") != Some(Applied::Unknown.as_str())
        || named("effect") == Some("read")
    {
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
        && before.is_none_or(|before| draft.proposed < before)
}

/// All of it in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk {
    drafts: Vec<Draft>,
    pub(crate) suspensions: Suspensions,
    unknown: Vec<UnknownOutcome>,
}

impl Desk {
    /// Makes an entry's changes, all or none.
    pub(crate) fn judge(&mut self, entry: &Entry) -> Result<(), Conflict> {
        self.suspensions.admit(entry)?;
        let mut after = self.clone();
        for change in entry.changes() {
            after.change(change)?;
        }
        after.unknown.extend(unknown(entry));
        *self = after;
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
                self.suspensions.suspend(suspension.clone());
                Ok(())
            }
            Change::Resume(of) => self.suspensions.resume(of),
            Change::Resolve { call, decided, happened } => self.resolve(call, decided, *happened),
        }
    }

    fn find(&mut self, id: &DraftId) -> Result<&mut Draft, Conflict> {
        self.drafts.iter_mut().find(|draft| draft.id == *id).ok_or(Conflict::Draft(None))
    }

    fn propose(&mut self, draft: &Draft) -> Result<(), Conflict> {
        let live = || self.drafts.iter().filter(|draft| draft.state.is_live());
        if let Some(twin) = live().find(|live| live.binding == draft.binding) {
            return Err(Conflict::Live(twin.id.clone()));
        }
        let theirs = live().filter(|live| {
            (&live.agent, &live.principal.tenant) == (&draft.agent, &draft.principal.tenant)
        });
        if theirs.count() >= DRAFTS_LIVE_PER_AGENT_MAX || live().count() >= DRAFTS_LIVE_MAX {
            return Err(Conflict::Full);
        }
        self.drafts.push(draft.clone());
        Ok(())
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
        self.drafts.iter().find(|draft| draft.id == *id).cloned()
    }

    pub(crate) fn latest(&self, binding: &countersign_core::id::Digest) -> Option<Draft> {
        self.drafts.iter().rfind(|draft| draft.binding == *binding).cloned()
    }

    pub(crate) fn listed(&self, which: &Which) -> Vec<Draft> {
        let listed = self.drafts.iter().rev().filter(|draft| is_among(draft, which));
        listed.take(DRAFTS_LISTED_MAX).cloned().collect()
    }

    pub(crate) fn due(&self, now: Timestamp) -> Vec<Draft> {
        let due = |draft: &&Draft| match draft.state {
            State::Approved => true,
            State::Waiting => draft.expires <= now,
            _ => false,
        };
        let mut due: Vec<Draft> = self.drafts.iter().filter(due).cloned().collect();
        due.sort_by_key(|draft| draft.expires);
        due.truncate(DRAFTS_LISTED_MAX);
        due
    }

    pub(crate) fn unknown(&self, resolved: bool) -> Vec<UnknownOutcome> {
        let shown = |unknown: &&UnknownOutcome| resolved || unknown.resolved.is_none();
        let shown = self.unknown.iter().rev().filter(shown);
        shown.take(DRAFTS_LISTED_MAX).cloned().collect()
    }
}
