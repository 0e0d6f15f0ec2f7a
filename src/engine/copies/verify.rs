//! Verifies a backup: its structure, root and manifest from the copies alone, its signature and
//! every key with the keyring.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use countersign_schemas::event::ACCOUNT_ERASED;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::places::{PlaceError, refuse_other_contents};
use crate::crypto::data_keys::{DataKeysError, InCopy, KeysCopy};
use crate::crypto::keyring::{Keyring, LoadError};
use crate::crypto::note::{Checkpoint, NoteError, NoteKey, origin};
use crate::crypto::tombstones::{Tombstone, TombstoneError, Tombstones};
use crate::engine::keys::checkpoints::signer;
use crate::engine::keys::vault::holder;
use crate::log::offline::{VerifyError, verify_folder};
use crate::log::{MANIFEST, Manifest, ManifestError, OpenLogError, Part};

/// What was verified of a backup.
#[derive(Debug)]
pub struct CheckedBackup {
    /// The last position in it.
    pub position: u64,
    /// The log's name in the checkpoints of its last epoch.
    pub origin: String,
    /// When it was taken.
    pub at: Micros,
    /// How many of its first records a signed checkpoint covers.
    pub signed: u64,
    /// Whether the signature was checked with the installation's own keyring.
    pub by_keyring: bool,
    /// How many data keys the keys' copy holds; `None` if it was not checked.
    pub keys: Option<u64>,
}

/// Why a backup cannot be verified; one sentence, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum BadBackup {
    /// There is no manifest.
    #[error(
        "{0} has no {MANIFEST}: no backup was taken into this folder, or the first one was cut off; name the folder of a backup"
    )]
    NoManifest(PathBuf),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The folder holds other files than a backup's.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The manifest is of another part or log than expected.
    #[error("{folder}: {what}")]
    Other {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The log's copy is wrong.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// The checkpoint's signature is wrong.
    #[error("the checkpoint in the manifest: {0}")]
    Signature(#[from] NoteError),
    /// The keys' copy cannot be read, or is wrong.
    #[error(transparent)]
    Keys(#[from] DataKeysError),
    /// A record needs a data key that the keys' copy does not have.
    #[error(
        "position {0}: what is sealed there needs a data key that the copy of the keys does not have: take a new backup"
    )]
    KeyMissing(u64),
    /// The keys' copy marks a key as erased, and the log's copy has no such erasure.
    #[error(
        "position {0}: the copy of the keys says that the data key of this account was erased, and the copy of the log has no erasure: check with --keyring, beside which the tombstone of a later erasure stands, or take a new backup"
    )]
    ErasureUnproven(u64),
    /// The tombstones beside the keyring cannot be read.
    #[error(transparent)]
    Tombstones(#[from] TombstoneError),
    /// The keyring cannot be loaded.
    #[error(transparent)]
    Keyring(#[from] LoadError),
}

impl BadBackup {
    /// Whether the backup could not be read, so that nothing is known about it.
    pub fn is_unread(&self) -> bool {
        match self {
            Self::Manifest(ManifestError::Io { .. }) | Self::Place(PlaceError::Io { .. }) => true,
            Self::Log(VerifyError::Unreadable(error)) => !matches!(
                error,
                OpenLogError::MissingSegment { .. } | OpenLogError::Missing(_)
            ),
            Self::Keyring(_) | Self::Tombstones(_) => true,
            _ => false,
        }
    }
}

/// The folders to verify, and what they are verified with.
#[derive(Debug)]
pub struct BackupToVerify<'a> {
    /// The folder of the log's copy.
    pub log: &'a Path,
    /// The folder of the keys' copy.
    pub keys: Option<&'a Path>,
    /// The installation's keyring.
    pub keyring: Option<&'a Path>,
    /// An empty folder for temporary files.
    pub scratch: &'a Path,
}

/// Verifies a backup without changing it. `progress` receives the position reached and the last
/// one.
///
/// # Errors
/// [`BadBackup`] with the first fault found.
pub fn verify_backup(
    asked: &BackupToVerify,
    progress: impl FnMut(u64, u64),
) -> Result<CheckedBackup, BadBackup> {
    let manifest = manifest_of(asked.log, Part::Log)?;
    let keyring = asked.keyring.map(Keyring::load).transpose()?;
    let keys = asked.keys.map(|folder| keys_of(folder, &manifest));
    let keys = keys.transpose()?;
    let signed = believed(&manifest, keyring.as_ref())?;
    let known = signed.as_slice();
    let mut needed = keys.as_ref().map(Needed::of);
    let verified = verify_folder(
        &asked.log.join("log"),
        asked.scratch,
        known,
        progress,
        |at, bytes| {
            if let Some(needed) = &mut needed {
                needed.take(at, bytes);
            }
        },
    )?;
    let wrong = |what: String| BadBackup::Other {
        folder: asked.log.into(),
        what,
    };
    if verified.origins.first() != origin_of(&manifest).as_ref() {
        return Err(wrong(
            "its records are of another log than its manifest says: take a new backup into an empty folder".into(),
        ));
    }
    let copied = manifest.position;
    if verified.records != copied {
        return Err(wrong(format!(
            "its manifest promises {copied} records, and it has {}: a backup was cut off, so take a backup again",
            verified.records
        )));
    }
    if Some(verified.root) != manifest.root_hash() {
        return Err(wrong(format!(
            "its records up to {copied} are not those that were copied: take a new backup into an empty folder"
        )));
    }
    if let Some(needed) = needed {
        let tombstones = asked.keyring.map(|file| Tombstones::beside(file).list());
        needed.check(copied, &tombstones.transpose()?.unwrap_or_default())?;
    }
    let keys = match (&keys, &keyring) {
        (Some(keys), Some(keyring)) => Some(keys.check(keyring)?),
        (Some(keys), None) => Some(keys.count()?),
        (None, _) => None,
    };
    Ok(CheckedBackup {
        position: copied,
        origin: verified.origin().to_owned(),
        at: manifest.at,
        signed: copied - verified.unsigned,
        by_keyring: keyring.is_some(),
        keys,
    })
}

