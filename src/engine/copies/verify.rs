//! Verifies a backup: its structure, root and manifest from the copies alone; with the keyring its
//! signature, the checkpoints beside the keyring, the seals behind them, and every key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::needed::{Lacking, Needed};
use super::places::{PlaceError, refuse_other_contents};
use crate::crypto::data_keys::{DataKeysError, KeysCopy};
use crate::crypto::keyring::{Keyring, LoadError};
use crate::crypto::note::{Checkpoint, NoteError, NoteKey, NoteSigner, origin};
use crate::crypto::tombstones::{TombstoneError, Tombstones};
use crate::engine::keys::checkpoints::signer;
use crate::engine::record_seals::RecordSeals;
use crate::log::checkpoints::{Archive, CheckpointRefusal};
use crate::log::offline::{VerifyError, verify_folder};
use crate::log::tree::{Frontier, Hash, NOTHING_BEFORE, leaf_hash};
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
    /// The checkpoints beside the keyring cannot be read.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointRefusal),
    /// The records are not those that a checkpoint beside the keyring covers.
    #[error(
        "its first {0} records are not those that the checkpoint of that size beside the keyring covers: find out who could write the data folder, restore an earlier copy, or take a new backup into an empty folder once the service starts"
    )]
    Forked(u64),
    /// A record is behind every checkpoint, and the service with this keyring did not write it.
    #[error(
        "position {0}: no checkpoint covers this record, and the service with this keyring did not write it: find out who could write the data folder, restore an earlier copy, or take a new backup into an empty folder once the service starts"
    )]
    Unsealed(u64),
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

impl From<Lacking> for BadBackup {
    fn from(lacking: Lacking) -> Self {
        match lacking {
            Lacking::Key(position) => Self::KeyMissing(position),
            Lacking::Erasure(position) => Self::ErasureUnproven(position),
        }
    }
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
            Self::Keyring(_) | Self::Tombstones(_) | Self::Checkpoints(_) => true,
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
    let by_keyring = asked.keyring.zip(keyring.as_ref());
    let size = signed.as_ref().map_or(0, |signed| signed.size);
    let proof = by_keyring.map(|(file, keyring)| Proof::of(file, keyring, size));
    let mut proof = proof.transpose()?;
    let verified = verify_folder(
        &asked.log.join("log"),
        asked.scratch,
        known,
        progress,
        |at, bytes| {
            if let Some(needed) = &mut needed {
                needed.take(at, bytes);
            }
            if let Some(proof) = &mut proof {
                proof.take(at, bytes);
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
    let unsigned = match proof {
        Some(proof) => copied - proof.check(verified.origin())?,
        None => verified.unsigned,
    };
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
        signed: copied - unsigned,
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

/// What proves the records of a copy to the owner of the keyring: the checkpoints beside it and,
/// behind them, the seals.
struct Proof {
    seals: Vec<RecordSeals>,
    archives: Vec<Archive>,
    /// The roots of the copied log at the sizes of archived checkpoints.
    roots: HashMap<u64, Option<Hash>>,
    tree: Frontier,
    before: Hash,
    /// The number of records that the checkpoint of the manifest covers.
    signed: u64,
    /// The last record behind it without a seal.
    unsealed: Option<u64>,
}

impl Proof {
    fn of(file: &Path, keyring: &Keyring, signed: u64) -> Result<Self, CheckpointRefusal> {
        let signer = |id| NoteSigner::new(keyring.checkpoint_seed(), id);
        let archives = keyring
            .log_ids()
            .map(|id| match Archive::open(file, signer(id)) {
                // The newest note is of another epoch.
                Err(CheckpointRefusal::OtherLog { .. }) => Archive::of_ended(file, signer(id)),
                archive => archive,
            });
        let archives: Vec<_> = archives.collect::<Result<_, _>>()?;
        let sizes = archives.iter().flat_map(Archive::checkpoints);
        Ok(Self {
            seals: keyring
                .log_ids()
                .map(|id| RecordSeals::of_epoch(keyring, id))
                .collect(),
            roots: sizes.map(|checkpoint| (checkpoint.size, None)).collect(),
            archives,
            tree: Frontier::default(),
            before: NOTHING_BEFORE,
            signed,
            unsealed: None,
        })
    }

    fn take(&mut self, at: u64, bytes: &[u8]) {
        let leaf = leaf_hash(bytes);
        self.tree.append(leaf);
        if let Some(root) = self.roots.get_mut(&at) {
            *root = Some(self.tree.root());
        }
        let is_sealed = |seals: &RecordSeals| seals.has_sealed(at, &self.before, bytes);
        if at > self.signed && !self.seals.iter().any(is_sealed) {
            self.unsealed = Some(at);
        }
        self.before = leaf;
    }

    /// Checks the copy against the newest checkpoint of its last epoch that it reaches, and returns
    /// how many records a checkpoint covers. Earlier epochs have checkpoints of what was given up.
    fn check(self, origin: &str) -> Result<u64, BadBackup> {
        let archived = self.archives.iter().flat_map(Archive::checkpoints);
        let archived = archived.filter(|checkpoint| checkpoint.origin == origin);
        let reached = archived.filter_map(|checkpoint| {
            let root = self.roots.get(&checkpoint.size).copied().flatten();
            root.map(|root| (checkpoint, root))
        });
        let newest = reached.max_by_key(|(checkpoint, _)| checkpoint.size);
        let size = newest.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        if newest.is_some_and(|(checkpoint, root)| checkpoint.root != root) {
            return Err(BadBackup::Forked(size));
        }
        let signed = self.signed.max(size);
        match self.unsealed.filter(|position| *position > signed) {
            Some(position) => Err(BadBackup::Unsealed(position)),
            None => Ok(signed),
        }
    }
}
