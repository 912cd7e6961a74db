use super::*;
use crate::sql::scan;

fn of(sql: &str, dialect: Dialect) -> Tie {
    let ties = ties(sql, (&scan(sql, dialect), dialect), &["tenant", "user"]);
    ties.unwrap_or_else(|e| panic!("{sql}: {e:?}")).unwrap()[0]
}

fn read(sql: &str) -> Result<bool, (Range<usize>, String)> {
    let ties = ties(sql, (&scan(sql, Dialect::Sqlite), Dialect::Sqlite), &[]);
    ties.map(|ties| ties.is_some())
}

const HOLD: &[&str] = &[
    "select a from t where tenant = :tenant",
    "select a from t where :tenant = tenant and (x = 1 or y = 2)",
    "select a from t where (x = :x or x is null) and ((tenant = :tenant))",
    "select a from t where t.tenant in (:tenant)",
    "select a from t where tenant in (:tenant, 'shared')",
    "select a from t where :tenant in (buyer, seller)",
    "select a from t where tenant = cast(:tenant as text)",
    "select a from t where tenant = lower(:tenant)",
    "select a from t where key = 'acct/' || :tenant",
    "select a from t where lower(tenant) = :tenant",
    "select a from t where (tenant, id) = (:tenant, :id)",
    "select a from t where tenant is null or tenant = :tenant",
    "select a from t where :tenant is null or tenant = :tenant",
    "select a from t where buyer = :tenant or seller = :tenant",
    "select a from t where tenant = :tenant or owner = :user",
    "select a from t where not deleted and tenant = :tenant",
    "select a from t join u on u.id = t.u and u.tenant = :tenant where t.x > 1",
    "select a from t, u where u.id = t.u and u.tenant = :tenant",
    "select c.a from c left join o on o.c = c.id and o.tenant = :tenant where c.tenant = :tenant",
    "select a from t where id in (select t from u where tenant = :tenant)",
    "select a from t where exists (select 1 from u where u.id = t.u and u.tenant = :tenant)",
    "select a from (select a from t where tenant = :tenant) s where s.a > 1",
    "with own as (select a from t where tenant = :tenant) select a from own",
    "with recursive r(a) as (select a from t where tenant = :tenant union all select t.a from t join r on t.p = r.a) select a from r",
    "select a from t where tenant = :tenant union all select a from u where tenant = :tenant",
    "select a from t where id in (select value from json_each(:tenant))",
    "select t.a from json_each(:tenant) j join t on t.id = j.value",
    "select count(*) from t where tenant = :tenant group by a having count(*) > 1 order by 1 limit :n",
    "select :tenant as me",
    "values (:tenant)",
    "select a, :tenant from t where tenant = :tenant",
    "insert into t (tenant, a) values (:tenant, :a)",
    "update t set a = :a where id = :id and tenant = :tenant",
    "delete from t where tenant = :tenant",
];

const FAIL: &[(&str, &str)] = &[
    ("select :tenant as me, a from t", ONLY_SHOWN),
    ("select :tenant as me, a from t where x = 1", ONLY_SHOWN),
    ("select a from t order by tenant = :tenant", ONLY_SHOWN),
    ("select a from t where tenant <> :tenant", DIFFERS),
    ("select a from t where tenant != :tenant", DIFFERS),
    ("select a from t where not tenant = :tenant", DIFFERS),
    ("select a from t where not (tenant = :tenant and x = 1)", DIFFERS),
    ("select a from t where tenant not in (:tenant)", DIFFERS),
    ("select a from t where tenant = :tenant or 1=1", OR),
    ("select a from t where tenant = :tenant or 1", OR),
    ("select a from t where tenant = :tenant or x = :x", OR),
    ("select a from t where x = 1 and (tenant = :tenant or public)", OR),
    ("select a from t where x = 1 or y = 2 and tenant = :tenant", OR),
    ("select a from t where :tenant = :tenant", CONSTANT),
    ("select a from t where :tenant = 'x'", CONSTANT),
    ("update t set tenant = :tenant where id = :id", ONLY_WRITTEN),
];

