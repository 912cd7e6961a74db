//! Whether an agent is the right tool, by what it did: in how many different ways its sessions went.
//!
//! A path is the tools of one session in order, each repeat of the tool before left out. If a few paths
//! are nearly all sessions, the model decides nothing that a script could not. The thresholds are here,
//! and nowhere else; `docs/fit.md` says why they are what they are.
//!
//! Of a call this sees the tool. It does not see how arguments were chosen, nor what was said to people.

mod drawn;
pub mod questions;

use crate::bound::{NAMES_MAX, SESSION_STEPS_MAX, SESSIONS_MAX};
use countersign_core::id::Timestamp;
use countersign_core::reading::{Record, session};
use countersign_core::record::Kind;
pub use drawn::drawn;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Fewer sessions than this say nothing.
pub const SESSIONS_ENOUGH: u64 = 50;
/// How many paths a script may have to know.
pub const FEW: usize = 3;
/// A script would do if the few are this much of all sessions, per thousand.
pub const SCRIPT_PERMILLE: u64 = 900;
/// And this much of the newest week that has [`WEEK_ENOUGH`] sessions: what they once were is no reason.
pub const SCRIPT_NOW_PERMILLE: u64 = 800;
/// A week with fewer sessions than this is no week to judge by.
pub const WEEK_ENOUGH: u64 = 20;
/// The work is open-ended if the few are less than this of all sessions.
pub const AGENT_PERMILLE: u64 = 500;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
/// 1970-01-05 was a Monday.
const MONDAY: i64 = 4;
const WEEK: i64 = 7;

/// What the records that count come to, as far as they were read. Its memory is bounded by
/// [`SESSIONS_MAX`] × [`SESSION_STEPS_MAX`]; records are looked at and let go.
#[derive(Debug, Default)]
pub struct Log {
    agents: BTreeMap<String, BTreeMap<Key, Session>>,
    tools: Vec<String>,
    known: BTreeMap<String, u16>,
    sessions: usize,
    /// What of it is not what it seems.
    pub read: ReadSoFar,
}

/// How far the log was read, and how well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadSoFar {
    /// Calls that count.
    pub calls: u64,
    /// Calls of tokens without a `sid`: for these a session is the principal's day, by UTC.
    pub by_day: u64,
    /// Calls of which it is not on record whose they were: left out.
    pub erased: u64,
    /// Calls left out because there were too many sessions, or steps of one.
    pub beyond: u64,
}

/// A session, and its day where the token does not tell sessions apart.
type Key = ([u8; 32], Option<i64>);

/// Its steps by time.
type Session = Vec<(i64, u16)>;

impl Log {
    /// The records that are a step of an agent's: what was done, and what it asked people for. An approved
    /// draft that is carried out is no second step.
    pub const KINDS: [Kind; 2] = [Kind::Intent, Kind::DraftProposed];

    /// Takes in a record. One that is not a step is looked over.
    pub fn add(&mut self, record: &Record) {
        let Some(kind) = record.kind().filter(|kind| Self::KINDS.contains(kind)) else { return };
        if kind == Kind::Intent && record.text("draft").is_some() {
            return;
        }
        let (Some(agent), Some(tool)) = (record.text("agent"), record.text("tool")) else { return };
        self.read.calls += 1;
        let Some(digest) = session(record) else {
            self.read.erased += 1;
            return;
        };
        let at = record.at().micros();
        let sid = record.bodies.get("principal").is_some_and(|who| who.get("sid").is_some());
        self.read.by_day += u64::from(!sid);
        let key = (*digest.as_bytes(), (!sid).then(|| at.div_euclid(DAY_US)));
        if self.step(agent, key, (at, tool)).is_none() {
            self.read.beyond += 1;
        }
    }

