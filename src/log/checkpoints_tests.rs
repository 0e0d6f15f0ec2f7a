//! The archive over real files, and its state after each crash and each exchange of files.

use tempfile::TempDir;

use super::super::proof;
use super::super::tiles::Tree;
use super::super::tree::leaf_hash;
use super::*;

const LOG_ID: [u8; 16] = [0xab; 16];

fn signer() -> NoteSigner {
    NoteSigner::new(&[7; 32], &LOG_ID)
}

/// A log of `size` records; from position `forked` on they belong to another history.
fn log(size: u64, forked: u64) -> Tree {
    let mut tree = Tree::default();
    for position in 1..=size {
        let history = u8::from(position >= forked);
        tree.append(leaf_hash(
            &[&[history], &position.to_le_bytes()[..]].concat(),
        ));
    }
    tree
}

fn honest(size: u64) -> Tree {
    log(size, u64::MAX)
}

fn root_at(tree: &Tree) -> impl FnMut(u64) -> Result<Hash, TileError> + '_ {
    |size| proof::root_at(|level, index| tree.read(level, index), size)
}

fn sign(archive: &mut Archive, tree: &Tree) -> Result<String, CheckpointRefusal> {
    let root = tree.root();
    archive
        .sign(tree.size(), &root, root_at(tree))
        .map(str::to_owned)
}

fn check(archive: &Archive, tree: &Tree) -> Result<(), CheckpointRefusal> {
    archive.check(tree.size(), root_at(tree))
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self) -> Result<Archive, CheckpointRefusal> {
        Archive::open(&self.path("keyring"), signer())
    }

    /// Makes an archive of checkpoints at these sizes.
    fn with(sizes: &[u64]) -> Self {
        let place = Self::new();
        let mut archive = place.open().unwrap();
        for &size in sizes {
            sign(&mut archive, &honest(size)).unwrap();
        }
        place
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn sizes(&self) -> Vec<u64> {
        let archive = self.open().unwrap();
        archive.checkpoints().map(|known| known.size).collect()
    }
}

#[test]
fn what_was_signed_is_there_after_a_restart() {
    let place = Place::with(&[1, 2, 30]);
    let archive = place.open().unwrap();
    assert_eq!(archive.newest().unwrap().size, 30);
    assert_eq!(place.sizes(), [1, 2, 30]);
    check(&archive, &honest(30)).unwrap();
    check(&archive, &honest(31)).unwrap();
    let note = place.text("checkpoint");
    let read = signer().public().open_checkpoint(&note).unwrap();
    assert_eq!(Some(&read), archive.newest());
    assert_eq!(place.text("checkpoint-history").lines().count(), 3);
}

#[test]
fn the_same_head_is_signed_once() {
    let place = Place::with(&[1]);
    let mut archive = place.open().unwrap();
    let first = sign(&mut archive, &honest(5)).unwrap();
    assert_eq!(sign(&mut archive, &honest(5)).unwrap(), first);
    assert_eq!(place.text("checkpoint"), first);
    assert_eq!(place.text("checkpoint-history").lines().count(), 2);
}

#[test]
fn a_shorter_log_is_refused_with_the_one_remedy() {
    let place = Place::with(&[1, 10, 30]);
    let archive = place.open().unwrap();
    for head in [0, 1, 9, 10, 29] {
        let refused = check(&archive, &honest(head)).unwrap_err();
        let message = refused.to_string();
        assert!(matches!(
            refused,
            CheckpointRefusal::Shorter { archived: 30, .. }
        ));
        let remedy = format!("log new-epoch --lost-from {} --reason R", head + 1);
        assert!(message.contains(&remedy), "{message}");
    }
}

#[test]
fn a_forked_log_is_refused_from_the_last_checkpoint_that_it_agrees_to() {
    let place = Place::with(&[1, 10, 20, 30]);
    let archive = place.open().unwrap();
    for (forked, lost) in [(25, 21), (21, 21), (20, 11), (11, 11), (2, 2), (1, 1)] {
        for size in [30, 31, 99] {
            let refused = check(&archive, &log(size, forked)).unwrap_err();
            assert!(
                matches!(refused, CheckpointRefusal::Forked { archived: 30, lost_from } if lost_from == lost),
                "forked at {forked}: {refused}"
            );
        }
    }
    check(&archive, &log(99, 31)).unwrap();
    let both = check(&archive, &log(15, 5)).unwrap_err();
    assert!(matches!(
        both,
        CheckpointRefusal::Shorter { lost_from: 2, .. }
    ));
}

