//! The queue of drafts, and what somebody sees who decides about one.

use super::activity::{Row, row};
use super::show::{self, Gauge, Moment, Pair, Table};
use super::{Ask, Console, Form, Frame, Seen, Who, barred, shown, told};
use crate::door::admin::{place, place_in};
use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use countersign_core::act::{Act, Barred};
use countersign_core::args;
use countersign_core::bound::{DRAFTS_LISTED_MAX, DRAFTS_LIVE_MAX};
use countersign_core::draft::{Draft, State as Stage};
use countersign_core::id::DraftId;
use countersign_core::person::Tenants;
use countersign_core::port::Which;
use countersign_core::tool::Rung;
use serde::Deserialize;
use serde_json::Value;

/// Why people usually say no; the model reads it.
const PRESETS: [&str; 4] = [
    "The customer did not ask for this.",
    "The amount or the recipient is wrong.",
    "More information is needed first.",
    "It was done already.",
];

/// Calls of a session shown beside a draft.
const HISTORY_MAX: usize = 30;

/// Drafts on a page of the queue.
const LINES: usize = 50;

/// Pages of the register that are looked through for one of those: all drafts that may be live.
const LOOKED_THROUGH_MAX: usize = DRAFTS_LIVE_MAX.div_ceil(DRAFTS_LISTED_MAX);

/// Most drafts decided about together.
const TOGETHER_MAX: usize = 20;

// ── the queue ───────────────────────────────────────────────────────────────────────────────────

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    view: View,
    before: Option<String>,
}

/// Which drafts are listed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum View {
    /// Those that wait for this person.
    #[default]
    Mine,
    /// All that wait.
    All,
    /// All that somebody decided about, or nobody in time.
    Done,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct Queue {
    frame: Frame,
    view: View,
    lines: Vec<Line>,
    next: Option<String>,
    /// What an empty page says.
    empty: &'static str,
}

struct Line {
    id: String,
    summary: String,
    tool: String,
    tenant: String,
    agent: String,
    rung: u8,
    stage: (&'static str, &'static str),
    proposed: Moment,
    expires: Moment,
    decided: Option<String>,
    yours: bool,
    /// Drafts of the same session that wait as well.
    beside: usize,
}

/// `GET /console/drafts`
pub(super) async fn queue(Extension(seen): Who, Ask(asked): Ask<Asked>) -> Response {
    match listed(&seen, &asked).await {
        Ok(queue) => shown(&queue),
        Err(why) => barred(&seen, &why, "/console/drafts"),
    }
}

async fn listed(seen: &Seen, asked: &Asked) -> Result<Queue, Barred> {
    let monitor = &seen.in_force.monitor;
    let state = (asked.view != View::Done).then_some(Stage::Waiting);
    let fits = |draft: &Draft| match asked.view {
        View::Mine => monitor.could_approve(&seen.visitor, draft),
        View::All => true,
        View::Done => draft.state != Stage::Waiting,
    };
    // What waits for this person may stand behind a thousand that wait for others.
    let mut fitting = Vec::new();
    let mut next = asked.before.as_deref().and_then(place_in);
    for _ in 0..LOOKED_THROUGH_MAX {
        let which = Which { state, before: next.take(), ..Which::default() };
        let (drafts, behind) = monitor.queue(&seen.visitor, which).await?;
        fitting.extend(drafts.into_iter().filter(fits));
        next = behind;
        if next.is_none() || fitting.len() >= LINES {
            break;
        }
    }
    if let Some(last) = fitting.get(LINES.saturating_sub(1)).filter(|_| fitting.len() > LINES) {
        next = Some((last.proposed, Some(last.id.clone())));
        fitting.truncate(LINES);
    }
    let sessions: Vec<_> = fitting.iter().map(|draft| draft.principal.session()).collect();
    let lines = fitting.iter().zip(&sessions).map(|(draft, session)| {
        let of_session = sessions.iter().filter(|other| *other == session);
        Line { beside: of_session.count().saturating_sub(1), ..line(seen, draft) }
    });
    let (title, empty) = match asked.view {
        View::Mine => (
            "Waiting for you",
            "Nothing waits for you. When an agent drafts something that you may decide about, it appears here by itself.",
        ),
        View::All => ("All that waits", "Nothing waits for anybody that you may see."),
        View::Done => ("Done", "Nothing has been decided yet."),
    };
    Ok(Queue {
        frame: seen.frame(title),
        view: asked.view,
        lines: lines.collect(),
        next: next.map(place),
        empty,
    })
}

