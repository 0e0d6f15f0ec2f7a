//! A recorded decision, the scene in which it is decided again, and the possible results.

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::record::Role;
use countersign_schemas::time::Micros;
use serde_json::Value;

use crate::account::evidence::{Evidence, ProofEvidence};
use crate::account::policy::Policy;
use crate::account::rules::credentials::ELSEWHERE;
use crate::account::{Account, ENTROPY_LEN};
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::ids::ChallengeId;

const NO_COMMAND: &str = "no command records these events in this combination";
/// The id of the challenge that replaces the presented one.
const CHALLENGE: [u8; 16] = [0x5a; 16];

/// A recorded group of events, with the facts that were in force then.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The account right before.
    pub before: &'a Account,
    /// The account's id.
    pub account_id: &'a str,
    /// The group's events.
    pub events: &'a [Event],
    /// Log time of the decision.
    pub at: Micros,
    /// The caller of the command.
    pub caller: &'a str,
    /// The role of the caller.
    pub role: Role,
    /// Keyed hash of the request's source.
    pub source_key: [u8; 8],
    /// The policy that was in force.
    pub policy: &'a Policy,
    /// The other facts of the log at that time, beside the account.
    pub across: Across<'a>,
}

/// The facts beside its account that a decision rested on, from the log before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Across<'a> {
    /// When the caller had done the same act to any account, at least as far back as the policy's
    /// window.
    pub requested_at: &'a [Micros],
    /// Whether the account has the caller's own name; none if the log no longer shows this, since
    /// the account and its name were erased.
    pub is_own_account: Option<bool>,
    /// The number of the next keys; none while the last rotation still replaced older keys.
    pub next_key_id: Option<u32>,
}

/// The result of deciding again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// The decision has the same events.
    Same,
    /// The decision has other events, described without a secret.
    Different(String),
    /// This build does not make the decision again, for this reason.
    Not(&'static str),
}

/// The command, the evidence and the random bytes to decide again with.
pub(super) struct Scene {
    pub(super) name: &'static str,
    body: Value,
    pub(super) evidence: Evidence,
    pub(super) entropy: [u8; ENTROPY_LEN],
    /// The hash of the challenge that was presented.
    pub(super) challenge: Option<[u8; 16]>,
    /// Whether passwords waited. The account may not show it: waits by text are not in the log.
    pub(super) passwords_wait: bool,
}

impl Scene {
    pub(super) fn new(name: &'static str, body: Value, at: Micros) -> Self {
        Self {
            name,
            body,
            evidence: Evidence::none(at),
            entropy: [0; ENTROPY_LEN],
            challenge: None,
            passwords_wait: false,
        }
    }

    /// Puts the bytes of a random id back to their place among the random bytes.
    pub(super) fn draws(&mut self, from: usize, id: &str) {
        if let Ok(id) = data_encoding::HEXLOWER_PERMISSIVE.decode(id.as_bytes())
            && id.len() == 16
        {
            self.entropy[from..from + 16].copy_from_slice(&id);
        }
    }

    pub(super) fn proven_by(mut self, first_factor: FirstFactor) -> Self {
        self.evidence.proof = match first_factor {
            FirstFactor::Vouched => ProofEvidence::Vouched,
            FirstFactor::Password(credential) => password_judged(credential, true),
        };
        self
    }

    /// Returns the role that may send the command.
    pub(super) fn role(&self) -> Option<Role> {
        Command::kind_of(self.name).map(Role::from)
    }

    pub(super) fn command(&self, recording: &Recording) -> Option<Command> {
        let mut body = self.body.clone();
        match self.challenge {
            Some(_) => {
                body["challenge_id"] = ChallengeId::from_random(CHALLENGE).reveal().into();
            }
            // A case leads to its account, and key rotations concern no account.
            None if body.get("case_id").is_some() || self.name == "rotate-keys" => {}
            None => body["account_id"] = recording.account_id.into(),
        }
        Command::decode(self.name, body.to_string().as_bytes()).ok()
    }

    /// Returns the account with the stand-in for the presented challenge.
    pub(in crate::account) fn account(&self, before: &Account) -> Account {
        let mut account = before.clone();
        for open in &mut account.challenges {
            if Some(open.hash) == self.challenge {
                open.hash = ChallengeId::from_random(CHALLENGE).hash();
            }
        }
        account
    }
}

pub(super) fn no_command() -> Rerun {
    Rerun::Different(NO_COMMAND.into())
}

/// Returns the evidence of a password that this service or the password service compared.
pub(super) fn password_judged(credential: u32, right: bool) -> ProofEvidence {
    match credential {
        ELSEWHERE => ProofEvidence::Elsewhere { right },
        credential => ProofEvidence::Compared { credential, right },
    }
}
