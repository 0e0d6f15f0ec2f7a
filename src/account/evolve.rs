//! How an account folds its events: one at a time, without judging them.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{
    AccountRegistered, PasswordCause, PasswordRehashed, PasswordSet, Purpose,
};
use countersign_schemas::event::backup_codes::v1::{
    BackupCodeAccepted, BackupCodesIssued, IssueCause,
};
use countersign_schemas::event::enrolment::v1::{
    EnrolmentCodeRejected, EnrolmentStarted, FirstFactor,
};
use countersign_schemas::event::log::v1::EpochStarted;
use countersign_schemas::event::login::v1::{TotpAccepted, TotpReason};
use countersign_schemas::event::login::v2::LoginStarted;
use countersign_schemas::ids::AccountId;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::{
    Account, CHALLENGES_MAX, Challenge, CodeAttempts, CodeSet, Credential, Factor, Held, On,
    Pending, USERNAME_FIELD,
};

/// One event of an account, as the log holds it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The account's id, which the record's decoding has checked.
    pub account_id: &'a str,
    /// The account's version after this event.
    pub version: u32,
    /// When it was recorded.
    pub at: Micros,
    /// The caller that caused it.
    pub caller: &'a str,
    /// Keyed hash of the request's source.
    pub source_key: [u8; 8],
    /// The event.
    pub event: &'a Event,
}

impl Account {
    /// Folds one event into the account. Total: every history folds, in the order of its events.
    pub fn evolve(&mut self, recorded: &Recorded) {
        self.version = recorded.version;
        match recorded.event {
            Event::AccountRegistered(e) => self.registered(recorded, e),
            Event::PasswordSet(e) => self.password_set(recorded, e),
            Event::PasswordRejected(e) => {
                self.passwords.rejected(recorded.source_key, recorded.at, e);
            }
            Event::EnrolmentStarted(e) => self.enrolment_started(recorded, e),
            Event::EnrolmentCodeRejected(e) => self.enrolment_code_rejected(e),
            Event::EnrolmentCancelled(_) => self.drop_pending(),
            Event::EnrolmentExpired(e) => {
                self.factor = Factor::Off {
                    lapsed: Some(e.authenticator_id.clone()),
                };
            }
            Event::TwoFactorEnabled(e) => self.enabled(e.step, recorded.at),
            Event::TwoFactorDisabled(_) => self.disabled(recorded),
            Event::BackupCodesIssued(e) => self.codes_issued(recorded, e),
            Event::LoginStarted(e) => self.login_started(recorded, e),
            Event::LoginCompleted(_) => {
                self.passwords.succeeded(recorded.source_key);
                self.passwords.completed(recorded.source_key, recorded.at);
            }
            Event::TotpAccepted(e) => {
                self.login_completed(recorded, e.purpose, (e.challenge, e.first_factor));
                self.totp_accepted(e);
            }
            Event::BackupCodeAccepted(e) => {
                self.login_completed(recorded, e.purpose, (e.challenge, e.first_factor));
                self.backup_code_accepted(e);
            }
            Event::TotpRejected(e) => {
                let pair = e.reason == TotpReason::WrongPair;
                self.attempts.failed(recorded.at, pair, e.consecutive);
            }
            Event::CodeReplayed(e) => self.attempts.failed(recorded.at, false, e.consecutive),
            Event::BackupCodeRejected(_)
            | Event::LoginPairRejected(_)
            | Event::AttemptsSuppressed(_)
            | Event::ResetRequestsRefused(_) => {}
            Event::AttemptsThrottled(e) => self.attempts.throttled_until = Some(e.until),
            Event::DoubleCodeRequired(e) => self.attempts.double_code_until = Some(e.until),
            Event::FactorSuspended(e) => self.factor_suspended(e),
            Event::AttemptsCleared(e) => self.attempts_cleared(recorded.at, e),
            Event::ResetRequested(e) => self.reset_requested(recorded.caller, e),
            Event::ResetApproved(e) => self.reset_approved(e),
            Event::ResetRejected(_) | Event::ResetCancelled(_) | Event::ResetExpired(_) => {
                self.reset = None;
            }
            Event::ResetExecuted(e) => self.reset_executed(recorded.at, e),
            Event::AccountErased(_) => self.erased(),
            Event::PasswordRehashed(e) => self.password_rehashed(recorded, e),
            // Log-wide events belong to no account; `went_through` applies an epoch to all of them.
            Event::EpochStarted(_)
            | Event::PolicyInForce(_)
            | Event::SchemasInForce(_)
            | Event::UnknownNameRefused(_)
            | Event::ClockJumped(_)
            | Event::ClockBackAccepted(_)
            | Event::KeysRotated(_)
            | Event::DataKeysRewrapped(_)
            | Event::SubjectViewed(_)
            | Event::LookUpsCounted(_)
            | Event::AgentActsRefused(_)
            | Event::OperatorActed(_)
            | Event::AuditExported(_) => {}
        }
    }

