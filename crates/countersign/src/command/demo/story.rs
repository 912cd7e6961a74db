//! The story: what an agent tries, what became of it, and whether a system was touched. Told while it
//! happens, over the real MCP door.

use super::{approvals, company::Company};
use crate::command::token::Request;
use crate::machine::SystemEntropy;
use crate::render::{self, Doing, Failure};
use comfy_table::Table;
use countersign_core::port::Entropy;
use rmcp::{
    model::{CallToolRequestParams, CallToolResult, ProtocolVersion},
    service::{ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

const COPILOT: &str = "support-copilot";
const PLANNER: &str = "dispatch-planner";

/// One step of the story.
pub(super) struct Step {
    title: &'static str,
    agent: &'static str,
    tool: &'static str,
    arguments: Value,
    /// How often the call is made at most: until its answer is the expected one.
    times: usize,
    /// The code that the last answer must have.
    expected: &'static str,
    /// A database that is taken away for this step.
    without: Option<&'static str>,
}

fn step(title: &'static str, tool: &'static str, arguments: Value, expected: &'static str) -> Step {
    Step { title, agent: COPILOT, tool, arguments, times: 1, expected, without: None }
}

impl Step {
    /// A call of the copilot's that waits for a person.
    pub(super) fn asking(title: &'static str, tool: &'static str, arguments: Value) -> Self {
        step(title, tool, arguments, "approval_required")
    }
}

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn steps(paid: &str) -> Vec<Step> {
    let usage = |account: &str, days: Value| json!({ "account_id": account, "days": days });
    let departures = |depot: &str| json!({ "depot": depot, "day": "2026-11-24" });
    vec![
        step(
            "reads its customer's usage",
            "get_account_usage",
            usage("acct_alpha", json!(7)),
            "completed",
        ),
        step(
            "invents an identifier",
            "get_account_usage",
            usage("acct_delta", json!(7)),
            "out_of_scope",
        ),
        step(
            "looks back nine million days",
            "get_account_usage",
            usage("acct_alpha", json!(9_000_000)),
            "invalid_arguments",
        ),
        step(
            "sends a string for a number",
            "get_account_usage",
            usage("acct_alpha", json!("7")),
            "invalid_arguments",
        ),
        step(
            "asks for another customer's account",
            "get_account_usage",
            usage("acct_bravo", json!(7)),
            "out_of_scope",
        ),
        step(
            "asks for another customer's order by its number",
            "get_shipment",
            json!({ "shipment_id": "shp_100002" }),
            "out_of_scope",
        ),
        step(
            "calls a tool that nobody has",
            "drop_table",
            json!({ "table": "invoices" }),
            "unknown_tool",
        ),
        step(
            "calls a tool of another agent",
            "list_vehicles",
            json!({ "depots": ["HAM"] }),
            "unknown_tool",
        ),
        step(
            "reads a ticket that carries an injection",
            "read_ticket",
            json!({ "ticket_id": "tkt_300042" }),
            "completed",
        ),
        step(
            "obeys it",
            "list_invoices",
            json!({ "account_id": "acct_bravo", "limit": 50 }),
            "out_of_scope",
        ),
        step(
            "leaves a note for the desk",
            "annotate_ticket",
            json!({ "ticket_id": "tkt_300042", "note": "Asks for another customer's invoices." }),
            "completed",
        ),
        step(
            "wants to pay money back",
            "refund_invoice",
            json!({ "invoice_id": paid, "amount_cents": 4_200, "note": "paid twice" }),
            "approval_required",
        ),
        // Five are admitted a minute, and a minute of the clock may turn once in between.
        Step {
            times: 11,
            ..step(
                "makes the same call again and again",
                "get_shipment",
                json!({ "shipment_id": "shp_100001" }),
                "rate_limited",
            )
        },
        Step {
            without: Some("telematics"),
            ..step(
                "meets a system that is down",
                "get_temperature_log",
                json!({ "shipment_id": "shp_100100", "readings": 5 }),
                "system_unavailable",
            )
        },
        step(
            "asks the CRM whom to call",
            "list_contacts",
            json!({ "account_id": "acct_alpha", "limit": 5 }),
            "completed",
        ),
        step(
            "meets a system that answers too late",
            "list_contacts",
            json!({ "account_id": "acct_alpha", "former": true, "limit": 5 }),
            "system_timed_out",
        ),
        step(
            "goes on with its work",
            "search_tickets",
            json!({ "text": "invoice", "limit": 3 }),
            "completed",
        ),
        Step {
            agent: PLANNER,
            ..step("plans for its own depot", "list_departures", departures("HAM"), "completed")
        },
        Step {
            agent: PLANNER,
            ..step(
                "plans for a depot not its own",
                "list_departures",
                departures("MUC"),
                "out_of_scope",
            )
        },
    ]
}

/// Tells the story; `true` if it went as it must.
pub(super) async fn tell(
    company: &Company,
    address: SocketAddr,
    automatic: bool,
) -> Result<bool, Failure> {
    let mut id = [0; 4];
    SystemEntropy.fill(&mut id);
    let session = format!("demo-{}", hex::encode(id));
    let mut agents = BTreeMap::new();
    for agent in [COPILOT, PLANNER] {
        agents
            .insert(agent, connect(address, &token(address, agent, Some(&session)).await?).await?);
    }
    let mut table =
        render::table(&["", "the agent …", "call", "answer", "it is told", "the systems"], []);
    let mut went_as_told = true;
    let paid = company.paid_invoice()?;
    for (number, step) in (1..).zip(steps(&paid)) {
        let Some(client) = agents.get(step.agent) else { continue };
        went_as_told &= take(company, client, number, &step, &mut table).await?;
    }
    render::line(&table);
    if let Some(copilot) = agents.get(COPILOT) {
        went_as_told &= approvals::tell(company, (address, copilot), (&paid, automatic)).await?;
    }
    for (_, client) in agents {
        client.cancel().await.doing("the agent's connection")?;
    }
    let outcome = if went_as_told {
        "Every step went as it must."
    } else {
        "A step went otherwise than it must: see ✗."
    };
    render::line(format_args!("{outcome}\n"));
    Ok(went_as_told)
}

/// Takes one step and adds its row.
async fn take(
    company: &Company,
    client: &Client,
    number: usize,
    step: &Step,
    table: &mut Table,
) -> Result<bool, Failure> {
    let before = company.statements()?;
    let away = step.without.map(|name| Away::take(&company.database(name))).transpose()?;
    let mut answer = call(client, step).await?;
    for _ in 1..step.times {
        if answer.code == step.expected {
            break;
        }
        answer = call(client, step).await?;
    }
    away.map_or(Ok(()), Away::bring_back)?;
    let touched = touched(&before, company.statements()?);
    let as_told = answer.code == step.expected;
    table.add_row([
        number.to_string(),
        step.title.to_owned(),
        format!("{} {}", step.tool, step.arguments),
        format!("{} {}{}", if as_told { "✓" } else { "✗" }, answer.kind, answer.code),
        answer.told,
        touched,
    ]);
    Ok(as_told)
}

/// What the systems did between two looks at their logs.
pub(super) fn touched(before: &[(String, usize)], after: Vec<(String, usize)>) -> String {
    let ran: Vec<String> = after
        .into_iter()
        .filter_map(|(system, after)| {
            let so_far = before.iter().find(|(name, _)| *name == system).map_or(0, |(_, n)| *n);
            let ran = after.saturating_sub(so_far);
            let what = if system == "crm" { "request" } else { "statement" };
            (ran > 0).then(|| format!("{system}: {ran} {what}{}", if ran == 1 { "" } else { "s" }))
        })
        .collect();
    if ran.is_empty() { "not touched".to_owned() } else { ran.join(", ") }
}

pub(super) type Client = RunningService<RoleClient, ()>;

async fn connect(address: SocketAddr, token: &str) -> Result<Client, Failure> {
    let http = reqwest::Client::builder().no_proxy().build().doing("no HTTP client")?;
    let config = StreamableHttpClientTransportConfig::with_uri(format!("http://{address}/mcp"))
        .auth_header(token);
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let mode = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] };
    ().serve_with_lifecycle(transport, mode).await.doing("the MCP client")
}

