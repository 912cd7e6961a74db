//! A journal of a million records, made through the store, and what is asked of it: how long each
//! question takes, and what the index costs. It says so; it fails if a page takes longer than it may.
//!
//! `scripts/soak index` runs it. Without `COUNTERSIGN_RECORDS` it does nothing.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock and the environment")]

use crate::asked::index;
use crate::support::{Place, at, wait};
use countersign_core::id::{AgentId, CallId, Digest, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::{Journal as _, Ledger, Receipt};
use countersign_core::reading::{Calls, Class, Position, Search, Span};
use countersign_core::record::{Entry, Kind};
use countersign_store::{Index, SqliteStore};
use serde_json::json;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// The longest that a page may take.
const PAGE_MAX: Duration = Duration::from_millis(200);
/// Calls that are recorded at a time.
const TOGETHER: u64 = 500;
const TENANTS: u64 = 50;
const AGENTS: u64 = 8;
const TOOLS: u64 = 25;
/// Calls of a session.
const SESSION: u64 = 40;
/// Between two calls, in microseconds: a day for all of them.
const APART_US: i64 = 170_000;

/// Numbers that look drawn, and are the same in every run.
fn drawn(of: u64, which: u64) -> u64 {
    let mut x = of.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(which);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One call: everything about it follows from its number.
struct Call(u64);

impl Call {
    fn at(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(self.0).unwrap() * APART_US)
    }
    fn id(&self) -> String {
        format!("call_{:012x}{:012x}", self.at().micros() / 1_000, drawn(self.0, 0) >> 16)
    }
    fn session(&self) -> Digest {
        // Forty sessions at a time.
        let session = self.0 / (SESSION * 40) * 40 + self.0 % 40;
        Digest::of("session", &[&session.to_be_bytes()])
    }
    fn tenant(&self) -> String {
        format!("acct_{:02}", u64::from(self.session().as_bytes()[0]) % TENANTS)
    }
    fn agent(&self) -> String {
        format!("agent-{}", u64::from(self.session().as_bytes()[1]) % AGENTS)
    }
    fn tool(&self) -> String {
        format!("tool_{:02}", drawn(self.0, 1) % TOOLS)
    }

    /// What every record of it has. As long as those of a posture with a dozen policies.
    fn entry(&self, kind: Kind, at: Timestamp) -> Entry {
        let policies: Vec<_> =
            (0..12).map(|n| format!("policy_number_{n}_of_the_posture")).collect();
        let principal = json!({
            "issuer": "https://idp.example", "subject": format!("user-{}", self.0 % 997),
            "actor": self.agent(), "session": self.session().to_string(), "sid": "s",
        });
        Entry::new(kind, at)
            .with("call", self.id())
            .with("door", "mcp")
            .with("posture", Digest::sha256(b"posture").to_string())
            .with("agent", self.agent())
            .with("tenant", self.tenant())
            .with("tool", self.tool())
            .with("system", "orders-api")
            .with("effect", "read")
            .with("rung", 1)
            .with("decision", Digest::sha256(b"decision").to_string())
            .with("policies", policies)
            .body("principal", principal.to_string())
    }

    fn arguments(&self) -> String {
        json!({ "id": self.0, "text": "x".repeat(400) }).to_string()
    }

    fn intent(&self) -> Entry {
        self.entry(Kind::Intent, self.at()).body("arguments", self.arguments()).body(
            "charges",
            r#"[["minute","agent/a/tenant/t",0,1],["hour","agent/a/tenant/t",0,1]]"#,
        )
    }

    fn outcome(&self, intent: &Receipt) -> Entry {
        let entry = self
            .entry(Kind::Outcome, Timestamp::from_micros(self.at().micros() + 5_000))
            .with("duration_us", 5_000)
            .with("intent", json!({ "stream": &*intent.stream, "seq": intent.sequence }))
            .with("rows", drawn(self.0, 2) % 20)
            .body("result", json!({ "rows": [{ "text": "y".repeat(300) }] }).to_string());
        match drawn(self.0, 3) % 1_000 {
            0 => {
                entry.with("status", "fault").with("code", "withheld").with("alert", "foreign_rows")
            }
            1..30 => entry.with("status", "fault").with("code", "system_timed_out"),
            _ => entry.with("status", "ok").with("applied", "applied"),
        }
    }

    fn refusal(&self) -> Entry {
        let codes = ["rate_limited", "out_of_scope", "forbidden", "invalid_arguments"];
        let code = codes[usize::try_from(drawn(self.0, 4) % 4).unwrap()];
        self.entry(Kind::Refusal, self.at())
            .with("code", code)
            .with("count", 1 + drawn(self.0, 5) % 3)
            .body("arguments", self.arguments())
    }

    /// A record of the draft that it became.
    fn of_draft(&self, kind: Kind, after_s: i64) -> Entry {
        let at = Timestamp::from_micros(self.at().micros() + after_s * 1_000_000);
        let person = json!({
            "issuer": "https://idp.example", "id": format!("approver-{}", drawn(self.0, 8) % 12),
            "address": null,
        });
        let entry = match kind {
            Kind::DraftProposed => self.entry(kind, at).body("arguments", self.arguments()),
            _ => Entry::new(kind, at)
                .with("tenant", self.tenant())
                .with("agent", self.agent())
                .with("tool", self.tool())
                .body("person", person.to_string()),
        };
        entry.with("draft", format!("drf_{:032x}", u128::from(drawn(self.0, 6))))
    }

    /// What is recorded at once: one call in twelve is refused, one in forty drafted.
    fn begin(&self) -> Entry {
        match drawn(self.0, 7) % 120 {
            0..10 => self.refusal(),
            10..13 => self.of_draft(Kind::DraftProposed, 0),
            _ => self.intent(),
        }
    }

    /// What is recorded afterwards. One draft in five waits.
    fn end(&self, begun: &Receipt) -> Vec<Entry> {
        let after_s = i64::try_from(drawn(self.0, 9) % 600).unwrap();
        match (drawn(self.0, 7) % 120, drawn(self.0, 10) % 10) {
            (0..10, _) | (10..13, 0 | 1) => vec![],
            (10..13, 2) => vec![self.of_draft(Kind::DraftRejected, after_s)],
            (10..13, 3..6) => vec![self.of_draft(Kind::DraftApproved, after_s)],
            (10..13, _) => vec![
                self.of_draft(Kind::DraftPreviewed, after_s),
                self.of_draft(Kind::DraftApproved, after_s + 3),
            ],
            _ => vec![self.outcome(begun)],
        }
    }
}

/// Records calls until there are so many records, and says how many calls that were.
fn fill(store: &SqliteStore, records: u64) -> u64 {
    let (mut written, mut next) = (0, 0);
    let append = |entries: Vec<Entry>| -> Vec<Receipt> {
        let appended: Vec<_> = entries.into_iter().map(|entry| store.append(entry)).collect();
        appended.into_iter().map(|done| wait(done).unwrap()).collect()
    };
    while written < records {
        let calls: Vec<_> = (next..next + TOGETHER).map(Call).collect();
        let begun = append(calls.iter().map(Call::begin).collect());
        let ended =
            append(calls.iter().zip(&begun).flat_map(|(call, begun)| call.end(begun)).collect());
        next += TOGETHER;
        written += (begun.len() + ended.len()) as u64;
    }
    next
}

/// The processor's time of the thread that fills the index, in seconds.
fn filler_s() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "journal-index")
    };
    tasks
        .filter(named)
        .map(|task| {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
        })
        .sum()
}

