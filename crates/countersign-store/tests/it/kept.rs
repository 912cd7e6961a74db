//! Drafts, switches and unknown outcomes on disk: what a crash leaves, what is waited for, and what is
//! forgotten in time.

use crate::support::{
    Place, append, at, brought, claiming, commit_of, delegating, delegation, delivering, draft,
    ending, intent, moving, outcome, proposing, resolving, returning, suspending, wait, way_to,
};
use countersign_core::absence::Delegation;
use countersign_core::draft::{
    Change, Conflict, Decided, Draft, State, Step, Switch, UnknownOutcome,
};
use countersign_core::id::{AgentId, DraftId, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::{Clock as _, Journal as _, Register as _, Unrecorded, Which};
use countersign_core::quota::{Charge, Counter, Window};
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use countersign_store::SqliteStore;
use countersign_store::audit::{Known, verify};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One draft in each state, something switched off, and people away.
fn filled(place: &Place) -> SqliteStore {
    let store = place.open();
    for state in State::ALL {
        let draft = draft(&format!("drf_{}", state.as_str()), state.as_str(), at(10));
        brought(&store, &draft, way_to(state));
    }
    let planner = Switch::Agent(AgentId::new("planner").unwrap());
    append(&store, suspending(&planner, "op")).unwrap();
    append(&store, suspending(&Switch::Everything, "op")).unwrap();
    append(&store, delegating(&delegation("dlg_a", ("sam", "pat"), (10, 900)), None)).unwrap();
    let everywhere =
        Delegation { tenants: Tenants::All, ..delegation("dlg_b", ("lee", "pat"), (10, 20)) };
    append(&store, delegating(&everywhere, None)).unwrap();
    append(&store, delegating(&delegation("dlg_c", ("kim", "pat"), (10, 900)), None)).unwrap();
    append(&store, returning("dlg_c")).unwrap();
    store
}

fn all(store: &SqliteStore) -> (Vec<Draft>, Vec<UnknownOutcome>) {
    let drafts = wait(store.drafts(Which::default())).unwrap();
    (drafts, wait(store.unknown(true)).unwrap())
}

#[test]
fn whatever_is_not_under_way_survives_a_crash_as_it_was() {
    for crash in [true, false] {
        let place = Place::new();
        let store = filled(&place);
        let (before, switches) = (all(&store), store.suspensions());
        let away = store.delegations();
        assert_eq!((before.0.len(), before.1.len(), switches.len()), (10, 1, 2));
        assert_eq!(away.len(), 2);
        if !crash {
            store.close().unwrap();
        }
        drop(store);
        place.clock.advance(60);
        let store = place.open();
        let after = all(&store);
        assert_eq!(store.suspensions(), switches);
        assert_eq!(store.delegations(), away);
        for (was, is) in before.0.iter().zip(&after.0) {
            if was.state != State::Committing {
                assert_eq!(was, is);
                continue;
            }
            is_asked_about(&store, was, is);
        }
        assert_eq!(after.1.len(), 2);
        // What was switched off still is, and what was decided still counts.
        assert!(matches!(
            append(&store, intent("call_a", "read")),
            Err(Unrecorded::Refused(Conflict::Suspended(_)))
        ));
        let twin = draft("drf_twin", "approved", at(70));
        assert_eq!(
            append(&store, proposing(&twin)),
            Err(Unrecorded::Refused(Conflict::Live(id("drf_approved"))))
        );
        store.close().unwrap();
        assert_eq!(place.findings(), []);
    }
}

fn id(id: &str) -> DraftId {
    DraftId::new(id).unwrap()
}

/// Nobody knows what became of it, and people are asked.
fn is_asked_about(store: &SqliteStore, was: &Draft, is: &Draft) {
    assert_eq!((is.state, &is.committed), (State::Unknown, &was.committed));
    let known = is.outcome.clone().unwrap();
    assert_eq!((known.applied, known.code.as_deref()), (Applied::Unknown, Some("cut_off")));
    let unknown = wait(store.unknown(false)).unwrap();
    let unknown = unknown.iter().find(|u| u.draft.as_ref() == Some(&is.id)).unwrap();
    assert_eq!(Some(&unknown.call), is.committed.as_ref());
    append(store, resolving(&unknown.call, Some(is), true)).unwrap();
    append(store, delivering(is)).unwrap();
}

#[test]
fn a_read_that_was_cut_off_has_changed_nothing() {
    for crash in [true, false] {
        let place = Place::new();
        let store = place.open();
        let draft = draft("drf_a", "a", at(10));
        brought(&store, &draft, &[Step::Approve]);
        append(&store, claiming(&draft, &commit_of(&draft)).with("effect", "read")).unwrap();
        if !crash {
            store.close().unwrap();
        }
        drop(store);
        let store = place.open();
        let is = wait(store.draft(&draft.id)).unwrap().unwrap();
        assert_eq!((is.state, is.outcome.unwrap().applied), (State::Failed, Applied::NotApplied));
        assert_eq!(wait(store.unknown(true)).unwrap(), []);
        store.close().unwrap();
        assert_eq!(place.findings(), []);
    }
}

#[test]
fn an_effect_without_a_draft_that_was_cut_off_is_unknown() {
    let place = Place::new();
    let store = place.open();
    append(&store, intent("call_a", "reversible")).unwrap();
    append(&store, intent("call_b", "read")).unwrap();
    drop(store);
    let store = place.open();
    let [unknown] = wait(store.unknown(false)).unwrap().try_into().unwrap();
    assert_eq!((unknown.call.as_str(), unknown.draft, unknown.resolved), ("call_a", None, None));
    store.close().unwrap();
}

#[test]
fn what_was_given_back_is_there_again_after_a_crash_and_is_recounted() {
    let place = Place::new();
    let budget =
        |amount| [Counter { key: "tool/pay/amount".into(), window: Window::Day, max: 10, amount }];
    let store = place.open();
    let spend = |call: &str, amount, back: u64| {
        let charges = store.reserve(&budget(amount), at(10)).unwrap().into_charges();
        let begun = append(&store, intent(call, "read").charged(charges.clone())).unwrap();
        let returned: Vec<_> = charges
            .into_iter()
            .map(|charge| Charge { amount: back, ..charge })
            .filter(|charge| charge.amount > 0)
            .collect();
        store.give_back(&returned);
        append(&store, outcome(call, &begun).giving_back(returned)).unwrap();
    };
    spend("call_a", 6, 6);
    spend("call_b", 8, 3);
    spend("call_c", 2, 0);
    drop(store);
    let known = |place: &Place| Known { now: Some(at(20)), ..place.known() };
    let found = |place: &Place| verify(&place.config.path, &known(place)).unwrap().findings;
    let store = place.open();
    assert!(store.reserve(&budget(4), at(20)).is_err(), "7 of 10 are spent");
    drop(store.reserve(&budget(3), at(20)).unwrap());
    store.close().unwrap();
    assert_eq!(found(&place), []);
    let records = place.records();
    let back = |call: &str| {
        let told = records
            .iter()
            .find(|r| r.kind() == Some(Kind::Outcome) && r.text("call") == Some(call));
        told.unwrap().bodies.get("returned").cloned()
    };
    assert_eq!(back("call_b"), Some(json!([["day", "tool/pay/amount", 0, 3]])));
    assert_eq!(back("call_c"), None);
    let connection = Connection::open(&place.config.path).unwrap();
    connection.execute("UPDATE counters SET count = count - 1 WHERE window = 'day'", []).unwrap();
    let [finding] = found(&place).try_into().unwrap();
    assert!(finding.what.contains("stands at 6, and the records count 7"), "{finding}");
}

#[test]
fn who_waits_for_a_draft_hears_of_its_end_and_waits_no_longer_than_the_bound() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let (moved, stays) = (draft("drf_a", "a", at(10)), draft("drf_b", "b", at(10)));
    brought(&*store, &moved, &[Step::Approve]);
    brought(&*store, &stays, &[Step::Approve]);
    let settles = std::thread::spawn({
        let (store, id) = (Arc::clone(&store), moved.id.clone());
        move || wait(store.settled(&id)).unwrap().unwrap()
    });
    let claimed = append(&*store, moving(&moved, Step::Claim)).unwrap();
    append(&*store, ending(&moved, Applied::Applied, Some(&claimed))).unwrap();
    assert_eq!(settles.join().unwrap().state, State::Executed);
    // Where nothing is to be waited for but time, time passes.
    let paused = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    paused.block_on(async {
        let begun = tokio::time::Instant::now();
        let draft = store.settled(&stays.id).await.unwrap().unwrap();
        assert_eq!(draft.state, State::Approved);
        assert_eq!(begun.elapsed().as_secs(), 10);
        let nobodys = store.settled(&id("drf_none")).await.unwrap();
        assert_eq!(nobodys, None);
    });
}

