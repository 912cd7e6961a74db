//! Fills the index: goes through the journal, batch by batch. How far it has come is in the same
//! transaction as what it found, so that every record is taken in once.

use super::ask::epoch_of;
use super::block::{Block, Row, block_of};
use super::header::{Header, Intent, session_in};
use super::profile;
use super::{drafts, file};
use crate::bound::{BATCH_MAX, LAST_BEHIND_MAX, SESSIONS_REMEMBERED_MAX};
use crate::place;
use crate::sqlite::StoreError;
use countersign_core::reading::Class;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// For how long counts are kept together, in minutes: a minute, an hour, a day.
pub(super) const GRAINS: [i64; 3] = [1, 60, DAY];
pub(super) const DAY: i64 = 1_440;
pub(super) const MINUTE_US: i64 = 60 * 1_000_000;

/// The index, and what is in it that the next record needs. After an error it is to be opened again: what
/// it remembers may be ahead of what is in the file.
#[derive(Debug)]
pub(super) struct Filler {
    index: Connection,
    file: Option<(u64, u64)>,
    upto: i64,
    memory: Memory,
}

#[derive(Debug, Default)]
struct Memory {
    block: Block,
    profiles: BTreeMap<String, Known>,
    sessions: BTreeMap<[u8; 32], u32>,
    under_way: BTreeMap<i64, Row>,
    /// The epochs of streams.
    streams: BTreeMap<String, i64>,
}

/// A profile's number, that of what it is counted by, what it says, and what is written of the place of its
/// last record.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: u32,
    group: u32,
    class: Option<Class>,
    last: i64,
}

/// A record, as far as the index takes notice of it.
struct Found<'a> {
    place: i64,
    at: i64,
    header: Header<'a>,
}

/// What one transaction changes besides.
#[derive(Default)]
struct Changes {
    /// How many calls, by grain, whether it is a whole profile, time and profile.
    tallies: BTreeMap<(i64, bool, i64, u32), u64>,
    begun: BTreeSet<i64>,
    ended: BTreeSet<i64>,
}

impl Filler {
    /// Opens the index, or makes it anew: then the second value is `true`.
    pub(super) fn open(path: &Path, journal: &Connection) -> Result<(Self, bool), StoreError> {
        let (index, anew) = file::open(path, journal)?;
        let upto = index.query_row("SELECT upto FROM state", [], |row| row.get(0))?;
        let memory = Memory::of(&index, upto)?;
        Ok((Self { index, file: file::identity(path), upto, memory }, anew))
    }

    /// Whether the file that is filled still has its name: it may be removed at any time.
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        self.file.is_some() && file::identity(path) == self.file
    }

    /// Takes the next records in. `true` if there may be more.
    pub(super) fn fill(&mut self, journal: &Connection) -> rusqlite::Result<bool> {
        let Self { index, upto, memory, .. } = self;
        let of_journal = journal.unchecked_transaction()?;
        let mut entries = of_journal.prepare_cached(
            "SELECT place, at, header, hash FROM entries WHERE place > ?1 ORDER BY place LIMIT ?2",
        )?;
        let mut rows = entries.query((*upto, BATCH_MAX))?;
        let Some(mut row) = rows.next()? else { return Ok(false) };
        let transaction = index.transaction()?;
        let mut changes = Changes::default();
        let mut taken = 0;
        let (last, hash) = loop {
            taken += 1;
            let (place, at, hash) = (row.get(0)?, row.get(1)?, row.get::<_, [u8; 32]>(3)?);
            let header = Header::read(row.get_ref(2)?.as_str().unwrap_or_default());
            memory.take((&transaction, journal), Found { place, at, header }, &mut changes)?;
            match rows.next()? {
                Some(next) => row = next,
                None => break (place, hash),
            }
        };
        store_block(&transaction, &memory.block)?;
        store(&transaction, changes, &memory.under_way)?;
        transaction
            .prepare_cached("UPDATE state SET upto = ?1, hash = ?2 WHERE one = 1")?
            .execute(params![last, hash])?;
        // A crash before this returns, or a power cut some time after it, leaves the index as it was,
        // with a place to go on from.
        transaction.commit()?;
        *upto = last;
        if memory.sessions.len() > SESSIONS_REMEMBERED_MAX {
            memory.sessions.clear();
        }
        Ok(taken >= BATCH_MAX)
    }
}

