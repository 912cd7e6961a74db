//! What agents do, as it happens, and the whole story of one call.

use super::show::{self, Moment, Pair};
use super::{Ask, Console, Frame, Seen, Who, barred, shown, unread};
use askama::Template;
use axum::{
    Extension,
    extract::{Path, State},
    response::Response,
};
use countersign_core::act::Barred;
use countersign_core::id::{CallId, Timestamp};
use countersign_core::reading::{Calls, Class, Line, Position, Record};
use countersign_core::record::Kind;
use countersign_core::sight::Sight;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Lines on a page.
const LINES: u32 = 50;

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct Asked {
    agent: Option<String>,
    tenant: Option<String>,
    tool: Option<String>,
    outcome: Option<String>,
    code: Option<String>,
    before: Option<i64>,
    /// Where the page stood that is brought up to date.
    since: Option<i64>,
}

/// A field of a form that was left empty asks for nothing.
pub(super) fn filled(field: &Option<String>) -> Option<String> {
    field.as_ref().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Asked {
    fn which(&self) -> Calls {
        Calls {
            agent: filled(&self.agent),
            tenant: filled(&self.tenant),
            tool: filled(&self.tool),
            class: filled(&self.outcome).and_then(|text| Class::parse(&text)),
            code: filled(&self.code),
            before: self.before.map(Position::from_number),
            limit: Some(LINES),
            ..Calls::default()
        }
    }

    /// The same question at another place, as an address.
    fn at(&self, before: Option<i64>, since: Option<i64>) -> String {
        let asked = Self { before, since, ..self.clone() };
        format!("/console/activity?{}", serde_urlencoded::to_string(asked).unwrap_or_default())
    }
}

#[derive(Template)]
#[template(path = "activity.html")]
struct Page {
    frame: Frame,
    agent: String,
    tenant: String,
    tool: String,
    outcome: String,
    code: String,
    outcomes: Vec<(&'static str, &'static str)>,
    lines: Vec<Row>,
    next: Option<String>,
    /// Where what is new is asked for; not on a page of what is old.
    again: Option<String>,
    /// How many more there were since the page was brought up to date last.
    more: u64,
}

pub(super) struct Row {
    pub(super) at: Moment,
    pub(super) call: Option<String>,
    pub(super) agent: String,
    pub(super) tenant: String,
    pub(super) tool: String,
    pub(super) class: (&'static str, &'static str),
    pub(super) code: String,
    pub(super) took: String,
    pub(super) count: u64,
    pub(super) draft: Option<String>,
}

pub(super) fn row(line: Line) -> Row {
    let name = |text: Option<String>| text.as_deref().map_or_else(|| "–".to_owned(), show::text);
    let claimed =
        line.claimed.as_deref().map(|claimed| format!("“{}”", show::cut(&show::text(claimed))));
    Row {
        at: show::moment(line.at),
        call: line.call,
        agent: name(line.agent),
        tenant: name(line.tenant),
        tool: line.tool.map(|tool| show::text(&tool)).or(claimed).unwrap_or_else(|| "–".to_owned()),
        // Not "failed", which would say that nothing happened.
        class: show::class(if line.unsure { Class::Unknown } else { line.class }),
        code: line.code.as_deref().map(show::text).unwrap_or_default(),
        took: line.duration_us.map(show::duration).unwrap_or_default(),
        count: line.count,
        draft: line.draft,
    }
}

/// `GET /console/activity`
pub(super) async fn page(
    State(console): State<Console>,
    Extension(seen): Who,
    Ask(asked): Ask<Asked>,
) -> Response {
    match listed(&console, &seen, asked).await {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, "/console/activity"),
    }
}

