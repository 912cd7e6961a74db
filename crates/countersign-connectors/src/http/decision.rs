//! A decision point of the company's own, asked by AuthZEN's Authorization API 1.0.

use super::effect::connect_max;
use super::{Http, failed, late, patience};
use countersign_core::call::Consultation;
use countersign_core::ladder::DecisionPoint;
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
        self.ask(asked.point(), evaluation(asked)).await
    }

    async fn ask(&self, point: &DecisionPoint, body: Value) -> Result<bool, SystemFault> {
        let plan = plan(point, body);
        let _turn = self.turns.take(patience(&plan)).await?;
        let exchange = timeout(patience(&plan), self.decision(&plan)).await;
        exchange.unwrap_or_else(|_elapsed| Err(late()))
    }

    async fn decision(&self, plan: &HttpPlan) -> Result<bool, SystemFault> {
        let request = self.request(plan, &super::Arguments::new())?;
        let client = self.senders.of(&self.system, connect_max(plan))?;
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

/// The body of an Access Evaluation request (§6 of the API).
fn evaluation(asked: &Consultation) -> Value {
    json!({
        "subject": { "type": "identity", "id": asked.subject().as_str() },
        "action": { "name": asked.tool().as_str() },
        "resource": { "type": "tool", "id": asked.tool().as_str() },
        "context": {
            "tenant": asked.tenant().as_str(),
            "agent": asked.agent().as_str(),
            "arguments": asked.arguments(),
            "rung": asked.rung().number(),
        },
    })
}

fn plan(point: &DecisionPoint, body: Value) -> HttpPlan {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HttpSystem, Networks, Origin, SystemNames};
    use countersign_core::id::SystemName;
    use countersign_core::refusal::SystemFaultKind;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What a decision point that says `reply` was asked, and what was made of it.
    async fn asked(reply: String) -> (Vec<String>, Result<bool, SystemFaultKind>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 65_536];
                let mut text = String::new();
                while !text.ends_with('}') {
                    let count = stream.read(&mut bytes).await.unwrap();
                    text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                }
                hears.lock().unwrap().push(text);
                if reply.is_empty() {
                    std::future::pending::<()>().await;
                }
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        let http = Http::new(HttpSystem {
            origin: Origin::parse(&format!("http://{address}"), true).unwrap(),
            credential: None,
            networks: Networks::new(vec!["127.0.0.1/32".parse().unwrap()]),
            concurrency: 1,
            names: Arc::new(SystemNames),
        });
        let path = ["access", "v1", "evaluation"].map(str::to_owned).to_vec();
        let system = SystemName::new("pdp").unwrap();
        let point = DecisionPoint { system, path, timeout_ms: 300 };
        let said = http.ask(&point, json!({"context": {"arguments": {"a": "{b}"}}})).await;
        serving.abort();
        let heard = heard.lock().unwrap().clone();
        (heard, said.map_err(|fault| fault.kind))
    }

    fn reply(status: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn only_a_yes_in_so_many_words_and_in_time_is_one() {
        use SystemFaultKind::{Failed, TimedOut, Unavailable};
        let long = format!(r#"{{"decision": true, "context": "{}"}}"#, "x".repeat(20_000));
        for (reply, said) in [
            (reply("200 OK", r#"{"decision": true}"#), Ok(true)),
            (reply("200 OK", r#"{"decision": true, "context": {"id": 7}}"#), Ok(true)),
            (reply("200 OK", r#"{"decision": false, "context": {}}"#), Ok(false)),
            (reply("200 OK", r#"{"decision": "true"}"#), Err(Failed)),
            (reply("200 OK", r#"{"decision": 1}"#), Err(Failed)),
            (reply("200 OK", r#"{"decision": null}"#), Err(Failed)),
            (reply("200 OK", r#"{"decision": false, "decision": true}"#), Err(Failed)),
            (reply("200 OK", r#"[{"decision": true}]"#), Err(Failed)),
            (reply("200 OK", "true"), Err(Failed)),
            (reply("200 OK", "{"), Err(Failed)),
            (reply("200 OK", &long), Err(Failed)),
            (reply("201 Created", r#"{"decision": true}"#), Err(Failed)),
            (reply("302 Found\r\nlocation: /yes", r#"{"decision": true}"#), Err(Failed)),
            (reply("403 Forbidden", r#"{"decision": true}"#), Err(Failed)),
            (reply("503 x", r#"{"decision": true}"#), Err(Unavailable)),
            (reply("200 OK", r#"{"decision": true}"#).replace("json", "xml"), Err(Failed)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{".to_owned(), Err(Failed)),
            ("no HTTP\r\n\r\n".to_owned(), Err(Failed)),
            (String::new(), Err(TimedOut)),
        ] {
            let (heard, outcome) = asked(reply.clone()).await;
            assert_eq!(outcome, said, "{reply}");
            let [request] = <[_; 1]>::try_from(heard).unwrap();
            assert!(request.starts_with("POST /access/v1/evaluation HTTP/1.1\r\n"), "{request}");
            assert!(request.ends_with(r#"{"context":{"arguments":{"a":"{b}"}}}"#), "{request}");
        }
    }
}
