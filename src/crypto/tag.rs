//! Keyed hashes: HMAC-SHA-256 (RFC 2104) over a list of parts, and the keys derived by it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::seal::KEY_BYTES;

/// The length of a tag, in bytes.
pub const TAG_BYTES: usize = 16;

/// Returns the tag of a list of parts.
///
/// Each part is hashed with its length, so no two different lists of parts share their input.
pub fn tag(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    let mut mac = hmac(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    std::array::from_fn(|at| digest[at])
}

/// Returns the key that a label derives from a key; it reveals nothing about the original key.
pub fn derived_key(key: &[u8; KEY_BYTES], label: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut mac = hmac(key);
    mac.update(label);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn hmac(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    /// Expected values from Python's hmac over `len(part)` as eight little-endian bytes, then the
    /// part; and over the label alone.
    #[test]
    fn tags_and_derived_keys_are_pinned() {
        assert_eq!(
            HEXLOWER.encode(&tag(&[5; KEY_BYTES], &[b"a", b"", b"bc"])),
            "05c923c36d2b6672dfcb639e0c3480ee"
        );
        assert_eq!(
            HEXLOWER.encode(&*derived_key(&[5; KEY_BYTES], b"a label")),
            "ec0768b85efb16e6332be5da8ddd21b2dff5cd75b017c9774a1222215189beb6"
        );
    }

    proptest! {
        #[test]
        fn no_two_lists_of_parts_share_a_tag(
            first in prop::collection::vec(prop::collection::vec(0u8..2, 0..4), 0..4),
            second in prop::collection::vec(prop::collection::vec(0u8..2, 0..4), 0..4),
        ) {
            let of = |list: &[Vec<u8>]| {
                tag(&[5; KEY_BYTES], &list.iter().map(Vec::as_slice).collect::<Vec<_>>())
            };
            prop_assert_eq!(of(&first) == of(&second), first == second);
        }
    }
}
