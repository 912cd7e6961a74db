//! What a deployment needs of the machine that serves it, judged whole: `serve` starts if nothing is
//! missing, and `check --here` tells the same before.

use crate::assemble::{Posture, store};
use crate::evidence::cover;
use crate::machine::{self, SystemClock};
use crate::render::{Doing, Failure};
use countersign_connectors::{
    Credential, CredentialError, EmailSystem, Encryption, HttpSystem, MailEncryption, MailServer,
    MailServerError, McpReach, McpSystem, Networks, Origin, PostgresSystem, Postman, Program,
    SqliteSystem, System, SystemNames, Unreachable,
};
use countersign_core::id::SystemName;
use countersign_core::tool::{Pin, Plan};
use countersign_gateway::identity::{
    Algorithm, Fetched, IssuerConfig, KeySet, KeySource, Place as KeyPlace, Tenancy,
};
use countersign_posture::{
    Auth, Backend, Code, Deployment, Environment, ExportTo, Finding, Issuer, Loaded, MailSpec,
    McpSpec, Reference, SystemSpec, sort,
};
use countersign_relay::{Destination, Means, Sink, Template, Webhook};
use countersign_store::{SqliteStore, StoreError};
use secrecy::{ExposeSecret, SecretString};
use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::{collections::BTreeMap, fs, sync::Arc};

/// The systems of a posture, as the deployment resolves them on this machine.
#[derive(Default)]
pub(crate) struct Systems {
    /// Those that have all they need.
    pub(crate) at: BTreeMap<SystemName, System>,
    /// What keeps each of the others from being used here.
    pub(crate) missing: BTreeMap<SystemName, Vec<Finding>>,
    /// What is wrong with values that the deployment itself holds: on every machine.
    pub(crate) wrong: Vec<Finding>,
}

/// Whose tokens are accepted, and everything that keeps `serve` from starting here but that another
/// gateway runs already: the journal and the address are that one's until it ends.
/// Whether the posture is what was signed is told with it: files beside the posture say so.
pub(crate) fn look(
    deployment: &Deployment,
    posture: Option<&Posture>,
) -> (Vec<IssuerConfig>, Vec<Finding>) {
    let (issuers, mut missing) = issuers(deployment);
    let systems =
        posture.into_iter().flat_map(|posture| posture.systems.missing.values().flatten());
    missing.extend(systems.cloned());
    missing.extend(destinations(deployment).missing);
    missing.extend(exporters(deployment));
    missing.extend(journal(deployment));
    missing.extend(logs(deployment));
    missing.extend(listener(deployment));
    let signed = |posture: &Posture| cover(deployment, (&posture.loaded, None)).1;
    missing.extend(posture.into_iter().flat_map(signed));
    sort(&mut missing);
    // Two systems may miss the same.
    missing.dedup_by(|a, b| a.to_string() == b.to_string());
    (issuers, missing)
}

// ── issuers ─────────────────────────────────────────────────────────────────────────────────────

fn issuers(deployment: &Deployment) -> (Vec<IssuerConfig>, Vec<Finding>) {
    let mut configs = Vec::new();
    let mut missing = Vec::new();
    for (written, place) in deployment.issuers.iter().zip(&deployment.written.issuers) {
        match issuer(deployment, written) {
            Ok(config) => configs.push(config),
            Err(failure) => missing.push(Finding {
                code: Code::AbsentKeys,
                place: place.clone(),
                message: failure.to_string(),
                help: Some("put the issuer's JWK set there: its public keys".to_owned()),
            }),
        }
    }
    (configs, missing)
}

