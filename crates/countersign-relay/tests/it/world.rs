//! The example company: its posture, its policies, the pipeline and a SQLite journal as in production;
//! time that a test sets, and systems that do as they are told.

use countersign_core::act::{Act, Visitor};
use countersign_core::alert::Rule;
use countersign_core::call::{
    Answer, Answers, Consultation, Door, Inquiry, Monitor, Permit, Proposed,
};
use countersign_core::draft::{Draft, State, Who as Human};
use countersign_core::id::{ActorId, DraftId, IssuerId, SubjectId, TenantId, Timestamp};
use countersign_core::ladder::Gate;
use countersign_core::person::{Person, Role, Tenants};
use countersign_core::port::{
    Authenticator, Clock, Connector, Credential, Entropy, Eventually, Found, Gates, Journal as _,
    People, Register as _, Report, Which,
};
use countersign_core::principal::Principal;
use countersign_core::quota::Limits;
use countersign_core::reading::Record;
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::{Applied, AuthenticationFailure, SystemFault, SystemFaultKind};
use countersign_policy::{Bundle, PolicyFile};
use countersign_posture::load_posture;
use countersign_relay::{Config, Ports, Relay};
use countersign_store::audit::{Filter, Known, Reader, verify};
use countersign_store::{Config as Store, Index, SqliteStore};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Notify;

/// The day begins at nine.
const BEGIN_S: i64 = 1_796_547_600;

/// A clock that a test sets.
#[derive(Debug)]
struct Time(AtomicI64);

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that differ each time.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
        }
    }
}

/// How systems take the next calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// They cannot be reached, and nothing was done.
    Away,
    /// They do it, or not, and nobody hears of it.
    Lost,
    /// They answer with another customer's rows.
    Foreign,
    /// They do not answer.
    Silent,
}

#[derive(Debug)]
struct Systems {
    mood: Mutex<Mood>,
    /// Told whenever one of them is asked and does not answer.
    silent: Notify,
}

impl Systems {
    fn fault(kind: SystemFaultKind, applied: Applied) -> SystemFault {
        SystemFault::new(kind, applied, "made up".to_owned())
    }
}

impl Connector for Systems {
    fn is_withdrawn(&self, _: &countersign_core::tool::Tool) -> bool {
        false
    }

    fn changes(
        &self,
    ) -> Vec<(countersign_core::id::SystemName, countersign_core::port::DefinitionChange)> {
        Vec::new()
    }

    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        let mood = *self.mood.lock().unwrap();
        let tenant = permit.tenant().as_str();
        let whose = if mood == Mood::Foreign { "acct_other" } else { tenant };
        let answer = match mood {
            Mood::Well | Mood::Foreign => Ok(Report {
                shape: countersign_core::port::Shape::Rows,
                result: json!([{ "account": whose, "account_id": whose, "n": 1 }]),
                rows: 1,
                truncated: false,
                changed: 1,
                applied: Applied::Applied,
            }),
            Mood::Away => Err(Self::fault(SystemFaultKind::Unavailable, Applied::NotApplied)),
            Mood::Lost => Err(Self::fault(SystemFaultKind::TimedOut, Applied::Unknown)),
            Mood::Silent => {
                self.silent.notify_one();
                return Box::pin(std::future::pending());
            }
        };
        Box::pin(std::future::ready(answer))
    }

    /// What is a customer's ends with its letter; each knows two addresses.
    fn look_up(&self, inquiry: Inquiry) -> Eventually<'_, Result<Found, SystemFault>> {
        let tenant = inquiry.tenant().as_str().trim_start_matches("acct_").to_owned();
        let own = own_digit(&tenant);
        let asked = inquiry.values().iter().filter(|(name, _)| *name != "tenant");
        let own = asked.map(|(_, value)| value).all(|value| match value {
            Value::String(id) => id.ends_with(own),
            _ => true,
        });
        let addresses =
            ["nora", "omar"].map(|name| json!({ "email": format!("{name}@{tenant}.example") }));
        let rows = match inquiry.values().len() {
            1 => addresses.into(),
            _ if own => vec![json!({ "1": 1 })],
            _ => Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Found { rows, truncated: false, cached: false })))
    }

    fn consult(&self, _: Consultation) -> Eventually<'_, Result<bool, SystemFault>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// The last digit of a customer's own numbers.
