//! What other services and auditors may see of an event: an explicit list, so that a new field
//! stays hidden until a developer adds it here.

use serde_json::{Value, json};

use super::Event;
use super::account::v1::{PasswordCause, PasswordRejected, Purpose};
use super::attempts::v1::SuspendedCause;
use super::audit::v1::{
    AgentAct, AgentActsRefused, AuditExported, LookUpsCounted, OperatorAct, OperatorActed,
};
use super::backup_codes::v1::{
    BackupCodeAccepted, BackupCodeReason, BackupCodeRejected, BackupCodesIssued, IssueCause,
};
use super::enrolment::v1::{
    DisabledBy, EnrolmentCodeRejected, EnrolmentStarted, FirstFactor, Mismatch, TwoFactorEnabled,
};
use super::log::v1::{ClockBackAccepted, EpochStarted, Form, SchemasInForce};
use super::login::v1::{CodeReplayed, TotpAccepted, TotpReason, TotpRejected};
use super::login::v2::LoginStarted;
use super::reset::v1::{CancelledBy, Lost, RequestRefused, ResetRequested, ResetRequestsRefused};

impl Event {
    /// Returns the event's own facts as JSON: no secret, nothing sealed, no challenge.
    pub fn data(&self) -> Value {
        match self {
            Self::EpochStarted(e) => epoch_started(e),
            Self::PolicyInForce(e) => json!({
                "policy": serde_json::from_str::<Value>(&e.policy).unwrap_or(Value::Null),
            }),
            Self::SchemasInForce(e) => schemas_in_force(e),
            Self::UnknownNameRefused(e) => json!({"count": e.count}),
            Self::ClockJumped(e) => json!({"by_us": e.by_us}),
            Self::ClockBackAccepted(e) => clock_back_accepted(e),
            Self::AccountRegistered(e) => json!({"with_username": e.username.is_some()}),
            Self::PasswordSet(e) => json!({"cause": match e.cause {
                PasswordCause::Registered => "registered",
                PasswordCause::Changed => "changed",
            }}),
            Self::PasswordRejected(e) => password_rejected(e),
            Self::EnrolmentStarted(e) => enrolment_started(e),
            Self::EnrolmentCodeRejected(e) => enrolment_code_rejected(e),
            Self::EnrolmentCancelled(e) => json!({"authenticator_id": e.authenticator_id}),
            Self::EnrolmentExpired(e) => json!({"authenticator_id": e.authenticator_id}),
            Self::TwoFactorEnabled(e) => two_factor_enabled(e),
            Self::TwoFactorDisabled(e) => match &e.by {
                DisabledBy::User(proof) => json!({"by": "user", "proof": first_factor(proof)}),
            },
            Self::BackupCodesIssued(e) => backup_codes_issued(e),
            Self::BackupCodeAccepted(e) => backup_code_accepted(e),
            Self::BackupCodeRejected(e) => backup_code_rejected(e),
            Self::LoginStarted(e) => login_started(e),
            Self::LoginCompleted(e) => json!({"method": "password", "credential": e.credential}),
            Self::TotpAccepted(e) => totp_accepted(e),
            Self::TotpRejected(e) => totp_rejected(e),
            Self::CodeReplayed(e) => code_replayed(e),
            Self::LoginPairRejected(e) => json!({"credential": e.credential}),
            Self::AttemptsThrottled(e) => json!({"until": e.until}),
            Self::DoubleCodeRequired(e) => json!({"until": e.until}),
            Self::FactorSuspended(e) => json!({"cause": match e.cause {
                SuspendedCause::Failures => "failures",
                SuspendedCause::Support => "support",
            }}),
            Self::ResetRequested(e) => reset_requested(e),
            Self::ResetApproved(e) => json!({
                "case_id": e.case_id,
                "execute_after": e.execute_after,
            }),
            Self::ResetRejected(e) => json!({"case_id": e.case_id}),
            Self::ResetCancelled(e) => json!({
                "case_id": e.case_id,
                "by": cancelled_by(e.by),
            }),
            Self::ResetExpired(e) => json!({"case_id": e.case_id}),
            Self::ResetExecuted(e) => json!({
                "case_id": e.case_id,
                "told_until": e.told_until,
            }),
            Self::ResetRequestsRefused(e) => reset_requests_refused(e),
            Self::AttemptsCleared(e) => json!({"by": e.by}),
            Self::AttemptsSuppressed(e) => json!({"count": e.count}),
            Self::AccountErased(_) | Self::PasswordRehashed(_) => json!({}),
            Self::KeysRotated(e) => json!({"key_id": e.key_id}),
            Self::DataKeysRewrapped(e) => json!({"key_id": e.key_id, "count": e.count}),
            Self::SubjectViewed(e) => json!({"account_id": e.account_id, "query": e.query}),
            Self::AuditExported(e) => audit_exported(e),
            Self::LookUpsCounted(e) => look_ups_counted(e),
            Self::AgentActsRefused(e) => agent_acts_refused(e),
            Self::OperatorActed(e) => operator_acted(e),
        }
    }
}

