//! Given, when, then: the rules as sentences.
//!
//! A scenario is one account with what its owner and the callers know: plain secrets, codes and
//! challenges. It gathers evidence as the engine does, lets `decide` judge, folds the events
//! with `evolve`, and holds for each decision that it comes out alike a second time and that
//! `recall` finds its answer again. Times are offsets of [`START`], randomness is counted.

use std::collections::BTreeMap;

use countersign_schemas::code::{BackupCode, Code};
use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::ids::{AuthenticatorId, CaseId, ChallengeId};
use countersign_schemas::refusal::Refusal;
use countersign_schemas::time::Micros;

use super::sentences::{
    assert_recalled, in_words, start_login, verify_login, verify_pair, verify_vouched, wrong_code,
};
use crate::account::attempts::Gate;
use crate::account::explain::recording::{Across, Recording, Rerun};
use crate::account::explain::rerun::rerun;
use crate::account::rules::quota::Act;
use crate::account::{
    Account, Ctx, Decision, ENTROPY_LEN, Evidence, LoginReply, Policy, Recorded, Reply, ResetReply,
    SecretReply, Step, decide,
};
use crate::crypto::otp::{TotpSecret, step_at};

/// Offset zero: the first second of step 59,058,360, a day before the moment of C-13.
pub(in crate::account) const START: Micros = Micros(1_771_750_800 * Micros::SECOND);
/// The first secret of every scenario, the one of RFC 6238 Appendix B.
const RFC_SECRET: &[u8; 20] = b"12345678901234567890";
pub(in crate::account) const ACCOUNT: &str = "acct-A";

/// Whether the password of a command is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::account) enum Password {
    Right,
    Wrong,
    Absent,
    Vouched,
}

/// The result of a command: its events and its reply, or the step that it still needs.
#[derive(Debug)]
pub(in crate::account) struct Outcome {
    pub(in crate::account) events: Vec<Event>,
    pub(in crate::account) reply: Result<Result<Reply, Refusal>, Step>,
}

#[derive(Clone, Debug)]
pub(in crate::account) struct Scenario {
    pub(in crate::account) policy: Policy,
    pub(in crate::account) account: Account,
    /// The wall clock; it may run backwards.
    pub(in crate::account) wall: Micros,
    /// The wall clock that an operator accepted as right.
    pub(in crate::account) accepted_wall: Option<Micros>,
    /// When the log last recorded something.
    pub(in crate::account) recorded_at: Micros,
    pub(in crate::account) caller: &'static str,
    pub(in crate::account) source_key: [u8; 8],
    pub(in crate::account) source_waits_s: Option<u64>,
    pub(in crate::account) pair_waits_s: Option<u64>,
    pub(in crate::account) is_elsewhere: bool,
    pub(in crate::account) name_taken: bool,
    pub(in crate::account) next_key_id: Option<u32>,
    /// The acts that are counted over all accounts: the agent, the act and the time.
    pub(in crate::account) acts: Vec<(&'static str, Act, Micros)>,
    pub(in crate::account) is_own_account: bool,
    /// The cases, oldest first.
    pub(in crate::account) cases: Vec<CaseId>,
    /// Whether the verifier of a right password is outdated.
    pub(in crate::account) outdated: bool,
    pub(in crate::account) secrets: Vec<TotpSecret>,
    pub(in crate::account) authenticators: Vec<AuthenticatorId>,
    pub(in crate::account) sets: BTreeMap<u32, Vec<BackupCode>>,
    pub(in crate::account) challenges: Vec<ChallengeId>,
    pub(in crate::account) seed: u64,
    pub(in crate::account) draws: u64,
    words: String,
    /// The events of the last command.
    pub(in crate::account) events: Vec<Event>,
}

/// Returns a scenario before any registration.
pub(in crate::account) fn unregistered() -> Scenario {
    Scenario {
        policy: Policy::default(),
        account: Account::default(),
        wall: START,
        accepted_wall: None,
        recorded_at: Micros(0),
        caller: "shop",
        source_key: [1; 8],
        source_waits_s: None,
        pair_waits_s: None,
        is_elsewhere: false,
        name_taken: false,
        next_key_id: Some(2),
        acts: Vec::new(),
        is_own_account: false,
        cases: Vec::new(),
        outdated: false,
        secrets: Vec::new(),
        authenticators: Vec::new(),
        sets: BTreeMap::new(),
        challenges: Vec::new(),
        seed: 0,
        draws: 0,
        words: String::new(),
        events: Vec::new(),
    }
}

/// Returns the time at the offset `"+1d2h3m4s"` or `"-1h"` of [`START`].
pub(in crate::account) fn offset(text: &str) -> Micros {
    let (sign, mut rest) = text.split_at(1);
    let mut seconds = 0;
    while let Some(end) = rest.find(|c: char| c.is_alphabetic()) {
        let count: u64 = rest[..end].parse().expect("a number before each unit");
        seconds += count * unit_s(&rest[end..=end]);
        rest = &rest[end + 1..];
    }
    match sign {
        "+" => START.plus_s(seconds),
        _ => START.minus_s(seconds),
    }
}

fn unit_s(unit: &str) -> u64 {
    match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => panic!("no unit of time: {other}"),
    }
}

