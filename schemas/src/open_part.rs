//! The part of a request that is not secret: it identifies a repeat once the secrets are forgotten.
//!
//! Each type decides what it shows. A secret shows nothing of its value, so a tag over the open
//! part cannot be used to test a password or a code. The `request!` macro asks every field of a
//! command, so a field whose type does not implement this trait does not compile.

use crate::code::Code;
use crate::command::{PasswordProof, Proof};
use crate::ids::ChallengeId;
use crate::secret::SecretText;
use crate::support::Lost;

/// Shows the open part of a value.
pub trait OpenPart {
    /// Appends the open part. Two values whose open parts differ append different bytes, and
    /// neither is a prefix of the other.
    fn show(&self, out: &mut Vec<u8>);
}

impl<T: OpenPart> OpenPart for Option<T> {
    fn show(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.show(out);
        }
    }
}

impl OpenPart for SecretText {
    fn show(&self, _: &mut Vec<u8>) {}
}

impl OpenPart for Code {
    fn show(&self, _: &mut Vec<u8>) {}
}

impl OpenPart for Proof {
    fn show(&self, out: &mut Vec<u8>) {
        let Self {
            password,
            code,
            next_code,
        } = self;
        password.show(out);
        code.show(out);
        next_code.show(out);
    }
}

impl OpenPart for PasswordProof {
    fn show(&self, out: &mut Vec<u8>) {
        let Self { password } = self;
        password.show(out);
    }
}

impl OpenPart for ChallengeId {
    /// As its hash, which the log holds too.
    fn show(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash());
    }
}

impl OpenPart for Lost {
    fn show(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::App => 1,
            Self::BackupCodes => 2,
            Self::Both => 3,
        });
    }
}

/// Appends a text with its length before it.
pub(crate) fn show_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
#[path = "open_part_tests.rs"]
mod tests;
