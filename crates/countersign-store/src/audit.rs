//! Reading the journal, while a gateway may be writing it.
//!
//! What is shown comes from the headers, which the chain covers, and from the bodies that a header
//! commits to; from nothing else in the file. Whether they are genuine, [`verify`] says.

mod verify;

use crate::place;
use crate::sqlite::{StoreError, schema};
use countersign_core::id::Timestamp;
use countersign_core::reading::{Behind, Cursor, Parts, Record};
use countersign_core::record::Kind;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params_from_iter};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use verify::{Finding, Known, StreamHead, Verification, verify};

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database failed.
    #[error("the journal's database failed")]
    Database(#[from] rusqlite::Error),
    /// There is nothing yet that says where to look.
    #[error("the journal's index is being made: ask again in a moment")]
    NotIndexed,
    /// What room there is is for the journal.
    #[error("the file system has too little room left for the journal's index")]
    NoRoom,
    /// One question counts only so much.
    #[error(
        "that is too much to be counted at once: ask for less time, or for steps of whole days"
    )]
    TooMuch,
    /// A header is not what a header is.
    #[error(
        "entry {seq} of stream {epoch} cannot be read; look at it with `countersign audit verify`"
    )]
    Unreadable {
        /// Of which stream, counted from 1, as the row says.
        epoch: i64,
        /// Where in it, as the row says.
        seq: i64,
    },
}

/// Which records are asked for: those that fit every member that is set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// What they say.
    pub kind: Option<Kind>,
    /// The header's `agent`.
    pub agent: Option<String>,
    /// The header's `tenant`.
    pub tenant: Option<String>,
    /// The header's `tool`.
    pub tool: Option<String>,
    /// The header's `code`, of a refusal or a fault.
    pub code: Option<String>,
    /// The header's `status`, of an outcome.
    pub status: Option<String>,
    /// The header's `call`.
    pub call: Option<String>,
    /// The newest so many of them.
    pub limit: Option<u32>,
}

impl Filter {
    /// The conditions that are set, as SQL, and their values in order.
    fn conditions(&self) -> (String, Vec<Sql>) {
        let Self { since, until, kind, agent, tenant, tool, code, status, call, limit: _ } = self;
        let time = |time: &Option<Timestamp>| time.map(|time| Sql::Integer(time.micros()));
        let text = |text: &Option<String>| text.clone().map(Sql::Text);
        let set = [
            ("at >= ?", time(since)),
            ("at < ?", time(until)),
            (
                "json_extract(header, '$.kind') = ?",
                kind.map(|kind| Sql::Text(kind.as_str().to_owned())),
            ),
            ("json_extract(header, '$.agent') = ?", text(agent)),
            ("json_extract(header, '$.tenant') = ?", text(tenant)),
            ("json_extract(header, '$.tool') = ?", text(tool)),
            ("json_extract(header, '$.code') = ?", text(code)),
            ("json_extract(header, '$.status') = ?", text(status)),
            ("call = ?", text(call)),
        ];
        let mut sql = "1".to_owned();
        let mut values = Vec::new();
        for (condition, value) in set {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                values.push(value);
            }
        }
        (sql, values)
    }
}

/// A journal, open for reading.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens a journal, read-only. The gateway may be writing it; the folder must be writable,
    /// because readers of SQLite's log take part in its bookkeeping.
    ///
    /// # Errors
    /// [`AuditError::Store`] if it is not there, not a journal or newer than this program.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        open(path).map(|connection| Self { connection })
    }

    /// The records that fit, in order of time, then of streams, then of sequence.
    ///
    /// # Errors
    /// [`AuditError::Unreadable`] if one of them is no record; nothing is left out in silence.
    pub fn query(&self, filter: &Filter) -> Result<Vec<Record>, AuditError> {
        newest(&self.connection, filter)
    }

    /// The records that fit, and a cursor behind the last record of the journal, with which
    /// [`Reader::follow`] goes on without a gap.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn tail(&self, filter: &Filter) -> Result<(Vec<Record>, Cursor), AuditError> {
        // One transaction, so that the cursor stands behind what is shown and nothing else.
        let transaction = self.connection.unchecked_transaction()?;
        let heads = heads(&transaction)?;
        let cursor = heads.into_iter().map(|(stream, _, head)| (stream, head.saturating_add(1)));
        Ok((newest(&transaction, filter)?, Cursor(cursor.collect())))
    }

    /// The records that fit and were written since, in the order in which their streams have
    /// them; moves the cursor behind them. Its limit is the filter's, and what it leaves comes
    /// next time.
    ///
    /// # Errors
    /// As [`Reader::query`]; the cursor then stays where it was.
    pub fn follow(
        &self,
        cursor: &mut Cursor,
        filter: &Filter,
        parts: Parts,
    ) -> Result<Vec<Record>, AuditError> {
        let transaction = self.connection.unchecked_transaction()?;
        let (conditions, values) = filter.conditions();
        let sql = format!(
            "SELECT place, header FROM entries
             WHERE {conditions} AND place >= ? AND place <= ? ORDER BY place LIMIT ?"
        );
        let mut moved = cursor.clone();
        let mut records = Vec::new();
        for (stream, epoch, head) in heads(&transaction)? {
            let next = moved.0.get(&stream).copied().unwrap_or(0);
            let room = filter
                .limit
                .map_or(i64::MAX, i64::from)
                .saturating_sub(i64::try_from(records.len()).unwrap_or(i64::MAX));
            if head < next || room == 0 {
                continue;
            }
            let first = place::rows(epoch).start;
            let places = [next, head].map(|seq| Sql::Integer(first.saturating_add(seq)));
            let place = places.into_iter().chain([Sql::Integer(room)]);
            let place = values.iter().cloned().chain(place).collect();
            let found = read(&transaction, &sql, place, parts)?;
            let full = i64::try_from(found.len()).is_ok_and(|found| found >= room);
            let last = found.last().and_then(|record| i64::try_from(record.sequence()).ok());
            let seen = last.filter(|_| full).unwrap_or(head);
            moved.0.insert(stream, seen.saturating_add(1));
            records.extend(found);
        }
        *cursor = moved;
        Ok(records)
    }

    /// How far a follower with this cursor is behind the journal, at `now`.
    ///
    /// # Errors
    /// [`AuditError::Database`].
    pub fn behind(&self, cursor: &Cursor, now: Timestamp) -> Result<Behind, AuditError> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut at = transaction.prepare_cached("SELECT at FROM entries WHERE place = ?1")?;
        let (mut records, mut oldest) = (0_u64, None);
        for (stream, epoch, head) in heads(&transaction)? {
            let next = cursor.0.get(&stream).copied().unwrap_or(0);
            let left = u64::try_from(head.saturating_sub(next).saturating_add(1));
            let left = left.unwrap_or_default();
            records = records.saturating_add(left);
            if left > 0 && oldest.is_none() {
                let place = place::rows(epoch).start.saturating_add(next);
                oldest = at.query_row([place], |row| row.get(0)).optional()?;
            }
        }
        let micros = oldest.map_or(0, |at| now.micros_since(Timestamp::from_micros(at)));
        Ok(Behind { records, micros })
    }
}

