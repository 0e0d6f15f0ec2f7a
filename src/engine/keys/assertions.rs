//! The keys that sign assertions: the one in use, and the public ones that verify them.

use countersign_schemas::reply::{Jwk, Jwks};
use countersign_schemas::time::Micros;
use zeroize::Zeroizing;

use crate::crypto::assertion::AssertionKey;
use crate::crypto::keyring::{KeyAbout, Keyring};
use crate::crypto::seal::KEY_BYTES;

/// How long a key from before a rotation is still shown, in seconds: longer than its last assertion
/// lives, and no longer, since a rotation may mean that the key was copied.
const SHOWN_AFTER_ROTATION_S: u64 = 300;

/// Returns the key that signs a login recorded at an instant: the newest one made before, so that a
/// repeat is signed with the same key after any rotation.
pub fn key_at(keyring: &Keyring, at: Micros) -> AssertionKey {
    AssertionKey::new(&signing(&seeds(keyring), at).1)
}

/// Returns the public keys that verify assertions, the one in use first (RFC 7517).
pub fn shown_keys(keyring: &Keyring, now: Micros) -> Jwks {
    let seeds = seeds(keyring);
    let shown = shown(&seeds, now).iter().rev();
    Jwks {
        keys: shown
            .map(|(_, seed)| jwk(&AssertionKey::new(seed)))
            .collect(),
    }
}

/// Returns the seeds, oldest first.
fn seeds(keyring: &Keyring) -> Vec<Seed> {
    let mut seeds: Vec<_> = keyring.assertion_seeds().collect();
    seeds.sort_by_key(|(about, _)| about.id);
    seeds
}

/// A key's number and age, and its seed.
type Seed = (KeyAbout, Zeroizing<[u8; KEY_BYTES]>);

/// Returns the newest key made before an instant, or the first one if the clock stood still.
fn signing(seeds: &[Seed], at: Micros) -> &Seed {
    let newest = seeds.iter().rfind(|(about, _)| about.created_at_us < at.0);
    let found = newest.or(seeds.first());
    found.expect("a keyring without an active pepper is refused when read")
}

/// Returns the keys that are shown, oldest first: the newest, and those whose successor is young.
fn shown(seeds: &[Seed], now: Micros) -> &[Seed] {
    let is_young =
        |(about, _): &Seed| now < Micros(about.created_at_us).plus_s(SHOWN_AFTER_ROTATION_S);
    let oldest = seeds.len().saturating_sub(1);
    let first = (0..oldest).find(|at| is_young(&seeds[at + 1]));
    &seeds[first.unwrap_or(oldest)..]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keyring::KeyState;

    const MADE: Micros = Micros(1_795_000_000_000_000);

    /// Makes keys this many seconds after the first.
    fn seeds(made_s: &[u64]) -> Vec<Seed> {
        let about = |(at, after)| KeyAbout {
            id: at,
            state: KeyState::Active,
            created_at_us: MADE.plus_s(after).0,
        };
        let ids = (1..).zip(made_s.iter().copied());
        ids.map(|made| (about(made), Zeroizing::new([0; KEY_BYTES])))
            .collect()
    }

    #[test]
    fn a_login_is_signed_by_the_newest_key_from_before_it_whatever_came_later() {
        for keys in [seeds(&[0]), seeds(&[0, 10]), seeds(&[0, 10, 11])] {
            for at in [0, 1, 10] {
                assert_eq!(signing(&keys, MADE.plus_s(at)).0.id, 1);
            }
        }
        let keys = seeds(&[0, 10, 11]);
        assert_eq!(signing(&keys, MADE.plus_s(11)).0.id, 2);
        assert_eq!(signing(&keys, MADE.plus_s(12)).0.id, 3);
    }

    #[test]
    fn a_new_installation_shows_its_one_key() {
        let fixture = crate::engine::tests::fixture::Fixture::new();
        let keyring = Keyring::load(&fixture.keyring()).unwrap();
        let shown = shown_keys(&keyring, fixture.time());
        assert_eq!(shown.keys.len(), 1);
    }

    #[test]
    fn every_key_is_shown_until_its_successor_is_five_minutes_old() {
        let keys = seeds(&[0, 1_000, 1_001]);
        let ids = |at| -> Vec<_> {
            let shown = shown(&keys, MADE.plus_s(at)).iter();
            shown.map(|(about, _)| about.id).collect()
        };
        assert_eq!(ids(1_299), [1, 2, 3], "two rotations in a row hide nothing");
        assert_eq!(ids(1_300), [2, 3]);
        assert_eq!(ids(1_301), [3]);
    }
}
