//! The package as Markdown, for a pull request or a wiki.

use crate::markup::unseen;

use super::{Block, Package, Section};

/// The package as Markdown.
#[must_use]
pub fn markdown(package: &Package) -> String {
    let mut page = format!(
        "# Security review: {}\n\n**As of {}.** Posture `{}`\n\n",
        plain(&package.organisation),
        plain(&package.day),
        package.posture
    );
    for Section { id, title, .. } in &package.sections {
        page.push_str(&format!("1. [{}](#{id})\n", plain(title)));
    }
    for section in &package.sections {
        // A renderer makes anchors of titles in its own way; this one is the same everywhere.
        page.push_str(&format!("\n<a id=\"{}\"></a>\n\n## {}\n", section.id, plain(section.title)));
        section.blocks.iter().for_each(|block| one(&mut page, block, package));
    }
    page
}

fn one(page: &mut String, block: &Block, package: &Package) {
    page.push('\n');
    match block {
        Block::Text(text) => page.push_str(&format!("{}\n", plain(text))),
        Block::Drawing(_, told) => page.push_str(&format!("{}\n", plain(told))),
        Block::Warning(text) => page.push_str(&format!("> **{}**\n", plain(text))),
        Block::Heading(text) => page.push_str(&format!("### {}\n", plain(text))),
        Block::List(points) => {
            points.iter().for_each(|point| page.push_str(&format!("- {}\n", plain(point))));
        }
        // Four spaces: no fence that a line could end.
        Block::Code(lines) => lines.iter().for_each(|line| {
            let line: String = line.chars().map(shown).collect();
            page.push_str(&format!("    {line}\n"));
        }),
        Block::Table(_, rows) if rows.is_empty() => page.push_str("None.\n"),
        Block::Table(head, rows) => {
            page.push_str(&format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len())));
            for row in rows {
                let cells: Vec<_> = row.iter().map(|cell| plain(cell)).collect();
                page.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
        }
        Block::See(ids) => {
            for section in package.sections.iter().filter(|section| ids.contains(&section.id)) {
                page.push_str(&format!("- [{}](#{})\n", plain(section.title), section.id));
            }
        }
    }
}

/// A character as it may be shown: none that ends a line or that nobody sees.
fn shown(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        c if unseen(c) => '\u{fffd}',
        c => c,
    }
}

/// A text as it is read: what stands between backticks is code, if there nothing in it means anything else.
pub(crate) fn plain(text: &str) -> String {
    let text: String = text.chars().map(shown).collect();
    let mut whole = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('`') {
        whole.push_str(&escaped(before, whole.is_empty()));
        rest = match after.split_once('`') {
            Some((code, after)) if !code.trim().is_empty() && !code.contains(MEANS_MORE) => {
                whole.push_str(&format!("`{code}`"));
                after
            }
            _ => {
                whole.push_str("\\`");
                after
            }
        };
    }
    let rest = escaped(rest, whole.is_empty());
    whole + &rest
}

/// What is not left to a renderer in code either: the end of a cell, and what becomes an element.
const MEANS_MORE: [char; 4] = ['|', '<', '&', '\\'];

/// A text that ends no line or cell and begins nothing of its own.
fn escaped(text: &str, first: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '|' | '*' | '[' | ']' | '#' | '!' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            // Between letters it marks nothing up.
            '_' if before.is_alphanumeric()
                && rest.chars().nth(1).is_some_and(char::is_alphanumeric) =>
            {
                escaped.push(c);
            }
            '_' => escaped.push_str("\\_"),
            // What a renderer would make a link of by itself.
            ':' if rest.starts_with("://") || names_a_scheme(&escaped) => escaped.push_str("&#58;"),
            'w' | 'W' if rest.get(..4).is_some_and(|www| www.eq_ignore_ascii_case("www.")) => {
                escaped.push_str(&format!("&#{};", u32::from(c)));
            }
            // Nor is anybody called who happens to have that name.
            '@' if !before.is_alphanumeric() => escaped.push_str("@<!-- -->"),
            c => escaped.push(c),
        }
        before = c;
    }
    // A paragraph may not begin a list or a heading.
    if !first {
        return escaped;
    }
    let digits = escaped.trim_start_matches(|c: char| c.is_ascii_digit());
    match escaped.chars().next() {
        Some('-' | '+' | '=') => format!("\\{escaped}"),
        Some(c) if c.is_ascii_digit() && digits.starts_with(['.', ')']) => {
            let number = escaped.strip_suffix(digits).unwrap_or_default().to_owned();
            format!("{number}\\{digits}")
        }
        Some(_) | None => escaped,
    }
}

/// Whether what was written so far ends with a scheme that a colon would make a link of.
fn names_a_scheme(text: &str) -> bool {
    ["mailto", "xmpp"].iter().any(|scheme| {
        let end = text.len().checked_sub(scheme.len()).and_then(|at| text.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_renderer_would_act_on_is_escaped_and_nothing_else() {
        for (text, written) in [
            (
                "a decision: refund_invoice, ann@acme.example",
                "a decision: refund_invoice, ann@acme.example",
            ),
            ("http://evil.example", "http&#58;//evil.example"),
            ("ftp://x", "ftp&#58;//x"),
            ("see www.evil.example", "see &#119;ww.evil.example"),
            ("WWW.evil.example", "&#87;WW.evil.example"),
            ("mailto:a@b.example", "mailto&#58;a@b.example"),
            ("ask @octocat", "ask @<!-- -->octocat"),
            ("_a_ b_c", "\\_a\\_ b_c"),
            ("1. first", "1\\. first"),
            ("- x", "\\- x"),
            ("a | `b_c` <i>", "a \\| `b_c` &lt;i&gt;"),
            ("`a|b`", "\\`a\\|b\\`"),
            ("`<i>`", "\\`&lt;i&gt;\\`"),
            ("```", "\\`\\`\\`"),
        ] {
            assert_eq!(plain(text), written);
        }
    }
}
