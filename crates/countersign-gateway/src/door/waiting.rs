//! Whoever waits for the answer to a call: hears how far it is, and may go away.

use countersign_core::port::{Eventually, Proposer};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Most steps that wait to be told; others go unheard.
const STEPS_MAX: usize = 8;
/// How long there is between two steps, at least.
const STEP_EVERY: Duration = Duration::from_millis(50);

/// How far a call is, of how much if that is known.
pub(super) type Step = (f64, Option<f64>);

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    gone: CancellationToken,
    steps: Option<mpsc::Sender<Step>>,
    /// The last that was told, and when.
    last: Mutex<Option<(f64, Instant)>>,
}

impl Waiting {
    /// Until `gone`.
    pub(super) const fn until(gone: CancellationToken) -> Self {
        Self { gone, steps: None, last: Mutex::new(None) }
    }

    /// The same, and hears how far it is.
    pub(super) fn hearing(gone: CancellationToken) -> (Self, mpsc::Receiver<Step>) {
        let (steps, heard) = mpsc::channel(STEPS_MAX);
        (Self { steps: Some(steps), ..Self::until(gone) }, heard)
    }
}

impl Proposer for Waiting {
    /// Goes up, and not too often (2026-07-28, basic/patterns/progress).
    fn progress(&self, done: f64, of: Option<f64>) {
        let Some(steps) = &self.steps else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(
            clippy::disallowed_methods,
            reason = "how often a client is told, and nothing else"
        )]
        let now = Instant::now();
        let goes_up = last.is_none_or(|(before, _)| done > before);
        let rests = last.is_none_or(|(_, at)| now.duration_since(at) >= STEP_EVERY);
        if done.is_finite() && goes_up && rests && steps.try_send((done, of)).is_ok() {
            *last = Some((done, now));
        }
    }

    fn gone(&self) -> Eventually<'_, ()> {
        Box::pin(self.gone.cancelled())
    }
}
