//! Measures the engine's ways to rebuild state from the log, against a bare scan of its files.
//!
//! Each way opens the files again, so that redb's own cache is cold and the system's is warm, and
//! its time begins once its files are open. They take turns over several rounds, so that a
//! disturbance meets all of them. The output is the median of the rounds' ratios with its spread.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::account::{Account, Recorded};
use countersign::crypto::derived::FileKey;
use countersign::engine::wall_clock;
use countersign::log::index::Index;
use countersign::log::{EventLog, LogOptions, Storage};
use countersign_projections::{Entry, Seal, Views};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::Record;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::Outcome;

const ROUNDS: usize = 9;
/// As in the engine.
const INDEX_CACHE_BYTES: usize = 64 * 1024 * 1024;
const FLUSH_ENTRIES: usize = 262_144;
const VIEWS_CACHE_BYTES: usize = 32 * 1024 * 1024;
const VIEWS_PAGE_RECORDS: usize = 2_048;
const VIEWS_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A way to measure: it gets the log and a folder for its files, and returns how many records it
/// read and the time.
type Way = fn(&Path, &Path) -> Outcome<(u64, Duration)>;

const WAYS: [(&str, Way); 5] = [
    ("bare redb scan", bare_scan),
    ("replay: read, decode, fold", replay),
    ("index catch-up: decode, check, write", catch_index_up),
    ("account rebuilds, found by the index", rebuild_accounts),
    ("view rebuild: decode, fold, write", rebuild_views),
];

/// Prints each way's rate and its ratio to the bare scan of the same round.
pub fn measure(log: &Path, folder: &Path) -> Outcome<()> {
    let mut rounds: [Vec<f64>; WAYS.len()] = Default::default();
    // The first round only brings the files into the system's cache.
    for round in 0..=ROUNDS {
        for (slot, (_, way)) in WAYS.into_iter().enumerate() {
            let (records, time) = way(log, folder)?;
            if round > 0 {
                rounds[slot].push(records as f64 / time.as_secs_f64());
            }
        }
        fs::remove_file(folder.join("index.redb"))?;
        fs::remove_file(folder.join("views.redb"))?;
    }
    println!("medians of {ROUNDS} rounds, the ratio to the bare scan's with least and most:");
    for ((name, _), rates) in WAYS.iter().zip(&rounds) {
        let ratios = rates.iter().zip(&rounds[0]).map(|(rate, bare)| rate / bare);
        let (ratio, least, most) = median(ratios.collect());
        let (rate, _, _) = median(rates.clone());
        println!("  {name:<38} {rate:>8.0}/s  {ratio:.2} ({least:.2} to {most:.2})");
    }
    println!("  the bar for the replay is 0.35");
    Ok(())
}

/// The processor time of this thread, so that other work on the machine does not count.
///
/// Every file is in the system's cache, so on an idle machine the wall clock shows the same, except
/// for the few durable commits of index and views.
fn on_cpu() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().ok_or("no time on the processor")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// The median, the least and the most.
fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

/// Reads every value of every segment through redb, with a cache as large as the log's.
fn bare_scan(log: &Path, _: &Path) -> Outcome<(u64, Duration)> {
    const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records_v1");
    let (mut count, mut bytes, mut time) = (0, 0, Duration::ZERO);
    for segment in fs::read_dir(log)? {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(LogOptions::default().active_cache_bytes);
        let db = builder.open_read_only(segment?.path())?;
        let start = on_cpu()?;
        for entry in db.begin_read()?.open_table(RECORDS)?.iter()? {
            bytes += entry?.1.value().len();
            count += 1;
        }
        time += on_cpu()? - start;
    }
    assert!(bytes > 0, "a log has bytes");
    Ok((count, time))
}

/// Folds all accounts side by side, in the order of the log; each has its own place in memory, as
/// in the engine's cache.
fn replay(log: &Path, _: &Path) -> Outcome<(u64, Duration)> {
    let log = EventLog::open(log, LogOptions::default())?;
    let (start, reader) = (on_cpu()?, log.reader());
    let mut accounts: HashMap<StreamKey, Box<Account>> = HashMap::new();
    let mut next = 1;
    while next <= log.head() {
        let page = reader.read(next, usize::MAX, usize::MAX)?;
        for (_, bytes) in page.iter() {
            let record = Record::decode(bytes)?;
            fold(accounts.entry(record.stream_key).or_default(), &record)?;
        }
        next = page.next();
    }
    let time = on_cpu()? - start;
    let folded: u64 = accounts.values().map(|a| u64::from(a.version)).sum();
    assert_eq!(folded, log.head(), "every event is folded");
    log.close()?;
    Ok((next - 1, time))
}

