use crate::bench::{Bench, ask, make};
use countersign_core::refusal::SystemFaultKind;
use rusqlite::Connection;
use serde_json::json;

fn holding(value: u32) -> String {
    format!("create table t (a); insert into t values ({value})")
}

const READ: &str = "select a from t";

#[tokio::test]
async fn a_file_that_is_replaced_is_read_anew() {
    let bench = Bench::new(&holding(1));
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 1}]));
    let other = bench.path().with_file_name("other");
    make(&other, &holding(2));
    std::fs::rename(other, bench.path()).unwrap();
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 2}]));
}

#[tokio::test]
async fn a_file_that_goes_away_is_unavailable_until_it_is_back() {
    let bench = Bench::new(&holding(1));
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 1}]));
    let aside = bench.path().with_file_name("aside");
    std::fs::rename(bench.path(), &aside).unwrap();
    let fault = bench.call(&ask(READ), json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable, "{}", fault.detail);
    assert!(!bench.path().exists(), "nothing is created in its place");
    std::fs::rename(aside, bench.path()).unwrap();
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn what_is_no_database_is_a_fault() {
    let bench = Bench::new(&holding(1));
    std::fs::write(bench.path(), "not a database, and long enough to have a header ".repeat(9))
        .unwrap();
    let fault = bench.call(&ask(READ), json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Failed, "{}", fault.detail);
    std::fs::remove_file(bench.path()).unwrap();
    std::fs::create_dir(bench.path()).unwrap();
    let fault = bench.call(&ask(READ), json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable, "{}", fault.detail);
    std::fs::remove_dir(bench.path()).unwrap();
    make(&bench.path(), &holding(2));
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 2}]));
}

#[tokio::test]
async fn a_table_that_is_missing_is_a_fault_and_the_next_call_works() {
    let bench = Bench::new(&holding(1));
    let fault = bench.call(&ask("select a from nowhere"), json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Failed);
    assert!(fault.detail.contains("no such table"), "for the operator: {}", fault.detail);
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 1}]));
}

#[tokio::test]
async fn a_database_in_wal_mode_is_read_while_it_is_written() {
    let bench =
        Bench::new("pragma journal_mode = wal; create table t (a); insert into t values (1)");
    let writer = Connection::open(bench.path()).unwrap();
    writer.execute_batch("begin immediate; update t set a = 2").unwrap();
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 1}]));
    writer.execute_batch("commit").unwrap();
    assert_eq!(bench.rows(READ, json!({})).await, json!([{"a": 2}]));
}
