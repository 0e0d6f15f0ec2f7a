//! Measures logins against a raw NATS echo on the same broker, in turns, in one run.
//!
//! ```text
//! cargo run --release --example login_bench                    # 10,000 accounts, 5 turns
//! cargo run --release --example login_bench -- 50000 10        # more accounts, more turns
//! ```
//!
//! A login is `verify-login` with a TOTP code where the caller answers for the first factor; 256
//! are in flight. Broker, service and requesters share this machine, so only the ratio means
//! anything on another one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use countersign::account::Policy;
use countersign::bus::{BusConfig, Connection, Identity, headers, serve};
use countersign::crypto::otp::{TotpSecret, hotp, step_at};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{Clock, Engine, EngineOptions, init, system_random, wall_clock};
use countersign::log::LogOptions;
use countersign_schemas::code::Code;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Requests that wait for their answer at the same time.
const IN_FLIGHT: usize = 256;
/// The same while accounts are made: the engine's pool holds 64.
const ENROLLING: usize = 48;
const STEP_S: u64 = 30;
const ECHO: &str = "echo";
const VERIFY: &str = "countersign.v1.command.verify-login";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (accounts, turns) = (next(10_000)?, next(5)?);
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let folder = tempfile::tempdir()?;
    // Apart, so that the requesters' work is not done by the service's threads.
    let (serving, asking) = (threads("serving")?, threads("asking")?);
    let skipped_s = Arc::new(AtomicU64::new(0));
    let engine = engine(folder.path(), Arc::clone(&skipped_s))?;
    let url = broker.url();
    let (ready, mut is_ready) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let config = BusConfig {
        connection: Connection {
            servers: url.clone(),
            ..Connection::default()
        },
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let served = serving.spawn(serve(engine, config, ready, async move {
        let _ = stopped.await;
    }));
    serving.spawn(echo(url.clone()));
    asking.block_on(async {
        is_ready.wait_for(|ready| *ready).await?;
        let client = async_nats::connect(&url).await?;
        measure(client, &skipped_s, accounts, turns).await
    })?;
    let _ = stop.send(());
    serving.block_on(served)??;
    Ok(())
}

fn threads(name: &str) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name(name)
        .enable_all()
        .build()
}

/// The service's engine; its clock is ahead of the machine's by the seconds that were skipped.
fn engine(folder: &Path, skipped_s: Arc<AtomicU64>) -> Outcome<Arc<Engine>> {
    let (data, keyring) = (folder.join("data"), folder.join("keyring"));
    init(&data, &keyring, wall_clock(), LogOptions::default())?;
    let clock: Clock = Arc::new(move || wall_clock().plus_s(skipped_s.load(Ordering::Relaxed)));
    Ok(Arc::new(Engine::start(EngineOptions {
        data,
        keyring,
        policy: Policy {
            kdf_memory_kib: 8,
            ..Policy::default()
        },
        vouched: true,
        elsewhere: false,
        vouching: None,
        monotonic: Arc::clone(&clock),
        clock,
        accept_clock_back: None,
        random: system_random,
        log: LogOptions::default(),
        backup_folder: None,
    })?))
}

/// Sends back what it receives.
async fn echo(url: String) -> Outcome<()> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.queue_subscribe(ECHO, ECHO.into()).await?;
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(())
}

/// One request, ready to be sent.
struct Prepared {
    headers: HeaderMap,
    body: Bytes,
}

/// What one turn took.
struct Turn {
    per_second: f64,
    took: Vec<Duration>,
}

async fn measure(
    client: Client,
    skipped_s: &AtomicU64,
    accounts: usize,
    turns: usize,
) -> Outcome<()> {
    let started = Instant::now();
    let secrets = enrolled(&client, accounts).await?;
    let rate = accounts as f64 / started.elapsed().as_secs_f64();
    println!("{accounts} accounts enrolled, {rate:.0}/s");
    let (mut echoes, mut logins) = (Vec::new(), Vec::new());
    for turn in 1..=turns {
        // The confirming code is spent, so every turn needs a later step.
        skipped_s.fetch_add(STEP_S, Ordering::Relaxed);
        let now_s = wall_clock().unix_s() + skipped_s.load(Ordering::Relaxed);
        let requests: Arc<[_]> = secrets
            .iter()
            .enumerate()
            .map(|(at, secret)| login(at, turn, secret, step_at(now_s)))
            .collect();
        let echo = turn_of(&client, ECHO, Arc::clone(&requests)).await?;
        let login = turn_of(&client, VERIFY, requests).await?;
        println!(
            "turn {turn}: echo {:.0}/s, logins {:.0}/s, ratio {:.2}",
            echo.per_second,
            login.per_second,
            login.per_second / echo.per_second
        );
        echoes.push(echo);
        logins.push(login);
    }
    let (echo, login) = (summed("echo", echoes), summed("logins", logins));
    println!("ratio of the medians: {:.2}", login / echo);
    Ok(())
}

