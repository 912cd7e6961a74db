//! `issuers:` of a deployment: whose tokens are accepted, and by which keys.

use crate::decode::{Decoder, Item, Spanned};
use crate::deployment::Environment;
use crate::finding::{Code, Place};
use crate::node::{Node, Span};
use countersign_core::id::{IssuerId, TenantId};
use std::{collections::BTreeSet, path::PathBuf};

/// Somebody whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The token's `iss`; of a SPIFFE trust domain, `spiffe://` and its name.
    pub issuer: IssuerId,
    /// What the token's `aud` must be or contain: one of these.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// The algorithms accepted; at least one.
    pub algorithms: Vec<Algorithm>,
    /// The one tenant that all its tokens are for, whatever they say.
    pub tenant: Option<TenantId>,
    /// The tenants that its tokens may be for; any if there is none.
    pub tenants: BTreeSet<TenantId>,
    /// Whether its tokens must call themselves `at+jwt` (RFC 9068).
    pub require_at_jwt: bool,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A JWK set on this machine.
    File(PathBuf),
    /// A JWK set that is fetched from here.
    Url(String),
    /// A JWK set that the issuer's own metadata leads to.
    Discovery,
}

/// A signature algorithm (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Edwards curves.
    EdDsa,
}

pub(crate) const ALGORITHMS: [(&str, Algorithm); 3] =
    [("ES256", Algorithm::Es256), ("RS256", Algorithm::Rs256), ("EdDSA", Algorithm::EdDsa)];

/// What stands before the name of a SPIFFE trust domain.
const SPIFFE: &str = "spiffe://";

impl Issuer {
    /// Whether it is a SPIFFE trust domain, whose tokens (JWT-SVIDs) name no issuer.
    #[must_use]
    pub fn is_spiffe(&self) -> bool {
        self.issuer.as_str().starts_with(SPIFFE)
    }
}

/// Where the deployment is and how it is reached, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) public_url: Option<&'a str>,
    pub(crate) environment: Option<Environment>,
}

