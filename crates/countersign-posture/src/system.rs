//! `systems/NAME.yaml`: one production system and the bounds of everything that is asked of it.

use crate::bound::{
    CONCURRENCY_DEFAULT, CONCURRENCY_MAX, RESULT_BYTES_MAX, ROWS_MAX, TIMEOUT_MS_MAX,
};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::email::{self, MailSpec};
use crate::finding::{Code, Place, Source};
use crate::http::{self, Auth};
use crate::mcp::{self, McpSpec};
use crate::sql::Dialect;
use crate::vendor;
use countersign_core::id::{SystemName, VendorName};
use countersign_core::tool::ResultBounds;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A production system of the posture. Its tools' plans carry the timeout and bounds already.
#[derive(Debug, Clone)]
pub struct SystemSpec {
    /// Its name.
    pub name: SystemName,
    /// What it is, and where by reference.
    pub backend: Backend,
    /// How long one statement may run, in milliseconds.
    pub timeout_ms: u32,
    /// What may come back from a tool that does not say otherwise.
    pub bounds: ResultBounds,
    /// Most statements at once.
    pub concurrency: u32,
    /// Who runs it or wrote it, if that is another company.
    pub vendors: Vec<VendorName>,
    /// Where the reference is written.
    pub place: Place,
}

impl SystemSpec {
    /// One that takes the place of a system with a mistake, where nothing is asked of it.
    pub(crate) fn stand_in() -> Option<Self> {
        Some(Self {
            name: SystemName::new("unknown").ok()?,
            backend: Backend::Sqlite { database: String::new() },
            timeout_ms: 1,
            bounds: ResultBounds { rows_max: 1, bytes_max: 1 },
            concurrency: 1,
            vendors: Vec::new(),
            place: Place { source: Arc::new(Source::new("", "", "")), span: 0..0 },
        })
    }
}

/// How a system is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// An SQLite database.
    Sqlite {
        /// The deployment's reference that resolves to its file.
        database: String,
    },
    /// A PostgreSQL database.
    Postgres {
        /// The deployment's reference that resolves to where it is and as whom it is spoken to.
        connection: String,
        /// The setting that tells it the tenant.
        tenant_setting: String,
        /// How it is spoken to; `None` where its place decides.
        encryption: Option<Encryption>,
        /// The deployment's reference that resolves to certificates to trust, as PEM.
        authorities: Option<String>,
        /// Tables that hold nothing of any one tenant, so that no policy need keep tenants apart.
        shared: BTreeSet<String>,
    },
    /// An HTTP API.
    Http {
        /// The deployment's reference that resolves to scheme, host and port.
        origin: String,
        /// What its requests are authorised by.
        auth: Option<Auth>,
        /// Where its addresses may lie; without any, anywhere public.
        networks: Vec<IpNet>,
        /// Whether it may be spoken to without encryption on other machines.
        plaintext: bool,
    },
    /// A mail server.
    Email(Box<MailSpec>),
    /// An MCP server.
    Mcp(Box<McpSpec>),
}

/// How a database is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS, verified down to the host's name.
    VerifyFull,
    /// None, which only a database on the same machine may have.
    Off,
}

pub(crate) const ENCRYPTIONS: [(&str, Encryption); 2] =
    [("verify-full", Encryption::VerifyFull), ("none", Encryption::Off)];

impl Backend {
    /// The deployment's references that it needs.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let references = match self {
            Self::Sqlite { database } => vec![database.as_str()],
            Self::Postgres { connection, authorities, .. } => {
                [connection].into_iter().chain(authorities).map(String::as_str).collect()
            }
            Self::Http { origin, auth, .. } => {
                let auth = auth.iter().flat_map(Auth::references);
                std::iter::once(origin.as_str()).chain(auth).collect()
            }
            Self::Email(spec) => spec.references(),
            Self::Mcp(spec) => spec.references(),
        };
        references.into_iter()
    }
}

