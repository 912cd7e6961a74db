//! The journal as it is read: its records, and how far a reader of all of them has come.

use crate::id::Timestamp;
use crate::record::Kind;
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
