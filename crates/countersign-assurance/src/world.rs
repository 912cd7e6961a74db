//! Copies of SQLite systems: made, looked into, compared and put back. The suite's own connections are
//! to copies alone.

use crate::bound::COPY_BUSY_MAX;
use rusqlite::backup::Backup;
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OpenFlags, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Whose rows a database holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owned {
    /// Tables by name.
    pub(crate) tables: BTreeMap<String, Table>,
}

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    /// Where a row's key is, among the columns; all of them if it has none.
    key: Vec<usize>,
    owner: Owner,
}

/// What says whose a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// Nothing: it is everybody's.
    Nobody,
    /// The tenant in this column.
    Column(String),
    /// The row of another table that this column names: (column, table, its column).
    Through(String, String, String),
}

/// A row that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The system.
    pub system: String,
    /// The table.
    pub table: String,
    /// Whose row it is, or was; `None` if that is not known.
    pub tenants: BTreeSet<String>,
    /// Its key.
    pub key: String,
}

/// Copies a database, whoever else has it open.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(COPY_BUSY_MAX)?;
    let mut target = Connection::open(to)?;
    target.busy_timeout(COPY_BUSY_MAX)?;
    all(&source, &mut target)
}

/// A copy in memory.
pub(crate) fn in_memory(from: &Connection) -> Result<Connection> {
    let mut target = Connection::open_in_memory()?;
    all(from, &mut target)?;
    Ok(target)
}

/// The same from a file.
pub(crate) fn copy_in_memory(from: &Path) -> Result<Connection> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(COPY_BUSY_MAX)?;
    in_memory(&source)
}

/// Puts a text after one that a statement finds, so that it then tells it: after the longest that can be
/// changed. Returns whether there was one.
pub(crate) fn plant(database: &Connection, owned: &Owned, sql: &str, text: &str) -> bool {
    let Some(found) = answer(database, sql) else { return false };
    let mut texts: Vec<String> = found
        .into_iter()
        .flatten()
        .filter_map(|value| match value {
            Sql::Text(text) => Some(text),
            Sql::Null | Sql::Integer(_) | Sql::Real(_) | Sql::Blob(_) => None,
        })
        .collect();
    // The longest is the likeliest to be free text.
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    texts.dedup();
    let planted = format!("\n{text}");
    texts.iter().take(PLANTED_AFTER_MAX).any(|after| {
        owned.tables.iter().any(|(name, table)| {
            let place = |column: &String| (quoted(name), quoted(column));
            table
                .columns
                .iter()
                .map(place)
                .any(|place| put(database, (sql, &place), (after, &planted)))
        })
    })
}

/// Most texts of an answer that a plant is tried after.
const PLANTED_AFTER_MAX: usize = 24;

/// Puts a text after another in one column, if the statement then tells it.
fn put(
    database: &Connection,
    (sql, (table, column)): (&str, &(String, String)),
    (after, planted): (&str, &str),
) -> bool {
    let began = database.execute_batch("savepoint planted").is_ok();
    let update = format!("update {table} set {column} = {column} || ?2 where {column} = ?1");
    // A column may be a key or have rules of its own: then it is the next.
    let changed = began && database.execute(&update, [after, planted]).is_ok_and(|rows| rows > 0);
    let tells = |value: &Sql| matches!(value, Sql::Text(text) if text.contains(planted));
    let told =
        changed && answer(database, sql).is_some_and(|rows| rows.iter().flatten().any(tells));
    let undone = told || database.execute_batch("rollback to planted").is_ok();
    database.execute_batch("release planted").is_ok() && undone && told
}

/// Has a database take back each row that is put in or changed: whoever does it sees it done all the
/// same. What is deleted stays deleted.
pub(crate) fn lose(database: &Connection, owned: &Owned) -> Result<()> {
    for (name, table) in &owned.tables {
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(column)).collect();
        let new = columns.iter().map(|column| format!("{column} is new.{column}"));
        let new = new.collect::<Vec<_>>().join(" and ");
        let (table, trigger) = (quoted(name), |on| quoted(&format!("lost {on} {name}")));
        let before = columns.iter().map(|column| format!("{column} = old.{column}"));
        let before = before.collect::<Vec<_>>().join(", ");
        database.execute_batch(&format!(
            "create trigger {insert} after insert on {table} begin delete from {table} where {new}; end;
             create trigger {update} after update on {table} begin update {table} set {before} where {new}; end;",
            insert = trigger("insert"),
            update = trigger("update"),
        ))?;
    }
    Ok(())
}

