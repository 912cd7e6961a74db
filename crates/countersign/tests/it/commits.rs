//! Approved drafts on real systems while everything goes wrong: kill -9 at each step of a commit,
//! thirty-two approvers and thirty-two agents at once, and the kill switch under load. The systems
//! count what was done to them; that is what is judged.
//!
//! `COUNTERSIGN_COMMIT_KILLS` and `COUNTERSIGN_RACED_DRAFTS` set how many, for longer runs than CI's:
//! `scripts/soak commits`.

use crate::faults::Disk;
use crate::gateway::{Company, Gateway, Who};
use crate::load::{Dice, set_by};
use crate::people::PAID;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{RwLock, RwLockWriteGuard};

/// Kills of each system.
const KILLS: u64 = 12;
/// Drafts that are raced for.
const DRAFTS: u64 = 120;
const RACERS: usize = 32;

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "commits", depots: &[] };

/// A bank that pays whatever it is asked, but for references that begin with a 9, and counts how often
/// by the key it is asked with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bank(Arc<Mutex<BTreeMap<String, Vec<Value>>>>, Arc<RwLock<()>>);

impl Bank {
    /// Begins to listen; returns the address.
    async fn open(&self) -> String {
        let pay = async |State(bank): State<Bank>, headers: HeaderMap, Json(body): Json<Value>| {
            if body["reference"].as_str().unwrap().starts_with("pay_9") {
                return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": "unknown" })));
            }
            let _open = bank.1.read().await;
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            bank.0.lock().unwrap().entry(key).or_default().push(body.clone());
            (StatusCode::OK, Json(json!({ "paid": body["reference"] })))
        };
        let find = async |State(bank): State<Bank>,
                          Path((account, reference)): Path<(String, String)>| {
            let made = bank
                .0
                .lock()
                .unwrap()
                .values()
                .flatten()
                .find(|body| {
                    (&body["account"], &body["reference"]) == (&json!(account), &json!(reference))
                })
                .cloned();
            made.map(Json).ok_or(StatusCode::NOT_FOUND)
        };
        let router = Router::new()
            .route("/v1/payments", post(pay))
            .route("/v1/accounts/{account}/payments/{reference}", get(find))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// Becomes a system of a company, whose payments there take a named person.
    pub(crate) async fn joins(&self, company: &Company) {
        let origin = self.open().await;
        company.edit("countersign.yaml", |text| {
            text.replace(
                "references:\n",
                &format!("references:\n  bank: {{ value: \"{origin}\" }}\n"),
            )
        });
        write(
            company,
            "posture/systems/bank.yaml",
            "system: bank\nhttp:\n  origin: bank\n  networks: [127.0.0.1/32]\ntimeout: 5s\nrows: 1\n\
             bytes: 4KiB\nconcurrency: 32\n",
        );
        write(
            company,
            "posture/tools/pay_out.yaml",
            "tool: pay_out\n\
             description: Pays an amount out to the caller's own account at the bank.\n\
             effect: irreversible\n\
             input:\n\
             \x20 reference: { type: string, pattern: \"^pay_[0-9]{6}$\", public: \"Made up by the caller.\" }\n\
             \x20 amount_cents: { type: integer, minimum: 1, maximum: 50000 }\n\
             gate:\n\
             \x20 approvers: { named: [sam@acme.example] }\n\
             \x20 expires: 4h\n\
             \x20 summary: \"Pay {amount_cents} cents out as {reference}\"\n\
             scope:\n\
             \x20 tenant: { bind: caller.tenant }\n\
             call:\n\
             \x20 system: bank\n\
             \x20 post: /v1/payments\n\
             \x20 body: { account: \"{tenant}\", reference: \"{reference}\", amount_cents: \"{amount_cents}\" }\n",
        );
        company.edit("posture/agents/support-copilot.yaml", |text| {
            text.replace(
                "grants:\n",
                "grants:\n  - tool: pay_out\n    reason: \"Pays what is owed.\"\n    \
                 reviewed_by: security@acme.example\n    reviewed_on: 2026-11-20\n",
            )
        });
    }

    /// Lets every payment wait until this is dropped.
    pub(crate) async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.1.write().await
    }

    /// What was paid to an account, in cents.
    pub(crate) fn sum(&self, account: &str) -> u64 {
        let paid = self.0.lock().unwrap();
        let paid = paid.values().flatten().filter(|body| body["account"] == account);
        paid.map(|body| body["amount_cents"].as_u64().unwrap()).sum()
    }

