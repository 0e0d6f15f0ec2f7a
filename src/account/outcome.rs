//! The replies of the rules, and how a reply is derived again from a command's own events.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::backup_codes::v1::BackupCodeAccepted;
use countersign_schemas::event::enrolment::v1::{EnrolmentCodeRejected, FirstFactor, Mismatch};
use countersign_schemas::event::login::v1::TotpAccepted;
use countersign_schemas::ids::{AccountId, Audience, AuthenticatorId, CaseId, ChallengeId};
use countersign_schemas::refusal::{Diagnosis, ErrorCode, Refusal};
use countersign_schemas::reply::Method;
use countersign_schemas::time::Micros;

use super::evidence::Issued;
use super::{Account, Policy};
use crate::crypto::otp::TotpSecret;

/// The credential version of a login without a password, for which the caller vouched.
pub(super) const VOUCHED_CREDENTIAL: u32 = 0;

/// The reply of a command that was done; code outside the rules renders it as JSON.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The account was registered.
    AccountRegistered {
        /// The account's id.
        account_id: AccountId,
    },
    /// The password was replaced.
    PasswordChanged,
    /// An app's secret or backup codes, which no other reply shows.
    Secret(SecretReply),
    /// The second factor, or its enrolment, is off.
    FactorOff,
    /// App codes may be tried again.
    AttemptsCleared,
    /// App codes and open challenges are stopped.
    FactorSuspended,
    /// A step of a reset case.
    Reset(ResetReply),
    /// The account and its data keys are gone.
    AccountErased,
    /// New keys are in use.
    KeysRotated {
        /// The number of the new keys.
        key_id: u32,
    },
    /// A step of a login.
    Login(LoginReply),
}

/// A reply with an app's secret or backup codes.
#[derive(Clone, Debug)]
pub enum SecretReply {
    /// An enrolment began; the only reply with this secret.
    EnrolmentStarted {
        /// The new authenticator.
        authenticator_id: AuthenticatorId,
        /// The secret of the new authenticator.
        secret: TotpSecret,
        /// The name that the app shows.
        display_name: String,
        /// When the enrolment expires.
        expires_at: Micros,
    },
    /// 2FA is on; the only reply with these codes.
    CodeConfirmed {
        /// The number of the code set.
        set_no: u32,
        /// The new codes.
        issued: Issued,
        /// The name that the sheet shows.
        display_name: String,
    },
    /// A new set was issued; the only reply with these codes.
    BackupCodesRegenerated {
        /// The number of the code set.
        set_no: u32,
        /// The new codes.
        issued: Issued,
        /// The name that the sheet shows.
        display_name: String,
        /// How many codes of the old set were unused; they are void now.
        superseded_unused: u8,
    },
}

/// A reply to a step of a reset case.
#[derive(Clone, Debug)]
pub enum ResetReply {
    /// A case was opened.
    Requested {
        /// The id of the case.
        case_id: CaseId,
        /// When the case expires.
        expires_at: Micros,
    },
    /// A case was approved.
    Approved {
        /// When the reset may be executed.
        execute_after: Micros,
    },
    /// A case was rejected.
    Rejected,
    /// A case was cancelled.
    Cancelled,
    /// The second factor was reset.
    Executed,
}

/// A reply to a step of a login.
#[derive(Clone, Debug)]
pub enum LoginReply {
    /// The password was right and a code is required; the only reply with this challenge.
    CodeRequired {
        /// The account's id.
        account_id: AccountId,
        /// The challenge's id, which must come with the code.
        challenge_id: ChallengeId,
        /// The kinds of code that are accepted now.
        methods: Vec<Method>,
        /// When the challenge expires.
        expires_at: Micros,
    },
    /// The password sufficed.
    ByPassword {
        /// The account's id.
        account_id: AccountId,
        /// Whether the caller vouched instead of a password.
        vouched: bool,
        /// The audience of the assertion, which the events do not hold.
        audience: Option<Audience>,
        /// The number of the day since support reset the second factor, from 1.
        after_reset_days: Option<u32>,
    },
    /// Both factors were right.
    Verified {
        /// The account's id.
        account_id: AccountId,
        /// Whether the caller vouched for the first factor.
        vouched: bool,
        /// The kind of code.
        method: Method,
        /// The number of unused backup codes.
        left: u8,
        /// Whether the backup codes run low.
        low: bool,
        /// Whether a suspension by support is in force, which this login did not end.
        suspended: bool,
        /// The audience of the assertion, which the events do not hold.
        audience: Option<Audience>,
        /// The number of the day since support reset the second factor, from 1.
        after_reset_days: Option<u32>,
    },
}

