//! `gate:` of a tool: who has to agree before its effect happens.

use crate::bound::{APPROVERS_MAX, GATE_EXPIRES_SECONDS_MAX};
use crate::decode::{Decoder, Item};
use crate::finding::Code;
use countersign_core::tool::Effect;
use std::collections::BTreeSet;

/// Who has to agree, and for how long they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Who.
    pub approvers: Approvers,
    /// How long a draft waits for them, in seconds.
    pub expires_s: u32,
}

/// People who may agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approvers {
    /// Any of these, by address; at least one.
    Named(BTreeSet<String>),
    /// Any member of this group.
    Group(String),
}

/// Reads `gate:`.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    effect: Option<Effect>,
) -> Option<Gate> {
    if let Some(effect @ (Effect::Read | Effect::Reversible)) = effect {
        let message = format!("nobody is asked about an effect that is `{}`", effect.as_str());
        decoder.report(Code::IdleGate, item.span(), message);
        decoder.help("take `gate` out, or declare the effect that needs it");
    }
    let mut fields = decoder.fields(item)?;
    let approvers =
        fields.required(decoder, "approvers").and_then(|item| approvers(decoder, item, effect));
    let expires_s = fields
        .required(decoder, "expires")
        .and_then(|item| decoder.quantity(item, &DURATIONS, GATE_EXPIRES_SECONDS_MAX));
    fields.finish(decoder);
    Some(Gate { approvers: approvers?, expires_s: expires_s? })
}

pub(crate) const DURATIONS: [(&str, u32); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

fn approvers(decoder: &mut Decoder, item: Item<'_>, effect: Option<Effect>) -> Option<Approvers> {
    let mut fields = decoder.fields(item)?;
    let named = fields.optional("named");
    let group = fields.optional("group");
    fields.finish(decoder);
    match (named, group) {
        (Some(item), None) => people(decoder, item).map(Approvers::Named),
        (None, Some(group)) => {
            if effect == Some(Effect::Irreversible) {
                let message = "what cannot be taken back needs approvers by name, not by group";
                decoder.report(Code::GateApprovers, item.span(), message);
                decoder.help("write `approvers: { named: [ann@example.com] }`");
            }
            decoder.line(group).map(Approvers::Group)
        }
        _ => {
            let message = "`approvers` needs one of `named` and `group`";
            decoder.report(Code::GateApprovers, item.span(), message);
            None
        }
    }
}

fn people(decoder: &mut Decoder, item: Item<'_>) -> Option<BTreeSet<String>> {
    let people = decoder.lines(item);
    if matches!(decoder.list(item), Some(items) if items.is_empty() || items.len() > APPROVERS_MAX)
    {
        let message = format!("`named` must name from 1 to {APPROVERS_MAX} people");
        decoder.report(Code::GateApprovers, item.span(), message);
        return None;
    }
    for person in &people {
        let address = person.value.split_once('@');
        let address = address.filter(|(name, host)| !name.is_empty() && !host.is_empty());
        if address.is_none_or(|(_, host)| host.contains('@')) || person.value.contains(' ') {
            let message = format!("`{}` is no address of a person", person.value);
            decoder.report(Code::BadValue, person.span, message);
            decoder.help("write it as `ann@example.com`");
        }
    }
    let names = people.iter().map(|person| (person.value.clone(), person.span));
    decoder.distinct("the approver", names);
    Some(people.into_iter().map(|person| person.value).collect())
}
