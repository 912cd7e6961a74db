//! What people are told, and how it is written for each kind of destination.
//!
//! It names what waits and where to look. What a call would do, with which arguments, is told by the
//! console alone, to those who may see it.

use countersign_core::alert::Rule;
use countersign_core::draft::Draft;
use countersign_core::id::Timestamp;
use countersign_core::ladder::{Approvers, Gate};
use countersign_core::port::Letter;
use countersign_core::reading::Record;
use countersign_core::recipient::Recipient;
use countersign_core::screen;
use serde_json::{Map, Value, json};

/// What is in a request to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Slack's incoming webhooks.
    Slack,
    /// Teams' workflows: an adaptive card.
    Teams,
    /// The message's own members.
    Json,
}

/// What there is to tell of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It waits.
    Waits,
    /// It still does, after half its time.
    Reminder,
    /// Further people may decide.
    Escalated,
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Waits => "draft_waits",
            Self::Reminder => "draft_still_waits",
            Self::Escalated => "draft_escalated",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Waits => "waits for a person",
            Self::Reminder => "still waits for a person",
            Self::Escalated => "has waited for long: further people may decide now",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The same however often it is sent.
    pub(crate) id: String,
    kind: &'static str,
    title: String,
    /// Names and texts, in the order in which they are read.
    facts: Vec<(&'static str, String)>,
    link: String,
}

impl Message {
    /// Of a draft.
    pub(crate) fn of_draft(
        (draft, gate): (&Draft, Option<&Gate>),
        stage: Stage,
        (public_url, now): (&str, Timestamp),
    ) -> Self {
        let Draft { id, agent, tool, principal, expires, rung, proposed, .. } = draft;
        let mut facts = vec![
            ("tool", tool.to_string()),
            ("tenant", principal.tenant.to_string()),
            ("agent", agent.to_string()),
            ("rung", rung.number().to_string()),
        ];
        if let Some(gate) = gate {
            facts.push(("who", who(&gate.approvers)));
            if let Some((_, to)) = gate.escalates(*proposed).filter(|(at, _)| *at <= now) {
                facts.push(("further", who(to)));
            }
        }
        facts.push(("expires", written(*expires)));
        Self {
            id: format!("{id}.{}", stage.as_str()),
            kind: stage.as_str(),
            title: format!("A draft of {tool} {}", stage.says()),
            facts: legible(facts),
            link: format!("{public_url}/console/drafts/{id}"),
        }
    }

    /// Of an alert on record; `None` if it is of no rule that this program knows.
    pub(crate) fn of_alert(record: &Record, public_url: &str) -> Option<Self> {
        let rule = record.text("alert").and_then(Rule::parse)?;
        let mut facts = vec![("alert", rule.as_str().to_owned())];
        for name in ["agent", "tenant", "tool"] {
            facts.extend(record.text(name).map(|text| (name, text.to_owned())));
        }
        for name in ["count", "usual"] {
            let number = record.header.get(name).and_then(Value::as_u64);
            facts.extend(number.map(|number| (name, number.to_string())));
        }
        for name in ["first", "last"] {
            let time = record.header.get(name).and_then(Value::as_i64);
            facts.extend(time.map(|at| (name, written(Timestamp::from_micros(at)))));
        }
        facts.push(("advice", rule.advice().to_owned()));
        Some(Self {
            id: format!("alert.{}.{}", record.stream(), record.sequence()),
            kind: "alert",
            title: rule.what().to_owned(),
            facts: legible(facts),
            link: format!("{public_url}/console/alerts"),
        })
    }

    /// The body of a request.
    pub(crate) fn body(&self, template: Template) -> Value {
        match template {
            Template::Slack => self.slack(),
            Template::Teams => self.teams(),
            Template::Json => self.json(),
        }
    }

    fn json(&self) -> Value {
        let Self { id, kind, title, facts, link } = self;
        let mut members = Map::from_iter([
            ("id".to_owned(), json!(id)),
            ("kind".to_owned(), json!(kind)),
            ("title".to_owned(), json!(title)),
            ("link".to_owned(), json!(link)),
        ]);
        members.extend(facts.iter().map(|(name, text)| ((*name).to_owned(), json!(text))));
        Value::Object(members)
    }

    fn slack(&self) -> Value {
        let Self { title, facts, link, .. } = self;
        let facts = facts.iter().map(|(name, text)| format!("{name}: {text}"));
        let facts = facts.collect::<Vec<_>>().join("\n");
        // Plain: nothing that somebody was named is a mark, a link or a mention.
        let plain = |text: &str| json!({ "type": "plain_text", "text": text });
        let open = json!({ "type": "button", "text": plain("Open it"), "url": link });
        // The first is what a phone shows before it is opened.
        json!({
            "text": for_slack(title),
            "blocks": [
                { "type": "header", "text": plain(title) },
                { "type": "section", "text": plain(&facts) },
                { "type": "actions", "elements": [open] },
            ],
        })
    }

    fn teams(&self) -> Value {
        let Self { title, facts, link, .. } = self;
        let facts =
            facts.iter().map(|(name, text)| json!({ "title": name, "value": for_teams(text) }));
        let title = json!({
            "type": "TextBlock", "text": for_teams(title), "weight": "Bolder", "wrap": true,
        });
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [title, { "type": "FactSet", "facts": facts.collect::<Vec<_>>() }],
            "actions": [{ "type": "Action.OpenUrl", "title": "Open it", "url": link }],
        });
        let kind = "application/vnd.microsoft.card.adaptive";
        json!({ "type": "message", "attachments": [{ "contentType": kind, "content": card }] })
    }

    /// The same as a letter.
    pub(crate) fn letter(&self, to: &[Recipient]) -> Letter {
        let Self { id, title, facts, link, .. } = self;
        let facts = facts.iter().map(|(name, text)| format!("{name}: {text}\n"));
        let text = format!("{title}.\n\n{}\n{link}\n", facts.collect::<String>());
        let text = text.replacen("..\n", ".\n", 1);
        Letter { to: to.to_vec(), subject: title.clone(), text, id: id.clone() }
    }
}

/// Who may decide, in words.
fn who(approvers: &Approvers) -> String {
    match approvers {
        Approvers::Named(addresses) => addresses.iter().cloned().collect::<Vec<_>>().join(", "),
        Approvers::Group { group, subject: false } => format!("members of {group}"),
        Approvers::Group { group, subject: true } => {
            format!("members of {group}, or the person it is asked for")
        }
    }
}

fn written(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
    format!("{at:.0}")
}

/// What nobody would see of a text is spelt out: a name may hold what turns the text around it.
fn legible(facts: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let hidden = |c: char| screen::strip_hidden(&mut Value::from(c.to_string())) > 0;
    let spelt = |text: String| match text.is_ascii() {
        true => text,
        false => text.chars().fold(String::new(), |mut shown, c| {
            if hidden(c) {
                shown.extend(c.escape_unicode())
            } else {
                shown.push(c)
            }
            shown
        }),
    };
    facts.into_iter().map(|(name, text)| (name, spelt(text))).collect()
}

/// Nothing in a text is a link, a mention or a mark there (Slack's own three escapes).
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Nothing in a text is a link or a mark there (the part of Markdown that cards know).
fn for_teams(text: &str) -> String {
    let mark = |c: char| {
        matches!(c, '\\' | '[' | ']' | '(' | ')' | '*' | '_' | '`' | '#' | '!' | '<' | '>')
    };
    text.chars().fold(String::new(), |mut escaped, c| {
        if mark(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}
