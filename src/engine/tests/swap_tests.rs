//! Ciphertexts in the wrong place: the account answers that its store is unavailable, never that it
//! has no second factor.

use std::sync::Arc;

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use countersign_schemas::sealed::Protected;
use serde_json::json;

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{Account, Factor, Held, On};
use crate::engine::Engine;

fn id(name: &str) -> AccountId {
    AccountId::parse(name).unwrap()
}

fn load(engine: &Engine, name: &str) -> Account {
    let account = engine.shared.accounts.load(StreamKey::of(&id(name)));
    (*account.unwrap()).clone()
}

fn on(account: &mut Account) -> &mut On {
    match &mut account.factor {
        Factor::On(on) => on,
        Factor::Off { .. } | Factor::Pending(_) => panic!("2FA is on"),
    }
}

/// Puts an account into the engine's cache, as if its history had led to it.
fn put(engine: &Engine, name: &str, account: Account) {
    let stream = StreamKey::of(&id(name));
    engine.shared.accounts.committed(stream, Arc::new(account));
}

#[test]
fn a_secret_of_another_account_place_or_key_makes_the_store_unavailable_and_never_2fa_off() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "bob");
    fixture.pass(30);
    let mut good = load(&engine, "ada");
    let own = on(&mut good).secret.clone();
    let foreign = on(&mut load(&engine, "bob")).secret.value.clone();
    let password = good.credential.as_ref().unwrap().verifier.value.clone();
    let Protected::Sealed(mut altered) = own.value.clone() else {
        panic!("the log seals it");
    };
    altered.ciphertext.to_mut()[0] ^= 1;
    let Protected::Sealed(mut keyless) = own.value.clone() else {
        panic!("the log seals it");
    };
    keyless.key = 9;
    for value in [
        foreign,
        password,
        Protected::Sealed(altered),
        Protected::Sealed(keyless),
    ] {
        let mut account = load_from_log(&engine, "ada");
        on(&mut account).secret = Held {
            value,
            ..own.clone()
        };
        put(&engine, "ada", account);
        let code = fixture.code(&secret, 0);
        let reply = fixture.send(&engine, "verify-login", verify(&code));
        assert_eq!(reply.unwrap_err(), ErrorCode::StoreUnavailable);
        // The password alone is not enough either.
        let body = json!({"account_id": "ada", "password": PASSWORD});
        let started = fixture.send(&engine, "start-login", body).unwrap();
        assert!(started.is_secret(), "a challenge, not a login: {started:?}");
        let status = engine.queries().login_status(&id("ada"), None).unwrap();
        assert_eq!(status.second_factor, FactorState::On);
    }
    put(&engine, "ada", load_from_log(&engine, "ada"));
    let code = fixture.code(&secret, 0);
    assert!(fixture.send(&engine, "verify-login", verify(&code)).is_ok());
}

fn load_from_log(engine: &Engine, name: &str) -> Account {
    let stream = StreamKey::of(&id(name));
    let accounts = &engine.shared.accounts;
    accounts.rebuild(stream, u32::MAX, u64::MAX).unwrap()
}

#[test]
fn a_verifier_of_another_account_makes_the_store_unavailable_and_counts_no_failure() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "bob");
    let mut account = load(&engine, "ada");
    let foreign = load(&engine, "bob").credential.unwrap().verifier.value;
    account.credential.as_mut().unwrap().verifier.value = foreign;
    put(&engine, "ada", account.clone());
    let body = json!({"account_id": "ada", "password": PASSWORD});
    let reply = fixture.send(&engine, "start-login", body);
    assert_eq!(reply.unwrap_err(), ErrorCode::StoreUnavailable);
    assert_eq!(load(&engine, "ada"), account);
}
