//! The table of counters: differences in, tallies out.

use crate::counters::{self, Charges, Owed};
use crate::place;
use countersign_core::id::Timestamp;
use countersign_core::quota::{Charge, Meter, Tally, Window};
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
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        statement.execute(params![window.as_str(), key, started.micros(), last.micros(), count])?;
    }
    Ok(())
}

/// Takes back what was charged and not used, as far as its window is still the same.
pub(super) fn subtract(connection: &Connection, returned: &[Charge]) -> rusqlite::Result<()> {
    for Charge { key, window, started, amount, at: _ } in returned {
        let amount = i64::try_from(*amount).unwrap_or(i64::MAX);
        connection
            .prepare_cached(
                "UPDATE counters SET count = max(0, count - ?4)
                 WHERE window = ?1 AND key = ?2 AND started = ?3",
            )?
            .execute(params![window.as_str(), key, started.micros(), amount])?;
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
    restore_alike(connection, meter, now)
}

/// What the table does not keep ([`tabled`](counters::tabled)), from the intents of the last minute.
fn restore_alike(
    connection: &Connection,
    meter: &mut Meter,
    now: Timestamp,
) -> rusqlite::Result<()> {
    const MINUTE_US: i64 = 60 * 1_000_000;
    let mut intents = connection.prepare(
        "SELECT entries.at, bodies.body FROM entries JOIN bodies
           ON bodies.place >= entries.place << ?3 AND bodies.place < (entries.place + 1) << ?3
         WHERE entries.at > ?1 AND json_extract(entries.header, '$.kind') = 'intent'
           AND bodies.field = ?2",
    )?;
    let since = now.micros().saturating_sub(MINUTE_US);
    let mut rows = intents.query(params![since, counters::FIELD, place::BODY_BITS])?;
    while let Some(row) = rows.next()? {
        let (at, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        // What is no list of charges is for `audit verify` to find.
        let charges = Charges::decode(&body).unwrap_or_default();
        for (window, key, tally) in charges.tallies(Timestamp::from_micros(at)) {
            if window == Window::Alike && !tally.ended(window, now) {
                meter.restore(key, window, tally);
            }
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
                count: u64::try_from(row.get::<_, i64>(4)?).unwrap_or_default(),
            };
            Ok((row.get(0)?, row.get(1)?, tally))
        })?
        .collect()
}
