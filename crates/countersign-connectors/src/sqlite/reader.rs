//! Connections to the one file they were opened for: those that can only read, and the walls that
//! those that write stand within as well.
//!
//! Every wall of a reader would do alone: the file is opened read-only, the engine is told to refuse
//! writes, and the authorizer admits nothing but reading.

use super::{SqliteSystem, query};
use crate::fault;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, OpenFlags};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Longest text, BLOB or row that SQLite may hold, in bytes.
const VALUE_BYTES_MAX: i32 = 8 * 1024 * 1024;
/// Longest statement, those of the schema included, in bytes.
const STATEMENT_BYTES_MAX: i32 = 256 * 1024;
/// Longest pattern of `like` and `glob`, in bytes: matching is one step to the engine, so that no
/// timeout interrupts it.
const PATTERN_BYTES_MAX: i32 = 1_024;
/// Statements kept compiled per connection.
const STATEMENTS_CACHED_MAX: usize = 64;

/// Which file a path led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Of the file that is there now. Asks without opening it: closing any descriptor of a database
    /// would give up the locks that SQLite holds on it.
    pub(super) fn of(path: &Path) -> Result<Self, SystemFault> {
        let metadata = std::fs::metadata(path).map_err(|error| unavailable(path, &error))?;
        if !metadata.is_file() {
            return Err(unavailable(path, &"it is not a file"));
        }
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

fn unavailable(path: &Path, why: &dyn std::fmt::Display) -> SystemFault {
    fault(SystemFaultKind::Unavailable, format!("`{}` cannot be opened: {why}", path.display()))
}

/// A connection that can only read.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
}

impl Reader {
    pub(super) fn open(system: &SqliteSystem) -> Result<Self, SystemFault> {
        let mut connection = open(system, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection
            .pragma_update(None, "query_only", true)
            .and_then(|()| connection.authorizer(Some(reads_only)))
            .map_err(|error| query::failure(&error))?;
        log(&mut connection, system)?;
        Ok(Self { connection })
    }
}

/// Opens the file, without leave for anything yet.
pub(super) fn open(system: &SqliteSystem, how: OpenFlags) -> Result<Connection, SystemFault> {
    // An absolute path cannot be taken for a `file:` URI, which could ask for more than reading.
    let path = system.path.canonicalize().map_err(|error| unavailable(&system.path, &error))?;
    let flags = how | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags);
    let connection = connection.map_err(|error| query::failure(&error))?;
    restrict(&connection).map_err(|error| query::failure(&error))?;
    Ok(connection)
}

/// Has the engine write down what it runs from here on, if the system says where.
pub(super) fn log(connection: &mut Connection, system: &SqliteSystem) -> Result<(), SystemFault> {
    let Some(log) = &system.statement_log else { return Ok(()) };
    attach_log(connection, log).map_err(|error| unavailable(log, &error))
}

fn restrict(connection: &Connection) -> rusqlite::Result<()> {
    for (limit, max) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT_BYTES_MAX),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, max)?;
    }
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        // `"acct"` is a column or an error, never quietly a text.
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        connection.set_db_config(setting, on)?;
    }
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    Ok(())
}

/// Asked for each thing that a statement would do, when it is compiled.
pub(super) fn reads_only(asked: AuthContext<'_>) -> Authorization {
    match asked.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } if function_name != "load_extension" => {
            Authorization::Allow
        }
        // Full-text indexes ask this of themselves.
        AuthAction::Pragma { pragma_name: "data_version", pragma_value: None } => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

fn attach_log(connection: &mut Connection, path: &Path) -> Result<(), io::Error> {
    let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let trace = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, text) = event
            && let Err(error) = write_line(&mut log, &statement.expanded_sql(), text)
        {
            tracing::error!(%error, "a line of a statement log is lost");
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace)).map_err(io::Error::other)
}

/// One write, so that the lines of several connections do not mix.
fn write_line(log: &mut File, expanded: &Option<String>, text: &str) -> io::Result<()> {
    // A remark (a trigger begins) and a statement too long to expand are written as they are.
    let text = expanded.as_deref().filter(|_| !text.starts_with("--")).unwrap_or(text);
    let line = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    log.write_all(format!("{line}\n").as_bytes())
}
