//! Somebody stands in for an approver who is away, over the real doors: what it takes, what is left of
//! it after a crash, and what the journal says.

use crate::gateway::{Company, Gateway};
use crate::people::{PAID, WHO, command, in_s, now_s, ready};
use reqwest::StatusCode;
use serde_json::{Value, json};

const KIM: &str = "kim@acme.example";

async fn somebody(gateway: &Gateway, address: &str, groups: &[&str]) -> String {
    gateway.person(json!({"person": address, "groups": groups, "tenants": ["acct_alpha"]})).await
}

async fn lets(gateway: &Gateway, token: &str, to: &str, until: String) -> (u16, Value) {
    let body = json!({"to": to, "until": until});
    let (status, answer) = gateway.done(token, "delegations", body).await;
    (status.as_u16(), answer["code"].clone())
}

async fn drafted(gateway: &Gateway, invoice: &str) -> String {
    gateway.drafted(&gateway.token(WHO).await, invoice).await
}

#[tokio::test]
async fn whoever_stands_in_decides_also_after_a_crash_and_the_journal_says_for_whom() {
    let company = ready();
    let gateway = company.serve();
    let draft = drafted(&gateway, PAID[0]).await;
    let path = format!("drafts/{draft}");
    let (sam, kim) = (gateway.sam().await, somebody(&gateway, KIM, &[]).await);
    assert_eq!(gateway.seen(&kim, &path).await.0, StatusCode::NOT_FOUND);
    let (_, before) = gateway.seen(&sam, "delegations").await;
    assert_eq!(before, json!({"delegations": [], "stand_ins": [KIM]}));
    assert_eq!(lets(&gateway, &sam, KIM, in_s(86_400)).await, (200, Value::Null));
    let (_, seen) = gateway.seen(&kim, &path).await;
    assert_eq!(seen["could_approve"], true, "{seen}");
    assert_eq!(seen["standing_in"][0]["who"], KIM, "{seen}");
    assert_eq!(seen["standing_in"][0]["in_stead_of"]["address"], "sam@acme.example", "{seen}");
    assert_eq!(gateway.seen(&kim, "drafts").await.1["drafts"][0]["id"], json!(draft));
    gateway.kill();

    let gateway = company.serve();
    let kim = somebody(&gateway, KIM, &[]).await;
    let (_, away) = gateway.seen(&kim, "delegations").await;
    assert_eq!(away["delegations"][0]["in_stead_of"]["address"], "sam@acme.example", "{away}");
    // It takes of her what it takes of him: a sign-in of a moment ago.
    let stale = json!({"person": KIM, "tenants": ["acct_alpha"], "auth_time": now_s() - 301});
    let stale = gateway.person(stale).await;
    assert_eq!(gateway.decided(&stale, &draft, "approve").await, (401, "stale_sign_in".to_owned()));
    assert_eq!(gateway.decided(&kim, &draft, "approve").await, (200, String::new()));
    let after = gateway.settled(&kim, &draft).await;
    assert_eq!(after["state"], "executed", "{after}");
    assert_eq!(after["decided"]["by"]["address"], KIM, "{after}");
    assert_eq!(after["decided"]["in_stead_of"]["address"], "sam@acme.example", "{after}");
    assert_eq!(company.refunds(), 1);

    // Once he is back nobody stands in for him.
    let sam = gateway.sam().await;
    let other = drafted(&gateway, PAID[1]).await;
    assert_eq!(gateway.done(&sam, "delegations/end", json!({})).await.0, StatusCode::OK);
    assert_eq!(gateway.decided(&kim, &other, "approve").await, (404, "not_found".to_owned()));
    assert_eq!(gateway.decided(&sam, &other, "approve").await, (200, String::new()));
    gateway.stop();
    let one = |kind: &str| company.records(&["--kind", kind], 1).remove(0);
    let (begun, ended) = (one("delegated"), one("delegation_ended"));
    assert_eq!(begun["delegation"], ended["delegation"]);
    let approved = company.records(&["--kind", "draft_approved"], 2);
    let stood = approved.iter().find(|record| record["draft"] == json!(draft)).unwrap();
    assert_eq!(stood["delegation"], begun["delegation"]);
    assert!(stood.to_string().contains("in_stead_of") && stood.to_string().contains("sam@acme"));
    let own = approved.iter().find(|record| record["draft"] == json!(other)).unwrap();
    assert!(own.get("delegation").is_none(), "{own}");
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn nobody_lets_in_whom_no_gate_names_nor_for_whom_they_do_not_decide() {
    let company = ready();
    let gateway = company.serve();
    let sam = gateway.sam().await;
    let since = json!({"person": "sam@acme.example", "auth_time": now_s() - 301});
    let stale = gateway.person(since).await;
    let eve = somebody(&gateway, "eve@acme.example", &["finance"]).await;
    let nameless = somebody(&gateway, "sam", &["finance"]).await;
    let agent = gateway.token(WHO).await;
    let tomorrow = || in_s(86_400);
    for (token, to, until, status, code) in [
        (&eve, KIM, tomorrow(), 403, "not_entitled"),
        (&nameless, KIM, tomorrow(), 403, "not_entitled"),
        (&sam, "eve@acme.example", tomorrow(), 403, "not_entitled"),
        (&sam, "lee@acme.example", tomorrow(), 403, "not_entitled"),
        (&stale, KIM, tomorrow(), 401, "stale_sign_in"),
        (&sam, KIM, in_s(31 * 86_400), 400, "bad_until"),
        (&sam, KIM, "2026-01-01T00:00:00Z".to_owned(), 400, "bad_until"),
        (&sam, KIM, "for ever".to_owned(), 400, "malformed_request"),
        (&agent, KIM, tomorrow(), 401, "unauthenticated"),
    ] {
        let answer = lets(&gateway, token, to, until.clone()).await;
        assert_eq!(answer, (status, json!(code)), "{to} {until}");
    }
    assert_eq!(gateway.seen(&sam, "delegations").await.1["delegations"], json!([]));
    assert_eq!(lets(&gateway, &sam, KIM, tomorrow()).await, (200, Value::Null));
    // An agent's token is nobody's who could stand in, whatever it says.
    let draft = drafted(&gateway, PAID[0]).await;
    let acts_for = json!({"agent": WHO.agent, "tenant": WHO.tenant, "user": KIM, "address": KIM});
    let agent = gateway.person(acts_for).await;
    assert_eq!(gateway.decided(&agent, &draft, "approve").await.0, 401);
    // What was asked for on behalf of the one who is away is not decided in their stead.
    let of_sam = json!({"agent": WHO.agent, "tenant": WHO.tenant, "user": "sam@acme.example"});
    let own = gateway.drafted(&gateway.person(of_sam).await, PAID[1]).await;
    let kim = somebody(&gateway, KIM, &[]).await;
    assert_eq!(gateway.decided(&kim, &own, "approve").await, (404, "not_found".to_owned()));
    assert_eq!(gateway.decided(&kim, &draft, "approve").await, (200, String::new()));
    // Another ends it as an operator, and nobody else does.
    let (_, away) = gateway.seen(&sam, "delegations").await;
    let id = json!({"delegation": away["delegations"][0]["delegation"]});
    let oli = gateway.operator("oli").await;
    let (status, _) = gateway.done(&eve, "delegations/end", id.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = gateway.done(&kim, "delegations/end", id.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(gateway.done(&oli, "delegations/end", id.clone()).await.0, StatusCode::OK);
    assert_eq!(gateway.done(&oli, "delegations/end", id).await.0, StatusCode::NOT_FOUND);
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

/// What a command says, and that it ends so.
fn says(company: &Company, gateway: &Gateway, code: i32, arguments: &[&str]) -> String {
    let output = command(company, gateway, arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    let noted = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}{noted}");
    format!("{said}{noted}")
}

#[tokio::test]
async fn the_commands_let_somebody_stand_in_say_so_and_end_it() {
    let company = ready();
    let gateway = company.serve();
    let draft = drafted(&gateway, PAID[0]).await;
    let says = |code, arguments: &[&str]| says(&company, &gateway, code, arguments);
    says(0, &["login", "--person", "sam@acme.example", "--group", "finance"]);
    let told = says(0, &["drafts", "delegates"]);
    assert!(told.contains("nobody is away") && told.contains(KIM), "{told}");
    says(1, &["drafts", "return"]);
    let told = says(1, &["drafts", "delegate", "--to", "eve@acme.example", "--until", "5d"]);
    assert!(told.contains("not_entitled"), "{told}");
    let told = says(1, &["drafts", "delegate", "--to", KIM, "--until", "60d"]);
    assert!(told.contains("at most 30 days"), "{told}");
    says(2, &["drafts", "delegate", "--to", KIM, "--until", "some time"]);
    says(0, &["drafts", "delegate", "--to", KIM, "--until", "5d"]);
    let told = says(0, &["drafts", "delegates"]);
    assert!(told.contains("sam@acme.example") && told.contains("in 5 days"), "{told}");
    let told = says(0, &["drafts", "show", &draft]);
    assert!(told.contains("kim@acme.example in the stead of sam@acme.example"), "{told}");
    says(0, &["login", "--person", KIM, "--tenant", "acct_alpha"]);
    let told = says(0, &["drafts", "approve", &draft]);
    assert!(told.contains("by kim@acme.example in the stead of sam@acme.example"), "{told}");
    says(0, &["login", "--person", "sam@acme.example", "--group", "finance"]);
    says(0, &["drafts", "return"]);
    assert!(says(0, &["drafts", "delegates"]).contains("nobody is away"));
    gateway.stop();
}
