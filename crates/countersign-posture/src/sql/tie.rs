//! Whether a statement keeps to the caller's rows: a second judge beside the scan, which reads the
//! statement's grammar. It only ever speaks of what it could read.

use super::{Dialect, Scan};
use sqlparser::ast::{
    BinaryOperator, Delete, Expr, FromTable, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, InTarget, JoinConstraint, JoinOperator, Query, Select, SetExpr, SetOperator,
    Statement, TableFactor, TableWithJoins, UnaryOperator, Update, UpdateTableFromKind,
};
use sqlparser::dialect::{PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use std::ops::Range;

/// Longest statement that is read, in tokens: what nests or goes on longer costs stack.
const TOKENS_MAX: usize = 1_000;
/// Stack for reading one, of which only what is used is taken.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What binds a statement's rows to a value that is bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// Every row has it.
    Holds,
    /// Rows without it come too: why.
    Fails(&'static str),
    /// It has a part in which rows come; which, is not seen.
    Unsure,
    /// It has none.
    Absent,
}

/// How each of `names` ties the rows of a statement, where the others are the caller's as well. `None`
/// if it is too long to be read here.
///
/// # Errors
/// Where it is no SQL of its dialect, as far as this parser knows it, and why.
pub(crate) fn ties(
    sql: &str,
    (scan, dialect): (&Scan, Dialect),
    names: &[&str],
) -> Result<Option<Vec<Tie>>, (Range<usize>, String)> {
    let judge = || {
        let parsed = match dialect {
            Dialect::Sqlite => parse(sql, scan, &SQLiteDialect {}),
            Dialect::Postgres => parse(sql, scan, &PostgreSqlDialect {}),
        };
        let statements = parsed?;
        let [statement] = statements.as_slice() else { return Ok(None) };
        let tie = |name: &&str| {
            let others: Vec<_> = names.iter().copied().filter(|other| other != name).collect();
            tie(statement, name, &others)
        };
        Ok(Some(names.iter().map(tie).collect()))
    };
    // The parser goes down by recursion, and not all of it counts: so much stack is enough for
    // `TOKENS_MAX`, however they nest.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let judged = thread.spawn_scoped(scope, judge);
        // A statement of which nothing is known here is judged by the scan alone, as before.
        judged.ok().and_then(|judged| judged.join().ok()).unwrap_or(Ok(None))
    })
}

fn parse(
    sql: &str,
    scan: &Scan,
    dialect: &dyn sqlparser::dialect::Dialect,
) -> Result<Vec<Statement>, (Range<usize>, String)> {
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| placed(sql, &error.to_string()))?;
    let blank = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    if tokens.iter().filter(blank).count() > TOKENS_MAX {
        return Ok(Vec::new());
    }
    let mut parser = Parser::new(dialect).with_tokens_with_locations(bound(sql, scan, tokens));
    match parser.parse_statements() {
        Ok(statements) => Ok(statements),
        Err(ParserError::RecursionLimitExceeded) => Ok(Vec::new()),
        Err(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("sql parser error: ").unwrap_or(&text);
            Err(placed(sql, text))
        }
    }
}

/// The placeholders that the scan saw, each as one token.
fn bound(sql: &str, scan: &Scan, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let lines = lines(sql);
    let mut uses = scan.uses.iter().map(|(range, _)| range).peekable();
    let mut kept = Vec::with_capacity(tokens.len());
    for mut token in tokens {
        let at = offset(sql, &lines, token.span.start);
        while uses.peek().is_some_and(|range| range.end <= at) {
            uses.next();
        }
        match uses.peek() {
            Some(range) if range.start == at => {
                let name = sql.get((*range).clone()).unwrap_or_default().to_owned();
                token.token = Token::Placeholder(name);
                kept.push(token);
            }
            // What is left of a placeholder after its colon.
            Some(range) if range.contains(&at) => {}
            _ => kept.push(token),
        }
    }
    kept
}

fn lines(sql: &str) -> Vec<usize> {
    let ends = sql.match_indices('\n').map(|(at, _)| at.saturating_add(1));
    std::iter::once(0).chain(ends).collect()
}