    /// How often each reference was paid.
    fn paid(&self) -> BTreeMap<String, usize> {
        let mut paid = BTreeMap::new();
        for body in self.0.lock().unwrap().values().flatten() {
            *paid.entry(body["reference"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        paid
    }
}

/// The company with a bank, whose payments take a named person.
pub(crate) async fn with_bank(bank: &Bank) -> Company {
    let company = Company::new();
    company.lift_limits();
    bank.joins(&company).await;
    company.says(&["check", "."]);
    company
}

fn write(company: &Company, file: &str, text: &str) {
    std::fs::write(company.path().join(file), text).unwrap();
}

fn payment(number: u64) -> Value {
    json!({ "reference": format!("pay_{number:06}"), "amount_cents": 100 })
}

impl Gateway {
    async fn drafts(&self, token: &str, tool: &str, arguments: Value) -> String {
        let answer = self.call(token, tool, arguments).await;
        let reference = answer["error"]["reference"].as_str();
        reference.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Whatever comes of it: the gateway may die of it.
    async fn approve(&self, token: &str, draft: &str) -> Option<u16> {
        let url = format!("{}/admin/v1/drafts/{draft}/approve", self.url);
        let sent = self.http.post(url).bearer_auth(token).json(&json!({})).send().await;
        Some(sent.ok()?.status().as_u16())
    }
}

/// A system of the company, and how often it did what a draft of this number asks.
struct Target<'a> {
    tool: &'static str,
    arguments: &'a dyn Fn(u64) -> Value,
    effects: &'a dyn Fn(u64) -> usize,
}

/// Kills the gateway in the middle of a commit, again and again, and judges each time.
async fn kill_while_committing(company: &Company, target: &Target<'_>, seed: u64) {
    let disk = Disk::under(&company.path().join("state"));
    let mut dice = Dice(seed);
    let mut ends = BTreeMap::<String, u64>::new();
    for kill in 0..set_by("COUNTERSIGN_COMMIT_KILLS", KILLS) {
        disk.order("none");
        let gateway = company.serve_by(disk.command());
        let agent = gateway.token(WHO).await;
        let draft = gateway.drafts(&agent, target.tool, (target.arguments)(kill)).await;
        assert_eq!((target.effects)(kill), 0);
        let sam = gateway.sam().await;
        disk.order(&match dice.roll(6) {
            // Between a commit and its answers, then at each write and sync of the three commits that
            // an approval takes: the approval's, the intent's, the outcome's.
            0 => format!("kill-write {} journal.key.head", 1 + dice.roll(3)),
            1 | 2 => format!("kill-sync {}", 1 + dice.roll(4)),
            _ => format!("kill-write {}", 1 + dice.roll(30)),
        });
        let approved = gateway.approve(&sam, &draft).await;
        tokio::time::sleep(Duration::from_micros(dice.roll(60_000))).await;
        gateway.kill();
        if dice.roll(2) == 0 {
            disk.cut_power(Some(&mut dice));
        }
        let end = judge(company, (&draft, approved), target, kill).await;
        *ends.entry(end).or_default() += 1;
    }
    eprintln!("{}: {ends:?}", target.tool);
    assert!(ends.len() > 1, "the kills come at different steps: {ends:?}");
    company.says(&["audit", "verify", "."]);
}

/// Starts the next gateway and sees what it makes of the draft.
async fn judge(
    company: &Company,
    (draft, approved): (&str, Option<u16>),
    target: &Target<'_>,
    kill: u64,
) -> String {
    let gateway = company.serve();
    let sam = gateway.sam().await;
    let after = gateway.settled(&sam, draft).await;
    let state = after["state"].as_str().unwrap().to_owned();
    let effects = (target.effects)(kill);
    match state.as_str() {
        // The approval was lost, so nobody was told of it.
        "waiting" => {
            assert_eq!((effects, approved == Some(200)), (0, false), "{after}");
            assert_eq!(gateway.approve(&sam, draft).await, Some(200));
            let after = gateway.settled(&sam, draft).await;
            assert_eq!((after["state"].as_str(), (target.effects)(kill)), (Some("executed"), 1));
        }
        "executed" => assert_eq!(effects, 1, "{after}"),
        "unknown" => resolve(&gateway, draft, effects).await,
        other => panic!("{other}: {after}"),
    }
    assert!((target.effects)(kill) <= 1);
    gateway.stop();
    state
}

/// It is not retried, and people are asked; what they say is on record.
async fn resolve(gateway: &Gateway, draft: &str, effects: usize) {
    assert!(effects <= 1, "{draft}");
    let operator = gateway.operator("op@acme.example").await;
    let (_, unknown) = gateway.seen(&operator, "unknown").await;
    let unknown = unknown["unknown"].as_array().unwrap();
    let unknown = unknown.iter().find(|unknown| unknown["draft"] == draft);
    let call = unknown.unwrap()["call"].as_str().unwrap();
    let said = json!({ "happened": effects == 1, "reason": "The system's own log." });
    let (status, answer) = gateway.done(&operator, &format!("unknown/{call}/resolve"), said).await;
    assert_eq!(status, 200, "{answer}");
    let (_, after) = gateway.seen(&operator, &format!("drafts/{draft}")).await;
    let end = if effects == 1 { "executed" } else { "failed" };
    assert_eq!(after["state"], end, "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_of_a_commit_never_pays_twice_at_a_bank() {
    let bank = Bank::default();
    let company = with_bank(&bank).await;
    let effects = |kill| bank.paid().get(&format!("pay_{kill:06}")).copied().unwrap_or(0);
    let target = Target { tool: "pay_out", arguments: &payment, effects: &effects };
    kill_while_committing(&company, &target, 20_261_125).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_of_a_commit_never_refunds_twice_on_postgresql() {
    let company = Company::on_postgres();
    company.lift_limits();
    company.edit("posture/tools/refund_invoice.yaml", |text| {
        let kept = text
            .lines()
            .filter(|line| !line.starts_with("limits:") && !line.starts_with("budget:"));
        kept.map(|line| format!("{line}\n")).collect()
    });
    let freight = &company.databases["freight-db"];
    // The database counts by itself, whatever the statement says it did.
    freight.run(
        "create table effects (cents bigint not null);
         create function counted() returns trigger language plpgsql security definer as
           $$ begin insert into effects values (new.refunded_cents); return new; end $$;
         create trigger counts after update on invoices for each row execute function counted();",
    );
    let arguments = |kill: u64| {
        freight.run("set session_replication_role = replica; update invoices set status = 'paid'");
        json!({ "invoice_id": PAID[0], "amount_cents": kill + 1, "note": "It came late." })
    };
    let effects = |kill: u64| {
        let count = format!("select count(*) from effects where cents = {}", kill + 1);
        freight.run(&count).trim().parse().unwrap()
    };
    let target = Target { tool: "refund_invoice", arguments: &arguments, effects: &effects };
    kill_while_committing(&company, &target, 20_261_126).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_approvers_and_agents_at_once_have_each_effect_happen_once() {
    let bank = Bank::default();
    let company = with_bank(&bank).await;
    let gateway = Arc::new(company.serve());
    let drafts = set_by("COUNTERSIGN_RACED_DRAFTS", DRAFTS);
    let agent = Arc::new(gateway.token(WHO).await);
    let sam = Arc::new(gateway.sam().await);
    // Each agent proposes everything, and goes on asking until it is told; each approver approves
    // whatever it sees. Half of both come by a client, and so by connections, of their own.
    let racers = (0..2 * RACERS).map(|racer| {
        let (gateway, agent, sam) = (Arc::clone(&gateway), Arc::clone(&agent), Arc::clone(&sam));
        tokio::spawn(async move {
            let mut told = 0;
            for round in 0..drafts {
                let number = (round + racer as u64 * 7) % drafts;
                let answer = gateway.call(&agent, "pay_out", payment(number)).await;
                told += u64::from(answer["status"] == "completed");
                if racer % 2 == 1
                    && let Some(draft) = answer["error"]["reference"].as_str()
                {
                    let _approved_by_one = gateway.approve(&sam, draft).await;
                }
            }
            told
        })
    });
    let mut told = 0;
    for racer in racers.collect::<Vec<_>>() {
        told += racer.await.unwrap();
    }
    assert!(told > 0, "some agents were told");
    // What was approved last is still on its way.
    for state in ["approved", "committing"] {
        for _ in 0..600 {
            let (_, under_way) = gateway.seen(&sam, &format!("drafts?state={state}")).await;
            if under_way["drafts"] == json!([]) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let paid = bank.paid();
    // Told once, the same arguments may have been drafted and approved anew: one effect for each
    // approval, and each by a key of its own.
    assert!(bank.0.lock().unwrap().values().all(|bodies| bodies.len() == 1), "a key came twice");
    assert_eq!(u64::try_from(paid.len()).unwrap(), drafts, "each was paid");
    Arc::into_inner(gateway).unwrap().stop();
    let records = company.records(&["--limit", "1000000"], 1);
    let count = |kind: &str, tool: &str| {
        let of = records.iter().filter(|r| r["kind"] == kind && r["tool"] == tool);
        of.count()
    };
    let effects: usize = paid.values().sum();
    assert_eq!(count("draft_approved", "pay_out"), effects, "an effect for each approval");
    assert_eq!(count("intent", "pay_out"), effects);
    let spent: std::collections::BTreeSet<_> = records
        .iter()
        .filter(|record| record["kind"] == "intent" && record["tool"] == "pay_out")
        .map(|record| record["draft"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(spent.len(), effects, "no approval was used twice");
    company.says(&["audit", "verify", "."]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_of_a_gated_call_meet_one_draft_and_wait_for_its_one_effect() {
    let bank = Bank::default();
    let company = with_bank(&bank).await;
    let gateway = company.serve();
    let agent = gateway.token(WHO).await;
    // Each asks by a client, and so by a connection, of its own.
    let twins = || {
        [(); 2].map(|()| {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let body = json!({ "tool": "pay_out", "arguments": payment(1) });
            let sent = http.post(format!("{}/v1/calls", gateway.url)).bearer_auth(&agent);
            let sent = sent.json(&body).send();
            tokio::spawn(async move { sent.await.unwrap().json::<Value>().await.unwrap() })
        })
    };
    let mut drafts = std::collections::BTreeSet::new();
    for twin in twins() {
        let answer = twin.await.unwrap();
        drafts.insert(
            answer["error"]["reference"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(),
        );
    }
    let [draft] = <[String; 1]>::try_from(drafts.into_iter().collect::<Vec<_>>()).unwrap();
    let held = bank.hold().await;
    let sam = gateway.sam().await;
    assert_eq!(gateway.approve(&sam, &draft).await, Some(200));
    let asks = twins();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(asks.iter().all(|ask| !ask.is_finished()), "they wait for what is under way");
    drop(held);
    let mut told = Vec::new();
    for ask in asks {
        let answer = ask.await.unwrap();
        let code = answer["error"]["code"].as_str().or(answer["status"].as_str());
        told.push(code.unwrap().to_owned());
    }
    told.sort();
    assert_eq!(told, ["completed", "executed"], "the result is told once");
    assert_eq!(bank.paid(), BTreeMap::from([("pay_000001".to_owned(), 1)]));
    gateway.stop();
    assert_eq!(company.records(&["--kind", "intent"], 1).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_suspension_commits_no_intent_does() {
    let company = Company::new();
    company.lift_limits();
    let gateway = Arc::new(company.serve());
    let token = Arc::new(gateway.token(WHO).await);
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..RACERS)
        .map(|_| {
            let (gateway, token) = (Arc::clone(&gateway), Arc::clone(&token));
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let usage = json!({ "account_id": "acct_alpha", "days": 7 });
                let mut told = BTreeMap::<String, u64>::new();
                for _ in 0..60 {
                    let answer = gateway.call(&token, "get_account_usage", usage.clone()).await;
                    let what = answer["error"]["code"].as_str().or(answer["status"].as_str());
                    *told.entry(what.unwrap().to_owned()).or_default() += 1;
                    answered.fetch_add(1, Relaxed);
                }
                told
            })
        })
        .collect();
    while answered.load(Relaxed) < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let operator = gateway.operator("op@acme.example").await;
    let body = json!({ "kind": "agent", "name": "support-copilot", "reason": "It acts oddly." });
    let (status, answer) = gateway.done(&operator, "suspensions", body).await;
    assert!(status.is_success(), "{answer}");
    let mut told = BTreeMap::<String, u64>::new();
    for caller in callers {
        for (what, count) in caller.await.unwrap() {
            *told.entry(what).or_default() += count;
        }
    }
    assert!(told["completed"] > 0 && told["suspended"] > 0, "{told:?}");
    Arc::into_inner(gateway).unwrap().stop();
    let records = company.records(&["--limit", "1000000"], 1);
    let suspended = records.iter().find(|record| record["kind"] == "suspended").unwrap();
    let place = |record: &Value| record["seq"].as_u64().unwrap();
    let late = records.iter().filter(|record| {
        record["kind"] == "intent"
            && record["stream"] == suspended["stream"]
            && place(record) > place(suspended)
    });
    assert_eq!(late.count(), 0);
}
