//! Servers that remember what they were told, and many callers at once: nobody is told what another said.

use crate::clients::installed;
use crate::drafted::{AGENT, Upstream};
use crate::gateway::{Company, Gateway};
use crate::load::set_by;
use crate::mcp_server::{Era, McpServer, memory};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Of the same tenants, several people; of the same names, several tenants.
const TENANTS: usize = 4;
const PEOPLE: usize = 4;

async fn token(gateway: &Gateway, tenant: usize, person: usize) -> String {
    let body = json!({
        "agent": AGENT, "tenant": format!("t{tenant}"), "user": format!("u{person}"), "session": "same",
    });
    let sent = gateway.http.post(format!("{}/dev/token", gateway.url)).json(&body).send();
    let answer: Value = sent.await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}

/// What the server's one text says, by each door in turn.
async fn said(
    gateway: &Gateway,
    token: &str,
    number: usize,
    tool: &str,
    arguments: Value,
) -> String {
    let answer = if number.is_multiple_of(2) {
        gateway.mcp_call(token, tool, arguments).await
    } else {
        gateway.call(token, tool, arguments).await
    };
    let text = answer.pointer("/result/content/0/text").and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("{tool}: {answer}")).to_owned()
}

/// So many calls by all of them at once: what each is told at the end, by `tenant person`.
async fn all_at_once(gateway: Gateway, calls: usize) -> BTreeMap<String, Vec<String>> {
    let gateway = Arc::new(gateway);
    let mut callers = JoinSet::new();
    for caller in 0..TENANTS * PEOPLE {
        let gateway = Arc::clone(&gateway);
        callers.spawn(async move {
            let (tenant, person) = (caller / PEOPLE, caller % PEOPLE);
            let token = token(&gateway, tenant, person).await;
            let mut told = 0;
            for number in 0..calls / (TENANTS * PEOPLE) {
                if number % 5 == 4 {
                    let recalled = said(&gateway, &token, number, "recall", json!({})).await;
                    let mine = |word: &str| word.starts_with(&format!("t{tenant}-u{person}-"));
                    assert!(recalled.split(' ').all(mine), "t{tenant} u{person}: {recalled}");
                } else {
                    let word = format!("t{tenant}-u{person}-{told}");
                    told += 1;
                    said(&gateway, &token, number, "remember", json!({ "word": word })).await;
                }
            }
            let recalled = said(&gateway, &token, 0, "recall", json!({})).await;
            let words: Vec<String> = recalled.split(' ').map(str::to_owned).collect();
            assert_eq!(words.len(), told, "something of t{tenant} u{person} was lost: {recalled}");
            (format!("t{tenant} u{person}"), words)
        });
    }
    let mut all = BTreeMap::new();
    while let Some(caller) = callers.join_next().await {
        all.extend([caller.unwrap()]);
    }
    all
}

fn calls() -> usize {
    usize::try_from(set_by("COUNTERSIGN_APART_CALLS", 1_000)).unwrap()
}

fn judge(all: &BTreeMap<String, Vec<String>>) {
    assert_eq!(all.len(), TENANTS * PEOPLE);
    for (who, words) in all {
        let prefix = who.replace(' ', "-");
        for (number, word) in words.iter().enumerate() {
            assert_eq!(*word, format!("{prefix}-{number}"), "{who}: {words:?}");
        }
    }
}

async fn over_http(server: &McpServer, shared: Option<&str>) -> Company {
    let mut mcp = json!({ "origin": "upstream", "networks": ["127.0.0.0/8"] });
    if let Some(why) = shared {
        mcp["shared"] = json!(why);
    }
    let defined = server.defined().await;
    Upstream { mcp, references: &[("upstream", &server.origin)], defined: &defined }.company(&[]).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_tells_nobody_what_another_said() {
    let server = McpServer::serve(Era::Old, memory()).await;
    let company = over_http(&server, None).await;
    judge(&all_at_once(company.serve(), calls()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_keep_nothing_is_one_for_all_so_that_these_tests_can_fail() {
    let server = McpServer::serve(Era::Old, memory()).await;
    let company = over_http(&server, Some("It keeps nothing, somebody said.")).await;
    let gateway = company.serve();
    let (one, other) = (token(&gateway, 0, 0).await, token(&gateway, 1, 1).await);
    said(&gateway, &one, 0, "remember", json!({ "word": "mine" })).await;
    assert_eq!(said(&gateway, &other, 0, "recall", json!({})).await, "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_tells_nobody_what_another_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("definitions.json");
    let defined = memory();
    std::fs::write(&file, defined.to_string()).unwrap();
    let [python, script] =
        ["venv/bin", "stub.py"].map(|name| installed(name).canonicalize().unwrap());
    let python = python.join("python");
    let upstream = Upstream {
        mcp: json!({ "program": "upstream", "arguments": [script, file] }),
        references: &[("upstream", python.to_str().unwrap())],
        defined: &defined,
    };
    let (company, _) = upstream.company(&[]);
    judge(&all_at_once(company.serve(), calls()).await);
}
