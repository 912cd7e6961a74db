//! git, asked what a folder was: it goes by the repository that a person stands in, and by nothing that the
//! folder brought with it.
//!
//! What is reviewed may hold files that git would take for a repository, with settings that start programs
//! and branches of its own. Trusted is the repository of the folder in which the command is started, with
//! its settings, and the settings of whoever starts it.

use crate::render::{Doing as _, Failure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whatever a repository's settings say: no repository but `.git`, no program, nothing fetched.
const SETTINGS: [&str; 4] = [
    "safe.bareRepository=explicit",
    "protocol.allow=never",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
];
/// The same for what settings could say otherwise, and answers that can be read.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("LC_ALL", "C"),
];
/// Says only that less is read.
const KEPT: &str = "GIT_CONFIG_NOSYSTEM";

/// A folder under version control.
#[derive(Debug)]
pub(crate) struct Versioned {
    folder: PathBuf,
}

impl Versioned {
    /// A folder, if the repository that it is in is the one around the folder where the command was
    /// started, or if that is in none.
    pub(crate) fn of(folder: &Path) -> Result<Self, Failure> {
        let shown = folder.display();
        let folder = folder.canonicalize().doing(folder.display())?;
        let top = top(&folder)
            .ok_or_else(|| Failure::new(format!("{shown} is in no repository of git")))?;
        let here = std::env::current_dir().and_then(|here| here.canonicalize());
        let around = here.ok().and_then(|here| self::top(&here));
        if around.is_some_and(|around| top != around && top.starts_with(around)) {
            let said = format!("{shown} is of a repository within the one here: {}", top.display());
            return Err(Failure::new(said).help(
                "what it says it was is its own word; to take it all the same, start there",
            ));
        }
        let versioned = Self { folder };
        let found = versioned.ask(&["rev-parse", "--show-toplevel"])?;
        let found = String::from_utf8(found).doing("the name of the repository")?;
        let found = Path::new(found.trim_end_matches('\n')).canonicalize();
        if !found.is_ok_and(|found| found == top) {
            let said = format!("git does not take {} for the repository of {shown}", top.display());
            return Err(Failure::new(said));
        }
        Ok(versioned)
    }

    /// What git answers about it.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut command = Command::new("git");
        // Whatever led it to another repository, other objects or other settings.
        for (name, _) in std::env::vars_os() {
            let redirects = name.to_string_lossy().starts_with("GIT_") && name != KEPT;
            if redirects {
                command.env_remove(name);
            }
        }
        command.envs(ENVIRONMENT).args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let answer = command.arg("-C").arg(&self.folder).args(arguments).output();
        let answer = answer.doing("git does not start")?;
        if answer.status.success() {
            return Ok(answer.stdout);
        }
        let said = String::from_utf8_lossy(&answer.stderr);
        Err(Failure::new(format!("git says: {}", said.trim())))
    }
}

/// The nearest folder around one with a `.git` in it.
fn top(folder: &Path) -> Option<PathBuf> {
    let has = |folder: &&Path| folder.join(".git").symlink_metadata().is_ok();
    folder.ancestors().find(has).map(Path::to_owned)
}
