//! A second account, written from the contract and not from the rules: the reply of each command.
//!
//! It keeps plain facts (which steps and codes were spent, when failures were) and works out
//! counts, waits and modes again each time, while the rules carry them in events.

use std::collections::{BTreeMap, BTreeSet};

use countersign_schemas::time::Micros;

use super::model_reset::Case;
use super::reset_words::Step;
use crate::account::policy::Policy;

/// The meaning of a typed code, known from the plain secrets and sets.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// The steps within ten of now at which the current app shows these digits.
    App(Vec<u64>),
    /// A backup code: its set and ordinal, if one was ever issued there.
    Backup(Option<(u32, u8)>),
}

/// The proof of a command: whether the password is right, and a code beside it.
#[derive(Clone, Debug)]
pub(super) struct Proven {
    pub(in crate::account) right: bool,
    pub(super) code: Option<(Meaning, Option<Meaning>)>,
}

/// A command as the model sees it; authenticators and challenges are numbered as they were made.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Register,
    ChangePassword(Proven),
    Enable(bool),
    Confirm(usize, Meaning),
    Cancel(usize),
    Regenerate(Proven),
    Disable(Proven),
    StartLogin(Proven),
    Verify(Option<usize>, Meaning, Option<Meaning>),
    ClearAttempts,
    SuspendFactor,
    RequestReset,
    ResetStep(Step, usize),
    UserCancelReset,
}

/// The time, the caller and the source of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) now: Micros,
    pub(super) wall: Micros,
    pub(super) caller: &'static str,
    pub(super) source: u8,
}

#[derive(Debug, Default)]
enum Factor {
    #[default]
    Off,
    Pending {
        nth: usize,
        expires_at: Micros,
        wrong: u8,
    },
    On {
        last_step: u64,
        unused: BTreeSet<u8>,
    },
}

#[derive(Debug)]
pub(super) struct Challenge {
    nth: usize,
    caller: &'static str,
    expires_at: Micros,
    source: u8,
}

impl Challenge {
    pub(super) fn is_open(&self, world: World) -> bool {
        world.now < self.expires_at
    }
}

#[derive(Debug)]
pub(super) struct Model {
    policy: Policy,
    pub(super) exists: bool,
    /// By source: failures, the last one, until when it waits.
    passwords: BTreeMap<u8, (u32, Micros, Micros)>,
    /// Wrong passwords of the day: when it began, how many, until when the crowd waits.
    day: (Micros, u32, Micros),
    /// The source of each of them.
    day_sources: Vec<u8>,
    /// The sources of completed logins, the last one last.
    known: Vec<(u8, Micros)>,
    factor: Factor,
    enrolments: usize,
    lapsed: Option<usize>,
    set_no: u32,
    /// The time of each wrong code, and whether it was a pair.
    failures: Vec<(Micros, bool)>,
    in_a_row: u16,
    waits_until: Micros,
    /// Whether app codes are suspended, and whether support did it.
    pub(super) suspended: bool,
    pub(super) by_support: bool,
    pub(super) reset: Option<Case>,
    pub(super) cases_made: usize,
    /// Who asked for a reset, and when.
    pub(super) asked: Vec<(&'static str, Micros)>,
    /// When support cleared the attempts, and who.
    clears: Vec<(Micros, &'static str)>,
    pub(super) challenges: Vec<Challenge>,
    challenges_made: usize,
}

pub(super) type Word = &'static str;
const OK: Word = "ok";
const ALL_TEN: std::ops::RangeInclusive<u8> = 1..=10;

impl Model {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            exists: false,
            passwords: BTreeMap::new(),
            day: (Micros(0), 0, Micros(0)),
            day_sources: Vec::new(),
            known: Vec::new(),
            factor: Factor::Off,
            enrolments: 0,
            lapsed: None,
            set_no: 0,
            failures: Vec::new(),
            in_a_row: 0,
            waits_until: Micros(0),
            suspended: false,
            by_support: false,
            reset: None,
            cases_made: 0,
            asked: Vec::new(),
            clears: Vec::new(),
            challenges: Vec::new(),
            challenges_made: 0,
        }
    }

    /// Does the deed and returns its reply: `ok`, or the word of the refusal.
    pub(super) fn answer(&mut self, deed: &Deed, world: World) -> Word {
        match self.try_deed(deed, world) {
            Ok(()) => OK,
            Err(word) => word,
        }
    }

