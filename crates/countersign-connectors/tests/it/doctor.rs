//! The doctor against a real PostgreSQL: it finds each planted fault, and nothing in a sound one.

use crate::bench::make;
use crate::server::{Database, shared};
use countersign_connectors::doctor::{Needs, Symptom, examine};
use countersign_connectors::{PostgresSystem, SqliteSystem, System};
use countersign_core::id::Timestamp;
use countersign_core::port::Clock;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// A sound database for one reading role.
const SOUND: &str = r"
create table depots (code text primary key);
create table orders (id text primary key, account_id text not null, state text);
create table notes (id int, account_id text not null, note text);
create table audit (id int, what text);
insert into depots values ('HAM');
insert into orders values ('o1', 'acct_alpha', 'new'), ('o2', 'acct_bravo', 'new');
insert into notes values (1, 'acct_alpha', 'x'), (2, 'acct_bravo', 'y');
insert into audit values (1, 'x');
alter table orders enable row level security;
alter table orders force row level security;
alter table notes enable row level security;
alter table notes force row level security;
create policy tenant on orders using (account_id = nullif(current_setting('app.tenant', true), ''));
create policy tenant on notes using (account_id = nullif(current_setting('app.tenant', true), ''));
create view open_orders with (security_invoker = true) as select * from orders where state = 'new';
grant usage on schema public to ROLE;
grant select on depots, orders, notes, open_orders to ROLE;
grant update (state) on orders to ROLE;
";

fn needs() -> Needs {
    let statement = |who: &str, text: &str| (who.to_owned(), text.to_owned());
    Needs {
        statements: vec![
            statement(
                "`get_order`",
                "select id, state from orders where id = $1 and account_id = $2",
            ),
            statement("`list_notes`", "select note from notes where account_id = $1"),
            statement("`list_open`", "select id from open_orders o join depots d on d.code = $1"),
        ],
        effects: vec![statement(
            "`set_state`",
            "update orders set state = $2 where id = $1 and account_id = $3",
        )],
        shared: BTreeSet::from(["depots".to_owned()]),
    }
}

/// The real clock, which the server goes by as well, and some seconds.
#[derive(Debug)]
struct Off(i64);

impl Clock for Off {
    #[expect(clippy::disallowed_methods, reason = "the server's clock is the real one")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap() + self.0 * 1_000_000)
    }
}

/// A sound database with a fault planted in it, and its reading role.
fn planted(fault: &str) -> (Database<'static>, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let role = format!("reader_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let database = shared().database(&format!(
        "create role {role} login password 'made-up'; {}",
        SOUND.replace("ROLE", &role)
    ));
    database.run(&fault.replace("ROLE", &role));
    (database, role)
}

async fn of(database: &Database<'_>, role: &str, off: i64) -> Vec<Symptom> {
    let system = System::Postgres(PostgresSystem {
        connection: SecretString::from(database.of(role)),
        encryption: None,
        authorities: None,
        tenant_setting: "app.tenant".to_owned(),
        concurrency: 1,
    });
    examine(&system, &needs(), "countersign:nobody", &Off(off)).await.unwrap()
}

async fn examined(fault: &str) -> Vec<Symptom> {
    let (database, role) = planted(fault);
    of(&database, &role, 0).await
}

#[tokio::test]
async fn a_sound_database_has_nothing_wrong_with_it() {
    assert_eq!(examined("").await, []);
}

/// Each fault, what is found, and whether what is said to mend it does.
const FAULTS: &[(&str, &str)] = &[
    ("superuser", "alter role ROLE superuser"),
    ("bypasses-rls", "alter role ROLE bypassrls"),
    ("manages", "alter role ROLE createrole"),
    ("predefined-role", "grant pg_read_all_settings to ROLE; grant pg_read_server_files to ROLE"),
    ("rls-off", "alter table notes disable row level security"),
    ("rls-not-forced", "alter table notes no force row level security"),
    ("no-policy", "drop policy tenant on notes"),
    (
        "no-policy",
        "drop policy tenant on notes; create policy tenant on notes to postgres using (true)",
    ),
    (
        "any-tenant-sees",
        "create policy more on notes for select using (current_setting('app.tenant', true) <> '')",
    ),
    ("unset-tenant-sees", "create policy more on notes using (true)"),
    (
        "unset-tenant-sees",
        "create policy more on notes using (current_setting('app.tenant', true) is null)",
    ),
    (
        "empty-tenant-sees",
        "create policy more on notes using (current_setting('app.tenant', true) = '')",
    ),
    ("can-write", "grant update (note) on notes to ROLE"),
    ("can-empty", "grant truncate on orders to ROLE"),
    ("statement-fails", "revoke update (state) on orders from ROLE"),
    ("statement-fails", "revoke select on depots from ROLE"),
    ("can-write", "grant truncate on depots to public"),
    ("needless-read", "grant select (what) on audit to ROLE"),
    ("can-create", "grant create on schema public to ROLE"),
    (
        "definer-function",
        "create function all_orders() returns setof orders language sql security definer as 'select * from orders'",
    ),
    ("view-bypasses-rls", "alter view open_orders set (security_invoker = false)"),
    ("statement-fails", "alter table notes rename note to text"),
];

