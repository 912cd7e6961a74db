//! The one thread that writes: gathers what has queued, places it, commits it, and only then
//! answers.

use crate::counters::{Owed, tabled};
use crate::desk::Standing;
use crate::file::Anchor;
use crate::place::{Placed, Placer};
use crate::refusals::{Noted, Repeats};
use crate::sqlite::room::Room;
use crate::sqlite::stream::{self, Pen, Stream, TAKEN_OVER};
use crate::sqlite::{Health, Shared, copy_log, counters, drafts, failed_io, full};
use crate::witness::Keeper;
use countersign_core::id::Timestamp;
use countersign_core::port::{Receipt, Repeat, Unrecorded};
use countersign_core::quota::Charge;
use countersign_core::record::{Entry, Kind, Sealed};
use rusqlite::{Connection, TransactionBehavior};
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most appended entries in one transaction.
const BATCH_MAX: usize = 512;
/// How long the writer waits for work before it looks after what is due.
const TICK: Duration = Duration::from_millis(250);
/// After a commit of so many entries many callers are at work, who will have more before long.
const CROWD_MIN: usize = 4;
/// The writer then leaves them so long to send it: a commit costs much the same for few and for many.
/// It sleeps, rather than waits for the next entry, so that nobody has to wake it.
const GAP: Duration = Duration::from_micros(500);
/// How often an idle writer renews its lease, in microseconds.
const RENEW_US: u64 = 5 * 1_000_000;
/// How often counters of windows that are over are forgotten, in microseconds.
const SWEEP_US: u64 = 600 * 1_000_000;
/// After so many entries and commits the log is copied into the database.
const CHECKPOINT_WRITES: usize = 2_048;

pub(super) type Verdict = Result<Receipt, Unrecorded>;

/// What the writer is sent.
pub(super) enum Message {
    /// Write this and answer.
    Append(Entry, oneshot::Sender<Verdict>),
    /// There are refusals to write.
    Wake,
    /// Write what has queued and stop.
    Stop(Stop),
    /// Tests put the disk into the state they need.
    #[cfg(test)]
    Run(Box<dyn FnOnce(&mut Files) + Send>),
}

/// How to stop.
pub(super) enum Stop {
    /// Write all refusals too, end the stream, and answer.
    Close(Sender<Result<(), String>>),
    /// Leave the stream open, as after a crash.
    Abandon,
}

/// An entry, and who is waiting for it.
type Appended = (Entry, oneshot::Sender<Verdict>);

/// What becomes of an entry once it is known whether it is durable.
enum Then {
    Answer(oneshot::Sender<Verdict>),
    Noted(Repeat, Repeats),
}

/// How a transaction ended that did not succeed.
enum Failure {
    /// Nothing of it is in the journal.
    RolledBack(String),
    /// All of it may be, or nothing; or the journal is another process's by now.
    Lost(String),
}

/// What the writer owns on disk. Given up in this order, the lock last.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) connection: Connection,
    pub(super) keeper: Keeper,
    pub(super) room: Room,
    /// Of the database and its log.
    pub(super) anchors: [Anchor; 2],
    pub(super) _lock: File,
}

/// What one transaction is to write, on its way.
struct Work {
    /// Not yet judged, in their order.
    waiting: VecDeque<(Entry, Then)>,
    batch: Vec<(Placed, Then)>,
    /// Told once the transaction is durable: they were judged by what is in it.
    turned_away: Vec<(oneshot::Sender<Verdict>, Unrecorded)>,
    owed: Owed,
    returned: Vec<Charge>,
    /// Whether anything but records changes.
    changed: bool,
    /// What stands afterwards, if that may have changed.
    standing: Option<Standing>,
}

impl Work {
    fn of(waiting: VecDeque<(Entry, Then)>, owed: Owed) -> Self {
        Self {
            waiting,
            batch: Vec::new(),
            turned_away: Vec::new(),
            owed,
            returned: Vec::new(),
            changed: false,
            standing: None,
        }
    }

