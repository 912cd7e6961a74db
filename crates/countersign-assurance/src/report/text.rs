//! For people, on a terminal.

use super::{Report, Verdict};
use crate::bound::TOLD_CHARS_MAX;
use crate::outside::Tokens;
use countersign_posture::evals::shown;
use serde_json::Value;

/// Headings and rows of the table by kind.
#[must_use]
pub fn table(report: &Report) -> ([&'static str; 3], Vec<Vec<String>>) {
    let rows = report.by_kind().into_iter().map(|(kind, (passed, failed))| {
        vec![kind.as_str().to_owned(), passed.to_string(), failed.to_string()]
    });
    (["kind", "passed", "failed"], rows.collect())
}

/// One failure, with its calls and what they broke.
#[must_use]
pub fn failure(verdict: &Verdict) -> String {
    let Verdict { id, shows, place: (file, line), .. } = verdict;
    let mut text = format!("✗ {id}: {shows}\n  {file}:{line}\n");
    for made in &verdict.calls {
        let arguments = Value::Object(made.arguments.clone()).to_string();
        text.push_str(&format!("  {} {} → {}\n", made.tool, brief(&arguments), made.told.end));
    }
    for broken in &verdict.broken {
        text.push_str(&format!("  {}: {}\n", broken.rule, brief(&broken.told)));
    }
    if let Some(answer) = &verdict.answer {
        text.push_str(&format!("  the agent said: {}\n", brief(answer)));
    }
    for line in verdict.stderr.lines() {
        text.push_str(&format!("  stderr: {}\n", brief(line)));
    }
    if verdict.runs > 1 {
        text.push_str(&format!("  held in {} of {} runs\n", verdict.held, verdict.runs));
    }
    text
}

/// A line for the whole run.
#[must_use]
pub fn summary(report: &Report) -> String {
    let failed = report.failures().count();
    let (cases, gateways) = (report.verdicts.len(), report.gateways);
    let seconds = report.took_ms.div_euclid(1_000);
    let tenths = report.took_ms.rem_euclid(1_000).div_euclid(100);
    let tokens = match report.tokens() {
        tokens if tokens == Tokens::default() => String::new(),
        Tokens { input, output } => format!(", {input} tokens read and {output} written"),
    };
    format!(
        "{} of {cases} cases passed, {failed} failed; {gateways} gateways, {seconds}.{tenths} s{tokens}, seed {}; posture {}",
        cases.saturating_sub(failed),
        report.seed,
        report.posture
    )
}

/// A text as long as anybody reads, with what nobody sees written out.
pub(super) fn brief(text: &str) -> String {
    let short: String = text.chars().take(TOLD_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", shown(&short).replace('\n', "\\n"))
}
