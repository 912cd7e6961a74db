//! The life of a stream: begun, written, ended or cut off, and settled by a later one.

use crate::key::{PublicKey, SigningKey, latest};
use crate::place::{self, Head, Placed, Placer};
use crate::sqlite::{StoreError, drafts};
use crate::witness::Keeper;
use countersign_core::chain;
use countersign_core::id::{Digest, Timestamp};
use countersign_core::port::{Clock, Entropy};
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::Applied;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How long a stream counts as alive after its last sign of life, in microseconds.
const LEASE_US: i64 = 15 * 1_000_000;

/// What a writer writes with.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) key: SigningKey,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// The stream of this process, as far as it is durable.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    epoch: i64,
    pub(super) head: Head,
    /// Intents whose outcome is not recorded.
    waiting: BTreeSet<u64>,
}

impl Stream {
    /// Places records after those that are durable.
    pub(super) fn placer<'a>(&'a self, entropy: &'a dyn Entropy) -> Placer<'a> {
        Placer { stream: &self.name, epoch: self.epoch, head: Some(self.head), entropy }
    }

    /// Takes note of records that have become durable.
    pub(super) fn wrote(&mut self, placed: &Placed) {
        self.head = placed.head;
        if placed.kind == Kind::Intent {
            self.waiting.insert(placed.head.sequence);
        }
        if let Some((stream, sequence)) = &placed.intent
            && **stream == *self.name
        {
            self.waiting.remove(sequence);
        }
    }

    /// Writes the durable head down outside the database.
    pub(super) fn witness(&self, pen: &Pen, keeper: &mut Keeper) -> Result<(), String> {
        let epoch = u64::try_from(self.epoch).unwrap_or_default();
        keeper.write(&pen.key, (epoch, &self.name), self.head)
    }

    /// No intent before this sequence waits for its outcome. Of records not yet noted by
    /// [`Stream::wrote`] it knows nothing, which errs on the side of looking again.
    fn settled(&self) -> u64 {
        self.waiting.first().copied().unwrap_or_else(|| self.head.sequence.saturating_add(1))
    }
}

/// Inserts records, byte for byte.
pub(super) fn store<'a>(
    connection: &Connection,
    placed: impl IntoIterator<Item = &'a Placed>,
) -> rusqlite::Result<()> {
    let mut entries = connection.prepare_cached(
        // An insert that fails undoes the transaction, so no single one need be undone.
        "INSERT OR ROLLBACK INTO entries VALUES (?1, ?2, ?3, CAST(?4 AS TEXT), ?5)",
    )?;
    let mut bodies =
        connection.prepare_cached("INSERT OR ROLLBACK INTO bodies VALUES (?1, ?2, ?3, ?4)")?;
    for Placed { row, head, header, at, call, bodies: fields, .. } in placed {
        entries.execute(params![row, at.micros(), call, header, head.hash.as_bytes()])?;
        for (row, body) in place::body_rows(*row).zip(fields) {
            bodies.execute(params![row, body.field, body.salt, body.bytes])?;
        }
    }
    Ok(())
}

/// Moves the signed head along, and with it the lease: every commit is a sign of life. `false` if
/// another process has taken the journal over: nothing may be written then.
pub(super) fn advance(
    connection: &Connection,
    pen: &Pen,
    (stream, head): (&Stream, Head),
    state: &str,
) -> rusqlite::Result<bool> {
    let moved = connection
        .prepare_cached(
            "UPDATE streams SET state = ?2, lease_until = ?3, settled = ?4,
               head_seq = ?5, head_hash = ?6, signature = ?7
             WHERE stream = ?1 AND state = 'open' AND epoch = (SELECT max(epoch) FROM streams)",
        )?
        .execute(params![
            stream.name,
            state,
            lease(pen.clock.now()),
            number(stream.settled()),
            number(head.sequence),
            head.hash.as_bytes(),
            pen.key.sign(&chain::checkpoint(&stream.name, head.sequence, &head.hash)),
        ])?;
    Ok(moved == 1)
}

/// What is said when [`advance`] finds the journal taken over.
pub(super) const TAKEN_OVER: &str = "another process has taken the journal over";

