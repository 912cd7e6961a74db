//! As much of SQL as is needed to know a statement's placeholders, and that it is one statement.
//!
//! Not a parser: the database is. But what is bound, what is quoted and where a statement ends must
//! be seen here exactly as SQLite's tokenizer sees it, or a placeholder could hide from the check.

use std::ops::Range;

/// What stands in a text of SQL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scan {
    /// The names after a colon, without it, each once, in order of first use, and where.
    pub(crate) placeholders: Vec<(String, Range<usize>)>,
    /// How many statements there are; blanks, comments and lone semicolons are none.
    pub(crate) statements: usize,
    /// The first word of the first statement, in lower case, if it begins with a word.
    pub(crate) keyword: Option<String>,
    /// Whether the statement that `with` introduces changes something.
    pub(crate) writes: bool,
    /// What looks as if text were put into the statement; with a name where that is a placeholder
    /// inside quotes, which is interpolation only if there is such an argument.
    pub(crate) interpolations: Vec<(Range<usize>, Option<String>)>,
    /// What cannot be bound or does not end: where, and what is wrong with it.
    pub(crate) problems: Vec<(Range<usize>, String)>,
}

impl Scan {
    /// Whether it begins as a statement that only reads.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.keyword.as_deref(), Some("select" | "values" | "with")) && !self.writes
    }

    /// The placeholders' names, in order of first use.
    pub(crate) fn parameters(&self) -> Vec<String> {
        self.placeholders.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Scans a text.
pub(crate) fn scan(sql: &str) -> Scan {
    let mut scanner =
        Scanner { sql, at: 0, begun: false, depth: 0, word: String::new(), scan: Scan::default() };
    while let Some(next) = scanner.peek() {
        scanner.token(next);
    }
    scanner.end_statement();
    scanner.scan
}

struct Scanner<'a> {
    sql: &'a str,
    at: usize,
    /// Whether the statement at hand has a token yet.
    begun: bool,
    /// Open parentheses.
    depth: usize,
    /// The last word outside parentheses, in lower case.
    word: String,
    scan: Scan,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest.find(|c| !wanted(c)).and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.at = self.at.saturating_add(taken.len());
        taken
    }

    fn token(&mut self, next: char) {
        let start = self.at;
        let rest = self.rest();
        if rest.starts_with("--") {
            self.take_while(|c| c != '\n');
            return;
        }
        if rest.starts_with("/*") {
            self.comment(start);
            return;
        }
        if word_character(next) {
            let word = self.take_while(word_character);
            self.word(word);
            return;
        }
        self.at = start.saturating_add(next.len_utf8());
        match next {
            c if c.is_ascii_whitespace() => return,
            ';' => {
                self.end_statement();
                return;
            }
            '\'' | '"' | '`' => self.quoted(next, start),
            '[' => self.bracketed(start),
            ':' => self.colon(start),
            '{' if self.rest().starts_with('{') => self.template(start, "}}"),
            '$' if self.rest().starts_with('{') => self.template(start, "}"),
            '%' if formats(self.rest()) && !before(self.sql, start, word_character) => {
                self.at = self.at.saturating_add(1);
                self.scan.interpolations.push((start..self.at, None));
            }
            '?' | '@' | '$' => {
                self.take_while(word_character);
                self.problem(start, "only `:name` placeholders are bound");
            }
            '(' => self.depth = self.depth.saturating_add(1),
            ')' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.begun = true;
    }

    fn end_statement(&mut self) {
        self.scan.statements = self.scan.statements.saturating_add(usize::from(self.begun));
        self.begun = false;
        self.depth = 0;
        self.word.clear();
    }

    fn word(&mut self, word: &str) {
        let word = word.to_ascii_lowercase();
        if !self.begun && self.scan.statements == 0 {
            self.scan.keyword = Some(word.clone());
        }
        self.begun = true;
        if self.depth == 0 {
            let writes = matches!(word.as_str(), "insert" | "update" | "delete");
            self.scan.writes |= writes || (self.word == "replace" && word == "into");
            self.word = word;
        }
    }

    fn colon(&mut self, start: usize) {
        if self.rest().starts_with(':') {
            self.at = self.at.saturating_add(1);
            self.take_while(word_character);
            return;
        }
        let name = self.take_while(word_character);
        if name.is_empty() {
            self.problem(start, "a colon stands without a name");
        } else if self.scan.placeholders.iter().all(|(known, _)| known != name) {
            self.scan.placeholders.push((name.to_owned(), start..self.at));
        }
    }

    /// Up to the closing mark; a doubled mark is one inside.
    fn quoted(&mut self, mark: char, start: usize) {
        loop {
            self.take_while(|c| c != mark);
            if self.peek().is_none() {
                self.problem(start, "a quoted text is not closed");
                return;
            }
            self.at = self.at.saturating_add(1);
            if self.peek() != Some(mark) {
                self.literal(start);
                return;
            }
            self.at = self.at.saturating_add(1);
        }
    }

    /// What is quoted is text to the database, whatever it looks like.
    fn literal(&mut self, start: usize) {
        let text = self.sql.get(start..self.at).unwrap_or_default();
        let formats_itself = formatter(self.sql.get(..start).unwrap_or_default());
        for (offset, c) in text.char_indices() {
            let after = text.get(offset.saturating_add(c.len_utf8())..).unwrap_or_default();
            let word = after.find(|c| !word_character(c)).and_then(|end| after.get(..end));
            let (length, name) = match c {
                ':' if !before(text, offset, |c| word_character(c) || c == ':') => match word {
                    Some(name) if !name.is_empty() => (name.len(), Some(name.to_owned())),
                    _ => continue,
                },
                '{' | '$' if after.starts_with('{') => (1, None),
                '%' if formats(after) && !formats_itself => (1, None),
                _ => continue,
            };
            let from = start.saturating_add(offset);
            let to = from.saturating_add(1).saturating_add(length);
            self.scan.interpolations.push((from..to, name));
        }
    }

    /// A template's hole outside quotes, up to its end.
    fn template(&mut self, start: usize, end: &str) {
        let length =
            self.rest().find(end).map_or(self.rest().len(), |at| at.saturating_add(end.len()));
        self.at = self.at.saturating_add(length);
        self.scan.interpolations.push((start..self.at, None));
    }

    fn bracketed(&mut self, start: usize) {
        self.take_while(|c| c != ']');
        if self.peek().is_none() {
            self.problem(start, "a bracket is not closed");
        }
        self.at = self.at.saturating_add(1).min(self.sql.len());
    }

    fn comment(&mut self, start: usize) {
        let inside = start.saturating_add("/*".len());
        let end = self.sql.get(inside..).and_then(|rest| rest.find("*/"));
        if let Some(end) = end {
            self.at = inside.saturating_add(end).saturating_add("*/".len());
        } else {
            self.at = self.sql.len();
            self.problem(start, "a comment is not closed");
        }
    }

    fn problem(&mut self, start: usize, message: &str) {
        self.scan.problems.push((start..self.at, message.to_owned()));
    }
}

/// Whether what follows a `%` makes it C's `%s`.
fn formats(after: &str) -> bool {
    after.strip_prefix('s').is_some_and(|rest| !rest.starts_with(word_character))
}

/// Whether the character before an offset is such.
fn before(text: &str, offset: usize, such: impl Fn(char) -> bool) -> bool {
    text.get(..offset).is_some_and(|text| text.ends_with(such))
}

/// Whether what precedes a text makes it one of SQLite's own formats.
fn formatter(before: &str) -> bool {
    let Some(before) = before.trim_end().strip_suffix('(') else { return false };
    let before = before.trim_end().to_ascii_lowercase();
    ["strftime", "printf", "format"].iter().any(|name| before.ends_with(name))
}

/// What SQLite takes into an identifier, a number or a parameter's name.
fn word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            let found: Vec<_> = scan
                .interpolations
                .iter()
                .map(|(range, _)| sql.get(range.clone()).unwrap())
                .collect();
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
}
