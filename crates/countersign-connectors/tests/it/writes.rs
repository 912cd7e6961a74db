//! Effects on a real SQLite file: what is known of each is what is so.

use crate::bench::{Ask, Bench, ask, look_up, make, writing};
use countersign_connectors::{SqliteSystem, System};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::scope::Asks;
use countersign_core::tool::Tool;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{fs::File, io::Read as _, process::Command, sync::Arc, sync::mpsc, time::Duration};

const ORDERS: &str = "create table orders (id integer primary key, owner text, note text);
    insert into orders values (1, 'a', 'n1'), (2, 'a', 'n2'), (3, 'b', 'n3');";
const NOTE: &str = "update orders set note = :note where id = :id";

/// A statement whose every argument is required.
fn with(statement: &str, names: &[&str]) -> Ask {
    let properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    Ask { input: json!({"properties": properties, "required": names}), ..ask(statement) }
}

fn note() -> Ask {
    with(NOTE, &["note", "id"])
}

fn said(path: &std::path::Path) -> String {
    let rows = Connection::open(path).unwrap();
    let notes = "select group_concat(note, ' ') from (select note from orders order by id)";
    rows.query_row(notes, [], |row| row.get(0)).unwrap()
}

async fn fault(bench: &Bench, tool: Tool, arguments: Value) -> (SystemFaultKind, Applied, String) {
    let SystemFault { kind, applied, detail, .. } =
        bench.call_tool("acct_alpha", tool, arguments).await.unwrap_err();
    (kind, applied, detail)
}

#[tokio::test]
async fn an_effect_and_its_check_are_one_transaction() {
    let bench = Bench::new(ORDERS);
    let check = with("select note = :note as done from orders where id = :id", &["note", "id"]);
    let tool = || writing(&note(), 1..=1, Some(&check));
    let report =
        bench.call_tool("acct_alpha", tool(), json!({"note": "x", "id": 2})).await.unwrap();
    assert_eq!((report.rows, report.result, report.truncated), (0, json!([]), false));
    assert_eq!(said(&bench.path()), "n1 x n3");
    assert_eq!(
        bench.log(),
        [
            "begin immediate",
            "update orders set note = 'x' where id = 2",
            "select note = 'x' as done from orders where id = 2",
            "commit"
        ]
    );
    let returning = with(&format!("{NOTE} returning id, note"), &["note", "id"]);
    let tool = writing(&returning, 1..=1, None);
    let report = bench.call_tool("acct_alpha", tool, json!({"note": "y", "id": 2})).await.unwrap();
    assert_eq!(report.result, json!([{"id": 2, "note": "y"}]));
    assert_eq!(said(&bench.path()), "n1 y n3");
}

#[tokio::test]
async fn more_or_fewer_rows_than_may_change_are_none() {
    let bench = Bench::new(ORDERS);
    let cases = [
        ("update orders set note = 'x' where owner = 'a'", 1..=1, "2 rows, and may change 1 to 1"),
        ("update orders set note = 'x' where id = 9", 1..=1, "0 rows"),
        ("update orders set note = 'x' where owner = 'a' returning id", 1..=1, "2 rows"),
        ("update orders set note = 'x' returning id", 4..=9, "3 rows"),
        ("delete from orders", 1..=2, "3 rows"),
        ("insert into orders select id + 10, owner, 'x' from orders", 1..=2, "3 rows"),
    ];
    for (statement, affects, says) in cases {
        // Fewer rows come back than are changed: they are counted all the same.
        let ask = Ask { rows_max: 1, ..ask(statement) };
        let (kind, applied, detail) = fault(&bench, writing(&ask, affects, None), json!({})).await;
        let expected = (SystemFaultKind::PostCondition, Applied::NotApplied);
        assert_eq!((kind, applied), expected, "{statement}");
        assert!(detail.contains(says), "{detail}");
        assert_eq!(said(&bench.path()), "n1 n2 n3");
    }
    let all = Ask { rows_max: 1, ..ask("update orders set note = 'x' returning id") };
    let report =
        bench.call_tool("acct_alpha", writing(&all, 3..=3, None), json!({})).await.unwrap();
    assert_eq!((report.rows, report.truncated), (1, true));
    assert_eq!(said(&bench.path()), "x x x");
    let none = writing(&ask("delete from orders where id = 9"), 0..=1, None);
    assert!(bench.call_tool("acct_alpha", none, json!({})).await.is_ok());
}

