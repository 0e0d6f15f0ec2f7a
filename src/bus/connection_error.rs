//! Why there is no connection to the broker, and what to do about it.

use std::path::PathBuf;

use super::connection::OLDEST_SERVER;
use super::greeting::{MAX_PAYLOAD_LEAST, MAX_PAYLOAD_MOST};

/// The reasons why there is no connection to the broker.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// An address is not a NATS URL.
    #[error("the server address is not a NATS URL; write nats://HOST:PORT or tls://HOST:PORT")]
    Address,
    /// A file of credentials or certificates cannot be read or understood.
    #[error("cannot use the {what} {}: {reason}; check the path and the file", path.display())]
    File {
        /// What the file holds.
        what: &'static str,
        /// The file's path.
        path: PathBuf,
        /// Why it cannot be used; never the file's content.
        reason: String,
    },
    /// A certificate is given without its key, or the key without its certificate.
    #[error(
        "a client certificate and its key belong together: give both --tlscert (NATS_CERT) and --tlskey (NATS_KEY), or neither"
    )]
    HalfACertificate,
    /// The broker refuses the credentials.
    #[error(
        "the NATS server refuses the credentials; check --user and --password (NATS_USER, NATS_PASSWORD, or both in the URL), --creds (NATS_CREDS) or --nkey (NATS_NKEY)"
    )]
    Credentials,
    /// The broker's certificate or the client's is not accepted.
    #[error(
        "no TLS connection to the NATS server: {reason}; {}",
        tls_advice(reason)
    )]
    Tls {
        /// The error of the TLS library.
        reason: String,
    },
    /// The broker does not answer.
    #[error(
        "no NATS server answers at {servers}: {reason}; start one or name another with --server{}",
        greeting_advice(servers)
    )]
    Away {
        /// The addresses, without credentials.
        servers: String,
        /// How the attempt failed.
        reason: String,
    },
    /// The broker's version is older than the oldest supported one.
    #[error("the NATS server is version {version}, and {}.{}.{} is the oldest supported one, since older ones let callers be forged; upgrade it", OLDEST_SERVER.0, OLDEST_SERVER.1, OLDEST_SERVER.2)]
    TooOld {
        /// The broker's version.
        version: String,
    },
    /// The broker does not carry the service's largest reply.
    #[error(
        "the NATS server carries {bytes} bytes a message, but the largest reply has {MAX_PAYLOAD_LEAST}, so a command could be executed and not answered; set max_payload: {MAX_PAYLOAD_MOST} in its configuration"
    )]
    PayloadTooSmall {
        /// The broker's `max_payload`, in bytes.
        bytes: usize,
    },
    /// The broker delivers larger messages than the service's memory bounds allow for.
    #[error(
        "the NATS server carries {bytes} bytes a message, but verified identity allows {MAX_PAYLOAD_MOST} at most; set max_payload: {MAX_PAYLOAD_MOST} in its configuration, as docker/nats.conf does"
    )]
    PayloadTooLarge {
        /// The broker's `max_payload`, in bytes.
        bytes: usize,
    },
    /// A client of the broker can claim to be any user.
    #[error(
        "the NATS server has no user with an nkey, so a client can claim any nkey as its user without proof; add a user with an nkey to its configuration, which no client needs to use, as docker/nats.conf does (NOBODY), or run with --identity dev"
    )]
    UnprovenUsers,
}

impl ConnectionError {
    /// Returns whether waiting cannot help.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Away { .. })
    }
}

/// Returns advice for a server that says nothing: it may wait for the TLS handshake first.
fn greeting_advice(servers: &str) -> &'static str {
    if servers.contains("tls://") {
        ", or add --tlsfirst if it has handshake_first"
    } else {
        ""
    }
}

/// Returns what to do, judged by the text of rustls's error, which is all that async-nats passes
/// on.
fn tls_advice(reason: &str) -> &'static str {
    const ADVICE: [(&str, &str); 3] = [
        (
            "peer certificate",
            "give the authority of its certificate with --tlsca (NATS_CA), and the host as the certificate names it",
        ),
        (
            "fatal alert",
            "it does not accept the client certificate: check --tlscert (NATS_CERT) and --tlskey (NATS_KEY)",
        ),
        (
            "corrupt message",
            "it does not use TLS at that address: turn TLS on there, or write nats://",
        ),
    ];
    ADVICE
        .iter()
        .find(|(words, _)| reason.contains(words))
        .map_or("check --tlsca, --tlscert and --tlskey", |(_, advice)| {
            advice
        })
}
