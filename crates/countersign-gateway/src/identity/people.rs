//! Who decides: the tokens of people, verified as agents' are and for an audience of their own.

use super::claims::{at, optional, plain, required, set};
use super::{IssuerConfig, Proven, Tenancy, Unmet, date, proven};
use crate::oidc::{How, Kind};
use countersign_core::draft::Who;
use countersign_core::id::{IssuerId, TenantId, Timestamp};
use countersign_core::person::{Person, Role, Tenants};
use countersign_core::port::{Credential, Eventually, People};
use countersign_core::refusal::AuthenticationFailure;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How people sign in.
#[derive(Debug, Clone)]
pub struct PeopleConfig {
    /// Whose word is taken. Its audience is people's own.
    pub issuer: IssuerConfig,
    /// The OAuth client by which they sign in.
    pub client_id: String,
    /// The scopes that are asked for when they do.
    pub scopes: Vec<String>,
    /// Where their tokens say what.
    pub claims: PersonClaims,
    /// The groups that have each role.
    pub roles: BTreeMap<Role, BTreeSet<String>>,
    /// The groups whose members decide for every tenant.
    pub all_tenants: BTreeSet<String>,
}

/// Which claim of a person's token says what, as JSON pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonClaims {
    /// The immutable id; a string.
    pub person: String,
    /// Their address; a string, if the token has it.
    pub address: Option<String>,
    /// Whether the address is theirs: it counts if this is `true`.
    pub address_verified: String,
    /// Their groups; a string or a list of strings, if the token has them.
    pub groups: Option<String>,
    /// The tenants they decide for, in the same way.
    pub tenants: Option<String>,
}

impl PeopleConfig {
    /// Whether ID tokens are taken: those are for the client itself.
    #[must_use]
    pub fn takes_id_tokens(&self) -> bool {
        self.issuer.audiences.contains(&self.client_id)
    }

    /// What a client needs to sign somebody in. None of it is a secret.
    #[must_use]
    pub fn how(&self, made_up: bool) -> How {
        How {
            issuer: self.issuer.issuer.clone(),
            made_up,
            client_id: self.client_id.clone(),
            audience: self.audience().to_owned(),
            scopes: self.scopes.clone(),
            token: if self.takes_id_tokens() { Kind::IdToken } else { Kind::AccessToken },
        }
    }

    /// What their tokens' `aud` must be or contain.
    #[must_use]
    pub fn audience(&self) -> &str {
        self.issuer.audiences.first().map_or("", String::as_str)
    }
}

/// Which agents there are: their tokens are nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agents {
    /// Where agents' tokens name their client.
    pub pointers: Vec<String>,
    /// The clients that agents call as.
    pub clients: BTreeSet<String>,
}

/// People, as their tokens say. Nothing is kept from one request to the next: every token is verified
/// whenever it is shown.
#[derive(Debug)]
pub struct SignIn {
    /// `None` where nobody can sign in.
    config: Option<PeopleConfig>,
    issuers: BTreeMap<IssuerId, IssuerConfig>,
    agents: Agents,
}

impl SignIn {
    /// Takes how people sign in, and who are agents.
    ///
    /// # Errors
    /// A sentence for the operator: an issuer of which no token could be accepted.
    pub fn new(config: Option<PeopleConfig>, agents: Agents) -> Result<Self, String> {
        let mut issuers = BTreeMap::new();
        if let Some(PeopleConfig { issuer, .. }) = &config {
            issuer.check()?;
            let name = &issuer.issuer;
            let id = IssuerId::new(name.clone()).map_err(|why| format!("issuer `{name}` {why}"))?;
            issuers.insert(id, issuer.clone());
        }
        Ok(Self { config, issuers, agents })
    }

    async fn signed_in(&self, token: &str, now: Timestamp) -> Result<Person, Unmet> {
        let config = self.config.as_ref().ok_or_else(|| "nobody can sign in here".to_owned())?;
        let proven = proven(&self.issuers, token, now).await?;
        self.of_no_agent(config, &proven.claims)?;
        Ok(config.person(proven)?)
    }

