//! The conformance suite against an MCP server of ours, and against the same server with the gateway in
//! front, over both eras' own wires: what passes direct passes through, but for what
//! `conformance/through.yaml` says why.

use crate::conformance::{Checks, ERAS, shimmed, suite};
use crate::drafted::{AGENT, Upstream};
use crate::gateway::Who;
use crate::mcp_server::McpServer;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use tokio::net::TcpListener;

const WHO: Who<'_> = Who { agent: AGENT, tenant: "ann", session: "suite", depots: &[] };

/// `scenario:check` of all that were tried, all of whose trials went well.
fn passed(checks: &Checks) -> BTreeSet<String> {
    let well = |status: &str| matches!(status, "SUCCESS" | "INFO");
    let passed = checks.iter().filter(|(_, found)| found.iter().all(|(status, _)| well(status)));
    passed.map(|((scenario, check), _)| format!("{scenario}:{check}")).collect()
}

/// The lines of `era` in the file, without its comments.
fn refused(era: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance/through.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, of_era) = text.split_once(&format!("\"{era}\":\n")).unwrap();
    let lines = of_era.lines().take_while(|line| !line.starts_with('"'));
    lines.filter_map(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_direct_passes_through_but_for_what_is_refused_on_purpose() {
    let server = McpServer::of_the_suite().await;
    let defined = server.defined().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let upstream = Upstream {
        mcp: json!({ "origin": "upstream", "networks": ["127.0.0.0/8"] }),
        references: &[("upstream", &server.origin)],
        defined: &defined,
    };
    let (company, drafted) = upstream.company(&[&origin]);
    assert_eq!(drafted.left, []);
    let gateway = company.serve();
    let token = gateway.token(WHO).await;
    shimmed(listener, &gateway, token);
    let mut differs = Vec::new();
    for era in ERAS {
        let (direct, through) = (suite(&server.origin, era, &[]), suite(&origin, era, &[]));
        let (passed_direct, passed_through) = (passed(&direct), passed(&through));
        assert!(passed_direct.len() > 50, "{era}: {passed_direct:#?}");
        let lost: BTreeSet<String> = passed_direct.difference(&passed_through).cloned().collect();
        println!("{era}: {} pass direct, {} through", passed_direct.len(), passed_through.len());
        let refused = refused(era);
        for name in lost.symmetric_difference(&refused) {
            let found = through.iter().find(|((s, c), _)| *name == format!("{s}:{c}"));
            differs.push(format!("{era} {name}: {}", json!(found.map(|(_, found)| found))));
        }
    }
    assert_eq!(differs, [""; 0], "lost and not listed, or listed and not lost");
    // What came through came from the server.
    for name in ["test_simple_text", "test://static-text", "test_prompt_with_image"] {
        assert!(server.called().iter().filter(|called| *called == name).count() >= 4, "{name}");
    }
}
