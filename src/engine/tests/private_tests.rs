//! Only the owner can read the files of the service, whatever their modes were before.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::fixture::{Fixture, PASSWORD};
use crate::engine::accounts::snapshots::TAIL_MAX;
use crate::log::LogOptions;

/// Every file and folder at and below a path, with its mode.
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    let meta = fs::symlink_metadata(path).unwrap();
    let mut found = vec![(path.to_owned(), meta.permissions().mode() & 0o7777)];
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(modes(&entry.unwrap().path()));
        }
    }
    found
}

fn assert_private(path: &Path) -> Vec<String> {
    let found = modes(path);
    for (path, mode) in &found {
        let right = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(*mode, right, "{}: {mode:o}", path.display());
    }
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    found.iter().map(|(path, _)| name(path)).collect()
}

/// Logs in often, with segments of a few records, takes a backup, and rotates the keys.
fn busy(fixture: &Fixture) {
    let engine = fixture.start_with(|options| {
        options.log = LogOptions {
            segment_records: std::num::NonZeroU64::new(40).unwrap(),
            ..LogOptions::default()
        };
    });
    if engine.readings().head < 10 {
        fixture.enrol(&engine, "ada");
    }
    for _ in 0..=TAIL_MAX {
        let login = serde_json::json!({"username": "ada", "password": PASSWORD});
        fixture.send(&engine, "start-login", login).unwrap();
    }
    let ada = countersign_schemas::ids::AccountId::parse("ada").unwrap();
    let stream = countersign_schemas::ids::StreamKey::of(&ada);
    let accounts = &engine.shared.accounts;
    accounts.rebuild(stream, u32::MAX, u64::MAX).unwrap();
    accounts.save_snapshots();
    let rotation = serde_json::json!({"reason": "a test"});
    fixture.send(&engine, "rotate-keys", rotation).unwrap();
    engine.admin().backup().unwrap();
}

///
#[test]
fn only_the_owner_reads_what_the_service_writes_and_what_was_open_is_closed() {
    let fixture = Fixture::new();
    busy(&fixture);
    let (data, backup) = (fixture.data(), fixture.folder().join("backup"));
    let files = assert_private(&data);
    for known in [
        "log",
        "00000001.redb",
        "00000002.redb",
        "index.redb",
        "views.redb",
        "snapshots.redb",
        "keys.redb",
        "checkpoint.json",
    ] {
        assert!(files.iter().any(|file| file == known), "{known}");
    }
    assert!(assert_private(&backup).len() > 3);
    assert_private(fixture.keyring().parent().unwrap());
    for path in [&data, &backup] {
        for (path, mode) in modes(path) {
            let wider = if mode == 0o700 { 0o755 } else { 0o644 };
            fs::set_permissions(path, Permissions::from_mode(wider)).unwrap();
        }
    }
    busy(&fixture);
    assert_private(&data);
    for (path, mode) in modes(&backup)
        .into_iter()
        .filter(|(path, _)| path.is_file())
    {
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[test]
fn a_link_in_the_data_folder_is_left_as_it_is() {
    let fixture = Fixture::new();
    let outside = fixture.folder().join("outside");
    fs::write(&outside, b"not of the service").unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.data().join("link")).unwrap();
    drop(fixture.start());
    let mode = fs::metadata(&outside).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
}
