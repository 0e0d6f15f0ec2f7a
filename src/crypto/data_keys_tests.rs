//! Which keys the key store keeps and forgets, and which files it refuses to open.

use std::fs;
use std::os::unix::fs::MetadataExt;

use redb::ReadableTable;

use super::*;
use crate::crypto::keyring::KEYRING_ENTROPY_BYTES;
use crate::durable;

const ADA: StreamKey = [0xaa; 16];
const BOB: StreamKey = [0xbb; 16];

/// A data folder with an open store; the keyring's keys all derive from one byte.
struct Fixture {
    folder: tempfile::TempDir,
    keys: DataKeys,
}

fn keyring(folder: &Path, seed: u8) -> Arc<Keyring> {
    let entropy: [u8; KEYRING_ENTROPY_BYTES] = std::array::from_fn(|at| seed ^ at as u8);
    let path = folder.join(format!("keyring-{seed}"));
    match Keyring::load(&path) {
        Ok(keyring) => Arc::new(keyring),
        Err(_) => Arc::new(Keyring::create(&path, &entropy, 1).unwrap()),
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("keys.redb")
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let ring = keyring(folder.path(), 1);
    let keys = DataKeys::open(&path_in(folder.path()), ring, true).unwrap();
    Fixture { folder, keys }
}

impl Fixture {
    fn stage(&self, stream_key: &StreamKey, byte: u8) -> u32 {
        let staged = self.keys.stage_new(stream_key, [byte; 32], [byte; 12]);
        staged.unwrap().0
    }

    fn current(&self, stream_key: &StreamKey) -> Option<(u32, DataKey)> {
        self.keys.current(stream_key).unwrap()
    }

    /// Destroys all keys of these accounts.
    fn erase(&self, stream_keys: &[&StreamKey]) {
        for stream_key in stream_keys {
            let through = self.keys.last_generation(stream_key).unwrap();
            self.keys.condemn(stream_key, through);
        }
        self.keys.rewrite().unwrap();
    }

    fn reopened(self) -> Self {
        let Self { folder, keys } = self;
        drop(keys);
        let ring = keyring(folder.path(), 1);
        let keys = DataKeys::open(&path_in(folder.path()), ring, false).unwrap();
        Self { folder, keys }
    }
}

fn key(byte: u8) -> DataKey {
    DataKey::new([byte; 32])
}

#[test]
fn a_staged_key_is_seen_at_once_and_durable_after_the_commit() {
    let fixture = fixture();
    assert_eq!(fixture.current(&ADA), None);
    assert_eq!(fixture.stage(&ADA, 7), 1);
    assert_eq!(fixture.current(&ADA), Some((1, key(7))));
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), Some(key(7)));
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.current(&ADA), Some((1, key(7))));
    let fixture = fixture.reopened();
    assert_eq!(fixture.current(&ADA), Some((1, key(7))));
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), Some(key(7)));
    assert_eq!(fixture.keys.get(&ADA, 2).unwrap(), None);
    assert_eq!(fixture.current(&BOB), None);
}

#[test]
fn a_key_that_was_only_staged_is_gone_after_a_restart() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    assert_eq!(fixture.reopened().current(&ADA), None);
}

#[test]
fn discarded_keys_are_not_committed_and_free_their_generation() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    fixture.keys.discard_staged();
    assert_eq!(fixture.current(&ADA), None);
    assert_eq!(fixture.stage(&ADA, 8), 1);
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.reopened().current(&ADA), Some((1, key(8))));
}

#[test]
fn generations_rise_over_commits_restarts_and_within_a_batch() {
    let fixture = fixture();
    assert_eq!(
        (
            fixture.stage(&ADA, 1),
            fixture.stage(&ADA, 2),
            fixture.stage(&BOB, 3)
        ),
        (1, 2, 1)
    );
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.stage(&ADA, 4), 3);
    fixture.keys.commit().unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.stage(&ADA, 5), 4);
    assert_eq!(fixture.current(&ADA), Some((4, key(5))));
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), Some(key(1)));
    assert_eq!(fixture.keys.get(&ADA, 3).unwrap(), Some(key(4)));
    assert_eq!(fixture.current(&BOB), Some((1, key(3))));
}

