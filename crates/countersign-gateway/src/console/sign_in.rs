//! How somebody gets into the console: at the company's OpenID provider, by the code flow with PKCE; or
//! where people are made up, as one of those.

use super::session::ATTEMPT_S;
use super::{ATTEMPT, Ask, Console, Frame, SESSION, Seen, Who, page, shown, told};
use crate::development::Development;
use crate::identity::PeopleConfig;
use crate::identity::development::PersonRequest;
use crate::oidc::{Attempt, Provider};
use arc_swap::ArcSwapOption;
use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use countersign_core::draft::Who as Id;
use countersign_core::ladder::Approvers;
use countersign_core::person::Person;
use countersign_core::port::Credential;
use reqwest::Url;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Where made-up people are chosen.
pub(super) const MADE_UP_PATH: &str = "/console/made-up";
/// How long what a provider says of itself is believed.
const DISCOVERED: Duration = Duration::from_secs(5 * 60);
/// Requests at once that ask the provider what it is.
const ASKING_MAX: usize = 8;
/// Sign-ins for which it exchanges a code at one time.
const EXCHANGING_MAX: usize = 64;
/// How long a made-up person is signed in, in seconds.
const MADE_UP_TTL_S: u64 = 8 * 60 * 60;
/// How long ago a made-up sign-in was that is not fresh, in seconds.
const STALE_S: i64 = 60 * 60;

/// How somebody gets in.
#[derive(Debug)]
pub(super) struct Entry {
    url: String,
    people: Option<Arc<PeopleConfig>>,
    development: Option<Arc<Development>>,
    provider: ArcSwapOption<(Instant, Arc<Provider>)>,
    /// Room to ask the provider what it is.
    asking: Semaphore,
    /// Room to have it exchange codes.
    exchanging: Semaphore,
}

