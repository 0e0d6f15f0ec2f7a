//! The steps of a command: a secret is compared or made, each when the rule needs it.
//!
//! Nothing here decides. The gate is open when a step is taken, and the step uses the account's
//! newest state: no other command of the account is decided in between.

use countersign_schemas::code::{BackupCode, Code, TotpCode};
use countersign_schemas::command::Command;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::secret::SecretText;
use zeroize::Zeroizing;

use crate::account::{
    Account, CodeEvidence, CodeSet, Created, Evidence, Held, Issued, Kept, Policy, ProofEvidence,
    Step,
};
use crate::crypto::backup_code::{SET_CODES, SET_ENTROPY_BYTES, fingerprint, new_set};
use crate::crypto::otp::{TotpSecret, matching_steps, step_at};
use crate::crypto::password::SALT_BYTES;
use crate::engine::Request;
use crate::engine::keys::vault::VaultError;
use crate::engine::request::PasswordsBy;
use crate::engine::shared::Shared;

/// Returns the evidence before any step: whether a password was given or the caller vouches for it.
///
/// # Errors
/// Those of [`take`].
pub fn first(shared: &Shared, request: &Request, account: &Account) -> Result<Evidence, ErrorCode> {
    let mut evidence = Evidence::none(request.received_at);
    if let Command::Enable2fa(_) = request.command {
        let inquiry = Inquiry {
            shared,
            request,
            account,
        };
        evidence.display_name = inquiry.display_name().map_err(unavailable)?;
    }
    if let Some(given) = request.command.proof().first.may_bring() {
        evidence.proof = match given {
            Some(_) => ProofEvidence::NotCompared,
            None if shared.passwords_by == PasswordsBy::Caller => ProofEvidence::Vouched,
            None => ProofEvidence::Absent,
        };
    }
    Ok(evidence)
}

/// Whether a step is so quick that the writer takes it itself: the comparison of an app code, if no
/// slow step follows that might find no room.
pub fn is_quick(request: &Request, step: Step, is_admitted: bool) -> bool {
    let is_last = || {
        let command = &request.command;
        matches!(command, Command::VerifyLogin(_) | Command::Disable2fa(_))
    };
    let is_app_code = matches!(request.command.proof().code, Some(Code::Totp(_)));
    step == Step::CompareCode && is_app_code && (is_admitted || is_last())
}

/// Takes a step and adds its result to the evidence.
///
/// # Errors
/// `store.unavailable` if a sealed field does not open or the random generator fails.
pub fn take(
    shared: &Shared,
    request: &Request,
    account: &Account,
    step: Step,
    evidence: &mut Evidence,
) -> Result<(), ErrorCode> {
    let inquiry = Inquiry {
        shared,
        request,
        account,
    };
    inquiry.take(step, evidence).map_err(unavailable)
}

/// Logs why a step could not be taken, and returns the error code for it.
fn unavailable(error: VaultError) -> ErrorCode {
    match error {
        // A moved or replaced field is an attempt to change the answer.
        VaultError::Changed | VaultError::NoKey => {
            tracing::error!(%error, "ALARM: a sealed field cannot be trusted; the command is refused");
        }
        error => tracing::error!(%error, "a step could not be taken; the command is refused"),
    }
    ErrorCode::StoreUnavailable
}

/// One command, the account that it is checked against, and the means to check it.
pub(super) struct Inquiry<'a> {
    pub(super) shared: &'a Shared,
    pub(super) request: &'a Request,
    pub(super) account: &'a Account,
}

