//! The words of the scenarios: the commands, the typed codes, and how a reply reads.

use countersign_schemas::code::{BackupCode, Code, TotpCode};
use countersign_schemas::command::{
    CancelEnrolment, ChangePassword, Command, ConfirmCode, Disable2fa, Enable2fa, Proof,
    RegenerateBackupCodes, RegisterAccount, StartLogin, VerifyLogin,
};
use countersign_schemas::event::Event;
use countersign_schemas::ids::{AccountId, Audience, AuthenticatorId, ChallengeId, Username};
use countersign_schemas::refusal::{Diagnosis, ErrorCode, Refusal};
use countersign_schemas::reply::Method;
use countersign_schemas::secret::SecretText;
use countersign_schemas::time::Micros;

use super::reset_words::reset_in_words;
use super::scenario::{ACCOUNT, Password, Scenario, offset, unregistered};
use crate::account::{Account, LoginReply, Policy, Reply, ResetReply, SecretReply, Step, outcome};
use crate::crypto::otp::{hotp, matching_steps, step_at};

/// Registered a day ago, 2FA off.
pub(in crate::account) fn registered_account() -> Scenario {
    unregistered()
        .at("-1d")
        .when(register("a good password"))
        .then("registered")
        .at("+0s")
}

/// Registered, and an enrolment begun just now.
pub(in crate::account) fn pending_account() -> Scenario {
    registered_account()
        .when(enable(Password::Right))
        .then("enrolment started")
}

/// 2FA on since an hour ago; the confirming step is long over.
pub(in crate::account) fn enabled_account() -> Scenario {
    registered_account()
        .at("-1h")
        .when(enable(Password::Right))
        .when(confirm(code_at("-1h")))
        .then("on, set 1")
        .at("+0s")
}

/// A command with what is true of its password.
pub(in crate::account) type Ask = (Command, Password);

pub(in crate::account) type BoxedAsk = Box<dyn FnOnce(&Scenario) -> Ask>;

/// Boxes an ask, so that different ones fit into one list.
pub(in crate::account) fn boxed(ask: impl FnOnce(&Scenario) -> Ask + 'static) -> BoxedAsk {
    Box::new(ask)
}

pub(in crate::account) fn account_id() -> AccountId {
    AccountId::parse(ACCOUNT).expect("an id")
}

fn secret_text(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

pub(in crate::account) fn register(password: &str) -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::RegisterAccount(RegisterAccount {
        account_id: Some(account_id()),
        username: Username::parse("Ada").expect("a name"),
        password: secret_text(password),
        context: None,
    });
    move |_| (command, Password::Absent)
}

pub(in crate::account) fn change_password(
    password: Password,
    new_password: &str,
) -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::ChangePassword(ChangePassword {
        account_id: account_id(),
        password: secret_text("the evidence knows"),
        new_password: secret_text(new_password),
        code: None,
        next_code: None,
        context: None,
    });
    move |_| (command, password)
}

/// Adds a code to the proof of a command, and the next code if one is given.
pub(in crate::account) fn with_code(
    ask: impl FnOnce(&Scenario) -> Ask,
    code: impl Fn(&Scenario) -> Code,
    next: Option<Code>,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| {
        let (mut command, password) = ask(s);
        let given = Proof {
            password: None,
            code: Some(code(s)),
            next_code: next,
        };
        match &mut command {
            Command::ChangePassword(c) => (c.code, c.next_code) = (given.code, given.next_code),
            Command::StartLogin(c) => (c.code, c.next_code) = (given.code, given.next_code),
            Command::RegenerateBackupCodes(c) => c.proof = Some(given),
            Command::Disable2fa(c) => c.proof = Some(given),
            other => panic!("{} has no code beside its proof", other.name()),
        }
        (command, password)
    }
}

pub(in crate::account) fn enable(password: Password) -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::Enable2fa(Enable2fa {
        account_id: account_id(),
        proof: None,
        account_name: None,
        label: None,
        context: None,
    });
    move |_| (command, password)
}

/// Confirms the latest enrolment.
pub(in crate::account) fn confirm(
    code: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| confirm_nth(s.authenticators.len().saturating_sub(1), code)(s)
}

/// Confirms the `nth` enrolment, whatever began since.
pub(in crate::account) fn confirm_nth(
    nth: usize,
    code: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| {
        let command = Command::ConfirmCode(ConfirmCode {
            account_id: account_id(),
            authenticator_id: s.authenticators[nth].clone(),
            code: code(s),
            context: None,
        });
        (command, Password::Absent)
    }
}

pub(in crate::account) fn cancel_nth(nth: usize) -> impl FnOnce(&Scenario) -> Ask {
    move |s| {
        let command = Command::CancelEnrolment(CancelEnrolment {
            account_id: account_id(),
            authenticator_id: s.authenticators[nth].clone(),
            context: None,
        });
        (command, Password::Absent)
    }
}

