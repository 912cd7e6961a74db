//! Exporters of the real gateway, under load: killed at random, their files renamed, their reader
//! asleep. Every record arrives, those of a stream in order.
//!
//! `COUNTERSIGN_KILLS` sets how often, for a longer run than CI's: `scripts/soak kills`.

use crate::gateway::{Company, Gateway, Who};
use crate::load::{Dice, Load, What, set_by, tally};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: u64 = 20;

/// A record's place: stream and sequence.
type Place = (String, u64);

fn company(exporter: &str) -> Company {
    let company = Company::new();
    company.lift_limits();
    company.edit("countersign.yaml", |text| {
        let text: String = text
            .lines()
            .filter(|line| !is_of_exporters(line))
            .fold(String::new(), |text, line| text + line + "\n");
        format!("{text}exporters: [{exporter}]\n")
    });
    company
}

fn is_of_exporters(line: &str) -> bool {
    line.starts_with("exporters:") || line.starts_with("  - { name: lines,")
}

async fn load(gateway: &Gateway, name: &str) -> Load {
    let who = Who { agent: "support-copilot", tenant: "acct_alpha", session: name, depots: &[] };
    Load::begin(gateway, &gateway.token(who).await, What::Tickets)
}

fn place(record: &Value) -> Place {
    (record["stream"].as_str().unwrap().to_owned(), record["seq"].as_u64().unwrap())
}

/// The records in files, in the order in which they were written. Every line is whole.
fn lines(files: &[PathBuf]) -> Vec<Value> {
    let mut records = Vec::new();
    for file in files.iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{} ends in a line", file.display());
        let parsed = text.lines().map(serde_json::from_str);
        records.extend(parsed.map(|line| line.unwrap_or_else(|error| panic!("{error}"))));
    }
    records
}

/// Waits until all that the journal holds now has arrived, and compares: each record as `audit query`
/// shows it, those of a stream in order, and none again but after a restart.
async fn arrived(company: &Company, files: &[PathBuf], restarts: u64) {
    let records = company.records(&["--limit", "1000000"], 1);
    let journal: BTreeMap<Place, Value> =
        records.into_iter().map(|record| (place(&record), record)).collect();
    let mut exported = lines(files);
    for _ in 0..1_200 {
        let there: BTreeMap<Place, &Value> =
            exported.iter().map(|record| (place(record), record)).collect();
        if journal.keys().all(|place| there.contains_key(place)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        exported = lines(files);
    }
    let (mut next, mut last, mut again) = (BTreeMap::<String, u64>::new(), 0, 0);
    // Each record with its number among those that came for the first time.
    let mut seen = BTreeMap::<Place, (usize, &Value)>::new();
    for record in &exported {
        let (stream, seq) = place(record);
        let expected = next.entry(stream.clone()).or_default();
        assert!(seq <= *expected, "{stream} goes on with {seq}, and not with {expected}");
        *expected = seq + 1;
        let number = seen.len() + 1;
        let (number, first) = *seen.entry((stream, seq)).or_insert((number, record));
        assert_eq!(first, record);
        again += u64::from(number <= last);
        last = number;
    }
    for (place, record) in &journal {
        assert_eq!(seen.get(place).map(|(_, seen)| *seen), Some(record), "{place:?}");
    }
    assert!(again <= restarts, "{again} returns to what was written, {restarts} restarts");
    eprintln!("{} records in {} lines, {again} returns", journal.len(), exported.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_is_killed_at_random_loses_no_record_and_keeps_their_order() {
    let company = company("{ name: lines, file: out/now.jsonl }");
    let out = company.path().join("out");
    fs::create_dir(&out).unwrap();
    let now = out.join("now.jsonl");
    let mut files = Vec::new();
    let mut dice = Dice(20_261_126);
    let kills = set_by("COUNTERSIGN_KILLS", KILLS);
    for kill in 0..kills {
        let gateway = company.serve();
        let load = load(&gateway, &format!("export-{kill}")).await;
        tokio::time::sleep(Duration::from_millis(dice.roll(1_500))).await;
        if dice.roll(2) == 0 && now.exists() {
            let old = out.join(format!("{kill}.jsonl"));
            fs::rename(&now, &old).unwrap();
            files.push(old);
            tokio::time::sleep(Duration::from_millis(dice.roll(700))).await;
        }
        gateway.kill();
        load.gone().await;
    }
    files.push(now);
    let gateway = company.serve();
    arrived(&company, &files, kills + 1).await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_is_handed_on_before_the_end_and_never_again() {
    let company = company("{ name: pipe, stdout: true }");
    let mut files = Vec::new();
    for run in 0..3 {
        let path = company.path().join(format!("{run}.jsonl"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.stdout(File::create(&path).unwrap());
        files.push(path);
        let gateway = company.serve_by(command);
        let load = load(&gateway, &format!("pipe-{run}")).await;
        load.turn().await;
        let answers = load.end().await;
        assert_eq!(tally(&answers).keys().collect::<Vec<_>>(), [&"completed"]);
        gateway.stop();
        // What it recorded at its very end, the next one hands on.
        let outcomes =
            |records: &[Value]| records.iter().filter(|r| r["kind"] == "outcome").count();
        assert_eq!(
            outcomes(&lines(&files)),
            outcomes(&company.records(&["--limit", "1000000"], 1))
        );
    }
    let path = company.path().join("last.jsonl");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.stdout(File::create(&path).unwrap());
    files.push(path);
    let gateway = company.serve_by(command);
    arrived(&company, &files, 0).await;
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_sleeps_holds_up_neither_calls_nor_the_end() {
    let company = company("{ name: pipe, stdout: true }");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.stdout(Stdio::piped());
    let gateway = company.serve_by(command);
    let load = load(&gateway, "asleep").await;
    // Far more than a pipe holds.
    while load.count() < 600 {
        load.turn().await;
    }
    let answers = load.end().await;
    assert_eq!(tally(&answers).keys().collect::<Vec<_>>(), [&"completed"]);
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

fn refused(company: &Company, file: &Path) -> String {
    let output = company.run(&["serve", "."]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&file.file_name().unwrap().to_string_lossy().into_owned()), "{said}");
    said
}

#[tokio::test]
async fn nothing_is_guessed_about_a_cursor_that_is_damaged_or_another_journals() {
    let company = company("{ name: lines, file: out.jsonl }");
    company.serve().stop();
    let cursor = company.path().join("state/journal.db.followers/exporter.lines");
    let whole = fs::read(&cursor).unwrap();
    fs::write(&cursor, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&company, &cursor).contains("is damaged"));
    let other = Company::new();
    other.edit("countersign.yaml", |text| {
        format!("{text}exporters: [{{ name: lines, file: out.jsonl }}]\n")
    });
    other.serve().stop();
    fs::copy(other.path().join("state/journal.db.followers/exporter.lines"), &cursor).unwrap();
    assert!(refused(&company, &cursor).contains("another journal"));
    // Nothing of it is known: it begins anew.
    fs::remove_file(&cursor).unwrap();
    let gateway = company.serve();
    arrived(&company, &[company.path().join("out.jsonl")], 1).await;
    gateway.stop();
}
