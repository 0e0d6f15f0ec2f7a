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

/// The version that stands in events where another service holds the password.
pub const ELSEWHERE: u32 = u32::MAX;

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
        // The engine names the account before it asks.
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

/// Judges the first factor: the proof in force, or the decision that ends the command.
///
/// Wrong passwords are counted by source: here, at the text that names the account, and over all
/// names. An unknown account answers as a wrong password. A source that waits is not compared; one
/// from which the owner lately completed a login waits for its own failures at this account only.
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
        // What is known of the account may be out of date, the password itself too.
        Judged::Right(_) if account.until_reset => account.refused_as_suspended(),
        Judged::Right(first_factor) => return Ok(first_factor),
        Judged::Wrong(credential) => wrong_password(account, purpose, credential, ctx),
        Judged::NotCompared => Decision::Needs(Step::ComparePassword),
        Judged::Missing => missing(account, ctx),
    }))
}

/// The seconds that no password of this source is compared.
pub(super) fn waiting_s(account: &Account, ctx: &Ctx) -> Option<u64> {
    let passwords = &account.passwords;
    let is_known = passwords.knows(ctx.source_key, ctx.gated_at);
    let beside_it = ctx.source_waits_s.filter(|_| !is_known);
    passwords
        .waiting_s(ctx.source_key, ctx.gated_at)
        .max(beside_it)
}

/// What a command's first factor was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is the one in force.
    Right(FirstFactor),
    /// It is not; the version that it was compared with.
    Wrong(u32),
    /// Whether it is, is to be found out.
    NotCompared,
    /// There is none.
    Missing,
}

/// Judges the first factor, whoever waits; evidence of another password counts as none.
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

/// The refusal of a command that brings no first factor where one is needed.
pub(super) fn missing(account: &Account, ctx: &Ctx) -> Decision {
    Decision::refused(match account.exists() || ctx.is_elsewhere {
        true => ErrorCode::CredentialsInvalid,
        false => ErrorCode::AccountNotFound,
    })
}

/// A first factor that failed, counted by source.
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
        // The log keeps no trace of which name it was; the engine counts it in memory.
        Event::UnknownNameRefused(UnknownNameRefused { count: 1 })
    };
    Decision::recorded_refusal(vec![event], Refusal::new(ErrorCode::CredentialsInvalid))
}