impl Reply {
    /// Returns whether the reply holds a secret, which no repeat may show after two minutes.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::Login(login) => matches!(login, LoginReply::CodeRequired { .. }),
            Self::AccountRegistered { .. }
            | Self::PasswordChanged
            | Self::FactorOff
            | Self::AttemptsCleared
            | Self::FactorSuspended
            | Self::Reset(_)
            | Self::AccountErased
            | Self::KeysRotated { .. } => false,
        }
    }
}

/// Derives the reply of a command from its events and from the account after the last of them.
///
/// The reply equals the first one, except that it names no audience, which the events do not hold.
/// `at` is when the events were recorded.
///
/// # Errors
/// The refusal that the events record; [`ErrorCode::OutcomeUnseen`] for a secret reply, which
/// cannot be derived; [`ErrorCode::Internal`] for events that no command records.
pub fn recall(
    events: &[Event],
    after: &Account,
    policy: &Policy,
    at: Micros,
) -> Result<Reply, Refusal> {
    match events.first() {
        Some(Event::AccountErased(_)) => return Ok(Reply::AccountErased),
        Some(Event::KeysRotated(e)) => return Ok(Reply::KeysRotated { key_id: e.key_id }),
        // It comes before the events of its login.
        Some(Event::PasswordRehashed(_)) => return recall(&events[1..], after, policy, at),
        _ => {}
    }
    let Some(account_id) = after.id.clone() else {
        // Only an unknown name records an event without an account.
        return Err(Refusal::new(ErrorCode::CredentialsInvalid));
    };
    recall_of_account(events, (after, account_id), policy, at)
}

/// Derives the reply of a command to an account.
fn recall_of_account(
    events: &[Event],
    (after, account_id): (&Account, AccountId),
    policy: &Policy,
    at: Micros,
) -> Result<Reply, Refusal> {
    let unseen = || Err(Refusal::new(ErrorCode::OutcomeUnseen));
    match events.first() {
        Some(Event::AccountRegistered(_)) => match events.get(1) {
            _ if events.len() == 2 && after.credential.is_some() => {
                Ok(Reply::AccountRegistered { account_id })
            }
            // The first login of an account that needs no registration registers it.
            Some(Event::LoginCompleted(_)) => recall(&events[1..], after, policy, at),
            _ => unseen(),
        },
        Some(Event::PasswordSet(_)) => Ok(Reply::PasswordChanged),
        Some(Event::PasswordRejected(_) | Event::LoginPairRejected(_)) => {
            Err(Refusal::new(ErrorCode::CredentialsInvalid))
        }
        Some(
            Event::EnrolmentStarted(_)
            | Event::TwoFactorEnabled(_)
            | Event::BackupCodesIssued(_)
            | Event::LoginStarted(_),
        ) => unseen(),
        Some(Event::EnrolmentCodeRejected(e)) => Err(enrolment_code_refusal(e)),
        Some(Event::EnrolmentExpired(_)) => Err(Refusal::new(ErrorCode::EnrolmentExpired)),
        Some(Event::EnrolmentCancelled(_) | Event::TwoFactorDisabled(_)) => Ok(Reply::FactorOff),
        Some(Event::AttemptsCleared(_)) => Ok(Reply::AttemptsCleared),
        // A code that was a proof comes before the events that it proved.
        Some(
            Event::TotpAccepted(TotpAccepted { purpose, .. })
            | Event::BackupCodeAccepted(BackupCodeAccepted { purpose, .. }),
        ) if *purpose != Purpose::Login => recall(&events[1..], after, policy, at),
        Some(
            login @ (Event::LoginCompleted(_)
            | Event::TotpAccepted(_)
            | Event::BackupCodeAccepted(_)),
        ) => recall_login(login, (after, account_id), policy, at),
        Some(Event::TotpRejected(_) | Event::CodeReplayed(_) | Event::BackupCodeRejected(_)) => {
            Err(Refusal::new(ErrorCode::CodeInvalid))
        }
        Some(Event::FactorSuspended(_)) => Ok(Reply::FactorSuspended),
        Some(
            Event::ResetRequested(_)
            | Event::ResetApproved(_)
            | Event::ResetRejected(_)
            | Event::ResetCancelled(_)
            | Event::ResetExpired(_)
            | Event::ResetExecuted(_),
        ) => recall_reset(events),
        Some(
            Event::AttemptsThrottled(_)
            | Event::DoubleCodeRequired(_)
            | Event::AttemptsSuppressed(_)
            | Event::ResetRequestsRefused(_)
            | Event::AccountErased(_)
            | Event::PasswordRehashed(_)
            | Event::KeysRotated(_)
            | Event::DataKeysRewrapped(_)
            | Event::SubjectViewed(_)
            | Event::LookUpsCounted(_)
            | Event::AgentActsRefused(_)
            | Event::OperatorActed(_)
            | Event::AuditExported(_)
            | Event::EpochStarted(_)
            | Event::PolicyInForce(_)
            | Event::SchemasInForce(_)
            | Event::UnknownNameRefused(_)
            | Event::ClockJumped(_)
            | Event::ClockBackAccepted(_),
        )
        | None => Err(Refusal::new(ErrorCode::Internal)),
    }
}

