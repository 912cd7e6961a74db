//! Clients that mean harm, against the real binary on loopback. Each attack is bounded in number and
//! time, and valid callers are served all through it: over a connection that they keep, by both doors,
//! and over a new one for every call.

use crate::gateway::{Company, Gateway, Who};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "s", depots: &[] };
/// Longest that a valid caller may wait for an answer, in an unoptimised build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls that each of the three callers has to be served while an attack stands.
const CALLS: usize = 20;
/// Memory that an attack may add, in MiB: far less than what it sends, far more than the noise.
const MIB_MAX: u64 = 192;

/// A company under attack.
struct Siege {
    company: Company,
    gateway: Arc<Gateway>,
    token: String,
    /// What the process held before, in MiB.
    before: u64,
}

impl Siege {
    async fn new() -> Self {
        let company = Company::new();
        company.lift_limits();
        let gateway = Arc::new(company.serve());
        let token = gateway.token(WHO).await;
        let before = resident_mib(&gateway);
        Self { company, gateway, token, before }
    }

    fn address(&self) -> &str {
        self.gateway.url.strip_prefix("http://").unwrap()
    }

    /// What has been added to the process's memory, in MiB.
    fn added_mib(&self) -> u64 {
        resident_mib(&self.gateway).saturating_sub(self.before)
    }

    /// Lets the valid callers in; they stay until [`Callers::leave`].
    fn callers(&self) -> Callers {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), <[Arc<AtomicUsize>; 3]>::default());
        let tasks = served.iter().enumerate().map(|(which, count)| {
            let (gateway, token) = (Arc::clone(&self.gateway), self.token.clone());
            let (stop, count) = (Arc::clone(&stop), Arc::clone(count));
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let call = served_once(&gateway, &token, which, number);
                    timeout(PATIENCE, call).await.expect("a valid caller waited too long");
                    count.fetch_add(1, Relaxed);
                }
            })
        });
        Callers { tasks: tasks.collect(), stop, served: served.clone() }
    }
}

/// One call by one of the callers; a client that has an idle connection closed asks once more, as
/// clients do.
async fn served_once(gateway: &Gateway, token: &str, which: usize, number: usize) {
    let arguments = json!({"account_id": "acct_alpha", "days": 1 + number % 365});
    if which == 0 {
        let answer = gateway.mcp_call(token, "get_account_usage", arguments).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        return;
    }
    let fresh = (which == 2).then(|| reqwest::Client::builder().no_proxy().build().unwrap());
    let client = fresh.as_ref().unwrap_or(&gateway.http);
    let body = json!({"tool": "get_account_usage", "arguments": arguments});
    let sent = client.post(format!("{}/v1/calls", gateway.url)).bearer_auth(token).json(&body);
    let answer: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "completed", "{answer}");
}

struct Callers {
    tasks: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    served: [Arc<AtomicUsize>; 3],
}

