//! The fuzz targets of `tests/fuzz` over seeded mutations: what `cargo test` runs of them.
//!
//! Seeds are the golden logs' records and segments and a body of every command.
//!
//! ```text
//! cargo test --test fuzz_smoke -- --nocapture
//! FUZZ_FACTOR=1000 FUZZ_SEED=2 cargo test --release --test fuzz_smoke -- --nocapture
//! FUZZ_CORPUS=tests/fuzz/corpus cargo test --test fuzz_smoke        writes the seeds for cargo-fuzz
//! ```
#![allow(clippy::unwrap_used)]

mod disk;
#[path = "disk/storage.rs"]
mod storage;
#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use countersign::log::{EventLog, LogOptions};

/// SplitMix64: enough randomness, and every run can be repeated.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

fn bound(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// One to four small changes.
fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.below(seeds.len())].clone();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len());
        match rng.below(8) {
            _ if bytes.is_empty() => bytes.push(rng.byte()),
            0 => bytes[at] = rng.byte(),
            1 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'][rng.below(8)],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, rng.byte()),
            5 => drop(bytes.remove(at)),
            6 => {
                let other = &seeds[rng.below(seeds.len())];
                let from = rng.below(other.len());
                let tail = &other[from..(from + rng.below(512)).min(other.len())];
                let end = (at + tail.len()).min(bytes.len());
                bytes.splice(at..end, tail.iter().copied());
            }
            _ => {
                let end = (at + rng.below(64)).min(bytes.len());
                bytes[at..end].fill(rng.byte());
            }
        }
    }
    bytes
}

/// Runs a target over its seeds and then over mutations of them.
fn run(name: &str, target: fn(&[u8]) -> bool, seeds: &[Vec<u8>], executions: u64) {
    if let Ok(corpus) = std::env::var("FUZZ_CORPUS") {
        let folder = Path::new(&corpus).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
    for seed in seeds {
        assert!(
            target(seed),
            "{name}: a seed is refused: {}",
            String::from_utf8_lossy(seed)
        );
    }
    let mut rng = Rng(bound("FUZZ_SEED", 1));
    let executions = executions * bound("FUZZ_FACTOR", 1);
    let mut taken = 0_u64;
    for number in 0..executions {
        let bytes = mutate(&mut rng, seeds);
        let result = std::panic::catch_unwind(|| target(&bytes));
        let shown = || format!("{:02x?}", &bytes[..bytes.len().min(1_024)]);
        taken +=
            u64::from(result.unwrap_or_else(|_| panic!("{name}, execution {number}: {}", shown())));
    }
    // A target that takes everything, or nothing, has stopped looking.
    assert!(
        (1..executions).contains(&taken),
        "{name}: {taken} of {executions} taken"
    );
    println!(
        "{name}: {executions} executions, {taken} taken, {} refused",
        executions - taken
    );
}

fn golden_segments() -> Vec<PathBuf> {
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    let log = |golden: fs::DirEntry| golden.path().join("data/log");
    let logs = fs::read_dir(logs)
        .unwrap()
        .map(|golden| log(golden.unwrap()));
    let segments = logs.flat_map(|log| fs::read_dir(log).unwrap());
    segments.map(|segment| segment.unwrap().path()).collect()
}

/// Every record of the golden logs.
fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for log in golden_segments()
        .iter()
        .map(|segment| segment.parent().unwrap())
    {
        let folder = tempfile::tempdir().unwrap();
        for segment in fs::read_dir(log).unwrap() {
            let segment = segment.unwrap();
            fs::copy(segment.path(), folder.path().join(segment.file_name())).unwrap();
        }
        let log = EventLog::open(folder.path(), LogOptions::default()).unwrap();
        let page = log.reader().read(1, usize::MAX, usize::MAX).unwrap();
        records.extend(page.iter().map(|(_, record)| record.to_vec()));
    }
    records
}

#[test]
fn any_body_is_a_request_or_refused() {
    let context = r#""context":{"ip":"203.0.113.7","agent":"Firefox"}"#;
    let id = r#""account_id":"ada""#;
    let bodies = [
        format!(r#"{{{id},"username":"ada","password":"correct horse",{context}}}"#),
        format!(r#"{{{id},"password":"correct horse","new_password":"another one"}}"#),
        format!(r#"{{{id},"proof":{{"password":"p\u00e4ss"}},"label":"phone"}}"#),
        format!(r#"{{{id},"authenticator_id":"a-1","code":"123456"}}"#),
        format!(r#"{{{id},"code":"123456","next_code":"654321","audience":"shop",{context}}}"#),
        r#"{"after":7,"limit":500,"types":["totp-accepted"],"from":"2026-11-24T12:00:00Z"}"#.into(),
        String::new(),
    ];
    let seeds: Vec<_> = bodies.map(String::into_bytes).into();
    run("request", targets::request, &seeds, 20_000);
}

#[test]
fn any_bytes_are_a_header_block_or_refused() {
    let info = r#"Nats-Request-Info: {"acc":"PLATFORM","user":"gw","rtt":1}"#;
    let blocks = [
        "NATS/1.0\r\n\r\n".into(),
        format!("NATS/1.0\r\nNats-Msg-Id: a-1\r\nCountersign-Deadline:2026-11-24T12:00:00Z\r\n{info}\r\n\r\n"),
        "NATS/1.0 503\r\n\r\n".into(),
        "NATS/1.0 404 Message Not Found\r\nNats-Subject: a\r\nnats-subject:b: c \r\n\r\n".into(),
        "NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nEmpty:\r\nA: é\r\n\r\n".into(),
        format!("NATS/1.0\r\n{}\r\n", "A: 1\r\n".repeat(64)),
    ];
    let seeds: Vec<_> = blocks.map(String::into_bytes).into();
    run("header", targets::header, &seeds, 60_000);
}

#[test]
fn any_bytes_are_a_record_or_refused() {
    run("record", targets::record, &records(), 60_000);
}

/// A mutation that chance hardly makes: `00` becomes `80 00`, which postcard reads alike.
#[test]
fn a_padded_number_is_refused_or_read_as_the_same_record() {
    for seed in records() {
        let meta_len =
            usize::try_from(u32::from_le_bytes(seed[56..60].try_into().unwrap())).unwrap();
        for at in 64..seed.len() {
            let mut padded = seed.clone();
            padded[at] |= 0x80;
            padded.insert(at + 1, 0);
            let field = if at < 64 + meta_len { 56 } else { 60 };
            padded[field] += 1;
            targets::record(&padded);
        }
    }
}

#[test]
fn any_text_is_a_code_or_refused() {
    let zeros = countersign_schemas::code::BackupCode::from_parts(3, &[7; 9]);
    let seeds = [b"123456".to_vec(), zeros.reveal().into_bytes()];
    run("code", targets::code, &seeds, 200_000);
}

#[test]
fn any_bytes_are_a_segment_or_refused() {
    let segments: Vec<_> = golden_segments()
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    // Only a first segment can open alone.
    let first = segments
        .into_iter()
        .filter(|bytes| targets::log(bytes))
        .collect::<Vec<_>>();
    assert!(!first.is_empty());
    run("log", targets::log, &first, 400);
}
