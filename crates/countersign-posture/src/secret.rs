//! Credentials written into a file that others read. They are found by their form, reported, and
//! blotted out of the text before anything else sees it: a report shows the line.

use crate::finding::{Code, Finding, Place, Source};
use regex::Regex;
use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

/// What it is, its form, and what tells it from what only looks like it. Where a part of the form is
/// captured, that part is the secret.
type Form = (&'static str, &'static str, fn(&str) -> bool);

const FORMS: [Form; 22] = [
    // Up to its end, whatever comes before its lines (a comment's mark, a list's). Without an end, its
    // lines: no more of the file than that.
    (
        "a private key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:(?:[^-]|-{1,4}[^-])*?-----END [A-Z ]*PRIVATE KEY|(?:[^0-9A-Za-z+=]{1,40}[0-9A-Za-z+/=]{20,})*)",
        any,
    ),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", numbered),
    (
        "an AWS secret access key",
        r"(?:^|[^0-9A-Za-z+/=_.-])([0-9A-Za-z+/]{40})(?:$|[^0-9A-Za-z+/=_.-])",
        random,
    ),
    ("a GitHub token", r"\b(?:gh[a-z]_[0-9A-Za-z]{30,}|github_pat_[0-9A-Za-z_]{30,})", numbered),
    ("a GitLab token", r"\bglpat-[0-9A-Za-z_-]{20,}", numbered),
    ("a Slack token", r"\bxox[a-z]-[0-9A-Za-z-]{10,}", numbered),
    (
        "a Slack webhook",
        r"\bhooks\.slack\.com/(?:services|workflows|triggers)/([0-9A-Za-z/_-]{10,})",
        numbered,
    ),
    ("an API key", r"\b[sr]k[-_][0-9A-Za-z_-]{20,}", numbered),
    ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}", numbered),
    ("an npm token", r"\bnpm_[0-9A-Za-z]{36}", numbered),
    ("a PyPI token", r"\bpypi-[0-9A-Za-z_-]{16,}", numbered),
    ("a SendGrid key", r"\bSG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}", numbered),
    ("a DigitalOcean token", r"\bdo[opr]_v1_[0-9a-f]{32,}", numbered),
    ("a Hugging Face token", r"\bhf_[0-9A-Za-z]{20,}", numbered),
    ("a Vault token", r"\bhv[sbr]\.[0-9A-Za-z_-]{20,}", numbered),
    ("an age key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{20,}", numbered),
    ("a JSON Web Token", r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*", any),
    (
        "a credential",
        r#"(?i)\bauthorization["']?\s*[:=]\s*["']?(?:bearer|basic)\s+([0-9A-Za-z._~+/=-]{6,})"#,
        mixed,
    ),
    (
        "a password",
        r#"(?i)(?:\b|_|-|pg)(?:password|passwd|pwd|passphrase|accountkey)=['"]?([^\s'"&;:?$<{*()=][^\s'"&;()]{2,})"#,
        any,
    ),
    // As a key of YAML, in a comment too: one word, for in a text others may follow.
    (
        "a password",
        r#"(?im)(?:^|[{,])[ \t#/-]*["']?(?:[0-9a-z]+[_-])*(?:pg)?(?:password|passwd|pwd|passphrase)["']?:[ \t]+(?:"([^"\n]{3,})"|'([^'\n]{3,})'|([^\s"':?$<{\[*&|>(),./][^\s,}]{2,}))[ \t]*(?:$|#|,|\})"#,
        any,
    ),
    (
        "a secret",
        r#"(?im)(?:password|passwd|pwd|passphrase|secret|token|(?:api|access|account|private|secret)[_-]?key)["']?(?:[ \t]*=[ \t]*|:[ \t]+)["']?([^\s"':?$<{\[*&|>(),./=][^\s"',;&(){}]{5,})["']?[ \t]*(?:$|[#,;&}])"#,
        mixed,
    ),
    ("a password in a URL", r"://[^\s/:@?#]*:([^\s/@$<{*][^\s/@]*)@", any),
];

const fn any(_: &str) -> bool {
    true
}

