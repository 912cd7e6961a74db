//! Tallies that are owed to the table of counters: merged per key, added as one difference.

use countersign_core::id::Timestamp;
use countersign_core::quota::{Charge, Tally, Window};
use std::collections::BTreeMap;

/// Differences by window and key. A subset of the keys of the meter that made the charges, so it
/// needs no bound of its own.
#[derive(Debug, Default)]
pub(crate) struct Owed(BTreeMap<(Window, String), Tally>);

impl Owed {
    /// Adds charges, one each.
    pub(crate) fn charge(&mut self, charges: &[Charge]) {
        for Charge { key, window, started, at } in charges {
            self.add(*window, key.clone(), Tally { started: *started, last: *at, count: 1 });
        }
    }

    /// Adds what another owes.
    pub(crate) fn absorb(&mut self, other: Self) {
        for ((window, key), tally) in other.0 {
            self.add(window, key, tally);
        }
    }

    /// Of two windows only the newer counts: an entry written late must not bring back one that
    /// is over.
    fn add(&mut self, window: Window, key: String, more: Tally) {
        self.0
            .entry((window, key))
            .and_modify(|tally| {
                if more.started > tally.started {
                    *tally = more;
                } else if more.started == tally.started {
                    tally.count = tally.count.saturating_add(more.count);
                    tally.last = tally.last.max(more.last);
                }
            })
            .or_insert(more);
    }

    /// Forgets windows that are over.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|(window, _), tally| !tally.ended(*window, now));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Window, &str, Tally)> {
        self.0.iter().map(|((window, key), tally)| (*window, key.as_str(), *tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_of_a_window_that_is_over_do_not_displace_the_newer_one() {
        let charge = |started, at| Charge {
            key: "k".to_owned(),
            window: Window::Minute,
            started: Timestamp::from_secs(started),
            at: Timestamp::from_secs(at),
        };
        let mut owed = Owed::default();
        owed.charge(&[charge(0, 59), charge(60, 61), charge(0, 59), charge(60, 63)]);
        let tally =
            Tally { started: Timestamp::from_secs(60), last: Timestamp::from_secs(63), count: 2 };
        assert_eq!(owed.iter().collect::<Vec<_>>(), [(Window::Minute, "k", tally)]);
        owed.sweep(Timestamp::from_secs(120));
        assert!(owed.is_empty());
    }
}
