//! The deployment that a run is on: the real one, and over it what keeps the real systems out of reach.

use crate::bound::DATABASE_BYTES_MAX;
use crate::mutate::copy;
use crate::port::Ground;
use countersign_posture::{
    Auth, Backend, Deployment, Loaded, MailEncryption, MailSpec, posture_data,
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Why a run does not begin: a system that no copy or stand-in could take the place of.
#[derive(Debug)]
pub struct NotIsolated {
    /// Which systems, and why.
    pub systems: Vec<(String, String)>,
}

/// A deployment of which every system is the run's own.
#[derive(Debug, Clone)]
pub struct Isolated {
    /// The posture that is tried.
    pub posture: PathBuf,
    /// What the overlay is, line by line, for people.
    pub lines: Vec<String>,
    /// The real deployment as data, without what is the run's own.
    pub(crate) data: Map<String, Value>,
    /// SQLite databases, by the reference that leads to each: the real file.
    pub(crate) databases: BTreeMap<String, PathBuf>,
    /// Which reference a system's database is behind.
    pub(crate) behind: BTreeMap<String, String>,
    /// APIs that a stand-in answers for, and the reference of each one's origin.
    pub(crate) apis: BTreeMap<String, String>,
    /// Mail servers, and the reference of each.
    pub(crate) mail: BTreeMap<String, String>,
    /// References that stand for a credential, each with one of the run's own.
    pub(crate) secrets: BTreeMap<String, String>,
    /// The issuers whose names the run's own key goes by.
    pub(crate) issuers: Vec<Value>,
    /// A copy of the posture, where that has to let a stand-in be reached.
    copy: Option<Arc<TempDir>>,
}

/// The environment, by variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts the run's own in the place of everything that reaches the real world.
///
/// # Errors
/// [`NotIsolated`], with every system that cannot be.
pub fn isolate(
    (deployment, data): (&Deployment, Value),
    loaded: &Loaded,
    (ground, env): (&dyn Ground, Env<'_>),
) -> Result<Isolated, NotIsolated> {
    let posture = deployment.base.join(&deployment.posture);
    let mut isolated = Isolated {
        posture: posture.canonicalize().unwrap_or(posture),
        lines: Vec::new(),
        data: match data {
            Value::Object(data) => data,
            _ => Map::new(),
        },
        databases: BTreeMap::new(),
        behind: BTreeMap::new(),
        apis: BTreeMap::new(),
        mail: BTreeMap::new(),
        secrets: BTreeMap::new(),
        issuers: Vec::new(),
        copy: None,
    };
    let (mut not, mut elsewhere) = (Vec::new(), Vec::new());
    for (name, spec) in &loaded.systems {
        let name = name.to_string();
        let place = isolated.system(&name, &spec.backend, (deployment, ground, env));
        elsewhere.extend(Some(name.clone()).filter(|_| !reached(&spec.backend)));
        match place {
            Ok(line) => isolated.lines.push(format!("{name}: {line}")),
            Err(why) => not.push((name, why)),
        }
    }
    if let Err((name, why)) = isolated.issuers(deployment) {
        not.push((name, why));
    }
    if !not.is_empty() {
        return Err(NotIsolated { systems: not });
    }
    if !elsewhere.is_empty()
        && let Err(why) = isolated.let_in(&elsewhere)
    {
        return Err(NotIsolated { systems: vec![("posture".to_owned(), why)] });
    }
    isolated.lines.push("addresses: loopback, with free ports".to_owned());
    isolated
        .lines
        .push("journal: a new one for each gateway; exporters and notices: none".to_owned());
    isolated.lines.push("environment: development, whatever the deployment says".to_owned());
    Ok(isolated)
}

/// Where stand-ins are.
const LOOPBACK: &str = "127.0.0.1/32";

/// What of the real deployment is as it is.
const KEPT: [&str; 5] = ["public_url", "allowed_hosts", "allowed_origins", "people", "alerts"];

type Machine<'a> = (&'a Deployment, &'a dyn Ground, Env<'a>);

impl Isolated {
    /// The same for another posture.
    pub(crate) fn with_posture(&self, posture: &Path) -> Self {
        Self { posture: posture.to_owned(), ..self.clone() }
    }

    /// The run's own for one system, in words.
    fn system(
        &mut self,
        name: &str,
        backend: &Backend,
        (deployment, ground, env): Machine<'_>,
    ) -> Result<String, String> {
        match backend {
            Backend::Sqlite { database } => {
                let path = real_file(deployment, database, env)?;
                let line = format!("a copy of {} for each gateway", path.display());
                self.databases.insert(database.clone(), path);
                self.behind.insert(name.to_owned(), database.clone());
                Ok(line)
            }
            Backend::Postgres { .. } => {
                Err("it is PostgreSQL, and the suite cannot yet make a database of its own there"
                    .to_owned())
            }
            Backend::Http { origin, auth, .. } => {
                self.apis.insert(name.to_owned(), origin.clone());
                for reference in auth.iter().flat_map(credentials) {
                    self.secrets.insert(reference, ground.secret());
                }
                Ok("a stand-in, with what `answers` of the suite say, and a credential of its own"
                    .to_owned())
            }
            Backend::Email(spec) => {
                let MailSpec { server, encryption, auth, .. } = spec.as_ref();
                if *encryption != MailEncryption::Off || auth.is_some() {
                    return Err(
                        "the suite's mail server has neither encryption nor a password".to_owned()
                    );
                }
                self.mail.insert(name.to_owned(), server.clone());
                Ok("a mail server that hands nothing on".to_owned())
            }
            Backend::Mcp(_) => {
                Err("it is an MCP server, and the suite has no stand-in for one".to_owned())
            }
        }
    }

    /// A copy of the posture that lets these systems be on loopback, where their stand-ins are.
    fn let_in(&mut self, systems: &[String]) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("it cannot be copied: {error}");
        let folder = tempfile::tempdir().map_err(failed)?;
        copy(&self.posture, folder.path()).map_err(failed)?;
        for (path, mut file) in posture_data(&self.posture) {
            let name = file.get("system").and_then(Value::as_str).map(str::to_owned);
            let Some(name) =
                name.filter(|name| path.starts_with("systems/") && systems.contains(name))
            else {
                continue;
            };
            for kind in ["http", "email"] {
                if let Some(Value::Object(reach)) = file.get_mut(kind) {
                    let networks = reach.entry("networks").or_insert_with(|| json!([]));
                    networks.as_array_mut().into_iter().for_each(|all| all.push(json!(LOOPBACK)));
                }
            }
            std::fs::write(folder.path().join(&path), file.to_string()).map_err(failed)?;
            self.lines
                .push(format!("{name}: a copy of the posture lets it be at {LOOPBACK} as well"));
        }
        self.posture = folder.path().to_owned();
        self.copy = Some(Arc::new(folder));
        Ok(())
    }

    /// Every issuer by the run's own key.
    fn issuers(&mut self, deployment: &Deployment) -> Result<(), (String, String)> {
        let written = self.data.get("issuers").and_then(Value::as_array).cloned();
        let mut names = BTreeSet::new();
        for entry in written.unwrap_or_default() {
            let Value::Object(mut entry) = entry else { continue };
            let name = entry.get("issuer").and_then(Value::as_str).unwrap_or_default().to_owned();
            if name.starts_with("spiffe://") {
                let why = "the suite cannot stand in for a SPIFFE trust domain";
                return Err((name, why.to_owned()));
            }
            for key in ["jwks_url", "discovery", "require_at_jwt"] {
                entry.remove(key);
            }
            entry.insert("keys".to_owned(), json!("issuer.json"));
            entry.insert("algorithms".to_owned(), json!(["EdDSA"]));
            names.insert(name);
            self.issuers.push(Value::Object(entry));
        }
        if deployment.development_issuer {
            let name = format!("{}/dev", deployment.public_url);
            self.issuers.push(json!({
                "issuer": name, "audience": deployment.public_url, "keys": "issuer.json",
                "algorithms": ["EdDSA"],
            }));
            names.insert(name);
        }
        let names: Vec<_> = names.into_iter().collect();
        self.lines.push(format!("issuers: {}, by a key of this run", names.join(", ")));
        if let (Some(people), Some(Value::Object(written))) =
            (&deployment.people, self.data.get_mut("people"))
        {
            written.insert("issuer".to_owned(), json!(people.issuer.as_str()));
        }
        Ok(())
    }

    /// A deployment that must not start: in production, with an issuer that gives anybody a token.
    pub(crate) fn in_production(&self) -> Value {
        let mut data = self.deployment(&self.secrets);
        if let Some(data) = data.as_object_mut() {
            data.insert("environment".to_owned(), json!("production"));
            data.insert("development_issuer".to_owned(), json!(true));
        }
        data
    }

    /// The deployment file for a gateway with these references.
    pub(crate) fn deployment(&self, references: &BTreeMap<String, String>) -> Value {
        // What is not known to be harmless is not taken over: a key of tomorrow could tell people.
        let kept =
            KEPT.iter().filter_map(|key| Some(((*key).to_owned(), self.data.get(*key)?.clone())));
        let mut data: Map<_, _> = kept.collect();
        let values = references.iter().map(|(name, value)| (name, json!({ "value": value })));
        let references: Map<_, _> = values.map(|(name, value)| (name.clone(), value)).collect();
        for (key, value) in [
            ("posture", json!(self.posture)),
            ("environment", json!("development")),
            ("listen", json!("127.0.0.1:0")),
            ("issuers", json!(self.issuers)),
            ("store", json!({ "sqlite": "state/journal.db", "signing_key": "state/journal.key" })),
            ("references", Value::Object(references)),
            ("statement_logs", json!("logs")),
        ] {
            data.insert(key.to_owned(), value);
        }
        Value::Object(data)
    }
}

fn real_file(deployment: &Deployment, reference: &str, env: Env<'_>) -> Result<PathBuf, String> {
    let found = deployment.references.get(reference).ok_or("its reference stands for nothing")?;
    let path = found.resolve(&deployment.base, env).map_err(|error| error.to_string())?;
    let path = deployment.base.join(Path::new(path.expose_secret()));
    let bytes = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
    match bytes <= DATABASE_BYTES_MAX {
        true => Ok(path),
        false => Err(format!("{} is too large to be copied for each gateway", path.display())),
    }
}

/// Whether the posture's own word lets a gateway reach what stands in on loopback.
fn reached(backend: &Backend) -> bool {
    let networks = match backend {
        // Nothing stands in for a server yet.
        Backend::Sqlite { .. } | Backend::Postgres { .. } | Backend::Mcp(_) => return true,
        Backend::Http { networks, .. } => networks,
        Backend::Email(spec) => &spec.networks,
    };
    networks.iter().any(|network| network.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

fn credentials(auth: &Auth) -> Vec<String> {
    match auth {
        Auth::Bearer(token) => vec![token.clone()],
        Auth::Basic { user, password } => vec![user.clone(), password.clone()],
        Auth::Header { value, .. } => vec![value.clone()],
    }
}
