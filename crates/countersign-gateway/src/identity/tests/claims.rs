//! What a well-signed token must say, and what is made of it.

use super::{
    AUDIENCE, ISSUER, NOW, Signer, ask, assert_accepted, assert_refused, identity, issuer, now,
    payload, refused, with, without,
};
use crate::identity::{Claims, Identity, IssuerConfig, KeySet, KeySource, LEEWAY_S, Tenancy};
use countersign_core::bound::{ATTRIBUTE_VALUES_MAX, ID_BYTES_MAX};
use countersign_core::id::TenantId;
use countersign_core::port::Credential;
use serde_json::{Value, json};
use std::sync::Arc;

#[test]
fn a_token_must_be_for_this_gateway() {
    for (audience, accepted) in [
        (json!(AUDIENCE), true),
        (json!([AUDIENCE]), true),
        (json!(["https://other.example", AUDIENCE]), true),
        (json!("https://other.example"), false),
        (json!(["https://other.example"]), false),
        (json!(format!("{AUDIENCE}/")), false),
        (json!(format!("{AUDIENCE} https://other.example")), false),
        (json!([]), false),
        (json!([AUDIENCE, 1]), false),
        (json!([[AUDIENCE]]), false),
        (json!({AUDIENCE: AUDIENCE}), false),
        (json!(""), false),
        (Value::Null, false),
    ] {
        let token = Signer::ed(1).token(&with(payload(), "/aud", audience));
        match accepted {
            true => assert_accepted(&token),
            false => assert_refused(&token, "`aud` is not"),
        }
    }
    assert_refused(&Signer::ed(1).token(&without(payload(), "/aud")), "`aud` is not");
}

#[test]
fn a_token_is_in_force_from_nbf_and_iat_with_leeway_to_exp_without() {
    let soon = NOW + LEEWAY_S;
    for (name, value, refusal) in [
        ("exp", json!(NOW + 1), None),
        ("exp", json!(NOW as f64 + 1.5), None),
        ("exp", json!(NOW), Some("expired")),
        ("exp", json!(NOW as f64 + 0.5), Some("expired")),
        ("exp", json!(NOW - LEEWAY_S), Some("expired")),
        ("exp", json!(0), Some("expired")),
        ("exp", json!(-1), Some("expired")),
        ("exp", json!("1900000000"), Some("`exp` is not a number")),
        ("exp", json!([NOW + 1]), Some("`exp` is not a number")),
        ("exp", Value::Null, Some("`exp` is not a number")),
        ("nbf", json!(soon), None),
        ("nbf", json!(soon as f64 - 0.5), None),
        ("nbf", json!(soon as f64 + 0.5), Some("not valid yet (`nbf`)")),
        ("nbf", json!(soon + 1), Some("not valid yet (`nbf`)")),
        ("nbf", json!("0"), Some("`nbf` is not a number")),
        ("nbf", Value::Null, Some("`nbf` is not a number")),
        ("iat", json!(soon), None),
        ("iat", json!(soon + 1), Some("not valid yet (`iat`)")),
        ("iat", json!(true), Some("`iat` is not a number")),
    ] {
        let token = Signer::ed(1).token(&with(payload(), &format!("/{name}"), value));
        match refusal {
            None => assert_accepted(&token),
            Some(why) => assert_refused(&token, why),
        }
    }
    assert_refused(&Signer::ed(1).token(&without(payload(), "/exp")), "`exp` is missing");
    for optional in ["/nbf", "/iat"] {
        assert_accepted(&Signer::ed(1).token(&without(payload(), optional)));
    }
}

