//! What the log says about one account.

use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use super::attempts::CodeAttempts;
use super::passwords::PasswordAttempts;

/// The most open login challenges of one account; a ninth drops the oldest.
pub const CHALLENGES_MAX: usize = 8;
/// Number of the sealed username among the fields of `account-registered`.
pub const USERNAME_FIELD: u16 = 1;

/// Everything that the log says about one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The id, once the account exists.
    pub id: Option<AccountId>,
    /// The number of its events.
    pub version: u32,
    /// The login name, sealed; none if another service holds it.
    pub username: Option<Held>,
    /// The password, if this service checks it.
    pub credential: Option<Credential>,
    /// The second factor.
    pub factor: Factor,
    /// The number of the last code set, 0 before the first; it rises for the life of the account.
    pub set_no: u32,
    /// Wrong app codes and what they led to.
    pub attempts: CodeAttempts,
    /// Wrong passwords by source.
    pub passwords: PasswordAttempts,
    /// Open login challenges, oldest first.
    pub challenges: Vec<Challenge>,
    /// When support cleared the attempts, and which agent, oldest first.
    pub clears: Vec<Clear>,
    /// Whether events of the account may be lost, so that nothing is believed before a reset.
    pub until_reset: bool,
    /// The open reset case.
    pub reset: Option<Case>,
    /// The last executed reset.
    pub after_reset: Option<AfterReset>,
}

/// A protected field with its place in the log, which its associated data names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The protected value.
    pub value: Protected,
    /// The account's version of the event that carries it.
    pub version: u32,
    /// The type number of this event.
    pub event_type: u16,
    /// The number of the field in this event.
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
    /// No second factor. `lapsed` names an enrolment that was found expired, so that its owner
    /// learns why it cannot be confirmed.
    Off {
        /// The authenticator of the expired enrolment.
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
    /// The highest accepted step; it and every earlier step are spent.
    pub last_step: u64,
    /// When the factor was turned on.
    pub enabled_at: Micros,
    /// The backup codes.
    pub codes: CodeSet,
}

/// The current set of backup codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSet {
    /// The number of the set.
    pub set_no: u32,
    /// The sealed list of Argon2id verifiers, one per ordinal.
    pub verifiers: Option<Held>,
    /// Whether each ordinal, from 1, is unused.
    pub unused: Vec<bool>,
}

impl CodeSet {
    /// Returns the number of unused codes.
    pub fn left(&self) -> u8 {
        self.unused.iter().filter(|unused| **unused).count() as u8
    }

    /// Returns whether the code with this ordinal, from 1, exists and is unused.
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
    /// The caller that opened it, the only one that may answer it.
    pub caller: String,
    /// The account's version that set the password it rests on, 0 where the caller vouched.
    pub credential: u32,
    /// Keyed hash of the source at which the login began.
    pub source_key: [u8; 8],
    /// The only audience that the login may be asserted to; any audience if none.
    pub audience: Option<String>,
}

impl Challenge {
    /// Returns the first factor that the challenge rests on.
    pub(super) fn first_factor(&self) -> FirstFactor {
        match self.credential {
            0 => FirstFactor::Vouched,
            version => FirstFactor::Password(version),
        }
    }
}

/// One act of support that cleared the attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clear {
    /// When the agent cleared them.
    pub at: Micros,
    /// The agent's name.
    pub by: String,
}

/// An open reset case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The id of the case.
    pub case_id: String,
    /// The agent who requested it.
    pub requested_by: String,
    /// When it expires.
    pub expires_at: Micros,
    /// When it may be executed; none before its approval.
    pub execute_after: Option<Micros>,
}

/// The last executed reset, which logins report for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterReset {
    /// When it was executed.
    pub at: Micros,
    /// Until when logins report it.
    pub told_until: Micros,
}

impl Account {
    /// Returns whether the account exists.
    pub fn exists(&self) -> bool {
        self.id.is_some()
    }

    /// Returns the key of its stream, once it exists.
    pub fn stream_key(&self) -> Option<StreamKey> {
        self.id.as_ref().map(StreamKey::of)
    }

    /// Returns the second factor that is on.
    pub fn on(&self) -> Option<&On> {
        match &self.factor {
            Factor::On(on) => Some(on),
            Factor::Off { .. } | Factor::Pending(_) => None,
        }
    }

    /// Returns the pending enrolment, expired or not.
    pub fn pending(&self) -> Option<&Pending> {
        match &self.factor {
            Factor::Pending(pending) => Some(pending),
            Factor::Off { .. } | Factor::On(_) => None,
        }
    }
}