/// A word that only begins like a key holds no digit.
fn numbered(secret: &str) -> bool {
    secret.contains(|c: char| c.is_ascii_digit())
}

/// A word or a name is of one case, or begins with the one capital, and holds no other character.
fn mixed(secret: &str) -> bool {
    let beyond = |c: char| !c.is_ascii_alphabetic() && !matches!(c, '_' | '-' | '.');
    secret.contains(beyond)
        || (secret.contains(|c: char| c.is_ascii_lowercase())
            && secret.chars().skip(1).any(|c| c.is_ascii_uppercase()))
}

/// Neither a digest nor a path.
fn random(secret: &str) -> bool {
    let count = |of: fn(&char) -> bool| secret.chars().filter(of).count();
    count(char::is_ascii_digit) > 0
        && count(char::is_ascii_uppercase) > 4
        && count(char::is_ascii_lowercase) > 4
}

/// What it is, its form, and whether a text of that form is one.
type Known = (&'static str, Regex, fn(&str) -> bool);

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the forms are constants, and tests compile them")]
    let known = FORMS.map(|(what, form, is)| (what, Regex::new(form).expect("a form"), is));
    known.into()
});

/// The references of a deployment, and a value in there whose key no reference has: not one of
/// `value`, `env` and `file`. What it was meant to be is not known, and a secret is likely.
static REFERENCES: LazyLock<(Regex, Regex)> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the forms are constants, and tests compile them")]
    let form = |form| Regex::new(form).expect("a form");
    (
        form(r"(?m)^references:[^\n]*(?:\n(?:[ \t#][^\n]*)?)*"),
        form(
            r#"(?m)(?:^[ \t]+|[{,][ \t]*)["']?([0-9A-Za-z_-]+)["']?:[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'{\[#&*|>/.][^\n,}#]*))"#,
        ),
    )
});

/// The file without the secrets in it, and a finding for each.
pub(crate) fn blotted(source: Source) -> (Arc<Source>, Vec<Finding>) {
    let found = find(source.text());
    if found.is_empty() {
        return (Arc::new(source), Vec::new());
    }
    let mut text = String::with_capacity(source.text().len());
    let mut margin = false;
    for (at, c) in source.text().char_indices() {
        let secret = found.iter().any(|(_, range)| range.contains(&at));
        // The mark of a comment or a list before a line of a secret makes the file what it is.
        margin = c == '\n' || (margin && matches!(c, ' ' | '\t' | '#' | '/' | '*' | '-'));
        if secret && !margin && !c.is_whitespace() {
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
    let told = found.into_iter().filter(|(what, _)| *what != UNTOLD);
    let findings = told.map(finding).collect();
    (source, findings)
}

fn find(text: &str) -> Vec<(&'static str, Range<usize>)> {
    let mut found = Vec::new();
    forms(text, &mut found, |range| range);
    if let Some((text, places)) = unescaped(text) {
        let place = |at: usize| places.get(at).copied().unwrap_or_default();
        forms(&text, &mut found, |range| place(range.start)..place(range.end));
    }
    for block in REFERENCES.0.find_iter(text) {
        for captures in REFERENCES.1.captures_iter(block.as_str()) {
            let key = captures.get(1).map_or("", |key| key.as_str());
            let Some(value) = captures.iter().skip(2).flatten().next() else { continue };
            // The name of a variable is no secret.
            let name = |c: char| c.is_ascii_uppercase() || c == '_';
            if !matches!(key, "value" | "env" | "file") && !value.as_str().chars().all(name) {
                let at = |offset: usize| block.start().saturating_add(offset);
                let what = if secretive(value.as_str()) { "a secret" } else { UNTOLD };
                add(&mut found, (what, at(value.start())..at(value.end())));
            }
        }
    }
    found
}

/// What is blotted out to be sure, and not told: a key of the wrong name is told by its decoder.
const UNTOLD: &str = "";

/// Whether a value is more than words, a path or an address.
fn secretive(value: &str) -> bool {
    let odd = |c: char| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '_' | '-' | ' ');
    let both = value.contains(char::is_numeric) && value.contains(char::is_alphabetic);
    !value.contains("://") && (value.contains(odd) || (both && !value.contains(['/', '.'])))
}

/// How far after `basic:` its `password:` may stand, in bytes.
const BASIC_BYTES_MAX: usize = 200;

/// Whether a text is the name of a reference: below a system's `basic:` stand nothing but names.
fn is_reference(text: &str, range: Range<usize>) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let basic = text.get(..range.start).and_then(|before| before.rfind("basic:"));
    basic.is_some_and(|at| range.start.saturating_sub(at) < BASIC_BYTES_MAX)
        && text.get(range).is_some_and(|found| found.chars().all(name))
}

