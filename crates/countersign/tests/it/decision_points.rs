//! A decision point of the company's own in the place of people: one that answers over HTTP, before the
//! real gateway. What it does not say yes to, in so many words and in time, waits for a person.

use crate::gateway::{Company, Gateway, Who};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "decisions", depots: &[] };
const TOOL: &str = "posture/tools/change_billing_address.yaml";

/// How it answers, and what it was asked.
#[derive(Debug, Clone)]
struct Point {
    says: Arc<Mutex<(u16, &'static str, Duration)>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Point {
    /// Begins to listen; returns the address.
    async fn open() -> (Self, String, JoinHandle<()>) {
        let says = Arc::new(Mutex::new((200, YES, Duration::ZERO)));
        let point = Self { says, asked: Arc::default() };
        let answer = async |State(point): State<Point>, Json(body): Json<Value>| {
            point.asked.lock().unwrap().push(body);
            let (status, text, after) = *point.says.lock().unwrap();
            tokio::time::sleep(after).await;
            (StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], text)
        };
        let router =
            Router::new().route("/access/v1/evaluation", post(answer)).with_state(point.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serves = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (point, format!("http://{address}"), serves)
    }

    fn says(&self, status: u16, text: &'static str, after: Duration) {
        *self.says.lock().unwrap() = (status, text, after);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

const YES: &str = r#"{ "decision": true }"#;
const NO: &str = r#"{ "decision": false }"#;

/// The company, with the decision point before changes of address.
fn company(origin: &str) -> Company {
    let company = Company::new();
    company.lift_limits();
    company.edit("countersign.yaml", |text| {
        let references = format!("references:\n  decisions: {{ value: \"{origin}\" }}\n");
        text.replace("references:\n", &references)
    });
    let system = "system: decisions\nhttp: { origin: decisions, networks: [127.0.0.1/32] }\n\
                  timeout: 5s\nrows: 1\nbytes: 4KiB\n";
    std::fs::write(company.path().join("posture/systems/decisions.yaml"), system).unwrap();
    company.edit(TOOL, |text| {
        let decision =
            "  decision: { system: decisions, path: /access/v1/evaluation, timeout: 5s }\n";
        text.replace("limits: { per_minute: 20, per_hour: 60 }\n", "")
            .replace("  expires: 1d\n", &format!("  expires: 1d\n{decision}"))
    });
    company.says(&["check", "."]);
    company
}

impl Company {
    /// How often an address was changed.
    fn moves(&self) -> usize {
        let ran = self.statements();
        ran.values().flatten().filter(|line| line.contains("update accounts")).count()
    }
}

impl Gateway {
    async fn move_to(&self, token: &str, city: &str) -> Value {
        let address = json!({ "street": "Hafenstrasse 12", "city": city });
        self.call(token, "change_billing_address", address).await
    }

    /// A lead of the support desk, who may agree to it.
    async fn lead(&self) -> String {
        self.person(json!({ "person": "kim@acme.example", "groups": ["support-leads"] })).await
    }
}

#[tokio::test]
async fn its_yes_carries_a_call_out_and_nobody_is_asked() {
    let (point, origin, _serves) = Point::open().await;
    let company = company(&origin);
    let gateway = company.serve();
    let answer = gateway.move_to(&gateway.token(WHO).await, "Hamburg").await;
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(company.moves(), 1);
    let (_, drafts) = gateway.seen(&gateway.lead().await, "drafts").await;
    assert_eq!(drafts["drafts"], json!([]));
    gateway.stop();
    let asked = point.asked.lock().unwrap().clone();
    let expected = json!([{
        "subject": { "type": "identity", "id": "ann" },
        "action": { "name": "change_billing_address" },
        "resource": { "type": "tool", "id": "change_billing_address" },
        "context": {
            "tenant": "acct_alpha", "agent": "support-copilot", "rung": 3,
            "arguments": { "street": "Hafenstrasse 12", "city": "Hamburg", "tenant": "acct_alpha" },
        },
    }]);
    assert_eq!(json!(asked), expected);
    let [intent] = <[Value; 1]>::try_from(company.records(&["--kind", "intent"], 1)).unwrap();
    assert_eq!(intent["decided_by"], "decision_point", "{intent}");
    assert_eq!(intent["consulted"], json!({ "system": "decisions", "said": "yes" }));
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn one_whose_vendor_was_not_reviewed_in_time_is_not_asked_and_people_are() {
    let (point, origin, _serves) = Point::open().await;
    let company = company(&origin);
    let vendors = company.path().join("posture/vendors");
    let record = std::fs::read_to_string(vendors.join("rolo-crm.yaml")).unwrap();
    let record = record.replace("vendor: rolo-crm", "vendor: deciders");
    std::fs::write(
        vendors.join("deciders.yaml"),
        record.replace("review_by: 2099-12-31", "review_by: 2026-11-20"),
    )
    .unwrap();
    company.edit("posture/systems/decisions.yaml", |text| {
        text.replace("system: decisions\n", "system: decisions\nvendor: deciders\n")
    });
    let gateway = company.serve();
    let answer = gateway.move_to(&gateway.token(WHO).await, "Hamburg").await;
    assert_eq!(answer["error"]["code"], "approval_required", "{answer}");
    assert_eq!((point.asked(), company.moves()), (0, 0));
}

#[tokio::test]
async fn whatever_is_no_yes_waits_for_a_person_and_nothing_is_done() {
    let (point, origin, serves) = Point::open().await;
    let company = company(&origin);
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    let at_once = Duration::ZERO;
    for (status, text, after, city, said) in [
        (200, NO, at_once, "Kiel", "no"),
        (200, r#"{ "decision": "yes" }"#, at_once, "Bremen", "system_failed"),
        (200, r#"{ "decision": "true" }"#, at_once, "Emden", "system_failed"),
        (200, "yes", at_once, "Cuxhaven", "system_failed"),
        (200, "", at_once, "Husum", "system_failed"),
        (500, YES, at_once, "Stade", "system_failed"),
        (503, YES, at_once, "Plön", "system_unavailable"),
        (200, YES, Duration::from_secs(60), "Wismar", "system_timed_out"),
    ] {
        point.says(status, text, after);
        waits(&company, &gateway, &agent, (city, &[said])).await;
    }
    assert_eq!(point.asked(), 8);
    serves.abort();
    assert!(serves.await.unwrap_err().is_cancelled());
    // A connection from before may be there still, and break.
    let away = ["system_unavailable", "system_failed"];
    waits(&company, &gateway, &agent, ("Rostock", &away)).await;
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

/// It is drafted, and the record says what the decision point said.
async fn waits(company: &Company, gateway: &Gateway, agent: &str, (city, said): (&str, &[&str])) {
    let answer = gateway.move_to(agent, city).await;
    assert_eq!(answer["error"]["code"], "approval_required", "{city}: {answer}");
    let draft = &answer["error"]["reference"];
    let proposed = company.records(&["--kind", "draft_proposed"], 1);
    let proposed = proposed.iter().find(|record| record["draft"] == *draft).unwrap();
    let consulted = said.iter().map(|said| json!({ "system": "decisions", "said": said }));
    assert!(consulted.into_iter().any(|one| one == proposed["consulted"]), "{city}: {proposed}");
    assert_eq!(company.moves(), 0, "{city}");
}

#[tokio::test]
async fn what_a_person_was_asked_about_is_no_longer_its_to_decide() {
    let (point, origin, _serves) = Point::open().await;
    let company = company(&origin);
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    point.says(200, NO, Duration::ZERO);
    let [one, other] = ["Kiel", "Emden"];
    let mut drafts = Vec::new();
    for city in [one, other] {
        let drafted = gateway.move_to(&agent, city).await;
        drafts.push(drafted["error"]["reference"].as_str().unwrap().to_owned());
    }
    // It would say yes by now, to a call that would then have two effects, or one against a no.
    point.says(200, YES, Duration::ZERO);
    let again = gateway.move_to(&agent, one).await;
    assert_eq!(again["error"]["reference"], json!(drafts[0]), "{again}");
    let lead = gateway.lead().await;
    assert_eq!(gateway.decided(&lead, &drafts[1], "reject").await.0, 200);
    assert_eq!(gateway.move_to(&agent, other).await["error"]["code"], "rejected");
    assert_eq!((company.moves(), point.asked()), (0, 2));
    assert_eq!(gateway.decided(&lead, &drafts[0], "approve").await.0, 200);
    assert_eq!(gateway.settled(&lead, &drafts[0]).await["state"], "executed");
    assert_eq!(gateway.move_to(&agent, one).await["status"], "completed");
    assert_eq!((company.moves(), point.asked()), (1, 2), "told, and not done again");
    // After that the same call is another one, and the decision point is asked again.
    assert_eq!(gateway.move_to(&agent, one).await["status"], "completed");
    assert_eq!((company.moves(), point.asked()), (2, 3));
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn one_that_is_switched_off_is_not_asked() {
    let (point, origin, _serves) = Point::open().await;
    let company = company(&origin);
    let gateway = company.serve();
    let off = json!({ "kind": "system", "name": "decisions", "reason": "It says yes to all." });
    let operator = gateway.operator("oli").await;
    assert_eq!(gateway.done(&operator, "suspensions", off).await.0, 200);
    let answer = gateway.move_to(&gateway.token(WHO).await, "Kiel").await;
    assert_eq!(answer["error"]["code"], "approval_required", "{answer}");
    assert_eq!((company.moves(), point.asked()), (0, 0));
    let [proposed] =
        <[Value; 1]>::try_from(company.records(&["--kind", "draft_proposed"], 1)).unwrap();
    assert_eq!(proposed.get("consulted"), None);
    gateway.stop();
}
