//! Files that only their owner may read, whatever the umask is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_is_made_for_its_owner_alone_and_one_that_is_there_stays_as_it_is() {
    let (_parent, path) = place();
    folder::make_private(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, b"kept").unwrap();
    folder::make_private(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"kept");
    folder::make_private(&path.join("below")).unwrap_err();
}

#[test]
fn every_segment_is_for_its_owner_alone() {
    let (_parent, folder) = place();
    let _log = log_with(&folder, 20, 50);
    for number in 1..=3 {
        assert_eq!(mode(&segment(&folder, number)), 0o600);
    }
}

#[test]
fn a_copy_that_others_may_read_is_closed_to_them_by_the_next_backup() {
    let (parent, folder) = place();
    let log = log_with(&folder, 20, 50);
    let target = parent.path().join("backup");
    let back_up = || {
        let staged = log.reader().stage_copy(&target, 50, 50, 0).unwrap();
        staged.publish().unwrap();
    };
    back_up();
    fs::set_permissions(segment(&target, 1), Permissions::from_mode(0o644)).unwrap();
    back_up();
    assert_eq!(mode(&segment(&target, 1)), 0o600);
}
