//! The index as a file and as a wall: what is no index of this journal is made anew, and whoever may see
//! one tenant's records sees nothing else, whatever is in it.

use crate::asked::{all_calls, all_of_session, all_records, index, scan};
use crate::support::{Place, append, at, wait};
use countersign_core::id::{AgentId, CallId, Digest, TenantId};
use countersign_core::person::Tenants;
use countersign_core::port::{Ledger, Receipt};
use countersign_core::reading::{Calls, Cursor, Parts, Position, Search, Span};
use countersign_core::record::{Entry, Kind};
use countersign_store::{Index, SqliteStore};
use rusqlite::Connection;
use serde_json::json;
use std::fmt::Debug;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

fn file(place: &Place) -> PathBuf {
    place.config.path.with_file_name("journal.index.db")
}

fn session(of: &str) -> Digest {
    Digest::sha256(of.as_bytes())
}

/// Everything that can be on record, each word of it marked as one tenant's, or as nobody's.
fn history(store: &SqliteStore, of: &str) {
    let name = |what: &str| format!("{what}_{of}");
    let entry = |kind: Kind| {
        let entry =
            Entry::new(kind, at(100)).with("agent", name("agent")).with("tool", name("tool"));
        if of == "nobody" { entry } else { entry.with("tenant", of) }
    };
    let call = |kind: Kind, call: &str| {
        let principal = json!({ "subject": name("ann"), "session": session(of).to_string() });
        let entry = entry(kind).with("call", name(call)).with("code", name("code"));
        entry
            .body("principal", principal.to_string())
            .body("arguments", json!([name("argument")]).to_string())
    };
    let person = json!({ "issuer": name("idp"), "id": name("sam"), "address": null }).to_string();
    let of_draft = |kind: Kind| entry(kind).with("draft", name("draft")).body("person", &*person);
    let outcome = |begun: &Receipt| {
        call(Kind::Outcome, "call")
            .with("intent", json!({ "stream": &*begun.stream, "seq": begun.sequence }))
            .with("status", "fault")
            .with("alert", name("alert"))
    };
    let begun = append(store, call(Kind::Intent, "call")).unwrap();
    for entry in [
        outcome(&begun),
        call(Kind::Intent, "under_way"),
        call(Kind::Refusal, "refused").with("count", 3),
        call(Kind::DraftProposed, "drafted").with("draft", name("draft")),
        of_draft(Kind::DraftPreviewed),
        of_draft(Kind::DraftApproved),
        of_draft(Kind::DraftDelivered).with("call", name("told")),
        entry(Kind::UnknownResolved).with("call", name("call")),
    ] {
        append(store, entry).unwrap();
    }
}

const ALL: [&str; 3] = ["alpha", "bravo", "nobody"];

/// Every method, asked in each way that could lead to somebody else's records.
fn answers(ledger: &dyn Ledger, tenants: &Tenants) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    let mut note = |what: String, answer: &dyn Debug| answers.push((what, format!("{answer:?}")));
    let span = Span::new(at(0), at(200), 60);
    for of in ALL {
        let text = |what: &str| Some(format!("{what}_{of}"));
        let none = Search::default;
        for which in [
            none(),
            Search { agent: text("agent"), ..none() },
            Search { tenant: Some(of.to_owned()), ..none() },
            Search { call: text("call"), ..none() },
            Search { draft: text("draft"), ..none() },
            Search { session: Some(session(of)), ..none() },
            Search { alerts: true, ..none() },
            Search { code: text("code"), ..none() },
        ] {
            note(format!("records {of} {which:?}"), &all_records(ledger, &which, tenants));
        }
        let none = Calls::default;
        for which in [
            none(),
            Calls { agent: text("agent"), ..none() },
            Calls { tenant: Some(of.to_owned()), ..none() },
            Calls { code: text("code"), ..none() },
        ] {
            note(format!("calls {of} {which:?}"), &all_calls(ledger, &which, tenants));
            let news = wait(ledger.calls_after(Position::START, which.clone(), tenants)).unwrap();
            note(format!("calls_after {of} {which:?}"), &(news.lines, news.more));
            let tallies = wait(ledger.tallies(span, which.clone(), tenants)).unwrap();
            note(format!("tallies {of} {which:?}"), &tallies);
        }
        let call = CallId::new(format!("call_{of}")).unwrap();
        note(format!("of_call {of}"), &wait(ledger.of_call(&call, tenants)).unwrap());
        note(format!("of_session {of}"), &all_of_session(ledger, session(of), tenants));
        let agent = AgentId::new(format!("agent_{of}")).unwrap();
        note(format!("last_seen {of}"), &wait(ledger.last_seen(&agent, tenants)).unwrap());
    }
    note("decisions".into(), &wait(ledger.decisions(span, tenants)).unwrap());
    answers
}

fn one(tenant: &str) -> Tenants {
    Tenants::Of([TenantId::new(tenant).unwrap()].into())
}

