//! `countersign.yaml`: where a posture runs, whom it trusts, and what its references stand for.

use crate::agent::Stage;
use crate::bound::{FILE_BYTES_MAX, REFERENCE_BYTES_MAX};
use crate::decode::{Decoder, Fields, Item, Spanned};
use crate::finding::{Code, Finding, Place, Source, any_error, sort};
use crate::issuer::{self, Ground, Issuer};
use crate::load::{ReadError, read_text};
use crate::node::{Entry, Kind, Span};
use crate::people::{self, Among, People, PeopleWritten};
use crate::relay::{self, RelaySpec};
use crate::secret;
use crate::sign_off::{self, SignOff};
use countersign_core::id::SystemName;
use secrecy::SecretString;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A deployment, checked. All paths stand as written, relative to [`Deployment::base`].
#[derive(Debug)]
pub struct Deployment {
    /// The folder of the deployment file; relative paths start there.
    pub base: PathBuf,
    /// The posture's folder.
    pub posture: PathBuf,
    /// What is at stake here.
    pub environment: Environment,
    /// Where the doors listen.
    pub listen: SocketAddr,
    /// How clients reach the gateway: `http://` or `https://` and a host, no path.
    pub public_url: String,
    /// Further `Host`s that are answered.
    pub allowed_hosts: Vec<String>,
    /// Further `Origin`s that are answered.
    pub allowed_origins: Vec<String>,
    /// Whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// Whether the gateway issues tokens itself. Only ever in development, on a loopback address.
    pub development_issuer: bool,
    /// How people sign in; without it nobody can.
    pub people: Option<People>,
    /// Who has to sign a posture; in production it is always said.
    pub sign_off: Option<SignOff>,
    /// The journal.
    pub store: Store,
    /// What tails it.
    pub relay: RelaySpec,
    /// What the posture's references stand for.
    pub references: BTreeMap<String, Reference>,
    /// The folder for each system's own statement log.
    pub statement_logs: Option<PathBuf>,
    /// Where all of it is written.
    pub written: Written,
}

/// Where a deployment says what the machine has to have.
#[derive(Debug)]
pub struct Written {
    /// The posture's folder.
    pub posture: Place,
    /// The address to listen at.
    pub listen: Place,
    /// Each issuer's keys, in the order of the issuers.
    pub issuers: Vec<Place>,
    /// The journal.
    pub journal: Place,
    /// Its signing key.
    pub signing_key: Place,
    /// Each reference.
    pub references: BTreeMap<String, Place>,
    /// The folder of the statement logs, if there is one.
    pub statement_logs: Option<Place>,
    /// How people sign in, if it is said.
    pub people: Option<PeopleWritten>,
    /// Who has to sign, if it is said.
    pub sign_off: Option<Place>,
}

/// What is at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Nothing real.
    Development,
    /// Nothing real: where what is meant for production shows what it does.
    Staging,
    /// Customers' data.
    Production,
}

impl Environment {
    /// How far a grant must have come to exist here.
    pub(crate) const fn least(self) -> Stage {
        match self {
            Self::Development => Stage::Draft,
            Self::Staging => Stage::Staging,
            Self::Production => Stage::Production,
        }
    }
}

/// Where the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The SQLite database.
    pub sqlite: PathBuf,
    /// The key that signs its checkpoints.
    pub signing_key: PathBuf,
}

/// What a reference of the posture stands for, read only when it is needed.
#[derive(Debug, Clone)]
pub enum Reference {
    /// The value itself.
    Value(SecretString),
    /// The environment variable that holds it.
    Env(String),
    /// The file that holds it.
    File(PathBuf),
}

/// Why a reference stands for nothing. It never holds the value.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The environment has no such variable.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// The file cannot be read as text.
    #[error("`{path}` cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// There is nothing in it.
    #[error("the value is empty")]
    Empty,
}

