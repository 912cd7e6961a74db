//! Posture and deployment made into a gateway: the one place that names every back end.

use crate::command::posture::show;
use crate::here::{self, Systems};
use crate::machine::{self, SystemClock, SystemEntropy};
use crate::policies;
use crate::relay;
use crate::reload::{Owners, Reloader};
use crate::render::{self, Doing, Failure};
use countersign_assurance::permission::PermissionSet;
use countersign_assurance::picture::picture;
use countersign_connectors::Connectors;
use countersign_core::call::Monitor;
use countersign_core::id::Timestamp;
use countersign_core::port::{Clock as _, Journal as _, Unrecorded};
use countersign_core::record::{Entry, Kind};
use countersign_gateway::development::Development;
use countersign_gateway::door::{InForce, Owner, Reach, ReachOf};
use countersign_gateway::identity::development::DevelopmentIssuer;
use countersign_gateway::identity::{
    Agents, Claims, Identity, IssuerConfig, KeySource, PeopleConfig, PersonClaims, SignIn,
};
use countersign_gateway::resource::Resource;
use countersign_gateway::serve::{Gateway, Readiness};
use countersign_policy::Bundle;
use countersign_posture::{
    ClaimMap, Code, Deployment, Finding, Loaded, Registered, Severity, link, load_deployment,
    load_or_sketch, posture_folder, sort,
};
use countersign_relay::Relay;
use countersign_store::{Config, Index, SqliteStore, StoreError};
use std::{fs, net::SocketAddr, path::Path, sync::Arc};

/// What was read, if it has no error, and what was found in it.
pub(crate) type Found<T> = Result<(Option<T>, Vec<Finding>), Failure>;

/// A posture that has no error.
pub(crate) struct Posture {
    pub(crate) loaded: Loaded,
    pub(crate) bundle: Bundle,
    /// Its systems, as far as this machine has what they need.
    pub(crate) systems: Systems,
}

/// What was read and has no error.
pub(crate) struct Read {
    pub(crate) deployment: Deployment,
    pub(crate) posture: Posture,
}

/// Reads deployment and posture, and compiles the policies. `None` beside the findings if one of
/// them is an error.
pub(crate) fn read(config: &Path) -> Found<Read> {
    let (read, findings) = gather(config)?;
    let read = read.and_then(|(deployment, posture)| Some(Read { deployment, posture: posture? }));
    Ok((read, findings))
}

/// The same, with a deployment that has no error where the posture has.
pub(crate) fn gather(config: &Path) -> Found<(Deployment, Option<Posture>)> {
    gather_at(config, SystemClock.now())
}

/// The same, with what has ended at that time.
pub(crate) fn gather_at(config: &Path, now: Timestamp) -> Found<(Deployment, Option<Posture>)> {
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
    let (posture, of_posture) = read_posture(&deployment, now)?;
    findings.extend(of_posture);
    Ok((Some((deployment, posture)), findings))
}

/// The same for the posture alone.
pub(crate) fn read_posture(deployment: &Deployment, now: Timestamp) -> Found<Posture> {
    let folder = deployment.base.join(&deployment.posture);
    if !folder.is_dir() {
        return Ok((None, vec![no_posture(deployment)]));
    }
    let (compiled, mut findings) = compile(&folder)?;
    let Some((loaded, bundle)) = compiled else { return Ok((None, findings)) };
    let mut linked = link(deployment, &loaded, now);
    let mut systems = here::systems(deployment, &loaded);
    linked.append(&mut systems.wrong);
    linked.append(&mut here::destinations(deployment).wrong);
    sort(&mut linked);
    let broken = linked.iter().any(|f| f.severity() == Severity::Error);
    findings.extend(linked);
    let bundle = bundle.filter(|_| !broken);
    Ok((bundle.map(|bundle| Posture { loaded, bundle, systems }), findings))
}

