//! What tails the journal, as the deployment has it.

use crate::assemble::store;
use crate::machine::SystemClock;
use crate::render::{Doing, Failure};
use countersign_posture::{Deployment, ExportTo, Exporter};
use countersign_relay::{Config, Ports, Relay, Sink};
use countersign_store::{Index, SqliteStore};
use std::sync::Arc;

/// Opens what it writes to, and reads how far everything has come.
pub(crate) fn open(
    deployment: &Deployment,
    journal: &Arc<SqliteStore>,
    index: &Arc<Index>,
) -> Result<Relay, Failure> {
    let exporters = deployment.relay.exporters.iter();
    let exporters = exporters.map(|Exporter { name, to, place: _ }| {
        let sink = match to {
            ExportTo::File(path) => Sink::File(deployment.base.join(path)),
            ExportTo::Stdout => Sink::Stdout,
        };
        (name.clone(), sink)
    });
    let config = Config {
        store: store(deployment).path,
        journal: journal.key().to_string(),
        exporters: exporters.collect(),
        rules: deployment.relay.rules.clone(),
    };
    let ports =
        Ports { ledger: index.clone(), journal: journal.clone(), clock: Arc::new(SystemClock) };
    Relay::open(config, ports).doing("what tails the journal")
}
