//! Whether a journal is whole and unchanged. Needs the file and, to be sure of whose it is and that
//! nothing was cut off, what is known from elsewhere; `docs/audit-format.md` says the same in words.

mod drafts;
mod entry;
mod recount;

use crate::audit::{AuditError, Reader};
use crate::counters::Owed;
use crate::key::{PublicKey, latest};
use crate::place;
use crate::sqlite::schema;
use crate::witness::Witness;
use countersign_core::chain::{self, GENESIS};
use countersign_core::id::{Digest, Timestamp};
use countersign_core::record::Kind;
use drafts::Told;
use entry::EntryRow;
use rusqlite::{Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Most findings reported; a journal with more is not worth listing.
const FINDINGS_MAX: usize = 1_000;

/// What is known from elsewhere than the file. Nothing of it is needed; what is not given is not
/// checked.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The journal's public key.
    pub key: Option<PublicKey>,
    /// A head that the journal had. To be read before it is verified, if a gateway is writing it.
    pub head: Option<Witness>,
    /// The time. Counters of windows that are not over are recounted from the records then.
    pub now: Option<Timestamp>,
}

/// Something that is not as the gateway writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which stream; `None` for the file as a whole.
    pub stream: Option<String>,
    /// At which entry; `None` for the stream as a whole.
    pub seq: Option<i64>,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.stream, self.seq) {
            (Some(stream), Some(seq)) => write!(f, "stream {stream}, entry {seq}: ")?,
            (Some(stream), None) => write!(f, "stream {stream}: ")?,
            (None, _) => write!(f, "journal: ")?,
        }
        f.write_str(&self.what)
    }
}

/// Where a stream ends. To be compared with what was written down elsewhere: a file put back to an
/// earlier state shows in nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream.
    pub stream: String,
    /// Its last sequence.
    pub seq: i64,
    /// The hash of its last entry.
    pub hash: Digest,
    /// Whether its process ended it in good order.
    pub closed: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Verification {
    /// What is wrong; nothing, if all is well. At most 1,000.
    pub findings: Vec<Finding>,
    /// The streams, oldest first.
    pub streams: Vec<StreamHead>,
    /// How many entries there are.
    pub entries: u64,
    /// Calls without an outcome in a stream that has not ended: under way, or cut off and not yet
    /// recovered.
    pub waiting: u64,
    /// The key that the signatures were checked with. If none was given it is the one in the file,
    /// and proves only that the file agrees with itself.
    pub key: Option<PublicKey>,
}

/// Reads the whole journal, while a gateway may be writing it, and says what is wrong with it.
///
/// # Errors
/// [`AuditError`] if it cannot be read at all. What can be read and is wrong is a finding.
pub fn verify(path: &Path, known: &Known) -> Result<Verification, AuditError> {
    let reader = Reader::open(path)?;
    // One state of the file, whatever is written meanwhile.
    let transaction = reader.connection.unchecked_transaction()?;
    let mut verifier = Verifier::new(&transaction, known);
    if let Err(error) = verifier.run() {
        verifier.find(None, None, format!("it cannot be read any further: {error}"));
    }
    let Verifier { findings, streams, entries, waiting, key, .. } = verifier;
    let waiting = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
    Ok(Verification { findings, streams, entries, waiting, key })
}

/// A row of `streams`. None of it is believed.
struct StreamRow {
    stream: String,
    epoch: i64,
    state: String,
    seq: i64,
    hash: Digest,
    signature: Vec<u8>,
}

struct Verifier<'a> {
    connection: &'a Connection,
    known: &'a Known,
    /// The key that is gone by: the one given, or else the one in the file.
    key: Option<PublicKey>,
    findings: Vec<Finding>,
    streams: Vec<StreamHead>,
    entries: u64,
    /// The time given, or that of the last record, should the writer's clock be ahead.
    now: Option<Timestamp>,
    /// What the records say of counters.
    charged: Owed,
    /// Intents without an outcome, by stream and sequence, with their calls.
    waiting: BTreeMap<(String, u64), String>,
    /// Intents that recovery closed as unknown: a late outcome may still follow.
    unknown: BTreeMap<(String, u64), String>,
    /// The alerts: rule, and the place of the cause.
    alerts: BTreeSet<(String, String, u64)>,
    /// Streams whose head a later one names.
    named: BTreeSet<String>,
    /// What the records say of drafts.
    told: Told,
}

impl<'a> Verifier<'a> {
    fn new(connection: &'a Connection, known: &'a Known) -> Self {
        Self {
            connection,
            known,
            key: known.key,
            now: known.now,
            charged: Owed::default(),
            findings: Vec::new(),
            streams: Vec::new(),
            entries: 0,
            waiting: BTreeMap::new(),
            unknown: BTreeMap::new(),
            alerts: BTreeSet::new(),
            named: BTreeSet::new(),
            told: Told::default(),
        }
    }

