//! An MCP server that is a program: a real process, of either era.

use crate::bench::{Ticking, answer, planned};
use crate::mcp::pinned_as;
use countersign_connectors::{Connectors, McpReach, McpSystem, Program, System, definitions};
use countersign_core::args::parse_answer;
use countersign_core::call::Answer;
use countersign_core::id::SystemName;
use countersign_core::port::Connector as _;
use countersign_core::refusal::{Fault, Refusal, SystemFault, SystemFaultKind};
use countersign_core::tool::{
    Defined, McpAsk, McpPlan, Parameter, Pin, Plan, ResultBounds, Template, Tool,
};
use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

struct Gateway {
    connectors: Arc<Connectors>,
    clock: Arc<Ticking>,
    pin: Arc<Pin>,
    timeout_ms: u32,
}

fn program(environment: &[(&str, &str)]) -> Program {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stdio.py");
    let secret = |(name, value): &(&str, &str)| ((*name).to_owned(), SecretString::from(*value));
    Program {
        path: PathBuf::from("/usr/bin/python3"),
        arguments: vec![script.display().to_string()],
        environment: environment.iter().map(secret).collect(),
        user: None,
        bytes_max: 10_000,
    }
}

fn system(program: Program, pins: Vec<Arc<Pin>>) -> McpSystem {
    McpSystem {
        reach: McpReach::Stdio(program),
        pins,
        recheck_ms: 60_000,
        shared: false,
        timeout_ms: 60_000,
        concurrency: 8,
    }
}

impl Gateway {
    fn new(environment: &[(&str, &str)]) -> Self {
        let definition = r#"{"name": "search", "description": "Keeps notes.", "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}}}"#;
        let Ok(Value::Object(definition)) = parse_answer(definition.as_bytes()) else { panic!() };
        let pin = pinned_as(&definition);
        let system = system(program(environment), vec![Arc::clone(&pin)]);
        let systems = BTreeMap::from([(SystemName::new("s").unwrap(), System::Mcp(system))]);
        let clock = Arc::new(Ticking::default());
        let connectors = Arc::new(Connectors::new(systems, clock.clone()));
        Self { connectors, clock, pin, timeout_ms: 9_000 }
    }

    fn tool(&self) -> Tool {
        let parameter = Parameter { name: "q".to_owned(), optional: false };
        planned(
            "s",
            Plan::Mcp(McpPlan {
                ask: McpAsk::Tool {
                    name: "search".to_owned(),
                    arguments: Template::Object(vec![(
                        "q".to_owned(),
                        Template::Argument(parameter),
                    )]),
                },
                pin: Arc::clone(&self.pin),
                rows: None,
                pick: Vec::new(),
                undone_on_error: false,
                timeout_ms: self.timeout_ms,
                bounds: ResultBounds { rows_max: 10, bytes_max: 10_000 },
            }),
        )
    }

    async fn call(&self, tenant: &str, q: &str) -> Result<String, SystemFault> {
        let told = answer(&self.connectors, &self.clock, (self.tool(), tenant), json!({"q": q}));
        match told.await {
            Answer::Completed(completed) => {
                Ok(completed.into_value()["content"][0]["text"].as_str().unwrap().to_owned())
            }
            Answer::Faulted(faulted) => match faulted.fault() {
                Fault::System(fault) => Err(fault.clone()),
                other => panic!("{other:?}"),
            },
            Answer::Refused(refused) => panic!("{refused:?}"),
        }
    }
}

