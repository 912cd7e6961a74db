//! What the journal keeps of a call: a header that the chain covers for ever, and bodies beside it
//! that can be erased one by one. The bytes are a published format: `docs/audit-format.md`.

use crate::chain::{self, SALT_BYTES};
use crate::draft::Change;
use crate::id::{Digest, Timestamp};
use crate::quota::Charge;
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// The format of the headers below.
pub const FORMAT: u64 = 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process began to write a stream; names the heads of the streams before it.
    StreamOpened,
    /// A process ended its stream in good order.
    StreamClosed,
    /// A posture is about to be in force.
    PostureLoaded,
    /// What a system defines is not what was reviewed, or is that again.
    DefinitionChanged,
    /// A call is about to be made.
    Intent,
    /// What came of it.
    Outcome,
    /// A call, or several alike, stopped before anything was done.
    Refusal,
    /// A gated call waits for a person.
    DraftProposed,
    /// A person agreed.
    DraftApproved,
    /// A person did not.
    DraftRejected,
    /// It was taken back.
    DraftWithdrawn,
    /// Its time was over.
    DraftExpired,
    /// It could no longer be carried out as it was proposed.
    DraftVoid,
    /// The agent was told what came of it.
    DraftDelivered,
    /// A person was shown what a draft's preview found.
    DraftPreviewed,
    /// A person switched something off.
    Suspended,
    /// A person switched it on again.
    Resumed,
    /// A person let somebody stand in.
    Delegated,
    /// Nobody stands in for them any more.
    DelegationEnded,
    /// A person said what came of an effect whose outcome was unknown.
    UnknownResolved,
    /// A person, or several alike, was refused what they asked for.
    ActRefused,
    /// A rule found in the records before what people should be told of.
    Alerted,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::StreamOpened,
        Self::StreamClosed,
        Self::PostureLoaded,
        Self::DefinitionChanged,
        Self::Intent,
        Self::Outcome,
        Self::Refusal,
        Self::DraftProposed,
        Self::DraftApproved,
        Self::DraftRejected,
        Self::DraftWithdrawn,
        Self::DraftExpired,
        Self::DraftVoid,
        Self::DraftDelivered,
        Self::DraftPreviewed,
        Self::Suspended,
        Self::Resumed,
        Self::Delegated,
        Self::DelegationEnded,
        Self::UnknownResolved,
        Self::ActRefused,
        Self::Alerted,
    ];

    /// As headers write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamOpened => "stream_opened",
            Self::StreamClosed => "stream_closed",
            Self::PostureLoaded => "posture_loaded",
            Self::DefinitionChanged => "definition_changed",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::DraftProposed => "draft_proposed",
            Self::DraftApproved => "draft_approved",
            Self::DraftRejected => "draft_rejected",
            Self::DraftWithdrawn => "draft_withdrawn",
            Self::DraftExpired => "draft_expired",
            Self::DraftVoid => "draft_void",
            Self::DraftDelivered => "draft_delivered",
            Self::DraftPreviewed => "draft_previewed",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Delegated => "delegated",
            Self::DelegationEnded => "delegation_ended",
            Self::UnknownResolved => "unknown_resolved",
            Self::ActRefused => "act_refused",
            Self::Alerted => "alert",
        }
    }
    /// As headers write it, read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A record before it has its place in a stream.
#[derive(Debug)]
pub struct Entry {
    kind: Kind,
    at: Timestamp,
    header: BTreeMap<Cow<'static, str>, Value>,
    bodies: Vec<(&'static str, Vec<u8>)>,
    charges: Vec<Charge>,
    returned: Vec<Charge>,
    changes: Vec<Change>,
}

impl Entry {
    /// Begins a record.
    #[must_use]
    pub fn new(kind: Kind, at: Timestamp) -> Self {
        Self {
            kind,
            at,
            header: BTreeMap::new(),
            bodies: Vec::new(),
            charges: Vec::new(),
            returned: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Adds a member to the header: kept for ever, so nothing of a person belongs here.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// A member of the header.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.header.get(name)
    }

    /// Adds a body: committed to by the header, erasable. An empty one is left out.
    #[must_use]
    pub fn body(mut self, field: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.bodies.push((field, bytes));
        }
        self
    }

    /// Adds the counters this call has used, made durable with the record.
    #[must_use]
    pub fn charged(mut self, charges: Vec<Charge>) -> Self {
        self.charges = charges;
        self
    }

    /// Adds what of earlier charges is given back, made durable with the record.
    #[must_use]
    pub fn giving_back(mut self, returned: Vec<Charge>) -> Self {
        self.returned = returned;
        self
    }

    /// Adds a change that is made with the record, or refuses it.
    #[must_use]
    pub fn changing(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// What it says.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// When.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The counters this call has used.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// What of earlier charges is given back.
    #[must_use]
    pub fn returned(&self) -> &[Charge] {
        &self.returned
    }

    /// What is changed with it.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Gives the record its place: the header's bytes (canonical JSON, RFC 8785), its hash, and
    /// the bodies with their salts. `fill` is asked once for all salts.
    #[must_use]
    pub fn seal(
        self,
        stream: &str,
        sequence: u64,
        previous: &Digest,
        mut fill: impl FnMut(&mut [u8]),
    ) -> Sealed {
        let Self { kind, at, mut header, bodies, .. } = self;
        let mut salts = vec![[0; SALT_BYTES]; bodies.len()];
        fill(salts.as_flattened_mut());
        let bodies = bodies.into_iter().zip(salts);
        let bodies: Vec<Body> =
            bodies.map(|((field, bytes), salt)| Body { field, salt, bytes }).collect();
        let commitments = bodies.iter().map(|body| {
            let digest = chain::commit(body.field, &body.salt, &body.bytes);
            (body.field.to_owned(), Value::from(digest.to_string()))
        });
        header.insert("fields".into(), Value::Object(commitments.collect()));
        header.insert("v".into(), FORMAT.into());
        header.insert("kind".into(), kind.as_str().into());
        header.insert("at".into(), at.micros().into());
        header.insert("stream".into(), stream.into());
        header.insert("seq".into(), sequence.into());
        // Keys are ASCII and numbers are integers, so sorted they are RFC 8785. Sorting matters: with
        // serde_json's `preserve_order`, which any crate can turn on, a map is as it was filled.
        header.values_mut().for_each(Value::sort_all_objects);
        // Texts as keys and values that are JSON already always have a text.
        let bytes = serde_json::to_vec(&header).unwrap_or_default();
        let hash = chain::link(previous, &bytes);
        Sealed { header: bytes, hash, bodies }
    }
}

/// A record with its place in a stream, ready to be stored byte for byte.
#[derive(Debug)]
pub struct Sealed {
    /// Canonical JSON.
    pub header: Vec<u8>,
    /// Over the hash before and the header.
    pub hash: Digest,
    /// What the header commits to.
    pub bodies: Vec<Body>,
}

/// One body of a record.
#[derive(Debug)]
pub struct Body {
    /// Its name in the header's `fields`.
    pub field: &'static str,
    /// Its salt.
    pub salt: [u8; SALT_BYTES],
    /// Its bytes.
    pub bytes: Vec<u8>,
}
