//! A tool as the posture declares it: what a model may ask for, and the plan that answers it.

use crate::id::{SystemName, ToolName};
use crate::quota::Limits;
use crate::scope::{LookUp, ResultRule, ScopeRule};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

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
    /// What a call changes; the rung follows from it.
    pub effect: Effect,
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
}

impl Plan {
    /// What may come back.
    #[must_use]
    pub const fn bounds(&self) -> ResultBounds {
        match self {
            Self::Sql(plan) => plan.bounds,
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

/// A value that a statement is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The argument's name, which is the placeholder's without the colon.
    pub name: String,
    /// Whether the agent may leave it out; it is then null.
    pub optional: bool,
}

/// The most that may come back from a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultBounds {
    /// Rows; the result is cut there and says so.
    pub rows_max: u32,
    /// Bytes as JSON; the result is cut before the row that would pass it, and says so.
    pub bytes_max: u32,
}