/// From a line and a column, both counted from 1 and in characters.
fn offset(sql: &str, lines: &[usize], Location { line, column }: Location) -> usize {
    let number = |from_one: u64| usize::try_from(from_one.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(&start) = lines.get(number(line)) else { return sql.len() };
    let rest = sql.get(start..).unwrap_or_default();
    let within = rest.char_indices().nth(number(column)).map_or(rest.len(), |(at, _)| at);
    start.saturating_add(within)
}

/// The place that the parser's words end with, and the words without it.
fn placed(sql: &str, text: &str) -> (Range<usize>, String) {
    let whole = 0..sql.len();
    if let Some(expected) = text.strip_suffix("found: EOF") {
        let end = sql.trim_end().len();
        let last = sql.get(..end).and_then(|sql| sql.chars().next_back()).map_or(0, char::len_utf8);
        return (end.saturating_sub(last)..end, format!("{expected}found the end"));
    }
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return (whole, text.to_owned());
    };
    let numbers = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.parse().ok()?, column: column.parse().ok()? })
    });
    let Some(location) = numbers.filter(|place| place.line > 0) else {
        return (whole, message.to_owned());
    };
    let start = offset(sql, &lines(sql), location);
    let rest = sql.get(start..).unwrap_or_default();
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let length = word.max(rest.chars().next().map_or(0, char::len_utf8));
    (start..start.saturating_add(length), message.to_owned())
}

/// How `name` ties the rows of a statement. `others` are the values that are the caller's as well.
fn tie(statement: &Statement, name: &str, others: &[&str]) -> Tie {
    let judge = Judge { name, others };
    match statement {
        Statement::Query(query) => match judge.query(query) {
            Tie::Absent => Tie::Fails(ONLY_SHOWN),
            tie => tie,
        },
        Statement::Update(Update { selection, from, table, .. }) => {
            let from = match from {
                Some(
                    UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from),
                ) => from.as_slice(),
                None => &[],
            };
            let found = judge.rows(selection.as_ref(), from.iter().chain([table]));
            if found == Tie::Absent { Tie::Fails(ONLY_WRITTEN) } else { found }
        }
        Statement::Delete(Delete { selection, using, from, .. }) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
            judge.rows(selection.as_ref(), using.iter().flatten().chain(from))
        }
        // What is written is whose it says it is.
        Statement::Insert(_) => Tie::Holds,
        _ => Tie::Unsure,
    }
}

const ONLY_SHOWN: &str = "stands where it keeps no row out";
const ONLY_WRITTEN: &str = "is written, and keeps no row out";
const DIFFERS: &str = "is ruled out: everybody else's rows come";
const OR: &str = "stands beside an `or` that lets other rows through";
const CONSTANT: &str = "is compared with nothing of a row";

struct Judge<'a> {
    name: &'a str,
    others: &'a [&'a str],
}

