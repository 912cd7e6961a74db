//! `gate:` of a tool: who has to agree before its effect happens, and what they are told.

use crate::bound::{
    APPROVERS_MAX, DECISION_TIMEOUT_MS_MAX, GATE_EXPIRES_SECONDS_MAX, LINE_BYTES_MAX,
    LOOK_UP_BYTES_MAX, LOOK_UP_TIMEOUT_MS_MAX, PREVIEW_ROWS_MAX,
};
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::Code;
use crate::message::{named, phrase};
use crate::node::{Kind, Span};
use crate::request::{Known, literal_path};
use crate::statement::Beside;
use crate::system::SystemSpec;
use countersign_core::id::SystemName;
use countersign_core::ladder::{Approvers, DecisionPoint, Escalation, Gate, Phrase};
use countersign_core::scope::Query;
use countersign_core::tool::{Parameter, ResultBounds, SqlPlan};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// A gate as it is written.
#[derive(Debug)]
pub(crate) struct GateEntry {
    pub(crate) span: Span,
    /// `None`, here and below, if something is wrong with it.
    pub(crate) approvers: Option<Spanned<Approvers>>,
    pub(crate) expires_s: Option<u32>,
    pub(crate) summary: Option<Phrase>,
    pub(crate) preview: Option<Beside>,
    pub(crate) decision: Option<Decision>,
    pub(crate) escalation: Option<EscalationEntry>,
    /// Empty where none are written.
    pub(crate) delegates: Option<BTreeSet<String>>,
}

/// An escalation as it is written.
#[derive(Debug)]
pub(crate) struct EscalationEntry {
    pub(crate) span: Span,
    after_s: Option<u32>,
    pub(crate) to: Option<Spanned<Approvers>>,
}

/// A decision point as it is written.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) span: Span,
    pub(crate) system: Option<Spanned<SystemName>>,
    path: Option<Vec<String>>,
    timeout_ms: Option<u32>,
}

/// Reads `gate:`.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    known: &Known<'_>,
) -> Option<GateEntry> {
    let mut fields = decoder.fields(item)?;
    let approvers = fields.required(decoder, "approvers").and_then(|item| approvers(decoder, item));
    let expires_s = fields
        .required(decoder, "expires")
        .and_then(|item| decoder.quantity(item, &DURATIONS, GATE_EXPIRES_SECONDS_MAX));
    let summary = fields.required(decoder, "summary").and_then(|item| {
        decoder.line(item)?;
        let summary = phrase(decoder, item, known, LINE_BYTES_MAX)?;
        check_words(decoder, &summary, item.span(), known);
        Some(summary)
    });
    let preview = fields.optional("preview").and_then(|item| decode_preview(decoder, item));
    let decision = fields.optional("decision").and_then(|item| decode_decision(decoder, item));
    let escalation = fields.optional("escalate").and_then(|item| escalation(decoder, item));
    let delegates = fields.optional("delegates");
    fields.finish(decoder);
    let delegates = match delegates {
        Some(item) => decode_delegates(decoder, item, approvers.as_ref().map(|them| &them.value)),
        None => Some(BTreeSet::new()),
    };
    if let Some((escalation, expires_s)) = escalation.as_ref().zip(expires_s) {
        check_escalation(decoder, escalation, expires_s);
    }
    let span = item.span();
    Some(GateEntry {
        span,
        approvers,
        expires_s,
        summary,
        preview,
        decision,
        escalation,
        delegates,
    })
}

/// Who may stand in for those who are named. Of a group any member may decide anyhow, and nobody stands
/// in for themselves.
fn decode_delegates(
    decoder: &mut Decoder,
    item: Item<'_>,
    approvers: Option<&Approvers>,
) -> Option<BTreeSet<String>> {
    let delegates = people(decoder, item, "the delegate")?;
    let (message, help) = match approvers {
        None => return Some(delegates),
        Some(Approvers::Group { .. }) => (
            "people stand in for those who are named, and this gate names a group".to_owned(),
            "take `delegates` out: whoever is of the group may agree",
        ),
        Some(Approvers::Named(named)) => match delegates.intersection(named).next() {
            None => return Some(delegates),
            Some(both) => (
                format!("`{both}` is an approver, and needs to stand in for nobody"),
                "name them once",
            ),
        },
    };
    decoder.report(Code::GateApprovers, item.span(), message);
    decoder.help(help);
    None
}

