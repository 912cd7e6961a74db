//! Findings for machines: one JSON object, GitHub's workflow commands, SARIF 2.1.0.

use countersign_core::screen;
use countersign_posture::{Code, Finding, Severity, Source};
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};

/// Most findings that are told at once; all of them are counted.
pub(crate) const FINDINGS_SHOWN_MAX: usize = 500;
/// Most characters of a message or a help.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// How findings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// With a caret under what was written
    Text,
    /// One JSON object
    Json,
    /// Workflow commands: annotations of a pull request on GitHub
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// Where a finding's file is, as an editor or CI opens it: relative to the current directory if it
/// lies in there.
pub(crate) fn path(source: &Source) -> String {
    let file: PathBuf = source.file().components().filter(|c| *c != Component::CurDir).collect();
    let here = std::env::current_dir().unwrap_or_default();
    visible(&file.strip_prefix(here).unwrap_or(&file).to_string_lossy())
}

/// The name of a file or a key can hold line ends and terminal commands; here it holds none.
pub(crate) fn visible(text: &str) -> String {
    let escaped = |c: char| match unseen(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// Whether a character controls a terminal, or people cannot see it.
pub(crate) fn unseen(c: char) -> bool {
    let hidden = |text: &str| screen::strip_hidden(&mut Value::from(text)) > 0;
    c.is_control() || (!c.is_ascii() && hidden(c.encode_utf8(&mut [0; 4])))
}

/// A message as long as anybody reads: it may repeat what was written.
pub(crate) fn brief(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Keeps as many findings as are told, errors before warnings; returns how many others there were.
pub(crate) fn bound(findings: &mut Vec<Finding>) -> usize {
    let others = findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
    if others > 0 {
        findings.sort_by_key(Finding::severity);
        findings.truncate(FINDINGS_SHOWN_MAX);
    }
    for finding in findings {
        finding.message = brief(&finding.message);
        finding.help = finding.help.as_deref().map(brief);
    }
    others
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Where it begins and where it ends, lines and columns from 1, the end not included.
fn region(finding: &Finding) -> ((usize, usize), (usize, usize)) {
    let source = &finding.place.source;
    (finding.position(), source.position(finding.place.span.end))
}

/// One object: the findings and `summary`.
pub(crate) fn json(findings: &[Finding], summary: &Value) -> Value {
    let findings = findings.iter().map(|finding| {
        let ((line, column), (end_line, end_column)) = region(finding);
        let Finding { code, place, message, help } = finding;
        json!({
            "code": code.as_str(), "severity": word(code.severity()), "file": path(&place.source),
            "line": line, "column": column, "end_line": end_line, "end_column": end_column,
            "message": message, "help": help,
        })
    });
    json!({ "findings": findings.collect::<Vec<_>>(), "summary": summary })
}

/// One workflow command for each finding.
pub(crate) fn github(findings: &[Finding]) -> impl Iterator<Item = String> {
    findings.iter().map(|finding| {
        let ((line, column), (end_line, end_column)) = region(finding);
        let Finding { code, place, message, help } = finding;
        let help = help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
        let severity = word(code.severity());
        let file = property(&path(&place.source));
        let end = if line == end_line { format!(",endColumn={end_column}") } else { String::new() };
        let message = data(&format!("{message}{help}"));
        format!(
            "::{severity} file={file},line={line},endLine={end_line},col={column}{end},title={code}::{message}"
        )
    })
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A log with one run. Every code is a rule, found or not, so that what was mended can be told from
/// what was not looked for.
pub(crate) fn sarif(findings: &[Finding], failure: Option<&str>) -> Value {
    let rules = Code::ALL.iter().map(|code| {
        let page = format!("docs/lints.md#{code}");
        json!({
            "id": code.as_str(),
            "shortDescription": { "text": code.summary() },
            "help": { "text": format!("See {page}"), "markdown": format!("See [{page}]({page})") },
            "defaultConfiguration": { "level": word(code.severity()) },
        })
    });
    let results = findings.iter().map(|finding| {
        let ((line, column), (end_line, end_column)) = region(finding);
        let Finding { code, place, message, help } = finding;
        let help = help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        json!({
            "ruleId": code.as_str(),
            "ruleIndex": Code::ALL.iter().position(|known| known == code),
            "level": word(code.severity()),
            "message": { "text": format!("{message}{help}") },
            "locations": [{ "physicalLocation": {
                "artifactLocation": artifact(&path(&place.source)),
                "region": {
                    "startLine": line, "startColumn": column,
                    "endLine": end_line, "endColumn": end_column,
                },
            } }],
        })
    });
    let notices = failure.map(|text| json!({ "level": "error", "message": { "text": text } }));
    let notices: Vec<_> = notices.into_iter().collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "countersign",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            } },
            "invocations": [{
                "executionSuccessful": failure.is_none(),
                "toolExecutionNotifications": notices,
            }],
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn artifact(path: &str) -> Value {
    let uri: String = path
        .bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    match Path::new(path).is_absolute() {
        true => json!({ "uri": format!("file://{uri}") }),
        false => json!({ "uri": uri, "uriBaseId": "%SRCROOT%" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_uri_is_relative_unless_its_path_is_absolute() {
        let relative = json!({ "uri": "../a%20b/%C3%A9.yaml", "uriBaseId": "%SRCROOT%" });
        assert_eq!(artifact("../a b/é.yaml"), relative);
        assert_eq!(artifact("/a/b%.yaml"), json!({ "uri": "file:///a/b%25.yaml" }));
    }
}
