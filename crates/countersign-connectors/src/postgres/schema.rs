//! The tables of a PostgreSQL database.

use super::PostgresSystem;
use super::query::failure;
use super::reach::Reach;
use crate::fault;
use crate::schema::{COLUMNS_MAX, Column, Entry, Table, gathered};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Client, Row};

/// How long it may take.
const READ_IN: Duration = Duration::from_secs(60);

/// What the role may read, of its own schemas.
const COLUMNS: &str = "
    select c.oid::regclass::text, quote_ident(a.attname),
        format_type(a.atttypid, a.atttypmod), not a.attnotnull,
        coalesce(array_position(i.indkey::int2[], a.attnum), -1)::int8 as position,
        coalesce((select array_agg(e.enumlabel::text order by e.enumsortorder)
            from pg_enum e where e.enumtypid = a.atttypid), '{}')
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_index i on i.indrelid = c.oid and i.indisprimary
    where c.relkind in ('r', 'p') and not c.relispartition
        and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
        and has_schema_privilege(n.oid, 'usage')
        and has_column_privilege(c.oid, a.attnum, 'select')
    order by 1, a.attnum limit $1";
const CHECKS: &str = "
    select c.conrelid::regclass::text, pg_get_constraintdef(c.oid)
    from pg_constraint c where c.contype = 'c' and c.conrelid <> 0
    order by 1, c.conname limit $1";

pub(crate) async fn tables(system: &PostgresSystem) -> Result<Vec<Table>, SystemFault> {
    let read = timeout(READ_IN, async {
        let unreachable =
            |error: super::Unreachable| fault(SystemFaultKind::Unavailable, error.to_string());
        let reach = Arc::new(Reach::new(system).map_err(unreachable)?);
        let (mut client, _wire) = reach.connect().await?;
        catalogue(&mut client).await
    });
    read.await.unwrap_or_else(|_elapsed| {
        let detail = format!("the catalogue took longer than {} s", READ_IN.as_secs());
        Err(fault(SystemFaultKind::TimedOut, detail))
    })
}

async fn catalogue(client: &mut Client) -> Result<Vec<Table>, SystemFault> {
    let asked = |error: tokio_postgres::Error| failure(&error);
    let transaction = client.build_transaction().read_only(true).start().await.map_err(asked)?;
    let most = i64::try_from(COLUMNS_MAX.saturating_add(1)).unwrap_or(i64::MAX);
    let rows = transaction.query(COLUMNS, &[&most]).await.map_err(asked)?;
    let entries = rows.iter().map(entry).collect::<Result<_, _>>().map_err(asked)?;
    let mut tables = gathered(entries)?;
    for row in transaction.query(CHECKS, &[&most]).await.map_err(asked)? {
        let (name, check): (String, String) =
            (row.try_get(0).map_err(asked)?, row.try_get(1).map_err(asked)?);
        if let Some(table) = tables.iter_mut().find(|table| table.name == name) {
            table.checks.push(check);
        }
    }
    transaction.rollback().await.map_err(asked)?;
    Ok(tables)
}

fn entry(row: &Row) -> Result<Entry, tokio_postgres::Error> {
    let column = Column {
        name: row.try_get(1)?,
        kind: row.try_get(2)?,
        nullable: row.try_get(3)?,
        values: row.try_get(5)?,
    };
    // Its places are counted from 0.
    let position: i64 = row.try_get(4)?;
    Ok(Entry { table: row.try_get(0)?, column, key: position.saturating_add(1) })
}
