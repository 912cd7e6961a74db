//! Effects by HTTP, against a real server that counts what it was asked and answers by script: what
//! is known of each is what is so, and nothing is ever sent twice.

use crate::bench::{Ticking, answer, planned, report};
use crate::upstream::{Script, get, piece, required, system};
use countersign_connectors::{Connectors, HttpSystem, System};
use countersign_core::id::SystemName;
use countersign_core::ladder::{Check, Expected, Ladder};
use countersign_core::port::Report;
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, HttpPlan, Method, Plan, Template, Tool};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Does {
    /// Answers with a status and a body of JSON.
    Answers(u16, &'static str),
    /// Sends just this, and closes.
    Sends(&'static str),
    /// Reads it to its end, and closes.
    Closes,
    /// Reads it to its end, and says nothing.
    Hangs,
    /// Closes before it reads.
    ClosesUnread,
}

/// A server that counts and keeps its connections.
#[derive(Debug, Clone)]
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    script: Arc<Mutex<VecDeque<Does>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    async fn that(script: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            heard: Arc::default(),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            connections: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *serving.connections.lock().unwrap() += 1;
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    async fn serve(self, mut stream: TcpStream) {
        if matches!(self.script.lock().unwrap().front(), Some(Does::ClosesUnread)) {
            self.script.lock().unwrap().pop_front();
            return;
        }
        while let Some(request) = whole(&mut stream).await {
            self.heard.lock().unwrap().push(request);
            let next = self.script.lock().unwrap().pop_front().unwrap_or(Does::Closes);
            let text = match next {
                Does::Answers(status, body) => format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                ),
                Does::Sends(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    return;
                }
                Does::Hangs => return std::future::pending().await,
                Does::Closes | Does::ClosesUnread => return,
            };
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    }

    /// The requests since somebody looked, without their headers: `POST /x {…}`.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap()).iter().map(|text| plain(text)).collect()
    }

    /// Every `Idempotency-Key` since somebody looked, by its request.
    fn keys(&self) -> Vec<(String, Option<String>)> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let key = |text: &str| {
            let mut lines = text.lines().map(str::to_ascii_lowercase);
            lines.find_map(|line| Some(line.strip_prefix("idempotency-key: ")?.to_owned()))
        };
        heard.iter().map(|text| (plain(text), key(text))).collect()
    }
}

fn plain(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let first = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
    format!("{first} {body}").trim().to_owned()
}