fn login(at: usize, turn: usize, secret: &TotpSecret, step: u64) -> Prepared {
    let code = Code::Totp(hotp(secret, step)).reveal();
    let mut headers = HeaderMap::new();
    headers.insert(headers::MSG_ID, format!("login-{turn}-{at}"));
    let body = json!({"account_id": account(at), "code": code});
    let body = body.to_string().into();
    Prepared { headers, body }
}

fn account(at: usize) -> String {
    format!("account-{at}")
}

/// Sends every request once, [`IN_FLIGHT`] at a time.
async fn turn_of(
    client: &Client,
    subject: &'static str,
    requests: Arc<[Prepared]>,
) -> Outcome<Turn> {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let requesters: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (client, requests, next) = (client.clone(), Arc::clone(&requests), next.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (headers, body) = (request.headers.clone(), request.body.clone());
                    let sent = Instant::now();
                    let reply = client.request_with_headers(subject, headers, body).await?;
                    took.push(sent.elapsed());
                    let headers = reply.headers.as_ref();
                    if headers.is_some_and(|all| all.get(headers::ERROR).is_some()) {
                        return Err(format!("refused: {:?}", reply.payload).into());
                    }
                }
                Outcome::Ok(took)
            })
        })
        .collect();
    let mut took = Vec::with_capacity(requests.len());
    for requester in requesters {
        took.extend(requester.await??);
    }
    let per_second = requests.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Turn { per_second, took })
}

/// Prints the median rate and the times of all turns; the median is returned.
fn summed(what: &str, turns: Vec<Turn>) -> f64 {
    let mut rates: Vec<_> = turns.iter().map(|turn| turn.per_second).collect();
    let mut took: Vec<_> = turns.into_iter().flat_map(|turn| turn.took).collect();
    rates.sort_by(f64::total_cmp);
    took.sort();
    let (rate, at) = (rates[rates.len() / 2], |percent| {
        took[took.len() * percent / 100]
    });
    println!("{what}: {rate:.0}/s, p50 {:?}, p99 {:?}", at(50), at(99));
    rate
}

/// Enrols accounts and gives their secrets.
async fn enrolled(client: &Client, accounts: usize) -> Outcome<Vec<TotpSecret>> {
    futures_util::stream::iter(0..accounts)
        .map(|at| {
            let client = client.clone();
            tokio::spawn(async move { enrol(&client, &account(at)).await })
        })
        .buffered(ENROLLING)
        .map(|enrolled| enrolled?)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect()
}

async fn enrol(client: &Client, account: &str) -> Outcome<TotpSecret> {
    let begun = ask(client, "enable-2fa", &json!({"account_id": account})).await?;
    let secret = begun["secret"].as_str().ok_or("no secret")?;
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes())?;
    let secret = TotpSecret::from_slice(&secret).ok_or("an odd secret")?;
    let code = Code::Totp(hotp(&secret, step_at(wall_clock().unix_s()))).reveal();
    let id = &begun["authenticator_id"];
    let body = json!({"account_id": account, "authenticator_id": id, "code": code});
    ask(client, "confirm-code", &body).await?;
    Ok(secret)
}

async fn ask(client: &Client, name: &str, body: &Value) -> Outcome<Value> {
    let subject = format!("countersign.v1.command.{name}");
    let reply = client.request(subject, body.to_string().into()).await?;
    let value: Value = serde_json::from_slice(&reply.payload)?;
    match value["details"]["position"].is_u64() {
        true => Ok(value),
        false => Err(format!("{name} was refused: {value}").into()),
    }
}
