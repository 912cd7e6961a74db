//! What a run of the suite needs from the machine, the store and an issuer of its own.

use crate::assemble;
use crate::command::demo::mail::MailServer;
use crate::machine::{SystemClock, SystemEntropy};
use crate::render::{Doing, Failure};
use countersign_assurance::bound::RECORDS_MAX;
use countersign_assurance::port::{Ground, TokenFor};
use countersign_core::port::{Clock as _, Entropy};
use countersign_core::reading::Record;
use countersign_gateway::identity::development::{DevelopmentIssuer, PersonRequest, TokenRequest};
use countersign_gateway::identity::{Claims, PeopleConfig};
use countersign_posture::evals::{Person, Token};
use countersign_posture::{Deployment, Loaded};
use countersign_store::audit::{Filter, Known, Reader, verify};
use countersign_store::{Config, PublicKey, SqliteStore, Witness};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Handle;

/// How long the suite's tokens live, in seconds: each a little longer than the one before, so that no
/// two are taken for one.
const TTL_S: u64 = 60 * 60;
/// How many of them differ.
const TTLS: u64 = 10_000;

/// The machine, the store, and issuers of one key that goes by the names of the deployment's.
#[derive(Debug)]
pub(super) struct OwnGround {
    issuers: BTreeMap<String, DevelopmentIssuer>,
    /// The same, for tokens that are not meant for the gateway.
    elsewhere: DevelopmentIssuer,
    people: Option<(String, PeopleConfig)>,
    claims: Claims,
    /// How many tokens there were.
    tokens: AtomicU64,
    runtime: Handle,
}

/// The same bytes each time, so that several issuers have one key.
#[derive(Debug)]
struct Seed([u8; 32]);

impl Entropy for Seed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(self.0.iter().cycle()).for_each(|(byte, seed)| *byte = *seed);
    }
}

impl OwnGround {
    pub(super) fn new(
        deployment: &Deployment,
        loaded: &Loaded,
        runtime: Handle,
    ) -> Result<Self, Failure> {
        let mut seed = Seed([0; 32]);
        SystemEntropy.fill(&mut seed.0);
        let made = |name: &str, audience: &str| {
            let made = DevelopmentIssuer::new(&seed, name.to_owned(), audience.to_owned());
            made.doing("the suite's issuer")
        };
        let mut issuers = BTreeMap::new();
        for issuer in &deployment.issuers {
            let audience = issuer.audiences.first().map_or("", String::as_str);
            issuers.insert(issuer.issuer.to_string(), made(issuer.issuer.as_str(), audience)?);
        }
        if deployment.development_issuer {
            let name = format!("{}/dev", deployment.public_url);
            issuers.insert(name.clone(), made(&name, &deployment.public_url)?);
        }
        let configs: Vec<_> = issuers.values().map(DevelopmentIssuer::issuer_config).collect();
        let people = assemble::people(deployment, &configs);
        let people = people.map(|people| (people.issuer.issuer.clone(), people));
        let first = issuers.keys().next().cloned().unwrap_or_default();
        let elsewhere = made(&first, "https://somebody-else.example")?;
        let claims = assemble::claims(&loaded.claims);
        Ok(Self { issuers, elsewhere, people, claims, tokens: AtomicU64::new(0), runtime })
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    bytes
}

fn store(folder: &Path) -> Config {
    Config { path: folder.join("state/journal.db"), key: folder.join("state/journal.key") }
}

/// A token whose signature is another's.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{other}{}", signature.get(1..).unwrap_or_default())
}

impl Ground for OwnGround {
    fn key_set(&self) -> &str {
        self.elsewhere.key_set()
    }

