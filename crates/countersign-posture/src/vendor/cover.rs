//! Whether vendors may have what they get, and until when: what depends on whom, and what was decided.

use super::{Decision, Vendor, after};
use crate::agent::AgentFile;
use crate::deployment::Environment;
use crate::finding::{Code, Finding, Place};
use crate::load::Loaded;
use crate::posture::Reviews;
use crate::system::SystemSpec;
use countersign_core::id::{AgentId, SystemName, Timestamp, VendorName};
use countersign_core::posture::Lapse;
use countersign_core::tool::{Holds, Tool};
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// What depends on vendors, and whether it may.
#[derive(Debug)]
pub struct Coverage {
    /// What.
    pub of: Covered,
    /// On whom.
    pub vendors: Vec<VendorName>,
    /// The classes of data that reach them.
    pub holds: BTreeSet<Holds>,
    /// The last day on which all of it was reviewed, if that ends.
    pub until: Option<Date>,
    /// What keeps it from production, whatever the day.
    pub gaps: Vec<Finding>,
    /// Each end that something of it has, and what: what [`lacks`](Self::lacks) holds against a day.
    ends: Vec<(Date, String, Place)>,
}

impl Coverage {
    /// What keeps it from production at that time, a sentence each with where it is written: nothing, if
    /// it is covered.
    #[must_use]
    pub fn lacks(&self, now: Timestamp) -> Vec<(String, Place)> {
        let gaps = self.gaps.iter().map(|gap| (gap.message.clone(), gap.place.clone()));
        let ended = self.ends.iter().filter(|(day, ..)| after(*day).is_none_or(|end| end <= now));
        let ended = ended.map(|(day, of, place)| {
            (format!("{of} was to be reviewed again by {day}"), place.clone())
        });
        gaps.chain(ended).collect()
    }
}

/// What depends on a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    /// An agent.
    Agent(AgentId),
    /// A system.
    System(SystemName),
}

/// For every agent, and every system with a vendor: whether those it depends on may have what they get.
#[must_use]
pub fn coverage(loaded: &Loaded) -> Vec<Coverage> {
    let agents = loaded.register.iter().map(|entry| {
        let grants = loaded.posture.agents.get(&entry.client).into_iter();
        let grants = grants.flat_map(|agent| agent.grants.values());
        let holds: BTreeSet<_> = grants.map(|grant| grant.tool.flow.holds).collect();
        let own = entry
            .review_by
            .map(|day| (day, format!("the agent `{}`", entry.agent), entry.due.clone()));
        let own = (entry.vendors.as_slice(), own);
        let who = format!("the agent `{}`", entry.agent);
        let mut covered = covers(loaded, Covered::Agent(entry.agent.clone()), own, (holds, &who));
        if entry.vendors.is_empty() {
            covered.gaps.push(Finding {
                code: Code::NoVendor,
                place: entry.vendor_place.clone(),
                message: format!("on whose model `{}` depends is not said", entry.agent),
                help: Some(
                    "name it as `vendor`; `countersign vendor new NAME` writes its record"
                        .to_owned(),
                ),
            });
        }
        covered
    });
    let systems = loaded.systems.values().filter(|system| !system.vendors.is_empty());
    let systems = systems.map(|system| {
        let agents = loaded.posture.agents.values();
        let tools = agents.flat_map(|agent| agent.grants.values()).map(|grant| &grant.tool);
        let tools = tools.filter(|tool| needs(tool, &system.name) || consults(tool, &system.name));
        let holds: BTreeSet<_> = tools.map(|tool| tool.flow.holds).collect();
        let who = format!("the system `{}`", system.name);
        let own = (system.vendors.as_slice(), None);
        covers(loaded, Covered::System(system.name.clone()), own, (holds, &who))
    });
    agents.chain(systems).collect()
}

/// Whether no call of this tool is made without a system: its own, which its check and what undoes it
/// ask as well, those of its look-ups, and that of its preview.
fn needs(tool: &Tool, system: &SystemName) -> bool {
    let preview = tool.ladder.gate.as_ref().and_then(|gate| gate.preview.as_ref());
    tool.system == *system
        || tool.look_ups.iter().any(|rule| rule.query.system == *system)
        || preview.is_some_and(|preview| preview.system == *system)
}

/// Whether it may be asked about a call in people's stead.
fn consults(tool: &Tool, system: &SystemName) -> bool {
    let point = tool.ladder.gate.as_ref().and_then(|gate| gate.decision.as_ref());
    point.is_some_and(|point| point.system == *system)
}

fn covers(
    loaded: &Loaded,
    of: Covered,
    (vendors, own): (&[VendorName], Option<(Date, String, Place)>),
    (holds, who): (BTreeSet<Holds>, &str),
) -> Coverage {
    let records: Vec<_> = vendors.iter().filter_map(|name| loaded.vendors.get(name)).collect();
    let gaps = records.iter().filter_map(|vendor| gap(vendor, who, &holds)).collect();
    let ends = records.iter().filter_map(|vendor| {
        Some((vendor.review_by?, format!("the vendor `{}`", vendor.name), vendor.due.clone()))
    });
    let ends: Vec<_> = ends.chain(own).collect();
    let until = ends.iter().map(|(day, ..)| *day).min();
    Coverage { of, vendors: vendors.to_vec(), holds, until, gaps, ends }
}

