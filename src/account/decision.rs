//! The result of a command.

use countersign_schemas::event::Event;
use countersign_schemas::refusal::{ErrorCode, Refusal};

use super::Reply;
use super::policy::Policy;
use super::state::Account;
use countersign_schemas::time::Micros;

/// A verdict and its events in one value, so that neither can be forgotten.
#[derive(Debug)]
pub enum Decision {
    /// Decided: the events to record (perhaps none) and the reply.
    Done {
        /// The events to record, in order, as one group.
        events: Vec<Event>,
        /// The reply, to be sent once the events are durable.
        reply: Result<Reply, Refusal>,
    },
    /// The gate is open and the decision waits for this step. Evidence about another account, code
    /// set or secret counts as none.
    Needs(Step),
}

/// The step that a decision waits for. A rule asks for one step at a time, so nothing is compared
/// behind a closed gate, and nothing is made for a command that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Compare the password.
    ComparePassword,
    /// Compare the code.
    CompareCode,
    /// Make a verifier of the new password.
    MakeVerifier,
    /// Make ten backup codes.
    MakeCodes,
    /// Make a verifier that replaces the outdated one.
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

    /// Refuses with one more sentence, which must be safe to show.
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

/// The number of random bytes that one decision may use.
pub const ENTROPY_LEN: usize = 64;

/// The facts from outside the account that a decision may use.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    /// Log time, which never runs backwards. Every time in the decision's events counts from it.
    pub now: Micros,
    /// Log time when the command reached its gate. Waits and expiries are judged as of this time,
    /// so the time that a comparison takes does not change the reply.
    pub gated_at: Micros,
    /// The time that the wall clock must have reached for codes to be checked: log time, or the
    /// earlier wall clock that an operator accepted as right.
    pub clock_floor: Micros,
    /// The policy to decide by.
    pub policy: &'a Policy,
    /// Random bytes for the ids and secrets that the decision creates.
    pub entropy: &'a [u8; ENTROPY_LEN],
    /// The caller's name.
    pub caller: &'a str,
    /// Keyed hash of the request's source.
    pub source_key: [u8; 8],
    /// How many seconds the source still waits for wrong passwords that are counted outside the
    /// account: over all accounts and names, or under the text that names this account, whichever
    /// account that text names.
    pub source_waits_s: Option<u64>,
    /// How many seconds a password and a code that come together do not pass a wait for passwords:
    /// because of the source's wrong pairs, or of wrong passwords beside a right code at this
    /// account, whatever source they came from.
    pub pair_waits_s: Option<u64>,
    /// Whether the password service checks passwords or the caller vouches for them, so that
    /// accounts need no registration: an unknown account then counts as one with 2FA off.
    pub is_elsewhere: bool,
    /// Whether another account holds the username that the command names.
    pub name_taken: bool,
    /// The number of the next keys; none while the last rotation still replaces older keys.
    pub next_key_id: Option<u32>,
    /// When the caller did the same act to any account, at least as far back as the policy's
    /// window; empty for a command that is not counted by caller.
    pub requested_at: &'a [Micros],
    /// Whether the caller's own name is that of the account.
    pub is_own_account: bool,
}

impl Account {
    /// Returns the refusal of a command that needs a second factor while none is on.
    pub(super) fn why_not_on(&self, ctx: &Ctx) -> ErrorCode {
        match self.exists() || ctx.is_elsewhere {
            true => ErrorCode::FactorNotOn,
            false => ErrorCode::AccountNotFound,
        }
    }
}
