//! The journal in one SQLite file: one writer thread, one sync for all that has queued.
//!
//! ```text
//! append ──► bounded queue ──┐                                        ┌──► replies
//!                            ├─► writer: place ─► one transaction ─► COMMIT
//! note ────► refusals ───────┘   (owns the connection and the lock)
//! reserve ─► meter, in memory; its charges come along with the entry
//! ```

mod counters;
mod drafts;
pub(crate) mod room;
pub(crate) mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use crate::desk::Standing;
use crate::file::{
    Anchor, beside, lock, locked_before, read_secret, resolve, rewrite, sync_folder, write_new,
};
use crate::key::{KeyError, PublicKey, SigningKey, latest};
use crate::refusals::Refusals;
use crate::witness::{Keeper, Witness};
use countersign_core::absence::Delegations;
use countersign_core::draft::{Draft, Reach, State, Suspension, UnknownOutcome};
use countersign_core::id::{Digest, DraftId};
use countersign_core::port::{
    Clock, Entropy, Eventually, Journal, Receipt, Refused, Register, Unrecorded, Which,
};
use countersign_core::quota::{Charge, Counter, LimitReached, Meter, Reservation};
use countersign_core::{id::Timestamp, record::Entry};
use room::Room;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use stream::Pen;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use writer::{Files, Message, Stop, Writer};

/// How long a draft that is being carried out is waited for.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Most entries that wait to be written; one more is [`Unrecorded`] at once.
const QUEUE_MAX: usize = 4_096;
/// What SQLite adds to the database's name for its log.
const LOG: &str = "-wal";

/// Why the journal cannot be made, opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there. It is never made in passing.
    #[error("there is no journal at `{}`; `countersign init` makes one", .0.display())]
    Missing(PathBuf),
    /// It is there already, or its key is.
    #[error("`{}` is there already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// It has a second name, by which another process could open it with another lock and log.
    #[error("the journal `{}` has more than one name; remove its other hard links", .0.display())]
    Linked(PathBuf),
    /// Another process has it.
    #[error("the journal `{}` is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A newer program has written it.
    #[error(
        "the journal is of version {found} and this program knows no later one than {known}; \
         use the program that wrote it"
    )]
    Newer {
        /// Its version.
        found: i32,
        /// This program's.
        known: i32,
    },
    /// Something else, or one whose making was cut off.
    #[error("`{}` is not a journal", .0.display())]
    NotAJournal(PathBuf),
    /// The file of the signing key holds none.
    #[error("the signing key `{}` cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The key is one, and not this journal's.
    #[error("the signing key `{}` is not the one that this journal was made with", .0.display())]
    OtherKey(PathBuf),
    /// Others than its owner can read or write the signing key.
    #[error(
        "the signing key `{}` can be read or written by others than its owner; \
         take that from them: `chmod 600`",
        .0.display()
    )]
    Exposed(PathBuf),
    /// It is not as a gateway left it: this is why. Nothing is written to such a file.
    #[error("the journal is not as it was left: {0}; look at it with `countersign audit verify`")]
    Tampered(String),
    /// The last head, kept beside the signing key, is not there.
    #[error("there is no head of the journal at `{}`, where its gateway keeps one", .0.display())]
    NoWitness(PathBuf),
    /// A file failed.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// How.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the journal's database failed")]
    Database(#[from] rusqlite::Error),
    /// The writer could not go on.
    #[error("the journal was not closed in good order: {0}")]
    Writer(String),
}

impl StoreError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| match source.kind() {
            ErrorKind::AlreadyExists => Self::Exists(path.to_owned()),
            _ => Self::File { path: path.to_owned(), source },
        }
    }
    fn key(path: &Path) -> impl FnOnce(KeyError) -> Self {
        |source| Self::Key { path: path.to_owned(), source }
    }
}

/// Where a journal lies.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database. Beside it, or beside what it is a link to, lie `-wal` and `-shm`, which are
    /// part of it, and `.lock`.
    pub path: PathBuf,
    /// The private half of its signing key. Beside it lie `.pub` and `.head`: see [`Witness`].
    pub key: PathBuf,
}

