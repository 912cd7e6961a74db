//! Posture and deployment made into a gateway: the one place that names every back end.

use crate::machine::{self, SystemClock, SystemEntropy};
use crate::policies;
use crate::reload::{Owners, Reloader};
use crate::render::{self, Doing, Failure};
use countersign_connectors::{
    Connectors, Credential, CredentialError, Encryption, HttpSystem, Networks, Origin,
    PostgresSystem, SqliteSystem, System, SystemNames,
};
use countersign_core::call::Monitor;
use countersign_core::id::SystemName;
use countersign_core::port::{Clock as _, Journal as _, Unrecorded};
use countersign_core::record::{Entry, Kind};
use countersign_gateway::door::InForce;
use countersign_gateway::identity::{
    Algorithm, Claims, Fetched, Identity, IssuerConfig, KeySet, KeySource, Place, Tenancy,
    development::DevelopmentIssuer,
};
use countersign_gateway::resource::Resource;
use countersign_gateway::serve::{Development, Gateway, Readiness};
use countersign_policy::Bundle;
use countersign_posture::{
    Auth, Backend, ClaimMap, Code, Deployment, Finding, Issuer, Loaded, SystemSpec, link,
    load_deployment, load_policies, load_posture, posture_folder,
};
use countersign_store::{Config, SqliteStore, StoreError};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, sync::Arc};

/// What was read, if it has no error, and what was found in it.
pub(crate) type Found<T> = Result<(Option<T>, Vec<Finding>), Failure>;

/// What was read and has no error.
pub(crate) struct Read {
    pub(crate) deployment: Deployment,
    pub(crate) loaded: Loaded,
    pub(crate) bundle: Bundle,
}

/// Reads deployment and posture, and compiles the policies. `None` beside the findings if one of
/// them is an error.
pub(crate) fn read(config: &Path) -> Found<Read> {
    if !config.exists() {
        return Err(Failure::new(format!("there is no {}", config.display()))
            .help("name the folder or the file, or write one with `countersign init`"));
    }
    let (deployment, mut findings) = load_deployment(config);
    let Some(deployment) = deployment else {
        // Whoever mends the deployment wants to know what comes next.
        if let Some(folder) = posture_folder(config) {
            findings.extend(compile(&folder)?.1);
        }
        return Ok((None, findings));
    };
    let (read, of_posture) = read_posture(&deployment)?;
    findings.extend(of_posture);
    Ok((read.map(|(loaded, bundle)| Read { deployment, loaded, bundle }), findings))
}

/// The same for the posture alone.
pub(crate) fn read_posture(deployment: &Deployment) -> Found<(Loaded, Bundle)> {
    let folder = deployment.base.join(&deployment.posture);
    if !folder.is_dir() {
        return Ok((None, vec![no_posture(deployment)]));
    }
    let (compiled, mut findings) = compile(&folder)?;
    let Some((loaded, bundle)) = compiled else { return Ok((None, findings)) };
    let linked = link(deployment, &loaded);
    let broken = linked.iter().any(|f| f.severity() == countersign_posture::Severity::Error);
    findings.extend(linked);
    let bundle = bundle.filter(|_| !broken);
    Ok((bundle.map(|bundle| (loaded, bundle)), findings))
}

fn no_posture(deployment: &Deployment) -> Finding {
    Finding {
        code: Code::Unreadable,
        place: deployment.posture_place.clone(),
        message: format!("there is no folder `{}`", deployment.posture.display()),
        help: Some("name the posture's folder, relative to this file".to_owned()),
    }
}

/// A posture, with its policies if they have no error either.
fn compile(folder: &Path) -> Found<(Loaded, Option<Bundle>)> {
    let (loaded, mut findings) = load_posture(folder);
    let Some(mut loaded) = loaded else {
        findings.extend(policies::mistakes(&load_policies(folder)));
        return Ok((None, findings));
    };
    let bundle = match policies::compile(&mut loaded)? {
        Ok(bundle) => {
            findings.extend(policies::warnings(&bundle, &loaded.policies));
            Some(bundle)
        }
        Err(of_policies) => {
            findings.extend(of_policies);
            None
        }
    };
    Ok((Some((loaded, bundle)), findings))
}

/// A gateway that is ready to serve.
pub(crate) struct Assembled {
    pub(crate) gateway: Gateway,
    pub(crate) reloader: Reloader,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) listen: SocketAddr,
}