impl View {
    const fn name(self) -> &'static str {
        match self {
            Self::Mine => "mine",
            Self::All => "all",
            Self::Done => "done",
        }
    }
}

// ── one draft ───────────────────────────────────────────────────────────────────────────────────

#[derive(Template)]
#[template(path = "draft.html")]
struct Page {
    frame: Frame,
    draft: Whole,
    /// Where to prove anew who one is, if that is what it takes.
    anew: Option<String>,
    presets: [&'static str; 4],
    /// Others of the session that this person could decide about with it.
    beside: usize,
    /// What its session did before and since, the newest first; `None` if that cannot be read now.
    history: Option<Vec<Past>>,
    /// Whether there is more of it.
    longer: bool,
}

/// A call of the draft's session.
struct Past {
    row: Row,
    arguments: String,
    rows: Option<u64>,
}

#[derive(Template)]
#[template(path = "together.html")]
struct Together {
    frame: Frame,
    drafts: Vec<Whole>,
    anew: Option<String>,
    presets: [&'static str; 4],
}

/// All that somebody needs who decides.
struct Whole {
    id: String,
    summary: String,
    tool: String,
    system: String,
    tenant: String,
    agent: String,
    owner: Option<String>,
    subject: String,
    rung: u8,
    effect: &'static str,
    stage: (&'static str, &'static str),
    waiting: bool,
    arguments: Vec<Pair>,
    /// What nobody could read of it.
    unreadable: bool,
    approvers: Option<String>,
    /// Who stands in for one of them: who, for whom, until when.
    standing_in: Vec<(String, String, Moment)>,
    previewable: bool,
    may_approve: bool,
    /// Why not, if they see it and may not.
    why_not: Option<String>,
    yours: bool,
    withdrawable: bool,
    proposed: Moment,
    expires: Moment,
    budgets: Vec<Gauge>,
    decided: Option<(String, Moment, Option<String>)>,
    outcome: Option<String>,
    same_as: Option<String>,
    others: Vec<Line>,
}

/// `GET /console/drafts/{id}`
pub(super) async fn page(
    State(console): State<Console>,
    Extension(seen): Who,
    Path(id): Path<String>,
) -> Response {
    let here = format!("/console/drafts/{id}");
    match one(&console, &seen, id).await {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, &here),
    }
}

async fn one(console: &Console, seen: &Seen, id: String) -> Result<Page, Barred> {
    let draft = found(seen, id).await?;
    let beside = session_of(seen, &draft).await?;
    let could = |other: &&Draft| {
        other.state == Stage::Waiting && seen.in_force.monitor.could_approve(&seen.visitor, other)
    };
    let count = beside.iter().filter(could).count();
    let whole = whole(seen, &draft, &beside);
    let (history, longer) = history(console, &draft).await;
    Ok(Page {
        history,
        longer,
        frame: seen.frame(whole.summary.clone()),
        anew: anew(seen, [&draft]),
        beside: if whole.may_approve { count } else { 0 },
        draft: whole,
        presets: PRESETS,
    })
}

/// What a draft's session did. Whoever may see the draft may see that: it is what led to it.
async fn history(console: &Console, draft: &Draft) -> (Option<Vec<Past>>, bool) {
    let tenants = Tenants::Of([draft.principal.tenant.clone()].into());
    let session = draft.principal.session();
    match console.doors.ledger.of_session(session, None, &tenants).await {
        Ok(page) => {
            let longer = page.next.is_some() || page.items.len() > HISTORY_MAX;
            let past = page.items.into_iter().take(HISTORY_MAX).map(|call| Past {
                arguments: call
                    .arguments
                    .as_ref()
                    .map(|of| show::cut(&show::text(&of.to_string())))
                    .unwrap_or_default(),
                rows: call.rows,
                row: row(call.line),
            });
            (Some(past.collect()), longer)
        }
        Err(why) => {
            tracing::warn!(%why, "what a session did cannot be read");
            (None, false)
        }
    }
}

/// Where to prove anew who one is, if one of these asks for that and the sign-in is too old.
fn anew<'a>(seen: &Seen, drafts: impl IntoIterator<Item = &'a Draft>) -> Option<String> {
    let strict = drafts.into_iter().any(|draft| draft.rung >= Rung::NAMED);
    let now = seen.in_force.monitor.clock.now();
    (strict && !seen.is_fresh(now)).then(|| seen.sign_in_anew())
}

async fn found(seen: &Seen, id: String) -> Result<Draft, Barred> {
    let id = DraftId::new(id).map_err(|_unknown| Barred::NotFound)?;
    seen.in_force.monitor.look_at(&seen.visitor, &id).await
}

