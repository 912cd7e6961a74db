//! What the rules find, put on record: each alert once.
//!
//! How far the rules have come is kept with what they remember, and only once the alerts of all that
//! is on record. A crash in between has them see the same records again and find the same alerts; those
//! that are on record stand in what they read next, before they have caught up.

use crate::bound::{ALERTS_WAITING_MAX, RULES_KEPT_EVERY};
use crate::feed::Batch;
use crate::follow::{Follow, Stall};
use crate::kept::Kept;
use crate::rules::{Cause, Raised, Rules, of_record};
use countersign_core::alert::Rule;
use countersign_core::port::{Clock, Journal};
use countersign_core::reading::{Cursor, Record};
use countersign_core::record::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// The rules at work.
#[derive(Debug)]
pub(crate) struct Watch {
    rules: Rules,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    kept: Kept,
    cursor: Cursor,
    /// Found, and not known to be on record.
    waiting: BTreeMap<(Rule, Cause), Raised>,
    /// Whether all was read that another process, or an attempt that failed, may have put on record.
    caught_up: bool,
    /// When it was last kept how far they have come; `None` if that is not to wait.
    since: Option<Instant>,
    moved: bool,
}

impl Watch {
    pub(crate) fn new(
        rules: Rules,
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        kept: Kept,
        cursor: Cursor,
    ) -> Self {
        let (waiting, since) = (BTreeMap::new(), Some(Instant::now()));
        let (caught_up, moved) = (false, false);
        Self { rules, journal, clock, kept, cursor, waiting, caught_up, since, moved }
    }

    fn see(&mut self, record: &Record) {
        if record.kind() == Some(Kind::Alerted) {
            if let Some(known) = of_record(record) {
                self.waiting.remove(&known);
            }
            return;
        }
        for raised in self.rules.see(record) {
            self.waiting.insert((raised.rule, raised.cause.clone()), raised);
        }
        while self.waiting.len() > ALERTS_WAITING_MAX {
            tracing::error!("more alerts wait for the journal than may: one is dropped");
            self.waiting.pop_first();
        }
    }

    /// Puts on record what was found. One of which nobody knows whether it is on record is looked for
    /// in the journal before it is tried again.
    async fn record(&mut self) -> Result<(), Stall> {
        while let Some((key, raised)) = self.waiting.pop_first() {
            let entry = raised.entry(self.clock.now());
            if let Err(error) = self.journal.append(entry).await {
                self.waiting.insert(key, raised);
                self.caught_up = false;
                return Err(error.into());
            }
            self.since = None;
        }
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), Stall> {
        if !self.moved || !self.waiting.is_empty() {
            return Ok(());
        }
        let (kept, cursor) = (self.kept.clone(), self.cursor.clone());
        let memory = self.rules.memory().clone();
        spawn_blocking(move || kept.write(&cursor, memory)).await?.map_err(Stall::Kept)?;
        (self.since, self.moved) = (Some(Instant::now()), false);
        Ok(())
    }
}

impl Follow for Watch {
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    async fn take(&mut self, batch: &Arc<Batch>) -> Result<(), Stall> {
        for record in &batch.records {
            self.see(record);
        }
        if self.cursor != batch.to {
            self.cursor = batch.to.clone();
            self.moved = true;
        }
        self.caught_up |= !batch.full;
        if self.caught_up {
            self.record().await?;
        }
        let due = self.since.is_none_or(|since| since.elapsed() >= RULES_KEPT_EVERY);
        if due { self.keep().await } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), Stall> {
        self.keep().await
    }
}
