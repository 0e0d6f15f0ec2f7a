//! The checks on this machine: files, their modes and ages, and free space.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Findings, Verdict};
use crate::crypto::keyring::Keyring;
use crate::engine::{free_bytes, key_list, wall_clock};

/// Less free space than this is a finding, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// The newest checkpoint may be this old before it is noted, in seconds. The service signs every
/// 10 s while the log grows, and an idle one signs nothing, so an older one is not wrong.
const CHECKPOINT_OLD_S: u64 = 86_400;

/// Checks the keyring file and its folder.
pub fn keys(file: &Path, data: Option<&Path>, findings: &mut Findings) {
    match Keyring::load(file) {
        Ok(ring) => {
            let mode = std::fs::metadata(file).map_or(0, |file| file.permissions().mode() & 0o7777);
            let list = key_list(&ring, None);
            let said = format!(
                "mode {mode:04o}, {} keys, log {}",
                list.keys.len(),
                list.log_id
            );
            findings.ok("keyring", said);
        }
        Err(error) => findings.wrong("keyring", error.to_string()),
    }
    let folder = parent(file);
    match tempfile::Builder::new()
        .prefix(".doctor-")
        .tempfile_in(&folder)
    {
        Ok(_) => findings.ok("keys folder", "writable, for checkpoints and tombstones"),
        Err(error) => findings.wrong(
            "keys folder",
            format!(
                "{} is not writable ({error}): checkpoints and tombstones go there",
                folder.display()
            ),
        ),
    }
    let is_inside = data.is_some_and(|data| {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(&folder).starts_with(real(data))
    });
    if is_inside {
        findings.wrong(
            "keys folder",
            "inside the data folder: one copy would hold keys and log, so move the keyring elsewhere",
        );
    }
    disk("keys disk", &folder, findings);
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => ".".into(),
    }
}

/// Checks the age of the newest checkpoint, and that the wall clock is not before it.
pub fn checkpoint(keyring: &Path, findings: &mut Findings) {
    let path = keyring.with_file_name("checkpoint");
    let (Ok(note), Ok(about)) = (std::fs::read_to_string(&path), std::fs::metadata(&path)) else {
        return findings.wrong(
            "checkpoint",
            format!("{} cannot be read: the service writes it at its start; restore it from the backup of the keyring's folder", path.display()),
        );
    };
    let size = note.lines().nth(1).unwrap_or("?");
    let signed_s = u64::try_from(about.mtime()).unwrap_or(0);
    let now_s = wall_clock().unix_s();
    match now_s.checked_sub(signed_s) {
        None => findings.wrong(
            "clock",
            format!(
                "the wall clock is {} s before the newest checkpoint: set it right",
                signed_s - now_s
            ),
        ),
        Some(age_s) => {
            let old = if age_s > CHECKPOINT_OLD_S {
                Verdict::Note
            } else {
                Verdict::Ok
            };
            findings.add(
                "checkpoint",
                old,
                format!("{age_s} s old, covers {size} events"),
            );
            findings.ok(
                "clock",
                "not before the newest checkpoint; doctor does not check NTP",
            );
        }
    }
}

/// Checks the log's files and the free space.
pub fn data_folder(data: &Path, findings: &mut Findings) {
    let log = data.join("log");
    match std::fs::read_dir(&log) {
        Ok(files) => {
            let bytes: u64 = files
                .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
                .sum();
            findings.ok("log", format!("{bytes} bytes in {}", log.display()));
        }
        Err(error) => findings.wrong("log", format!("{}: {error}", log.display())),
    }
    disk("data disk", data, findings);
}

fn disk(what: &'static str, folder: &Path, findings: &mut Findings) {
    match free_bytes(folder) {
        Some(free) if free >= FREE_BYTES_MIN => {
            findings.ok(what, format!("{} MiB free", free >> 20));
        }
        Some(free) => findings.wrong(
            what,
            format!(
                "only {} MiB free: make room, a full disk stops the service",
                free >> 20
            ),
        ),
        None => findings.note(what, "the system does not report the free space"),
    }
}
