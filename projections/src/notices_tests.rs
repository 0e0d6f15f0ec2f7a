//! Given, when, then.

use std::collections::BTreeMap;

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::{FactorSuspended, SuspendedCause};
use countersign_schemas::event::backup_codes::v1::{BackupCodesIssued, IssueCause};
use countersign_schemas::event::enrolment::v1::FirstFactor;

use super::{NoticeKind, notice_of};
use crate::testing::{backup_codes_issued, one_of_each, sealed};

fn notice(event: &Event) -> Option<&'static str> {
    notice_of(event).map(NoticeKind::as_str)
}

/// the owner is notified of every change of a login credential and every step of a
/// reset.
#[test]
fn r19_every_change_of_a_factor_and_every_step_of_a_reset_notifies_the_owner() {
    let notices: BTreeMap<_, _> = one_of_each()
        .iter()
        .filter_map(|event| Some((event.name(), notice(event)?)))
        .collect();
    let expected = [
        ("attempts-cleared", "attempts-cleared"),
        ("backup-code-accepted", "backup-code-used"),
        ("backup-code-rejected", "backup-code-refused"),
        ("code-replayed", "code-replayed"),
        ("double-code-required", "budget-spent"),
        ("factor-suspended", "suspended-by-failures"),
        ("password-set", "password-changed"),
        ("reset-approved", "reset-approved"),
        ("reset-cancelled", "reset-cancelled"),
        ("reset-executed", "reset-executed"),
        ("reset-expired", "reset-expired"),
        ("reset-rejected", "reset-rejected"),
        ("reset-requested", "reset-requested"),
        ("totp-rejected", "wrong-codes"),
        ("two-factor-disabled", "factor-off"),
        ("two-factor-enabled", "factor-on"),
    ];
    assert_eq!(notices, expected.into());
}

#[test]
fn the_kinds_in_a_field_are_distinguished() {
    let by_support = Event::FactorSuspended(FactorSuspended {
        cause: SuspendedCause::Support,
        reason: Some(sealed()),
        ticket: Some(sealed()),
    });
    assert_eq!(notice(&by_support), Some("suspended-by-support"));
    let issued = |cause| {
        let Event::BackupCodesIssued(e) = backup_codes_issued(2) else {
            panic!("codes are issued");
        };
        Event::BackupCodesIssued(BackupCodesIssued { cause, ..e })
    };
    let new = issued(IssueCause::Regenerated(FirstFactor::Vouched));
    assert_eq!(notice(&new), Some("new-backup-codes"));
    assert_eq!(notice(&issued(IssueCause::Enrolment)), None);
}

/// the owner is notified at the 1st, the 5th, the 10th and the 50th wrong code of a day.
#[test]
fn r08_wrong_codes_notify_the_owner_at_the_first_of_a_day_and_at_five_ten_and_fifty() {
    let rejected = one_of_each().into_iter().find_map(|event| match event {
        Event::TotpRejected(e) => Some(e),
        _ => None,
    });
    let mut rejected = rejected.expect("one of each");
    let notified_at = |count: &u16| {
        rejected.day_failures = *count;
        notice(&Event::TotpRejected(rejected.clone())).is_some()
    };
    let counts: Vec<u16> = (1..=100).filter(notified_at).collect();
    assert_eq!(counts, [1, 5, 10, 50]);
}

///
#[test]
fn r19_platforms_are_to_end_other_sessions_where_what_logs_in_changed() {
    let ends: Vec<_> = one_of_each()
        .iter()
        .filter_map(notice_of)
        .filter(|kind| kind.ends_sessions())
        .map(NoticeKind::as_str)
        .collect();
    let expected = [
        "password-changed",
        "factor-on",
        "factor-off",
        "reset-executed",
    ];
    assert_eq!(ends, expected);
    assert!(NoticeKind::NewBackupCodes.ends_sessions());
    assert!(NoticeKind::SuspendedBySupport.ends_sessions());
}