#[test]
fn a_contradiction_is_never_signed() {
    let place = Place::with(&[1, 10]);
    let mut archive = place.open().unwrap();
    let before = (place.text("checkpoint"), place.text("checkpoint-history"));
    for tree in [honest(9), log(10, 10), log(11, 3), log(50, 10)] {
        sign(&mut archive, &tree).unwrap_err();
    }
    // A tree with right tiles and a wrong frontier.
    let (tree, other) = (honest(11), log(11, 11));
    let refused = archive.sign(11, &other.root(), root_at(&tree)).unwrap_err();
    assert!(matches!(
        refused,
        CheckpointRefusal::Forked {
            archived: 11,
            lost_from: 11,
        }
    ));
    let refused = archive.sign(10, &other.root(), root_at(&tree)).unwrap_err();
    assert!(matches!(refused, CheckpointRefusal::Forked { .. }));
    assert_eq!(
        (place.text("checkpoint"), place.text("checkpoint-history")),
        before
    );
}

#[test]
fn without_an_archive_no_log_is_accepted_and_only_the_first_record_is_signed_for() {
    let place = Place::new();
    let mut archive = place.open().unwrap();
    for size in [1, 2] {
        let refused = check(&archive, &honest(size)).unwrap_err();
        assert!(matches!(refused, CheckpointRefusal::Missing { head, .. } if head == size));
    }
    sign(&mut archive, &honest(2)).unwrap_err();
    assert!(!place.path("checkpoint").exists());
    sign(&mut archive, &honest(1)).unwrap();
    sign(&mut archive, &honest(2)).unwrap();
}

#[test]
fn either_file_alone_still_refuses_an_old_log() {
    for lost in ["checkpoint", "checkpoint-history"] {
        let place = Place::with(&[1, 10, 30]);
        fs::remove_file(place.path(lost)).unwrap();
        let archive = place.open().unwrap();
        check(&archive, &honest(29)).unwrap_err();
        check(&archive, &honest(30)).unwrap();
    }
}

#[test]
fn every_changed_byte_of_either_file_is_refused_or_harmless() {
    for name in ["checkpoint", "checkpoint-history"] {
        let place = Place::with(&[1, 10, 30]);
        let good = fs::read(place.path(name)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(place.path(name), &bad).unwrap();
            // A changed origin in the history makes a line of another log; the other file still
            // counts.
            if let Ok(archive) = place.open() {
                assert_eq!(name, "checkpoint-history");
                assert_eq!(archive.newest().unwrap().size, 30, "byte {at}");
            }
        }
    }
}

#[test]
fn a_crash_between_any_two_steps_loses_no_published_note() {
    let before = Place::with(&[1, 10]);
    let after = Place::with(&[1, 10, 30]);
    let (old, new) = (before.text("checkpoint"), after.text("checkpoint"));
    let (short, long) = (
        before.text("checkpoint-history"),
        after.text("checkpoint-history"),
    );
    let cut = |text: &str, bytes: usize| text[..text.len() - bytes].to_owned();
    // The contents of both files and of the leftover files beside them, step by step.
    let steps = [
        (
            &old,
            cut(&short, 0),
            Some(("checkpoint.new", String::new())),
            10,
        ),
        (
            &old,
            cut(&short, 0),
            Some(("checkpoint.new", cut(&new, 9))),
            10,
        ),
        (
            &old,
            cut(&short, 0),
            Some(("checkpoint.new", cut(&new, 0))),
            10,
        ),
        (&new, cut(&short, 0), None, 30),
        (&new, cut(&long, 1), None, 30),
        (&new, cut(&long, 60), None, 30),
        (&new, cut(&long, 0), None, 30),
        (
            &new,
            cut(&short, 0),
            Some(("checkpoint-history.new", cut(&long, 60))),
            30,
        ),
    ];
    for (number, (newest, history, left, size)) in steps.into_iter().enumerate() {
        let place = Place::new();
        fs::write(place.path("checkpoint"), newest).unwrap();
        fs::write(place.path("checkpoint-history"), history).unwrap();
        if let Some((name, text)) = left {
            fs::write(place.path(name), text).unwrap();
        }
        let mut archive = place.open().unwrap();
        assert_eq!(archive.newest().unwrap().size, size, "step {number}");
        check(&archive, &honest(size - 1)).unwrap_err();
        sign(&mut archive, &honest(40)).unwrap();
        sign(&mut archive, &honest(50)).unwrap();
        let sizes = place.sizes();
        assert!(sizes.starts_with(&[1, 10]), "step {number}: {sizes:?}");
        assert!(sizes.ends_with(&[40, 50]), "step {number}: {sizes:?}");
        assert!(!place.path("checkpoint.new").exists());
    }
}