#[test]
fn a_commit_of_nothing_writes_nothing() {
    let fixture = fixture();
    let path = path_in(fixture.folder.path());
    let before = fs::read(&path).unwrap();
    fixture.keys.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn the_number_of_staged_keys_is_bounded() {
    let fixture = fixture();
    for _ in 0..STAGED_KEYS_MAX {
        fixture.stage(&ADA, 1);
    }
    let refused = fixture.keys.stage_new(&BOB, [1; 32], [1; 12]);
    assert!(matches!(refused, Err(DataKeysError::Full)));
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.stage(&BOB, 1), 1);
}

#[test]
fn a_missing_store_is_made_only_on_request_and_is_ours_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    let open = |create| DataKeys::open(&path, keyring(folder.path(), 1), create);
    assert!(matches!(open(false), Err(DataKeysError::Missing(_))));
    assert!(!path.exists());
    drop(open(true).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert!(!durable::staging(&path).exists());
}

#[test]
fn an_existing_store_is_opened_and_not_replaced() {
    let Fixture { folder, keys } = fixture();
    keys.stage_new(&ADA, [7; 32], [7; 12]).unwrap();
    keys.commit().unwrap();
    drop(keys);
    let again = DataKeys::open(&path_in(folder.path()), keyring(folder.path(), 1), true).unwrap();
    assert_eq!(again.current(&ADA).unwrap(), Some((1, key(7))));
}

#[test]
fn a_wrong_keyring_is_refused_even_by_an_empty_store() {
    let Fixture { folder, keys } = fixture();
    drop(keys);
    let other = keyring(folder.path(), 2);
    let refused = DataKeys::open(&path_in(folder.path()), other, false);
    assert!(matches!(
        refused,
        Err(DataKeysError::WrongKeyring { kek_id: 1, .. })
    ));
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused() {
    let fixture = fixture();
    let folder = fixture.folder.path();
    let refused = DataKeys::open(&path_in(folder), keyring(folder, 1), false);
    assert!(matches!(refused, Err(DataKeysError::InUse(_))));
}

#[test]
fn an_empty_cut_or_overwritten_file_is_refused_and_left_as_it_is() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    fixture.keys.commit().unwrap();
    let Fixture { folder, keys } = fixture.reopened();
    drop(keys);
    let path = path_in(folder.path());
    let good = fs::read(&path).unwrap();
    let damaged = [
        Vec::new(),
        b"not a key store".to_vec(),
        good[..good.len() / 2].to_vec(),
        good[..4096].to_vec(),
        vec![0; good.len()],
        [&good[..4096], &vec![0xff; good.len() - 4096][..]].concat(),
    ];
    for (case, bytes) in damaged.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        for create in [false, true] {
            let refused = DataKeys::open(&path, keyring(folder.path(), 1), create);
            let refused = refused.err().map(|error| error.to_string());
            assert!(
                refused.is_some_and(|said| said.contains("damaged")),
                "case {case}"
            );
        }
    }
    fs::write(&path, good).unwrap();
    DataKeys::open(&path, keyring(folder.path(), 1), false).unwrap();
}

#[test]
fn a_redb_file_without_check_values_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    drop(Database::create(&path).unwrap());
    let refused = DataKeys::open(&path, keyring(folder.path(), 1), true);
    assert!(matches!(refused, Err(DataKeysError::NoCheck(_))));
}

#[test]
fn a_row_moved_to_another_account_or_generation_does_not_unwrap() {
    let folder = tempfile::tempdir().unwrap();
    let ring = keyring(folder.path(), 1);
    let (kek_id, kek) = ring.active_kek();
    let name = name_of(&ADA, 1);
    let row = key_store::wrap(kek_id, kek, &name, [3; 12], &key(7));
    let unwrap = |name: &Name, row: &Row| key_store::unwrap(&ring, name, row);
    assert_eq!(unwrap(&name, &row), Some(key(7)));
    assert_eq!(unwrap(&name_of(&BOB, 1), &row), None);
    assert_eq!(unwrap(&name_of(&ADA, 2), &row), None);
    for at in 0..row.len() {
        let mut altered = row;
        altered[at] ^= 1;
        assert_eq!(unwrap(&name, &altered), None, "byte {at}");
    }
}

