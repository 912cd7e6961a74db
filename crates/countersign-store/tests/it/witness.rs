//! The head beside the key: what is caught with it that the file alone does not show.

use crate::support::{Place, append, call, intent, opened};
use countersign_core::record::Kind;
use countersign_store::audit::{Known, verify};
use countersign_store::{SqliteStore, StoreError, Witness};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// The database and its log.
fn files(place: &Place) -> [PathBuf; 2] {
    let path = place.config.path.clone();
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    [path, log.into()]
}

/// What a power cut would leave of the journal now.
fn snapshot(place: &Place) -> [Vec<u8>; 2] {
    files(place).map(|path| std::fs::read(path).unwrap())
}

fn put_back(place: &Place, snapshot: &[Vec<u8>; 2]) {
    for (path, bytes) in files(place).iter().zip(snapshot) {
        std::fs::write(path, bytes).unwrap();
    }
}

/// Where each commit in a log ends: its frame says how large the database is after it.
fn commits(log: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + number(8) as usize;
    (32..log.len()).step_by(frame).filter(|at| number(at + 4) != 0).map(|at| at + frame).collect()
}

fn accept(place: &Place) -> SqliteStore {
    let accept = || SqliteStore::accept(&place.config, place.clock.clone(), place.entropy.clone());
    opened(accept).unwrap()
}

#[test]
fn a_log_cut_at_an_earlier_commit_is_refused_and_found() {
    let place = Place::new();
    let store = place.open();
    for n in 0..3 {
        call(&store, &format!("call_{n}"));
    }
    let [database, log] = snapshot(&place);
    drop(store);
    let commits = commits(&log);
    assert_eq!(commits.len(), 6, "one for each record, and none of the stream's beginning");
    for &cut in &commits[..5] {
        put_back(&place, &[database.clone(), log[..cut].to_vec()]);
        let key = Some(place.key);
        let alone = verify(&place.config.path, &Known { key, ..Known::default() }).unwrap();
        assert_eq!(alone.findings, [], "an older journal, signed throughout");
        let findings = place.findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].what.contains("had come to entry 6"), "{findings:?}");
        let refused = place.try_open().unwrap_err();
        assert!(matches!(refused, StoreError::Tampered(_)), "{refused}");
        assert!(refused.to_string().contains("had come to entry 6"), "{refused}");
    }
    put_back(&place, &[database, log]);
    assert_eq!(place.findings(), []);
    assert_eq!(place.open().recovered(), 0);
}

#[test]
fn a_whole_file_put_back_is_refused_and_found() {
    let place = Place::new();
    place.open().close().unwrap();
    let old = std::fs::read(&place.config.path).unwrap();
    let store = place.open();
    call(&store, "call_a");
    store.close().unwrap();
    drop(store);
    std::fs::write(&place.config.path, old).unwrap();
    assert_eq!(place.findings().len(), 1);
    assert!(matches!(place.try_open(), Err(StoreError::Tampered(_))));
}

#[test]
fn nobody_is_told_of_a_record_before_the_head_is_written_down() {
    let place = Place::new();
    let store = place.open();
    assert_eq!((place.head().epoch, place.head().seq), (1, 0));
    for n in 0..50 {
        let receipt = append(&store, intent(&format!("call_{n}"), "read")).unwrap();
        let Witness { stream, seq, hash, .. } = place.head();
        assert_eq!((&*stream, seq, hash), (&*receipt.stream, receipt.sequence, receipt.hash));
    }
    store.close().unwrap();
    assert_eq!(place.head().seq, 101, "fifty outcomes and the end");
    let mode = std::fs::metadata(Witness::beside(&place.config.key)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_journal_that_is_ahead_of_its_head_goes_on() {
    let place = Place::new();
    let head = Witness::beside(&place.config.key);
    let store = place.open();
    let old = std::fs::read(&head).unwrap();
    call(&store, "call_a");
    drop(store);
    // As after a power cut, which may lose what was not synced.
    std::fs::write(&head, &old).unwrap();
    assert_eq!(place.findings(), []);
    place.open().close().unwrap();
    std::fs::write(&head, &old).unwrap();
    place.open().close().unwrap();
    assert_eq!(place.findings(), []);
}

#[test]
fn a_head_that_is_missing_torn_or_forged_is_refused_until_it_is_accepted_on_record() {
    type Change = fn(String) -> Option<String>;
    let changes: [(Change, &str); 4] = [
        (|_| None, "no head"),
        (|head| Some(head.lines().take(4).collect()), "is no head"),
        (|head| Some(format!("{head}{head}")), "is no head"),
        (|head| Some(head.replacen("0000001\n", "0000000\n", 1)), "not signed by its key"),
    ];
    for (change, says) in changes {
        let place = Place::new();
        place.open().close().unwrap();
        let head = Witness::beside(&place.config.key);
        match change(std::fs::read_to_string(&head).unwrap()) {
            None => std::fs::remove_file(&head).unwrap(),
            Some(changed) => std::fs::write(&head, changed).unwrap(),
        }
        for _twice in 0..2 {
            let refused = place.try_open().unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
        }
        let accepted = accept(&place);
        assert!(accepted.accepted().unwrap().contains(says), "{accepted:?}");
        accepted.close().unwrap();
        drop(accepted);
        place.open().close().unwrap();
        assert_eq!(place.findings(), []);
        let on_record: Vec<_> = place
            .records()
            .into_iter()
            .filter(|record| record.kind() == Some(Kind::StreamOpened))
            .filter_map(|record| record.text("accepted").map(str::to_owned))
            .collect();
        assert_eq!(on_record.len(), 1);
        assert!(on_record[0].contains(says), "{on_record:?}");
    }
}

#[test]
fn there_is_nothing_to_accept_in_a_journal_that_is_as_it_was_left() {
    let place = Place::new();
    let store = accept(&place);
    assert_eq!(store.accepted(), None);
    store.close().unwrap();
    assert!(place.records().iter().all(|record| record.text("accepted").is_none()));
}

#[test]
fn a_newest_stream_taken_out_is_refused_even_where_the_head_is_accepted() {
    let place = Place::new();
    place.open().close().unwrap();
    place.open().close().unwrap();
    crate::tampering::unguarded(&place.config.path, |connection| {
        connection
            .execute_batch(
                "DELETE FROM entries WHERE place >> 40 = 2;
                 DELETE FROM streams WHERE epoch = 2;
                 UPDATE streams SET state = 'closed'",
            )
            .is_ok()
    });
    let head = place.head();
    let refused =
        SqliteStore::accept(&place.config, place.clock.clone(), place.entropy.clone()).unwrap_err();
    assert!(refused.to_string().contains("newest stream is missing"), "{refused}");
    assert_eq!(place.head(), head, "what was known is still known");
}

#[test]
fn the_log_holds_nothing_of_an_earlier_process() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_a");
    let cut_off = snapshot(&place);
    drop(store);
    put_back(&place, &cut_off);
    let store = place.open();
    assert_eq!(snapshot(&place)[1].len(), 0, "emptied when it was opened");
    call(&store, "call_b");
    assert_ne!(snapshot(&place)[1].len(), 0);
    let reader = countersign_store::audit::Reader::open(&place.config.path).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(snapshot(&place)[1].len(), 0, "emptied when it was closed");
    drop(reader);
}
