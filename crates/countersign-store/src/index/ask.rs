//! Questions: the index says where to look, and what is shown is read there, and judged once more before
//! it is.

use super::block::{self, block_of};
use super::fill::{GRAINS, MINUTE_US};
use super::profile::Profile;
use super::{file, fill};
use crate::answer::{fits, intent_of, is_one_of, limit, session_call};
use crate::audit::{self, AuditError};
use crate::bound::{
    BLOCKS_READ_MAX, QUESTION_MAX, STEPS_PER_LOOK, UNDER_WAY_MAX, ZONES_LOOKED_AT_MAX,
};
use crate::place;
use countersign_core::bound::{RECORDS_OF_CALL_MAX, STREAMS_LISTED_MAX};
use countersign_core::id::{Digest, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::Clock;
use countersign_core::reading::{
    Behind, Calls, Class, Line, News, Page, Position, Record, Search, SessionCall, Span, StreamEnd,
    Tally, session,
};
use countersign_core::record::Kind;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Blocks from one down, with what there is in them.
pub(super) const ZONES: &str = "SELECT block, at_min, at_max, profiles, sessions FROM zones
     WHERE block <= ?1 AND block >= ?2 ORDER BY block DESC";
pub(super) const BLOCK: &str = "SELECT rows FROM blocks WHERE block = ?1";
pub(super) const PROFILES: &str = "SELECT id, text FROM profiles WHERE id > ?1 ORDER BY id";
pub(super) const EXTENT: &str = "SELECT first, last FROM profiles WHERE id = ?1";
pub(super) const SESSION: &str = "SELECT id FROM sessions WHERE digest = ?1";
pub(super) const UNDER_WAY: &str = "SELECT place, profile, session, at FROM under_way
     WHERE place < ?1 AND place > ?2 ORDER BY place DESC LIMIT ?3";
pub(super) const TALLIES: &str =
    "SELECT at, profile, count FROM tallies WHERE grain = ?1 AND at >= ?2 AND at < ?3";
pub(super) const OF_DRAFT: &str =
    "SELECT place FROM of_drafts WHERE draft = ?1 AND place < ?2 ORDER BY place DESC";
pub(super) const UPTO: &str = "SELECT upto FROM state WHERE one = 1";

/// The same of the journal.
pub(super) const OF_CALL: &str =
    "SELECT place FROM entries WHERE call = ?1 AND place < ?2 ORDER BY place DESC";
pub(super) const NEXT: &str = "SELECT at FROM entries WHERE place > ?1 ORDER BY place LIMIT 1";
pub(super) const HEADS: &str = "SELECT epoch, head_seq FROM streams WHERE epoch >= ?1";
pub(super) const STREAMS: &str =
    "SELECT epoch, stream, head_seq FROM streams ORDER BY epoch DESC LIMIT ?1";
pub(super) const LAST: &str = "SELECT hash, header FROM entries WHERE place = ?1";

/// Reads the journal and the index of it.
#[derive(Debug)]
pub(super) struct Desk {
    journal: Connection,
    pub(super) index: Connection,
    file: Option<(u64, u64)>,
    /// By their numbers, from 1.
    profiles: BTreeMap<u32, Profile>,
}

/// Which rows are looked for.
struct Wanted<'a> {
    profiles: BTreeMap<u32, &'a Profile>,
    /// Of this session alone.
    session: Option<u32>,
    since: i64,
    until: i64,
    /// Between these places, neither of them included.
    after: i64,
    before: i64,
}

impl Desk {
    pub(super) fn open(journal: &Path, index: &Path) -> Result<Self, AuditError> {
        let file = file::identity(index);
        let journal = audit::open(journal)?;
        let index = file::read_only(index)?;
        Ok(Self { journal, index, file, profiles: BTreeMap::new() })
    }