/// The issuers, and where each says where its keys are. `own` is the gateway's own, if it is one.
pub(crate) fn decode(
    decoder: &mut Decoder,
    item: Item<'_>,
    (ground, own): (Ground<'_>, bool),
) -> (Vec<Issuer>, Vec<Place>) {
    let nodes = decoder.list(item).unwrap_or_default();
    let issuers: Vec<_> =
        nodes.iter().filter_map(|node| decode_issuer(decoder, node, ground)).collect();
    let names = issuers.iter().map(|(issuer, _)| (issuer.value.issuer.to_string(), issuer.span));
    decoder.distinct("the issuer", names);
    let own = ground.public_url.filter(|_| own).map(|url| format!("{url}/dev"));
    for (Spanned { value, span }, _) in &issuers {
        if own.as_deref() == Some(value.issuer.as_str()) {
            let message = format!("`{}` is the development issuer's own name", value.issuer);
            decoder.report(Code::Duplicate, *span, message);
            decoder.help("take it out, or `development_issuer: true`");
        }
    }
    issuers.into_iter().map(|(issuer, keys)| (issuer.value, decoder.place(keys))).unzip()
}

fn decode_issuer(
    decoder: &mut Decoder,
    node: &Node,
    ground: Ground<'_>,
) -> Option<(Spanned<Issuer>, Span)> {
    let mut fields = decoder.fields(Item { name: "issuers", node })?;
    let issuer =
        fields.required(decoder, "issuer").and_then(|item| decoder.name(item, IssuerId::new));
    let audiences = match fields.optional("audience") {
        Some(item) => decoder.line(item).map(|audience| vec![audience]),
        // Clients ask for tokens for the gateway, or for its MCP endpoint.
        None => ground.public_url.map(|url| vec![url.to_owned(), format!("{url}/mcp")]),
    };
    let file = fields.optional("keys");
    let written = file.map(|item| item.span());
    let file = file.map(|item| decoder.line(item));
    let url = fields.optional("jwks_url").map(|item| fetched(decoder, item, ground));
    let discovery = fields.optional("discovery");
    let discovers = discovery.and_then(|item| decoder.boolean(item)).unwrap_or(false);
    let algorithms =
        fields.required(decoder, "algorithms").and_then(|item| decode_algorithms(decoder, item));
    let tenant = fields.optional("tenant").map(|item| decoder.name(item, TenantId::new));
    let tenants = fields.optional("tenants").map(|item| decode_tenants(decoder, item));
    let at_jwt = fields.optional("require_at_jwt").map(|item| decoder.boolean(item));
    let open = fields.open();
    fields.finish(decoder);
    let keys = match (file, url, discovers) {
        (Some(path), None, false) => path.map(|path| KeySource::File(PathBuf::from(path))),
        (None, Some(url), false) => url.map(KeySource::Url),
        (None, None, true) => Some(KeySource::Discovery),
        _ => {
            let message = "an issuer needs one of `keys`, `jwks_url` and `discovery: true`";
            decoder.report(Code::IssuerKeys, open, message);
            None
        }
    };
    let Spanned { value: issuer, span } = issuer?;
    let value = Issuer {
        issuer,
        audiences: audiences?,
        keys: keys?,
        algorithms: algorithms?,
        tenant: tenant.map(|tenant| tenant.map(|name| name.value)).unwrap_or_default(),
        tenants: tenants.unwrap_or_default(),
        require_at_jwt: at_jwt.flatten().unwrap_or(false),
    };
    check(decoder, &value, span, ground);
    Some((Spanned { value, span }, written.unwrap_or(span)))
}

fn check(decoder: &mut Decoder, issuer: &Issuer, span: Span, ground: Ground<'_>) {
    let name = issuer.issuer.as_str();
    if issuer.is_spiffe() {
        if issuer.tenant.is_none() {
            let message = format!("tokens of `{name}` name no tenant, and nothing else does");
            decoder.report(Code::IssuerTenant, span, message);
            decoder.help("write `tenant:`, the one tenant that its workloads act for");
        }
        if issuer.keys == KeySource::Discovery {
            let message = format!("`{name}` has no metadata to discover");
            decoder.report(Code::IssuerKeys, span, message);
            decoder.help("name its bundle, by `keys` or `jwks_url`");
        }
    } else if issuer.keys == KeySource::Discovery && !reachable(name, ground.environment) {
        decoder.report(Code::IssuerKeys, span, UNREACHABLE);
    }
    if let (Some(tenant), false) = (&issuer.tenant, issuer.tenants.is_empty())
        && !issuer.tenants.contains(tenant)
    {
        let message =
            format!("all tokens of `{name}` are for `{tenant}`, which is not in `tenants`");
        decoder.report(Code::IssuerTenant, span, message);
        decoder.help("take one of them out");
    }
}

/// Nor is anything but scheme, host, port and path read: a user or a query would be shown in logs.
const UNREACHABLE: &str =
    "keys are fetched over https alone; over http only in development, from this machine";

/// Keys that anybody on the way can change are nobody's.
fn reachable(url: &str, environment: Option<Environment>) -> bool {
    let here = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    // After the host nothing but a port and a path: `http://127.0.0.1:@elsewhere` is elsewhere.
    let local = here.iter().any(|begin| {
        url.strip_prefix(begin).is_some_and(|rest| {
            let port = rest.split('/').next().unwrap_or_default();
            port.is_empty()
                || port.strip_prefix(':').is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
        })
    });
    let bare = !url.contains(['@', '?', '#', '\\']);
    bare && (url.starts_with("https://") || (local && environment != Some(Environment::Production)))
}

fn fetched(decoder: &mut Decoder, item: Item<'_>, ground: Ground<'_>) -> Option<String> {
    let url = decoder.line(item)?;
    if !reachable(&url, ground.environment) {
        decoder.report(Code::IssuerKeys, item.span(), UNREACHABLE);
        return None;
    }
    Some(url)
}

fn decode_tenants(decoder: &mut Decoder, item: Item<'_>) -> BTreeSet<TenantId> {
    let nodes = decoder.list(item).unwrap_or_default();
    if nodes.is_empty() {
        decoder.report(Code::IssuerTenant, item.span(), "`tenants` is empty: no token would do");
    }
    let named = |node| Item { name: item.name, node };
    nodes
        .iter()
        .filter_map(|node| decoder.name(named(node), TenantId::new))
        .map(|name| name.value)
        .collect()
}

fn decode_algorithms(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<Algorithm>> {
    let nodes = decoder.list(item)?;
    if nodes.is_empty() {
        decoder.report(Code::BadValue, item.span(), "`algorithms` is empty: no token would do");
    }
    let named = |node| Item { name: item.name, node };
    let found: Vec<_> = nodes.iter().map(|node| decoder.choice(named(node), &ALGORITHMS)).collect();
    found.into_iter().collect()
}
