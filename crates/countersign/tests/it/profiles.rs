//! What `init --profile` writes holds the same seven controls, whatever the organisation: each is tried
//! against the gateway that serves it. What differs is who decides, and what they may see.

use crate::gateway::{Company, Gateway};
use crate::review::run_again;
use serde_json::{Value, json};

/// Open orders of `ann`.
const ORDERS: [&str; 3] = ["ord_0015", "ord_0036", "ord_0057"];

async fn token(gateway: &Gateway, tenant: &str) -> String {
    let session = format!("of {tenant}");
    gateway
        .person(json!({"agent": "shop-assistant", "tenant": tenant, "user": tenant, "session": session}))
        .await
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"]
        .as_str()
        .unwrap_or_else(|| answer["status"].as_str().unwrap_or_default())
}

fn status(company: &Company, order: &str) -> String {
    let shop = rusqlite::Connection::open(company.path().join("data/shop.db")).unwrap();
    shop.query_row("select status from orders where id = ?1", [order], |row| row.get(0)).unwrap()
}

/// Tries all seven. `may` are people who may agree to a cancellation of ann's, `may_not` others.
async fn holds(profile: &str, may: Value, may_not: &[Value]) {
    let company = Company::of_profile(profile);
    // A tool that is there and that nobody was granted.
    company.edit("posture/tools/list_orders.yaml", |text| text + "\n");
    let other =
        std::fs::read_to_string(company.path().join("posture/tools/list_orders.yaml")).unwrap();
    let other = other
        .replace("tool: list_orders", "tool: read_archive")
        .replace("The latest orders", "Old orders");
    std::fs::write(company.path().join("posture/tools/read_archive.yaml"), other).unwrap();
    let gateway = company.serve();
    let ann = token(&gateway, "ann").await;
    least_privilege(&gateway, &ann).await;
    tenant_scope(&company, &gateway, &ann).await;
    strict_input(&gateway, &ann).await;
    ladder(&company, &gateway, &ann, (may, may_not)).await;
    errors(&company, &gateway, &ann).await;
    limits(&gateway).await;
    gateway.stop();
    audit(&company);
}

async fn least_privilege(gateway: &Gateway, ann: &str) {
    let listed = gateway.http.get(format!("{}/v1/tools", gateway.url)).bearer_auth(ann);
    let listed: Value = listed.send().await.unwrap().json().await.unwrap();
    let names =
        listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["cancel_order", "check_draft", "list_orders"]);
    for tool in ["read_archive", "no_such_tool"] {
        assert_eq!(code(&gateway.call(ann, tool, json!({"count": 3})).await), "unknown_tool");
    }
    let allowed = gateway.call(ann, "list_orders", json!({"count": 3})).await;
    assert_eq!(code(&allowed), "completed", "{allowed}");
}

async fn tenant_scope(company: &Company, gateway: &Gateway, ann: &str) {
    let own = gateway.call(ann, "list_orders", json!({"count": 50})).await;
    let rows = own["result"]["rows"].as_array().unwrap_or_else(|| panic!("{own}"));
    assert_eq!(rows.len(), 20);
    let shop = rusqlite::Connection::open(company.path().join("data/shop.db")).unwrap();
    for row in rows {
        let whose = "select customer from orders where id = ?1";
        let whose: String =
            shop.query_row(whose, [row["id"].as_str().unwrap()], |row| row.get(0)).unwrap();
        assert_eq!(whose, "ann");
    }
    // Another's order and one that there is not read alike.
    for order in ["ord_0001", "ord_9999"] {
        let answer = gateway.call(ann, "cancel_order", json!({"order": order})).await;
        assert_eq!(code(&answer), "out_of_scope", "{answer}");
    }
    assert_eq!(status(company, "ord_0001"), "open");
}

async fn strict_input(gateway: &Gateway, ann: &str) {
    for arguments in [
        json!({"count": 51}),
        json!({"count": "5"}),
        json!({}),
        json!({"count": 5, "customer": "bob"}),
        json!({"count": 5, "tenant": "bob"}),
        json!({"count": 5, "status": "open' or 1 = 1"}),
    ] {
        let answer = gateway.call(ann, "list_orders", arguments.clone()).await;
        assert_eq!(code(&answer), "invalid_arguments", "{arguments}: {answer}");
    }
}

async fn ladder(
    company: &Company,
    gateway: &Gateway,
    ann: &str,
    (may, may_not): (Value, &[Value]),
) {
    let answer = gateway.call(ann, "cancel_order", json!({"order": ORDERS[0]})).await;
    assert_eq!(code(&answer), "approval_required", "{answer}");
    let draft = answer["error"]["reference"].as_str().unwrap();
    nobody_else(gateway, draft, ann, (&may, may_not)).await;
    assert_eq!(status(company, ORDERS[0]), "open");
    let token = gateway.person(may).await;
    assert_eq!(gateway.decided(&token, draft, "approve").await, (200, String::new()));
    assert_eq!(gateway.settled(&token, draft).await["state"], "executed");
    assert_eq!(status(company, ORDERS[0]), "cancelled");
    assert_eq!(status(company, ORDERS[1]), "open");
}

