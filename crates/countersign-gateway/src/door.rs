//! The doors: each turns a request of its protocol into a proposed call, and an answer back.

pub mod admin;
pub mod http;
pub mod mcp;
mod offered;
mod waiting;

use crate::identity::Claims;
use crate::resource::Resource;
use arc_swap::ArcSwap;
use countersign_core::call::{Answer, Answers, Caller, Listed, Monitor, Proposed};
use countersign_core::id::{AgentId, Timestamp};
use countersign_core::port::{Ledger, Proposer, Relay};
use countersign_core::refusal::Public;
use countersign_core::tool::{Effect, Issue};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// A posture at work. Replaced as a whole, never changed.
#[derive(Debug)]
pub struct InForce {
    /// The pipeline.
    pub monitor: Monitor,
    /// Which claim of a token says what.
    pub claims: Claims,
    /// When it was loaded.
    pub since: Timestamp,
    /// Who answers for each agent.
    pub owners: BTreeMap<AgentId, Owner>,
    /// What agents may reach.
    pub reach: Reach,
}

/// What agents may reach, as whoever knows the posture has written it for people.
#[derive(Debug)]
pub struct Reach {
    /// All of it as a picture: SVG without a style or a script, whatever the posture says.
    pub picture: String,
    /// In the order of their names.
    pub agents: Vec<ReachOf>,
}

/// What one agent may reach: tables, each with its header first. Their texts are as the posture has them.
#[derive(Debug)]
pub struct ReachOf {
    /// The agent.
    pub name: String,
    /// Its tools.
    pub tools: Vec<Vec<String>>,
    /// The worst that all of them come to.
    pub worst: Vec<Vec<String>>,
}

/// Who answers for an agent, for people to read.
#[derive(Debug, Clone)]
pub struct Owner {
    /// What the agent is for.
    pub purpose: String,
    /// The team.
    pub team: String,
    /// How to reach it.
    pub contact: String,
}

impl InForce {
    /// Who answers for an agent.
    pub(crate) fn owner(&self, agent: &AgentId) -> Option<&Owner> {
        self.owners.get(agent)
    }
}

/// What both doors share: the one pipeline, and the calls it has under way.
#[derive(Debug, Clone)]
pub struct Doors {
    /// What new requests are judged by.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// The calls under way; a gateway that stops waits for them.
    pub under_way: TaskTracker,
    /// What clients are told who need another token.
    pub resource: Arc<Resource>,
    /// The journal, for people who read it.
    pub ledger: Arc<dyn Ledger>,
    /// What tails it, for people to look at.
    pub relay: Arc<dyn Relay>,
}

/// Whose request it is, and by what it is judged.
///
/// INVARIANT: a request asks once what is in force, when its caller is met, and keeps this to its
/// answer. Whoever asked again on the way would judge one call by two postures.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) in_force: Arc<InForce>,
    pub(crate) caller: Arc<Caller>,
}

impl Known {
    pub(crate) fn tools(&self) -> Vec<Listed> {
        self.in_force.monitor.tools(&self.caller)
    }
}

impl Doors {
    /// Runs a call in a task of its own: a client that hangs up must not cancel what lies below
    /// the watershed. `None` only if that task was lost, which records nothing the client may see.
    pub(crate) async fn call(
        &self,
        known: Known,
        tool: String,
        arguments: Value,
        answers: Option<Answers>,
    ) -> Option<Answer> {
        self.call_for(known, (tool, arguments), answers, None).await
    }

    /// The same for somebody who hears how far it is, and may go away.
    pub(crate) async fn call_for(
        &self,
        known: Known,
        (tool, arguments): (String, Value),
        answers: Option<Answers>,
        proposer: Option<Arc<dyn Proposer>>,
    ) -> Option<Answer> {
        let Known { in_force, caller } = known;
        let proposed = Proposed { caller, tool, arguments, answers };
        let task = self
            .under_way
            .spawn(async move { in_force.monitor.call_for(proposed, proposer).await });
        let answer = task.await;
        match &answer {
            Ok(Answer::Faulted(faulted)) => tracing::warn!(
                call = %faulted.call(),
                code = faulted.fault().code(),
                "a call failed; `countersign audit show` has the reason"
            ),
            Ok(Answer::Completed(_) | Answer::Refused(_)) => {}
            Err(error) => tracing::error!(%error, "a call's task was lost"),
        }
        answer.ok()
    }
}

/// What an agent is told of a call that did not complete: `{code, message, next, call, …}`.
pub(crate) fn told(public: &Public, call: &str) -> Map<String, Value> {
    let Public { code, message, next, issues, retry_after_s, reference, said } = public;
    let mut told = Map::from_iter([
        ("code".to_owned(), json!(code)),
        ("message".to_owned(), json!(message)),
        ("next".to_owned(), json!(next)),
        ("call".to_owned(), json!(call)),
    ]);
    if !issues.is_empty() {
        let issues: Vec<Value> = issues
            .iter()
            .map(|Issue { path, expected, membership: _ }| {
                json!({ "argument": path, "message": format!("must {expected}") })
            })
            .collect();
        told.insert("issues".to_owned(), Value::Array(issues));
    }
    if let Some(seconds) = retry_after_s {
        told.insert("retry_after_s".to_owned(), json!(seconds));
    }
    if let Some(reference) = reference {
        told.insert("reference".to_owned(), json!(reference));
    }
    if let Some(said) = said {
        told.insert("said".to_owned(), json!(said));
    }
    told
}

/// The hints of a listed tool, by MCP's names. They are hints: the rung is the posture's.
pub(crate) fn annotations(listed: &Listed) -> (bool, bool) {
    (listed.effect == Effect::Read, listed.effect == Effect::Irreversible)
}
