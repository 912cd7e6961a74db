//! Hand-written policies through the real program: what they refuse, what they let pass, what is
//! wrong with them, and the examples of `docs/policies.md`.

use crate::gateway::{Company, Who};
use serde_json::{Value, json};
use std::fs;

const PAGE: &str = include_str!("../../../../docs/policies.md");

const COPILOT: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "s1", depots: &[] };

fn write(company: &Company, name: &str, text: &str) {
    let folder = company.path().join("posture/policies");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
}

#[tokio::test]
async fn a_forbidden_call_is_told_the_reason_and_touches_no_system_while_its_twin_succeeds() {
    let company = Company::new();
    write(
        &company,
        "usage.cedar",
        r#"@id("long-lookbacks") @reason("Ask for a month at most.")
        forbid (principal, action == Action::"get_account_usage", resource)
        when { context.input.days > 31 };
        @id("no-planner") forbid (principal, action in Action::"effect:read", resource)
        when { principal.agent == "dispatch-planner" && context.now > 1700000000 };"#,
    );
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let usage = |days: u32| json!({"account_id": "acct_alpha", "days": days});

    let answer = gateway.call(&token, "get_account_usage", usage(32)).await;
    assert_eq!(answer["status"], "refused", "{answer}");
    assert_eq!(answer["error"]["code"], "forbidden");
    assert_eq!(answer["error"]["message"], "Ask for a month at most.");
    assert_eq!(company.touched(), 0);
    let records = company.records(&["--call", answer["call"].as_str().unwrap()], 1);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["policies"], json!(["long-lookbacks"]));

    let answer = gateway.call(&token, "get_account_usage", usage(31)).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(company.touched(), 1);

    let planner = gateway.token(Who { agent: "dispatch-planner", ..COPILOT }).await;
    let shipment = || json!({"shipment_id": "shp_100001"});
    let answer = gateway.mcp_call(&planner, "get_shipment", shipment()).await;
    let told = &answer["result"]["structuredContent"];
    assert_eq!(told["code"], "forbidden", "{answer}");
    assert_eq!(told["message"], "Policy does not permit this call.");
    let answer = gateway.call(&token, "get_shipment", shipment()).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_at_a_call_refuses_it() {
    let company = Company::new();
    write(
        &company,
        "usage.cedar",
        r#"@id("overflowing") @reason("Never told.")
        forbid (principal, action == Action::"get_account_usage", resource)
        when { context.input.days * 100000000000000000 > 4000000000000000000 };"#,
    );
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let call = async |days: u32| {
        gateway
            .call(&token, "get_account_usage", json!({"account_id": "acct_alpha", "days": days}))
            .await
    };
    let answer = call(93).await;
    assert_eq!(answer["error"]["code"], "undecided", "{answer}");
    let explained = company.run(&[
        "explain",
        ".",
        "--agent",
        "support-copilot",
        "--tenant",
        "acct_alpha",
        "--user",
        "ann",
        "--tool",
        "get_account_usage",
        "--arguments",
        r#"{"account_id": "acct_alpha", "days": 93}"#,
    ]);
    let told = String::from_utf8(explained.stdout).unwrap();
    assert!(told.contains("not evaluated: `overflowing`"), "{told}");
    assert_eq!(company.touched(), 0);
    assert_eq!(call(92).await["error"]["code"], "forbidden");
    assert_eq!(call(40).await["status"], "completed");
}

