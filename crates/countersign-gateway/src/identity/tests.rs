//! Every forgery beside the token it was made from, which is accepted.

mod cache;
mod claims;
mod keys;

use super::*;
use base64::engine::general_purpose::STANDARD;
use countersign_core::id::{ActorId, SubjectId, TenantId};
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, jwk::Jwk};
use serde_json::json;
use std::collections::BTreeSet;
use std::task::{Context, Poll, Waker};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://login.acme.example";
const AUDIENCE: &str = "https://countersign.acme.example";

fn now() -> Timestamp {
    at(0)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(NOW + seconds)
}

/// A private key, the algorithm it signs with, and its public half.
struct Signer {
    name: &'static str,
    algorithm: jsonwebtoken::Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn ed(seed: u8) -> Self {
        let prefix = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let key = EncodingKey::from_ed_der(&[prefix.as_slice(), &[seed; 32]].concat());
        Self { name: "EdDSA", algorithm: jsonwebtoken::Algorithm::EdDSA, key }
    }

    fn ec() -> Self {
        let key = EncodingKey::from_ec_der(&STANDARD.decode(keys::P256).unwrap());
        Self { name: "ES256", algorithm: jsonwebtoken::Algorithm::ES256, key }
    }

    fn rsa() -> Self {
        let key = EncodingKey::from_rsa_der(&STANDARD.decode(keys::RSA).unwrap());
        Self { name: "RS256", algorithm: jsonwebtoken::Algorithm::RS256, key }
    }

    fn all() -> [Self; 3] {
        [Self::ec(), Self::rsa(), Self::ed(1)]
    }

    fn jwk(&self, kid: Option<&str>) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    /// Header and payload, byte for byte, signed by this key.
    fn sign(&self, header: &str, payload: &str) -> String {
        let message =
            [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.as_bytes())).join(".");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn header(&self) -> Value {
        json!({"alg": self.name, "typ": "at+jwt", "kid": self.name})
    }

    fn token(&self, payload: &Value) -> String {
        self.sign(&self.header().to_string(), &payload.to_string())
    }
}

fn payload() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 300,
        "sub": "ada", "client_id": "support-copilot", "org": {"tenant": "acct_alpha"},
        "sid": "s-1", "oid": "p-1", "build": "7", "model": "m-1", "depots": ["north", "south", "north"],
    })
}

fn with(mut object: Value, pointer: &str, value: impl Into<Value>) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[member] = value.into();
    object
}

fn without(mut object: Value, pointer: &str) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.remove(member).unwrap();
    object
}

fn claims() -> Claims {
    Claims {
        subject: "/sub".to_owned(),
        actor: vec!["/client_id".to_owned()],
        tenant: "/org/tenant".to_owned(),
        session: Some("/sid".to_owned()),
        person: Some("/oid".to_owned()),
        scopes: vec!["/scope".to_owned(), "/roles".to_owned()],
        agent_build: Some("/build".to_owned()),
        model: Some("/model".to_owned()),
        attributes: BTreeMap::from([("depots".to_owned(), "/depots".to_owned())]),
    }
}

fn key_set(keys: &[Value]) -> KeySource {
    let keys = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    KeySource::Fixed(Arc::new(keys))
}

fn issuer() -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa],
        keys: key_set(&Signer::all().map(|signer| signer.jwk(Some(signer.name)))),
        tenancy: Tenancy::default(),
        require_at_jwt: false,
    }
}

fn identity() -> Identity {
    Identity::new(vec![issuer()], claims()).unwrap()
}

/// Through the port, as the monitor asks.
fn ask(
    identity: &Identity,
    credential: &Credential,
    now: Timestamp,
) -> Result<Arc<Principal>, AuthenticationFailure> {
    let mut answer = identity.authenticate(credential, now);
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing is waited for"),
    }
}

