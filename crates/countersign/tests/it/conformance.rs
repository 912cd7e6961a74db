//! The official conformance suite of MCP against the real gateway, over both eras' own wires: its
//! router, authentication and pipeline. `scripts/test` installs it.
//!
//! What the suite cannot do is bring a token: a shim on loopback adds one to each request. And it is
//! content with an error for most answers, so that tools answered is asked of itself.

use crate::bridge;
use crate::clients::installed;
use crate::gateway::{Company, Gateway, Who};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const WHO: Who<'_> = Who { agent: "suite", tenant: "ann", session: "suite", depots: &[] };
const TEXT: &str = "This is a simple text response for testing.";

fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance")
}

/// A gateway whose tools have the suite's names, to be reached through `origin` as well.
fn company(origin: &str) -> Company {
    let company = Company::empty();
    std::fs::remove_file(company.path().join("posture/systems/shop-db.yaml")).unwrap();
    for folder in ["agents", "systems", "tools"] {
        let to = company.path().join("posture").join(folder);
        std::fs::remove_dir_all(&to).unwrap_or_default();
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(ours().join("posture").join(folder)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    company.edit("countersign.yaml", |text| {
        text.replace("shop-db: { value: data/shop.db }", "fixture: { value: data/fixture.db }")
            .replace("listen: 127.0.0.1:8787", "listen: 127.0.0.1:0")
            + &format!("allowed_origins: [\"{origin}\"]\n")
    });
    let database = rusqlite::Connection::open(company.path().join("data/fixture.db")).unwrap();
    let rows = format!(
        "create table texts (tenant text, text text); insert into texts values ('ann', '{TEXT}')"
    );
    database.execute_batch(&rows).unwrap();
    company
}

/// A request as it came, and a token beside it.
#[derive(Clone)]
struct Shim {
    to: String,
    token: String,
    http: reqwest::Client,
}

async fn shim(
    State(Shim { to, token, http }): State<Shim>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    headers.remove(header::CONTENT_LENGTH); // The client writes its own.
    let sent = http.request(method, format!("{to}{uri}")).headers(headers).bearer_auth(token);
    let answer = sent.body(body).send().await.unwrap();
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    (status, headers, answer.bytes().await.unwrap()).into_response()
}

/// The bridge as an HTTP server: what it would be to a host, seen by the suite.
struct Hop {
    child: Mutex<Child>,
    stdin: Mutex<ChildStdin>,
    waiting: Arc<Mutex<BTreeMap<String, oneshot::Sender<String>>>>,
}

impl Hop {
    fn to(gateway: &Gateway, token: &str) -> Arc<Self> {
        let mut child = bridge::command(&gateway.url, token).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stdin = Mutex::new(child.stdin.take().unwrap());
        let waiting = Arc::<Mutex<BTreeMap<String, oneshot::Sender<String>>>>::default();
        let heard = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let answer: Value = serde_json::from_str(&line).unwrap();
                if let Some(waits) = heard.lock().unwrap().remove(&answer["id"].to_string()) {
                    drop(waits.send(line)); // The suite may have hung up.
                }
            }
        });
        Arc::new(Self { child: Mutex::new(child), stdin, waiting })
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        drop(child.kill());
        drop(child.wait());
    }
}

async fn hop(State(hop): State<Arc<Hop>>, body: String) -> Response {
    let Ok(message) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let (waits, answered) = oneshot::channel();
    if message["id"].is_null() {
        drop(waits);
    } else {
        hop.waiting.lock().unwrap().insert(message["id"].to_string(), waits);
    }
    writeln!(hop.stdin.lock().unwrap(), "{message}").unwrap();
    match answered.await {
        Ok(line) => ([(header::CONTENT_TYPE, "application/json")], line).into_response(),
        Err(_nothing) => StatusCode::ACCEPTED.into_response(),
    }
}

/// `(scenario, check)` → how it came out, and what was seen.
pub(crate) type Checks = BTreeMap<(String, String), Vec<(String, Value)>>;

/// The eras, each with its own wire.
pub(crate) const ERAS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// Runs all that a revision requires, and what else there is for it.
pub(crate) fn suite(url: &str, era: &str, more: &[&str]) -> Checks {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(installed("venv/bin/node"))
        .arg(installed("node_modules/@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", &format!("{url}/mcp"), "--requirements", era])
        .arg("--output-dir")
        .arg(out.path())
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{era}: {}", said.rsplit("=== SUMMARY ===").next().unwrap());
    assert!(more.is_empty() || output.status.success(), "{era}: the suite is not content");
    let mut checks = Checks::new();
    for folder in std::fs::read_dir(out.path()).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        // `server-`, the scenario, and a time in six parts: `2026-11-25T18-49-39-487Z`.
        let scenario = name.strip_prefix("server-").unwrap().rsplitn(7, '-').last().unwrap();
        let text = std::fs::read_to_string(folder.path().join("checks.json")).unwrap();
        let found: Vec<Value> = serde_json::from_str(&text).unwrap();
        for check in found {
            let key = (scenario.to_owned(), check["id"].as_str().unwrap().to_owned());
            let status = check["status"].as_str().unwrap().to_owned();
            checks.entry(key).or_default().push((status, check["details"].clone()));
        }
    }
    checks
}

