//! The two ways a call ends badly. They are not the same thing: after a refusal nothing has
//! happened; after a fault something may have.
//!
//! Both are exhaustive: a new reason breaks every `match` until someone decides what the agent is
//! told. Each has two faces: `public()` for the agent, `detail()` for the journal.

mod told;

use crate::bound::ISSUES_RECORDED_MAX;
use crate::draft::{Draft, State, Suspension};
use crate::id::{DraftId, Timestamp};
use crate::posture::Lapse;
use crate::quota::LimitReached;
use crate::scope::ScopeViolation;
use crate::tool::{Issue, Rung};
pub use told::Public;

/// The call was stopped before anything was done to any system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The credential is missing, not valid, or nobody's.
    Unauthenticated(AuthenticationFailure),
    /// No such tool, or not for this agent: the same answer.
    UnknownTool,
    /// The tool is granted to agents whose token carries this OAuth scope, and this one does not.
    InsufficientScope(String),
    /// A limit is used up.
    RateLimited(LimitReached),
    /// The arguments do not fit the tool's schema.
    InvalidArguments(Vec<Issue>),
    /// An argument reaches outside what the caller may touch.
    OutOfScope(ScopeViolation),
    /// Policy does not permit it.
    Forbidden(Forbidden),
    /// Policy could not be evaluated: never a permission.
    Undecided(String),
    /// A system that had to confirm an argument did not answer.
    LookUpFailed(SystemFault),
    /// The sums that calls may come to are used up.
    OverBudget(LimitReached),
    /// Somebody switched it off.
    Suspended(Box<Suspension>),
    /// The time is over for which it was reviewed.
    Lapsed(Box<Lapse>),
    /// What stands behind the tool is not what was reviewed.
    DefinitionChanged,
    /// A person must agree first.
    ApprovalRequired(Pending),
    /// A person did not agree, for this reason.
    Rejected(String),
    /// It was carried out, and nobody knows whether it took effect.
    OutcomeUnknown(DraftId),
    /// Its draft is at an end, and this is what is known of it.
    DraftEnded(Ended),
    /// There is no such draft for this caller: it is nobody's, or somebody else's.
    UnknownDraft {
        /// Whether it is somebody else's: for the record alone.
        foreign: bool,
    },
    /// An answer that was never asked for, or a state that nobody gave: the client is no approver.
    OutsideApproval,
    /// As many drafts wait as people can be asked about.
    TooManyDrafts,
    /// What it rests on has changed meanwhile.
    Stale,
    /// Its approval was spent, or its draft has got elsewhere, while it was on its way.
    Conflict,
    /// The intent could not be made durable.
    JournalUnavailable(String),
}

/// A call that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The clearance it needs.
    pub rung: Rung,
    /// Its draft; `None` if none was made.
    pub draft: Option<DraftId>,
    /// Until when somebody may agree.
    pub expires: Option<Timestamp>,
    /// Whether somebody has agreed and it is being carried out.
    pub under_way: bool,
}

impl Pending {
    /// Of a draft.
    #[must_use]
    pub fn of(draft: &Draft) -> Self {
        Self {
            rung: draft.rung,
            draft: Some(draft.id.clone()),
            expires: Some(draft.expires),
            under_way: draft.state != State::Waiting,
        }
    }

    /// Of a call that was not drafted.
    #[must_use]
    pub const fn would_be(rung: Rung) -> Self {
        Self { rung, draft: None, expires: None, under_way: false }
    }
}

/// A draft that is at an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub state: State,
    /// What is known of its effect, if it was carried out.
    pub applied: Option<Applied>,
    /// A fault's code, or why it came to that.
    pub code: Option<String>,
}

/// Which policies forbid a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forbidden {
    /// Their ids; empty if none forbids and none permits either.
    pub policies: Vec<String>,
    /// What one of them says to the agent: a line, at most [`REASON_BYTES_MAX`] bytes.
    ///
    /// [`REASON_BYTES_MAX`]: crate::bound::REASON_BYTES_MAX
    pub reason: Option<String>,
}

/// Why a credential is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationFailure {
    /// None was sent.
    Missing,
    /// One was sent, and it is not valid. The text is for the journal.
    Invalid(String),
    /// Whether it is valid is not known, and too many wait to know: the same one may do later.
    Busy,
    /// It is valid, and no agent of the posture is called that. The text is for the journal.
    UnknownAgent(String),
}

