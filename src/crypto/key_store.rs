//! The tables of `keys.redb` and the form of a wrapped key.
//!
//! Row: `stream key ‖ generation (big-endian)` → `kek id (little-endian) ‖ nonce ‖ wrapped key`,
//! wrapped with associated data `stream key ‖ generation ‖ kek id` (little-endian), so that no row
//! can serve another account. Besides the rows, the store has one check value for each
//! key-encryption key in use, by which a wrong keyring is refused at open instead of at the first
//! login. It also has a mark with the last generation of each erased account (`key_marks`), so that
//! a second life never reuses the number of a destroyed key: the values of the first life read as
//! erased and not as altered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use countersign_schemas::sealed::Sealed;
use hmac::{Hmac, KeyInit, Mac};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyDatabase, ReadableDatabase,
    ReadableTable, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction,
};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::data_keys::DataKeysError;
use super::key_marks;
use super::keyring::Keyring;
use super::seal::{self, DataKey, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use crate::durable;

pub(super) const KEYS: TableDefinition<&Name, &Row> = TableDefinition::new("data_keys_v1");

const KEK_CHECKS: TableDefinition<u32, &KekCheck> = TableDefinition::new("kek_checks_v1");
const KEK_CHECK_LABEL: &[u8] = b"countersign keys.redb kek check v1\0";
const REDB_CACHE_BYTES: usize = 16 * 1024 * 1024;
const STREAM_KEY_BYTES: usize = 16;
const WRAPPED_AT: usize = 4 + NONCE_BYTES;

pub(super) type StreamKey = [u8; STREAM_KEY_BYTES];
pub(super) type Name = [u8; STREAM_KEY_BYTES + 4];
pub(super) type Row = [u8; WRAPPED_AT + KEY_BYTES + TAG_BYTES];
pub(super) type KekCheck = [u8; 32];

/// Makes a store at a path that nothing else uses, fills it, and returns it durable.
pub(super) fn create(
    path: &Path,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), DataKeysError>,
) -> Result<Database, DataKeysError> {
    let io_error = |source| DataKeysError::Io {
        path: path.to_owned(),
        source,
    };
    durable::remove_if_there(path).map_err(io_error)?;
    let file = durable::new_private(path).map_err(io_error)?;
    let store = builder().create_with_backend(FileBackend::new(file)?)?;
    let mut txn = store.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.open_table(KEYS)?;
    key_marks::make_table(&txn)?;
    fill(&txn)?;
    txn.commit()?;
    Ok(store)
}

/// Opens an existing store and reads every page's checksum.
pub(super) fn open(path: &Path) -> Result<Database, DataKeysError> {
    let opened = builder().set_check_integrity_on_open(true).open(path);
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => DataKeysError::InUse(path.to_owned()),
        other => damaged(path, other),
    })
}

/// Opens a copy of a store for reading only.
pub(super) fn open_copy(path: &Path) -> Result<ReadOnlyDatabase, DataKeysError> {
    let opened = builder().open_read_only(path);
    opened.map_err(|error| damaged(path, error))
}

/// Refuses a keyring that does not have every key-encryption key of the store.
pub(super) fn check_keyring(
    path: &Path,
    store: &impl ReadableDatabase,
    keyring: &Keyring,
) -> Result<(), DataKeysError> {
    let txn = store.begin_read()?;
    let checks = match txn.open_table(KEK_CHECKS) {
        Err(TableError::TableDoesNotExist(_)) => {
            return Err(DataKeysError::NoCheck(path.to_owned()));
        }
        other => other.map_err(|error| damaged(path, error))?,
    };
    txn.open_table(KEYS).map_err(|error| damaged(path, error))?;
    if checks.is_empty()? {
        return Err(DataKeysError::NoCheck(path.to_owned()));
    }
    for row in checks.iter()? {
        let (kek_id, check) = row?;
        let kek_id = kek_id.value();
        let same = keyring
            .kek(kek_id)
            .is_some_and(|kek| kek_check(kek_id, kek).ct_eq(check.value()).into());
        if !same {
            return Err(DataKeysError::WrongKeyring {
                path: path.to_owned(),
                kek_id,
            });
        }
    }
    Ok(())
}

/// Records the check value of the active key-encryption key.
pub(super) fn put_check(txn: &WriteTransaction, keyring: &Keyring) -> Result<(), DataKeysError> {
    let (kek_id, kek) = keyring.active_kek();
    txn.open_table(KEK_CHECKS)?
        .insert(kek_id, &kek_check(kek_id, kek))?;
    Ok(())
}

/// Accounts with the last generation of their keys to destroy.
pub(super) type Condemned = BTreeMap<StreamKey, u32>;