/// The journal, open for writing. One process at a time.
#[derive(Debug)]
pub struct SqliteStore {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    /// For what is asked of drafts; the writer's own is never waited for.
    reader: Arc<Mutex<Connection>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stream: Arc<str>,
    public: PublicKey,
    recovered: u64,
    accepted: Option<String>,
}

/// What the callers' threads and the writer's have in common. Every lock is held for the length
/// of a few map operations, never across an await or a write.
#[derive(Debug, Default)]
struct Shared {
    meter: Mutex<Meter>,
    refusals: Refusals,
    health: Mutex<Health>,
    standing: Mutex<Standing>,
    /// Counts commits that changed drafts.
    moved: watch::Sender<u64>,
    /// Whether the writer has been told of new refusals.
    woken: AtomicBool,
}

/// Whether entries are being made durable.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Health {
    #[default]
    Well,
    /// Calls under way are recorded, and no new ones.
    Low(String),
    /// The last transaction was rolled back; the next one may succeed.
    Failing(String),
    /// It is not known what the disk holds. Nothing is admitted any more.
    Lost(String),
}

impl Shared {
    /// A thread that panicked under a lock left nothing half done there.
    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

impl SqliteStore {
    /// Makes an empty journal, its signing key and its first head, all for this user alone, and
    /// writes the public half beside the key, with `.pub` added to its name. Overwrites nothing.
    /// Folders that are not there are made, for this user alone too. A crash here leaves files that
    /// [`SqliteStore::open`] refuses, to be removed by hand.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if one of the four files is there; others if one cannot be written.
    pub fn create(path: &Path, key: &Path, entropy: &dyn Entropy) -> Result<PublicKey, StoreError> {
        let (public_path, head_path) = (PublicKey::beside(key), Witness::beside(key));
        let taken = [path, key, &public_path, &head_path].into_iter().find(|path| path.exists());
        if let Some(taken) = taken {
            return Err(StoreError::Exists(taken.to_owned()));
        }
        let (signing, seed) = SigningKey::generate(entropy).map_err(StoreError::key(key))?;
        let public = signing.public().map_err(StoreError::key(key))?;
        write_new(key, &format!("{seed}\n"))?;
        write_new(&public_path, &format!("{public}\n"))?;
        Keeper::create(key, &signing)?;
        // SQLite gives its other files the mode of this one.
        write_new(path, "")?;
        let path = &resolve(path)?;
        let mut connection = connect(path)?;
        schema::migrate(&mut connection)?;
        let signature = hex::encode(signing.sign(&latest(0, "")));
        connection.execute(
            "INSERT INTO meta VALUES
               ('public_key', ?1), ('latest_stream', ''), ('latest_signature', ?2)",
            (public.to_string(), signature),
        )?;
        copy_log(&connection, "TRUNCATE")?;
        drop(connection);
        for path in [path, key] {
            sync_folder(path)?;
        }
        Ok(public)
    }

    /// Opens the journal, begins a stream, and closes as `unknown` what an earlier process left
    /// open ([`SqliteStore::recovered`] says how many). Never creates.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has been written then, or the whole of it.
    /// [`StoreError::Tampered`] if it is not, or cannot be known to be, what the last process left.
    pub fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        Self::start(config, (clock, entropy), false)
    }

    /// As [`SqliteStore::open`], and goes on with a journal that does not agree with the head
    /// beside its key, or has none: a journal that was put back from a copy. This is on record: the
    /// stream's first entry says what was accepted, and [`SqliteStore::accepted`] too.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], but for those that are about the head beside the key.
    pub fn accept(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        Self::start(config, (clock, entropy), true)
    }

