//! Random lives of one account: the rules answer as the model does, and the laws hold.

use std::collections::BTreeSet;

use countersign_schemas::code::Code;
use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::event::login::v1::TotpReason;
use countersign_schemas::time::Micros;
use proptest::prelude::*;

use super::model::{Deed, Meaning, Model, World};
use super::scenario::{Outcome, Password, Scenario, nobody};
use super::sentences::*;
use super::{Factor, Policy};
use crate::crypto::otp::matching_steps;

/// A code as it is typed.
#[derive(Clone, Debug)]
pub(super) enum Typed {
    /// What the app shows so many steps from now.
    Step(i64),
    /// The same of the enrolment before.
    OldApp(i64),
    /// The last code that was accepted.
    Spent,
    Wrong,
    /// Of a set so many sets ago, 0 the current one.
    Backup(u32, usize),
    WrongBackup(u8),
}

/// One thing that happens; indices count backwards from the latest.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Wait(u64),
    ClockBack(u64),
    Source(u8),
    Caller(&'static str),
    Register,
    ChangePassword(bool),
    Enable(bool),
    Confirm(usize, Typed),
    Cancel(usize),
    Regenerate(bool),
    Disable(bool),
    StartLogin(bool),
    Verify(Option<usize>, Typed, Option<Typed>),
}

