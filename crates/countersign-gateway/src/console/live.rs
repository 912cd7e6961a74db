//! Pages that are open are told that something has changed; what, they ask for.

use super::{Console, Who, told};
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
use futures_util::stream;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often it is looked whether something has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a stream says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// `GET /console/events`: an event named `drafts` whenever drafts, switches or unknown outcomes have
/// changed. It ends with the session that it belongs to.
pub(super) async fn events(State(console): State<Console>, Extension(seen): Who) -> Response {
    let Ok(room) = Arc::clone(&console.live).try_acquire_owned() else {
        return told(Some(&seen), StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.");
    };
    let begun = seen.in_force.monitor.register.moved();
    let state = (console, seen.session.token, begun, room);
    let events = stream::unfold(state, async |(console, token, mut known, room)| {
        loop {
            sleep(LOOK_EVERY).await;
            let in_force = console.doors.in_force.load_full();
            let _visitor = in_force.monitor.welcome(&Credential::bearer(&*token)).await.ok()?;
            let moved = in_force.monitor.register.moved();
            if moved != known {
                known = moved;
                let event = Event::default().event("drafts").data(moved.to_string());
                return Some((Ok::<_, Infallible>(event), (console, token, known, room)));
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response()
}
