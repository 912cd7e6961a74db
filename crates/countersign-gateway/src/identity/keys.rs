//! Public keys of issuers, from a JSON Web Key Set (RFC 7517).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::args;
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most keys in one set.
const KEYS_MAX: usize = 64;
/// Smallest RSA modulus, in bits.
const RSA_BITS_MIN: usize = 2_048;
/// Largest RSA modulus, in bits: what the verifier takes, and a bound on its work.
const RSA_BITS_MAX: usize = 8_192;

/// Members of a JWK that hold private or secret material (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A signature algorithm that may be configured. There is no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// From its name in RFC 7518 and RFC 8037: `ES256`, `RS256` or `EdDSA`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::ES256,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::EdDsa => Self::EdDSA,
        }
    }
}

/// The public keys of one issuer. No two of them have one `kid` and algorithm.
#[derive(Debug, Clone)]
pub struct KeySet(Vec<Key>);

/// One public key and the one algorithm it is for.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Every key must be usable: a set that is half understood is refused.
    ///
    /// # Errors
    /// A sentence for the operator that names the key: no key at all, a symmetric or private key,
    /// one that is not for signatures, an algorithm other than ES256, RS256 and EdDSA, RSA below
    /// 2048 bits, or a `kid` that stands twice.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set = args::parse(text).map_err(|why| format!("the key set cannot be read: {why}"))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("a key set is an object with a list named `keys`")?;
        if keys.is_empty() {
            return Err("the key set is empty".to_owned());
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("the key set has more than {KEYS_MAX} keys"));
        }
        let mut seen = BTreeSet::new();
        let mut parsed = Vec::with_capacity(keys.len());
        for (index, jwk) in keys.iter().enumerate() {
            let named = |why: String| match text_of(jwk, "kid") {
                Ok(Some(kid)) => format!("key `{kid}` {why}"),
                _ => format!("key {} {why}", index.saturating_add(1)),
            };
            let key = Key::parse(jwk, "sig").map_err(named)?;
            if key.kid.as_ref().is_some_and(|kid| !seen.insert(kid.clone())) {
                return Err(named("stands twice in the key set".to_owned()));
            }
            parsed.push(key);
        }
        Ok(Self(parsed))
    }

    /// Reads the keys of a set that can be used here, and passes over others: issuers publish keys
    /// for everybody. `purpose` is what a key's `use` must say, if it says anything. An issuer that
    /// publishes none that can be used has none: whoever signed before is not trusted any more.
    ///
    /// # Errors
    /// A sentence: it is no key set, or too long.
    pub fn usable(text: &[u8], purpose: &str) -> Result<Self, String> {
        let set = args::parse(text).map_err(|why| format!("the key set cannot be read: {why}"))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("a key set is an object with a list named `keys`")?;
        if keys.len() > KEYS_MAX {
            return Err(format!("the key set has more than {KEYS_MAX} keys"));
        }
        let mut usable: Vec<Key> = Vec::new();
        for jwk in keys {
            match Key::parse(jwk, purpose) {
                // Of two that a token could mean, the first is meant.
                Ok(key) if usable.iter().any(|known| known.reads_as(&key)) => {}
                Ok(key) => usable.push(key),
                Err(reason) => tracing::debug!(reason, "a key of a set cannot be used"),
            }
        }
        Ok(Self(usable))
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Key> {
        self.0.iter()
    }
}

impl Key {
    /// Whether a token could not tell them apart.
    fn reads_as(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm
    }

