//! `vendors/NAME.yaml`: what is known of a company that agents or systems depend on, and what was
//! decided about it.
//!
//! The record is one table, [`RECORD`], from which the decoder and the schemas are made: most of it is
//! for people to read. What a decision rests on is read out of it.

mod cover;
mod record;

use crate::agent::date;
use crate::bound::{LIMIT_MAX, VENDOR_ITEMS_MAX};
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::{Code, Place};
use crate::flow::HOLDS;
use crate::node::{Kind, Node, Span};
use countersign_core::id::{Timestamp, VendorName};
use countersign_core::tool::Holds;
use jiff::{ToSpan as _, civil::Date, tz::TimeZone};
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) use cover::Dues;
pub use cover::{Coverage, Covered, coverage, reviews};
pub(crate) use record::{Field, Is, RECORD};

/// A vendor, as its record says.
#[derive(Debug, Clone)]
pub struct Vendor {
    /// Its name.
    pub name: VendorName,
    /// What was decided.
    pub decision: Decision,
    /// The classes of data that the decision is about.
    pub classes: BTreeSet<Holds>,
    /// Conditions that are neither met nor accepted.
    pub open_conditions: Vec<String>,
    /// The last day on which the decision holds.
    pub review_by: Option<Date>,
    /// The whole record, as plain data.
    pub record: Value,
    /// Where the decision is written, or where it would be.
    pub place: Place,
    /// Where its end is written.
    pub due: Place,
}

/// What was decided about a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Open,
    /// It may be used.
    Approve,
    /// It may be used once its conditions are met, or somebody has accepted that they are not.
    Conditional,
    /// It may not be used.
    Reject,
}

impl Decision {
    /// As the record writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approve => "approve",
            Self::Conditional => "conditional",
            Self::Reject => "reject",
        }
    }
}

/// What a vendor's file says.
#[derive(Debug)]
pub(crate) struct VendorFile {
    pub(crate) name: Option<Spanned<VendorName>>,
    /// `None` if something is wrong with it.
    pub(crate) vendor: Option<Vendor>,
}

pub(crate) fn decode(decoder: &mut Decoder) -> Option<VendorFile> {
    let node = decoder.read()?;
    let before = decoder.findings.len();
    follow(decoder, Item { name: "the vendor", node: &node }, RECORD);
    let name = at(&node, &["vendor"]);
    let name = name.filter(|node| matches!(node.kind, Kind::Text(_)));
    let name = name.and_then(|node| decoder.name(Item { name: "vendor", node }, VendorName::new));
    if let Some(name) = &name {
        decoder.named_after_file(name.value.as_str(), name.span);
    }
    let decision = decided(&node);
    check_grounds(decoder, &node, decision);
    let whole = decoder.findings.len() == before;
    let vendor = name.as_ref().filter(|_| whole).and_then(|name| {
        Some(Vendor {
            name: name.value.clone(),
            decision,
            classes: classes(&node),
            open_conditions: open_conditions(&node),
            review_by: text(&node, &["assessment", "review_by"]).and_then(|day| day.parse().ok()),
            record: node.data(&mut |text| Some(text.to_owned()))?,
            place: decoder.place(place(&node, &["assessment", "decision"])),
            due: decoder.place(place(&node, &["assessment", "review_by"])),
        })
    });
    Some(VendorFile { name, vendor })
}

/// Holds a mapping against its part of the table.
fn follow(decoder: &mut Decoder, item: Item<'_>, record: &'static [Field]) {
    let Some(mut fields) = decoder.fields(item) else { return };
    for field in record {
        let found = match field.required {
            true => fields.required(decoder, field.name),
            false => fields.optional(field.name),
        };
        if let Some(item) = found {
            follow_one(decoder, item, &field.is);
        }
    }
    fields.finish(decoder);
}

fn follow_one(decoder: &mut Decoder, item: Item<'_>, is: &Is) {
    match is {
        Is::Name(_) => drop(decoder.line(item)), // What names it is read as a name.
        Is::Line(_) => drop(decoder.line(item)),
        Is::Date => drop(date(decoder, item)),
        Is::YesNo => drop(decoder.boolean(item)),
        Is::Count(_) => drop(decoder.count(item, LIMIT_MAX)),
        Is::Sha256 => sha256(decoder, item),
        Is::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| (*word, ())).collect();
            decoder.choice(item, &words).unwrap_or_default();
        }
        Is::Map(record) => follow(decoder, item, record),
        Is::List(is) => {
            let items = decoder.list(item).unwrap_or_default();
            if items.is_empty() || items.len() > VENDOR_ITEMS_MAX {
                let message =
                    format!("`{}` must have from 1 to {VENDOR_ITEMS_MAX} items", item.name);
                decoder.report(Code::BadValue, item.span(), message);
            }
            for node in items {
                follow_one(decoder, Item { name: item.name, node }, is);
            }
        }
    }
}

fn sha256(decoder: &mut Decoder, item: Item<'_>) {
    let Some(text) = decoder.line(item) else { return };
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        let message = format!("`{}` must be a SHA-256 in 64 hexadecimal digits", item.name);
        decoder.report(Code::BadValue, item.span(), message);
    }
}

