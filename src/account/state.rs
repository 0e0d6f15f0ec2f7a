//! What the log says of one account.

use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use super::attempts::CodeAttempts;
use super::passwords::PasswordAttempts;

/// Open login challenges of one account; the oldest is dropped for a ninth.
pub const CHALLENGES_MAX: usize = 8;
/// Number of the sealed username among the fields of `account-registered`.
pub const USERNAME_FIELD: u16 = 1;

/// Everything that the log says of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The id, once the account exists.
    pub id: Option<AccountId>,
    /// Number of its events.
    pub version: u32,
    /// The login name, sealed; none where another directory holds it.
    pub username: Option<Held>,
    /// The password, where this service checks it.
    pub credential: Option<Credential>,
    /// The second factor.
    pub factor: Factor,
    /// Number of the last code set, 0 before the first; rises for the life of the account.
    pub set_no: u32,
    /// Wrong app codes and what they led to.
    pub attempts: CodeAttempts,
    /// Wrong passwords by source.
    pub passwords: PasswordAttempts,
    /// Open login challenges, oldest first.
    pub challenges: Vec<Challenge>,
    /// When support cleared the attempts, and which agent, oldest first.
    pub clears: Vec<Clear>,
    /// Whether events may be missing from here, so that nothing is believed before a reset.
    pub until_reset: bool,
    /// The open reset case.
    pub reset: Option<Case>,
    /// The last executed reset.
    pub after_reset: Option<AfterReset>,
}

/// A protected field together with the place that its associated data names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The field.
    pub value: Protected,
    /// The account's version of the event that carries it.
    pub version: u32,
    /// That event's type number.
    pub event_type: u16,
    /// The field's number in it.
    pub field: u16,
}

/// The password that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The account's version that set it: its name in evidence and events.
    pub version: u32,
    /// The sealed Argon2id verifier.
    pub verifier: Held,
}

/// The second factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factor {
    /// None; `lapsed` names an enrolment that was found expired, so that its holder hears why.
    Off {
        /// The authenticator of that enrolment.
        lapsed: Option<String>,
    },
    /// An enrolment waits for its first code; logins ask for none yet.
    Pending(Pending),
    /// A code is required.
    On(On),
}

impl Default for Factor {
    fn default() -> Self {
        Self::Off { lapsed: None }
    }
}

/// An enrolment that waits for its first code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The authenticator.
    pub authenticator_id: String,
    /// The account's version that began it: its name in evidence and events.
    pub enrolment: u32,
    /// The sealed TOTP secret.
    pub secret: Held,
    /// The sealed name that the app shows, where one was given.
    pub account_name: Option<Held>,
    /// When it lapses.
    pub expires_at: Micros,
    /// Wrong codes so far.
    pub rejected: u8,
}

/// A second factor that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct On {
    /// The authenticator.
    pub authenticator_id: String,
    /// The account's version that began its enrolment: its name in evidence and events.
    pub enrolment: u32,
    /// The sealed TOTP secret.
    pub secret: Held,
    /// The sealed name that the app shows, where one was given.
    pub account_name: Option<Held>,
    /// The highest step that was accepted; it and all before it are spent.
    pub last_step: u64,
    /// Since when.
    pub enabled_at: Micros,
    /// The backup codes.
    pub codes: CodeSet,
}

/// The current set of backup codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSet {
    /// Its number.
    pub set_no: u32,
    /// The sealed list of Argon2id verifiers, one for each ordinal.
    pub verifiers: Option<Held>,
    /// Which ordinals (from 1) are unused.
    pub unused: Vec<bool>,
}

impl CodeSet {
    /// How many codes are unused.
    pub fn left(&self) -> u8 {
        self.unused.iter().filter(|unused| **unused).count() as u8
    }

    /// Whether the code with this ordinal exists and is unused.
    pub fn is_unused(&self, ordinal: u8) -> bool {
        usize::from(ordinal)
            .checked_sub(1)
            .and_then(|slot| self.unused.get(slot))
            .is_some_and(|unused| *unused)
    }
}

/// An open login challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The first 16 bytes of SHA-256 of its id.
    pub hash: [u8; 16],
    /// When it lapses.
    pub expires_at: Micros,
    /// The caller that opened it; nobody else may answer it.
    pub caller: String,
    /// The account's version that set the password it rests on, 0 where the caller vouched.
    pub credential: u32,
    /// Keyed hash of where the login began.
    pub source_key: [u8; 8],
    /// Whom alone the login may be asserted to; anybody where there is none.
    pub audience: Option<String>,
}

impl Challenge {
    /// What the challenge rests on.
    pub(super) fn first_factor(&self) -> FirstFactor {
        match self.credential {
            0 => FirstFactor::Vouched,
            version => FirstFactor::Password(version),
        }
    }
}

/// One time that support cleared the attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clear {
    /// When.
    pub at: Micros,
    /// The agent's name.
    pub by: String,
}

/// An open case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its id.
    pub case_id: String,
    /// The agent who asked for it.
    pub requested_by: String,
    /// When it ends by itself.
    pub expires_at: Micros,
    /// When it may be executed, once it is approved.
    pub execute_after: Option<Micros>,
}

/// The last executed reset, of which logins tell for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterReset {
    /// When it was executed.
    pub at: Micros,
    /// Until when logins tell of it.
    pub told_until: Micros,
}

impl Account {
    /// Whether the account exists.
    pub fn exists(&self) -> bool {
        self.id.is_some()
    }

    /// The key of its stream, once it exists.
    pub fn stream_key(&self) -> Option<StreamKey> {
        self.id.as_ref().map(StreamKey::of)
    }

    /// The factor in force.
    pub fn on(&self) -> Option<&On> {
        match &self.factor {
            Factor::On(on) => Some(on),
            Factor::Off { .. } | Factor::Pending(_) => None,
        }
    }

    /// The enrolment that waits, expired or not.
    pub fn pending(&self) -> Option<&Pending> {
        match &self.factor {
            Factor::Pending(pending) => Some(pending),
            Factor::Off { .. } | Factor::On(_) => None,
        }
    }
}