/// Whether one could be put there.
pub(crate) fn plantable(database: &Connection, owned: &Owned, sql: &str) -> bool {
    let began = database.execute_batch("savepoint tried").is_ok();
    let planted = began && plant(database, owned, sql, "a text that is planted");
    let undone = database.execute_batch("rollback to tried; release tried").is_ok();
    planted && undone
}

/// Everything that is in one database into another.
pub(crate) fn all(from: &Connection, to: &mut Connection) -> Result<()> {
    Backup::new(from, to)?.run_to_completion(i32::MAX, Duration::from_millis(1), None)
}

impl Owned {
    /// Finds out from the data: a column that holds these tenants, and that statements of the posture
    /// compare with the caller's (`tied`) or that holds little else.
    pub(crate) fn of(
        database: &Connection,
        tenants: &BTreeSet<String>,
        tied: &BTreeSet<String>,
    ) -> Result<Self> {
        let mut owned = Self::default();
        for name in names(database)? {
            let (columns, key) = columns(database, &name)?;
            let mut owner = Owner::Nobody;
            for column in &columns {
                if holds(database, (&name, column), (tenants, tied.contains(column)))? {
                    owner = Owner::Column(column.clone());
                    break;
                }
            }
            owned.tables.insert(name, Table { columns, key, owner });
        }
        owned.follow(database)?;
        Ok(owned)
    }

    /// Rows that only name another row are whose that is.
    fn follow(&mut self, database: &Connection) -> Result<()> {
        loop {
            let mut found = Vec::new();
            for (name, table) in &self.tables {
                if table.owner != Owner::Nobody {
                    continue;
                }
                for (column, parent, key) in references(database, name)? {
                    let owned = self.tables.get(&parent).filter(|p| p.owner != Owner::Nobody);
                    let Some(owned) = owned else { continue };
                    let key = key.or_else(|| owned.columns.get(*owned.key.first()?).cloned());
                    if let Some(key) = key {
                        found.push((name.clone(), Owner::Through(column, parent, key)));
                        break;
                    }
                }
            }
            if found.is_empty() {
                return Ok(());
            }
            for (name, owner) in found {
                if let Some(table) = self.tables.get_mut(&name) {
                    table.owner = owner;
                }
            }
        }
    }

    /// An expression for whose a row of a table is.
    fn whose(&self, table: &str, depth: usize) -> Option<String> {
        match &self.tables.get(table)?.owner {
            Owner::Nobody => None,
            Owner::Column(column) => Some(format!("{}.{}", quoted(table), quoted(column))),
            Owner::Through(column, parent, key) if depth < 8 => Some(format!(
                "(select {} from {} where {} = {}.{})",
                self.whose(parent, depth.saturating_add(1))?,
                quoted(parent),
                format_args!("{}.{}", quoted(parent), quoted(key)),
                quoted(table),
                quoted(column)
            )),
            Owner::Through(..) => None,
        }
    }

    /// A database as it would be if there were only this tenant.
    pub(crate) fn view(&self, database: &Connection, tenant: &str) -> Result<Connection> {
        let view = in_memory(database)?;
        view.execute_batch("pragma foreign_keys = off")?;
        let triggers: Vec<String> = {
            let mut found =
                view.prepare("select name from sqlite_schema where type = 'trigger'")?;
            found.query_map([], |row| row.get(0))?.collect::<Result<_>>()?
        };
        for trigger in triggers {
            view.execute_batch(&format!("drop trigger {}", quoted(&trigger)))?;
        }
        // Children first: they are known by their parents.
        let mut order: Vec<_> = self.tables.keys().collect();
        order.sort_by_key(|name| std::cmp::Reverse(self.depth(name, 0)));
        for name in order {
            if let Some(whose) = self.whose(name, 0) {
                let foreign = format!("{whose} is not null and {whose} <> ?1");
                view.execute(&format!("delete from {} where {foreign}", quoted(name)), [tenant])?;
            }
        }
        Ok(view)
    }

    /// Over how many other tables a table's rows are somebody's.
    fn depth(&self, table: &str, so_far: usize) -> usize {
        match self.tables.get(table).map(|table| &table.owner) {
            Some(Owner::Through(_, parent, _)) if so_far < 8 => {
                self.depth(parent, so_far.saturating_add(1))
            }
            _ => so_far,
        }
    }

