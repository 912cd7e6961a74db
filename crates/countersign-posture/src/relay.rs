//! What of a deployment tails the journal: `exporters:`, `alerts:` and `notify:`.

use crate::bound::{
    ALERT_SECONDS_MAX, ALERT_THRESHOLD_MAX, DESTINATIONS_MAX, EXPORTERS_MAX,
    GATE_EXPIRES_SECONDS_MAX,
};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::email::{self, MailSpec};
use crate::finding::{Code, Place};
use crate::gate::{DURATIONS, whole};
use crate::node::{Node, Span};
use crate::system::reference;
use countersign_core::alert::{Limits, Rule};
use countersign_core::bound::RECIPIENTS_MAX;
use countersign_core::id::{SystemName, TenantId};
use countersign_core::recipient::Recipient;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What tails the journal.
#[derive(Debug, Clone)]
pub struct RelaySpec {
    /// What hands it on.
    pub exporters: Vec<Exporter>,
    /// What each rule goes by; one that is switched off is not there.
    pub rules: BTreeMap<Rule, Limits>,
    /// Where people are told.
    pub destinations: Vec<Destination>,
}

/// Where people are told of drafts and alerts.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name: how far it has come is kept under it.
    pub name: String,
    /// How it is reached.
    pub by: Means,
    /// Whether it is told of drafts that wait.
    pub drafts: bool,
    /// Whether it is told of alerts.
    pub alerts: bool,
    /// Of these tenants alone; of all, and of what is of none, without it.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// After how many seconds it is told once more of a draft that waits; half its time without it.
    pub remind_s: Option<u32>,
    /// Where it is written.
    pub place: Place,
}

/// How people are told.
#[derive(Debug, Clone)]
pub enum Means {
    /// By a request to an address.
    Webhook {
        /// The reference that resolves to the address: whoever has it can write there.
        url: String,
        /// What is in the request.
        template: Template,
    },
    /// By mail.
    Email {
        /// The server, and whose messages they are.
        server: Box<MailSpec>,
        /// To whom.
        to: Vec<Recipient>,
    },
}

/// What is in a request to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Slack's incoming webhooks.
    Slack,
    /// Teams' workflows: an adaptive card.
    Teams,
    /// The message's own members.
    Json,
}

pub(crate) const TEMPLATES: [(&str, Template); 3] =
    [("slack", Template::Slack), ("teams", Template::Teams), ("json", Template::Json)];

impl RelaySpec {
    /// The references that destinations take, and where each is written.
    pub fn references(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.destinations.iter().flat_map(|destination| {
            let references = destination.references().into_iter();
            references.map(|reference| (reference, &destination.place))
        })
    }
}

impl Destination {
    /// The references that it takes.
    #[must_use]
    pub fn references(&self) -> Vec<&str> {
        match &self.by {
            Means::Webhook { url, .. } => vec![url],
            Means::Email { server, .. } => server.references(),
        }
    }
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
    let destinations = fields.optional("notify").map(|item| destinations(decoder, item));
    RelaySpec {
        exporters: exporters.unwrap_or_default(),
        rules: rules.unwrap_or_else(usual),
        destinations: destinations.unwrap_or_default(),
    }
}

/// Production hands its journal on, and has somebody who is told of alerts. `span` is where it says
/// that it is one.
pub(crate) fn check_production(decoder: &mut Decoder, relay: &RelaySpec, span: Span) {
    if relay.exporters.is_empty() {
        let message = "nothing hands the journal of this deployment on";
        decoder.report(Code::NoExporter, span, message);
        decoder.help("add `exporters: [{ name: siem, file: … }]`, or `stdout: true`");
    }
    if !relay.destinations.iter().any(|destination| destination.alerts) {
        let message = "nobody is told of the alerts of this deployment";
        decoder.report(Code::NoAlertRoute, span, message);
        decoder.help("add somebody with `alerts: true` under `notify`");
    }
}

