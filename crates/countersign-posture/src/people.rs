//! `people:` of a deployment: how those who decide sign in, and what their groups may do.

use crate::decode::{Decoder, Item, Spanned};
use crate::finding::{Code, Place};
use crate::issuer::Issuer;
use crate::node::Span;
use crate::posture::pointer;
use countersign_core::id::{ActorId, IssuerId};
use countersign_core::person::Role;
use std::collections::{BTreeMap, BTreeSet};

/// How people sign in, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// Whose word is taken for who they are: one of the issuers, or the development issuer.
    pub issuer: IssuerId,
    /// What their tokens' `aud` must be or contain; no token of an agent may have it.
    pub audience: String,
    /// The OAuth client by which they sign in; no agent's.
    pub client_id: ActorId,
    /// The scopes that are asked for when they do.
    pub scopes: Vec<String>,
    /// Where their tokens say what.
    pub claims: PersonClaims,
    /// The groups that have each role.
    pub roles: BTreeMap<Role, BTreeSet<String>>,
    /// The groups whose members decide for every tenant.
    pub all_tenants: BTreeSet<String>,
}

/// Where in a token's claims each part of a person stands: JSON pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonClaims {
    /// The immutable id.
    pub person: String,
    /// The address by which others write them.
    pub address: Option<String>,
    /// Whether that is theirs.
    pub address_verified: String,
    /// Their groups.
    pub groups: Option<String>,
    /// The tenants they decide for.
    pub tenants: Option<String>,
}

/// Where it is written how people sign in.
#[derive(Debug, Clone)]
pub struct PeopleWritten {
    /// At whom they sign in; where nobody says so, `people` itself.
    pub issuer: Place,
    /// The claim by which they are known.
    pub person: Place,
    /// The client by which they sign in.
    pub client_id: Place,
}

pub(crate) const ROLES: [(&str, Role); 3] =
    [("operator", Role::Operator), ("auditor", Role::Auditor), ("viewer", Role::Viewer)];

/// Where a token says whether an address is its bearer's, if nobody says otherwise (OpenID Connect).
pub(crate) const VERIFIED: &str = "/email_verified";

/// What is asked for at sign-in if nobody says otherwise.
pub(crate) const SCOPES: [&str; 2] = ["openid", "email"];

/// The gateway's own audiences and issuers. `own` is the development issuer's name, if it is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Among<'a> {
    pub(crate) issuers: &'a [Issuer],
    /// Whether there are more, which could not be read.
    pub(crate) unread: bool,
    pub(crate) own: Option<&'a str>,
    pub(crate) public_url: Option<&'a str>,
}

/// Reads `people:`.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    among: Among<'_>,
) -> Option<(People, PeopleWritten)> {
    let mut fields = decoder.fields(item)?;
    let issuer = fields.optional("issuer");
    let told = issuer.map(|item| item.span());
    let issuer = issuer.map(|item| decoder.name(item, IssuerId::new));
    let audience = fields.required(decoder, "audience").and_then(|item| line(decoder, item));
    let client =
        fields.required(decoder, "client_id").and_then(|item| decoder.name(item, ActorId::new));
    let scopes = fields.optional("scopes").map(|item| words(decoder, item));
    let claims = fields.required(decoder, "claims").and_then(|item| decode_claims(decoder, item));
    let roles = fields.optional("roles").map(|item| decode_roles(decoder, item));
    let all_tenants = fields.optional("all_tenants").map(|item| groups(decoder, item));
    let open = fields.open();
    fields.finish(decoder);
    let issuer = match issuer {
        Some(issuer) => issuer.and_then(|issuer| trusted(decoder, issuer, among)),
        None => own(decoder, open, among),
    };
    let (audience, client, claims) = (audience?, client?, claims?);
    check_audience(decoder, &audience, among);
    let written = PeopleWritten {
        issuer: decoder.place(told.unwrap_or(open)),
        person: decoder.place(claims.person.span),
        client_id: decoder.place(client.span),
    };
    let scopes = scopes.unwrap_or_else(|| SCOPES.map(str::to_owned).into());
    let people = People {
        issuer: issuer?,
        audience: audience.value,
        client_id: client.value,
        scopes,
        claims: claims.value(),
        roles: roles.unwrap_or_default(),
        all_tenants: all_tenants.unwrap_or_default(),
    };
    Some((people, written))
}

