//! Limits: exact counters in fixed windows, so that an auditor can recount them.

use crate::bound::{SESSION_ABSOLUTE_S, SESSION_IDLE_S};
use crate::id::{Digest, Timestamp};
use std::collections::BTreeMap;

/// How many calls a posture allows. What is not set is not limited here; every agent has all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Calls per session.
    pub per_session: Option<u32>,
    /// Calls per minute of the clock, UTC.
    pub per_minute: Option<u32>,
    /// Calls per hour of the clock, UTC.
    pub per_hour: Option<u32>,
    /// The same call (tool and arguments) per session and minute: the loop breaker.
    pub identical_per_minute: Option<u32>,
}

/// The span that a counter covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// A minute of the clock, UTC.
    Minute,
    /// An hour of the clock, UTC.
    Hour,
    /// A day of the clock, UTC.
    Day,
    /// From a session's first call to its idle or absolute end.
    Session,
    /// A minute of the clock, UTC, for one and the same call: the loop breaker.
    Alike,
}

impl Window {
    /// As records write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Session => "session",
            Self::Alike => "alike",
        }
    }

    /// As records write it, read back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Minute, Self::Hour, Self::Day, Self::Session, Self::Alike];
        all.into_iter().find(|window| window.as_str() == text)
    }

    const fn clock_s(self) -> Option<i64> {
        match self {
            Self::Minute | Self::Alike => Some(60),
            Self::Hour => Some(3_600),
            Self::Day => Some(86_400),
            Self::Session => None,
        }
    }
}

/// One counter that a call runs against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What is counted, unique per window: `agent/support-copilot/tenant/acct_alpha`.
    pub key: String,
    /// Over what span.
    pub window: Window,
    /// How many are admitted.
    pub max: u64,
    /// How many this call is: 1 of calls, as much as it comes to of a budget.
    pub amount: u64,
}

impl Counter {
    /// Of calls.
    #[must_use]
    pub fn of_calls(key: String, window: Window, max: u32) -> Self {
        Self { key, window, max: max.into(), amount: 1 }
    }
}

/// A counter's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// When its window began.
    pub started: Timestamp,
    /// When it last counted.
    pub last: Timestamp,
    /// How many were admitted since `started`.
    pub count: u64,
}

impl Tally {
    /// The state as of `now`: itself, or a new window with nothing in it. A clock that goes back
    /// does not open a new window.
    #[must_use]
    pub fn at(previous: Option<Self>, window: Window, now: Timestamp) -> Self {
        let started = match window.clock_s() {
            Some(span) => Timestamp::from_secs(
                now.secs().saturating_sub(now.secs().checked_rem_euclid(span).unwrap_or(0)),
            ),
            None => now,
        };
        let fresh = Self { started, last: now, count: 0 };
        match previous {
            // The clock was ahead, and is right again: what was counted counts for one more window.
            Some(tally) if tally.ahead(window, now) => Self { count: tally.count, ..fresh },
            Some(tally) if !tally.ended(window, now) => tally,
            Some(_) | None => fresh,
        }
    }

    /// Whether the window begins so late that no window of now can be as late.
    fn ahead(&self, window: Window, now: Timestamp) -> bool {
        let span = window.clock_s().and_then(|span| u64::try_from(span).ok());
        let ahead_s = self.started.micros_since(now).checked_div(1_000_000).unwrap_or(0);
        ahead_s >= span.unwrap_or(SESSION_IDLE_S)
    }

    /// Whether the window is over at `now`.
    #[must_use]
    pub fn ended(&self, window: Window, now: Timestamp) -> bool {
        let since =
            |earlier: Timestamp| now.micros_since(earlier).checked_div(1_000_000).unwrap_or(0);
        match window.clock_s().and_then(|span| u64::try_from(span).ok()) {
            Some(span) => since(self.started) >= span,
            None => since(self.last) >= SESSION_IDLE_S || since(self.started) >= SESSION_ABSOLUTE_S,
        }
    }

    /// Seconds from `now` until the window is over, at least 1.
    #[must_use]
    pub fn ends_in_s(&self, window: Window, now: Timestamp) -> u64 {
        let elapsed = now.micros_since(self.started).checked_div(1_000_000).unwrap_or(0);
        let span =
            window.clock_s().and_then(|s| u64::try_from(s).ok()).unwrap_or(SESSION_ABSOLUTE_S);
        span.saturating_sub(elapsed).max(1)
    }
}