/// Returns every length that the file being written can have reached, with the rest cut off or
/// zeros.
fn torn(whole: &str, from: usize) -> Vec<Vec<u8>> {
    let cut = |at: usize| whole.as_bytes()[..at].to_vec();
    let zeroed = |at: usize| [cut(at), vec![0; whole.len() - at]].concat();
    let cuts = from..=whole.len();
    cuts.flat_map(|at| [cut(at), zeroed(at)]).collect()
}

#[test]
fn every_power_loss_while_archiving_keeps_every_published_note() {
    let place = Place::with(&[1, 10]);
    let (old, short) = (place.text("checkpoint"), place.text("checkpoint-history"));
    sign(&mut place.open().unwrap(), &honest(30)).unwrap();
    let (new, long) = (place.text("checkpoint"), place.text("checkpoint-history"));
    let staged = torn(&new, 0).into_iter();
    let before_rename = staged.map(|staged| (&old, Some(staged), short.clone().into_bytes(), 10));
    let appended = torn(&long, short.len()).into_iter();
    let after_rename = appended.map(|history| (&new, None, history, 30));
    let mut images = 0;
    for (newest, staged, history, size) in before_rename.chain(after_rename) {
        fs::write(place.path("checkpoint"), newest).unwrap();
        fs::write(place.path("checkpoint-history"), &history).unwrap();
        if let Some(staged) = &staged {
            fs::write(place.path("checkpoint.new"), staged).unwrap();
        }
        let mut archive = place.open().unwrap();
        assert_eq!(
            archive.newest().unwrap().size,
            size,
            "{staged:?} {history:?}"
        );
        check(&archive, &honest(size - 1)).unwrap_err();
        // A torn file does not hinder what follows.
        if images % 8 == 0 {
            sign(&mut archive, &honest(40)).unwrap();
            let sizes = place.sizes();
            assert!(
                sizes.starts_with(&[1, 10]) && sizes.ends_with(&[40]),
                "{sizes:?}"
            );
        }
        images += 1;
    }
    println!("checkpoint archive: {images} images, 0 bad");
}

#[test]
fn the_very_first_crash_leaves_a_log_that_has_just_begun() {
    let place = Place::new();
    fs::write(place.path("checkpoint.new"), "half").unwrap();
    let mut archive = place.open().unwrap();
    sign(&mut archive, &honest(1)).unwrap();
    fs::remove_file(place.path("checkpoint-history")).unwrap();
    assert_eq!(place.sizes(), [1]);
}

#[test]
fn an_archive_of_another_log_is_refused_until_an_epoch_begins() {
    let place = Place::with(&[1, 10]);
    let other = || NoteSigner::new(&[7; 32], &[0xcd; 16]);
    let keyring = place.path("keyring");
    let refused = Archive::open(&keyring, other()).unwrap_err();
    assert!(matches!(refused, CheckpointRefusal::OtherLog { .. }));
    let tree = log(8, 8);
    // A crash after the last checkpoint may have kept it out of the history.
    let history = place.text("checkpoint-history");
    let first = history.split_inclusive('\n').next().unwrap();
    fs::write(place.path("checkpoint-history"), first).unwrap();
    for _ in 0..2 {
        let begun = Archive::begin_epoch(&keyring, other(), 8, &tree.root()).unwrap();
        assert_eq!(begun.newest().unwrap().size, 8);
    }
    let mut archive = Archive::open(&keyring, other()).unwrap();
    check(&archive, &tree).unwrap();
    sign(&mut archive, &log(9, 8)).unwrap();
    let history = place.text("checkpoint-history");
    assert_eq!(history.lines().count(), 4, "both epochs: {history}");
    let refused = place.open().unwrap_err();
    assert!(
        matches!(refused, CheckpointRefusal::OtherLog { .. }),
        "no way back"
    );
}

