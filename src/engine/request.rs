//! A command on its way in, and its outcome on its way out.

use countersign_schemas::command::Command;
use countersign_schemas::concerns::FirstFactor;
use countersign_schemas::ids::CommandId;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use super::counts::source::Source;
use crate::account::Reply;

/// The caller of a command or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's name: vouched for by the broker in verified mode, claimed by the caller in dev
    /// mode.
    pub name: String,
    /// Whether the broker vouches for the name.
    pub verified: bool,
    /// The role that the request's subject names.
    pub role: Role,
}

/// The person who views a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The caller of the query.
    pub caller: Caller,
    /// The person that the caller says it acts for; sealed, never trusted.
    pub on_behalf_of: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
}

/// The hashes that recognise a repeat of a command. Neither is written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyTags {
    /// Keyed hash over caller, subject and every byte of the payload, of this process only.
    pub(super) exact: [u8; 16],
    /// Hash over caller, subject and the request without its secrets; its tag is recorded.
    pub(super) asked: [u8; 32],
}

/// One command on its way to a decision.
#[derive(Debug)]
pub struct Request {
    /// The command itself.
    pub command: Command,
    /// The caller's idempotency key.
    pub command_id: CommandId,
    /// The caller.
    pub caller: Caller,
    /// The person that the caller says it acts for; recorded, never trusted.
    pub on_behalf_of: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
    /// The hashes that recognise a repeat of it.
    pub tags: BodyTags,
    /// When it arrived, by the wall clock.
    pub received_at: Micros,
    /// The time after which nothing is appended.
    pub deadline: Option<Micros>,
    /// The address or caller that it came from.
    source: Source,
}

impl Request {
    /// Builds a request from a command, an id and a caller, without any optional part.
    pub fn new(
        command: Command,
        command_id: CommandId,
        caller: Caller,
        tags: BodyTags,
        received_at: Micros,
    ) -> Self {
        Self {
            source: Source::of(command.context(), &caller.name),
            command,
            command_id,
            caller,
            on_behalf_of: None,
            trace_id: None,
            tags,
            received_at,
            deadline: None,
        }
    }

    /// Returns the address or caller that the request came from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }
}

/// The outcome of a command, reported after the commit that it rests on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer.
    pub result: Result<Done, Refusal>,
    /// Whether it is the stored outcome of an earlier identical command.
    pub replayed: bool,
}

/// A successful command.
#[derive(Clone, Debug)]
pub struct Done {
    /// The answer.
    pub reply: Reply,
    /// The place of its last event.
    pub details: Details,
    /// The wall clock at the decision: an assertion counts its time from it. Log time is ahead of
    /// it for as long as a clock was wrong.
    pub decided_at: Micros,
}

impl Done {
    /// Pairs an answer with its place, decided when its event was recorded but not after `wall`; an
    /// answer without an event has time zero.
    pub(super) fn new(reply: Reply, details: Details, wall: Micros) -> Self {
        Self {
            reply,
            decided_at: details.at.min(wall),
            details,
        }
    }
}

/// Receives the outcome; called exactly once, from the writer's or a pool's thread, and must not
/// block.
pub type ReplyTo = Box<dyn FnOnce(Outcome) + Send>;

impl Outcome {
    /// Returns a refusal that rests on no stored outcome.
    pub(super) fn refused(code: ErrorCode) -> Self {
        Self {
            result: Err(Refusal::new(code)),
            replayed: false,
        }
    }
}

/// Who checks passwords (`[directory] mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordsBy {
    /// This service, which holds their verifiers (`builtin`).
    #[default]
    Countersign,
    /// The password service, over NATS (`nats`); accounts need no registration.
    PasswordService,
    /// The caller, who vouches for the first factor (`vouched`); accounts need no registration.
    Caller,
}

/// Whether a command trusts its caller for the first factor: a login that names the account itself,
/// or no password where callers check passwords.
pub fn is_vouched(command: &Command, passwords_by: PasswordsBy) -> bool {
    match command.proof().first {
        FirstFactor::Vouched => true,
        FirstFactor::Password(None) => passwords_by == PasswordsBy::Caller,
        FirstFactor::Password(Some(_)) | FirstFactor::Own(_) | FirstFactor::NotAsked => false,
    }
}

/// Logs why a store cannot answer, and returns the error code for it.
pub fn unavailable(error: &dyn std::fmt::Display) -> ErrorCode {
    tracing::error!(%error, "a command is refused because a store cannot be read");
    ErrorCode::StoreUnavailable
}
