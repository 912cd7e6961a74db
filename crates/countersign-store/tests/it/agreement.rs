//! Whatever is carried out without having been agreed to, `verify` says so, and so does the second
//! verifier, from the records alone: whoever holds the key, or wrote into the gateway's tables.

use crate::support::{
    Place, append, at, brought, claiming, commit_of, draft, ending, intent, moving, outcome,
    proposing, way_to,
};
use crate::tampering::{copy, rewrite, streams, unguarded};
use crate::verifier::python;
use countersign_core::draft::{Draft, State, Step};
use countersign_core::id::CallId;
use countersign_core::record::Entry;
use countersign_core::refusal::Applied;
use countersign_store::SqliteStore;
use countersign_store::audit::{Known, verify};
use rusqlite::Connection;
use serde_json::json;
use std::path::Path;

fn found(path: &Path) -> Vec<String> {
    let findings = verify(path, &Known::default()).unwrap().findings;
    findings.into_iter().map(|finding| finding.what).collect()
}

/// The second verifier agrees whether there is anything to find.
fn agrees(path: &Path, finds: bool) {
    let output = python(path);
    assert_eq!(output.status.code(), Some(i32::from(finds)), "{output:?}");
}

/// Written to the gateway's tables by somebody who has no key.
fn set_state(place: &Place, draft: &Draft, state: &str) {
    let connection = Connection::open(&place.config.path).unwrap();
    let changed = connection
        .execute("UPDATE drafts SET state = ?2 WHERE id = ?1", [draft.id.as_str(), state])
        .unwrap();
    assert_eq!(changed, 1);
}

/// Carries out what the tables call approved.
fn carry_out(store: &SqliteStore, draft: &Draft, call: &CallId) {
    let begun = append(store, claiming(draft, call)).unwrap();
    let ended = ending(draft, Applied::Applied, Some(&begun)).with("call", call.as_str());
    append(store, ended).unwrap();
}

#[test]
fn an_approval_that_only_the_tables_know_is_found_before_and_after_it_is_used() {
    let place = Place::new();
    let draft = draft("drf_a", "a", at(10));
    let store = place.open();
    append(&store, proposing(&draft)).unwrap();
    store.close().unwrap();
    set_state(&place, &draft, "approved");
    let before = found(&place.config.path);
    assert_eq!(before, ["the draft `drf_a` stands at approved, and is waiting by the records"]);
    agrees(&place.config.path, true);
    let store = place.open();
    carry_out(&store, &draft, &commit_of(&draft));
    store.close().unwrap();
    let after = found(&place.config.path);
    assert_eq!(after, ["its draft was waiting, from where no step leads to committing"]);
    agrees(&place.config.path, true);
}

#[test]
fn a_draft_that_is_carried_out_twice_is_found() {
    let place = Place::new();
    let draft = draft("drf_a", "a", at(10));
    let store = place.open();
    brought(&store, &draft, way_to(State::Executed));
    store.close().unwrap();
    assert_eq!(found(&place.config.path), [""; 0]);
    set_state(&place, &draft, "approved");
    let store = place.open();
    carry_out(&store, &draft, &CallId::new("call_again").unwrap());
    store.close().unwrap();
    let after = found(&place.config.path);
    assert_eq!(after, ["its draft was executed, from where no step leads to committing"]);
    agrees(&place.config.path, true);
}

#[test]
fn what_is_taken_out_of_the_gateways_tables_is_found() {
    for (sql, what) in [
        ("DELETE FROM suspensions WHERE name = 'off_0'", "is suspended, the records say otherwise"),
        ("INSERT INTO suspensions VALUES ('tool', 'x', 0, '', '')", "is suspended, the records"),
        ("DELETE FROM delegations WHERE id = 'dlg_0_second'", "`dlg_0_second`, the records say"),
        (
            "UPDATE delegations SET until = until + 1 WHERE id = 'dlg_1_second'",
            "`dlg_1_second`, the",
        ),
        (
            "UPDATE delegations SET terms = replace(terms, 'pat@x', 'eve@x') WHERE id = 'dlg_2_second'",
            "who stands in by `dlg_2_second`, the records say otherwise",
        ),
        ("INSERT INTO delegations VALUES ('dlg_x', 10, 900, '{}')", "`dlg_x`, the records say"),
        ("UPDATE unknowns SET decided = '{}' WHERE call = 'call_cut_off'", "is known, the records"),
        ("DELETE FROM unknowns WHERE call = 'call_cut_off'", "is known, the records"),
        ("DELETE FROM drafts WHERE id = 'drf_cut_off'", "is missing, and has not ended"),
        ("UPDATE drafts SET state = 'void' WHERE state = 'rejected'", "stands at void"),
    ] {
        let (_folder, path) = copy();
        assert!(Connection::open(&path).unwrap().execute(sql, []).unwrap() > 0, "{sql}");
        let found = found(&path);
        assert!(found.iter().all(|found| found.contains(what)), "{sql}: {found:?}");
        assert!(!found.is_empty(), "{sql}");
        agrees(&path, true);
    }
}

