//! Refusals on their way to the journal: repeats become one record, and noting one never waits.

use crate::counters::{self, Charges, Owed};
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::{Refused, Repeat};
use countersign_core::record::{Body, Entry, Kind, Sealed};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Repeats within this span become one record, in microseconds.
const SPAN_US: u64 = 60 * 1_000_000;
/// Most repeats told apart at one time; those beyond are merged by code.
const KEYS_MAX: usize = 1_024;
/// Makes what is held due at once.
const LONG_AGO: Timestamp = Timestamp::from_micros(i64::MIN);

/// A record of one refusal, or of several alike.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) repeat: Repeat,
    entry: Entry,
    tally: Repeats,
}

/// How often a refusal was repeated, and what that was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeats {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    charges: Charges,
}

impl Repeats {
    const fn once(at: Timestamp, charges: Charges) -> Self {
        Self { count: 1, first: at, last: at, charges }
    }
    fn absorb(&mut self, other: Self) {
        let Self { count, first, last, charges } = other;
        self.count = self.count.saturating_add(count);
        self.first = self.first.min(first);
        self.last = self.last.max(last);
        self.charges.absorb(charges);
    }
}

impl Noted {
    /// The record to be written, and what is needed should that fail.
    pub(crate) fn into_entry(self) -> (Entry, Repeat, Repeats) {
        let Self { repeat, entry, tally } = self;
        let Repeats { count, first, last, charges } = &tally;
        let entry = entry
            .with("count", *count)
            .with("first", first.micros())
            .with("last", last.micros())
            .body(counters::FIELD, charges.encode());
        (entry, repeat, tally)
    }
}

/// What one key holds.
#[derive(Debug)]
struct Kept {
    /// When its last record was handed over.
    opened: Timestamp,
    /// What has come since.
    held: Option<(Entry, Repeats)>,
}

#[derive(Debug, Default)]
struct State {
    due: Vec<Noted>,
    kept: BTreeMap<Repeat, Kept>,
    owed: Owed,
}

/// The refusals not yet written. Bounded: at most twice [`KEYS_MAX`] records
/// and one for each kind and code.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<State>);

impl Refusals {
    /// Takes a refusal: the first of its kind is due at once, repeats when the minute is over.
    /// What it was charged is owed whether or not it gets a record of its own.
    pub(crate) fn note(&self, refused: Refused) {
        let Refused { entry, repeat } = refused;
        let state = &mut *self.lock();
        state.owed.charge(entry.charges());
        let charges = Charges::of(entry.charges());
        let entry = entry.charged(Vec::new());
        if state.kept.contains_key(&repeat) || state.kept.len() < KEYS_MAX {
            let tally = Repeats::once(entry.at(), charges);
            state.take(repeat, entry, tally);
        } else {
            // Whose charges they were cannot be told apart either.
            let tally = Repeats::once(entry.at(), Charges::default());
            let (repeat, entry) = merged(entry);
            state.take(repeat, entry, tally);
        }
    }

    /// What is to be written at `now`, and the charges of all refusals since the last time.
    pub(crate) fn due(&self, now: Timestamp) -> (Vec<Noted>, Owed) {
        let state = &mut *self.lock();
        let mut due = std::mem::take(&mut state.due);
        state.kept.retain(|repeat, kept| {
            if now.micros_since(kept.opened) < SPAN_US {
                return true;
            }
            kept.opened = now;
            let Some((entry, tally)) = kept.held.take() else { return false };
            due.push(Noted { repeat: *repeat, entry, tally });
            true
        });
        (due, std::mem::take(&mut state.owed))
    }

    /// Everything, whatever its age: the store is being closed.
    pub(crate) fn all(&self, now: Timestamp) -> (Vec<Noted>, Owed) {
        let (mut due, owed) = self.due(now);
        let kept = std::mem::take(&mut self.lock().kept);
        due.extend(kept.into_iter().filter_map(|(repeat, kept)| {
            kept.held.map(|(entry, tally)| Noted { repeat, entry, tally })
        }));
        (due, owed)
    }

    /// Takes back records whose transaction was rolled back, to be tried again soon. They go under
    /// their keys, so that a store that stays full does not make them pile up.
    pub(crate) fn put_back(&self, records: Vec<(Sealed, Repeat, Repeats)>, owed: Owed) {
        let state = &mut *self.lock();
        state.owed.absorb(owed);
        for (sealed, repeat, tally) in records {
            let kept = state.kept.entry(repeat).or_insert(Kept { opened: LONG_AGO, held: None });
            kept.opened = LONG_AGO;
            match &mut kept.held {
                Some((_, held)) => held.absorb(tally),
                None => kept.held = Some((unsealed(sealed, tally.first), tally)),
            }
        }
    }

    /// Forgets charges in windows that are over.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.lock().owed.sweep(now);
    }

    /// A thread that panicked here left nothing half done that matters more than going on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, repeat: Repeat, entry: Entry, tally: Repeats) {
        match self.kept.get_mut(&repeat) {
            None => {
                self.kept.insert(repeat, Kept { opened: entry.at(), held: None });
                self.due.push(Noted { repeat, entry, tally });
            }
            Some(Kept { held: Some((_, held)), .. }) => held.absorb(tally),
            Some(kept) => kept.held = Some((entry, tally)),
        }
    }
}

