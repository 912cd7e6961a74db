//! Drafts in the index: when each was proposed, when and how it ceased to wait, and which records are
//! about it. Who decided is a body of the journal that can be erased: it is read there.

use super::ask::Desk;
use crate::answer::{self, Counts, decide, ends, who};
use crate::audit::AuditError;
use countersign_core::bound::DECISIONS_MAX;
use countersign_core::draft::Who;
use countersign_core::id::Timestamp;
use countersign_core::person::Tenants;
use countersign_core::reading::{Approver, Decisions, Span};
use countersign_core::record::Kind;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Takes notice of a record, if it is about a draft.
pub(super) fn take(
    index: &Connection,
    (place, at): (i64, i64),
    header: &Map<String, Value>,
) -> rusqlite::Result<()> {
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let Some(draft) = text("draft") else { return Ok(()) };
    let kind = text("kind").and_then(Kind::parse);
    index.prepare_cached("INSERT INTO of_drafts VALUES (?1, ?2, ?3)")?.execute(params![
        draft,
        place,
        kind == Some(Kind::DraftPreviewed)
    ])?;
    match kind {
        Some(Kind::DraftProposed) => {
            index
                .prepare_cached(
                    "INSERT INTO drafts VALUES (?1, ?2, ?3, ?4, NULL, NULL) ON CONFLICT DO NOTHING",
                )?
                .execute(params![draft, text("tenant"), at, i64::MAX])?;
        }
        Some(kind) if ends(kind) => {
            index
                .prepare_cached(
                    "UPDATE drafts SET ended = ?2, how = ?3, place = ?4
                     WHERE draft = ?1 AND how IS NULL",
                )?
                .execute(params![draft, at, kind.as_str(), place])?;
        }
        _ => {}
    }
    Ok(())
}

/// Those that were proposed in a span of time.
pub(super) const PROPOSED: &str =
    "SELECT proposed, tenant FROM drafts WHERE proposed >= ?1 AND proposed < ?2";
/// Those that ceased to wait in it.
pub(super) const ENDED: &str =
    "SELECT ended, proposed, tenant, how FROM drafts WHERE ended >= ?1 AND ended < ?2";
/// Those that waited when it began.
pub(super) const WAITING: &str = "SELECT tenant FROM drafts WHERE ended >= ?1 AND proposed < ?1";
/// Those that people decided on in it.
pub(super) const DECIDED: &str = "SELECT draft, place, tenant, how, ended - proposed FROM drafts
     WHERE ended >= ?1 AND ended < ?2 AND how IN ('draft_approved', 'draft_rejected')
     ORDER BY ended DESC LIMIT ?3";
/// Where a draft's preview was shown before it was decided.
pub(super) const PREVIEWS: &str =
    "SELECT place FROM of_drafts WHERE draft = ?1 AND place < ?2 AND previewed = 1";

type Approvers = BTreeMap<Option<Who>, Approver>;

impl Desk {
    pub(super) fn decisions(&self, span: Span, tenants: &Tenants) -> Result<Decisions, AuditError> {
        let mut counts = Counts::new(span);
        let (since, until) = (span.since().micros(), span.until().micros());
        let sees = |row: &Row<'_>, column| {
            let tenant = row.get_ref(column)?.as_str_or_null();
            Ok::<_, rusqlite::Error>(tenant.is_ok_and(|tenant| tenants.see(tenant)))
        };
        let mut proposed = self.index.prepare_cached(PROPOSED)?;
        let mut rows = proposed.query((since, until))?;
        while let Some(row) = rows.next()? {
            if sees(row, 1)? {
                counts.proposed(Timestamp::from_micros(row.get(0)?));
            }
        }
        let mut ended = self.index.prepare_cached(ENDED)?;
        let mut rows = ended.query((since, until))?;
        while let Some(row) = rows.next()? {
            let how = row.get_ref(3)?.as_str_or_null().ok().flatten().and_then(Kind::parse);
            if let Some(how) = how.filter(|_| sees(row, 2).unwrap_or(false)) {
                let time = |column| row.get(column).map(Timestamp::from_micros);
                counts.ended(how, time(1)?, time(0)?);
            }
        }
        let mut waiting = self.index.prepare_cached(WAITING)?;
        let mut rows = waiting.query([since])?;
        let mut waited = 0_u64;
        while let Some(row) = rows.next()? {
            waited = waited.saturating_add(u64::from(sees(row, 0)?));
        }
        Ok(counts.into_decisions(waited, self.approvers((since, until), tenants)?))
    }

    /// Who decided in a span of time, and whether there were more decisions than were looked at.
    fn approvers(
        &self,
        (since, until): (i64, i64),
        tenants: &Tenants,
    ) -> Result<(Approvers, bool), AuditError> {
        let mut approvers = Approvers::new();
        let mut decided = self.index.prepare_cached(DECIDED)?;
        let mut rows = decided.query((since, until, DECISIONS_MAX))?;
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let draft: String = row.get(0)?;
            let place: i64 = row.get(1)?;
            let waited: i64 = row.get(4)?;
            let approved = row.get_ref(3)?.as_str_or_null().ok().flatten()
                == Some(Kind::DraftApproved.as_str());
            // The tenant is the journal's own word, and so is who decided.
            let Some(record) =
                self.record(place)?.filter(|record| tenants.see(record.text("tenant")))
            else {
                continue;
            };
            let who = who(&record);
            let seen = match &who {
                Some(who) if approved => self.was_shown(who, &draft, place)?,
                _ => false,
            };
            let waited = u64::try_from(waited).unwrap_or_default();
            decide(&mut approvers, who, (approved, waited, seen));
        }
        Ok((approvers, looked_at >= DECISIONS_MAX))
    }

    /// Whether a person was shown the preview of a draft before a place in the journal.
    fn was_shown(&self, who: &Who, draft: &str, before: i64) -> Result<bool, AuditError> {
        let mut previews = self.index.prepare_cached(PREVIEWS)?;
        let mut rows = previews.query((draft, before))?;
        while let Some(row) = rows.next()? {
            let record = self.record(row.get(0)?)?;
            if record.is_some_and(|record| answer::who(&record).as_ref() == Some(who)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