fn typed() -> impl Strategy<Value = Typed> {
    prop_oneof![
        4 => Just(Typed::Step(0)),
        4 => (-3..=3_i64).prop_map(Typed::Step),
        1 => (-1..=1_i64).prop_map(Typed::OldApp),
        2 => Just(Typed::Spent),
        6 => Just(Typed::Wrong),
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

fn op() -> impl Strategy<Value = Op> {
    let right = || prop::bool::weighted(0.7);
    prop_oneof![
        6 => (0..40_u64).prop_map(Op::Wait),
        4 => (40..1_000_u64).prop_map(Op::Wait),
        2 => (3_600..200_000_u64).prop_map(Op::Wait),
        1 => (200_000..3_000_000_u64).prop_map(Op::Wait),
        1 => (1..100_u64).prop_map(Op::ClockBack),
        1 => (1..=2_u8).prop_map(Op::Source),
        1 => prop_oneof![4 => Just("shop"), 1 => Just("forum")].prop_map(Op::Caller),
        1 => Just(Op::Register),
        1 => right().prop_map(Op::ChangePassword),
        2 => right().prop_map(Op::Enable),
        4 => (prop_oneof![5 => Just(0), 1 => Just(1)], typed())
            .prop_map(|(nth, code)| Op::Confirm(nth, code)),
        1 => (0..2_usize).prop_map(Op::Cancel),
        1 => right().prop_map(Op::Regenerate),
        1 => prop::bool::weighted(0.2).prop_map(Op::Disable),
        6 => right().prop_map(Op::StartLogin),
        24 => (prop::option::of(prop_oneof![6 => Just(0_usize), 1 => 0..10_usize]), typed(), next())
            .prop_map(|(challenge, code, next)| Op::Verify(challenge, code, next)),
    ]
}

/// One thing, or a row of guesses by somebody who has the password.
fn moment() -> impl Strategy<Value = Vec<Op>> {
    let guess = (0..1_500_u64, prop::bool::ANY).prop_map(|(wait, pair)| {
        let next = pair.then_some(Typed::Wrong);
        vec![Op::Wait(wait), Op::Verify(None, Typed::Wrong, next)]
    });
    let confirm = (-12..=12_i64).prop_map(|step| vec![Op::Confirm(0, Typed::Step(step))]);
    prop_oneof![
        30 => op().prop_map(|op| vec![op]),
        1 => prop::collection::vec(guess, 4..20).prop_map(|row| row.concat()),
        1 => prop::collection::vec(confirm, 1..7)
            .prop_map(|row| [vec![Op::Enable(true)], row.concat()].concat()),
    ]
}

/// A life; most begin with the factor on, since that is where it becomes interesting.
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

/// Tight budgets, so that a short life meets every mode.
pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let passwords = (0..=3_u32, 2..=8_u32);
    (4..=10_u16, 0..=3_u16, 1..=4_u16, 10..=16_u16, passwords).prop_map(
        |(budget, free, pairs, suspend_after, (password_free, day_free))| Policy {
            code_failures_budget: budget,
            code_failures_free: free,
            double_code_tries_per_hour: pairs,
            suspend_after,
            password_failures_free: password_free,
            password_day_failures_free: day_free,
            ..Policy::default()
        },
    )
}

pub(super) fn begin(policy: Policy, seed: u64) -> Scenario {
    let mut scenario = nobody().under(policy);
    scenario.seed = seed;
    scenario
}

fn password(right: bool) -> Password {
    match right {
        true => Password::Right,
        false => Password::Wrong,
    }
}

/// Moves the world, or says which command the op is.
pub(super) fn happen(s: &mut Scenario, op: &Op) -> Option<(Ask, Deed)> {
    let s_now = &*s;
    Some(match op {
        Op::Wait(seconds) => {
            s.wall = s.wall.plus_s(*seconds);
            return None;
        }
        Op::ClockBack(seconds) => {
            s.wall = s.wall.minus_s(*seconds);
            return None;
        }
        Op::Source(source) => {
            s.source_key = [*source; 8];
            return None;
        }
        Op::Caller(caller) => {
            s.caller = caller;
            return None;
        }
        Op::Register => (register("a good password")(s_now), Deed::Register),
        Op::ChangePassword(right) => {
            let ask = change_password(password(*right), "another password")(s_now);
            (ask, Deed::ChangePassword(*right))
        }
        Op::Enable(right) => (enable(password(*right))(s_now), Deed::Enable(*right)),
        Op::Confirm(back, code) => {
            let nth = s.authenticators.len().checked_sub(1 + back)?;
            let (code, meaning) = type_in(s_now, code)?;
            let ask = confirm_nth(nth, move |_| code.clone())(s_now);
            (ask, Deed::Confirm(nth, meaning))
        }
        Op::Cancel(back) => {
            let nth = s.authenticators.len().checked_sub(1 + back)?;
            (cancel_nth(nth)(s_now), Deed::Cancel(nth))
        }
        Op::Regenerate(right) => {
            let ask = regenerate(password(*right))(s_now);
            (ask, Deed::Regenerate(*right))
        }
        Op::Disable(right) => (disable(password(*right))(s_now), Deed::Disable(*right)),
        Op::StartLogin(right) => {
            let ask = start_login(password(*right))(s_now);
            (ask, Deed::StartLogin(*right))
        }
        Op::Verify(back, code, next) => {
            let nth = match back {
                Some(back) => Some(s.challenges.len().checked_sub(1 + back)?),
                None => None,
            };
            let (code, meaning) = type_in(s_now, code)?;
            let next = next.as_ref().and_then(|next| type_in(s_now, next));
            let (next, next_meaning) = next.unzip();
            let challenge = nth.map(|nth| s.challenges[nth].clone());
            let deed = Deed::Verify(nth, meaning, next_meaning);
            (verify(challenge, code, next), deed)
        }
    })
}

/// The code and what it is; nothing where no app or set shows it.
fn type_in(s: &Scenario, typed: &Typed) -> Option<(Code, Meaning)> {
    let latest = s.secrets.len().checked_sub(1)?;
    let step = |offset: i64| s.step_now().wrapping_add_signed(offset);
    let code = match typed {
        Typed::Step(offset) => code_of_step(s, latest, step(*offset)),
        Typed::OldApp(offset) => code_of_step(s, latest.checked_sub(1)?, step(*offset)),
        Typed::Spent => code_of_step(s, latest, s.account.on()?.last_step),
        Typed::Wrong => wrong_code()(s),
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
    let steps = matching_steps(&s.secrets[latest], digits, near);
    Some((code, Meaning::App(steps)))
}

pub(super) fn submit(s: &mut Scenario, (command, password): &(Command, Password)) -> Outcome {
    let evidence = s.gather(command, *password);
    s.submit(command, &evidence)
}

/// What the events alone say of the laws, whatever the rules and the model think.
#[derive(Default)]
struct Laws {
    enrolment: usize,
    last_step: Option<u64>,
    steps: BTreeSet<(usize, u64)>,
    set_no: u32,
    codes: BTreeSet<(u32, u8)>,
    single_failures: Vec<Micros>,
}

impl Laws {
    fn hold(&mut self, event: &Event, at: Micros, policy: &Policy) {
        match event {
            Event::TwoFactorEnabled(e) => {
                self.enrolment += 1;
                self.last_step = None;
                self.spend(e.step);
            }
            Event::TotpAccepted(e) => self.spend(e.step),
            Event::BackupCodesIssued(e) => {
                assert!(e.set_no > self.set_no, "set numbers rise");
                self.set_no = e.set_no;
            }
            Event::BackupCodeAccepted(e) => {
                assert_eq!(e.set_no, self.set_no, "a code of an old set");
                assert!(self.codes.insert((e.set_no, e.ordinal)), "a code twice");
            }
            Event::TwoFactorDisabled(_) => self.single_failures.clear(),
            Event::CodeReplayed(_) => self.fail(at, policy),
            Event::TotpRejected(e) if e.reason == TotpReason::Wrong => self.fail(at, policy),
            _ => {}
        }
    }

    fn spend(&mut self, step: u64) {
        assert!(self.last_step.is_none_or(|last| step > last), "steps rise");
        self.last_step = Some(step);
        assert!(self.steps.insert((self.enrolment, step)), "a step twice");
    }

    ///
    fn fail(&mut self, at: Micros, policy: &Policy) {
        self.single_failures.push(at);
        let since = at.minus_s(policy.code_failures_window_s);
        let recent = self
            .single_failures
            .iter()
            .filter(|at| **at > since)
            .count();
        assert!(
            recent <= usize::from(policy.code_failures_budget),
            "{recent} single codes failed in the window"
        );
    }
}

/// A refusal may count and may end an enrolment, nothing else.
fn assert_only_counted(before: &Scenario, after: &Scenario) {
    let (before, after) = (&before.account, &after.account);
    assert_eq!(before.id, after.id);
    assert_eq!(before.username, after.username);
    assert_eq!(before.credential, after.credential);
    assert_eq!(before.set_no, after.set_no);
    assert_eq!(before.challenges, after.challenges);
    match (&before.factor, &after.factor) {
        (Factor::Pending(b), Factor::Pending(a)) => {
            assert_eq!(b.authenticator_id, a.authenticator_id);
            assert_eq!(b.expires_at, a.expires_at);
        }
        (Factor::Pending(_), Factor::Off { .. }) => {}
        (before, after) => assert_eq!(before, after),
    }
}

/// Whatever was done to the account, a backup code and the password let the owner in within the
/// minute that a crowd of guessers can make everybody wait.
fn assert_owner_gets_in(mut s: Scenario) {
    let Some(on) = s.account.on() else { return };
    let Some(slot) = on.codes.unused.iter().position(|unused| *unused) else {
        return;
    };
    s.wall = s.now().plus_s(60);
    s.with_source(9)
        .log_in_with(backup_code(slot + 1))
        .records(&["backup-code-accepted"]);
}

/// Lives through it all; gives every event.
fn live(ops: &[Op], policy: &Policy, seed: u64) -> Vec<Event> {
    let mut s = begin(policy.clone(), seed);
    let mut model = Model::new(policy.clone());
    let mut laws = Laws::default();
    let mut log = Vec::new();
    for op in ops {
        let Some((ask, deed)) = happen(&mut s, op) else {
            continue;
        };
        let world = World {
            now: s.now(),
            wall: s.wall,
            caller: s.caller,
            source: s.source_key[0],
        };
        let before = s.clone();
        let outcome = submit(&mut s, &ask);
        let reply = outcome.reply.expect("fresh evidence is never stale");
        let word = reply.as_ref().map_or_else(|r| r.code.as_str(), |_| "ok");
        assert_eq!(word, model.answer(&deed, world), "{deed:?} {world:?}");
        if reply.is_err() {
            assert_only_counted(&before, &s);
        }
        for event in &outcome.events {
            laws.hold(event, world.now, policy);
        }
        log.extend(outcome.events);
    }
    assert_owner_gets_in(s);
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// H6: in every life; the model answers as the rules do.
    #[test]
    fn every_life_keeps_the_laws_and_answers_as_the_model(
        policy in policy(),
        seed: u64,
        ops in life(),
    ) {
        let log = live(&ops, &policy, seed);
        prop_assert_eq!(live(&ops, &policy, seed), log);
    }
}