#[test]
fn what_makes_a_principal_must_be_there_as_one_text() {
    let long = "x".repeat(ID_BYTES_MAX + 1);
    for required in ["/sub", "/client_id", "/org/tenant"] {
        let several = required == "/org/tenant";
        let place = format!("the claim at `{required}`");
        assert_refused(&Signer::ed(1).token(&without(payload(), required)), &place);
        for value in wrong_texts(&long) {
            if several && value == json!(["acct_alpha"]) {
                continue; // A list of one tenant is that tenant.
            }
            assert_refused(&Signer::ed(1).token(&with(payload(), required, value)), &place);
        }
        let longest = with(payload(), required, "x".repeat(ID_BYTES_MAX));
        assert_accepted(&Signer::ed(1).token(&longest));
    }
    for optional in ["/sid", "/build", "/model", "/oid"] {
        assert_accepted(&Signer::ed(1).token(&without(payload(), optional)));
        for value in wrong_texts(&long) {
            let token = Signer::ed(1).token(&with(payload(), optional, value));
            assert_refused(&token, &format!("the claim at `{optional}`"));
        }
    }
    assert_refused(&Signer::ed(1).token(&without(payload(), "/iss")), "`iss` is not");
    assert_refused(&Signer::ed(1).token(&with(payload(), "/iss", json!([ISSUER]))), "`iss` is not");
}

fn wrong_texts(long: &str) -> Vec<Value> {
    vec![
        json!(""),
        json!(long),
        json!("a\nb"),
        json!(7),
        json!(true),
        Value::Null,
        json!(["acct_alpha"]),
        json!(["acct_alpha", "acct_bravo"]),
        json!([]),
        json!({"id": "acct_alpha"}),
    ]
}

#[test]
fn a_pointer_does_not_reach_into_a_list() {
    let mapping = Claims { tenant: "/tenants/0".to_owned(), ..super::claims() };
    let identity = Identity::new(vec![issuer()], mapping).unwrap();
    let listed = with(payload(), "/tenants", json!(["acct_alpha", "acct_bravo"]));
    assert!(refused(&identity, &Signer::ed(1).token(&listed), now()).contains("is missing"));
    let named = with(payload(), "/tenants", json!({"0": "acct_alpha"}));
    assert!(ask(&identity, &Credential::bearer(Signer::ed(1).token(&named)), now()).is_ok());
}

#[test]
fn a_pointer_spells_slashes_and_tildes_as_rfc_6901_does() {
    let mapping =
        Claims { tenant: "/https:~1~1acme.example~1a~0b~01".to_owned(), ..super::claims() };
    let identity = Identity::new(vec![issuer()], mapping).unwrap();
    let mut named = payload();
    named["https://acme.example/a~b~1"] = "acct_bravo".into();
    let token = Signer::ed(1).token(&named);
    let principal = ask(&identity, &Credential::bearer(token), now()).unwrap();
    assert_eq!(principal.tenant.as_str(), "acct_bravo");
}

#[test]
fn an_attribute_is_a_bounded_set_of_texts_or_absent() {
    let set = |value: Value| {
        let token = Signer::ed(1).token(&with(payload(), "/depots", value));
        let principal = ask(&identity(), &Credential::bearer(token), now());
        principal.map(|principal| principal.attributes["depots"].len())
    };
    let names = |count: usize| Value::from_iter((0..count).map(|n| format!("d{n}")));
    assert_eq!(set(json!("north")), Ok(1));
    assert_eq!(set(json!([])), Ok(0));
    assert_eq!(set(names(ATTRIBUTE_VALUES_MAX)), Ok(ATTRIBUTE_VALUES_MAX));
    for value in [
        names(ATTRIBUTE_VALUES_MAX + 1),
        json!(vec!["same"; ATTRIBUTE_VALUES_MAX + 1]),
        json!(""),
        json!(["north", ""]),
        json!(["north", 7]),
        json!([["north"]]),
        json!(["x".repeat(ID_BYTES_MAX + 1)]),
        json!({"north": true}),
        Value::Null,
    ] {
        let token = Signer::ed(1).token(&with(payload(), "/depots", value));
        assert_refused(&token, "the claim at `/depots`");
    }
    let token = Signer::ed(1).token(&without(payload(), "/depots"));
    let principal = ask(&identity(), &Credential::bearer(token), now()).unwrap();
    assert!(principal.attributes.is_empty());
}

