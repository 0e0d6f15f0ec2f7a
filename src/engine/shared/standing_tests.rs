//! Files that are moved, replaced or opened to others under a running service are noticed, and so
//! is their repair.

use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::engine::Engine;
use crate::engine::tests::fixture::{Fixture, PASSWORD};
use crate::log::{EventLog, LogOptions};

fn look(engine: &Engine) -> Option<String> {
    let shared = &engine.shared;
    shared.standing.look(&shared.vault, &engine.admin().log);
    engine.readings().misplaced
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn watched(fixture: &Fixture) -> Vec<PathBuf> {
    vec![
        fixture.data(),
        fixture.data().join("log"),
        fixture.data().join("log/00000001.redb"),
        fixture.data().join("keys.redb"),
        fixture.keyring(),
    ]
}

#[test]
fn a_file_that_is_renamed_or_replaced_ends_readiness_until_it_is_back() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    assert_eq!(look(&engine), None);
    for path in watched(&fixture) {
        let away = fixture.folder().join("away");
        fs::rename(&path, &away).unwrap();
        let wrong = look(&engine).unwrap();
        assert!(
            wrong.contains("bring it back") || wrong.contains("does not exist"),
            "{wrong}"
        );
        if away.is_dir() {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, fs::read(&away).unwrap()).unwrap();
        }
        chmod(
            &path,
            away.metadata().unwrap().permissions().mode() & 0o7777,
        );
        let wrong = look(&engine);
        // The same keyring in another file is the same keyring.
        assert_eq!(wrong.is_none(), path == fixture.keyring(), "{wrong:?}");
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        fs::rename(&away, &path).unwrap();
        assert_eq!(look(&engine), None, "{}", path.display());
    }
}

#[test]
fn what_is_opened_to_others_ends_readiness_until_it_is_closed() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for path in watched(&fixture) {
        let before = path.metadata().unwrap().permissions().mode();
        for bit in [0o040, 0o020, 0o004, 0o001] {
            chmod(&path, before | bit);
            let wrong = look(&engine).unwrap();
            assert!(wrong.contains("chmod"), "{wrong}");
        }
        chmod(&path, before);
        assert_eq!(look(&engine), None, "{}", path.display());
    }
}

#[test]
fn what_the_service_does_itself_is_no_alarm() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let erase = json!({"account_id": "ada", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    assert_eq!(look(&engine), None);
    // The rewrite of the keys runs beside the check.
    let rotated = fixture.send(&engine, "rotate-keys", json!({"reason": "a drill"}));
    assert!(rotated.is_ok(), "{rotated:?}");
    assert_eq!(look(&engine), None);
    fixture.pass(60);
    drop(engine);
    assert_eq!(look(&fixture.start()), None);
}

#[test]
fn a_keyring_of_another_installation_is_a_replaced_file() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let engine = fixture.start();
    let ours = fs::read(fixture.keyring()).unwrap();
    fs::write(fixture.keyring(), fs::read(other.keyring()).unwrap()).unwrap();
    assert!(look(&engine).unwrap().contains("replaced"));
    fs::write(fixture.keyring(), ours).unwrap();
    assert_eq!(look(&engine), None);
}

/// One key or another, retired or not: the next start reads all of them.
#[test]
fn any_other_line_in_the_keyring_is_a_replaced_file() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let rotated = fixture.send(&engine, "rotate-keys", json!({"reason": "a drill"}));
    assert!(rotated.is_ok(), "{rotated:?}");
    let good = fs::read_to_string(fixture.keyring()).unwrap();
    let (body, _) = good.rsplit_once("\n[check]\n").unwrap();
    let is_key = |at: &usize| body[*at..].starts_with(" = \"") && body[at + 4..].len() > 64;
    let ends = |at: usize| body[at + 4..].find('"').unwrap();
    let keys = (0..body.len()).filter(is_key);
    let keys: Vec<_> = keys.filter(|at| ends(*at) == 64).collect();
    assert_eq!(keys.len(), 6, "two, and two of each kind");
    for at in keys {
        let mut changed = body.to_owned();
        let other = if &body[at + 4..at + 5] == "0" {
            "1"
        } else {
            "0"
        };
        changed.replace_range(at + 4..at + 5, other);
        let check = HEXLOWER.encode(&Sha256::digest(changed.as_bytes()));
        let text = format!("{changed}\n[check]\nsha256 = \"{check}\"\n");
        fs::write(fixture.keyring(), text).unwrap();
        let wrong = look(&engine).unwrap();
        assert!(wrong.contains("replaced"), "{wrong}");
    }
    fs::write(fixture.keyring(), good).unwrap();
    assert_eq!(look(&engine), None);
}

/// a segment is known by the file that the log made, not by the file that is found later.
#[test]
fn a_segment_that_is_exchanged_before_the_first_look_ends_readiness() {
    for is_active in [true, false] {
        let fixture = Fixture::new();
        let engine = fixture.start_with(|options| {
            options.log = LogOptions {
                segment_records: NonZeroU64::new(40).unwrap(),
                ..LogOptions::default()
            };
        });
        fixture.enrol(&engine, "ada");
        let segment = |number: u32| fixture.data().join(format!("log/{number:08}.redb"));
        let until = if is_active { 2 } else { 3 };
        while !segment(until).exists() {
            let login = json!({"username": "ada", "password": PASSWORD});
            fixture.send(&engine, "start-login", login).unwrap();
        }
        let (second, away) = (segment(2), fixture.folder().join("away"));
        fs::rename(&second, &away).unwrap();
        fs::copy(&away, &second).unwrap();
        let wrong = look(&engine).unwrap();
        assert!(wrong.contains("00000002.redb was replaced"), "{wrong}");
        fs::rename(&away, &second).unwrap();
        assert_eq!(look(&engine), None);
    }
}

/// The same between the opening of the log and the rest of the start.
#[test]
fn a_segment_that_is_exchanged_while_the_service_starts_is_not_the_one_that_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    drop(EventLog::create(&path, LogOptions::default(), &[b"first".into()]).unwrap());
    let log = EventLog::open(&path, LogOptions::default()).unwrap();
    let (name, file) = log.reader().files().remove(0);
    fs::copy(&name, folder.path().join("copy")).unwrap();
    fs::rename(folder.path().join("copy"), &name).unwrap();
    assert_eq!(log.reader().files(), [(name.clone(), file)]);
    assert_ne!(FileId::of(&name.metadata().unwrap()), file);
}
