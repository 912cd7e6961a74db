//! An HTTP system: a real server on loopback, listeners that must not be reached, and names that
//! stand for what a test says.

use crate::bench::{Ticking, answer, planned, report};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method as Sent, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use countersign_connectors::{
    Address, Connectors, Credential, HttpSystem, Names, Networks, Origin, System,
};
use countersign_core::id::SystemName;
use countersign_core::port::{Eventually, Report};
use countersign_core::refusal::SystemFault;
use countersign_core::tool::{HttpPlan, Method, Parameter, Piece, Plan, ResultBounds};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;

/// What a server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Sent,
    /// Path and query, as they came over the wire.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a server answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// JSON, and all is well.
pub(crate) fn json(body: impl Into<String>) -> Reply {
    let headers = vec![("content-type", "application/json".to_owned())];
    Reply { status: 200, headers, body: body.into() }
}

/// A server on 127.0.0.1.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<Mutex<Reply>>,
}

impl Upstream {
    /// That answers `reply` to everything.
    pub(crate) async fn answering(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, reply)
    }

    pub(crate) fn on(listener: TcpListener, reply: Reply) -> Self {
        let address = listener.local_addr().unwrap();
        let upstream = Self { address, heard: Arc::default(), reply: Arc::new(Mutex::new(reply)) };
        let app = axum::Router::new().fallback(serve).with_state(upstream.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        upstream
    }

    pub(crate) fn answers(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// What it was asked since somebody looked.
    pub(crate) fn heard(&self) -> Vec<Asked> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(
    State(upstream): State<Upstream>,
    (method, uri): (Sent, Uri),
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    upstream.heard.lock().unwrap().push(Asked { method, target: uri.to_string(), headers, body });
    let Reply { status, headers, body } = upstream.reply.lock().unwrap().clone();
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    response.headers_mut().remove("content-type");
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).unwrap();
        response.headers_mut().append(HeaderName::from_static(name), value);
    }
    response
}

/// A listener that nobody may reach: it counts those who do.
#[derive(Debug, Clone)]
pub(crate) struct Trap {
    pub(crate) address: SocketAddr,
    reached: Arc<AtomicUsize>,
}

impl Trap {
    pub(crate) async fn at(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(address.into()).await?;
        let trap = Self { address: listener.local_addr()?, reached: Arc::default() };
        let reached = Arc::clone(&trap.reached);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                reached.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Ok(trap)
    }

    /// How often, once everybody who came before has been let in.
    pub(crate) async fn reached(&self) -> usize {
        // The queue is served in order: when this connection has been counted, so has any before it.
        let before = self.reached.load(Ordering::SeqCst);
        let own = tokio::net::TcpStream::connect(self.address).await.unwrap();
        while self.reached.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        drop(own);
        self.reached.fetch_sub(1, Ordering::SeqCst) - 1
    }
}

/// Names that stand for one list of addresses after the other; the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Script(Mutex<VecDeque<Vec<Address>>>);

impl Script {
    pub(crate) fn of(lists: &[&[&str]]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(lists.iter().map(parse).collect())))
    }
}

impl Names for Script {
    fn addresses<'a>(&'a self, _: &'a str) -> Eventually<'a, io::Result<Vec<Address>>> {
        let mut lists = self.0.lock().unwrap();
        let next = if lists.len() > 1 { lists.pop_front() } else { lists.front().cloned() };
        Box::pin(async move { next.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// One HTTP system, `api`.
#[derive(Debug)]
pub(crate) struct Api {
    connectors: Arc<Connectors>,
    clock: Arc<Ticking>,
}

impl Api {
    pub(crate) fn of(system: HttpSystem) -> Self {
        let systems = BTreeMap::from([(SystemName::new("api").unwrap(), System::Http(system))]);
        let clock = Arc::new(Ticking::default());
        Self {
            connectors: Arc::new(Connectors::new(systems, Arc::<Ticking>::clone(&clock))),
            clock,
        }
    }

    /// At an upstream of the test, which is permitted.
    pub(crate) fn at(upstream: &Upstream) -> Self {
        Self::of(system(&upstream.origin(), &["127.0.0.1/32"]))
    }

    pub(crate) fn with(upstream: &Upstream, credential: Credential) -> Self {
        let system = system(&upstream.origin(), &["127.0.0.1/32"]);
        Self::of(HttpSystem { credential: Some(credential), ..system })
    }

    pub(crate) async fn call(
        &self,
        plan: &HttpPlan,
        arguments: Value,
    ) -> Result<Report, SystemFault> {
        let tool = planned("api", Plan::Http(plan.clone()));
        report(answer(&self.connectors, &self.clock, (tool, "acct_alpha"), arguments).await)
    }
}

pub(crate) fn system(origin: &str, networks: &[&str]) -> HttpSystem {
    HttpSystem {
        origin: Origin::parse(origin, true).unwrap(),
        credential: None,
        networks: Networks::new(networks.iter().map(|text| text.parse().unwrap()).collect()),
        concurrency: 4,
        names: Arc::new(Script::default()),
    }
}

/// `GET` of a path in which `{name}` stands for arguments.
pub(crate) fn get(path: &str) -> HttpPlan {
    HttpPlan {
        method: Method::Get,
        path: path.split('/').skip(1).map(piece).collect(),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        result: String::new(),
        pick: Vec::new(),
        empty_on: BTreeSet::new(),
        timeout_ms: 60_000,
        bounds: ResultBounds { rows_max: 1_000, bytes_max: 100_000 },
    }
}

pub(crate) fn piece(text: &str) -> Piece {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => Piece::Argument(required(name)),
        None => Piece::Literal(text.to_owned()),
    }
}

pub(crate) fn required(name: &str) -> Parameter {
    Parameter { name: name.to_owned(), optional: false }
}

pub(crate) fn optional(name: &str) -> Parameter {
    Parameter { name: name.to_owned(), optional: true }
}

/// An upstream on 127.0.0.1 and traps on the same port of every other address of this machine: a
/// wrong address is then a trap, whatever the port.
pub(crate) async fn surrounded(reply: Reply) -> (Upstream, Vec<Trap>) {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut traps = Vec::new();
        for address in ["127.0.0.2", "127.8.8.8", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            traps.extend(Trap::at((address, port)).await.ok());
        }
        if traps.len() == 3 {
            return (Upstream::on(listener, reply), traps);
        }
    }
    panic!("no port is free on every address")
}
