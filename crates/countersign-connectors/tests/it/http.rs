use crate::bench::Ticking;
use crate::upstream::Script;
use crate::upstream::{Api, Reply, Upstream, get, json, optional, piece, required, system};
use countersign_connectors::doctor::{Needs, examine};
use countersign_connectors::{
    Credential, CredentialError, HttpSystem, Origin, OriginError, System,
};
use countersign_core::refusal::{Applied, SystemFaultKind};
use countersign_core::tool::{HttpPlan, Method, Piece, ResultBounds, Template};
use secrecy::SecretString;
use serde_json::{Value, json as j};
use std::{collections::BTreeSet, io::Write as _, net::TcpListener, sync::Arc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

#[tokio::test]
async fn a_request_is_what_the_plan_says_with_every_argument_in_its_place() {
    let upstream = Upstream::answering(json("[]")).await;
    let plan = HttpPlan {
        method: Method::Post,
        query: vec![
            ("limit".to_owned(), piece("{limit}")),
            ("fixed".to_owned(), piece("a&b=c")),
            ("gone".to_owned(), Piece::Argument(optional("gone"))),
        ],
        headers: vec![
            ("x-tenant".to_owned(), piece("{tenant}")),
            ("x-gone".to_owned(), Piece::Argument(optional("gone"))),
        ],
        body: Some(Template::Object(vec![
            ("n".to_owned(), Template::Argument(required("limit"))),
            ("fixed".to_owned(), Template::Literal(j!(true))),
            ("gone".to_owned(), Template::Argument(optional("gone"))),
            (
                "list".to_owned(),
                Template::Array(vec![
                    Template::Argument(required("tags")),
                    Template::Argument(optional("gone")),
                    Template::Literal(Value::Null),
                ]),
            ),
        ])),
        ..get("/v2/accounts/{id}/contacts:search/")
    };
    let arguments =
        j!({"id": "a b/ü?#%&", "limit": 7, "tenant": "acct_1 x", "tags": ["x", {"y": 1.5}]});
    let report = Api::at(&upstream).call(&plan, arguments).await.unwrap();
    assert_eq!(report.rows, 0);
    let [asked] = <[_; 1]>::try_from(upstream.heard()).unwrap();
    assert_eq!(asked.method, "POST");
    assert_eq!(
        asked.target,
        "/v2/accounts/a%20b%2F%C3%BC%3F%23%25%26/contacts:search/?limit=7&fixed=a%26b%3Dc"
    );
    assert_eq!(asked.headers["x-tenant"], "acct_1 x");
    assert_eq!(asked.headers["accept"], "application/json");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["host"], upstream.address.to_string());
    assert!(asked.headers["user-agent"].to_str().unwrap().starts_with("countersign/"));
    assert_eq!(
        asked.headers.len(),
        6 + usize::from(asked.headers.contains_key("content-length")) - 1
    );
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body, j!({"n": 7, "fixed": true, "list": [["x", {"y": 1.5}], null]}));
}

