//! Questions: the index says where to look; what is shown is read there, and judged once more before it
//! is. So an index that is wrong hides something at worst, and shows nobody what is not theirs.

mod chain;
mod decisions;
mod walk;

use super::block::{Row, end};
use super::fill::{DAY, GRAINS, MINUTE_US};
use super::profile::{Profile, Words};
use super::{file, statements as sql};
use crate::answer::{fits, intent_of, is_one_of, last_at, limit, session_call};
use crate::audit::{self, AuditError};
use crate::bound::{QUESTION_MAX, RECORDS_READ_MAX, STEPS_PER_LOOK};
use crate::place;
use countersign_core::bound::{NEWS_COUNTED_MAX, RECORDS_OF_CALL_MAX};
use countersign_core::id::{Digest, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::Clock;
use countersign_core::reading::{
    Calls, Line, News, Page, Position, Record, Search, SessionCall, Span, Tally, session,
};
use rusqlite::{Connection, OptionalExtension as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use walk::{Until, Wanted};

/// Reads the journal and the index of it.
#[derive(Debug)]
pub(super) struct Desk {
    journal: Connection,
    index: Connection,
    /// Which index of this process's it reads: the next one is another file.
    pub(super) turn: u64,
    /// By their numbers less 1, each with the place of its first record. Numbers follow each other: none
    /// is ever given up.
    profiles: Vec<(Profile, i64)>,
    words: Words,
}

impl Desk {
    pub(super) fn open(journal: &Path, index: &Path, turn: u64) -> Result<Self, AuditError> {
        let journal = audit::open(journal)?;
        // It may have been removed a moment ago.
        let index = file::read_only(index).map_err(|error| {
            if index.exists() { AuditError::Database(error) } else { AuditError::NotIndexed }
        })?;
        Ok(Self { journal, index, turn, profiles: Vec::new(), words: Words::default() })
    }

    /// Answers within its time, from one state of the index. The journal goes on meanwhile.
    pub(super) fn answer<T>(
        &mut self,
        clock: &Arc<dyn Clock>,
        question: impl FnOnce(&Self) -> Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        let begun = clock.now();
        for connection in [&mut self.journal, &mut self.index] {
            let clock = Arc::clone(clock);
            let gone = move || clock.now().micros_since(begun);
            let over = move || u128::from(gone()) >= QUESTION_MAX.as_micros();
            connection.progress_handler(STEPS_PER_LOOK, Some(over))?;
        }
        let state = self.index.unchecked_transaction()?;
        profiles(&state, &mut self.profiles, &mut self.words)?;
        let answer = question(self);
        drop(state);
        answer
    }

    /// The record at a place, if these readers may see it.
    fn record(&self, place: i64, tenants: &Tenants) -> Result<Option<Record>, AuditError> {
        let record = audit::at(&self.journal, place, true)?;
        Ok(record.filter(|record| tenants.see(record.text("tenant"))))
    }

    /// The same without its bodies.
    fn header(&self, place: i64, tenants: &Tenants) -> Result<Option<Record>, AuditError> {
        let record = audit::at(&self.journal, place, false)?;
        Ok(record.filter(|record| tenants.see(record.text("tenant"))))
    }

    /// The intent that a record is the outcome of.
    fn intent_of(&self, record: &Record, tenants: &Tenants) -> Result<Option<Record>, AuditError> {
        let Some((stream, sequence)) = intent_of(record) else { return Ok(None) };
        match epoch_of(&self.journal, stream)?.and_then(|epoch| place::row(epoch, sequence)) {
            Some(place) => self.record(place, tenants),
            None => Ok(None),
        }
    }

    fn upto(&self) -> Result<i64, AuditError> {
        Ok(self.index.prepare_cached(sql::UPTO)?.query_row([], |row| row.get(0))?)
    }

    // ── records ─────────────────────────────────────────────────────────────────────────────────

    pub(super) fn records(
        &self,
        which: &Search,
        tenants: &Tenants,
    ) -> Result<Page<(Position, Record)>, AuditError> {
        let until = Until { before: which.before, ..Until::default() };
        let mut page = Gathered::new(which.limit);
        let mut look = |place: i64| {
            page.look(place, || {
                let record = self.record(place, tenants)?.filter(|record| fits(which, record));
                let Some(record) = record else { return Ok(None) };
                let theirs = match &which.session {
                    Some(asked) => self.is_of_session(asked, &record, tenants)?,
                    None => true,
                };
                Ok(theirs.then_some((Position::from_number(place), record)))
            })
        };
        let stopped = if let Some(call) = &which.call {
            each(&self.journal, sql::OF_CALL, (call, until.before()), &mut look)?;
            None
        } else if let Some(draft) = &which.draft {
            each(&self.index, sql::OF_DRAFT, (draft, until.before()), &mut look)?;
            None
        } else {
            let until = Until { since: which.since, until: which.until, ..until };
            let wanted = self.wanted(|profile| profile.fits(which), tenants, until)?;
            match &which.session {
                None => self.walk(&wanted, |row| look(row.place))?,
                Some(digest) => match self.session(digest)? {
                    Some(session) => self.walk(&wanted.of(session), |row| look(row.place))?,
                    None => None,
                },
            }
        };
        Ok(page.into_page(stopped))
    }

    fn session(&self, digest: &Digest) -> Result<Option<u32>, AuditError> {
        let mut session = self.index.prepare_cached(sql::SESSION)?;
        Ok(session.query_row([digest.as_bytes()], |row| row.get(0)).optional()?)
    }

    /// Whether a record is of this session, as its own body says; one that names nobody, as that of the
    /// intent it is the outcome of. Of one whose body was erased nobody can say.
    fn is_of_session(
        &self,
        asked: &Digest,
        record: &Record,
        tenants: &Tenants,
    ) -> Result<bool, AuditError> {
        if record.header.get("fields").is_some_and(|fields| fields.get("principal").is_some()) {
            return Ok(session(record).as_ref() == Some(asked));
        }
        let intent = self.intent_of(record, tenants)?;
        Ok(intent.as_ref().and_then(session).as_ref() == Some(asked))
    }

    pub(super) fn of_call(
        &self,
        call: &str,
        tenants: &Tenants,
    ) -> Result<Vec<(Position, Record)>, AuditError> {
        let mut page = Gathered::new(Some(RECORDS_OF_CALL_MAX));
        each(&self.journal, sql::OF_CALL, (call, i64::MAX), &mut |place| {
            page.look(place, || {
                let record = self.record(place, tenants)?;
                Ok(record.map(|record| (Position::from_number(place), record)))
            })
        })?;
        page.items.reverse();
        Ok(page.items)
    }

    // ── calls ───────────────────────────────────────────────────────────────────────────────────

    pub(super) fn calls(&self, which: &Calls, tenants: &Tenants) -> Result<Page<Line>, AuditError> {
        let wanted = self.lines_wanted(which, tenants, (None, which.before))?;
        let mut page = Gathered::new(which.limit);
        let stopped = self
            .lines(&wanted, |row| page.look(row.place, || self.line(row.place, which, tenants)))?;
        Ok(page.into_page(stopped))
    }

    pub(super) fn calls_after(
        &self,
        position: Position,
        which: &Calls,
        tenants: &Tenants,
    ) -> Result<News, AuditError> {
        let wanted = self.lines_wanted(which, tenants, (Some(position), None))?;
        let most = limit(which.limit);
        let (mut lines, mut more) = (Vec::new(), 0_u64);
        self.lines(&wanted, |row| {
            if lines.len() < most {
                lines.extend(self.line(row.place, which, tenants)?);
                return Ok(ControlFlow::Continue(()));
            }
            more = more.saturating_add(1);
            let enough = more >= NEWS_COUNTED_MAX;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let position = position.max(Position::from_number(self.upto()?));
        Ok(News { lines, more, position })
    }

    fn lines_wanted(
        &self,
        which: &Calls,
        tenants: &Tenants,
        (after, before): (Option<Position>, Option<Position>),
    ) -> Result<Wanted, AuditError> {
        let until = Until { since: which.since, until: which.until, after, before };
        self.wanted(|profile| profile.is_one_of(which), tenants, until)
    }

    fn line(
        &self,
        place: i64,
        which: &Calls,
        tenants: &Tenants,
    ) -> Result<Option<Line>, AuditError> {
        let header = self.header(place, tenants)?;
        // The tool as the agent wrote it is a body.
        let record = match header {
            Some(record) if record.text("tool").is_none() => self.record(place, tenants)?,
            record => record,
        };
        let line = record.and_then(|record| Line::of(Position::from_number(place), &record));
        Ok(line.filter(|line| is_one_of(which, line)))
    }

    pub(super) fn of_session(
        &self,
        digest: &Digest,
        before: Option<Position>,
        tenants: &Tenants,
    ) -> Result<Page<SessionCall>, AuditError> {
        let mut page = Gathered::new(None);
        let Some(session) = self.session(digest)? else { return Ok(page.into_page(None)) };
        let wanted = self.lines_wanted(&Calls::default(), tenants, (None, before))?.of(session);
        let stopped = self.lines(&wanted, |Row { place, .. }| {
            page.look(place, || self.session_call(place, digest, tenants))
        })?;
        Ok(page.into_page(stopped))
    }

    fn session_call(
        &self,
        place: i64,
        digest: &Digest,
        tenants: &Tenants,
    ) -> Result<Option<SessionCall>, AuditError> {
        let Some(record) = self.record(place, tenants)? else { return Ok(None) };
        let Some(line) = Line::of(Position::from_number(place), &record) else { return Ok(None) };
        if !self.is_of_session(digest, &record, tenants)? {
            return Ok(None);
        }
        let intent = self.intent_of(&record, tenants)?;
        Ok(Some(session_call(line, &record, intent.as_ref().unwrap_or(&record))))
    }

    // ── numbers ─────────────────────────────────────────────────────────────────────────────────

    pub(super) fn tallies(
        &self,
        span: Span,
        which: &Calls,
        tenants: &Tenants,
    ) -> Result<Vec<Tally>, AuditError> {
        let mut tallies: Vec<_> = span.steps().into_iter().map(Tally::empty).collect();
        let mut count = |at: i64, profile: u32, calls: u64| {
            let at = span.step_of(Timestamp::from_micros(at));
            let tally = at.and_then(|step| tallies.get_mut(step));
            if let (Some(tally), Some(profile)) = (tally, self.profile(profile))
                && let Some(class) = profile.class
            {
                tally.count(class, profile.code.as_deref(), calls);
            }
        };
        let until =
            Until { since: Some(span.since()), until: Some(span.until()), ..Until::default() };
        let wanted = self.wanted(|profile| profile.is_one_of(which), tenants, until)?;
        let whole_steps_of = |grain: i64| span.step_minutes().checked_rem(grain) == Some(0);
        let whole = which.agent.is_some() || which.tool.is_some();
        if whole && !whole_steps_of(DAY) {
            let wanted = self.ended(&wanted).counted();
            let stopped = self.walk(&wanted, |row| {
                count(row.at, row.profile, row.calls.into());
                Ok(ControlFlow::Continue(()))
            })?;
            return stopped.map_or(Ok(tallies), |_| Err(AuditError::TooMuch));
        }
        let grain = GRAINS.into_iter().rev().find(|grain| whole_steps_of(*grain)).unwrap_or(1);
        let step = grain.saturating_mul(MINUTE_US);
        let [since, until] = [span.since(), span.until()].map(|at| at.micros().div_euclid(step));
        let mut rows = self.index.prepare_cached(sql::TALLIES)?;
        let mut rows = rows.query((grain, whole, since, until))?;
        while let Some(row) = rows.next()? {
            let profile = row.get(1)?;
            if wanted.has(profile) {
                let calls = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
                count(row.get::<_, i64>(0)?.saturating_mul(step), profile, calls);
            }
        }
        Ok(tallies)
    }

    pub(super) fn last_seen(
        &self,
        agent: &str,
        tenants: &Tenants,
    ) -> Result<Option<Timestamp>, AuditError> {
        let wanted = self.wanted(|profile| profile.is_call_of(agent), tenants, Until::default())?;
        let mut seen = None;
        self.walk(&wanted, |row| {
            let record = self.header(row.place, tenants)?;
            let theirs = |record: &Record| record.text("agent") == Some(agent);
            seen = record.filter(theirs).map(|record| last_at(&record));
            Ok(seen.map_or(ControlFlow::Continue(()), |_| ControlFlow::Break(())))
        })?;
        Ok(seen)
    }

    fn profile(&self, number: u32) -> Option<&Profile> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.profiles.get(at).map(|(profile, _)| profile)
    }
}

/// Adds those that have come since.
fn profiles(
    index: &Connection,
    known: &mut Vec<(Profile, i64)>,
    words: &mut Words,
) -> Result<(), AuditError> {
    let mut profiles = index.prepare_cached(sql::PROFILES)?;
    let mut rows = profiles.query([i64::try_from(known.len()).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(1)?.as_str().unwrap_or_default();
        known.push((Profile::read(text, words).unwrap_or_default(), row.get(2)?));
    }
    Ok(())
}

/// The epoch of a stream of this name.
pub(super) fn epoch_of(journal: &Connection, stream: &str) -> rusqlite::Result<Option<i64>> {
    journal.prepare_cached(sql::EPOCH)?.query_row([stream], |row| row.get(0)).optional()
}

/// A page in the making.
struct Gathered<T> {
    items: Vec<T>,
    most: usize,
    looked_at: usize,
    /// The last place that was looked at.
    last: i64,
    full: bool,
}

impl<T> Gathered<T> {
    fn new(asked: Option<u32>) -> Self {
        Self { items: Vec::new(), most: limit(asked), looked_at: 0, last: i64::MAX, full: false }
    }

    /// Looks at what is at a place, if there is room for it.
    fn look(
        &mut self,
        place: i64,
        read: impl FnOnce() -> Result<Option<T>, AuditError>,
    ) -> Result<ControlFlow<()>, AuditError> {
        if self.items.len() >= self.most || self.looked_at >= RECORDS_READ_MAX {
            self.full = true;
            return Ok(ControlFlow::Break(()));
        }
        self.looked_at = self.looked_at.saturating_add(1);
        self.last = place;
        self.items.extend(read()?);
        Ok(ControlFlow::Continue(()))
    }

    /// Where the search stopped, if it did not come to its end.
    fn into_page(self, stopped: Option<i64>) -> Page<T> {
        let next = self.full.then_some(self.last).or(stopped).map(Position::from_number);
        Page { items: self.items, next }
    }
}

/// Goes through the places that a statement finds, until `look` has enough.
fn each(
    connection: &Connection,
    sql: &str,
    values: (&str, i64),
    look: &mut dyn FnMut(i64) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    while let Some(row) = rows.next()? {
        if look(row.get(0)?)?.is_break() {
            break;
        }
    }
    Ok(())
}