/// As the engine folds an account; an event of the log itself changes only its version.
fn fold(account: &mut Account, record: &Record) -> Outcome<()> {
    account.evolve(&Recorded {
        account_id: &record.meta.account_id,
        version: record.version,
        at: record.recorded_at,
        caller: &record.meta.caller,
        source_key: record.meta.source_key,
        event: &record.event()?,
    });
    Ok(())
}

/// As a start without an index, except for opening sealed names: this log has none.
fn catch_index_up(log: &Path, folder: &Path) -> Outcome<(u64, Duration)> {
    let log = EventLog::open(log, LogOptions::default())?;
    let index = Index::open(
        &Storage::default(),
        &folder.join("index.redb"),
        INDEX_CACHE_BYTES,
        &FileKey::new(&[1; 32]),
        |_| None,
    )?;
    let (start, reader, now) = (on_cpu()?, log.reader(), wall_clock());
    let mut next = 1;
    while next <= log.head() {
        let page = reader.read(next, usize::MAX, usize::MAX)?;
        for (position, bytes) in page.iter() {
            let record = Record::decode(bytes)?;
            record.event()?;
            index.check_version(position, &record)?;
            index.push(position, &record, bytes, None, now)?;
        }
        next = page.next();
        if index.waiting() >= FLUSH_ENTRIES {
            index.flush(true, now, |_| None)?;
        }
    }
    index.flush(true, now, |_| None)?;
    let time = on_cpu()? - start;
    log.close()?;
    Ok((next - 1, time))
}

/// As the engine for an account that is not in its cache: every account, one after the other.
fn rebuild_accounts(log: &Path, folder: &Path) -> Outcome<(u64, Duration)> {
    let log = EventLog::open(log, LogOptions::default())?;
    let reader = log.reader();
    let at = |position| -> Outcome<Record<'static>> {
        let bytes = reader.get(position)?.ok_or("no record")?;
        Ok(Record::decode(&bytes)?.into_owned())
    };
    let index = Index::open(
        &Storage::default(),
        &folder.join("index.redb"),
        INDEX_CACHE_BYTES,
        &FileKey::new(&[1; 32]),
        |position| at(position).ok(),
    )?;
    // Every account's first event is at the beginning.
    let mut streams = Vec::new();
    for position in 2.. {
        let record = at(position)?;
        if record.version > 1 || position == log.head() {
            break;
        }
        streams.push(record.stream_key);
    }
    let (start, mut count) = (on_cpu()?, 0);
    for stream in streams {
        let mut account = Account::default();
        for position in index.positions(&stream, 0, u32::MAX)? {
            let bytes = reader.get(position)?.ok_or("no record")?;
            fold(&mut account, &Record::decode(&bytes)?)?;
            count += 1;
        }
        assert!(account.exists(), "an account is registered first");
    }
    let time = on_cpu()? - start;
    log.close()?;
    Ok((count, time))
}

fn seal() -> Seal {
    let key = FileKey::new(&[1; 32]);
    Arc::new(move |parts| key.tag(parts))
}

/// As the projector after a view was emptied.
fn rebuild_views(log: &Path, folder: &Path) -> Outcome<(u64, Duration)> {
    let log = EventLog::open(log, LogOptions::default())?;
    let (views, _) = Views::open(&folder.join("views.redb"), VIEWS_CACHE_BYTES, &seal())?;
    let (start, reader) = (on_cpu()?, log.reader());
    while views.checkpoint() < log.head() {
        let from = views.checkpoint() + 1;
        let page = reader.read(from, VIEWS_PAGE_RECORDS, VIEWS_PAGE_BYTES)?;
        let entries: Vec<_> = page
            .iter()
            .map(|(position, bytes)| Ok(Entry::decode(position, Record::decode(bytes)?)?))
            .collect::<Outcome<_>>()?;
        views.catch_up(&entries)?;
    }
    views.flush()?;
    let time = on_cpu()? - start;
    log.close()?;
    Ok((views.checkpoint(), time))
}
