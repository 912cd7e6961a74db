//! What questions ask of SQLite: everything, so that a test can see that nothing is gone through whole.

/// How far the index has come.
pub(super) const UPTO: &str = "SELECT upto FROM state WHERE one = 1";
/// Profiles that were not there before.
pub(super) const PROFILES: &str = "SELECT id, text, first FROM profiles WHERE id > ?1 ORDER BY id";
/// Where a profile was last met.
pub(super) const LAST_OF: &str = "SELECT last FROM profiles WHERE id = ?1";
/// A session's number.
pub(super) const SESSION: &str = "SELECT id FROM sessions WHERE digest = ?1";
/// What there is in blocks, from one down to another.
pub(super) const ZONES: &str = "SELECT block, at_min, at_max, profiles, sessions FROM zones
     WHERE block <= ?1 AND block >= ?2 ORDER BY block DESC";
/// The same upwards: faster where the order is no matter and the file has to be read from the disk.
pub(super) const ZONES_UPWARDS: &str = "SELECT block, at_min, at_max, profiles, sessions FROM zones
     WHERE block <= ?1 AND block >= ?2 ORDER BY block";
/// A block.
pub(super) const BLOCK: &str = "SELECT rows FROM blocks WHERE block = ?1";
/// Calls under way.
pub(super) const UNDER_WAY: &str = "SELECT place, profile, session, at FROM under_way
     WHERE place > ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3";
/// The records of a draft.
pub(super) const OF_DRAFT: &str =
    "SELECT place FROM of_drafts WHERE draft = ?1 AND place < ?2 ORDER BY place DESC";
/// Counts of a span of time.
pub(super) const TALLIES: &str = "SELECT at, profile, count FROM tallies
     WHERE grain = ?1 AND whole = ?2 AND at >= ?3 AND at < ?4";
/// Drafts that were proposed in a span of time.
pub(super) const PROPOSED: &str =
    "SELECT proposed, tenant FROM drafts WHERE proposed >= ?1 AND proposed < ?2";
/// Those that ceased to wait in it.
pub(super) const ENDED: &str =
    "SELECT ended, proposed, tenant, how, person, shown, place FROM drafts
     WHERE ended >= ?1 AND ended < ?2";
/// Those that waited when it began.
pub(super) const WAITING: &str = "SELECT tenant FROM drafts WHERE ended >= ?1 AND proposed < ?1";
/// Of the journal: the records of a call.
pub(super) const OF_CALL: &str =
    "SELECT place FROM entries WHERE call = ?1 AND place < ?2 ORDER BY place DESC";
/// The first record behind a place.
pub(super) const NEXT: &str = "SELECT at FROM entries WHERE place > ?1 ORDER BY place LIMIT 1";
/// Where streams end, from one on.
pub(super) const HEADS: &str = "SELECT epoch, head_seq FROM streams WHERE epoch >= ?1";
/// The newest streams.
pub(super) const STREAMS: &str =
    "SELECT epoch, stream, head_seq FROM streams WHERE epoch > 0 ORDER BY epoch DESC LIMIT ?1";
/// A stream's last record.
pub(super) const LAST: &str = "SELECT hash, header FROM entries WHERE place = ?1";
/// A stream's epoch.
pub(super) const EPOCH: &str = "SELECT epoch FROM streams WHERE stream = ?1";
/// The newest epoch, which is how many streams there are.
pub(super) const EPOCHS: &str = "SELECT ifnull(max(epoch), 0) FROM streams";

/// All of them that ask the index.
#[cfg(test)]
pub(super) const OF_INDEX: [&str; 13] = [
    UPTO,
    PROFILES,
    LAST_OF,
    SESSION,
    ZONES,
    ZONES_UPWARDS,
    BLOCK,
    UNDER_WAY,
    OF_DRAFT,
    TALLIES,
    PROPOSED,
    ENDED,
    WAITING,
];
/// All of them that ask the journal.
#[cfg(test)]
pub(super) const OF_JOURNAL: [&str; 7] = [OF_CALL, NEXT, HEADS, STREAMS, LAST, EPOCH, EPOCHS];