/// A counted call: which counters it has been added to, to be made durable with its record.
///
/// Not `Clone`: one call is counted once.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Reservation {
    charges: Vec<Charge>,
}

impl Reservation {
    /// What has been counted.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }
    /// Gives up the reservation for its charges, to go into a record.
    #[must_use]
    pub fn into_charges(self) -> Vec<Charge> {
        self.charges
    }
}

/// More in one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The counter's key.
    pub key: String,
    /// Its window.
    pub window: Window,
    /// When that window began.
    pub started: Timestamp,
    /// When this call was counted.
    pub at: Timestamp,
    /// How many more.
    pub amount: u64,
}

/// A limit that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// The counter's key.
    pub key: String,
    /// Its window.
    pub window: Window,
    /// What it admits.
    pub max: u64,
    /// Seconds until the window is over.
    pub retry_after_s: u64,
}

/// All counters of one process, in memory. The store keeps one behind a lock and makes each
/// reservation durable with the record of its call.
#[derive(Debug, Default)]
pub struct Meter {
    minutes: BTreeMap<String, Tally>,
    hours: BTreeMap<String, Tally>,
    days: BTreeMap<String, Tally>,
    sessions: BTreeMap<String, Tally>,
    alike: Alike,
}

/// The counters of [`Window::Alike`]. Nearly every call has one of its own and none outlives its
/// minute, so there may be hundreds of thousands: all are of one minute, and of a key no more is
/// kept than the first half of its SHA-256.
#[derive(Debug, Default)]
struct Alike {
    started: Option<Timestamp>,
    counts: BTreeMap<u128, u64>,
}

impl Alike {
    fn place(key: &str) -> u128 {
        let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            *Digest::sha256(key.as_bytes()).as_bytes();
        u128::from_be_bytes(first)
    }

    fn tally(&mut self, key: &str, now: Timestamp) -> Tally {
        let known = self.started.map(|started| {
            let count = self.counts.get(&Self::place(key)).copied().unwrap_or_default();
            Tally { started, last: now, count }
        });
        let tally = Tally::at(known, Window::Alike, now);
        if known.is_some_and(|known| known.ahead(Window::Alike, now)) {
            self.started = Some(tally.started);
        }
        tally
    }

    /// Adds to a counter. What is of a later minute ends those before it.
    fn add(&mut self, key: &str, started: Timestamp, more: u64) {
        if self.started.is_none_or(|current| current < started) {
            *self = Self { started: Some(started), counts: BTreeMap::new() };
        }
        if self.started == Some(started) {
            let count = self.counts.entry(Self::place(key)).or_default();
            *count = count.saturating_add(more);
        }
    }
}

impl Meter {
    /// Puts back what was durable. Of [`Window::Alike`], what is put back for one key adds up.
    pub fn restore(&mut self, key: String, window: Window, tally: Tally) {
        match self.of(window) {
            Some(tallies) => drop(tallies.insert(key, tally)),
            None => self.alike.add(&key, tally.started, tally.count),
        }
    }

    /// The counters of a window; `None` for calls alike, which are kept in another way.
    fn of(&mut self, window: Window) -> Option<&mut BTreeMap<String, Tally>> {
        match window {
            Window::Minute => Some(&mut self.minutes),
            Window::Hour => Some(&mut self.hours),
            Window::Day => Some(&mut self.days),
            Window::Session => Some(&mut self.sessions),
            Window::Alike => None,
        }
    }

    fn tally(&mut self, counter: &Counter, now: Timestamp) -> Tally {
        let Counter { key, window, .. } = counter;
        match self.of(*window) {
            Some(tallies) => {
                let known = tallies.get(key).copied();
                let tally = Tally::at(known, *window, now);
                if known.is_some_and(|known| known.ahead(*window, now)) {
                    tallies.insert(key.clone(), tally);
                }
                tally
            }
            None => self.alike.tally(key, now),
        }
    }

