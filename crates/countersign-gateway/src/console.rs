//! The console, `/console`: what people see and decide in a browser.
//!
//! Every page is made here and works without JavaScript; with it, what changes is fetched anew. A page
//! decides nothing: who somebody is, `Monitor::welcome` says from the token that their session holds,
//! at every request; what they may, `Monitor::act` and [`Visitor::sees`].

mod absence;
mod activity;
mod agents;
mod assets;
mod audit;
mod charts;
mod drafts;
mod live;
mod reach;
mod relaying;
mod session;
mod show;
mod sign_in;
mod unknown;

use crate::door::admin::acted;
use crate::door::{Doors, InForce};
use crate::driver::Driver;
use crate::guard::{self, Guard};
use crate::identity::PeopleConfig;
use askama::Template;
use axum::{
    Extension, Router,
    extract::{FromRequestParts, Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use countersign_core::act::{Act, Barred, Done, Visitor};
use countersign_core::id::Timestamp;
use countersign_core::port::{Credential, Unrecorded};
use countersign_core::refusal::AuthenticationFailure;
use countersign_core::sight::Sight;
use serde::de::DeserializeOwned;
use session::{Session, Sessions};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pages that are kept up to date at once.
const LIVE_MAX: usize = 256;

/// What the pages share.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    doors: Doors,
    driver: Arc<Driver>,
    sessions: Arc<Sessions>,
    entry: Arc<sign_in::Entry>,
    live: Arc<Semaphore>,
}

/// Whose request it is, and by what it is judged: as [`crate::door::admin::Met`].
#[derive(Debug, Clone)]
struct Seen {
    in_force: Arc<InForce>,
    visitor: Arc<Visitor>,
    session: Session,
    /// The path that is asked for, as an address to come back to.
    here: String,
    /// How far drafts, switches and unknown outcomes had moved before anything of the answer was read.
    moved: u64,
}

/// Nothing of a page is kept by anybody, no other site frames it or is told of it, and it loads and runs
/// nothing that is not the console's own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

impl Console {
    pub(crate) fn new(
        doors: Doors,
        driver: Arc<Driver>,
        (people, development): (
            Option<Arc<PeopleConfig>>,
            Option<Arc<crate::development::Development>>,
        ),
    ) -> Self {
        let entropy = Arc::clone(&doors.in_force.load().monitor.entropy);
        let entry = sign_in::Entry::new(doors.resource.url.clone(), people, development);
        Self {
            doors,
            driver,
            sessions: Arc::new(Sessions::new(entropy)),
            entry: Arc::new(entry),
            live: Arc::new(Semaphore::new(LIVE_MAX)),
        }
    }

    fn now(&self) -> Timestamp {
        self.doors.in_force.load().monitor.clock.now()
    }

    /// Cookies are for this host alone, and travel encrypted where the gateway is reached so.
    fn cookie(&self, name: &str, value: &str, max_age_s: u64) -> HeaderValue {
        let (prefix, secure) =
            if self.entry.is_encrypted() { ("__Host-", "; Secure") } else { ("", "") };
        let text = format!(
            "{prefix}{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}"
        );
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// A cookie's value. One that is sent twice is none: somebody else may have set the other.
    fn sent<'h>(&self, headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
        let prefix = if self.entry.is_encrypted() { "__Host-" } else { "" };
        let all = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs =
            all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values =
            pairs.filter(|(key, _)| key.strip_prefix(prefix) == Some(name)).map(|(_, v)| v);
        values.next().filter(|_| values.next().is_none())
    }
}

const SESSION: &str = "countersign-session";
const ATTEMPT: &str = "countersign-sign-in";

/// All pages, behind a sign-in but for the way there.
pub(crate) fn routes(console: Console, guard: &Arc<Guard>) -> Router {
    let people = Router::new()
        .route("/console", get(async || Redirect::to("/console/drafts")))
        .route("/console/drafts", get(drafts::queue))
        .route("/console/drafts/absence", get(absence::page).post(absence::delegate))
        .route("/console/drafts/absence/end", post(absence::end))
        .route("/console/drafts/{id}", get(drafts::page))
        .route("/console/drafts/{id}/preview", get(drafts::preview))
        .route("/console/drafts/{id}/together", get(drafts::together))
        .route("/console/drafts/decide", post(drafts::decide))
        .route("/console/drafts/{id}/withdraw", post(drafts::withdraw))
        .route("/console/unknown", get(unknown::page))
        .route("/console/unknown/{call}/resolve", post(unknown::resolve))
        .route("/console/agents", get(agents::page))
        .route("/console/agents/{name}", get(agents::one))
        .route("/console/reach", get(reach::page))
        .route("/console/switches", get(agents::switches))
        .route("/console/switches/suspend", post(agents::suspend))
        .route("/console/switches/resume", post(agents::resume))
        .route("/console/activity", get(activity::page))
        .route("/console/calls/{call}", get(activity::call))
        .route("/console/charts", get(charts::page))
        .route("/console/alerts", get(audit::alerts))
        .route("/console/audit", get(audit::page))
        .route("/console/audit/export", get(audit::export))
        .route("/console/audit/verify", post(audit::verify))
        .route(live::PATH, get(live::events))
        .route("/console/sign-out", post(sign_in::out))
        .route("/console/{*elsewhere}", get(nowhere))
        // INVARIANT: no body is waited for before it is known whose it is.
        .layer(middleware::from_fn_with_state(Arc::clone(guard), guard::bounded))
        .layer(middleware::from_fn_with_state(console.clone(), known));
    let made_up = get(sign_in::made_up).post(sign_in::make_up);
    let made_up = made_up.layer(middleware::from_fn_with_state(Arc::clone(guard), guard::bounded));
    Router::new()
        .route("/console/sign-in", get(sign_in::begin))
        .route("/console/signed-in", get(sign_in::returned))
        .route("/console/signed-out", get(sign_in::signed_out))
        .route(sign_in::MADE_UP_PATH, made_up)
        .route("/console/assets/{file}", get(assets::serve))
        .merge(people)
        .layer(middleware::map_response(headers))
        .with_state(console)
}

async fn headers(mut answer: Response) -> Response {
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in set {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let more = [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
    ];
    for (name, value) in more {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let kept = HeaderValue::from_static("private, no-store");
    answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(kept);
    answer
}

/// Knows whose session a request belongs to. Whoever has none is sent to sign in; a form of theirs is
/// not done, and says so.
async fn known(State(console): State<Console>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let here = request.uri().path_and_query().map_or("/console", |at| at.as_str()).to_owned();
    let partial = headers.contains_key("hx-request");
    let cookie = console.sent(headers, SESSION).map(str::to_owned);
    let session = cookie.as_deref().and_then(|cookie| console.sessions.find(cookie, console.now()));
    let Some(session) = session else { return signed_out(&here, reads, partial) };
    let in_force = console.doors.in_force.load_full();
    match in_force.monitor.welcome(&Credential::bearer(&*session.token)).await {
        Ok(visitor) => {
            let visitor = Arc::new(visitor);
            let moved = in_force.monitor.register.moved();
            request.extensions_mut().insert(Seen { in_force, visitor, session, here, moved });
            next.run(request).await
        }
        Err(AuthenticationFailure::Busy) => {
            told(None, StatusCode::SERVICE_UNAVAILABLE, "Too many requests are under way.")
        }
        Err(failure) => {
            tracing::debug!(?failure, "a session's token does not count any more");
            cookie.iter().for_each(|cookie| console.sessions.end(cookie));
            signed_out(&here, reads, partial)
        }
    }
}

fn signed_out(here: &str, reads: bool, partial: bool) -> Response {
    // A browser follows a stream wherever it is sent, and no page may ask another origin. With this
    // answer it does not ask again.
    if here.split('?').next() == Some(live::PATH) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let to = sign_in::address(here, false);
    match (reads, partial) {
        // Not the part of a page but the page itself has to go there.
        (true, true) => {
            let mut answer = StatusCode::NO_CONTENT.into_response();
            answer.headers_mut().insert("hx-refresh", HeaderValue::from_static("true"));
            answer
        }
        (true, false) => Redirect::to(&to).into_response(),
        (false, _) => told(
            None,
            StatusCode::UNAUTHORIZED,
            "Your session has ended: nothing was done. Sign in and look again.",
        ),
    }
}

// ── what every page has ─────────────────────────────────────────────────────────────────────────

/// What surrounds a page.
#[derive(Debug)]
struct Frame {
    title: String,
    /// Who is signed in, as others write them, and what they are.
    who: Option<(String, String)>,
    form: String,
    nav: Vec<Link>,
    /// What the page is told of is what came after.
    moved: u64,
    /// Whether the page is told of new calls.
    calls: bool,
    /// How styles and scripts are asked for: another build has others.
    build: &'static str,
}

#[derive(Debug)]
struct Link {
    href: &'static str,
    name: &'static str,
    current: bool,
}

impl Seen {
    fn frame(&self, title: impl Into<String>) -> Frame {
        let person = self.visitor.person();
        let roles: Vec<&str> = person.roles.iter().map(|role| role.as_str()).collect();
        let looks_on = self.visitor.sees(Sight::Activity).is_ok();
        let all = [
            ("/console/drafts", "Drafts", true),
            ("/console/activity", "Activity", looks_on),
            ("/console/alerts", "Alerts", looks_on),
            ("/console/unknown", "Unknown outcomes", looks_on),
            ("/console/agents", "Agents", looks_on),
            ("/console/reach", "Reach", self.visitor.sees(Sight::Reach).is_ok()),
            ("/console/switches", "Switches", looks_on),
            ("/console/charts", "Charts", looks_on),
            ("/console/audit", "Audit", self.visitor.sees(Sight::Journal).is_ok()),
        ];
        let nav = all.into_iter().filter(|(.., shown)| *shown).map(|(href, name, _)| {
            let current = self.here.split('?').next().is_some_and(|at| {
                at == href || at.strip_prefix(href).is_some_and(|rest| rest.starts_with('/'))
            });
            Link { href, name, current }
        });
        Frame {
            title: title.into(),
            who: Some((show::person(&person.who), roles.join(", "))),
            form: self.session.form.to_string(),
            nav: nav.collect(),
            moved: self.moved,
            calls: false,
            build: assets::BUILD,
        }
    }

    /// Whether the person's sign-in is fresh enough for what asks for one.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.visitor.is_fresh(now)
    }
}

impl Frame {
    fn of_nobody(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            who: None,
            form: String::new(),
            nav: Vec::new(),
            moved: 0,
            calls: false,
            build: assets::BUILD,
        }
    }
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page could not be made.\n").into_response()
        }
    }
}