fn destinations(decoder: &mut Decoder, item: Item<'_>) -> Vec<Destination> {
    let nodes = at_most(decoder, item, DESTINATIONS_MAX);
    let read = nodes.iter().filter_map(|node| {
        let (destination, span) = destination(decoder, Item { name: "notify", node })?;
        Some((destination, span))
    });
    let read: Vec<_> = read.collect();
    let names = read.iter().map(|(destination, span)| (destination.name.clone(), *span));
    decoder.distinct("the destination", names);
    read.into_iter().map(|(destination, _)| destination).collect()
}

fn destination(decoder: &mut Decoder, item: Item<'_>) -> Option<(Destination, Span)> {
    let mut fields = decoder.fields(item)?;
    let name =
        fields.required(decoder, "name").and_then(|item| decoder.name(item, SystemName::new));
    let webhook = fields.optional("webhook").map(|item| webhook(decoder, item));
    let email = fields.optional("email").map(|item| email(decoder, item));
    let mut flag = |decoder: &mut Decoder, key| {
        fields.optional(key).map_or(Some(false), |item| decoder.boolean(item))
    };
    let (drafts, alerts) = (flag(decoder, "drafts"), flag(decoder, "alerts"));
    let tenants = fields.optional("tenants").map(|item| tenants(decoder, item));
    let remind = fields.optional("remind");
    let remind = remind.map(|item| decoder.quantity(item, &DURATIONS, GATE_EXPIRES_SECONDS_MAX));
    fields.finish(decoder);
    let by = match (webhook, email) {
        (Some(by), None) | (None, Some(by)) => by,
        _ => {
            let message = "a destination needs one of `webhook` and `email`";
            decoder.report(Code::BadValue, item.span(), message);
            return None;
        }
    };
    if (drafts, alerts) == (Some(false), Some(false)) {
        let message = "this destination is told of nothing";
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("say `drafts: true`, `alerts: true` or both");
    }
    let Spanned { value: name, span } = name?;
    let destination = Destination {
        name: name.to_string(),
        by: by?,
        drafts: drafts?,
        alerts: alerts?,
        tenants: whole(tenants)?,
        remind_s: whole(remind)?,
        place: decoder.place(span),
    };
    Some((destination, span))
}

fn webhook(decoder: &mut Decoder, item: Item<'_>) -> Option<Means> {
    let mut fields = decoder.fields(item)?;
    let url = fields.required(decoder, "url").and_then(|item| reference(decoder, item));
    let template = fields.required(decoder, "template");
    let template = template.and_then(|item| decoder.choice(item, &TEMPLATES));
    fields.finish(decoder);
    Some(Means::Webhook { url: url?.value, template: template? })
}

fn email(decoder: &mut Decoder, item: Item<'_>) -> Option<Means> {
    let mut fields = decoder.fields(item)?;
    let server = email::spec(decoder, &mut fields);
    let to = fields.required(decoder, "to").and_then(|item| addresses(decoder, item));
    fields.finish(decoder);
    Some(Means::Email { server: Box::new(server?.value), to: to? })
}

fn addresses(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<Recipient>> {
    let nodes = decoder.list(item)?;
    if nodes.is_empty() || nodes.len() > RECIPIENTS_MAX {
        let message = format!("`{}` must name from 1 to {RECIPIENTS_MAX} addresses", item.name);
        decoder.report(Code::BadValue, item.span(), message);
        return None;
    }
    let read = nodes.iter().map(|node| email::address(decoder, Item { name: item.name, node }));
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

fn tenants(decoder: &mut Decoder, item: Item<'_>) -> Option<BTreeSet<TenantId>> {
    let nodes = decoder.list(item)?;
    if nodes.is_empty() {
        let message = format!("`{}` must name a tenant: leave it out for all", item.name);
        decoder.report(Code::BadValue, item.span(), message);
        return None;
    }
    let named = |node| Item { name: item.name, node };
    let read = nodes.iter().map(|node| decoder.name(named(node), TenantId::new));
    let read: Vec<_> = read.collect();
    read.into_iter().map(|tenant| tenant.map(|tenant| tenant.value)).collect()
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
