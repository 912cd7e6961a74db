//! Who may have which data, by whose decision: what `serve` refuses, what a gateway that runs refuses,
//! and what the commands say.

use crate::gateway::{Company, Who};
use crate::people::in_s;
use serde_json::{Value, json};

const VENDOR: &str = "posture/vendors/meridian-models.yaml";

fn ended(company: &Company) {
    company.edit(VENDOR, |text| text.replace("review_by: 2099-12-31", "review_by: 2026-11-20"));
}

fn in_production(company: &Company) {
    company.edit("countersign.yaml", |text| {
        text.replace("environment: development", "environment: production").replace(
            "development_issuer: true",
            "issuers: [{ issuer: 'https://login.acme.example', keys: keys.json, algorithms: [EdDSA] }]",
        )
    });
    company.for_production();
}

/// The codes of what keeps a posture from being used.
fn errors(company: &Company) -> Vec<String> {
    let check = company.run(&["check", ".", "--format", "json"]);
    let told: Value = serde_json::from_slice(&check.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap().iter();
    let errors = findings.filter(|finding| finding["severity"] == "error");
    errors.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_agent_whose_vendor_was_not_reviewed_in_time_is_suspended_in_a_gateway_that_runs() {
    let company = Company::new();
    ended(&company);
    let gateway = company.serve();
    let said = gateway.says("what rests on it is suspended");
    assert!(said.contains("ERROR") && said.contains("meridian-models"), "{said}");
    let who =
        Who { agent: "support-copilot", tenant: "acct_bravo", session: "1", depots: &["HAM"] };
    let token = gateway.token(who).await;
    let arguments = json!({"account_id": "acct_bravo", "days": 2});
    let answer = gateway.call(&token, "get_account_usage", arguments.clone()).await;
    assert_eq!(answer["error"]["code"], "suspended", "{answer}");
    assert!(answer.to_string().contains("reviewed again"), "{answer}");
    assert_eq!(company.touched(), 0);
    let records = company.records(&["--kind", "refusal"], 1);
    assert_eq!(records[0]["code"], "suspended", "{records:?}");
    let detail = records[0].to_string();
    assert!(detail.contains("meridian-models") && detail.contains("2026-11-20"), "{detail}");
    let explained = company.run(&[
        "explain",
        ".",
        "--agent",
        "support-copilot",
        "--tenant",
        "acct_bravo",
        "--user",
        "ann",
        "--tool",
        "get_account_usage",
        "--arguments",
        &arguments.to_string(),
    ]);
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("`review_by`"), "{explained}");
    gateway.stop();
    // Where the posture says so, it is only said.
    company
        .edit("posture/posture.yaml", |text| text.replace("on_expiry: suspend", "on_expiry: warn"));
    let gateway = company.serve();
    let token = gateway.token(who).await;
    let answer = gateway.call(&token, "get_account_usage", arguments).await;
    assert_eq!(answer["status"], "completed", "{answer}");
}

#[test]
fn a_gateway_that_runs_says_ahead_what_will_be_suspended() {
    let company = Company::new();
    let soon = in_s(10 * 86_400);
    let review_by = format!("review_by: {}", soon.split_once('T').unwrap().0);
    company.edit(VENDOR, |text| text.replace("review_by: 2099-12-31", &review_by));
    let said = company.serve().says("what rests on it will be suspended");
    assert!(said.contains("WARN") && said.contains("meridian-models"), "{said}");
}

#[test]
fn production_does_not_start_with_a_vendor_whom_nobody_decided_about_in_time() {
    let company = Company::new();
    std::fs::write(company.path().join("keys.json"), "{\"keys\":[]}").unwrap();
    in_production(&company);
    // Nothing that has to do with vendors.
    let before = errors(&company);
    assert!(before.is_empty(), "{before:?}");
    let record = std::fs::read_to_string(company.path().join(VENDOR)).unwrap();
    for (from, to, code) in [
        ("review_by: 2099-12-31", "review_by: 2026-11-20", "ended-review"),
        ("  decision: approve\n", "", "vendor-decision"),
        ("decision: approve", "decision: reject", "vendor-decision"),
        (
            "classes: [public, internal, confidential]",
            "classes: [public, internal]",
            "vendor-decision",
        ),
    ] {
        company.edit(VENDOR, |text| text.replace(from, to));
        let told = errors(&company);
        assert!(!told.is_empty() && told.iter().all(|found| found == code), "{to}: {told:?}");
        let served = company.run(&["serve", "."]);
        assert_eq!(served.status.code(), Some(1), "{to}");
        assert!(String::from_utf8_lossy(&served.stdout).contains(code), "{to}");
        std::fs::write(company.path().join(VENDOR), &record).unwrap();
    }
    company.edit("posture/agents/dispatch-planner.yaml", |text| {
        text.replace("vendor: meridian-models\n", "")
    });
    assert_eq!(errors(&company), ["no-vendor"]);
}

#[test]
fn a_new_record_decides_nothing_and_takes_the_place_of_none() {
    let company = Company::empty();
    for (name, from) in [
        ("anthropic-api", Some("anthropic-api")),
        ("openai-api", Some("openai-api")),
        ("own", None),
    ] {
        let mut arguments = vec!["vendor", "new", name, "."];
        arguments.extend(from.iter().flat_map(|from| ["--from", from]));
        assert!(company.says(&arguments).ends_with("countersign vendor check .\n"));
        let path = company.path().join(format!("posture/vendors/{name}.yaml"));
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written.contains("TO BE VERIFIED BY YOU"), from.is_some());
        let again = company.run(&arguments);
        assert_eq!(again.status.code(), Some(2), "{name} is there already");
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(said.contains("there is a record of"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
        company.edit("posture/agents/shop-assistant.yaml", |text| {
            let vendor = text.lines().find(|line| line.starts_with("vendor:")).unwrap().to_owned();
            text.replace(&vendor, &format!("vendor: {name}"))
        });
        company.says(&["check", "."]);
        let told = company.run(&["vendor", "check", ".", "--format", "json"]);
        assert_eq!(told.status.code(), Some(1));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(told["summary"]["covered"][0]["vendors"][0]["decision"], "open");
        assert_eq!(told["findings"][0]["code"], "vendor-decision");
        // Nor does writing `approve` into what nobody filled in.
        company.edit(&format!("posture/vendors/{name}.yaml"), |text| {
            text.replace("  # decision:", "  decision:").replace("  # approver:", "  approver:")
        });
        assert_eq!(company.run(&["check", "."]).status.code(), Some(1));
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(company.run(&["vendor", "new", "a/b", "."]).status.code(), Some(2));
    assert_eq!(company.run(&["vendor", "new", "x", "nowhere"]).status.code(), Some(2));
}

#[test]
fn who_is_covered_until_when_is_said_in_a_table_and_what_ends_ahead_of_it() {
    let company = Company::new();
    let said = company.says(&["vendor", "check", "."]);
    for row in
        ["support-copilot", "meridian-models: approve", "rolo-crm: conditional", "2099-12-31"]
    {
        assert!(said.contains(row), "{said}");
    }
    ended(&company);
    let told = company.run(&["vendor", "check", "."]);
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("ended-review"), "{told}");
    let row = told.lines().find(|line| line.contains("support-copilot")).unwrap();
    assert!(row.contains("not covered"), "{row}");
    let told = company.run(&["vendor", "check", ".", "--format", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["summary"]["covered"][0]["covered"], false, "{told:#}");
    let doctor = company.run(&["doctor", "."]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("review-due: the vendor `meridian-models`"), "{doctor}");
}
