//! Argon2id verifiers of passwords and backup codes.
//!
//! The pepper is Argon2's secret input (RFC 9106 §3.1) and comes from the keyring, so a stolen log
//! with its data keys is still not enough to test guesses offline. Each verifier holds its
//! parameters and pepper id, so both can change while old verifiers keep working. Verifiers are
//! stored sealed.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::hash_memory::in_blocks;

/// The length of a salt, in bytes (RFC 9106 §3.1 recommends 16).
pub const SALT_BYTES: usize = 16;
/// The length of the hash, in bytes.
pub const HASH_BYTES: usize = 32;
/// The longest input that is hashed, in bytes; the contract's longest password has 256.
pub const INPUT_BYTES_MAX: usize = 1024;
/// The most memory that parameters may ask for, in KiB: 1 GiB.
pub const MEMORY_KIB_MAX: u32 = 1 << 20;
/// The most passes that parameters may ask for.
pub const PASSES_MAX: u32 = 64;
/// The most lanes that parameters may ask for; they are computed one after the other.
pub const LANES_MAX: u32 = 16;

const VERIFIER_VERSION: u8 = 1;

/// The cost of one Argon2id computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfParams {
    /// Memory in KiB: at least 8 for each lane, at most [`MEMORY_KIB_MAX`].
    pub memory_kib: u32,
    /// Passes over the memory: 1 to [`PASSES_MAX`].
    pub passes: u32,
    /// Lanes: 1 to [`LANES_MAX`].
    pub lanes: u32,
}

impl KdfParams {
    /// Returns whether any of its numbers is below the other's; a verifier with this cost is then
    /// due to be derived again.
    pub fn is_weaker_than(self, other: Self) -> bool {
        self.memory_kib < other.memory_kib || self.passes < other.passes || self.lanes < other.lanes
    }
}

impl Default for KdfParams {
    /// 19 MiB, two passes, one lane: OWASP's first choice for Argon2id.
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            lanes: 1,
        }
    }
}

/// The stored verifier of a password or a backup code.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Verifier {
    #[zeroize(skip)]
    params: KdfParams,
    pepper_id: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

/// The stored form of a [`Verifier`]; its fields in this order are the format.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct StoredVerifier {
    version: u8,
    #[zeroize(skip)]
    params: KdfParams,
    pepper_id: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

/// Why no verifier could be derived.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The input is longer than [`INPUT_BYTES_MAX`].
    #[error("the input is longer than {INPUT_BYTES_MAX} bytes: give a shorter one")]
    InputTooLong,
    /// The cost is outside the bounds of [`KdfParams`].
    #[error(
        "{0:?} is outside the bounds: memory 8 KiB a lane to {MEMORY_KIB_MAX} KiB, \
         1 to {PASSES_MAX} passes, 1 to {LANES_MAX} lanes"
    )]
    Params(KdfParams),
    /// The machine does not have enough free memory for this computation.
    #[error("{0} KiB of memory for one Argon2id computation are not free: try again")]
    OutOfMemory(u32),
}

/// Why stored bytes are not a verifier; the error says nothing about the bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedVerifier {
    /// The bytes have another shape, or there are too many of them.
    #[error("the stored verifier is damaged: its bytes do not decode")]
    Damaged,
    /// The verifier is of a version that this build does not know.
    #[error("the stored verifier has version {0}, this build reads {VERIFIER_VERSION}: upgrade")]
    UnknownVersion(u8),
    /// The cost is outside the bounds, so the verifier is refused.
    #[error("the stored verifier asks for {0:?}, which is outside the bounds: it is damaged")]
    Params(KdfParams),
}

/// Derives the verifier of a password or backup code; takes about 50 ms at the default cost.
///
/// `salt` must be random and new for each verifier; `pepper_id` names `pepper` in the keyring.
///
/// # Errors
/// [`DeriveError::InputTooLong`] over [`INPUT_BYTES_MAX`], [`DeriveError::Params`] for a cost
/// outside its bounds, or [`DeriveError::OutOfMemory`].
pub fn derive(
    input: &[u8],
    params: KdfParams,
    pepper_id: u32,
    pepper: &[u8],
    salt: [u8; SALT_BYTES],
) -> Result<Verifier, DeriveError> {
    let hash = argon2id(input, params, pepper, &salt)?;
    Ok(Verifier {
        params,
        pepper_id,
        salt,
        hash: *hash,
    })
}

