//! The second half of the story: calls that wait for a person, what the person decides, and what the
//! agent is told. Somebody approves in another terminal, or the demo does it for them.

use super::company::Company;
use super::story::{self, Client, Step};
use crate::command::token;
use crate::render::{self, Doing, Failure};
use comfy_table::Table;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// How often an agent that waits asks again.
const PATIENCE: Duration = Duration::from_secs(2);

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
    let Waiting { title, tool, arguments, approver, .. } = waiting;
    let before = company.statements()?;
    let step = Step::asking(title, tool, arguments.clone());
    let drafted = story::call(client, &step).await?;
    let Some(reference) = drafted.reference.filter(|_| drafted.code == "approval_required") else {
        table.add_row([*title, *tool, "✗ it was not drafted", &drafted.told, "not touched"]);
        return Ok(false);
    };
    if automatic {
        approve(address, waiting, &reference).await?;
    } else {
        ask(address, waiting, &reference);
    }
    let mut told = story::call(client, &step).await?;
    while told.code == "approval_required" {
        tokio::time::sleep(PATIENCE).await;
        told = story::call(client, &step).await?;
    }
    let as_told = told.code == "completed" || (!automatic && told.code == "rejected");
    table.add_row([
        (*title).to_owned(),
        format!("{tool} {arguments}"),
        if automatic { (*approver).to_owned() } else { "you".to_owned() },
        format!("{} {}: {}", if as_told { "✓" } else { "✗" }, told.code, told.told),
        story::touched(&before, company.statements()?),
    ]);
    Ok(as_told)
}

/// What to type in another terminal.
fn ask(address: SocketAddr, waiting: &Waiting, reference: &str) {
    let Waiting { title, approver, group, .. } = waiting;
    let program = std::env::args().next().unwrap_or_else(|| "countersign".to_owned());
    render::line(format_args!(
        "The agent {title}, and waits for {approver}. In another terminal:\n\n\
         {program} login --gateway http://{address} --person {approver} --group {group} --tenant acct_alpha\n\
         {program} drafts show {reference}\n\
         {program} drafts approve {reference}   # or: reject {reference} --reason …\n\n\
         (`demo --auto-approve` does this for you.)\n"
    ));
}

/// Does it for them, as the commands above would.
async fn approve(address: SocketAddr, waiting: &Waiting, reference: &str) -> Result<(), Failure> {
    let url = format!("http://{address}");
    let Waiting { approver, group, .. } = waiting;
    let person = json!({ "person": approver, "groups": [group], "tenants": ["acct_alpha"] });
    let token = token::sent(&url, &person).await?;
    let http = reqwest::Client::builder().no_proxy().build().doing("no HTTP client")?;
    let sent = http.post(format!("{url}/admin/v1/drafts/{reference}/approve"));
    let sent = sent.bearer_auth(token).json(&json!({})).send().await.doing("the admin API")?;
    if sent.status().is_success() {
        return Ok(());
    }
    let why: Value = sent.json().await.unwrap_or_default();
    let why = why.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
    Err(Failure::new(format!("{approver} could not approve {reference}: {why}")))
}