fn manifest_of(folder: &Path, part: Part) -> Result<Manifest, BadBackup> {
    let manifest = Manifest::read(folder)?.ok_or_else(|| BadBackup::NoManifest(folder.into()))?;
    let wrong = |what: &str| BadBackup::Other {
        folder: folder.into(),
        what: what.into(),
    };
    if manifest.holds != part {
        return Err(wrong(
            "it is the folder of the other part: name the folder of the events first, and that of the data keys with --keys",
        ));
    }
    if manifest.position == 0 {
        return Err(wrong("its first backup never ended: take a backup again"));
    }
    refuse_other_contents(folder, part)?;
    Ok(manifest)
}

fn keys_of(folder: &Path, log: &Manifest) -> Result<KeysCopy, BadBackup> {
    let manifest = manifest_of(folder, Part::Keys)?;
    let wrong = |what: String| BadBackup::Other {
        folder: folder.into(),
        what,
    };
    if manifest.log_id != log.log_id {
        return Err(wrong(
            "its keys are of another log than the events: name the two folders of one backup"
                .into(),
        ));
    }
    if manifest.position < log.position {
        return Err(wrong(format!(
            "its keys are of position {}, and the log's copy ends at {}: the two belong to different backups, so name the folders of one",
            manifest.position, log.position
        )));
    }
    Ok(KeysCopy::open(&folder.join("keys.redb"))?)
}

/// Returns the manifest's checkpoint once its signature is verified: with the keyring's key if
/// there is one, else with the key in the manifest.
fn believed(
    manifest: &Manifest,
    keyring: Option<&Keyring>,
) -> Result<Option<Checkpoint>, BadBackup> {
    let Some(signed) = &manifest.checkpoint else {
        return Ok(None);
    };
    let named = signed.note.lines().next().unwrap_or_default();
    let key = match keyring {
        None => NoteKey::parse(&signed.vkey)?,
        Some(keyring) if keyring.log_ids().any(|id| origin(id) == named) => {
            signer(keyring).public().renamed(named)
        }
        Some(_) => return Err(NoteError::OtherKey.into()),
    };
    Ok(Some(key.open_checkpoint(&signed.note)?))
}

fn origin_of(manifest: &Manifest) -> Option<String> {
    let id = HEXLOWER_PERMISSIVE
        .decode(manifest.log_id.as_bytes())
        .ok()?;
    Some(origin(id.as_slice().try_into().ok()?))
}

/// What the records of a log's copy need from the keys' copy.
struct Needed<'a> {
    keys: &'a KeysCopy,
    /// The first record whose key is missing and was never there.
    missing: Option<u64>,
    /// By account: the first record since its last erasure whose key is marked as erased, and the
    /// highest number of such a key.
    unproven: HashMap<StreamKey, (u64, u32)>,
}

impl<'a> Needed<'a> {
    fn of(keys: &'a KeysCopy) -> Self {
        Self {
            keys,
            missing: None,
            unproven: HashMap::new(),
        }
    }

    /// Notes what a record needs; a record that cannot be decoded is found by the verification
    /// itself.
    fn take(&mut self, at: u64, bytes: &[u8]) {
        let Ok(record) = Record::decode(bytes) else {
            return;
        };
        let Ok(mut event) = record.event() else {
            return;
        };
        let stream = record.stream_key;
        let holder = StreamKey(holder(record.event_type, stream.0));
        let fields = event.protected().into_iter();
        let fields = fields.filter_map(|(_, value)| match value {
            Protected::Sealed(sealed) => Some(sealed.key),
            Protected::Clear(_) => None,
        });
        let source = record.meta.source.as_ref().map(|source| source.key);
        for generation in fields.chain(source) {
            match self.keys.find(&holder.0, generation) {
                Ok(InCopy::Kept) => {}
                Ok(InCopy::Erased) => {
                    let (_, highest) = self.unproven.entry(holder).or_insert((at, generation));
                    *highest = generation.max(*highest);
                }
                Ok(InCopy::Missing) | Err(_) => _ = self.missing.get_or_insert(at),
            }
        }
        if record.event_type == ACCOUNT_ERASED {
            self.unproven.remove(&stream);
        }
    }

    /// Checks that every needed key is there or was erased. An erasure is proven by the log, or by
    /// a tombstone for an erasure after the `copied` records. A mark in the key store alone proves
    /// nothing: the service may have made it for another log. Marks are checked elsewhere.
    fn check(self, copied: u64, tombstones: &[Tombstone]) -> Result<(), BadBackup> {
        if let Some(position) = self.missing {
            return Err(BadBackup::KeyMissing(position));
        }
        let is_later = |stream: &StreamKey, needed: u32| {
            tombstones
                .iter()
                .any(|t| t.stream_key == stream.0 && needed <= t.through && t.position > copied)
        };
        let unproven = self.unproven.into_iter();
        let unproven = unproven.filter(|(stream, (_, needed))| !is_later(stream, *needed));
        match unproven.map(|(_, (position, _))| position).min() {
            Some(position) => Err(BadBackup::ErasureUnproven(position)),
            None => Ok(()),
        }
    }
}
