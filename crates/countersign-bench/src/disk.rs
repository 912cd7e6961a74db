//! What this disk and the journal on it take by themselves.

use crate::Outcome;
use countersign_core::id::Timestamp;
use countersign_core::port::{Clock, Entropy, Journal};
use countersign_core::record::{Entry, Kind};
use countersign_store::{Config, SqliteStore};
use std::io::Write;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const TIMES: usize = 300;

#[derive(Debug)]
struct Machine;

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Entropy for Machine {
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}

/// Times of appending 4 KiB to a file and syncing it, in microseconds.
pub(crate) fn sync_us() -> Outcome<Vec<u64>> {
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        file.write_all(&[1; 4_096])?;
        file.sync_data()?;
        times.push(u64::try_from(begun.elapsed().as_micros())?);
    }
    Ok(times)
}

/// Times of one durable append to a journal, by one caller, in microseconds.
pub(crate) async fn append_us() -> Outcome<Vec<u64>> {
    let folder = tempfile::tempdir()?;
    let (path, key) = (folder.path().join("journal.db"), folder.path().join("journal.key"));
    SqliteStore::create(&path, &key, &Machine)?;
    let store = SqliteStore::open(&Config { path, key }, Arc::new(Machine), Arc::new(Machine))?;
    let mut times = Vec::new();
    for number in 0..TIMES {
        let entry = Entry::new(Kind::Intent, Machine.now())
            .with("call", format!("call-{number}"))
            .with("tool", "search_orders")
            .body("arguments", vec![b'a'; 1_024]);
        let begun = Instant::now();
        store.append(entry).await.map_err(|error| error.to_string())?;
        times.push(u64::try_from(begun.elapsed().as_micros())?);
    }
    store.close()?;
    Ok(times)
}
