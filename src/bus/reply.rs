//! Renders responses: a success as its JSON body, a refusal as headers and a problem document, so
//! that a caller who reads only one of the two still sees the refusal.

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use countersign_schemas::code::BackupCode;
use countersign_schemas::ids::{AccountId, Audience, CommandId};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::{self as wire, CompleteStatus, Details, FactorState, Success};
use countersign_schemas::secret::SecretText;
use countersign_schemas::support_reply::{self, SuspendedState};
use countersign_schemas::time::Micros;
use serde::Serialize;

use super::headers::{self, Trace};
use super::qr;
use super::reply_reset::reset_success;
use crate::account::{Issued, LoginReply, Reply, SecretReply};
use crate::crypto::assertion::{ASSERTION_TTL_S, AssertionKey, Claims};
use crate::crypto::backup_code;
use crate::crypto::otp::otpauth_uri;
use crate::engine::{Done, Outcome};

/// The response to a request, before rendering.
#[derive(Debug)]
pub enum Response {
    /// The outcome of a command, and the name of its caller.
    Outcome(Outcome, String),
    /// A query's answer.
    Answer(Bytes),
    /// A refusal or fault of this room or of a query.
    Refused(Refusal),
}

/// What a reply repeats of its request.
#[derive(Clone, Debug, Default)]
pub struct ReplyHeaders {
    /// The command's id.
    pub command_id: Option<CommandId>,
    /// The request's trace.
    pub trace: Option<Trace>,
}

/// A reply ready to be published.
#[derive(Debug)]
pub struct Rendered {
    /// The reply's headers.
    pub headers: HeaderMap,
    /// The reply's body.
    pub body: Bytes,
    /// The code of a refusal or fault.
    pub refused: Option<ErrorCode>,
}

/// The service's identity, as replies show it.
pub struct Speaker<'a> {
    /// The service's name as authenticator apps, code sheets and assertions show it.
    pub issuer: &'a str,
    /// The hexadecimal id of the log.
    pub log_id: &'a str,
    /// Returns the key that signs assertions of logins recorded at an instant; called only for a
    /// completed login with an audience.
    pub key: &'a (dyn Fn(Micros) -> AssertionKey + Sync),
}

impl Speaker<'_> {
    /// Asserts a completed login to an audience. Every claim follows from the login and its caller,
    /// so that a repeated reply contains the same assertion.
    fn assertion(&self, audience: &Audience, login: &Login) -> SecretText {
        let at = login.decided_at.unix_s();
        let claims = Claims {
            iss: self.issuer,
            sub: login.account.as_str(),
            aud: audience.as_str(),
            azp: login.caller,
            iat: at,
            exp: at + ASSERTION_TTL_S,
            jti: &format!("{}-{}", self.log_id, login.details.position),
            amr: login.amr,
            auth_time: at,
            position: login.details.position,
        };
        SecretText::new((self.key)(login.details.at).sign(&claims))
    }
}

/// A completed login to assert.
struct Login<'a> {
    account: &'a AccountId,
    caller: &'a str,
    amr: &'a [&'a str],
    details: &'a Details,
    decided_at: Micros,
}

/// Renders a response.
pub fn render(response: Response, reply_headers: &ReplyHeaders, speaker: &Speaker) -> Rendered {
    let (body, replayed) = match response {
        Response::Outcome(outcome, caller) => {
            let body = outcome
                .result
                .and_then(|done| success(done, speaker, &caller));
            (body, outcome.replayed)
        }
        Response::Answer(body) => (Ok(body), false),
        Response::Refused(refusal) => (Err(refusal), false),
    };
    let mut headers = HeaderMap::new();
    if replayed {
        put(&mut headers, headers::REPLAYED, "true");
    }
    if let Some(id) = &reply_headers.command_id {
        put(&mut headers, headers::MSG_ID, id.as_str());
    }
    if let Some(trace) = &reply_headers.trace {
        put(&mut headers, headers::TRACEPARENT, &trace.parent);
        if let Some(state) = &trace.state {
            put(&mut headers, headers::TRACESTATE, state);
        }
    }
    match body {
        Ok(body) => Rendered {
            headers,
            body,
            refused: None,
        },
        Err(refusal) => refused(headers, &refusal),
    }
}

/// Encodes a query's answer as JSON.
///
/// # Errors
/// `internal` if the body cannot be encoded, which no reply of the service does.
pub fn json<T: Serialize>(body: &T) -> Result<Bytes, Refusal> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|_| Refusal::new(ErrorCode::Internal))
}

fn refused(mut headers: HeaderMap, refusal: &Refusal) -> Rendered {
    let code = refusal.code;
    put(&mut headers, headers::SERVICE_ERROR, code.title());
    put(
        &mut headers,
        headers::SERVICE_ERROR_CODE,
        &code.status().to_string(),
    );
    put(&mut headers, headers::ERROR, code.as_str());
    if let Some(seconds) = refusal.retry_after_s {
        put(&mut headers, headers::RETRY_AFTER, &seconds.to_string());
    }
    // The headers alone are a refusal, so an empty body would still fail closed.
    let body = serde_json::to_vec(&refusal.problem()).unwrap_or_default();
    Rendered {
        headers,
        body: body.into(),
        refused: Some(code),
    }
}

/// Sets a header. An invalid value is left out, since async-nats panics on CR and LF.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let Ok(value) = value.parse::<HeaderValue>() {
        headers.insert(name, value);
    }
}

