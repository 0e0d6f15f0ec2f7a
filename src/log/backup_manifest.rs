//! The manifest of a folder of copies: of which log they are, up to which position, and when they
//! were taken.
//!
//! It is written first, so that an interrupted copy can be identified by its log, and again last,
//! so that everything it promises is there.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use countersign_schemas::audit::SignedCheckpoint;
use countersign_schemas::time::Micros;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::tree::{HASH_BYTES, Hash};
use crate::durable;

/// The manifest's name in a folder of copies.
pub const MANIFEST: &str = "backup.json";
/// The longest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024;

/// What a folder holds copies of; log and keys are kept in separate folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The log, in `log/`.
    Log,
    /// The data keys, `keys.redb`.
    Keys,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "the events",
            Self::Keys => "the data keys",
        })
    }
}

/// The manifest of a folder of copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the folder holds.
    pub holds: Part,
    /// The hexadecimal id of the log's first epoch, which no later epoch changes.
    pub log_id: String,
    /// The last position of the log's copy, or of the log that the keys belong to; 0 before the
    /// first copy is complete.
    pub position: u64,
    /// The root of the log's tree up to that position, in base64.
    pub root: String,
    /// When the copy was taken.
    pub at: Micros,
    /// A signed checkpoint of the log, at this position or an earlier one.
    pub checkpoint: Option<SignedCheckpoint>,
    /// The last position of the sealed segment that a backup read again and compared with the log;
    /// the next backup takes the following segment.
    #[serde(default)]
    pub read_through: u64,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file is not a manifest.
    #[error(
        "{path} does not name the log that its folder is a backup of ({reason}): name another folder, or restore that file from a copy"
    )]
    Damaged {
        /// The file's path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused.
    #[error(
        "{path} cannot be read ({source}): make its folder readable for the service, or name another folder"
    )]
    Io {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Manifest {
    /// Makes the manifest of a folder that has no complete copy yet.
    pub fn begun(holds: Part, log_id: String, at: Micros) -> Self {
        Self {
            holds,
            log_id,
            position: 0,
            root: String::new(),
            at,
            checkpoint: None,
            read_through: 0,
        }
    }

    /// Reads a folder's manifest; `None` if there is none.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] if the file is not a manifest, [`ManifestError::Io`] if it cannot
    /// be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, ManifestError> {
        let path = folder.join(MANIFEST);
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ManifestError::Io { path, source }),
            Ok(_) => {}
        }
        let damaged = |reason: String| ManifestError::Damaged {
            path: path.clone(),
            reason,
        };
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(damaged(format!("over {MANIFEST_BYTES_MAX} bytes")));
        }
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match manifest.position == 0 || manifest.root_hash().is_some() {
            true => Ok(Some(manifest)),
            false => Err(damaged("it names no root".into())),
        }
    }

    /// Writes the manifest into its folder, durably; after a crash the file is the old or the new
    /// one, complete.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        durable::replace(&folder.join(MANIFEST), (text + "\n").as_bytes())
    }

    /// Returns the root; `None` before the first copy is complete.
    pub fn root_hash(&self) -> Option<Hash> {
        let bytes = BASE64.decode(self.root.as_bytes()).ok()?;
        <[u8; HASH_BYTES]>::try_from(bytes).ok()
    }
}
