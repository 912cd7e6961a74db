//! Time that stands still, bytes that are counted, a journal in a folder of its own.

use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::{Clock, Entropy, Journal, Receipt, Refused, Unrecorded};
use countersign_core::record::{Entry, Kind};
use countersign_store::audit::{Filter, Finding, Known, Reader, Record, verify};
use countersign_store::{Config, PublicKey, SqliteStore, StoreError, Witness};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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
        SqliteStore::open(&self.config, self.clock.clone(), self.entropy.clone())
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
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// The intent of a call, as the monitor writes it.
pub(crate) fn intent(call: &str, effect: &str) -> Entry {
    Entry::new(Kind::Intent, at(10))
        .with("call", call)
        .with("agent", "copilot")
        .with("tenant", "acct_alpha")
        .with("tool", "get_usage")
        .with("system", "freight-db")
        .with("effect", effect)
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