fn no_posture(deployment: &Deployment) -> Finding {
    Finding {
        code: Code::Unreadable,
        place: deployment.written.posture.clone(),
        message: format!("there is no folder `{}`", deployment.posture.display()),
        help: Some("name the posture's folder, relative to this file".to_owned()),
    }
}

/// A posture, with its policies if they have no error either.
pub(crate) fn compile(folder: &Path) -> Found<(Loaded, Option<Bundle>)> {
    let (loaded, mut findings) = load_or_sketch(folder);
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(sketch) => {
            findings.extend(policies::mistakes(&sketch));
            return Ok((None, findings));
        }
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
    pub(crate) relay: Relay,
    pub(crate) listen: SocketAddr,
}

/// Reads everything and puts the gateway together. `None` if there were errors; they are printed.
pub(crate) async fn assemble(config: &Path) -> Result<Option<Assembled>, Failure> {
    // Before it is read: should it change meanwhile, it has changed since.
    let written = fs::read(config).ok();
    let (read, mut findings) = gather(config)?;
    let Some((deployment, posture)) = read else {
        render::findings(&findings);
        return Ok(None);
    };
    let (mut issuers, missing) = here::look(&deployment, posture.as_ref());
    let whole = !missing.iter().any(|finding| finding.severity() == Severity::Error);
    findings.extend(missing);
    render::findings(&findings);
    let Some(posture) = posture.filter(|_| whole) else { return Ok(None) };
    here::make_logs(&deployment)?;
    let development = development(&deployment)?;
    issuers.extend(development.iter().map(DevelopmentIssuer::issuer_config));
    warm(&issuers).await;
    let people = people(&deployment, &issuers);
    let ground = Ground { issuers, people, store: open_store(&deployment)?, deployment };
    let at_work = ground.put_to_work(posture, None)?;
    // Nothing is decided by a posture that the journal does not name.
    ground.record(&at_work, None).await.doing("the posture could not be recorded")?;
    let reloader = Reloader::new(ground, at_work, (config, written));
    let Ground { deployment, store, issuers, people } = reloader.ground();
    let index = Index::open(&self::store(deployment), Arc::new(SystemClock));
    let index = Arc::new(index.doing("the journal cannot be read")?);
    let relay = relay::open(deployment, (store, &index), reloader.in_force())?;
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
        ledger: index,
        relay: relay.status(),
        allowed_hosts,
        allowed_origins: deployment.allowed_origins.clone(),
        // The others are for systems and the journal, whatever strangers do.
        connections_max: machine::descriptors().div_euclid(2),
        people: people.clone(),
        development: development.map(|issuer| Development {
            people: people.clone().filter(|p| p.issuer.issuer == issuer.issuer_config().issuer),
            issuer,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }),
    };
    let (store, listen) = (store.clone(), deployment.listen);
    Ok(Some(Assembled { gateway, reloader, store, relay, listen }))
}

/// What the deployment decides at the start. No posture changes it.
pub(crate) struct Ground {
    pub(crate) deployment: Deployment,
    issuers: Vec<IssuerConfig>,
    people: Option<PeopleConfig>,
    store: Arc<SqliteStore>,
}

/// A posture put to work, and what of it the next one may keep.
pub(crate) struct AtWork {
    pub(crate) in_force: Arc<InForce>,
    pub(crate) owners: Owners,
    /// How long before a review is due it is said, in seconds.
    pub(crate) warn_s: u32,
    identity: Arc<Identity>,
    connectors: Arc<Connectors>,
}

