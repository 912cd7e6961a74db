//! Posture and deployment made into a gateway: the one place that names every back end.

use crate::machine::{self, SystemClock, SystemEntropy};
use crate::render::{self, Doing, Failure};
use countersign_connectors::{Connectors, SqliteSystem};
use countersign_core::call::Monitor;
use countersign_core::id::SystemName;
use countersign_gateway::identity::{
    Algorithm, Claims, Identity, IssuerConfig, KeySet, development::DevelopmentIssuer,
};
use countersign_gateway::serve::{Development, Gateway, Readiness};
use countersign_policy::Bundle;
use countersign_posture::{
    Backend, ClaimMap, Deployment, Finding, Issuer, Loaded, link, load_deployment, load_posture,
};
use countersign_store::{Config, SqliteStore, StoreError};
use secrecy::ExposeSecret;
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, sync::Arc};

/// What was read and has no error.
pub(crate) struct Read {
    pub(crate) deployment: Deployment,
    pub(crate) loaded: Loaded,
    bundle: Bundle,
}

/// Reads deployment and posture, and compiles the policies. `None` beside the findings if one of
/// them is an error.
pub(crate) fn read(config: &Path) -> Result<(Option<Read>, Vec<Finding>), Failure> {
    if !config.exists() {
        return Err(Failure::new(format!("there is no {}", config.display()))
            .help("name the folder or the file, or write one with `countersign init`"));
    }
    let (deployment, mut findings) = load_deployment(config);
    let Some(deployment) = deployment else { return Ok((None, findings)) };
    let (loaded, of_posture) = load_posture(&deployment.base.join(&deployment.posture));
    findings.extend(of_posture);
    let Some(loaded) = loaded else { return Ok((None, findings)) };
    let linked = link(&deployment, &loaded);
    let broken = linked.iter().any(|f| f.severity() == countersign_posture::Severity::Error);
    findings.extend(linked);
    if broken {
        return Ok((None, findings));
    }
    // What the posture crate accepts compiles; anything else is a defect, told and not run.
    let bundle = Bundle::compile(&loaded.posture).map_err(|errors| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::new(format!("the policies do not compile: {}", texts.join("; ")))
    })?;
    Ok((Some(Read { deployment, loaded, bundle }), findings))
}

/// A gateway that is ready to serve.
pub(crate) struct Assembled {
    pub(crate) gateway: Gateway,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) listen: SocketAddr,
}

/// Reads everything and puts the gateway together. `None` if there were errors; they are printed.
pub(crate) fn assemble(config: &Path) -> Result<Option<Assembled>, Failure> {
    let (read, findings) = read(config)?;
    render::findings(&findings);
    let Some(Read { deployment, loaded, bundle }) = read else { return Ok(None) };
    let clock = Arc::new(SystemClock);
    let entropy = Arc::new(SystemEntropy);
    let claims = claims(&loaded.claims);
    let (identity, issuer) = identity(&deployment, &claims)?;
    let connectors = Connectors::new(systems(&deployment, &loaded)?, clock.clone());
    let store = open_store(&deployment)?;
    let monitor = Monitor {
        posture: Arc::new(loaded.posture),
        authenticator: Arc::new(identity),
        pdp: Arc::new(bundle),
        journal: store.clone(),
        connector: Arc::new(connectors),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let mut allowed_hosts = deployment.allowed_hosts;
    allowed_hosts.extend(deployment.public_url.split_once("://").map(|(_, host)| host.to_owned()));
    let gateway = Gateway {
        monitor: Arc::new(monitor),
        readiness: Arc::new(Ready(store.clone())),
        allowed_hosts,
        allowed_origins: deployment.allowed_origins,
        development: issuer.map(|issuer| Development { issuer, claims, clock, entropy }),
    };
    Ok(Some(Assembled { gateway, store, listen: deployment.listen }))
}

fn claims(map: &ClaimMap) -> Claims {
    let ClaimMap { subject, actor, tenant, session, agent_build, model, attributes } = map.clone();
    Claims { subject, actor, tenant, session, agent_build, model, attributes }
}

/// Whose tokens are accepted; and the development issuer, if it is on.
fn identity(
    deployment: &Deployment,
    claims: &Claims,
) -> Result<(Identity, Option<DevelopmentIssuer>), Failure> {
    let mut configs = Vec::new();
    for Issuer { issuer, audience, keys, algorithms } in &deployment.issuers {
        let path = deployment.base.join(keys);
        let text = fs::read(&path).doing(path.display())?;
        configs.push(IssuerConfig {
            issuer: issuer.as_str().to_owned(),
            audience: audience.clone(),
            algorithms: algorithms.iter().copied().map(algorithm).collect(),
            keys: KeySet::parse(&text).doing(path.display())?,
        });
    }
    let development = if deployment.development_issuer {
        let url = deployment.public_url.clone();
        let issuer = DevelopmentIssuer::new(&SystemEntropy, format!("{url}/dev"), url)
            .doing("the development issuer")?;
        configs.push(issuer.issuer_config());
        Some(issuer)
    } else {
        None
    };
    Ok((Identity::new(configs, claims.clone()).doing("the issuers")?, development))
}

fn algorithm(written: countersign_posture::Algorithm) -> Algorithm {
    match written {
        countersign_posture::Algorithm::Es256 => Algorithm::Es256,
        countersign_posture::Algorithm::Rs256 => Algorithm::Rs256,
        countersign_posture::Algorithm::EdDsa => Algorithm::EdDsa,
    }
}

/// The posture's systems, with their references resolved.
fn systems(
    deployment: &Deployment,
    loaded: &Loaded,
) -> Result<BTreeMap<SystemName, SqliteSystem>, Failure> {
    let logs = deployment.statement_logs.as_ref().map(|logs| deployment.base.join(logs));
    if let Some(logs) = &logs {
        machine::private_folder(logs).doing(logs.display())?;
    }
    let mut systems = BTreeMap::new();
    for (name, spec) in &loaded.systems {
        let Backend::Sqlite { database } = &spec.backend;
        let reference = deployment.references.get(database);
        let reference = reference.ok_or_else(|| {
            Failure::new(format!(
                "the reference `{database}` of system `{name}` stands for nothing"
            ))
        })?;
        let path = reference
            .resolve(&deployment.base, &machine::env)
            .doing(format!("the reference `{database}` of system `{name}`"))?;
        let system = SqliteSystem {
            path: deployment.base.join(path.expose_secret()),
            concurrency: spec.concurrency,
            statement_log: logs.as_ref().map(|logs| logs.join(format!("{name}.log"))),
        };
        systems.insert(name.clone(), system);
    }
    Ok(systems)
}

fn open_store(deployment: &Deployment) -> Result<Arc<SqliteStore>, Failure> {
    let base = &deployment.base;
    let config = Config {
        path: base.join(&deployment.store.sqlite),
        key: base.join(&deployment.store.signing_key),
    };
    let opened = SqliteStore::open(&config, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let in_use = matches!(opened, Err(StoreError::InUse(_)));
    opened.map(Arc::new).doing("the journal cannot be opened").map_err(|failure| {
        if in_use { failure.help("is another `serve` or `demo` still running?") } else { failure }
    })
}

/// The gateway is ready while its journal takes records.
#[derive(Debug)]
struct Ready(Arc<SqliteStore>);

impl Readiness for Ready {
    fn ready(&self) -> Result<(), String> {
        self.0.health().map_err(|error| error.to_string())
    }
}
