//! `countersign call`: an agent's call from the command line, with a token or as a request says.

use crate::gateway::{Company, Gateway, Who};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};

const ANN: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "s1", depots: &[] };

fn called(gateway: &Gateway, token: &str, more: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["call", "--gateway", &gateway.url])
        .args(more)
        .env("COUNTERSIGN_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let sent = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    drop(sent); // It may not have read it.
    child.wait_with_output().unwrap()
}

fn usage(account: &str) -> String {
    json!({ "account_id": account, "days": 7 }).to_string()
}

#[tokio::test]
async fn a_call_goes_through_the_gateway_and_its_answer_is_told() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(ANN).await;
    let call = |account| {
        let arguments = usage(account);
        let call = ["get_account_usage", "--arguments", &arguments];
        let text = called(&gateway, &token, &call, "");
        let json = called(&gateway, &token, &[&call[..], &["--format", "json"]].concat(), "");
        assert_eq!(text.status.code(), json.status.code());
        let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
        (text.status.code(), String::from_utf8(text.stdout).unwrap(), answer)
    };
    let (code, said, answer) = call("acct_alpha");
    assert_eq!((code, answer["status"].as_str()), (Some(0), Some("completed")), "{said}");
    assert!(said.starts_with("completed (call_") && said.contains("\"rows\""), "{said}");
    let (code, said, answer) = call("acct_bravo");
    assert_eq!((code, &answer["error"]["code"]), (Some(1), &json!("out_of_scope")));
    assert!(said.starts_with("refused as `out_of_scope` (call_"), "{said}");
    assert!(said.contains("It must be one of your own"), "{said}");
}

#[tokio::test]
async fn a_request_is_made_by_whom_it_names_as_explain_takes_it() {
    let company = Company::new();
    let gateway = company.serve();
    let request = |agent: &str, account: &str| {
        json!({
            "principal": { "agent": agent, "tenant": account, "user": "bob" },
            "tool": "get_account_usage",
            "arguments": { "account_id": account, "days": 7 },
        })
        .to_string()
    };
    for (agent, code) in [("support-copilot", Some(0)), ("dispatch-planner", Some(1))] {
        let request = request(agent, "acct_bravo");
        // The token that lies there is another's.
        let token = gateway.token(ANN).await;
        let made = called(&gateway, &token, &["--request", "-", "--format", "json"], &request);
        assert_eq!(made.status.code(), code, "{}", String::from_utf8_lossy(&made.stdout));
        std::fs::write(company.path().join("request.json"), request).unwrap();
        let explained = company.run(&["explain", ".", "--call", "request.json"]);
        assert_eq!(explained.status.code(), code);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_apart_from_a_refusal() {
    let company = Company::new();
    let gateway = company.serve();
    for (token, more, why) in [
        ("", &["get_account_usage"][..], "COUNTERSIGN_TOKEN is not set"),
        ("wrong", &["get_account_usage"], "the gateway does not accept the token"),
        ("t", &["get_account_usage", "--arguments", "{\"a\":1,\"a\":2}"], "--arguments"),
        ("t", &["--request", "-"], "unknown field `tol`"),
        ("t", &["--request", "none.json"], "none.json"),
        ("t", &[], "required"),
    ] {
        let failed = called(&gateway, token, more, r#"{"tol": "x"}"#);
        let said = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{more:?}: {said}");
    }
}
