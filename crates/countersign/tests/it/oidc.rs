//! The real gateway and a real OpenID provider: tokens that are taken, forgeries that are not, keys
//! that change under load, and floods that cost nobody anything.

use crate::clients::installed;
use crate::gateway::{Company, Gateway};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What tokens are for.
const RESOURCE: &str = "https://countersign.acme.example";

/// The certified provider, in a process of its own. It ends with the test.
pub(crate) struct Provider {
    _child: Child,
    pub(crate) issuer: String,
    pub(crate) control: String,
    http: reqwest::Client,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let mut child = Command::new("node")
            .arg(installed("provider.mjs"))
            .arg(RESOURCE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.map(Result::unwrap).find(|line| line.starts_with('{')).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { _child: child, issuer: text("issuer"), control: text("control"), http }
    }

    pub(crate) async fn asked(&self, what: &str, body: Value) -> Value {
        let sent = self.http.post(format!("{}/{what}", self.control)).json(&body).send();
        sent.await.unwrap().json().await.unwrap()
    }

    /// A token of the shape that is asked for, by the newest key unless it says otherwise.
    pub(crate) async fn sign(&self, asked: Value) -> String {
        self.asked("sign", asked).await["token"].as_str().unwrap().to_owned()
    }

    /// A token as an agent gets it: by its own credentials, for the gateway.
    async fn grant(&self, scope: &str) -> String {
        let body = format!(
            "grant_type=client_credentials&client_id=support-copilot&client_secret=made-up&scope={scope}&resource={RESOURCE}"
        );
        let sent = self.http.post(format!("{}/token", self.issuer));
        let sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer: Value = sent.send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn fetches(&self) -> u64 {
        self.asked("fetches", json!({})).await["fetches"].as_u64().unwrap()
    }
}

/// The example company, trusting these providers and nobody else.
pub(crate) fn company(providers: &[&Provider], more: &str) -> Company {
    let company = Company::new();
    company.lift_limits();
    trust(&company, providers, more);
    company
}

/// Has a company trust these providers and nobody else.
pub(crate) fn trust(company: &Company, providers: &[&Provider], more: &str) {
    company.edit("countersign.yaml", |text| {
        let issuers = providers.iter().map(|Provider { issuer, .. }| {
            format!("  - {{ issuer: \"{issuer}\", audience: \"{RESOURCE}\", discovery: true, algorithms: [ES256, RS256]{more} }}\n")
        });
        let text = text
            .replace("development_issuer: true\n", &format!("issuers:\n{}", issuers.collect::<String>()));
        // People sign in at the first of them.
        let [first, ..] = providers else { return text };
        text.replace("people:\n", &format!("people:\n  issuer: \"{}\"\n", first.issuer))
    });
}

fn usage() -> Value {
    json!({"tool": "get_account_usage", "arguments": {"account_id": "acct_alpha", "days": 3}})
}

/// One call over the HTTP door: its status and body.
async fn ask(gateway: &Gateway, token: &str, tenant: Option<&str>) -> (StatusCode, Value) {
    let sent = gateway.http.post(format!("{}/v1/calls", gateway.url)).bearer_auth(token);
    let sent = match tenant {
        Some(tenant) => sent.header("countersign-tenant", tenant),
        None => sent,
    };
    let answer = sent.json(&usage()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn taken(gateway: &Gateway, token: &str) -> bool {
    let (status, answer) = ask(gateway, token, None).await;
    match status {
        StatusCode::OK => answer["status"] == "completed",
        // The latter: too many wait for new keys to say whether it is valid.
        StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE => false,
        other => panic!("{other}: {answer}"),
    }
}

#[tokio::test]
async fn a_providers_tokens_are_taken_and_forgeries_of_them_are_not() {
    let provider = Provider::start();
    let company = company(&[&provider], "");
    let gateway = company.serve();
    assert!(taken(&gateway, &provider.grant("usage:read").await).await);
    assert!(taken(&gateway, &provider.sign(json!({})).await).await);
    provider.asked("rotate", json!({"alg": "RS256"})).await;
    assert!(taken(&gateway, &provider.grant("usage:read").await).await, "a key of another kind");
    let payload = |name: &str, value: Value| json!({"payload": {name: value}});
    let now = {
        #[expect(
            clippy::disallowed_methods,
            reason = "the program under test reads the real clock"
        )]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_secs()
    };
    for (what, forged) in [
        ("audience", payload("aud", json!("https://other.example"))),
        ("audience, beginning alike", payload("aud", json!(format!("{RESOURCE}.evil.example")))),
        ("no audience", payload("aud", Value::Null)),
        ("issuer", payload("iss", json!("https://other.example"))),
        ("no issuer", payload("iss", Value::Null)),
        ("expired", payload("exp", json!(now - 1))),
        ("no end", payload("exp", Value::Null)),
        ("not yet valid", payload("nbf", json!(now + 300))),
        ("issued in the future", payload("iat", json!(now + 300))),
        ("another agent", payload("client_id", json!("nobody"))),
        ("no agent", payload("client_id", Value::Null)),
        ("a key of nobody", json!({"by": "unknown"})),
        (
            "a key of nobody, called like the provider's",
            json!({"by": "unknown", "header": {"kid": "key-1"}}),
        ),
        ("alg none", json!({"header": {"alg": "none"}})),
        ("HS256 with the public key", json!({"header": {"alg": "HS256"}})),
        ("an algorithm that is not the key's", json!({"by": "key-1", "header": {"kid": "key-2"}})),
        ("another kind of token", json!({"header": {"typ": "dpop+jwt"}})),
        ("extensions", json!({"header": {"crit": ["x"], "x": 1}})),
    ] {
        let token = provider.sign(forged).await;
        assert!(!taken(&gateway, &token).await, "{what}");
    }
    // The twin of all of them.
    assert!(taken(&gateway, &provider.sign(json!({})).await).await);
    let records = company.records(&["--kind", "refusal"], 1);
    assert!(records.iter().all(|record| record["code"] == "unauthenticated"), "{records:?}");
    gateway.stop();
}

#[tokio::test]
async fn a_token_speaks_for_one_tenant_and_of_several_the_caller_chooses() {
    let provider = Provider::start();
    let company = company(&[&provider], ", tenants: [acct_alpha, acct_bravo]");
    let gateway = company.serve();
    let (alpha, bravo) = (Some("acct_alpha"), Some("acct_bravo"));
    for (claim, chosen, status) in [
        (json!("acct_alpha"), None, 200),
        (json!("acct_alpha"), alpha, 200),
        (json!("acct_alpha"), bravo, 401),
        (json!(["acct_alpha"]), None, 200),
        (json!(["acct_alpha", "acct_bravo"]), None, 401),
        (json!(["acct_alpha", "acct_bravo"]), alpha, 200),
        (json!(["acct_alpha", "acct_bravo"]), Some("acct_charlie"), 401),
        (json!(["acct_alpha", "acct_bravo"]), Some(""), 401),
        (json!(["acct_alpha", 7]), alpha, 401),
        // Its issuer does not speak for this one, whatever it says.
        (json!("acct_charlie"), None, 401),
        (json!([]), None, 401),
        (json!(""), None, 401),
        (json!(7), None, 401),
        (json!({"id": "acct_alpha"}), None, 401),
        (Value::Null, None, 401),
    ] {
        let token = provider.sign(json!({"payload": {"tenant": claim}})).await;
        let (got, answer) = ask(&gateway, &token, chosen).await;
        assert_eq!(got.as_u16(), status, "{claim} {chosen:?}: {answer}");
    }
    // Chosen, it is the tenant of the call: the other's account is then foreign.
    let both = json!({"payload": {"tenant": ["acct_alpha", "acct_bravo"]}});
    let (_, answer) = ask(&gateway, &provider.sign(both).await, bravo).await;
    assert_eq!(answer["error"]["code"], "out_of_scope", "{answer}");
    gateway.stop();
}

#[tokio::test]
async fn keys_change_under_load_and_no_valid_token_is_refused() {
    let provider = Arc::new(Provider::start());
    let company = company(&[&provider], "");
    let gateway = Arc::new(company.serve());
    let old = provider.sign(json!({})).await;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (provider, gateway) = (Arc::clone(&provider), Arc::clone(&gateway));
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let token = provider.sign(json!({})).await;
                    assert!(taken(&gateway, &token).await, "a valid token was refused");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = calls.load(Ordering::Relaxed);
        provider.asked("rotate", json!({})).await;
        // Each rotation is met by calls that were signed after it.
        while calls.load(Ordering::Relaxed) < before + 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(calls.load(Ordering::Relaxed) >= 150);
    // The first key is not published any more: what it signed ends with it, though it was taken
    // once and is remembered.
    assert!(!taken(&gateway, &old).await);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_a_bounded_number_of_fetches_and_no_valid_caller() {
    let provider = Arc::new(Provider::start());
    let company = company(&[&provider], "");
    let gateway = Arc::new(company.serve());
    let valid = provider.sign(json!({})).await;
    assert!(taken(&gateway, &valid).await);
    let forged = provider.sign(json!({"by": "unknown"})).await;
    let before = provider.fetches().await;
    let (begun, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    // More at once than may wait for a fetch.
    let flood: Vec<_> = (0..400)
        .map(|_| {
            let (gateway, forged) = (Arc::clone(&gateway), forged.clone());
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                let mut waited = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    match ask(&gateway, &forged, None).await.0 {
                        StatusCode::UNAUTHORIZED => waited.push(asked.elapsed()),
                        turned_away => assert_eq!(turned_away, StatusCode::SERVICE_UNAVAILABLE),
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                waited
            })
        })
        .collect();
    let mut served = Vec::new();
    for _ in 0..60 {
        let asked = Instant::now();
        assert!(taken(&gateway, &valid).await, "a valid caller was refused");
        served.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut waited = Vec::new();
    for task in flood {
        waited.extend(task.await.unwrap());
    }
    let (fetched, seconds) = (provider.fetches().await - before, begun.elapsed().as_secs());
    assert!(fetched <= seconds / 5 + 2, "{fetched} fetches in {seconds} s");
    // Both share one machine, however busy it is: what sets them apart is who waits for a fetch.
    let (served, waited) = (median(served), median(waited));
    println!("{served:?} to serve a caller; a forgery waited {waited:?}; {fetched} fetches");
    assert!(served < waited / 2, "callers wait {served:?}, forgeries {waited:?}");
}

/// The middle one.
fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

#[tokio::test]
async fn two_issuers_do_not_speak_for_each_others_agents_and_one_subject_of_both_is_two() {
    let (own, other) = (Provider::start(), Provider::start());
    let company = company(&[&own, &other], "");
    // `check` does not let an agent be anybody's.
    let unbound = company.run(&["check", "."]);
    assert_eq!(unbound.status.code(), Some(1));
    let said = String::from_utf8(unbound.stdout).unwrap();
    assert!(said.contains("agent-issuer") && said.contains("support-copilot"), "{said}");
    for (agent, issuer) in [("support-copilot", &own.issuer), ("dispatch-planner", &other.issuer)] {
        company.edit(&format!("posture/agents/{agent}.yaml"), |text| {
            let bound = format!("client_id: {agent}, issuer: \"{issuer}\"");
            text.replace(&format!("client_id: {agent}"), &bound)
        });
    }
    let gateway = company.serve();
    assert!(taken(&gateway, &own.sign(json!({})).await).await);
    assert!(!taken(&gateway, &other.sign(json!({})).await).await);
    let forged = json!({"payload": {"iss": own.issuer}});
    assert!(!taken(&gateway, &other.sign(forged).await).await, "by the other's key");
    let planner = json!({"payload": {"client_id": "dispatch-planner"}});
    assert!(!taken(&gateway, &own.sign(planner.clone()).await).await);
    let sent = gateway.http.get(format!("{}/v1/tools", gateway.url));
    let listed = sent.bearer_auth(other.sign(planner).await).send().await.unwrap();
    assert_eq!(listed.status(), StatusCode::OK);
    gateway.stop();
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_else_waiting_and_is_found_when_it_is_back() {
    let provider = Provider::start();
    provider.asked("away", json!({"away": true})).await;
    let company = company(&[&provider], "");
    let gateway = company.serve();
    let token = provider.sign(json!({})).await;
    assert!(!taken(&gateway, &token).await);
    let health = gateway.http.get(format!("{}/healthz", gateway.url)).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    provider.asked("away", json!({"away": false})).await;
    assert!(taken(&gateway, &token).await, "the next token asks again");
    // What is known serves on while it is away again.
    provider.asked("away", json!({"away": true})).await;
    assert!(taken(&gateway, &provider.sign(json!({})).await).await);
    gateway.stop();
}

#[tokio::test]
async fn a_tool_that_needs_a_scope_is_there_with_it_and_a_challenge_without() {
    let provider = Provider::start();
    let company = company(&[&provider], "");
    company.edit("posture/agents/support-copilot.yaml", |text| {
        text.replace(
            "tool: get_account_usage,",
            "tool: get_account_usage, require_scope: \"usage:read\",",
        )
    });
    let gateway = company.serve();
    let with = provider.grant("usage:read").await;
    let without = provider.grant("tickets:read").await;
    let listed = async |token: &str| {
        let sent = gateway.http.get(format!("{}/v1/tools", gateway.url)).bearer_auth(token);
        sent.send().await.unwrap().text().await.unwrap().contains("get_account_usage")
    };
    assert!(listed(&with).await && !listed(&without).await);
    assert!(taken(&gateway, &with).await);
    let call = |token: &str, tool: &str| {
        let body = json!({"tool": tool, "arguments": {"account_id": "acct_alpha", "days": 3}});
        gateway.http.post(format!("{}/v1/calls", gateway.url)).bearer_auth(token).json(&body).send()
    };
    let answer = call(&without, "get_account_usage").await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    for part in [
        "error=\"insufficient_scope\"",
        "scope=\"usage:read\"",
        "/.well-known/oauth-protected-resource\"",
    ] {
        assert!(challenge.contains(part), "{challenge}");
    }
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["error"]["code"], "insufficient_scope");
    // A tool that this agent was not granted asks for no scope: it does not exist.
    let answer = call(&without, "list_vehicles").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "unknown_tool");
    // The MCP door says so with the same status.
    let answer =
        gateway.mcp_sent(&without, "get_account_usage", usage()["arguments"].clone()).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("oauth-protected-resource/mcp\"") && challenge.contains("usage:read")
    );
    // Whoever has no token at all is told where to get one.
    let answer = gateway.mcp_sent("", "get_account_usage", json!({})).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    for (path, resource) in [("", ""), ("/mcp", "/mcp")] {
        let url = format!("{}/.well-known/oauth-protected-resource{path}", gateway.url);
        let metadata: Value = gateway.http.get(url).send().await.unwrap().json().await.unwrap();
        assert!(metadata["resource"].as_str().unwrap().ends_with(resource), "{metadata}");
        assert_eq!(metadata["authorization_servers"], json!([provider.issuer]));
        assert_eq!(metadata["scopes_supported"], json!(["usage:read"]));
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    }
    gateway.stop();
}
