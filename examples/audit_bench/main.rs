//! Measures how long an auditor waits, on a log of logins: verifying a stopped log, proofs, an
//! account of 10,000 events as it was, and every view rebuilt. It also measures the cost of tree
//! and signature for each event.
//!
//! ```text
//! cargo run --release --example audit_bench                   # 200,000 events, temp folder
//! cargo run --release --example audit_bench -- 1000000 /data  # more events, on another disk
//! ```
//!
//! Times are processor times of this thread, or wall times if the engine's threads do the work.
//! They mean nothing on another machine.
#![allow(clippy::disallowed_methods)]

#[path = "../bench/history.rs"]
mod history;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use countersign::crypto::note::NoteSigner;
use countersign::engine::{
    Engine, EngineOptions, PasswordsBy, Queries, init, rebuild_stopped_view, wall_clock,
};
use countersign::log::offline::verify_folder;
use countersign::log::proof::check_inclusion;
use countersign::log::tiles::Tree;
use countersign::log::tree::leaf_hash;
use countersign::log::{EventLog, LogOptions};
use countersign_schemas::audit::{AccountAtQuery, ConsistencyQuery, ProofQuery};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::time::Micros;
use data_encoding::BASE64;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const CALLER: &str = "login-gateway";
/// The events of each account; the aim for an account as it was is for this number.
const EVENTS_PER_ACCOUNT: u64 = 10_000;
const PROOFS: u64 = 1_000;
const VIEWS: [&str; 4] = ["login-status", "audit-trail", "account-card", "reset-queue"];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = arguments.first().map_or(Ok(200_000), |text| text.parse())?;
    let parent = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("countersign-audit-bench-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let measured = measure(&folder, events);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, events: u64) -> Outcome<()> {
    let (data, keyring) = (folder.join("data"), folder.join("keys/keyring.toml"));
    let accounts = (events / EVENTS_PER_ACCOUNT).max(1);
    let began = Micros(wall_clock().0 - events * 1_000);
    init(&data, &keyring, began, LogOptions::default())?;
    history::fill(&data, &keyring, events, accounts, began)?;
    println!(
        "{events} events of {accounts} accounts in {}",
        folder.display()
    );
    verify(&data, folder)?;
    tree(&data)?;
    let engine = Engine::start(options(&data, &keyring))?;
    proofs(&engine.queries(), events)?;
    account_at(&engine.queries(), accounts)?;
    engine.drain(Duration::from_secs(1));
    drop(engine);
    views(&data, &keyring, events)?;
    Ok(())
}

fn options(data: &Path, keyring: &Path) -> EngineOptions {
    EngineOptions {
        passwords_by: PasswordsBy::Caller,
        ..EngineOptions::new(data, keyring)
    }
}

fn refused(refusal: Refusal) -> String {
    refusal.code.title().into()
}

/// The processor time of this thread.
fn on_cpu() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().ok_or("no time on the processor")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// The second pass of two: the first brings the files into the system's cache.
fn verify(data: &Path, folder: &Path) -> Outcome<()> {
    let mut rate = 0.0;
    for pass in 0..2 {
        let scratch = folder.join(format!("scratch-{pass}"));
        fs::create_dir(&scratch)?;
        let start = on_cpu()?;
        let verified = verify_folder(&data.join("log"), &scratch, &[], |_, _| {}, |_, _| {})?;
        rate = verified.records as f64 / (on_cpu()? - start).as_secs_f64();
    }
    println!("verify: read, decode, order, leaf, root   {rate:>9.0}/s");
    Ok(())
}

