//! Measures how fast a whole log is published to an empty stream, against a raw JetStream publish
//! of the same messages on the same broker, in turns, in one run.
//!
//! ```text
//! cargo run --release --example publish_bench                  # 200,000 events, 3 turns
//! cargo run --release --example publish_bench -- 50000 1       # fewer
//! ```
//!
//! The raw client only stores its messages: 1,000 in flight, each acknowledged. Broker and
//! publisher share this machine, so only the ratio means anything on another one.
#![allow(clippy::disallowed_methods)]

#[path = "../bench/history.rs"]
mod history;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use countersign::bus::{BusConfig, Connection, Identity, serve};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::{Clock, Engine, EngineOptions, PasswordsBy, init, wall_clock};
use countersign::log::LogOptions;
use countersign_schemas::time::Micros;
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CALLER: &str = "login-gateway";
const EVENTS_PER_ACCOUNT: u64 = 50;
/// Messages of the raw publisher that wait for their acknowledgement.
const IN_FLIGHT: usize = 1_000;
/// The time between two checks whether everything is published.
const LOOK: Duration = Duration::from_millis(1);
const RAW: &str = "RAW";

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (events, turns) = (next(200_000)?, next(3)?);
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))?;
    let folder = tempfile::tempdir()?;
    let (data, keyring) = (folder.path().join("data"), folder.path().join("keyring"));
    let began = Micros(wall_clock().0 - events * 1_000);
    init(&data, &keyring, began, LogOptions::default())?;
    let accounts = (events / EVENTS_PER_ACCOUNT).max(1);
    history::fill(&data, &keyring, events, accounts, began)?;
    let mut ratios = Vec::new();
    for _ in 0..turns {
        // A new broker without a stream each time.
        let broker = Broker::start(&server, &BrokerOptions::default())?;
        let client = async_nats::connect(broker.url()).await?;
        let ours = published(&data, &keyring, &broker.url()).await?;
        let raw = raw(&client, events).await?;
        println!(
            "published {ours:.0} events a second, raw {raw:.0}: {:.2}",
            ours / raw
        );
        ratios.push(ours / raw);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}

/// Publishes the whole log, and returns the rate.
async fn published(data: &Path, keyring: &Path, url: &str) -> Outcome<f64> {
    let clock: Clock = Arc::new(wall_clock);
    let options = EngineOptions {
        passwords_by: PasswordsBy::Caller,
        monotonic: Arc::clone(&clock),
        clock,
        ..EngineOptions::new(data, keyring)
    };
    let engine = tokio::task::spawn_blocking(move || Engine::start(options)).await??;
    let engine = Arc::new(engine);
    let feed = engine.feed();
    let (ready, mut is_ready) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let config = BusConfig {
        connection: Connection {
            servers: url.into(),
            ..Connection::default()
        },
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let started_at = Instant::now();
    let served = tokio::spawn(serve(Arc::clone(&engine), config, ready, async move {
        let _ = stopped.await;
    }));
    is_ready.wait_for(|ready| *ready).await?;
    let state = || feed.publication().state(feed.head());
    while state().is_none_or(|state| state.lag > 0) {
        tokio::time::sleep(LOOK).await;
    }
    let rate = feed.head() as f64 / started_at.elapsed().as_secs_f64();
    let _ = stop.send(());
    served.await??;
    Ok(rate)
}

/// Publishes as many messages of the same sizes to another stream, and returns the rate.
async fn raw(client: &Client, events: u64) -> Outcome<f64> {
    let jetstream = jetstream::new(client.clone());
    let stored = jetstream.get_stream("COUNTERSIGN_EVENTS").await?;
    let sample = stored.get_raw_message(events / 2).await?;
    let mut headers = HeaderMap::new();
    for (name, values) in sample
        .headers
        .iter()
        .filter(|(name, _)| !name.to_string().starts_with("Nats-"))
    {
        headers.insert(name.clone(), values[0].clone());
    }
    let mut config = stored.cached_info().config.clone();
    config.name = RAW.into();
    config.subjects = vec![RAW.into()];
    let config: stream::Config = config;
    jetstream.create_stream(config).await?;
    let started_at = Instant::now();
    let mut left = events;
    while left > 0 {
        let mut acks = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..left.min(IN_FLIGHT as u64) {
            let mut headers = headers.clone();
            headers.insert("Nats-Msg-Id", left.to_string());
            left -= 1;
            let sent = jetstream.publish_with_headers(RAW, headers, sample.payload.clone());
            acks.push(sent.await?);
        }
        for ack in join_all(acks.into_iter().map(IntoFuture::into_future)).await {
            ack?;
        }
    }
    Ok(events as f64 / started_at.elapsed().as_secs_f64())
}
