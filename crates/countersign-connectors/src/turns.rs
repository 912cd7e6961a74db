//! Who may use a system at a time: as many calls as it takes at once, and a bounded queue.

use crate::fault;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Most calls that wait for one system; the next is told at once that it is busy.
const WAITING_MAX: usize = 128;

/// The turns of one system.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Room for calls, under way or waiting.
    room: Arc<Semaphore>,
    /// Leave to use the system.
    turns: Arc<Semaphore>,
}

/// Leave to use the system until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    _room: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Turns {
    /// For as many at a time; 0 counts as 1.
    pub(crate) fn new(concurrency: u32) -> Self {
        let concurrency = usize::try_from(concurrency).unwrap_or(1);
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS - WAITING_MAX);
        Self {
            room: Arc::new(Semaphore::new(concurrency + WAITING_MAX)),
            turns: Arc::new(Semaphore::new(concurrency)),
        }
    }

    /// A turn, waited for at most `patience`.
    pub(crate) async fn take(&self, patience: Duration) -> Result<Turn, SystemFault> {
        let busy = |why: &str| fault(SystemFaultKind::Busy, why.to_owned());
        let room = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|_full| busy("too many calls wait for the system"))?;
        let turn = timeout(patience, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_elapsed| busy("no call ended in time for this one to begin"))?
            .map_err(|_closed| busy("the system is shut down"))?;
        Ok(Turn { _room: room, _turn: turn })
    }
}