#[test]
fn of_several_tenants_one_is_chosen_and_an_issuer_speaks_for_its_own_alone() {
    let tenants = |claim: Value, chosen: Option<&str>, tenancy: Tenancy| {
        let identity = Identity::new(vec![IssuerConfig { tenancy, ..issuer() }], super::claims());
        let token = Signer::ed(1).token(&with(payload(), "/org/tenant", claim));
        let credential = Credential::bearer(token).choosing(chosen.map(str::to_owned));
        let principal = ask(&identity.unwrap(), &credential, now());
        principal.map(|principal| principal.tenant.to_string()).map_err(|_refused| ())
    };
    let anybody = Tenancy::default;
    let id = |tenant: &str| TenantId::new(tenant).unwrap();
    let only = || Tenancy { only: Some(id("acct_alpha")), ..anybody() };
    let among = || Tenancy { among: [id("acct_alpha"), id("acct_bravo")].into(), ..anybody() };
    let both = || json!(["acct_alpha", "acct_bravo"]);
    for (claim, chosen, tenancy, expected) in [
        (both(), None, anybody(), Err(())),
        (both(), Some("acct_bravo"), anybody(), Ok("acct_bravo")),
        (both(), Some("acct_charlie"), anybody(), Err(())),
        (both(), Some(""), anybody(), Err(())),
        (json!(["acct_alpha", "acct_alpha"]), None, anybody(), Ok("acct_alpha")),
        (json!("acct_charlie"), None, only(), Ok("acct_alpha")),
        (Value::Null, None, only(), Ok("acct_alpha")),
        (both(), Some("acct_bravo"), only(), Err(())),
        (json!("acct_bravo"), None, among(), Ok("acct_bravo")),
        (json!("acct_charlie"), None, among(), Err(())),
    ] {
        let found = tenants(claim.clone(), chosen, tenancy);
        assert_eq!(found, expected.map(str::to_owned), "{claim} {chosen:?}");
    }
}

#[test]
fn a_remembered_token_is_another_for_another_choice() {
    let identity = identity();
    let token = Signer::ed(1).token(&with(payload(), "/org/tenant", json!(["a", "b"])));
    let tenant = |chosen: &str| {
        let credential = Credential::bearer(token.as_str()).choosing(Some(chosen.to_owned()));
        ask(&identity, &credential, now()).map(|principal| principal.tenant.to_string())
    };
    for _ in 0..2 {
        assert_eq!(tenant("a").unwrap(), "a");
        assert_eq!(tenant("b").unwrap(), "b");
        assert!(tenant("c").is_err());
    }
}

#[test]
fn a_choice_that_is_none_is_not_remembered_as_no_choice() {
    let identity = identity();
    let token = Signer::ed(1).token(&payload());
    let asked = |chosen: Option<&str>| {
        let credential = Credential::bearer(token.as_str()).choosing(chosen.map(str::to_owned));
        ask(&identity, &credential, now()).is_ok()
    };
    assert!(asked(None) && !asked(Some("")) && asked(None) && asked(Some("acct_alpha")));
}

#[test]
fn all_places_that_name_the_agent_must_agree() {
    let actor = ["/azp", "/client_id", "/act/sub"].map(str::to_owned).to_vec();
    let identity = Identity::new(vec![issuer()], Claims { actor, ..super::claims() }).unwrap();
    let signed = |payload: Value| Credential::bearer(Signer::ed(1).token(&payload));
    let same = with(payload(), "/act", json!({"sub": "support-copilot"}));
    assert!(ask(&identity, &signed(same.clone()), now()).is_ok());
    assert!(ask(&identity, &signed(without(same, "/client_id")), now()).is_ok());
    assert!(ask(&identity, &signed(with(payload(), "/azp", "another")), now()).is_err());
    assert!(ask(&identity, &signed(without(payload(), "/client_id")), now()).is_err());
    assert!(ask(&identity, &signed(with(payload(), "/azp", json!(7))), now()).is_err());
}

