//! Why there is no connection to the broker, and what to do.

use std::path::PathBuf;

use super::connection::OLDEST_SERVER;
use super::greeting::{MAX_PAYLOAD_LEAST, MAX_PAYLOAD_MOST};

/// Says why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// An address is no NATS URL.
    #[error("the server address is not a NATS URL; write nats://HOST:PORT or tls://HOST:PORT")]
    Address,
    /// A file of credentials or certificates cannot be read or understood.
    #[error("cannot use the {what} {}: {reason}; check the path and the file", path.display())]
    File {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why not; never the file's content.
        reason: String,
    },
    /// A certificate without its key, or the other way round.
    #[error(
        "a certificate of ours and its key go together; give both --tlscert (NATS_CERT) and --tlskey (NATS_KEY), or neither"
    )]
    HalfACertificate,
    /// The broker refuses the credentials.
    #[error(
        "the NATS server refuses the credentials; check --user and --password (NATS_USER, NATS_PASSWORD, or both in the URL), --creds (NATS_CREDS) or --nkey (NATS_NKEY)"
    )]
    Credentials,
    /// The broker's certificate or ours is not accepted.
    #[error(
        "no TLS connection to the NATS server: {reason}; {}",
        tls_advice(reason)
    )]
    Tls {
        /// What the TLS library says.
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
        /// What was tried.
        reason: String,
    },
    /// The broker is too old.
    #[error("the NATS server is version {version}, and {}.{}.{} is the oldest that will do, since earlier ones let callers be forged; upgrade it", OLDEST_SERVER.0, OLDEST_SERVER.1, OLDEST_SERVER.2)]
    TooOld {
        /// Its version.
        version: String,
    },
    /// The broker does not carry our largest reply.
    #[error(
        "the NATS server carries {bytes} bytes a message, and the largest reply has {MAX_PAYLOAD_LEAST}, so something that is done could not be answered; set max_payload: {MAX_PAYLOAD_MOST} in its configuration"
    )]
    PayloadTooSmall {
        /// Its `max_payload`.
        bytes: usize,
    },
    /// The broker lets larger messages reach us than the service's memory is bounded for.
    #[error(
        "the NATS server carries {bytes} bytes a message, and verified identity asks for {MAX_PAYLOAD_MOST} at most; set max_payload: {MAX_PAYLOAD_MOST} in its configuration, as docker/nats.conf does"
    )]
    PayloadTooLarge {
        /// Its `max_payload`.
        bytes: usize,
    },
    /// A client of the broker can claim to be any user.
    #[error(
        "the NATS server knows no nkey, so it believes a client that calls itself one and names it as the user; add a user with an nkey to its configuration, which nobody has to use, as docker/nats.conf does (NOBODY), or run with --identity dev"
    )]
    UnprovenUsers,
}

impl ConnectionError {
    /// Whether waiting cannot help.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Away { .. })
    }
}

/// A server that waits for the handshake looks like one that says nothing.
fn greeting_advice(servers: &str) -> &'static str {
    match servers.contains("tls://") {
        true => ", or with --tlsfirst where it has handshake_first",
        false => "",
    }
}

/// What to do, by the words of rustls, which are all that async-nats lets through.
fn tls_advice(reason: &str) -> &'static str {
    const ADVICE: [(&str, &str); 3] = [
        (
            "peer certificate",
            "name the authority of its certificate with --tlsca (NATS_CA), and the host as the certificate does",
        ),
        (
            "fatal alert",
            "it does not take our certificate: check --tlscert (NATS_CERT) and --tlskey (NATS_KEY)",
        ),
        (
            "corrupt message",
            "it speaks no TLS at that address: turn it on there, or write nats://",
        ),
    ];
    ADVICE
        .iter()
        .find(|(words, _)| reason.contains(words))
        .map_or("check --tlsca, --tlscert and --tlskey", |(_, advice)| {
            advice
        })
}
