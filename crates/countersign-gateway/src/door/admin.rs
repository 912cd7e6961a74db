//! The admin API, `/admin/v1`: what people see and do. Described by `docs/admin-api.json`, which is
//! served as `openapi.json`.
//!
//! It decides nothing: who somebody is, `Monitor::welcome` says, and what they may, `Monitor::act`.

mod ask;
mod tell;

use super::{Doors, InForce};
use crate::driver::Driver;
use crate::guard::{self, Guard};
use crate::identity::PeopleConfig;
use ask::Filter;
pub(crate) use ask::place as place_in;
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use countersign_core::act::{Act, Barred, Done, Visitor};
use countersign_core::bound::FRESH_SIGN_IN_S;
use countersign_core::draft::Switch;
use countersign_core::id::{CallId, DraftId};
use countersign_core::port::Which;
use serde_json::{Value, json};
use std::sync::Arc;
pub(crate) use tell::{is_there, place};

/// The description of this API (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("../../../../docs/admin-api.json");

/// What the routes share.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    doors: Doors,
    driver: Arc<Driver>,
    people: Option<Arc<PeopleConfig>>,
    /// Whether people are made up: by the development issuer.
    made_up: bool,
}

impl Admin {
    pub(crate) fn new(
        doors: Doors,
        driver: Arc<Driver>,
        (people, made_up): (Option<Arc<PeopleConfig>>, bool),
    ) -> Self {
        Self { doors, driver, people, made_up }
    }
}

/// Who asks, and by what it is judged: as [`super::Known`].
#[derive(Debug, Clone)]
pub(crate) struct Met {
    pub(crate) in_force: Arc<InForce>,
    pub(crate) visitor: Arc<Visitor>,
}

impl Met {
    fn both(&self) -> (Arc<InForce>, Arc<Visitor>) {
        (Arc::clone(&self.in_force), Arc::clone(&self.visitor))
    }
}

/// All of them, behind a sign-in but for what says how to sign in.
pub(crate) fn routes(admin: Admin, guard: &Arc<Guard>) -> Router {
    let watch = (admin.doors.clone(), Arc::clone(guard));
    let people = Router::new()
        .route("/admin/v1/me", get(me))
        .route("/admin/v1/drafts", get(drafts))
        .route("/admin/v1/drafts/{id}", get(draft))
        .route("/admin/v1/drafts/{id}/preview", get(preview))
        .route("/admin/v1/drafts/{id}/approve", post(approve))
        .route("/admin/v1/drafts/{id}/reject", post(reject))
        .route("/admin/v1/drafts/{id}/withdraw", post(withdraw))
        .route("/admin/v1/agents", get(agents))
        .route("/admin/v1/agents/{name}", get(agent))
        .route("/admin/v1/suspensions", get(suspensions).post(suspend))
        .route("/admin/v1/suspensions/resume", post(resume))
        .route("/admin/v1/delegations", get(delegations).post(delegate))
        .route("/admin/v1/delegations/end", post(end))
        .route("/admin/v1/unknown", get(unknown))
        .route("/admin/v1/unknown/{call}/resolve", post(resolve))
        .layer(middleware::from_fn_with_state(watch, guard::people));
    Router::new()
        .route("/admin/v1/openapi.json", get(openapi))
        .route("/admin/v1/sign-in", get(sign_in))
        .route("/drafts/{id}", get(page))
        .merge(people)
        .with_state(admin)
}

type Answered = Result<Value, Trouble>;