/// Names an authenticator that this account never had.
pub(in crate::account) fn confirm_unknown() -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::ConfirmCode(ConfirmCode {
        account_id: account_id(),
        authenticator_id: AuthenticatorId::parse("another").expect("an id"),
        code: Code::Totp(TotpCode::from_number(1)),
        context: None,
    });
    move |_| (command, Password::Absent)
}

/// Names an authenticator that this account never had.
pub(in crate::account) fn cancel_unknown() -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::CancelEnrolment(CancelEnrolment {
        account_id: account_id(),
        authenticator_id: AuthenticatorId::parse("another").expect("an id"),
        context: None,
    });
    move |_| (command, Password::Absent)
}

pub(in crate::account) fn regenerate(password: Password) -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::RegenerateBackupCodes(RegenerateBackupCodes {
        account_id: account_id(),
        proof: None,
        context: None,
    });
    move |_| (command, password)
}

pub(in crate::account) fn disable(password: Password) -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::Disable2fa(Disable2fa {
        account_id: account_id(),
        proof: None,
        context: None,
    });
    move |_| (command, password)
}

pub(in crate::account) fn start_login(password: Password) -> impl FnOnce(&Scenario) -> Ask {
    let command = Command::StartLogin(StartLogin {
        username: None,
        account_id: Some(account_id()),
        password: Some(secret_text("the evidence knows")),
        code: None,
        next_code: None,
        audience: None,
        context: None,
    });
    move |_| (command, password)
}

/// Asks for an audience.
pub(in crate::account) fn to(
    audience: &str,
    ask: impl FnOnce(&Scenario) -> Ask,
) -> impl FnOnce(&Scenario) -> Ask {
    let audience = Audience::parse(audience).expect("a test names one");
    move |s| {
        let (mut command, password) = ask(s);
        match &mut command {
            Command::StartLogin(c) => c.audience = Some(audience),
            Command::VerifyLogin(c) => c.audience = Some(audience),
            other => panic!("{} has no audience", other.name()),
        }
        (command, password)
    }
}

/// Answers the latest challenge.
pub(in crate::account) fn verify_login(
    code: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| verify_nth(s.challenges.len() - 1, code)(s)
}

/// Answers the `nth` challenge, whatever opened since.
pub(in crate::account) fn verify_nth(
    nth: usize,
    code: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| verify(Some(s.challenges[nth].clone()), code(s), None)
}

/// Answers an unknown challenge.
pub(in crate::account) fn verify_unknown(
    code: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| verify(Some(ChallengeId::from_random([0; 16])), code(s), None)
}

/// Logs in where the caller has checked the first factor itself.
pub(in crate::account) fn verify_vouched(
    code: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| verify(None, code(s), None)
}

/// The same with two codes.
pub(in crate::account) fn verify_pair(
    first: impl Fn(&Scenario) -> Code,
    next: impl Fn(&Scenario) -> Code,
) -> impl FnOnce(&Scenario) -> Ask {
    move |s| verify(None, first(s), Some(next(s)))
}

pub(in crate::account) fn verify(
    challenge: Option<ChallengeId>,
    code: Code,
    next: Option<Code>,
) -> Ask {
    let account_id = challenge.is_none().then(account_id);
    let command = Command::VerifyLogin(VerifyLogin {
        challenge_id: challenge,
        account_id,
        code,
        next_code: next,
        audience: None,
        context: None,
    });
    (command, Password::Absent)
}

/// The code that the owner's app shows at that offset.
pub(in crate::account) fn code_at(at: &'static str) -> impl Fn(&Scenario) -> Code {
    move |s| code_of_step(s, s.secrets.len() - 1, step_at(offset(at).unix_s()))
}

/// The code that the owner's app shows so many steps from the wall clock.
pub(in crate::account) fn code_now(steps: i64) -> impl Fn(&Scenario) -> Code {
    move |s| {
        let step = s.step_now().wrapping_add_signed(steps);
        code_of_step(s, s.secrets.len() - 1, step)
    }
}

pub(in crate::account) fn code_of_step(s: &Scenario, secret: usize, step: u64) -> Code {
    Code::Totp(hotp(&s.secrets[secret], step))
}

/// Six digits that belong to no step near now, of any secret.
pub(in crate::account) fn wrong_code() -> impl Fn(&Scenario) -> Code {
    |s| {
        let near = s.step_now().saturating_sub(30)..=s.step_now() + 30;
        let is_wrong = |code: &TotpCode| {
            let mut secrets = s.secrets.iter();
            secrets.all(|secret| matching_steps(secret, code, near.clone()).is_empty())
        };
        let code = (0..).map(TotpCode::from_number).find(is_wrong);
        Code::Totp(code.expect("a million codes, 61 steps"))
    }
}

/// A code of the latest set.
pub(in crate::account) fn backup_code(ordinal: usize) -> impl Fn(&Scenario) -> Code {
    move |s| {
        let set = s.sets.values().next_back().expect("a set was issued");
        Code::Backup(set[ordinal - 1].clone())
    }
}

