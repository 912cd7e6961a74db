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
/// How long a case may take besides its calls, in milliseconds, and how long each of these may: for
/// those that must end within a minute of the clock.
pub const CASE_TAKES_MS: u64 = 2_000;
/// See [`CASE_TAKES_MS`].
pub const CALL_TAKES_MS: u64 = 60;
/// How much two readings of one clock may differ, in milliseconds.
pub const CLOCK_MS: u64 = 50;
/// Longest answer of the team's own agent, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How much is kept of what it says on its standard error: the end, in bytes.
pub const STDERR_BYTES_MAX: usize = 4 * 1024;
/// How often it is looked whether an agent has ended.
pub const LOOKS_EVERY: Duration = Duration::from_millis(20);
/// How long its streams are waited for once it has.
pub const STREAMS_END_MAX: Duration = Duration::from_secs(5);
/// Most exchanges of an agent with the gateway in one case.
pub const EXCHANGES_MAX: usize = 10_000;
/// Most that is kept of what it was told in one case, in bytes.
pub const WITNESSED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest request that is handed on: longer than the gateway takes.
pub const WITNESS_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most turns of a model in one case.
pub const TURNS_MAX: usize = 24;
/// Most tokens of one answer.
pub const MODEL_TOKENS_MAX: u32 = 8_192;
/// Longest answer of a model's provider, in bytes.
pub const MODEL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long it may take to reach it.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How often one request is made, while the provider says that it may be made again.
pub const TRIES_MAX: u32 = 4;
/// How long is waited before it is made again, the first time.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest wait that a provider is granted.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Most pages of a list of tools.
pub const PAGES_MAX: usize = 100;
/// How long a solver may take to say which version it is.
pub const SOLVER_STARTS_MAX: Duration = Duration::from_secs(10);
/// How long a solver may take over one question.
pub const SOLVER_ANSWERS_MAX: Duration = Duration::from_secs(20);
/// Most solvers at once.
pub const SOLVERS_MAX: usize = 16;
/// Most pairs of states that are gone through when two patterns are compared.
pub const PATTERN_PAIRS_MAX: usize = 200_000;
/// Largest table that a pattern may become, in bytes.
pub const PATTERN_TABLE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most sessions that are told apart when it is asked whether an agent is the right tool.
pub const SESSIONS_MAX: usize = 200_000;
/// Most steps of a session that its path is drawn from.
pub const SESSION_STEPS_MAX: usize = 256;
/// Most agents and tools of a journal that are told apart.
pub const NAMES_MAX: usize = 10_000;
/// Most tools of a path that are written out.
pub const PATH_SHOWN_MAX: usize = 12;
/// Most paths of an agent that are shown.
pub const PATHS_SHOWN_MAX: usize = 8;
/// Longest report that is read as evidence, in bytes.
pub const EVIDENCE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most rows of a table in the package for reviewers that come from evidence.
pub const EVIDENCE_ROWS_MAX: usize = 200;
