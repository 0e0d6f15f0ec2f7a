//! Stand-ins for codes and passwords that the log does not keep, and the new secrets in the events.

use countersign_schemas::code::BackupCode;
use countersign_schemas::event::Event;
use countersign_schemas::event::backup_codes::v1::BackupCodesIssued;
use serde_json::{Value, json};

use crate::account::evidence::{Created, Issued};
use crate::account::policy::Policy;

/// The kind of the given code; its digits are a stand-in.
#[derive(Clone, Copy)]
pub(super) enum Given {
    App,
    Pair,
    Backup(u8),
}

impl Given {
    pub(super) fn app(pair: bool) -> Self {
        if pair { Self::Pair } else { Self::App }
    }

    pub(super) fn put(self, into: &mut Value) {
        match self {
            Self::App => into["code"] = "000000".into(),
            Self::Pair => {
                into["code"] = "000000".into();
                into["next_code"] = "000000".into();
            }
            Self::Backup(ordinal) => {
                into["code"] = BackupCode::from_parts(ordinal, &[0; 9]).reveal().into();
            }
        }
    }
}

/// Returns the new code set in the events.
pub(super) fn created(events: &[Event]) -> Created {
    let issued = |e: &BackupCodesIssued| Issued {
        codes: (1..=e.slots)
            .map(|n| BackupCode::from_parts(n, &[0; 9]))
            .collect(),
        verifiers: e.verifiers.clone(),
        fingerprint: e.fingerprint.clone(),
    };
    let found = events.iter().find_map(|event| match event {
        Event::BackupCodesIssued(e) => Some(Created::Codes(issued(e))),
        _ => None,
    });
    found.unwrap_or(Created::None)
}

/// Returns the verifier of the new password in the events.
pub(super) fn changed(events: &[Event]) -> Created {
    let found = events.iter().find_map(|event| match event {
        Event::PasswordSet(e) => Some(Created::Verifier(e.verifier.clone())),
        _ => None,
    });
    found.unwrap_or(Created::None)
}

/// Returns the fields of a password that meets this policy.
pub(super) fn new_password(policy: &Policy) -> Value {
    let text = "the password as recorded ".chars().cycle();
    let length = policy.password_bytes_min.max(24);
    let text: String = text.take(length).collect();
    json!({"password": text, "new_password": text})
}
