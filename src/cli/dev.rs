//! `dev`: broker, service and a tour on this machine.

use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use tokio::sync::{oneshot, watch};

use super::client::ClientArgs;
use super::fault::Fault;
use super::show;
use crate::bus::{self, BusConfig, Connection, Identity};
use crate::dev::broker::{Broker, BrokerOptions};
use crate::dev::find::{find_or_fetch, tools_folder};
use crate::dev::tour::Tour;
use crate::engine::{self, BackupFolders, Engine, EngineOptions};
use crate::log::LogOptions;

/// How long the service may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How long stopping may take.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The variables that `docker/nats.conf` takes its passwords from.
const PASSWORDS: [&str; 7] = [
    "CS_SERVICE_PASSWORD",
    "CS_PLATFORM_PASSWORD",
    "CS_ALICE_PASSWORD",
    "CS_BOB_PASSWORD",
    "CS_OPERATOR_PASSWORD",
    "CS_AUDIT_PASSWORD",
    "CS_SYS_PASSWORD",
];

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArgs {
    #[command(subcommand)]
    verb: Option<DevVerb>,
    /// End after the tour; exit 0 only if every step held
    #[arg(long)]
    once: bool,
    /// Keep log, keyring and the broker's store in this folder [default: a temporary one]
    #[arg(long)]
    data: Option<PathBuf>,
    /// The nats-server to run [default: found or fetched]
    #[arg(long)]
    nats_server: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum DevVerb {
    /// Print new passwords for the users of docker/nats.conf, as an environment file
    Env,
}

/// Prints a password of 125 random bits for each user of the broker: letters and digits that begin
/// with a letter, since nats-server reads a substituted value as configuration.
fn env() -> Result<(), Fault> {
    let mut text = String::from(
        "# Passwords of the broker's users; `countersign dev env` prints such a file with passwords of your own.\n",
    );
    for name in PASSWORDS {
        let mut random = [0; 16];
        if !engine::system_random(&mut random) {
            return Err(Fault::failed(
                "the system has no random bytes: see that getrandom works in this container",
            ));
        }
        let password = data_encoding::BASE32_NOPAD.encode(&random).to_lowercase();
        text.push_str(&format!("{name}=p{}\n", &password[1..]));
    }
    show::line(&text)
}

pub async fn run(args: DevArgs) -> Result<(), Fault> {
    if let Some(DevVerb::Env) = args.verb {
        return env();
    }
    println!(
        "Countersign for development: every caller is trusted, and the broker asks for no password.\n"
    );
    let temporary = match args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(Fault::failed)?),
    };
    let folder = match (&args.data, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err(Fault::failed("there is no folder to work in")),
    };
    let broker = start_broker(args.nats_server, folder.join("broker")).await?;
    println!("broker       {}", broker.url());
    let service = start_service(&folder, &broker).await?;
    println!("data         {}\nready\n", folder.display());
    let ending = tokio::select! {
        ending = play(&broker, args.once) => ending,
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    };
    service.stop().await?;
    tokio::task::spawn_blocking(move || broker.stop())
        .await
        .map_err(Fault::failed)?
        .map_err(Fault::failed)?;
    ending
}

/// Plays the tour; afterwards stays up until Ctrl-C, unless `once` is set.
async fn play(broker: &Broker, once: bool) -> Result<(), Fault> {
    let mut tour = Tour::connect(&client_args(broker), !once && stdin().is_terminal()).await?;
    let account = tour.play().await?;
    if once {
        println!("\nEvery step held.");
        return Ok(());
    }
    println!(
        "\nEvery step held. The service stays up until Ctrl-C. Try these in another terminal:\n"
    );
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "countersign".into());
    println!("  export NATS_URL={}", broker.url());
    for line in [
        format!("login status {account}"),
        format!("factor enable {account}"),
        format!("audit timeline {account}"),
        "audit page --limit 20".into(),
        "support reset list --state cancelled".into(),
    ] {
        println!("  {program} {line}");
    }
    println!(
        "  nats micro ls\n  nats sub 'countersign.>'\n\nThe password of {account} is: {}",
        crate::dev::tour::PASSWORD
    );
    match tokio::signal::ctrl_c().await {
        Ok(()) => Ok(()),
        Err(error) => Err(Fault::failed(error)),
    }
}

async fn start_broker(named: Option<PathBuf>, store: PathBuf) -> Result<Broker, Fault> {
    let started = tokio::task::spawn_blocking(move || {
        let server = find_or_fetch(named.as_deref(), &tools_folder(), &mut |said| {
            println!("{said}");
        })?;
        Broker::start(
            &server,
            &BrokerOptions {
                store: Some(store),
                ..BrokerOptions::default()
            },
        )
    });
    started.await.map_err(Fault::failed)?.map_err(Fault::failed)
}

/// The service, in this process.
struct Service {
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<(), bus::BusError>>,
}

impl Service {
    async fn stop(self) -> Result<(), Fault> {
        // A service that ended by itself receives nothing here; its own error says why.
        let _ = self.stop.send(());
        self.served
            .await
            .map_err(Fault::failed)?
            .map_err(Fault::failed)
    }
}

async fn start_service(folder: &Path, broker: &Broker) -> Result<Service, Fault> {
    let (data, keyring) = (
        folder.join("data"),
        folder.join("keys").join("keyring.toml"),
    );
    if !data.exists() && !keyring.exists() {
        engine::init(&data, &keyring, engine::wall_clock(), LogOptions::default())
            .map_err(Fault::failed)?;
    }
    let options = EngineOptions {
        backup: Some(BackupFolders {
            log: folder.join("backup"),
            keys: folder.join("backup-keys"),
        }),
        ..EngineOptions::new(data, keyring)
    };
    let engine = tokio::task::spawn_blocking(move || Engine::start(options))
        .await
        .map_err(Fault::failed)?
        .map_err(Fault::failed)?;
    let engine = Arc::new(engine);
    let config = BusConfig {
        connection: Connection {
            servers: broker.url(),
            ..Connection::default()
        },
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let (ready, mut is_ready) = watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.await;
        };
        let served = bus::serve(Arc::clone(&engine), config, ready, stop).await;
        tokio::task::spawn_blocking(move || engine.drain(STOP_WITHIN))
            .await
            .ok();
        served
    });
    match tokio::time::timeout(READY_WITHIN, is_ready.wait_for(|ready| *ready)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return Err(Fault::failed("the service did not become ready")),
    }
    Ok(Service { stop, served })
}

fn client_args(broker: &Broker) -> ClientArgs {
    ClientArgs {
        server: Some(broker.url()),
        caller: Some("tour".into()),
        ..ClientArgs::default()
    }
}
