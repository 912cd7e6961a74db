//! The pipeline against in-memory ports: the order of effects, and failure on either side of the
//! watershed.

use crate::world::{Acts, World, look_up, now, values};
use countersign_core::bound::LOOK_UP_VALUES_MAX;
use countersign_core::call::{Answer, Door, Evidence, Explained, Proposed};
use countersign_core::port::{Credential, Denial, Permission};
use countersign_core::principal::CallerRef;
use countersign_core::refusal::{Forbidden, Public};
use countersign_core::scope::{Asks, ResultRule};
use countersign_core::tool::{Effect, Rung};
use serde_json::{Value, json};

fn told(answer: Answer) -> Public {
    match answer {
        Answer::Completed(completed) => panic!("completed: {}", completed.text()),
        Answer::Refused(refused) => refused.public(),
        Answer::Faulted(faulted) => faulted.public(),
    }
}

fn code(answer: Answer) -> &'static str {
    match answer {
        Answer::Completed(_) => "completed",
        other @ (Answer::Refused(_) | Answer::Faulted(_)) => told(other).code,
    }
}

fn fitting() -> Value {
    json!({"account": "t1", "days": 30})
}

#[test]
fn the_intent_is_durable_before_the_effect_and_the_outcome_before_the_answer() {
    let world = World::default();
    assert_eq!(code(world.call("get_usage", fitting())), "completed");
    let arguments = r#"{"account":"t1","days":30,"tenant":"t1"}"#;
    let expected = [
        format!("decide {arguments}"),
        "intent".into(),
        format!("execute {arguments}"),
        "outcome".into(),
    ];
    assert_eq!(world.asked(), expected);
}

#[test]
fn a_refused_call_touches_no_system_and_is_noted_once() {
    type Change = fn(&mut crate::world::Behaviour);
    let nothing: Change = |_| {};
    let rows: [(&str, &str, Value, Change); 14] = [
        ("unknown_tool", "drop_tables", fitting(), nothing),
        ("unknown_tool", "", fitting(), nothing),
        ("unknown_tool", "get usage", fitting(), nothing),
        ("invalid_arguments", "get_usage", json!({"account": "t1", "days": 9_000_000}), nothing),
        ("invalid_arguments", "get_usage", json!({"account": "t1", "days": "30"}), nothing),
        ("invalid_arguments", "get_usage", json!([1]), nothing),
        ("invalid_arguments", "get_usage", json!({"account": "t1", "days": 1e300}), nothing),
        ("invalid_arguments", "get_usage", Value::Null, nothing),
        ("out_of_scope", "get_usage", json!({"account": "t2"}), nothing),
        ("out_of_scope", "get_usage", json!({"account": "invented"}), nothing),
        ("forbidden", "get_usage", fitting(), |b| {
            b.decision = Err(Denial::Forbidden(Forbidden::default()))
        }),
        ("undecided", "get_usage", fitting(), |b| b.decision = Err(Denial::Undecided("p".into()))),
        ("forbidden", "get_usage", fitting(), |b| {
            b.decision = Ok(Permission { determining: vec![], clearance: Rung::UNGATED });
        }),
        ("approval_required", "get_usage", fitting(), |b| {
            b.decision = Ok(Permission { determining: vec!["g".into()], clearance: Rung::new(3) });
        }),
    ];
    for (expected, tool, arguments, change) in rows {
        let world = World::with(change);
        let explained = world.explain(tool, arguments.clone());
        assert_eq!(explained.refusal.map(|refusal| refusal.code()), Some(expected));
        assert!(world.asked().iter().all(|asked| asked.starts_with("decide")));
        let public = told(world.call(tool, arguments.clone()));
        assert_eq!(public.code, expected, "{tool} {arguments}");
        assert!(!public.message.is_empty() && !public.next.is_empty());
        let asked = world.asked();
        assert!(!asked.iter().any(|a| a.starts_with("execute") || a == "intent"), "{asked:?}");
        assert_eq!(asked.iter().filter(|a| *a == "note").count(), 1, "{asked:?}");
        assert_eq!(world.last_header()["code"], expected);
        // The twin: the same world without its defect answers.
        world.change(|behaviour| *behaviour = crate::world::Behaviour::default());
        assert_eq!(code(world.call("get_usage", fitting())), "completed");
    }
}

/// The example's rule: is the account the caller's?
fn asking(asks: Asks, found: Result<Vec<Value>, &'static str>) -> World {
    let parameter = if asks == Asks::Owned { "value" } else { "days" };
    World::with(|b| {
        b.look_ups = vec![look_up(asks, "account", parameter)];
        b.found = found;
    })
}

