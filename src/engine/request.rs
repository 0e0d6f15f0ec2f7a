//! A command on its way in, and what became of it on its way out.

use countersign_schemas::code::Code;
use countersign_schemas::command::{Command, Proof};
use countersign_schemas::ids::CommandId;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;
use countersign_schemas::secret::SecretText;
use countersign_schemas::time::Micros;

use super::counts::source::Source;
use crate::account::Reply;

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

/// Who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The caller of the query.
    pub caller: Caller,
    /// For whom the caller says it acts; sealed, never trusted.
    pub on_behalf_of: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<[u8; 16]>,
}

/// What a repeat of a command is recognised by. Neither is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyTags {
    /// Keyed hash over caller, subject and every byte of the payload, of this process only.
    pub(super) exact: [u8; 16],
    /// Hash over caller, subject and what is asked without its secrets; its tag is recorded.
    pub(super) asked: [u8; 32],
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
    /// What a repeat of it is recognised by.
    pub tags: BodyTags,
    /// When it arrived, by the wall clock.
    pub received_at: Micros,
    /// Later than this nothing is appended.
    pub deadline: Option<Micros>,
    /// Where it came from.
    source: Source,
}

impl Request {
    /// A request with a command, an id and a caller, and with nothing else that a request may have.
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

    /// Where it came from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }
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
    /// The wall clock when it was decided: what an assertion counts its time from. Log time can lie
    /// ahead of it for as long as somebody's clock was wrong.
    pub decided_at: Micros,
}

impl Done {
    /// Pairs an answer with its place; one that stands nowhere was decided at no time.
    pub(super) fn new(reply: Reply, details: Details, wall: Micros) -> Self {
        Self {
            reply,
            decided_at: details.at.min(wall),
            details,
        }
    }
}

/// Takes the outcome; called exactly once, from the writer's or a pool's thread, and must not block.
pub type ReplyTo = Box<dyn FnOnce(Outcome) + Send>;

impl Outcome {
    /// A refusal that rests on no stored outcome.
    pub(super) fn refused(code: ErrorCode) -> Self {
        Self {
            result: Err(Refusal::new(code)),
            replayed: false,
        }
    }
}

/// Whether a command rests on its caller's word for the first factor: a login that names the
/// account itself, or no password where `vouched` says that callers hold them.
pub fn is_vouched(command: &Command, vouched: bool) -> bool {
    let without_password = match command {
        Command::VerifyLogin(c) => return c.account_id.is_some(),
        Command::StartLogin(c) => c.password.is_none(),
        Command::Enable2fa(c) => c.proof.is_none(),
        Command::RegenerateBackupCodes(c) => password_of(c.proof.as_ref()).is_none(),
        Command::Disable2fa(c) => password_of(c.proof.as_ref()).is_none(),
        Command::RegisterAccount(_)
        | Command::ChangePassword(_)
        | Command::ConfirmCode(_)
        | Command::CancelEnrolment(_)
        | Command::UserCancelReset(_)
        | Command::ClearAttempts(_)
        | Command::SuspendFactor(_)
        | Command::RequestReset(_)
        | Command::ApproveReset(_)
        | Command::RejectReset(_)
        | Command::CancelReset(_)
        | Command::ExecuteReset(_)
        | Command::EraseAccount(_)
        | Command::RotateKeys(_) => false,
    };
    vouched && without_password
}

/// The password of a proof.
pub(super) fn password_of(proof: Option<&Proof>) -> Option<&SecretText> {
    proof.and_then(|proof| proof.password.as_ref())
}

/// The code of a proof and the one that follows it.
pub(super) type GivenCode<'a> = (Option<&'a Code>, Option<&'a Code>);

/// The codes of a proof.
pub(super) fn code_of(proof: Option<&Proof>) -> GivenCode<'_> {
    let code = proof.and_then(|proof| proof.code.as_ref());
    (code, proof.and_then(|proof| proof.next_code.as_ref()))
}

/// Says why a store cannot answer, and gives the word for it.
pub fn unavailable(error: &dyn std::fmt::Display) -> ErrorCode {
    tracing::error!(%error, "a command is refused because a store cannot be read");
    ErrorCode::StoreUnavailable
}