    fn try_deed(&mut self, deed: &Deed, world: World) -> Result<(), Word> {
        match deed {
            Deed::Register if self.exists => return Err("account.exists"),
            Deed::Register => self.exists = true,
            Deed::Confirm(nth, code) => return self.confirm(*nth, code, world),
            Deed::Cancel(nth) => return self.cancel(*nth),
            Deed::Verify(challenge, code, next) => {
                return self.verify(*challenge, code, next.as_ref(), world);
            }
            Deed::ClearAttempts => return self.clear_attempts(world),
            Deed::SuspendFactor => return self.suspend(world),
            Deed::RequestReset => return self.request_reset(world),
            Deed::ResetStep(step, nth) => return self.step(*step, *nth, world),
            Deed::UserCancelReset => return self.user_cancel(world),
            Deed::ChangePassword(proven) => {
                self.password(proven.right, world)?;
                self.code_beside(proven, world)?;
                self.challenges.clear();
                if matches!(self.factor, Factor::Pending { .. }) {
                    self.factor = Factor::Off;
                }
            }
            Deed::Enable(right) => {
                self.password(*right, world)?;
                if self.is_on() {
                    return Err("factor.already_on");
                }
                self.factor = Factor::Pending {
                    nth: self.enrolments,
                    expires_at: world.now.plus_s(600),
                    wrong: 0,
                };
                self.enrolments += 1;
                self.lapsed = None;
            }
            Deed::Regenerate(proven) => {
                self.password(proven.right, world)?;
                self.suspended_asks(proven)?;
                self.code_beside(proven, world)?;
                let Factor::On { unused, .. } = &mut self.factor else {
                    return Err("factor.not_on");
                };
                unused.extend(ALL_TEN);
                self.set_no += 1;
            }
            Deed::Disable(proven) => {
                self.password(proven.right, world)?;
                self.suspended_asks(proven)?;
                self.code_beside(proven, world)?;
                if !self.is_on() {
                    return Err("factor.not_on");
                }
                self.turn_off();
            }
            Deed::StartLogin(proven) if proven.code.is_some() => {
                self.login_with_both(proven, world)?;
            }
            Deed::StartLogin(proven) => {
                self.password(proven.right, world)?;
                match self.is_on() {
                    true => self.open_challenge(world),
                    false => self.login_completed(world.source, world.now),
                }
            }
        }
        // The password was right.
        self.passwords.remove(&world.source);
        Ok(())
    }

    /// Password and code at once: they pass a wait for passwords, but then a failure reveals
    /// nothing about either, and a wrong code counts only if the password was right.
    fn login_with_both(&mut self, proven: &Proven, world: World) -> Result<(), Word> {
        clock(world)?;
        let waits = self.password_waits(world);
        let first = match (waits, proven.right && self.exists) {
            (true, true) => Ok(()),
            (true, false) => Err("credentials.invalid"),
            (false, _) => self.password(proven.right, world),
        };
        let both = first.and_then(|()| self.code_beside(proven, world));
        match waits {
            true => both.map_err(|_| "credentials.invalid")?,
            false => both?,
        }
        self.login_completed(world.source, world.now);
        self.reset = None;
        Ok(())
    }

    pub(super) fn turn_off(&mut self) {
        self.factor = Factor::Off;
        self.challenges.clear();
        self.failures.clear();
        self.reset = None;
        self.by_support = false;
        self.code_succeeded();
    }

    pub(super) fn needs_factor(&self) -> Result<(), Word> {
        match self.is_on() {
            _ if !self.exists => Err("account.not_found"),
            true => Ok(()),
            false => Err("factor.not_on"),
        }
    }

    fn is_on(&self) -> bool {
        matches!(self.factor, Factor::On { .. })
    }

    fn password_waits(&self, world: World) -> bool {
        let known = self.passwords.get(&world.source).copied();
        let (_, _, until) = known.unwrap_or_default();
        let since = world.now.minus_s(30 * 86_400);
        let is_known = |(source, at): &(u8, Micros)| *source == world.source && *at > since;
        let seldom = self.day_sources.iter().filter(|s| **s == world.source);
        let is_new = seldom.count() < 3 && self.day_sources.len() < 4_096;
        let passes = is_new || self.known.iter().any(is_known);
        world.now < until || world.now < self.day.2 && !passes
    }

    fn password(&mut self, right: bool, world: World) -> Result<(), Word> {
        if self.password_waits(world) {
            return Err("account.throttled");
        }
        if !self.exists {
            return Err("credentials.invalid");
        }
        if right {
            return Ok(());
        }
        self.password_failed(world);
        Err("credentials.invalid")
    }

    fn password_failed(&mut self, world: World) {
        let known = self.passwords.get(&world.source).copied();
        let (count, last, _) = known.unwrap_or_default();
        let is_fresh = world.now < last.plus_s(86_400);
        let count = if is_fresh { count + 1 } else { 1 };
        let until = match count.checked_sub(self.policy.password_failures_free + 1) {
            Some(doublings) => world.now.plus_s(wait_s(doublings)),
            None => Micros(0),
        };
        self.passwords
            .insert(world.source, (count, world.now, until));
        self.password_failed_today(world);
    }

