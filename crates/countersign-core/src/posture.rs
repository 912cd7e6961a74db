//! The posture in force: agents, their grants and tools, checked and immutable.

use crate::id::{ActorId, AgentId, Digest, IssuerId, Timestamp, ToolName};
use crate::principal::Principal;
use crate::quota::Limits;
use crate::tool::Tool;
use std::{collections::BTreeMap, sync::Arc};

/// One posture. A running call keeps the one it began with.
#[derive(Debug)]
pub struct Posture {
    /// SHA-256 over every file's path and bytes.
    pub digest: Digest,
    /// Agents by the OAuth client that calls as them.
    pub agents: BTreeMap<ActorId, Arc<Agent>>,
    /// Limits per tenant, over all agents.
    pub tenant_limits: Limits,
}

/// An agent of the register.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub id: AgentId,
    /// Whose tokens it calls with; `None` where only one issuer is trusted.
    pub issuer: Option<IssuerId>,
    /// What it was granted. Nothing else exists for it.
    pub grants: BTreeMap<ToolName, Grant>,
    /// Limits per tenant it works for.
    pub limits: Limits,
}

/// Leave for one agent to use one tool.
#[derive(Debug)]
pub struct Grant {
    /// The tool.
    pub tool: Arc<Tool>,
    /// Over tool, system, gate, grant and the policies that apply: an approval given under one
    /// digest does not hold under another.
    pub decision_digest: Digest,
    /// Limits for this agent with this tool, per tenant.
    pub limits: Limits,
    /// The OAuth scope or role that the token must carry as well.
    pub require_scope: Option<String>,
    /// When it ends by itself, and why.
    pub lapses: Option<Lapse>,
    /// When the tool's decision point is asked no more, and why: from then on people are.
    pub point_lapses: Option<Lapse>,
}

/// The end of the time for which something was reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapse {
    /// From then on.
    pub at: Timestamp,
    /// What was reviewed no further, for people: ``the vendor `x` was to be reviewed by 2027-11-20``.
    pub of: String,
}

impl Agent {
    /// Whether this caller's token is one that the agent calls with.
    #[must_use]
    pub fn is(&self, principal: &Principal) -> bool {
        self.issuer.as_ref().is_none_or(|issuer| *issuer == principal.issuer)
    }
}

impl Grant {
    /// What of it has not been reviewed in time: nothing is done by it until it is.
    #[must_use]
    pub fn lapsed(&self, now: Timestamp) -> Option<&Lapse> {
        self.lapses.as_ref().filter(|lapse| lapse.at <= now)
    }

    /// Whether the tool's decision point may still be asked.
    #[must_use]
    pub fn may_consult(&self, now: Timestamp) -> bool {
        self.point_lapses.as_ref().is_none_or(|lapse| now < lapse.at)
    }

    /// The scope that the token lacks, if it lacks one.
    #[must_use]
    pub fn lacking(&self, principal: &Principal) -> Option<&str> {
        self.require_scope.as_deref().filter(|scope| !principal.scopes.contains(*scope))
    }
}
