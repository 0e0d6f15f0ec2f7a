//! The events. An event's identity is (event type, schema version) in the record's header, never a
//! Rust enum.
//!
//! Each payload struct is in a module `vN` and is frozen once released. A change is a new struct in
//! `vN+1`, a new schema version in the list below, and a `From` for the old struct.

pub mod account;
pub mod attempts;
pub mod audit;
pub mod backup_codes;
pub mod enrolment;
pub mod log;
pub mod login;
mod public;
pub mod reset;
mod upcast;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::canonical;
use crate::sealed::Protected;

/// The number of `account-erased`, whose sealed parts outlive the account's own data keys.
pub const ACCOUNT_ERASED: u16 = 40;
/// The number of `schemas-in-force`, which every start compares with its own forms.
pub const SCHEMAS_IN_FORCE: u16 = 6;
/// The number of `epoch-started`, which opens every log and every epoch of it.
pub const EPOCH_STARTED: u16 = 1;

/// An event of the log that this build cannot read. The node must stop: a skipped event is a lost
/// event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The header names a type or a version that this build does not know.
    #[error(
        "event type {event_type} version {schema_version} is unknown to this build: run the build that wrote it, or a later one"
    )]
    Unknown {
        /// The type number from the header.
        event_type: u16,
        /// The schema version from the header.
        schema_version: u16,
    },
    /// The payload does not match its type: it is damaged, truncated or followed by more bytes.
    #[error("the payload of a {name} event does not decode: the record is damaged")]
    Payload {
        /// The kebab-case name of the type.
        name: &'static str,
    },
    /// A protected field was still in clear when the event was encoded.
    #[error("a {name} event was about to be stored with a secret in clear")]
    Clear {
        /// The kebab-case name of the type.
        name: &'static str,
    },
}

/// What an event records: the outcome of a command, or something that no command asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A command was executed; if the event follows another event, that one decides.
    Done,
    /// A command was refused.
    Refused,
    /// The service recorded the event by itself.
    Own,
    /// An access record: a history was viewed or exported, or an operator acted.
    Access,
}

/// How important an event is to a monitoring team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The event is part of daily operation.
    Informational,
    /// A single event means nothing, many mean something.
    Low,
    /// The event should be checked.
    Medium,
    /// The event may mean an attack.
    High,
}

/// The readers that read only some events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The view `login-status`.
    Status,
    /// The view `account-card`.
    Card,
    /// The view `reset-queue`.
    Queue,
    /// The notices to owners.
    Notice,
}

