//! The journal in numbers, by steps of time.

use super::Class;
use crate::bound::STEPS_MAX;
use crate::draft::Who;
use crate::id::Timestamp;
use std::collections::BTreeMap;

/// A span of time, and the steps that it is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    since: i64,
    until: i64,
    step: i64,
}

const MINUTE_US: i64 = 60 * 1_000_000;

impl Span {
    /// From `since` to `until` by steps of `step_s`. A step is whole minutes, and as long as it takes to
    /// have no more than [`STEPS_MAX`] of them; the span begins and ends where a step does, counted from
    /// 1970. So it may be somewhat longer than asked for, never shorter.
    #[must_use]
    pub fn new(since: Timestamp, until: Timestamp, step_s: u32) -> Self {
        let (since, until) = (since.micros(), until.micros().max(since.micros()));
        let whole = |span: i64, of: i64| {
            let below = span.div_euclid(of).saturating_mul(of);
            if below < span { below.saturating_add(of) } else { below }
        };
        let asked = i64::from(step_s).saturating_mul(1_000_000);
        // One step may be added where the span does not begin with one.
        let steps = i64::from(STEPS_MAX).saturating_sub(1).max(1);
        let least = until.saturating_sub(since).div_euclid(steps).saturating_add(1);
        let step = whole(asked.max(least), MINUTE_US).max(MINUTE_US);
        let since = since.div_euclid(step).saturating_mul(step);
        Self { since, until: whole(until, step).max(since.saturating_add(step)), step }
    }

    /// Where it begins.
    #[must_use]
    pub const fn since(self) -> Timestamp {
        Timestamp::from_micros(self.since)
    }

    /// Where it ends: the first moment that is not in it.
    #[must_use]
    pub const fn until(self) -> Timestamp {
        Timestamp::from_micros(self.until)
    }

    /// How long a step is, in whole minutes.
    #[must_use]
    pub const fn step_minutes(self) -> i64 {
        self.step.div_euclid(MINUTE_US)
    }

    /// In which step a moment is; `None` outside of the span.
    #[must_use]
    pub fn step_of(self, at: Timestamp) -> Option<usize> {
        let at = at.micros();
        let inside = self.since <= at && at < self.until;
        let since = at.saturating_sub(self.since).div_euclid(self.step);
        usize::try_from(since).ok().filter(|_| inside)
    }

    /// Where each step begins.
    #[must_use]
    pub fn steps(self) -> Vec<Timestamp> {
        let starts = std::iter::successors(Some(self.since), |at| at.checked_add(self.step));
        starts.take_while(|at| *at < self.until).map(Timestamp::from_micros).collect()
    }
}

/// How many calls came to what, in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Where the step begins.
    pub at: Timestamp,
    /// How many became what. None is under way here; a call that was cut off and of which more became
    /// known later counts twice.
    pub classes: BTreeMap<Class, u64>,
    /// The refused ones by their code.
    pub refusals: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub const fn empty(at: Timestamp) -> Self {
        Self { at, classes: BTreeMap::new(), refusals: BTreeMap::new() }
    }

    /// Counts calls that came to this.
    pub fn count(&mut self, class: Class, code: Option<&str>, calls: u64) {
        if class == Class::UnderWay {
            return;
        }
        let add = |count: &mut u64| *count = count.saturating_add(calls);
        add(self.classes.entry(class).or_default());
        if let (Class::Refused, Some(code)) = (class, code) {
            add(self.refusals.entry(code.to_owned()).or_default());
        }
    }
}

/// What became of drafts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisions {
    /// By steps of time.
    pub steps: Vec<DraftTally>,
    /// How long those waited that people decided on in all of it.
    pub waited: Option<Waited>,
    /// Who decided, those with the most decisions first, at most
    /// [`APPROVERS_LISTED_MAX`](crate::bound::APPROVERS_LISTED_MAX).
    pub approvers: Vec<Approver>,
    /// Whether there are others.
    pub cut: bool,
}

/// What became of drafts in one step of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftTally {
    /// Where the step begins.
    pub at: Timestamp,
    /// How many were proposed.
    pub proposed: u64,
    /// How many people agreed to.
    pub approved: u64,
    /// How many people did not agree to.
    pub rejected: u64,
    /// How many came to an end that nobody decided: withdrawn, expired or void while they waited.
    pub ended: u64,
    /// How many waited at its end.
    pub waiting: u64,
    /// How long those waited that people decided on in it.
    pub waited: Option<Waited>,
}

/// How long drafts waited for people, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// Half of them no longer than this.
    pub median_us: u64,
    /// Nine in ten of them no longer than this.
    pub p90_us: u64,
}

impl Waited {
    /// Of these times, by nearest rank; `None` if there are none.
    #[must_use]
    pub fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = times.len().saturating_mul(percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { median_us: rank(50)?, p90_us: rank(90)? })
    }
}

/// How a person decided.
///
/// An approval is a *rubber stamp* if it came within [`HASTY_S`](crate::bound::HASTY_S) seconds of the
/// proposal, or if no record says that this person was shown the draft's preview before. A tool without
/// a preview shows nobody one: of its drafts only haste tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// Who; `None` if that was erased.
    pub who: Option<Who>,
    /// How many drafts they decided.
    pub decisions: u64,
    /// How many of these they agreed to.
    pub approvals: u64,
    /// How many of those in haste.
    pub hasty: u64,
    /// How many of those without having been shown what would happen.
    pub unseen: u64,
    /// How many of those either way: over `approvals`, this is the rubber-stamp rate.
    pub stamps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_covers_what_was_asked_for_in_no_more_steps_than_may_be() {
        let at = Timestamp::from_secs;
        for (since, until, step) in
            [(0, 1, 0), (59, 61, 60), (7, 86_407, 60), (0, 0, 3_600), (-90, 10_000_000, 1)]
        {
            let span = Span::new(at(since), at(until), step);
            let steps = span.steps();
            assert!((1..=STEPS_MAX as usize).contains(&steps.len()), "{span:?}");
            assert!(span.since() <= at(since) && span.until() >= at(until), "{span:?}");
            assert_eq!(span.step_of(span.since()), Some(0));
            assert_eq!(span.step_of(span.until()), None);
            let last = Timestamp::from_micros(span.until().micros() - 1);
            assert_eq!(span.step_of(last), Some(steps.len() - 1));
        }
        let hour = Span::new(at(1_800), at(5_400), 3_600);
        assert_eq!(hour.steps(), [at(0), at(3_600)]);
    }

    #[test]
    fn waits_are_told_by_nearest_rank() {
        assert_eq!(Waited::of(Vec::new()), None);
        assert_eq!(Waited::of(vec![7]), Some(Waited { median_us: 7, p90_us: 7 }));
        let ten = (1..=10).rev().collect();
        assert_eq!(Waited::of(ten), Some(Waited { median_us: 5, p90_us: 9 }));
    }
}
