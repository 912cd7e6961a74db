//! What carries out approved drafts, and ends those whose time is over.
//!
//! It decides nothing: [`Monitor::tend`](countersign_core::call::Monitor::tend) does, by the posture
//! that is in force at that moment. A crash here loses nothing: what is due is due again at the start.

use crate::bound::{CHANGES_MAX, COMMITS_UNDER_WAY_MAX, DUE_EVERY};
use crate::door::InForce;
use arc_swap::ArcSwap;
use countersign_core::call::Answer;
use countersign_core::draft::Draft;
use countersign_core::id::{DraftId, SystemName};
use countersign_core::port::DefinitionChange;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

/// Tends drafts, each once at a time.
#[derive(Debug)]
pub(crate) struct Driver {
    in_force: Arc<ArcSwap<InForce>>,
    under_way: TaskTracker,
    room: Arc<Semaphore>,
    tended: Mutex<BTreeSet<DraftId>>,
}

/// A draft that is being tended, until this is dropped: also by a panic.
struct Tended {
    driver: Arc<Driver>,
    draft: DraftId,
    _room: OwnedSemaphorePermit,
}

impl Drop for Tended {
    fn drop(&mut self) {
        self.driver.tended.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.draft);
    }
}

impl Driver {
    pub(crate) fn new(in_force: Arc<ArcSwap<InForce>>, under_way: TaskTracker) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(COMMITS_UNDER_WAY_MAX));
        Arc::new(Self { in_force, under_way, room, tended: Mutex::default() })
    }

    pub(crate) fn under_way(&self) -> TaskTracker {
        self.under_way.clone()
    }

    /// Until it is aborted. The first round is at once: it takes up what the last process left.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut rounds = interval(DUE_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        let mut changes = Vec::new();
        loop {
            rounds.tick().await;
            let in_force = self.in_force.load_full();
            self.record_changes(&in_force, &mut changes).await;
            let now = in_force.monitor.clock.now();
            match in_force.monitor.register.due(now).await {
                Ok(due) => {
                    well = true;
                    for draft in due {
                        self.tend(draft).await;
                    }
                }
                Err(error) if well => {
                    well = false;
                    tracing::error!(%error, "what is due cannot be read: nothing is carried out");
                }
                Err(_still) => {}
            }
        }
    }

    /// Puts on record what systems define otherwise than was reviewed; what could not be is tried again.
    async fn record_changes(
        &self,
        InForce { monitor, .. }: &InForce,
        changes: &mut Vec<(SystemName, DefinitionChange)>,
    ) {
        changes.extend(monitor.connector.changes());
        changes.truncate(CHANGES_MAX);
        while let Some((system, change)) = changes.first() {
            if let Err(error) = monitor.record_change(system, change).await {
                tracing::error!(%error, %system, of = change.of(), "a changed definition is not on record");
                return;
            }
            changes.remove(0);
        }
    }

    /// Tends a draft that was approved just now, without waiting for the next round.
    pub(crate) fn tend_soon(self: &Arc<Self>, draft: DraftId) {
        let driver = Arc::clone(self);
        self.under_way.spawn(async move {
            let in_force = driver.in_force.load_full();
            match in_force.monitor.register.draft(&draft).await {
                Ok(Some(draft)) => driver.tend(draft).await,
                Ok(None) => {}
                // It comes up again with the next round.
                Err(error) => tracing::warn!(%error, %draft, "an approved draft cannot be read"),
            }
        });
    }

    /// Begins to tend a draft once there is room, unless somebody is at it.
    async fn tend(self: &Arc<Self>, draft: Draft) {
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
        let id = draft.id.clone();
        let begun = self.tended.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if !begun {
            return;
        }
        let tended = Tended { driver: Arc::clone(self), draft: id, _room: room };
        // By what is in force now, not when it was proposed or approved.
        let in_force = self.in_force.load_full();
        self.under_way.spawn(async move {
            match in_force.monitor.tend(draft).await {
                Some(Answer::Faulted(faulted)) => tracing::warn!(
                    draft = %tended.draft,
                    call = %faulted.call(),
                    code = faulted.fault().code(),
                    "a draft's call failed; `countersign audit show` has the reason"
                ),
                Some(Answer::Refused(refused)) => tracing::info!(
                    draft = %tended.draft,
                    call = %refused.call(),
                    code = refused.refusal().code(),
                    "an approved draft was not carried out"
                ),
                Some(Answer::Completed(_)) | None => {}
            }
        });
    }
}