/// Why a token is refused. The reason holds no part of it.
fn refused(identity: &Identity, token: &str, now: Timestamp) -> String {
    match ask(identity, &Credential::bearer(token), now) {
        Err(AuthenticationFailure::Invalid(why)) => {
            for part in token.split('.').filter(|part| part.len() > 8) {
                assert!(!why.contains(part), "{why}");
            }
            why
        }
        other => panic!("accepted, or refused as something else: {other:?}"),
    }
}

#[track_caller]
fn assert_refused(token: &str, reason: &str) {
    let why = refused(&identity(), token, now());
    assert!(why.contains(reason), "{reason}: {why}");
}

#[track_caller]
fn assert_accepted(token: &str) {
    assert!(ask(&identity(), &Credential::bearer(token), now()).is_ok());
}

#[test]
fn a_good_token_of_each_algorithm_names_its_principal() {
    for signer in Signer::all() {
        let token = signer.token(&payload());
        let principal = ask(&identity(), &Credential::bearer(token), now()).unwrap();
        let expected = Principal {
            issuer: IssuerId::new(ISSUER).unwrap(),
            subject: SubjectId::new("ada").unwrap(),
            actor: ActorId::new("support-copilot").unwrap(),
            tenant: TenantId::new("acct_alpha").unwrap(),
            person: Some("p-1".to_owned()),
            scopes: BTreeSet::new(),
            sid: Some("s-1".to_owned()),
            attributes: BTreeMap::from([(
                "depots".to_owned(),
                BTreeSet::from(["north".to_owned(), "south".to_owned()]),
            )]),
            agent_build: Some("7".to_owned()),
            model: Some("m-1".to_owned()),
            expires: at(300),
        };
        assert_eq!(*principal, expected, "{}", signer.name);
    }
}

#[test]
fn no_credential_is_missing_rather_than_invalid() {
    let answer = ask(&identity(), &Credential::none(), now());
    assert_eq!(answer, Err(AuthenticationFailure::Missing));
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let identity = identity();
    for signer in Signer::all() {
        let token = signer.token(&payload());
        assert!(ask(&identity, &Credential::bearer(token.as_str()), now()).is_ok());
        for index in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(ask(&identity, &Credential::bearer(forged), now()).is_err(), "{index}");
        }
        for end in 0..token.len() {
            assert!(
                ask(&identity, &Credential::bearer(token.get(..end).unwrap()), now()).is_err(),
                "{end}"
            );
        }
    }
}

