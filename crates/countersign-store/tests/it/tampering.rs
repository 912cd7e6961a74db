//! Whatever is done to the file without the key, `verify` says so.

use crate::support::{
    Place, alert, append, at, brought, call, commit_of, delegating, delegation, delivering, draft,
    intent, moving, previewing, proposing, refused, resolving, resuming, returning, suspending,
    way_to,
};
use countersign_core::chain::{self, GENESIS};
use countersign_core::draft::{State, Step, Switch};
use countersign_core::id::{Digest, ToolName};
use countersign_core::port::Journal as _;
use countersign_core::record::{Entry, Kind};
use countersign_store::audit::{Filter, Known, Reader, verify};
use countersign_store::{PublicKey, SqliteStore};
use proptest::prelude::*;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Three streams: one ended, one cut off in the middle of two calls, one that recovered those calls.
/// In each a draft was carried out, one was not, and one was carried out with an outcome that a person
/// had to tell; something was switched off and on again, and something off. Two people let somebody stand in: one of
/// them another after that, and in the stead of the other a draft was approved before they were back.
pub(crate) static ORIGINAL: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    for process in 0..3 {
        let store = place.open();
        let posture =
            Entry::new(Kind::PostureLoaded, at(9)).with("posture", "9f").with("status", "loaded");
        let posture = append(&store, posture).unwrap();
        append(&store, alert("out_of_scope", &posture)).unwrap();
        call(&store, &format!("call_{process}_a"));
        store.note(refused(&format!("call_{process}_r"), "forbidden", at(12)));
        call(&store, &format!("call_{process}_b"));
        decided(&store, process);
        if process == 1 {
            append(&store, intent("call_cut_off", "reversible")).unwrap();
            let cut_off = draft("drf_cut_off", "cut off", at(10));
            brought(&store, &cut_off, way_to(State::Committing));
        } else {
            store.close().unwrap();
        }
    }
    place
});

/// What people decided about.
fn decided(store: &SqliteStore, process: usize) {
    let named = |what: &str| {
        let id = format!("drf_{process}_{what}");
        draft(&id, &id, at(10))
    };
    let [done, refused, lost] = ["done", "refused", "lost"].map(named);
    brought(store, &done, way_to(State::Executed));
    append(store, delivering(&done)).unwrap();
    append(store, previewing(&done)).unwrap();
    brought(store, &refused, way_to(State::Rejected));
    append(store, previewing(&refused)).unwrap();
    brought(store, &lost, way_to(State::Unknown));
    append(store, resolving(&commit_of(&lost), Some(&lost), true)).unwrap();
    let tool = |name: String| Switch::Tool(ToolName::new(name).unwrap());
    append(store, suspending(&tool(format!("off_{process}")), "op")).unwrap();
    let again = tool(format!("on_{process}"));
    append(store, suspending(&again, "op")).unwrap();
    append(store, resuming(&again)).unwrap();
    let away = |what: &str| format!("dlg_{process}_{what}");
    let (first, second, ended) = (away("first"), away("second"), away("ended"));
    let name = |who: &str| format!("{who}_{process}");
    let of = |id: &str, who: &str| delegation(id, (&name(who), "pat"), (10, 900));
    append(store, delegating(&of(&first, "sam"), None)).unwrap();
    append(store, delegating(&of(&second, "sam"), Some(&first))).unwrap();
    append(store, delegating(&of(&ended, "lee"), None)).unwrap();
    let stead = named("stead");
    append(store, proposing(&stead)).unwrap();
    append(store, moving(&stead, Step::Approve).with("delegation", ended.as_str())).unwrap();
    append(store, returning(&ended)).unwrap();
}

/// A copy to tamper with.
pub(crate) fn copy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::copy(&ORIGINAL.config.path, &path).unwrap();
    (folder, path)
}

/// What the whole journal shows, or that it cannot be read.
fn shown(path: &Path) -> Option<Vec<countersign_core::reading::Record>> {
    Reader::open(path).ok()?.query(&Filter::default()).ok()
}

