//! Effects on a real PostgreSQL: what is known of each is what is so, whoever ends the conversation
//! and when.

use crate::bench::{Ask, Bench, ask, look_up, writing};
use crate::server::{Database, shared};
use countersign_connectors::{PostgresSystem, System};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::scope::Asks;
use countersign_core::tool::Tool;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ORDERS: &str = "create table orders (id int primary key, account_id text not null, note text);
    insert into orders values (1, 'acct_alpha', 'n1'), (2, 'acct_alpha', 'n2'), (3, 'acct_bravo', 'n3');
    alter table orders enable row level security;
    alter table orders force row level security;
    create policy tenant on orders using (account_id = nullif(current_setting('app.tenant', true), ''));
    grant select, insert, update, delete on orders to reader;";
const NOTE: &str = "update orders set note = $1 where id = $2";

fn over(connection: String) -> Bench {
    let system = PostgresSystem {
        connection: SecretString::from(connection),
        encryption: None,
        authorities: None,
        tenant_setting: "app.tenant".to_owned(),
        concurrency: 4,
    };
    Bench::over(System::Postgres(system), tempfile::tempdir().unwrap())
}

fn bench(more: &str) -> (Database<'static>, Bench) {
    let database = shared().database(&format!("{ORDERS}{more}"));
    let bench = over(database.of("reader"));
    (database, bench)
}

/// A statement whose `$1`, `$2` are these arguments.
fn with(statement: &str, names: &[&str]) -> Ask {
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    Ask { input: json!({"properties": properties, "required": names}), ..ask(statement) }
}

/// With `id` and `note`, in the order of their names.
fn note() -> Ask {
    with("update orders set note = $2 where id = $1", &["id", "note"])
}

fn said(database: &Database<'_>) -> String {
    database.run("select string_agg(note, ' ' order by id) from orders")
}

async fn fault(bench: &Bench, tool: Tool, arguments: Value) -> (SystemFaultKind, Applied, String) {
    let SystemFault { kind, applied, detail, .. } =
        bench.call_tool("acct_alpha", tool, arguments).await.unwrap_err();
    (kind, applied, detail)
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}

#[tokio::test]
async fn an_effect_and_its_check_are_one_transaction_of_the_tenants() {
    let (database, bench) = bench("");
    let check = with("select note = $2 as done from orders where id = $1", &["id", "note"]);
    for note_is in ["x", "y"] {
        let tool = writing(&note(), 1..=1, Some(&check));
        let call = json!({"id": 2, "note": note_is});
        let report = bench.call_tool("acct_alpha", tool, call).await.unwrap();
        assert_eq!((report.rows, report.result), (0, json!([])));
        assert_eq!(said(&database), format!("n1 {note_is} n3"));
    }
    let log = database.log();
    let line = |words: &str| log.iter().position(|line| line.contains(words)).unwrap();
    let order = ["READ WRITE", "set_config", "update orders", "set constraints all immediate"];
    let order = [&order[..], &["set transaction read only", "select note = ", "COMMIT"]].concat();
    assert!(order.iter().map(|words| line(words)).is_sorted(), "{log:#?}");
    let returning = with(&format!("{NOTE} returning id, note"), &["a", "b"]);
    let tool = writing(&returning, 1..=1, None);
    let report = bench.call_tool("acct_alpha", tool, json!({"a": "z", "b": 1})).await.unwrap();
    assert_eq!(report.result, json!([{"id": 1, "note": "z"}]));
    // Another tenant's row is none, by the database alone.
    let tool = writing(&note(), 1..=1, None);
    let (kind, applied, _) = fault(&bench, tool, json!({"id": 3, "note": "x"})).await;
    assert_eq!((kind, applied), (SystemFaultKind::PostCondition, Applied::NotApplied));
    assert_eq!(said(&database), "z y n3");
}

