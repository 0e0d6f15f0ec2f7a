//! The rules: one account, what it remembers (`evolve`) and what it answers (`decide`).
//!
//! Pure: no clock, no randomness, no IO. What a decision needs from outside comes as arguments
//! ([`Evidence`], [`Ctx`]), and its result is in its events, so folding the same log gives the same
//! account on any machine, for ever. No event is built anywhere else.
//!
//! ```text
//!          enable-2fa                 confirm-code
//!   Off ───────────────▶ Pending ─────────────────▶ On
//!    ▲                     │  cancel, 5 wrong        │
//!    ├─────────────────────┘  codes, 10 minutes      │
//!    └───────────────────────────────────────────────┘ disable-2fa
//! ```

pub mod attempts;
pub mod passwords;

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
mod shown_once;
mod state;

#[cfg(test)]
mod tests;

use countersign_schemas::command::Command;

pub use attempts::CodeAttempts;
pub use decision::{Ctx, Decision, ENTROPY_LEN, Step};
pub use evidence::{CodeEvidence, Created, Evidence, Issued, Kept, ProofEvidence};
pub use evolve::Recorded;
pub use outcome::{LoginReply, Reply, ResetReply, SecretReply};
pub use passwords::PasswordAttempts;
pub use policy::Policy;
pub use state::{
    Account, AfterReset, CHALLENGES_MAX, Case, Challenge, Clear, CodeSet, Credential, Factor, Held,
    On, Pending, USERNAME_FIELD,
};

/// Decides one command against the account as it is now.
///
/// Total and deterministic: the same account, command, evidence and context give the same
/// decision. It is the only gate: without evidence it refuses every command that can be refused
/// before a comparison, and otherwise returns the step that it needs next. A refusal that counts an
/// attempt carries the event that counts it.
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