/// Runs `tamper` with every guard out of the way, and puts the guards back, so that their absence
/// is not what is found.
pub(crate) fn unguarded(path: &Path, tamper: impl FnOnce(&Connection) -> bool) -> bool {
    let connection = Connection::open(path).unwrap();
    // Hundreds of copies are tampered with; none need survive a power failure.
    connection.pragma_update(None, "synchronous", false).unwrap();
    let guards: Vec<(String, String, String)> = connection
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'index') AND sql IS NOT NULL")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (kind, name, _) in &guards {
        connection.execute_batch(&format!("DROP {kind} {name}")).unwrap();
    }
    let changed = tamper(&connection);
    for (_, _, sql) in &guards {
        // An index over a header that is no JSON any more cannot be made; so be it.
        drop(connection.execute_batch(sql));
    }
    changed
}

fn keyed(key: Option<PublicKey>) -> Known {
    Known { key, ..Known::default() }
}

/// What `verify` finds in the streams themselves, given this key.
pub(crate) fn found(path: &Path, key: Option<PublicKey>) -> Vec<String> {
    let findings = verify(path, &keyed(key)).unwrap().findings;
    findings.iter().filter(|f| f.stream.is_some()).map(ToString::to_string).collect()
}

fn assert_found(tamper: impl FnOnce(&Connection)) {
    let (_folder, path) = copy();
    unguarded(&path, |connection| {
        tamper(connection);
        true
    });
    // With the key of whoever verifies, and with nothing but the file.
    assert_ne!(found(&path, Some(ORIGINAL.key)), [""; 0]);
    assert_ne!(found(&path, None), [""; 0]);
}

#[test]
fn an_untouched_journal_verifies_clean() {
    let (_folder, path) = copy();
    assert!(unguarded(&path, |_| true));
    for key in [Some(ORIGINAL.key), None] {
        let verified = verify(&path, &keyed(key)).unwrap();
        assert_eq!((verified.findings, verified.waiting), (vec![], 0));
        assert_eq!((verified.streams.len(), verified.key), (3, Some(ORIGINAL.key)));
    }
    assert!(shown(&path).unwrap().len() > 20);
}

#[test]
fn another_key_is_found() {
    let other = PublicKey::parse(&"07".repeat(32)).unwrap();
    assert!(found(&ORIGINAL.config.path, Some(other)).len() >= 3);
}

/// The columns that `query` shows or `verify` rests on, with what tells their rows apart.
const CELLS: [(&str, &str, &str); 9] = [
    ("entries", "header", "place || ''"),
    ("entries", "hash", "place || ''"),
    ("entries", "call", "place || ''"),
    ("bodies", "field", "place || ''"),
    ("bodies", "salt", "place || ''"),
    ("bodies", "body", "place || ''"),
    ("streams", "head_hash", "stream"),
    ("streams", "signature", "stream"),
    ("streams", "stream", "stream"),
];

#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    /// One bit of one cell.
    Flip { cell: usize, row: usize, bit: usize },
    /// One row.
    Delete { cell: usize, row: usize },
    /// A copy of a row under another key.
    Duplicate { cell: usize, row: usize },
    /// The contents of one column of two rows.
    Swap { cell: usize, row: usize, other: usize },
    /// The head, one up or down.
    Head { row: usize, up: bool },
}

pub(crate) fn mutations() -> impl Strategy<Value = Mutation> {
    let cell = 0..CELLS.len();
    let row = any::<prop::sample::Index>().prop_map(|i| i.index(10_000));
    prop_oneof![
        4 => (cell.clone(), row.clone(), any::<usize>()).prop_map(|(cell, row, bit)| Mutation::Flip { cell, row, bit }),
        2 => (cell.clone(), row.clone()).prop_map(|(cell, row)| Mutation::Delete { cell, row }),
        2 => (cell.clone(), row.clone()).prop_map(|(cell, row)| Mutation::Duplicate { cell, row }),
        3 => (cell, row.clone(), row.clone()).prop_map(|(cell, row, other)| Mutation::Swap { cell, row, other }),
        1 => (row, any::<bool>()).prop_map(|(row, up)| Mutation::Head { row, up }),
    ]
}

