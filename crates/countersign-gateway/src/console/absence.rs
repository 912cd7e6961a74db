//! Who stands in for whom, and letting somebody.

use super::show::{self, Moment};
use super::{Form, Frame, Seen, Who, barred, shown, told};
use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use countersign_core::absence::Delegation;
use countersign_core::act::Act;
use countersign_core::bound::DELEGATION_S_MAX;
use countersign_core::id::{DelegationId, Timestamp};
use std::collections::BTreeSet;

const HERE: &str = "/console/drafts/absence";

#[derive(Template)]
#[template(path = "absence.html")]
struct Page {
    frame: Frame,
    away: Vec<Away>,
    /// Whether one of them is this person.
    own: bool,
    /// Who may stand in for this person.
    stand_ins: BTreeSet<String>,
    /// The first and the last day that may be the first one back.
    days: (String, String),
    anew: Option<String>,
}

struct Away {
    id: String,
    from: String,
    to: String,
    since: Moment,
    until: Moment,
    own: bool,
    endable: bool,
}

/// `GET /console/drafts/absence`
pub(super) async fn page(Extension(seen): Who) -> Response {
    let monitor = &seen.in_force.monitor;
    let (visitor, now) = (&seen.visitor, monitor.clock.now());
    let all = monitor.delegations(visitor).into_iter().map(|delegation| {
        let endable = monitor.may_end(visitor, &delegation);
        let Delegation { id, from, tenants: _, to, at, until } = delegation;
        Away {
            id: id.to_string(),
            own: from.issuer == visitor.person().who.issuer && from.id == visitor.person().who.id,
            from: show::person(&from),
            to: show::text(&to),
            since: show::moment(at),
            until: show::until(until),
            endable,
        }
    });
    let away: Vec<Away> = all.collect();
    let day = |s: u32| show::day(now.plus_secs(s));
    shown(&Page {
        frame: seen.frame("Absence"),
        own: away.iter().any(|one| one.own),
        away,
        stand_ins: monitor.stand_ins(visitor),
        days: (day(86_400), day(DELEGATION_S_MAX)),
        anew: (!seen.is_fresh(now)).then(|| seen.sign_in_anew()),
    })
}

/// `POST /console/drafts/absence`
pub(super) async fn delegate(Extension(seen): Who, body: Bytes) -> Response {
    let form = match Form::read(&seen, &body) {
        Ok(form) => form,
        Err(refused) => return *refused,
    };
    let Some(until) = begins(form.one("back")) else {
        return told(Some(&seen), StatusCode::BAD_REQUEST, "Say which day: nothing was done.");
    };
    done(&seen, Act::Delegate { to: form.one("to").to_owned(), until }).await
}

/// `POST /console/drafts/absence/end`
pub(super) async fn end(Extension(seen): Who, body: Bytes) -> Response {
    let form = match Form::read(&seen, &body) {
        Ok(form) => form,
        Err(refused) => return *refused,
    };
    let Ok(id) = DelegationId::new(form.one("delegation")) else {
        return told(Some(&seen), StatusCode::BAD_REQUEST, "Say which: nothing was done.");
    };
    done(&seen, Act::Return(Some(id))).await
}

async fn done(seen: &Seen, act: Act) -> Response {
    match seen.act(act).await {
        Ok(_done) => Redirect::to(HERE).into_response(),
        Err(why) => barred(seen, &why, HERE),
    }
}

/// The first moment of a day (UTC).
fn begins(day: &str) -> Option<Timestamp> {
    let day: jiff::civil::Date = day.parse().ok()?;
    let begins = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_secs(begins.timestamp().as_second()))
}
