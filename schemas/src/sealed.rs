//! How a sealed value stands in a record: which data key, which nonce, which bytes.

use serde::{Deserialize, Serialize};

/// Bytes under AES-256-GCM, readable only with one of the account's data keys.
///
/// `key` is the generation of the account's data key (1 for its first life), `ciphertext` ends
/// with the 16-byte tag. The associated data is not stored: it is where the value stands
/// (stream, version, event type, field), so a ciphertext moved elsewhere does not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Generation of the account's data key, from 1.
    pub key: u32,
    /// The random 96-bit nonce.
    pub nonce: [u8; 12],
    /// Ciphertext followed by the tag.
    pub ciphertext: Vec<u8>,
}
