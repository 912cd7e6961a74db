//! How what tails the journal stands: exporters, alert rules, and those who are told.

use crate::alert::{Limits, Rule};
use crate::id::Timestamp;
use crate::reading::Behind;

/// How it all stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relaying {
    /// Those that hand the journal on, in the order of the deployment file.
    pub exporters: Vec<Exporter>,
    /// What each rule goes by; `None` for one that is switched off.
    pub rules: Vec<(Rule, Option<Limits>)>,
    /// How far the rules have come, and what they met.
    pub watch: Follower,
    /// Those who are told, in the order of the deployment file.
    pub destinations: Vec<Destination>,
}

/// Something that follows the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Follower {
    /// How far behind the journal it is.
    pub behind: Behind,
    /// When it last got on.
    pub got_on: Option<Timestamp>,
    /// Since when it does not get on, and why.
    pub failing: Option<(Timestamp, String)>,
}

/// One exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exporter {
    /// Its name in the deployment file.
    pub name: String,
    /// Where it writes: a path, or `standard output`.
    pub to: String,
    /// How far it has come.
    pub follower: Follower,
}

/// One place where people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its name in the deployment file.
    pub name: String,
    /// `slack`, `teams`, `json` or `email`. Not the address: it may be a secret.
    pub how: &'static str,
    /// Whether it is told of drafts.
    pub drafts: bool,
    /// Whether it is told of alerts.
    pub alerts: bool,
    /// How far it has come. What it cannot be told waits in the journal.
    pub follower: Follower,
    /// When a message was last taken.
    pub delivered: Option<Timestamp>,
    /// How many messages were given up since the start.
    pub given_up: u64,
}
