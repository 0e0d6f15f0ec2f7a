//! Passwords that another service holds: the service is asked as a step of the command, behind the
//! gate.

use countersign_schemas::command::Command;
use countersign_schemas::concerns::{FirstFactor, Target};
use countersign_schemas::secret::SecretText;

use crate::account::ProofEvidence;
use crate::engine::message::{Submission, ToWriter};
use crate::engine::request::PasswordsBy;
use crate::engine::shared::Shared;
use crate::engine::shared::asked_password::AskedPassword;

/// Asks the password service about a command's password. For an unknown name the password is wrong
/// at once, and the command is returned.
pub(in crate::engine) fn ask(
    shared: &Shared,
    to_writer: &ToWriter,
    mut submission: Box<Submission>,
) -> Option<Box<Submission>> {
    let gated = submission.gated.as_ref();
    let known = gated.and_then(|gated| gated.account.id.clone());
    let account_id = match submission.request.command.target() {
        Target::Account(id) => Some(id.clone()),
        _ => known,
    };
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

/// Whether the password service holds the password that proves this command's owner; a password
/// that the command replaces is this service's own.
pub(in crate::engine) fn is_elsewhere(shared: &Shared, command: &Command) -> bool {
    shared.passwords_by == PasswordsBy::PasswordService && password(command).is_some()
}

fn password(command: &Command) -> Option<&SecretText> {
    match command.proof().first {
        FirstFactor::Password(password) => password,
        FirstFactor::Own(_) | FirstFactor::Vouched | FirstFactor::NotAsked => None,
    }
}
