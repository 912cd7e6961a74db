use super::{MistakeKind, NAMES_PER_POLICY_MAX, POLICIES_PER_TOOL_MAX, PolicyFile, Unknown, read};
use crate::fixture::{bound, caller, closed, equals, posture, tool};
use crate::{Bundle, CompileError, Mistake, schema};
use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use countersign_core::id::{AgentId, Timestamp, ToolName};
use countersign_core::port::{Denial, Pdp, Permission, Question};
use countersign_core::posture::Posture;
use countersign_core::principal::{CallerRef, Principal};
use countersign_core::refusal::Forbidden;
use countersign_core::scope::ScopeEvidence;
use countersign_core::tool::{Effect, Rung};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// Two tools that read, one that changes something, one that cannot be undone; `ops` has them all.
fn company() -> Posture {
    let days = json!({"type": "integer", "minimum": 1, "maximum": 365});
    let state = json!({"type": "string", "enum": ["open", "shut"]});
    let usage = closed(
        &json!({"days": days, "state": state, "to": {"type": "string", "maxLength": 99}}),
        &["state", "to"],
    );
    let list = closed(&json!({"limit": {"type": "integer", "minimum": 1, "maximum": 9}}), &[]);
    let note = closed(&json!({"note": {"type": "string", "maxLength": 9}}), &[]);
    let refund =
        closed(&json!({"cents": {"type": "integer", "minimum": 1, "maximum": 50_000}}), &[]);
    let scope = vec![bound("tenant", CallerRef::Tenant)];
    let usage = Arc::new(tool("usage", Effect::Read, usage, Vec::new()));
    let list =
        Arc::new(tool("list", Effect::Read, list, vec![equals("account", CallerRef::Tenant)]));
    let note = Arc::new(tool("note", Effect::Persistent, note, scope));
    let refund = Arc::new(tool("refund", Effect::Irreversible, refund, Vec::new()));
    posture(&[("copilot", &[&usage, &list]), ("ops", &[&usage, &list, &note, &refund])])
}

const ATTRIBUTES: [&str; 2] = ["depots", "groups"];