/// Returns whether the input is the one behind the verifier; compares in constant time.
///
/// `pepper` must be the one that [`Verifier::pepper_id`] names. Returns false if the input is
/// longer than [`INPUT_BYTES_MAX`].
///
/// # Errors
/// [`DeriveError::OutOfMemory`], so that a lack of memory is not reported as a wrong password.
pub fn verify(input: &[u8], verifier: &Verifier, pepper: &[u8]) -> Result<bool, DeriveError> {
    match argon2id(input, verifier.params, pepper, &verifier.salt) {
        Ok(hash) => Ok(hash.ct_eq(&verifier.hash).into()),
        Err(DeriveError::InputTooLong) => Ok(false),
        Err(other) => Err(other),
    }
}

impl Verifier {
    /// Returns the id of the pepper that [`verify`] needs.
    pub fn pepper_id(&self) -> u32 {
        self.pepper_id
    }

    /// Returns the cost that it was derived at, to decide whether a stronger one is due.
    pub fn params(&self) -> KdfParams {
        self.params
    }

    /// Returns the salt.
    pub fn salt(&self) -> &[u8; SALT_BYTES] {
        &self.salt
    }

    /// Returns the stored form, which must be sealed.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let stored = StoredVerifier {
            version: VERIFIER_VERSION,
            params: self.params,
            pepper_id: self.pepper_id,
            salt: self.salt,
            hash: self.hash,
        };
        Zeroizing::new(postcard::to_stdvec(&stored).expect("a Vec takes every verifier"))
    }

    /// Decodes the stored form.
    ///
    /// # Errors
    /// [`MalformedVerifier`] if the bytes do not decode or do not end there, the version is
    /// unknown, or the cost is outside its bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedVerifier> {
        // The version is the first byte in every format, so a later format is still recognised.
        match bytes.first() {
            None => return Err(MalformedVerifier::Damaged),
            Some(&VERIFIER_VERSION) => {}
            Some(&other) => return Err(MalformedVerifier::UnknownVersion(other)),
        }
        let (stored, rest) = postcard::take_from_bytes::<StoredVerifier>(bytes)
            .map_err(|_| MalformedVerifier::Damaged)?;
        if !rest.is_empty() {
            return Err(MalformedVerifier::Damaged);
        }
        if !within_bounds(stored.params) {
            return Err(MalformedVerifier::Params(stored.params));
        }
        Ok(Self {
            params: stored.params,
            pepper_id: stored.pepper_id,
            salt: stored.salt,
            hash: stored.hash,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("params", &self.params)
            .field("pepper_id", &self.pepper_id)
            .finish_non_exhaustive()
    }
}

fn within_bounds(params: KdfParams) -> bool {
    (1..=LANES_MAX).contains(&params.lanes)
        && (1..=PASSES_MAX).contains(&params.passes)
        && (8 * params.lanes..=MEMORY_KIB_MAX).contains(&params.memory_kib)
}

fn argon2id(
    input: &[u8],
    params: KdfParams,
    pepper: &[u8],
    salt: &[u8; SALT_BYTES],
) -> Result<Zeroizing<[u8; HASH_BYTES]>, DeriveError> {
    if input.len() > INPUT_BYTES_MAX {
        return Err(DeriveError::InputTooLong);
    }
    if !within_bounds(params) {
        return Err(DeriveError::Params(params));
    }
    let cost = Params::new(
        params.memory_kib,
        params.passes,
        params.lanes,
        Some(HASH_BYTES),
    )
    .map_err(|_| DeriveError::Params(params))?;
    let argon2 = Argon2::new_with_secret(pepper, Algorithm::Argon2id, Version::V0x13, cost)
        .expect("a pepper is far shorter than 4 GiB");
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let count = argon2.params().block_count();
    let made = in_blocks(count, |blocks| {
        argon2.hash_password_into_with_memory(input, salt, hash.as_mut(), blocks)
    });
    match made.map_err(|_| DeriveError::OutOfMemory(params.memory_kib))? {
        Ok(()) => Ok(hash),
        Err(other) => unreachable!("bounds were checked before, yet Argon2 says: {other}"),
    }
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
