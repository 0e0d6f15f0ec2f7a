//! A virtual attacker and the owner and support agents of the account, all moved by the rules.

use countersign_schemas::code::{BackupCode, Code, TotpCode};
use countersign_schemas::command::{ClearAttempts, Command, ConfirmCode, Enable2fa, VerifyLogin};
use countersign_schemas::ids::{AccountId, AuthenticatorId, Reason};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::{Compared, DAY_S, MONTH_S, Owner, Support};
use crate::account::{
    Account, CodeEvidence, Created, Ctx, Decision, ENTROPY_LEN, Evidence, Issued, Policy,
    ProofEvidence, Recorded, Reply, decide,
};
use crate::crypto::otp::step_at;

/// When the attack begins; any time would do.
const START: Micros = Micros(1_800_000_000 * Micros::SECOND);
/// The account that is attacked.
const ACCOUNT: &str = "owner";
/// Backup codes of the virtual owner: one for every login of a month, and the most that ordinals
/// can name.
const OWNER_CODES: u8 = 31;

/// How the attacker treats the limits.
#[derive(Clone, Copy, Debug)]
pub(in crate::account) enum Strategy {
    /// Guesses whenever a guess is compared.
    Greedy,
    /// Guesses while the window holds fewer failures than this, and never sends pairs.
    Patient { failures: u16 },
}

/// A guess on its way to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::account) struct Guess {
    pub(in crate::account) step_now: u64,
    pub(in crate::account) pair: bool,
}

/// How the month ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::account) struct Month {
    pub(super) compared: Compared,
    /// The right guess, if there was one.
    pub(in crate::account) right: Option<Guess>,
}

/// The result of an attempt.
enum Attempt {
    Compared,
    Right(Guess),
    WaitUntil(Micros),
}

pub(in crate::account) struct Attack<'a, F> {
    policy: &'a Policy,
    strategy: Strategy,
    /// The steps that a guess matches, and those that its second code matches.
    matching: F,
    account: Account,
    now: Micros,
    owner_logins: u64,
    clears: u64,
    compared: Compared,
}

impl<'a, F: FnMut(Guess) -> (Vec<u64>, Vec<u64>)> Attack<'a, F> {
    pub(in crate::account) fn new(policy: &'a Policy, strategy: Strategy, matching: F) -> Self {
        let mut attack = Self {
            policy,
            strategy,
            matching,
            account: Account::default(),
            now: START.minus_s(DAY_S),
            owner_logins: 0,
            clears: 0,
            compared: Compared::default(),
        };
        attack.enrol();
        attack.now = START;
        attack
    }

    /// Turns the factor on, one day before the attack.
    fn enrol(&mut self) {
        let enable = Command::Enable2fa(Enable2fa {
            account_id: account_id(),
            account_name: None,
            label: None,
            proof: None,
            context: None,
        });
        let mut evidence = Evidence::none(self.now);
        evidence.proof = ProofEvidence::Vouched;
        self.submit(&enable, &evidence)
            .expect("a vouched account may enrol");
        let pending = self.account.pending().expect("an enrolment was begun");
        let confirm = Command::ConfirmCode(ConfirmCode {
            account_id: account_id(),
            authenticator_id: AuthenticatorId::parse(&pending.authenticator_id)
                .expect("the rules made this id"),
            code: some_code(),
            context: None,
        });
        let step_now = step_at(self.now.unix_s());
        evidence.code = CodeEvidence::Totp {
            enrolment: pending.enrolment,
            step_now,
            matched: vec![step_now],
            next_matched: Vec::new(),
        };
        evidence.created = Created::Codes(Issued {
            codes: (1..=OWNER_CODES).map(backup_code).collect(),
            verifiers: Protected::clear(&[]),
            fingerprint: String::new(),
        });
        self.submit(&confirm, &evidence)
            .expect("a right code confirms");
    }

    pub(in crate::account) fn month(mut self, owner: Owner, support: Support) -> Month {
        let end = START.plus_s(MONTH_S);
        let mut right = None;
        while right.is_none() && self.now < end {
            match self.attempt() {
                Attempt::Compared => {}
                Attempt::Right(guess) => right = Some(guess),
                Attempt::WaitUntil(at) => {
                    let at = match support {
                        Support::Idle => at,
                        Support::Clears => at.min(self.support_clears()),
                    };
                    let login = owner.login_s(self.owner_logins + 1);
                    match login.map(|seconds| START.plus_s(seconds)) {
                        Some(login) if login <= at && login < end => {
                            self.now = login;
                            self.owner_logs_in();
                        }
                        Some(_) | None => self.now = at,
                    }
                }
            }
        }
        let compared = self.compared;
        Month { compared, right }
    }

    fn attempt(&mut self) -> Attempt {
        if let Some(until) = self.holds_back_until() {
            return Attempt::WaitUntil(until);
        }
        match self.guess(false) {
            Err(ErrorCode::CodeSecondRequired) => match self.strategy {
                Strategy::Greedy => self.guess(true),
                Strategy::Patient { .. } => Ok(Attempt::WaitUntil(self.single_codes_again_at())),
            },
            other => other,
        }
        .expect("a guess is right, wrong, or has to wait")
    }

    /// Returns until when a patient attacker saves the rest of the budget.
    fn holds_back_until(&self) -> Option<Micros> {
        let Strategy::Patient { failures } = self.strategy else {
            return None;
        };
        let attempts = &self.account.attempts;
        let (with_one_more, _) = attempts.counted(self.now, self.policy);
        let oldest = attempts
            .failed_at
            .len()
            .checked_sub(usize::from(failures))?;
        (with_one_more > failures)
            .then(|| attempts.failed_at[oldest].plus_s(self.policy.code_failures_window_s))
    }