const UNSURE: &[&str] = &[
    "select a from t where tenant like :tenant",
    "select a from t where tenant > :tenant",
    "select a from t where instr(tenant, :tenant)",
    "select a from t where tenant = coalesce(:tenant, tenant)",
    "select a from c left join t on t.tenant = :tenant",
    "select a from t where tenant = :tenant union all select a from u",
    "select (select count(*) from u where tenant = :tenant) from t",
    "select a from t where not exists (select 1 from u where tenant = :tenant)",
    "select a from t where case when tenant = :tenant then 1 else 0 end",
];

#[test]
fn a_statement_keeps_to_the_caller_if_every_row_has_the_value() {
    let fail = FAIL.iter().map(|(sql, why)| (*sql, Tie::Fails(why)));
    let rows = HOLD.iter().map(|sql| (*sql, Tie::Holds)).chain(fail);
    let rows: Vec<_> = rows.chain(UNSURE.iter().map(|sql| (*sql, Tie::Unsure))).collect();
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let found: Vec<_> = rows.iter().map(|(sql, _)| (*sql, of(sql, dialect))).collect();
        let wrong: Vec<_> = found.iter().zip(&rows).filter(|(found, row)| found != row).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn each_database_has_ways_of_its_own_to_say_it() {
    for sql in [
        "select a from t where tenant = :tenant::text",
        "select a from t where tenant = any(array[:tenant])",
        "select a from t where tenant is not distinct from :tenant",
        "select t.a from t join unnest(:tenant::text[]) as u(v) on u.v = t.id",
        "select a from t where data ->> 'tenant' = :tenant",
        "select a from t where data @> '{}' and tenant = :tenant for update",
        "select distinct on (a) a, b from t where tenant = :tenant",
        "select a from t where tenant = :tenant and b ilike :b || '%' limit :n offset :m",
    ] {
        assert_eq!(of(sql, Dialect::Postgres), Tie::Holds, "{sql}");
    }
    for sql in [
        "select a from t where tenant == :tenant",
        "select a from t where tenant is :tenant",
        "select a, group_concat(b, ', ') from t where tenant = :tenant and a glob :a",
        "select a from t indexed by i where tenant = :tenant limit :n",
        "select strftime('%Y', a) from t where tenant = :tenant and date(a) >= date('now', '-' || :n || ' days')",
    ] {
        assert_eq!(of(sql, Dialect::Sqlite), Tie::Holds, "{sql}");
    }
}

#[test]
fn what_is_no_sql_is_told_where_it_stops_being_so() {
    for (sql, at) in [
        ("select a form t where tenant = :tenant", "t"),
        ("select a from t where tenant = :tenant order a", "order"),
        ("select a,\n é from from t where tenant = :tenant", "from"),
        ("select a from t where (tenant = :tenant", "t"),
        ("select a from t whre tenant = :tenant", "tenant"),
    ] {
        let (range, why) = read(sql).unwrap_err();
        assert_eq!(sql.get(range), Some(at), "{sql}: {why}");
        assert!(!why.contains("Line"), "{why}");
    }
}

#[test]
fn what_nests_or_goes_on_without_end_is_not_read() {
    let ands = |count: usize| {
        format!("select a from t where {}tenant = :tenant", "x = 1 and ".repeat(count))
    };
    assert_eq!(read(&ands(200)), Ok(true));
    assert_eq!(of(&ands(200), Dialect::Sqlite), Tie::Holds);
    assert_eq!(read(&ands(10_000)), Ok(false));
    for deep in ["(", "not ", "- ", "case when "] {
        assert_ne!(read(&format!("select {}1 from t", deep.repeat(450))), Ok(true), "{deep}");
    }
    let sum = format!("select {}1 from t where tenant = :tenant", "1 + ".repeat(480));
    assert_eq!(of(&sum, Dialect::Sqlite), Tie::Holds);
}
