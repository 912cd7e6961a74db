//! The machine: clock, randomness, environment, signals. Nothing else in the project reads them.

use countersign_core::id::Timestamp;
use countersign_core::port::{Clock, Entropy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the `Clock` that others take")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        #[expect(clippy::disallowed_methods, reason = "this is the `Entropy` that others take")]
        let filled = getrandom::fill(bytes);
        if filled.is_err() {
            // Going on would mean salts and ids that can be guessed.
            std::process::abort();
        }
    }
}

/// Makes a folder, and those above it, for this user alone. One that is there stays as it is.
///
/// # Errors
/// The file system's.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// How many files and connections this process may have open, once that is as many as it may say
/// itself. Where nobody tells, few.
pub(crate) fn descriptors() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let held = if raised.is_ok() { maximum } else { current };
    held.map_or(1_024, |held| usize::try_from(held).unwrap_or(usize::MAX))
}

/// A variable of the environment.
pub(crate) fn env(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
}

/// Operational logs go to standard error: ids and digests, never arguments or results.
/// `COUNTERSIGN_LOG` sets what is shown (`info`, `countersign_store=debug`, …).
pub(crate) fn start_logging() {
    // rmcp warns of every protocol error that it answers with; the journal has those.
    let usual = || EnvFilter::new("warn,countersign=info,rmcp=error");
    let filter = env("COUNTERSIGN_LOG")
        .and_then(|wanted| EnvFilter::try_new(wanted).ok())
        .unwrap_or_else(usual);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && env("NO_COLOR").is_none())
        .init();
}

/// Hears SIGHUP from here on; until then it ends the process.
///
/// # Errors
/// The runtime's, if signals cannot be listened for.
pub(crate) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Hears Ctrl-C and SIGTERM from here on; until then they end the process at once. The future ends
/// with the first of them.
///
/// # Errors
/// The runtime's, if signals cannot be listened for.
pub(crate) fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
