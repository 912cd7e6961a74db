//! What a follower keeps between two lives: how far it has come, in a small file in a folder beside the
//! journal.
//!
//! ```text
//! countersign/relay/1
//! SHA-256 of the last line
//! {"of": …, "journal": …, "cursor": {stream: next sequence, …}, "state": …}
//! ```
//!
//! It is replaced in one step: a crash leaves the one before or this one. What is not whole, or another
//! follower's, is refused: to guess would be to leave records out.

use crate::RelayError;
use crate::bound::KEPT_BYTES_MAX;
use countersign_core::id::Digest;
use countersign_core::reading::Cursor;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const FORMAT: &str = "countersign/relay/1";

/// Where a follower keeps how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    path: PathBuf,
    of: String,
    journal: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<T> {
    of: String,
    journal: String,
    cursor: BTreeMap<String, i64>,
    state: T,
}

/// The folder beside a journal.
fn folder(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".followers");
    name.into()
}

/// Makes the folder beside a journal, where there is none.
///
/// # Errors
/// [`RelayError::File`].
pub(crate) fn make_folder(store: &Path) -> Result<(), RelayError> {
    let folder = folder(store);
    let make = || match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // Or it may be gone after a power failure, with what is in it.
        Ok(()) => match folder.parent() {
            Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        },
    };
    make().map_err(RelayError::file(&folder))
}

impl Kept {
    /// The file of one follower, `of` this kind and name, of the journal with this public key.
    pub(crate) fn new(store: &Path, of: &str, journal: &str) -> Self {
        let path = folder(store).join(of.replace(' ', "."));
        Self { path, of: of.to_owned(), journal: journal.to_owned() }
    }

    /// What it keeps; nothing if there is no file yet.
    ///
    /// # Errors
    /// [`RelayError::Kept`], [`RelayError::Foreign`], [`RelayError::File`].
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<(Cursor, T)>, RelayError> {
        let mut text = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(KEPT_BYTES_MAX).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(self.damaged()),
            read => read.map_err(RelayError::file(&self.path))?,
        };
        let content = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n'));
        let (head, content) = content.ok_or_else(|| self.damaged())?;
        if head != format!("{FORMAT}\n{}", Digest::sha256(content.as_bytes())) {
            return Err(self.damaged());
        }
        let whole: Content<serde_json::Value> =
            serde_json::from_str(content).map_err(|_form| self.damaged())?;
        if (&whole.of, &whole.journal) != (&self.of, &self.journal) {
            return Err(RelayError::Foreign(self.path.clone()));
        }
        let state = serde_json::from_value(whole.state).map_err(|_form| self.damaged())?;
        Ok(Some((Cursor(whole.cursor), state)))
    }

    /// Keeps it. On `Ok` it survives kill -9 and power loss; a crash before leaves what was there.
    pub(crate) fn write<T: Serialize>(&self, cursor: &Cursor, state: T) -> io::Result<()> {
        let Self { path, of, journal } = self;
        let (of, journal, cursor) = (of.clone(), journal.clone(), cursor.0.clone());
        let content = serde_json::to_string(&Content { of, journal, cursor, state })?;
        let digest = Digest::sha256(content.as_bytes());
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{FORMAT}\n{digest}\n{content}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // A name whose folder was not synced may be the old one again after a power failure.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    fn damaged(&self) -> RelayError {
        RelayError::Kept { path: self.path.clone(), of: self.of.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(folder: &Path, of: &str, journal: &str) -> Kept {
        Kept::new(&folder.join("journal.db"), of, journal)
    }

    fn cursor(next: i64) -> Cursor {
        Cursor(BTreeMap::from([("ab".to_owned(), next)]))
    }

    #[test]
    fn what_was_kept_is_read_and_nothing_that_is_damaged_or_anothers() {
        let folder = tempfile::tempdir().unwrap();
        make_folder(&folder.path().join("journal.db")).unwrap();
        let mine = kept(folder.path(), "exporter siem", "k1");
        assert!(mine.read::<u64>().unwrap().is_none());
        mine.write(&cursor(7), 1_u64).unwrap();
        mine.write(&cursor(9), 2_u64).unwrap();
        assert_eq!(mine.read::<u64>().unwrap(), Some((cursor(9), 2)));
        let path = folder.path().join("journal.db.followers/exporter.siem");
        let written = fs::read(&path).unwrap();
        for (of, journal) in [("exporter other", "k1"), ("exporter siem", "k2")] {
            let other = Kept { path: path.clone(), ..kept(folder.path(), of, journal) };
            assert!(matches!(other.read::<u64>(), Err(RelayError::Foreign(_))), "{of} {journal}");
        }
        for length in 0..written.len() {
            fs::write(&path, &written[..length]).unwrap();
            let read = mine.read::<u64>();
            assert!(matches!(read, Err(RelayError::Kept { .. })), "{length}: {read:?}");
        }
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            let read = mine.read::<u64>();
            assert!(read.is_err(), "{at}: {read:?}");
        }
        assert!(kept(folder.path(), "rules", "k1").read::<u64>().unwrap().is_none());
    }
}
