//! Slow proofs before the writer: what is found out about a command, against which account.
//!
//! Nothing here decides. A fact is computed against an account that may be older than the one the
//! writer decides on, so each names what it was computed against and a stale one is noticed.

use countersign_schemas::code::{BackupCode, Code, TotpCode};
use countersign_schemas::command::Command;
use countersign_schemas::ids::AccountName;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use zeroize::Zeroizing;

use super::request::{GivenCode, code_of, password_of};
use super::subject::source_key;
use super::vault::VaultError;
use super::{Request, Shared};
use crate::account::attempts::Gate;
use crate::account::{
    Account, CodeEvidence, CodeSet, Created, Evidence, Held, Issued, Policy, ProofEvidence,
    is_for_another_audience,
};
use crate::crypto::backup_code::{SET_CODES, SET_ENTROPY_BYTES, fingerprint, new_set};
use crate::crypto::otp::{TotpSecret, matching_steps, step_at};
use crate::crypto::password::SALT_BYTES;

/// Whether finding out costs an Argon2id, so that it belongs into the pool.
pub fn is_slow(shared: &Shared, request: &Request, account: &Account, now: Micros) -> bool {
    let waits = || {
        account
            .passwords
            .waiting_s(source_key(&shared.vault, request), now)
            .is_some()
    };
    match &request.command {
        Command::RegisterAccount(_) => !account.exists(),
        Command::ChangePassword(_) => !waits(),
        Command::StartLogin(c) => c.password.is_some() && request.directory.is_none() && !waits(),
        Command::Enable2fa(c) => password_of(c.proof.as_ref()).is_some() && !waits(),
        Command::Disable2fa(c) => {
            let proof = c.proof.as_ref();
            let backup_code = matches!(code_of(proof).0, Some(Code::Backup(_)));
            (password_of(proof).is_some() || backup_code) && !waits()
        }
        Command::RegenerateBackupCodes(c) => {
            (password_of(c.proof.as_ref()).is_some() || shared.vouched) && !waits()
        }
        Command::ConfirmCode(_) => account.pending().is_some(),
        Command::CancelEnrolment(_)
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
        Command::VerifyLogin(c) => {
            matches!(c.code, Code::Backup(_))
                && account.on().is_some()
                && !is_for_another_audience(account, c)
        }
    }
}

/// Finds out what a decision on this command may rest on.
///
/// # Errors
/// `store.unavailable` when a sealed field does not open or the generator fails.
pub fn gather(shared: &Shared, request: &Request, account: &Account) -> Result<Evidence, Refusal> {
    let inquiry = Inquiry {
        shared,
        request,
        account,
    };
    inquiry.evidence().map_err(|error| {
        match error {
            // Whoever moved it hoped for another answer.
            VaultError::Changed | VaultError::NoKey => {
                tracing::error!(%error, "ALARM: a sealed field cannot be trusted; the command is refused");
            }
            error => tracing::error!(%error, "no evidence could be gathered; the command is refused"),
        }
        Refusal::new(ErrorCode::StoreUnavailable)
    })
}

/// One command, the account that it is looked at against, and what it takes to find out.
pub(super) struct Inquiry<'a> {
    pub(super) shared: &'a Shared,
    pub(super) request: &'a Request,
    pub(super) account: &'a Account,
}

