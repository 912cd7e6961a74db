//! What people ask of a journal: the index finds what a look at every record finds, whatever became of
//! its file or its process, and shows nobody what is not theirs.

use crate::support::{Place, append, at, wait};
use countersign_core::id::{AgentId, CallId, Digest, TenantId, Timestamp};
use countersign_core::person::Tenants;
use countersign_core::port::{Ledger, Receipt};
use countersign_core::reading::{
    Calls, Class, Line, Page, Position, Record, Search, SessionCall, Span,
};
use countersign_core::record::{Entry, Kind};
use countersign_store::{Index, Scan, SqliteStore};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

/// Opens the index, and waits until it has come as far as the journal.
pub(crate) fn index(place: &Place) -> Index {
    let index = Index::open(&place.config, place.clock.clone()).unwrap();
    for _ in 0..60_000 {
        if wait(index.chain(&Tenants::All)).is_ok_and(|chain| chain.behind.records == 0) {
            return index;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the index does not come: {:?}", wait(index.chain(&Tenants::All)));
}

/// The same records, to be gone through one by one.
pub(crate) fn scan(place: &Place) -> Scan {
    let mut epochs = BTreeMap::new();
    let mut records: Vec<_> = place.records();
    for record in &records {
        if let Some(epoch) = record.header.get("epoch").and_then(serde_json::Value::as_i64) {
            epochs.insert(record.stream().to_owned(), epoch);
        }
    }
    let position = |record: &Record| {
        Position::from_number(epochs[record.stream()] << 40 | record.sequence() as i64)
    };
    records.sort_by_key(|record| position(record));
    Scan::of(records.into_iter().map(|record| (position(&record), record)).collect())
}

fn file(place: &Place) -> PathBuf {
    place.config.path.with_file_name("journal.index.db")
}

// ── what happens ────────────────────────────────────────────────────────────────────────────────

const TENANTS: [&str; 3] = ["acct_alpha", "acct_bravo", "acct_charlie"];
const AGENTS: [&str; 2] = ["copilot", "planner"];
const TOOLS: [&str; 3] = ["get_usage", "pay", "say \"é\""];
const CODES: [&str; 3] = ["forbidden", "out_of_scope", "rate_limited"];
const PEOPLE: [&str; 2] = ["sam", "lee"];
const DRAFTS: usize = 5;

fn session(of: usize) -> Digest {
    Digest::of("session", &[&[of as u8]])
}

/// Something that is recorded. The numbers say of what, of whom, by whom.
#[derive(Debug, Clone)]
enum Event {
    Begin(usize),
    /// One of those that are under way.
    End(usize, usize),
    Refuse(usize, u64),
    Propose(usize),
    Look(usize),
    Decide(usize, usize),
    Deliver(usize),
    Suspend,
    Bar(usize),
    /// So many seconds later, or before.
    Wait(i64),
}

/// What becomes of the process, or of the index's file.
#[derive(Debug, Clone, Copy)]
enum Upset {
    None,
    Close,
    Kill,
    Remove,
    Garbage,
    Cut,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let n = 0..1_000_usize;
    let event = prop_oneof![
        6 => n.clone().prop_map(Event::Begin),
        5 => (n.clone(), n.clone()).prop_map(|(which, how)| Event::End(which, how)),
        3 => (n.clone(), 1..4_u64).prop_map(|(of, count)| Event::Refuse(of, count)),
        2 => n.clone().prop_map(Event::Propose),
        1 => n.clone().prop_map(Event::Look),
        2 => (n.clone(), n.clone()).prop_map(|(which, by)| Event::Decide(which, by)),
        1 => n.clone().prop_map(Event::Deliver),
        1 => Just(Event::Suspend),
        1 => n.prop_map(Event::Bar),
        2 => (-30..200_i64).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 1..40)
}

fn upsets() -> impl Strategy<Value = Upset> {
    let all = [Upset::None, Upset::Close, Upset::Kill, Upset::Remove, Upset::Garbage, Upset::Cut];
    prop::sample::select(all.to_vec())
}

/// Records events as the monitor would.
#[derive(Debug, Default)]
struct History {
    now: i64,
    calls: usize,
    under_way: Vec<(String, usize, Receipt)>,
}

fn pick<'a>(from: &[&'a str], of: usize) -> &'a str {
    from[of % from.len()]
}