#[test]
fn an_erased_key_is_gone_from_memory_and_from_the_file() {
    let fixture = fixture();
    for (stream_key, byte) in [(&ADA, 1), (&BOB, 2), (&ADA, 3)] {
        fixture.stage(stream_key, byte);
    }
    fixture.keys.commit().unwrap();
    let path = path_in(fixture.folder.path());
    let wrapped = |stream_key| {
        let (_, row) = key_store::newest(&fixture.keys.store(), stream_key)
            .unwrap()
            .unwrap();
        row
    };
    let (ada, bob) = (wrapped(&ADA), wrapped(&BOB));
    let holds = |row: &Row| {
        fs::read(&path)
            .unwrap()
            .windows(row.len())
            .any(|part| part == row)
    };
    assert!(holds(&ada) && holds(&bob));

    fixture.erase(&[&ADA]);
    assert_eq!(fixture.current(&ADA), None);
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), None);
    assert_eq!(fixture.current(&BOB), Some((1, key(2))));
    assert!(!holds(&ada) && holds(&bob));
    assert!(!durable::staging(&path).exists());
    let second = DataKeys::open(&path, keyring(fixture.folder.path(), 1), false);
    assert!(matches!(second, Err(DataKeysError::InUse(_))));
    let fixture = fixture.reopened();
    assert_eq!(fixture.current(&ADA), None);
    assert_eq!(fixture.current(&BOB), Some((1, key(2))));
}

/// The values that the first life sealed must read as erased, not as altered.
#[test]
fn an_account_registered_again_after_an_erasure_goes_on_counting_generations() {
    let fixture = fixture();
    fixture.stage(&ADA, 1);
    assert_eq!(fixture.stage(&ADA, 2), 2);
    fixture.keys.commit().unwrap();
    fixture.erase(&[&ADA]);
    fixture.erase(&[&ADA, &BOB]);
    let fixture = fixture.reopened();
    assert_eq!((fixture.stage(&ADA, 3), fixture.stage(&BOB, 4)), (3, 1));
    fixture.keys.commit().unwrap();
    fixture.erase(&[&BOB]);
    assert_eq!(fixture.current(&ADA), Some((3, key(3))));
    assert_eq!(fixture.keys.get(&ADA, 2).unwrap(), None);
    fixture.erase(&[&ADA]);
    assert_eq!(fixture.stage(&ADA, 5), 4);
}

/// Between an erasure and the rewriting, an account that is registered again has keys of its own.
#[test]
fn a_condemned_key_is_given_to_no_reader_and_the_next_life_keeps_its_own() {
    let fixture = fixture();
    fixture.stage(&ADA, 1);
    fixture.keys.commit().unwrap();
    assert!(!fixture.keys.is_erased(&ADA, 1).unwrap());
    assert!(!fixture.keys.has_condemned());
    fixture.keys.condemn(&ADA, 1);
    assert!(fixture.keys.has_condemned());
    assert_eq!(fixture.current(&ADA), None);
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), None);
    assert!(fixture.keys.is_erased(&ADA, 1).unwrap());
    assert_eq!(fixture.stage(&ADA, 2), 2);
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.current(&ADA), Some((2, key(2))));
    fixture.keys.rewrite().unwrap();
    assert!(!fixture.keys.has_condemned());
    let fixture = fixture.reopened();
    assert_eq!(fixture.current(&ADA), Some((2, key(2))));
    assert!(fixture.keys.is_erased(&ADA, 1).unwrap());
    assert!(!fixture.keys.is_erased(&ADA, 2).unwrap());
}

/// A tombstone may know of later keys than a restored store has.
#[test]
fn a_restored_store_never_gives_a_destroyed_generation_out_again() {
    let fixture = fixture();
    fixture.stage(&ADA, 1);
    fixture.keys.commit().unwrap();
    fixture.keys.condemn(&ADA, 5);
    fixture.keys.rewrite().unwrap();
    assert_eq!(fixture.reopened().stage(&ADA, 2), 6);
}

#[test]
fn keys_that_are_committed_while_the_store_is_rewritten_are_kept() {
    let fixture = fixture();
    for byte in 0..200 {
        fixture.stage(&[byte; 16], byte);
    }
    fixture.keys.commit().unwrap();
    std::thread::scope(|scope| {
        let keys = &fixture.keys;
        let rewriting = scope.spawn(move || {
            for byte in 0..50 {
                keys.condemn(&[byte; 16], 1);
                keys.rewrite().unwrap();
            }
        });
        let mut byte = 200;
        while byte < 250 || !rewriting.is_finished() {
            keys.stage_new(&[byte.min(250); 16], [byte; 32], [byte; 12])
                .unwrap();
            keys.commit().unwrap();
            byte = byte.saturating_add(1);
        }
    });
    let fixture = fixture.reopened();
    for byte in 0..250 {
        let erased = byte < 50;
        assert_eq!(fixture.current(&[byte; 16]).is_none(), erased, "{byte}");
    }
}