/// Reads everything and puts the gateway together. `None` if there were errors; they are printed.
pub(crate) async fn assemble(config: &Path) -> Result<Option<Assembled>, Failure> {
    // Before it is read: should it change meanwhile, it has changed since.
    let written = fs::read(config).ok();
    let (read, findings) = read(config)?;
    render::findings(&findings);
    let Some(Read { deployment, loaded, bundle }) = read else { return Ok(None) };
    let (issuers, development) = issuers(&deployment)?;
    warm(&issuers).await;
    let ground = Ground { issuers, store: open_store(&deployment)?, deployment };
    let at_work = ground.put_to_work((loaded, bundle), None)?;
    // Nothing is decided by a posture that the journal does not name.
    ground.record(&at_work, None).await.doing("the posture could not be recorded")?;
    let reloader = Reloader::new(ground, at_work, (config, written));
    let Ground { deployment, store, issuers } = reloader.ground();
    let mut allowed_hosts = deployment.allowed_hosts.clone();
    allowed_hosts.extend(deployment.public_url.split_once("://").map(|(_, host)| host.to_owned()));
    let resource = Resource {
        url: deployment.public_url.clone(),
        authorization_servers: issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
    };
    let gateway = Gateway {
        resource,
        in_force: reloader.in_force(),
        readiness: Arc::new(Ready(store.clone())),
        allowed_hosts,
        allowed_origins: deployment.allowed_origins.clone(),
        // The others are for systems and the journal, whatever strangers do.
        connections_max: machine::descriptors().div_euclid(2),
        development: development.map(|issuer| Development {
            issuer,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }),
    };
    let (store, listen) = (store.clone(), deployment.listen);
    Ok(Some(Assembled { gateway, reloader, store, listen }))
}

/// What the deployment decides at the start. No posture changes it.
pub(crate) struct Ground {
    pub(crate) deployment: Deployment,
    issuers: Vec<IssuerConfig>,
    store: Arc<SqliteStore>,
}

/// A posture put to work, and what of it the next one may keep.
pub(crate) struct AtWork {
    pub(crate) in_force: Arc<InForce>,
    pub(crate) owners: Owners,
    identity: Arc<Identity>,
    connectors: Arc<Connectors>,
}

impl Ground {
    /// Puts a posture to work. What is as it was under the one before is kept: the verified tokens
    /// if claims are read alike, a system's connections if it is reached alike.
    pub(crate) fn put_to_work(
        &self,
        (loaded, bundle): (Loaded, Bundle),
        before: Option<&AtWork>,
    ) -> Result<AtWork, Failure> {
        let clock = Arc::new(SystemClock);
        let claims = claims(&loaded.claims);
        let identity = match before {
            Some(before) if before.in_force.claims == claims => Arc::clone(&before.identity),
            _ => {
                let identity = Identity::new(self.issuers.clone(), claims.clone());
                Arc::new(identity.doing("the issuers")?)
            }
        };
        let systems = systems(&self.deployment, &loaded)?;
        let connectors = Arc::new(match before {
            Some(before) => before.connectors.with(systems),
            None => Connectors::new(systems, clock.clone()),
        });
        let owners = Owners::of(&loaded, &bundle);
        let since = clock.now();
        let monitor = Monitor {
            posture: Arc::new(loaded.posture),
            authenticator: identity.clone(),
            pdp: Arc::new(bundle),
            journal: self.store.clone(),
            connector: connectors.clone(),
            clock,
            entropy: Arc::new(SystemEntropy),
        };
        let in_force = Arc::new(InForce { monitor, claims, since });
        Ok(AtWork { in_force, owners, identity, connectors })
    }

    /// Records that a posture is about to be in force, after which other. A crash between this and
    /// the first call it decides leaves a record of a posture that decided nothing.
    pub(crate) async fn record(
        &self,
        AtWork { in_force, .. }: &AtWork,
        before: Option<&AtWork>,
    ) -> Result<(), Unrecorded> {
        let digest = |posture: &InForce| posture.monitor.posture.digest.to_string();
        let mut entry = Entry::new(Kind::PostureLoaded, in_force.since)
            .with("posture", digest(in_force))
            .with("status", "loaded");
        if let Some(before) = before {
            entry = entry.with("previous", digest(&before.in_force));
        }
        self.store.append(entry).await.map(|_receipt| ())
    }
}

pub(crate) fn claims(map: &ClaimMap) -> Claims {
    let ClaimMap {
        subject,
        actor,
        tenant,
        session,
        person,
        scopes,
        agent_build,
        model,
        attributes,
    } = map.clone();
    Claims { subject, actor, tenant, session, person, scopes, agent_build, model, attributes }
}

/// Whose tokens are accepted; and the development issuer, if it is on.
fn issuers(
    deployment: &Deployment,
) -> Result<(Vec<IssuerConfig>, Option<DevelopmentIssuer>), Failure> {
    let mut configs = Vec::new();
    for written in &deployment.issuers {
        configs.push(issuer(deployment, written)?);
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
    Ok((configs, development))
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
            let text = fs::read(&path).doing(path.display())?;
            let keys = match purpose {
                "sig" => KeySet::parse(&text),
                purpose => KeySet::usable(&text, purpose), // A bundle holds other keys as well.
            };
            KeySource::Fixed(Arc::new(keys.doing(path.display())?))
        }
        countersign_posture::KeySource::Url(url) => fetched(Place::KeySet(url.clone()))?,
        countersign_posture::KeySource::Discovery => {
            fetched(Place::Metadata(issuer.as_str().to_owned()))?
        }
    };
    Ok(IssuerConfig {
        issuer: issuer.as_str().to_owned(),
        audiences: audiences.clone(),
        algorithms: algorithms.iter().copied().map(algorithm).collect(),
        keys,
        tenancy: Tenancy { only: tenant.clone(), among: tenants.clone() },
        require_at_jwt: *require_at_jwt,
    })
}

