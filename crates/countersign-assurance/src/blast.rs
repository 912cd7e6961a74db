//! The worst that an agent can do within what its posture permits: in one call, a minute, an hour, a day.

use crate::sample::Leaf;
use countersign_core::ladder::Summed;
use countersign_core::quota::{Limits, Window};
use countersign_core::scope::Step;
use countersign_core::tool::{Effect, Plan, Tool};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What calls come to, by what is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blast {
    /// `rows read`, `rows changed`, `recipients`, or an argument's name.
    pub figures: BTreeMap<String, Worst>,
}

/// The most of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worst {
    /// In one call; `None` if nothing bounds it.
    pub call: Option<u64>,
    /// In a minute, an hour and a day of the clock; `None` if nothing bounds it.
    pub spans: [Option<u64>; 3],
    /// Whether each of these calls waits for a person.
    pub gated: bool,
    /// What bounds each span, as the posture writes it.
    pub by: [String; 3],
}

/// What is counted of rows that come back.
pub const ROWS_READ: &str = "rows read";
/// What is counted of rows that a statement changes, or of requests with an effect.
pub const CHANGES: &str = "changes";
/// What is counted of messages.
pub const RECIPIENTS: &str = "recipients";

/// Hours of a day: no limit counts days.
const HOURS: u64 = 24;

/// That of one tool's calls, within limits that count them.
pub(crate) fn blast(tool: &Tool, leaves: &[Leaf], limits: &Limits) -> Blast {
    let mut figures = BTreeMap::new();
    let mut add = |name: &str, call: Option<u64>, of: Option<&Summed>| {
        figures.insert(name.to_owned(), worst(tool, limits, (call, of)));
    };
    match tool.effect {
        Effect::Read => {
            add(ROWS_READ, Some(tool.plan.bounds().rows_max.into()), Some(&Summed::Rows));
        }
        Effect::Reversible | Effect::Persistent | Effect::Irreversible => {
            let changes = match tool.plan {
                Plan::Sql(_) => tool.ladder.affects.max,
                Plan::Http(_) | Plan::Email(_) | Plan::Mcp(_) => 1,
            };
            let rows = matches!(tool.plan, Plan::Sql(_)).then_some(&Summed::Rows);
            add(CHANGES, Some(changes), rows);
            for leaf in leaves.iter().filter(|leaf| leaf.is("integer")) {
                let summed = tool.ladder.budgets.iter().map(|budget| &budget.of);
                let mut summed = summed.filter(
                    |of| matches!(of, Summed::Argument(path) if path.to_string() == leaf.path),
                );
                let often = leaf.steps.contains(&Step::Each);
                let most = leaf.number("maximum").and_then(|most| u64::try_from(most).ok());
                add(&leaf.path, most.filter(|_| !often), summed.next());
            }
        }
    }
    if let Plan::Email(plan) = &tool.plan {
        add(RECIPIENTS, Some(addresses(tool, &plan.to)), Some(&Summed::Recipients));
    }
    Blast { figures }
}

/// To how many one message goes.
fn addresses(tool: &Tool, to: &str) -> u64 {
    let schema = tool.input.get("properties").and_then(|all| all.get(to));
    schema.and_then(|schema| schema.get("maxItems")).and_then(Value::as_u64).unwrap_or(1)
}

fn worst(tool: &Tool, limits: &Limits, (call, of): (Option<u64>, Option<&Summed>)) -> Worst {
    let hour = limits.per_hour.map(u64::from);
    let minute = limits.per_minute.map(u64::from).into_iter().chain(hour).min();
    let day = hour.map(|hour| hour.saturating_mul(HOURS));
    let budgets = || tool.ladder.budgets.iter().filter(|budget| Some(&budget.of) == of);
    let of_calls = ["limits.per_minute", "limits.per_hour", "limits.per_hour × 24"];
    let spans = [(minute, Window::Minute), (hour, Window::Hour), (day, Window::Day)];
    let found = spans.map(|(calls, window)| {
        let by_calls = call.zip(calls).map(|(call, calls)| call.saturating_mul(calls));
        let by_budget = budgets().map(|budget| {
            let times =
                if (budget.window, window) == (Window::Hour, Window::Day) { HOURS } else { 1 };
            budget.max.saturating_mul(times)
        });
        let by_budget = by_budget.min();
        (by_calls.into_iter().chain(by_budget).min(), by_calls, by_budget)
    });
    let mut by = of_calls.map(str::to_owned);
    for (by, (least, by_calls, by_budget)) in by.iter_mut().zip(&found) {
        if least.is_none() {
            *by = "nothing".to_owned();
        } else if by_budget == least && by_calls != least {
            *by = "budget".to_owned();
        }
    }
    let gated = tool.ladder.gate.is_some();
    Worst { call, spans: found.map(|(least, _, _)| least), gated, by }
}

impl Blast {
    /// That of several tools of one agent, whose calls together keep to `limits`: as many of the worst as
    /// there may be, then of the next.
    pub(crate) fn together<'a>(of: impl Iterator<Item = &'a Self>, limits: Limits) -> Self {
        let mut tools: BTreeMap<&str, Vec<&Worst>> = BTreeMap::new();
        for blast in of {
            for (name, worst) in &blast.figures {
                tools.entry(name).or_default().push(worst);
            }
        }
        let hour = limits.per_hour.map(u64::from);
        let minute = limits.per_minute.map(u64::from).into_iter().chain(hour).min();
        let calls = [minute, hour, hour.map(|hour| hour.saturating_mul(HOURS))];
        let figures = tools.into_iter().map(|(name, tools)| {
            let call = tools.iter().map(|worst| worst.call).try_fold(0, most);
            let spans =
                std::array::from_fn(|at| together(&tools, at, calls.get(at).copied().flatten()));
            let gated = tools.iter().all(|worst| worst.gated);
            let by = ["the agent's limits", "the agent's limits", "the agent's limits × 24"];
            let by = by.map(str::to_owned);
            (name.to_owned(), Worst { call, spans, gated, by })
        });
        Self { figures: figures.collect() }
    }

    /// As JSON; what nothing bounds is `null`.
    #[must_use]
    pub fn json(&self) -> Value {
        let figures =
            self.figures.iter().map(|(name, worst)| {
                let Worst {
                    call,
                    spans: [minute, hour, day],
                    gated,
                    by: [by_minute, by_hour, by_day],
                } = worst;
                let value = json!({
                    "call": call, "minute": minute, "hour": hour, "day": day, "gated": gated,
                    "by": { "minute": by_minute, "hour": by_hour, "day": by_day },
                });
                (name.clone(), value)
            });
        Value::Object(figures.collect::<Map<_, _>>())
    }
}

/// The greater; nothing if nothing bounds one of them.
fn most(so_far: u64, call: Option<u64>) -> Option<u64> {
    Some(so_far.max(call?))
}

fn together(tools: &[&Worst], at: usize, calls: Option<u64>) -> Option<u64> {
    let mut each = Vec::new();
    for worst in tools {
        each.push((worst.call?, worst.spans.get(at).copied().flatten()?));
    }
    each.sort_by_key(|(call, _)| std::cmp::Reverse(*call));
    let mut left = calls?;
    let mut sum: u64 = 0;
    for (call, all) in each {
        let needed = all.div_ceil(call.max(1)).min(left);
        sum = sum.saturating_add(call.saturating_mul(needed).min(all));
        left = left.saturating_sub(needed);
    }
    Some(sum)
}
