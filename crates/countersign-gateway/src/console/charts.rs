//! Where people would rather look than read: bars from the server, and the same as a table.

use super::show::{self, Moment};
use super::{Ask, Console, Frame, Seen, Who, barred, shown, unread};
use askama::Template;
use axum::{Extension, extract::State, response::Response};
use countersign_core::act::Barred;
use countersign_core::id::Timestamp;
use countersign_core::reading::{Calls, Class, Span, Tally, Waited};
use countersign_core::sight::Sight;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The picture's size, in its own units.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 180;
/// Refusal codes that have a colour of their own; the others are taken together.
const CODES_SHOWN: usize = 6;

/// The colours of the style sheet, by number; the first [`CODES_SHOWN`] are told apart easily.
mod colour {
    pub(super) const GREEN: usize = 0;
    pub(super) const AMBER: usize = 1;
    pub(super) const RED: usize = 2;
    pub(super) const PURPLE: usize = 3;
    pub(super) const BLUE: usize = 4;
    pub(super) const TEAL: usize = 5;
    pub(super) const GREY: usize = 6;
}

/// How far back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Back {
    Hour,
    #[default]
    Day,
    Week,
    Month,
}

impl Back {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Hour, "hour", "Last hour"),
        (Self::Day, "day", "Last day"),
        (Self::Week, "week", "Last week"),
        (Self::Month, "month", "Last 30 days"),
    ];

    /// How long, and how long a step is, in seconds.
    const fn seconds(self) -> (i64, u32) {
        match self {
            Self::Hour => (3_600, 60),
            Self::Day => (86_400, 3_600),
            Self::Week => (7 * 86_400, 6 * 3_600),
            Self::Month => (30 * 86_400, 86_400),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    span: Back,
}

#[derive(Template)]
#[template(path = "charts.html")]
struct Page {
    frame: Frame,
    spans: Vec<(&'static str, &'static str, bool)>,
    since: Moment,
    until: Moment,
    charts: Vec<Chart>,
    waited: Option<(String, String)>,
    approvers: Vec<Approver>,
    cut: bool,
}

struct Approver {
    who: String,
    decisions: u64,
    approvals: u64,
    hasty: u64,
    unseen: u64,
    rate: String,
}

/// Stacked bars over time.
struct Chart {
    title: &'static str,
    /// Each with its colour.
    series: Vec<(String, usize)>,
    bars: Vec<Bar>,
    top: u64,
    rows: Vec<(String, Vec<u64>)>,
    total: u64,
}

struct Bar {
    x: u64,
    y: u64,
    width: u64,
    height: u64,
    colour: usize,
    says: String,
}

/// `GET /console/charts`
pub(super) async fn page(
    State(console): State<Console>,
    Extension(seen): Who,
    Ask(asked): Ask<Asked>,
) -> Response {
    match drawn(&console, &seen, asked.span).await {
        Ok(page) => shown(&page),
        Err(why) => barred(&seen, &why, "/console/charts"),
    }
}

async fn drawn(console: &Console, seen: &Seen, back: Back) -> Result<Page, Barred> {
    let tenants = seen.visitor.sees(Sight::Activity)?;
    let now = seen.in_force.monitor.clock.now();
    let (seconds, step) = back.seconds();
    let since = Timestamp::from_secs(now.secs().saturating_sub(seconds));
    let span = Span::new(since, now, step);
    let tallies =
        console.doors.ledger.tallies(span, Calls::default(), tenants).await.map_err(unread)?;
    let decisions = console.doors.ledger.decisions(span, tenants).await.map_err(unread)?;
    let drafts = decisions
        .steps
        .iter()
        .map(|step| (step.at, vec![step.waiting, step.approved, step.rejected, step.ended]));
    let names = [
        ("waiting at its end", colour::BLUE),
        ("approved", colour::GREEN),
        ("rejected", colour::RED),
        ("ended undecided", colour::GREY),
    ];
    let names = names.map(|(name, colour)| (name.to_owned(), colour));
    let waited = |waited: Waited| (show::duration(waited.median_us), show::duration(waited.p90_us));
    let approvers = decisions.approvers.iter().map(|one| Approver {
        who: one.who.as_ref().map_or_else(|| "(erased)".to_owned(), show::person),
        decisions: one.decisions,
        approvals: one.approvals,
        hasty: one.hasty,
        unseen: one.unseen,
        rate: percent(one.stamps, one.approvals),
    });
    Ok(Page {
        frame: seen.frame("Charts"),
        spans: Back::ALL.map(|(one, name, words)| (name, words, one == back)).into(),
        since: show::moment(since),
        until: show::moment(now),
        charts: vec![
            by_outcome(&tallies),
            by_reason(&tallies),
            chart("Drafts", names.into(), drafts.collect()),
        ],
        waited: decisions.waited.map(waited),
        approvers: approvers.collect(),
        cut: decisions.cut,
    })
}

fn percent(part: u64, whole: u64) -> String {
    match part.saturating_mul(100).checked_div(whole) {
        Some(percent) => format!("{percent} %"),
        None => "–".to_owned(),
    }
}

fn by_outcome(tallies: &[Tally]) -> Chart {
    let classes = Class::ALL.into_iter().filter(|class| *class != Class::UnderWay);
    let classes: Vec<Class> = classes.collect();
    let steps = tallies.iter().map(|tally| {
        let counts = classes.iter().map(|class| tally.classes.get(class).copied().unwrap_or(0));
        (tally.at, counts.collect())
    });
    let names = classes.iter().map(|class| {
        let colour = match class {
            Class::Ok => colour::GREEN,
            Class::Refused => colour::AMBER,
            Class::Fault => colour::RED,
            Class::Unknown => colour::PURPLE,
            Class::Drafted => colour::BLUE,
            Class::Delivered => colour::TEAL,
            Class::UnderWay => colour::GREY,
        };
        (show::class(*class).0.to_owned(), colour)
    });
    chart("Calls by outcome", names.collect(), steps.collect())
}

fn by_reason(tallies: &[Tally]) -> Chart {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, count) in tallies.iter().flat_map(|tally| &tally.refusals) {
        let sum = all.entry(code).or_default();
        *sum = sum.saturating_add(*count);
    }
    let mut codes: Vec<(&str, u64)> = all.into_iter().collect();
    codes.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
    let own: Vec<&str> = codes.iter().take(CODES_SHOWN).map(|(code, _)| *code).collect();
    let steps = tallies.iter().map(|tally| {
        let mut counts: Vec<u64> =
            own.iter().map(|code| tally.refusals.get(*code).copied().unwrap_or(0)).collect();
        let others = tally.refusals.iter().filter(|(code, _)| !own.contains(&code.as_str()));
        counts.push(others.map(|(_, count)| *count).fold(0, u64::saturating_add));
        (tally.at, counts)
    });
    let steps = steps.collect();
    let mut names: Vec<(String, usize)> =
        own.iter().zip(0..).map(|(code, at)| (show::text(code).replace('_', " "), at)).collect();
    names.push(("others".to_owned(), colour::GREY));
    chart("Refusals by reason", names, steps)
}