fn compile(files: &[PolicyFile<'_>]) -> Result<Bundle, Vec<CompileError>> {
    Bundle::compile(&company(), &ATTRIBUTES, files)
}

fn sound(text: &str) -> Bundle {
    compile(&[PolicyFile { name: "policies/a.cedar", text }])
        .unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn wrong(files: &[PolicyFile<'_>]) -> Vec<Mistake> {
    let errors = compile(files).err().unwrap_or_default();
    let mistakes = errors.into_iter().map(|error| match error {
        CompileError::Authored(mistake) => *mistake,
        defect => panic!("{defect}"),
    });
    mistakes.collect()
}

/// The mistakes of one file: kind, and what it points at.
fn found(text: &str) -> Vec<(MistakeKind, String)> {
    let mistakes = wrong(&[PolicyFile { name: "policies/a.cedar", text }]);
    mistakes.into_iter().map(|m| (m.kind, text.get(m.span).unwrap().to_owned())).collect()
}

fn policy(scope: &str, rest: &str) -> String {
    format!("@id(\"p\") forbid (principal, {scope}, resource) {rest};")
}

fn on_usage(condition: &str) -> String {
    policy("action == Action::\"usage\"", &format!("when {{ {condition} }}"))
}

/// Kind, the mistake, what the finding points at, and the mended twin.
type Row = (MistakeKind, String, &'static str, String);

fn rows() -> Vec<Row> {
    [by_themselves(), annotated(), of_names(), of_types(), of_outcomes()].concat()
}

fn fine() -> String {
    on_usage("context.input.days > 30")
}

fn by_themselves() -> Vec<Row> {
    use MistakeKind::{Empty, Permit, Syntax};
    vec![
        (Syntax, on_usage("context.input.days >"), "}", fine()),
        (Syntax, on_usage("context.input.days = 3"), "context.input.days = 3", fine()),
        (Syntax, fine().replace("principal,", "principal == ?principal,"), "?principal", fine()),
        (Syntax, fine().replace("forbid", "deny"), "deny", fine()),
        (Empty, "// nothing yet\n".to_owned(), "", fine()),
        (Permit, fine().replace("forbid", "permit"), "permit", fine()),
        (
            Permit,
            fine().replace("forbid", "@reason(\"permit (\") permit"),
            "permit",
            fine().replace("forbid", "@reason(\"permit (\") forbid"),
        ),
    ]
}

fn annotated() -> Vec<Row> {
    use MistakeKind::{Annotation, Duplicate};
    let sentence = |annotation: &str| {
        format!("{annotation} forbid (principal, action, resource) when {{ context.hour == 3 }};")
    };
    let also = |more: &str| format!("{} {}", fine(), sentence(more));
    vec![
        (
            Annotation,
            sentence(""),
            "forbid (principal, action, resource) when { context.hour == 3 };",
            sentence("@id(\"p\")"),
        ),
        (Annotation, sentence("@id(\"a.b\")"), "@id", sentence("@id(\"a-b\")")),
        (Annotation, sentence("@id(\"p\") @gate(\"3\")"), "@gate", sentence("@id(\"p\")")),
        (
            Annotation,
            sentence("@id(\"p\") @reason"),
            "@reason",
            sentence("@id(\"p\") @reason(\"r\")"),
        ),
        (
            Annotation,
            sentence(&format!("@id(\"p\") @reason(\"{}\")", "x".repeat(301))),
            "@reason",
            sentence(&format!("@id(\"p\") @reason(\"{}\")", "x".repeat(300))),
        ),
        (
            Annotation,
            sentence("@id(\"p\") @reason(\"a\\nb\")"),
            "@reason",
            sentence("@id(\"p\") @reason(\"a b\")"),
        ),
        (
            Annotation,
            sentence("@id(\"p\") @reason(\"a\\u{202e}\")"),
            "@reason",
            sentence("@id(\"p\") @reason(\"ä\")"),
        ),
        (Duplicate, also("@id(\"p\")"), "@id", also("@id(\"q\")")),
    ]
}

fn of_names() -> Vec<Row> {
    use MistakeKind::Name;
    vec![
        (Name, fine().replace("usage", "usgae"), "\"usgae\"", fine()),
        (
            Name,
            policy("action in [Action::\"list\", Action::\"effect:reed\"]", ""),
            "\"effect:reed\"",
            policy("action in [Action::\"list\", Action::\"effect:read\"]", ""),
        ),
        (
            Name,
            fine().replace("principal,", "principal == Caller::\"copilot\","),
            "Caller::\"copilot\"",
            fine().replace("principal,", "principal is Caller,"),
        ),
        (
            Name,
            fine().replace("resource)", "resource == Tool::\"usage\")"),
            "Tool::\"usage\"",
            fine().replace("resource)", "resource is Tool)"),
        ),
        (
            Name,
            policy("action", "when { principal.agent == \"opps\" }"),
            "\"opps\"",
            policy("action", "when { principal.agent == \"ops\" }"),
        ),
        (
            Name,
            policy("action", "unless { [\"ops\", \"opps\"].contains(principal.agent) }"),
            "\"opps\"",
            policy("action", "unless { [\"ops\"].contains(principal.agent) }"),
        ),
        (
            // There is such an agent, and it was not granted this.
            Name,
            policy("action == Action::\"refund\"", "when { \"copilot\" == principal.agent }"),
            "\"copilot\"",
            policy("action == Action::\"usage\"", "when { \"copilot\" == principal.agent }"),
        ),
    ]
}

fn of_types() -> Vec<Row> {
    use MistakeKind::{Lookalike, Type};
    vec![
        (
            Lookalike,
            on_usage("principal.subject == \"pаul\""),
            "\"pаul\"",
            on_usage("principal.subject == \"paul\""),
        ),
        (Type, on_usage("context.input.dayz > 3"), "context.input.dayz", fine()),
        (
            Type,
            on_usage("context.input.state == \"open\""),
            "context.input.state",
            on_usage("context.input has state && context.input.state == \"open\""),
        ),
        (Type, on_usage("context.input.days == \"30\""), "context.input.days == \"30\"", fine()),
        (
            Type,
            on_usage("principal.group.contains(\"x\")"),
            "principal.group.contains(\"x\")",
            on_usage("principal.groups.contains(\"x\")"),
        ),
        (Type, fine().replace("principal,", "principal is Caler,"), "Caler", fine()),
        (
            Type,
            policy("action", "when { context.input.days > 30 }"),
            "context.input.days",
            policy("action", "when { context.input has days && context.input.days > 30 }"),
        ),
    ]
}

fn of_outcomes() -> Vec<Row> {
    use MistakeKind::{Errs, Never};
    vec![
        (
            Never,
            on_usage("context.input has state && context.input.state == \"opne\""),
            "\"opne\"",
            on_usage("context.input has state && context.input.state == \"open\""),
        ),
        (Never, on_usage("context.weekday == 0"), "0", on_usage("context.weekday == 7")),
        (
            Never,
            on_usage("context.input.days > 365"),
            "when { context.input.days > 365 }",
            on_usage("context.input.days > 364"),
        ),
        (
            Never,
            policy("action == Action::\"effect:read\"", ""),
            "\"effect:read\"",
            policy("action in Action::\"effect:read\"", ""),
        ),
        (
            Never,
            policy("action in Action::\"effect:reversible\"", ""),
            "@id(\"p\") forbid (principal, action in Action::\"effect:reversible\", resource) ;",
            policy("action in Action::\"effect:persistent\"", ""),
        ),
        (
            Errs,
            on_usage("context.input.days > 9223372036854775807 + 1"),
            "@id(\"p\") forbid (principal, action == Action::\"usage\", resource) when { context.input.days > 9223372036854775807 + 1 };",
            on_usage("context.input.days > 29 + 1"),
        ),
        (
            Errs,
            on_usage("context.input.days + 9223372036854775807 > 0"),
            "when { context.input.days + 9223372036854775807 > 0 }",
            on_usage("context.input.days + 9223372036854775806 > 0 && context.hour == 3"),
        ),
        (
            Never,
            policy(
                "action == Action::\"note\"",
                "when { context.hour < 9 } unless { context.input.tenant == principal.tenant }",
            ),
            "when { context.hour < 9 } unless { context.input.tenant == principal.tenant }",
            policy("action", "when { context.hour < 9 } unless { principal.tenant == \"t\" }"),
        ),
    ]
}

#[test]
fn every_mistake_has_its_kind_and_its_place_and_its_mended_twin_has_none() {
    for (kind, text, points_at, mended) in rows() {
        assert_eq!(found(&text), [(kind, points_at.to_owned())], "{text}");
        assert_eq!(found(&mended), [], "{mended}");
    }
}

#[test]
fn every_message_can_be_read_by_who_wrote_the_policy() {
    let mut told = String::new();
    for (_, text, ..) in rows() {
        for Mistake { message, help, meant, .. } in wrong(&[PolicyFile { name: "a", text: &text }])
        {
            let cut: String = text.chars().take(120).collect();
            told.push_str(&format!("{}\n    {message}\n", cut.escape_debug()));
            told.extend(help.map(|help| format!("    help: {help}\n")));
            told.extend(
                meant.map(|(written, known)| format!("    {written}: {}\n", known.join(" "))),
            );
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once_in_their_order() {
    let files = [
        PolicyFile { name: "a", text: "@id(\"x\") permit (principal, action, resource);" },
        PolicyFile { name: "b", text: "forbid" },
        PolicyFile {
            name: "c",
            text: "@id(\"x\") forbid (principal, action == Action::\"nothing\", resource);
                @id(\"y\") forbid (principal, action, resource) when { false };",
        },
    ];
    let kinds: Vec<_> = wrong(&files).into_iter().map(|m| (m.file, m.kind)).collect();
    assert_eq!(
        kinds,
        [
            (0, MistakeKind::Permit),
            (1, MistakeKind::Syntax),
            (2, MistakeKind::Duplicate),
            (2, MistakeKind::Never),
        ]
    );
    // Without a posture, what needs none.
    let kinds: Vec<_> = read(&files).1.into_iter().map(|m| (m.file, m.kind)).collect();
    assert_eq!(
        kinds,
        [(0, MistakeKind::Permit), (1, MistakeKind::Syntax), (2, MistakeKind::Duplicate)]
    );
}

#[test]
fn what_is_said_is_one_line_though_what_was_written_is_several() {
    let text = "@id(\"x\") forbid (principal, action, resource) when { a \"\n\r\n\" };";
    let said = wrong(&[PolicyFile { name: "a", text }]);
    assert!(said.iter().any(|mistake| mistake.message.contains("\\n\\r\\n")), "{said:?}");
}

#[test]
fn a_policy_that_is_no_cedar_hides_none_of_the_others_of_its_file() {
    let text = format!(
        "{}\n// one; two\n@id(\"b\") forbid (principal action, resource);\n{}\n@id(\"d\") forbid (principal, action == Action::\"nothing\", resource) when {{ \"a;b\" == \";\" }};\n@id(\"e\") forbid (principal, action, resource) when {{ context. }}",
        on_usage("context.input.dayz > 3").replace("\"p\"", "\"a\""),
        on_usage("context.input.days > \"3\"").replace("\"p\"", "\"c\""),
    );
    let files = [PolicyFile { name: "a", text: &text }];
    let found: Vec<_> = wrong(&files)
        .into_iter()
        .map(|mistake| {
            (mistake.kind, text.get(..mistake.span.start).unwrap().matches('\n').count())
        })
        .collect();
    use MistakeKind::{Name, Syntax, Type};
    assert_eq!(found, [(Type, 0), (Syntax, 2), (Type, 3), (Name, 4), (Syntax, 5), (Syntax, 5)]);
}

#[test]
fn nothing_is_said_that_a_mistake_elsewhere_could_make_untrue() {
    let usage = |condition: &str| on_usage(condition);
    let every = |condition: &str| policy("action", &format!("when {{ {condition} }}"));
    let other = policy("action == Action::\"broken\"", "when { context.input.x == 1 }");
    let tools = || BTreeSet::from(["broken".to_owned()]);
    let nothing = Unknown::default;
    let (tool, agents, attributes) = (
        Unknown { tools: tools(), ..nothing() },
        Unknown { tools: tools(), agents: true, ..nothing() },
        Unknown { attributes: true, ..nothing() },
    );
    use MistakeKind::{Name, Never, Type};
    for (text, unknown, expected) in [
        (other.clone(), nothing(), vec![Name]),
        (other, tool.clone(), vec![]),
        (usage("context.input.dayz == 3"), tool.clone(), vec![Type]),
        (usage("context.input.dayz == 3"), agents.clone(), vec![Type]),
        (usage("context.input.days > 400"), tool.clone(), vec![Never]),
        (usage("context.input.days > 400"), agents.clone(), vec![]),
        (every("context.hour == 25"), nothing(), vec![Never]),
        (every("context.hour == 25"), tool, vec![]),
        (every("principal.agent == \"nobody\""), nothing(), vec![Name]),
        (every("principal.agent == \"nobody\""), agents, vec![]),
        (usage("principal.colour == \"red\""), nothing(), vec![Type]),
        (usage("principal.colour == \"red\""), attributes.clone(), vec![]),
        (usage("context.input.dayz == 3"), attributes, vec![Type]),
    ] {
        let files = [PolicyFile { name: "a", text: &text }];
        let found = crate::mistakes(&company(), &["groups"], &files, &unknown);
        let kinds: Vec<_> = found.iter().map(|mistake| mistake.kind).collect();
        assert_eq!(kinds, expected, "{text} beside {unknown:?}: {found:?}");
    }
}

#[test]
fn a_policy_stands_beside_the_tools_that_its_scope_names_and_no_others() {
    for (scope, tools) in [
        ("action == Action::\"note\"", &["note"][..]),
        ("action in Action::\"note\"", &["note"]),
        ("action in [Action::\"note\", Action::\"usage\"]", &["note", "usage"]),
        ("action in Action::\"effect:read\"", &["list", "usage"]),
        ("action in Action::\"effect:write\"", &["note", "refund"]),
        ("action in Action::\"effect:irreversible\"", &["refund"]),
        ("action in [Action::\"effect:read\", Action::\"refund\"]", &["list", "refund", "usage"]),
        ("action", &["list", "note", "refund", "usage"]),
    ] {
        let bundle = sound(&policy(scope, "when { context.hour == 3 }"));
        let names = ["list", "note", "refund", "usage"].map(|name| ToolName::new(name).unwrap());
        let there = |tool: &&ToolName| {
            let shown = bundle.policies(tool).unwrap().contains("// policies/a.cedar\n@id(\"p\")");
            assert_eq!(shown, bundle.written_digest(tool).is_some(), "{scope}");
            assert_eq!(shown, bundle.policy(tool, "p").is_some(), "{scope}");
            assert_eq!(shown, bundle.files(tool).eq(["policies/a.cedar"]), "{scope}");
            shown
        };
        let found: Vec<&str> = names.iter().filter(there).map(ToolName::as_str).collect();
        assert_eq!(found, tools, "{scope}");
    }
}

#[test]
fn where_a_policy_is_written_and_what_bears_on_a_tool_can_be_asked() {
    let text = format!("// first\n{}", on_usage("context.hour == 3"));
    let bundle = sound(&text);
    let (file, span) = bundle.written("p").unwrap();
    assert_eq!((file, text.get(span)), ("policies/a.cedar", text.strip_prefix("// first\n")));
    assert_eq!(bundle.written("q"), None);
    let digest = |text: &str| sound(text).written_digest(&ToolName::new("usage").unwrap());
    assert_eq!(digest(&text), digest(&on_usage("context.hour == 3")));
    assert_ne!(digest(&text), digest(&on_usage("context.hour == 4")));
}

struct Call<'a> {
    agent: &'a str,
    tool: &'a str,
    arguments: Value,
    now: &'a Timestamp,
    principal: &'a Principal,
}

fn decide(bundle: &Bundle, call: &Call<'_>) -> Result<Permission, Denial> {
    bundle.decide(&Question {
        agent: &AgentId::new(call.agent).unwrap(),
        principal: call.principal,
        tool: &ToolName::new(call.tool).unwrap(),
        arguments: call.arguments.as_object().unwrap(),
        scope: &ScopeEvidence::from([("account".to_owned(), ["t1".to_owned()].into())]),
        now: *call.now,
        approver: None,
    })
}

fn at(bundle: &Bundle, seconds: i64, days: i64) -> Result<Permission, Denial> {
    let (now, principal) = (Timestamp::from_secs(seconds), caller("t1", &["d1"]));
    let arguments = json!({"days": days});
    let call =
        Call { agent: "copilot", tool: "usage", arguments, now: &now, principal: &principal };
    decide(bundle, &call)
}

fn forbidden(policies: &[&str], reason: Option<&str>) -> Result<Permission, Denial> {
    let policies = policies.iter().map(|&policy| policy.to_owned()).collect();
    Err(Denial::Forbidden(Forbidden { policies, reason: reason.map(str::to_owned) }))
}

fn permitted() -> Result<Permission, Denial> {
    let determining = vec!["usage.grant".to_owned()];
    Ok(Permission { determining, clearance: Rung::UNGATED })
}

#[test]
fn a_forbidden_call_is_told_the_first_reason_by_the_order_of_names() {
    let bundle = sound(
        "@id(\"b\") @reason(\"Second.\") forbid (principal, action, resource)
             when { context.input has days && context.input.days > 30 };
         @id(\"a\") forbid (principal, action, resource)
             when { context.input has days && context.input.days > 60 };
         @id(\"c\") @reason(\"Third.\") forbid (principal, action, resource)
             when { context.input has days && context.input.days > 90 };",
    );
    assert_eq!(at(&bundle, 0, 30), permitted());
    assert_eq!(at(&bundle, 0, 31), forbidden(&["b"], Some("Second.")));
    assert_eq!(at(&bundle, 0, 61), forbidden(&["a", "b"], Some("Second.")));
    assert_eq!(at(&bundle, 0, 91), forbidden(&["a", "b", "c"], Some("Second.")));
    assert_eq!(
        at(&bundle, 0, 366),
        forbidden(&["a", "b", "c", "usage.bound.days"], Some("Second."))
    );
    assert_eq!(at(&sound(&on_usage("context.hour == 0")), 0, 7), forbidden(&["p"], None));
}

#[test]
fn what_a_policy_forbids_is_not_put_before_a_person() {
    let text = policy("action in Action::\"effect:write\"", "when { context.hour == 3 }");
    let bundle = sound(&text);
    let principal = caller("t1", &[]);
    let refund = |seconds| {
        let (now, arguments) = (Timestamp::from_secs(seconds), json!({"cents": 1}));
        let call =
            Call { agent: "ops", tool: "refund", arguments, now: &now, principal: &principal };
        decide(&bundle, &call)
    };
    assert_eq!(refund(3 * 3600), forbidden(&["p"], None));
    assert_eq!(refund(4 * 3600).unwrap().clearance, Rung::new(4));
}

#[test]
fn a_policy_that_errs_at_a_call_refuses_it_by_its_name() {
    let text = on_usage("context.input.days * 1000000000000000000 > 8000000000000000000");
    let bundle = sound(&text);
    assert_eq!(at(&bundle, 0, 8), permitted());
    assert_eq!(at(&bundle, 0, 9), forbidden(&["p"], None));
    assert_eq!(at(&bundle, 0, 10), Err(Denial::Undecided("p".to_owned())));
}

#[test]
fn the_time_is_told_in_utc_with_monday_as_the_first_day() {
    // Seconds since 1970, day of the week, hour, minute: as `date -u` says.
    for (seconds, weekday, hour, minute) in [
        (0, 4, 0, 0),
        (-1, 3, 23, 59),
        (3 * 86_400, 7, 0, 0),
        (4 * 86_400 - 1, 7, 23, 59),
        (4 * 86_400, 1, 0, 0),
        (1_709_210_096, 4, 12, 34), // 2024-02-29T12:34:56Z
        (1_795_435_200, 1, 12, 0),  // 2026-11-23T12:00:00Z
        (4_102_444_799, 4, 23, 59), // 2099-12-31T23:59:59Z
    ] {
        // No call is made before 1970, and a policy that waits for one is not taken.
        let now = if seconds < 0 { "" } else { &*format!("context.now == {seconds} && ") };
        let condition = format!(
            "{now}context.weekday == {weekday} && context.hour == {hour} && context.minute == {minute}"
        );
        assert_eq!(at(&sound(&on_usage(&condition)), seconds, 7), forbidden(&["p"], None));
    }
}

#[test]
fn a_condition_may_ask_for_groups_of_actions_and_for_every_attribute() {
    for (condition, forbids) in [
        ("action in Action::\"effect:read\"", true),
        ("action in Action::\"effect:write\"", false),
        ("action in [Action::\"effect:write\", Action::\"usage\"]", true),
        ("action == Action::\"list\"", false),
        ("principal.depots.contains(\"d1\")", true),
        ("principal.depots.contains(\"d2\")", false),
        ("principal.groups.isEmpty()", true),
        ("principal.tenant == \"t1\" && principal.subject == \"user\"", true),
        ("principal.actor like \"cl*\" && principal.agent != \"ops\"", true),
    ] {
        let bundle = sound(&policy("action", &format!("when {{ {condition} }}")));
        let expected = if forbids { forbidden(&["p"], None) } else { permitted() };
        assert_eq!(at(&bundle, 0, 7), expected, "{condition}");
    }
}

#[test]
fn conditions_that_the_posture_rules_out_are_told_from_those_it_does_not() {
    for (condition, can_match) in [
        ("context.input.days >= 1", true),
        ("context.input.days < 1", false),
        ("context.input.days <= 1", true),
        ("365 < context.input.days", false),
        ("365 <= context.input.days", true),
        ("!(context.input.days >= 1)", false),
        ("!(context.input.days <= 364)", true),
        ("context.input.days > 400 || context.hour > 22", true),
        ("context.input.days > 400 || context.hour > 23", false),
        ("context.input.days > 3 && context.weekday > 7", false),
        ("context.weekday >= 1 && context.weekday <= 5", true),
        ("context.minute > 59", false),
        ("context.clearance > 4", false),
        ("context.input has state && !(context.input.state == \"open\")", true),
        ("1 > 2", false),
        ("context.hour >= 18 && context.hour < 7", false),
        ("context.hour >= 18 || context.hour < 7", true),
        ("context.input.days == 3 && context.input.days == 4", false),
        ("context.input.days > 49 && context.input.days < 50", false),
        ("context.input.days > 49 && context.input.days <= 50", true),
        ("context.input.days > 10 && !(context.input.days > 10)", false),
        ("context.input.days * 2 > 730", false),
        ("context.input.days * 2 > 729", true),
        ("context.input.days + 1 > 366", false),
        ("context.input.days - context.hour > 364", true),
        ("-context.input.days > -1", false),
        ("context.input.days + 9223372036854775800 > 0", true),
        ("context.input has state && context.input.state like \"OP*\"", false),
        ("context.input has state && context.input.state like \"*p*n\"", true),
        ("context.input has to && context.input.to like \"OP*\"", true),
        ("principal.agent like \"shop*\"", false),
        ("principal.agent != \"ops\" && principal.agent != \"copilot\"", false),
        ("principal.agent != \"ops\"", true),
        ("context.now < 0", false),
        ("principal.tenant == \"\"", false),
        ("principal.subject == \"x\" && principal.subject == \"y\"", false),
        ("principal.subject == \"x\" && principal.actor == \"y\"", true),
        ("principal.subject != \"x\" && principal.subject == \"x\"", false),
        ("context.clearance >= 2", false),
        ("principal.groups.contains(\"a\") && !principal.groups.contains(\"a\")", false),
        ("principal.groups.contains(\"a\") && !principal.groups.contains(\"b\")", true),
        ("[3, 4].contains(context.hour) && context.hour > 4", false),
        ("[\"x\", \"y\"].contains(principal.actor) && principal.actor == \"z\"", false),
        ("if context.hour > 3 then context.hour < 3 else context.hour > 4", false),
        ("(context.hour == 1 || context.hour == 2) && context.hour > 1", true),
        ("(context.hour == 1 || context.hour == 2) && context.hour > 2", false),
    ] {
        let never = found(&on_usage(condition)).iter().any(|(kind, _)| *kind == MistakeKind::Never);
        assert_eq!(!never, can_match, "when {condition}");
        let unless = policy("action == Action::\"usage\"", &format!("unless {{ !({condition}) }}"));
        let never = found(&unless).iter().any(|(kind, _)| *kind == MistakeKind::Never);
        assert_eq!(!never, can_match, "unless not {condition}");
    }
    // What one tool rules out, another may not.
    let both = "action in [Action::\"usage\", Action::\"list\"]";
    let days = "when { context.input has days && context.input.days > 300 }";
    let limit = "when { context.input has limit && context.input.limit > 9 }";
    assert_eq!(found(&policy(both, days)), []);
    assert_eq!(found(&policy(both, limit)).len(), 1);
}

#[test]
fn what_forbids_every_call_is_in_force_and_a_warning() {
    for (scope, rest, warned) in [
        ("action", "", true),
        ("action", "when { true }", true),
        ("action == Action::\"usage\"", "unless { context.input.days > 365 }", true),
        ("action == Action::\"usage\"", "when { context.input.days * 2 > 1 }", true),
        ("action == Action::\"refund\"", "when { principal.agent == \"ops\" }", true),
        ("action == Action::\"usage\"", "when { principal.agent == \"ops\" }", false),
        ("action", "when { context.clearance == 1 }", false),
        ("action == Action::\"usage\"", "when { context.input has state }", false),
        ("action == Action::\"usage\"", "when { true } unless { context.hour > 22 }", false),
    ] {
        let bundle = sound(&policy(scope, rest));
        let warnings: Vec<_> = bundle.warnings().iter().map(|mistake| mistake.kind).collect();
        let expected = if warned { vec![MistakeKind::Always] } else { Vec::new() };
        assert_eq!(warnings, expected, "{scope} {rest}");
    }
    // Beside a mistake it is told like one.
    let both =
        policy("action", "") + "@id(\"q\") forbid (principal, action, resource) when { false };";
    let kinds: Vec<_> = found(&both).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [MistakeKind::Always, MistakeKind::Never]);
}

#[test]
fn a_policy_that_fits_some_tools_says_for_how_many_it_does_not() {
    let text = policy("action", "when { context.input.days > 30 }");
    let [mistake] = &wrong(&[PolicyFile { name: "a", text: &text }])[..] else { panic!() };
    let help = mistake.help.as_deref().unwrap();
    assert!(help.starts_with("3 of the 4 tools that the policy bears on have none"), "{help}");
}

#[test]
fn a_tool_has_no_more_policies_and_a_policy_no_more_names_than_they_may() {
    let many = |count: usize| {
        let policies = (0..count).map(|n| {
            format!("@id(\"p{n:03}\") forbid (principal, action == Action::\"usage\", resource) when {{ context.minute == 7 }};\n")
        });
        policies.collect::<String>()
    };
    sound(&many(POLICIES_PER_TOOL_MAX));
    let kinds: Vec<_> = found(&many(POLICIES_PER_TOOL_MAX + 2)).into_iter().map(|m| m.0).collect();
    assert_eq!(kinds, [MistakeKind::TooMany; 2]);
    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("Action::\"t{n}\"")).collect();
        let text = policy(&format!("action in [{}]", names.join(", ")), "");
        read(&[PolicyFile { name: "a", text: &text }]).1
    };
    assert_eq!(names(NAMES_PER_POLICY_MAX), []);
    assert_eq!(names(NAMES_PER_POLICY_MAX + 1)[0].kind, MistakeKind::TooMany);
}

#[test]
fn the_whole_schema_is_the_one_that_policies_are_held_against() {
    let whole = schema(&company(), &ATTRIBUTES);
    let parsed: Schema = whole.parse().unwrap();
    let validator = Validator::new(parsed);
    for (_, _, _, mended) in rows() {
        let policies: PolicySet = mended.parse().unwrap();
        let result = validator.validate(&policies, ValidationMode::Strict);
        assert!(result.validation_passed(), "{mended}: {result}");
    }
    insta::assert_snapshot!(whole);
}

// ── whatever is written ─────────────────────────────────────────────────────────────────────────

static NARROWED: LazyLock<[Bundle; 2]> = LazyLock::new(|| {
    let text = "@id(\"a\") forbid (principal, action, resource) when { context.hour >= 20 };
        @id(\"b\") forbid (principal, action in Action::\"effect:read\", resource)
            when { context.input has days && context.input.days > 100 }
            unless { principal.depots.contains(\"d1\") };
        @id(\"c\") forbid (principal, action == Action::\"usage\", resource)
            when { context.input has to && !(context.input.to like \"*@acme.example\") };
        @id(\"d\") forbid (principal, action == Action::\"usage\", resource)
            when { context.input.days * 100000000000000000 > 0 && context.weekday == 7 };";
    [compile(&[]).unwrap(), sound(text)]
});

/// Pieces that policies are made of, and some that they are not.
const PIECES: [&str; 40] = [
    "@id(\"a\")",
    "@reason(\"r\")",
    "@",
    "forbid",
    "permit",
    "(",
    ")",
    "(principal, action, resource)",
    "principal",
    "action",
    "resource",
    ",",
    "==",
    "in",
    "is",
    "Caller",
    "Action::\"usage\"",
    "[",
    "]",
    "{",
    "}",
    "when {",
    "unless {",
    "};",
    ";",
    "context",
    ".",
    "input",
    "days",
    "has",
    "like \"*\"",
    "\"",
    "\\",
    "//",
    "\n",
    "?principal",
    "9223372036854775807",
    "+ 1",
    "if true then",
    "else é",
];

/// A comparison of which the test knows what it comes out as at `days` and `hour`, at 1970-01-01.
fn comparison(days: i64, hour: i64) -> impl Strategy<Value = (String, bool)> {
    let things = vec![
        ("context.input.days", days),
        ("context.hour", hour),
        ("context.input.days + context.hour", days + hour),
        ("context.input.days * 3", days * 3),
        ("context.hour - context.input.days", hour - days),
        ("-context.hour", -hour),
        ("context.weekday", 4),
        ("7", 7),
    ];
    let thing = || proptest::sample::select(things.clone());
    let operators = vec!["<", "<=", ">", ">=", "==", "!="];
    let numbers = (thing(), proptest::sample::select(operators), thing(), -2i64..3, any::<bool>());
    let numbers = numbers.prop_map(|((one, a), operator, (other, b), near, literal)| {
        let (other, b) = match literal {
            true => ((a + near).to_string(), a + near),
            false => (other.to_owned(), b),
        };
        let holds = match operator {
            "<" => a < b,
            "<=" => a <= b,
            ">" => a > b,
            ">=" => a >= b,
            "==" => a == b,
            _ => a != b,
        };
        (format!("{one} {operator} {other}"), holds)
    });
    let texts = proptest::sample::select(vec![
        ("principal.agent == \"copilot\"", true),
        ("principal.agent like \"c*p*t\"", true),
        ("[\"ops\"].contains(principal.agent)", false),
        ("principal.subject == \"user\"", true),
        ("principal.subject != \"x\"", true),
        ("[\"x\", \"user\"].contains(principal.subject)", true),
        ("principal.tenant == principal.subject", false),
        ("principal.depots.contains(\"d1\")", true),
        ("context.clearance == 1", true),
        ("context.input has state", false),
    ]);
    prop_oneof![3 => numbers, 1 => texts.prop_map(|(text, holds)| (text.to_owned(), holds))]
}

/// A condition, and whether it holds.
fn condition(days: i64, hour: i64) -> impl Strategy<Value = (String, bool)> {
    comparison(days, hour).prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner.clone(), inner, 0..4).prop_map(|((a, x), (b, y), (c, z), how)| {
            match how {
                0 => (format!("(({a}) && ({b}))"), x && y),
                1 => (format!("(({a}) || ({b}))"), x || y),
                2 => (format!("!({a})"), !x),
                _ => (format!("(if {a} then {b} else {c})"), if x { y } else { z }),
            }
        })
    })
}

/// Away from the ends of what the two can be: that a comparison is with what a thing never is, as
/// `context.hour == -1`, is told whatever stands around it.
fn world() -> impl Strategy<Value = (i64, i64, Vec<(String, bool)>)> {
    (4i64..360, 3i64..21).prop_flat_map(|(days, hour)| {
        let conditions = prop::collection::vec(condition(days, hour), 1..5);
        (Just(days), Just(hour), conditions)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_holds_somewhere_is_never_called_never_nor_always_what_fails_somewhere(
        (days, hour, conditions) in world(),
    ) {
        let all: Vec<String> = conditions.iter().map(|(text, holds)| match holds {
            true => format!("({text})"),
            false => format!("!({text})"),
        }).collect();
        for (sign, forbids) in [("", true), ("!", false)] {
            let text = on_usage(&format!("{sign}({})", all.join(" && ")));
            let Ok(bundle) = compile(&[PolicyFile { name: "a", text: &text }]) else {
                let kinds: Vec<_> = found(&text).into_iter().map(|(kind, _)| kind).collect();
                let never = [MistakeKind::Never, MistakeKind::Errs];
                prop_assert!(!forbids || !kinds.iter().any(|kind| never.contains(kind)), "{text}");
                continue;
            };
            let expected = if forbids { forbidden(&["p"], None) } else { permitted() };
            prop_assert_eq!(at(&bundle, hour * 3600, days), expected, "{}", text);
            prop_assert!(forbids || bundle.warnings().is_empty(), "{text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_policy_lets_pass_what_was_refused_without_it(
        agent in proptest::sample::select(vec!["copilot", "ops", "nobody"]),
        tool in proptest::sample::select(vec!["usage", "list", "note", "refund"]),
        days in -1i64..400, to in proptest::option::of("[a-z]{1,3}@(acme|evil)\\.example"),
        seconds in 0i64..1_000_000, depot in proptest::sample::select(vec!["d1", "d2"]),
    ) {
        let mut arguments = json!({"days": days, "limit": days, "note": "n", "cents": days, "tenant": "t1"});
        if let Some(to) = to {
            arguments["to"] = to.into();
        }
        let (now, principal) = (Timestamp::from_secs(seconds), caller("t1", &[depot]));
        let call = Call { agent, tool, arguments, now: &now, principal: &principal };
        let [without, with] = &*NARROWED;
        if let Ok(permission) = decide(with, &call) {
            prop_assert_eq!(decide(without, &call), Ok(permission));
        }
    }

    #[test]
    fn whatever_is_written_is_judged_and_points_into_its_file(
        pieces in prop::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..60),
        frame in any::<bool>(),
    ) {
        let mut text = pieces.join(" ");
        if frame {
            text = on_usage(&text);
        }
        for mistake in read(&[PolicyFile { name: "a", text: &text }]).1 {
            prop_assert!(text.get(mistake.span.clone()).is_some(), "{text}: {mistake:?}");
        }
    }
}

// ── what the caller alone decides ───────────────────────────────────────────────────────────────

/// What conditions are made of: of the caller, of the call, of both, and what errs with some calls.
const ATOMS: [&str; 14] = [
    "principal.tenant == \"t1\"",
    "principal.tenant like \"t*\"",
    "principal.agent == \"ops\"",
    "principal.depots.contains(\"d1\")",
    "principal.groups.isEmpty()",
    "[\"d1\", \"d2\"].containsAll(principal.depots)",
    "action in Action::\"reads\"",
    "context.input.days > 30",
    "context.input has to && context.input.to like \"*evil*\"",
    "context.hour >= 12",
    "principal.depots.contains(context.input.state)",
    "context.input.days * 9223372036854775 > 40",
    "(if principal.tenant == \"t1\" then context.input.days else 3) < 5",
    "true",
];

fn said() -> impl Strategy<Value = String> {
    proptest::sample::select(ATOMS.to_vec()).prop_map(str::to_owned).prop_recursive(3, 8, 2, |of| {
        prop_oneof![
            3 => (of.clone(), of.clone()).prop_map(|(one, other)| format!("({one}) && ({other})")),
            1 => (of.clone(), of.clone()).prop_map(|(one, other)| format!("({one}) || ({other})")),
            1 => of.prop_map(|one| format!("!({one})")),
        ]
    })
}

fn conditions() -> impl Strategy<Value = String> {
    let one = (any::<bool>(), said())
        .prop_map(|(when, body)| format!("{} {{ {body} }}", if when { "when" } else { "unless" }));
    prop::collection::vec(one, 1..3).prop_map(|all| all.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_policy_that_is_left_out_for_a_caller_would_have_changed_nothing(
        policies in prop::collection::vec(conditions(), 1..4),
        calls in prop::collection::vec((
            proptest::sample::select(vec!["copilot", "ops"]),
            proptest::sample::select(vec!["t1", "t2", "u"]),
            proptest::sample::select(vec!["d1", "d2", "open"]),
            prop_oneof![1i64..60, Just(365)],
            prop::option::of(proptest::sample::select(vec!["open", "shut"])),
            prop::option::of(proptest::sample::select(vec!["a@evil.example", "a@acme.example"])),
            0i64..86_400,
        ), 1..12),
    ) {
        // Those that are not in order by themselves are left out.
        let mut text = String::new();
        for (number, conditions) in policies.iter().enumerate() {
            let policy = format!("@id(\"p{number}\") forbid (principal, action, resource) {conditions};");
            let scoped = policy.replace("principal, action,", "principal, action == Action::\"usage\",");
            if compile(&[PolicyFile { name: "a", text: &scoped }]).is_ok() {
                text.push_str(&scoped);
            }
        }
        prop_assume!(!text.is_empty());
        let file = || [PolicyFile { name: "a", text: &text }];
        let (narrowed, whole) = (sound(&text), compile(&file()).unwrap().without_caller_parts());
        for (agent, tenant, depot, days, state, to, second) in calls {
            let mut arguments = json!({"days": days});
            arguments.as_object_mut().unwrap().extend(
                [("state", state), ("to", to)]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))),
            );
            let (now, principal) = (Timestamp::from_secs(second), caller(tenant, &[depot]));
            let call = Call { agent, tool: "usage", arguments, now: &now, principal: &principal };
            prop_assert_eq!(decide(&narrowed, &call), decide(&whole, &call), "{}", text);
        }
    }
}

#[test]
fn a_policy_is_left_out_only_for_callers_whom_it_cannot_concern_and_never_if_it_can_err() {
    let left_out = |condition: &str, tenant: &str| {
        let bundle = sound(&format!(
            "@id(\"p\") forbid (principal, action == Action::\"usage\", resource) {condition};"
        ));
        let usage = ToolName::new("usage").unwrap();
        let question = Question {
            agent: &AgentId::new("ops").unwrap(),
            principal: &caller(tenant, &["d1"]),
            tool: &usage,
            arguments: &serde_json::Map::new(),
            scope: &ScopeEvidence::new(),
            now: Timestamp::from_secs(0),
            approver: None,
        };
        bundle.slices[&usage].leaves_out("p", &question)
    };
    for (condition, of_t1, of_t2) in [
        ("when { context.input.days > 30 && principal.tenant == \"t1\" }", false, true),
        ("when { context.input.days > 30 } unless { principal.tenant == \"t1\" }", true, false),
        ("when { principal.tenant == \"t2\" } when { context.hour > 3 }", true, false),
        // Either side may be enough.
        ("when { context.input.days > 30 || principal.tenant == \"t1\" }", false, false),
        // Of nobody in particular.
        ("when { context.input.days > 30 }", false, false),
        // What may err has to, whoever calls.
        ("when { context.input.days * 2 > 30 && principal.tenant == \"t1\" }", false, false),
        ("when { principal.tenant == \"t1\" } unless { context.input.days + 1 > 9 }", false, false),
    ] {
        assert_eq!(
            (left_out(condition, "t1"), left_out(condition, "t2")),
            (of_t1, of_t2),
            "{condition}"
        );
    }
}
