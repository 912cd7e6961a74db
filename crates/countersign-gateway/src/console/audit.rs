//! The journal for those who read it: search, export, the chain's state, and what people were told of.

use super::activity::{Written, filled, written};
use super::relaying::{self, Row, Watched};
use super::show::{self, Moment};
use super::{Ask, Console, Form, Frame, Seen, Who, barred, shown, unread};
use askama::Template;
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use countersign_core::act::Barred;
use countersign_core::alert::Rule;
use countersign_core::id::Timestamp;
use countersign_core::reading::{Position, Search};
use countersign_core::record::Kind;
use countersign_core::sight::Sight;
use futures_util::stream;
use serde::{Deserialize, Serialize};

/// Records on a page.
const RECORDS: u32 = 50;
/// Records in one export; whoever needs more uses `countersign audit export`.
const EXPORTED_MAX: usize = 100_000;

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(super) struct Asked {
    since: Option<String>,
    until: Option<String>,
    kind: Option<String>,
    agent: Option<String>,
    tenant: Option<String>,
    tool: Option<String>,
    code: Option<String>,
    call: Option<String>,
    draft: Option<String>,
    before: Option<i64>,
}

/// A moment as forms send it (UTC) or as addresses have it.
fn moment(field: &Option<String>) -> Option<Timestamp> {
    let text = filled(field)?;
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let civil =
        || text.parse::<jiff::civil::DateTime>().ok()?.in_tz("UTC").ok().map(|at| at.timestamp());
    let at = zoned.or_else(civil)?;
    Some(Timestamp::from_micros(at.as_microsecond()))
}

impl Asked {
    fn which(&self) -> Search {
        Search {
            since: moment(&self.since),
            until: moment(&self.until),
            kind: filled(&self.kind).and_then(|kind| Kind::parse(&kind)),
            agent: filled(&self.agent),
            tenant: filled(&self.tenant),
            tool: filled(&self.tool),
            code: filled(&self.code),
            call: filled(&self.call),
            draft: filled(&self.draft),
            before: self.before.map(Position::from_number),
            limit: Some(RECORDS),
            ..Search::default()
        }
    }

