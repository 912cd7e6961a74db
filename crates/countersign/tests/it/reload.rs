//! Another posture while the gateway serves. The two postures of these tests differ in everything by
//! which a call is decided or answered, so that a mixture of them would show.

use crate::gateway::{Company, Gateway, Who};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

const ANN: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "s", depots: &[] };

/// The example's, which production has to have.
const VENDOR: &str = include_str!("../../../../examples/acme/posture/vendors/meridian-models.yaml");

/// A company whose `posture` is a link to one of `postures/*`: `a` at first.
struct Two {
    company: Company,
    digests: BTreeMap<String, &'static str>,
}

impl Two {
    fn new() -> Self {
        let company = Company::new();
        std::fs::remove_dir_all(company.path().join("posture")).unwrap();
        std::fs::create_dir(company.path().join("postures")).unwrap();
        for letter in ["a", "b"] {
            let database = company.path().join(format!("data/{letter}.db"));
            let database = rusqlite::Connection::open(database).unwrap();
            let sql = format!(
                "create table mark (letter text, who text);
                 insert into mark values ('{letter}', 'ann'), ('{letter}', 'acct_alpha')"
            );
            database.execute_batch(&sql).unwrap();
        }
        company.edit("countersign.yaml", |text| {
            let references =
                "references:\n  db-a: { value: data/a.db }\n  db-b: { value: data/b.db }\n";
            let (before, _) = text.split_once("references:").unwrap();
            format!("{before}{references}")
        });
        let mut two = Self { company, digests: BTreeMap::new() };
        for letter in ["b", "a"] {
            two.write(letter, letter);
            two.lead_to(letter);
            let said = two.company.says(&["check", "."]);
            let digest = said.trim().rsplit(' ').next().unwrap();
            assert_eq!(digest.len(), 64, "{said}");
            two.digests.insert(digest.to_owned(), letter);
        }
        two
    }

