//! The named maximum of everything a door could otherwise be made to hold (invariant 9).

use std::time::Duration;

/// Calls and lists under way at once; beyond it requests are turned away with 503.
pub const REQUESTS_UNDER_WAY_MAX: usize = 1_024;
/// Most requests to the console under way at one time.
pub const CONSOLE_REQUESTS_UNDER_WAY_MAX: usize = 512;
/// Requests to the development issuer under way at once; they have no token, so no share in the above.
pub const TOKEN_REQUESTS_UNDER_WAY_MAX: usize = 8;
/// Connections at once; for one more, the one that has rested longest is closed.
pub const CONNECTIONS_MAX: usize = 4_096;
/// A request's line and headers together, in bytes: the longest token and as much again. What was
/// read along with its last bytes may be as long.
pub const HEADER_BYTES_MAX: usize = 32 * 1_024;
/// Bodies held at once, in KiB: read or being read, until their requests are answered.
pub const BODIES_KIB_MAX: usize = 32 * 1_024;
/// How long a client may take to send a request's headers, the first or the next on a connection.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client may take to send a request's body.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may take to end once the gateway is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// How long connections may take to end before and after that: answers are written, idle ones closed.
pub const FLUSH_GRACE: Duration = Duration::from_secs(1);
/// How long nothing is accepted after accepting failed, for want of file descriptors above all.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may keep a list of tools.
pub const LIST_TTL: Duration = Duration::from_secs(30);
/// Longest life of a development token, in seconds.
pub const DEVELOPMENT_TOKEN_TTL_S: u64 = 8 * 60 * 60;
/// Drafts that are carried out at once.
pub const COMMITS_UNDER_WAY_MAX: usize = 32;
/// How often it is looked which drafts are due.
pub const DUE_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may wait for its reader without a byte being taken.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// How long a body that is too large may take to go by before it is answered all the same.
pub const PASS_OVER_MAX: Duration = Duration::from_secs(1);
/// Most changed definitions that wait to be recorded.
pub(crate) const CHANGES_MAX: usize = 4_096;
