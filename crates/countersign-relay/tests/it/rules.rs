//! Each rule: what it is about raises it, once, whenever the process dies.

use crate::world::{Alert, Mood, World, own_digit};
use countersign_core::alert::{Limits, Rule};
use countersign_core::call::Answers;
use countersign_core::record::Kind;
use serde_json::json;
use std::time::Duration;

/// Does what a rule is about, by one agent for one customer, and no more than that.
pub(crate) async fn provoke(world: &World, rule: Rule, (agent, customer): (&str, &str)) {
    let who = format!("{agent} {customer} provoking");
    let own = own_digit(customer);
    match rule {
        Rule::OutOfScope => reach(world, &who, customer).await,
        Rule::UnknownTool => probe(world, &who).await,
        Rule::CallSpike => hurry(world, &who, own).await,
        Rule::OutsideApprovalFlow => {
            let invoice = format!("inv_00000{own}");
            let refund = json!({ "invoice_id": invoice, "amount_cents": 5, "note": "x" });
            let asked = world.ask(&who, "refund_invoice", refund, Some(Answers::Form)).await;
            assert_eq!(asked.0, "outside_approval");
        }
        Rule::OutcomeUnknown => lose(world, &who, own).await,
        Rule::DraftExpired => {
            let moves = json!({ "street": "Hafenstrasse 12", "city": "Hamburg" });
            let asked = world.call(&who, "change_billing_address", moves).await;
            assert_eq!(asked, "approval_required");
            world.pass(24 * 3_600);
            world.tend().await;
        }
        Rule::ForeignRows => foreign(world, &who).await,
        Rule::DefinitionChanged => world.redefine("get_contact").await,
    }
    world.pass(90);
}

/// An effect of which nobody hears, and a read.
async fn lose(world: &World, who: &str, own: char) {
    world.feel(Mood::Lost);
    let note = json!({ "ticket_id": format!("tkt_00000{own}"), "note": "lost" });
    assert_eq!(world.call(who, "annotate_ticket", note).await, "system_timed_out");
    // A read of which nobody hears has changed nothing.
    let contact = json!({ "contact_id": "con_000001" });
    assert_eq!(world.call(who, "get_contact", contact).await, "system_timed_out");
    world.feel(Mood::Well);
}

async fn hurry(world: &World, who: &str, own: char) {
    for _ in 0..700 {
        let shipment = json!({ "shipment_id": format!("shp_00000{own}") });
        world.call(who, "get_shipment", shipment).await;
    }
}

async fn reach(world: &World, who: &str, customer: &str) {
    let other = if customer == "bravo" { "acct_alpha" } else { "acct_bravo" };
    for days in 1..=12 {
        let reaches = json!({ "account_id": other, "days": days });
        assert_eq!(world.call(who, "get_account_usage", reaches).await, "out_of_scope");
        world.pass(20);
    }
}

async fn probe(world: &World, who: &str) {
    for number in 0..25 {
        let name = format!("delete_table_{number}");
        assert_eq!(world.call(who, &name, json!({})).await, "unknown_tool");
        world.pass(10);
    }
}

async fn foreign(world: &World, who: &str) {
    world.feel(Mood::Foreign);
    for contact in ["con_000001", "con_000002"] {
        let contact = json!({ "contact_id": contact });
        assert_eq!(world.call(who, "get_contact", contact).await, "withheld");
    }
    world.feel(Mood::Well);
}

/// What `provoke` has put on record.
pub(crate) fn expected(rule: Rule, (agent, customer): (&str, &str)) -> Alert {
    let tenant = Some(format!("acct_{customer}"));
    let tool = |name: &str| Some(name.to_owned());
    let (tenant, tool, count) = match rule {
        Rule::OutOfScope => (tenant, None, 10),
        Rule::CallSpike => (None, None, 100),
        Rule::OutsideApprovalFlow => (tenant, tool("refund_invoice"), 1),
        Rule::UnknownTool => (tenant, None, 20),
        Rule::OutcomeUnknown => (tenant, tool("annotate_ticket"), 1),
        Rule::DraftExpired => (tenant, tool("change_billing_address"), 1),
        Rule::ForeignRows => (tenant, tool("get_contact"), 1),
        // Whoever calls it: it is nobody's call.
        Rule::DefinitionChanged => return (rule, None, None, tool("get_contact"), 1),
    };
    (rule, Some(agent.to_owned()), tenant, tool, count)
}

