//! A journal of a million records, made through the store, and what is asked of it: how long each
//! question takes, and what the index costs. It says so; it fails if a page takes longer than it may.
//!
//! `scripts/soak index` runs it. Without `COUNTERSIGN_RECORDS` it does nothing.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock and the environment")]

use crate::asked::{index, pages, scan};
use crate::support::{Place, wait};
use countersign_core::id::{AgentId, CallId, Digest, TenantId, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::{Clock, Journal as _, Ledger, Receipt, Unrecorded};
use countersign_core::reading::{Calls, Class, Position, Search, Span};
use countersign_core::record::{Entry, Kind};
use countersign_store::{Index, SqliteStore};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
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

/// Appends them all before it waits for any.
fn append(store: &SqliteStore, entries: Vec<Entry>) -> Vec<Receipt> {
    let appended: Vec<_> = entries.into_iter().map(|entry| store.append(entry)).collect();
    appended.into_iter().map(|done| wait(done).unwrap()).collect()
}

/// Records calls, from one on, until there are so many more records, and says which call is the next.
fn fill(store: &SqliteStore, first: u64, records: u64) -> u64 {
    let (mut written, mut next) = (0, first);
    while written < records {
        let calls: Vec<_> = (next..next + TOGETHER).map(Call).collect();
        let begun = append(store, calls.iter().map(Call::begin).collect());
        let ended = append(
            store,
            calls.iter().zip(&begun).flat_map(|(call, begun)| call.end(begun)).collect(),
        );
        next += TOGETHER;
        written += (begun.len() + ended.len()) as u64;
    }
    next
}

/// The processor's time that threads of this name have had, in seconds.
fn spent_s(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name_of| name_of.trim() == name)
    };
    tasks
        .filter(named)
        .map(|task| {
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
        })
        .sum()
}

/// How much memory this process holds.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
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

/// What is asked of the journal by name, of its first so many calls.
fn searches(calls: u64) -> Vec<(&'static str, Search)> {
    let none = Search::default;
    let text = |text: &str| Some(text.to_owned());
    let middle = Call(calls / 2);
    let deep = Position::from_number((1 << 40) + i64::try_from(calls / 100).unwrap());
    let (since, until) = (Call(calls / 9).at(), Call(calls / 9 + 350).at());
    let never_met = Search { code: text("withheld"), agent: text("agent-9"), ..none() };
    vec![
        ("records", none()),
        (
            "of an agent and a tool",
            Search { agent: text("agent-3"), tool: text("tool_04"), ..none() },
        ),
        ("of a code", Search { code: text("withheld"), ..none() }),
        ("of a code and an agent that never met", never_met),
        (
            "of a tenant, a tool and a code",
            Search {
                tenant: text("acct_07"),
                tool: text("tool_04"),
                code: text("forbidden"),
                ..none()
            },
        ),
        ("of a minute long ago", Search { since: Some(since), until: Some(until), ..none() }),
        ("of a kind that is rare", Search { kind: Some(Kind::StreamOpened), ..none() }),
        ("with an alert", Search { alerts: true, ..none() }),
        ("of a session", Search { session: Some(middle.session()), ..none() }),
        ("of a session that is none", Search { session: Some(Digest::sha256(b"none")), ..none() }),
        ("of a call", Search { call: text(&middle.id()), ..none() }),
        ("deep down, of an agent", Search { before: Some(deep), agent: text("agent-3"), ..none() }),
    ]
}

fn questions() -> Vec<(&'static str, Calls)> {
    let none = Calls::default;
    let text = |text: &str| Some(text.to_owned());
    vec![
        ("calls", none()),
        ("that failed by time", Calls { code: text("system_timed_out"), ..none() }),
        (
            "of a tool, refused with a code",
            Calls { tool: text("tool_04"), code: text("out_of_scope"), ..none() },
        ),
        ("under way", Calls { class: Some(Class::UnderWay), ..none() }),
        ("drafted", Calls { class: Some(Class::Drafted), ..none() }),
    ]
}