/// Why a vendor may not have what it would get.
fn gap(vendor: &Vendor, who: &str, holds: &BTreeSet<Holds>) -> Option<Finding> {
    let name = &vendor.name;
    let (why, help) = match vendor.decision {
        Decision::Open => (
            format!("nobody has decided about `{name}`, on whom {who} depends"),
            "whoever assessed it writes `decision`, and what that rests on",
        ),
        Decision::Reject => {
            (format!("`{name}` was rejected, and {who} depends on it"), "let it depend on another")
        }
        Decision::Conditional if !vendor.open_conditions.is_empty() => (
            format!(
                "{who} depends on `{name}`, of whom it is not so yet: {}",
                vendor.open_conditions.join("; ")
            ),
            "write `met_on` beside the condition, or `accepted_by` whoever stands for it",
        ),
        Decision::Conditional | Decision::Approve => {
            let beyond = holds.difference(&vendor.classes).max()?;
            (
                format!(
                    "{who} has tools that hold `{}` data, and the decision about `{name}` is not about that",
                    beyond.as_str()
                ),
                "have it assessed for that class, or take those grants away",
            )
        }
    };
    let place = vendor.place.clone();
    Some(Finding { code: Code::VendorDecision, place, message: why, help: Some(help.to_owned()) })
}

/// What is to be reviewed soon, or was not in time.
#[must_use]
pub fn reviews(environment: Environment, loaded: &Loaded, now: Timestamp) -> Vec<Finding> {
    let vendors = loaded
        .vendors
        .values()
        .map(|vendor| (vendor.review_by, format!("the vendor `{}`", vendor.name), &vendor.due));
    let agents = loaded
        .register
        .iter()
        .map(|entry| (entry.review_by, format!("the agent `{}`", entry.agent), &entry.due));
    let found = vendors.chain(agents).filter_map(|(day, what, place)| {
        let day = day?;
        let ends = after(day)?;
        let (code, message) = if ends <= now {
            let code = match environment {
                Environment::Production => Code::EndedReview,
                Environment::Development | Environment::Staging => Code::EndingReview,
            };
            (code, format!("{what} was to be reviewed again by {day}"))
        } else if ends <= now.plus_secs(loaded.warn_s) {
            (Code::EndingReview, format!("{what} is to be reviewed again by {day}"))
        } else {
            return None;
        };
        let help = "review it, and write until when that holds: `review_by`".to_owned();
        Some(Finding { code, place: place.clone(), message, help: Some(help) })
    });
    found.collect()
}

/// The last day for which something was reviewed, and what.
type End = (Date, String);

fn lapse(first: Option<End>) -> Option<Lapse> {
    let (day, of) = first?;
    Some(Lapse { at: after(day)?, of: format!("{of} was to be reviewed by {day}") })
}

/// The ends of what was reviewed.
pub(crate) struct Dues<'a> {
    pub(crate) vendors: &'a BTreeMap<VendorName, Vendor>,
    pub(crate) systems: &'a BTreeMap<SystemName, (SystemSpec, &'a str)>,
    pub(crate) reviews: Reviews,
}

impl Dues<'_> {
    /// The first that a grant rests on, where the posture says that it ends by itself.
    pub(crate) fn first(&self, agent: &AgentFile, tool: &Tool) -> Option<Lapse> {
        if !self.reviews.suspends {
            return None;
        }
        let of_agent = self.ends(agent.vendors.iter().map(|name| &name.value));
        let vendors = of_agent.chain(self.of_systems(|system| needs(tool, system)));
        let own = agent.review_by.iter().zip(&agent.name);
        let own = own.map(|(day, name)| (day.value, format!("the agent `{}`", name.value)));
        lapse(vendors.chain(own).min())
    }

    /// The first that leave to ask a tool's decision point rests on. People are there without it: so the
    /// grant goes on.
    pub(crate) fn of_point(&self, tool: &Tool) -> Option<Lapse> {
        if !self.reviews.suspends {
            return None;
        }
        lapse(self.of_systems(|system| consults(tool, system)).min())
    }

    fn of_systems(&self, which: impl Fn(&SystemName) -> bool) -> impl Iterator<Item = End> {
        let systems = self.systems.iter().filter(move |(name, _)| which(name));
        self.ends(systems.flat_map(|(_, (spec, _))| &spec.vendors))
    }

    fn ends<'v>(&self, of: impl Iterator<Item = &'v VendorName>) -> impl Iterator<Item = End> {
        of.filter_map(|name| {
            Some((self.vendors.get(name)?.review_by?, format!("the vendor `{name}`")))
        })
    }
}