#[test]
fn nothing_of_another_tenant_is_in_any_answer() {
    let place = Place::new();
    let store = place.open();
    ALL.iter().for_each(|of| history(&store, of));
    // The same without anybody else.
    let (alone, quiet) = (Place::new(), Place::new());
    history(&alone.open(), "alpha");
    drop(quiet.open());
    let (shared, alone, quiet) = (index(&place), index(&alone), index(&quiet));
    let (found, expected) = (answers(&shared, &one("alpha")), answers(&alone, &one("alpha")));
    let nothing = answers(&quiet, &one("alpha"));
    let all = answers(&shared, &Tenants::All);
    let mut told = 0;
    for (((what, found), (_, expected)), ((_, nothing), (_, all))) in
        found.iter().zip(&expected).zip(nothing.iter().zip(&all))
    {
        for other in ["bravo", "nobody"] {
            assert!(!found.contains(other), "{what}: {found}");
        }
        // Records stand elsewhere in this journal, and in another stream: what is told is the same.
        assert_eq!(found.len(), expected.len(), "{what}: {found} {expected}");
        let of_nobody = what.contains("tenant: Some(\"nobody\")");
        assert!(of_nobody || all != nothing, "nobody would see anything: {what}");
        told += usize::from(found != nothing);
    }
    assert!(told > found.len() / 3, "{told} of {}", found.len());
    for nobody in [Tenants::Of([].into()), one("charlie")] {
        let found = answers(&shared, &nobody);
        let nothing = answers(&quiet, &nobody);
        assert_eq!(found, nothing);
    }
}

#[test]
fn an_index_that_was_tampered_with_shows_nobody_what_is_not_theirs() {
    let place = Place::new();
    let store = place.open();
    ALL.iter().for_each(|of| history(&store, of));
    drop(index(&place));
    let tampered = Connection::open(file(&place)).unwrap();
    // Everybody's records pass for alpha's, and those of drafts and sessions too.
    tampered
        .execute_batch(
            "UPDATE OR IGNORE profiles SET text = replace(replace(text, '\"bravo\"', '\"alpha\"'), 'null,\"tool_nobody', '\"alpha\",\"tool_nobody');
             UPDATE OR IGNORE of_drafts SET draft = 'draft_alpha';
             UPDATE drafts SET tenant = 'alpha';
             UPDATE sessions SET digest = randomblob(32) WHERE id = 1;",
        )
        .unwrap();
    drop(tampered);
    for (what, found) in answers(&index(&place), &one("alpha")) {
        for other in ["bravo", "nobody"] {
            // Counts are the index's own, and name codes.
            let counted = what.starts_with("tallies");
            assert!(counted || !found.contains(other), "{what}: {found}");
        }
    }
}

#[test]
fn what_is_no_index_of_this_journal_is_made_anew() {
    let other = Place::new();
    history(&other.open(), "bravo");
    drop(index(&other));
    let place = Place::new();
    let store = place.open();
    history(&store, "alpha");
    let expected = answers(&scan(&place), &Tenants::All);
    let same = || {
        assert_eq!(answers(&index(&place), &Tenants::All), expected);
        for entry in std::fs::read_dir(place.config.path.parent().unwrap()).unwrap() {
            let (name, mode) =
                entry.map(|e| (e.file_name(), e.metadata().unwrap().permissions().mode())).unwrap();
            assert_eq!(mode & 0o777, 0o600, "{name:?}");
        }
    };
    same();
    let execute = |sql: &str| Connection::open(file(&place)).unwrap().execute_batch(sql).unwrap();
    let number = || -> i64 {
        let file = Connection::open(file(&place)).unwrap();
        file.query_row("SELECT count(*) FROM profiles", [], |row| row.get(0)).unwrap()
    };
    let profiles = number();
    for (what, spoil) in [
        ("another version", "PRAGMA user_version = 99"),
        ("another program's", "PRAGMA application_id = 7"),
        ("without its tables", "DROP TABLE zones; DROP TABLE blocks"),
        ("of another journal", "UPDATE state SET journal = 'x'"),
        ("from before the journal was put back", "UPDATE state SET hash = zeroblob(32)"),
        ("ahead of the journal", "UPDATE state SET upto = upto + 1"),
        ("without a state", "DELETE FROM state"),
    ] {
        execute(spoil);
        execute("INSERT INTO profiles (text, first, last) VALUES ('[]', 0, 0)");
        same();
        assert_eq!(number(), profiles, "{what}");
    }
    // What is left alone is gone on with.
    execute("INSERT INTO profiles (text, first, last) VALUES ('[]', 0, 0)");
    same();
    assert_eq!(number(), profiles + 1);
    for (what, bytes) in [("empty", vec![]), ("garbage", vec![7; 50_000])] {
        std::fs::write(file(&place), bytes).unwrap();
        same();
        assert_eq!(number(), profiles, "{what}");
    }
    std::fs::copy(file(&other), file(&place)).unwrap();
    same();
}