    /// Judges each entry by what is durable and what came before it, and gives it its place. One that
    /// is refused, or cannot have a place, leaves neither a gap nor a change.
    fn judge(
        &mut self,
        connection: &Connection,
        standing: &mut Standing,
        mut placer: Placer<'_>,
    ) -> rusqlite::Result<()> {
        while let Some((entry, then)) = self.waiting.pop_front() {
            let changes = drafts::changes(&entry);
            let before = changes.then(|| standing.clone());
            if changes {
                connection.execute_batch("SAVEPOINT entry")?;
            }
            let judged = match &then {
                Then::Answer(_) => drafts::judge(connection, standing, &entry),
                Then::Noted(..) => Ok(Ok(())),
            };
            let placed = match judged {
                Ok(Ok(())) => self.place(&mut placer, entry),
                Ok(Err(conflict)) => Err(Unrecorded::Refused(conflict)),
                Err(error) => {
                    self.waiting.push_front((entry, then));
                    return Err(error);
                }
            };
            if changes {
                let undo = if placed.is_ok() { "" } else { "ROLLBACK TO entry; " };
                connection.execute_batch(&format!("{undo}RELEASE entry"))?;
            }
            match (placed, then) {
                (Ok(placed), then) => {
                    self.changed |= changes;
                    self.batch.push((placed, then));
                }
                (Err(error), then) => {
                    if let Some(before) = before {
                        *standing = before;
                    }
                    self.turn_away(error, then);
                }
            }
        }
        Ok(())
    }

    fn place(&mut self, placer: &mut Placer<'_>, entry: Entry) -> Result<Placed, Unrecorded> {
        let kind = entry.kind();
        let charges: Vec<Charge> =
            entry.charges().iter().filter(|charge| tabled(kind, charge.window)).cloned().collect();
        let returned = entry.returned().to_vec();
        let placed = placer.place(entry).map_err(Unrecorded::Unavailable)?;
        self.owed.charge(&charges);
        self.returned.extend(returned);
        Ok(placed)
    }

    fn turn_away(&mut self, error: Unrecorded, then: Then) {
        match then {
            Then::Answer(reply) => self.turned_away.push((reply, error)),
            Then::Noted(..) => tracing::error!(%error, "a refusal could not be recorded"),
        }
    }

    /// Gives what was not judged a form in which it can be put back.
    fn place_all(&mut self, mut placer: Placer<'_>) {
        while let Some((entry, then)) = self.waiting.pop_front() {
            match placer.place(entry) {
                Ok(placed) => self.batch.push((placed, then)),
                Err(why) => self.turn_away(Unrecorded::Unavailable(why), then),
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    files: Files,
    shared: Arc<Shared>,
    pen: Pen,
    stream: Stream,
    /// What is said while all is written: that all is well, or that there is little room.
    level: Health,
    renewed: Timestamp,
    swept: Timestamp,
    writes: usize,
    crowded: bool,
}

impl Writer {
    pub(super) fn new(files: Files, shared: Arc<Shared>, (pen, stream): (Pen, Stream)) -> Self {
        let now = pen.clock.now();
        let (renewed, swept) = (now, now);
        let level = Health::Well;
        Self { files, shared, pen, stream, level, renewed, swept, writes: 0, crowded: false }
    }

    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let (entries, stop) = self.gather(queue);
            // Before the refusals are taken: one that is noted from here on wakes the writer again.
            self.shared.woken.store(false, Ordering::Release);
            let now = self.pen.clock.now();
            self.measure(now);
            let entries = self.without_intents_if_low(entries);
            let refusals = match (&stop, &self.level) {
                (Some(Stop::Close(_)), _) => self.shared.refusals.all(now),
                // What room there is, is for outcomes. Refusals wait, in as little memory as ever.
                (_, Health::Low(_)) => Default::default(),
                _ => self.shared.refusals.due(now),
            };
            let written = self.write(entries, refusals, now);
            match stop {
                None => {}
                Some(Stop::Abandon) => return,
                Some(Stop::Close(reply)) => {
                    let ended = written.and_then(|()| self.end());
                    // The caller may have gone; the stream is ended all the same.
                    return drop(reply.send(ended));
                }
            }
        }
    }

    /// Waits a little for a first message, then takes what else has queued: all of it shares one
    /// sync. The second value says that it is time to stop.
    fn gather(&mut self, queue: &Receiver<Message>) -> (Vec<Appended>, Option<Stop>) {
        let mut entries = Vec::new();
        if self.crowded {
            std::thread::sleep(GAP);
        }
        let mut next = match queue.recv_timeout(TICK) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return (entries, Some(Stop::Abandon)),
        };
        while let Some(message) = next {
            match message {
                Message::Append(entry, reply) => entries.push((entry, reply)),
                Message::Wake => {}
                #[cfg(test)]
                Message::Run(run) => run(&mut self.files),
                Message::Stop(stop) => return (entries, Some(stop)),
            }
            next = if entries.len() < BATCH_MAX { queue.try_recv().ok() } else { None };
        }
        self.crowded = entries.len() >= CROWD_MIN;
        (entries, None)
    }

    /// Looks how much room is left, and says so, unless there is worse to be said.
    fn measure(&mut self, now: Timestamp) {
        let level = match self.files.room.low(now) {
            Some(why) => Health::Low(why.to_owned()),
            None => Health::Well,
        };
        if level == self.level {
            return;
        }
        match &level {
            Health::Low(why) => tracing::error!(why, "the journal runs out of room"),
            _ => tracing::info!("the journal has room again"),
        }
        self.level = level.clone();
        if matches!(self.shared.health(), Health::Well | Health::Low(_)) {
            self.shared.set_health(level);
        }
    }