/// The call was begun, and did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The system failed.
    System(SystemFault),
    /// The system answered with what may not be shown.
    Withheld(String),
    /// The system answered with rows that do not carry the caller's own in this column.
    ForeignRows(String),
    /// The outcome could not be made durable, so the result is withheld.
    JournalUnavailable(String),
}

/// How a system failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemFault {
    /// In which way.
    pub kind: SystemFaultKind,
    /// What is known of the effect.
    pub applied: Applied,
    /// What the system said: for the journal, never for the agent.
    pub detail: String,
    /// What it said to the agent: data from a system like every result. Bounded, and screened where it
    /// is told.
    pub said: Option<String>,
}

impl SystemFault {
    /// A fault; the agent is told nothing of what the system said.
    #[must_use]
    pub const fn new(kind: SystemFaultKind, applied: Applied, detail: String) -> Self {
        Self { kind, applied, detail, said: None }
    }

    /// Whether it is known that the effect took place and is not the one that was to be.
    pub(crate) fn is_to_be_undone(&self) -> bool {
        self.kind == SystemFaultKind::PostCondition && self.applied == Applied::Applied
    }

    /// What is known once it was tried to put the effect back. What was tried and failed may have
    /// been done in part.
    pub(crate) fn after(self, undone: Result<(), Self>) -> Self {
        match undone {
            Ok(()) => Self { applied: Applied::Compensated, ..self },
            Err(Self { applied: Applied::NotApplied, detail, .. }) => {
                Self { detail: format!("{}; not put back: {detail}", self.detail), ..self }
            }
            Err(Self { detail, .. }) => Self {
                applied: Applied::Unknown,
                detail: format!("{}; whether it was put back is unknown: {detail}", self.detail),
                ..self
            },
        }
    }
}

/// The ways in which a system fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemFaultKind {
    /// It cannot be reached.
    Unavailable,
    /// It did not answer in time.
    TimedOut,
    /// It answered with an error.
    Failed,
    /// As many calls as it may take are under way.
    Busy,
    /// Nobody waited for its answer any more, so it was given up.
    GivenUp,
    /// It answered that it would not, in words that are for the agent.
    Refused,
    /// What it defines is not what was reviewed, so nothing was asked of it.
    DefinitionChanged,
    /// It answered, and the effect is not the one that was to be: the post-condition does not hold,
    /// or more or fewer rows changed than may.
    PostCondition,
}

/// What is known of a call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It happened. For a read: it was answered.
    Applied,
    /// It did not happen.
    NotApplied,
    /// It happened, and was put back.
    Compensated,
    /// Nobody knows.
    Unknown,
}

