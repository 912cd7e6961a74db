//! The last head, written down outside the database.
//!
//! Each commit leaves the signed head of its moment in SQLite's log. Whoever can write the log can
//! cut it at an earlier commit, and what is left is a journal that this key signed. The witness,
//! beside the signing key, says how far the journal had come.

use crate::file::{beside, private, write_new};
use crate::key::{PublicKey, SigningKey};
use crate::place::{self, Head};
use crate::sqlite::StoreError;
use countersign_core::chain::{self, GENESIS};
use countersign_core::id::Digest;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What is added to the name of the signing key's file.
const SUFFIX: &str = ".head";
/// How long every record is.
const RECORD_BYTES: u64 = 288;
/// What a witness names before a stream has begun.
const NO_STREAM: &str = "00000000000000000000000000000000";
/// A reader may meet a record that is being overwritten; so many times it looks again.
const LOOKS_MAX: usize = 5;

/// The last head that a journal is known to have had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Which stream it is of, counted from 1; 0 before there is one.
    pub epoch: u64,
    /// That stream.
    pub stream: String,
    /// Its last sequence then.
    pub seq: u64,
    /// The hash of that entry.
    pub hash: Digest,
    signature: Vec<u8>,
}

impl Witness {
    /// Where a gateway keeps it: beside the signing key, with `.head` added to its name.
    #[must_use]
    pub fn beside(key: &Path) -> PathBuf {
        beside(key, SUFFIX)
    }

    /// Reads a witness; a gateway may be overwriting it. If it is to be compared with a journal
    /// that is being written it has to be read first: the journal is ahead of it, never behind.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be read, [`StoreError::NoWitness`] if it is not there,
    /// [`StoreError::Tampered`] if it is none.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        for _look in 0..LOOKS_MAX {
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    if let Some(witness) = Self::parse(&text) {
                        return Ok(witness);
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(StoreError::NoWitness(path.to_owned()));
                }
                // Not UTF-8 is no witness either.
                Err(error) if error.kind() == ErrorKind::InvalidData => {}
                Err(error) => return Err(StoreError::file(path)(error)),
            }
        }
        Err(StoreError::Tampered(format!("`{}` is no head of a journal", path.display())))
    }

    fn sign(key: &SigningKey, epoch: u64, stream: &str, head: Head) -> Self {
        let Head { sequence: seq, hash } = head;
        let unsigned =
            Self { epoch, stream: stream.to_owned(), seq, hash, signature: Vec::default() };
        Self { signature: key.sign(&unsigned.text()), ..unsigned }
    }

    /// What is signed. Numbers have as many digits as the longest, so that all records are equally
    /// long and one overwrites another whole.
    fn text(&self) -> String {
        let Self { epoch, stream, seq, hash, signature: _ } = self;
        format!("countersign/head/1\n{epoch:020}\n{stream}\n{seq:020}\n{hash}\n")
    }

    fn record(&self) -> String {
        format!("{}{}\n", self.text(), hex::encode(&self.signature))
    }

    fn parse(record: &str) -> Option<Self> {
        let mut lines = record.lines().skip(1);
        let epoch = lines.next()?.parse().ok()?;
        let stream = lines.next().filter(|stream| stream.len() == NO_STREAM.len())?.to_owned();
        let seq = lines.next()?.parse().ok()?;
        let mut hash = [0; 32];
        hex::decode_to_slice(lines.next()?, &mut hash).ok()?;
        let signature = hex::decode(lines.next()?).ok().filter(|bytes| bytes.len() == 64)?;
        let witness = Self { epoch, stream, seq, hash: Digest::from_bytes(hash), signature };
        (witness.record() == record).then_some(witness)
    }

    /// Why the journal is not the one that this was written of, or not as far any more; `None` if
    /// it is. It may be further: see [`Keeper::write`].
    pub(crate) fn disagrees(
        &self,
        connection: &Connection,
        key: &PublicKey,
    ) -> rusqlite::Result<Option<String>> {
        let Self { epoch, stream, seq, hash: _, signature } = self;
        if !key.signed(&self.text(), signature) {
            return Ok(Some("the last head on record was not signed by its key".to_owned()));
        }
        if *epoch == 0 {
            return Ok(None);
        }
        let found = Found::read(connection, self)?;
        Ok(match found {
            Some(found) if found.seq >= *seq && !found.signed(stream, key) => {
                Some(format!("the head of stream `{stream}` is not signed by its key"))
            }
            Some(found) if found.holds(self) => None,
            Some(_) | None => Some(format!(
                "it had come to entry {seq} of stream `{stream}`, which is not there any more"
            )),
        })
    }
}

