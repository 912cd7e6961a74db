//! The client scenarios of MCP's official conformance suite, of both eras, against the connector. What
//! fails is in `conformance/expected.yaml`, with why; whatever else fails is a defect, and so is an entry
//! that passes: the suite itself says so. `scripts/test` installs it.
//!
//! The suite starts a client for each scenario: this very test program, told to be one.

use crate::bench::{Ticking, answer, planned};
use crate::mcp::pinned_as;
use countersign_connectors::{
    Connectors, HttpSystem, McpReach, McpSystem, Networks, Origin, System, SystemNames, definitions,
};
use countersign_core::id::SystemName;
use countersign_core::tool::{Defined, McpAsk, McpPlan, Parameter, Plan, ResultBounds, Template};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const URL: &str = "COUNTERSIGN_CONFORMANCE_URL";

fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.clients").join(name);
    assert!(path.exists(), "{} is missing: run scripts/test once", path.display());
    path
}

#[test]
fn the_connector_conforms_in_all_that_it_takes_part_in() {
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("client.sh");
    let me = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\n{URL}=\"$1\" exec {} --exact conformance::as_the_suites_client --ignored --nocapture\n",
        me.display()
    );
    std::fs::write(&client, text).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance/expected.yaml");
    for (era, needed) in [
        ("2025-11-25", &["initialize", "tools_call"][..]),
        (
            "2026-07-28",
            &[
                "tools_call",
                "request-metadata",
                "http-standard-headers",
                "http-custom-headers",
                "http-invalid-tool-headers",
                "json-schema-ref-no-deref",
            ][..],
        ),
    ] {
        let output = Command::new(installed("venv/bin/node"))
            .arg(installed("node_modules/@modelcontextprotocol/conformance/dist/index.js"))
            .args(["client", "--requirements", era, "--timeout", "60000", "--command"])
            .arg(&client)
            .arg("--expected-failures")
            .arg(&expected)
            .arg("--output-dir")
            .arg(folder.path().join(era))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        println!("{era}: {said}");
        assert!(output.status.success(), "{era}: the suite is not content\n{said}");
        let listed = std::fs::read_to_string(&expected).unwrap();
        for scenario in needed {
            assert!(said.contains(scenario), "{era}: {scenario} was not run");
            assert!(!listed.contains(&format!("- {scenario}\n")), "{scenario}");
        }
    }
}

/// What the suite asks of a client: look at what there is, and call it.
#[tokio::test]
#[ignore = "is started by the suite, with the URL of a scenario's server"]
async fn as_the_suites_client() {
    let Ok(url) = told(URL) else { return };
    let (scheme, rest) = url.split_once("://").unwrap();
    let (place, path) = rest.split_once('/').map_or((rest, ""), |(place, path)| (place, path));
    let networks = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    let system = McpSystem {
        reach: McpReach::Http {
            system: Box::new(HttpSystem {
                origin: Origin::parse(&format!("{scheme}://{place}"), true).unwrap(),
                credential: None,
                networks: Networks::new(networks.to_vec()),
                concurrency: 4,
                names: Arc::new(SystemNames),
            }),
            path: format!("/{path}"),
        },
        pins: Vec::new(),
        recheck_ms: 60_000,
        shared: false,
        timeout_ms: 10_000,
        concurrency: 4,
    };
    let found = definitions(&system).await.unwrap();
    let tools: Vec<_> = found.into_iter().filter(|(kind, _)| *kind == Defined::Tool).collect();
    let pins: Vec<_> = tools.iter().map(|(_, definition)| pinned_as(definition)).collect();
    let system = System::Mcp(McpSystem { pins: pins.clone(), ..system });
    let clock = Arc::new(Ticking::default());
    let systems = BTreeMap::from([(SystemName::new("s").unwrap(), system)]);
    let connectors = Arc::new(Connectors::new(systems, clock.clone()));
    for pin in pins {
        let (_, name) = &pin.of;
        for arguments in calls(name, &pin.definition) {
            let parameter = |name: &String| Parameter { name: name.clone(), optional: false };
            let members = arguments.as_object().unwrap().keys();
            let template = members.map(|name| (name.clone(), Template::Argument(parameter(name))));
            let plan = Plan::Mcp(McpPlan {
                ask: McpAsk::Tool {
                    name: name.clone(),
                    arguments: Template::Object(template.collect()),
                },
                pin: Arc::clone(&pin),
                rows: None,
                pick: Vec::new(),
                undone_on_error: false,
                timeout_ms: 10_000,
                bounds: ResultBounds { rows_max: 100, bytes_max: 1_000_000 },
            });
            let told = answer(&connectors, &clock, (planned("s", plan), "acct_alpha"), arguments);
            println!("{name}: {:?}", told.await);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is how the suite speaks to its client")]
fn told(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(name)
}

/// The calls that the suite wants, or one that fits the schema.
fn calls(name: &str, definition: &Map<String, Value>) -> Vec<Value> {
    let context = told("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    let context: Value = serde_json::from_str(&context).unwrap_or_default();
    let wanted = context["toolCalls"].as_array().into_iter().flatten();
    let wanted: Vec<Value> =
        wanted.filter(|call| call["name"] == name).map(|call| call["arguments"].clone()).collect();
    if !wanted.is_empty() {
        return wanted;
    }
    let properties = definition["inputSchema"]["properties"].as_object();
    let fitting = properties.into_iter().flatten().map(|(name, schema)| {
        let value = match schema["type"].as_str() {
            Some("number" | "integer") => json!(5),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("text"),
        };
        (name.clone(), value)
    });
    vec![Value::Object(fitting.collect())]
}
