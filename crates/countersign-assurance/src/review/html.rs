//! The package as one page of HTML that needs nothing else, and prints.

use super::{Block, Package, Section};
use crate::markup::escaped;

const STYLE: &str = include_str!("page.css");

/// The package as a page.
#[must_use]
pub fn html(package: &Package) -> String {
    let title = format!("Security review: {}", package.organisation);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{0}</title><style>{STYLE}</style></head><body>\n<header><h1>{0}</h1><p>As of {1}. Posture <code>{2}</code></p></header>\n<nav aria-label=\"Contents\"><ol>\n",
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
        Block::Text(text) => page.push_str(&format!("<p>{}</p>\n", escaped(text))),
        Block::Warning(text) => {
            page.push_str(&format!("<p class=\"warning\">{}</p>\n", escaped(text)));
        }
        Block::Heading(text) => page.push_str(&format!("<h3>{}</h3>\n", escaped(text))),
        Block::List(points) => {
            page.push_str("<ul>\n");
            for point in points {
                page.push_str(&format!("<li>{}</li>\n", escaped(point)));
            }
            page.push_str("</ul>\n");
        }
        Block::Code(lines) => {
            let lines: Vec<_> = lines.iter().map(|line| escaped(line)).collect();
            page.push_str(&format!("<pre><code>{}</code></pre>\n", lines.join("\n")));
        }
        Block::Table(head, rows) => table(page, head, rows),
        Block::Drawing(svg, _) => page.push_str(&format!("<figure>{svg}</figure>\n")),
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
        for cell in row {
            let class = match cell.as_str() {
                "unmitigated" | "off" => " class=\"bad\"",
                "partly" | "partly mitigated" => " class=\"half\"",
                "mitigated" | "in force" => " class=\"good\"",
                _ => "",
            };
            page.push_str(&format!("<td{class}>{}</td>", breakable(cell)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
}

/// The same, with places where a long word may be broken.
fn breakable(text: &str) -> String {
    let mut broken = String::new();
    let mut run: u32 = 0;
    for c in text.chars() {
        broken.push_str(&escaped(c.encode_utf8(&mut [0; 4])));
        run = if c.is_whitespace() { 0 } else { run.saturating_add(1) };
        if (run >= WORD_CHARS && matches!(c, '_' | '/' | '.' | '@' | '-')) || run >= LINE_CHARS {
            broken.push_str("<wbr>");
            run = 0;
        }
    }
    broken
}

/// After how many characters of a word a sign in it is a place to break it.
const WORD_CHARS: u32 = 6;
/// After how many it is broken anywhere.
const LINE_CHARS: u32 = 22;
