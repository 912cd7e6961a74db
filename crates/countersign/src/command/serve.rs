//! `countersign serve`: the gateway.

use super::End;
use crate::assemble::{self, Assembled};
use crate::machine;
use crate::render::{self, Doing, Failure};
use countersign_relay::Relay;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A runtime for everything that waits: a worker for each core but one, which is the journal's
/// thread's. More of them hand each call back and forth and wake each other up.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = cores.saturating_sub(1).max(1);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all().build().doing("no runtime")
}

/// How long threads that wait for something may hold up the end.
const RUNTIME_ENDS_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Path) -> Result<End, Failure> {
    let runtime = runtime()?;
    let assemble = async {
        // First of all, so that a SIGHUP meanwhile is a reload, and whoever stops it ends the
        // stream that it begins.
        let hangups = machine::hangups().doing("SIGHUP cannot be heard")?;
        let stopping = stopping();
        Ok(assemble::assemble(config).await?.map(|assembled| (assembled, hangups, stopping)))
    };
    // On a thread of its own: reading a posture takes much memory for a moment, and what a thread
    // does not give back while it lives it gives back at its end.
    let assembled = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(assemble)).join());
    let assembled =
        assembled.map_err(|_panicked| Failure::new("the start did not come to its end"))??;
    let Some((Assembled { gateway, reloader, store, relay, listen }, hangups, stopping)) =
        assembled
    else {
        return Ok(End::Findings);
    };
    let posture = gateway.in_force.load().monitor.posture.digest;
    let served = runtime.block_on(async {
        let listener =
            TcpListener::bind(listen).await.doing(format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().doing("the listener")?;
        render::note(format_args!(
            "countersign serves MCP on http://{address}/mcp and HTTP on http://{address}/v1, posture {posture}"
        ));
        let reloading = tokio::spawn(reloader.run(hangups));
        let relaying = Relaying::begin(relay);
        let served = gateway.serve(listener, stopping).await.doing("serving ended");
        reloading.abort();
        relaying.end().await;
        served
    });
    // A thread that waits for a file that never comes must not keep the journal from its end.
    runtime.shutdown_timeout(RUNTIME_ENDS_MAX);
    // Also after a failure: what is queued must reach the disk, and the stream end in good order.
    let closed = store.close().doing("the journal could not be closed in good order");
    served.and(closed).map(|()| End::Fine)
}

/// A relay at work beside a gateway.
pub(super) struct Relaying {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Relaying {
    pub(super) fn begin(relay: Relay) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(relay.run(async move {
            // The other end being dropped means the same: stop.
            drop(stopped.await);
        }));
        Self { stop, task }
    }

    /// Lets it catch up with what was recorded to the end.
    pub(super) async fn end(self) {
        drop(self.stop);
        if let Err(lost) = self.task.await {
            render::note(format_args!("warning: what tails the journal was lost: {lost}"));
        }
    }
}

/// Hears from here on when to stop; without signals the gateway runs until it is killed.
pub(super) fn stopping() -> impl Future<Output = ()> {
    let asked = machine::asked_to_stop();
    async move {
        match asked {
            Ok(asked) => asked.await,
            Err(error) => {
                render::note(format_args!(
                    "warning: signals are not heard ({error}): stop with kill"
                ));
                std::future::pending::<()>().await;
            }
        }
    }
}
