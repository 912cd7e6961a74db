//! The disk that a journal is on: how much room it has, and how long it takes to keep something.

use crate::sqlite::room::{ROOM_BYTES_MIN, bytes_left};
use countersign_core::port::Clock;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// How many writes are timed.
const WRITES: usize = 9;
/// How long each is: as long as a usual record, in bytes.
const WRITE_BYTES: usize = 700;

/// How a journal's disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Room for files of whoever asks, in bytes.
    pub bytes_left: u64,
    /// With less than this no call is begun.
    pub bytes_min: u64,
    /// The median time until a write is on stable storage, in microseconds.
    pub sync_us: u64,
}

impl Disk {
    /// Measures the disk that `folder` is on, by a file that is there for a moment. Blocking.
    ///
    /// # Errors
    /// The folder is not there, or nothing can be written in it.
    pub fn measure(folder: &Path, clock: &dyn Clock) -> io::Result<Self> {
        let path = folder.join(format!(".countersign-doctor-{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        let timed = timed(file, clock);
        fs::remove_file(&path)?;
        Ok(Self { bytes_left: bytes_left(folder)?, bytes_min: ROOM_BYTES_MIN, sync_us: timed? })
    }
}

fn timed(mut file: File, clock: &dyn Clock) -> io::Result<u64> {
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = clock.now();
        file.write_all(&[0; WRITE_BYTES])?;
        file.sync_data()?;
        times.push(clock.now().micros_since(begun));
    }
    times.sort_unstable();
    Ok(times.get(WRITES / 2).copied().unwrap_or_default())
}