#[tokio::test]
async fn each_planted_fault_is_found_alone_and_said_how_to_mend() {
    for (code, fault) in FAULTS {
        let found = examined(fault).await;
        let codes: BTreeSet<_> = found.iter().map(|symptom| symptom.code).collect();
        // What a view shows past row-level security is also seen when it is tried.
        let seen = *code == "view-bypasses-rls" && codes.contains("unset-tenant-sees");
        let expected = if seen { vec![*code, "unset-tenant-sees"] } else { vec![*code] };
        assert_eq!(codes, expected.into_iter().collect(), "{fault}: {found:#?}");
        assert!(
            found.iter().all(|symptom| !symptom.mend.is_empty() && !symptom.message.is_empty())
        );
    }
}

#[tokio::test]
async fn what_is_said_to_mend_a_fault_mends_it() {
    for (code, fault) in FAULTS {
        let mends = ["alter ", "revoke "];
        let (database, role) = planted(fault);
        let found = of(&database, &role, 0).await;
        if !found.iter().all(|symptom| mends.iter().any(|word| symptom.mend.starts_with(word))) {
            continue; // A policy, or a statement, is for people to write.
        }
        for symptom in &found {
            database.run(&symptom.mend);
        }
        let after = of(&database, &role, 0).await;
        assert_eq!(after, [], "{code}: {found:#?}");
    }
}

#[tokio::test]
async fn a_role_that_can_become_one_that_is_not_held_is_found() {
    let (_, other) = planted("alter role ROLE bypassrls");
    let found = examined(&format!("grant {other} to ROLE")).await;
    let codes: BTreeSet<_> = found.iter().map(|symptom| symptom.code).collect();
    assert_eq!(codes, BTreeSet::from(["becomes-other"]), "{found:#?}");
}

#[tokio::test]
async fn a_role_that_owns_its_tables_is_found() {
    let found = examined("alter table notes owner to ROLE").await;
    let codes: BTreeSet<_> = found.iter().map(|symptom| symptom.code).collect();
    assert!(codes.contains("owns") && codes.contains("can-write"), "{found:#?}");
}

#[tokio::test]
async fn a_clock_that_is_off_is_found() {
    for off in [-10, 10] {
        let (database, role) = planted("");
        let found = of(&database, &role, off).await;
        assert_eq!(found.iter().map(|s| s.code).collect::<Vec<_>>(), ["clock-skew"], "{found:?}");
    }
}

#[tokio::test]
async fn a_file_takes_an_effect_that_changes_rows_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    make(&path, "create table t (a)");
    let before = std::fs::read(&path).unwrap();
    let system =
        System::Sqlite(SqliteSystem { path: path.clone(), concurrency: 1, statement_log: None });
    let [good, bad]: [&[&str]; 2] = [
        &["update t set a = :a", "delete from t returning a"],
        &["update u set a = 1", "drop table t", "update sqlite_schema set sql = ''", "commit"],
    ];
    let named = |text: &&str| ("`tool`".to_owned(), (*text).to_owned());
    let of = async |effects: Vec<_>, statements: Vec<_>| {
        let needs = Needs { effects, statements, shared: BTreeSet::new() };
        let found = examine(&system, &needs, "countersign:nobody", &Off(0)).await.unwrap();
        found.iter().map(|symptom| symptom.code).collect::<Vec<_>>()
    };
    assert_eq!(
        of(good.iter().map(named).collect(), vec![named(&"select a from t")]).await,
        [""; 0]
    );
    assert_eq!(of(bad.iter().map(named).collect(), vec![]).await, ["statement-fails"; 4]);
    // As a read, an effect's statement is one that fails.
    assert_eq!(of(vec![], good.iter().map(named).collect()).await, ["statement-fails"; 2]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
