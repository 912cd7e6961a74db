//! Whether a database would refuse, by itself, what the gateway refuses before it is asked.
//!
//! Everything is asked as the role that the tools use, in transactions that only read. What a
//! catalogue says is checked where it is the cause; what a policy does is tried, with no tenant and
//! with one that does not exist, because a policy can be wrong in more ways than can be listed.

use super::query::{changes_rows, failure};
use super::reach::Reach;
use super::{PostgresSystem, Unreachable};
use crate::doctor::{Needs, Symptom};
use crate::fault;
use countersign_core::id::Timestamp;
use countersign_core::port::Clock;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Transaction};

/// How long an examination may take.
const EXAMINED_IN: Duration = Duration::from_secs(60);
/// How far the database's clock may be from ours, in seconds.
const SKEW_S_MAX: i64 = 5;
/// Most relations of one database that are looked at.
const RELATIONS_MAX: i64 = 10_000;

/// Examines a database as the role of `system`'s connection. `tenant` is one that does not exist.
///
/// # Errors
/// The database cannot be reached, or does not answer what every role may ask it.
pub(crate) async fn examine(
    system: &PostgresSystem,
    needs: &Needs,
    tenant: &str,
    clock: &dyn Clock,
) -> Result<Vec<Symptom>, SystemFault> {
    let examined = timeout(EXAMINED_IN, async {
        let unreachable =
            |error: Unreachable| fault(SystemFaultKind::Unavailable, error.to_string());
        let reach = Arc::new(Reach::new(system).map_err(unreachable)?);
        let (mut client, _wire) = reach.connect().await?;
        let patient = Patient { needs, setting: &system.tenant_setting, tenant };
        patient.examine(&mut client, clock).await
    });
    examined.await.unwrap_or_else(|_elapsed| {
        let detail = format!("the examination took longer than {} s", EXAMINED_IN.as_secs());
        Err(fault(SystemFaultKind::TimedOut, detail))
    })
}

struct Patient<'a> {
    needs: &'a Needs,
    setting: &'a str,
    tenant: &'a str,
}

/// A table, view or the like, as the role sees it.
struct Relation {
    /// Quoted where it has to be, with its schema.
    name: String,
    kind: Kind,
    needed: bool,
    /// Whether a statement with an effect speaks of it.
    written: bool,
    shared: bool,
    reads: bool,
    writes: bool,
    empties: bool,
    owns: bool,
    secured: bool,
    forced: bool,
    /// Policies that let the role read some rows.
    policies: i64,
    /// Whether whoever asks a view is held to its own rights.
    invoker: bool,
    /// Whether row-level security does not hold for its owner.
    owner_bypasses: bool,
    owner: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    View,
    Materialized,
    Foreign,
}