#[tokio::test]
async fn a_check_that_does_not_say_yes_in_one_column_undoes_it() {
    let bench = Bench::new(ORDERS);
    for check in [
        "select note <> :note as wrong from orders where id = :id",
        "select 1 as a, 1 as b",
        "select 1 as a where false",
        "select 2 as a",
        "select 'true' as a",
        "select null as a",
    ] {
        let check = with(check, &["note", "id"]);
        let tool = writing(&note(), 1..=1, Some(&check));
        let (kind, applied, detail) = fault(&bench, tool, json!({"note": "x", "id": 2})).await;
        assert_eq!((kind, applied), (SystemFaultKind::PostCondition, Applied::NotApplied));
        assert!(detail.contains("does not say `1` or `true`"), "{detail}");
    }
    for broken in ["select 1 as a from nowhere", "delete from orders returning 1 as a", "commit"] {
        let tool = writing(&note(), 1..=1, Some(&ask(broken)));
        let (kind, applied, _) = fault(&bench, tool, json!({"note": "x", "id": 2})).await;
        assert_eq!((kind, applied), (SystemFaultKind::Failed, Applied::NotApplied), "{broken}");
    }
    assert_eq!(said(&bench.path()), "n1 n2 n3");
}

#[tokio::test]
async fn whose_it_is_is_asked_again_in_the_transaction() {
    let bench = Bench::new(ORDERS);
    let owned = "select 1 from orders where id = :value and owner = 'a'";
    let held = look_up(Asks::Owned, "id", owned, Some(1_000_000));
    let ask = Ask { look_ups: vec![held], ..note() };
    let call = json!({"note": "x", "id": 2});
    bench.call_tool("acct_alpha", writing(&ask, 1..=1, None), call.clone()).await.unwrap();
    let asked = "select 1 from orders where id = 2 and owner = 'a'";
    let update = "update orders set note = 'x' where id = 2";
    assert_eq!(bench.log(), [asked, "begin immediate", asked, update, "commit"]);
    // What was answered before still holds for the call, and no longer for the system.
    Connection::open(bench.path()).unwrap().execute("update orders set owner = 'b'", []).unwrap();
    let call = json!({"note": "y", "id": 2});
    let (kind, applied, detail) = fault(&bench, writing(&ask, 1..=1, None), call).await;
    assert_eq!((kind, applied), (SystemFaultKind::Failed, Applied::NotApplied));
    assert!(detail.contains("`id` is not the caller's any more"), "{detail}");
    assert_eq!(said(&bench.path()), "n1 x n3");
    assert_eq!(bench.log()[5..], ["begin immediate", asked, "rollback"]);
}

#[tokio::test]
async fn whatever_does_more_than_change_rows_never_runs() {
    let bench = Bench::new(ORDERS);
    let before = std::fs::read(bench.path()).unwrap();
    let elsewhere = bench.path().with_file_name("elsewhere.sqlite");
    let attach = format!("attach '{}' as other", elsewhere.display());
    let copy = format!("vacuum into '{}'", elsewhere.display());
    for statement in [
        attach.as_str(),
        copy.as_str(),
        "drop table orders",
        "create table u (a)",
        "create temp table u (a)",
        "create trigger t after insert on orders begin delete from orders; end",
        "alter table orders rename to u",
        "update sqlite_master set sql = ''",
        "delete from sqlite_schema",
        "insert into SQLITE_SEQUENCE values ('orders', 9)",
        "pragma journal_mode = wal",
        "pragma user_version = 7",
        "pragma foreign_keys = off",
        "insert into orders (note) values (load_extension('evil'))",
        "begin",
        "begin immediate",
        "commit",
        "rollback",
        "savepoint s",
        "vacuum",
        "reindex",
        "analyze",
        "select 1 as a",
        "update orders set note = 'x' where id = 1; delete from orders",
        "",
    ] {
        let tool = writing(&ask(statement), 0..=9, None);
        let (kind, applied, _) = fault(&bench, tool, json!({})).await;
        let expected = (SystemFaultKind::Failed, Applied::NotApplied);
        assert_eq!((kind, applied), expected, "{statement}");
    }
    assert!(!elsewhere.exists());
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
    // The engine itself takes no vacuum in a transaction.
    let ran = bench.log();
    let ours = |line: &str| matches!(line, "begin immediate" | "rollback");
    assert!(ran.iter().all(|line| ours(line) || line.starts_with("vacuum")), "{ran:?}");
}

