//! What gives leave to run one SQL statement.

use countersign_core::call::{Inquiry, Permit};
use countersign_core::id::TenantId;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, Plan, SqlPlan};
use serde_json::{Map, Value};

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
        only_reads(&permit)?;
        match permit.plan() {
            Plan::Sql(plan) => {
                let plan = plan.clone();
                Ok(Self::Permit(permit, plan))
            }
            Plan::Http(_) | Plan::Email(_) => Err(misplaced("anything but a statement")),
        }
    }

    /// The statement.
    pub(crate) fn plan(&self) -> &SqlPlan {
        match self {
            Self::Permit(_, plan) => plan,
            Self::Inquiry(inquiry) => &inquiry.query().plan,
        }
    }

    /// What is bound to it.
    pub(crate) fn values(&self) -> &Map<String, Value> {
        match self {
            Self::Permit(permit, _) => permit.arguments(),
            Self::Inquiry(inquiry) => inquiry.values(),
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

/// # Errors
/// The permit is for an effect, which nothing here carries out yet.
pub(crate) fn only_reads(permit: &Permit) -> Result<(), SystemFault> {
    let tool = permit.tool();
    if tool.effect == Effect::Read {
        return Ok(());
    }
    let effect = tool.effect.as_str();
    let detail = format!("only reads are executed, and `{}` is {effect}", tool.name);
    Err(crate::fault(SystemFaultKind::Failed, detail))
}

/// What the system does not take.
pub(crate) fn misplaced(what: &str) -> SystemFault {
    crate::fault(SystemFaultKind::Failed, format!("the system does not take {what}"))
}