/// Declares the one list of event types. A row decides everything about a type that is not code:
/// number, schema version, name; whether it is published to other services
/// (docs/reference/events-published.md) or kept for auditors; cause; severity; its protected
/// fields, numbered from 1 in this order; its readers; variant and payload; and the earlier forms
/// of the payload, which logs still hold.
macro_rules! events {
    (@published Published) => { true };
    (@published Kept) => { false };
    ($($code:literal $version:literal $name:literal $visibility:ident $cause:ident $severity:ident
        sealed[$($field:ident)*] read[$($reader:ident)*] $variant:ident($payload:ty)
        $(after($earlier:literal: $before:ty))*,)*) => {
        /// One event, in the latest form of its payload; clear until sealed.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Event { $($variant($payload),)* }

        impl Event {
            /// Every type: number, latest schema version, kebab-case name.
            pub const ALL: &'static [(u16, u16, &'static str)] = &[$(($code, $version, $name),)*];

            /// The earlier forms that are still read, with the same three parts.
            pub const EARLIER: &'static [(u16, u16, &'static str)] =
                &[$($(($code, $earlier, $name),)*)*];

            /// Returns the type's number in the record header.
            pub fn type_code(&self) -> u16 {
                match self { $(Self::$variant(_) => $code,)* }
            }

            /// Returns the schema version that this build writes.
            pub fn schema_version(&self) -> u16 {
                match self { $(Self::$variant(_) => $version,)* }
            }

            /// Returns the kebab-case name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Returns whether the event is published to other services
            /// (docs/reference/events-published.md).
            pub fn is_published(&self) -> bool {
                match self { $(Self::$variant(_) => events!(@published $visibility),)* }
            }

            /// Returns what the event records.
            pub fn cause(&self) -> Cause {
                match self { $(Self::$variant(_) => Cause::$cause,)* }
            }

            /// Returns what events of this name record; `None` if there is no such type.
            pub fn cause_of(name: &str) -> Option<Cause> {
                match name { $($name => Some(Cause::$cause),)* _ => None }
            }

            /// Returns the severity of events of this name; `None` if there is no such type.
            pub fn severity_of(name: &str) -> Option<Severity> {
                match name { $($name => Some(Severity::$severity),)* _ => None }
            }

            /// Returns whether this reader reads the event.
            pub fn is_read_by(&self, reader: Reader) -> bool {
                let readers: &[Reader] = match self {
                    $(Self::$variant(_) => &[$(Reader::$reader),*],)*
                };
                readers.contains(&reader)
            }

            /// Returns the protected fields with their numbers, which are part of the associated
            /// data.
            pub fn protected(&mut self) -> Vec<(u16, &mut Protected)> {
                match self {
                    $(Self::$variant(_payload) => numbered([$(_payload.$field.there()),*]),)*
                }
            }

            /// Encodes the payload as it is stored.
            ///
            /// # Errors
            /// [`EventError::Clear`] if a protected field is not sealed.
            pub fn encode(&self) -> Result<Vec<u8>, EventError> {
                match self { $(Self::$variant(payload) => to_bytes(payload, $name),)* }
            }

            /// Decodes a payload by the type and version in its record's header.
            ///
            /// # Errors
            /// [`EventError::Unknown`] for a type or version that this build does not know;
            /// [`EventError::Payload`] if the bytes do not match the type exactly, trailing bytes
            /// included.
            pub fn decode(
                event_type: u16,
                schema_version: u16,
                payload: &[u8],
            ) -> Result<Self, EventError> {
                match (event_type, schema_version) {
                    $(($code, $version) => from_bytes(payload, $name).map(Self::$variant),)*
                    $($(($code, $earlier) => {
                        let before: $before = from_bytes(payload, $name)?;
                        Ok(Self::$variant(before.into()))
                    })*)*
                    _ => Err(EventError::Unknown { event_type, schema_version }),
                }
            }
        }
    };
}

