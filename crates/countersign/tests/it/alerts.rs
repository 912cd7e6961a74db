//! Alerts of the real gateway: on record once, whenever it is killed.

use crate::gateway::{Company, Who};
use crate::load::Dice;
use serde_json::{Value, json};
use std::time::Duration;

fn alerts(company: &Company, enough: usize) -> Vec<Value> {
    company.records(&["--kind", "alert"], enough)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_probes_is_told_of_once_through_kills_at_random() {
    let company = Company::new();
    let mut dice = Dice(20_261_127);
    for life in 0..12 {
        let gateway = company.serve();
        // Repeats of one session are gathered for a minute, and a kill loses them.
        let mut token = String::new();
        for session in ["a", "b", "c", "d"] {
            let who = Who { agent: "support-copilot", tenant: "acct_alpha", session, depots: &[] };
            token = gateway.token(who).await;
            let answer = gateway.call(&token, &format!("drop_table_{life}"), json!({})).await;
            assert_eq!(answer["error"]["code"], "unknown_tool");
        }
        let usage = json!({ "account_id": "acct_bravo", "days": 1 + life });
        assert_eq!(
            gateway.call(&token, "get_account_usage", usage).await["error"]["code"],
            "out_of_scope"
        );
        tokio::time::sleep(Duration::from_millis(1_000 + dice.roll(1_500))).await;
        gateway.kill();
    }
    let gateway = company.serve();
    let found = alerts(&company, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(alerts(&company, 2), found, "and none after it");
    let rules: Vec<&str> = found.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert_eq!(rules, ["unknown_tool", "out_of_scope"], "{found:?}");
    for alert in &found {
        assert_eq!(
            (&alert["agent"], &alert["tenant"]),
            (&json!("support-copilot"), &json!("acct_alpha"))
        );
        assert_eq!(alert["bodies"], json!({}));
    }
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn a_rule_goes_by_what_the_deployment_says() {
    let company = Company::new();
    company.edit("countersign.yaml", |text| {
        format!("{text}alerts:\n  out_of_scope: {{ threshold: 1 }}\n  unknown_tool: {{ enabled: false }}\n")
    });
    let gateway = company.serve();
    let who = Who { agent: "support-copilot", tenant: "acct_alpha", session: "p", depots: &[] };
    let token = gateway.token(who).await;
    for tool in 0..40 {
        gateway.call(&token, &format!("tool_{tool}"), json!({})).await;
    }
    gateway
        .call(&token, "get_account_usage", json!({ "account_id": "acct_bravo", "days": 1 }))
        .await;
    let found = alerts(&company, 1);
    assert_eq!(
        (found.len(), &found[0]["alert"], &found[0]["count"]),
        (1, &json!("out_of_scope"), &json!(1))
    );
    gateway.stop();
}
