//! What the service itself records: no command asks for it, and no rule decides it.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::AccountErased;
use countersign_schemas::event::attempts::v1::AttemptsSuppressed;
use countersign_schemas::event::audit::v1::{
    AgentAct, AgentActsRefused, AuditExported, LookUpsCounted, OperatorAct, OperatorActed,
    SubjectViewed,
};
use countersign_schemas::event::log::v1::{
    ClockBackAccepted, ClockJumped, DataKeysRewrapped, EpochStarted, Form, KeysRotated,
    PolicyInForce, SchemasInForce, UnknownNameRefused,
};
use countersign_schemas::event::reset::v1::{RequestRefused, ResetRequestsRefused};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::policy::{Policy, WINDOW_STEPS_MAX};
use crate::crypto::otp::step_at;

/// A log begins.
pub fn log_begun(log_id: [u8; 16]) -> Event {
    Event::EpochStarted(EpochStarted {
        epoch: 1,
        log_id,
        lost_from: None,
        spent_through: 0,
        reason: "initialised".into(),
    })
}

/// A log goes on without what stood from `lost_from` on.
///
/// A code that was accepted there can have been of the step after the one of `at`.
pub fn log_went_on(
    epoch: u32,
    log_id: [u8; 16],
    lost_from: u64,
    at: Micros,
    reason: &str,
) -> Event {
    Event::EpochStarted(EpochStarted {
        epoch,
        log_id,
        lost_from: Some(lost_from),
        spent_through: step_at(at.unix_s()).saturating_add(WINDOW_STEPS_MAX),
        reason: reason.into(),
    })
}

/// The policy that decides from here on.
pub fn policy_in_force(policy: &Policy) -> Event {
    let policy = serde_json::to_string(policy).expect("a policy is plain numbers");
    Event::PolicyInForce(PolicyInForce { policy })
}

/// Stored forms that the log has not named yet come into use.
pub fn schemas_in_force(forms: Vec<Form>) -> Event {
    Event::SchemasInForce(SchemasInForce { forms })
}

/// So many attempts at an account were refused without being compared.
pub fn attempts_suppressed(count: u32) -> Event {
    Event::AttemptsSuppressed(AttemptsSuppressed { count })
}

/// So many requests of an agent for a reset were refused.
pub fn reset_requests_refused(by: String, cause: RequestRefused, count: u32) -> Event {
    Event::ResetRequestsRefused(ResetRequestsRefused { by, cause, count })
}

/// Why a request for a reset was refused, where auditors are to hear of it.
pub fn request_refused(code: ErrorCode) -> Option<RequestRefused> {
    match code {
        ErrorCode::ResetOpen => Some(RequestRefused::Open),
        ErrorCode::QuotaExceeded => Some(RequestRefused::Quota),
        _ => None,
    }
}

/// So many logins named nobody.
pub fn unknown_names_refused(count: u32) -> Event {
    Event::UnknownNameRefused(UnknownNameRefused { count })
}

/// The wall clock jumped forward by so much.
pub fn clock_jumped(by_us: u64) -> Event {
    Event::ClockJumped(ClockJumped { by_us })
}

/// An operator took a wall clock for right that lies behind log time.
pub fn clock_back_accepted(wall: Micros, log_time: Micros, reason: &str) -> Event {
    Event::ClockBackAccepted(ClockBackAccepted {
        wall,
        behind_us: log_time.0.saturating_sub(wall.0),
        reason: reason.into(),
    })
}

/// An erasure was begun, but its own record is lost.
pub fn account_erased() -> Event {
    Event::AccountErased(AccountErased { reason: None })
}

/// New keys were found in the keyring, but their own record is lost.
pub fn keys_rotated(key_id: u32) -> Event {
    Event::KeysRotated(KeysRotated {
        key_id,
        reason: None,
    })
}

/// So many data keys are wrapped by this key-encryption key, and none by an older one.
pub fn data_keys_rewrapped(key_id: u32, count: u64) -> Event {
    Event::DataKeysRewrapped(DataKeysRewrapped { key_id, count })
}

/// Somebody looked at an account, or at several.
pub fn subject_viewed(account: Option<&AccountId>, query: &str) -> Event {
    Event::SubjectViewed(SubjectViewed {
        account_id: account.map(|id| id.as_str().to_owned()),
        query: query.into(),
    })
}

/// Somebody took events away; `filter` is JSON.
pub fn audit_exported(account: Option<&AccountId>, format: &str, filter: &str) -> Event {
    Event::AuditExported(AuditExported {
        account_id: account.map(|id| id.as_str().to_owned()),
        format: format.into(),
        filter: filter.into(),
    })
}

/// So many further look-ups had no record of their own.
pub fn look_ups_counted(account: Option<&str>, query: &str, count: u32) -> Event {
    Event::LookUpsCounted(LookUpsCounted {
        account_id: account.map(str::to_owned),
        query: query.into(),
        count,
    })
}

/// So many acts of an agent were refused because it had done as many as one agent may.
pub fn agent_acts_refused(by: String, act: AgentAct, count: u32) -> Event {
    Event::AgentActsRefused(AgentActsRefused { by, act, count })
}

/// An operator asked for a backup, or for a rebuild of a view, with this reason.
pub fn operator_acted(act: OperatorAct, view: Option<&str>, reason: &str) -> Event {
    Event::OperatorActed(OperatorActed {
        act,
        view: view.map(str::to_owned),
        reason: Protected::clear(reason.as_bytes()),
    })
}

/// Whether a refusal says that an attempt was made and not compared.
pub fn is_suppressed(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::AccountThrottled | ErrorCode::FactorSuspended | ErrorCode::CodeSecondRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_was_not_compared_was_refused_by_a_wait_a_suspension_or_double_codes() {
        for code in ErrorCode::ALL.iter().copied() {
            let expected = [
                "account.throttled",
                "factor.suspended",
                "code.second_required",
            ];
            let is_one = expected.contains(&code.as_str());
            assert_eq!(is_suppressed(code), is_one, "{code:?}");
        }
    }

    #[test]
    fn auditors_hear_of_refused_requests_for_a_reset_only_where_one_was_open_or_too_many() {
        for code in ErrorCode::ALL.iter().copied() {
            let told = match code {
                ErrorCode::ResetOpen => Some(RequestRefused::Open),
                ErrorCode::QuotaExceeded => Some(RequestRefused::Quota),
                _ => None,
            };
            assert_eq!(request_refused(code), told, "{code:?}");
        }
    }
}
