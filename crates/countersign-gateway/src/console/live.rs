//! Pages that are open are told that something has changed; what, they ask for.

use super::{Ask, Console, Session, Who, told};
use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use countersign_core::port::Credential;
use countersign_core::reading::{Calls, Position};
use countersign_core::sight::Sight;
use futures_util::stream;
use serde::Deserialize;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

/// Where events are asked for.
pub(super) const PATH: &str = "/console/events";
/// How often it is looked whether something has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a stream says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// `GET` of [`PATH`]: an event named `drafts` whenever drafts, switches or unknown outcomes have
/// changed, and at first if they have since the page was made; with `calls=true` also one named `calls`
/// whenever there are new ones. It ends with the session that it belongs to, and says so: `over`.
pub(super) async fn events(
    State(console): State<Console>,
    Extension(seen): Who,
    Ask(Asked { since, calls }): Ask<Asked>,
) -> Response {
    // Whoever opens many is in nobody else's way.
    let own = Arc::clone(&seen.session.live).try_acquire_owned();
    let Ok(room) = own.and_then(|own| Ok((own, Arc::clone(&console.live).try_acquire_owned()?)))
    else {
        return told(Some(&seen), StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.");
    };
    let pages = Pages {
        drafts: since.unwrap_or(seen.moved),
        calls: calls.then_some(Position::START),
        console,
        session: seen.session,
        _room: room,
    };
    let events = stream::unfold(Some(pages), async |pages| {
        let mut pages = pages?;
        Some(match pages.next().await {
            Some(event) => (Ok::<_, Infallible>(event), Some(pages)),
            None => (Ok(Event::default().event("over").data("signed out")), None),
        })
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// How far they had moved when the page was made: what happens before it listens is told as well.
    since: Option<u64>,
    #[serde(default)]
    calls: bool,
}

/// What the pages of one stream were told last.
struct Pages {
    console: Console,
    session: Session,
    drafts: u64,
    /// `None` if they do not want to know.
    calls: Option<Position>,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Pages {
    /// Waits for something new. `None` once the session is over, or its token does not count any more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            sleep(LOOK_EVERY).await;
            if !self.console.sessions.lasts(&self.session, self.console.now()) {
                return None;
            }
            let in_force = self.console.doors.in_force.load_full();
            let credential = Credential::bearer(&*self.session.token);
            let visitor = in_force.monitor.welcome(&credential).await.ok()?;
            let drafts = in_force.monitor.register.moved();
            if drafts != self.drafts {
                self.drafts = drafts;
                return Some(Event::default().event("drafts").data("changed"));
            }
            let (Some(position), Ok(tenants)) = (self.calls, visitor.sees(Sight::Activity)) else {
                continue;
            };
            let one = Calls { limit: Some(1), ..Calls::default() };
            match self.console.doors.ledger.calls_after(position, one, tenants).await {
                Ok(news) if news.position != position => {
                    self.calls = Some(news.position);
                    return Some(Event::default().event("calls").data("changed"));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}
