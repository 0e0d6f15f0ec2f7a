//! A mark of erasure cannot be made without the keyring, and none is removed unnoticed.

use std::fs;
use std::sync::Arc;

use redb::Database;

use super::*;
use crate::crypto::data_keys::{DataKeys, InCopy, KeysCopy, back_up_stopped};
use crate::crypto::key_store::{self, Row, name_of};
use crate::crypto::keyring::{KEYRING_ENTROPY_BYTES, ROTATION_ENTROPY_BYTES};

const ADA: StreamKey = [0xaa; 16];
const BOB: StreamKey = [0xbb; 16];

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    /// Makes a store with a key for Ada and one for Bob.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder };
        let entropy: [u8; KEYRING_ENTROPY_BYTES] = std::array::from_fn(|at| at as u8);
        Keyring::create(&fixture.at("keyring"), &entropy, 1).unwrap();
        let keys = DataKeys::open(&fixture.store(), fixture.ring(), true).unwrap();
        for (stream_key, byte) in [(&ADA, 1), (&BOB, 2)] {
            keys.stage_new(stream_key, [byte; 32], [byte; 12]).unwrap();
        }
        keys.commit().unwrap();
        fixture
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.at("keys.redb")
    }

    fn copy(&self) -> PathBuf {
        self.at("copy.redb")
    }

    fn ring(&self) -> Arc<Keyring> {
        Arc::new(Keyring::load(&self.at("keyring")).unwrap())
    }

    fn open(&self) -> Result<DataKeys, DataKeysError> {
        DataKeys::open(&self.store(), self.ring(), false)
    }

    fn erase(&self, stream_key: &StreamKey) {
        let keys = self.open().unwrap();
        keys.condemn(stream_key, keys.last_generation(stream_key).unwrap());
        keys.rewrite().unwrap();
    }

    fn rotate(&self) {
        let keys = self.open().unwrap();
        let ring = Keyring::load(&self.at("keyring")).unwrap();
        let rotated = ring.rotate(&self.at("keyring"), &[9; ROTATION_ENTROPY_BYTES], 2);
        keys.use_keyring(Arc::new(rotated.unwrap()));
        keys.rewrite().unwrap();
    }

    /// Writes to the file like an attacker without the keyring.
    fn edit(&self, change: impl FnOnce(&WriteTransaction)) {
        let store = Database::open(self.store()).unwrap();
        let txn = store.begin_write().unwrap();
        change(&txn);
        txn.commit().unwrap();
    }

    fn mark(&self, stream_key: &StreamKey, mark: &Mark) {
        self.edit(|txn| {
            let mut marks = txn.open_table(MARKS).unwrap();
            marks.insert(stream_key, mark).unwrap();
        });
    }

    fn row(&self, stream_key: &StreamKey) -> Row {
        let store = Database::open(self.store()).unwrap();
        let keys = store.begin_read().unwrap().open_table(KEYS).unwrap();
        let row = keys.get(&name_of(stream_key, 1)).unwrap().unwrap();
        *row.value()
    }

    fn put(&self, stream_key: &StreamKey, row: Option<&Row>) {
        self.edit(|txn| {
            let mut keys = txn.open_table(KEYS).unwrap();
            let name = name_of(stream_key, 1);
            match row {
                Some(row) => _ = keys.insert(&name, row).unwrap(),
                None => _ = keys.remove(&name).unwrap(),
            }
        });
    }

    /// Makes a backup with a running service that has the keyring, or with a stopped one without
    /// it; the log confirms every erasure, or none.
    fn back_up(&self, with_keyring: bool, log_says: bool) -> Result<(), DataKeysError> {
        let erased = |_: &StreamKey, _| Ok(log_says);
        let ring = self.ring();
        let ring = with_keyring.then_some(&*ring);
        back_up_stopped(&self.store(), &self.copy(), ring, &erased)
    }

    fn refuses_backup(&self, with_keyring: bool, log_says: bool) {
        let before = fs::read(self.copy()).unwrap();
        let refused = self.back_up(with_keyring, log_says).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("name another folder"), "{refused}");
        assert_eq!(fs::read(self.copy()).unwrap(), before);
    }
}

fn forged(last: u32) -> Mark {
    let mut mark = [7; 4 + FILE_TAG_BYTES];
    mark[..4].copy_from_slice(&last.to_le_bytes());
    mark
}

#[test]
fn a_mark_that_this_keyring_did_not_make_is_refused_at_the_opening() {
    let fixture = Fixture::new();
    fixture.erase(&BOB);
    let made = Marks::of(&fixture.store(), &fixture.ring()).make(&BOB, 1);
    let mut altered: Vec<(StreamKey, Mark)> = vec![(ADA, forged(1)), (ADA, made)];
    altered.extend((0..made.len()).map(|at| {
        let mut mark = made;
        mark[at] ^= 1;
        (BOB, mark)
    }));
    let good = fs::read(fixture.store()).unwrap();
    for (stream_key, mark) in altered {
        fixture.mark(&stream_key, &mark);
        let refused = fixture.open().err().unwrap();
        assert!(
            matches!(refused, DataKeysError::UnprovenErasure(_)),
            "{refused}"
        );
        fs::write(fixture.store(), &good).unwrap();
    }
    assert!(fixture.open().unwrap().is_erased(&BOB, 1).unwrap());
}