/// How the systems read a statement, by name.
#[derive(Debug)]
pub(crate) struct Dialects(BTreeMap<SystemName, Dialect>);

impl Dialects {
    /// Of those systems of which it is known.
    pub(crate) fn new<'a>(files: impl Iterator<Item = &'a SystemFile>) -> Self {
        let known = files.filter_map(|file| match file.takes? {
            Takes::Statements(dialect) => Some((file.name.as_ref()?.value.clone(), dialect)),
            Takes::Requests | Takes::Messages | Takes::Definitions => None,
        });
        Self(known.collect())
    }

    /// How a system reads a statement. One that there is not, by mistake, reads it as all others do,
    /// if they do so alike.
    pub(crate) fn of(&self, name: &SystemName) -> Option<Dialect> {
        let mut all = self.0.values();
        let alike = all.next().filter(|first| all.all(|other| other == *first));
        self.0.get(name).or(alike).copied()
    }
}

/// What a system can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// SQL, read in this way.
    Statements(Dialect),
    /// HTTP requests.
    Requests,
    /// Messages.
    Messages,
    /// Requests for what it defines.
    Definitions,
}

/// What a system's file says.
#[derive(Debug)]
pub(crate) struct SystemFile {
    pub(crate) name: Option<Spanned<SystemName>>,
    /// `None` if it does not say how it is reached.
    pub(crate) takes: Option<Takes>,
    pub(crate) vendors: Vec<Spanned<VendorName>>,
    pub(crate) spec: Option<SystemSpec>,
}

pub(crate) fn decode(decoder: &mut Decoder) -> Option<SystemFile> {
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the system", node: &node })?;
    let name =
        fields.required(decoder, "system").and_then(|item| decoder.name(item, SystemName::new));
    if let Some(name) = &name {
        decoder.named_after_file(name.value.as_str(), name.span);
    }
    let backend = decode_backend(decoder, &mut fields);
    let timeout_ms = fields
        .required(decoder, "timeout")
        .and_then(|item| decoder.quantity(item, &DURATIONS, TIMEOUT_MS_MAX));
    let rows_max = fields.required(decoder, "rows").and_then(|item| decoder.count(item, ROWS_MAX));
    let bytes_max = fields
        .required(decoder, "bytes")
        .and_then(|item| decoder.quantity(item, &SIZES, RESULT_BYTES_MAX));
    let concurrency = match fields.optional("concurrency") {
        Some(item) => decoder.count(item, CONCURRENCY_MAX),
        None => Some(CONCURRENCY_DEFAULT),
    };
    let vendors = fields.optional("vendor").map(|item| vendor::named(decoder, item));
    let vendors = vendors.unwrap_or_default();
    fields.finish(decoder);
    let (takes, backend) = backend.map_or((None, None), |(of, backend)| (Some(of), backend));
    let spec = || {
        let Spanned { value: backend, span } = backend?;
        Some(SystemSpec {
            name: name.as_ref()?.value.clone(),
            backend,
            timeout_ms: timeout_ms?,
            bounds: ResultBounds { rows_max: rows_max?, bytes_max: bytes_max? },
            concurrency: concurrency?,
            vendors: vendors.iter().map(|name| name.value.clone()).collect(),
            place: decoder.place(span),
        })
    };
    let spec = spec();
    Some(SystemFile { name, takes, vendors, spec })
}

