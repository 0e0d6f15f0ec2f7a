//! Passwords that another service holds: it is asked as a step of the command, behind the gate.

use countersign_schemas::command::Command;
use countersign_schemas::ids::AccountId;
use countersign_schemas::secret::SecretText;

use crate::account::ProofEvidence;
use crate::engine::message::{Submission, ToWriter};
use crate::engine::request::password_of;
use crate::engine::shared::Shared;
use crate::engine::shared::asked_password::AskedPassword;

/// Asks the other service about a command's password; where nobody has that name it is wrong at
/// once, and the command is given back.
pub(in crate::engine) fn ask(
    shared: &Shared,
    to_writer: &ToWriter,
    mut submission: Box<Submission>,
) -> Option<Box<Submission>> {
    let gated = submission.gated.as_ref();
    let known = gated.and_then(|gated| gated.account.id.clone());
    let account_id = account_id(&submission.request.command).cloned().or(known);
    let password = password(&submission.request.command).cloned();
    let (Some(account_id), Some(password)) = (account_id, password) else {
        submission.evidence.proof = ProofEvidence::Elsewhere { right: false };
        return Some(submission);
    };
    let asked = AskedPassword::new(account_id, password, (submission, to_writer.clone()));
    match shared.password_service.get() {
        Some(service) => service(asked),
        None => drop(asked),
    }
    None
}

/// Whether another service holds the password that proves this command's owner; one that is to be
/// replaced is this service's own.
pub(in crate::engine) fn is_elsewhere(shared: &Shared, command: &Command) -> bool {
    shared.elsewhere && password(command).is_some()
}

fn password(command: &Command) -> Option<&SecretText> {
    match command {
        Command::StartLogin(c) => c.password.as_ref(),
        Command::Enable2fa(c) => c.proof.as_ref().map(|proof| &proof.password),
        Command::RegenerateBackupCodes(c) => password_of(c.proof.as_ref()),
        Command::Disable2fa(c) => password_of(c.proof.as_ref()),
        _ => None,
    }
}

fn account_id(command: &Command) -> Option<&AccountId> {
    match command {
        Command::StartLogin(c) => c.account_id.as_ref(),
        Command::Enable2fa(c) => Some(&c.account_id),
        Command::RegenerateBackupCodes(c) => Some(&c.account_id),
        Command::Disable2fa(c) => Some(&c.account_id),
        _ => None,
    }
}