/// Returns whether a key is to be destroyed.
pub(super) fn is_condemned(condemned: &Condemned, name: &Name) -> bool {
    let through = condemned.get(&stream_key_of(name));
    through.is_some_and(|through| generation_of(name) <= *through)
}

/// Copies one store into another without the keys to destroy, which get no marks here. With
/// `renew`, every key is wrapped by that keyring's active key-encryption key.
pub(super) fn copy(
    condemned: &Condemned,
    renew: Option<&Keyring>,
    from: &Database,
    into: &WriteTransaction,
) -> Result<(), DataKeysError> {
    let from = from.begin_read()?;
    key_marks::copy(&from, into)?;
    let mut wrapped_by = BTreeSet::new();
    let mut keys = into.open_table(KEYS)?;
    for row in from.open_table(KEYS)?.iter()? {
        let (name, row) = row?;
        if is_condemned(condemned, name.value()) {
            continue;
        }
        let renewed = renew.and_then(|keyring| rewrap(keyring, name.value(), row.value()));
        let row = renewed.unwrap_or(*row.value());
        wrapped_by.insert(kek_id_of(&row));
        keys.insert(name.value(), &row)?;
    }
    let mut checks = into.open_table(KEK_CHECKS)?;
    for row in from.open_table(KEK_CHECKS)?.iter()? {
        let (kek_id, check) = row?;
        // A copy keeps all check values; a renewed store keeps only those whose key still wraps a
        // data key.
        if renew.is_none() || wrapped_by.contains(&kek_id.value()) {
            checks.insert(kek_id.value(), check.value())?;
        }
    }
    drop(checks);
    renew.map_or(Ok(()), |keyring| put_check(into, keyring))
}

/// Wraps a key by the active key-encryption key; `None` if it does not unwrap, which is reported
/// when its account needs it.
///
/// The nonce stays: it was drawn at random for this row, and no other row has it under either key.
fn rewrap(keyring: &Keyring, name: &Name, row: &Row) -> Option<Row> {
    let (kek_id, kek) = keyring.active_kek();
    if kek_id_of(row) == kek_id {
        return Some(*row);
    }
    let key = unwrap(keyring, name, row)?;
    let nonce = row[4..WRAPPED_AT].first_chunk::<NONCE_BYTES>()?;
    Some(wrap(kek_id, kek, name, *nonce, &key))
}

/// Returns the id of the key-encryption key that a row is wrapped by.
pub(super) fn kek_id_of(row: &Row) -> u32 {
    let bytes = row.first_chunk().expect("a row is longer than 4 bytes");
    u32::from_le_bytes(*bytes)
}

/// Counts the keys by the id of the key-encryption key that wraps them; reads the whole store. Each
/// key-encryption key that the store is checked by has a count, even if it is 0.
pub(super) fn counts(store: &impl ReadableDatabase) -> Result<BTreeMap<u32, u64>, DataKeysError> {
    let mut counts = BTreeMap::new();
    let txn = store.begin_read()?;
    for row in txn.open_table(KEK_CHECKS)?.iter()? {
        counts.insert(row?.0.value(), 0);
    }
    for row in txn.open_table(KEYS)?.iter()? {
        *counts.entry(kek_id_of(row?.1.value())).or_default() += 1;
    }
    Ok(counts)
}