#[test]
fn scopes_and_roles_are_taken_together_from_all_their_places() {
    let scoped = with(payload(), "/scope", " usage:read  x ");
    let scoped = with(scoped, "/roles", json!(["admin y", "x"]));
    let token = Credential::bearer(Signer::ed(1).token(&scoped));
    let principal = ask(&identity(), &token, now()).unwrap();
    let scopes: Vec<_> = principal.scopes.iter().map(String::as_str).collect();
    assert_eq!(scopes, ["admin y", "usage:read", "x"]);
    for wrong in [json!(7), json!({"x": true}), json!(["x", 7])] {
        assert_refused(&Signer::ed(1).token(&with(payload(), "/roles", wrong)), "`/roles`");
    }
}

#[test]
fn an_issuer_can_ask_for_access_tokens_alone() {
    let config = IssuerConfig { require_at_jwt: true, ..issuer() };
    let identity = Identity::new(vec![config], super::claims()).unwrap();
    let typed = |typ: Value| {
        let header = json!({"alg": "EdDSA", "kid": "EdDSA", "typ": typ});
        let token = Signer::ed(1).sign(&header.to_string(), &payload().to_string());
        ask(&identity, &Credential::bearer(token), now()).is_ok()
    };
    assert!(typed(json!("at+jwt")) && typed(json!("application/AT+JWT")));
    assert!(!typed(json!("JWT")) && !typed(json!("jose")) && !typed(Value::Null));
}

#[test]
fn a_workload_is_known_by_its_spiffe_id_and_its_trust_domains_tenant() {
    let mut bundle_key = Signer::ed(1).jwk(Some("EdDSA"));
    bundle_key["use"] = "jwt-svid".into();
    let other = json!({"kty": "RSA", "use": "x509-svid", "n": "AA", "e": "AQAB"});
    let bundle = json!({"keys": [other, bundle_key]}).to_string();
    let domain = IssuerConfig {
        issuer: "spiffe://acme.example".to_owned(),
        keys: KeySource::Fixed(Arc::new(KeySet::usable(bundle.as_bytes(), "jwt-svid").unwrap())),
        tenancy: Tenancy { only: TenantId::new("acct_alpha").ok(), ..Tenancy::default() },
        ..issuer()
    };
    let identity = Identity::new(vec![issuer(), domain], super::claims()).unwrap();
    let svid = |sub: &str, audience: &str| {
        let header = json!({"alg": "EdDSA", "kid": "EdDSA", "typ": "JOSE"});
        let payload = json!({"sub": sub, "aud": [audience], "exp": NOW + 300});
        let token = Signer::ed(1).sign(&header.to_string(), &payload.to_string());
        ask(&identity, &Credential::bearer(token), now())
    };
    let principal = svid("spiffe://acme.example/agent/copilot", AUDIENCE).unwrap();
    assert_eq!(principal.actor.as_str(), "spiffe://acme.example/agent/copilot");
    assert_eq!(principal.subject.as_str(), principal.actor.as_str());
    let whose = (principal.issuer.as_str(), principal.tenant.as_str());
    assert_eq!(whose, ("spiffe://acme.example", "acct_alpha"));
    assert!(svid("spiffe://other.example/agent/copilot", AUDIENCE).is_err());
    assert!(svid("spiffe://acme.example.evil/agent", AUDIENCE).is_err());
    assert!(svid("spiffe://acme.example/agent/copilot", "https://other.example").is_err());
    // The keys of X.509 and of ordinary tokens are not a bundle's.
    let ordinary = json!({"keys": [Signer::ed(1).jwk(Some("EdDSA"))]}).to_string();
    let count = |set: &str| KeySet::usable(set.as_bytes(), "sig").map(|keys| keys.iter().count());
    assert_eq!(count(&bundle), Ok(0));
    assert_eq!(count(&ordinary), Ok(1));
    assert_eq!(count(r#"{"keys": []}"#), Ok(0));
    assert!(count("{}").is_err());
}
