//! What to notify an account's owner of, and which events end other sessions.
//!
//! A notice follows from its event, so none is recorded: the publisher derives it. A mail service
//! may combine equal notices; the events contain the counts that it needs for that.

use countersign_schemas::event::account::v1::PasswordCause;
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::event::backup_codes::v1::IssueCause;
use countersign_schemas::event::{Event, Reader};

/// The numbers of wrong codes in a day at which the owner is notified.
const WRONG_CODES_NOTIFIED: [u16; 4] = [1, 5, 10, 50];

/// The kinds of notice to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// Support requested a reset.
    ResetRequested,
    /// A reset was approved; it will be executed unless the owner objects.
    ResetApproved,
    /// A reset was rejected.
    ResetRejected,
    /// A reset was cancelled.
    ResetCancelled,
    /// A reset expired.
    ResetExpired,
    /// The second factor was reset.
    ResetExecuted,
    /// The second factor was turned on.
    FactorOn,
    /// The second factor was turned off.
    FactorOff,
    /// There are new backup codes, and the old ones no longer work.
    NewBackupCodes,
    /// A backup code was used.
    BackupCodeUsed,
    /// A wrong or used backup code was tried.
    BackupCodeRefused,
    /// A code of the app was tried a second time.
    CodeReplayed,
    /// Codes were wrong after a right password: the first of a day, the 5th, the 10th and the 50th.
    WrongCodes,
    /// So many codes were wrong that two consecutive ones are required.
    BudgetSpent,
    /// The app was suspended after too many wrong codes.
    SuspendedByFailures,
    /// The app was suspended by support.
    SuspendedBySupport,
    /// Support allowed codes to be tried again.
    AttemptsCleared,
    /// The password was changed.
    PasswordChanged,
}

impl NoticeKind {
    /// Returns the kebab-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResetRequested => "reset-requested",
            Self::ResetApproved => "reset-approved",
            Self::ResetRejected => "reset-rejected",
            Self::ResetCancelled => "reset-cancelled",
            Self::ResetExpired => "reset-expired",
            Self::ResetExecuted => "reset-executed",
            Self::FactorOn => "factor-on",
            Self::FactorOff => "factor-off",
            Self::NewBackupCodes => "new-backup-codes",
            Self::BackupCodeUsed => "backup-code-used",
            Self::BackupCodeRefused => "backup-code-refused",
            Self::CodeReplayed => "code-replayed",
            Self::WrongCodes => "wrong-codes",
            Self::BudgetSpent => "budget-spent",
            Self::SuspendedByFailures => "suspended-by-failures",
            Self::SuspendedBySupport => "suspended-by-support",
            Self::AttemptsCleared => "attempts-cleared",
            Self::PasswordChanged => "password-changed",
        }
    }

    /// Returns whether platforms should end the account's other sessions: a login credential
    /// changed, or another person may have had it.
    pub fn ends_sessions(self) -> bool {
        matches!(
            self,
            Self::ResetExecuted
                | Self::FactorOn
                | Self::FactorOff
                | Self::NewBackupCodes
                | Self::SuspendedBySupport
                | Self::PasswordChanged
        )
    }
}

/// Returns the notice that an event causes; `None` if it causes none.
pub fn notice_of(event: &Event) -> Option<NoticeKind> {
    if !event.is_read_by(Reader::Notice) {
        return None;
    }
    Some(match event {
        Event::ResetRequested(_) => NoticeKind::ResetRequested,
        Event::ResetApproved(_) => NoticeKind::ResetApproved,
        Event::ResetRejected(_) => NoticeKind::ResetRejected,
        Event::ResetCancelled(_) => NoticeKind::ResetCancelled,
        Event::ResetExpired(_) => NoticeKind::ResetExpired,
        Event::ResetExecuted(_) => NoticeKind::ResetExecuted,
        Event::TwoFactorEnabled(_) => NoticeKind::FactorOn,
        Event::TwoFactorDisabled(_) => NoticeKind::FactorOff,
        Event::BackupCodesIssued(e) => match e.cause {
            // These codes come with the factor, which has its own notice.
            IssueCause::Enrolment => return None,
            IssueCause::Regenerated(_) => NoticeKind::NewBackupCodes,
        },
        Event::BackupCodeAccepted(_) => NoticeKind::BackupCodeUsed,
        Event::BackupCodeRejected(_) => NoticeKind::BackupCodeRefused,
        Event::CodeReplayed(_) => NoticeKind::CodeReplayed,
        Event::TotpRejected(e) if WRONG_CODES_NOTIFIED.contains(&e.day_failures) => {
            NoticeKind::WrongCodes
        }
        Event::DoubleCodeRequired(_) => NoticeKind::BudgetSpent,
        Event::FactorSuspended(e) => match e.cause {
            SuspendedCause::Failures => NoticeKind::SuspendedByFailures,
            SuspendedCause::Support => NoticeKind::SuspendedBySupport,
        },
        Event::AttemptsCleared(_) => NoticeKind::AttemptsCleared,
        Event::PasswordSet(e) if e.cause == PasswordCause::Changed => NoticeKind::PasswordChanged,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "notices_tests.rs"]
mod tests;
