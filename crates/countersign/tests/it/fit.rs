//! Whether an agent is the right tool, told from journals whose agents are known: the thresholds stand in
//! `assurance/src/fit.rs`, and what is drawn here was fixed before it was tried.

use crate::gateway::Company;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::{Clock, Entropy, Journal as _};
use countersign_core::record::{Entry, Kind};
use countersign_store::{Config, SqliteStore};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many agents of each kind, each with numbers of its own.
const SEEDS: u64 = 24;
const SESSIONS: u64 = 240;
const TOGETHER: usize = 1_000;
/// 2026-09-07T08:00:00Z, a Monday.
const BEGIN_S: i64 = 1_788_768_000;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(BEGIN_S)
    }
}

#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let seed = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (at, chunk) in bytes.chunks_mut(32).enumerate() {
            let digest = Digest::of("fit", &[&seed, &at.to_be_bytes()]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    }
}

/// Numbers that look drawn and are the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

const TOOLS: [&str; 9] =
    ["find", "read", "list", "compare", "ask", "note", "plan", "refund", "tell"];
const FIXED: [&[usize]; 3] = [&[0, 1, 7], &[0, 2], &[1, 5, 8]];

/// The tools of one session of an agent that goes one of three ways in so many of a hundred sessions, and
/// any way in the others.
fn path(dice: &mut Dice, fixed_percent: u64) -> Vec<usize> {
    if dice.below(100) < fixed_percent {
        // One in two, three in ten, two in ten.
        let way = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2][dice.below(10) as usize];
        // Again and again is no other way.
        return FIXED[way]
            .iter()
            .flat_map(|tool| std::iter::repeat_n(*tool, 1 + dice.below(3) as usize))
            .collect();
    }
    (0..3 + dice.below(6)).map(|_| dice.below(TOOLS.len() as u64) as usize).collect()
}

/// A call or a draft, as the monitor records it.
fn step(agent: &str, session: (&str, Option<&str>), at: Timestamp, tool: &str) -> Entry {
    let (subject, sid) = session;
    let digest = Digest::of("session", &[subject.as_bytes(), sid.unwrap_or("").as_bytes()]);
    let mut principal = json!({ "subject": subject, "session": digest.to_string() });
    if let Some(sid) = sid {
        principal["sid"] = json!(sid);
    }
    let kind = if tool == "refund" { Kind::DraftProposed } else { Kind::Intent };
    let mut entry = Entry::new(kind, at)
        .with("call", format!("call_{agent}_{subject}_{}_{}", sid.unwrap_or("day"), at.micros()))
        .with("agent", agent)
        .with("tenant", "acct_alpha")
        .with("tool", tool)
        .with("effect", "read")
        .body("principal", principal.to_string())
        .body("arguments", "{}");
    if kind == Kind::DraftProposed {
        entry = entry.with("draft", format!("drf_{agent}_{}", at.micros()));
    }
    entry
}

/// All sessions of an agent over eight weeks.
fn sessions(agent: &str, seed: u64, fixed_percent: u64) -> Vec<Entry> {
    let mut dice = Dice(seed);
    let apart_s = 8 * 7 * 24 * 3_600 / SESSIONS as i64;
    let mut entries = Vec::new();
    for session in 0..SESSIONS {
        let sid = format!("s{session}");
        let begin = BEGIN_S + session as i64 * apart_s;
        for (second, tool) in (0..).zip(path(&mut dice, fixed_percent)) {
            let at = Timestamp::from_secs(begin + second);
            entries.push(step(agent, ("ann", Some(&sid)), at, TOOLS[tool]));
        }
    }
    entries
}

/// Writes a journal there.
fn journal(folder: &Path, entries: Vec<Entry>) -> String {
    let config = Config { path: folder.join("journal.db"), key: folder.join("journal.key") };
    let entropy = Arc::new(Counted::default());
    SqliteStore::create(&config.path, &config.key, &*entropy).unwrap();
    let store = SqliteStore::open(&config, Arc::new(Still), entropy).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let some: Vec<_> = entries.by_ref().take(TOGETHER).map(|e| store.append(e)).collect();
        for appended in some {
            runtime.block_on(appended).unwrap();
        }
    }
    store.close().unwrap();
    config.path.to_str().unwrap().to_owned()
}