fn success(done: Done, speaker: &Speaker, caller: &str) -> Result<Bytes, Refusal> {
    let issuer = speaker.issuer;
    let Done {
        reply,
        details,
        decided_at,
    } = done;
    match reply {
        Reply::AccountRegistered { account_id } => {
            with_details(wire::AccountRegistered { account_id }, details)
        }
        Reply::PasswordChanged => with_details(wire::PasswordChanged {}, details),
        Reply::Secret(secret) => secret_success(secret, issuer, details),
        Reply::FactorOff => {
            let state = FactorState::Off;
            with_details(wire::FactorChanged { state }, details)
        }
        Reply::KeysRotated { key_id } => with_details(wire::KeysRotated { key_id }, details),
        Reply::AccountErased => {
            let state = wire::ErasedState::Erased;
            with_details(wire::AccountErased { state }, details)
        }
        Reply::FactorSuspended => {
            let state = SuspendedState::Suspended;
            with_details(support_reply::FactorSuspended { state }, details)
        }
        Reply::Reset(reset) => reset_success(reset, details),
        Reply::AttemptsCleared => {
            let state = FactorState::On;
            with_details(wire::FactorChanged { state }, details)
        }
        Reply::Login(login) => login_success(login, details, speaker, (caller, decided_at)),
    }
}

/// Renders a reply that shows an app's secret or backup codes; no other reply shows them.
fn secret_success(reply: SecretReply, issuer: &str, details: Details) -> Result<Bytes, Refusal> {
    match reply {
        SecretReply::EnrolmentStarted {
            authenticator_id,
            secret,
            display_name,
            expires_at,
        } => {
            let uri = otpauth_uri(issuer, &display_name, &secret);
            let qr = qr::svg(&uri).ok_or_else(|| Refusal::new(ErrorCode::Internal))?;
            let body = wire::EnrolmentStarted {
                authenticator_id,
                secret: SecretText::new(secret.base32()),
                qr_svg: SecretText::new(qr),
                otpauth_uri: SecretText::new(uri),
                expires_at,
            };
            with_details(body, details)
        }
        SecretReply::CodeConfirmed {
            set_no,
            issued,
            display_name,
        } => {
            let body = wire::CodeConfirmed {
                state: FactorState::On,
                set_no,
                backup_codes: shown(&issued),
                backup_codes_file: codes_file(issuer, &display_name, set_no, issued, &details)?,
            };
            with_details(body, details)
        }
        SecretReply::BackupCodesRegenerated {
            set_no,
            issued,
            display_name,
            superseded_unused,
        } => {
            let body = wire::BackupCodesRegenerated {
                set_no,
                backup_codes: shown(&issued),
                backup_codes_file: codes_file(issuer, &display_name, set_no, issued, &details)?,
                superseded_unused,
            };
            with_details(body, details)
        }
    }
}

fn login_success(
    reply: LoginReply,
    details: Details,
    speaker: &Speaker,
    (caller, decided_at): (&str, Micros),
) -> Result<Bytes, Refusal> {
    let asserted = |audience: Option<Audience>, account: &AccountId, amr: &[&str]| {
        let login = Login {
            account,
            caller,
            amr,
            details: &details,
            decided_at,
        };
        audience.map(|audience| speaker.assertion(&audience, &login))
    };
    match reply {
        LoginReply::CodeRequired {
            account_id,
            challenge_id,
            methods,
            expires_at,
        } => {
            let body = wire::LoginStarted::SecondFactorRequired {
                account_id,
                challenge_id,
                methods,
                expires_at,
            };
            with_details(body, details)
        }
        LoginReply::ByPassword {
            account_id,
            vouched,
            audience,
            after_reset_days,
        } => {
            let amr: &[&str] = if vouched { &[] } else { &["pwd"] };
            let assertion = asserted(audience, &account_id, amr);
            let body = wire::LoginStarted::Complete {
                account_id,
                method: wire::LoginMethod::Password,
                backup_codes_left: None,
                backup_codes_low: None,
                authenticator_suspended: false,
                after_reset_days,
                assertion,
            };
            with_details(body, details)
        }
        LoginReply::Verified {
            account_id,
            vouched,
            method,
            left,
            low,
            suspended,
            audience,
            after_reset_days,
        } => {
            let amr: &[&str] = if vouched { &["otp"] } else { &["pwd", "otp"] };
            let assertion = asserted(audience, &account_id, amr);
            let body = wire::LoginVerified {
                account_id,
                status: CompleteStatus::Complete,
                method,
                backup_codes_left: left,
                backup_codes_low: low,
                authenticator_suspended: suspended,
                after_reset_days,
                assertion,
            };
            with_details(body, details)
        }
    }
}

pub(super) fn with_details<T: Serialize>(body: T, details: Details) -> Result<Bytes, Refusal> {
    json(&Success { body, details })
}

fn shown(issued: &Issued) -> Vec<SecretText> {
    let reveal = |code: &BackupCode| SecretText::new(code.reveal());
    issued.codes.iter().map(reveal).collect()
}

/// Returns the codes as a text file, dated with the day (UTC) on which the set was recorded.
fn codes_file(
    issuer: &str,
    account_name: &str,
    set_no: u32,
    issued: Issued,
    details: &Details,
) -> Result<SecretText, Refusal> {
    let lost = || Refusal::new(ErrorCode::Internal);
    let at = details.at.to_string();
    let date = at.split('T').next().unwrap_or_default();
    let codes = issued.codes.try_into().map_err(|_| lost())?;
    let text = backup_code::codes_file(
        issuer,
        account_name,
        set_no,
        &issued.fingerprint,
        date,
        &codes,
    );
    Ok(SecretText::new(text))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
