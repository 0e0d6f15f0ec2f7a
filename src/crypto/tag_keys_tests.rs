//! When a tag key is made, wrapped anew and destroyed, and what a damaged file costs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::crypto::keyring::{KEYRING_ENTROPY_BYTES, ROTATION_ENTROPY_BYTES};

const NOW: u64 = 1_795_000_000 * SECOND_US;
const HOUR: u64 = 3_600 * SECOND_US;
const DAY: u64 = 24 * HOUR;

struct House {
    folder: tempfile::TempDir,
    keyring: Keyring,
    next: u8,
}

impl House {
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
    let mut house = House::new();
    let mut keys = house.read();
    house.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    assert!(!keys.is_due(&house.keyring, NOW + DAY - 1));
    house.tend(&mut keys, NOW + DAY);
    let later = keys.tag(&[b"a"]);
    assert_ne!(later, tag);
    for keys in [&keys, &house.read()] {
        assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
        assert_eq!(keys.is_of(&tag, &[b"b"]), Some(false));
    }
    let file = fs::read(house.path()).unwrap();
    assert_eq!(file.len(), MAGIC.len() + 2 * ROW_BYTES);
    house.tend(&mut keys, NOW + 2 * DAY);
    for keys in [&keys, &house.read()] {
        assert_eq!(keys.is_of(&tag, &[b"a"]), None);
        assert_eq!(keys.is_of(&later, &[b"a"]), Some(true));
    }
    let row = &file[MAGIC.len()..MAGIC.len() + ROW_BYTES];
    let after = fs::read(house.path()).unwrap();
    assert!(!after.windows(ROW_BYTES).any(|other| other == row));
}

#[test]
fn the_file_is_its_owners_alone_and_shows_no_key() {
    let mut house = House::new();
    let mut keys = house.read();
    house.tend(&mut keys, NOW);
    assert_eq!(fs::metadata(house.path()).unwrap().mode() & 0o7777, 0o600);
    let file = fs::read(house.path()).unwrap();
    let key = keys.keys[0].key.as_bytes();
    assert!(!file.windows(4).any(|part| part == &key[..4]) || key[..4] == keys.keys[0].id);
    assert!(!file.windows(KEY_BYTES).any(|part| part == key));
}

#[test]
fn a_rotation_wraps_the_keys_anew_and_then_the_old_key_encryption_key_is_not_needed() {
    let mut house = House::new();
    let mut keys = house.read();
    house.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    house.rotate();
    // What a crash leaves: the keyring is rotated and the file is not.
    let mut keys = house.read();
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
    house.tend(&mut keys, NOW + 1);
    let file = house.folder.path().join("keyring");
    let keyring = Keyring::load(&file)
        .unwrap()
        .forget(&file, 1)
        .unwrap()
        .unwrap();
    let keys = TagKeys::read(&house.path(), &keyring).unwrap();
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
}

#[test]
fn a_clock_that_jumps_ahead_and_back_makes_no_key_immortal() {
    let mut house = House::new();
    let mut keys = house.read();
    house.tend(&mut keys, NOW + 3_000 * DAY);
    let tag = keys.tag(&[b"a"]);
    house.tend(&mut keys, NOW);
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
    house.tend(&mut keys, NOW + DAY);
    house.tend(&mut keys, NOW + 2 * DAY);
    assert_eq!(keys.is_of(&tag, &[b"a"]), None);
    // A step that timekeeping makes every day is none of these.
    assert!(!keys.is_due(&house.keyring, NOW + 2 * DAY - 60 * SECOND_US));
    assert!(keys.is_due(&house.keyring, NOW + 2 * DAY - 60 * SECOND_US - 1));
}

#[test]
fn a_key_and_its_id_are_random_bytes_of_their_own() {
    let house = House::new();
    let mut keys = house.read();
    let entropy: [u8; TEND_ENTROPY_BYTES] = std::array::from_fn(|at| at as u8);
    keys.tend(&house.keyring, NOW, &entropy).unwrap();
    let made = &keys.keys[0];
    assert_eq!(made.key.as_bytes(), &entropy[..KEY_BYTES]);
    assert_eq!(made.id, entropy[KEY_BYTES..][..ID_BYTES]);
}

#[test]
fn what_is_no_file_of_tag_keys_is_replaced_and_what_it_tagged_is_not_compared() {
    let mut house = House::new();
    let mut keys = house.read();
    house.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    let good = fs::read(house.path()).unwrap();
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
        fs::write(house.path(), bytes).unwrap();
        let mut keys = house.read();
        assert_eq!(keys.is_of(&tag, &[b"a"]), None);
        assert_eq!(keys.tag(&[b"a"]), [0; TAG_BYTES]);
        house.next = house.next.wrapping_add(1).max(2);
        house.tend(&mut keys, NOW);
        assert_eq!(house.read().is_of(&keys.tag(&[b"a"]), &[b"a"]), Some(true));
    }
    fs::set_permissions(house.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(house.read().keys.is_empty());
}

#[test]
fn without_a_key_nothing_is_taken_for_the_same() {
    let keys = House::new().read();
    assert_eq!(keys.is_of(&keys.tag(&[b"a"]), &[b"a"]), None);
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_keys_as_they_are_and_is_tried_again() {
    let mut house = House::new();
    let mut keys = house.read();
    house.tend(&mut keys, NOW);
    let tag = keys.tag(&[b"a"]);
    fs::remove_file(house.path()).unwrap();
    fs::create_dir(house.path()).unwrap();
    let entropy = [9; TEND_ENTROPY_BYTES];
    let later = NOW + 2 * DAY;
    assert!(keys.tend(&house.keyring, later, &entropy).is_err());
    assert_eq!(keys.is_of(&tag, &[b"a"]), Some(true));
    assert!(!keys.is_due(&house.keyring, later + 60 * SECOND_US - 1));
    fs::remove_dir(house.path()).unwrap();
    house.tend(&mut keys, later + 60 * SECOND_US);
    assert_eq!(keys.is_of(&tag, &[b"a"]), None);
}

#[test]
fn what_an_interrupted_writing_left_is_removed() {
    let house = House::new();
    let left = key_file::staging_path(&house.path());
    fs::write(&left, b"half").unwrap();
    house.read();
    assert!(!left.exists());
}

#[test]
fn at_most_three_keys_stand_in_the_file() {
    let mut house = House::new();
    let mut keys = house.read();
    // Clocks that go back and forth end the day of a key early or late, never its number.
    for now in [0, 25, 47, 48, 30, 60, 72, 73, 100, 96, 121].map(|hours| NOW + hours * HOUR) {
        if keys.is_due(&house.keyring, now) {
            house.tend(&mut keys, now);
        }
        assert!(keys.keys.len() <= KEYS_MAX);
        assert!(fs::metadata(house.path()).unwrap().len() <= FILE_BYTES_MAX);
    }
}
