//! The journal on disk, from one process to the next.

use crate::support::{Place, append, at, call, intent, outcome, refused, wait};
use countersign_core::port::Journal as _;
use countersign_core::quota::{Counter, Window};
use countersign_core::reading::Record;
use countersign_core::record::Kind;
use countersign_store::audit::verify;

fn limit(max: u32) -> [Counter; 3] {
    [Window::Hour, Window::Session, Window::Alike].map(|window| counter(window, max))
}

fn counter(window: Window, max: u32) -> Counter {
    Counter::of_calls("agent/copilot".to_owned(), window, max)
}

fn of_kind(place: &Place, kind: Kind) -> Vec<Record> {
    place.records().into_iter().filter(|record| record.kind() == Some(kind)).collect()
}

#[test]
fn a_restart_is_no_way_around_a_limit() {
    let place = Place::new();
    let mut admitted = 0;
    for _process in 0..4 {
        let store = place.open();
        for _ in 0..3 {
            let Ok(reservation) = store.reserve(&limit(7), at(5)) else { continue };
            admitted += 1;
            let entry = intent(&format!("call_{admitted}"), "read");
            append(&store, entry.charged(reservation.into_charges())).unwrap();
        }
        drop(store); // as by kill -9
    }
    assert_eq!(admitted, 7);
    place.clock.advance(3_600);
    let store = place.open();
    assert!(store.reserve(&limit(7), at(3_600)).is_ok(), "the windows are over");
}

#[test]
fn refused_calls_count_after_a_restart_however_they_were_recorded() {
    let place = Place::new();
    let store = place.open();
    for n in 0..5 {
        let charges = store.reserve(&limit(100), at(n)).unwrap().into_charges();
        let mut refused = refused("call", "forbidden", at(n));
        refused.entry = refused.entry.charged(charges);
        store.note(refused);
    }
    append(&store, intent("call_a", "read")).unwrap(); // the writer has taken the notes along
    drop(store);
    let store = place.open();
    let more = (0..100).filter(|_| store.reserve(&limit(8), at(6)).is_ok()).count();
    assert_eq!(more, 3);
}

#[test]
fn calls_alike_are_counted_from_intents_and_from_refusals_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let alike = |max| [counter(Window::Alike, max)];
    for n in 0..4 {
        let charges = store.reserve(&alike(100), at(n)).unwrap().into_charges();
        append(&store, intent(&format!("call_{n}"), "read").charged(charges)).unwrap();
        let charges = store.reserve(&alike(100), at(n)).unwrap().into_charges();
        let mut refused = refused("call", "forbidden", at(n));
        refused.entry = refused.entry.charged(charges);
        store.note(refused);
    }
    append(&store, intent("call_last", "read")).unwrap(); // the writer has taken the notes along
    drop(store); // as by kill -9
    assert_eq!(place.findings(), []);
    let store = place.open();
    assert_eq!((0..100).filter(|_| store.reserve(&alike(9), at(20)).is_ok()).count(), 1);
    assert!(store.reserve(&alike(1), at(60)).is_ok(), "the minute is over");
}

#[test]
fn what_a_crash_cut_off_is_closed_as_unknown_once() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_done");
    append(&store, intent("call_read", "read")).unwrap();
    let cut_off = append(&store, intent("call_write", "reversible")).unwrap();
    call(&store, "call_after");
    drop(store);
    let before = verify(&place.config.path, &place.known()).unwrap();
    assert_eq!((before.findings, before.waiting), (vec![], 2));

    let store = place.open();
    assert_eq!(store.recovered(), 2);
    store.close().unwrap();
    assert_eq!(place.open().recovered(), 0, "once");

    let recovered: Vec<_> = of_kind(&place, Kind::Outcome)
        .into_iter()
        .filter(|record| record.header.get("recovered").is_some())
        .collect();
    let told: Vec<_> = recovered
        .iter()
        .map(|r| (r.text("call").unwrap(), r.text("status").unwrap(), r.text("applied").unwrap()))
        .collect();
    assert_eq!(
        told,
        [("call_read", "unknown", "not_applied"), ("call_write", "unknown", "unknown")]
    );
    assert_eq!(recovered[1].header["intent"]["stream"], *cut_off.stream);
    assert_eq!(recovered[1].header["intent"]["seq"], cut_off.sequence);
    for name in ["agent", "tenant", "tool", "system", "effect"] {
        assert!(recovered[1].text(name).is_some(), "{name}");
    }
    let after = verify(&place.config.path, &place.known()).unwrap();
    assert_eq!((after.findings, after.waiting), (vec![], 0));
}

#[test]
fn a_late_outcome_may_follow_one_that_recovery_wrote_and_a_second_one_may_not() {
    let place = Place::new();
    let store = place.open();
    let receipt = append(&store, intent("call_late", "reversible")).unwrap();
    drop(store);
    let store = place.open();
    append(&store, outcome("call_late", &receipt)).unwrap();
    assert_eq!(place.findings(), []);
    append(&store, outcome("call_late", &receipt)).unwrap();
    let findings = place.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].what.contains("no intent that waits"), "{findings:?}");
}

#[test]
fn closing_ends_calls_under_way_as_unknown() {
    let place = Place::new();
    let store = place.open();
    let receipt = append(&store, intent("call_under_way", "reversible")).unwrap();
    store.note(refused("call_x", "forbidden", at(1)));
    store.close().unwrap();
    assert!(append(&store, outcome("call_under_way", &receipt)).is_err());
    drop(store);
    assert_eq!(of_kind(&place, Kind::Outcome)[0].text("status"), Some("unknown"));
    assert_eq!(of_kind(&place, Kind::Refusal).len(), 1);
    assert_eq!(of_kind(&place, Kind::StreamClosed).len(), 1);
    assert_eq!(place.findings(), []);
    assert_eq!(place.open().recovered(), 0);
}

