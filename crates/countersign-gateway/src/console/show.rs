//! How things read on a page. Everything is escaped by its template; here it is made legible.

use askama::filters::HtmlSafe;
use countersign_core::draft::{Decided, State, Who};
use countersign_core::id::Timestamp;
use countersign_core::ladder::Approvers;
use countersign_core::quota::Window;
use countersign_core::reading::Class;
use countersign_core::screen;
use countersign_core::sight::Used;
use countersign_core::tool::Effect;
use serde_json::{Map, Value};
use std::fmt;

/// Longest text shown in a cell, in characters; the whole is a click away.
pub(super) const CELL_CHARS_MAX: usize = 200;
/// Most columns of a table that a system's rows make.
const COLUMNS_MAX: usize = 24;

/// A text with what nobody would see of it spelt out: what an agent or a customer wrote may hold
/// characters that turn the text around them.
pub(super) fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match unseen(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

fn unseen(c: char) -> bool {
    let hidden = |text: &str| screen::strip_hidden(&mut Value::from(text)) > 0;
    (c.is_control() && c != '\n') || (!c.is_ascii() && hidden(c.encode_utf8(&mut [0; 4])))
}

/// A value as people read it: texts without quotes, anything else as JSON.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(said) => text(said),
        Value::Null => "–".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(all) if all.iter().all(|one| one.is_string() || one.is_number()) => {
            all.iter().map(self::value).collect::<Vec<_>>().join(", ")
        }
        Value::Array(_) | Value::Object(_) => {
            text(&serde_json::to_string_pretty(value).unwrap_or_default())
        }
    }
}

/// A text, cut where it is longer than a cell.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A name and what it has.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: String,
}

pub(super) fn pairs(members: &Map<String, Value>) -> Vec<Pair> {
    members.iter().map(|(name, of)| Pair { name: text(name), value: value(of) }).collect()
}

/// Rows of a system as a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Whether there was more.
    pub(super) truncated: bool,
}

impl Table {
    /// Each cell of its only row, with its column's name.
    pub(super) fn only(&self) -> Option<Vec<(&str, &str)>> {
        let [row] = self.rows.as_slice() else { return None };
        Some(self.columns.iter().map(String::as_str).zip(row.iter().map(String::as_str)).collect())
    }
}

pub(super) fn table(rows: &[Value], truncated: bool) -> Table {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) && columns.len() < COLUMNS_MAX {
            columns.push(name);
        }
    }
    let cells = |row: &Value| match row.as_object() {
        Some(row) => {
            columns.iter().map(|name| row.get(*name).map_or_else(String::new, value)).collect()
        }
        None => vec![value(row)],
    };
    let rows = rows.iter().map(cells).collect();
    let columns = if columns.is_empty() {
        vec!["value".to_owned()]
    } else {
        columns.into_iter().map(text).collect()
    };
    Table { columns, rows, truncated }
}

/// A moment: in UTC, until the reader's own clock says it in their zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    at: Timestamp,
    counting: bool,
}

pub(super) fn utc(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The day of a moment, in UTC, as a form has it.
pub(super) fn day(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.micros()).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

pub(super) const fn moment(at: Timestamp) -> Moment {
    Moment { at, counting: false }
}

/// A moment that is waited for: what is left counts down.
pub(super) const fn until(at: Timestamp) -> Moment {
    Moment { at, counting: true }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_microsecond(self.at.micros()).unwrap_or_default();
        let utc = utc(self.at);
        let counting = if self.counting { " data-until" } else { "" };
        write!(f, "<time datetime=\"{at:.3}\" title=\"{utc}\"{counting}>{utc}</time>")
    }
}

// Digits, signs and letters of its own.
impl HtmlSafe for Moment {}

pub(super) fn person(who: &Who) -> String {
    text(who.address.as_deref().unwrap_or(&who.id))
}

pub(super) fn approvers(approvers: &Approvers) -> String {
    match approvers {
        Approvers::Named(named) => {
            named.iter().map(|one| text(one)).collect::<Vec<_>>().join(" or ")
        }
        Approvers::Group { group, subject: false } => format!("anybody in {}", text(group)),
        Approvers::Group { group, subject: true } => {
            format!("anybody in {}, or whoever it is asked for", text(group))
        }
    }
}

