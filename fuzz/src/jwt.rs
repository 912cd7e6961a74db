//! The token check: nobody is known by what the issuer's key did not sign, and by what it did sign
//! only the one whom the claims name, as a second reader reads them.

use super::json::read;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::id::Timestamp;
use countersign_core::port::Authenticator as _;
use countersign_core::principal::Principal;
use countersign_gateway::identity::{
    Algorithm, Claims, Identity, IssuerConfig, KeySet, KeySource, LEEWAY_S, Tenancy, bearer,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://login.acme.example";
pub(crate) const AUDIENCE: &str = "https://gateway.acme.example";

/// The first byte says what the rest is: a header as it is sent, what is done to a good token, or
/// header and payload that are signed by the issuer's key, by another, or by nobody.
pub fn jwt(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 5 {
        0 => {
            let Ok(value) = HeaderValue::from_bytes(rest) else { return };
            if let Some(token) = known(value) {
                assert_eq!(token.0, *GOOD, "a header that nobody sent opens the door");
            }
        }
        1 => {
            let changed: Vec<u8> = GOOD
                .bytes()
                .enumerate()
                .map(|(at, byte)| byte ^ rest.get(at).copied().unwrap_or(0))
                .collect();
            let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", &*changed].concat()) else {
                return;
            };
            if let Some((token, _)) = known(value) {
                assert_eq!(token, *GOOD, "a changed token is accepted");
            }
        }
        how => {
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else { return };
            let (header, payload) = (&rest[..at], &rest[at + 1..]);
            let token = match how {
                2 => signed(header, payload, &KEY),
                3 => signed(header, payload, &OTHER_KEY),
                _ => format!("{}.", message(header, payload)),
            };
            let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) else { return };
            let known = known(value);
            assert!(known.is_none() || how == 2, "what the key did not sign is accepted");
            if let Some((_, principal)) = known {
                entitled(header, payload, &principal);
            }
        }
    }
}

/// Who is known by a header, and by which token. Whatever is accepted, the key has signed.
fn known(value: HeaderValue) -> Option<(String, Arc<Principal>)> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let credential = bearer(&headers);
    let now = Timestamp::from_secs(NOW);
    let principal = super::now(IDENTITY.authenticate(&credential, now)).ok()?;
    let token = credential.expose().expect("a token was sent").to_owned();
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let key = UnparsedPublicKey::new(&ED25519, KEY.public_key());
    key.verify(message.as_bytes(), &signature).expect("the issuer's key did not sign it");
    Some((token, principal))
}

/// What was signed names this gateway, this time and this principal.
fn entitled(header: &[u8], payload: &[u8], principal: &Principal) {
    let object = |text| read(text).expect("readers read it differently").value();
    let (header, claims) = (object(header), object(payload));
    assert_eq!(header["alg"], "EdDSA");
    assert!(header["kid"].is_null() && header.get("kid").is_none() || header["kid"] == "k");
    assert!(header.get("crit").is_none());
    assert_eq!(claims["iss"], ISSUER);
    let audience = |one: &Value| *one == AUDIENCE;
    assert!(
        audience(&claims["aud"])
            || claims["aud"].as_array().is_some_and(|all| all.iter().any(audience))
    );
    assert!(claims["exp"].as_f64().expect("an end") > NOW as f64);
    for begin in ["nbf", "iat"] {
        let begins = claims.get(begin).map(|begin| begin.as_f64().expect("a time"));
        assert!(begins.is_none_or(|begins| begins <= (NOW + LEEWAY_S) as f64));
    }
    assert_eq!(claims["sub"], principal.subject.as_str());
    assert_eq!(claims["client_id"], principal.actor.as_str());
    let tenant = &claims["tenant"];
    let tenants = tenant.as_array().map_or(vec![tenant], |all| all.iter().collect());
    assert!(!tenants.is_empty() && tenants.iter().all(|one| **one == principal.tenant.as_str()));
}

/// Header and payload as they are signed.
fn message(header: &[u8], payload: &[u8]) -> String {
    [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn signed(header: &[u8], payload: &[u8], key: &Ed25519KeyPair) -> String {
    let message = message(header, payload);
    let signature = key.sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

// Made-up keys.
static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| made_of(7));
static OTHER_KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| made_of(8));

fn made_of(byte: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[byte; 32]).expect("a key")
}

/// A token of the issuer's, for the agent and tenant of the example company.
pub(crate) static GOOD: LazyLock<String> = LazyLock::new(|| {
    let payload = json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW, "sub": "ann",
        "client_id": "support-copilot", "tenant": "acct_alpha", "sid": "s", "depots": ["HAM"],
    });
    let header = json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"});
    signed(header.to_string().as_bytes(), payload.to_string().as_bytes(), &KEY)
});

/// What trusts that issuer.
pub(crate) fn issuer() -> IssuerConfig {
    let x = URL_SAFE_NO_PAD.encode(KEY.public_key());
    let key =
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k", "alg": "EdDSA", "use": "sig"});
    let keys = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).expect("a key set");
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![Algorithm::EdDsa],
        keys: KeySource::Fixed(Arc::new(keys)),
        tenancy: Tenancy::default(),
        require_at_jwt: false,
    }
}

pub(crate) fn claims() -> Claims {
    Claims {
        subject: "/sub".to_owned(),
        actor: vec!["/client_id".to_owned()],
        tenant: "/tenant".to_owned(),
        session: Some("/sid".to_owned()),
        person: None,
        scopes: vec!["/scope".to_owned()],
        agent_build: None,
        model: None,
        attributes: BTreeMap::from([
            ("depots".to_owned(), "/depots".to_owned()),
            ("groups".to_owned(), "/groups".to_owned()),
        ]),
    }
}

static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| Identity::new(vec![issuer()], claims()).expect("an identity"));
