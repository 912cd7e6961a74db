//! `posture.yaml`: the organisation, what tokens say, and the limits of every agent.

use crate::bound::{LIMIT_MAX, POINTERS_MAX, REVIEW_WARN_SECONDS, REVIEW_WARN_SECONDS_MAX};
use crate::decode::{Decoder, Fields, Item};
use crate::finding::{Code, did_you_mean};
use crate::input::identifier;
use crate::ladder::{Steps, decode_steps};
use crate::node::{Kind, Span};
use countersign_core::principal::CallerRef;
use countersign_core::quota::Limits;
use std::collections::{BTreeMap, BTreeSet};

/// Where in a token's claims each part of the principal stands: JSON pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMap {
    /// On whose behalf.
    pub subject: String,
    /// The agent's OAuth client: every one of these that the token has must say the same.
    pub actor: Vec<String>,
    /// Whose data.
    pub tenant: String,
    /// The session.
    pub session: Option<String>,
    /// The person behind it, as the issuer names people for good.
    pub person: Option<String>,
    /// The OAuth scopes or roles, at all of these together.
    pub scopes: Vec<String>,
    /// The agent's build.
    pub agent_build: Option<String>,
    /// The model behind the agent.
    pub model: Option<String>,
    /// Further claims, text or lists of text, by the name that `caller.NAME` uses.
    pub attributes: BTreeMap<String, String>,
}

/// The kind of organisation that a posture was begun for. The controls are the same in each; what differs
/// is who decides, who signs and what they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// One person who answers for everything.
    Micro,
    /// A company with somebody for security.
    Sme,
    /// Whoever runs agents for several client organisations.
    Agency,
    /// A company with security, compliance and people on call.
    MidMarket,
}

impl Profile {
    /// As the posture writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Sme => "sme",
            Self::Agency => "agency",
            Self::MidMarket => "mid-market",
        }
    }
}

pub(crate) const PROFILES: [(&str, Profile); 4] = [
    (Profile::Micro.as_str(), Profile::Micro),
    (Profile::Sme.as_str(), Profile::Sme),
    (Profile::Agency.as_str(), Profile::Agency),
    (Profile::MidMarket.as_str(), Profile::MidMarket),
];

/// What `posture.yaml` says.
#[derive(Debug)]
pub(crate) struct PostureFile {
    pub(crate) organisation: Option<String>,
    pub(crate) profile: Option<Profile>,
    pub(crate) claims: Option<ClaimMap>,
    pub(crate) limits: Limits,
    pub(crate) tenant_limits: Limits,
    /// Names usable as `caller.NAME`, also when something else about them is wrong.
    pub(crate) attributes: BTreeSet<String>,
    /// Where it says what a token says.
    pub(crate) identity: Option<Span>,
    /// The company's ladder.
    pub(crate) steps: Steps,
    pub(crate) reviews: Reviews,
}

/// What becomes of what nobody reviewed again in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reviews {
    /// Whether it is suspended from then on.
    pub(crate) suspends: bool,
    /// How long before `check` begins to say so, in seconds.
    pub(crate) warn_s: u32,
}

impl Reviews {
    /// Of a posture that does not say.
    pub(crate) const OWN: Self = Self { suspends: true, warn_s: REVIEW_WARN_SECONDS };
}

pub(crate) const ON_EXPIRY: [(&str, bool); 2] = [("suspend", true), ("warn", false)];

pub(crate) fn decode(decoder: &mut Decoder) -> Option<PostureFile> {
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "posture.yaml", node: &node })?;
    let organisation = fields.required(decoder, "organisation").and_then(|item| decoder.line(item));
    let profile = fields.optional("profile");
    let profile = profile.and_then(|item| decoder.choice(item, &PROFILES));
    let identity = fields.required(decoder, "identity");
    let (claims, attributes) = match identity.and_then(|item| decoder.fields(item)) {
        Some(identity) => decode_identity(decoder, identity),
        None => (None, BTreeSet::new()),
    };
    let steps = fields.optional("ladder").map(|item| decode_steps(decoder, item));
    let reviews = fields.optional("reviews").map(|item| decode_reviews(decoder, item));
    let limits = fields.required(decoder, "limits").map(|item| required_limits(decoder, item));
    let tenant_limits =
        fields.optional("tenant_limits").map(|item| decode_tenant_limits(decoder, item));
    fields.finish(decoder);
    Some(PostureFile {
        organisation,
        profile,
        claims,
        limits: limits.unwrap_or_default(),
        tenant_limits: tenant_limits.unwrap_or_default(),
        attributes,
        identity: identity.map(|item| item.span()),
        steps: steps.unwrap_or(Steps::OWN),
        reviews: reviews.unwrap_or(Reviews::OWN),
    })
}

