//! `countersign import sql`: drafts from the tables of a live database.

use super::{To, Told};
use crate::command::{End, serve};
use crate::here;
use crate::render::{self, Failure};
use crate::report::visible;
use countersign_connectors::System;
use countersign_connectors::schema;
use countersign_core::id::SystemName;
use countersign_posture::import::table::{Column, Table, drafts};
use countersign_posture::sql::Dialect;
use countersign_posture::{
    Backend, Deployment, SystemSpec, did_you_mean, load_deployment, load_system,
};
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(crate) struct Sql {
    /// The system: a database of the deployment
    #[arg(value_parser = super::named)]
    system: SystemName,
    /// Only this table, and any other that is named
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    #[command(flatten)]
    to: To,
}

impl Sql {
    pub(crate) fn run(&self) -> Result<End, Failure> {
        let posture = self.to.posture()?;
        let (deployment, spec) = resolved(&self.to, &posture, &self.system)?;
        let dialect = match &spec.backend {
            Backend::Sqlite { .. } => Dialect::Sqlite,
            Backend::Postgres { .. } => Dialect::Postgres,
            Backend::Http { .. } | Backend::Email(_) | Backend::Mcp(_) => {
                return Err(Failure::new(format!("the system `{}` is no database", self.system)));
            }
        };
        let system = reached(&deployment, &spec)?;
        let found = serve::runtime()?.block_on(schema::tables(&system));
        let found = found.map_err(|fault| Failure::new(visible(&fault.detail)))?;
        let mut tables: Vec<Table> = found.into_iter().map(table).collect();
        if !self.tables.is_empty() {
            let known: BTreeSet<_> = tables.iter().map(|table| table.name.clone()).collect();
            if let Some(unknown) = self.tables.iter().find(|name| !known.contains(*name)) {
                let failure =
                    Failure::new(format!("the role sees no table `{}`", visible(unknown)));
                let near = did_you_mean(unknown, known.iter().map(String::as_str));
                return Err(match near {
                    Some(near) => failure.help(near),
                    None => failure,
                });
            }
            tables.retain(|table| self.tables.contains(&table.name));
        }
        if tables.is_empty() {
            return Err(Failure::new("the role sees no tables"));
        }
        let told = Told::write(&posture, drafts(&tables, dialect, &self.system))?;
        self.to.tell(&posture, &told, None)
    }
}

fn table(found: schema::Table) -> Table {
    let schema::Table { name, key, columns, checks } = found;
    let column =
        |schema::Column { name, kind, nullable, values }| Column { name, kind, nullable, values };
    Table { name, key, columns: columns.into_iter().map(column).collect(), checks }
}

/// The deployment and one of its systems, whatever else in the posture has a mistake: drafts have some
/// until they are filled in.
pub(super) fn resolved(
    to: &To,
    posture: &Path,
    name: &SystemName,
) -> Result<(Deployment, SystemSpec), Failure> {
    let config = to.config();
    let (deployment, findings) = load_deployment(&config);
    let Some(deployment) = deployment else {
        render::findings(&findings);
        return Err(Failure::new(format!("{} has errors", config.display())));
    };
    let (spec, findings) = load_system(posture, name);
    match spec {
        Some(spec) => Ok((deployment, spec)),
        None if findings.is_empty() => Err(Failure::new(format!("there is no system `{name}`"))
            .help(format!(
                "write it to {}",
                posture.join(format!("systems/{name}.yaml")).display()
            ))),
        None => {
            render::findings(&findings);
            Err(Failure::new(format!("the system `{name}` has errors")))
        }
    }
}

pub(super) fn reached(deployment: &Deployment, spec: &SystemSpec) -> Result<System, Failure> {
    here::one(deployment, spec).map_err(|finding| {
        let failure = Failure::new(visible(&finding.message));
        match finding.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    })
}