fn shown(template: &impl Template) -> Response {
    page(StatusCode::OK, template)
}

#[derive(Template)]
#[template(path = "told.html")]
struct Told<'a> {
    frame: Frame,
    message: &'a str,
    /// Where to sign in anew, if that is what it takes.
    again: Option<String>,
}

/// A page that says one thing.
fn told(seen: Option<&Seen>, status: StatusCode, message: &str) -> Response {
    let title = match status {
        StatusCode::NOT_FOUND => "Not here",
        StatusCode::UNAUTHORIZED => "Sign in",
        StatusCode::FORBIDDEN => "Not yours to do",
        StatusCode::OK => "Done",
        _ => "Not done",
    };
    let frame = seen.map_or_else(|| Frame::of_nobody(title), |seen| seen.frame(title));
    let again = (status == StatusCode::UNAUTHORIZED).then(|| sign_in::address("/console", false));
    page(status, &Told { frame, message, again })
}

async fn nowhere(Extension(seen): Who) -> Response {
    barred(&seen, &Barred::NotFound, "/console")
}

/// Why something was not done, or is not shown.
fn barred(seen: &Seen, barred: &Barred, back: &str) -> Response {
    let status = crate::door::admin::status(barred);
    if let Barred::Unavailable(why) = barred {
        tracing::error!(why, "what a person asked for could not be done");
    }
    if *barred == Barred::StaleSignIn {
        let frame = seen.frame("Sign in anew");
        let again = Some(sign_in::address(back, true));
        return page(status, &Told { frame, message: &barred.message(), again });
    }
    told(Some(seen), status, &barred.message())
}

