//! The gateway as a server: routes, health, and an end in good order.

use crate::bound::{DEVELOPMENT_TOKEN_TTL_S, REQUESTS_UNDER_WAY_MAX, SHUTDOWN_GRACE};
use crate::door::{Doors, InForce, http, http::problem, mcp};
use crate::guard::{self, Guard};
use crate::identity::development::{DevelopmentIssuer, TokenRequest};
use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use countersign_core::args;
use countersign_core::port::{Clock, Entropy};
use serde_json::{Value, json};
use std::{collections::BTreeMap, future::Future, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::task::TaskTracker;

/// Whether calls can be served now.
pub trait Readiness: Send + Sync + std::fmt::Debug {
    /// `Ok`, or what is the matter, for an operator.
    ///
    /// # Errors
    /// One sentence.
    fn ready(&self) -> Result<(), String>;
}

/// What a gateway is made of.
#[derive(Debug)]
pub struct Gateway {
    /// What new requests are judged by. To put another posture in force, another is stored here:
    /// requests under way keep the one they began with.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Whether the store takes records.
    pub readiness: Arc<dyn Readiness>,
    /// Further `Host` values, beside the listener's own and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that may reach us.
    pub allowed_origins: Vec<String>,
    /// The development issuer, if it is on.
    pub development: Option<Development>,
}

/// The development issuer and what it needs to make tokens.
#[derive(Debug)]
pub struct Development {
    /// The issuer.
    pub issuer: DevelopmentIssuer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For token ids.
    pub entropy: Arc<dyn Entropy>,
}

impl Gateway {
    /// Serves until `stop`, then takes no new request and lets calls under way end.
    ///
    /// # Errors
    /// The listener's own.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let under_way = TaskTracker::new();
        let router = self.router(listener.local_addr()?, under_way.clone());
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut server = tokio::spawn(
            axum::serve(listener, router)
                .with_graceful_shutdown(async move {
                    stop.await;
                    drop(stopping);
                })
                .into_future(),
        );
        let ended = tokio::select! {
            ended = &mut server => Some(ended),
            _ = stopped => tokio::time::timeout(SHUTDOWN_GRACE, &mut server).await.ok(),
        };
        // An idle keep-alive connection must not hold up the end; a call under way may.
        if ended.is_none() {
            server.abort();
        }
        under_way.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, under_way.wait()).await.is_err() {
            tracing::warn!("calls were still under way at the end; their outcomes will be unknown");
        }
        match ended {
            Some(Ok(outcome)) => outcome,
            Some(Err(lost)) => Err(std::io::Error::other(lost)),
            None => Ok(()),
        }
    }

    fn router(self, listen: SocketAddr, under_way: TaskTracker) -> Router {
        let Self { in_force, readiness, allowed_hosts, allowed_origins, development } = self;
        let mut hosts = allowed_hosts;
        hosts.extend([listen.to_string(), "localhost".to_owned()]);
        if listen.ip().is_loopback() {
            hosts.extend(["127.0.0.1".to_owned(), "[::1]".to_owned()]);
        }
        let doors = Doors { in_force, under_way };
        let mcp = mcp::service(doors.clone(), &hosts, &allowed_origins);
        let guard = Arc::new(Guard {
            hosts,
            origins: allowed_origins,
            refuse_forwarded: development.is_some(),
            room: Semaphore::new(REQUESTS_UNDER_WAY_MAX),
        });
        let mcp = Router::new()
            .route_service("/mcp", mcp)
            .layer(middleware::from_fn_with_state(doors.clone(), guard::mcp));
        let http = Router::new()
            .route("/v1/tools", get(http::tools))
            .route("/v1/calls", post(http::calls))
            .layer(middleware::from_fn_with_state(doors.clone(), guard::http))
            .with_state(doors.clone());
        let mut router = Router::new().merge(mcp).merge(http);
        if let Some(development) = development {
            let state = (Arc::new(development), doors.clone());
            router = router.route("/dev/token", post(token).with_state(state));
        }
        let health = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready).with_state((readiness, doors)));
        router
            .fallback(async || {
                problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here.")
            })
            .layer(middleware::from_fn_with_state(guard, guard::admit))
            .merge(health) // probes come by address, and touch nothing
    }
}

/// Which posture is in force, and since when: what an operator asks after a reload.
async fn ready(State((readiness, doors)): State<(Arc<dyn Readiness>, Doors)>) -> Response {
    match readiness.ready() {
        Ok(()) => {
            let InForce { monitor, since, claims: _ } = &**doors.in_force.load();
            let since = jiff::Timestamp::from_microsecond(since.micros()).unwrap_or_default();
            format!("ready\nposture {} loaded {since:.3}\n", monitor.posture.digest).into_response()
        }
        Err(why) => {
            tracing::warn!(why, "not ready");
            problem(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The gateway takes no calls now.")
        }
    }
}

/// `POST /dev/token` with `{"agent", "tenant", "user", "session"?, "attributes"?}`
async fn token(
    State((development, doors)): State<(Arc<Development>, Doors)>,
    body: Bytes,
) -> Response {
    let bad = |why: &str| problem(StatusCode::BAD_REQUEST, "malformed_request", why);
    let request = match args::parse(&body) {
        Ok(value) => asked(&value),
        Err(error) => return bad(&error.to_string()),
    };
    let Some(request) = request else {
        return bad("the body must have `agent`, `tenant` and `user`, each a string");
    };
    let Development { issuer, clock, entropy } = &*development;
    let mut id = [0; 16];
    entropy.fill(&mut id);
    match issuer.mint(&request, &doors.in_force.load().claims, clock.now(), id) {
        Ok(token) => Json(
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": request.ttl_s }),
        )
        .into_response(),
        Err(why) => bad(&why.to_string()),
    }
}

fn asked(value: &Value) -> Option<TokenRequest> {
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let attributes = match value.get("attributes") {
        None => BTreeMap::new(),
        Some(members) => members
            .as_object()?
            .iter()
            .map(|(name, values)| {
                let values = values.as_array()?.iter().map(|v| v.as_str().map(str::to_owned));
                Some((name.clone(), values.collect::<Option<Vec<String>>>()?))
            })
            .collect::<Option<BTreeMap<_, _>>>()?,
    };
    Some(TokenRequest {
        actor: text("agent")?,
        tenant: text("tenant")?,
        subject: text("user")?,
        session: text("session"),
        attributes,
        ttl_s: DEVELOPMENT_TOKEN_TTL_S,
    })
}
