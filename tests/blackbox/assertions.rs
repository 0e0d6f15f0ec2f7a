//! Assertions, verified as another service would: with its own JOSE library and `query.jwks`.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use super::support::bus::{Bus, fresh_id};
use super::support::person::{PASSWORD, Person};
use super::support::{CHEAP, Rig};

const SHOP: &str = "https://shop.example";
/// The caller in these tests.
const CALLER: &str = "shop";

async fn keys(bus: &Bus) -> JwkSet {
    let keys = bus.query("jwks", json!({})).await.ok().clone();
    serde_json::from_value(keys).unwrap()
}

/// The claims, if one of the keys has signed them for this audience.
fn verified(keys: &JwkSet, assertion: &str, audience: &str) -> Option<Value> {
    let header = decode_header(assertion).unwrap();
    assert_eq!(header.alg, Algorithm::EdDSA);
    let key = keys.find(&header.kid.unwrap())?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["Countersign"]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    Some(decode::<Value>(assertion, &key, &validation).ok()?.claims)
}

/// A body that also names an audience.
fn asking(mut body: Value) -> Value {
    body["audience"] = SHOP.into();
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completed_login_that_names_an_audience_is_asserted_and_no_other() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    Person::register(&rig.bus, "bob").await;
    let keys = keys(&rig.bus).await;
    let login = |name: &str| asking(json!({"username": name, "password": PASSWORD}));
    let started = rig.bus.command("start-login", login("ada")).await;
    assert_eq!(started.ok().get("assertion"), None);
    let challenge = started.field("challenge_id");
    let by_challenge = json!({"challenge_id": challenge, "code": ada.codes[0]});
    let vouched = ada.vouching(&ada.codes[1]);
    let signed = rig.bus.query("checkpoint", json!({})).await;
    let vkey = signed.field("vkey");
    let (_, log_id) = vkey.split_once('/').unwrap();
    let (log_id, _) = log_id.split_once('+').unwrap();
    for (command, body, who, amr) in [
        (
            "verify-login",
            asking(by_challenge),
            "ada",
            json!(["pwd", "otp"]),
        ),
        ("verify-login", asking(vouched), "ada", json!(["otp"])),
        ("start-login", login("bob"), "bob", json!(["pwd"])),
    ] {
        let answer = rig.bus.command(command, body).await;
        let assertion = answer.field("assertion");
        let claims = verified(&keys, &assertion, SHOP).unwrap();
        assert_eq!((&claims["sub"], &claims["amr"]), (&json!(who), &amr));
        assert_eq!(claims["azp"], CALLER);
        assert_eq!(claims["position"], answer.position());
        let seconds = |name: &str| claims[name].as_u64().unwrap();
        assert_eq!(seconds("exp"), seconds("iat") + 60);
        assert_eq!(seconds("auth_time"), seconds("iat"));
        // Without the log's id two logs would give one id twice.
        assert_eq!(claims["jti"], format!("{log_id}-{}", answer.position()));
        assert_eq!(verified(&keys, &assertion, "https://other.example"), None);
        let changed = assertion.replacen(".e", ".f", 1);
        assert_ne!(changed, assertion);
        assert_eq!(verified(&keys, &changed, SHOP), None);
    }
    let silent = ada.vouched(&ada.codes[2]).await;
    assert_eq!(silent.ok().get("assertion"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audience_of_start_login_binds_verify_login() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let keys = keys(&rig.bus).await;
    let login = asking(json!({"username": "ada", "password": PASSWORD}));
    let started = rig.bus.command("start-login", login).await;
    let mut body = json!({"challenge_id": started.field("challenge_id"), "code": ada.codes[0]});
    body["audience"] = "https://other.example".into();
    let refused = rig.bus.command("verify-login", body.clone()).await;
    refused.refused("request.invalid");
    assert_eq!(refused.body["errors"][0]["pointer"], "/audience");
    body.as_object_mut().unwrap().remove("audience");
    let id = fresh_id();
    let first = rig.bus.command_as("verify-login", &id, body.clone()).await;
    let claims = verified(&keys, &first.field("assertion"), SHOP).unwrap();
    assert_eq!(
        (&claims["aud"], &claims["azp"]),
        (&json!(SHOP), &json!(CALLER))
    );
    let again = rig.bus.command_as("verify-login", &id, body).await;
    assert!(again.is_replayed());
    assert_eq!(again.body, first.body);
}

/// N-07: a repeat brings the same assertion for two minutes, and never a second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n07_a_repeated_login_has_its_first_assertion_and_another_process_makes_no_second() {
    let mut rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let (id, body) = (fresh_id(), asking(ada.vouching(&ada.codes[0])));
    let first = rig.bus.command_as("verify-login", &id, body.clone()).await;
    let again = rig.bus.command_as("verify-login", &id, body.clone()).await;
    assert!(again.is_replayed());
    assert_eq!(again.body, first.body);
    rig.kill_and_restart();
    let late = rig.bus.command_as("verify-login", &id, body).await;
    late.refused("outcome.unseen");
    assert!(!late.is_replayed());
    // Without an audience the reply carries nothing that a repeat could not show.
    let (id, body) = (fresh_id(), ada.vouching(&ada.codes[1]));
    let first = rig.bus.command_as("verify-login", &id, body.clone()).await;
    rig.kill_and_restart();
    let again = rig.bus.command_as("verify-login", &id, body).await;
    assert!(again.is_replayed());
    assert_eq!(again.body, first.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_rotated_with_the_others_and_the_previous_one_still_verifies() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let log_in = async |id: &str, code: &str| {
        let body = asking(ada.vouching(code));
        rig.bus.command_as("verify-login", id, body).await
    };
    let assertion = async |code: &str| log_in(&fresh_id(), code).await.field("assertion");
    let kid = |assertion: &str| decode_header(assertion).unwrap().kid;
    let first = log_in("once", &ada.codes[0]).await;
    let before = first.field("assertion");
    assert_eq!(keys(&rig.bus).await.keys.len(), 1);
    let id = fresh_id();
    let headers = [("Nats-Msg-Id", id.as_str())];
    let subject = "countersign.v1.admin.rotate-keys";
    rig.bus
        .send(subject, &headers, br#"{"reason":"yearly"}"#)
        .await
        .ok();
    let again = log_in("once", &ada.codes[0]).await;
    assert!(again.is_replayed());
    assert_eq!(
        again.body, first.body,
        "a new key makes no second assertion"
    );
    let after = assertion(&ada.codes[1]).await;
    assert_ne!(kid(&before), kid(&after));
    let keys = keys(&rig.bus).await;
    assert_eq!(keys.keys[0].common.key_id, kid(&after));
    for assertion in [before, after] {
        assert!(verified(&keys, &assertion, SHOP).is_some());
    }
}
