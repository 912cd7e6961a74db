//! The named maximum of everything that could otherwise grow (invariant 9).

/// Longest request body a door reads, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of a request body: arrays and objects inside one another.
pub const JSON_DEPTH_MAX: usize = 32;
/// Most values in one JSON text, counting every array, object and member: what is made of a text
/// takes a multiple of its size for each.
pub const JSON_VALUES_MAX: usize = 4_096;
/// Most argument issues kept in one record.
pub const ISSUES_RECORDED_MAX: usize = 32;
/// Longest identifier from a token or a posture file, in bytes.
pub const ID_BYTES_MAX: usize = 256;
/// Longest tool name, in bytes. Model providers accept no more than 64.
pub const TOOL_NAME_BYTES_MAX: usize = 64;
/// Longest call id, in bytes.
pub const CALL_ID_BYTES_MAX: usize = 64;
/// Most values one caller attribute (a set claim) may hold.
pub const ATTRIBUTE_VALUES_MAX: usize = 1_000;
/// Most argument issues told to the agent in one refusal.
pub const ISSUES_SHOWN_MAX: usize = 10;
/// Longest claimed tool name, or failure detail, kept in a record, in bytes.
pub const DETAIL_BYTES_MAX: usize = 2_048;
/// Longest reason that a hand-written policy gives the agent, in bytes.
pub const REASON_BYTES_MAX: usize = 300;
/// Longest result kept whole in the journal, in bytes; above it, its digest and size are kept.
pub const RESULT_BYTES_RECORDED_MAX: usize = 64 * 1024;
/// Largest integer that RFC 8785 keeps apart from its neighbours: 2^53 − 1.
pub const SAFE_INTEGER_MAX: i64 = 9_007_199_254_740_991;
/// A session without a call for this long has ended, in seconds.
pub const SESSION_IDLE_S: u64 = 30 * 60;
/// A session ends this long after its first call, whatever happens, in seconds.
pub const SESSION_ABSOLUTE_S: u64 = 12 * 60 * 60;
/// Most identifiers that one rule asks a system about in one call.
pub const LOOK_UP_VALUES_MAX: usize = 32;
/// Most addresses that one message goes to.
pub const RECIPIENTS_MAX: usize = 16;
/// Most drafts, or unknown outcomes, listed at once.
pub const DRAFTS_LISTED_MAX: usize = 200;
/// Most drafts that are live at a time, over all agents.
pub const DRAFTS_LIVE_MAX: usize = 20_000;
/// Most drafts of one agent and tenant that are live at a time: people have to read them.
pub const DRAFTS_LIVE_PER_AGENT_MAX: usize = 2_000;
/// Longest reason that a person gives, in bytes.
pub const PERSON_REASON_BYTES_MAX: usize = 500;
/// Longest summary of a draft, in bytes.
pub const SUMMARY_BYTES_MAX: usize = 4_096;
/// A sign-in no older than this is fresh, in seconds.
pub const FRESH_SIGN_IN_S: u64 = 5 * 60;
/// Longest time for which somebody is let stand in, in seconds.
pub const DELEGATION_S_MAX: u32 = 30 * 24 * 60 * 60;
/// Most people for whom somebody stands in at a time.
pub const DELEGATIONS_MAX: usize = 1_000;
/// Most values in one system's answer, counting every array, object and member.
pub const ANSWER_VALUES_MAX: usize = 262_144;
/// Most values in a document that is looked through once: what the largest APIs say of themselves.
pub const DOCUMENT_VALUES_MAX: usize = 2_097_152;
/// Most records, or calls, on one page of an answer about the journal.
pub const RECORDS_LISTED_MAX: u32 = 200;
/// Most calls that are counted beyond those that are shown as new.
pub const NEWS_COUNTED_MAX: u64 = 100_000;
/// Most records of one call that are shown.
pub const RECORDS_OF_CALL_MAX: u32 = 200;
/// Most steps that a span of time is divided into.
pub const STEPS_MAX: u32 = 400;
/// Most people of whom one answer says how they decided.
pub const APPROVERS_LISTED_MAX: usize = 200;
/// Most streams of the journal that are listed.
pub const STREAMS_LISTED_MAX: u32 = 100;
/// A draft that is approved within this time of its proposal was hardly read, in seconds.
pub const HASTY_S: u64 = 5;