    /// Whether [`SqliteStore::open`] would, as far as that shows without beginning a stream. No file
    /// is made for it. There is one version so far: a journal of an earlier one would have to be
    /// judged by its own tables.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn examine(config: &Config) -> Result<(), StoreError> {
        let path = &resolve(&config.path)?;
        // One that is made by whoever looks may be closed to whoever serves.
        let _lock = locked_before(path).then(|| lock(path)).transpose()?;
        let connection = connect(path)?;
        schema::recognise(&connection, path)?;
        look(&config.key, &connection, false)?;
        Keeper::open(&config.key, false).map(|_keeper| ())
    }

    fn start(
        config: &Config,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        accept: bool,
    ) -> Result<Self, StoreError> {
        let path = &resolve(&config.path)?;
        let lock = lock(path)?;
        // An earlier process may have left a log whose sync had failed: the kernel shows it whole and
        // takes it for written. Written again it is, and the next sync tells the truth.
        rewrite(&beside(path, LOG))?;
        let mut connection = connect(path)?;
        schema::recognise(&connection, path)?;
        schema::migrate(&mut connection)?;
        let (key, accepted) = look(&config.key, &connection, accept)?;
        let public = key.public().map_err(StoreError::key(&config.key))?;
        let mut keeper = Keeper::open(&config.key, accepted.is_some())?;
        let shared = Arc::new(Shared::default());
        counters::restore(&connection, &mut shared.meter(), clock.now())?;
        *shared.standing() = drafts::standing(&connection)?;
        let pen = Pen { key, clock, entropy };
        let (stream, recovered) = stream::begin(&mut connection, &pen, accepted.as_deref())?;
        stream.witness(&pen, &mut keeper).map_err(StoreError::Writer)?;
        keeper.sync()?;
        // The log holds a signed head for each commit of the last process. It is emptied at either
        // end, so that there is less to cut it at.
        copy_log(&connection, "TRUNCATE")?;
        if recovered > 0 {
            tracing::warn!(recovered, "calls were cut off by a crash: closed as unknown");
        }
        let name = Arc::clone(&stream.name);
        let reader = read_only(path)?;
        let (queue, entries) = sync_channel(QUEUE_MAX);
        let room = Room::new(path.clone());
        let anchors = [Anchor::new(path.clone())?, Anchor::new(beside(path, LOG))?];
        let files = Files { connection, keeper, room, anchors, _lock: lock };
        let writer = Writer::new(files, Arc::clone(&shared), (pen, stream));
        let writer = spawn(writer, entries).map_err(StoreError::file(path))?;
        let writer = Mutex::new(Some(writer));
        let reader = Arc::new(Mutex::new(reader));
        Ok(Self { queue, shared, reader, writer, stream: name, public, recovered, accepted })
    }

    /// The stream that this process writes.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The public half of the key that signs it: no other journal has the same.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.public
    }

    /// How many calls of earlier processes were found without an outcome, and closed as unknown.
    #[must_use]
    pub const fn recovered(&self) -> u64 {
        self.recovered
    }

    /// What was wrong with the head beside the key, if [`SqliteStore::accept`] went on in spite of it.
    #[must_use]
    pub fn accepted(&self) -> Option<&str> {
        self.accepted.as_deref()
    }

    /// Whether entries are being made durable, those that begin a call above all.
    ///
    /// # Errors
    /// [`Unrecorded`], with why they are not.
    pub fn health(&self) -> Result<(), Unrecorded> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shared.health() {
            Health::Well if writer.as_ref().is_none_or(JoinHandle::is_finished) => Err(ended()),
            Health::Well => Ok(()),
            Health::Low(why) | Health::Failing(why) | Health::Lost(why) => {
                Err(Unrecorded::Unavailable(why))
            }
        }
    }

    /// Writes what is waiting, ends the stream, and gives up the file. Blocks until that is done.
    /// Entries that come later are [`Unrecorded`]. Without it, as after a crash, the next process
    /// finds the stream cut off.
    ///
    /// # Errors
    /// [`StoreError::Writer`] if the stream could not be ended, or was already.
    pub fn close(&self) -> Result<(), StoreError> {
        let (reply, closed) = channel();
        // If nobody takes it the channel is dropped with it, and `recv` says so.
        drop(self.queue.send(Message::Stop(Stop::Close(reply))));
        let result = closed.recv().unwrap_or_else(|_ended| Err(ended().to_string()));
        self.join();
        result.map_err(StoreError::Writer)
    }

    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the journal's writer panicked");
        }
    }

    fn enqueue(&self, entry: Entry) -> Result<oneshot::Receiver<writer::Verdict>, Unrecorded> {
        if let Health::Lost(why) = self.shared.health() {
            return Err(Unrecorded::Unavailable(why));
        }
        let (reply, verdict) = oneshot::channel();
        match self.queue.try_send(Message::Append(entry, reply)) {
            Ok(()) => Ok(verdict),
            Err(TrySendError::Full(_)) => Err(Unrecorded::Unavailable(format!(
                "{QUEUE_MAX} entries are waiting to be written"
            ))),
            Err(TrySendError::Disconnected(_)) => Err(ended()),
        }
    }
}

