//! `countersign posture`: what a posture comes to, for whoever has to sign it.

mod diff;
mod lock;
mod prove;
mod replay;
pub(crate) mod show;
mod sign;
mod staged;

use super::{At, End};
use crate::assemble::{self, Read};
use crate::render::{self, Doing as _, Failure};
use std::fs;
use std::path::Path;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Posture {
    /// Prove of every request what the policies of each tool have to hold, or show one that they do not
    #[command(
        after_help = "Exit codes: 0 everything is proved, 1 something is not, 2 could not run.\n\nExample: countersign posture prove my-gateway"
    )]
    Prove(prove::Prove),
    /// What one posture permits that another does not, in a reviewer's words
    #[command(
        after_help = "Exit codes: 0 equal or narrower, 1 wider or several tools with an effect at once, 2 could not run.\n\nExample: countersign posture diff git:main my-gateway --format markdown"
    )]
    Diff(diff::Diff),
    /// Write down what is to be signed: the posture, what it grants, and the reports on it
    #[command(
        after_help = "Exit codes: 0 it is written, 1 something is missing or has errors, 2 could not run.\n\nExample: countersign posture lock my-gateway --change https://git.example/pull/42"
    )]
    Lock(lock::Lock),
    /// Show what is to be signed, and sign it
    #[command(
        after_help = "With --key, `ssh-keygen -Y sign` makes the signature: FILE is a private key, or the .pub of one that ssh-agent or a security key holds.\n\nExit codes: 0 done, 1 there is nothing that could be signed, 2 could not run.\n\nExample: countersign posture sign my-gateway --key ~/.ssh/id_ed25519"
    )]
    Sign(sign::Sign),
    /// Write down what each write did in staging, from the journal there
    #[command(
        after_help = "Exit codes: 0 it is written, 1 the posture has errors, 2 could not run.\n\nExample: countersign posture staged my-gateway --journal staging/journal.db"
    )]
    Staged(staged::Staged),
    /// What would have become of recorded calls under another posture; nothing is touched
    #[command(
        after_help = "Exit codes: 0 nothing differs, 1 something does, 2 could not run.\n\nExample: countersign posture replay my-gateway --since 30d"
    )]
    Replay(replay::Replay),
    /// What each agent may reach, and the worst that comes of it in a call, a minute, an hour and a day
    #[command(after_help = "Example: countersign posture show my-gateway --agent shop-assistant")]
    Show(show::Show),
}

impl Posture {
    pub(super) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Diff(diff) => diff.run(),
            Self::Prove(prove) => prove.run(),
            Self::Lock(lock) => lock.run(),
            Self::Sign(sign) => sign.run(),
            Self::Staged(staged) => staged.run(),
            Self::Replay(replay) => replay.run(),
            Self::Show(show) => show.run(),
        }
    }
}

/// Deployment and posture; nothing if there were errors, which are printed.
fn read(at: &At) -> Result<Option<Read>, Failure> {
    let (read, findings) = assemble::read(&at.file())?;
    if read.is_none() {
        render::findings(&findings);
    }
    Ok(read)
}

/// Writes a file in one step: whoever reads meanwhile finds the one before. The name that it has until
/// then is hidden, and so no part of a posture.
fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    fs::create_dir_all(folder).doing(folder.display())?;
    let half = folder.join(format!(".{name}.half"));
    fs::write(&half, text).doing(half.display())?;
    let path = folder.join(name);
    fs::rename(&half, &path).doing(path.display())
}
