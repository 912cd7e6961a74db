//! The second half of the story: calls that wait for a person, what the person decides, and what the
//! agent is told. Somebody approves in another terminal, or the demo does it for them.

use super::company::Company;
use super::story::{self, Client, Step};
use crate::command::token;
use crate::render::{self, Doing, Failure};
use comfy_table::Table;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// How often it is looked whether somebody has decided.
const PATIENCE: Duration = Duration::from_secs(1);

/// A call that waits, and who may let it happen.
struct Waiting {
    title: &'static str,
    tool: &'static str,
    arguments: Value,
    /// Who decides here, and for whom they may.
    approver: &'static str,
    group: &'static str,
}

fn waiting(paid: &str) -> [Waiting; 3] {
    [
        Waiting {
            title: "changes where invoices go",
            tool: "change_billing_address",
            arguments: json!({ "street": "Hafenstrasse 12", "city": "Hamburg" }),
            approver: "kim@acme.example",
            group: "support-leads",
        },
        Waiting {
            title: "pays money back",
            tool: "refund_invoice",
            arguments: json!({ "invoice_id": paid, "amount_cents": 4_200, "note": "paid twice" }),
            approver: "sam@acme.example",
            group: "finance",
        },
        Waiting {
            title: "writes to the customer",
            tool: "send_customer_email",
            arguments: json!({
                "to": "nora@alpha.example", "subject": "Your refund",
                "message": format!("Invoice {paid} was paid twice; we have refunded 42.00 euros."),
            }),
            approver: "lee@acme.example",
            group: "finance",
        },
    ]
}

/// Tells it of an invoice that was paid; `true` if it went as it must. Without `automatic` it waits for
/// somebody to decide.
pub(super) async fn tell(
    company: &Company,
    (address, client): (SocketAddr, &Client),
    (paid, automatic): (&str, bool),
) -> Result<bool, Failure> {
    let headings = ["the agent …", "call", "who decided", "it is told then", "the systems"];
    let mut table = render::table(&headings, []);
    let mut went_as_told = true;
    for waiting in waiting(paid) {
        went_as_told &= take(company, (address, client), (&waiting, automatic), &mut table).await?;
    }
    render::line(&table);
    Ok(went_as_told)
}

async fn take(
    company: &Company,
    (address, client): (SocketAddr, &Client),
    (waiting, automatic): (&Waiting, bool),
    table: &mut Table,
) -> Result<bool, Failure> {
    let Waiting { title, tool, arguments, .. } = waiting;
    let before = company.statements()?;
    let step = Step::asking(title, tool, arguments.clone());
    let drafted = story::call(client, &step).await?;
    let Some(reference) = drafted.reference.filter(|_| drafted.code == "approval_required") else {
        table.add_row([*title, *tool, "✗ it was not drafted", &drafted.told, "not touched"]);
        return Ok(false);
    };
    let approver = Approver::of(address, waiting).await?;
    if automatic {
        approver.approve(&reference).await?;
    } else {
        ask(address, waiting, &reference);
    }
    // Whoever waits asks the gateway and not as the agent: an agent's calls are counted.
    while approver.is_open(&reference).await? {
        tokio::time::sleep(PATIENCE).await;
    }
    let told = story::call(client, &step).await?;
    let as_told = told.code == "completed" || (!automatic && told.code == "rejected");
    table.add_row([
        (*title).to_owned(),
        format!("{tool} {arguments}"),
        if automatic { approver.name.to_owned() } else { "you".to_owned() },
        format!("{} {}: {}", if as_told { "✓" } else { "✗" }, told.code, told.told),
        story::touched(&before, company.statements()?),
    ]);
    Ok(as_told)
}

/// Where to look, and what to type in another terminal.
fn ask(address: SocketAddr, waiting: &Waiting, reference: &str) {
    let Waiting { title, approver, group, .. } = waiting;
    let program = std::env::args().next().unwrap_or_else(|| "countersign".to_owned());
    render::line(format_args!(
        "The agent {title}, and waits for {approver}. In a browser, as that person:\n\n    \
         http://{address}/console/drafts/{reference}\n\nor in another terminal:\n\n\
         {program} login --gateway http://{address} --person {approver} --group {group} --tenant acct_alpha\n\
         {program} drafts show {reference}\n\
         {program} drafts approve {reference}   # or: reject {reference} --reason …\n\n\
         (`demo --auto-approve` does this for you.)\n"
    ));
}

/// Somebody who may decide, by the admin API.
struct Approver {
    name: &'static str,
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Approver {
    async fn of(address: SocketAddr, waiting: &Waiting) -> Result<Self, Failure> {
        let url = format!("http://{address}");
        let Waiting { approver: name, group, .. } = *waiting;
        let person = json!({ "person": name, "groups": [group], "tenants": ["acct_alpha"] });
        let token = token::sent(&url, &person).await?;
        let http = reqwest::Client::builder().no_proxy().build().doing("no HTTP client")?;
        Ok(Self { name, http, url, token })
    }

    fn at(&self, reference: &str) -> String {
        format!("{}/admin/v1/drafts/{reference}", self.url)
    }

    /// Approves, as `countersign drafts approve` would.
    async fn approve(&self, reference: &str) -> Result<(), Failure> {
        let sent = self.http.post(format!("{}/approve", self.at(reference)));
        let sent = sent.bearer_auth(&self.token).json(&json!({})).send().await;
        let sent = sent.doing("the admin API")?;
        if sent.status().is_success() {
            return Ok(());
        }
        let why: Value = sent.json().await.unwrap_or_default();
        let why = why.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
        Err(Failure::new(format!("{} could not approve {reference}: {why}", self.name)))
    }

    /// Whether something may still come of a draft.
    async fn is_open(&self, reference: &str) -> Result<bool, Failure> {
        let asked = self.http.get(self.at(reference)).bearer_auth(&self.token).send().await;
        let draft: Value = asked.doing("the admin API")?.json().await.unwrap_or_default();
        let state = draft.get("state").and_then(Value::as_str);
        Ok(matches!(state, Some("waiting" | "approved" | "committing")))
    }
}