    /// Every row of a table: its key → the row, and whose it is.
    fn rows(
        &self,
        database: &Connection,
        name: &str,
    ) -> Result<BTreeMap<String, (String, Option<String>)>> {
        let Some(table) = self.tables.get(name) else { return Ok(BTreeMap::new()) };
        let whose = self.whose(name, 0).unwrap_or_else(|| "null".to_owned());
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(column)).collect();
        let sql = format!("select {whose}, {} from {}", columns.join(", "), quoted(name));
        let mut statement = database.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let owner = text(&row.get_ref(0)?);
            let values: Vec<_> = (1..=table.columns.len())
                .map(|at| Ok(text(&row.get_ref(at)?).unwrap_or_default()))
                .collect::<Result<_>>()?;
            let key: Vec<&str> =
                table.key.iter().filter_map(|at| values.get(*at)).map(String::as_str).collect();
            found.insert(key.join("/"), (values.join("\u{1f}"), owner));
        }
        Ok(found)
    }

    /// What of a database is not as it was.
    pub(crate) fn changes(
        &self,
        system: &str,
        before: &Connection,
        after: &Connection,
    ) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for name in self.tables.keys() {
            let (was, is) = (self.rows(before, name)?, self.rows(after, name)?);
            let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
            for key in keys {
                let (old, new) = (was.get(key), is.get(key));
                if old.map(|row| &row.0) != new.map(|row| &row.0) {
                    let tenants = [old, new].into_iter().flatten().filter_map(|row| row.1.clone());
                    changes.push(Change {
                        system: system.to_owned(),
                        table: name.clone(),
                        tenants: tenants.collect(),
                        key: key.clone(),
                    });
                }
            }
        }
        Ok(changes)
    }

    /// Every text of rows that are somebody's, and whose.
    pub(crate) fn texts(
        &self,
        database: &Connection,
        each: &mut dyn FnMut(&str, Option<&str>),
    ) -> Result<()> {
        for name in self.tables.keys() {
            for (row, owner) in self.rows(database, name)?.into_values() {
                each(&row, owner.as_deref());
            }
        }
        Ok(())
    }
}

/// What a statement reads. `None` if it cannot be run there.
pub(crate) fn answer(database: &Connection, sql: &str) -> Option<Vec<Vec<Sql>>> {
    let mut statement = database.prepare_cached(sql).ok()?;
    if !statement.readonly() {
        return None;
    }
    let columns = statement.column_count();
    let mut rows = statement.query([]).ok()?;
    let mut answer = Vec::new();
    while let Ok(Some(row)) = rows.next() {
        answer.push((0..columns).map(|at| row.get(at).unwrap_or(Sql::Null)).collect());
    }
    Some(answer)
}

fn names(database: &Connection) -> Result<Vec<String>> {
    let sql = "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' order by name";
    let mut statement = database.prepare(sql)?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn columns(database: &Connection, table: &str) -> Result<(Vec<String>, Vec<usize>)> {
    let mut statement =
        database.prepare("select name, pk from pragma_table_info(?1) order by cid")?;
    let found: Vec<(String, i64)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let keys = found.iter().enumerate().filter(|(_, (_, key))| *key > 0).map(|(at, _)| at);
    let mut key: Vec<_> = keys.collect();
    if key.is_empty() {
        key = (0..found.len()).collect();
    }
    Ok((found.into_iter().map(|(name, _)| name).collect(), key))
}

/// Columns that name a row of another table: (column, table, its column).
fn references(database: &Connection, table: &str) -> Result<Vec<(String, String, Option<String>)>> {
    let sql =
        "select \"from\", \"table\", \"to\" from pragma_foreign_key_list(?1) order by id, seq";
    let mut statement = database.prepare(sql)?;
    statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Whether a column says whose its rows are.
fn holds(
    database: &Connection,
    (table, column): (&str, &str),
    (tenants, tied): (&BTreeSet<String>, bool),
) -> Result<bool> {
    let sql = format!(
        "select distinct {c} from {t} where {c} is not null limit 10000",
        c = quoted(column),
        t = quoted(table)
    );
    let mut statement = database.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let (mut known, mut others) = (0_usize, 0_usize);
    while let Some(row) = rows.next()? {
        match text(&row.get_ref(0)?) {
            Some(value) if tenants.contains(&value) => known = known.saturating_add(1),
            _ => others = others.saturating_add(1),
        }
    }
    Ok(known > 0 && (tied || known >= others))
}

fn text(value: &ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(value) => Some(value.to_string()),
        ValueRef::Real(value) => Some(value.to_string()),
        ValueRef::Text(value) | ValueRef::Blob(value) => {
            Some(String::from_utf8_lossy(value).into_owned())
        }
    }
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