#[tokio::test]
async fn an_answer_becomes_rows_as_the_plan_says() {
    let upstream = Upstream::answering(json("")).await;
    let api = Api::at(&upstream);
    let at = |result: &str| HttpPlan { result: result.to_owned(), ..get("/") };
    let long = r#"{"id": 9223372036854775807, "x": 1}"#;
    for (plan, answer, rows) in [
        (at(""), r#"[{"a": 1}, {"a": 2}]"#, j!([{"a": 1}, {"a": 2}])),
        (at(""), r#"{"a": 1}"#, j!([{"a": 1}])),
        (at("/items"), r#"{"items": [{"a": 1}], "next": 2}"#, j!([{"a": 1}])),
        (at("/a~1b/0"), r#"{"a/b": [{"c": 3}]}"#, j!([{"c": 3}])),
        (at(""), r#"[1, "x", null]"#, j!([{"value": 1}, {"value": "x"}, {"value": null}])),
        (at("/n"), r#"{"n": 7}"#, j!([{"value": 7}])),
        (at(""), "[]", j!([])),
        (at(""), long, j!([{"id": "9223372036854775807", "x": 1}])),
        (
            HttpPlan {
                pick: vec![
                    ("city".to_owned(), "/address/city".to_owned()),
                    ("id".to_owned(), "/id".to_owned()),
                ],
                ..at("")
            },
            r#"[{"id": 1, "secret": 2, "address": {"city": "Bremen"}}, {"id": 2}]"#,
            j!([{"city": "Bremen", "id": 1}, {"city": null, "id": 2}]),
        ),
    ] {
        upstream.answers(json(answer));
        let report = api.call(&plan, j!({})).await.unwrap();
        assert_eq!(report.result, rows, "{answer}");
        assert!(!report.truncated);
    }
}

#[tokio::test]
async fn a_result_is_cut_at_its_rows_and_its_bytes_and_says_so() {
    let upstream = Upstream::answering(json("[1,2,3]")).await;
    let api = Api::at(&upstream);
    let three = r#"[{"value":1},{"value":2},{"value":3}]"#.len();
    for (rows_max, bytes, rows) in [(3, three, 3), (2, three, 2), (0, three, 0), (3, three - 1, 2)]
    {
        let bounds = ResultBounds { rows_max, bytes_max: u32::try_from(bytes).unwrap() };
        let report = api.call(&HttpPlan { bounds, ..get("/") }, j!({})).await.unwrap();
        assert_eq!((report.rows, report.truncated), (rows, rows < 3));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_fault() {
    use SystemFaultKind::{Busy, Failed, TimedOut, Unavailable};
    let upstream = Upstream::answering(json("")).await;
    let api = Api::at(&upstream);
    let status = |status| Reply { status, ..json(r#"{"why": "x"}"#) };
    let typed =
        |kind: &str| Reply { headers: vec![("content-type", kind.to_owned())], ..json("[]") };
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (reply, kind, says) in [
        (status(400), Failed, r#"the system answered 400: {"why": "x"}"#),
        (status(401), Failed, "answered 401"),
        (status(403), Failed, "answered 403"),
        (status(404), Failed, "answered 404"),
        (status(408), TimedOut, "answered 408"),
        (status(429), Busy, "answered 429"),
        (status(500), Failed, "answered 500"),
        (status(502), Unavailable, "answered 502"),
        (status(503), Unavailable, "answered 503"),
        (status(504), TimedOut, "answered 504"),
        (status(304), Failed, "answered 304"),
        (json(""), Failed, "no JSON"),
        (json("{"), Failed, "no JSON"),
        (json(r#"{"a":1,"a":2}"#), Failed, "a key stands twice"),
        (json("[1e300]"), Failed, "integer beyond"),
        (json(deep), Failed, "nested deeper"),
        (json(format!("\"{}\"", "x".repeat(100_000))), Failed, "longer than the system's `bytes`"),
        (typed("text/html"), Failed, "does not say that it is JSON"),
        (typed("application/json; charset=utf-16"), Failed, "does not say"),
        (typed("text/json"), Failed, "does not say"),
        (Reply { headers: vec![], ..json("[]") }, Failed, "does not say"),
        (json(r#"{"b": 1}"#), Failed, "nothing at `/a`"),
    ] {
        upstream.answers(reply.clone());
        let plan = HttpPlan { result: "/a".to_owned(), ..get("/") };
        let fault = api.call(&plan, j!({})).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (kind, Applied::NotApplied), "{reply:?}");
        assert!(fault.detail.contains(says), "{}", fault.detail);
    }
    for kind in ["application/json", "Application/JSON; charset=UTF-8", "application/hal+json"] {
        upstream.answers(typed(kind));
        assert!(api.call(&get("/"), j!({})).await.is_ok(), "{kind}");
    }
}

#[tokio::test]
async fn a_status_that_means_nothing_found_is_no_row_and_no_other_status_is() {
    let upstream = Upstream::answering(Reply { status: 404, ..json("<h1>no</h1>") }).await;
    let plan = HttpPlan { empty_on: BTreeSet::from([404]), ..get("/") };
    let report = Api::at(&upstream).call(&plan, j!({})).await.unwrap();
    assert_eq!((report.rows, report.result, report.truncated), (0, j!([]), false));
    upstream.answers(Reply { status: 410, ..json("[]") });
    assert!(Api::at(&upstream).call(&plan, j!({})).await.is_err());
}

#[tokio::test]
async fn a_credential_is_sent_and_never_shown() {
    let upstream = Upstream::answering(json("[]")).await;
    let token = "made-up-token-0123456789";
    let pair = "dXNlcjptYWRlLXVwLXRva2VuLTAxMjM0NTY3ODk="; // user:made-up-token-0123456789
    for (credential, header, value) in [
        (Credential::bearer(&secret(token)), "authorization", format!("Bearer {token}")),
        (Credential::header("X-Api-Key", &secret(token)), "x-api-key", token.to_owned()),
        (
            Credential::basic(&secret("user"), &secret(token)),
            "authorization",
            format!("Basic {pair}"),
        ),
    ] {
        let credential = credential.unwrap();
        assert!(!format!("{credential:?}").contains("made-up"));
        let api = Api::with(&upstream, credential);
        // A tool's own header of that name gives way.
        let plan = HttpPlan { headers: vec![("x-api-key".to_owned(), piece("{k}"))], ..get("/") };
        upstream.answers(json("[]"));
        let _report = api.call(&plan, j!({"k": "the model's"})).await.unwrap();
        let [asked] = <[_; 1]>::try_from(upstream.heard()).unwrap();
        let sent: Vec<_> = asked.headers.get_all(header).iter().collect();
        assert_eq!(sent, [value.as_str()]);
        // An API that repeats what it was sent, as an error and as an answer.
        upstream.answers(Reply { status: 500, ..json(format!("you sent {value}!")) });
        let fault = api.call(&get("/"), j!({})).await.unwrap_err();
        assert!(!fault.detail.contains(token) && !fault.detail.contains(pair), "{}", fault.detail);
        assert!(fault.detail.contains("you sent "), "{}", fault.detail);
        for echo in [format!(r#"{{"h": ["{value}"]}}"#), format!(r#"{{"{value}": 1}}"#)] {
            upstream.answers(json(echo));
            let fault = api.call(&get("/"), j!({})).await.unwrap_err();
            assert_eq!(fault.detail, "the answer repeats the system's credential");
        }
        upstream.heard();
    }
    let refused = |made: Result<Credential, CredentialError>| made.unwrap_err();
    for odd in ["", "two words", "line\r\nend", "ü", "tab\t", " x"] {
        assert_eq!(refused(Credential::bearer(&secret(odd))), CredentialError::Characters);
    }
    let colon = Credential::basic(&secret("a:b"), &secret("c"));
    assert_eq!(refused(colon), CredentialError::Colon);
    assert_eq!(refused(Credential::header("a b", &secret("c"))), CredentialError::Header);
}

/// A server that does to a connection what it is told.
async fn raw<F: Future<Output = ()> + Send>(
    serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // What is answered before it is asked is no answer.
            let _asked = stream.read(&mut [0; 4_096]).await;
            serve(stream).await;
        }
    });
    origin
}

#[tokio::test]
async fn a_slow_answer_is_given_up_when_its_time_is_over() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let hasty = HttpPlan { timeout_ms: 50, ..get("/") };
    for said in ["", "HTTP/1.1 200", begun, &format!("{begun}content-length: 9\r\n\r\n[1,")] {
        let said = said.to_owned();
        let origin = raw(move |mut stream| {
            let said = said.clone();
            async move {
                stream.write_all(said.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                // Until the other side gives up.
                let _read = stream.read_to_end(&mut rest).await;
            }
        });
        let api = Api::of(system(&origin.await, &["127.0.0.1/32"]));
        let fault = api.call(&hasty, j!({})).await.unwrap_err();
        assert_eq!(fault.kind, SystemFaultKind::TimedOut, "{}", fault.detail);
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off_at_the_systems_bytes() {
    let origin = raw(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[";
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(&[b' '; 4_096]).await.is_ok() {}
    });
    let api = Api::of(system(&origin.await, &["127.0.0.1/32"]));
    let fault = api.call(&get("/"), j!({})).await.unwrap_err();
    assert!(fault.detail.contains("longer than the system's `bytes`, 100000"), "{}", fault.detail);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_fault_and_is_not_asked_for_again() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let origin = raw(move |mut stream| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n[";
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    });
    let api = Api::of(system(&origin.await, &["127.0.0.1/32"]));
    let fault = api.call(&get("/"), j!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Failed, "{}", fault.detail);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_system_that_is_away_is_unavailable() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = Api::of(system(&format!("http://{gone}"), &["127.0.0.1/32"]));
    let fault = api.call(&get("/"), j!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable, "{}", fault.detail);
}

#[tokio::test]
async fn only_tls_that_is_vouched_for_is_spoken_to() {
    // It answers a hello with something that is no TLS.
    let origin = raw(|mut stream| async move {
        let _written = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[]").await;
    });
    let origin = origin.await.replace("http://", "https://");
    let api = Api::of(system(&origin, &["127.0.0.1/32"]));
    let fault = api.call(&get("/"), j!({})).await.unwrap_err();
    assert_eq!(fault.kind, SystemFaultKind::Unavailable, "{}", fault.detail);
}

#[tokio::test]
async fn no_more_requests_are_made_at_a_time_than_the_system_may_take() {
    let upstream = Upstream::answering(json("[]")).await;
    let system = system(&upstream.origin(), &["127.0.0.1/32"]);
    let api = Arc::new(Api::of(HttpSystem { concurrency: 2, ..system }));
    let mut calls = JoinSet::new();
    for id in 0..100 {
        let api = Arc::clone(&api);
        calls.spawn(async move { api.call(&get("/{id}"), j!({"id": id})).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    let mut asked: Vec<_> = upstream.heard().into_iter().map(|asked| asked.target).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 100);
}

#[tokio::test]
async fn an_examination_connects_and_asks_nothing() {
    let upstream = Upstream::answering(json("[]")).await;
    let port = upstream.address.port();
    let examined = async |addresses: &[&str], port: u16| {
        let names = Script::of(&[addresses]);
        let origin = format!("http://crm.example:{port}");
        let system = HttpSystem { names, ..system(&origin, &["127.0.0.1/32"]) };
        let system = System::Http(system);
        let symptoms = examine(&system, &Needs::default(), "nobody", &Ticking::default()).await;
        symptoms.map(|all| all.into_iter().map(|symptom| symptom.code).collect::<Vec<_>>())
    };
    assert_eq!(examined(&["127.0.0.1"], port).await.unwrap(), [""; 0]);
    assert_eq!(examined(&["127.0.0.1", "10.0.0.1"], port).await.unwrap(), ["foreign-address"]);
    assert_eq!(examined(&["10.0.0.1"], port).await.unwrap(), ["foreign-address"]);
    assert!(examined(&[], port).await.is_err());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!(examined(&["127.0.0.1"], gone).await.is_err());
    assert!(upstream.heard().is_empty());
}

#[test]
fn an_origin_is_encrypted_or_says_that_it_is_not() {
    for (text, plaintext, outcome) in [
        ("https://crm.example", false, Ok(())),
        ("https://crm.example:8443", false, Ok(())),
        ("https://[2606:4700::1]", false, Ok(())),
        ("http://crm.example", true, Ok(())),
        ("http://127.0.0.1:8080", false, Ok(())),
        ("http://[::1]:8080", false, Ok(())),
        ("http://crm.example", false, Err(OriginError::Plaintext)),
        ("http://localhost:8080", false, Err(OriginError::Plaintext)),
        ("http://10.0.0.1", false, Err(OriginError::Plaintext)),
    ] {
        assert_eq!(Origin::parse(text, plaintext).map(drop), outcome, "{text}");
    }
}

/// Not a test of its own: what the one below runs in another environment.
#[tokio::test]
async fn a_name_is_reached_at_its_address() {
    let upstream = Upstream::answering(json("[]")).await;
    let origin = format!("http://crm.example:{}", upstream.address.port());
    let names = Script::of(&[&["127.0.0.1"]]);
    let api = Api::of(HttpSystem { names, ..system(&origin, &["127.0.0.1/32"]) });
    assert!(api.call(&get("/"), j!({})).await.is_ok());
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used() {
    let trap = crate::upstream::Trap::at(([127, 0, 0, 1], 0)).await.unwrap();
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        command.env(name, format!("http://{}", trap.address));
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY").env_remove("REQUEST_METHOD");
    let other = command.args(["--exact", "http::a_name_is_reached_at_its_address"]).output();
    let other = other.await.unwrap();
    std::io::stderr().write_all(&other.stdout).unwrap();
    assert!(other.status.success() && String::from_utf8_lossy(&other.stdout).contains("1 passed"));
    assert_eq!(trap.reached().await, 0);
}