impl Patient<'_> {
    async fn examine(
        &self,
        client: &mut Client,
        clock: &dyn Clock,
    ) -> Result<Vec<Symptom>, SystemFault> {
        let asked = |error: tokio_postgres::Error| failure(&error);
        let mut found = Vec::new();
        let role = client.query_one(ROLE, &[]).await.map_err(asked)?;
        let role = Role::read(&role).map_err(asked)?;
        role.check(&mut found);
        let (before, theirs) = (clock.now(), client.query_one(CLOCK, &[]).await.map_err(asked)?);
        check_clock(&theirs, before, clock.now())
            .map_err(asked)?
            .into_iter()
            .for_each(|s| found.push(s));
        self.try_statements(client, &mut found).await?;
        if role.superuser {
            return Ok(found); // All else follows from it.
        }
        let relations = client.query(RELATIONS, &[&RELATIONS_MAX]).await.map_err(asked)?;
        let relations =
            relations.iter().map(|row| self.relation(row)).collect::<Result<Vec<_>, _>>();
        let relations = relations.map_err(asked)?;
        for relation in &relations {
            relation.check(&role.name, &mut found);
        }
        for row in client.query(SCHEMAS, &[]).await.map_err(asked)? {
            found.push(creates(&role.name, &row).map_err(asked)?);
        }
        for row in client.query(DEFINERS, &[]).await.map_err(asked)? {
            found.push(definer(&role.name, &row).map_err(asked)?);
        }
        if !role.bypasses {
            let held = relations.into_iter().filter(Relation::is_held).map(|held| held.name);
            self.try_policies(client, held.collect(), &mut found).await?;
        }
        Ok(found)
    }

    fn relation(&self, row: &Row) -> Result<Relation, tokio_postgres::Error> {
        let (schema, plain): (String, String) = (row.try_get("schema")?, row.try_get("relation")?);
        let kind = match row.try_get::<_, &str>("kind")? {
            "v" => Kind::View,
            "m" => Kind::Materialized,
            "f" => Kind::Foreign,
            _ => Kind::Table,
        };
        let named = |names: &BTreeSet<String>| {
            names.contains(&plain) || names.contains(&format!("{schema}.{plain}"))
        };
        Ok(Relation {
            name: row.try_get("name")?,
            kind,
            needed: spoken_of(&self.needs.statements, &plain)
                || spoken_of(&self.needs.effects, &plain),
            written: spoken_of(&self.needs.effects, &plain),
            shared: named(&self.needs.shared),
            reads: row.try_get("reads")?,
            writes: row.try_get("writes")?,
            empties: row.try_get("empties")?,
            owns: row.try_get("owns")?,
            secured: row.try_get("secured")?,
            forced: row.try_get("forced")?,
            policies: row.try_get("policies")?,
            invoker: row.try_get("invoker")?,
            owner_bypasses: row.try_get("owner_bypasses")?,
            owner: row.try_get("owner")?,
        })
    }

    /// Every statement must be one that the database takes, and that the role may run.
    async fn try_statements(
        &self,
        client: &mut Client,
        found: &mut Vec<Symptom>,
    ) -> Result<(), SystemFault> {
        let Needs { statements, effects, .. } = self.needs;
        for (number, (who, statement)) in statements.iter().chain(effects).enumerate() {
            let transaction = self.begin(client, None).await?;
            let refused = match transaction.prepare(statement).await {
                Ok(prepared) => {
                    let named = format!("countersign_{number}");
                    let takes = prepared.params().len();
                    lacks_rights(&transaction, &named, statement, takes).await
                }
                Err(error) => Some(failure(&error).detail),
            };
            found.extend(refused.map(|said| Symptom::statement(who, &said)));
        }
        for (who, statement) in effects.iter().filter(|(_, text)| !changes_rows(text)) {
            let said = format!("it is no `insert`, `update`, `delete` or `merge`: `{statement}`");
            found.push(Symptom::statement(who, &said));
        }
        Ok(())
    }

    /// No row may be seen without a tenant, or with one that does not exist.
    async fn try_policies(
        &self,
        client: &mut Client,
        mut relations: Vec<String>,
        found: &mut Vec<Symptom>,
    ) -> Result<(), SystemFault> {
        // In this order: once a setting was set, it is '' and no longer null when it is unset.
        let moods = [
            (None, "unset-tenant-sees", "before a tenant was ever set"),
            (Some(""), "empty-tenant-sees", "after a tenant was set and unset, when it is ''"),
            (Some(self.tenant), "any-tenant-sees", "for a tenant that does not exist"),
        ];
        for (tenant, code, when) in moods {
            let mut sound = Vec::new();
            for name in relations {
                let transaction = self.begin(client, tenant).await?;
                let question = format!("select exists (select 1 from {name})");
                match transaction.query_one(&question, &[]).await.and_then(|row| row.try_get(0)) {
                    Ok(true) => {
                        let message = format!("rows of {name} are seen {when}");
                        found.push(Symptom::new(code, message, self.policy(&name)));
                    }
                    // To refuse with an error is to refuse. That it was busy, or took too long, or
                    // went away, says nothing.
                    Err(error) if failure(&error).kind != SystemFaultKind::Failed => {
                        let message = format!(
                            "whether rows of {name} are seen {when} was not found out in time"
                        );
                        let mend = "examine it when the database has less to do";
                        found.push(Symptom::new("not-told", message, mend));
                    }
                    Ok(false) | Err(_) => sound.push(name),
                }
            }
            relations = sound; // One finding a relation: the first says enough.
        }
        Ok(())
    }

    fn policy(&self, table: &str) -> String {
        let Self { setting, .. } = self;
        format!(
            "find the policy that lets it through (`select * from pg_policies`), and leave one like this:\n\
             create policy tenant on {table} using (TENANT_COLUMN = nullif(current_setting('{setting}', true), ''));"
        )
    }

    /// A transaction as tools have it, but for the tenant; it ends when it is dropped.
    async fn begin<'c>(
        &self,
        client: &'c mut Client,
        tenant: Option<&str>,
    ) -> Result<Transaction<'c>, SystemFault> {
        let asked = |error: tokio_postgres::Error| failure(&error);
        let transaction =
            client.build_transaction().read_only(true).start().await.map_err(asked)?;
        transaction.batch_execute(LIKE_A_TOOL).await.map_err(asked)?;
        if let Some(tenant) = tenant {
            let set = "select pg_catalog.set_config($1, $2, true)";
            transaction.query_one(set, &[&self.setting, &tenant]).await.map_err(asked)?;
        }
        Ok(transaction)
    }
}

