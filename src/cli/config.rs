//! The configuration file, in TOML; an unknown key is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use countersign_schemas::record::Role;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::account::Policy;
use crate::bus::{DirectoryConfig, Identity, Publishing};
use crate::engine::BackupFolders;

/// How long the password service may take, in milliseconds.
const DIRECTORY_TIMEOUT_MS: u64 = 2_000;
/// The most replicas that JetStream makes of a stream.
const REPLICAS_MAX: usize = 5;

/// The sections of the file; each has a default.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who checks passwords.
    pub directory: Directory,
    /// The numbers that the rules decide by.
    pub policy: Policy,
    /// Where backups go.
    pub backup: Backup,
    /// Limits of sizes.
    pub limits: Limits,
    /// The service's name, its files, and where it serves health and metrics.
    pub service: Service,
    /// The roles of the broker's accounts.
    pub identity: Accounts,
    /// How to reach the broker.
    pub nats: Nats,
    /// How events reach other services.
    pub publication: Publication,
}

/// `[directory]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Directory {
    /// Who checks the first factor.
    pub mode: DirectoryMode,
    /// The callers that may answer for the first factor; every caller when absent.
    pub vouching: Option<BTreeSet<String>>,
    /// The subject of the password service, in mode `nats`.
    pub subject: Option<String>,
    /// How long it may take, in milliseconds, 1 to 10,000.
    pub timeout_ms: Option<u64>,
}

impl Directory {
    /// The password service, in mode `nats`.
    pub fn asked(&self) -> Option<DirectoryConfig> {
        let subject = self
            .subject
            .clone()
            .filter(|_| self.mode == DirectoryMode::Nats)?;
        let timeout_ms = self.timeout_ms.unwrap_or(DIRECTORY_TIMEOUT_MS);
        Some(DirectoryConfig {
            subject,
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    fn check(&self) -> Result<(), &'static str> {
        let is_nats = self.mode == DirectoryMode::Nats;
        let is_subject = |subject: &String| {
            let is_token = |token: &str| {
                !token.is_empty()
                    && token
                        .bytes()
                        .all(|b| b.is_ascii_graphic() && !b"*>".contains(&b))
            };
            subject.split('.').all(is_token)
        };
        match &self.subject {
            None if is_nats => Err(
                "[directory] mode = \"nats\" needs a subject, on which the password service listens",
            ),
            Some(_) if !is_nats => Err("[directory] subject is only for mode = \"nats\""),
            Some(subject) if !is_subject(subject) => {
                Err("[directory] subject must be one subject without wildcards")
            }
            _ if self
                .timeout_ms
                .is_some_and(|ms| !(1..=10_000).contains(&ms)) =>
            {
                Err("[directory] timeout_ms must be 1 to 10000")
            }
            _ => Ok(()),
        }
    }
}

/// Who checks the first factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryMode {
    /// This service holds the passwords.
    #[default]
    Builtin,
    /// Another service checks it, over NATS; accounts need no registration.
    Nats,
    /// The caller has checked it; accounts need no registration.
    Vouched,
}

/// `[backup]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// The folder that `log backup` copies the log into; without it `log backup` is refused.
    pub folder: Option<PathBuf>,
    /// The folder that it copies the data keys into, apart from the log: on another disk, with
    /// other readers.
    pub keys_folder: Option<PathBuf>,
}

impl Backup {
    /// Both folders, if they are set.
    pub fn folders(&self) -> Option<BackupFolders> {
        Some(BackupFolders {
            log: self.folder.clone()?,
            keys: self.keys_folder.clone()?,
        })
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.folder.is_some() == self.keys_folder.is_some() {
            Ok(())
        } else {
            Err(
                "[backup] needs both folder, for the log, and keys_folder, for the data keys: a copy that holds both is as good to a thief as the service's disk",
            )
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Records after which a segment of the log is sealed.
    pub segment_records: std::num::NonZeroU64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_records: crate::log::LogOptions::default().segment_records,
        }
    }
}

/// `[service]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// The name that authenticator apps and code sheets show, 1 to 64 bytes.
    pub issuer: String,
    /// The data folder.
    pub data: Option<PathBuf>,
    /// The keyring file.
    pub keyring: Option<PathBuf>,
    /// How callers are named.
    pub identity: IdentityMode,
    /// Where the service serves `/livez`, `/readyz` and `/metrics`; nowhere when absent.
    pub http: Option<SocketAddr>,
}

/// How callers are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityMode {
    /// The broker names them
    #[default]
    Verified,
    /// They name themselves: for one machine and for tests
    Dev,
}

/// `[identity]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// The role of each NATS account, for queries; an account that is not named may ask none.
    pub accounts: BTreeMap<String, AccountRole>,
}

/// The role of an account of the broker.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRole {
    /// Platform services.
    Platform,
    /// Support agents.
    Support,
    /// Operators.
    Operator,
    /// Auditors.
    Audit,
}