events! {
    1 1 "epoch-started" Published Own Informational
        sealed[] read[Status Queue] EpochStarted(log::v1::EpochStarted),
    2 1 "policy-in-force" Published Own Informational
        sealed[] read[] PolicyInForce(log::v1::PolicyInForce),
    3 1 "unknown-name-refused" Published Refused Low
        sealed[] read[] UnknownNameRefused(log::v1::UnknownNameRefused),
    4 1 "clock-jumped" Published Own Medium
        sealed[] read[] ClockJumped(log::v1::ClockJumped),
    5 1 "clock-back-accepted" Published Own Medium
        sealed[] read[] ClockBackAccepted(log::v1::ClockBackAccepted),
    6 1 "schemas-in-force" Published Own Informational
        sealed[] read[] SchemasInForce(log::v1::SchemasInForce),
    16 1 "account-registered" Published Done Informational
        sealed[username] read[Status Card] AccountRegistered(account::v1::AccountRegistered),
    17 1 "password-set" Published Done Informational
        sealed[verifier] read[Status Card Notice] PasswordSet(account::v1::PasswordSet),
    18 1 "password-rejected" Published Refused Low
        sealed[] read[] PasswordRejected(account::v1::PasswordRejected),
    32 1 "enrolment-started" Published Done Informational
        sealed[secret account_name label] read[Status Card]
        EnrolmentStarted(enrolment::v1::EnrolmentStarted),
    33 1 "enrolment-code-rejected" Published Refused Low
        sealed[] read[Status] EnrolmentCodeRejected(enrolment::v1::EnrolmentCodeRejected),
    34 1 "enrolment-cancelled" Published Done Informational
        sealed[] read[Status] EnrolmentCancelled(enrolment::v1::EnrolmentCancelled),
    35 1 "enrolment-expired" Published Refused Informational
        sealed[] read[Status] EnrolmentExpired(enrolment::v1::EnrolmentExpired),
    36 1 "two-factor-enabled" Published Done Informational
        sealed[] read[Status Notice] TwoFactorEnabled(enrolment::v1::TwoFactorEnabled),
    37 1 "two-factor-disabled" Published Done Informational
        sealed[] read[Status Notice] TwoFactorDisabled(enrolment::v1::TwoFactorDisabled),
    48 1 "backup-codes-issued" Published Done Informational
        sealed[verifiers] read[Status Notice]
        BackupCodesIssued(backup_codes::v1::BackupCodesIssued),
    49 1 "backup-code-accepted" Published Done Informational
        sealed[] read[Status Card Notice] BackupCodeAccepted(backup_codes::v1::BackupCodeAccepted),
    50 1 "backup-code-rejected" Published Refused Low
        sealed[] read[Card Notice] BackupCodeRejected(backup_codes::v1::BackupCodeRejected),
    60 1 "reset-requested" Published Done Informational
        sealed[reason ticket] read[Queue Notice] ResetRequested(reset::v1::ResetRequested),
    61 1 "reset-approved" Published Done Informational
        sealed[reason] read[Queue Notice] ResetApproved(reset::v1::ResetApproved),
    62 1 "reset-rejected" Published Done Informational
        sealed[reason] read[Queue Notice] ResetRejected(reset::v1::ResetRejected),
    63 1 "reset-cancelled" Published Done Informational
        sealed[reason] read[Queue Notice] ResetCancelled(reset::v1::ResetCancelled),
    69 1 "reset-expired" Published Done Informational
        sealed[] read[Queue Notice] ResetExpired(reset::v1::ResetExpired),
    70 1 "reset-executed" Published Done Informational
        sealed[reason] read[Status Queue Notice] ResetExecuted(reset::v1::ResetExecuted),
    71 1 "reset-requests-refused" Published Own Informational
        sealed[] read[] ResetRequestsRefused(reset::v1::ResetRequestsRefused),
    64 2 "login-started" Kept Done Informational
        sealed[] read[] LoginStarted(login::v2::LoginStarted) after(1: login::v1::LoginStarted),
    65 1 "login-completed" Published Done Informational
        sealed[] read[Card] LoginCompleted(login::v1::LoginCompleted),
    66 1 "totp-accepted" Published Done Informational
        sealed[] read[Status Card] TotpAccepted(login::v1::TotpAccepted),
    67 1 "totp-rejected" Published Refused Low
        sealed[] read[Card Notice] TotpRejected(login::v1::TotpRejected),
    68 1 "code-replayed" Published Refused Medium
        sealed[] read[Card Notice] CodeReplayed(login::v1::CodeReplayed),
    72 1 "login-pair-rejected" Kept Refused Low
        sealed[] read[] LoginPairRejected(login::v1::LoginPairRejected),
    80 1 "attempts-throttled" Published Refused Medium
        sealed[] read[Status] AttemptsThrottled(attempts::v1::AttemptsThrottled),
    81 1 "double-code-required" Published Refused Medium
        sealed[] read[Status Notice] DoubleCodeRequired(attempts::v1::DoubleCodeRequired),
    82 1 "factor-suspended" Published Done High
        sealed[reason ticket] read[Status Notice] FactorSuspended(attempts::v1::FactorSuspended),
    83 1 "attempts-cleared" Published Done Informational
        sealed[reason] read[Status Card Notice] AttemptsCleared(attempts::v1::AttemptsCleared),
    84 1 "attempts-suppressed" Kept Own Low
        sealed[] read[] AttemptsSuppressed(attempts::v1::AttemptsSuppressed),
    40 1 "account-erased" Published Done Informational
        sealed[reason] read[Status Card Queue] AccountErased(account::v1::AccountErased),
    41 1 "password-rehashed" Kept Done Informational
        sealed[verifier] read[] PasswordRehashed(account::v1::PasswordRehashed),
    42 1 "keys-rotated" Kept Done Informational
        sealed[reason] read[] KeysRotated(log::v1::KeysRotated),
    43 1 "data-keys-rewrapped" Kept Own Informational
        sealed[] read[] DataKeysRewrapped(log::v1::DataKeysRewrapped),
    51 1 "subject-viewed" Kept Access Informational
        sealed[] read[] SubjectViewed(audit::v1::SubjectViewed),
    52 1 "audit-exported" Kept Access Informational
        sealed[] read[] AuditExported(audit::v1::AuditExported),
    53 1 "look-ups-counted" Kept Access Informational
        sealed[] read[] LookUpsCounted(audit::v1::LookUpsCounted),
    54 1 "agent-acts-refused" Kept Own Informational
        sealed[] read[] AgentActsRefused(audit::v1::AgentActsRefused),
    55 1 "operator-acted" Kept Access Informational
        sealed[reason] read[] OperatorActed(audit::v1::OperatorActed),
}