/// Has the keys of all issuers fetched before anybody asks. Who cannot be reached is tried again when
/// a token of theirs comes; nobody else waits for them.
async fn warm(issuers: &[IssuerConfig]) {
    let fetched = issuers.iter().filter_map(|issuer| match &issuer.keys {
        KeySource::Fetched(fetched) => Some((&issuer.issuer, fetched)),
        KeySource::Fixed(_) => None,
    });
    for (issuer, fetched) in fetched {
        if !fetched.warm(Arc::new(SystemClock)).await {
            tracing::warn!(%issuer, "its keys are not known: its tokens are refused until they are");
        }
    }
}

fn algorithm(written: countersign_posture::Algorithm) -> Algorithm {
    match written {
        countersign_posture::Algorithm::Es256 => Algorithm::Es256,
        countersign_posture::Algorithm::Rs256 => Algorithm::Rs256,
        countersign_posture::Algorithm::EdDsa => Algorithm::EdDsa,
    }
}

/// The posture's systems, with their references resolved.
pub(crate) fn systems(
    deployment: &Deployment,
    loaded: &Loaded,
) -> Result<BTreeMap<SystemName, System>, Failure> {
    let logs = deployment.statement_logs.as_ref().map(|logs| deployment.base.join(logs));
    if let Some(logs) = logs.as_ref().filter(|_| !loaded.systems.is_empty()) {
        machine::private_folder(logs).doing(logs.display())?;
    }
    let systems = loaded.systems.iter();
    systems.map(|(name, spec)| Ok((name.clone(), system(deployment, name, spec)?))).collect()
}

/// One of them.
pub(crate) fn system(
    deployment: &Deployment,
    name: &SystemName,
    spec: &SystemSpec,
) -> Result<System, Failure> {
    let resolve = |reference: &str| {
        let found = deployment.references.get(reference);
        let what = || format!("the reference `{reference}` of system `{name}`");
        let found = found.ok_or_else(|| Failure::new(format!("{} stands for nothing", what())))?;
        found.resolve(&deployment.base, &machine::env).doing(what())
    };
    match &spec.backend {
        Backend::Sqlite { database } => {
            let logs = deployment.statement_logs.as_ref().map(|logs| deployment.base.join(logs));
            Ok(System::Sqlite(SqliteSystem {
                path: deployment.base.join(resolve(database)?.expose_secret()),
                concurrency: spec.concurrency,
                statement_log: logs.map(|logs| logs.join(format!("{name}.log"))),
            }))
        }
        Backend::Postgres { connection, tenant_setting, encryption, authorities, .. } => {
            let authorities = authorities.as_deref().map(resolve).transpose()?;
            let system = PostgresSystem {
                connection: resolve(connection)?,
                encryption: encryption.map(encrypted),
                authorities: authorities.map(|pem| pem.expose_secret().to_owned()),
                tenant_setting: tenant_setting.clone(),
                concurrency: spec.concurrency,
            };
            system.check().doing(format!("the system `{name}`"))?;
            Ok(System::Postgres(system))
        }
        Backend::Http { origin, auth, networks, plaintext } => {
            let what = || format!("the system `{name}`");
            let credential = auth.as_ref().map(|auth| credential(auth, &resolve));
            let origin = resolve(origin)?;
            let system = HttpSystem {
                origin: Origin::parse(origin.expose_secret(), *plaintext).doing(what())?,
                credential: credential.transpose()?.transpose().doing(what())?,
                networks: Networks::new(networks.clone()),
                concurrency: spec.concurrency,
                names: Arc::new(SystemNames),
            };
            system.check().doing(what())?;
            Ok(System::Http(system))
        }
    }
}

/// What an API's requests are authorised by, from the deployment's references; or what cannot be sent.
fn credential(
    auth: &Auth,
    resolve: &dyn Fn(&str) -> Result<SecretString, Failure>,
) -> Result<Result<Credential, CredentialError>, Failure> {
    Ok(match auth {
        Auth::Bearer(token) => Credential::bearer(&resolve(token)?),
        Auth::Basic { user, password } => Credential::basic(&resolve(user)?, &resolve(password)?),
        Auth::Header { name, value } => Credential::header(name, &resolve(value)?),
    })
}

fn encrypted(written: countersign_posture::Encryption) -> Encryption {
    match written {
        countersign_posture::Encryption::VerifyFull => Encryption::VerifyFull,
        countersign_posture::Encryption::Off => Encryption::Off,
    }
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