/// What the database says if the role lacks a right that a statement needs, which shows only when it
/// is to run. It is explained, which looks at the rights, reads nothing and changes nothing.
async fn lacks_rights(
    transaction: &Transaction<'_>,
    named: &str,
    statement: &str,
    takes: usize,
) -> Option<String> {
    let nulls = vec!["null"; takes].join(", ");
    let with = if takes == 0 { String::new() } else { format!("({nulls})") };
    // One statement: as several it would not have been prepared.
    let prepare = format!("prepare {named} as {statement}");
    let explain = format!("explain execute {named}{with}");
    let explained = match transaction.execute(&prepare, &[]).await {
        Ok(_) => transaction.query(&explain, &[]).await,
        Err(error) => Err(error),
    };
    // That it cannot be explained without values is no fault of it.
    let error = explained.err().filter(|e| e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE))?;
    Some(failure(&error).detail)
}

/// What a statement finds set up, besides the tenant.
const LIKE_A_TOOL: &str = "set local statement_timeout = '5s'; set local lock_timeout = '2s';
    set local search_path = pg_catalog, public, pg_temp; set local row_security = on";

/// Whether one of the statements speaks of a relation.
fn spoken_of(statements: &[(String, String)], relation: &str) -> bool {
    statements.iter().any(|(_, text)| mentions(text, relation))
}

/// Whether a statement speaks of a relation: its name is one of the words. A word in a text counts
/// too: what is needed is then too much, never too little.
fn mentions(statement: &str, relation: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let words = statement.split(|c| !word(c));
    let quoted = format!("\"{}\"", relation.replace('"', "\"\""));
    words.into_iter().any(|word| word == relation || word.to_lowercase() == relation)
        || statement.contains(&quoted)
}

// ── the role ────────────────────────────────────────────────────────────────────────────────────

struct Role {
    name: String,
    superuser: bool,
    bypasses: bool,
    manages: bool,
    /// Roles it can act as that row-level security does not hold for.
    becomes: Vec<String>,
    /// Predefined roles that reach past grants.
    powers: Vec<String>,
}

const ROLE: &str = r"
select pg_catalog.quote_ident(r.rolname) as name, r.rolsuper, r.rolbypassrls,
       r.rolcreaterole or r.rolcreatedb or r.rolreplication as manages,
       array(select pg_catalog.quote_ident(m.rolname) from pg_catalog.pg_roles m
             where (m.rolsuper or m.rolbypassrls) and m.oid <> r.oid
               and pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER') order by 1)::text[] as becomes,
       array(select m.rolname::text from pg_catalog.pg_roles m
             where m.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files',
                                 'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend')
               and pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER') order by 1)::text[] as powers
from pg_catalog.pg_roles r where r.rolname = current_user";

impl Role {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            superuser: row.try_get("rolsuper")?,
            bypasses: row.try_get("rolbypassrls")?,
            manages: row.try_get("manages")?,
            becomes: row.try_get("becomes")?,
            powers: row.try_get("powers")?,
        })
    }

    fn check(&self, found: &mut Vec<Symptom>) {
        let Self { name, .. } = self;
        if self.superuser {
            let message = format!("the role {name} is a superuser: nothing holds for it");
            found.push(Symptom::new(
                "superuser",
                message,
                format!("alter role {name} nosuperuser;"),
            ));
            return;
        }
        if self.bypasses {
            let message = format!("row-level security does not hold for the role {name}");
            found.push(Symptom::new(
                "bypasses-rls",
                message,
                format!("alter role {name} nobypassrls;"),
            ));
        }
        if self.manages {
            let message = format!("the role {name} may make roles, databases or copies of them");
            let mend = format!("alter role {name} nocreaterole nocreatedb noreplication;");
            found.push(Symptom::new("manages", message, mend));
        }
        for other in &self.becomes {
            let message = format!(
                "the role {name} can act as {other}, for which row-level security does not hold"
            );
            found.push(Symptom::new(
                "becomes-other",
                message,
                format!("revoke {other} from {name};"),
            ));
        }
        for power in &self.powers {
            let message = format!("the role {name} has {power}, which reaches past every grant");
            found.push(Symptom::new(
                "predefined-role",
                message,
                format!("revoke {power} from {name};"),
            ));
        }
    }
}