/// Has the suite's requests reach the gateway with a token.
pub(crate) fn shimmed(listener: TcpListener, gateway: &Gateway, token: String) {
    let shimmed = Shim { to: gateway.url.clone(), token, http: gateway.http.clone() };
    let router = Router::new().fallback(shim).with_state(shimmed);
    tokio::spawn(async { axum::serve(listener, router).await });
}

/// A gateway, a token for it, and the suite's way to it.
async fn served() -> (Company, Gateway, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let company = company(&origin);
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    shimmed(listener, &gateway, token.clone());
    (company, gateway, token, origin)
}

/// The scenarios that concern what is offered. Of those that are not, `expected.yaml` knows why.
const IN_SCOPE: [(&str, &[&str]); 2] = [
    (
        "2025-11-25",
        &[
            "server-initialize",
            "ping",
            "tools-list",
            "tools-call-simple-text",
            "tools-call-error",
            "dns-rebinding-protection",
        ],
    ),
    (
        "2026-07-28",
        &[
            "server-stateless",
            "tools-list",
            "tools-call-simple-text",
            "tools-call-error",
            "server-sse-multiple-streams",
            "dns-rebinding-protection",
            "caching",
            "input-required-result-unsupported-methods",
            "http-header-validation", // not scored by the suite, but by us
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn both_eras_conform_in_all_that_is_offered_and_tools_answer() {
    let (company, _gateway, _token, origin) = served().await;
    let expected = ours().join("expected.yaml");
    let listed = std::fs::read_to_string(&expected).unwrap();
    let mut missing: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    for (era, scenarios) in IN_SCOPE {
        let checks = suite(&origin, era, &["--expected-failures", expected.to_str().unwrap()]);
        for scenario in scenarios {
            let of = checks.iter().filter(|((name, _), _)| name == scenario);
            let mut succeeded = 0;
            for ((_, check), found) in of {
                let is_listed = listed.contains(&format!("- {scenario}:{check}\n"));
                for (status, details) in found {
                    let fine = matches!(status.as_str(), "SUCCESS" | "INFO" | "SKIPPED");
                    assert!(fine || is_listed, "{era} {scenario} {check}: {status} {details}");
                    succeeded += usize::from(status == "SUCCESS");
                }
            }
            assert_ne!(succeeded, 0, "{era} {scenario}");
        }
        for ((scenario, check), found) in &checks {
            if found.iter().any(|(status, _)| matches!(status.as_str(), "FAILURE" | "WARNING")) {
                missing.remove(format!("{scenario}:{check}").as_str());
            }
        }
        let result = |scenario: &str| {
            let found = &checks[&(scenario.to_owned(), scenario.to_owned())];
            found[0].1["result"].clone()
        };
        let text = result("tools-call-simple-text");
        assert_eq!(text["isError"], false, "{era}: {text}");
        assert_eq!(text["structuredContent"]["rows"][0]["text"], TEXT, "{era}: {text}");
        // The database's own failure, and not a refusal before it.
        assert_eq!(result("tools-call-error")["structuredContent"]["code"], "system_failed");
    }
    assert!(missing.is_empty(), "listed, and tried in neither era: {missing:?}");
    for (tool, status) in [
        ("test_simple_text", "ok"),
        ("test_logging_tool", "ok"),
        ("test_streaming_elicitation", "ok"),
        ("test_error_handling", "fault"),
    ] {
        company.records(&["--tool", tool, "--kind", "outcome", "--status", status], 1);
    }
    assert!(company.touched() >= 6, "{:?}", company.statements());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_sees_through_the_bridge_what_it_sees_direct() {
    // What HTTP says in statuses and headers, a host on stdio neither hears nor says.
    const OF_HTTP: [&str; 4] = ["sep-2575-http-", "sep-2243-", "tasks-headers-", "localhost-host-"];
    let (_company, gateway, token, origin) = served().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hopped = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(hop).with_state(Hop::to(&gateway, &token));
    tokio::spawn(async { axum::serve(listener, router).await });
    for (era, _) in IN_SCOPE {
        let seen = |url: &str| {
            let mut seen = BTreeSet::new();
            for ((scenario, check), found) in suite(url, era, &[]) {
                if !OF_HTTP.iter().any(|begin| check.starts_with(begin)) {
                    let statuses: Vec<String> =
                        found.into_iter().map(|(status, _)| status).collect();
                    seen.insert((scenario, check, statuses));
                }
            }
            seen
        };
        let (direct, through) = (seen(&origin), seen(&hopped));
        let differs: Vec<_> = direct.symmetric_difference(&through).collect();
        assert!(differs.is_empty(), "{era}: {differs:#?}");
        assert!(direct.len() > 30, "{era}: {direct:?}");
    }
}