impl Event {
    /// Returns whether the service records the event by itself, without a command that asks for it.
    pub fn is_of_the_service(&self) -> bool {
        matches!(self.cause(), Cause::Own | Cause::Access)
    }

    /// Returns whether the event is an access record.
    pub fn is_look_up(&self) -> bool {
        self.cause() == Cause::Access
    }
}

/// A protected field, which is optional in some payloads.
trait Field {
    fn there(&mut self) -> Option<&mut Protected>;
}

impl Field for Protected {
    fn there(&mut self) -> Option<&mut Protected> {
        Some(self)
    }
}

impl Field for Option<Protected> {
    fn there(&mut self) -> Option<&mut Protected> {
        self.as_mut()
    }
}

/// Returns the fields that are present, numbered from 1 by their place.
fn numbered<const N: usize>(fields: [Option<&mut Protected>; N]) -> Vec<(u16, &mut Protected)> {
    let fields = (1..).zip(fields);
    fields
        .filter_map(|(number, field)| Some((number, field?)))
        .collect()
}

fn to_bytes<T: Serialize>(payload: &T, name: &'static str) -> Result<Vec<u8>, EventError> {
    postcard::to_allocvec(payload).map_err(|_| EventError::Clear { name })
}

fn from_bytes<T>(bytes: &[u8], name: &'static str) -> Result<T, EventError>
where
    T: Serialize + DeserializeOwned,
{
    canonical::decode(bytes).ok_or(EventError::Payload { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_types_share_a_number_or_a_name() {
        let numbers: std::collections::BTreeSet<_> = Event::ALL.iter().map(|e| e.0).collect();
        let names: std::collections::BTreeSet<_> = Event::ALL.iter().map(|e| e.2).collect();
        assert_eq!(numbers.len(), Event::ALL.len());
        assert_eq!(names.len(), Event::ALL.len());
    }

    /// V-08: no length in the bytes is believed beyond the bytes that are there.
    #[test]
    fn v08_monstrous_numbers_and_lengths_are_refused() {
        let long = [&[0x80, 0x80, 0x80, 0x80, 0x80, 0x20][..], b"abc"].concat();
        for bytes in [&[0xff; 10][..], &long] {
            for (event_type, version, name) in Event::ALL {
                let refused = Event::decode(*event_type, *version, bytes).is_err();
                assert!(refused, "{name} {bytes:x?}");
            }
        }
        assert!(Event::decode(u16::MAX, 1, &[]).is_err(), "an unknown type");
    }

    /// V-07, V-09.
    #[test]
    fn the_numbers_that_are_named_are_the_lists() {
        let number = |name| Event::ALL.iter().find(|e| e.2 == name).map(|e| e.0);
        assert_eq!(number("account-erased"), Some(ACCOUNT_ERASED));
        assert_eq!(number("epoch-started"), Some(EPOCH_STARTED));
        assert_eq!(number("schemas-in-force"), Some(SCHEMAS_IN_FORCE));
    }

    #[test]
    fn a_trailing_byte_and_a_future_version_are_refused() {
        let event = Event::PolicyInForce(log::v1::PolicyInForce {
            policy: "{}".into(),
        });
        let mut bytes = event.encode().expect("nothing protected");
        assert_eq!(Event::decode(2, 1, &bytes), Ok(event));
        assert!(matches!(
            Event::decode(2, 2, &bytes),
            Err(EventError::Unknown { .. })
        ));
        bytes.push(0);
        assert!(matches!(
            Event::decode(2, 1, &bytes),
            Err(EventError::Payload { .. })
        ));
    }
}
