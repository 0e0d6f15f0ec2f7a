//! The verification code as it crosses the wire: an app's six digits, or a backup code.
//!
//! Both kinds arrive in the same field and are always strings. A code is a secret until it is used,
//! so nothing here prints one by accident: `Debug` is redacted, there is no `Display`, and errors
//! are constants. Only `reveal` gives the text.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The longest text that is read, in bytes: 16 characters, with room for dashes and spaces.
pub const CODE_TEXT_BYTES_MAX: usize = 64;
/// The number of digits of an app's code.
pub const TOTP_DIGITS: usize = 6;
/// The number of characters of a backup code, without dashes.
pub const BACKUP_CODE_CHARS: usize = 16;
/// The number of random bytes that make one backup code; the last two of their 72 bits are unused.
pub const BACKUP_CODE_RANDOM_BYTES: usize = 9;

/// The pattern of a code of either kind; U is the only letter that no backup code has.
const PATTERN: &str = "^([0-9]{6}|[ -]*([0-9A-TV-Za-tv-z][ -]*){16})$";
const GROUP_CHARS: usize = 4;
const CHECK_AT: usize = BACKUP_CODE_CHARS - 1;
/// Crockford's base 32: no I, L, O (read as 1, 1, 0) and no U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A verification code of either kind, well-formed but not yet compared with a stored one.
#[derive(Clone, PartialEq, Eq)]
pub enum Code {
    /// Six digits from an authenticator app.
    Totp(TotpCode),
    /// A backup code with the right check character.
    Backup(BackupCode),
}

/// Six ASCII digits from an authenticator app, kept on the heap so that moving the code leaves no
/// copy behind.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TotpCode(Box<[u8; TOTP_DIGITS]>);

/// A backup code in canonical form: 16 Crockford base-32 characters without dashes.
///
/// The first character's value is the ordinal within its set, 14 characters are random (70 bits)
/// and the last is the check character. With the characters' values v₀…v₁₅ in GF(2⁵) (primitive
/// polynomial x⁵+x²+1, α = x) a code is well-formed when
/// `v₁₅ = α¹·v₀ + α²·v₁ + … + α¹⁵·v₁₄`. The sixteen weights α⁰…α¹⁵ are all different and none is
/// zero, so one wrong character changes the sum by `αⁱ·d ≠ 0`, and exchanging two different
/// characters changes it by `(αⁱ+αʲ)·(vᵢ+vⱼ) ≠ 0`: every single wrong character and every
/// transposition, adjacent or not, is detected. The check is a typing aid and adds no strength.
///
/// It is kept on the heap, so that moving it leaves no copy behind.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BackupCode(Box<[u8; BACKUP_CODE_CHARS]>);

/// The text is neither six digits nor a backup code; the error says nothing about the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", MalformedCode::RULE)]
pub struct MalformedCode;

impl MalformedCode {
    /// The rule in one sentence, which a refusal quotes.
    pub const RULE: &'static str =
        "a code is six digits, or a backup code of sixteen letters and digits as it was shown";
}

impl Code {
    /// Reads a code as a user typed it.
    ///
    /// Exactly six ASCII digits are an app's code. Any other text is read as a backup code: case,
    /// ASCII spaces and dashes do not matter, O is read as 0, and I and L as 1. An ordinal outside
    /// 1–10 is well-formed here; no set has such a code, so the comparison fails later.
    ///
    /// # Errors
    /// [`MalformedCode`] for every other text; a text longer than [`CODE_TEXT_BYTES_MAX`] is
    /// refused unread.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        let code = Self::shaped(text)?;
        if code.is_mistyped() {
            Err(MalformedCode)
        } else {
            Ok(code)
        }
    }

    /// Reads a text of the right shape. A JSON Schema can express no more about a code.
    fn shaped(text: &str) -> Result<Self, MalformedCode> {
        if text.len() > CODE_TEXT_BYTES_MAX {
            return Err(MalformedCode);
        }
        let bytes = text.as_bytes();
        if bytes.len() == TOTP_DIGITS && bytes.iter().all(u8::is_ascii_digit) {
            let mut code = TotpCode::zeros();
            code.0.copy_from_slice(bytes);
            return Ok(Self::Totp(code));
        }
        BackupCode::canonicalise(bytes).map(Self::Backup)
    }

    /// Returns whether this is a backup code with a wrong check character.
    pub fn is_mistyped(&self) -> bool {
        match self {
            Self::Totp(_) => false,
            Self::Backup(code) => code.is_mistyped(),
        }
    }

    /// Returns the code as text: six digits, or the backup code with dashes. The result is a
    /// secret.
    pub fn reveal(&self) -> String {
        match self {
            Self::Totp(code) => code.reveal(),
            Self::Backup(code) => code.reveal(),
        }
    }
}

impl TotpCode {
    /// Makes the code from a truncated HOTP value; only its last six decimal digits count.
    ///
    /// Source: RFC 4226 §5.3, step 3.
    pub fn from_number(number: u32) -> Self {
        let mut code = Self::zeros();
        let mut rest = number;
        for digit in code.0.iter_mut().rev() {
            *digit = ALPHABET[(rest % 10) as usize];
            rest /= 10;
        }
        code
    }

    fn zeros() -> Self {
        Self(Box::new([b'0'; TOTP_DIGITS]))
    }

    /// Returns the six ASCII digits.
    pub fn digits(&self) -> &[u8; TOTP_DIGITS] {
        &self.0
    }

    /// Returns the six digits as text. The result is a secret.
    pub fn reveal(&self) -> String {
        self.0.iter().copied().map(char::from).collect()
    }
}

