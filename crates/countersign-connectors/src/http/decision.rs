//! A decision point of the company's own, asked by AuthZEN's Authorization API 1.0.

use super::{Http, failed, late, patience};
use countersign_core::call::Consultation;
use countersign_core::refusal::SystemFault;
use countersign_core::tool::{HttpPlan, Method, Piece, ResultBounds, Template};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::time::timeout;

/// Longest answer that is read, in bytes.
const DECISION_BYTES_MAX: u32 = 16 * 1024;

impl Http {
    /// Asks once, on a connection of its own. Only status 200 with `"decision": true` is a yes.
    pub(crate) async fn consult(&self, asked: &Consultation) -> Result<bool, SystemFault> {
        let plan = evaluation(asked);
        let _turn = self.turns.take(patience(&plan)).await?;
        let exchange = timeout(patience(&plan), self.decision(&plan)).await;
        exchange.unwrap_or_else(|_elapsed| Err(late()))
    }

    async fn decision(&self, plan: &HttpPlan) -> Result<bool, SystemFault> {
        let request = self.request(plan, &super::Arguments::new())?;
        let client = self.senders.of(&self.system, patience(plan).min(super::CONNECT_MAX))?;
        let response = client.execute(request).await.map_err(|error| self.broken(error))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let answer = self.answer(response, plan).await?;
        let decision = answer.get("decision").and_then(Value::as_bool);
        decision
            .ok_or_else(|| failed("the answer has no `decision` that is true or false".to_owned()))
    }
}

/// The Access Evaluation request (§6 of the API).
fn evaluation(asked: &Consultation) -> HttpPlan {
    let point = asked.point();
    let body = json!({
        "subject": { "type": "identity", "id": asked.subject().as_str() },
        "action": { "name": asked.tool().as_str() },
        "resource": { "type": "tool", "id": asked.tool().as_str() },
        "context": {
            "tenant": asked.tenant().as_str(),
            "agent": asked.agent().as_str(),
            "arguments": asked.arguments(),
            "rung": asked.rung().number(),
        },
    });
    HttpPlan {
        method: Method::Post,
        path: point.path.iter().cloned().map(Piece::Literal).collect(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Some(Template::Literal(body)),
        result: String::new(),
        pick: Vec::new(),
        empty_on: BTreeSet::new(),
        timeout_ms: point.timeout_ms,
        bounds: ResultBounds { rows_max: 1, bytes_max: DECISION_BYTES_MAX },
    }
}
