//! Why the engine did not start, or nothing was initialised: one sentence each, with the remedy.

use std::path::PathBuf;

use crate::crypto::data_keys::DataKeysError;
use crate::crypto::key_file::CreateError;
use crate::crypto::keyring;
use crate::crypto::keyring::LoadError;
use crate::crypto::tombstones::TombstoneError;
use crate::engine::copies::places::{KeyringPlaceError, PlaceError};
use crate::engine::keys::vault::VaultError;
use crate::engine::writer::erasing::CompletionError;
use crate::log::checkpoints::CheckpointRefusal;
use crate::log::index::{Finding, IndexError};
use crate::log::{AppendError, OpenLogError};

/// Why the engine did not start; one sentence each, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be used for backups.
    #[error("[backup]: {0}")]
    Backup(#[from] PlaceError),
    /// The keyring lies in the data folder, or has the name of another file of its folder.
    #[error(transparent)]
    KeyringPlace(#[from] KeyringPlaceError),
    /// The keyring is missing, unsafe or damaged.
    #[error(transparent)]
    Keyring(#[from] LoadError),
    /// The log is missing although the keyring says that there was one.
    #[error(
        "the keyring {keyring} belongs to a log, but there is none at {log}: restore the data folder from its backup; an empty log would mean that no account has 2FA"
    )]
    LogMissing {
        /// The keyring.
        keyring: PathBuf,
        /// The path where the log should be.
        log: PathBuf,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The log is another installation's.
    #[error(
        "the log at {log} is not the one that the keyring {keyring} belongs to: name the keyring and the data folder of the same installation"
    )]
    Foreign {
        /// The log.
        log: PathBuf,
        /// The keyring.
        keyring: PathBuf,
    },
    /// The log is not what was signed, or the checkpoints cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointRefusal),
    /// Something in the data folder is not what the service wrote there.
    #[error(transparent)]
    Changed(#[from] Finding),
    /// A new epoch was begun, and a crash interrupted it.
    #[error(
        "`log new-epoch` was interrupted: run it again as before, `countersign log new-epoch --lost-from {lost_from} --reason R`"
    )]
    EpochUnfinished {
        /// The first position that it gives up.
        lost_from: u64,
    },
    /// The published stream has an event that the log does not have.
    #[error(
        "the published stream has an event at position {published} that the log does not have, so events are lost and used codes could be accepted again: restore the newest backup of the data folder, or, if there is none, accept the loss with `countersign log new-epoch --lost-from {lost_from} --reason R`"
    )]
    StreamKnowsMore {
        /// That event's position.
        published: u64,
        /// The first position that is lost.
        lost_from: u64,
    },
    /// The file with the stream's event cannot be read.
    #[error(
        "{path}, which holds an event that the published stream has and the log does not, cannot be read ({reason}): correct its permissions, or delete it, and the next start reads the stream again"
    )]
    Witness {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The keyring is a copy from before a rotation.
    #[error(
        "the log has {in_log} rotations of the keys and the keyring only {in_keyring}, so it is an old copy: name the newest one, and the newest keys.redb"
    )]
    OldKeyring {
        /// Rotations in the log.
        in_log: u64,
        /// Rotations in the keyring.
        in_keyring: u32,
    },
    /// A record cannot be read or does not follow.
    #[error("the log was not opened: {0}")]
    Record(String),
    /// This build would misread records of the log.
    #[error(
        "the log holds {name} v{version} in another form than this build reads (named at position {position}), so nothing was started: start a build that has that form"
    )]
    Form {
        /// The name of the event, or of a block of the record.
        name: String,
        /// Its schema version.
        version: u16,
        /// The position of the event that names the form.
        position: u64,
    },
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The key store is missing, damaged or another installation's.
    #[error(transparent)]
    DataKeys(#[from] DataKeysError),
    /// The tombstones of erased accounts cannot be read.
    #[error(transparent)]
    Tombstones(#[from] TombstoneError),
    /// The keys of erased accounts could not be destroyed.
    #[error("the keys of erased accounts are not destroyed yet, so nothing was started: {0}")]
    Erasure(#[source] VaultError),
    /// The key store marks an account as erased, and neither the log nor a tombstone proves it.
    #[error(
        "keys.redb says that the account which the event at position {position} registers was erased, and the log has no erasure of it: restore keys.redb from its backup, and find out who could write the data folder"
    )]
    KeyStoreErased {
        /// The position of the account's registration.
        position: u64,
    },
    /// The tag keys cannot be written, or there are no random bytes.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An erasure could not be recorded.
    #[error("an interrupted erasure could not be recorded, so nothing was started: {0}")]
    Completion(#[from] CompletionError),
    /// The policy is out of range.
    #[error(transparent)]
    Policy(#[from] crate::account::policy::PolicyError),
    /// The policy could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The views cannot be brought up to date.
    #[error(
        "the views cannot be brought up to date ({0}): delete views.redb from the data folder, it is rebuilt"
    )]
    Views(String),
}

/// Why nothing was initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The keyring would lie in the data folder, or have the name of another file of its folder.
    #[error(transparent)]
    KeyringPlace(#[from] KeyringPlaceError),
    /// The folder of the new keyring holds files of another keyring.
    #[error(
        "{0} belongs to another keyring, so nothing was initialised: choose a folder of its own for the new one"
    )]
    KeyringFolder(PathBuf),
    /// The keyring exists or cannot be written.
    #[error(transparent)]
    Keyring(#[from] keyring::InitError),
    /// The data folder cannot be made.
    #[error("the data folder {folder} cannot be made ({source}): choose another, or free this one")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The data folder is not empty.
    #[error(
        "the data folder {0} is not empty, so nothing was initialised: choose a folder that does not exist yet"
    )]
    NotEmpty(PathBuf),
    /// The log cannot be made.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The key store cannot be made.
    #[error(transparent)]
    DataKeys(#[from] DataKeysError),
    /// The first checkpoint cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointRefusal),
    /// The operating system's generator failed.
    #[error("the operating system's random generator failed, so nothing was initialised")]
    Entropy,
}

/// Why no new epoch was begun, or why it was not finished.
#[derive(Debug, thiserror::Error)]
pub enum NewEpochError {
    /// The log has everything that was signed.
    #[error(
        "the log has everything that was signed, so there is nothing to give up: start the service"
    )]
    NothingLost,
    /// The loss begins at another position than the operator gave.
    #[error(
        "the loss begins at position {due}, not at the one given: if you accept that, pass `--lost-from {due}`"
    )]
    OtherLoss {
        /// The first position that is lost.
        due: u64,
    },
    /// The snapshots could not be deleted.
    #[error(
        "snapshots.redb in the data folder cannot be deleted ({0}): delete it, then run this again"
    )]
    Snapshots(#[source] std::io::Error),
    /// The operating system's generator failed.
    #[error("the operating system's random generator failed, so no epoch was begun")]
    Entropy,
    /// The keyring could not be written.
    #[error("the keyring {0}; run this again once that is corrected")]
    Keyring(#[from] CreateError),
    /// The checkpoint could not be signed or archived.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointRefusal),
    /// A start would be refused for the same reason.
    #[error(transparent)]
    Start(#[from] StartError),
}