impl BackupCode {
    /// Makes the backup code with this ordinal from random bytes, of which 70 bits are used.
    ///
    /// # Panics
    /// Panics if the ordinal is not one base-32 character (0–31).
    pub fn from_parts(ordinal: u8, random: &[u8; BACKUP_CODE_RANDOM_BYTES]) -> Self {
        assert!(ordinal < 32, "an ordinal is one base-32 character");
        let mut wide = [0; 16];
        wide[16 - BACKUP_CODE_RANDOM_BYTES..].copy_from_slice(random);
        let mut bits = u128::from_be_bytes(wide) >> 2;
        wide.zeroize();

        let mut values = Zeroizing::new([0; BACKUP_CODE_CHARS]);
        values[0] = ordinal;
        for value in values[1..CHECK_AT].iter_mut().rev() {
            *value = (bits & 31) as u8;
            bits >>= 5;
        }
        values[CHECK_AT] = check_value(&values);
        Self::of_values(&values)
    }

    fn of_values(values: &[u8; BACKUP_CODE_CHARS]) -> Self {
        let mut code = Self(Box::new([0; BACKUP_CODE_CHARS]));
        for (character, value) in code.0.iter_mut().zip(values) {
            *character = ALPHABET[usize::from(*value)];
        }
        code
    }

    /// Returns the ordinal, the value of the first character: 0–31, and 1–10 in the codes of a set.
    pub fn ordinal(&self) -> u8 {
        crockford_value(self.0[0]).expect("a canonical code holds base-32 characters only")
    }

    /// Returns the 16 characters without dashes, which are hashed.
    pub fn canonical(&self) -> &[u8; BACKUP_CODE_CHARS] {
        &self.0
    }

    /// Returns the code as users see it, 4-4-4-4 with dashes. The result is a secret.
    pub fn reveal(&self) -> String {
        let mut text = String::with_capacity(BACKUP_CODE_CHARS + 3);
        for (at, &character) in self.0.iter().enumerate() {
            if at > 0 && at % GROUP_CHARS == 0 {
                text.push('-');
            }
            text.push(char::from(character));
        }
        text
    }

    fn canonicalise(typed: &[u8]) -> Result<Self, MalformedCode> {
        let mut values = Zeroizing::new([0; BACKUP_CODE_CHARS]);
        let mut count = 0;
        for &byte in typed.iter().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let value = crockford_value(byte).ok_or(MalformedCode)?;
            *values.get_mut(count).ok_or(MalformedCode)? = value;
            count += 1;
        }
        if count != BACKUP_CODE_CHARS {
            return Err(MalformedCode);
        }
        Ok(Self::of_values(&values))
    }

    fn is_mistyped(&self) -> bool {
        let mut values = Zeroizing::new([0; BACKUP_CODE_CHARS]);
        for (value, character) in values.iter_mut().zip(self.0.iter()) {
            *value = crockford_value(*character)
                .expect("a canonical code holds base-32 characters only");
        }
        values[CHECK_AT] != check_value(&values)
    }
}

fn crockford_value(byte: u8) -> Option<u8> {
    let canonical = match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    let at = ALPHABET.iter().position(|&known| known == canonical)?;
    u8::try_from(at).ok()
}

/// Computes the check value by Horner's rule, from the last character to the first: `((v₁₄·α +
/// v₁₃)·α + … + v₀)·α`.
fn check_value(values: &[u8; BACKUP_CODE_CHARS]) -> u8 {
    let sum = values[..CHECK_AT]
        .iter()
        .rev()
        .fold(0, |sum, value| times_alpha(sum) ^ value);
    times_alpha(sum)
}

fn times_alpha(value: u8) -> u8 {
    let shifted = value << 1;
    if shifted & 0b10_0000 == 0 {
        shifted
    } else {
        shifted ^ 0b10_0101
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Totp(_) => "Code::Totp(…)",
            Self::Backup(_) => "Code::Backup(…)",
        })
    }
}

impl fmt::Debug for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpCode(…)")
    }
}

impl fmt::Debug for BackupCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupCode(…)")
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_str`: its error message about a wrong type quotes the value.
        deserializer.deserialize_any(CodeVisitor)
    }
}

struct CodeVisitor;

impl CodeVisitor {
    fn refuse<E: de::Error>() -> Result<Code, E> {
        Err(E::custom(MalformedCode))
    }
}

impl Visitor<'_> for CodeVisitor {
    type Value = Code;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a verification code as a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Code, E> {
        Code::shaped(text).map_err(E::custom)
    }

    fn visit_string<E: de::Error>(self, mut text: String) -> Result<Code, E> {
        let parsed = self.visit_str(&text);
        text.zeroize();
        parsed
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Code, E> {
        Self::refuse()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Code, E> {
        Self::refuse()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Code, E> {
        Self::refuse()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Code, E> {
        Self::refuse()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Code, E> {
        Self::refuse()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Code, E> {
        Self::refuse()
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Code, E> {
        Self::refuse()
    }
}

impl JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Exactly six ASCII digits (an app's code), or a backup code: sixteen \
                Crockford base-32 characters, the last a check character; case, spaces and dashes \
                do not matter, O is read as 0, I and L as 1. A backup code with a wrong check \
                character is refused as code.invalid and not counted.",
            "maxLength": CODE_TEXT_BYTES_MAX,
            "pattern": PATTERN,
            // In some regex dialects `$` also matches before a final line break.
            "not": {"pattern": "\n"},
            "writeOnly": true
        })
    }
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
