use super::{Verdict, verdict};
use crate::Bundle;
use crate::fixture::{
    ask, ask_approved, bound, bundle, call, caller, closed, compile, domains, equals, evidence,
    posture, tool, within,
};
use cedar_policy::{Decision, PolicyId, Response};
use countersign_core::draft::Who;
use countersign_core::id::ToolName;
use countersign_core::port::{Denial, Permission};
use countersign_core::principal::{CallerRef, Principal};
use countersign_core::refusal::Forbidden;
use countersign_core::scope::{ScopeEvidence, ScopeRule};
use countersign_core::tool::{Effect, Rung, Tool};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

fn forbidden(policies: &[&str]) -> Result<Permission, Denial> {
    let policies = policies.iter().map(|&policy| policy.to_owned()).collect();
    Err(Denial::Forbidden(Forbidden { policies, reason: None }))
}

fn permitted(policy: &str, rung: u8) -> Result<Permission, Denial> {
    Ok(Permission { determining: vec![policy.to_owned()], clearance: Rung::new(rung) })
}

fn days() -> Value {
    closed(&json!({"days": {"type": "integer", "minimum": 1, "maximum": 365}}), &[])
}

fn usage(scope: Vec<ScopeRule>) -> Tool {
    tool("usage", Effect::Read, days(), scope)
}

fn ask_usage(bundle: &Bundle, arguments: &Value) -> Result<Permission, Denial> {
    ask(bundle, ("copilot", "usage"), &caller("t1", &[]), arguments, &ScopeEvidence::new())
}

#[test]
fn a_policy_that_errs_refuses_whatever_the_others_say() {
    let broken = [
        ("missing", "context.nothing"),
        ("overflow", "context.input.days * 9223372036854775807 > 0"),
        ("mistyped", "context.input.days like \"1*\""),
    ];
    for (name, condition) in broken {
        for effect in ["permit", "forbid"] {
            let policy = format!(
                "@id(\"usage.{name}\") {effect} (principal, action, resource) when {{ {condition} }};"
            );
            let sound = bundle(usage(Vec::new()));
            let bundle = bundle(usage(Vec::new())).with_unvalidated("usage", &policy);
            let undecided = Err(Denial::Undecided(format!("usage.{name}")));
            assert_eq!(ask_usage(&sound, &json!({"days": 7})), permitted("usage.grant", 1));
            assert_eq!(ask_usage(&bundle, &json!({"days": 7})), undecided, "{effect} {name}");
            // Nor does what forbids anyway hide that policy is broken.
            assert_eq!(ask_usage(&bundle, &json!({"days": 366})), undecided, "{effect} {name}");
        }
    }
}

#[test]
fn a_gate_that_errs_at_the_higher_clearance_refuses() {
    let gated = tool("usage", Effect::Irreversible, days(), Vec::new());
    let broken = "@id(\"usage.broken\") forbid (principal, action, resource)
        when { context.clearance > 3 && context.nothing };";
    assert_eq!(
        ask_usage(&bundle(gated).with_unvalidated("usage", broken), &json!({"days": 7})),
        Err(Denial::Undecided("usage.broken".to_owned()))
    );
}

