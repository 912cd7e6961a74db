//! Fills the index: goes through the journal, batch by batch. How far it has come is in the same
//! transaction as what it found, so that every record is taken in once.

use super::ask::epoch_of;
use super::block::{Block, Row, block_of};
use super::profile::{self, Profile};
use super::{drafts, file};
use crate::bound::{BATCH_MAX, SESSIONS_REMEMBERED_MAX};
use crate::place;
use crate::sqlite::StoreError;
use countersign_core::reading::Class;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// For how long counts are kept together, in minutes: a minute, an hour, a day.
pub(super) const GRAINS: [i64; 3] = [1, 60, 1_440];
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

#[derive(Debug, Clone, Copy)]
struct Known {
    id: u32,
    class: Option<Class>,
}

/// A record, as far as the index takes notice of it.
struct Found {
    place: i64,
    at: i64,
    header: Map<String, Value>,
    session: Option<[u8; 32]>,
}

/// What one transaction changes besides.
#[derive(Default)]
struct Changes {
    /// The last place of each profile.
    last: BTreeMap<u32, i64>,
    /// How many calls, by grain, time and profile.
    tallies: BTreeMap<(i64, i64, u32), u64>,
    begun: BTreeSet<i64>,
    ended: BTreeSet<i64>,
}

impl Filler {
    /// Opens the index, or makes it anew.
    pub(super) fn open(path: &Path, journal: &Connection) -> Result<Self, StoreError> {
        let index = file::open(path, journal)?;
        let upto = index.query_row("SELECT upto FROM state", [], |row| row.get(0))?;
        let memory = Memory::of(&index, upto)?;
        Ok(Self { index, file: file::identity(path), upto, memory })
    }

    /// Whether the file that is filled still has its name: it may be removed at any time.
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        self.file.is_some() && file::identity(path) == self.file
    }

    /// Takes the next records in. `true` if there may be more.
    pub(super) fn fill(&mut self, journal: &Connection) -> rusqlite::Result<bool> {
        let Self { index, upto, memory, .. } = self;
        // What is read of the journal is let go of before anything is written: the journal's log can be
        // copied meanwhile.
        let (found, last) = read(journal, *upto)?;
        let Some((last, hash)) = last else { return Ok(false) };
        let full = found.len() >= usize::try_from(BATCH_MAX).unwrap_or(usize::MAX);
        let transaction = index.transaction()?;
        let mut changes = Changes::default();
        for record in found {
            memory.take((&transaction, journal), record, &mut changes)?;
        }
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
        Ok(full)
    }
}