#[tokio::test]
async fn a_hostile_argument_is_a_value_and_a_reading_sibling_writes_nothing() {
    let bench = Bench::new(ORDERS);
    let hostile = "x' where 1 = 1; drop table orders; --";
    let tool = || writing(&note(), 1..=1, None);
    bench.call_tool("acct_alpha", tool(), json!({"note": hostile, "id": 2})).await.unwrap();
    assert_eq!(said(&bench.path()), format!("n1 {hostile} n3"));
    let id = json!({"note": "y", "id": "2 or 1 = 1"});
    let (kind, ..) = fault(&bench, tool(), id).await;
    assert_eq!(kind, SystemFaultKind::PostCondition);
    // A connection that writes is idle now. The same statement as a read does not come to it.
    for _ in 0..3 {
        let fault = bench.call(&note(), json!({"note": "y", "id": 2})).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (SystemFaultKind::Failed, Applied::NotApplied));
        assert!(fault.detail.contains("not authorized"), "{}", fault.detail);
    }
    assert_eq!(said(&bench.path()), format!("n1 {hostile} n3"));
}

#[tokio::test]
async fn what_the_file_itself_does_in_consequence_is_done_and_what_it_forbids_is_not() {
    let bench = Bench::new(
        "create table orders (id integer primary key autoincrement, note text);
         create table log (order_id references orders (id) deferrable initially deferred, note);
         create virtual table found using fts5(note);
         create trigger logged after insert on orders begin
             insert into log values (new.id, new.note); insert into found values (new.note); end;
         insert into orders (note) values ('n1');",
    );
    let insert = writing(&with("insert into orders (note) values (:n)", &["n"]), 1..=1, None);
    bench.call_tool("acct_alpha", insert, json!({"n": "late parcel"})).await.unwrap();
    let found = "select count(*) as n from found, log where found.note = log.note";
    assert_eq!(bench.rows(found, json!({})).await, json!([{"n": 2}]));
    // A constraint that is put off fails the commit, which is known not to have happened.
    let orphan = writing(&ask("insert into log values (77, 'x')"), 1..=1, None);
    let (kind, applied, detail) = fault(&bench, orphan, json!({})).await;
    assert_eq!((kind, applied), (SystemFaultKind::Failed, Applied::NotApplied), "{detail}");
    assert!(detail.contains("FOREIGN KEY"), "{detail}");
    assert_eq!(bench.rows("select count(*) as n from log", json!({})).await, json!([{"n": 2}]));
    assert_eq!(bench.log().iter().filter(|line| *line == "rollback").count(), 1);
}

#[tokio::test]
async fn a_file_in_use_is_busy_before_the_effect_and_at_the_commit() {
    let bench = Bench::new(ORDERS);
    let short = Ask { timeout_ms: 100, ..note() };
    for hold in ["begin immediate", "begin; select * from orders"] {
        let other = Connection::open(bench.path()).unwrap();
        other.execute_batch(hold).unwrap();
        let call = json!({"note": "x", "id": 2});
        let (kind, applied, detail) = fault(&bench, writing(&short, 1..=1, None), call).await;
        assert_eq!((kind, applied), (SystemFaultKind::Busy, Applied::NotApplied), "{detail}");
        other.execute_batch("rollback").unwrap();
        assert_eq!(said(&bench.path()), "n1 n2 n3");
    }
    assert_eq!(
        bench.log()[2..],
        ["update orders set note = 'x' where id = 2", "commit", "rollback"]
    );
    let call = json!({"note": "x", "id": 2});
    bench.call_tool("acct_alpha", writing(&short, 1..=1, None), call).await.unwrap();
    assert_eq!(said(&bench.path()), "n1 x n3");
}

