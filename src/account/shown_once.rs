//! The secret that a reply shows once: taken out to be kept sealed, and put back for a repeat.

use countersign_schemas::code::{BACKUP_CODE_CHARS, Code};
use countersign_schemas::ids::ChallengeId;
use countersign_schemas::sealed::Protected;
use zeroize::Zeroizing;

use super::{Issued, LoginReply, Reply, SecretReply};
use crate::crypto::otp::{SECRET_BYTES, TotpSecret};

impl Reply {
    /// Takes out the secret that the reply shows once: the seed, the codes or the challenge. Until
    /// [`Reply::put_secret`] has put it back, the reply must not be sent.
    pub fn take_secret(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Secret(SecretReply::EnrolmentStarted { secret, .. }) => {
                let taken = Zeroizing::new(secret.as_bytes().to_vec());
                *secret = TotpSecret::new(&[0; SECRET_BYTES]);
                Some(taken)
            }
            Self::Secret(SecretReply::CodeConfirmed { issued, .. })
            | Self::Secret(SecretReply::BackupCodesRegenerated { issued, .. }) => {
                Some(issued.take_codes())
            }
            Self::Login(LoginReply::CodeRequired { challenge_id, .. }) => {
                let taken = Zeroizing::new(challenge_id.reveal().as_bytes().to_vec());
                *challenge_id = ChallengeId::from_random([0; 16]);
                Some(taken)
            }
            _ => None,
        }
    }

    /// Puts back the secret that [`Reply::take_secret`] took; `None` if it is not of this reply.
    pub fn put_secret(&mut self, taken: &[u8]) -> Option<()> {
        match self {
            Self::Secret(SecretReply::EnrolmentStarted { secret, .. }) => {
                *secret = TotpSecret::from_slice(taken)?
            }
            Self::Secret(SecretReply::CodeConfirmed { issued, .. })
            | Self::Secret(SecretReply::BackupCodesRegenerated { issued, .. }) => {
                issued.put_codes(taken)?;
            }
            Self::Login(LoginReply::CodeRequired { challenge_id, .. }) => {
                let text = std::str::from_utf8(taken).ok()?;
                *challenge_id = ChallengeId::parse(text).ok()?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl Issued {
    /// Takes out the codes, and drops the verifiers, which no reply shows.
    fn take_codes(&mut self) -> Zeroizing<Vec<u8>> {
        self.verifiers = Protected::clear(&[]);
        let codes = std::mem::take(&mut self.codes);
        // Allocated at its full size, so that growing leaves no copy of a part behind.
        let mut taken = Zeroizing::new(Vec::with_capacity(codes.len() * BACKUP_CODE_CHARS));
        for code in &codes {
            taken.extend_from_slice(code.canonical());
        }
        taken
    }

    /// Puts the codes back; `None` if the bytes are not codes.
    fn put_codes(&mut self, taken: &[u8]) -> Option<()> {
        let code = |characters: &[u8]| match Code::parse(std::str::from_utf8(characters).ok()?) {
            Ok(Code::Backup(code)) => Some(code),
            Ok(Code::Totp(_)) | Err(_) => None,
        };
        let codes = taken.chunks(BACKUP_CODE_CHARS).map(code);
        self.codes = codes.collect::<Option<_>>()?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use countersign_schemas::code::BackupCode;
    use countersign_schemas::ids::{AccountId, AuthenticatorId};
    use countersign_schemas::time::Micros;

    use super::*;

    fn secret_replies() -> [Reply; 4] {
        let issued = Issued {
            codes: (1..=10)
                .map(|n| BackupCode::from_parts(n, &[n; 9]))
                .collect(),
            verifiers: Protected::clear(b"verifiers"),
            fingerprint: "0a1b2c3d".into(),
        };
        let (display_name, expires_at) = ("ada".to_owned(), Micros(1));
        [
            Reply::Secret(SecretReply::EnrolmentStarted {
                authenticator_id: AuthenticatorId::parse("a").unwrap(),
                secret: TotpSecret::new(&[7; SECRET_BYTES]),
                display_name: display_name.clone(),
                expires_at,
            }),
            Reply::Secret(SecretReply::CodeConfirmed {
                set_no: 1,
                issued: issued.clone(),
                display_name: display_name.clone(),
            }),
            Reply::Secret(SecretReply::BackupCodesRegenerated {
                set_no: 2,
                issued,
                display_name,
                superseded_unused: 3,
            }),
            Reply::Login(LoginReply::CodeRequired {
                account_id: AccountId::parse("ada").unwrap(),
                challenge_id: ChallengeId::from_random([9; 16]),
                methods: Vec::new(),
                expires_at,
            }),
        ]
    }

    /// Returns the secrets that a reply would show.
    fn shown(reply: &Reply) -> Vec<String> {
        match reply {
            Reply::Secret(SecretReply::EnrolmentStarted { secret, .. }) => vec![secret.base32()],
            Reply::Secret(SecretReply::CodeConfirmed { issued, .. })
            | Reply::Secret(SecretReply::BackupCodesRegenerated { issued, .. }) => {
                issued.codes.iter().map(BackupCode::reveal).collect()
            }
            Reply::Login(LoginReply::CodeRequired { challenge_id, .. }) => {
                vec![challenge_id.reveal().to_owned()]
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_that_is_taken_is_gone_and_put_back_it_is_shown_again() {
        for mut reply in secret_replies() {
            assert!(reply.is_secret());
            let before = shown(&reply);
            let taken = reply.take_secret().unwrap();
            let left = shown(&reply);
            assert!(before.iter().all(|word| !left.contains(word)), "{reply:?}");
            reply.put_secret(&taken).unwrap();
            assert_eq!(shown(&reply), before);
        }
    }

    #[test]
    fn a_reply_without_a_secret_has_nothing_to_take() {
        let mut reply = Reply::PasswordChanged;
        assert!(!reply.is_secret() && reply.take_secret().is_none());
        assert!(reply.put_secret(b"anything").is_none());
    }

    #[test]
    fn the_secret_of_another_reply_is_not_put_back() {
        for mut reply in secret_replies() {
            assert!(reply.put_secret(b"neither a seed nor codes!").is_none());
        }
    }
}
