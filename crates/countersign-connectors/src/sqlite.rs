//! One SQLite file as a production system: who may use it at a time, and on which connections.

mod query;
mod reader;

use countersign_core::call::Permit;
use countersign_core::port::{Clock, Report};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, Plan};
use reader::{FileIdentity, Reader};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::{task::spawn_blocking, time::timeout};

/// Most calls that wait for one system; the next is told at once that it is busy.
const WAITING_MAX: usize = 128;
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

/// The system at work.
#[derive(Debug)]
pub(crate) struct Sqlite {
    system: SqliteSystem,
    clock: Arc<dyn Clock>,
    /// Room for calls, under way or waiting.
    room: Arc<Semaphore>,
    /// Leave to run a statement.
    turns: Arc<Semaphore>,
    /// Connections without a call. `turns` bounds how many there are.
    idle: Mutex<Vec<Reader>>,
}

impl Sqlite {
    pub(crate) fn new(system: SqliteSystem, clock: Arc<dyn Clock>) -> Self {
        let concurrency = usize::try_from(system.concurrency).unwrap_or(1);
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS - WAITING_MAX);
        Self {
            system,
            clock,
            room: Arc::new(Semaphore::new(concurrency + WAITING_MAX)),
            turns: Arc::new(Semaphore::new(concurrency)),
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(crate) const fn system(&self) -> &SqliteSystem {
        &self.system
    }

    /// Runs the permit's statement: waits for a turn at most as long as the statement may run, and
    /// then lets it run that long. Dropping the future leaves the statement to end by itself; its
    /// turn and its connection come back then.
    pub(crate) async fn execute(self: Arc<Self>, permit: Permit) -> Result<Report, SystemFault> {
        let tool = permit.tool();
        if tool.effect != Effect::Read {
            return Err(fault(
                SystemFaultKind::Failed,
                format!("only reads are executed, and `{}` is {}", tool.name, tool.effect.as_str()),
            ));
        }
        let Plan::Sql(plan) = permit.plan();
        let patience = Duration::from_millis(plan.timeout_ms.into());
        let turn = self.turn(patience).await?;
        let running = spawn_blocking(move || {
            let _turn = turn; // Given back when the statement has ended, whoever still waits for it.
            self.run(&permit)
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

    async fn turn(
        &self,
        patience: Duration,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), SystemFault> {
        let busy = |why: &str| fault(SystemFaultKind::Busy, why.to_owned());
        let room = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|_full| busy("too many calls wait for the system"))?;
        let turn = timeout(patience, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_elapsed| busy("no statement ended in time for this one to begin"))?
            .map_err(|_closed| busy("the system is shut down"))?;
        Ok((room, turn))
    }

    /// Blocking: for a thread that may wait.
    fn run(&self, permit: &Permit) -> Result<Report, SystemFault> {
        let mut reader = self.reader()?;
        let report = query::run(&mut reader.connection, permit, &self.clock)?;
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

/// A fault of a call that changed nothing, because reads are all there is.
pub(crate) fn fault(kind: SystemFaultKind, detail: String) -> SystemFault {
    SystemFault { kind, applied: Applied::NotApplied, detail }
}
