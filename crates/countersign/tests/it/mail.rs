//! Messages through the real gateway, before a real SMTP server: what would reach anybody else, or say
//! what nobody reviewed, is refused with its reason, and nothing arrives.

use crate::gateway::{Company, Gateway, Who};
use crate::smtp::{Smtp, authority};
use countersign_connectors::MailEncryption;
use serde_json::{Value, json};
use std::fs;

const COPILOT: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "mail", depots: &[] };
const SYSTEM: &str = "posture/systems/mail.yaml";
const TOOL: &str = "posture/tools/send_customer_email.yaml";

const MAIL: &str = "system: mail
email:
  server: mail
  encryption: starttls
  auth: { basic: { user: mail-user, password: mail-password } }
  ca: mail-ca
  from: { address: support@acme.example }
  networks: [127.0.0.1/32]
timeout: 10s
rows: 1
bytes: 4KiB
";

/// A company whose mail server is this one, spoken to as in production.
fn company(smtp: &Smtp) -> Company {
    let company = Company::new();
    company.lift_limits();
    company.edit(TOOL, |text| text.replace("limits: { per_minute: 20, per_hour: 60 }\n", ""));
    fs::write(company.path().join(SYSTEM), MAIL).unwrap();
    fs::write(company.path().join("ca.pem"), authority()).unwrap();
    company.edit("countersign.yaml", |text| {
        let references = format!(
            "  mail: {{ value: \"localhost:{}\" }}\n  mail-user: {{ value: mailer }}\n  \
             mail-password: {{ file: mail.secret }}\n  mail-ca: {{ file: ca.pem }}\n",
            smtp.port
        );
        text.replace("  mail: { value: \"127.0.0.1:8725\" }\n", &references)
    });
    fs::write(company.path().join("mail.secret"), "made-up-password").unwrap();
    company
}

async fn refused(gateway: &Gateway, letter: &Value) -> (String, String) {
    let token = gateway.token(COPILOT).await;
    let answer = gateway.call(&token, "send_customer_email", letter.clone()).await;
    let code = answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{letter}: {answer}"));
    (code.to_owned(), answer["error"].to_string())
}

fn letter(to: &str) -> Value {
    json!({"to": to, "subject": "Your shipment", "message": "It is on its way."})
}

