//! How often an agent calls, and when that is far more than it does.

use super::{Found, Seen, tally::within};
use crate::bound::{PACE_WINDOWS_MAX, PACE_WINDOWS_MIN, SPIKE_CALLS_MIN};
use countersign_core::alert::Limits;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// So many windows late a call may be.
const LATE_WINDOWS_MAX: i64 = 12;

/// The calls of an agent, by windows of the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pace {
    /// Which window it is, counted from the epoch.
    window: i64,
    /// The calls in it so far.
    calls: u64,
    /// The calls in the windows before, of those that had any.
    before: VecDeque<u64>,
    /// What it usually has, once enough is known.
    usual: Option<u64>,
    /// When the last alert was raised.
    raised: Option<i64>,
    /// When it last called.
    seen: i64,
}

impl Default for Pace {
    fn default() -> Self {
        let before = VecDeque::new();
        Self { window: i64::MIN, calls: 0, before, usual: None, raised: None, seen: i64::MIN }
    }
}

impl Seen for Pace {
    fn seen(&self) -> i64 {
        self.seen
    }
}

impl Pace {
    /// Counts calls; what was found, if that is an alert. The window in which calls are too many counts
    /// among those before like every other: nine in ten are not like it.
    pub(super) fn count(&mut self, limits: Limits, (at, count): (i64, u64)) -> Option<Found> {
        let Limits { window_s, threshold, cool_down_s } = limits;
        let micros = i64::from(window_s).saturating_mul(1_000_000).max(1);
        let window = at.div_euclid(micros);
        // What comes late, or after the clock was set back, counts in the window that is begun; unless
        // the clock had been far ahead, whose windows would not come for long.
        if window > self.window || self.window.saturating_sub(window) > LATE_WINDOWS_MAX {
            self.turn(window);
        }
        self.seen = self.seen.max(at);
        self.calls = self.calls.saturating_add(count);
        let usual = self.usual?;
        let most = usual.saturating_mul(threshold.into()).max(SPIKE_CALLS_MIN);
        let cooling = self.raised.is_some_and(|raised| within(raised, at, cool_down_s));
        if self.calls < most || cooling {
            return None;
        }
        self.raised = Some(at);
        let first = self.window.saturating_mul(micros);
        Some(Found { count: self.calls, first, last: at, usual: Some(usual) })
    }

    fn turn(&mut self, window: i64) {
        if self.calls > 0 {
            self.before.push_back(self.calls);
        }
        while self.before.len() > PACE_WINDOWS_MAX {
            self.before.pop_front();
        }
        self.window = window;
        self.calls = 0;
        let mut sorted: Vec<u64> = self.before.iter().copied().collect();
        sorted.sort_unstable();
        // The busiest but a tenth.
        let place = sorted.len().saturating_mul(9).div_euclid(10);
        let known = sorted.len() >= PACE_WINDOWS_MIN;
        self.usual = sorted.get(place).copied().filter(|_| known);
    }
}