    fn run(&mut self) -> Result<(), AuditError> {
        self.file()?;
        let last: Option<i64> =
            self.connection.query_row("SELECT max(at) FROM entries", [], |row| row.get(0))?;
        let last = last.map_or(Timestamp::from_micros(i64::MIN), Timestamp::from_micros);
        self.now = self.now.map(|now| now.max(last));
        let streams = self.stream_rows()?;
        self.newest(&streams)?;
        for stream in &streams {
            self.stream(stream)?;
        }
        self.strays()?;
        self.ends(&streams);
        self.head_known()?;
        self.recount()?;
        self.tables()?;
        Ok(())
    }

    /// Every state that the journal ever had is signed throughout. That a later one is missing only
    /// shows beside a head of it that was kept elsewhere.
    fn head_known(&mut self) -> rusqlite::Result<()> {
        if let (Some(head), Some(key)) = (&self.known.head, &self.key)
            && let Some(what) = head.disagrees(self.connection, key)?
        {
            self.find(None, None, what);
        }
        Ok(())
    }

    fn find(&mut self, stream: Option<&str>, seq: Option<i64>, what: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            let what = what.into();
            self.findings.push(Finding { stream: stream.map(str::to_owned), seq, what });
        }
    }

    /// What SQLite itself can tell: a table and its index that disagree would show one thing to
    /// `query` and another to this verifier.
    fn file(&mut self) -> Result<(), AuditError> {
        for difference in schema::differences(self.connection)? {
            self.find(None, None, difference);
        }
        let mut check = self.connection.prepare("PRAGMA integrity_check(10)")?;
        let mut rows = check.query([])?;
        while let Some(row) = rows.next()? {
            let said = text(row, 0)?;
            if said != "ok" {
                self.find(None, None, format!("the database is damaged: {said}"));
            }
        }
        let stored = self.meta("public_key")?.and_then(|text| PublicKey::parse(&text).ok());
        match (stored, self.key) {
            (None, _) => self.find(None, None, "no public key is stored in it"),
            (Some(stored), Some(key)) if stored != key => {
                self.find(None, None, "the public key stored in it is not the one given");
            }
            (stored, _) => self.key = stored,
        }
        Ok(())
    }

    fn stream_rows(&self) -> rusqlite::Result<Vec<StreamRow>> {
        self.connection
            .prepare(
                "SELECT stream, epoch, state, head_seq, head_hash, signature
                 FROM streams ORDER BY epoch",
            )?
            .query_map([], |row| {
                Ok(StreamRow {
                    stream: text(row, 0)?,
                    epoch: row.get(1)?,
                    state: text(row, 2)?,
                    seq: row.get(3)?,
                    hash: digest(&bytes(row, 4)?),
                    signature: bytes(row, 5)?,
                })
            })?
            .collect()
    }

    /// Without this the last stream could be taken out whole: no later one names it.
    fn newest(&mut self, streams: &[StreamRow]) -> rusqlite::Result<()> {
        let (epoch, name) = streams.last().map_or((0, ""), |last| (last.epoch, &last.stream));
        let signature = self.meta("latest_signature")?.unwrap_or_default();
        let signature = hex::decode(signature).unwrap_or_default();
        if !self.signed(&latest(epoch, name), &signature) {
            self.find(
                (epoch > 0).then_some(name),
                None,
                "is not the stream that was signed as the newest: a later one is missing",
            );
        }
        Ok(())
    }

    fn stream(&mut self, row: &StreamRow) -> rusqlite::Result<()> {
        let stream = row.stream.as_str();
        let mut entries = self.connection.prepare_cached(
            "SELECT place - ?1, header, hash, at, call FROM entries
             WHERE place >= ?1 AND place < ?2 ORDER BY place",
        )?;
        let places = place::rows(row.epoch);
        let mut rows = entries.query([places.start, places.end])?;
        let mut last: Option<(i64, Digest)> = None;
        let mut closed = false;
        while let Some(found) = rows.next()? {
            let entry = EntryRow {
                seq: found.get(0)?,
                header: bytes(found, 1)?,
                hash: digest(&bytes(found, 2)?),
                at: found.get(3)?,
                call: bytes(found, 4)?,
            };
            self.entries = self.entries.saturating_add(1);
            let (expected, previous) =
                last.map_or((0, GENESIS), |(seq, hash)| (seq.saturating_add(1), hash));
            if entry.seq != expected {
                self.find(Some(stream), Some(entry.seq), format!("entry {expected} is missing"));
            }
            if chain::link(&previous, &entry.header) != entry.hash {
                self.find(
                    Some(stream),
                    Some(entry.seq),
                    "its hash does not follow from the entry before and its header",
                );
            }
            if closed {
                self.find(Some(stream), Some(entry.seq), "it comes after the end of its stream");
            }
            let kind = self.entry(row, &entry)?;
            closed = kind == Some(Kind::StreamClosed);
            last = Some((entry.seq, entry.hash));
        }
        self.head(row, last, closed);
        Ok(())
    }

    /// Whether a stream ends where its signed head says.
    fn head(&mut self, row: &StreamRow, last: Option<(i64, Digest)>, closed: bool) {
        let StreamRow { stream, epoch: _, state, seq, hash, signature } = row;
        let Some((last_seq, last_hash)) = last else {
            return self.find(Some(stream), None, "it has no entries");
        };
        if (last_seq, last_hash) != (*seq, *hash) {
            let what =
                format!("its head is entry {seq}, and its last entry {last_seq}, or another");
            self.find(Some(stream), None, what);
        }
        let sequence = u64::try_from(*seq).unwrap_or(u64::MAX);
        if !self.signed(&chain::checkpoint(stream, sequence, hash), signature) {
            self.find(Some(stream), None, "its head is not signed by the journal's key");
        }
        if state == "closed" && !closed {
            self.find(Some(stream), None, "it is marked as closed, and its last entry is no end");
        }
        let (stream, seq, hash) = (stream.clone(), last_seq, last_hash);
        self.streams.push(StreamHead { stream, seq, hash, closed });
    }

    /// Rows that belong to nothing.
    fn strays(&mut self) -> rusqlite::Result<()> {
        let mut entries = self.connection.prepare(
            "SELECT place FROM entries
             WHERE place >> ?1 NOT IN (SELECT epoch FROM streams) LIMIT 1000",
        )?;
        let mut rows = entries.query([place::SEQUENCE_BITS])?;
        while let Some(row) = rows.next()? {
            let (epoch, seq) = place::of_row(row.get(0)?);
            let what = format!("there is an entry {seq} of a stream {epoch}, and no such stream");
            self.find(None, None, what);
        }
        let mut bodies = self.connection.prepare(
            "SELECT place >> ?1, field FROM bodies
             WHERE place >> ?1 NOT IN (SELECT place FROM entries) LIMIT 1000",
        )?;
        let mut rows = bodies.query([place::BODY_BITS])?;
        while let Some(row) = rows.next()? {
            let (epoch, seq) = place::of_row(row.get(0)?);
            let body = text(row, 1)?;
            let what = format!(
                "there is a body `{body}` of entry {seq} of stream {epoch}, and no such entry"
            );
            self.find(None, None, what);
        }
        Ok(())
    }

    /// Every stream but the newest is named by a later one, and every call of a stream that has
    /// ended has its outcome.
    fn ends(&mut self, streams: &[StreamRow]) {
        let earlier = streams.len().saturating_sub(1);
        for StreamRow { stream, .. } in streams.iter().take(earlier) {
            if !self.named.contains(stream) {
                self.find(Some(stream), None, "no later stream names its head");
            }
        }
        let closed = self.streams.iter().filter(|head| head.closed).map(|head| head.stream.clone());
        let ended: BTreeSet<String> = closed.chain(self.named.iter().cloned()).collect();
        let waiting = std::mem::take(&mut self.waiting);
        for ((stream, seq), call) in waiting {
            if ended.contains(&stream) {
                let what = format!("call `{call}` has no outcome");
                self.find(Some(&stream), i64::try_from(seq).ok(), what);
            } else {
                self.waiting.insert((stream, seq), call);
            }
        }
    }

    fn signed(&self, message: &str, signature: &[u8]) -> bool {
        self.key.is_some_and(|key| key.signed(message, signature))
    }

    fn meta(&self, name: &str) -> rusqlite::Result<Option<String>> {
        let mut statement = self.connection.prepare("SELECT value FROM meta WHERE name = ?1")?;
        let mut rows = statement.query([name])?;
        rows.next()?.map(|row| text(row, 0)).transpose()
    }
}

/// A text column, whatever is in it.
fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(row, index)?).into_owned())
}

/// The bytes of a text or of a blob; of anything else, none.
fn bytes(row: &Row<'_>, index: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(index)?.as_bytes_or_null().ok().flatten().unwrap_or_default().to_vec())
}

/// A hash of the wrong length is none that anything follows from.
fn digest(bytes: &[u8]) -> Digest {
    bytes.try_into().map_or(GENESIS, Digest::from_bytes)
}