impl SqliteStore {
    /// Asks the tables, on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unrecorded> {
        let reader = Arc::clone(&self.reader);
        let asked = spawn_blocking(move || {
            question(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match asked.await {
            Ok(answer) => answer.map_err(|error| Unrecorded::Unavailable(error.to_string())),
            Err(error) => Err(Unrecorded::Unavailable(error.to_string())),
        }
    }
}

impl Register for SqliteStore {
    fn moved(&self) -> u64 {
        *self.shared.moved.borrow()
    }

    fn suspended(&self, reach: &Reach<'_>) -> Option<Suspension> {
        self.shared.standing().suspended(reach)
    }

    fn suspensions(&self) -> Vec<Suspension> {
        self.shared.standing().suspensions()
    }

    fn delegations(&self) -> Arc<Delegations> {
        self.shared.standing().delegations()
    }

    fn draft<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        let id = id.clone();
        Box::pin(self.ask(move |connection| drafts::draft(connection, &id)))
    }

    fn latest(&self, binding: Digest) -> Eventually<'_, Result<Option<Draft>, Unrecorded>> {
        Box::pin(self.ask(move |connection| drafts::latest(connection, &binding)))
    }

    fn settled<'a>(&'a self, id: &'a DraftId) -> Eventually<'a, Result<Option<Draft>, Unrecorded>> {
        Box::pin(async move {
            let mut moved = self.shared.moved.subscribe();
            let settles = async {
                loop {
                    moved.mark_unchanged();
                    let draft = self.draft(id).await?;
                    let under_way =
                        |draft: &Draft| matches!(draft.state, State::Approved | State::Committing);
                    if !draft.as_ref().is_some_and(under_way) || moved.changed().await.is_err() {
                        return Ok(draft);
                    }
                }
            };
            match timeout(SETTLE_MAX, settles).await {
                Ok(settled) => settled,
                Err(_elapsed) => self.draft(id).await,
            }
        })
    }

    fn drafts(&self, which: Which) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        Box::pin(self.ask(move |connection| drafts::listed(connection, &which)))
    }

    fn due(&self, now: Timestamp) -> Eventually<'_, Result<Vec<Draft>, Unrecorded>> {
        Box::pin(self.ask(move |connection| drafts::due(connection, now)))
    }

    fn unknown(&self, resolved: bool) -> Eventually<'_, Result<Vec<UnknownOutcome>, Unrecorded>> {
        Box::pin(self.ask(move |connection| drafts::unknown(connection, resolved)))
    }
}

/// A connection that reads what is durable and nothing else.
fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn ended() -> Unrecorded {
    Unrecorded::unavailable("the journal is closed")
}

impl Journal for SqliteStore {
    fn spent(&self, counter: &Counter, now: Timestamp) -> u64 {
        self.shared.meter().spent(counter, now)
    }

    fn give_back(&self, charges: &[Charge]) {
        self.shared.meter().give_back(charges);
    }

