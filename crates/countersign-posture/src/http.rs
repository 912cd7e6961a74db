//! `http:` of a system: an API at one origin, in networks that are named.

use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::Code;
use crate::gate::whole;
use crate::node::Kind;
use crate::request::header_name;
use crate::system::{Backend, reference};
use ipnet::IpNet;

/// Shortest prefixes of a network, for IPv4 and IPv6: a shorter one names half the world.
const PREFIX_V4_MIN: u8 = 8;
const PREFIX_V6_MIN: u8 = 16;

/// What authorises the requests to an API: references of the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A bearer token (RFC 6750).
    Bearer(String),
    /// A name and a password (RFC 7617).
    Basic {
        /// The reference that resolves to the name.
        user: String,
        /// The reference that resolves to the password.
        password: String,
    },
    /// A header of the API's own.
    Header {
        /// Its name, in lower case.
        name: String,
        /// The reference that resolves to its value.
        value: String,
    },
}

impl Auth {
    pub(crate) fn references(&self) -> Vec<&str> {
        match self {
            Self::Bearer(token) => vec![token],
            Self::Basic { user, password } => vec![user, password],
            Self::Header { name: _, value } => vec![value],
        }
    }
}

pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Backend>> {
    let mut fields = decoder.fields(item)?;
    let origin = fields.required(decoder, "origin").and_then(|item| reference(decoder, item));
    let way = Way::decode(decoder, &mut fields);
    fields.finish(decoder);
    let Spanned { value: origin, span } = origin?;
    let Way { auth, networks, plaintext } = way?;
    Some(Spanned { value: Backend::Http { origin, auth, networks, plaintext }, span })
}

/// How a system is spoken to over HTTP, beside where it is.
pub(crate) struct Way {
    pub(crate) auth: Option<Auth>,
    pub(crate) networks: Vec<IpNet>,
    pub(crate) plaintext: bool,
}

impl Way {
    pub(crate) fn decode(decoder: &mut Decoder, fields: &mut Fields<'_>) -> Option<Self> {
        let auth = fields.optional("auth").map(|item| decode_auth(decoder, item));
        let networks = fields.optional("networks").map(|item| decode_networks(decoder, item));
        let plaintext = fields.optional("plaintext").map(|item| decoder.boolean(item));
        Some(Self {
            auth: whole(auth)?,
            networks: networks.unwrap_or(Some(Vec::new()))?,
            plaintext: plaintext.unwrap_or(Some(false))?,
        })
    }
}

fn decode_auth(decoder: &mut Decoder, item: Item<'_>) -> Option<Auth> {
    let mut fields = decoder.fields(item)?;
    let bearer = fields.optional("bearer").map(|item| {
        let token = reference(decoder, item)?.value;
        Some(Auth::Bearer(token))
    });
    let basic = fields.optional("basic").map(|item| {
        let (user, password) = decode_basic(decoder, item)?;
        Some(Auth::Basic { user, password })
    });
    let header = fields.optional("header").map(|item| {
        let mut fields = decoder.fields(item)?;
        let name = fields.required(decoder, "name").and_then(|item| {
            let text = decoder.line(item)?;
            match header_name(&text) {
                // Some APIs have a scheme of their own.
                Ok(name) | Err((Some(name), _)) if name == "authorization" => Some(name),
                Ok(name) => Some(name),
                Err((_, why)) => {
                    decoder.report(Code::BadRequest, item.span(), format!("`{text}` {why}"));
                    None
                }
            }
        });
        let value = fields.required(decoder, "value").and_then(|item| reference(decoder, item));
        fields.finish(decoder);
        Some(Auth::Header { name: name?, value: value?.value })
    });
    fields.finish(decoder);
    let mut found = [bearer, basic, header].into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(only), None) => only,
        _ => {
            let message = "`auth` needs one of `bearer`, `basic` and `header`";
            decoder.report(Code::BadValue, item.span(), message);
            None
        }
    }
}

/// References that resolve to a name and a password.
pub(crate) fn decode_basic(decoder: &mut Decoder, item: Item<'_>) -> Option<(String, String)> {
    let mut fields = decoder.fields(item)?;
    let user = fields.required(decoder, "user").and_then(|item| reference(decoder, item));
    let password = fields.required(decoder, "password").and_then(|item| reference(decoder, item));
    fields.finish(decoder);
    Some((user?.value, password?.value))
}

pub(crate) fn decode_networks(decoder: &mut Decoder, item: Item<'_>) -> Option<Vec<IpNet>> {
    if matches!(&item.node.kind, Kind::List(nodes) if nodes.is_empty()) {
        let message = "`networks` is empty: no address would do";
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("without `networks` every public address does, and no other");
        return None;
    }
    decoder.list(item)?;
    let lines = decoder.lines(item);
    let mut networks = Vec::new();
    for Spanned { value, span } in &lines {
        let network = value.parse::<IpNet>().ok();
        let Some(network) = network.filter(|network| network.trunc() == *network) else {
            let message = format!("`{value}` is no network: an address and a prefix length are");
            decoder.report(Code::BadValue, *span, message);
            let near = network.map(|network| format!("did you mean `{}`?", network.trunc()));
            decoder.helped(near.or_else(|| Some("write it as `10.1.0.0/16`".to_owned())));
            continue;
        };
        let (least, wide) = match network {
            IpNet::V4(v4) => (PREFIX_V4_MIN, v4.prefix_len() < PREFIX_V4_MIN),
            IpNet::V6(v6) => (PREFIX_V6_MIN, v6.prefix_len() < PREFIX_V6_MIN),
        };
        if wide {
            let message = format!("`{value}` is no network of one system: it is too large");
            decoder.report(Code::BadValue, *span, message);
            decoder.help(format!("name the networks that it is in, each of `/{least}` or longer"));
        }
        networks.push(network);
    }
    Some(networks)
}
