//! That no question goes through a whole table.

use super::file::TABLES;
use super::statements::{OF_INDEX, OF_JOURNAL};
use rusqlite::Connection;

/// What SQLite plans to do for each statement, as `EXPLAIN QUERY PLAN` says it.
fn plans(tables: &str, statements: &[&str]) -> Vec<String> {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(tables).unwrap();
    let mut steps = Vec::new();
    for sql in statements {
        let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // What is bound does not matter to the plan.
        let mut rows = explained.raw_query();
        while let Some(row) = rows.next().unwrap() {
            steps.push(format!("{}: {sql}", row.get::<_, String>(3).unwrap()));
        }
    }
    assert!(steps.len() >= statements.len());
    steps
}

#[test]
fn every_question_finds_its_rows_by_an_index_and_in_their_order() {
    let of_index = plans(TABLES, &OF_INDEX);
    let of_journal = plans(include_str!("../sqlite/schema/1.sql"), &OF_JOURNAL);
    for plan in of_index.into_iter().chain(of_journal) {
        assert!(plan.starts_with("SEARCH "), "{plan}");
    }
}

#[test]
fn the_plan_of_a_scan_is_told_from_that_of_a_search() {
    let plans = plans(TABLES, &["SELECT draft FROM drafts WHERE how = ?1"]);
    assert!(plans[0].starts_with("SCAN "), "{plans:?}");
}
