use super::super::{Compiled, Dialect, Scan, scan};

#[path = "../../../../countersign-connectors/tests/it/server.rs"]
#[expect(dead_code, reason = "the connectors' tests use more of it")]
mod server;

fn scanned(sql: &str) -> Scan {
    scan(sql, Dialect::Postgres)
}

fn compiled(sql: &str) -> Compiled {
    let scan = scanned(sql);
    assert_eq!(scan.problems, [], "{sql}");
    assert_eq!(scan.statements, 1, "{sql}");
    scan.compile(sql, Dialect::Postgres)
}

#[test]
fn placeholders_become_numbers_one_for_each_name() {
    for (sql, statement, names) in [
        ("select :b, :a, :b where x=:c_1", "select $1, $2, $1 where x=$3", &["b", "a", "c_1"][..]),
        ("select(:a)+:b||:c", "select($1)+$2||$3", &["a", "b", "c"]),
        (
            "select :a::int4, x::text, :b :: text",
            "select $1::int4, x::text, $2 :: text",
            &["a", "b"],
        ),
        ("select limit:a", "select limit $1", &["a"]),
        ("select x$:a", "select x$ $1", &["a"]),
        (
            "select 1 where a->>:k=:v and b@>:d and c?:e",
            "select 1 where a->>$1=$2 and b@>$3 and c?$4",
            &["k", "v", "d", "e"],
        ),
        ("select f(a := :a, b => :b)", "select f(a := $1, b => $2)", &["a", "b"]),
        (
            "select array[:a,:b], array[[:a],[2,:c]]",
            "select array[$1,$2], array[[$1],[2,$3]]",
            &["a", "b", "c"],
        ),
        (
            "select x[1:2], x[(:a)], x[f(:b):3], x[:], x[1 : n]",
            "select x[1:2], x[($1)], x[f($2):3], x[:], x[1 : n]",
            &["a", "b"],
        ),
        ("select x[y[1:2]:3], array[x[1:2], :a]", "select x[y[1:2]:3], array[x[1:2], $1]", &["a"]),
        ("select :a[1:2], (:b)[1]", "select $1[1:2], ($2)[1]", &["a", "b"]),
        (
            "select 'it''s' || :a || E'it\\'s :b' || :c",
            "select 'it''s' || $1 || E'it\\'s :b' || $2",
            &["a", "c"],
        ),
        ("select 'a\\', :a", "select 'a\\', $1", &["a"]),
        ("select foe'\\', :a", "select foe'\\', $1", &["a"]),
        (
            "select $$ :x ' $$ || :a || $t$ $$ :y $t$",
            "select $$ :x ' $$ || $1 || $t$ $$ :y $t$",
            &["a"],
        ),
        ("select a$$b, :a, c$$d", "select a$$b, $1, c$$d", &["a"]),
        ("select 1 /* /* :x */ ' */ + :a", "select 1 /* /* :x */ ' */ + $1", &["a"]),
        ("select 1 -- :x '\r + :a", "select 1 -- :x '\r + $1", &["a"]),
        ("select \"a\"\":x\" + :a", "select \"a\"\":x\" + $1", &["a"]),
        ("select U&'d\\0061t:x' || :a", "select U&'d\\0061t:x' || $1", &["a"]),
        ("select `:a`", "select `$1`", &["a"]),
    ] {
        let parameters = names.iter().map(|name| (*name).to_owned()).collect();
        let statement = statement.to_owned();
        assert_eq!(compiled(sql), Compiled { statement, parameters }, "{sql}");
    }
}

#[test]
fn what_does_not_end_or_could_be_read_in_two_ways_is_a_problem() {
    for (sql, says) in [
        ("select $1", "only `:name`"),
        ("select $a", "only `:name`"),
        ("select :a$b", "only `:name`"),
        ("select : a", "a colon stands without a name"),
        ("select array[: a]", "a colon stands without a name"),
        ("select x[:n]", "could be a slice"),
        ("select x[1:n]", "could be a slice"),
        ("select x[1:n::int]", "could be a slice"),
        ("select 'a", "is not closed"),
        ("select E'a\\'", "is not closed"),
        ("select \"a", "is not closed"),
        ("select $$ a $", "is not closed"),
        ("select $t$ a $$", "is not closed"),
        ("select /* /* */ 1", "is not closed"),
        ("select E'a' -- and\n  'b\\', :a'", "goes on in another line"),
        ("select 1e'\\', :a'", "runs into"),
        ("select 1$$ :a $$", "runs into"),
        ("select 1a$$ :a $$", "runs into"),
    ] {
        let problems = scanned(sql).problems;
        assert!(problems.iter().any(|(_, message)| message.contains(says)), "{sql}: {problems:?}");
    }
}

