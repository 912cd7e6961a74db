//! The tables of a database → for each a read by its key, and a list with a limit.

use super::{
    Argument, Drafted, Tool, argument_name, comment, list, may_say_whose, quoted, snake, untaken,
};
use crate::bound::{DRAFT_ENUM_MAX, DRAFTS_MAX};
use crate::sql::Dialect;
use countersign_core::id::SystemName;
use sqlparser::ast::{
    BinaryOperator, ColumnOption, Expr, InTarget, Statement, TableConstraint, Value,
};
use sqlparser::dialect::{PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use std::collections::{BTreeMap, BTreeSet};

/// A table as a database's catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// As SQL writes it.
    pub name: String,
    /// The columns of its primary key.
    pub key: Vec<String>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The constraints that its rows fit: PostgreSQL's, or the whole of SQLite's definition.
    pub checks: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As SQL writes it.
    pub name: String,
    /// Its type, as the database writes it.
    pub kind: String,
    /// Whether it may hold nothing.
    pub nullable: bool,
    /// The values that its type has, if it lists them.
    pub values: Vec<String>,
}

/// Makes drafts for the tables of the system `name`.
#[must_use]
pub fn drafts(tables: &[Table], dialect: Dialect, name: &SystemName) -> Drafted {
    let mut found = Drafted::default();
    let mut taken = BTreeSet::new();
    for table in tables {
        if found.drafts.len().saturating_add(2) > DRAFTS_MAX {
            found
                .left_out
                .push(format!("{}: {DRAFTS_MAX} drafts are the most", comment(&table.name)));
            continue;
        }
        let names = table.columns.iter().map(|column| &column.name).chain([&table.name]);
        if names.clone().any(|name| super::one_line(name) != *name) {
            let why = "a name in it holds what no name does";
            found.left_out.push(format!("{}: {why}", comment(&table.name)));
            continue;
        }
        let of = Of { table, listed: listed(table, dialect), dialect, system: name };
        let stem = snake(&table.name);
        let stem = if stem.is_empty() { "table".to_owned() } else { stem };
        if table.key.is_empty() {
            let why = "it has no primary key, and only a list of it was drafted";
            found.left_out.push(format!("{}: {why}", comment(&table.name)));
        } else {
            let name = untaken(&format!("get_{}", singular(&stem)), &mut taken);
            found.take(of.one(name).draft());
        }
        let name = untaken(&format!("list_{stem}"), &mut taken);
        found.take(of.several(name).draft());
    }
    found
}

fn singular(name: &str) -> String {
    match name.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None if name.ends_with("ss") || name.ends_with("us") => name.to_owned(),
        None => name.strip_suffix('s').unwrap_or(name).to_owned(),
    }
}

/// A table and what is known of it.
struct Of<'a> {
    table: &'a Table,
    /// The values of columns that take no others.
    listed: BTreeMap<String, Vec<String>>,
    dialect: Dialect,
    system: &'a SystemName,
}