/// The one key that says what the system is, what it takes, and how it is reached.
fn decode_backend(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
) -> Option<(Takes, Option<Spanned<Backend>>)> {
    let sqlite = fields.optional("sqlite");
    let sqlite =
        sqlite.map(|item| (item, Takes::Statements(Dialect::Sqlite), decode_sqlite(decoder, item)));
    let postgres = fields.optional("postgres");
    let statements = Takes::Statements(Dialect::Postgres);
    let postgres = postgres.map(|item| (item, statements, decode_postgres(decoder, item)));
    let http = fields.optional("http");
    let http = http.map(|item| (item, Takes::Requests, http::decode(decoder, item)));
    let email = fields.optional("email");
    let email = email.map(|item| (item, Takes::Messages, email::decode(decoder, item)));
    let mcp = fields.optional("mcp");
    let mcp = mcp.map(|item| (item, Takes::Definitions, mcp::decode(decoder, item)));
    let mut found = [sqlite, postgres, http, email, mcp].into_iter().flatten();
    let Some((_, takes, backend)) = found.next() else {
        let message = "the system needs one of `sqlite`, `postgres`, `http`, `email` and `mcp`";
        decoder.report(Code::MissingKey, fields.open(), message);
        return None;
    };
    let Some((another, ..)) = found.next() else { return Some((takes, backend)) };
    let message = format!("`{}` says that the system is something else, too", another.name);
    decoder.report(Code::BadValue, another.span(), message);
    None
}

fn decode_sqlite(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Backend>> {
    let mut fields = decoder.fields(item)?;
    let database = fields.required(decoder, "database").and_then(|item| reference(decoder, item));
    fields.finish(decoder);
    let Spanned { value: database, span } = database?;
    Some(Spanned { value: Backend::Sqlite { database }, span })
}

fn decode_postgres(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<Backend>> {
    let mut fields = decoder.fields(item)?;
    let connection =
        fields.required(decoder, "connection").and_then(|item| reference(decoder, item));
    let tenant_setting = match fields.optional("tenant_setting") {
        Some(item) => setting(decoder, item),
        None => Some(TENANT_SETTING.to_owned()),
    };
    let encryption = fields.optional("tls").map(|item| decoder.choice(item, &ENCRYPTIONS));
    let shared = fields.optional("shared").map(|item| decoder.lines(item)).unwrap_or_default();
    let names = shared.iter().map(|name| (name.value.clone(), name.span));
    decoder.distinct("the shared table", names);
    let authorities = fields.optional("ca");
    let idle = authorities.filter(|_| encryption == Some(Some(Encryption::Off)));
    let authorities = authorities.map(|item| reference(decoder, item));
    if let Some(item) = idle {
        decoder.report(Code::BadValue, item.span(), "`ca` has no part in a connection without TLS");
        decoder.help("take one of `ca` and `tls: none` out");
    }
    fields.finish(decoder);
    let Spanned { value: connection, span } = connection?;
    let value = Backend::Postgres {
        connection,
        tenant_setting: tenant_setting?,
        encryption: encryption.map_or(Some(None), |known| known.map(Some))?,
        authorities: authorities
            .map_or(Some(None), |known| known.map(|known| Some(known.value)))?,
        shared: shared.into_iter().map(|name| name.value).collect(),
    };
    Some(Spanned { value, span })
}

/// A reference is a name like any other; the deployment's keys are checked the same way.
pub(crate) fn reference(decoder: &mut Decoder, item: Item<'_>) -> Option<Spanned<String>> {
    let Spanned { value, span } = decoder.name(item, SystemName::new)?;
    Some(Spanned { value: value.to_string(), span })
}

/// A setting with a dot in its name: those without are the server's own, `role` among them.
fn setting(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let text = decoder.line(item)?;
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let parts = text.split_once('.');
    if text.len() <= SETTING_BYTES_MAX
        && parts.is_some_and(|(group, name)| plain(group) && plain(name))
    {
        return Some(text);
    }
    let message = format!("`{}` must be a setting of your own, not `{text}`", item.name);
    decoder.report(Code::BadValue, item.span(), message);
    decoder.help(format!("write it as `{TENANT_SETTING}`"));
    None
}

/// The setting that tells a database the tenant, unless it has another.
const TENANT_SETTING: &str = "app.tenant";
/// Longest name of a setting, in bytes, as PostgreSQL keeps names.
pub(crate) const SETTING_BYTES_MAX: usize = 63;

pub(crate) const DURATIONS: [(&str, u32); 3] = [("m", 60_000), ("s", 1_000), ("ms", 1)];
pub(crate) const SIZES: [(&str, u32); 3] = [("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];
