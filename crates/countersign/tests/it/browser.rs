//! The console in Chromium, behind a real OpenID provider: what people see and press, what pages show of
//! what agents, systems and others wrote, and whether everybody can read them. `scripts/test` installs
//! the browser; the scenarios are in `tests/clients/console.mjs`.

use crate::clients::installed;
use crate::commits::Bank;
use crate::console::at_home;
use crate::gateway::{Company, Crm, Gateway};
use crate::oidc::{Provider, trust};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Scenarios that there are at least.
const SCENARIOS: usize = 28;

/// A text that becomes an element, or ends an attribute, wherever it is not escaped.
const MARKUP: &str = r#""><img src=x onerror=alert(1)><script>alert(2)</script><b id=HERE>'"#;

/// An agent whose every text is markup, with a tool that takes any text and one whose drafts hardly wait.
const CLAIMS_DESK: &str = r#"agent: claims-desk
purpose: '{purpose}'
owner: { team: '{team}', contact: '{contact}' }
identity: { client_id: claims-desk }
grants:
  - { tool: file_claim, reason: "Claims are many.", reviewed_by: security@acme.example, reviewed_on: 2026-11-20 }
  - { tool: file_soon, reason: "Some are urgent.", reviewed_by: security@acme.example, reviewed_on: 2026-11-20 }
"#;
const FILE_CLAIM: &str = r#"tool: file_claim
description: Files a claim of the caller's account.
effect: persistent
input:
  said: { type: string, text: true, maxLength: 300 }
  more: { type: array, maxItems: 2, items: { type: string, text: true, maxLength: 300 } }
scope:
  tenant: { bind: caller.tenant }
gate:
  approvers: { group: '{group}' }
  expires: 4h
  summary: "File a claim for {tenant}"
  preview: select name, street as "{column}" from accounts where id = :tenant
call:
  system: freight-db
  sql: update accounts set city = :said || :more where id = :tenant
check: select city is not null from accounts where id = :tenant
"#;

/// What the scenarios drive: the company, and the systems that it needs.
struct Stage {
    company: Company,
    gateway: Gateway,
    provider: Provider,
    _crm: Crm,
}

impl Stage {
    async fn set(bank: &Bank, change: impl FnOnce(&Company)) -> Self {
        let provider = Provider::start();
        let company = Company::new();
        trust(&company, &[&provider], "");
        bank.joins(&company).await;
        // Leads of the desk decide for the tenants that their tokens name.
        company.edit("countersign.yaml", |text| {
            text.replace(
                "[operations, finance, support-leads, audit]",
                "[operations, finance, audit]",
            )
        });
        change(&company);
        company.says(&["check", "."]);
        let crm = company.crm();
        let (company, gateway) = at_home(company);
        Self { company, gateway, provider, _crm: crm }
    }

    /// Runs the script; what it says, line by line.
    async fn driven(&self, more: Value) -> Vec<Value> {
        let Provider { issuer, control, .. } = &self.provider;
        let mut given = json!({
            "gateway": self.gateway.url, "issuer": issuer, "control": control, "markup": MARKUP,
            "invoices": paid(&self.company), "failed": env!("CARGO_TARGET_TMPDIR"),
        });
        more.as_object().unwrap().iter().for_each(|(name, value)| given[name] = value.clone());
        let mut node = Command::new("node")
            .arg(installed("console.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        node.stdin.take().unwrap().write_all(given.to_string().as_bytes()).await.unwrap();
        let output = node.wait_with_output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The invoices of acct_alpha that may be refunded.
fn paid(company: &Company) -> Vec<String> {
    let freight = rusqlite::Connection::open(company.path().join("data/freight.db")).unwrap();
    let mut paid = freight
        .prepare("select id from invoices where account_id = 'acct_alpha' and status = 'paid' and amount_cents > 10000 order by id desc")
        .unwrap();
    let rows = paid.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn marked(name: &str) -> String {
    MARKUP.replace("HERE", name)
}

/// Markup in every place where the posture or a system's own rows may have it.
fn with_markup(company: &Company) {
    company.lift_limits();
    company.edit("posture/tools/refund_invoice.yaml", |text| {
        text.replace("per_minute: 20", "per_minute: 60")
    });
    // A single quote is doubled in YAML and in SQL, a double one as the name of a column.
    let single = |name: &str| marked(name).replace('\'', "''");
    let text = |text: &str| {
        ["purpose", "team", "contact", "group"]
            .iter()
            .fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}}}"), &single(name)))
            .replace("{column}", &marked("column").replace('"', "\"\""))
    };
    let soon = FILE_CLAIM.replace("file_claim", "file_soon").replace("expires: 4h", "expires: 20s");
    for (file, of) in [
        ("agents/claims-desk", CLAIMS_DESK),
        ("tools/file_claim", FILE_CLAIM),
        ("tools/file_soon", &soon.replace("'{group}'", "support-leads")),
    ] {
        std::fs::write(company.path().join(format!("posture/{file}.yaml")), text(of)).unwrap();
    }
    let freight = rusqlite::Connection::open(company.path().join("data/freight.db")).unwrap();
    let made = "insert into accounts select ?1, ?2, city, ?3 from accounts where id = 'acct_alpha'";
    freight.execute(made, [marked("tenant"), marked("cell"), marked("street")]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_and_decide_in_a_real_browser_what_they_may_and_nothing_else() {
    let bank = Bank::default();
    let stage = Stage::set(&bank, with_markup).await;
    let made_up = Company::new();
    let (_made_up, no_provider) = at_home(made_up);
    let _never_answers = bank.hold().await;
    let told = stage.driven(json!({ "made_up": no_provider.url })).await;
    let failed: Vec<_> = told.iter().filter(|line| line["failed"] != json!([])).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(told.len() >= SCENARIOS, "{told:#?}");
    // The database itself: what was approved was done once, and nothing else was.
    let agreed = told.iter().filter_map(|line| line["refunded"].as_array()).flatten();
    let mut agreed: Vec<_> = agreed.map(|invoice| invoice.as_str().unwrap()).collect();
    let refunds = stage.company.refunds();
    assert_eq!(agreed.len(), refunds, "{agreed:?}");
    agreed.sort_unstable();
    agreed.dedup();
    assert_eq!(agreed.len(), refunds, "each once");
    for invoice in agreed {
        assert_eq!(stage.company.invoice(invoice).0, "refunded", "{invoice}");
    }
    stage.gateway.stop();
    stage.company.says(&["audit", "verify", "."]);
}

/// Makes `docs/console/*.png` anew: `cargo test -p countersign --test it pictures -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes into the documentation"]
async fn pictures_of_every_page() {
    let bank = Bank::default();
    let stage = Stage::set(&bank, |_company| {}).await;
    let (_made_up, no_provider) = at_home(Company::new());
    let _never_answers = bank.hold().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/console");
    let told = stage.driven(json!({ "made_up": no_provider.url, "pictures": folder })).await;
    assert!(told.iter().all(|line| line["failed"] == json!([])), "{told:#?}");
}