async fn listed(console: &Console, seen: &Seen, asked: Asked) -> Result<Page, Barred> {
    let tenants = seen.visitor.sees(Sight::Activity)?;
    let which = asked.which();
    let page = console.doors.ledger.calls(which.clone(), tenants).await.map_err(unread)?;
    let since = asked.since.map(Position::from_number);
    // What is new is counted from where the page stood; a new page stands where its newest line is.
    let news = match since.filter(|_| which.before.is_none()) {
        Some(since) => Some(
            console
                .doors
                .ledger
                .calls_after(since, which.clone(), tenants)
                .await
                .map_err(unread)?,
        ),
        None => None,
    };
    let newest = page.items.iter().map(|line| line.position).max();
    let stands = news.as_ref().map(|news| news.position).or(newest).unwrap_or(Position::START);
    let said = |field: &Option<String>| filled(field).unwrap_or_default();
    let mut frame = seen.frame("Activity");
    frame.calls = which.before.is_none();
    Ok(Page {
        frame,
        agent: said(&asked.agent),
        tenant: said(&asked.tenant),
        tool: said(&asked.tool),
        outcome: said(&asked.outcome),
        code: said(&asked.code),
        outcomes: Class::ALL.map(|class| (class.as_str(), show::class(class).0)).into(),
        next: page.next.map(|next| asked.at(Some(next.number()), None)),
        again: which.before.is_none().then(|| asked.at(None, Some(stands.number()))),
        more: news.map_or(0, |news| news.more),
        lines: page.items.into_iter().map(row).collect(),
    })
}

// ── one call ────────────────────────────────────────────────────────────────────────────────────

#[derive(Template)]
#[template(path = "call.html")]
struct Story {
    frame: Frame,
    call: String,
    stages: Vec<Stage>,
    records: Vec<Written>,
    /// Whether what was sent and answered may be shown.
    whole: bool,
}

/// A stage of the pipeline, and what is known of it.
struct Stage {
    name: &'static str,
    how: &'static str,
    what: String,
}

/// A record, as people read it.
pub(super) struct Written {
    pub(super) at: Moment,
    pub(super) kind: String,
    pub(super) place: String,
    pub(super) members: Vec<Pair>,
    pub(super) bodies: Vec<Pair>,
    pub(super) call: Option<String>,
    /// What tells it from others of its kind, in a few words.
    pub(super) gist: Vec<String>,
}

/// `GET /console/calls/{call}`
pub(super) async fn call(
    State(console): State<Console>,
    Extension(seen): Who,
    Path(call): Path<String>,
) -> Response {
    let story = async {
        let tenants = seen.visitor.sees(Sight::Activity)?;
        let whole = seen.visitor.sees(Sight::Journal).is_ok();
        let id = CallId::new(call).map_err(|_unknown| Barred::NotFound)?;
        let records = console.doors.ledger.of_call(&id, tenants).await.map_err(unread)?;
        if records.is_empty() {
            return Err(Barred::NotFound);
        }
        let stages = stages(records.iter().map(|(_, record)| record));
        let written = records.into_iter().map(|(_, record)| written(record, whole));
        Ok(Story {
            frame: seen.frame("One call"),
            call: id.to_string(),
            stages,
            records: written.collect(),
            whole,
        })
    };
    match story.await {
        Ok(story) => shown(&story),
        Err(why) => barred(&seen, &why, "/console/activity"),
    }
}

/// Members that every record has, and say nothing by themselves.
const PLAIN: [&str; 6] = ["v", "kind", "at", "stream", "seq", "fields"];
const GIST: [&str; 6] = ["alert", "code", "status", "tool", "agent", "tenant"];

pub(super) fn written(record: Record, whole: bool) -> Written {
    let place = format!("{} / {}", record.stream(), record.sequence());
    let kind = show::text(record.text("kind").unwrap_or("?")).replace('_', " ");
    let members = record.header.iter().filter(|(name, _)| !PLAIN.contains(&name.as_str()));
    let pair =
        |(name, of): (&String, &Value)| Pair { name: show::text(name), value: measured(name, of) };
    let gist = GIST.iter().filter_map(|name| record.text(name)).map(show::text);
    Written {
        at: show::moment(record.at()),
        kind,
        place,
        members: members.map(pair).collect(),
        bodies: if whole { record.bodies.iter().map(pair).collect() } else { Vec::new() },
        call: record.text("call").map(str::to_owned),
        gist: gist.collect(),
    }
}

/// A member that is a moment or a time, both counted in microseconds, as such.
fn measured(name: &str, of: &Value) -> String {
    match (name, of.as_u64(), of.as_i64()) {
        ("duration_us", Some(took), _) => show::duration(took),
        ("expires" | "first" | "last", _, Some(at)) => show::utc(Timestamp::from_micros(at)),
        _ => show::value(of),
    }
}