    fn parse(jwk: &Value, purpose: &str) -> Result<Self, String> {
        let kty = text_of(jwk, "kty")?.ok_or("has no `kty`")?;
        if kty == "oct" {
            return Err("is symmetric: whoever can verify with it can also sign".to_owned());
        }
        if let Some(member) = PRIVATE.into_iter().find(|member| jwk.get(member).is_some()) {
            return Err(format!(
                "is private (it has `{member}`): only its public part belongs here"
            ));
        }
        for_signatures(jwk, purpose)?;
        let (algorithm, key) = match (kty, text_of(jwk, "crv")?) {
            ("RSA", None) => (Algorithm::Rs256, rsa(jwk)?),
            ("EC", Some("P-256")) => {
                let point = [vec![4], bytes(jwk, "x", 32)?, bytes(jwk, "y", 32)?].concat();
                (Algorithm::Es256, DecodingKey::from_ec_der(&point))
            }
            ("OKP", Some("Ed25519")) => {
                (Algorithm::EdDsa, DecodingKey::from_ed_der(&bytes(jwk, "x", 32)?))
            }
            _ => return Err("is not for ES256, RS256 or EdDSA (`kty` and `crv`)".to_owned()),
        };
        match text_of(jwk, "alg")? {
            Some(alg) if Algorithm::parse(alg) != Some(algorithm) => {
                Err(format!("has an `alg` (`{alg}`) that its `kty` is not accepted for"))
            }
            _ => Ok(Self { kid: text_of(jwk, "kid")?.map(str::to_owned), algorithm, key }),
        }
    }

    /// Whether `signature` (base64url) is this key's over `message`.
    pub(super) fn verify(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.into();
        let verdict =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm);
        matches!(verdict, Ok(true))
    }
}

fn for_signatures(jwk: &Value, purpose: &str) -> Result<(), String> {
    if text_of(jwk, "use")?.is_some_and(|stated| stated != purpose) {
        return Err(format!("is not for signatures (`use` is not `{purpose}`)"));
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => Ok(()),
        Some(_) => Err("is not for signatures (`key_ops` lacks `verify`)".to_owned()),
    }
}

fn rsa(jwk: &Value) -> Result<DecodingKey, String> {
    let modulus = decoded(jwk, "n")?;
    let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
    let modulus = modulus.get(zeros..).unwrap_or_default();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = modulus.len().saturating_mul(8).saturating_sub(unused as usize);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(format!("has {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted"));
    }
    let exponent = decoded(jwk, "e")?;
    // What every issuer uses; with 1, anything would be a signature.
    if exponent != [1, 0, 1] {
        return Err("has an exponent (`e`) other than 65537".to_owned());
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, &exponent))
}

fn text_of<'a>(jwk: &'a Value, member: &str) -> Result<Option<&'a str>, String> {
    match jwk.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a `{member}` that is not a string")),
    }
}

fn decoded(jwk: &Value, member: &str) -> Result<Vec<u8>, String> {
    let text = text_of(jwk, member)?.ok_or_else(|| format!("has no `{member}`"))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|why| format!("has a `{member}` that is not base64url: {why}"))
}