fn decode_reviews(decoder: &mut Decoder, item: Item<'_>) -> Reviews {
    let Some(mut fields) = decoder.fields(item) else { return Reviews::OWN };
    let on_expiry = fields.optional("on_expiry");
    let suspends = on_expiry.and_then(|item| decoder.choice(item, &ON_EXPIRY));
    let warn = fields.optional("warn");
    let warn_s = warn.and_then(|item| decoder.quantity(item, &DAYS, REVIEW_WARN_SECONDS_MAX));
    fields.finish(decoder);
    Reviews {
        suspends: suspends.unwrap_or(Reviews::OWN.suspends),
        warn_s: warn_s.unwrap_or(Reviews::OWN.warn_s),
    }
}

pub(crate) const DAYS: [(&str, u32); 1] = [("d", 86_400)];

fn decode_identity(
    decoder: &mut Decoder,
    mut identity: Fields<'_>,
) -> (Option<ClaimMap>, BTreeSet<String>) {
    let claims = identity.required(decoder, "claims").and_then(|item| decoder.fields(item));
    let attributes = identity.optional("attributes");
    identity.finish(decoder);
    let attributes = attributes.map(|item| decode_attributes(decoder, item)).unwrap_or_default();
    let names = attributes.keys().cloned().collect();
    (claims.and_then(|claims| decode_claims(decoder, claims, attributes)), names)
}

fn decode_claims(
    decoder: &mut Decoder,
    mut claims: Fields<'_>,
    attributes: BTreeMap<String, String>,
) -> Option<ClaimMap> {
    let mut required = |decoder: &mut Decoder, key| {
        claims.required(decoder, key).and_then(|item| pointer(decoder, item))
    };
    let subject = required(decoder, "subject");
    let tenant = required(decoder, "tenant");
    let actor = claims.required(decoder, "actor").and_then(|item| pointers(decoder, item));
    let scopes = claims.optional("scopes").map(|item| pointers(decoder, item));
    let mut optional =
        |decoder: &mut Decoder, key| claims.optional(key).and_then(|item| pointer(decoder, item));
    let session = optional(decoder, "session");
    let person = optional(decoder, "person");
    let agent_build = optional(decoder, "agent_build");
    let model = optional(decoder, "model");
    claims.finish(decoder);
    let (subject, actor, tenant) = (subject?, actor?, tenant?);
    let scopes = scopes.unwrap_or_else(|| Some(vec![SCOPES.to_owned()]))?;
    Some(ClaimMap {
        subject,
        actor,
        tenant,
        session,
        person,
        scopes,
        agent_build,
        model,
        attributes,
    })
}

fn decode_attributes(decoder: &mut Decoder, item: Item<'_>) -> BTreeMap<String, String> {
    let entries = decoder.entries(item).unwrap_or_default();
    let mut attributes = BTreeMap::new();
    for entry in entries {
        let key = entry.key.as_str();
        if let Some(problem) = identifier(key) {
            decoder.report(Code::BadName, entry.key_span, format!("`{key}` {problem}"));
        } else if RESERVED.contains(&key) {
            let message = format!("`caller.{key}` already has a meaning");
            decoder.report(Code::BadName, entry.key_span, message);
        }
        let found = pointer(decoder, Item { name: key, node: &entry.value });
        attributes.insert(key.to_owned(), found.unwrap_or_default());
    }
    attributes
}

/// Where OAuth keeps scopes (RFC 9068 §2.2.3).
const SCOPES: &str = "/scope";

