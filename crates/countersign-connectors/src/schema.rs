//! What tables a database has, as the role of its connection sees them. Only the catalogue is read.

use crate::{System, fault, misplaced, postgres, sqlite};
use countersign_core::refusal::{SystemFault, SystemFaultKind};

/// Most columns, over all tables, that are looked at.
pub(crate) const COLUMNS_MAX: usize = 50_000;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// As SQL writes it: quoted, or with its schema, where it has to be.
    pub name: String,
    /// The columns of its primary key, in order, by their names as SQL writes them.
    pub key: Vec<String>,
    /// All of its columns that the role may read, in order.
    pub columns: Vec<Column>,
    /// The constraints that its rows fit, each as SQL: of SQLite the whole of its definition.
    pub checks: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As SQL writes it.
    pub name: String,
    /// Its type, as the database writes it.
    pub kind: String,
    /// Whether it may hold nothing.
    pub nullable: bool,
    /// The values that its type has, if it lists them.
    pub values: Vec<String>,
}

/// One row of a catalogue.
pub(crate) struct Entry {
    pub(crate) table: String,
    pub(crate) column: Column,
    /// Its place in the primary key, from 1; 0 if it is not in it.
    pub(crate) key: i64,
}

/// The tables of a database, by name.
///
/// # Errors
/// The system is no database, or cannot be reached, or has more columns than are looked at.
pub async fn tables(system: &System) -> Result<Vec<Table>, SystemFault> {
    match system {
        System::Sqlite(system) => sqlite::tables(system.clone()).await,
        System::Postgres(system) => postgres::tables(system).await,
        _ => Err(misplaced("a question for tables")),
    }
}

/// Puts the rows of a catalogue together, which come table by table.
pub(crate) fn gathered(entries: Vec<Entry>) -> Result<Vec<Table>, SystemFault> {
    if entries.len() > COLUMNS_MAX {
        let detail = format!("it has more than {COLUMNS_MAX} columns");
        return Err(fault(SystemFaultKind::Failed, detail));
    }
    let mut tables: Vec<(Table, Vec<(i64, String)>)> = Vec::new();
    for Entry { table, column, key } in entries {
        if tables.last().is_none_or(|(last, _)| last.name != table) {
            tables.push((Table { name: table, ..Table::default() }, Vec::new()));
        }
        if let Some((last, keys)) = tables.last_mut() {
            if key > 0 {
                keys.push((key, column.name.clone()));
            }
            last.columns.push(column);
        }
    }
    let ordered = tables.into_iter().map(|(table, mut keys)| {
        keys.sort_unstable();
        Table { key: keys.into_iter().map(|(_, name)| name).collect(), ..table }
    });
    Ok(ordered.collect())
}
