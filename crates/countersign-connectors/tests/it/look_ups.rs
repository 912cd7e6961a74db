//! Look-ups against a real database: what it confirms, what it is asked, and for how long that holds.

use crate::bench::{Ask, Bench, ask, look_up};
use countersign_core::call::Answer;
use countersign_core::refusal::{Refusal, SystemFaultKind};
use countersign_core::scope::{Asks, LookUp};
use serde_json::{Value, json};

const ORDERS: &str = "create table orders (id, owner); insert into orders values
    (1, 'a'), (2, 'a'), (3, 'b'), ('x', 'a')";
const OWNED: &str = "select 1 from orders where id = :value and owner = 'a'";

fn asking(look_up: LookUp) -> Ask {
    Ask { look_ups: vec![look_up], ..ask("select 7 as seven") }
}

async fn code(bench: &Bench, ask: &Ask, arguments: Value) -> &'static str {
    match bench.answer(ask, arguments).await {
        Answer::Completed(_) => "completed",
        Answer::Refused(refused) => refused.refusal().code(),
        Answer::Faulted(faulted) => faulted.fault().code(),
    }
}

#[tokio::test]
async fn what_the_database_does_not_confirm_is_refused_by_the_look_up_alone() {
    let bench = Bench::new(ORDERS);
    let ask = asking(look_up(Asks::Owned, "id", OWNED, None));
    for (id, expected) in [
        (json!(1), "completed"),
        (json!("x"), "completed"),
        (json!(3), "out_of_scope"),
        (json!(4), "out_of_scope"),
        (json!("1' or '1' = '1"), "out_of_scope"),
        (json!(null), "out_of_scope"),
    ] {
        let before = bench.log().len();
        assert_eq!(code(&bench, &ask, json!({"id": id})).await, expected, "{id}");
        let log = bench.log();
        let calls = log[before..].iter().filter(|line| line.contains("seven")).count();
        assert_eq!(calls, usize::from(expected == "completed"), "{log:?}");
    }
}

#[tokio::test]
async fn a_list_of_what_is_allowed_is_asked_once_and_may_not_be_cut() {
    let bench = Bench::new(ORDERS);
    let list = "select id from orders where owner = 'a' and id <> :value";
    let ask = |statement| asking(look_up(Asks::Allowed, "ids[]", statement, None));
    let ids = |ids: Value| json!({"ids": ids, "value": 9});
    assert_eq!(code(&bench, &ask(list), ids(json!([1, 2, "x"]))).await, "completed");
    assert_eq!(bench.log().len(), 2);
    assert_eq!(code(&bench, &ask(list), ids(json!([1, 3]))).await, "out_of_scope");
    // Four rows where three are looked at: what is beyond them is not known.
    let cut = "select id from orders where :value = 9";
    assert_eq!(code(&bench, &ask(cut), ids(json!([1]))).await, "lookup_failed");
    let two = "select id, owner from orders where owner = 'b' and :value = 9";
    assert_eq!(code(&bench, &ask(two), ids(json!([3]))).await, "lookup_failed");
}

#[tokio::test]
async fn an_answer_holds_as_long_as_the_rule_says_for_the_same_question_alone() {
    let bench = Bench::new(ORDERS);
    let held = asking(look_up(Asks::Owned, "id", OWNED, Some(1_000)));
    let asked = async |ask: &Ask, id: u32| {
        let before = bench.log().len();
        let code = code(&bench, ask, json!({"id": id})).await;
        (code, bench.log().len() - before - usize::from(code == "completed"))
    };
    assert_eq!(asked(&held, 1).await, ("completed", 1));
    assert_eq!(asked(&held, 1).await, ("completed", 0));
    assert_eq!(asked(&held, 2).await, ("completed", 1));
    // That it is not the caller's holds as well.
    assert_eq!(asked(&held, 3).await, ("out_of_scope", 1));
    assert_eq!(asked(&held, 3).await, ("out_of_scope", 0));
    bench.pass(1_000);
    assert_eq!(asked(&held, 1).await, ("completed", 1));
    // A rule that does not say for how long always asks, whatever another was told.
    let never = asking(look_up(Asks::Owned, "id", OWNED, None));
    assert_eq!(asked(&never, 1).await, ("completed", 1));
    assert_eq!(asked(&never, 1).await, ("completed", 1));
}

#[tokio::test]
async fn a_look_up_that_writes_or_fails_confirms_nothing() {
    let bench = Bench::new(ORDERS);
    for statement in
        ["delete from orders where id = :value returning 1", "select 1 from nowhere where :value"]
    {
        let ask = asking(look_up(Asks::Owned, "id", statement, Some(1_000)));
        for _ in 0..2 {
            let Answer::Refused(refused) = bench.answer(&ask, json!({"id": 1})).await else {
                panic!("{statement}")
            };
            let Refusal::LookUpFailed(fault) = refused.refusal() else { panic!("{refused:?}") };
            assert_eq!(fault.kind, SystemFaultKind::Failed);
        }
    }
    std::fs::remove_file(bench.path()).unwrap();
    let ask = asking(look_up(Asks::Owned, "id", OWNED, None));
    assert_eq!(code(&bench, &ask, json!({"id": 1})).await, "lookup_failed");
}