    /// Writes posture `letter` to `postures/NAME`.
    fn write(&self, name: &str, letter: &str) {
        let (subject, one, two) = match letter {
            "a" => ("/sub", "db-a", "db-b"),
            _ => ("/tenant", "db-b", "db-a"),
        };
        let limits = "{ per_session: 1000000, per_minute: 1000000, per_hour: 1000000, identical_per_minute: 9 }";
        let system = |name: &str, database: &str| {
            format!(
                "system: {name}\nsqlite: {{ database: {database} }}\ntimeout: 60s\nrows: 9\nbytes: 9KiB\n"
            )
        };
        let n = "n: { type: integer, minimum: 0, maximum: 9000000 }";
        for (file, text) in [
            (
                "posture.yaml",
                format!(
                    "organisation: {letter}\nidentity: {{ claims: {{ subject: {subject}, \
                     actor: /client_id, tenant: /tenant, session: /sid }} }}\nlimits: {limits}\n"
                ),
            ),
            ("vendors/meridian-models.yaml", VENDOR.to_owned()),
            ("systems/one.yaml", system("one", one)),
            ("systems/two.yaml", system("two", two)),
            (
                "agents/support-copilot.yaml",
                format!(
                    "agent: support-copilot\npurpose: Tells postures apart.\n\
                     owner: {{ team: team-of-{letter}, contact: {letter}@acme.example }}\n\
                     identity: {{ client_id: support-copilot }}\nvendor: meridian-models\nstage: production\n\
                     grants:\n  - {{ tool: mark, reason: r }}\n  - {{ tool: only_{letter}, reason: r }}\n"
                ),
            ),
            (
                "tools/mark.yaml",
                format!(
                    "tool: mark\ndescription: The posture is {letter}.\neffect: read\n\
                     input: {{ {letter}: {{ type: string, enum: [{letter}] }}, {n} }}\n\
                     scope: {{ who: {{ bind: caller.subject }} }}\ncall:\n  system: one\n  \
                     sql: select '{letter}' as letter, letter as stored, :who as who, :{letter} as sent, :n as n from mark where who = :who\n"
                ),
            ),
            (
                &format!("tools/only_{letter}.yaml"),
                format!(
                    "tool: only_{letter}\ndescription: Numbers of another database.\neffect: read\n\
                     input: {{ {n} }}\nscope: {{ who: {{ bind: caller.subject }} }}\ncall:\n  system: two\n  \
                     sql: select '{letter}' as letter, letter as stored, :who as who, :n as n from mark where who = :who\n"
                ),
            ),
        ] {
            let path = self.company.path().join("postures").join(name).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// Posture `letter`, broken in one of several ways, and once more so that its refusal is told
    /// from all others.
    fn write_broken(&self, number: usize, letter: &str) -> String {
        let name = format!("broken-{number}");
        self.write(&name, letter);
        let file = |file: &str| format!("postures/{name}/{file}");
        self.company
            .edit(&file("agents/support-copilot.yaml"), |t| format!("{t}broken_{number}: 1\n"));
        let mark = file("tools/mark.yaml");
        match number % 5 {
            0 => std::fs::remove_file(self.company.path().join(file("posture.yaml"))).unwrap(),
            1 => self.company.edit(&mark, |text| text.replace("from mark", "from 'mark")),
            2 => self.company.edit(&mark, |text| format!("{text}  - : [\n")),
            3 => std::fs::remove_file(self.company.path().join(file("systems/one.yaml"))).unwrap(),
            _ => self.company.edit(&mark, |text| text.replace("maximum: 9000000", "")),
        }
        name
    }

    /// Swaps the link in one step.
    fn lead_to(&self, name: &str) {
        let new = self.company.path().join("posture.new");
        symlink(format!("postures/{name}"), &new).unwrap();
        std::fs::rename(new, self.company.path().join("posture")).unwrap();
    }

    fn digest(&self, letter: &str) -> &str {
        self.digests.iter().find(|(_, found)| **found == letter).unwrap().0
    }

    /// The letters of the postures that were recorded as loaded, in order.
    fn loaded(&self) -> Vec<&str> {
        let records = self.company.records(&["--kind", "posture_loaded"], 1);
        let mut before = None;
        for record in &records {
            assert_eq!(record.get("previous"), before, "{record}");
            before = record.get("posture");
        }
        records.iter().map(|record| self.digests[record["posture"].as_str().unwrap()]).collect()
    }
}

fn in_force(digest: &str) -> String {
    format!("a posture is in force posture={digest}")
}

async fn ready(gateway: &Gateway) -> String {
    let sent = gateway.http.get(format!("{}/readyz", gateway.url)).send().await.unwrap();
    sent.text().await.unwrap()
}

/// The rows that posture `letter` answers with, and nothing of the other.
fn rows(tool: &str, letter: &str, n: usize) -> Value {
    let (who, other) = match letter {
        "a" => ("ann", "b"),
        _ => ("acct_alpha", "a"),
    };
    match tool {
        "mark" => json!([{"letter": letter, "stored": letter, "who": who, "sent": letter, "n": n}]),
        _ => json!([{"letter": letter, "stored": other, "who": who, "n": n}]),
    }
}

/// A call as posture `letter` takes it and the other refuses it.
fn call(letter: &str, n: usize) -> (String, Value) {
    match n % 4 / 2 {
        0 => ("mark".to_owned(), json!({ letter: letter, "n": n })),
        _ => (format!("only_{letter}"), json!({ "n": n })),
    }
}

/// Calls number `n`, by one door or the other; `None` if it was refused.
async fn answered(gateway: &Gateway, token: &str, n: usize) -> Option<Value> {
    let letter = ["a", "b"][n % 2];
    let (tool, arguments) = call(letter, n);
    let refusal = if tool == "mark" { "invalid_arguments" } else { "unknown_tool" };
    let (result, error) = if n % 8 < 4 {
        let mut answer = gateway.call(token, &tool, arguments).await;
        (answer["result"].take(), answer["error"].take())
    } else {
        let mut answer = gateway.mcp_call(token, &tool, arguments).await;
        let mut shown = answer["result"]["structuredContent"].take();
        match (answer["result"]["isError"].as_bool(), answer["error"]["data"].take()) {
            (Some(false), Value::Null) => (shown, Value::Null),
            (Some(true), Value::Null) => (Value::Null, shown.take()),
            (_, unknown) => (Value::Null, unknown),
        }
    };
    if result.is_null() {
        assert_eq!(error["code"], refusal, "call {n}: {error}");
        return None;
    }
    assert_eq!(result["rows"], rows(&tool, letter, n), "call {n} was answered by a mixture");
    Some(result)
}

/// A list of tools is of one posture.
async fn listed(gateway: &Gateway, token: &str) {
    let url = format!("{}/v1/tools", gateway.url);
    let list: Value =
        gateway.http.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    let mark = &list["tools"][0];
    let letter =
        mark["description"].as_str().unwrap().trim_end_matches('.').rsplit(' ').next().unwrap();
    assert!(mark["inputSchema"]["properties"].get(letter).is_some(), "{list}");
    assert_eq!(list["tools"][1]["name"], format!("only_{letter}"), "{list}");
}

const CALLS: usize = 10_000;
const RELOADS: usize = 200;

/// Calls, one after the other by each of several callers, until there were enough calls and reloads.
struct Traffic {
    gateway: Gateway,
    token: String,
    next: AtomicUsize,
    reloaded: AtomicBool,
    ended: Semaphore,
}

impl Traffic {
    /// Returns how many of this caller's calls were completed.
    async fn caller(self: Arc<Self>) -> usize {
        let mut completed = 0;
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= CALLS && self.reloaded.load(Ordering::Relaxed) {
                return completed;
            }
            completed += usize::from(answered(&self.gateway, &self.token, n).await.is_some());
            if n.is_multiple_of(64) {
                listed(&self.gateway, &self.token).await;
            }
            self.ended.add_permits(1);
        }
    }

    /// Waits for so many calls, then has a posture loaded or refused.
    async fn reload(&self, two: &Two, number: usize) {
        let calls = u32::try_from(CALLS / RELOADS - 1).unwrap();
        self.ended.acquire_many(calls).await.unwrap().forget();
        let letter = ["b", "b", "a", "a"][number % 4];
        let what = if number.is_multiple_of(2) {
            two.lead_to(&two.write_broken(number, letter));
            format!("broken_{number}`")
        } else {
            two.lead_to(letter);
            in_force(two.digest(letter))
        };
        self.gateway.signal("-HUP");
        block_in_place(|| self.gateway.says(&what));
    }
}

/// What the journal says: how many calls were completed under each posture. Every record of a call
/// is of the posture for which it was made; every refusal, of the other.
fn completed(two: &Two) -> BTreeMap<&str, usize> {
    let mut completed = BTreeMap::new();
    let mut decisions = BTreeSet::new();
    let mut intents = BTreeMap::new();
    for record in two.company.records(&["--limit", "1000000"], CALLS) {
        let Some(digest) = record["posture"].as_str() else { continue };
        let letter = two.digests[digest];
        let call = record["call"].as_str().unwrap_or_default().to_owned();
        let arguments = &record["bodies"]["arguments"];
        match record["kind"].as_str().unwrap() {
            "intent" => {
                let n = usize::try_from(arguments["n"].as_u64().unwrap()).unwrap();
                assert_eq!(letter, ["a", "b"][n % 2], "{record}");
                intents.insert(call, (letter, n));
            }
            "outcome" => {
                let (begun, n) = intents.remove(&call).unwrap();
                assert_eq!((begun, &record["status"]), (letter, &json!("ok")), "{record}");
                let tool = record["tool"].as_str().unwrap();
                assert_eq!(record["bodies"]["result"]["rows"], rows(tool, letter, n), "{record}");
                *completed.entry(letter).or_default() += 1;
            }
            "refusal" => {
                let tool = record["bodies"]["claimed_tool"].as_str().unwrap();
                let meant =
                    tool.ends_with(&format!("_{letter}")) || arguments.get(letter).is_some();
                assert!(!meant, "{record}");
            }
            _ => continue,
        }
        let decision = record["decision"].as_str().map(str::to_owned);
        decisions.extend(decision.map(|decision| (letter, record["tool"].to_string(), decision)));
    }
    assert_eq!(intents, BTreeMap::new(), "calls without an outcome");
    assert_eq!(decisions.len(), 4, "two tools under two postures: {decisions:?}");
    completed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_during_two_hundred_reloads_are_each_decided_by_one_posture() {
    let two = Two::new();
    let gateway = two.company.serve();
    gateway.says(&in_force(two.digest("a")));
    let traffic = Arc::new(Traffic {
        token: gateway.token(ANN).await,
        gateway,
        next: AtomicUsize::new(0),
        reloaded: AtomicBool::new(false),
        ended: Semaphore::new(0),
    });
    let callers: Vec<_> = (0..16).map(|_| tokio::spawn(Arc::clone(&traffic).caller())).collect();
    for number in 0..RELOADS {
        traffic.reload(&two, number).await;
    }
    traffic.reloaded.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for caller in callers {
        answers += caller.await.unwrap();
    }
    Arc::into_inner(traffic).unwrap().gateway.stop();

    two.company.says(&["audit", "verify", "."]);
    let loaded = two.loaded().len();
    assert!(loaded > RELOADS / 2, "{loaded} loads");
    let completed = completed(&two);
    eprintln!("{completed:?} completed, {loaded} loads");
    assert_eq!(completed.values().sum::<usize>(), answers);
    assert!(["a", "b"].iter().all(|letter| completed[letter] > CALLS / 20), "{completed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_ends_under_the_posture_it_began_with() {
    let two = Two::new();
    let gateway = Arc::new(two.company.serve());
    let token = gateway.token(ANN).await;
    // The system keeps the call waiting for as long as the test likes.
    let database = rusqlite::Connection::open(two.company.path().join("data/a.db")).unwrap();
    database.execute_batch("begin exclusive").unwrap();
    let waiting = {
        let (gateway, token) = (Arc::clone(&gateway), token.clone());
        tokio::spawn(async move { answered(&gateway, &token, 0).await })
    };
    two.company.records(&["--kind", "intent"], 1);
    two.lead_to("b");
    gateway.signal("-HUP");
    gateway.says(&in_force(two.digest("b")));
    assert_eq!(answered(&gateway, &token, 8).await, None, "the posture it was made for is gone");
    assert!(answered(&gateway, &token, 1).await.is_some(), "the new one answers");
    let outcomes = two.company.records(&["--kind", "outcome"], 1);
    assert_eq!(outcomes.len(), 1, "the first call is still under way: {outcomes:?}");
    database.execute_batch("commit").unwrap();
    assert!(waiting.await.unwrap().is_some(), "it ends well");
    let outcomes = two.company.records(&["--kind", "outcome"], 2);
    let postures = outcomes.iter().map(|record| two.digests[record["posture"].as_str().unwrap()]);
    assert_eq!(postures.collect::<Vec<_>>(), ["b", "a"]);
}

#[tokio::test]
async fn a_broken_posture_is_refused_with_its_findings_and_whose_files_they_are_in() {
    let two = Two::new();
    let gateway = two.company.serve();
    two.company.edit("countersign.yaml", |text| format!("{text}# another remark\n"));
    two.lead_to(&two.write_broken(4, "b"));
    gateway.signal("-HUP");
    gateway.says("`./countersign.yaml` has changed since the start");
    let said = gateway.says("a posture is refused");
    assert!(said.contains(&format!("posture={}", two.digest("a"))), "{said}");
    for part in [
        "2 errors: agents/support-copilot.yaml:",
        "error[unknown-key]: the key `broken_4` means nothing here",
        "tools/mark.yaml:4:",
        "the file's owner: team-of-a, a@acme.example",
    ] {
        assert!(said.contains(part), "`{part}` is missing in: {said}");
    }
    assert!(!said.contains("team-of-b"), "owners are those of the posture in force: {said}");
    let ready = ready(&gateway).await;
    assert!(ready.starts_with(&format!("ready\nposture {} loaded 20", two.digest("a"))), "{ready}");
    let token = gateway.token(ANN).await;
    assert!(answered(&gateway, &token, 0).await.is_some(), "the old one goes on");
    assert_eq!(two.loaded(), ["a"]);
}

#[tokio::test]
async fn limits_count_on_across_a_reload() {
    let two = Two::new();
    two.write("c", "a");
    for name in ["a", "c"] {
        two.company.edit(&format!("postures/{name}/agents/support-copilot.yaml"), |text| {
            format!("{text}limits: {{ per_session: 3 }}\n")
        });
    }
    two.company.edit("postures/c/systems/one.yaml", |text| format!("{text}concurrency: 1\n"));
    let gateway = two.company.serve();
    let token = gateway.token(ANN).await;
    let call = async |n| gateway.call(&token, "mark", json!({"a": "a", "n": n})).await;
    for n in [1, 2] {
        assert_eq!(call(n).await["status"], "completed");
    }
    two.lead_to("c");
    gateway.signal("-HUP");
    gateway.says("because=\"SIGHUP\"");
    assert_eq!(call(3).await["status"], "completed");
    assert_eq!(call(4).await["error"]["code"], "rate_limited");
}

#[tokio::test]
async fn in_production_a_swapped_link_is_noticed_and_an_edited_file_is_not() {
    let two = Two::new();
    two.company.edit("countersign.yaml", |text| {
        text.replace("environment: development", "environment: production").replace(
            "development_issuer: true",
            "issuers: [{ issuer: 'https://login.acme.example', keys: keys.json, algorithms: [ES256] }]",
        )
    });
    two.company.for_production();
    // The key of RFC 7515, appendix A.3.
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    std::fs::write(two.company.path().join("keys.json"), json!({"keys": [key]}).to_string())
        .unwrap();
    for letter in ["b", "a"] {
        two.lead_to(letter);
        two.company.signed();
    }
    let gateway = two.company.serve();
    gateway.says(&in_force(two.digest("a")));
    two.company.edit("postures/a/posture.yaml", |text| format!("{text}# edited in place\n"));
    two.lead_to("b");
    let said = gateway.says("a posture is in force");
    assert!(said.contains(two.digest("b")), "{said}");
    let ready = ready(&gateway).await;
    assert!(ready.contains(two.digest("b")), "{ready}");
    assert_eq!(two.loaded(), ["a", "b"]);
}

#[tokio::test]
async fn in_development_an_edited_file_is_noticed() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(ANN).await;
    let first = gateway.says("a posture is in force");
    company.edit("posture/tools/get_account_usage.yaml", |text| {
        text.replace("Daily usage", "Usage by day")
    });
    let second = gateway.says("a posture is in force");
    let digest =
        |said: &str| said.split("posture=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_ne!(digest(&first), digest(&second));
    let url = format!("{}/v1/tools", gateway.url);
    let list =
        gateway.http.get(url).bearer_auth(&token).send().await.unwrap().text().await.unwrap();
    assert!(list.contains("Usage by day"), "{list}");
}
