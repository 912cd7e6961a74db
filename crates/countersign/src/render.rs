//! What people read on a terminal: findings with carets, tables, failures.

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use countersign_posture::{Finding, Severity};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};
use std::error::Error;
use std::io::{IsTerminal, Write, stderr, stdout};

/// How wide a table is where there is no terminal to ask.
const WIDTH_WITHOUT_TERMINAL: u16 = 160;

/// Why a command could not run: one sentence, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    help: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Adds what was being done to an error.
pub(crate) trait Doing<T> {
    /// `Err` becomes `what: error`.
    fn doing(self, what: impl std::fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            let mut message = format!("{what}: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                message.push_str(&format!(": {error}"));
                source = error.source();
            }
            Failure::new(message)
        })
    }
}

/// A line on standard output. A reader that has gone away ends the program by SIGPIPE's rules, not
/// by a panic.
pub(crate) fn line(text: impl std::fmt::Display) {
    // Losing the line is all that can be done when nobody reads.
    drop(writeln!(stdout(), "{text}"));
}

/// A line on standard error.
pub(crate) fn note(text: impl std::fmt::Display) {
    drop(writeln!(stderr(), "{text}")); // as above
}

/// Says why a command could not run.
pub(crate) fn failure(failure: &Failure) {
    note(format_args!("error: {}", failure.message));
    if let Some(help) = &failure.help {
        note(format_args!("help:  {help}"));
    }
}

/// A table as wide as the terminal.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.iter().copied());
    if table.width().is_none() {
        table.set_width(WIDTH_WITHOUT_TERMINAL);
    }
    for row in rows {
        table.add_row(row);
    }
    table
}

/// Prints findings with the text they are about; returns how many of them are errors.
pub(crate) fn findings(found: &[Finding]) -> usize {
    let theme = if stdout().is_terminal() && crate::machine::env("NO_COLOR").is_none() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    for finding in found {
        let mut text = String::new();
        let report = miette::Report::new(diagnostic(finding)).with_source_code(NamedSource::new(
            finding.place.source.path(),
            finding.place.source.text().to_owned(),
        ));
        if handler.render_report(&mut text, report.as_ref()).is_ok() {
            line(text.trim_end());
            line("");
        }
    }
    found.iter().filter(|finding| finding.severity() == Severity::Error).count()
}

fn diagnostic(finding: &Finding) -> MietteDiagnostic {
    let (row, column) = finding.place.source.position(finding.place.span.start);
    let severity = match finding.code.severity() {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    };
    let place = format!("{}:{row}:{column}", finding.place.source.path());
    let mut diagnostic = MietteDiagnostic::new(format!("{place}: {}", finding.message))
        .with_code(finding.code.as_str())
        .with_severity(severity);
    if !finding.place.source.text().is_empty() {
        let span = finding.place.span.clone();
        diagnostic = diagnostic.with_label(LabeledSpan::at(span, "here"));
    }
    match &finding.help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}
