//! What was measured, for people and for programs.

use crate::Outcome;
use crate::deployment::Target;
use serde_json::{Value, json};
use std::fmt::{Arguments, Write as _};
use std::io::Write as _;
use std::time::Duration;

/// One measurement, or several of one case put together.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) times_us: Vec<u32>,
    pub(crate) elapsed: Duration,
    /// The gateway's, user and system.
    pub(crate) cpu: Duration,
}

impl Case {
    fn absorb(&mut self, other: Self) {
        self.times_us.extend(other.times_us);
        self.elapsed += other.elapsed;
        self.cpu += other.cpu;
    }

    fn calls(&self) -> f64 {
        self.times_us.len().max(1) as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.calls() / self.elapsed.as_secs_f64()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.calls()
    }

    /// A percentile, in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted: Vec<u64> = self.times_us.iter().map(|&us| u64::from(us)).collect();
        sorted.sort_unstable();
        percentile(&sorted, percent)
    }
}

fn percentile(sorted_us: &[u64], percent: usize) -> f64 {
    let at = sorted_us.len() * percent / 100;
    sorted_us.get(at).or(sorted_us.last()).map_or(0.0, |&us| us as f64 / 1e3)
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Report {
    sync_p50_ms: f64,
    append_p50_ms: f64,
    cases: Vec<(String, usize, Case)>,
    pub(crate) rss_mib: f64,
    /// Calls made, and memory then.
    pub(crate) growth: Vec<(u64, f64)>,
}

impl Report {
    pub(crate) fn new(mut sync_us: Vec<u64>, mut append_us: Vec<u64>) -> Self {
        sync_us.sort_unstable();
        append_us.sort_unstable();
        Self {
            sync_p50_ms: percentile(&sync_us, 50),
            append_p50_ms: percentile(&append_us, 50),
            cases: Vec::new(),
            rss_mib: 0.0,
            growth: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, target: &Target, callers: usize, case: Case) {
        let name = target.name();
        match self.cases.iter_mut().find(|(known, n, _)| *known == name && *n == callers) {
            Some((_, _, known)) => known.absorb(case),
            None => self.cases.push((name, callers, case)),
        }
    }

    fn case(&self, name: &str, callers: usize) -> Option<&Case> {
        let found = self.cases.iter().find(|(known, n, _)| known == name && *n == callers);
        found.map(|(_, _, case)| case)
    }

    fn added_p50_ms(&self) -> Option<f64> {
        let (through, direct) =
            (self.case("MCP door, API", 1)?, self.case("direct to the API", 1)?);
        Some(through.percentile(50) - direct.percentile(50))
    }

    fn row(&self, name: &str, callers: usize, case: &Case) -> Value {
        let direct = self.case("direct to the API", callers).map(Case::per_second);
        json!({
            "case": name,
            "callers": callers,
            "calls": case.times_us.len(),
            "calls_per_s": round(case.per_second()),
            "of_direct": direct.map(|direct| round(case.per_second() / direct)),
            "p50_ms": round(case.percentile(50)),
            "p99_ms": round(case.percentile(99)),
            "cpu_us_per_call": name.contains("door").then(|| round(case.cpu_us())),
        })
    }

    /// As JSON, on standard output.
    pub(crate) fn json(&self) -> Outcome<()> {
        let mcp = self.case("MCP door, API", 32);
        let http = self.case("HTTP door, API", 32);
        let rows: Vec<Value> =
            self.cases.iter().map(|(name, callers, case)| self.row(name, *callers, case)).collect();
        let written = json!({
            "cpu_us_per_call_32": mcp.map(|case| round(case.cpu_us())),
            "calls_per_s_32": mcp.map(|case| round(case.per_second())),
            "http_cpu_us_per_call_32": http.map(|case| round(case.cpu_us())),
            "http_calls_per_s_32": http.map(|case| round(case.per_second())),
            "added_p50_ms_1": self.added_p50_ms().map(round),
            "sync_p50_ms": round(self.sync_p50_ms),
            "append_p50_ms": round(self.append_p50_ms),
            "rss_mib": round(self.rss_mib),
            "rss_mib_by_calls": self.growth,
            "cases": rows,
        });
        writeln!(std::io::stdout().lock(), "{written:#}")?;
        Ok(())
    }

    /// As a table, on standard output.
    pub(crate) fn text(&self) -> Outcome<()> {
        let mut text = format!(
            "{:<24} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
            "", "callers", "calls/s", "of direct", "p50 ms", "p99 ms", "CPU µs"
        );
        for (name, callers, case) in &self.cases {
            let direct = self.case("direct to the API", *callers).map(Case::per_second);
            let share = direct.map_or(f64::NAN, |direct| case.per_second() / direct);
            let cpu = match name.contains("door") {
                true => format!("{:.1}", case.cpu_us()),
                false => "–".to_owned(),
            };
            writeln!(
                text,
                "{name:<24} {callers:>7} {:>9.0} {share:>9.2} {:>9.3} {:>9.3} {cpu:>9}",
                case.per_second(),
                case.percentile(50),
                case.percentile(99),
            )?;
        }
        writeln!(
            text,
            "\nsync {:.3} ms, journal append {:.3} ms (medians, one at a time); resident {:.1} MiB",
            self.sync_p50_ms, self.append_p50_ms, self.rss_mib
        )?;
        if let Some(added) = self.added_p50_ms() {
            let allowed = 0.25 + 2.0 * self.append_p50_ms;
            writeln!(
                text,
                "one caller, MCP: the median is {added:.3} ms above direct; 0.25 ms and two appends are {allowed:.3} ms"
            )?;
        }
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A line on standard error.
pub(crate) fn note(line: Arguments<'_>) {
    // Nobody may be listening.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