impl Reference {
    /// The value: as written, from the environment by way of `env`, or a file's text (relative to
    /// `base`) without its last line end.
    ///
    /// # Errors
    /// [`ReferenceError`] if it is not set, not readable, too long or empty.
    pub fn resolve(
        &self,
        base: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, ReferenceError> {
        let value = match self {
            Self::Value(value) => return Ok(value.clone()),
            Self::Env(name) => env(name).ok_or_else(|| ReferenceError::Unset(name.clone()))?,
            Self::File(path) => {
                let path = base.join(path);
                let unreadable = |reason: String| {
                    let path = path.display().to_string();
                    ReferenceError::Unreadable { path, reason }
                };
                let mut text = String::new();
                // Asked first, because opening a named pipe would wait for its writer.
                let is_file = std::fs::metadata(&path).map(|what| what.is_file());
                if is_file.is_ok_and(|is_file| !is_file) {
                    return Err(unreadable("it is no file".to_owned()));
                }
                let bytes = File::open(&path)
                    .and_then(|file| {
                        let limit = REFERENCE_BYTES_MAX.saturating_add(1);
                        file.take(limit).read_to_string(&mut text)
                    })
                    .map_err(|error| unreadable(error.to_string()))?;
                if u64::try_from(bytes).is_ok_and(|bytes| bytes > REFERENCE_BYTES_MAX) {
                    return Err(unreadable(format!("longer than {REFERENCE_BYTES_MAX} bytes")));
                }
                let line = text.strip_suffix('\n').unwrap_or(&text);
                line.strip_suffix('\r').unwrap_or(line).to_owned()
            }
        };
        if value.is_empty() { Err(ReferenceError::Empty) } else { Ok(SecretString::from(value)) }
    }
}

/// Reads a deployment file. The deployment is there only if no finding is an error.
#[must_use]
pub fn load_deployment(file: &Path) -> (Option<Deployment>, Vec<Finding>) {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    let text = match read_text(file, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(ReadError { code, message }) => {
            let place = Place { source: Arc::new(Source::new(base, name, "")), span: 0..0 };
            return (None, vec![Finding { code, place, message, help: None }]);
        }
    };
    let (source, mut findings) = secret::blotted(Source::new(&base, name, text));
    let mut decoder = Decoder::new(source);
    let deployment = decode(&mut decoder, base);
    findings.append(&mut decoder.findings);
    sort(&mut findings);
    (deployment.filter(|_| !any_error(&findings)), findings)
}

/// A deployment file as plain data, to make another of. It is read as [`load_deployment`] reads it, and
/// held against nothing.
#[must_use]
pub fn deployment_data(file: &Path) -> Option<Value> {
    yaml_data(&read_text(file, FILE_BYTES_MAX).ok()?)
}

/// A text of YAML as plain data, read as all files here are, and held against nothing.
#[must_use]
pub fn yaml_data(text: &str) -> Option<Value> {
    let mut decoder = Decoder::new(Arc::new(Source::new("", "", text)));
    decoder.read()?.data(&mut |text| Some(text.to_owned()))
}

/// The posture's folder that a deployment file names, whatever else is wrong with it.
#[must_use]
pub fn posture_folder(file: &Path) -> Option<PathBuf> {
    let text = read_text(file, FILE_BYTES_MAX).ok()?;
    let mut decoder = Decoder::new(Arc::new(Source::new("", "", text)));
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the deployment", node: &node })?;
    let folder = fields.optional("posture").and_then(|item| path(&mut decoder, item))?;
    Some(file.parent()?.join(folder))
}

fn decode(decoder: &mut Decoder, base: PathBuf) -> Option<Deployment> {
    let node = decoder.read()?;
    let mut fields = decoder.fields(Item { name: "the deployment", node: &node })?;
    let posture = fields.required(decoder, "posture");
    let posture_place = posture.map(|item| decoder.place(item.span()));
    let posture = posture.and_then(|item| path(decoder, item));
    let environment = fields.required(decoder, "environment");
    let at_stake = environment.map(|item| item.span());
    let environment = environment.and_then(|item| decoder.choice(item, &ENVIRONMENTS));
    let listen = fields
        .required(decoder, "listen")
        .and_then(|item| Some(Spanned { value: address(decoder, item)?, span: item.span() }));
    let public_url = fields.required(decoder, "public_url").and_then(|item| url(decoder, item));
    let tls = fields.optional("tls").map(|item| decode_tls(decoder, item));
    let allowed_hosts = fields.optional("allowed_hosts").map(|item| decoder.lines(item));
    let allowed_origins = fields.optional("allowed_origins").map(|item| decoder.lines(item));
    let ground = Ground { public_url: public_url.as_deref(), environment };
    let trust = decode_trust(decoder, &mut fields, ground);
    let store = fields.required(decoder, "store").and_then(|item| decode_store(decoder, item));
    let relay = relay::decode(decoder, &mut fields);
    let (sign_off, sign_off_place) = decode_sign_off(decoder, &mut fields);
    let references = fields.optional("references");
    let references = references.map(|item| decode_references(decoder, item)).unwrap_or_default();
    let logs = fields.optional("statement_logs");
    let logs_place = logs.map(|item| decoder.place(item.span()));
    let statement_logs = logs.and_then(|item| path(decoder, item));
    fields.finish(decoder);
    check_plaintext(decoder, environment, listen.as_ref(), tls.is_some());
    if let (Some(Environment::Production), Some(span)) = (environment, at_stake) {
        relay::check_production(decoder, &relay, span);
        sign_off::check_production(decoder, sign_off_place.is_some(), span);
    }
    let development = trust.development.filter(|flag| flag.value);
    let development_issuer = development.is_some();
    if let Some(flag) = development {
        check_development(decoder, &flag, environment, listen.as_ref());
    } else if trust.nobody {
        report_nobody(decoder, node.span.start);
    }
    let (references, places) = references;
    let (people, of_people) = trust.people?.unzip();
    let (store, [journal, signing_key]) = store?;
    let written = Written {
        posture: posture_place?,
        listen: decoder.place(listen.as_ref()?.span),
        issuers: trust.keys,
        journal,
        signing_key,
        references: places,
        statement_logs: logs_place,
        people: of_people,
        sign_off: sign_off_place,
    };
    Some(Deployment {
        base,
        posture: posture?,
        environment: environment?,
        listen: listen?.value,
        public_url: public_url?,
        allowed_hosts: values(allowed_hosts),
        allowed_origins: values(allowed_origins),
        issuers: trust.issuers,
        development_issuer,
        people,
        sign_off,
        store,
        relay,
        references,
        statement_logs,
        written,
    })
}

/// Who has to sign, and where that is written. Of one that cannot be read an error is reported.
fn decode_sign_off(
    decoder: &mut Decoder,
    fields: &mut Fields<'_>,
) -> (Option<SignOff>, Option<Place>) {
    let Some(item) = fields.optional("sign_off") else { return (None, None) };
    (sign_off::decode(decoder, item), Some(decoder.place(item.span())))
}

/// Whose tokens are accepted.
struct Trust {
    issuers: Vec<Issuer>,
    keys: Vec<Place>,
    development: Option<Spanned<bool>>,
    /// Whether no issuer is written.
    nobody: bool,
    /// `None` if it is said how people sign in, and not soundly: that is no leave to do without.
    people: Option<Option<(People, PeopleWritten)>>,
}

fn decode_trust(decoder: &mut Decoder, fields: &mut Fields<'_>, ground: Ground<'_>) -> Trust {
    let issuers = fields.optional("issuers");
    let nobody =
        issuers.is_none_or(|item| matches!(&item.node.kind, Kind::List(nodes) if nodes.is_empty()));
    let development = fields
        .optional("development_issuer")
        .and_then(|item| Some(Spanned { value: decoder.boolean(item)?, span: item.span() }));
    let is_issuer = development.as_ref().is_some_and(|flag| flag.value);
    let written = issuers.map_or(0, |item| match &item.node.kind {
        Kind::List(nodes) => nodes.len(),
        _ => 0,
    });
    let issuers = issuers.map(|item| issuer::decode(decoder, item, (ground, is_issuer)));
    let (issuers, keys) = issuers.unwrap_or_default();
    let unread = issuers.len() < written;
    let public_url = ground.public_url;
    let own = public_url.filter(|_| is_issuer).map(|url| format!("{url}/dev"));
    let people = match fields.optional("people") {
        None => Some(None),
        Some(item) => {
            let among = Among { issuers: &issuers, unread, own: own.as_deref(), public_url };
            people::decode(decoder, item, among).map(Some)
        }
    };
    Trust { issuers, keys, development, nobody, people }
}

fn report_nobody(decoder: &mut Decoder, at: usize) {
    decoder.report(Code::NoIssuer, Span { start: at, end: at }, "nobody's tokens are accepted");
    decoder.help("name an issuer under `issuers`, or set `development_issuer: true`");
}

fn values(lines: Option<Vec<Spanned<String>>>) -> Vec<String> {
    lines.into_iter().flatten().map(|line| line.value).collect()
}

pub(crate) const ENVIRONMENTS: [(&str, Environment); 3] = [
    ("development", Environment::Development),
    ("staging", Environment::Staging),
    ("production", Environment::Production),
];

/// The development issuer gives anybody a token: only where nobody but the developer can ask.
fn check_development(
    decoder: &mut Decoder,
    flag: &Spanned<bool>,
    environment: Option<Environment>,
    listen: Option<&Spanned<SocketAddr>>,
) {
    if environment == Some(Environment::Production) {
        let message = "`development_issuer` is not for production: it gives anybody a token";
        decoder.report(Code::DevelopmentIssuer, flag.span, message);
    }
    if listen.is_some_and(|listen| !listen.value.ip().is_loopback()) {
        let message = "`development_issuer` needs `listen` on a loopback address";
        decoder.report(Code::DevelopmentIssuer, flag.span, message);
        decoder.help("listen on `127.0.0.1`");
    }
}

/// Tokens and customers' data cross no network in the clear.
fn check_plaintext(
    decoder: &mut Decoder,
    environment: Option<Environment>,
    listen: Option<&Spanned<SocketAddr>>,
    behind_proxy: bool,
) {
    let Some(listen) = listen.filter(|listen| !listen.value.ip().is_loopback()) else { return };
    if environment == Some(Environment::Production) && !behind_proxy {
        let message =
            format!("`{}` is reached from other machines, without encryption", listen.value);
        decoder.report(Code::PlaintextListener, listen.span, message);
        decoder.help("listen on a loopback address, or say what ends TLS before it: `tls: { terminated_by: … }`");
    }
}

/// What ends TLS before the gateway: a declaration for those who review the deployment.
fn decode_tls(decoder: &mut Decoder, item: Item<'_>) {
    let Some(mut fields) = decoder.fields(item) else { return };
    fields.required(decoder, "terminated_by").and_then(|item| decoder.line(item));
    fields.finish(decoder);
}

fn path(decoder: &mut Decoder, item: Item<'_>) -> Option<PathBuf> {
    decoder.line(item).map(PathBuf::from)
}

fn address(decoder: &mut Decoder, item: Item<'_>) -> Option<SocketAddr> {
    let text = decoder.line(item)?;
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("`{}` must be an address and a port, not `{text}`", item.name);
        decoder.report(Code::BadValue, item.span(), message);
        decoder.help("write it as `127.0.0.1:8787`");
    }
    address
}

