//! Why a decision had its result, in the sentences that `audit explain` shows.

use countersign_schemas::event::Event;
use countersign_schemas::event::login::v1::LoginPairRejected;

use super::reset_words::*;
use super::scenario::Password::{Right, Wrong};
use super::scenario::{START, Scenario};
use super::sentences::*;
use crate::account::explain::reasons::{Verdict, reasons, verdict};
use crate::account::{Account, Policy, service};

const VOUCHED: &str = "The caller answered for the first factor.";
const OPEN: &str = "The code could be compared: no wait and no suspension was in force.";

/// Returns the reasons for one more command.
fn reasons_of(before: &Scenario, ask: impl FnOnce(&Scenario) -> Ask) -> Vec<String> {
    let after = before.clone().when(ask);
    reasons(&before.account, &after.events, after.now(), &before.policy)
}

#[test]
fn a_wrong_secret_is_explained_with_what_it_was_compared_with() {
    let ada = enabled_account();
    let counted = "It was counted: failure 1 of the 10 that 30 days allow, 1 in a row.";
    let none = "The code belongs to none of the steps within 1 of the one at which it arrived.";
    assert_eq!(
        reasons_of(&ada, verify_vouched(wrong_code())),
        [VOUCHED, OPEN, none, counted]
    );
    let matched_none = "The code that names ordinal 3 matched no verifier of set 1.";
    let wrong = reasons_of(&ada, verify_vouched(wrong_backup_code(3)));
    assert_eq!(wrong, [VOUCHED, matched_none]);
    let spent = ada.clone().when(verify_vouched(backup_code(4)));
    let used = "Backup code 4 of set 1 matched, but had been used.";
    assert_eq!(
        reasons_of(&spent, verify_vouched(backup_code(4))),
        [VOUCHED, used]
    );
    let password = "The password did not match the one that the account's version 2 set; failure 1 of this source, 10 are free, and 1 of all in the day.";
    assert_eq!(reasons_of(&ada, start_login(Wrong)), [password]);
    let refused = service::unknown_names_refused(3);
    let reasons = reasons(&Account::default(), &[refused], START, &Policy::default());
    assert_eq!(reasons, ["No account has the given name."]);
}

#[test]
fn a_right_secret_is_explained_with_why_it_was_free() {
    let ada = enabled_account();
    let proved = "The password was right: it is the one that the account's version 2 set.";
    let asked = "Two-factor authentication was on, so a code was asked for.";
    assert_eq!(reasons_of(&ada, start_login(Right)), [proved, asked]);
    let sufficed = "Two-factor authentication was off, so the first factor sufficed.";
    let off = reasons_of(&registered_account(), start_login(Right));
    assert_eq!(off, [proved, sufficed]);
    assert_eq!(
        reasons_of(&ada, verify_vouched(code_now(0)))[..2],
        [VOUCHED, OPEN]
    );
    let free = "Backup code 4 of set 1 matched its verifier and was unused; 9 were left.";
    assert_eq!(
        reasons_of(&ada, verify_vouched(backup_code(4))),
        [VOUCHED, free]
    );
}

#[test]
fn the_end_of_a_case_is_explained() {
    let case = enabled_account().by("agent-1").when(request_reset);
    let agent = "The case was open, and the agent had ended cases fewer than 20 times in 24 h.";
    let user = "A case was open, and the platform's word that the owner objects is enough.";
    let login = "A login with a code ends an open case.";
    let disabled = "Turning two-factor authentication off ends an open case.";
    assert_eq!(reasons_of(&case, cancel_reset), [agent]);
    assert_eq!(reasons_of(&case, reject), [agent]);
    assert_eq!(reasons_of(&case, user_cancel), [user]);
    let by_login = reasons_of(&case, verify_vouched(backup_code(4)));
    assert_eq!(by_login.last().map(String::as_str), Some(login));
    let by_disabling = reasons_of(&case, disable(Right));
    assert_eq!(by_disabling.last().map(String::as_str), Some(disabled));
}

#[test]
fn acts_of_support_on_the_attempts_are_explained() {
    let ada = enabled_account().by("agent-1");
    let cleared = "Two-factor authentication was on, app codes were not suspended and failures were counted; 168 h had passed since any agent cleared the attempts and 720 h since this one did, and it had cleared any fewer than 20 times in 24 h.";
    let failed = enabled_account().wrong_codes(1).by("agent-1");
    assert_eq!(reasons_of(&failed, clear_attempts), [cleared]);
    let suspended = "Two-factor authentication was on, support asked for app codes to be stopped, and the agent had done so fewer than 20 times in 24 h.";
    assert_eq!(reasons_of(&ada, suspend_factor), [suspended]);
}

