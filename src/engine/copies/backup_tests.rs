//! Backups of a running service, and what they never do to existing files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Arc, OnceLock, Weak};

use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use redb::{Database, TableDefinition};
use serde_json::json;

use super::*;
use crate::crypto::data_keys::back_up_stopped;
use crate::crypto::keyring::Keyring;
use crate::engine::copies::verify::{BackupToVerify, BadBackup, CheckedBackup, verify_backup};
use crate::engine::data_folder::keys_file;
use crate::engine::tests::appended_tests::Signed;
use crate::engine::tests::fixture::{Fixture, PASSWORD};
use crate::engine::{Engine, NoStoppedBackup, back_up_stopped_service, new_epoch};
use crate::log::{LogOptions, MANIFEST, Storage};

fn register(fixture: &Fixture, engine: &Engine, name: &str) {
    let body = json!({"account_id": name, "username": name, "password": PASSWORD});
    fixture.send(engine, "register-account", body).unwrap();
}

fn verify(fixture: &Fixture, with_keyring: bool) -> Result<CheckedBackup, BadBackup> {
    let scratch = tempfile::tempdir().unwrap();
    let (folders, keyring) = (fixture.backups(), fixture.keyring());
    let asked = BackupToVerify {
        log: &folders.log,
        keys: Some(&folders.keys),
        keyring: with_keyring.then_some(&keyring),
        scratch: scratch.path(),
    };
    verify_backup(&asked, |_, _| {})
}

fn manifest(fixture: &Fixture) -> Manifest {
    Manifest::read(&fixture.backups().log).unwrap().unwrap()
}

/// Every file below a folder, with its bytes.
fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(bytes_of(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The keys that a record needs are durable before the record, and are copied after it was read.
#[test]
fn a_backup_has_the_keys_of_accounts_that_were_made_while_it_ran() {
    let fixture = Arc::new(Fixture::new());
    let engine: Arc<OnceLock<Weak<Engine>>> = Arc::default();
    let (registering, home) = (Arc::clone(&engine), Arc::clone(&fixture));
    let target = fixture.backups().log;
    let plain = Storage::default().create;
    let storage = Storage {
        create: Arc::new(move |builder, path| {
            let running = registering.get().and_then(Weak::upgrade);
            if let Some(engine) = running.filter(|_| path.starts_with(&target)) {
                register(&home, &engine, &home.fresh_id());
            }
            plain(builder, path)
        }),
        ..Storage::default()
    };
    let running = Arc::new(fixture.start_on(storage));
    engine.set(Arc::downgrade(&running)).unwrap();
    register(&fixture, &running, "ada");
    for _ in 0..3 {
        let before = running.readings().head;
        let taken = running.admin().backup().unwrap();
        assert!(
            running.readings().head > before,
            "an account was made meanwhile"
        );
        assert!(taken.position >= before);
        let checked = verify(&fixture, true).unwrap();
        assert_eq!(checked.position, taken.position);
        assert_eq!(checked.signed, checked.position);
    }
}

/// In the other order the copy would not be whole, which the test above looks for.
#[test]
fn a_copy_whose_records_need_a_key_that_is_not_copied_is_not_verified() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine, "ada");
    engine.admin().backup().unwrap();
    let keys = fixture.backups().keys.join("keys.redb");
    let early = fs::read(&keys).unwrap();
    register(&fixture, &engine, "eve");
    engine.admin().backup().unwrap();
    fs::write(&keys, early).unwrap();
    for with_keyring in [false, true] {
        let bad = verify(&fixture, with_keyring).unwrap_err();
        assert!(matches!(bad, BadBackup::KeyMissing(_)), "{bad}");
    }
}

#[test]
fn a_target_that_is_the_service_itself_is_refused_at_the_start_and_at_every_backup() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine, "ada");
    let inodes = || {
        fs::metadata(fixture.data().join("log/00000001.redb"))
            .unwrap()
            .ino()
    };
    let before = inodes();
    // The folder is empty at the start, and leads to the data folder later.
    std::os::unix::fs::symlink(fixture.data(), fixture.backups().log).unwrap();
    let refused = engine.admin().backup().unwrap_err();
    assert_eq!(refused.code, ErrorCode::RequestInvalid);
    assert!(refused.detail.unwrap().contains("[backup]"));
    assert_eq!(inodes(), before);
    assert!(!fixture.data().join(MANIFEST).exists());
    drop(engine);
    let error = fixture.try_start().err().unwrap().to_string();
    assert!(
        error.contains("[backup]") && error.contains("outside of it"),
        "{error}"
    );
}

