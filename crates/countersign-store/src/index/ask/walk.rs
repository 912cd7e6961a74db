//! Going through the index from its newest end: past whole blocks that hold nothing of what is looked
//! for, and through the rows of the others.

use super::{Desk, end, sql};
use crate::audit::AuditError;
use crate::bound::{
    BLOCKS_COUNTED_MAX, BLOCKS_READ_MAX, EXTENTS_MAX, LAST_BEHIND_MAX, UNDER_WAY_MAX,
    ZONES_READ_MAX,
};
use crate::index::block::{self, Row, block_of};
use crate::index::profile::Profile;
use countersign_core::id::Timestamp;
use countersign_core::person::Tenants;
use countersign_core::reading::{Class, Position};
use rusqlite::Row as Found;
use std::ops::ControlFlow;

/// Between which times and places is looked: from `since`, and behind `after`, up to the others, which
/// are not included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Until {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) after: Option<Position>,
    pub(super) before: Option<Position>,
}

impl Until {
    pub(super) fn before(&self) -> i64 {
        self.before.map_or(i64::MAX, Position::number)
    }
    fn after(&self) -> i64 {
        self.after.unwrap_or(Position::START).number()
    }
}

/// Which rows are looked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Whether a profile is, by its number.
    profiles: Vec<bool>,
    /// Of this session alone.
    session: Option<u32>,
    /// Not before this time, and before that.
    times: (i64, i64),
    /// Behind this place, and before that.
    places: (i64, i64),
    /// Between these, both included, are all rows of these profiles.
    extent: (i64, i64),
    /// How many blocks are gone through at most.
    blocks_max: usize,
    /// Whether they are gone through in any order.
    unordered: bool,
}

impl Wanted {
    pub(super) fn of(self, session: u32) -> Self {
        Self { session: Some(session), ..self }
    }

    /// To be counted, and not shown: more of them, in any order.
    pub(super) fn counted(self) -> Self {
        Self { blocks_max: BLOCKS_COUNTED_MAX, unordered: true, ..self }
    }

    pub(super) fn has(&self, profile: u32) -> bool {
        usize::try_from(profile).ok().and_then(|at| self.profiles.get(at)) == Some(&true)
    }

    /// Whether there can be such rows in a zone.
    fn in_zone(&self, zone: &Found<'_>) -> rusqlite::Result<bool> {
        let (at_min, at_max): (i64, i64) = (zone.get(1)?, zone.get(2)?);
        let (since, until) = self.times;
        if at_max < since || at_min >= until {
            return Ok(false);
        }
        let (profiles, sessions) = (zone.get_ref(3)?.as_blob()?, zone.get_ref(4)?.as_blob()?);
        let of_session =
            self.session.is_none_or(|session| block::numbers(sessions).any(|one| one == session));
        Ok(of_session && block::numbers(profiles).any(|profile| self.has(profile)))
    }

    fn is(&self, row: &Row) -> bool {
        let Row { place, profile, session, at, .. } = *row;
        let ((since, until), (after, before)) = (self.times, self.places);
        self.has(profile)
            && self.session.is_none_or(|asked| asked == session)
            && (since <= at && at < until)
            && (after < place && place < before)
    }
}

impl Desk {
    /// The rows of the profiles that fit and that these readers may see.
    pub(super) fn wanted(
        &self,
        fits: impl Fn(&Profile) -> bool,
        tenants: &Tenants,
        until: Until,
    ) -> Result<Wanted, AuditError> {
        let mut profiles = vec![false];
        let mut first = i64::MAX;
        for (profile, met) in &self.profiles {
            let wanted = profile.seen_by(tenants) && fits(profile);
            if wanted {
                first = first.min(*met);
            }
            profiles.push(wanted);
        }
        let last = self.last_of(&profiles)?;
        let (after, before) = (until.after(), until.before());
        let extent = (first.max(after.saturating_add(1)), last.min(before.saturating_sub(1)));
        let times = (
            until.since.map_or(i64::MIN, Timestamp::micros),
            until.until.map_or(i64::MAX, Timestamp::micros),
        );
        let (session, places) = (None, (after, before));
        let (blocks_max, unordered) = (BLOCKS_READ_MAX, false);
        Ok(Wanted { profiles, session, times, places, extent, blocks_max, unordered })
    }

