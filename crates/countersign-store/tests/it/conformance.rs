//! What the ports promise, asked of every store.

mod absence;
mod drafts;
mod switches;

use crate::support::{ManualClock, Place, append, at, intent, outcome, refused};
use countersign_core::chain::link;
use countersign_core::id::Digest;
use countersign_core::port::{Journal, Register};
use countersign_core::quota::{Counter, Window};
use countersign_core::reading::Record;
use countersign_core::record::Kind;
use countersign_store::{MemoryJournal, SqliteStore};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store under test.
trait Subject: Sized {
    fn new() -> Self;
    fn journal(&self) -> &dyn Journal;
    fn register(&self) -> &dyn Register;
    fn clock(&self) -> &ManualClock;
    /// Closes it, and returns what it holds of calls, in order of the chain.
    fn close(self) -> Vec<Record>;
}

struct Memory(MemoryJournal, Arc<ManualClock>);

impl Subject for Memory {
    fn new() -> Self {
        let clock = Arc::<ManualClock>::default();
        let entropy = Arc::new(crate::support::Counting::default());
        Self(MemoryJournal::new(clock.clone(), entropy), clock)
    }
    fn journal(&self) -> &dyn Journal {
        &self.0
    }
    fn register(&self) -> &dyn Register {
        &self.0
    }
    fn clock(&self) -> &ManualClock {
        &self.1
    }
    fn close(self) -> Vec<Record> {
        self.0.close();
        self.0.records()
    }
}

struct Sqlite(SqliteStore, Place);

impl Subject for Sqlite {
    fn new() -> Self {
        let place = Place::new();
        Self(place.open(), place)
    }
    fn journal(&self) -> &dyn Journal {
        &self.0
    }
    fn register(&self) -> &dyn Register {
        &self.0
    }
    fn clock(&self) -> &ManualClock {
        &self.1.clock
    }
    fn close(self) -> Vec<Record> {
        self.0.close().unwrap();
        assert_eq!(self.1.findings(), []);
        let mut records = self.1.records();
        records.sort_by_key(Record::sequence);
        records
    }
}

macro_rules! conformance {
    ($($check:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $check() { super::$check::<crate::conformance::Memory>(); })*
        }
        mod sqlite {
            $(#[test] fn $check() { super::$check::<crate::conformance::Sqlite>(); })*
        }
    };
}
use conformance;

conformance!(
    exactly_the_maximum_of_32_callers_at_once_is_admitted,
    receipts_of_callers_at_once_make_one_chain_without_gaps,
    what_was_appended_is_what_is_read,
    repeated_refusals_become_one_record_that_counts_them,
    reused_names_of_place_are_overruled,
);

fn exactly_the_maximum_of_32_callers_at_once_is_admitted<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    let counters = [(Window::Minute, 100), (Window::Session, 77)]
        .map(|(window, max)| Counter::of_calls("k".to_owned(), window, max));
    let admitted: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..32)
            .map(|_| {
                scope
                    .spawn(|| (0..10).filter(|_| journal.reserve(&counters, at(5)).is_ok()).count())
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(admitted, 77);
    let reached = journal.reserve(&counters[..1], at(5));
    assert!(reached.is_ok(), "the minute has room for 23 more: what was refused cost it nothing");
}

fn receipts_of_callers_at_once_make_one_chain_without_gaps<S: Subject>() {
    let subject = S::new();
    let journal = subject.journal();
    let receipts = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..32)
            .map(|caller| {
                scope.spawn(move || {
                    (0..5)
                        .flat_map(|n| {
                            let call = format!("call_{caller}_{n}");
                            let began = append(journal, intent(&call, "read")).unwrap();
                            let ended = append(journal, outcome(&call, &began)).unwrap();
                            assert!(ended.sequence > began.sequence);
                            [(began, call.clone()), (ended, call)]
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    let hashes: BTreeMap<u64, Digest> =
        receipts.iter().map(|(receipt, _)| (receipt.sequence, receipt.hash)).collect();
    assert_eq!(hashes.len(), 32 * 5 * 2, "no place is given twice");
    let records = subject.close();
    for (receipt, call) in &receipts {
        let record = records.iter().find(|r| r.sequence() == receipt.sequence).unwrap();
        assert_eq!(record.text("call"), Some(call.as_str()));
        let header = serde_json_canonicalizer::to_vec(&record.header).unwrap();
        if let Some(previous) = hashes.get(&receipt.sequence.wrapping_sub(1)) {
            assert_eq!(link(previous, &header), receipt.hash);
        }
    }
    let (first, last) = (hashes.keys().next().unwrap(), hashes.keys().last().unwrap());
    assert_eq!(last - first + 1, 320, "without gaps");
}

fn what_was_appended_is_what_is_read<S: Subject>() {
    let subject = S::new();
    let receipt = append(subject.journal(), intent("call_a", "read")).unwrap();
    append(subject.journal(), outcome("call_a", &receipt)).unwrap();
    let records = subject.close();
    let intent = records.iter().find(|r| r.kind() == Some(Kind::Intent)).unwrap();
    assert_eq!((intent.at(), intent.stream()), (at(10), &*receipt.stream));
    assert_eq!(intent.text("tool"), Some("get_usage"));
    assert_eq!(intent.bodies["arguments"]["days"], 7);
    let outcome = records.iter().find(|r| r.kind() == Some(Kind::Outcome)).unwrap();
    assert_eq!(outcome.header["intent"]["seq"], receipt.sequence);
    assert_eq!(outcome.bodies["result"]["row_count"], 0);
}

fn repeated_refusals_become_one_record_that_counts_them<S: Subject>() {
    let subject = S::new();
    for second in 0..6 {
        subject.journal().note(refused(&format!("call_{second}"), "forbidden", at(second)));
    }
    subject.journal().note(refused("call_x", "out_of_scope", at(3)));
    subject.clock().advance(6);
    let told: Vec<_> = subject
        .close()
        .iter()
        .filter(|record| record.kind() == Some(Kind::Refusal))
        .map(|r| {
            let number = |name: &str| r.header[name].as_i64().unwrap();
            assert_eq!(r.bodies["detail"], "why é");
            let call = r.text("call").unwrap().to_owned();
            (call, number("count"), number("first") / 1_000_000, number("last") / 1_000_000)
        })
        .collect();
    let expected = [("call_0", 1, 0, 0), ("call_x", 1, 3, 3), ("call_1", 5, 1, 5)]
        .map(|(c, n, f, l)| (c.to_owned(), n, f, l));
    assert_eq!(told, expected);
}

fn reused_names_of_place_are_overruled<S: Subject>() {
    let subject = S::new();
    let entry =
        intent("call_a", "read").with("seq", 99).with("stream", "x").with("kind", "refusal");
    let receipt = append(subject.journal(), entry).unwrap();
    append(subject.journal(), outcome("call_a", &receipt)).unwrap();
    let records = subject.close();
    let record = records.iter().find(|r| r.sequence() == receipt.sequence).unwrap();
    assert_eq!((record.kind(), record.stream()), (Some(Kind::Intent), &*receipt.stream));
}
