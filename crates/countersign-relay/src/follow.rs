//! The loop of every follower: read on, do what there is to do, wait, and try again what failed.

use crate::board::Progress;
use crate::bound::{PAUSE, RETRY_MAX, RETRY_MIN};
use crate::feed::{Batch, Feed};
use countersign_core::port::{Clock, Unrecorded};
use countersign_core::reading::Cursor;
use std::{io, sync::Arc, time::Duration};
use tokio::task::JoinError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Something that follows the journal.
pub(crate) trait Follow {
    /// Behind what it has dealt with.
    fn cursor(&self) -> &Cursor;

    /// Deals with what comes next, and moves its cursor; also with nothing, every now and then. Once
    /// it has failed it is asked again, from where its cursor is then.
    fn take(&mut self, batch: &Arc<Batch>) -> impl Future<Output = Result<(), Stall>> + Send;

    /// Makes durable how far it has come: it is not asked again.
    fn end(&mut self) -> impl Future<Output = Result<(), Stall>> + Send;
}

/// What keeps a follower from getting on, for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stall {
    #[error("the journal: {0}")]
    Journal(#[from] Unrecorded),
    #[error("it cannot be written: {0}")]
    Written(#[source] io::Error),
    #[error("how far it has come cannot be kept: {0}")]
    Kept(#[source] io::Error),
    #[error("it cannot be sent: {0}")]
    Sent(String),
    #[error("a thread was lost: {0}")]
    Lost(#[from] JoinError),
}

/// What every follower is driven with.
#[derive(Debug, Clone)]
pub(crate) struct Driven {
    pub(crate) feed: Arc<Feed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
}

impl Driven {
    /// Until it is told to stop; then as far as the journal goes, if it does get on.
    pub(crate) async fn drive(self, mut follower: impl Follow) {
        let mut patience = RETRY_MIN;
        loop {
            let stopping = self.stop.is_cancelled();
            let before = follower.cursor().clone();
            let wait = match self.step(&mut follower).await {
                Ok(read) => {
                    patience = RETRY_MIN;
                    self.progress.got_on(follower.cursor(), self.clock.now());
                    if read.goes_on(stopping) {
                        continue;
                    }
                    PAUSE
                }
                Err(stall) => {
                    self.progress.failed(&stall.to_string(), self.clock.now());
                    // It does get on, and is only asked to slow down.
                    if *follower.cursor() != before {
                        patience = RETRY_MIN;
                    }
                    let wait = patience;
                    patience = patience.saturating_mul(2).min(RETRY_MAX);
                    wait
                }
            };
            if stopping {
                break;
            }
            self.rest(wait).await;
        }
        if let Err(stall) = follower.end().await {
            self.progress.failed(&stall.to_string(), self.clock.now());
        }
    }

    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn step(&self, follower: &mut impl Follow) -> Result<Read, Stall> {
        let batch = self.feed.after(follower.cursor()).await?;
        follower.take(&batch).await?;
        Ok(match &*batch {
            Batch { full: true, .. } => Read::Full,
            Batch { records, .. } if records.is_empty() => Read::Nothing,
            Batch { .. } => Read::Some,
        })
    }
}

/// What was read of the journal.
enum Read {
    /// There may be more of it.
    Full,
    /// All there was.
    Some,
    Nothing,
}

impl Read {
    /// Whether to read on at once: also once more before the end, for what came meanwhile.
    const fn goes_on(&self, stopping: bool) -> bool {
        match self {
            Self::Full => true,
            Self::Some => stopping,
            Self::Nothing => false,
        }
    }
}
