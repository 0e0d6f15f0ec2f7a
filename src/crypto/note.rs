//! Signed checkpoints: the state of the log at some size, in a form that public tools can check.
//!
//! A checkpoint is a text of three lines, origin, size and root (c2sp.org/tlog-checkpoint), signed
//! with Ed25519 as a note (c2sp.org/signed-note). The origin is also the name of the key, so that
//! the checkpoint of one log, or of one epoch of a log, cannot pass for that of another.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::keyring::LOG_ID_BYTES;
use super::seal::KEY_BYTES;

/// The longest note that is read, in bytes: 16 post-quantum signatures fit, as the specification
/// demands.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
/// The longest verifier key that is read, in bytes.
pub const VKEY_BYTES_MAX: usize = 1024;

const ORIGIN_PREFIX: &str = "countersign.example/";
const SIGNATURE_PREFIX: &str = "\u{2014} ";
const ED25519: u8 = 0x01;
const ROOT_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;

/// Returns a log's name in its checkpoints: `countersign.example/` and the log id in lower-case
/// hex.
///
/// Each epoch has its own log id and so its own origin.
pub fn origin(log_id: &[u8; LOG_ID_BYTES]) -> String {
    format!("{ORIGIN_PREFIX}{}", HEXLOWER.encode(log_id))
}

/// An earlier state of a log: its first `size` records have this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, see [`origin`].
    pub origin: String,
    /// How many records it covers, which is the position of the last one.
    pub size: u64,
    /// The root of their Merkle tree (RFC 6962 §2.1).
    pub root: [u8; ROOT_BYTES],
}

/// Why a text is not a valid note, key or checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text is over [`NOTE_BYTES_MAX`] or [`VKEY_BYTES_MAX`].
    #[error("it is too long: name the right file")]
    TooLong,
    /// The text does not have the form of a signed note.
    #[error("it is not a signed note ({0}): name the right file, or take a new copy")]
    Note(&'static str),
    /// The text does not have the form of a verifier key.
    #[error("it is not a verifier key ({0}): take it from `countersign keys list`")]
    Vkey(&'static str),
    /// The signed text does not have the form of a checkpoint.
    #[error("it is not a checkpoint of such a log ({0}): name the right file")]
    Checkpoint(&'static str),
    /// None of the signatures was made with the expected key.
    #[error(
        "no signature on it was made with this log's key: it belongs to another log, or to another epoch of this one"
    )]
    OtherKey,
    /// A signature names the key but was not made with it.
    #[error("its signature is wrong, so it was altered or forged: do not rely on it")]
    WrongSignature,
}

/// The key that signs a log's checkpoints; its `Debug` shows only the public half.
pub struct NoteSigner {
    key: SigningKey,
    public: NoteKey,
}

impl NoteSigner {
    /// Makes the key from the keyring's checkpoint seed (RFC 8032 §5.1.5) and the log's id.
    pub fn new(seed: &[u8; KEY_BYTES], log_id: &[u8; LOG_ID_BYTES]) -> Self {
        Self::named(seed, origin(log_id))
    }

    fn named(seed: &[u8; KEY_BYTES], name: String) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = NoteKey {
            id: key_id(&name, &key.verifying_key()),
            key: key.verifying_key(),
            name,
        };
        Self { key, public }
    }

    /// Returns the public half.
    pub fn public(&self) -> &NoteKey {
        &self.public
    }

    /// Signs the checkpoint of this log at a size and returns the note.
    ///
    /// The caller must make sure that no earlier note contradicts this one.
    pub fn sign(&self, size: u64, root: &[u8; ROOT_BYTES]) -> String {
        let checkpoint = Checkpoint {
            origin: self.public.name.clone(),
            size,
            root: *root,
        };
        self.sign_text(&checkpoint.text())
    }

    fn sign_text(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes());
        let blob = [&self.public.id[..], &signature.to_bytes()].concat();
        let blob = BASE64.encode(&blob);
        format!("{text}\n{SIGNATURE_PREFIX}{} {blob}\n", self.public.name)
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NoteSigner").field(&self.public).finish()
    }
}

/// The public key that verifies a log's checkpoints.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    id: [u8; KEY_ID_BYTES],
    key: VerifyingKey,
}