    /// Voids everything that an event lost before this epoch could have changed.
    ///
    /// A lost acceptance spent a code, a lost reset turned 2FA off, a lost change made the password
    /// worthless. So backup codes, challenges, enrolments, known sources and an open reset case are
    /// void, app steps up to the epoch's last one are spent, and the account waits for a reset.
    /// Applying it twice has the same result as once; an account that does not exist stays as it
    /// is.
    pub fn went_through(&mut self, epoch: &EpochStarted) {
        if epoch.lost_from.is_none() || !self.exists() {
            return;
        }
        self.until_reset = true;
        // The event that called it off may be among the lost ones.
        self.reset = None;
        self.challenges.clear();
        self.passwords.forget_known();
        self.drop_pending();
        if let Factor::On(on) = &mut self.factor {
            on.last_step = on.last_step.max(epoch.spent_through);
            on.codes.unused.fill(false);
            on.codes.verifiers = None;
        }
    }

    fn registered(&mut self, recorded: &Recorded, e: &AccountRegistered) {
        self.id = AccountId::parse(recorded.account_id).ok();
        self.username = e
            .username
            .as_ref()
            .map(|name| held(name, recorded, USERNAME_FIELD));
    }

    fn password_set(&mut self, recorded: &Recorded, e: &PasswordSet) {
        self.credential = Some(Credential {
            version: recorded.version,
            verifier: held(&e.verifier, recorded, 1),
        });
        if e.cause == PasswordCause::Changed {
            self.challenges.clear();
            self.drop_pending();
        }
        self.passwords.succeeded(recorded.source_key);
    }

    /// Keeps the credential's version, since the password is the same: challenges and evidence that
    /// rest on it stay valid.
    fn password_rehashed(&mut self, recorded: &Recorded, e: &PasswordRehashed) {
        if let Some(credential) = &mut self.credential {
            credential.verifier = held(&e.verifier, recorded, 1);
        }
    }

    fn enrolment_code_rejected(&mut self, e: &EnrolmentCodeRejected) {
        match &mut self.factor {
            Factor::Pending(pending) if e.tries_left > 0 => {
                pending.rejected = pending.rejected.saturating_add(1);
            }
            Factor::Pending(_) => self.drop_pending(),
            Factor::Off { .. } | Factor::On(_) => {}
        }
    }

    fn disabled(&mut self, recorded: &Recorded) {
        self.factor = Factor::default();
        self.attempts = CodeAttempts::default();
        self.challenges.clear();
        self.passwords.succeeded(recorded.source_key);
    }

    fn codes_issued(&mut self, recorded: &Recorded, e: &BackupCodesIssued) {
        self.set_no = e.set_no;
        if let Factor::On(on) = &mut self.factor {
            on.codes = CodeSet {
                set_no: e.set_no,
                verifiers: Some(held(&e.verifiers, recorded, 1)),
                unused: vec![true; usize::from(e.slots)],
            };
        }
        match e.cause {
            IssueCause::Regenerated(_) => {
                self.passwords.succeeded(recorded.source_key);
            }
            // Confirming a code proves no password.
            IssueCause::Enrolment => {}
        }
    }

