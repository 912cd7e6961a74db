//! What gives leave to run SQL statements: one that reads, or one with an effect in its transaction.

use crate::fault;
use countersign_core::call::{Inquiry, Permit};
use countersign_core::id::TenantId;
use countersign_core::ladder::{Affects, Check};
use countersign_core::port::{Found, Report};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::scope::Asks;
use countersign_core::tool::{Effect, Plan, SqlPlan};
use serde_json::{Map, Value};

/// A statement and what is bound to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) plan: &'a SqlPlan,
    pub(crate) values: &'a Map<String, Value>,
}

/// A permit for a read, or an inquiry: by either one statement is run, once.
#[derive(Debug)]
pub(crate) enum Leave {
    Permit(Permit, SqlPlan),
    Inquiry(Inquiry),
}

impl Leave {
    /// Of a permit for a read.
    ///
    /// # Errors
    /// The permit is for something else.
    pub(crate) fn to_read(permit: Permit) -> Result<Self, SystemFault> {
        if permit.tool().effect != Effect::Read {
            return Err(misplaced("an effect where it only reads"));
        }
        let plan = statement(&permit)?;
        Ok(Self::Permit(permit, plan))
    }

    /// The statement.
    pub(crate) fn asked(&self) -> Asked<'_> {
        match self {
            Self::Permit(permit, plan) => Asked { plan, values: permit.arguments() },
            Self::Inquiry(inquiry) => {
                Asked { plan: &inquiry.query().plan, values: inquiry.values() }
            }
        }
    }

    /// Whose data it may touch.
    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Permit(permit, _) => permit.tenant(),
            Self::Inquiry(inquiry) => inquiry.tenant(),
        }
    }
}

/// A permit for an effect: everything that is one transaction.
#[derive(Debug)]
pub(crate) struct Act {
    permit: Permit,
    owned: Vec<Owned>,
    effect: SqlPlan,
    check: Option<SqlPlan>,
}

/// A look-up that is repeated before the effect.
#[derive(Debug)]
pub(crate) struct Owned {
    plan: SqlPlan,
    values: Map<String, Value>,
    identifier: Value,
    path: String,
}

impl Owned {
    /// The statement.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { plan: &self.plan, values: &self.values }
    }

    /// # Errors
    /// The system does not say now that the identifier is the caller's.
    pub(crate) fn confirmed(&self, report: Report) -> Result<(), SystemFault> {
        let Report { result, truncated, .. } = report;
        let Value::Array(rows) = result else { return Err(failed("no list of rows".to_owned())) };
        let found = Found { rows, truncated, cached: false };
        match found.confirms(&self.identifier) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let path = &self.path;
                Err(failed(format!("`{path}` is not the caller's any more, says the system")))
            }
            Err(why) => Err(failed(why)),
        }
    }
}

impl Act {
    /// Of a permit for an effect.
    ///
    /// # Errors
    /// The permit is for something else, or it cannot be said whose the arguments are.
    pub(crate) fn new(permit: Permit) -> Result<Self, SystemFault> {
        let effect = statement(&permit)?;
        let tool = permit.tool();
        if tool.effect == Effect::Read {
            return Err(misplaced("a read as an effect"));
        }
        let check = match permit.check() {
            None => None,
            Some(Check::Sql(plan)) => Some(plan.clone()),
            Some(Check::Http { .. }) => return Err(misplaced("a check that is a request")),
        };
        let mut owned = Vec::new();
        for rule in &tool.look_ups {
            if rule.asks != Asks::Owned || rule.query.system != tool.system {
                continue; // Nothing of this system's transaction could hold it.
            }
            let path = rule.path.to_string();
            let identifiers = rule.identifiers(permit.arguments());
            let identifiers = identifiers.filter(|identifiers| !identifiers.is_empty());
            let nothing = || failed(format!("nothing at `{path}` can be asked about"));
            owned.extend(identifiers.ok_or_else(nothing)?.into_iter().map(|identifier| Owned {
                plan: rule.query.plan.clone(),
                values: rule.binding(permit.arguments(), Some(identifier)),
                identifier: identifier.clone(),
                path: path.clone(),
            }));
        }
        Ok(Self { permit, owned, effect, check })
    }

    /// What has to be confirmed first.
    pub(crate) fn owned(&self) -> &[Owned] {
        &self.owned
    }

    /// The statement with the effect. Its time is that of the whole transaction.
    pub(crate) fn effect(&self) -> Asked<'_> {
        Asked { plan: &self.effect, values: self.permit.arguments() }
    }

    /// How many rows it may change.
    pub(crate) fn affects(&self) -> Affects {
        self.permit.tool().ladder.affects
    }

    /// The statement that shows that the effect is the one that was to be.
    pub(crate) fn check(&self) -> Option<Asked<'_>> {
        let values = self.permit.arguments();
        self.check.as_ref().map(|plan| Asked { plan, values })
    }

    /// Whose data it may touch.
    pub(crate) fn tenant(&self) -> &TenantId {
        self.permit.tenant()
    }
}

/// # Errors
/// The effect changed more or fewer rows than it may. It is then to be rolled back.
pub(crate) fn within(affects: Affects, changed: u64) -> Result<(), SystemFault> {
    let Affects { min, max } = affects;
    if (min..=max).contains(&changed) {
        return Ok(());
    }
    let detail = format!("the statement changed {changed} rows, and may change {min} to {max}");
    Err(fault(SystemFaultKind::PostCondition, detail))
}

/// # Errors
/// The check's first row is not the one column `1` or `true`. The effect is then to be rolled back.
pub(crate) fn holds(report: &Report) -> Result<(), SystemFault> {
    let row = report.result.get(0).and_then(Value::as_object);
    let mut said = row.into_iter().flat_map(Map::values);
    let one = |value: &Value| value == &Value::Bool(true) || value.as_i64() == Some(1);
    if said.next().is_some_and(one) && said.next().is_none() {
        return Ok(());
    }
    let detail = "the check does not say `1` or `true` in one column";
    Err(fault(SystemFaultKind::PostCondition, detail.to_owned()))
}

/// What came of a transaction of which it is not known whether it was committed.
pub(crate) fn unknown(fault: SystemFault) -> SystemFault {
    SystemFault { applied: Applied::Unknown, ..fault }
}

/// # Errors
/// The plan is no statement.
fn statement(permit: &Permit) -> Result<SqlPlan, SystemFault> {
    match permit.plan() {
        Plan::Sql(plan) => Ok(plan.clone()),
        Plan::Http(_) | Plan::Email(_) | Plan::Mcp(_) => Err(misplaced("anything but a statement")),
    }
}

fn failed(detail: String) -> SystemFault {
    fault(SystemFaultKind::Failed, detail)
}

/// What the system does not take.
pub(crate) fn misplaced(what: &str) -> SystemFault {
    failed(format!("the system does not take {what}"))
}
