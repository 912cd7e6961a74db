//! kill -9 at random moments under load: what reached a client is on record, what reached a system
//! was on record before, and what nobody knows is recorded as unknown.

use crate::gateway::{Company, Gateway, Who};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KILLS: u64 = 200;

/// A small deterministic generator (SplitMix64): the moments differ, the run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Calls until the gateway is gone; notes each completed answer as it arrives.
async fn load(gateway: Arc<Gateway>, token: String, name: String, answers: Arc<Mutex<Vec<Value>>>) {
    for number in 0.. {
        let body = json!({
            "tool": "search_tickets", "arguments": {"text": format!("{name}-{number}"), "limit": 3},
        });
        let url = format!("{}/v1/calls", gateway.url);
        let Ok(answer) = gateway.http.post(url).bearer_auth(&token).json(&body).send().await else {
            return;
        };
        let Ok(answer) = answer.json::<Value>().await else { return };
        assert_eq!(answer["status"], "completed", "{answer}");
        answers.lock().unwrap().push(answer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_power_cuts_lose_nothing_that_anybody_saw() {
    let company = Company::new();
    company.lift_limits();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut dice = Dice(20_261_123);
    for kill in 0..KILLS {
        let gateway = Arc::new(company.serve());
        let session = format!("crash-{kill}");
        let who =
            Who { agent: "support-copilot", tenant: "acct_alpha", session: &session, depots: &[] };
        let token = gateway.token(who).await;
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let name = format!("k{kill}c{caller}");
                tokio::spawn(load(Arc::clone(&gateway), token.clone(), name, Arc::clone(&answers)))
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(dice.roll(150_000))).await;
        // SAFETY of others: this ends the child that this test started, by its id.
        let ended =
            std::process::Command::new("kill").args(["-9", &gateway.id().to_string()]).status();
        assert!(ended.unwrap().success());
        for caller in callers {
            caller.await.unwrap();
        }
        Arc::into_inner(gateway).unwrap().kill();
    }
    company.serve().stop(); // One more start closes what the last kill left open.

    company.says(&["audit", "verify", "."]);
    let records = company.records(&["--limit", "1000000"], 1);
    let mut intents = BTreeMap::new();
    let mut outcomes: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for record in &records {
        let call = || record["call"].as_str().unwrap().to_owned();
        match record["kind"].as_str().unwrap() {
            "intent" => {
                intents.insert(call(), record);
            }
            "outcome" => outcomes.entry(call()).or_default().push(record),
            _ => {}
        }
    }
    for answer in answers.lock().unwrap().iter() {
        let call = answer["call"].as_str().unwrap();
        assert!(intents.contains_key(call), "an answer without an intent: {answer}");
        let outcome = &outcomes[call];
        assert_eq!(outcome.len(), 1, "{outcome:?}");
        assert_eq!(outcome[0]["status"], "ok");
        assert_eq!(outcome[0]["seq"], answer["record"]["seq"]);
        assert_eq!(outcome[0]["bodies"]["result"], answer["result"]);
    }
    let unknown =
        outcomes.values().flatten().filter(|outcome| outcome["status"] == "unknown").count();
    for call in intents.keys() {
        assert_eq!(outcomes.get(call).map(Vec::len), Some(1), "{call} has no single outcome");
    }
    let intended: BTreeSet<String> = intents
        .values()
        .map(|intent| intent["bodies"]["arguments"]["text"].as_str().unwrap().to_owned())
        .collect();
    for line in &company.statements()["support-db"] {
        let text =
            line.split('\'').find(|part| part.starts_with('k') && part.contains('c')).unwrap();
        assert!(intended.contains(text), "a statement without an intent: {line}");
    }
    let completed = answers.lock().unwrap().len();
    eprintln!("{KILLS} kills, {completed} answers, {} intents, {unknown} unknown", intents.len());
    assert!(completed > 200 && unknown > 0, "{completed} answers, {unknown} unknown: no load");
}