impl Applied {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Applied, Self::NotApplied, Self::Compensated, Self::Unknown];

    /// As records write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NotApplied => "not_applied",
            Self::Compensated => "compensated",
            Self::Unknown => "unknown",
        }
    }
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::UnknownTool => "unknown_tool",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::RateLimited(_) => "rate_limited",
            Self::InvalidArguments(_) => "invalid_arguments",
            Self::OutOfScope(_) => "out_of_scope",
            Self::Forbidden(_) => "forbidden",
            Self::Undecided(_) => "undecided",
            Self::LookUpFailed(_) => "lookup_failed",
            Self::OverBudget(_) => "over_budget",
            Self::Suspended(_) | Self::Lapsed(_) => "suspended",
            Self::DefinitionChanged => "definition_changed",
            Self::ApprovalRequired(_) => "approval_required",
            Self::Rejected(_) => "rejected",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::DraftEnded(ended) => match ended.state {
                State::Executed => "executed",
                State::Failed => "commit_failed",
                State::Withdrawn => "withdrawn",
                State::Expired => "expired",
                State::Waiting
                | State::Approved
                | State::Committing
                | State::Unknown
                | State::Rejected
                | State::Void => "void",
            },
            Self::UnknownDraft { .. } => "unknown_draft",
            Self::OutsideApproval => "outside_approval",
            Self::TooManyDrafts => "too_many_drafts",
            Self::Stale => "stale",
            Self::Conflict => "conflict",
            Self::JournalUnavailable(_) => "journal_unavailable",
        }
    }

    /// The OAuth scope that the token lacks, if that is why: a door may say so in its protocol.
    #[must_use]
    pub fn lacking_scope(&self) -> Option<&str> {
        if let Self::InsufficientScope(scope) = self { Some(scope) } else { None }
    }

    /// What people should be told of at once, as records write it: a write was attempted outside the
    /// approval flow.
    #[must_use]
    pub const fn alert(&self) -> Option<&'static str> {
        if matches!(self, Self::OutsideApproval | Self::UnknownDraft { foreign: true }) {
            return Some("outside_approval_flow");
        }
        None
    }

    /// Whether the same call would be refused again however often it is tried: nothing but time, an
    /// operator or a system that is back makes the others good.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Self::RateLimited(_)
                | Self::LookUpFailed(_)
                | Self::OverBudget(_)
                | Self::Suspended(_)
                | Self::Lapsed(_)
                | Self::DefinitionChanged
                | Self::Conflict
                | Self::JournalUnavailable(_)
        )
    }

    /// What the journal keeps beyond the code.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Unauthenticated(AuthenticationFailure::Missing) => "no bearer token".to_owned(),
            Self::Unauthenticated(AuthenticationFailure::Busy) => {
                "too many wait for an issuer's next keys".to_owned()
            }
            Self::Unauthenticated(
                AuthenticationFailure::Invalid(why) | AuthenticationFailure::UnknownAgent(why),
            )
            | Self::JournalUnavailable(why) => why.clone(),
            Self::UnknownTool => String::new(),
            Self::InsufficientScope(scope) => format!("the token lacks `{scope}`"),
            Self::RateLimited(r) => format!("{} per {} of {}", r.max, r.window.as_str(), r.key),
            Self::InvalidArguments(issues) => issues
                .iter()
                .take(ISSUES_RECORDED_MAX)
                .map(|issue| format!("{} must {}", issue.path, issue.expected))
                .collect::<Vec<_>>()
                .join("; "),
            Self::OutOfScope(violation) => format!("{} is not the caller's", violation.path),
            Self::Forbidden(Forbidden { policies, .. }) if policies.is_empty() => {
                "no policy permits it".to_owned()
            }
            Self::Forbidden(Forbidden { policies, .. }) => {
                format!("forbidden by {}", policies.join(", "))
            }
            Self::Undecided(policy) => format!("could not be evaluated: {policy}"),
            Self::LookUpFailed(fault) => fault.detail.clone(),
            Self::OverBudget(r) => format!("{} per {} of {}", r.max, r.window.as_str(), r.key),
            Self::Suspended(suspension) => {
                format!("{} {} is suspended", suspension.of.kind(), suspension.of.name())
            }
            Self::Lapsed(lapse) => lapse.of.clone(),
            Self::ApprovalRequired(pending) => format!("rung {}", pending.rung.number()),
            Self::Rejected(reason) => reason.clone(),
            Self::DraftEnded(ended) => ended.code.clone().unwrap_or_default(),
            Self::UnknownDraft { foreign: true } => "it is another caller's".to_owned(),
            Self::OutcomeUnknown(_)
            | Self::UnknownDraft { foreign: false }
            | Self::DefinitionChanged
            | Self::OutsideApproval
            | Self::TooManyDrafts
            | Self::Stale
            | Self::Conflict => String::new(),
        }
    }
}

impl Fault {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::System(fault) => match fault.kind {
                SystemFaultKind::Unavailable => "system_unavailable",
                SystemFaultKind::TimedOut => "system_timed_out",
                SystemFaultKind::Failed => "system_failed",
                SystemFaultKind::Busy => "system_busy",
                SystemFaultKind::GivenUp => "given_up",
                SystemFaultKind::Refused => "system_refused",
                SystemFaultKind::DefinitionChanged => "definition_changed",
                SystemFaultKind::PostCondition => "post_condition_failed",
            },
            Self::Withheld(_) | Self::ForeignRows(_) => "withheld",
            Self::JournalUnavailable(_) => "journal_unavailable",
        }
    }

    /// What is known of the effect.
    #[must_use]
    pub const fn applied(&self) -> Applied {
        match self {
            Self::System(fault) => fault.applied,
            Self::Withheld(_) | Self::ForeignRows(_) => Applied::Applied,
            Self::JournalUnavailable(_) => Applied::Unknown,
        }
    }

    /// What the journal keeps beyond the code.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::System(fault) => &fault.detail,
            Self::Withheld(why) | Self::JournalUnavailable(why) => why,
            Self::ForeignRows(column) => column,
        }
    }

    /// What people should be told of at once, as records write it.
    #[must_use]
    pub const fn alert(&self) -> Option<&'static str> {
        match self {
            Self::ForeignRows(_) => Some("foreign_rows"),
            Self::System(_) | Self::Withheld(_) | Self::JournalUnavailable(_) => None,
        }
    }
}
