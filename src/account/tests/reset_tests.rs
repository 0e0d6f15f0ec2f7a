//! The support reset, in sentences.

use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::EpochStarted;
use countersign_schemas::event::reset::v1::CancelledBy;
use countersign_schemas::ids::CaseId;

use super::reset_words::*;
use super::scenario::Password;
use super::scenario::Password::Right;
use super::scenario::{Scenario, offset, unregistered};
use super::sentences::*;
use crate::account::Factor;
use crate::account::Policy;
use crate::account::rules::quota::Act;

/// Asked for by agent-1 just now; 2FA is on since an hour ago.
fn requested() -> Scenario {
    enabled_account()
        .by("agent-1")
        .when(request_reset)
        .then("reset requested, open until +168h")
}

/// Approved by agent-2 just now.
fn approved() -> Scenario {
    requested()
        .by("agent-2")
        .when(approve)
        .then("approved, to execute after +72h")
}

/// Executed by agent-1 after 73 hours.
fn executed() -> Scenario {
    approved()
        .by("agent-1")
        .at("+73h")
        .when(execute)
        .then("executed")
        .records(&["reset-executed"])
        .by("shop")
}

fn cancelled_by(wanted: CancelledBy) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::ResetCancelled(e) if e.by == wanted)
}

/// RS-01, R-18.
#[test]
fn rs01_the_agent_who_asked_does_not_approve() {
    requested()
        .when(approve)
        .then("approval.self")
        .records(&[])
        .by("Agent-1")
        .when(approve)
        .then("approval.self")
        .records(&[])
        .by("agent-2")
        .when(approve)
        .then("approved, to execute after +72h")
        .records(&["reset-approved"]);
}

/// RS-02, R-18.
#[test]
fn rs02_no_agent_takes_part_in_the_reset_of_their_own_account() {
    let mut own = requested().by("ada");
    own.is_own_account = true;
    own.clone().when(approve).then("approval.self").records(&[]);
    let mut own = approved().at("+80h").by("ada");
    own.is_own_account = true;
    own.when(execute).then("approval.self").records(&[]);
    let mut own = enabled_account().by("ada");
    own.is_own_account = true;
    own.when(request_reset).then("approval.self").records(&[]);
}

/// RS-04: not a second before the 72 hours are over, counted from the approval.
#[test]
fn rs04_the_cooling_off_time_is_waited_out_by_log_time() {
    let waiting = approved().at("+71h59m");
    waiting
        .clone()
        .when(execute)
        .then("reset.cooling_off for 60 s")
        .records(&[]);
    waiting.at("+72h1m").when(execute).then("executed");
    requested()
        .at("+100h")
        .when(execute)
        .then("reset.cooling_off")
        .records(&[]);
    // A wall clock set back does not restart the wait: log time does not advance meanwhile.
    approved()
        .at("+72h")
        .when(verify_vouched(wrong_code()))
        .at("+2h")
        .when(execute)
        .then("executed");
}

/// RS-05, R-18.
#[test]
fn rs05_any_completed_login_with_a_code_calls_the_reset_off() {
    for code in [boxed_code(code_now(0)), boxed_code(backup_code(1))] {
        approved()
            .at("+40h")
            .by("shop")
            .when(verify_vouched(code))
            .where_event(cancelled_by(CancelledBy::Login))
            .by("agent-2")
            .at("+73h")
            .when(execute)
            .then("reset.closed")
            .records(&[]);
    }
    requested()
        .by("shop")
        .log_in_with(code_now(0))
        .then("logged in by totp, 10 left")
        .records(&["totp-accepted", "reset-cancelled"]);
    requested()
        .by("shop")
        .when(verify_vouched(wrong_code()))
        .then("code.invalid")
        .where_account(|a| a.reset.is_some());
}

fn boxed_code(
    code: impl Fn(&Scenario) -> countersign_schemas::code::Code + 'static,
) -> Box<dyn Fn(&Scenario) -> countersign_schemas::code::Code> {
    Box::new(code)
}

/// RS-06.
#[test]
fn rs06_a_second_approval_has_no_effect() {
    approved()
        .at("+1h")
        .by("agent-3")
        .when(approve)
        .then("reset.closed")
        .records(&[])
        .where_account(|a| {
            let case = a.reset.as_ref().expect("the case is open");
            case.execute_after == Some(offset("+72h"))
        });
}

/// RS-07.
#[test]
fn rs07_a_closed_case_stays_closed() {
    let ended: [(Scenario, Option<&str>); 4] = [
        (
            requested().when(reject).then("rejected"),
            Some("reset-rejected"),
        ),
        (
            approved().when(cancel_reset).then("cancelled"),
            Some("reset-cancelled"),
        ),
        (
            approved().by("shop").when(user_cancel).then("cancelled"),
            Some("reset-cancelled"),
        ),
        (executed(), None),
    ];
    for (ended, event) in ended {
        if let Some(event) = event {
            ended.clone().records(&[event]);
        }
        for step in [approve, reject, cancel_reset, execute] {
            let later = ended.clone().by("agent-3").at("+100h");
            later.when(step).then("reset.closed").records(&[]);
        }
        ended.by("shop").when(user_cancel).then("reset.none");
    }
}

