//! The ranges of the policy, and its waits.

use super::*;

#[test]
fn the_shipped_policy_is_in_range() {
    assert_eq!(Policy::default().check(), Ok(()));
}

#[test]
fn a_window_in_which_no_pair_of_codes_can_lie_is_refused() {
    let policy = Policy {
        window_steps: 0,
        ..Policy::default()
    };
    assert!(policy.check().is_err());
}

#[test]
fn a_number_out_of_range_is_named() {
    let policy = Policy {
        password_bytes_min: 4,
        ..Policy::default()
    };
    let error = policy.check().expect_err("4 bytes are too few");
    assert_eq!(
        error.to_string(),
        "[policy] password_bytes_min is out of range: it must be 8 to 64"
    );
}

#[test]
fn waits_double_from_five_seconds_to_fifteen_minutes() {
    let policy = Policy::default();
    let waits: Vec<_> = [0, 1, 2, 3, 8, 9, 100].map(|n| policy.wait_s(n)).into();
    assert_eq!(waits, [0, 5, 10, 20, 640, 900, 900]);
}
