//! Golden logs: real data folders of earlier builds, which every later build opens, reads alike
//! and rebuilds. What each folder holds, and what happens at a release, is in
//! `tests/golden/logs/unreleased/README.md`.
//!
//! ```text
//! UPDATE_GOLDEN=1 cargo test --test golden_log      makes the folder, if there is none
//! ```
#![allow(clippy::unwrap_used)]

mod house;
mod life;
mod older_tags;
mod resets;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use countersign::account::Policy;
use countersign::engine::Engine;
use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{AuditPageQuery, ResetQueueQuery};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::support::CaseState;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};
use tempfile::TempDir;

use countersign::crypto::keyring::Keyring;
use countersign::crypto::note::NoteSigner;
use countersign::log::checkpoints::Archive;
use countersign::log::offline::verify_folder;
use house::House;
use life::Life;

const ACCOUNTS: [&str; 8] = ["ada", "bob", "cleo", "dan", "eve", "fay", "gus", "hal"];
const CASE_STATES: [CaseState; 6] = [
    CaseState::WaitingApproval,
    CaseState::CoolingOff,
    CaseState::Executed,
    CaseState::Rejected,
    CaseState::Cancelled,
    CaseState::Expired,
];
const KEYRING: &str = "keyring.test-keys-only.toml";
const EXPECTED: &str = "expected.json";
/// 2026-11-24T12:00:00Z
const BEGIN: Micros = Micros(1_795_521_600_000_000);

fn golden_logs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs")
}

/// Copies a folder; whatever a checkout made of the modes, files become 0600 and folders 0700.
fn copy(from: &Path, to: &Path) {
    let private = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    if from.is_dir() {
        fs::create_dir(to).unwrap();
        private(to, 0o700).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
        private(to, 0o600).unwrap();
    }
}

/// What an engine shows of everything in it.
fn shown(engine: &Engine) -> Value {
    let queries = engine.queries();
    let status = |account: &&str| {
        let id = AccountId::parse(account).unwrap();
        let status = queries.login_status(&id, None).unwrap();
        let mut status = serde_json::to_value(status).unwrap();
        status.as_object_mut().unwrap().remove("position");
        status
    };
    let statuses: Vec<_> = ACCOUNTS.iter().map(status).collect();
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let query = AuditPageQuery {
            after,
            limit: Some(100),
            ..AuditPageQuery::default()
        };
        let page = queries.audit_page(&query, None).unwrap();
        events.extend(page.events);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut events = serde_json::to_value(events).unwrap();
    for event in events.as_array_mut().unwrap() {
        // The wording may become better.
        event.as_object_mut().unwrap().remove("text");
    }
    let cases = CASE_STATES.map(|state| {
        let query = ResetQueueQuery {
            state: Some(state),
            after: None,
        };
        queries.reset_queue(&query, None).unwrap()
    });
    json!({"login_status": statuses, "audit": events, "resets": cases})
}

/// Whether everything that was expected is there and equal; new fields may have come.
fn covers(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected
            .iter()
            .all(|(name, value)| actual.get(name).is_some_and(|found| covers(found, value))),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| covers(a, e))
        }
        (actual, expected) => actual == expected,
    }
}

fn compare(engine: &Engine, expected: &Value, name: &str) {
    let actual = shown(engine);
    for (found, wanted) in pairs(&actual, expected, "login_status") {
        assert!(covers(found, wanted), "{name}: {found} is not {wanted}");
    }
    for (found, wanted) in pairs(&actual, expected, "resets") {
        assert!(covers(found, wanted), "{name}: {found} is not {wanted}");
    }
    let events = pairs(&actual, expected, "audit");
    for (found, wanted) in &events {
        assert!(covers(found, wanted), "{name}: {found} is not {wanted}");
    }
    let audit = actual["audit"].as_array().unwrap();
    for new in &audit[events.len()..] {
        // A policy with a field that the old build had not is another policy, and a later build has
        // more forms.
        let is_of_a_start = new["type"] == "policy-in-force" || new["type"] == "schemas-in-force";
        assert!(is_of_a_start, "{name}: {new} was not there");
    }
}

fn pairs<'a>(actual: &'a Value, expected: &'a Value, list: &str) -> Vec<(&'a Value, &'a Value)> {
    let (found, wanted) = (
        actual[list].as_array().unwrap(),
        expected[list].as_array().unwrap(),
    );
    assert!(found.len() >= wanted.len(), "{list} has become shorter");
    found.iter().zip(wanted).collect()
}

/// The policy that was in force at the end, read as this build reads it.
fn last_policy(expected: &Value) -> Policy {
    let events = expected["audit"].as_array().unwrap();
    let event = events.iter().rfind(|e| e["type"] == "policy-in-force");
    serde_json::from_value(event.unwrap()["data"]["policy"].clone()).unwrap()
}

