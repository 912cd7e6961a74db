//! The database alone: the example on PostgreSQL with the gateway's scope checks taken out.

use crate::bench::{Bench, anything};
use crate::gateway::{Company, Who};
use crate::matrix::{TENANTS, Truth};
use countersign_connectors::{PostgresSystem, System};
use countersign_core::id::SystemName;
use countersign_core::scope::ScopeRule;
use countersign_core::tool::Tool;
use countersign_posture::load_posture;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Turns row-level security off.
pub(crate) fn off(company: &Company) {
    for (name, tables) in [
        ("freight-db", &["accounts", "usage", "shipments", "parcels", "invoices"][..]),
        ("support-db", &["tickets", "messages"]),
    ] {
        for table in tables {
            let off = format!("alter table {table} disable row level security");
            company.databases[name].run(&off);
        }
    }
}

/// The company's PostgreSQL systems behind a monitor that permits everything.
fn bench(company: &Company) -> Bench {
    let systems = company.databases.iter().map(|(name, database)| {
        let system = PostgresSystem {
            connection: SecretString::from(database.of("acme_gateway")),
            encryption: None,
            authorities: None,
            tenant_setting: "app.tenant".to_owned(),
            concurrency: 4,
        };
        (SystemName::new(*name).unwrap(), System::Postgres(system))
    });
    Bench::over_all(systems.collect(), tempfile::tempdir().unwrap())
}

/// The tools on PostgreSQL with all that the gateway checks taken out, and the names under which it
/// would have put in the tenant.
fn stripped(company: &Company) -> BTreeMap<String, (impl Fn() -> Tool, Vec<String>)> {
    let (loaded, findings) = load_posture(&company.path().join("posture"));
    let loaded = loaded.unwrap_or_else(|| panic!("{findings:?}"));
    let agents = loaded.posture.agents.into_values();
    let tools = agents.flat_map(|agent| {
        agent.grants.values().map(|grant| Arc::clone(&grant.tool)).collect::<Vec<_>>()
    });
    let tools = tools.filter(|tool| {
        company.databases.contains_key(tool.system.as_str())
            && tool.effect == countersign_core::tool::Effect::Read
    });
    let open = tools.map(|tool| {
        let bound = tool.scope.iter().filter_map(|rule| match rule {
            ScopeRule::Bind { name, .. } => Some(name.clone()),
            _ => None,
        });
        let (name, bound) = (tool.name.to_string(), bound.collect());
        let open = move || Tool {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input: tool.input.clone(),
            schema: anything(),
            scope: Vec::new(),
            look_ups: Vec::new(),
            result: Vec::new(),
            effect: tool.effect,
            ladder: tool.ladder.clone(),
            system: tool.system.clone(),
            plan: tool.plan.clone(),
            limits: tool.limits,
            flow: tool.flow,
            offered: tool.offered.clone(),
        };
        (name, (open, bound))
    });
    open.collect()
}

/// Every tool × every pair of tenants: how many rows came back to a caller who asked for the
/// other's, and which of them were the other's.
async fn asked_for_others(company: &Company) -> (usize, usize, Vec<String>) {
    let truth = Truth::ask(company);
    let bench = bench(company);
    let (mut calls, mut rows, mut leaked) = (0, 0, Vec::new());
    for (name, (open, bound)) in stripped(company) {
        for caller in TENANTS {
            for other in TENANTS.into_iter().filter(|other| *other != caller) {
                let mut arguments = truth.twins(other)[name.as_str()].clone();
                for tenant in &bound {
                    arguments[tenant] = json!(other);
                }
                let report = bench.call_tool(caller, open(), arguments).await;
                let report = report.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
                calls += 1;
                rows += usize::try_from(report.rows).unwrap();
                leaked.extend(truth.leaked(caller, &report.result));
                assert!(matches!(report.result, Value::Array(_)));
            }
        }
    }
    (calls, rows, leaked)
}

#[tokio::test]
async fn row_level_security_alone_lets_no_foreign_row_out() {
    let company = Company::on_postgres();
    assert_eq!(stripped(&company).len(), 8);
    assert_eq!(asked_for_others(&company).await, (8 * 6, 0, Vec::new()));
    // Without it the same calls find what they ask for: it was row-level security, and not the calls.
    off(&company);
    let (calls, rows, leaked) = asked_for_others(&company).await;
    assert_eq!(calls, 8 * 6);
    assert!(rows > 100 && leaked.len() > 50, "{rows} {}", leaked.len());
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_says_why_in_the_journal_alone() {
    let company = Company::on_postgres();
    company.edit("freight-db.secret", |right| right.replace("made-up", "wrong-and-made-up"));
    let gateway = company.serve();
    let who = Who { agent: "support-copilot", tenant: TENANTS[0], session: "s", depots: &[] };
    let token = gateway.token(who).await;
    let usage = json!({"account_id": TENANTS[0], "days": 3});
    let answer = gateway.call(&token, "get_account_usage", usage).await;
    assert_eq!(answer["error"]["code"], "system_unavailable", "{answer}");
    for internal in ["password", "28P01", "acme_gateway", "made-up", "127.0.0.1"] {
        assert!(!answer.to_string().contains(internal), "{answer}");
    }
    let journal = format!("{:?}", company.records(&["--tool", "get_account_usage"], 2));
    assert!(journal.contains("28P01") && !journal.contains("made-up"), "{journal}");
    // The other system is none the worse for it.
    let tickets = json!({"text": "invoice", "limit": 3});
    let answer = gateway.call(&token, "search_tickets", tickets).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    gateway.stop();
}
