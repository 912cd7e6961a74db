//! The example company behind its production router, with systems and a journal that only remember.

use super::jwt::{AUDIENCE, NOW, claims, issuer};
use super::nobody::Nobody;
use arc_swap::ArcSwap;
use axum::Router;
use countersign_core::call::{Consultation, Inquiry, Monitor, Permit};
use countersign_core::chain::GENESIS;
use countersign_core::id::Timestamp;
use countersign_core::port::{
    Clock, Connector, Entropy, Eventually, Found, Journal, Receipt, Refused, Report, Shape,
    Unrecorded,
};
use countersign_core::quota::{Charge, Counter, LimitReached, Meter, Reservation};
use countersign_core::record::{Entry, Kind};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::Tool;
use countersign_gateway::development::Development;
use countersign_gateway::door::{InForce, Reach};
use countersign_gateway::identity::Identity;
use countersign_gateway::identity::development::DevelopmentIssuer;
use countersign_gateway::resource::Resource;
use countersign_gateway::serve::{Gateway, Readiness};
use countersign_policy::Bundle;
use countersign_posture::load_posture;
use countersign_store::Scan;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio_util::task::TaskTracker;

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    LookedUp,
    Intent(String),
    Executed(String),
    Outcome(String),
    Noted(String),
    /// What must never be; a panic here would be caught and become a fault.
    Broken(String),
}

/// All ports but identity and policy, which are the real ones.
#[derive(Debug, Default)]
pub(crate) struct World {
    events: Mutex<Vec<Event>>,
    meter: Mutex<Meter>,
    ids: AtomicU64,
}

impl World {
    /// What happened since it was asked last; limits begin anew.
    pub(crate) fn events(&self) -> Vec<Event> {
        *self.meter.lock().expect("a lock") = Meter::default();
        std::mem::take(&mut *self.events.lock().expect("a lock"))
    }

    fn happened(&self, event: Event) {
        self.events.lock().expect("a lock").push(event);
    }

    /// The company's router, and the world behind it.
    pub(crate) fn router() -> (Router, Arc<Self>) {
        let world = Arc::new(Self::default());
        let (loaded, findings) = load_posture(&super::repository().join("examples/acme/posture"));
        let loaded = loaded.unwrap_or_else(|| panic!("{findings:?}"));
        let attributes: Vec<&str> = loaded.claims.attributes.keys().map(String::as_str).collect();
        let sources = loaded.policies.iter();
        let files: Vec<_> = sources
            .map(|source| countersign_policy::PolicyFile {
                name: source.path(),
                text: source.text(),
            })
            .collect();
        let bundle = Bundle::compile(&loaded.posture, &attributes, &files).expect("policies");
        let development =
            DevelopmentIssuer::new(&*world, "http://localhost/dev".into(), AUDIENCE.into());
        let development = development.expect("a development issuer");
        let issuers = vec![issuer(), development.issuer_config()];
        let monitor = Monitor {
            posture: Arc::new(loaded.posture),
            authenticator: Arc::new(Identity::new(issuers, claims()).expect("an identity")),
            pdp: Arc::new(bundle),
            journal: world.clone(),
            register: Arc::new(Nobody),
            people: Arc::new(Nobody),
            connector: world.clone(),
            clock: world.clone(),
            entropy: world.clone(),
        };
        let owners = std::collections::BTreeMap::new();
        let reach = Reach { picture: String::new(), agents: Vec::new() };
        let in_force = InForce { monitor, claims: claims(), since: world.now(), owners, reach };
        let gateway = Gateway {
            in_force: Arc::new(ArcSwap::from_pointee(in_force)),
            readiness: world.clone(),
            ledger: Arc::new(Scan::default()),
            relay: Arc::new(Nobody),
            allowed_hosts: Vec::new(),
            allowed_origins: vec!["https://app.acme.example".into()],
            resource: Resource { url: AUDIENCE.into(), authorization_servers: Vec::new() },
            connections_max: 0,
            people: None,
            development: Some(Development {
                people: None,
                issuer: development,
                clock: world.clone(),
                entropy: world.clone(),
            }),
        };
        let address = ([127, 0, 0, 1], 8787).into();
        (gateway.router(address, TaskTracker::new()), world)
    }
}

