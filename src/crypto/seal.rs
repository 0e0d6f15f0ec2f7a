//! Sealing values under an account's data key: AES-256-GCM bound to where the value stands.
//!
//! A data key seals few values, so random 96-bit nonces stay far below the 2³² uses that NIST
//! SP 800-38D §8.3 allows for one key.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key};
use countersign_schemas::record::SALT_BYTES;
use countersign_schemas::sealed::Sealed;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a nonce in bytes.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds to a value.
pub const TAG_BYTES: usize = 16;
/// What the input of a salt begins with, so that nothing else that a data key makes is one.
const SALT_LABEL: &[u8] = b"countersign source salt v1";
/// Length of [`Place::aad`] in bytes.
pub const AAD_BYTES: usize = 24;

/// A 256-bit key that seals values.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; KEY_BYTES]);

impl DataKey {
    /// Makes a key of 32 bytes that must come from the operating system's generator.
    pub fn new(entropy: [u8; KEY_BYTES]) -> Self {
        Self(entropy)
    }

    /// Derives the salt of what is sealed at a place: it cannot be guessed, and is gone with the
    /// key.
    pub fn salt(&self, place: &Place) -> [u8; SALT_BYTES] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(SALT_LABEL);
        mac.update(&place.aad());
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&mac.finalize().into_bytes()[..SALT_BYTES]);
        salt
    }

    /// Returns the bytes, to be wrapped or to derive a key from, and for nothing else.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// Where a sealed value stands; one elsewhere has other associated data and does not open there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Key of the account's stream.
    pub stream_key: [u8; 16],
    /// Version of the stream at which the event stands.
    pub version: u32,
    /// Number of the event type.
    pub event_type: u16,
    /// Number of the field within the event.
    pub field: u16,
}

impl Place {
    /// Returns the associated data: the four fields in this order, little-endian, fixed lengths.
    pub fn aad(&self) -> [u8; AAD_BYTES] {
        let mut aad = [0; AAD_BYTES];
        aad[..16].copy_from_slice(&self.stream_key);
        aad[16..20].copy_from_slice(&self.version.to_le_bytes());
        aad[20..22].copy_from_slice(&self.event_type.to_le_bytes());
        aad[22..].copy_from_slice(&self.field.to_le_bytes());
        aad
    }
}

/// The sealed value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open: another key or place made it, or it was altered")]
pub struct OpenError;

/// Seals a value; `generation` names the key within its account and `nonce` must be random.
pub fn seal(
    key: &DataKey,
    generation: u32,
    aad: &[u8],
    nonce: [u8; NONCE_BYTES],
    plaintext: &[u8],
) -> Sealed<'static> {
    let ciphertext = cipher(key)
        .encrypt(
            &nonce.into(),
            Payload {
                msg: plaintext,
                aad,
            },
        )
        .expect("a value is far shorter than AES-GCM's 64 GiB");
    Sealed {
        key: generation,
        nonce,
        ciphertext: ciphertext.into(),
    }
}

/// Opens a sealed value.
///
/// # Errors
/// [`OpenError`] where key, associated data, nonce or ciphertext is not the one it was sealed with.
pub fn open(key: &DataKey, aad: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let payload = Payload {
        msg: &sealed.ciphertext,
        aad,
    };
    cipher(key)
        .decrypt(&sealed.nonce.into(), payload)
        .map(Zeroizing::new)
        .map_err(|_| OpenError)
}

