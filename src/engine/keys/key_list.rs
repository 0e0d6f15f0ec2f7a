//! The public facts about the keys: numbers, states, ages and uses, never a key.

use std::collections::BTreeMap;

use countersign_schemas::admin::{KeyEntry, KeyKind, KeyList, KeyState};
use countersign_schemas::time::Micros;
use data_encoding::HEXLOWER;

use crate::crypto::keyring;
use crate::crypto::keyring::{KeyAbout, Keyring};
use crate::engine::keys::checkpoints::signer;

// BUG: peppers-stay: no list knows which verifier uses which pepper, so none is removed.
/// Lists a keyring's keys; `counts` has the number of data keys that each key-encryption key wraps,
/// if it is known.
pub fn key_list(keyring: &Keyring, counts: Option<&BTreeMap<u32, u64>>) -> KeyList {
    let wraps = |about: &KeyAbout| counts.map(|counts| counts.get(&about.id).copied().unwrap_or(0));
    let keks = keyring
        .keks()
        .map(|about| entry(KeyKind::KeyEncryption, about, wraps(&about)));
    let peppers = keyring
        .peppers()
        .map(|about| entry(KeyKind::Pepper, about, None));
    KeyList {
        log_id: HEXLOWER.encode(keyring.log_id()),
        vkey: signer(keyring).public().vkey(),
        keys: keks.chain(peppers).collect(),
    }
}

fn entry(kind: KeyKind, about: KeyAbout, seals: Option<u64>) -> KeyEntry {
    KeyEntry {
        kind,
        key_id: about.id,
        state: match about.state {
            keyring::KeyState::Active => KeyState::Active,
            keyring::KeyState::Retired => KeyState::Retired,
        },
        created_at: Micros(about.created_at_us),
        seals,
    }
}