/// Derives the reply of a completed login; it names no audience.
fn recall_login(
    event: &Event,
    (after, account_id): (&Account, AccountId),
    policy: &Policy,
    at: Micros,
) -> Result<Reply, Refusal> {
    match event {
        Event::LoginCompleted(e) => {
            let vouched = e.credential == VOUCHED_CREDENTIAL;
            Ok(login_by_password(after, account_id, vouched, None, at))
        }
        Event::TotpAccepted(e) => {
            let left = after.on().map_or(0, |on| on.codes.left());
            let code = (Method::Totp, left, &e.first_factor);
            Ok(login_verified(after, code, None, policy.low_codes, at))
        }
        Event::BackupCodeAccepted(e) => {
            let code = (Method::BackupCode, e.remaining, &e.first_factor);
            Ok(login_verified(after, code, None, policy.low_codes, at))
        }
        _ => Err(Refusal::new(ErrorCode::Internal)),
    }
}

/// Derives the reply of a command of an agent or the owner about a reset.
fn recall_reset(events: &[Event]) -> Result<Reply, Refusal> {
    let internal = || Refusal::new(ErrorCode::Internal);
    match events.first() {
        // A new request records first that the earlier case expired.
        Some(Event::ResetExpired(_)) if events.len() > 1 => recall_reset(&events[1..]),
        Some(Event::ResetExpired(_)) => Err(Refusal::new(ErrorCode::ResetClosed)),
        Some(Event::ResetRequested(e)) => Ok(Reply::Reset(ResetReply::Requested {
            case_id: CaseId::parse(&e.case_id).map_err(|_| internal())?,
            expires_at: e.expires_at,
        })),
        Some(Event::ResetApproved(e)) => Ok(Reply::Reset(ResetReply::Approved {
            execute_after: e.execute_after,
        })),
        Some(Event::ResetRejected(_)) => Ok(Reply::Reset(ResetReply::Rejected)),
        Some(Event::ResetCancelled(_)) => Ok(Reply::Reset(ResetReply::Cancelled)),
        Some(Event::ResetExecuted(_)) => Ok(Reply::Reset(ResetReply::Executed)),
        Some(_) | None => Err(internal()),
    }
}

/// Returns the reply of a login that the first factor alone completed.
pub(super) fn login_by_password(
    account: &Account,
    account_id: AccountId,
    vouched: bool,
    audience: Option<Audience>,
    now: Micros,
) -> Reply {
    let after_reset_days = account.after_reset_days(now);
    Reply::Login(LoginReply::ByPassword {
        account_id,
        vouched,
        audience,
        after_reset_days,
    })
}

/// Returns the reply of a login that a code completed: the kind of the code, how many backup codes
/// are left, and the first factor.
pub(super) fn login_verified(
    account: &Account,
    (method, left, first_factor): (Method, u8, &FirstFactor),
    audience: Option<Audience>,
    low_codes: u8,
    now: Micros,
) -> Reply {
    let account_id = account
        .id
        .clone()
        .expect("a factor is on, so the account exists");
    Reply::Login(LoginReply::Verified {
        account_id,
        vouched: *first_factor == FirstFactor::Vouched,
        method,
        left,
        low: left <= low_codes,
        suspended: account.is_suspended_by_support(),
        audience,
        after_reset_days: account.after_reset_days(now),
    })
}

/// Returns the kinds of code that a login may use now.
pub(super) fn methods(account: &Account) -> Vec<Method> {
    let mut methods = Vec::with_capacity(2);
    if account.attempts.suspended.is_none() {
        methods.push(Method::Totp);
    }
    if account.on().is_some_and(|on| on.codes.left() > 0) {
        methods.push(Method::BackupCode);
    }
    methods
}

/// Returns the refusal of a wrong confirming code, with how far the phone's clock is off if known.
pub(super) fn enrolment_code_refusal(event: &EnrolmentCodeRejected) -> Refusal {
    let diagnosis = match event.reason {
        Mismatch::ClockOff(steps) => Some(Diagnosis::ClockOff { steps }),
        Mismatch::Wrong | Mismatch::WrongKind => None,
    };
    Refusal {
        diagnosis,
        ..Refusal::new(ErrorCode::CodeInvalid)
    }
}