/// What else its session has drafted, as far as this person may see it.
async fn session_of(seen: &Seen, draft: &Draft) -> Result<Vec<Draft>, Barred> {
    let which = Which {
        tenant: Some(draft.principal.tenant.clone()),
        agent: Some(draft.agent.clone()),
        ..Which::default()
    };
    let (drafts, _) = seen.in_force.monitor.queue(&seen.visitor, which).await?;
    let session = draft.principal.session();
    let others = drafts.into_iter();
    Ok(others
        .filter(|other| other.id != draft.id && other.principal.session() == session)
        .collect())
}

fn whole(seen: &Seen, draft: &Draft, beside: &[Draft]) -> Whole {
    let monitor = &seen.in_force.monitor;
    let (visitor, now) = (&seen.visitor, monitor.clock.now());
    let gate = monitor.gate_of(draft);
    let arguments = args::parse(&draft.arguments).ok();
    let arguments = arguments.as_ref().and_then(Value::as_object);
    let effect = monitor.tool_of(draft).map(|tool| show::effect(tool.effect));
    let waiting = draft.state == Stage::Waiting && now < draft.expires;
    let may = monitor.may_approve(visitor, draft);
    let yours = monitor.is_theirs(visitor, draft);
    let stage = match (draft.state, gate) {
        (Stage::Waiting, _) if !waiting => ("expired", "calm"),
        (Stage::Waiting, None) => ("overtaken: what governs it has changed", "calm"),
        (state, _) => show::state(state),
    };
    Whole {
        id: draft.id.to_string(),
        summary: show::text(&draft.summary),
        tool: draft.tool.to_string(),
        system: draft.system.to_string(),
        tenant: show::text(draft.principal.tenant.as_str()),
        agent: draft.agent.to_string(),
        owner: seen
            .in_force
            .owner(&draft.agent)
            .map(|owner| show::text(&format!("{} ({})", owner.team, owner.contact))),
        subject: show::text(draft.principal.subject.as_str()),
        rung: draft.rung.number(),
        effect: effect.unwrap_or("What it would do is not declared any more."),
        stage,
        waiting: waiting && gate.is_some(),
        unreadable: arguments.is_none(),
        arguments: arguments.map(show::pairs).unwrap_or_default(),
        approvers: gate.map(|gate| show::approvers(&gate.approvers)),
        standing_in: monitor
            .standing_in(draft)
            .into_iter()
            .map(|one| (show::text(&one.to), show::person(&one.from), show::until(one.until)))
            .collect(),
        previewable: waiting && gate.is_some_and(|gate| gate.preview.is_some()),
        may_approve: waiting && gate.is_some() && may.is_ok(),
        why_not: may.err().filter(|_| waiting).map(|why| why.message()),
        yours,
        withdrawable: draft.state.is_live() && waiting && (yours || visitor.operates()),
        proposed: show::moment(draft.proposed),
        expires: show::until(draft.expires),
        budgets: monitor.budgets_of(draft).into_iter().map(show::gauge).collect(),
        decided: draft.decided.as_ref().map(|decided| {
            (
                show::decided(decided),
                show::moment(decided.at),
                decided.reason.as_deref().map(show::text),
            )
        }),
        outcome: draft.outcome.as_ref().map(|outcome| {
            let known = outcome.applied.as_str().replace('_', " ");
            let code = outcome.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            format!("{known}{code}")
        }),
        same_as: draft.same_as.as_ref().map(ToString::to_string),
        others: beside.iter().map(|other| line(seen, other)).collect(),
    }
}

fn line(seen: &Seen, draft: &Draft) -> Line {
    Line {
        id: draft.id.to_string(),
        summary: show::cut(&show::text(&draft.summary)),
        tool: draft.tool.to_string(),
        tenant: show::text(draft.principal.tenant.as_str()),
        agent: draft.agent.to_string(),
        rung: draft.rung.number(),
        stage: show::state(draft.state),
        proposed: show::moment(draft.proposed),
        expires: show::until(draft.expires),
        decided: draft.decided.as_ref().map(show::decided),
        yours: seen.in_force.monitor.is_theirs(&seen.visitor, draft),
        beside: 0,
    }
}

#[derive(Template)]
#[template(path = "preview.html")]
struct Preview {
    table: Table,
}

#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(default)]
    part: bool,
}