const DAY_S: i64 = 86_400;

/// So much later, and the writer has looked after what is due.
fn later(place: &Place, store: &SqliteStore, days: i64) {
    place.clock.advance(days * DAY_S);
    append(store, Entry::new(Kind::PostureLoaded, place.clock.now())).unwrap();
}

#[test]
fn what_has_ended_is_forgotten_a_month_after_its_time_and_nothing_else() {
    let place = Place::new();
    let store = filled(&place);
    let long = |id: &str, days: u32| {
        let expires = at(10).plus_secs(days * 86_400);
        Draft { expires, ..draft(id, id, at(10)) }
    };
    brought(&store, &long("drf_no", 20), &[Step::Reject]);
    later(&place, &store, 29);
    assert_eq!(all(&store).0.len(), 11);
    later(&place, &store, 2);
    let left = |store: &SqliteStore| {
        let drafts = all(store).0.into_iter().map(|draft| draft.id.to_string());
        drafts.collect::<BTreeSet<_>>()
    };
    let live = ["drf_approved", "drf_committing", "drf_unknown", "drf_waiting"].map(str::to_owned);
    let mut expected = BTreeSet::from(live);
    expected.insert("drf_no".into());
    assert_eq!(left(&store), expected, "a rejection answers until its draft would have expired");
    later(&place, &store, 20);
    expected.remove("drf_no");
    assert_eq!(left(&store), expected);
    // Resolved after long, it is remembered for as long from then.
    let unknown = draft("drf_unknown", "unknown", place.clock.now());
    let resolved = resolving(&commit_of(&unknown), Some(&unknown), true);
    append(&store, at_this_time(resolved, place.clock.now())).unwrap();
    later(&place, &store, 29);
    assert!(left(&store).contains("drf_unknown") && all(&store).1.len() == 1);
    later(&place, &store, 2);
    assert!(!left(&store).contains("drf_unknown") && all(&store).1.is_empty());
}