/// A day, or as much of it as there is.
fn spans(calls: u64) -> [(&'static str, Span); 4] {
    let (since, until) = (Call(0).at(), Call(calls).at());
    [("minutes", 60), ("quarters of an hour", 900), ("hours", 3_600), ("days", 86_400)]
        .map(|(step, step_s)| (step, Span::new(since, until, step_s)))
}

fn tenant() -> Tenants {
    Tenants::Of([TenantId::new("acct_07").unwrap()].into())
}

/// Asks, and says how long that took.
struct Asked<'a> {
    place: &'a Place,
    index: &'a Index,
    readers: (&'static str, Tenants),
    slow: Vec<String>,
}

impl Asked<'_> {
    fn time<T>(
        &mut self,
        what: &str,
        ask: impl AsyncFn(&Index, &Tenants) -> Result<T, Unrecorded>,
        found: impl Fn(&T) -> usize,
    ) {
        cool(self.place);
        let mut times = Vec::new();
        let mut count = 0;
        for _ in 0..6 {
            let begun = Instant::now();
            let answer = wait(ask(self.index, &self.readers.1)).unwrap();
            times.push(begun.elapsed());
            count = found(&answer);
        }
        let what = format!("{what}{}", self.readers.0);
        let (cold, warm) = (times[0], *times[1..].iter().max().unwrap());
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("| {what} | {count} | {:.1} | {:.1} |", ms(cold), ms(warm));
        if cold.max(warm) > PAGE_MAX {
            self.slow.push(what);
        }
    }

    fn all(&mut self, calls: u64) {
        let (middle, half) = (Call(calls / 2), Call(calls / 2).id());
        for (what, which) in searches(calls) {
            let ask = async |index: &Index, tenants: &Tenants| {
                index.records(which.clone(), tenants).await
            };
            self.time(what, ask, |page| page.items.len());
        }
        for (what, which) in questions() {
            let ask =
                async |index: &Index, tenants: &Tenants| index.calls(which.clone(), tenants).await;
            self.time(what, ask, |page| page.items.len());
        }
        let fifty = Calls { limit: Some(50), ..Calls::default() };
        let end =
            wait(self.index.calls_after(Position::START, fifty.clone(), &Tenants::All)).unwrap();
        let recent = Position::from_number(end.position.number() - 4_000);
        for (what, after) in
            [("what is new of 4,000 records", recent), ("of everything", Position::START)]
        {
            let ask = async |index: &Index, tenants: &Tenants| {
                index.calls_after(after, fifty.clone(), tenants).await
            };
            self.time(what, ask, |news| news.lines.len());
        }
        let call = CallId::new(half).unwrap();
        self.time("one call", async |index, tenants| index.of_call(&call, tenants).await, Vec::len);
        let session = middle.session();
        self.time(
            "a session",
            async |index, tenants| index.of_session(session, None, tenants).await,
            |page| page.items.len(),
        );
        for (step, span) in spans(calls) {
            let ask = async |index: &Index, tenants: &Tenants| {
                index.tallies(span, Calls::default(), tenants).await
            };
            self.time(&format!("counts by {step}"), ask, Vec::len);
            let of = Calls { agent: Some("agent-3".to_owned()), ..Calls::default() };
            let ask = async |index: &Index, tenants: &Tenants| {
                index.tallies(span, of.clone(), tenants).await
            };
            self.time(&format!("counts of an agent by {step}"), ask, Vec::len);
        }
        let [_, _, (_, hours), _] = spans(calls);
        self.time(
            "decisions",
            async |index, tenants| index.decisions(hours, tenants).await,
            |found| found.approvers.len(),
        );
        let agent = AgentId::new("agent-3").unwrap();
        self.time(
            "when an agent was last seen",
            async |index, tenants| index.last_seen(&agent, tenants).await,
            |seen| usize::from(seen.is_some()),
        );
        self.time(
            "how the journal stands",
            async |index, tenants| index.chain(tenants).await,
            |chain| chain.streams.len(),
        );
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
    let calls = fill(&store, 0, records);
    println!("{records} records of {calls} calls in {:.1} s", begun.elapsed().as_secs_f64());
    let resident = resident_kib();
    let begun = Instant::now();
    let index = index(&place);
    println!("its memory: {} KiB", resident_kib().saturating_sub(resident));
    let (took, spent) = (begun.elapsed().as_secs_f64(), spent_s("journal-index"));
    println!(
        "indexed in {took:.1} s, {:.2} µs of processor a record",
        spent * 1e6 / records as f64
    );
    for name in ["journal.db", "journal.index.db"] {
        let length = std::fs::metadata(place.config.path.with_file_name(name)).unwrap().len();
        println!("{name}: {} MiB", length / 1024 / 1024);
    }
    println!("| | found | cold ms | warm ms |\n|---|---|---|---|");
    let mut slow = Vec::new();
    for readers in [("", Tenants::All), (", one tenant's", tenant())] {
        let mut asked = Asked { place: &place, index: &index, readers, slow: Vec::new() };
        asked.all(calls);
        slow.append(&mut asked.slow);
    }
    assert_eq!(slow, Vec::<String>::new());
    drop(index);
    beside(&place, &store, calls);
}

/// Two thousand calls a second, with an index beside them and without, in turns: how long an append takes,
/// and what it costs the journal's thread.
fn beside(place: &Place, store: &SqliteStore, first: u64) {
    const ROUNDS: usize = 5;
    let tick = Duration::from_millis(10);
    let (mut next, mut took, mut spent) = (first, [vec![], vec![]], [0.0, 0.0]);
    let mut filler = 0.0;
    for round in 0..ROUNDS * 2 {
        let with = round % 2;
        let index = (with == 1).then(|| index(place));
        let before = spent_s("journal");
        let begun = Instant::now();
        for tick_number in 1..=300 {
            let calls: Vec<_> = (next..next + 20).map(Call).collect();
            next += 20;
            let since = Instant::now();
            let receipts = append(store, calls.iter().map(Call::begin).collect());
            took[with].push(since.elapsed());
            let since = Instant::now();
            append(
                store,
                calls.iter().zip(&receipts).flat_map(|(call, begun)| call.end(begun)).collect(),
            );
            took[with].push(since.elapsed());
            std::thread::sleep((tick * tick_number).saturating_sub(begun.elapsed()));
        }
        spent[with] += spent_s("journal") - before;
        filler += spent_s("journal-index");
        drop(index);
    }
    for (which, mut took) in ["without", "with"].into_iter().zip(took) {
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!(
            "appends {which} the index: median {:.2} ms, p90 {:.2}, p99 {:.2}",
            at(50),
            at(90),
            at(99)
        );
    }
    let [without, with] = spent;
    println!(
        "the journal's thread: {without:.2} s without, {with:.2} s with; the index's {filler:.2} s"
    );
}

/// A clock by which everything takes long.
#[derive(Debug, Default)]
struct Leaping(AtomicI64);

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.fetch_add(3, Ordering::SeqCst))
    }
}

