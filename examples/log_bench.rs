//! Measures the event log against a bare fsynced file and a bare redb scan, in one run.
//!
//! ```text
//! cargo run --release --example log_bench                    # 300,000 events, in the temp folder
//! cargo run --release --example log_bench -- 3000000 /data   # more events, on another disk
//! ```
//!
//! Only bytes and ratios mean anything on another machine; rates depend on the disk.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use countersign::log::{EventLog, LogOptions, PAGE_BYTES_MAX, PAGE_RECORDS_MAX};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A login's record is at most this long on disk.
const RECORD_BYTES: usize = 260;
/// How many events each batch size appends in a turn.
const EVENTS_PER_BATCH_SIZE: u64 = 20_000;
/// How many turns the log and the bare file take.
const TURNS: usize = 10;
/// How many short turns a long log and an empty one take, and how many events each appends in a
/// turn, so that other work of the machine disturbs both alike.
const GROWTH_TURNS: usize = 200;
const GROWTH_TURN_EVENTS: u64 = 1_024;
/// How many more batches the process appends under load before it is killed.
const BATCHES_BEFORE_KILL: usize = 300;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, folder, events] = &arguments[..]
        && mode == "--fill"
    {
        return fill(Path::new(folder), events.parse()?);
    }
    let events = arguments.first().map_or(Ok(300_000), |text| text.parse())?;
    let parent = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("countersign-log-bench-{}", std::process::id()));
    fs::create_dir(&folder)?;
    println!(
        "{events} events of {RECORD_BYTES} bytes in {}",
        folder.display()
    );
    let measured = measure(&folder, events);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path, events: u64) -> Outcome<()> {
    for batch in [1, 16, 64, 256] {
        measure_appends(folder, batch)?;
    }
    let log = folder.join("log");
    measure_growth(&log, events)?;
    measure_reads(&log)?;
    fs::remove_dir_all(&log)?;
    measure_reopening(&log, events)
}

/// Makes bytes that differ from record to record and do not compress.
fn batch(first: u64, length: u64) -> Vec<Vec<u8>> {
    let record = |position: u64| {
        let mut state = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let words = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.flatten().take(RECORD_BYTES).collect()
    };
    (first..first + length).map(record).collect()
}

fn written_bytes() -> Outcome<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("no write_bytes in /proc/self/io")?.parse()?)
}

