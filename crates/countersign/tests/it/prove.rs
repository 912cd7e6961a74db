//! `countersign posture prove` through the real program: what is proved, and that a running gateway
//! admits what a proof says it does, until it is mended.

use crate::gateway::{Company, Gateway};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The report, and the exit code.
fn proved(company: &Company) -> (Value, Option<i32>) {
    let output = company.run(&["posture", "prove", ".", "--format", "json"]);
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("{}", said(&output))), output.status.code())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// `tool obligation` of everything that is not proved, with all that is said of it.
fn open(report: &Value) -> Vec<(String, &Value)> {
    let all = report["obligations"].as_array().unwrap().iter();
    let open = all.filter(|of| of["verdict"] != "proved");
    let name = |of: &Value| format!("{} {}", of["tool"], of["obligation"]).replace('"', "");
    open.map(|of| (name(of), of)).collect()
}

/// What `explain` and a running gateway say of a counterexample: whether it is allowed, and the answer.
fn replayed(company: &Company, gateway: &Gateway, request: &Value) -> (bool, Value) {
    fs::write(company.path().join("request.json"), request.to_string()).unwrap();
    let explained = company.run(&["explain", ".", "--call", "request.json"]);
    let call = ["call", "--request", "request.json", "--format", "json", "--gateway", &gateway.url];
    let called = company.run(&call);
    let answer = serde_json::from_slice(&called.stdout);
    (explained.status.success(), answer.unwrap_or_else(|_| panic!("{}", said(&called))))
}