    fn single_codes_again_at(&self) -> Micros {
        self.account
            .attempts
            .double_code_until
            .expect("a second code was asked for")
    }

    /// Sends a guess.
    ///
    /// # Errors
    /// The refusal, if it is neither a judgement of the guess nor a wait.
    fn guess(&mut self, pair: bool) -> Result<Attempt, ErrorCode> {
        let step_now = step_at(self.now.unix_s());
        let guess = Guess { step_now, pair };
        let (matched, next_matched) = (self.matching)(guess);
        let evidence = self.app_code(matched, next_matched);
        let refusal = match self.submit(&verify(some_code(), pair), &evidence) {
            Ok(_) => return Ok(Attempt::Right(guess)),
            Err(refusal) => refusal,
        };
        match (refusal.code, refusal.retry_after_s) {
            (ErrorCode::CodeInvalid, _) => {
                match pair {
                    false => self.compared.singles += 1,
                    true => self.compared.pairs += 1,
                }
                Ok(Attempt::Compared)
            }
            (ErrorCode::AccountThrottled, Some(seconds)) => {
                Ok(Attempt::WaitUntil(self.now.plus_s(seconds)))
            }
            // Only the owner can end it.
            (ErrorCode::FactorSuspended, _) => Ok(Attempt::WaitUntil(START.plus_s(MONTH_S))),
            (other, _) => Err(other),
        }
    }

    /// Has a new agent clear a spent budget, or returns when an agent may; never clears an unspent
    /// one.
    fn support_clears(&mut self) -> Micros {
        let until = self.account.attempts.double_code_until;
        if until.is_none_or(|until| self.now >= until) {
            return START.plus_s(MONTH_S);
        }
        let clear = Command::ClearAttempts(ClearAttempts {
            account_id: account_id(),
            reason: Reason::parse("the owner asked").expect("a reason"),
            context: None,
        });
        let agent = format!("agent-{}", self.clears);
        match self.submit_as(&agent, &clear, &Evidence::none(self.now)) {
            Ok(_) => {
                self.clears += 1;
                self.now
            }
            Err(refusal) => self.now.plus_s(refusal.retry_after_s.unwrap_or(MONTH_S)),
        }
    }

    /// Logs in with the app if its codes are accepted, otherwise with a backup code, which always
    /// works.
    fn owner_logs_in(&mut self) {
        self.owner_logins += 1;
        let step_now = step_at(self.now.unix_s());
        let evidence = self.app_code(vec![step_now], vec![step_now + 1]);
        if self.submit(&verify(some_code(), true), &evidence).is_ok() {
            return;
        }
        let code = backup_code(self.owner_logins as u8);
        let mut evidence = Evidence::none(self.now);
        evidence.code = CodeEvidence::Backup {
            set_no: self.account.set_no,
            ordinal: code.ordinal(),
            right: true,
        };
        self.submit(&verify(Code::Backup(code), false), &evidence)
            .expect("an unused backup code is taken in every state");
    }

    fn app_code(&self, matched: Vec<u64>, next_matched: Vec<u64>) -> Evidence {
        let mut evidence = Evidence::none(self.now);
        evidence.code = CodeEvidence::Totp {
            enrolment: self.account.on().map_or(0, |on| on.enrolment),
            step_now: step_at(self.now.unix_s()),
            matched,
            next_matched,
        };
        evidence
    }

    fn submit(&mut self, command: &Command, evidence: &Evidence) -> Result<Reply, Refusal> {
        self.submit_as("shop", command, evidence)
    }

    fn submit_as(
        &mut self,
        caller: &str,
        command: &Command,
        evidence: &Evidence,
    ) -> Result<Reply, Refusal> {
        let ctx = Ctx {
            now: self.now,
            gated_at: self.now,
            clock_floor: self.now,
            policy: self.policy,
            entropy: &[0; ENTROPY_LEN],
            caller,
            source_key: [0; 8],
            source_waits_s: None,
            pair_waits_s: None,
            is_elsewhere: false,
            name_taken: false,
            next_key_id: None,
            requested_at: &[],
            is_own_account: false,
        };
        let Decision::Done { events, reply } = decide(&self.account, command, evidence, &ctx)
        else {
            unreachable!("the evidence was made for the account as it is");
        };
        for event in &events {
            let recorded = Recorded {
                account_id: ACCOUNT,
                version: self.account.version + 1,
                at: self.now,
                caller: ctx.caller,
                source_key: ctx.source_key,
                event,
            };
            self.account.evolve(&recorded);
        }
        reply
    }
}

fn account_id() -> AccountId {
    AccountId::parse(ACCOUNT).expect("a word")
}

/// Returns a login whose first factor is right: the attacker has the password.
fn verify(code: Code, pair: bool) -> Command {
    Command::VerifyLogin(VerifyLogin {
        challenge_id: None,
        account_id: Some(account_id()),
        code,
        next_code: pair.then(some_code),
        audience: None,
        context: None,
    })
}

/// Returns a code whose digits do not matter: the evidence says which steps it matches.
fn some_code() -> Code {
    Code::Totp(TotpCode::from_number(0))
}

fn backup_code(ordinal: u8) -> BackupCode {
    BackupCode::from_parts(ordinal, &[0; 9])
}
