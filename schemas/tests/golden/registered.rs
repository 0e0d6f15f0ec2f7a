//! Every payload that a log can hold, by the type and version of its record's header.

use countersign_schemas::event::{Event, login};
use countersign_schemas::record::{Meta, SourceFacts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::shape::trace;

/// One stored form: what its record's header says, and its shape.
pub struct Registered {
    /// Type number, 0 for the blocks that every record has.
    pub event_type: u16,
    /// Schema version.
    pub version: u16,
    /// Kebab-case name.
    pub name: &'static str,
    /// The shape in one line.
    pub shape: String,
}

/// Shape and identity of the payload that an event's constructor takes.
fn latest<T: DeserializeOwned>(event: fn(T) -> Event) -> (Registered, Event) {
    let (shape, payload) = trace::<T>();
    let event = event(payload);
    let registered = Registered {
        event_type: event.type_code(),
        version: event.schema_version(),
        name: event.name(),
        shape,
    };
    (registered, event)
}

macro_rules! latest_events {
    ($($variant:ident)*) => {
        /// The latest form of every event type, each with a value of zeros.
        pub fn latest_events() -> Vec<(Registered, Event)> {
            vec![$(latest(Event::$variant),)*]
        }

        /// The whole payload as JSON; every field of it, sealed ones as they are stored.
        pub fn payload(event: &Event) -> Value {
            match event { $(Event::$variant(payload) => value_of(payload),)* }
        }
    };
}

latest_events! {
    EpochStarted PolicyInForce UnknownNameRefused ClockJumped ClockBackAccepted SchemasInForce
    AccountRegistered PasswordSet PasswordRejected
    EnrolmentStarted EnrolmentCodeRejected EnrolmentCancelled EnrolmentExpired
    TwoFactorEnabled TwoFactorDisabled
    BackupCodesIssued BackupCodeAccepted BackupCodeRejected
    ResetRequested ResetApproved ResetRejected ResetCancelled ResetExpired ResetExecuted
    ResetRequestsRefused
    LoginStarted LoginCompleted TotpAccepted TotpRejected CodeReplayed LoginPairRejected
    AttemptsThrottled DoubleCodeRequired FactorSuspended AttemptsCleared AttemptsSuppressed
    AccountErased PasswordRehashed KeysRotated DataKeysRewrapped
    SubjectViewed AuditExported LookUpsCounted AgentActsRefused OperatorActed
}

fn value_of<T: Serialize>(payload: &T) -> Value {
    with_hex(serde_json::to_value(payload).unwrap())
}

/// Shows lists of bytes as one word of hex.
pub fn with_hex(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (name, with_hex(member)))
            .collect(),
        Value::Array(items) => {
            let byte = |item: &Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
            match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => format!("hex:{}", data_encoding::HEXLOWER.encode(&bytes)).into(),
                None => items.into_iter().map(with_hex).collect(),
            }
        }
        plain => plain,
    }
}

/// Every stored form that this build reads: the blocks of a record first, then the events by
/// number and version. When a `v2` comes, its `v1` stays here as a line of its own.
pub fn stored_forms() -> Vec<Registered> {
    let block = |name, shape| Registered {
        event_type: 0,
        version: 1,
        name,
        shape,
    };
    let meta = trace::<Meta>().0;
    let bound = Registered {
        version: 2,
        shape: format!("{meta}, then commitment: [u8; 16] or nothing where source is there"),
        ..block("record-meta", String::new())
    };
    let mut forms = vec![
        block("record-meta", meta),
        bound,
        block("record-source", trace::<SourceFacts>().0),
    ];
    forms.extend(latest_events().into_iter().map(|(form, _)| form));
    forms.extend(earlier_events());
    forms.sort_by_key(|form| (form.event_type, form.version));
    forms
}

/// The earlier forms of events that logs still hold.
fn earlier_events() -> Vec<Registered> {
    vec![Registered {
        event_type: 64,
        version: 1,
        name: "login-started",
        shape: trace::<login::v1::LoginStarted>().0,
    }]
}

#[test]
fn every_earlier_form_is_listed_here() {
    let listed: Vec<_> = earlier_events()
        .iter()
        .map(|form| (form.event_type, form.version, form.name))
        .collect();
    assert_eq!(listed, Event::EARLIER);
}

#[test]
fn every_event_type_is_listed_here() {
    let listed: Vec<_> = latest_events()
        .iter()
        .map(|(form, _)| (form.event_type, form.version, form.name))
        .collect();
    assert_eq!(listed, Event::ALL);
}