    /// Whether it reads the index that is there now.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        self.file.is_some() && self.file == file::identity(path)
    }

    /// Has whatever is asked from now on stop when it takes too long.
    pub(super) fn begin(&mut self, clock: &Arc<dyn Clock>) -> Result<(), AuditError> {
        let begun = clock.now();
        for connection in [&mut self.journal, &mut self.index] {
            let clock = Arc::clone(clock);
            let over =
                move || u128::from(clock.now().micros_since(begun)) >= QUESTION_MAX.as_micros();
            connection.progress_handler(STEPS_PER_LOOK, Some(over))?;
        }
        let known = self.profiles.last_key_value().map_or(0, |(id, _)| *id);
        let mut profiles = self.index.prepare_cached(PROFILES)?;
        let mut rows = profiles.query([known])?;
        while let Some(row) = rows.next()? {
            if let Some(profile) = Profile::read(row.get_ref(1)?.as_str().unwrap_or_default()) {
                self.profiles.insert(row.get(0)?, profile);
            }
        }
        Ok(())
    }

    /// The record at a place.
    pub(super) fn record(&self, place: i64) -> Result<Option<Record>, AuditError> {
        audit::at(&self.journal, place)
    }

    fn those(
        &self,
        which: impl Fn(&Profile) -> bool,
        tenants: &Tenants,
    ) -> BTreeMap<u32, &Profile> {
        let fitting = |(_, profile): &(&u32, &Profile)| profile.seen_by(tenants) && which(profile);
        self.profiles.iter().filter(fitting).map(|(id, profile)| (*id, profile)).collect()
    }

    fn session(&self, digest: &Digest) -> Result<Option<u32>, AuditError> {
        let mut session = self.index.prepare_cached(SESSION)?;
        Ok(session.query_row([digest.as_bytes()], |row| row.get(0)).optional()?)
    }

    // ── searches ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn records(
        &self,
        which: &Search,
        tenants: &Tenants,
    ) -> Result<Page<(Position, Record)>, AuditError> {
        let before = which.before.map_or(i64::MAX, Position::number);
        let most = limit(which.limit);
        let mut page = Page { items: Vec::new(), next: None };
        let mut show = |place: i64| -> Result<ControlFlow<()>, AuditError> {
            if page.items.len() >= most {
                page.next = page.items.last().map(|(position, _)| *position);
                return Ok(ControlFlow::Break(()));
            }
            let record = self
                .record(place)?
                .filter(|record| tenants.see(record.text("tenant")) && fits(which, record));
            if let Some(record) = record
                && self.is_of_session(which.session.as_ref(), &record)?
            {
                page.items.push((Position::from_number(place), record));
            }
            Ok(ControlFlow::Continue(()))
        };
        if let Some(call) = &which.call {
            each(&self.journal, OF_CALL, (call, before), &mut show)?;
            return Ok(page);
        }
        if let Some(draft) = &which.draft {
            each(&self.index, OF_DRAFT, (draft, before), &mut show)?;
            return Ok(page);
        }
        let session = which.session.map(|digest| self.session(&digest)).transpose()?;
        if session == Some(None) {
            return Ok(page);
        }
        let wanted = Wanted {
            profiles: self.those(|profile| profile.fits(which), tenants),
            session: session.flatten(),
            since: which.since.map_or(i64::MIN, Timestamp::micros),
            until: which.until.map_or(i64::MAX, Timestamp::micros),
            after: -1,
            before,
        };
        let stopped = self.walk(&wanted, |row| show(row.place))?;
        page.next = page.next.or(stopped);
        Ok(page)
    }

    /// Whether a record is of this session, as its own body says, or that of the intent it is the outcome
    /// of. Of one whose body was erased nobody can say.
    fn is_of_session(&self, asked: Option<&Digest>, record: &Record) -> Result<bool, AuditError> {
        let Some(asked) = asked else { return Ok(true) };
        if record.header.get("fields").is_some_and(|fields| fields.get("principal").is_some()) {
            return Ok(session(record).as_ref() == Some(asked));
        }
        let intent = self.intent_of(record)?;
        Ok(intent.and_then(|intent| session(&intent)).as_ref() == Some(asked))
    }

    fn intent_of(&self, record: &Record) -> Result<Option<Record>, AuditError> {
        let Some((stream, sequence)) = intent_of(record) else { return Ok(None) };
        let epoch = fill::epoch_of(&self.journal, stream)?;
        match epoch.and_then(|epoch| place::row(epoch, sequence)) {
            Some(place) => self.record(place),
            None => Ok(None),
        }
    }

    /// Goes through the rows that are looked for, newest first, until `visit` has enough. Where it
    /// stopped before the end because one question looks only so far.
    fn walk(
        &self,
        wanted: &Wanted<'_>,
        mut visit: impl FnMut(block::Row) -> Result<ControlFlow<()>, AuditError>,
    ) -> Result<Option<Position>, AuditError> {
        let Some((first, last)) = self.extent(wanted)? else { return Ok(None) };
        let mut zones = self.index.prepare_cached(ZONES)?;
        let mut block_rows = self.index.prepare_cached(BLOCK)?;
        let mut rows = zones.query((block_of(last), block_of(first)))?;
        let (mut looked_at, mut gone_through) = (0, 0);
        while let Some(zone) = rows.next()? {
            let block: i64 = zone.get(0)?;
            looked_at += 1;
            if looked_at > ZONES_LOOKED_AT_MAX || gone_through >= BLOCKS_READ_MAX {
                return Ok(Some(Position::from_number(block::end(block))));
            }
            if !wanted.in_zone(zone)? {
                continue;
            }
            gone_through += 1;
            let bytes: Vec<u8> = block_rows.query_row([block], |row| row.get(0))?;
            for row in block::rows(block, &bytes).rev().filter(|row| wanted.is(row)) {
                if visit(row)?.is_break() {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// The places between which there are rows that are looked for.
    fn extent(&self, wanted: &Wanted<'_>) -> Result<Option<(i64, i64)>, AuditError> {
        let mut extent = self.index.prepare_cached(EXTENT)?;
        let mut found: Option<(i64, i64)> = None;
        for id in wanted.profiles.keys() {
            let (first, last) = extent.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found = Some(found.map_or((first, last), |(f, l)| (first.min(f), last.max(l))));
        }
        Ok(found.map(|(first, last)| {
            let (after, before) = (wanted.after.saturating_add(1), wanted.before.saturating_sub(1));
            (first.max(after), last.min(before))
        }))
    }

    // ── calls ───────────────────────────────────────────────────────────────────────────────────

    pub(super) fn calls(&self, which: &Calls, tenants: &Tenants) -> Result<Page<Line>, AuditError> {
        let before = which.before.map_or(i64::MAX, Position::number);
        let wanted = self.wanted(which, tenants, (-1, before));
        let most = limit(which.limit);
        let mut page = Page { items: Vec::new(), next: None };
        let stopped = self.lines(&wanted, |row| {
            if page.items.len() >= most {
                page.next = page.items.last().map(|line: &Line| line.position);
                return Ok(ControlFlow::Break(()));
            }
            page.items.extend(self.line(row.place, which, tenants)?);
            Ok(ControlFlow::Continue(()))
        })?;
        page.next = page.next.or(stopped);
        Ok(page)
    }

    pub(super) fn calls_after(
        &self,
        position: Position,
        which: &Calls,
        tenants: &Tenants,
    ) -> Result<News, AuditError> {
        let upto: i64 = self.index.prepare_cached(UPTO)?.query_row([], |row| row.get(0))?;
        let wanted = self.wanted(which, tenants, (position.number(), upto.saturating_add(1)));
        let most = limit(which.limit);
        let (mut lines, mut more) = (Vec::new(), 0_u64);
        self.lines(&wanted, |row| {
            if lines.len() < most {
                lines.extend(self.line(row.place, which, tenants)?);
            } else {
                more = more.saturating_add(1);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let position = position.max(Position::from_number(upto));
        Ok(News { lines, more, position })
    }

    fn wanted(&self, which: &Calls, tenants: &Tenants, (after, before): (i64, i64)) -> Wanted<'_> {
        Wanted {
            profiles: self.those(|profile| profile.is_one_of(which), tenants),
            session: None,
            since: which.since.map_or(i64::MIN, Timestamp::micros),
            until: which.until.map_or(i64::MAX, Timestamp::micros),
            after,
            before,
        }
    }

    fn line(
        &self,
        place: i64,
        which: &Calls,
        tenants: &Tenants,
    ) -> Result<Option<Line>, AuditError> {
        let record = self.record(place)?.filter(|record| tenants.see(record.text("tenant")));
        let line = record.and_then(|record| Line::of(Position::from_number(place), &record));
        Ok(line.filter(|line| is_one_of(which, line)))
    }

    /// Goes through the rows that are looked for and say what became of calls, and through calls under
    /// way in their places.
    fn lines(
        &self,
        wanted: &Wanted<'_>,
        mut visit: impl FnMut(block::Row) -> Result<ControlFlow<()>, AuditError>,
    ) -> Result<Option<Position>, AuditError> {
        let mut under_way = self.under_way(wanted)?.into_iter().peekable();
        let ended = |(_, profile): &(&u32, &&Profile)| profile.class() != Some(Class::UnderWay);
        let profiles = wanted.profiles.iter().filter(ended).map(|(id, profile)| (*id, *profile));
        let wanted = &Wanted { profiles: profiles.collect(), ..*wanted };
        let mut enough = false;
        let stopped = self.walk(wanted, |row| {
            while let Some(later) = under_way.next_if(|later| later.place > row.place) {
                if visit(later)?.is_break() {
                    enough = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let next = visit(row)?;
            enough = next.is_break();
            Ok(next)
        })?;
        let left = under_way.filter(|row| stopped.is_none_or(|at| row.place >= at.number()));
        for row in left {
            if enough || visit(row)?.is_break() {
                return Ok(None);
            }
        }
        Ok(stopped)
    }

    fn under_way(&self, wanted: &Wanted<'_>) -> Result<Vec<block::Row>, AuditError> {
        let mut under_way = self.index.prepare_cached(UNDER_WAY)?;
        let rows = under_way.query_map((wanted.before, wanted.after, UNDER_WAY_MAX), |row| {
            let (place, profile, session, at) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(block::Row { place, profile, session, at })
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(rows.into_iter().filter(|row| wanted.is(row)).collect())
    }

    pub(super) fn of_call(
        &self,
        call: &str,
        tenants: &Tenants,
    ) -> Result<Vec<(Position, Record)>, AuditError> {
        let mut records = Vec::new();
        each(&self.journal, OF_CALL, (call, i64::MAX), &mut |place| {
            if records.len() >= usize::try_from(RECORDS_OF_CALL_MAX).unwrap_or(usize::MAX) {
                return Ok(ControlFlow::Break(()));
            }
            let record = self.record(place)?.filter(|record| tenants.see(record.text("tenant")));
            records.extend(record.map(|record| (Position::from_number(place), record)));
            Ok(ControlFlow::Continue(()))
        })?;
        records.reverse();
        Ok(records)
    }

    pub(super) fn of_session(
        &self,
        digest: &Digest,
        before: Option<Position>,
        tenants: &Tenants,
    ) -> Result<Page<SessionCall>, AuditError> {
        let mut page = Page { items: Vec::new(), next: None };
        let Some(session) = self.session(digest)? else { return Ok(page) };
        let any = Calls::default();
        let before = before.map_or(i64::MAX, Position::number);
        let wanted = Wanted { session: Some(session), ..self.wanted(&any, tenants, (-1, before)) };
        let stopped = self.lines(&wanted, |row| {
            if page.items.len() >= limit(None) {
                page.next = page.items.last().map(|call: &SessionCall| call.line.position);
                return Ok(ControlFlow::Break(()));
            }
            page.items.extend(self.session_call(row.place, digest, tenants)?);
            Ok(ControlFlow::Continue(()))
        })?;
        page.next = page.next.or(stopped);
        Ok(page)
    }

    fn session_call(
        &self,
        place: i64,
        digest: &Digest,
        tenants: &Tenants,
    ) -> Result<Option<SessionCall>, AuditError> {
        let record = self.record(place)?.filter(|record| tenants.see(record.text("tenant")));
        let Some(record) = record else { return Ok(None) };
        let Some(line) = Line::of(Position::from_number(place), &record) else { return Ok(None) };
        if !self.is_of_session(Some(digest), &record)? {
            return Ok(None);
        }
        let intent = self.intent_of(&record)?;
        Ok(Some(session_call(line, &record, intent.as_ref().unwrap_or(&record))))
    }

    // ── numbers ─────────────────────────────────────────────────────────────────────────────────

    pub(super) fn tallies(
        &self,
        span: Span,
        which: &Calls,
        tenants: &Tenants,
    ) -> Result<Vec<Tally>, AuditError> {
        let profiles = self.those(|profile| profile.is_one_of(which), tenants);
        let mut tallies: Vec<_> = span.steps().into_iter().map(Tally::empty).collect();
        let step = span.step_minutes();
        let fits = |grain: &&i64| step.checked_rem(**grain) == Some(0);
        let grain = GRAINS.iter().rev().find(fits).copied().unwrap_or(1);
        let of = grain.saturating_mul(MINUTE_US);
        let (since, until) = (span.since().micros(), span.until().micros());
        let mut rows = self.index.prepare_cached(TALLIES)?;
        let mut rows = rows.query((grain, since.div_euclid(of), until.div_euclid(of)))?;
        while let Some(row) = rows.next()? {
            let Some(profile) = profiles.get(&row.get(1)?) else { continue };
            let at = Timestamp::from_micros(row.get::<_, i64>(0)?.saturating_mul(of));
            let tally = span.step_of(at).and_then(|step| tallies.get_mut(step));
            if let (Some(tally), Some(class)) = (tally, profile.class()) {
                let count = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
                tally.count(class, profile.code(), count);
            }
        }
        Ok(tallies)
    }

    pub(super) fn last_seen(
        &self,
        agent: &str,
        tenants: &Tenants,
    ) -> Result<Option<Timestamp>, AuditError> {
        let profiles = self.those(|profile| profile.is_call_of(agent), tenants);
        let wanted = Wanted {
            profiles,
            session: None,
            since: i64::MIN,
            until: i64::MAX,
            after: -1,
            before: i64::MAX,
        };
        let Some((_, last)) = self.extent(&wanted)? else { return Ok(None) };
        let record = self.record(last)?.filter(|record| {
            record.text("agent") == Some(agent) && tenants.see(record.text("tenant"))
        });
        Ok(record.map(|record| crate::answer::last_at(&record)))
    }

    // ── the journal itself ──────────────────────────────────────────────────────────────────────

    pub(super) fn behind(&self, now: Timestamp) -> Result<Behind, AuditError> {
        let upto: i64 = self.index.prepare_cached(UPTO)?.query_row([], |row| row.get(0))?;
        behind(&self.journal, upto, now)
    }

    pub(super) fn streams(&self) -> Result<(Vec<StreamEnd>, u64), AuditError> {
        streams(&self.journal)
    }
}

/// How far a reader that has come to a place is behind the journal.
pub(super) fn behind(
    journal: &Connection,
    upto: i64,
    now: Timestamp,
) -> Result<Behind, AuditError> {
    let (epoch, sequence) = place::of_row(upto.max(0));
    let done = if upto < 0 { -1 } else { sequence };
    let mut heads = journal.prepare_cached(HEADS)?;
    let mut rows = heads.query([epoch])?;
    let mut records = 0_u64;
    while let Some(row) = rows.next()? {
        let (of, head): (i64, i64) = (row.get(0)?, row.get(1)?);
        let from = if of == epoch { done } else { -1 };
        let left = u64::try_from(head.saturating_sub(from)).unwrap_or_default();
        records = records.saturating_add(left);
    }
    let oldest: Option<i64> =
        journal.prepare_cached(NEXT)?.query_row([upto], |row| row.get(0)).optional()?;
    let micros = oldest.map_or(0, |at| now.micros_since(Timestamp::from_micros(at)));
    Ok(Behind { records, micros })
}

/// The newest streams, and how many there are.
fn streams(journal: &Connection) -> Result<(Vec<StreamEnd>, u64), AuditError> {
    let count: i64 =
        journal.prepare_cached("SELECT count(*) FROM streams")?.query_row([], |row| row.get(0))?;
    let mut streams = journal.prepare_cached(STREAMS)?;
    let mut last = journal.prepare_cached(LAST)?;
    let mut rows = streams.query([STREAMS_LISTED_MAX])?;
    let mut ends = Vec::new();
    while let Some(row) = rows.next()? {
        let sequence = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(u64::MAX);
        let place = place::row(row.get(0)?, sequence);
        let end = |row: &Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, String>(1)?));
        let Some((hash, header)) = last.query_row([place], end).optional()? else { continue };
        let header: Value = serde_json::from_str(&header).unwrap_or_default();
        let closed =
            header.get("kind").and_then(Value::as_str) == Some(Kind::StreamClosed.as_str());
        let hash = Digest::from_bytes(hash);
        ends.push(StreamEnd { stream: row.get(1)?, sequence, hash, closed });
    }
    Ok((ends, u64::try_from(count).unwrap_or_default()))
}

impl Wanted<'_> {
    /// Whether there can be such rows in a zone.
    fn in_zone(&self, zone: &Row<'_>) -> rusqlite::Result<bool> {
        let (at_min, at_max): (i64, i64) = (zone.get(1)?, zone.get(2)?);
        if at_max < self.since || at_min >= self.until {
            return Ok(false);
        }
        let (profiles, sessions) = (zone.get_ref(3)?.as_blob()?, zone.get_ref(4)?.as_blob()?);
        let has_session =
            self.session.is_none_or(|session| block::numbers(sessions).any(|one| one == session));
        Ok(has_session && block::numbers(profiles).any(|one| self.profiles.contains_key(&one)))
    }

    fn is(&self, row: &block::Row) -> bool {
        let block::Row { place, profile, session, at } = *row;
        self.profiles.contains_key(&profile)
            && self.session.is_none_or(|asked| asked == session)
            && (self.since <= at && at < self.until)
            && (self.after < place && place < self.before)
    }
}

/// Goes through the places that a statement finds, until `visit` has enough.
fn each(
    connection: &Connection,
    sql: &str,
    values: (&str, i64),
    visit: &mut dyn FnMut(i64) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        if visit(row.get(0)?)?.is_break() {
            break;
        }
    }
    Ok(())
}
