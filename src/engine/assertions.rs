//! The keys that sign assertions: the one in use, and what others verify with.

use countersign_schemas::reply::{Jwk, Jwks};
use countersign_schemas::time::Micros;

use super::Engine;
use crate::crypto::assertion::AssertionKey;
use crate::crypto::keyring::KeyState;

/// How long the key before a rotation is still shown, in seconds: longer than its last assertion
/// lives, and no longer, since a rotation may mean that somebody has a copy of it.
const SHOWN_AFTER_ROTATION_S: u64 = 300;

impl Engine {
    /// The hexadecimal id of the log's epoch.
    pub fn log_id(&self) -> String {
        data_encoding::HEXLOWER.encode(self.shared.vault.keyring().log_id())
    }

    /// The key that signs now.
    pub fn assertion_key(&self) -> AssertionKey {
        let keyring = self.shared.vault.keyring();
        let (_, seed) = keyring
            .assertion_seeds()
            .find(|(about, _)| about.state == KeyState::Active)
            .expect("a keyring without an active pepper is refused when read");
        AssertionKey::new(&seed)
    }

    /// The public keys that verify assertions, the one in use first (RFC 7517).
    pub fn jwks(&self) -> Jwks {
        let (keyring, now) = (self.shared.vault.keyring(), self.now());
        let is_active = |state| state == KeyState::Active;
        let mut keys: Vec<_> = keyring.assertion_seeds().collect();
        keys.sort_by_key(|(about, _)| (!is_active(about.state), std::cmp::Reverse(about.id)));
        let rotated_at = keys.first().map_or(0, |(about, _)| about.created_at_us);
        let shows_both = now < Micros(rotated_at).plus_s(SHOWN_AFTER_ROTATION_S);
        keys.truncate(if shows_both { 2 } else { 1 });
        Jwks {
            keys: keys
                .iter()
                .map(|(_, seed)| jwk(&AssertionKey::new(seed)))
                .collect(),
        }
    }
}

fn jwk(key: &AssertionKey) -> Jwk {
    Jwk {
        kty: "OKP".into(),
        crv: "Ed25519".into(),
        alg: "EdDSA".into(),
        usage: "sig".into(),
        kid: key.kid().into(),
        x: key.x().into(),
    }
}