pub(crate) fn own_digit(tenant: &str) -> char {
    match tenant {
        "alpha" => '1',
        "bravo" => '2',
        _ => '3',
    }
}

/// Everybody is who their token says: of agents `agent customer session`, of people `id tenants role`.
#[derive(Debug)]
struct Trusting;

const FOREVER: Timestamp = Timestamp::from_secs(i64::MAX / 1_000_000);

impl Authenticator for Trusting {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        _: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>> {
        let words: Vec<&str> = credential.expose().unwrap().split(' ').collect();
        let &[agent, customer, session] = words.as_slice() else { panic!("three words") };
        let of = |depots: &str| (depots.to_owned(), BTreeSet::from(["HAM".to_owned()]));
        let principal = Principal {
            issuer: IssuerId::new("i").unwrap(),
            subject: SubjectId::new(format!("user-{session}")).unwrap(),
            actor: ActorId::new(agent).unwrap(),
            tenant: TenantId::new(format!("acct_{customer}")).unwrap(),
            sid: Some(session.to_owned()),
            person: Some(format!("user-{session}")),
            scopes: BTreeSet::new(),
            attributes: BTreeMap::from([of("depots"), ("groups".to_owned(), BTreeSet::new())]),
            agent_build: None,
            model: None,
            expires: FOREVER,
        };
        Box::pin(std::future::ready(Ok(Arc::new(principal))))
    }
}

impl Gates for Trusting {
    fn gate(&self, _: &Draft) -> Option<Gate> {
        None
    }
}

impl People for Trusting {
    fn person<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Person>, AuthenticationFailure>> {
        let name = credential.expose().unwrap();
        let person = Person {
            who: Human {
                issuer: IssuerId::new("i").unwrap(),
                id: name.to_owned(),
                address: Some(format!("{name}@acme.example")),
            },
            groups: ["support-leads".to_owned()].into(),
            tenants: Tenants::All,
            roles: [Role::Operator].into(),
            signed_in: Some(now),
            expires: FOREVER,
        };
        Box::pin(std::future::ready(Ok(Arc::new(person))))
    }
}

/// An alert on record, without its place: rule, agent, tenant, tool, count.
pub(crate) type Alert = (Rule, Option<String>, Option<String>, Option<String>, u64);

