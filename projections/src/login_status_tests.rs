//! Given, when, then.

use countersign_schemas::event::account::v1::PasswordSet;
use countersign_schemas::event::attempts::v1::*;
use countersign_schemas::event::enrolment::v1::*;

use super::*;
use crate::testing::*;

/// The value of the shipped policy.
const LOW_CODES: u8 = 3;

/// Folds events at positions 1, 2, 3 and so on.
fn given(events: &[Event]) -> Option<Row> {
    let mut row = None;
    for (event, position) in events.iter().zip(1..) {
        row = fold(row, &entry(position, "ada", event.clone()), &[]);
    }
    row
}

fn status(events: &[Event]) -> LoginStatus {
    given(events).unwrap().status(at(100), 100, LOW_CODES)
}

fn pending() -> [Event; 2] {
    [registered(), enrolment_started(at(700))]
}

fn on() -> Vec<Event> {
    let confirmed = [two_factor_enabled(), backup_codes_issued(1)];
    pending().into_iter().chain(confirmed).collect()
}

fn on_and(more: &[Event]) -> LoginStatus {
    status(&[on(), more.to_vec()].concat())
}

fn throttled() -> Event {
    Event::AttemptsThrottled(AttemptsThrottled { until: at(105) })
}

fn suspended() -> Event {
    Event::FactorSuspended(FactorSuspended {
        cause: SuspendedCause::Failures,
        reason: None,
        ticket: None,
    })
}

fn disabled() -> Event {
    Event::TwoFactorDisabled(TwoFactorDisabled {
        by: DisabledBy::User(FirstFactor::Vouched),
    })
}

fn code_rejected(tries_left: u8) -> Event {
    Event::EnrolmentCodeRejected(EnrolmentCodeRejected {
        authenticator_id: "a1".into(),
        reason: Mismatch::Wrong,
        tries_left,
    })
}

#[test]
fn a_registered_account_is_off() {
    let shown = status(&[registered()]);
    let expected = LoginStatus {
        account_id: AccountId::parse("ada").unwrap(),
        second_factor: FactorState::Off,
        methods: vec![],
        throttled_until: None,
        double_code: false,
        backup_codes_left: 0,
        backup_codes_low: false,
        authenticator_suspended: false,
        set_no: 0,
        after_reset_days: None,
        enabled_at: None,
        position: 100,
    };
    assert_eq!(shown, expected);
}

#[test]
fn an_account_begins_with_its_registration_or_its_enrolment_and_with_nothing_else() {
    for event in one_of_each() {
        let begins = given(std::slice::from_ref(&event)).is_some();
        assert_eq!(begins, begins_account(&event), "{}", event.name());
    }
}

#[test]
fn a_vouched_account_begins_pending() {
    let shown = status(&[enrolment_started(at(700))]);
    assert_eq!(shown.second_factor, FactorState::Pending);
    assert_eq!(shown.methods, []);
}

#[test]
fn an_enrolment_past_its_time_shows_off() {
    let row = given(&pending()).unwrap();
    assert_eq!(
        row.status(at(699), 2, LOW_CODES).second_factor,
        FactorState::Pending
    );
    assert_eq!(
        row.status(at(700), 2, LOW_CODES).second_factor,
        FactorState::Off
    );
}

#[test]
fn an_enrolment_survives_a_wrong_code_until_no_try_is_left() {
    let [a, b] = pending();
    let shown = status(&[a.clone(), b.clone(), code_rejected(1)]);
    assert_eq!(shown.second_factor, FactorState::Pending);
    let shown = status(&[a, b, code_rejected(0)]);
    assert_eq!(shown.second_factor, FactorState::Off);
}

#[test]
fn a_cancelled_or_expired_enrolment_and_a_changed_password_leave_it_off() {
    let id = || "a1".to_owned();
    let ends = [
        Event::EnrolmentCancelled(EnrolmentCancelled {
            authenticator_id: id(),
        }),
        Event::EnrolmentExpired(EnrolmentExpired {
            authenticator_id: id(),
        }),
        password_set(PasswordCause::Changed),
    ];
    for end in ends {
        let [a, b] = pending();
        let name = end.name();
        assert_eq!(
            status(&[a, b, end.clone()]).second_factor,
            FactorState::Off,
            "{name}"
        );
        assert_eq!(on_and(&[end]).second_factor, FactorState::On, "{name}");
    }
}

fn password_set(cause: PasswordCause) -> Event {
    Event::PasswordSet(PasswordSet {
        verifier: sealed(),
        cause,
    })
}

#[test]
fn the_password_of_a_registration_leaves_an_enrolment_alone() {
    let [a, b] = pending();
    let shown = status(&[a, b, password_set(PasswordCause::Registered)]);
    assert_eq!(shown.second_factor, FactorState::Pending);
}

#[test]
fn a_confirmed_enrolment_is_on_since_it_was_recorded_and_takes_both_kinds() {
    let shown = on_and(&[]);
    assert_eq!(shown.second_factor, FactorState::On);
    assert_eq!(shown.enabled_at, Some(at(3)));
    assert_eq!(shown.methods, [Method::Totp, Method::BackupCode]);
    assert_eq!((shown.set_no, shown.backup_codes_left), (1, 10));
    assert!(!shown.backup_codes_low);
}

