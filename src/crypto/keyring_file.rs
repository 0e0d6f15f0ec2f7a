//! The text of a keyring file: TOML of a fixed shape, and a check over every byte before it.

use std::fmt::Write;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KEY_BYTES, KeyAbout, KeyState, Keyring, LOG_ID_BYTES, LoadError};
use crate::crypto::seal::DataKey;

const FORMAT: &str = "1";
const FORMAT_PREFIX: &str = "format = ";
pub(super) const CHECK_HEADER: &str = "\n[check]\n";
pub(super) const CHECK_PREFIX: &str = "sha256 = \"";
pub(super) const CHECK_SUFFIX: &str = "\"\n";
const CHECK_HEX_CHARS: usize = 64;
const CHECK_LINE_BYTES: usize = CHECK_PREFIX.len() + CHECK_HEX_CHARS + CHECK_SUFFIX.len();
const TAKES_ALL: &str = "a String takes every write";
const NOTICE: &str = "\
# The Countersign keyring: whoever has this file and the data folder can read every secret.
# Keep a copy offline and apart from the data. Do not edit it: the check at the end covers
# every byte before it.
";

/// Parses the text of a keyring file.
///
/// # Errors
/// [`LoadError::UnknownVersion`] for another format, `Truncated` without a check, `Damaged` for
/// another shape and `WrongCheck` if the check does not match.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Keyring, LoadError> {
    let damaged = |what| LoadError::Damaged {
        path: path.to_owned(),
        what,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    // The version line comes first: a later format may end differently.
    let version = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .find_map(|line| line.strip_prefix(FORMAT_PREFIX));
    if version.is_some_and(|version| version != FORMAT) {
        return Err(LoadError::UnknownVersion(path.to_owned()));
    }
    let (body, check_line) = text
        .rsplit_once(CHECK_HEADER)
        .ok_or_else(|| LoadError::Truncated(path.to_owned()))?;
    if check_line.len() < CHECK_LINE_BYTES {
        return Err(LoadError::Truncated(path.to_owned()));
    }
    let check = check_line
        .strip_prefix(CHECK_PREFIX)
        .and_then(|rest| rest.strip_suffix(CHECK_SUFFIX))
        .filter(|check| check.len() == CHECK_HEX_CHARS)
        .ok_or_else(|| damaged("its check line has another form"))?;
    if check != check_of(body) {
        return Err(LoadError::WrongCheck(path.to_owned()));
    }
    // The parser's own error message quotes the line, and lines hold keys.
    let stored: StoredKeyring =
        toml::from_str(body).map_err(|_| damaged("its lines are not those of a keyring"))?;
    stored.into_keyring().map_err(damaged)
}

/// Writes the text of a keyring file, including its check.
pub(super) fn render(keyring: &Keyring) -> Zeroizing<String> {
    // Large enough from the start, so that growing leaves no copy behind.
    let keys = keyring.keks.len() + keyring.peppers.len();
    let epochs = keyring.earlier_log_ids.len();
    let mut text = Zeroizing::new(String::with_capacity(4096 + 256 * keys + 64 * epochs));
    let earlier = keyring.earlier_log_ids.iter();
    let earlier: Vec<_> = earlier
        .map(|id| format!("\"{}\"", HEXLOWER.encode(id)))
        .collect();
    write!(
        text,
        "{NOTICE}{FORMAT_PREFIX}{FORMAT}\ncreated_at_us = {}\nlog_id = \"{}\"\n\
         earlier_log_ids = [{}]\nname_key = \"{}\"\ncheckpoint_seed = \"{}\"\n",
        keyring.created_at_us,
        HEXLOWER.encode(&keyring.log_id),
        earlier.join(", "),
        *keyring.name_key.text(),
        *keyring.checkpoint_seed.text(),
    )
    .expect(TAKES_ALL);
    for (about, kek) in &keyring.keks {
        write_key(&mut text, "kek", *about, kek.as_bytes());
    }
    for (about, pepper) in &keyring.peppers {
        write_key(&mut text, "pepper", *about, &pepper.0);
    }
    let check = check_of(&text);
    write!(text, "{CHECK_HEADER}{CHECK_PREFIX}{check}{CHECK_SUFFIX}").expect(TAKES_ALL);
    text
}

fn write_key(text: &mut String, kind: &str, about: KeyAbout, key: &[u8; KEY_BYTES]) {
    let state = match about.state {
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    };
    write!(
        text,
        "\n[[{kind}]]\nid = {}\nstate = \"{state}\"\ncreated_at_us = {}\nkey = \"{}\"\n",
        about.id,
        about.created_at_us,
        *hex(key),
    )
    .expect(TAKES_ALL);
}

pub(super) fn check_of(body: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(body.as_bytes()))
}

fn hex(key: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(HEXLOWER.encode(key))
}

/// The text form of a keyring without its check; its names are the format.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeyring {
    #[serde(rename = "format")]
    _format: u32,
    created_at_us: u64,
    log_id: Hex<LOG_ID_BYTES>,
    earlier_log_ids: Vec<Hex<LOG_ID_BYTES>>,
    name_key: Hex<KEY_BYTES>,
    /// Only files of older builds have this key.
    #[serde(default)]
    body_tag_key: Option<Hex<KEY_BYTES>>,
    checkpoint_seed: Hex<KEY_BYTES>,
    kek: Vec<StoredKey>,
    pepper: Vec<StoredKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    id: u32,
    state: KeyState,
    created_at_us: u64,
    key: Hex<KEY_BYTES>,
}

impl StoredKeyring {
    fn into_keyring(self) -> Result<Keyring, &'static str> {
        refuse_ambiguous(&self.kek)?;
        refuse_ambiguous(&self.pepper)?;
        Ok(Keyring {
            log_id: self.log_id.0,
            earlier_log_ids: self.earlier_log_ids.iter().map(|id| id.0).collect(),
            created_at_us: self.created_at_us,
            name_key: self.name_key,
            has_old_tag_key: self.body_tag_key.is_some(),
            checkpoint_seed: self.checkpoint_seed,
            keks: self
                .kek
                .into_iter()
                .map(|stored| (stored.about(), DataKey::new(stored.key.0)))
                .collect(),
            peppers: self
                .pepper
                .into_iter()
                .map(|stored| (stored.about(), stored.key))
                .collect(),
        })
    }
}

impl StoredKey {
    fn about(&self) -> KeyAbout {
        KeyAbout {
            id: self.id,
            state: self.state,
            created_at_us: self.created_at_us,
        }
    }
}

fn refuse_ambiguous(keys: &[StoredKey]) -> Result<(), &'static str> {
    let actives = keys.iter().filter(|key| key.state == KeyState::Active);
    if actives.count() != 1 {
        return Err("not exactly one key of each kind is active");
    }
    let mut ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    ids.sort_unstable();
    if ids[0] == 0 || ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("key ids repeat or are zero");
    }
    Ok(())
}

/// Bytes that the file holds as lower-case hex; never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let mut bytes = [0; N];
        if text.len() != 2 * N || HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_err() {
            return Err(de::Error::custom("not lower-case hex of the right length"));
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> Hex<N> {
    fn text(&self) -> Zeroizing<String> {
        hex(&self.0)
    }
}
