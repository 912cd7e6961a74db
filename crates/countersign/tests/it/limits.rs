//! Limits are exact: with 32 calls at once, across a restart, across kill -9.

use crate::gateway::{Company, Gateway, Who};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "limits", depots: &[] };
const LIMIT: usize = 60;

/// A company whose copilot has `LIMIT` calls a session and no other limit in its way.
fn company() -> Company {
    let company = Company::new();
    company.lift_limits();
    company.edit("posture/agents/support-copilot.yaml", |text| {
        format!("{text}limits: {{ per_session: {LIMIT} }}\n")
    });
    company
}

/// Makes `calls` calls, 32 at once; returns how many were admitted. The rest must be `rate_limited`.
async fn admitted(gateway: &Arc<Gateway>, calls: usize) -> usize {
    let token = gateway.token(WHO).await;
    let next = Arc::new(AtomicUsize::new(0));
    let callers = (0..32).map(|_| {
        let (gateway, token, next) = (Arc::clone(gateway), token.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut admitted = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return admitted;
                }
                let arguments = json!({"account_id": "acct_alpha", "days": 1 + number % 365});
                let answer = gateway.call(&token, "get_account_usage", arguments).await;
                if answer["status"] == "completed" {
                    admitted += 1;
                } else {
                    assert_eq!(answer["error"]["code"], "rate_limited", "{answer}");
                }
            }
        })
    });
    let mut total = 0;
    for caller in callers.collect::<Vec<_>>() {
        total += caller.await.unwrap();
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_is_admitted_of_more_with_32_at_once() {
    let company = company();
    let gateway = Arc::new(company.serve());
    assert_eq!(admitted(&gateway, LIMIT + 40).await, LIMIT);
    assert_eq!(company.touched(), LIMIT);
    assert_eq!(company.records(&["--kind", "intent"], LIMIT).len(), LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_and_a_power_cut_give_nothing_back() {
    let company = company();
    let mut total = 0;
    for kill in [false, true, false] {
        let gateway = Arc::new(company.serve());
        total += admitted(&gateway, LIMIT / 3 - 1).await;
        let gateway = Arc::into_inner(gateway).unwrap();
        if kill { gateway.kill() } else { gateway.stop() }
    }
    assert_eq!(total, LIMIT - 3);
    let gateway = Arc::new(company.serve());
    assert_eq!(admitted(&gateway, 40).await, 3);
    assert_eq!(company.touched(), LIMIT);
}
