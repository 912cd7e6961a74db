//! Charges on their way: to the table of counters, merged per key and added as one difference, and
//! into the records of their calls, so that the table can be recounted.

use countersign_core::id::Timestamp;
use countersign_core::quota::{Charge, Tally, Window};
use countersign_core::record::Kind;
use std::collections::BTreeMap;

/// The body of a record that names what its calls were charged.
pub(crate) const FIELD: &str = "charges";
/// The body that names what of earlier charges was given back.
pub(crate) const RETURNED: &str = "returned";
/// Most windows that one record names. A call runs against some twenty; the repeats of a refusal
/// against the same ones, while theirs last.
const NAMED_MAX: usize = 64;

/// Whether the table keeps what a record of this kind was charged. What is charged for calls alike
/// it keeps for refusals alone: nearly every call would be a row of its own there, and an intent says
/// it itself, durably, for the one minute that it matters.
pub(crate) fn tabled(kind: Kind, window: Window) -> bool {
    (kind, window) != (Kind::Intent, Window::Alike)
}

/// Differences by window and key. A subset of the keys of the meter that made the charges, so it
/// needs no bound of its own.
#[derive(Debug, Default)]
pub(crate) struct Owed(BTreeMap<(Window, String), Tally>);

impl Owed {
    /// Adds charges, one each.
    pub(crate) fn charge<'a>(&mut self, charges: impl IntoIterator<Item = &'a Charge>) {
        for Charge { key, window, started, at, amount } in charges {
            self.add(*window, key.clone(), Tally { started: *started, last: *at, count: *amount });
        }
    }

    /// Takes back what was charged before, in the same window.
    pub(crate) fn give_back(&mut self, window: Window, key: &str, less: Tally) {
        let tally = self.0.get_mut(&(window, key.to_owned()));
        if let Some(tally) = tally.filter(|tally| tally.started == less.started) {
            tally.count = tally.count.saturating_sub(less.count);
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
    pub(crate) fn add(&mut self, window: Window, key: String, more: Tally) {
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

/// What the calls of one record were charged: how often in which window, by when it began.
///
/// A body and not a member of the header: keys hold digests of sessions and arguments, which must
/// not outlive the bodies that they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Charges(BTreeMap<(Window, String, Timestamp), u64>);

impl Charges {
    pub(crate) fn of(charges: &[Charge]) -> Self {
        let mut named = Self::default();
        for Charge { key, window, started, at: _, amount } in charges {
            named.add((*window, key.clone(), *started), *amount);
        }
        named
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        for (place, count) in other.0 {
            self.add(place, count);
        }
    }

    /// What is beyond the maximum is left out: records may say less than the table, never more.
    fn add(&mut self, place: (Window, String, Timestamp), more: u64) {
        if self.0.contains_key(&place) || self.0.len() < NAMED_MAX {
            let count = self.0.entry(place).or_default();
            *count = count.saturating_add(more);
        }
    }

    /// As the body has them: `[[window, key, started, count], …]`, times in microseconds. Nothing,
    /// if there are none.
    pub(crate) fn encode(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let named = self.0.iter().map(|((window, key, started), count)| {
            (window.as_str(), key.as_str(), started.micros(), count)
        });
        // Texts and numbers always have a text.
        serde_json::to_vec(&named.collect::<Vec<_>>()).unwrap_or_default()
    }

    /// The same, read back; `None` if it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let named: Vec<(String, String, i64, u64)> = serde_json::from_slice(bytes).ok()?;
        named
            .into_iter()
            .map(|(window, key, started, count)| {
                Some(((Window::parse(&window)?, key, Timestamp::from_micros(started)), count))
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    /// What they come to in each counter, the last of them at `last`.
    pub(crate) fn tallies(self, last: Timestamp) -> impl Iterator<Item = (Window, String, Tally)> {
        self.0.into_iter().map(move |((window, key, started), count)| {
            (window, key, Tally { started, last, count })
        })
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
            amount: 1,
        };
        let mut owed = Owed::default();
        owed.charge(&[charge(0, 59), charge(60, 61), charge(0, 59), charge(60, 63)]);
        let tally =
            Tally { started: Timestamp::from_secs(60), last: Timestamp::from_secs(63), count: 2 };
        assert_eq!(owed.iter().collect::<Vec<_>>(), [(Window::Minute, "k", tally)]);
        owed.sweep(Timestamp::from_secs(120));
        assert!(owed.is_empty());
    }

    #[test]
    fn charges_read_back_and_a_record_names_no_more_than_its_maximum() {
        let charge = |key: usize, started| Charge {
            key: format!("agent/a/{key}"),
            window: Window::Session,
            started: Timestamp::from_secs(started),
            at: Timestamp::from_secs(9),
            amount: 1,
        };
        let mut charges = Charges::of(&[charge(1, 0), charge(1, 0), charge(1, 60)]);
        assert_eq!(
            String::from_utf8(charges.encode()).unwrap(),
            r#"[["session","agent/a/1",0,2],["session","agent/a/1",60000000,1]]"#
        );
        assert_eq!(Charges::decode(&charges.encode()), Some(charges.clone()));
        assert_eq!(Charges::default().encode(), b"");
        for wrong in ["", "{}", "[[]]", r#"[["week","k",0,1]]"#, r#"[["hour","k",0,-1]]"#] {
            assert_eq!(Charges::decode(wrong.as_bytes()), None, "{wrong}");
        }
        charges.absorb(Charges::of(&(0..200).map(|key| charge(key, 0)).collect::<Vec<_>>()));
        assert_eq!(charges.0.len(), NAMED_MAX);
    }
}
