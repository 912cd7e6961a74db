//! Sign-ins between one command and the next: a file that this user alone may read.

use crate::machine::{env, private_folder};
use crate::render::{Doing, Failure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// The sign-ins of this user, by gateway.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIns {
    /// The gateway signed in to last.
    pub(crate) last: Option<String>,
    /// By the gateway's address: a token goes to the one it was got for and to no other.
    pub(crate) of: BTreeMap<String, Kept>,
}

/// One of them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) token: String,
    /// When it ends, in seconds since the epoch.
    pub(crate) expires_s: i64,
}

/// Where they are kept.
fn file() -> Result<PathBuf, Failure> {
    let config = env("XDG_CONFIG_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let config = config.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")));
    let config = config.ok_or_else(|| {
        Failure::new("there is no home folder to keep a sign-in in")
            .help("set HOME or XDG_CONFIG_HOME, or give the token in COUNTERSIGN_TOKEN")
    })?;
    Ok(config.join("countersign").join("sign-ins.json"))
}

impl SignIns {
    /// Those that are kept; none if there is no file.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Ok(file) = file() else { return Ok(Self::default()) };
        let shown = file.display();
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                return Err(Failure::new(format!("others may read {shown}"))
                    .help("take their right away, `chmod 600`, and sign in again"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).doing(shown),
        }
        let text = std::fs::read_to_string(&file).doing(shown)?;
        let read = serde_json::from_str(&text);
        read.map_err(|_secret| {
            Failure::new(format!("{} holds no sign-ins", file.display()))
                .help("delete it and sign in again")
        })
    }

    /// Puts them in the place of those that are kept, whole or not at all.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let file = file()?;
        let folder = file.parent().unwrap_or(&file);
        private_folder(folder).doing(folder.display())?;
        let text = serde_json::to_vec(self).doing("the sign-ins")?;
        let new = file.with_extension("new");
        match std::fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(new.display()),
        }
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&text));
        written.and_then(|()| std::fs::rename(&new, &file)).doing(file.display())
    }
}
