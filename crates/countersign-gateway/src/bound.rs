//! The named maximum of everything a door could otherwise be made to hold (invariant 9).

use std::time::Duration;

/// Calls and lists under way at once; beyond it requests are turned away with 503.
pub const REQUESTS_UNDER_WAY_MAX: usize = 1_024;
/// How long a client may take to send a request's body.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may take to end once the gateway is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// How long a client may keep a list of tools.
pub const LIST_TTL: Duration = Duration::from_secs(30);
/// Longest life of a development token, in seconds.
pub const DEVELOPMENT_TOKEN_TTL_S: u64 = 8 * 60 * 60;