/// Takes some hundred million steps.
const SLOW: &str = "update orders set note = (with recursive n (i) as (values (1) union all \
    select i + 1 from n where i < :last) select count(*) from n) where id = 1";

#[tokio::test]
async fn what_takes_too_long_or_is_given_up_is_rolled_back() {
    let bench = Arc::new(Bench::with_concurrency(ORDERS, 1));
    let slow = Ask { timeout_ms: 20, ..with(SLOW, &["last"]) };
    let last = json!({"last": 1_000_000_000});
    let (kind, applied, _) = fault(&bench, writing(&slow, 1..=1, None), last.clone()).await;
    assert_eq!((kind, applied), (SystemFaultKind::TimedOut, Applied::NotApplied));
    let call = tokio::spawn({
        let bench = Arc::clone(&bench);
        let tool = writing(&with(SLOW, &["last"]), 1..=1, None);
        async move { bench.call_tool("acct_alpha", tool, json!({"last": 3_000_000})).await }
    });
    while !bench.log().iter().any(|line| line.contains("3000000")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // The next has its turn when that one has ended.
    let call = json!({"note": "x", "id": 2});
    bench.call_tool("acct_alpha", writing(&note(), 1..=1, None), call).await.unwrap();
    assert_eq!(said(&bench.path()), "n1 x n3");
    assert_eq!(bench.log().iter().filter(|line| *line == "commit").count(), 1);
}

/// A bench whose engine writes its log into a pipe that nobody reads until it is told to: a thread
/// that hangs where the test wants it to.
fn stuck() -> (Bench, mpsc::Sender<()>) {
    let directory = tempfile::tempdir().unwrap();
    let (path, pipe) = (directory.path().join("db.sqlite"), directory.path().join("pipe"));
    make(&path, ORDERS);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (go, told) = mpsc::channel();
    let reads = pipe.clone();
    std::thread::spawn(move || {
        // For writing, too: then it has no end when a connection lets go of it.
        let mut pipe = File::options().read(true).write(true).open(reads).unwrap();
        told.recv().unwrap();
        pipe.read_to_end(&mut Vec::new()).unwrap();
    });
    let system = SqliteSystem { path, concurrency: 1, statement_log: Some(pipe) };
    (Bench::over(System::Sqlite(system), directory), go)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_hangs_is_unknown_only_from_the_commit_on() {
    let short = Ask { timeout_ms: 50, ..note() };
    // A pipe holds sixteen pages. The first text does not fit in; the second fills it up to the commit.
    for (bytes, known, after) in
        [(80 * 1024, Applied::NotApplied, "n2"), (15 * 4096 + 100, Applied::Unknown, "x")]
    {
        let (bench, go) = stuck();
        let call = json!({"note": "x".repeat(bytes), "id": 2});
        let (kind, applied, detail) = fault(&bench, writing(&short, 1..=1, None), call).await;
        assert_eq!((kind, applied), (SystemFaultKind::TimedOut, known), "{detail}");
        go.send(()).unwrap();
        // Its turn comes back when it has ended.
        let call = json!({"note": "later", "id": 1});
        bench.call_tool("acct_alpha", writing(&note(), 1..=1, None), call).await.unwrap();
        let notes = said(&bench.path());
        let [first, second, _] = notes.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        assert!(first == "later" && second.starts_with(after), "{known:?}: {}", second.len());
    }
}

#[tokio::test]
async fn the_journal_mode_stays_as_it_was_and_a_file_that_may_not_be_written_is_unavailable() {
    for mode in ["wal", "delete"] {
        let bench = Bench::new(&format!("pragma journal_mode = {mode}; {ORDERS}"));
        let call = json!({"note": "x", "id": 2});
        bench.call_tool("acct_alpha", writing(&note(), 1..=1, None), call).await.unwrap();
        let other = Connection::open(bench.path()).unwrap();
        let is: String = other.query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(is, mode);
        assert_eq!(said(&bench.path()), "n1 x n3");
    }
}