    /// Behind which place there are no records of these profiles.
    fn last_of(&self, profiles: &[bool]) -> Result<i64, AuditError> {
        let numbers = || profiles.iter().zip(0_u32..).filter(|(wanted, _)| **wanted);
        if numbers().count() > EXTENTS_MAX {
            return self.upto();
        }
        let mut statement = self.index.prepare_cached(sql::LAST_OF)?;
        let mut last = Position::START.number();
        for (_, number) in numbers() {
            let written: i64 = statement.query_row([number], |row| row.get(0))?;
            last = last.max(written.saturating_add(LAST_BEHIND_MAX));
        }
        Ok(last)
    }

    /// Goes through the rows that are looked for, newest first, until `visit` has enough. Before which
    /// place it stopped, if that was because one question looks only so far.
    pub(super) fn walk(
        &self,
        wanted: &Wanted,
        mut visit: impl FnMut(Row) -> Result<ControlFlow<()>, AuditError>,
    ) -> Result<Option<i64>, AuditError> {
        let (first, last) = wanted.extent;
        if first > last {
            return Ok(None);
        }
        let zones = if wanted.unordered { sql::ZONES_UPWARDS } else { sql::ZONES };
        let mut zones = self.index.prepare_cached(zones)?;
        let mut blocks = self.index.prepare_cached(sql::BLOCK)?;
        let mut zones = zones.query((block_of(last), block_of(first)))?;
        let (mut passed, mut read) = (0_usize, 0_usize);
        while let Some(zone) = zones.next()? {
            let block: i64 = zone.get(0)?;
            if passed >= ZONES_READ_MAX || read >= wanted.blocks_max {
                return Ok(Some(end(block)));
            }
            passed = passed.saturating_add(1);
            if !wanted.in_zone(zone)? {
                continue;
            }
            read = read.saturating_add(1);
            let mut rows = blocks.query([block])?;
            let Some(found) = rows.next()? else { continue };
            let bytes = found.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            let rows = block::rows(block, bytes);
            for row in rows.rev().filter(|row| wanted.is(row)) {
                if visit(row)?.is_break() {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// The same of the rows that say what became of calls, with calls under way in their places. Intents
    /// as such are passed over.
    pub(super) fn lines(
        &self,
        wanted: &Wanted,
        mut visit: impl FnMut(Row) -> Result<ControlFlow<()>, AuditError>,
    ) -> Result<Option<i64>, AuditError> {
        let mut under_way = self.under_way(wanted)?.into_iter().peekable();
        let ended = self.ended(wanted);
        let mut enough = false;
        let stopped = self.walk(&ended, |row| {
            while let Some(later) = under_way.next_if(|later| later.place > row.place) {
                if visit(later)?.is_break() {
                    enough = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let went = visit(row)?;
            enough = went.is_break();
            Ok(went)
        })?;
        for row in under_way.filter(|row| stopped.is_none_or(|before| row.place >= before)) {
            if enough || visit(row)?.is_break() {
                return Ok(None);
            }
        }
        Ok(stopped)
    }

    /// Without intents.
    pub(super) fn ended(&self, wanted: &Wanted) -> Wanted {
        let mut ended = wanted.clone();
        for (wanted, (profile, _)) in ended.profiles.iter_mut().skip(1).zip(&self.profiles) {
            *wanted &= profile.class != Some(Class::UnderWay);
        }
        ended
    }

    fn under_way(&self, wanted: &Wanted) -> Result<Vec<Row>, AuditError> {
        let mut under_way = self.index.prepare_cached(sql::UNDER_WAY)?;
        let (after, before) = wanted.places;
        let rows = under_way.query_map((after, before, UNDER_WAY_MAX), |row| {
            let (place, profile, session, at) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Row { place, profile, session, calls: 1, at })
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(rows.into_iter().filter(|row| wanted.is(row)).collect())
    }
}
