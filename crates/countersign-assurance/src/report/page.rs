//! For people who look at a run afterwards: Markdown for a pull request, a page of HTML for a browser.

use super::text::brief;
use super::{Report, Verdict};
use crate::markup::escaped;
use crate::outside::Tokens;
use crate::script::Made;
use serde_json::Value;

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("## Evaluation\n\n{}\n\n", super::summary(report));
    text.push_str("| kind | passed | failed |\n| --- | --- | --- |\n");
    for (kind, (passed, failed)) in report.by_kind() {
        text.push_str(&format!("| {} | {passed} | {failed} |\n", kind.as_str()));
    }
    if let Some(against) = &report.against {
        text.push_str(&format!("\n{}\n", against.told()));
    }
    for verdict in report.failures() {
        let (file, line) = &verdict.place;
        text.push_str(&format!("\n### {}\n\n{} (`{file}:{line}`)\n\n", verdict.id, verdict.shows));
        for broken in &verdict.broken {
            text.push_str(&format!("- **{}**: {}\n", broken.rule, cell(&broken.told)));
        }
        text.push_str("\n| call | ended |\n| --- | --- |\n");
        for made in &verdict.calls {
            text.push_str(&format!("| {} | {} |\n", cell(&called(made)), made.told.end));
        }
        for (what, said) in agents(verdict) {
            text.push_str(&format!("\n{what}: {}\n", cell(&said)));
        }
    }
    text
}

/// What there is to tell of an agent that is not the suite's own.
fn agents(verdict: &Verdict) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    told.extend(verdict.answer.iter().map(|answer| ("The agent said", answer.clone())));
    let Tokens { input, output } = verdict.tokens;
    if verdict.tokens != Tokens::default() {
        told.push(("Tokens", format!("{input} read, {output} written")));
    }
    told.extend(verdict.stderr.lines().map(|line| ("Standard error", line.to_owned())));
    told
}

/// A text that ends no cell and begins nothing of its own.
fn cell(text: &str) -> String {
    let marks = ['|', '`', '*', '_', '<', '>', '[', ']'];
    let mut escaped = String::new();
    for c in brief(text).chars() {
        if marks.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn called(made: &Made) -> String {
    format!("{} {}", made.tool, Value::Object(made.arguments.clone()))
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1rem 0;width:100%}td,th{border:1px solid #d0d7de;padding:.35rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#f6f8fa}code{font:13px ui-monospace,monospace}.failed{color:#b42318;font-weight:600}.passed{color:#1a7f37}
details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}td,th,details{border-color:#30363d}th{background:#161b22}.failed{color:#ff7b72}.passed{color:#3fb950}}";

/// The report as one page of HTML that needs nothing else.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>Evaluation</title><style>{STYLE}</style></head><body><main>\n<h1>Evaluation</h1>\n<p>{}</p>\n",
        escaped(&super::summary(report))
    );
    page.push_str("<table><tr><th>kind</th><th>passed</th><th>failed</th></tr>\n");
    for (kind, (passed, failed)) in report.by_kind() {
        let class = if failed == 0 { "passed" } else { "failed" };
        page.push_str(&format!(
            "<tr><td>{}</td><td>{passed}</td><td class=\"{class}\">{failed}</td></tr>\n",
            kind.as_str()
        ));
    }
    page.push_str("</table>\n");
    if let Some(against) = &report.against {
        page.push_str(&format!("<p>{}</p>\n", escaped(&against.told())));
    }
    let failed = report.failures().count();
    if failed > 0 {
        page.push_str("<h2>What does not hold</h2>\n");
        report.failures().for_each(|verdict| one(&mut page, verdict, true));
    }
    page.push_str("<h2>Every case</h2>\n");
    report
        .verdicts
        .iter()
        .filter(|verdict| verdict.passed())
        .for_each(|v| one(&mut page, v, false));
    page.push_str("<h2>What stood in for what</h2>\n<ul>\n");
    for line in &report.overlay {
        page.push_str(&format!("<li>{}</li>\n", escaped(line)));
    }
    page.push_str("</ul>\n</main></body></html>\n");
    page
}

fn one(page: &mut String, verdict: &Verdict, open: bool) {
    let (file, line) = &verdict.place;
    let (class, word) = if verdict.passed() { ("passed", "✓") } else { ("failed", "✗") };
    page.push_str(&format!(
        "<details{}><summary><span class=\"{class}\">{word}</span> <code>{}</code> {}</summary>\n<p><code>{}:{line}</code>, {}, {} ms</p>\n",
        if open { " open" } else { "" },
        escaped(&verdict.id),
        escaped(&verdict.shows),
        escaped(file),
        verdict.kind.as_str(),
        verdict.took_ms
    ));
    for broken in &verdict.broken {
        page.push_str(&format!(
            "<p class=\"failed\">{}: {}</p>\n",
            broken.rule,
            escaped(&brief(&broken.told))
        ));
    }
    page.push_str("<table><tr><th>call</th><th>ended</th></tr>\n");
    for made in &verdict.calls {
        page.push_str(&format!(
            "<tr><td><code>{}</code></td><td>{}</td></tr>\n",
            escaped(&brief(&called(made))),
            escaped(&made.told.end)
        ));
    }
    page.push_str("</table>\n");
    for (what, said) in agents(verdict) {
        page.push_str(&format!("<p>{what}: <code>{}</code></p>\n", escaped(&brief(&said))));
    }
    page.push_str("</details>\n");
}