/// Neither by others, nor by the agent's own person, nor by the agent.
async fn nobody_else(
    gateway: &Gateway,
    draft: &str,
    ann: &str,
    (may, may_not): (&Value, &[Value]),
) {
    let own = json!({"person": "ann", "groups": may["groups"], "tenants": ["ann"]});
    for person in may_not.iter().chain([&own]) {
        let token = gateway.person(person.clone()).await;
        let (refused, _) = gateway.decided(&token, draft, "approve").await;
        assert!(matches!(refused, 403 | 404), "{person}: {refused}");
    }
    assert_eq!(gateway.decided(ann, draft, "approve").await.0, 401);
}

async fn errors(company: &Company, gateway: &Gateway, ann: &str) {
    let (there, away) = (company.path().join("data/shop.db"), company.path().join("data/away.db"));
    std::fs::rename(&there, &away).unwrap();
    let mut answer = gateway.call(ann, "list_orders", json!({"count": 7})).await;
    std::fs::rename(&away, &there).unwrap();
    assert!(code(&answer).starts_with("system_"), "{answer}");
    for key in ["message", "next"] {
        let said = answer["error"][key].take();
        let said = said.as_str().unwrap_or_else(|| panic!("{key}: {answer}"));
        assert!(said.len() > 10 && !said.contains("shop.db") && !said.contains('/'), "{said}");
    }
    let again = gateway.call(ann, "list_orders", json!({"count": 8})).await;
    assert_eq!(code(&again), "completed", "{again}");
}

/// The same call over and over is a loop, and ends; another tenant's calls go on.
async fn limits(gateway: &Gateway) {
    let bob = token(gateway, "bob").await;
    let mut told = Vec::new();
    for _ in 0..6 {
        told.push(code(&gateway.call(&bob, "list_orders", json!({"count": 2})).await).to_owned());
    }
    // A minute of the clock may begin among them, once.
    if told.iter().all(|code| code == "completed") {
        for _ in 0..5 {
            told.push(
                code(&gateway.call(&bob, "list_orders", json!({"count": 2})).await).to_owned(),
            );
        }
    }
    assert_eq!(told.last().unwrap(), "rate_limited", "{told:?}");
    let eve = token(gateway, "eve").await;
    assert_eq!(code(&gateway.call(&eve, "list_orders", json!({"count": 2})).await), "completed");
}

/// Every call is on record, in a chain that holds, and a record that was changed is found.
fn audit(company: &Company) {
    company.says(&["audit", "verify", "."]);
    let records = company.records(&[], 1);
    let of = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!(of("intent"), of("outcome"));
    assert!(of("intent") >= 9, "{}", of("intent"));
    for refused in
        ["unknown_tool", "out_of_scope", "invalid_arguments", "approval_required", "rate_limited"]
    {
        let found = records.iter().any(|record| record["code"] == refused);
        let drafted = refused == "approval_required" && of("draft_proposed") == 1;
        assert!(found || drafted, "{refused}");
    }
    let decided = records.iter().filter(|record| record["kind"] == "draft_approved").count();
    assert_eq!(decided, 1);
    let journal = rusqlite::Connection::open(company.path().join("state/journal.db")).unwrap();
    let change =
        r#"update entries set header = replace(header, '"tenant":"ann"', '"tenant":"eve"')"#;
    assert!(journal.execute(change, []).is_err(), "not as long as its own rules stand");
    journal.execute("drop trigger entries_keep", []).unwrap();
    assert!(journal.execute(change, []).unwrap() > 0);
    assert_eq!(company.run(&["audit", "verify", "."]).status.code(), Some(1));
}

fn person(name: &str, group: &str, tenants: &[&str]) -> Value {
    json!({"person": name, "groups": [group], "tenants": tenants})
}

#[tokio::test]
async fn micro_holds_all_seven_and_the_owner_decides() {
    let not =
        [person("lea@example.com", "shop-leads", &[]), person("mo@example.com", "owners", &[])];
    holds("micro", person("owner@example.com", "owners", &[]), &not).await;
}

#[tokio::test]
async fn sme_holds_all_seven_and_a_lead_decides() {
    let not =
        [person("sec@example.com", "security", &[]), person("op@example.com", "operators", &[])];
    holds("sme", person("lea@example.com", "shop-leads", &[]), &not).await;
}