fn look_ups_counted(e: &LookUpsCounted) -> Value {
    json!({"account_id": e.account_id, "query": e.query, "count": e.count})
}

fn agent_acts_refused(e: &AgentActsRefused) -> Value {
    json!({"by": e.by, "act": e.act.as_str(), "count": e.count})
}

fn operator_acted(e: &OperatorActed) -> Value {
    json!({"act": e.act.as_str(), "view": e.view})
}

impl OperatorAct {
    /// Returns the name in public forms, which is the request's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::ViewRebuild => "view-rebuild",
        }
    }
}

impl AgentAct {
    /// Returns the name in public forms and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuspendFactor => "suspend-factor",
            Self::ClearAttempts => "clear-attempts",
            Self::EndReset => "end-reset",
            Self::EraseAccount => "erase-account",
        }
    }
}

fn clock_back_accepted(e: &ClockBackAccepted) -> Value {
    json!({"wall": e.wall, "behind_us": e.behind_us, "reason": e.reason})
}

fn enrolment_started(e: &EnrolmentStarted) -> Value {
    json!({
        "authenticator_id": e.authenticator_id,
        "expires_at": e.expires_at,
        "proof": first_factor(&e.proof),
    })
}

fn two_factor_enabled(e: &TwoFactorEnabled) -> Value {
    json!({"authenticator_id": e.authenticator_id, "step": e.step, "drift": e.drift})
}

fn backup_code_accepted(e: &BackupCodeAccepted) -> Value {
    json!({
        "set_no": e.set_no,
        "ordinal": e.ordinal,
        "remaining": e.remaining,
        "purpose": purpose(e.purpose),
        "first_factor": first_factor(&e.first_factor),
    })
}

fn reset_requests_refused(e: &ResetRequestsRefused) -> Value {
    let cause = match e.cause {
        RequestRefused::Open => "open",
        RequestRefused::Quota => "quota",
    };
    json!({"by": e.by, "cause": cause, "count": e.count})
}

fn epoch_started(e: &EpochStarted) -> Value {
    json!({
        "epoch": e.epoch,
        "log_id": data_encoding::HEXLOWER.encode(&e.log_id),
        "lost_from": e.lost_from,
        "spent_through": e.spent_through,
        "reason": e.reason,
    })
}

fn audit_exported(e: &AuditExported) -> Value {
    json!({
        "account_id": e.account_id,
        "format": e.format,
        "filter": serde_json::from_str::<Value>(&e.filter).unwrap_or(Value::Null),
    })
}

fn reset_requested(e: &ResetRequested) -> Value {
    json!({
        "case_id": e.case_id,
        "expires_at": e.expires_at,
        "lost": e.lost.map(|lost| match lost {
            Lost::App => "app",
            Lost::BackupCodes => "backup-codes",
            Lost::Both => "both",
        }),
    })
}