/// The store is refused without that key, so a query for the needed keys must include it.
#[test]
fn a_key_that_the_store_is_checked_by_is_counted_though_it_wraps_nothing() {
    let fixture = fixture();
    assert_eq!(fixture.keys.counts().unwrap(), BTreeMap::from([(1, 0)]));
}

/// A backup or a count ends on the store that it began with, and holds up no writer meanwhile.
#[test]
fn a_long_read_outlives_a_rewriting_and_holds_up_no_writer() {
    let fixture = fixture();
    for byte in 0..100 {
        fixture.stage(&[byte; 16], byte);
    }
    fixture.keys.commit().unwrap();
    let old = fixture.keys.store_for_long();
    fixture.keys.condemn(&[7; 16], 1);
    fixture.keys.rewrite().unwrap();
    fixture.stage(&[200; 16], 200);
    fixture.keys.commit().unwrap();
    assert_eq!(
        key_store::counts(&*old).unwrap(),
        BTreeMap::from([(1, 100)])
    );
    let now = fixture.keys.counts().unwrap();
    assert_eq!(now, BTreeMap::from([(1, 100)]));
    drop(old);
    assert!(fixture.reopened().current(&[7; 16]).is_none());
}

#[test]
fn a_stopped_store_is_copied_whole_or_the_earlier_copy_stays() {
    let Fixture { folder, keys } = fixture();
    let (store, copy) = (
        path_in(folder.path()),
        folder.path().join("copies/keys.redb"),
    );
    let back_up = |ring| back_up_stopped(&store, &copy, ring, &|_, _| Ok(true));
    let ring = keyring(folder.path(), 1);
    let in_use = back_up(None);
    assert!(matches!(in_use, Err(DataKeysError::InUse(_))) && !copy.exists());
    keys.stage_new(&ADA, [7; 32], [7; 12]).unwrap();
    keys.commit().unwrap();
    drop(keys);
    back_up(None).unwrap();
    let refused = back_up(None);
    assert!(matches!(refused, Err(DataKeysError::CopyNeedsKeyring(_))));
    back_up(Some(&ring)).unwrap();
    fs::write(&store, b"gone").unwrap();
    assert!(back_up(Some(&ring)).is_err());
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
    let opened = DataKeys::open(&copy, ring, false).unwrap();
    assert!(opened.current(&ADA).unwrap().is_some());
}

/// Puts a folder where the new file would be made: it can be neither removed nor written.
fn blocked(fixture: &Fixture) -> PathBuf {
    let staging = durable::staging(&path_in(fixture.folder.path()));
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("in the way"), b"").unwrap();
    staging
}

#[test]
fn a_rewriting_that_fails_changes_nothing_and_is_done_by_the_next_one() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    fixture.stage(&[5; 16], 8);
    fixture.keys.commit().unwrap();
    let before = fs::read(path_in(fixture.folder.path())).unwrap();
    let staging = blocked(&fixture);
    fixture.keys.condemn(&ADA, 1);
    for _ in 0..2 {
        let failed = fixture.keys.rewrite();
        assert!(
            matches!(failed, Err(DataKeysError::Io { .. })),
            "{failed:?}"
        );
        assert!(fixture.keys.has_condemned(), "it is still due");
        assert!(
            fixture.current(&ADA).is_none(),
            "no reader gets it meanwhile"
        );
        assert!(fixture.current(&[5; 16]).is_some());
    }
    assert_eq!(fs::read(path_in(fixture.folder.path())).unwrap(), before);
    // A commit between the failure and the success is in the new file.
    fixture.stage(&[9; 16], 9);
    fixture.keys.commit().unwrap();
    fs::remove_dir_all(staging).unwrap();
    fixture.keys.rewrite().unwrap();
    assert!(!fixture.keys.has_condemned());
    let fixture = fixture.reopened();
    assert!(fixture.current(&ADA).is_none());
    assert!(fixture.current(&[5; 16]).is_some() && fixture.current(&[9; 16]).is_some());
    assert_eq!(fixture.keys.last_generation(&ADA).unwrap(), 1);
}