/// The record under which refusals that cannot be told apart for want of room are merged: of a
/// refusal it keeps kind and code alone.
fn merged(entry: Entry) -> (Repeat, Entry) {
    let (kind, at) = (entry.kind(), entry.at());
    let code = entry.member("code").cloned().unwrap_or_default();
    let told = code.to_string();
    let parts = [kind.as_str().as_bytes(), told.as_bytes()];
    let repeat = Digest::of("countersign/merged/1", &parts);
    (repeat, Entry::new(kind, at).with("code", code).with("merged", true))
}

fn members(sealed: &Sealed) -> Map<String, Value> {
    serde_json::from_slice(&sealed.header).unwrap_or_default()
}

/// The entry that a sealed record was made from; its members of place are given again.
fn unsealed(sealed: Sealed, at: Timestamp) -> Entry {
    let members = members(&sealed);
    let at = members.get("at").and_then(Value::as_i64).map_or(at, Timestamp::from_micros);
    let kind = members.get("kind").and_then(Value::as_str).and_then(Kind::parse);
    let mut entry = Entry::new(kind.unwrap_or(Kind::Refusal), at);
    for (name, value) in members {
        entry = entry.with(name, value);
    }
    for Body { field, salt: _, bytes } in sealed.bodies {
        // Charges are counted with the repeats, and named again with them.
        if field != counters::FIELD {
            entry = entry.body(field, bytes);
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::chain::GENESIS;
    use countersign_core::quota::{Charge, Window};

    fn sealed(entry: Entry) -> Sealed {
        entry.seal("", 0, &GENESIS, |_zeros| {})
    }

    fn refused(key: u64, at: i64, code: &str) -> Refused {
        let at = Timestamp::from_secs(at);
        let charge =
            Charge { key: "k".to_owned(), window: Window::Hour, started: at, at, amount: 1 };
        let charge = Charge { started: Timestamp::from_secs(0), ..charge };
        Refused {
            entry: Entry::new(Kind::Refusal, at).with("code", code).charged(vec![charge]),
            repeat: Digest::of("test", &[&key.to_be_bytes()]),
        }
    }

    fn counts(noted: Vec<Noted>) -> Vec<(u64, i64, i64)> {
        noted.iter().map(|n| (n.tally.count, n.tally.first.secs(), n.tally.last.secs())).collect()
    }

    #[test]
    fn the_first_is_due_at_once_and_repeats_when_the_minute_is_over() {
        let refusals = Refusals::default();
        let at = Timestamp::from_secs;
        for second in [0, 1, 2, 59] {
            refusals.note(refused(1, second, "forbidden"));
        }
        assert_eq!(counts(refusals.due(at(59)).0), [(1, 0, 0)]);
        assert_eq!(counts(refusals.due(at(60)).0), [(3, 1, 59)]);
        refusals.note(refused(1, 61, "forbidden"));
        assert_eq!(counts(refusals.due(at(119)).0), []);
        assert_eq!(counts(refusals.due(at(120)).0), [(1, 61, 61)]);
        assert_eq!(counts(refusals.due(at(180)).0), []);
        refusals.note(refused(1, 181, "forbidden"));
        assert_eq!(counts(refusals.due(at(181)).0), [(1, 181, 181)], "a first one again");
    }

    #[test]
    fn a_flood_of_different_refusals_is_bounded_and_loses_no_count() {
        let refusals = Refusals::default();
        let flood = KEYS_MAX as u64 * 3;
        for key in 0..flood {
            refusals.note(refused(key, 1, if key % 2 == 0 { "forbidden" } else { "out_of_scope" }));
        }
        let act = Entry::new(Kind::ActRefused, Timestamp::from_secs(1)).with("code", "forbidden");
        refusals.note(Refused { entry: act, repeat: Digest::of("test", &[b"act"]) });
        assert!(refusals.lock().kept.len() <= KEYS_MAX + 3);
        let (noted, owed) = refusals.all(Timestamp::from_secs(1));
        assert!(noted.len() <= KEYS_MAX + 5);
        assert_eq!(noted.iter().map(|n| n.tally.count).sum::<u64>(), flood + 1);
        let acts = noted.iter().filter(|n| n.entry.kind() == Kind::ActRefused);
        assert_eq!(acts.count(), 1, "what a person was refused is not taken for an agent's");
        let counted: u64 = owed.iter().map(|(_, _, tally)| tally.count).sum();
        assert_eq!(counted, flood, "every one is charged");
    }

    #[test]
    fn a_record_that_was_rolled_back_comes_again_as_it_was() {
        let refusals = Refusals::default();
        let mut first = refused(1, 0, "forbidden");
        let charges = first.entry.charges().to_vec();
        first.entry = Entry::new(Kind::ActRefused, first.entry.at())
            .with("code", "forbidden")
            .body("detail", "why")
            .charged(charges);
        refusals.note(first);
        let (mut due, owed) = refusals.due(Timestamp::from_secs(0));
        let (entry, repeat, tally) = due.pop().unwrap().into_entry();
        refusals.put_back(vec![(sealed(entry), repeat, tally.clone())], owed);
        let (mut due, owed) = refusals.due(Timestamp::from_secs(1));
        let (entry, _, again) = due.pop().unwrap().into_entry();
        assert_eq!((entry.kind(), again), (Kind::ActRefused, tally));
        let sealed = sealed(entry);
        assert_eq!(sealed.bodies.iter().filter(|body| body.field == counters::FIELD).count(), 1);
        assert_eq!(members(&sealed).get("code"), Some(&"forbidden".into()));
        assert_eq!(sealed.bodies[0].bytes, b"why");
        assert_eq!(owed.iter().count(), 1);
    }
}