    fn login_started(&mut self, recorded: &Recorded, e: &LoginStarted) {
        self.challenges.retain(|open| recorded.at < open.expires_at);
        if self.challenges.len() == CHALLENGES_MAX {
            self.challenges.remove(0);
        }
        self.challenges.push(Challenge {
            hash: e.challenge,
            expires_at: e.expires_at,
            caller: recorded.caller.into(),
            credential: e.credential,
            source_key: recorded.source_key,
            audience: e.audience.clone(),
        });
        self.passwords.succeeded(recorded.source_key);
    }

    /// Remembers the source at which a login began, once a code completed it.
    fn login_completed(
        &mut self,
        recorded: &Recorded,
        purpose: Purpose,
        (challenge, first_factor): (Option<[u8; 16]>, FirstFactor),
    ) {
        if purpose != Purpose::Login {
            return;
        }
        // A right password that came with the code clears its source, as one that came alone does.
        if let (None, FirstFactor::Password(_)) = (challenge, first_factor) {
            self.passwords.succeeded(recorded.source_key);
        }
        let source = match challenge {
            None => Some(recorded.source_key),
            Some(hash) => {
                let open = self.challenges.iter().find(|open| open.hash == hash);
                open.map(|open| open.source_key)
            }
        };
        if let Some(source) = source {
            self.passwords.completed(source, recorded.at);
        }
    }

    fn totp_accepted(&mut self, e: &TotpAccepted) {
        if let Factor::On(on) = &mut self.factor {
            on.last_step = e.step;
        }
        self.code_accepted(e.challenge);
    }

    fn backup_code_accepted(&mut self, e: &BackupCodeAccepted) {
        if let Factor::On(on) = &mut self.factor
            && let Some(slot) = usize::from(e.ordinal).checked_sub(1)
            && let Some(unused) = on.codes.unused.get_mut(slot)
        {
            *unused = false;
        }
        self.code_accepted(e.challenge);
    }

    fn enrolment_started(&mut self, recorded: &Recorded, e: &EnrolmentStarted) {
        self.factor = Factor::Pending(Pending {
            authenticator_id: e.authenticator_id.clone(),
            enrolment: recorded.version,
            secret: held(&e.secret, recorded, 1),
            account_name: e.account_name.as_ref().map(|name| held(name, recorded, 2)),
            expires_at: e.expires_at,
            rejected: 0,
        });
        self.passwords.succeeded(recorded.source_key);
    }

    /// Turns a pending enrolment on; its backup codes follow in an event of the same group.
    fn enabled(&mut self, step: u64, at: Micros) {
        if let Factor::Pending(pending) = std::mem::take(&mut self.factor) {
            self.factor = Factor::On(On {
                authenticator_id: pending.authenticator_id,
                enrolment: pending.enrolment,
                secret: pending.secret,
                account_name: pending.account_name,
                last_step: step,
                enabled_at: at,
                codes: CodeSet {
                    set_no: self.set_no,
                    verifiers: None,
                    unused: Vec::new(),
                },
            });
        }
    }

    fn code_accepted(&mut self, challenge: Option<[u8; 16]>) {
        self.challenges.retain(|open| Some(open.hash) != challenge);
        self.attempts.succeeded();
    }

    fn drop_pending(&mut self) {
        if matches!(self.factor, Factor::Pending(_)) {
            self.factor = Factor::default();
        }
    }
}

/// Returns a protected field with its place in the log.
fn held(value: &Protected, recorded: &Recorded, field: u16) -> Held {
    Held {
        value: value.clone(),
        version: recorded.version,
        event_type: recorded.event.type_code(),
        field,
    }
}
