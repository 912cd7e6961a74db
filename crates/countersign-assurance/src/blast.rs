//! The worst that an agent can do within what its posture permits: in one call, a minute, an hour, a day.

use crate::sample::Leaf;
use countersign_core::bound::RECIPIENTS_MAX;
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
    let is_list = schema.is_some_and(|schema| schema.get("type") == Some(&json!("array")));
    let most = schema.and_then(|schema| schema.get("maxItems")).and_then(Value::as_u64);
    if is_list { most.unwrap_or(u64::MAX).min(RECIPIENTS_MAX as u64) } else { 1 }
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
    let gated = tool.ladder.asks_people();
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
            let found: [_; 3] =
                std::array::from_fn(|at| together(&tools, at, calls.get(at).copied().flatten()));
            let gated = tools.iter().all(|worst| worst.gated);
            let of_agent = ["the agent's limits", "the agent's limits", "the agent's limits × 24"];
            let mut by = of_agent.map(str::to_owned);
            for (by, found) in by.iter_mut().zip(found) {
                match found {
                    None => *by = "nothing".to_owned(),
                    Some((_, true)) => *by = "each tool's own bound".to_owned(),
                    Some((_, false)) => {}
                }
            }
            let spans = found.map(|found| found.map(|(sum, _)| sum));
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

/// The sum, and whether it is as high as that of every tool for itself: of all that single calls can add
/// to it, as many of the greatest as there may be calls.
fn together(tools: &[&Worst], at: usize, calls: Option<u64>) -> Option<(u64, bool)> {
    let mut each = Vec::new();
    let mut apart: u64 = 0;
    for worst in tools {
        let (call, all) = (worst.call?, worst.spans.get(at).copied().flatten()?);
        apart = apart.saturating_add(all);
        each.push((call, all.checked_div(call).unwrap_or(0)));
        each.push((all.checked_rem(call).unwrap_or(0), 1));
    }
    each.sort_by_key(|(adds, _)| std::cmp::Reverse(*adds));
    let mut left = calls.unwrap_or(u64::MAX);
    let mut sum: u64 = 0;
    for (adds, times) in each {
        let times = times.min(left);
        sum = sum.saturating_add(adds.saturating_mul(times));
        left = left.saturating_sub(times);
    }
    Some((sum, sum == apart))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(call: Option<u64>, all: Option<u64>) -> Worst {
        Worst { call, spans: [all; 3], gated: false, by: [const { String::new() }; 3] }
    }

    /// Every way to divide the calls among the tools.
    fn tried(tools: &[(u64, u64)], calls: u64) -> u64 {
        let Some(((call, all), others)) = tools.split_first() else { return 0 };
        let of = |n: u64| (call * n).min(*all) + tried(others, calls - n);
        (0..=calls).map(of).max().unwrap_or_default()
    }

    #[test]
    fn no_division_of_the_calls_comes_to_more_and_one_comes_to_as_much() {
        for calls in 0..8 {
            for a in [(5, 6), (5, 40), (1, 3), (0, 0)] {
                for b in [(4, 4), (7, 20), (2, 3)] {
                    for c in [(3, 9), (6, 7)] {
                        let tools = [a, b, c].map(|(call, all)| worst(Some(call), Some(all)));
                        let tools: Vec<_> = tools.iter().collect();
                        let most = together(&tools, 0, Some(calls)).map(|(sum, _)| sum);
                        assert_eq!(
                            most,
                            Some(tried(&[a, b, c], calls)),
                            "{calls} {a:?} {b:?} {c:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_nothing_bounds_is_never_a_number() {
        let bounded = worst(Some(2), Some(10));
        for unbounded in [worst(None, Some(10)), worst(Some(2), None), worst(None, None)] {
            assert_eq!(together(&[&bounded, &unbounded], 0, Some(5)), None);
        }
        assert_eq!(together(&[&bounded, &bounded], 1, None), Some((20, true)));
    }
}
