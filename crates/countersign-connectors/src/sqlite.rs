//! One SQLite file as a production system: who may use it at a time, and on which connections.

mod query;
mod reader;

use crate::doctor::{Needs, Symptom};
use crate::fault;
use crate::leave::Leave;
use crate::turns::Turns;
use countersign_core::port::{Clock, Report};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use reader::{FileIdentity, Reader};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::timeout};

/// How long after its time a statement may take to notice that it is over, before the call goes on
/// without it (a file system that hangs).
const GRACE: Duration = Duration::from_secs(1);

/// A SQLite file, as the deployment resolved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSystem {
    /// The database file. Opened read-only; never created.
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
    let unlogged = SqliteSystem { statement_log: None, ..system.clone() };
    let reader = Reader::open(&unlogged, FileIdentity::of(&system.path)?)?;
    let fails = |(who, statement): &(String, String)| {
        let error = reader.connection.prepare(statement).err()?;
        Some(Symptom::statement(who, &error.to_string()))
    };
    Ok(needs.statements.iter().filter_map(fails).collect())
}

/// The system at work.
#[derive(Debug)]
pub(crate) struct Sqlite {
    system: SqliteSystem,
    clock: Arc<dyn Clock>,
    turns: Turns,
    /// Connections without a call. `turns` bounds how many there are.
    idle: Mutex<Vec<Reader>>,
}

impl Sqlite {
    pub(crate) fn new(system: SqliteSystem, clock: Arc<dyn Clock>) -> Self {
        let turns = Turns::new(system.concurrency);
        Self { system, clock, turns, idle: Mutex::new(Vec::new()) }
    }

    pub(crate) const fn system(&self) -> &SqliteSystem {
        &self.system
    }

    /// Runs one statement: waits for a turn at most as long as the statement may run, and then lets
    /// it run that long. Dropping the future leaves the statement to end by itself; its turn and
    /// its connection come back then.
    pub(crate) async fn run(self: Arc<Self>, leave: Leave) -> Result<Report, SystemFault> {
        let patience = Duration::from_millis(leave.plan().timeout_ms.into());
        let turn = self.turns.take(patience).await?;
        let running = spawn_blocking(move || {
            let _turn = turn; // Given back when the statement has ended, whoever still waits for it.
            self.run_blocking(&leave)
        });
        match timeout(patience + GRACE, running).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(fault(SystemFaultKind::Failed, error.to_string())),
            Err(_elapsed) => Err(fault(
                SystemFaultKind::TimedOut,
                "the statement did not stop when its time was over".to_owned(),
            )),
        }
    }

    /// Blocking: for a thread that may wait.
    fn run_blocking(&self, leave: &Leave) -> Result<Report, SystemFault> {
        let mut reader = self.reader()?;
        let report = query::run(&mut reader.connection, leave, &self.clock)?;
        // Only after a success: a connection that failed is not trusted again.
        self.idle().push(reader);
        Ok(report)
    }

    /// An idle connection to the file that is there now, or a new one.
    fn reader(&self) -> Result<Reader, SystemFault> {
        let file = FileIdentity::of(&self.system.path).inspect_err(|_gone| self.idle().clear())?;
        loop {
            let idle = self.idle().pop();
            match idle {
                Some(reader) if reader.file == file => return Ok(reader),
                // The file was replaced: this connection reads one that has no name any more.
                Some(stale) => drop(stale),
                None => return Reader::open(&self.system, file),
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        // A list of idle connections is whole at every moment, even if a thread died holding it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
