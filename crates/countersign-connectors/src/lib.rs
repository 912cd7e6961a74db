//! The connectors: the only code that reaches a production system, and it sees a [`Permit`], an
//! [`Inquiry`] or a [`Consultation`] and nothing else.
//!
//! A statement with an effect is one transaction with its look-ups, its bound on rows and its check;
//! a request with an effect is sent once and then checked; a message is handed over once. Both report what is known of the effect
//! and nothing more: `decisions/0022-what-is-known-of-an-effect.md` has the table.

mod answers;
pub mod doctor;
mod email;
mod gather;
mod http;
mod leave;
mod mcp;
mod postgres;
pub mod schema;
mod secrets;
mod sqlite;
mod turns;

pub use email::{EmailSystem, MailEncryption, MailServer, MailServerError, Postman};
pub use http::{
    Address, Credential, CredentialError, HttpSystem, Names, Networks, Origin, OriginError,
    SystemNames,
};
pub use mcp::{McpReach, McpSystem, Program, definitions};
pub use postgres::{Encryption, PostgresSystem, Unreachable};
pub use sqlite::SqliteSystem;

use answers::Answers;
use countersign_core::call::{Consultation, Inquiry, Permit};
use countersign_core::id::SystemName;
use countersign_core::port::{Clock, Connector, DefinitionChange, Eventually, Found, Report};
use countersign_core::refusal::{Applied, SystemFault, SystemFaultKind};
use countersign_core::tool::{Effect, Tool};
use email::Email;
use http::Http;
use leave::{Act, Leave, misplaced};
use mcp::Mcp;
use postgres::Postgres;
use serde_json::Value;
use sqlite::Sqlite;
use std::{collections::BTreeMap, sync::Arc};

/// A system as the deployment resolved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// A SQLite file.
    Sqlite(SqliteSystem),
    /// A mail server.
    Email(EmailSystem),
    /// An HTTP API.
    Http(HttpSystem),
    /// An MCP server.
    Mcp(McpSystem),
    /// A PostgreSQL database.
    Postgres(PostgresSystem),
}

/// Every system of the deployment, by its name in the posture.
#[derive(Debug)]
pub struct Connectors {
    systems: BTreeMap<SystemName, Running>,
    answers: Answers,
    clock: Arc<dyn Clock>,
}

/// A system at work.
#[derive(Debug, Clone)]
enum Running {
    Sqlite(Arc<Sqlite>),
    Email(Arc<Email>),
    Http(Arc<Http>),
    Mcp(Arc<Mcp>),
    Postgres(Arc<Postgres>),
}

impl Running {
    fn new(system: System, clock: &Arc<dyn Clock>) -> Self {
        match system {
            System::Sqlite(system) => {
                Self::Sqlite(Arc::new(Sqlite::new(system, Arc::clone(clock))))
            }
            System::Email(system) => Self::Email(Arc::new(Email::new(system, Arc::clone(clock)))),
            System::Http(system) => Self::Http(Arc::new(Http::new(system))),
            System::Mcp(system) => Self::Mcp(Arc::new(Mcp::new(system))),
            System::Postgres(system) => Self::Postgres(Arc::new(Postgres::new(system))),
        }
    }

    fn runs(&self, system: &System) -> bool {
        match (self, system) {
            (Self::Sqlite(running), System::Sqlite(system)) => running.system() == system,
            (Self::Email(running), System::Email(system)) => running.system() == system,
            (Self::Http(running), System::Http(system)) => running.system() == system,
            (Self::Mcp(running), System::Mcp(system)) => running.system() == system,
            (Self::Postgres(running), System::Postgres(system)) => running.system() == system,
            (
                Self::Sqlite(_) | Self::Email(_) | Self::Http(_) | Self::Mcp(_) | Self::Postgres(_),
                _,
            ) => false,
        }
    }

    async fn execute(&self, permit: Permit) -> Result<Report, SystemFault> {
        match self {
            Self::Email(email) => email.run(permit).await,
            Self::Http(http) => http.run(permit).await,
            Self::Mcp(mcp) => mcp.run(permit).await,
            Self::Sqlite(sqlite) if permit.tool().effect == Effect::Read => {
                Arc::clone(sqlite).read(Leave::to_read(permit)?).await
            }
            Self::Sqlite(sqlite) => Arc::clone(sqlite).act(Act::new(permit)?).await,
            Self::Postgres(postgres) if permit.tool().effect == Effect::Read => {
                postgres.read(Leave::to_read(permit)?).await
            }
            Self::Postgres(postgres) => postgres.act(Act::new(permit)?).await,
        }
    }

    async fn look_up(&self, inquiry: Inquiry) -> Result<Report, SystemFault> {
        match self {
            Self::Sqlite(sqlite) => Arc::clone(sqlite).read(Leave::Inquiry(inquiry)).await,
            Self::Email(_) | Self::Http(_) | Self::Mcp(_) => {
                Err(misplaced("a look-up's statement"))
            }
            Self::Postgres(postgres) => postgres.read(Leave::Inquiry(inquiry)).await,
        }
    }

    async fn consult(&self, consultation: Consultation) -> Result<bool, SystemFault> {
        match self {
            Self::Http(http) => http.consult(&consultation).await,
            Self::Sqlite(_) | Self::Postgres(_) | Self::Email(_) | Self::Mcp(_) => {
                Err(misplaced("a question for a decision"))
            }
        }
    }
}

impl Connectors {
    /// Takes the systems as the deployment resolved them. None is reached before the first call that
    /// needs it: a system that is away must not keep the others from starting.
    #[must_use]
    pub fn new(systems: BTreeMap<SystemName, System>, clock: Arc<dyn Clock>) -> Self {
        Self { systems: BTreeMap::new(), answers: Answers::new(), clock }.with(systems)
    }

