//! The named maximum of everything that a run could let grow.

use std::time::Duration;

/// How long a gateway may take to start, and to stop.
pub const GATEWAY_STARTS_MAX: Duration = Duration::from_secs(60);
/// How long one request of the suite may take.
pub const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long an approved draft is waited for.
pub const SETTLES_MAX: Duration = Duration::from_secs(15);
/// How often it is looked whether it has settled.
pub const SETTLES_EVERY: Duration = Duration::from_millis(20);
/// How long a copy is waited for while the gateway has it.
pub const COPY_BUSY_MAX: Duration = Duration::from_secs(10);
/// Most records that are read of one journal.
pub const RECORDS_MAX: u32 = 1_000_000;
/// Largest database that is copied, in bytes.
pub const DATABASE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Most gateways at a time.
pub const GATEWAYS_MAX: usize = 16;
/// Longest text of an answer that a report repeats, in characters.
pub const TOLD_CHARS_MAX: usize = 400;
/// Most texts of one tenant that are looked for in what agents see.
pub const MARKS_MAX: usize = 1_000_000;
/// Most calls of a hijacked agent in one case: fewer than any gateway lets through in a minute.
pub const HIJACKED_CALLS_MAX: usize = 40;
/// How long the team's own agent may take for one message.
pub const COMMAND_MAX: Duration = Duration::from_secs(300);
/// Longest answer of an agent, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Most turns of a model in one case.
pub const TURNS_MAX: usize = 24;
/// How long a case may take besides its calls, in milliseconds, and how long each of these may: for
/// those that must end within a minute of the clock.
pub const CASE_TAKES_MS: u64 = 2_000;
/// See [`CASE_TAKES_MS`].
pub const CALL_TAKES_MS: u64 = 60;
/// How much two readings of one clock may differ, in milliseconds.
pub const CLOCK_MS: u64 = 50;
