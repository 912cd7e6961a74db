//! Calls as people see them: a line for each thing that became of one.

use super::{Position, Record};
use crate::id::{Digest, Timestamp};
use crate::record::Kind;
use serde_json::Value;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It was carried out, and the agent saw the result.
    Ok,
    /// It was stopped before anything was done.
    Refused,
    /// It was begun and did not end well.
    Fault,
    /// It was begun, and nobody knows what came of it.
    Unknown,
    /// Its intent is on record and no outcome yet.
    UnderWay,
    /// It waits for a person, as a draft.
    Drafted,
    /// The agent was told what came of its draft.
    Delivered,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Refused,
        Self::Fault,
        Self::Unknown,
        Self::UnderWay,
        Self::Drafted,
        Self::Delivered,
    ];

    /// As addresses and tables write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
            Self::UnderWay => "under_way",
            Self::Drafted => "drafted",
            Self::Delivered => "delivered",
        }
    }

    /// As addresses and tables write it, read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// What a record of this kind and status says of its call; `None` if nothing. That an intent has
    /// no outcome yet, it does not say itself.
    #[must_use]
    pub fn of(kind: Kind, status: Option<&str>) -> Option<Self> {
        match kind {
            Kind::Intent => Some(Self::UnderWay),
            Kind::Outcome => Some(match status {
                Some("ok") => Self::Ok,
                Some("fault") => Self::Fault,
                _ => Self::Unknown,
            }),
            Kind::Refusal => Some(Self::Refused),
            Kind::DraftProposed => Some(Self::Drafted),
            Kind::DraftDelivered => Some(Self::Delivered),
            Kind::StreamOpened
            | Kind::StreamClosed
            | Kind::PostureLoaded
            | Kind::DefinitionChanged
            | Kind::DraftApproved
            | Kind::DraftRejected
            | Kind::DraftWithdrawn
            | Kind::DraftExpired
            | Kind::DraftVoid
            | Kind::DraftPreviewed
            | Kind::Suspended
            | Kind::Resumed
            | Kind::Delegated
            | Kind::DelegationEnded
            | Kind::UnknownResolved
            | Kind::ActRefused
            | Kind::Alerted => None,
        }
    }
}

/// Which calls are asked for: those that fit every member that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// [`Line::at`] is this time or later.
    pub since: Option<Timestamp>,
    /// [`Line::at`] is before this time.
    pub until: Option<Timestamp>,
    /// Of this agent.
    pub agent: Option<String>,
    /// For this tenant.
    pub tenant: Option<String>,
    /// Of this tool.
    pub tool: Option<String>,
    /// What became of them.
    pub class: Option<Class>,
    /// The code of their refusal or fault.
    pub code: Option<String>,
    /// Recorded before this: the next page.
    pub before: Option<Position>,
    /// At most so many, and no more than
    /// [`RECORDS_LISTED_MAX`](crate::bound::RECORDS_LISTED_MAX); as many as that if it says nothing.
    pub limit: Option<u32>,
}

/// What became of a call, as one record says; or that it is under way. A call that is under way has one
/// line, and another in its place once it has ended. One that was cut off and of which more became known
/// later has a line for either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where the record stands.
    pub position: Position,
    /// When that was so: the end of a call that was carried out, or else its begin.
    pub at: Timestamp,
    /// The call; `None` for refusals that were too many to be told apart.
    pub call: Option<String>,
    /// Whose.
    pub agent: Option<String>,
    /// For whom.
    pub tenant: Option<String>,
    /// Of which tool, if it is one that the agent has.
    pub tool: Option<String>,
    /// The tool as the agent wrote it, if it has none of that name.
    pub claimed: Option<String>,
    /// Through which door.
    pub door: Option<String>,
    /// On which step of the ladder.
    pub rung: Option<u64>,
    /// What became of it.
    pub class: Class,
    /// Why, of a refusal or a fault.
    pub code: Option<String>,
    /// How long it took, in microseconds, if it was carried out.
    pub duration_us: Option<u64>,
    /// How many calls alike it stands for: 1, but for refusals.
    pub count: u64,
    /// The draft that it is about.
    pub draft: Option<String>,
    /// What people should be told of at once.
    pub alert: Option<String>,
    /// Whether it may have had an effect of which nobody knows.
    pub unsure: bool,
}

impl Line {
    /// From a record; `None` if it is not about what became of a call.
    #[must_use]
    pub fn of(position: Position, record: &Record) -> Option<Self> {
        let class = Class::of(record.kind()?, record.text("status"))?;
        let text = |name: &str| record.text(name).map(str::to_owned);
        let number = |name: &str| record.header.get(name).and_then(Value::as_u64);
        let claimed = record.bodies.get("claimed_tool").and_then(Value::as_str);
        let tool = text("tool");
        Some(Self {
            position,
            at: record.at(),
            call: text("call"),
            agent: text("agent"),
            tenant: text("tenant"),
            claimed: claimed.filter(|_| tool.is_none()).map(str::to_owned),
            tool,
            door: text("door"),
            rung: number("rung"),
            class,
            code: text("code"),
            duration_us: number("duration_us"),
            count: number("count").unwrap_or(1),
            draft: text("draft"),
            alert: text("alert"),
            unsure: record.text("applied") == Some("unknown")
                && record.text("effect") != Some("read"),
        })
    }
}

/// What is new, for a page that is looked at while it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The newest lines since, newest first.
    pub lines: Vec<Line>,
    /// How many others there were since; at least so many, if they are as many as
    /// [`NEWS_COUNTED_MAX`](crate::bound::NEWS_COUNTED_MAX).
    pub more: u64,
    /// From where to ask the next time.
    pub position: Position,
}

/// A call of a session, with what it was about.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionCall {
    /// What became of it.
    pub line: Line,
    /// Its arguments, unless they were erased. Too long ones are `{sha256, bytes}`.
    pub arguments: Option<Value>,
    /// How many rows the result had.
    pub rows: Option<u64>,
}

/// The session that a record's own body names.
#[must_use]
pub fn session(record: &Record) -> Option<Digest> {
    let text = record.bodies.get("principal")?.get("session")?.as_str()?;
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(Digest::from_bytes(digest))
}