#[test]
fn a_backup_folder_belongs_to_one_log_and_one_part() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let engine = fixture.start();
    engine.admin().backup().unwrap();
    let copied = bytes_of(&fixture.backups().log);
    let takes = |log: &Path, keys: &Path| {
        let folders = BackupFolders {
            log: log.into(),
            keys: keys.into(),
        };
        let running = other.start_with(|options| options.backup = Some(folders));
        running.admin().backup()
    };
    let (log, keys) = (fixture.backups().log, fixture.backups().keys);
    for refused in [
        takes(&log, &other.folder().join("k")),
        takes(&other.folder().join("l"), &keys),
    ] {
        let refused = refused.unwrap_err();
        assert!(refused.detail.unwrap().contains("another log"));
    }
    let error = fixture
        .try_start_with(|options| {
            options.backup = Some(BackupFolders {
                log: keys.clone(),
                keys: log.clone(),
            });
        })
        .err();
    assert!(error.is_some(), "the parts were exchanged");
    assert_eq!(bytes_of(&log), copied);
}

/// A data folder that was set back does not worsen the copies.
#[test]
fn a_backup_that_would_shorten_or_fork_an_earlier_one_is_refused() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine, "ada");
    drop(engine);
    let (early, early_signed) = (bytes_of(&fixture.data()), Signed::of(&fixture));
    let engine = fixture.start();
    register(&fixture, &engine, "eve");
    engine.admin().backup().unwrap();
    drop(engine);
    let copied = (
        bytes_of(&fixture.backups().log),
        bytes_of(&fixture.backups().keys),
    );
    fs::remove_dir_all(fixture.data()).unwrap();
    for (path, bytes) in early {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let stopped = || {
        let (data, folders, keyring) = (fixture.data(), fixture.backups(), fixture.keyring());
        match back_up_stopped_service(&data, Some(&keyring), &folders, fixture.time()) {
            Err(NoStoppedBackup::Refused(refused)) => refused,
            other => panic!("{other:?}"),
        }
    };
    // With the newest checkpoints the log is refused before the folders are compared.
    let signed = Signed::of(&fixture);
    early_signed.restore();
    let shorter = stopped();
    assert!(matches!(shorter, NoBackup::Shorter { .. }), "{shorter}");
    signed.restore();
    let head = manifest(&fixture).position;
    let lost_from = fixture.try_start().err().unwrap().to_string();
    let (_, lost_from) = lost_from.split_once("--lost-from ").unwrap();
    let lost_from = lost_from.split(' ').next().unwrap().parse().unwrap();
    let (data, keyring) = (fixture.data(), fixture.keyring());
    let options = LogOptions::default();
    new_epoch(&data, &keyring, lost_from, "lost", fixture.time(), options).unwrap();
    let engine = fixture.start();
    while engine.readings().head <= head {
        register(&fixture, &engine, &fixture.fresh_id());
    }
    let refused = engine.admin().backup().unwrap_err();
    assert!(refused.detail.unwrap().contains("holds more than this log"));
    drop(engine);
    let forked = stopped();
    assert!(matches!(forked, NoBackup::Forked { .. }), "{forked}");
    let left = (
        bytes_of(&fixture.backups().log),
        bytes_of(&fixture.backups().keys),
    );
    assert!(left == copied, "the copies are as they were");
}

