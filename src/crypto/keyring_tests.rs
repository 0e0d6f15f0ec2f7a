//! Which keyring files are refused, and that no key is ever shown.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::file::{CHECK_HEADER, CHECK_PREFIX, CHECK_SUFFIX, check_of};
use super::*;

const NOW_US: u64 = 1_795_000_000_000_000;

fn entropy() -> [u8; KEYRING_ENTROPY_BYTES] {
    std::array::from_fn(|at| (at as u8).wrapping_mul(151).wrapping_add(17))
}

/// Makes a folder that lives as long as the test, a keyring file in it, and the keyring.
fn created() -> (tempfile::TempDir, PathBuf, Keyring) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys/countersign.keyring");
    let keyring = Keyring::create(&path, &entropy(), NOW_US).unwrap();
    (folder, path, keyring)
}

/// Writes a keyring text with the right check for it.
fn write_with_check(path: &Path, body: &str) {
    let check = check_of(body);
    let text = format!("{body}{CHECK_HEADER}{CHECK_PREFIX}{check}{CHECK_SUFFIX}");
    fs::write(path, text).unwrap();
}

fn body_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split_once(CHECK_HEADER).unwrap().0.to_owned()
}

#[test]
fn a_created_keyring_reads_back_with_every_key_from_its_own_entropy() {
    let (_folder, path, _) = created();
    let keyring = Keyring::load(&path).unwrap();
    let entropy = entropy();
    let key = |index: usize| &entropy[16 + 32 * index..48 + 32 * index];
    assert_eq!(keyring.log_id()[..], entropy[..16]);
    assert_eq!(keyring.name_key()[..], *key(0));
    assert_eq!(keyring.checkpoint_seed()[..], *key(1));
    let (id, kek) = keyring.active_kek();
    assert_eq!((id, &kek.as_bytes()[..]), (1, key(2)));
    assert_eq!(keyring.active_pepper(), (1, key(3)));
    assert_eq!(keyring.kek(1), Some(kek));
    assert_eq!(keyring.pepper(1), Some(key(3)));
    assert!(keyring.kek(2).is_none() && keyring.pepper(0).is_none());
    assert_eq!(keyring.created_at_us(), NOW_US);
}

