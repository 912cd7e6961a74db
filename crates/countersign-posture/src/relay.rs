//! What of a deployment tails the journal: `exporters:` and `alerts:`.

use crate::bound::{ALERT_SECONDS_MAX, ALERT_THRESHOLD_MAX, EXPORTERS_MAX};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::{Code, Place};
use crate::gate::DURATIONS;
use crate::node::{Node, Span};
use countersign_core::alert::{Limits, Rule};
use countersign_core::id::SystemName;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What tails the journal.
#[derive(Debug, Clone)]
pub struct RelaySpec {
    /// What hands it on.
    pub exporters: Vec<Exporter>,
    /// What each rule goes by; one that is switched off is not there.
    pub rules: BTreeMap<Rule, Limits>,
}

/// Something that hands the journal on, line by line.
#[derive(Debug, Clone)]
pub struct Exporter {
    /// Its name: how far it has come is kept under it.
    pub name: String,
    /// Where it writes.
    pub to: ExportTo,
    /// Where that is written.
    pub place: Place,
}

/// Where an exporter writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTo {
    /// To the end of a file, relative to the deployment's folder.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// Reads what of a deployment is about that.
pub(crate) fn decode(decoder: &mut Decoder, fields: &mut Fields<'_>) -> RelaySpec {
    let exporters = fields.optional("exporters").map(|item| exporters(decoder, item));
    let rules = fields.optional("alerts").map(|item| alerts(decoder, item));
    RelaySpec { exporters: exporters.unwrap_or_default(), rules: rules.unwrap_or_else(usual) }
}

fn exporters(decoder: &mut Decoder, item: Item<'_>) -> Vec<Exporter> {
    let nodes = at_most(decoder, item, EXPORTERS_MAX);
    let read = nodes.iter().filter_map(|node| exporter(decoder, Item { name: "exporter", node }));
    let read: Vec<_> = read.collect();
    let names = read.iter().map(|(exporter, name)| (exporter.name.clone(), *name));
    decoder.distinct("the exporter", names);
    let mut taken: Vec<&ExportTo> = Vec::new();
    for (exporter, span) in &read {
        if taken.contains(&&exporter.to) {
            let message = "two exporters write to the same place, and their lines would mix";
            decoder.report(Code::Duplicate, *span, message);
        }
        taken.push(&exporter.to);
    }
    read.into_iter().map(|(exporter, _)| exporter).collect()
}

fn exporter(decoder: &mut Decoder, item: Item<'_>) -> Option<(Exporter, Span)> {
    let mut fields = decoder.fields(item)?;
    let name =
        fields.required(decoder, "name").and_then(|item| decoder.name(item, SystemName::new));
    let file = fields.optional("file");
    let stdout = fields.optional("stdout");
    fields.finish(decoder);
    let path = file.map(|item| decoder.line(item).map(PathBuf::from));
    let flag = stdout.map(|item| decoder.boolean(item));
    let to = match (path, flag) {
        (Some(path), None) => ExportTo::File(path?),
        (None, Some(Some(true))) => ExportTo::Stdout,
        (None, Some(None)) => return None,
        _ => {
            let message = "an exporter needs one of `file` and `stdout: true`";
            decoder.report(Code::BadValue, item.span(), message);
            return None;
        }
    };
    let Spanned { value: name, span } = name?;
    let place = decoder.place(file.map_or(span, |item| item.span()));
    Some((Exporter { name: name.to_string(), to, place }, span))
}

/// What each rule goes by where nothing is written.
fn usual() -> BTreeMap<Rule, Limits> {
    Rule::ALL.map(|rule| (rule, rule.usual())).into()
}

fn alerts(decoder: &mut Decoder, item: Item<'_>) -> BTreeMap<Rule, Limits> {
    let mut rules = usual();
    let Some(mut fields) = decoder.fields(item) else { return rules };
    for rule in Rule::ALL {
        let Some(item) = fields.optional(rule.as_str()) else { continue };
        match limits(decoder, rule, item) {
            Some(limits) => drop(rules.insert(rule, limits)),
            None => drop(rules.remove(&rule)),
        }
    }
    fields.finish(decoder);
    rules
}

fn limits(decoder: &mut Decoder, rule: Rule, item: Item<'_>) -> Option<Limits> {
    let mut fields = decoder.fields(item)?;
    let enabled = fields.optional("enabled").map(|item| decoder.boolean(item));
    let mut span = |decoder: &mut Decoder, key| {
        let item = fields.optional(key)?;
        decoder.quantity(item, &DURATIONS, ALERT_SECONDS_MAX)
    };
    let window_s = span(decoder, "window");
    let cool_down_s = span(decoder, "cool_down");
    let threshold = fields.optional("threshold");
    let threshold = threshold.and_then(|item| decoder.count(item, ALERT_THRESHOLD_MAX));
    fields.finish(decoder);
    let usual = rule.usual();
    let limits = Limits {
        window_s: window_s.unwrap_or(usual.window_s),
        threshold: threshold.unwrap_or(usual.threshold),
        cool_down_s: cool_down_s.unwrap_or(usual.cool_down_s),
    };
    (enabled != Some(Some(false))).then_some(limits)
}

/// The nodes of a list that is not longer than that.
fn at_most<'a>(decoder: &mut Decoder, item: Item<'a>, max: usize) -> &'a [Node] {
    let nodes = decoder.list(item).unwrap_or_default();
    if nodes.len() > max {
        let message = format!("`{}` must have at most {max} entries", item.name);
        decoder.report(Code::BadValue, item.span(), message);
    }
    nodes.get(..max).unwrap_or(nodes)
}
