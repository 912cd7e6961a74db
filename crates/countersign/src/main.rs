//! `countersign`: the one place that names every back end, reads the environment, renders what
//! went wrong and sets exit codes.

mod assemble;
mod command;
mod evidence;
mod git;
mod here;
mod machine;
mod policies;
mod relay;
mod reload;
mod render;
mod report;

use clap::Parser;
use std::process::ExitCode;

/// A call allocates some hundred small things on one thread and frees many of them on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A gateway between AI agents that call tools and the production systems those tools reach.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 fine, 1 findings, 2 could not run.\n\
    Environment: COUNTERSIGN_LOG sets what is logged (warn, info, countersign_store=debug, …); NO_COLOR.")]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    machine::start_logging();
    match cli.command.run().and_then(|end| render::heard().map(|()| end)) {
        Ok(end) => end.into(),
        Err(failure) => {
            render::failure(&failure);
            ExitCode::from(2)
        }
    }
}