    fn step(&mut self, agent: &str, key: Key, (at, tool): (i64, &str)) -> Option<()> {
        let tool = self.number(tool)?;
        if !self.agents.contains_key(agent) && self.agents.len() >= NAMES_MAX {
            return None;
        }
        let sessions = self.agents.entry(agent.to_owned()).or_default();
        if !sessions.contains_key(&key) {
            if self.sessions >= SESSIONS_MAX {
                return None;
            }
            self.sessions += 1;
        }
        let steps = sessions.entry(key).or_default();
        (steps.len() < SESSION_STEPS_MAX).then(|| steps.push((at, tool)))
    }

    fn number(&mut self, tool: &str) -> Option<u16> {
        if let Some(known) = self.known.get(tool) {
            return Some(*known);
        }
        let next = u16::try_from(self.tools.len()).ok().filter(|next| *next < NAMES_MAX as u16)?;
        self.tools.push(tool.to_owned());
        self.known.insert(tool.to_owned(), next);
        Some(next)
    }

    /// What each agent's sessions come to, in the order of their names. `grants` has the tools of each
    /// agent of the posture; an agent that it does not have is judged without.
    #[must_use]
    pub fn fits(self, grants: &BTreeMap<String, BTreeSet<String>>) -> Vec<Fit> {
        let Self { mut agents, tools, .. } = self;
        for agent in grants.keys() {
            agents.entry(agent.clone()).or_default();
        }
        let fits = agents.into_iter().map(|(agent, sessions)| {
            let granted = grants.get(&agent);
            Fit::of(agent, sessions.into_values(), &tools, granted)
        });
        fits.collect()
    }
}

/// What one agent's sessions come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Its name.
    pub agent: String,
    /// How many sessions it had.
    pub sessions: u64,
    /// How many steps these had.
    pub steps: u64,
    /// When the first was, and the last.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The ways they went, the commonest first.
    pub paths: Vec<Path>,
    /// By the weeks in which they began, Monday to Sunday by UTC.
    pub weeks: Vec<Week>,
    /// Tools that it was granted and did not use; `None` if its grants are not known.
    pub unused: Option<Vec<String>>,
    /// What that says.
    pub verdict: Verdict,
}

/// One way that sessions went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The tools in order, no two alike one after the other.
    pub tools: Vec<String>,
    /// How many sessions went so.
    pub sessions: u64,
}

/// The sessions that began in one week.
#[derive(Debug, Clone, PartialEq)]
pub struct Week {
    /// Its Monday.
    pub begins: Timestamp,
    /// How many.
    pub sessions: u64,
    /// In how many different ways they went.
    pub paths: usize,
    /// Shannon's entropy of these, in bits: 0 if all went one way, log₂ of `sessions` if no two did.
    pub bits: f64,
    /// How many went one of the commonest ways of all, of which there are [`FEW`].
    pub few: u64,
}

/// What is the right tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There are too few sessions to say.
    TooFew,
    /// So many paths are nearly everything.
    Script(usize),
    /// So many paths are a good part of it; what is left is open-ended.
    Mixed(usize),
    /// No few paths cover it.
    Agent,
}

impl Verdict {
    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooFew => "too_few",
            Self::Script(_) => "script",
            Self::Mixed(_) => "mixed",
            Self::Agent => "agent",
        }
    }
}