/// The call that a record is of.
fn call(entry: Entry) -> String {
    let sealed = entry.seal("s", 0, &GENESIS, |_zeros| {});
    let header: Value = serde_json::from_slice(&sealed.header).expect("a header is JSON");
    header["call"].as_str().expect("a record of a call").to_owned()
}

impl Journal for World {
    fn spent(&self, counter: &Counter, now: Timestamp) -> u64 {
        self.meter.lock().expect("a lock").spent(counter, now)
    }
    fn give_back(&self, _: &[Charge]) {}
    fn reserve(&self, counters: &[Counter], now: Timestamp) -> Result<Reservation, LimitReached> {
        self.meter.lock().expect("a lock").reserve(counters, now)
    }

    fn append(&self, entry: Entry) -> Eventually<'_, Result<Receipt, Unrecorded>> {
        let kind = entry.kind();
        let call = call(entry);
        self.happened(if kind == Kind::Intent {
            Event::Intent(call)
        } else {
            Event::Outcome(call)
        });
        let receipt = Receipt { stream: "s".into(), sequence: 1, hash: GENESIS };
        Box::pin(std::future::ready(Ok(receipt)))
    }

    fn note(&self, refused: Refused) {
        self.happened(Event::Noted(call(refused.entry)));
    }
}

impl Connector for World {
    /// Answers by the arguments: rows of the caller's, of another's, none, or an error.
    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        // What is not the caller's never comes so far, wherever it stands.
        let arguments = permit.arguments();
        let parcels = arguments.get("parcels").and_then(Value::as_array);
        let mut parcels = parcels.into_iter().flatten();
        if permit.tenant().as_str() != "acct_alpha"
            || arguments.get("account_id").is_some_and(|id| id != "acct_alpha")
            || parcels.any(|parcel| parcel["account_id"] != "acct_alpha")
        {
            self.happened(Event::Broken(format!("another's permit: {permit:?}")));
        }
        self.happened(Event::Executed(permit.call().as_str().to_owned()));
        let sum = Value::Object(arguments.clone()).to_string().bytes().map(u64::from).sum::<u64>();
        let row = json!({"account_id": "acct_alpha", "text": "a\u{200b}b \u{1b}[1m", "n": 1.5});
        let report = |rows: Vec<Value>| Report {
            shape: Shape::Rows,
            rows: rows.len().try_into().unwrap_or(u64::MAX),
            result: rows.into(),
            truncated: false,
            changed: 0,
            applied: Applied::Applied,
        };
        let verdict = match sum % 7 {
            0 => Ok(report(Vec::new())),
            1 => Ok(report(vec![row; 1_000])),
            2 => Ok(report(vec![json!({"account_id": "acct_bravo"})])),
            3 => Err(fault(Applied::Unknown)),
            _ => Ok(report(vec![row; 2])),
        };
        Box::pin(std::future::ready(verdict))
    }

    fn look_up(&self, inquiry: Inquiry) -> Eventually<'_, Result<Found, SystemFault>> {
        if inquiry.tenant().as_str() != "acct_alpha" {
            self.happened(Event::Broken(format!("another's inquiry: {inquiry:?}")));
        }
        self.happened(Event::LookedUp);
        let sum = format!("{:?}", inquiry.values()).bytes().map(u64::from).sum::<u64>();
        let found = |rows| Ok(Found { rows, truncated: false, cached: false });
        let verdict = match sum % 5 {
            0 => found(Vec::new()),
            1 => Err(fault(Applied::NotApplied)),
            _ => found(vec![json!({"yes": 1})]),
        };
        Box::pin(std::future::ready(verdict))
    }

    /// There is no decision point here.
    fn consult(&self, _: Consultation) -> Eventually<'_, Result<bool, SystemFault>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn is_withdrawn(&self, _: &Tool) -> bool {
        false
    }

    fn changes(
        &self,
    ) -> Vec<(countersign_core::id::SystemName, countersign_core::port::DefinitionChange)> {
        Vec::new()
    }
}

fn fault(applied: Applied) -> SystemFault {
    SystemFault::new(SystemFaultKind::Failed, applied, "secret_ledger".into())
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.fill(0);
        bytes.iter_mut().rev().zip(id.iter().rev()).for_each(|(byte, id)| *byte = *id);
    }
}

impl Readiness for World {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
