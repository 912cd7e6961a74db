//! The API that is called: looks at what it is sent and answers one order.

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
            let routes = Router::new().route("/v1/accounts/{account}/search", post(search));
            axum::serve(listener, routes).await
        })
    })?;
    Ok(address)
}

async fn search(
    axum::extract::Path(account): axum::extract::Path<String>,
    Json(asked): Json<Value>,
) -> Json<Value> {
    let number = asked.get("after").and_then(Value::as_u64).unwrap_or_default();
    Json(json!({ "items": [{
        "id": format!("ord_{number:08}"),
        "account": account,
        "status": "shipped",
        "placed_on": "2026-11-20",
        "note": "two pallets, to be unloaded from the side; the driver calls half an hour before",
    }] }))
}
