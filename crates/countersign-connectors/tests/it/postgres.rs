use crate::bench::{Ask, Bench, ask};
use crate::server::{Database, Server, shared};
use countersign_connectors::{Encryption, PostgresSystem, System, Unreachable};
use countersign_core::refusal::{Applied, SystemFaultKind};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

fn system(connection: impl Into<String>) -> PostgresSystem {
    PostgresSystem {
        connection: SecretString::from(connection.into()),
        encryption: None,
        authorities: None,
        tenant_setting: "app.tenant".to_owned(),
        concurrency: 4,
    }
}

fn over(system: PostgresSystem) -> Bench {
    Bench::over(System::Postgres(system), tempfile::tempdir().unwrap())
}

/// A database that a script has made, and how `reader` uses it.
fn bench(script: &str) -> (Database<'static>, Bench) {
    let database = shared().database(script);
    let bench = over(system(database.of("reader")));
    (database, bench)
}

/// A statement whose `$1`, `$2` … are the arguments in the order of their names.
fn with(statement: &str, arguments: &Value) -> Ask {
    let names: Vec<_> = arguments.as_object().unwrap().keys().cloned().collect();
    let properties: Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({}))).collect();
    Ask { input: json!({"properties": properties, "required": names}), ..ask(statement) }
}

async fn rows(bench: &Bench, statement: &str, arguments: Value) -> Value {
    let ask = with(statement, &arguments);
    bench
        .call(&ask, arguments)
        .await
        .unwrap_or_else(|fault| panic!("{statement}: {fault:?}"))
        .result
}

async fn fault(bench: &Bench, ask: &Ask, arguments: Value) -> (SystemFaultKind, String) {
    let fault = bench.call(ask, arguments).await.unwrap_err();
    assert_eq!(fault.applied, Applied::NotApplied);
    (fault.kind, fault.detail)
}

// ── values ──────────────────────────────────────────────────────────────────────────────────────

const KINDS: &str = "create type mood as enum ('well', 'so-so');
    create domain cents as bigint check (value >= 0);";

#[tokio::test]
async fn values_travel_by_the_types_that_the_server_gives_them() {
    let (_database, bench) = bench(KINDS);
    for (is, value) in [
        ("int2", json!(-7)),
        ("int4", json!(2_147_483_647)),
        ("int8", json!(9_007_199_254_740_991i64)),
        ("int8", json!("9223372036854775807")),
        ("int8", json!("-9223372036854775808")),
        ("numeric", json!("12345678901234567890123456789012345678901234567890.000010")),
        ("numeric", json!("-0.05")),
        ("numeric", json!("10000")),
        ("numeric(12,2)", json!("100.00")),
        ("float8", json!(1.5)),
        ("float4", json!(0.1)),
        ("bool", json!(true)),
        ("text", json!("Grüße, '; drop table t; -- $1 \\ \"x\" \n\u{1f600}")),
        ("varchar", json!("")),
        ("bpchar", json!("a")),
        ("name", json!("n")),
        ("uuid", json!("550e8400-e29b-41d4-a716-446655440000")),
        ("date", json!("2026-02-28")),
        ("time", json!("10:30:00")),
        ("timestamp", json!("2026-02-28T10:30:00.5")),
        ("timestamptz", json!("2026-02-28T10:30:00Z")),
        ("json", json!({"a": [1, null, "x"], "b": 1.5})),
        ("jsonb", json!([{"a": "]\\\"'"}])),
        ("mood", json!("so-so")),
        ("cents", json!(12)),
        ("int4[]", json!([1, null, 3])),
        ("text[]", json!(["a", null, "NULL", "", "b,c", "{d}", "e\"f\\g", " h "])),
        ("uuid[]", json!(["550e8400-e29b-41d4-a716-446655440000"])),
        ("numeric[]", json!(["0.10", "20"])),
        ("jsonb[]", json!([{"a": [1]}, [2]])),
        ("mood[]", json!(["well"])),
        ("text[]", json!([])),
        ("int4", json!(null)),
        ("text[]", json!(null)),
    ] {
        let statement = format!("select $1::{is} as v");
        let back = rows(&bench, &statement, json!({"a": value})).await;
        assert_eq!(back, json!([{ "v": value }]), "{is}");
    }
    let other_way = rows(
        &bench,
        "select $1::numeric as a, $2::timestamptz as b, $3::float8 as c, $4::numeric as d",
        json!({"a": 7, "b": "2026-02-28 12:30:00+02", "c": 3, "d": 7.25}),
    );
    assert_eq!(
        other_way.await,
        json!([{"a": "7", "b": "2026-02-28T10:30:00Z", "c": 3.0, "d": "7.25"}])
    );
    let nested =
        rows(&bench, "select array_to_json($1::int4[]) as v", json!({"a": [[1, 2], [3, 4]]}));
    assert_eq!(nested.await, json!([{"v": [[1, 2], [3, 4]]}]));
}

