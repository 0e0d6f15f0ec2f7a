//! Gathers evidence for the scenarios as the engine does, but from plain secrets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use countersign_schemas::code::{Code, TotpCode};
use countersign_schemas::command::Command;
use countersign_schemas::sealed::Protected;
use sha2::{Digest, Sha512};

use super::scenario::{Password, Scenario};
use crate::account::{
    CodeEvidence, Created, ENTROPY_LEN, Evidence, Held, Issued, Kept, ProofEvidence, Step,
};
use crate::crypto::backup_code::new_set;
use crate::crypto::otp::{SECRET_BYTES, TotpSecret, hotp};

/// The most codes that are remembered: those of the lives that one thread runs.
const SHOWN_MAX: usize = 20_000;

thread_local! {
    /// The code that each secret shows at each step: the HMACs would be nearly the whole cost of a
    /// life.
    static SHOWN: RefCell<HashMap<([u8; SECRET_BYTES], u64), TotpCode>> = RefCell::default();
}

/// Returns the steps that show this code, as the engine finds them.
pub(in crate::account) fn steps_showing(
    secret: &TotpSecret,
    code: &TotpCode,
    steps: RangeInclusive<u64>,
) -> Vec<u64> {
    SHOWN.with_borrow_mut(|shown| {
        if shown.len() > SHOWN_MAX {
            shown.clear();
        }
        let mut shows = |step: u64| {
            let shown = shown.entry((*secret.as_bytes(), step));
            shown.or_insert_with(|| hotp(secret, step)) == code
        };
        steps.filter(|step| shows(*step)).collect()
    })
}

impl Scenario {
    /// Gathers the evidence that the rules ask for, step by step as the engine does.
    pub(in crate::account) fn gather(&self, command: &Command, password: Password) -> Evidence {
        self.gather_noting(command, password).0
    }

    /// Gathers the same evidence, and notes the steps that were asked for.
    pub(in crate::account) fn gather_noting(
        &self,
        command: &Command,
        password: Password,
    ) -> (Evidence, Vec<Step>) {
        let mut evidence = Evidence {
            proof: match password {
                Password::Absent => ProofEvidence::Absent,
                Password::Vouched => ProofEvidence::Vouched,
                Password::Right | Password::Wrong => ProofEvidence::NotCompared,
            },
            display_name: "ada".into(),
            ..Evidence::none(self.wall)
        };
        let mut steps = Vec::new();
        while let Some(step) = self.step_needed(command, &evidence) {
            assert!(!steps.contains(&step), "asked for twice: {step:?}");
            self.take_step(step, command, password, &mut evidence);
            steps.push(step);
        }
        (evidence, steps)
    }

    fn take_step(
        &self,
        step: Step,
        command: &Command,
        password: Password,
        evidence: &mut Evidence,
    ) {
        match step {
            Step::ComparePassword if self.is_elsewhere => {
                let right = password == Password::Right;
                evidence.proof = ProofEvidence::Elsewhere { right };
            }
            Step::ComparePassword => {
                let credential = self.account.credential.as_ref().map_or(0, |c| c.version);
                let right = password == Password::Right && credential > 0;
                evidence.proof = ProofEvidence::Compared { credential, right };
                if right && self.outdated {
                    evidence.kept = Kept::Outdated;
                }
            }
            Step::CompareCode => evidence.code = self.gather_code(command),
            Step::MakeVerifier => {
                evidence.created = Created::Verifier(Protected::clear(b"made"));
            }
            Step::MakeCodes => evidence.created = Created::Codes(self.new_codes()),
            Step::Rehash => evidence.kept = Kept::Rehashed(Protected::clear(b"rehashed")),
        }
    }

    fn gather_code(&self, command: &Command) -> CodeEvidence {
        if let Command::ConfirmCode(c) = command {
            let secret = self.account.pending().map(|p| (p.enrolment, &p.secret));
            return self.code_evidence(&c.code, None, secret);
        }
        if self
            .account
            .on()
            .is_none_or(|on| on.codes.verifiers.is_none())
        {
            return CodeEvidence::Nothing;
        }
        let given = command.proof();
        let code = given.code.expect("a code that is to be compared");
        let secret = self.account.on().map(|on| (on.enrolment, &on.secret));
        self.code_evidence(code, given.next_code, secret)
    }

    fn code_evidence(
        &self,
        code: &Code,
        next: Option<&Code>,
        secret: Option<(u32, &Held)>,
    ) -> CodeEvidence {
        match code {
            Code::Totp(code) => {
                let Some((enrolment, held)) = secret else {
                    return CodeEvidence::None;
                };
                let matching = |code: &TotpCode| {
                    let (back, ahead) = (self.steps_back(), self.policy.diagnosis_steps);
                    let t = self.step_now();
                    steps_showing(&plain(held), code, t.saturating_sub(back)..=t + ahead)
                };
                CodeEvidence::Totp {
                    enrolment,
                    step_now: self.step_now(),
                    matched: matching(code),
                    next_matched: match next {
                        Some(Code::Totp(next)) => matching(next),
                        Some(Code::Backup(_)) | None => Vec::new(),
                    },
                }
            }
            Code::Backup(code) => {
                let Some(on) = self.account.on() else {
                    return CodeEvidence::None;
                };
                let set = self.sets.get(&on.codes.set_no);
                CodeEvidence::Backup {
                    set_no: on.codes.set_no,
                    ordinal: code.ordinal(),
                    right: set.is_some_and(|set| set.contains(code)),
                }
            }
        }
    }

    fn steps_back(&self) -> u64 {
        self.policy
            .diagnosis_steps
            .max(2 * self.policy.window_steps + 2)
    }

    fn new_codes(&self) -> Issued {
        let (first, second) = (self.random(b"codes 1"), self.random(b"codes 2"));
        let entropy: Vec<u8> = first.into_iter().chain(second).collect();
        let codes = new_set(entropy[..90].try_into().expect("90 bytes"));
        let verifiers: Vec<u8> = codes.iter().flat_map(|code| *code.canonical()).collect();
        Issued {
            verifiers: Protected::clear(&verifiers),
            fingerprint: data_encoding::HEXLOWER.encode(&second[60..]),
            codes: codes.into(),
        }
    }

    /// Returns bytes that are the same in every run.
    pub(in crate::account) fn random(&self, what: &[u8]) -> [u8; ENTROPY_LEN] {
        let mut hash = Sha512::new_with_prefix(self.seed.to_le_bytes());
        hash.update(self.draws.to_le_bytes());
        hash.update(what);
        hash.finalize().into()
    }
}

/// Returns the secret, which no scenario seals.
fn plain(held: &Held) -> TotpSecret {
    match &held.value {
        Protected::Clear(bytes) => TotpSecret::from_slice(bytes).expect("20 bytes"),
        Protected::Sealed(_) => panic!("a scenario seals nothing"),
    }
}
