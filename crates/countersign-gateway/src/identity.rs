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
#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use keys::{Algorithm, KeySet};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::args;
use countersign_core::id::{Digest, IssuerId, Timestamp};
use countersign_core::port::{Authenticator, Credential, Eventually};
use countersign_core::principal::Principal;
use countersign_core::refusal::AuthenticationFailure;
use http::{HeaderMap, header::AUTHORIZATION};
use keys::Key;
use lru::LruCache;
use serde_json::{Map, Value};
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
    /// What `aud` must be or contain.
    pub audience: String,
    /// The algorithms it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// Its public keys.
    pub keys: KeySet,
}

/// The authenticator: configured issuers, the mapping of claims, and a cache of verified tokens.
///
/// Immutable but for the cache, which dies with it: other keys are another `Identity`.
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
            if config.audience.is_empty() {
                return Err(format!("issuer `{name}` has no audience"));
            }
            if !config.keys.iter().any(|key| config.algorithms.contains(&key.algorithm)) {
                return Err(format!("issuer `{name}` has no key for any of its algorithms"));
            }
            if by_name.insert(id, config).is_some() {
                return Err(format!("issuer `{name}` is configured twice"));
            }
        }
        let cache = Mutex::new(LruCache::new(CACHED_TOKENS_MAX));
        Ok(Self { issuers: by_name, claims, cache })
    }

    fn identify(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, String> {
        if token == MALFORMED {
            return Err("the `Authorization` header is not exactly one bearer token".to_owned());
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("the token is longer than {TOKEN_BYTES_MAX} bytes"));
        }
        let key = *Digest::sha256(token.as_bytes()).as_bytes();
        if let Some(principal) = self.remembered(&key, now) {
            return Ok(principal);
        }
        let principal = Arc::new(self.verify(token, now)?);
        let recheck = Timestamp::from_secs(now.secs().saturating_add(CACHE_S));
        let until = principal.expires.min(recheck);
        let verified = Verified { principal: Arc::clone(&principal), from: now, until };
        // A poisoned cache is left alone: every token is then verified in full.
        if let Ok(mut cache) = self.cache.lock() {
            cache.put(key, verified);
        }
        Ok(principal)
    }

    fn remembered(&self, key: &[u8; 32], now: Timestamp) -> Option<Arc<Principal>> {
        let mut cache = self.cache.lock().ok()?;
        let verified = cache.get(key)?;
        (verified.from <= now && now < verified.until).then(|| Arc::clone(&verified.principal))
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, String> {
        let unverified = Unverified::parse(token)?;
        let (id, issuer) = unverified
            .issuer()
            .and_then(|name| self.issuers.get_key_value(&name))
            .ok_or("`iss` is not a configured issuer")?;
        let verified = move || {
            let key = issuer.key(&unverified)?; // whose signature must it be?
            let claims = unverified.signed_by(key)?; // is it?
            let expires = issuer.in_force(&claims, now)?; // for us, and now?
            self.claims.principal(&claims, id.clone(), expires) // for whom?
        };
        verified().map_err(|why: String| format!("issuer `{id}`: {why}"))
    }
}

impl Authenticator for Identity {
    fn authenticate<'a>(
        &'a self,
        credential: &'a Credential,
        now: Timestamp,
    ) -> Eventually<'a, Result<Arc<Principal>, AuthenticationFailure>> {
        Box::pin(async move {
            let token = credential.expose().ok_or(AuthenticationFailure::Missing)?;
            self.identify(token, now).map_err(AuthenticationFailure::Invalid)
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
        match header.get("typ") {
            None => {}
            Some(Value::String(typ)) if is_jwt(typ) => {}
            Some(_) => return Err("the header's `typ` is neither `JWT` nor `at+jwt`".to_owned()),
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = algorithm.ok_or("the header's `alg` is not one that is ever accepted")?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("the header's `kid` is not a string".to_owned()),
        };
        Ok(Self { message, signature, algorithm, kid, claims })
    }

    /// Who it says issued it: good for choosing whose keys must have signed it, and no more.
    fn issuer(&self) -> Option<IssuerId> {
        self.claims.get("iss").and_then(Value::as_str).and_then(|iss| IssuerId::new(iss).ok())
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
fn is_jwt(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

impl IssuerConfig {
    /// The one key that must have signed it: of an algorithm allowed to this issuer, which is the
    /// header's too, and with the header's `kid`. Without a `kid`, only if there is no choice.
    fn key(&self, token: &Unverified<'_>) -> Result<&Key, String> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err("the header's `alg` is not allowed to this issuer".to_owned());
        }
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithm == token.algorithm && (token.kid.is_none() || key.kid == token.kid)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err("the header has no `kid`, and several keys fit".to_owned()),
            (None, _) => Err("no key has the header's `kid` and `alg`".to_owned()),
        }
    }

    /// When the token ends, if it is for the configured audience and in force.
    fn in_force(&self, claims: &Value, now: Timestamp) -> Result<Timestamp, String> {
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(all)) => {
                all.iter().all(Value::is_string) && all.iter().any(|one| *one == *self.audience)
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

fn token68(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    (scheme.eq_ignore_ascii_case("bearer") && token.trim_end_matches('=').chars().all(allowed))
        .then_some(token)
}
