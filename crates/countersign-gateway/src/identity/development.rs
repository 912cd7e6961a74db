//! An issuer for trying things out: its key is made at start, lives in memory and signs whatever it
//! is asked to. Whoever starts it sees to it that nobody else can reach it.

use super::claims::{Voucher, steps};
use super::{
    Algorithm, Claims, IssuerConfig, KeySet, KeySource, PeopleConfig, TOKEN_BYTES_MAX, Tenancy,
};
use countersign_core::id::{IssuerId, Timestamp};
use countersign_core::port::Entropy;
use jsonwebtoken::jwk::{Jwk, JwkSet, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest life of a development token, in seconds: a day.
pub const TTL_S_MAX: u64 = 24 * 60 * 60;

/// What stands before the 32 bytes of an Ed25519 seed to make it PKCS#8 (RFC 8410 §7).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The development issuer: one Ed25519 key.
#[derive(Debug)]
pub struct DevelopmentIssuer {
    config: IssuerConfig,
    kid: String,
    key: EncodingKey,
    /// Its public half.
    key_set: String,
}

/// Whom a development token is to speak for.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The agent's client id.
    pub actor: String,
    /// Whose data.
    pub tenant: String,
    /// On whose behalf.
    pub subject: String,
    /// The session. Without one, a new one, if the mapping has sessions at all.
    pub session: Option<String>,
    /// The OAuth scopes it carries.
    pub scopes: Vec<String>,
    /// Further claims by the names the mapping gives them. One value becomes a list of one.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// How long it lives, in seconds: 1 to [`TTL_S_MAX`].
    pub ttl_s: u64,
}

/// Who a development token is to say that its bearer is.
#[derive(Debug, Clone)]
pub struct PersonRequest {
    /// Their immutable id.
    pub person: String,
    /// Their address, which is verified then.
    pub address: Option<String>,
    /// Their groups.
    pub groups: Vec<String>,
    /// The tenants they decide for.
    pub tenants: Vec<String>,
    /// When they signed in, in seconds since the epoch; now, if it is not said.
    pub signed_in_s: Option<i64>,
    /// How long the token lives, in seconds: 1 to [`TTL_S_MAX`].
    pub ttl_s: u64,
}

