//! Measures logins against a raw NATS echo on the same broker, without and with the publication of
//! their events, in turns, in one run.
//!
//! ```text
//! cargo run --release --example login_bench                    # 10,000 accounts, 5 turns
//! cargo run --release --example login_bench -- 50000 10        # more accounts, more turns
//! ```
//!
//! A login is `verify-login` with a TOTP code, and the caller vouches for the first factor; 256 are
//! in flight. Broker, service and requesters share this machine, so only the ratio means anything
//! on another one.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use countersign::account::Policy;
use countersign::bus::{BusConfig, Connection, Identity, Publishing, headers, serve};
use countersign::crypto::otp::{TotpSecret, hotp, step_at};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{Clock, Engine, EngineOptions, PasswordsBy, init, wall_clock};
use countersign::log::LogOptions;
use countersign_schemas::code::Code;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Requests that wait for their reply at the same time.
const IN_FLIGHT: usize = 256;
/// The same while accounts are made: the engine's pool holds 64.
const ENROLLING: usize = 48;
const STEP_S: u64 = 30;
/// The time between two checks whether everything is published.
const LOOK: Duration = Duration::from_millis(10);
/// How long stopping may take.
const STOP_WITHIN: Duration = Duration::from_secs(10);
const ECHO: &str = "echo";
const VERIFY: &str = "countersign.v1.command.verify-login";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (accounts, turns) = (next(10_000)?, next(5)?);
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let folder = tempfile::tempdir()?;
    // A separate runtime, so that the service's threads do not do the requesters' work.
    let (serving, asking) = (threads("serving")?, threads("asking")?);
    let skipped_s = Arc::new(AtomicU64::new(0));
    init(
        &folder.path().join("data"),
        &folder.path().join("keyring"),
        wall_clock(),
        LogOptions::default(),
    )?;
    let url = broker.url();
    serving.spawn(echo(url.clone()));
    let site = Site {
        folder: folder.path().to_owned(),
        skipped_s,
        serving,
        url,
    };
    asking.block_on(measure(&site, accounts, turns))
}

/// Log and keyring, the threads that serve them, and the broker.
struct Site {
    folder: PathBuf,
    skipped_s: Arc<AtomicU64>,
    serving: Runtime,
    url: String,
}

impl Site {
    /// Serves during the work. With publication it first waits until everything earlier is
    /// published.
    async fn serving<T>(
        &self,
        publishing: Option<Publishing>,
        work: impl Future<Output = Outcome<T>>,
    ) -> Outcome<T> {
        let (ready, mut is_ready) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let is_published = publishing.is_some();
        let config = BusConfig {
            connection: Connection {
                servers: self.url.clone(),
                ..Connection::default()
            },
            identity: Identity::Dev,
            publishing,
            ..BusConfig::default()
        };
        let engine = engine(&self.folder, Arc::clone(&self.skipped_s))?;
        let feed = engine.feed();
        let serving = serve(Arc::clone(&engine), config, ready, async move {
            let _ = stopped.await;
        });
        let served = self.serving.spawn(serving);
        is_ready.wait_for(|ready| *ready).await?;
        let state = || feed.publication().state(feed.head());
        while is_published && state().is_none_or(|state| state.lag > 0) {
            tokio::time::sleep(LOOK).await;
        }
        let done = work.await?;
        let _ = stop.send(());
        served.await??;
        tokio::task::spawn_blocking(move || engine.drain(STOP_WITHIN)).await?;
        Ok(done)
    }
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
    let clock: Clock = Arc::new(move || wall_clock().plus_s(skipped_s.load(Ordering::Relaxed)));
    Ok(Arc::new(Engine::start(EngineOptions {
        policy: Policy {
            kdf_memory_kib: 8,
            ..Policy::default()
        },
        passwords_by: PasswordsBy::Caller,
        monotonic: Arc::clone(&clock),
        clock,
        ..EngineOptions::new(data, keyring)
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

/// /// The times of one turn.
struct Turn {
    per_second: f64,
    took: Vec<Duration>,
}

async fn measure(site: &Site, accounts: usize, turns: usize) -> Outcome<()> {
    let client = async_nats::connect(&site.url).await?;
    let started = Instant::now();
    let secrets = site.serving(None, enrolled(&client, accounts)).await?;
    let rate = accounts as f64 / started.elapsed().as_secs_f64();
    println!("{accounts} accounts enrolled, {rate:.0}/s");
    let (mut echoes, mut logins, mut published) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 1..=turns {
        let quiet = requests(&secrets, &site.skipped_s);
        let echo = turn_of(&client, ECHO, Arc::clone(&quiet)).await?;
        let login = site.serving(None, turn_of(&client, VERIFY, quiet)).await?;
        let publishing = turn_of(&client, VERIFY, requests(&secrets, &site.skipped_s));
        let publishing = site
            .serving(Some(Publishing::default()), publishing)
            .await?;
        println!(
            "turn {turn}: echo {:.0}/s, logins {:.0}/s, published {:.0}/s, ratios {:.2} and {:.2}",
            echo.per_second,
            login.per_second,
            publishing.per_second,
            login.per_second / echo.per_second,
            publishing.per_second / echo.per_second,
        );
        echoes.push(echo);
        logins.push(login);
        published.push(publishing);
    }
    let echo = summed("echo", echoes);
    let (login, publishing) = (
        summed("logins", logins),
        summed("published logins", published),
    );
    println!(
        "ratios of the medians: {:.2} of an echo, {:.2} with publication",
        login / echo,
        publishing / echo
    );
    Ok(())
}

/// A login for every account, with a code that no earlier turn has spent.
fn requests(secrets: &[TotpSecret], skipped_s: &AtomicU64) -> Arc<[Prepared]> {
    let skipped = skipped_s.fetch_add(STEP_S, Ordering::Relaxed) + STEP_S;
    let step = step_at(wall_clock().unix_s() + skipped);
    let logins = secrets.iter().enumerate();
    logins.map(|(at, secret)| login(at, step, secret)).collect()
}

fn login(at: usize, step: u64, secret: &TotpSecret) -> Prepared {
    let code = Code::Totp(hotp(secret, step)).reveal();
    let mut headers = HeaderMap::new();
    headers.insert(headers::MSG_ID, format!("login-{step}-{at}"));
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

/// Prints the median rate and the times of all turns; returns the median.
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

/// Enrols accounts and returns their secrets.
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
