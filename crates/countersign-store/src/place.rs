//! Gives records their places in a stream.

use crate::counters::{self, Charges};
use countersign_core::chain::GENESIS;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::Entropy;
use countersign_core::record::{Body, Entry, Kind, Sealed};
use serde_json::Value;
use std::ops::Range;

/// Longest header that is stored, in bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of all bodies of one record.
pub(crate) const BODIES_BYTES_MAX: usize = 1024 * 1024;

/// How many bits of a row's place are the sequence. At sixteen thousand records a second they last two
/// years.
pub(crate) const SEQUENCE_BITS: u32 = 40;
/// How many bits of a body's place tell it from the others of its record.
pub(crate) const BODY_BITS: u32 = 4;
/// What is left of them is the epoch, which is lower.
const EPOCH_MAX: i64 = 1 << (i64::BITS - 1 - SEQUENCE_BITS - BODY_BITS);
/// Most bodies of a record.
const BODIES_MAX: usize = 1 << BODY_BITS;

/// The places of a stream's records, as rows have them. What no stream can have has none.
pub(crate) fn rows(epoch: i64) -> Range<i64> {
    if !(0..EPOCH_MAX).contains(&epoch) {
        return 0..0;
    }
    let first = |epoch: i64| epoch.saturating_mul(1 << SEQUENCE_BITS);
    first(epoch)..first(epoch.saturating_add(1))
}

/// The place of one record, `None` if it is none.
pub(crate) fn row(epoch: i64, sequence: u64) -> Option<i64> {
    let rows = rows(epoch);
    let row = rows.start.checked_add_unsigned(sequence)?;
    rows.contains(&row).then_some(row)
}

/// The epoch and the sequence of a record's place.
pub(crate) const fn of_row(row: i64) -> (i64, i64) {
    let epoch = row >> SEQUENCE_BITS;
    (epoch, row.wrapping_sub(epoch << SEQUENCE_BITS))
}

/// The places of the bodies of a record that has this place.
pub(crate) fn body_rows(row: i64) -> Range<i64> {
    let first = row.saturating_mul(1 << BODY_BITS);
    first..first.saturating_add(1 << BODY_BITS)
}

/// The last record of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) hash: Digest,
}

/// A record in its place, ready to be stored byte for byte.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Its place among all records of the journal.
    pub(crate) row: i64,
    pub(crate) kind: Kind,
    pub(crate) at: Timestamp,
    pub(crate) call: Option<String>,
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
    pub(crate) epoch: i64,
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
        let row = row(self.epoch, sequence).ok_or("the stream has no place left for a record")?;
        let at = entry.at();
        let call = entry.member("call").and_then(Value::as_str).map(str::to_owned);
        let charges = Charges::of(entry.charges()).encode();
        let returned = Charges::of(entry.returned()).encode();
        let entry = entry.body(counters::FIELD, charges).body(counters::RETURNED, returned);
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
        if bodies.len() > BODIES_MAX {
            return Err(format!("there are more than {BODIES_MAX} bodies"));
        }
        if bodies.iter().map(|body| body.bytes.len()).sum::<usize>() > BODIES_BYTES_MAX {
            return Err(format!("the bodies are longer than {BODIES_BYTES_MAX} bytes"));
        }
        let head = Head { sequence, hash };
        self.head = Some(head);
        Ok(Placed { row, kind, at, call, head, header, bodies, intent })
    }
}
