//! How service and clients reach the broker: addresses, credentials, TLS, the inbox, and the oldest
//! supported server.
//!
//! async-nats ignores `user:pass@` in a URL and writes URLs to its debug log, so this module
//! removes both from the address before async-nats sees it.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, InboundLimits, ServerAddr,
};
use countersign_schemas::secret::SecretText;
use nkeys::KeyPair;
use tokio::sync::mpsc;

use super::connection_error::ConnectionError;
use super::header_block::{self, HEADER_BYTES_MAX};
use super::router::PAYLOAD_BYTES_MAX;

/// The oldest nats-server that is supported; older ones let a caller forge `Nats-Request-Info`
/// (CVE-2026-33223, CVE-2026-33246).
pub const OLDEST_SERVER: (u32, u32, u32) = (2, 12, 6);

/// The server that a client connects to by default.
pub const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

/// The service's first and longest wait between two attempts; each wait is twice the previous one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(4);

const CREDS: &str = "credentials file";
const NKEY: &str = "nkey file";
const CERTIFICATE: &str = "CERTIFICATE-----";
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// The most messages of one subscription; above that it is a slow consumer, which is an alarm.
const SUBSCRIPTION_MESSAGES_MAX: usize = 16_384;
// BUG: flood-memory: all subscriptions at their limit are about 300 MiB.
/// The most memory of one subscription, in bytes; above that it is a slow consumer too.
const SUBSCRIPTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The service's limits: larger messages are skipped unread and arrive without their bytes. Clients
/// read long replies, so they have no such limits.
const SERVICE: InboundLimits = InboundLimits {
    header_bytes_max: HEADER_BYTES_MAX,
    payload_bytes_max: PAYLOAD_BYTES_MAX,
    queued_bytes_max: SUBSCRIPTION_BYTES_MAX,
};

/// The settings that it takes to reach the broker; `Debug` shows no credential.
#[derive(Clone)]
pub struct Connection {
    /// One URL, or several separated by commas; `user:password@` in one of them is used.
    pub servers: String,
    /// The user; it overrides the one in a URL.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretText>,
    /// A credentials file (JWT and seed).
    pub creds: Option<PathBuf>,
    /// A file with an nkey seed.
    pub nkey: Option<PathBuf>,
    /// A file with the certificates of the authorities to trust (PEM).
    pub tls_ca: Option<PathBuf>,
    /// The client certificate (PEM), with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// The key of the client certificate (PEM), with `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// Whether the TLS handshake comes before the greeting (the server's `handshake_first`).
    pub tls_first: bool,
    /// The prefix of reply subjects; `_INBOX.<user>` when absent and the user is known.
    pub inbox_prefix: Option<String>,
    /// The name that the broker's monitoring shows.
    pub name: String,
    /// How long a connection attempt and a request may take.
    pub timeout: Duration,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            servers: DEFAULT_SERVER.into(),
            user: None,
            password: None,
            creds: None,
            nkey: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_first: false,
            inbox_prefix: None,
            name: "countersign".into(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects once. The connection's events go to `events`, if it is given, and are dropped while
    /// it is full.
    ///
    /// # Errors
    /// Every [`ConnectionError`]; only [`ConnectionError::Away`] can pass by waiting.
    pub async fn connect(
        &self,
        events: Option<mpsc::Sender<Event>>,
    ) -> Result<Client, ConnectionError> {
        self.connect_within(InboundLimits::default(), events).await
    }

    async fn connect_within(
        &self,
        limits: InboundLimits,
        events: Option<mpsc::Sender<Event>>,
    ) -> Result<Client, ConnectionError> {
        let (addresses, options) = self.options()?;
        let mut options = options.inbound_limits(limits);
        // The service must not receive its own messages, see `presence`.
        if limits == SERVICE {
            options = options.no_echo();
        }
        if let Some(events) = events {
            options = options.event_callback(move |event| {
                let events = events.clone();
                async move {
                    let _ = events.try_send(event);
                }
            });
        }
        let servers = shown(&addresses);
        // Boxed, since it is large and part of every command's future.
        let connecting = Box::pin(options.connect(addresses));
        let client = connecting.await.map_err(|error| {
            let reason = error.to_string();
            match error.kind() {
                _ if breaks_tls(&error) => ConnectionError::Tls { reason },
                ConnectErrorKind::ServerParse => ConnectionError::Address,
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    ConnectionError::Credentials
                }
                ConnectErrorKind::Tls => ConnectionError::Tls { reason },
                ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => ConnectionError::Away { servers, reason },
            }
        })?;
        check_version(&client.server_info().version)?;
        Ok(client)
    }

