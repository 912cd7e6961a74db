//! Who asks: bearer tokens (JWT, RFC 7519), verified with the keys of configured issuers.
//!
//! The algorithm comes from the configuration and the key, never from the token alone; HMAC and
//! `none` have no name here. The payload is read once, strictly, and what was read is what is
//! checked and mapped, so no second reader can see other claims in the same bytes. `jsonwebtoken`
//! computes signatures and nothing else: it would read the system's clock for `exp` and `nbf`.
//!
//! A reason for the journal names the configured issuer and pointers, and never quotes the token.

mod claims;
pub mod development;
mod keys;
mod people;
mod source;
#[cfg(test)]
mod tests;

pub use claims::{Claims, Tenancy};
pub use keys::{Algorithm, KeySet};
pub use people::{Agents, PeopleConfig, PersonClaims, SignIn};
pub use source::{FLOOR, Fetched, KeySource, Place};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use claims::Voucher;
use countersign_core::args;
use countersign_core::id::{Digest, IssuerId, Timestamp};
use countersign_core::port::{Authenticator, Credential, Eventually};
use countersign_core::principal::Principal;
use countersign_core::refusal::AuthenticationFailure;
use http::{HeaderMap, header::AUTHORIZATION};
use keys::Key;
use lru::LruCache;
use serde_json::{Map, Value};
use source::{Full, Held};
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far in the future `nbf` and `iat` may lie, in seconds: the issuer's clock may be ahead.
/// `exp` has no such leeway: a token that has ended has ended.
pub const LEEWAY_S: i64 = 30;
/// Longest time for which a verified token is not verified again, in seconds.
pub const CACHE_S: i64 = 60;
/// Most verified tokens remembered; the least recently used goes first.
pub const CACHED_TOKENS_MAX: NonZeroUsize = match NonZeroUsize::new(4_096) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// What [`bearer`] makes of a header that holds no bearer token. No valid token is empty.
const MALFORMED: &str = "";

/// An issuer whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// What `iss` must equal, byte for byte.
    pub issuer: String,
    /// What `aud` must be or contain: one of these.
    pub audiences: Vec<String>,
    /// The algorithms it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// Its public keys.
    pub keys: KeySource,
    /// Whom it may speak for.
    pub tenancy: Tenancy,
    /// Whether its tokens must be of the type `at+jwt` (RFC 9068).
    pub require_at_jwt: bool,
}

impl IssuerConfig {
    /// Whether it is a SPIFFE trust domain, whose tokens name no issuer: their subject does.
    fn is_spiffe(&self) -> bool {
        self.issuer.starts_with(SPIFFE)
    }
}

/// What stands before the name of a SPIFFE trust domain.
const SPIFFE: &str = "spiffe://";

/// The authenticator: configured issuers, the mapping of claims, and a cache of verified tokens.
///
/// Immutable but for the cache, which dies with it; keys that are fetched outlive it.
#[derive(Debug)]
pub struct Identity {
    issuers: BTreeMap<IssuerId, IssuerConfig>,
    claims: Claims,
    cache: Mutex<LruCache<[u8; 32], Verified>>,
}

/// A token that was wholly valid when it was looked at.
#[derive(Debug)]
struct Verified {
    principal: Arc<Principal>,
    /// When it was verified. A clock that went back to before may have left `nbf` ahead again.
    from: Timestamp,
    /// Until when that is believed, exclusive. Never later than `exp`.
    until: Timestamp,
    /// Of the keys that it was verified with: with others it may not be valid any more.
    generation: u64,
}

impl IssuerConfig {
    /// Whether any of its tokens could ever be accepted.
    ///
    /// # Errors
    /// A sentence for the operator: no audience, no algorithm or key that fits one, no tenant.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.issuer;
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(format!("issuer `{name}` has no audience"));
        }
        let fits = |key: &Key| self.algorithms.contains(&key.algorithm);
        if self.algorithms.is_empty()
            || matches!(&self.keys, KeySource::Fixed(keys) if !keys.iter().any(fits))
        {
            return Err(format!("issuer `{name}` has no key for any of its algorithms"));
        }
        if self.is_spiffe() && self.tenancy.only.is_none() {
            return Err(format!("tokens of `{name}` name no tenant, and nothing else does"));
        }
        Ok(())
    }
}

