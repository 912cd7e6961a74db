//! Every tool × every argument, nested and in arrays × every other tenant's identifiers: no row of
//! another tenant, no statement that could find one; and the own tenant's twins succeed.

use crate::gateway::{Company, Gateway, Who};
use crate::row_level;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const TENANTS: [&str; 3] = ["acct_alpha", "acct_bravo", "acct_charlie"];
const DEPOTS: [&str; 2] = ["HAM", "BER"];
const FOREIGN_DEPOT: &str = "MUC";

/// What the CRM knows.
fn contacts() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../examples/acme/data/crm.json")).unwrap()
}

/// What the databases and the CRM hold, asked directly: whose each identifier is.
pub(crate) struct Truth {
    owner: BTreeMap<String, String>,
    own: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Truth {
    pub(crate) fn ask(company: &Company) -> Self {
        let mut owner = BTreeMap::new();
        let mut own: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        for (database, table, query) in [
            ("freight", "shipments", "select id, account_id from shipments order by id"),
            ("freight", "invoices", "select id, account_id from invoices order by id"),
            ("freight", "parcels", "select id, account_id from parcels order by id"),
            ("support", "tickets", "select id, account_id from tickets order by id"),
            ("telematics", "vehicles", "select id, account_id from vehicles order by id"),
            (
                "telematics",
                "readings",
                "select distinct shipment_id, account_id from readings order by 1",
            ),
        ] {
            let path = company.path().join("data").join(database).with_extension("db");
            let connection = Connection::open(path).unwrap();
            let mut statement = connection.prepare(query).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            for (id, tenant) in rows.map(|row: Result<(String, String), _>| row.unwrap()) {
                let name = TENANTS.into_iter().find(|name| *name == tenant).unwrap();
                own.entry(name).or_default().entry(table).or_insert_with(|| id.clone());
                owner.insert(id, tenant);
            }
        }
        for contact in contacts() {
            let text = |member: &str| contact[member].as_str().unwrap().to_owned();
            let name = TENANTS.into_iter().find(|name| *name == text("account")).unwrap();
            own.entry(name).or_default().entry("contacts").or_insert_with(|| text("id"));
            owner.insert(text("id"), text("account"));
        }
        Self { owner, own }
    }

    /// For each tool, arguments of `tenant`'s own that find something.
    pub(crate) fn twins(&self, tenant: &'static str) -> BTreeMap<&'static str, Value> {
        let own = |table: &str| self.own[tenant][table].as_str();
        BTreeMap::from([
            ("get_account_usage", json!({"account_id": tenant, "days": 3})),
            ("list_invoices", json!({"account_id": tenant, "status": "paid", "limit": 3})),
            ("get_shipment", json!({"shipment_id": own("shipments")})),
            (
                "find_shipments",
                json!({"filter": {"account_id": tenant, "from": "2020-01-01", "to": "2029-12-31", "status": "delivered"}, "limit": 3}),
            ),
            (
                "track_parcels",
                json!({"parcels": [
                    {"account_id": tenant, "parcel_id": own("parcels")}, {"account_id": tenant, "parcel_id": own("parcels")},
                ]}),
            ),
            ("search_tickets", json!({"text": "invoice", "status": "closed", "limit": 3})),
            ("read_ticket", json!({"ticket_id": own("tickets")})),
            ("get_temperature_log", json!({"shipment_id": own("readings"), "readings": 3})),
            ("list_contacts", json!({"account_id": tenant, "role": "billing", "limit": 3})),
            ("get_contact", json!({"contact_id": own("contacts")})),
            ("list_departures", json!({"depot": "HAM", "day": "2026-11-24"})),
            ("list_vehicles", json!({"depots": ["HAM", "BER"]})),
        ])
    }

    /// Every identifier that is not `tenant`'s: tenants, one object of each kind, a depot.
    fn foreign(&self, tenant: &str) -> Vec<String> {
        let others = self.own.iter().filter(|(other, _)| **other != tenant);
        let ids = others.flat_map(|(other, ids)| {
            std::iter::once((*other).to_owned()).chain(ids.values().cloned())
        });
        let foreign: BTreeSet<String> = ids.chain([FOREIGN_DEPOT.to_owned()]).collect();
        foreign.into_iter().collect()
    }

    /// Every known identifier in `value` that is not `tenant`'s.
    pub(crate) fn leaked(&self, tenant: &str, value: &Value) -> Vec<String> {
        match value {
            Value::String(text) => {
                let theirs = self.owner.get(text).is_some_and(|owner| owner != tenant);
                let named = TENANTS.iter().any(|other| *other != tenant && text == other);
                if theirs || named { vec![text.clone()] } else { Vec::new() }
            }
            Value::Array(items) => {
                items.iter().flat_map(|item| self.leaked(tenant, item)).collect()
            }
            Value::Object(map) => map.values().flat_map(|item| self.leaked(tenant, item)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
        }
    }
}

/// JSON pointers to every text in `value`.
fn texts(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::String(_) => vec![at.to_owned()],
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(n, item)| texts(item, &format!("{at}/{n}")))
            .collect(),
        Value::Object(map) => {
            map.iter().flat_map(|(name, item)| texts(item, &format!("{at}/{name}"))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Whether an argument says whose data is meant, so that its scope rule decides before any statement.
fn scoped(pointer: &str) -> bool {
    pointer.ends_with("/account_id") || pointer.starts_with("/depot")
}

/// Whether a system has to be asked whose it is.
fn looked_up(pointer: &str) -> bool {
    pointer.ends_with("_id") && !scoped(pointer) && pointer != "/contact_id"
}

/// How many statements look up whose `arguments` are.
fn look_ups(arguments: &Value) -> usize {
    let pointers = texts(arguments, "").into_iter().filter(|pointer| looked_up(pointer));
    let distinct: BTreeSet<_> =
        pointers.map(|pointer| arguments.pointer(&pointer).unwrap().to_string()).collect();
    distinct.len()
}

async fn granted(gateway: &Gateway, token: &str) -> BTreeSet<String> {
    let sent = gateway.http.get(format!("{}/v1/tools", gateway.url)).bearer_auth(token).send();
    let listed: Value = sent.await.unwrap().json().await.unwrap();
    listed["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn no_identifier_of_another_tenant_finds_a_row_anywhere() {
    matrix(&Company::new()).await;
}

#[tokio::test]
async fn nor_on_postgresql_with_row_level_security() {
    matrix(&Company::on_postgres()).await;
}

#[tokio::test]
async fn nor_on_postgresql_without_it_by_the_gateway_alone() {
    let company = Company::on_postgres();
    row_level::off(&company);
    matrix(&company).await;
}

/// Tools that are tried in other places. `check_draft` reaches no system: `people` shows that another's
/// draft is nobody's. A message's recipients are for `mail`. An address names nobody's but the
/// caller's own: there is no argument for it.
const ELSEWHERE: [&str; 3] = ["check_draft", "send_customer_email", "change_billing_address"];

#[expect(clippy::cognitive_complexity, reason = "one table, walked through")]
async fn matrix(company: &Company) {
    company.lift_limits(); // They have tests of their own.
    let _crm = company.crm();
    let truth = Truth::ask(company);
    let gateway = company.serve();
    let mut refused = 0;
    let mut tools_tried = BTreeSet::new();
    for tenant in TENANTS {
        let twins = truth.twins(tenant);
        for agent in ["support-copilot", "dispatch-planner"] {
            let token =
                gateway.token(Who { agent, tenant, session: "matrix", depots: &DEPOTS }).await;
            for tool in granted(&gateway, &token).await {
                if tool == "refund_invoice" {
                    // Not a read: the story shows that it is not executed.
                    let invoice = json!({
                        "invoice_id": truth.own[tenant]["invoices"], "amount_cents": 1, "note": "n",
                    });
                    let target = (tool.as_str(), &invoice);
                    refused += foreign(company, &gateway, &truth, (tenant, &token), target).await;
                    continue;
                }
                if ELSEWHERE.contains(&tool.as_str()) {
                    continue;
                }
                if tool == "annotate_ticket" {
                    // Not a read: only on whose ticket it writes is tried here.
                    refused += foreign_ticket(company, &gateway, &truth, (tenant, &token)).await;
                    continue;
                }
                if tool == "change_billing_address" {
                    continue; // It names nobody's but the caller's own: there is no argument for it.
                }
                if tool == "annotate_ticket" {
                    // Not a read: only on whose ticket it writes is tried here.
                    refused += foreign_ticket(company, &gateway, &truth, (tenant, &token)).await;
                    continue;
                }
                let twin = twins
                    .get(tool.as_str())
                    .unwrap_or_else(|| panic!("{tool} is not in the matrix"));
                tools_tried.insert(tool.clone());
                own_twin(company, &gateway, &truth, (tenant, &token), (&tool, twin)).await;
                refused +=
                    foreign(company, &gateway, &truth, (tenant, &token), (&tool, twin)).await;
            }
        }
    }
    assert_eq!(tools_tried.len(), 12);
    assert!(refused > 500, "only {refused} refusals: the matrix is too small to mean anything");
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

/// A note on every other tenant's ticket is refused by the look-up, and nothing is written; the twin on
/// the own one is. Returns how many were refused.
async fn foreign_ticket(
    company: &Company,
    gateway: &Gateway,
    truth: &Truth,
    (tenant, token): (&'static str, &str),
) -> usize {
    let note = |ticket: &str| json!({ "ticket_id": ticket, "note": "n" });
    let others = TENANTS.into_iter().filter(|other| *other != tenant);
    let theirs: Vec<&str> = others.map(|other| truth.own[other]["tickets"].as_str()).collect();
    for ticket in &theirs {
        let before = company.statements();
        let answer = gateway.call(token, "annotate_ticket", note(ticket)).await;
        assert_eq!(answer["error"]["code"], "out_of_scope", "{tenant} {ticket}: {answer}");
        let asked = since(&before, &company.statements());
        assert!(matches!(&asked[..], [line] if line.starts_with("select 1 from")), "{asked:?}");
    }
    let own = note(&truth.own[tenant]["tickets"]);
    let answer = gateway.call(token, "annotate_ticket", own).await;
    assert_eq!(answer["status"], "completed", "{tenant}: {answer}");
    theirs.len()
}

async fn own_twin(
    company: &Company,
    gateway: &Gateway,
    truth: &Truth,
    (tenant, token): (&str, &str),
    (tool, twin): (&str, &Value),
) {
    let before = company.touched();
    let answer = gateway.call(token, tool, twin.clone()).await;
    assert_eq!(answer["status"], "completed", "{tenant} {tool} {twin}: {answer}");
    // One depot may have no departure on the day for one of the tenants; everything else finds rows.
    if tool != "list_departures" {
        assert!(
            answer["result"]["row_count"].as_u64().unwrap() > 0,
            "{tenant} {tool} {twin}: {answer}"
        );
    }
    assert_eq!(truth.leaked(tenant, &answer["result"]), Vec::<String>::new());
    assert_eq!(company.touched(), before + look_ups(twin) + 1);
}

/// The statements that came after.
fn since(
    before: &BTreeMap<String, Vec<String>>,
    after: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let new = after
        .iter()
        .flat_map(|(system, lines)| lines.iter().skip(before.get(system).map_or(0, Vec::len)));
    new.cloned().collect()
}

/// How many statements a refused call may have asked. Of one that only waits for a person, all that a
/// system had to confirm was its own: the identifier is in free text.
fn most(answer: &Value, at: (&str, &str), arguments: &Value) -> usize {
    let waits = answer["error"]["code"] == "approval_required";
    assert!(!waits || at == ("refund_invoice", "/note"), "{at:?} {arguments}: {answer}");
    if waits || looked_up(at.1) { look_ups(arguments) } else { 0 }
}

/// Every text of `twin` replaced by every foreign identifier, one at a time; returns how many calls
/// were refused.
async fn foreign(
    company: &Company,
    gateway: &Gateway,
    truth: &Truth,
    (tenant, token): (&str, &str),
    (tool, twin): (&str, &Value),
) -> usize {
    let mut refused = 0;
    for pointer in texts(twin, "") {
        for identifier in truth.foreign(tenant) {
            let mut arguments = twin.clone();
            *arguments.pointer_mut(&pointer).unwrap() = json!(identifier);
            let before = company.statements();
            let answer = gateway.call(token, tool, arguments.clone()).await;
            let case = format!("{tenant} {tool} {arguments}: {answer}");
            if answer["status"] == "refused" {
                refused += 1;
                let asked = since(&before, &company.statements());
                let only =
                    |line: &String| line.starts_with("select 1 from") && line.contains(tenant);
                assert!(asked.iter().all(only), "more than a look-up: {asked:?} {case}");
                let most = most(&answer, (tool, &pointer), &arguments);
                assert!(asked.len() <= most, "{asked:?} {case}");
                let echoed = !scoped(&pointer) || !answer.to_string().contains(&identifier);
                assert!(echoed, "the refusal repeats another tenant's identifier: {case}");
                continue;
            }
            // Only free text may be anything, and a contact's number: they are looked for among the
            // caller's own.
            let anything = [("search_tickets", "/text"), ("get_contact", "/contact_id")];
            assert!(anything.contains(&(tool, pointer.as_str())), "{case}");
            assert_eq!(answer["status"], "completed", "{case}");
            let rows = &answer["result"]["rows"];
            assert_eq!(truth.leaked(tenant, rows), Vec::<String>::new(), "{case}");
            let ran = since(&before, &company.statements());
            assert!(matches!(&ran[..], [line] if line.contains(tenant)), "{ran:?} {case}");
        }
    }
    refused
}