impl Memory {
    fn of(index: &Connection, upto: i64) -> rusqlite::Result<Self> {
        let number = block_of(upto);
        let rows: Option<Vec<u8>> = index
            .query_row("SELECT rows FROM blocks WHERE block = ?1", [number], |row| row.get(0))
            .optional()?;
        let profiles = known(index)?;
        let under_way = index
            .prepare("SELECT place, profile, session, at FROM under_way")?
            .query_map([], |row| {
                let (place, profile, session, at) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((place, Row { place, profile, session, calls: 1, at }))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let block = Block::stored(number, &rows.unwrap_or_default());
        Ok(Self { block, profiles, under_way, ..Self::default() })
    }

    fn take(
        &mut self,
        (index, journal): (&Connection, &Connection),
        Found { place, at, header }: Found<'_>,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        let known = self.profile(index, profile::of(&header), place)?;
        let profile = known.id;
        let session = match self.ended(journal, &header, changes)? {
            Some(intent) => intent.session,
            None if header.fields.principal.is_some() => self.session(index, journal, place)?,
            None => 0,
        };
        let calls = header.count.map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX));
        let row = Row { place, profile, session, calls, at };
        if self.block.number != block_of(place) {
            store_block(index, &self.block)?;
            self.block = Block::new(block_of(place));
        }
        self.block.push(row);
        match known.class {
            None => {}
            Some(Class::UnderWay) => {
                self.under_way.insert(place, row);
                changes.begun.insert(place);
            }
            Some(_) => changes.count(known, &row),
        }
        drafts::take((index, journal), (place, at), &header)
    }

    /// The intent that this is the outcome of, which is no longer under way. They are of one session.
    fn ended(
        &mut self,
        journal: &Connection,
        header: &Header<'_>,
        changes: &mut Changes,
    ) -> rusqlite::Result<Option<Row>> {
        let Some(Intent { stream, seq }) = &header.intent else { return Ok(None) };
        let epoch = match self.streams.get(&**stream) {
            Some(epoch) => Some(*epoch),
            None => epoch_of(journal, stream)?,
        };
        let Some(epoch) = epoch else { return Ok(None) };
        if !self.streams.contains_key(&**stream) {
            self.streams.insert(stream.clone().into_owned(), epoch);
        }
        let place = place::row(epoch, *seq);
        let intent = place.and_then(|place| self.under_way.remove(&place));
        if let Some(Row { place, .. }) = intent
            && !changes.begun.remove(&place)
        {
            changes.ended.insert(place);
        }
        Ok(intent)
    }

    fn profile(&mut self, index: &Connection, text: String, place: i64) -> rusqlite::Result<Known> {
        if let Some(known) = self.profiles.get_mut(&text) {
            if place.saturating_sub(known.last) > LAST_BEHIND_MAX {
                known.last = place;
                index
                    .prepare_cached("UPDATE profiles SET last = ?2 WHERE id = ?1")?
                    .execute((known.id, place))?;
            }
            return Ok(*known);
        }
        let id = index
            .prepare_cached(
                "INSERT INTO profiles (text, first, last) VALUES (?1, ?2, ?2) RETURNING id",
            )?
            .query_row(params![text, place], |row| row.get(0))?;
        let (group, class) = match profile::counted(&text) {
            Some((group, class)) if group != text => (self.profile(index, group, place)?.id, class),
            Some((_, class)) => (id, class),
            None => (id, None),
        };
        let known = Known { id, group, class, last: place };
        self.profiles.insert(text, known);
        Ok(known)
    }

