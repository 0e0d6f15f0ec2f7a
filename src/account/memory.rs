//! How much memory an account takes, for a cache that is bounded by it.

use super::Account;

/// The most memory that an open challenge takes, in bytes, caller and audience included.
pub(super) const CHALLENGE_BYTES_MAX: usize = 320;

impl Account {
    /// Estimates how much memory the account takes, in bytes, for a cache that is bounded by it.
    pub fn memory_bytes(&self) -> usize {
        let codes = self.on().map_or(0, |on| on.codes.unused.len());
        let variable = self.attempts.failed_at.len() * 16
            + self.challenges.len() * CHALLENGE_BYTES_MAX
            + self.passwords.memory_bytes()
            + self.clears.len() * 96
            + self.reset.as_ref().map_or(0, |_| 128)
            + codes;
        // The struct, the id and up to five sealed fields, of which the codes' is the largest.
        size_of::<Self>() + 64 + 5 * 128 + codes * 96 + variable
    }
}
