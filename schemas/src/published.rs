//! An event as other services get it: subject, headers and body of one message of the stream.
//!
//! CloudEvents 1.0 in the NATS binding's binary mode: the attributes are headers, and the body is
//! the event without its sealed parts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::AccountId;
use crate::reply::{AuditEvent, Caller};
use crate::time::Micros;

/// The prefix of the subject of every published event.
pub const EVENT_PREFIX: &str = "countersign.v1.event";

/// The header that names the log.
pub const SOURCE: &str = "ce-source";

/// One event as it is published, without its sealed parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedEvent {
    /// Position in the log, from 1; not every position is published.
    pub position: u64,
    /// The event type's kebab-case name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The account's id; absent for log-wide events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// The version of the account's or the log's own stream after this event, from 1.
    pub version: u32,
    /// When the event was recorded.
    pub at: Micros,
    /// The caller of the command.
    pub caller: Caller,
    /// The id of the command that caused the event.
    pub command_id: String,
    /// The W3C trace of the command, 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The event's own facts; none of them is secret.
    pub data: Value,
    /// The event in one plain sentence.
    pub text: String,
    /// What to notify the account's owner of; absent if there is nothing to notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The event's place among the published events of its command.
    pub group: Group,
}

/// A notice to the owner of an account, for a service that sends mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// The notice's kebab-case name, such as `reset-requested`.
    pub kind: String,
    /// Whether platforms should end the account's other sessions.
    pub ends_sessions: bool,
}

/// The place of an event among the published events of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The index, from 0.
    pub index: u16,
    /// How many published events the command has, at least 1.
    pub size: u16,
}

impl PublishedEvent {
    /// Makes the published form, without what only an auditor may see.
    pub fn of(event: AuditEvent, group: Group) -> Self {
        Self {
            position: event.position,
            kind: event.kind,
            account_id: event.account_id,
            version: event.version,
            at: event.at,
            caller: event.caller,
            command_id: event.command_id,
            trace_id: event.trace_id,
            data: event.data,
            text: event.text,
            notice: None,
            group,
        }
    }

    /// Adds the notice to the owner.
    pub fn with_notice(self, notice: Option<Notice>) -> Self {
        Self { notice, ..self }
    }

    /// Returns the subject: the type, then the account if there is one.
    pub fn subject(&self) -> String {
        match &self.account_id {
            Some(account) => format!("{EVENT_PREFIX}.{}.{}", self.kind, account.as_str()),
            None => format!("{EVENT_PREFIX}.{}", self.kind),
        }
    }

    /// Returns the headers, all printable ASCII; `log_id` is the hexadecimal id of the log's epoch.
    ///
    /// The message id consists of log and position. With the command's id, the server would take
    /// the second event of a command for a repeat. `ce-sequence` has 20 digits, so that it also
    /// sorts as text.
    ///
    /// Source: CloudEvents 1.0 §3.1, its sequence extension, W3C Trace Context §3.2.
    pub fn headers(&self, log_id: &str) -> Vec<(&'static str, String)> {
        let position = self.position;
        let mut headers = vec![
            ("Nats-Msg-Id", format!("{log_id}-{position}")),
            ("ce-specversion", "1.0".into()),
            ("ce-id", position.to_string()),
            ("ce-type", format!("dev.countersign.{}.v1", self.kind)),
            (SOURCE, source(log_id)),
            ("ce-time", self.at.to_string()),
            ("ce-sequence", format!("{position:020}")),
            ("ce-datacontenttype", "application/json".into()),
        ];
        if let Some(account) = &self.account_id {
            headers.push(("ce-subject", format!("account/{}", account.as_str())));
        }
        if let Some(trace) = &self.trace_id {
            headers.push(("traceparent", format!("00-{trace}-{position:016x}-01")));
        }
        headers
    }

    /// Returns whether both are the same event. Another build may word its sentence and its facts
    /// differently.
    pub fn is_same_event(&self, other: &Self) -> bool {
        let facts = |event: &Self| {
            let Self {
                position,
                version,
                at,
                ..
            } = *event;
            (position, version, at)
        };
        facts(self) == facts(other)
            && self.kind == other.kind
            && self.account_id == other.account_id
            && self.command_id == other.command_id
    }
}

/// Returns the `ce-source` of a log with this hexadecimal id.
pub fn source(log_id: &str) -> String {
    format!("urn:countersign:{log_id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(account_id: Option<&str>) -> PublishedEvent {
        serde_json::from_value(json!({
            "position": 42,
            "type": "totp-accepted",
            "account_id": account_id,
            "version": 7,
            "at": "2027-01-15T08:00:00Z",
            "caller": {"name": "login-gw", "role": "platform", "verified": true},
            "command_id": "c-1",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "data": {"step": 60_000_000},
            "text": "An authenticator code was accepted.",
            "group": {"index": 0, "size": 1},
        }))
        .unwrap()
    }

    #[test]
    fn an_event_of_an_account_names_it_in_subject_and_headers() {
        let event = event(Some("ada"));
        assert_eq!(event.subject(), "countersign.v1.event.totp-accepted.ada");
        let headers = event.headers("ab01");
        let get = |name: &str| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(get("Nats-Msg-Id"), Some("ab01-42"));
        assert_eq!(get("ce-id"), Some("42"));
        assert_eq!(get("ce-type"), Some("dev.countersign.totp-accepted.v1"));
        assert_eq!(get("ce-source"), Some("urn:countersign:ab01"));
        assert_eq!(get("ce-subject"), Some("account/ada"));
        assert_eq!(get("ce-sequence"), Some("00000000000000000042"));
        assert!(get("ce-time").is_some_and(|at| at.starts_with("2027-01-15T08:00:00")));
        assert_eq!(
            get("traceparent"),
            Some("00-0af7651916cd43dd8448eb211c80319c-000000000000002a-01")
        );
    }

    #[test]
    fn an_event_of_the_log_itself_has_a_subject_without_account() {
        let event = event(None);
        assert_eq!(event.subject(), "countersign.v1.event.totp-accepted");
        let headers = event.headers("ab01");
        assert!(headers.iter().all(|(name, _)| *name != "ce-subject"));
    }

    #[test]
    fn another_event_at_the_same_position_is_distinguished_and_other_words_are_not() {
        let event = event(Some("ada"));
        let mut worded = event.clone();
        worded.text = "In other words.".into();
        worded.data = json!({});
        assert!(event.is_same_event(&worded));
        let mut other = event.clone();
        other.command_id = "c-2".into();
        assert!(!event.is_same_event(&other));
    }
}
