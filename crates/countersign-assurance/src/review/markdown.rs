//! The package as Markdown, for a pull request or a wiki.

use crate::markup::unseen;

use super::{Block, Package, Section};

/// The package as Markdown.
#[must_use]
pub fn markdown(package: &Package) -> String {
    let mut page = format!(
        "# Security review: {}\n\nAs of {}. Posture `{}`\n\n",
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

/// A text that ends no line or cell and begins nothing of its own.
pub(crate) fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().map(shown) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            // What a renderer would make a link of by itself.
            ':' => escaped.push_str("&#58;"),
            '@' => escaped.push_str("&#64;"),
            c => escaped.push(c),
        }
    }
    // A paragraph may not begin a list or a heading.
    match escaped.chars().next() {
        Some('-' | '+' | '=') => format!("\\{escaped}"),
        Some(_) | None => escaped,
    }
}
