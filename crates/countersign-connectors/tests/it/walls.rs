use crate::bench::{Ask, Bench, ask};
use countersign_core::refusal::{Applied, SystemFaultKind};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

const SCRIPT: &str = "create table t (a text); insert into t values ('kept')";

#[tokio::test]
async fn whatever_does_more_than_read_never_runs() {
    let bench = Bench::new(SCRIPT);
    let before = std::fs::read(bench.path()).unwrap();
    let elsewhere = bench.path().with_file_name("elsewhere.sqlite");
    let attach = format!("attach '{}' as other", elsewhere.display());
    let copy = format!("vacuum into '{}'", elsewhere.display());
    for statement in [
        attach.as_str(),
        copy.as_str(),
        "insert into t values ('x')",
        "insert into t values ('x') returning a",
        "update t set a = 'x' returning a",
        "delete from t returning a",
        "with gone as (select 'kept' as a) delete from t where a in gone returning a",
        "replace into t values ('x')",
        "drop table t",
        "create table u (a)",
        "create temp table u (a)",
        "create temp view v as select 1 as a",
        "alter table t rename to u",
        "pragma journal_mode",
        "pragma query_only = off",
        "pragma writable_schema = on",
        "select load_extension('evil') as a",
        "begin",
        "begin immediate",
        "savepoint s",
        "vacuum",
        "reindex",
        "analyze",
        "detach main",
        "select 1 as a; select 2 as b",
        "select 1 as a; delete from t",
        "select a from t where a = \"kept\"",
        "select ? as a",
        "select ?1 as a",
        "select @a as a",
        "select $a as a",
        "",
        "-- nothing",
    ] {
        let fault = bench.call(&ask(statement), json!({"a": 1})).await.unwrap_err();
        assert_eq!(fault.kind, SystemFaultKind::Failed, "{statement}: {fault:?}");
        assert_eq!(fault.applied, Applied::NotApplied, "{statement}");
    }
    assert_eq!(bench.log(), [""; 0]);
    assert!(!elsewhere.exists());
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
    let twins = [
        "select a from t where a = 'kept'",
        "select a from t where a = :a or true; -- one statement and a remark",
        "with recursive n (i) as (values (1) union all select i + 1 from n where i < 3) select 'kept' as a from n where i = 3",
    ];
    for statement in twins {
        assert_eq!(bench.rows(statement, json!({"a": 1})).await, json!([{"a": "kept"}]));
    }
    assert_eq!(bench.log().len(), twins.len());
}

#[tokio::test]
async fn a_system_that_nobody_configured_is_a_fault() {
    let bench = Bench::new(SCRIPT);
    let ask = Ask { system: "other", ..ask("select a from t") };
    let fault = bench.call(&ask, json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable);
    assert_eq!(fault.detail, "the deployment has no system `other`");
    assert_eq!(bench.log(), [""; 0]);
}

#[tokio::test]
async fn a_full_text_index_can_be_searched() {
    let bench = Bench::new(
        "create virtual table f using fts5(body); insert into f values ('late parcel'), ('other')",
    );
    let rows = bench.rows("select body from f where f match :q", json!({"q": "parcel"})).await;
    assert_eq!(rows, json!([{"body": "late parcel"}]));
}

#[tokio::test]
async fn a_setting_cannot_be_read_as_a_table() {
    let bench = Bench::new(SCRIPT);
    for table in ["pragma_table_info('t')", "pragma_database_list", "pragma_query_only(0)"] {
        let statement = format!("select count(*) as a from {table}");
        let fault = bench.call(&ask(&statement), json!({})).await.unwrap_err();
        assert_eq!(fault.kind, SystemFaultKind::Failed, "{table}");
    }
}

#[tokio::test]
async fn the_engine_logs_each_statement_with_its_values_for_its_owner_alone() {
    let bench = Bench::new(SCRIPT);
    let statement = "select a from t\nwhere a = :a or a = :b";
    let _rows = bench.rows(statement, json!({"a": "x\\y\r\n'z", "b": 7})).await;
    assert_eq!(bench.log(), [r"select a from t\nwhere a = 'x\\y\r\n''z' or a = 7"]);
    let mode = std::fs::metadata(bench.log_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_a_fault_before_anything_runs() {
    let bench = Bench::new(SCRIPT);
    std::fs::create_dir(bench.log_path()).unwrap();
    let fault = bench.call(&ask("select a from t"), json!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable);
    std::fs::remove_dir(bench.log_path()).unwrap();
    assert_eq!(bench.rows("select a from t", json!({})).await, json!([{"a": "kept"}]));
}
