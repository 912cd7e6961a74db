//! `countersign fit`: whether an agent is the right tool.

mod ask;

use super::End;
use super::audit::{Which, time};
use crate::assemble::{self, Read};
use crate::render::{self, Doing as _, Failure};
use crate::report::visible;
use clap::ValueEnum;
use countersign_assurance::bound::{PATH_SHOWN_MAX, PATHS_SHOWN_MAX};
use countersign_assurance::fit::{self, Log, ReadSoFar, SESSIONS_ENOUGH, Verdict, Week, percent};
use countersign_core::id::Timestamp;
use countersign_core::reading::{Cursor, Parts};
use countersign_posture::did_you_mean;
use countersign_store::audit::Filter;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many records are held at once.
const RECORDS_AT_ONCE: u32 = 1_000;
/// How many weeks people are shown: the newest.
const WEEKS_SHOWN_MAX: usize = 12;
/// How long a bar is that stands for all sessions.
const BAR: u64 = 24;

#[derive(Debug, clap::Args)]
pub(crate) struct Fit {
    #[command(flatten)]
    which: Which,
    /// Only this agent
    #[arg(long)]
    agent: Option<String>,
    /// What was recorded at this time or later: `30d`, `12h`, or a time such as 2026-09-01T00:00:00Z
    #[arg(long, value_parser = time)]
    since: Option<Timestamp>,
    /// Before this
    #[arg(long, value_parser = time)]
    until: Option<Timestamp>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Before there is a log: ask what the work is like
    #[arg(long, conflicts_with_all = ["journal", "agent", "since", "until"])]
    ask: bool,
    #[command(flatten)]
    answers: ask::Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// The paths, drawn
    Svg,
}

impl Fit {
    pub(super) fn run(&self) -> Result<End, Failure> {
        if self.ask || self.answers.any() {
            return ask::run(&self.answers, self.format);
        }
        let grants = self.grants()?;
        let mut log = Log::default();
        self.read(&mut log)?;
        let read = log.read;
        let mut fits = log.fits(&grants);
        if let Some(wanted) = &self.agent {
            let names: Vec<_> = fits.iter().map(|fit| fit.agent.clone()).collect();
            fits.retain(|fit| fit.agent == *wanted);
            if fits.is_empty() {
                let failure = Failure::new(format!("nothing is known of an agent `{wanted}`"));
                let near = did_you_mean(wanted, names.iter().map(String::as_str));
                return Err(near.into_iter().fold(failure, Failure::help));
            }
        }
        match self.format {
            Format::Text => tell(&fits, read),
            Format::Json => {
                let agents: Vec<_> = fits.iter().map(of_fit).collect();
                let told = json!({ "agents": agents, "read": of_read(read) });
                render::line(format_args!("{told:#}"));
            }
            Format::Svg => render::line(fit::drawn(&fits).file().trim_end()),
        }
        let another = fits.iter().any(|fit| matches!(fit.verdict, Verdict::Script(_)));
        Ok(if another { End::Findings } else { End::Fine })
    }

    /// What each agent was granted; nothing if only a journal is there.
    fn grants(&self) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
        let file = self.which.at.file();
        if self.which.journal.is_some() && !file.exists() {
            return Ok(BTreeMap::new());
        }
        let (read, findings) = assemble::read(&file)?;
        let Some(Read { posture, .. }) = read else {
            render::findings(&findings);
            return Err(Failure::new(
                "which grants are unused, a posture with errors does not say",
            )
            .help("name the journal alone with `--journal`, away from the deployment"));
        };
        let grants = posture.loaded.posture.agents.values().map(|agent| {
            (agent.id.to_string(), agent.grants.keys().map(ToString::to_string).collect())
        });
        Ok(grants.collect())
    }

    /// Goes through the journal, some records at a time.
    fn read(&self, log: &mut Log) -> Result<(), Failure> {
        let reader = self.which.reader()?;
        for kind in Log::KINDS {
            let filter = Filter {
                kind: Some(kind),
                agent: self.agent.clone(),
                since: self.since,
                until: self.until,
                limit: Some(RECORDS_AT_ONCE),
                ..Filter::default()
            };
            let mut cursor = Cursor::default();
            loop {
                let records = reader
                    .follow(&mut cursor, &filter, Parts::Whole)
                    .doing("the journal cannot be read")?;
                records.iter().for_each(|record| log.add(record));
                if records.len() < RECORDS_AT_ONCE as usize {
                    break;
                }
            }
        }
        Ok(())
    }
}

// ── for programs ────────────────────────────────────────────────────────────────────────────────

