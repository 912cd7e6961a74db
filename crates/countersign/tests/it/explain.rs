//! `countersign explain` through the real program: what it prints, what it leaves alone, and that a
//! running gateway decides what it says.

use crate::gateway::{Company, Who};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const AT: &str = "2026-11-23T10:00:00Z";

/// What it prints of a call for `ann` of `acct_alpha`, and its exit code.
fn explained(company: &Company, more: &[&str]) -> (String, Option<i32>) {
    let usual = ["explain", ".", "--tenant", "acct_alpha", "--user", "ann", "--at", AT];
    let output = company.run(&[&usual, more].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    // The digest is over every byte of the example.
    let said = said.lines().map(|line| match line.split_once("under posture ") {
        Some((before, _digest)) => format!("{before}under posture …\n"),
        None => format!("{line}\n"),
    });
    (said.collect(), output.status.code())
}

fn told(company: &Company, agent: &str, tool: &str, arguments: Value) -> String {
    let arguments = arguments.to_string();
    let (said, code) =
        explained(company, &["--agent", agent, "--tool", tool, "--arguments", &arguments]);
    format!("{said}exit code {}\n", code.unwrap())
}

#[test]
fn every_stage_says_on_which_line_it_rests() {
    let company = Company::new();
    let usage = |arguments| told(&company, "support-copilot", "get_account_usage", arguments);
    insta::assert_snapshot!("allowed", usage(json!({"account_id": "acct_alpha", "days": 30})));
    insta::assert_snapshot!(
        "another_tenants",
        usage(json!({"account_id": "acct_bravo", "days": 30}))
    );
    insta::assert_snapshot!(
        "beyond_a_bound",
        usage(json!({"account_id": "acct_alpha", "days": 9_000_000}))
    );
    insta::assert_snapshot!(
        "wrong_arguments",
        told(
            &company,
            "support-copilot",
            "track_parcels",
            json!({"parcels": [{"account_id": 7, "parcel_id": "pcl_1"}], "invented": true}),
        )
    );
    let refund = |amount_cents: u32| {
        let arguments =
            json!({"invoice_id": "inv_000001", "amount_cents": amount_cents, "note": "late"});
        told(&company, "support-copilot", "refund_invoice", arguments)
    };
    insta::assert_snapshot!("needs_a_person", refund(100));
    insta::assert_snapshot!("forbidden", refund(20_001));
    insta::assert_snapshot!(
        "no_such_tool",
        told(&company, "support-copilot", "list_invoice", json!({}))
    );
    insta::assert_snapshot!(
        "not_granted",
        told(&company, "support-copilot", "list_vehicles", json!({}))
    );
    insta::assert_snapshot!(
        "no_such_agent",
        told(&company, "suport-copilot", "get_shipment", json!({}))
    );
}

#[test]
fn a_claim_opens_what_its_absence_closes() {
    let company = Company::new();
    let call = ["--agent", "dispatch-planner", "--tool", "list_vehicles", "--arguments"];
    let call = [&call[..], &[r#"{"depots": ["HAM"]}"#]].concat();
    assert_eq!(explained(&company, &call).1, Some(1));
    let (said, code) = explained(&company, &[&call[..], &["--claim", "depots=HAM,BER"]].concat());
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_call_as_json_is_read_from_a_file_and_from_standard_input() {
    let company = Company::new();
    let call = json!({
        "principal": {
            "agent": "dispatch-planner", "tenant": "acct_alpha", "user": "ann", "scopes": [],
            "claims": {"depots": ["HAM"]},
        },
        "tool": "list_vehicles",
        "arguments": {"depots": ["HAM", "MUC"]},
    });
    std::fs::write(company.path().join("call.json"), call.to_string()).unwrap();
    let from_file =
        company.run(&["explain", ".", "--call", "call.json", "--format", "json", "--at", AT]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["explain", ".", "--call", "-", "--format", "json", "--at", AT])
        .current_dir(company.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(call.to_string().as_bytes()).unwrap();
    let from_input = child.wait_with_output().unwrap();
    assert_eq!(from_file.status.code(), Some(1));
    assert_eq!(from_file.stdout, from_input.stdout);
    let told: Value = serde_json::from_slice(&from_file.stdout).unwrap();
    assert_eq!(told["call"], call);
    assert_eq!(told["at"], AT);
    let decided = &told["decided"];
    assert_eq!(decided["allowed"], false);
    assert_eq!(decided["refusal"]["code"], "out_of_scope");
    let status = |stage: &Value| (stage["stage"].clone(), stage["status"].clone());
    let stages: Vec<_> = decided["stages"].as_array().unwrap().iter().map(status).collect();
    let expected = [
        ("authenticated", "passed"),
        ("resolved", "passed"),
        ("metered", "not_counted"),
        ("validated", "passed"),
        ("bound", "refused"),
        ("authorized", "not_reached"),
        ("looked_up", "not_reached"),
        ("cleared", "not_reached"),
    ];
    assert_eq!(stages, expected.map(|(stage, status)| (json!(stage), json!(status))));
    let line = &decided["stages"][4]["evidence"][0]["line"];
    assert_eq!(line["file"], "posture/tools/list_vehicles.yaml");
    assert_eq!(line["text"], r#""depots[]": { in: caller.depots }"#);
    assert!(decided["change"][0]["text"].as_str().unwrap().contains("`HAM`"));
}

#[test]
fn what_cannot_be_asked_is_neither_allowed_nor_refused() {
    let company = Company::new();
    let refused = |tenant: &str, more: &[&str]| {
        let usual =
            ["explain", ".", "--agent", "support-copilot", "--tenant", tenant, "--user", "ann"];
        let output = company.run(&[&usual[..], &["--tool", "get_shipment"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (tenant, more, why) in [
        ("acct_alpha", &["--arguments", r#"{"a": 1, "a": 2}"#][..], "a key stands twice"),
        ("acct_alpha", &["--arguments", "{"], "--arguments: EOF"),
        ("acct_alpha", &["--claim", "rank=admiral"], "has no attribute `rank`"),
        ("", &[], "`/tenant` must not be empty"),
        ("acct_alpha", &["--at", "yesterday"], "'yesterday' for '--at"),
        ("acct_alpha", &["--call", "-"], "cannot be used with"),
    ] {
        let said = refused(tenant, more);
        assert!(said.contains(why), "{said}");
    }
    for call in [json!([]), json!({"tool": "x"}), json!({"principal": {}, "tool": "x", "more": 1})]
    {
        std::fs::write(company.path().join("call.json"), call.to_string()).unwrap();
        let ran = company.run(&["explain", ".", "--call", "call.json"]);
        assert_eq!(ran.status.code(), Some(2), "{call}");
    }
    company.edit("posture/posture.yaml", |text| text.replace("organisation:", "organization:"));
    let (said, code) = explained(&company, &["--agent", "a", "--tool", "t"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("did you mean `organisation`?"), "{said}");
    let call = ["explain", ".", "--agent", "a", "--tenant", "t", "--user", "u", "--tool", "t"];
    let json = company.run(&[&call[..], &["--format", "json"]].concat());
    assert_eq!(json.status.code(), Some(2));
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["findings"][0]["code"], "missing-key", "{told}");
}

#[test]
fn it_needs_no_system_and_no_journal_and_makes_none() {
    let company = Company::new();
    for folder in ["data", "state", "logs"] {
        // What `demo --only-make` has made of them, if anything.
        drop(std::fs::remove_dir_all(company.path().join(folder)));
    }
    let call = ["--agent", "support-copilot", "--tool", "get_account_usage", "--arguments"];
    let usage = r#"{"account_id": "acct_alpha", "days": 3}"#;
    let (said, code) = explained(&company, &[&call[..], &[usage]].concat());
    assert_eq!(code, Some(0), "{said}");
    for folder in ["data", "state", "logs"] {
        assert!(!company.path().join(folder).exists(), "{folder}");
    }
}

#[tokio::test]
async fn a_running_gateway_decides_what_was_explained() {
    let company = Company::new();
    company.lift_limits();
    let gateway = company.serve();
    let calls = [
        ("support-copilot", "get_account_usage", json!({"account_id": "acct_alpha", "days": 3})),
        ("support-copilot", "get_account_usage", json!({"account_id": "acct_bravo", "days": 3})),
        ("support-copilot", "get_account_usage", json!({"account_id": "acct_nobody", "days": 3})),
        ("support-copilot", "get_account_usage", json!({"account_id": "acct_alpha", "days": "3"})),
        ("support-copilot", "get_account_usage", json!({"account_id": "acct_alpha", "days": 3.0})),
        ("support-copilot", "get_account_usage", json!(null)),
        ("support-copilot", "list_vehicles", json!({"depots": ["HAM"]})),
        ("support-copilot", "drop_tables", json!({})),
        ("support-copilot", "search_tickets", json!({"text": "invoice", "limit": 3})),
        (
            "support-copilot",
            "search_tickets",
            json!({"text": "x", "limit": 3, "tenant": "acct_bravo"}),
        ),
        (
            "support-copilot",
            "refund_invoice",
            json!({"invoice_id": "inv_500004", "amount_cents": 100, "note": "late"}),
        ),
        (
            "support-copilot",
            "refund_invoice",
            json!({"invoice_id": "inv_500004", "amount_cents": 20_001, "note": "late"}),
        ),
        ("support-copilot", "get_shipment", json!({"shipment_id": "shp_100001"})),
        ("support-copilot", "get_shipment", json!({"shipment_id": "shp_100002"})),
        ("support-copilot", "get_shipment", json!({"shipment_id": "shp_999999"})),
        ("dispatch-planner", "list_vehicles", json!({"depots": ["HAM"]})),
        ("dispatch-planner", "list_vehicles", json!({"depots": ["HAM", "MUC"]})),
        ("dispatch-planner", "list_departures", json!({"depot": "BER", "day": "2026-11-24"})),
    ];
    for (agent, tool, arguments) in calls {
        let text = arguments.to_string();
        let asked = ["--agent", agent, "--claim", "depots=HAM,BER", "--tool", tool];
        let asked = [&asked[..], &["--arguments", &text, "--format", "json"]].concat();
        let touched = company.touched();
        let (said, ended) = explained(&company, &asked);
        let said: Value = serde_json::from_str(&said).unwrap();
        let asks = matches!(tool, "get_shipment" | "refund_invoice");
        let reached = said["decided"]["stages"][6]["status"] != "not_reached";
        let look_ups = usize::from(asks && reached);
        assert_eq!(company.touched(), touched + look_ups, "an explanation has reached a system");
        let who = Who { agent, tenant: "acct_alpha", session: "s", depots: &["HAM", "BER"] };
        let token = gateway.token(who).await;
        let answer = gateway.call(&token, tool, arguments).await;
        let refused = answer["status"] == "refused";
        assert_eq!(ended, Some(i32::from(refused)), "{tool} {text}: {answer}");
        let refusal = &said["decided"]["refusal"];
        // A call is drafted, and an explanation drafts nothing: it has no reference to speak of.
        let drafted = refusal["code"] == "approval_required";
        let members: &[&str] = if drafted { &["code"] } else { &["code", "message", "next"] };
        for &member in members {
            assert_eq!(refusal[member], answer["error"][member], "{tool} {text}: {answer}");
        }
    }
    gateway.stop();
}