#[test]
fn marks_outlive_rotations_and_a_key_that_an_older_copy_brings_back_is_destroyed_again() {
    let fixture = Fixture::new();
    let old = fixture.row(&BOB);
    fixture.erase(&BOB);
    fixture.rotate();
    fixture.put(&BOB, Some(&old));
    let keys = fixture.open().unwrap();
    assert_eq!(keys.get(&BOB, 1).unwrap(), None);
    assert!(keys.has_condemned());
    keys.rewrite().unwrap();
    drop(keys);
    let keys = fixture.open().unwrap();
    assert!(!keys.has_condemned() && keys.is_erased(&BOB, 1).unwrap());
    assert_eq!(keys.last_generation(&BOB).unwrap(), 1);
    assert!(keys.get(&ADA, 1).unwrap().is_some());
}

#[test]
fn a_next_life_counts_on_from_the_mark_where_an_older_key_came_back() {
    let fixture = Fixture::new();
    let old = fixture.row(&BOB);
    fixture.erase(&BOB);
    let keys = fixture.open().unwrap();
    assert_eq!(keys.stage_new(&BOB, [3; 32], [3; 12]).unwrap().0, 2);
    keys.commit().unwrap();
    keys.condemn(&BOB, 2);
    keys.rewrite().unwrap();
    drop(keys);
    fixture.put(&BOB, Some(&old));
    let keys = fixture.open().unwrap();
    assert_eq!(keys.stage_new(&BOB, [4; 32], [4; 12]).unwrap().0, 3);
}

#[test]
fn a_key_counts_as_erased_for_a_backup_only_by_its_mark_and_by_the_log() {
    let fixture = Fixture::new();
    fixture.back_up(true, false).unwrap();
    let good = fs::read(fixture.store()).unwrap();
    // Gone without a mark, whatever the log says.
    fixture.put(&ADA, None);
    fixture.refuses_backup(true, true);
    fixture.refuses_backup(false, true);
    // With one that was made by hand: the keyring finds it, and without one no other mark is taken.
    fixture.mark(&ADA, &forged(1));
    let refused = fixture.back_up(true, true).unwrap_err();
    assert!(
        matches!(refused, DataKeysError::UnprovenErasure(_)),
        "{refused}"
    );
    fixture.refuses_backup(false, true);
    // A right one that the log knows nothing of.
    fs::write(fixture.store(), &good).unwrap();
    fixture.erase(&ADA);
    fixture.refuses_backup(true, false);
    fixture.refuses_backup(false, true);
    fixture.back_up(true, true).unwrap();
    let copy = KeysCopy::open(&fixture.copy()).unwrap();
    assert_eq!(copy.find(&ADA, 1).unwrap(), InCopy::Erased);
    drop(copy);
    // A store that knows nothing of the erasure does not replace the copy.
    fs::write(fixture.store(), &good).unwrap();
    for with_keyring in [false, true] {
        fixture.refuses_backup(with_keyring, true);
    }
}

#[test]
fn a_row_that_was_damaged_does_not_replace_a_whole_one_and_a_whole_one_replaces_it() {
    let fixture = Fixture::new();
    fixture.back_up(true, false).unwrap();
    let whole = fixture.row(&ADA);
    // The key-encryption key's number, the nonce, the wrapped key.
    for at in [0, 4, 20] {
        let mut damaged = whole;
        damaged[at] ^= 1;
        fixture.put(&ADA, Some(&damaged));
        fixture.refuses_backup(true, true);
        fixture.refuses_backup(false, true);
    }
    // Into a first copy it comes without the keyring only.
    fs::remove_file(fixture.copy()).unwrap();
    let refused = fixture.back_up(true, true).unwrap_err();
    assert!(matches!(refused, DataKeysError::DamagedKey { .. }));
    fixture.back_up(false, true).unwrap();
    let copy = KeysCopy::open(&fixture.copy()).unwrap();
    assert!(copy.check(&fixture.ring()).is_err());
    drop(copy);
    fixture.put(&ADA, Some(&whole));
    fixture.back_up(true, true).unwrap();
    let copy = KeysCopy::open(&fixture.copy()).unwrap();
    assert_eq!(copy.check(&fixture.ring()).unwrap(), 2);
}

