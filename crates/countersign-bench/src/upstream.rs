//! The API that is called, and the MCP server: looks at what it is sent and answers one order.

use crate::Outcome;
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Starts it on a thread and a runtime of its own, until the process ends.
pub(crate) fn start() -> Outcome<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let routes = Router::new()
                .route("/v1/accounts/{account}/search", post(search))
                .route("/mcp", post(mcp));
            axum::serve(listener, routes).await
        })
    })?;
    Ok(address)
}

async fn search(
    axum::extract::Path(account): axum::extract::Path<String>,
    Json(asked): Json<Value>,
) -> Json<Value> {
    Json(found(&asked, &account))
}

fn found(asked: &Value, account: &str) -> Value {
    let number = asked.get("after").and_then(Value::as_u64).unwrap_or_default();
    json!({ "items": [{
        "id": format!("ord_{number:08}"),
        "account": account,
        "status": "shipped",
        "placed_on": "2026-11-20",
        "note": "two pallets, to be unloaded from the side; the driver calls half an hour before",
    }] })
}

/// What the MCP server defines.
pub(crate) fn definition() -> Value {
    json!({
        "name": "orders_by_text",
        "description": "Searches orders.",
        "inputSchema": { "type": "object", "properties": {
            "account_id": { "type": "string" }, "after": { "type": "integer" },
            "limit": { "type": "integer" }, "status": { "type": "string" }, "text": { "type": "string" },
        } },
        "outputSchema": { "type": "object", "properties": { "items": { "type": "array" } }, "required": ["items"] },
    })
}

/// The modern era, and no more of it than is called.
async fn mcp(Json(asked): Json<Value>) -> Json<Value> {
    let params = asked.get("params").unwrap_or(&Value::Null);
    let result = match asked.get("method").and_then(Value::as_str) {
        Some("server/discover") => json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} }, "ttlMs": 60_000, "cacheScope": "public",
        }),
        Some("tools/list") => json!({
            "resultType": "complete", "tools": [definition()], "ttlMs": 60_000, "cacheScope": "public",
        }),
        _ => {
            let arguments = params.get("arguments").unwrap_or(&Value::Null);
            let account = arguments.get("account_id").and_then(Value::as_str).unwrap_or_default();
            let found = found(arguments, account);
            let text = json!({ "type": "text", "text": found.to_string() });
            json!({ "resultType": "complete", "content": [text], "structuredContent": found, "isError": false })
        }
    };
    Json(json!({ "jsonrpc": "2.0", "id": asked.get("id"), "result": result }))
}
