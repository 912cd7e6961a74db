//! What one posture permits that another does not, from what they mean and not from what they say.
//!
//! Every part of a posture that a decision rests on is compared. Structures are taken apart whole, so that a
//! new part is not left out of it; what cannot be decided counts as wider.

mod pattern;
mod posture;
mod schema;
#[cfg(test)]
mod tests;
mod tool;

use crate::markup::unseen;
use crate::review::markdown;
use countersign_core::id::{AgentId, ToolName};
use countersign_policy::Bundle;
use countersign_posture::Loaded;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A posture without an error, with its policies.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The posture.
    pub loaded: &'a Loaded,
    /// Its policies.
    pub bundle: &'a Bundle,
}

/// What differs between two postures.
#[derive(Debug)]
pub struct Difference {
    /// The digests of both.
    pub postures: [String; 2],
    /// By agent and tool.
    pub changes: Vec<Change>,
    /// Tools with an effect that each agent may newly use, where there are several: they are given one by
    /// one.
    pub at_once: Vec<(AgentId, Vec<ToolName>)>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Whose; `None` for what is about every agent.
    pub agent: Option<AgentId>,
    /// Of which tool, if of one.
    pub tool: Option<ToolName>,
    /// Which way.
    pub way: Way,
    /// In a reviewer's words.
    pub says: String,
    /// A call that newly passes, where one was found.
    pub example: Option<Value>,
}

/// Which way something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Something is newly possible, or may be: nobody could decide it.
    Wider,
    /// Something is no longer possible, and nothing newly is.
    Narrower,
    /// Nothing that a decision rests on.
    Other,
}

impl Way {
    /// As reports write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wider => "wider",
            Self::Narrower => "narrower",
            Self::Other => "other",
        }
    }
}

impl Difference {
    /// Whether something is newly permitted.
    #[must_use]
    pub fn wider(&self) -> bool {
        self.changes.iter().any(|change| change.way == Way::Wider)
    }

    /// The verdict on the whole: `wider`, `narrower`, or `equal`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        let of = |way| self.changes.iter().any(|change| change.way == way);
        match (of(Way::Wider), of(Way::Narrower)) {
            (true, _) => "wider",
            (false, true) => "narrower",
            (false, false) => "equal",
        }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let [old, new] = &self.postures;
        let changes = self.changes.iter().map(|Change { agent, tool, way, says, example }| {
            json!({
                "agent": agent.as_ref().map(AgentId::as_str), "tool": tool.as_ref().map(ToolName::as_str),
                "way": way.as_str(), "says": says, "example": example,
            })
        });
        let at_once = self.at_once.iter().map(|(agent, tools)| {
            let tools: Vec<_> = tools.iter().map(ToolName::as_str).collect();
            json!({ "agent": agent.as_str(), "tools": tools })
        });
        json!({
            "old": old, "new": new, "verdict": self.verdict(),
            "changes": changes.collect::<Vec<_>>(), "several_write_tools": at_once.collect::<Vec<_>>(),
        })
    }

    /// For people: a heading for each way, a line for each change. With `marks` as Markdown has them.
    #[must_use]
    pub fn text(&self, marks: bool) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail, here and below.
        for (way, heading) in [
            (Way::Wider, "Newly permitted, or undecided"),
            (Way::Narrower, "Newly forbidden"),
            (Way::Other, "Changed otherwise"),
        ] {
            let mut changes = self.changes.iter().filter(|change| change.way == way).peekable();
            if changes.peek().is_none() {
                continue;
            }
            let _infallible = match marks {
                true => writeln!(text, "### {heading}\n"),
                false => writeln!(text, "{heading}:"),
            };
            for change in changes {
                let _infallible = writeln!(text, "{}", change.line(marks));
            }
            text.push('\n');
        }
        for (agent, tools) in &self.at_once {
            let tools: Vec<_> = tools.iter().map(ToolName::as_str).collect();
            let tools = tools.join(", ");
            let _infallible = writeln!(
                text,
                "{agent} gets several tools with an effect at once: {tools}. Give one, see it used, then the next.\n"
            );
        }
        let verdict = match self.verdict() {
            "wider" => "The new posture permits more.",
            "narrower" => "The new posture permits less, and nothing more.",
            _ => "Both permit the same.",
        };
        text + verdict
    }
}