impl Fit {
    fn of(
        agent: String,
        sessions: impl Iterator<Item = Session>,
        tools: &[String],
        granted: Option<&BTreeSet<String>>,
    ) -> Self {
        let mut used = BTreeSet::new();
        let mut counted: BTreeMap<Vec<u16>, BTreeMap<i64, u64>> = BTreeMap::new();
        let (mut steps, mut span) = (0, None);
        for mut session in sessions {
            session.sort_by_key(|(at, _)| *at);
            let (Some((first, _)), Some((last, _))) = (session.first(), session.last()) else {
                continue;
            };
            let (first, last) = (*first, *last);
            let (from, until) = span.unwrap_or((first, last));
            span = Some((from.min(first), until.max(last)));
            steps += session.len() as u64;
            let mut path: Vec<_> = session.into_iter().map(|(_, tool)| tool).collect();
            used.extend(path.iter().copied());
            path.dedup();
            *counted.entry(path).or_default().entry(week(first)).or_default() += 1;
        }
        let name = |tool: &u16| tools.get(usize::from(*tool)).cloned().unwrap_or_default();
        let mut ways: Vec<_> = counted.into_iter().collect();
        // Of equals the one whose tools were met first: the same journal says the same.
        ways.sort_by_key(|(_, weeks)| Reverse(weeks.values().sum::<u64>()));
        let weeks = by_week(&ways);
        let paths: Vec<_> = ways
            .iter()
            .map(|(path, weeks)| Path {
                tools: path.iter().map(name).collect(),
                sessions: weeks.values().sum(),
            })
            .collect();
        let used: BTreeSet<_> = used.iter().map(name).collect();
        let sessions = paths.iter().map(|path| path.sessions).sum();
        Self {
            verdict: judge(sessions, &paths, &weeks),
            agent,
            sessions,
            steps,
            span: span
                .map(|(from, until)| (Timestamp::from_micros(from), Timestamp::from_micros(until))),
            paths,
            weeks,
            unused: granted.map(|granted| granted.difference(&used).cloned().collect()),
        }
    }

    /// What share the commonest `few` paths have, per thousand, rounded down: no threshold is reached by
    /// rounding.
    #[must_use]
    pub fn covered(&self, few: usize) -> u64 {
        permille(first(&self.paths, few), self.sessions)
    }

    /// In one sentence what is the right tool, and why.
    #[must_use]
    pub fn said(&self) -> String {
        let share = |few| percent(self.covered(few));
        let these = |few| match few {
            1 => "this 1 path is".to_owned(),
            few => format!("these {few} paths are"),
        };
        match self.verdict {
            Verdict::TooFew => {
                format!(
                    "too few sessions to say: {}, and it takes {SESSIONS_ENOUGH}",
                    self.sessions
                )
            }
            Verdict::Script(few) => format!(
                "{} {} of sessions: a script with one model call would do",
                these(few),
                share(few)
            ),
            Verdict::Mixed(few) if self.covered(few) >= SCRIPT_PERMILLE => format!(
                "{} {} of all sessions and not of the newest week's: look again before you write a script",
                these(few),
                share(few)
            ),
            Verdict::Mixed(few) => format!(
                "{} {} of sessions: give those to a script, and the agent what is left",
                these(few),
                share(few)
            ),
            Verdict::Agent => format!(
                "its {FEW} commonest paths are {} of sessions: no script covers that, an agent may",
                share(FEW)
            ),
        }
    }
}

/// So many per thousand, as percent.
#[must_use]
pub fn percent(permille: u64) -> String {
    match permille % 10 {
        0 => format!("{} %", permille / 10),
        tenths => format!("{}.{tenths} %", permille / 10),
    }
}

fn judge(sessions: u64, paths: &[Path], weeks: &[Week]) -> Verdict {
    if sessions < SESSIONS_ENOUGH {
        return Verdict::TooFew;
    }
    let now = weeks.iter().rev().find(|week| week.sessions >= WEEK_ENOUGH);
    let still = now.is_none_or(|week| permille(week.few, week.sessions) >= SCRIPT_NOW_PERMILLE);
    let reach = |wanted| (1..=FEW).find(|few| permille(first(paths, *few), sessions) >= wanted);
    match (reach(SCRIPT_PERMILLE).filter(|_| still), reach(AGENT_PERMILLE)) {
        (Some(few), _) => Verdict::Script(few),
        (None, Some(_)) => Verdict::Mixed(FEW.min(paths.len())),
        (None, None) => Verdict::Agent,
    }
}