/// Begins a stream: its first entry names the heads of those that ended before it, and the calls
/// that they left open are closed as unknown, all in one transaction. A crash here leaves things
/// as they were, for the next process to begin again.
/// `accepted` is what was wrong with the journal and is gone on with all the same.
pub(super) fn begin(
    connection: &mut Connection,
    pen: &Pen,
    accepted: Option<&str>,
) -> Result<(Stream, u64), StoreError> {
    let now = pen.clock.now();
    let mut name = [0; 16];
    pen.entropy.fill(&mut name);
    let name: Arc<str> = hex::encode(name).into();
    let public = pen.key.public().map_err(|error| StoreError::Writer(error.to_string()))?;

    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let dead = dead(&transaction, &public)?;
    let epoch = newest(&transaction, &public)?.saturating_add(1);
    let mut placer = Placer { stream: &name, epoch, head: None, entropy: &*pen.entropy };
    let mut place = |entry| placer.place(entry).map_err(StoreError::Writer);
    let mut first = opened(epoch, &dead, now);
    if let Some(accepted) = accepted {
        first = first.with("accepted", accepted);
    }
    let first = place(first)?;
    let waiting = BTreeSet::new();
    let mut stream = Stream { name: Arc::clone(&name), epoch, head: first.head, waiting };
    let mut placed = vec![first];
    for cut_off in dead.iter().filter(|dead| dead.cut_off) {
        for (sequence, intent) in unanswered(&transaction, cut_off)? {
            let outcome = unknown(&cut_off.stream, sequence, &intent, now);
            drafts::cut_off(&transaction, &outcome, now)?;
            placed.push(place(outcome)?);
        }
    }
    placed.iter().for_each(|placed| stream.wrote(placed));
    transaction.execute(
        "INSERT INTO streams VALUES (?1, ?2, 'open', 0, 0, -1, x'', x'')",
        params![name, epoch],
    )?;
    store(&transaction, &placed)?;
    if !advance(&transaction, pen, (&stream, stream.head), "open")? {
        return Err(StoreError::Writer(TAKEN_OVER.to_owned()));
    }
    settle(&transaction, pen, &dead, (epoch, &name))?;
    transaction.commit()?;
    let recovered = placed.len().saturating_sub(1);
    Ok((stream, u64::try_from(recovered).unwrap_or(u64::MAX)))
}

/// Ends a stream in good order. Calls still under way are closed as unknown: whatever they do,
/// their results can no longer be recorded, so they reach nobody.
pub(super) fn end(
    connection: &mut Connection,
    pen: &Pen,
    stream: &mut Stream,
) -> Result<(), StoreError> {
    let now = pen.clock.now();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut placer = stream.placer(&*pen.entropy);
    let mut place = |entry| placer.place(entry).map_err(StoreError::Writer);
    let mut placed = Vec::new();
    for sequence in &stream.waiting {
        let intent = header(&transaction, (stream.epoch, &stream.name), *sequence)?;
        let outcome = unknown(&stream.name, *sequence, &intent, now);
        drafts::cut_off(&transaction, &outcome, now)?;
        placed.push(place(outcome)?);
    }
    placed.push(place(Entry::new(Kind::StreamClosed, now))?);
    placed.iter().for_each(|placed| stream.wrote(placed));
    store(&transaction, &placed)?;
    if !advance(&transaction, pen, (stream, stream.head), "closed")? {
        return Err(StoreError::Writer(TAKEN_OVER.to_owned()));
    }
    // A crash before this returns leaves the stream open: the next process ends it.
    transaction.commit()?;
    Ok(())
}

/// A stream that nobody writes any more and that no later one has named.
struct Dead {
    stream: String,
    epoch: i64,
    head: Head,
    /// It was not ended in good order.
    cut_off: bool,
    settled: i64,
}

/// An intent's sequence, and its header.
type Intent = (u64, Map<String, Value>);

/// The one place where it is decided which streams are dead. Whoever asks holds the store's lock,
/// so all but its own are; with several writers it would be those whose lease is over.
fn dead(connection: &Connection, public: &PublicKey) -> Result<Vec<Dead>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT stream, head_seq, head_hash, signature, state, settled, epoch FROM streams
         WHERE state <> 'settled' ORDER BY epoch",
    )?;
    let mut rows = statement.query([])?;
    let mut dead = Vec::new();
    while let Some(row) = rows.next()? {
        let stream: String = row.get(0)?;
        let sequence = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(u64::MAX);
        let head = Head { sequence, hash: Digest::from_bytes(row.get(2)?) };
        // INVARIANT: no head is named in a new stream unless this journal's key signed it.
        let text = chain::checkpoint(&stream, sequence, &head.hash);
        if !public.signed(&text, row.get_ref(3)?.as_blob().unwrap_or_default()) {
            let what = format!("the head of stream `{stream}` is not signed by its key");
            return Err(StoreError::Tampered(what));
        }
        let cut_off = row.get::<_, String>(4)? == "open";
        dead.push(Dead { stream, epoch: row.get(6)?, head, cut_off, settled: row.get(5)? });
    }
    Ok(dead)
}

