//! The replies: success bodies of the commands and answers to the queries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, AuthenticatorId, ChallengeId};
use crate::secret::SecretText;
use crate::time::Micros;

/// The place of a command's last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Details {
    /// The event's position in the log, from 1.
    pub position: u64,
    /// The stream's version after the event, from 1.
    pub version: u32,
    /// When the event was recorded.
    pub at: Micros,
}

/// A success: the command's own fields, and `details`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Success<T> {
    /// The command's own fields.
    #[serde(flatten)]
    pub body: T,
    /// The place of the command's last event.
    pub details: Details,
}

/// Declares a reply body.
macro_rules! reply {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}
pub(crate) use reply;

reply!(
    /// The account that was made.
    AccountRegistered {
        /// The account's id.
        account_id: AccountId,
    }
);
reply!(
    /// The password was replaced.
    PasswordChanged {}
);
reply!(
    /// The new authenticator; no other reply contains the secret.
    EnrolmentStarted {
        /// The id of the authenticator to confirm.
        authenticator_id: AuthenticatorId,
        /// The secret in base32, for typing.
        secret: SecretText,
        /// The secret as a key URI.
        otpauth_uri: SecretText,
        /// The key URI as a QR code in SVG, for scanning.
        qr_svg: SecretText,
        /// When the enrolment expires.
        expires_at: Micros,
    }
);
reply!(
    /// 2FA is on; no other reply contains the codes.
    CodeConfirmed {
        /// Always `on`.
        state: FactorState,
        /// The number of the code set, rising for the life of the account.
        set_no: u32,
        /// The ten backup codes, each valid once.
        backup_codes: Vec<SecretText>,
        /// The codes as a text file for download.
        backup_codes_file: SecretText,
    }
);
reply!(
    /// The factor's state after the command.
    FactorChanged {
        /// The factor's state.
        state: FactorState,
    }
);
reply!(
    /// The account's data keys are destroyed.
    AccountErased {
        /// Always `erased`.
        state: ErasedState,
    }
);
reply!(
    /// A new key-encryption key and a new pepper are in use.
    KeysRotated {
        /// The number of both keys.
        key_id: u32,
    }
);
reply!(
    /// A new set of backup codes; no other reply contains the codes.
    BackupCodesRegenerated {
        /// The number of the code set, rising for the life of the account.
        set_no: u32,
        /// The ten backup codes, each valid once.
        backup_codes: Vec<SecretText>,
        /// The codes as a text file for download.
        backup_codes_file: SecretText,
        /// How many codes of the old set were unused; they no longer work.
        superseded_unused: u8,
    }
);

/// The kinds of second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A code of the authenticator app.
    Totp,
    /// A backup code.
    BackupCode,
}

/// The state of the second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactorState {
    /// No second factor.
    Off,
    /// An enrolment waits for its first code.
    Pending,
    /// The second factor is required.
    On,
}

/// The state of an erased account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErasedState {
    /// Its data keys are destroyed.
    Erased,
}

/// The result of a first factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum LoginStarted {
    /// A code is needed now.
    SecondFactorRequired {
        /// The account's id.
        account_id: AccountId,
        /// The id of the challenge, to be sent with the code; valid once.
        challenge_id: ChallengeId,
        /// The kinds of code that are accepted.
        methods: Vec<Method>,
        /// When the challenge expires.
        expires_at: Micros,
    },
    /// The login is complete: 2FA is off, or the right code came with the password.
    Complete {
        /// The account's id.
        account_id: AccountId,
        /// `password` if 2FA is off, else the kind of code that was accepted.
        method: LoginMethod,
        /// How many backup codes are unused, if a code was accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup_codes_left: Option<u8>,
        /// Whether the user should make new backup codes (3 or fewer left), if a code was accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup_codes_low: Option<bool>,
        /// Whether support suspended the authenticator, as in `verify-login`; absent means no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        authenticator_suspended: bool,
        /// The day since support reset the second factor, counted from 1, for 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_reset_days: Option<u32>,
        /// A compact JWS, if the request named an audience. Claims: `iss`, `sub`, `aud`, `azp` (the
        /// caller of this command), `iat`, `exp`, `jti`, `amr`, `auth_time`, `position`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assertion: Option<SecretText>,
    },
}

/// What completed a login in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoginMethod {
    /// A password alone.
    Password,
    /// A password and a code of the authenticator app.
    Totp,
    /// A password and a backup code.
    BackupCode,
}

/// The status of a completed login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompleteStatus {
    /// Both factors were right.
    Complete,
}