    /// The same connectors for other systems. One that is as it was keeps its connections, its turns
    /// and those who wait for one; one that has changed begins anew, while calls under way end on
    /// the old one, beside the new one's first.
    #[must_use]
    pub fn with(&self, systems: BTreeMap<SystemName, System>) -> Self {
        let kept = |name: &SystemName, system: &System| {
            self.systems.get(name).filter(|running| running.runs(system)).cloned()
        };
        let systems = systems
            .into_iter()
            .map(|(name, system)| {
                let running = kept(&name, &system);
                let running = running.unwrap_or_else(|| Running::new(system, &self.clock));
                (name, running)
            })
            .collect();
        Self { systems, answers: Answers::new(), clock: Arc::clone(&self.clock) }
    }

    fn system(&self, name: &SystemName) -> Result<&Running, SystemFault> {
        let unknown = || {
            let detail = format!("the deployment has no system `{name}`");
            fault(SystemFaultKind::Unavailable, detail)
        };
        self.systems.get(name).ok_or_else(unknown)
    }

    async fn found(&self, inquiry: Inquiry) -> Result<Found, SystemFault> {
        let question = answers::question(&inquiry);
        let (now, held_ms) = (self.clock.now(), inquiry.query().cached_ms);
        if held_ms.is_some()
            && let Some(found) = self.answers.get(&question, now)
        {
            return Ok(found);
        }
        let system = self.system(&inquiry.query().system)?;
        let Report { result, truncated, .. } = system.look_up(inquiry).await?;
        let Value::Array(rows) = result else {
            return Err(fault(SystemFaultKind::Failed, "the answer is no list of rows".to_owned()));
        };
        let found = Found { rows, truncated, cached: false };
        if let Some(held_ms) = held_ms {
            self.answers.put(&question, &found, now, held_ms);
        }
        Ok(found)
    }
}

impl Connector for Connectors {
    fn execute(&self, permit: Permit) -> Eventually<'_, Result<Report, SystemFault>> {
        Box::pin(async move {
            let system = self.system(&permit.tool().system)?;
            system.execute(permit).await
        })
    }

    fn look_up(&self, inquiry: Inquiry) -> Eventually<'_, Result<Found, SystemFault>> {
        Box::pin(self.found(inquiry))
    }

    fn consult(&self, consultation: Consultation) -> Eventually<'_, Result<bool, SystemFault>> {
        Box::pin(async move {
            let system = self.system(&consultation.point().system)?;
            system.consult(consultation).await
        })
    }

    fn is_withdrawn(&self, tool: &Tool) -> bool {
        match self.systems.get(&tool.system) {
            Some(Running::Mcp(mcp)) => mcp.is_withdrawn(tool),
            Some(
                Running::Sqlite(_) | Running::Email(_) | Running::Http(_) | Running::Postgres(_),
            )
            | None => false,
        }
    }

    fn changes(&self) -> Vec<(SystemName, DefinitionChange)> {
        let servers = self.systems.iter().filter_map(|(name, running)| match running {
            Running::Mcp(mcp) => Some((name, mcp)),
            Running::Sqlite(_) | Running::Email(_) | Running::Http(_) | Running::Postgres(_) => {
                None
            }
        });
        let changes = servers
            .flat_map(|(name, mcp)| mcp.changes().into_iter().map(|change| (name.clone(), change)));
        changes.collect()
    }
}

/// A fault of a call that changed nothing.
pub(crate) fn fault(kind: SystemFaultKind, detail: String) -> SystemFault {
    SystemFault::new(kind, Applied::NotApplied, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::id::Timestamp;
    use secrecy::SecretString;

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
        let system = |path: &str, concurrency| {
            let path = path.into();
            System::Sqlite(SqliteSystem { path, concurrency, statement_log: None })
        };
        let postgres = |connection: &str| {
            System::Postgres(PostgresSystem {
                connection: SecretString::from(connection),
                encryption: None,
                authorities: None,
                tenant_setting: "app.tenant".to_owned(),
                concurrency: 1,
            })
        };
        let before = BTreeMap::from([
            (name("pg-rekeyed"), postgres("postgres://u:made-up@h/d")),
            (name("pg-same"), postgres("postgres://u:made-up@h/d")),
            (name("same"), system("a.db", 1)),
            (name("moved"), system("b.db", 1)),
            (name("wider"), system("c.db", 1)),
            (name("gone"), system("d.db", 1)),
        ]);
        let after = BTreeMap::from([
            (name("pg-rekeyed"), postgres("postgres://u:made-up-too@h/d")),
            (name("pg-same"), postgres("postgres://u:made-up@h/d")),
            (name("same"), system("a.db", 1)),
            (name("moved"), system("e.db", 1)),
            (name("wider"), system("c.db", 2)),
            (name("new"), system("d.db", 1)),
        ]);
        let before = Connectors::new(before, Arc::new(Standing));
        let after = before.with(after);
        let same = |was: &Running, is: &Running| match (was, is) {
            (Running::Sqlite(was), Running::Sqlite(is)) => Arc::ptr_eq(was, is),
            (Running::Postgres(was), Running::Postgres(is)) => Arc::ptr_eq(was, is),
            _ => false,
        };
        let kept = |name: &SystemName| {
            before.systems.get(name).is_some_and(|was| same(was, &after.systems[name]))
        };
        let kept: Vec<_> = after.systems.keys().map(|name| (name.as_str(), kept(name))).collect();
        let kept: Vec<_> =
            kept.into_iter().filter_map(|(name, kept)| kept.then_some(name)).collect();
        assert_eq!(kept, ["pg-same", "same"]);
        assert_eq!(after.systems.len(), 6);
    }
}
