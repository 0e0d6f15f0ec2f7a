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

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{init, wall_clock};
use countersign::log::{EventLog, LogOptions};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, Purpose};
use countersign_schemas::event::enrolment::v1::{FirstFactor, TwoFactorEnabled};
use countersign_schemas::event::login::v1::TotpAccepted;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const BATCH_RECORDS: u64 = 512;
const EVENTS_PER_ACCOUNT: u64 = 50;
const CALLER: &str = "login-gateway";
/// Requests that wait for their answer at the same time.
const IN_FLIGHT: u64 = 256;
/// Accounts that the load is spread over.
const LOAD_ACCOUNTS: u64 = 512;
/// How long the load lasts: the derived files are flushed durably every 5 s.
const LOAD_MS: std::ops::Range<u64> = 2_000..8_000;
/// Callers answer for the first factor, so that a command costs no password's hash.
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
    init(
        &data,
        &folder.join("keys/keyring.toml"),
        began,
        LogOptions::default(),
    )?;
    fill(&data.join("log"), events, began)?;
    fs::write(folder.join("countersign.toml"), CONFIG)?;
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {})?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let (mut service, first) = Service::start(folder, &broker.url())?;
    println!("first start, index and views are made: {first:.2?}");
    let mut took = Vec::new();
    for kill in 0..kills {
        // Spread evenly over the range, in another order than rising.
        let part = (kill * 7 + 3) % kills.max(1);
        let load_ms = LOAD_MS.start + (LOAD_MS.end - LOAD_MS.start) * part / kills.max(1);
        let answered = load(&broker.url(), load_ms, service)?;
        let started;
        (service, started) = Service::start(folder, &broker.url())?;
        println!(
            "kill {}: {answered} commands answered in {load_ms} ms, ready again in {started:.2?}, {:.2} s of them on a processor",
            kill + 1,
            service.processor_s()?
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

/// Appends the histories of many accounts, one event of each in turn.
fn fill(folder: &Path, events: u64, began: Micros) -> Outcome<()> {
    let mut log = EventLog::open(folder, LogOptions::default())?;
    let accounts = (events / EVENTS_PER_ACCOUNT).max(1);
    let mut next = 0;
    while next < events {
        let through = (next + BATCH_RECORDS).min(events);
        let batch: Outcome<Vec<_>> = (next..through)
            .map(|number| {
                let version = u32::try_from(number / accounts + 1)?;
                let at = Micros(began.0 + number * 1_000);
                Ok(record(number, number % accounts, version, at)?.encode()?)
            })
            .collect();
        log.append(log.head(), &batch?)?;
        next = through;
    }
    Ok(log.close()?)
}

fn record(number: u64, account: u64, version: u32, at: Micros) -> Outcome<Record<'static>> {
    let event = match version {
        1 => Event::AccountRegistered(AccountRegistered { username: None }),
        2 => Event::TwoFactorEnabled(TwoFactorEnabled {
            authenticator_id: "0192f3a4-5b6c-7d8e-9f00-112233445566".to_owned(),
            step: 1,
            drift: 0,
        }),
        _ => Event::TotpAccepted(TotpAccepted {
            step: 58_000_000 + u64::from(version),
            drift: 0,
            enrolment: 2,
            double_code: false,
            purpose: Purpose::Login,
            first_factor: FirstFactor::Password(1),
            challenge: Some([5; 16]),
        }),
    };
    let account = AccountId::parse(&format!("account-{account}"))?;
    let command_id = format!("0192f3a4-5b6c-7d8e-9f00-{number:012}");
    Ok(Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: StreamKey::of(&account),
        version,
        recorded_at: at,
        command_key: CommandKey::of(CALLER, &CommandId::parse(&command_id)?),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: account.as_str().to_owned().into(),
            command_id: command_id.into(),
            caller: CALLER.into(),
            verified: true,
            role: Role::Platform,
            trace_id: Some([3; 16]),
            body_tag: [4; 16],
            source_key: [5; 8],
            source: None,
        },
        payload: event.encode()?.into(),
    })
}

/// The real binary, killed −9 when dropped.
struct Service(Child);

impl Service {
    /// Starts it and waits until it is ready; returns how long that took.
    fn start(folder: &Path, url: &str) -> Outcome<(Self, Duration)> {
        let examples = std::env::current_exe()?;
        let binary = examples.ancestors().nth(2).map(|f| f.join("countersign"));
        let started_at = Instant::now();
        let mut child = Command::new(binary.ok_or("no target folder")?)
            .args(["serve", "--identity", "dev", "--server", url])
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--keyring")
            .arg(folder.join("keys/keyring.toml"))
            .arg("--config")
            .arg(folder.join("countersign.toml"))
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let service = Self(child);
        let is_ready = |line: &std::io::Result<String>| {
            line.as_ref()
                .is_ok_and(|line| line.contains(r#""message":"ready""#))
        };
        lines.find(is_ready).ok_or("the service ended")??;
        let took = started_at.elapsed();
        thread::spawn(move || lines.for_each(drop));
        Ok((service, took))
    }
}

impl Service {
    /// How long it has been on a processor: what is left of the time is waiting for other processes
    /// and for the disk.
    fn processor_s(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // Behind the name in brackets: user and system time are the 12th and 13th, in 1/100 s.
        let (_, rest) = stat.rsplit_once(')').ok_or("an odd stat")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 / 100.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps commands in flight for so long, kills the service meanwhile, and returns how many were
/// answered.
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
    match reply["details"]["position"].is_u64() {
        true => Ok(()),
        false => Err(format!("refused: {reply}").into()),
    }
}