fn of_fit(fit: &fit::Fit) -> Value {
    let fit::Fit { agent, sessions, steps, span, paths, weeks, unused, verdict } = fit;
    let shown = paths.iter().take(PATHS_SHOWN_MAX);
    let paths_shown: Vec<_> =
        shown.map(|path| json!({ "tools": path.tools, "sessions": path.sessions })).collect();
    let weeks: Vec<_> = weeks
        .iter()
        .map(|Week { begins, sessions, paths, bits, few }| {
            json!({
                "begins": day(*begins), "sessions": sessions, "paths": paths,
                "entropy_bits": (bits * 1_000.0).round() / 1_000.0, "of_commonest": few,
            })
        })
        .collect();
    json!({
        "agent": agent, "sessions": sessions, "steps": steps,
        "first": span.map(|(from, _)| moment(from)), "last": span.map(|(_, until)| moment(until)),
        "paths": paths.len(), "commonest": paths_shown,
        "commonest_permille": fit.covered(fit::FEW),
        "weeks": weeks, "unused_grants": unused,
        "verdict": verdict.as_str(), "says": fit.said(),
    })
}

fn of_read(ReadSoFar { calls, by_day, erased, beyond }: ReadSoFar) -> Value {
    json!({ "calls": calls, "without_sid": by_day, "erased": erased, "beyond_bounds": beyond })
}

fn moment(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros());
    at.map(|at| at.to_string()).unwrap_or_default()
}

fn day(at: Timestamp) -> String {
    moment(at).chars().take(10).collect()
}

// ── for people ──────────────────────────────────────────────────────────────────────────────────

fn tell(fits: &[fit::Fit], read: ReadSoFar) {
    if fits.is_empty() {
        render::line("No agent made a call in that time.");
    }
    fits.iter().for_each(of_agent);
    let ReadSoFar { calls, by_day, erased, beyond } = read;
    let told = [
        (
            by_day,
            "were made with tokens that do not tell sessions apart (`sid`): for these a session is a \
             principal's day, by UTC",
        ),
        (erased, "are left out: whose they were was erased"),
        (beyond, "are left out: there are too many sessions, or steps of one; ask for less time"),
    ];
    for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
        render::line(format_args!("{count} of {calls} calls {what}."));
    }
    render::line(
        "This sees which tools were called in which order. It does not see how arguments were chosen, nor \
         what was said to people.",
    );
}

fn of_agent(fit: &fit::Fit) {
    let fit::Fit { agent, sessions, steps, span, paths, weeks, unused, .. } = fit;
    let span =
        span.map_or_else(String::new, |(from, until)| format!(", {} to {}", day(from), day(until)));
    render::line(format_args!("{}: sessions {sessions}, steps {steps}{span}", visible(agent)));
    render::line(format_args!("{}\n", fit.said()));
    for path in paths.iter().take(PATHS_SHOWN_MAX) {
        render::line(row(path, *sessions));
    }
    if let Some(more @ 1..) = paths.len().checked_sub(PATHS_SHOWN_MAX) {
        let rest = 1_000_u64.saturating_sub(fit.covered(PATHS_SHOWN_MAX));
        render::line(format_args!("  and {more} other paths, {}", percent(rest)));
    }
    if *sessions >= SESSIONS_ENOUGH {
        let newest = weeks.len().saturating_sub(WEEKS_SHOWN_MAX);
        let rows = weeks.iter().skip(newest).map(|week| {
            let most = (week.sessions as f64).log2();
            vec![
                day(week.begins),
                week.sessions.to_string(),
                week.paths.to_string(),
                format!("{:.2} of {most:.2} bits", week.bits),
            ]
        });
        render::line(render::table(&["week of", "sessions", "paths", "entropy"], rows));
    }
    match unused.as_deref() {
        None => render::line("Its grants are not known here.\n"),
        Some([]) => render::line("It used every tool that it was granted.\n"),
        Some(unused) => {
            let enough = *sessions >= SESSIONS_ENOUGH;
            let advice = if enough { " What nobody uses is best taken away." } else { "" };
            render::line(format_args!("Granted and not used: {}.{advice}\n", unused.join(", ")));
        }
    }
}

fn row(path: &fit::Path, sessions: u64) -> String {
    let permille = path.sessions.saturating_mul(1_000).checked_div(sessions).unwrap_or(0);
    let filled = usize::try_from(permille.saturating_mul(BAR).div_ceil(1_000)).unwrap_or(0);
    let bar = "█".repeat(filled);
    let more = path.tools.len().saturating_sub(PATH_SHOWN_MAX);
    let more = (more > 0).then(|| format!("{more} more"));
    let tools = path.tools.iter().take(PATH_SHOWN_MAX).map(|tool| visible(tool)).chain(more);
    let tools: Vec<_> = tools.collect();
    format!("  {:>7}  {bar:<24}  {}", percent(permille), tools.join(" → "))
}
