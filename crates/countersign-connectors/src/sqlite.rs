//! One SQLite file as a production system: who may use it at a time, and on which connections.

mod query;
mod reader;
mod schema;
mod writer;

use crate::doctor::{Needs, Symptom};
use crate::fault;
use crate::leave::{Act, Leave, unknown};
use crate::turns::Turns;
use countersign_core::port::{Clock, Report};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use reader::{FileIdentity, Reader};
use rusqlite::Connection;
pub(crate) use schema::tables_of as tables;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use writer::Writer;

/// How long after its time a statement may take to notice that it is over, before the call goes on
/// without it (a file system that hangs).
const GRACE: Duration = Duration::from_secs(1);

/// A SQLite file, as the deployment resolved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSystem {
    /// The database file. Opened read-only, but for effects; never created.
    pub path: PathBuf,
    /// Most statements at a time, and most connections; 0 counts as 1.
    pub concurrency: u32,
    /// Where the engine itself writes down every statement it runs, with its values: one line each,
    /// appended, mode 0600, backslashes and line ends escaped. The settings of a new connection are
    /// made before the log is attached to it and are not in it.
    pub statement_log: Option<PathBuf>,
}

/// Whether the file is there and takes every statement. Blocking.
pub(crate) fn examine(system: &SqliteSystem, needs: &Needs) -> Result<Vec<Symptom>, SystemFault> {
    FileIdentity::of(&system.path)?;
    let unlogged = SqliteSystem { statement_log: None, ..system.clone() };
    let fails = |connection: &Connection, (who, statement): &(String, String)| {
        let error = connection.prepare(statement).err()?;
        Some(Symptom::statement(who, &error.to_string()))
    };
    let reader = Reader::open(&unlogged)?.connection;
    let mut found: Vec<_> =
        needs.statements.iter().filter_map(|statement| fails(&reader, statement)).collect();
    if !needs.effects.is_empty() {
        let writer = Writer::open(&unlogged)?.connection;
        found.extend(needs.effects.iter().filter_map(|statement| fails(&writer, statement)));
    }
    Ok(found)
}

/// Who has the last word on a transaction: the thread that runs it, by committing it, or the call,
/// by no longer waiting. The first word counts.
#[derive(Debug, Clone, Default)]
struct Fate(Arc<OnceLock<Word>>);

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Commit,
    GiveUp,
}

impl Fate {
    /// # Errors
    /// The call was given up: nothing is to be committed.
    fn commit(&self) -> Result<(), SystemFault> {
        let given_up = |_word| fault(SystemFaultKind::TimedOut, "nobody waits for it".to_owned());
        self.0.set(Word::Commit).map_err(given_up)
    }

    /// Whether nothing will be committed.
    fn give_up(&self) -> bool {
        *self.0.get_or_init(|| Word::GiveUp) == Word::GiveUp
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// A call that waits for a transaction. When it is gone, none is committed that was not by then.
struct Waiting(Fate);

/// The system at work.
#[derive(Debug)]
pub(crate) struct Sqlite {
    system: SqliteSystem,
    clock: Arc<dyn Clock>,
    turns: Turns,
    readers: Idle<Reader>,
    writers: Idle<Writer>,
}

impl Sqlite {
    pub(crate) fn new(system: SqliteSystem, clock: Arc<dyn Clock>) -> Self {
        let turns = Turns::new(system.concurrency);
        Self { system, clock, turns, readers: Idle::new(), writers: Idle::new() }
    }

    pub(crate) const fn system(&self) -> &SqliteSystem {
        &self.system
    }

    /// Runs one statement: waits for a turn at most as long as the statement may run, and then lets
    /// it run that long. Dropping the future leaves the statement to end by itself; its turn and
    /// its connection come back then.
    pub(crate) async fn read(self: Arc<Self>, leave: Leave) -> Result<Report, SystemFault> {
        let patience = Duration::from_millis(leave.asked().plan.timeout_ms.into());
        let turn = self.turns.take(patience).await?;
        let running = spawn_blocking(move || {
            let _turn = turn; // Given back when the statement has ended, whoever still waits for it.
            let (file, mut reader) = self.readers.take(&self.system, Reader::open)?;
            let report = query::run(&mut reader.connection, leave.asked(), &self.clock)?;
            // Only after a success: a connection that failed is not trusted again.
            self.readers.put(file, reader);
            Ok(report)
        });
        timeout(patience + GRACE, running).await.map_or_else(|_elapsed| Err(late()), ended)
    }

    /// Carries out one transaction, with the same waits. Dropping the future, or not waiting for it
    /// any longer, has it rolled back unless it is being committed by then.
    pub(crate) async fn act(self: Arc<Self>, act: Act) -> Result<Report, SystemFault> {
        let patience = Duration::from_millis(act.effect().plan.timeout_ms.into());
        let turn = self.turns.take(patience).await?;
        let waiting = Waiting(Fate::default());
        let fate = waiting.0.clone();
        let running = spawn_blocking(move || {
            let _turn = turn; // Given back when the transaction has ended.
            let (file, mut writer) = self.writers.take(&self.system, Writer::open)?;
            let report = writer.run(&act, &self.clock, &fate)?;
            self.writers.put(file, writer);
            Ok(report)
        });
        let outcome = match timeout(patience + GRACE, running).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(died)) => ended(Err(died)),
            Err(_elapsed) => Err(late()),
        };
        // A thread that died has let go of its connection, and that rolls back.
        outcome.map_err(|fault| if waiting.0.give_up() { fault } else { unknown(fault) })
    }
}

/// What a thread brought back, or that it died.
fn ended(outcome: Result<Result<Report, SystemFault>, JoinError>) -> Result<Report, SystemFault> {
    outcome.unwrap_or_else(|error| Err(fault(SystemFaultKind::Failed, error.to_string())))
}

fn late() -> SystemFault {
    let detail = "the statement did not stop when its time was over";
    fault(SystemFaultKind::TimedOut, detail.to_owned())
}

/// Connections without a call, and the files they were opened for. The system's turns bound how many
/// there are.
#[derive(Debug)]
struct Idle<C>(Mutex<Vec<(FileIdentity, C)>>);

impl<C> Idle<C> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// A connection to the file that is there now, or a new one. The file is as it was before the
    /// connection was opened: should it be replaced in between, the connection is taken for stale,
    /// never for current.
    fn take(
        &self,
        system: &SqliteSystem,
        open: fn(&SqliteSystem) -> Result<C, SystemFault>,
    ) -> Result<(FileIdentity, C), SystemFault> {
        let file = FileIdentity::of(&system.path).inspect_err(|_gone| self.list().clear())?;
        loop {
            let idle = self.list().pop();
            match idle {
                Some((of, connection)) if of == file => return Ok((file, connection)),
                // The file was replaced: this connection has one that has no name any more.
                Some(stale) => drop(stale),
                None => return Ok((file, open(system)?)),
            }
        }
    }

    fn put(&self, file: FileIdentity, connection: C) {
        self.list().push((file, connection));
    }

    fn list(&self) -> MutexGuard<'_, Vec<(FileIdentity, C)>> {
        // A list of idle connections is whole at every moment, even if a thread died holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
