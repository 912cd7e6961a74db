//! How the journal stands, and how far the index is behind it.

use super::{Desk, sql};
use crate::audit::AuditError;
use crate::place;
use countersign_core::bound::STREAMS_LISTED_MAX;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::reading::{Behind, StreamEnd};
use countersign_core::record::Kind;
use rusqlite::{OptionalExtension as _, Row};
use serde_json::Value;

impl Desk {
    pub(in crate::index) fn behind(&self, now: Timestamp) -> Result<Behind, AuditError> {
        let upto = self.upto()?;
        let (epoch, sequence) = place::of_row(upto);
        let mut heads = self.journal.prepare_cached(sql::HEADS)?;
        let mut rows = heads.query([epoch])?;
        let mut records = 0_u64;
        while let Some(row) = rows.next()? {
            let (of, head): (i64, i64) = (row.get(0)?, row.get(1)?);
            let done = if of == epoch { sequence } else { -1 };
            let left = u64::try_from(head.saturating_sub(done)).unwrap_or_default();
            records = records.saturating_add(left);
        }
        let mut next = self.journal.prepare_cached(sql::NEXT)?;
        let oldest: Option<i64> = next.query_row([upto], |row| row.get(0)).optional()?;
        let micros = oldest.map_or(0, |at| now.micros_since(Timestamp::from_micros(at)));
        Ok(Behind { records, micros })
    }

    /// The newest streams, and how many there are.
    pub(in crate::index) fn streams(&self) -> Result<(Vec<StreamEnd>, u64), AuditError> {
        let count: i64 =
            self.journal.prepare_cached(sql::EPOCHS)?.query_row([], |row| row.get(0))?;
        let mut streams = self.journal.prepare_cached(sql::STREAMS)?;
        let mut last = self.journal.prepare_cached(sql::LAST)?;
        let mut rows = streams.query([STREAMS_LISTED_MAX])?;
        let mut ends = Vec::new();
        while let Some(row) = rows.next()? {
            let sequence = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(u64::MAX);
            let place = place::row(row.get(0)?, sequence);
            let end = |row: &Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, String>(1)?));
            let Some((hash, header)) = last.query_row([place], end).optional()? else { continue };
            let header: Value = serde_json::from_str(&header).unwrap_or_default();
            let kind = header.get("kind").and_then(Value::as_str);
            let closed = kind == Some(Kind::StreamClosed.as_str());
            let hash = Digest::from_bytes(hash);
            ends.push(StreamEnd { stream: row.get(1)?, sequence, hash, closed });
        }
        Ok((ends, u64::try_from(count).unwrap_or_default()))
    }
}
