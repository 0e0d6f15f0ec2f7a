//! Measures what a log of logins costs: bytes of a login's record through the real service, replay
//! against a bare redb scan in the same run, memory for each known account, and reopening the
//! service after kill −9.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example replay_bench                    # 200,000 events, temp folder
//! cargo run --release --example replay_bench -- 1000000 /data   # more events, on another disk
//! cargo run --release --example replay_bench -- memory          # memory for each known account
//! ```
//!
//! Only bytes and ratios mean anything on another machine; times depend on the disk.
#![allow(clippy::disallowed_methods)]

#[path = "../bench/history.rs"]
mod history;
mod logins;
mod memory;
mod replay;
#[path = "../bench/service.rs"]
mod service;

use std::fs;
use std::path::{Path, PathBuf};

use countersign::engine::{init, wall_clock};
use countersign::log::LogOptions;
use countersign_schemas::time::Micros;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const EVENTS_PER_ACCOUNT: u64 = 50;
const CALLER: &str = "login-gateway";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let what = arguments.first().map_or("200000", String::as_str);
    let parent = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("countersign-replay-bench-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let measured = match what {
        "memory" => memory::measure(&folder),
        events => measure(&folder, events.parse()?),
    };
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, events: u64) -> Outcome<()> {
    println!("{events} events in {}", folder.display());
    let (data, keyring) = (folder.join("data"), folder.join("keys/keyring.toml"));
    let accounts = (events / EVENTS_PER_ACCOUNT).max(1);
    make(&data, &keyring, events, accounts)?;
    replay::measure(&data.join("log"), folder)?;
    tokio::runtime::Runtime::new()?.block_on(logins::measure_starts(&data, &keyring))?;
    logins::measure_logins(&data.join("log"))
}

/// An installation with a log of the histories of this many accounts.
fn make(data: &Path, keyring: &Path, events: u64, accounts: u64) -> Outcome<()> {
    let began = Micros(wall_clock().0 - events * 1_000);
    init(data, keyring, began, LogOptions::default())?;
    history::fill(data, keyring, events, accounts, began)
}
