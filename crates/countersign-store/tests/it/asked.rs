//! What people ask of a journal, and the index that finds it.

use crate::support::{Place, append, at, call, draft, moving, proposing, refused, wait};
use countersign_core::draft::Step;
use countersign_core::id::CallId;
use countersign_core::person::Tenants;
use countersign_core::port::{Journal as _, Ledger as _};
use countersign_core::reading::{Calls, Class, Position, Search, Span};
use countersign_store::Index;

/// Opens the index, and waits until it has come as far as the journal.
pub(crate) fn index(place: &Place) -> Index {
    let index = Index::open(&place.config, place.clock.clone()).unwrap();
    for _ in 0..60_000 {
        if wait(index.chain(&Tenants::All)).is_ok_and(|chain| chain.behind.records == 0) {
            return index;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the index does not come: {:?}", wait(index.chain(&Tenants::All)));
}

#[test]
fn calls_are_found_with_what_became_of_them() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_a");
    store.note(refused("call_b", "forbidden", at(12)));
    let draft = draft("drf_a", "a", at(10));
    append(&store, proposing(&draft)).unwrap();
    append(&store, moving(&draft, Step::Approve)).unwrap();
    append(&store, crate::support::intent("call_c", "read")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let index = index(&place);
    let lines = wait(index.calls(Calls::default(), &Tenants::All)).unwrap();
    let seen: Vec<_> = lines.items.iter().map(|l| (l.call.as_deref().unwrap(), l.class)).collect();
    println!("{seen:?}");
    assert_eq!(lines.next, None);
    assert_eq!(seen.len(), 4);
    assert!(seen.contains(&("call_c", Class::UnderWay)));
    let all = wait(index.records(Search::default(), &Tenants::All)).unwrap();
    assert_eq!(all.items.len(), 7);
    let of = wait(index.of_call(&CallId::new("call_a").unwrap(), &Tenants::All)).unwrap();
    assert_eq!(of.len(), 2);
    let news = wait(index.calls_after(Position::START, Calls::default(), &Tenants::All)).unwrap();
    assert_eq!((news.lines.len(), news.more), (4, 0));
    let span = Span::new(at(0), at(60), 60);
    println!("{:?}", wait(index.tallies(span, Calls::default(), &Tenants::All)).unwrap());
    println!("{:?}", wait(index.decisions(span, &Tenants::All)).unwrap());
    println!("{:?}", wait(index.chain(&Tenants::All)).unwrap());
}