    /// The number of the session that a record's body names; 0 if it names none.
    fn session(
        &mut self,
        index: &Connection,
        journal: &Connection,
        place: i64,
    ) -> rusqlite::Result<u32> {
        let bodies = place::body_rows(place);
        let mut principal = journal.prepare_cached(
            "SELECT body FROM bodies WHERE place >= ?1 AND place < ?2 AND field = 'principal'",
        )?;
        let mut rows = principal.query((bodies.start, bodies.end))?;
        let Some(row) = rows.next()? else { return Ok(0) };
        let Some(digest) = session_in(row.get_ref(0)?.as_bytes().unwrap_or_default()) else {
            return Ok(0);
        };
        if let Some(id) = self.sessions.get(&digest) {
            return Ok(*id);
        }
        index
            .prepare_cached("INSERT INTO sessions (digest) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([digest])?;
        let id = index
            .prepare_cached("SELECT id FROM sessions WHERE digest = ?1")?
            .query_row([digest], |row| row.get(0))?;
        self.sessions.insert(digest, id);
        Ok(id)
    }
}

impl Changes {
    fn count(&mut self, Known { id, group, .. }: Known, row: &Row) {
        let counted = GRAINS.map(|grain| (grain, false, group));
        for (grain, whole, profile) in counted.into_iter().chain([(DAY, true, id)]) {
            let at = row.at.div_euclid(grain.saturating_mul(MINUTE_US));
            let count = self.tallies.entry((grain, whole, at, profile)).or_default();
            *count = count.saturating_add(row.calls.into());
        }
    }
}

/// The profiles that the index knows.
fn known(index: &Connection) -> rusqlite::Result<BTreeMap<String, Known>> {
    let mut profiles = index.prepare("SELECT text, id, last FROM profiles")?;
    let rows = profiles.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let rows: BTreeMap<String, (u32, i64)> = rows.collect::<rusqlite::Result<_>>()?;
    let known = |(text, (id, last)): (&String, &(u32, i64))| {
        let (group, class) = profile::counted(text).unwrap_or_default();
        let group = rows.get(&group).map_or(*id, |(group, _)| *group);
        (text.clone(), Known { id: *id, group, class, last: *last })
    };
    Ok(rows.iter().map(known).collect())
}

fn store_block(index: &Connection, block: &Block) -> rusqlite::Result<()> {
    let Some(zone) = block.zone() else { return Ok(()) };
    index
        .prepare_cached(
            "INSERT INTO zones VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE
             SET at_min = ?2, at_max = ?3, profiles = ?4, sessions = ?5",
        )?
        .execute(params![
            block.number,
            zone.at_min,
            zone.at_max,
            zone.profiles(),
            zone.sessions()
        ])?;
    index
        .prepare_cached("INSERT INTO blocks VALUES (?1, ?2) ON CONFLICT DO UPDATE SET rows = ?2")?
        .execute(params![block.number, block.rows()])?;
    Ok(())
}

fn store(
    index: &Connection,
    changes: Changes,
    under_way: &BTreeMap<i64, Row>,
) -> rusqlite::Result<()> {
    let Changes { tallies, begun, ended } = changes;
    let mut tally = index.prepare_cached(
        "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
    )?;
    for ((grain, whole, at, profile), count) in tallies {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        tally.execute((grain, whole, at, profile, count))?;
    }
    let mut begin = index.prepare_cached("INSERT INTO under_way VALUES (?1, ?2, ?3, ?4)")?;
    for Row { place, profile, session, at, .. } in
        begun.iter().filter_map(|place| under_way.get(place))
    {
        begin.execute((place, profile, session, at))?;
    }
    let mut end = index.prepare_cached("DELETE FROM under_way WHERE place = ?1")?;
    for place in ended {
        end.execute([place])?;
    }
    Ok(())
}
