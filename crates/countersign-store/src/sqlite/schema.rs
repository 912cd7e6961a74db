//! The tables, by numbered forward migrations. `docs/audit-format.md` describes them.

use crate::sqlite::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Marks the file as ours: "CSJ1" as a big-endian number.
pub(crate) const APPLICATION_ID: i32 = 0x4353_4a31;

/// Each takes the store from the version that is its index to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The version that this program writes.
pub(crate) const VERSION: i32 = 1;

/// Brings a store to [`VERSION`]. A crash here leaves the version before, whole.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let from: i32 = pragma(connection, "user_version")?;
    let pending = MIGRATIONS.iter().zip(1..).skip(usize::try_from(from).unwrap_or(usize::MAX));
    for (migration, version) in pending {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update::<i32>(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Refuses a file that is no journal, and one that a newer program has written.
pub(crate) fn recognise(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let application: i32 = pragma(connection, "application_id")?;
    let found: i32 = pragma(connection, "user_version")?;
    if application != APPLICATION_ID || found < 1 {
        return Err(StoreError::NotAJournal(path.to_owned()));
    }
    if found > VERSION {
        return Err(StoreError::Newer { found, known: VERSION });
    }
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> Result<i32, StoreError> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

/// What of this version's schema is not as it should be, in words.
pub(crate) fn differences(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut fresh = Connection::open_in_memory()?;
    migrate(&mut fresh)?;
    let (expected, found) = (objects(&fresh)?, objects(connection)?);
    let missing = expected
        .iter()
        .filter(|object| !found.contains(object))
        .map(|(kind, name, _)| format!("the {kind} `{name}` is missing or was altered"));
    // Of any kind and any name: whoever can write SQLite's own table can call a trigger `sqlite_x`.
    let alien = found
        .iter()
        .filter(|object| !expected.contains(object))
        .map(|(kind, name, _)| format!("the {kind} `{name}` does not belong to the journal"));
    Ok(missing.chain(alien).collect())
}

/// Whether a database has these tables and indexes, and nothing else.
pub(crate) fn is_of(connection: &Connection, tables: &str) -> rusqlite::Result<bool> {
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(tables)?;
    Ok(objects(&fresh)? == objects(connection)?)
}

type Object = (String, String, Option<String>);

fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    connection
        .prepare("SELECT type, name, sql FROM sqlite_schema")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_reached_and_none_is_left_out() {
        assert_eq!(usize::try_from(VERSION), Ok(MIGRATIONS.len()));
        let mut connection = Connection::open_in_memory().unwrap();
        for _ in 0..2 {
            migrate(&mut connection).unwrap();
            recognise(&connection, Path::new("x")).unwrap();
        }
        assert_eq!(differences(&connection).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_dropped_guard_and_an_added_view_are_named() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute_batch("DROP TRIGGER entries_keep; CREATE VIEW v AS SELECT 1").unwrap();
        let found = differences(&connection).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("entries_keep") && found[1].contains('v'));
    }

    #[test]
    fn the_tables_refuse_to_be_rewritten() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO streams VALUES ('s', 1, 'open', 0, 0, 7, x'01', x'01');
                 INSERT INTO entries VALUES (7, 1, NULL, '{}', x'01');
                 INSERT INTO bodies VALUES (112, 'detail', x'00', x'01');
                 UPDATE streams SET head_seq = 8, head_hash = x'02'",
            )
            .unwrap();
        for refused in [
            "UPDATE entries SET header = '{}'",
            "DELETE FROM entries",
            "INSERT OR REPLACE INTO entries VALUES (7, 1, NULL, '', x'')",
            "UPDATE bodies SET body = x''",
            "DELETE FROM bodies",
            "INSERT OR REPLACE INTO bodies VALUES (112, 'detail', x'', x'')",
            "DELETE FROM streams",
            "UPDATE streams SET head_seq = 7",
            "UPDATE streams SET head_hash = x'03'",
            "UPDATE streams SET stream = 't'",
            "UPDATE streams SET state = 'closed', epoch = 0",
            "INSERT OR REPLACE INTO streams VALUES ('s', 1, 'open', 0, 0, 9, x'01', x'01')",
        ] {
            assert!(connection.execute_batch(refused).is_err(), "{refused}");
        }
    }
}