// ── what it can reach ───────────────────────────────────────────────────────────────────────────

const RELATIONS: &str = r"
select n.nspname::text as schema, c.relname::text as relation,
       pg_catalog.format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind,
       pg_catalog.has_table_privilege(c.oid, 'SELECT')
         or pg_catalog.has_any_column_privilege(c.oid, 'SELECT') as reads,
       pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
         or pg_catalog.has_any_column_privilege(c.oid, 'INSERT, UPDATE') as writes,
       pg_catalog.has_table_privilege(c.oid, 'TRUNCATE') as empties,
       pg_catalog.pg_has_role(c.relowner, 'MEMBER') as owns,
       c.relrowsecurity as secured, c.relforcerowsecurity as forced,
       (select count(*) from pg_catalog.pg_policy p
        where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('r', '*')
          and exists (select 1 from unnest(p.polroles) as of(role)
                      where of.role = 0 or pg_catalog.pg_has_role(of.role, 'USAGE'))) as policies,
       coalesce((select o.option_value::boolean from pg_catalog.pg_options_to_table(c.reloptions) o
                 where o.option_name = 'security_invoker'), false) as invoker,
       r.rolsuper or r.rolbypassrls as owner_bypasses,
       pg_catalog.quote_ident(r.rolname) as owner
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_roles r on r.oid = c.relowner
where c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname not in ('pg_catalog', 'information_schema')
  and n.nspname !~ '^pg_(toast|temp)'
  and pg_catalog.has_schema_privilege(n.oid, 'USAGE')
order by 1, 2
limit $1";

impl Relation {
    /// Whether a policy is to keep tenants apart here, so that it can be tried.
    fn is_held(&self) -> bool {
        self.needed && self.reads && !self.shared && (self.secured || self.kind == Kind::View)
    }

    fn check(&self, role: &str, found: &mut Vec<Symptom>) {
        let Self { name, .. } = self;
        if self.written && self.empties {
            let message = format!(
                "the role {role} can empty {name}, and no row-level security holds for that"
            );
            let mend = format!("revoke truncate on {name} from {role}, public;");
            found.push(Symptom::new("can-empty", message, mend));
        }
        if self.writes && !self.written {
            let message = format!("the role {role} can write {name}, and its tools only read it");
            let mend =
                format!("revoke insert, update, delete, truncate on {name} from {role}, public;");
            found.push(Symptom::new("can-write", message, mend));
        }
        if self.owns {
            let message =
                format!("the role {role} owns {name}, and can change it and its policies");
            let mend = format!("alter table {name} owner to OWNER; -- a role that no gateway uses");
            found.push(Symptom::new("owns", message, mend));
        }
        if self.reads && !self.needed && !self.shared {
            let message = format!("the role {role} can read {name}, which no tool needs");
            let mend = format!("revoke select on {name} from {role}, public;");
            found.push(Symptom::new("needless-read", message, mend));
        }
        if self.reads && self.needed && !self.shared {
            self.check_security(found);
        }
    }