/// How many sessions went one of the commonest ways.
fn first(paths: &[Path], few: usize) -> u64 {
    paths.iter().take(few).map(|path| path.sessions).sum()
}

fn permille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0)
}

/// The week that a moment is in, by its Monday's day.
fn week(at: i64) -> i64 {
    (at.div_euclid(DAY_US) - MONDAY).div_euclid(WEEK) * WEEK + MONDAY
}

fn by_week(ways: &[(Vec<u16>, BTreeMap<i64, u64>)]) -> Vec<Week> {
    let mut weeks: BTreeMap<i64, Vec<(usize, u64)>> = BTreeMap::new();
    for (rank, (_, of)) in ways.iter().enumerate() {
        for (week, sessions) in of {
            weeks.entry(*week).or_default().push((rank, *sessions));
        }
    }
    let weeks = weeks.into_iter().map(|(day, of)| {
        let counts: Vec<_> = of.iter().map(|(_, sessions)| *sessions).collect();
        Week {
            begins: Timestamp::from_micros(day * DAY_US),
            sessions: counts.iter().sum(),
            paths: counts.len(),
            bits: entropy(&counts),
            few: of.iter().filter(|(rank, _)| *rank < FEW).map(|(_, sessions)| sessions).sum(),
        }
    });
    weeks.collect()
}

/// Shannon's, in bits.
fn entropy(counts: &[u64]) -> f64 {
    let all = counts.iter().sum::<u64>() as f64;
    let bits: f64 = counts.iter().map(|count| *count as f64 / all).map(|p| -p * p.log2()).sum();
    bits.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_that_of_textbooks() {
        assert!(entropy(&[7]).abs() < 1e-12);
        assert!((entropy(&[1, 1, 1, 1]) - 2.0).abs() < 1e-12);
        assert!((entropy(&[1, 3]) - 0.811_278_124_459_132_8).abs() < 1e-12);
    }

    #[test]
    fn a_week_begins_on_a_monday() {
        let sunday = 1_795_305_600_000_000; // 2026-11-22T00:00:00Z
        assert_eq!(week(sunday) * DAY_US, sunday - 6 * DAY_US);
        assert_eq!(week(sunday + DAY_US) * DAY_US, sunday + DAY_US);
        assert_eq!(week(-1), -3);
    }

    fn paths(counts: &[u64]) -> Vec<Path> {
        counts.iter().map(|sessions| Path { tools: vec![], sessions: *sessions }).collect()
    }

    #[test]
    fn the_verdict_turns_at_the_thresholds_and_nowhere_else() {
        let judged = |counts: &[u64]| judge(counts.iter().sum(), &paths(counts), &[]);
        assert_eq!(judged(&[49]), Verdict::TooFew);
        assert_eq!(judged(&[50]), Verdict::Script(1));
        assert_eq!(judged(&[450, 300, 150, 100]), Verdict::Script(3));
        assert_eq!(judged(&[450, 300, 149, 101]), Verdict::Mixed(3));
        let one_each = |few: &[u64]| [few, &[1; 500]].concat();
        assert_eq!(judged(&one_each(&[300, 100, 100])), Verdict::Mixed(3));
        assert_eq!(judged(&one_each(&[300, 100, 99])), Verdict::Agent);
    }

    #[test]
    fn what_once_was_is_no_reason_for_a_script() {
        let week = |sessions, few| Week {
            begins: Timestamp::from_micros(0),
            sessions,
            paths: 9,
            bits: 0.0,
            few,
        };
        let of = paths(&[950, 50]);
        let judged = |weeks: &[Week]| judge(1_000, &of, weeks);
        assert_eq!(judged(&[week(900, 900), week(100, 80)]), Verdict::Script(1));
        assert_eq!(judged(&[week(900, 900), week(100, 79)]), Verdict::Mixed(2));
        // Nineteen are no week.
        assert_eq!(judged(&[week(981, 981), week(19, 0)]), Verdict::Script(1));
    }
}