/// Scheme and host, and nothing after them: the gateway's own paths follow.
fn url(decoder: &mut Decoder, item: Item<'_>) -> Option<String> {
    let text = decoder.line(item)?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '@' | '\\');
    if host.is_some_and(|host| !host.is_empty() && !host.contains(odd)) {
        return Some(text);
    }
    let message = format!("`{}` must be a URL without a path, not `{text}`", item.name);
    decoder.report(Code::BadValue, item.span(), message);
    decoder.help("write it as `https://countersign.example`");
    None
}

/// The store, and where its two files are written.
fn decode_store(decoder: &mut Decoder, item: Item<'_>) -> Option<(Store, [Place; 2])> {
    let mut fields = decoder.fields(item)?;
    let mut file = |decoder: &mut Decoder, key| {
        let item = fields.required(decoder, key)?;
        Some((path(decoder, item)?, decoder.place(item.span())))
    };
    let (sqlite, signing_key) = (file(decoder, "sqlite"), file(decoder, "signing_key"));
    fields.finish(decoder);
    let ((sqlite, journal), (signing_key, key)) = (sqlite?, signing_key?);
    Some((Store { sqlite, signing_key }, [journal, key]))
}

type References = (BTreeMap<String, Reference>, BTreeMap<String, Place>);

fn decode_references(decoder: &mut Decoder, item: Item<'_>) -> References {
    let entries = decoder.entries(item).unwrap_or_default();
    let mut references = References::default();
    for entry in entries {
        if let Some(reference) = decode_reference(decoder, entry) {
            references.0.insert(entry.key.clone(), reference);
            references.1.insert(entry.key.clone(), decoder.place(entry.key_span));
        }
    }
    references
}

fn decode_reference(decoder: &mut Decoder, entry: &Entry) -> Option<Reference> {
    let Entry { key, key_span, value } = entry;
    if let Err(error) = SystemName::new(key.as_str()) {
        decoder.report(Code::BadName, *key_span, format!("`{key}` {error}"));
    }
    let mut fields = decoder.fields(Item { name: key, node: value })?;
    let plain = fields.optional("value").map(|item| decoder.line(item));
    let env = fields.optional("env").map(|item| decoder.line(item));
    let file = fields.optional("file").map(|item| path(decoder, item));
    fields.finish(decoder);
    match (plain, env, file) {
        (Some(value), None, None) => value.map(|value| Reference::Value(SecretString::from(value))),
        (None, Some(name), None) => name.map(Reference::Env),
        (None, None, Some(path)) => path.map(Reference::File),
        _ => {
            let message = format!("the reference `{key}` needs one of `value`, `env` and `file`");
            decoder.report(Code::BadValue, *key_span, message);
            None
        }
    }
}
