use crate::bench::{Ask, Bench, ask};
use countersign_core::refusal::SystemFaultKind;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

const NUMBERS: &str = "with recursive n (i) as (values (1) union all select i + 1 from n \
    where i < :last) select i from n";

fn numbers() -> Ask {
    ask(NUMBERS)
}

#[tokio::test]
async fn a_statement_is_stopped_when_its_time_is_over() {
    let bench = Bench::new("create table t (a)");
    let count = "with recursive n (i) as (values (1) union all select i + 1 from n \
        where i < :last) select count(*) as c from n";
    let short = Ask { timeout_ms: 20, ..ask(count) };
    let fault = bench.call(&short, json!({"last": i64::from(u32::MAX) * 1_000})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::TimedOut, "{}", fault.detail);
    assert_eq!(bench.call(&short, json!({"last": 100})).await.unwrap().result, json!([{"c": 100}]));
}

#[tokio::test]
async fn a_result_is_cut_at_its_rows_and_says_so() {
    let bench = Bench::new("create table t (a)");
    let three = Ask { rows_max: 3, ..numbers() };
    for (last, rows, truncated) in [(1, 1, false), (3, 3, false), (4, 3, true), (900, 3, true)] {
        let report = bench.call(&three, json!({"last": last})).await.unwrap();
        assert_eq!((report.rows, report.truncated), (rows, truncated), "{last}");
    }
    let none = Ask { rows_max: 0, ..numbers() };
    let report = bench.call(&none, json!({"last": 1})).await.unwrap();
    assert_eq!((report.rows, report.truncated), (0, true));
}

#[tokio::test]
async fn a_result_is_cut_before_the_row_that_passes_its_bytes() {
    let bench = Bench::new("create table t (a)");
    let whole = r#"[{"i":1},{"i":2},{"i":3}]"#;
    for (bytes, rows) in [
        (whole.len(), 3),
        (whole.len() - 1, 2),
        (r#"[{"i":1}]"#.len(), 1),
        (r#"[{"i":1}]"#.len() - 1, 0),
        (0, 0),
    ] {
        let bounded = Ask { bytes_max: u32::try_from(bytes).unwrap(), ..numbers() };
        let report = bench.call(&bounded, json!({"last": 3})).await.unwrap();
        assert_eq!((report.rows, report.truncated), (rows, rows < 3), "{bytes}");
        assert!(rows == 0 || report.result.to_string().len() <= bytes);
    }
}

#[tokio::test]
async fn a_value_that_is_too_long_for_the_connection_is_a_fault() {
    let bench = Bench::new("create table t (a)");
    let fault = bench
        .call(&ask("select length(zeroblob(:n)) as a"), json!({"n": 9_000_000}))
        .await
        .unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Failed);
    let rows = bench.rows("select length(zeroblob(:n)) as a", json!({"n": 1_000})).await;
    assert_eq!(rows, json!([{"a": 1_000}]));
}

/// Keeps every reader out until it is dropped.
fn lock(bench: &Bench) -> Connection {
    let connection = Connection::open(bench.path()).unwrap();
    connection.execute_batch("begin exclusive").unwrap();
    connection
}

#[tokio::test]
async fn a_locked_database_is_busy_and_comes_back_by_itself() {
    let bench = Bench::new("create table t (a); insert into t values (1)");
    let impatient = Ask { timeout_ms: 20, ..ask("select a from t") };
    let locked = lock(&bench);
    let fault = bench.call(&impatient, json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Busy, "{}", fault.detail);
    drop(locked);
    assert_eq!(bench.call(&impatient, json!({})).await.unwrap().result, json!([{"a": 1}]));
}

async fn second_of_two(concurrency: u32) -> String {
    let bench =
        Bench::with_concurrency("create table t (a); insert into t values (1)", concurrency);
    let locked = lock(&bench);
    let patient = ask("select a from t");
    let impatient = Ask { timeout_ms: 50, ..patient.clone() };
    let (first, second) = tokio::join!(bench.call(&patient, json!({})), async {
        let second = bench.call(&impatient, json!({})).await;
        drop(locked);
        second
    });
    assert_eq!(first.unwrap().result, json!([{"a": 1}]));
    let fault = second.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Busy);
    fault.detail
}

#[tokio::test]
async fn no_more_statements_run_at_a_time_than_the_system_may_take() {
    assert!(second_of_two(1).await.contains("no call ended in time"));
    assert!(second_of_two(2).await.contains("database is locked"));
}

#[tokio::test]
async fn only_so_many_calls_wait() {
    let bench = Arc::new(Bench::with_concurrency("create table t (a)", 1));
    let locked = lock(&bench);
    let mut calls = JoinSet::new();
    for _ in 0..1 + 128 + 1 {
        let bench = Arc::clone(&bench);
        calls.spawn(async move { bench.call(&ask("select a from t"), json!({})).await });
    }
    // All others wait for the lock or for a turn: the first to end is the one too many.
    let fault = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(fault.detail, "too many calls wait for the system");
    drop(locked);
    let others = calls.join_all().await;
    assert_eq!(others.len(), 129);
    assert!(others.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_its_turn_and_its_connection_in_order() {
    let bench = Bench::with_concurrency("create table t (a); insert into t values (1)", 1);
    let locked = lock(&bench);
    for _ in 0..3 {
        let call = ask("select a from t");
        let given_up =
            tokio::time::timeout(Duration::from_millis(20), bench.call(&call, json!({}))).await;
        assert!(given_up.is_err());
    }
    drop(locked);
    assert_eq!(bench.rows("select a from t", json!({})).await, json!([{"a": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_each_get_their_own_answer() {
    let bench = Arc::new(Bench::new("create table t (a)"));
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let bench = Arc::clone(&bench);
        calls.spawn(
            async move { (number, bench.rows("select :a as a", json!({"a": number})).await) },
        );
    }
    while let Some(call) = calls.join_next().await {
        let (number, rows) = call.unwrap();
        assert_eq!(rows[0]["a"], Value::from(number));
    }
    assert_eq!(bench.log().len(), 100);
}
