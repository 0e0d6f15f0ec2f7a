//! The rules: one account, what it remembers (`evolve`) and what it answers (`decide`).
//!
//! Pure: no clock, no randomness, no IO. What a decision needs of the world comes as arguments
//! ([`Evidence`], [`Ctx`]) and what it led to stands in its events, so folding the same log gives
//! the same account on any machine, for ever. No event is built anywhere else.
//!
//! ```text
//!          enable-2fa                 confirm-code
//!   Off ───────────────▶ Pending ─────────────────▶ On
//!    ▲                     │  cancel, 5 wrong        │
//!    ├─────────────────────┘  codes, 10 minutes      │
//!    └───────────────────────────────────────────────┘ disable-2fa
//! ```

mod blocklist;
mod decision;
mod evidence;
mod evolve;
pub mod explain;
pub mod guessing;
mod memory;
pub mod outcome;
pub mod policy;
pub mod rules;
pub mod service;
mod told_once;

#[cfg(test)]
mod tests;

use countersign_schemas::command::Command;
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

pub use decision::{Decision, Step};
pub use evidence::{CodeEvidence, Created, Evidence, Issued, Kept, ProofEvidence};
pub use evolve::Recorded;
pub use outcome::Reply;
pub use policy::Policy;
pub use rules::attempts::CodeAttempts;
pub use rules::clear::Clear;
pub use rules::passwords::PasswordAttempts;
pub use rules::reset::{AfterReset, Case};

/// Open login challenges of one account; the oldest is dropped for a ninth.
pub const CHALLENGES_MAX: usize = 8;
/// Number of the sealed username among the fields of `account-registered`.
pub const USERNAME_FIELD: u16 = 1;
/// Random bytes that one decision may use.
pub const ENTROPY_LEN: usize = 64;

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
    fn first_factor(&self) -> FirstFactor {
        match self.credential {
            0 => FirstFactor::Vouched,
            version => FirstFactor::Password(version),
        }
    }
}

/// What a decision may know of the world beyond the account.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    /// Log time: it never runs backwards, and what the decision leads to counts from it.
    pub now: Micros,
    /// Log time when the command reached its gate. Whether something still waits or has lapsed is
    /// judged as of then, so that the time that a comparison takes changes no answer.
    pub gated_at: Micros,
    /// What the wall clock must have reached for codes to be checked: log time, or the wall clock
    /// that an operator took for right while it lies behind.
    pub clock_floor: Micros,
    /// The numbers to decide by.
    pub policy: &'a Policy,
    /// Random bytes for what the decision creates.
    pub entropy: &'a [u8; ENTROPY_LEN],
    /// The caller's name.
    pub caller: &'a str,
    /// Keyed hash of where the request came from.
    pub source_key: [u8; 8],
    /// How many seconds the source still waits for wrong passwords beside the account: over all
    /// accounts and names, or at the text that names this one, whoever has it.
    pub source_waits_s: Option<u64>,
    /// How many seconds the source still waits for wrong pairs of password and code.
    pub pair_waits_s: Option<u64>,
    /// Whether passwords are checked elsewhere or vouched for, so that accounts need no registration:
    /// one that nothing is known of is then one whose second factor is off.
    pub is_elsewhere: bool,
    /// Whether another account holds the username that the command names.
    pub name_taken: bool,
    /// The number of the next keys; none while the last ones still replace those before.
    pub next_key_id: Option<u32>,
    /// When the caller did what the command asks for, to any account, within the policy's window at
    /// least; empty for what is not counted so.
    pub requested_at: &'a [Micros],
    /// Whether the caller's own name is that of the account.
    pub is_own_account: bool,
}

/// Decides one command against the account as it is now.
///
/// Total and deterministic: the same account, command, evidence and context give the same
/// decision. It is the only gate: asked without evidence it refuses what is refused uncompared, and
/// otherwise says which step it needs next. Refusals that count an attempt carry the event that
/// counts it.
pub fn decide(account: &Account, command: &Command, evidence: &Evidence, ctx: &Ctx) -> Decision {
    match command {
        Command::RegisterAccount(c) => rules::credentials::register(account, c, evidence, ctx),
        Command::ChangePassword(c) => {
            rules::credentials::change_password(account, c, evidence, ctx)
        }
        Command::Enable2fa(c) => rules::enrolment::enable(account, c, evidence, ctx),
        Command::ConfirmCode(c) => rules::enrolment::confirm(account, c, evidence, ctx),
        Command::CancelEnrolment(c) => rules::enrolment::cancel(account, c, ctx),
        Command::RegenerateBackupCodes(c) => {
            rules::backup_codes::regenerate(account, c, evidence, ctx)
        }
        Command::Disable2fa(c) => rules::enrolment::disable(account, c, evidence, ctx),
        Command::StartLogin(c) => rules::login::start(account, c, evidence, ctx),
        Command::VerifyLogin(c) => rules::login::verify(account, c, evidence, ctx),
        Command::UserCancelReset(c) => rules::reset::user_cancel(account, c, ctx),
        Command::ClearAttempts(c) => rules::clear::clear(account, c, ctx),
        Command::SuspendFactor(c) => rules::suspension::suspend(account, c, ctx),
        Command::RequestReset(c) => rules::reset::request(account, c, ctx),
        Command::ApproveReset(c) => rules::reset::approve(account, c, ctx),
        Command::RejectReset(c) => rules::reset::reject(account, c, ctx),
        Command::CancelReset(c) => rules::reset::cancel(account, c, ctx),
        Command::ExecuteReset(c) => rules::reset::execute(account, c, ctx),
        Command::EraseAccount(c) => rules::erasure::erase(account, c, ctx),
        Command::RotateKeys(c) => rules::rotation::rotate(c, ctx),
    }
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

    /// The refusal of a command that needs a factor in force where there is none.
    fn why_not_on(&self, ctx: &Ctx) -> ErrorCode {
        match self.exists() || ctx.is_elsewhere {
            true => ErrorCode::FactorNotOn,
            false => ErrorCode::AccountNotFound,
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
