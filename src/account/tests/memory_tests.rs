//! The estimated memory of an account, by which the cache of accounts is bounded.

use super::reset_words::*;
use super::scenario::Password::{Right, Wrong};
use super::scenario::{Scenario, unregistered};
use super::sentences::*;
use crate::account::Account;
use crate::account::memory::CHALLENGE_BYTES_MAX;
use crate::account::passwords::KNOWN_MAX;

/// Returns the estimate of an empty account.
fn bare() -> usize {
    size_of::<Account>() + 64 + 5 * 128 + KNOWN_MAX * 48
}

fn more(before: &Scenario, after: &Scenario) -> usize {
    after.account.memory_bytes() - before.account.memory_bytes()
}

#[test]
fn everything_that_an_account_keeps_is_counted() {
    assert_eq!(unregistered().account.memory_bytes(), bare());
    let ada = enabled_account();
    let (registered, ten_codes) = (registered_account(), 10 * 97);
    assert_eq!(more(&registered, &ada), ten_codes);
    assert_eq!(more(&ada, &ada.clone().wrong_codes(3)), 3 * 16);
    let two = ada
        .clone()
        .when(start_login(Right))
        .when(start_login(Right));
    assert_eq!(more(&ada, &two), 2 * CHALLENGE_BYTES_MAX);
    let wrong = ada.clone().when(start_login(Wrong));
    assert_eq!(more(&ada, &wrong), 48 + 4);
    let by_support = ada.clone().by("agent-1");
    let failed = ada.clone().wrong_codes(1).by("agent-1");
    let cleared = failed.clone().when(clear_attempts);
    assert_eq!(more(&failed, &cleared) + 16, 96);
    let requested = by_support.when(request_reset);
    assert_eq!(more(&ada, &requested), 128);
}