fn bytes(jwk: &Value, member: &str, length: usize) -> Result<Vec<u8>, String> {
    let bytes = decoded(jwk, member)?;
    if bytes.len() != length {
        return Err(format!("has a `{member}` that is not {length} bytes long"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ed() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": encoded(&[9; 32])})
    }

    fn ec() -> Value {
        let half = encoded(&[9; 32]);
        json!({"kty": "EC", "crv": "P-256", "kid": "b", "x": half, "y": half})
    }

    fn rsa(modulus: &[u8]) -> Value {
        json!({"kty": "RSA", "kid": "c", "n": encoded(modulus), "e": "AQAB"})
    }

    fn encoded(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn with(mut jwk: Value, member: &str, value: impl Into<Value>) -> Value {
        jwk[member] = value.into();
        jwk
    }

    fn parse(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn public_keys_for_the_three_algorithms_are_taken() {
        let set = parse(&[ed(), ec(), rsa(&[0xff; 256])]).unwrap();
        let algorithms: Vec<_> = set.iter().map(|key| key.algorithm).collect();
        assert_eq!(algorithms, [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256]);
        for jwk in [
            with(ed(), "use", "sig"),
            with(ed(), "alg", "EdDSA"),
            with(ec(), "alg", "ES256"),
            with(ec(), "key_ops", json!(["verify"])),
            with(rsa(&[0xff; 256]), "alg", "RS256"),
            rsa(&[[0].as_slice(), &[0x80; 256]].concat()),
            rsa(&[0xff; 1_024]),
        ] {
            assert!(parse(std::slice::from_ref(&jwk)).is_ok(), "{jwk}");
        }
    }

    #[test]
    fn a_set_with_one_key_that_cannot_be_used_is_refused_with_the_reason() {
        let short: Vec<u8> = [&[0x7f], [0xff; 255].as_slice()].concat();
        for (jwk, reason) in [
            (json!({"kty": "oct", "kid": "s", "k": "AAAA"}), "key `s` is symmetric"),
            (json!({"kty": "oct"}), "key 2 is symmetric"),
            (with(ec(), "d", "AAAA"), "is private (it has `d`)"),
            (with(ed(), "d", "AAAA"), "is private"),
            (with(rsa(&[0xff; 256]), "p", "AAAA"), "is private (it has `p`)"),
            (with(ed(), "k", "AAAA"), "is private"),
            (with(ed(), "use", "enc"), "`use` is not `sig`"),
            (with(ed(), "use", 1), "`use` that is not a string"),
            (with(ed(), "key_ops", json!(["encrypt"])), "`key_ops` lacks `verify`"),
            (with(ed(), "key_ops", "verify"), "`key_ops` lacks `verify`"),
            (with(ed(), "alg", "ES256"), "`alg` (`ES256`)"),
            (with(rsa(&[0xff; 256]), "alg", "PS256"), "`alg` (`PS256`)"),
            (with(rsa(&[0xff; 256]), "alg", "RS512"), "`alg` (`RS512`)"),
            (with(ec(), "alg", "none"), "`alg` (`none`)"),
            (with(ec(), "crv", "P-384"), "is not for ES256"),
            (with(ed(), "crv", "Ed448"), "is not for ES256"),
            (with(ed(), "crv", "P-256"), "is not for ES256"),
            (with(ed(), "kty", "AKP"), "is not for ES256"),
            (with(ed(), "kid", 7), "`kid` that is not a string"),
            (with(ed(), "x", encoded(&[9; 31])), "not 32 bytes"),
            (with(ec(), "y", encoded(&[9; 33])), "not 32 bytes"),
            (with(ec(), "y", "%"), "not base64url"),
            (rsa(&[0xff; 255]), "has 2040 bits"),
            (rsa(&short), "has 2047 bits"),
            (rsa(&[[0].as_slice(), &short].concat()), "has 2047 bits"),
            (rsa(&[0xff; 1_025]), "has 8200 bits"),
            (rsa(&[]), "has 0 bits"),
            (with(rsa(&[0xff; 256]), "e", "AQ"), "other than 65537"),
            (json!({"kty": "RSA", "e": "AQAB"}), "has no `n`"),
            (json!({}), "has no `kty`"),
            (json!("key"), "has no `kty`"),
        ] {
            let good =
                json!({"kty": "OKP", "crv": "Ed25519", "kid": "good", "x": encoded(&[8; 32])});
            let error = parse(&[good, jwk.clone()]).unwrap_err();
            assert!(error.contains(reason), "{jwk}: {error}");
        }
    }

    #[test]
    fn a_set_that_is_empty_too_long_ambiguous_or_no_set_is_refused() {
        assert!(parse(&[]).unwrap_err().contains("empty"));
        assert!(parse(&[ed(), with(ec(), "kid", "a")]).unwrap_err().contains("`a` stands twice"));
        let nameless = json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&[9; 32])});
        assert!(parse(&vec![nameless.clone(); KEYS_MAX]).is_ok());
        assert!(parse(&vec![nameless; KEYS_MAX + 1]).unwrap_err().contains("more than"));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn no_other_algorithm_has_a_name() {
        for name in ["none", "None", "", "HS256", "es256", "ES384", "RS512", "PS256", "ES256K"] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }
}