impl Identity {
    /// Takes the issuers and the mapping.
    ///
    /// # Errors
    /// A sentence for the operator: no issuer, one named twice, an issuer without audience,
    /// algorithm or a key that fits one, or a claim pointer that is none.
    pub fn new(issuers: Vec<IssuerConfig>, claims: Claims) -> Result<Self, String> {
        claims.check()?;
        if issuers.is_empty() {
            return Err("no token issuer is configured".to_owned());
        }
        let mut by_name = BTreeMap::new();
        for config in issuers {
            let name = config.issuer.clone();
            let id = IssuerId::new(name.clone()).map_err(|why| format!("issuer `{name}` {why}"))?;
            config.check()?;
            if by_name.insert(id, config).is_some() {
                return Err(format!("issuer `{name}` is configured twice"));
            }
        }
        let cache = Mutex::new(LruCache::new(CACHED_TOKENS_MAX));
        Ok(Self { issuers: by_name, claims, cache })
    }

    async fn identify(
        &self,
        token: &str,
        chosen: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Unmet> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("the token is longer than {TOKEN_BYTES_MAX} bytes").into());
        }
        let chooses = if chosen.is_some() { b"1" } else { b"0" };
        let parts = [token.as_bytes(), chooses, chosen.unwrap_or_default().as_bytes()];
        let key = *Digest::of("countersign/token/1", &parts).as_bytes();
        if let Some(principal) = self.remembered(&key, now) {
            return Ok(principal);
        }
        let (principal, generation) = self.verify(token, chosen, now).await?;
        let principal = Arc::new(principal);
        let recheck = Timestamp::from_secs(now.secs().saturating_add(CACHE_S));
        let until = principal.expires.min(recheck);
        let verified = Verified { principal: Arc::clone(&principal), from: now, until, generation };
        // A poisoned cache is left alone: every token is then verified in full.
        if let Ok(mut cache) = self.cache.lock() {
            cache.put(key, verified);
        }
        Ok(principal)
    }

    fn remembered(&self, key: &[u8; 32], now: Timestamp) -> Option<Arc<Principal>> {
        let mut cache = self.cache.lock().ok()?;
        let Verified { principal, from, until, generation } = cache.get(key)?;
        let held = self.issuers.get(&principal.issuer)?.keys.held(now)?;
        let holds = *from <= now && now < *until && held.generation == *generation;
        holds.then(|| Arc::clone(principal))
    }

    async fn verify(
        &self,
        token: &str,
        chosen: Option<&str>,
        now: Timestamp,
    ) -> Result<(Principal, u64), Unmet> {
        let Proven { id, issuer, claims, expires, generation } =
            proven(&self.issuers, token, now).await?;
        let (tenancy, workload) = (&issuer.tenancy, issuer.is_spiffe());
        let voucher = Voucher { issuer: id.clone(), tenancy, workload, chosen };
        let principal = self.claims.principal(&claims, voucher, expires); // for whom?
        principal.map(|principal| (principal, generation)).map_err(|why| named(id, why))
    }
}

/// What a token says that was wholly valid when it was looked at.
struct Proven<'a> {
    id: &'a IssuerId,
    issuer: &'a IssuerConfig,
    claims: Value,
    /// When the token ends.
    expires: Timestamp,
    /// Of the keys that it was verified with.
    generation: u64,
}

async fn proven<'a>(
    issuers: &'a BTreeMap<IssuerId, IssuerConfig>,
    token: &str,
    now: Timestamp,
) -> Result<Proven<'a>, Unmet> {
    if token == MALFORMED {
        let why = "the `Authorization` header is not exactly one bearer token";
        return Err(why.to_owned().into());
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token is longer than {TOKEN_BYTES_MAX} bytes").into());
    }
    let unverified = Unverified::parse(token)?;
    let (id, issuer) = unverified
        .issuer()
        .and_then(|name| issuers.get_key_value(&name))
        .ok_or_else(|| "`iss` is not a configured issuer".to_owned())?;
    let key = issuer.key(&unverified, now).await;
    let (key, generation) = key.map_err(|unmet| match unmet {
        Unmet::Invalid(why) => named(id, why),
        Unmet::Busy => Unmet::Busy,
    })?; // whose signature must it be?
    let verified = move || {
        let claims = unverified.signed_by(&key)?; // is it?
        let expires = issuer.in_force(&claims, now)?; // for us, and now?
        Ok(Proven { id, issuer, claims, expires, generation })
    };
    verified().map_err(|why: String| named(id, why))
}