pub(super) fn decided(Decided { by, in_stead_of, at: _, reason: _ }: &Decided) -> String {
    let by = by.as_ref().map_or_else(|| "nobody".to_owned(), person);
    match in_stead_of {
        Some(absent) => format!("{by} in the stead of {}", person(absent)),
        None => by,
    }
}

/// A state in words, and the class that colours it.
pub(super) const fn state(state: State) -> (&'static str, &'static str) {
    match state {
        State::Waiting => ("waiting for a decision", "wait"),
        State::Approved => ("approved, about to be carried out", "wait"),
        State::Committing => ("being carried out", "wait"),
        State::Executed => ("carried out", "good"),
        State::Failed => ("tried, nothing has changed", "bad"),
        State::Unknown => ("outcome unknown", "bad"),
        State::Rejected => ("rejected", "bad"),
        State::Withdrawn => ("withdrawn", "calm"),
        State::Expired => ("expired", "calm"),
        State::Void => ("void", "calm"),
    }
}

pub(super) const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "It only reads.",
        Effect::Reversible => "It can be put back.",
        Effect::Persistent => "It stays, is seen by a customer, or costs money.",
        Effect::Irreversible => "It cannot be taken back.",
    }
}

/// What became of a call in words, and the class that colours it.
pub(super) const fn class(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Ok => ("completed", "good"),
        Class::Refused => ("refused", "wait"),
        Class::Fault => ("failed", "bad"),
        Class::Unknown => ("outcome unknown", "bad"),
        Class::UnderWay => ("under way", "calm"),
        Class::Drafted => ("drafted", "calm"),
        Class::Delivered => ("outcome delivered", "good"),
    }
}

/// How long something took.
pub(super) fn duration(micros: u64) -> String {
    let ms = micros.div_euclid(1_000);
    let s = ms.div_euclid(1_000);
    match s {
        0 if ms < 10 => format!("{ms}.{} ms", micros.rem_euclid(1_000).div_euclid(100)),
        0 => format!("{ms} ms"),
        1..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s.div_euclid(60)),
        _ => format!("{} h", s.div_euclid(3_600)),
    }
}

/// A budget or a limit as a bar and a sentence.
#[derive(Debug)]
pub(super) struct Gauge {
    pub(super) of: String,
    pub(super) per: &'static str,
    pub(super) spent: u64,
    pub(super) after: u64,
    pub(super) max: u64,
    pub(super) fits: bool,
}

pub(super) fn gauge(Used { of, window, spent, adds, max }: Used) -> Gauge {
    let per = match window {
        Window::Minute | Window::Alike => "this minute",
        Window::Hour => "this hour",
        Window::Day => "today",
        Window::Session => "in this session",
    };
    let after = spent.saturating_add(adds);
    Gauge { of: text(&of), per, spent, after, max, fits: after <= max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_would_see_is_spelt_out() {
        assert_eq!(text("a\u{202e}b\u{200b}\u{1b}[2J"), "a\\u{202e}b\\u{200b}\\u{1b}[2J");
        assert_eq!(text("Grüße\n日本"), "Grüße\n日本");
    }

    #[test]
    fn rows_that_differ_make_one_table() {
        let table = table(&[json!({"a": 1}), json!({"b": "x", "a": null}), json!(7)], true);
        assert_eq!(table.columns, ["a", "b"]);
        assert_eq!(
            table.rows,
            [vec!["1".to_owned(), String::new()], vec!["–".into(), "x".into()], vec!["7".into()]]
        );
        assert!(table.truncated);
        assert_eq!(table.only(), None);
        let one = super::table(&[json!({"a": 1, "b": "x"})], false);
        assert_eq!(one.only(), Some(vec![("a", "1"), ("b", "x")]));
    }

    #[test]
    fn a_moment_says_utc_and_holds_nothing_else() {
        let shown = moment(Timestamp::from_secs(1_800_000_000)).to_string();
        assert_eq!(
            shown,
            "<time datetime=\"2027-01-15T08:00:00.000Z\" title=\"2027-01-15 08:00:00 UTC\">2027-01-15 08:00:00 UTC</time>"
        );
    }
}
