//! Effects of which nobody knows whether they took place, and what somebody says who looked.

use super::show::{self, Moment};
use super::{Ask, Form, Frame, Who, barred, shown, told};
use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use countersign_core::act::{Act, Barred};
use countersign_core::draft::UnknownOutcome;
use countersign_core::id::CallId;
use countersign_core::sight::Sight;
use serde::Deserialize;

#[derive(Template)]
#[template(path = "unknown.html")]
struct Page {
    frame: Frame,
    resolved: bool,
    lines: Vec<Line>,
    operates: bool,
}

struct Line {
    call: String,
    at: Moment,
    agent: String,
    tenant: String,
    tool: String,
    system: String,
    draft: Option<String>,
    said: Option<(bool, String, Moment, String)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    resolved: bool,
}

/// `GET /console/unknown`
pub(super) async fn page(Extension(seen): Who, Ask(Asked { resolved }): Ask<Asked>) -> Response {
    let listed = async {
        seen.visitor.sees(Sight::Activity)?;
        seen.in_force.monitor.unknown_outcomes(&seen.visitor, resolved).await
    };
    match listed.await {
        Ok(unknown) => shown(&Page {
            frame: seen.frame("Unknown outcomes"),
            resolved,
            lines: unknown.into_iter().map(line).collect(),
            operates: seen.visitor.operates(),
        }),
        Err(why) => barred(&seen, &why, "/console/unknown"),
    }
}

fn line(unknown: UnknownOutcome) -> Line {
    let UnknownOutcome { call, at, agent, tenant, tool, system, draft, resolved } = unknown;
    Line {
        call: call.to_string(),
        at: show::moment(at),
        agent: agent.to_string(),
        tenant: show::text(tenant.as_str()),
        tool: tool.to_string(),
        system: system.to_string(),
        draft: draft.map(|draft| draft.to_string()),
        said: resolved.map(|(decided, happened)| {
            let by = show::decided(&decided);
            let reason = decided.reason.as_deref().map(show::text).unwrap_or_default();
            (happened, by, show::moment(decided.at), reason)
        }),
    }
}

/// `POST /console/unknown/{call}/resolve`
pub(super) async fn resolve(
    Extension(seen): Who,
    Path(call): Path<String>,
    body: Bytes,
) -> Response {
    const HERE: &str = "/console/unknown";
    let form = match Form::read(&seen, &body) {
        Ok(form) => form,
        Err(refused) => return *refused,
    };
    let happened = match form.one("happened") {
        "yes" => true,
        "no" => false,
        _ => {
            return told(
                Some(&seen),
                StatusCode::BAD_REQUEST,
                "Say whether it happened: nothing was done.",
            );
        }
    };
    let done = async {
        let call = CallId::new(call).map_err(|_unknown| Barred::NotFound)?;
        seen.act(Act::Resolve { call, happened, reason: form.reason() }).await
    };
    match done.await {
        Ok(_done) => Redirect::to(HERE).into_response(),
        Err(why) => barred(&seen, &why, HERE),
    }
}
