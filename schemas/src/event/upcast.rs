//! Earlier forms of payloads, converted to the latest form.

use super::login;

impl From<login::v1::LoginStarted> for login::v2::LoginStarted {
    /// The earlier form of a login start has no audience.
    fn from(before: login::v1::LoginStarted) -> Self {
        Self {
            challenge: before.challenge,
            expires_at: before.expires_at,
            credential: before.credential,
            audience: None,
        }
    }
}