/// A change of the headers of one kind.
fn of(kind: &str, from: &str, to: &str) -> impl Fn(&str) -> String {
    move |header| match header.contains(&format!(r#""kind":"{kind}""#)) {
        true => header.replacen(from, to, 1),
        false => header.to_owned(),
    }
}

/// A header of the last stream changed, and all that follows from it. The second verifier knows no
/// signatures: nothing tells it but what the records say of one another.
#[test]
fn a_record_that_is_not_what_it_was_does_not_fit_the_others() {
    let (approved, previewed) = (r#""kind":"draft_approved""#, r#""kind":"draft_previewed""#);
    let (proposed, delivered) = (r#""kind":"draft_proposed""#, r#""kind":"draft_delivered""#);
    for (change, what) in [
        (of("draft_approved", approved, previewed), "waiting, from where no step leads to committ"),
        (of("draft_proposed", proposed, previewed), "nobody has proposed the draft `drf_2_done`"),
        (of("draft_previewed", previewed, approved), "rejected, from where no step leads to appr"),
        (of("draft_rejected", "rejected", "approved"), "stands at rejected, and is approved by"),
        (of("draft_previewed", previewed, delivered), "its outcome was told before"),
        (of("draft_previewed", previewed, delivered), "rejected, and has no outcome to tell"),
        (
            of("draft_proposed", r#""expires":610"#, r#""expires":10"#),
            "the time of its draft was over",
        ),
        (of("draft_proposed", r#""rung":4"#, r#""rung":3"#), "above the one that was agreed to"),
        (of("draft_proposed", "copilot", "planners"), "its `agent` is not the one"),
        (
            of("intent", r#""draft":"drf_2_done""#, r#""draft":"drf_2_lost""#),
            "another draft than its",
        ),
        (
            of("intent", r#""draft":"drf_2_done","#, ""),
            "neither a draft nor a decision point is behind",
        ),
        (of("intent", r#""effect":"read""#, r#""effect":"persistent""#), "below its effect's step"),
        (
            of("outcome", r#""applied":"applied""#, r#""applied":"compensated""#),
            "is failed by the rec",
        ),
        (of("outcome", r#""draft":"drf_2_done","#, ""), "another draft than its intent"),
        (of("outcome", r#""applied":"unknown""#, r#""applied":"applied""#), "is not unknown"),
        (
            of("unknown_resolved", r#""happened":true"#, r#""happened":false"#),
            "is failed by the rec",
        ),
        (of("unknown_resolved", r#""draft":"drf_2_lost","#, ""), "another draft than call"),
        (of("suspended", "off_2", "odd_2"), "is suspended, the records say otherwise"),
        (of("resumed", "on_2", "no_2"), "what it switches on was not off"),
        (of("draft_approved", "dlg_2_ended", "dlg_2_first"), "that it names does not hold"),
        (of("draft_approved", "dlg_2_ended", "dlg_none"), "that it names does not hold"),
        (of("delegated", r#""until":900000000"#, r#""until":10000000"#), "its end is not after it"),
        (of("delegated", "dlg_2_ended", "dlg_2_other"), "that it names does not hold"),
        (of("delegated", "dlg_2_ended", "dlg_2_second"), "`dlg_2_second` was made before"),
        (
            of("delegated", r#""replaces":"dlg_2_first""#, r#""replaces":"dlg_2_none""#),
            "`dlg_2_none` that it replaces was none",
        ),
        (
            of("delegation_ended", "dlg_2_ended", "dlg_2_first"),
            "the delegation `dlg_2_first` was none",
        ),
    ] {
        let (_folder, path) = copy();
        assert!(unguarded(&path, |connection| {
            let last = &streams(connection)[2];
            let mut changed = false;
            rewrite(connection, last, |header| {
                let after = change(header);
                changed |= after != header;
                after
            });
            changed
        }));
        let found = found(&path);
        assert!(found.iter().any(|found| found.contains(what)), "{what}: {found:?}");
        agrees(&path, true);
    }
}

/// An intent of the gateway's own, signed and in its place, which `verify` judges alone.
fn judged(entry: impl FnOnce(&SqliteStore) -> Entry) -> Vec<String> {
    let place = Place::new();
    let store = place.open();
    let entry = entry(&store);
    let (call, of) = (entry.member("call").cloned(), entry.member("draft").is_some());
    let begun = append(&store, entry).unwrap();
    let ended = if of {
        ending(&draft("drf_a", "a", at(10)), Applied::Applied, Some(&begun))
    } else {
        outcome(call.unwrap().as_str().unwrap(), &begun)
    };
    append(&store, ended).unwrap();
    store.close().unwrap();
    let found = found(&place.config.path);
    agrees(&place.config.path, !found.is_empty());
    found
}

#[test]
fn an_intent_of_the_upper_steps_has_a_draft_or_a_decision_point_behind_it() {
    let stands = |effect: &str, rung: u8| intent("call_a", effect).with("rung", rung);
    let point = |entry: Entry, said: &str| {
        entry
            .with("decided_by", "decision_point")
            .with("consulted", json!({ "system": "decisions", "said": said }))
    };
    let behind = "neither a draft nor a decision point is behind it";
    let below = "it stands below its effect's step of the ladder, by no exception";
    let exception = || json!({ "rung": 2, "expires": 99 });
    for (entry, what) in [
        (stands("irreversible", 4), Some(behind)),
        (stands("irreversible", 4).with("decided_by", "approval"), Some(behind)),
        (point(stands("irreversible", 4), "yes"), Some(behind)),
        (stands("persistent", 3), Some(behind)),
        (point(stands("persistent", 3), "no"), Some(behind)),
        (stands("persistent", 3).with("decided_by", "decision_point"), Some(behind)),
        (point(stands("persistent", 3), "yes"), None),
        (stands("read", 3), Some(behind)),
        (stands("irreversible", 2), Some(below)),
        (stands("irreversible", 2).with("exception", exception()), None),
        (intent("call_a", "odd"), Some(below)),
        (intent("call_a", "read").with("rung", "one"), Some(behind)),
        (stands("reversible", 2), None),
        (stands("read", 1), None),
    ] {
        let told = format!("{entry:?}");
        let found = judged(|_| entry);
        assert_eq!(found.len(), usize::from(what.is_some()), "{told}: {found:?}");
        assert!(
            found.iter().all(|found| what.is_some_and(|what| found.contains(what))),
            "{found:?}"
        );
    }
}

#[test]
fn what_is_carried_out_is_what_was_agreed_to() {
    let claim = |change: fn(Entry) -> Entry| {
        judged(|store| {
            let draft = draft("drf_a", "a", at(10));
            brought(store, &draft, &[Step::Approve]);
            change(claiming(&draft, &commit_of(&draft)))
        })
    };
    assert_eq!(claim(|entry| entry), [""; 0]);
    assert_eq!(claim(|entry| entry.with("rung", 3).with("effect", "persistent")), [""; 0]);
    assert_eq!(
        claim(|entry| entry.with("decision", "another")),
        ["its `decision` is not the one that was proposed"]
    );
    assert_eq!(
        claim(|entry| entry.with("tenant", "t1")),
        ["its `tenant` is not the one that was proposed"]
    );
    let late = judged(|store| {
        let draft = draft("drf_a", "a", at(10));
        let over = Draft { expires: at(10), ..draft.clone() };
        append(store, proposing(&over)).unwrap();
        append(store, moving(&draft, Step::Approve)).unwrap();
        claiming(&draft, &commit_of(&draft))
    });
    assert_eq!(late, ["the time of its draft was over"; 2]);
    let other = judged(|store| {
        let draft = draft("drf_a", "a", at(10));
        brought(store, &draft, &[Step::Approve]);
        let other = Draft { arguments: b"{}".to_vec(), ..draft };
        claiming(&other, &commit_of(&other))
    });
    assert_eq!(other, ["its arguments are not those that were agreed to"]);
}
