//! kill -9 at every stage under load, with the disk as it is and with one that loses what was not
//! synced: what reached a client is on record, what reached a system was on record before, and what
//! nobody knows is recorded as unknown.
//!
//! `COUNTERSIGN_KILLS` sets how many, for a longer run than CI's: `scripts/soak kills`.

use crate::faults::Disk;
use crate::gateway::{Company, Gateway, Who};
use crate::load::{Dice, Load, What, judge, set_by, tally};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const KILLS: u64 = 20;

async fn load(gateway: &Gateway, kill: u64) -> Load {
    let session = format!("crash-{kill}");
    let who =
        Who { agent: "support-copilot", tenant: "acct_alpha", session: &session, depots: &[] };
    Load::begin(gateway, &gateway.token(who).await, What::Tickets)
}

fn company() -> Company {
    let company = Company::new();
    company.lift_limits();
    company
}

fn report(kills: u64, company: &Company, answers: &[Value]) {
    let judged = judge(company, answers);
    let tally = tally(answers);
    eprintln!("{kills} kills, answers {tally:?}, {judged:?}");
    assert_eq!(tally.keys().collect::<Vec<_>>(), [&"completed"], "a kill is no error");
    let few = usize::try_from(kills).unwrap();
    assert!(tally["completed"] > few && judged.unknown > 0, "no load: {tally:?} {judged:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_any_moment_lose_nothing_that_anybody_saw() {
    let company = company();
    let mut answers = Vec::new();
    let mut dice = Dice(20_261_123);
    let kills = set_by("COUNTERSIGN_KILLS", KILLS);
    for kill in 0..kills {
        let gateway = company.serve();
        let load = load(&gateway, kill).await;
        tokio::time::sleep(Duration::from_micros(dice.roll(150_000))).await;
        gateway.kill();
        answers.append(&mut load.gone().await);
    }
    report(kills, &company, &answers);
}

/// A moment in the life of a gateway: where it is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// While it opens the journal.
    Start,
    /// At a write or a sync of the journal, or a write of a system's log, under load.
    Load,
    /// Whenever.
    Time,
    /// While it ends in good order.
    End,
}

/// Lets a gateway live until it is killed; returns what clients received.
async fn life(company: &Company, disk: &Disk, kill: u64, dice: &mut Dice) -> Vec<Value> {
    let moment = match dice.roll(8) {
        0 => Moment::Start,
        1 => Moment::End,
        2 => Moment::Time,
        _ => Moment::Load,
    };
    let at = |writes: u64, syncs: u64, dice: &mut Dice| match dice.roll(2) {
        0 => format!("kill-write {}", 1 + dice.roll(writes)),
        _ => format!("kill-sync {}", 1 + dice.roll(syncs)),
    };
    if matches!(moment, Moment::Start) {
        disk.order(&at(16, 8, dice));
        company.dies(disk.command());
        return Vec::new();
    }
    disk.order("none");
    let gateway = company.serve_by(disk.command());
    let load = load(&gateway, kill).await;
    let wait = Duration::from_micros(dice.roll(60_000));
    match moment {
        Moment::Start | Moment::Load => {
            tokio::time::sleep(wait).await;
            disk.order(&match dice.roll(4) {
                // Between a commit and its answers; between an intent and its effect.
                0 => format!("kill-write {} journal.key.head", 1 + dice.roll(40)),
                1 => format!("kill-write {} watched", 1 + dice.roll(80)),
                _ => at(400, 40, dice),
            });
        }
        Moment::Time => {
            tokio::time::sleep(wait).await;
            gateway.signal("-KILL");
        }
        Moment::End => {
            tokio::time::sleep(wait).await;
            disk.order(&at(40, 8, dice));
            gateway.signal("-TERM");
        }
    }
    let answers = load.gone().await;
    gateway.wait();
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_at_every_stage_lose_nothing_that_anybody_saw() {
    let company = company();
    let disk = Disk::under(&company.path().join("state"));
    let mut answers = Vec::new();
    let mut dice = Dice(20_261_124);
    let kills = set_by("COUNTERSIGN_KILLS", KILLS);
    for kill in 0..kills {
        answers.append(&mut life(&company, &disk, kill, &mut dice).await);
        match dice.roll(5) {
            0 => {} // The program alone is gone: what the kernel has, it has.
            1 => disk.cut_power(None),
            _ => disk.cut_power(Some(&mut dice)),
        }
        if kill % 10 == 0 {
            company.says(&["audit", "verify", "."]);
        }
    }
    report(kills, &company, &answers);
    let mut stages = BTreeMap::<_, u64>::new();
    for stage in disk.log().into_iter().filter(|line| line.starts_with("kill at")) {
        *stages.entry(stage).or_default() += 1;
    }
    eprintln!("of these {stages:?}");
    assert!(stages.values().sum::<u64>() * 2 > kills, "they come at stages of their own");
}
