//! A second verifier, written from `docs/audit-format.md` alone, agrees with the first.

use crate::support::Place;
use crate::tampering::{ORIGINAL, apply, copy, found, mutations, unguarded};
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
