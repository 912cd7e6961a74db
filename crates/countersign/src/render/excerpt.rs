//! The lines around a finding, fit for a terminal: what controls it or cannot be seen is spelt out,
//! and a line of any length takes the room of one.

use crate::report::unseen;
use countersign_posture::Place;
use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::ops::Range;

/// Most lines of a finding that are shown.
const LINES_MAX: usize = 20;
/// Most characters of a line that are shown.
const LINE_CHARS_MAX: usize = 200;
/// How many of them stand before the finding.
const LEAD_CHARS: usize = 60;

/// A part of a file.
#[derive(Debug)]
pub(super) struct Excerpt {
    name: String,
    text: String,
    /// The lines before it.
    line: usize,
    /// Where the finding is in `text`.
    span: Range<usize>,
    /// In which column of the file that begins, from 0.
    column: usize,
}

impl Excerpt {
    pub(super) fn of(place: &Place, name: String) -> Self {
        let Place { source, span } = place;
        let (row, column) = source.position(span.start);
        let (last, _) = source.position(span.end);
        let skipped = row.saturating_sub(2);
        let count = last.saturating_sub(row).min(LINES_MAX).saturating_add(row - skipped + 1);
        let mut excerpt =
            Self { name, text: String::new(), line: skipped, span: 0..0, column: column - 1 };
        let (mut start, mut end) = (None, None);
        let mut at = 0;
        for (index, line) in source.text().split_inclusive('\n').enumerate() {
            let shown = (skipped..skipped + count).contains(&index);
            for (offset, c) in
                shown.then(|| windowed(line, span.start.checked_sub(at))).into_iter().flatten()
            {
                let offset = at + offset;
                start = start.or_else(|| (offset >= span.start).then_some(excerpt.text.len()));
                end = end.or_else(|| (offset >= span.end).then_some(excerpt.text.len()));
                excerpt.show(c);
            }
            at += line.len();
        }
        let start = start.unwrap_or(excerpt.text.len());
        excerpt.span = start..end.unwrap_or(excerpt.text.len()).max(start);
        excerpt
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn show(&mut self, c: char) {
        match c {
            '\n' | '\t' => self.text.push(c),
            '\0'..='\u{1f}' => {
                // A picture of it, as wide as any other character (Unicode, Control Pictures).
                self.text.extend(char::from_u32(0x2400 + u32::from(c)));
            }
            '\u{7f}' => self.text.push('\u{2421}'),
            _ if unseen(c) => self.text.push_str(&format!("<U+{:04X}>", u32::from(c))),
            _ => self.text.push(c),
        }
    }
}

/// The characters of a line that are shown, with their offsets: around `near`, if it is too long.
fn windowed(line: &str, near: Option<usize>) -> impl Iterator<Item = (usize, char)> {
    let content =
        line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    let length = content.chars().count();
    let before = near.and_then(|near| content.get(..near)).map_or(0, |text| text.chars().count());
    let from = match length > LINE_CHARS_MAX {
        true => before.saturating_sub(LEAD_CHARS),
        false => 0,
    };
    let cut = length > from + LINE_CHARS_MAX;
    let first = (from > 0).then_some((0, '…'));
    let shown = content.char_indices().skip(from).take(LINE_CHARS_MAX);
    let rest = cut.then_some((content.len(), '…'));
    let end = line.ends_with('\n').then_some((content.len(), '\n'));
    first.into_iter().chain(shown).chain(rest).chain(end)
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, before, after)?;
        let its_own = before == 0 && inner.span().offset() == self.span.start;
        let column = if its_own { self.column } else { inner.column() };
        let line = inner.line() + self.line;
        let contents = MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            line,
            column,
            inner.line_count(),
        );
        Ok(Box::new(contents))
    }
}
