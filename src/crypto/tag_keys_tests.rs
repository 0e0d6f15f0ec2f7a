//! When a tag key is made, wrapped again and destroyed, and the cost of a damaged file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::crypto::keyring::{KEYRING_ENTROPY_BYTES, ROTATION_ENTROPY_BYTES};
use crate::durable;

const NOW: u64 = 1_795_000_000 * SECOND_US;
const HOUR: u64 = 3_600 * SECOND_US;
const DAY: u64 = 24 * HOUR;

struct Fixture {
    folder: tempfile::TempDir,
    keyring: Keyring,
    next: u8,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyring");
        let keyring = Keyring::create(&file, &[7; KEYRING_ENTROPY_BYTES], NOW).unwrap();
        Self {
            folder,
            keyring,
            next: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tag-keys")
    }

    fn read(&self) -> TagKeys {
        TagKeys::read(&self.path(), &self.keyring).unwrap()
    }

    fn tend(&mut self, keys: &mut TagKeys, now: u64) {
        self.next += 1;
        assert!(keys.is_due(&self.keyring, now));
        keys.tend(&self.keyring, now, &[self.next; TEND_ENTROPY_BYTES])
            .unwrap();
        assert!(!keys.is_due(&self.keyring, now));
    }

    fn rotate(&mut self) {
        let file = self.folder.path().join("keyring");
        let entropy: [u8; ROTATION_ENTROPY_BYTES] = std::array::from_fn(|at| at as u8);
        self.keyring = Keyring::load(&file)
            .unwrap()
            .rotate(&file, &entropy, NOW)
            .unwrap();
    }
}

#[test]
fn a_repeat_is_recognised_for_a_day_after_the_key_had_its_day_and_then_the_key_is_gone() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    fixture.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    assert!(!keys.is_due(&fixture.keyring, NOW + DAY - 1));
    fixture.tend(&mut keys, NOW + DAY);
    let later = keys.tag(&[b"a"]);
    assert_ne!(later, tag);
    for keys in [&keys, &fixture.read()] {
        assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
        assert_eq!(keys.is_of(&tag, &[b"b"]), Some(false));
    }
    let file = fs::read(fixture.path()).unwrap();
    assert_eq!(file.len(), MAGIC.len() + 2 * ROW_BYTES);
    fixture.tend(&mut keys, NOW + 2 * DAY);
    for keys in [&keys, &fixture.read()] {
        assert_eq!(keys.is_of(&tag, &[b"a"]), None);
        assert_eq!(keys.is_of(&later, &[b"a"]), Some(true));
    }
    let row = &file[MAGIC.len()..MAGIC.len() + ROW_BYTES];
    let after = fs::read(fixture.path()).unwrap();
    assert!(!after.windows(ROW_BYTES).any(|other| other == row));
}

#[test]
fn the_file_is_its_owners_alone_and_shows_no_key() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    fixture.tend(&mut keys, NOW);
    assert_eq!(fs::metadata(fixture.path()).unwrap().mode() & 0o7777, 0o600);
    let file = fs::read(fixture.path()).unwrap();
    let key = keys.keys[0].key.as_bytes();
    assert!(!file.windows(4).any(|part| part == &key[..4]) || key[..4] == keys.keys[0].id);
    assert!(!file.windows(KEY_BYTES).any(|part| part == key));
}

#[test]
fn a_rotation_rewraps_the_keys_and_then_the_old_key_encryption_key_is_not_needed() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    fixture.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    fixture.rotate();
    // A crash leaves the keyring rotated and the file not.
    let mut keys = fixture.read();
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
    fixture.tend(&mut keys, NOW + 1);
    let file = fixture.folder.path().join("keyring");
    let keyring = Keyring::load(&file)
        .unwrap()
        .forget(&file, 1)
        .unwrap()
        .unwrap();
    let keys = TagKeys::read(&fixture.path(), &keyring).unwrap();
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
}

