//! A thread of the pool takes one slow step and sends the command back to the writer.

pub(super) mod evidence;
pub(super) mod hashing;
pub(super) mod password_service;
pub mod pool;
pub(super) mod subject;

use std::panic::{AssertUnwindSafe, catch_unwind};

use countersign_schemas::refusal::ErrorCode;

use super::message::Job;
use super::message::{Message, Submission, ToWriter};
use super::shared::Shared;
use crate::account::Step;

/// Takes the step of a job; its command returns to the writer whatever happens.
pub(super) fn prove(shared: &Shared, to_writer: &ToWriter, (mut submission, step): Job) {
    let taken = catch_unwind(AssertUnwindSafe(|| take(shared, &mut submission, step)));
    let taken = taken.unwrap_or_else(|_| {
        tracing::error!(
            command = submission.request.command.name(),
            "a step panicked"
        );
        Err(ErrorCode::Internal)
    });
    if let Err(Message::Stepped(submission, _)) =
        to_writer.send(Message::Stepped(submission, taken))
    {
        // The writer has failed, and the service stops.
        submission.refuse(ErrorCode::OutcomeUnknown);
    }
}

fn take(shared: &Shared, submission: &mut Submission, step: Step) -> Result<(), ErrorCode> {
    let deadline = submission.request.deadline;
    let is_late = deadline.is_some_and(|deadline| shared.now() > deadline);
    if is_late && !submission.evidence.has_compared() {
        return Err(ErrorCode::DeadlineExceeded);
    }
    let gated = submission.gated.as_ref().ok_or(ErrorCode::Internal)?;
    let (request, found) = (&submission.request, &mut submission.evidence);
    evidence::take(shared, request, &gated.account, step, found)
}