/// One JSON pointer, or a list of them.
fn pointers(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<String>> {
    let Kind::List(nodes) = &item.node.kind else {
        return pointer(decoder, item).map(|pointer| vec![pointer]);
    };
    if nodes.is_empty() || nodes.len() > POINTERS_MAX {
        let message = format!("`{}` must have from 1 to {POINTERS_MAX} pointers", item.name);
        decoder.report(Code::BadValue, item.span(), message);
    }
    let named = |node| Item { name: item.name, node };
    let found: Vec<_> = nodes.iter().map(|node| pointer(decoder, named(node))).collect();
    found.into_iter().collect()
}

/// A JSON pointer to something inside the claims.
pub(crate) fn pointer(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let text = decoder.line(item)?;
    let escapes_are_whole = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if text.starts_with('/') && text.len() > 1 && escapes_are_whole {
        return Some(text);
    }
    let message = format!("`{text}` is no JSON pointer to a claim");
    decoder.report(Code::BadValue, item.span(), message);
    decoder.help("write a claim's name after `/`, as in `/sub`");
    None
}

/// What `caller.` may be followed by besides attributes.
const OWN: [&str; 3] = ["tenant", "subject", "actor"];

/// Names that no attribute may have.
pub(crate) const RESERVED: [&str; 4] = ["tenant", "subject", "actor", "agent"];

/// Reads `caller.NAME`. Without `attributes` (their file is broken) every name is taken.
pub(crate) fn caller(
    decoder: &mut Decoder,
    item: Item<'_>,
    attributes: Option<&BTreeSet<String>>,
) -> Option<CallerRef> {
    let Kind::Text(text) = &item.node.kind else {
        decoder.line(item)?;
        return None;
    };
    let name = text.strip_prefix("caller.");
    match name {
        Some("tenant") => Some(CallerRef::Tenant),
        Some("subject") => Some(CallerRef::Subject),
        Some("actor") => Some(CallerRef::Actor),
        Some(name) if attributes.is_none_or(|known| known.contains(name)) => {
            Some(CallerRef::Attribute(name.to_owned()))
        }
        Some(_) | None => {
            let known = attributes.into_iter().flatten().map(String::as_str).chain(OWN);
            let known: Vec<_> = known.map(|name| format!("caller.{name}")).collect();
            let message = format!("`{text}` is nothing that is known of a caller");
            decoder.report(Code::UnknownCaller, item.span(), message);
            let near = did_you_mean(text, known.iter().map(String::as_str));
            decoder.helped(near.or_else(|| {
                Some("name the claim under `identity.attributes` in `posture.yaml`".to_owned())
            }));
            None
        }
    }
}

/// The four keys of a `limits:`.
pub(crate) const LIMITS: [&str; 4] =
    ["per_session", "per_minute", "per_hour", "identical_per_minute"];

/// `limits:` with any of the four keys.
pub(crate) fn limits(decoder: &mut Decoder, item: Item<'_>) -> Limits {
    let Some(mut fields) = decoder.fields(item) else { return Limits::default() };
    let found = LIMITS.map(|key| limit(decoder, &mut fields, key));
    fields.finish(decoder);
    let [per_session, per_minute, per_hour, identical_per_minute] = found;
    Limits { per_session, per_minute, per_hour, identical_per_minute }
}

fn required_limits(decoder: &mut Decoder, item: Item<'_>) -> Limits {
    if let Some(mut fields) = decoder.fields(item) {
        for key in LIMITS {
            fields.required(decoder, key);
        }
        return limits(decoder, item);
    }
    Limits::default()
}

fn decode_tenant_limits(decoder: &mut Decoder, item: Item<'_>) -> Limits {
    let Some(mut fields) = decoder.fields(item) else { return Limits::default() };
    let per_minute = limit(decoder, &mut fields, "per_minute");
    let per_hour = limit(decoder, &mut fields, "per_hour");
    fields.finish(decoder);
    Limits { per_session: None, per_minute, per_hour, identical_per_minute: None }
}

fn limit(decoder: &mut Decoder, fields: &mut Fields<'_>, key: &'static str) -> Option<u32> {
    let item = fields.optional(key)?;
    if matches!(item.node.kind, Kind::Int(0)) {
        let message = format!("`{key}` is 0: nothing would be allowed");
        decoder.report(Code::ZeroLimit, item.span(), message);
        decoder.help("take the grant away instead");
        return None;
    }
    decoder.count(item, LIMIT_MAX)
}

/// `over`, completed key by key by `base`.
pub(crate) fn merged(base: &Limits, over: &Limits) -> Limits {
    Limits {
        per_session: over.per_session.or(base.per_session),
        per_minute: over.per_minute.or(base.per_minute),
        per_hour: over.per_hour.or(base.per_hour),
        identical_per_minute: over.identical_per_minute.or(base.identical_per_minute),
    }
}