#[test]
fn every_golden_log_opens_and_shows_what_it_showed() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        generate(&golden_logs().join("unreleased"));
    }
    let mut logs = 0;
    for entry in fs::read_dir(golden_logs()).unwrap() {
        let golden = entry.unwrap().path();
        let name = golden.file_name().unwrap().to_string_lossy().into_owned();
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        copy(&golden.join("data"), &data);
        let keyring = folder.path().join(KEYRING);
        for file in [KEYRING, "checkpoint", "checkpoint-history"] {
            copy(&golden.join(file), &folder.path().join(file));
        }
        verify(&data, &keyring, &name);
        let text = fs::read_to_string(golden.join(EXPECTED)).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let now = Micros::parse(expected["now"].as_str().unwrap()).unwrap();
        let house = House::at(data, keyring, now);

        let engine = house.start(last_policy(&expected));
        compare(&engine, &expected, &name);
        drop(engine);
        fs::remove_file(house.data.join("views.redb")).unwrap();
        let engine = house.start(last_policy(&expected));
        compare(&engine, &expected, &format!("{name}, views rebuilt"));
        codes_are_judged_as_before(&house, &engine, &expected);
        logs += 1;
    }
    assert!(logs > 0, "there is no golden log");
}

/// The log is what every checkpoint of its archive was signed for.
fn verify(data: &Path, keyring: &Path, name: &str) {
    let keys = Keyring::load(keyring).unwrap();
    let signer = NoteSigner::new(keys.checkpoint_seed(), keys.log_id());
    let archive = Archive::open(keyring, signer).unwrap();
    let signed: Vec<_> = archive.checkpoints().cloned().collect();
    let scratch = TempDir::new().unwrap();
    let verified = verify_folder(
        &data.join("log"),
        scratch.path(),
        &signed,
        |_, _| {},
        |_, _| {},
    )
    .unwrap();
    assert!(signed.len() >= 2, "{name}: made, stopped");
    assert_eq!(
        (verified.checkpoints, verified.unsigned),
        (signed.len(), 0),
        "{name}"
    );
}

/// What was spent stays spent, what was not works once.
fn codes_are_judged_as_before(house: &House, engine: &Engine, expected: &Value) {
    let verify = |code: &Value| {
        let body = json!({"account_id": "ada", "code": code});
        let reply = house.send(engine, "verify-login", &body);
        reply.map(|_| ())
    };
    for spent in expected["ada_codes"]["spent"].as_array().unwrap() {
        assert_eq!(verify(spent), Err(ErrorCode::CodeInvalid), "{spent}");
    }
    let live = &expected["ada_codes"]["live"];
    assert_eq!(verify(live), Ok(()));
    assert_eq!(verify(live), Err(ErrorCode::CodeInvalid));
}

/// Makes a golden log, and never over an old one.
fn generate(golden: &Path) {
    assert!(
        !golden.join("data").exists(),
        "{} exists: a golden log is never overwritten, delete it where no release holds it",
        golden.display()
    );
    fs::create_dir_all(golden).unwrap();
    let house = House::at(golden.join("data"), golden.join(KEYRING), BEGIN);
    house.init();
    let policy = Policy {
        kdf_memory_kib: 8,
        ..Policy::default()
    };
    let engine = house.start(policy);
    let life = Life {
        house: &house,
        engine: &engine,
    };
    let codes = life.play();
    let mut expected = shown(&engine);
    expected["now"] = json!(house.time());
    expected["ada_codes"] = json!({"spent": codes.spent, "live": codes.live});
    let text = serde_json::to_string_pretty(&expected).unwrap();
    fs::write(golden.join(EXPECTED), text + "\n").unwrap();
}

/// Otherwise what its life asserts is looked at only when a golden log is made.
#[test]
fn the_life_that_a_golden_log_shows_goes_as_it_says_today() {
    let folder = TempDir::new().unwrap();
    let golden = folder.path().join("today");
    generate(&golden);
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(golden.join(EXPECTED)).unwrap()).unwrap();
    let events = expected["audit"].as_array().unwrap().len();
    assert!(events > 100, "{events} events");
}

#[test]
fn a_golden_log_that_shows_something_else_is_noticed() {
    let golden = golden_logs().join("unreleased").join(EXPECTED);
    let expected: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    let mut other = expected.clone();
    other["audit"][9]["data"]["step"] = json!(1);
    assert!(covers(&expected, &expected) && !covers(&expected, &other));
    let mut richer = expected.clone();
    richer["audit"][9]["data"]["new"] = json!(1);
    assert!(covers(&richer, &expected) && !covers(&expected, &richer));
}