    fn login_completed(&mut self, source: u8, at: Micros) {
        self.known.retain(|(known, _)| *known != source);
        self.known.push((source, at));
        let extra = self.known.len().saturating_sub(8);
        self.known.drain(..extra);
    }

    fn password_failed_today(&mut self, world: World) {
        if world.now >= self.day.0.plus_s(86_400) {
            self.day = (world.now, 0, Micros(0));
            self.day_sources.clear();
        }
        self.day_sources.push(world.source);
        self.day.1 += 1;
        let free = self.policy.password_day_failures_free;
        self.day.2 = match self.day.1.checked_sub(free + 1) {
            Some(doublings) => world.now.plus_s(wait_s(doublings).min(60)),
            None => Micros(0),
        };
    }

    fn confirm(&mut self, nth: usize, code: &Meaning, world: World) -> Result<(), Word> {
        self.is_pending(nth)?;
        clock(world)?;
        let Factor::Pending {
            expires_at, wrong, ..
        } = &mut self.factor
        else {
            return Err("factor.not_pending");
        };
        if world.now >= *expires_at {
            self.factor = Factor::Off;
            self.lapsed = Some(nth);
            return Err("enrolment.expired");
        }
        let matching = match code {
            Meaning::App(steps) => in_window(steps, world),
            Meaning::Backup(_) => Vec::new(),
        };
        let Some(last_step) = matching.into_iter().max() else {
            *wrong += 1;
            if *wrong == 5 {
                self.factor = Factor::Off;
            }
            return Err("code.invalid");
        };
        let unused = ALL_TEN.collect();
        self.factor = Factor::On { last_step, unused };
        self.set_no += 1;
        Ok(())
    }

    fn cancel(&mut self, nth: usize) -> Result<(), Word> {
        match self.is_pending(nth) {
            Ok(()) => self.factor = Factor::Off,
            Err("enrolment.expired") => return Err("factor.not_pending"),
            Err(word) => return Err(word),
        }
        Ok(())
    }

    fn is_pending(&self, wanted: usize) -> Result<(), Word> {
        match self.factor {
            _ if !self.exists => Err("account.not_found"),
            Factor::Pending { nth, .. } if nth == wanted => Ok(()),
            Factor::Off if self.lapsed == Some(wanted) => Err("enrolment.expired"),
            Factor::Off | Factor::Pending { .. } | Factor::On { .. } => Err("factor.not_pending"),
        }
    }

    fn open_challenge(&mut self, world: World) {
        self.challenges.retain(|open| world.now < open.expires_at);
        if self.challenges.len() == 8 {
            self.challenges.remove(0);
        }
        self.challenges.push(Challenge {
            nth: self.challenges_made,
            caller: world.caller,
            expires_at: world.now.plus_s(300),
            source: world.source,
        });
        self.challenges_made += 1;
    }

    fn verify(
        &mut self,
        challenge: Option<usize>,
        code: &Meaning,
        next: Option<&Meaning>,
        world: World,
    ) -> Result<(), Word> {
        match challenge {
            Some(nth) => {
                let is_open = self.challenges.iter().any(|open| {
                    open.nth == nth && open.caller == world.caller && world.now < open.expires_at
                });
                is_open.then_some(()).ok_or("challenge.expired")?;
            }
            None if !self.exists => return Err("account.not_found"),
            None => {}
        }
        let began = self
            .challenges
            .iter()
            .find(|open| Some(open.nth) == challenge);
        let source = began.map_or(world.source, |open| open.source);
        self.code(code, next, world)?;
        self.login_completed(source, world.now);
        self.challenges.retain(|open| Some(open.nth) != challenge);
        self.reset = None;
        Ok(())
    }

    /// While app codes are suspended, the password alone cannot change the factor.
    fn suspended_asks(&self, proven: &Proven) -> Result<(), Word> {
        match self.is_on() && self.suspended && proven.code.is_none() {
            true => Err("factor.suspended"),
            false => Ok(()),
        }
    }

    /// Judges the code of a proof: required if policy says so, checked whenever it is given.
    fn code_beside(&mut self, proven: &Proven, world: World) -> Result<(), Word> {
        match &proven.code {
            Some((code, next)) => self.code(code, next.as_ref(), world),
            None if self.is_on() && self.policy.require_code_too => {
                self.password_failed(world);
                Err("credentials.invalid")
            }
            None => Ok(()),
        }
    }

