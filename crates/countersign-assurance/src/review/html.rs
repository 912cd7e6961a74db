//! The package as one page of HTML that needs nothing else, and prints.

use super::{Block, Package, Section};
use crate::markup::escaped;

const STYLE: &str = include_str!("page.css");

/// The package as a page.
#[must_use]
pub fn html(package: &Package) -> String {
    let title = format!("Security review: {}", package.organisation);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{0}</title><style>{STYLE}</style></head><body>\n<header><h1>{0}</h1><p><strong>As of <span class=\"day\">{1}</span>.</strong> Posture <code>{2}</code></p></header>\n<nav aria-label=\"Contents\"><ol>\n",
        escaped(&title),
        escaped(&package.day),
        escaped(&package.posture),
    );
    for Section { id, title, .. } in &package.sections {
        page.push_str(&format!("<li><a href=\"#{id}\">{}</a></li>\n", escaped(title)));
    }
    page.push_str("</ol></nav>\n<main>\n");
    for section in &package.sections {
        page.push_str(&format!(
            "<section id=\"{}\"><h2>{}</h2>\n",
            section.id,
            escaped(section.title)
        ));
        section.blocks.iter().for_each(|block| one(&mut page, block, package));
        page.push_str("</section>\n");
    }
    page.push_str("</main></body></html>\n");
    page
}

fn one(page: &mut String, block: &Block, package: &Package) {
    match block {
        Block::Text(text) => page.push_str(&format!("<p>{}</p>\n", worded(text))),
        Block::Warning(text) => {
            page.push_str(&format!("<p class=\"warning\">{}</p>\n", worded(text)));
        }
        Block::Heading(text) => page.push_str(&format!("<h3>{}</h3>\n", escaped(text))),
        Block::List(points) => {
            page.push_str("<ul>\n");
            for point in points {
                page.push_str(&format!("<li>{}</li>\n", worded(point)));
            }
            page.push_str("</ul>\n");
        }
        Block::Code(lines) => {
            let lines: Vec<_> = lines.iter().map(|line| escaped(line)).collect();
            page.push_str(&format!("<pre><code>{}</code></pre>\n", lines.join("\n")));
        }
        Block::Table(head, rows) => table(page, head, rows),
        Block::Drawing(svg, _) => {
            page.push_str(&format!("<figure tabindex=\"0\">{svg}</figure>\n"))
        }
        Block::See(ids) => {
            let sections = package.sections.iter().filter(|section| ids.contains(&section.id));
            let links = sections.map(|Section { id, title, .. }| {
                format!("<a href=\"#{id}\">{}</a>", escaped(title))
            });
            let links: Vec<_> = links.collect();
            page.push_str(&format!("<p>{}</p>\n", links.join(", ")));
        }
    }
}

fn table(page: &mut String, head: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        page.push_str("<p>None.</p>\n");
        return;
    }
    page.push_str("<table><thead><tr>");
    for name in head {
        // An empty heading has nothing to say to whoever hears the page.
        let tag = if name.is_empty() { "td" } else { "th" };
        let scope = if name.is_empty() { "" } else { " scope=\"col\"" };
        page.push_str(&format!("<{tag}{scope}>{}</{tag}>", escaped(name)));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (cell, name) in row.iter().zip(head) {
            let class = match cell.as_str() {
                "unmitigated" | "off" => " class=\"bad\"",
                "partly" | "partly mitigated" => " class=\"half\"",
                "mitigated" | "in force" => " class=\"good\"",
                cell if is_day(cell) => " class=\"day\"",
                _ => "",
            };
            // On a narrow screen each cell stands in a line of its own and says what it is.
            let name = escaped(name);
            page.push_str(&format!("<td{class} data-of=\"{name}\">{}</td>", worded(cell)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
}

/// A text as it is read: what stands between backticks is code, and a long word may be broken.
fn worded(text: &str) -> String {
    let mut worded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        worded.push_str(&breakable(before));
        rest = match after.split_once('`') {
            Some((code, after)) if !code.is_empty() => {
                worded.push_str(&format!("<code>{}</code>", breakable(code)));
                after
            }
            _ => {
                worded.push('`');
                after
            }
        };
    }
    worded + &breakable(rest)
}

/// The same, with places where a long word may be broken.
fn breakable(text: &str) -> String {
    let mut broken = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        let whole = word.trim_end();
        let space = word.strip_prefix(whole).unwrap_or_default();
        match is_day(whole.trim_matches(|c: char| !c.is_alphanumeric())) {
            true => broken.push_str(&format!("<span class=\"day\">{}</span>", escaped(whole))),
            false => broken.push_str(&broken_word(whole)),
        }
        broken.push_str(&escaped(space));
    }
    broken
}

fn broken_word(word: &str) -> String {
    let mut broken = String::new();
    let mut run: u32 = 0;
    for c in word.chars() {
        broken.push_str(&escaped(c.encode_utf8(&mut [0; 4])));
        run = run.saturating_add(1);
        if (run >= WORD_CHARS && matches!(c, '_' | '/' | '.' | '@' | '-')) || run >= LINE_CHARS {
            broken.push_str("<wbr>");
            run = 0;
        }
    }
    broken
}

/// Whether it is a day as the posture writes it, which is read whole.
fn is_day(text: &str) -> bool {
    let digits = |c: u8| c.is_ascii_digit();
    match text.as_bytes() {
        [y @ .., b'-', m1, m2, b'-', d1, d2] => {
            y.len() == 4 && y.iter().chain([m1, m2, d1, d2]).all(|c| digits(*c))
        }
        _ => false,
    }
}

/// After how many characters of a word a sign in it is a place to break it.
const WORD_CHARS: u32 = 6;
/// After how many it is broken anywhere.
const LINE_CHARS: u32 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_mark_code_and_code_marks_nothing_else() {
        for (text, written) in [
            ("run `check`, then `x`.", "run <code>check</code>, then <code>x</code>."),
            ("`a`", "<code>a</code>"),
            ("one ` alone", "one ` alone"),
            ("``", "``"),
            ("`<b>`", "<code>&lt;b&gt;</code>"),
            ("until 2099-12-31, then", "until <span class=\"day\">2099-12-31,</span> then"),
        ] {
            assert_eq!(worded(text), written);
        }
    }
}