fn named(id: &IssuerId, why: String) -> Unmet {
    Unmet::from(format!("issuer `{id}`: {why}"))
}

impl Authenticator for Identity {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>> {
        Box::pin(async move {
            let token = credential.expose().ok_or(AuthenticationFailure::Missing)?;
            let identified = self.identify(token, credential.tenant(), now).await;
            identified.map_err(Unmet::failure)
        })
    }
}

/// A token in parts. Nothing in it is to be believed; what it claims comes out by
/// [`Unverified::signed_by`] alone.
struct Unverified<'a> {
    /// Header and payload as sent: what was signed.
    message: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    fn parse(token: &'a str) -> Result<Self, String> {
        let parts = || {
            let (message, signature) = token.rsplit_once('.')?;
            let (header, payload) = message.split_once('.')?;
            Some((message, header, payload, signature))
        };
        let (message, header, payload, signature) =
            parts().ok_or("the token is not three parts with dots between")?;
        let header = object("header", header)?;
        let claims = object("payload", payload)?;
        if header.contains_key("crit") {
            return Err("the header asks for extensions (`crit`), and none is known".to_owned());
        }
        let typ = match header.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(media_type(typ)),
            Some(_) => return Err("the header's `typ` is not a string".to_owned()),
        };
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = algorithm.ok_or("the header's `alg` is not one that is ever accepted")?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("the header's `kid` is not a string".to_owned()),
        };
        Ok(Self { message, signature, algorithm, kid, typ, claims })
    }

    /// Who it says issued it: good for choosing whose keys must have signed it, and no more.
    fn issuer(&self) -> Option<IssuerId> {
        let text = |name: &str| self.claims.get(name).and_then(Value::as_str);
        // The subject of a workload's token begins with its trust domain.
        let domain = text("sub").and_then(|sub| sub.strip_prefix(SPIFFE)).map(|rest| {
            format!("{SPIFFE}{}", rest.split_once('/').map_or(rest, |(domain, _path)| domain))
        });
        let name = domain.or_else(|| text("iss").map(str::to_owned))?;
        IssuerId::new(name).ok()
    }

    /// The claims, if `key` signed them.
    fn signed_by(self, key: &Key) -> Result<Value, String> {
        if !key.verify(self.message, self.signature) {
            return Err("the signature is not valid".to_owned());
        }
        Ok(Value::Object(self.claims))
    }
}

fn object(part: &str, encoded: &str) -> Result<Map<String, Value>, String> {
    let text = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_position| format!("the {part} is not base64url"))?;
    match args::parse(&text).map_err(|why| format!("the {part} is not acceptable JSON: {why}"))? {
        Value::Object(members) => Ok(members),
        _ => Err(format!("the {part} is not an object")),
    }
}

/// RFC 7519 §5.1 and RFC 9068 §2.1: media types, so in any case and perhaps with `application/`.
fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
}

impl IssuerConfig {
    /// The one key that must have signed it, and the generation of its set. A key that is not known
    /// may be a new one: then what the issuer says next is waited for, within bounds.
    async fn key(&self, token: &Unverified<'_>, now: Timestamp) -> Result<(Key, u64), Unmet> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err("the header's `alg` is not allowed to this issuer".to_owned().into());
        }
        self.takes_type(token.typ.as_deref())?;
        let held = self.keys.held(now);
        let chosen = held.as_ref().map(|held| choose(held, token));
        let why = match chosen {
            Some(Ok(found)) => return Ok(found),
            Some(Err(Unfit::Ambiguous)) => {
                return Err("the header has no `kid`, and several keys fit".to_owned().into());
            }
            Some(Err(Unfit::Unknown)) => "no key has the header's `kid` and `alg`",
            None => "its keys are not known",
        };
        let newer = self.keys.newer(now, |held| choose(held, token).ok()).await;
        newer.map_err(|Full| Unmet::Busy)?.ok_or_else(|| why.to_owned().into())
    }

    fn takes_type(&self, typ: Option<&str>) -> Result<(), String> {
        match typ {
            Some("at+jwt") => Ok(()),
            _ if self.require_at_jwt => Err("the header's `typ` is not `at+jwt`".to_owned()),
            None | Some("jwt") => Ok(()),
            // SPIFFE JWT-SVID §2.1.
            Some("jose") if self.is_spiffe() => Ok(()),
            Some(_) => Err("the header's `typ` is neither `JWT` nor `at+jwt`".to_owned()),
        }
    }

    /// When the token ends, if it is for the configured audience and in force.
    fn in_force(&self, claims: &Value, now: Timestamp) -> Result<Timestamp, String> {
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => self.audiences.contains(one),
            Some(Value::Array(all)) => {
                let texts: Option<Vec<_>> = all.iter().map(Value::as_str).collect();
                texts.is_some_and(|texts| {
                    self.audiences.iter().any(|own| texts.contains(&own.as_str()))
                })
            }
            _ => false,
        };
        if !audience {
            return Err("`aud` is not this gateway".to_owned());
        }
        let expires = date(claims, "exp", f64::floor)?.ok_or("`exp` is missing")?;
        let expires = Timestamp::from_secs(expires);
        if expires <= now {
            return Err("the token has expired".to_owned());
        }
        for name in ["nbf", "iat"] {
            let begins = date(claims, name, f64::ceil)?;
            let begins = begins.map(|s| Timestamp::from_secs(s.saturating_sub(LEEWAY_S)));
            if begins.is_some_and(|begins| begins > now) {
                return Err(format!("the token is not valid yet (`{name}`)"));
            }
        }
        Ok(expires)
    }
}