#[test]
fn reads_begin_as_reads_and_stay_so() {
    for sql in [
        "select 1",
        "with t as (select 1) select replace(a, 'b', 'c') from t",
        "select deleted from t where (updated)",
        "select count(*) filter (where a) from t",
    ] {
        assert!(scanned(sql).reads(), "{sql}");
    }
    for sql in [
        "delete from t",
        "with t as (delete from u returning a) select a from t",
        "with t as materialized ( /* all */ UPDATE u set a = 1 returning a) select a from t",
        "with t as (merge into u using v on true when matched then delete) select 1",
        "select a into u from t",
        "select a from t for update",
        "table t",
        "do $$ begin end $$",
    ] {
        assert!(!scanned(sql).reads(), "{sql}");
    }
}

#[test]
fn an_array_in_a_text_is_no_template() {
    assert_eq!(scanned("select '{{1,2},{3,4}}'::int[]").interpolations, []);
    assert_eq!(scanned("select '{{ name }}', $$ ${x} $$").interpolations.len(), 2);
}

// ── a million statements ────────────────────────────────────────────────────────────────────────

/// Numbers that look like chance and are the same every time (xorshift, 64 bits).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    /// Up to `most` of them, one after the other.
    fn string(&mut self, from: &[&str], most: usize) -> String {
        (0..self.roll(most + 1)).map(|_| self.pick(from)).collect()
    }
}

/// What hides a placeholder, half of it, and what looks like the end of that.
const INSIDE: &[&str] = &[
    ":t1", ":n1", " :t2 ", "''", "\"\"", "--", "/*", "*/", "$$", "$a$", "$", "\n", "\r", ";", "E",
    "e", "::", ":", "\u{e9}", "x", "1", "(", "[", "]", "`", "?", "@", "{", "}",
];

/// A statement and what it must become, built side by side and never by scanning.
#[derive(Default)]
struct Built {
    sql: String,
    statement: String,
    names: Vec<String>,
}

impl Built {
    fn put(&mut self, text: &str) {
        self.sql.push_str(text);
        self.statement.push_str(text);
    }

    fn bind(&mut self, name: &str) {
        let known = self.names.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.sql.push_str(&format!(":{name}"));
        self.statement.push_str(&format!("${}", place + 1));
    }

    /// One expression that is a text to PostgreSQL.
    fn expression(&mut self, dice: &mut Dice) {
        match dice.roll(14) {
            0..=3 => {
                self.bind(dice.pick(&["t1", "t2", "t3"]));
                self.put(dice.pick(&["::text", " :: text", "::varchar"]));
            }
            4 => {
                let inside = dice.string(INSIDE, 6);
                let inside: String =
                    inside.replace("''", "\0").replace('\'', "").replace('\0', "''");
                self.put(&format!("{}'{inside}\\'", dice.pick(&["", "n", "N"])));
            }
            5 => {
                let inside: String = dice.string(
                    &[":t1", "\\'", "\\\\", "''", "\\n", "--", "$$", "\"", "/*", " ", "\n", ":n1"],
                    6,
                );
                self.put(&format!("{}'{inside}'", dice.pick(&["e", "E"])));
            }
            6 => self.put(&format!("U&'{}'", dice.string(INSIDE, 4))),
            7 => {
                let mark = dice.pick(&["$$", "$a$", "$A_1$", "$\u{e9}$"]);
                let inside = dice.string(INSIDE, 6).replace(mark, "") + "'";
                let inside = if inside.contains(mark) { "'".to_owned() } else { inside };
                self.put(&format!("{mark}{inside}{mark}"));
            }
            8 => {
                self.put("(array[");
                self.bind("n1");
                self.put("::int, 2])[1:2]::text");
            }
            9 => {
                self.put("(array[[1,2],[3,");
                self.bind("n2");
                self.put("::int]])[1][(");
                self.bind("n1");
                self.put("::int)]::text");
            }
            10 => {
                self.put("make_interval(days :=");
                self.bind("n1");
                self.put("::int)::text");
            }
            11 => {
                self.put("(");
                self.bind("j1");
                self.put("::jsonb->>");
                self.bind("t1");
                self.put("::text)");
            }
            12 => {
                self.put("('{\"a\": {\"b\": 1}}'::jsonb ?");
                self.bind("t2");
                self.put("::text)::text");
            }
            _ => self.put(dice.pick(&["1e5::text", "1.5::text", "'x'::text", "(1 :: int4)::text"])),
        }
    }