#[test]
fn a_worse_key_store_does_not_replace_a_better_copy() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine, "ada");
    let keys = fixture.backups().keys.join("keys.redb");
    let early = fixture.folder().join("early.redb");
    let nothing = |_: &_, _| Ok(false);
    let vault = &engine.shared.vault;
    vault.back_up_keys(&early, &nothing).unwrap();
    register(&fixture, &engine, "eve");
    engine.admin().backup().unwrap();
    let better = fs::read(&keys).unwrap();
    let ring = Keyring::load(&fixture.keyring()).unwrap();
    let refused = back_up_stopped(&early, &keys, Some(&ring), &nothing).unwrap_err();
    assert!(
        matches!(refused, DataKeysError::CopyKnowsMore(_)),
        "{refused}"
    );
    assert_eq!(fs::read(&keys).unwrap(), better);
    // An erasure is no loss.
    let erase = json!({"account_id": "ada", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    engine.admin().backup().unwrap();
    verify(&fixture, true).unwrap();
}

/// Writes into the key store of a stopped service as an attacker without the keyring: the key of an
/// account is gone, and marked as erased.
fn mark_erased(fixture: &Fixture, account: &str) {
    const KEYS: TableDefinition<&[u8; 20], &[u8; 64]> = TableDefinition::new("data_keys_v1");
    const MARKS: TableDefinition<&[u8; 16], &[u8; 20]> = TableDefinition::new("erased_v2");
    let stream = StreamKey::of(&AccountId::parse(account).unwrap()).0;
    let store = Database::open(keys_file(&fixture.data())).unwrap();
    let txn = store.begin_write().unwrap();
    {
        let (mut name, mut mark) = ([0; 20], [9; 20]);
        name[..16].copy_from_slice(&stream);
        name[16..].copy_from_slice(&1_u32.to_be_bytes());
        mark[..4].copy_from_slice(&1_u32.to_le_bytes());
        let mut keys = txn.open_table(KEYS).unwrap();
        assert!(keys.remove(&name).unwrap().is_some());
        let mut marks = txn.open_table(MARKS).unwrap();
        marks.insert(&stream, &mark).unwrap();
    }
    txn.commit().unwrap();
}

#[test]
fn a_key_that_was_marked_as_erased_by_hand_is_believed_by_no_start_no_backup_and_no_verification() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    register(&fixture, &engine, "ada");
    register(&fixture, &engine, "eve");
    engine.admin().backup().unwrap();
    let erase = json!({"account_id": "eve", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    drop(engine);
    let (data, keyring, folders) = (fixture.data(), fixture.keyring(), fixture.backups());
    let stopped = |keyring| back_up_stopped_service(&data, keyring, &folders, fixture.time());
    stopped(Some(&keyring)).unwrap();
    for with_keyring in [false, true] {
        verify(&fixture, with_keyring).unwrap();
    }
    let copied = bytes_of(&folders.keys);
    mark_erased(&fixture, "ada");
    let refused = fixture.try_start().err().unwrap().to_string();
    assert!(refused.contains("who could write"), "{refused}");
    let refused = stopped(None).unwrap_err();
    let needs_keyring = matches!(refused, NoStoppedBackup::NeedsKeyring(_));
    assert!(needs_keyring, "{refused}");
    let refused = stopped(Some(&keyring)).unwrap_err();
    let unproven = matches!(
        refused,
        NoStoppedBackup::Refused(NoBackup::Keys(DataKeysError::UnprovenErasure(_)))
    );
    assert!(unproven, "{refused}");
    assert!(bytes_of(&folders.keys) == copied);
    // In empty folders, only the copy itself can show the fault.
    for folder in [&folders.log, &folders.keys] {
        fs::remove_dir_all(folder).unwrap();
    }
    stopped(None).unwrap();
    let bad = verify(&fixture, false).unwrap_err();
    assert!(matches!(bad, BadBackup::ErasureUnproven(_)), "{bad}");
    let bad = verify(&fixture, true).unwrap_err();
    assert!(matches!(bad, BadBackup::ErasureUnproven(_)), "{bad}");
}

#[test]
fn a_backup_is_verified_and_shows_what_was_changed_in_it() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    engine.admin().backup().unwrap();
    let checked = verify(&fixture, false).unwrap();
    assert_eq!(
        (checked.position, checked.by_keyring),
        (engine.readings().head, false)
    );
    assert!(verify(&fixture, true).unwrap().keys.unwrap() > 0);
    let folders = fixture.backups();
    let file = folders.log.join(MANIFEST);
    let right = manifest(&fixture);
    let shows = |change: &dyn Fn(&mut Manifest), words: &str| {
        let mut wrong = right.clone();
        change(&mut wrong);
        wrong.write(&folders.log).unwrap();
        for with_keyring in [false, true] {
            let bad = verify(&fixture, with_keyring).unwrap_err().to_string();
            assert!(bad.contains(words), "{bad}");
        }
        right.write(&folders.log).unwrap();
    };
    shows(&|m| m.position += 1, "different backups");
    shows(&|m| m.position -= 1, "promises");
    shows(&|m| m.position = 0, "never ended");
    shows(
        &|m| m.root = BASE64.encode(&[7; 32]),
        "not those that were copied",
    );
    shows(&|m| m.log_id = "0".repeat(32), "another log");
    shows(&|m| m.holds = Part::Keys, "other part");
    shows(
        &|m| {
            let note = &mut m.checkpoint.as_mut().unwrap().note;
            let (at, other) = (note.len() - 8, |c| if c == 'A' { "B" } else { "A" });
            let found = note[at..].chars().next().unwrap();
            note.replace_range(at..=at, other(found));
        },
        "signature",
    );
    fs::write(&file, b"{}").unwrap();
    assert!(matches!(
        verify(&fixture, false),
        Err(BadBackup::Manifest(_))
    ));
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        verify(&fixture, false),
        Err(BadBackup::NoManifest(_))
    ));
    right.write(&folders.log).unwrap();
    fs::write(folders.log.join("log").join("keyring.toml"), b"").unwrap();
    assert!(matches!(verify(&fixture, false), Err(BadBackup::Place(_))));
}

