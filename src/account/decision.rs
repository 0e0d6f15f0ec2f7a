//! What a command came to.

use countersign_schemas::event::Event;
use countersign_schemas::refusal::{ErrorCode, Refusal};

use super::Reply;
use super::policy::Policy;
use super::state::Account;
use countersign_schemas::time::Micros;

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

/// Random bytes that one decision may use.
pub const ENTROPY_LEN: usize = 64;

/// What a decision may know of the world beyond the account.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'a> {
    /// Log time: it never runs backwards, and what the decision leads to counts from it.
    pub now: Micros,
    /// Log time when the command reached its gate. Whether something still waits or has lapsed is
    /// judged as of then, so that the time that a comparison takes changes no answer.
    pub gated_at: Micros,
    /// What the wall clock must have reached for codes to be checked: log time, or the wall clock
    /// that an operator took for right while it lies behind.
    pub clock_floor: Micros,
    /// The numbers to decide by.
    pub policy: &'a Policy,
    /// Random bytes for what the decision creates.
    pub entropy: &'a [u8; ENTROPY_LEN],
    /// The caller's name.
    pub caller: &'a str,
    /// Keyed hash of where the request came from.
    pub source_key: [u8; 8],
    /// How many seconds the source still waits for wrong passwords beside the account: over all
    /// accounts and names, or at the text that names this one, whoever has it.
    pub source_waits_s: Option<u64>,
    /// How many seconds the source still waits for wrong pairs of password and code.
    pub pair_waits_s: Option<u64>,
    /// Whether passwords are checked elsewhere or vouched for, so that accounts need no
    /// registration: one that nothing is known of is then one whose second factor is off.
    pub is_elsewhere: bool,
    /// Whether another account holds the username that the command names.
    pub name_taken: bool,
    /// The number of the next keys; none while the last ones still replace those before.
    pub next_key_id: Option<u32>,
    /// When the caller did what the command asks for, to any account, within the policy's window at
    /// least; empty for what is not counted so.
    pub requested_at: &'a [Micros],
    /// Whether the caller's own name is that of the account.
    pub is_own_account: bool,
}

impl Account {
    /// The refusal of a command that needs a factor in force where there is none.
    pub(super) fn why_not_on(&self, ctx: &Ctx) -> ErrorCode {
        match self.exists() || ctx.is_elsewhere {
            true => ErrorCode::FactorNotOn,
            false => ErrorCode::AccountNotFound,
        }
    }
}