impl Entry {
    pub(super) fn new(
        url: String,
        people: Option<Arc<PeopleConfig>>,
        development: Option<Arc<Development>>,
    ) -> Self {
        let development = development.filter(|issuer| issuer.people.is_some());
        let (provider, asking) = (ArcSwapOption::empty(), Semaphore::new(ASKING_MAX));
        let exchanging = Semaphore::new(EXCHANGING_MAX);
        Self { url, people, development, provider, asking, exchanging }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The provider, asked where it is asked if that is not known or not lately.
    async fn provider(&self, people: &PeopleConfig) -> Result<Arc<Provider>, String> {
        if let Some(known) = &*self.provider.load()
            && known.0.elapsed() < DISCOVERED
        {
            return Ok(Arc::clone(&known.1));
        }
        let full = |_full| "too many ask the identity provider at once".to_owned();
        let _room = self.asking.try_acquire().map_err(full)?;
        let provider = Arc::new(Provider::discover(people.how(false)).await?);
        self.provider.store(Some(Arc::new((Instant::now(), Arc::clone(&provider)))));
        Ok(provider)
    }

    /// Where to go back to: a page of the console, whatever was asked for.
    fn back(&self, asked: Option<&str>) -> String {
        const HOME: &str = "/console/drafts";
        let own = Url::parse(&self.url).ok();
        let to = own.as_ref().and_then(|own| own.join(asked?).ok());
        let to = to.filter(|to| own.as_ref().is_some_and(|own| own.origin() == to.origin()));
        let to = to.filter(|to| to.path().starts_with("/console/") && !to.path().contains("//"));
        let Some(to) = to else { return HOME.to_owned() };
        match to.query() {
            Some(query) => format!("{}?{query}", to.path()),
            None => to.path().to_owned(),
        }
    }

    fn attempt(&self, console: &Console, pending: &super::session::Pending) -> Attempt {
        let derived = |what| console.sessions.derived(what, pending);
        Attempt {
            back: format!("{}/console/signed-in", self.url),
            state: derived("state"),
            nonce: derived("nonce"),
            verifier: derived("verifier"),
        }
    }
}

/// The address to sign in at, to come back to `here`; `fresh` to prove anew who one is.
pub(super) fn address(here: &str, fresh: bool) -> String {
    let back = ("back", here);
    let pairs: &[(&str, &str)] = if fresh { &[back, ("fresh", "true")] } else { &[back] };
    format!("/console/sign-in?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
}

#[derive(Debug, Deserialize)]
pub(super) struct Begin {
    back: Option<String>,
    #[serde(default)]
    fresh: bool,
}

/// `GET /console/sign-in`
pub(super) async fn begin(State(console): State<Console>, Ask(begin): Ask<Begin>) -> Response {
    let entry = &console.entry;
    let back = entry.back(begin.back.as_deref());
    if entry.development.is_some() {
        let pairs = serde_urlencoded::to_string([("back", &back)]).unwrap_or_default();
        return Redirect::to(&format!("{MADE_UP_PATH}?{pairs}")).into_response();
    }
    let Some(people) = &entry.people else {
        let why = "Nobody can sign in here: `people` in countersign.yaml says how.";
        return told(None, StatusCode::NOT_FOUND, why);
    };
    let (pending, cookie) = console.sessions.attempt(back, console.now());
    let provider = entry.provider(people).await;
    let to = provider.and_then(|p| p.authorize(&entry.attempt(&console, &pending), begin.fresh));
    match to {
        Ok(to) => {
            let cookie = console.cookie(ATTEMPT, &cookie, ATTEMPT_S.unsigned_abs());
            ([(header::SET_COOKIE, cookie)], Redirect::to(&to)).into_response()
        }
        Err(why) => {
            tracing::warn!(why, "nobody can sign in to the console");
            let why = "The identity provider does not answer as it must: try again in a minute.";
            told(None, StatusCode::BAD_GATEWAY, why)
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Returned {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /console/signed-in`: where the provider sends the browser back to.
pub(super) async fn returned(
    State(console): State<Console>,
    headers: HeaderMap,
    Ask(returned): Ask<Returned>,
) -> Response {
    let Returned { code, state, iss, error } = returned;
    let cookie = console.sent(&headers, ATTEMPT).unwrap_or_default();
    let pending = state.and_then(|state| console.sessions.returned(cookie, &state, console.now()));
    let Some((pending, people)) = pending.zip(console.entry.people.as_deref()) else {
        return again(&console, "This sign-in was not begun here, or is over.");
    };
    let Some(code) = code.filter(|_| error.is_none()) else {
        return again(&console, "The identity provider did not sign you in.");
    };
    let signed_in = async {
        let provider = console.entry.provider(people).await?;
        // RFC 9207: where it says who answers, it must be whom we asked.
        if iss.is_some_and(|iss| iss != provider.issuer()) {
            return Err("another provider answered".to_owned());
        }
        let full = |_full| "too many sign in at once".to_owned();
        let _room = console.entry.exchanging.try_acquire().map_err(full)?;
        provider.exchange(&console.entry.attempt(&console, &pending), code).await
    };
    match signed_in.await {
        Ok(token) => enter(&console, &headers, token, &pending.back).await,
        Err(why) => {
            tracing::warn!(why, "a sign-in to the console was not completed");
            again(&console, "The sign-in was not completed.")
        }
    }
}

fn again(console: &Console, why: &str) -> Response {
    let mut answer = told(None, StatusCode::UNAUTHORIZED, why);
    answer.headers_mut().append(header::SET_COOKIE, console.cookie(ATTEMPT, "", 0));
    answer
}

/// Begins a session for whoever the token belongs to.
async fn enter(console: &Console, headers: &HeaderMap, token: String, back: &str) -> Response {
    let in_force = console.doors.in_force.load_full();
    match in_force.monitor.welcome(&Credential::bearer(&*token)).await {
        Ok(visitor) => {
            let Person { who, expires, .. } = visitor.person();
            let before = console.sent(headers, SESSION);
            let entered = (Id::clone(who), token, *expires);
            let cookie = console.sessions.begin(entered, before, console.now());
            let mut answer = Redirect::to(back).into_response();
            let cookies = [
                console.cookie(SESSION, &cookie, super::session::SESSION_S),
                console.cookie(ATTEMPT, "", 0),
            ];
            for cookie in cookies {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            answer
        }
        Err(failure) => {
            tracing::warn!(?failure, "whoever signed in to the console is nobody here");
            again(
                console,
                "You are signed in there, and nobody here: ask your administrator for access.",
            )
        }
    }
}

/// `POST /console/sign-out`
pub(super) async fn out(
    State(console): State<Console>,
    Extension(seen): Who,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = super::Form::read(&seen, &body) {
        return *refused;
    }
    if let Some(cookie) = console.sent(&headers, SESSION) {
        console.sessions.end(cookie);
    }
    let gone = console.cookie(SESSION, "", 0);
    let clear = HeaderValue::from_static("\"cache\", \"storage\"");
    let headers =
        [(header::SET_COOKIE, gone), (header::HeaderName::from_static("clear-site-data"), clear)];
    (headers, Redirect::to("/console/signed-out")).into_response()
}

/// `GET /console/signed-out`
pub(super) async fn signed_out() -> Response {
    let why = "You are signed out here. At the identity provider you may still be signed in.";
    let frame = Frame::of_nobody("Signed out");
    shown(&super::Told { frame, message: why, again: Some(address("/console/drafts", false)) })
}

// ── made-up people ──────────────────────────────────────────────────────────────────────────────

#[derive(Template)]
#[template(path = "made_up.html")]
struct MadeUp {
    frame: Frame,
    back: String,
    people: Vec<Figure>,
    tenants: String,
}

/// Somebody that a posture would have.
struct Figure {
    person: String,
    groups: String,
    what: String,
}

/// `GET` of [`MADE_UP_PATH`]
pub(super) async fn made_up(State(console): State<Console>, Ask(begin): Ask<Begin>) -> Response {
    let Some(people) = console.entry.development.as_ref().and_then(|issuer| issuer.people.as_ref())
    else {
        return told(None, StatusCode::NOT_FOUND, "There is nothing here.");
    };
    shown(&MadeUp {
        frame: Frame::of_nobody("Who are you today?"),
        back: console.entry.back(begin.back.as_deref()),
        people: figures(&console, people),
        tenants: String::new(),
    })
}

/// One for each name that a gate knows, each group and each role; and somebody who is nobody.
fn figures(console: &Console, people: &PeopleConfig) -> Vec<Figure> {
    let in_force = console.doors.in_force.load();
    let gates = in_force.monitor.posture.agents.values().flat_map(|agent| agent.grants.values());
    let gates = gates.filter_map(|grant| {
        Some((grant.tool.name.to_string(), &grant.tool.ladder.gate.as_ref()?.approvers))
    });
    // For every tenant, if there is a group of such that has no role.
    let roles: BTreeSet<&String> = people.roles.values().flatten().collect();
    let every = people.all_tenants.iter().find(|group| !roles.contains(group));
    // Those who decide come first, then those with a role, then nobody.
    let mut known: BTreeMap<(u8, String, String), BTreeSet<String>> = BTreeMap::new();
    for (tool, approvers) in gates {
        let decides = format!("decides about {tool}");
        match approvers {
            Approvers::Named(named) => named.iter().for_each(|name| {
                let who = (0, name.clone(), every.cloned().unwrap_or_default());
                known.entry(who).or_default().insert(decides.clone());
            }),
            Approvers::Group { group, .. } => {
                let who = (0, format!("kim@{group}.example"), group.clone());
                known.entry(who).or_default().insert(decides);
            }
        }
    }
    for (role, groups) in &people.roles {
        for (name, group) in ["one", "two"].iter().zip(groups.iter().cycle()) {
            let who = (1, format!("{}-{name}@people.example", role.as_str()), group.clone());
            known.entry(who).or_default().insert(role.as_str().to_owned());
        }
    }
    let nobody = (2, "nobody@people.example".to_owned(), String::new());
    known.entry(nobody).or_default().insert("is in no group".to_owned());
    let figures = known.into_iter().map(|((_, person, groups), what)| Figure {
        person,
        groups,
        what: what.into_iter().collect::<Vec<_>>().join(", "),
    });
    figures.collect()
}

/// `POST` of [`MADE_UP_PATH`]: be somebody. Browsers name the page that a form comes from, and no other
/// site's gets past the guard.
pub(super) async fn make_up(
    State(console): State<Console>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let issuer = console.entry.development.as_ref();
    let Some((issuer, people)) = issuer.and_then(|issuer| Some((issuer, issuer.people.as_ref()?)))
    else {
        return told(None, StatusCode::NOT_FOUND, "There is nothing here.");
    };
    let form = super::Form(serde_urlencoded::from_bytes(&body).unwrap_or_default());
    let words = |name: &str| -> Vec<String> {
        let words = form.one(name).split([',', ' ']).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let person = form.one("person").trim().to_owned();
    let now = console.now();
    let request = PersonRequest {
        address: person.contains('@').then(|| person.clone()),
        person,
        groups: words("groups"),
        tenants: words("tenants"),
        signed_in_s: (form.one("stale") == "true").then(|| now.secs().saturating_sub(STALE_S)),
        ttl_s: MADE_UP_TTL_S,
    };
    let back = console.entry.back(Some(form.one("back")));
    match issuer.for_made_up(request, people) {
        Ok(token) => enter(&console, &headers, token, &back).await,
        Err(why) => page(
            StatusCode::BAD_REQUEST,
            &super::Told {
                frame: Frame::of_nobody("Not signed in"),
                message: &why,
                again: Some(address(&back, false)),
            },
        ),
    }
}

impl Seen {
    /// Where to prove anew who one is, to come back to this page.
    pub(super) fn sign_in_anew(&self) -> String {
        address(&self.here, true)
    }
}
