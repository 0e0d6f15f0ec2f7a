//! `serve`: runs the service.

use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::client::ClientArgs;
use super::config::{Config, DirectoryMode, IdentityMode};
use super::fault::Fault;
use super::input;
use super::settings::{SettingsArgs, effective};
use crate::bus::{self, BusConfig, Identity, Publishing};
use crate::engine::{self, Engine, EngineOptions, PasswordsBy};
use crate::http::{self, Watched};
use crate::log::LogOptions;

/// The least memory of an Argon2id that a service with verified callers accepts, KiB (OWASP).
const KDF_MEMORY_KIB_MIN: u32 = 19_456;

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Create data folder and keyring if neither exists
    #[arg(long)]
    init: bool,
    /// Accept a wall clock that is behind the log; recorded with the reason
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    accept_clock_back: Option<String>,
}

pub async fn run(args: ServeArgs, client: &ClientArgs) -> Result<(), Fault> {
    start_logging();
    let mut signals = Signals::new()?;
    let config = effective(&args.settings, client)?;
    let (data, keyring) = (config.data()?, config.keyring()?);
    let identity = config.service.identity;
    if identity == IdentityMode::Verified && config.policy.kdf_memory_kib < KDF_MEMORY_KIB_MIN {
        return Err(Fault::Failed(format!(
            "[policy] kdf_memory_kib is below {KDF_MEMORY_KIB_MIN}, which is for tests: raise it, or run with --identity dev"
        )));
    }
    if args.init && !data.exists() && !keyring.exists() {
        let now = engine::wall_clock();
        engine::init(&data, &keyring, now, log_options(&config)).map_err(Fault::failed)?;
        tracing::info!("a new log and its keyring were created");
    }
    let http = listen(config.service.http).await?;
    let bus = BusConfig {
        connection: config.client(client).connection("countersign")?,
        identity: match identity {
            IdentityMode::Verified => config.identity.verified(),
            IdentityMode::Dev => {
                tracing::warn!(
                    "--identity dev: every caller is trusted; never use this in production"
                );
                Identity::Dev
            }
        },
        issuer: config.service.issuer.clone(),
        directory: config.directory.asked(),
        publishing: config.publication.enabled.then_some(Publishing {
            replicas: config.publication.replicas,
            ..Publishing::default()
        }),
        ..BusConfig::default()
    };
    let options = EngineOptions {
        policy: config.policy.clone(),
        passwords_by: match config.directory.mode {
            DirectoryMode::Builtin => PasswordsBy::Countersign,
            DirectoryMode::Nats => PasswordsBy::PasswordService,
            DirectoryMode::Vouched => PasswordsBy::Caller,
        },
        vouching: config.directory.vouching.clone(),
        accept_clock_back: args.accept_clock_back,
        log: log_options(&config),
        backup: config.backup.folders(),
        ..EngineOptions::new(data, keyring)
    };
    let starting = tokio::task::spawn_blocking(move || Engine::start(options));
    let started = tokio::select! {
        started = starting => started,
        // This ends the start in the middle, like a crash; the next start recovers.
        () = signals.stop_requested() => return Ok(()),
    };
    let engine = started.map_err(Fault::failed)?.map_err(Fault::failed)?;
    serve(Arc::new(engine), bus, http, signals).await
}

/// The signals that stop the service, handled from the beginning on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Fault> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Fault::failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Fault::failed)?,
        })
    }

    async fn stop_requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("stopping: SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("stopping: SIGINT"),
        }
    }
}

/// Listens before anything is opened, so that a used address is reported at once.
async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Fault> {
    let Some(address) = address else {
        return Ok(None);
    };
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "/livez, /readyz and /metrics ask for no password: see that only monitoring reaches them");
    }
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|error| {
        Fault::Failed(format!(
            "nothing can listen on {address} ({error}): name another address with --http"
        ))
    })
}

/// Serves until a signal or a failed commit.
async fn serve(
    engine: Arc<Engine>,
    config: BusConfig,
    http: Option<TcpListener>,
    mut signals: Signals,
) -> Result<(), Fault> {
    let mut failed = engine.failed();
    let stop = {
        let mut failed = failed.clone();
        async move {
            tokio::select! {
                () = signals.stop_requested() => {}
                _ = failed.wait_for(|failed| *failed) => {}
            }
        }
    };
    let (ready, is_ready) = watch::channel(false);
    let watching = http.map(|listener| {
        let watched = Watched {
            engine: Arc::clone(&engine),
            traffic: config.traffic.clone(),
            ready: is_ready.clone(),
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "serving /livez, /readyz and /metrics");
        }
        tokio::spawn(http::serve(listener, watched))
    });
    let announcing = tokio::spawn(announce(is_ready));
    let served = bus::serve(Arc::clone(&engine), config, ready, stop).await;
    announcing.abort();
    let (had_failed, finding) = (*failed.borrow_and_update(), engine.finding());
    tokio::task::spawn_blocking(move || engine.drain(Duration::ZERO))
        .await
        .map_err(Fault::failed)?;
    if let Some(watching) = watching {
        watching.abort();
    }
    served.map_err(|error| match error {
        bus::BusError::Connection(error) => Fault::Connection(error),
        other => Fault::failed(other),
    })?;
    if let Some(finding) = finding {
        return Err(Fault::failed(finding));
    }
    match had_failed {
        true => Err(Fault::failed(
            "the log could not be written: see the log lines above, repair the disk and start again",
        )),
        false => Ok(()),
    }
}

async fn announce(mut ready: watch::Receiver<bool>) {
    while ready.wait_for(|ready| *ready).await.is_ok() {
        tracing::info!("ready");
        if ready.wait_for(|ready| !*ready).await.is_err() {
            return;
        }
        tracing::warn!("not ready");
    }
}

fn log_options(config: &Config) -> LogOptions {
    LogOptions {
        segment_records: config.limits.segment_records,
        ..LogOptions::default()
    }
}

/// Lines for people on a terminal, JSON for machines elsewhere; `RUST_LOG` chooses what.
///
/// Other crates log at `info` at most: at `trace` async-nats prints every message, and a request
/// can hold a password.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    let is_harmless =
        filter_fn(|line| line.target().starts_with("countersign") || *line.level() <= Level::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines = match stderr().is_terminal() {
        true => lines.boxed(),
        false => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(is_harmless)))
        .init();
}
