//! The named maximum of what the index could otherwise let grow (invariant 9).

use crate::sqlite::room::ROOM_BYTES_MIN;
use std::time::Duration;

/// Most records that are taken into the index in one transaction: some milliseconds of one processor.
pub(crate) const BATCH_MAX: u32 = 1_024;
/// How long the index rests after a batch that was full, so that it does not get in the way of calls.
pub(crate) const BREATH: Duration = Duration::from_millis(20);
/// How long it waits for new records.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);
/// With less room than this on its file system the index is not filled, in bytes: the journal, which stops
/// at half of it, comes first.
pub(crate) const INDEX_ROOM_BYTES_MIN: u64 = ROOM_BYTES_MIN.saturating_mul(2);
/// How much of the journal, and of the index, is kept in memory while it is filled, in KiB.
pub(crate) const FILLER_CACHE_KIB: i64 = 512;
/// How long it waits after something failed.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
/// Most sessions whose numbers are remembered while the index is filled.
pub(crate) const SESSIONS_REMEMBERED_MAX: usize = 10_000;
/// Most questions that are answered at once.
pub(crate) const QUESTIONS_MAX: usize = 2;
/// How long one question may take.
pub(crate) const QUESTION_MAX: Duration = Duration::from_secs(2);
/// Steps of SQLite's virtual machine between two looks at the clock.
pub(crate) const STEPS_PER_LOOK: i32 = 10_000;
/// Most blocks of which one question looks at what there is in them.
pub(crate) const ZONES_READ_MAX: usize = 20_000;
/// Most blocks whose rows one question goes through.
pub(crate) const BLOCKS_READ_MAX: usize = 2_000;
/// Most blocks whose calls one question counts.
pub(crate) const BLOCKS_COUNTED_MAX: usize = 20_000;
/// Most records that one question reads.
pub(crate) const RECORDS_READ_MAX: usize = 2_000;
/// By how many places what is written of a profile's last record may be behind: it need not be written
/// with each.
pub(crate) const LAST_BEHIND_MAX: i64 = 16 * 1_024;
/// Most profiles of which it is asked where the last record is; of more, the journal's end will do.
pub(crate) const EXTENTS_MAX: usize = 64;
/// Most calls under way that are listed.
pub(crate) const UNDER_WAY_MAX: u32 = 20_000;
