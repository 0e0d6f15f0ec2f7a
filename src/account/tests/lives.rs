//! Random lives of one account, as lists of events, for the properties to run.

use countersign_schemas::code::{Code, TotpCode};
use proptest::prelude::*;

use super::gathering::steps_showing;
use super::model::{Deed, Meaning, Proven};
use super::reset_words::*;
use super::scenario::{Password, Scenario, unregistered};
use super::sentences::*;
use crate::account::Policy;

/// A code as it is typed.
#[derive(Clone, Debug)]
pub(super) enum Typed {
    /// The code that the app shows so many steps from now.
    Step(i64),
    /// The same, by the app of the earlier enrolment.
    OldApp(i64),
    /// The last code that was accepted.
    Spent,
    /// These digits, which match a step only by chance.
    Digits(u32),
    /// A backup code of the set so many sets ago, 0 for the current one.
    Backup(u32, usize),
    WrongBackup(u8),
}

/// The proof of a command: whether the password is right, and a code beside it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    right: bool,
    code: Option<(Typed, Option<Typed>)>,
}

/// One thing that happens; indices count backwards from the latest.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Wait(u64),
    ClockBack(u64),
    Source(u8),
    Caller(&'static str),
    Register,
    ChangePassword(Shown),
    Enable(bool),
    Confirm(usize, Typed),
    Cancel(usize),
    Regenerate(Shown),
    Disable(Shown),
    StartLogin(Shown),
    Verify(Option<usize>, Typed, Option<Typed>),
    ClearAttempts,
    Reset(ResetOp),
}

/// An act on a reset.
#[derive(Clone, Copy, Debug)]
pub(super) enum ResetOp {
    Suspend,
    Request,
    Step(Step, usize),
    UserCancel,
}

fn typed() -> impl Strategy<Value = Typed> {
    prop_oneof![
        4 => Just(Typed::Step(0)),
        4 => (-3..=3_i64).prop_map(Typed::Step),
        1 => (-1..=1_i64).prop_map(Typed::OldApp),
        2 => Just(Typed::Spent),
        6 => (0..1_000_000_u32).prop_map(Typed::Digits),
        2 => (0..2_u32, 1..=10_usize).prop_map(|(back, n)| Typed::Backup(back, n)),
        1 => (0..32_u8).prop_map(Typed::WrongBackup),
    ]
}

fn next() -> impl Strategy<Value = Option<Typed>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(Typed::Step(1))),
        1 => typed().prop_map(Some),
    ]
}

fn shown(right: f64) -> impl Strategy<Value = Shown> {
    let code = prop_oneof![2 => Just(None), 3 => (typed(), next()).prop_map(Some)];
    (prop::bool::weighted(right), code).prop_map(|(right, code)| Shown { right, code })
}

/// A login begins with the password alone as often as with a code.
fn start_shown() -> impl Strategy<Value = Shown> {
    let code = prop_oneof![3 => Just(None), 2 => (typed(), next()).prop_map(Some)];
    (prop::bool::weighted(0.6), code).prop_map(|(right, code)| Shown { right, code })
}

fn op() -> impl Strategy<Value = Op> {
    let right = || prop::bool::weighted(0.7);
    prop_oneof![
        6 => (0..40_u64).prop_map(Op::Wait),
        4 => (40..1_000_u64).prop_map(Op::Wait),
        2 => (3_600..200_000_u64).prop_map(Op::Wait),
        1 => (200_000..3_000_000_u64).prop_map(Op::Wait),
        1 => (1..100_u64).prop_map(Op::ClockBack),
        1 => (1..=2_u8).prop_map(Op::Source),
        2 => prop_oneof![4 => Just("shop"), 2 => Just("forum")].prop_map(Op::Caller),
        1 => Just(Op::Register),
        2 => shown(0.7).prop_map(Op::ChangePassword),
        2 => right().prop_map(Op::Enable),
        4 => (prop_oneof![5 => Just(0), 1 => Just(1)], typed())
            .prop_map(|(nth, code)| Op::Confirm(nth, code)),
        1 => (0..2_usize).prop_map(Op::Cancel),
        2 => shown(0.7).prop_map(Op::Regenerate),
        1 => shown(0.4).prop_map(Op::Disable),
        2 => Just(Op::ClearAttempts),
        8 => reset_op().prop_map(Op::Reset),
        8 => start_shown().prop_map(Op::StartLogin),
        24 => (prop::option::of(prop_oneof![6 => Just(0_usize), 1 => 0..10_usize]), typed(), next())
            .prop_map(|(challenge, code, next)| Op::Verify(challenge, code, next)),
    ]
}

