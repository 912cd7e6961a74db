//! The gateway as a server: routes, health, and an end in good order.

use crate::bound::{
    ACCEPT_PAUSE, BODIES_KIB_MAX, CONNECTIONS_MAX, CONSOLE_REQUESTS_UNDER_WAY_MAX, FLUSH_GRACE,
    HEADER_BYTES_MAX, HEADER_READ_TIMEOUT, REQUESTS_UNDER_WAY_MAX, SHUTDOWN_GRACE,
    TOKEN_REQUESTS_UNDER_WAY_MAX,
};
use crate::connections::{Connections, Seat};
use crate::console::{self, Console};
use crate::development::{Development, token};
use crate::door::{Doors, InForce, admin, http, http::problem, mcp};
use crate::driver::Driver;
use crate::guard::{self, Guard, TOKEN_PATH};
use crate::identity::PeopleConfig;
use crate::patient::Patient;
use crate::resource::{self, Resource};
use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::State,
    http::{Request, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use countersign_core::port::{Ledger, Relay};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{convert::Infallible, future::Future, net::SocketAddr, pin::pin, sync::Arc};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
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
    /// The journal, for people who read it.
    pub ledger: Arc<dyn Ledger>,
    /// What tails it, for people to look at.
    pub relay: Arc<dyn Relay>,
    /// Further `Host` values, beside the listener's own and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that may reach us.
    pub allowed_origins: Vec<String>,
    /// What clients are told who need a token.
    pub resource: Resource,
    /// Connections at once; never more than [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// How people sign in, if they can.
    pub people: Option<PeopleConfig>,
    /// The development issuer, if it is on.
    pub development: Option<Development>,
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
        let connections = Connections::new(self.connections_max.min(CONNECTIONS_MAX));
        let driver = Driver::new(Arc::clone(&self.in_force), under_way.clone());
        let router = self.routes(listener.local_addr()?, Arc::clone(&driver));
        let driving = tokio::spawn(driver.run());
        let open = GracefulShutdown::new();
        accept((listener, connections), &router, &open, stop).await;
        // What it has begun is under way, and waited for with the rest.
        driving.abort();
        // Idle connections end at once. One that has sent half a request has begun nothing and must
        // not hold up the end; a call under way may.
        let mut closing = pin!(open.shutdown());
        let idle = timeout(FLUSH_GRACE, &mut closing).await;
        under_way.close();
        if timeout(SHUTDOWN_GRACE, under_way.wait()).await.is_err() {
            tracing::warn!("calls were still under way at the end; their outcomes will be unknown");
        }
        if idle.is_err() && timeout(FLUSH_GRACE, closing).await.is_err() {
            tracing::debug!("connections were cut off");
        }
        Ok(())
    }

    /// What stands behind the listener: every route with all that is before it. Whoever drives it
    /// without a socket, as the fuzz targets do, goes the way of every request.
    pub fn router(self, listen: SocketAddr, under_way: TaskTracker) -> Router {
        let driver = Driver::new(Arc::clone(&self.in_force), under_way);
        self.routes(listen, driver)
    }

    fn routes(self, listen: SocketAddr, driver: Arc<Driver>) -> Router {
        let Self {
            in_force,
            readiness,
            ledger,
            relay,
            allowed_hosts,
            allowed_origins,
            resource,
            connections_max: _,
            people,
            development,
        } = self;
        let hosts = hosts(allowed_hosts, listen);
        // The console's own pages send its forms.
        let mut origins = allowed_origins;
        origins.push(resource.url.clone());
        let resource = Arc::new(resource);
        let under_way = driver.under_way();
        let doors = Doors { in_force, under_way, resource: Arc::clone(&resource), ledger, relay };
        let mcp = mcp::service(doors.clone(), &hosts, &origins);
        let guard = Arc::new(Guard {
            hosts,
            origins,
            refuse_forwarded: development.is_some(),
            room: Semaphore::new(REQUESTS_UNDER_WAY_MAX),
            console_room: Semaphore::new(CONSOLE_REQUESTS_UNDER_WAY_MAX),
            token_room: Semaphore::new(TOKEN_REQUESTS_UNDER_WAY_MAX),
            bodies: Semaphore::new(BODIES_KIB_MAX),
        });
        let mcp = Router::new()
            .route_service("/mcp", mcp)
            .layer(middleware::from_fn_with_state((doors.clone(), guard.clone()), guard::mcp));
        let http = Router::new()
            .route("/v1/tools", get(http::tools))
            .route("/v1/calls", post(http::calls))
            .method_not_allowed_fallback(not_allowed)
            .layer(middleware::from_fn_with_state((doors.clone(), guard.clone()), guard::http))
            .with_state(doors.clone());
        let [root, below] = resource::PATHS;
        let metadata = Router::new()
            .route(root, get(resource::root))
            .route(below, get(resource::mcp))
            .method_not_allowed_fallback(not_allowed)
            .with_state((resource, doors.clone()));
        let (people, development) = (people.map(Arc::new), development.map(Arc::new));
        let made_up = development.as_ref().is_some_and(|issuer| issuer.people.is_some());
        let admin = admin::Admin::new(doors.clone(), driver.clone(), (people.clone(), made_up));
        let admin = admin::routes(admin, &guard).method_not_allowed_fallback(not_allowed);
        let console = Console::new(doors.clone(), driver, (people, development.clone()));
        let console = console::routes(console, &guard).method_not_allowed_fallback(not_allowed);
        let router = Router::new().merge(mcp).merge(http).merge(admin).merge(metadata);
        let mut router = router.merge(console);
        if let Some(development) = development {
            let token = post(token)
                .fallback(not_allowed)
                .layer(middleware::from_fn_with_state(guard.clone(), guard::bounded))
                .with_state((development, doors.clone()));
            router = router.route(TOKEN_PATH, token);
        }
        let health = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready).with_state((readiness, doors)))
            .method_not_allowed_fallback(not_allowed);
        router
            .fallback(async || {
                problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here.")
            })
            .layer(middleware::from_fn_with_state(guard, guard::admit))
            .merge(health) // probes come by address, and touch nothing
    }
}