impl DevelopmentIssuer {
    /// Makes a key that ends with the process.
    ///
    /// # Errors
    /// A sentence, if the key cannot be made.
    pub fn new(entropy: &dyn Entropy, issuer: String, audience: String) -> Result<Self, String> {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let key = EncodingKey::from_ed_der(&[PKCS8_ED25519.as_slice(), &seed].concat());
        let failed = |why: jsonwebtoken::errors::Error| format!("cannot make a key: {why}");
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDsa.into()).map_err(failed)?;
        // The key's own digest, so that a token of an earlier start is told from a forged one.
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(failed)?;
        jwk.common.key_id = Some(kid.clone());
        let key_set = serde_json::to_string(&JwkSet { keys: vec![jwk] })
            .map_err(|why| format!("cannot write the key set: {why}"))?;
        let keys = KeySet::parse(key_set.as_bytes())?;
        let config = IssuerConfig {
            issuer,
            audiences: vec![audience],
            algorithms: vec![Algorithm::EdDsa],
            keys: KeySource::Fixed(Arc::new(keys)),
            tenancy: Tenancy::default(),
            require_at_jwt: false,
        };
        Ok(Self { config, kid, key, key_set })
    }

    /// The public key, as a JWK set (RFC 7517), for whoever is to trust this issuer.
    #[must_use]
    pub fn key_set(&self) -> &str {
        &self.key_set
    }

    /// What trusts this issuer and this start of it alone.
    #[must_use]
    pub fn issuer_config(&self) -> IssuerConfig {
        self.config.clone()
    }

    /// Signs a token that says what is asked, each value where `claims` looks for it. `id` is 16
    /// random bytes: the token's `jti`, and the session if none is asked for.
    ///
    /// # Errors
    /// A sentence that says which part of the request cannot be put into a token.
    pub fn mint(
        &self,
        request: &TokenRequest,
        claims: &Claims,
        now: Timestamp,
        id: [u8; 16],
    ) -> Result<String, String> {
        claims.check()?;
        let audience = self.config.audiences.first().map_or("", String::as_str);
        let (mut payload, expires) = self.lasting(audience, (request.ttl_s, now), id)?;
        for (pointer, value) in placed(request, claims, id)? {
            put(&mut payload, pointer, value)?;
        }
        // What the gateway would refuse is refused here, where the reason is told.
        let issuer = IssuerId::new(self.config.issuer.clone()).map_err(|why| why.to_string())?;
        let tenancy = &self.config.tenancy;
        let voucher = Voucher { issuer, tenancy, workload: false, chosen: None };
        claims.principal(&payload, voucher, expires)?;
        self.signed(&payload)
    }

    /// The same for a person, as `people` are known. `id` is 16 random bytes: the token's `jti`.
    ///
    /// # Errors
    /// A sentence that says which part of the request cannot be put into a token.
    pub fn mint_person(
        &self,
        request: PersonRequest,
        people: &PeopleConfig,
        now: Timestamp,
        id: [u8; 16],
    ) -> Result<String, String> {
        let PersonRequest { person, address, groups, tenants, signed_in_s, ttl_s } = request;
        let (mut payload, _expires) = self.lasting(people.audience(), (ttl_s, now), id)?;
        let claims = &people.claims;
        let mut places: Vec<(_, Value)> = vec![
            (Some("/azp"), people.client_id.as_str().into()),
            (Some("/auth_time"), signed_in_s.unwrap_or(now.secs()).into()),
            (Some(claims.person.as_str()), person.into()),
            (claims.groups.as_deref(), groups.into()),
            (claims.tenants.as_deref(), tenants.into()),
        ];
        if let (Some(address), Some(pointer)) = (address, &claims.address) {
            places.push((Some(pointer), address.into()));
            places.push((Some(claims.address_verified.as_str()), true.into()));
        }
        for (pointer, value) in places {
            match pointer {
                Some(pointer) => put(&mut payload, pointer, value)?,
                None if value.as_array().is_some_and(Vec::is_empty) => {}
                None => return Err("the deployment maps no claim to it".to_owned()),
            }
        }
        self.signed(&payload)
    }

    /// What every token says, and when it ends.
    fn lasting(
        &self,
        audience: &str,
        (ttl_s, now): (u64, Timestamp),
        id: [u8; 16],
    ) -> Result<(Value, Timestamp), String> {
        let asked = i64::try_from(ttl_s).ok().filter(|_| (1..=TTL_S_MAX).contains(&ttl_s));
        let ttl_s = asked.ok_or_else(|| format!("a token lives from 1 to {TTL_S_MAX} seconds"))?;
        let expires_s = now.secs().saturating_add(ttl_s);
        let payload = json!({
            "iss": self.config.issuer,
            "aud": audience,
            "iat": now.secs(),
            "exp": expires_s,
            "jti": hex::encode(id),
        });
        Ok((payload, Timestamp::from_secs(expires_s)))
    }

    fn signed(&self, payload: &Value) -> Result<String, String> {
        let mut header = Header::new(Algorithm::EdDsa.into());
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, payload, &self.key)
            .map_err(|why| format!("cannot sign: {why}"))?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("the token would be longer than {TOKEN_BYTES_MAX} bytes"));
        }
        Ok(token)
    }
}