#[tokio::test]
async fn parameters_need_no_cast_where_the_server_can_tell() {
    let (_database, bench) = bench(
        "create table t (id int, name text, made date, price numeric);
         insert into t values (1, 'a', '2026-01-01', 0.1), (2, 'b', '2026-01-02', 0.2);
         grant select on t to reader;",
    );
    let statement = "select id, price from t where made >= $1 and (name = $2 or $2 is null) \
        and id = any($3) order by id limit $4";
    let arguments = json!({"a": "2026-01-01", "b": null, "c": [1, 2, 3], "d": 5});
    let found = rows(&bench, statement, arguments).await;
    assert_eq!(found, json!([{"id": 1, "price": "0.1"}, {"id": 2, "price": "0.2"}]));
}

#[tokio::test]
async fn what_does_not_fit_its_type_is_never_bound() {
    let (_database, bench) = bench(KINDS);
    for (is, value) in [
        ("int4", json!("7 or 1=1")),
        ("int4", json!(1.5)),
        ("int4", json!("")),
        ("int4", json!("-")),
        ("int4", json!(true)),
        ("int4", json!([1])),
        ("numeric", json!("NaN")),
        ("numeric", json!("1.")),
        ("numeric", json!(".5")),
        ("numeric", json!("infinity")),
        ("float8", json!("1.5")),
        ("bool", json!("yes")),
        ("bool", json!(1)),
        ("text", json!(1)),
        ("text", json!({"a": 1})),
        ("text", json!("a\u{0}b")),
        ("date", json!("now")),
        ("timestamptz", json!("infinity")),
        ("date", json!(20260101)),
        ("text[]", json!("{a}")),
        ("text[]", json!(["a\u{0}"])),
        ("int4[]", json!([[[[[[[1]]]]]]])),
        ("bytea", json!("\\x00")),
        ("interval", json!("1 day")),
        ("int4range", json!("[1,2]")),
        ("mood", json!(1)),
    ] {
        let statement = format!("select ($1::{is})::text as v");
        let (kind, detail) =
            fault(&bench, &with(&statement, &json!({"a": 1})), json!({"a": value})).await;
        assert_eq!(kind, SystemFaultKind::Failed);
        assert!(detail.contains("`:a` cannot be bound as"), "{is} {value}: {detail}");
    }
    // These the server's own readers refuse.
    for (is, value) in [
        ("int2", json!(40_000)),
        ("uuid", json!("x")),
        ("date", json!("2026-02-30")),
        ("mood", json!("ill")),
        ("cents", json!(-1)),
        ("int4[]", json!([[1], [2, 3]])),
    ] {
        let statement = format!("select ($1::{is})::text as v");
        let (kind, detail) =
            fault(&bench, &with(&statement, &json!({"a": 1})), json!({"a": value})).await;
        assert_eq!(kind, SystemFaultKind::Failed, "{is}");
        assert!(detail.contains("SQLSTATE"), "{is} {value}: {detail}");
    }
}

