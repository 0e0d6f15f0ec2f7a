//! Evidence of the published stream against the log: an event that the stream has and the log does
//! not.
//!
//! The stream is a separate copy of what was published. If it has more than the log, or something
//! else, then unsigned events are lost, or data folder and keyring were both set back to an older
//! day. The broker may be away at the next start, so the evidence is kept in a file.

use std::io::{self};
use std::path::{Path, PathBuf};

use countersign_projections::audit_event;
use countersign_schemas::published::{Group, PublishedEvent};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::engine::entries::decode;
use crate::log::LogReader;

const FILE: &str = "stream-witness";

/// An event of the stream that the log does not have.
#[derive(Debug, Serialize, Deserialize)]
pub struct Witness {
    /// The hexadecimal id of the log in that stream.
    pub log_id: String,
    /// The first position that is lost.
    pub lost_from: u64,
    /// The event.
    pub event: PublishedEvent,
}

impl Witness {
    /// Writes the evidence durably beside the keyring, in place of an earlier one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write(&self, keyring_file: &Path) -> io::Result<()> {
        durable::replace(&path(keyring_file), &serde_json::to_vec(self)?)
    }
}

/// Whether the log has an event at its position.
///
/// # Errors
/// A sentence if the log cannot be read.
pub fn has(log: &LogReader, event: &PublishedEvent) -> Result<bool, String> {
    let Some(bytes) = log.get(event.position).map_err(|error| error.to_string())? else {
        return Ok(false);
    };
    let ours = audit_event(&decode(event.position, &bytes)?, None);
    let group = Group { index: 0, size: 1 };
    Ok(PublishedEvent::of(ours, group).is_same_event(event))
}

/// Returns the path of the evidence, beside the keyring.
pub fn path(keyring_file: &Path) -> PathBuf {
    keyring_file.with_file_name(FILE)
}
