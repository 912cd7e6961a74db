//! The room that is left: before it runs out, no call is begun any more, so that those under way
//! can still be ended on record.

use countersign_core::id::Timestamp;
use std::io;
use std::path::{Path, PathBuf};

/// With less room than this on the journal's file system no intent is recorded, in bytes. Enough
/// for hundreds of the longest outcomes, each of which stands in the log and in the database.
pub(crate) const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// It is measured no more often than this, in microseconds.
const MEASURE_US: u64 = 1_000_000;

/// The room on a path's file system for those who are not root, in bytes.
pub(crate) fn bytes_left(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The room on the journal's file system, as it was last measured.
#[derive(Debug)]
pub(super) struct Room {
    /// Where.
    journal: PathBuf,
    /// [`ROOM_BYTES_MIN`], unless a test needs another.
    pub(super) bytes_min: u64,
    measured: Option<Timestamp>,
    low: Option<String>,
}

impl Room {
    pub(super) const fn new(journal: PathBuf) -> Self {
        Self { journal, bytes_min: ROOM_BYTES_MIN, measured: None, low: None }
    }

    /// Why no call may be begun, if there is too little.
    pub(super) fn low(&mut self, now: Timestamp) -> Option<&str> {
        // A clock that went back says nothing of how long ago it was.
        let fresh = |at: Timestamp| at <= now && now.micros_since(at) < MEASURE_US;
        if !self.measured.is_some_and(fresh) {
            self.measured = Some(now);
            self.low = self.measure();
        }
        self.low.as_deref()
    }

    fn measure(&self) -> Option<String> {
        let Self { journal, bytes_min, .. } = self;
        match bytes_left(journal) {
            Ok(left) if left >= *bytes_min => None,
            Ok(_) => Some(format!(
                "the file system of the journal `{}` has less than {} MiB left: \
                 no call is begun, those under way are still recorded",
                journal.display(),
                bytes_min / (1024 * 1024)
            )),
            // Not to know is to have none.
            Err(error) => Some(format!(
                "the room left for the journal `{}` cannot be told: {error}",
                journal.display()
            )),
        }
    }

    /// Measures again next time.
    #[cfg(test)]
    pub(super) const fn forget(&mut self) {
        self.measured = None;
    }
}
