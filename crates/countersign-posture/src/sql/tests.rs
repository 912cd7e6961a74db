use super::*;
use proptest::prelude::*;

fn scan(sql: &str) -> Scan {
    super::scan(sql, Dialect::Sqlite)
}

fn names(sql: &str) -> Vec<String> {
    scan(sql).parameters()
}

#[test]
fn placeholders_come_in_order_of_first_use_each_once() {
    assert_eq!(names("select :b, :a, :b where x=:c_1"), ["b", "a", "c_1"]);
    assert_eq!(scan("select :b").placeholders, [("b".to_owned(), 7..9)]);
    assert_eq!(names("select(:a)+:b||:c"), ["a", "b", "c"]);
    assert_eq!(names("select :naïve"), ["naïve"]);
}

#[test]
fn what_is_quoted_or_commented_out_is_no_placeholder() {
    for sql in [
        "select ':a'",
        "select 'it''s :a'",
        "select \":a\"",
        "select \"x\"\":a\"",
        "select [:a]",
        "select `:a`",
        "select `x``:a`",
        "select 1 -- :a",
        "select 1 /* :a ; ' */",
        "select a::text",
        "select a::text from t -- it's ;",
    ] {
        let scan = scan(sql);
        assert_eq!(scan.placeholders, [], "{sql}");
        assert_eq!(scan.problems, [], "{sql}");
        assert_eq!(scan.statements, 1, "{sql}");
    }
    // Doubling a mark does not reopen the text for what follows it.
    assert_eq!(names("select '''' || :a"), ["a"]);
    assert_eq!(names("select '' || :a"), ["a"]);
    assert_eq!(names("select 1 -- x\n, :a"), ["a"]);
    assert_eq!(names("select 1 /* x */, :a"), ["a"]);
    assert_eq!(names("select 1 /*/ :b */, :a"), ["a"]);
    assert_eq!(names("select 'x\\', :a"), ["a"]);
}

#[test]
fn what_cannot_be_bound_or_does_not_end_is_a_problem() {
    for sql in [
        "select ?",
        "select ?1",
        "select @a",
        "select $a",
        "select : a",
        "select 'a",
        "select \"a",
        "select `a",
        "select [a",
        "select 1 /* a",
        "select '",
        "select :na$me",
        // What SQLite takes for one name, as Tcl does.
        "select :a::text",
        "select :::a",
        "select :a(b)",
        "select #a",
    ] {
        assert_eq!(scan(sql).problems.len(), 1, "{sql}");
    }
}

#[test]
fn text_put_into_a_statement_is_seen_where_it_stands() {
    for (sql, holes) in [
        ("select ':a'", vec![":a"]),
        ("select '%:a%' || \":b\" || ':a:c'", vec![":a", ":b", ":a"]),
        ("select * from t where x = {{ a }}", vec!["{{ a }}"]),
        ("select * from t where x = ${a} and y = '${b}'", vec!["${a}", "${"]),
        ("select * from t where x = %s and y = '%s'", vec!["%s", "%s"]),
        ("select {{ open", vec!["{{ open"]),
    ] {
        let scan = scan(sql);
        let found: Vec<_> =
            scan.interpolations.iter().map(|(range, _)| sql.get(range.clone()).unwrap()).collect();
        assert_eq!(found, holes, "{sql}");
        assert_eq!(scan.problems, [], "{sql}");
    }
    for sql in [
        "select '12:30', 'a::b', ': a', 'http://x'",
        "select strftime('%s', day), printf ( '%s', :a), FORMAT('%s', 1)",
        "select * from t where x like '%sold%' and 5%s.n = 1 and [{{a}}]",
        "select '{\"a\":{}}' -- ':a' {{b}} %s",
    ] {
        assert_eq!(scan(sql).interpolations, [], "{sql}");
    }
}

#[test]
fn statements_are_counted_without_blanks_and_comments() {
    for (sql, count) in [
        ("", 0),
        (" ; -- x\n ;/* y */", 0),
        ("select 1", 1),
        ("select 1;", 1),
        ("select 1; -- done", 1),
        ("select ';'", 1),
        ("select 1; select 2", 2),
        ("select 1;;drop table t;", 2),
    ] {
        assert_eq!(scan(sql).statements, count, "{sql}");
    }
}

#[test]
fn reads_begin_as_reads_and_stay_so() {
    for sql in [
        "select 1",
        "  -- x\n SELECT 1",
        "values (1)",
        "with t as (select 1) select replace(a, 'b', 'c') from t",
        "with t as (select 1) select \"delete\" from t",
    ] {
        assert!(scan(sql).reads(), "{sql}");
    }
    for sql in [
        "",
        "delete from t",
        "(select 1)",
        "pragma writable_schema = 1",
        "explain select 1",
        "with t as (select 1) delete from t",
        "with t as (select 1) INSERT into u select * from t",
        "with t as (select 1) replace into u select * from t",
    ] {
        assert!(!scan(sql).reads(), "{sql}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_scanner_panic_or_stand_still(sql in "(?s).{0,100}") {
        let _scan = scan(&sql);
    }

    #[test]
    fn a_quoted_text_hides_whatever_it_holds(inside in "[^']{0,20}") {
        let scan = scan(&format!("select '{inside}', :a"));
        prop_assert_eq!(scan.parameters(), ["a"]);
        prop_assert_eq!(scan.statements, 1);
    }
}

mod postgres;

#[test]
fn the_holes_of_other_template_languages_are_interpolation() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        for (sql, hole, name) in [
            ("select '{x}'", "{x}", Some("x")),
            ("select '%(x)s'", "%(x)s", None),
            ("select '#{x}'", "#{", None),
            ("select '<%= x %>'", "<%= x %>", None),
            ("select * from t where a = #{x}", "#{x}", None),
            ("select * from t where a = {x}", "{x}", None),
            ("select * from t where a = %(x)s", "%(x)s", None),
            ("select * from t where a = <%= x %>", "<%= x %>", None),
        ] {
            let found = super::scan(sql, dialect).interpolations;
            let [(range, known)] = &found[..] else { panic!("{sql}: {found:?}") };
            assert_eq!((sql.get(range.clone()), known.as_deref()), (Some(hole), name), "{sql}");
        }
        for sql in ["select '{}', '{1,2}', '<%', '%(', 'a # {x'", "select 5 % (3), a <% b from t"] {
            assert_eq!(super::scan(sql, dialect).interpolations, [], "{sql}");
        }
    }
}
