//! One-time codes of authenticator apps: HOTP (RFC 4226) and TOTP (RFC 6238).
//!
//! HMAC-SHA-1, six digits, 30 seconds and a 160-bit secret, which every app supports. Whether a
//! matching step may still be used is a rule of the account, not of this file.

use std::fmt;
use std::ops::RangeInclusive;

use countersign_schemas::code::TotpCode;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The length of one time step, in seconds (RFC 6238 §4.1, default).
pub const STEP_SECONDS: u64 = 30;
/// The length of a secret, in bytes: 160 bits, the recommended length (RFC 4226 §4, R6).
pub const SECRET_BYTES: usize = 20;
/// The most steps that one call of [`matching_steps`] computes; ten to either side are in use.
pub const CANDIDATE_STEPS_MAX: usize = 64;
/// The longest issuer or account name in an `otpauth` URI, in bytes before encoding, so that the
/// URI fits a QR code; a longer name is cut at a character boundary.
pub const URI_NAME_BYTES_MAX: usize = 128;

/// The secret shared with one authenticator app, kept on the heap so that moving it leaves no copy
/// behind.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TotpSecret(Box<[u8; SECRET_BYTES]>);

impl TotpSecret {
    /// Makes a secret from 20 bytes, which must come from the operating system's generator.
    pub fn new(entropy: &[u8; SECRET_BYTES]) -> Self {
        let mut secret = Self(Box::default());
        secret.0.copy_from_slice(entropy);
        secret
    }

    /// Reads back a secret that was stored sealed; `None` if the length is not 20.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }

