//! One PostgreSQL database as a production system: who may use it at a time, and on which
//! connections.

mod doctor;
mod query;
mod reach;
mod session;
mod value;
mod wire;

use crate::fault;
use crate::leave::Leave;
use crate::turns::{Turn, Turns};
use countersign_core::port::Report;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
pub(crate) use doctor::examine;
use reach::Reach;
pub use reach::Unreachable;
use secrecy::{ExposeSecret, SecretString};
use session::Session;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// How long after its time the server may take to stop a statement, before it is cancelled over a
/// connection of its own.
const GRACE: Duration = Duration::from_secs(1);

/// A PostgreSQL database, as the deployment resolved it.
#[derive(Debug, Clone)]
pub struct PostgresSystem {
    /// Where it is, and as whom to speak to it: `postgres://user:password@host/database` or
    /// `host=… user=… password=… dbname=…`. One host; what it says of TLS does not count.
    pub connection: SecretString,
    /// How it is spoken to. `None`: in the clear on this machine, verified TLS everywhere else.
    pub encryption: Option<Encryption>,
    /// Certificates to trust instead of the machine's own, as PEM.
    pub authorities: Option<String>,
    /// The setting that tells the database whose rows a statement may touch. It has a dot in its
    /// name, which keeps it apart from the server's own settings.
    pub tenant_setting: String,
    /// Most statements at a time, and most connections; 0 counts as 1.
    pub concurrency: u32,
}

/// How a database is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS; the certificate must be trusted and name the host.
    VerifyFull,
    /// None. Only on this machine.
    Off,
}

impl PostgresSystem {
    /// Whether it could be reached as far as can be told without trying.
    ///
    /// # Errors
    /// [`Unreachable`]: the connection cannot be read, names no host or user, would cross a network
    /// in the clear, or the certificates cannot be read.
    pub fn check(&self) -> Result<(), Unreachable> {
        Reach::new(self).map(|_reach| ())
    }
}

impl PartialEq for PostgresSystem {
    fn eq(&self, other: &Self) -> bool {
        let Self { connection, encryption, authorities, tenant_setting, concurrency } = self;
        connection.expose_secret() == other.connection.expose_secret()
            && *encryption == other.encryption
            && *authorities == other.authorities
            && *tenant_setting == other.tenant_setting
            && *concurrency == other.concurrency
    }
}

impl Eq for PostgresSystem {}

/// The system at work.
#[derive(Debug)]
pub(crate) struct Postgres {
    system: PostgresSystem,
    reach: Result<Arc<Reach>, Unreachable>,
    turns: Turns,
    /// Connections without a call. `turns` bounds how many there are.
    idle: Mutex<Vec<Session>>,
}

impl Postgres {
    pub(crate) fn new(system: PostgresSystem) -> Self {
        let turns = Turns::new(system.concurrency);
        let reach = Reach::new(&system).map(Arc::new);
        Self { system, reach, turns, idle: Mutex::new(Vec::new()) }
    }

    pub(crate) const fn system(&self) -> &PostgresSystem {
        &self.system
    }

    /// Runs one statement: waits for a turn at most as long as the statement may run, and then lets
    /// it run that long. If the future is dropped, or the server does not stop the statement when
    /// its time is over, the statement is cancelled and its connection given up.
    pub(crate) async fn run(&self, leave: Leave) -> Result<Report, SystemFault> {
        let patience = Duration::from_millis(leave.plan().timeout_ms.into());
        let turn = self.turns.take(patience).await?;
        timeout(patience + GRACE, self.read(&leave, turn)).await.unwrap_or_else(|_elapsed| {
            let detail = "the database did not answer when the statement's time was over";
            Err(fault(SystemFaultKind::TimedOut, detail.to_owned()))
        })
    }

    async fn read(&self, leave: &Leave, turn: Turn) -> Result<Report, SystemFault> {
        let mut session = match self.rested() {
            Some(session) => session,
            None => Session::open(self.reach()?).await?,
        };
        session.begin(turn);
        let report = session.read(&self.system.tenant_setting, leave).await?;
        // Only after a success: a connection that failed is not trusted again.
        let turn = session.end();
        self.idle().push(session);
        drop(turn);
        Ok(report)
    }

    fn reach(&self) -> Result<Arc<Reach>, SystemFault> {
        let unavailable =
            |error: &Unreachable| fault(SystemFaultKind::Unavailable, error.to_string());
        self.reach.as_ref().map(Arc::clone).map_err(unavailable)
    }

    /// An idle connection that is still one.
    fn rested(&self) -> Option<Session> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(|session| !session.is_closed())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        // A list of idle connections is whole at every moment, even if a thread died holding it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