impl Of<'_> {
    /// One row by its key.
    fn one(&self, name: String) -> Tool<'_> {
        let mut taken = BTreeSet::new();
        let mut inputs = Vec::new();
        let mut conditions = Vec::new();
        for key in &self.table.key {
            let own = argument_name(&snake(key), &mut taken);
            let column = self.table.columns.iter().find(|column| column.name == *key);
            inputs.push((own.clone(), column.map(|c| self.argument(c)).unwrap_or_default()));
            conditions.push(format!("{key} = :{own}"));
        }
        let select = vec![format!("where {}", conditions.join(" and "))];
        self.tool(name, inputs, select)
    }

    /// Several, up to a limit that the agent names.
    fn several(&self, name: String) -> Tool<'_> {
        let limit = Argument {
            keys: vec![("type", "integer".to_owned()), ("minimum", "1".to_owned())],
            missing: vec!["maximum".to_owned()],
            ..Argument::default()
        };
        let mut select = Vec::new();
        let mut inputs = Vec::new();
        let mut taken = BTreeSet::from(["limit".to_owned()]);
        for column in self.table.columns.iter().filter(|column| self.is_listed(column)) {
            let own = argument_name(&snake(&column.name), &mut taken);
            let first = if inputs.is_empty() { "where" } else { "  and" };
            select.push(format!("{first} (:{own} is null or {} = :{own})", column.name));
            inputs.push((own, Argument { optional: true, ..self.argument(column) }));
        }
        if !self.table.key.is_empty() {
            select.push(format!("order by {}", self.table.key.join(", ")));
        }
        select.push("limit :limit".to_owned());
        inputs.push(("limit".to_owned(), limit));
        self.tool(name, inputs, select)
    }

    /// Whether a list may be narrowed by a column: it is one of a few words.
    fn is_listed(&self, column: &Column) -> bool {
        let listed = self.listed.get(&column.name).unwrap_or(&column.values);
        (1..=DRAFT_ENUM_MAX).contains(&listed.len()) && !self.table.key.contains(&column.name)
    }

    fn tool(&self, name: String, inputs: Vec<(String, Argument)>, select: Vec<String>) -> Tool<'_> {
        let Table { name: table, columns, .. } = self.table;
        let whose: Vec<_> =
            columns.iter().map(|c| c.name.clone()).filter(|name| may_say_whose(name)).collect();
        let scope = match whose.as_slice() {
            [] => "no column looks as if it said whose a row is: join the table that does, or say `public`, with why".to_owned(),
            names => format!(
                "whose the rows are. It may be {} that says so; then tenant: {{ bind: caller.tenant }}, and `{} = :tenant` in the statement",
                list(names),
                names.first().map_or("", String::as_str)
            ),
        };
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        let mut call = vec!["sql: |".to_owned(), "  select".to_owned()];
        for line in wrapped(&names) {
            call.push(format!("    {line}"));
        }
        call.push(format!("  from {table}"));
        call.extend(select.into_iter().map(|line| format!("  {}", line.trim_end())));
        Tool {
            name,
            from: format!("the table {}", comment(table)),
            remarks: vec!["TODO leave out the columns that no agent needs.".to_owned()],
            description: Err("the database has none"),
            reads: true,
            effect: String::new(),
            inputs,
            scope,
            system: self.system,
            call,
        }
    }

    fn argument(&self, column: &Column) -> Argument {
        let mut argument = Argument::default();
        let listed = self.listed.get(&column.name).unwrap_or(&column.values);
        if !listed.is_empty() && listed.len() <= DRAFT_ENUM_MAX {
            let values: Vec<_> = listed.iter().map(|value| quoted(value)).collect();
            argument.key("type", "string");
            argument.key("enum", format!("[{}]", values.join(", ")));
            return argument;
        }
        match kind(&column.kind, self.dialect) {
            Kind::Integer => {
                argument.key("type", "integer");
                argument.missing = vec!["minimum".to_owned(), "maximum".to_owned()];
            }
            Kind::Number => {
                argument.key("type", "number");
                argument.missing = vec!["minimum".to_owned(), "maximum".to_owned()];
            }
            Kind::Boolean => argument.key("type", "boolean"),
            Kind::Uuid => {
                argument.key("type", "string");
                let pattern = "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
                argument.key("pattern", quoted(pattern));
            }
            Kind::Text(length) => {
                argument.key("type", "string");
                match length {
                    Some(length) => argument.key("maxLength", length.to_string()),
                    None => argument.missing.push("maxLength".to_owned()),
                }
                argument.missing.push("enum, pattern, or `text: true` for free text".to_owned());
            }
            Kind::Other => {
                let what = format!("type: the database says `{}`", comment(&column.kind));
                argument.missing.push(what);
            }
        }
        argument
    }
}

/// Names, as many on a line as are read at once.
fn wrapped(names: &[&str]) -> Vec<String> {
    let lines = names.chunks(6).map(|names| names.join(", "));
    let mut lines: Vec<_> = lines.collect();
    let last = lines.len().saturating_sub(1);
    for line in lines.iter_mut().take(last) {
        line.push(',');
    }
    lines
}

enum Kind {
    Integer,
    Number,
    Boolean,
    Uuid,
    Text(Option<u32>),
    Other,
}

