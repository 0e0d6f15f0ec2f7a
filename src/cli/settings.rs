//! The service's settings: a flag wins over the environment, the environment over the file, the
//! file over the default.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::client::ClientArgs;
use super::config::{Config, IdentityMode};
use super::fault::Fault;
use crate::bus::DEFAULT_SERVER;

/// The settings that flags and the environment can give too.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArgs {
    /// The data folder
    #[arg(long, env = "COUNTERSIGN_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The keyring file
    #[arg(long, env = "COUNTERSIGN_KEYRING", value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// The configuration file (TOML); flags and environment win over it
    #[arg(long, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How callers are named [default: verified]
    #[arg(long, env = "COUNTERSIGN_IDENTITY")]
    pub identity: Option<IdentityMode>,
    /// Where the service listens for /livez, /readyz and /metrics, for example 127.0.0.1:9464
    /// [default: nowhere]
    #[arg(long, env = "COUNTERSIGN_HTTP", value_name = "ADDR")]
    pub http: Option<SocketAddr>,
}

/// The settings in force: the file, overridden by flags and environment.
///
/// # Errors
/// As [`Config::read`].
pub fn effective(args: &SettingsArgs, client: &ClientArgs) -> Result<Config, Fault> {
    let mut config = Config::read(args.config.as_deref())?;
    let service = &mut config.service;
    put(&mut service.data, &args.data);
    put(&mut service.keyring, &args.keyring);
    put(&mut service.http, &args.http);
    service.identity = args.identity.unwrap_or(service.identity);
    let nats = &mut config.nats;
    if client.context.is_some() {
        // A context replaces the whole section.
        *nats = Default::default();
    }
    put(&mut nats.server, &client.server);
    put(&mut nats.user, &client.user);
    put(&mut nats.creds, &client.creds);
    put(&mut nats.nkey, &client.nkey);
    put(&mut nats.tlsca, &client.tlsca);
    put(&mut nats.tlscert, &client.tlscert);
    put(&mut nats.tlskey, &client.tlskey);
    nats.tlsfirst |= client.tlsfirst;
    put(&mut nats.inbox_prefix, &client.inbox_prefix);
    if client.context.is_none() {
        nats.server.get_or_insert_with(|| DEFAULT_SERVER.into());
    }
    Ok(config)
}

fn put<T: Clone>(setting: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        setting.clone_from(given);
    }
}

impl Config {
    /// The data folder.
    ///
    /// # Errors
    /// [`Fault::Usage`] if none is named.
    pub fn data(&self) -> Result<PathBuf, Fault> {
        named(
            &self.service.data,
            "data folder",
            "data",
            "COUNTERSIGN_DATA",
        )
    }

    /// The keyring file.
    ///
    /// # Errors
    /// [`Fault::Usage`] if none is named.
    pub fn keyring(&self) -> Result<PathBuf, Fault> {
        let variable = "COUNTERSIGN_KEYRING";
        named(&self.service.keyring, "keyring file", "keyring", variable)
    }

    /// The client's arguments, completed from the file.
    pub fn client(&self, client: &ClientArgs) -> ClientArgs {
        let nats = self.nats.clone();
        ClientArgs {
            server: nats.server,
            user: nats.user,
            creds: nats.creds,
            nkey: nats.nkey,
            tlsca: nats.tlsca,
            tlscert: nats.tlscert,
            tlskey: nats.tlskey,
            tlsfirst: nats.tlsfirst,
            inbox_prefix: nats.inbox_prefix,
            ..client.clone()
        }
    }
}

fn named(
    setting: &Option<PathBuf>,
    what: &str,
    name: &str,
    variable: &str,
) -> Result<PathBuf, Fault> {
    setting.clone().ok_or_else(|| {
        Fault::Usage(format!(
            "no {what} is named: use --{name}, {variable}, or {name} in [service] of the configuration"
        ))
    })
}
