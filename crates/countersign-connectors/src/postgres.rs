//! One PostgreSQL database as a production system: who may use it at a time, and on which
//! connections.

mod doctor;
mod query;
mod reach;
mod schema;
mod session;
mod value;
mod wire;

use crate::fault;
use crate::leave::{Act, Leave, unknown};
use crate::turns::{Turn, Turns};
use countersign_core::port::Report;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
pub(crate) use doctor::examine;
use reach::Reach;
pub use reach::Unreachable;
pub(crate) use schema::tables;
use secrecy::{ExposeSecret, SecretString};
use session::Session;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;
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
    readers: Idle,
    /// What an effect's statement set for the session is not there for one that reads.
    writers: Idle,
}

impl Postgres {
    pub(crate) fn new(system: PostgresSystem) -> Self {
        let turns = Turns::new(system.concurrency);
        let reach = Reach::new(&system).map(Arc::new);
        Self { system, reach, turns, readers: Idle::default(), writers: Idle::default() }
    }

    pub(crate) const fn system(&self) -> &PostgresSystem {
        &self.system
    }

    /// Runs one statement: waits for a turn at most as long as the statement may run, and then lets
    /// it run that long. If the future is dropped, or the server does not stop the statement when
    /// its time is over, the statement is cancelled and its connection given up.
    pub(crate) async fn read(&self, leave: Leave) -> Result<Report, SystemFault> {
        let patience = Duration::from_millis(leave.asked().plan.timeout_ms.into());
        let turn = self.turns.take(patience).await?;
        let reading = async {
            let mut session = self.session(&self.readers, turn).await?;
            let report = session.read(&self.system.tenant_setting, &leave).await?;
            self.readers.put(session);
            Ok(report)
        };
        timeout(patience + GRACE, reading).await.unwrap_or_else(|_elapsed| Err(late()))
    }

    /// Carries out one transaction, with the same waits. If the future is dropped or the time is
    /// over, its connection is closed: what the server was not told to commit is then rolled back.
    pub(crate) async fn act(&self, act: Act) -> Result<Report, SystemFault> {
        let patience = Duration::from_millis(act.effect().plan.timeout_ms.into());
        let turn = self.turns.take(patience).await?;
        let committing = AtomicBool::new(false);
        let acting = async {
            let mut session = self.session(&self.writers, turn).await?;
            let report = session.write(&self.system.tenant_setting, &act, &committing).await?;
            self.writers.put(session);
            Ok(report)
        };
        timeout(patience + GRACE, acting).await.unwrap_or_else(|_elapsed| {
            Err(if committing.load(Ordering::Relaxed) { unknown(late()) } else { late() })
        })
    }

    /// A connection at work: an idle one that is still one, or a new one.
    async fn session(&self, idle: &Idle, turn: Turn) -> Result<Session, SystemFault> {
        let mut session = match idle.take() {
            Some(session) => session,
            None => Session::open(self.reach()?).await?,
        };
        session.begin(turn);
        Ok(session)
    }

    fn reach(&self) -> Result<Arc<Reach>, SystemFault> {
        let unavailable =
            |error: &Unreachable| fault(SystemFaultKind::Unavailable, error.to_string());
        self.reach.as_ref().map(Arc::clone).map_err(unavailable)
    }
}

fn late() -> SystemFault {
    let detail = "the database did not answer when the statement's time was over";
    fault(SystemFaultKind::TimedOut, detail.to_owned())
}

/// Connections without a call. The system's turns bound how many there are.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<Session>>);

impl Idle {
    fn take(&self) -> Option<Session> {
        let mut idle = self.list();
        std::iter::from_fn(|| idle.pop()).find(|session| !session.is_closed())
    }

    /// Only after a success: a connection that failed is not trusted again.
    fn put(&self, mut session: Session) {
        let turn = session.end();
        self.list().push(session);
        drop(turn);
    }

    fn list(&self) -> MutexGuard<'_, Vec<Session>> {
        // A list of idle connections is whole at every moment, even if a thread died holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