impl History {
    fn now(&self) -> Timestamp {
        at(100_000 + self.now)
    }

    fn call(&mut self) -> String {
        self.calls += 1;
        format!("call_{}", self.calls)
    }

    /// What every record of a call has; a record now and then lacks some of it.
    fn entry(&self, kind: Kind, call: &str, of: usize) -> Entry {
        let mut entry = Entry::new(kind, self.now()).with("call", call).with("door", "mcp");
        if !of.is_multiple_of(7) {
            entry = entry.with("agent", pick(&AGENTS, of / 2)).with("rung", 1);
        }
        if !of.is_multiple_of(11) {
            entry = entry.with("tool", pick(&TOOLS, of / 3));
        }
        if of.is_multiple_of(13) {
            return entry.body("claimed_tool", "drop <all>");
        }
        let principal = json!({ "subject": "ann", "session": session(of % 6).to_string() });
        entry.with("tenant", pick(&TENANTS, of % 6)).body("principal", principal.to_string())
    }

    fn of_draft(&self, kind: Kind, draft: usize) -> Entry {
        Entry::new(kind, self.now())
            .with("draft", format!("drf_{}", draft % DRAFTS))
            .with("tenant", pick(&TENANTS, draft % DRAFTS))
            .with("agent", pick(&AGENTS, draft))
            .with("tool", "pay")
    }

    fn person(by: usize) -> String {
        let id = pick(&PEOPLE, by);
        json!({ "issuer": "https://idp.example", "id": id, "address": null }).to_string()
    }

    fn happens(&mut self, store: &SqliteStore, event: &Event) {
        let entry = match *event {
            Event::Wait(secs) => {
                self.now += secs;
                return;
            }
            Event::Begin(of) => {
                let call = self.call();
                let arguments = json!({ "n": of }).to_string();
                let intent = self.entry(Kind::Intent, &call, of).body("arguments", arguments);
                let begun = append(store, intent).unwrap();
                self.under_way.push((call, of, begun));
                return;
            }
            Event::End(which, how) if self.under_way.is_empty() => {
                let _ = (which, how);
                return;
            }
            Event::End(which, how) => {
                let (call, of, begun) = self.under_way.remove(which % self.under_way.len());
                let outcome = self
                    .entry(Kind::Outcome, &call, of)
                    .with("intent", json!({ "stream": &*begun.stream, "seq": begun.sequence }))
                    .with("duration_us", 7);
                match how % 4 {
                    0 => outcome
                        .with("status", "fault")
                        .with("code", "withheld")
                        .with("alert", "foreign_rows"),
                    1 => outcome.with("status", "fault").with("code", "system_failed"),
                    _ => outcome.with("status", "ok").with("rows", how),
                }
            }
            Event::Refuse(of, count) => {
                let call = self.call();
                let entry = self.entry(Kind::Refusal, &call, of).with("code", pick(&CODES, of));
                entry.with("count", count).with("last", self.now().micros() + 5)
            }
            Event::Propose(draft) => {
                let call = self.call();
                let principal = json!({ "session": session(draft % 6).to_string() });
                let entry = self.of_draft(Kind::DraftProposed, draft).with("call", call);
                entry.body("principal", principal.to_string()).body("arguments", r#"{"to":"é"}"#)
            }
            Event::Look(of) => {
                self.of_draft(Kind::DraftPreviewed, of).body("person", Self::person(of / DRAFTS))
            }
            Event::Decide(draft, by) => {
                let kinds = [Kind::DraftApproved, Kind::DraftRejected, Kind::DraftExpired];
                let entry = self.of_draft(kinds[by / 2 % 3], draft);
                if by % 9 == 0 { entry } else { entry.body("person", Self::person(by)) }
            }
            Event::Deliver(draft) => {
                let call = self.call();
                self.of_draft(Kind::DraftDelivered, draft).with("call", call)
            }
            Event::Suspend => Entry::new(Kind::Suspended, self.now()).with("switch", "everything"),
            Event::Bar(by) => Entry::new(Kind::ActRefused, self.now())
                .with("code", "not_entitled")
                .body("person", Self::person(by)),
        };
        append(store, entry).unwrap();
    }

    /// What is under way when its process ends, recovery closes.
    fn ended(&mut self) {
        self.under_way.clear();
    }
}

fn upset(place: &Place, upset: Upset) {
    let file = file(place);
    match upset {
        Upset::None | Upset::Close | Upset::Kill => {}
        Upset::Remove => drop(std::fs::remove_file(&file)),
        Upset::Garbage => std::fs::write(&file, "no database at all").unwrap(),
        Upset::Cut => {
            // The log is gone and half of the file with it.
            drop(std::fs::remove_file(file.with_file_name("journal.index.db-wal")));
            if let Ok(length) = std::fs::metadata(&file).map(|found| found.len()) {
                let open = std::fs::File::options().write(true).open(&file).unwrap();
                open.set_len(length / 2 + 100).unwrap();
            }
        }
    }
}

// ── what is asked ───────────────────────────────────────────────────────────────────────────────

/// All pages of an answer, and no item twice.
pub(crate) fn pages<T: Debug>(
    ask: impl Fn(Option<Position>) -> Page<T>,
    position: impl Fn(&T) -> Position,
) -> Vec<T> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let Page { items, next } = ask(before);
        all.extend(items);
        let falls = all.windows(2).all(|two| position(&two[0]) > position(&two[1]));
        assert!(falls, "{all:?}");
        let Some(next) = next else { return all };
        assert!(before.is_none_or(|before| next < before), "a page leads on: {next:?}");
        before = Some(next);
    }
}

