//! Sets of ten backup codes: their creation, their fingerprint, and the text file for download.
//!
//! The form of a single code is in the schemas, and a rule of the account makes each code work
//! once. Each code is stored as its own verifier (see [`super::password`]).

use std::fmt::Write;

use countersign_schemas::code::{BACKUP_CODE_RANDOM_BYTES, BackupCode};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::password::SALT_BYTES;

/// The number of codes in one set.
pub const SET_CODES: usize = 10;
/// The number of random bytes that make one set.
pub const SET_ENTROPY_BYTES: usize = SET_CODES * BACKUP_CODE_RANDOM_BYTES;

const FINGERPRINT_BYTES: usize = 4;

/// Makes a set: ordinals 1 to 10, each with its own 70 random bits.
pub fn new_set(entropy: &[u8; SET_ENTROPY_BYTES]) -> [BackupCode; SET_CODES] {
    let (parts, _) = entropy.as_chunks::<BACKUP_CODE_RANDOM_BYTES>();
    std::array::from_fn(|at| BackupCode::from_parts(at as u8 + 1, &parts[at]))
}

/// Returns the eight hex digits that match a user's file with the record of its set.
///
/// An event holds the fingerprint in clear, so it is computed from the salts of the set's
/// verifiers: random bytes that are independent of the codes and never published. With a hash of
/// the codes themselves, a reader of the event could test guesses at 70-bit codes without the cost
/// of Argon2id and without the pepper.
pub fn fingerprint(salts: &[[u8; SALT_BYTES]; SET_CODES]) -> String {
    let digest = Sha256::new()
        .chain_update(b"countersign backup code set v1\0")
        .chain_update(salts.as_flattened())
        .finalize();
    HEXLOWER.encode(&digest[..FINGERPRINT_BYTES])
}

/// Writes the text file for download. The result is a secret.
///
/// `date` is the day of issue as users read it (`2026-11-24`). Control characters in the names
/// become spaces, so that no name can add a line.
pub fn codes_file(
    service: &str,
    account_name: &str,
    set_no: u32,
    fingerprint: &str,
    date: &str,
    codes: &[BackupCode; SET_CODES],
) -> String {
    let service = one_line(service);
    let account_name = one_line(account_name);
    let mut text = format!(
        "{service} backup codes for {account_name}\n\
         Set {set_no}, fingerprint {fingerprint}, issued {date}\n\n"
    );
    for code in codes {
        writeln!(text, "{:>2}.  {}", code.ordinal(), code.reveal())
            .expect("a String takes every write");
    }
    text.push_str(
        "\nEach code works once in place of the code from your authenticator app; keep them \
         secret. A new set makes all of these worthless.\n",
    );
    text
}

fn one_line(name: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    name.replace(breaks, " ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use countersign_schemas::code::Code;
    use proptest::prelude::*;

    use super::*;

    fn set() -> [BackupCode; SET_CODES] {
        new_set(&std::array::from_fn(|at| at as u8))
    }

    #[test]
    fn a_set_has_ten_different_codes_in_the_order_of_their_ordinals() {
        let codes = set();
        let ordinals = codes.each_ref().map(BackupCode::ordinal);
        assert_eq!(ordinals, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let distinct: HashSet<_> = codes.iter().map(|code| &code.canonical()[1..15]).collect();
        assert_eq!(distinct.len(), SET_CODES);
    }

    #[test]
    fn the_fingerprint_depends_on_every_salt_and_on_nothing_else() {
        let salts = [[1; SALT_BYTES]; SET_CODES];
        let first = fingerprint(&salts);
        assert_eq!(first.len(), 8);
        assert_eq!(first, fingerprint(&salts));
        for at in 0..SET_CODES {
            let mut other = salts;
            other[at][15] ^= 1;
            assert_ne!(first, fingerprint(&other), "salt {at}");
        }
    }

    #[test]
    fn the_file_names_service_account_set_date_and_every_code() {
        let text = codes_file(
            "Example",
            "ada@example.org",
            3,
            "0a1b2c3d",
            "2026-11-24",
            &set(),
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Example backup codes for ada@example.org");
        assert_eq!(lines[1], "Set 3, fingerprint 0a1b2c3d, issued 2026-11-24");
        for (line, code) in lines[3..13].iter().zip(&set()) {
            assert_eq!(
                line.trim_start(),
                format!("{}.  {}", code.ordinal(), code.reveal())
            );
        }
        assert!(lines[14].starts_with("Each code works once"));
        assert_eq!(lines.len(), 15);
    }

    #[test]
    fn a_name_cannot_add_a_line_to_the_file() {
        let name = "ada\r\n11.  FAKE\u{2028}\u{85}";
        let text = codes_file("Ex\nample", name, 1, "00000000", "2026-11-24", &set());
        assert_eq!(text.lines().count(), 15);
        assert!(text.starts_with("Ex ample backup codes for ada  11.  FAKE  \n"));
    }

    proptest! {
        #[test]
        fn every_code_of_a_set_parses_as_itself(entropy in prop::array::uniform32(any::<u8>())) {
            let codes = new_set(&std::array::from_fn(|at| entropy[at % 32].wrapping_mul(at as u8)));
            for code in codes {
                prop_assert_eq!(Code::parse(&code.reveal()), Ok(Code::Backup(code)));
            }
        }
    }
}
