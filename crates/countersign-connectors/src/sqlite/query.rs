//! One statement: compiled, checked, bound, run and read back within its bounds and its time.

use crate::fault;
use crate::gather::{self, Gathered};
use crate::leave::Asked;
use countersign_core::bound::SAFE_INTEGER_MAX;
use countersign_core::id::Timestamp;
use countersign_core::port::{Clock, Report};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use countersign_core::tool::SqlPlan;
use rusqlite::types::{ToSqlOutput, Value as Bound, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, Row, Statement};
use serde_json::{Map, Number, Value};
use std::{sync::Arc, time::Duration};

/// Steps of SQLite's virtual machine between two looks at the clock: some tens of microseconds.
const STEPS_PER_LOOK: i32 = 1_000;

/// How long the statements of one call may take.
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    begun: Timestamp,
    max: Duration,
}

impl Time {
    /// The plan's time, from now.
    pub(super) fn of(plan: &SqlPlan, clock: &Arc<dyn Clock>) -> Self {
        let max = Duration::from_millis(plan.timeout_ms.into());
        Self { clock: Arc::clone(clock), begun: clock.now(), max }
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        let gone = self.clock.now().micros_since(self.begun);
        self.max.saturating_sub(Duration::from_micros(gone))
    }

    /// Has whatever runs on `connection` stop when it is over.
    pub(super) fn hold(&self, connection: &mut Connection) -> Result<(), SystemFault> {
        let (clock, begun, max) = (Arc::clone(&self.clock), self.begun, self.max.as_micros());
        let over = move || u128::from(clock.now().micros_since(begun)) >= max;
        connection
            .progress_handler(STEPS_PER_LOOK, Some(over))
            .and_then(|()| connection.busy_timeout(self.max))
            .map_err(|error| failure(&error))
    }
}

/// Runs one statement that reads, for at most its time from now.
pub(super) fn run(
    connection: &mut Connection,
    asked: Asked<'_>,
    clock: &Arc<dyn Clock>,
) -> Result<Report, SystemFault> {
    Time::of(asked.plan, clock).hold(connection)?;
    read(connection, asked)
}

/// Runs one statement that reads, within the time that `connection` is held to.
///
/// Values become JSON as follows. NULL is null. An integer is a number, or a text beyond
/// ±(2^53 − 1), where readers of JSON round it. A real is a number. A text is a text, with U+FFFD
/// for what is not UTF-8. A BLOB and an infinity are faults: the statement has to encode them.
pub(super) fn read(connection: &Connection, asked: Asked<'_>) -> Result<Report, SystemFault> {
    let mut statement = compiled(connection, asked)?;
    if !statement.readonly() {
        return Err(failed("the statement of a read writes"));
    }
    let columns = columns(&statement)?;
    bind(&mut statement, asked)?;
    let mut gathered = Gathered::within(asked.plan.bounds);
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|error| failure(&error))? {
        if !gathered.has_room() || !gathered.keep(object(row, &columns)?) {
            break;
        }
    }
    Ok(gathered.report())
}

/// Runs one statement that changes rows, to its end, in the transaction that `connection` is in. The
/// rows that it changes itself are counted: not those that triggers and foreign keys change.
pub(super) fn change(connection: &Connection, asked: Asked<'_>) -> Result<Report, SystemFault> {
    let mut statement = compiled(connection, asked)?;
    if statement.readonly() {
        return Err(failed("the statement of an effect changes nothing"));
    }
    let columns = match statement.column_count() {
        0 => Vec::new(),
        _ => columns(&statement)?,
    };
    bind(&mut statement, asked)?;
    let mut gathered = Gathered::within(asked.plan.bounds);
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|error| failure(&error))? {
        // Beyond the bounds it is still run to its end: only then is it known what it changed.
        if gathered.has_room() {
            let _room = gathered.keep(object(row, &columns)?);
        }
    }
    drop(rows);
    drop(statement);
    Ok(Report { changed: connection.changes(), ..gathered.report() })
}

fn compiled<'c>(
    connection: &'c Connection,
    asked: Asked<'_>,
) -> Result<CachedStatement<'c>, SystemFault> {
    connection.prepare_cached(&asked.plan.statement).map_err(|error| failure(&error))
}

/// The names of the result's columns, if each has one of its own.
fn columns(statement: &Statement<'_>) -> Result<Vec<String>, SystemFault> {
    gather::distinct(statement.column_names().map(str::to_owned).collect())
}

/// Binds every placeholder. What the agent sent goes this way and no other.
fn bind(statement: &mut Statement<'_>, asked: Asked<'_>) -> Result<(), SystemFault> {
    let may_be_absent =
        |name: &str| asked.plan.parameters.iter().any(|known| known.name == name && known.optional);
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix(':'));
        let Some(name) = name else {
            return Err(failed(format!("placeholder {index} has no `:name`")));
        };
        let value = match asked.values.get(name) {
            Some(value) => bound(value),
            None if may_be_absent(name) => Bound::Null,
            None => return Err(failed(format!("there is no argument for placeholder `:{name}`"))),
        };
        statement
            .raw_bind_parameter(index, ToSqlOutput::Owned(value))
            .map_err(|error| failure(&error))?;
    }
    Ok(())
}

/// An argument as SQLite takes it: arrays and objects as JSON text, for `json_each`.
fn bound(value: &Value) -> Bound {
    match value {
        Value::Null => Bound::Null,
        Value::Bool(truth) => Bound::Integer((*truth).into()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Bound::Integer(integer),
            (None, Some(real)) => Bound::Real(real),
            (None, None) => Bound::Text(number.to_string()),
        },
        Value::String(text) => Bound::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => Bound::Text(value.to_string()),
    }
}

fn object(row: &Row<'_>, columns: &[String]) -> Result<Map<String, Value>, SystemFault> {
    let mut object = Map::new();
    for (index, column) in columns.iter().enumerate() {
        let value = row.get_ref(index).map_err(|error| failure(&error))?;
        object.insert(column.clone(), json(value, column)?);
    }
    Ok(object)
}

fn json(value: ValueRef<'_>, column: &str) -> Result<Value, SystemFault> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(integer) if integer.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs() => {
            Ok(integer.into())
        }
        ValueRef::Integer(integer) => Ok(integer.to_string().into()),
        ValueRef::Real(real) => Number::from_f64(real)
            .map(Value::Number)
            .ok_or_else(|| failed(format!("column `{column}` holds an infinity"))),
        ValueRef::Text(text) => Ok(String::from_utf8_lossy(text).into()),
        ValueRef::Blob(_) => Err(failed(format!(
            "column `{column}` holds a BLOB: encode it in the statement, as with `hex(…)`"
        ))),
    }
}

fn failed(detail: impl Into<String>) -> SystemFault {
    fault(SystemFaultKind::Failed, detail.into())
}

/// What a failure of SQLite means for the call.
pub(super) fn failure(error: &rusqlite::Error) -> SystemFault {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SystemFaultKind::Busy,
        // Nothing but the look at the clock interrupts a statement.
        Some(ErrorCode::OperationInterrupted) => {
            let detail = "the statement was stopped when its time was over".to_owned();
            return fault(SystemFaultKind::TimedOut, detail);
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure) => {
            SystemFaultKind::Unavailable
        }
        _ => SystemFaultKind::Failed,
    };
    fault(kind, error.to_string())
}
