//! A connection that only reads, for one tenant at a time.
//!
//! Everything that a statement runs under is told to the database anew in each transaction, and for
//! that transaction alone. It ends with a rollback, never a commit: a read has nothing to keep, and
//! what a statement may have set for the session goes with it.

use super::GRACE;
use super::query::{Bound, Rows, failure};
use super::reach::{Reach, Wire};
use crate::fault;
use crate::leave::Leave;
use crate::turns::Turn;
use countersign_core::port::Report;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use lru::LruCache;
use std::{fmt, num::NonZeroUsize, sync::Arc};
use tokio::join;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::{Client, IsolationLevel, Statement, Transaction};

/// Statements kept compiled per connection; the least recently used goes first.
const STATEMENTS_CACHED_MAX: NonZeroUsize = match NonZeroUsize::new(64) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// What a statement runs under, until its transaction ends: whose rows it may touch, for how long it
/// may run, wait for a lock and leave its transaction lying, and all that would read it or its
/// values in another way. What a role, a database or a connection's `options` set does not count.
const SETTINGS: &str = "select \
    pg_catalog.set_config($1, $2, true), \
    pg_catalog.set_config('statement_timeout', $3, true), \
    pg_catalog.set_config('lock_timeout', $4, true), \
    pg_catalog.set_config('idle_in_transaction_session_timeout', $3, true), \
    pg_catalog.set_config('search_path', 'pg_catalog, public, pg_temp', true), \
    pg_catalog.set_config('row_security', 'on', true), \
    pg_catalog.set_config('plan_cache_mode', 'force_custom_plan', true), \
    pg_catalog.set_config('standard_conforming_strings', 'on', true), \
    pg_catalog.set_config('datestyle', 'ISO, YMD', true), \
    pg_catalog.set_config('timezone', 'UTC', true)";

/// A connection. At work it holds a turn.
pub(super) struct Session {
    client: Client,
    reach: Arc<Reach>,
    compiled: Compiled,
    /// Until it has to be seen to its end.
    wire: Option<Wire>,
    turn: Option<Turn>,
    /// Whether the server may be at work on something.
    under_way: bool,
}

/// What the server has compiled for this connection.
struct Compiled {
    settings: Statement,
    statements: LruCache<String, Statement>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

impl Session {
    /// A new connection, ready for [`Self::read`].
    pub(super) async fn open(reach: Arc<Reach>) -> Result<Self, SystemFault> {
        let (client, wire) = reach.connect().await?;
        let settings = client.prepare(SETTINGS).await.map_err(|error| failure(&error))?;
        Ok(Self {
            client,
            reach,
            compiled: Compiled { settings, statements: LruCache::new(STATEMENTS_CACHED_MAX) },
            wire: Some(wire),
            turn: None,
            under_way: false,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Takes a turn to work with.
    pub(super) fn begin(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// Gives the turn back.
    pub(super) fn end(&mut self) -> Option<Turn> {
        self.turn.take()
    }

    /// Runs the statement that `leave` is for in a transaction of its own. After an error the
    /// connection is to be dropped; dropping the future cancels what the server is doing.
    pub(super) async fn read(
        &mut self,
        tenant_setting: &str,
        leave: &Leave,
    ) -> Result<Report, SystemFault> {
        self.under_way = true;
        let begin = self.client.build_transaction();
        let begin = begin.isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let transaction = begin.start().await.map_err(|error| failure(&error))?;
        let asked = ask(&transaction, &mut self.compiled, tenant_setting, leave).await;
        // INVARIANT: nothing of this transaction is left when the connection serves another tenant.
        let (outcome, ended) = match asked {
            // Sent while the rows come: the server takes one after the other.
            Ok(rows) => join!(rows.gather(), transaction.rollback()),
            Err(fault) => (Err(fault), transaction.rollback().await),
        };
        let ended = ended.map_err(|error| failure(&error));
        self.under_way = false;
        match outcome.and_then(|report| ended.map(|()| report)) {
            Err(fault) if self.client.is_closed() => Err(self.cause().await.unwrap_or(fault)),
            outcome => outcome,
        }
    }

    /// Why the connection ended. Who waited for an answer has learned only that it did.
    async fn cause(&mut self) -> Option<SystemFault> {
        let ended = timeout(GRACE, self.wire.take()?).await.ok()?;
        ended.ok()?.err().map(|error| failure(&error))
    }
}

/// Tells the database what the statement runs under.
async fn tell(
    transaction: &Transaction<'_>,
    settings: &Statement,
    tenant_setting: &str,
    leave: &Leave,
) -> Result<(), SystemFault> {
    let tenant = leave.tenant().as_str();
    let time_ms = leave.plan().timeout_ms.max(1); // 0 would be no limit at all.
    // Shorter, or the server would call a wait for a lock a statement that took too long.
    let (time, wait) = (time_ms.to_string(), (time_ms / 2).max(1).to_string());
    let row = transaction.query_one(settings, &[&tenant_setting, &tenant, &time, &wait]).await;
    let row = row.map_err(|error| failure(&error))?;
    // The server says what holds now: a tenant that it does not repeat is not the one it goes by.
    match row.try_get::<_, &str>(0) {
        Ok(told) if told == tenant => Ok(()),
        _ => {
            Err(fault(SystemFaultKind::Failed, "the database does not take the tenant".to_owned()))
        }
    }
}

/// Tells the server what the statement that `leave` is for runs under, and has it begin. One that it
/// knows already is sent after that without waiting; nothing is fetched unless it took it.
async fn ask(
    transaction: &Transaction<'_>,
    compiled: &mut Compiled,
    tenant_setting: &str,
    leave: &Leave,
) -> Result<Rows, SystemFault> {
    let text = &leave.plan().statement;
    let told = tell(transaction, &compiled.settings, tenant_setting, leave);
    let bound = if let Some(known) = compiled.statements.get(text) {
        // INVARIANT: in this order, or it would be planned as the role's own settings say.
        let (told, bound) = join!(biased; told, Bound::new(transaction, known, leave));
        told?;
        bound?
    } else {
        told.await?;
        let new = transaction.prepare(text).await.map_err(|error| failure(&error))?;
        compiled.statements.put(text.clone(), new.clone());
        Bound::new(transaction, &new, leave).await?
    };
    bound.fetch(transaction).await
}

impl Drop for Session {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.under_way, Handle::try_current()) else { return };
        let (reach, token) = (Arc::clone(&self.reach), self.client.cancel_token());
        let (wire, turn) = (self.wire.take(), self.turn.take());
        runtime.spawn(async move {
            let _turn = turn; // Given back when the server has stopped, or is given up.
            match timeout(GRACE, reach.cancel(&token)).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => tracing::warn!(detail = fault.detail, "a cancellation failed"),
                Err(_elapsed) => tracing::warn!("a cancellation took too long"),
            }
            if let Some(wire) = wire
                && timeout(GRACE, wire).await.is_err()
            {
                tracing::warn!("a database did not stop a statement: its connection is closed");
            }
        });
    }
}
