//! The journal, read once for all who follow it at the same pace.

use crate::bound::{BATCH_MAX, BATCHES_KEPT_MAX};
use countersign_core::port::{Ledger, Unrecorded};
use countersign_core::reading::{Cursor, Parts, Record};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Records that follow one another.
#[derive(Debug)]
pub(crate) struct Batch {
    from: Cursor,
    /// The cursor behind them.
    pub(crate) to: Cursor,
    pub(crate) records: Vec<Record>,
    /// Whether there may be others behind them already.
    pub(crate) full: bool,
}

/// What is read of the journal. Whoever lags reads by itself.
#[derive(Debug)]
pub(crate) struct Feed {
    ledger: Arc<dyn Ledger>,
    /// What one of them needs.
    parts: Parts,
    /// One reads at a time: whoever waits for their turn finds what the other read.
    turn: Semaphore,
    kept: Mutex<VecDeque<Arc<Batch>>>,
}

impl Feed {
    pub(crate) fn new(ledger: Arc<dyn Ledger>, parts: Parts) -> Self {
        Self { ledger, parts, turn: Semaphore::new(1), kept: Mutex::default() }
    }

    /// What was written behind the cursor; nothing if there is nothing yet.
    pub(crate) async fn after(&self, cursor: &Cursor) -> Result<Arc<Batch>, Unrecorded> {
        let turn = self.turn.acquire().await;
        let _turn = turn.map_err(|closed| Unrecorded::unavailable(closed.to_string()))?;
        if let Some(batch) = self.kept(cursor) {
            return Ok(batch);
        }
        let (records, to) = self.ledger.follow(cursor.clone(), BATCH_MAX, self.parts).await?;
        let full = u32::try_from(records.len()).is_ok_and(|count| count >= BATCH_MAX);
        let batch = Arc::new(Batch { from: cursor.clone(), to, records, full });
        if !batch.records.is_empty() {
            let mut kept = self.lock();
            kept.truncate(BATCHES_KEPT_MAX.saturating_sub(1));
            kept.push_front(Arc::clone(&batch));
        }
        Ok(batch)
    }

    fn kept(&self, cursor: &Cursor) -> Option<Arc<Batch>> {
        self.lock().iter().find(|batch| batch.from == *cursor).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Batch>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
