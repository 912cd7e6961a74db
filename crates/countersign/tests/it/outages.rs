//! What the gateway rests on fails for a while under load: errors are clear, nothing is lost, nothing
//! is released without its record, and service returns by itself where that is right. After a failed
//! sync it is not.
//!
//! `COUNTERSIGN_OUTAGE_S` sets for how long, beyond CI's second: `scripts/soak outages`. One system that
//! is gone for one call is in `story`, a key server that was away at the start in `oidc`.

use crate::faults::Disk;
use crate::gateway::{Company, Gateway, Who};
use crate::load::{Load, What, judge, set_by, tally, told};
use crate::oidc::{self, Provider};
use crate::server::Server;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

async fn token(gateway: &Gateway) -> String {
    let who =
        Who { agent: "support-copilot", tenant: "acct_alpha", session: "outage", depots: &[] };
    gateway.token(who).await
}

fn company() -> Company {
    let company = Company::new();
    company.lift_limits();
    company
}

async fn ready(gateway: &Gateway) -> bool {
    let sent = gateway.http.get(format!("{}/readyz", gateway.url)).send().await;
    sent.unwrap().status().is_success()
}

/// Waits as long as an outage is to last; whatever is told meanwhile must be one of these.
async fn told_nothing_but(load: &Load, codes: &[&str]) {
    load.turn().await;
    let from = load.count();
    tokio::time::sleep(Duration::from_secs(set_by("COUNTERSIGN_OUTAGE_S", 1))).await;
    load.turn().await;
    let answers = load.since(from);
    let said: BTreeSet<&str> = tally(&answers).into_keys().collect();
    assert!(said.is_subset(&codes.iter().copied().collect()), "{:?}", tally(&answers));
}

/// An outage, from one change of the world to the next, under a load that goes on.
async fn outage(load: &Load, codes: &[&str], begin: impl FnOnce(), end: impl FnOnce()) {
    load.until_told("completed").await;
    begin();
    load.until_told(codes[0]).await;
    told_nothing_but(load, codes).await;
    end();
    load.until_told("completed").await;
    load.turn().await;
}

/// Ends everything in good order and judges it.
async fn over(what: &str, company: &Company, gateway: Gateway, load: Load) {
    let answers = load.end().await;
    gateway.stop();
    let judged = judge(company, &answers);
    eprintln!("{what}: answers {:?}, {judged:?}", tally(&answers));
}

#[tokio::test]
async fn a_full_disk_takes_no_call_and_service_returns_with_room() {
    let company = company();
    let disk = Disk::under(&company.path().join("state"));
    let gateway = company.serve_by(disk.command());
    let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
    outage(&load, &["journal_unavailable"], || disk.order("full"), || disk.order("none")).await;
    assert!(ready(&gateway).await);
    gateway.says("the journal can be written again");
    over("full disk", &company, gateway, load).await;
}

#[tokio::test]
async fn a_journal_that_was_moved_away_takes_no_call_and_goes_on_when_it_is_back() {
    let company = company();
    let gateway = company.serve();
    let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
    let away = company.path().join("away");
    for name in ["state/journal.db", "state/journal.db-wal", "state"] {
        let place = company.path().join(name);
        outage(
            &load,
            &["journal_unavailable"],
            || std::fs::rename(&place, &away).unwrap(),
            || std::fs::rename(&away, &place).unwrap(),
        )
        .await;
        assert!(ready(&gateway).await);
    }
    over("journal moved", &company, gateway, load).await;
}

#[tokio::test]
async fn a_journal_that_is_gone_takes_no_call_and_none_is_made_in_its_place() {
    let company = company();
    let gateway = company.serve();
    let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
    load.until_told("completed").await;
    let files =
        ["journal.db", "journal.db-wal"].map(|name| company.path().join("state").join(name));
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    load.until_told("journal_unavailable").await;
    told_nothing_but(&load, &["journal_unavailable"]).await;
    assert!(!ready(&gateway).await);
    load.end().await;
    gateway.signal("-TERM");
    assert!(!gateway.wait().success(), "there is nothing that could be in good order");
    assert!(files.iter().all(|file| !file.exists()));
    let again = company.run(&["serve", "."]);
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(!again.status.success() && said.contains("absent-journal"), "{said}");
}

