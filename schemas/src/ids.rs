//! The names that cross the wire, each with its one spelling and its length limit.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::text::{Chars, NO_SPACE, PRINTABLE, WORD, text};

// BUG: ids-stay-clear: these ids are never sealed, so an erasure leaves them in clear.
/// The text of an id or a bounded field does not have the form that the contract demands.
///
/// The message names the rule and never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadText(pub &'static str);

text!(
    /// The id of an account: 1–64 of `[A-Za-z0-9_-]`, case-sensitive, safe as one subject token.
    AccountId,
    "an account id is 1 to 64 of A-Z a-z 0-9 _ -",
    64,
    Chars::Only(WORD),
    str::to_owned
);
text!(
    /// A login name: 1–64 printable ASCII characters without spaces, kept in lower case so that
    /// one person has one spelling and one failure budget.
    Username,
    "a username is 1 to 64 printable ASCII characters without spaces",
    64,
    Chars::Only(NO_SPACE),
    str::to_ascii_lowercase
);
text!(
    /// The id of one command, the caller's idempotency key: 1–64 printable ASCII characters.
    CommandId,
    "a command id (Nats-Msg-Id) is 1 to 64 printable ASCII characters",
    64,
    Chars::Only(PRINTABLE),
    str::to_owned
);
text!(
    /// The id of one authenticator, made at enrolment: 1–64 of `[A-Za-z0-9_-]`.
    AuthenticatorId,
    "an authenticator id is 1 to 64 of A-Z a-z 0-9 _ -",
    64,
    Chars::Only(WORD),
    str::to_owned
);
text!(
    /// The id of a login challenge, a bearer secret for five minutes: 1–64 of `[A-Za-z0-9_-]`.
    ChallengeText,
    "a challenge id is 1 to 64 of A-Z a-z 0-9 _ -",
    64,
    Chars::Only(WORD),
    str::to_owned
);
text!(
    /// The audience of an assertion: 1–128 printable ASCII characters.
    Audience,
    "an audience is 1 to 128 printable ASCII characters",
    128,
    Chars::Only(PRINTABLE),
    str::to_owned
);
text!(
    /// The name that the user gave an authenticator: 1–64 characters, one of them visible.
    Label,
    "a label is 1 to 64 characters, at least one of them visible",
    64,
    Chars::Seen,
    str::to_owned
);
text!(
    /// The name that the authenticator app shows: 1–128 characters, one of them visible.
    AccountName,
    "an account name is 1 to 128 characters, at least one of them visible",
    128,
    Chars::Seen,
    str::to_owned
);
text!(
    /// The reason for an agent's or operator's act: 1–500 characters, one of them visible; sealed
    /// at rest.
    Reason,
    "a reason is 1 to 500 characters, at least one of them visible",
    500,
    Chars::Seen,
    str::to_owned
);
text!(
    /// The id of a reset case: 1–64 of `[A-Za-z0-9_-]`; not a secret.
    CaseId,
    "a case id is 1 to 64 of A-Z a-z 0-9 _ -",
    64,
    Chars::Only(WORD),
    str::to_owned
);
text!(
    /// The number of a ticket in the agents' own system: 1–64 characters, one of them visible;
    /// sealed at rest.
    Ticket,
    "a ticket is 1 to 64 characters, at least one of them visible",
    64,
    Chars::Seen,
    str::to_owned
);
/// A login challenge as the caller holds it; `Debug` shows no part of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ChallengeId(ChallengeText);

impl ChallengeId {
    /// Makes the id from 128 random bits.
    pub fn from_random(bits: [u8; 16]) -> Self {
        Self(ChallengeText(data_encoding::HEXLOWER.encode(&bits)))
    }

    /// Checks a text that a caller presents.
    ///
    /// # Errors
    /// [`BadText`] if the text is not 1–64 of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Result<Self, BadText> {
        ChallengeText::parse(text).map(Self)
    }

    /// Returns the text, for the one reply that reveals it and for the client that sends it.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }

    /// Returns what the log keeps of the challenge: the first 16 bytes of its SHA-256.
    pub fn hash(&self) -> [u8; 16] {
        digest16(&[self.reveal().as_bytes()])
    }
}