/// Appends `events` in batches and returns the seconds taken.
fn append(log: &mut EventLog, events: u64, length: u64) -> Outcome<f64> {
    let batches: Vec<_> = (0..events / length)
        .map(|index| batch(log.head() + 1 + index * length, length))
        .collect();
    let start = Instant::now();
    for records in &batches {
        log.append(log.head(), records)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Appends to the log and to a bare file by turns, so that both meet the same disturbances.
fn measure_appends(folder: &Path, length: u64) -> Outcome<()> {
    let events = match length {
        1 => EVENTS_PER_BATCH_SIZE / 20,
        _ => EVENTS_PER_BATCH_SIZE,
    };
    let place = folder.join(format!("batch-{length}"));
    let mut log = EventLog::create(&place, LogOptions::default(), &batch(1, 1))?;
    append(&mut log, EVENTS_PER_BATCH_SIZE, 256)?;
    let mut file = File::create(folder.join("bare"))?;
    let (mut log_side, mut bare_side) = (Side::default(), Side::default());
    for _ in 0..TURNS {
        let before = written_bytes()?;
        let seconds = append(&mut log, events, length)?;
        log_side.add(events / length * length, seconds, written_bytes()? - before);

        let batches: Vec<_> = (0..events / length)
            .map(|index| batch(index * length, length).concat())
            .collect();
        let before = written_bytes()?;
        let start = Instant::now();
        for bytes in &batches {
            file.write_all(bytes)?;
            file.sync_data()?;
        }
        let seconds = start.elapsed().as_secs_f64();
        bare_side.add(events / length * length, seconds, written_bytes()? - before);
    }
    log.close()?;
    fs::remove_dir_all(place)?;
    println!(
        "batch {length:>3}: {:>7.0} B written per event (bare file {:.0}), {:>7.0} events/s, {:.2} of the bare file's {:.0}",
        log_side.bytes_per_event(),
        bare_side.bytes_per_event(),
        log_side.rate(),
        log_side.rate() / bare_side.rate(),
        bare_side.rate(),
    );
    Ok(())
}

/// The results of one side of a comparison in all its turns.
#[derive(Default)]
struct Side {
    events: u64,
    seconds: f64,
    bytes: u64,
}

impl Side {
    fn add(&mut self, events: u64, seconds: f64, bytes: u64) {
        self.events += events;
        self.seconds += seconds;
        self.bytes += bytes;
    }

    fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    fn bytes_per_event(&self) -> f64 {
        self.bytes as f64 / self.events as f64
    }
}

/// Appends in short turns to a log of this many events and to one that begins empty.
fn measure_growth(log_folder: &Path, events: u64) -> Outcome<()> {
    let mut full = EventLog::create(log_folder, LogOptions::default(), &batch(1, 1))?;
    while full.head() < events {
        let chunk = (events - full.head()).clamp(512, EVENTS_PER_BATCH_SIZE);
        append(&mut full, chunk, 512)?;
    }
    let place = log_folder.with_file_name("empty");
    let mut empty = EventLog::create(&place, LogOptions::default(), &batch(1, 1))?;
    let mut ratios = Vec::new();
    for turn in 0..GROWTH_TURNS {
        // Each goes first in turn.
        let mut seconds = [0.0; 2];
        for place in [turn % 2, (turn + 1) % 2] {
            let log = if place == 0 { &mut empty } else { &mut full };
            seconds[place] = append(log, GROWTH_TURN_EVENTS, 64)?;
        }
        ratios.push(seconds[0] / seconds[1]);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |part: usize| ratios[ratios.len() * part / 100];
    let head = full.head();
    println!(
        "append rate at {head} events: {:.2} of that of a log that began empty (median of {GROWTH_TURNS} turns of {GROWTH_TURN_EVENTS} events; half of them {:.2} to {:.2})",
        at(50),
        at(25),
        at(75)
    );
    empty.close()?;
    fs::remove_dir_all(place)?;
    full.close()?;
    let mut size = 0;
    for entry in fs::read_dir(log_folder)? {
        size += entry?.metadata()?.len();
    }
    let per_event = size as f64 / head as f64;
    println!(
        "log size: {per_event:.0} B per event, {:.3} of its record bytes",
        per_event / RECORD_BYTES as f64
    );
    Ok(())
}

fn measure_reads(log_folder: &Path) -> Outcome<()> {
    // The first scan only brings the files into the system's cache.
    scan(log_folder)?;
    let (bare, scanned) = scan(log_folder)?;

    let start = Instant::now();
    let log = EventLog::open(log_folder, LogOptions::default())?;
    let opened = start.elapsed().as_secs_f64();
    let reader = log.reader();
    let (mut next, mut read) = (1, 0);
    loop {
        let page = reader.read(next, PAGE_RECORDS_MAX, PAGE_BYTES_MAX)?;
        if page.is_empty() {
            break;
        }
        next = page.next();
        read += page.iter().map(|(_, record)| record.len()).sum::<usize>();
    }
    let seconds = start.elapsed().as_secs_f64() - opened;
    assert_eq!(read, scanned, "both read everything");
    println!("opening a cleanly closed log: {:.1} ms", opened * 1e3);
    println!(
        "paged read: {:.0} events/s, {:.2} of a bare redb scan",
        (next - 1) as f64 / seconds,
        bare / seconds
    );
    Ok(())
}

/// Scans all segments with redb alone and returns the seconds taken and the record bytes seen.
fn scan(log_folder: &Path) -> Outcome<(f64, usize)> {
    let start = Instant::now();
    let mut scanned = 0;
    for number in 1_u32.. {
        let path = log_folder.join(format!("{number:08}.redb"));
        if !path.exists() {
            break;
        }
        let mut builder = redb::Builder::new();
        builder.set_cache_size(LogOptions::default().sealed_cache_bytes);
        let db = builder.open_read_only(path)?;
        let table = db
            .begin_read()?
            .open_table(TableDefinition::<u64, &[u8]>::new("records_v1"))?;
        for entry in table.iter()? {
            scanned += entry?.1.value().len();
        }
    }
    Ok((start.elapsed().as_secs_f64(), scanned))
}

/// Kills a process that appends, and opens the log that it leaves.
fn measure_reopening(log_folder: &Path, events: u64) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--fill")
        .arg(log_folder)
        .arg(events.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let mut lines = BufReader::new(output);
    let mut acknowledged = 0;
    for _ in 0..BATCHES_BEFORE_KILL {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        acknowledged = line.trim().parse()?;
    }
    child.kill()?;
    child.wait()?;
    let mut rest = String::new();
    lines.read_to_string(&mut rest)?;
    let mut whole_lines = rest
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    if let Some(last) = whole_lines.next_back() {
        acknowledged = last.trim().parse()?;
    }
    let start = Instant::now();
    let log = EventLog::open(log_folder, LogOptions::default())?;
    let seconds = start.elapsed().as_secs_f64();
    assert!(log.head() >= acknowledged, "an acknowledged event is lost");
    println!(
        "reopening after kill -9 under load at {} events: {:.0} ms, nothing lost of {acknowledged} acknowledged",
        log.head(),
        seconds * 1e3
    );
    Ok(())
}

/// Fills a log, then appends for ever and prints each new head once it is durable.
///
/// It begins to print when the last segment is nearly full, because then a repair takes longest.
fn fill(log_folder: &Path, events: u64) -> Outcome<()> {
    let mut log = EventLog::create(log_folder, LogOptions::default(), &batch(1, 1))?;
    let segment = LogOptions::default().segment_records.get();
    while log.head() < events || log.head() % segment < segment / 10 * 9 {
        append(&mut log, 512 * 16, 512)?;
    }
    let mut output = std::io::stdout().lock();
    loop {
        let head = log.append(log.head(), &batch(log.head() + 1, 64))?;
        writeln!(output, "{head}")?;
        output.flush()?;
    }
}