#[tokio::test]
async fn a_system_whose_database_is_gone_is_unavailable_until_it_is_back() {
    let company = company();
    let gateway = company.serve();
    let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
    let [place, away]: [PathBuf; 2] =
        ["support.db", "away"].map(|name| company.path().join("data").join(name));
    let (begin, end) =
        (|| std::fs::rename(&place, &away).unwrap(), || std::fs::rename(&away, &place).unwrap());
    outage(&load, &["system_unavailable"], begin, end).await;
    over("SQLite system gone", &company, gateway, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_whose_postgresql_has_stopped_is_unavailable_until_it_is_back() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let company = Company::on(server);
    company.lift_limits();
    let gateway = company.serve();
    let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
    outage(&load, &["system_unavailable"], || server.stop(), || server.start_again()).await;
    over("PostgreSQL stopped", &company, gateway, load).await;
}

#[tokio::test]
async fn an_api_that_is_gone_is_unavailable_until_it_is_back() {
    let company = company();
    let (crm, address) = company.crm_at("127.0.0.1:0");
    company.edit("countersign.yaml", |text| text.replace("127.0.0.1:8790", &address));
    let gateway = company.serve();
    let load = Load::begin(&gateway, &token(&gateway).await, What::Contact);
    let mut again = None;
    let (begin, end) = (|| drop(crm), || again = Some(company.crm_at(&address)));
    outage(&load, &["system_unavailable", "system_busy"], begin, end).await;
    over("API gone", &company, gateway, load).await;
    drop(again);
}

#[tokio::test]
async fn while_a_key_server_is_gone_known_keys_serve_on_and_others_wait_for_it() {
    let provider = Provider::start();
    let company = oidc::company(&[&provider], "");
    let gateway = company.serve();
    let load = Load::begin(&gateway, &provider.sign(json!({})).await, What::Tickets);
    load.until_told("completed").await;
    provider.asked("away", json!({"away": true})).await;
    provider.asked("rotate", json!({})).await;
    let other = provider.sign(json!({})).await;
    let call = async || {
        let text = json!({"text": "mark_other", "limit": 1});
        told(&gateway.call(&other, "search_tickets", text).await).to_owned()
    };
    assert_eq!(call().await, "unauthenticated");
    told_nothing_but(&load, &["completed"]).await;
    assert_eq!(call().await, "unauthenticated");
    provider.asked("away", json!({"away": false})).await;
    for attempt in 0.. {
        match call().await.as_str() {
            "completed" => break,
            // It asks again at most every five seconds.
            "unauthenticated" if attempt < 200 => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => panic!("{other}"),
        }
    }
    over("key server gone", &company, gateway, load).await;
}

// ── where service must not return by itself ─────────────────────────────────────────────────────

/// The journal is lost to a gateway under load by this order to its disk: it says so and takes no
/// call, though the disk is well again, and touches nothing of the journal any more, even at its end.
async fn lost(company: &Company, disk: &Disk, order: &str) -> Vec<Value> {
    let gateway = company.serve_by(disk.command());
    let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
    load.until_told("completed").await;
    disk.order(order);
    load.until_told("journal_unavailable").await;
    gateway.says("the journal is lost to this process and no call is taken");
    disk.order("none");
    told_nothing_but(&load, &["journal_unavailable"]).await;
    assert!(!ready(&gateway).await);
    let answers = load.end().await;
    gateway.signal("-TERM");
    assert!(!gateway.wait().success(), "{order}: the journal was not closed in good order");
    let log = disk.log();
    let failed = |line: &String| line.ends_with("EIO") || line.ends_with("EROFS");
    let at = log.iter().position(failed).unwrap();
    let (_, after) = log.split_at(at + 1);
    // The folder is synced for the index too, which makes its own file there.
    let after: Vec<_> = after.iter().filter(|line| *line != "sync . ok").collect();
    assert!(!after.iter().any(|line| line.starts_with("sync")), "{order}: {after:?}");
    assert!(!after.iter().any(|line| line.ends_with(" ok")), "{order}: {after:?}");
    answers
}

#[tokio::test]
async fn after_a_failed_sync_no_call_is_taken_and_no_sync_is_tried_again() {
    // At a commit, once and for ever; while the log is copied, of the log and of the database.
    for order in ["sync-once 1 journal.db-wal", "sync-always 1", "sync-once 1 journal.db"] {
        let company = company();
        let disk = Disk::under(&company.path().join("state"));
        let answers = lost(&company, &disk, order).await;
        disk.cut_power(None);
        eprintln!("{order}: answers {:?}, {:?}", tally(&answers), judge(&company, &answers));
    }
}

#[tokio::test]
async fn what_is_recorded_after_a_failed_sync_and_a_restart_outlives_a_power_cut() {
    // The kernel shows what the failed sync has dropped, and will not write it: the next process may
    // be cut off in the middle of its start, or serve.
    for (order, cut_off) in [
        ("sync-once 1 journal.db-wal", true),
        ("sync-once 1 journal.db-wal", false),
        ("sync-once 1 journal.db", false),
    ] {
        let company = company();
        let disk = Disk::under(&company.path().join("state"));
        let mut answers = lost(&company, &disk, order).await;
        if cut_off {
            disk.order("kill-sync 1 journal.db");
            company.dies(disk.command_that_goes_on());
        } else {
            let gateway = company.serve_by(disk.command_that_goes_on());
            let load = Load::begin(&gateway, &token(&gateway).await, What::Tickets);
            load.until_told("completed").await;
            load.turn().await;
            gateway.kill();
            answers.append(&mut load.gone().await);
        }
        disk.cut_power(None);
        eprintln!("{order}: answers {:?}, {:?}", tally(&answers), judge(&company, &answers));
    }
}

#[tokio::test]
async fn a_disk_that_turned_read_only_takes_no_call_until_a_restart() {
    let company = company();
    let disk = Disk::under(&company.path().join("state"));
    let answers = lost(&company, &disk, "read-only").await;
    eprintln!("read-only: answers {:?}, {:?}", tally(&answers), judge(&company, &answers));
}
