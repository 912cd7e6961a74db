//! `countersign posture`: what a posture comes to, for whoever has to sign it.

mod diff;
mod prove;
mod replay;
mod show;

use super::End;
use crate::render::Failure;

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
            Self::Replay(replay) => replay.run(),
            Self::Show(show) => show.run(),
        }
    }
}
