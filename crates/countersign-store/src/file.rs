//! The files beside the database: this user's alone, synced where that matters, never shared.

use crate::sqlite::StoreError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

/// What group and others may do with a file: for a private one, nothing.
const OTHERS: u32 = 0o077;

/// The journal's own path, whatever links lead to it: its lock and its log are looked for beside one
/// name, so that two processes cannot each have a set of their own. Of hard links none is its own.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let resolved = path.canonicalize().map_err(|source| match source.kind() {
        ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
        _ => StoreError::File { path: path.to_owned(), source },
    })?;
    let names = std::fs::metadata(&resolved).map_err(StoreError::file(&resolved))?.nlink();
    if names > 1 { Err(StoreError::Linked(resolved)) } else { Ok(resolved) }
}

/// Held for the life of the writer; the system gives it back when the process dies, however.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(&lock_path)
        .map_err(StoreError::file(&lock_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::File { path: lock_path, source }),
    }
}

/// Whether a writer has ever had it, and so left its lock.
pub(crate) fn locked_before(path: &Path) -> bool {
    beside(path, ".lock").exists()
}

/// Reads a secret, if it is one: whoever else could have read it could sign in this one's place.
pub(crate) fn read_secret(path: &Path) -> Result<String, StoreError> {
    let metadata = std::fs::metadata(path).map_err(StoreError::file(path))?;
    if metadata.permissions().mode() & OTHERS != 0 {
        return Err(StoreError::Exposed(path.to_owned()));
    }
    std::fs::read_to_string(path).map_err(StoreError::file(path))
}

/// The path with something added to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes a file that was not there, for this user alone, and syncs it. So are the folders that
/// have to be made for it.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), StoreError> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(StoreError::file(folder))?;
    }
    let write = || {
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(StoreError::file(path))
}

/// Writes a file's own bytes over it, and syncs it; one that is not there is none. A crash here
/// leaves the same bytes.
///
/// After a failed sync the kernel may hold pages that it shows to readers, counts as written and has
/// not written: a sync alone would succeed and keep nothing.
pub(crate) fn rewrite(path: &Path) -> Result<(), StoreError> {
    let write = || {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    write().map_err(StoreError::file(path))
}

/// Tells whether a file that is open still has its name. One that was moved or removed takes writes
/// and syncs as before, and is not found by the next process.
#[derive(Debug)]
pub(crate) struct Anchor {
    path: PathBuf,
    file: (u64, u64),
}

impl Anchor {
    pub(crate) fn new(path: PathBuf) -> Result<Self, StoreError> {
        let file = file(&path).map_err(StoreError::file(&path))?;
        Ok(Self { path, file })
    }

    /// Why nothing may be written, if it has not.
    pub(crate) fn lost(&self) -> Option<String> {
        let name = self.path.display();
        match file(&self.path) {
            Ok(file) if file == self.file => None,
            Ok(_) => Some(format!("another file is in the place of the journal's `{name}`")),
            Err(error) => Some(format!("the journal's `{name}` is not in its place: {error}")),
        }
    }
}

/// What tells a file from every other: its device and its number there.
fn file(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// A file whose folder was not synced may be gone after a power failure.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::file(folder))
}