/// What a type holds. SQLite goes by parts of the word (<https://sqlite.org/datatype3.html> §3.1).
fn kind(written: &str, dialect: Dialect) -> Kind {
    let word = written.to_ascii_lowercase();
    let length = || word.split_once('(')?.1.split(')').next()?.trim().parse().ok();
    match dialect {
        Dialect::Sqlite if word.contains("int") => Kind::Integer,
        Dialect::Sqlite if ["char", "clob", "text"].iter().any(|part| word.contains(part)) => {
            Kind::Text(length())
        }
        Dialect::Sqlite if ["real", "floa", "doub"].iter().any(|part| word.contains(part)) => {
            Kind::Number
        }
        Dialect::Sqlite if word.contains("bool") => Kind::Boolean,
        Dialect::Sqlite if word.contains("uuid") => Kind::Uuid,
        Dialect::Sqlite if word.contains("dec") || word.contains("num") => Kind::Number,
        Dialect::Sqlite => Kind::Other,
        Dialect::Postgres => match word.split('(').next().unwrap_or_default().trim() {
            "smallint" | "integer" | "bigint" => Kind::Integer,
            "numeric" | "real" | "double precision" => Kind::Number,
            "boolean" => Kind::Boolean,
            "uuid" => Kind::Uuid,
            "text" | "citext" => Kind::Text(None),
            "character varying" | "character" => Kind::Text(length()),
            _ => Kind::Other,
        },
    }
}

// ── constraints ─────────────────────────────────────────────────────────────────────────────────

/// The columns that take only listed texts, as the constraints say it.
fn listed(table: &Table, dialect: Dialect) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for check in &table.checks {
        let conditions = match dialect {
            Dialect::Sqlite => of_definition(check),
            Dialect::Postgres => of_constraint(check).into_iter().collect(),
        };
        for (column, values) in conditions.iter().filter_map(values) {
            let column = table.columns.iter().find(|known| {
                known.name == column || known.name.trim_matches('"').eq_ignore_ascii_case(&column)
            });
            if let Some(column) = column {
                found.insert(column.name.clone(), values);
            }
        }
    }
    found
}

fn of_definition(definition: &str) -> Vec<Expr> {
    let Ok(statements) = Parser::parse_sql(&SQLiteDialect {}, definition) else {
        return Vec::new();
    };
    let Some(Statement::CreateTable(table)) = statements.into_iter().next() else {
        return Vec::new();
    };
    let options = table.columns.into_iter().flat_map(|column| column.options);
    let options = options.filter_map(|option| match option.option {
        ColumnOption::Check(check) => Some(*check.expr),
        _ => None,
    });
    let constraints = table.constraints.into_iter().filter_map(|constraint| match constraint {
        TableConstraint::Check(check) => Some(*check.expr),
        _ => None,
    });
    options.chain(constraints).collect()
}

fn of_constraint(check: &str) -> Option<Expr> {
    let condition = check.strip_prefix("CHECK")?.trim_start();
    Parser::new(&PostgreSqlDialect {}).try_with_sql(condition).ok()?.parse_expr().ok()
}

/// The column that a condition speaks of and the texts that it takes: `a in ('x', 'y')`, or as
/// PostgreSQL writes that, `a = any (array['x', 'y'])`; a column that may be null is the same.
fn values(condition: &Expr) -> Option<(String, Vec<String>)> {
    match condition {
        Expr::Nested(inner) => values(inner),
        Expr::In { expr, target: InTarget::List(list), negated: false, .. } => {
            Some((column(expr)?, list.iter().map(word).collect::<Option<_>>()?))
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
            Some((column(left)?, array(right)?))
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => match (&**left, &**right) {
            (Expr::IsNull(_), other) | (other, Expr::IsNull(_)) => values(other),
            _ => None,
        },
        _ => None,
    }
}

fn array(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => array(inner),
        Expr::Array(array) => array.elem.iter().map(word).collect(),
        _ => None,
    }
}

fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => column(inner),
        Expr::Identifier(name) => Some(name.value.clone()),
        _ => None,
    }
}

fn word(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => word(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}
