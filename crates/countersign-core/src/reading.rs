//! The journal as it is read: its records, what is asked of them, and the answers.

mod calls;
mod chain;
mod charts;

use crate::id::{Digest, Timestamp};
use crate::person::Tenants;
use crate::record::Kind;
pub use calls::{Calls, Class, Line, News, SessionCall, session};
pub use chain::{Behind, Chain, StreamEnd, Verified};
pub use charts::{Approver, Decisions, DraftTally, Span, Tally, Waited};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One record, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The header's members.
    pub header: Map<String, Value>,
    /// Its bodies by field: `arguments`, `result`, `principal` and `charges` as JSON, others as text.
    /// One that was erased is absent here and still named in the header's `fields`.
    pub bodies: BTreeMap<String, Value>,
}

/// What of records is read. A record's header has some thirty members, and its bodies are thousands of
/// bytes: whoever reads all that is written reads what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    Whole,
    /// These members of the header.
    Members(&'static [&'static str]),
}

impl Record {
    /// A member of the header that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// What it says; `None` for a kind that this program does not know.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.text("kind").and_then(Kind::parse)
    }

    /// When: microseconds since the epoch, by the writer's clock.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.header.get("at").and_then(Value::as_i64).unwrap_or(i64::MIN))
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.text("stream").unwrap_or_default()
    }

    /// Its place there, from 0.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.header.get("seq").and_then(Value::as_u64).unwrap_or(u64::MAX)
    }

    /// One object for a line of output: the header's members, and `bodies`.
    #[must_use]
    pub fn into_json(self) -> Value {
        let Self { mut header, bodies } = self;
        header.insert("bodies".to_owned(), Value::Object(bodies.into_iter().collect()));
        Value::Object(header)
    }

    /// From a parsed header and the bodies found beside it, of which only those count that the
    /// header commits to.
    #[must_use]
    pub fn new(
        header: Map<String, Value>,
        found: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let committed = |field: &str| header.get("fields").is_some_and(|f| f.get(field).is_some());
        let bodies = found
            .into_iter()
            .filter(|(field, _)| committed(field))
            .map(|(field, bytes)| {
                let json = matches!(
                    field.as_str(),
                    "arguments" | "result" | "principal" | "charges" | "returned"
                );
                let parsed = json.then(|| serde_json::from_slice(&bytes).ok()).flatten();
                let text = || String::from_utf8_lossy(&bytes).into_owned().into();
                let value = parsed.unwrap_or_else(text);
                (field, value)
            })
            .collect();
        Self { header, bodies }
    }
}

/// How far a reader has come: for each stream, the next sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(pub BTreeMap<String, i64>);

/// A place in the order of the journal: what was recorded later has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(i64);

impl Position {
    /// Before everything.
    pub const START: Self = Self(-1);

    /// From its number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }
    /// Its number, for addresses. It means nothing else.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

/// A page of an answer: newest first, in the order of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it. It may be fewer than were asked for, even none, on a page that is not the last:
    /// one question looks only so far.
    pub items: Vec<T>,
    /// Before what the next page begins; `None` on the last.
    pub next: Option<Position>,
}

/// Which records are asked for: those that fit every member that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// What they say.
    pub kind: Option<Kind>,
    /// The header's `agent`.
    pub agent: Option<String>,
    /// The header's `tenant`.
    pub tenant: Option<String>,
    /// The header's `tool`.
    pub tool: Option<String>,
    /// The header's `code`, of a refusal or a fault.
    pub code: Option<String>,
    /// The header's `status`, of an outcome.
    pub status: Option<String>,
    /// The header's `call`.
    pub call: Option<String>,
    /// The header's `draft`.
    pub draft: Option<String>,
    /// The session that the body `principal` names, as long as it is not erased.
    pub session: Option<Digest>,
    /// Only those with an `alert` in the header.
    pub alerts: bool,
    /// Recorded before this: the next page.
    pub before: Option<Position>,
    /// At most so many, and no more than
    /// [`RECORDS_LISTED_MAX`](crate::bound::RECORDS_LISTED_MAX); as many as that if it says nothing.
    pub limit: Option<u32>,
}

impl Tenants {
    /// Whether a record of this tenant may be seen; one of no tenant, by those who see all.
    #[must_use]
    pub fn see(&self, tenant: Option<&str>) -> bool {
        match (self, tenant) {
            (Self::All, _) => true,
            (Self::Of(_), None) => false,
            (Self::Of(tenants), Some(tenant)) => tenants.contains(tenant),
        }
    }
}
