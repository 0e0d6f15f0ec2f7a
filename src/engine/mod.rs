//! The engine: evidence, the writer, and what follows a commit.
//!
//! ```text
//!  submit ─▶ evidence ─▶ queue ─▶ writer ─▶ log ─▶ replies
//!            (pool)      (4096)     │ decide, seal, one commit
//!                                   └─▶ accounts, directory, views
//! ```

use countersign_schemas::command::Command;
use countersign_schemas::ids::CommandId;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use crate::account::Reply;

mod handle;

pub use handle::{Engine, Queries};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name: the broker's word in verified mode, the caller's own in dev mode.
    pub name: String,
    /// Whether the broker vouches for it.
    pub verified: bool,
    /// The role that the subject stands for.
    pub role: Role,
}

/// One command on its way to a decision.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// The caller's idempotency key.
    pub command_id: CommandId,
    /// Who asks.
    pub caller: Caller,
    /// For whom the caller says it acts; recorded, never trusted.
    pub on_behalf_of: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// HMAC over caller, subject and payload.
    pub body_tag: [u8; 16],
    /// When it arrived, by the wall clock.
    pub received_at: Micros,
    /// Later than this nothing is appended.
    pub deadline: Option<Micros>,
}

/// What became of a command, told after the commit that it rests on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub result: Result<Done, Refusal>,
    /// Whether it is the stored outcome of an earlier identical command.
    pub replayed: bool,
}

/// A command that was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it answers.
    pub reply: Reply,
    /// Where its last event stands.
    pub details: Details,
}

/// Takes the outcome; called exactly once, from the writer's or a pool's thread, and must not block.
pub type ReplyTo = Box<dyn FnOnce(Outcome) + Send>;
