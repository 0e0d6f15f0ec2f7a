//! What the service itself records: no command asks for it, and no rule decides it.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::AttemptsSuppressed;
use countersign_schemas::event::log::v1::UnknownNameRefused;
use countersign_schemas::refusal::ErrorCode;

/// So many attempts at an account were refused without being compared.
pub fn attempts_suppressed(count: u32) -> Event {
    Event::AttemptsSuppressed(AttemptsSuppressed { count })
}

/// So many logins named nobody.
pub fn unknown_names_refused(count: u32) -> Event {
    Event::UnknownNameRefused(UnknownNameRefused { count })
}

/// Whether a refusal says that an attempt was made and not compared.
pub fn is_suppressed(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::AccountThrottled | ErrorCode::FactorSuspended | ErrorCode::CodeSecondRequired
    )
}