fn forms(
    text: &str,
    found: &mut Vec<(&'static str, Range<usize>)>,
    place: impl Fn(Range<usize>) -> Range<usize>,
) {
    for (what, form, is) in KNOWN.iter() {
        for captures in form.captures_iter(text) {
            let part = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0));
            let secret = part.filter(|secret| is(secret.as_str()));
            if let Some(secret) = secret.filter(|secret| !is_reference(text, secret.range())) {
                add(found, (*what, place(secret.range())));
            }
        }
    }
}

fn add(found: &mut Vec<(&'static str, Range<usize>)>, (what, range): (&'static str, Range<usize>)) {
    let overlaps =
        |(_, other): &(_, Range<usize>)| range.start < other.end && other.start < range.end;
    if !found.iter().any(overlaps) {
        found.push((what, range));
    }
}

/// The text as double quotes would have it read, and where each of its bytes was written, and its
/// end. `None` if that is the text.
fn unescaped(text: &str) -> Option<(String, Vec<usize>)> {
    if !text.contains('\\') {
        return None;
    }
    let (mut plain, mut places) = (String::new(), Vec::new());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (c, length) = escape(rest)
            .or_else(|| rest.chars().next().map(|c| (Some(c), c.len_utf8())))
            .unwrap_or((None, 1));
        if let Some(c) = c {
            plain.push(c);
            places.extend(std::iter::repeat_n(at, c.len_utf8()));
        }
        at = at.saturating_add(length);
    }
    places.push(text.len());
    Some((plain, places))
}