impl Callers {
    /// Waits until each was served so many more calls.
    async fn served(&self, more: usize) {
        let counts = || self.served.each_ref().map(|count| count.load(Relaxed));
        let goals = counts().map(|count| count + more);
        while counts().iter().zip(goals).any(|(count, goal)| *count < goal) {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a caller was not served");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has them go; how many calls they were served.
    async fn leave(self) -> usize {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.served.iter().map(|count| count.load(Relaxed)).sum()
    }
}

fn resident_mib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count()
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// Sends bytes, and reads what comes back until the gateway closes, or has answered and is silent for
/// so long: the statuses of its answers, all of its text, and whether it closed.
async fn exchange(address: &str, bytes: &[u8], silence_ms: u64) -> (Vec<u16>, String, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    drop(stream.write_all(bytes).await); // It may be closed before all of it is sent.
    let (mut heard, mut buffer) = (Vec::new(), [0; 16_384]);
    let closed = loop {
        let silence = Duration::from_millis(if heard.is_empty() { 30_000 } else { silence_ms });
        match timeout(silence, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(count)) => heard.extend_from_slice(buffer.get(..count).unwrap()),
            Err(_silent) => break false,
        }
    };
    let text = String::from_utf8_lossy(&heard).into_owned();
    let statuses = text.split("HTTP/1.").skip(1);
    let statuses = statuses.map(|rest| rest.get(2..5).unwrap().parse().unwrap()).collect();
    (statuses, text, closed)
}

/// As many files as this process may have open.
fn raised() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |max| usize::try_from(max).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_and_half_open_connections_shut_nobody_out() {
    let siege = Siege::new().await;
    let callers = siege.callers();
    callers.served(1).await;
    // Fewer only where this process may not have so many.
    let many = raised().saturating_sub(2_000).min(10_000);
    let mut opening = JoinSet::new();
    for _ in 0..20 {
        let address = siege.address().to_owned();
        opening.spawn(async move {
            let mut open = Vec::new();
            for number in 0..many / 20 {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                let sent = match number % 8 {
                    0 => stream.write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nx: ").await,
                    1 => stream.shutdown().await,
                    _ => Ok(()), // Nothing at all.
                };
                drop(sent); // It may have been closed for another already.
                open.push(stream);
            }
            open
        });
    }
    let begun = Instant::now();
    let open = opening.join_all().await;
    let (seconds, held) = (begun.elapsed().as_secs(), descriptors(&siege.gateway));
    callers.served(CALLS).await;
    assert!(held < 4_096 + 200, "{held} descriptors");
    let (added, served) = (siege.added_mib(), callers.leave().await);
    println!(
        "{many} connections in {seconds} s: {held} descriptors, {added} MiB more, {served} calls served"
    );
    assert!(added < MIB_MAX, "{added} MiB");
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_bodies_hold_up_nobody_and_are_ended() {
    let siege = Siege::new().await;
    let callers = siege.callers();
    let begun = Instant::now();
    let head = format!(
        "POST /v1/calls HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 262144\r\n\r\n",
        siege.token
    );
    let mut slow = JoinSet::new();
    for number in 0..600_u32 {
        let address = siege.address().to_owned();
        // Half of them never come to the end of a head; the others have a token, and then a body.
        let (start, body) = match number % 2 {
            0 => ("POST /v1/calls HTTP/1.1\r\nhost: localhost\r\nx-a: ".to_owned(), false),
            _ => (head.clone(), true),
        };
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let dribble = async {
                while writer.write_all(b"a").await.is_ok() {
                    sleep(Duration::from_millis(500)).await;
                }
            };
            let mut heard = Vec::new();
            let hears = reader.read_to_end(&mut heard);
            tokio::select! { () = dribble => {}, _ended = hears => {} }
            drop(reader.read_to_end(&mut heard).await);
            (body, String::from_utf8_lossy(&heard).into_owned())
        });
    }
    callers.served(CALLS).await;
    let added = siege.added_mib();
    let mut too_slow = 0;
    while let Some(ended) = timeout(Duration::from_secs(60), slow.join_next()).await.unwrap() {
        let (body, heard) = ended.unwrap();
        too_slow += usize::from(body && heard.contains("body_too_slow"));
        assert!(body || !heard.contains(" 200 "), "{heard}");
    }
    let (seconds, served) = (begun.elapsed().as_secs(), callers.leave().await);
    println!(
        "600 slow ones ended within {seconds} s, {too_slow} told so, {added} MiB more, {served} calls served"
    );
    assert!(too_slow > 250, "{too_slow}");
    assert!(added < MIB_MAX, "{added} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "it is a list")]
async fn what_two_readers_could_cut_differently_is_one_request_or_none() {
    let siege = Siege::new().await;
    let callers = siege.callers();
    let bearer = format!("authorization: Bearer {}\r\n", siege.token);
    let hidden = format!("GET /v1/tools HTTP/1.1\r\nhost: localhost\r\n{bearer}\r\n");
    let post = |headers: &str, body: &str| {
        format!("POST /v1/calls HTTP/1.1\r\nhost: localhost\r\n{bearer}{headers}\r\n{body}")
    };
    let get = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\n{headers}\r\n");
    let host = "host: localhost\r\n";
    let many: String = (0..150).fold(String::new(), |mut all, n| {
        write!(all, "x-{n}: a\r\n").unwrap();
        all
    });
    let long = "a".repeat(100_000);
    for (what, sent, statuses, closes) in [
        (
            "a length and chunks",
            post(
                "content-length: 9\r\ntransfer-encoding: chunked\r\n",
                &format!("0\r\n\r\n{hidden}"),
            ),
            vec![400],
            true,
        ),
        (
            "chunks and a length",
            post(
                "transfer-encoding: chunked\r\ncontent-length: 9\r\n",
                &format!("0\r\n\r\n{hidden}"),
            ),
            vec![400],
            true,
        ),
        (
            "two lengths",
            post("content-length: 2\r\ncontent-length: 400\r\n", &format!("{{}}{hidden}")),
            vec![400],
            true,
        ),
        ("a list of lengths", post("content-length: 2, 400\r\n", "{}"), vec![400], true),
        ("a length with a sign", post("content-length: +2\r\n", "{}"), vec![400], true),
        (
            "chunks that are not the last",
            post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
            vec![400],
            true,
        ),
        (
            "compressed chunks",
            post("transfer-encoding: gzip, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            vec![415],
            false,
        ),
        (
            "a blank before the colon",
            post("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
            vec![400],
            true,
        ),
        ("a folded header", post("x: a\r\n b: c\r\ncontent-length: 2\r\n", "{}"), vec![400], true),
        (
            "a lone carriage return",
            post("x: a\rb: c\r\ncontent-length: 2\r\n", "{}"),
            vec![400],
            true,
        ),
        ("a null in a header", post("x: a\0b\r\ncontent-length: 2\r\n", "{}"), vec![400], true),
        (
            "a chunk of no size",
            post("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
            vec![400],
            true,
        ),
        (
            "a chunk of all sizes",
            post("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{}"),
            vec![400],
            true,
        ),
        (
            "lines that end with a line feed alone",
            get("/v1/tools", &format!("{host}{bearer}")).replace('\r', ""),
            vec![200],
            false,
        ),
        ("two tokens", get("/v1/tools", &format!("{host}{bearer}{bearer}")), vec![401], false),
        ("two hosts", get("/v1/tools", &format!("{host}{host}{bearer}")), vec![403], false),
        ("no host", get("/v1/tools", &bearer), vec![403], false),
        (
            "a host of another",
            get("/v1/tools", &format!("host: evil.example\r\n{bearer}")),
            vec![403],
            false,
        ),
        (
            "our own target in full",
            get("http://localhost/v1/tools", &format!("{host}{bearer}")),
            vec![200],
            false,
        ),
        (
            "another's target in full",
            get("http://evil.example/v1/tools", &format!("{host}{bearer}")),
            vec![403],
            false,
        ),
        (
            "our target for another's host",
            get("http://localhost/v1/tools", &format!("host: evil.example\r\n{bearer}")),
            vec![403],
            false,
        ),
        (
            "a target with a user",
            get("http://u@evil.example/v1/tools", &format!("{host}{bearer}")),
            vec![403],
            false,
        ),
        (
            "a tunnel",
            format!("CONNECT db.internal:5432 HTTP/1.1\r\n{host}{bearer}\r\n"),
            vec![403],
            false,
        ),
        ("no target", format!("OPTIONS * HTTP/1.1\r\n{host}{bearer}\r\n"), vec![404], false),
        (
            "a path with dots",
            get("/v1/../dev/../v1/tools", &format!("{host}{bearer}")),
            vec![404],
            false,
        ),
        ("150 headers", get("/v1/tools", &format!("{host}{bearer}{many}")), vec![431], true),
        (
            "a header of 100 kB",
            get("/v1/tools", &format!("{host}{bearer}x: {long}\r\n")),
            vec![431],
            true,
        ),
        (
            "a target of 100 kB",
            get(&format!("/{long}"), &format!("{host}{bearer}")),
            vec![431],
            true,
        ),
        (
            "HTTP/2 at once",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned(),
            vec![],
            true,
        ),
        (
            "an upgrade to HTTP/2",
            get(
                "/v1/tools",
                &format!(
                    "{host}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n{bearer}"
                ),
            ),
            vec![200],
            false,
        ),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03".to_owned(), vec![400], true),
        (
            "an older protocol",
            format!("GET /v1/tools HTTP/1.0\r\n{host}{bearer}\r\n"),
            vec![200],
            true,
        ),
        ("no protocol", "GET /v1/tools\r\n\r\n".to_owned(), vec![400], true),
        ("three requests at once", hidden.repeat(3), vec![200, 200, 200], false),
        (
            "one that is wrong among three",
            format!("{hidden}{}{hidden}", get("/v1/tools", &format!("{host}x : y\r\n"))),
            vec![200, 400],
            true,
        ),
    ] {
        let (answered, text, closed) = exchange(siege.address(), sent.as_bytes(), 700).await;
        let text = text.chars().take(400).collect::<String>();
        assert_eq!((answered, closed), (statuses, closes), "{what}: {text}");
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && !body.is_empty()
            && !text.contains(" 200 ")
        {
            assert!(body.starts_with("{\"error\":{\"code\":\""), "{what}: {body}");
        }
    }
    callers.served(1).await;
    callers.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_are_no_text_too_long_too_deep_or_compressed_are_refused_as_such() {
    let siege = Siege::new().await;
    let callers = siege.callers();
    let touched_by_strangers = ["/mcp", "/v1/calls", "/dev/token"];
    let bomb = bomb();
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    let deep = [b"{\"tool\":\"x\",\"arguments\":".as_slice(), &vec![b'['; 250_000]].concat();
    let objects = b"{\"a\":".repeat(50_000);
    for path in touched_by_strangers {
        for encoding in ["gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "GZIP"] {
            let (status, body) = siege.posted(path, encoding, &bomb).await;
            assert_eq!(
                (status, body["error"]["code"].as_str()),
                (415, Some("body_encoded")),
                "{path} {encoding}: {body}"
            );
        }
        for (what, sent) in [
            ("lists", &deep),
            ("objects", &objects),
            ("bytes", &b"{\"tool\":\"\xff\xfe\"}".to_vec()),
            ("half a character", &b"{\"tool\":\"\\ud800\"}".to_vec()),
            ("compressed and not said so", &bomb),
        ] {
            let (status, body) = siege.posted(path, "identity", sent).await;
            assert_eq!(status, 400, "{path} {what}: {body}");
            let code = &body["error"]["code"];
            assert!(code == "malformed_request" || code == -32700, "{path} {what}: {body}");
        }
    }
    let bearer = format!("host: localhost\r\nauthorization: Bearer {}\r\n", siege.token);
    for path in touched_by_strangers {
        // Said to be large, and nothing of it sent; without an end, and never said how large.
        let said = format!("POST {path} HTTP/1.1\r\n{bearer}content-length: 99999999999\r\n\r\n");
        let endless = format!(
            "POST {path} HTTP/1.1\r\n{bearer}transfer-encoding: chunked\r\n\r\n{}",
            format!("4000\r\n{}\r\n", " ".repeat(0x4000)).repeat(40)
        );
        for sent in [said, endless] {
            let (statuses, text, closed) = exchange(siege.address(), sent.as_bytes(), 700).await;
            assert!(
                statuses == [413] && closed && text.contains("body_too_large"),
                "{path}: {text}"
            );
        }
    }
    let added = siege.added_mib();
    callers.served(CALLS).await;
    println!("{added} MiB more, {} calls served", callers.leave().await);
    assert!(added < 64, "{added} MiB");
}

impl Siege {
    async fn posted(&self, path: &str, encoding: &str, body: &[u8]) -> (u16, Value) {
        let sent = self.gateway.http.post(format!("{}{path}", self.gateway.url));
        let sent = sent
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("content-encoding", encoding);
        let answer = sent.body(body.to_vec()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// 100 MiB of blanks, compressed to some 100 kB.
fn bomb() -> Vec<u8> {
    let mut blanks = Command::new("head")
        .args(["-c", "104857600", "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let zipped = Command::new("gzip").arg("-9").stdin(blanks.stdout.take().unwrap()).output();
    blanks.wait().unwrap();
    zipped.unwrap().stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_without_tokens_costs_bounded_memory_and_disk_and_no_valid_caller() {
    let siege = Siege::new().await;
    let state = siege.company.path().join("state");
    // Nobody else is there: whatever grows, the flood has made grow.
    let mut grown = Vec::new();
    for requests in [2_000, 10_000] {
        let before = bytes_in(&state);
        flood(&siege, requests).await;
        siege.company.records(&["--kind", "refusal"], 1);
        grown.push(bytes_in(&state) - before);
    }
    let said = siege.gateway.said_so_far().len();
    let refusals = siege.company.records(&["--kind", "refusal"], 1).len();
    println!("12,000 requests: {grown:?} bytes on disk, {refusals} records, {said} lines of log");
    assert!(grown.iter().all(|bytes| *bytes < 256 * 1_024), "{grown:?} bytes");
    assert!(refusals <= 12, "{refusals} records");
    assert!(said <= 5, "{said} lines");
    let callers = siege.callers();
    let mut deaf = Vec::new();
    for _ in 0..100 {
        // They ask and ask, and never read an answer.
        let mut stream = TcpStream::connect(siege.address()).await.unwrap();
        let asks = request(7).repeat(2_000);
        drop(timeout(Duration::from_millis(20), stream.write_all(asks.as_bytes())).await);
        deaf.push(stream);
    }
    flood(&siege, 10_000).await;
    callers.served(CALLS).await;
    let (added, served) = (siege.added_mib(), callers.leave().await);
    println!("10,000 more: {added} MiB more, {served} calls served meanwhile");
    assert!(added < MIB_MAX, "{added} MiB");
    drop(deaf);
}

/// So many requests without a valid token, each another, over 50 connections.
async fn flood(siege: &Siege, requests: usize) {
    let mut senders = JoinSet::new();
    for sender in 0..50 {
        let address = siege.address().to_owned();
        senders.spawn(async move {
            for batch in 0..requests.div_ceil(50 * 20) {
                let number = (sender * 1_000 + batch) * 20;
                let sent: String = (number..number + 20).map(request).collect();
                let (statuses, text, _) = exchange(&address, sent.as_bytes(), 30_000).await;
                assert_eq!(statuses.len(), 20, "{text}");
                let refused = |status: &u16| [401, 403, 404].contains(status);
                assert!(statuses.iter().all(refused), "{statuses:?}");
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
}

/// One of the kinds of requests that nobody may make; the last closes the connection.
fn request(number: usize) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let token = match number % 5 {
        0 => String::new(),
        1 => format!("garbage-{number}"),
        2 => format!("{}.e30.{}", part(format!("{{\"kid\":{number}")), part(number.to_string())),
        3 => {
            let header = part(format!("{{\"alg\":\"EdDSA\",\"kid\":\"k{number}\"}}"));
            format!("{header}.{}.AA", part(format!("{{\"iss\":\"https://i{number}.example\"}}")))
        }
        _ => "a".repeat(1 + number % 20_000),
    };
    let path = ["/mcp", "/v1/calls", "/v1/tools", "/nothing"].get(number % 4).unwrap();
    let host = if number.is_multiple_of(17) { "evil.example" } else { "localhost" };
    let close = if number % 20 == 19 { "connection: close\r\n" } else { "" };
    let bearer =
        if token.is_empty() { token } else { format!("authorization: Bearer {token}\r\n") };
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{bearer}x-{number}: {number}\r\n{close}\r\n")
}
