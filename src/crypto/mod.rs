//! The crypto room: one-time codes, password hashing, sealing, and the storage of keys.
//!
//! Time and randomness are arguments everywhere, so each function is a pure function of its inputs
//! except in [`keyring`], [`data_keys`], [`tag_keys`] and [`tombstones`], which own their files.
//! Secrets are wiped when dropped, redacted in `Debug`, and named in no error.

pub mod assertion;
pub mod backup_code;
pub mod data_keys;
pub mod derived;
pub mod key_file;
pub mod keyring;
pub mod note;
pub mod otp;
pub mod password;
pub mod seal;
pub mod stack;
pub mod tag;
pub mod tag_keys;
pub mod tombstones;

mod hash_memory;
mod key_marks;
mod key_store;