/// What the journal says of the stream that a witness names.
struct Found {
    seq: u64,
    hash: Vec<u8>,
    signature: Vec<u8>,
    /// The hash of the entry that the witness names.
    entry: Option<Vec<u8>>,
}

impl Found {
    fn read(connection: &Connection, witness: &Witness) -> rusqlite::Result<Option<Self>> {
        let epoch = i64::try_from(witness.epoch).unwrap_or(i64::MAX);
        connection
            .prepare(
                "SELECT head_seq, head_hash, signature,
                   (SELECT hash FROM entries WHERE place = ?3)
                 FROM streams WHERE stream = ?1 AND epoch = ?2",
            )?
            .query_row(params![witness.stream, epoch, place::row(epoch, witness.seq)], |row| {
                let seq: i64 = row.get(0)?;
                Ok(Self {
                    seq: u64::try_from(seq).unwrap_or(0),
                    hash: row.get(1)?,
                    signature: row.get(2)?,
                    entry: row.get(3)?,
                })
            })
            .optional()
    }

    fn signed(&self, stream: &str, key: &PublicKey) -> bool {
        let hash: Result<[u8; 32], _> = self.hash.as_slice().try_into();
        hash.is_ok_and(|hash| {
            let text = chain::checkpoint(stream, self.seq, &Digest::from_bytes(hash));
            key.signed(&text, &self.signature)
        })
    }

    /// The entry is there, and at the head or below it.
    fn holds(&self, witness: &Witness) -> bool {
        let hash = witness.hash.as_bytes();
        self.entry.as_deref() == Some(hash)
            && (self.seq > witness.seq || (self.seq == witness.seq && self.hash == hash))
    }
}

/// Keeps the witness of an open journal.
#[derive(Debug)]
pub(crate) struct Keeper {
    file: File,
    path: PathBuf,
}

impl Keeper {
    /// Writes the first witness of a journal, in which nothing has happened.
    pub(crate) fn create(key_path: &Path, key: &SigningKey) -> Result<(), StoreError> {
        let head = Head { sequence: 0, hash: GENESIS };
        write_new(&Witness::beside(key_path), &Witness::sign(key, 0, NO_STREAM, head).record())
    }

    /// Opens the one that is there; with `anew`, any file there, or none. It is as it was until it
    /// is written.
    pub(crate) fn open(key_path: &Path, anew: bool) -> Result<Self, StoreError> {
        let path = Witness::beside(key_path);
        let file = private(OpenOptions::new().write(true).create(anew).truncate(false))
            .open(&path)
            .map_err(StoreError::file(&path))?;
        Ok(Self { file, path })
    }

    /// Writes the head over the one before. To be called after the commit of that head has
    /// returned, and before anybody is told of it.
    ///
    /// It is not synced. A process that is killed has handed the write to the system all the same.
    /// A power cut may lose it, and then the witness is behind the journal, never ahead: the
    /// journal was synced before. A record is one write into one sector, so it is the old one or
    /// the new.
    pub(crate) fn write(
        &mut self,
        key: &SigningKey,
        (epoch, stream): (u64, &str),
        head: Head,
    ) -> Result<(), String> {
        let record = Witness::sign(key, epoch, stream, head).record();
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(record.as_bytes())
        };
        write().map_err(|error| {
            format!("the head could not be written to `{}`: {error}", self.path.display())
        })
    }

    /// What has been written is all there is, and survives a power cut too.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let sync = || {
            self.file.set_len(RECORD_BYTES)?;
            self.file.sync_all()
        };
        sync().map_err(StoreError::file(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_anything_else_is_none() {
        let key = SigningKey::parse(&"07".repeat(32)).unwrap();
        let head = Head { sequence: 41, hash: Digest::from_bytes([9; 32]) };
        let stream = "0123456789abcdef0123456789abcdef";
        let witness = Witness::sign(&key, 3, stream, head);
        let record = witness.record();
        assert_eq!(u64::try_from(record.len()), Ok(RECORD_BYTES));
        assert!(record.len() <= 512, "one sector");
        assert_eq!(Witness::parse(&record), Some(witness));
        let first = Witness::sign(&key, u64::MAX, stream, Head { sequence: u64::MAX, ..head });
        assert_eq!(first.record().len(), record.len());
        for wrong in [
            String::new(),
            record.trim_end().to_owned(),
            format!("{record}\n"),
            record.replace("head/1", "head/2"),
            record.replace("0000041", "+000041"),
            record.replace("abcdef", "abcde"),
        ] {
            assert_eq!(Witness::parse(&wrong), None, "{wrong}");
        }
    }
}
