//! What people read on a terminal: findings with carets, tables, failures.

mod excerpt;

use crate::report::{FINDINGS_SHOWN_MAX, brief, path, visible};
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use countersign_posture::{Finding, Severity};
use excerpt::Excerpt;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

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

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
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
    kept(writeln!(stdout(), "{text}"));
}

/// Whether a line did not reach standard output, though somebody was there to read it.
static LOST: AtomicBool = AtomicBool::new(false);

fn kept(written: std::io::Result<()>) {
    // Losing the line is all that can be done when nobody reads.
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        LOST.store(true, Relaxed);
    }
}

/// Whether all that was said on standard output was written.
///
/// # Errors
/// What a command that was not heard has ended with.
pub(crate) fn heard() -> Result<(), Failure> {
    kept(stdout().flush());
    match LOST.load(Relaxed) {
        true => Err(Failure::new("standard output cannot be written")),
        false => Ok(()),
    }
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

/// Prints findings with the text they are about.
pub(crate) fn findings(found: &[Finding]) {
    let theme = if stdout().is_terminal() && crate::machine::env("NO_COLOR").is_none() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    for finding in found.iter().take(FINDINGS_SHOWN_MAX) {
        let mut text = String::new();
        let excerpt = Excerpt::of(&finding.place, path(&finding.place.source));
        let report = miette::Report::new(diagnostic(finding, &excerpt)).with_source_code(excerpt);
        if handler.render_report(&mut text, report.as_ref()).is_ok() {
            line(text.trim_end());
            line("");
        }
    }
    if let Some(more @ 1..) = found.len().checked_sub(FINDINGS_SHOWN_MAX) {
        line(format_args!("{more} more findings are not shown\n"));
    }
}

fn diagnostic(finding: &Finding, excerpt: &Excerpt) -> MietteDiagnostic {
    let (row, column) = finding.position();
    let severity = match finding.severity() {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    };
    let place = format!("{}:{row}:{column}", path(&finding.place.source));
    let mut diagnostic =
        MietteDiagnostic::new(format!("{place}: {}", visible(&brief(&finding.message))))
            .with_code(finding.code.as_str())
            .with_severity(severity);
    if !finding.place.source.text().is_empty() {
        diagnostic = diagnostic.with_label(LabeledSpan::at(excerpt.span(), "here"));
    }
    match &finding.help {
        Some(help) => diagnostic.with_help(visible(&brief(help))),
        None => diagnostic,
    }
}

/// Writes a report as JSON where it is to be, in a folder that need not be there yet.
pub(crate) fn write_report(path: &Path, report: &Value) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing(folder.display())?;
    }
    fs::write(path, format!("{report:#}\n")).doing(path.display())
}
