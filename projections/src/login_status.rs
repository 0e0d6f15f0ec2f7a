//! What a login check may know about an account, folded from its events.

use countersign_schemas::event::account::v1::PasswordCause;
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::event::{Event, Reader};
use countersign_schemas::ids::AccountId;
use countersign_schemas::record::StreamKind;
use countersign_schemas::reply::{FactorState, LoginStatus, Method};
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use crate::Entry;

const DAY_S: u64 = 86_400;

/// The second factor as the account's events left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factor {
    /// There is no second factor.
    Off,
    /// An enrolment waits for its first code.
    Pending {
        /// When the enrolment expires.
        expires_at: Micros,
    },
    /// The second factor is required.
    On {
        /// Since when it is required.
        enabled_at: Micros,
    },
}

/// One account's row, stored as postcard; a change of its shape is a new version of the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The account's id.
    pub account_id: AccountId,
    /// The position of the account's last event, which makes folding idempotent.
    pub position: u64,
    /// The state of the second factor.
    pub factor: Factor,
    /// The end of the wait during which no app code is compared; may be in the past.
    pub throttled_until: Option<Micros>,
    /// Until when two consecutive codes are required; may be in the past.
    pub double_code_until: Option<Micros>,
    /// Who suspended app codes; `None` while they are accepted.
    pub suspended: Option<SuspendedCause>,
    /// How many backup codes are unused.
    pub backup_codes_left: u8,
    /// The number of the newest code set, 0 before the first.
    pub set_no: u32,
    /// Whether events may be missing, so that only a reset allows logins again.
    pub until_reset: bool,
    /// When support last reset the second factor, and until when logins report it.
    pub after_reset: Option<(Micros, Micros)>,
}

/// Folds one entry into the row of its account; an entry that the row already includes changes
/// nothing.
///
/// `None` stays `None` until an event that begins an account, and an erasure ends the row; log-wide
/// entries change nothing. `losses` are the positions, ascending, of the epochs that began because
/// events had been lost.
pub fn fold(row: Option<Row>, entry: &Entry, losses: &[u64]) -> Option<Row> {
    if entry.record.stream_kind == StreamKind::Log {
        return row;
    }
    let mut row = match row {
        Some(row) => row.after_losses(losses, entry.position),
        None if begins_account(&entry.event) => {
            Row::new(AccountId::parse(&entry.record.meta.account_id).ok()?)
        }
        None => return None,
    };
    if row.position < entry.position {
        if let Event::AccountErased(_) = entry.event {
            return None;
        }
        row.position = entry.position;
        if entry.event.is_read_by(Reader::Status) {
            row.absorb(&entry.event, entry.record.recorded_at);
        }
    }
    Some(row)
}

/// Returns whether an event can be an account's first; an account without a password here begins
/// with its enrolment.
pub(crate) fn begins_account(event: &Event) -> bool {
    matches!(
        event,
        Event::AccountRegistered(_) | Event::EnrolmentStarted(_)
    )
}

impl Row {
    fn new(account_id: AccountId) -> Self {
        Self {
            account_id,
            position: 0,
            factor: Factor::Off,
            throttled_until: None,
            double_code_until: None,
            suspended: None,
            backup_codes_left: 0,
            set_no: 0,
            until_reset: false,
            after_reset: None,
        }
    }

    /// Returns the row after the epochs between its last event and the entry at `before`.
    pub fn after_losses(mut self, losses: &[u64], before: u64) -> Self {
        let between = |loss: &&u64| (self.position..before).contains(*loss);
        if losses.iter().rev().any(|loss| between(&loss)) {
            self.until_reset = true;
            self.drop_pending();
            self.backup_codes_left = 0;
        }
        self
    }

