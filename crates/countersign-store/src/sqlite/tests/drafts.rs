//! Drafts in a batch that fails, and more of them than there may be.

use super::{Place, intent, on_writer, wait};
use crate::SqliteStore;
use crate::sqlite::writer::{Files, Message};
use countersign_core::bound::DRAFTS_LIVE_MAX;
use countersign_core::draft::{Change, Conflict, Draft, State, Suspension, Switch, Who};
use countersign_core::id::{
    ActorId, AgentId, CallId, Digest, DraftId, IssuerId, SubjectId, SystemName, TenantId,
    Timestamp, ToolName,
};
use countersign_core::port::{Journal as _, Register as _, Unrecorded, Which};
use countersign_core::principal::Principal;
use countersign_core::record::{Entry, Kind};
use countersign_core::tool::Rung;
use std::sync::mpsc::channel;

/// A draft that nobody has decided.
fn draft(id: &str) -> Draft {
    let now = Timestamp::from_micros(0);
    Draft {
        id: DraftId::new(id).unwrap(),
        call: CallId::new("call_a").unwrap(),
        proposed: now,
        expires: now.plus_secs(600),
        principal: Principal {
            issuer: IssuerId::new("i").unwrap(),
            subject: SubjectId::new("ann").unwrap(),
            actor: ActorId::new("copilot").unwrap(),
            tenant: TenantId::new("t0").unwrap(),
            sid: None,
            person: None,
            scopes: Default::default(),
            attributes: Default::default(),
            agent_build: None,
            model: None,
            expires: now,
        },
        agent: AgentId::new("copilot").unwrap(),
        tool: ToolName::new("pay").unwrap(),
        system: SystemName::new("bank").unwrap(),
        arguments: b"{}".to_vec(),
        binding: Digest::sha256(id.as_bytes()),
        decision: Digest::sha256(b"decision"),
        rung: Rung::NAMED,
        summary: String::new(),
        same_as: None,
        state: State::Waiting,
        decided: None,
        committed: None,
        outcome: None,
        delivered: false,
    }
}

fn proposing(draft: &Draft) -> Entry {
    Entry::new(Kind::DraftProposed, draft.proposed)
        .with("draft", draft.id.as_str())
        .changing(Change::Propose(Box::new(draft.clone())))
}

fn suspending() -> Entry {
    let by = Who { issuer: draft("x").principal.issuer, id: "op".into(), address: None };
    let (at, reason) = (Timestamp::from_micros(0), String::new());
    let suspension = Suspension { of: Switch::Everything, at, by, reason };
    Entry::new(Kind::Suspended, at).changing(Change::Suspend(suspension))
}

#[test]
fn a_batch_that_is_rolled_back_changes_nothing_in_the_tables_and_in_memory() {
    let place = Place::new();
    let store = place.open().unwrap();
    wait(store.append(proposing(&draft("drf_a")))).unwrap();
    let full = |store: &SqliteStore, full: bool| {
        on_writer(store, move |connection| {
            let pages: i64 =
                connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
            let pages = if full { pages } else { 1_000_000 };
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        });
    };
    full(&store, true);
    let large = Entry::new(Kind::Refusal, Timestamp::from_micros(0)).body("x", vec![0; 500_000]);
    let twin = Draft { id: DraftId::new("drf_b").unwrap(), ..draft("drf_a") };
    // One batch: what would have been refused is not told so by a batch that is not in the journal.
    let (go, gone) = channel::<()>();
    let queued = {
        let run = Box::new(move |_: &mut Files| gone.recv().unwrap());
        assert!(store.queue.send(Message::Run(run)).is_ok());
        let queued = [suspending(), proposing(&draft("drf_c")), proposing(&twin), large]
            .map(|entry| store.append(entry));
        go.send(()).unwrap();
        queued
    };
    for verdict in queued {
        let verdict = wait(verdict);
        assert!(
            matches!(&verdict, Err(Unrecorded::Unavailable(why)) if !why.contains("closed")),
            "{verdict:?}"
        );
    }
    full(&store, false);
    wait(store.append(intent("call_x"))).unwrap();
    assert_eq!(store.suspensions(), []);
    let drafts = wait(store.drafts(Which::default())).unwrap();
    assert_eq!(drafts, [draft("drf_a")]);
    store.close().unwrap();
    assert_eq!(place.findings(), []);
}

#[test]
fn no_more_drafts_are_live_than_people_could_ever_read() {
    let place = Place::new();
    let store = place.open().unwrap();
    wait(store.append(proposing(&draft("drf_a")))).unwrap();
    let all = DRAFTS_LIVE_MAX;
    on_writer(&store, move |connection| {
        let copies =
            "WITH RECURSIVE n(n) AS (VALUES (2) UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
            INSERT INTO drafts SELECT id || n, CAST(n AS BLOB), state, proposed, expires, tenant,
              'agent_' || (n % 100), fixed, decided, committed, outcome, delivered, moved
            FROM drafts, n WHERE id = 'drf_a'";
        assert_eq!(connection.execute(copies, [i64::try_from(all).unwrap()]).unwrap(), all - 1);
    });
    let one_more = || wait(store.append(proposing(&draft("drf_b"))));
    assert_eq!(one_more(), Err(Unrecorded::Refused(Conflict::Full)));
    on_writer(&store, |connection| {
        connection.execute("UPDATE drafts SET state = 'void' WHERE id = 'drf_a7'", []).unwrap();
    });
    one_more().unwrap();
}
