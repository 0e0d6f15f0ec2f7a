//! What is decided again, the scene that it is put into, and what can come of it.

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

const NO_COMMAND: &str = "no command records these events as they stand here";
/// The id of the challenge that stands for the one that was presented.
const CHALLENGE: [u8; 16] = [0x5a; 16];

/// A group of events as it was recorded, with what was in force then.
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
    /// Who asked.
    pub caller: &'a str,
    /// The role in which they asked.
    pub role: Role,
    /// Keyed hash of where the request came from.
    pub source_key: [u8; 8],
    /// The numbers that were in force.
    pub policy: &'a Policy,
    /// What else the log said then, beside the account.
    pub across: Across<'a>,
}

/// What a decision rested on beside its account, as the log before it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Across<'a> {
    /// When the caller had done the same to any account, within the policy's window at least.
    pub requested_at: &'a [Micros],
    /// Whether the caller's own name is the account's; none where the log cannot tell any more,
    /// since the account and its name were erased.
    pub is_own_account: Option<bool>,
    /// The number of the next keys; none while the last ones still replaced those before.
    pub next_key_id: Option<u32>,
}

/// What came of deciding again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// The same events.
    Same,
    /// Others; said in words.
    Different(String),
    /// It is no decision that this build makes again; why.
    Not(&'static str),
}

/// What is needed to decide again.
pub(super) struct Scene {
    pub(super) name: &'static str,
    body: Value,
    pub(super) evidence: Evidence,
    pub(super) entropy: [u8; ENTROPY_LEN],
    /// The hash of the challenge that was presented.
    pub(super) challenge: Option<[u8; 16]>,
    /// Whether passwords waited, which the account need not say: a text's waits are not in the log.
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

    /// An id was random: the bytes that it was made of stood there among the random ones.
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

    /// The role that may ask for it.
    pub(super) fn role(&self) -> Option<Role> {
        Command::kind_of(self.name).map(Role::from)
    }

    pub(super) fn command(&self, recording: &Recording) -> Option<Command> {
        let mut body = self.body.clone();
        match self.challenge {
            Some(_) => {
                body["challenge_id"] = ChallengeId::from_random(CHALLENGE).reveal().into();
            }
            // A case leads to its account, and the keys are nobody's.
            None if body.get("case_id").is_some() || self.name == "rotate-keys" => {}
            None => body["account_id"] = recording.account_id.into(),
        }
        Command::decode(self.name, body.to_string().as_bytes()).ok()
    }

    /// The account with the stand-in for the challenge that was presented.
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

/// The evidence of a password that this service, or the password service, compared.
pub(super) fn password_judged(credential: u32, right: bool) -> ProofEvidence {
    match credential {
        ELSEWHERE => ProofEvidence::Elsewhere { right },
        credential => ProofEvidence::Compared { credential, right },
    }
}