/// Asks until the answer is right; the filler is a thread, and looks five times a second.
fn comes(index: &Index, right: impl Fn(&Index) -> bool) {
    for _ in 0..6_000 {
        if right(index) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it does not come: {:?}", wait(index.chain(&Tenants::All)));
}

#[test]
fn an_index_that_is_removed_or_spoilt_while_it_is_asked_comes_back() {
    let place = Place::new();
    let store = place.open();
    history(&store, "alpha");
    let index = index(&place);
    let right = |index: &Index| {
        let all = |ledger: &dyn Ledger| wait(ledger.records(Search::default(), &Tenants::All)).ok();
        all(index) == all(&scan(&place))
    };
    comes(&index, right);
    std::fs::remove_file(file(&place)).unwrap();
    comes(&index, |_| file(&place).exists());
    comes(&index, right);
    history(&store, "bravo");
    comes(&index, right);
    // Over the tables and the log, so that no copy is left.
    for name in ["journal.index.db", "journal.index.db-wal"] {
        let path = place.config.path.with_file_name(name);
        let length = std::fs::metadata(&path).unwrap().len();
        let garbage = vec![0x5a; usize::try_from(length).unwrap().max(8_192)];
        std::fs::write(&path, garbage).unwrap();
    }
    comes(&index, right);
    history(&store, "nobody");
    comes(&index, right);
}

#[test]
fn what_is_new_is_told_once_and_a_call_that_ends_is_told_again() {
    let place = Place::new();
    let store = place.open();
    let index = index(&place);
    let news = |after| wait(index.calls_after(after, Calls::default(), &Tenants::All)).unwrap();
    let first = news(Position::START);
    assert_eq!((first.lines.len(), first.more), (0, 0));
    let begun = append(&store, crate::support::intent("call_a", "read")).unwrap();
    comes(&index, |_| news(first.position).lines.len() == 1);
    let second = news(first.position);
    assert_eq!(second.lines[0].class.as_str(), "under_way");
    append(&store, crate::support::outcome("call_a", &begun)).unwrap();
    comes(&index, |_| news(second.position).lines.len() == 1);
    let third = news(second.position);
    assert_eq!(third.lines[0].call, second.lines[0].call);
    assert_eq!(third.lines[0].class.as_str(), "ok");
    let fourth = news(third.position);
    assert_eq!((fourth.lines.len(), fourth.position), (0, third.position));
    assert_eq!(news(first.position).lines, third.lines, "it is no longer under way");
}

#[test]
fn the_journal_is_followed_from_a_cursor() {
    let place = Place::new();
    let store = place.open();
    history(&store, "alpha");
    let index = index(&place);
    let (mut cursor, mut found) = (Cursor::default(), Vec::new());
    loop {
        let (records, next) = wait(index.follow(cursor, 3, Parts::Whole)).unwrap();
        assert!(records.len() <= 3);
        if records.is_empty() {
            break;
        }
        found.extend(records);
        cursor = next;
    }
    assert_eq!(found.len(), place.records().len());
}

#[test]
fn the_journal_is_verified_when_that_is_asked_for() {
    let place = Place::new();
    let store = place.open();
    crate::support::call(&store, "call_a");
    let index = index(&place);
    let chain = |tenants: &Tenants| wait(index.chain(tenants)).unwrap();
    assert_eq!(chain(&Tenants::All).verified, None);
    index.verify();
    comes(&index, |_| !chain(&Tenants::All).verifying);
    let verified = chain(&Tenants::All).verified.unwrap();
    assert_eq!((verified.wrong, verified.records), (0, 3), "{verified:?}");
    // Somebody changes a body, behind the back of whoever writes.
    let connection = Connection::open(&place.config.path).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER bodies_keep; UPDATE bodies SET body = x'00' WHERE field = 'result'",
        )
        .unwrap();
    index.verify();
    comes(&index, |_| chain(&Tenants::All).verified.is_some_and(|verified| verified.wrong > 0));
    let verified = chain(&Tenants::All).verified.unwrap();
    assert_eq!(u64::try_from(verified.findings.len()).unwrap(), verified.wrong);
    let told = chain(&one("alpha")).verified.unwrap();
    assert_eq!((told.wrong, told.findings), (verified.wrong, vec![]));
}

#[test]
fn what_was_erased_is_not_found_by_it() {
    let place = Place::new();
    let store = place.open();
    history(&store, "alpha");
    let index = index(&place);
    let of = |index: &Index| {
        let by_session = Search { session: Some(session("alpha")), ..Search::default() };
        let records = all_records(index, &by_session, &Tenants::All).len();
        let calls = all_of_session(index, session("alpha"), &Tenants::All).len();
        let span = Span::new(at(0), at(200), 60);
        let decisions = wait(index.decisions(span, &Tenants::All)).unwrap();
        (records, calls, decisions.approvers[0].who.is_some(), decisions.approvers[0].stamps)
    };
    assert_eq!(of(&index), (5, 4, true, 1));
    let connection = Connection::open(&place.config.path).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER bodies_stay; DELETE FROM bodies WHERE field IN ('principal', 'person')",
        )
        .unwrap();
    assert_eq!(of(&index), (0, 0, false, 1));
}