#[test]
fn a_clock_that_jumps_ahead_and_back_makes_no_key_immortal() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    fixture.tend(&mut keys, NOW + 3_000 * DAY);
    let tag = keys.tag(&[b"a"]);
    fixture.tend(&mut keys, NOW);
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
    fixture.tend(&mut keys, NOW + DAY);
    fixture.tend(&mut keys, NOW + 2 * DAY);
    assert_eq!(keys.is_of(&tag, &[b"a"]), None);
    // A step that timekeeping makes every day does not count as a jump.
    assert!(!keys.is_due(&fixture.keyring, NOW + 2 * DAY - 60 * SECOND_US));
    assert!(keys.is_due(&fixture.keyring, NOW + 2 * DAY - 60 * SECOND_US - 1));
}

#[test]
fn a_key_and_its_id_are_random_bytes_of_their_own() {
    let fixture = Fixture::new();
    let mut keys = fixture.read();
    let entropy: [u8; TEND_ENTROPY_BYTES] = std::array::from_fn(|at| at as u8);
    keys.tend(&fixture.keyring, NOW, &entropy).unwrap();
    let made = &keys.keys[0];
    assert_eq!(made.key.as_bytes(), &entropy[..KEY_BYTES]);
    assert_eq!(made.id, entropy[KEY_BYTES..][..ID_BYTES]);
}

#[test]
fn what_is_no_file_of_tag_keys_is_replaced_and_what_it_tagged_is_not_compared() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    fixture.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    let good = fs::read(fixture.path()).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..good.len())
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    damaged.extend((0..good.len()).map(|end| good[..end].to_vec()));
    damaged.push([good.as_slice(), b"x"].concat());
    damaged.push([good.as_slice(), &[0; ROW_BYTES * KEYS_MAX]].concat());
    for bytes in damaged {
        fs::write(fixture.path(), bytes).unwrap();
        let mut keys = fixture.read();
        assert_eq!(keys.is_of(&tag, &[b"a"]), None);
        assert_eq!(keys.tag(&[b"a"]), [0; TAG_BYTES]);
        fixture.next = fixture.next.wrapping_add(1).max(2);
        fixture.tend(&mut keys, NOW);
        assert_eq!(
            fixture.read().is_of(&keys.tag(&[b"a"]), &[b"a"]),
            Some(true)
        );
    }
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(fixture.read().keys.is_empty());
}

#[test]
fn without_a_key_nothing_is_taken_for_the_same() {
    let keys = Fixture::new().read();
    assert_eq!(keys.is_of(&keys.tag(&[b"a"]), &[b"a"]), None);
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_keys_as_they_are_and_is_tried_again() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    fixture.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    fs::remove_file(fixture.path()).unwrap();
    fs::create_dir(fixture.path()).unwrap();
    let entropy = [9; TEND_ENTROPY_BYTES];
    let later = NOW + 2 * DAY;
    assert!(keys.tend(&fixture.keyring, later, &entropy).is_err());
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
    assert!(!keys.is_due(&fixture.keyring, later + 60 * SECOND_US - 1));
    fs::remove_dir(fixture.path()).unwrap();
    fixture.tend(&mut keys, later + 60 * SECOND_US);
    assert_eq!(keys.is_of(&tag, &[b"a"]), None);
}

#[test]
fn what_an_interrupted_writing_left_is_removed() {
    let fixture = Fixture::new();
    let left = durable::staging(&fixture.path());
    fs::write(&left, b"half").unwrap();
    fixture.read();
    assert!(!left.exists());
}

#[test]
fn at_most_three_keys_are_in_the_file() {
    let mut fixture = Fixture::new();
    let mut keys = fixture.read();
    // Clocks that go back and forth end a key's day early or late, but never change the number of
    // keys.
    for now in [0, 25, 47, 48, 30, 60, 72, 73, 100, 96, 121].map(|hours| NOW + hours * HOUR) {
        if keys.is_due(&fixture.keyring, now) {
            fixture.tend(&mut keys, now);
        }
        assert!(keys.keys.len() <= KEYS_MAX);
        assert!(fs::metadata(fixture.path()).unwrap().len() <= FILE_BYTES_MAX);
    }
}