/// RS-07: seven days after the request, approved or not.
#[test]
fn rs07_a_case_lapses_seven_days_after_the_request() {
    for open in [requested(), approved()] {
        for step in [approve, reject, cancel_reset, execute] {
            let late = open.clone().at("+7d").by("agent-3");
            late.when(step)
                .then("reset.closed")
                .records(&["reset-expired"])
                .when(step)
                .then("reset.closed")
                .records(&[]);
        }
        let late = open.at("+7d");
        late.clone()
            .when(user_cancel)
            .then("reset.none")
            .records(&[]);
        late.clone()
            .when(request_reset)
            .then("reset requested, open until +336h")
            .records(&["reset-expired", "reset-requested"]);
        late.when(verify_vouched(code_now(0)))
            .then("logged in by totp, 10 left")
            .records(&["totp-accepted", "reset-expired"]);
    }
    approved().at("+167h59m").when(execute).then("executed");
}

/// An approval that could never be executed would only keep the owner waiting.
#[test]
fn an_approval_too_late_to_be_executed_is_refused() {
    let late = requested().by("agent-2").at("+4d");
    late.when(approve).then("reset.closed").records(&[]);
    let in_time = requested().by("agent-2").at("+95h");
    in_time
        .when(approve)
        .then("approved, to execute after +167h");
}

/// RS-08.
#[test]
fn rs08_an_account_has_one_open_case() {
    requested()
        .by("agent-2")
        .when(request_reset)
        .then("reset.open")
        .records(&[])
        .when(reject)
        .when(request_reset)
        .then("reset requested, open until +168h");
}

/// RS-09: across accounts, in a rolling day.
#[test]
fn rs09_the_sixth_request_of_an_agent_in_a_day_is_refused() {
    let asked = |times: &[&str]| {
        let mut s = enabled_account().by("agent-1");
        let by = |agent, at| (agent, Act::RequestReset, offset(at));
        s.acts = times.iter().map(|at| by("agent-1", at)).collect();
        s.acts.push(by("agent-2", "-1h"));
        s.when(request_reset)
    };
    asked(&["-5h", "-4h", "-3h", "-2h"]).then("reset requested, open until +168h");
    asked(&["-5h", "-4h", "-3h", "-2h", "-1h"])
        .then("quota.exceeded for 68400 s")
        .records(&[]);
    asked(&["-24h", "-4h", "-3h", "-2h", "-1h"]).then("reset requested, open until +168h");
    let strict = Policy {
        reset_requests_max: 1,
        ..Policy::default()
    };
    let mut s = enabled_account().by("agent-1").under(strict);
    s.acts = ["-3h", "-2h"]
        .map(|at| ("agent-1", Act::RequestReset, offset(at)))
        .into();
    s.when(request_reset).then("quota.exceeded for 79200 s");
}

/// RS-12: the events and replies of a reset hold no secret and no code.
#[test]
fn rs12_a_reset_shows_nothing_that_logs_anybody_in() {
    let s = executed();
    let kept = format!("{:?}", s.account.after_reset);
    assert!(!kept.contains("Clear"));
    // Nothing of the old factor is left to be read, and the new one is the owner's alone to begin.
    assert_eq!(s.account.factor, Factor::default());
    s.when(enable(Password::Absent)).then("credentials.invalid");
}

#[test]
fn execution_turns_the_factor_off_and_voids_every_code_and_challenge() {
    let before = approved()
        .by("shop")
        .when(start_login(Right))
        .wrong_codes(100)
        .at("+80h")
        .when(start_login(Right));
    before
        .by("agent-2")
        .when(execute)
        .then("executed")
        .where_account(|a| a.attempts == crate::account::CodeAttempts::default())
        .where_account(|a| a.challenges.is_empty() && a.reset.is_none())
        .by("shop")
        .when(verify_nth(1, backup_code(1)))
        .then("challenge.expired")
        .when(verify_vouched(backup_code(1)))
        .then("factor.not_on")
        .when(start_login(Right))
        .then("logged in by password, day 1 after a reset");
}

#[test]
fn every_login_reports_for_thirty_days_that_there_was_a_reset() {
    let day = |s: &Scenario, at: &str, words: &str| {
        s.clone().at(at).when(start_login(Right)).then(words);
    };
    let s = executed();
    day(&s, "+74h", "logged in by password, day 1 after a reset");
    day(&s, "+97h", "logged in by password, day 2 after a reset");
    day(&s, "+792h", "logged in by password, day 30 after a reset");
    day(&s, "+793h", "logged in by password");
    let on = s
        .at("+100h")
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .then("on, set 2")
        .later("+60s");
    on.when(verify_vouched(code_now(0)))
        .then("logged in by totp, 10 left, day 2 after a reset");
}

