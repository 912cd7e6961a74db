//! How followers stand, for people to look at and for the log.

use crate::bound::BEHIND_TOLD_S;
use countersign_core::id::Timestamp;
use countersign_core::reading::{Behind, Cursor};
use countersign_core::relaying::Follower;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How one follower stands.
#[derive(Debug)]
pub(crate) struct Progress {
    /// As the log calls it: `exporter siem`.
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cursor: Cursor,
    follower: Follower,
    /// Behind by as long as this it is logged next, in seconds.
    told_next_s: u64,
}

impl Progress {
    pub(crate) fn new(name: impl Into<String>, cursor: Cursor) -> Arc<Self> {
        let state = State { cursor, told_next_s: BEHIND_TOLD_S, ..State::default() };
        Arc::new(Self { name: name.into(), state: Mutex::new(state) })
    }

    pub(crate) fn follower(&self) -> Follower {
        self.lock().follower.clone()
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.lock().cursor.clone()
    }

    /// It got as far as this.
    pub(crate) fn got_on(&self, cursor: &Cursor, now: Timestamp) {
        let mut state = self.lock();
        if state.cursor != *cursor {
            state.cursor = cursor.clone();
        }
        state.follower.got_on = Some(now);
        if let Some((since, _)) = state.follower.failing.take() {
            drop(state);
            let name = &self.name;
            tracing::info!(name, failed_s = seconds(now.micros_since(since)), "it goes on again");
        }
    }

    /// It did not get on. Logged once, until it does again.
    pub(crate) fn failed(&self, why: &str, now: Timestamp) {
        let mut state = self.lock();
        let since = state.follower.failing.take().map(|(since, _)| since);
        state.follower.failing = Some((since.unwrap_or(now), why.to_owned()));
        drop(state);
        if since.is_none() {
            tracing::warn!(name = self.name, why, "it does not get on, and will be tried again");
        }
    }

    /// It is so far behind. Logged when that grows.
    pub(crate) fn is_behind(&self, behind: Behind) {
        let mut state = self.lock();
        state.follower.behind = behind;
        let (name, behind_s) = (&self.name, seconds(behind.micros));
        if behind_s >= state.told_next_s {
            state.told_next_s = behind_s.saturating_mul(2);
            drop(state);
            tracing::warn!(name, records = behind.records, behind_s, "it is behind the journal");
        } else if behind_s < BEHIND_TOLD_S && state.told_next_s > BEHIND_TOLD_S {
            state.told_next_s = BEHIND_TOLD_S;
            drop(state);
            tracing::info!(name, "it has caught up with the journal");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn seconds(micros: u64) -> u64 {
    micros.wrapping_div(1_000_000)
}
