//! Assertions: what a completed login may be shown to another service as, signed.
//!
//! A compact JWS (RFC 7515) with EdDSA (RFC 8037). We only sign, with one fixed algorithm, so
//! nothing of another's is parsed here. The signature is deterministic (RFC 8032 §5.1.6): the same
//! login gives the same assertion.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::seal::KEY_BYTES;

/// How long an assertion is good for, in seconds.
pub const ASSERTION_TTL_S: u64 = 60;

/// What an assertion claims (RFC 7519 §4.1, RFC 8176, OpenID Connect Core §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims<'a> {
    /// Who says it.
    pub iss: &'a str,
    /// The account.
    pub sub: &'a str,
    /// Whom it is for.
    pub aud: &'a str,
    /// Who asked for it: the caller that completed the login.
    pub azp: &'a str,
    /// When it was made, in seconds.
    pub iat: u64,
    /// From when on it is worthless, in seconds.
    pub exp: u64,
    /// Its own id: one for each login.
    pub jti: &'a str,
    /// How the owner was proven: `pwd`, `otp`.
    pub amr: &'a [&'a str],
    /// When the owner was proven, in seconds.
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
    /// Makes the key from its seed (RFC 8032 §5.1.5); its id is its thumbprint (RFC 7638).
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

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, in base64url without padding.
    pub fn x(&self) -> &str {
        &self.x
    }

    /// Signs claims.
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
