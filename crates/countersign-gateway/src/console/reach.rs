//! What agents may reach.

use super::{Frame, Seen, Who, barred, show, shown};
use crate::door::ReachOf;
use askama::Template;
use axum::{Extension, response::Response};
use countersign_core::act::Barred;
use countersign_core::sight::Sight;

#[derive(Template)]
#[template(path = "reach.html")]
struct Page<'a> {
    frame: Frame,
    posture: String,
    picture: &'a str,
    agents: Vec<Of>,
}

struct Of {
    name: String,
    tables: [(&'static str, Table); 2],
}

/// Its header, and its rows; each cell by its lines.
type Table = (Vec<String>, Vec<Vec<Vec<String>>>);

/// `GET /console/reach`
pub(super) async fn page(Extension(seen): Who) -> Response {
    match told(&seen) {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, "/console/reach"),
    }
}

fn told(seen: &Seen) -> Result<Page<'_>, Barred> {
    seen.visitor.sees(Sight::Reach)?;
    let reach = &seen.in_force.reach;
    let agents = reach.agents.iter().map(|ReachOf { name, tools, worst }| Of {
        name: show::text(name),
        tables: [
            ("What it may use", table(tools)),
            ("The worst that it comes to, for each tenant", table(worst)),
        ],
    });
    Ok(Page {
        frame: seen.frame("What agents may reach"),
        posture: seen.in_force.monitor.posture.digest.to_string(),
        picture: &reach.picture,
        agents: agents.collect(),
    })
}

fn table(rows: &[Vec<String>]) -> Table {
    let cell = |text: &String| text.lines().map(show::text).collect::<Vec<_>>();
    let header = rows.first().into_iter().flatten().map(|name| show::text(name)).collect();
    (header, rows.iter().skip(1).map(|row| row.iter().map(cell).collect()).collect())
}