/// Forgets what the system remembers of the files.
fn cool(place: &Place) {
    let folder = place.config.path.parent().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

struct Asked<'a> {
    place: &'a Place,
    index: &'a Index,
    slow: Vec<String>,
}

impl Asked<'_> {
    fn time<T: Debug>(
        &mut self,
        what: &str,
        ask: impl AsyncFn(&Index) -> T,
        count: impl Fn(&T) -> usize,
    ) {
        let mut times = Vec::new();
        let mut found = 0;
        cool(self.place);
        for _ in 0..6 {
            let begun = Instant::now();
            let answer = wait(ask(self.index));
            times.push(begun.elapsed());
            found = count(&answer);
        }
        let (cold, warm) = (times[0], *times[1..].iter().max().unwrap());
        println!(
            "| {what} | {found} | {:.1} | {:.1} |",
            cold.as_secs_f64() * 1e3,
            warm.as_secs_f64() * 1e3
        );
        if warm > PAGE_MAX || cold > PAGE_MAX {
            self.slow.push(format!("{what}: {cold:?} cold, {warm:?} warm"));
        }
    }
}

#[test]
fn a_page_of_a_million_records_takes_no_longer_than_it_may() {
    let Ok(records) = std::env::var("COUNTERSIGN_RECORDS") else { return };
    let records: u64 = records.parse().unwrap();
    let place = Place::new();
    place.clock.advance(1_700_000_000);
    let store = place.open();
    let begun = Instant::now();
    let calls = fill(&store, records);
    println!("{records} records of {calls} calls in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let index = index(&place);
    let took = begun.elapsed();
    let spent = filler_s();
    println!(
        "indexed in {:.1} s, {:.2} µs of processor a record",
        took.as_secs_f64(),
        spent * 1e6 / records as f64
    );
    let folder = place.config.path.parent().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        println!("{} {} KiB", file.file_name().display(), file.metadata().unwrap().len() / 1024);
    }
    let mut asked = Asked { place: &place, index: &index, slow: Vec::new() };
    ask_all(&mut asked, calls);
    assert_eq!(asked.slow, Vec::<String>::new());
}