#[tokio::test]
async fn what_is_not_as_it_must_be_is_rolled_back() {
    use SystemFaultKind::{Failed, PostCondition};
    let (database, bench) = bench("");
    let all = "update orders set note = 'x'";
    for (statement, affects, kind, says) in [
        (all, 1..=1, PostCondition, "2 rows, and may change 1 to 1"),
        ("update orders set note = 'x' where id = 9", 1..=1, PostCondition, "0 rows"),
        ("update orders set note = 'x' returning id", 1..=1, PostCondition, "more than 1 rows"),
        ("delete from orders", 0..=1, PostCondition, "2 rows"),
        ("select 1 as a", 1..=1, Failed, "without `with` before it"),
        ("with x as (delete from orders returning 1) select 1 as a", 1..=1, Failed, "`with`"),
        ("-- update\nselect 1 as a", 1..=1, Failed, "`with`"),
        ("/* /* */ update */ delete from orders", 0..=9, Failed, "`with`"),
        ("commit", 0..=9, Failed, "`with`"),
        ("rollback and chain", 0..=9, Failed, "`with`"),
        ("update orders set note = 'x'; delete from orders", 0..=9, Failed, "42601"),
        ("insert into orders values (4, 'acct_bravo', 'x')", 1..=1, Failed, "42501"),
    ] {
        let tool = writing(&ask(statement), affects, None);
        let (is, applied, detail) = fault(&bench, tool, json!({})).await;
        assert_eq!((is, applied), (kind, Applied::NotApplied), "{statement}: {detail}");
        assert!(detail.contains(says), "{statement}: {detail}");
        assert_eq!(said(&database), "n1 n2 n3");
    }
    for (check, kind) in [
        ("select false as a", PostCondition),
        ("select 2 as a", PostCondition),
        ("select true as a, true as b", PostCondition),
        ("select true as a where false", PostCondition),
        ("delete from orders returning true as a", Failed),
        ("commit", Failed),
    ] {
        let tool = writing(&note(), 1..=1, Some(&ask(check)));
        let (is, applied, detail) = fault(&bench, tool, json!({"id": 2, "note": "x"})).await;
        assert_eq!((is, applied), (kind, Applied::NotApplied), "{check}: {detail}");
        assert_eq!(said(&database), "n1 n2 n3");
    }
    let commented = writing(&ask("/* a */ -- b\n update orders set note = 'x'"), 2..=2, None);
    bench.call_tool("acct_alpha", commented, json!({})).await.unwrap();
    assert_eq!(said(&database), "x x n3");
}

#[tokio::test]
async fn whose_it_is_is_asked_again_in_the_transaction() {
    let (database, bench) = bench("");
    let owned = "select 1 as one from orders where id = $1";
    let ask = Ask { look_ups: vec![look_up(Asks::Owned, "id", owned, Some(1_000_000))], ..note() };
    let tool = || writing(&ask, 1..=1, None);
    bench.call_tool("acct_alpha", tool(), json!({"id": 2, "note": "x"})).await.unwrap();
    database.run("update orders set account_id = 'acct_bravo' where id = 2");
    let (kind, applied, detail) = fault(&bench, tool(), json!({"id": 2, "note": "y"})).await;
    assert_eq!((kind, applied), (SystemFaultKind::Failed, Applied::NotApplied));
    assert!(detail.contains("not the caller's any more"), "{detail}");
    assert_eq!(said(&database), "n1 x n3");
}

#[tokio::test]
async fn a_hostile_argument_is_a_value_and_a_reading_sibling_writes_nothing() {
    let (database, bench) = bench("");
    let hostile = "x'; drop table orders; --";
    let tool = writing(&note(), 1..=1, None);
    bench.call_tool("acct_alpha", tool, json!({"id": 2, "note": hostile})).await.unwrap();
    assert_eq!(said(&database), format!("n1 {hostile} n3"));
    let returning = with("update orders set note = $2 where id = $1 returning id", &["id", "note"]);
    let read = bench.call(&returning, json!({"id": 2, "note": "y"})).await.unwrap_err();
    assert_eq!((read.kind, read.applied), (SystemFaultKind::Failed, Applied::NotApplied));
    assert!(read.detail.contains("25006"), "{}", read.detail);
    // What one statement leaves behind for the session reaches no read: it is another connection.
    let leaves = "update orders set note = set_config('search_path', 'evil', false) where id = 1 \
        returning pg_backend_pid() as pid";
    let tool = writing(&ask(leaves), 1..=1, None);
    let wrote = bench.call_tool("acct_alpha", tool, json!({})).await.unwrap().result;
    for _ in 0..4 {
        let reads = bench.rows("select pg_backend_pid() as pid", json!({})).await;
        assert_ne!(reads, wrote);
    }
}