fn fit(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("fit")
        .args(arguments)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn told(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn it_tells_fixed_paths_from_open_ended_work_and_from_both_whatever_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [("fixed", 96, "script"), ("mixed", 65, "mixed"), ("open", 0, "agent")];
    let agents = || {
        kinds.iter().flat_map(|(kind, percent, verdict)| {
            (0..SEEDS).map(move |seed| (format!("{kind}-{seed}"), seed, *percent, *verdict))
        })
    };
    let entries = agents().flat_map(|(name, seed, percent, _)| sessions(&name, seed, percent));
    let journal = journal(folder.path(), entries.collect());
    let output = fit(folder.path(), &["--journal", &journal, "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    let wrong: Vec<_> = agents()
        .filter_map(|(name, _, _, verdict)| {
            let found = told["agents"].as_array().unwrap().iter().find(|of| of["agent"] == *name);
            let found = found.unwrap();
            assert_eq!(found["sessions"], SESSIONS, "{name}");
            assert!(found["unused_grants"].is_null());
            (found["verdict"] != *verdict).then(|| found.clone())
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let one = fit(folder.path(), &["--journal", &journal, "--agent", "fixed-7"]);
    let text = String::from_utf8(one.stdout).unwrap();
    assert!(text.contains("of sessions: a script with one model call would do"), "{text}");
    assert!(text.contains("find → read → refund"), "{text}");
    let open = fit(folder.path(), &["--journal", &journal, "--agent", "open-7"]);
    assert_eq!(open.status.code(), Some(0));

    let svg = fit(folder.path(), &["--journal", &journal, "--agent", "fixed-7", "--format", "svg"]);
    let svg = String::from_utf8(svg.stdout).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for tool in FIXED.iter().flat_map(|path| path.iter()) {
        assert!(svg.contains(&format!(">{}</text>", TOOLS[*tool])), "{svg}");
    }
    let nobody = fit(folder.path(), &["--journal", &journal, "--agent", "fixed-70"]);
    assert_eq!(nobody.status.code(), Some(2));
}

/// Three principals, each of whom does the same every day: what is one session of each without a `sid`
/// would be one path of a thousand steps.
#[test]
fn where_tokens_tell_no_sessions_apart_the_day_does_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let entries = (0..40).flat_map(|day| {
        ["ann", "bob", "cyd"].into_iter().flat_map(move |subject| {
            (0..).zip(FIXED[0]).map(move |(second, tool)| {
                let at = Timestamp::from_secs(BEGIN_S + day * 24 * 3_600 + second);
                step("copilot", (subject, None), at, TOOLS[*tool])
            })
        })
    });
    let journal = journal(folder.path(), entries.collect());
    let told = told(&fit(folder.path(), &["--journal", &journal, "--format", "json"]));
    let agent = &told["agents"][0];
    assert_eq!((&agent["sessions"], &agent["paths"]), (&json!(120), &json!(1)), "{told:#}");
    assert_eq!(agent["verdict"], "script");
    assert_eq!(told["read"]["without_sid"], told["read"]["calls"]);
    let text = fit(folder.path(), &["--journal", &journal]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("360 of 360 calls were made with tokens"), "{text}");
}

/// What the gateway itself writes is what is read.
#[tokio::test]
async fn grants_that_nobody_used_are_named_from_what_the_gateway_recorded() {
    let company = Company::new();
    let gateway = company.serve();
    let who = crate::gateway::Who {
        agent: "support-copilot",
        tenant: "acct_alpha",
        session: "s1",
        depots: &[],
    };
    let arguments = json!({ "account_id": "acct_alpha", "days": 7 });
    let token = gateway.token(who).await;
    for _ in 0..2 {
        let answer = gateway.call(&token, "get_account_usage", arguments.clone()).await;
        assert_eq!(answer["status"], "completed", "{answer}");
    }
    gateway.stop();
    let output = fit(company.path(), &[".", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = told(&output);
    let agents = told["agents"].as_array().unwrap();
    let copilot = agents.iter().find(|agent| agent["agent"] == "support-copilot").unwrap();
    assert_eq!(copilot["commonest"], json!([{ "tools": ["get_account_usage"], "sessions": 1 }]));
    assert_eq!((&copilot["verdict"], &copilot["steps"]), (&json!("too_few"), &json!(2)));
    let unused = copilot["unused_grants"].as_array().unwrap();
    assert!(!unused.contains(&json!("get_account_usage")) && unused.len() > 2, "{unused:?}");
    let planner = agents.iter().find(|agent| agent["agent"] == "dispatch-planner").unwrap();
    assert_eq!(planner["sessions"], 0);
    assert_eq!(told["read"]["without_sid"], 0);
}

#[test]
fn before_there_is_a_log_answers_say_when_an_agent_is_the_wrong_tool() {
    let folder = tempfile::tempdir().unwrap();
    let answers = json!({
        "steps": "no", "input": "dialogue", "volume": "many", "wrong": "undone",
        "noticed": "after", "rule": "no", "strangers": "two", "owner": "yes",
    });
    std::fs::write(folder.path().join("answers.json"), answers.to_string()).unwrap();
    let asked = |more: &[&str]| {
        let from = ["--answers", "answers.json", "--format", "json"];
        fit(folder.path(), &[&from, more].concat())
    };
    let agent = asked(&[]);
    assert_eq!(agent.status.code(), Some(0));
    assert_eq!(told(&agent)["advice"], "agent");
    let script = asked(&["--answer", "steps=yes", "--answer", "input=fields"]);
    assert_eq!(script.status.code(), Some(1));
    assert_eq!(told(&script)["advice"], "script");
    let wrong = asked(&["--answer", "steps=perhaps"]);
    assert_eq!(wrong.status.code(), Some(2));
    let missing = fit(folder.path(), &["--ask"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("`steps` is not answered"));
}