#[tokio::test]
async fn a_message_to_anybody_but_the_customers_own_people_is_refused_and_nothing_arrives() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    let company = company(&smtp);
    let gateway = company.serve();
    for (to, code, why) in [
        ("nora@alpha.example, eve@evil.example", "invalid_arguments", "more than one address"),
        ("nora@alpha.example\r\nRCPT TO:<eve@evil.example>", "invalid_arguments", "a line break"),
        ("Nora <eve@evil.example>", "invalid_arguments", "more than a bare address"),
        ("\"nora@alpha.example\" <eve@evil.example>", "invalid_arguments", "more than one address"),
        ("nora@alpha.example(eve@evil.example)", "invalid_arguments", "more than one address"),
        ("eve%evil.example@alpha.example", "invalid_arguments", "a way to go"),
        ("nora@alph\u{430}.example", "invalid_arguments", "several scripts"),
        ("nora@xn--alph-53d.example", "invalid_arguments", "several scripts"),
        ("nora@ａlpha.example", "invalid_arguments", "stand for others"),
        ("nora@alpha.example.", "invalid_arguments", "no domain name"),
        ("nora@[127.0.0.1]", "invalid_arguments", "more than a bare address"),
        ("nora@аӏрһа.example", "out_of_scope", "nora@alpha.example"),
        ("nora@mail.alpha.example", "out_of_scope", "nora@alpha.example"),
        ("nora@alpha.example.evil.example", "out_of_scope", "nora@alpha.example"),
        ("eve@alpha.example", "out_of_scope", "nora@alpha.example"),
        ("sofia@bravo.example", "out_of_scope", "nora@alpha.example"),
    ] {
        let (found, said) = refused(&gateway, &letter(to)).await;
        assert_eq!(found, code, "{to}: {said}");
        assert!(said.contains(why), "{to}: {said}");
        assert!(!said.contains("evil") && !said.contains("sofia"), "it repeats: {said}");
    }
    assert_eq!(smtp.log(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_subject_is_one_line_and_an_honest_message_waits_for_a_person() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    let company = company(&smtp);
    let gateway = company.serve();
    let honest = letter("nora@alpha.example");
    for subject in [
        "a\nBcc: eve@evil.example",
        "a\r\nBcc: eve@evil.example",
        "a\rb",
        "a\u{85}b",
        "a\u{2028}b",
        "",
    ] {
        let mut hostile = honest.clone();
        hostile["subject"] = json!(subject);
        let (code, said) = refused(&gateway, &hostile).await;
        assert_eq!(code, "invalid_arguments", "{subject:?}");
        assert!(said.contains("subject") && !said.contains("evil"), "{said}");
    }
    let (code, _) = refused(&gateway, &honest).await;
    assert_eq!(code, "approval_required");
    assert_eq!(smtp.log(), Vec::<Value>::new());
}

#[tokio::test]
async fn an_honest_message_is_sent_once_when_a_named_person_agrees() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    let company = company(&smtp);
    let gateway = company.serve();
    let agent = gateway.token(COPILOT).await;
    let letter = letter("nora@alpha.example");
    let send = async || {
        let answer = gateway.mcp_call(&agent, "send_customer_email", letter.clone()).await;
        answer["result"]["structuredContent"].clone()
    };
    let drafted = send().await;
    let draft = drafted["reference"].as_str().unwrap_or_else(|| panic!("{drafted}")).to_owned();
    let sam = gateway.sam().await;
    let stranger = json!({"person": "eve@acme.example", "groups": ["finance"]});
    let stranger = gateway.person(stranger).await;
    assert_eq!(gateway.decided(&stranger, &draft, "approve").await.0, 404);
    assert_eq!(smtp.log(), Vec::<Value>::new());
    assert_eq!(gateway.decided(&sam, &draft, "approve").await.0, 200);
    assert_eq!(gateway.settled(&sam, &draft).await["state"], "executed");
    // The outcome once, and after that a new draft: neither of them sends anything.
    assert_eq!(send().await["row_count"], 1);
    let again = send().await;
    assert_eq!(again["code"], "approval_required", "{again}");
    let (_, again) =
        gateway.seen(&sam, &format!("drafts/{}", again["reference"].as_str().unwrap())).await;
    assert_eq!(again["same_as"], json!(draft));
    gateway.stop();
    let [(to, text)] = <[_; 1]>::try_from(smtp.taken()).unwrap();
    assert_eq!(to, ["nora@alpha.example"]);
    for part in
        ["\r\nSubject: Acme Freight: Your shipment\r\n", "It is on its way.", "read by a person"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn a_rule_that_names_domains_takes_those_and_says_which() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    let company = company(&smtp);
    company.edit(TOOL, |text| {
        let (before, after) = text.split_once("scope:\n").unwrap();
        let (_, after) = after.split_once("limits:").unwrap_or(after.split_once("call:").unwrap());
        format!(
            "{before}scope: {{ to: {{ domains: [alpha.example, bücher.example] }} }}\ncall:{after}"
        )
    });
    let gateway = company.serve();
    for to in ["anybody@alpha.example", "anybody@ALPHA.example", "ann@xn--bcher-kva.example"] {
        assert_eq!(refused(&gateway, &letter(to)).await.0, "approval_required", "{to}");
    }
    for to in [
        "eve@evil.example",
        "eve@mail.alpha.example",
        "eve@alpha.example.evil.example",
        "eve@аӏрһа.example",
        "eve@bucher.example",
    ] {
        let (code, said) = refused(&gateway, &letter(to)).await;
        assert_eq!(code, "out_of_scope", "{to}: {said}");
        let named = "an address of one of these domains: `alpha.example`, `xn--bcher-kva.example`";
        assert!(said.contains(named), "{said}");
    }
    assert_eq!(smtp.log(), Vec::<Value>::new());
}

#[tokio::test]
async fn the_doctor_signs_in_at_the_mail_server_and_sends_nothing() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    let company = company(&smtp);
    let told = |company: &Company| {
        let said = String::from_utf8(company.run(&["doctor", "."]).stdout).unwrap();
        let line = said.lines().find(|line| line.contains("system mail")).unwrap().to_owned();
        (line, said)
    };
    let (line, said) = told(&company);
    assert!(line.contains('✓'), "{said}");
    assert!(said.contains("nothing was sent"), "{said}");
    fs::write(company.path().join("mail.secret"), "another made-up password").unwrap();
    let (line, said) = told(&company);
    assert!(line.contains('✗'), "{said}");
    assert!(said.contains("does not take the credential"), "{said}");
    assert!(!said.contains("made-up"), "{said}");
    assert_eq!(smtp.log(), Vec::<Value>::new());
}
