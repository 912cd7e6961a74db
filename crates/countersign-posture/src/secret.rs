//! Credentials written into a file that others read. They are found by their form, reported, and
//! blotted out of the text before anything else sees it: a report shows the line.

use crate::finding::{Code, Finding, Place, Source};
use regex::Regex;
use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

/// What it is, and its form. Where a part of the form is captured, that part is the secret.
const FORMS: [(&str, &str); 10] = [
    // Its lines, and the last one if the end follows: no more of the file than that.
    (
        "a private key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\s+[0-9A-Za-z+/=]{20,})*(?:\s+[0-9A-Za-z+/=]+\s+-----END)?",
    ),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a GitHub token", r"\b(?:gh[a-z]_[0-9A-Za-z]{30,}|github_pat_[0-9A-Za-z_]{30,})"),
    ("a GitLab token", r"\bglpat-[0-9A-Za-z_-]{20,}"),
    ("a Slack token", r"\bxox[a-z]-[0-9A-Za-z-]{10,}"),
    ("an API key", r"\b[sr]k[-_][0-9A-Za-z_-]{20,}"),
    ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("a JSON Web Token", r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*"),
    ("a password", r#"(?i)\b(?:password|passwd|pwd)=['"]?([^\s'"&;:?$<{*()][^\s'"&;()]{2,})"#),
    ("a password in a URL", r"://[^\s/:@?#]*:([^\s/@$<{*][^\s/@]*)@"),
];

static KNOWN: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the forms are constants, and tests compile them")]
    FORMS.iter().map(|&(what, form)| (what, Regex::new(form).expect("a form"))).collect()
});

/// The file without the secrets in it, and a finding for each.
pub(crate) fn blotted(source: Source) -> (Arc<Source>, Vec<Finding>) {
    let found = find(source.text());
    if found.is_empty() {
        return (Arc::new(source), Vec::new());
    }
    let mut text = String::with_capacity(source.text().len());
    for (at, c) in source.text().char_indices() {
        let secret = found.iter().any(|(_, range)| range.contains(&at));
        if secret && !c.is_whitespace() {
            // As many bytes as before: every place stays where it is. Letters, so that the file
            // stays the YAML it was.
            text.extend(std::iter::repeat_n('x', c.len_utf8()));
        } else {
            text.push(c);
        }
    }
    let source = Arc::new(source.with_text(text));
    let finding = |(what, span): (&str, Range<usize>)| {
        Finding {
        code: Code::InlineSecret,
        place: Place { source: Arc::clone(&source), span },
        message: format!("this looks like {what}"),
        help: Some(
            "take it out, give out a new one, and name it in the deployment's `references` by `env` or `file`"
                .to_owned(),
        ),
    }
    };
    let findings = found.into_iter().map(finding).collect();
    (source, findings)
}

fn find(text: &str) -> Vec<(&'static str, Range<usize>)> {
    let mut found: Vec<(&'static str, Range<usize>)> = Vec::new();
    for (what, form) in KNOWN.iter() {
        for captures in form.captures_iter(text) {
            let Some(secret) = captures.get(1).or_else(|| captures.get(0)) else { continue };
            let range = secret.range();
            let overlaps =
                |(_, other): &(_, Range<usize>)| range.start < other.end && other.start < range.end;
            // A word that only begins like a key holds no digit.
            let random = captures.len() > 1
                || secret.as_str().starts_with('-')
                || secret.as_str().contains(|c: char| c.is_ascii_digit());
            if random && !found.iter().any(overlaps) {
                found.push((what, range));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Secrets are put together here, so that no scanner of this repository takes them for real.
    fn samples() -> Vec<(&'static str, String)> {
        let long = "0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";
        vec![
            ("a private key", format!("-----BEGIN EC {} KEY-----\n{long}\n", "PRIVATE")),
            ("an AWS access key", format!("{}ABCDEFGHIJKLMNO1", "AKIA")),
            ("a GitHub token", format!("ghp{}{long}", "_")),
            ("a GitLab token", format!("glpat{}{long}", "-")),
            ("a Slack token", format!("xoxb{}1234567890-abc", "-")),
            ("an API key", format!("sk{}proj-{long}", "-")),
            ("an API key", format!("sk{}live_{long}", "_")),
            ("a Google API key", format!("AIza{}", long.split_at(35).0)),
            ("a JSON Web Token", format!("ey{}hbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "J")),
        ]
    }

    #[test]
    fn every_form_is_found_and_blotted_out() {
        for (what, secret) in samples() {
            let source = Source::new("", "f", format!("# é\nkey: {secret} # {secret}\nend: 1\n"));
            let length = source.text().len();
            let (source, findings) = blotted(source);
            assert!(findings.iter().all(|finding| finding.message.ends_with(what)), "{what}");
            assert!(!findings.is_empty() && !source.text().contains(secret.trim()), "{what}");
            assert!(source.text().ends_with("end: 1\n") && source.text().len() == length);
        }
        for (text, kept) in [
            ("dsn: host=db password=hunter2 user=a", "dsn: host=db password=xxxxxxx user=a"),
            ("a: postgres://ann:s3cret@db/x", "a: postgres://ann:xxxxxx@db/x"),
            ("a: redis://:s3cret@db", "a: redis://:xxxxxx@db"),
        ] {
            let (source, findings) = blotted(Source::new("", "f", text));
            assert_eq!((source.text(), findings.len()), (kept, 1), "{text}");
        }
    }

    #[test]
    fn what_only_looks_a_little_like_it_is_left_alone() {
        for text in [
            "where password = :password and token=:token",
            "postgres://${USER}:${PASSWORD}@db",
            "http://127.0.0.1:8787/a@b",
            "task-force-and-other-words-of-length",
            "risk-assessment-of-the-warehouse-2",
            "sk-warehouse-and-other-stores-of-ours",
            "password=$PASSWORD&pwd=<yours>",
            "contact: ann@example.com",
        ] {
            assert_eq!(find(text), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_search_panic(text in "(?s).{0,80}") {
            let (source, _) = blotted(Source::new("", "f", text.clone()));
            prop_assert_eq!(source.text().len(), text.len());
        }
    }
}