/// `GET /console/drafts/{id}/preview`: what its query finds now. Asking is on record.
pub(super) async fn preview(
    Extension(seen): Who,
    Path(id): Path<String>,
    Ask(Part { part }): Ask<Part>,
) -> Response {
    let found = async {
        let id = DraftId::new(id.clone()).map_err(|_unknown| Barred::NotFound)?;
        seen.in_force.monitor.preview(&seen.visitor, &id).await
    };
    match found.await {
        Ok(found) => {
            let table = show::table(&found.rows, found.truncated);
            match part {
                true => shown(&Preview { table }),
                false => shown(&PreviewPage { frame: seen.frame("Preview"), id, table }),
            }
        }
        Err(why) if part => (StatusCode::OK, why.message()).into_response(),
        Err(why) => barred(&seen, &why, &format!("/console/drafts/{id}")),
    }
}

#[derive(Template)]
#[template(path = "preview_page.html")]
struct PreviewPage {
    frame: Frame,
    id: String,
    table: Table,
}

/// `GET /console/drafts/{id}/together`: it and what else its session waits for, each whole.
pub(super) async fn together(Extension(seen): Who, Path(id): Path<String>) -> Response {
    let back = format!("/console/drafts/{id}");
    let made = async {
        let draft = found(&seen, id).await?;
        let mut drafts = session_of(&seen, &draft).await?;
        drafts.insert(0, draft);
        let monitor = &seen.in_force.monitor;
        drafts.retain(|draft| {
            draft.state == Stage::Waiting && monitor.could_approve(&seen.visitor, draft)
        });
        drafts.truncate(TOGETHER_MAX);
        Ok(Together {
            frame: seen.frame(format!("{} drafts of one session", drafts.len())),
            anew: anew(&seen, &drafts),
            drafts: drafts.iter().map(|draft| whole(&seen, draft, &[])).collect(),
            presets: PRESETS,
        })
    };
    match made.await {
        Ok(together) => shown(&together),
        Err(why) => barred(&seen, &why, &back),
    }
}

// ── deciding ────────────────────────────────────────────────────────────────────────────────────

#[derive(Template)]
#[template(path = "decided.html")]
struct Decided {
    frame: Frame,
    lines: Vec<(String, String, &'static str)>,
}

/// `POST /console/drafts/decide`: approves or rejects the drafts that the form names.
pub(super) async fn decide(
    State(console): State<Console>,
    Extension(seen): Who,
    body: Bytes,
) -> Response {
    let form = match Form::read(&seen, &body) {
        Ok(form) => form,
        Err(refused) => return *refused,
    };
    let ids: Result<Vec<_>, _> = form.all("draft").map(DraftId::new).collect();
    let ids = match ids {
        Ok(ids) if (1..=TOGETHER_MAX).contains(&ids.len()) => ids,
        _ => {
            return told(
                Some(&seen),
                StatusCode::BAD_REQUEST,
                "Choose at least one draft: nothing was done.",
            );
        }
    };
    let approves = match form.one("decision") {
        "approve" => true,
        "reject" => false,
        _ => return told(Some(&seen), StatusCode::BAD_REQUEST, "Say yes or no: nothing was done."),
    };
    let mut lines = Vec::new();
    for id in &ids {
        let act = match approves {
            true => Act::Approve(id.clone()),
            false => Act::Reject(id.clone(), form.reason()),
        };
        let done = seen.act(act).await;
        if let Ok(draft) = done.as_ref().map(|done| done.approved.clone()) {
            draft.into_iter().for_each(|draft| console.driver.tend_soon(draft));
        }
        match (done, ids.len()) {
            (Ok(_), 1) => return Redirect::to(&format!("/console/drafts/{id}")).into_response(),
            (Err(why), 1) => return barred(&seen, &why, &format!("/console/drafts/{id}")),
            (Ok(_), _) => {
                let what = if approves { "approved" } else { "rejected" };
                lines.push((id.to_string(), what.to_owned(), "good"));
            }
            (Err(why), _) => lines.push((id.to_string(), why.message(), "bad")),
        }
    }
    shown(&Decided { frame: seen.frame("What was decided"), lines })
}

/// `POST /console/drafts/{id}/withdraw`
pub(super) async fn withdraw(
    Extension(seen): Who,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let form = match Form::read(&seen, &body) {
        Ok(form) => form,
        Err(refused) => return *refused,
    };
    let here = format!("/console/drafts/{id}");
    let done = async {
        let id = DraftId::new(id).map_err(|_unknown| Barred::NotFound)?;
        seen.act(Act::Withdraw(id, form.reason())).await
    };
    match done.await {
        Ok(_done) => Redirect::to(&here).into_response(),
        Err(why) => barred(&seen, &why, &here),
    }
}