#[test]
fn the_file_is_ours_alone_and_its_new_folder_too() {
    let (_folder, path, _) = created();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn creating_again_is_refused_and_changes_nothing() {
    let (_folder, path, _) = created();
    let before = fs::read(&path).unwrap();
    let again = Keyring::create(&path, &[0; KEYRING_ENTROPY_BYTES], NOW_US);
    assert!(matches!(
        again,
        Err(InitError::Create(CreateError::Exists(_)))
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_missing_linked_or_readable_keyring_is_refused() {
    let (folder, path, _) = created();
    let refused = |path: &Path| match Keyring::load(path) {
        Err(LoadError::File(error)) => error,
        other => panic!("not refused for the file itself: {other:?}"),
    };
    assert!(matches!(
        refused(&folder.path().join("none")),
        ReadError::Missing(_)
    ));
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(refused(&link), ReadError::NotAFile(_)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let message = LoadError::from(refused(&path)).to_string();
    assert!(
        message.contains("has mode 0640") && message.contains("chmod 600"),
        "{message}"
    );
}

#[test]
fn a_keyring_cut_off_anywhere_is_refused_as_cut_off() {
    let (_folder, path, _) = created();
    let text = fs::read(&path).unwrap();
    for end in 0..text.len() {
        fs::write(&path, &text[..end]).unwrap();
        let refused = Keyring::load(&path);
        assert!(
            matches!(refused, Err(LoadError::Truncated(_))),
            "cut at {end}"
        );
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let (_folder, path, _) = created();
    let text = fs::read(&path).unwrap();
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert!(Keyring::load(&path).is_err(), "byte {at}");
    }
}

#[test]
fn an_exchanged_key_is_refused_by_the_check() {
    let (_folder, path, _) = created();
    let text = fs::read_to_string(&path).unwrap();
    let kek = HEXLOWER.encode(&entropy()[112..144]);
    fs::write(&path, text.replace(&kek, &"ab".repeat(32))).unwrap();
    assert!(matches!(
        Keyring::load(&path),
        Err(LoadError::WrongCheck(_))
    ));
}

#[test]
fn a_later_format_is_named_as_such() {
    let (_folder, path, _) = created();
    let body = body_of(&path);
    for later in ["2", "10", "\"x\""] {
        let text = body.replace("format = 1", &format!("format = {later}"));
        fs::write(&path, text).unwrap();
        let refused = Keyring::load(&path);
        assert!(matches!(refused, Err(LoadError::UnknownVersion(_))));
    }
}

#[test]
fn a_text_with_a_right_check_but_another_shape_is_refused_as_damaged() {
    let (_folder, path, _) = created();
    let body = body_of(&path);
    let shapes = [
        String::new(),
        "format = 1\n".to_owned(),
        format!("surprise = 1\n{body}"),
        body.replace("name_key = \"", "name_key = \"0"),
        body.replace("state = \"active\"", "state = \"retired\""),
        body.replace("id = 1\n", "id = 0\n"),
        body.replace("id = 1\n", "id = -1\n"),
        body.replace("[[pepper]]", "[[kek]]"),
    ];
    for shape in shapes {
        assert_ne!(shape, body);
        write_with_check(&path, &shape);
        let refused = Keyring::load(&path);
        assert!(matches!(refused, Err(LoadError::Damaged { .. })), "{shape}");
    }
    fs::write(&path, [0xff; 100]).unwrap();
    assert!(matches!(
        Keyring::load(&path),
        Err(LoadError::Damaged { .. })
    ));
    write_with_check(&path, &body);
    let longer = fs::read_to_string(&path).unwrap() + "\n";
    fs::write(&path, longer).unwrap();
    assert!(matches!(
        Keyring::load(&path),
        Err(LoadError::Damaged { .. })
    ));
}

#[test]
fn a_retired_key_is_found_by_its_id_and_not_used_for_new_values() {
    let (_folder, path, _) = created();
    let old = HEXLOWER.encode(&[0xee; 32]);
    let body = body_of(&path).replace("id = 1\n", "id = 2\n");
    let retired = |kind: &str| {
        format!("\n[[{kind}]]\nid = 1\nstate = \"retired\"\ncreated_at_us = 5\nkey = \"{old}\"\n")
    };
    write_with_check(&path, &(body + &retired("kek") + &retired("pepper")));
    let keyring = Keyring::load(&path).unwrap();
    assert_eq!((keyring.active_kek().0, keyring.active_pepper().0), (2, 2));
    assert_eq!(keyring.kek(1).unwrap().as_bytes(), &[0xee; 32]);
    assert_eq!(keyring.pepper(1), Some(&[0xee; 32][..]));
    let states: Vec<_> = keyring
        .keks()
        .map(|about| (about.id, about.state))
        .collect();
    assert_eq!(states, [(2, KeyState::Active), (1, KeyState::Retired)]);
}

#[test]
fn a_new_epoch_has_another_log_id_and_every_earlier_key() {
    let (_folder, path, before) = created();
    let next = Keyring::load(&path).unwrap();
    let next = next.begin_epoch(&path, [9; LOG_ID_BYTES]).unwrap();
    let last = next.begin_epoch(&path, [8; LOG_ID_BYTES]).unwrap();
    let read = Keyring::load(&path).unwrap();
    for keyring in [&last, &read] {
        assert_eq!(keyring.log_id(), &[8; LOG_ID_BYTES]);
        assert_eq!(keyring.first_log_id(), before.log_id());
        let ids = [before.log_id(), &[9; LOG_ID_BYTES], &[8; LOG_ID_BYTES]];
        assert!(keyring.log_ids().eq(ids));
        assert_eq!(keyring.name_key(), before.name_key());
        assert_eq!(keyring.checkpoint_seed(), before.checkpoint_seed());
        assert_eq!(keyring.active_kek(), before.active_kek());
        assert_eq!(keyring.active_pepper(), before.active_pepper());
        assert_eq!(keyring.created_at_us(), NOW_US);
    }
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn no_key_is_in_debug_output_or_in_an_error() {
    let (_folder, path, keyring) = created();
    let entropy = entropy();
    let keys: Vec<_> = entropy[16..]
        .chunks(8)
        .map(|part| HEXLOWER.encode(part))
        .collect();
    let body = body_of(&path);
    let mut shown = vec![format!("{keyring:?}")];
    for shape in [
        body.replace("name_key = \"", "name_key = \"g"),
        body.replace("name_key = \"", "name_key = "),
        body.replace("[[kek]]", "[[kek"),
    ] {
        write_with_check(&path, &shape);
        let error = Keyring::load(&path).unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    for text in shown {
        assert!(keys.iter().all(|key| !text.contains(key)), "{text}");
        assert!(!text.contains("17, 168"), "{text}");
    }
}

#[test]
fn a_keyring_may_be_shared_between_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Keyring>();
}

/// Expected value from Python's hmac over `len(part)` as eight little-endian bytes, then the part.
#[test]
fn name_hashes_are_pinned() {
    let (_folder, _path, keyring) = created();
    assert_eq!(
        HEXLOWER.encode(&keyring.name_hash("ada")),
        "28b78bb33acd90dba68fb067c8c451e7"
    );
}

/// An older build's tags over passwords stay in the log for ever; the key that could test them
/// goes.
#[test]
fn the_key_of_older_tags_is_read_over_and_every_rewriting_leaves_it_out() {
    let (_folder, path, new) = created();
    assert!(!new.has_old_tag_key());
    let line = format!("body_tag_key = \"{}\"\n", "5e".repeat(KEY_BYTES));
    let old = body_of(&path).replace("checkpoint_seed", &format!("{line}checkpoint_seed"));
    let rotate = |keyring: Keyring| keyring.rotate(&path, &[3; ROTATION_ENTROPY_BYTES], NOW_US);
    let begin_epoch = |keyring: Keyring| keyring.begin_epoch(&path, [9; LOG_ID_BYTES]);
    let rewritings: [&dyn Fn(Keyring) -> Result<Keyring, CreateError>; 2] = [&rotate, &begin_epoch];
    for rewrite in rewritings {
        write_with_check(&path, &old);
        let keyring = Keyring::load(&path).unwrap();
        assert!(keyring.has_old_tag_key());
        assert_eq!(keyring.name_key(), new.name_key());
        assert!(!rewrite(keyring).unwrap().has_old_tag_key());
        assert!(!Keyring::load(&path).unwrap().has_old_tag_key());
        assert!(!fs::read_to_string(&path).unwrap().contains(&"5e".repeat(4)));
    }
}

#[test]
fn a_rotation_keeps_the_old_keys_for_what_they_made_and_counts_on() {
    let (_folder, path, keyring) = created();
    let old = keyring.kek(1).unwrap().clone();
    let entropy: [u8; ROTATION_ENTROPY_BYTES] = std::array::from_fn(|at| at as u8);
    let rotated = keyring.rotate(&path, &entropy, NOW_US + 1).unwrap();
    for keyring in [&rotated, &Keyring::load(&path).unwrap()] {
        let (id, kek) = keyring.active_kek();
        assert_eq!((id, &kek.as_bytes()[..]), (2, &entropy[..32]));
        assert_eq!(keyring.active_pepper(), (2, &entropy[32..]));
        assert_eq!(keyring.kek(1), Some(&old));
        let states: Vec<_> = keyring
            .keks()
            .map(|about| (about.id, about.state))
            .collect();
        assert_eq!(states, [(1, KeyState::Retired), (2, KeyState::Active)]);
        assert_eq!(keyring.peppers().count(), 2);
        assert_eq!(keyring.next_id(), 3);
    }
}

#[test]
fn a_retired_key_can_be_forgotten_and_the_active_one_cannot() {
    let (_folder, path, keyring) = created();
    let keyring = keyring
        .rotate(&path, &[7; ROTATION_ENTROPY_BYTES], 2)
        .unwrap();
    let keyring = keyring.forget(&path, 1).unwrap().unwrap();
    assert!(keyring.kek(1).is_none() && keyring.pepper(1).is_some());
    assert_eq!(keyring.next_id(), 3);
    let read = Keyring::load(&path).unwrap();
    assert!(read.kek(1).is_none() && read.kek(2).is_some());
    for unknown in [1, 2, 3] {
        let keyring = Keyring::load(&path).unwrap();
        assert!(keyring.forget(&path, unknown).unwrap().is_none());
    }
}

#[test]
fn a_keyring_that_is_full_refuses_another_rotation_and_stays() {
    let (_folder, path, mut keyring) = created();
    let full = loop {
        let before = fs::read(&path).unwrap();
        match keyring.rotate(&path, &[7; ROTATION_ENTROPY_BYTES], 2) {
            Ok(rotated) => keyring = rotated,
            Err(refused) => break (refused, before),
        }
    };
    assert!(full.0.to_string().contains("full of retired keys"));
    assert_eq!(fs::read(&path).unwrap(), full.1);
    assert!(Keyring::load(&path).is_ok());
}
