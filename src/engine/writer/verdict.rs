//! What became of one command in the writer's batch.

use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;

use crate::account::{Reply, Step};
use crate::engine::{Done, Outcome};

/// What became of one command in the batch.
pub enum Verdict {
    /// It is answered.
    Answer(Box<Outcome>),
    /// It needs a step that the writer does not take itself.
    Needs(Step),
}

impl Verdict {
    /// An answer that no event rests on, or all of them are recorded.
    pub fn answer(reply: Result<Reply, Refusal>, details: Details) -> Self {
        let result = reply.map(|reply| Done::new(reply, details, details.at));
        Self::Answer(Box::new(Outcome {
            result,
            replayed: false,
        }))
    }

    /// A refusal.
    pub fn refused(code: ErrorCode) -> Self {
        Self::Answer(Box::new(Outcome::refused(code)))
    }
}
