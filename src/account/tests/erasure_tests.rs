//! `erase-account`, in sentences.

use super::reset_words::*;
use super::scenario::Password::Right;
use super::scenario::unregistered;
use super::sentences::*;

#[test]
fn an_erased_account_is_unknown_and_keeps_only_its_count_of_events() {
    let alive = enabled_account().when(start_login(Right)).wrong_codes(4);
    let version = alive.account.version;
    let gone = alive
        .when(erase)
        .then("erased")
        .records(&["account-erased"])
        .where_account(|a| !a.exists() && a.factor == crate::account::Factor::default())
        .where_account(|a| a.credential.is_none() && a.challenges.is_empty());
    assert_eq!(gone.account.version, version + 1);
    gone.clone()
        .when(erase)
        .then("account.not_found")
        .records(&[]);
    gone.clone()
        .when(start_login(Right))
        .then("credentials.invalid");
    gone.when(verify_vouched(code_now(0)))
        .then("account.not_found");
}

#[test]
fn an_unknown_account_cannot_be_erased() {
    unregistered()
        .when(erase)
        .then("account.not_found")
        .records(&[]);
}

#[test]
fn the_id_can_be_registered_again_and_continues_its_count_of_versions() {
    let gone = enabled_account().when(erase).then("erased");
    let version = gone.account.version;
    let again = gone
        .when(register("a good password"))
        .then("registered")
        .when(start_login(Right))
        .then("logged in by password");
    assert_eq!(again.account.version, version + 3);
}