#[test]
fn a_question_that_takes_too_long_is_given_up() {
    let place = Place::new();
    let calls = fill(&place.open(), 0, 4_000);
    drop(index(&place));
    let index = Index::open(&place.config, Arc::new(Leaping::default())).unwrap();
    let [(_, minutes), ..] = spans(calls);
    let ask = || wait(index.tallies(minutes, Calls::default(), &Tenants::All));
    // Until the index is open it says so.
    let given_up = (0..1_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        ask().is_err_and(|error| error.to_string().contains("interrupted"))
    });
    assert!(given_up, "{:?}", ask());
}

#[test]
fn many_blocks_batches_and_ends_of_the_filler_agree_with_a_look_at_every_record() {
    let place = Place::new();
    let mut next = 0;
    for _ in 0..2 {
        let store = place.open();
        for _ in 0..3 {
            next = fill(&store, next, 900);
            // It stops wherever it is.
            drop(Index::open(&place.config, place.clock.clone()).unwrap());
        }
    }
    let (index, scan) = (index(&place), scan(&place));
    for tenants in [Tenants::All, tenant()] {
        for (what, which) in searches(next) {
            let records = |ledger: &dyn Ledger| {
                let ask = |before: Option<Position>| {
                    let before = before.or(which.before);
                    wait(ledger.records(Search { before, ..which.clone() }, &tenants)).unwrap()
                };
                pages(ask, |(position, _)| *position)
            };
            assert_eq!(records(&index), records(&scan), "{what} {tenants:?}");
        }
        for (what, which) in questions() {
            let calls = |ledger: &dyn Ledger| {
                let ask = |before| {
                    wait(ledger.calls(Calls { before, ..which.clone() }, &tenants)).unwrap()
                };
                pages(ask, |line| line.position)
            };
            assert_eq!(calls(&index), calls(&scan), "{what} {tenants:?}");
            for (_, span) in spans(next) {
                let tallies =
                    |ledger: &dyn Ledger| wait(ledger.tallies(span, which.clone(), &tenants));
                assert_eq!(tallies(&index), tallies(&scan), "{what} {span:?} {tenants:?}");
            }
        }
        let session = Call(next / 2).session();
        let calls = |ledger: &dyn Ledger| wait(ledger.of_session(session, None, &tenants));
        assert_eq!(calls(&index), calls(&scan), "{tenants:?}");
        for (_, span) in spans(next) {
            let decisions = |ledger: &dyn Ledger| wait(ledger.decisions(span, &tenants));
            assert_eq!(decisions(&index), decisions(&scan), "{span:?} {tenants:?}");
        }
    }
}
