//! Measures how soon the real service is ready again after kill −9 under load, on a log of several
//! segments.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example reopen_bench                     # 3,000,000 events, temp folder
//! cargo run --release --example reopen_bench -- 500000 /data 20  # other events, disk, and kills
//! ```
//!
//! Each turn keeps 256 commands in flight, kills the process at a random moment, starts it again
//! over real NATS and takes the time from the start of the process to its line `ready`. The page
//! cache of the system is warm, as after a crash of the process; a crash of the machine is not.
#![allow(clippy::disallowed_methods)]

#[path = "bench/history.rs"]
mod history;
#[path = "bench/service.rs"]
mod service;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{init, wall_clock};
use countersign::log::LogOptions;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};
use service::{Service, processor_s};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const EVENTS_PER_ACCOUNT: u64 = 50;
const CALLER: &str = "login-gateway";
/// Requests that wait for their reply at the same time.
const IN_FLIGHT: u64 = 256;
/// Accounts that the load is spread over.
const LOAD_ACCOUNTS: u64 = 512;
/// How long the load lasts: the derived files are flushed durably every 5 s.
const LOAD_MS: std::ops::Range<u64> = 2_000..8_000;
/// Callers vouch for the first factor, so that a command costs no password hash.
const CONFIG: &str = "[directory]\nmode = \"vouched\"\n";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| {
        let text = arguments.get(at);
        text.map_or(Ok(default), |text| text.parse::<u64>())
    };
    let (events, kills) = (number(0, 3_000_000)?, number(2, 10)?);
    let parent = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("countersign-reopen-bench-{}", std::process::id()));
    fs::create_dir(&folder)?;
    println!("{events} events in {}", folder.display());
    let measured = measure(&folder, events, kills);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, events: u64, kills: u64) -> Outcome<()> {
    let data = folder.join("data");
    let began = Micros(wall_clock().0 - events * 1_000);
    let keyring = folder.join("keys/keyring.toml");
    init(&data, &keyring, began, LogOptions::default())?;
    history::fill(
        &data,
        &keyring,
        events,
        (events / EVENTS_PER_ACCOUNT).max(1),
        began,
    )?;
    let config = folder.join("countersign.toml");
    fs::write(&config, CONFIG)?;
    let config = config.to_str().ok_or("an odd path")?;
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {})?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let start = || Service::start(&data, &keyring, &broker.url(), &["--config", config]);
    let (mut service, first) = start()?;
    println!("first start, index and views are made: {first:.2?}");
    let mut took = Vec::new();
    for kill in 0..kills {
        // Spread evenly over the range, not in rising order.
        let part = (kill * 7 + 3) % kills.max(1);
        let load_ms = LOAD_MS.start + (LOAD_MS.end - LOAD_MS.start) * part / kills.max(1);
        let answered = load(&broker.url(), load_ms, service)?;
        let started;
        (service, started) = start()?;
        println!(
            "kill {}: {answered} commands answered in {load_ms} ms, ready again in {started:.2?}, {:.2} s of them on a processor",
            kill + 1,
            processor_s(service.id())?
        );
        took.push(started);
    }
    took.sort_unstable();
    let [median, longest] = [took[took.len() / 2], took[took.len() - 1]];
    println!("ready again: median {median:.2?}, longest {longest:.2?} (bar 1 s at 3 M events)");
    for name in ["log", "index.redb", "views.redb", "keys.redb"] {
        println!("{name}: {} MB", size(&data.join(name))? / 1_000_000);
    }
    Ok(())
}

fn size(path: &Path) -> Outcome<u64> {
    if path.is_dir() {
        let files = fs::read_dir(path)?.map(|entry| size(&entry?.path()));
        return files.sum();
    }
    Ok(fs::metadata(path)?.len())
}

/// Keeps commands in flight for this time, kills the service meanwhile, and returns how many got a
/// reply.
fn load(url: &str, load_ms: u64, service: Service) -> Outcome<u64> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (answered, is_over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let client = runtime.block_on(async_nats::connect(url))?;
    for lane in 0..IN_FLIGHT {
        let (client, answered, is_over) = (client.clone(), answered.clone(), is_over.clone());
        runtime.spawn(async move {
            let mut account = lane;
            while !is_over.load(Ordering::Relaxed) {
                account = (account + IN_FLIGHT) % LOAD_ACCOUNTS;
                if enable(&client, account).await.is_ok() {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    thread::sleep(Duration::from_millis(load_ms));
    drop(service);
    is_over.store(true, Ordering::Relaxed);
    let answered = answered.load(Ordering::Relaxed);
    runtime.shutdown_background();
    match answered {
        0 => Err("no command was answered".into()),
        _ => Ok(answered),
    }
}

/// Begins an enrolment, which replaces the account's last one: one record each time.
async fn enable(client: &async_nats::Client, account: u64) -> Outcome<()> {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Countersign-Caller", CALLER);
    let body = json!({"account_id": format!("load-{account}")}).to_string();
    let subject = "countersign.v1.command.enable-2fa";
    let message = client
        .request_with_headers(subject, headers, body.into())
        .await?;
    let reply: Value = serde_json::from_slice(&message.payload)?;
    if reply["details"]["position"].is_u64() {
        Ok(())
    } else {
        Err(format!("refused: {reply}").into())
    }
}
