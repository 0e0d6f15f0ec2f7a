//! The result of one command in the writer's batch.

use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;

use crate::account::{Reply, Step};
use crate::engine::{Done, Outcome};

/// The result of one command in the batch.
pub enum Verdict {
    /// The command is answered.
    Answer(Box<Outcome>),
    /// The command needs a step that the writer does not take itself.
    Needs(Step),
}

impl Verdict {
    /// Returns an answer that needs no event, or whose events are all recorded.
    pub fn answer(reply: Result<Reply, Refusal>, details: Details) -> Self {
        let result = reply.map(|reply| Done::new(reply, details, details.at));
        Self::Answer(Box::new(Outcome {
            result,
            replayed: false,
        }))
    }

    /// Returns a refusal.
    pub fn refused(code: ErrorCode) -> Self {
        Self::Answer(Box::new(Outcome::refused(code)))
    }
}