#[test]
fn a_permission_that_no_policy_gave_is_none() {
    let response = |reason: &[&str]| {
        let reason = reason.iter().map(PolicyId::new).collect();
        Response::new(Decision::Allow, reason, Vec::new())
    };
    let given = Verdict::Permitted(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(verdict(&response(&["b", "a"])), Ok(given));
    assert_eq!(verdict(&response(&[])), Err(Denial::Forbidden(Forbidden::default())));
}

#[test]
fn an_argument_that_policy_cannot_read_refuses() {
    let bundle = bundle(usage(Vec::new()));
    let undecided = Err(Denial::Undecided("usage.bound.days".to_owned()));
    for arguments in [
        json!({}),
        json!({"days": null}),
        json!({"days": 1.5}),
        json!({"days": "7"}),
        json!({"days": [7]}),
        json!({"days": u64::MAX}),
    ] {
        assert_eq!(ask_usage(&bundle, &arguments), undecided, "{arguments}");
    }
}

#[test]
fn a_bundle_with_nothing_in_it_permits_nothing() {
    for posture in [posture(&[]), posture(&[("copilot", &[])])] {
        let bundle = compile(&posture).unwrap();
        assert_eq!(ask_usage(&bundle, &json!({"days": 7})), forbidden(&[]));
        assert_eq!(bundle.policies(&ToolName::new("usage").unwrap()), None);
    }
}

#[test]
fn a_tool_is_permitted_to_the_agents_it_was_granted_and_to_nobody_else() {
    let usage = Arc::new(usage(Vec::new()));
    let other = Arc::new(tool("other", Effect::Read, days(), Vec::new()));
    let agents: &[(&str, &[&Arc<Tool>])] =
        &[("copilot", &[&usage]), ("ops", &[&usage, &other]), ("idle", &[])];
    let bundle = compile(&posture(agents)).unwrap();
    let ask = |agent, tool| {
        ask(&bundle, (agent, tool), &caller("t1", &[]), &json!({"days": 7}), &ScopeEvidence::new())
    };
    assert_eq!(ask("copilot", "usage"), permitted("usage.grant", 1));
    assert_eq!(ask("ops", "usage"), permitted("usage.grant", 1));
    assert_eq!(ask("ops", "other"), permitted("other.grant", 1));
    for (agent, tool) in
        [("copilot", "other"), ("idle", "usage"), ("stranger", "usage"), ("ops", "unknown")]
    {
        assert_eq!(ask(agent, tool), forbidden(&[]), "{agent} {tool}");
    }
}

#[test]
fn evidence_of_another_tenant_forbids_though_core_was_not_asked() {
    let paths = ["account", "a.b", "parcels[].account", "ids[]", "odd name[].x"];
    for path in paths {
        let bundle = bundle(usage(vec![equals(path, CallerRef::Tenant)]));
        let days = json!({"days": 7});
        let ask = |scope| ask(&bundle, ("copilot", "usage"), &caller("t1", &[]), &days, &scope);
        let id = format!("usage.scope.{path}");
        assert_eq!(ask(evidence(path, &["t1"])), permitted("usage.grant", 1), "{path}");
        for values in [&["t2"][..], &["t1", "t2"], &[]] {
            assert_eq!(ask(evidence(path, values)), forbidden(&[&id]), "{path} {values:?}");
        }
        assert_eq!(ask(ScopeEvidence::new()), forbidden(&[&id]), "{path}");
        assert_eq!(ask(evidence("elsewhere", &["t1"])), forbidden(&[&id]), "{path}");
    }
}

#[test]
fn evidence_beyond_a_set_claim_forbids_and_an_absent_claim_permits_nothing() {
    let bundle = bundle(usage(vec![within("depots[]", "depots")]));
    let days = json!({"days": 7});
    let decide = |caller: &Principal, found: &[&str]| {
        ask(&bundle, ("copilot", "usage"), caller, &days, &evidence("depots[]", found))
    };
    for found in [&["d2"][..], &["d1", "d2"]] {
        assert_eq!(decide(&caller("t1", &["d1", "d2"]), found), permitted("usage.grant", 1));
    }
    let mut claimless = caller("t1", &[]);
    claimless.attributes.clear();
    for (caller, found) in [
        (caller("t1", &["d1"]), &["d1", "d3"][..]),
        (caller("t1", &["d1"]), &["d3"]),
        (caller("t1", &["d1"]), &[]),
        (caller("t1", &[]), &["d1"]),
        (claimless, &["d1"]),
    ] {
        let decision = decide(&caller, found);
        assert_eq!(decision, forbidden(&["usage.scope.depots[]"]), "{caller:?} {found:?}");
    }
}

#[test]
fn an_address_of_another_domain_forbids_though_core_was_not_asked() {
    let input = closed(&json!({"to": {"type": "array", "items": {"type": "string"}}}), &[]);
    let rule = domains("to[]", &["acme.example", "bücher.example"]);
    let mail = tool("mail", Effect::Irreversible, input, vec![rule]);
    let bundle = bundle(mail);
    let anyone = caller("t1", &[]);
    let asked = |found: &[&str]| {
        let arguments = json!({"to": ["whatever it says"]});
        ask(&bundle, ("copilot", "mail"), &anyone, &arguments, &evidence("to[]", found))
    };
    for found in [&["acme.example"][..], &["acme.example", "xn--bcher-kva.example"]] {
        assert_eq!(asked(found), permitted("mail.grant", 4), "{found:?}");
    }
    for found in [&[][..], &["evil.example"], &["acme.example", "sub.acme.example"]] {
        assert_eq!(asked(found), forbidden(&["mail.scope.to[]"]), "{found:?}");
    }
    let arguments = json!({"to": ["ann@acme.example"]});
    let unshown = ask(&bundle, ("copilot", "mail"), &anyone, &arguments, &ScopeEvidence::new());
    assert_eq!(unshown, forbidden(&["mail.scope.to[]"]));
}

#[test]
fn a_bound_argument_is_the_tokens_own() {
    let rules = vec![
        bound("tenant", CallerRef::Tenant),
        bound("by", CallerRef::Actor),
        bound("depot", CallerRef::Attribute("depots".to_owned())),
    ];
    let bundle = bundle(usage(rules));
    let ask = |tenant: &str, by: &str, depot: &str| {
        let arguments = json!({"days": 7, "tenant": tenant, "by": by, "depot": depot});
        let none = ScopeEvidence::new();
        ask(&bundle, ("copilot", "usage"), &caller("t1", &["d1"]), &arguments, &none)
    };
    assert_eq!(ask("t1", "client", "d1"), permitted("usage.grant", 1));
    assert_eq!(ask("t2", "client", "d1"), forbidden(&["usage.scope.tenant"]));
    assert_eq!(ask("t1", "user", "d1"), forbidden(&["usage.scope.by"]));
    assert_eq!(ask("t1", "client", "d2"), forbidden(&["usage.scope.depot"]));
    assert_eq!(ask("t2", "user", "d1"), forbidden(&["usage.scope.by", "usage.scope.tenant"]));
    let missing = json!({"days": 7, "by": "client", "depot": "d1"});
    assert_eq!(
        ask_usage(&bundle, &missing),
        Err(Denial::Undecided("usage.scope.tenant".to_owned()))
    );
}

#[test]
fn a_bound_holds_at_its_very_edge() {
    let edges = [
        (json!({"minimum": -2}), &[-2, -1][..], &[-3][..]),
        (json!({"exclusiveMinimum": -2}), &[-1], &[-2]),
        (json!({"maximum": 9}), &[9, -9], &[10]),
        (json!({"exclusiveMaximum": 9}), &[8], &[9]),
        (json!({"minimum": 1, "maximum": 3, "enum": [2, 7]}), &[2], &[1, 3, 7]),
        (json!({"const": 0}), &[0], &[1, -1]),
        (json!({"minimum": i64::MIN, "maximum": i64::MAX}), &[i64::MIN, i64::MAX], &[]),
        (json!({"enum": ["1"]}), &[], &[1]),
        (json!({"enum": []}), &[], &[0]),
    ];
    for (mut days, inside, outside) in edges {
        days["type"] = json!("integer");
        let input = closed(&json!({"days": days}), &[]);
        let bundle = bundle(tool("usage", Effect::Read, input, Vec::new()));
        for value in inside {
            let decision = ask_usage(&bundle, &json!({"days": value}));
            assert_eq!(decision, permitted("usage.grant", 1), "{days} {value}");
        }
        for value in outside {
            let decision = ask_usage(&bundle, &json!({"days": value}));
            assert_eq!(decision, forbidden(&["usage.bound.days"]), "{days} {value}");
        }
    }
}

#[test]
fn what_cedar_cannot_say_is_left_to_the_schema_check() {
    let input = closed(
        &json!({
            "share": {"type": "number", "maximum": 1},
            "either": {"type": ["string", "null"], "enum": ["a", null]},
            "mixed": {"enum": ["a", 1]},
            "any": {},
            "list": {"type": "array"},
            "code": {"type": "string", "pattern": "^a$", "maxLength": 1},
            "days": {"type": "integer", "multipleOf": 2, "maximum": 1.5},
            "tags": {"type": "array", "items": {"type": "string", "enum": ["a"]}},
        }),
        &[],
    );
    let bundle = bundle(tool("usage", Effect::Read, input, Vec::new()));
    let arguments = json!({
        "share": 1.5, "either": null, "mixed": 2, "any": {}, "list": [[]], "code": "bb", "days": 3,
        "tags": ["b", "b"],
    });
    assert_eq!(ask_usage(&bundle, &arguments), permitted("usage.grant", 1));
    let schema = bundle.schema(&ToolName::new("usage").unwrap()).unwrap();
    let input = r#""input": {"code": String, "days": Long, "tags": Set<String>},"#;
    assert!(schema.contains(input), "{schema}");
}

#[test]
fn a_gate_asks_for_its_rung_where_nothing_else_forbids() {
    for (effect, rung) in [
        (Effect::Read, 1),
        (Effect::Reversible, 2),
        (Effect::Persistent, 3),
        (Effect::Irreversible, 4),
    ] {
        let bundle = bundle(tool("usage", effect, days(), Vec::new()));
        assert_eq!(ask_usage(&bundle, &json!({"days": 7})), permitted("usage.grant", rung));
        // What no approval could lift is told as such, without the gate.
        assert_eq!(ask_usage(&bundle, &json!({"days": 0})), forbidden(&["usage.bound.days"]));
        let stranger = ask(
            &bundle,
            ("stranger", "usage"),
            &caller("t1", &[]),
            &json!({"days": 7}),
            &ScopeEvidence::new(),
        );
        assert_eq!(stranger, forbidden(&[]), "{effect:?}");
    }
}

#[test]
fn the_highest_gate_counts_and_an_illegible_one_is_the_highest() {
    let gate = |step: &str, condition: &str| {
        format!(
            "@gate(\"{step}\") @id(\"usage.more\")
             forbid (principal, action, resource) unless {{ {condition} }};"
        )
    };
    for (step, condition, expected) in [
        ("3", "context.clearance >= 3", permitted("usage.grant", 3)),
        ("x", "context.clearance >= 4", permitted("usage.grant", 4)),
        ("0", "context.clearance >= 4", permitted("usage.grant", 4)),
        ("3", "context.clearance >= 4", forbidden(&[])),
        ("3", "false", forbidden(&[])),
    ] {
        let gated = tool("usage", Effect::Reversible, days(), Vec::new());
        let bundle = bundle(gated).with_unvalidated("usage", &gate(step, condition));
        assert_eq!(ask_usage(&bundle, &json!({"days": 7})), expected, "{step} {condition}");
    }
    let lasting = "@id(\"usage.late\") forbid (principal, action, resource)
        when { context.clearance == 2 };";
    let gated = tool("usage", Effect::Reversible, days(), Vec::new());
    let bundle = bundle(gated).with_unvalidated("usage", lasting);
    assert_eq!(ask_usage(&bundle, &json!({"days": 7})), forbidden(&["usage.late"]));
}

// ── the matrix ──────────────────────────────────────────────────────────────────────────────────

fn freight() -> Vec<(Arc<Tool>, Vec<Value>)> {
    let account = json!({"type": "string", "enum": ["t1", "t2"]});
    let usage = closed(
        &json!({"account": account, "days": {"type": "integer", "minimum": 1, "maximum": 365}}),
        &[],
    );
    let parcels = closed(
        &json!({"parcels": {"type": "array", "items": closed(&json!({"account": account}), &[])}}),
        &[],
    );
    let depot = closed(
        &json!({"depot": {"type": "string"}, "state": {"type": "string", "enum": ["open", "shut"]}}),
        &["state"],
    );
    let note = closed(&json!({"note": {"type": "string", "maxLength": 9}}), &[]);
    let rows = vec![
        (
            tool("usage", Effect::Read, usage, vec![equals("account", CallerRef::Tenant)]),
            vec![
                json!({"account": "t1", "days": 7}),
                json!({"account": "t2", "days": 7}),
                json!({"account": "t1", "days": 0}),
                json!({"account": "t1", "days": 366}),
                json!({"account": "t3", "days": 999}),
            ],
        ),
        (
            tool(
                "parcels",
                Effect::Read,
                parcels,
                vec![equals("parcels[].account", CallerRef::Tenant)],
            ),
            vec![
                json!({"parcels": [{"account": "t1"}]}),
                json!({"parcels": [{"account": "t1"}, {"account": "t2"}]}),
                json!({"parcels": []}),
            ],
        ),
        (
            tool("depot", Effect::Read, depot, vec![within("depot", "depots")]),
            vec![
                json!({"depot": "d1"}),
                json!({"depot": "d1", "state": "open"}),
                json!({"depot": "d1", "state": "ajar"}),
                json!({"depot": "d2"}),
            ],
        ),
        (
            tool("note", Effect::Persistent, note, vec![bound("tenant", CallerRef::Tenant)]),
            vec![
                json!({"note": "hi", "tenant": "t1"}),
                json!({"note": "hi", "tenant": "t2"}),
                json!({"note": "hi"}),
            ],
        ),
    ];
    rows.into_iter().map(|(tool, arguments)| (Arc::new(tool), arguments)).collect()
}

/// What stands where scope rules look, right or wrong: core would have refused the wrong.
fn found(arguments: &Value) -> ScopeEvidence {
    let mut found = ScopeEvidence::new();
    for name in ["account", "depot"] {
        found.extend(arguments[name].as_str().map(|v| (name.to_owned(), [v.to_owned()].into())));
    }
    if let Some(parcels) = arguments["parcels"].as_array() {
        let accounts = parcels.iter().filter_map(|p| p["account"].as_str()).map(str::to_owned);
        found.insert("parcels[].account".to_owned(), accounts.collect());
    }
    found
}

#[test]
fn principal_by_tool_by_outcome() {
    let tools = freight();
    let all: Vec<&Arc<Tool>> = tools.iter().map(|(tool, _)| tool).collect();
    let posture = posture(&[("copilot", &all), ("reader", &all[..1])]);
    let bundle = compile(&posture).unwrap();
    let mut table = String::new();
    for agent in ["copilot", "reader"] {
        for (tenant, depots) in [("t1", &["d1"][..]), ("t2", &[])] {
            for (tool, rows) in &tools {
                for arguments in rows {
                    let caller = caller(tenant, depots);
                    let question = (agent, tool.name.as_str());
                    let outcome =
                        match ask(&bundle, question, &caller, arguments, &found(arguments)) {
                            Ok(permission) => {
                                format!("permitted at {}", permission.clearance.number())
                            }
                            Err(Denial::Forbidden(Forbidden { policies, .. })) => {
                                format!("forbidden {}", policies.join(" "))
                            }
                            Err(Denial::Undecided(policy)) => format!("undecided {policy}"),
                        };
                    let row = format!(
                        "{agent:8} {tenant}  {:8} {arguments:48} ",
                        tool.name.as_str(),
                        arguments = arguments.to_string()
                    );
                    table.push_str(&format!("{row}{}\n", outcome.trim_end()));
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

// ── agreement with core ─────────────────────────────────────────────────────────────────────────

/// A tool all of whose schema Cedar can say.
fn sayable() -> Tool {
    let input = closed(
        &json!({
            "account": {"type": "string", "enum": ["t1", "t2"]},
            "days": {"type": "integer", "minimum": -3, "exclusiveMaximum": 4},
            "rank": {"type": "integer", "enum": [1, 2]},
            "window": closed(&json!({
                "from": {"type": "integer", "exclusiveMinimum": 0},
                "unit": {"enum": ["h", "\"d\\"]},
                "inner": closed(&json!({"deep key": {"const": "x"}}), &["deep key"]),
            }), &["from", "inner"]),
            "ids": {"type": "array", "items": {"type": "string"}},
        }),
        &["rank", "window"],
    );
    let scope = vec![
        equals("account", CallerRef::Tenant),
        within("ids[]", "depots"),
        bound("who", CallerRef::Subject),
    ];
    tool("all-of-it", Effect::Read, input, scope)
}

fn text(values: &[&'static str]) -> impl Strategy<Value = Value> + use<> {
    proptest::sample::select(values.to_vec()).prop_map(Value::from)
}

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    proptest::option::of(value)
}

fn object(members: Vec<(&str, Option<Value>)>) -> Value {
    members.into_iter().filter_map(|(name, v)| Some((name.to_owned(), v?))).collect()
}

/// Arguments of the right types, in and out of bounds.
fn arguments() -> impl Strategy<Value = Value> {
    let inner = maybe(text(&["x", "y"])).prop_map(|deep| object(vec![("deep key", deep)]));
    let window = (maybe((-1..3).prop_map(Value::from)), text(&["h", "\"d\\", "d"]), maybe(inner))
        .prop_map(|(from, unit, inner)| {
            object(vec![("from", from), ("unit", Some(unit)), ("inner", inner)])
        });
    let ids = prop::collection::vec(text(&["d1", "d2", "d3"]), 0..3).prop_map(Value::from);
    let rank = maybe((0..4).prop_map(Value::from));
    (text(&["t1", "t2", "t3"]), -5i64..6, rank, maybe(window), ids).prop_map(
        |(account, days, rank, window, ids)| {
            object(vec![
                ("account", Some(account)),
                ("days", Some(days.into())),
                ("rank", rank),
                ("window", window),
                ("ids", Some(ids)),
            ])
        },
    )
}

static SAYABLE: LazyLock<(Tool, Bundle)> = LazyLock::new(|| (sayable(), bundle(sayable())));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_schema_and_scope_admit_policy_permits_and_nothing_else(arguments in arguments()) {
        let (tool, bundle) = &*SAYABLE;
        let schema = jsonschema::validator_for(&Value::Object(tool.input.clone())).unwrap();
        let valid = schema.is_valid(&arguments);
        let caller = caller("t1", &["d1", "d2"]);
        match call(bundle, "copilot", tool, &caller, &arguments) {
            Some(decision) => prop_assert_eq!(decision.is_ok(), valid, "{:?}", arguments),
            None => {
                // Core's scope check refuses; policy does so by itself, whatever it is shown.
                let ids = arguments["ids"].as_array().unwrap();
                let ids = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let account = arguments["account"].as_str().unwrap().to_owned();
                let found = ScopeEvidence::from([
                    ("account".to_owned(), [account].into()),
                    ("ids[]".to_owned(), ids),
                ]);
                let mut arguments = arguments;
                arguments["who"] = json!("user");
                let decision = ask(bundle, ("copilot", "all-of-it"), &caller, &arguments, &found);
                let Err(Denial::Forbidden(Forbidden { policies, .. })) = decision else {
                    return Err(TestCaseError::fail(format!("{decision:?}")));
                };
                prop_assert!(policies.iter().any(|policy| policy.starts_with("all-of-it.scope.")));
            }
        }
    }

    #[test]
    fn no_tenant_or_enumeration_says_anything_but_itself(
        tenant in "[^\\p{Cc}]{1,40}", listed in any::<String>(), other in any::<String>(),
        name in any::<String>(),
    ) {
        prop_assume!(listed != other && name != "account");
        let input = closed(&json!({"account": {"type": "string"}, name.clone(): {"enum": [listed.clone()]}}), &[]);
        let tool = tool("usage", Effect::Read, input, vec![equals("account", CallerRef::Tenant)]);
        let sliced = bundle(tool);
        let policies = sliced.policies(&ToolName::new("usage").unwrap()).unwrap();
        prop_assert_eq!(policies.parse::<cedar_policy::PolicySet>().unwrap().num_of_policies(), 3);
        let ask = |value: &str, account: &str| {
            let arguments = json!({"account": account, name.clone(): value});
            let scope = evidence("account", &[account]);
            ask(&sliced, ("copilot", "usage"), &caller(&tenant, &[]), &arguments, &scope)
        };
        prop_assert_eq!(ask(&listed, &tenant), permitted("usage.grant", 1));
        prop_assert_eq!(ask(&other, &tenant), forbidden(&[&format!("usage.bound.{name}")]));
        prop_assert_eq!(ask(&listed, &format!("{tenant}x")), forbidden(&["usage.scope.account"]));
    }
}

#[test]
fn nobody_agrees_to_what_was_asked_for_on_their_own_behalf() {
    let bundle = bundle(tool("usage", Effect::Irreversible, days(), Vec::new()));
    let principal = caller("t1", &[]);
    let (issuer, id) = (principal.issuer.clone(), principal.subject.to_string());
    let decide = |approver: Option<&Who>| {
        let asked = (&json!({"days": 7}), &ScopeEvidence::new());
        ask_approved(&bundle, ("copilot", "usage"), &principal, asked, approver)
    };
    let who = |id: &str, address: Option<&str>| Who {
        issuer: issuer.clone(),
        id: id.to_owned(),
        address: address.map(str::to_owned),
    };
    assert_eq!(decide(None), permitted("usage.grant", 4));
    assert_eq!(decide(Some(&who("sam", Some("sam@acme.example")))), permitted("usage.grant", 4));
    for themselves in [who(&id, None), who("another", Some(&id.to_uppercase()))] {
        assert_eq!(decide(Some(&themselves)), forbidden(&[]), "{themselves:?}");
    }
}
