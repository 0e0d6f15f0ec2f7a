//! Earlier forms of payloads, read as the latest: what a log said then, in the words of now.

use super::login;

impl From<login::v1::LoginStarted> for login::v2::LoginStarted {
    /// A start of before named nobody whom its end was bound to.
    fn from(before: login::v1::LoginStarted) -> Self {
        Self {
            challenge: before.challenge,
            expires_at: before.expires_at,
            credential: before.credential,
            audience: None,
        }
    }
}