pub(in crate::account) fn step(text: &str) -> u64 {
    step_at(offset(text).unix_s())
}

impl Scenario {
    /// Moves the wall clock to an offset of [`START`].
    pub(in crate::account) fn at(mut self, text: &str) -> Self {
        self.wall = offset(text);
        self
    }

    /// Moves the wall clock on.
    pub(in crate::account) fn later(mut self, text: &str) -> Self {
        let seconds = offset(text).seconds_since(START);
        self.wall = self.wall.plus_s(seconds);
        self
    }

    pub(in crate::account) fn with_source(mut self, source: u8) -> Self {
        self.source_key = [source; 8];
        self
    }

    pub(in crate::account) fn by(mut self, caller: &'static str) -> Self {
        self.caller = caller;
        self
    }

    pub(in crate::account) fn under(mut self, policy: Policy) -> Self {
        assert_eq!(policy.check(), Ok(()));
        self.policy = policy;
        self
    }

    /// Runs the command.
    #[track_caller]
    pub(in crate::account) fn when(self, ask: impl FnOnce(&Self) -> (Command, Password)) -> Self {
        self.when_with(ask, |_| {})
    }

    /// Runs the command with changed evidence.
    #[track_caller]
    pub(in crate::account) fn when_with(
        mut self,
        ask: impl FnOnce(&Self) -> (Command, Password),
        change: impl FnOnce(&mut Evidence),
    ) -> Self {
        let (command, password) = ask(&self);
        let mut evidence = self.gather(&command, password);
        change(&mut evidence);
        let outcome = self.submit(&command, &evidence);
        self.words = in_words(&outcome.reply);
        self.events = outcome.events;
        self
    }

    /// Opens a challenge with the right password, then answers it.
    #[track_caller]
    pub(in crate::account) fn log_in_with(self, code: impl Fn(&Self) -> Code) -> Self {
        let opened = self.when(start_login(Password::Right));
        assert!(
            opened.words.starts_with("code required"),
            "{}",
            opened.words
        );
        opened.when(verify_login(code))
    }

    /// Sends `count` wrong codes, each as soon as it is compared.
    pub(in crate::account) fn wrong_codes(mut self, count: usize) -> Self {
        for _ in 0..count {
            if let Gate::Wait(s) = self.account.attempts.gate(self.now(), &self.policy) {
                self.wall = self.now().plus_s(s);
            }
            self = match self.account.attempts.gate(self.now(), &self.policy) {
                Gate::DoubleCode => self.when(verify_pair(wrong_code(), wrong_code())),
                _ => self.when(verify_vouched(wrong_code())),
            }
            .then("code.invalid");
        }
        self
    }

    /// Compares the reply, in the words of [`in_words`].
    #[track_caller]
    pub(in crate::account) fn then(self, words: &str) -> Self {
        assert_eq!(self.words, words);
        self
    }

    /// Compares the names of the recorded events.
    #[track_caller]
    pub(in crate::account) fn records(self, names: &[&str]) -> Self {
        let recorded: Vec<_> = self.events.iter().map(Event::name).collect();
        assert_eq!(recorded, names);
        self
    }

    /// Returns the events of the last command.
    pub(in crate::account) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Looks at the recorded events.
    #[track_caller]
    pub(in crate::account) fn where_event(self, holds: impl Fn(&Event) -> bool) -> Self {
        assert!(self.events.iter().any(holds), "{:?}", self.events);
        self
    }

    /// Checks the account.
    #[track_caller]
    pub(in crate::account) fn where_account(self, holds: impl Fn(&Account) -> bool) -> Self {
        assert!(holds(&self.account), "{:?}", self.account);
        self
    }

    /// Returns log time, which never runs backwards.
    pub(in crate::account) fn now(&self) -> Micros {
        self.wall.max(self.recorded_at)
    }

    pub(in crate::account) fn step_now(&self) -> u64 {
        step_at(self.wall.unix_s())
    }

    /// Decides, folds, and checks what is true of every decision.
    #[track_caller]
    pub(in crate::account) fn submit(&mut self, command: &Command, evidence: &Evidence) -> Outcome {
        let mut entropy = self.random(b"decision");
        if self.secrets.is_empty() {
            entropy[..20].copy_from_slice(RFC_SECRET);
        }
        self.draws += 1;
        let requested_at = self.requested_at(command);
        let ctx = self.ctx(&entropy, &requested_at);
        let decision = decide(&self.account, command, evidence, &ctx);
        let again = decide(&self.account, command, evidence, &ctx);
        assert_eq!(format!("{decision:?}"), format!("{again:?}"));
        let (events, reply) = match decision {
            Decision::Done { events, reply } => (events, reply),
            Decision::Needs(step) => {
                return Outcome {
                    events: Vec::new(),
                    reply: Err(step),
                };
            }
        };
        let now = ctx.now;
        let across = Across {
            requested_at: &requested_at,
            is_own_account: Some(self.is_own_account),
            next_key_id: self.next_key_id,
        };
        self.assert_same_again(command, &events, across, now);
        self.fold(&events, now);
        if !events.is_empty() {
            assert_recalled(&events, &self.account, &self.policy, now, &reply);
        }
        if let Ok(reply) = &reply {
            self.learn(reply);
        }
        Outcome {
            events,
            reply: Ok(reply),
        }
    }

