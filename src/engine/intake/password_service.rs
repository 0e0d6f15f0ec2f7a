//! Passwords that another service holds: it is asked as a step of the command, behind the gate.

use countersign_schemas::command::Command;
use countersign_schemas::concerns::{FirstFactor, Target};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::secret::SecretText;

use crate::account::ProofEvidence;
use crate::engine::message::{Message, Submission, ToWriter};
use crate::engine::{Engine, Shared};

/// Asks the other service; must not block.
pub type PasswordService = Box<dyn Fn(AskedPassword) + Send + Sync>;

/// Whether a password is an account's: a question that is answered once, also where it gets lost.
pub struct AskedPassword {
    /// Whose password it would be.
    pub account_id: AccountId,
    /// The password.
    pub password: SecretText,
    answer: Answer,
}

struct Answer(Option<(Box<Submission>, ToWriter)>);

impl AskedPassword {
    /// Answers: whether it is right, or why nobody said so.
    pub fn answer(mut self, answer: Result<bool, ErrorCode>) {
        self.answer.give(answer);
    }
}

impl Answer {
    fn give(&mut self, answer: Result<bool, ErrorCode>) {
        let Some((mut submission, to_writer)) = self.0.take() else {
            return;
        };
        let stepped = answer.map(|right| {
            submission.evidence.proof = ProofEvidence::Elsewhere { right };
        });
        if let Err(Message::Stepped(submission, _)) =
            to_writer.send(Message::Stepped(submission, stepped))
        {
            submission.refuse(ErrorCode::OutcomeUnknown);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(Err(ErrorCode::DirectoryUnavailable));
    }
}

impl Engine {
    /// Asks this service about passwords from now on, where the configuration says that another
    /// service holds them; without one they are `directory.unavailable`.
    pub fn ask_about_passwords(&self, service: PasswordService) {
        if self.shared.password_service.set(service).is_err() {
            tracing::error!(
                "the service that checks passwords is known already; the first one is asked"
            );
        }
    }
}

/// Asks the other service about a command's password; where nobody has that name it is wrong at
/// once, and the command is given back.
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
    let asked = AskedPassword {
        account_id,
        password,
        answer: Answer(Some((submission, to_writer.clone()))),
    };
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
    match command.proof().first {
        FirstFactor::Password(password) => password,
        FirstFactor::Own(_) | FirstFactor::Vouched | FirstFactor::NotAsked => None,
    }
}
