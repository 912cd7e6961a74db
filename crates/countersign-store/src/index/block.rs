//! Blocks: 1,024 places of the journal each, with what a search has to know of every record in them.

use crate::place::SEQUENCE_BITS;
use std::collections::BTreeSet;

/// How many bits of a place are the place in its block.
const BLOCK_BITS: u32 = 10;
const PLACES: i64 = 1 << BLOCK_BITS;
const NUMBER_BYTES: usize = 4;
/// Profile, session, calls, and the time in two.
const ROW_WORDS: usize = 5;
const ROW_BYTES: usize = ROW_WORDS * NUMBER_BYTES;

// A block is of one stream.
const _: () = assert!(BLOCK_BITS < SEQUENCE_BITS);

/// What a search has to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) place: i64,
    pub(super) profile: u32,
    pub(super) session: u32,
    /// How many calls it stands for.
    pub(super) calls: u32,
    pub(super) at: i64,
}

/// The block that a place is in.
pub(super) const fn block_of(place: i64) -> i64 {
    place >> BLOCK_BITS
}

/// The first place behind a block.
pub(super) const fn end(block: i64) -> i64 {
    block.saturating_add(1) << BLOCK_BITS
}

/// The block that is being filled.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub(super) number: i64,
    rows: Vec<u8>,
    zone: Option<Zone>,
}

/// What there is in a block.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub(super) at_min: i64,
    pub(super) at_max: i64,
    profiles: BTreeSet<u32>,
    sessions: BTreeSet<u32>,
}

impl Block {
    pub(super) fn new(number: i64) -> Self {
        Self { number, ..Self::default() }
    }

    /// As it was stored.
    pub(super) fn stored(number: i64, rows: &[u8]) -> Self {
        let mut block = Self::new(number);
        let rows: Vec<_> = self::rows(number, rows).collect();
        rows.into_iter().for_each(|row| block.push(row));
        block
    }

    /// Adds a record behind the others. Places without one stay empty.
    pub(super) fn push(&mut self, row: Row) {
        let Row { place, profile, session, calls, at } = row;
        let within = usize::try_from(place & (PLACES - 1)).unwrap_or_default();
        self.rows.resize(within.saturating_mul(ROW_BYTES).max(self.rows.len()), 0);
        for number in [profile, session, calls] {
            self.rows.extend_from_slice(&number.to_le_bytes());
        }
        self.rows.extend_from_slice(&at.to_le_bytes());
        let zone = self.zone.get_or_insert_with(|| Zone {
            at_min: at,
            at_max: at,
            profiles: BTreeSet::new(),
            sessions: BTreeSet::new(),
        });
        zone.at_min = zone.at_min.min(at);
        zone.at_max = zone.at_max.max(at);
        zone.profiles.insert(profile);
        if session != 0 {
            zone.sessions.insert(session);
        }
    }

    pub(super) fn rows(&self) -> &[u8] {
        &self.rows
    }

    pub(super) const fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }
}

impl Zone {
    pub(super) fn profiles(&self) -> Vec<u8> {
        self.profiles.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
    pub(super) fn sessions(&self) -> Vec<u8> {
        self.sessions.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

/// The numbers in a zone's column.
pub(super) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (numbers, _) = bytes.as_chunks::<NUMBER_BYTES>();
    numbers.iter().map(|bytes| u32::from_le_bytes(*bytes))
}

/// A block's records, newest last.
pub(super) fn rows(block: i64, bytes: &[u8]) -> impl DoubleEndedIterator<Item = Row> {
    let (words, _) = bytes.as_chunks::<NUMBER_BYTES>();
    let (rows, _) = words.as_chunks::<ROW_WORDS>();
    let first = block << BLOCK_BITS;
    rows.iter().enumerate().filter_map(move |(within, &[profile, session, calls, low, high])| {
        let [profile, session, calls] = [profile, session, calls].map(u32::from_le_bytes);
        let place = first.saturating_add(i64::try_from(within).ok()?);
        let at =
            i64::from(i32::from_le_bytes(high)) << u32::BITS | i64::from(u32::from_le_bytes(low));
        (profile != 0).then_some(Row { place, profile, session, calls, at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_as_it_was_with_its_gaps() {
        let row = |within: i64, at| Row {
            place: 7 << BLOCK_BITS | within,
            profile: 3,
            session: 0,
            calls: 2,
            at,
        };
        let given = [row(1, -5), row(2, i64::MIN), row(900, 1 << 60), row(1_023, i64::MAX)];
        let mut block = Block::new(7);
        given.into_iter().for_each(|row| block.push(row));
        assert_eq!(rows(7, block.rows()).collect::<Vec<_>>(), given);
        let again = Block::stored(7, block.rows());
        assert_eq!(again.rows(), block.rows());
        let zone = again.zone().unwrap();
        assert_eq!((zone.at_min, zone.at_max), (i64::MIN, i64::MAX));
        assert_eq!(numbers(&zone.profiles()).collect::<Vec<_>>(), [3]);
        assert_eq!(numbers(&zone.sessions()).count(), 0);
        assert_eq!((block_of(given[3].place), end(7)), (7, 8 << BLOCK_BITS));
    }
}