/// Otherwise the case would outlive its factor and remove the next one.
#[test]
fn turning_the_factor_off_calls_the_reset_off() {
    approved()
        .by("shop")
        .when(disable(Right))
        .then("off")
        .records(&["two-factor-disabled", "reset-cancelled"])
        .where_event(cancelled_by(CancelledBy::Disabled))
        .when(enable(Right))
        .when(confirm(code_now(0)))
        .by("agent-2")
        .at("+80h")
        .when(execute)
        .then("reset.closed");
}

#[test]
fn without_a_factor_there_is_nothing_to_reset() {
    registered_account()
        .when(request_reset)
        .then("factor.not_on");
    pending_account().when(request_reset).then("factor.not_on");
    unregistered().when(request_reset).then("account.not_found");
    for step in [approve, reject, cancel_reset, execute] {
        unregistered().when(step).then("case.not_found");
    }
    unregistered().when(user_cancel).then("account.not_found");
    enabled_account().when(user_cancel).then("reset.none");
}

/// A thief who holds the phone cannot keep the owner out by logging in.
#[test]
fn while_support_suspended_the_phone_only_a_backup_code_or_the_owner_calls_the_reset_off() {
    let suspended = enabled_account()
        .by("shop")
        .when(start_login(Right))
        .by("agent-1")
        .when(suspend_factor)
        .then("suspended")
        .records(&["factor-suspended"])
        .by("shop")
        .when(verify_login(backup_code(1)))
        .then("challenge.expired")
        .when(start_login(Right))
        .then("code required: backup code")
        .by("agent-1")
        .when(request_reset)
        .by("agent-2")
        .when(approve)
        .by("shop");
    suspended
        .clone()
        .when(verify_vouched(code_now(0)))
        .then("factor.suspended")
        .where_account(|a| a.reset.is_some());
    suspended
        .clone()
        .when(user_cancel)
        .then("cancelled")
        .where_account(|a| a.attempts.suspended.is_some());
    suspended
        .when(verify_vouched(backup_code(1)))
        .then("logged in by backup code, 9 left, app suspended")
        .records(&["backup-code-accepted", "reset-cancelled"])
        .where_account(|a| a.attempts.suspended.is_some());
    registered_account()
        .when(suspend_factor)
        .then("factor.not_on");
    unregistered()
        .when(suspend_factor)
        .then("account.not_found");
}

fn loss() -> EpochStarted {
    EpochStarted {
        epoch: 2,
        log_id: [2; 16],
        lost_from: Some(3),
        spent_through: 0,
        reason: "a disk".into(),
    }
}

/// A lost event may have cancelled the case, and after a loss a reset is the only way in.
#[test]
fn a_loss_voids_the_case_and_a_reset_ends_what_the_loss_led_to() {
    let mut s = approved();
    s.account.went_through(&loss());
    let lost = s
        .by("agent-2")
        .at("+80h")
        .when(execute)
        .then("reset.closed")
        .when(suspend_factor)
        .then("factor.suspended")
        .when(start_login(Right))
        .then("factor.suspended");
    lost.by("agent-1")
        .when(request_reset)
        .then("reset requested, open until +248h")
        .by("agent-2")
        .when(approve)
        .at("+160h")
        .when(execute)
        .then("executed")
        .where_account(|a| !a.until_reset)
        .when(start_login(Right))
        .then("logged in by password, day 1 after a reset");
    let mut off = registered_account();
    off.account.went_through(&loss());
    off.by("agent-1")
        .when(request_reset)
        .then("reset requested, open until +168h");
}

/// each wrong code's event has the number of wrong codes in a day.
#[test]
fn r08_a_wrong_code_says_how_many_there_were_in_the_last_day() {
    let day = |wanted: u16| {
        move |event: &Event| match event {
            Event::TotpRejected(e) => e.day_failures == wanted,
            Event::CodeReplayed(e) => e.day_failures == wanted,
            _ => false,
        }
    };
    enabled_account()
        .wrong_codes(1)
        .where_event(day(1))
        .wrong_codes(4)
        .where_event(day(5))
        .later("+25h")
        .wrong_codes(1)
        .where_event(day(1));
}

/// An agent's request does not let a password thief count failures away.
#[test]
fn a_request_leaves_the_attempts_as_they_were() {
    enabled_account()
        .wrong_codes(4)
        .by("agent-1")
        .when(request_reset)
        .where_account(|a| a.attempts.failed_at.len() == 4);
}

#[test]
fn a_step_that_names_another_case_than_the_open_one_is_refused() {
    let other = || CaseId::parse("another").expect("a word");
    for step in [Step::Approve, Step::Reject, Step::Cancel] {
        let case = enabled_account().by("agent-1").when(request_reset);
        case.by("agent-2")
            .when(|_| with_case(step, other()))
            .then("reset.closed")
            .records(&[]);
    }
}