/// The escape that a text begins with: what it stands for, and how long it is.
fn escape(text: &str) -> Option<(Option<char>, usize)> {
    let rest = text.strip_prefix('\\')?;
    let mark = rest.chars().next()?;
    let digits = match mark {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        'n' | 'r' => return Some((Some('\n'), 2)),
        '"' | '/' | '\\' => return Some((Some(mark), 2)),
        '\n' => {
            let blank = rest.len().saturating_sub(rest.trim_start().len());
            return Some((None, blank.saturating_add(1)));
        }
        _ => return None,
    };
    let end = usize::saturating_add(1, digits);
    let c = u32::from_str_radix(rest.get(1..end)?, 16).ok().and_then(char::from_u32)?;
    Some((Some(c), end.saturating_add(1)))
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
            ("an npm token", format!("npm{}{}", "_", long.split_at(36).0)),
            ("a PyPI token", format!("pypi{}{long}", "-")),
            ("a SendGrid key", format!("SG{}{long}.{long}", ".")),
            ("a DigitalOcean token", format!("dop_v1{}{}", "_", "0a1b2c3d".repeat(8))),
            ("a Hugging Face token", format!("hf{}{long}", "_")),
            ("a Vault token", format!("hvs{}{long}", ".")),
            ("an age key", format!("AGE-SECRET-KEY{}1{}", "-", long.to_uppercase())),
            ("a Slack webhook", format!("https://hooks.slack.com/services{}T0/B0/{long}", "/")),
            ("an AWS secret access key", format!("wJalrXUtnFEMI/K7MDENG/{}", "bPxRfiCYEXAMPLEKEY")),
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
            ("password: hunter2xyz", "password: xxxxxxxxxx"),
            ("  db_password: letmein # now", "  db_password: xxxxxxx # now"),
            ("# token: Tr0ub4dor", "# token: xxxxxxxxx"),
            ("a: { client_secret: 'a1b2c3d4', b: 1 }", "a: { client_secret: 'xxxxxxxx', b: 1 }"),
            ("passphrase: \"correct horse\"", "passphrase: \"xxxxxxx xxxxx\""),
            ("// secret=a1b2c3d4", "// secret=xxxxxxxx"),
            ("# api_key = A1b2c3d4", "# api_key = xxxxxxxx"),
            ("PGPASSWORD=letmein", "PGPASSWORD=xxxxxxx"),
            ("# AccountKey=c2VjcmV0/w==", "# AccountKey=xxxxxxxxxxxx"),
            ("# Authorization: Bearer a1b2c3d4", "# Authorization: Bearer xxxxxxxx"),
            ("# authorization: Basic YW5uOnB3", "# authorization: Basic xxxxxxxx"),
            ("a: \"redis\\u003a//:s3cret@db\"", "a: \"redis\\u003a//:xxxxxx@db\""),
            ("a: \"redis://:s3c\\x72et@db\"", "a: \"redis://:xxxxxxxxx@db\""),
            (
                "references:\n  db: { valeu: \"Tr0ub4dor&3\", env: B1 }\nlisten: a1",
                "references:\n  db: { valeu: \"xxxxxxxxxxx\", env: B1 }\nlisten: a1",
            ),
            ("references:\n  db: Tr0ub4dor\n", "references:\n  db: xxxxxxxxx\n"),
        ] {
            let (source, findings) = blotted(Source::new("", "f", text));
            assert_eq!((source.text(), findings.len()), (kept, 1), "{text}");
        }
    }

    #[test]
    fn a_reference_of_a_mistyped_key_is_not_shown_and_no_leak_unless_it_looks_like_one() {
        for value in ["data/shop.db", "shop", "postgres://gateway@db/shop", "SHOP_DB_2/x"] {
            let text = format!("references:\n  db: {{ valeu: {value} }}\n");
            let (source, findings) = blotted(Source::new("", "f", text));
            assert_eq!(findings.len(), 0, "{value}");
            assert!(!source.text().contains(value), "{}", source.text());
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
            "password: ${PASSWORD}",
            "auth: { basic: { user: crm-user, password: crm-password } }",
            "  basic:\n    user: crm-user\n    password: crm-password\n",
            "password: { type: string, maxLength: 9 }",
            "the token: a word of yours",
            "where u.token = t.token_id and secret = :secret",
            "context.input.token == \"a1b2c3\"",
            "attributes: { token: /token_1 }",
            "Authorization: Bearer tokens",
            "references:\n  db: { value: a1, env: B2, file: c3 }\n  # note: { evn: FREIGHT, fiel: /a1 }\n",
            "0123456789abcdef0123456789abcdef01234567",
            "contact: ann@example.com",
        ] {
            assert_eq!(find(text), [], "{text}");
        }
    }

    /// Made up, like all of them here.
    #[test]
    fn a_private_key_is_blotted_out_to_its_end_whatever_its_lines_begin_with() {
        for margin in ["", "# ", "// ", "  - ", "\t# "] {
            let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
            let lines = [
                "-----BEGIN PRIVATE KEY-----",
                line,
                "Proc-Type: 4",
                line,
                "c2hv",
                "-----END PRIVATE KEY-----",
                "rows: x",
            ];
            let text: Vec<_> = lines.map(|line| format!("{margin}{line}")).into();
            let (source, findings) = blotted(Source::new("", "f", text.join("\n")));
            assert_eq!(findings.len(), 1, "{margin}");
            assert!(!source.text().contains("MIIE") && !source.text().contains("c2hv"), "{margin}");
            assert!(source.text().lines().all(|line| line.starts_with(margin)), "{margin}");
            assert!(source.text().ends_with("rows: x"));
        }
        let quoted =
            format!("k: \"-----BEGIN {} KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEF\\n\"\n", "PRIVATE");
        let (source, _) = blotted(Source::new("", "f", quoted));
        assert!(!source.text().contains("MIIE"), "{}", source.text());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_search_panic(text in "(?s).{0,80}") {
            let (source, _) = blotted(Source::new("", "f", text.clone()));
            prop_assert_eq!(source.text().len(), text.len());
        }
    }
}
