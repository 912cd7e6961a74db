//! The posture in force: agents, their grants and tools, checked and immutable.

use crate::id::{ActorId, AgentId, Digest, ToolName};
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
}
