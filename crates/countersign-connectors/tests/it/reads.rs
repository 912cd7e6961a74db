use crate::bench::{Ask, Bench, ask};
use countersign_core::refusal::{Applied, SystemFaultKind};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

#[tokio::test]
async fn rows_come_back_as_objects_with_json_values() {
    let bench = Bench::new("create table t (n, i, big, r, s); insert into t values
        (null, -7, 9007199254740992, 1.5, 'Grüße'), (null, 9007199254740991, -9007199254740992, 2.0, x'41')");
    let rows = bench.rows("select n, i, big, r, cast(s as text) as s from t", json!({})).await;
    assert_eq!(
        rows,
        json!([
            {"n": null, "i": -7, "big": "9007199254740992", "r": 1.5, "s": "Grüße"},
            {"n": null, "i": 9007199254740991i64, "big": "-9007199254740992", "r": 2.0, "s": "A"},
        ])
    );
}

#[tokio::test]
async fn arguments_are_bound_by_their_json_type() {
    let bench = Bench::new("create table t (a)");
    let types = "select typeof(:s) as s, typeof(:i) as i, typeof(:r) as r, :b as b, :n as n";
    let arguments = json!({"s": "7", "i": 7, "r": 7.5, "b": true, "n": null});
    assert_eq!(
        bench.rows(types, arguments).await,
        json!([{"s": "text", "i": "integer", "r": "real", "b": 1, "n": null}])
    );
    let list = "select value ->> 'id' as id from json_each(:parcels) order by id";
    let arguments = json!({"parcels": [{"id": "b"}, {"id": "a'); --"}]});
    assert_eq!(bench.rows(list, arguments).await, json!([{"id": "a'); --"}, {"id": "b"}]));
}

#[tokio::test]
async fn an_optional_argument_left_out_is_null_and_an_undeclared_one_is_a_fault() {
    let bench = Bench::new("create table t (a)");
    let optional = Ask {
        input: json!({"properties": {"a": {}, "b": {}}, "required": ["b"]}),
        ..ask("select :a is null as absent")
    };
    let report = bench.call(&optional, json!({"b": 1})).await.unwrap();
    assert_eq!(report.result, json!([{"absent": 1}]));
    for statement in ["select :b as required", "select :c as undeclared"] {
        let ask = Ask { statement: statement.to_owned(), ..optional.clone() };
        let fault = bench.call(&ask, json!({})).await.unwrap_err();
        assert_eq!(fault.kind, SystemFaultKind::Failed);
        assert!(fault.detail.contains("no argument for placeholder"), "{}", fault.detail);
        assert_eq!(fault.applied, Applied::NotApplied);
    }
    assert_eq!(bench.log().len(), 1);
}

#[tokio::test]
async fn what_json_cannot_carry_faithfully_is_a_fault() {
    let bench = Bench::new("create table t (a)");
    for (statement, says) in [
        ("select 1 as a, 2 as a", "two columns of the result are called `a`"),
        ("select x'00' as a", "column `a` holds a BLOB"),
        ("select 9e999 as a", "column `a` holds an infinity"),
    ] {
        let fault = bench.call(&ask(statement), json!({})).await.unwrap_err();
        assert!(fault.detail.contains(says), "{}", fault.detail);
        assert_eq!(fault.kind, SystemFaultKind::Failed);
    }
    assert_eq!(bench.rows("select 1 as a, hex(x'00') as b", json!({})).await[0]["b"], "00");
}

#[tokio::test]
async fn text_that_is_not_utf8_is_shown_with_replacements() {
    let bench = Bench::new("create table t (a)");
    let rows = bench.rows("select cast(x'41ff42' as text) as a", json!({})).await;
    assert_eq!(rows, json!([{"a": "A\u{fffd}B"}]));
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z'\";:?@$%_\\\\\n\r\0\u{200b}\u{feff}()*/-]{0,40}",
        Just("'; drop table t; --".to_owned()),
        Just("' or '1'='1".to_owned()),
        Just(":a".to_owned()),
    ]
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn any_text_reaches_the_system_as_a_value_and_as_it_was(texts in prop::collection::vec(hostile(), 1..20)) {
        let runtime = Runtime::new().unwrap();
        let bench = Bench::new("create table t (a); insert into t values ('kept')");
        runtime.block_on(async {
            for text in &texts {
                // In hexadecimal, because the monitor screens what it shows.
                let rows = bench
                    .rows("select hex(:a) as a, (select count(*) from t) as kept", json!({"a": text}))
                    .await;
                assert_eq!(rows, json!([{"a": hex(text), "kept": 1}]));
            }
        });
        // One statement ran for each call, and each on a line of its own.
        let log = bench.log();
        prop_assert_eq!(log.len(), texts.len());
        prop_assert!(log.iter().all(|line| line.starts_with("select hex(")));
    }

    #[test]
    fn any_number_comes_back_equal(integer in -9_007_199_254_740_991i64..9_007_199_254_740_992, real in -1e9..1e9f64) {
        let runtime = Runtime::new().unwrap();
        let bench = Bench::new("create table t (a)");
        let rows = runtime.block_on(bench.rows("select :i as i, :r + 0.0 as r", json!({"i": integer, "r": real})));
        prop_assert_eq!(&rows[0]["i"], &Value::from(integer));
        prop_assert_eq!(rows[0]["r"].as_f64().unwrap(), real);
    }
}
