//! What gives leave to run one SQL statement.

use countersign_core::call::{Inquiry, Permit};
use countersign_core::id::TenantId;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, Plan, SqlPlan};
use serde_json::{Map, Value};

/// A permit for a read, or an inquiry: by either one statement is run, once.
#[derive(Debug)]
pub(crate) enum Leave {
    Permit(Permit),
    Inquiry(Inquiry),
}

impl Leave {
    /// Of a permit for a read.
    ///
    /// # Errors
    /// The permit is for something else.
    pub(crate) fn to_read(permit: Permit) -> Result<Self, SystemFault> {
        let tool = permit.tool();
        if tool.effect == Effect::Read {
            return Ok(Self::Permit(permit));
        }
        let effect = tool.effect.as_str();
        let detail = format!("only reads are executed, and `{}` is {effect}", tool.name);
        Err(crate::fault(SystemFaultKind::Failed, detail))
    }

    /// The statement.
    pub(crate) fn plan(&self) -> &SqlPlan {
        match self {
            Self::Permit(permit) => {
                let Plan::Sql(plan) = permit.plan();
                plan
            }
            Self::Inquiry(inquiry) => &inquiry.look_up().plan,
        }
    }

    /// What is bound to it.
    pub(crate) fn values(&self) -> &Map<String, Value> {
        match self {
            Self::Permit(permit) => permit.arguments(),
            Self::Inquiry(inquiry) => inquiry.values(),
        }
    }

    /// Whose data it may touch.
    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Permit(permit) => permit.tenant(),
            Self::Inquiry(inquiry) => inquiry.tenant(),
        }
    }
}
