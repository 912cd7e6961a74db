//! Pictures as SVG, by hand.
//!
//! Colours are attributes and `currentColor`, never a `style`: what is drawn also stands in a page whose
//! policy forbids styles. A file of its own brings its colours for light and dark along.

use crate::markup::escaped;

/// How wide a character is at [`FONT`] pixels, rounded up: the fonts asked for have one width for all.
pub(crate) const CHAR: usize = 8;
/// The size of what is written.
const FONT: usize = 13;
/// Longest text that is written out, in characters.
const TEXT_CHARS_MAX: usize = 48;

const COLOURS: &str = "<style>:root{color:#1d2024;background:#fff}.irreversible{color:#a3260f}\
@media (prefers-color-scheme:dark){:root{color:#e4e6ea;background:#15171a}\
.irreversible{color:#ff9b87}}</style>";

/// A picture: what it is called, what it shows in words, and how large it is.
#[derive(Debug)]
pub struct Picture {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) told: String,
    pub(crate) size: (usize, usize),
    pub(crate) drawn: String,
}

impl Picture {
    /// As part of a page, in the page's colour.
    #[must_use]
    pub fn inline(&self) -> String {
        self.written("")
    }

    /// As a file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}\n", self.written(COLOURS))
    }

    fn written(&self, colours: &str) -> String {
        let Self { id, title, told, size: (width, height), drawn } = self;
        let (title, told) = (escaped(title), escaped(told));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
             font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,monospace\" font-size=\"{FONT}\" \
             fill=\"currentColor\"><title id=\"{id}-title\">{title}</title>\
             <desc id=\"{id}-desc\">{told}</desc>{colours}{drawn}</svg>"
        )
    }
}

/// A text no longer than is written out.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// How wide it is. A character that is not ASCII may be twice as wide as the others.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() || c == '…' { CHAR } else { 2 * CHAR }).sum()
}

/// Writes a line of text with its left end and its base line there.
pub(crate) fn text(into: &mut String, (x, y): (usize, usize), more: &str, text: &str) {
    into.push_str(&format!("<text x=\"{x}\" y=\"{y}\"{more}>{}</text>", escaped(text)));
}

/// Draws a box.
pub(crate) fn rect(into: &mut String, (x, y): (usize, usize), (w, h): (usize, usize), more: &str) {
    into.push_str(&format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"4\"{more}/>"
    ));
}

/// Draws a line along a path.
pub(crate) fn path(into: &mut String, along: &str, more: &str) {
    into.push_str(&format!("<path d=\"{along}\" fill=\"none\" stroke=\"currentColor\"{more}/>"));
}