    /// A token that names a client is people's only if it names theirs: what an agent, or any other
    /// program, got for itself or for somebody else is not.
    fn of_no_agent(&self, config: &PeopleConfig, claims: &Value) -> Result<(), String> {
        for pointer in CLIENTS {
            if at(claims, pointer).is_some_and(|client| *client != *config.client_id) {
                return Err(format!("the claim at `{pointer}` is not the client of people"));
            }
        }
        let text = |pointer: &String| at(claims, pointer).and_then(Value::as_str);
        if self.agents.pointers.iter().filter_map(text).any(|c| self.agents.clients.contains(c)) {
            return Err("it is an agent's".to_owned());
        }
        match at(claims, &config.claims.person) {
            Some(person) if *person == *config.client_id => {
                Err("it is the client's own, and nobody's".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Where tokens name the client that got them (OpenID Connect `azp`, RFC 9068 `client_id`; `cid` and
/// `appid` are others' names for it).
const CLIENTS: [&str; 4] = ["/client_id", "/azp", "/cid", "/appid"];

impl PeopleConfig {
    fn person(&self, proven: Proven<'_>) -> Result<Person, String> {
        let Proven { id, issuer, claims, expires, generation: _ } = proven;
        let of = |pointer: &Option<String>| match pointer {
            Some(pointer) => set(&claims, pointer).map(Option::unwrap_or_default),
            None => Ok(BTreeSet::new()),
        };
        let verified = at(&claims, &self.claims.address_verified) == Some(&Value::Bool(true));
        let address = match &self.claims.address {
            Some(pointer) if verified => optional(&claims, pointer, plain)?,
            Some(_) | None => None,
        };
        let groups = of(&self.claims.groups)?;
        let tenants = of(&self.claims.tenants)?.into_iter().map(TenantId::new);
        let tenants = tenants.collect::<Result<_, _>>().map_err(|why| format!("a tenant {why}"))?;
        let tenants =
            if groups.is_disjoint(&self.all_tenants) { Tenants::Of(tenants) } else { Tenants::All };
        let roles = self.roles.iter().filter(|(_, of)| !groups.is_disjoint(of));
        let signed_in = date(&claims, "auth_time", f64::floor)?;
        Ok(Person {
            who: Who {
                issuer: id.clone(),
                id: required(&claims, &self.claims.person, plain)?,
                address,
            },
            roles: roles.map(|(role, _)| *role).collect(),
            groups,
            tenants: within(tenants, &issuer.tenancy),
            signed_in: signed_in.map(Timestamp::from_secs),
            expires,
        })
    }
}

/// Nobody decides for whom their issuer does not speak.
fn within(tenants: Tenants, tenancy: &Tenancy) -> Tenants {
    let Tenancy { only, among } = tenancy;
    match (tenants, only) {
        (_, Some(only)) => Tenants::Of(BTreeSet::from([only.clone()])),
        (tenants, None) if among.is_empty() => tenants,
        (Tenants::All, None) => Tenants::Of(among.clone()),
        (Tenants::Of(tenants), None) => Tenants::Of(tenants.intersection(among).cloned().collect()),
    }
}

impl People for SignIn {
    fn person<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Person>, AuthenticationFailure>> {
        Box::pin(async move {
            let token = credential.expose().ok_or(AuthenticationFailure::Missing)?;
            self.signed_in(token, now).await.map(Arc::new).map_err(Unmet::failure)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::development::{DevelopmentIssuer, PersonRequest, TokenRequest};
    use super::super::{Claims, IssuerConfig};
    use super::*;
    use countersign_core::port::Entropy;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const NOW: i64 = 1_800_000_000;

    #[derive(Debug)]
    struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn issuer() -> DevelopmentIssuer {
        DevelopmentIssuer::new(&Sevens, "http://127.0.0.1/dev".to_owned(), "gateway".to_owned())
            .unwrap()
    }

    fn groups(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn config(tenancy: Tenancy) -> PeopleConfig {
        let pointer = |name: &str| Some(name.to_owned());
        PeopleConfig {
            issuer: IssuerConfig {
                audiences: vec!["people".to_owned()],
                tenancy,
                ..issuer().issuer_config()
            },
            client_id: "cli".to_owned(),
            scopes: Vec::new(),
            claims: PersonClaims {
                person: "/sub".to_owned(),
                address: pointer("/email"),
                address_verified: "/email_verified".to_owned(),
                groups: pointer("/groups"),
                tenants: pointer("/tenants"),
            },
            roles: BTreeMap::from([
                (Role::Operator, groups(&["ops"])),
                (Role::Viewer, groups(&["ops", "support"])),
            ]),
            all_tenants: groups(&["finance"]),
        }
    }

    fn agents() -> Agents {
        Agents { pointers: vec!["/act/by".to_owned()], clients: groups(&["copilot"]) }
    }

    fn request() -> PersonRequest {
        PersonRequest {
            person: "p-1".to_owned(),
            address: Some("Sam@acme.example".to_owned()),
            groups: vec!["support".to_owned()],
            tenants: vec!["alpha".to_owned(), "bravo".to_owned()],
            signed_in_s: Some(NOW - 100),
            ttl_s: 600,
        }
    }

    fn met(config: PeopleConfig, token: &str, at_s: i64) -> Result<Person, String> {
        let sign_in = SignIn::new(Some(config), agents()).unwrap();
        let mut met = pin!(sign_in.signed_in(token, Timestamp::from_secs(at_s)));
        match met.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(met) => met.map_err(|unmet| format!("{unmet:?}")),
            Poll::Pending => panic!("keys that are there need no waiting"),
        }
    }

    fn of(request: PersonRequest, tenancy: Tenancy) -> Result<Person, String> {
        let config = config(tenancy);
        let now = Timestamp::from_secs(NOW);
        let token = issuer().mint_person(request, &config, now, [1; 16]).unwrap();
        met(config, &token, NOW)
    }

    /// A token of the issuer's that says this, and otherwise what a person's does.
    fn saying(pointer: &str, value: &str) -> Result<Person, String> {
        let config = config(Tenancy::default());
        let mut other = config.clone();
        other.claims.tenants = Some(pointer.to_owned());
        let request = PersonRequest { tenants: vec![value.to_owned()], ..request() };
        let now = Timestamp::from_secs(NOW);
        let token = issuer().mint_person(request, &other, now, [1; 16]).unwrap();
        met(config, &token, NOW)
    }

    #[test]
    fn a_person_is_what_their_token_says() {
        let person = of(request(), Tenancy::default()).unwrap();
        assert_eq!(person.who.issuer.as_str(), "http://127.0.0.1/dev");
        assert_eq!(person.who.id, "p-1");
        assert_eq!(person.who.address.as_deref(), Some("Sam@acme.example"));
        assert_eq!(person.groups, groups(&["support"]));
        assert_eq!(person.roles, BTreeSet::from([Role::Viewer]));
        assert_eq!(person.signed_in, Some(Timestamp::from_secs(NOW - 100)));
        assert_eq!(person.expires, Timestamp::from_secs(NOW + 600));
        let tenants = ["alpha", "bravo"].map(|name| TenantId::new(name).unwrap());
        assert_eq!(person.tenants, Tenants::Of(BTreeSet::from(tenants)));
    }

    #[test]
    fn tenants_are_those_that_the_issuer_speaks_for() {
        let alpha = TenantId::new("alpha").unwrap();
        let only_alpha = Tenants::Of(BTreeSet::from([alpha.clone()]));
        let all = PersonRequest { groups: vec!["finance".to_owned()], ..request() };
        assert_eq!(of(all.clone(), Tenancy::default()).unwrap().tenants, Tenants::All);
        let among = Tenancy { only: None, among: BTreeSet::from([alpha.clone()]) };
        assert_eq!(of(all.clone(), among.clone()).unwrap().tenants, only_alpha);
        assert_eq!(of(request(), among).unwrap().tenants, only_alpha);
        let only = Tenancy { only: Some(alpha), among: BTreeSet::new() };
        assert_eq!(of(all, only).unwrap().tenants, only_alpha);
        let none = PersonRequest { tenants: Vec::new(), ..request() };
        assert_eq!(of(none, Tenancy::default()).unwrap().tenants, Tenants::Of(BTreeSet::new()));
    }

    #[test]
    fn an_address_that_is_not_verified_is_none() {
        let mut lax = config(Tenancy::default());
        lax.claims.address_verified = "/elsewhere".to_owned();
        let now = Timestamp::from_secs(NOW);
        let token = issuer().mint_person(request(), &lax, now, [1; 16]).unwrap();
        assert_eq!(met(config(Tenancy::default()), &token, NOW).unwrap().who.address, None);
    }

    #[test]
    fn an_agents_token_is_no_persons() {
        let claims = Claims {
            subject: "/sub".to_owned(),
            actor: vec!["/client_id".to_owned()],
            tenant: "/tenants".to_owned(),
            session: None,
            person: None,
            scopes: Vec::new(),
            agent_build: None,
            model: None,
            attributes: BTreeMap::new(),
        };
        let request = TokenRequest {
            actor: "copilot".to_owned(),
            tenant: "alpha".to_owned(),
            subject: "ann".to_owned(),
            session: None,
            scopes: Vec::new(),
            attributes: BTreeMap::new(),
            ttl_s: 600,
        };
        let now = Timestamp::from_secs(NOW);
        let token = issuer().mint(&request, &claims, now, [1; 16]).unwrap();
        assert!(met(config(Tenancy::default()), &token, NOW).unwrap_err().contains("`aud`"));
        // Nor if it were for the audience of people.
        let people =
            DevelopmentIssuer::new(&Sevens, "http://127.0.0.1/dev".to_owned(), "people".to_owned());
        let token = people.unwrap().mint(&request, &claims, now, [1; 16]).unwrap();
        let why = met(config(Tenancy::default()), &token, NOW).unwrap_err();
        assert!(why.contains("`/client_id` is not the client of people"), "{why}");
        // Whatever the claim is called by which the posture knows agents.
        for (pointer, client) in [("/cid", "copilot"), ("/appid", "other"), ("/client_id", "cli ")]
        {
            assert!(saying(pointer, client).unwrap_err().contains(pointer), "{pointer}");
        }
        assert!(saying("/client", "copilot").is_ok(), "it is not known as a client anywhere");
    }

    #[test]
    fn the_clients_own_token_is_nobodys() {
        let own = PersonRequest { person: "cli".to_owned(), ..request() };
        assert!(of(own, Tenancy::default()).unwrap_err().contains("the client's own"));
    }

    #[test]
    fn a_token_is_good_until_it_ends_and_no_longer() {
        let config = config(Tenancy::default());
        let now = Timestamp::from_secs(NOW);
        let token = issuer().mint_person(request(), &config, now, [1; 16]).unwrap();
        assert!(met(config.clone(), &token, NOW + 599).is_ok());
        assert!(met(config.clone(), &token, NOW + 600).unwrap_err().contains("expired"));
        let nobody = SignIn::new(None, agents()).unwrap();
        let mut met = pin!(nobody.signed_in(&token, now));
        let refused = met.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(refused, Poll::Ready(Err(_))));
    }
}
