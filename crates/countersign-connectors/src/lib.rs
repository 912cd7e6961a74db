//! The connectors: the only code that reaches a production system, and it sees a [`Permit`] and
//! nothing else.
//!
//! So far there is one kind of system, a SQLite file, and one kind of call, a read. A tool that
//! changes anything is a fault here even if the monitor let it through: the transaction, the
//! post-condition and the bound on rows that an effect needs do not exist yet.

mod sqlite;

pub use sqlite::SqliteSystem;

use countersign_core::call::Permit;
use countersign_core::id::SystemName;
use countersign_core::port::{Clock, Connector, Eventually, Report};
use countersign_core::refusal::{SystemFault, SystemFaultKind};
use sqlite::Sqlite;
use std::{collections::BTreeMap, sync::Arc};

/// Every system of the deployment, by its name in the posture.
#[derive(Debug)]
pub struct Connectors {
    systems: BTreeMap<SystemName, Arc<Sqlite>>,
    clock: Arc<dyn Clock>,
}

impl Connectors {
    /// Takes the systems as the deployment resolved them. No file is opened before the first call
    /// that needs it: a system that is away must not keep the others from starting.
    #[must_use]
    pub fn new(systems: BTreeMap<SystemName, SqliteSystem>, clock: Arc<dyn Clock>) -> Self {
        Self { systems: BTreeMap::new(), clock }.with(systems)
    }

    /// The same connectors for other systems. One that is as it was keeps its connections, its turns
    /// and those who wait for one; one that has changed begins anew, while calls under way end on
    /// the old one, beside the new one's first.
    #[must_use]
    pub fn with(&self, systems: BTreeMap<SystemName, SqliteSystem>) -> Self {
        let kept = |name: &SystemName, system: &SqliteSystem| {
            self.systems.get(name).filter(|running| running.system() == system).map(Arc::clone)
        };
        let systems = systems
            .into_iter()
            .map(|(name, system)| {
                let running = kept(&name, &system);
                let new = || Arc::new(Sqlite::new(system, Arc::clone(&self.clock)));
                (name, running.unwrap_or_else(new))
            })
            .collect();
        Self { systems, clock: Arc::clone(&self.clock) }
    }
}

impl Connector for Connectors {
    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        Box::pin(async move {
            let name = &permit.tool().system;
            let Some(system) = self.systems.get(name) else {
                return Err(sqlite::fault(
                    SystemFaultKind::Unavailable,
                    format!("the deployment has no system `{name}`"),
                ));
            };
            Arc::clone(system).execute(permit).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::id::Timestamp;

    #[derive(Debug)]
    struct Standing;

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(0)
        }
    }

    #[test]
    fn only_a_system_that_is_as_it_was_keeps_its_connections() {
        let name = |name: &str| SystemName::new(name).unwrap();
        let system = |path: &str, concurrency| SqliteSystem {
            path: path.into(),
            concurrency,
            statement_log: None,
        };
        let before = BTreeMap::from([
            (name("same"), system("a.db", 1)),
            (name("moved"), system("b.db", 1)),
            (name("wider"), system("c.db", 1)),
            (name("gone"), system("d.db", 1)),
        ]);
        let after = BTreeMap::from([
            (name("same"), system("a.db", 1)),
            (name("moved"), system("e.db", 1)),
            (name("wider"), system("c.db", 2)),
            (name("new"), system("d.db", 1)),
        ]);
        let before = Connectors::new(before, Arc::new(Standing));
        let after = before.with(after);
        let kept = |name: &SystemName| {
            before.systems.get(name).is_some_and(|was| Arc::ptr_eq(was, &after.systems[name]))
        };
        let kept: Vec<_> = after.systems.keys().map(|name| (name.as_str(), kept(name))).collect();
        assert_eq!(kept, [("moved", false), ("new", false), ("same", true), ("wider", false)]);
    }
}