    /// Returns the bytes, only for sealing.
    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Returns the secret as users type it: 32 base-32 characters, unpadded. The result is a
    /// secret.
    pub fn base32(&self) -> String {
        BASE32_NOPAD.encode(&*self.0)
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

/// Computes the six-digit HOTP code of a counter (RFC 4226 §5.3).
pub fn hotp(secret: &TotpSecret, counter: u64) -> TotpCode {
    let mut mac = Hmac::<Sha1>::new_from_slice(&*secret.0).expect("HMAC takes keys of any length");
    mac.update(&counter.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 0x0f);
    let truncated =
        u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
    TotpCode::from_number(truncated & 0x7fff_ffff)
}

/// Returns the time step of a moment given in Unix seconds (RFC 6238 §4.2, T0 = 0).
pub fn step_at(unix_seconds: u64) -> u64 {
    unix_seconds / STEP_SECONDS
}

/// Returns every candidate step whose code equals the given one, in ascending order.
///
/// Every candidate is computed and compared in constant time, whatever matched before it. Several
/// can match: two neighbouring steps share a code once in a million. Steps after the first
/// [`CANDIDATE_STEPS_MAX`] are ignored.
pub fn matching_steps(
    secret: &TotpSecret,
    code: &TotpCode,
    candidates: RangeInclusive<u64>,
) -> Vec<u64> {
    let mut matching = vec![0; CANDIDATE_STEPS_MAX];
    let mut count = 0;
    for step in candidates.take(CANDIDATE_STEPS_MAX) {
        let equal = hotp(secret, step).digits().ct_eq(code.digits());
        // Every step is written and only a matching one is kept, in memory allocated before:
        // neither a branch nor an allocation shows whether and where there was a match.
        matching[count] = step;
        count += usize::from(equal.unwrap_u8());
    }
    matching.truncate(count);
    matching
}

/// Builds the key URI that a QR code shows to an authenticator app. The result is a secret.
///
/// Everything outside RFC 3986's unreserved characters is percent-encoded, so no name can add a
/// parameter; the one colon between issuer and name is literal.
pub fn otpauth_uri(issuer: &str, account_name: &str, secret: &TotpSecret) -> String {
    let issuer = percent_encode(capped(issuer));
    let name = percent_encode(capped(account_name));
    let mut secret = secret.base32();
    let uri = format!(
        "otpauth://totp/{issuer}:{name}?secret={secret}&issuer={issuer}\
         &algorithm=SHA1&digits=6&period={STEP_SECONDS}"
    );
    secret.zeroize();
    uri
}

fn capped(name: &str) -> &str {
    &name[..name.floor_char_boundary(URI_NAME_BYTES_MAX)]
}

fn percent_encode(text: &str) -> String {
    use std::fmt::Write;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rfc_secret() -> TotpSecret {
        TotpSecret::new(b"12345678901234567890")
    }

    fn code_at(unix_seconds: u64) -> String {
        hotp(&rfc_secret(), step_at(unix_seconds)).reveal()
    }

    #[test]
    fn rfc_4226_appendix_d_codes_come_out() {
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (counter, code) in (0..).zip(codes) {
            assert_eq!(
                hotp(&rfc_secret(), counter).reveal(),
                code,
                "counter {counter}"
            );
        }
    }

    /// C-01: RFC 6238 Appendix B, SHA-1 rows, last six of eight digits.
    #[test]
    fn rfc_6238_appendix_b_codes_come_out() {
        let rows = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (unix_seconds, code) in rows {
            assert_eq!(code_at(unix_seconds), code, "t = {unix_seconds}");
        }
    }

    /// C-13: both steps are named, so that the rule can spend the higher one.
    #[test]
    fn two_neighbouring_steps_that_share_a_code_are_both_found() {
        let step = step_at(1_771_837_200);
        assert_eq!(step, 59_061_240);
        let code = hotp(&rfc_secret(), step);
        assert_eq!(code.reveal(), "963181");
        let found = matching_steps(&rfc_secret(), &code, step - 1..=step + 1);
        assert_eq!(found, [59_061_240, 59_061_241]);
    }

    /// TM-01: the step flips exactly at the full half minute.
    #[test]
    fn the_step_flips_at_thirty_seconds() {
        assert_eq!([0, 29, 30, 59, 60].map(step_at), [0, 0, 1, 1, 2]);
    }

    /// TM-05: moments past 2038, 2106 and in 9999; expected codes from Python's hmac.
    #[test]
    fn codes_are_right_far_into_the_future() {
        let rows = [
            (2_147_483_648, "703886"),
            (4_294_967_296, "791428"),
            (253_402_300_799, "099568"),
        ];
        for (unix_seconds, code) in rows {
            assert_eq!(code_at(unix_seconds), code, "t = {unix_seconds}");
        }
    }

    /// H8, R-10, RUSTSEC-2022-0018 (totp-rs): no match ends the search, and none is at the place
    /// where the code is expected. `tests/tidy/constant_time.rs` makes sure that no comparison ends
    /// early.
    #[test]
    fn a_match_is_found_wherever_it_is_and_ends_no_search() {
        let secret = TotpSecret::new(b"12345678901234567890");
        for step in 40..=49 {
            let code = hotp(&secret, step);
            assert_eq!(matching_steps(&secret, &code, 40..=49), [step]);
        }
    }

    #[test]
    fn a_code_outside_the_candidates_matches_nothing() {
        let step = step_at(1_111_111_109);
        let code = hotp(&rfc_secret(), step);
        let find = |range| matching_steps(&rfc_secret(), &code, range);
        assert_eq!(find(step..=step), [step]);
        assert!(find(step + 1..=step + 3).is_empty());
        assert!(find(step - 3..=step - 1).is_empty());
        assert!(find(RangeInclusive::new(step + 1, step - 1)).is_empty());
    }

    #[test]
    fn a_huge_range_of_candidates_costs_a_bounded_amount_of_work() {
        let code = hotp(&rfc_secret(), 64);
        assert!(!matching_steps(&rfc_secret(), &code, 0..=u64::MAX).contains(&64));
        let code = hotp(&rfc_secret(), u64::MAX);
        let found = matching_steps(&rfc_secret(), &code, u64::MAX - 1..=u64::MAX);
        assert_eq!(found, [u64::MAX]);
    }

    #[test]
    fn the_secret_is_shown_as_unpadded_base32_and_never_in_debug() {
        assert_eq!(rfc_secret().base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(format!("{:?}", rfc_secret()), "TotpSecret(…)");
        assert!(TotpSecret::from_slice(b"short").is_none());
        let read = TotpSecret::from_slice(rfc_secret().as_bytes()).unwrap();
        assert_eq!(read.as_bytes(), rfc_secret().as_bytes());
    }

    #[test]
    fn the_key_uri_has_the_contracts_form() {
        assert_eq!(
            otpauth_uri("Example Co", "ada@example.org", &rfc_secret()),
            "otpauth://totp/Example%20Co:ada%40example.org\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example%20Co\
             &algorithm=SHA1&digits=6&period=30"
        );
    }

    /// E-11: names full of URI syntax stay names and read back equal.
    #[test]
    fn hostile_names_are_encoded_and_read_back_equal() {
        let names = [
            "a:b",
            "100%",
            "?secret=AAAA&digits=8",
            "🔑🗝",
            "line\nbreak",
            "",
            "%3A",
            "#/..",
        ];
        for name in names {
            let uri = otpauth_uri(name, name, &rfc_secret());
            assert!(uri.is_ascii());
            let (label, parameters) = uri["otpauth://totp/".len()..].split_once('?').unwrap();
            let (issuer, account) = label.split_once(':').unwrap();
            assert_eq!(percent_decode(issuer), name);
            assert_eq!(percent_decode(account), name);
            assert_eq!(parameters.split('&').count(), 5);
        }
    }

    /// E-11: 300 characters and more are cut, never inside a character.
    #[test]
    fn long_names_are_cut_at_a_character_boundary() {
        let name = "é🔑".repeat(300);
        let uri = otpauth_uri("x", &name, &rfc_secret());
        let label = uri["otpauth://totp/x:".len()..].split_once('?').unwrap().0;
        let read = percent_decode(label);
        assert!(name.starts_with(&read));
        assert!((125..=128).contains(&read.len()));
        assert!(uri.len() < 600);
    }

    fn percent_decode(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let pair = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn every_code_equals_that_of_an_independent_implementation(
            secret: [u8; SECRET_BYTES],
            unix_seconds in 0..u64::MAX / 2,
        ) {
            let oracle = totp_rs::Builder::new().with_secret(secret).build_noncompliant();
            let ours = hotp(&TotpSecret::new(&secret), step_at(unix_seconds));
            prop_assert_eq!(ours.reveal(), oracle.generate(unix_seconds).to_string());
        }

        #[test]
        fn the_steps_found_are_exactly_those_whose_code_is_equal(
            secret: [u8; SECRET_BYTES],
            first in 0u64..1 << 40,
            offset in 0u64..21,
        ) {
            let secret = TotpSecret::new(&secret);
            let code = hotp(&secret, first + offset);
            let expected: Vec<_> = (first..=first + 20)
                .filter(|&step| hotp(&secret, step) == code)
                .collect();
            prop_assert_eq!(matching_steps(&secret, &code, first..=first + 20), expected);
        }
    }
}