#[test]
fn a_token_without_signature_is_refused_whatever_its_header_says() {
    for alg in ["none", "None", "nOnE", "", "EdDSA", "ES256", "RS256"] {
        for kid in ["EdDSA", "ES256", "RS256"] {
            let header = json!({"alg": alg, "typ": "JWT", "kid": kid}).to_string();
            let unsigned =
                [header, payload().to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
            assert!(!refused(&identity(), &format!("{unsigned}."), now()).is_empty());
            assert_refused(&unsigned, "three parts");
        }
    }
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    for signer in Signer::all() {
        let jwk = signer.jwk(None);
        let coordinate = |member: &str| {
            let text = jwk.get(member).and_then(Value::as_str).unwrap_or_default();
            URL_SAFE_NO_PAD.decode(text).unwrap()
        };
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        for secret in [jwk.to_string().into_bytes(), coordinate("n"), coordinate("x"), point] {
            let hmac = Signer {
                name: "HS256",
                algorithm: jsonwebtoken::Algorithm::HS256,
                key: EncodingKey::from_secret(&secret),
            };
            for alg in ["HS256", "HS384", "HS512"] {
                let header = json!({"alg": alg, "kid": signer.name}).to_string();
                assert_refused(&hmac.sign(&header, &payload().to_string()), "`alg`");
            }
            // And under the key's own algorithm the HMAC is merely a wrong signature.
            let header = signer.header().to_string();
            assert_refused(&hmac.sign(&header, &payload().to_string()), "signature");
        }
    }
}

#[test]
fn the_headers_algorithm_must_be_that_of_the_key() {
    for signer in Signer::all() {
        for alg in ["ES256", "RS256", "EdDSA", "ES384", "RS512", "PS256", "Ed25519", "eddsa"] {
            for kid in ["ES256", "RS256", "EdDSA"] {
                if (alg, kid) == (signer.name, signer.name) {
                    continue;
                }
                let header = json!({"alg": alg, "kid": kid}).to_string();
                let token = signer.sign(&header, &payload().to_string());
                assert!(!refused(&identity(), &token, now()).is_empty(), "{alg} {kid}");
            }
        }
        let header = json!({"alg": signer.name, "kid": signer.name}).to_string();
        assert_accepted(&signer.sign(&header, &payload().to_string()));
    }
    let header = json!({"alg": 5, "kid": "EdDSA"}).to_string();
    assert_refused(&Signer::ed(1).sign(&header, &payload().to_string()), "`alg`");
}

#[test]
fn an_algorithm_that_is_not_the_issuers_is_refused_though_the_key_is() {
    for signer in Signer::all() {
        let allowed = Algorithm::parse(signer.name).unwrap();
        let others: Vec<_> =
            issuer().algorithms.into_iter().filter(|other| *other != allowed).collect();
        let token = signer.token(&payload());
        for (algorithms, accepted) in [(vec![allowed], true), (others, false)] {
            let config = IssuerConfig { algorithms, ..issuer() };
            let identity = Identity::new(vec![config], claims()).unwrap();
            let answer = ask(&identity, &Credential::bearer(token.as_str()), now());
            assert_eq!(answer.is_ok(), accepted, "{}", signer.name);
        }
    }
}

#[test]
fn another_key_signs_for_nobody() {
    let stranger = Signer::ed(2);
    let embedded = |member: &str, value: Value| with(stranger.header(), member, value);
    for header in [
        stranger.header(),
        embedded("/jwk", stranger.jwk(Some("EdDSA"))),
        embedded("/jku", "https://attacker.example/keys.json".into()),
        embedded("/x5u", "https://attacker.example/cert.pem".into()),
    ] {
        let token = stranger.sign(&header.to_string(), &payload().to_string());
        assert_refused(&token, "signature");
        assert_accepted(&Signer::ed(1).sign(&header.to_string(), &payload().to_string()));
    }
}

#[test]
fn one_issuers_key_does_not_sign_for_another() {
    let other = "https://other.example";
    let partner = Signer::ed(2);
    let config = IssuerConfig {
        issuer: other.to_owned(),
        keys: key_set(&[partner.jwk(Some("EdDSA"))]),
        ..issuer()
    };
    let identity = Identity::new(vec![issuer(), config], claims()).unwrap();
    let theirs = with(payload(), "/iss", other);
    assert!(ask(&identity, &Credential::bearer(partner.token(&theirs)), now()).is_ok());
    assert!(refused(&identity, &partner.token(&payload()), now()).contains("signature"));
    assert!(refused(&identity, &Signer::ed(1).token(&theirs), now()).contains("signature"));
    for iss in ["https://login.acme.example/", "HTTPS://login.acme.example", "", "x"] {
        let token = Signer::ed(1).token(&with(payload(), "/iss", iss));
        assert!(refused(&identity, &token, now()).contains("`iss` is not"));
    }
}

#[test]
fn a_key_is_found_by_its_id_or_because_there_is_no_other() {
    let identity = |keys: &[Value]| {
        let config = IssuerConfig { keys: key_set(keys), ..issuer() };
        Identity::new(vec![config], claims()).unwrap()
    };
    let token = |kid: Option<Value>| {
        let mut header = without(Signer::ed(1).header(), "/kid");
        if let Some(kid) = kid {
            header["kid"] = kid;
        }
        Signer::ed(1).sign(&header.to_string(), &payload().to_string())
    };
    let (named, nameless) = (Signer::ed(1).jwk(Some("one")), Signer::ed(1).jwk(None));
    let second = Signer::ed(2).jwk(Some("two"));
    let (rsa, no_kid) = (Signer::rsa().jwk(Some("three")), "no `kid`");
    for (keys, kid, refusal) in [
        (vec![named.clone()], Some(json!("one")), None),
        (vec![named.clone(), second.clone()], Some(json!("one")), None),
        (vec![named.clone()], None, None),
        (vec![named.clone(), rsa.clone()], None, None),
        (vec![nameless.clone()], None, None),
        (vec![named.clone(), second.clone()], None, Some(no_kid)),
        (vec![nameless.clone(), second.clone()], None, Some(no_kid)),
        (vec![nameless], Some(json!("one")), Some("no key has")),
        (vec![named.clone()], Some(json!("two")), Some("no key has")),
        (vec![named.clone()], Some(json!("")), Some("no key has")),
        (vec![named.clone(), rsa], Some(json!("three")), Some("no key has")),
        (vec![named.clone(), second], Some(json!("two")), Some("signature")),
        (vec![named.clone()], Some(json!(1)), Some("`kid` is not a string")),
        (vec![named], Some(Value::Null), Some("`kid` is not a string")),
    ] {
        let (identity, token) = (identity(&keys), token(kid.clone()));
        match refusal {
            None => assert!(ask(&identity, &Credential::bearer(token), now()).is_ok(), "{kid:?}"),
            Some(why) => assert!(refused(&identity, &token, now()).contains(why), "{kid:?}"),
        }
    }
}

#[test]
fn a_header_must_be_plain_and_of_an_access_token() {
    let signer = Signer::ed(1);
    let token = |header: Value| signer.sign(&header.to_string(), &payload().to_string());
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
        assert_accepted(&token(with(signer.header(), "/typ", typ)));
    }
    assert_accepted(&token(without(signer.header(), "/typ")));
    for typ in [json!("JWE"), json!("dpop+jwt"), json!("oauth-id-jag+jwt"), json!(""), json!(1)] {
        assert_refused(&token(with(signer.header(), "/typ", typ)), "`typ`");
    }
    for crit in [json!([]), json!(["b64"]), json!(["exp"]), Value::Null] {
        assert_refused(&token(with(signer.header(), "/crit", crit)), "`crit`");
    }
    let twice = r#"{"alg":"none","kid":"EdDSA","alg":"EdDSA"}"#;
    assert_refused(&signer.sign(twice, &payload().to_string()), "stands twice");
    for header in ["", "[]", "null", "\"EdDSA\"", "{", "{}"] {
        assert_refused(&signer.sign(header, &payload().to_string()), "the header");
    }
}