/// The cost of a record beyond its append.
fn tree(data: &Path) -> Outcome<()> {
    let log = EventLog::open(&data.join("log"), LogOptions::default())?;
    let reader = log.reader();
    let (mut tree, mut next, mut time) = (Tree::default(), 1, Duration::ZERO);
    while next <= log.head() {
        let page = reader.read(next, usize::MAX, usize::MAX)?;
        let start = on_cpu()?;
        for (_, record) in page.iter() {
            tree.append(leaf_hash(record));
        }
        tree.drop_stored(tree.size());
        time += on_cpu()? - start;
        next = page.next();
    }
    let each = time.as_secs_f64() * 1e6 / log.head() as f64;
    let signer = NoteSigner::new(&[7; 32], &[1; 16]);
    let start = on_cpu()?;
    for size in 1..=1_000 {
        std::hint::black_box(signer.sign(size, &tree.root()));
    }
    let sign = (on_cpu()? - start).as_secs_f64() * 1e3;
    println!("tree: leaf hash and frontier              {each:>9.2} µs an event");
    println!("signature: once in 10 s                   {sign:>9.1} µs");
    log.close()?;
    Ok(())
}

fn proofs(queries: &Queries, events: u64) -> Outcome<()> {
    let checkpoint = queries.checkpoint().map_err(refused)?;
    let hash = |text: &str| -> Outcome<[u8; 32]> {
        let bytes = BASE64.decode(text.as_bytes())?;
        bytes.try_into().map_err(|_| "a hash has 32 bytes".into())
    };
    let (mut made, mut checked, mut longest) = (Duration::ZERO, Duration::ZERO, 0);
    for n in 0..PROOFS {
        let position = 1 + n * (events / PROOFS);
        let size = Some(checkpoint.size);
        let start = Instant::now();
        let proof = queries
            .proof(&ProofQuery { position, size })
            .map_err(refused)?;
        made += start.elapsed();
        let hashes: Outcome<Vec<_>> = proof.inclusion.iter().map(|text| hash(text)).collect();
        let (hashes, root) = (hashes?, hash(&checkpoint.root)?);
        let record = BASE64.decode(proof.record.as_bytes())?;
        let start = Instant::now();
        let leaf = leaf_hash(&record);
        check_inclusion(&leaf, position, checkpoint.size, &root, &hashes)?;
        checked += start.elapsed();
        longest = longest.max(hashes.len());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / PROOFS as f64;
    println!(
        "inclusion: {longest} hashes ({} B)               {:>9.1} µs to make, {:.1} µs to check",
        longest * 32,
        each(made),
        each(checked)
    );
    let start = Instant::now();
    let query = ConsistencyQuery {
        from: events / 3,
        to: None,
    };
    let proof = queries.consistency(&query).map_err(refused)?;
    println!(
        "consistency: {} hashes                    {:>9.1} µs to make",
        proof.proof.len(),
        start.elapsed().as_secs_f64() * 1e6
    );
    Ok(())
}

fn account_at(queries: &Queries, accounts: u64) -> Outcome<()> {
    let account = AccountId::parse(&format!("0192f3a4-5b6c-7d8e-8f00-{:012}", accounts - 1))?;
    let query = AccountAtQuery {
        position: None,
        at: Some(wall_clock()),
    };
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        queries.account_at(&account, &query).map_err(refused)?;
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "account of 10,000 events as it was        {:>9.1} ms (median of 20, most {:.1})",
        times[10].as_secs_f64() * 1e3,
        times[19].as_secs_f64() * 1e3
    );
    Ok(())
}

/// All four views, one after the other, each beside the one that serves.
fn views(data: &Path, keyring: &Path, events: u64) -> Outcome<()> {
    for view in VIEWS {
        let start = Instant::now();
        rebuild_stopped_view(data, keyring, wall_clock(), view, |_, _| {})?
            .ok_or("a known view")?;
        let time = start.elapsed();
        println!(
            "view {view:<14}                       {:>9.0}/s",
            events as f64 / time.as_secs_f64()
        );
    }
    fs::remove_file(data.join("views.redb"))?;
    let start = Instant::now();
    rebuild_stopped_view(data, keyring, wall_clock(), VIEWS[3], |_, _| {})?
        .ok_or("a known view")?;
    println!(
        "all views of a deleted file, and one more {:>9.0}/s",
        events as f64 / start.elapsed().as_secs_f64()
    );
    Ok(())
}
