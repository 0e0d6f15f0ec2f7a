//! Assertions: signed statements about a completed login, to be shown to another service.
//!
//! A compact JWS (RFC 7515) with EdDSA (RFC 8037). The service only signs, with one fixed
//! algorithm, and parses no token. The signature is deterministic (RFC 8032 §5.1.6): the same login
//! gives the same assertion.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::seal::KEY_BYTES;

/// How long an assertion is valid, in seconds.
pub const ASSERTION_TTL_S: u64 = 60;

/// The claims of an assertion (RFC 7519 §4.1, RFC 8176, OpenID Connect Core §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims<'a> {
    /// The issuer.
    pub iss: &'a str,
    /// The account's id.
    pub sub: &'a str,
    /// The audience: the service that may accept the assertion.
    pub aud: &'a str,
    /// The caller that completed the login.
    pub azp: &'a str,
    /// When the assertion was made, in Unix seconds.
    pub iat: u64,
    /// When it expires, in Unix seconds.
    pub exp: u64,
    /// The assertion's id: one for each login.
    pub jti: &'a str,
    /// How the owner was authenticated: `pwd`, `otp`.
    pub amr: &'a [&'a str],
    /// When the owner was authenticated, in Unix seconds.
    pub auth_time: u64,
    /// The position of the login in the log.
    pub position: u64,
}

/// A key that signs assertions.
pub struct AssertionKey {
    key: SigningKey,
    kid: String,
    x: String,
}

impl AssertionKey {
    /// Makes the key from its seed (RFC 8032 §5.1.5); the key's id is its thumbprint (RFC 7638).
    pub fn new(seed: &[u8; KEY_BYTES]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let x = BASE64URL_NOPAD.encode(key.verifying_key().as_bytes());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Self {
            key,
            kid: BASE64URL_NOPAD.encode(&Sha256::digest(canonical)),
            x,
        }
    }

    /// Returns the key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the public half, in base64url without padding.
    pub fn x(&self) -> &str {
        &self.x
    }

    /// Signs claims and returns the compact JWS.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"JWT"}}"#, self.kid);
        let claims = serde_json::to_vec(claims).expect("claims have string keys only");
        self.sign_parts(header.as_bytes(), &claims)
    }

    fn sign_parts(&self, header: &[u8], payload: &[u8]) -> String {
        let [header, payload] = [header, payload].map(|part| BASE64URL_NOPAD.encode(part));
        let input = format!("{header}.{payload}");
        let signature = self.key.sign(input.as_bytes());
        format!("{input}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()))
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 Appendix A.
    #[test]
    fn the_example_of_the_specification_comes_out() {
        let seed = BASE64URL_NOPAD
            .decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let key = AssertionKey::new(&seed.try_into().unwrap());
        assert_eq!(key.x(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signed = key.sign_parts(br#"{"alg":"EdDSA"}"#, b"Example of Ed25519 signing");
        assert_eq!(
            signed,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
             hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn the_key_does_not_show_in_debug() {
        let shown = format!("{:?}", AssertionKey::new(&[7; KEY_BYTES]));
        assert!(shown.contains("kid") && !shown.contains("7, 7"), "{shown}");
    }
}
