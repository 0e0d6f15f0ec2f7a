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

use super::codes::{self, GivenCode};
use super::evidence::{Created, Evidence, ProofEvidence};
use super::outcome::Reply;
use super::{Account, Ctx, Decision, Step};

/// The version that stands in events where another service holds the password.
pub const ELSEWHERE: u32 = u32::MAX;

pub(super) fn register(
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

pub(super) fn change_password(
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
    let passwords = &account.passwords;
    let is_known = passwords.knows(ctx.source_key, ctx.gated_at);
    let beside_it = ctx.source_waits_s.filter(|_| !is_known);
    let here = passwords.waiting_s(ctx.source_key, ctx.gated_at);
    if let Some(seconds) = here.max(beside_it) {
        return Err(Box::new(Decision::refused_for(
            ErrorCode::AccountThrottled,
            seconds,
        )));
    }
    let current = account.credential.as_ref().map_or(0, |c| c.version);
    let ended = match evidence.proof {
        ProofEvidence::Vouched | ProofEvidence::Elsewhere { right: true }
            if account.until_reset =>
        {
            suspended()
        }
        ProofEvidence::Vouched => return Ok(FirstFactor::Vouched),
        ProofEvidence::Elsewhere { right: true } => return Ok(FirstFactor::Password(ELSEWHERE)),
        ProofEvidence::Elsewhere { right: false } => {
            wrong_password(account, purpose, ELSEWHERE, ctx)
        }
        ProofEvidence::Compared {
            credential,
            right: true,
        } if credential == current && account.credential.is_some() => match account.until_reset {
            true => suspended(),
            false => return Ok(FirstFactor::Password(current)),
        },
        ProofEvidence::Compared {
            credential,
            right: false,
        } if credential == current => wrong_password(account, purpose, current, ctx),
        ProofEvidence::Compared { .. } | ProofEvidence::NotCompared => {
            Decision::Needs(Step::ComparePassword)
        }
        ProofEvidence::Absent if !account.exists() => Decision::refused(ErrorCode::AccountNotFound),
        ProofEvidence::Absent => Decision::refused(ErrorCode::CredentialsInvalid),
    };
    Err(Box::new(ended))
}

/// What is known of the account may be out of date, the password itself too: only a reset helps.
fn suspended() -> Decision {
    Decision::refused(ErrorCode::FactorSuspended)
}

fn wrong_password(account: &Account, purpose: Purpose, credential: u32, ctx: &Ctx) -> Decision {
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