/// What an address asks for.
struct Ask<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Ask<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        let why = "This address asks for nothing that there is here.";
        asked.map(|Query(asked)| Self(asked)).map_err(|_malformed| {
            told(parts.extensions.get::<Seen>(), StatusCode::BAD_REQUEST, why)
        })
    }
}

/// The journal could not be read for a page.
fn unread(why: Unrecorded) -> Barred {
    Barred::Unavailable(why.to_string())
}

/// What a form says. A name that is there twice has all its values.
#[derive(Debug)]
struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form of this session. A form of anybody else's is refused: another site may have made
    /// the browser send it.
    fn read(seen: &Seen, body: &[u8]) -> Result<Self, Box<Response>> {
        let pairs = serde_urlencoded::from_bytes::<Vec<(String, String)>>(body);
        let form = pairs.map(Self).map_err(|_malformed| {
            Box::new(told(Some(seen), StatusCode::BAD_REQUEST, "This is no form of the console."))
        })?;
        if seen.session.is_form(form.one("form")) {
            return Ok(form);
        }
        let why = "This form is not of your session: nothing was done. Open the page again.";
        Err(Box::new(told(Some(seen), StatusCode::FORBIDDEN, why)))
    }

    /// A value; empty where there is none, or more than one.
    fn one(&self, name: &str) -> &str {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none()).unwrap_or_default()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A person's own reason, or the one they chose.
    fn reason(&self) -> String {
        let own = self.one("reason").trim();
        if own.is_empty() { self.one("preset").to_owned() } else { own.to_owned() }
    }
}

impl Seen {
    /// Does what the person asks for, whether or not their browser waits for it.
    async fn act(&self, act: Act) -> Result<Done, Barred> {
        acted((Arc::clone(&self.in_force), Arc::clone(&self.visitor)), act).await
    }
}

type Who = Extension<Seen>;
