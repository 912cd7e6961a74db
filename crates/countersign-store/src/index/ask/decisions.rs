//! What became of drafts. Who decided is a body of the journal that can be erased: it is read there, and
//! kept nowhere else.

use super::{Desk, sql};
use crate::answer::{self, Counts, decide};
use crate::audit::AuditError;
use countersign_core::bound::DECISIONS_MAX;
use countersign_core::draft::Who;
use countersign_core::id::Timestamp;
use countersign_core::person::Tenants;
use countersign_core::reading::{Approver, Decisions, Span};
use countersign_core::record::Kind;
use rusqlite::Row;
use std::collections::BTreeMap;

type Approvers = BTreeMap<Option<Who>, Approver>;

impl Desk {
    pub(in crate::index) fn decisions(
        &self,
        span: Span,
        tenants: &Tenants,
    ) -> Result<Decisions, AuditError> {
        let mut counts = Counts::new(span);
        let (since, until) = (span.since().micros(), span.until().micros());
        let sees = |row: &Row<'_>, column| -> rusqlite::Result<bool> {
            Ok(tenants.see(row.get_ref(column)?.as_str_or_null()?))
        };
        let mut proposed = self.index.prepare_cached(sql::PROPOSED)?;
        let mut rows = proposed.query((since, until))?;
        while let Some(row) = rows.next()? {
            if sees(row, 1)? {
                counts.proposed(Timestamp::from_micros(row.get(0)?));
            }
        }
        let mut ended = self.index.prepare_cached(sql::ENDED)?;
        let mut rows = ended.query((since, until))?;
        while let Some(row) = rows.next()? {
            let how = row.get::<_, Option<String>>(3)?;
            let how = how.as_deref().and_then(Kind::parse);
            if let (Some(how), true) = (how, sees(row, 2)?) {
                let [at, proposed] = [row.get(0)?, row.get(1)?].map(Timestamp::from_micros);
                counts.ended(how, proposed, at);
            }
        }
        let mut waiting = self.index.prepare_cached(sql::WAITING)?;
        let mut rows = waiting.query([since])?;
        let mut waited = 0_u64;
        while let Some(row) = rows.next()? {
            waited = waited.saturating_add(u64::from(sees(row, 0)?));
        }
        Ok(counts.into_decisions(waited, self.approvers(span, tenants)?))
    }

    /// Who decided in a span of time, and whether there were more decisions than are looked at.
    fn approvers(&self, span: Span, tenants: &Tenants) -> Result<(Approvers, bool), AuditError> {
        let mut approvers = Approvers::new();
        let mut decided = self.index.prepare_cached(sql::DECIDED)?;
        let (since, until) = (span.since().micros(), span.until().micros());
        let mut rows = decided.query((since, until, DECISIONS_MAX.saturating_add(1)))?;
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            if looked_at >= DECISIONS_MAX {
                return Ok((approvers, true));
            }
            looked_at += 1;
            let (draft, place): (String, i64) = (row.get(0)?, row.get(1)?);
            let Some(record) = self.record(place, tenants)? else { continue };
            let who = answer::who(&record);
            let approved = record.kind() == Some(Kind::DraftApproved);
            let seen = match &who {
                Some(who) if approved => self.was_shown(who, (&draft, place), tenants)?,
                _ => false,
            };
            let waited = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
            decide(&mut approvers, who, (approved, waited, seen));
        }
        Ok((approvers, false))
    }

    /// Whether a person was shown the preview of a draft before a place in the journal.
    fn was_shown(
        &self,
        who: &Who,
        (draft, before): (&str, i64),
        tenants: &Tenants,
    ) -> Result<bool, AuditError> {
        let mut previews = self.index.prepare_cached(sql::PREVIEWS)?;
        let mut rows = previews.query((draft, before))?;
        while let Some(row) = rows.next()? {
            let record = self.record(row.get(0)?, tenants)?;
            if record.is_some_and(|record| answer::who(&record).as_ref() == Some(who)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