    fn count(&mut self, counter: &Counter, tally: Tally, now: Timestamp) {
        let Counter { key, window, amount, .. } = counter;
        let Some(tallies) = self.of(*window) else {
            return self.alike.add(key, tally.started, *amount);
        };
        let (last, count) = (now.max(tally.last), tally.count.saturating_add(*amount));
        let counted = Tally { last, count, ..tally };
        match tallies.get_mut(key) {
            Some(known) => *known = counted,
            None => drop(tallies.insert(key.clone(), counted)),
        }
    }

    /// Counts a call against all of `counters`, or against none if one is used up.
    ///
    /// # Errors
    /// The [`LimitReached`] that holds longest.
    pub fn reserve(
        &mut self,
        counters: &[Counter],
        now: Timestamp,
    ) -> Result<Reservation, LimitReached> {
        let tallies: Vec<Tally> = counters.iter().map(|c| self.tally(c, now)).collect();
        let reached = counters
            .iter()
            .zip(&tallies)
            .filter(|(counter, tally)| tally.count.saturating_add(counter.amount) > counter.max)
            .map(|(counter, tally)| LimitReached {
                key: counter.key.clone(),
                window: counter.window,
                max: counter.max,
                retry_after_s: tally.ends_in_s(counter.window, now),
            })
            .max_by_key(|reached| reached.retry_after_s);
        if let Some(reached) = reached {
            return Err(reached);
        }
        let mut charges = Vec::with_capacity(counters.len());
        for (counter, tally) in counters.iter().zip(tallies) {
            self.count(counter, tally, now);
            charges.push(Charge {
                key: counter.key.clone(),
                window: counter.window,
                started: tally.started,
                at: now,
                amount: counter.amount,
            });
        }
        Ok(Reservation { charges })
    }

    /// What a counter has come to.
    pub fn spent(&mut self, counter: &Counter, now: Timestamp) -> u64 {
        self.tally(counter, now).count
    }

    /// Takes back what was counted, as far as its window is still the same.
    pub fn give_back(&mut self, charges: &[Charge]) {
        for Charge { key, window, started, amount, at: _ } in charges {
            let tally = self.of(*window).and_then(|tallies| tallies.get_mut(key));
            if let Some(tally) = tally.filter(|tally| tally.started == *started) {
                tally.count = tally.count.saturating_sub(*amount);
            }
        }
    }