impl Ground {
    /// Puts a posture to work. What is as it was under the one before is kept: the verified tokens
    /// if claims are read alike, a system's connections if it is reached alike.
    pub(crate) fn put_to_work(
        &self,
        posture: Posture,
        before: Option<&AtWork>,
    ) -> Result<AtWork, Failure> {
        let Posture { mut loaded, bundle, systems: Systems { at: systems, .. } } = posture;
        loaded.keep_in(self.deployment.environment);
        let clock = Arc::new(SystemClock);
        let claims = claims(&loaded.claims);
        let identity = match before {
            Some(before) if before.in_force.claims == claims => Arc::clone(&before.identity),
            _ => {
                let identity = Identity::new(self.issuers.clone(), claims.clone());
                Arc::new(identity.doing("the issuers")?)
            }
        };
        let connectors = Arc::new(match before {
            Some(before) => before.connectors.with(systems),
            None => Connectors::new(systems, clock.clone()),
        });
        let owners = Owners::of(&loaded, &bundle);
        let agents = Agents {
            pointers: claims.actor.clone(),
            clients: loaded.posture.agents.keys().map(ToString::to_string).collect(),
        };
        let people =
            Arc::new(SignIn::new(self.people.clone(), agents).doing("how people sign in")?);
        let since = clock.now();
        let reach = reach(&loaded, &bundle);
        let warn_s = loaded.warn_s;
        let monitor = Monitor {
            posture: Arc::new(loaded.posture),
            authenticator: identity.clone(),
            pdp: Arc::new(bundle),
            journal: self.store.clone(),
            register: self.store.clone(),
            people,
            connector: connectors.clone(),
            clock,
            entropy: Arc::new(SystemEntropy),
        };
        let of = loaded.register.into_iter();
        let named = of.map(|Registered { agent, purpose, team, contact, .. }| {
            (agent, Owner { purpose, team, contact })
        });
        let in_force = Arc::new(InForce { monitor, claims, since, owners: named.collect(), reach });
        Ok(AtWork { in_force, owners, warn_s, identity, connectors })
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

/// What agents may reach, for the console.
fn reach(loaded: &Loaded, bundle: &Bundle) -> Reach {
    let set = PermissionSet::of(loaded, bundle);
    let header = |columns: &[&str]| {
        std::iter::once(columns.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let agents = set.agents.iter().map(|may| ReachOf {
        name: may.agent.agent.to_string(),
        tools: header(&show::TOOLS).chain(may.tools.iter().map(show::row)).collect(),
        worst: header(&show::WORST).chain(show::worst(may)).collect(),
    });
    Reach { picture: picture(&set).inline(), agents: agents.collect() }
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

/// How people sign in: by an issuer of the deployment, for an audience of their own.
pub(crate) fn people(deployment: &Deployment, issuers: &[IssuerConfig]) -> Option<PeopleConfig> {
    let countersign_posture::People {
        issuer,
        audience,
        client_id,
        scopes,
        claims,
        roles,
        all_tenants,
    } = deployment.people.clone()?;
    let issuer = issuers.iter().find(|config| config.issuer == issuer.as_str())?;
    let countersign_posture::PersonClaims { person, address, address_verified, groups, tenants } =
        claims;
    let client_id = client_id.to_string();
    let issuer = IssuerConfig {
        // An ID token never says that it is an access token.
        require_at_jwt: issuer.require_at_jwt && audience != client_id,
        audiences: vec![audience],
        ..issuer.clone()
    };
    let claims = PersonClaims { person, address, address_verified, groups, tenants };
    Some(PeopleConfig { issuer, client_id, scopes, claims, roles, all_tenants })
}

/// The issuer for development, if it is on.
fn development(deployment: &Deployment) -> Result<Option<DevelopmentIssuer>, Failure> {
    let url = || deployment.public_url.clone();
    let made = deployment
        .development_issuer
        .then(|| DevelopmentIssuer::new(&SystemEntropy, format!("{}/dev", url()), url()));
    made.transpose().doing("the development issuer")
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

/// Where the journal is.
pub(crate) fn store(deployment: &Deployment) -> Config {
    let base = &deployment.base;
    Config {
        path: base.join(&deployment.store.sqlite),
        key: base.join(&deployment.store.signing_key),
    }
}

fn open_store(deployment: &Deployment) -> Result<Arc<SqliteStore>, Failure> {
    let config = store(deployment);
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