/// Why a token makes nobody known.
#[derive(Debug)]
enum Unmet {
    /// It is not valid.
    Invalid(String),
    /// Whether it is would show with the issuer's next keys, and too many wait for them.
    Busy,
}

impl Unmet {
    fn failure(self) -> AuthenticationFailure {
        match self {
            Self::Invalid(why) => AuthenticationFailure::Invalid(why),
            Self::Busy => AuthenticationFailure::Busy,
        }
    }
}

impl From<String> for Unmet {
    fn from(why: String) -> Self {
        Self::Invalid(why)
    }
}

/// Why none of the keys that are held is the one.
enum Unfit {
    /// None has the token's `kid` and `alg`.
    Unknown,
    /// Several could be.
    Ambiguous,
}

/// The key of the header's algorithm, and with its `kid`. Without a `kid`, only if there is no choice.
fn choose(held: &Held, token: &Unverified<'_>) -> Result<(Key, u64), Unfit> {
    let mut fitting = held.keys.iter().filter(|key| {
        key.algorithm == token.algorithm && (token.kid.is_none() || key.kid == token.kid)
    });
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok((key.clone(), held.generation)),
        (Some(_), Some(_)) => Err(Unfit::Ambiguous),
        (None, _) => Err(Unfit::Unknown),
    }
}

/// A claim in seconds since the epoch (NumericDate, RFC 7519 §2); `round` settles a fraction.
fn date(claims: &Value, name: &str, round: fn(f64) -> f64) -> Result<Option<i64>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // A fraction is within ±2^53 (`args::parse` made whole floats integers), so the cast is exact.
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|s| round(s) as i64));
    seconds.map(Some).ok_or_else(|| format!("`{name}` is not a number of seconds"))
}

/// The bearer token of a request, from its `Authorization` header and nowhere else (RFC 6750 §2.1).
///
/// No such header is [`Credential::none`]. Several, another scheme, or characters that no token
/// holds make a credential that [`Identity`] refuses.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Credential {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    match (sent.next(), sent.next()) {
        (None, _) => Credential::none(),
        (Some(value), None) => {
            Credential::bearer(value.to_str().ok().and_then(token68).unwrap_or(MALFORMED))
        }
        (Some(_), Some(_)) => Credential::bearer(MALFORMED),
    }
}

/// The header by which a caller whose token speaks for several tenants chooses one.
pub const TENANT_HEADER: &str = "countersign-tenant";

/// The tenant that a request chooses. Several, or one that is no text, are nobody's tenant.
#[must_use]
pub fn chosen_tenant(headers: &HeaderMap) -> Option<String> {
    let mut sent = headers.get_all(TENANT_HEADER).iter();
    match (sent.next(), sent.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().unwrap_or_default().to_owned()),
        (Some(_), Some(_)) => Some(String::new()),
    }
}

fn token68(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    (scheme.eq_ignore_ascii_case("bearer") && token.trim_end_matches('=').chars().all(allowed))
        .then_some(token)
}