    /// Without room no call is begun. An outcome is of one that was.
    fn without_intents_if_low(&self, entries: Vec<Appended>) -> Vec<Appended> {
        let Health::Low(why) = &self.level else { return entries };
        let mut kept = Vec::new();
        for (entry, reply) in entries {
            if entry.kind() == Kind::Intent {
                drop(reply.send(Err(Unrecorded::Unavailable(why.clone()))));
            } else {
                kept.push((entry, reply));
            }
        }
        kept
    }

    /// One group commit. What one entry does wrong is told to that one alone; what the disk does
    /// wrong, to all.
    fn write(
        &mut self,
        entries: Vec<Appended>,
        (noted, owed): (Vec<Noted>, Owed),
        now: Timestamp,
    ) -> Result<(), String> {
        if let Health::Lost(why) = self.shared.health() {
            for (_, reply) in entries {
                drop(reply.send(Err(Unrecorded::Unavailable(why.clone()))));
            }
            return Err(why);
        }
        let idle = now.micros_since(self.renewed) < RENEW_US;
        if entries.is_empty() && noted.is_empty() && owed.is_empty() && idle {
            return Ok(());
        }
        let entries = entries.into_iter().map(|(entry, reply)| (entry, Then::Answer(reply)));
        let noted = noted.into_iter().map(|noted| {
            let (entry, repeat, repeats) = noted.into_entry();
            (entry, Then::Noted(repeat, repeats))
        });
        let mut work = Work::of(entries.chain(noted).collect(), owed);
        let done = self
            .anchored()
            .map_err(Failure::RolledBack)
            .and_then(|()| self.commit(&mut work, now))
            .and_then(|()| self.witness(&work.batch));
        if done.is_err() {
            // Placed or not, nothing of it is in the journal.
            work.place_all(self.stream.placer(&*self.pen.entropy));
        }
        let Work { batch, owed, turned_away, .. } = match done {
            Ok(()) => {
                self.committed(work, now);
                return Ok(());
            }
            Err(_) => work,
        };
        let tell = |why: &str| {
            // What they were judged by is not to be relied on either.
            for (reply, _) in turned_away {
                drop(reply.send(Err(Unrecorded::unavailable(why))));
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(Failure::RolledBack(why)) => {
                let failing = Health::Failing(why.clone());
                // Once: it is tried again many times a second, and logs may be on the same full disk.
                if self.shared.health() != failing {
                    tracing::error!(why, "the journal could not be written");
                }
                self.shared.set_health(failing);
                tell(&why);
                rolled_back(batch, owed, &why, &self.shared);
                Err(why)
            }
            Err(Failure::Lost(why)) => {
                self.lose(&why);
                tell(&why);
                rolled_back(batch, Owed::default(), &why, &self.shared);
                Err(why)
            }
        }
    }

    /// Nothing is written to a journal that the next process would not find. Put back, it goes on.
    fn anchored(&self) -> Result<(), String> {
        self.files.anchors.iter().find_map(Anchor::lost).map_or(Ok(()), Err)
    }

    fn commit(&mut self, work: &mut Work, now: Timestamp) -> Result<(), Failure> {
        let sweep = now.micros_since(self.swept) >= SWEEP_US;
        let transaction = self
            .files
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(before_commit)?;
        let mut fill = || {
            let mut standing = self.shared.standing().clone();
            work.judge(&transaction, &mut standing, self.stream.placer(&*self.pen.entropy))?;
            work.standing = work.changed.then_some(standing);
            let batch = &work.batch;
            let head = batch.last().map_or(self.stream.head, |(placed, _)| placed.head);
            stream::store(&transaction, batch.iter().map(|(placed, _)| placed))?;
            counters::add(&transaction, &work.owed)?;
            counters::subtract(&transaction, &work.returned)?;
            if sweep {
                counters::sweep(&transaction, now)?;
                drafts::sweep(&transaction, now)?;
            }
            stream::advance(&transaction, &self.pen, (&self.stream, head), "open")
        };
        // Until COMMIT is sent a crash, or an error, leaves the journal as it was.
        let filled = fill();
        let result = match filled {
            Ok(true) => transaction.commit().map_err(after_commit),
            Ok(false) => {
                drop(transaction);
                Err(Failure::Lost(TAKEN_OVER.to_owned()))
            }
            Err(error) => {
                drop(transaction);
                Err(before_commit(error))
            }
        };
        match result {
            Err(Failure::RolledBack(why)) if !self.files.connection.is_autocommit() => {
                Err(Failure::Lost(format!("{why}, and it could not be rolled back")))
            }
            Ok(()) if sweep => {
                self.swept = now;
                self.shared.meter().sweep(now);
                self.shared.refusals.sweep(now);
                Ok(())
            }
            other => other,
        }
    }

    /// COMMIT has returned: the log is synced, and a crash from here on loses nothing of the batch.
    /// A crash before the head is written down leaves a witness that is behind, which is no harm as
    /// long as nobody has been told of the batch.
    fn witness(&mut self, batch: &[(Placed, Then)]) -> Result<(), Failure> {
        batch.iter().for_each(|(placed, _)| self.stream.wrote(placed));
        if batch.is_empty() {
            return Ok(());
        }
        self.stream.witness(&self.pen, &mut self.files.keeper).map_err(Failure::Lost)
    }

    /// The batch is durable and witnessed: this is the first moment at which anybody may be told.
    fn committed(&mut self, work: Work, now: Timestamp) {
        let Work { batch, turned_away, standing, changed, .. } = work;
        if let Some(standing) = standing {
            *self.shared.standing() = standing;
        }
        if changed {
            self.shared.moved.send_modify(|moved| *moved = moved.wrapping_add(1));
        }
        for (reply, refused) in turned_away {
            drop(reply.send(Err(refused)));
        }
        if let Health::Failing(_) = self.shared.health() {
            tracing::info!("the journal can be written again");
        }
        self.shared.set_health(self.level.clone());
        self.renewed = now;
        self.writes = self.writes.saturating_add(batch.len()).saturating_add(1);
        for (Placed { head, .. }, then) in batch {
            if let Then::Answer(reply) = then {
                let stream = Arc::clone(&self.stream.name);
                let receipt = Receipt { stream, sequence: head.sequence, hash: head.hash };
                // A caller that has gone is no matter: the entry stands.
                drop(reply.send(Ok(receipt)));
            }
        }
        if self.writes >= CHECKPOINT_WRITES {
            self.writes = 0;
            self.checkpoint();
        }
    }

    /// Copies the log into the database. A crash in the middle is made good from the log. An error
    /// of the sync is not: the kernel may have dropped pages it could not write, and a second sync
    /// would say that all is well.
    fn checkpoint(&self) {
        if let Err(error) = copy_log(&self.files.connection, "PASSIVE") {
            self.lose(&error.to_string());
        }
    }

    /// For good: from here on this process writes nothing to the journal and syncs nothing of it, not
    /// even at its end. What is durable the next one finds.
    fn lose(&self, why: &str) {
        tracing::error!(
            why,
            "the journal is lost to this process and no call is taken: see to its disk, restart it"
        );
        self.shared.set_health(Health::Lost(why.to_owned()));
    }

    fn end(&mut self) -> Result<(), String> {
        if let Health::Lost(why) = self.shared.health() {
            return Err(why);
        }
        self.anchored()?;
        let Self { files, pen, stream, .. } = self;
        stream::end(&mut files.connection, pen, stream).map_err(|error| error.to_string())?;
        stream.witness(pen, &mut files.keeper)?;
        files.keeper.sync().map_err(|error| error.to_string())?;
        copy_log(&files.connection, "TRUNCATE").map_err(|error| error.to_string())
    }
}

/// What an error before COMMIT says of the transaction: it is not in the journal. But SQLite may
/// have begun the log anew, which it syncs, and no sync is tried a second time.
fn before_commit(error: rusqlite::Error) -> Failure {
    if failed_io(&error) {
        Failure::Lost(error.to_string())
    } else {
        Failure::RolledBack(error.to_string())
    }
}

/// What an error of COMMIT says of the transaction. A full disk is met when the log's frames are
/// written, before the sync: the last frame, which makes the others count, is not there. Of every
/// other error, a failed sync above all, nobody knows what reached the disk.
fn after_commit(error: rusqlite::Error) -> Failure {
    if full(&error) {
        Failure::RolledBack(error.to_string())
    } else {
        Failure::Lost(error.to_string())
    }
}

fn rolled_back(batch: Vec<(Placed, Then)>, owed: Owed, why: &str, shared: &Shared) {
    let mut refusals = Vec::new();
    for (placed, then) in batch {
        match then {
            Then::Answer(reply) => drop(reply.send(Err(Unrecorded::Unavailable(why.to_owned())))),
            Then::Noted(repeat, repeats) => {
                let Placed { header, head, bodies, .. } = placed;
                refusals.push((Sealed { header, hash: head.hash, bodies }, repeat, repeats));
            }
        }
    }
    shared.refusals.put_back(refusals, owed);
}
