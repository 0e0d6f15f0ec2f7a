//! The events that the service itself records: no command asks for them, and no rule decides them.

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

/// Returns the first event of a log.
pub fn log_begun(log_id: [u8; 16]) -> Event {
    Event::EpochStarted(EpochStarted {
        epoch: 1,
        log_id,
        lost_from: None,
        spent_through: 0,
        reason: "initialised".into(),
    })
}

/// Returns the event of a new epoch: the log goes on without its records from `lost_from` on.
///
/// A lost record can have accepted a code of a step later than the one of `at`, so the steps up to
/// the end of the widest window count as spent.
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

/// Returns the event that names the policy from here on.
pub fn policy_in_force(policy: &Policy) -> Event {
    let policy = serde_json::to_string(policy).expect("a policy is plain numbers");
    Event::PolicyInForce(PolicyInForce { policy })
}

/// Returns the event that names stored forms which the log does not name yet.
pub fn schemas_in_force(forms: Vec<Form>) -> Event {
    Event::SchemasInForce(SchemasInForce { forms })
}

/// Returns the event that counts attempts at an account that were refused uncompared.
pub fn attempts_suppressed(count: u32) -> Event {
    Event::AttemptsSuppressed(AttemptsSuppressed { count })
}

/// Returns the event that counts an agent's refused requests for a reset.
pub fn reset_requests_refused(by: String, cause: RequestRefused, count: u32) -> Event {
    Event::ResetRequestsRefused(ResetRequestsRefused { by, cause, count })
}

/// Returns why a request for a reset was refused; none for a refusal that is not recorded.
pub fn request_refused(code: ErrorCode) -> Option<RequestRefused> {
    match code {
        ErrorCode::ResetOpen => Some(RequestRefused::Open),
        ErrorCode::QuotaExceeded => Some(RequestRefused::Quota),
        _ => None,
    }
}

/// Returns the event that counts failed logins of unknown usernames.
pub fn unknown_names_refused(count: u32) -> Event {
    Event::UnknownNameRefused(UnknownNameRefused { count })
}

/// Returns the event of a wall clock that jumped forward; `by_us` is in microseconds.
pub fn clock_jumped(by_us: u64) -> Event {
    Event::ClockJumped(ClockJumped { by_us })
}

/// Returns the event of an operator who accepted a wall clock that is behind log time.
pub fn clock_back_accepted(wall: Micros, log_time: Micros, reason: &str) -> Event {
    Event::ClockBackAccepted(ClockBackAccepted {
        wall,
        behind_us: log_time.0.saturating_sub(wall.0),
        reason: reason.into(),
    })
}

/// Returns the event of an erasure that was begun and whose record is lost; it has no reason.
pub fn account_erased() -> Event {
    Event::AccountErased(AccountErased { reason: None })
}

/// Returns the event of new keys in the keyring whose record is lost; it has no reason.
pub fn keys_rotated(key_id: u32) -> Event {
    Event::KeysRotated(KeysRotated {
        key_id,
        reason: None,
    })
}

/// Returns the event that `count` data keys are wrapped by this key-encryption key, and none by an
/// older one.
pub fn data_keys_rewrapped(key_id: u32, count: u64) -> Event {
    Event::DataKeysRewrapped(DataKeysRewrapped { key_id, count })
}

/// Returns the access record of a query about an account, or about several if `account` is none.
pub fn subject_viewed(account: Option<&AccountId>, query: &str) -> Event {
    Event::SubjectViewed(SubjectViewed {
        account_id: account.map(|id| id.as_str().to_owned()),
        query: query.into(),
    })
}

/// Returns the access record of an export; `filter` is JSON.
pub fn audit_exported(account: Option<&AccountId>, format: &str, filter: &str) -> Event {
    Event::AuditExported(AuditExported {
        account_id: account.map(|id| id.as_str().to_owned()),
        format: format.into(),
        filter: filter.into(),
    })
}

/// Returns the access record that counts further queries without a record of their own.
pub fn look_ups_counted(account: Option<&str>, query: &str, count: u32) -> Event {
    Event::LookUpsCounted(LookUpsCounted {
        account_id: account.map(str::to_owned),
        query: query.into(),
        count,
    })
}

/// Returns the event that counts an agent's acts that were refused because of its quota.
pub fn agent_acts_refused(by: String, act: AgentAct, count: u32) -> Event {
    Event::AgentActsRefused(AgentActsRefused { by, act, count })
}

/// Returns the record that an operator asked for a backup or a view rebuild, with the reason.
pub fn operator_acted(act: OperatorAct, view: Option<&str>, reason: &str) -> Event {
    Event::OperatorActed(OperatorActed {
        act,
        view: view.map(str::to_owned),
        reason: Protected::clear(reason.as_bytes()),
    })
}

/// Returns whether a refusal means that an attempt was made and not compared.
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
    fn a_refused_request_for_a_reset_is_recorded_only_if_one_was_open_or_too_many() {
        for code in ErrorCode::ALL.iter().copied() {
            let expected = match code {
                ErrorCode::ResetOpen => Some(RequestRefused::Open),
                ErrorCode::QuotaExceeded => Some(RequestRefused::Quota),
                _ => None,
            };
            assert_eq!(request_refused(code), expected, "{code:?}");
        }
    }
}