fn escalation(decoder: &mut Decoder, item: Item<'_>) -> Option<EscalationEntry> {
    let mut fields = decoder.fields(item)?;
    let after_s = fields
        .required(decoder, "after")
        .and_then(|item| decoder.quantity(item, &DURATIONS, GATE_EXPIRES_SECONDS_MAX));
    let to = fields.required(decoder, "to").and_then(|item| escalated(decoder, item));
    fields.finish(decoder);
    Some(EscalationEntry { span: item.span(), after_s, to })
}

/// Further people: as `approvers`, but for the one on whose behalf it is asked.
fn escalated(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Approvers>> {
    let mut fields = decoder.fields(item)?;
    let named = fields.optional("named");
    let group = fields.optional("group");
    fields.finish(decoder);
    let value = match (named, group) {
        (Some(named), None) => Approvers::Named(people(decoder, named, "the approver")?),
        (None, Some(group)) => Approvers::Group { group: decoder.line(group)?, subject: false },
        _ => {
            let message = "`to` needs one of `named` and `group`";
            decoder.report(Code::GateApprovers, item.span(), message);
            return None;
        }
    };
    Some(Spanned { value, span: item.span() })
}

fn check_escalation(decoder: &mut Decoder, escalation: &EscalationEntry, expires_s: u32) {
    if escalation.after_s.is_some_and(|after_s| after_s >= expires_s) {
        let message = "further people are asked once the draft's time is over";
        decoder.report(Code::IdleGate, escalation.span, message);
        decoder.help("let `after` be shorter than `expires`");
    }
}

pub(crate) const DURATIONS: [(&str, u32); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// How long a decision point may take.
pub(crate) const TIMEOUTS: [(&str, u32); 2] = [("s", 1_000), ("ms", 1)];

fn approvers(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Approvers>> {
    let mut fields = decoder.fields(item)?;
    let named = fields.optional("named");
    let group = fields.optional("group");
    let subject = fields.optional("subject");
    fields.finish(decoder);
    let may = subject.map(|item| decoder.boolean(item));
    let approvers = match (named, group) {
        (Some(named), None) => {
            if let Some(item) = subject {
                let message = "those who are named agree, and `subject` is said of a group";
                decoder.report(Code::GateApprovers, item.span(), message);
                decoder.help("take `subject` out");
            }
            Approvers::Named(people(decoder, named, "the approver")?)
        }
        (None, Some(group)) => {
            let subject = may.map_or(Some(false), |may| may);
            Approvers::Group { group: decoder.line(group)?, subject: subject? }
        }
        _ => {
            let message = "`approvers` needs one of `named` and `group`";
            decoder.report(Code::GateApprovers, item.span(), message);
            return None;
        }
    };
    Some(Spanned { value: approvers, span: item.span() })
}

fn people(decoder: &mut Decoder, item: Item<'_>, what: &str) -> Option<BTreeSet<String>> {
    let people = decoder.lines(item);
    if matches!(decoder.list(item), Some(items) if items.is_empty() || items.len() > APPROVERS_MAX)
    {
        let message = format!("`{}` must name from 1 to {APPROVERS_MAX} people", item.name);
        decoder.report(Code::GateApprovers, item.span(), message);
        return None;
    }
    for person in &people {
        check_person(decoder, &person.value, person.span);
    }
    // Whoever signs in is compared by the address in lower case.
    let names = people.iter().map(|person| (person.value.to_lowercase(), person.span));
    decoder.distinct(what, names);
    Some(people.into_iter().map(|person| person.value.to_lowercase()).collect())
}

/// A person is written by their address.
pub(crate) fn check_person(decoder: &mut Decoder, text: &str, span: Span) {
    let address = text.split_once('@');
    let address = address.filter(|(name, host)| !name.is_empty() && !host.is_empty());
    if address.is_none_or(|(_, host)| host.contains('@')) || text.contains(' ') {
        let message = format!("`{text}` is no address of a person");
        decoder.report(Code::BadValue, span, message);
        decoder.help("write it as `ann@example.com`");
    }
}

/// What will happen is told in the author's words: free text of the model's would tell another story.
fn check_words(decoder: &mut Decoder, summary: &Phrase, span: Span, known: &Known<'_>) {
    for name in summary.0.iter().filter_map(named) {
        let schema = known.arguments.get(name).and_then(|argument| argument.schema.as_ref());
        if schema.is_some_and(holds_free_text) {
            let message = format!("`{{{name}}}` is free text, and a summary is the tool's own");
            decoder.report(Code::ArgumentPlace, span, message);
            decoder.help("leave it out: approvers see every argument beside the summary");
        }
    }
}

fn holds_free_text(schema: &Value) -> bool {
    let says = |keyword: &str| schema.get(keyword);
    match says("type").and_then(Value::as_str) {
        Some("string") => {
            ["pattern", "format", "enum", "const"].iter().all(|word| says(word).is_none())
        }
        Some("array") => says("items").is_some_and(holds_free_text),
        Some("object") => {
            let members = says("properties").and_then(Value::as_object);
            members.is_some_and(|members| members.values().any(holds_free_text))
        }
        _ => false,
    }
}

fn decode_preview(decoder: &mut Decoder, item: Item<'_>) -> Option<Beside> {
    if matches!(item.node.kind, Kind::Text(_)) {
        return Beside::decode(decoder, item, "a preview");
    }
    let mut fields = decoder.fields(item)?;
    let preview =
        fields.required(decoder, "sql").and_then(|item| Beside::decode(decoder, item, "a preview"));
    let system = fields.optional("system").and_then(|item| decoder.name(item, SystemName::new));
    fields.finish(decoder);
    preview.map(|preview| preview.of(system))
}

fn decode_decision(decoder: &mut Decoder, item: Item<'_>) -> Option<Decision> {
    let Some(mut fields) = decoder.fields(item) else {
        if matches!(item.node.kind, Kind::Text(_)) {
            decoder.help("write `{ system: NAME, path: /access/v1/evaluation, timeout: 2s }`: the host is a system, so that where it may be and who asks it hold here too");
        }
        return None;
    };
    let system =
        fields.required(decoder, "system").and_then(|item| decoder.name(item, SystemName::new));
    let path = fields.required(decoder, "path").and_then(|item| literal_path(decoder, item));
    let timeout_ms = fields
        .required(decoder, "timeout")
        .and_then(|item| decoder.quantity(item, &TIMEOUTS, DECISION_TIMEOUT_MS_MAX));
    fields.finish(decoder);
    Some(Decision { span: item.span(), system, path, timeout_ms })
}

impl GateEntry {
    /// Puts it together. `parameters` are what is bound to its preview, and `asked` is the system of
    /// that. `None` if anything is wrong with it, which has been said.
    pub(crate) fn compile(
        &self,
        asked: Option<&SystemSpec>,
        parameters: Vec<Parameter>,
    ) -> Option<Gate> {
        let preview = self.preview.as_ref().map(|preview| {
            let system = asked?;
            let plan = SqlPlan {
                statement: preview.compiled.statement.clone(),
                parameters,
                timeout_ms: system.timeout_ms.min(LOOK_UP_TIMEOUT_MS_MAX),
                bounds: ResultBounds {
                    rows_max: PREVIEW_ROWS_MAX,
                    bytes_max: system.bounds.bytes_max.min(LOOK_UP_BYTES_MAX),
                },
            };
            Some(Arc::new(Query { system: system.name.clone(), plan, cached_ms: None }))
        });
        let decision = self.decision.as_ref().map(|decision| {
            Some(DecisionPoint {
                system: decision.system.as_ref()?.value.clone(),
                path: decision.path.clone()?,
                timeout_ms: decision.timeout_ms?,
            })
        });
        let escalation = self.escalation.as_ref().map(|escalation| {
            Some(Escalation {
                after_s: escalation.after_s?,
                to: escalation.to.as_ref()?.value.clone(),
            })
        });
        Some(Gate {
            approvers: self.approvers.as_ref()?.value.clone(),
            expires_s: self.expires_s?,
            summary: self.summary.clone()?,
            preview: whole(preview)?,
            decision: whole(decision)?,
            escalation: whole(escalation)?,
            delegates: self.delegates.clone()?,
        })
    }
}

/// What is not written is nothing; what is written and wrong is no compiled thing.
pub(crate) fn whole<T>(found: Option<Option<T>>) -> Option<Option<T>> {
    found.map_or(Some(None), |found| found.map(Some))
}