/// No checkpoint is signed with the keyring of another installation.
#[test]
fn a_backup_of_another_installation_is_not_proven_by_this_keyring() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.start().admin().backup().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (folders, keyring) = (fixture.backups(), other.keyring());
    let asked = BackupToVerify {
        log: &folders.log,
        keys: None,
        keyring: Some(&keyring),
        scratch: scratch.path(),
    };
    let bad = verify_backup(&asked, |_, _| {}).unwrap_err();
    assert!(matches!(bad, BadBackup::Signature(_)), "{bad}");
}

#[test]
fn the_age_of_a_backup_is_that_of_the_older_part_and_counts_from_the_beginning_without_one() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.pass(100);
    assert_eq!(engine.readings().backup_age_s, Some(100));
    engine.admin().backup().unwrap();
    fixture.pass(7);
    assert_eq!(engine.readings().backup_age_s, Some(7));
    let mut keys = Manifest::read(&fixture.backups().keys).unwrap().unwrap();
    keys.at = Micros(keys.at.0 - 50 * Micros::SECOND);
    keys.write(&fixture.backups().keys).unwrap();
    assert_eq!(engine.readings().backup_age_s, Some(57));
    fs::rename(&fixture.backups().keys, fixture.folder().join("gone")).unwrap();
    assert_eq!(engine.readings().backup_age_s, Some(107));
    drop(engine);
    let engine = fixture.start_with(|options| options.backup = None);
    assert_eq!(engine.readings().backup_age_s, None);
}

#[test]
fn folders_that_were_open_to_others_are_closed_before_a_copy_is_in_them() {
    let fixture = Fixture::new();
    let folders = fixture.backups();
    for folder in [&folders.log, &folders.keys] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fixture.start().admin().backup().unwrap();
    for folder in [&folders.log, &folders.keys, &folders.log.join("log")] {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{}", folder.display());
    }
}

#[test]
fn a_backup_that_could_not_be_read_is_told_apart_from_one_that_is_wrong() {
    use crate::engine::copies::verify::BadBackup;
    use crate::log::offline::VerifyError;
    use crate::log::{ManifestError, OpenLogError};

    let path = || std::path::PathBuf::from("backup");
    let unreadable = |error| BadBackup::Log(VerifyError::Unreadable(error));
    for (bad, is_unread) in [
        (BadBackup::NoManifest(path()), false),
        (BadBackup::KeyMissing(7), false),
        (unreadable(OpenLogError::Missing(path())), false),
        (
            unreadable(OpenLogError::MissingSegment {
                folder: path(),
                number: 2,
            }),
            false,
        ),
        (unreadable(OpenLogError::ReadOnly(path())), true),
        (unreadable(OpenLogError::AlreadyOpen(path())), true),
        (
            BadBackup::Manifest(ManifestError::Io {
                path: path(),
                source: std::io::ErrorKind::PermissionDenied.into(),
            }),
            true,
        ),
        (
            BadBackup::Manifest(ManifestError::Damaged {
                path: path(),
                reason: "no JSON".into(),
            }),
            false,
        ),
    ] {
        assert_eq!(bad.is_unread(), is_unread, "{bad}");
    }
}
