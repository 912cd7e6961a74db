//! `countersign posture replay`: recorded calls of a real gateway, decided again.

use crate::gateway::{Company, Who};
use serde_json::{Value, json};

const COPILOT: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "replay", depots: &[] };

fn replayed(company: &Company) -> (Value, Option<i32>) {
    let output = company.run(&["posture", "replay", ".", "--since", "1d", "--format", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    (serde_json::from_slice(&output.stdout).expect(&said), output.status.code())
}

#[tokio::test]
async fn calls_that_a_new_posture_refuses_are_found_in_the_journal() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    for days in [1, 60, 300] {
        let arguments = json!({ "account_id": "acct_alpha", "days": days });
        let answer = gateway.call(&token, "get_account_usage", arguments).await;
        assert_eq!(answer["status"], "completed");
    }
    let foreign = json!({ "account_id": "acct_bravo", "days": 1 });
    gateway.call(&token, "get_account_usage", foreign).await;
    let refund = json!({ "invoice_id": "inv_000001", "amount_cents": 100, "note": "late" });
    gateway.call(&token, "refund_invoice", refund).await;
    company.records(&["--kind", "refusal"], 1);
    gateway.stop();

    let (same, code) = replayed(&company);
    assert_eq!((&same["changed"], code), (&json!([]), Some(0)), "{same}");
    assert_eq!(
        (&same["same"], &same["not_judged"]),
        (&json!(4), &json!({ "the claims of tokens that it rests on are not kept": 1 }))
    );

    let before = company.statements();
    company.edit("posture/tools/get_account_usage.yaml", |text| {
        text.replace("maximum: 365", "maximum: 90")
    });
    let (told, code) = replayed(&company);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told["changed"].as_array().unwrap().len(), 1, "{told}");
    let change = &told["changed"][0];
    assert_eq!(
        (&change["agent"], &change["tool"]),
        (&json!("support-copilot"), &json!("get_account_usage"))
    );
    assert_eq!(
        (&change["was"], &change["would_be"]),
        (&json!("allowed"), &json!("refused as invalid_arguments"))
    );
    assert_eq!((&change["count"], &change["of"]), (&json!(1), &json!(4)));
    assert_eq!(company.statements(), before, "a replay has asked a system");
}
