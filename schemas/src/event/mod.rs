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

/// Who gets to see an event type. Each row of the list states it, so that no type is published by
/// accident.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// Other services too (docs/reference/events-published.md).
    Published,
    /// Auditors only.
    Kept,
}

/// Declares the one list of event types: number, schema version, name, audience and payload; and
/// the earlier forms, which logs still hold.
macro_rules! events {
    ($($code:literal $version:literal $name:literal $visibility:ident $variant:ident($payload:ty)
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
                let visibility = match self { $(Self::$variant(_) => Visibility::$visibility,)* };
                visibility == Visibility::Published
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
            pub fn decode(event_type: u16, schema_version: u16, payload: &[u8]) -> Result<Self, EventError> {
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
    1  1 "epoch-started" Published EpochStarted(log::v1::EpochStarted),
    2  1 "policy-in-force" Published PolicyInForce(log::v1::PolicyInForce),
    3  1 "unknown-name-refused" Published UnknownNameRefused(log::v1::UnknownNameRefused),
    4  1 "clock-jumped" Published ClockJumped(log::v1::ClockJumped),
    5  1 "clock-back-accepted" Published ClockBackAccepted(log::v1::ClockBackAccepted),
    6  1 "schemas-in-force" Published SchemasInForce(log::v1::SchemasInForce),
    16 1 "account-registered" Published AccountRegistered(account::v1::AccountRegistered),
    17 1 "password-set" Published PasswordSet(account::v1::PasswordSet),
    18 1 "password-rejected" Published PasswordRejected(account::v1::PasswordRejected),
    32 1 "enrolment-started" Published EnrolmentStarted(enrolment::v1::EnrolmentStarted),
    33 1 "enrolment-code-rejected" Published EnrolmentCodeRejected(enrolment::v1::EnrolmentCodeRejected),
    34 1 "enrolment-cancelled" Published EnrolmentCancelled(enrolment::v1::EnrolmentCancelled),
    35 1 "enrolment-expired" Published EnrolmentExpired(enrolment::v1::EnrolmentExpired),
    36 1 "two-factor-enabled" Published TwoFactorEnabled(enrolment::v1::TwoFactorEnabled),
    37 1 "two-factor-disabled" Published TwoFactorDisabled(enrolment::v1::TwoFactorDisabled),
    48 1 "backup-codes-issued" Published BackupCodesIssued(backup_codes::v1::BackupCodesIssued),
    49 1 "backup-code-accepted" Published BackupCodeAccepted(backup_codes::v1::BackupCodeAccepted),
    50 1 "backup-code-rejected" Published BackupCodeRejected(backup_codes::v1::BackupCodeRejected),
    60 1 "reset-requested" Published ResetRequested(reset::v1::ResetRequested),
    61 1 "reset-approved" Published ResetApproved(reset::v1::ResetApproved),
    62 1 "reset-rejected" Published ResetRejected(reset::v1::ResetRejected),
    63 1 "reset-cancelled" Published ResetCancelled(reset::v1::ResetCancelled),
    69 1 "reset-expired" Published ResetExpired(reset::v1::ResetExpired),
    70 1 "reset-executed" Published ResetExecuted(reset::v1::ResetExecuted),
    71 1 "reset-requests-refused" Published ResetRequestsRefused(reset::v1::ResetRequestsRefused),
    64 2 "login-started" Kept LoginStarted(login::v2::LoginStarted) after(1: login::v1::LoginStarted),
    65 1 "login-completed" Published LoginCompleted(login::v1::LoginCompleted),
    66 1 "totp-accepted" Published TotpAccepted(login::v1::TotpAccepted),
    67 1 "totp-rejected" Published TotpRejected(login::v1::TotpRejected),
    68 1 "code-replayed" Published CodeReplayed(login::v1::CodeReplayed),
    72 1 "login-pair-rejected" Kept LoginPairRejected(login::v1::LoginPairRejected),
    80 1 "attempts-throttled" Published AttemptsThrottled(attempts::v1::AttemptsThrottled),
    81 1 "double-code-required" Published DoubleCodeRequired(attempts::v1::DoubleCodeRequired),
    82 1 "factor-suspended" Published FactorSuspended(attempts::v1::FactorSuspended),
    83 1 "attempts-cleared" Published AttemptsCleared(attempts::v1::AttemptsCleared),
    84 1 "attempts-suppressed" Kept AttemptsSuppressed(attempts::v1::AttemptsSuppressed),
    40 1 "account-erased" Published AccountErased(account::v1::AccountErased),
    41 1 "password-rehashed" Kept PasswordRehashed(account::v1::PasswordRehashed),
    42 1 "keys-rotated" Kept KeysRotated(log::v1::KeysRotated),
    43 1 "data-keys-rewrapped" Kept DataKeysRewrapped(log::v1::DataKeysRewrapped),
    51 1 "subject-viewed" Kept SubjectViewed(audit::v1::SubjectViewed),
    52 1 "audit-exported" Kept AuditExported(audit::v1::AuditExported),
    53 1 "look-ups-counted" Kept LookUpsCounted(audit::v1::LookUpsCounted),
    54 1 "agent-acts-refused" Kept AgentActsRefused(audit::v1::AgentActsRefused),
}

impl Event {
    /// Returns the protected fields with their numbers, which are part of the associated data.
    pub fn protected(&mut self) -> Vec<(u16, &mut Protected)> {
        match self {
            Self::AccountRegistered(e) => e.username.iter_mut().map(|f| (1, f)).collect(),
            Self::PasswordSet(e) => vec![(1, &mut e.verifier)],
            Self::EnrolmentStarted(e) => {
                let mut fields = vec![(1, &mut e.secret)];
                fields.extend(e.account_name.iter_mut().map(|f| (2, f)));
                fields.extend(e.label.iter_mut().map(|f| (3, f)));
                fields
            }
            Self::BackupCodesIssued(e) => vec![(1, &mut e.verifiers)],
            Self::AttemptsCleared(e) => vec![(1, &mut e.reason)],
            Self::FactorSuspended(e) => numbered([&mut e.reason, &mut e.ticket]),
            Self::ResetRequested(e) => vec![(1, &mut e.reason), (2, &mut e.ticket)],
            Self::ResetApproved(e) => vec![(1, &mut e.reason)],
            Self::ResetRejected(e) => vec![(1, &mut e.reason)],
            Self::ResetCancelled(e) => numbered([&mut e.reason]),
            Self::ResetExecuted(e) => vec![(1, &mut e.reason)],
            Self::PasswordRehashed(e) => vec![(1, &mut e.verifier)],
            Self::KeysRotated(e) => e.reason.iter_mut().map(|f| (1, f)).collect(),
            Self::AccountErased(e) => e.reason.iter_mut().map(|f| (1, f)).collect(),
            Self::EpochStarted(_)
            | Self::PolicyInForce(_)
            | Self::SchemasInForce(_)
            | Self::UnknownNameRefused(_)
            | Self::ClockJumped(_)
            | Self::ClockBackAccepted(_)
            | Self::DataKeysRewrapped(_)
            | Self::SubjectViewed(_)
            | Self::AuditExported(_)
            | Self::LookUpsCounted(_)
            | Self::AgentActsRefused(_)
            | Self::PasswordRejected(_)
            | Self::EnrolmentCodeRejected(_)
            | Self::EnrolmentCancelled(_)
            | Self::EnrolmentExpired(_)
            | Self::TwoFactorEnabled(_)
            | Self::TwoFactorDisabled(_)
            | Self::BackupCodeAccepted(_)
            | Self::BackupCodeRejected(_)
            | Self::LoginStarted(_)
            | Self::LoginCompleted(_)
            | Self::LoginPairRejected(_)
            | Self::TotpAccepted(_)
            | Self::TotpRejected(_)
            | Self::CodeReplayed(_)
            | Self::AttemptsThrottled(_)
            | Self::DoubleCodeRequired(_)
            | Self::AttemptsSuppressed(_)
            | Self::ResetExpired(_)
            | Self::ResetRequestsRefused(_) => Vec::new(),
        }
    }

    /// Returns whether the service records the event by itself, without a command that asks for it.
    pub fn is_of_the_service(&self) -> bool {
        matches!(
            self,
            Self::EpochStarted(_)
                | Self::PolicyInForce(_)
                | Self::SchemasInForce(_)
                | Self::ClockJumped(_)
                | Self::ClockBackAccepted(_)
                | Self::AttemptsSuppressed(_)
                | Self::ResetRequestsRefused(_)
                | Self::AgentActsRefused(_)
                | Self::DataKeysRewrapped(_)
        ) || self.is_look_up()
    }

    /// Returns whether the event is an access record: a history was viewed or exported.
    pub fn is_look_up(&self) -> bool {
        matches!(
            self,
            Self::SubjectViewed(_) | Self::AuditExported(_) | Self::LookUpsCounted(_)
        )
    }
}

/// Returns the fields that are present, numbered from 1 by their place.
fn numbered<const N: usize>(fields: [&mut Option<Protected>; N]) -> Vec<(u16, &mut Protected)> {
    let fields = (1..).zip(fields);
    fields
        .filter_map(|(number, field)| Some((number, field.as_mut()?)))
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