#[tokio::test]
async fn a_program_serves_one_caller_in_one_tenant_and_has_nothing_of_ours() {
    for era in ["modern", "legacy"] {
        let gateway = Gateway::new(&[("ERA", era), ("KEY", "made-up")]);
        assert_eq!(gateway.call("acct_alpha", "note: one").await.unwrap(), "note: one");
        assert_eq!(gateway.call("acct_bravo", "note: two").await.unwrap(), "note: two");
        assert_eq!(
            gateway.call("acct_alpha", "note: three").await.unwrap(),
            "note: one note: three"
        );
        // A secret that it repeats reaches nobody.
        let keeps = Gateway::new(&[("ERA", era), ("KEY", "made-up-and-long")]);
        let fault = keeps.call("acct_alpha", "environment").await.unwrap_err();
        assert!(fault.detail.contains("repeats a secret"), "{fault:?}");
        let environment = gateway.call("acct_alpha", "environment").await.unwrap();
        let mut environment: BTreeMap<String, String> = serde_json::from_str(&environment).unwrap();
        // What the interpreter sets for itself.
        environment.retain(|name, _| !name.starts_with("LC_"));
        let own = [("ERA", era), ("KEY", "made-up")];
        assert_eq!(environment, own.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }
}

#[tokio::test]
async fn a_program_that_is_slow_to_start_is_still_of_its_era() {
    let eras = ["modern", "legacy", "both"].into_iter();
    let all = eras.flat_map(|era| ["in order", "reversed", "mute", "dies"].map(|slow| (era, slow)));
    let called = all.map(async |(era, slow)| {
        let mut gateway = Gateway::new(&[("ERA", era), ("SLOW", slow)]);
        gateway.timeout_ms = 60_000;
        let said = gateway.call("acct_alpha", "note: one").await.map_err(|fault| fault.kind);
        let expected = match (era, slow) {
            (_, "dies") | ("modern", "mute") => Err(SystemFaultKind::Unavailable),
            _ => Ok("note: one".to_owned()),
        };
        assert_eq!(said, expected, "{era}, {slow}");
    });
    join_all(called).await;
}

#[tokio::test]
async fn a_program_that_goes_wrong_is_a_clear_fault_and_is_started_again_after_a_pause() {
    use SystemFaultKind::{Refused, TimedOut, Unavailable};
    for (q, kind) in [
        ("asks", Refused),
        ("hangs", TimedOut),
        ("dies", Unavailable),
        ("endless", Unavailable),
        ("garbage", Unavailable),
    ] {
        let gateway = Gateway::new(&[("ERA", "legacy")]);
        assert_eq!(gateway.call("acct_alpha", "x").await.unwrap(), "hello");
        let fault = gateway.call("acct_alpha", q).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{q}: {fault:?}");
        if q == "asks" {
            assert!(fault.said.unwrap().contains("sampling/createMessage"));
        }
        if kind != Unavailable {
            continue;
        }
        // Another caller's is not concerned, but the pause is everybody's.
        let began = Instant::now();
        let mut again = gateway.call("acct_alpha", "x").await;
        while again.is_err() && began.elapsed() < Duration::from_secs(60) {
            assert_eq!(again.unwrap_err().kind, Unavailable);
            sleep(Duration::from_millis(200)).await;
            again = gateway.call("acct_alpha", "x").await;
        }
        assert_eq!(again.unwrap(), "hello", "{q}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_start_says_why_and_is_not_started_over_and_over() {
    let gateway = Gateway::new(&[("FAILS", "1")]);
    let fault = gateway.call("acct_alpha", "x").await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable);
    let mut pauses = 0;
    for _ in 0..20 {
        let fault = gateway.call("acct_alpha", "x").await.unwrap_err();
        pauses += u32::from(fault.detail.contains("pause"));
    }
    assert!(pauses > 10, "{pauses}");
}

#[tokio::test]
async fn what_a_program_started_ends_with_it() {
    let gateway = Gateway::new(&[]);
    let child = gateway.call("acct_alpha", "child").await.unwrap();
    let alive = || Path::new("/proc").join(&child).exists();
    assert!(alive());
    drop(gateway);
    let began = Instant::now();
    while alive() && began.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(50)).await;
    }
    assert!(!alive(), "{child} still runs");
}

#[tokio::test]
async fn a_change_that_a_program_tells_of_withdraws_the_tool_before_the_next_call() {
    for era in ["modern", "legacy"] {
        let gateway = Gateway::new(&[("ERA", era)]);
        assert_eq!(gateway.call("acct_alpha", "x").await.unwrap(), "hello");
        assert_eq!(gateway.call("acct_alpha", "changes").await.unwrap(), "changed");
        let told = answer(
            &gateway.connectors,
            &gateway.clock,
            (gateway.tool(), "acct_alpha"),
            json!({"q": "x"}),
        );
        match told.await {
            Answer::Faulted(faulted) => {
                assert_eq!(faulted.fault().code(), "definition_changed");
            }
            Answer::Refused(refused) => assert_eq!(*refused.refusal(), Refusal::DefinitionChanged),
            Answer::Completed(completed) => panic!("{era}: {}", completed.text()),
        }
        assert!(gateway.connectors.is_withdrawn(&gateway.tool()));
    }
}

#[tokio::test]
async fn a_program_says_what_it_defines_to_whoever_reviews_it() {
    let found = definitions(&system(program(&[]), Vec::new())).await.unwrap();
    let [(Defined::Tool, definition)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(definition["name"], "search");
}