impl Inquiry<'_> {
    fn take(&self, step: Step, evidence: &mut Evidence) -> Result<(), VaultError> {
        if let Step::ComparePassword | Step::CompareCode = step {
            self.shared.gauges.compares();
        }
        match step {
            Step::ComparePassword => {
                if let Some(password) = password_given(&self.request.command) {
                    (evidence.proof, evidence.kept) = self.password(password)?;
                }
            }
            Step::CompareCode => {
                let given = self.request.command.proof();
                if let Some(code) = given.code {
                    evidence.code = self.code(code, given.next_code)?;
                }
            }
            Step::MakeVerifier => {
                if let Some(password) = new_password(&self.request.command) {
                    evidence.created = Created::Verifier(self.new_verifier(password)?);
                }
            }
            Step::MakeCodes => {
                evidence.created = self.new_codes()?;
                evidence.display_name = self.display_name()?;
            }
            // BUG: rehash-record: the first login after a rotation writes one record more.
            Step::Rehash => {
                if let Some(password) = password_given(&self.request.command) {
                    evidence.kept = Kept::Rehashed(self.new_verifier(password)?);
                }
            }
        }
        Ok(())
    }

    /// Makes ten codes with ten verifiers: ten Argon2id computations.
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

    /// Compares the code with the secret of the enrolment that it confirms, or with the secret or
    /// codes in force.
    fn code(&self, code: &Code, next: Option<&Code>) -> Result<CodeEvidence, VaultError> {
        if let Command::ConfirmCode(_) = self.request.command {
            return match (self.account.pending(), code) {
                (Some(pending), Code::Totp(code)) => {
                    self.totp(&pending.secret, pending.enrolment, code, None)
                }
                _ => Ok(CodeEvidence::None),
            };
        }
        let Some(on) = self.account.on().filter(|on| on.codes.verifiers.is_some()) else {
            // After a wrong password, or for an unknown name, the cost must be the same.
            if let Code::Backup(code) = code {
                self.dummy_hash(code.canonical())?;
            }
            return Ok(CodeEvidence::Nothing);
        };
        match code {
            Code::Backup(code) => self.backup_code(&on.codes, code),
            Code::Totp(code) => {
                let next = match next {
                    Some(Code::Totp(next)) => Some(next),
                    Some(Code::Backup(_)) | None => None,
                };
                self.totp(&on.secret, on.enrolment, code, next)
            }
        }
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

    /// Costs one Argon2id for every code, also for an ordinal that is not in the set.
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

    /// Returns the name to show: the one in the request, the one given at enrolment, the username,
    /// or the id.
    fn display_name(&self) -> Result<String, VaultError> {
        let enrolled = match &self.request.command {
            Command::Enable2fa(c) => {
                if let Some(name) = &c.account_name {
                    return Ok(name.as_str().into());
                }
                None
            }
            Command::ConfirmCode(_) => self.account.pending().and_then(|p| p.account_name.as_ref()),
            Command::RegenerateBackupCodes(_) => {
                self.account.on().and_then(|on| on.account_name.as_ref())
            }
            _ => return Ok(String::new()),
        };
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

/// Whether a command has a password and a code that bypass a wait together.
pub fn is_pair(command: &Command) -> bool {
    matches!(command, Command::StartLogin(c) if c.code.is_some())
}

/// Whether a command proves its owner by the first factor.
pub fn is_proven_by_password(command: &Command) -> bool {
    command.proof().first.may_bring().is_some()
}

fn password_given(command: &Command) -> Option<&SecretText> {
    command.proof().first.may_bring().flatten()
}

/// Returns the new password that a command sets.
fn new_password(command: &Command) -> Option<&SecretText> {
    match command {
        Command::RegisterAccount(c) => Some(&c.password),
        Command::ChangePassword(c) => Some(&c.new_password),
        _ => None,
    }
}

/// Returns the time steps to compare with: back as far as an accepted code may still count as
/// fresh, and for a confirmation as far as a wrong clock is diagnosed.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_compared_with_every_step_that_can_count() {
        let policy = Policy {
            window_steps: 1,
            diagnosis_steps: 20,
            ..Policy::default()
        };
        assert_eq!(candidate_steps(100, &policy, false), 97..=101);
        assert_eq!(candidate_steps(100, &policy, true), 80..=120);
        assert_eq!(candidate_steps(1, &policy, false), 0..=2);
        let wide = Policy {
            window_steps: 2,
            ..policy
        };
        assert_eq!(candidate_steps(100, &wide, false), 95..=102);
    }
}