fn reset_op() -> impl Strategy<Value = ResetOp> {
    let step = prop_oneof![
        4 => Just(Step::Approve),
        4 => Just(Step::Execute),
        1 => Just(Step::Reject),
        1 => Just(Step::Cancel),
    ];
    let back = prop_oneof![6 => Just(0_usize), 1 => 0..3_usize];
    prop_oneof![
        3 => Just(ResetOp::Request),
        4 => (step, back).prop_map(|(step, back)| ResetOp::Step(step, back)),
        1 => prop_oneof![Just(ResetOp::UserCancel), Just(ResetOp::Suspend)],
    ]
}

/// Two agents who work on a reset, with waits that are long enough and waits that are not.
fn reset() -> impl Strategy<Value = Vec<Op>> {
    let wait = || prop_oneof![3 => 0..10_000_u64, 2 => 250_000..300_000_u64, 1 => 0..700_000_u64];
    (wait(), wait()).prop_map(|(first, second)| {
        vec![
            Op::Caller("shop"),
            Op::Reset(ResetOp::Request),
            Op::Wait(first),
            Op::Caller("forum"),
            Op::Reset(ResetOp::Step(Step::Approve, 0)),
            Op::Wait(second),
            Op::Reset(ResetOp::Step(Step::Execute, 0)),
            Op::Caller("shop"),
        ]
    })
}

/// One thing, or a row of guesses by an attacker who has the password.
fn moment() -> impl Strategy<Value = Vec<Op>> {
    let guess =
        (0..1_500_u64, 0..1_000_000_u32, prop::bool::ANY).prop_map(|(wait, digits, pair)| {
            let next = pair.then_some(Typed::Digits(digits));
            vec![
                Op::Wait(wait),
                Op::Verify(None, Typed::Digits(digits), next),
            ]
        });
    let confirm = (-12..=12_i64).prop_map(|step| vec![Op::Confirm(0, Typed::Step(step))]);
    prop_oneof![
        30 => op().prop_map(|op| vec![op]),
        1 => reset(),
        1 => prop::collection::vec(guess, 4..20).prop_map(|row| row.concat()),
        1 => prop::collection::vec(confirm, 1..7)
            .prop_map(|row| [vec![Op::Enable(true)], row.concat()].concat()),
    ]
}

/// A life. Most begin with the factor on, since most rules need it.
pub(super) fn life() -> impl Strategy<Value = Vec<Op>> {
    let registered = vec![Op::Register];
    let enabled = vec![
        Op::Register,
        Op::Enable(true),
        Op::Confirm(0, Typed::Step(0)),
    ];
    let beginning = prop_oneof![
        6 => Just(enabled),
        2 => Just(registered),
        1 => Just(Vec::new()),
    ];
    (beginning, prop::collection::vec(moment(), 1..80))
        .prop_map(|(beginning, rest)| [beginning, rest.concat()].concat())
}

/// A policy with small budgets, so that a short life reaches every mode.
pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let passwords = (0..=3_u32, 2..=8_u32, prop::bool::weighted(0.3));
    (4..=10_u16, 0..=3_u16, 1..=4_u16, 10..=16_u16, passwords).prop_map(
        |(budget, free, pairs, suspend_after, (password_free, day_free, require_code_too))| {
            Policy {
                require_code_too,
                code_failures_budget: budget,
                code_failures_free: free,
                double_code_tries_per_hour: pairs,
                suspend_after,
                password_failures_free: password_free,
                password_day_failures_free: day_free,
                ..Policy::default()
            }
        },
    )
}

pub(super) fn begin(policy: Policy, seed: u64) -> Scenario {
    let mut scenario = unregistered().under(policy);
    scenario.seed = seed;
    scenario
}

fn password(right: bool) -> Password {
    match right {
        true => Password::Right,
        false => Password::Wrong,
    }
}

/// Moves the world, or returns the command of the op.
pub(super) fn happen(s: &mut Scenario, op: &Op) -> Option<(Ask, Deed)> {
    match op {
        Op::Wait(seconds) => s.wall = s.wall.plus_s(*seconds),
        Op::ClockBack(seconds) => s.wall = s.wall.minus_s(*seconds),
        Op::Source(source) => s.source_key = [*source; 8],
        Op::Caller(caller) => s.caller = caller,
        command => return ask(s, command),
    }
    None
}