fn keys(connection: &Connection, (table, _, key): (&str, &str, &str)) -> Vec<String> {
    connection
        .prepare(&format!("SELECT {key} FROM {table} ORDER BY 1"))
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn read(connection: &Connection, (table, column, key): (&str, &str, &str), row: &str) -> Vec<u8> {
    connection
        .query_row(
            &format!(
                "SELECT CAST(coalesce({column}, 'none') AS BLOB) FROM {table} WHERE {key} = ?1"
            ),
            [row],
            |row| row.get(0),
        )
        .unwrap()
}

/// Whether it went through: a text that is no UTF-8, or a key that is taken, may be refused.
fn write(
    connection: &Connection,
    (table, column, key): (&str, &str, &str),
    row: &str,
    bytes: &[u8],
) -> bool {
    let kind =
        if matches!(column, "header" | "call" | "field" | "stream") { "TEXT" } else { "BLOB" };
    connection
        .execute(
            &format!("UPDATE {table} SET {column} = CAST(?2 AS {kind}) WHERE {key} = ?1"),
            params![row, bytes],
        )
        .is_ok_and(|changed| changed == 1)
}

pub(crate) fn apply(connection: &Connection, mutation: &Mutation) -> bool {
    let pick = |cell: usize, row: usize| {
        let keys = keys(connection, CELLS[cell]);
        keys[row % keys.len()].clone()
    };
    match *mutation {
        Mutation::Flip { cell, row, bit } => {
            let row = pick(cell, row);
            let mut bytes = read(connection, CELLS[cell], &row);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            write(connection, CELLS[cell], &row, &bytes)
        }
        Mutation::Delete { cell, row } => {
            let (table, _, key) = CELLS[cell];
            let row = pick(cell, row);
            connection.execute(&format!("DELETE FROM {table} WHERE {key} = ?1"), [row]).unwrap()
                == 1
        }
        Mutation::Duplicate { cell, row } => {
            let (table, _, key) = CELLS[cell];
            let row = pick(cell, row);
            let columns = match table {
                "entries" => "SELECT (SELECT max(place) + 1 FROM entries), at, call, header, hash",
                "bodies" => "SELECT place + 5, field, salt, body",
                _ => {
                    "SELECT 'forged', epoch + 100, state, lease_until, settled, head_seq, head_hash, signature"
                }
            };
            connection
                .execute(
                    &format!("INSERT INTO {table} {columns} FROM {table} WHERE {key} = ?1"),
                    [row],
                )
                .unwrap()
                == 1
        }
        Mutation::Swap { cell, row, other } => {
            let (row, other) = (pick(cell, row), pick(cell, other));
            let (a, b) =
                (read(connection, CELLS[cell], &row), read(connection, CELLS[cell], &other));
            let key_itself = matches!(CELLS[cell].1, "field" | "stream");
            a != b
                && !key_itself
                && write(connection, CELLS[cell], &row, &b)
                && write(connection, CELLS[cell], &other, &a)
        }
        Mutation::Head { row, up } => {
            let row = pick(CELLS.len() - 1, row);
            let step = if up { 1 } else { -1 };
            connection
                .execute(
                    "UPDATE streams SET head_seq = head_seq + ?2 WHERE stream = ?1",
                    params![row, step],
                )
                .unwrap()
                == 1
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_single_change_by_sql_is_found(mutation in mutations()) {
        let (_folder, path) = copy();
        let changed = unguarded(&path, |connection| apply(connection, &mutation));
        prop_assume!(changed);
        prop_assert!(!found(&path, Some(ORIGINAL.key)).is_empty());
        prop_assert!(!found(&path, None).is_empty());
    }

    /// Below SQL, where there are no guards: what `query` shows is either as it was, or `verify`
    /// does not call the journal good.
    #[test]
    fn a_flipped_bit_of_the_file_that_changes_what_is_shown_is_found(at in any::<prop::sample::Index>(), bit in 0..8) {
        let (_folder, path) = copy();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        std::fs::write(&path, bytes).unwrap();
        if shown(&path) != shown(&ORIGINAL.config.path) {
            let verified = verify(&path, &ORIGINAL.known());
            prop_assert!(verified.is_err() || verified.is_ok_and(|v| !v.findings.is_empty()));
        }
    }
}

/// Where a stream's rows begin in a table, and where the next one's.
fn places(connection: &Connection, stream: &str, table: &str) -> (i64, i64) {
    let bits = if table == "bodies" { 44 } else { 40 };
    connection
        .query_row(
            "SELECT epoch << ?2, (epoch + 1) << ?2 FROM streams WHERE stream = ?1",
            params![stream, bits],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap()
}

/// The streams, oldest first.
pub(crate) fn streams(connection: &Connection) -> Vec<String> {
    let cell = ("streams", "stream", "printf('%05d/', epoch) || stream");
    keys(connection, cell).iter().map(|key| key.split_once('/').unwrap().1.to_owned()).collect()
}

#[test]
fn a_tail_cut_off_with_its_head_put_back_is_found() {
    for stream in 0..3 {
        for cut in 1..4 {
            assert_found(|connection| {
                let stream = &streams(connection)[stream];
                for table in ["entries", "bodies"] {
                    let (first, last) = places(connection, stream, table);
                    let head = "(SELECT head_seq FROM streams WHERE stream = ?1) - ?2";
                    let sql = format!(
                        "DELETE FROM {table} WHERE place < {last}
                           AND place >= {first} + ({head} + 1) * (({last} - {first}) >> 40)"
                    );
                    connection.execute(&sql, params![stream, cut]).unwrap();
                }
                connection
                    .execute(
                        "UPDATE streams SET state = 'open', (head_seq, head_hash) =
                           (SELECT place & 0xffffffffff, hash FROM entries
                             WHERE place >> 40 = epoch ORDER BY place DESC LIMIT 1)
                         WHERE stream = ?1",
                        [stream],
                    )
                    .unwrap();
            });
        }
    }
}

#[test]
fn a_forged_entry_that_follows_from_the_last_one_is_found() {
    for stream in 0..3 {
        assert_found(|connection| {
            let stream = &streams(connection)[stream];
            let (seq, hash): (i64, [u8; 32]) = connection
                .query_row(
                    "SELECT head_seq, head_hash FROM streams WHERE stream = ?1",
                    [stream],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .unwrap();
            let (first, _) = places(connection, stream, "entries");
            let header = format!(
                r#"{{"at":12,"fields":{{}},"kind":"refusal","seq":{},"stream":"{stream}","v":1}}"#,
                seq + 1
            );
            let hash = chain::link(&Digest::from_bytes(hash), header.as_bytes());
            connection
                .execute(
                    "INSERT INTO entries VALUES (?1, 12, NULL, ?2, ?3)",
                    params![first + seq + 1, header, hash.as_bytes()],
                )
                .unwrap();
        });
    }
}

#[test]
fn a_head_that_is_not_the_last_entry_is_found() {
    let place = Place::new();
    let store = place.open();
    call(&store, "call_a");
    assert_eq!(found(&place.config.path, Some(place.key)), [""; 0]);
    let connection = Connection::open(&place.config.path).unwrap();
    connection
        .execute_batch("DROP TRIGGER streams_ahead; UPDATE streams SET head_seq = head_seq - 1")
        .unwrap();
    let found = found(&place.config.path, Some(place.key));
    assert!(found.iter().any(|what| what.contains("its head is entry")), "{found:?}");
}

#[test]
fn a_stream_hidden_from_recovery_is_found() {
    let place = Place::new();
    let store = place.open();
    append(&store, intent("call_hidden", "reversible")).unwrap();
    drop(store);
    let connection = Connection::open(&place.config.path).unwrap();
    connection.execute_batch("UPDATE streams SET state = 'settled'").unwrap();
    let store = place.open();
    assert_eq!(store.recovered(), 0);
    let found = found(&place.config.path, Some(place.key));
    assert!(found.iter().any(|what| what.contains("no later stream names")), "{found:?}");
    drop(store);

    let place = Place::new();
    let store = place.open();
    append(&store, intent("call_hidden", "reversible")).unwrap();
    drop(store);
    let connection = Connection::open(&place.config.path).unwrap();
    connection.execute_batch("UPDATE streams SET settled = 99").unwrap();
    let store = place.open();
    assert_eq!(store.recovered(), 0);
    let found = self::found(&place.config.path, Some(place.key));
    assert!(found.iter().any(|what| what.contains("`call_hidden` has no outcome")), "{found:?}");
}

#[test]
fn a_stream_taken_out_whole_is_found() {
    for stream in 0..3 {
        assert_found(|connection| {
            let stream = &streams(connection)[stream];
            for table in ["entries", "bodies"] {
                let places = places(connection, stream, table);
                let sql = format!("DELETE FROM {table} WHERE place >= ?1 AND place < ?2");
                connection.execute(&sql, places).unwrap();
            }
            connection.execute("DELETE FROM streams WHERE stream = ?1", [stream]).unwrap();
        });
    }
}

#[test]
fn a_journal_emptied_whole_is_found() {
    let (_folder, path) = copy();
    unguarded(&path, |connection| {
        connection
            .execute_batch("DELETE FROM entries; DELETE FROM bodies; DELETE FROM streams; UPDATE meta SET value = '' WHERE name = 'latest_stream'")
            .is_ok()
    });
    assert_ne!(verify(&path, &Known::default()).unwrap().findings, []);
}

/// Everything after a forged header hashed anew, heads too: only signatures can tell, or what the records
/// say of one another.
pub(crate) fn rewrite(
    connection: &Connection,
    stream: &str,
    mut change: impl FnMut(&str) -> String,
) {
    let headers: Vec<(i64, String)> = connection
        .prepare(
            "SELECT place, header FROM entries WHERE place >= ?1 AND place < ?2 ORDER BY place",
        )
        .unwrap()
        .query_map(places(connection, stream, "entries"), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut head: Digest = GENESIS;
    for (place, header) in headers {
        let header = change(&header);
        head = chain::link(&head, header.as_bytes());
        connection
            .execute(
                "UPDATE entries SET header = ?2, hash = ?3 WHERE place = ?1",
                params![place, header, head.as_bytes()],
            )
            .unwrap();
    }
    connection
        .execute(
            "UPDATE streams SET head_hash = ?2 WHERE stream = ?1",
            params![stream, head.as_bytes()],
        )
        .unwrap();
}

#[test]
fn a_chain_written_anew_without_the_key_is_found() {
    for stream in 0..3 {
        assert_found(|connection| {
            let stream = &streams(connection)[stream];
            rewrite(connection, stream, |header| header.replace("acct_alpha", "acct_bravo"));
        });
    }
}

#[test]
fn an_index_that_hides_an_entry_is_found() {
    let (_folder, path) = copy();
    let connection = Connection::open(&path).unwrap();
    let kept: String = connection
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'entries_by_time'", [], |row| {
            row.get(0)
        })
        .unwrap();
    connection
        .execute_batch(&format!("DROP INDEX entries_by_time; {kept} WHERE at <> 12000000"))
        .unwrap();
    let findings = verify(&path, &Known::default()).unwrap().findings;
    assert!(findings.iter().any(|f| f.what.contains("entries_by_time")), "{findings:?}");
}
