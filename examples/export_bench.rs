//! Measures a whole-history export through the real service: time and the most memory that the
//! service and the client ever hold, then the verification of the file by itself.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example export_bench                     # 200,000 events, temp folder
//! cargo run --release --example export_bench -- 10000000 /data   # more events, on another disk
//! ```
//!
//! The memory must not grow with the events. The times mean nothing on another machine.
#![allow(clippy::disallowed_methods)]

#[path = "bench/history.rs"]
mod history;
#[path = "bench/service.rs"]
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{init, wall_clock};
use countersign::log::LogOptions;
use countersign_schemas::time::Micros;
use serde_json::Value;
use service::{Service, binary, memory};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const CALLER: &str = "login-gateway";
const EVENTS_PER_ACCOUNT: u64 = 50;
/// The time between two readings of a running client's memory.
const LOOK: Duration = Duration::from_millis(20);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = arguments.first().map_or(Ok(200_000), |text| text.parse())?;
    let parent = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("countersign-export-bench-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let measured = measure(&folder, events);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, events: u64) -> Outcome<()> {
    let (data, keyring) = (folder.join("data"), folder.join("keys/keyring.toml"));
    let began = Micros(wall_clock().0 - events * 1_000);
    init(&data, &keyring, began, LogOptions::default())?;
    let accounts = (events / EVENTS_PER_ACCOUNT).max(1);
    history::fill(&data, &keyring, events, accounts, began)?;
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {})?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let url = broker.url();
    let (service, first) = Service::start(&data, &keyring, &url, &[])?;
    println!("{events} events of {accounts} accounts; index and views made in {first:.1?}");
    // The first start leaves more in memory than a later one.
    drop(service);
    let (service, _) = Service::start(&data, &keyring, &url, &[])?;
    let before = memory(service.id(), "RssAnon")?;
    for format in ["jsonl", "csv", "ocsf"] {
        let file = folder.join(format!("history.{format}"));
        forget_peak(service.id())?;
        let mut command = Command::new(binary()?);
        command.args(["audit", "export", "--server", &url, "--format", format]);
        let (took, client) = run(command.arg("--output").arg(&file))?;
        let size = fs::metadata(&file)?.len();
        println!(
            "{format}: {:.0} events/s, {:.1} MB/s; at most {} MB in the client, {} MB in the service ({} MB before, {} MB of them in no file)",
            events as f64 / took.as_secs_f64(),
            size as f64 / 1e6 / took.as_secs_f64(),
            client / 1_000_000,
            memory(service.id(), "VmHWM")? / 1_000_000,
            before / 1_000_000,
            memory(service.id(), "RssAnon")? / 1_000_000,
        );
        if format == "jsonl" {
            let mut command = Command::new(binary()?);
            command.args(["audit", "verify", "--key", &vkey(&keyring)?, "--export"]);
            command.arg(&file);
            let (took, verifier) = run(&mut command)?;
            println!(
                "verified by itself: {:.0} records/s, at most {} MB",
                events as f64 / took.as_secs_f64(),
                verifier / 1_000_000
            );
        }
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// Runs a command to its end; how long it took, and the most bytes that it held.
fn run(command: &mut Command) -> Outcome<(Duration, u64)> {
    let began = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut most = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        most = memory(child.id(), "VmHWM").unwrap_or(most).max(most);
        std::thread::sleep(LOOK);
    };
    if status.success() {
        Ok((began.elapsed(), most))
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// The public key that an auditor has.
fn vkey(keyring: &Path) -> Outcome<String> {
    let mut command = Command::new(binary()?);
    command.args(["keys", "list", "--json", "--keyring"]);
    let keys: Value = serde_json::from_slice(&command.arg(keyring).output()?.stdout)?;
    Ok(keys["vkey"].as_str().ok_or("no public key")?.to_owned())
}

/// Resets the most memory of a process to its present memory.
fn forget_peak(pid: u32) -> Outcome<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}