impl NoteKey {
    /// Parses a verifier key: `name+id+base64(0x01 ‖ public key)`, the id in lower-case hex.
    ///
    /// # Errors
    /// [`NoteError::TooLong`]; [`NoteError::Vkey`] if any part is not in its one spelling, the id
    /// does not belong to the key, or the key would accept one signature for many texts.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        if vkey.len() > VKEY_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Vkey("it does not have three parts"));
        };
        if !is_name(name) {
            return Err(NoteError::Vkey("its name is empty or has a space"));
        }
        let key = BASE64.decode(key.as_bytes());
        let key = key.map_err(|_| NoteError::Vkey("its key is not base64"))?;
        let Some((&ED25519, key)) = key.split_first() else {
            return Err(NoteError::Vkey("its key is not of type Ed25519"));
        };
        let key: &[u8; KEY_BYTES] = key
            .try_into()
            .map_err(|_| NoteError::Vkey("its key is not 32 bytes long"))?;
        let key = VerifyingKey::from_bytes(key).ok().filter(|k| !k.is_weak());
        let key = key.ok_or(NoteError::Vkey("its key is not a safe point"))?;
        if id != HEXLOWER.encode(&key_id(name, &key)) {
            return Err(NoteError::Vkey("its id is not that of its key"));
        }
        Ok(Self {
            name: name.to_owned(),
            id: key_id(name, &key),
            key,
        })
    }

    /// Returns the text form that [`NoteKey::parse`] reads, for everyone who verifies.
    pub fn vkey(&self) -> String {
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        let id = HEXLOWER.encode(&self.id);
        format!("{}+{id}+{}", self.name, BASE64.encode(&key))
    }

    /// Returns the same key under the name that a log had in another of its epochs.
    pub fn renamed(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: key_id(name, &self.key),
            key: self.key,
        }
    }

    /// Returns the key's name, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the signed text of a note, including its last newline.
    ///
    /// Signatures by other keys are witnesses' and are skipped, as the specification demands. Each
    /// signature that has this key's name and id must be valid, and there must be one.
    ///
    /// # Errors
    /// [`NoteError::TooLong`], `Note` if the text is not a note, `OtherKey` without a signature by
    /// this key, and `WrongSignature` if one of them is invalid.
    ///
    /// Source: c2sp.org/signed-note.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut found = false;
        for line in signatures.split_terminator('\n') {
            let (name, blob) = signature(line)?;
            let (id, signature) = blob
                .split_first_chunk::<KEY_ID_BYTES>()
                .ok_or(NoteError::Note("a signature is too short"))?;
            if name != self.name || *id != self.id {
                continue;
            }
            let signature = Signature::from_slice(signature);
            let signature = signature.map_err(|_| NoteError::WrongSignature)?;
            self.key
                .verify_strict(text.as_bytes(), &signature)
                .map_err(|_| NoteError::WrongSignature)?;
            found = true;
        }
        if found {
            Ok(text)
        } else {
            Err(NoteError::OtherKey)
        }
    }

    /// Reads a signed checkpoint of the log that this key belongs to.
    ///
    /// # Errors
    /// The same as [`NoteKey::open`]; [`NoteError::Checkpoint`] if the text is not a checkpoint, or
    /// has another origin.
    pub fn open_checkpoint(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::parse(self.open(note)?)?;
        if checkpoint.origin != self.name {
            return Err(NoteError::Checkpoint("its origin is not the key's name"));
        }
        Ok(checkpoint)
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NoteKey").field(&self.vkey()).finish()
    }
}

impl Checkpoint {
    /// Returns the text that is signed: origin, size and root in base64, one per line.
    pub fn text(&self) -> String {
        let root = BASE64.encode(&self.root);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Parses the text of a checkpoint, without extension lines: this service never writes any.
    ///
    /// The checkpoint is not trusted until its signature is checked: [`NoteKey::open_checkpoint`].
    ///
    /// # Errors
    /// [`NoteError::Checkpoint`] if the text is not exactly what [`Checkpoint::text`] writes.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Checkpoint("it does not have three lines"));
        };
        let size = size.parse();
        let size = size.map_err(|_| NoteError::Checkpoint("its size is not a number"))?;
        let root = BASE64.decode(root.as_bytes()).ok();
        let root = root.and_then(|root| root.try_into().ok());
        let root = root.ok_or(NoteError::Checkpoint("its root is not a hash"))?;
        let origin = origin.to_owned();
        let checkpoint = Self { origin, size, root };
        if checkpoint.origin.is_empty() || checkpoint.text() != text {
            return Err(NoteError::Checkpoint("it is not in its one spelling"));
        }
        Ok(checkpoint)
    }
}

/// Splits a note at its last empty line; the text keeps its newline.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLong);
    }
    if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Note("it has control characters"));
    }
    let at = note
        .rfind("\n\n")
        .ok_or(NoteError::Note("it is unsigned"))?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    if !signatures.ends_with('\n') {
        return Err(NoteError::Note("it does not end with a whole line"));
    }
    Ok((text, signatures))
}

/// Parses one signature line into the key's name, and key id and signature.
fn signature(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let named = line.strip_prefix(SIGNATURE_PREFIX);
    let (name, blob) = named
        .and_then(|named| named.split_once(' '))
        .filter(|(name, _)| is_name(name))
        .ok_or(NoteError::Note("a signature line has another form"))?;
    let blob = BASE64.decode(blob.as_bytes());
    let blob = blob.map_err(|_| NoteError::Note("a signature is not base64"))?;
    Ok((name, blob))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// Returns the first bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key).
fn key_id(name: &str, key: &VerifyingKey) -> [u8; KEY_ID_BYTES] {
    let mut sha = Sha256::new();
    sha.update(name.as_bytes());
    sha.update([b'\n', ED25519]);
    sha.update(key.as_bytes());
    let digest: [u8; 32] = sha.finalize().into();
    *digest
        .first_chunk()
        .expect("a digest is longer than 4 bytes")
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
