//! One statement: bound, run and read back within its bounds; and what its failure means.

use super::value::{Cell, Text, json, text};
use super::wire::TooLong;
use crate::fault;
use crate::gather::{self, Gathered};
use crate::leave::{Asked, unknown};
use countersign_core::ladder::Affects;
use countersign_core::port::Report;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use countersign_core::tool::{Parameter, ResultBounds};
use futures_util::TryStreamExt;
use serde_json::{Map, Value};
use std::error::Error as _;
use std::{io, pin::pin};
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{Portal, Row, RowStream, Statement, Transaction};

/// A statement with its values, at the server.
pub(super) struct Bound {
    portal: Portal,
    columns: Vec<String>,
    bounds: ResultBounds,
}

/// The rows that come back for it.
pub(super) struct Rows {
    rows: RowStream,
    columns: Vec<String>,
    bounds: ResultBounds,
}

impl Bound {
    /// Binds the values of a statement that reads.
    pub(super) async fn new(
        transaction: &Transaction<'_>,
        statement: &Statement,
        asked: Asked<'_>,
    ) -> Result<Self, SystemFault> {
        let columns = gather::distinct(names(statement))?;
        let values = bound(asked, statement.params())?;
        let portal = transaction.bind_raw(statement, values).await;
        let portal = portal.map_err(|error| failure(&error))?;
        Ok(Self { portal, columns, bounds: asked.plan.bounds })
    }

    /// Asks for one row more than may come back, which tells whether there were more.
    pub(super) async fn fetch(self, transaction: &Transaction<'_>) -> Result<Rows, SystemFault> {
        let Self { portal, columns, bounds } = self;
        let rows_max = i32::try_from(bounds.rows_max.saturating_add(1)).unwrap_or(i32::MAX);
        let rows = transaction.query_portal_raw(&portal, rows_max).await;
        Ok(Rows { rows: rows.map_err(|error| failure(&error))?, columns, bounds })
    }
}

impl Rows {
    /// Gathers them. What comes beyond the bounds is thrown away as it comes.
    pub(super) async fn gather(self) -> Result<Report, SystemFault> {
        let Self { rows, columns, bounds } = self;
        let mut rows = pin!(rows);
        let mut gathered = Gathered::within(bounds);
        while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
            if !gathered.has_room() || !gathered.keep(object(&row, &columns)?) {
                break;
            }
        }
        Ok(gathered.report())
    }
}

/// Runs one statement that changes rows, and says how many. No more come back than it may change:
/// if there are more, it changed too many, and the server has not said how many.
pub(super) async fn change(
    transaction: &Transaction<'_>,
    statement: &Statement,
    asked: Asked<'_>,
    affects: Affects,
) -> Result<Report, SystemFault> {
    let columns = match statement.columns() {
        [] => Vec::new(),
        _ => gather::distinct(names(statement))?,
    };
    let values = bound(asked, statement.params())?;
    let portal = transaction.bind_raw(statement, values).await;
    let portal = portal.map_err(|error| failure(&error))?;
    let most = i32::try_from(affects.max.saturating_add(1)).unwrap_or(i32::MAX);
    let rows = transaction.query_portal_raw(&portal, most).await;
    let mut rows = pin!(rows.map_err(|error| failure(&error))?);
    let mut gathered = Gathered::within(asked.plan.bounds);
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        if gathered.has_room() {
            let _room = gathered.keep(object(&row, &columns)?);
        }
    }
    let Some(changed) = rows.rows_affected() else {
        let detail = format!("the statement changed more than {} rows", affects.max);
        return Err(fault(SystemFaultKind::PostCondition, detail));
    };
    Ok(Report { changed, ..gathered.report() })
}

/// Whether what the server counts for a statement is what that statement changed. Of one that begins
/// with anything else, `select` or `with`, it counts the rows that come back.
pub(super) fn changes_rows(statement: &str) -> bool {
    let word = begins_with(statement).to_ascii_lowercase();
    matches!(word.as_str(), "insert" | "update" | "delete" | "merge")
}