/// An hour of a few calls, by which an agent's pace is known.
async fn a_quiet_hour(world: &World) {
    for _ in 0..60 {
        let who = "support-copilot alpha quiet";
        let invoices = json!({ "account_id": "acct_alpha", "limit": 3 });
        assert_eq!(world.call(who, "list_invoices", invoices).await, "completed");
        world.pass(60);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_is_raised_by_its_own_scenario_once_whenever_the_process_dies() {
    for (number, rule) in Rule::ALL.into_iter().enumerate() {
        let mut world = World::new();
        let whose = ("support-copilot", "alpha");
        a_quiet_hour(&world).await;
        world.relay_all().await;
        assert_eq!(world.alerts(), [], "{rule:?}");
        let before = world.kept();
        provoke(&world, rule, whose).await;
        for death in 0..6 {
            world.relay_for(Duration::from_millis(7 * death * (1 + number as u64))).await;
        }
        world.restart(false);
        world.relay_all().await;
        // As if it had died before it kept that the alert is on record; and as if it never had.
        for kept in [before, None] {
            world.keep(kept);
            world.relay_all().await;
        }
        let alerts = world.alerts();
        let [(found, agent, tenant, tool, count)] = alerts.as_slice() else {
            panic!("{rule:?}: {alerts:?}");
        };
        let expected = expected(rule, whose);
        assert_eq!((found, agent, tenant, tool), (&rule, &expected.1, &expected.2, &expected.3));
        assert!(*count >= expected.4, "{rule:?}: {count}");
        let record = &world.records(Kind::Alerted)[0];
        assert!(
            record.bodies.is_empty() && record.header["fields"].as_object().unwrap().is_empty()
        );
        assert!(record.header["first"].as_i64() <= record.header["last"].as_i64());
        world.verified();
        // What goes on is not told again until it has cooled down; then it is.
        if rule != Rule::CallSpike {
            provoke(&world, rule, whose).await;
            world.relay_all().await;
            let again = if rule == Rule::DraftExpired { 2 } else { 1 };
            assert_eq!(world.alerts().len(), again, "{rule:?} within its cool-down");
            world.pass(3_600);
            provoke(&world, rule, whose).await;
            world.relay_all().await;
            assert_eq!(world.alerts().len(), again + 1, "{rule:?} after it");
            world.verified();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_was_cut_off_is_no_unknown_outcome_and_an_effect_is() {
    let mut world = World::new();
    world
        .cut_off("support-copilot alpha cut", "get_contact", json!({ "contact_id": "con_000001" }))
        .await;
    world.restart(false);
    world.relay_all().await;
    assert_eq!(world.alerts(), []);
    let note = json!({ "ticket_id": "tkt_000001", "note": "cut off" });
    world.cut_off("support-copilot alpha cut", "annotate_ticket", note).await;
    world.restart(false);
    world.relay_all().await;
    assert_eq!(world.alerts(), [expected(Rule::OutcomeUnknown, ("support-copilot", "alpha"))]);
    world.verified();
}

/// `docs/alerts.md` says of each rule what the program does.
#[test]
fn the_page_about_alerts_says_of_each_rule_what_holds() {
    let page = include_str!("../../../../docs/alerts.md");
    let span = |seconds: u32| match seconds {
        3_600.. => format!("{} h", seconds / 3_600),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    };
    for rule in Rule::ALL {
        let section = page.split(&format!("\n### `{}`\n", rule.as_str())).nth(1);
        let section = section.unwrap_or_else(|| panic!("no section about {rule:?}"));
        let section = section.split("\n### ").next().unwrap();
        let Limits { window_s, threshold, cool_down_s } = rule.usual();
        let usual = format!(
            "**Usually:** {threshold} in {}, then quiet for {}.",
            span(window_s),
            span(cool_down_s)
        );
        for part in [rule.what(), &usual, rule.advice()] {
            assert!(section.contains(part), "{rule:?}: {part}");
        }
    }
}
