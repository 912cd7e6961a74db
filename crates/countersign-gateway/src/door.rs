//! The doors: each turns a request of its protocol into a proposed call, and an answer back.

pub mod http;
pub mod mcp;

use countersign_core::call::{Answer, Caller, Listed, Monitor, Proposed};
use countersign_core::refusal::Public;
use countersign_core::tool::{Effect, Issue};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// What both doors share: the one pipeline, and the calls it has under way.
#[derive(Debug, Clone)]
pub struct Doors {
    /// The pipeline.
    pub monitor: Arc<Monitor>,
    /// The calls under way; a gateway that stops waits for them.
    pub under_way: TaskTracker,
}

impl Doors {
    /// Runs a call in a task of its own: a client that hangs up must not cancel what lies below
    /// the watershed. `None` only if that task was lost, which records nothing the client may see.
    pub(crate) async fn call(
        &self,
        caller: Arc<Caller>,
        tool: String,
        arguments: Value,
    ) -> Option<Answer> {
        let monitor = Arc::clone(&self.monitor);
        let proposed = Proposed { caller, tool, arguments };
        let task = self.under_way.spawn(async move { monitor.call(proposed).await });
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
    let Public { code, message, next, issues, retry_after_s } = public;
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
    told
}

/// The hints of a listed tool, by MCP's names. They are hints: the rung is the posture's.
pub(crate) fn annotations(listed: &Listed) -> (bool, bool) {
    (listed.effect == Effect::Read, listed.effect == Effect::Irreversible)
}
