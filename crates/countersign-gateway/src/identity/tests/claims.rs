//! What a well-signed token must say, and what is made of it.

use super::{
    AUDIENCE, ISSUER, NOW, Signer, ask, assert_accepted, assert_refused, identity, issuer, now,
    payload, refused, with, without,
};
use crate::identity::{Claims, Identity, LEEWAY_S};
use countersign_core::bound::{ATTRIBUTE_VALUES_MAX, ID_BYTES_MAX};
use countersign_core::port::Credential;
use serde_json::{Value, json};

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
        let place = format!("the claim at `{required}`");
        assert_refused(&Signer::ed(1).token(&without(payload(), required)), &place);
        for value in wrong_texts(&long) {
            assert_refused(&Signer::ed(1).token(&with(payload(), required, value)), &place);
        }
        let longest = with(payload(), required, "x".repeat(ID_BYTES_MAX));
        assert_accepted(&Signer::ed(1).token(&longest));
    }
    for optional in ["/sid", "/build", "/model"] {
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
