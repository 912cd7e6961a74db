//! `email:` of a system: a server that takes messages, and who they are from.

use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::Code;
use crate::gate::whole;
use crate::http::{decode_basic, decode_networks};
use crate::node::Kind;
use crate::system::{Backend, reference};
use countersign_core::recipient::{Domain, Recipient};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// A server that takes messages (RFC 5321, RFC 6409), and the wall around what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSpec {
    /// The deployment's reference that resolves to host and port.
    pub server: String,
    /// How it is spoken to.
    pub encryption: MailEncryption,
    /// The references that resolve to the name and the password.
    pub auth: Option<(String, String)>,
    /// The reference that resolves to certificates to trust, as PEM.
    pub authorities: Option<String>,
    /// Where its addresses may lie; without any, anywhere public.
    pub networks: Vec<IpNet>,
    /// Whose messages they are.
    pub from: Recipient,
    /// How that is called beside the address.
    pub from_name: Option<String>,
    /// To whom an answer goes, if not to `from`.
    pub reply_to: Option<Recipient>,
    /// The only domains that anything is sent to, whatever a tool says; without it, a tool's.
    pub domains: Option<BTreeSet<Domain>>,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailEncryption {
    /// TLS from the first byte (RFC 8314 §3.3).
    Tls,
    /// TLS after `STARTTLS` (RFC 3207), and nothing without it.
    StartTls,
    /// None, which only a server on the same machine may have.
    Off,
}

pub(crate) const ENCRYPTIONS: [(&str, MailEncryption); 3] = [
    ("tls", MailEncryption::Tls),
    ("starttls", MailEncryption::StartTls),
    ("none", MailEncryption::Off),
];

impl MailSpec {
    /// The references that it takes.
    #[must_use]
    pub fn references(&self) -> Vec<&str> {
        let auth = self.auth.iter().flat_map(|(user, password)| [user, password]);
        [&self.server]
            .into_iter()
            .chain(auth)
            .chain(&self.authorities)
            .map(String::as_str)
            .collect()
    }
}

pub(crate) fn decode(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Backend>> {
    let mut fields = decoder.fields(item)?;
    let spec = spec(decoder, &mut fields);
    fields.finish(decoder);
    let Spanned { value, span } = spec?;
    Some(Spanned { value: Backend::Email(Box::new(value)), span })
}

/// The server, where its reference stands.
pub(crate) fn spec(decoder: &mut Decoder, fields: &mut Fields<'_>) -> Option<Spanned<MailSpec>> {
    let server = fields.required(decoder, "server").and_then(|item| reference(decoder, item));
    let encryption =
        fields.required(decoder, "encryption").and_then(|item| decoder.choice(item, &ENCRYPTIONS));
    let auth = fields.optional("auth").map(|item| decode_auth(decoder, item));
    let authorities = decode_authorities(decoder, fields, encryption);
    let from = fields.required(decoder, "from").and_then(|item| decode_from(decoder, item));
    let reply_to = fields.optional("reply_to").map(|item| address(decoder, item));
    let domains = fields.optional("domains").map(|item| decode_domains(decoder, item));
    let networks = fields.optional("networks").map(|item| decode_networks(decoder, item));
    let (Spanned { value: server, span }, (from, from_name)) = (server?, from?);
    let value = MailSpec {
        server,
        encryption: encryption?,
        auth: whole(auth)?,
        authorities: whole(authorities)?,
        networks: networks.unwrap_or(Some(Vec::new()))?,
        from,
        from_name,
        reply_to: whole(reply_to)?,
        domains: whole(domains)?,
    };
    Some(Spanned { value, span })
}

/// As of an API: a name and a password, by reference.
fn decode_auth(decoder: &mut Decoder, item: Item<'_>) -> Option<(String, String)> {
    let mut fields = decoder.fields(item)?;
    let basic = fields.required(decoder, "basic").and_then(|item| decode_basic(decoder, item));
    fields.finish(decoder);
    basic
}

fn decode_authorities(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
    encryption: Option<MailEncryption>,
) -> Option<Option<String>> {
    let item = fields.optional("ca")?;
    if encryption == Some(MailEncryption::Off) {
        decoder.report(Code::BadValue, item.span(), "`ca` has no part in a connection without TLS");
        decoder.help("take one of `ca` and `encryption: none` out");
    }
    Some(reference(decoder, item).map(|known| known.value))
}

fn decode_from(decoder: &mut Decoder, item: Item<'_>) -> Option<(Recipient, Option<String>)> {
    let mut fields = decoder.fields(item)?;
    let from = fields.required(decoder, "address").and_then(|item| address(decoder, item));
    let name = fields.optional("name").map(|item| decoder.line(item));
    fields.finish(decoder);
    Some((from?, whole(name)?))
}

/// One bare address, as arguments of `format: email` are.
pub(crate) fn address(decoder: &mut Decoder, item: Item<'_>) -> Option<Recipient> {
    let text = decoder.line(item)?;
    let read = Recipient::parse(&text);
    if let Err(error) = &read {
        let message = format!("`{}` must be one mail address: {error}", item.name);
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("write it as `support@example.com`");
    }
    read.ok()
}

/// Domains that a message may go to: at least one.
pub(crate) fn decode_domains(decoder: &mut Decoder, item: Item<'_>) -> Option<BTreeSet<Domain>> {
    if matches!(&item.node.kind, Kind::List(nodes) if nodes.is_empty()) {
        let message = "`domains` is empty: a message could go nowhere";
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("name the domains that messages may go to");
        return None;
    }
    decoder.list(item)?;
    let lines = decoder.lines(item);
    let mut named = Vec::new();
    for Spanned { value, span } in &lines {
        match Domain::parse(value) {
            Ok(domain) => named.push((domain, *span)),
            Err(error) => {
                let message = format!("`{value}` is no domain of addresses: {error}");
                decoder.report(Code::BadValue, *span, message);
                decoder.help("write what follows the `@`, as `example.com`");
            }
        }
    }
    let names = named.iter().map(|(domain, span)| (domain.to_string(), *span));
    decoder.distinct("the domain", names);
    let whole = named.len() == lines.len();
    whole.then(|| named.into_iter().map(|(domain, _)| domain).collect())
}
