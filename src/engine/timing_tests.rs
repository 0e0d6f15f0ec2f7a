//! Whether the time that evidence takes tells a known name from an unknown one.
//!
//! The comparison costs one Argon2id either way. What differs beside it (a sealed verifier is
//! opened, or a salt is drawn) is a few microseconds in its tens of milliseconds, which no number
//! of runs in this test can see; a missing Argon2id is seen at once.

use serde_json::json;

use super::house::{House, PASSWORD};
use super::{Engine, Evidence, Submission, current_account, evidence};
use crate::account::{Policy, ProofEvidence};
use crate::crypto::timing_tests::{T_MAX, T_PLANTED_MIN, smallest_t};

/// An engine whose Argon2id takes that much memory, with one account, `ada`.
fn engine(house: &House, kdf_memory_kib: u32) -> Engine {
    let engine = house.start_with(|options| options.policy.kdf_memory_kib = kdf_memory_kib);
    let body = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    house.send(&engine, "register-account", body).unwrap();
    engine
}

/// What evidence says of a wrong password under that name, from that address.
fn gathered(house: &House, engine: &Engine, (name, ip): &(&str, &str)) -> ProofEvidence {
    let body = json!({"username": name, "password": "a wrong one", "context": {"ip": ip}});
    let request = house.request("start-login", &body, "c-timing", engine);
    let submission = Submission {
        evidence: Evidence::none(request.received_at),
        request,
        gatherings: 0,
        reply: Box::new(|_| ()),
    };
    let account = current_account(&engine.shared, &submission).unwrap();
    let gathered = evidence::gather(&engine.shared, &submission.request, &account);
    gathered.unwrap().proof
}

/// H8: known and unknown names take equally long to compare, at the shipped cost.
#[test]
fn an_unknown_name_costs_as_much_time_as_a_known_one() {
    let house = House::new();
    let engine = engine(&house, Policy::default().kdf_memory_kib);
    let classes = [("ada", "192.0.2.1"), ("bob", "192.0.2.1")];
    let t = smallest_t("known or unknown", 60, &classes, |class| {
        gathered(&house, &engine, class)
    });
    assert!(t < T_MAX, "|t| = {t}");
}

/// The one way past the hash that is meant to be: a source that waits is told so at once. Here a
/// hash costs a twentieth of the shipped one, so the real one would stand out more.
#[test]
fn a_missing_hash_is_caught() {
    let house = House::new();
    let engine = engine(&house, 1_024);
    for _ in 0..=Policy::default().password_failures_free {
        let body = json!({
            "username": "ada", "password": "a wrong one", "context": {"ip": "192.0.2.2"}
        });
        house.send(&engine, "start-login", body).unwrap_err();
    }
    let classes = [("ada", "192.0.2.1"), ("ada", "192.0.2.2")];
    assert_eq!(
        gathered(&house, &engine, &classes[1]),
        ProofEvidence::NotCompared
    );
    let t = smallest_t("planted: no hash", 3_000, &classes, |class| {
        gathered(&house, &engine, class)
    });
    assert!(t > T_PLANTED_MIN, "|t| = {t}");
}
