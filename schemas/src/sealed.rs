//! Values that a record holds only encrypted under a key.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use zeroize::Zeroizing;

/// Bytes under AES-256-GCM, readable only with one of the account's data keys.
///
/// `key` is the generation of the account's data key (1 for its first life), and `ciphertext` ends
/// with the 16-byte tag. The associated data is not stored: it is the value's place (stream,
/// version, event type, field), so a ciphertext that was moved elsewhere does not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed<'a> {
    /// The generation of the account's data key, from 1.
    pub key: u32,
    /// The random 96-bit nonce.
    pub nonce: [u8; 12],
    /// Ciphertext followed by the tag.
    pub ciphertext: Cow<'a, [u8]>,
}

/// A field of an event that is in clear only between the decision and its sealing.
///
/// The rules create it in clear, the writer seals it, and the log holds it sealed. Serialising a
/// clear field is an error, so no secret can reach a record by omission.
#[derive(Clone, PartialEq, Eq)]
pub enum Protected {
    /// The field as the rules created it; in memory only.
    Clear(Zeroizing<Vec<u8>>),
    /// The field as a record holds it.
    Sealed(Sealed<'static>),
}

impl Protected {
    /// Makes a clear field from bytes, which are wiped on drop.
    pub fn clear(bytes: &[u8]) -> Self {
        Self::Clear(Zeroizing::new(bytes.to_vec()))
    }
}

impl fmt::Debug for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(_) => f.write_str("Clear(…)"),
            Self::Sealed(sealed) => sealed.fmt(f),
        }
    }
}

impl Serialize for Protected {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Clear(_) => Err(ser::Error::custom("a clear field was about to be stored")),
            Self::Sealed(sealed) => sealed.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Protected {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Sealed::deserialize(d).map(Self::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_field_cannot_be_stored_or_shown() {
        let clear = Protected::clear(b"hunter2");
        assert!(postcard::to_allocvec(&clear).is_err());
        assert_eq!(format!("{clear:?}"), "Clear(…)");
    }
}