pub(crate) fn issuer(deployment: &Deployment, written: &Issuer) -> Result<IssuerConfig, Failure> {
    let Issuer { issuer, audiences, keys, algorithms, tenant, tenants, require_at_jwt } = written;
    let purpose = if written.is_spiffe() { "jwt-svid" } else { "sig" };
    let fetched = |place| {
        let fetched = Fetched::new(place, purpose).doing(format!("the issuer `{issuer}`"))?;
        Ok(KeySource::Fetched(Arc::new(fetched)))
    };
    let keys = match keys {
        countersign_posture::KeySource::File(path) => {
            let path = deployment.base.join(path);
            let text = regular(&path).doing(path.display())?;
            let keys = match purpose {
                "sig" => KeySet::parse(&text),
                purpose => KeySet::usable(&text, purpose), // A bundle holds other keys as well.
            };
            KeySource::Fixed(Arc::new(keys.doing(path.display())?))
        }
        countersign_posture::KeySource::Url(url) => fetched(KeyPlace::KeySet(url.clone()))?,
        countersign_posture::KeySource::Discovery => {
            fetched(KeyPlace::Metadata(issuer.as_str().to_owned()))?
        }
    };
    let config = IssuerConfig {
        issuer: issuer.as_str().to_owned(),
        audiences: audiences.clone(),
        algorithms: algorithms.iter().copied().map(algorithm).collect(),
        keys,
        tenancy: Tenancy { only: tenant.clone(), among: tenants.clone() },
        require_at_jwt: *require_at_jwt,
    };
    config.check().map_err(Failure::new)?;
    Ok(config)
}

