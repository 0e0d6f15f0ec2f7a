//! Accounts and passwords.

use countersign_schemas::command::{ChangePassword, RegisterAccount};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{
    AccountRegistered, PasswordCause, PasswordRejected, PasswordSet, Purpose,
};
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::log::v1::UnknownNameRefused;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::sealed::Protected;

use super::codes;
use super::codes::GivenCode;
use crate::account::evidence::{Created, Evidence, ProofEvidence};
use crate::account::outcome::Reply;
use crate::account::{Account, Ctx, Decision, Step};

/// The credential version in events of an account whose password another service holds.
pub const ELSEWHERE: u32 = u32::MAX;

/// Registers an account with a username and a password.
///
/// Checks the password against the policy (NIST SP 800-63B §3.1.1.2), then that the id and the name
/// are free. Records `account-registered` and `password-set`; no refusal counts as an attempt.
pub(in crate::account) fn register(
    account: &Account,
    command: &RegisterAccount,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    if !ctx.policy.accepts(&command.password) {
        return Decision::refused(ErrorCode::PasswordUnacceptable);
    }
    if account.exists() || ctx.name_taken {
        return Decision::refused(ErrorCode::AccountExists);
    }
    let Some(account_id) = &command.account_id else {
        // The engine gives every new account an id before it asks for a decision.
        return Decision::refused(ErrorCode::Internal);
    };
    let Created::Verifier(verifier) = &evidence.created else {
        return Decision::Needs(Step::MakeVerifier);
    };
    let username = Some(Protected::clear(command.username.as_str().as_bytes()));
    let events = vec![
        Event::AccountRegistered(AccountRegistered { username }),
        Event::PasswordSet(PasswordSet {
            verifier: verifier.clone(),
            cause: PasswordCause::Registered,
        }),
    ];
    Decision::recorded(
        events,
        Reply::AccountRegistered {
            account_id: account_id.clone(),
        },
    )
}

/// Replaces a password.
///
/// Checks the new password against the policy, then the first factor, then that the account exists,
/// then the code if one is given or policy requires one. Records the accepted code and
/// `password-set`. A wrong password or code, and a missing code that policy requires, count as
/// attempts.
pub(in crate::account) fn change_password(
    account: &Account,
    command: &ChangePassword,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    if !ctx.policy.accepts(&command.new_password) {
        return Decision::refused(ErrorCode::PasswordUnacceptable);
    }
    let purpose = Purpose::ChangePassword;
    let proof = match prove(account, evidence, purpose, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    if !account.exists() {
        return Decision::refused(ErrorCode::CredentialsInvalid);
    }
    let given = GivenCode {
        code: command.code.as_ref(),
        next_code: command.next_code.as_ref(),
    };
    let code = match codes::prove(account, given, purpose, proof, evidence, ctx) {
        Ok(code) => code,
        Err(decision) => return *decision,
    };
    let Created::Verifier(verifier) = &evidence.created else {
        return Decision::Needs(Step::MakeVerifier);
    };
    let event = Event::PasswordSet(PasswordSet {
        verifier: verifier.clone(),
        cause: PasswordCause::Changed,
    });
    let spent = code.map(|accepted| accepted.event);
    Decision::recorded(
        spent.into_iter().chain([event]).collect(),
        Reply::PasswordChanged,
    )
}

/// Judges the first factor of a command.
///
/// Wrong passwords are counted by source: at the account, under the text that names it, and over
/// all names. An unknown account is refused like a wrong password. No password is compared for a
/// source that waits; a source from which the owner completed a login in the last 30 days waits
/// only for its own failures at this account.
///
/// # Errors
/// The decision that ends the command, or the step that compares the password.
pub(super) fn prove(
    account: &Account,
    evidence: &Evidence,
    purpose: Purpose,
    ctx: &Ctx,
) -> Result<FirstFactor, Box<Decision>> {
    if let Some(seconds) = waiting_s(account, ctx) {
        return Err(Box::new(Decision::refused_for(
            ErrorCode::AccountThrottled,
            seconds,
        )));
    }
    Err(Box::new(match judge(account, evidence) {
        // Events of the account may be lost, a change of its password among them.
        Judged::Right(_) if account.until_reset => account.refused_as_suspended(),
        Judged::Right(first_factor) => return Ok(first_factor),
        Judged::Wrong(credential) => wrong_password(account, purpose, credential, ctx),
        Judged::NotCompared => Decision::Needs(Step::ComparePassword),
        Judged::Missing => missing(account, ctx),
    }))
}

/// Returns the seconds for which no password of this source is compared; `None` if it may try now.
pub(super) fn waiting_s(account: &Account, ctx: &Ctx) -> Option<u64> {
    let passwords = &account.passwords;
    let is_known = passwords.knows(ctx.source_key, ctx.gated_at);
    let beside_it = ctx.source_waits_s.filter(|_| !is_known);
    passwords
        .waiting_s(ctx.source_key, ctx.gated_at)
        .max(beside_it)
}

/// The result of judging a command's first factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is the one in force, or the caller vouches for it.
    Right(FirstFactor),
    /// It is not the one in force; the version that it was compared with.
    Wrong(u32),
    /// It was not compared with the one in force yet.
    NotCompared,
    /// The command has none.
    Missing,
}

/// Judges the first factor without regard to waits. Evidence about another password counts as none.
pub(super) fn judge(account: &Account, evidence: &Evidence) -> Judged {
    let current = account.credential.as_ref().map_or(0, |c| c.version);
    match evidence.proof {
        ProofEvidence::Vouched => Judged::Right(FirstFactor::Vouched),
        ProofEvidence::Elsewhere { right: true } => Judged::Right(FirstFactor::Password(ELSEWHERE)),
        ProofEvidence::Elsewhere { right: false } => Judged::Wrong(ELSEWHERE),
        ProofEvidence::Compared {
            credential,
            right: true,
        } if credential == current && account.credential.is_some() => {
            Judged::Right(FirstFactor::Password(current))
        }
        ProofEvidence::Compared {
            credential,
            right: false,
        } if credential == current => Judged::Wrong(current),
        ProofEvidence::Compared { .. } | ProofEvidence::NotCompared => Judged::NotCompared,
        ProofEvidence::Absent => Judged::Missing,
    }
}

/// Returns the refusal of a command that lacks a required first factor.
pub(super) fn missing(account: &Account, ctx: &Ctx) -> Decision {
    Decision::refused(match account.exists() || ctx.is_elsewhere {
        true => ErrorCode::CredentialsInvalid,
        false => ErrorCode::AccountNotFound,
    })
}

/// Refuses a wrong first factor, and counts it by source.
pub(super) fn wrong_password(
    account: &Account,
    purpose: Purpose,
    credential: u32,
    ctx: &Ctx,
) -> Decision {
    let event = if account.exists() {
        let counted = account
            .passwords
            .counted(ctx.source_key, ctx.now, ctx.policy);
        Event::PasswordRejected(PasswordRejected {
            purpose,
            credential,
            failures: counted.failures,
            wait_until: counted.wait_until,
            day_failures: counted.day_failures,
            all_wait_until: counted.all_wait_until,
        })
    } else {
        // The log does not keep the name; the engine counts failures by the text of the name.
        Event::UnknownNameRefused(UnknownNameRefused { count: 1 })
    };
    Decision::recorded_refusal(vec![event], Refusal::new(ErrorCode::CredentialsInvalid))
}