#[test]
fn turning_it_off_voids_codes_and_ends_every_wait() {
    let double = Event::DoubleCodeRequired(DoubleCodeRequired { until: at(900) });
    let shown = on_and(&[throttled(), double, suspended(), disabled()]);
    assert_eq!(
        shown,
        LoginStatus {
            set_no: 1,
            ..status(&[registered()])
        }
    );
}

#[test]
fn a_new_set_replaces_the_count_and_its_number() {
    let shown = on_and(&[backup_code_accepted(2), backup_codes_issued(2)]);
    assert_eq!((shown.set_no, shown.backup_codes_left), (2, 10));
}

#[test]
fn backup_codes_are_low_at_three_and_not_offered_at_none() {
    assert!(!on_and(&[backup_code_accepted(4)]).backup_codes_low);
    let low = on_and(&[backup_code_accepted(3)]);
    assert!(low.backup_codes_low);
    assert_eq!(low.methods, [Method::Totp, Method::BackupCode]);
    let none = on_and(&[backup_code_accepted(0)]);
    assert!(none.backup_codes_low);
    assert_eq!(none.methods, [Method::Totp]);
}

#[test]
fn a_suspended_factor_takes_backup_codes_only_until_one_ends_it() {
    assert_eq!(on_and(&[suspended()]).methods, [Method::BackupCode]);
    assert_eq!(on_and(&[backup_code_accepted(0), suspended()]).methods, []);
    let by_support = Event::FactorSuspended(FactorSuspended {
        cause: SuspendedCause::Support,
        reason: None,
        ticket: None,
    });
    for row in [
        [by_support.clone(), suspended(), backup_code_accepted(8)],
        [suspended(), by_support, backup_code_accepted(8)],
    ] {
        let stays = on_and(&row);
        assert!(stays.authenticator_suspended);
        assert_eq!(stays.methods, [Method::BackupCode]);
    }
    let ended = on_and(&[suspended(), backup_code_accepted(8)]);
    assert_eq!(ended.methods, [Method::Totp, Method::BackupCode]);
}

#[test]
fn a_throttle_shows_until_its_end_or_an_accepted_code() {
    let row = given(&[on(), vec![throttled()]].concat()).unwrap();
    assert_eq!(
        row.status(at(104), 5, LOW_CODES).throttled_until,
        Some(at(105))
    );
    assert_eq!(row.status(at(105), 5, LOW_CODES).throttled_until, None);
    for accepted in [totp_accepted(), backup_code_accepted(9)] {
        assert_eq!(on_and(&[throttled(), accepted]).throttled_until, None);
    }
}

#[test]
fn double_code_mode_shows_until_its_end_and_survives_an_accepted_code() {
    let double = Event::DoubleCodeRequired(DoubleCodeRequired { until: at(101) });
    assert!(on_and(&[double.clone(), totp_accepted()]).double_code);
    let row = given(&[on(), vec![double]].concat()).unwrap();
    assert!(!row.status(at(101), 5, LOW_CODES).double_code);
}

#[test]
fn an_entry_that_the_row_already_holds_changes_nothing() {
    let row = given(&on());
    for (event, position) in on().into_iter().zip(1..) {
        assert_eq!(fold(row.clone(), &entry(position, "ada", event), &[]), row);
    }
}

#[test]
fn a_log_wide_entry_changes_no_row() {
    for event in one_of_each() {
        assert_eq!(fold(None, &entry(9, "", event.clone()), &[]), None);
        let row = given(&on());
        assert_eq!(fold(row.clone(), &entry(9, "", event), &[]), row);
    }
}

#[test]
fn a_rows_bytes_are_those_of_version_3() {
    let bytes =
        postcard::to_allocvec(&given(&[on(), vec![throttled()]].concat()).unwrap()).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex, "036164610502c0d5d6f89fef920301c0a0a8a9a0ef920300000a010000",
        "another shape is another VERSION of the view, with another pin here"
    );
}

#[test]
fn a_reset_turns_everything_off_and_shows_its_day_for_as_long_as_its_event_says() {
    let suspended = vec![throttled(), suspended()];
    let reset = reset_executed("c-1", at(0).plus_s(30 * 86_400));
    let row = given(&[on(), suspended, vec![reset]].concat()).unwrap();
    let (executed_at, until) = row.after_reset.unwrap();
    assert_eq!(row.factor, Factor::Off);
    assert!(row.suspended.is_none() && row.backup_codes_left == 0);
    let days = |now| row.status(now, 9, LOW_CODES).after_reset_days;
    assert_eq!(days(executed_at), Some(1));
    assert_eq!(days(executed_at.plus_s(86_399)), Some(1));
    assert_eq!(days(executed_at.plus_s(86_400)), Some(2));
    assert_eq!(days(until), None);
}

#[test]
fn a_reset_lets_an_account_in_again_that_a_loss_had_suspended() {
    let row = given(&on()).map(|row| row.after_losses(&[5], 6)).unwrap();
    assert!(row.until_reset);
    let reset = entry(6, "ada", reset_executed("c-1", at(9)));
    let row = fold(Some(row), &reset, &[5]).unwrap();
    assert!(!row.until_reset);
    let shown = row.after_losses(&[5], u64::MAX).status(at(7), 6, LOW_CODES);
    assert_eq!(shown.second_factor, FactorState::Off);
}
