//! What `audit query` and `audit tail` show.

use crate::support::{Place, append, at, call, intent, refused};
use countersign_core::port::Journal as _;
use countersign_core::reading::{Cursor, Parts, Record};
use countersign_core::record::Kind;
use countersign_store::audit::{Filter, Reader};

fn calls(records: &[Record]) -> Vec<String> {
    records.iter().filter_map(|record| record.text("call")).map(str::to_owned).collect()
}

#[test]
fn each_filter_keeps_what_fits_and_drops_the_rest() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_a");
    append(&store, intent("call_b", "reversible").with("agent", "other").with("tool", "other"))
        .unwrap();
    store.note(refused("call_c", "forbidden", at(12)));
    store.close().unwrap();
    let reader = Reader::open(&place.config.path).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    let cases = [
        (Filter { agent: text("other"), ..none() }, vec!["call_b", "call_b"]),
        (Filter { tool: text("get_usage"), ..none() }, vec!["call_a", "call_a"]),
        (Filter { tenant: text("acct_bravo"), ..none() }, vec![]),
        (Filter { code: text("forbidden"), ..none() }, vec!["call_c"]),
        (Filter { status: text("unknown"), ..none() }, vec!["call_b"]),
        (Filter { kind: Some(Kind::Intent), ..none() }, vec!["call_a", "call_b"]),
        (Filter { call: text("call_a"), since: Some(at(11)), ..none() }, vec!["call_a"]),
        (Filter { call: text("call_a"), until: Some(at(11)), ..none() }, vec!["call_a"]),
        (Filter { since: Some(at(10)), limit: Some(2), ..none() }, vec!["call_a", "call_c"]),
        (Filter { call: text("' OR 1 --"), ..none() }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(calls(&reader.query(&filter).unwrap()), expected, "{filter:?}");
    }
    let times: Vec<_> =
        reader.query(&none()).unwrap().iter().map(|r| (r.at(), r.sequence())).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_tail_misses_nothing_and_repeats_nothing() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_a");
    let reader = Reader::open(&place.config.path).unwrap();
    let (last, mut cursor) = reader.tail(&Filter { limit: Some(1), ..Filter::default() }).unwrap();
    assert_eq!(calls(&last), ["call_a"]);
    let all = Filter::default();
    assert_eq!(reader.follow(&mut cursor, &all, Parts::Whole).unwrap(), []);
    call(&store, "call_b");
    drop(store);
    let store = place.open();
    call(&store, "call_c");
    let one = Filter { limit: Some(1), ..Filter::default() };
    let mut seen = Vec::new();
    loop {
        let next = reader.follow(&mut cursor, &one, Parts::Whole).unwrap();
        assert!(next.len() <= 1);
        if next.is_empty() {
            break;
        }
        seen.extend(calls(&next));
    }
    assert_eq!(seen, ["call_b", "call_b", "call_c", "call_c"]);
    let intents = Filter { kind: Some(Kind::Intent), ..Filter::default() };
    let everything = reader.follow(&mut Cursor::default(), &intents, Parts::Whole).unwrap();
    assert_eq!(calls(&everything), ["call_a", "call_b", "call_c"]);
    // Of whom little is needed little is read.
    const NEEDED: [&str; 3] = ["at", "call", "no_such_member"];
    let parts = Parts::Members(&NEEDED);
    let little = reader.follow(&mut Cursor::default(), &intents, parts).unwrap();
    for (little, whole) in little.iter().zip(&everything) {
        let names: Vec<_> = little.header.keys().cloned().collect();
        assert_eq!((names.len(), little.at()), (2, whole.at()), "{names:?}");
        assert_eq!(little.text("call"), whole.text("call"));
        assert!(little.bodies.is_empty() && !whole.bodies.is_empty());
    }
    assert_eq!(little.len(), everything.len());
}

#[test]
fn one_object_holds_the_header_and_the_bodies() {
    let place = Place::new();
    let store = place.open();
    append(&store, intent("call_a", "read")).unwrap();
    let filter = Filter { kind: Some(Kind::Intent), ..Filter::default() };
    let mut records = Reader::open(&place.config.path).unwrap().query(&filter).unwrap();
    let object = records.pop().unwrap().into_json();
    assert_eq!(object["call"], "call_a");
    assert_eq!(object["bodies"]["principal"]["subject"], "ann");
}
