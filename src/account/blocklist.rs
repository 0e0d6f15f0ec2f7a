//! Common passwords, which attackers try first (NIST SP 800-63B §3.1.1.2): a list compiled in.
//!
//! The list is Django 5.2's (`common-passwords.txt.gz`, 19,640 passwords in lower case that Royce
//! Williams took from breaches; BSD-3-Clause, see `common_passwords.LICENSE`), without those
//! that are shorter than any policy allows, in the order of their bytes.

use std::sync::LazyLock;

use countersign_schemas::secret::SecretText;
use zeroize::Zeroizing;

static COMMON: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Returns whether a password is on the list, in any letter case.
pub fn is_common(password: &SecretText) -> bool {
    let lowercase = Zeroizing::new(password.reveal().to_lowercase());
    COMMON.binary_search(&lowercase.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_ordered_and_holds_what_policy_could_allow() {
        assert_eq!(COMMON.len(), 8_359);
        assert!(COMMON.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(COMMON.iter().all(|common| common.len() >= 8));
        assert!(
            COMMON
                .iter()
                .all(|common| common.to_lowercase() == **common)
        );
    }

    #[test]
    fn a_common_password_is_found_in_any_case_and_no_other() {
        let is_common = |text: &str| is_common(&SecretText::new(text.into()));
        for common in ["password", "PassWord1", "iloveyou", "Qwertyuiop"] {
            assert!(is_common(common), "{common}");
        }
        for other in [
            "correct horse battery staple",
            "password ",
            "",
            "qwertyuiopq",
        ] {
            assert!(!is_common(other), "{other}");
        }
    }
}