/// The bytes of a file. Asked first what it is: opening a named pipe would wait for its writer.
fn regular(path: &Path) -> std::io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(KEYS_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > KEYS_BYTES_MAX) {
        return Err(std::io::Error::other(format!("it is larger than {KEYS_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Largest file of an issuer's keys, in bytes.
const KEYS_BYTES_MAX: u64 = 1024 * 1024;

fn algorithm(written: countersign_posture::Algorithm) -> Algorithm {
    match written {
        countersign_posture::Algorithm::Es256 => Algorithm::Es256,
        countersign_posture::Algorithm::Rs256 => Algorithm::Rs256,
        countersign_posture::Algorithm::EdDsa => Algorithm::EdDsa,
    }
}

// ── systems ─────────────────────────────────────────────────────────────────────────────────────

/// The posture's systems, with their references resolved.
pub(crate) fn systems(deployment: &Deployment, loaded: &Loaded) -> Systems {
    let mut systems = Systems::default();
    for (name, spec) in &loaded.systems {
        let mut used = spec.backend.references();
        // That a reference is not in the deployment at all is another finding.
        if used.any(|reference| !deployment.references.contains_key(reference)) {
            continue;
        }
        let from = Resolver { deployment, user: format!("the system `{name}`") };
        let used = spec.backend.references();
        let mut problems: Vec<_> = used.filter_map(|name| from.value(name).err()).collect();
        if problems.is_empty() {
            match system(&from, spec) {
                Ok(System::Mcp(server)) => {
                    let server = McpSystem { pins: pins(loaded, name), ..server };
                    systems.at.insert(name.clone(), System::Mcp(server));
                }
                Ok(system) => drop(systems.at.insert(name.clone(), system)),
                Err(problem) => problems.push(problem),
            }
        }
        for Problem { finding, here } in problems {
            if here {
                systems.missing.entry(name.clone()).or_default().push(finding);
            } else {
                systems.wrong.push(finding);
            }
        }
    }
    systems
}

/// One system alone, with its references resolved.
///
/// # Errors
/// What keeps it from being reached from here.
pub(crate) fn one(deployment: &Deployment, spec: &SystemSpec) -> Result<System, Finding> {
    let from = Resolver { deployment, user: format!("the system `{}`", spec.name) };
    system(&from, spec).map_err(|problem| problem.finding)
}

/// Why a system cannot be used.
struct Problem {
    finding: Finding,
    /// Whether another machine may have what it takes.
    here: bool,
}

/// A deployment's references, as one system or destination asks for them.
struct Resolver<'a> {
    deployment: &'a Deployment,
    /// `the system x`.
    user: String,
}

impl Resolver<'_> {
    fn value(&self, reference: &str) -> Result<SecretString, Problem> {
        let Self { deployment, .. } = self;
        let found = deployment
            .references
            .get(reference)
            .ok_or_else(|| self.unfit(reference, &"it stands for nothing"))?;
        found.resolve(&deployment.base, &machine::env).map_err(|error| {
            let help = match found {
                Reference::Env(name) => format!("set `{name}` for whoever runs `serve`"),
                Reference::File(_) => "put the file there, for whoever runs `serve`".to_owned(),
                Reference::Value(_) => "write a value".to_owned(),
            };
            let message = format!("`{reference}` stands for nothing here: {error}");
            let finding = self.finding(Code::AbsentReference, reference, message, &help);
            Problem { finding, here: true }
        })
    }

    /// What its value is not good for.
    fn unfit(&self, reference: &str, why: &dyn std::fmt::Display) -> Problem {
        let message = format!("{} cannot use `{reference}`: {why}", self.user);
        let help = "mend the value that the reference stands for";
        let written = self.deployment.references.get(reference);
        let finding = self.finding(Code::UnfitReference, reference, message, help);
        Problem { finding, here: !matches!(written, Some(Reference::Value(_))) }
    }

    fn finding(&self, code: Code, reference: &str, message: String, help: &str) -> Finding {
        let Self { deployment, .. } = self;
        let place = deployment.written.references.get(reference);
        let place = place.unwrap_or(&deployment.written.posture).clone();
        Finding { code, place, message, help: Some(help.to_owned()) }
    }
}

/// One system.
fn system(from: &Resolver<'_>, spec: &SystemSpec) -> Result<System, Problem> {
    let Resolver { deployment, .. } = from;
    match &spec.backend {
        Backend::Sqlite { database } => {
            let logs = deployment.statement_logs.as_ref().map(|logs| deployment.base.join(logs));
            Ok(System::Sqlite(SqliteSystem {
                path: deployment.base.join(from.value(database)?.expose_secret()),
                concurrency: spec.concurrency,
                statement_log: logs.map(|logs| logs.join(format!("{}.log", spec.name))),
            }))
        }
        Backend::Postgres { connection, tenant_setting, encryption, authorities, .. } => {
            let pem = authorities.as_deref().map(|pem| from.value(pem)).transpose()?;
            let system = PostgresSystem {
                connection: from.value(connection)?,
                encryption: encryption.map(encrypted),
                authorities: pem.map(|pem| pem.expose_secret().to_owned()),
                tenant_setting: tenant_setting.clone(),
                concurrency: spec.concurrency,
            };
            system.check().map_err(|why| match (&why, authorities) {
                (Unreachable::Authorities(_), Some(pem)) => from.unfit(pem, &why),
                // The machine's own certificates.
                (Unreachable::Authorities(_), None) => {
                    Problem { here: true, ..from.unfit(connection, &why) }
                }
                _ => from.unfit(connection, &why),
            })?;
            Ok(System::Postgres(system))
        }
        Backend::Http { origin, auth, networks, plaintext } => {
            let way = (Networks::new(networks.clone()), *plaintext);
            api(from, (origin, auth.as_ref()), way, spec.concurrency).map(System::Http)
        }
        Backend::Email(written) => mail(from, written, spec.concurrency).map(System::Email),
        Backend::Mcp(written) => mcp(from, spec, written).map(System::Mcp),
    }
}

/// An API, or a server that is reached as one.
fn api(
    from: &Resolver<'_>,
    (origin, auth): (&str, Option<&Auth>),
    (networks, plaintext): (Networks, bool),
    concurrency: u32,
) -> Result<HttpSystem, Problem> {
    let credential = auth.map(|auth| credential(auth, from)).transpose()?;
    let value = from.value(origin)?;
    let parsed = Origin::parse(value.expose_secret(), plaintext);
    let system = HttpSystem {
        origin: parsed.map_err(|why| from.unfit(origin, &why))?,
        credential,
        networks,
        concurrency,
        names: Arc::new(SystemNames),
    };
    system.check().map_err(|why| from.unfit(origin, &why))?;
    Ok(system)
}

/// An MCP server. What of its definitions was reviewed comes with the posture's tools.
fn mcp(from: &Resolver<'_>, spec: &SystemSpec, written: &McpSpec) -> Result<McpSystem, Problem> {
    let reach = match &written.reach {
        countersign_posture::McpReach::Http { origin, path, auth, networks, plaintext } => {
            let way = (Networks::new(networks.clone()), *plaintext);
            let system = api(from, (origin, auth.as_ref()), way, spec.concurrency)?;
            McpReach::Http { system: Box::new(system), path: path.clone() }
        }
        countersign_posture::McpReach::Stdio { program, arguments, environment, user } => {
            let values = environment
                .iter()
                .map(|(name, reference)| Ok((name.clone(), from.value(reference)?)));
            let runs_as = user.as_deref().map(|user| {
                let value = from.value(user)?;
                let pair = value.expose_secret().split_once(':');
                let pair =
                    pair.and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
                let why = "a user is written as `uid:gid`, in numbers";
                pair.ok_or_else(|| from.unfit(user, &why))
            });
            let started = Program {
                path: PathBuf::from(from.value(program)?.expose_secret()),
                arguments: arguments.clone(),
                environment: values.collect::<Result<_, _>>()?,
                user: runs_as.transpose()?,
                bytes_max: spec.bounds.bytes_max,
            };
            let unfit = |why: String| Problem { here: true, ..from.unfit(program, &why) };
            started.check().map_err(unfit)?;
            McpReach::Stdio(started)
        }
    };
    Ok(McpSystem {
        reach,
        pins: Vec::new(),
        recheck_ms: written.recheck_ms,
        shared: written.shared.is_some(),
        timeout_ms: spec.timeout_ms,
        concurrency: spec.concurrency,
    })
}

/// What was reviewed of all that a server defines: whatever granted tools ask it for.
fn pins(loaded: &Loaded, system: &SystemName) -> Vec<Arc<Pin>> {
    let grants = loaded.posture.agents.values().flat_map(|agent| agent.grants.values());
    let pins = grants.filter_map(|grant| match &grant.tool.plan {
        Plan::Mcp(plan) if grant.tool.system == *system => {
            Some((plan.pin.of.clone(), Arc::clone(&plan.pin)))
        }
        Plan::Mcp(_) | Plan::Sql(_) | Plan::Http(_) | Plan::Email(_) => None,
    });
    pins.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// A mail server.
fn mail(from: &Resolver<'_>, written: &MailSpec, concurrency: u32) -> Result<EmailSystem, Problem> {
    let MailSpec { server, encryption, auth, authorities, networks, .. } = written;
    let credential =
        auth.as_ref().map(|(user, password)| Ok((from.value(user)?, from.value(password)?)));
    let pem = authorities.as_deref().map(|pem| from.value(pem)).transpose()?;
    let parsed = MailServer::parse(from.value(server)?.expose_secret());
    let system = EmailSystem {
        server: parsed.map_err(|why| from.unfit(server, &why))?,
        encryption: match encryption {
            countersign_posture::MailEncryption::Tls => MailEncryption::Tls,
            countersign_posture::MailEncryption::StartTls => MailEncryption::StartTls,
            countersign_posture::MailEncryption::Off => MailEncryption::Off,
        },
        credential: credential.transpose()?,
        authorities: pem.map(|pem| pem.expose_secret().to_owned()),
        networks: Networks::new(networks.clone()),
        from: written.from.clone(),
        from_name: written.from_name.clone(),
        reply_to: written.reply_to.clone(),
        domains: written.domains.clone(),
        concurrency,
        names: Arc::new(SystemNames),
    };
    system.check().map_err(|why| match (&why, authorities) {
        (MailServerError::Authorities(_), Some(pem)) => from.unfit(pem, &why),
        // The machine's own certificates.
        (MailServerError::Authorities(_), None) => {
            Problem { here: true, ..from.unfit(server, &why) }
        }
        _ => from.unfit(server, &why),
    })?;
    Ok(system)
}

// ── who is told, and what hands the journal on ──────────────────────────────────────────────────

/// Who is told, as the deployment resolves it on this machine.
#[derive(Default)]
pub(crate) struct Destinations {
    /// Those that have all they need.
    pub(crate) at: Vec<Destination>,
    /// What keeps others from being used here.
    missing: Vec<Finding>,
    /// What is wrong with values that the deployment itself holds: on every machine.
    pub(crate) wrong: Vec<Finding>,
}

/// The deployment's destinations, with their references resolved.
pub(crate) fn destinations(deployment: &Deployment) -> Destinations {
    let mut found = Destinations::default();
    let known = |written: &countersign_posture::Destination| {
        // That a reference is not in the deployment at all is another finding.
        written.references().iter().all(|name| deployment.references.contains_key(*name))
    };
    for written in deployment.relay.destinations.iter().filter(|written| known(written)) {
        match destination(deployment, written) {
            Ok(destination) => found.at.push(destination),
            Err(Problem { finding, here: true }) => found.missing.push(finding),
            Err(Problem { finding, here: false }) => found.wrong.push(finding),
        }
    }
    found
}

fn destination(
    deployment: &Deployment,
    written: &countersign_posture::Destination,
) -> Result<Destination, Problem> {
    let countersign_posture::Destination { name, by, drafts, alerts, tenants, remind_s, place: _ } =
        written;
    let from = Resolver { deployment, user: format!("the destination `{name}`") };
    let by = match by {
        countersign_posture::Means::Webhook { url, template } => {
            let address = from.value(url)?;
            let development = deployment.environment == Environment::Development;
            let template = match template {
                countersign_posture::Template::Slack => Template::Slack,
                countersign_posture::Template::Teams => Template::Teams,
                countersign_posture::Template::Json => Template::Json,
            };
            let webhook = Webhook::new(address.expose_secret(), template, development);
            Means::Webhook(webhook.map_err(|why| from.unfit(url, &why))?)
        }
        countersign_posture::Means::Email { server, to } => {
            let system = mail(&from, server, 1)?;
            let postman = Postman::new(system, Arc::new(SystemClock));
            let postman = postman.map_err(|why| from.unfit(&server.server, &why))?;
            Means::Letters(Arc::new(postman), to.clone())
        }
    };
    let (name, tenants) = (name.clone(), tenants.clone());
    let (drafts, alerts, remind_s) = (*drafts, *alerts, *remind_s);
    Ok(Destination { name, by, drafts, alerts, tenants, remind_s })
}

/// Where an exporter writes.
pub(crate) fn sink(deployment: &Deployment, to: &ExportTo) -> Sink {
    match to {
        ExportTo::File(path) => Sink::File(deployment.base.join(path)),
        ExportTo::Stdout => Sink::Stdout,
    }
}

/// Whether each file could be written to is known once it is opened; one that was not there before is
/// taken away again.
fn exporters(deployment: &Deployment) -> Vec<Finding> {
    let exporters = deployment.relay.exporters.iter();
    let found = exporters.filter_map(|exporter| {
        let Sink::File(path) = sink(deployment, &exporter.to) else { return None };
        let absent = !path.exists();
        let opened = fs::OpenOptions::new().append(true).create(true).open(&path);
        if absent && opened.is_ok() {
            // An empty one that stays does no harm.
            drop(fs::remove_file(&path));
        }
        Some(Finding {
            code: Code::AbsentExport,
            place: exporter.place.clone(),
            message: format!("the file cannot be written: {}", opened.err()?),
            help: Some("name one in a folder that whoever runs `serve` may write in".to_owned()),
        })
    });
    found.collect()
}

/// What an API's requests are authorised by.
fn credential(auth: &Auth, from: &Resolver<'_>) -> Result<Credential, Problem> {
    let (made, reference) = match auth {
        Auth::Bearer(token) => (Credential::bearer(&from.value(token)?), token),
        Auth::Basic { user, password } => {
            let made = Credential::basic(&from.value(user)?, &from.value(password)?);
            let of_user = matches!(made, Err(CredentialError::Colon));
            (made, if of_user { user } else { password })
        }
        Auth::Header { name, value } => (Credential::header(name, &from.value(value)?), value),
    };
    made.map_err(|why| from.unfit(reference, &why))
}

fn encrypted(written: countersign_posture::Encryption) -> Encryption {
    match written {
        countersign_posture::Encryption::VerifyFull => Encryption::VerifyFull,
        countersign_posture::Encryption::Off => Encryption::Off,
    }
}

// ── the journal, the logs, the address ──────────────────────────────────────────────────────────

fn journal(deployment: &Deployment) -> Option<Finding> {
    let config = store(deployment);
    let error = match SqliteStore::examine(&config) {
        Ok(()) | Err(StoreError::InUse(_)) => return None,
        Err(error) => error,
    };
    let written = &deployment.written;
    // And what lies beside it, with something added to its name.
    let key = config.key.as_os_str().as_encoded_bytes();
    let of_key = |path: &Path| path.as_os_str().as_encoded_bytes().starts_with(key);
    let place = match &error {
        StoreError::Key { .. } | StoreError::OtherKey(_) | StoreError::Exposed(_) => {
            &written.signing_key
        }
        StoreError::File { path, .. } if of_key(path) => &written.signing_key,
        _ => &written.journal,
    };
    let failed: Result<(), _> = Err(error);
    let failure = failed.doing("the journal cannot be opened").err()?;
    Some(Finding {
        code: Code::AbsentJournal,
        place: place.clone(),
        message: failure.to_string(),
        help: Some("`countersign init` makes journal and key; nothing else does".to_owned()),
    })
}

/// Makes the folder for statement logs.
pub(crate) fn make_logs(deployment: &Deployment) -> Result<(), Failure> {
    match logs_folder(deployment) {
        Some(folder) => machine::private_folder(&folder).doing(folder.display()),
        None => Ok(()),
    }
}

fn logs_folder(deployment: &Deployment) -> Option<PathBuf> {
    deployment.statement_logs.as_ref().map(|logs| deployment.base.join(logs))
}

/// Whether it could be made is known once it is; what was not there before is taken away again.
fn logs(deployment: &Deployment) -> Option<Finding> {
    let folder = logs_folder(deployment)?;
    let absent: Vec<_> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    let made = machine::private_folder(&folder);
    for folder in absent {
        // Only an empty one goes, and one that stays does no harm.
        drop(fs::remove_dir(folder));
    }
    Some(Finding {
        code: Code::AbsentLogs,
        place: deployment.written.statement_logs.clone()?,
        message: format!("the folder cannot be made: {}", made.err()?),
        help: Some("name one that whoever runs `serve` may make".to_owned()),
    })
}

fn listener(deployment: &Deployment) -> Option<Finding> {
    let error = TcpListener::bind(deployment.listen).err()?;
    if error.kind() == ErrorKind::AddrInUse {
        return None;
    }
    Some(Finding {
        code: Code::ListenAddress,
        place: deployment.written.listen.clone(),
        message: format!("this machine cannot listen on `{}`: {error}", deployment.listen),
        help: Some("name an address of its own, and a port from 1024".to_owned()),
    })
}