#[test]
fn a_system_is_asked_after_policy_and_before_the_intent_and_the_record_says_so() {
    let world = asking(Asks::Owned, Ok(vec![json!({"1": 1})]));
    assert_eq!(code(world.call("get_usage", fitting())), "completed");
    let asked = world.asked();
    assert!(asked[0].starts_with("decide"), "{asked:?}");
    assert_eq!(asked[1], r#"look up {"tenant":"t1","value":"t1"}"#);
    assert_eq!(asked[2], "intent");
    let rule = json!({
        "path": "account", "asks": "owned", "system": "register", "asked": 1, "cached": 0,
    });
    assert_eq!(world.last_header()["look_ups"], json!([rule]));
    // The explanation asks as well, and does nothing else.
    assert_eq!(world.explain("get_usage", fitting()).refusal, None);
    let asked = world.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[test]
fn what_no_system_confirms_is_refused_and_nothing_is_done() {
    let other = json!({"depot": "HAM"});
    let two = json!({"a": "t1", "b": 1});
    for (asks, found, expected) in [
        (Asks::Owned, Ok(vec![]), "out_of_scope"),
        // What `exists`, `count`, `max` and a comparison say of nobody's and of another's.
        (Asks::Owned, Ok(vec![json!({"exists": false})]), "out_of_scope"),
        (Asks::Owned, Ok(vec![json!({"count": 0})]), "out_of_scope"),
        (Asks::Owned, Ok(vec![json!({"max": null})]), "out_of_scope"),
        (Asks::Owned, Ok(vec![json!({"count": 2})]), "lookup_failed"),
        (Asks::Owned, Ok(vec![json!({"id": "another"})]), "lookup_failed"),
        (Asks::Owned, Ok(vec![json!({"a": 1, "b": 1})]), "lookup_failed"),
        (Asks::Allowed, Ok(vec![]), "out_of_scope"),
        (Asks::Allowed, Ok(vec![other.clone()]), "out_of_scope"),
        (Asks::Allowed, Ok(vec![two]), "lookup_failed"),
        (Asks::Allowed, Ok(vec![json!("t1")]), "lookup_failed"),
        (Asks::Owned, Err("secret_ledger is away"), "lookup_failed"),
        (Asks::Allowed, Err("secret_ledger is away"), "lookup_failed"),
    ] {
        let world = asking(asks, found);
        let public = told(world.call("get_usage", fitting()));
        assert_eq!(public.code, expected);
        assert!(!format!("{public:?}").contains("ledger"), "{public:?}");
        let asked = world.asked();
        assert!(!asked.iter().any(|a| a.starts_with("execute") || a == "intent"), "{asked:?}");
        let header = world.last_header();
        assert_eq!((&header["code"], &header["kind"]), (&json!(expected), &json!("refusal")));
        assert_eq!(header["look_ups"][0]["system"], "register");
        let explained = world.explain("get_usage", fitting());
        assert_eq!(explained.refusal.map(|refusal| refusal.code()), Some(expected));
        // The twin.
        for yes in [json!({"account": "t1"}), json!({"1": 1}), json!({"exists": true})] {
            if asks == Asks::Allowed && yes != json!({"account": "t1"}) {
                continue;
            }
            world.change(|b| b.found = Ok(vec![yes]));
            assert_eq!(code(world.call("get_usage", fitting())), "completed");
        }
    }
}

#[test]
fn every_identifier_is_asked_about_once_and_never_more_than_are_asked_about_in_one_call() {
    let many = |count: usize| json!({"account": "t1", "ids": (0..count).collect::<Vec<_>>()});
    let world = World::with(|b| {
        b.look_ups = vec![look_up(Asks::Owned, "ids[]", "value")];
        b.found = Ok(vec![json!({"1": 1})]);
    });
    for (arguments, expected, questions) in [
        (json!({"account": "t1", "ids": [7, 8, 7, "7"]}), "completed", 3),
        (many(LOOK_UP_VALUES_MAX), "completed", LOOK_UP_VALUES_MAX),
        (many(LOOK_UP_VALUES_MAX + 1), "out_of_scope", 0),
        (json!({"account": "t1", "ids": []}), "out_of_scope", 0),
        (json!({"account": "t1", "ids": 7}), "out_of_scope", 0),
        (json!({"account": "t1", "ids": [[7]]}), "out_of_scope", 0),
        (json!({"account": "t1"}), "out_of_scope", 0),
    ] {
        assert_eq!(code(world.call("get_usage", arguments.clone())), expected, "{arguments}");
        let asked = world.asked();
        let asked = asked.iter().filter(|asked| asked.starts_with("look up")).count();
        assert_eq!(asked, questions, "{arguments}");
    }
}

#[test]
fn no_row_is_shown_if_one_is_not_the_callers_and_the_record_raises_an_alert() {
    let world = |column: &str| {
        World::with(|b| {
            b.result = vec![ResultRule { column: column.into(), caller: CallerRef::Tenant }];
        })
    };
    let own = world("owner");
    assert_eq!(code(own.call("get_usage", fitting())), "completed");
    for column in ["other_owner", "n", "absent"] {
        let world = world(column);
        let public = told(world.call("get_usage", fitting()));
        assert_eq!(public.code, "withheld");
        assert!(!format!("{public:?}").contains("t2"), "{public:?}");
        let header = world.last_header();
        assert_eq!(
            (&header["kind"], &header["code"], &header["alert"]),
            (&json!("outcome"), &json!("withheld"), &json!("foreign_rows"))
        );
    }
}

#[test]
fn a_policy_tells_the_agent_its_reason_and_the_journal_its_name() {
    let reason = Some("Refunds are made on working days.".to_owned());
    let policies = vec!["working-days".to_owned()];
    let forbidden = Forbidden { policies, reason: reason.clone() };
    let world = World::with(|b| b.decision = Err(Denial::Forbidden(forbidden)));
    let public = told(world.call("get_usage", fitting()));
    assert_eq!((public.code, Some(public.message)), ("forbidden", reason));
    assert_eq!(world.last_header()["policies"], json!(["working-days"]));
}

#[test]
fn an_explanation_passes_every_stage_and_counts_records_and_does_nothing() {
    let world = World::default();
    for _ in 0..20 {
        let explained = world.explain("get_usage", fitting());
        assert_eq!(explained.refusal, None);
        assert_eq!(explained.passed.len(), Explained::STAGES.len());
        let [_, _, Evidence::Metered(counters), _, Evidence::Bound(scope, bound), ..] =
            &explained.passed[..]
        else {
            panic!("{explained:?}")
        };
        let limits: Vec<_> = counters.iter().map(|counter| counter.max).collect();
        assert_eq!(limits, [8, 5], "per session, and of the same call");
        assert_eq!(scope.len(), 1);
        assert_eq!(bound["tenant"], "t1");
    }
    assert!(world.asked().iter().all(|asked| asked.starts_with("decide")));
    // It would be the sixth of the very same call, and the ninth of the session.
    assert_eq!(code(world.call("get_usage", fitting())), "completed");
}

#[test]
fn no_policy_lowers_a_rung() {
    let world = World::default();
    for effect in [Effect::Reversible, Effect::Persistent, Effect::Irreversible] {
        assert_eq!(code(world.call_with(effect, "get_usage", fitting())), "approval_required");
    }
    assert!(!world.asked().iter().any(|asked| asked.starts_with("execute")));
}

#[test]
fn another_tenants_identifier_and_an_invented_one_read_alike() {
    let (theirs, nobodys) = (World::default(), World::default());
    for rest in [json!({}), json!({"days": -1}), json!({"days": "x"})] {
        let answer = |world: &World, account: &str| {
            let mut arguments = rest.clone();
            arguments["account"] = account.into();
            told(world.call("get_usage", arguments))
        };
        let (a, b) = (answer(&theirs, "t2"), answer(&nobodys, "t9"));
        assert_eq!(a, b);
        assert!(!format!("{a:?}").contains("t2") && !format!("{a:?}").contains("t9"));
    }
}

#[test]
fn no_effect_if_the_intent_cannot_be_recorded() {
    let world = World::with(|b| b.intent_fails = true);
    assert_eq!(code(world.call("get_usage", fitting())), "journal_unavailable");
    assert!(!world.asked().iter().any(|asked| asked.starts_with("execute")));
}

#[test]
fn no_result_if_the_outcome_cannot_be_recorded() {
    let world = World::with(|b| b.outcome_fails = true);
    assert_eq!(code(world.call("get_usage", fitting())), "journal_unavailable");
}

#[test]
fn a_failing_system_is_an_error_on_record_without_internals() {
    for (acts, expected) in [
        (Acts::Fails, "system_failed"),
        (Acts::Panics, "system_failed"),
        (Acts::SendsTooMuch, "withheld"),
    ] {
        let world = World::with(|b| b.connector = acts);
        let public = told(world.call("get_usage", fitting()));
        assert_eq!(public.code, expected);
        assert!(!format!("{public:?}").contains("ledger"), "{public:?}");
        assert_eq!(world.asked().last().unwrap(), "outcome");
        let header = world.last_header();
        assert_eq!((&header["status"], &header["code"]), (&json!("fault"), &json!(expected)));
    }
}

#[test]
fn what_the_model_is_shown_has_no_hidden_characters_and_the_record_counts_them() {
    let world = World::default();
    let Answer::Completed(completed) = world.call("get_usage", fitting()) else { panic!() };
    // Compared as a value: whether members keep their order depends on what else is built.
    let shown: Value = serde_json::from_str(completed.text()).unwrap();
    let row =
        |n: u32, other: &str| json!({"n": n, "note": "ab", "owner": "t1", "other_owner": other});
    let rows = json!([row(0, "t1"), row(1, "t2")]);
    assert_eq!(shown, json!({"rows": rows, "row_count": 2, "truncated": false}));
    assert_eq!(world.last_header()["hidden_characters"], 2);
}

#[test]
fn the_same_call_again_and_again_meets_the_loop_breaker_and_another_does_not() {
    let world = World::default();
    for _ in 0..5 {
        assert_eq!(code(world.call("get_usage", fitting())), "completed");
    }
    let public = told(world.call("get_usage", fitting()));
    assert_eq!(public.code, "rate_limited");
    assert!(public.message.contains("same call"), "{}", public.message);
    assert_eq!(code(world.call("get_usage", json!({"account": "t1", "days": 31}))), "completed");
}

#[test]
fn refused_calls_count_and_the_session_limit_is_exact() {
    let world = World::default();
    for days in 0..8 {
        let _told = world.call("get_usage", json!({"account": "t2", "days": days + 1}));
    }
    let public = told(world.call("get_usage", json!({"account": "t1", "days": 100})));
    assert_eq!((public.code, public.next.as_str()), ("rate_limited", "Answer with what you have."));
}

#[test]
fn nobody_is_a_caller_without_a_credential_of_a_registered_agent() {
    let world = World::default();
    let monitor = world.monitor(Effect::Read);
    for credential in [Credential::none(), Credential::bearer("somebody-else")] {
        let refused = now(monitor.authenticate(&credential, Door::Mcp)).unwrap_err();
        assert_eq!(refused.public().code, "unauthenticated");
        assert_eq!(world.last_header()["code"], "unauthenticated");
    }
}

#[test]
fn another_issuers_token_does_not_make_an_agent() {
    let world = World::with(|b| b.issuer = Some("another"));
    let monitor = world.monitor(Effect::Read);
    let refused = now(monitor.authenticate(&Credential::bearer("copilot"), Door::Mcp)).unwrap_err();
    assert_eq!(refused.public().code, "unauthenticated");
    world.change(|b| b.issuer = Some("i"));
    assert_eq!(code(world.call("get_usage", fitting())), "completed");
}

#[test]
fn a_grant_that_asks_for_a_scope_is_none_without_it_and_a_tool_of_nobody_reads_as_before() {
    let world = World::with(|b| {
        b.require_scope = Some("usage:read");
        b.scopes = vec!["usage"];
    });
    let monitor = world.monitor(Effect::Read);
    assert_eq!(monitor.tools(&world.caller(&monitor)).len(), 0);
    assert_eq!(code(world.call("get_usage", fitting())), "insufficient_scope");
    assert_eq!(code(world.call("get_usages", fitting())), "unknown_tool");
    assert!(!world.asked().iter().any(|asked| asked.starts_with("execute") || asked == "intent"));
    world.change(|b| b.scopes = vec!["usage:read", "x"]);
    let monitor = world.monitor(Effect::Read);
    assert_eq!(monitor.tools(&world.caller(&monitor)).len(), 1);
    assert_eq!(code(world.call("get_usage", fitting())), "completed");
}

#[test]
fn a_token_that_expires_before_the_call_is_refused() {
    let world = World::default();
    let monitor = world.monitor(Effect::Read);
    let caller = world.caller(&monitor);
    world.change(|b| b.now_s = 2_000);
    let proposed =
        Proposed { caller, tool: "get_usage".into(), arguments: fitting(), answers: None };
    assert_eq!(code(now(monitor.call(proposed))), "unauthenticated");
}

#[test]
fn a_caller_sees_its_own_identifiers_and_nobody_elses() {
    let world = World::default();
    let monitor = world.monitor(Effect::Read);
    let listed = monitor.tools(&world.caller(&monitor));
    assert_eq!(listed.len(), 1);
    let account = &values(&listed[0].input["properties"])["account"];
    assert_eq!(*account, json!({"type": "string", "enum": ["t1"]}));
}
