//! `countersign posture show`: what each agent may reach, and the worst that comes of it.

use crate::assemble::{self, Read};
use crate::command::{At, End};
use crate::render::{self, Failure};
use crate::report::visible;
use clap::ValueEnum;
use countersign_assurance::blast::{Blast, Worst};
use countersign_assurance::permission::{AgentMay, May, PermissionSet};
use countersign_assurance::picture::picture;
use countersign_posture::did_you_mean;

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    at: At,
    /// Only this agent
    #[arg(long)]
    agent: Option<String>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object: the permission set
    Json,
    /// Agents, tools and systems, drawn
    Svg,
    /// The tables, for a page or a pull request
    Markdown,
}

impl Show {
    pub(super) fn run(&self) -> Result<End, Failure> {
        let (read, findings) = assemble::read(&self.at.file())?;
        let Some(Read { posture, .. }) = read else {
            render::findings(&findings);
            return Err(Failure::new("a posture with errors permits nothing"));
        };
        let mut set = PermissionSet::of(&posture.loaded, &posture.bundle);
        if let Some(wanted) = &self.agent {
            let names: Vec<_> = set.agents.iter().map(|of| of.agent.agent.to_string()).collect();
            set.agents.retain(|of| of.agent.agent.as_str() == wanted);
            if set.agents.is_empty() {
                let failure = Failure::new(format!("there is no agent `{wanted}`"));
                let near = did_you_mean(wanted, names.iter().map(String::as_str));
                let all = format!("there are {}", names.join(", "));
                return Err(failure.help(near.unwrap_or(all)));
            }
        }
        match self.format {
            Format::Json => render::line(format_args!("{:#}", set.json())),
            Format::Table => tell(&set),
            Format::Svg => render::line(picture(&set).file().trim_end()),
            Format::Markdown => render::line(markdown(&set).trim_end()),
        }
        Ok(End::Fine)
    }
}

fn tell(set: &PermissionSet) {
    let PermissionSet { posture, organisation, agents } = set;
    render::line(format_args!("{}, posture {posture}", visible(organisation)));
    for may @ AgentMay { agent, limits, tools, .. } in agents {
        let owner = format!("{} ({}, {})", agent.agent, agent.team, agent.contact);
        render::line(format_args!("\n{}\n{}", visible(&owner), visible(&agent.purpose)));
        let limits = [
            (limits.per_session, "session"),
            (limits.per_minute, "minute"),
            (limits.per_hour, "hour"),
        ];
        let limits = limits.iter().filter_map(|(max, span)| Some(format!("{} a {span}", (*max)?)));
        let limits = limits.collect::<Vec<_>>().join(", ");
        render::line(format_args!("For each tenant at most {limits} calls.\n"));
        let rows = tools.iter().map(row);
        render::line(render::table(&TOOLS, rows));
        render::line("\nThe worst that it comes to, for each tenant:");
        render::line(render::table(&WORST, worst(may)));
    }
}

/// The columns of what an agent may use.
pub(crate) const TOOLS: [&str; 6] =
    ["tool", "reaches", "step", "tied to the caller", "arguments", "who agrees, and sums"];
/// The columns of the worst that it comes to.
pub(crate) const WORST: [&str; 7] =
    ["tool", "of", "a call", "a minute", "an hour", "a day", "bounded by"];

fn markdown(set: &PermissionSet) -> String {
    let mut text = format!("# {}\n\nPosture `{}`.\n", cell(&set.organisation), set.posture);
    for may @ AgentMay { agent, tools, .. } in &set.agents {
        let owner = format!("{}, {}", agent.team, agent.contact);
        let purpose = cell(&agent.purpose);
        text.push_str(&format!("\n## {}\n\n{purpose} Owner: {}.\n\n", agent.agent, cell(&owner)));
        text.push_str(&lines(&TOOLS, tools.iter().map(row)));
        text.push_str("\nThe worst that it comes to, for each tenant:\n\n");
        text.push_str(&lines(&WORST, worst(may)));
    }
    text
}

fn lines(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let header = line(header.iter().map(ToString::to_string).collect())
        + &line(header.iter().map(|_| "---".to_owned()).collect());
    rows.map(|row| line(row.iter().map(|text| cell(text)).collect()))
        .fold(header, |text, row| text + &row)
}

/// A text as it stands in a cell: nothing in it is markup but the lines that it has.
fn cell(text: &str) -> String {
    let escaped = |line: &str| {
        let mut escaped = String::new();
        for c in visible(line).chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => escaped.extend(['\\', c]),
                c => escaped.push(c),
            }
        }
        escaped
    };
    text.lines().map(escaped).collect::<Vec<_>>().join("<br>")
}

pub(crate) fn row(may: &May) -> Vec<String> {
    let arguments = may.arguments.iter().map(|(name, may)| format!("{name}: {may}"));
    let exception = may.exception.as_ref().map(|of| {
        let until = jiff::Timestamp::from_microsecond(of.expires.micros());
        let until = until.map_or_else(|_beyond| "ever".to_owned(), |until| until.to_string());
        let (rung, by) = (of.rung.number(), &of.reviewed_by);
        format!("EXCEPTION: on step {rung} until {until}, by leave of {by}: {}\nthen:", of.reason)
    });
    let agrees = exception.into_iter().chain(may.gate.clone()).chain(may.budgets.iter().cloned());
    let policies = may.policies.iter().map(|(id, reason)| match reason {
        Some(reason) => format!("also policy `{id}`: {reason}"),
        None => format!("also policy `{id}`"),
    });
    let agrees = agrees.chain(policies);
    let [reads, holds, sends] = may.flow;
    let told = [
        may.tool.clone(),
        format!("{} ({})\nreads {reads}\nholds {holds}\nsends {sends}", may.system, may.kind),
        format!("{} {}", may.rung, may.effect.as_str()),
        may.scope.join("\n"),
        arguments.collect::<Vec<_>>().join("\n"),
        agrees.collect::<Vec<_>>().join("\n"),
    ];
    told.map(|cell| cell.lines().map(visible).collect::<Vec<_>>().join("\n")).to_vec()
}

/// The worst of each tool, and of all of them together.
pub(crate) fn worst(AgentMay { tools, worst, .. }: &AgentMay) -> impl Iterator<Item = Vec<String>> {
    let each = tools.iter().flat_map(|may| figures(&may.tool, &may.worst));
    each.chain(figures("all together", worst))
}

fn figures<'a>(
    of: &'a str,
    Blast { figures }: &'a Blast,
) -> impl Iterator<Item = Vec<String>> + use<'a> {
    figures.iter().map(move |(name, Worst { call, spans: [minute, hour, day], gated, by })| {
        let figures = [call, minute, hour, day].map(|figure| match figure {
            Some(figure) => figure.to_string(),
            None => "unbounded".to_owned(),
        });
        let gated = if *gated { ["each after a person agreed"].as_slice() } else { &[] };
        let mut by: Vec<_> = by.iter().map(String::as_str).collect();
        by.dedup();
        let bounded = gated.iter().copied().chain(by).collect::<Vec<_>>().join("\n");
        [visible(of), visible(name)].into_iter().chain(figures).chain([bounded]).collect()
    })
}