#[tokio::test]
async fn agency_holds_all_seven_and_a_clients_own_people_decide_about_their_own() {
    let not = [
        person("bo@bob.example", "client-leads", &["bob"]),
        person("lea@ann.example", "client-leads", &[]),
        person("acc@example.com", "account-leads", &["ann"]),
    ];
    holds("agency", person("lea@ann.example", "client-leads", &["ann"]), &not).await;
}

#[tokio::test]
async fn mid_market_holds_all_seven_and_who_is_named_decides() {
    let not = [
        person("eli@example.com", "shop-leads", &[]),
        person("sec@example.com", "security", &[]),
        person("kim@example.com", "shop-leads", &[]),
    ];
    holds("mid-market", person("lea@example.com", "shop-leads", &[]), &not).await;
}

#[test]
fn every_profile_passes_check_and_its_own_cases() {
    for profile in ["micro", "sme", "agency", "mid-market"] {
        let company = Company::of_profile(profile);
        let check = company.says(&["check", "--here", "--format", "json", "."]);
        let told: Value = serde_json::from_str(&check).unwrap();
        assert_eq!(told["findings"], json!([]), "{profile}");
        assert_eq!(told["summary"]["profile"], profile);
        let ran = company.says(&["eval", "run", "."]);
        assert!(ran.contains(" 0 failed"), "{profile}: {ran}");
    }
}

/// Everything that a posture or deployment says, otherwise.
fn everywhere(company: &Company, from: &str, to: &str) {
    let mut folders = vec![company.path().join("posture")];
    let mut files = vec![company.path().join("countersign.yaml")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(from, to)).unwrap();
    }
}

/// The mid-market profile as its people take it to production: their own names, vendor, issuer and keys, and
/// no write before it has run in staging.
fn to_production() -> Company {
    let company = Company::of_profile("mid-market");
    everywhere(&company, "example.com", "acme.example");
    everywhere(&company, "example-models", "meridian-models");
    everywhere(&company, "Example Models", "Meridian Models");
    let vendors = company.path().join("posture/vendors");
    let (made_up, own) = ("example-models.yaml", "meridian-models.yaml");
    std::fs::rename(vendors.join(made_up), vendors.join(own)).unwrap();
    company.edit("posture/agents/shop-assistant.yaml", |text| {
        text.replace("    # reviewed", "    reviewed")
            .replace("- tool: cancel_order\n", "- tool: cancel_order\n    stage: staging\n")
    });
    // The block of comments becomes what it shows.
    company.edit("countersign.yaml", |text| {
        let (before, rest) = text.split_once("# sign_off:").unwrap();
        let (signs, after) = rest.split_once("\n\n").unwrap();
        format!("{before}sign_off:{}\n\n{after}", signs.replace("\n# ", "\n"))
    });
    for who in REVIEWERS {
        let key = company.made_up_key(who);
        let line = |key: &str| format!("name: {who}@acme.example, roles: [{who}], key: \"{key}\"");
        company.edit("countersign.yaml", |text| text.replace(&line("ssh-ed25519 …"), &line(&key)));
    }
    company.issued();
    company
}

const REVIEWERS: [&str; 3] = ["security", "compliance", "owner"];

#[test]
fn mid_market_goes_from_its_profile_to_what_its_people_signed_and_its_package_says_what_commands_say()
 {
    let company = to_production();
    company.says(&["eval", "generate", "."]);
    let lock = ["posture", "lock", ".", "--change", "https://git.acme.example/pull/1"];
    let missing = company.run(&lock);
    let said = String::from_utf8(missing.stdout).unwrap();
    assert_eq!(missing.status.code(), Some(1), "{said}");
    for of in ["prove", "eval", "mutate"] {
        assert!(said.contains(&format!("`evidence/{of}.json` is not there")), "{said}");
    }
    company.says(&[&lock[..], &["--gather"]].concat());
    for who in REVIEWERS {
        company.says(&["posture", "sign", ".", "--key", &format!("made-up-keys/{who}")]);
    }
    let told = company.says(&["check", "--here", "."]);
    for who in REVIEWERS {
        assert!(told.contains(&format!("signed as `{who}` by {who}@acme.example")), "{told}");
    }
    company.serve().stop();

    // What the package says of proofs and mutants is what their commands say now.
    let package = company.says(&["review", ".", "--format", "json", "--as-of", "2026-11-26"]);
    let package: Value = serde_json::from_str(&package).unwrap();
    let said = run_again(&company, &package);
    // Two runs that go alike write the same bytes.
    for (begins, name) in
        [("posture prove", "prove"), ("eval run", "eval"), ("eval mutate", "mutate")]
    {
        let kept = company.path().join(format!("posture/evidence/{name}.json"));
        let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
        let again = said.iter().find(|(command, _)| command.starts_with(begins));
        assert_eq!(Some(&kept), again.map(|(_, said)| said), "{name}");
    }
}