impl Default for Accounts {
    fn default() -> Self {
        let accounts = [
            ("PLATFORM", AccountRole::Platform),
            ("SUPPORT", AccountRole::Support),
            ("OPERATOR", AccountRole::Operator),
            ("AUDIT", AccountRole::Audit),
        ];
        Self {
            accounts: accounts.map(|(name, role)| (name.to_owned(), role)).into(),
        }
    }
}

impl Accounts {
    /// Verified identity with these accounts.
    pub fn verified(&self) -> Identity {
        let role = |role: &AccountRole| match role {
            AccountRole::Platform => Role::Platform,
            AccountRole::Support => Role::Support,
            AccountRole::Operator => Role::Operator,
            AccountRole::Audit => Role::Audit,
        };
        let accounts = self.accounts.iter();
        Identity::Verified {
            accounts: accounts
                .map(|(name, of)| (name.clone(), role(of)))
                .collect(),
        }
    }
}

/// `[nats]`, with the words of the flags; a password comes from the environment or a credentials
/// file.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Server URLs, separated by commas.
    pub server: Option<String>,
    /// The broker's user.
    pub user: Option<String>,
    /// Credentials file.
    pub creds: Option<PathBuf>,
    /// File with an nkey seed.
    pub nkey: Option<PathBuf>,
    /// Certificates of the authorities to trust.
    pub tlsca: Option<PathBuf>,
    /// The client's certificate.
    pub tlscert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub tlskey: Option<PathBuf>,
    /// Begin with the TLS handshake.
    pub tlsfirst: bool,
    /// Prefix of reply subjects.
    pub inbox_prefix: Option<String>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            issuer: "Countersign".into(),
            data: None,
            keyring: None,
            identity: IdentityMode::default(),
            http: None,
        }
    }
}

/// `[publication]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publication {
    /// Whether events are published to the stream `COUNTERSIGN_EVENTS`.
    pub enabled: bool,
    /// The replicas that the stream is made with and must have at least, 1 to 5.
    pub replicas: usize,
}

impl Default for Publication {
    fn default() -> Self {
        Self {
            enabled: true,
            replicas: Publishing::default().replicas,
        }
    }
}

impl Config {
    /// Reads the file, or returns the defaults if none is named.
    ///
    /// # Errors
    /// [`Fault::Failed`] with the line that is wrong.
    pub fn read(path: Option<&Path>) -> Result<Self, Fault> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let wrong = |why: String| {
            Fault::Failed(format!(
                "the configuration {} is not valid: {why}",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let config: Self = toml::from_str(&text).map_err(|error| wrong(one_line(&text, &error)))?;
        config
            .policy
            .check()
            .map_err(|error| wrong(error.to_string()))?;
        config.directory.check().map_err(|why| wrong(why.into()))?;
        config.backup.check().map_err(|why| wrong(why.into()))?;
        if config.service.issuer.is_empty() || config.service.issuer.len() > 64 {
            return Err(wrong("[service] issuer must be 1 to 64 bytes".into()));
        }
        if !(1..=REPLICAS_MAX).contains(&config.publication.replicas) {
            return Err(wrong(format!(
                "[publication] replicas must be 1 to {REPLICAS_MAX}"
            )));
        }
        Ok(config)
    }
}

/// What is wrong and where, on one line; toml's own message has several lines.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', ", ");
    format!("line {line}: {}; correct or remove it", nearest(&message))
}

/// The message of serde about an unknown word, with the nearest known word in place of all of them.
fn nearest(message: &str) -> String {
    let Some((said, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let unknown = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|start| said.strip_prefix(start)?.strip_suffix('`'));
    let known = expected.split('`').skip(1).step_by(2);
    let likeness = |word: &&str| strsim::jaro_winkler(word, unknown.unwrap_or_default());
    match known.max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(word) if unknown.is_some() => format!("{said}, the nearest known one is `{word}`"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_that_are_named_by_default_are_those_of_the_bus() {
        assert_eq!(Accounts::default().verified(), Identity::default());
    }

    #[test]
    fn an_unknown_word_is_reported_with_the_nearest_known_one() {
        for (text, unknown, known) in [
            ("[polcy]", "polcy", "policy"),
            ("[policy]\nwindow_stepz = 1", "window_stepz", "window_steps"),
            ("[directory]\nmode = \"vouch\"", "vouch", "vouched"),
            ("[backup]\nfolders = \"x\"", "folders", "folder"),
            ("[nats]\nurl = \"x\"", "url", "user"),
            (
                "[identity]\naccounts = { AUDIT = \"auditor\" }",
                "auditor",
                "audit",
            ),
        ] {
            let error = toml::from_str::<Config>(text).err();
            let said = error.map_or_else(String::new, |error| one_line(text, &error));
            let words = format!("`{unknown}`, the nearest known one is `{known}`");
            let other = format!("unknown field `{unknown}`, expected `{known}`");
            assert!(said.contains(&words) || said.contains(&other), "{said}");
        }
    }
}
