//! The way of a command to the writer: its evidence is gathered at once or in the pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use countersign_schemas::ids::CommandKey;
use countersign_schemas::refusal::ErrorCode;

use super::pool::Pool;
use super::{Message, Outcome, ReplyTo, Shared, Submission, evidence, subject};
use crate::account::Account;

/// The command's account as of its last durable event.
pub(super) fn current_account(
    shared: &Shared,
    submission: &Submission,
) -> Result<Arc<Account>, ErrorCode> {
    let subject = subject::subject(shared, &submission.request.command)?;
    shared.account(&subject, None)
}

/// Hands a command that costs a hash to the pool; sheds it when there is no room.
pub(super) fn enqueue_proof(pool: &Pool<Submission>, shared: &Shared, submission: Submission) {
    let key = match subject::subject(shared, &submission.request.command) {
        Ok(subject) => subject.queue_key(),
        Err(code) => return refuse(submission.reply, code),
    };
    let caller = submission.request.caller.name.clone();
    if let Err(shed) | Ok(Some(shed)) = pool.submit(key, &caller, submission) {
        shared.gauges.shed();
        refuse(shed.reply, ErrorCode::Overloaded);
    }
}

/// A pool thread's work: gathers evidence against the account as it is now.
pub(super) fn prove(shared: &Shared, queue: &SyncSender<Message>, submission: Submission) {
    match current_account(shared, &submission) {
        Ok(account) => gather_and_enqueue(shared, queue, submission, &account),
        Err(code) => refuse(submission.reply, code),
    }
}

/// Gathers evidence and hands the command to the writer.
pub(super) fn gather_and_enqueue(
    shared: &Shared,
    queue: &SyncSender<Message>,
    mut submission: Submission,
    account: &Account,
) {
    let gathered = catch_unwind(AssertUnwindSafe(|| {
        evidence::gather(shared, &submission.request, account)
    }));
    match gathered {
        Ok(Ok(evidence)) => submission.evidence = evidence,
        Ok(Err(refusal)) => return refuse(submission.reply, refusal.code),
        Err(_) => {
            tracing::error!(
                command = submission.request.command.name(),
                "a proof panicked"
            );
            return refuse(submission.reply, ErrorCode::Internal);
        }
    }
    enqueue(shared, queue, submission);
}

/// Whether the command was done before: the writer tells its outcome again, and needs no proof.
pub(super) fn is_repeat(shared: &Shared, submission: &Submission) -> bool {
    let request = &submission.request;
    let key = CommandKey::of(&request.caller.name, &request.command_id);
    // What cannot be read is found out, and told, by the writer.
    matches!(shared.index.command(&key, shared.log_time()), Ok(Some(_)))
}

/// Hands a command to the writer; sheds it when there is no room.
pub(super) fn enqueue(shared: &Shared, queue: &SyncSender<Message>, submission: Submission) {
    shared.gauges.queued();
    match queue.try_send(Message::Submission(Box::new(submission))) {
        Ok(()) => {}
        Err(TrySendError::Full(Message::Submission(submission))) => {
            shared.gauges.unqueued();
            refuse(submission.reply, ErrorCode::Overloaded);
        }
        Err(TrySendError::Disconnected(Message::Submission(submission))) => {
            shared.gauges.unqueued();
            refuse(submission.reply, ErrorCode::StoreUnavailable);
        }
        // Only submissions are sent here.
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
    }
}

/// Tells a refusal that rests on no commit.
pub(super) fn refuse(reply: ReplyTo, code: ErrorCode) {
    reply(Outcome::refused(code));
}