#[test]
fn the_same_keys_after_a_rotation_are_known_by_the_keyring() {
    let fixture = Fixture::new();
    fixture.back_up(true, false).unwrap();
    fixture.rotate();
    let refused = fixture.back_up(false, true).unwrap_err();
    assert!(
        matches!(refused, DataKeysError::CopyNeedsKeyring(_)),
        "{refused}"
    );
    let (now, mut damaged) = (fixture.row(&ADA), fixture.row(&ADA));
    damaged[30] ^= 1;
    fixture.put(&ADA, Some(&damaged));
    fixture.refuses_backup(true, true);
    fixture.put(&ADA, Some(&now));
    fixture.back_up(true, false).unwrap();
}

#[test]
fn a_copy_with_a_mark_made_by_hand_proves_nothing() {
    let fixture = Fixture::new();
    fixture.put(&ADA, None);
    fixture.mark(&ADA, &forged(1));
    fixture.back_up(false, false).unwrap();
    let copy = KeysCopy::open(&fixture.copy()).unwrap();
    assert_eq!(copy.find(&ADA, 1).unwrap(), InCopy::Erased);
    let bad = copy.check(&fixture.ring()).unwrap_err();
    assert!(matches!(bad, DataKeysError::UnprovenErasure(_)), "{bad}");
}

#[test]
fn a_store_whose_checks_were_all_taken_out_is_refused() {
    let fixture = Fixture::new();
    fixture.edit(key_store::forget_checks);
    assert!(matches!(fixture.open(), Err(DataKeysError::NoCheck(_))));
}

/// The mark is a true one that was kept from elsewhere: only the log knows whether it is right.
#[test]
fn a_key_that_stands_beside_its_mark_is_neither_copied_nor_proven_by_a_copy() {
    let fixture = Fixture::new();
    let whole = fixture.row(&BOB);
    fixture.erase(&BOB);
    fixture.back_up(true, true).unwrap();
    fixture.put(&BOB, Some(&whole));
    for with_keyring in [false, true] {
        for _ in 0..2 {
            let refused = fixture.back_up(with_keyring, true).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.contains("were erased"), "{refused}");
        }
        _ = fs::remove_file(fixture.copy());
    }
    fs::copy(fixture.store(), fixture.copy()).unwrap();
    let copy = KeysCopy::open(&fixture.copy()).unwrap();
    for refused in [copy.check(&fixture.ring()), copy.count()] {
        assert!(refused.unwrap_err().to_string().contains("were erased"));
    }
}

#[test]
fn a_copy_that_is_there_and_cannot_be_opened_is_not_replaced() {
    let fixture = Fixture::new();
    fixture.back_up(true, false).unwrap();
    let good = fs::read(fixture.copy()).unwrap();
    let refused = |with_keyring| {
        let refused = fixture.back_up(with_keyring, true).unwrap_err().to_string();
        assert!(refused.contains("cannot be opened"), "{refused}");
    };
    for with_keyring in [false, true] {
        let file = fs::File::open(fixture.copy()).unwrap();
        file.lock().unwrap();
        refused(with_keyring);
        drop(file);
        assert_eq!(fs::read(fixture.copy()).unwrap(), good);
        fs::write(fixture.copy(), &good[..good.len() / 2]).unwrap();
        refused(with_keyring);
        assert_eq!(fs::read(fixture.copy()).unwrap(), good[..good.len() / 2]);
        fs::remove_file(fixture.copy()).unwrap();
        fs::create_dir(fixture.copy()).unwrap();
        refused(with_keyring);
        fs::remove_dir(fixture.copy()).unwrap();
        fs::write(fixture.copy(), &good).unwrap();
    }
}

/// A copy with a check that no keyring has, or without one, is opened by no service.
#[test]
fn without_a_keyring_no_copy_is_replaced() {
    let fixture = Fixture::new();
    fixture.back_up(false, true).unwrap();
    let good = fs::read(fixture.store()).unwrap();
    fixture.refuses_backup(false, true);
    fixture.edit(|txn| key_store::put_foreign_check(txn, 7));
    fixture.refuses_backup(false, true);
    assert!(fixture.back_up(true, true).is_err());
    fs::write(fixture.store(), &good).unwrap();
    fixture.edit(key_store::forget_checks);
    fixture.refuses_backup(false, true);
    assert!(fixture.back_up(true, true).is_err());
    fs::write(fixture.store(), &good).unwrap();
    fixture.mark(&[0xcc; 16], &forged(1));
    fixture.refuses_backup(false, true);
    assert!(fixture.back_up(true, true).is_err());
    fs::write(fixture.store(), &good).unwrap();
    let keys = fixture.open().unwrap();
    keys.stage_new(&[0xcc; 16], [3; 32], [3; 12]).unwrap();
    keys.commit().unwrap();
    drop(keys);
    fixture.refuses_backup(false, true);
    fixture.back_up(true, true).unwrap();
    let copy = KeysCopy::open(&fixture.copy()).unwrap();
    assert_eq!(copy.check(&fixture.ring()).unwrap(), 3);
}