/// Why there is no answer: what the monitor says, or a request that says nothing it could be asked.
enum Trouble {
    Barred(Barred),
    Malformed(&'static str),
}

impl From<Barred> for Trouble {
    fn from(barred: Barred) -> Self {
        Self::Barred(barred)
    }
}

/// Nothing of it is to be kept by anybody on the way.
const PRIVATE: (&str, &str) = ("cache-control", "private, no-store");

fn written(answered: Answered) -> Response {
    match answered {
        Ok(value) => ([PRIVATE], Json(value)).into_response(),
        Err(Trouble::Malformed(why)) => problem(StatusCode::BAD_REQUEST, "malformed_request", why),
        Err(Trouble::Barred(barred)) => {
            if let Barred::Unavailable(why) = &barred {
                tracing::error!(why, "what a person asked for could not be done");
            }
            let mut answer = problem(status(&barred), barred.code(), &barred.message());
            if barred == Barred::StaleSignIn {
                // RFC 9470 §3: what would do.
                let challenge = format!(
                    "Bearer realm=\"countersign\", error=\"insufficient_user_authentication\", max_age=\"{FRESH_SIGN_IN_S}\""
                );
                let challenge = HeaderValue::from_str(&challenge);
                let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            answer
        }
    }
}

pub(crate) fn status(barred: &Barred) -> StatusCode {
    match barred {
        Barred::NotFound => StatusCode::NOT_FOUND,
        Barred::NotEntitled(_) => StatusCode::FORBIDDEN,
        Barred::StaleSignIn => StatusCode::UNAUTHORIZED,
        Barred::Suspended(_) | Barred::Lapsed(_) | Barred::Overtaken | Barred::Conflict(_) => {
            StatusCode::CONFLICT
        }
        Barred::Reason | Barred::Until => StatusCode::BAD_REQUEST,
        Barred::Unanswered => StatusCode::BAD_GATEWAY,
        Barred::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// RFC 9457, with the stable code beside.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    let kind = ("content-type", "application/problem+json");
    (status, [kind, PRIVATE], body.to_string()).into_response()
}

// ── what people see ─────────────────────────────────────────────────────────────────────────────

async fn me(Extension(met): Extension<Met>) -> Response {
    written(Ok(tell::person(met.visitor.person())))
}

async fn drafts(
    Extension(met): Extension<Met>,
    query: Result<Query<Filter>, QueryRejection>,
) -> Response {
    written(queue(&met, query).await)
}

async fn queue(met: &Met, query: Result<Query<Filter>, QueryRejection>) -> Answered {
    let malformed = Trouble::Malformed(
        "The query may have `state`, `tenant`, `agent`, `mine` and `before`, each as it is answered.",
    );
    let Ok(Query(filter)) = query else { return Err(malformed) };
    let (Some(which), mine) = (filter.which(), filter.mine) else { return Err(malformed) };
    let (monitor, visitor) = (&met.in_force.monitor, &met.visitor);
    let (drafts, next) = monitor.queue(visitor, which).await?;
    let drafts = drafts.iter().filter(|draft| !mine || monitor.is_theirs(visitor, draft));
    let drafts: Vec<_> = drafts.map(|draft| tell::draft(monitor, visitor, draft)).collect();
    Ok(json!({ "drafts": drafts, "next": next.map(place) }))
}

async fn draft(Extension(met): Extension<Met>, Path(id): Path<String>) -> Response {
    written(one(&met, id).await)
}

async fn one(met: &Met, id: String) -> Answered {
    let monitor = &met.in_force.monitor;
    let draft = monitor.look_at(&met.visitor, &draft_id(id)?).await?;
    Ok(tell::draft(monitor, &met.visitor, &draft))
}

async fn preview(Extension(met): Extension<Met>, Path(id): Path<String>) -> Response {
    let found = async {
        let found = met.in_force.monitor.preview(&met.visitor, &draft_id(id)?).await?;
        Ok(json!({ "rows": found.rows, "truncated": found.truncated }))
    };
    written(found.await)
}

async fn agents(Extension(met): Extension<Met>) -> Response {
    let listed = || {
        looks_on(&met)?;
        let InForce { monitor, .. } = &*met.in_force;
        let suspensions = monitor.register.suspensions();
        let agents = monitor.posture.agents.iter();
        let agents: Vec<_> =
            agents.map(|(client, agent)| tell::agent(client, agent, &suspensions)).collect();
        Ok(json!({ "agents": agents }))
    };
    written(listed())
}

async fn agent(Extension(met): Extension<Met>, Path(name): Path<String>) -> Response {
    let found = || {
        looks_on(&met)?;
        let InForce { monitor, .. } = &*met.in_force;
        let mut agents = monitor.posture.agents.iter();
        let found = agents.find(|(_, agent)| agent.id.as_str() == name);
        let (client, agent) = found.ok_or(Barred::NotFound)?;
        Ok(tell::agent(client, agent, &monitor.register.suspensions()))
    };
    written(found())
}

async fn suspensions(Extension(met): Extension<Met>) -> Response {
    let listed = || {
        looks_on(&met)?;
        let tenants = &met.visitor.person().tenants;
        let all = met.in_force.monitor.register.suspensions();
        let shown = all.iter().filter(|suspension| match &suspension.of {
            Switch::Tenant(tenant) => tenants.include(tenant),
            Switch::Everything | Switch::Agent(_) | Switch::Tool(_) | Switch::System(_) => true,
        });
        Ok(json!({ "suspensions": shown.map(tell::suspension).collect::<Vec<_>>() }))
    };
    written(listed())
}

async fn delegations(Extension(met): Extension<Met>) -> Response {
    let (monitor, visitor) = (&met.in_force.monitor, &met.visitor);
    let all = monitor.delegations(visitor);
    let all = all.iter().map(|one| tell::delegation(one, monitor.may_end(visitor, one)));
    let all: Vec<_> = all.collect();
    written(Ok(json!({ "delegations": all, "stand_ins": monitor.stand_ins(visitor) })))
}

async fn unknown(
    Extension(met): Extension<Met>,
    query: Result<Query<ask::Resolved>, QueryRejection>,
) -> Response {
    let listed = async {
        let Ok(Query(ask::Resolved { resolved })) = query else {
            return Err(Trouble::Malformed("The query may have `resolved`, `true` or `false`."));
        };
        let monitor = &met.in_force.monitor;
        let outcomes = monitor.unknown_outcomes(&met.visitor, resolved).await?;
        Ok(json!({ "unknown": outcomes.iter().map(tell::unknown).collect::<Vec<_>>() }))
    };
    written(listed.await)
}

/// Whoever has a role may look at what is no tenant's.
fn looks_on(met: &Met) -> Result<(), Barred> {
    match met.visitor.person().roles.is_empty() {
        false => Ok(()),
        true => Err(Barred::NotEntitled("It takes a role to see this.")),
    }
}

// ── what people do ──────────────────────────────────────────────────────────────────────────────

async fn approve(
    State(admin): State<Admin>,
    Extension(met): Extension<Met>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let approved = async {
        ask::nothing(&body)?;
        let done = acted(met.both(), Act::Approve(draft_id(id)?)).await?;
        if let Some(draft) = &done.approved {
            admin.driver.tend_soon(draft.clone());
        }
        Ok(tell::done(&done))
    };
    written(approved.await)
}

async fn reject(Extension(met): Extension<Met>, Path(id): Path<String>, body: Bytes) -> Response {
    let act = || Ok(Act::Reject(draft_id(id)?, ask::reason(&body)?));
    written(done(&met, act()).await)
}

async fn withdraw(Extension(met): Extension<Met>, Path(id): Path<String>, body: Bytes) -> Response {
    let act = || Ok(Act::Withdraw(draft_id(id)?, ask::reason(&body)?));
    written(done(&met, act()).await)
}

async fn suspend(Extension(met): Extension<Met>, body: Bytes) -> Response {
    let act = || {
        let (switch, reason) = ask::switch(&body)?;
        // One that is misspelt would stop nothing, and whoever did so would believe that it does.
        if is_there(&met.in_force.monitor.posture, &switch) {
            Ok(Act::Suspend(switch, reason))
        } else {
            Err(Barred::NotFound.into())
        }
    };
    written(done(&met, act()).await)
}

async fn resume(Extension(met): Extension<Met>, body: Bytes) -> Response {
    let act = || ask::switch(&body).map(|(switch, reason)| Act::Resume(switch, reason));
    written(done(&met, act()).await)
}

async fn delegate(Extension(met): Extension<Met>, body: Bytes) -> Response {
    let act = || ask::delegation(&body).map(|(to, until)| Act::Delegate { to, until });
    written(done(&met, act()).await)
}

async fn end(Extension(met): Extension<Met>, body: Bytes) -> Response {
    written(done(&met, ask::ended(&body).map(Act::Return)).await)
}

async fn resolve(
    Extension(met): Extension<Met>,
    Path(call): Path<String>,
    body: Bytes,
) -> Response {
    let act = || {
        let call = CallId::new(call).map_err(|_unknown| Barred::NotFound)?;
        let (happened, reason) = ask::resolution(&body)?;
        Ok(Act::Resolve { call, happened, reason })
    };
    written(done(&met, act()).await)
}

async fn done(met: &Met, act: Result<Act, Trouble>) -> Answered {
    Ok(tell::done(&acted(met.both(), act?).await?))
}

/// In a task of its own: a client that hangs up leaves what is on record done.
pub(crate) async fn acted(
    (in_force, visitor): (Arc<InForce>, Arc<Visitor>),
    act: Act,
) -> Result<Done, Barred> {
    let task = tokio::spawn(async move { in_force.monitor.act(&visitor, act).await });
    task.await.unwrap_or_else(|lost| Err(Barred::Unavailable(format!("the task was lost: {lost}"))))
}

fn draft_id(text: String) -> Result<DraftId, Barred> {
    DraftId::new(text).map_err(|_unknown| Barred::NotFound)
}

// ── without a sign-in ───────────────────────────────────────────────────────────────────────────

async fn openapi() -> Response {
    ([("content-type", "application/json")], OPENAPI).into_response()
}

/// What a client needs to sign somebody in. None of it is a secret.
async fn sign_in(State(admin): State<Admin>) -> Response {
    match admin.people.as_deref() {
        None => problem(StatusCode::NOT_FOUND, "not_found", "Nobody can sign in here."),
        Some(people) => Json(people.how(admin.made_up)).into_response(),
    }
}

/// Where an agent's user is sent. It is the same whether there is such a draft or not, and asks
/// nobody to approve: whoever opens it may be anybody.
async fn page(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let Ok(id) = DraftId::new(id) else {
        return problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here.");
    };
    let url = &admin.doors.resource.url;
    let text = format!(
        "Reference {id}\n\nThe call is drafted and not executed. Those who may decide about it have been asked;\n\
         nothing on this page decides anything.\n\nHow far it is, for whoever may see it:\n\n    \
         {url}/console/drafts/{id}\n\nor in a terminal:\n\n    \
         countersign login --gateway {url}\n    countersign drafts show {id}\n"
    );
    let headers = [
        PRIVATE,
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = described["paths"].as_object().unwrap().iter().flat_map(|(path, ways)| {
            ways.as_object().unwrap().keys().map(move |way| format!("{way} {path}"))
        });
        let source = include_str!("admin.rs").split("mod tests").next().unwrap();
        let routes = source.split(".route(\"").skip(1).filter_map(|rest| {
            let (path, rest) = rest.split_once("\", ")?;
            let ways = rest.split_once(")\n").map_or(rest, |(ways, _)| ways);
            let ways =
                ["get", "post"].into_iter().filter(move |way| ways.contains(&format!("{way}(")));
            Some(ways.map(move |way| format!("{way} {path}")).collect::<Vec<_>>())
        });
        let routes: BTreeSet<_> =
            routes.flatten().filter(|route| route != "get /drafts/{id}").collect();
        assert_eq!(described.collect::<BTreeSet<_>>(), routes);
        assert!(routes.len() > 12);
    }
}
