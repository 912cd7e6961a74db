//! The two ways a call ends badly. They are not the same thing: after a refusal nothing has
//! happened; after a fault something may have.
//!
//! Both are exhaustive: a new reason breaks every `match` until someone decides what the agent is
//! told. Each has two faces: `public()` for the agent, `detail()` for the journal.

use crate::bound::{ISSUES_RECORDED_MAX, ISSUES_SHOWN_MAX};
use crate::quota::{LimitReached, Window};
use crate::scope::ScopeViolation;
use crate::tool::{Issue, Rung};

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
    /// A person must agree first.
    ApprovalRequired(Rung),
    /// The intent could not be made durable.
    JournalUnavailable(String),
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
}

impl SystemFault {
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

/// What the agent is told: a stable code, one sentence, and what to do next. No internals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Stable, for programs.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do next.
    pub next: String,
    /// The arguments that do not fit.
    pub issues: Vec<Issue>,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u64>,
}

impl Public {
    fn new(code: &'static str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            next: next.into(),
            issues: Vec::new(),
            retry_after_s: None,
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
            Self::ApprovalRequired(_) => "approval_required",
            Self::JournalUnavailable(_) => "journal_unavailable",
        }
    }

    /// The OAuth scope that the token lacks, if that is why: a door may say so in its protocol.
    #[must_use]
    pub fn lacking_scope(&self) -> Option<&str> {
        if let Self::InsufficientScope(scope) = self { Some(scope) } else { None }
    }

    /// What the agent is told.
    #[must_use]
    pub fn public(&self) -> Public {
        let code = self.code();
        match self {
            Self::Unauthenticated(_) => Public::new(
                code,
                "The credential was not accepted.",
                "Send a valid bearer token of an agent that is registered here.",
            ),
            Self::UnknownTool => Public::new(
                code,
                "There is no tool of that name.",
                "List the tools and use one of those.",
            ),
            Self::InsufficientScope(scope) => Public::new(
                code,
                format!("The token does not carry the scope `{scope}`, which this tool needs."),
                "Do not repeat it with this token; the person you work for can get one that does.",
            ),
            Self::RateLimited(reached) => limited(code, reached),
            Self::InvalidArguments(issues) => Public {
                issues: issues.iter().take(ISSUES_SHOWN_MAX).cloned().collect(),
                ..Public::new(
                    code,
                    "The arguments do not fit the tool's schema.",
                    "Correct the arguments named in `issues` and call again.",
                )
            },
            Self::OutOfScope(violation) => out_of_scope(code, violation),
            Self::Forbidden(Forbidden { reason, .. }) => Public::new(
                code,
                reason.as_deref().unwrap_or("Policy does not permit this call."),
                "Do not repeat it; answer with what you have, or say that you may not do this.",
            ),
            Self::Undecided(_) => Public::new(
                code,
                "Policy could not be evaluated for this call, so it is refused.",
                "Do not repeat it; tell the person you work for that the gateway's policy needs attention.",
            ),
            Self::LookUpFailed(_) => Public::new(
                code,
                "A system that has to confirm whose this is did not answer. Nothing was done.",
                "Go on without it, or try again later.",
            ),
            Self::ApprovalRequired(rung) => Public::new(
                code,
                format!(
                    "This call needs a person's approval (rung {}), and no gate is configured. Nothing was done.",
                    rung.number()
                ),
                "Do not repeat it; tell the person you work for what you would have done.",
            ),
            Self::JournalUnavailable(_) => Public::new(
                code,
                "The call could not be recorded, so it was not made. Nothing was done.",
                "Try again in a minute; if it stays so, tell the person you work for.",
            ),
        }
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
            Self::ApprovalRequired(rung) => {
                format!("rung {}: no gate is configured", rung.number())
            }
        }
    }
}

fn limited(code: &'static str, reached: &LimitReached) -> Public {
    let message = if reached.window == Window::Alike {
        format!("The same call was made {} times within a minute.", reached.max)
    } else {
        let span = match reached.window {
            Window::Minute | Window::Alike => "minute",
            Window::Hour => "hour",
            Window::Day => "day",
            Window::Session => "session",
        };
        format!("The limit of {} calls per {span} is used up.", reached.max)
    };
    let next = if reached.window == Window::Alike {
        "Do not repeat it: its answer will not change. Go on with what you have.".to_owned()
    } else if reached.window == Window::Session {
        "Answer with what you have.".to_owned()
    } else {
        format!("Answer with what you have, or come back in {} seconds.", reached.retry_after_s)
    };
    Public { retry_after_s: Some(reached.retry_after_s), ..Public::new(code, message, next) }
}

fn out_of_scope(code: &'static str, violation: &ScopeViolation) -> Public {
    let next = if violation.allowed.is_empty() {
        "Do not repeat it; say that you have no access to this.".to_owned()
    } else {
        format!("It must {}.", violation.expected())
    };
    Public::new(code, format!("`{}` is not something you have access to.", violation.path), next)
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

    /// What the agent is told.
    #[must_use]
    pub fn public(&self) -> Public {
        let code = self.code();
        match self {
            Self::System(fault) => {
                let message = match fault.kind {
                    SystemFaultKind::Unavailable => {
                        "The system behind this tool cannot be reached."
                    }
                    SystemFaultKind::TimedOut => {
                        "The system behind this tool did not answer in time."
                    }
                    SystemFaultKind::Failed => {
                        "The system behind this tool answered with an error."
                    }
                    SystemFaultKind::Busy => {
                        "The system behind this tool has as many calls as it may take."
                    }
                    SystemFaultKind::PostCondition => {
                        "The check after this call shows that it did not do what it was to do."
                    }
                };
                let next = match fault.applied {
                    Applied::NotApplied => {
                        "Nothing was done. Go on without it, or try again later."
                    }
                    Applied::Compensated => {
                        "It was done and put back, so nothing has changed. Do not repeat it as it is."
                    }
                    Applied::Applied => {
                        "It took effect all the same. Do not repeat it; tell the person you work for."
                    }
                    Applied::Unknown => {
                        "Whether it took effect is not known. Do not repeat it; tell the person you work for."
                    }
                };
                Public::new(code, message, next)
            }
            Self::Withheld(_) | Self::ForeignRows(_) => Public::new(
                code,
                "The result may not be shown.",
                "Do not repeat it; go on without it, or ask for less.",
            ),
            Self::JournalUnavailable(_) => Public::new(
                code,
                "The outcome could not be recorded, so the result is withheld.",
                "Do not repeat it; tell the person you work for.",
            ),
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
