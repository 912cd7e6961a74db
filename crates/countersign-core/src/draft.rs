//! Drafts: calls that wait for a person, and what becomes of them.
//!
//! ```text
//!            ┌─ approve ─► approved ─ claim ─► committing ─ succeed ─► executed
//!  waiting ──┤                │ │                  │  │                   ▲
//!    │ │ │   │     withdraw ──┘ └─ expire, void    │  └─ lose ► unknown ──┤ (people, or a late
//!    │ │ │   └─ reject ─► rejected                 └─ fail ─► failed ◄────┘  outcome, say which)
//!    │ │ └─ withdraw ─► withdrawn
//!    │ └─ expire ─► expired
//!    └─ void ─► void: what governs it has changed, or the pipeline refuses it for good
//! ```
//!
//! A draft is bound to the digest of principal, tool and canonical arguments, and to the decision
//! digest it was made under. What is claimed goes through the pipeline from the top, once.

use crate::absence::Delegation;
use crate::id::{
    AgentId, CallId, DelegationId, Digest, DraftId, IssuerId, SystemName, TenantId, Timestamp,
    ToolName,
};
use crate::principal::Principal;
use crate::refusal::Applied;
use crate::tool::Rung;

/// A gated call that a person is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its name, which nobody can guess.
    pub id: DraftId,
    /// The call that proposed it.
    pub call: CallId,
    /// When.
    pub proposed: Timestamp,
    /// Until when it may be approved and carried out.
    pub expires: Timestamp,
    /// Who proposed it, as the token said then.
    pub principal: Principal,
    /// Which agent that is.
    pub agent: AgentId,
    /// The tool.
    pub tool: ToolName,
    /// The system it reaches.
    pub system: SystemName,
    /// What the agent sent, in canonical form (RFC 8785): nothing that is bound from the token.
    pub arguments: Vec<u8>,
    /// Over principal, tool and canonical arguments, bound ones included:
    /// [`Arguments::digest`](crate::args::Arguments::digest).
    pub binding: Digest,
    /// What governed the call then: [`Grant::decision_digest`](crate::posture::Grant).
    pub decision: Digest,
    /// The clearance it needs.
    pub rung: Rung,
    /// What will happen, in the words of the tool's author.
    pub summary: String,
    /// The same call as one that was carried out before: which draft that was.
    pub same_as: Option<DraftId>,
    /// How far it is.
    pub state: State,
    /// Who decided, when, and what they said; for an end that nobody decided, why it came to that.
    pub decided: Option<Decided>,
    /// The call that carries it out.
    pub committed: Option<CallId>,
    /// What came of that.
    pub outcome: Option<Outcome>,
    /// Whether the agent has been told the outcome.
    pub delivered: bool,
}

/// How far a draft is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nobody has decided.
    Waiting,
    /// Somebody entitled agreed; it is about to be carried out.
    Approved,
    /// Its intent is durable.
    Committing,
    /// It took effect.
    Executed,
    /// It was tried, and nothing has changed.
    Failed,
    /// It was tried, and nobody knows.
    Unknown,
    /// Somebody entitled said no.
    Rejected,
    /// It was taken back.
    Withdrawn,
    /// Its time is over.
    Expired,
    /// It can no longer be carried out as it was proposed.
    Void,
}

