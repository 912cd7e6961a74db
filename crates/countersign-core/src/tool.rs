//! A tool as the posture declares it: what a model may ask for, and the plan that answers it.

use crate::id::{SystemName, ToolName};
use crate::ladder::{Ladder, Phrase};
use crate::quota::Limits;
use crate::scope::{LookUp, ResultRule, ScopeRule};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// A declared tool, compiled and immutable.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: ToolName,
    /// What a model reads.
    pub description: String,
    /// The JSON Schema of its arguments as declared: closed, and without bound arguments.
    pub input: Map<String, Value>,
    /// The same, compiled.
    pub schema: Arc<dyn InputSchema>,
    /// What binds the arguments to the caller.
    pub scope: Vec<ScopeRule>,
    /// What a system has to confirm of the arguments first.
    pub look_ups: Vec<Arc<LookUp>>,
    /// What every row that comes back must carry.
    pub result: Vec<ResultRule>,
    /// What a call changes; the least rung follows from it.
    pub effect: Effect,
    /// What has to be so before and after an effect.
    pub ladder: Ladder,
    /// The system it reaches.
    pub system: SystemName,
    /// How.
    pub plan: Plan,
    /// Limits over all agents, per tenant.
    pub limits: Limits,
}

/// A compiled JSON Schema (2020-12), as the pipeline sees it.
pub trait InputSchema: Send + Sync + fmt::Debug {
    /// Every way in which `arguments` do not fit, or nothing. The messages name what was expected
    /// and never repeat a value that was sent.
    fn issues(&self, arguments: &Value) -> Vec<Issue>;
}

/// One argument that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Which: a dotted path with `[0]` for array elements, `(arguments)` for the whole.
    pub path: String,
    /// What was expected, as a phrase that follows "must": `be an integer from 1 to 365`.
    pub expected: String,
    /// Whether it is a text of the right type that is not among those allowed (enumeration,
    /// pattern, length), and nothing else is wrong with it.
    pub membership: bool,
}

/// What a call changes in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Read,
    /// Something small that can be put back.
    Reversible,
    /// Something that stays, is seen by a customer, or costs money.
    Persistent,
    /// Something that cannot be taken back.
    Irreversible,
}

impl Effect {
    /// The step of the approval ladder: 1 to 4.
    #[must_use]
    pub const fn rung(self) -> Rung {
        Rung(match self {
            Self::Read => 1,
            Self::Reversible => 2,
            Self::Persistent => 3,
            Self::Irreversible => 4,
        })
    }

    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reversible => "reversible",
            Self::Persistent => "persistent",
            Self::Irreversible => "irreversible",
        }
    }
}

/// A step of the approval ladder, 1 to 4; also the clearance a call holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rung(u8);

impl Rung {
    /// What a call holds without anybody's approval.
    pub const UNGATED: Self = Self(1);
    /// What a post-condition gives: nobody is asked, and an effect whose check fails is put back.
    pub const CHECKED: Self = Self(2);
    /// From here on a person agrees, or a decision point that stands in for one.
    pub const CONFIRMED: Self = Self(3);
    /// Here a named person agrees, who is not the one on whose behalf it is asked.
    pub const NAMED: Self = Self(4);

    /// From its number; anything beyond the ladder is its strictest step.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        match number {
            1..=4 => Self(number),
            _ => Self(4),
        }
    }
    /// 1 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What a connector is to do. The statement is the posture's author's; arguments are only ever
/// bound to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// One SQL statement.
    Sql(SqlPlan),
    /// One HTTP request.
    Http(HttpPlan),
    /// One message.
    Email(EmailPlan),
}

impl Plan {
    /// What may come back.
    #[must_use]
    pub const fn bounds(&self) -> ResultBounds {
        match self {
            Self::Sql(plan) => plan.bounds,
            Self::Http(plan) => plan.bounds,
            Self::Email(plan) => plan.bounds,
        }
    }
}

/// One SQL statement with named parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPlan {
    /// The statement, with `:name` placeholders.
    pub statement: String,
    /// What is bound to it, each once, in order of first use.
    pub parameters: Vec<Parameter>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back.
    pub bounds: ResultBounds,
}

/// One message, as plain text. Who sends it is the system's, never the plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailPlan {
    /// The argument that says to whom: one address, or a list of them.
    pub to: String,
    /// The subject: one line.
    pub subject: Phrase,
    /// What it says.
    pub text: Phrase,
    /// How long the whole of it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back: one row that says what was sent.
    pub bounds: ResultBounds,
}

/// A value that a statement or a request is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The argument's name, which is the placeholder's without colon or braces.
    pub name: String,
    /// Whether the agent may leave it out; it is then null in a statement.
    pub optional: bool,
}

/// One HTTP request and how its answer becomes rows. Scheme, host and port are the system's, never
/// the plan's. An argument fills a whole place: nothing is joined to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPlan {
    /// The method.
    pub method: Method,
    /// The path's segments, at least one; an empty text stands last or nowhere.
    pub path: Vec<Piece>,
    /// The query's parameters, in order. One whose argument is left out is left out.
    pub query: Vec<(String, Piece)>,
    /// Headers beside the connector's own, with names in lower case. One whose argument is left out
    /// is left out.
    pub headers: Vec<(String, Piece)>,
    /// The JSON body.
    pub body: Option<Template>,
    /// Where in the answer the result is: a JSON pointer (RFC 6901), empty for all of it.
    pub result: String,
    /// What of each row is kept: columns, and where in the row each is, as a JSON pointer. Empty for
    /// the row as it is.
    pub pick: Vec<(String, String)>,
    /// Statuses that say that there is nothing: no row, and no fault.
    pub empty_on: BTreeSet<u16>,
    /// How long the whole of it may take, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back.
    pub bounds: ResultBounds,
}

/// A request method (RFC 9110 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Whatever the system makes of it; for a read, a search with a body.
    Post,
    /// Puts in place.
    Put,
    /// Changes a part.
    Patch,
    /// Takes away.
    Delete,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// As requests write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One place of a path, a query or the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The author's text.
    Literal(String),
    /// An argument, and nothing else: a text, a number or a truth value.
    Argument(Parameter),
}

/// A JSON body with places for arguments, which keep their JSON type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// A scalar of the author's.
    Literal(Value),
    /// An argument. A member whose argument is left out is left out; an element is null, so that its
    /// neighbours stay where they are.
    Argument(Parameter),
    /// An object, in order.
    Object(Vec<(String, Template)>),
    /// An array.
    Array(Vec<Template>),
}

/// The most that may come back from a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultBounds {
    /// Rows; the result is cut there and says so.
    pub rows_max: u32,
    /// Bytes as JSON; the result is cut before the row that would pass it, and says so.
    pub bytes_max: u32,
}
