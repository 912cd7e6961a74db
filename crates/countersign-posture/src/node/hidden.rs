//! Characters that a reader of a file does not see, comments included: they could make it look other
//! than it is.

use super::Span;
use crate::finding::{Code, Finding, Place, Source};
use countersign_core::screen;
use std::sync::Arc;

/// Most stretches of such characters that are reported of one file.
const REPORTED_MAX: usize = 20;

/// A finding for every stretch of them. A carriage return is one unless it ends a line.
pub(crate) fn hidden(source: &Arc<Source>) -> Vec<Finding> {
    let found = stretches(source.text()).take(REPORTED_MAX);
    let finding = |(c, Span { start, end }): (char, Span)| {
        let (what, help) = match c {
            '\u{feff}' if start == 0 => (
                "begins with a byte order mark (U+FEFF)".to_owned(),
                "save it as UTF-8 without a byte order mark",
            ),
            _ => (
                format!(
                    "holds a character that people cannot see: U+{:04X}{}",
                    u32::from(c),
                    name(c)
                ),
                "take it out",
            ),
        };
        Finding {
            code: Code::HiddenCharacter,
            place: Place { source: Arc::clone(source), span: start..end },
            message: format!("the file {what}"),
            help: Some(help.to_owned()),
        }
    };
    found.map(finding).collect()
}

/// Whether a text holds any.
pub(super) fn any(text: &str) -> bool {
    stretches(text).next().is_some()
}

/// The first character of each stretch, and the stretch.
fn stretches(text: &str) -> impl Iterator<Item = (char, Span)> {
    let hides = |text: &str| screen::strip_hidden(&mut serde_json::Value::from(text)) > 0;
    let is = move |at: usize, c: char| {
        let after = || text.get(at.saturating_add(1)..).unwrap_or_default();
        (c == '\r' && !after().starts_with('\n'))
            || (!matches!(c, ' '..='~' | '\n' | '\t' | '\r') && hides(c.encode_utf8(&mut [0; 4])))
    };
    let mut characters = text.char_indices().filter(move |&(at, c)| is(at, c)).peekable();
    std::iter::from_fn(move || {
        let (start, first) = characters.next()?;
        let mut end = start.saturating_add(first.len_utf8());
        while let Some((_, c)) = characters.next_if(|&(at, _)| at == end) {
            end = end.saturating_add(c.len_utf8());
        }
        Some((first, Span { start, end }))
    })
}

const fn name(c: char) -> &'static str {
    match c {
        '\r' => ", a carriage return that ends no line",
        '\u{ad}' => ", a soft hyphen",
        '\u{200b}' => ", a zero-width space",
        '\u{200c}' | '\u{200d}' => ", a zero-width joiner or non-joiner",
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            ", which turns the direction of text"
        }
        '\u{2060}' => ", a word joiner",
        '\u{feff}' => ", a byte order mark",
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => ", a variation selector",
        '\u{e0000}'..='\u{e007f}' => ", a tag character",
        _ if (c as u32) < 0xa0 => ", a control character",
        _ => "",
    }
}
