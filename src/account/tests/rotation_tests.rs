//! `rotate-keys`, and outdated verifiers that a login replaces, in sentences.

use countersign_schemas::event::Event;

use super::reset_words::*;
use super::scenario::Password::{Right, Vouched, Wrong};
use super::scenario::unregistered;
use super::sentences::*;

#[test]
fn a_rotation_takes_the_next_number_and_waits_for_the_one_before() {
    let mut scenario = unregistered()
        .when(rotate_keys)
        .then("keys 2")
        .records(&["keys-rotated"]);
    scenario.next_key_id = None;
    scenario
        .when(rotate_keys)
        .then("overloaded for 60 s")
        .records(&[]);
}

#[test]
fn the_outdated_verifier_of_a_right_password_is_replaced_before_the_login() {
    let mut scenario = registered_account();
    scenario.outdated = true;
    let credential = scenario.account.credential.as_ref().map(|c| c.version);
    let done = scenario
        .when(start_login(Right))
        .then("logged in by password")
        .records(&["password-rehashed", "login-completed"])
        .where_account(|a| {
            let verifier = a.credential.as_ref().map(|c| c.verifier.version);
            verifier == Some(a.version - 1)
        });
    assert_eq!(done.account.credential.map(|c| c.version), credential);
    let mut scenario = enabled_account();
    scenario.outdated = true;
    scenario
        .when(start_login(Right))
        .then("code required: totp or backup code")
        .records(&["password-rehashed", "login-started"])
        .when(verify_login(code_now(0)))
        .then("logged in by totp, 10 left");
}

/// Only a right password replaces its verifier.
#[test]
fn a_wrong_or_absent_password_is_never_kept() {
    for (password, words) in [
        (Wrong, "credentials.invalid"),
        (Vouched, "logged in by password"),
    ] {
        let mut scenario = registered_account();
        scenario.outdated = true;
        scenario
            .when(start_login(password))
            .then(words)
            .where_event(|e| !matches!(e, Event::PasswordRehashed(_)));
    }
}
