//! The index's file: recognised, or made anew.

use crate::bound::FILLER_CACHE_KIB;
use crate::file::{beside, private};
use crate::sqlite::{StoreError, schema};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Marks the file as ours: "CSI1" as a big-endian number.
const APPLICATION_ID: i32 = 0x4353_4931;
/// Of the tables, and of what is put into them. Another one is made anew.
const VERSION: i32 = 1;

pub(super) const TABLES: &str = include_str!("schema.sql");

/// Where a journal's index lies: `journal.db` has `journal.index.db`.
pub(super) fn index_of(journal: &Path) -> PathBuf {
    let extension = journal.extension().map_or_else(Default::default, ToOwned::to_owned);
    let mut name = std::ffi::OsString::from("index");
    if !extension.is_empty() {
        name.push(".");
        name.push(extension);
    }
    journal.with_extension(name)
}

/// What the index has to know of its journal to be this one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin(String);

impl Origin {
    /// Of an open journal.
    pub(super) fn of(journal: &Connection) -> rusqlite::Result<Self> {
        let key: String =
            journal.query_row("SELECT value FROM meta WHERE name = 'public_key'", [], |row| {
                row.get(0)
            })?;
        let first: Option<String> = journal
            .query_row("SELECT stream FROM streams ORDER BY epoch LIMIT 1", [], |row| row.get(0))
            .optional()?;
        Ok(Self(format!("{key}/{}", first.unwrap_or_default())))
    }
}

/// Opens the index for writing. One that is not whole, or not of this journal as it is now, is made anew:
/// then the second value is `true`.
pub(super) fn open(path: &Path, journal: &Connection) -> Result<(Connection, bool), StoreError> {
    let origin = Origin::of(journal)?;
    if path.exists() {
        match connect(path).and_then(|index| Ok((is_of(&index, &origin, journal)?, index))) {
            Ok((true, index)) => return Ok((index, false)),
            Ok((false, _)) => tracing::info!("the index is of another journal or version"),
            Err(error) if is_damage(&error) => tracing::warn!(%error, "the index is damaged"),
            Err(error) => return Err(error.into()),
        }
    }
    make(path, &origin).map(|index| (index, true))
}

/// Whether it is not what an index is, rather than something else being in the way.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(..) => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        ),
        // What is in it has another form.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let index = Connection::open_with_flags(path, flags)?;
    index.set_prepared_statement_cache_capacity(32);
    index.pragma_update(None, "cache_size", FILLER_CACHE_KIB.saturating_neg())?;
    index.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Not OFF: after a power cut the file would pass for whole with pages missing. So it is synced when
    // its log is copied, now and then, and may be behind, which its own state says.
    index.pragma_update(None, "synchronous", "NORMAL")?;
    index.pragma_update(None, "trusted_schema", false)?;
    Ok(index)
}

fn is_of(index: &Connection, origin: &Origin, journal: &Connection) -> rusqlite::Result<bool> {
    if !is_ours(index)? || !schema::is_of(index, TABLES)? {
        return Ok(false);
    }
    let sound: String = index.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let (of, upto, hash): (String, i64, Vec<u8>) =
        index.query_row("SELECT journal, upto, hash FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    // The journal may have been put back to an earlier state of itself, and have gone on from there.
    let found: Option<Vec<u8>> = journal
        .query_row("SELECT hash FROM entries WHERE place = ?1", [upto], |row| row.get(0))
        .optional()?;
    let same = upto < 0 || found.is_some_and(|found| found == hash);
    Ok(sound == "ok" && of == origin.0 && same)
}

fn make(path: &Path, Origin(origin): &Origin) -> Result<Connection, StoreError> {
    for name in ["", "-wal", "-shm"] {
        let name = beside(path, name);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StoreError::file(&name)(error));
            }
            _ => {}
        }
    }
    // For this user alone. SQLite gives its other files the mode of this one.
    private(OpenOptions::new().write(true).create_new(true))
        .open(path)
        .map_err(StoreError::file(path))?;
    let mut index = connect(path)?;
    let transaction = index.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO state VALUES (1, ?1, -1, x'')", [origin])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(index)
}

/// What tells the file that has this name from one that had it before.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Opens the index to be asked.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let index = Connection::open_with_flags(path, flags)?;
    index.pragma_update(None, "trusted_schema", false)?;
    Ok(index)
}

fn is_ours(index: &Connection) -> rusqlite::Result<bool> {
    let pragma = |name| index.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    Ok((pragma("application_id")?, pragma("user_version")?) == (APPLICATION_ID, VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_has_the_journals_name() {
        let of = |name| index_of(Path::new(name)).display().to_string();
        assert_eq!(of("state/journal.db"), "state/journal.index.db");
        assert_eq!(of("state/journal"), "state/journal.index");
    }
}