/// Returns the command of an op; `None` if there is nothing yet that it could name.
fn ask(s: &Scenario, op: &Op) -> Option<(Ask, Deed)> {
    Some(match op {
        Op::Wait(_) | Op::ClockBack(_) | Op::Source(_) | Op::Caller(_) => return None,
        Op::Register => (register("a good password")(s), Deed::Register),
        Op::ChangePassword(shown) => {
            let ask = change_password(password(shown.right), "another password")(s);
            let (ask, proven) = prove(s, ask, shown)?;
            (ask, Deed::ChangePassword(proven))
        }
        Op::Enable(right) => (enable(password(*right))(s), Deed::Enable(*right)),
        Op::Confirm(back, code) => {
            let nth = s.authenticators.len().checked_sub(1 + back)?;
            let (code, meaning) = type_in(s, code)?;
            let ask = confirm_nth(nth, move |_| code.clone())(s);
            (ask, Deed::Confirm(nth, meaning))
        }
        Op::Cancel(back) => {
            let nth = s.authenticators.len().checked_sub(1 + back)?;
            (cancel_nth(nth)(s), Deed::Cancel(nth))
        }
        Op::Regenerate(shown) => {
            let ask = regenerate(password(shown.right))(s);
            let (ask, proven) = prove(s, ask, shown)?;
            (ask, Deed::Regenerate(proven))
        }
        Op::Disable(shown) => {
            let ask = disable(password(shown.right))(s);
            let (ask, proven) = prove(s, ask, shown)?;
            (ask, Deed::Disable(proven))
        }
        Op::ClearAttempts => (clear_attempts(s), Deed::ClearAttempts),
        Op::Reset(op) => return reset_ask(s, *op),
        Op::StartLogin(shown) => {
            let ask = start_login(password(shown.right))(s);
            let (ask, proven) = prove(s, ask, shown)?;
            (ask, Deed::StartLogin(proven))
        }
        Op::Verify(back, code, next) => {
            let nth = match back {
                Some(back) => Some(s.challenges.len().checked_sub(1 + back)?),
                None => None,
            };
            let (code, meaning) = type_in(s, code)?;
            let next = next.as_ref().and_then(|next| type_in(s, next));
            let (next, next_meaning) = next.unzip();
            let challenge = nth.map(|nth| s.challenges[nth].clone());
            let deed = Deed::Verify(nth, meaning, next_meaning);
            (verify(challenge, code, next), deed)
        }
    })
}

fn reset_ask(s: &Scenario, op: ResetOp) -> Option<(Ask, Deed)> {
    Some(match op {
        ResetOp::Suspend => (suspend_factor(s), Deed::SuspendFactor),
        ResetOp::Request => (request_reset(s), Deed::RequestReset),
        ResetOp::UserCancel => (user_cancel(s), Deed::UserCancelReset),
        ResetOp::Step(step, back) => {
            let nth = s.cases.len().checked_sub(1 + back)?;
            let ask = with_case(step, case_back(s, back));
            (ask, Deed::ResetStep(step, nth))
        }
    })
}

/// Adds the code beside the password if one is shown.
fn prove(s: &Scenario, ask: Ask, shown: &Shown) -> Option<(Ask, Proven)> {
    let right = shown.right;
    let Some((code, next)) = &shown.code else {
        return Some((ask, Proven { right, code: None }));
    };
    let (code, meaning) = type_in(s, code)?;
    let next = next.as_ref().and_then(|next| type_in(s, next));
    let (next, next_meaning) = next.unzip();
    let proven = Proven {
        right,
        code: Some((meaning, next_meaning)),
    };
    Some((with_code(|_| ask, |_| code.clone(), next)(s), proven))
}

/// Returns the code and its meaning; `None` if no app or set shows it.
fn type_in(s: &Scenario, typed: &Typed) -> Option<(Code, Meaning)> {
    let latest = s.secrets.len().checked_sub(1)?;
    let step = |offset: i64| s.step_now().wrapping_add_signed(offset);
    let code = match typed {
        Typed::Step(offset) => code_of_step(s, latest, step(*offset)),
        Typed::OldApp(offset) => code_of_step(s, latest.checked_sub(1)?, step(*offset)),
        Typed::Spent => code_of_step(s, latest, s.account.on()?.last_step),
        Typed::Digits(digits) => Code::Totp(TotpCode::from_number(*digits)),
        Typed::Backup(back, ordinal) => {
            let set_no = s.account.set_no.checked_sub(*back).filter(|no| *no > 0)?;
            let code = backup_code_of(set_no, *ordinal)(s);
            let place = Some((set_no, *ordinal as u8));
            return Some((code, Meaning::Backup(place)));
        }
        Typed::WrongBackup(ordinal) => {
            return Some((wrong_backup_code(*ordinal)(s), Meaning::Backup(None)));
        }
    };
    let Code::Totp(digits) = &code else {
        return None;
    };
    let near = step(-10)..=step(10);
    let steps = steps_showing(&s.secrets[latest], digits, near);
    Some((code, Meaning::App(steps)))
}
