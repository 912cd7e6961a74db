//! The named maximum of what the relay could otherwise let grow (invariant 9).

use std::time::Duration;

/// Most records read at once. With their bodies they are at most some 40 MiB.
pub const BATCH_MAX: u32 = 256;
/// Batches kept for those who follow at the same pace.
pub const BATCHES_KEPT_MAX: usize = 2;
/// How long a follower that has caught up waits for new records.
pub const PAUSE: Duration = Duration::from_millis(500);
/// How long a follower waits after something failed: the first time, and at most.
pub const RETRY_MIN: Duration = Duration::from_millis(200);
/// See [`RETRY_MIN`].
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long followers may take to catch up once the gateway has stopped.
pub const STOP_MAX: Duration = Duration::from_secs(3);
/// How often it is looked how far behind each is.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Behind by as long as this, in seconds, a follower is logged, and again whenever that has doubled.
pub const BEHIND_TOLD_S: u64 = 60;
/// How often an exporter that goes on writing makes durable how far it has come.
pub const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Longest line that an exporter's file may end in the middle of, in bytes: more than any record is.
pub const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How often the rules make durable how far they have come, when there is no alert.
pub const RULES_KEPT_EVERY: Duration = Duration::from_secs(10);
/// Most agents, tenants and tools together about which rules remember anything.
pub const SUBJECTS_MAX: usize = 10_000;
/// Most agents whose pace is known.
pub const PACES_MAX: usize = 1_000;
/// Windows with calls by which an agent's pace is known.
pub const PACE_WINDOWS_MAX: usize = 288;
/// So many windows with calls have to be known before anything is a spike.
pub const PACE_WINDOWS_MIN: usize = 6;
/// Fewer calls in a window than this are no spike.
pub const SPIKE_CALLS_MIN: u64 = 100;
/// Most alerts that are not on record yet.
pub const ALERTS_WAITING_MAX: usize = 10_000;
/// Largest file in which a follower keeps how far it has come, in bytes.
pub const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a connection to a destination may take to come about.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one message to a webhook may take.
pub const DELIVERY_MAX: Duration = Duration::from_secs(10);
/// So often one message is tried, two hours long, before it is given up.
pub const ATTEMPTS_MAX: u32 = 240;
/// So often one that is refused for good (400 to 499, but for 408, 425 and 429), a minute long.
pub const REFUSED_ATTEMPTS_MAX: u32 = 8;
/// How often a destination that was sent nothing keeps how far it has come.
pub const NOTIFY_KEPT_EVERY: Duration = Duration::from_secs(60);
/// Most reminders and escalations that are to come, for each destination.
pub const TIMERS_MAX: usize = 40_000;