/// One request, to its end.
async fn whole(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut bytes = vec![0; 65_536];
    loop {
        let count = stream.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}

fn connectors(system: HttpSystem) -> Arc<Connectors> {
    let systems = BTreeMap::from([(SystemName::new("api").unwrap(), System::Http(system))]);
    Arc::new(Connectors::new(systems, Arc::new(Ticking::default())))
}

fn at(server: &Server) -> Arc<Connectors> {
    connectors(system(&format!("http://{}", server.address), &["127.0.0.1/32"]))
}

/// `POST /notes` with the argument `text`, within a second.
fn post() -> HttpPlan {
    let text = Template::Argument(required("text"));
    HttpPlan {
        method: Method::Post,
        body: Some(Template::Object(vec![("text".to_owned(), text)])),
        timeout_ms: 500,
        ..get("/notes")
    }
}

fn writing(plan: HttpPlan) -> Tool {
    Tool { effect: Effect::Reversible, ..planned("api", Plan::Http(plan)) }
}

/// Checks by `GET /notes/{text}` that `/text` is the argument.
fn checked(undo: bool) -> Tool {
    let read = HttpPlan { timeout_ms: 500, ..get("/notes/{text}") };
    let expect = vec![
        ("/text".to_owned(), Expected::Argument("text".to_owned())),
        ("/state".to_owned(), Expected::Literal(json!("new"))),
    ];
    let undo = undo.then(|| {
        let plan = HttpPlan { method: Method::Delete, timeout_ms: 500, ..get("/notes/{text}") };
        Arc::new(Plan::Http(plan))
    });
    let tool = writing(post());
    let ladder = Ladder { check: Some(Check::Http { read, expect }), undo, ..tool.ladder };
    Tool { ladder, ..tool }
}

async fn call(connectors: &Arc<Connectors>, tool: Tool) -> Result<Report, SystemFault> {
    let clock = Arc::new(Ticking::default());
    report(answer(connectors, &clock, (tool, "acct_alpha"), json!({"text": "x"})).await)
}

const POSTED: &str = r#"POST /notes {"text":"x"}"#;
const READ: &str = "GET /notes/x";
const DELETED: &str = "DELETE /notes/x";
const MADE: Does = Does::Answers(201, r#"{"id": 7}"#);
const AS_IT_MUST: Does = Does::Answers(200, r#"{"text": "x", "state": "new"}"#);
const OTHERWISE: Does = Does::Answers(200, r#"{"text": "x", "state": "old"}"#);

#[tokio::test]
async fn what_is_known_of_an_effect_follows_from_how_far_it_came_and_what_was_said() {
    use Applied::{NotApplied, Unknown};
    use SystemFaultKind::{Busy, Failed, TimedOut, Unavailable};
    for (does, kind, known) in [
        (Does::Answers(400, "{}"), Failed, NotApplied),
        (Does::Answers(404, "{}"), Failed, NotApplied),
        (Does::Answers(409, "{}"), Failed, NotApplied),
        (Does::Answers(422, "{}"), Failed, NotApplied),
        (Does::Answers(425, "{}"), Failed, NotApplied),
        (Does::Answers(429, "{}"), Busy, NotApplied),
        (Does::Answers(308, "{}"), Failed, NotApplied),
        (Does::Sends("HTTP/1.1 403 x\r\ncontent-length: 99\r\n\r\n"), Failed, NotApplied),
        (Does::Answers(408, "{}"), TimedOut, Unknown),
        (Does::Answers(499, "{}"), Failed, Unknown),
        (Does::Answers(303, "{}"), Failed, Unknown),
        (Does::Answers(500, "{}"), Failed, Unknown),
        (Does::Answers(502, "{}"), Unavailable, Unknown),
        (Does::Answers(503, "{}"), Unavailable, Unknown),
        (Does::Answers(504, "{}"), TimedOut, Unknown),
        (Does::Answers(202, "{}"), Failed, Unknown),
        (Does::Answers(207, "{}"), Failed, Unknown),
        (Does::Closes, Failed, Unknown),
        (Does::Hangs, TimedOut, Unknown),
        (Does::ClosesUnread, Failed, Unknown),
        (Does::Sends("HTTP/1.1 2"), Failed, Unknown),
        (Does::Sends("what?\r\n\r\n"), Failed, Unknown),
    ] {
        let server = Server::that([does.clone()]).await;
        let connectors = at(&server);
        let fault = call(&connectors, writing(post())).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (kind, known), "{does:?}: {}", fault.detail);
        let heard = server.heard();
        let read = usize::from(!matches!(does, Does::ClosesUnread));
        assert_eq!(heard, vec![POSTED; read], "{does:?}");
        assert_eq!(*server.connections.lock().unwrap(), 1, "{does:?}");
    }
}

#[tokio::test]
async fn an_acknowledged_effect_is_applied_however_its_answer_is_told() {
    for (does, rows, more) in [
        (MADE, json!([{"id": 7}]), false),
        (Does::Answers(200, "[]"), json!([]), false),
        (Does::Answers(204, ""), json!([]), false),
        (Does::Answers(201, ""), json!([]), false),
        (Does::Answers(200, "no JSON"), json!([]), true),
        (Does::Sends("HTTP/1.1 200 x\r\ncontent-type: text/html\r\n\r\n<p>"), json!([]), true),
        (Does::Sends("HTTP/1.1 201 x\r\ncontent-length: 99\r\n\r\n{"), json!([]), true),
    ] {
        let server = Server::that([does.clone()]).await;
        let report = call(&at(&server), writing(post())).await.unwrap();
        assert_eq!((report.result, report.truncated), (rows, more), "{does:?}");
        assert_eq!(server.heard(), [POSTED]);
    }
}

#[tokio::test]
async fn nothing_is_applied_if_no_connection_came_about() {
    let server = Server::that([]).await;
    let url = format!("http://{}", server.address);
    // Nobody listens, no such name, an address that is not permitted, TLS that does not begin, and a
    // host that never answers.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let names = |origin: &str, found: &[&[&str]]| HttpSystem {
        names: Script::of(found),
        ..system(origin, &["127.0.0.1/32"])
    };
    for (system, says) in [
        (system(&format!("http://{gone}"), &["127.0.0.1/32"]), "refused"),
        (names("http://api.example", &[]), "no such name"),
        (names("http://api.example", &[&["10.0.0.7"]]), "no such address is permitted"),
        (system(&url, &["10.0.0.0/8"]), "not one that the system permits"),
        (names("https://api.example", &[&[]]), "stands for no address"),
        (system(&url.replace("http:", "https:"), &["127.0.0.1/32"]), ""),
        (
            system(&format!("https://{}", full.local_addr().unwrap()), &["127.0.0.1/32"]),
            "timed out",
        ),
    ] {
        let fault = call(&connectors(system), writing(post())).await.unwrap_err();
        let known = (SystemFaultKind::Unavailable, Applied::NotApplied);
        assert_eq!((fault.kind, fault.applied), known, "{}", fault.detail);
        assert!(fault.detail.contains(says), "{}", fault.detail);
    }
    assert_eq!(server.heard(), [""; 0]);
}

#[tokio::test]
async fn an_effect_is_checked_and_put_back_if_it_is_not_the_one_that_was_to_be() {
    use Applied::{Compensated, Unknown};
    use SystemFaultKind::{Failed, PostCondition, TimedOut};
    let gone = Does::Answers(404, "{}");
    let deleted = Does::Answers(204, "");
    for (undo, script, expected, heard) in [
        (true, vec![MADE, AS_IT_MUST], None, vec![POSTED, READ]),
        (
            true,
            vec![MADE, OTHERWISE, deleted.clone()],
            Some((PostCondition, Compensated)),
            vec![POSTED, READ, DELETED],
        ),
        (
            true,
            vec![MADE, Does::Answers(200, "[]"), Does::Answers(200, "deleted")],
            Some((PostCondition, Compensated)),
            vec![POSTED, READ, DELETED],
        ),
        (
            true,
            vec![MADE, OTHERWISE, gone.clone()],
            Some((PostCondition, Applied::Applied)),
            vec![POSTED, READ, DELETED],
        ),
        (
            true,
            vec![MADE, OTHERWISE, Does::Closes],
            Some((PostCondition, Unknown)),
            vec![POSTED, READ, DELETED],
        ),
        (false, vec![MADE, OTHERWISE], Some((PostCondition, Applied::Applied)), vec![POSTED, READ]),
        // No answer to the check is none: nobody knows whether there is something to put back.
        (true, vec![MADE, gone], Some((Failed, Unknown)), vec![POSTED, READ]),
        (true, vec![MADE, Does::Hangs], Some((TimedOut, Unknown)), vec![POSTED, READ]),
        (true, vec![MADE, Does::Answers(200, "?")], Some((Failed, Unknown)), vec![POSTED, READ]),
        // What is only accepted may still come: a check can show that it did, not that it will not.
        (true, vec![Does::Answers(202, "{}"), AS_IT_MUST], None, vec![POSTED, READ]),
        (
            true,
            vec![Does::Answers(202, "{}"), OTHERWISE],
            Some((PostCondition, Unknown)),
            vec![POSTED, READ],
        ),
        // What was not done is not checked.
        (true, vec![Does::Answers(422, "{}")], Some((Failed, Applied::NotApplied)), vec![POSTED]),
        (true, vec![Does::Closes], Some((Failed, Unknown)), vec![POSTED]),
    ] {
        let server = Server::that(script.clone()).await;
        let outcome = call(&at(&server), checked(undo)).await;
        let known = outcome.as_ref().err().map(|fault| (fault.kind, fault.applied));
        assert_eq!(known, expected, "{script:?}: {outcome:?}");
        assert_eq!(server.heard(), heard, "{script:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_checked_is_not_sent() {
    let server = Server::that([]).await;
    let Tool { ladder, .. } = checked(false);
    let Some(Check::Http { read, .. }) = ladder.check else { panic!() };
    for expect in [vec![], vec![("/text".to_owned(), Expected::Argument("left_out".to_owned()))]] {
        let check = Some(Check::Http { read: read.clone(), expect });
        let tool = writing(post());
        let tool = Tool { ladder: Ladder { check, ..tool.ladder.clone() }, ..tool };
        let fault = call(&at(&server), tool).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (SystemFaultKind::Failed, Applied::NotApplied));
    }
    assert_eq!(server.heard(), [""; 0]);
}

#[tokio::test]
async fn each_effect_has_a_key_of_its_own_that_nothing_else_of_the_request_replaces() {
    let server = Server::that([MADE, OTHERWISE, Does::Answers(204, "")]).await;
    let tool = checked(true);
    let Plan::Http(plan) = tool.plan else { panic!() };
    let headers = vec![("idempotency-key".to_owned(), piece("{text}"))];
    let tool = Tool { plan: Plan::Http(HttpPlan { headers, ..plan }), ..tool };
    call(&at(&server), tool).await.unwrap_err();
    let [posted, read, deleted] = <[_; 3]>::try_from(server.keys()).unwrap();
    let key = posted.1.unwrap();
    assert!(key.len() > 16 && key != "x", "{key}");
    assert_eq!(read, (READ.to_owned(), None));
    assert_eq!(deleted, (DELETED.to_owned(), Some(format!("{key}-undo"))));
}

#[tokio::test]
async fn an_effect_never_travels_on_a_connection_that_served_before() {
    // A connection that the server closes while it is idle would leave it unknown what arrived.
    let server = Server::that([AS_IT_MUST, AS_IT_MUST, MADE, MADE, AS_IT_MUST]).await;
    let connectors = at(&server);
    let reads = || planned("api", Plan::Http(get("/notes/x")));
    for _ in 0..2 {
        call(&connectors, reads()).await.unwrap();
    }
    assert_eq!(*server.connections.lock().unwrap(), 1);
    for _ in 0..2 {
        call(&connectors, writing(post())).await.unwrap();
    }
    assert_eq!(*server.connections.lock().unwrap(), 3);
    call(&connectors, reads()).await.unwrap();
    assert_eq!(*server.connections.lock().unwrap(), 3);
    // A status that a read would take for nothing found is no success of an effect.
    let server = Server::that([Does::Answers(404, "{}")]).await;
    let plan = HttpPlan { empty_on: BTreeSet::from([404]), ..post() };
    assert_eq!(call(&at(&server), writing(plan)).await.unwrap_err().applied, Applied::NotApplied);
}
