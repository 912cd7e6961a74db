//! The doors: who is let in, what is turned away before it becomes a call, and what a caller is
//! shown.

use crate::gateway::{Company, Gateway, Who};
use jsonwebtoken::{Algorithm, Header};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

const COPILOT: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "s", depots: &["HAM"] };

impl Gateway {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// A message of the newest era to the MCP door, with headers that agree with it.
    fn message(&self, token: &str, method: &str, params: Value) -> RequestBuilder {
        let mut params = params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self
            .mcp(token)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        let request = if name.is_empty() { request } else { request.header("mcp-name", name) };
        request.body(body.to_string())
    }

    fn mcp(&self, token: &str) -> RequestBuilder {
        self.request(Method::POST, "/mcp")
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn nobody_gets_in_without_a_valid_token_of_a_registered_agent() {
    let company = Company::new();
    let gateway = company.serve();
    let good = gateway.token(COPILOT).await;
    let other_key = {
        let other = company_of_another_key().await;
        other.0.token(COPILOT).await
    };
    let mut tampered = good.clone();
    tampered.replace_range(good.len() - 8..good.len() - 4, "AAAA");
    for (path, method) in [
        ("/mcp", Method::POST),
        ("/v1/calls", Method::POST),
        ("/v1/tools", Method::GET),
        ("/mcp", Method::GET),
    ] {
        for token in
            [None, Some(""), Some("garbage"), Some(tampered.as_str()), Some(other_key.as_str())]
        {
            let request = gateway.request(method.clone(), path);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} {token:?}");
            let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(challenge.starts_with("Bearer "), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), token.is_some(), "{challenge}");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["code"], "unauthenticated", "{body}");
        }
    }
    let (status, _) = answer(gateway.request(Method::GET, "/v1/tools").bearer_auth(&good)).await;
    assert_eq!(status, StatusCode::OK);
    // A token in the query is no token.
    let (status, _) =
        answer(gateway.request(Method::GET, &format!("/v1/tools?access_token={good}"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // The flood is on record, as a few records with counts.
    let records = company.records(&["--code", "unauthenticated"], 1);
    assert!(records.len() < 20, "{} records", records.len());
    assert!(
        !records.iter().any(|r| r.to_string().contains(good.get(..40).unwrap())),
        "a token is in the journal"
    );
}

/// Another gateway of the same posture, with a development key of its own.
async fn company_of_another_key() -> (Gateway, Company) {
    let company = Company::new();
    (company.serve(), company)
}

#[tokio::test]
async fn a_token_of_a_configured_issuer_opens_production_and_the_development_issuer_does_not() {
    let company = Company::new();
    let key = company.in_production();
    company.signed();
    let gateway = company.serve();
    let claims = |client: &str, audience: &str| {
        json!({
            "iss": "https://login.acme.example", "aud": audience, "sub": "ann", "client_id": client,
            "tenant": "acct_bravo", "sid": "1", "exp": 4_102_444_800_u64,
        })
    };
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::EdDSA) };
    let token =
        |client, audience| jsonwebtoken::encode(&header, &claims(client, audience), &key).unwrap();
    let arguments = json!({"account_id": "acct_bravo", "days": 2});
    let ours = token("support-copilot", "https://gateway.acme.example");
    assert_eq!(gateway.call(&ours, "get_account_usage", arguments).await["status"], "completed");
    for (client, audience) in [
        ("support-copilot", "https://other.example"),
        ("somebody-else", "https://gateway.acme.example"),
    ] {
        let request =
            gateway.request(Method::GET, "/v1/tools").bearer_auth(token(client, audience));
        assert_eq!(answer(request).await.0, StatusCode::UNAUTHORIZED, "{client} {audience}");
    }
    let (status, _) = answer(gateway.request(Method::POST, "/dev/token").json(&json!({}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn foreign_pages_foreign_hosts_and_proxies_are_turned_away() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    for path in ["/v1/tools", "/mcp", "/dev/token", "/nothing"] {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("host", "evil.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ] {
            let request =
                gateway.request(Method::POST, path).bearer_auth(&token).header(name, value);
            let (status, body) = answer(request).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {name}: {body}");
        }
    }
    let (status, _) = answer(gateway.request(Method::GET, "/v1/tools").bearer_auth(&token)).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_readers_could_read_differently_never_becomes_a_call() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let call = |arguments: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_account_usage","arguments":{arguments},"_meta":{{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        gateway
            .mcp(&token)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "get_account_usage")
            .body(body)
    };
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    for arguments in [
        r#"{"account_id":"acct_alpha","account_id":"acct_bravo","days":1}"#.to_owned(),
        r#"{"account_id":"acct_alpha","days":1,"\u0064ays":2}"#.to_owned(),
        r#"{"account_id":"acct_alpha","days":9007199254740993}"#.to_owned(),
        format!(r#"{{"account_id":"acct_alpha","days":{deep}}}"#),
        "{".to_owned(),
    ] {
        let (status, body) = answer(call(&arguments)).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::BAD_REQUEST, &json!(-32700)),
            "{arguments}: {body}"
        );
        let request = gateway.request(Method::POST, "/v1/calls").bearer_auth(&token);
        let (status, body) = answer(
            request.body(format!(r#"{{"tool":"get_account_usage","arguments":{arguments}}}"#)),
        )
        .await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::BAD_REQUEST, &json!("malformed_request")),
            "{body}"
        );
    }
    assert_eq!(company.touched(), 0);
    let (status, body) = answer(call(r#"{"account_id":"acct_alpha","days":1}"#)).await;
    assert_eq!((status, &body["result"]["isError"]), (StatusCode::OK, &json!(false)), "{body}");
    for batch in ["[]", "[1]", "1", "null"] {
        let (status, _) = answer(gateway.mcp(&token).body(batch.to_owned())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{batch}");
    }
    let large = format!(r#"{{"tool":"{}"}}"#, "x".repeat(300_000));
    for path in ["/mcp", "/v1/calls"] {
        let request = gateway.request(Method::POST, path).bearer_auth(&token).body(large.clone());
        assert_eq!(answer(request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(company.touched(), 1);
}

#[tokio::test]
async fn headers_that_disagree_with_the_body_are_an_error() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let params = || json!({"name": "get_account_usage", "arguments": {"account_id": "acct_alpha", "days": 1}});
    for (name, value, code) in [
        ("mcp-name", "list_invoices", -32020),
        ("mcp-method", "tools/list", -32020),
        ("mcp-protocol-version", "2025-11-25", -32020),
    ] {
        let mut request = gateway.message(&token, "tools/call", params()).build().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let response = gateway.http.execute(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{name}: {body}");
    }
    assert_eq!(company.touched(), 0);
    let (_, body) = answer(gateway.message(&token, "tools/call", params())).await;
    assert_eq!(body["result"]["isError"], false, "{body}");
}

#[tokio::test]
async fn both_eras_meet_on_one_endpoint_without_a_session() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let (_, discovered) = answer(gateway.message(&token, "server/discover", json!({}))).await;
    let versions = discovered["result"]["supportedVersions"].to_string();
    assert!(versions.contains("2026-07-28") && versions.contains("2025-11-25"), "{discovered}");
    assert_eq!(discovered["result"]["cacheScope"], "private");
    for (asked, given) in
        [("2025-11-25", "2025-11-25"), ("2025-03-26", "2025-03-26"), ("2026-07-28", "2025-11-25")]
    {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let response = gateway.mcp(&token).body(body.to_string()).send().await.unwrap();
        assert!(!response.headers().contains_key("mcp-session-id"));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["result"]["protocolVersion"], given, "{asked}: {body}");
    }
    let (_, listed) = answer(gateway.message(&token, "tools/list", json!({}))).await;
    assert_eq!(listed["result"]["cacheScope"], "private", "{listed}");
    assert!(listed["result"]["ttlMs"].is_u64(), "{listed}");
    let (_, paged) = answer(gateway.message(&token, "tools/list", json!({"cursor": "x"}))).await;
    assert_eq!(paged["error"]["code"], -32602, "{paged}");
    for method in [Method::GET, Method::DELETE] {
        let (status, _) = answer(gateway.request(method, "/mcp").bearer_auth(&token)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
    let (status, unknown) = answer(gateway.message(&token, "tools/destroy", json!({}))).await;
    assert_eq!(
        (status, &unknown["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!(-32601)),
        "{unknown}"
    );
}

#[tokio::test]
async fn each_caller_is_listed_its_own_tools_with_its_own_identifiers() {
    let company = Company::new();
    let gateway = company.serve();
    let list = async |who, format: &str| {
        let token = gateway.token(who).await;
        let path = format!("/v1/tools?format={format}");
        let (status, body) = answer(gateway.request(Method::GET, &path).bearer_auth(token)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["tools"].as_array().unwrap().clone()
    };
    for tenant in ["acct_alpha", "acct_bravo"] {
        let tools = list(Who { tenant, ..COPILOT }, "mcp").await;
        let text = Value::from(tools.clone()).to_string();
        for other in ["acct_alpha", "acct_bravo", "acct_charlie"] {
            assert_eq!(text.contains(other), other == tenant, "{tenant} is shown {other}");
        }
        let usage = tools.iter().find(|tool| tool["name"] == "get_account_usage").unwrap();
        assert_eq!(usage["inputSchema"]["properties"]["account_id"]["enum"], json!([tenant]));
        assert!(tools.iter().all(|tool| tool["inputSchema"]["properties"].get("tenant").is_none()));
    }
    let planner =
        list(Who { agent: "dispatch-planner", depots: &["HAM", "BER"], ..COPILOT }, "mcp").await;
    let departures = planner.iter().find(|tool| tool["name"] == "list_departures").unwrap();
    assert_eq!(departures["inputSchema"]["properties"]["depot"]["enum"], json!(["BER", "HAM"]));
    assert!(!planner.iter().any(|tool| tool["name"] == "read_ticket"));
    let anthropic = list(COPILOT, "anthropic").await;
    assert!(
        anthropic
            .iter()
            .all(|tool| tool["input_schema"]["type"] == "object" && tool["name"].is_string())
    );
    let openai = list(COPILOT, "openai").await;
    assert!(openai.iter().all(
        |tool| tool["type"] == "function" && tool["function"]["parameters"]["type"] == "object"
    ));
    let token = gateway.token(COPILOT).await;
    let (status, _) =
        answer(gateway.request(Method::GET, "/v1/tools?format=soap").bearer_auth(token)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn health_and_readiness_answer_and_the_end_is_in_good_order() {
    let company = Company::new();
    let gateway = company.serve();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(answer(gateway.request(Method::GET, path)).await.0, StatusCode::OK);
    }
    let token = gateway.token(COPILOT).await;
    gateway.call(&token, "get_account_usage", json!({"account_id": "acct_alpha", "days": 1})).await;
    gateway.stop();
    let records = company.records(&[], 5);
    let kinds: Vec<&str> = records.iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["stream_opened", "posture_loaded", "intent", "outcome", "stream_closed"]);
}

#[tokio::test]
async fn half_a_request_holds_up_neither_others_nor_the_end() {
    use std::io::Write;
    let company = Company::new();
    let gateway = company.serve();
    let address = gateway.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = Vec::new();
    for start in [
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\n",
        "POST /dev/token HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    ] {
        for _ in 0..40 {
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            slow.push(stream);
        }
    }
    assert_eq!(answer(gateway.request(Method::GET, "/healthz")).await.0, StatusCode::OK);
    let (status, _) = answer(gateway.request(Method::GET, "/v1/tools")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the API has room of its own");
    let (status, _) = answer(gateway.request(Method::POST, "/dev/token").json(&json!({}))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "the issuer's room is full");
    gateway.stop();
    drop(slow);
}

#[tokio::test]
async fn a_text_of_many_values_never_becomes_a_call() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let parcels =
        |n: usize| json!({"tool": "track_parcels", "arguments": {"parcels": vec![json!({}); n]}});
    let post = |n| gateway.request(Method::POST, "/v1/calls").bearer_auth(&token).json(&parcels(n));
    let (status, body) = answer(post(5_000)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("malformed_request"))
    );
    let (status, body) = answer(post(3)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::OK, &json!("invalid_arguments")),
        "{body}"
    );
}

#[tokio::test]
async fn the_development_issuer_knows_the_agents() {
    let company = Company::new();
    let gateway = company.serve();
    let command = |agent| {
        ["token", "--agent", agent, "--tenant", "t", "--user", "u", "--url", &gateway.url]
            .map(str::to_owned)
    };
    let run = |agent| company.run(&command(agent).each_ref().map(String::as_str));
    assert!(run("support-copilot").status.success());
    let refused = run("suport-copilot");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("dispatch-planner, support-copilot"), "{said}");
}

#[tokio::test]
async fn a_second_gateway_on_the_same_journal_does_not_start() {
    let company = Company::new();
    let _first = company.serve();
    let second = company.run(&["serve", "."]);
    assert_eq!(second.status.code(), Some(2), "{}", String::from_utf8_lossy(&second.stderr));
}
