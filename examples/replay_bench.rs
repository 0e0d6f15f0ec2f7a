//! Measures what a log of logins costs: bytes of a login's record through the real service, replay
//! against a bare redb scan in the same run, and reopening the service after kill −9.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example replay_bench                    # 200,000 events, temp folder
//! cargo run --release --example replay_bench -- 1000000 /data   # more events, on another disk
//! ```
//!
//! Only bytes and ratios mean anything on another machine; times depend on the disk.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::account::{Account, Recorded};
use countersign::crypto::otp::{TotpSecret, hotp, step_at};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{init, wall_clock};
use countersign::log::{EventLog, LogOptions, PAGE_BYTES_MAX};
use countersign_schemas::code::Code;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, Purpose};
use countersign_schemas::event::backup_codes::v1::{BackupCodesIssued, IssueCause};
use countersign_schemas::event::enrolment::v1::{EnrolmentStarted, FirstFactor, TwoFactorEnabled};
use countersign_schemas::event::login::v1::TotpAccepted;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BATCH_RECORDS: usize = 512;
/// Every account begins with four events; the rest of its history is logins.
const EVENTS_PER_ACCOUNT: u64 = 50;
const BEGINNING: u32 = 4;
const TURNS: usize = 5;
const CALLER: &str = "login-gateway";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = arguments.first().map_or(Ok(200_000), |text| text.parse())?;
    let parent = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("countersign-replay-bench-{}", std::process::id()));
    fs::create_dir(&folder)?;
    println!("{events} events in {}", folder.display());
    let measured = measure(&folder, events);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, events: u64) -> Outcome<()> {
    let (data, keyring) = (folder.join("data"), folder.join("keys/keyring.toml"));
    let began = Micros(wall_clock().0 - events * 1_000);
    init(&data, &keyring, began, LogOptions::default())?;
    fill(&data.join("log"), events, began)?;
    measure_replay(&data.join("log"))?;
    tokio::runtime::Runtime::new()?.block_on(measure_service(&data, &keyring))?;
    measure_login_record(&data.join("log"))
}

/// Appends the histories of many accounts, one event of each in turn.
fn fill(folder: &Path, events: u64, began: Micros) -> Outcome<()> {
    let mut log = EventLog::open(folder, LogOptions::default())?;
    let accounts = (events / EVENTS_PER_ACCOUNT).max(1);
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    for number in 0..events {
        let account = AccountId::parse(&format!("account-{}", number % accounts))?;
        let version = u32::try_from(number / accounts + 1)?;
        let at = Micros(began.0 + number * 1_000);
        batch.push(record(&account, version, at, number)?.encode()?);
        if batch.len() == BATCH_RECORDS {
            log.append(log.head(), &std::mem::take(&mut batch))?;
        }
    }
    log.append(log.head(), &batch)?;
    Ok(log.close()?)
}

fn sealed(bytes: usize) -> Protected {
    Protected::Sealed(Sealed {
        key: 1,
        nonce: [9; 12],
        ciphertext: vec![7; bytes + 16],
    })
}

/// What the `version`-th event of an account is.
fn event(version: u32, at: Micros) -> Event {
    let authenticator_id = "0192f3a4-5b6c-7d8e-9f00-112233445566".to_owned();
    match version {
        1 => Event::AccountRegistered(AccountRegistered { username: None }),
        2 => Event::EnrolmentStarted(EnrolmentStarted {
            authenticator_id,
            secret: sealed(20),
            account_name: None,
            label: None,
            expires_at: at.plus_s(600),
            proof: FirstFactor::Vouched,
        }),
        3 => Event::TwoFactorEnabled(TwoFactorEnabled {
            authenticator_id,
            step: 1,
            drift: 0,
        }),
        BEGINNING => Event::BackupCodesIssued(BackupCodesIssued {
            set_no: 1,
            fingerprint: "K7QX".into(),
            cause: IssueCause::Enrolment,
            slots: 10,
            verifiers: sealed(480),
            superseded_unused: 0,
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
    }
}

fn record(account: &AccountId, version: u32, at: Micros, number: u64) -> Outcome<Record> {
    let event = event(version, at);
    let command_id = format!("0192f3a4-5b6c-7d8e-9f00-{number:012}");
    Ok(Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: StreamKey::of(account),
        version,
        recorded_at: at,
        command_key: CommandKey::of(CALLER, &CommandId::parse(&command_id)?),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: account.as_str().into(),
            command_id,
            caller: CALLER.into(),
            verified: true,
            role: Role::Platform,
            trace_id: Some([3; 16]),
            body_tag: [4; 16],
            source_key: [5; 8],
            source: None,
        },
        payload: event.encode()?,
    })
}