/// Each value of a request with the pointer to its place.
fn placed<'a>(
    request: &TokenRequest,
    claims: &'a Claims,
    id: [u8; 16],
) -> Result<Vec<(&'a str, Value)>, String> {
    let TokenRequest { actor, tenant, subject, session, scopes, attributes, ttl_s: _ } = request;
    let mut placed = vec![
        (claims.subject.as_str(), subject.as_str().into()),
        (claims.actor.first().map_or("", String::as_str), actor.as_str().into()),
        (claims.tenant.as_str(), tenant.as_str().into()),
    ];
    match (&claims.session, session) {
        (Some(pointer), Some(session)) => placed.push((pointer, session.as_str().into())),
        (Some(pointer), None) => placed.push((pointer, hex::encode(id).into())),
        (None, Some(_)) => return Err("the posture maps no claim to the session".to_owned()),
        (None, None) => {}
    }
    // Made-up people are their own ids.
    if let Some(pointer) = &claims.person {
        placed.push((pointer, subject.as_str().into()));
    }
    match claims.scopes.first() {
        Some(pointer) if !scopes.is_empty() => placed.push((pointer, scopes.join(" ").into())),
        Some(_) | None => {}
    }
    for (name, values) in attributes {
        let pointer = claims.attributes.get(name);
        let pointer = pointer.ok_or_else(|| format!("the posture has no attribute `{name}`"))?;
        placed.push((pointer, values.as_slice().into()));
    }
    Ok(placed)
}