    fn token(&self, asked: &TokenFor) -> Result<Option<String>, String> {
        let TokenFor { issuer, client, tenant, user, session, claims, scopes, token } =
            asked.clone();
        let before = self.tokens.fetch_add(1, Ordering::Relaxed);
        let request = TokenRequest {
            actor: client,
            tenant,
            subject: user,
            session,
            scopes,
            attributes: claims,
            ttl_s: TTL_S.saturating_add(before.rem_euclid(TTLS)),
        };
        let issuer = match issuer {
            Some(name) => self.issuers.get(&name),
            None => self.issuers.values().next(),
        };
        let issuer = issuer.ok_or("the deployment trusts no such issuer")?;
        let now = SystemClock.now();
        let made = |issuer: &DevelopmentIssuer, request: &TokenRequest, at| {
            issuer.mint(request, &self.claims, at, random()).map(Some)
        };
        match token {
            Token::Missing => Ok(None),
            Token::Valid => made(issuer, &request, now),
            Token::Forged => Ok(made(issuer, &request, now)?.as_deref().map(forged)),
            Token::OtherAudience => made(&self.elsewhere, &request, now),
            Token::Expired => {
                let past =
                    countersign_core::id::Timestamp::from_secs(now.secs().saturating_sub(7_200));
                made(issuer, &TokenRequest { ttl_s: 60, ..request }, past)
            }
        }
    }

    fn person(&self, person: &Person) -> Result<String, String> {
        let (name, people) = self.people.as_ref().ok_or("the deployment lets nobody sign in")?;
        let issuer = self.issuers.get(name).ok_or("people sign in at nobody")?;
        let now = SystemClock.now();
        let Person { person, groups, tenants, signed_in_s } = person.clone();
        let request = PersonRequest {
            address: Some(person.clone()).filter(|person| person.contains('@')),
            person,
            groups,
            tenants,
            signed_in_s: Some(now.secs().saturating_sub(signed_in_s.into())),
            ttl_s: TTL_S,
        };
        issuer.mint_person(request, people, now, random())
    }

    fn make_journal(&self, folder: &Path) -> Result<(), String> {
        let Config { path, key } = store(folder);
        let made = SqliteStore::create(&path, &key, &SystemEntropy);
        made.map(drop).doing("the journal could not be made").map_err(|failure| failure.to_string())
    }

    fn records(&self, folder: &Path) -> Result<Vec<Record>, String> {
        let read = || -> Result<_, Failure> {
            let reader = Reader::open(&store(folder).path).doing("the journal cannot be read")?;
            let filter = Filter { limit: Some(RECORDS_MAX), ..Filter::default() };
            reader.query(&filter).doing("the journal cannot be read")
        };
        read().map_err(|failure| failure.to_string())
    }

    fn verify(&self, folder: &Path) -> Result<Vec<String>, String> {
        let Config { path, key } = store(folder);
        let read = || -> Result<_, Failure> {
            let head = Witness::read(&Witness::beside(&key)).doing("the head")?;
            let beside = PublicKey::beside(&key);
            let public = std::fs::read_to_string(&beside).doing(beside.display())?;
            let public = PublicKey::parse(&public).doing(beside.display())?;
            let known = Known { key: Some(public), head: Some(head), now: Some(SystemClock.now()) };
            verify(&path, &known).doing("the journal cannot be verified")
        };
        let found = read().map_err(|failure| failure.to_string())?;
        Ok(found.findings.iter().map(ToString::to_string).collect())
    }

    fn take_mail(&self, listener: TcpListener, file: &Path) -> Result<(), String> {
        let server = MailServer { file: file.to_owned() };
        let _in_runtime = self.runtime.enter();
        // It ends with the runtime; what it could not take, the gateway tells.
        drop(self.runtime.spawn(server.serve(listener)));
        Ok(())
    }

    fn in_an_hour(&self) -> String {
        let then = SystemClock.now().secs().saturating_add(3_600);
        jiff::Timestamp::from_second(then).map(|then| then.to_string()).unwrap_or_default()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(SystemClock.now().micros().div_euclid(1_000)).unwrap_or_default()
    }

    fn secret(&self) -> String {
        hex::encode(random())
    }
}