/// Returns whether a key-encryption key other than the active one may wrap a data key.
pub(super) fn is_outdated(store: &Database, keyring: &Keyring) -> Result<bool, DataKeysError> {
    let (active, _) = keyring.active_kek();
    let checks = store.begin_read()?.open_table(KEK_CHECKS)?;
    for row in checks.iter()? {
        if row?.0.value() != active {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes further rows into a store, in one durable commit.
pub(super) fn add(
    store: &Database,
    keyring: &Keyring,
    rows: &[(Name, Row)],
) -> Result<(), DataKeysError> {
    let mut txn = store.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    {
        let mut keys = txn.open_table(KEYS)?;
        for (name, row) in rows {
            keys.insert(name, &rewrap(keyring, name, row).unwrap_or(*row))?;
        }
    }
    put_check(&txn, keyring)?;
    Ok(txn.commit()?)
}

/// Returns whether a store has an account's key of this generation.
pub(super) fn has(
    store: &impl ReadableDatabase,
    stream_key: &StreamKey,
    generation: u32,
) -> Result<bool, DataKeysError> {
    let keys = store.begin_read()?.open_table(KEYS)?;
    Ok(keys.get(&name_of(stream_key, generation))?.is_some())
}

/// Unwraps every key of a store.
pub(super) fn check_keys(
    path: &Path,
    store: &impl ReadableDatabase,
    keyring: &Keyring,
) -> Result<(), DataKeysError> {
    for row in store.begin_read()?.open_table(KEYS)?.iter()? {
        let (name, row) = row?;
        if unwrap(keyring, name.value(), row.value()).is_none() {
            return Err(DataKeysError::DamagedKey {
                path: path.to_owned(),
                generation: generation_of(name.value()),
            });
        }
    }
    Ok(())
}

/// Returns name and row of an account's newest durable key.
pub(super) fn newest(
    store: &Database,
    stream_key: &StreamKey,
) -> Result<Option<(Name, Row)>, DataKeysError> {
    let keys = store.begin_read()?.open_table(KEYS)?;
    let (first, last) = (name_of(stream_key, 0), name_of(stream_key, u32::MAX));
    let mut rows = keys.range::<&Name>(&first..=&last)?;
    match rows.next_back() {
        Some(row) => {
            let (name, row) = row?;
            Ok(Some((*name.value(), *row.value())))
        }
        None => Ok(None),
    }
}

/// Returns the name of a key, under which an account's keys are sorted by generation.
pub(super) fn name_of(stream_key: &StreamKey, generation: u32) -> Name {
    let mut name = [0; STREAM_KEY_BYTES + 4];
    name[..STREAM_KEY_BYTES].copy_from_slice(stream_key);
    name[STREAM_KEY_BYTES..].copy_from_slice(&generation.to_be_bytes());
    name
}

/// Returns the stream key in a name.
pub(super) fn stream_key_of(name: &Name) -> StreamKey {
    *name.first_chunk().expect("a name is longer than 16 bytes")
}

/// Returns the generation in a name.
pub(super) fn generation_of(name: &Name) -> u32 {
    let bytes = name.last_chunk().expect("a name is longer than 4 bytes");
    u32::from_be_bytes(*bytes)
}

/// Wraps a key for its row; the nonce must be random.
pub(super) fn wrap(
    kek_id: u32,
    kek: &DataKey,
    name: &Name,
    nonce: [u8; NONCE_BYTES],
    key: &DataKey,
) -> Row {
    let sealed = seal::seal(kek, kek_id, &aad(name, kek_id), nonce, key.as_bytes());
    let mut row = [0; WRAPPED_AT + KEY_BYTES + TAG_BYTES];
    row[..4].copy_from_slice(&kek_id.to_le_bytes());
    row[4..WRAPPED_AT].copy_from_slice(&nonce);
    row[WRAPPED_AT..].copy_from_slice(&sealed.ciphertext);
    row
}

/// Unwraps a row; `None` if it was altered, moved, or wrapped by an unknown key.
pub(super) fn unwrap(keyring: &Keyring, name: &Name, row: &Row) -> Option<DataKey> {
    let (kek_id, rest) = row.split_first_chunk::<4>()?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let kek_id = u32::from_le_bytes(*kek_id);
    let sealed = Sealed {
        key: kek_id,
        nonce: *nonce,
        ciphertext: ciphertext.into(),
    };
    let key = seal::open(keyring.kek(kek_id)?, &aad(name, kek_id), &sealed).ok()?;
    Some(DataKey::new(key.as_slice().try_into().ok()?))
}

fn aad(name: &Name, kek_id: u32) -> [u8; STREAM_KEY_BYTES + 8] {
    let mut aad = [0; STREAM_KEY_BYTES + 8];
    aad[..STREAM_KEY_BYTES].copy_from_slice(&name[..STREAM_KEY_BYTES]);
    aad[STREAM_KEY_BYTES..STREAM_KEY_BYTES + 4].copy_from_slice(&generation_of(name).to_le_bytes());
    aad[STREAM_KEY_BYTES + 4..].copy_from_slice(&kek_id.to_le_bytes());
    aad
}

#[cfg(test)]
pub(super) fn put_foreign_check(txn: &WriteTransaction, kek_id: u32) {
    let mut checks = txn.open_table(KEK_CHECKS).unwrap();
    checks.insert(kek_id, &[7; 32]).unwrap();
}

#[cfg(test)]
pub(super) fn forget_checks(txn: &WriteTransaction) {
    let checks = txn.open_table(KEK_CHECKS);
    checks
        .and_then(|mut checks| Ok(checks.retain(|_, _| false)?))
        .unwrap();
}

/// A keyed hash rather than a sealed constant: it needs no nonce and so cannot repeat one.
fn kek_check(kek_id: u32, kek: &DataKey) -> KekCheck {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(kek.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(KEK_CHECK_LABEL);
    mac.update(&kek_id.to_le_bytes());
    mac.finalize().into_bytes().into()
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(REDB_CACHE_BYTES);
    builder
}

fn damaged(path: &Path, error: impl Into<redb::Error>) -> DataKeysError {
    DataKeysError::Damaged {
        path: path.to_owned(),
        source: Box::new(error.into()),
    }
}
