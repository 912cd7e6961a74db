//! Gives records their places in a stream.

use crate::counters::{self, Charges};
use countersign_core::chain::GENESIS;
use countersign_core::id::Digest;
use countersign_core::port::Entropy;
use countersign_core::record::{Body, Entry, Kind, Sealed};
use serde_json::Value;

/// Longest header that is stored, in bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of all bodies of one record.
pub(crate) const BODIES_BYTES_MAX: usize = 1024 * 1024;

/// The last record of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) hash: Digest,
}

/// A record in its place, ready to be stored byte for byte.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) kind: Kind,
    pub(crate) head: Head,
    /// The header as stored: canonical JSON.
    pub(crate) header: Vec<u8>,
    pub(crate) bodies: Vec<Body>,
    /// Stream and sequence of the intent that it is the outcome of.
    pub(crate) intent: Option<(String, u64)>,
}

/// What the member `intent` of an outcome's header says: `{stream, seq}`.
pub(crate) fn intent_of(intent: &Value) -> Option<(&str, u64)> {
    Some((intent.get("stream")?.as_str()?, intent.get("seq")?.as_u64()?))
}

/// A stream in the making: places records one after the other, and touches no storage.
#[derive(Debug)]
pub(crate) struct Placer<'a> {
    pub(crate) stream: &'a str,
    pub(crate) head: Option<Head>,
    pub(crate) entropy: &'a dyn Entropy,
}

impl Placer<'_> {
    /// Places a record after the head. On an error nothing has moved: the next record gets the
    /// place, so that the sequence has no gap.
    pub(crate) fn place(&mut self, entry: Entry) -> Result<Placed, String> {
        let kind = entry.kind();
        let (sequence, previous) = match self.head {
            Some(head) => (head.sequence.saturating_add(1), head.hash),
            None => (0, GENESIS),
        };
        let charges = Charges::of(entry.charges()).encode();
        let entry = entry.body(counters::FIELD, charges);
        let intent = entry.member("intent").filter(|_| kind == Kind::Outcome).and_then(intent_of);
        let intent = intent.map(|(stream, sequence)| (stream.to_owned(), sequence));
        let fill = |salts: &mut [u8]| self.entropy.fill(salts);
        let Sealed { header, hash, bodies } = entry.seal(self.stream, sequence, &previous, fill);
        if header.is_empty() {
            return Err("the header has no text".to_owned());
        }
        if header.len() > HEADER_BYTES_MAX {
            return Err(format!("the header is longer than {HEADER_BYTES_MAX} bytes"));
        }
        if bodies.iter().map(|body| body.bytes.len()).sum::<usize>() > BODIES_BYTES_MAX {
            return Err(format!("the bodies are longer than {BODIES_BYTES_MAX} bytes"));
        }
        let head = Head { sequence, hash };
        self.head = Some(head);
        Ok(Placed { kind, head, header, bodies, intent })
    }
}