impl Memory {
    fn of(index: &Connection, upto: i64) -> rusqlite::Result<Self> {
        let number = block_of(upto);
        let rows: Option<Vec<u8>> = index
            .query_row("SELECT rows FROM blocks WHERE block = ?1", [number], |row| row.get(0))
            .optional()?;
        let profiles = index
            .prepare("SELECT text, id FROM profiles")?
            .query_map([], |row| {
                let text: String = row.get(0)?;
                let class = Profile::read(&text).and_then(|profile| profile.class());
                Ok((text, Known { id: row.get(1)?, class }))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let under_way = index
            .prepare("SELECT place, profile, session, at FROM under_way")?
            .query_map([], |row| {
                let (place, profile, session, at) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((place, Row { place, profile, session, at }))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let block = Block::stored(number, &rows.unwrap_or_default());
        Ok(Self { block, profiles, under_way, ..Self::default() })
    }

    fn take(
        &mut self,
        (index, journal): (&Connection, &Connection),
        Found { place, at, header, session }: Found,
        changes: &mut Changes,
    ) -> rusqlite::Result<()> {
        let Known { id: profile, class } = self.profile(index, &header, place)?;
        let mut session = session.map_or(Ok(0), |digest| self.session(index, digest))?;
        let intent = self.intent_of(journal, &header)?;
        if let Some(intent) = intent.and_then(|intent| self.under_way.remove(&intent)) {
            if !changes.begun.remove(&intent.place) {
                changes.ended.insert(intent.place);
            }
            // What recovery writes names no session.
            if session == 0 {
                session = intent.session;
            }
        }
        let row = Row { place, profile, session, at };
        if self.block.number != block_of(place) {
            store_block(index, &self.block)?;
            self.block = Block::new(block_of(place));
        }
        self.block.push(row);
        changes.last.insert(profile, place);
        match class {
            None => {}
            Some(Class::UnderWay) => {
                self.under_way.insert(place, row);
                changes.begun.insert(place);
            }
            Some(_) => changes.count(profile, at, &header),
        }
        drafts::take(index, (place, at), &header)
    }

    fn profile(
        &mut self,
        index: &Connection,
        header: &Map<String, Value>,
        place: i64,
    ) -> rusqlite::Result<Known> {
        let text = profile::written(header);
        if let Some(known) = self.profiles.get(&text) {
            return Ok(*known);
        }
        let class = Profile::read(&text).and_then(|profile| profile.class());
        let id = index
            .prepare_cached(
                "INSERT INTO profiles (text, first, last) VALUES (?1, ?2, ?2) RETURNING id",
            )?
            .query_row(params![text, place], |row| row.get(0))?;
        let known = Known { id, class };
        self.profiles.insert(text, known);
        Ok(known)
    }

    fn session(&mut self, index: &Connection, digest: [u8; 32]) -> rusqlite::Result<u32> {
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

    /// The place of the intent that a header says it is the outcome of.
    fn intent_of(
        &mut self,
        journal: &Connection,
        header: &Map<String, Value>,
    ) -> rusqlite::Result<Option<i64>> {
        let intent = header.get("intent").and_then(place::intent_of);
        let Some((stream, sequence)) = intent else { return Ok(None) };
        if let Some(epoch) = self.streams.get(stream) {
            return Ok(place::row(*epoch, sequence));
        }
        let epoch = epoch_of(journal, stream)?;
        if let Some(epoch) = epoch {
            self.streams.insert(stream.to_owned(), epoch);
        }
        Ok(epoch.and_then(|epoch| place::row(epoch, sequence)))
    }
}

impl Changes {
    fn count(&mut self, profile: u32, at: i64, header: &Map<String, Value>) {
        let calls = header.get("count").and_then(Value::as_u64).unwrap_or(1);
        for grain in GRAINS {
            let at = at.div_euclid(grain.saturating_mul(MINUTE_US));
            let count = self.tallies.entry((grain, at, profile)).or_default();
            *count = count.saturating_add(calls);
        }
    }
}

/// The records behind a place, and the place and hash of the last of them.
type Batch = (Vec<Found>, Option<(i64, Vec<u8>)>);

fn read(journal: &Connection, upto: i64) -> rusqlite::Result<Batch> {
    let transaction = journal.unchecked_transaction()?;
    let mut entries = transaction.prepare_cached(
        "SELECT place, at, header, hash FROM entries WHERE place > ?1 ORDER BY place LIMIT ?2",
    )?;
    let mut principals = transaction.prepare_cached(
        "SELECT body FROM bodies WHERE place >= ?1 AND place < ?2 AND field = 'principal' LIMIT 1",
    )?;
    let mut rows = entries.query((upto, BATCH_MAX))?;
    let (mut found, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let place = row.get(0)?;
        let bytes = row.get_ref(2)?.as_bytes().unwrap_or_default();
        // What cannot be read has a profile of its own, and is met by whoever looks at everything.
        let header: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
        let session = match header.get("fields").and_then(|fields| fields.get("principal")) {
            Some(_) => {
                let bodies = place::body_rows(place);
                let mut body = principals.query((bodies.start, bodies.end))?;
                body.next()?.and_then(|row| session_in(row.get_ref(0).ok()?.as_bytes().ok()?))
            }
            None => None,
        };
        last = Some((place, row.get(3)?));
        found.push(Found { place, at: row.get(1)?, header, session });
    }
    Ok((found, last))
}

/// The session that a `principal` body names.
fn session_in(body: &[u8]) -> Option<[u8; 32]> {
    let principal: Value = serde_json::from_slice(body).ok()?;
    let mut digest = [0; 32];
    hex::decode_to_slice(principal.get("session")?.as_str()?, &mut digest).ok()?;
    Some(digest)
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
    let Changes { last, tallies, begun, ended } = changes;
    let mut seen = index.prepare_cached("UPDATE profiles SET last = ?2 WHERE id = ?1")?;
    for (profile, place) in last {
        seen.execute((profile, place))?;
    }
    let mut tally = index.prepare_cached(
        "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
    )?;
    for ((grain, at, profile), count) in tallies {
        tally.execute((grain, at, profile, i64::try_from(count).unwrap_or(i64::MAX)))?;
    }
    let mut begin = index.prepare_cached("INSERT INTO under_way VALUES (?1, ?2, ?3, ?4)")?;
    for Row { place, profile, session, at } in begun.iter().filter_map(|place| under_way.get(place))
    {
        begin.execute((place, profile, session, at))?;
    }
    let mut end = index.prepare_cached("DELETE FROM under_way WHERE place = ?1")?;
    for place in ended {
        end.execute([place])?;
    }
    Ok(())
}
