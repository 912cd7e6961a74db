//! Agents that are not the suite's own: the team's program, and a model in a loop of the suite's.

mod api;
mod command;
mod model;
mod witness;

pub use api::{Api, Tokens};
pub use command::Program;
pub use model::Model;

/// Why an agent came to no end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// In this case.
    Case(String),
    /// In any: the program is not there, or the key is none.
    Run(String),
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self::Case(why)
    }
}

/// A text without what nobody may read in a report.
fn without(text: &str, secrets: &[(String, String)]) -> String {
    let telling = secrets.iter().filter(|(_, secret)| secret.len() >= SECRET_BYTES_MIN);
    telling.fold(text.to_owned(), |text, (name, secret)| text.replace(secret, &format!("[{name}]")))
}

/// Shortest text that is taken for a secret: what is shorter stands in other words as well.
const SECRET_BYTES_MIN: usize = 6;