/// The first word after blanks and remarks.
fn begins_with(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    loop {
        let remark = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(line), _) => line.split_once('\n'),
            // One inside another is read otherwise by the server, and by nobody here.
            (None, Some(remark)) => {
                remark.split_once("*/").filter(|(inside, _)| !inside.contains("/*"))
            }
            (None, None) => {
                let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                return rest.get(..end).unwrap_or_default();
            }
        };
        rest = remark.map_or("", |(_, after)| after.trim_start());
    }
}

fn names(statement: &Statement) -> Vec<String> {
    statement.columns().iter().map(|column| column.name().to_owned()).collect()
}

/// The values in the order of the statement's `$n`. What the agent sent goes this way and no other.
fn bound(asked: Asked<'_>, types: &[Type]) -> Result<Vec<Text>, SystemFault> {
    let parameters = &asked.plan.parameters;
    if parameters.len() != types.len() {
        let (known, wanted) = (parameters.len(), types.len());
        return Err(failed(format!(
            "the statement has {wanted} parameters, and {known} are known"
        )));
    }
    let value = |(parameter, wanted): (&Parameter, &Type)| {
        let name = &parameter.name;
        let value = match asked.values.get(name) {
            Some(value) => value,
            None if parameter.optional => &Value::Null,
            None => return Err(failed(format!("there is no argument for placeholder `:{name}`"))),
        };
        text(value, wanted)
            .map_err(|why| failed(format!("`:{name}` cannot be bound as {wanted}: {why}")))
    };
    parameters.iter().zip(types).map(value).collect()
}

fn object(row: &Row, columns: &[String]) -> Result<Map<String, Value>, SystemFault> {
    let mut object = Map::new();
    for ((index, name), column) in columns.iter().enumerate().zip(row.columns()) {
        let Cell(bytes) = row.try_get(index).map_err(|error| failure(&error))?;
        let value = json(column.type_(), bytes)
            .map_err(|why| failed(format!("column `{name}` holds {why}")))?;
        object.insert(name.clone(), value);
    }
    Ok(object)
}

fn failed(detail: String) -> SystemFault {
    fault(SystemFaultKind::Failed, detail)
}

/// What a failure of a statement means for the call.
pub(super) fn failure(error: &tokio_postgres::Error) -> SystemFault {
    fault(kind(error), said(error))
}

/// What a failure of COMMIT means. The server that says `ERROR` has rolled back: after the point of
/// no return it would have said `FATAL` or `PANIC`. Whatever else comes, or nothing: nobody knows.
pub(super) fn uncommitted(error: &tokio_postgres::Error) -> SystemFault {
    let said = error.as_db_error();
    let rolled_back = said.is_some_and(|said| {
        // Classes of a broken connection, and of a server or a proxy that does not know itself.
        let vague = matches!(said.code().code().get(..2), Some("08" | "57" | "58" | "XX"));
        let vague = vague || said.code() == &SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN;
        said.parsed_severity() == Some(Severity::Error) && !vague
    });
    let fault = failure(error);
    if rolled_back { fault } else { unknown(fault) }
}

fn kind(error: &tokio_postgres::Error) -> SystemFaultKind {
    let Some(state) = error.code() else {
        // Without an answer of the server there is either no connection or no sense in it.
        let io = error.source().and_then(|why| why.downcast_ref::<io::Error>());
        let too_long = |io: &io::Error| io.get_ref().is_some_and(|why| why.is::<TooLong>());
        let lost = error.is_closed() || io.is_some_and(|io| !too_long(io));
        return if lost { SystemFaultKind::Unavailable } else { SystemFaultKind::Failed };
    };
    // Appendix A of PostgreSQL's manual: the first two characters are the class.
    match (state, state.code().get(..2)) {
        (&SqlState::QUERY_CANCELED, _) => SystemFaultKind::TimedOut,
        (&SqlState::LOCK_NOT_AVAILABLE, _) | (_, Some("40" | "53")) => SystemFaultKind::Busy,
        (_, Some("08" | "57")) => SystemFaultKind::Unavailable,
        _ => SystemFaultKind::Failed,
    }
}

/// An error with its causes, for the journal.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", database.message(), database.code().code());
    }
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        said = format!("{said}: {why}");
        cause = why.source();
    }
    said
}
