//! What a command came to.

use countersign_schemas::event::Event;
use countersign_schemas::refusal::{ErrorCode, Refusal};

use super::Reply;

/// A verdict and its events in one value, so that neither can be forgotten.
#[derive(Debug)]
pub enum Decision {
    /// Decided: the events to record (perhaps none) and the answer.
    Done {
        /// What is to be recorded, in order, as one group.
        events: Vec<Event>,
        /// What is answered once that is durable.
        reply: Result<Reply, Refusal>,
    },
    /// The gate is open and the decision waits for this step; evidence of another account, set or
    /// secret counts as none.
    Needs(Step),
}

/// What a decision waits for. A rule asks for one step at a time, so nothing is compared behind a
/// closed gate, and nothing is made for a command that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The password is to be compared.
    ComparePassword,
    /// The code is to be compared.
    CompareCode,
    /// A verifier of the new password is to be made.
    MakeVerifier,
    /// Ten backup codes are to be made.
    MakeCodes,
    /// A verifier is to be made that takes the place of the outdated one.
    Rehash,
}

impl Decision {
    pub(super) fn recorded(events: Vec<Event>, reply: Reply) -> Self {
        Self::Done {
            events,
            reply: Ok(reply),
        }
    }

    pub(super) fn recorded_refusal(events: Vec<Event>, refusal: Refusal) -> Self {
        Self::Done {
            events,
            reply: Err(refusal),
        }
    }

    pub(super) fn refused(code: ErrorCode) -> Self {
        Self::Done {
            events: Vec::new(),
            reply: Err(Refusal::new(code)),
        }
    }

    /// The same with one safe sentence more.
    pub(super) fn refused_because(code: ErrorCode, detail: &'static str) -> Self {
        Self::Done {
            events: Vec::new(),
            reply: Err(Refusal::because(code, detail)),
        }
    }

    pub(super) fn refused_for(code: ErrorCode, seconds: u64) -> Self {
        Self::Done {
            events: Vec::new(),
            reply: Err(Refusal::after(code, seconds)),
        }
    }
}
