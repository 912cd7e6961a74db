//! A connection that changes rows, one transaction at a time, and the transaction.
//!
//! The authorizer admits what a reader may do, and to insert, update and delete rows of the file's
//! own tables: no definition is changed, no other file is reached, no setting is made. A statement
//! of the posture's author begins and ends no transaction.

use super::query::{self, Time, failure};
use super::reader::{log, open, reads_only};
use super::{Fate, SqliteSystem};
use crate::fault;
use crate::leave::{Act, holds, unknown, within};
use countersign_core::port::{Clock, Report};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A connection that changes rows.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Whether what is compiled begins or ends a transaction of ours.
    ours: Arc<AtomicBool>,
}

impl Writer {
    /// Opens the file as it is: its journal mode is its owner's to choose.
    pub(super) fn open(system: &SqliteSystem) -> Result<Self, SystemFault> {
        let mut connection = open(system, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let ours = Arc::new(AtomicBool::new(false));
        let asked_by = Arc::clone(&ours);
        let admits = move |asked: AuthContext<'_>| writes_rows(&asked, &asked_by);
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)
            // What is reported as done survives a power cut.
            .and_then(|_on| connection.pragma_update(None, "synchronous", "full"))
            .and_then(|()| connection.authorizer(Some(admits)))
            .map_err(|error| failure(&error))?;
        // The engine makes do with reading where it may not write.
        if connection.is_readonly("main").map_err(|error| failure(&error))? {
            let detail = format!("`{}` may not be written", system.path.display());
            return Err(fault(SystemFaultKind::Unavailable, detail));
        }
        log(&mut connection, system)?;
        Ok(Self { connection, ours })
    }

    /// Carries out `act` in one transaction: looks again whose it is, changes, counts, checks, and
    /// commits unless the call was given up. After an error the connection is to be dropped.
    pub(super) fn run(
        &mut self,
        act: &Act,
        clock: &Arc<dyn Clock>,
        fate: &Fate,
    ) -> Result<Report, SystemFault> {
        let time = Time::of(act.effect().plan, clock);
        time.hold(&mut self.connection)?;
        // At once for writing: what is looked at is then still so when it is changed.
        self.transact("begin immediate").map_err(|error| failure(&error))?;
        let ready = self.change(act).and_then(|report| {
            self.see_to_end(&time)?;
            fate.commit()?;
            Ok(report)
        });
        match ready {
            Ok(report) => self.commit().map(|()| report),
            Err(fault) => {
                // Should it fail, closing the connection does the same.
                drop(self.transact("rollback"));
                Err(fault)
            }
        }
    }

    fn change(&self, act: &Act) -> Result<Report, SystemFault> {
        for owned in act.owned() {
            owned.confirmed(query::read(&self.connection, owned.asked())?)?;
        }
        let report = query::change(&self.connection, act.effect())?;
        within(act.affects(), report.changed)?;
        if let Some(check) = act.check() {
            holds(&query::read(&self.connection, check)?)?;
        }
        Ok(report)
    }

    /// From here on nothing stops it half-way: how long it waits for others is all that is bounded.
    fn see_to_end(&mut self, time: &Time) -> Result<(), SystemFault> {
        let left = time.left();
        if left.is_zero() {
            let detail = "the time was over before the transaction could be committed";
            return Err(fault(SystemFaultKind::TimedOut, detail.to_owned()));
        }
        if self.connection.is_autocommit() {
            let detail = "the transaction ended before it was committed";
            return Err(fault(SystemFaultKind::Failed, detail.to_owned()));
        }
        self.connection
            .progress_handler(0, None::<fn() -> bool>)
            .and_then(|()| self.connection.busy_timeout(left))
            .map_err(|error| failure(&error))
    }

    fn commit(&self) -> Result<(), SystemFault> {
        let Err(error) = self.transact("commit") else { return Ok(()) };
        // A crash here is the engine's to mend: on the next open it is committed or rolled back.
        let kept_open = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::ConstraintViolation)
        ) && !self.connection.is_autocommit();
        let fault = failure(&error);
        if kept_open && self.transact("rollback").is_ok() {
            Err(fault)
        } else {
            Err(unknown(fault))
        }
    }

    fn transact(&self, statement: &str) -> rusqlite::Result<()> {
        self.ours.store(true, Ordering::Relaxed);
        let done = self.connection.execute_batch(statement);
        self.ours.store(false, Ordering::Relaxed);
        done
    }
}

/// Asked for each thing that a statement would do, when it is compiled, and for each thing that a
/// trigger of the file would do in consequence.
fn writes_rows(asked: &AuthContext<'_>, ours: &AtomicBool) -> Authorization {
    let own = |table: &str| {
        let engines = table.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
        asked.database_name == Some("main") && !engines
    };
    match asked.action {
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
            if own(table_name) =>
        {
            Authorization::Allow
        }
        AuthAction::Transaction { .. } if ours.load(Ordering::Relaxed) => Authorization::Allow,
        _ => reads_only(*asked),
    }
}