fn cipher(key: &DataKey) -> Aes256Gcm {
    Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&key.0))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place = Place {
        stream_key: [0xa1; 16],
        version: 7,
        event_type: 12,
        field: 2,
    };

    fn key() -> DataKey {
        DataKey::new([3; KEY_BYTES])
    }

    fn sealed() -> Sealed<'static> {
        seal(&key(), 1, &PLACE.aad(), [9; NONCE_BYTES], b"the secret")
    }

    /// Test case 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega), Appendix B.
    #[test]
    fn the_published_test_vector_comes_out() {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let key = DataKey::new(
            hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
                .try_into()
                .unwrap(),
        );
        let nonce = hex("cafebabefacedbaddecaf888").try_into().unwrap();
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plaintext = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let sealed = seal(&key, 4, &aad, nonce, &plaintext);
        assert_eq!(
            HEXLOWER.encode(&sealed.ciphertext),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b"
        );
        assert_eq!((sealed.key, sealed.nonce), (4, nonce));
        assert_eq!(*open(&key, &aad, &sealed).unwrap(), plaintext);
    }

    #[test]
    fn associated_data_is_the_place_in_little_endian() {
        let place = Place {
            stream_key: std::array::from_fn(|at| at as u8),
            version: 0x0403_0201,
            event_type: 0x0605,
            field: 0x0807,
        };
        let hex = HEXLOWER.encode(&place.aad());
        assert_eq!(hex, "000102030405060708090a0b0c0d0e0f0102030405060708");
    }

    #[test]
    fn a_value_opens_at_its_own_place() {
        assert_eq!(
            **open(&key(), &PLACE.aad(), &sealed()).unwrap(),
            *b"the secret"
        );
    }

    fn opens_at(place: Place) -> bool {
        open(&key(), &place.aad(), &sealed()).is_ok()
    }

    #[test]
    fn a_value_moved_to_another_account_does_not_open() {
        let mut stream_key = PLACE.stream_key;
        stream_key[15] ^= 1;
        assert!(!opens_at(Place {
            stream_key,
            ..PLACE
        }));
    }

    #[test]
    fn a_value_moved_to_another_version_does_not_open() {
        assert!(!opens_at(Place {
            version: 8,
            ..PLACE
        }));
    }

    #[test]
    fn a_value_moved_to_another_event_type_does_not_open() {
        assert!(!opens_at(Place {
            event_type: 13,
            ..PLACE
        }));
    }

    #[test]
    fn a_value_moved_to_another_field_does_not_open() {
        assert!(!opens_at(Place { field: 3, ..PLACE }));
    }

    #[test]
    fn another_key_does_not_open_it() {
        let other = DataKey::new([4; KEY_BYTES]);
        assert_eq!(open(&other, &PLACE.aad(), &sealed()), Err(OpenError));
    }

    #[test]
    fn one_altered_or_missing_byte_is_detected() {
        let aad = PLACE.aad();
        for at in 0..sealed().ciphertext.len() {
            let mut altered = sealed();
            altered.ciphertext.to_mut()[at] ^= 0x80;
            assert_eq!(open(&key(), &aad, &altered), Err(OpenError));
            altered.ciphertext.to_mut().truncate(at);
            assert_eq!(open(&key(), &aad, &altered), Err(OpenError));
        }
        let mut altered = sealed();
        altered.nonce[0] ^= 1;
        assert_eq!(open(&key(), &aad, &altered), Err(OpenError));
    }

    #[test]
    fn a_salt_is_that_of_its_key_and_place_alone() {
        let salt = key().salt(&PLACE);
        assert_eq!(salt, key().salt(&PLACE));
        assert_ne!(salt, DataKey::new([4; KEY_BYTES]).salt(&PLACE));
        for elsewhere in [
            Place {
                version: 8,
                ..PLACE
            },
            Place { field: 8, ..PLACE },
            Place {
                event_type: 8,
                ..PLACE
            },
            Place {
                stream_key: [8; 16],
                ..PLACE
            },
        ] {
            assert_ne!(salt, key().salt(&elsewhere), "{elsewhere:?}");
        }
        // Nothing of it is a constant that the key does not reach.
        let others: Vec<_> = (10..80)
            .map(|byte| DataKey::new([byte; 32]).salt(&PLACE))
            .collect();
        for at in 0..SALT_BYTES {
            assert!(others.iter().any(|other| other[at] != salt[at]), "{at}");
        }
    }

    #[test]
    fn no_key_stands_in_debug_output() {
        assert_eq!(format!("{:?}", key()), "DataKey(…)");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_to_the_same_bytes(
            entropy: [u8; KEY_BYTES],
            nonce: [u8; NONCE_BYTES],
            plaintext in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let key = DataKey::new(entropy);
            let sealed = seal(&key, 1, &PLACE.aad(), nonce, &plaintext);
            prop_assert_eq!(sealed.ciphertext.len(), plaintext.len() + TAG_BYTES);
            prop_assert_eq!(&*open(&key, &PLACE.aad(), &sealed).unwrap(), &plaintext);
        }
    }
}
