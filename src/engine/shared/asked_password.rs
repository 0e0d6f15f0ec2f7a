//! A password that another service is asked about.

use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::secret::SecretText;

use crate::account::ProofEvidence;
use crate::engine::message::{Message, Submission, ToWriter};

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
    /// A question whose answer goes back to the writer with the command.
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