    /// Connects at the service's start: waits for a broker that is away, with one log line for each
    /// attempt and waits that double up to 4 s.
    ///
    /// # Errors
    /// The errors that waiting cannot cure ([`ConnectionError::is_permanent`]).
    pub(super) async fn connect_patiently(
        &self,
        events: &mpsc::Sender<Event>,
    ) -> Result<Client, ConnectionError> {
        let mut wait = RETRY_FIRST;
        loop {
            match self.connect_within(SERVICE, Some(events.clone())).await {
                Ok(client) => return Ok(client),
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => tracing::warn!(retry_in_ms = wait.as_millis() as u64, "{error}"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Connects again after the service was up. It must not go down because a broker is
    /// misconfigured for a while, so it waits out every error.
    pub(super) async fn connect_again(&self, events: &mpsc::Sender<Event>) -> Client {
        loop {
            // The wait comes first, so that a client which ends at once does not cause a busy loop.
            tokio::time::sleep(RETRY_FIRST).await;
            match self.connect_patiently(events).await {
                Ok(client) => return client,
                Err(error) => tracing::error!("{error}"),
            }
            tokio::time::sleep(RETRY_MAX).await;
        }
    }

    /// Returns the user name that the broker will use for this client, if it is known: the key of
    /// an nkey or credentials file, else the name. The subjects of support agents and operators
    /// carry it.
    ///
    /// # Errors
    /// [`ConnectionError::Address`] if an address is not a NATS URL, and [`ConnectionError::File`]
    /// if a credentials or nkey file cannot be read.
    pub fn broker_user(&self) -> Result<Option<String>, ConnectionError> {
        if let Some(path) = &self.nkey {
            let (_, key) = seed(NKEY, path)?;
            return Ok(Some(key.public_key()));
        }
        let (_, in_url) = addresses(&self.servers)?;
        let named = self.user.clone().or(in_url.map(|(user, _)| user));
        match (&self.creds, named) {
            (Some(path), None) => Ok(Some(seed(CREDS, path)?.1.public_key())),
            (_, named) => Ok(named),
        }
    }

    /// Returns the addresses without credentials, and the options that hold the credentials.
    fn options(&self) -> Result<(Vec<ServerAddr>, ConnectOptions), ConnectionError> {
        let (addresses, in_url) = addresses(&self.servers)?;
        let (user, password) = match (&self.user, in_url) {
            (None, Some((user, password))) => (Some(user), Some(password)),
            (user, _) => (user.clone(), self.password.clone()),
        };
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
            .header_parser(header_block::parse);
        if let Some(prefix) = self
            .inbox_prefix
            .clone()
            .or_else(|| inbox_of(user.as_deref()))
        {
            options = options.custom_inbox_prefix(prefix);
        }
        if let Some(user) = user {
            let password = password.map_or_else(String::new, |p| p.reveal().to_owned());
            options = options.user_and_password(user, password);
        }
        if let Some(path) = &self.creds {
            let text = read(CREDS, path)?;
            options = options
                .credentials(&text)
                .map_err(|_| unusable(CREDS, path, "it holds no JWT and seed"))?;
        }
        if let Some(path) = &self.nkey {
            options = options.nkey(seed(NKEY, path)?.0);
        }
        if let Some(ca) = &self.tls_ca {
            holds("file of authorities", ca, CERTIFICATE)?;
            options = options.add_root_certificates(ca.clone());
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                holds("certificate", cert, CERTIFICATE)?;
                holds("certificate's key", key, PRIVATE_KEY)?;
                options = options.add_client_certificate(cert.clone(), key.clone());
            }
            (None, None) => {}
            _ => return Err(ConnectionError::HalfACertificate),
        }
        if self.tls_first {
            options = options.tls_first();
        }
        Ok((addresses, options))
    }
}

/// Checks that a server's version is at least [`OLDEST_SERVER`].
///
/// # Errors
/// [`ConnectionError::TooOld`], also if the version cannot be read.
pub fn check_version(version: &str) -> Result<(), ConnectionError> {
    let mut numbers = version
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    if (next(), next(), next()) < OLDEST_SERVER {
        return Err(ConnectionError::TooOld {
            version: version.into(),
        });
    }
    Ok(())
}

/// Returns whether a connection broke because of TLS. async-nats reports this as an IO error, like
/// a broker that is away; rustls's own errors have this kind.
fn breaks_tls(error: &ConnectError) -> bool {
    std::iter::successors(error.source(), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::InvalidData)
}

fn read(what: &'static str, path: &Path) -> Result<String, ConnectionError> {
    fs::read_to_string(path).map_err(|error| unusable(what, path, &error.to_string()))
}

/// Reads a user's seed from a file, and its key.
fn seed(what: &'static str, path: &Path) -> Result<(String, KeyPair), ConnectionError> {
    let text = read(what, path)?;
    let mut lines = text.lines().map(str::trim);
    let seed = lines.find(|line| line.starts_with("SU"));
    seed.and_then(|seed| Some((seed.to_owned(), KeyPair::from_seed(seed).ok()?)))
        .ok_or_else(|| unusable(what, path, "it holds no user seed (SU…)"))
}

/// Checks that a file contains such a PEM block: async-nats does not name a file that it cannot
/// read, and ignores a file of authorities without one.
fn holds(what: &'static str, path: &Path, block: &str) -> Result<(), ConnectionError> {
    if read(what, path)?.contains(block) {
        Ok(())
    } else {
        let reason = format!("it has no line -----BEGIN {block}");
        Err(unusable(what, path, &reason))
    }
}

fn unusable(what: &'static str, path: &Path, reason: &str) -> ConnectionError {
    ConnectionError::File {
        what,
        path: path.into(),
        reason: reason.into(),
    }
}

type Credentials = (String, SecretText);

/// Parses the addresses, and removes the first user and password from them.
fn addresses(servers: &str) -> Result<(Vec<ServerAddr>, Option<Credentials>), ConnectionError> {
    let mut found = None;
    let mut addresses = Vec::new();
    for text in servers
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let address: ServerAddr = text.parse().map_err(|_| ConnectionError::Address)?;
        if let Some(user) = address.username() {
            let password = percent_decoded(address.password().unwrap_or_default());
            found.get_or_insert((percent_decoded(user), SecretText::new(password)));
        }
        let mut url = address.into_inner();
        url.set_username("")
            .map_err(|()| ConnectionError::Address)?;
        url.set_password(None)
            .map_err(|()| ConnectionError::Address)?;
        addresses.push(ServerAddr::from_url(url).map_err(|_| ConnectionError::Address)?);
    }
    if addresses.is_empty() {
        return Err(ConnectionError::Address);
    }
    Ok((addresses, found))
}

fn shown(addresses: &[ServerAddr]) -> String {
    let urls: Vec<_> = addresses.iter().map(ServerAddr::as_url_str).collect();
    urls.join(", ")
}

/// Returns the inbox of a user; `None` if the name cannot be part of a subject (NATS ADR-6).
fn inbox_of(user: Option<&str>) -> Option<String> {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"*>".contains(&b))
    };
    user.filter(|user| user.split('.').all(is_token))
        .map(|user| format!("_INBOX.{user}"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| *first == b'%');
        let decoded = hex.and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex).ok());
        match decoded {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
