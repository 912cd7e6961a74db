//! `agents/NAME.yaml`: one non-human identity, its owner and its grants.

use crate::bound::DESCRIPTION_BYTES_MAX;
use crate::decode::{Decoder, Item, Spanned};
use crate::finding::Code;
use crate::node::{Node, Span};
use crate::posture::limits;
use countersign_core::id::{ActorId, AgentId, IssuerId, ToolName};
use countersign_core::quota::Limits;
use jiff::civil::Date;

/// What an agent's file says.
#[derive(Debug)]
pub(crate) struct AgentFile {
    pub(crate) name: Option<Spanned<AgentId>>,
    pub(crate) purpose: Option<String>,
    pub(crate) owner: Option<Owner>,
    pub(crate) client: Option<Spanned<ActorId>>,
    pub(crate) issuer: Option<IssuerId>,
    /// What the token must carry for every grant that does not say otherwise.
    pub(crate) require_scope: Option<String>,
    /// How far its grants go.
    pub(crate) stage: Stage,
    pub(crate) grants: Vec<GrantEntry>,
    pub(crate) limits: Limits,
}

/// How far a grant has come. It exists where as much is at stake and where less is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// In development.
    #[default]
    Draft,
    /// In staging as well.
    Staging,
    /// In production too.
    Production,
}

impl Stage {
    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        STAGES.iter().find(|(_, stage)| *stage == self).map_or("draft", |(name, _)| name)
    }
}

pub(crate) const STAGES: [(&str, Stage); 3] =
    [("draft", Stage::Draft), ("staging", Stage::Staging), ("production", Stage::Production)];

#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) team: String,
    pub(crate) contact: String,
}

#[derive(Debug)]
pub(crate) struct GrantEntry {
    pub(crate) tool: Spanned<ToolName>,
    pub(crate) limits: Limits,
    pub(crate) require_scope: Option<String>,
    /// Whether it says by whom and when it was reviewed.
    pub(crate) reviewed: bool,
    /// How far it goes, where it says so itself.
    pub(crate) stage: Option<Spanned<Stage>>,
    /// The whole entry.
    pub(crate) span: Span,
}

pub(crate) fn decode(decoder: &mut Decoder) -> Option<AgentFile> {
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the agent", node: &node })?;
    let name = fields.required(decoder, "agent").and_then(|item| decoder.name(item, AgentId::new));
    if let Some(name) = &name {
        decoder.named_after_file(name.value.as_str(), name.span);
    }
    let purpose = fields
        .required(decoder, "purpose")
        .and_then(|item| decoder.text(item, DESCRIPTION_BYTES_MAX))
        .map(str::to_owned);
    let owner = fields.required(decoder, "owner").and_then(|item| decode_owner(decoder, item));
    let identity = fields.required(decoder, "identity");
    let (client, issuer) =
        identity.and_then(|item| decode_identity(decoder, item)).unwrap_or_default();
    let require_scope = fields.optional("require_scope").and_then(|item| scope(decoder, item));
    let stage = fields.optional("stage").and_then(|item| decoder.choice(item, &STAGES));
    let grants = fields.required(decoder, "grants").map(|item| decode_grants(decoder, item));
    let limits = fields.optional("limits").map(|item| limits(decoder, item));
    fields.finish(decoder);
    Some(AgentFile {
        name,
        purpose,
        owner,
        client,
        issuer,
        require_scope,
        stage: stage.unwrap_or_default(),
        grants: grants.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
    })
}

fn decode_owner(decoder: &mut Decoder, item: Item<'_>) -> Option<Owner> {
    let mut fields = decoder.fields(item)?;
    let team = fields.required(decoder, "team").and_then(|item| decoder.line(item));
    let contact = fields.required(decoder, "contact").and_then(|item| decoder.line(item));
    fields.finish(decoder);
    Some(Owner { team: team?, contact: contact? })
}

type Identity = (Option<Spanned<ActorId>>, Option<IssuerId>);

fn decode_identity(decoder: &mut Decoder, item: Item<'_>) -> Option<Identity> {
    let mut fields = decoder.fields(item)?;
    let client =
        fields.required(decoder, "client_id").and_then(|item| decoder.name(item, ActorId::new));
    let issuer = fields.optional("issuer").and_then(|item| decoder.name(item, IssuerId::new));
    fields.finish(decoder);
    Some((client, issuer.map(|issuer| issuer.value)))
}

/// A scope as OAuth writes it (RFC 6749 §3.3).
fn scope(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let text = decoder.line(item)?;
    if text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
        return Some(text);
    }
    let message = format!("`{text}` is no scope: a word without blanks, quotes and backslashes");
    decoder.report(Code::BadValue, item.span(), message);
    None
}

fn decode_grants(decoder: &mut Decoder, item: Item<'_>) -> Vec<GrantEntry> {
    let items = decoder.list(item).unwrap_or_default();
    let grants: Vec<_> = items.iter().filter_map(|node| decode_grant(decoder, node)).collect();
    let names = grants.iter().map(|grant| (grant.tool.value.to_string(), grant.tool.span));
    decoder.distinct("the grant of", names);
    grants
}

fn decode_grant(decoder: &mut Decoder, node: &Node) -> Option<GrantEntry> {
    let mut fields = decoder.fields(Item { name: "grants", node })?;
    let tool = fields.required(decoder, "tool").and_then(|item| decoder.name(item, ToolName::new));
    fields.required(decoder, "reason").and_then(|item| decoder.line(item));
    let by = fields.optional("reviewed_by").map(|item| decoder.line(item));
    let on = fields.optional("reviewed_on").map(|item| date(decoder, item));
    let limits = fields.optional("limits").map(|item| limits(decoder, item));
    let require_scope = fields.optional("require_scope").and_then(|item| scope(decoder, item));
    let stage = fields.optional("stage").and_then(|item| {
        Some(Spanned { value: decoder.choice(item, &STAGES)?, span: item.span() })
    });
    fields.finish(decoder);
    let reviewed = by.is_some() && on.is_some();
    let limits = limits.unwrap_or_default();
    Some(GrantEntry { tool: tool?, limits, require_scope, reviewed, stage, span: node.span })
}

/// A day of the calendar.
pub(crate) fn date(decoder: &mut Decoder, item: Item<'_>) -> Option<Date> {
    let text = decoder.line(item)?;
    let date = Date::strptime("%Y-%m-%d", &text).ok();
    let date = date.filter(|_| text.len() == "YYYY-MM-DD".len());
    if date.is_none() {
        let message = format!("`{}` must be a date as YYYY-MM-DD, not `{text}`", item.name);
        decoder.report(Code::BadValue, item.span(), message);
    }
    date
}
