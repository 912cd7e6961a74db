//! The ways that sessions went, as a picture.

use super::{Fit, Path, percent};
use crate::bound::{PATH_SHOWN_MAX, PATHS_SHOWN_MAX};
use crate::svg::{Picture, path, rect, short, text, width};

const MARGIN: usize = 16;
const ROW: usize = 40;
const HEAD: usize = 64;
/// How wide a bar is that stands for all sessions.
const BAR: usize = 120;
const SHARE: usize = 64;
const GAP: usize = 28;
const PAD: usize = 10;
const BOX: usize = 26;

/// Each agent's commonest paths with what share of its sessions went so, one below the other.
#[must_use]
pub fn drawn(fits: &[Fit]) -> Picture {
    let mut drawn = String::new();
    let (mut right, mut y) = (480, MARGIN);
    for fit in fits.iter().filter(|fit| fit.sessions > 0) {
        text(&mut drawn, (MARGIN, y + 16), " font-weight=\"bold\"", &short(&fit.agent));
        let said = fit.said();
        text(&mut drawn, (MARGIN, y + 38), "", &said);
        right = right.max(MARGIN + width(&said)).max(MARGIN + width(&short(&fit.agent)));
        y += HEAD;
        for of in fit.paths.iter().take(PATHS_SHOWN_MAX) {
            right = right.max(row(&mut drawn, y, fit, of));
            y += ROW;
        }
        if let Some(more @ 1..) = fit.paths.len().checked_sub(PATHS_SHOWN_MAX) {
            let others = fit.covered(PATHS_SHOWN_MAX);
            let rest = format!("and {more} other paths, {}", percent(1_000 - others));
            text(&mut drawn, (MARGIN + BAR + SHARE, y + 16), "", &rest);
            y += ROW;
        }
        y += MARGIN;
    }
    let told: Vec<_> = fits.iter().map(|fit| format!("{}: {}.", fit.agent, fit.said())).collect();
    Picture {
        id: "paths".to_owned(),
        title: "The ways that sessions went".to_owned(),
        told: told.join(" "),
        size: (right + MARGIN, y + MARGIN),
        drawn,
    }
}

/// One path; returns where it ends.
fn row(drawn: &mut String, y: usize, fit: &Fit, of: &Path) -> usize {
    let permille = of.sessions.saturating_mul(1_000) / fit.sessions.max(1);
    let bar = usize::try_from(permille).unwrap_or(0) * BAR / 1_000;
    rect(drawn, (MARGIN, y), (BAR, 18), " fill-opacity=\"0.08\"");
    rect(drawn, (MARGIN, y), (bar.max(2), 18), " fill-opacity=\"0.6\"");
    text(drawn, (MARGIN + BAR + PAD, y + 14), "", &percent(permille));
    let mut x = MARGIN + BAR + SHARE + PAD;
    let others = of.tools.len().saturating_sub(PATH_SHOWN_MAX);
    let others = (others > 0).then(|| format!("{others} more"));
    let names = of.tools.iter().take(PATH_SHOWN_MAX).map(|tool| short(tool)).chain(others);
    for (at, name) in names.enumerate() {
        if at > 0 {
            let (from, to) = (x - GAP + 4, x - 4);
            let middle = y + 9;
            path(drawn, &format!("M{from} {middle}H{to}m-5 -4l5 4l-5 4"), "");
        }
        let wide = width(&name) + 2 * PAD;
        rect(drawn, (x, y - 4), (wide, BOX), " fill=\"none\" stroke=\"currentColor\"");
        text(drawn, (x + PAD, y + 14), "", &name);
        x += wide + GAP;
    }
    x - GAP
}
