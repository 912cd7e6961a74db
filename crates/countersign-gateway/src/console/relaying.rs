//! How what follows the journal stands: who is told, what hands it on, and the rules that watch it.

use super::Seen;
use super::show::{self, Moment};
use countersign_core::alert::{Limits, Rule};
use countersign_core::relaying::{Destination, Exporter, Follower};
use countersign_core::sight::Sight;

/// One that follows the journal, as a row.
pub(super) struct Row {
    pub(super) name: String,
    /// Where it writes, or how people are told and of what.
    pub(super) to: String,
    pub(super) state: (String, &'static str),
    pub(super) why: Option<(Moment, String)>,
    pub(super) last: Option<Moment>,
    pub(super) given_up: u64,
}

/// One rule, as a row.
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) what: &'static str,
    pub(super) limits: Option<String>,
}

pub(super) fn exporter(seen: &Seen, of: Exporter) -> Row {
    let Exporter { name, to, follower } = of;
    Row { last: follower.got_on.map(show::moment), ..row(seen, (name, show::text(&to)), follower) }
}

pub(super) fn destination(seen: &Seen, of: Destination) -> Row {
    let Destination { name, how, drafts, alerts, follower, delivered, given_up } = of;
    let what = match (drafts, alerts) {
        (true, true) => "drafts and alerts",
        (true, false) => "drafts",
        (false, _) => "alerts",
    };
    let last = delivered.map(show::moment);
    Row { last, given_up, ..row(seen, (name, format!("{what} by {how}")), follower) }
}

fn row(seen: &Seen, (name, to): (String, String), follower: Follower) -> Row {
    let Follower { behind, got_on: _, failing } = follower;
    let state = match (&failing, behind.records) {
        (Some(_), _) => ("does not get on".to_owned(), "bad"),
        (None, 0) => ("up to date".to_owned(), "good"),
        (None, records) => {
            (format!("{records} records, {} behind", show::duration(behind.micros)), "wait")
        }
    };
    // Where something lies and what it answers is for those who mend it.
    let inside = seen.visitor.operates() || seen.visitor.sees(Sight::Journal).is_ok();
    let why = failing.filter(|_| inside).map(|(at, why)| (show::moment(at), show::text(&why)));
    Row { name: show::text(&name), to, state, why, last: None, given_up: 0 }
}

pub(super) fn watched((rule, limits): (Rule, Option<Limits>)) -> Watched {
    let limits = limits.map(|Limits { window_s, threshold, cool_down_s }| {
        let span = |seconds: u32| show::duration(u64::from(seconds).saturating_mul(1_000_000));
        let enough = match rule {
            Rule::CallSpike => format!("{threshold} times the usual calls"),
            _ => threshold.to_string(),
        };
        format!("{enough} in {}, then quiet for {}", span(window_s), span(cool_down_s))
    });
    Watched { name: rule.as_str().replace('_', " "), what: rule.what(), limits }
}
