//! What older builds left in the log: tags over whole bodies, passwords included, under a key of
//! the keyring. They stand there for ever; what tests them is destroyed by a rotation.

use std::fs;

use countersign::crypto::keyring::{Keyring, ROTATION_ENTROPY_BYTES};
use countersign::log::{EventLog, LogOptions};
use countersign_schemas::event::Event;
use countersign_schemas::record::Record;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;

use super::life::PASSWORD;
use super::{KEYRING, copy, golden_logs};

/// One guess at the price of one HMAC: the tag of the command that made ada, with this password.
fn guess(key: &[u8], password: &str) -> [u8; 16] {
    let body = json!({"username": "ada@example", "password": password, "account_id": "ada",
        "context": {"ip": "203.0.113.7", "agent": "Firefox"}});
    let payload = serde_json::to_vec(&body).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in [b"golden".as_slice(), b"register-account", &payload] {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes()[..16].try_into().unwrap()
}

/// Every key of the keyring file, whatever it is for.
fn keys(text: &str) -> Vec<Vec<u8>> {
    let quoted = text.split('"').skip(1).step_by(2);
    let decoded = quoted.filter_map(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
    decoded.filter(|key| key.len() == 32).collect()
}

#[test]
fn an_older_log_with_its_keyring_tests_a_password_until_the_keys_are_rotated() {
    let golden = golden_logs().join("unreleased");
    let folder = TempDir::new().unwrap();
    copy(&golden.join("data"), &folder.path().join("data"));
    let file = folder.path().join(KEYRING);
    copy(&golden.join(KEYRING), &file);
    let log = EventLog::open(&folder.path().join("data/log"), LogOptions::default()).unwrap();
    let page = log.reader().read(1, usize::MAX, usize::MAX).unwrap();
    let stored = page.iter().find_map(|(_, bytes)| {
        let record = Record::decode(bytes).unwrap();
        let is_it = record.meta.account_id == "ada"
            && matches!(record.event().unwrap(), Event::AccountRegistered(_));
        is_it.then_some(record.meta.body_tag)
    });
    let stored = stored.unwrap();
    let is_tested = |password: &str| {
        let keys = keys(&fs::read_to_string(&file).unwrap());
        assert!(keys.len() >= 4);
        keys.iter().any(|key| guess(key, password) == stored)
    };
    assert!(is_tested(PASSWORD), "the attack is not the one that worked");
    assert!(!is_tested("another password"));
    let keyring = Keyring::load(&file).unwrap();
    assert!(keyring.has_old_tag_key());
    keyring
        .rotate(&file, &[7; ROTATION_ENTROPY_BYTES], 1)
        .unwrap();
    assert!(!is_tested(PASSWORD));
}