#[test]
fn each_stream_names_the_heads_that_none_has_named() {
    let place = Place::new();
    for process in 0..3 {
        let store = place.open();
        call(&store, &format!("call_{process}"));
        if process != 1 {
            store.close().unwrap();
        }
    }
    let opened = of_kind(&place, Kind::StreamOpened);
    let mut earlier: Vec<_> =
        opened.iter().map(|r| r.header["earlier"].as_array().unwrap().len()).collect();
    earlier.sort_unstable();
    assert_eq!(earlier, [0, 1, 1], "no list grows with every start");
    let verified = verify(&place.config.path, &place.known()).unwrap();
    assert_eq!(verified.findings, []);
    let ends: Vec<_> = verified.streams.iter().map(|head| (head.seq, head.closed)).collect();
    assert_eq!(ends, [(3, true), (2, false), (3, true)]);
    assert_eq!(verified.entries, 11);
}

#[test]
fn a_journal_whose_head_nobody_signed_is_not_opened() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_a");
    drop(store);
    let connection = rusqlite::Connection::open(&place.config.path).unwrap();
    connection
        .execute_batch("UPDATE streams SET head_seq = head_seq + 1, head_hash = zeroblob(32)")
        .unwrap();
    let opened = countersign_store::SqliteStore::open(
        &place.config,
        place.clock.clone(),
        place.entropy.clone(),
    );
    assert!(matches!(opened, Err(countersign_store::StoreError::Tampered(_))));
}

#[test]
fn counters_whose_windows_are_over_are_deleted() {
    let place = Place::new();
    let store = place.open();
    let rows = || -> i64 {
        rusqlite::Connection::open(&place.config.path)
            .unwrap()
            .query_row("SELECT count(*) FROM counters", [], |row| row.get(0))
            .unwrap()
    };
    let charges = store.reserve(&limit(9), at(0)).unwrap().into_charges();
    append(&store, intent("call_a", "read").charged(charges)).unwrap();
    assert_eq!(rows(), 2);
    place.clock.advance(13 * 3_600);
    append(&store, intent("call_b", "read")).unwrap();
    assert_eq!(rows(), 0);
}

/// Changes the table of counters; what `verify` then says of the file as a whole.
fn with_counters(place: &Place, change: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(&place.config.path).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    connection.execute_batch(change).unwrap();
    connection.execute_batch("COMMIT").unwrap();
    place.findings().into_iter().map(|finding| finding.what).collect()
}

#[test]
fn a_record_names_what_its_calls_were_charged() {
    let place = Place::new();
    let store = place.open();
    let charges = || store.reserve(&limit(100), at(5)).unwrap().into_charges();
    append(&store, intent("call_a", "read").charged(charges())).unwrap();
    for _ in 0..3 {
        let mut refused = refused("call_r", "forbidden", at(6));
        refused.entry = refused.entry.charged(charges());
        store.note(refused);
    }
    store.close().unwrap();
    let named = |kind| {
        let records = of_kind(&place, kind);
        records.iter().map(|r| r.bodies["charges"].to_string()).collect::<Vec<_>>()
    };
    let charged = |count| {
        format!(
            r#"[["hour","agent/copilot",0,{count}],["session","agent/copilot",5000000,{count}],["alike","agent/copilot",0,{count}]]"#
        )
    };
    assert_eq!(named(Kind::Intent), [charged(1)]);
    assert_eq!(named(Kind::Refusal), [charged(1), charged(2)], "the repeats in one");
    assert!(!of_kind(&place, Kind::Intent)[0].header.contains_key("charges"), "erasable");
}

#[test]
fn a_counter_that_was_lowered_is_found_while_its_window_lasts() {
    let place = Place::new();
    let store = place.open();
    for n in 0..4 {
        let charges = store.reserve(&limit(100), at(5)).unwrap().into_charges();
        append(&store, intent(&format!("call_{n}"), "read").charged(charges)).unwrap();
    }
    store.close().unwrap();
    drop(store);
    place.clock.advance(60);
    assert_eq!(with_counters(&place, "UPDATE counters SET count = count + 1"), [""; 0]);
    let lowered = with_counters(&place, "UPDATE counters SET count = 3 WHERE window = 'hour'");
    assert_eq!(lowered.len(), 1, "{lowered:?}");
    assert!(lowered[0].contains("stands at 3, and the records count 4"), "{lowered:?}");
    let back = with_counters(&place, "UPDATE counters SET count = 4, started = started - 1");
    assert_eq!(back.len(), 2, "an earlier window is not this one: {back:?}");
    let gone = with_counters(&place, "DELETE FROM counters");
    assert_eq!(gone.len(), 2, "{gone:?}");
    place.clock.advance(3_600);
    assert_eq!(place.findings(), [], "the windows are over");
}

#[test]
fn an_idle_writer_renews_its_lease() {
    let place = Place::new();
    let store = place.open();
    let lease = || -> i64 {
        rusqlite::Connection::open(&place.config.path)
            .unwrap()
            .query_row("SELECT max(lease_until) FROM streams", [], |row| row.get(0))
            .unwrap()
    };
    let before = lease();
    place.clock.advance(6);
    let mut looks = 0;
    while lease() == before {
        looks += 1;
        assert!(looks < 100_000, "the lease was not renewed");
        std::thread::yield_now();
    }
    wait(store.append(intent("call_a", "read"))).unwrap();
}