#[test]
fn a_payload_that_readers_read_differently_is_refused_though_it_is_signed() {
    let signer = Signer::ed(1);
    let text = payload().to_string();
    let inner = text.strip_prefix('{').unwrap();
    for (payload, reason) in [
        (format!("{{\"org\":{{\"tenant\":\"acct_bravo\"}},{inner}"), "stands twice"),
        (format!("{{\"s\\u0075b\":\"eve\",{inner}"), "stands twice"),
        (format!("{{\"x\":9007199254740993,{inner}"), "2^53"),
        (format!("{{\"x\":{}{},{inner}", "[".repeat(40), "]".repeat(40)), "nested deeper"),
        (format!("{text} {{}}"), "not acceptable JSON"),
        ("[]".to_owned(), "not an object"),
        (String::new(), "not acceptable JSON"),
    ] {
        assert_refused(&signer.sign(&signer.header().to_string(), &payload), reason);
    }
    let harmless = format!("{{\"x\":[{{\"sub\":\"eve\"}}],{inner}");
    assert_accepted(&signer.sign(&signer.header().to_string(), &harmless));
}

#[test]
fn the_shape_of_a_token_is_bounded_before_it_is_read() {
    let signer = Signer::ed(1);
    let padded = |bytes: usize| signer.token(&with(payload(), "/x", "x".repeat(bytes)));
    // Four characters of base64 carry three bytes.
    let room = (TOKEN_BYTES_MAX - padded(0).len()) / 4 * 3;
    assert!(padded(room).len() + 4 > TOKEN_BYTES_MAX && padded(room).len() <= TOKEN_BYTES_MAX);
    assert_accepted(&padded(room));
    assert_refused(&padded(room + 4), "longer than");
    let good = signer.token(&payload());
    for token in ["a", "..", "a.b", "a.b.c", "a.b.c.d", ".", "é.é.é"] {
        assert!(!refused(&identity(), token, now()).is_empty(), "{token}");
    }
    for token in [format!("{good}="), format!("{good} "), format!(" {good}"), format!("{good}.x")] {
        assert!(!refused(&identity(), &token, now()).is_empty(), "{token}");
    }
}

