//! `countersign posture`: what a posture comes to, for whoever has to sign it.

mod prove;
pub(crate) mod show;

use super::End;
use crate::render::Failure;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Posture {
    /// Prove of every request what the policies of each tool have to hold, or show one that they do not
    #[command(
        after_help = "Exit codes: 0 everything is proved, 1 something is not, 2 could not run.\n\nExample: countersign posture prove my-gateway"
    )]
    Prove(prove::Prove),
    /// What each agent may reach, and the worst that comes of it in a call, a minute, an hour and a day
    #[command(after_help = "Example: countersign posture show my-gateway --agent shop-assistant")]
    Show(show::Show),
}

impl Posture {
    pub(super) fn run(&self) -> Result<End, Failure> {
        match self {
            Self::Prove(prove) => prove.run(),
            Self::Show(show) => show.run(),
        }
    }
}