    /// Returns the step that a decision waits for with this evidence; `None` if it is decided.
    pub(in crate::account) fn step_needed(
        &self,
        command: &Command,
        evidence: &Evidence,
    ) -> Option<Step> {
        let requested_at = self.requested_at(command);
        let ctx = self.ctx(&[0; ENTROPY_LEN], &requested_at);
        match decide(&self.account, command, evidence, &ctx) {
            Decision::Done { .. } => None,
            Decision::Needs(step) => Some(step),
        }
    }

    fn requested_at(&self, command: &Command) -> Vec<Micros> {
        let same = |(by, act, at): &(&str, Act, Micros)| {
            (*by == self.caller && Some(*act) == Act::of(command)).then_some(*at)
        };
        self.acts.iter().filter_map(same).collect()
    }

    fn ctx<'a>(&'a self, entropy: &'a [u8; ENTROPY_LEN], requested_at: &'a [Micros]) -> Ctx<'a> {
        Ctx {
            now: self.now(),
            gated_at: self.now(),
            clock_floor: self.accepted_wall.unwrap_or(self.now()),
            policy: &self.policy,
            entropy,
            caller: self.caller,
            source_key: self.source_key,
            source_waits_s: self.source_waits_s,
            pair_waits_s: self.pair_waits_s,
            is_elsewhere: self.is_elsewhere,
            name_taken: self.name_taken,
            next_key_id: self.next_key_id,
            requested_at,
            is_own_account: self.is_own_account,
        }
    }

    /// Asserts that the events alone give the same decision again, if there is an account.
    fn assert_same_again(&self, command: &Command, events: &[Event], across: Across, now: Micros) {
        let again = rerun(&Recording {
            before: &self.account,
            account_id: ACCOUNT,
            events,
            at: now,
            caller: self.caller,
            role: Command::kind_of(command.name()).expect("a command").into(),
            source_key: self.source_key,
            policy: &self.policy,
            across,
        });
        match again {
            Rerun::Same => {}
            Rerun::Different(what) => panic!("{what}: {events:?}"),
            Rerun::Not(why) => assert!(
                matches!(events, [] | [Event::UnknownNameRefused(_)]),
                "{}: {why}",
                events[0].name()
            ),
        }
    }

    fn fold(&mut self, events: &[Event], now: Micros) {
        for event in events {
            self.recorded_at = now;
            if matches!(event, Event::UnknownNameRefused(_)) {
                continue;
            }
            if let Some(act) = Act::of_event(event) {
                self.acts.push((self.caller, act, now));
            }
            let recorded = Recorded {
                account_id: ACCOUNT,
                version: self.account.version + 1,
                at: now,
                caller: self.caller,
                source_key: self.source_key,
                event,
            };
            self.account.evolve(&recorded);
        }
    }

    /// Keeps what the caller and the owner learn from a reply.
    fn learn(&mut self, reply: &Reply) {
        match reply {
            Reply::Secret(SecretReply::EnrolmentStarted {
                authenticator_id,
                secret,
                ..
            }) => {
                self.authenticators.push(authenticator_id.clone());
                self.secrets.push(secret.clone());
            }
            Reply::Secret(SecretReply::CodeConfirmed { set_no, issued, .. })
            | Reply::Secret(SecretReply::BackupCodesRegenerated { set_no, issued, .. }) => {
                self.sets.insert(*set_no, issued.codes.clone());
            }
            Reply::Login(LoginReply::CodeRequired { challenge_id, .. }) => {
                self.challenges.push(challenge_id.clone())
            }
            Reply::Reset(ResetReply::Requested { case_id, .. }) => self.cases.push(case_id.clone()),
            Reply::FactorSuspended
            | Reply::Reset(ResetReply::Approved { .. })
            | Reply::Reset(ResetReply::Rejected)
            | Reply::Reset(ResetReply::Cancelled)
            | Reply::Reset(ResetReply::Executed)
            | Reply::AccountRegistered { .. }
            | Reply::PasswordChanged
            | Reply::FactorOff
            | Reply::AttemptsCleared
            | Reply::AccountErased
            | Reply::KeysRotated { .. }
            | Reply::Login(LoginReply::ByPassword { .. })
            | Reply::Login(LoginReply::Verified { .. }) => {}
        }
    }
}