/// What somebody decided rests on something.
fn check_grounds(decoder: &mut Decoder, node: &Node, decision: Decision) {
    const ALWAYS: [[&str; 2]; 4] = [
        ["assessment", "approver"],
        ["assessment", "assessed_at"],
        ["assessment", "review_by"],
        ["assessment", "evidence"],
    ];
    const OF_MODELS: [[&str; 2]; 3] =
        [["data", "training"], ["data", "retention"], ["data", "regions"]];
    const CONDITIONS: [&str; 2] = ["assessment", "conditions"];
    let favourable = matches!(decision, Decision::Approve | Decision::Conditional);
    let models = favourable && text(node, &["service"]) == Some("model_api");
    let always = ALWAYS.into_iter().filter(|_| favourable);
    let needed = always.chain(OF_MODELS.into_iter().filter(|_| models));
    let conditions = (decision == Decision::Conditional).then_some(CONDITIONS);
    let needed = needed.chain(conditions);
    let missing: Vec<_> = needed.filter(|path| at(node, path).is_none()).collect();
    for path in missing {
        let said = decision.as_str();
        let message = format!("`{said}` rests on `{}`, which is missing", path.join("."));
        decoder.report(Code::MissingKey, place(node, &["assessment", "decision"]), message);
    }
    if favourable && let Some(span) = unfilled(node) {
        let message = format!("`{}` rests on what is `{UNFILLED}`", decision.as_str());
        decoder.report(Code::BadValue, span, message);
    }
    let day = |key| text(node, &["assessment", key]).and_then(|day| day.parse::<Date>().ok());
    if let (Some(from), Some(to)) = (day("assessed_at"), day("review_by"))
        && from > to
    {
        let message = "it would have to be reviewed before it was assessed";
        decoder.report(Code::BadValue, place(node, &["assessment", "review_by"]), message);
    }
}

// ── what a decision rests on ────────────────────────────────────────────────────────────────────

fn decided(node: &Node) -> Decision {
    let all = [Decision::Approve, Decision::Conditional, Decision::Reject];
    let said = text(node, &["assessment", "decision"]);
    all.into_iter().find(|decision| Some(decision.as_str()) == said).unwrap_or(Decision::Open)
}

fn classes(node: &Node) -> BTreeSet<Holds> {
    let said = items(node, &["data", "classes"]);
    let words = said.iter().filter_map(|node| text(node, &[]));
    words.filter_map(|said| HOLDS.iter().find(|(word, _)| *word == said).map(|of| of.1)).collect()
}

/// Whoever accepts that a condition is not met stands for it by name.
fn open_conditions(node: &Node) -> Vec<String> {
    let all = items(node, &["assessment", "conditions"]).iter();
    let open = all.filter(|of| at(of, &["met_on"]).is_none() && at(of, &["accepted_by"]).is_none());
    open.filter_map(|of| text(of, &["condition"])).map(str::to_owned).collect()
}

/// What a record says of something that whoever assesses the vendor still has to find out.
pub const UNFILLED: &str = "to be filled in";

fn unfilled(node: &Node) -> Option<Span> {
    match &node.kind {
        Kind::Text(text) => (text == UNFILLED).then_some(node.span),
        Kind::List(items) => items.iter().find_map(unfilled),
        Kind::Map(entries) => entries.iter().find_map(|entry| unfilled(&entry.value)),
        _ => None,
    }
}

/// What stands at the end of these keys.
fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| match &node.kind {
        Kind::Map(entries) => entries.iter().find(|entry| entry.key == *key).map(|e| &e.value),
        _ => None,
    })
}

fn text<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
    match &at(node, path)?.kind {
        Kind::Text(text) => Some(text),
        _ => None,
    }
}

fn items<'a>(node: &'a Node, path: &[&str]) -> &'a [Node] {
    match at(node, path).map(|node| &node.kind) {
        Some(Kind::List(items)) => items,
        _ => &[],
    }
}

/// Where it is written; or the nearest that is.
fn place(node: &Node, path: &[&str]) -> Span {
    let all = (0..=path.len()).rev().filter_map(|length| at(node, path.get(..length)?));
    let found = all.map(|node| node.span).next().unwrap_or(node.span);
    if found == node.span { Span { start: found.start, end: found.start } } else { found }
}

/// The names of vendors: one, or a list.
pub(crate) fn named(decoder: &mut Decoder, item: Item<'_>) -> Vec<Spanned<VendorName>> {
    let Kind::List(nodes) = &item.node.kind else {
        return decoder.name(item, VendorName::new).into_iter().collect();
    };
    if nodes.is_empty() || nodes.len() > VENDOR_ITEMS_MAX {
        let message = format!("`{}` must have from 1 to {VENDOR_ITEMS_MAX} items", item.name);
        decoder.report(Code::BadValue, item.span(), message);
    }
    let one = |node| decoder.name(Item { name: item.name, node }, VendorName::new);
    let names: Vec<_> = nodes.iter().filter_map(one).collect();
    decoder.distinct("the vendor", names.iter().map(|name| (name.value.to_string(), name.span)));
    names
}

/// The first moment after a day: what is to be reviewed by then holds all of it.
pub(crate) fn after(day: Date) -> Option<Timestamp> {
    let next = day.checked_add(1.day()).ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_secs(next.timestamp().as_second()))
}