#[test]
fn a_verdict_is_that_of_the_first_event() {
    let ada = enabled_account();
    let of = |ask: BoxedAsk| verdict(&ada.clone().when(ask).events);
    for refused in [
        boxed(start_login(Wrong)),
        boxed(verify_vouched(wrong_code())),
        boxed(verify_vouched(wrong_backup_code(3))),
    ] {
        assert_eq!(of(refused), Verdict::Refused);
    }
    for allowed in [
        boxed(start_login(Right)),
        boxed(verify_vouched(backup_code(4))),
        boxed(disable(Right)),
    ] {
        assert_eq!(of(allowed), Verdict::Allowed);
    }
    assert_eq!(verdict(&[]), Verdict::Recorded);
    let by_the_service: [Event; 3] = [
        service::attempts_suppressed(1),
        service::clock_jumped(1),
        service::look_ups_counted(None, "audit-page", 1),
    ];
    for recorded in by_the_service {
        assert_eq!(verdict(&[recorded]), Verdict::Recorded);
    }
    let refused = service::unknown_names_refused(3);
    assert_eq!(verdict(&[refused]), Verdict::Refused);
    let pair = Event::LoginPairRejected(LoginPairRejected { credential: 2 });
    assert_eq!(verdict(&[pair]), Verdict::Refused);
}

/// Returns the last reason for one more command.
fn told_last(before: &Scenario, ask: impl FnOnce(&Scenario) -> Ask) -> String {
    reasons_of(before, ask).pop().unwrap_or_default()
}

#[test]
fn the_result_of_an_enrolment_is_explained() {
    let (registered, pending) = (registered_account(), pending_account());
    let started = "Two-factor authentication was not on.";
    let again = "Two-factor authentication was not on; the enrolment replaced one that waited.";
    let wrong = "The code belongs to no step within 10 of the one at which it arrived.";
    let off = "The code is that of 5 steps off, more than the 1 that are taken: the app's clock is wrong.";
    let expired = "The enrolment had waited longer than the 600 s that the policy allows.";
    let proved = "The password was right: it is the one that the account's version 2 set.";
    assert_eq!(reasons_of(&registered, enable(Right)), [proved, started]);
    assert_eq!(told_last(&pending, enable(Right)), again);
    assert_eq!(told_last(&pending, confirm(wrong_code())), wrong);
    assert_eq!(told_last(&pending, confirm(code_now(5))), off);
    let cancelled = told_last(&pending, cancel_nth(0));
    assert_eq!(cancelled, "The enrolment was waiting.");
    let late = pending.clone().at("+1h");
    assert_eq!(told_last(&late, confirm(code_now(0))), expired);
    let step = pending.step_now();
    let enabled = format!(
        "The first code of the enrolment belongs to step {step}, 0 from the step at which it arrived; 1 either way are taken."
    );
    assert!(reasons_of(&pending, confirm(code_now(0))).contains(&enabled));
}

#[test]
fn the_consequences_of_wrong_codes_are_explained() {
    let three = enabled_account().wrong_codes(3);
    let waits =
        "Each failure of the budget beyond the first 3 sets a wait: 5 s, doubling up to 900 s.";
    assert_eq!(told_last(&three, verify_vouched(wrong_code())), waits);
    let nine = enabled_account().wrong_codes(9).at("+1d");
    let spent = "The budget of 10 failures was spent.";
    assert_eq!(told_last(&nine, verify_vouched(wrong_code())), spent);
}

#[test]
fn the_steps_of_a_case_are_explained() {
    let case = enabled_account().by("agent-1").when(request_reset);
    let other = case.clone().by("agent-2");
    let approved = told_last(&other, approve);
    assert!(approved.contains("agent-1 had asked for it and not this agent"));
    assert!(approved.contains("cooling-off time of 72 h ends at "));
    let cooled = other.clone().when(approve).at("+73h");
    let executed = "The case was approved and open, its cooling-off time had been over for 3600 s, and the account is not the agent's own.";
    assert!(reasons_of(&cooled, execute).contains(&executed.to_owned()));
    let lapsed = other.at("+8d");
    let expired = "The case had lapsed 86400 s before, so nothing more could be done with it.";
    assert_eq!(reasons_of(&lapsed, approve), [expired]);
    assert_eq!(
        verdict(&lapsed.clone().when(approve).events),
        Verdict::Refused
    );
    let next = lapsed.when(request_reset);
    let next = next.records(&["reset-expired", "reset-requested"]);
    assert_eq!(verdict(&next.events), Verdict::Allowed);
}

#[test]
fn acts_of_an_operator_are_explained() {
    let erased = "The account existed, an operator's word is enough, and this one had erased fewer than 100 times in 24 h.";
    assert_eq!(
        reasons_of(&enabled_account().by("operator"), erase),
        [erased]
    );
    let rotated = "The data keys of every earlier rotation had been rewrapped, and 2 is the number after the last one.";
    assert_eq!(
        told_last(&super::scenario::unregistered(), rotate_keys),
        rotated
    );
}

#[test]
fn a_registration_and_a_spent_code_are_explained() {
    let absent = super::scenario::unregistered();
    let free = "The account did not exist, and its name was free.";
    let taken = "The password meets the policy.";
    assert_eq!(
        reasons_of(&absent, register("a good password")),
        [free, taken]
    );
    let used = enabled_account().when(verify_vouched(code_now(1)));
    let spent = format!(
        "The code belongs to step {0}, and every step up to {0} was spent.",
        used.step_now() + 1
    );
    let again = reasons_of(&used, verify_vouched(code_now(1)));
    assert!(again.contains(&spent) && again[0] == VOUCHED);
}