#[tokio::test]
async fn what_json_cannot_carry_faithfully_is_a_fault() {
    let (_database, bench) = bench("create type pair as (a int, b int)");
    for (column, says) in [
        ("1 as a, 2 as a", "two columns of the result are called `a`"),
        ("'\\x00'::bytea as a", "column `a` holds bytes: encode them"),
        ("'NaN'::float8 as a", "column `a` holds no number or an infinity"),
        ("'-infinity'::float4 as a", "column `a` holds no number or an infinity"),
        ("'NaN'::numeric as a", "column `a` holds no number or an infinity"),
        ("'infinity'::numeric as a", "column `a` holds no number or an infinity"),
        ("'infinity'::timestamptz as a", "column `a` holds a value that cannot be read"),
        ("'1 day'::interval as a", "column `a` holds interval: cast it"),
        ("'127.0.0.1'::inet as a", "column `a` holds inet: cast it"),
        ("row(1, 2)::pair as a", "column `a` holds pair: cast it"),
        ("'[1,2]'::int4range as a", "column `a` holds int4range: cast it"),
        ("array[[1],[2]] as a", "column `a` holds an array: "),
        ("'{\"n\": 9007199254740993}'::jsonb as a", "a number that readers round"),
        ("'{\"n\": 1e400}'::json as a", "column `a` holds odd JSON"),
    ] {
        let (kind, detail) = fault(&bench, &ask(&format!("select {column}")), json!({})).await;
        assert_eq!(kind, SystemFaultKind::Failed);
        assert!(detail.contains(says), "{column}: {detail}");
    }
    let twins = "select encode('\\x00'::bytea, 'hex') as a, '1 day'::interval::text as b, \
        9007199254740992 as c, '1.5'::jsonb as d";
    assert_eq!(
        rows(&bench, twins, json!({})).await,
        json!([{"a": "00", "b": "1 day", "c": "9007199254740992", "d": 1.5}])
    );
}

