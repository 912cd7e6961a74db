//! So many of a kind within a time.

use super::{Found, Seen};
use countersign_core::alert::Limits;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What was counted about somebody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    /// When, and how many; fewer together than the threshold, since that ends it.
    times: VecDeque<(i64, u64)>,
    /// When the last alert was raised.
    raised: Option<i64>,
}

impl Seen for Tally {
    fn seen(&self) -> i64 {
        self.times.back().map(|(at, _)| *at).max(self.raised).unwrap_or(i64::MIN)
    }
}

impl Tally {
    /// Counts; what was found, if that is an alert. While one cools down nothing is counted.
    pub(super) fn count(&mut self, limits: Limits, (at, count): (i64, u64)) -> Option<Found> {
        let Limits { window_s, threshold, cool_down_s } = limits;
        if self.raised.is_some_and(|raised| within(raised, at, cool_down_s)) {
            return None;
        }
        self.times.retain(|(time, _)| within(*time, at, window_s));
        self.times.push_back((at, count));
        let sum = self.times.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        if sum < u64::from(threshold) {
            return None;
        }
        let first = self.times.iter().map(|(time, _)| *time).min().unwrap_or(at);
        let last = self.times.iter().map(|(time, _)| *time).max().unwrap_or(at);
        self.times.clear();
        self.raised = Some(at);
        Some(Found { count: sum, first, last, usual: None })
    }
}

/// Whether two moments are no further apart than that, whichever was first: a clock that was set back
/// neither begins anything anew nor ends it.
pub(super) fn within(one: i64, other: i64, seconds: u32) -> bool {
    one.abs_diff(other) < u64::from(seconds).saturating_mul(1_000_000)
}