/// Takes turns: a bare scan of the segments' tables, then reading, decoding and folding all.
fn measure_replay(folder: &Path) -> Outcome<()> {
    let mut best = [Duration::MAX; 2];
    let mut found = [0; 2];
    for _ in 0..TURNS {
        for (slot, scan) in [bare_scan, replay].into_iter().enumerate() {
            let start = Instant::now();
            found[slot] = scan(folder)?;
            best[slot] = best[slot].min(start.elapsed());
        }
    }
    assert_eq!(found[0], found[1], "both see every record");
    let rate = |time: Duration| found[0] as f64 / time.as_secs_f64();
    println!(
        "bare redb scan {:.0}/s, replay (read, decode, fold) {:.0}/s: ratio {:.2} (bar 0.35)",
        rate(best[0]),
        rate(best[1]),
        rate(best[1]) / rate(best[0]),
    );
    Ok(())
}

fn bare_scan(folder: &Path) -> Outcome<u64> {
    const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records_v1");
    let (mut count, mut bytes) = (0, 0);
    for segment in fs::read_dir(folder)? {
        let db = redb::ReadOnlyDatabase::open(segment?.path())?;
        for entry in db.begin_read()?.open_table(RECORDS)?.iter()? {
            bytes += entry?.1.value().len();
            count += 1;
        }
    }
    assert!(bytes > 0);
    Ok(count)
}

fn replay(folder: &Path) -> Outcome<u64> {
    let log = EventLog::open(folder, LogOptions::default())?;
    let reader = log.reader();
    let mut accounts: HashMap<StreamKey, (AccountId, Account)> = HashMap::new();
    let mut count = 0;
    loop {
        let page = reader.read(count + 1, usize::MAX, PAGE_BYTES_MAX)?;
        if page.is_empty() {
            break;
        }
        for (_, bytes) in page {
            count += 1;
            let record = Record::decode(&bytes)?;
            let event = record.event()?;
            let Ok(id) = AccountId::parse(&record.meta.account_id) else {
                continue;
            };
            let known = accounts.entry(record.stream_key);
            let (account_id, account) = known.or_insert_with(|| (id, Account::default()));
            account.evolve(&Recorded {
                account_id,
                version: record.version,
                at: record.recorded_at,
                caller: &record.meta.caller,
                source_key: record.meta.source_key,
                event: &event,
            });
        }
    }
    log.close()?;
    Ok(count)
}

/// The real binary, killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the service and waits until it is ready.
fn serve(data: &Path, keyring: &Path, url: &str) -> Outcome<(Service, Duration)> {
    use std::io::{BufRead, BufReader};
    let examples = std::env::current_exe()?;
    let binary = examples.ancestors().nth(2).map(|f| f.join("countersign"));
    let started_at = Instant::now();
    let mut child = Command::new(binary.ok_or("no target folder")?)
        .args(["serve", "--identity", "dev", "--server", url])
        .arg("--data")
        .arg(data)
        .arg("--keyring")
        .arg(keyring)
        .stderr(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
    let service = Service(child);
    for line in lines {
        if line?.contains(r#""message":"ready""#) {
            return Ok((service, started_at.elapsed()));
        }
    }
    Err("the service ended".into())
}

/// Starts it until the views are there, logs in, kills it −9 after an append, and starts it again.
async fn measure_service(data: &Path, keyring: &Path) -> Outcome<()> {
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {})?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let (service, first) = serve(data, keyring, &broker.url())?;
    println!("first start, the views are made: {first:.2?}");
    let client = async_nats::connect(broker.url()).await?;
    log_in(&client).await?;
    drop(service);
    for _ in 0..3 {
        let (service, again) = serve(data, keyring, &broker.url())?;
        println!("start after kill -9: {again:.2?} (bar 1 s at 3 M events)");
        // An append right before the kill, so that the segment needs its repair.
        let name = format!("unclean-{}", wall_clock().0);
        let body = json!({"account_id": name, "username": name, "password": "correct horse"});
        send(&client, "register-account", &body).await?;
        drop(service);
    }
    Ok(())
}