#[tokio::test]
async fn what_is_put_off_until_the_commit_fails_while_that_is_known() {
    let (database, bench) = bench(
        "create table lines (order_id int references orders (id) deferrable initially deferred);
         grant select, insert on lines to reader;",
    );
    let tool = writing(&ask("insert into lines values (77)"), 1..=1, None);
    let (kind, applied, detail) = fault(&bench, tool, json!({})).await;
    assert_eq!((kind, applied), (SystemFaultKind::Failed, Applied::NotApplied));
    assert!(detail.contains("23503"), "{detail}");
    assert!(!database.log().iter().any(|line| line.contains("COMMIT")));
}

#[test]
fn what_collides_is_busy_and_what_the_server_ends_is_not_applied() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (database, bench) = bench("");
    for (ends, kind, says) in [
        ("update orders set note = 'other' where id = 2", SystemFaultKind::Busy, "40001"),
        (
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader' \
                and datname = current_database()",
            SystemFaultKind::Unavailable,
            "", // Its last words may be lost with the connection.
        ),
    ] {
        database.run("update orders set note = 'n2' where id = 2");
        let script = format!(
            "begin; update orders set note = note where id = 2;
             do $$ begin for i in 1..1000 loop perform pg_sleep(0.01); exit when exists (
             select from pg_locks where not granted); end loop; end $$; {ends}; commit;"
        );
        std::thread::scope(|scope| {
            let other = scope.spawn(|| database.run(&script));
            let holds = "select count(*) from pg_stat_activity where query like '%pg_sleep%' \
                and datname = current_database() and pid <> pg_backend_pid()";
            while database.run(holds) == "0" {
                std::thread::sleep(Duration::from_millis(10));
            }
            let outcome = runtime.block_on(fault(
                &bench,
                writing(&note(), 1..=1, None),
                json!({"id": 2, "note": "x"}),
            ));
            other.join().unwrap();
            let (is, applied, detail) = outcome;
            assert_eq!((is, applied), (kind, Applied::NotApplied), "{detail}");
            assert!(detail.contains(says), "{detail}");
        });
        assert!(!said(&database).contains('x'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_leaves_no_transaction_open() {
    let (database, bench) = bench("");
    let bench = Arc::new(bench);
    let sleeps = "update orders set note = pg_sleep(50)::text || 'x' where id = 1";
    let tool = || writing(&ask(sleeps), 1..=1, None);
    let call = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.call_tool("acct_alpha", tool(), json!({})).await.map(|_| ()) }
    });
    let open = "select count(*) from pg_stat_activity where usename = 'reader' \
        and datname = current_database() and state <> 'idle'";
    until(|| database.run(open) != "0").await;
    call.abort();
    until(|| database.run(open) == "0").await;
    let short = Ask { timeout_ms: 100, ..ask(sleeps) };
    let (kind, applied, _) = fault(&bench, writing(&short, 1..=1, None), json!({})).await;
    assert_eq!((kind, applied), (SystemFaultKind::TimedOut, Applied::NotApplied));
    until(|| database.run(open) == "0").await;
    assert_eq!(said(&database), "n1 n2 n3");
}

// ── what becomes of COMMIT on its way ───────────────────────────────────────────────────────────

/// What a proxy does when it sees its mark go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Closes both sides, without passing it on.
    CutBefore,
    /// Passes it on, waits for the answer, and closes both sides without passing that on.
    CutAfter,
    /// Passes nothing on any more, and closes nothing.
    Hang,
    /// Answers itself, with an error of this severity and SQLSTATE.
    Refuse(&'static str, &'static str),
}

