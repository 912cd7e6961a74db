//! The approval ladder, as far as a posture declares it: on which step a tool stands, who agrees,
//! what shows that an effect took place, and what sums it may come to.

use crate::id::{DraftId, SystemName, Timestamp};
use crate::quota::Window;
use crate::scope::{ArgumentPath, Query};
use crate::tool::{HttpPlan, Parameter, Plan, Rung, SqlPlan};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, sync::Arc};

/// What the ladder asks of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// The company's own step for the tool's effect, never below the effect's.
    pub rung: Rung,
    /// Leave to stand below it, for a time.
    pub exception: Option<Exception>,
    /// Who agrees. There from the third step on, whichever step is reached.
    pub gate: Option<Gate>,
    /// What shows that a call did what it was to do. There on the second step.
    pub check: Option<Check>,
    /// How many rows a statement with an effect changes.
    pub affects: Affects,
    /// How an effect is put back whose check fails: a call by a permit of its own. For a statement
    /// there is none: it is rolled back.
    pub undo: Option<Arc<Plan>>,
    /// Sums that all calls together keep to.
    pub budgets: Vec<Budget>,
}

impl Ladder {
    /// A tool that stands on `rung` and is asked for nothing else.
    #[must_use]
    pub const fn at(rung: Rung) -> Self {
        Self {
            rung,
            exception: None,
            gate: None,
            check: None,
            affects: Affects::ONE,
            undo: None,
            budgets: Vec::new(),
        }
    }

    /// The exception that holds at `now`.
    #[must_use]
    pub fn excepted(&self, now: Timestamp) -> Option<&Exception> {
        self.exception.as_ref().filter(|exception| now < exception.expires)
    }

    /// The step that the tool stands on at `now`.
    #[must_use]
    pub fn rung(&self, now: Timestamp) -> Rung {
        self.excepted(now).map_or(self.rung, |exception| exception.rung)
    }

    /// The lowest step that it ever stands on.
    #[must_use]
    pub fn least(&self) -> Rung {
        self.exception.as_ref().map_or(self.rung, |exception| exception.rung.min(self.rung))
    }

    /// Whether a person agrees to every call, at any time: no exception has it stand below the third
    /// step, and on that no decision point speaks for people.
    #[must_use]
    pub fn asks_people(&self) -> bool {
        let speaks_for_them = || self.gate.as_ref().is_none_or(|gate| gate.decision.is_some());
        self.least() >= Rung::NAMED || (self.least() == Rung::CONFIRMED && !speaks_for_them())
    }
}

/// Leave for a tool to stand below its effect's step. Every record that it touches names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The step it stands on instead.
    pub rung: Rung,
    /// Why.
    pub reason: String,
    /// By whose leave.
    pub reviewed_by: String,
    /// When it ends, and the effect's own step counts again.
    pub expires: Timestamp,
}

/// Who has to agree, and for how long they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Who.
    pub approvers: Approvers,
    /// How long a draft waits for them, in seconds.
    pub expires_s: u32,
    /// What will happen, in the author's words with the arguments put in.
    pub summary: Phrase,
    /// What an approver is shown beside it: a query that only reads.
    pub preview: Option<Arc<Query>>,
    /// A decision point that may stand in for a person on the third step.
    pub decision: Option<DecisionPoint>,
    /// Who may agree as well, once a draft has waited for long.
    pub escalation: Option<Escalation>,
    /// Who may stand in for one of those who are named, if they let them: addresses in lower case.
    /// Empty where nobody is named.
    pub delegates: BTreeSet<String>,
}

/// Further people who may agree to a draft that has waited for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// How long after its proposal, in seconds; less than the draft waits.
    pub after_s: u32,
    /// Who. On the fourth step those who are named, and no group.
    pub to: Approvers,
}

impl Gate {
    /// When further people may agree to what was proposed then.
    #[must_use]
    pub fn escalates(&self, proposed: Timestamp) -> Option<(Timestamp, &Approvers)> {
        let Escalation { after_s, to } = self.escalation.as_ref()?;
        Some((proposed.plus_secs(*after_s), to))
    }
}

/// On what a call is cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearance {
    /// It only reads.
    Ungated,
    /// Its effect is checked, and put back if the check fails.
    Check,
    /// The company's decision point said yes.
    DecisionPoint,
    /// A person did: this draft.
    Approval(DraftId),
}

/// People who may agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approvers {
    /// Any of these, by address in lower case; at least one.
    Named(BTreeSet<String>),
    /// Any member of this group whose tenants include the draft's.
    Group {
        /// The group.
        group: String,
        /// Whether the person on whose behalf the agent acts may agree as well.
        subject: bool,
    },
}

/// An AuthZEN 1.0 decision point that the company runs, asked once per call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionPoint {
    /// The system it is, of kind HTTP.
    pub system: SystemName,
    /// The path's segments, after the system's own.
    pub path: Vec<String>,
    /// How long it may take, in milliseconds; later than that is a no.
    pub timeout_ms: u32,
}

/// A text of the author's with places for arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Phrase(pub Vec<Fragment>);

/// One part of a [`Phrase`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fragment {
    /// The author's text.
    Text(String),
    /// An argument.
    Argument(Parameter),
}

impl Phrase {
    /// The text with `arguments` put in: a text as it is, anything else as JSON, one that is left out
    /// as nothing.
    #[must_use]
    pub fn with(&self, arguments: &Map<String, Value>) -> String {
        let fragments = self.0.iter().map(|fragment| match fragment {
            Fragment::Text(text) => text.clone(),
            Fragment::Argument(parameter) => match arguments.get(&parameter.name) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            },
        });
        fragments.collect()
    }
}

/// A post-condition: deterministic, the author's, and part of the call's plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A statement in the effect's own transaction. It holds if its first row has one column that is
    /// `1` or `true`; else the transaction is rolled back.
    Sql(SqlPlan),
    /// A read after the effect, of the same system.
    Http {
        /// The request. It only reads.
        read: HttpPlan,
        /// What the first row must say: where in it, as a JSON pointer, and what. Not empty.
        expect: Vec<(String, Expected)>,
    },
}

/// What a place in a row must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This.
    Literal(Value),
    /// What the call had as this argument.
    Argument(String),
}

/// How many rows a statement with an effect may change. Outside it, nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affects {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Affects {
    /// Exactly one row.
    pub const ONE: Self = Self { min: 1, max: 1 };
}

/// A sum over a window that calls together may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// What is added up.
    pub of: Summed,
    /// The most it may come to.
    pub max: u64,
    /// Over which span of the clock: [`Window::Hour`] or [`Window::Day`].
    pub window: Window,
    /// For whom by themselves.
    pub per: Per,
}

/// What a [`Budget`] adds up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Summed {
    /// An integer argument that is never negative; every one at the path. One that is absent is none.
    Argument(ArgumentPath),
    /// Rows that come back or are changed: the plan's maximum until the outcome is known.
    Rows,
    /// Addresses that a message goes to.
    Recipients,
}

impl Summed {
    /// As keys and refusals write it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Argument(path) => path.to_string(),
            Self::Rows => "rows".to_owned(),
            Self::Recipients => "recipients".to_owned(),
        }
    }
}

/// For whom a [`Budget`] is kept by itself. All are of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// The tenant.
    Tenant,
    /// The tenant and the agent.
    Agent,
}