    fn absorb(&mut self, event: &Event, recorded_at: Micros) {
        match event {
            Event::EnrolmentStarted(e) => {
                self.factor = Factor::Pending {
                    expires_at: e.expires_at,
                };
            }
            Event::EnrolmentCodeRejected(e) if e.tries_left > 0 => {}
            Event::EnrolmentCodeRejected(_)
            | Event::EnrolmentCancelled(_)
            | Event::EnrolmentExpired(_) => self.drop_pending(),
            Event::PasswordSet(e) if e.cause == PasswordCause::Changed => self.drop_pending(),
            Event::TwoFactorEnabled(_) => self.turned_on(recorded_at),
            Event::TwoFactorDisabled(_) => self.turned_off(),
            Event::BackupCodesIssued(e) => {
                self.set_no = e.set_no;
                self.backup_codes_left = e.slots;
            }
            Event::BackupCodeAccepted(e) => {
                self.backup_codes_left = e.remaining;
                self.throttled_until = None;
                // A suspension by support ends only with the authenticator.
                self.suspended = self.suspended.filter(|by| *by == SuspendedCause::Support);
            }
            Event::TotpAccepted(_) => self.throttled_until = None,
            Event::AttemptsThrottled(e) => self.throttled_until = Some(e.until),
            Event::DoubleCodeRequired(e) => self.double_code_until = Some(e.until),
            Event::FactorSuspended(e) => self.suspended_by(e.cause),
            Event::AttemptsCleared(_) => {
                self.throttled_until = None;
                self.double_code_until = None;
            }
            Event::ResetExecuted(e) => {
                self.turned_off();
                self.until_reset = false;
                self.after_reset = Some((recorded_at, e.told_until));
            }
            _ => {}
        }
    }

    /// A suspension by support outranks one by failures.
    fn suspended_by(&mut self, cause: SuspendedCause) {
        match cause {
            SuspendedCause::Support => self.suspended = Some(cause),
            SuspendedCause::Failures => {
                self.suspended.get_or_insert(cause);
            }
        }
    }

    fn turned_on(&mut self, enabled_at: Micros) {
        self.factor = Factor::On { enabled_at };
    }

    fn turned_off(&mut self) {
        self.factor = Factor::Off;
        self.backup_codes_left = 0;
        self.throttled_until = None;
        self.double_code_until = None;
        self.suspended = None;
    }

    /// Returns the day since support reset the second factor, counted from 1, while logins report
    /// it.
    pub fn after_reset_days(&self, now: Micros) -> Option<u32> {
        let (at, _) = self.after_reset.filter(|(_, until)| now < *until)?;
        let days = now.0.saturating_sub(at.0) / (DAY_S * Micros::SECOND);
        Some(days as u32 + 1)
    }

    /// A factor that is on stays on, whatever becomes of an enrolment.
    fn drop_pending(&mut self) {
        if let Factor::Pending { .. } = self.factor {
            self.factor = Factor::Off;
        }
    }

    /// Returns the row in the contract's form at an instant.
    ///
    /// `now` is log time: an expired enrolment shows `off`, and a wait that has ended is not shown.
    /// `position` is the one that the view had reached, not below the row's own. At `low_codes`
    /// unused backup codes or fewer, the user should make new ones.
    pub fn status(&self, now: Micros, position: u64, low_codes: u8) -> LoginStatus {
        let ahead = |until: &Micros| *until > now;
        let (second_factor, enabled_at) = match self.factor {
            Factor::On { enabled_at } => (FactorState::On, Some(enabled_at)),
            Factor::Pending { expires_at } if ahead(&expires_at) => (FactorState::Pending, None),
            Factor::Pending { .. } | Factor::Off => (FactorState::Off, None),
        };
        // It is unknown whether 2FA was on when events were lost: with no method, no login can
        // succeed.
        let second_factor = if self.until_reset {
            FactorState::On
        } else {
            second_factor
        };
        let is_on = second_factor == FactorState::On;
        LoginStatus {
            account_id: self.account_id.clone(),
            second_factor,
            methods: self.methods(),
            throttled_until: self.throttled_until.filter(ahead),
            double_code: self.double_code_until.as_ref().is_some_and(ahead),
            backup_codes_left: self.backup_codes_left,
            backup_codes_low: is_on && self.backup_codes_left <= low_codes,
            authenticator_suspended: self.suspended.is_some() || self.until_reset,
            set_no: self.set_no,
            enabled_at,
            after_reset_days: self.after_reset_days(now),
            position,
        }
    }

    fn methods(&self) -> Vec<Method> {
        match self.factor {
            _ if self.until_reset => Vec::new(),
            Factor::Off | Factor::Pending { .. } => Vec::new(),
            Factor::On { .. } => {
                let app = self.suspended.is_none().then_some(Method::Totp);
                let backup = (self.backup_codes_left > 0).then_some(Method::BackupCode);
                app.into_iter().chain(backup).collect()
            }
        }
    }
}

#[cfg(test)]
#[path = "login_status_tests.rs"]
mod tests;
