//! What became of drafts. The index tells those who decided from each other; who they are is a body of
//! the journal that can be erased, and is read there.

use super::{Desk, sql};
use crate::answer::{Counts, Deciding, who};
use crate::audit::AuditError;
use countersign_core::bound::APPROVERS_LISTED_MAX;
use countersign_core::id::Timestamp;
use countersign_core::person::Tenants;
use countersign_core::reading::{Approver, Decisions, Span};
use countersign_core::record::Kind;
use std::collections::BTreeMap;

impl Desk {
    pub(in crate::index) fn decisions(
        &self,
        span: Span,
        tenants: &Tenants,
    ) -> Result<Decisions, AuditError> {
        let mut counts = Counts::new(span);
        // By their numbers, each with the place of one of their decisions.
        let mut people: BTreeMap<Option<i64>, (Deciding, i64)> = BTreeMap::new();
        let (since, until) = (span.since().micros(), span.until().micros());
        let mut proposed = self.index.prepare_cached(sql::PROPOSED)?;
        let mut rows = proposed.query((since, until))?;
        while let Some(row) = rows.next()? {
            if tenants.see(row.get_ref(1)?.as_str_or_null().unwrap_or_default()) {
                counts.proposed(Timestamp::from_micros(row.get(0)?));
            }
        }
        let mut ended = self.index.prepare_cached(sql::ENDED)?;
        let mut rows = ended.query((since, until))?;
        while let Some(row) = rows.next()? {
            let text = |column| row.get_ref(column).ok()?.as_str().ok();
            let Some(how) = text(3).and_then(Kind::parse).filter(|_| tenants.see(text(2))) else {
                continue;
            };
            let at = Timestamp::from_micros(row.get(0)?);
            let proposed = Timestamp::from_micros(row.get(1)?);
            counts.ended(how, proposed, at);
            if matches!(how, Kind::DraftApproved | Kind::DraftRejected) {
                let (deciding, place) = people.entry(row.get(4)?).or_default();
                deciding.decided(how, at.micros_since(proposed), row.get(5)?);
                *place = row.get::<_, i64>(6)?.max(*place);
            }
        }
        let mut waiting = self.index.prepare_cached(sql::WAITING)?;
        let mut rows = waiting.query([since])?;
        let mut waited = 0_u64;
        while let Some(row) = rows.next()? {
            let seen = tenants.see(row.get_ref(0)?.as_str_or_null().unwrap_or_default());
            waited = waited.saturating_add(u64::from(seen));
        }
        let cut = people.len() > APPROVERS_LISTED_MAX;
        Ok(counts.into_decisions(waited, (self.approvers(people, tenants)?, cut)))
    }

    fn approvers(
        &self,
        people: BTreeMap<Option<i64>, (Deciding, i64)>,
        tenants: &Tenants,
    ) -> Result<Vec<Approver>, AuditError> {
        let mut people: Vec<_> = people.into_values().collect();
        people.sort_by_key(|(deciding, _)| std::cmp::Reverse(deciding.decisions));
        let listed = people.into_iter().take(APPROVERS_LISTED_MAX);
        let named = listed.map(|(deciding, place)| {
            let record = self.record(place, tenants)?;
            Ok(deciding.of(record.as_ref().and_then(who)))
        });
        named.collect()
    }
}
