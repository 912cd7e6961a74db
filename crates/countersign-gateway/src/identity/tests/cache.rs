//! A verified token is remembered, for a while and within bounds.

use super::{NOW, Signer, ask, at, identity, now, payload, refused, with};
use crate::identity::{CACHE_S, CACHED_TOKENS_MAX, LEEWAY_S};
use countersign_core::port::Credential;
use std::sync::Arc;

#[test]
fn a_verified_token_is_remembered_for_a_minute_and_no_longer() {
    let identity = identity();
    let token = Credential::bearer(Signer::ed(1).token(&payload()));
    let first = ask(&identity, &token, now()).unwrap();
    let again = ask(&identity, &token, at(CACHE_S - 1)).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let anew = ask(&identity, &token, at(CACHE_S)).unwrap();
    assert!(!Arc::ptr_eq(&first, &anew));
    assert_eq!(first, anew);
}

#[test]
fn a_remembered_token_ends_with_its_exp() {
    let identity = identity();
    let token = Signer::ed(1).token(&with(payload(), "/exp", NOW + 5));
    assert!(ask(&identity, &Credential::bearer(token.as_str()), now()).is_ok());
    assert!(ask(&identity, &Credential::bearer(token.as_str()), at(4)).is_ok());
    assert!(refused(&identity, &token, at(5)).contains("expired"));
}

#[test]
fn a_remembered_token_is_not_valid_before_it_begins_when_the_clock_goes_back() {
    let identity = identity();
    let token = Signer::ed(1).token(&with(payload(), "/nbf", NOW));
    assert!(ask(&identity, &Credential::bearer(token.as_str()), now()).is_ok());
    assert!(refused(&identity, &token, at(-LEEWAY_S - 1)).contains("not valid yet"));
}

#[test]
fn a_refusal_is_not_remembered() {
    let identity = identity();
    let token = Signer::ed(1).token(&with(payload(), "/nbf", NOW + LEEWAY_S + 1));
    assert!(refused(&identity, &token, now()).contains("not valid yet"));
    assert_eq!(identity.cache.lock().unwrap().len(), 0);
    assert!(ask(&identity, &Credential::bearer(token), at(1)).is_ok());
}

#[test]
fn the_memory_of_tokens_is_bounded_and_forgets_the_least_used() {
    let identity = identity();
    let max = CACHED_TOKENS_MAX.get();
    let token =
        |n: usize| Credential::bearer(Signer::ed(1).token(&with(payload(), "/sid", n.to_string())));
    let first = ask(&identity, &token(0), now()).unwrap();
    let second = ask(&identity, &token(1), now()).unwrap();
    for n in 2..=max {
        assert!(ask(&identity, &token(n), now()).is_ok());
        // In use all the while, so it stays.
        assert!(Arc::ptr_eq(&first, &ask(&identity, &token(0), now()).unwrap()));
    }
    assert_eq!(identity.cache.lock().unwrap().len(), max);
    assert!(!Arc::ptr_eq(&second, &ask(&identity, &token(1), now()).unwrap()));
}