pub(crate) fn all_records(
    ledger: &dyn Ledger,
    which: &Search,
    tenants: &Tenants,
) -> Vec<(Position, Record)> {
    let ask = |before| {
        let which = Search { before, limit: Some(7), ..which.clone() };
        wait(ledger.records(which, tenants)).unwrap()
    };
    pages(ask, |(position, _)| *position)
}

pub(crate) fn all_calls(ledger: &dyn Ledger, which: &Calls, tenants: &Tenants) -> Vec<Line> {
    let ask = |before| {
        let which = Calls { before, limit: Some(3), ..which.clone() };
        wait(ledger.calls(which, tenants)).unwrap()
    };
    pages(ask, |line| line.position)
}

pub(crate) fn all_of_session(
    ledger: &dyn Ledger,
    of: Digest,
    tenants: &Tenants,
) -> Vec<SessionCall> {
    pages(|before| wait(ledger.of_session(of, before, tenants)).unwrap(), |call| call.line.position)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn searches() -> Vec<Search> {
    let none = Search::default;
    vec![
        none(),
        Search { since: Some(at(100_100)), until: Some(at(100_300)), ..none() },
        Search { kind: Some(Kind::Outcome), ..none() },
        Search { kind: Some(Kind::Suspended), ..none() },
        Search { agent: text("copilot"), tool: text("pay"), ..none() },
        Search { tenant: text("acct_bravo"), ..none() },
        Search { tool: text(TOOLS[2]), status: text("ok"), ..none() },
        Search { code: text("withheld"), ..none() },
        Search { status: text("unknown"), ..none() },
        Search { call: text("call_3"), ..none() },
        Search { draft: text("drf_1"), ..none() },
        Search { draft: text("drf_2"), kind: Some(Kind::DraftPreviewed), ..none() },
        Search { session: Some(session(2)), ..none() },
        Search { session: Some(session(2)), agent: text("planner"), ..none() },
        Search { session: Some(session(99)), ..none() },
        Search { alerts: true, ..none() },
        Search { agent: text("nobody"), ..none() },
        Search { call: text("' OR 1 --"), ..none() },
    ]
}

fn questions() -> Vec<Calls> {
    let none = Calls::default;
    let of = |class| Calls { class: Some(class), ..none() };
    Class::ALL
        .into_iter()
        .map(of)
        .chain([
            none(),
            Calls { agent: text("copilot"), ..none() },
            Calls { tool: text("pay"), tenant: text("acct_alpha"), ..none() },
            Calls { code: text("forbidden"), ..none() },
            Calls { since: Some(at(100_050)), until: Some(at(100_400)), ..none() },
        ])
        .collect()
}

fn readers() -> Vec<Tenants> {
    let of = |tenants: &[&str]| {
        Tenants::Of(tenants.iter().map(|tenant| TenantId::new(*tenant).unwrap()).collect())
    };
    vec![
        Tenants::All,
        of(&["acct_alpha"]),
        of(&["acct_bravo", "acct_charlie"]),
        of(&[]),
        of(&["x"]),
    ]
}

fn spans() -> [Span; 3] {
    [
        Span::new(at(100_000), at(101_000), 60),
        Span::new(at(0), at(200_000), 3_600),
        Span::new(at(90_000), at(900_000), 86_400),
    ]
}

/// Both say the same of everything.
#[expect(clippy::cognitive_complexity, reason = "one question after the other")]
fn agree(index: &dyn Ledger, scan: &dyn Ledger) {
    for tenants in &readers() {
        for which in &searches() {
            let (found, expected) =
                (all_records(index, which, tenants), all_records(scan, which, tenants));
            assert_eq!(found, expected, "{which:?} {tenants:?}");
        }
        for which in &questions() {
            let (found, expected) =
                (all_calls(index, which, tenants), all_calls(scan, which, tenants));
            assert_eq!(found, expected, "{which:?} {tenants:?}");
            for after in [Position::START, expected.last().map_or(Position::START, |l| l.position)]
            {
                let which = Calls { limit: Some(2), ..which.clone() };
                let news =
                    |ledger: &dyn Ledger| wait(ledger.calls_after(after, which.clone(), tenants));
                assert_eq!(news(index), news(scan), "{which:?} {tenants:?}");
            }
            for span in spans() {
                let tallies =
                    |ledger: &dyn Ledger| wait(ledger.tallies(span, which.clone(), tenants));
                assert_eq!(tallies(index), tallies(scan), "{span:?} {which:?} {tenants:?}");
            }
        }
        for of in 0..6 {
            let of = session(of);
            let found = all_of_session(index, of, tenants);
            assert_eq!(found, all_of_session(scan, of, tenants), "{tenants:?}");
        }
        for span in spans() {
            let decisions = |ledger: &dyn Ledger| wait(ledger.decisions(span, tenants));
            assert_eq!(decisions(index), decisions(scan), "{span:?} {tenants:?}");
        }
        for agent in AGENTS {
            let agent = AgentId::new(agent).unwrap();
            let seen = |ledger: &dyn Ledger| wait(ledger.last_seen(&agent, tenants));
            assert_eq!(seen(index), seen(scan), "{agent} {tenants:?}");
        }
        for call in ["call_1", "call_3", "call_none"] {
            let call = CallId::new(call).unwrap();
            let of = |ledger: &dyn Ledger| wait(ledger.of_call(&call, tenants));
            assert_eq!(of(index), of(scan), "{call} {tenants:?}");
        }
    }
    let streams = |ledger: &dyn Ledger| {
        let chain = wait(ledger.chain(&Tenants::All)).unwrap();
        let ends = chain.streams.into_iter().map(|end| (end.stream, end.sequence, end.closed));
        (ends.collect::<Vec<_>>(), chain.streams_count, chain.behind)
    };
    assert_eq!(streams(index), streams(scan));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_look_at_every_record_finds_whatever_became_of_it(
        parts in prop::collection::vec((events(), upsets()), 1..5)
    ) {
        let place = Place::new();
        let mut history = History::default();
        let mut store = place.open();
        for (events, what) in parts {
            events.iter().for_each(|event| history.happens(&store, event));
            {
                let index = index(&place);
                agree(&index, &scan(&place));
            }
            if matches!(what, Upset::Close) {
                store.close().unwrap();
            }
            if matches!(what, Upset::Close | Upset::Kill) {
                drop(store);
                history.ended();
                store = place.open();
            }
            upset(&place, what);
            agree(&index(&place), &scan(&place));
        }
    }
}
