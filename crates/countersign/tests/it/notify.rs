//! What people are told by the real gateway: over a real HTTP server that counts, and a real SMTP
//! server. Never what a call would do, and never in the way of one.

use crate::console::{at_home, signed_in};
use crate::gateway::{Company, Gateway, Who};
use crate::load::{Load, What, tally};
use crate::people::PAID;
use crate::smtp::{Smtp, authority};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::post};
use countersign_connectors::MailEncryption;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "told", depots: &[] };

/// How a server answers.
#[derive(Debug, Clone, Copy, Default)]
enum Answer {
    #[default]
    Taken,
    Broken,
    Elsewhere,
    /// One message in a while; for others it is too early.
    Slow(Duration),
}

/// What reached a server: where, under which name, and what it said.
type Told = (String, String, Value);

/// A server that writes down what it is told.
#[derive(Debug, Clone, Default)]
struct Room {
    told: Arc<Mutex<Vec<Told>>>,
    answer: Arc<Mutex<Answer>>,
    taken: Arc<Mutex<Option<Instant>>>,
    port: u16,
}

impl Room {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let room = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let router = Router::new().route("/{place}", post(hear)).with_state(room.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        room
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// What one place was told.
    fn at(&self, place: &str) -> Vec<Value> {
        let all = self.all().into_iter().filter(|(at, ..)| at == place);
        all.map(|(_, _, said)| said).collect()
    }

    /// The same, once there is so much.
    async fn told(&self, place: &str, enough: usize) -> Vec<Value> {
        for _ in 0..1_200 {
            let told = self.at(place);
            if told.len() >= enough {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{place} was told {:?}", self.all());
    }
}

async fn hear(
    State(room): State<Room>,
    Path(place): Path<String>,
    headers: HeaderMap,
    Json(said): Json<Value>,
) -> Response {
    let id = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Answer::Slow(pace) = *room.answer.lock().unwrap() {
        let mut taken = room.taken.lock().unwrap();
        if taken.is_some_and(|last| last.elapsed() < pace) {
            return StatusCode::TOO_MANY_REQUESTS.into_response();
        }
        *taken = Some(Instant::now());
    }
    room.told.lock().unwrap().push((place, id, said));
    match *room.answer.lock().unwrap() {
        Answer::Taken | Answer::Slow(_) => StatusCode::OK.into_response(),
        Answer::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Answer::Elsewhere => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response()
        }
    }
}

/// A company whose deployment has these destinations; `hook-PLACE` leads to a place of the room.
fn company(room: &Room, notify: &str) -> Company {
    let company = Company::new();
    company.edit("countersign.yaml", |text| {
        let hooks = ["slack", "teams", "json", "bravo"].map(|place| {
            format!("  hook-{place}: {{ value: \"http://127.0.0.1:{}/{place}\" }}\n", room.port)
        });
        let used = hooks
            .iter()
            .filter(|hook| notify.contains(hook.trim_start().split(':').next().unwrap()));
        let used: String = used.cloned().collect();
        text.replace("references:\n", &format!("{notify}references:\n{used}"))
    });
    company
}

fn webhook(place: &str, more: &str) -> String {
    let template = if place == "bravo" { "json" } else { place };
    format!(
        "  - {{ name: {place}, webhook: {{ url: hook-{place}, template: {template} }}, {more} }}\n"
    )
}

async fn probe(gateway: &Gateway, token: &str) {
    for number in 0..25 {
        gateway.call(token, &format!("drop_{number}"), json!({})).await;
    }
}

/// The references of a mail server at this port.
fn mailing(company: &Company, port: u16) {
    fs::write(company.path().join("ca.pem"), authority()).unwrap();
    fs::write(company.path().join("mail.secret"), "made-up-password").unwrap();
    company.edit("countersign.yaml", |text| {
        let mail = format!(
            "references:\n  desk-mail: {{ value: \"localhost:{}\" }}\n  mail-user: {{ value: mailer }}\n  \
             mail-password: {{ file: mail.secret }}\n  mail-ca: {{ file: ca.pem }}\n",
            port
        );
        text.replace("references:\n", &mail)
    });
}

#[tokio::test]
async fn a_draft_that_waits_is_told_everywhere_once_with_a_link_and_nothing_of_its_arguments() {
    let (room, smtp) = (Room::open().await, Smtp::start(MailEncryption::StartTls).await);
    let mut notify = "notify:\n".to_owned();
    for place in ["slack", "teams", "json"] {
        notify += &webhook(place, "drafts: true");
    }
    notify += &webhook("bravo", "drafts: true, tenants: [acct_bravo]");
    notify += "  - name: desk
    drafts: true
    email:
      server: desk-mail
      encryption: starttls
      auth: { basic: { user: mail-user, password: mail-password } }
      ca: mail-ca
      networks: [127.0.0.1/32]
      from: { address: countersign@acme.example, name: Countersign }
      to: [desk@acme.example, lead@acme.example]
";
    let company = company(&room, &notify);
    mailing(&company, smtp.port);
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let draft = gateway.drafted(&token, PAID[0]).await;
    for place in ["slack", "teams", "json"] {
        room.told(place, 1).await;
    }
    let mut taken = smtp.taken();
    for _ in 0..1_200 {
        if !taken.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        taken = smtp.taken();
    }
    // Asked again it is the same draft, and no news.
    gateway.drafted(&token, PAID[0]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let all = room.all();
    assert_eq!(all.len(), 3, "each once, and nothing of another customer's: {all:?}");
    assert!(all.iter().all(|(_, id, _)| *id == format!("{draft}.draft_waits")));
    assert_eq!(smtp.taken().len(), 1);
    let [(to, letter)] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!(to, &["desk@acme.example", "lead@acme.example"]);
    let link = format!("http://127.0.0.1:0/console/drafts/{draft}");
    let letter = letter.replace("=\r\n", "").replace("=3D", "=");
    assert!(
        letter.contains(&format!("Message-ID: <{draft}.draft_waits@acme.example>")),
        "{letter}"
    );
    let texts: Vec<String> =
        all.iter().map(|(_, _, said)| said.to_string()).chain([letter]).collect();
    for text in &texts {
        let text = text.replace("\\\\", "");
        for needed in ["refund_invoice", "acct_alpha", "support-copilot", "sam@acme.example", &link]
        {
            assert!(text.contains(needed), "{needed}: {text}");
        }
        for secret in [PAID[0], "500", "It came late.", "cents"] {
            let elsewhere = text.replace(&draft, "");
            assert!(!elsewhere.contains(secret), "{secret}: {text}");
        }
    }
    let said = &room.at("json")[0];
    assert_eq!((&said["kind"], &said["rung"]), (&json!("draft_waits"), &json!("4")));
    assert!(said["expires"].as_str().unwrap().ends_with('Z'), "{said}");
    gateway.stop();
}

#[tokio::test]
async fn a_draft_is_told_of_again_after_half_its_time_and_when_further_people_may_decide() {
    let room = Room::open().await;
    let company =
        company(&room, &format!("notify:\n{}", webhook("json", "drafts: true, alerts: true")));
    company.edit("posture/tools/refund_invoice.yaml", |text| {
        text.replace(
            "  expires: 4h\n",
            "  expires: 16s\n  escalate: { after: 3s, to: { named: [pat@acme.example] } }\n",
        )
    });
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let pat = gateway.person(json!({"person": "pat@acme.example", "groups": ["finance"]})).await;
    let decided = gateway.drafted(&token, PAID[0]).await;
    assert_eq!(gateway.decided(&pat, &decided, "approve").await.0, 404, "not theirs yet");
    let late = gateway.drafted(&token, PAID[1]).await;
    room.told("json", 4).await;
    assert_eq!(gateway.decided(&pat, &decided, "approve").await, (200, String::new()));
    // A kill in between: what is due afterwards is told all the same.
    gateway.kill();
    let gateway = company.serve();
    let told = room.told("json", 6).await;
    let of = |draft: &str| -> Vec<&str> {
        let mine = told.iter().filter(|said| said["id"].as_str().unwrap().starts_with(draft));
        mine.map(|said| said["kind"].as_str().unwrap()).collect()
    };
    assert_eq!(of(&decided), ["draft_waits", "draft_escalated"], "{told:?}");
    assert_eq!(of(&late), ["draft_waits", "draft_escalated", "draft_still_waits"], "{told:?}");
    let escalated = told.iter().find(|said| said["kind"] == "draft_escalated").unwrap();
    assert_eq!(escalated["further"], "pat@acme.example");
    let waits = told.iter().find(|said| said["kind"] == "draft_waits").unwrap();
    assert!(waits["further"].is_null(), "{waits}");
    // Its time is over, and nobody had decided.
    let expired = told.iter().find(|said| said["kind"] == "alert").unwrap();
    assert_eq!(
        (&expired["alert"], &expired["tool"]),
        (&json!("draft_expired"), &json!("refund_invoice"))
    );
    assert!(expired["link"].as_str().unwrap().ends_with("/console/alerts"));
    gateway.stop();
}

#[tokio::test]
async fn alerts_reach_those_who_are_told_of_them_and_of_that_tenant() {
    let room = Room::open().await;
    let notify = format!(
        "notify:\n{}{}{}",
        webhook("slack", "drafts: true"),
        webhook("json", "alerts: true, tenants: [acct_alpha]"),
        webhook("bravo", "alerts: true, tenants: [acct_bravo]"),
    );
    let company = company(&room, &notify);
    let gateway = company.serve();
    probe(&gateway, &gateway.token(WHO).await).await;
    // Gathered for a minute but for the first of each session.
    for session in 0..20 {
        let session = format!("told-{session}");
        let token = gateway.token(Who { session: &session, ..WHO }).await;
        gateway.call(&token, "drop_all", json!({})).await;
    }
    let told = room.told("json", 1).await;
    assert_eq!(told[0]["alert"], "unknown_tool");
    assert_eq!(
        (&told[0]["agent"], &told[0]["tenant"]),
        (&json!("support-copilot"), &json!("acct_alpha"))
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(room.all().len(), 1, "{:?}", room.all());
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_is_broken_holds_up_nothing_and_is_told_once_it_is_well_also_by_the_next_process()
 {
    let room = Room::open().await;
    let company =
        company(&room, &format!("notify:\n{}", webhook("json", "drafts: true, remind: 1s")));
    company.lift_limits();
    room.answers(Answer::Broken);
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let [lost, kept] =
        [gateway.drafted(&token, PAID[0]).await, gateway.drafted(&token, PAID[1]).await];
    let load = Load::begin(&gateway, &token, What::Tickets);
    room.told("json", 3).await;
    load.turn().await;
    let answers = load.end().await;
    assert_eq!(tally(&answers).keys().collect::<Vec<_>>(), [&"completed"]);
    gateway.says("it does not get on");
    let tried: BTreeSet<String> = room.all().into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(tried, [format!("{lost}.draft_waits")].into(), "one at a time, by one name");
    // Decided meanwhile: no news any more.
    let sam = gateway.sam().await;
    assert_eq!(gateway.decided(&sam, &lost, "reject").await.0, 200);
    // Nor is what was due before it could be told at all.
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.kill();
    let gateway = company.serve();
    room.answers(Answer::Taken);
    let before = room.all().len();
    for _ in 0..1_200 {
        if room.all().len() > before && room.all().last().unwrap().1.starts_with(&kept) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after: Vec<String> =
        room.all().split_off(before).into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(after, [format!("{kept}.draft_waits")]);
    gateway.stop();
}

#[tokio::test]
async fn the_console_shows_how_each_stands_and_the_reason_to_those_who_mend_it() {
    let room = Room::open().await;
    let notify = format!(
        "exporters: [{{ name: siem, file: state/journal.jsonl }}]\nnotify:\n{}{}",
        webhook("slack", "alerts: true"),
        webhook("json", "drafts: true, alerts: true"),
    );
    let (_company, gateway) = at_home(company(&room, &notify));
    let mut auditor = signed_in(&gateway, "ada@acme.example", "audit").await;
    let mut viewer = signed_in(&gateway, "vic@acme.example", "support-leads").await;
    room.answers(Answer::Broken);
    gateway.drafted(&gateway.token(WHO).await, PAID[0]).await;
    let mut page = String::new();
    for _ in 0..1_200 {
        page = auditor.get("/console/alerts").await.text;
        if page.contains("it answered 500") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for shown in ["it answered 500", "alerts by slack", "drafts and alerts by json", "call spike"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("hook-"), "no reference is shown: {page}");
    let page = viewer.get("/console/alerts").await.text;
    assert!(page.contains("does not get on") && !page.contains("it answered 500"), "{page}");
    let page = auditor.get("/console/audit").await.text;
    assert!(page.contains("siem") && page.contains("state/journal.jsonl"), "{page}");
    gateway.stop();
}

/// Whoever takes one message in a while gets them in that while, and not ever more seldom.
#[tokio::test]
async fn a_destination_that_asks_to_slow_down_is_told_as_fast_as_it_takes() {
    let room = Room::open().await;
    room.answers(Answer::Slow(Duration::from_millis(300)));
    let company = company(&room, &format!("notify:\n{}", webhook("json", "drafts: true")));
    company.lift_limits();
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    for amount in 1..=9 {
        let arguments = json!({"invoice_id": PAID[0], "amount_cents": amount, "note": "Late."});
        gateway.call(&token, "refund_invoice", arguments).await;
    }
    let told: BTreeSet<String> =
        room.told("json", 9).await.iter().map(|said| said["id"].to_string()).collect();
    assert_eq!(told.len(), 9, "each once");
    gateway.stop();
}

#[tokio::test]
async fn no_redirect_is_followed_and_nothing_is_said_to_a_server_that_is_not_trusted() {
    let room = Room::open().await;
    room.answers(Answer::Elsewhere);
    let company = company(&room, &format!("notify:\n{}", webhook("json", "drafts: true")));
    // It speaks no TLS, and writes down what it hears.
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = stranger.local_addr().unwrap().port();
    company.edit("countersign.yaml", |text| {
        text.replace(
            "notify:\n",
            "notify:\n  - { name: far, webhook: { url: far, template: json }, drafts: true }\n",
        )
        .replace(
            "references:\n",
            &format!("references:\n  far: {{ value: \"https://127.0.0.1:{port}/x\" }}\n"),
        )
    });
    let hears = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut heard = [0; 4096];
        let length = stream.read(&mut heard).unwrap();
        heard[..length].to_vec()
    });
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    let draft = gateway.drafted(&token, PAID[0]).await;
    room.told("json", 2).await;
    assert!(room.at("elsewhere").is_empty());
    let heard = tokio::task::spawn_blocking(|| hears.join().unwrap()).await.unwrap();
    assert_eq!(heard[0], 22, "a handshake");
    assert!(!String::from_utf8_lossy(&heard).contains(&draft));
    gateway.stop();
}

#[tokio::test]
async fn in_production_nobody_is_told_in_the_clear() {
    let company = Company::new();
    let address = |company: &Company, url: &str| {
        company.edit("countersign.yaml", |text| {
            let without: String = text
                .lines()
                .filter(|line| !line.starts_with("notify") && !line.starts_with("  hook:"))
                .map(|line| format!("{line}\n"))
                .collect();
            without.replace(
                "references:\n",
                &format!("notify: [{{ name: a, webhook: {{ url: hook, template: json }}, alerts: true }}]\nreferences:\n  hook: {{ value: \"{url}\" }}\n"),
            )
        });
        String::from_utf8(company.run(&["check", "."]).stdout).unwrap()
    };
    for (url, taken) in [
        ("http://127.0.0.1:9/x", true),
        ("http://[::1]:9/x", true),
        ("https://hooks.example.com/services/x", true),
        ("http://hooks.example.com/x", false),
        ("http://localhost:9/x", false),
        ("ftp://127.0.0.1/x", false),
        ("hooks.example.com/x", false),
    ] {
        let said = address(&company, url);
        assert_eq!(!said.contains("unfit-reference"), taken, "{url}: {said}");
        assert!(taken || !said.contains("cannot use `hook`: http"), "the address is not shown");
    }
    company.reviewers();
    company.edit("countersign.yaml", |text| {
        text.replace("environment: development", "environment: production").replace(
            "development_issuer: true",
            "exporters: [{ name: siem, stdout: true }]\n\
             issuers: [{ issuer: 'https://login.acme.example', discovery: true, algorithms: [EdDSA] }]",
        )
    });
    let said = address(&company, "http://127.0.0.1:9/x");
    assert!(said.contains("unfit-reference"), "{said}");
    let said = address(&company, "https://hooks.example.com/services/x");
    assert!(!said.contains("unfit-reference"), "{said}");
}
