//! A connection, for one tenant at a time.
//!
//! Everything that a statement runs under is told to the database anew in each transaction, and for
//! that transaction alone. A read's ends with a rollback, never a commit: it has nothing to keep, and
//! what a statement may have set for the session goes with it. That of an effect is committed, on
//! connections on which nothing is read.

use super::GRACE;
use super::query::{self, Bound, Rows, changes_rows, failure, uncommitted};
use super::reach::{Reach, Wire};
use crate::fault;
use crate::leave::{Act, Asked, Leave, holds, within};
use crate::turns::Turn;
use countersign_core::id::TenantId;
use countersign_core::port::Report;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use lru::LruCache;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::{fmt, num::NonZeroUsize};
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
        let told = Told { tenant_setting, tenant: leave.tenant(), asked: leave.asked() };
        let asked = ask(&transaction, &mut self.compiled, &told).await;
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

    /// Carries out `act` in one transaction: looks again whose it is, changes, counts, checks, and
    /// commits. `committing` is set before the server is told to, and after that its silence means
    /// that nobody knows. After an error the connection is to be dropped; dropping the future before
    /// leaves the server nothing to commit.
    pub(super) async fn write(
        &mut self,
        tenant_setting: &str,
        act: &Act,
        committing: &AtomicBool,
    ) -> Result<Report, SystemFault> {
        self.under_way = true;
        let begin = self.client.build_transaction();
        let begin = begin.isolation_level(IsolationLevel::RepeatableRead).read_only(false);
        let transaction = begin.start().await.map_err(|error| failure(&error))?;
        let changed = change(&transaction, &mut self.compiled, tenant_setting, act).await;
        let outcome = end(transaction, changed, committing).await;
        self.under_way = false;
        match outcome {
            Err(fault) if self.client.is_closed() => {
                let cause = self.cause().await;
                Err(cause
                    .map_or(fault.clone(), |cause| SystemFault { applied: fault.applied, ..cause }))
            }
            outcome => outcome,
        }
    }

    /// Why the connection ended. Who waited for an answer has learned only that it did.
    async fn cause(&mut self) -> Option<SystemFault> {
        let ended = timeout(GRACE, self.wire.take()?).await.ok()?;
        ended.ok()?.err().map(|error| failure(&error))
    }
}

/// A statement, and what it runs under.
struct Told<'a> {
    tenant_setting: &'a str,
    tenant: &'a TenantId,
    asked: Asked<'a>,
}

/// Tells the database what the statement runs under.
async fn tell(
    transaction: &Transaction<'_>,
    settings: &Statement,
    told: &Told<'_>,
) -> Result<(), SystemFault> {
    let (setting, tenant) = (told.tenant_setting, told.tenant.as_str());
    let time_ms = told.asked.plan.timeout_ms.max(1); // 0 would be no limit at all.
    // Shorter, or the server would call a wait for a lock a statement that took too long.
    let (time, wait) = (time_ms.to_string(), (time_ms / 2).max(1).to_string());
    let row = transaction.query_one(settings, &[&setting, &tenant, &time, &wait]).await;
    let row = row.map_err(|error| failure(&error))?;
    // The server says what holds now: a tenant that it does not repeat is not the one it goes by.
    match row.try_get::<_, &str>(0) {
        Ok(told) if told == tenant => Ok(()),
        _ => {
            Err(fault(SystemFaultKind::Failed, "the database does not take the tenant".to_owned()))
        }
    }
}

/// Tells the server what a statement runs under, and has it begin. One that it knows already is sent
/// after that without waiting; nothing is fetched unless it took it.
async fn ask(
    transaction: &Transaction<'_>,
    compiled: &mut Compiled,
    told: &Told<'_>,
) -> Result<Rows, SystemFault> {
    let asked = told.asked;
    let tells = tell(transaction, &compiled.settings, told);
    let bound = if let Some(known) = compiled.statements.get(&asked.plan.statement) {
        // INVARIANT: in this order, or it would be planned as the role's own settings say.
        let (told, bound) = join!(biased; tells, Bound::new(transaction, known, asked));
        told?;
        bound?
    } else {
        tells.await?;
        let new = compiled.get(transaction, &asked.plan.statement).await?;
        Bound::new(transaction, &new, asked).await?
    };
    bound.fetch(transaction).await
}

impl Compiled {
    async fn get(
        &mut self,
        transaction: &Transaction<'_>,
        text: &str,
    ) -> Result<Statement, SystemFault> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let new = transaction.prepare(text).await.map_err(|error| failure(&error))?;
        self.statements.put(text.to_owned(), new.clone());
        Ok(new)
    }
}

/// Everything of an effect's transaction but its end.
///
/// INVARIANT: none of the author's statements can end it. The effect's begins with a word that
/// changes rows; the others have columns, and what begins and ends transactions has none. So when
/// all of them succeeded, COMMIT is answered by a commit or an error, never by a rollback unsaid.
async fn change(
    transaction: &Transaction<'_>,
    compiled: &mut Compiled,
    tenant_setting: &str,
    act: &Act,
) -> Result<Report, SystemFault> {
    let effect = act.effect();
    if !changes_rows(&effect.plan.statement) {
        let detail =
            "an effect is one `insert`, `update`, `delete` or `merge`, without `with` before it";
        return Err(fault(SystemFaultKind::Failed, detail.to_owned()));
    }
    let told = Told { tenant_setting, tenant: act.tenant(), asked: effect };
    tell(transaction, &compiled.settings, &told).await?;
    for owned in act.owned() {
        // It was run before the intent, in a transaction that only reads: it writes nothing.
        owned.confirmed(read(transaction, compiled, owned.asked()).await?)?;
    }
    let statement = compiled.get(transaction, &effect.plan.statement).await?;
    let report = query::change(transaction, &statement, effect, act.affects()).await?;
    within(act.affects(), report.changed)?;
    // What was put off until the commit fails now, while it is known that nothing was done.
    let mut settles = "set constraints all immediate".to_owned();
    if act.check().is_some() {
        settles.push_str("; set transaction read only");
    }
    transaction.batch_execute(&settles).await.map_err(|error| failure(&error))?;
    if let Some(check) = act.check() {
        holds(&read(transaction, compiled, check).await?)?;
    }
    Ok(report)
}

/// Commits what succeeded, and rolls back what did not.
async fn end(
    transaction: Transaction<'_>,
    changed: Result<Report, SystemFault>,
    committing: &AtomicBool,
) -> Result<Report, SystemFault> {
    match changed {
        Ok(_) if transaction.client().is_closed() => {
            let detail = "the connection ended before the commit was sent";
            Err(fault(SystemFaultKind::Unavailable, detail.to_owned()))
        }
        Ok(report) => {
            committing.store(true, Ordering::Relaxed);
            // A crash here leaves the intent without an outcome: recovery closes it as unknown.
            let committed = transaction.commit().await;
            committed.map(|()| report).map_err(|error| uncommitted(&error))
        }
        Err(fault) => {
            // Should it fail, closing the connection does the same.
            drop(transaction.rollback().await);
            Err(fault)
        }
    }
}

/// Runs one statement of a transaction that was told what it runs under.
async fn read(
    transaction: &Transaction<'_>,
    compiled: &mut Compiled,
    asked: Asked<'_>,
) -> Result<Report, SystemFault> {
    let statement = compiled.get(transaction, &asked.plan.statement).await?;
    Bound::new(transaction, &statement, asked).await?.fetch(transaction).await?.gather().await
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