#[test]
fn a_rotation_whose_rewriting_fails_leaves_every_key_under_one_that_opens_it() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    fixture.keys.commit().unwrap();
    let staging = blocked(&fixture);
    let ring = rotated(&fixture);
    fixture.keys.use_keyring(Arc::clone(&ring));
    assert!(fixture.keys.rewrite().is_err());
    assert!(fixture.keys.is_outdated().unwrap(), "it is still due");
    fixture.stage(&[5; 16], 8);
    fixture.keys.commit().unwrap();
    assert_eq!(
        fixture.keys.counts().unwrap(),
        BTreeMap::from([(1, 1), (2, 1)])
    );
    fs::remove_dir_all(staging).unwrap();
    fixture.keys.rewrite().unwrap();
    assert_eq!(fixture.keys.counts().unwrap(), BTreeMap::from([(2, 2)]));
    assert!(fixture.current(&ADA).is_some() && fixture.current(&[5; 16]).is_some());
}

/// D-17: a rewriting would put a new file in the link's place and destroy nothing.
#[test]
fn a_link_to_a_key_store_is_refused() {
    let Fixture { folder, keys } = fixture();
    drop(keys);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(path_in(folder.path()), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, path_in(folder.path())).unwrap();
    let refused = DataKeys::open(&path_in(folder.path()), keyring(folder.path(), 1), false);
    assert!(matches!(refused, Err(DataKeysError::NotAFile(_))));
}

#[test]
fn what_an_interrupted_erasure_left_is_removed_at_open() {
    let Fixture { folder, keys } = fixture();
    drop(keys);
    let left = durable::staging(&path_in(folder.path()));
    fs::write(&left, b"an old copy").unwrap();
    DataKeys::open(&path_in(folder.path()), keyring(folder.path(), 1), false).unwrap();
    assert!(!left.exists());
}

#[test]
fn the_store_may_be_shared_between_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<DataKeys>();
}

#[test]
fn readers_on_other_threads_never_miss_a_key_while_it_is_committed() {
    let fixture = fixture();
    std::thread::scope(|scope| {
        let (seen, announced) = std::sync::mpsc::channel();
        let keys = &fixture.keys;
        scope.spawn(move || {
            for generation in announced {
                assert!(keys.current(&ADA).unwrap().unwrap().0 >= generation);
                assert!(keys.get(&ADA, generation).unwrap().is_some());
            }
        });
        for byte in 1..50 {
            let generation = fixture.stage(&ADA, byte);
            seen.send(generation).unwrap();
            seen.send(generation).unwrap();
            keys.commit().unwrap();
            seen.send(generation).unwrap();
        }
    });
}

fn rotated(fixture: &Fixture) -> Arc<Keyring> {
    let path = fixture.folder.path().join("keyring-1");
    let keyring = Keyring::load(&path).unwrap();
    let rotated = keyring.rotate(&path, &[9; 64], 2).unwrap();
    Arc::new(rotated)
}

#[test]
fn a_rewriting_wraps_every_key_by_the_active_one() {
    let fixture = fixture();
    fixture.stage(&ADA, 1);
    fixture.stage(&BOB, 2);
    fixture.keys.commit().unwrap();
    assert!(!fixture.keys.is_outdated().unwrap());
    fixture.keys.use_keyring(rotated(&fixture));
    assert!(fixture.keys.is_outdated().unwrap());
    assert_eq!(fixture.stage(&ADA, 3), 2);
    fixture.keys.commit().unwrap();
    let both = BTreeMap::from([(1, 2), (2, 1)]);
    assert_eq!(fixture.keys.counts().unwrap(), both);
    let fixture = fixture.reopened();
    assert!(fixture.keys.is_outdated().unwrap());
    fixture.keys.rewrite().unwrap();
    assert!(!fixture.keys.is_outdated().unwrap());
    assert_eq!(fixture.keys.counts().unwrap(), BTreeMap::from([(2, 3)]));
    let fixture = fixture.reopened();
    assert_eq!(fixture.current(&ADA), Some((2, key(3))));
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), Some(key(1)));
    assert_eq!(fixture.current(&BOB), Some((1, key(2))));
}

