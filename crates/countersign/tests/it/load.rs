//! Callers that go on calling, and a judge of what became of it all: what clients received and systems
//! logged against what the journal says.

use crate::gateway::{Company, Gateway};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

const CALLERS: u64 = 8;

/// A small deterministic generator (SplitMix64): the moments differ, the run can be repeated.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A number that a longer run than CI's sets: `scripts/soak`.
pub(crate) fn set_by(variable: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's length")]
    let set = std::env::var(variable);
    set.map_or(otherwise, |text| text.parse().unwrap())
}

/// What is called: each call differs from every other, and the difference is found in the system's log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// The support database, with a text that no ticket has.
    Tickets,
    /// The CRM, about somebody who does not exist.
    Contact,
}

impl What {
    fn call(self) -> Value {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Tickets => json!({
                "tool": "search_tickets", "arguments": {"text": format!("mark_{number}"), "limit": 3},
            }),
            Self::Contact => json!({
                "tool": "get_contact", "arguments": {"contact_id": format!("con_{number:06}")},
            }),
        }
    }
}

/// What tells a call from every other, wherever it is written.
fn marks(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("mark_") || word.starts_with("con_"))
        .collect()
}

/// Callers at work, until they are told to end or the gateway is gone.
pub(crate) struct Load {
    callers: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Value>>>,
}

impl Load {
    pub(crate) fn begin(gateway: &Gateway, token: &str, what: What) -> Self {
        let (over, answers) = <(Arc<AtomicBool>, Arc<Mutex<Vec<Value>>>)>::default();
        let caller = |_| {
            let (over, answers) = (Arc::clone(&over), Arc::clone(&answers));
            let http = gateway.http.clone();
            let (url, token) = (format!("{}/v1/calls", gateway.url), token.to_owned());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let sent = http.post(&url).bearer_auth(&token).json(&what.call()).send().await;
                    let Ok(answer) = sent else { return };
                    let Ok(answer) = answer.json().await else { return };
                    answers.lock().unwrap().push(answer);
                }
            })
        };
        let callers = (0..CALLERS).map(caller).collect();
        Self { callers, over, answers }
    }

    /// What was answered after the first `from` answers.
    pub(crate) fn since(&self, from: usize) -> Vec<Value> {
        self.answers.lock().unwrap()[from..].to_vec()
    }

    /// How many answers there are.
    pub(crate) fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Waits until as many more answers have come as there are callers twice, so that what was under
    /// way before has been answered.
    pub(crate) async fn turn(&self) {
        let enough = self.count() + 2 * usize::try_from(CALLERS).unwrap();
        self.until(|load| load.count() >= enough).await;
    }

    /// Waits for one more answer that is `completed`, or has this code.
    pub(crate) async fn until_told(&self, code: &str) {
        let from = self.count();
        self.until(|load| load.since(from).iter().any(|answer| told(answer) == code)).await;
    }

    async fn until(&self, such: impl Fn(&Self) -> bool) {
        for _ in 0..6_000 {
            if such(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no such answer: {:?}", tally(&self.since(0)));
    }

    /// All that was answered; the callers end.
    pub(crate) async fn end(self) -> Vec<Value> {
        self.over.store(true, Ordering::Relaxed);
        self.gone().await
    }

    /// The same, once the gateway is gone.
    pub(crate) async fn gone(self) -> Vec<Value> {
        for caller in self.callers {
            caller.await.unwrap();
        }
        Arc::into_inner(self.answers).unwrap().into_inner().unwrap()
    }
}

/// `completed`, or the code of the error.
pub(crate) fn told(answer: &Value) -> &str {
    match &answer["error"]["code"] {
        Value::String(code) => code,
        _ => answer["status"].as_str().unwrap(),
    }
}

/// How many answers there were of each kind.
pub(crate) fn tally(answers: &[Value]) -> BTreeMap<&str, usize> {
    answers.iter().fold(BTreeMap::new(), |mut tally, answer| {
        *tally.entry(told(answer)).or_default() += 1;
        tally
    })
}

/// What the journal says in all.
#[derive(Debug)]
pub(crate) struct Judged {
    #[expect(dead_code, reason = "it is printed")]
    intents: usize,
    pub(crate) unknown: usize,
}

/// Starts the company's gateway once more, so that what was left open is closed, and judges: no
/// result without its two records, nothing released twice, no effect without an intent or twice, no
/// intent without its one outcome, and every chain whole.
pub(crate) fn judge(company: &Company, answers: &[Value]) -> Judged {
    company.serve().stop();
    company.says(&["audit", "verify", "."]);
    let records = company.records(&["--limit", "1000000"], 1);
    let of = |kind: &str| {
        let (mut calls, mut count) = (BTreeMap::new(), 0);
        for record in records.iter().filter(|record| record["kind"] == kind) {
            calls.insert(record["call"].as_str().unwrap(), record);
            count += 1;
        }
        assert_eq!(calls.len(), count, "a call has two records of kind {kind}");
        calls
    };
    let (intents, outcomes) = (of("intent"), of("outcome"));
    assert!(intents.keys().eq(outcomes.keys()), "an intent without an outcome, or the reverse");
    released(answers, &outcomes);
    done(company, &intents);
    let unknown = outcomes.values().filter(|outcome| outcome["status"] == "unknown").count();
    Judged { intents: intents.len(), unknown }
}

/// What clients received is on record, as they received it, and once.
fn released(answers: &[Value], outcomes: &BTreeMap<&str, &Value>) {
    let mut released = BTreeSet::new();
    for answer in answers.iter().filter(|answer| told(answer) == "completed") {
        let call = answer["call"].as_str().unwrap();
        let outcome = outcomes.get(call).unwrap_or_else(|| panic!("not on record: {answer}"));
        assert_eq!(outcome["status"], "ok", "{outcome} {answer}");
        assert_eq!(outcome["stream"], answer["record"]["stream"]);
        assert_eq!(outcome["seq"], answer["record"]["seq"]);
        assert_eq!(outcome["bodies"]["result"], answer["result"]);
        assert!(released.insert(call), "released twice: {answer}");
    }
}

/// What systems did was intended, and was done once.
fn done(company: &Company, intents: &BTreeMap<&str, &Value>) {
    let arguments: Vec<String> =
        intents.values().map(|intent| intent["bodies"]["arguments"].to_string()).collect();
    let intended: BTreeSet<&str> = arguments.iter().flat_map(|text| marks(text)).collect();
    assert_eq!(intended.len(), intents.len(), "two intents of one proposal");
    let statements = company.statements();
    let mut done = BTreeSet::new();
    for line in statements.values().flatten() {
        for mark in marks(line) {
            assert!(intended.contains(mark), "a statement without an intent: {line}");
            assert!(done.insert(mark), "done twice: {line}");
        }
    }
    assert!(!done.is_empty(), "no system was reached");
}
