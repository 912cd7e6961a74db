//! Real MCP clients of both eras against the real gateway. `scripts/test` installs them.

use crate::gateway::{Company, Gateway, Who};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "client", depots: &[] };

pub(crate) fn installed(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.clients").join(name);
    assert!(
        path.exists(),
        "{} is missing: run scripts/test once, it installs the clients",
        path.display()
    );
    path
}

/// How a client reaches the gateway.
#[derive(Clone, Copy)]
enum Way {
    Http,
    Stdio,
}

async fn drive(gateway: &Gateway, way: Way, program: &str, script: &str) -> Value {
    let calls = json!([
        ["get_account_usage", {"account_id": "acct_alpha", "days": 3}],
        ["get_account_usage", {"account_id": "acct_bravo", "days": 3}],
        ["get_account_usage", {"account_id": "acct_alpha", "days": 9_000_000}],
        ["drop_table", {}],
    ]);
    let token = gateway.token(WHO).await;
    let to = match way {
        Way::Http => vec![format!("{}/mcp", gateway.url)],
        Way::Stdio => {
            [env!("CARGO_BIN_EXE_countersign"), "mcp", &gateway.url].map(str::to_owned).into()
        }
    };
    let mut client = Command::new(program)
        .arg(installed(script))
        .args(to)
        .env("TOKEN", token)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(calls.to_string().as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn judge(said: &Value) {
    let tools: Vec<&str> =
        said["tools"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert_eq!(
        tools,
        [
            "annotate_ticket",
            "change_billing_address",
            "check_draft",
            "find_shipments",
            "get_account_usage",
            "get_contact",
            "get_shipment",
            "get_temperature_log",
            "list_contacts",
            "list_invoices",
            "read_ticket",
            "refund_invoice",
            "search_tickets",
            "send_customer_email",
            "track_parcels",
        ]
    );
    let answers = said["answers"].as_array().unwrap();
    assert_eq!(answers[0]["is_error"], false, "{said}");
    assert_eq!(answers[0]["structured"]["row_count"], 3);
    for (answer, code) in [(&answers[1], "out_of_scope"), (&answers[2], "invalid_arguments")] {
        assert_eq!(
            (&answer["is_error"], &answer["structured"]["code"]),
            (&json!(true), &json!(code)),
            "{said}"
        );
        assert!(answer["text"].as_str().unwrap().contains("\"next\""), "{said}");
    }
    assert_eq!(answers[3]["protocol_error"], -32602, "{said}");
    assert!(answers[3]["text"].as_str().unwrap().contains("List the tools"), "{said}");
}

#[tokio::test]
async fn the_python_client_of_the_new_era_lists_and_calls() {
    let company = Company::new();
    let gateway = company.serve();
    let python = installed("venv/bin/python");
    for way in [Way::Http, Way::Stdio] {
        let said = drive(&gateway, way, python.to_str().unwrap(), "modern.py").await;
        assert_eq!(said["protocol"], "2026-07-28", "{said}");
        assert_eq!(said["cache_scope"], "private", "{said}");
        judge(&said);
    }
}

#[tokio::test]
async fn the_typescript_client_of_the_old_era_lists_and_calls() {
    let company = Company::new();
    let gateway = company.serve();
    for way in [Way::Http, Way::Stdio] {
        let said = drive(&gateway, way, "node", "legacy.mjs").await;
        assert_eq!(said["protocol"], "2025-11-25", "{said}");
        judge(&said);
    }
}
