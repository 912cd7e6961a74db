//! The rules: which of the records, as they follow one another, are an alert.
//!
//! A function of the records, and of nothing else: the time is theirs. What is remembered of them is
//! bounded, and can be kept and taken up again. In words: `docs/alerts.md`.

mod pace;
mod tally;

use crate::bound::{PACES_MAX, SUBJECTS_MAX};
use countersign_core::alert::{Limits, Rule};
use countersign_core::id::Timestamp;
use countersign_core::reading::Record;
use countersign_core::record::{Entry, Kind};
use pace::Pace;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use tally::Tally;

/// The rules, and what they remember.
#[derive(Debug)]
pub(crate) struct Rules {
    limits: BTreeMap<Rule, Limits>,
    memory: Memory,
}

/// What the rules remember of the records so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// By rule and whom it is about.
    tallies: BTreeMap<String, Tally>,
    /// By agent.
    paces: BTreeMap<String, Pace>,
}

/// One alert, before it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raised {
    pub(crate) rule: Rule,
    /// The record that made it one. No other alert of the rule has the same.
    pub(crate) cause: Cause,
    agent: Option<String>,
    tenant: Option<String>,
    tool: Option<String>,
    count: u64,
    first: i64,
    last: i64,
    /// What the agent usually does in such a time.
    usual: Option<u64>,
}

/// A record, by its place.
pub(crate) type Cause = (String, u64);

/// How many in which time: what a rule found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    count: u64,
    first: i64,
    last: i64,
    usual: Option<u64>,
}

/// What something remembers, so that the least recent can be forgotten.
trait Seen {
    fn seen(&self) -> i64;
}

impl Raised {
    /// Its record. Nothing of a person is in it.
    pub(crate) fn entry(&self, now: Timestamp) -> Entry {
        let Self { rule, cause: (stream, seq), agent, tenant, tool, count, first, last, usual } =
            self;
        let mut entry = Entry::new(Kind::Alerted, now)
            .with("alert", rule.as_str())
            .with("cause", json!({ "stream": stream, "seq": seq }))
            .with("count", *count)
            .with("first", *first)
            .with("last", *last);
        for (name, value) in [("agent", agent), ("tenant", tenant), ("tool", tool)] {
            if let Some(value) = value {
                entry = entry.with(name, value.as_str());
            }
        }
        match usual {
            Some(usual) => entry.with("usual", *usual),
            None => entry,
        }
    }
}

/// Which rule and which record an alert on record is of.
pub(crate) fn of_record(record: &Record) -> Option<(Rule, Cause)> {
    let rule = record.text("alert").and_then(Rule::parse)?;
    let cause = record.header.get("cause")?;
    let stream = cause.get("stream")?.as_str()?.to_owned();
    Some((rule, (stream, cause.get("seq")?.as_u64()?)))
}

impl Rules {
    /// A rule that has no limits is switched off.
    pub(crate) const fn new(limits: BTreeMap<Rule, Limits>, memory: Memory) -> Self {
        Self { limits, memory }
    }

    pub(crate) const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes note of the next record; the alerts that it makes, at most one of each rule.
    pub(crate) fn see(&mut self, record: &Record) -> Vec<Raised> {
        let Some(kind) = record.kind() else { return Vec::new() };
        let counted =
            counted(kind, record).and_then(|(rule, count)| self.tally(rule, count, record));
        let paced = calls(kind, record).and_then(|count| self.pace(count, record));
        counted.into_iter().chain(paced).collect()
    }

    fn tally(&mut self, rule: Rule, count: u64, record: &Record) -> Option<Raised> {
        let limits = *self.limits.get(&rule)?;
        let raised = raised(rule, record);
        let tallies = &mut self.memory.tallies;
        make_room(tallies, SUBJECTS_MAX);
        let tally = tallies.entry(subject(&raised)).or_default();
        let found = tally.count(limits, (time(record), count))?;
        Some(raised.with(found))
    }

    fn pace(&mut self, count: u64, record: &Record) -> Option<Raised> {
        let limits = *self.limits.get(&Rule::CallSpike)?;
        let raised = raised(Rule::CallSpike, record);
        let agent = raised.agent.clone()?;
        let paces = &mut self.memory.paces;
        make_room(paces, PACES_MAX);
        let found = paces.entry(agent).or_default().count(limits, (time(record), count))?;
        Some(raised.with(found))
    }
}