/// What moves a draft on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A person agrees.
    Approve,
    /// A person does not.
    Reject,
    /// It is taken back.
    Withdraw,
    /// Its time is over.
    Expire,
    /// It no longer can be carried out.
    Void,
    /// Its one intent is written.
    Claim,
    /// It took effect, as the outcome or a person says.
    Succeed,
    /// It did not, as the outcome or a person says.
    Fail,
    /// Nobody knows.
    Lose,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Approved,
        Self::Committing,
        Self::Executed,
        Self::Failed,
        Self::Unknown,
        Self::Rejected,
        Self::Withdrawn,
        Self::Expired,
        Self::Void,
    ];

    /// As records and stores write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Committing => "committing",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }

    /// As records and stores write it, read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Where a step leads from here; `None` where there is no such step. This is the whole machine.
    #[must_use]
    pub const fn after(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Waiting, Step::Approve) => Some(Self::Approved),
            (Self::Waiting, Step::Reject) => Some(Self::Rejected),
            (Self::Waiting | Self::Approved, Step::Withdraw) => Some(Self::Withdrawn),
            (Self::Waiting | Self::Approved, Step::Expire) => Some(Self::Expired),
            (Self::Waiting | Self::Approved, Step::Void) => Some(Self::Void),
            (Self::Approved, Step::Claim) => Some(Self::Committing),
            (Self::Committing | Self::Unknown, Step::Succeed) => Some(Self::Executed),
            (Self::Committing | Self::Unknown, Step::Fail) => Some(Self::Failed),
            (Self::Committing, Step::Lose) => Some(Self::Unknown),
            (
                Self::Waiting
                | Self::Approved
                | Self::Committing
                | Self::Executed
                | Self::Failed
                | Self::Unknown
                | Self::Rejected
                | Self::Withdrawn
                | Self::Expired
                | Self::Void,
                _,
            ) => None,
        }
    }

    /// Whether something may still come of it. There is at most one such draft of a binding: one
    /// whose outcome is unknown stands in the way of another until people have said what came of it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Waiting | Self::Approved | Self::Committing | Self::Unknown)
    }
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Approve,
        Self::Reject,
        Self::Withdraw,
        Self::Expire,
        Self::Void,
        Self::Claim,
        Self::Succeed,
        Self::Fail,
        Self::Lose,
    ];

    /// What an outcome means for the draft it is of.
    #[must_use]
    pub const fn of(applied: Applied) -> Self {
        match applied {
            Applied::Applied => Self::Succeed,
            Applied::NotApplied | Applied::Compensated => Self::Fail,
            Applied::Unknown => Self::Lose,
        }
    }
}

/// Who decided, or why it was decided without anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Who. `None` for what nobody decides: time, a change of the posture, the pipeline.
    pub by: Option<Who>,
    /// Who was away, if they decided in somebody's stead.
    pub in_stead_of: Option<Who>,
    /// When.
    pub at: Timestamp,
    /// What the model may read of it.
    pub reason: Option<String>,
}

/// A person, as they are told apart: by issuer and the immutable id that the issuer knows them by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Who vouches for them.
    pub issuer: IssuerId,
    /// Their immutable id there.
    pub id: String,
    /// Their verified address, which is how others write them.
    pub address: Option<String>,
}

/// What came of a draft that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is known of the effect.
    pub applied: Applied,
    /// The fault's code; `None` if it went well.
    pub code: Option<String>,
    /// The screened result, as JSON text, if it went well.
    pub result: Option<String>,
    /// Whether a person said so.
    pub resolved: bool,
}

/// What a client sends along with a call that was asked for input (MCP 2026-07-28, elicitation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// It comes back with the state it was given, and says nothing more.
    State(String),
    /// It answers a question that was never asked: a form, or with a state that nobody gave.
    Form,
}

/// What is switched off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// Every call.
    Everything,
    /// Those of an agent.
    Agent(AgentId),
    /// Those of a tool.
    Tool(ToolName),
    /// Those that reach a system.
    System(SystemName),
    /// Those for a tenant.
    Tenant(TenantId),
}

impl Switch {
    /// Its kind, as records and addresses write it: `everything`, `agent`, `tool`, `system`, `tenant`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Agent(_) => "agent",
            Self::Tool(_) => "tool",
            Self::System(_) => "system",
            Self::Tenant(_) => "tenant",
        }
    }

    /// The name of what is switched off; empty for everything.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Everything => "",
            Self::Agent(name) => name.as_str(),
            Self::Tool(name) => name.as_str(),
            Self::System(name) => name.as_str(),
            Self::Tenant(name) => name.as_str(),
        }
    }

    /// From kind and name; `None` for what is neither.
    #[must_use]
    pub fn parse(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "everything" => name.is_empty().then_some(Self::Everything),
            "agent" => AgentId::new(name).ok().map(Self::Agent),
            "tool" => ToolName::new(name).ok().map(Self::Tool),
            "system" => SystemName::new(name).ok().map(Self::System),
            "tenant" => TenantId::new(name).ok().map(Self::Tenant),
            _ => None,
        }
    }

    /// Whether a call is one of those.
    #[must_use]
    pub fn stops(&self, reach: &Reach<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Agent(agent) => reach.agent == agent,
            Self::Tool(tool) => reach.tool == Some(tool),
            Self::System(system) => reach.systems.contains(&system),
            Self::Tenant(tenant) => reach.tenant == tenant,
        }
    }
}