/// An ErrorResponse, and that the server is ready again.
fn refusal(severity: &str, code: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{code}\0Mmade up\0\0");
    let mut bytes = vec![b'E'];
    bytes.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    bytes.extend(fields.as_bytes());
    bytes.extend(b"Z\0\0\0\x05I");
    bytes
}

/// A proxy before the server that acts on a mark in what the client sends.
async fn proxy(server: SocketAddr, mark: &'static [u8], does: At) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(between(client, server, mark, does, Arc::clone(&held)));
        }
    });
    address
}

async fn between(
    client: TcpStream,
    server: TcpStream,
    mark: &[u8],
    does: At,
    held: Arc<Mutex<Vec<TcpStream>>>,
) {
    let (mut client, mut server) = (client, server);
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(count @ 1..) = read else { return };
                let sent = &from_client[..count];
                if sent.windows(mark.len()).any(|window| window == mark) {
                    match does {
                        At::CutBefore => return,
                        At::CutAfter => {
                            server.write_all(sent).await.unwrap();
                            let _answer = server.read(&mut from_server).await.unwrap();
                            return;
                        }
                        At::Refuse(severity, code) => {
                            client.write_all(&refusal(severity, code)).await.unwrap();
                            continue;
                        }
                        At::Hang => return held.lock().unwrap().extend([client, server]),
                    }
                }
                server.write_all(sent).await.unwrap();
            }
            read = server.read(&mut from_server) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&from_server[..count]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test]
async fn a_lost_commit_is_unknown_and_anything_lost_before_it_is_not_applied() {
    use SystemFaultKind::{Busy, Failed, TimedOut, Unavailable};
    const EFFECT: &[u8] = b"update orders";
    const SETTLES: &[u8] = b"set constraints";
    const COMMIT: &[u8] = b"COMMIT";
    for (mark, does, kind, known, after) in [
        (EFFECT, At::CutBefore, Unavailable, Applied::NotApplied, "n2"),
        (EFFECT, At::CutAfter, Unavailable, Applied::NotApplied, "n2"),
        (EFFECT, At::Hang, TimedOut, Applied::NotApplied, "n2"),
        (SETTLES, At::CutAfter, Unavailable, Applied::NotApplied, "n2"),
        (COMMIT, At::CutBefore, Unavailable, Applied::Unknown, "n2"),
        (COMMIT, At::CutAfter, Unavailable, Applied::Unknown, "x"),
        (COMMIT, At::Hang, TimedOut, Applied::Unknown, "n2"),
        // What a server says that has rolled back, and what might be said by one that has not.
        (COMMIT, At::Refuse("ERROR", "40001"), Busy, Applied::NotApplied, "n2"),
        (COMMIT, At::Refuse("ERROR", "23503"), Failed, Applied::NotApplied, "n2"),
        (COMMIT, At::Refuse("ERROR", "40003"), Busy, Applied::Unknown, "n2"),
        (COMMIT, At::Refuse("ERROR", "XX000"), Failed, Applied::Unknown, "n2"),
        (COMMIT, At::Refuse("ERROR", "08006"), Unavailable, Applied::Unknown, "n2"),
        (COMMIT, At::Refuse("FATAL", "57P01"), Unavailable, Applied::Unknown, "n2"),
    ] {
        let database = shared().database(ORDERS);
        let server = SocketAddr::from(([127, 0, 0, 1], shared().port()));
        let address = proxy(server, mark, does).await;
        let through =
            database.of("reader").replace(&server.port().to_string(), &address.port().to_string());
        let short = Ask { timeout_ms: 1_000, ..note() };
        let tool = writing(&short, 1..=1, None);
        let (is, applied, detail) =
            fault(&over(through), tool, json!({"id": 2, "note": "x"})).await;
        let case = format!("{} {does:?}: {detail}", String::from_utf8_lossy(mark));
        assert_eq!((is, applied), (kind, known), "{case}");
        // What it is unknown of may be so or not; what is not applied is not.
        let _settled = database.run("begin; lock table orders in access exclusive mode; commit");
        assert_eq!(said(&database), format!("n1 {after} n3"), "{case}");
    }
}