/// The company at work.
pub(crate) struct World {
    folder: TempDir,
    clock: Arc<Time>,
    entropy: Arc<Counting>,
    systems: Arc<Systems>,
    store: Option<Arc<SqliteStore>>,
    monitor: Option<Monitor>,
    /// Tools that were withdrawn.
    withdrawn: BTreeSet<&'static str>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Store { path, key } = files(folder.path());
        let entropy = Arc::new(Counting::default());
        SqliteStore::create(&path, &key, &*entropy).unwrap();
        let mut world = Self {
            folder,
            clock: Arc::new(Time(AtomicI64::new(BEGIN_S * 1_000_000))),
            entropy,
            systems: Arc::new(Systems { mood: Mutex::new(Mood::Well), silent: Notify::new() }),
            store: None,
            monitor: None,
            withdrawn: BTreeSet::new(),
        };
        world.begin();
        world
    }

    /// A process begins: what the last one left open is closed as unknown.
    fn begin(&mut self) {
        let store =
            SqliteStore::open(&files(self.folder.path()), self.clock.clone(), self.entropy.clone());
        self.store = Some(Arc::new(store.unwrap()));
        self.load();
    }

    /// Loads the posture, without the tools that are withdrawn.
    fn load(&mut self) {
        let acme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/acme/posture");
        let mut loaded = load_posture(&acme).0.unwrap();
        for agent in loaded.posture.agents.values_mut() {
            let agent = Arc::get_mut(agent).unwrap();
            agent.grants.retain(|tool, _| !self.withdrawn.contains(tool.as_str()));
            // Sized for more work than the example has; the loop breaker stays as it is.
            let Limits { identical_per_minute, .. } = agent.limits;
            let most = Some(2_000);
            agent.limits = Limits {
                per_session: most,
                per_minute: Some(200),
                per_hour: most,
                identical_per_minute,
            };
        }
        let attributes: Vec<&str> = loaded.claims.attributes.keys().map(String::as_str).collect();
        let policies = loaded.policies.iter();
        let policies: Vec<_> =
            policies.map(|of| PolicyFile { name: of.path(), text: of.text() }).collect();
        let bundle = Bundle::compile(&loaded.posture, &attributes, &policies).unwrap();
        let store = self.store();
        self.monitor = Some(Monitor {
            posture: Arc::new(loaded.posture),
            authenticator: Arc::new(Trusting),
            people: Arc::new(Trusting),
            pdp: Arc::new(bundle),
            journal: store.clone(),
            register: store,
            connector: self.systems.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        });
    }

    pub(crate) fn withdraw(&mut self, tool: &'static str) {
        self.withdrawn.insert(tool);
        self.load();
    }

    /// The process ends in good order, or as by a kill, and the next one begins.
    pub(crate) fn restart(&mut self, in_good_order: bool) {
        self.monitor = None;
        let store = Arc::into_inner(self.store.take().unwrap()).expect("nobody else has it");
        if in_good_order {
            store.close().unwrap();
        } else {
            drop(store);
        }
        self.begin();
    }

    fn store(&self) -> Arc<SqliteStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    fn monitor(&self) -> &Monitor {
        self.monitor.as_ref().unwrap()
    }

    pub(crate) fn feel(&self, mood: Mood) {
        *self.systems.mood.lock().unwrap() = mood;
    }

    /// Lets time pass; the clock may be set back, too.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    // ── agents ──────────────────────────────────────────────────────────────────────────────────

    /// A call by `agent customer session`: `completed`, or its code.
    pub(crate) async fn call(&self, who: &str, tool: &str, arguments: Value) -> &'static str {
        self.ask(who, tool, arguments, None).await.0
    }

    /// The same, with the draft that it met.
    pub(crate) async fn ask(
        &self,
        who: &str,
        tool: &str,
        arguments: Value,
        answers: Option<Answers>,
    ) -> (&'static str, Option<DraftId>) {
        let credential = Credential::bearer(who);
        let caller = self.monitor().authenticate(&credential, Door::Mcp).await.unwrap();
        let proposed =
            Proposed { caller: Arc::new(caller), tool: tool.to_owned(), arguments, answers };
        match self.monitor().call(proposed).await {
            Answer::Completed(_) => ("completed", None),
            Answer::Faulted(faulted) => (faulted.fault().code(), None),
            Answer::Refused(refused) => {
                let draft = refused.public().reference.and_then(|text| DraftId::new(text).ok());
                (refused.refusal().code(), draft)
            }
        }
    }

    /// A call that the process does not live to hear of.
    pub(crate) async fn cut_off(&self, who: &str, tool: &str, arguments: Value) {
        self.feel(Mood::Silent);
        tokio::select! {
            code = self.call(who, tool, arguments) => panic!("{code}"),
            () = self.systems.silent.notified() => {}
        }
        self.feel(Mood::Well);
    }

    // ── people, and the gateway by itself ───────────────────────────────────────────────────────

    async fn visitor(&self, name: &str) -> Visitor {
        self.monitor().welcome(&Credential::bearer(name)).await.unwrap()
    }

    pub(crate) async fn decide(&self, name: &str, act: Act) {
        let visitor = self.visitor(name).await;
        let done = self.monitor().act(&visitor, act).await;
        drop(done.unwrap_or_else(|barred| panic!("{barred:?}")));
    }

    /// The record of a tool that was withdrawn, as the monitor writes it.
    pub(crate) async fn redefine(&self, tool: &str) {
        let entry = Entry::new(Kind::DefinitionChanged, self.clock.now())
            .with("tool", tool)
            .with("status", "withdrawn")
            .with("alert", "definition_changed");
        self.store().append(entry).await.unwrap();
    }

    /// What is due is done.
    pub(crate) async fn tend(&self) {
        let due: Vec<Draft> = self.store().due(self.clock.now()).await.unwrap();
        for draft in due {
            drop(self.monitor().tend(draft).await);
        }
    }

    // ── the relay ───────────────────────────────────────────────────────────────────────────────

    pub(crate) fn relay(&self) -> Relay {
        let files = files(self.folder.path());
        let index = Index::open(&files, self.clock.clone()).unwrap();
        let store = self.store();
        let config = Config {
            journal: store.key().to_string(),
            store: files.path,
            exporters: Vec::new(),
            rules: Rule::ALL.map(|rule| (rule, rule.usual())).into(),
            destinations: Vec::new(),
            public_url: "https://countersign.acme.example".to_owned(),
        };
        let ports = Ports {
            ledger: Arc::new(index),
            journal: store.clone(),
            register: store,
            gates: Arc::new(Trusting),
            clock: self.clock.clone(),
        };
        Relay::open(config, ports).unwrap()
    }

    /// Lets the relay see all there is, and end in good order.
    pub(crate) async fn relay_all(&self) {
        self.settle().await;
        self.relay().run(std::future::ready(())).await;
    }

    /// Lets it live for a while and go without a word, whatever it is doing.
    pub(crate) async fn relay_for(&self, time: Duration) {
        let life = self.relay().run(std::future::pending());
        assert!(tokio::time::timeout(time, life).await.is_err());
        // What it gave the journal to write would not come later either if the process were gone.
        self.settle().await;
    }

    /// What the rules keep of how far they have come.
    pub(crate) fn kept(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join("state/journal.db.followers/rules")).ok()
    }

    /// Puts that in the place of what they keep now.
    pub(crate) fn keep(&self, kept: Option<Vec<u8>>) {
        let path = self.folder.path().join("state/journal.db.followers/rules");
        match kept {
            Some(kept) => fs::write(path, kept).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }

    /// What was noted and given to the journal is in it. Refusals are written in a moment of their own.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let entry = Entry::new(Kind::PostureLoaded, self.clock.now()).with("status", "loaded");
        self.store().append(entry).await.unwrap();
    }

    pub(crate) fn records(&self, kind: Kind) -> Vec<Record> {
        let reader = Reader::open(&files(self.folder.path()).path).unwrap();
        reader.query(&Filter { kind: Some(kind), ..Filter::default() }).unwrap()
    }

    /// The alerts on record, in the order of the rules.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        let alert = |record: Record| {
            let text = |name: &str| record.text(name).map(str::to_owned);
            let rule = Rule::parse(record.text("alert").unwrap()).unwrap();
            let count = record.header["count"].as_u64().unwrap();
            (rule, text("agent"), text("tenant"), text("tool"), count)
        };
        let mut alerts: Vec<Alert> = self.records(Kind::Alerted).into_iter().map(alert).collect();
        alerts.sort();
        alerts
    }

    /// How many refusals and faults there are, by code.
    pub(crate) fn codes(&self) -> BTreeMap<String, u64> {
        let records = [Kind::Refusal, Kind::Outcome].map(|kind| self.records(kind));
        records.iter().flatten().fold(BTreeMap::new(), |mut codes, record| {
            if let Some(code) = record.text("code") {
                let count = record.header.get("count").and_then(Value::as_u64).unwrap_or(1);
                *codes.entry(code.to_owned()).or_default() += count;
            }
            codes
        })
    }

    /// How many drafts wait.
    pub(crate) async fn waiting(&self) -> usize {
        let which = Which { state: Some(State::Waiting), ..Which::default() };
        self.store().drafts(which).await.unwrap().len()
    }

    /// The journal is whole by its own rules.
    pub(crate) fn verified(&self) {
        let Store { path, .. } = files(self.folder.path());
        let known = Known { key: Some(*self.store().key()), ..Known::default() };
        assert_eq!(verify(&path, &known).unwrap().findings, []);
    }
}

fn files(folder: &Path) -> Store {
    Store { path: folder.join("state/journal.db"), key: folder.join("state/journal.key") }
}