struct Claims {
    person: Spanned<String>,
    address: Option<String>,
    address_verified: String,
    groups: Option<String>,
    tenants: Option<String>,
}

impl Claims {
    fn value(self) -> PersonClaims {
        let Self { person, address, address_verified, groups, tenants } = self;
        PersonClaims { person: person.value, address, address_verified, groups, tenants }
    }
}

fn decode_claims(decoder: &mut Decoder, item: Item<'_>) -> Option<Claims> {
    let mut fields = decoder.fields(item)?;
    let person = fields
        .required(decoder, "person")
        .and_then(|item| Some(Spanned { value: pointer(decoder, item)?, span: item.span() }));
    let mut optional =
        |decoder: &mut Decoder, key| fields.optional(key).and_then(|item| pointer(decoder, item));
    let address = optional(decoder, "address");
    let verified = optional(decoder, "address_verified");
    let groups = optional(decoder, "groups");
    let tenants = optional(decoder, "tenants");
    fields.finish(decoder);
    let address_verified = verified.unwrap_or_else(|| VERIFIED.to_owned());
    Some(Claims { person: person?, address, address_verified, groups, tenants })
}

fn decode_roles(decoder: &mut Decoder, item: Item<'_>) -> BTreeMap<Role, BTreeSet<String>> {
    let Some(mut fields) = decoder.fields(item) else { return BTreeMap::new() };
    let mut roles = BTreeMap::new();
    for (name, role) in ROLES {
        if let Some(item) = fields.optional(name) {
            roles.insert(role, groups(decoder, item));
        }
    }
    fields.finish(decoder);
    roles
}

fn groups(decoder: &mut Decoder, item: Item<'_>) -> BTreeSet<String> {
    decoder.lines(item).into_iter().map(|line| line.value).collect()
}

fn words(decoder: &mut Decoder, item: Item<'_>) -> Vec<String> {
    decoder.lines(item).into_iter().map(|line| line.value).collect()
}

fn line(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<String>> {
    Some(Spanned { value: decoder.line(item)?, span: item.span() })
}

/// Only who is trusted at all is trusted with people. A workload's issuer knows none.
fn trusted(
    decoder: &mut Decoder,
    Spanned { value, span }: Spanned<IssuerId>,
    among: Among<'_>,
) -> Option<IssuerId> {
    let known = among.issuers.iter().find(|issuer| issuer.issuer == value);
    let person = known.is_some_and(|issuer| !issuer.is_spiffe());
    if person || among.own == Some(value.as_str()) {
        return Some(value);
    }
    if among.unread {
        return None; // It may be one of those, and they are reported.
    }
    let message = format!("`{value}` is not an issuer that knows people");
    decoder.report(Code::PeopleIssuer, span, message);
    decoder.help("name one of `issuers`");
    None
}

/// Where people sign in if nobody says: at the development issuer, or the one issuer there is.
fn own(decoder: &mut Decoder, open: Span, among: Among<'_>) -> Option<IssuerId> {
    let mut knowing = among.issuers.iter().filter(|issuer| !issuer.is_spiffe());
    match (among.own, knowing.next(), knowing.next()) {
        (Some(own), _, _) => IssuerId::new(own).ok(),
        (None, Some(one), None) => Some(one.issuer.clone()),
        (None, None, _) if among.issuers.is_empty() => None, // That is reported of the issuers.
        (None, _, _) => {
            let message = "nothing says at which issuer people sign in";
            decoder.report(Code::PeopleIssuer, open, message);
            decoder.help("name one of `issuers` under `issuer`");
            None
        }
    }
}

/// A token that is for both would be an agent's and a person's at once.
fn check_audience(decoder: &mut Decoder, audience: &Spanned<String>, among: Among<'_>) {
    let of_agents = among.issuers.iter().flat_map(|issuer| &issuer.audiences);
    let taken = of_agents.map(String::as_str).chain(among.public_url);
    let mcp = among.public_url.map(|url| format!("{url}/mcp"));
    if taken.chain(mcp.as_deref()).any(|taken| taken == audience.value) {
        let message = format!("`{}` is the audience of agents' tokens as well", audience.value);
        decoder.report(Code::PeopleAudience, audience.span, message);
        decoder.help("give people's tokens an audience of their own");
    }
}