#[test]
fn a_damaged_row_stays_as_it_is_and_holds_up_no_other() {
    let fixture = fixture();
    fixture.stage(&ADA, 1);
    fixture.stage(&BOB, 2);
    fixture.keys.commit().unwrap();
    let (name, mut row) = key_store::newest(&fixture.keys.store(), &BOB)
        .unwrap()
        .unwrap();
    row[40] ^= 1;
    key_store::add(
        &fixture.keys.store(),
        &keyring(fixture.folder.path(), 1),
        &[(name, row)],
    )
    .unwrap();
    fixture.keys.use_keyring(rotated(&fixture));
    fixture.keys.rewrite().unwrap();
    assert!(fixture.keys.is_outdated().unwrap());
    assert_eq!(
        fixture.keys.counts().unwrap(),
        BTreeMap::from([(1, 1), (2, 1)])
    );
    let fixture = fixture.reopened();
    assert_eq!(fixture.current(&ADA), Some((1, key(1))));
    let damaged = fixture.keys.current(&BOB);
    assert!(matches!(damaged, Err(DataKeysError::DamagedKey { .. })));
}

#[test]
fn a_name_that_has_another_key_already_is_a_conflict_and_keeps_it() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    fixture.keys.commit().unwrap();
    let taken = fixture.keys.staged().len();
    assert_eq!(taken, 0);
    fixture.stage(&BOB, 8);
    // In the file, the staged name has another account's row.
    let store = fixture.keys.store();
    let txn = store.begin_write().unwrap();
    {
        let mut rows = txn.open_table(KEYS).unwrap();
        let row = *rows.get(&name_of(&ADA, 1)).unwrap().unwrap().value();
        rows.insert(&name_of(&BOB, 1), &row).unwrap();
    }
    txn.commit().unwrap();
    let refused = fixture.keys.commit();
    assert!(matches!(refused, Err(DataKeysError::Conflict(_))));
    // The same row again is none.
    fixture.keys.discard_staged();
    fixture.stage(&[5; 16], 9);
    let (name, row) = {
        let staged = fixture.keys.staged();
        let (name, (_, row)) = staged.iter().next().unwrap();
        (*name, *row)
    };
    let txn = store.begin_write().unwrap();
    txn.open_table(KEYS).unwrap().insert(&name, &row).unwrap();
    txn.commit().unwrap();
    drop(store);
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.current(&[5; 16]), Some((1, key(9))));
}

#[test]
fn a_rewriting_keeps_what_is_staged_for_others_and_drops_what_is_condemned() {
    let fixture = fixture();
    fixture.stage(&ADA, 7);
    fixture.stage(&BOB, 8);
    fixture.keys.condemn(&ADA, 1);
    fixture.keys.rewrite().unwrap();
    fixture.keys.commit().unwrap();
    assert_eq!(fixture.keys.get(&ADA, 1).unwrap(), None);
    assert_eq!(fixture.current(&BOB), Some((1, key(8))));
    assert_eq!(fixture.reopened().current(&BOB), Some((1, key(8))));
}

#[test]
fn a_copy_counts_its_keys_and_says_which_does_not_unwrap() {
    let fixture = fixture();
    let ring = keyring(fixture.folder.path(), 1);
    fixture.stage(&ADA, 7);
    fixture.stage(&BOB, 8);
    fixture.keys.commit().unwrap();
    let copy = fixture.folder.path().join("copy.redb");
    fixture.keys.back_up(&copy, &|_, _| Ok(false)).unwrap();
    let copied = KeysCopy::open(&copy).unwrap();
    assert_eq!(copied.count().unwrap(), 2);
    assert_eq!(copied.check(&ring).unwrap(), 2);
    drop(copied);
    let store = fixture.keys.store();
    let txn = store.begin_write().unwrap();
    {
        let mut rows = txn.open_table(KEYS).unwrap();
        let row = *rows.get(&name_of(&ADA, 1)).unwrap().unwrap().value();
        rows.insert(&name_of(&BOB, 1), &row).unwrap();
    }
    txn.commit().unwrap();
    drop(store);
    drop(fixture.keys);
    let copy = fixture.folder.path().join("damaged.redb");
    let store = path_in(fixture.folder.path());
    back_up_stopped(&store, &copy, None, &|_, _| Ok(false)).unwrap();
    let damaged = KeysCopy::open(&copy).unwrap().check(&ring);
    assert!(matches!(
        damaged,
        Err(DataKeysError::DamagedKey { generation: 1, .. })
    ));
}
