//! Each file and folder of the service, one by one, and a folder with more files than one look
//! reads.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::engine::tests::fixture::Fixture;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn everything_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything_in(&path, found);
        }
        found.push(path);
    }
}

///
#[test]
fn any_file_or_folder_of_the_service_that_is_opened_to_others_ends_readiness() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for name in ["ada", "bob"] {
        fixture.enrol(&engine, name);
    }
    let erase = serde_json::json!({"account_id": "bob", "reason": "a wish"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    drop(engine);
    let engine = fixture.start();
    let look = || {
        let shared = &engine.shared;
        shared.standing.look(&shared.vault, &engine.admin().log);
        engine.readings().misplaced
    };
    assert_eq!(look(), None);
    let keys = fixture.keyring().parent().unwrap().to_owned();
    let mut all = vec![fixture.data(), keys.clone()];
    everything_in(&fixture.data(), &mut all);
    everything_in(&keys, &mut all);
    let named = |name: &str| all.iter().any(|path| path.ends_with(name));
    for name in ["index.redb", "tag-keys", "checkpoint-history", "tombstones"] {
        assert!(named(name), "{name} in {all:?}");
    }
    let mut unseen = Vec::new();
    for path in &all {
        let before = path.metadata().unwrap().permissions().mode();
        for bit in [0o040, 0o001] {
            chmod(path, before | bit);
            let wrong = look().unwrap_or_default();
            let keyring = wrong.contains("chmod") && *path == fixture.keyring();
            if !wrong.contains(&format!("{} ", path.display())) && !keyring {
                unseen.push((path, wrong));
            }
        }
        chmod(path, before);
        assert_eq!(look(), None, "{}", path.display());
    }
    assert!(unseen.is_empty(), "{unseen:?}");
}

/// The same file is named until it is closed, then the next one.
#[test]
fn a_folder_with_more_files_than_a_look_reads_is_seen_whole_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let many = folder.path().join("many");
    fs::create_dir(&many).unwrap();
    let files = 2 * ENTRIES_PER_LOOK + 10;
    for n in 0..files {
        let path = many.join(n.to_string());
        fs::write(&path, "").unwrap();
        chmod(&path, 0o600);
    }
    let mut openness = Openness::of(vec![], vec![many.clone()]);
    let first = many.join("0");
    let last = many.join((files - 1).to_string());
    for path in [&first, &last] {
        chmod(path, 0o640);
        let found = (0..3).find_map(|_| openness.look().err());
        assert!(found.unwrap().contains(&format!("{} ", path.display())));
        assert!(openness.look().is_err(), "still");
        chmod(path, 0o600);
        assert_eq!((0..4).find_map(|_| openness.look().err()), None);
    }
}

#[test]
fn what_the_start_could_not_close_and_what_is_a_link_is_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("wide"), "").unwrap();
    chmod(&root.join("wide"), 0o640);
    fs::write(&outside, "").unwrap();
    chmod(&outside, 0o644);
    let mut openness = Openness::of(vec![root.clone()], vec![root.clone()]);
    std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
    assert_eq!(openness.look(), Ok(()));
    chmod(&root.join("wide"), 0o644);
    assert!(openness.look().unwrap_err().contains("wide"));
    chmod(&root.join("wide"), 0o600);
    assert_eq!(openness.look(), Ok(()));
}