#[test]
fn a_folder_that_cannot_be_written_signs_nothing() {
    let place = Place::with(&[1]);
    let mut archive = place.open().unwrap();
    // A folder is in the way: root may write anywhere, but cannot replace a folder by a file.
    fs::remove_file(place.path("checkpoint")).unwrap();
    fs::create_dir_all(place.path("checkpoint/in-the-way")).unwrap();
    let refused = sign(&mut archive, &honest(2)).unwrap_err();
    assert!(matches!(refused, CheckpointRefusal::Io { .. }));
    assert_eq!(archive.newest().unwrap().size, 1);
    fs::remove_dir_all(place.path("checkpoint")).unwrap();
    sign(&mut archive, &honest(2)).unwrap();
}

#[test]
fn the_copy_beside_the_log_is_the_newest_checkpoint_after_each_signature() {
    let (place, data) = (Place::new(), tempfile::tempdir().unwrap());
    let mut archive = place.open().unwrap();
    archive.keep_copy_in(data.path());
    assert!(archive.copy_in(data.path()).is_none());
    for size in [1, 5, 9] {
        sign(&mut archive, &honest(size)).unwrap();
        let copy = archive.copy_in(data.path()).unwrap();
        assert_eq!(Some(&copy.checkpoint), archive.newest());
    }
    // A folder that has no copy yet gets the one that was signed before.
    let other = tempfile::tempdir().unwrap();
    archive.keep_copy_in(other.path());
    assert_eq!(archive.copy_in(other.path()).unwrap().checkpoint.size, 9);
}

#[test]
fn a_file_of_exactly_the_bound_is_read_and_one_byte_more_is_refused() {
    let place = Place::new();
    let path = place.path("text");
    for (length, is_read) in [(9, true), (10, true), (11, false), (12, false)] {
        fs::write(&path, "x".repeat(length)).unwrap();
        let text = read(&path, 10);
        assert_eq!(text.is_ok(), is_read, "{length} bytes");
        if let Ok(text) = text {
            assert_eq!(text.unwrap().len(), length);
        }
    }
}

#[test]
fn a_history_is_thinned_by_the_note_after_its_last_line() {
    let (place, tree) = (Place::new(), honest(1_100));
    let root = |size| root_at(&tree)(size).unwrap();
    let full = HISTORY_LINES_MAX as u64;
    let notes: Vec<_> = (1..full)
        .map(|size| signer().sign(size, &root(size)))
        .collect();
    let lines: Vec<_> = notes.iter().map(|note| line_of(note) + "\n").collect();
    fs::write(place.path("checkpoint-history"), lines.concat()).unwrap();
    fs::write(place.path("checkpoint"), notes.last().unwrap()).unwrap();
    let mut archive = place.open().unwrap();
    for (size, kept) in [
        (full, HISTORY_LINES_MAX),
        (full + 1, HISTORY_LINES_MAX / 2 + 1),
    ] {
        archive.sign(size, &root(size), root_at(&tree)).unwrap();
        let lines = place.text("checkpoint-history").lines().count();
        assert_eq!((lines, archive.checkpoints().count()), (kept, kept));
        assert_eq!(archive.newest().unwrap().size, size);
    }
}

#[test]
fn what_is_no_note_is_damage_and_not_the_archive_of_another_log() {
    let place = Place::with(&[1]);
    fs::write(place.path("checkpoint"), "no note\n").unwrap();
    let refused = place.open().unwrap_err();
    assert!(matches!(refused, CheckpointRefusal::Damaged { .. }));
}

#[test]
fn an_archive_that_cannot_be_looked_for_is_not_taken_for_none() {
    let place = Place::with(&[1]);
    let below_a_file = place.path("checkpoint").join("keyring");
    let refused = Archive::open(&below_a_file, signer()).unwrap_err();
    assert!(matches!(refused, CheckpointRefusal::Io { .. }));
}

#[test]
fn a_copy_that_is_adopted_is_the_newest_checkpoint_after_a_restart() {
    let (place, data) = (Place::new(), tempfile::tempdir().unwrap());
    let mut archive = place.open().unwrap();
    archive.keep_copy_in(data.path());
    for size in [1, 9] {
        sign(&mut archive, &honest(size)).unwrap();
    }
    let older = Place::with(&[1, 5]);
    let mut archive = older.open().unwrap();
    let copy = archive.copy_in(data.path()).unwrap();
    archive.adopt(copy).unwrap();
    assert_eq!(archive.newest().unwrap().size, 9);
    assert_eq!(older.sizes(), [1, 5, 9]);
}
