//! What agents may reach.

use super::{Ask, Frame, Seen, Who, barred, show, shown};
use crate::door::ReachOf;
use askama::Template;
use axum::{Extension, response::Response};
use countersign_core::act::Barred;
use countersign_core::sight::Sight;
use serde::Deserialize;

/// Most grants that one page draws and tells of all agents. Where there are more, it is one agent at a
/// time, and not drawn.
const GRANTS_MAX: usize = 500;

#[derive(Deserialize)]
pub(super) struct Asked {
    agent: Option<String>,
}

#[derive(Template)]
#[template(path = "reach.html")]
struct Page<'a> {
    frame: Frame,
    posture: String,
    picture: &'a str,
    agents: Vec<Of>,
    /// Whom to choose from, where there are too many for one page.
    names: Vec<String>,
}

struct Of {
    name: String,
    tables: [(&'static str, Table); 2],
}

/// Its header, and its rows; each cell by its lines.
type Table = (Vec<String>, Vec<Vec<Vec<String>>>);

/// `GET /console/reach`
pub(super) async fn page(Extension(seen): Who, Ask(asked): Ask<Asked>) -> Response {
    match told(&seen, asked.agent.as_deref()) {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, "/console/reach"),
    }
}

fn told<'a>(seen: &'a Seen, asked: Option<&str>) -> Result<Page<'a>, Barred> {
    seen.visitor.sees(Sight::Reach)?;
    let reach = &seen.in_force.reach;
    let grants: usize = reach.agents.iter().map(|of| of.tools.len().saturating_sub(1)).sum();
    let whole = grants <= GRANTS_MAX;
    let shown = reach.agents.iter().filter(|of| asked.map_or(whole, |name| of.name == name));
    let agents = shown.map(|ReachOf { name, tools, worst }| Of {
        name: show::text(name),
        tables: [
            ("What it may use", table(tools)),
            ("The worst that it comes to, for each tenant", table(worst)),
        ],
    });
    Ok(Page {
        frame: seen.frame("What agents may reach"),
        posture: seen.in_force.monitor.posture.digest.to_string(),
        picture: if whole { &reach.picture } else { "" },
        agents: agents.collect(),
        names: match whole {
            true => Vec::new(),
            false => reach.agents.iter().map(|of| of.name.clone()).collect(),
        },
    })
}

fn table(rows: &[Vec<String>]) -> Table {
    let cell = |text: &String| text.lines().map(show::text).collect::<Vec<_>>();
    let header = rows.first().into_iter().flatten().map(|name| show::text(name)).collect();
    (header, rows.iter().skip(1).map(|row| row.iter().map(cell).collect()).collect())
}
