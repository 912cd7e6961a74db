//! How the journal stands: where its streams end, how far its readers are behind, whether it was found
//! whole.

use crate::id::{Digest, Timestamp};

/// How the journal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The newest streams, newest first, at most
    /// [`STREAMS_LISTED_MAX`](crate::bound::STREAMS_LISTED_MAX).
    pub streams: Vec<StreamEnd>,
    /// How many there are.
    pub streams_count: u64,
    /// How far what is asked of the journal is behind it.
    pub behind: Behind,
    /// Whether it is being verified now.
    pub verifying: bool,
    /// What came of the last time that this process did so.
    pub verified: Option<Verified>,
}

/// Where a stream ends. To be compared with what was written down elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    /// Its name.
    pub stream: String,
    /// Its last sequence.
    pub sequence: u64,
    /// The hash of its last record.
    pub hash: Digest,
    /// Whether its process ended it in good order.
    pub closed: bool,
}

/// How far what is asked of the journal is behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// By so many records.
    pub records: u64,
    /// And by so long: the age of the oldest of them, in microseconds.
    pub micros: u64,
}

/// The whole journal was read, and this was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// When it was begun.
    pub begun: Timestamp,
    /// When it was done.
    pub ended: Timestamp,
    /// How many records there were.
    pub records: u64,
    /// How many things are wrong; 0 if all is well.
    pub wrong: u64,
    /// What is wrong, for those who may see all tenants' records.
    pub findings: Vec<String>,
}
