//! What tails the journal, as the deployment has it.

use crate::assemble::store;
use crate::here;
use crate::machine::SystemClock;
use crate::render::{Doing, Failure};
use arc_swap::ArcSwap;
use countersign_core::draft::Draft;
use countersign_core::ladder::Gate;
use countersign_core::port::Gates;
use countersign_gateway::door::InForce;
use countersign_posture::{Deployment, Exporter};
use countersign_relay::{Config, Ports, Relay};
use countersign_store::{Index, SqliteStore};
use std::sync::Arc;

/// Who may decide, by the posture that is in force when it is asked.
#[derive(Debug)]
struct AtWork(Arc<ArcSwap<InForce>>);

impl Gates for AtWork {
    fn gate(&self, draft: &Draft) -> Option<Gate> {
        self.0.load().monitor.gate_of(draft).cloned()
    }
}

/// Opens what it writes to, and reads how far everything has come.
pub(crate) fn open(
    deployment: &Deployment,
    (journal, index): (&Arc<SqliteStore>, &Arc<Index>),
    in_force: Arc<ArcSwap<InForce>>,
) -> Result<Relay, Failure> {
    let exporters = deployment.relay.exporters.iter();
    let exporters =
        exporters.map(|Exporter { name, to, place: _ }| (name.clone(), here::sink(deployment, to)));
    let config = Config {
        store: store(deployment).path,
        journal: journal.key().to_string(),
        exporters: exporters.collect(),
        rules: deployment.relay.rules.clone(),
        // What is missing was said before.
        destinations: here::destinations(deployment).at,
        public_url: deployment.public_url.clone(),
    };
    let ports = Ports {
        ledger: index.clone(),
        journal: journal.clone(),
        register: journal.clone(),
        gates: Arc::new(AtWork(in_force)),
        clock: Arc::new(SystemClock),
    };
    Relay::open(config, ports).doing("what tails the journal")
}
