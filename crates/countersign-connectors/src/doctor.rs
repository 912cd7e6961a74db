//! Whether a system is fit for the tools that reach it, asked by the same credential.

use crate::{System, email, http, mcp, postgres, sqlite};
use countersign_core::port::Clock;
use countersign_core::refusal::SystemFault;
use std::collections::BTreeSet;

/// What the posture needs of a system.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Every statement that reads there, as it is sent, after what runs it: a tool, a look-up, a
    /// check, a preview.
    pub statements: Vec<(String, String)>,
    /// The same of statements with an effect.
    pub effects: Vec<(String, String)>,
    /// Tables that hold nothing of any one tenant, as the posture says: `depots`, `ref.countries`.
    pub shared: BTreeSet<String>,
}

/// Something that is not as it should be, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// Stable, for programs.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do: SQL where SQL does it.
    pub mend: String,
}

impl Symptom {
    pub(crate) fn new(code: &'static str, message: String, mend: impl Into<String>) -> Self {
        Self { code, message, mend: mend.into() }
    }

    pub(crate) fn statement(who: &str, said: &str) -> Self {
        let message = format!("the database does not take the statement of {who}: {said}");
        Self::new(
            "statement-fails",
            message,
            "mend the statement, or grant what it needs and no more",
        )
    }
}

/// Examines a system. Nothing is changed, and no row of anybody is kept. `nobody` is a tenant that
/// does not exist.
///
/// # Errors
/// The system cannot be reached, or does not answer what everybody may ask it.
pub async fn examine(
    system: &System,
    needs: &Needs,
    nobody: &str,
    clock: &dyn Clock,
) -> Result<Vec<Symptom>, SystemFault> {
    match system {
        System::Sqlite(system) => sqlite::examine(system, needs),
        System::Postgres(system) => postgres::examine(system, needs, nobody, clock).await,
        System::Email(system) => email::examine(system).await,
        System::Http(system) => http::examine(system).await,
        System::Mcp(system) => mcp::examine(system).await,
    }
}