/// What a call reaches, as far as switches know it.
#[derive(Debug, Clone)]
pub struct Reach<'a> {
    /// Whose call it is.
    pub agent: &'a AgentId,
    /// Of which tool.
    pub tool: Option<&'a ToolName>,
    /// Its system, and those that its look-ups ask.
    pub systems: Vec<&'a SystemName>,
    /// For whom.
    pub tenant: &'a TenantId,
}

/// Something that was switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// What.
    pub of: Switch,
    /// When.
    pub at: Timestamp,
    /// By whom: another has to switch it on again.
    pub by: Who,
    /// Why.
    pub reason: String,
}

/// An effect of which nobody knows whether it took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOutcome {
    /// The call.
    pub call: CallId,
    /// When its outcome was recorded as unknown.
    pub at: Timestamp,
    /// Whose.
    pub agent: AgentId,
    /// For whom.
    pub tenant: TenantId,
    /// Of which tool.
    pub tool: ToolName,
    /// On which system.
    pub system: SystemName,
    /// The draft it carried out, if it was gated.
    pub draft: Option<DraftId>,
    /// Who said what came of it, and whether it happened.
    pub resolved: Option<(Decided, bool)>,
}

/// What an entry changes beside the journal: in the same transaction, or neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A draft begins.
    Propose(Box<Draft>),
    /// A draft moves on.
    Move {
        /// Which.
        draft: DraftId,
        /// How.
        step: Step,
        /// Who decided; kept if it says nothing.
        decided: Option<Decided>,
        /// With [`Step::Claim`]: the call that carries it out.
        commit: Option<CallId>,
        /// With the last three steps.
        outcome: Option<Outcome>,
    },
    /// The agent is told the outcome: at most once.
    Deliver(DraftId),
    /// Something is switched off. Once more is no conflict, and changes nothing.
    Suspend(Suspension),
    /// Something is switched on.
    Resume(Switch),
    /// A person says what came of an effect whose outcome was unknown. If it was a draft's, that moves
    /// on as well.
    Resolve {
        /// The call.
        call: CallId,
        /// Who says so.
        decided: Decided,
        /// Whether it took effect.
        happened: bool,
    },
    /// Somebody stands in for somebody who is away.
    Delegate {
        /// Who for whom.
        delegation: Delegation,
        /// Instead of whom before, of the same absent person: refused if it was not so.
        replaces: Option<DelegationId>,
    },
    /// That ends.
    Return(DelegationId),
}

/// Why an entry was refused with its changes: nothing of it is in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// The call was switched off.
    Suspended(Box<Suspension>),
    /// The draft has got elsewhere by now; `None` if there is no such draft.
    Draft(Option<State>),
    /// There is a live draft of the same binding.
    Live(DraftId),
    /// As many drafts are live, or people away, as may be.
    Full,
    /// Nothing of that name is switched off, unknown, or in somebody's stead.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_an_end_and_only_a_claim_into_committing() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            for step in Step::ALL {
                let after = state.after(step);
                if !state.is_live() {
                    assert_eq!(after, None, "{state:?} {step:?}");
                }
                assert_eq!(
                    after == Some(State::Committing),
                    (state, step) == (State::Approved, Step::Claim)
                );
                assert_eq!(
                    after == Some(State::Approved),
                    (state, step) == (State::Waiting, Step::Approve)
                );
            }
        }
    }
}
