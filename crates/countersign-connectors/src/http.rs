//! One HTTP API as a production system: where it is, who may use it at a time, and one exchange.
//!
//! The gateway decides where a request goes, never its arguments: scheme, host and port are fixed
//! when the system is made, every name is looked up by a resolver of ours that drops addresses the
//! system does not permit, and a redirect is an answer like any other, and a bad one.

mod address;
mod answer;
mod credential;
mod decision;
mod effect;
mod origin;
mod request;
mod resolver;

pub use address::{Address, Networks};
pub(crate) use answer::{beginning, check_type, rows};
pub use credential::{Credential, CredentialError};
pub use origin::{Origin, OriginError};
pub(crate) use request::{fill, text, uri};
pub use resolver::{Names, SystemNames};
pub(crate) use resolver::{Unpermitted, permitted};

use crate::doctor::Symptom;
use crate::fault;
use crate::gather::Gathered;
use crate::leave::misplaced;
use crate::secrets::Secrets;
use crate::turns::Turns;
use countersign_core::call::Permit;
use countersign_core::port::Report;
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, HttpPlan, Plan};
use effect::Senders;
use reqwest::{Client, ClientBuilder, Request, Response, StatusCode, redirect, retry};
use resolver::Permitted;
use serde_json::{Map, Value};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about; the call's own time may end sooner.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a connection without a call is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Most bytes of a failed answer that are read, and most that the journal is shown of them.
const FAILURE_BYTES_READ_MAX: usize = 4 * 1024;
const FAILURE_BYTES_SHOWN_MAX: usize = 512;

/// An HTTP API, as the deployment resolved it.
#[derive(Debug, Clone)]
pub struct HttpSystem {
    /// Scheme, host and port of every request.
    pub origin: Origin,
    /// What every request is authorised by; never the caller's token.
    pub credential: Option<Credential>,
    /// Where its addresses may lie.
    pub networks: Networks,
    /// Most requests at a time; 0 counts as 1.
    pub concurrency: u32,
    /// What stands for what in the network. No part of whether two systems are the same.
    pub names: Arc<dyn Names>,
}

impl HttpSystem {
    /// Whether it could be reached at all, as far as that shows without trying.
    ///
    /// # Errors
    /// [`OriginError::Address`].
    pub fn check(&self) -> Result<(), OriginError> {
        match self.origin.address() {
            Some(address) if !self.networks.permit(address) => Err(OriginError::Address),
            Some(_) | None => Ok(()),
        }
    }
}

impl PartialEq for HttpSystem {
    fn eq(&self, other: &Self) -> bool {
        let Self { origin, credential, networks, concurrency, names: _ } = self;
        (origin, credential, networks, concurrency)
            == (&other.origin, &other.credential, &other.networks, &other.concurrency)
    }
}

impl Eq for HttpSystem {}

/// The system at work.
#[derive(Debug)]
pub(crate) struct Http {
    system: HttpSystem,
    /// Or why there is none: a machine without certificates of authorities, say.
    client: Result<Client, String>,
    /// What sends effects.
    senders: Senders,
    turns: Turns,
}

type Arguments = Map<String, Value>;

impl Http {
    pub(crate) fn new(system: HttpSystem) -> Self {
        let client = client(&system).map_err(|error| chain(&error));
        let turns = Turns::new(system.concurrency);
        Self { system, client, senders: Senders::new(), turns }
    }

    pub(crate) const fn system(&self) -> &HttpSystem {
        &self.system
    }

    /// Makes one request: waits for a turn at most as long as the exchange may take, and then lets it
    /// take that long. Dropping the future drops the connection, and gives the turn back.
    pub(crate) async fn run(&self, permit: Permit) -> Result<Report, SystemFault> {
        let Plan::Http(plan) = permit.plan() else { return Err(misplaced("a statement")) };
        let _turn = self.turns.take(patience(plan)).await?;
        match permit.tool().effect {
            Effect::Read => self.read(plan, permit.arguments()).await,
            _ => self.act(&permit, plan).await,
        }
    }

