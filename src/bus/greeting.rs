//! What a broker's greeting shows: whether it carries the service's largest reply, how large a
//! message it delivers, and whether a client has to prove the user that it claims to be.

use async_nats::ServerInfo;

use super::connection_error::ConnectionError;
use super::identity::Identity;

/// The size of the service's largest reply, in bytes: 512 KiB of records in base64, their frame and
/// the headers. The service is not ready on a broker that carries less: a command could be executed
/// and then answered as refused.
pub const MAX_PAYLOAD_LEAST: usize = 768 * 1024;
/// The largest `max_payload` of a broker, in bytes, for which the cost of one message is known; it
/// is nats-server's own default.
pub const MAX_PAYLOAD_MOST: usize = 1024 * 1024;

/// Checks a broker before the service is ready on it. In `dev` identity, a fault that only an
/// attacker could use is logged and allowed.
///
/// # Errors
/// [`ConnectionError::PayloadTooSmall`]; in verified identity also
/// [`ConnectionError::PayloadTooLarge`] and [`ConnectionError::UnprovenUsers`].
pub fn check(info: &ServerInfo, identity: &Identity) -> Result<(), ConnectionError> {
    let bytes = info.max_payload;
    if bytes < MAX_PAYLOAD_LEAST {
        return Err(ConnectionError::PayloadTooSmall { bytes });
    }
    let wrong = wrong(info);
    match (identity, wrong) {
        (Identity::Verified { .. }, Some(error)) => Err(error),
        (Identity::Dev, Some(error @ ConnectionError::PayloadTooLarge { .. })) => {
            tracing::warn!("{error}");
            Ok(())
        }
        _ => Ok(()),
    }
}

fn wrong(info: &ServerInfo) -> Option<ConnectionError> {
    if info.max_payload > MAX_PAYLOAD_MOST {
        let bytes = info.max_payload;
        return Some(ConnectionError::PayloadTooLarge { bytes });
    }
    // nats-server takes whatever nkey a client claims as the user, proven or not. It demands the
    // proof, and sends the nonce for it, only if its configuration has a user with an nkey.
    info.nonce
        .is_empty()
        .then_some(ConnectionError::UnprovenUsers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(max_payload: usize, nonce: &str) -> ServerInfo {
        ServerInfo {
            max_payload,
            nonce: nonce.into(),
            ..ServerInfo::default()
        }
    }

    #[test]
    fn a_broker_that_lets_more_reach_us_or_proves_no_user_is_for_dev_identity_only() {
        let verified = Identity::default();
        let right = info(MAX_PAYLOAD_MOST, "n");
        check(&right, &verified).unwrap();
        check(&info(MAX_PAYLOAD_LEAST, "n"), &verified).unwrap();
        for (wrong, words) in [
            (info(MAX_PAYLOAD_MOST + 1, "n"), "max_payload"),
            (info(MAX_PAYLOAD_MOST, ""), "nkey"),
        ] {
            let error = check(&wrong, &verified).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            check(&wrong, &Identity::Dev).unwrap();
        }
    }

    #[test]
    fn a_broker_that_cannot_carry_the_largest_reply_is_for_no_identity() {
        for identity in [Identity::default(), Identity::Dev] {
            for bytes in [1, 8 * 1024, MAX_PAYLOAD_LEAST - 1] {
                let error = check(&info(bytes, "n"), &identity).unwrap_err();
                assert!(
                    error.to_string().contains("max_payload: 1048576"),
                    "{error}"
                );
            }
        }
    }
}