impl Inquiry<'_> {
    fn evidence(&self) -> Result<Evidence, VaultError> {
        let mut evidence = Evidence::none(self.request.received_at);
        let policy = &self.shared.policy;
        match &self.request.command {
            Command::RegisterAccount(c) => {
                if !self.account.exists() && policy.accepts(&c.password) {
                    evidence.created = Created::Verifier(self.new_verifier(&c.password)?);
                }
            }
            Command::ChangePassword(c) => {
                if policy.accepts(&c.new_password) {
                    evidence.proof = self.password(Some(&c.password))?;
                    if self.is_proven((c.code.as_ref(), c.next_code.as_ref()), &mut evidence)? {
                        evidence.created = Created::Verifier(self.new_verifier(&c.new_password)?);
                    }
                }
            }
            Command::Enable2fa(c) => {
                evidence.proof = self.password(password_of(c.proof.as_ref()))?;
                evidence.display_name = self.display_name(c.account_name.as_ref(), None)?;
            }
            Command::ConfirmCode(c) => self.confirming(&c.code, &mut evidence)?,
            Command::CancelEnrolment(_)
            | Command::UserCancelReset(_)
            | Command::ClearAttempts(_)
            | Command::SuspendFactor(_)
            | Command::RequestReset(_)
            | Command::ApproveReset(_)
            | Command::RejectReset(_)
            | Command::CancelReset(_)
            | Command::ExecuteReset(_)
            | Command::EraseAccount(_)
            | Command::RotateKeys(_) => {}
            Command::RegenerateBackupCodes(c) => {
                evidence.proof = self.password(password_of(c.proof.as_ref()))?;
                if self.is_proven(code_of(c.proof.as_ref()), &mut evidence)?
                    && let Some(on) = self.account.on()
                {
                    evidence.created = self.new_codes()?;
                    evidence.display_name = self.display_name(None, on.account_name.as_ref())?;
                }
            }
            Command::Disable2fa(c) => {
                evidence.proof = self.password(password_of(c.proof.as_ref()))?;
                self.is_proven(code_of(c.proof.as_ref()), &mut evidence)?;
            }
            Command::StartLogin(c) => {
                evidence.proof = self.password(c.password.as_ref())?;
                evidence.rehashed = self.rehashed(c.password.as_ref(), evidence.proof)?;
            }
            Command::VerifyLogin(c) if is_for_another_audience(self.account, c) => {}
            Command::VerifyLogin(c) => {
                evidence.code = self.login_code(&c.code, c.next_code.as_ref())?;
            }
        }
        Ok(evidence)
    }

    /// Compares the code that a proof brings, once its password held, and says whether the proof
    /// may hold: only then is made what costs more than the proof itself.
    fn is_proven(&self, given: GivenCode, evidence: &mut Evidence) -> Result<bool, VaultError> {
        let password_held = match evidence.proof {
            ProofEvidence::Vouched
            | ProofEvidence::Elsewhere { right: true }
            | ProofEvidence::Compared { right: true, .. } => true,
            ProofEvidence::Absent
            | ProofEvidence::NotCompared
            | ProofEvidence::Elsewhere { right: false }
            | ProofEvidence::Compared { right: false, .. } => false,
        };
        let (code, next) = given;
        let Some(code) = code.filter(|_| password_held) else {
            let is_missing = self.shared.policy.require_code_too && self.account.on().is_some();
            return Ok(password_held && !is_missing);
        };
        evidence.code = self.login_code(code, next)?;
        Ok(match &evidence.code {
            CodeEvidence::Totp { matched, .. } => !matched.is_empty(),
            CodeEvidence::Backup { right, .. } => *right,
            CodeEvidence::None | CodeEvidence::NotCompared => false,
        })
    }

    /// Ten codes with ten verifiers: ten Argon2id, so only after the command's own proof held.
    fn new_codes(&self) -> Result<Created, VaultError> {
        let mut entropy = Zeroizing::new([0; SET_ENTROPY_BYTES]);
        self.shared.vault.fill_random(&mut *entropy)?;
        let codes = new_set(&entropy);
        let mut salts = [[0; SALT_BYTES]; SET_CODES];
        let mut verifiers = Vec::with_capacity(SET_CODES);
        for (code, salt) in codes.iter().zip(&mut salts) {
            let verifier = self.derive(code.canonical())?;
            *salt = *verifier.salt();
            verifiers.push(verifier.encode().to_vec());
        }
        Ok(Created::Codes(Issued {
            codes: codes.to_vec(),
            verifiers: Protected::Clear(Zeroizing::new(
                postcard::to_allocvec(&verifiers).expect("a list of bytes encodes"),
            )),
            fingerprint: fingerprint(&salts),
        }))
    }

    fn confirming(&self, code: &Code, evidence: &mut Evidence) -> Result<(), VaultError> {
        let (Some(pending), Code::Totp(code)) = (self.account.pending(), code) else {
            return Ok(());
        };
        evidence.code = self.totp(&pending.secret, pending.enrolment, code, None)?;
        if let CodeEvidence::Totp {
            step_now, matched, ..
        } = &evidence.code
            && matched
                .iter()
                .any(|step| step.abs_diff(*step_now) <= self.shared.policy.window_steps)
        {
            evidence.created = self.new_codes()?;
            evidence.display_name = self.display_name(None, pending.account_name.as_ref())?;
        }
        Ok(())
    }

    fn login_code(&self, code: &Code, next: Option<&Code>) -> Result<CodeEvidence, VaultError> {
        let Some(on) = self.account.on() else {
            return Ok(CodeEvidence::None);
        };
        match code {
            Code::Backup(code) => self.backup_code(&on.codes, code),
            Code::Totp(_) if self.is_gate_closed() => Ok(CodeEvidence::NotCompared),
            Code::Totp(code) => {
                let next = match next {
                    Some(Code::Totp(next)) => Some(next),
                    Some(Code::Backup(_)) | None => None,
                };
                self.totp(&on.secret, on.enrolment, code, next)
            }
        }
    }

    /// A throttled or suspended app's codes are not compared at all.
    fn is_gate_closed(&self) -> bool {
        let now = self.shared.log_time();
        let gate = self.account.attempts.gate(now, &self.shared.policy);
        matches!(gate, Gate::Wait(_) | Gate::Suspended)
    }

    fn totp(
        &self,
        secret: &Held,
        enrolment: u32,
        code: &TotpCode,
        next: Option<&TotpCode>,
    ) -> Result<CodeEvidence, VaultError> {
        let stream = self.account.stream_key().ok_or(VaultError::NoKey)?;
        let bytes = self.shared.vault.open(stream, secret)?;
        let secret = TotpSecret::from_slice(&bytes).ok_or(VaultError::Changed)?;
        let step_now = step_at(self.request.received_at.unix_s());
        let steps = candidate_steps(
            step_now,
            &self.shared.policy,
            self.account.pending().is_some(),
        );
        Ok(CodeEvidence::Totp {
            enrolment,
            step_now,
            matched: matching_steps(&secret, code, steps.clone()),
            next_matched: next.map_or_else(Vec::new, |next| matching_steps(&secret, next, steps)),
        })
    }

    /// One Argon2id whatever the code: an ordinal that the set does not have costs it too.
    fn backup_code(&self, codes: &CodeSet, code: &BackupCode) -> Result<CodeEvidence, VaultError> {
        let (Some(held), Some(stream)) = (&codes.verifiers, self.account.stream_key()) else {
            return Ok(CodeEvidence::None);
        };
        let bytes = self.shared.vault.open(stream, held)?;
        let verifiers: Vec<Vec<u8>> =
            postcard::from_bytes(&bytes).map_err(|_| VaultError::Changed)?;
        let ordinal = code.ordinal();
        let slot = usize::from(ordinal)
            .checked_sub(1)
            .and_then(|slot| verifiers.get(slot));
        let right = match slot {
            Some(verifier) => self.matches(code.canonical(), verifier)?,
            None => {
                self.dummy_hash(code.canonical())?;
                false
            }
        };
        Ok(CodeEvidence::Backup {
            set_no: codes.set_no,
            ordinal,
            right,
        })
    }

    /// The name to show: the one just given, the one given at enrolment, the username, the id.
    fn display_name(
        &self,
        given: Option<&AccountName>,
        enrolled: Option<&Held>,
    ) -> Result<String, VaultError> {
        if let Some(name) = given {
            return Ok(name.as_str().into());
        }
        let held = enrolled.or(self.account.username.as_ref());
        match (held, self.account.stream_key()) {
            (Some(held), Some(stream)) => {
                let bytes = self.shared.vault.open(stream, held)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => Ok(self
                .account
                .id
                .as_ref()
                .map_or_else(String::new, |id| id.as_str().into())),
        }
    }
}

/// The steps to compare with: back as far as an accepted code can still count as fresh, and for a
/// confirmation as far as a clock that is off is diagnosed.
fn candidate_steps(
    step_now: u64,
    policy: &Policy,
    confirming: bool,
) -> std::ops::RangeInclusive<u64> {
    let reach = if confirming {
        policy.diagnosis_steps
    } else {
        0
    };
    let back = reach.max(2 * policy.window_steps + 1);
    let ahead = reach.max(policy.window_steps);
    step_now.saturating_sub(back)..=step_now.saturating_add(ahead)
}