#[tokio::test]
async fn an_optional_argument_left_out_is_null_and_an_undeclared_one_is_a_fault() {
    let (_database, bench) = bench("");
    let input = json!({"properties": {"a": {}}, "required": []});
    let optional = Ask { input: input.clone(), ..ask("select $1::text is null as absent") };
    assert_eq!(bench.call(&optional, json!({})).await.unwrap().result, json!([{"absent": true}]));
    let required = Ask { input: json!({"properties": {"a": {}}, "required": ["a"]}), ..optional };
    let (_, detail) = fault(&bench, &required, json!({})).await;
    assert!(detail.contains("no argument for placeholder `:a`"), "{detail}");
    let more = Ask { input, ..ask("select $1::text as a, $2::text as b") };
    let (_, detail) = fault(&bench, &more, json!({"a": "x"})).await;
    assert!(detail.contains("has 2 parameters, and 1 are known"), "{detail}");
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z'\";:?@$%_\\\\\n\r\u{200b}\u{feff}(){}*/-]{0,40}",
        Just("'; drop table t; --".to_owned()),
        Just("$1".to_owned()),
        Just("$$;$$".to_owned()),
    ]
    .prop_map(|text| text.replace('\0', ""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_text_reaches_the_database_as_a_value_and_as_it_was(texts in prop::collection::vec(hostile(), 1..60)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let hex = |text: &String| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        runtime.block_on(async {
            let bench = over(system(shared_plain().of("reader")));
            for text in &texts {
                // In hexadecimal, because the monitor screens what it shows.
                let statement = "select encode(convert_to($1, 'UTF8'), 'hex') as a";
                let back = rows(&bench, statement, json!({"a": text})).await;
                assert_eq!(back, json!([{"a": hex(text)}]));
            }
            let statement = "select string_agg(encode(convert_to(v, 'UTF8'), 'hex'), ',' order by n) as a \
                from unnest($1::text[]) with ordinality as u (v, n)";
            let back = rows(&bench, statement, json!({"a": texts})).await;
            assert_eq!(back[0]["a"], json!(texts.iter().map(hex).collect::<Vec<_>>().join(",")));
        });
    }
}

/// A database without anything in it, for all who want no other.
fn shared_plain() -> &'static Database<'static> {
    static PLAIN: std::sync::OnceLock<Database<'static>> = std::sync::OnceLock::new();
    PLAIN.get_or_init(|| shared().database(""))
}

// ── walls ───────────────────────────────────────────────────────────────────────────────────────

const OWNED: &str = "create table t (tenant text not null, a text not null);
    insert into t values ('acct_alpha', 'x'), ('acct_alpha', 'y'), ('acct_bravo', 'z');
    alter table t enable row level security;
    alter table t force row level security;
    create policy own on t using (tenant = nullif(current_setting('app.tenant', true), ''));
    grant select, insert, update, delete on t to reader;
    create sequence s; grant usage on s to reader;
    create function write() returns text language sql as $$ insert into t values ('acct_alpha', 'w') returning a $$;";

#[tokio::test]
async fn whatever_does_more_than_read_never_runs() {
    let (database, bench) = bench(OWNED);
    for statement in [
        "insert into t values ('acct_alpha', 'x')",
        "insert into t values ('acct_alpha', 'x') returning a",
        "update t set a = 'x' returning a",
        "delete from t returning a",
        "with gone as (delete from t returning a) select a from gone",
        "select a from t for update",
        "select nextval('s') as n",
        "select write() as a",
        "create table u (a int)",
        "create temp table u (a int)",
        "truncate t",
        "copy t to stdout",
        "copy (select 1) to program 'true'",
        "begin",
        "commit",
        "rollback",
        "set transaction read write",
        "set app.tenant = 'acct_bravo'",
        "reset all",
        "discard all",
        "lock table t",
        "vacuum t",
        "do $$ begin end $$",
        "select 1 as a; select 2 as b",
        "select 1 as a; delete from t",
        "select set_config('transaction_read_only', 'off', true) as a",
        "",
        "-- nothing",
    ] {
        let (kind, detail) = fault(&bench, &ask(statement), json!({})).await;
        assert_eq!(kind, SystemFaultKind::Failed, "{statement}: {detail}");
    }
    assert_eq!(database.run("select count(*), string_agg(a, '' order by a) from t"), "3|xyz");
    let own = rows(&bench, "select a from t order by a", json!({})).await;
    assert_eq!(own, json!([{"a": "x"}, {"a": "y"}]));
}

#[tokio::test]
async fn nothing_of_one_tenant_is_left_for_the_next_on_the_same_connection() {
    let (database, _) = bench(OWNED);
    let one = over(PostgresSystem { concurrency: 1, ..system(database.of("reader")) });
    let all = ask("select pg_backend_pid() as pid, a from t order by a");
    let mut pids = std::collections::BTreeSet::new();
    for (tenant, own) in [
        ("acct_alpha", vec!["x", "y"]),
        ("acct_bravo", vec!["z"]),
        ("nobody", vec![]),
        ("acct_alpha", vec!["x", "y"]),
    ] {
        let report = one.call_as(tenant, &all, json!({})).await.unwrap();
        let rows = report.result.as_array().unwrap();
        pids.extend(rows.iter().map(|row| row["pid"].as_i64().unwrap()));
        assert_eq!(rows.iter().map(|row| row["a"].as_str().unwrap()).collect::<Vec<_>>(), own);
    }
    assert_eq!(pids.len(), 1, "one connection served them all");
    // A statement that sets its session's tenant for good, and other things, has set nothing.
    let leaves = ask("select set_config('app.tenant', 'acct_bravo', false) as a, \
        set_config('search_path', 'elsewhere', false) as b, \
        set_config('statement_timeout', '0', false) as c");
    one.call_as("acct_alpha", &leaves, json!({})).await.unwrap();
    let holds = ask("select pg_backend_pid() as pid, current_setting('app.tenant') as tenant, \
        current_setting('search_path') as path, current_setting('statement_timeout') as time");
    let held = one.call_as("nobody", &holds, json!({})).await.unwrap().result;
    assert_eq!(held[0]["tenant"], "nobody");
    assert_eq!(held[0]["path"], "pg_catalog, public, pg_temp");
    assert_eq!(held[0]["time"], "1min");
    assert!(pids.contains(&held[0]["pid"].as_i64().unwrap()));
}

#[tokio::test]
async fn after_a_transaction_its_tenant_is_unset() {
    let (database, bench) = bench(OWNED);
    rows(&bench, "select a from t", json!({})).await;
    assert_eq!(database.executed(), ["select a from t"]);
    let log = database.log();
    let said = |words: &[&str]| log.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(said(&["START TRANSACTION", "REPEATABLE READ", "READ ONLY"]), "{log:#?}");
    assert!(said(&["ROLLBACK"]) && !said(&["COMMIT"]), "{log:#?}");
    // As the connection does it: told within, asked after.
    let said = database.run(
        "begin read only; select set_config('app.tenant', 'acct_alpha', true); rollback; \
        select coalesce(current_setting('app.tenant', true), '') = '';",
    );
    assert!(said.ends_with('t'), "{said}");
}

#[tokio::test]
async fn settings_of_the_role_or_the_connection_do_not_count() {
    let (database, _) = bench(
        "create schema evil; create table evil.t (a text); insert into evil.t values ('evil');
         create table t (a text); insert into t values ('good');
         grant usage on schema evil to public; grant select on all tables in schema evil, public to public;
         create role misled login password 'made-up';
         alter role misled set search_path = evil, public;
         alter role misled set app.tenant = 'acct_bravo';
         alter role misled set datestyle = 'German';
         alter role misled set standard_conforming_strings = off;",
    );
    let options = "?options=-c%20search_path%3Devil%20-c%20row_security%3Doff";
    let bench = over(system(format!("{}{options}", database.of("misled"))));
    let statement = "select a, current_setting('app.tenant') as tenant, '\\x' as b, \
        ('2026-01-02'::date)::text as c, current_setting('row_security') as d from t";
    // The second time the connection knows the statement.
    for _ in 0..3 {
        assert_eq!(
            rows(&bench, statement, json!({})).await,
            json!([{"a": "good", "tenant": "acct_alpha", "b": "\\x", "c": "2026-01-02", "d": "on"}])
        );
    }
}

#[tokio::test]
async fn another_setting_can_carry_the_tenant() {
    let database = shared().database("");
    let bench = over(PostgresSystem {
        tenant_setting: "acme.account".to_owned(),
        ..system(database.of("reader"))
    });
    let told = rows(&bench, "select current_setting('acme.account') as a", json!({})).await;
    assert_eq!(told, json!([{"a": "acct_alpha"}]));
}

// ── bounds ──────────────────────────────────────────────────────────────────────────────────────

/// Whether the server is still at work on something with this mark in it.
fn at_work(database: &Database<'_>, mark: &str) -> bool {
    let asked = format!(
        "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() \
        and query like '%{mark}%'"
    );
    database.run(&asked) != "0"
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
async fn a_statement_is_stopped_when_its_time_is_over() {
    let (database, bench) = bench("");
    let sleeps = Ask { timeout_ms: 2_000, ..ask("select pg_sleep(60)::text as slept_too_long") };
    let (kind, detail) = fault(&bench, &sleeps, json!({})).await;
    assert_eq!(kind, SystemFaultKind::TimedOut, "{detail}");
    assert!(detail.contains("57014"), "{detail}");
    assert!(!at_work(&database, "slept_too_long"));
    let spins = "select count(*) as spun from generate_series(1, 1000000000000)";
    let (kind, detail) = fault(&bench, &Ask { timeout_ms: 2_000, ..ask(spins) }, json!({})).await;
    assert_eq!(kind, SystemFaultKind::TimedOut, "{detail}");
    assert_eq!(rows(&bench, "select 1 as a", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_wait_for_a_lock_is_shorter_than_the_statements_time() {
    let (database, bench) = bench("create table t (a int); grant select on t to reader");
    std::thread::scope(|scope| {
        let locks = scope.spawn(|| {
            database
                .run("begin; lock table t in access exclusive mode; select pg_sleep(3); commit;")
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let waits = Ask { timeout_ms: 600, ..ask("select a from t") };
                let mut seen = Vec::new();
                while seen.last() != Some(&SystemFaultKind::Busy) && seen.len() < 50 {
                    match bench.call(&waits, json!({})).await {
                        Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(fault) => {
                            assert!(fault.detail.contains("55P03"), "{}", fault.detail);
                            seen.push(fault.kind);
                        }
                    }
                }
                assert_eq!(seen, [SystemFaultKind::Busy]);
            });
        })
        .join()
        .unwrap();
        locks.join().unwrap();
    });
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_at_the_server() {
    let (database, _) = bench("");
    let bench = Arc::new(over(PostgresSystem { concurrency: 1, ..system(database.of("reader")) }));
    let call = {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move {
            let sleeps = ask("select pg_sleep(50)::text as given_up");
            bench.call(&sleeps, json!({})).await.map(|_| ())
        })
    };
    until(|| at_work(&database, "given_up")).await;
    call.abort();
    until(|| !at_work(&database, "given_up")).await;
    // Its turn has come back, and its connection has not.
    assert_eq!(rows(&bench, "select 1 as a", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_server_that_does_not_stop_in_time_is_given_up() {
    let (database, bench) = bench("");
    let bench = Arc::new(bench);
    let pid = rows(&bench, "select pg_backend_pid() as pid", json!({})).await[0]["pid"].clone();
    let signal = |signal: &str| {
        let kill = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(kill.unwrap().success());
    };
    signal("-STOP");
    let hangs = Ask { timeout_ms: 100, ..ask("select 1 as never_answered") };
    let (kind, detail) = fault(&bench, &hangs, json!({})).await;
    signal("-CONT");
    assert_eq!(kind, SystemFaultKind::TimedOut);
    assert!(detail.contains("did not answer"), "{detail}");
    let gone = format!("select count(*) from pg_stat_activity where pid = {pid}");
    until(|| database.run(&gone) == "0").await;
    assert_eq!(rows(&bench, "select 1 as a", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_result_is_cut_at_its_rows_and_the_server_stops_there() {
    let (_database, bench) = bench("");
    let statement = "select generate_series(1, $1::int8) as i";
    let three = Ask { rows_max: 3, ..with(statement, &json!({"a": 1})) };
    for (last, rows, truncated) in
        [(1, 1, false), (3, 3, false), (4, 3, true), (9_000_000_000_i64, 3, true)]
    {
        let report = bench.call(&three, json!({"a": last})).await.unwrap();
        assert_eq!((report.rows, report.truncated), (rows, truncated), "{last}");
    }
    let none = Ask { rows_max: 0, ..three };
    let report = bench.call(&none, json!({"a": 1})).await.unwrap();
    assert_eq!((report.rows, report.truncated), (0, true));
}

#[tokio::test]
async fn a_result_is_cut_before_the_row_that_passes_its_bytes() {
    let (_database, bench) = bench("");
    let whole = r#"[{"i":1},{"i":2},{"i":3}]"#;
    for (bytes, rows) in [
        (whole.len(), 3),
        (whole.len() - 1, 2),
        (r#"[{"i":1}]"#.len(), 1),
        (r#"[{"i":1}]"#.len() - 1, 0),
    ] {
        let statement = "select i from generate_series(1, 3) as s (i)";
        let bounded = Ask { bytes_max: u32::try_from(bytes).unwrap(), ..ask(statement) };
        let report = bench.call(&bounded, json!({})).await.unwrap();
        assert_eq!((report.rows, report.truncated), (rows, rows < 3), "{bytes}");
    }
    // A thousand rows of a megabyte each: none is kept, and the connection is as good as before.
    let wide =
        "select pg_backend_pid() as pid, repeat('x', 1000000) as x from generate_series(1, 1000)";
    let report = bench.call(&Ask { bytes_max: 1_000, ..ask(wide) }, json!({})).await.unwrap();
    assert_eq!((report.rows, report.truncated), (0, true));
}

#[tokio::test]
async fn one_row_that_is_too_large_to_hold_is_a_fault() {
    let (_database, bench) = bench("");
    let huge = "select repeat('x', 100000000) as x";
    let (kind, detail) = fault(&bench, &ask(huge), json!({})).await;
    assert!(detail.contains("longer than 8388608"), "{detail}");
    assert_eq!(kind, SystemFaultKind::Failed);
    assert_eq!(rows(&bench, "select 1 as a", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_each_get_their_own_answer_over_few_connections() {
    let (database, bench) = bench("");
    let bench = Arc::new(bench);
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move {
            let tenant = format!("acct_{number}");
            let ask = with(
                "select $1::int4 as a, current_setting('app.tenant') as tenant",
                &json!({"a": 1}),
            );
            let report = bench.call_as(&tenant, &ask, json!({"a": number})).await.unwrap();
            assert_eq!(report.result, json!([{"a": number, "tenant": tenant}]));
        });
    }
    calls.join_all().await;
    let asked = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = 'reader'",
        database.name()
    );
    assert!(database.run(&asked).parse::<u32>().unwrap() <= 4);
}

// ── reaching it ─────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let server = Server::start();
    let database = server.database("");
    let bench = over(system(database.of("reader")));
    assert_eq!(rows(&bench, "select 1 as a", json!({})).await, json!([{"a": 1}]));
    server.stop();
    for _ in 0..2 {
        let (kind, detail) = fault(&bench, &ask("select 1 as a"), json!({})).await;
        assert_eq!(kind, SystemFaultKind::Unavailable, "{detail}");
    }
    server.start_again();
    assert_eq!(rows(&bench, "select 1 as a", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let (database, bench) = bench("");
    let pid = rows(&bench, "select pg_backend_pid() as pid", json!({})).await[0]["pid"].clone();
    database.run(&format!("select pg_terminate_backend({pid}, 5000)"));
    tokio::time::sleep(Duration::from_millis(50)).await; // For the news to cross the socket.
    let other = rows(&bench, "select pg_backend_pid() as pid", json!({})).await[0]["pid"].clone();
    assert_ne!(pid, other);
}

#[tokio::test]
async fn what_does_not_let_us_in_is_unavailable_and_the_password_stays_hidden() {
    let database = shared().database("");
    let right = database.of("reader");
    for (connection, says) in [
        (right.replace("made-up", "wrong-and-made-up"), "28P01"),
        (right.replace("reader", "stranger"), "28P01"),
        (right.replace(database.name(), "nowhere"), "3D000"),
        (right.replace(&shared().port().to_string(), "1"), "refused"),
        (
            format!("host={} user=postgres dbname=x port=1", shared().folder().display()),
            "cannot be reached",
        ),
    ] {
        let (kind, detail) =
            fault(&over(system(connection)), &ask("select 1 as a"), json!({})).await;
        assert_eq!(kind, SystemFaultKind::Unavailable, "{detail}");
        assert!(detail.contains(says), "{detail}");
        assert!(!detail.contains("made-up"), "{detail}");
    }
    let socket = format!(
        "host={} port={} user=reader dbname={}",
        shared().folder().display(),
        shared().port(),
        database.name()
    );
    assert_eq!(rows(&over(system(socket)), "select 1 as a", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn full_is_busy() {
    let server = Server::start();
    let database = server.database("create role few login password 'made-up' connection limit 0");
    let (kind, detail) =
        fault(&over(system(database.of("few"))), &ask("select 1 as a"), json!({})).await;
    assert_eq!(kind, SystemFaultKind::Busy, "{detail}");
}

#[tokio::test]
async fn tls_is_verified_down_to_the_hosts_name() {
    let database = shared().database("");
    let by_name = database.of("reader").replace("127.0.0.1", "localhost");
    let by_address = database.of("reader");
    let asks = ask("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
    let verified = |connection: &str, authorities: Option<String>| {
        over(PostgresSystem {
            encryption: Some(Encryption::VerifyFull),
            authorities,
            ..system(connection)
        })
    };
    let authority = Some(shared().authority());
    let report = verified(&by_name, authority.clone()).call(&asks, json!({})).await.unwrap();
    assert_eq!(report.result, json!([{"ssl": true}]));
    // The connection's own wish for less does not count.
    let less = verified(&format!("{by_name}?sslmode=disable"), authority.clone());
    assert_eq!(less.call(&asks, json!({})).await.unwrap().result, json!([{"ssl": true}]));
    for (bench, says) in [
        (verified(&by_name, None), "UnknownIssuer"),
        (verified(&by_address, authority), "not valid for name"),
    ] {
        let (kind, detail) = fault(&bench, &asks, json!({})).await;
        assert_eq!(kind, SystemFaultKind::Unavailable);
        assert!(detail.contains(says), "{detail}");
    }
    let clear = over(system(by_name)).call(&asks, json!({})).await.unwrap();
    assert_eq!(clear.result, json!([{"ssl": false}]), "on this machine it may be in the clear");
}

#[test]
fn a_connection_that_would_cross_a_network_in_the_clear_is_none() {
    let check = |connection: &str, encryption| {
        PostgresSystem { encryption, ..system(connection) }.check().map_err(|why| why.to_string())
    };
    let off = Some(Encryption::Off);
    for (connection, encryption) in [
        ("postgres://u:p@db.example/d", None),
        ("postgres://u:p@db.example/d", Some(Encryption::VerifyFull)),
        ("postgres://u:p@localhost/d", off),
        ("postgres://u:p@127.0.0.1:5433/d", off),
        ("postgres://u:p@[::1]/d", None),
        ("host=/run/postgresql user=u dbname=d", off),
        ("host=db.example hostaddr=127.0.0.1 user=u", off),
    ] {
        assert_eq!(check(connection, encryption), Ok(()), "{connection}");
    }
    let cannot = Unreachable::Connection.to_string();
    let clear = Unreachable::Plaintext.to_string();
    for (connection, encryption, says) in [
        ("postgres://u:p@db.example/d", off, clear.as_str()),
        ("postgres://u:p@10.0.0.7/d", off, &clear),
        ("host=localhost hostaddr=10.0.0.7 user=u", off, &clear),
        ("postgres://u:p@a.example,b.example/d", None, &cannot),
        ("made-up-password that is no connection", None, &cannot),
        ("postgres://u:p@db.example/d?sslmode=verify-full", None, &cannot),
        ("", None, "the connection names no user"),
        ("user=u dbname=d", None, "the connection names no host"),
        ("postgres://db.example/d", None, "the connection names no user"),
    ] {
        assert_eq!(check(connection, encryption), Err(says.to_owned()), "{connection}");
    }
    let odd = PostgresSystem {
        authorities: Some("no PEM".to_owned()),
        ..system("postgres://u@db.example")
    };
    assert!(odd.check().unwrap_err().to_string().contains("there are none"));
    assert!(!format!("{odd:?}").contains("postgres://"), "it does not show itself");
}
