//! The named maximum of everything that a posture could let grow.

/// Largest posture or deployment file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Largest posture, all files together, in bytes.
pub const POSTURE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most files in a posture, whatever they are.
pub const FILES_MAX: usize = 20_000;
/// Deepest nesting of mappings and lists in a file.
pub const YAML_DEPTH_MAX: usize = 32;
/// Longest single-line text (purpose, reason, owner, path), in bytes.
pub const LINE_BYTES_MAX: usize = 1_024;
/// Longest description, in bytes. A model reads it with every request.
pub const DESCRIPTION_BYTES_MAX: usize = 4_096;
/// Longest SQL statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Longest regular expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Largest compiled regular expression, in bytes of memory.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Highest call limit.
pub const LIMIT_MAX: u32 = 1_000_000_000;
/// Longest statement timeout, in milliseconds.
pub const TIMEOUT_MS_MAX: u32 = 300_000;
/// Most rows of one result.
pub const ROWS_MAX: u32 = 100_000;
/// Largest result, in bytes.
pub const RESULT_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Most statements at once on one system.
pub const CONCURRENCY_MAX: u32 = 256;
/// Statements at once on one system that does not say.
pub const CONCURRENCY_DEFAULT: u32 = 4;
/// Longest value of a deployment reference that is read from a file, in bytes.
pub const REFERENCE_BYTES_MAX: u64 = 64 * 1024;
/// Longest time that a draft waits for its approvers, in seconds.
pub const GATE_EXPIRES_SECONDS_MAX: u32 = 30 * 86_400;
/// Most people named as a tool's approvers.
pub const APPROVERS_MAX: usize = 64;
/// Most values of an enumeration that a message lists.
pub const VALUES_SHOWN_MAX: usize = 10;
/// Most characters of a name sent by an agent that a message repeats.
pub const NAME_CHARS_SHOWN_MAX: usize = 64;
/// Longest time for which the answer of a look-up holds, in milliseconds.
pub const CACHE_MS_MAX: u32 = 3_600_000;
/// Most values of an `allowed` look-up.
pub const ALLOWED_ROWS_MAX: u32 = 1_000;
/// Largest answer of a look-up, in bytes.
pub const LOOK_UP_BYTES_MAX: u32 = 64 * 1024;
/// Most places in a token where one thing is looked for.
pub const POINTERS_MAX: usize = 8;
/// Longest time of one look-up, in milliseconds, whatever its system admits: a call may ask many.
pub const LOOK_UP_TIMEOUT_MS_MAX: u32 = 2_000;
/// Most rows that one call may change.
pub const AFFECTS_MAX: u32 = 1_000;
/// Most rows of a preview; a person reads them.
pub const PREVIEW_ROWS_MAX: u32 = 20;
/// Longest time that a decision point is waited for, in milliseconds.
pub const DECISION_TIMEOUT_MS_MAX: u32 = 10_000;
/// How long before an exception ends `check` begins to say so, in seconds.
pub const EXCEPTION_ENDS_SECONDS: u32 = 30 * 86_400;
/// Most exporters.
pub const EXPORTERS_MAX: usize = 8;
/// Most destinations where people are told.
pub const DESTINATIONS_MAX: usize = 16;
/// Longest window and longest cool-down of an alert rule, in seconds.
pub const ALERT_SECONDS_MAX: u32 = 7 * 86_400;
/// Highest threshold of an alert rule: so many times are remembered.
pub const ALERT_THRESHOLD_MAX: u32 = 1_000;
/// Most cases in one file of the evaluation suite.
pub const EVAL_CASES_MAX: usize = 1_000;
/// Most steps of a case's script.
pub const EVAL_STEPS_MAX: usize = 64;
/// Most repetitions of one step.
pub const EVAL_TIMES_MAX: u32 = 1_000;
/// Longest text that a case sends or plants, in bytes: more than a door takes.
pub const EVAL_TEXT_BYTES_MAX: usize = 300 * 1024;
/// Longest that a case waits in one step, in milliseconds.
pub const EVAL_WAIT_MS_MAX: u32 = 60_000;
/// Longest time since a person signed in, in seconds.
pub const EVAL_SIGNED_IN_S_MAX: u32 = 86_400;
/// Longest time for which it is taken on trust that an MCP server's definitions are as they were
/// reviewed, in milliseconds.
pub const RECHECK_MS_MAX: u32 = 300_000;
/// The same of a system that does not say.
pub const RECHECK_MS_DEFAULT: u32 = 10_000;
/// Most words that a program is started with.
pub const PROGRAM_WORDS_MAX: usize = 64;
/// Largest file of pins, in bytes: as large as what a server says of all its tools.
pub const PINS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most findings about the words of one system's pins.
pub const PINS_REPORTED_MAX: usize = 100;
/// Largest document that drafts are made of, in bytes.
pub const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most drafts of one import.
pub const DRAFTS_MAX: usize = 2_000;
/// Most characters of a source's words in a comment of a draft.
pub const DRAFT_COMMENT_CHARS_MAX: usize = 200;
/// Most values that a draft lists: more are for somebody to choose from.
pub const DRAFT_ENUM_MAX: usize = 100;
/// Deepest nesting of a drafted argument.
pub const DRAFT_DEPTH_MAX: usize = 6;
/// Most places of a source's schemas that are looked at for one draft.
pub const DRAFT_NODES_MAX: usize = 200;
/// Most roles that have to sign.
pub const SIGN_OFF_ROLES_MAX: usize = 8;
/// Most reviewers of a deployment.
pub const REVIEWERS_MAX: usize = 64;
/// Most signatures on a lock.
pub const SIGNATURES_MAX: usize = 64;
/// Longest signature, armoured, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 4 * 1024;
/// Most effects in staging that a deployment may ask for.
pub const STAGING_RUNS_MAX: u32 = 1_000_000;
/// Most days in staging that a deployment may ask for.
pub const STAGING_DAYS_MAX: u32 = 366;
/// Largest lock, in bytes: twenty thousand grants fit.
pub const LOCK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest report that is evidence, in bytes.
pub const EVIDENCE_BYTES_MAX: usize = 64 * 1024 * 1024;