/// Every `Host` that is answered.
fn hosts(allowed: Vec<String>, listen: SocketAddr) -> Vec<String> {
    let mut hosts = allowed;
    hosts.extend([listen.to_string(), "localhost".to_owned()]);
    if listen.ip().is_loopback() {
        hosts.extend(["127.0.0.1".to_owned(), "[::1]".to_owned()]);
    }
    hosts
}

async fn not_allowed() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This is not asked that way.")
}

/// Accepts connections until `stop`.
async fn accept(
    (listener, connections): (TcpListener, Connections),
    router: &Router,
    open: &GracefulShutdown,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    http.max_buf_size(HEADER_BYTES_MAX);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => return,
        };
        let stream = match accepted {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                connections.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = connections.seat().await else {
            continue; // Dropping it closes it: requests under way on all others are served.
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers may be delayed");
        }
        let connection =
            http.serve_connection(TokioIo::new(Patient::new(stream)), service(router, &seat));
        let connection = open.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended badly");
                },
                () = seat.leave() => tracing::debug!("a connection at rest made room for another"),
            }
        });
    }
}

/// The routes, for one connection: it works while one of its requests is answered.
fn service(
    router: &Router,
    seat: &Seat,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + use<>
{
    let (connection, all) = (seat.connection(), seat.all());
    let router = TowerToHyperService::new(router.clone());
    service_fn(move |mut request: Request<Incoming>| {
        let (connection, all) = (Arc::clone(&connection), all.clone());
        connection.work();
        request.extensions_mut().insert(Arc::clone(&connection));
        let answered = router.call(request);
        async move {
            let answer = answered.await;
            connection.rest(&all);
            answer
        }
    })
}

/// Which posture is in force, and since when: what an operator asks after a reload.
async fn ready(State((readiness, doors)): State<(Arc<dyn Readiness>, Doors)>) -> Response {
    match readiness.ready() {
        Ok(()) => {
            let InForce { monitor, since, .. } = &**doors.in_force.load();
            let since = jiff::Timestamp::from_microsecond(since.micros()).unwrap_or_default();
            format!("ready\nposture {} loaded {since:.3}\n", monitor.posture.digest).into_response()
        }
        Err(why) => {
            // Anybody may ask, as often as they like: the journal says by itself when that changes.
            tracing::debug!(why, "not ready");
            problem(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The gateway takes no calls now.")
        }
    }
}