#[test]
fn all_of_the_example_is_proved_and_its_evidence_is_of_its_digest() {
    let company = Company::new();
    let output = company.run(&["posture", "prove", ".", "--out", "prove.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let written = fs::read(company.path().join("prove.json")).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written, proved(&company).0);
    let checked = company.says(&["check", "."]);
    assert!(checked.contains(written["posture"].as_str().unwrap()), "{checked}");
    assert_eq!(written["proved"], true);
    // What is proved of each tool stands there by name, and what is not covered beside it.
    let of = |tool: &str| {
        let all = written["obligations"].as_array().unwrap().iter();
        all.filter(|of| of["tool"] == tool).count()
    };
    assert_eq!((of("get_account_usage"), of("send_customer_email")), (3, 6));
    let text = said(&output);
    for not_covered in written["not_covered"].as_array().unwrap() {
        assert!(text.contains(not_covered["what"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn nothing_is_proved_without_a_solver_or_by_one_that_does_not_know() {
    let company = Company::new();
    let unsure = company.path().join("unsure");
    let script = "#!/bin/sh\n\
        test \"$1\" = --version && echo 'This is cvc5 version 9.9' && exit\n\
        while read -r line; do case $line in '(check-sat)') echo unknown;; esac; done\n";
    fs::write(&unsure, script).unwrap();
    fs::set_permissions(&unsure, fs::Permissions::from_mode(0o755)).unwrap();
    let another = Path::new("/bin/true");
    for (solver, why) in [
        (Path::new("/nowhere/cvc5"), "there is no cvc5"),
        (another, "does not say which version it is"),
        (&unsure, "not proved"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["posture", "prove", ".", "--out", "prove.json"])
            .env("CVC5", solver)
            .current_dir(company.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
        let report = fs::read(company.path().join("prove.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["proved"], false);
        let all = report["obligations"].as_array().unwrap();
        // Only what needs no solver is decided without: that a policy without sums cannot err.
        let decided = all.iter().filter(|of| of["verdict"] != "undecided");
        let decided: Vec<_> = decided.filter(|of| of["obligation"] != "errors").collect();
        assert!(!all.is_empty() && decided.is_empty(), "{decided:?}");
    }
}

#[tokio::test]
async fn an_exception_that_lets_confidential_data_out_is_admitted_by_the_gateway_until_it_is_mended()
 {
    let tool = "posture/tools/change_billing_address.yaml";
    let external = |text: String| text.replace("sends: internal", "sends: external");
    let exception = "exception: { rung: 2, reason: It is only a test., reviewed_by: security@acme.example, expires: 2099-01-01 }\n";
    let company = Company::new();
    company.edit(tool, external);
    company.edit(tool, |text| format!("{text}{exception}"));
    let (report, code) = proved(&company);
    let found = open(&report);
    let [(name, hole)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((name.as_str(), code), ("change_billing_address external", Some(1)));
    let counterexample = &hole["counterexample"];
    assert_eq!(counterexample["unfit"], json!([]), "{counterexample}");
    let request = &counterexample["call"];

    let gateway = company.serve();
    let (explained, answer) = replayed(&company, &gateway, request);
    assert!(explained, "{request}");
    // Nobody was asked: it went to the system, where there is no such tenant to change.
    assert_eq!(answer["error"]["code"], "post_condition_failed", "{answer}");

    let mended = Company::new();
    mended.edit(tool, external);
    assert_eq!(open(&proved(&mended).0), []);
    let gateway = mended.serve();
    let (explained, answer) = replayed(&mended, &gateway, request);
    assert!(!explained);
    assert_eq!(answer["error"]["code"], "approval_required", "{answer}");
}

#[tokio::test]
async fn a_policy_that_can_err_and_a_grant_that_permits_nothing_are_met_at_the_gateway_as_found() {
    let company = Company::new();
    company.edit("posture/policies/refunds.cedar", |text| {
        let never = "@id(\"never\")\nforbid (principal, action == Action::\"get_account_usage\", resource);\n";
        let sum = "context.input.amount_cents + 9223372036854775000 > 20000";
        format!("{}{never}", text.replace("context.input.amount_cents > 20000", sum))
    });
    let (report, code) = proved(&company);
    let found = open(&report);
    let [(dead, never), (err, overflow)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(code, Some(1));
    assert_eq!(dead, "get_account_usage use.support-copilot");
    assert_eq!((&never["verdict"], never.get("counterexample")), (&json!("refuted"), None));
    assert_eq!(err, "refund_invoice errors");

    let gateway = company.serve();
    let usage = json!({
        "principal": { "agent": "support-copilot", "tenant": "acct_alpha", "user": "ann" },
        "tool": "get_account_usage",
        "arguments": { "account_id": "acct_alpha", "days": 7 },
    });
    assert_eq!(replayed(&company, &gateway, &usage).1["error"]["code"], "forbidden");
    let mut overflows = overflow["counterexample"]["call"].clone();
    let (_, answer) = replayed(&company, &gateway, &overflows);
    assert_eq!(answer["error"]["code"], "undecided", "{overflows}");

    let mended = Company::new();
    let gateway = mended.serve();
    assert_eq!(replayed(&mended, &gateway, &usage).1["status"], "completed");
    overflows["arguments"]["amount_cents"] = json!(100);
    let (_, answer) = replayed(&mended, &gateway, &overflows);
    // It is decided: the invoice is nobody's, which is found out after policy.
    assert_eq!(answer["error"]["code"], "out_of_scope", "{answer}");
}

#[expect(clippy::disallowed_methods, reason = "what it takes is what is asked")]
fn now() -> Instant {
    Instant::now()
}

/// The bar: everything decided, in less than two minutes on two cores.
#[test]
fn two_hundred_tools_of_fifty_agents_are_decided_within_two_minutes() {
    let company = Company::new();
    let posture = company.path().join("posture");
    fs::remove_dir_all(posture.join("evals")).unwrap();
    let files: Vec<_> = fs::read_dir(posture.join("tools")).unwrap().collect();
    let mut grants = String::new();
    for at in 0..200 {
        let file = files[at % files.len()].as_ref().unwrap().path();
        let old = file.file_stem().unwrap().to_str().unwrap();
        let new = if at < files.len() { old.to_owned() } else { format!("{old}_{at}") };
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replacen(&format!("tool: {old}\n"), &format!("tool: {new}\n"), 1);
        fs::write(posture.join(format!("tools/{new}.yaml")), text).unwrap();
        grants.push_str(&format!(
            "  - {{ tool: {new}, reason: Asked for., reviewed_by: a@acme.example, reviewed_on: 2026-11-20 }}\n"
        ));
    }
    fs::remove_dir_all(posture.join("agents")).unwrap();
    fs::create_dir(posture.join("agents")).unwrap();
    for at in 0..50 {
        let text = format!(
            "agent: agent-{at}\npurpose: One of fifty.\nowner: {{ team: t, contact: t@acme.example }}\n\
             identity: {{ client_id: agent-{at} }}\ngrants:\n{grants}"
        );
        fs::write(posture.join(format!("agents/agent-{at}.yaml")), text).unwrap();
    }
    let proved = || {
        let begun = now();
        let run = ["posture", "prove", ".", "--format", "json", "--earlier", "kept"];
        let output = company.run(&run);
        let took = begun.elapsed();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = report["obligations"].as_array().unwrap().len();
        assert!(all > 200 * 50 && open(&report).is_empty(), "{all}");
        eprintln!("{all} obligations in {took:?}");
        (took, fs::read_dir(company.path().join("kept")).unwrap().count())
    };
    let (took, kept) = proved();
    assert_eq!(kept, 200);
    assert!(took < Duration::from_secs(120), "{took:?}");
    // After a change of one tool, that one is proved again.
    company.edit("posture/tools/find_shipments.yaml", |text| text.replace("100 }", "99 }"));
    let (took_again, kept) = proved();
    assert_eq!(kept, 201);
    assert!(took_again < took / 2, "{took_again:?} after {took:?}");
}
