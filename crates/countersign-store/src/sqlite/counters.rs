//! The table of counters: differences in, tallies out.

use crate::counters::Owed;
use countersign_core::id::Timestamp;
use countersign_core::quota::{Meter, Tally, Window};
use rusqlite::{Connection, params};

/// Adds what is owed, in the transaction of the entries that it belongs to: a crash keeps both or
/// neither. A window that began later replaces an earlier one, never the other way.
pub(super) fn add(connection: &Connection, owed: &Owed) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO counters VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET
           count = excluded.count + iif(excluded.started = started, count, 0),
           last = max(excluded.last, iif(excluded.started = started, last, excluded.last)),
           started = excluded.started
         WHERE excluded.started >= started",
    )?;
    for (window, key, Tally { started, last, count }) in owed.iter() {
        statement.execute(params![window.as_str(), key, started.micros(), last.micros(), count])?;
    }
    Ok(())
}

/// Puts the tallies of an earlier process back, so that a restart is no way around a limit.
pub(super) fn restore(
    connection: &Connection,
    meter: &mut Meter,
    now: Timestamp,
) -> rusqlite::Result<()> {
    for (window, key, tally) in read(connection)? {
        // A window this program does not know is another version's: it limits nothing here.
        if let Some(window) = Window::parse(&window)
            && !tally.ended(window, now)
        {
            meter.restore(key, window, tally);
        }
    }
    Ok(())
}

/// Deletes tallies of windows that are over.
pub(super) fn sweep(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let mut delete = connection.prepare("DELETE FROM counters WHERE window = ?1 AND key = ?2")?;
    for (window, key, tally) in read(connection)? {
        if Window::parse(&window).is_none_or(|window| tally.ended(window, now)) {
            delete.execute(params![window, key])?;
        }
    }
    Ok(())
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Tally)>> {
    connection
        .prepare("SELECT window, key, started, last, count FROM counters")?
        .query_map([], |row| {
            let tally = Tally {
                started: Timestamp::from_micros(row.get(2)?),
                last: Timestamp::from_micros(row.get(3)?),
                count: row.get(4)?,
            };
            Ok((row.get(0)?, row.get(1)?, tally))
        })?
        .collect()
}