    /// Forgets counters whose window is over.
    pub fn sweep(&mut self, now: Timestamp) {
        for window in [Window::Minute, Window::Hour, Window::Day, Window::Session] {
            if let Some(tallies) = self.of(window) {
                tallies.retain(|_key, tally| !tally.ended(window, now));
            }
        }
        if self.alike.started.is_some_and(|started| {
            Tally { started, last: started, count: 0 }.ended(Window::Alike, now)
        }) {
            self.alike = Alike::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counter(window: Window, max: u32) -> Counter {
        Counter::of_calls("k".to_owned(), window, max)
    }

    #[test]
    fn a_limit_admits_exactly_its_number_per_window() {
        let mut meter = Meter::default();
        let at = |s: i64| Timestamp::from_secs(6_000 + s);
        let minute = [counter(Window::Minute, 3)];
        for s in [0, 1, 59] {
            assert!(meter.reserve(&minute, at(s)).is_ok());
        }
        let reached = meter.reserve(&minute, at(59)).unwrap_err();
        assert_eq!((reached.max, reached.retry_after_s), (3, 1));
        assert!(meter.reserve(&minute, at(60)).is_ok(), "the next minute of the clock");
    }

    #[test]
    fn calls_alike_are_counted_by_the_minute_and_forgotten_with_it() {
        let mut meter = Meter::default();
        let alike = |key: &str| [Counter::of_calls(key.to_owned(), Window::Alike, 2)];
        let at = Timestamp::from_secs;
        for key in ["a", "b", "a", "b"] {
            assert!(meter.reserve(&alike(key), at(6_000)).is_ok(), "{key}");
        }
        let reached = meter.reserve(&alike("a"), at(6_059)).unwrap_err();
        assert_eq!((reached.max, reached.retry_after_s, reached.window), (2, 1, Window::Alike));
        assert!(meter.reserve(&alike("a"), at(5_000)).is_err(), "a clock that went back");
        assert!(meter.reserve(&alike("a"), at(6_060)).is_ok(), "the next minute of the clock");
        meter.restore("a".to_owned(), Window::Alike, Tally { count: 5, ..tally(6_000) });
        assert!(meter.reserve(&alike("a"), at(6_061)).is_ok(), "what is over counts no more");
        meter.restore("b".to_owned(), Window::Alike, tally(6_060));
        meter.restore("b".to_owned(), Window::Alike, tally(6_060));
        assert!(meter.reserve(&alike("b"), at(6_061)).is_err(), "what is put back adds up");
        meter.sweep(at(6_120));
        assert!(meter.alike.counts.is_empty());
    }

    fn tally(started: i64) -> Tally {
        let started = Timestamp::from_secs(started);
        Tally { started, last: started, count: 1 }
    }

    #[test]
    fn a_budget_admits_exactly_what_fits_and_takes_back_what_was_not_spent() {
        let mut meter = Meter::default();
        let now = Timestamp::from_secs(90_000);
        let spend = |amount| [Counter { amount, max: 100, ..counter(Window::Day, 0) }];
        let first = meter.reserve(&spend(60), now).unwrap();
        assert_eq!(meter.reserve(&spend(41), now).unwrap_err().max, 100);
        assert!(meter.reserve(&spend(40), now).is_ok());
        assert!(meter.reserve(&spend(1), now).is_err());
        meter.give_back(first.charges());
        assert!(meter.reserve(&spend(60), now).is_ok());
        let tomorrow = Timestamp::from_secs(90_000 + 86_400);
        assert!(meter.reserve(&spend(100), tomorrow).is_ok());
        meter.give_back(first.charges());
        assert!(meter.reserve(&spend(1), tomorrow).is_err(), "of a window that is over");
    }

    #[test]
    fn a_refused_call_is_charged_to_no_counter() {
        let mut meter = Meter::default();
        let now = Timestamp::from_secs(0);
        let open = counter(Window::Hour, 2);
        let shut = counter(Window::Minute, 0);
        for _ in 0..10 {
            assert!(meter.reserve(&[open.clone(), shut.clone()], now).is_err());
        }
        assert!(meter.reserve(&[open], now).is_ok());
    }

    #[test]
    fn a_session_ends_when_idle_and_after_its_longest_life() {
        let mut meter = Meter::default();
        let session = [counter(Window::Session, 1)];
        let idle = i64::try_from(SESSION_IDLE_S).unwrap();
        assert!(meter.reserve(&session, Timestamp::from_secs(0)).is_ok());
        assert!(meter.reserve(&session, Timestamp::from_secs(idle - 1)).is_err());
        assert!(meter.reserve(&session, Timestamp::from_secs(idle)).is_ok());
    }

    #[test]
    fn a_clock_that_was_ahead_limits_for_one_window_more_and_no_longer() {
        for window in [Window::Minute, Window::Hour, Window::Day, Window::Alike] {
            let mut meter = Meter::default();
            let one = [counter(window, 1)];
            let month = 30 * 86_400;
            assert!(meter.reserve(&one, Timestamp::from_secs(month)).is_ok());
            assert!(meter.reserve(&one, Timestamp::from_secs(0)).is_err(), "{window:?}");
            let reached = meter.reserve(&one, Timestamp::from_secs(1)).unwrap_err();
            assert!(reached.retry_after_s <= 86_400);
            let next = Timestamp::from_secs(window.clock_s().unwrap());
            assert!(meter.reserve(&one, next).is_ok(), "{window:?}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_opens_no_new_window() {
        let mut meter = Meter::default();
        let minute = [counter(Window::Minute, 1)];
        assert!(meter.reserve(&minute, Timestamp::from_secs(6_000)).is_ok());
        assert!(meter.reserve(&minute, Timestamp::from_secs(5_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_window_ever_admits_more_than_its_maximum(
            steps in prop::collection::vec(0i64..30, 1..200), max in 1u32..6,
        ) {
            let mut meter = Meter::default();
            let mut now = 0;
            let mut admitted: BTreeMap<i64, u32> = BTreeMap::new();
            for step in steps {
                now += step;
                let outcome = meter.reserve(&[counter(Window::Minute, max)], Timestamp::from_secs(now));
                let seen = admitted.entry(now / 60).or_default();
                prop_assert_eq!(outcome.is_ok(), *seen < max);
                *seen += u32::from(outcome.is_ok());
            }
        }
    }
}