/// What `check` says of the company: each finding on a line, with what it points at.
fn findings(company: &Company) -> Vec<String> {
    let output = company.run(&["check", ".", "--format", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = told["findings"].as_array().unwrap().iter();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = findings.map(|finding| {
        let place = format!("{}:{}:{}", text(finding, "file"), finding["line"], finding["column"]);
        let (code, message) = (text(finding, "code"), text(finding, "message"));
        format!("{place} {code}: {message} ({})", text(finding, "help"))
    });
    findings.collect()
}

#[test]
fn mistakes_in_policies_are_findings_like_any_others() {
    let company = Company::new();
    assert_eq!(findings(&company), [""; 0]);
    write(
        &company,
        "a.cedar",
        "// Nobody refunds at night.\n@id(\"by-day\")\nforbid (principal, action == Action::\"refund_invoce\", resource)\nunless { context.hour >= 8 };\n",
    );
    write(
        &company,
        "b.cedar",
        "@id(\"x\") forbid (principal, action, resource) when { context. };\n",
    );
    write(&company, "c.yaml", "policies: []\n");
    // Errors elsewhere in the posture hide none of them.
    assert_eq!(
        findings(&company),
        [
            "posture/policies/c.yaml:1:1 unexpected-file: `policies/c.yaml` is no part of a posture (a posture is `posture.yaml`, files NAME.yaml in `agents`, `tools`, `systems`, `vendors` and `evals`, NAME.json in `pins`, and NAME.cedar in `policies`)",
            "posture/policies/a.cedar:3:38 policy-name: no agent is granted a tool `refund_invoce` (did you mean `refund_invoice`?)",
            "posture/policies/b.cedar:1:63 policy-syntax: unexpected token `}` (expected identifier)",
        ]
    );
    fs::remove_file(company.path().join("posture/policies/c.yaml")).unwrap();
    let found = findings(&company);
    assert_eq!(
        found[0],
        "posture/policies/a.cedar:3:38 policy-name: no agent is granted a tool `refund_invoce` (did you mean `refund_invoice`?)"
    );
    assert!(found[1].contains("policy-syntax"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(company.run(&["serve", "."]).status.code(), Some(1));
}

#[test]
fn of_what_has_a_mistake_itself_policies_are_told_nothing() {
    let company = Company::new();
    company.edit("posture/tools/refund_invoice.yaml", |text| text.replace("maximum:", "maximun:"));
    let codes = |company: &Company| {
        let found = findings(company);
        let words = found.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned());
        words.filter(|code| code.starts_with("policy")).collect::<Vec<_>>()
    };
    assert_eq!(codes(&company), [""; 0], "its own policies have nothing wrong");
    write(
        &company,
        "more.cedar",
        "@id(\"a\") forbid (principal, action == Action::\"read_ticket\", resource) when { context.input.nothing == 1 };
@id(\"b\") forbid (principal, action == Action::\"refund_invoice\", resource) when { context.input.nothing == 1 };
@id(\"c\") forbid (principal, action == Action::\"read_ticket\", resource) when { context.hour == 25 };
@id(\"d\") forbid (principal, action, resource) when { context.hour == 25 };
",
    );
    assert_eq!(codes(&company), ["policy-type:", "policy-never:"]);
    company.edit("posture/agents/support-copilot.yaml", |text| format!("{text}nope: 1\n"));
    assert_eq!(codes(&company), [""; 0], "nor what it is granted");
}

#[tokio::test]
async fn a_broken_policy_is_not_put_in_force_and_the_finding_names_whom_to_ask() {
    let company = Company::new();
    let gateway = company.serve();
    company.edit("posture/policies/refunds.cedar", |text| text.replace("amount_cents", "amount"));
    gateway.signal("-HUP");
    let said = gateway.says("a posture is refused");
    for part in [
        "1 errors: policies/refunds.cedar:6:8: error[policy-type]: attribute `input.amount`",
        "the file's owner: customer-operations, custops-oncall@acme.example",
    ] {
        assert!(said.contains(part), "`{part}` is missing in: {said}");
    }
    assert!(!said.contains("dispatch"), "the planner has no such tool: {said}");
    let token = gateway.token(COPILOT).await;
    let large = json!({"invoice_id": "inv_500004", "amount_cents": 20_001, "note": "n"});
    let answer = gateway.call(&token, "refund_invoice", large).await;
    assert_eq!(answer["error"]["code"], "forbidden", "the old one goes on: {answer}");
}

#[test]
fn a_changed_policy_is_another_posture_under_which_no_decision_stands() {
    let company = Company::new();
    let digests = |company: &Company| {
        let said = company.says(&["check", ".", "--format", "json"]);
        serde_json::from_str::<Value>(&said).unwrap()["summary"]["posture"].clone()
    };
    let before = digests(&company);
    company.edit("posture/policies/refunds.cedar", |text| text.replace("20000", "20001"));
    assert_ne!(digests(&company), before);
}

#[test]
fn the_schema_is_printed_though_the_policies_are_broken_and_a_tools_policies_once_they_are_not() {
    let company = Company::new();
    write(&company, "broken.cedar", "forbid");
    let schema = company.says(&["policy", "schema", "."]);
    assert!(schema.contains("\"groups\": Set<String>"), "{schema}");
    assert!(
        schema.contains("action \"refund_invoice\" in [\"effect:write\", \"effect:irreversible\"]")
    );
    assert_eq!(company.run(&["policy", "show", "refund_invoice", "."]).status.code(), Some(1));
    fs::remove_file(company.path().join("posture/policies/broken.cedar")).unwrap();
    let shown = company.says(&["policy", "show", "refund_invoice", "."]);
    for id in ["refund_invoice.grant", "refund_invoice.gate", "large-refunds"] {
        assert!(shown.contains(&format!("@id(\"{id}\")")), "{shown}");
    }
    assert!(shown.contains("// policies/refunds.cedar\n"), "{shown}");
    let other = company.says(&["policy", "show", "read_ticket", "."]);
    assert!(!other.contains("large-refunds"), "{other}");
    let unknown = company.run(&["policy", "show", "refund_invoce", "."]);
    assert_eq!(unknown.status.code(), Some(2));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(told.contains("there is no tool `refund_invoce`"), "{told}");
    assert!(told.contains("did you mean `refund_invoice`?"), "{told}");
}

/// The examples of the page: each policy with the rows of the table that follows it.
fn examples() -> Vec<(&'static str, Vec<Vec<&'static str>>)> {
    let mut examples = Vec::new();
    for part in PAGE.split("```cedar\n").skip(1) {
        let (policy, rest) = part.split_once("```").unwrap();
        let rows = rest.lines().skip_while(|line| line.is_empty()).take_while(|l| !l.is_empty());
        let rows: Vec<Vec<&str>> = rows
            .filter(|line| line.starts_with("| 20"))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        examples.push((policy, rows));
    }
    examples
}

#[test]
fn every_example_of_the_page_decides_as_its_table_says() {
    let examples = examples();
    assert_eq!(examples.len(), 6);
    for (policy, rows) in examples {
        let company = Company::new();
        fs::remove_file(company.path().join("posture/policies/refunds.cedar")).unwrap();
        write(&company, "example.cedar", policy);
        company.says(&["check", "."]);
        let tried = rows.len();
        assert!(tried >= 3 || tried == 0, "{policy}: {rows:?}");
        for row in rows {
            let [at, user, claim, tool, arguments, becomes] = row[..] else { panic!("{row:?}") };
            let mut call = vec![
                "explain",
                ".",
                "--agent",
                "support-copilot",
                "--tenant",
                "acct_alpha",
                "--user",
                user,
                "--tool",
                tool,
                "--arguments",
                arguments,
                "--at",
                at,
                "--format",
                "json",
            ];
            if !claim.is_empty() {
                call.extend(["--claim", claim]);
            }
            let output = company.run(&call);
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            let code = told["decided"]["refusal"]["code"].as_str().unwrap_or("allowed");
            assert_eq!(code, becomes, "{policy} {row:?}");
            if becomes == "forbidden" {
                let reason = told["decided"]["refusal"]["message"].as_str().unwrap();
                assert!(policy.contains(&format!("@reason(\"{reason}\")")), "{reason}");
            }
        }
    }
}