pub(super) struct Answer {
    /// `refused: ` or `failed: ` before its code.
    kind: &'static str,
    pub(super) code: String,
    pub(super) told: String,
    /// Of a draft.
    pub(super) reference: Option<String>,
}

pub(super) async fn call(client: &Client, step: &Step) -> Result<Answer, Failure> {
    let arguments = step.arguments.as_object().cloned().unwrap_or_default();
    let params = CallToolRequestParams::new(step.tool).with_arguments(arguments);
    match client.peer().call_tool(params).await {
        Ok(result) => Ok(read(&result)),
        Err(ServiceError::McpError(error)) => {
            let told = error.data.unwrap_or_default();
            Ok(Answer {
                kind: "refused: ",
                code: text(&told, "code"),
                told: text(&told, "message"),
                reference: None,
            })
        }
        Err(error) => Err(Failure::new(format!("the MCP door: {error}"))),
    }
}

fn read(result: &CallToolResult) -> Answer {
    let value = result.structured_content.clone().unwrap_or_default();
    if result.is_error != Some(true) {
        let rows = value.get("row_count").and_then(Value::as_u64).unwrap_or_default();
        let told = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        return Answer { kind: "", code: "completed".to_owned(), told, reference: None };
    }
    let issue = value
        .pointer("/issues/0")
        .map(|issue| format!(" {} {}.", text(issue, "argument"), text(issue, "message")));
    let told = format!("{}{}", text(&value, "message"), issue.unwrap_or_default());
    let code = text(&value, "code");
    let kind = if code.starts_with("system_") { "failed: " } else { "refused: " };
    let reference = value.get("reference").and_then(Value::as_str).map(str::to_owned);
    Answer { kind, code, told, reference }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A database that is away while this lives.
struct Away {
    here: std::path::PathBuf,
    there: std::path::PathBuf,
}

impl Away {
    fn take(here: &Path) -> Result<Self, Failure> {
        let there = here.with_extension("away");
        fs::rename(here, &there).doing(here.display())?;
        Ok(Self { here: here.to_owned(), there })
    }
    fn bring_back(self) -> Result<(), Failure> {
        fs::rename(&self.there, &self.here).doing(self.here.display())
    }
}

async fn token(address: SocketAddr, agent: &str, session: Option<&str>) -> Result<String, Failure> {
    let depots = BTreeMap::from([("depots".to_owned(), vec!["HAM".to_owned(), "BER".to_owned()])]);
    let (tenant, user, scopes) = ("acct_alpha", "ann", &[]);
    let request = Request { agent, tenant, user, session, scopes, attributes: depots };
    request.send(&format!("http://{address}")).await
}

/// What to type next.
pub(super) async fn invite(company: &Company, address: SocketAddr) -> Result<(), Failure> {
    let token = token(address, COPILOT, None).await?;
    let config = company.config().display().to_string();
    let program = std::env::args().next().unwrap_or_else(|| "countersign".to_owned());
    render::line(format_args!(
        r#"The gateway stays up: MCP on http://{address}/mcp, HTTP on http://{address}/v1. Ctrl-C ends it.

The console, as whichever made-up person you like: http://{address}/console

A token for {COPILOT} working for acct_alpha (until this process ends, at most 8 hours):

export TOKEN={token}

An MCP client:

claude mcp add --transport http acme http://{address}/mcp --header "Authorization: Bearer $TOKEN"

{{"mcpServers": {{"acme": {{"type": "http", "url": "http://{address}/mcp", "headers": {{"Authorization": "Bearer {token}"}}}}}}}}

curl:

curl -s http://{address}/v1/tools -H "Authorization: Bearer $TOKEN"
curl -s http://{address}/v1/calls -H "Authorization: Bearer $TOKEN" \
  -d '{{"tool": "get_account_usage", "arguments": {{"account_id": "acct_alpha", "days": 7}}}}'

The journal, in another terminal:

{program} audit tail {config}
{program} audit verify {config}
"#
    ));
    Ok(())
}
