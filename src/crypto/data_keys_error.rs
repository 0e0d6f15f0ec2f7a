//! Why a request to the key store failed.

use std::io;
use std::path::PathBuf;

/// Why a request to the key store failed; no message contains a key.
#[derive(Debug, thiserror::Error)]
pub enum DataKeysError {
    /// There is no key store where one must be.
    #[error(
        "there is no key store at {0}: restore it from its backup, without it nothing sealed can be read"
    )]
    Missing(PathBuf),
    /// The path is a link or not a regular file.
    #[error(
        "the key store {0} is not a regular file: put the file itself there, since an erasure replaces the file and would leave the target of a link"
    )]
    NotAFile(PathBuf),
    /// Another process has it open.
    #[error("the key store {0} is open in another process: stop that process first")]
    InUse(PathBuf),
    /// The file is not a key store, or is damaged.
    #[error(
        "the key store {path} is damaged or is another file ({source}): restore it from its backup"
    )]
    Damaged {
        /// The file's path.
        path: PathBuf,
        /// The error of redb.
        source: Box<redb::Error>,
    },
    /// The file has no check values, so it was never finished or is another file.
    #[error("the key store {0} names no key-encryption key: restore it from its backup")]
    NoCheck(PathBuf),
    /// The store was made with key-encryption keys that the keyring does not have.
    #[error(
        "the key store {path} was not made with this keyring (key-encryption key {kek_id}): name the keyring that belongs to it"
    )]
    WrongKeyring {
        /// The file's path.
        path: PathBuf,
        /// The id of the missing or different key-encryption key.
        kek_id: u32,
    },
    /// One row does not unwrap, although the keyring is the right one.
    #[error("data key {generation} of one account does not unwrap: restore {path} from its backup")]
    DamagedKey {
        /// The file's path.
        path: PathBuf,
        /// The generation of the key.
        generation: u32,
    },
    /// A copy has a key, or knows of an erasure, that the store does not have.
    #[error(
        "the copy {0} has a data key, or knows of an erasure, that this key store does not have, or has only damaged: keep that copy, restore from it, or name another folder"
    )]
    CopyKnowsMore(PathBuf),
    /// There is a copy, and no keyring says whether the present store is as good.
    #[error(
        "only the keyring shows whether these keys are as good as the copy {0}: name it with --keyring, or name another folder"
    )]
    CopyNeedsKeyring(PathBuf),
    /// A copy is there and cannot be opened, so nothing says what would be lost with it.
    #[error(
        "the copy {path} is there and cannot be opened ({source}): close what has it open, or move it away if it is damaged, and take the backup again"
    )]
    CopyUnread {
        /// The file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The store says that keys were erased, and nothing proves it.
    #[error(
        "the key store {0} claims that keys of an account were erased, but no service with this keyring wrote that: restore it from its backup, and find out who could write to its folder"
    )]
    UnprovenErasure(PathBuf),
    /// The log's record of an erasure cannot be read.
    #[error("the log cannot be searched for an erasure: {0}")]
    Unread(String),
    /// More than [`STAGED_KEYS_MAX`] keys wait, or an account has had 2³²−1 keys.
    #[error("no more data keys can be staged: commit the staged ones first")]
    Full,
    /// Another key already has a staged key's name; nothing was written.
    #[error("a data key of this generation exists already in {0}: restart the service")]
    Conflict(PathBuf),
    /// The file could not be created or replaced.
    #[error("the key store {path} cannot be written: {source}")]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// redb failed while the store was open; the staged keys are not durable.
    #[error("the key store failed: {0}")]
    Storage(#[source] Box<redb::Error>),
}
