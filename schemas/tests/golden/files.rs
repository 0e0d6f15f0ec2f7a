//! The folder of golden files: missing ones can be added, existing ones never change.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One test at a time adds files: the others of this process see whole ones.
static ADDING: Mutex<()> = Mutex::new(());

/// The crate's own folder.
pub fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether this run may add missing golden files and lock lines.
pub fn adding() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// Checks that the golden file at `path` (under `golden/`) holds exactly `made`, and adds it where
/// it is missing and adding is allowed. Returns what is wrong, with its cure.
pub fn hold(path: &str, made: &[u8]) -> Result<(), String> {
    hold_in(&crate_folder().join("golden"), path, made, adding())
}

fn hold_in(folder: &Path, path: &str, made: &[u8], adding: bool) -> Result<(), String> {
    let _one = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
    let file = folder.join(path);
    if let Ok(held) = fs::read(&file) {
        if held == made {
            return Ok(());
        }
        return Err(format!(
            "golden/{path}: the code now makes other bytes; a golden file is never overwritten, \
             not by UPDATE_GOLDEN=1 either: restore the shape, or add a new version or a new case\n\
             held: {}\nmade: {}",
            held.escape_ascii(),
            made.escape_ascii()
        ));
    }
    if !adding {
        return Err(format!(
            "golden/{path} is missing: UPDATE_GOLDEN=1 cargo test -p countersign-schemas --test golden"
        ));
    }
    fs::create_dir_all(file.parent().expect("a file is in a folder")).unwrap();
    fs::File::create_new(&file)
        .unwrap()
        .write_all(made)
        .unwrap();
    Ok(())
}

/// Returns every file under `golden/<folder>` as a path relative to `golden/`, sorted.
pub fn listed(folder: &str) -> BTreeSet<String> {
    let root = crate_folder().join("golden");
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(&root).unwrap();
                found.insert(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Reads a golden file.
pub fn read(path: &str) -> Vec<u8> {
    fs::read(crate_folder().join("golden").join(path)).unwrap()
}

/// Renders a value as the readable golden files hold it: indented, with a last newline.
pub fn readable(value: &serde_json::Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap();
    text.push(b'\n');
    text
}

/// Ends the test with everything that is wrong, one finding a line.
pub fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// An empty folder that vanishes with its guard.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn a_golden_file_is_added_once_and_never_overwritten() {
    let folder = Scratch::new("golden-files");
    let missing = hold_in(&folder.0, "a/b.bin", b"1", false).unwrap_err();
    assert!(missing.contains("UPDATE_GOLDEN=1"), "{missing}");
    hold_in(&folder.0, "a/b.bin", b"1", true).unwrap();
    hold_in(&folder.0, "a/b.bin", b"1", false).unwrap();
    let refused = hold_in(&folder.0, "a/b.bin", b"2", true).unwrap_err();
    assert!(refused.contains("never overwritten"), "{refused}");
    assert_eq!(fs::read(folder.0.join("a/b.bin")).unwrap(), b"1");
}