impl Change {
    fn line(&self, marks: bool) -> String {
        let about = match (&self.agent, &self.tool) {
            (Some(agent), Some(tool)) => format!("{agent}, {tool}: "),
            (Some(agent), None) => format!("{agent}: "),
            (None, Some(tool)) => format!("{tool}: "),
            (None, None) => String::new(),
        };
        // INVARIANT: texts of a posture are shown. They end no line, mark nothing up and hide nothing.
        let plain = |text: &str| match marks {
            true => markdown::plain(text),
            false => one_line(text),
        };
        let example = self.example.as_ref().map(|example| one_line(&example.to_string()));
        let example = example.map_or_else(String::new, |example| match marks {
            true => format!("; newly passes: `{}`", example.replace('`', "'")),
            false => format!("\n    newly passes: {example}"),
        });
        format!("- {}{example}", plain(&(about + &self.says)))
    }
}

/// A text on one line of a terminal: what ends it, or is not seen, is written out.
fn one_line(text: &str) -> String {
    let escaped = |c: char| match c == '\n' || c == '\t' || unseen(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A time in the largest unit that says it.
fn duration(seconds: u32) -> String {
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds.div_euclid(unit));
        }
    }
    format!("{seconds}s")
}

/// Gathers what differs about one agent and tool.
struct Notes<'a> {
    agent: Option<&'a AgentId>,
    tool: Option<&'a ToolName>,
    changes: Vec<Change>,
}

impl Notes<'_> {
    fn note(&mut self, way: Way, says: impl Into<String>) {
        let (agent, tool) = (self.agent.cloned(), self.tool.cloned());
        self.changes.push(Change { agent, tool, way, says: says.into(), example: None });
    }

    /// A bound that may be missing: a missing one bounds nothing.
    fn bound<T: Into<u64>>(&mut self, what: &str, old: Option<T>, new: Option<T>) {
        self.bound_within(what, [(old, None), (new, None)]);
    }

    /// The same, each with a bound around it that holds where it is missing.
    fn bound_within<T: Into<u64>>(&mut self, what: &str, of: [(Option<T>, Option<u64>); 2]) {
        let [(old, around_old), (new, around_new)] = of;
        let [old, new] = [old, new].map(|bound| bound.map(Into::into));
        let told = |(bound, around): (Option<u64>, Option<u64>)| match (bound, around) {
            (Some(bound), _) => bound.to_string(),
            (None, Some(around)) => format!("{around} (no bound of its own, others hold)"),
            (None, None) => "unbounded".to_owned(),
        };
        let [was, is] = [(old, around_old), (new, around_new)].map(told);
        let [old, new] = [old, new].map(|bound| bound.unwrap_or(u64::MAX));
        match new.cmp(&old) {
            std::cmp::Ordering::Greater => self.note(Way::Wider, format!("{what} {is}, was {was}")),
            std::cmp::Ordering::Less => self.note(Way::Narrower, format!("{what} {is}, was {was}")),
            std::cmp::Ordering::Equal => {}
        }
    }

    /// What has to be as it was, for nobody can say what another comes to.
    fn same<T: PartialEq>(&mut self, old: &T, new: &T, says: &str) {
        if old != new {
            self.note(Way::Wider, says);
        }
    }
}

/// Compares two postures. `solver` answers for hand-written policies; without one they count as wider
/// where they differ.
pub async fn diff(old: Side<'_>, new: Side<'_>) -> Difference {
    posture::diff(old, new).await
}
