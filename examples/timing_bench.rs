//! Measures whether the time of a refusal distinguishes a known name from an unknown one, over
//! loopback.
//!
//! ```text
//! cargo run --release --example timing_bench                   # 20,000 pairs, 8 KiB of Argon2id
//! cargo run --release --example timing_bench -- 2000 19456     # the shipped cost
//! ```
//!
//! A pair is two `start-login` with a wrong password, one for a registered name and one for an
//! unknown name, in alternating order, each from its own source. The output is the median of the
//! differences with its 95 % interval (by ranks), for H8 of the harnesses: under 1 ms. The cheap
//! hash hides the least. Broker, service and requester share this machine.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_nats::Client;
use countersign::account::Policy;
use countersign::bus::{BusConfig, Connection, Identity, headers, serve};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{Engine, EngineOptions, init, wall_clock};
use countersign::log::LogOptions;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Names of either kind, used in turns.
const NAMES: usize = 200;
/// Pairs that only warm up.
const WARM_UP: usize = 200;
const LOGIN: &str = "countersign.v1.command.start-login";
const REGISTER: &str = "countersign.v1.command.register-account";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let pairs = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let kdf_memory_kib = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let folder = tempfile::tempdir()?;
    let engine = engine(folder.path(), kdf_memory_kib)?;
    let (serving, asking) = (threads("serving")?, threads("asking")?);
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
    asking.block_on(async {
        is_ready.wait_for(|ready| *ready).await?;
        measure(&async_nats::connect(&url).await?, pairs).await
    })?;
    let _ = stop.send(());
    serving.block_on(served)??;
    Ok(())
}

fn threads(name: &str) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
}

fn engine(folder: &Path, kdf_memory_kib: u32) -> Outcome<Arc<Engine>> {
    let (data, keyring) = (folder.join("data"), folder.join("keyring"));
    init(&data, &keyring, wall_clock(), LogOptions::default())?;
    Ok(Arc::new(Engine::start(EngineOptions {
        policy: Policy {
            kdf_memory_kib,
            // No account's daily budget is used up, or every source would wait.
            password_day_failures_free: 10_000,
            ..Policy::default()
        },
        ..EngineOptions::new(data, keyring)
    })?))
}

async fn measure(client: &Client, pairs: usize) -> Outcome<()> {
    for n in 0..NAMES {
        let name = format!("person-{n}");
        let body = json!({"username": name, "password": "correct horse battery staple"});
        client.request(REGISTER, body.to_string().into()).await?;
    }
    let (mut gaps_us, mut known_us) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
    for pair in 0..WARM_UP + pairs {
        let known = format!("person-{}", pair % NAMES);
        let unknown = format!("unknown-{}", pair % NAMES);
        let (known, unknown) = match pair % 2 {
            0 => {
                let first = refused_us(client, &known, pair).await?;
                (first, refused_us(client, &unknown, pair).await?)
            }
            _ => {
                let first = refused_us(client, &unknown, pair).await?;
                (refused_us(client, &known, pair).await?, first)
            }
        };
        if pair >= WARM_UP {
            gaps_us.push(known - unknown);
            known_us.push(known);
        }
    }
    let [low, median, high] = median_with_interval(&mut gaps_us);
    let [_, typical, _] = median_with_interval(&mut known_us);
    println!(
        "{pairs} pairs: a refusal takes {typical:.0} µs; a known name takes {median:+.1} µs longer \
         (95 %: {low:+.1} to {high:+.1})"
    );
    Ok(())
}

/// The time until a wrong password is refused, in microseconds.
async fn refused_us(client: &Client, name: &str, pair: usize) -> Outcome<f64> {
    let [.., a, b, c] = pair.to_be_bytes();
    let context = json!({"ip": format!("10.{a}.{b}.{c}")});
    let body = json!({"username": name, "password": "wrong password", "context": context});
    let body = body.to_string().into();
    let sent = Instant::now();
    let reply = client.request(LOGIN, body).await?;
    let took = sent.elapsed();
    let word = reply
        .headers
        .as_ref()
        .and_then(|all| all.get(headers::ERROR));
    match word.map(|word| word.as_str()) {
        Some("credentials.invalid") => Ok(took.as_secs_f64() * 1e6),
        other => Err(format!("answered {other:?}").into()),
    }
}

/// The median between the ranks that hold it with 95 %.
fn median_with_interval(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (middle, count) = (values.len() / 2, values.len() as f64);
    let reach = (0.98 * count.sqrt()).ceil() as usize;
    let last = values.len() - 1;
    [
        values[middle.saturating_sub(reach)],
        values[middle],
        values[(middle + reach).min(last)],
    ]
}