reply!(
    /// The login is complete: both factors were right.
    LoginVerified {
        /// The account's id.
        account_id: AccountId,
        /// Always `complete`.
        status: CompleteStatus,
        /// The kind of code that was accepted.
        method: Method,
        /// How many backup codes are unused.
        backup_codes_left: u8,
        /// Whether the user should make new backup codes (3 or fewer left).
        backup_codes_low: bool,
        /// Whether support suspended the authenticator. The suspension lasts until the
        /// authenticator is removed, with a backup code beside the password, or reset. Absent means
        /// no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        authenticator_suspended: bool,
        /// The day since support reset the second factor, counted from 1, for 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_reset_days: Option<u32>,
        /// A compact JWS, if this request or `start-login` named an audience; its claims are those
        /// of `start-login`'s assertion.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assertion: Option<SecretText>,
    }
);
reply!(
    /// What a login check may know about an account.
    LoginStatus {
        /// The account's id.
        account_id: AccountId,
        /// Whether a second factor is required.
        second_factor: FactorState,
        /// The kinds of code that are accepted.
        methods: Vec<Method>,
        /// The end of the wait during which no app code is compared.
        throttled_until: Option<Micros>,
        /// Whether two consecutive codes are required.
        double_code: bool,
        /// How many backup codes are unused.
        backup_codes_left: u8,
        /// Whether the user should make new backup codes (3 or fewer left).
        backup_codes_low: bool,
        /// Whether no app code is accepted. After too many wrong codes a backup code ends the
        /// suspension; a suspension by support ends when the authenticator is removed or reset.
        /// Absent means no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        authenticator_suspended: bool,
        /// The number of the current code set, 0 before the first.
        set_no: u32,
        /// Since when the second factor is on.
        enabled_at: Option<Micros>,
        /// The day since support reset the second factor, counted from 1, for 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_reset_days: Option<u32>,
        /// The log position that the view had reached.
        position: u64,
    }
);
reply!(
    /// A page of events, ascending.
    AuditPage {
        /// The page's events.
        events: Vec<AuditEvent>,
        /// The `after` of the next page; absent on the last page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
    }
);
reply!(
    /// One event as an auditor sees it.
    AuditEvent {
        /// The position in the log, from 1.
        position: u64,
        /// The event type's kebab-case name.
        #[serde(rename = "type")]
        kind: String,
        /// The account's id; absent for log-wide events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_id: Option<AccountId>,
        /// The version of the account's or the log's own stream after this event, from 1.
        version: u32,
        /// When the event was recorded.
        at: Micros,
        /// The caller of the command.
        caller: Caller,
        /// The person or service that the caller said it acted for; recorded, never trusted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
        /// The id of the command that caused the event.
        command_id: String,
        /// The W3C trace of the command, 32 hex digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace_id: Option<String>,
        /// Where the request came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// The event's own facts; none of them is secret.
        data: serde_json::Value,
        /// The event in one plain sentence.
        text: String,
    }
);
reply!(
    /// The caller of a command.
    Caller {
        /// The caller's name.
        name: String,
        /// The role that the request's subject implies.
        role: String,
        /// Whether the broker vouched for the caller's name.
        verified: bool,
    }
);
reply!(
    /// Where a request came from, as the platform saw it.
    Source {
        /// The user's address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ip: Option<String>,
        /// The user's agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
    }
);
reply!(
    /// The public keys that verify assertions (RFC 7517 §5).
    Jwks {
        /// The keys; the one in use is the first.
        keys: Vec<Jwk>,
    }
);
reply!(
    /// A public key (RFC 7517 §4, RFC 8037 §2).
    Jwk {
        /// Always `OKP`.
        kty: String,
        /// Always `Ed25519`.
        crv: String,
        /// Always `EdDSA`.
        alg: String,
        /// Always `sig`.
        #[serde(rename = "use")]
        usage: String,
        /// The key's id: the thumbprint of RFC 7638.
        kid: String,
        /// The key, in base64url without padding.
        x: String,
    }
);
reply!(
    /// The catalogue of refusals and faults.
    Errors {
        /// One entry for each word, in the order of the contract's table.
        errors: Vec<ErrorEntry>,
    }
);
reply!(
    /// One word of the catalogue.
    ErrorEntry {
        /// The stable word.
        code: String,
        /// The status number.
        status: u16,
        /// One safe sentence about the word.
        title: String,
        /// Whether the same request can succeed later.
        retryable: bool,
    }
);
