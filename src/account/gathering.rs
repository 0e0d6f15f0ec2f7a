//! Evidence for the scenarios, gathered as the engine does but from plain secrets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use countersign_schemas::code::{Code, TotpCode};
use countersign_schemas::command::{Command, Proof};
use countersign_schemas::sealed::Protected;
use sha2::{Digest, Sha512};

use super::attempts::Gate;
use super::scenario::{Password, Scenario};
use super::{CodeEvidence, Created, ENTROPY_LEN, Evidence, Held, Issued, ProofEvidence};
use crate::crypto::backup_code::new_set;
use crate::crypto::otp::{SECRET_BYTES, TotpSecret, hotp};

/// Codes that are remembered: those of the lives that one thread is in.
const SHOWN_MAX: usize = 20_000;

thread_local! {
    /// What each secret shows at each step: the HMACs would be nearly all that a life costs.
    static SHOWN: RefCell<HashMap<([u8; SECRET_BYTES], u64), TotpCode>> = RefCell::default();
}

/// The steps that show this code, as the engine finds them.
pub(super) fn steps_showing(
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
    /// Gathers evidence against the account as it is, as the engine does.
    pub(super) fn gather(&self, command: &Command, password: Password) -> Evidence {
        let proof = self.proof(password);
        let proven = matches!(
            proof,
            ProofEvidence::Vouched | ProofEvidence::Compared { right: true, .. }
        );
        let code = self.gather_code(command, proven);
        let proven = proven && self.may_hold(command, &code);
        let created = match command {
            Command::RegisterAccount(_) => Created::Verifier(Protected::clear(b"first")),
            Command::ChangePassword(_) if proven => Created::Verifier(Protected::clear(b"changed")),
            Command::RegenerateBackupCodes(_) if proven => Created::Codes(self.new_codes()),
            Command::ConfirmCode(_) => Created::Codes(self.new_codes()),
            _ => Created::None,
        };
        Evidence {
            received_at: self.wall,
            proof,
            code,
            created,
            display_name: "ada".into(),
            rehashed: self.outdated.then(|| Protected::clear(b"rehashed")),
        }
    }

    fn gather_code(&self, command: &Command, proven: bool) -> CodeEvidence {
        if let Command::ConfirmCode(c) = command {
            let secret = self.account.pending().map(|p| (p.enrolment, &p.secret));
            return self.code_evidence(&c.code, None, secret);
        }
        let is_login = matches!(command, Command::VerifyLogin(_));
        match given_code(command) {
            (Some(code), next) if is_login || proven => {
                let secret = self.account.on().map(|on| (on.enrolment, &on.secret));
                match self.account.attempts.gate(self.now(), &self.policy) {
                    Gate::Wait(_) | Gate::Suspended if matches!(code, Code::Totp(_)) => {
                        CodeEvidence::NotCompared
                    }
                    _ => self.code_evidence(code, next, secret),
                }
            }
            _ => CodeEvidence::None,
        }
    }

    /// Whether a proof may hold by its code, so that what it asks for is made.
    fn may_hold(&self, command: &Command, code: &CodeEvidence) -> bool {
        match (given_code(command).0, code) {
            (None, _) => !self.policy.require_code_too || self.account.on().is_none(),
            (Some(_), CodeEvidence::Totp { matched, .. }) => !matched.is_empty(),
            (Some(_), CodeEvidence::Backup { right, .. }) => *right,
            (Some(_), CodeEvidence::None | CodeEvidence::NotCompared) => false,
        }
    }

    fn proof(&self, password: Password) -> ProofEvidence {
        let credential = self.account.credential.as_ref().map_or(0, |c| c.version);
        match password {
            Password::Absent => ProofEvidence::Absent,
            Password::Vouched => ProofEvidence::Vouched,
            Password::Right | Password::Wrong => {
                let waiting = self
                    .account
                    .passwords
                    .waiting_s(self.source_key, self.now());
                match waiting {
                    Some(_) => ProofEvidence::NotCompared,
                    None => ProofEvidence::Compared {
                        credential,
                        right: password == Password::Right && credential > 0,
                    },
                }
            }
        }
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

    /// Bytes that are the same in every run.
    pub(super) fn random(&self, what: &[u8]) -> [u8; ENTROPY_LEN] {
        let mut hash = Sha512::new_with_prefix(self.seed.to_le_bytes());
        hash.update(self.draws.to_le_bytes());
        hash.update(what);
        hash.finalize().into()
    }
}

/// The code of either kind that a command brings, and the one that follows it.
fn given_code(command: &Command) -> (Option<&Code>, Option<&Code>) {
    match command {
        Command::VerifyLogin(c) => (Some(&c.code), c.next_code.as_ref()),
        Command::ChangePassword(c) => (c.code.as_ref(), c.next_code.as_ref()),
        Command::Disable2fa(c) => of_proof(c.proof.as_ref()),
        Command::RegenerateBackupCodes(c) => of_proof(c.proof.as_ref()),
        _ => (None, None),
    }
}

fn of_proof(proof: Option<&Proof>) -> (Option<&Code>, Option<&Code>) {
    let code = proof.and_then(|proof| proof.code.as_ref());
    (code, proof.and_then(|proof| proof.next_code.as_ref()))
}

/// The secret, which no scenario seals.
fn plain(held: &Held) -> TotpSecret {
    match &held.value {
        Protected::Clear(bytes) => TotpSecret::from_slice(bytes).expect("20 bytes"),
        Protected::Sealed(_) => panic!("a scenario seals nothing"),
    }
}
