//! A user of the broker as one token of a subject, percent-encoded if the name is not a token
//! itself (RFC 3986 §2.1): `countersign.v1.support.<user>.<name>`.

use std::fmt::Write;

/// Returns whether a byte is written as itself; the others have a meaning in a subject or in this
/// encoding.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b".*>%".contains(&byte)
}

/// Returns the token of a user; every user has exactly one.
pub fn user_token(user: &str) -> String {
    let mut token = String::with_capacity(user.len());
    for byte in user.bytes() {
        if is_plain(byte) {
            token.push(char::from(byte));
        } else {
            write!(token, "%{byte:02X}").expect("writing to a string never fails");
        }
    }
    token
}

/// Returns the user of a token; `None` if the token is no user's.
pub fn user_of(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut parts = token.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        bytes.extend(data_encoding::HEXUPPER.decode(hex.as_bytes()).ok()?);
        bytes.extend(rest.bytes());
    }
    let user = String::from_utf8(bytes).ok()?;
    (user_token(&user) == token).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_is_one_token_and_comes_back_from_it() {
        for (user, token) in [
            ("alice", "alice"),
            ("alice@example.com", "alice@example%2Ecom"),
            ("a b", "a%20b"),
            ("a.b*c>d%e", "a%2Eb%2Ac%3Ed%25e"),
            ("Zo\u{eb}\n", "Zo%C3%AB%0A"),
            ("", ""),
        ] {
            assert_eq!(user_token(user), token);
            assert_eq!(user_of(token).as_deref(), Some(user));
        }
    }

    #[test]
    fn a_second_spelling_of_a_user_is_nobodys_token() {
        for token in [
            "%61lice", "a%2eb", "a%2", "a%", "a%zz", "a.b", "a b", "%FF", "%+1",
        ] {
            assert_eq!(user_of(token), None, "{token}");
        }
    }
}