/// The stages in their order, each with the refusals that stop a call there.
const STAGES: [(&str, &[&str]); 8] = [
    ("Authenticated", &["unauthenticated"]),
    ("Resolved", &["unknown_tool", "suspended", "insufficient_scope"]),
    ("Counted", &["rate_limited"]),
    ("Arguments valid", &["invalid_arguments"]),
    ("In scope", &["out_of_scope"]),
    ("Permitted by policy", &["forbidden", "undecided", "over_budget"]),
    ("Cleared", &["approval_required", "rejected", "expired", "outside_approval", "unknown_draft"]),
    ("On record", &["journal_unavailable", "stale", "conflict"]),
];

/// What is known of each stage from the records of one call.
fn stages<'a>(records: impl Iterator<Item = &'a Record> + Clone) -> Vec<Stage> {
    let of = |kind: Kind| records.clone().filter(move |record| record.kind() == Some(kind));
    let refusal = of(Kind::Refusal).last();
    let drafted = of(Kind::DraftProposed).last();
    let stopped = match (refusal, drafted) {
        (Some(refusal), _) => refusal.text("code"),
        (None, Some(_)) => Some("approval_required"),
        (None, None) => None,
    };
    let Some(first) = of(Kind::Intent).chain(refusal).chain(drafted).next() else {
        return Vec::new();
    };
    let text = |name: &str| first.text(name).map(show::text).unwrap_or_default();
    let list = |name: &str| first.header.get(name).map(show::value).unwrap_or_default();
    let told = |name: &str| match name {
        "Authenticated" => format!("{} for {}", text("agent"), text("tenant")),
        "Resolved" => text("tool"),
        "Permitted by policy" => list("policies"),
        "Cleared" => match first.text("draft") {
            Some(draft) => format!("rung {}, draft {}", list("rung"), show::text(draft)),
            None => format!("rung {}", list("rung")),
        },
        _ => String::new(),
    };
    let mut stages = Vec::new();
    for (name, codes) in STAGES {
        match stopped.filter(|code| codes.contains(code)) {
            Some(code) => {
                stages.push(Stage {
                    name,
                    how: "bad",
                    what: format!("stopped: {}", show::text(code)),
                });
                return stages;
            }
            None => stages.push(Stage { name, how: "good", what: told(name) }),
        }
    }
    if let Some(code) = stopped {
        stages.push(Stage { name: "Stopped", how: "bad", what: show::text(code) });
        return stages;
    }
    stages.extend(below(of(Kind::Outcome).last()));
    stages
}

/// What is known of a call below the watershed.
fn below(outcome: Option<&Record>) -> Vec<Stage> {
    let mut stages = Vec::new();
    let said = |name: &str| outcome.and_then(|o| o.header.get(name)).map(show::value);
    let status = outcome.and_then(|outcome| outcome.text("status"));
    let acts = outcome.is_some_and(|outcome| outcome.text("effect") != Some("read"));
    let applied = said("applied").filter(|_| acts);
    let applied = applied.map(|applied| format!("{}; ", applied.replace('_', " ")));
    let code = said("code").map(|code| format!(", {code}"));
    stages.push(match status {
        Some("ok") => Stage {
            name: "Executed",
            how: "good",
            what: format!(
                "{}{} rows",
                applied.unwrap_or_default(),
                said("rows").unwrap_or_default()
            ),
        },
        Some(status) => Stage {
            name: "Executed",
            how: "bad",
            what: format!(
                "{}{}{}",
                applied.unwrap_or_default(),
                show::text(status),
                code.unwrap_or_default()
            ),
        },
        None => Stage { name: "Executed", how: "wait", what: "under way".to_owned() },
    });
    if status == Some("ok") {
        let hidden = said("hidden_characters").filter(|n| n != "0");
        let hidden = hidden.map(|n| format!("{n} hidden characters taken out"));
        stages.push(Stage { name: "Screened", how: "good", what: hidden.unwrap_or_default() });
        stages.push(Stage { name: "Completed", how: "good", what: String::new() });
    }
    stages
}