    fn trivia(&mut self, dice: &mut Dice) {
        let comment = match dice.roll(8) {
            0 => format!("--{}\n", dice.string(INSIDE, 4).replace(['\n', '\r'], "")),
            1 => format!(
                "/*{}*/",
                dice.string(&[":t1", "'", "$$", " ", "/* :n1 */", "\n", "\"", "E'"], 4)
            ),
            2 => "\n".to_owned(),
            3 => " \t".to_owned(),
            _ => String::new(),
        };
        self.put(&comment);
    }

    fn new(dice: &mut Dice) -> Self {
        let mut built = Self::default();
        built.put("select ");
        for number in 0..1 + dice.roll(6) {
            if number > 0 {
                built.trivia(dice);
                // A name may hold dollars and much else.
                let name = dice.pick(&[
                    "",
                    "",
                    " as a$1",
                    " as e$$",
                    " as \":t1\"",
                    " as \"'\"\"$$\"",
                    " as \u{e9}",
                ]);
                built.put(if name.is_empty() { dice.pick(&["||", ","]) } else { name });
                if !name.is_empty() {
                    built.trivia(dice);
                    built.put(",");
                }
                built.trivia(dice);
            }
            built.expression(dice);
        }
        built.put(dice.pick(&["", ";", " -- :t1", "\n/* :t1 */"]));
        built
    }
}

fn check(count: usize, seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut uses = 0;
    for _ in 0..count {
        let Built { sql, statement, names } = Built::new(&mut dice);
        uses += names.len();
        assert_eq!(compiled(&sql), Compiled { statement, parameters: names }, "{sql}");
    }
    uses
}

#[test]
fn no_placeholder_is_bound_where_it_is_hidden_and_none_is_missed_elsewhere() {
    assert!(check(20_000, 0x9e37_79b9_7f4a_7c15) > 10_000);
}

#[test]
#[ignore = "a million statements: run it by hand, in release or with patience"]
fn nor_in_a_million_statements() {
    let uses = check(1_000_000, 0x2545_f491_4f6c_dd1d);
    println!("a million statements, {uses} parameters");
}

/// Fragments of which most statements are none at all; those that the server takes are telling.
fn soup(dice: &mut Dice) -> String {
    let fragments = [
        "'",
        "'",
        "''",
        "E'",
        "\\",
        "$$",
        "$a$",
        ":t1::text",
        "||",
        "||",
        "--",
        "\n",
        "/*",
        "*/",
        "\"",
        "x",
        "1",
        ",",
        " ",
        "'a'",
        "e",
        "$",
        "U&",
        "N",
        "::text",
        "[",
        "]",
        "(",
        ")",
        "array[",
        ":t2::text",
        "\r",
    ];
    let soup: String = (0..3 + dice.roll(10)).map(|_| dice.pick(&fragments)).collect();
    format!("select 'a'||{soup}")
}

/// The server prepares each, and says how many parameters it saw; −1 where it takes it for no
/// statement.
fn seen_by_the_server(statements: &[String]) -> Vec<i64> {
    let values = statements
        .iter()
        .enumerate()
        .map(|(number, text)| format!("({number}, '{}')", text.replace('\'', "''")));
    let script = format!(
        "create function seen(t text) returns int language plpgsql as $f$
         declare n int;
         begin
           execute 'prepare s as ' || t;
           select cardinality(parameter_types) into n from pg_prepared_statements where name = 's';
           deallocate s;
           return n;
         exception when others then return -1;
         end $f$;
         set client_min_messages = error;
         select seen(t) from (values {}) as v (n, t) order by n;",
        values.collect::<Vec<_>>().join(",\n")
    );
    let server = server::Server::start();
    let said = server.database("").run(&script);
    said.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn postgresql_sees_as_many_parameters_as_were_bound() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let (mut statements, mut expected) = (Vec::new(), Vec::new());
    let mut add = |sql: &str, must_be: bool| {
        let scan = scanned(sql);
        if scan.problems.is_empty() && scan.statements == 1 {
            let Compiled { statement, parameters } = scan.compile(sql, Dialect::Postgres);
            statements.push(statement);
            expected.push((i64::try_from(parameters.len()).unwrap(), must_be));
        }
    };
    for _ in 0..4_000 {
        add(&Built::new(&mut dice).sql, true);
    }
    for _ in 0..60_000 {
        add(&soup(&mut dice), false);
    }
    let seen = seen_by_the_server(&statements);
    assert_eq!(seen.len(), expected.len());
    let mut taken = 0;
    for ((seen, (bound, must_be)), statement) in seen.iter().zip(expected).zip(&statements) {
        assert!(*seen == bound || *seen < 0 && !must_be, "{seen} is not {bound}: {statement}");
        taken += usize::from(*seen >= 0);
    }
    println!("{taken} of {} statements were taken by the server", statements.len());
    assert!(taken > 4_500, "{taken}");
}
