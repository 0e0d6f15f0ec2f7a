//! A question to the password service: whether a password is an account's.

use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::secret::SecretText;

use crate::account::ProofEvidence;
use crate::engine::message::{Message, Submission, ToWriter};

/// Asks the password service; must not block.
pub type PasswordService = Box<dyn Fn(AskedPassword) + Send + Sync>;

/// Whether a password is an account's: a question that is answered exactly once, also if it gets
/// lost.
pub struct AskedPassword {
    /// The account in question.
    pub account_id: AccountId,
    /// The password.
    pub password: SecretText,
    answer: Answer,
}

struct Answer(Option<(Box<Submission>, ToWriter)>);

impl AskedPassword {
    /// Makes a question whose answer returns to the writer with the command.
    pub(in crate::engine) fn new(
        account_id: AccountId,
        password: SecretText,
        asked_for: (Box<Submission>, ToWriter),
    ) -> Self {
        Self {
            account_id,
            password,
            answer: Answer(Some(asked_for)),
        }
    }

    /// Answers whether the password is right, or why the password service gave no answer.
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
