//! A second verifier, written from `docs/audit-format.md` alone, agrees with the first.

use crate::support::{Place, alert, append, at, intent, outcome};
use crate::tampering::{ORIGINAL, apply, copy, found, mutations, unguarded};
use countersign_core::port::Receipt;
use countersign_core::record::{Entry, Kind};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn python(journal: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/verifier.py");
    Command::new("python3").arg(script).arg(journal).output().expect("python3 runs")
}

#[test]
fn it_finds_nothing_in_a_journal_that_is_whole() {
    for journal in [&ORIGINAL.config.path, &Place::new().config.path] {
        let output = python(journal);
        assert!(output.status.success(), "{output:?}");
    }
    let said = String::from_utf8(python(&ORIGINAL.config.path).stdout).unwrap();
    assert!(said.starts_with("3 streams, "), "{said}");
}

#[test]
fn it_finds_what_was_tampered_with() {
    let mut runner = TestRunner::deterministic();
    let mut tampered = 0;
    while tampered < 25 {
        let mutation = mutations().new_tree(&mut runner).unwrap().current();
        let (_folder, path) = copy();
        // It does not check signatures, which are all that one of these changes.
        if !unguarded(&path, |connection| apply(connection, &mutation))
            || found(&path, None).iter().all(|what| what.contains("not signed"))
        {
            continue;
        }
        tampered += 1;
        let output = python(&path);
        assert_eq!(output.status.code(), Some(1), "{mutation:?}: {output:?}");
        assert!(!output.stdout.is_empty(), "it says what");
    }
}

#[test]
fn both_find_an_alert_without_a_cause_before_it_and_one_that_is_there_twice() {
    let place = Place::new();
    let store = place.open();
    let cause = append(&store, intent("call_a", "read")).unwrap();
    append(&store, outcome("call_a", &cause)).unwrap();
    for rule in ["out_of_scope", "unknown_tool"] {
        append(&store, alert(rule, &cause)).unwrap();
    }
    let earlier = Receipt { sequence: 3, ..cause.clone() };
    append(&store, alert("out_of_scope", &earlier)).unwrap();
    assert_eq!(place.findings(), []);
    assert!(python(&place.config.path).status.success());
    let stream = Receipt { stream: "0".repeat(32).into(), ..cause.clone() };
    let later = Receipt { sequence: 99, ..cause.clone() };
    for (wrong, what) in [
        (alert("out_of_scope", &cause), "same cause"),
        (alert("call_spike", &later), "no entry before it"),
        (alert("call_spike", &stream), "no entry before it"),
        (Entry::new(Kind::Alerted, at(13)).with("alert", "call_spike"), "cause"),
    ] {
        let before = place.findings().len();
        append(&store, wrong).unwrap();
        let findings = place.findings();
        assert!(findings.len() > before, "{what}");
        assert!(findings.last().unwrap().what.contains(what), "{what}: {findings:?}");
        let output = python(&place.config.path);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().count(), findings.len() + 1, "{said}");
    }
}
