//! What a run needs from the machine, the store and the issuer. The binary has it.

use countersign_core::reading::Record;
use countersign_posture::evals::{Person, Token};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::TcpListener;
use std::path::Path;

/// Whom a token is for.
#[derive(Debug, Clone)]
pub struct TokenFor {
    /// Whose tokens the agent calls with, if the posture says so.
    pub issuer: Option<String>,
    /// The OAuth client.
    pub client: String,
    /// Whose data.
    pub tenant: String,
    /// On whose behalf.
    pub user: String,
    /// The session; `None` if the posture has none.
    pub session: Option<String>,
    /// Further claims.
    pub claims: BTreeMap<String, Vec<String>>,
    /// OAuth scopes.
    pub scopes: Vec<String>,
    /// What is wrong with it.
    pub token: Token,
}

/// The machine, the store and the run's own issuer.
pub trait Ground: Send + Sync + Debug {
    /// The key set by which the run's issuer is known, as JSON.
    fn key_set(&self) -> &str;

    /// A token; none for [`Token::Missing`].
    ///
    /// # Errors
    /// A sentence that says which part of it cannot be put into a token.
    fn token(&self, asked: &TokenFor) -> Result<Option<String>, String>;

    /// The token of a person who decides.
    ///
    /// # Errors
    /// The same.
    fn person(&self, person: &Person) -> Result<String, String>;

    /// Makes a journal and its key, as the deployment in `folder` names them.
    ///
    /// # Errors
    /// The store's.
    fn make_journal(&self, folder: &Path) -> Result<(), String>;

    /// All records of it, in order.
    ///
    /// # Errors
    /// The store's.
    fn records(&self, folder: &Path) -> Result<Vec<Record>, String>;

    /// What is wrong with it.
    ///
    /// # Errors
    /// If it cannot be read at all.
    fn verify(&self, folder: &Path) -> Result<Vec<String>, String>;

    /// Takes messages and writes them to a file, until the runtime ends.
    ///
    /// # Errors
    /// The machine's.
    fn take_mail(&self, listener: TcpListener, file: &Path) -> Result<(), String>;

    /// An hour from now, as people write it.
    fn in_an_hour(&self) -> String;

    /// Milliseconds since some time before the run.
    fn now_ms(&self) -> u64;

    /// A text that nobody guesses.
    fn secret(&self) -> String;
}