/// The same change, decided now.
fn at_this_time(entry: Entry, now: Timestamp) -> Entry {
    let Some(Change::Resolve { call, decided, happened }) = entry.changes().first().cloned() else {
        panic!("{entry:?}")
    };
    let decided = Decided { at: now, ..decided };
    Entry::new(entry.kind(), now).changing(Change::Resolve { call, decided, happened })
}

#[test]
fn no_more_than_a_thousand_are_forgotten_at_once() {
    let place = Place::new();
    let store = place.open();
    let drafts: Vec<Draft> =
        (0..1_100).map(|n| draft(&format!("drf_{n}"), &format!("{n}"), at(10))).collect();
    let entries = drafts.iter().flat_map(|draft| [proposing(draft), moving(draft, Step::Withdraw)]);
    let verdicts: Vec<_> = entries.map(|entry| store.append(entry)).collect();
    verdicts.into_iter().for_each(|verdict| drop(wait(verdict).unwrap()));
    later(&place, &store, 31);
    let left = |store: &SqliteStore| all(store).0.len();
    assert_eq!(left(&store), 100);
    append(&store, intent("call_a", "read")).unwrap();
    assert_eq!(left(&store), 100, "the next sweep is a while away");
    later(&place, &store, 1);
    assert_eq!(left(&store), 0);
}