/// Puts a value where `pointer` looks, making objects on the way.
fn put(payload: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    let taken = || format!("two different claims belong at `{pointer}`");
    let mut place = payload;
    for step in steps(pointer) {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        place = place.as_object_mut().ok_or_else(taken)?.entry(step).or_insert(Value::Null);
    }
    match place {
        Value::Null => *place = value,
        same if *same == value => {}
        _ => return Err(taken()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Identity;
    use super::*;
    use countersign_core::principal::Principal;
    use std::collections::BTreeSet;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const NOW: i64 = 1_800_000_000;

    #[derive(Debug)]
    struct Bytes(u8);

    impl Entropy for Bytes {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn issuer(seed: u8) -> DevelopmentIssuer {
        let audience = "http://127.0.0.1:8787".to_owned();
        DevelopmentIssuer::new(&Bytes(seed), "http://127.0.0.1:8787/dev".to_owned(), audience)
            .unwrap()
    }

    fn claims() -> Claims {
        Claims {
            subject: "/sub".to_owned(),
            actor: vec!["/client_id".to_owned()],
            tenant: "/tenant".to_owned(),
            session: Some("/sid".to_owned()),
            person: None,
            scopes: vec!["/scope".to_owned()],
            agent_build: Some("/agent_build".to_owned()),
            model: None,
            attributes: BTreeMap::from([("depots".to_owned(), "/depots".to_owned())]),
        }
    }

    fn request() -> TokenRequest {
        TokenRequest {
            actor: "support-copilot".to_owned(),
            tenant: "acct_alpha".to_owned(),
            subject: "ada".to_owned(),
            session: None,
            scopes: vec!["orders:read".to_owned(), "x".to_owned()],
            attributes: BTreeMap::from([(
                "depots".to_owned(),
                vec!["north".to_owned(), "south".to_owned()],
            )]),
            ttl_s: 600,
        }
    }

    fn met(identity: &Identity, token: &str) -> Result<Arc<Principal>, String> {
        let mut met = pin!(identity.identify(token, None, Timestamp::from_secs(NOW)));
        match met.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(met) => met.map_err(|unmet| format!("{unmet:?}")),
            Poll::Pending => panic!("keys that are there need no waiting"),
        }
    }

    fn mint(request: &TokenRequest, claims: &Claims) -> Result<String, String> {
        issuer(1).mint(request, claims, Timestamp::from_secs(NOW), [7; 16])
    }

    fn identified(token: &str, by: &DevelopmentIssuer, claims: Claims) -> Arc<Principal> {
        let identity = Identity::new(vec![by.issuer_config()], claims).unwrap();
        met(&identity, token).unwrap()
    }

    #[test]
    fn a_token_says_what_was_asked_and_ends_when_it_was_to() {
        let principal = identified(&mint(&request(), &claims()).unwrap(), &issuer(1), claims());
        assert_eq!(principal.issuer.as_str(), "http://127.0.0.1:8787/dev");
        assert_eq!(principal.actor.as_str(), "support-copilot");
        assert_eq!(principal.tenant.as_str(), "acct_alpha");
        assert_eq!(principal.subject.as_str(), "ada");
        assert_eq!(principal.sid, Some("07".repeat(16)));
        assert_eq!(principal.scopes, BTreeSet::from(["orders:read".to_owned(), "x".to_owned()]));
        assert_eq!(
            principal.attributes["depots"],
            BTreeSet::from(["north".to_owned(), "south".to_owned()])
        );
        assert_eq!(principal.expires, Timestamp::from_secs(NOW + 600));
    }

    #[test]
    fn any_mapping_of_claims_can_be_served() {
        let mapping = Claims {
            subject: "/https:~1~1acme.example~1user/id".to_owned(),
            actor: vec!["/https:~1~1acme.example~1user/by".to_owned()],
            tenant: "/org/unit/0".to_owned(),
            session: None,
            person: None,
            scopes: vec!["/org/scopes".to_owned()],
            agent_build: None,
            model: None,
            attributes: BTreeMap::from([("depots".to_owned(), "/org/a~0b".to_owned())]),
        };
        let token = mint(&request(), &mapping).unwrap();
        let principal = identified(&token, &issuer(1), mapping);
        assert_eq!(principal.subject.as_str(), "ada");
        assert_eq!(principal.actor.as_str(), "support-copilot");
        assert_eq!(principal.tenant.as_str(), "acct_alpha");
        assert_eq!((&principal.sid, principal.attributes["depots"].len()), (&None, 2));
    }

    #[test]
    fn a_session_that_is_asked_for_is_kept() {
        let asked = TokenRequest { session: Some("s-1".to_owned()), ..request() };
        let principal = identified(&mint(&asked, &claims()).unwrap(), &issuer(1), claims());
        assert_eq!(principal.sid.as_deref(), Some("s-1"));
    }

    #[test]
    fn two_claims_at_one_place_must_be_equal() {
        let mapping = Claims { subject: "/client_id".to_owned(), ..claims() };
        assert!(mint(&request(), &mapping).unwrap_err().contains("`/client_id`"));
        let alone = TokenRequest { subject: "support-copilot".to_owned(), ..request() };
        assert!(mint(&alone, &mapping).is_ok());
        for pointer in ["/iss", "/exp", "/aud", "/sub/id", "/jti/0"] {
            let mapping = Claims { tenant: pointer.to_owned(), ..claims() };
            assert!(mint(&request(), &mapping).unwrap_err().contains(pointer), "{pointer}");
        }
    }

    #[test]
    fn what_would_not_be_accepted_is_not_signed() {
        let unknown = BTreeMap::from([("roles".to_owned(), vec!["x".to_owned()])]);
        let many = BTreeMap::from([("depots".to_owned(), vec!["d".repeat(200); 200])]);
        for (asked, reason) in [
            (TokenRequest { ttl_s: 0, ..request() }, "from 1 to"),
            (TokenRequest { ttl_s: TTL_S_MAX + 1, ..request() }, "from 1 to"),
            (TokenRequest { ttl_s: u64::MAX, ..request() }, "from 1 to"),
            (TokenRequest { tenant: String::new(), ..request() }, "`/tenant` must not be empty"),
            (TokenRequest { subject: "x".repeat(300), ..request() }, "`/sub` must be at most"),
            (TokenRequest { attributes: unknown, ..request() }, "no attribute `roles`"),
            (TokenRequest { attributes: many, ..request() }, "longer than"),
        ] {
            let error = mint(&asked, &claims()).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
        let asked = TokenRequest { session: Some("s".to_owned()), ..request() };
        assert!(mint(&asked, &Claims { session: None, ..claims() }).is_err());
        assert!(mint(&TokenRequest { ttl_s: TTL_S_MAX, ..request() }, &claims()).is_ok());
    }

    #[test]
    fn a_token_of_an_earlier_start_is_not_accepted() {
        let token = mint(&request(), &claims()).unwrap();
        let restarted = Identity::new(vec![issuer(2).issuer_config()], claims()).unwrap();
        assert!(met(&restarted, &token).unwrap_err().contains("`kid`"));
    }

    #[test]
    fn the_key_does_not_show_itself() {
        let shown = format!("{:?}", issuer(9));
        assert!(!shown.contains(&"9, ".repeat(4)), "{shown}");
        assert!(!shown.contains(&"09".repeat(4)), "{shown}");
    }
}
