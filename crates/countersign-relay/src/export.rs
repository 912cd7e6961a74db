//! An exporter: the journal as lines, each record at least once, those of a stream in order.

use crate::bound::COMMIT_EVERY;
use crate::feed::Batch;
use crate::follow::{Follow, Stall};
use crate::kept::Kept;
use crate::lines::{Lines, Sink};
use countersign_core::reading::Cursor;
use std::{io, sync::Arc};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// One exporter at work.
#[derive(Debug)]
pub(crate) struct Export {
    sink: Sink,
    kept: Kept,
    /// `None` before it is opened, and after a failure of which nobody knows what it left.
    lines: Option<Lines>,
    /// Behind the lines that are on the disk.
    committed: Cursor,
    /// Behind the lines that are written.
    cursor: Cursor,
    /// Behind the lines that are on their way, if there are any.
    ahead: Option<Cursor>,
    since: Instant,
}

impl Export {
    pub(crate) fn new((sink, lines): (Sink, Lines), kept: Kept, cursor: Cursor) -> Self {
        let committed = cursor.clone();
        let (lines, ahead, since) = (Some(lines), None, Instant::now());
        Self { sink, kept, lines, committed, cursor, ahead, since }
    }

    /// Has a thread that may wait do something with the lines. A thread that is lost takes them with
    /// it: what was not committed is written again.
    async fn with_lines(
        &mut self,
        work: impl FnOnce(&mut Lines) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Stall> {
        let (lines, sink) = (self.lines.take(), self.sink.clone());
        if lines.is_none() {
            self.cursor = self.committed.clone();
            self.ahead = None;
        }
        let worked = spawn_blocking(move || {
            let mut lines = lines.map_or_else(|| Lines::open(sink), Ok)?;
            let worked = work(&mut lines);
            Ok((lines, worked))
        });
        let (lines, worked) = worked.await?.map_err(Stall::Written)?;
        self.lines = Some(lines);
        worked.map_err(Stall::Written)
    }

    /// Makes the lines durable, and then how far they go. A crash between the two has them written
    /// again.
    async fn commit(&mut self) -> Result<(), Stall> {
        self.since = Instant::now();
        if self.cursor == self.committed {
            return Ok(());
        }
        if let Err(unsure) = self.with_lines(Lines::sync).await {
            // After a failed sync the kernel counts as written what it may not have written.
            self.lines = None;
            return Err(unsure);
        }
        let (kept, cursor) = (self.kept.clone(), self.cursor.clone());
        spawn_blocking(move || kept.write(&cursor, ())).await?.map_err(Stall::Kept)?;
        self.committed = self.cursor.clone();
        Ok(())
    }
}

impl Follow for Export {
    fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    async fn take(&mut self, batch: &Arc<Batch>) -> Result<(), Stall> {
        if self.lines.is_none() {
            // From the last commit on, which is not where this batch begins.
            return self.with_lines(|_opened| Ok(())).await;
        }
        match &self.ahead {
            // What did not get through before; this batch may hold more than that, and comes next.
            Some(_) => self.with_lines(Lines::write).await?,
            None if batch.records.is_empty() => {}
            None => {
                self.ahead = Some(batch.to.clone());
                let batch = Arc::clone(batch);
                let write = move |lines: &mut Lines| {
                    lines.add(&batch.records);
                    lines.write()
                };
                self.with_lines(write).await?;
            }
        }
        if let Some(ahead) = self.ahead.take() {
            self.cursor = ahead;
        }
        if self.since.elapsed() >= COMMIT_EVERY { self.commit().await } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), Stall> {
        self.commit().await
    }
}