    /// One exchange that reads, within its time.
    async fn read(&self, plan: &HttpPlan, arguments: &Arguments) -> Result<Report, SystemFault> {
        let exchange = timeout(patience(plan), self.exchange(plan, arguments)).await;
        exchange.unwrap_or_else(|_elapsed| Err(late()))
    }

    async fn exchange(
        &self,
        plan: &HttpPlan,
        arguments: &Arguments,
    ) -> Result<Report, SystemFault> {
        let request = self.request(plan, arguments)?;
        let response = self.client()?.execute(request).await.map_err(|error| self.broken(error))?;
        let status = response.status();
        if plan.empty_on.contains(&status.as_u16()) {
            return Ok(Gathered::within(plan.bounds).report());
        }
        if !status.is_success() {
            return Err(self.refused(response).await);
        }
        answer::report(self.answer(response, plan).await?, plan).map_err(failed)
    }

    /// The request, with the system's credential.
    fn request(&self, plan: &HttpPlan, arguments: &Arguments) -> Result<Request, SystemFault> {
        let HttpSystem { origin, credential, .. } = &self.system;
        // A literal address is looked up by nobody, so it is judged here, at each call.
        self.system
            .check()
            .map_err(|error| fault(SystemFaultKind::Unavailable, error.to_string()))?;
        let mut request = request::build(origin, plan, arguments).map_err(failed)?;
        if let Some(credential) = credential {
            credential.spend(&mut request);
        }
        Ok(request)
    }

    /// What an answer says, if it says it in JSON, within its bounds, and without our credential.
    async fn answer(&self, response: Response, plan: &HttpPlan) -> Result<Value, SystemFault> {
        check_type(response.headers()).map_err(failed)?;
        let body = answer::body(response, plan.bounds).await.map_err(|error| match error {
            answer::Cut::Long(detail) => failed(detail),
            answer::Cut::Broken(error) => self.broken(error),
        })?;
        let value = answer::value(&body).map_err(failed)?;
        if self.shows_credential(&value) {
            return Err(failed("the answer repeats the system's credential".to_owned()));
        }
        Ok(value)
    }

    /// No answer came, or it broke off.
    pub(crate) fn broken(&self, error: reqwest::Error) -> SystemFault {
        let kind = match &error {
            error if error.is_connect() => SystemFaultKind::Unavailable,
            error if error.is_timeout() => SystemFaultKind::TimedOut,
            _ => SystemFaultKind::Failed,
        };
        // Without the URL: what the agent sent stands in the intent already.
        fault(kind, self.screened(&chain(&error.without_url())))
    }