async fn send(client: &async_nats::Client, name: &str, body: &Value) -> Outcome<Value> {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Countersign-Caller", CALLER);
    headers.insert("Nats-Msg-Id", uuid::Uuid::now_v7().to_string());
    headers.insert(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let subject = format!("countersign.v1.command.{name}");
    let body = serde_json::to_vec(body)?.into();
    let message = client.request_with_headers(subject, headers, body).await?;
    let reply: Value = serde_json::from_slice(&message.payload)?;
    match reply["code"].as_str() {
        Some(code) => Err(format!("{name}: {code}").into()),
        None => Ok(reply),
    }
}

/// Enrols a user with a UUID and logs in: by a challenge, and without; each with a source.
async fn log_in(client: &async_nats::Client) -> Outcome<()> {
    let id = uuid::Uuid::now_v7().to_string();
    let password = "correct horse battery staple";
    let context = json!({"ip": "203.0.113.7", "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"});
    let body = json!({"account_id": id, "username": "ada", "password": password});
    send(client, "register-account", &body).await?;
    let body = json!({"account_id": id, "proof": {"password": password}});
    let begun = send(client, "enable-2fa", &body).await?;
    let text = begun["secret"].as_str().ok_or("no secret")?;
    let secret = data_encoding::BASE32_NOPAD.decode(text.as_bytes())?;
    let secret = TotpSecret::from_slice(&secret).ok_or("no secret")?;
    let step = step_at(wall_clock().unix_s());
    let code = |step| Code::Totp(hotp(&secret, step)).reveal();
    let authenticator_id = &begun["authenticator_id"];
    let body =
        json!({"account_id": id, "authenticator_id": authenticator_id, "code": code(step - 1)});
    send(client, "confirm-code", &body).await?;
    let body = json!({"username": "ada", "password": password, "context": context});
    let challenge = &send(client, "start-login", &body).await?["challenge_id"];
    let body = json!({"challenge_id": challenge, "code": code(step), "context": context});
    send(client, "verify-login", &body).await?;
    let body = json!({"account_id": id, "code": code(step + 1)});
    send(client, "verify-login", &body).await?;
    Ok(())
}

/// Prints the length of every app-code login that the service itself recorded.
fn measure_login_record(folder: &Path) -> Outcome<()> {
    let log = EventLog::open(folder, LogOptions::default())?;
    let reader = log.reader();
    let mut lengths = Vec::new();
    for (_, bytes) in reader.read(log.head().saturating_sub(20), usize::MAX, PAGE_BYTES_MAX)? {
        let record = Record::decode(&bytes)?;
        if let Event::TotpAccepted(event) = record.event()? {
            let source = record.meta.source.map_or(0, |s| s.ciphertext.len() + 14);
            let challenge = if event.challenge.is_some() {
                "challenge"
            } else {
                "no challenge"
            };
            println!(
                "a login's record: {} bytes ({challenge}, sealed source {source})",
                bytes.len()
            );
            lengths.push(bytes.len());
        }
    }
    let last = reader.get(log.head() / 2)?.map_or(0, |bytes| bytes.len());
    println!(
        "average {} bytes (bar 300); a generated one {last}",
        lengths.iter().sum::<usize>() / lengths.len().max(1)
    );
    Ok(())
}
