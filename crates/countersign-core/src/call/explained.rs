//! What would be decided of a call, and on what evidence. Nothing here counts, records or acts.

use super::{Authorized, Clearance, LookedUpBy, Monitor, Proposed, ungated};
use crate::posture::Agent;
use crate::quota::Counter;
use crate::refusal::{Pending, Refusal};
use crate::scope::ScopeEvidence;
use crate::tool::{Rung, Tool};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What the pipeline decides of a call up to the watershed, and on what evidence.
#[derive(Debug)]
#[must_use]
pub struct Explained {
    /// One for each stage that the call passed, in the order of [`Explained::STAGES`].
    pub passed: Vec<Evidence>,
    /// What it is refused with by the stage after those; `None` if it passed them all.
    pub refusal: Option<Refusal>,
}

impl Explained {
    /// The stages above the watershed. The last of them, Recorded, is not part of an explanation.
    pub const STAGES: [&str; 8] = [
        "authenticated",
        "resolved",
        "metered",
        "validated",
        "bound",
        "authorized",
        "looked_up",
        "cleared",
    ];
}

/// What one stage knows of a call that passed it.
#[derive(Debug)]
pub enum Evidence {
    /// The caller is this agent of the posture.
    Authenticated(Arc<Agent>),
    /// The tool is one it was granted.
    Resolved(Arc<Tool>),
    /// These counters would be charged. They were neither read nor charged.
    Metered(Vec<Counter>),
    /// These are the arguments, and they fit the schema.
    Validated(Map<String, Value>),
    /// The caller's own values, by the path of their rule, and the arguments with bound ones put in.
    Bound(ScopeEvidence, Map<String, Value>),
    /// These policies permit it, at this clearance.
    Authorized(Vec<String>, Rung),
    /// The systems confirmed these. They were asked.
    LookedUp(Vec<LookedUpBy>),
    /// This clears it.
    Cleared(Clearance),
}

impl Monitor {
    /// Takes a call through the stages of [`Monitor::call`] up to [`Cleared`](super::Cleared), and no
    /// further: nothing is counted, recorded or done, and no system is asked but by declared look-ups.
    /// What comes of it is words; no stage leaves here.
    pub async fn explain(&self, proposed: Proposed) -> Explained {
        let mut passed = Vec::new();
        let refusal = self.rehearse(proposed, &mut passed).await.err();
        Explained { passed, refusal }
    }

    async fn rehearse(
        &self,
        proposed: Proposed,
        passed: &mut Vec<Evidence>,
    ) -> Result<(), Refusal> {
        let mut trail = self.trail(&proposed);
        let call = self.authenticated(proposed, &mut trail)?;
        passed.push(Evidence::Authenticated(Arc::clone(&call.agent)));
        let call = self.resolve(call, &mut trail)?;
        passed.push(Evidence::Resolved(Arc::clone(&call.tool)));
        let (call, counters) = self.countable(call, &mut trail);
        passed.push(Evidence::Metered(counters));
        let call = self.validate(call)?;
        passed.push(Evidence::Validated(call.arguments.values().clone()));
        let call = self.bind(call, &mut trail)?;
        passed.push(Evidence::Bound(call.scope.clone(), call.arguments.values().clone()));
        let (call, _sums) = self.permit(call, &mut trail)?;
        passed.push(Evidence::Authorized(std::mem::take(&mut trail.policies), call.clearance));
        let call = self.look_up(call, &mut trail).await?;
        passed.push(Evidence::LookedUp(trail.look_ups));
        let Authorized { tool, clearance, .. } = call.authorized;
        let by = ungated(&tool, clearance)
            .ok_or(Refusal::ApprovalRequired(Pending::would_be(clearance)))?;
        passed.push(Evidence::Cleared(by));
        Ok(())
    }
}