/// A connection that reads a journal and nothing else.
pub(crate) fn open(path: &Path) -> Result<Connection, AuditError> {
    if !path.exists() {
        return Err(StoreError::Missing(path.to_owned()).into());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    schema::recognise(&connection, path)?;
    Ok(connection)
}

/// The record at a place, if there is one; without its bodies unless `whole`.
pub(crate) fn at(
    connection: &Connection,
    place: i64,
    whole: bool,
) -> Result<Option<Record>, AuditError> {
    let mut entry =
        connection.prepare_cached("SELECT place, header FROM entries WHERE place = ?1")?;
    let mut rows = entry.query([place])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if whole {
        return record(connection, row).map(Some);
    }
    Ok(Some(Record { header: header(row)?, bodies: BTreeMap::new() }))
}

fn newest(connection: &Connection, filter: &Filter) -> Result<Vec<Record>, AuditError> {
    let (conditions, mut values) = filter.conditions();
    values.push(Sql::Integer(filter.limit.map_or(-1, i64::from)));
    let sql = format!(
        "SELECT place, header FROM entries WHERE {conditions} ORDER BY at DESC, place DESC LIMIT ?"
    );
    // The bodies come from the same state of the file, because `rows` keeps it open.
    let mut records = read(connection, &sql, values, Parts::Whole)?;
    records.reverse();
    Ok(records)
}

/// The streams with their epochs and last sequences. This column is not protected, and not shown: it only
/// bounds how far a reader looks.
fn heads(connection: &Connection) -> rusqlite::Result<Vec<(String, i64, i64)>> {
    connection
        .prepare_cached("SELECT stream, epoch, head_seq FROM streams ORDER BY epoch")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

fn read(
    connection: &Connection,
    sql: &str,
    values: Vec<Sql>,
    parts: Parts,
) -> Result<Vec<Record>, AuditError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(match parts {
            Parts::Whole => record(connection, row)?,
            Parts::Members(names) => {
                Record { header: members(row, names)?, bodies: BTreeMap::new() }
            }
        });
    }
    Ok(records)
}

fn header(row: &Row<'_>) -> Result<Map<String, Value>, AuditError> {
    match serde_json::from_slice(row.get_ref(1)?.as_bytes().unwrap_or_default()) {
        Ok(Value::Object(header)) => Ok(header),
        Ok(_) | Err(_) => Err(unreadable(row)?),
    }
}

/// Some of a header's members. The others are read over.
fn members(row: &Row<'_>, names: &'static [&str]) -> Result<Map<String, Value>, AuditError> {
    let bytes = row.get_ref(1)?.as_bytes().unwrap_or_default();
    let mut header = serde_json::Deserializer::from_slice(bytes);
    match Members(names).deserialize(&mut header).and_then(|found| header.end().map(|()| found)) {
        Ok(found) => Ok(found),
        Err(_) => Err(unreadable(row)?),
    }
}

fn unreadable(row: &Row<'_>) -> rusqlite::Result<AuditError> {
    let (epoch, seq) = place::of_row(row.get(0)?);
    Ok(AuditError::Unreadable { epoch, seq })
}

/// Takes these members out of an object.
struct Members(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = Map::new();
        while let Some(name) = members.next_key_seed(Name(self.0))? {
            match name {
                Some(name) => drop(found.insert(name.to_owned(), members.next_value()?)),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The one of these that a text is.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|name| **name == text).copied())
    }
}

fn record(connection: &Connection, row: &Row<'_>) -> Result<Record, AuditError> {
    let place: i64 = row.get(0)?;
    let header = header(row)?;
    let bodies = place::body_rows(place);
    let bodies = connection
        .prepare_cached("SELECT field, body FROM bodies WHERE place >= ?1 AND place < ?2")?
        .query_map([bodies.start, bodies.end], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, Vec<u8>)>>>()?;
    Ok(Record::new(header, bodies))
}