#[test]
fn a_configuration_that_could_accept_nobody_or_anybody_is_refused() {
    let new = |issuers: Vec<IssuerConfig>| Identity::new(issuers, claims()).map(|_| ());
    let changed = |change: fn(&mut IssuerConfig)| {
        let mut config = issuer();
        change(&mut config);
        new(vec![config])
    };
    let ed_only = IssuerConfig {
        keys: key_set(&[Signer::ed(1).jwk(None)]),
        algorithms: vec![Algorithm::Es256],
        ..issuer()
    };
    for (outcome, reason) in [
        (new(vec![]), "no token issuer"),
        (new(vec![issuer(), issuer()]), "configured twice"),
        (new(vec![ed_only]), "no key for any"),
        (changed(|config| config.algorithms.clear()), "no key for any"),
        (changed(|config| config.audiences.clear()), "no audience"),
        (changed(|config| config.issuer.clear()), "must not be empty"),
    ] {
        assert!(outcome.as_ref().unwrap_err().contains(reason), "{outcome:?}");
    }
    for pointer in ["", "sub", "#/sub"] {
        let mapping = Claims { tenant: pointer.to_owned(), ..claims() };
        assert!(Identity::new(vec![issuer()], mapping).unwrap_err().contains("JSON pointer"));
        let attributes = BTreeMap::from([("depots".to_owned(), pointer.to_owned())]);
        let mapping = Claims { attributes, ..claims() };
        assert!(Identity::new(vec![issuer()], mapping).is_err());
    }
    assert_eq!(new(vec![issuer()]), Ok(()));
}

#[test]
fn a_request_has_one_bearer_token_or_none() {
    let headers = |values: &[&[u8]]| {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).unwrap()))
            .collect::<HeaderMap>()
    };
    assert_eq!(bearer(&headers(&[])).expose(), None);
    for (value, token) in [
        (b"Bearer abc".as_slice(), "abc"),
        (b"bearer abc", "abc"),
        (b"BEARER  abc ", "abc"),
        (b"Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
    ] {
        assert_eq!(bearer(&headers(&[value])).expose(), Some(token));
    }
    for values in [
        [b"Bearer".as_slice()].as_slice(),
        &[b"Bearer "],
        &[b""],
        &[b"abc"],
        &[b"Basic abc"],
        &[b"Bearerabc"],
        &[b"Bearer\tabc"],
        &[b"Bearer abc def"],
        &[b"Bearer abc,Bearer def"],
        &[b"Bearer a=b"],
        &[b"Bearer a\"b"],
        &[b"Bearer \xc3\xa9"],
        &[b"Bearer abc", b"Bearer abc"],
        &[b"Bearer abc", b"Basic def"],
    ] {
        let credential = bearer(&headers(values));
        assert_eq!(credential.expose(), Some(MALFORMED), "{values:?}");
        let refusal = ask(&identity(), &credential, now()).unwrap_err();
        assert!(matches!(refusal, AuthenticationFailure::Invalid(why) if why.contains("header")));
    }
    // No other place is looked at.
    let mut elsewhere = HeaderMap::new();
    let token = Signer::ed(1).token(&payload());
    for name in ["x-authorization", "proxy-authorization", "cookie", "x-forwarded-access-token"] {
        elsewhere.insert(name, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    }
    assert_eq!(bearer(&elsewhere).expose(), None);
}
