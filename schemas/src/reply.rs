//! The replies: success bodies of the commands and answers of the queries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, AuthenticatorId, ChallengeId};
use crate::secret::SecretText;
use crate::time::Micros;

/// Where a command's last event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Details {
    /// Its position in the log, from 1.
    pub position: u64,
    /// The account's version with it, from 1.
    pub version: u32,
    /// When it was recorded.
    pub at: Micros,
}

/// A success: the command's own fields beside `details`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Success<T> {
    /// The command's own fields.
    #[serde(flatten)]
    pub body: T,
    /// Where its last event stands.
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
        /// Its id.
        account_id: AccountId,
    }
);
reply!(
    /// The password was replaced.
    PasswordChanged {}
);
reply!(
    /// The new authenticator; the secret is in no other reply.
    EnrolmentStarted {
        /// The authenticator to confirm.
        authenticator_id: AuthenticatorId,
        /// The secret in base32, to type.
        secret: SecretText,
        /// The secret as a key URI.
        otpauth_uri: SecretText,
        /// The key URI as a QR code in SVG, to scan.
        qr_svg: SecretText,
        /// When the enrolment lapses.
        expires_at: Micros,
    }
);
reply!(
    /// 2FA is on; the codes are in no other reply.
    CodeConfirmed {
        /// `on`.
        state: FactorState,
        /// Number of the code set, rising for the life of the account.
        set_no: u32,
        /// The ten backup codes, each good once.
        backup_codes: Vec<SecretText>,
        /// The text to download.
        backup_codes_file: SecretText,
    }
);
reply!(
    /// The factor's state after the command.
    FactorChanged {
        /// The state.
        state: FactorState,
    }
);
reply!(
    /// The account's data keys are destroyed.
    AccountErased {
        /// `erased`.
        state: ErasedState,
    }
);
reply!(
    /// A new key-encryption key and a new pepper are in use.
    KeysRotated {
        /// The number of both.
        key_id: u32,
    }
);
reply!(
    /// A new set of backup codes; the codes are in no other reply.
    BackupCodesRegenerated {
        /// Number of the code set, rising for the life of the account.
        set_no: u32,
        /// The ten backup codes, each good once.
        backup_codes: Vec<SecretText>,
        /// The text to download.
        backup_codes_file: SecretText,
        /// Unused codes of the old set, now worthless.
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

/// What the first factor led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum LoginStarted {
    /// A code is needed now.
    SecondFactorRequired {
        /// The account.
        account_id: AccountId,
        /// To be presented with the code; one use.
        challenge_id: ChallengeId,
        /// The kinds of code that will be taken.
        methods: Vec<Method>,
        /// When the challenge lapses.
        expires_at: Micros,
    },
    /// The login is complete: 2FA is off, or the right code came with the password.
    Complete {
        /// The account.
        account_id: AccountId,
        /// `password` where 2FA is off, else the kind of code that was taken.
        method: LoginMethod,
        /// Unused backup codes, where a code was taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup_codes_left: Option<u8>,
        /// Whether it is time to make new ones (3 or fewer left), where a code was taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup_codes_low: Option<bool>,
        /// Whether support suspended the authenticator, as in `verify-login`. Absent is no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        authenticator_suspended: bool,
        /// Which day it is since support reset the second factor, from 1, for 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_reset_days: Option<u32>,
        /// A compact JWS, where the request named an audience. Claims: `iss`, `sub`, `aud`, `azp` (the
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
    /// Both factors were right.
    LoginVerified {
        /// The account.
        account_id: AccountId,
        /// `complete`.
        status: CompleteStatus,
        /// The kind of code that was taken.
        method: Method,
        /// Unused backup codes.
        backup_codes_left: u8,
        /// Whether it is time to make new ones (3 or fewer left).
        backup_codes_low: bool,
        /// Whether support suspended the authenticator: it stays so until it is removed, with a backup
        /// code beside the password, or reset. Absent is no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        authenticator_suspended: bool,
        /// Which day it is since support reset the second factor, from 1, for 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_reset_days: Option<u32>,
        /// A compact JWS, where this request or `start-login` named an audience; its claims are those
        /// of `start-login`'s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assertion: Option<SecretText>,
    }
);
reply!(
    /// What a login check may know of an account.
    LoginStatus {
        /// The account.
        account_id: AccountId,
        /// Whether a second factor is required.
        second_factor: FactorState,
        /// The kinds of code that will be taken.
        methods: Vec<Method>,
        /// Until when no app code is compared.
        throttled_until: Option<Micros>,
        /// Whether two consecutive codes are asked for.
        double_code: bool,
        /// Unused backup codes.
        backup_codes_left: u8,
        /// Whether it is time to make new ones.
        backup_codes_low: bool,
        /// Whether no app code is taken: after too many wrong ones until a backup code, by support until
        /// the authenticator is removed or reset. Absent is no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        authenticator_suspended: bool,
        /// Number of the current code set, 0 before the first.
        set_no: u32,
        /// Since when the second factor is on.
        enabled_at: Option<Micros>,
        /// Which day it is since support reset the second factor, from 1, for 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_reset_days: Option<u32>,
        /// The log position that the view had reached.
        position: u64,
    }
);
reply!(
    /// A page of events, ascending.
    AuditPage {
        /// The events.
        events: Vec<AuditEvent>,
        /// The following `after`; absent at the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
    }
);
reply!(
    /// One event as an auditor sees it.
    AuditEvent {
        /// Position in the log, from 1.
        position: u64,
        /// Kebab-case name.
        #[serde(rename = "type")]
        kind: String,
        /// The account; absent for log-wide events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_id: Option<AccountId>,
        /// The stream's version with it, from 1.
        version: u32,
        /// When it was recorded.
        at: Micros,
        /// Who asked.
        caller: Caller,
        /// For whom the caller said it acted; recorded, never trusted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<String>,
        /// The command that it came of.
        command_id: String,
        /// The W3C trace that it belongs to, 32 hex digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace_id: Option<String>,
        /// Where the request came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// The event's own facts; no secret.
        data: serde_json::Value,
        /// The event in one plain sentence.
        text: String,
    }
);
reply!(
    /// Who asked for a command.
    Caller {
        /// The caller's name.
        name: String,
        /// The role that the subject stands for.
        role: String,
        /// Whether the broker vouched for the name.
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
        /// The one in use first.
        keys: Vec<Jwk>,
    }
);
reply!(
    /// A public key (RFC 7517 §4, RFC 8037 §2).
    Jwk {
        /// `OKP`.
        kty: String,
        /// `Ed25519`.
        crv: String,
        /// `EdDSA`.
        alg: String,
        /// `sig`.
        #[serde(rename = "use")]
        usage: String,
        /// The key's id: its thumbprint (RFC 7638).
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
        /// One safe sentence.
        title: String,
        /// Whether the same request can succeed later.
        retryable: bool,
    }
);