/// The epoch of the newest stream, 0 before there is one. It is the one that was signed as such: a
/// new stream's signature would cover up that a later one is missing.
fn newest(connection: &Connection, public: &PublicKey) -> Result<i64, StoreError> {
    let (epoch, name): (i64, String) = connection
        .query_row("SELECT epoch, stream FROM streams ORDER BY epoch DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?
        .unwrap_or_default();
    let signature: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE name = 'latest_signature'", [], |row| row.get(0))
        .optional()?;
    let signature = hex::decode(signature.unwrap_or_default()).unwrap_or_default();
    if !public.signed(&latest(epoch, &name), &signature) {
        return Err(StoreError::Tampered("its newest stream is missing".to_owned()));
    }
    Ok(epoch)
}

/// Marks streams as done with, and the new one as the newest.
fn settle(
    connection: &Connection,
    pen: &Pen,
    dead: &[Dead],
    (epoch, name): (i64, &str),
) -> rusqlite::Result<()> {
    let mut settle =
        connection.prepare("UPDATE streams SET state = 'settled' WHERE stream = ?1")?;
    for Dead { stream, .. } in dead {
        settle.execute([stream])?;
    }
    let mut set = connection.prepare("UPDATE meta SET value = ?2 WHERE name = ?1")?;
    set.execute(["latest_stream", name])?;
    set.execute(["latest_signature", &hex::encode(pen.key.sign(&latest(epoch, name)))])?;
    Ok(())
}

fn opened(epoch: i64, earlier: &[Dead], now: Timestamp) -> Entry {
    let earlier: Vec<Value> = earlier
        .iter()
        .map(|Dead { stream, head, .. }| {
            json!({ "stream": stream, "seq": head.sequence, "hash": head.hash.to_string() })
        })
        .collect();
    Entry::new(Kind::StreamOpened, now)
        .with("epoch", epoch)
        .with("earlier", earlier)
        .with("program", concat!("countersign ", env!("CARGO_PKG_VERSION")))
}

/// The outcome of a call that was cut off. Never "failed", and never a reason to try again.
fn unknown(stream: &str, sequence: u64, intent: &Map<String, Value>, now: Timestamp) -> Entry {
    let read = intent.get("effect").and_then(Value::as_str) == Some("read");
    let applied = if read { Applied::NotApplied } else { Applied::Unknown };
    let mut entry = Entry::new(Kind::Outcome, now)
        .with("intent", json!({ "stream": stream, "seq": sequence }))
        .with("status", "unknown")
        .with("applied", applied.as_str())
        .with("recovered", true);
    for name in ["call", "agent", "tenant", "tool", "system", "effect", "rung", "draft"] {
        if let Some(value) = intent.get(name) {
            entry = entry.with(name, value.clone());
        }
    }
    entry
}

/// The intents of a stream that was cut off to which no outcome refers, with their headers.
fn unanswered(connection: &Connection, dead: &Dead) -> Result<Vec<Intent>, StoreError> {
    let rows = place::rows(dead.epoch);
    let sequences: Vec<i64> = connection
        .prepare(
            "SELECT place - ?1 FROM entries AS intent
             WHERE place >= ?1 + ?4 AND place < ?2 AND json_extract(header, '$.kind') = 'intent'
               AND NOT EXISTS (SELECT 1 FROM entries AS outcome
                 WHERE outcome.call = intent.call
                   AND json_extract(outcome.header, '$.kind') = 'outcome'
                   AND json_extract(outcome.header, '$.intent.stream') = ?3
                   AND json_extract(outcome.header, '$.intent.seq') = intent.place - ?1)
             ORDER BY place",
        )?
        .query_map(params![rows.start, rows.end, dead.stream, dead.settled], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    sequences
        .into_iter()
        .filter_map(|sequence| u64::try_from(sequence).ok())
        .map(|sequence| Ok((sequence, header(connection, (dead.epoch, &dead.stream), sequence)?)))
        .collect()
}

fn header(
    connection: &Connection,
    (epoch, stream): (i64, &str),
    sequence: u64,
) -> Result<Map<String, Value>, StoreError> {
    let text: Option<String> = connection
        .prepare_cached("SELECT header FROM entries WHERE place = ?1")?
        .query_row([place::row(epoch, sequence)], |row| row.get(0))
        .optional()?;
    text.and_then(|text| serde_json::from_str(&text).ok()).ok_or_else(|| {
        StoreError::Tampered(format!("entry {sequence} of stream `{stream}` cannot be read"))
    })
}

fn lease(now: Timestamp) -> i64 {
    now.micros().saturating_add(LEASE_US)
}

/// SQLite counts to 2^63 − 1; a stream does not get there.
fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
