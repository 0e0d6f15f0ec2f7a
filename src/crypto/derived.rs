//! Keys that say which rows of a derived file are the service's own.
//!
//! Index, views and snapshots are derived from the log, but decisions and answers rest on them. The
//! key of each comes from the keyring, so who can write the data folder alone cannot make a row.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Length of the tag over a row, in bytes.
pub const FILE_TAG_BYTES: usize = 16;

/// The key of one derived file.
#[derive(Clone)]
pub struct FileKey(Hmac<Sha256>);

impl FileKey {
    /// Takes a key that serves nothing else.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// Returns the tag over some parts: the first 16 bytes of HMAC-SHA-256.
    ///
    /// Each part counts with its length, so no two different lists of parts share their input.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; FILE_TAG_BYTES] {
        let mut mac = self.0.clone();
        for part in parts {
            // Seven bits of the length at a time: a row then fits one block of the hash.
            let mut length = part.len();
            while length > 0x7f {
                mac.update(&[0x80 | (length & 0x7f) as u8]);
                length >>= 7;
            }
            mac.update(&[length as u8]);
            mac.update(part);
        }
        let digest = mac.finalize().into_bytes();
        std::array::from_fn(|at| digest[at])
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_depends_on_the_key_and_on_where_each_part_ends() {
        let key = FileKey::new(&[1; 32]);
        let long = [7; 300];
        assert_eq!(key.tag(&[b"ab", b"c"]), key.clone().tag(&[b"ab", b"c"]));
        assert_ne!(key.tag(&[b"ab", b"c"]), key.tag(&[b"a", b"bc"]));
        assert_ne!(key.tag(&[b"abc"]), key.tag(&[b"abc", b""]));
        assert_ne!(key.tag(&[&long]), key.tag(&[&long[..299], &long[299..]]));
        assert_ne!(key.tag(&[b"abc"]), FileKey::new(&[2; 32]).tag(&[b"abc"]));
        assert_eq!(format!("{key:?}"), "FileKey(..)");
    }

    #[test]
    fn a_length_stands_before_its_part_seven_bits_at_a_time() {
        for (length, written) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (300, &[0xac, 0x02]),
            (16_384, &[0x80, 0x80, 0x01]),
        ] {
            let part = vec![7; length];
            let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
            mac.update(written);
            mac.update(&part);
            let expected = mac.finalize().into_bytes();
            assert_eq!(
                FileKey::new(&[1; 32]).tag(&[&part]),
                expected[..16],
                "{length}"
            );
        }
    }
}