fn cancelled_by(by: CancelledBy) -> &'static str {
    match by {
        CancelledBy::Agent => "agent",
        CancelledBy::User => "user",
        CancelledBy::Login => "login",
        CancelledBy::Disabled => "disabled",
    }
}

fn login_started(e: &LoginStarted) -> Value {
    let mut data = json!({"expires_at": e.expires_at});
    if let Some(audience) = &e.audience {
        data["audience"] = audience.as_str().into();
    }
    data
}

fn totp_accepted(e: &TotpAccepted) -> Value {
    json!({
        "step": e.step,
        "drift": e.drift,
        "enrolment": e.enrolment,
        "double_code": e.double_code,
        "purpose": purpose(e.purpose),
        "first_factor": first_factor(&e.first_factor),
    })
}

fn code_replayed(e: &CodeReplayed) -> Value {
    json!({
        "step": e.step,
        "enrolment": e.enrolment,
        "failures": e.failures,
        "consecutive": e.consecutive,
        "day_failures": e.day_failures,
        "purpose": purpose(e.purpose),
        "first_factor": first_factor(&e.first_factor),
    })
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Login => "login",
        Purpose::ChangePassword => "change-password",
        Purpose::Enable => "enable",
        Purpose::Regenerate => "regenerate",
        Purpose::Disable => "disable",
    }
}

fn first_factor(proof: &FirstFactor) -> &'static str {
    match proof {
        FirstFactor::Password(_) => "password",
        FirstFactor::Vouched => "vouched",
    }
}

fn schemas_in_force(e: &SchemasInForce) -> Value {
    let form = |form: &Form| {
        json!({
            "name": form.name,
            "version": form.version,
            "fingerprint": data_encoding::HEXLOWER.encode(&form.fingerprint),
        })
    };
    json!({"forms": e.forms.iter().map(form).collect::<Vec<_>>()})
}

fn password_rejected(e: &PasswordRejected) -> Value {
    json!({
        "purpose": purpose(e.purpose),
        "credential": e.credential,
        "failures": e.failures,
        "wait_until": e.wait_until,
        "day_failures": e.day_failures,
        "all_wait_until": e.all_wait_until,
    })
}

fn enrolment_code_rejected(e: &EnrolmentCodeRejected) -> Value {
    json!({
        "authenticator_id": e.authenticator_id,
        "reason": match e.reason {
            Mismatch::Wrong => "wrong",
            Mismatch::ClockOff(_) => "clock-off",
            Mismatch::WrongKind => "wrong-kind",
        },
        "steps": match e.reason { Mismatch::ClockOff(steps) => Some(steps), _ => None },
        "tries_left": e.tries_left,
    })
}

fn backup_codes_issued(e: &BackupCodesIssued) -> Value {
    json!({
        "set_no": e.set_no,
        "fingerprint": e.fingerprint,
        "cause": match e.cause {
            IssueCause::Enrolment => "enrolment",
            IssueCause::Regenerated(_) => "regenerated",
        },
        "slots": e.slots,
        "superseded_unused": e.superseded_unused,
    })
}

fn backup_code_rejected(e: &BackupCodeRejected) -> Value {
    json!({
        "set_no": e.set_no,
        "ordinal": e.ordinal,
        "reason": match e.reason {
            BackupCodeReason::Wrong => "wrong",
            BackupCodeReason::Used => "used",
        },
        "purpose": purpose(e.purpose),
        "first_factor": first_factor(&e.first_factor),
    })
}

fn totp_rejected(e: &TotpRejected) -> Value {
    json!({
        "reason": match e.reason {
            TotpReason::Wrong => "wrong",
            TotpReason::WrongPair => "wrong-pair",
        },
        "enrolment": e.enrolment,
        "failures": e.failures,
        "consecutive": e.consecutive,
        "day_failures": e.day_failures,
        "purpose": purpose(e.purpose),
        "first_factor": first_factor(&e.first_factor),
    })
}
