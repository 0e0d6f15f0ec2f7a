//! Signing checkpoints of the log.

use crate::crypto::keyring::Keyring;
use crate::crypto::note::NoteSigner;
use crate::log::checkpoints::{Archive, CheckpointRefusal};
use crate::log::index::Index;

/// Returns the key that signs the checkpoints of the keyring's epoch.
pub fn signer(keyring: &Keyring) -> NoteSigner {
    NoteSigner::new(keyring.checkpoint_seed(), keyring.log_id())
}

/// Signs and archives a checkpoint of the present log; the note is durable beside the keyring.
///
/// # Errors
/// Those of [`Archive::sign`]; the note must not be reported then.
pub fn sign<'a>(archive: &'a mut Archive, index: &Index) -> Result<&'a str, CheckpointRefusal> {
    let (size, root) = index.tree_head()?;
    archive.sign(size, &root, |size| index.root_at(size))
}
