//! The table of counters against the records. The table limits calls and no signature covers it;
//! what the calls were charged stands in their records, which the chain covers.

use crate::audit::verify::Verifier;
use crate::counters::{Charges, tabled};
use countersign_core::id::Timestamp;
use countersign_core::record::Kind;
use rusqlite::{OptionalExtension as _, params};
use serde_json::{Map, Value};

impl Verifier<'_> {
    /// Counts what one record says was charged, if any of it may still limit a call.
    pub(super) fn charges(
        &mut self,
        name: &str,
        seq: i64,
        header: &Map<String, Value>,
        body: &[u8],
    ) {
        let Some(charges) = Charges::decode(body) else {
            return self.find(Some(name), Some(seq), "its body `charges` names no charges");
        };
        let Some(now) = self.now else { return };
        // A refusal that was repeated counted last at its last time.
        let at = header.get("last").or_else(|| header.get("at")).and_then(Value::as_i64);
        let last = Timestamp::from_micros(at.unwrap_or(i64::MIN));
        let kind = header.get("kind").and_then(Value::as_str).and_then(Kind::parse);
        for (window, key, tally) in charges.tallies(last) {
            if kind.is_some_and(|kind| tabled(kind, window)) && !tally.ended(window, now) {
                self.charged.add(window, key, tally);
            }
        }
    }

    /// Counts what one record says was given back. It stands after the record that charged it.
    pub(super) fn given_back(
        &mut self,
        name: &str,
        seq: i64,
        header: &Map<String, Value>,
        body: &[u8],
    ) {
        let Some(returned) = Charges::decode(body) else {
            return self.find(Some(name), Some(seq), "its body `returned` names no charges");
        };
        let at = header.get("at").and_then(Value::as_i64).unwrap_or(i64::MIN);
        for (window, key, tally) in returned.tallies(Timestamp::from_micros(at)) {
            self.charged.give_back(window, &key, tally);
        }
    }

    /// The table may say more: charges come before the records of refusals, and many refusals may
    /// be merged into one. If it says less, somebody has lowered it.
    pub(super) fn recount(&mut self) -> rusqlite::Result<()> {
        let mut lowered = Vec::new();
        for (window, key, tally) in self.charged.iter() {
            let row: Option<(i64, i64)> = self
                .connection
                .prepare_cached(
                    "SELECT started, count FROM counters WHERE window = ?1 AND key = ?2",
                )?
                .query_row(params![window.as_str(), key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let started = tally.started.micros();
            // A window that began later has taken its place.
            let counted = match row {
                Some((later, _)) if later > started => continue,
                Some((same, count)) if same == started => count,
                Some(_) | None => 0,
            };
            if counted < i64::try_from(tally.count).unwrap_or(i64::MAX) {
                lowered.push(format!(
                    "the counter `{key}` of this {} stands at {counted}, and the records count {}",
                    window.as_str(),
                    tally.count
                ));
            }
        }
        lowered.into_iter().for_each(|what| self.find(None, None, what));
        Ok(())
    }
}
