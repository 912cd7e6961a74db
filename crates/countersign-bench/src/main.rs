//! What a call costs: the same load on an API directly and through Countersign's doors, with every
//! control on, in turns and on one machine. `scripts/bench` builds the gateway and runs this.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock and the environment")]

mod deployment;
mod disk;
mod load;
mod pages;
mod process;
mod report;
mod upstream;

use clap::{Parser, ValueEnum};
use deployment::{Deployment, Target};
use load::{Calls, Load};
use process::Gateway;
use report::{Case, Report};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What goes wrong here ends the run.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Most callers at once.
const CALLERS_MAX: usize = 256;

/// Measures calls through a gateway side by side with the same calls without one.
#[derive(Debug, Parser)]
struct Options {
    /// The gateway's binary, built for release
    #[arg(long)]
    gateway: PathBuf,
    /// Seconds for each measurement; each is taken once in every round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds: the cases take turns, so that a busy moment meets all of them
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Calls through MCP by 32 callers, in place of the rounds: how memory grows
    #[arg(long)]
    calls: Option<u64>,
    /// What the console's pages cost over a million records and ten thousand drafts, in place of the rounds
    #[arg(long)]
    pages: bool,
    /// Another gateway's MCP endpoint with a tool `search_orders`, to run beside; its bearer token in PEER_TOKEN
    #[arg(long)]
    peer: Option<String>,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| {
        if options.pages {
            return runtime
                .block_on(async { pages::measure(&options.gateway, upstream::start()?).await });
        }
        let report = runtime.block_on(measure(&options))?;
        match options.format {
            Format::Text => report.text(),
            Format::Json => report.json(),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::note(format_args!("bench: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn measure(options: &Options) -> Outcome<Report> {
    let upstream = upstream::start()?;
    let deployment = Deployment::make(upstream)?;
    let (sync, append) = (disk::sync_us()?, disk::append_us().await?);
    let gateway = Gateway::start(&options.gateway, deployment.path())?;
    let mut report = Report::new(sync, append);
    if let Some(calls) = options.calls {
        grow(calls, &deployment, &gateway, &mut report).await?;
        return Ok(report);
    }
    let mut targets = vec![
        Target::Direct(upstream),
        Target::Http(gateway.address, "search_orders"),
        Target::Mcp(gateway.address, "search_orders"),
        Target::Http(gateway.address, "list_orders"),
        Target::Mcp(gateway.address, "list_orders"),
        Target::Upstream(upstream),
        Target::Mcp(gateway.address, "find_orders"),
    ];
    if let Some(peer) = &options.peer {
        targets.push(deployment.peer(peer)?);
    }
    for round in 0..options.rounds {
        report::note(format_args!("round {} of {}", round + 1, options.rounds));
        for target in &targets {
            for callers in [1, 32] {
                let case = one(options.seconds, target, callers, &deployment, &gateway).await?;
                report.add(target, callers, case);
            }
        }
    }
    report.rss_mib = gateway.rss_mib()?;
    Ok(report)
}

async fn one(
    seconds: f64,
    target: &Target,
    callers: usize,
    deployment: &Deployment,
    gateway: &Gateway,
) -> Outcome<Case> {
    let load = Load::new(target, &deployment.requests(target, callers));
    load.run(Calls::For(Duration::from_millis(200))).await?; // connections, caches
    let before = gateway.cpu()?;
    let mut case = load.run(Calls::For(Duration::from_secs_f64(seconds))).await?;
    case.cpu = gateway.cpu()?.saturating_sub(before);
    Ok(case)
}

/// Calls on and on, and looks at the memory.
async fn grow(
    calls: u64,
    deployment: &Deployment,
    gateway: &Gateway,
    report: &mut Report,
) -> Outcome<()> {
    const STEPS: u64 = 20;
    let target = Target::Mcp(gateway.address, "search_orders");
    let load = Load::new(&target, &deployment.requests(&target, 32));
    for step in 0..STEPS {
        let before = gateway.cpu()?;
        let mut case = load.run(Calls::Exactly(calls.div_ceil(STEPS))).await?;
        case.cpu = gateway.cpu()?.saturating_sub(before);
        report.add(&target, 32, case);
        report.rss_mib = gateway.rss_mib()?;
        let done = (step + 1) * calls.div_ceil(STEPS);
        report::note(format_args!("{done} calls: {:.1} MiB resident", report.rss_mib));
        report.growth.push((done, report.rss_mib));
    }
    Ok(())
}
