//! People and the real gateway: who may decide about what, what an agent or its client may not, and
//! the commands and the API by which people do it.

use crate::clients::installed;
use crate::gateway::{Company, Gateway, Who};
use jsonschema::Validator;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncWriteExt;

pub(crate) const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "people", depots: &[] };
/// Invoices of acct_alpha that are paid.
pub(crate) const PAID: [&str; 4] = ["inv_500718", "inv_500715", "inv_500712", "inv_500709"];

fn refund(invoice: &str) -> Value {
    json!({"invoice_id": invoice, "amount_cents": 500, "note": "It came late."})
}

/// A time that is still to come, as the API has it.
pub(crate) fn in_s(s: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(now_s() + s).unwrap()).unwrap().to_string()
}

pub(crate) fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Gateway {
    /// The token of a made-up person.
    pub(crate) async fn person(&self, person: Value) -> String {
        let sent = self.http.post(format!("{}/dev/token", self.url)).json(&person).send();
        let answer: Value = sent.await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub(crate) async fn sam(&self) -> String {
        self.person(json!({"person": "sam@acme.example", "groups": ["finance"]})).await
    }

    pub(crate) async fn operator(&self, name: &str) -> String {
        self.person(json!({"person": name, "groups": ["operations"]})).await
    }

    /// The token of an agent that acts for this user.
    async fn agent_for(&self, user: &str) -> String {
        let body = json!({"agent": WHO.agent, "tenant": WHO.tenant, "user": user});
        self.person(body).await
    }

    pub(crate) async fn seen(&self, token: &str, path: &str) -> (StatusCode, Value) {
        let sent = self.http.get(format!("{}/admin/v1/{path}", self.url)).bearer_auth(token);
        both(sent.send().await.unwrap()).await
    }

    pub(crate) async fn done(&self, token: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let sent = self.http.post(format!("{}/admin/v1/{path}", self.url)).bearer_auth(token);
        both(sent.json(&body).send().await.unwrap()).await
    }

    pub(crate) async fn decided(&self, token: &str, draft: &str, what: &str) -> (u16, String) {
        let reason = json!({"reason": "Made up."});
        let body = if what == "approve" { json!({}) } else { reason };
        let (status, answer) = self.done(token, &format!("drafts/{draft}/{what}"), body).await;
        (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Proposes a refund and returns its reference.
    pub(crate) async fn drafted(&self, token: &str, invoice: &str) -> String {
        let answer = self.call(token, "refund_invoice", refund(invoice)).await;
        let reference = answer["error"]["reference"].as_str();
        reference.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The draft once it is neither approved nor being carried out.
    pub(crate) async fn settled(&self, token: &str, draft: &str) -> Value {
        for _ in 0..1_200 {
            let (_, answer) = self.seen(token, &format!("drafts/{draft}")).await;
            if !matches!(answer["state"].as_str(), Some("approved" | "committing")) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{draft} is not carried out");
    }

    /// A `tools/call` of the newest era by a client with these capabilities, and further members.
    async fn mcp_able(&self, token: &str, capabilities: Value, more: Value) -> Value {
        let mut params = json!({
            "name": "refund_invoice", "arguments": refund(PAID[0]), "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": capabilities,
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            },
        });
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let sent = self
            .http
            .post(format!("{}/mcp", self.url))
            .bearer_auth(token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "refund_invoice")
            .json(&message);
        sent.send().await.unwrap().json().await.unwrap()
    }
}

async fn both(answer: Response) -> (StatusCode, Value) {
    (answer.status(), answer.json().await.unwrap())
}

impl Company {
    /// What the company's own table says of an invoice: its status, and what was refunded.
    pub(crate) fn invoice(&self, id: &str) -> (String, i64) {
        let freight = rusqlite::Connection::open(self.path().join("data/freight.db")).unwrap();
        let statement = "select status, refunded_cents from invoices where id = ?1";
        freight.query_row(statement, [id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    /// How often the refund of an invoice reached the database.
    pub(crate) fn refunds(&self) -> usize {
        let statements = self.statements();
        let ran = statements.values().flatten();
        ran.filter(|line| line.contains("update invoices")).count()
    }
}

pub(crate) fn ready() -> Company {
    let company = Company::new();
    company.lift_limits();
    company.edit("posture/tools/refund_invoice.yaml", |text| {
        text.lines()
            .filter(|line| !line.starts_with("limits:"))
            .map(|line| format!("{line}\n"))
            .collect()
    });
    company
}

#[tokio::test]
async fn a_named_approver_lets_a_refund_happen_once() {
    let company = ready();
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    let draft = gateway.drafted(&agent, PAID[0]).await;
    assert_eq!(draft, gateway.drafted(&agent, PAID[0]).await, "the same call is the same draft");
    assert_eq!(company.refunds(), 0);
    let sam = gateway.sam().await;
    assert_eq!(gateway.decided(&sam, &draft, "approve").await, (200, String::new()));
    let after = gateway.settled(&sam, &draft).await;
    assert_eq!(after["state"], "executed", "{after}");
    assert_eq!(company.invoice(PAID[0]), ("refunded".to_owned(), 500));
    assert_eq!(company.refunds(), 1);
    // Once: neither by approving again nor by asking again.
    assert_eq!(gateway.decided(&sam, &draft, "approve").await, (409, "conflict".to_owned()));
    let answer = gateway.call(&agent, "refund_invoice", refund(PAID[0])).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    let again = gateway.drafted(&agent, PAID[0]).await;
    assert_ne!(again, draft, "and after that it is another call");
    let (_, again) = gateway.seen(&sam, &format!("drafts/{again}")).await;
    assert_eq!(again["same_as"], json!(draft));
    assert_eq!(company.refunds(), 1);
    gateway.stop();
    let one = |kind: &str| company.records(&["--kind", kind], 1).remove(0);
    assert_eq!(one("draft_approved")["posture"], one("posture_loaded")["posture"]);
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn nobody_approves_what_was_asked_for_on_their_own_behalf() {
    let company = ready();
    let gateway = company.serve();
    // By the immutable id of both tokens.
    let own = gateway.drafted(&gateway.agent_for("sam@acme.example").await, PAID[0]).await;
    assert_eq!(
        gateway.decided(&gateway.sam().await, &own, "approve").await,
        (403, "not_entitled".to_owned())
    );
    // By the name that the agent's token has for them, whatever id the other claim holds.
    let other_id = json!({"person": "p-7", "address": "sam@acme.example", "groups": ["finance"]});
    let other_id = gateway.person(other_id).await;
    assert_eq!(gateway.decided(&other_id, &own, "approve").await, (403, "not_entitled".to_owned()));
    // The twin: it was asked for on somebody else's.
    let lee = json!({"person": "p-8", "address": "lee@acme.example", "groups": ["finance"]});
    let lee = gateway.person(lee).await;
    assert_eq!(gateway.decided(&lee, &own, "approve").await, (200, String::new()));
    gateway.stop();
    // A posture that does not say who is behind an agent, and one that says it by another claim, are
    // refused before anybody can be asked.
    for (from, to) in
        [("    person: /sub", "    model: /sub"), ("    person: /sub", "    person: /oid")]
    {
        let company = Company::new();
        company.edit("posture/posture.yaml", |text| {
            let text = text.replace("    model: /model\n", "");
            text.replace(from, to)
        });
        let checked = company.run(&["check", "."]);
        assert_eq!(checked.status.code(), Some(1));
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(said.contains("person-claim"), "{said}");
    }
}

#[tokio::test]
async fn a_group_member_of_another_tenant_neither_sees_nor_approves() {
    let company = ready();
    company.edit("posture/tools/change_billing_address.yaml", |text| {
        text.replace("group: support-leads", "group: billing-leads")
    });
    let gateway = company.serve();
    let address = json!({"street": "Hafenstrasse 12", "city": "Hamburg"});
    let agent = gateway.token(WHO).await;
    let answer = gateway.call(&agent, "change_billing_address", address).await;
    let draft = answer["error"]["reference"].as_str().unwrap().to_owned();
    let member =
        |tenant: &str| json!({"person": "kim", "groups": ["billing-leads"], "tenants": [tenant]});
    let (of_bravo, of_alpha) =
        (gateway.person(member("acct_bravo")).await, gateway.person(member("acct_alpha")).await);
    let path = format!("drafts/{draft}");
    assert_eq!(gateway.seen(&of_bravo, &path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(gateway.seen(&of_bravo, "drafts").await.1["drafts"], json!([]));
    for what in ["approve", "reject", "withdraw"] {
        let answer = gateway.decided(&of_bravo, &draft, what).await;
        assert_eq!(answer, (404, "not_found".to_owned()), "{what}");
    }
    let nobody = gateway.person(json!({"person": "kim", "groups": ["billing-leads"]})).await;
    assert_eq!(gateway.decided(&nobody, &draft, "approve").await.0, 404);
    // The same answer as to a draft that there is not.
    let none = format!("drf_{}", "0".repeat(32));
    let (_, hidden) = gateway.seen(&of_bravo, &path).await;
    assert_eq!(hidden, gateway.seen(&of_bravo, &format!("drafts/{none}")).await.1);
    // And the twin.
    assert_eq!(gateway.seen(&of_alpha, "drafts").await.1["drafts"][0]["id"], json!(draft));
    assert_eq!(gateway.decided(&of_alpha, &draft, "approve").await, (200, String::new()));
    gateway.stop();
}

#[tokio::test]
async fn the_fourth_step_takes_a_sign_in_of_a_moment_ago() {
    let company = ready();
    let gateway = company.serve();
    let draft = gateway.drafted(&gateway.token(WHO).await, PAID[0]).await;
    let since = |ago_s: u64| json!({"person": "sam@acme.example", "groups": ["finance"], "auth_time": now_s() - ago_s});
    let cached = gateway.person(since(301)).await;
    assert_eq!(gateway.seen(&cached, &format!("drafts/{draft}")).await.0, StatusCode::OK);
    let url = format!("{}/admin/v1/drafts/{draft}/approve", gateway.url);
    let answer = gateway.http.post(url).bearer_auth(&cached).send().await.unwrap();
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
    assert!(challenge.contains("max_age=\"300\""), "{challenge}");
    let (status, answer) = both(answer).await;
    assert_eq!((status.as_u16(), &answer["code"]), (401, &json!("stale_sign_in")));
    let fresh = gateway.person(since(200)).await;
    assert_eq!(gateway.decided(&fresh, &draft, "approve").await, (200, String::new()));
    gateway.stop();
}

#[tokio::test]
async fn an_agents_token_is_no_persons_and_a_persons_no_agents() {
    let company = ready();
    let gateway = company.serve();
    let agent = gateway.agent_for("sam@acme.example").await;
    let draft = gateway.drafted(&agent, PAID[0]).await;
    for token in [agent.as_str(), "", "x.y.z"] {
        assert_eq!(gateway.seen(token, "me").await.0, StatusCode::UNAUTHORIZED);
        let answer = gateway.decided(token, &draft, "approve").await;
        assert_eq!(answer, (401, "unauthenticated".to_owned()), "{token}");
    }
    let sam = gateway.sam().await;
    let sent = gateway.http.get(format!("{}/v1/tools", gateway.url)).bearer_auth(&sam);
    assert_eq!(sent.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.seen(&sam, "me").await.0, StatusCode::OK);
    gateway.stop();
}

/// What a client sends back that answers by itself.
fn accepted(state: &Value, action: &str) -> Value {
    json!({"requestState": state, "inputResponses": {"countersign.draft": {"action": action}}})
}

#[tokio::test]
async fn whatever_a_client_answers_nothing_happens_until_a_person_agrees() {
    let company = ready();
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    let shows = || json!({"elicitation": {"url": {}}});
    // Without the capability, or with that for forms alone, it is told in words.
    for unable in [json!({}), json!({"elicitation": {}}), json!({"elicitation": {"form": {}}})] {
        let told = gateway.mcp_able(&agent, unable, json!({})).await;
        assert_eq!(told["result"]["structuredContent"]["code"], "approval_required", "{told}");
    }
    let asked = gateway.mcp_able(&agent, shows(), json!({})).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].clone();
    let request = &asked["result"]["inputRequests"]["countersign.draft"];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["mode"], "url");
    let url = request["params"]["url"].as_str().unwrap();
    assert_eq!(
        url,
        format!("http://{}/drafts/{}", url.split('/').nth(2).unwrap(), state.as_str().unwrap())
    );
    for action in ["accept", "cancel", "decline"] {
        let told = gateway.mcp_able(&agent, shows(), accepted(&state, action)).await;
        let structured = &told["result"]["structuredContent"];
        assert_eq!(structured["code"], "approval_required", "{action}: {told}");
        assert_eq!(structured["reference"], state, "{action}");
    }
    let sam = gateway.sam().await;
    let draft = state.as_str().unwrap();
    assert_eq!(gateway.seen(&sam, &format!("drafts/{draft}")).await.1["state"], "waiting");
    assert_eq!(company.refunds(), 0);
    // What was never asked, and what nobody gave.
    let forged = json!(format!("drf_{}", "1".repeat(32)));
    let other = gateway.drafted(&agent, PAID[1]).await;
    for (what, answered) in [
        (
            "a form",
            json!({"requestState": state, "inputResponses": {"countersign.draft": {"action": "accept", "content": {"approve": true}}}}),
        ),
        (
            "another question",
            json!({"requestState": state, "inputResponses": {"approve": {"action": "accept"}}}),
        ),
        ("no state", json!({"inputResponses": {"countersign.draft": {"action": "accept"}}})),
        ("a forged state", accepted(&forged, "accept")),
        ("another draft's state", accepted(&json!(other), "accept")),
        ("no state at all", accepted(&json!(""), "accept")),
    ] {
        let told = gateway.mcp_able(&agent, shows(), answered).await;
        let code = &told["result"]["structuredContent"]["code"];
        assert_eq!(code, "outside_approval", "{what}: {told}");
    }
    let records = company.records(&["--code", "outside_approval"], 1);
    assert!(records.iter().all(|record| record["alert"].is_string()), "{records:?}");
    assert_eq!(company.refunds(), 0);
    assert_eq!(gateway.seen(&sam, &format!("drafts/{draft}")).await.1["state"], "waiting");
    // A person's approval executes once, whatever is replayed.
    assert_eq!(gateway.decided(&sam, draft, "approve").await, (200, String::new()));
    let after = gateway.settled(&sam, draft).await;
    assert_eq!(after["state"], "executed", "{after}");
    let told = gateway.mcp_able(&agent, shows(), accepted(&state, "accept")).await;
    assert_eq!(told["result"]["structuredContent"]["row_count"], 0, "{told}");
    for _ in 0..3 {
        gateway.mcp_able(&agent, shows(), accepted(&state, "accept")).await;
    }
    assert_eq!(company.refunds(), 1);
    gateway.stop();
}

/// What the Python client says of one refund, whose host answers every question by itself.
async fn careless(gateway: &Gateway, token: &str, action: &str, invoice: &str) -> Value {
    let calls = json!([["refund_invoice", refund(invoice)]]);
    let mut client = tokio::process::Command::new(installed("venv/bin/python"))
        .arg(installed("elicit.py"))
        .args([format!("{}/mcp", gateway.url), action.to_owned()])
        .env("TOKEN", token)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(calls.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = client.wait_with_output().await.unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_real_client_that_answers_by_itself_gets_nothing_executed() {
    let company = ready();
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    for (action, invoice) in [("accept", PAID[0]), ("cancel", PAID[1]), ("decline", PAID[2])] {
        let said = careless(&gateway, &agent, action, invoice).await;
        assert_eq!(said["asked"][0]["mode"], "url", "{said}");
        assert_eq!(said["asked"].as_array().unwrap().len(), 1, "{said}");
        let structured = &said["answers"][0]["structured"];
        assert_eq!(structured["code"], "approval_required", "{action}: {said}");
        assert_eq!(company.invoice(invoice).0, "paid");
    }
    let said = careless(&gateway, &agent, "form", PAID[3]).await;
    assert_eq!(said["answers"][0]["structured"]["code"], "outside_approval", "{said}");
    assert_eq!(company.refunds(), 0);
    let alerts = company.records(&["--code", "outside_approval"], 1);
    assert!(alerts[0]["alert"].is_string(), "{alerts:?}");
    // A person's approval executes once, and the same call finds what came of it.
    let draft = gateway.drafted(&agent, PAID[0]).await;
    let sam = gateway.sam().await;
    assert_eq!(gateway.decided(&sam, &draft, "approve").await, (200, String::new()));
    assert_eq!(gateway.settled(&sam, &draft).await["state"], "executed");
    let said = careless(&gateway, &agent, "accept", PAID[0]).await;
    assert_eq!(said["answers"][0]["is_error"], false, "{said}");
    assert_eq!(said["asked"], json!([]));
    assert_eq!(company.refunds(), 1);
    gateway.stop();
}

#[tokio::test]
async fn another_agents_draft_is_nobodys_and_an_alert() {
    let company = ready();
    let gateway = company.serve();
    let draft = gateway.drafted(&gateway.token(WHO).await, PAID[0]).await;
    let check = |token: String, reference: String| {
        let gateway = &gateway;
        async move { gateway.call(&token, "check_draft", json!({"reference": reference})).await }
    };
    let other = gateway.token(Who { tenant: "acct_bravo", ..WHO }).await;
    let answer = check(other.clone(), draft.clone()).await;
    assert_eq!(answer["error"]["code"], "unknown_draft", "{answer}");
    let none = check(other, format!("drf_{}", "0".repeat(32))).await;
    for answer in [&answer, &none] {
        assert!(answer["error"]["message"].as_str() == none["error"]["message"].as_str());
    }
    let own = check(gateway.token(WHO).await, draft).await;
    assert_eq!(own["error"]["code"], "approval_required", "{own}");
    let alerts = company.records(&["--code", "unknown_draft"], 1);
    assert!(alerts.iter().any(|record| record["alert"].is_string()), "{alerts:?}");
    gateway.stop();
}

#[tokio::test]
async fn the_kill_switch_is_thrown_by_operators_and_taken_back_by_another() {
    let company = ready();
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    let draft = gateway.drafted(&agent, PAID[0]).await;
    let (oli, pat, sam) =
        (gateway.operator("oli").await, gateway.operator("pat").await, gateway.sam().await);
    let off =
        || json!({"kind": "agent", "name": "support-copilot", "reason": "It refunds at random."});
    assert_eq!(gateway.done(&sam, "suspensions", off()).await.0, StatusCode::FORBIDDEN);
    let misspelt = json!({"kind": "agent", "name": "suport-copilot", "reason": "x"});
    assert_eq!(gateway.done(&oli, "suspensions", misspelt).await.0, StatusCode::NOT_FOUND);
    assert_eq!(gateway.done(&oli, "suspensions", off()).await.0, StatusCode::OK);
    let usage = json!({"account_id": "acct_alpha", "days": 3});
    let stopped = gateway.call(&agent, "get_account_usage", usage.clone()).await;
    assert_eq!(stopped["error"]["code"], "suspended", "{stopped}");
    assert_eq!(gateway.decided(&sam, &draft, "approve").await, (409, "suspended".to_owned()));
    let (_, agents) = gateway.seen(&oli, "agents/support-copilot").await;
    assert_eq!(agents["suspended"]["reason"], "It refunds at random.", "{agents}");
    // Not by the same person, not by an old sign-in, and then by another.
    let (status, why) = gateway.done(&oli, "suspensions/resume", off()).await;
    assert_eq!((status.as_u16(), &why["code"]), (403, &json!("not_entitled")));
    let stale = json!({"person": "pat", "groups": ["operations"], "auth_time": now_s() - 400});
    let stale = gateway.person(stale).await;
    assert_eq!(gateway.done(&stale, "suspensions/resume", off()).await.1["code"], "stale_sign_in");
    assert_eq!(gateway.done(&pat, "suspensions/resume", off()).await.0, StatusCode::OK);
    let goes_on = gateway.call(&agent, "get_account_usage", usage).await;
    assert_eq!(goes_on["status"], "completed", "{goes_on}");
    gateway.stop();
}

/// A schema of the API's description that stands on its own.
fn validator(described: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = described["components"].clone();
    jsonschema::validator_for(&schema).unwrap()
}

/// A request, and what the description calls it: token, way, path, described path, body.
type Asked = (String, &'static str, String, &'static str, Value);

/// One request or more to every route: what is answered, and what is refused.
fn requests([draft, other, own]: [&str; 3], [oli, pat, sam]: [&String; 3]) -> Vec<Asked> {
    let off = json!({"kind": "tool", "name": "search_tickets", "reason": "Made up."});
    let reason = json!({"reason": "Made up."});
    let away = json!({"to": "kim@acme.example", "until": in_s(3_600)});
    let get = |token: &String, path: &str, of: &'static str| {
        (token.clone(), "get", path.to_owned(), of, Value::Null)
    };
    let post = |token: &String, path: &str, of: &'static str, body: &Value| {
        (token.clone(), "post", path.to_owned(), of, body.clone())
    };
    [
        get(sam, "sign-in", "sign-in"),
        get(sam, "openapi.json", "openapi.json"),
        get(sam, "me", "me"),
        get(oli, "me", "me"),
        get(
            oli,
            "drafts?state=waiting&tenant=acct_alpha&agent=support-copilot&mine=false",
            "drafts",
        ),
        get(sam, "drafts?mine=true", "drafts"),
        get(sam, &format!("drafts/{draft}"), "drafts/{id}"),
        get(sam, &format!("drafts/{draft}/preview"), "drafts/{id}/preview"),
        get(sam, "drafts/drf_x", "drafts/{id}"),
        get(sam, "drafts?state=done", "drafts"),
        post(sam, &format!("drafts/{draft}/approve"), "drafts/{id}/approve", &json!({})),
        post(sam, &format!("drafts/{draft}/approve"), "drafts/{id}/approve", &json!({"really": 1})),
        post(sam, &format!("drafts/{other}/reject"), "drafts/{id}/reject", &reason),
        post(oli, &format!("drafts/{own}/withdraw"), "drafts/{id}/withdraw", &reason),
        get(sam, &format!("drafts/{other}"), "drafts/{id}"),
        get(oli, "agents", "agents"),
        get(oli, "agents/support-copilot", "agents/{name}"),
        get(oli, "agents/nobody", "agents/{name}"),
        get(sam, "agents", "agents"),
        post(oli, "suspensions", "suspensions", &off),
        post(oli, "suspensions", "suspensions", &reason),
        get(oli, "suspensions", "suspensions"),
        get(oli, "agents", "agents"),
        post(pat, "suspensions/resume", "suspensions/resume", &off),
        post(sam, "delegations", "delegations", &away),
        post(sam, "delegations", "delegations", &reason),
        post(oli, "delegations", "delegations", &away),
        get(oli, "delegations", "delegations"),
        get(sam, &format!("drafts/{own}"), "drafts/{id}"),
        post(sam, "delegations/end", "delegations/end", &json!({"delegation": "dlg_x"})),
        post(sam, "delegations/end", "delegations/end", &json!({})),
        post(sam, "delegations/end", "delegations/end", &json!({})),
        get(oli, "unknown?resolved=true", "unknown"),
        post(
            oli,
            "unknown/call_x/resolve",
            "unknown/{call}/resolve",
            &json!({"happened": true, "reason": "x"}),
        ),
    ]
    .into()
}

#[tokio::test]
async fn every_answer_of_the_admin_api_is_as_described() {
    let company = ready();
    let gateway = company.serve();
    let draft = gateway.drafted(&gateway.token(WHO).await, PAID[0]).await;
    let (oli, pat, sam) =
        (gateway.operator("oli").await, gateway.operator("pat").await, gateway.sam().await);
    let described: Value = {
        let sent = gateway.http.get(format!("{}/admin/v1/openapi.json", gateway.url)).send();
        sent.await.unwrap().json().await.unwrap()
    };
    let other = gateway.drafted(&gateway.token(WHO).await, PAID[1]).await;
    let own = gateway.drafted(&gateway.token(WHO).await, PAID[2]).await;
    let asked = requests([&draft, &other, &own], [&oli, &pat, &sam]);
    let mut met = std::collections::BTreeSet::new();
    for (token, way, path, of, body) in asked {
        let (status, answer) = match way {
            "get" => gateway.seen(&token, &path).await,
            _ => gateway.done(&token, &path, body).await,
        };
        let operation = &described["paths"][format!("/admin/v1/{of}")][way];
        let schema = match status.is_success() {
            true => &operation["responses"]["200"]["content"]["application/json"]["schema"],
            false => {
                &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
            }
        };
        assert!(schema.is_object(), "{way} {of}");
        let wrong: Vec<_> =
            validator(&described, schema).iter_errors(&answer).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{way} {path}: {wrong:?} in {answer}");
        if status.is_success() || of.contains("{call}") || of.contains("preview") {
            met.insert(format!("{way} /admin/v1/{of}"));
        }
    }
    let all = described["paths"].as_object().unwrap().iter().flat_map(|(path, ways)| {
        ways.as_object().unwrap().keys().map(move |way| format!("{way} {path}"))
    });
    assert_eq!(met, all.collect(), "every route was asked");
    gateway.stop();
}

/// A command of a person whose sign-ins are kept in the company's own folder.
pub(crate) fn command(company: &Company, gateway: &Gateway, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .env("XDG_CONFIG_HOME", company.path().join("config"))
        .env("COUNTERSIGN_URL", &gateway.url)
        .env_remove("COUNTERSIGN_TOKEN")
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_commands_sign_in_show_decide_and_tell_why_not() {
    use std::os::unix::fs::PermissionsExt;
    let company = ready();
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    let draft = gateway.drafted(&agent, PAID[0]).await;
    let says = |code: i32, arguments: &[&str]| {
        let output = command(&company, &gateway, arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        let noted = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}{noted}");
        format!("{said}{noted}")
    };
    let told = says(2, &["drafts", "list"]);
    assert!(told.contains("countersign login"), "{told}");
    let told = says(2, &["login"]);
    assert!(told.contains("--person"), "{told}");
    let told = says(0, &["login", "--person", "sam@acme.example", "--group", "finance"]);
    assert!(told.contains("signed in at") && told.contains("sam@acme.example"), "{told}");
    let kept = company.path().join("config/countersign/sign-ins.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = says(0, &["drafts", "list"]);
    assert!(listed.contains(&draft) && !listed.contains('\u{1b}'), "{listed}");
    let shown = says(0, &["drafts", "show", &draft]);
    for part in
        ["inv_500718", "acct_alpha", "support-copilot", "ann", "sam@acme.example", "waiting"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = says(0, &["drafts", "show", &draft, "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["arguments"], refund(PAID[0]));
    let told = says(1, &["agents", "suspend", "support-copilot", "--reason", "x"]);
    assert!(told.contains("refused (not_entitled)"), "{told}");
    let told = says(1, &["drafts", "show", "drf_nosuch"]);
    assert!(told.contains("not_found"), "{told}");
    let other = gateway.drafted(&agent, PAID[1]).await;
    says(0, &["drafts", "reject", &other, "--reason", "Not a refund."]);
    let rejected = gateway.call(&agent, "refund_invoice", refund(PAID[1])).await;
    assert!(rejected.to_string().contains("Not a refund."), "{rejected}");
    let told = says(0, &["drafts", "approve", &draft]);
    assert!(told.contains("executed"), "{told}");
    assert_eq!(company.invoice(PAID[0]), ("refunded".to_owned(), 500));
    says(0, &["login", "--person", "oli", "--group", "operations"]);
    says(0, &["switch", "off", "--tool", "search_tickets", "--reason", "Made up."]);
    assert!(says(0, &["switch", "list"]).contains("search_tickets"));
    let told = says(1, &["switch", "on", "--tool", "search_tickets", "--reason", "Made up."]);
    assert!(told.contains("Somebody else"), "{told}");
    says(0, &["login", "--person", "pat", "--group", "operations"]);
    says(0, &["switch", "on", "--tool", "search_tickets", "--reason", "Made up."]);
    assert!(says(0, &["unknown", "list"]).contains("no outcome"));
    assert!(says(0, &["agents", "show", "support-copilot"]).contains("refund_invoice"));
    says(0, &["logout"]);
    says(2, &["agents", "list"]);
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = says(2, &["agents", "list"]);
    assert!(told.contains("others may read"), "{told}");
    gateway.stop();
}
