//! The tables of a SQLite file.

use super::reader::{open, reads_only};
use super::{SqliteSystem, query};
use crate::fault;
use crate::schema::{COLUMNS_MAX, Column, Entry, Table, gathered};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{OpenFlags, Row};
use std::collections::BTreeMap;

const COLUMNS: &str = "
    select m.name, m.sql, p.name, p.type, p.\"notnull\", p.pk
    from sqlite_schema m join pragma_table_info(m.name) p
    where m.type = 'table' and m.name not like 'sqlite\\_%' escape '\\'
    order by m.name, p.cid limit ?";

/// Reads the catalogue. Blocking.
pub(super) fn tables(system: &SqliteSystem) -> Result<Vec<Table>, SystemFault> {
    let failure = |error| query::failure(&error);
    let mut connection = open(system, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "query_only", true).map_err(failure)?;
    connection.authorizer(Some(reads_catalogue)).map_err(failure)?;
    let mut definitions = BTreeMap::new();
    let mut statement = connection.prepare(COLUMNS).map_err(failure)?;
    let most = i64::try_from(COLUMNS_MAX.saturating_add(1)).unwrap_or(i64::MAX);
    let rows = statement.query_map([most], |row| entry(row, &mut definitions)).map_err(failure)?;
    let entries = rows.collect::<Result<Vec<_>, _>>().map_err(failure)?;
    let mut tables = gathered(entries)?;
    for table in &mut tables {
        table.checks = definitions.remove(&table.name).into_iter().collect();
    }
    Ok(tables)
}

fn reads_catalogue(asked: AuthContext<'_>) -> Authorization {
    match asked.action {
        AuthAction::Pragma { pragma_name: "table_info", .. } => Authorization::Allow,
        _ => reads_only(asked),
    }
}

fn entry(row: &Row<'_>, definitions: &mut BTreeMap<String, String>) -> rusqlite::Result<Entry> {
    let table = quoted(&row.get::<_, String>(0)?);
    if let Some(definition) = row.get::<_, Option<String>>(1)? {
        definitions.insert(table.clone(), definition);
    }
    let column = Column {
        name: quoted(&row.get::<_, String>(2)?),
        kind: row.get(3)?,
        nullable: !row.get::<_, bool>(4)?,
        values: Vec::new(),
    };
    Ok(Entry { table, column, key: row.get(5)? })
}

/// A name as SQL writes it: quoted unless it is plain. A word of the language is quoted too, as far as
/// words are taken for names only where they are quoted.
fn quoted(name: &str) -> String {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match begins && name.chars().all(plain) && !RESERVED.contains(&name) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Words that are no names without quotes (<https://sqlite.org/lang_keywords.html>).
const RESERVED: [&str; 54] = [
    "add",
    "all",
    "alter",
    "and",
    "as",
    "autoincrement",
    "between",
    "case",
    "check",
    "collate",
    "commit",
    "constraint",
    "create",
    "default",
    "deferrable",
    "delete",
    "distinct",
    "drop",
    "else",
    "escape",
    "except",
    "exists",
    "foreign",
    "from",
    "group",
    "having",
    "in",
    "index",
    "insert",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "limit",
    "not",
    "notnull",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "returning",
    "select",
    "set",
    "table",
    "then",
    "to",
    "transaction",
    "union",
    "unique",
    "update",
    "using",
];

/// The same, off the threads that serve others.
pub(crate) async fn tables_of(system: SqliteSystem) -> Result<Vec<Table>, SystemFault> {
    let read = tokio::task::spawn_blocking(move || tables(&system)).await;
    read.unwrap_or_else(|lost| Err(fault(SystemFaultKind::Failed, lost.to_string())))
}