fn ask_all(asked: &mut Asked<'_>, calls: u64) {
    let all = Tenants::All;
    let one = Tenants::Of([countersign_core::id::TenantId::new("acct_07").unwrap()].into());
    let text = |text: &str| Some(text.to_owned());
    let middle = Call(calls / 2);
    let searches = [
        ("records", Search::default()),
        (
            "records of an agent and a tool",
            Search { agent: text("agent-3"), tool: text("tool_04"), ..Search::default() },
        ),
        ("records of a code", Search { code: text("withheld"), ..Search::default() }),
        (
            "records of a code and an agent that never met",
            Search { code: text("withheld"), agent: text("agent-9"), ..Search::default() },
        ),
        (
            "records of a tenant, a tool and a code",
            Search {
                tenant: text("acct_07"),
                tool: text("tool_04"),
                code: text("withheld"),
                ..Search::default()
            },
        ),
        (
            "records of a minute long ago",
            Search {
                since: Some(at(1_700_000_600)),
                until: Some(at(1_700_000_660)),
                ..Search::default()
            },
        ),
        (
            "records of a kind that is rare",
            Search { kind: Some(Kind::StreamOpened), ..Search::default() },
        ),
        ("records with an alert", Search { alerts: true, ..Search::default() }),
        ("records of a session", Search { session: Some(middle.session()), ..Search::default() }),
        (
            "records of a session that is none",
            Search { session: Some(Digest::sha256(b"none")), ..Search::default() },
        ),
        ("records of a call", Search { call: Some(middle.id()), ..Search::default() }),
        (
            "records deep down",
            Search {
                before: Some(Position::from_number((1 << 40) + 5_000)),
                agent: text("agent-3"),
                ..Search::default()
            },
        ),
    ];
    for (readers, tenants) in [("", &all), (", one tenant's", &one)] {
        for (what, search) in &searches {
            asked.time(
                &format!("{what}{readers}"),
                async |index| index.records(search.clone(), tenants).await.unwrap(),
                |page| page.items.len(),
            );
        }
        let calls = [
            ("calls", Calls::default()),
            (
                "calls that failed by time",
                Calls { code: text("system_timed_out"), ..Calls::default() },
            ),
            (
                "calls of a tool refused with a code",
                Calls { tool: text("tool_04"), code: text("out_of_scope"), ..Calls::default() },
            ),
            ("calls under way", Calls { class: Some(Class::UnderWay), ..Calls::default() }),
            ("drafted calls", Calls { class: Some(Class::Drafted), ..Calls::default() }),
        ];
        for (what, which) in &calls {
            asked.time(
                &format!("{what}{readers}"),
                async |index| index.calls(which.clone(), tenants).await.unwrap(),
                |page| page.items.len(),
            );
        }
        let end = asked_end(asked.index);
        let after = Position::from_number(end.number() - 4_000);
        let fifty = Calls { limit: Some(50), ..Calls::default() };
        asked.time(
            &format!("what is new of 4,000 records{readers}"),
            async |index| index.calls_after(after, fifty.clone(), tenants).await.unwrap(),
            |news| news.lines.len(),
        );
        asked.time(
            &format!("what is new of everything{readers}"),
            async |index| index.calls_after(Position::START, fifty.clone(), tenants).await.unwrap(),
            |news| news.lines.len(),
        );
        let call = CallId::new(middle.id()).unwrap();
        asked.time(
            &format!("one call{readers}"),
            async |index| index.of_call(&call, tenants).await.unwrap(),
            Vec::len,
        );
        asked.time(
            &format!("a session{readers}"),
            async |index| index.of_session(middle.session(), None, tenants).await.unwrap(),
            |page| page.items.len(),
        );
        let (since, until) =
            (at(1_700_000_000), Timestamp::from_micros(Call(calls_of(&middle)).at().micros()));
        for (what, step) in [("minutes", 60), ("quarters of an hour", 900), ("hours", 3_600)] {
            let span = Span::new(since, until, step);
            asked.time(
                &format!("counts of a day by {what}{readers}"),
                async |index| index.tallies(span, Calls::default(), tenants).await.unwrap(),
                Vec::len,
            );
        }
        let span = Span::new(since, until, 3_600);
        asked.time(
            &format!("decisions of a day{readers}"),
            async |index| index.decisions(span, tenants).await.unwrap(),
            |decisions| {
                decisions.approvers.iter().map(|a| usize::try_from(a.decisions).unwrap()).sum()
            },
        );
        let agent = AgentId::new("agent-3").unwrap();
        asked.time(
            &format!("when an agent was last seen{readers}"),
            async |index| index.last_seen(&agent, tenants).await.unwrap(),
            |seen| usize::from(seen.is_some()),
        );
    }
    asked.time(
        "how the journal stands",
        async |index| index.chain(&all).await.unwrap(),
        |chain| chain.streams.len(),
    );
}

fn calls_of(middle: &Call) -> u64 {
    middle.0 * 2
}

fn asked_end(index: &Index) -> Position {
    let news = wait(index.calls_after(
        Position::START,
        Calls { limit: Some(1), ..Calls::default() },
        &Tenants::All,
    ));
    news.unwrap().position
}
