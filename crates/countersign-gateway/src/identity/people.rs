//! Who decides: the tokens of people, verified as agents' are and for an audience of their own.

use super::claims::{at, optional, plain, required, set};
use super::{IssuerConfig, Proven, Tenancy, Unmet, date, proven};
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
        let tenants = if groups.is_disjoint(&self.all_tenants) {
            Tenants::Of(tenants)
        } else {
            Tenants::All
        };
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