impl Raised {
    fn with(self, Found { count, first, last, usual }: Found) -> Self {
        Self { count, first, last, usual, ..self }
    }
}

/// Whom it is about: the same is told of once in a while.
fn subject(Raised { rule, agent, tenant, tool, .. }: &Raised) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let tool = text(tool);
    let (agent, tenant) = match rule {
        // Whichever agent calls: what is to be mended is the tool. Each customer's people are told.
        Rule::ForeignRows => (String::new(), text(tenant)),
        Rule::DefinitionChanged => (String::new(), String::new()),
        Rule::OutOfScope
        | Rule::CallSpike
        | Rule::OutsideApprovalFlow
        | Rule::UnknownTool
        | Rule::OutcomeUnknown
        | Rule::DraftExpired => (text(agent), text(tenant)),
    };
    // None of them holds a line's end.
    [rule.as_str(), &agent, &tenant, &tool].join("\n")
}

/// An alert of a rule about whom this record is about, without its numbers.
fn raised(rule: Rule, record: &Record) -> Raised {
    let text = |name: &str| record.text(name).map(str::to_owned);
    let (tenant, tool) = match rule {
        Rule::CallSpike => (None, None),
        Rule::DefinitionChanged => (None, text("tool")),
        Rule::OutOfScope | Rule::UnknownTool => (text("tenant"), None),
        Rule::OutsideApprovalFlow
        | Rule::OutcomeUnknown
        | Rule::DraftExpired
        | Rule::ForeignRows => (text("tenant"), text("tool")),
    };
    let cause = (record.stream().to_owned(), record.sequence());
    let (agent, count, first, last, usual) = (text("agent"), 0, 0, 0, None);
    Raised { rule, cause, agent, tenant, tool, count, first, last, usual }
}

/// What rule counts a record, and as how many.
fn counted(kind: Kind, record: &Record) -> Option<(Rule, u64)> {
    let count = || number(record, "count").unwrap_or(1);
    let says = |name: &str, text: &str| record.text(name) == Some(text);
    match kind {
        Kind::Refusal => match record.text("code") {
            // Repeats of one refusal are one attempt; what was merged were different ones.
            Some("out_of_scope") if record.header.contains_key("merged") => {
                Some((Rule::OutOfScope, count()))
            }
            Some("out_of_scope") => Some((Rule::OutOfScope, 1)),
            Some("unknown_tool") => Some((Rule::UnknownTool, count())),
            Some("outside_approval") => Some((Rule::OutsideApprovalFlow, count())),
            _ => Some((record.text("alert").and_then(Rule::parse)?, count())),
        },
        Kind::Outcome if says("applied", "unknown") && !says("effect", "read") => {
            Some((Rule::OutcomeUnknown, 1))
        }
        Kind::DefinitionChanged if says("alert", Rule::DefinitionChanged.as_str()) => {
            Some((Rule::DefinitionChanged, 1))
        }
        Kind::Outcome => Some((record.text("alert").and_then(Rule::parse)?, 1)),
        Kind::DraftExpired => Some((Rule::DraftExpired, 1)),
        _ => None,
    }
}

/// How many calls of an agent a record stands for. What carries out a draft is no call of its own.
fn calls(kind: Kind, record: &Record) -> Option<u64> {
    match kind {
        Kind::Intent if record.text("draft").is_some() => None,
        Kind::Intent | Kind::DraftProposed | Kind::DraftDelivered => Some(1),
        Kind::Refusal => Some(number(record, "count").unwrap_or(1)),
        _ => None,
    }
}

/// When it was, in microseconds; of refusals alike, when the last one was.
fn time(record: &Record) -> i64 {
    let last = record.header.get("last").and_then(serde_json::Value::as_i64);
    last.unwrap_or_else(|| record.at().micros())
}

fn number(record: &Record, name: &str) -> Option<u64> {
    record.header.get(name).and_then(serde_json::Value::as_u64)
}

/// Forgets the half that was seen least recently, once there is no room for another.
fn make_room<T: Seen>(known: &mut BTreeMap<String, T>, max: usize) {
    if known.len() < max {
        return;
    }
    let mut seen: Vec<i64> = known.values().map(Seen::seen).collect();
    let middle = seen.len().div_euclid(2);
    let (_, middle, _) = seen.select_nth_unstable(middle);
    let middle = *middle;
    known.retain(|_, one| one.seen() > middle);
}

#[cfg(test)]
mod tests;