    /// Judges a code of either kind for any purpose; an accepted one is spent and ends every row of
    /// failures.
    fn code(&mut self, code: &Meaning, next: Option<&Meaning>, world: World) -> Result<(), Word> {
        if !self.is_on() {
            return Err("factor.not_on");
        }
        clock(world)?;
        match code {
            Meaning::App(steps) => self.app_code(steps, next, world)?,
            Meaning::Backup(place) => self.backup_code(*place)?,
        }
        self.code_succeeded();
        Ok(())
    }

    /// Clears the attempts: once in 7 days, and once in 30 days by the same agent. A row of
    /// failures and a suspension stay.
    fn clear_attempts(&mut self, world: World) -> Result<(), Word> {
        self.needs_factor()?;
        let since = world.now.minus_s(self.policy.code_failures_window_s);
        let has_counted = world.now < self.waits_until || self.failures.iter().any(|f| f.0 > since);
        if self.suspended {
            return Err("factor.suspended");
        }
        if !has_counted {
            return Err("attempts.none");
        }
        let is_too_early = |(at, agent): &(Micros, &str)| {
            let days = if *agent == world.caller { 30 } else { 7 };
            world.now < at.plus_s(days * 86_400)
        };
        if self.clears.iter().any(is_too_early) {
            return Err("quota.exceeded");
        }
        self.clears.push((world.now, world.caller));
        self.failures.clear();
        self.waits_until = Micros(0);
        Ok(())
    }

    fn backup_code(&mut self, place: Option<(u32, u8)>) -> Result<(), Word> {
        let Factor::On { unused, .. } = &mut self.factor else {
            return Err("factor.not_on");
        };
        match place {
            Some((set_no, ordinal)) if set_no == self.set_no && unused.remove(&ordinal) => Ok(()),
            Some(_) | None => Err("code.invalid"),
        }
    }

    fn app_code(
        &mut self,
        steps: &[u64],
        next: Option<&Meaning>,
        world: World,
    ) -> Result<(), Word> {
        if self.suspended {
            return Err("factor.suspended");
        }
        if world.now < self.waits_until {
            return Err("account.throttled");
        }
        let Factor::On { last_step, .. } = &mut self.factor else {
            return Err("factor.not_on");
        };
        let window_s = self.policy.code_failures_window_s;
        let pair = count(&self.failures, window_s, world) >= self.policy.code_failures_budget;
        let spent = if pair {
            let pairs: Vec<_> = self.failures.iter().copied().filter(|f| f.1).collect();
            if count(&pairs, 3_600, world) >= self.policy.double_code_tries_per_hour {
                return Err("account.throttled");
            }
            let next = match next.ok_or("code.second_required")? {
                Meaning::App(steps) => in_window(steps, world),
                Meaning::Backup(_) => Vec::new(),
            };
            let first = in_window(steps, world);
            first
                .into_iter()
                .filter(|s| s > last_step && next.contains(&(s + 1)))
                .map(|s| s + 1)
                .max()
        } else {
            let is_replay = steps.contains(last_step);
            let highest = in_window(steps, world).into_iter().max();
            highest.filter(|s| s > last_step && !is_replay)
        };
        match spent {
            Some(step) => *last_step = step,
            None => {
                self.code_failed(pair, world);
                return Err("code.invalid");
            }
        }
        Ok(())
    }

    fn code_failed(&mut self, pair: bool, world: World) {
        self.failures.push((world.now, pair));
        self.in_a_row += 1;
        let failures = count(&self.failures, self.policy.code_failures_window_s, world);
        if self.in_a_row == self.policy.suspend_after {
            self.suspended = true;
        } else if !pair && failures > self.policy.code_failures_free {
            let doublings = u32::from(failures - self.policy.code_failures_free - 1);
            self.waits_until = world.now.plus_s(wait_s(doublings));
        }
    }

    fn code_succeeded(&mut self) {
        self.in_a_row = 0;
        self.waits_until = Micros(0);
        self.suspended = self.by_support;
    }
}

/// 5 s, doubling to 15 min.
fn wait_s(doublings: u32) -> u64 {
    (5 << doublings.min(20)).min(900)
}

fn count(failures: &[(Micros, bool)], window_s: u64, world: World) -> u16 {
    let since = world.now.minus_s(window_s);
    failures.iter().filter(|f| f.0 > since).count() as u16
}

fn in_window(steps: &[u64], world: World) -> Vec<u64> {
    let now = world.wall.unix_s() / 30;
    steps
        .iter()
        .copied()
        .filter(|s| s.abs_diff(now) <= 1)
        .collect()
}

fn clock(world: World) -> Result<(), Word> {
    match world.wall.plus_s(60) < world.now {
        true => Err("store.unavailable"),
        false => Ok(()),
    }
}
