//! What a system is authorised by, to be kept out of all that it says.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Shortest secret that is looked for in an answer: shorter ones are ordinary words, too.
const SHOWN_BYTES_MIN: usize = 8;

/// Secrets of one system. They never show themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(crate) const fn new(secrets: Vec<SecretString>) -> Self {
        Self(secrets)
    }

    /// `text` without them.
    pub(crate) fn blot(&self, text: &str) -> String {
        let secrets = self.0.iter().map(ExposeSecret::expose_secret);
        let secrets = secrets.filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }

    /// Whether a text or a key of `value` holds one: a system that repeats what it was sent.
    pub(crate) fn shows_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_in(text),
            Value::Array(items) => items.iter().any(|item| self.shows_in(item)),
            Value::Object(members) => {
                members.iter().any(|(key, item)| self.is_in(key) || self.shows_in(item))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn is_in(&self, text: &str) -> bool {
        let secrets = self.0.iter().map(ExposeSecret::expose_secret);
        secrets.filter(|secret| secret.len() >= SHOWN_BYTES_MIN).any(|secret| text.contains(secret))
    }
}
