//! A run beside an earlier one.

use super::Report;
use serde_json::Value;
use std::collections::BTreeMap;

/// What differs from an earlier run, by the cases' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Against {
    /// Those that held before, and do not now.
    pub newly_failing: Vec<String>,
    /// Those that hold now, and did not before.
    pub newly_passing: Vec<String>,
    /// Those that held in one of several repetitions and not in another.
    pub flaky: Vec<String>,
    /// Those that were not there before.
    pub new: usize,
    /// Those that are not there any more.
    pub gone: usize,
}

impl Against {
    /// Holds a run against what an earlier one wrote as JSON. `None` if that is no report.
    #[must_use]
    pub fn of(report: &Report, before: &Value) -> Option<Self> {
        let cases = before.get("cases")?.as_array()?;
        let before: BTreeMap<&str, bool> = cases
            .iter()
            .map(|case| Some((case.get("id")?.as_str()?, case.get("passed")?.as_bool()?)))
            .collect::<Option<_>>()?;
        let mut against = Self { flaky: report.flaky.clone(), ..Self::default() };
        for verdict in &report.verdicts {
            match (before.get(verdict.id.as_str()), verdict.passed()) {
                (Some(true), false) => against.newly_failing.push(verdict.id.clone()),
                (Some(false), true) => against.newly_passing.push(verdict.id.clone()),
                (None, _) => against.new = against.new.saturating_add(1),
                (Some(_), _) => {}
            }
        }
        let kept = before.len().saturating_sub(
            before.keys().filter(|id| !report.verdicts.iter().any(|v| v.id == **id)).count(),
        );
        against.gone = before.len().saturating_sub(kept);
        Some(against)
    }

    /// In a few lines.
    #[must_use]
    pub fn told(&self) -> String {
        let list = |what: &str, cases: &[String]| match cases {
            [] => String::new(),
            cases => format!("; {what}: {}", cases.join(", ")),
        };
        format!(
            "Against the baseline: {} newly failing, {} newly passing, {} flaky, {} new, {} gone{}{}{}",
            self.newly_failing.len(),
            self.newly_passing.len(),
            self.flaky.len(),
            self.new,
            self.gone,
            list("newly failing", &self.newly_failing),
            list("newly passing", &self.newly_passing),
            list("flaky", &self.flaky)
        )
    }
}