impl fmt::Debug for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeId(…)")
    }
}

impl CaseId {
    /// Returns the key under which the name's account is found: the first 16 bytes of its SHA-256.
    pub fn hash(&self) -> [u8; 16] {
        digest16(&[self.0.as_bytes()])
    }
}

/// Returns the one spelling of a person's name: in lower case, with single blanks and none at its
/// ends.
///
/// For rules that keep a person from doing something. Where a name grants a right it is compared
/// exactly.
pub fn person(name: &str) -> String {
    let words: Vec<_> = name.split_ascii_whitespace().collect();
    words.join(" ").to_ascii_lowercase()
}

/// Returns the key under which an agent's acts are found and counted: the first 16 bytes of SHA-256
/// of the name's one spelling, so that one person is one agent however a broker spells the name.
pub fn agent_key(name: &str) -> [u8; 16] {
    digest16(&[person(name).as_bytes()])
}

/// Returns whether two names belong to one person, as [`person`] spells them.
pub fn is_same_person(name: &str, other: &str) -> bool {
    person(name) == person(other)
}

/// Returns the key under which an agent's acts of one name are counted, the same for every spelling
/// of the agent.
pub fn act_key(act: &str, agent: &str) -> [u8; 16] {
    digest16(&[act.as_bytes(), person(agent).as_bytes()])
}

/// The key of one stream: the first 16 bytes of SHA-256 of the account id's text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey(pub [u8; 16]);

impl StreamKey {
    /// The stream of log-wide events (stream kind 0).
    pub const LOG: StreamKey = StreamKey([0; 16]);

    /// Returns the key of one account's stream.
    pub fn of(account: &AccountId) -> Self {
        Self(digest16(&[account.as_str().as_bytes()]))
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The key of one command: the first 16 bytes of SHA-256 over caller and command id, so that the
/// same id from another caller is another command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandKey(pub [u8; 16]);

impl CommandKey {
    /// Returns the key of a caller's command id.
    pub fn of(caller: &str, command: &CommandId) -> Self {
        Self(digest16(&[caller.as_bytes(), command.as_str().as_bytes()]))
    }
}

/// Returns the first 16 bytes of SHA-256 over parts, each preceded by its length.
fn digest16(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        // A lone part is hashed plainly, as the stored format says of stream keys.
        if parts.len() > 1 {
            hash.update((part.len() as u64).to_le_bytes());
        }
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_one_safe_subject_token() {
        let longest = "a".repeat(64);
        for good in ["a", "A_b-9", longest.as_str()] {
            assert!(AccountId::parse(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in [
            "",
            "a.b",
            "a*",
            ">",
            "a b",
            "a/b",
            "a\0",
            "é",
            too_long.as_str(),
        ] {
            assert!(AccountId::parse(bad).is_err(), "{bad}");
        }
    }

    /// V-14.
    #[test]
    fn a_username_has_one_spelling() {
        assert_eq!(Username::parse("Alice"), Username::parse("aLICE"));
        assert!(Username::parse("al ice").is_err());
        assert!(Username::parse("аlice").is_err(), "Cyrillic a");
    }

    #[test]
    fn another_callers_equal_command_id_is_another_command() {
        let id = CommandId::parse("1").expect("valid");
        assert_ne!(CommandKey::of("a", &id), CommandKey::of("b", &id));
        let joined = CommandId::parse("b1").expect("valid");
        assert_ne!(CommandKey::of("ab", &id), CommandKey::of("a", &joined));
    }

    #[test]
    fn one_person_is_one_however_the_name_is_spelled() {
        for name in ["Eve Moe", " eve moe", "EVE  MOE ", "eve moe"] {
            assert!(is_same_person(name, "eve moe"), "{name}");
            assert_eq!(agent_key(name), agent_key("eve moe"), "{name}");
            assert_eq!(act_key("a", name), act_key("a", "eve moe"), "{name}");
        }
        assert!(!is_same_person("evemoe", "eve moe"));
    }

    #[test]
    fn a_challenge_never_shows_in_debug() {
        let id = ChallengeId::from_random([7; 16]);
        assert_eq!(id.reveal().len(), 32);
        assert!(!format!("{id:?}").contains(id.reveal()));
    }
}