impl Judge<'_> {
    fn query(&self, Query { with, body, .. }: &Query) -> Tie {
        let ctes = with.iter().flat_map(|with| &with.cte_tables);
        let ctes = ctes.map(|cte| match &*cte.query.body {
            // What it adds to itself comes of what it began with.
            SetExpr::SetOperation { left, right, .. }
                if right.to_string().contains(&cte.alias.name.value) =>
            {
                self.set(left)
            }
            _ => self.query(&cte.query),
        });
        // What is read from it is the caller's.
        strongest(ctes.chain([self.set(body)]).collect::<Vec<_>>())
    }

    fn set(&self, body: &SetExpr) -> Tie {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op, right, .. } => {
                let (left, right) = (self.set(left), self.set(right));
                match (op, left, right) {
                    (_, Tie::Holds, Tie::Holds) => Tie::Holds,
                    (SetOperator::Union, Tie::Holds, _) | (SetOperator::Union, _, Tie::Holds) => {
                        Tie::Unsure
                    }
                    (_, Tie::Holds, _) | (SetOperator::Intersect, _, Tie::Holds) => Tie::Holds,
                    (_, Tie::Fails(why), _) | (_, _, Tie::Fails(why)) => Tie::Fails(why),
                    (_, Tie::Absent, Tie::Absent) => Tie::Absent,
                    _ => Tie::Unsure,
                }
            }
            // Of a table they are no rows.
            SetExpr::Values(_) => Tie::Holds,
            _ => Tie::Unsure,
        }
    }

    fn select(&self, select: &Select) -> Tie {
        let Select { selection, from, having, projection, .. } = select;
        let found = self.rows(selection.as_ref(), from.iter());
        let found = match having.as_ref().map(|having| self.all(having)) {
            Some(Tie::Holds) => Tie::Holds,
            Some(other) if found == Tie::Absent => other,
            _ => found,
        };
        let subqueries = || projection.iter().any(|item| item.to_string().contains("SELECT "));
        match found {
            // Without a table there is one row, and it is nobody's.
            _ if from.is_empty() && !subqueries() => Tie::Holds,
            Tie::Absent if subqueries() && self.mentions(select) => Tie::Unsure,
            found => found,
        }
    }

    /// What of tables and a condition lets rows through.
    fn rows<'e>(
        &self,
        selection: Option<&'e Expr>,
        from: impl Iterator<Item = &'e TableWithJoins>,
    ) -> Tie {
        let mut ties: Vec<Tie> =
            selection.map(|selection| self.all(selection)).into_iter().collect();
        for TableWithJoins { relation, joins } in from {
            ties.push(self.table(relation));
            for join in joins {
                let (inner, constraint) = joined(&join.join_operator);
                let on = match constraint {
                    Some(JoinConstraint::On(on)) => self.all(on),
                    _ => Tie::Absent,
                };
                for tie in [on, self.table(&join.relation)] {
                    // An outer join keeps rows that do not fit.
                    ties.push(if inner || tie == Tie::Absent { tie } else { Tie::Unsure });
                }
            }
        }
        strongest(ties)
    }

    fn table(&self, table: &TableFactor) -> Tie {
        match table {
            TableFactor::Derived { subquery, .. } => match self.query(subquery) {
                // It may be shown there to be used out here.
                Tie::Fails(_) => Tie::Unsure,
                tie => tie,
            },
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.rows(None, std::iter::once(&**table_with_joins))
            }
            // `json_each(:list)`: its rows are what was bound.
            other if self.mentions(other) => Tie::Holds,
            _ => Tie::Absent,
        }
    }

    /// A condition, all of whose parts must hold.
    fn all(&self, condition: &Expr) -> Tie {
        strongest(parts(condition, &BinaryOperator::And).into_iter().map(|part| self.part(part)))
    }

    fn part(&self, part: &Expr) -> Tie {
        use BinaryOperator::{Eq, Is, IsNot, NotEq, Or};
        let unsure = || if self.mentions(part) { Tie::Unsure } else { Tie::Absent };
        match part {
            Expr::BinaryOp { op: Or, .. } => self.any(part),
            Expr::BinaryOp { left, op: Eq | Is, right } => self.equal(left, right),
            Expr::IsNotDistinctFrom(left, right) => self.equal(left, right),
            Expr::BinaryOp { left, op: NotEq | IsNot, right }
            | Expr::IsDistinctFrom(left, right) => match self.equal(left, right) {
                Tie::Absent | Tie::Unsure => unsure(),
                Tie::Fails(why) => Tie::Fails(why),
                Tie::Holds => Tie::Fails(DIFFERS),
            },
            Expr::AnyOp { left, compare_op: Eq, right, .. } => self.equal(left, right),
            Expr::In { expr, target: InTarget::List(list), negated, .. } => {
                let ties = list.iter().map(|item| self.equal(expr, item));
                match (strongest(ties), negated) {
                    (Tie::Holds, true) => Tie::Fails(DIFFERS),
                    (tie, false) => tie,
                    (_, true) => unsure(),
                }
            }
            Expr::In { expr, target: InTarget::Subquery(subquery), negated: false, .. }
                if !fixed(expr) =>
            {
                self.query(subquery)
            }
            Expr::Exists { subquery, negated: false } => self.query(subquery),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => match self.all(expr) {
                Tie::Holds => Tie::Fails(DIFFERS),
                _ => unsure(),
            },
            Expr::Nested(inner) => self.all(inner),
            _ => unsure(),
        }
    }

    /// A condition, one of whose parts must hold.
    fn any(&self, condition: &Expr) -> Tie {
        let parts = parts(condition, &BinaryOperator::Or);
        // What is bound is never null; and a row of nobody's is nobody's secret.
        let matter = parts.iter().filter(|part| !matches!(part, Expr::IsNull(_)));
        let ties: Vec<(Tie, &Expr)> = matter.map(|part| (self.all(part), *part)).collect();
        if ties.iter().all(|(tie, _)| *tie == Tie::Holds) && !ties.is_empty() {
            return Tie::Holds;
        }
        if !ties.iter().any(|(tie, _)| *tie == Tie::Holds) {
            return strongest(ties.into_iter().map(|(tie, _)| tie));
        }
        let rest = || ties.iter().filter(|(tie, _)| *tie != Tie::Holds).map(|(_, part)| *part);
        let held = |part: &Expr| {
            let tied = |name: &&str| Judge { name, others: &[] }.all(part) == Tie::Holds;
            self.others.iter().any(tied)
        };
        match rest().all(held) {
            true => Tie::Holds,
            false if rest().any(|part| self.caller_in(part)) => Tie::Unsure,
            false => Tie::Fails(OR),
        }
    }

    /// Whether one side is the value and the other is a row's.
    fn equal(&self, left: &Expr, right: &Expr) -> Tie {
        if let (Expr::Tuple(left), Expr::Tuple(right)) = (left, right) {
            return strongest(left.iter().zip(right).map(|(left, right)| self.equal(left, right)));
        }
        let is = |side: &Expr| fixed(side) && self.mentions(side);
        match (is(left), is(right), fixed(left), fixed(right)) {
            (true, _, _, false) | (_, true, false, _) => Tie::Holds,
            (true, ..) | (_, true, ..) => Tie::Fails(CONSTANT),
            _ if self.mentions(left) || self.mentions(right) => Tie::Unsure,
            _ => Tie::Absent,
        }
    }

    fn caller_in(&self, part: &Expr) -> bool {
        let names = self.others.iter().chain([&self.name]);
        names.into_iter().any(|name| Judge { name, others: &[] }.mentions(part))
    }

    /// Whether a part of the statement names the value.
    fn mentions(&self, part: &impl ToString) -> bool {
        let text = part.to_string();
        let mark = format!(":{}", self.name);
        let ends = |at: usize| {
            let after = text.get(at.saturating_add(mark.len())..).unwrap_or_default();
            !after.starts_with(super::word_character)
        };
        text.match_indices(&mark).any(|(at, _)| ends(at))
    }
}