/// Scales the steps to the picture. Series of which there is nothing are left out.
fn chart(
    title: &'static str,
    series: Vec<(String, usize)>,
    steps: Vec<(Timestamp, Vec<u64>)>,
) -> Chart {
    let sum = |counts: &[u64]| counts.iter().copied().fold(0, u64::saturating_add);
    let kept: Vec<usize> = (0..series.len())
        .filter(|at| {
            steps.iter().any(|(_, counts)| counts.get(*at).is_some_and(|count| *count > 0))
        })
        .collect();
    let steps: Vec<(Timestamp, Vec<u64>)> = steps
        .into_iter()
        .map(|(at, counts)| (at, kept.iter().filter_map(|k| counts.get(*k).copied()).collect()))
        .collect();
    let series: Vec<(String, usize)> =
        kept.iter().filter_map(|k| series.get(*k).cloned()).collect();
    let top = steps.iter().map(|(_, counts)| sum(counts)).max().unwrap_or(0);
    let total = steps.iter().map(|(_, counts)| sum(counts)).fold(0, u64::saturating_add);
    let count = u64::try_from(steps.len()).unwrap_or(1).max(1);
    let slot = WIDTH.div_euclid(count).max(1);
    let mut bars = Vec::new();
    for (place, (at, counts)) in (0u64..).zip(&steps) {
        let mut below = 0u64;
        for (of, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let upto = |sum: u64| scaled(sum, top);
            let reached = below.saturating_add(*count);
            let height = upto(reached).saturating_sub(upto(below)).max(1);
            bars.push(Bar {
                x: place.saturating_mul(slot),
                y: HEIGHT.saturating_sub(upto(reached)),
                width: slot.saturating_sub(1).max(1),
                height,
                colour: series.get(of).map_or(colour::GREY, |(_, colour)| *colour),
                says: format!(
                    "{}: {count} {}",
                    at_words(*at),
                    series.get(of).map_or("", |(name, _)| name)
                ),
            });
            below = reached;
        }
    }
    let rows = steps.into_iter().filter(|(_, counts)| sum(counts) > 0);
    let rows = rows.map(|(at, counts)| (at_words(at), counts)).collect();
    Chart { title, series, bars, top, rows, total }
}

fn scaled(sum: u64, top: u64) -> u64 {
    u128::from(sum)
        .saturating_mul(u128::from(HEIGHT))
        .checked_div(u128::from(top))
        .and_then(|scaled| u64::try_from(scaled).ok())
        .unwrap_or(0)
}

fn at_words(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_on_each_other_and_fill_the_picture_at_most() {
        let at = Timestamp::from_secs;
        let names = [("a", 0), ("b", 1), ("c", 2)].map(|(name, at)| (name.to_owned(), at));
        let steps = vec![(at(0), vec![3, 0, 1]), (at(60), vec![0, 0, 2]), (at(120), vec![0, 0, 0])];
        let chart = chart("t", names.into(), steps);
        assert_eq!(chart.series, [("a".to_owned(), 0), ("c".to_owned(), 2)]);
        assert_eq!(chart.bars.iter().map(|bar| bar.colour).collect::<Vec<_>>(), [0, 2, 2]);
        assert_eq!((chart.top, chart.total, chart.bars.len(), chart.rows.len()), (4, 6, 3, 2));
        let [first, second, third] = chart.bars.as_slice() else { panic!("three") };
        assert_eq!((first.y, first.height), (45, 135));
        assert_eq!((second.y, second.height), (0, 45));
        assert_eq!((third.x, third.y, third.height), (240, 90, 90));
        let nothing = super::chart("t", Vec::new(), Vec::new());
        assert_eq!((nothing.bars.len(), nothing.top), (0, 0));
        let huge = super::chart("t", vec![("a".into(), 0)], vec![(at(0), vec![u64::MAX])]);
        assert_eq!(huge.bars[0].height, HEIGHT);
    }
}