    /// The answer is no success: for the journal, a part of what it says.
    async fn refused(&self, response: Response) -> SystemFault {
        let status = response.status();
        let kind = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => SystemFaultKind::TimedOut,
            StatusCode::TOO_MANY_REQUESTS => SystemFaultKind::Busy,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
                SystemFaultKind::Unavailable
            }
            _ => SystemFaultKind::Failed,
        };
        let said = beginning(response, FAILURE_BYTES_READ_MAX).await;
        let said = self.screened(&String::from_utf8_lossy(&said));
        let said = said.get(..said.floor_char_boundary(FAILURE_BYTES_SHOWN_MAX)).unwrap_or(&said);
        fault(kind, format!("the system answered {}: {said}", status.as_u16()))
    }

    /// A client that keeps connections for the next request.
    pub(crate) fn client(&self) -> Result<&Client, SystemFault> {
        let unready = |why: &String| fault(SystemFaultKind::Unavailable, why.clone());
        self.client.as_ref().map_err(unready)
    }

    /// One whose connections serve one request each.
    pub(crate) fn sender(&self) -> Result<Client, SystemFault> {
        self.senders.of(&self.system, CONNECT_MAX)
    }

    /// A request to a path of it, with the system's credential, and nothing else yet.
    pub(crate) fn request_to(
        &self,
        method: reqwest::Method,
        path: &str,
    ) -> Result<Request, SystemFault> {
        let checked = self.system.check();
        checked.map_err(|error| fault(SystemFaultKind::Unavailable, error.to_string()))?;
        let url = self.system.origin.at(path, None);
        let url = url
            .ok_or_else(|| failed("the URL would be read otherwise than it is meant".to_owned()))?;
        let mut request = Request::new(method, url);
        if let Some(credential) = &self.system.credential {
            credential.spend(&mut request);
        }
        Ok(request)
    }

    /// What must not come back.
    pub(crate) fn secrets(&self) -> Secrets {
        let credential = self.system.credential.as_ref();
        credential.map(|credential| credential.secrets().clone()).unwrap_or_default()
    }

    /// Whether an answer repeats the system's credential.
    pub(crate) fn shows_credential(&self, value: &Value) -> bool {
        let credential = self.system.credential.as_ref();
        credential.is_some_and(|credential| credential.secrets().shows_in(value))
    }

    /// Without the system's credential.
    pub(crate) fn screened(&self, text: &str) -> String {
        match &self.system.credential {
            Some(credential) => credential.secrets().blot(text),
            None => text.to_owned(),
        }
    }
}

/// Looks the system up and connects to it. No request is made: none is known to change nothing.
pub(crate) async fn examine(system: &HttpSystem) -> Result<Vec<Symptom>, SystemFault> {
    let unavailable = |detail: String| fault(SystemFaultKind::Unavailable, detail);
    let (host, port) = system.origin.place();
    let found = match system.origin.address() {
        Some(address) => vec![address],
        None => system.names.addresses(host).await.map_err(|e| unavailable(e.to_string()))?,
    };
    let (permitted, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|&address| system.networks.permit(address));
    let mut symptoms = Vec::new();
    if let Some(other) = others.first() {
        let message = format!("`{host}` stands for {other}, which the system does not permit");
        let mend = "see to the name, or name the address's network under `networks`";
        symptoms.push(Symptom::new("foreign-address", message, mend));
    }
    let Some(&address) = permitted.first() else {
        let nowhere = || unavailable(format!("`{host}` stands for no address"));
        return if symptoms.is_empty() { Err(nowhere()) } else { Ok(symptoms) };
    };
    let connected = timeout(CONNECT_MAX, TcpStream::connect((address, port))).await;
    let connected = connected.map_err(|_elapsed| unavailable("nobody answers there".to_owned()))?;
    connected.map_err(|error| unavailable(error.to_string()))?;
    Ok(symptoms)
}

/// Keeps connections for the next call.
fn client(system: &HttpSystem) -> Result<Client, reqwest::Error> {
    let idle = usize::try_from(system.concurrency).unwrap_or(1).max(1);
    let client = builder(system).connect_timeout(CONNECT_MAX);
    client.pool_idle_timeout(IDLE_MAX).pool_max_idle_per_host(idle).build()
}

/// Goes where it is told and nowhere else: no redirects, no proxy whatever the environment says, no
/// second attempt, and names by our resolver alone.
fn builder(system: &HttpSystem) -> ClientBuilder {
    let HttpSystem { origin, networks, names, .. } = system;
    let client = Client::builder()
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .dns_resolver(Arc::new(Permitted::new(networks.clone(), Arc::clone(names))));
    match origin.is_encrypted() {
        true => client.https_only(true),
        // Trusts no certificate, so it needs none on this machine.
        false => client.tls_certs_only([]),
    }
}

fn patience(plan: &HttpPlan) -> Duration {
    Duration::from_millis(plan.timeout_ms.into())
}

fn late() -> SystemFault {
    let detail = "the exchange was given up when its time was over".to_owned();
    fault(SystemFaultKind::TimedOut, detail)
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn failed(detail: String) -> SystemFault {
    fault(SystemFaultKind::Failed, detail)
}