/// What decides where all must hold: one that does is enough.
fn strongest(ties: impl IntoIterator<Item = Tie>) -> Tie {
    let rank = |tie: &Tie| match tie {
        Tie::Absent => 0,
        Tie::Unsure => 2,
        Tie::Fails(_) => 1,
        Tie::Holds => 3,
    };
    ties.into_iter().max_by_key(rank).unwrap_or(Tie::Absent)
}

/// What stands between operators of one kind, brackets or not. A loop: such chains are long.
fn parts<'e>(condition: &'e Expr, operator: &BinaryOperator) -> Vec<&'e Expr> {
    let mut found = Vec::new();
    let mut left_over = vec![condition];
    while let Some(next) = left_over.pop() {
        match next {
            Expr::BinaryOp { left, op, right } if op == operator => {
                left_over.extend([&**right, &**left]);
            }
            Expr::Nested(inner) => left_over.push(inner),
            other => found.push(other),
        }
    }
    found
}

/// Whether no row has a say in what an expression is.
fn fixed(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::Nested(inner)
        | Expr::Cast { expr: inner, .. }
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Collate { expr: inner, .. } => fixed(inner),
        Expr::BinaryOp { left, right, .. } => fixed(left) && fixed(right),
        Expr::Array(array) => array.elem.iter().all(fixed),
        Expr::Function(Function { args: FunctionArguments::List(list), .. }) => {
            let fixed = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if fixed(expr));
            list.args.iter().all(fixed)
        }
        _ => false,
    }
}

/// Whether a join keeps only rows that fit, and by what.
fn joined(operator: &JoinOperator) -> (bool, Option<&JoinConstraint>) {
    use JoinOperator::{CrossJoin, Inner, Join, Left, LeftOuter, LeftSemi, Semi, StraightJoin};
    match operator {
        Join(on) | Inner(on) | CrossJoin(on) | Semi(on) | LeftSemi(on) | StraightJoin(on) => {
            (true, Some(on))
        }
        Left(on) | LeftOuter(on) => (false, Some(on)),
        _ => (false, None),
    }
}

#[cfg(test)]
mod tests;
