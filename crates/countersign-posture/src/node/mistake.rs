//! What the YAML scanner stumbled over, told as the one who wrote it would look for it: the scanner
//! notices a mistake late and in its own terms.

use super::Span;
use crate::bound::YAML_DEPTH_MAX;
use crate::finding::Code;

/// What is wrong, where, and how to mend it.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) code: Code,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: &'static str,
}

const COLON: &str = "write `key: value`, with a colon and a space in between";
const ALIGN: &str = "keys of one mapping begin in one column, those of an inner one further right";
const CLOSE: &str = "close it, and put `,` between what it holds";

/// What `info`, said at byte `at`, means.
pub(super) fn told(text: &str, at: usize, info: &str) -> Mistake {
    let line = line(text, at);
    let before = line_before(text, line.start);
    let here = Span { start: at, end: at };
    let tell = |span, message: &str, help| Mistake {
        code: Code::YamlSyntax,
        span,
        message: message.to_owned(),
        help,
    };
    let says = |part| info.contains(part);
    if says("recursion limit") {
        let message = format!("the file is nested deeper than {YAML_DEPTH_MAX} levels");
        return Mistake { code: Code::YamlDepth, ..tell(here, &message, "write it flatter") };
    }
    if says("unknown anchor") {
        let message = "an alias is not allowed: write the value out";
        let help = "quote it if a text is meant";
        return Mistake { code: Code::YamlFeature, ..tell(word(text, at), message, help) };
    }
    let tab = || {
        let start = at.saturating_add(text.get(at..)?.find('\t')?);
        Some(Span { start, end: start.saturating_add(1) })
    };
    if let Some(tab) = margin_tab(text, line).or_else(|| tab().filter(|_| says("found a tab"))) {
        return tell(tab, "a tab indents the line", "indent with spaces");
    }
    if says("quoted scalar") && !says("escape") {
        return tell(here, "a quoted text is not closed", "close it with the mark it begins with");
    }
    if says("escape") {
        let message = "a text in double quotes holds an escape that YAML does not know";
        return tell(here, message, "double the backslash, or put the text in single quotes");
    }
    if says("flow ") || says("illegal placement") {
        let (_, what) = info.split_once("flow ").unwrap_or_default();
        let message = if what.starts_with("mapping") {
            "a mapping in braces is not closed"
        } else {
            "a list in brackets is not closed"
        };
        let end = text.get(..at).unwrap_or_default().trim_end().len();
        return tell(Span { start: end, end }, message, CLOSE);
    }
    if says("misplaced bracket") {
        return tell(here, "a bracket closes what none opens", "take it out, or quote the text");
    }
    if says("unexpected character") || says("cannot start") {
        return tell(here, "no text begins with this character unquoted", "quote the text");
    }
    of_lines(text, (line, before), info).unwrap_or_else(|| {
        let help =
            "look for a colon, a quote or a bracket that is missing in this line or before it";
        tell(here, "this cannot be read as YAML", help)
    })
}

/// A key without its colon, a colon too many, a line in another column than it should be.
fn of_lines(text: &str, (line, before): (Span, Span), info: &str) -> Option<Mistake> {
    let at = |span: Span| text.get(span.start..span.end).unwrap_or_default();
    let tell = |span, message: &str, help| {
        let code = Code::YamlSyntax;
        Some(Mistake { code, span, message: message.to_owned(), help })
    };
    let keyless = |span: Span| without_key(at(span)).and_then(|why| tell(span, why, COLON));
    if info.contains("mapping values") {
        let several = at(line).matches(": ").count() > 1;
        let help = "quote the value, or write the inner key in a line of its own";
        return keyless(before).or_else(|| match several {
            true => tell(line, "a second key stands in one line", help),
            false => tell(line, "the line is not in the column of the keys around it", ALIGN),
        });
    }
    if info.contains("expected key") || info.contains("indentation") || info.contains("block") {
        if at(line).starts_with("- ") {
            let help = "put the list under a key of its own, indented";
            return tell(line, "a list item stands among keys", help);
        }
        return keyless(line)
            .or_else(|| tell(line, "the line is not in the column of the keys around it", ALIGN));
    }
    keyless(line).or_else(|| keyless(before))
}

/// Why a line, without its margin, is no key with a value. `None` if it may be one.
fn without_key(line: &str) -> Option<&'static str> {
    let key = line.contains(": ") || line.ends_with(':');
    match () {
        () if key || line.is_empty() || line.starts_with(['#', '-', '?', '[', '{', '|']) => None,
        () if line.contains(":\t") => Some("a tab follows the colon"),
        () if line.contains(":\u{a0}") => Some("a no-break space follows the colon"),
        () if line.contains('\u{ff1a}') => Some("the colon is a full-width one"),
        () if line.contains(':') => Some("no space follows the colon"),
        () => Some("the line has no colon"),
    }
}

/// The line around a byte, without the blanks at both ends.
fn line(text: &str, at: usize) -> Span {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
    let end = at.saturating_add(after.find('\n').unwrap_or(after.len())).min(text.len());
    let whole = text.get(start..end).unwrap_or_default();
    let start = end.saturating_sub(whole.trim_start().len());
    Span { start, end: start.saturating_add(whole.trim().len()) }
}

/// The last line before a byte's with something in it that is no comment.
fn line_before(text: &str, start: usize) -> Span {
    let mut start = text.get(..start).and_then(|text| text.rfind('\n')).unwrap_or(0);
    loop {
        let before = line(text, start);
        let written = text.get(before.start..before.end).unwrap_or_default();
        let next = text.get(..before.start).and_then(|text| text.rfind('\n'));
        match next {
            Some(next) if written.is_empty() || written.starts_with('#') => start = next,
            _ => return before,
        }
    }
}

fn word(text: &str, at: usize) -> Span {
    let rest = text.get(at..).unwrap_or_default();
    let length = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'));
    Span { start: at, end: at.saturating_add(length.unwrap_or(rest.len())) }
}

/// The tab before what a line says.
fn margin_tab(text: &str, line: Span) -> Option<Span> {
    let before = text.get(..line.start)?;
    let margin = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
    let tab = margin.saturating_add(before.get(margin..)?.find('\t')?);
    Some(Span { start: tab, end: tab.saturating_add(1) })
}