/// A code of that set.
pub(in crate::account) fn backup_code_of(
    set_no: u32,
    ordinal: usize,
) -> impl Fn(&Scenario) -> Code {
    move |s| Code::Backup(s.sets[&set_no][ordinal - 1].clone())
}

/// A well-formed backup code that was never issued.
pub(in crate::account) fn wrong_backup_code(ordinal: u8) -> impl Fn(&Scenario) -> Code {
    move |_| Code::Backup(BackupCode::from_parts(ordinal, &[0xa5; 9]))
}

/// Returns a reply in words.
pub(in crate::account) fn in_words(reply: &Result<Result<Reply, Refusal>, Step>) -> String {
    match reply {
        Err(step) => format!("needs {step:?}"),
        Ok(Err(refusal)) => refusal_in_words(refusal),
        Ok(Ok(reply)) => reply_in_words(reply),
    }
}

fn refusal_in_words(refusal: &Refusal) -> String {
    let mut words = refusal.code.as_str().to_owned();
    if let Some(s) = refusal.retry_after_s {
        words += &format!(" for {s} s");
    }
    match refusal.diagnosis {
        Some(Diagnosis::ClockOff { steps }) => words += &format!(", clock off by {steps}"),
        Some(Diagnosis::Replayed) => words += ", replayed",
        None => {}
    }
    words
}

fn reply_in_words(reply: &Reply) -> String {
    match reply {
        Reply::AccountRegistered { .. } => "registered".into(),
        Reply::PasswordChanged => "password changed".into(),
        Reply::Secret(SecretReply::EnrolmentStarted { .. }) => "enrolment started".into(),
        Reply::Secret(SecretReply::CodeConfirmed { set_no, .. }) => format!("on, set {set_no}"),
        Reply::Secret(SecretReply::BackupCodesRegenerated {
            set_no,
            superseded_unused,
            ..
        }) => format!("set {set_no}, {superseded_unused} superseded"),
        Reply::FactorOff => "off".into(),
        Reply::AttemptsCleared => "attempts cleared".into(),
        Reply::FactorSuspended => "suspended".into(),
        Reply::Reset(ResetReply::Requested { .. })
        | Reply::Reset(ResetReply::Approved { .. })
        | Reply::Reset(ResetReply::Rejected)
        | Reply::Reset(ResetReply::Cancelled)
        | Reply::Reset(ResetReply::Executed) => reset_in_words(reply),
        Reply::AccountErased => "erased".into(),
        Reply::KeysRotated { key_id } => format!("keys {key_id}"),
        Reply::Login(LoginReply::CodeRequired { methods, .. }) => {
            let methods: Vec<_> = methods.iter().copied().map(name).collect();
            format!("code required: {}", methods.join(" or "))
        }
        Reply::Login(LoginReply::ByPassword {
            audience,
            after_reset_days,
            ..
        }) => format!(
            "logged in by password{}{}",
            after_reset(*after_reset_days),
            asserted(audience.as_ref())
        ),
        Reply::Login(LoginReply::Verified {
            method,
            left,
            low,
            suspended,
            audience,
            after_reset_days,
            ..
        }) => {
            let low = if *low { ", low" } else { "" };
            let suspended = if *suspended { ", app suspended" } else { "" };
            let days = after_reset(*after_reset_days);
            let asserted = asserted(audience.as_ref());
            format!(
                "logged in by {}, {left} left{low}{suspended}{days}{asserted}",
                name(*method)
            )
        }
    }
}

fn after_reset(days: Option<u32>) -> String {
    days.map_or_else(String::new, |n| format!(", day {n} after a reset"))
}

fn asserted(audience: Option<&Audience>) -> String {
    audience.map_or_else(String::new, |to| format!(", asserted to {to}"))
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Totp => "totp",
        Method::BackupCode => "backup code",
    }
}

/// Asserts that a reply is derived again from its events: the same reply, or `outcome.unseen` if it
/// carried a secret.
#[track_caller]
pub(in crate::account) fn assert_recalled(
    events: &[Event],
    after: &Account,
    policy: &Policy,
    at: Micros,
    reply: &Result<Reply, Refusal>,
) {
    let recalled = outcome::recall(events, after, policy, at);
    match reply {
        Ok(reply) if reply.is_secret() => {
            let refusal = recalled.expect_err("a secret is shown once");
            assert_eq!(refusal, Refusal::new(ErrorCode::OutcomeUnseen));
        }
        other => {
            let words = other.clone().map(without_audience);
            assert_eq!(format!("{recalled:?}"), format!("{words:?}"));
        }
    }
}

/// Returns a reply as it is derived from its events, which do not hold the audience of a login.
fn without_audience(mut reply: Reply) -> Reply {
    if let Reply::Login(LoginReply::ByPassword { audience, .. })
    | Reply::Login(LoginReply::Verified { audience, .. }) = &mut reply
    {
        *audience = None;
    }
    reply
}