    fn reserve(&self, counters: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached> {
        self.shared.meter().reserve(counters, now)
    }

    fn append(&self, entry: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>> {
        // Queued now, not when first polled: dropping the future does not withdraw it.
        let queued = self.enqueue(entry);
        Box::pin(async move { queued?.await.unwrap_or_else(|_closed| Err(ended())) })
    }

    fn note(&self, refused: Refused) {
        self.shared.refusals.note(refused);
        // One word is enough until the writer has looked. If the queue is full it is about to.
        if !self.shared.woken.swap(true, Ordering::AcqRel) {
            drop(self.queue.try_send(Message::Wake));
        }
    }
}

impl Drop for SqliteStore {
    /// What has queued is still written; the stream stays open, as after a crash.
    fn drop(&mut self) {
        if self.queue.send(Message::Stop(Stop::Abandon)).is_ok() {
            self.join();
        }
    }
}

fn spawn(writer: Writer, entries: Receiver<Message>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&entries))
}

/// What must be so before a stream begins: the key, and what was accepted in spite of a doubt.
fn look(
    key_path: &Path,
    connection: &Connection,
    accept: bool,
) -> Result<(SigningKey, Option<String>), StoreError> {
    let differences = schema::differences(connection)?;
    if !differences.is_empty() {
        return Err(StoreError::Tampered(differences.join(", ")));
    }
    let (key, public) = read_key(key_path, connection)?;
    match doubt(key_path, connection, &public)? {
        Some(doubt) if !accept => Err(StoreError::Tampered(format!(
            "{doubt}; if it was put back on purpose, `countersign audit accept` goes on \
             with it and puts that on record"
        ))),
        doubt => Ok((key, doubt)),
    }
}

/// Opens the database with everything that durability rests on.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    if connection.is_readonly(MAIN_DB)? {
        // SQLite opens what it may not write, and says so only once it is to.
        return Err(StoreError::file(path)(ErrorKind::PermissionDenied.into()));
    }
    connection.set_prepared_statement_cache_capacity(32);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::NotAJournal(path.to_owned()));
    }
    // FULL syncs the log at every commit; fullfsync has macOS mean it.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    // SQLite's own checkpoints keep their errors to themselves: the writer makes them instead.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    // And it makes none in passing, when the connection is dropped: of a journal whose sync has failed
    // that would sync again, and take what the kernel dropped for written.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Copies the log into the database, and empties it if `mode` says so and nobody reads it.
fn copy_log(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    let result = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_row| Ok(()));
    match result {
        Err(error) if full(&error) => {
            tracing::warn!(%error, "no room to copy the journal's log; it goes on growing");
            Ok(())
        }
        result => result,
    }
}

fn full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// A read, a write or a sync failed: it is not known which of them.
fn failed_io(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

fn read_key(path: &Path, connection: &Connection) -> Result<(SigningKey, PublicKey), StoreError> {
    let key = SigningKey::parse(&read_secret(path)?).map_err(StoreError::key(path))?;
    let public = key.public().map_err(StoreError::key(path))?;
    let expected: String =
        connection
            .query_row("SELECT value FROM meta WHERE name = 'public_key'", [], |row| row.get(0))?;
    if expected != public.to_string() {
        return Err(StoreError::OtherKey(path.to_owned()));
    }
    Ok((key, public))
}

/// Why the journal may not be the one that the last process left. It may be recorded for ever, so no
/// path is in it.
fn doubt(
    key_path: &Path,
    connection: &Connection,
    key: &PublicKey,
) -> Result<Option<String>, StoreError> {
    match Witness::read(&Witness::beside(key_path)) {
        Ok(witness) => Ok(witness.disagrees(connection, key)?),
        Err(StoreError::NoWitness(_)) => {
            Ok(Some("there is no head beside its signing key".to_owned()))
        }
        Err(StoreError::Tampered(_)) => {
            Ok(Some("what is beside its signing key is no head of a journal".to_owned()))
        }
        Err(error) => Err(error),
    }
}
