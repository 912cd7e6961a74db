//! What the fuzzer found worth keeping (`fuzz/corpus`), once more, by the same functions: on every
//! machine that runs the tests, without a fuzzer.

use crate::fuzz;
use std::path::Path;

/// Puts every file of a target's corpus to it. The last name printed is that of the one that fails.
fn replay(target: &str, function: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{target}: only {} files", files.len());
    for file in files {
        println!("{}", file.display());
        function(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn the_http_door_keeps_its_promises_for_the_whole_corpus() {
    replay("http", fuzz::http);
}

#[test]
fn the_mcp_door_keeps_its_promises_for_the_whole_corpus() {
    replay("mcp", fuzz::mcp);
}

#[test]
fn posture_files_of_the_whole_corpus_are_told_of_in_place_or_compile() {
    replay("posture", fuzz::posture);
}

#[test]
fn nobody_is_known_by_a_token_of_the_corpus_that_the_key_did_not_sign() {
    replay("jwt", fuzz::jwt);
}

#[test]
fn sqlite_and_a_second_lexer_see_the_same_placeholders_in_the_whole_corpus() {
    replay("sql", fuzz::sql);
}

#[test]
fn a_second_reader_reads_the_whole_corpus_alike_and_so_does_the_canonical_form() {
    replay("json", fuzz::json);
}