    fn check_security(&self, found: &mut Vec<Symptom>) {
        let Self { name, owner, .. } = self;
        match self.kind {
            Kind::Table if !self.secured => found.push(Symptom::new(
                "rls-off",
                format!("row-level security is off on {name}: every tenant's rows are in reach"),
                format!(
                    "alter table {name} enable row level security;\nalter table {name} force row level security;\n\
                     -- or, if it holds nothing of any one tenant, list it under `shared` in the system's file"
                ),
            )),
            Kind::Table if !self.forced => found.push(Symptom::new(
                "rls-not-forced",
                format!("row-level security on {name} does not hold for its owner {owner}"),
                format!("alter table {name} force row level security;"),
            )),
            Kind::Table if self.policies == 0 => found.push(Symptom::new(
                "no-policy",
                format!("no policy of {name} lets the role read anything: its tools find no rows"),
                format!("create policy tenant on {name} for select using (TENANT_COLUMN = …);"),
            )),
            Kind::View if !self.invoker && self.owner_bypasses => found.push(Symptom::new(
                "view-bypasses-rls",
                format!("the view {name} is read with the rights of {owner}, for which row-level security does not hold"),
                format!("alter view {name} set (security_invoker = true);"),
            )),
            Kind::Materialized | Kind::Foreign => found.push(Symptom::new(
                "no-rls-possible",
                format!("{name} cannot have row-level security: every tenant's rows are in reach"),
                "have the tools read a table or a view instead, or list it under `shared` in the system's file",
            )),
            Kind::Table | Kind::View => {}
        }
    }
}

const SCHEMAS: &str = r"
select pg_catalog.quote_ident(n.nspname) as name, 'schema' as what
from pg_catalog.pg_namespace n
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and pg_catalog.has_schema_privilege(n.oid, 'CREATE')
union all
select pg_catalog.quote_ident(current_database()), 'database'
where pg_catalog.has_database_privilege(current_database(), 'CREATE')
order by 2, 1";

fn creates(role: &str, row: &Row) -> Result<Symptom, tokio_postgres::Error> {
    let (name, what): (&str, &str) = (row.try_get("name")?, row.try_get("what")?);
    Ok(Symptom::new(
        "can-create",
        format!("the role {role} can make things in the {what} {name}"),
        format!("revoke create on {what} {name} from {role}, public;"),
    ))
}

const DEFINERS: &str = r"
select pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,
                         pg_catalog.pg_get_function_identity_arguments(p.oid)) as name,
       pg_catalog.quote_ident(r.rolname) as owner
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_roles r on r.oid = p.proowner
where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')
  and pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  and pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
order by 1";

fn definer(role: &str, row: &Row) -> Result<Symptom, tokio_postgres::Error> {
    let (name, owner): (&str, &str) = (row.try_get("name")?, row.try_get("owner")?);
    Ok(Symptom::new(
        "definer-function",
        format!("the role {role} can run {name}, which acts with the rights of {owner}"),
        format!("revoke execute on function {name} from {role}, public;"),
    ))
}

const CLOCK: &str =
    "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as micros";

/// The database's clock, read between `before` and `after` of ours.
fn check_clock(
    row: &Row,
    before: Timestamp,
    after: Timestamp,
) -> Result<Option<Symptom>, tokio_postgres::Error> {
    let theirs = Timestamp::from_micros(row.try_get("micros")?).secs();
    let ahead = theirs.saturating_sub(after.secs());
    let behind = before.secs().saturating_sub(theirs);
    let skew = ahead.max(behind);
    Ok((skew > SKEW_S_MAX).then(|| {
        let which = if ahead > behind { "ahead of" } else { "behind" };
        let message = format!("the database's clock is {skew} s {which} this machine's");
        Symptom::new("clock-skew", message, "have both machines follow the same time servers")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_is_mentioned_by_its_name_whatever_stands_around_it() {
        for statement in [
            "select * from orders",
            "SELECT * FROM Public.Orders o",
            "select 1 from \"orders\" where x = $1",
            "select (select max(id) from orders)",
        ] {
            assert!(mentions(statement, "orders"), "{statement}");
        }
        assert!(mentions("select 1 from \"Order Lines\"", "Order Lines"));
        for statement in ["select * from orders_old", "select order_s from t", "select 1"] {
            assert!(!mentions(statement, "orders"), "{statement}");
        }
    }
}