    fn at(&self, path: &str, before: Option<i64>) -> String {
        let asked = Self { before, ..self.clone() };
        format!("{path}?{}", serde_urlencoded::to_string(asked).unwrap_or_default())
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    frame: Frame,
    fields: Vec<(&'static str, &'static str, String)>,
    kind: String,
    kinds: Vec<(&'static str, String)>,
    since: String,
    until: String,
    records: Vec<Written>,
    next: Option<String>,
    export: String,
    chain: State_,
    exporters: Vec<Row>,
}

/// How the journal stands.
struct State_ {
    behind: u64,
    behind_s: u64,
    verifying: bool,
    verified: Option<(Moment, u64, u64, Vec<String>)>,
    streams: Vec<(String, u64, String, bool)>,
    streams_count: u64,
}

/// `GET /console/audit`
pub(super) async fn page(
    State(console): State<Console>,
    Extension(seen): Who,
    Ask(asked): Ask<Asked>,
) -> Response {
    match found(&console, &seen, asked).await {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, "/console/audit"),
    }
}

async fn found(console: &Console, seen: &Seen, asked: Asked) -> Result<Page, Barred> {
    let tenants = seen.visitor.sees(Sight::Journal)?;
    let page = console.doors.ledger.records(asked.which(), tenants).await.map_err(unread)?;
    let chain = console.doors.ledger.chain(tenants).await.map_err(unread)?;
    let exporters = console.doors.relay.status().exporters.into_iter();
    let exporters = exporters.map(|exporter| relaying::exporter(seen, exporter)).collect();
    let said = |field: &Option<String>| filled(field).unwrap_or_default();
    let verified = chain.verified.map(|verified| {
        (show::moment(verified.ended), verified.records, verified.wrong, verified.findings)
    });
    let streams = chain
        .streams
        .into_iter()
        .map(|end| (end.stream, end.sequence, end.hash.to_string(), end.closed));
    Ok(Page {
        frame: seen.frame("Audit"),
        fields: vec![
            ("agent", "Agent", said(&asked.agent)),
            ("tenant", "Tenant", said(&asked.tenant)),
            ("tool", "Tool", said(&asked.tool)),
            ("code", "Code", said(&asked.code)),
            ("call", "Call", said(&asked.call)),
            ("draft", "Draft", said(&asked.draft)),
        ],
        kind: said(&asked.kind),
        kinds: Kind::ALL.map(|kind| (kind.as_str(), kind.as_str().replace('_', " "))).into(),
        since: said(&asked.since),
        until: said(&asked.until),
        next: page.next.map(|next| asked.at("/console/audit", Some(next.number()))),
        export: asked.at("/console/audit/export", None),
        exporters,
        records: page.items.into_iter().map(|(_, record)| written(record, true)).collect(),
        chain: State_ {
            behind: chain.behind.records,
            behind_s: chain.behind.micros.div_euclid(1_000_000),
            verifying: chain.verifying,
            verified,
            streams: streams.collect(),
            streams_count: chain.streams_count,
        },
    })
}

/// `GET /console/audit/export`: what was searched for as JSON lines, newest first.
pub(super) async fn export(
    State(console): State<Console>,
    Extension(seen): Who,
    Ask(asked): Ask<Asked>,
) -> Response {
    if let Err(why) = seen.visitor.sees(Sight::Journal) {
        return barred(&seen, &why, "/console/audit");
    }
    let which = Search { limit: None, ..asked.which() };
    let begun = (console, seen, Some(which), EXPORTED_MAX);
    let lines = stream::try_unfold(begun, async |(console, seen, which, left)| {
        let Some(which) = which.filter(|_| left > 0) else { return Ok(None) };
        let tenants = seen.visitor.sees(Sight::Journal).map_err(|why| why.message())?;
        let page = console
            .doors
            .ledger
            .records(which.clone(), tenants)
            .await
            .map_err(|e| e.to_string())?;
        let count = page.items.len();
        let mut text = String::new();
        for (_, record) in page.items.into_iter().take(left) {
            text.push_str(&record.into_json().to_string());
            text.push('\n');
        }
        let next = page.next.map(|before| Search { before: Some(before), ..which });
        let left = left.saturating_sub(count);
        Ok::<_, String>(Some((text, (console, seen, next, left))))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"journal.jsonl\""),
        ),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

/// `POST /console/audit/verify`
pub(super) async fn verify(
    State(console): State<Console>,
    Extension(seen): Who,
    body: Bytes,
) -> Response {
    if let Err(refused) = Form::read(&seen, &body) {
        return *refused;
    }
    match seen.visitor.sees(Sight::Journal) {
        Ok(_tenants) => {
            console.doors.ledger.verify();
            Redirect::to("/console/audit").into_response()
        }
        Err(why) => barred(&seen, &why, "/console/audit"),
    }
}

// ── alerts ──────────────────────────────────────────────────────────────────────────────────────

#[derive(Template)]
#[template(path = "alerts.html")]
struct Alerts {
    frame: Frame,
    lines: Vec<Alert>,
    next: Option<String>,
    destinations: Vec<Row>,
    rules: Vec<Watched>,
}

struct Alert {
    at: Moment,
    what: String,
    /// What happened and what to do about it, if it is of a rule.
    told: Option<(&'static str, &'static str)>,
    agent: String,
    tenant: String,
    tool: String,
    call: Option<String>,
    draft: Option<String>,
    count: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Earlier {
    before: Option<i64>,
}

/// `GET /console/alerts`
pub(super) async fn alerts(
    State(console): State<Console>,
    Extension(seen): Who,
    Ask(Earlier { before }): Ask<Earlier>,
) -> Response {
    let listed = async {
        let tenants = seen.visitor.sees(Sight::Activity)?;
        let before = before.map(Position::from_number);
        let which = Search { alerts: true, before, limit: Some(RECORDS), ..Search::default() };
        let page = console.doors.ledger.records(which, tenants).await.map_err(unread)?;
        let lines = page.items.into_iter().map(|(_, record)| {
            let text = |name: &str| record.text(name).map_or_else(|| "–".to_owned(), show::text);
            Alert {
                at: show::moment(record.at()),
                what: text("alert").replace('_', " "),
                told: record
                    .text("alert")
                    .and_then(Rule::parse)
                    .map(|rule| (rule.what(), rule.advice())),
                agent: text("agent"),
                tenant: text("tenant"),
                tool: text("tool"),
                call: record.text("call").map(str::to_owned),
                draft: record.text("draft").map(str::to_owned),
                count: record.header.get("count").and_then(serde_json::Value::as_u64).unwrap_or(1),
            }
        });
        let next = page.next.map(|next| format!("/console/alerts?before={}", next.number()));
        let stands = console.doors.relay.status();
        let destinations = stands.destinations.into_iter();
        Ok(Alerts {
            frame: seen.frame("Alerts"),
            lines: lines.collect(),
            next,
            destinations: destinations.map(|to| relaying::destination(&seen, to)).collect(),
            rules: stands.rules.into_iter().map(relaying::watched).collect(),
        })
    };
    match listed.await {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, "/console/alerts"),
    }
}
