//! Time that stands still, bytes that are counted, a journal in a folder of its own.

use countersign_core::absence::Delegation;
use countersign_core::draft::{
    Change, Decided, Draft, Outcome, State, Step, Suspension, Switch, Who,
};
use countersign_core::id::{
    ActorId, AgentId, CallId, DelegationId, Digest, DraftId, IssuerId, SubjectId, SystemName,
    TenantId, Timestamp, ToolName,
};
use countersign_core::person::Tenants;
use countersign_core::port::{Clock, Entropy, Journal, Receipt, Refused, Unrecorded};
use countersign_core::principal::Principal;
use countersign_core::reading::Record;
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use countersign_core::tool::Rung;
use countersign_store::audit::{Filter, Finding, Known, Reader, verify};
use countersign_store::{Config, PublicKey, SqliteStore, StoreError, Witness};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A clock that tests set.
#[derive(Debug, Default)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn advance(&self, secs: i64) {
        self.0.fetch_add(secs * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that differ each time.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let seed = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (i, chunk) in bytes.chunks_mut(32).enumerate() {
            let digest = Digest::of("test", &[&seed, &[i as u8]]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    }
}

/// A journal on disk.
#[derive(Debug)]
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) key: PublicKey,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) entropy: Arc<Counting>,
}

/// Opens a journal that was closed just now. Another test that starts a program at that moment has all
/// descriptors of this process, the lock's too, until the program begins.
pub(crate) fn opened(
    open: impl Fn() -> Result<SqliteStore, StoreError>,
) -> Result<SqliteStore, StoreError> {
    for _ in 0..2_000 {
        match open() {
            Err(StoreError::InUse(_)) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    open()
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            path: folder.path().join("state/journal.db"),
            key: folder.path().join("state/journal.key"),
        };
        let entropy = Arc::new(Counting::default());
        let key = SqliteStore::create(&config.path, &config.key, &*entropy).unwrap();
        Self { _folder: folder, config, key, clock: Arc::default(), entropy }
    }

    pub(crate) fn open(&self) -> SqliteStore {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<SqliteStore, StoreError> {
        opened(|| SqliteStore::open(&self.config, self.clock.clone(), self.entropy.clone()))
    }

    /// The head beside the key.
    pub(crate) fn head(&self) -> Witness {
        Witness::read(&Witness::beside(&self.config.key)).unwrap()
    }

    /// All that can be known from elsewhere.
    pub(crate) fn known(&self) -> Known {
        Known { key: Some(self.key), head: Some(self.head()), now: Some(self.clock.now()) }
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        Reader::open(&self.config.path).unwrap().query(&Filter::default()).unwrap()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        verify(&self.config.path, &self.known()).unwrap().findings
    }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// The intent of a call that nobody is asked about, as the monitor writes it.
pub(crate) fn intent(call: &str, effect: &str) -> Entry {
    let rung = if effect == "read" { 1 } else { 2 };
    Entry::new(Kind::Intent, at(10))
        .with("call", call)
        .with("agent", "copilot")
        .with("tenant", "acct_alpha")
        .with("tool", "get_usage")
        .with("system", "freight-db")
        .with("effect", effect)
        .with("rung", rung)
        .body("principal", r#"{"subject":"ann"}"#)
        .body("arguments", r#"{"account_id":"acct_alpha","days":7}"#)
}

/// The outcome of a call.
pub(crate) fn outcome(call: &str, intent: &Receipt) -> Entry {
    Entry::new(Kind::Outcome, at(11))
        .with("call", call)
        .with("agent", "copilot")
        .with("tenant", "acct_alpha")
        .with("tool", "get_usage")
        .with("intent", json!({ "stream": &*intent.stream, "seq": intent.sequence }))
        .with("status", "ok")
        .with("applied", "applied")
        .body("result", r#"{"rows":[],"row_count":0,"truncated":false}"#)
}

pub(crate) fn refused(call: &str, code: &str, now: Timestamp) -> Refused {
    Refused {
        entry: Entry::new(Kind::Refusal, now)
            .with("call", call)
            .with("code", code)
            .body("detail", "why é"),
        repeat: Digest::of("test", &[code.as_bytes()]),
    }
}

pub(crate) fn append(journal: &dyn Journal, entry: Entry) -> Result<Receipt, Unrecorded> {
    wait(journal.append(entry))
}

/// A whole call, recorded.
pub(crate) fn call(journal: &dyn Journal, call: &str) {
    let receipt = append(journal, intent(call, "read")).unwrap();
    append(journal, outcome(call, &receipt)).unwrap();
}

/// An alert, as the relay puts it on record.
pub(crate) fn alert(rule: &str, cause: &Receipt) -> Entry {
    Entry::new(Kind::Alerted, at(13))
        .with("alert", rule)
        .with("agent", "copilot")
        .with("cause", json!({ "stream": &*cause.stream, "seq": cause.sequence }))
        .with("count", 1)
        .with("first", at(10).micros())
        .with("last", at(10).micros())
}

// ── drafts ──────────────────────────────────────────────────────────────────────────────────────

/// A draft as the monitor proposes it; `same` tells whether two are of one call.
pub(crate) fn draft(id: &str, same: &str, proposed: Timestamp) -> Draft {
    Draft {
        id: DraftId::new(id).unwrap(),
        call: CallId::new(format!("call_of_{id}")).unwrap(),
        proposed,
        expires: proposed.plus_secs(600),
        principal: Principal {
            issuer: IssuerId::new("https://idp.example").unwrap(),
            subject: SubjectId::new("ann").unwrap(),
            actor: ActorId::new("copilot").unwrap(),
            tenant: TenantId::new("t0").unwrap(),
            sid: Some("s1".into()),
            person: Some("ann-7".into()),
            scopes: BTreeSet::from(["orders".to_owned()]),
            attributes: BTreeMap::from([("regions".to_owned(), BTreeSet::from(["é".to_owned()]))]),
            agent_build: None,
            model: Some("m".into()),
            expires: at(3_600),
        },
        agent: AgentId::new("copilot").unwrap(),
        tool: ToolName::new("pay").unwrap(),
        system: SystemName::new("bank").unwrap(),
        arguments: br#"{"n":1,"to":"\u00e9"}"#.to_vec(),
        binding: Digest::sha256(same.as_bytes()),
        decision: Digest::sha256(b"decision"),
        rung: Rung::NAMED,
        summary: "Pays 1 to é".into(),
        same_as: Some(DraftId::new("drf_before").unwrap()),
        state: State::Waiting,
        decided: None,
        committed: None,
        outcome: None,
        delivered: false,
    }
}

/// The members that every record of a draft has.
fn of(kind: Kind, draft: &Draft) -> Entry {
    Entry::new(kind, draft.proposed)
        .with("draft", draft.id.as_str())
        .with("tenant", draft.principal.tenant.as_str())
        .with("agent", draft.agent.as_str())
        .with("tool", draft.tool.as_str())
        .with("rung", draft.rung.number())
}

pub(crate) fn proposing(draft: &Draft) -> Entry {
    of(Kind::DraftProposed, draft)
        .with("call", draft.call.as_str())
        .with("expires", draft.expires.micros())
        .body("arguments", draft.arguments.clone())
        .changing(Change::Propose(Box::new(draft.clone())))
}

pub(crate) fn delivering(draft: &Draft) -> Entry {
    of(Kind::DraftDelivered, draft).changing(Change::Deliver(draft.id.clone()))
}

pub(crate) fn previewing(draft: &Draft) -> Entry {
    of(Kind::DraftPreviewed, draft)
}

pub(crate) fn who(id: &str) -> Who {
    Who { issuer: IssuerId::new("i").unwrap(), id: id.into(), address: Some(format!("{id}@x")) }
}

pub(crate) fn decided(by: &str) -> Decided {
    Decided { by: Some(who(by)), in_stead_of: None, at: at(20), reason: Some("because".into()) }
}

/// The call that carries a draft out.
pub(crate) fn commit_of(draft: &Draft) -> CallId {
    CallId::new(format!("commit_{}", draft.id)).unwrap()
}

/// The intent that spends an approval, by a call of this name.
pub(crate) fn claiming(draft: &Draft, call: &CallId) -> Entry {
    of(Kind::Intent, draft)
        .with("call", call.as_str())
        .with("system", draft.system.as_str())
        .with("effect", "irreversible")
        .with("decided_by", "approval")
        .body("arguments", draft.arguments.clone())
        .changing(Change::Move {
            draft: draft.id.clone(),
            step: Step::Claim,
            decided: None,
            commit: Some(call.clone()),
            outcome: None,
        })
}

/// What came of that, if it is known where the intent is.
pub(crate) fn ending(draft: &Draft, applied: Applied, intent: Option<&Receipt>) -> Entry {
    let known = Outcome { applied, code: None, result: Some("[]".into()), resolved: false };
    let mut entry = of(Kind::Outcome, draft)
        .with("call", commit_of(draft).as_str())
        .with("system", draft.system.as_str())
        .with("effect", "irreversible")
        .with("status", "ok")
        .with("applied", applied.as_str());
    if let Some(Receipt { stream, sequence, .. }) = intent {
        entry = entry.with("intent", json!({ "stream": &**stream, "seq": sequence }));
    }
    entry.changing(Change::Move {
        draft: draft.id.clone(),
        step: Step::of(applied),
        decided: None,
        commit: None,
        outcome: Some(known),
    })
}

/// One step of a draft, in the record that such a step is made with.
pub(crate) fn moving(draft: &Draft, step: Step) -> Entry {
    let kind = match step {
        Step::Approve => Kind::DraftApproved,
        Step::Reject => Kind::DraftRejected,
        Step::Withdraw => Kind::DraftWithdrawn,
        Step::Expire => Kind::DraftExpired,
        Step::Void => Kind::DraftVoid,
        Step::Claim => return claiming(draft, &commit_of(draft)),
        Step::Succeed => return ending(draft, Applied::Applied, None),
        Step::Fail => return ending(draft, Applied::NotApplied, None),
        Step::Lose => return ending(draft, Applied::Unknown, None),
    };
    of(kind, draft).changing(Change::Move {
        draft: draft.id.clone(),
        step,
        decided: Some(decided("sam")),
        commit: None,
        outcome: None,
    })
}

/// Proposed, and moved along these steps.
pub(crate) fn brought(journal: &dyn Journal, draft: &Draft, steps: &[Step]) {
    append(journal, proposing(draft)).unwrap();
    let mut before: Option<Receipt> = None;
    for step in steps {
        let entry = match step {
            Step::Succeed => ending(draft, Applied::Applied, before.as_ref()),
            Step::Fail => ending(draft, Applied::NotApplied, before.as_ref()),
            Step::Lose => ending(draft, Applied::Unknown, before.as_ref()),
            step => moving(draft, *step),
        };
        before = Some(append(journal, entry).unwrap());
    }
}

/// The shortest way to a state.
pub(crate) const fn way_to(state: State) -> &'static [Step] {
    match state {
        State::Waiting => &[],
        State::Approved => &[Step::Approve],
        State::Committing => &[Step::Approve, Step::Claim],
        State::Executed => &[Step::Approve, Step::Claim, Step::Succeed],
        State::Failed => &[Step::Approve, Step::Claim, Step::Fail],
        State::Unknown => &[Step::Approve, Step::Claim, Step::Lose],
        State::Rejected => &[Step::Reject],
        State::Withdrawn => &[Step::Withdraw],
        State::Expired => &[Step::Expire],
        State::Void => &[Step::Void],
    }
}

pub(crate) fn suspending(of: &Switch, by: &str) -> Entry {
    let (of, by, reason) = (of.clone(), who(by), "odd".to_owned());
    switched(Kind::Suspended, &of).changing(Change::Suspend(Suspension {
        of,
        at: at(30),
        by,
        reason,
    }))
}

pub(crate) fn resuming(of: &Switch) -> Entry {
    switched(Kind::Resumed, of).changing(Change::Resume(of.clone()))
}

fn switched(kind: Kind, of: &Switch) -> Entry {
    Entry::new(kind, at(30)).with("switch", of.kind()).with("name", of.name())
}

pub(crate) fn resolving(call: &CallId, draft: Option<&Draft>, happened: bool) -> Entry {
    let kind = Kind::UnknownResolved;
    let entry = draft.map_or_else(|| Entry::new(kind, at(40)), |draft| of(kind, draft));
    entry.with("call", call.as_str()).with("happened", happened).changing(Change::Resolve {
        call: call.clone(),
        decided: decided("op"),
        happened,
    })
}

// ── absence ─────────────────────────────────────────────────────────────────────────────────────

/// Somebody of this name stands in for another, from a second on until one.
pub(crate) fn delegation(
    id: &str,
    (from, to): (&str, &str),
    (since, until): (i64, i64),
) -> Delegation {
    Delegation {
        id: DelegationId::new(id).unwrap(),
        from: who(from),
        tenants: Tenants::Of([TenantId::new("t0").unwrap()].into()),
        to: format!("{to}@x"),
        at: at(since),
        until: at(until),
    }
}

/// The record by which that begins.
pub(crate) fn delegating(delegation: &Delegation, replaces: Option<&str>) -> Entry {
    let mut entry = Entry::new(Kind::Delegated, delegation.at)
        .with("delegation", delegation.id.as_str())
        .with("until", delegation.until.micros())
        .body("terms", delegation.terms());
    if let Some(old) = replaces {
        entry = entry.with("replaces", old);
    }
    let replaces = replaces.map(|old| DelegationId::new(old).unwrap());
    entry.changing(Change::Delegate { delegation: delegation.clone(), replaces })
}

pub(crate) fn returning(id: &str) -> Entry {
    let change = Change::Return(DelegationId::new(id).unwrap());
    Entry::new(Kind::DelegationEnded, at(35)).with("delegation", id).changing(change)
}
