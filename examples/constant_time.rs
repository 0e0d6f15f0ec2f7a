//! Reports whether a comparison takes longer if more of a guess is right, by the method of dudect
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017).
//!
//! ```text
//! cargo run --example constant_time                 # 100,000 runs of each comparison
//! cargo run --release --example constant_time -- 1000000
//! ```
//!
//! Two classes of input are run in random order, the slowest tenth of all runs is cropped by one
//! threshold for both classes, and Welch's t compares the means: |t| < 4.5 is no leak. Drift and
//! load meet both classes alike because the order is random. The rows called planted have a leak,
//! and show what this machine can detect. The example reports and does not judge: on a busy machine
//! a clock proves neither. `tests/tidy/constant_time.rs` checks the source.
//!
//! In an optimized build an early return among six digits differs by less than a nanosecond
//! (0.2 to 0.6 ns measured, of either sign), beside three HMACs and a clock of 10 ns.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Instant;

use countersign::crypto::otp::{TotpSecret, hotp, matching_steps};
use countersign::crypto::password::{HASH_BYTES, KdfParams, SALT_BYTES, Verifier, derive, verify};
use countersign_schemas::code::TotpCode;

const STEP: u64 = 59_058_360;
const INPUT: &[u8] = b"correct horse";
const PEPPER: &[u8] = b"pepper of the bench";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs = std::env::args().nth(1);
    let runs = runs.map_or(Ok(100_000), |text| text.parse())?;
    let codes = [code_with_right(0), code_with_right(5)];
    let steps = [hotp(&secret(), STEP - 1), hotp(&secret(), STEP + 1)];
    let any = [code_with_right(0), hotp(&secret(), STEP + 1)];
    let hashes = [verifier_wrong_at(0)?, verifier_wrong_at(HASH_BYTES - 1)?];
    report("0 or 5 right digits", runs, &codes, matching);
    report(
        "planted: ends at the first wrong digit",
        runs,
        &codes,
        matching_by_digit,
    );
    report("the step before or after", runs, &steps, matching);
    report(
        "planted: ends at the first matching step",
        runs,
        &steps,
        matching_first,
    );
    report("no matching step or one", runs, &any, matching);
    report("0 or 31 right bytes of a hash", runs, &hashes, |stored| {
        verify(INPUT, stored, PEPPER).is_ok_and(|right| right)
    });
    report(
        "planted: ends at the first wrong byte",
        runs,
        &hashes,
        |stored| {
            let computed = verifier().map(|computed| computed.encode().to_vec());
            computed.is_ok_and(|computed| ends_early(&computed, &stored.encode()))
        },
    );
    Ok(())
}

fn report<I: Clone, O>(what: &str, runs: usize, classes: &[I; 2], run: impl Fn(&I) -> O) {
    println!("{what}: t = {:.2}", measured_t(runs, classes, &run));
}

fn measured_t<I: Clone, O>(runs: usize, classes: &[I; 2], run: impl Fn(&I) -> O) -> f64 {
    let mut times = Vec::with_capacity(runs);
    let mut draws = 0;
    for _ in 0..runs {
        draws = mix(draws);
        let class = (draws >> 63) as usize;
        // Both classes are read from the same place.
        let input = classes[class].clone();
        let started = Instant::now();
        black_box(run(black_box(&input)));
        times.push((class, started.elapsed().as_nanos() as f64));
    }
    welch_t(&times)
}

/// Welch's t of the two classes below the ninetieth percentile of both together.
fn welch_t(times: &[(usize, f64)]) -> f64 {
    let mut sorted: Vec<_> = times.iter().map(|(_, ns)| *ns).collect();
    sorted.sort_by(f64::total_cmp);
    let crop = sorted[sorted.len() * 9 / 10];
    let [a, b] = [0, 1].map(|class| {
        let of_class = times.iter().filter(|(c, ns)| *c == class && *ns <= crop);
        mean_and_error(of_class.map(|(_, ns)| *ns).collect())
    });
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}

/// The mean and its squared standard error.
fn mean_and_error(values: Vec<f64>) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// A hash that serves as a generator (SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn secret() -> TotpSecret {
    TotpSecret::new(b"12345678901234567890")
}

fn matching(code: &TotpCode) -> Vec<u64> {
    matching_steps(&secret(), code, STEP - 1..=STEP + 1)
}

/// Digits of which as many are right, from the left, as `digits` says, and the others wrong.
fn code_with_right(digits: usize) -> TotpCode {
    let right = hotp(&secret(), STEP);
    let other = hotp(&secret(), STEP + 1);
    let number = right
        .digits()
        .iter()
        .enumerate()
        .fold(0, |number, (at, digit)| {
            let digit = u32::from(digit - b'0');
            let wrong = (0..10).find(|d| *d != digit && *d != u32::from(other.digits()[at] - b'0'));
            10 * number
                + if at < digits {
                    digit
                } else {
                    wrong.unwrap_or(digit)
                }
        });
    TotpCode::from_number(number)
}

/// A comparison that ends at the first difference.
fn ends_early(a: &[u8], b: &[u8]) -> bool {
    for (a, b) in a.iter().zip(b) {
        if a != b {
            return false;
        }
    }
    true
}

fn matching_by_digit(code: &TotpCode) -> Vec<u64> {
    let steps = STEP - 1..=STEP + 1;
    let equals = |step: &u64| ends_early(hotp(&secret(), *step).digits(), code.digits());
    steps.filter(equals).collect()
}

/// A search that ends at the first step that matches.
fn matching_first(code: &TotpCode) -> Option<u64> {
    (STEP - 1..=STEP + 1).find(|step| hotp(&secret(), *step) == *code)
}

fn verifier() -> Result<Verifier, Box<dyn std::error::Error>> {
    // The cheapest Argon2id: the example looks for a difference after it.
    let cost = KdfParams {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    Ok(derive(INPUT, cost, 1, PEPPER, [7; SALT_BYTES])?)
}

/// The verifier with one byte of its hash changed.
fn verifier_wrong_at(byte: usize) -> Result<Verifier, Box<dyn std::error::Error>> {
    let mut stored = verifier()?.encode().to_vec();
    let hash = stored.len() - HASH_BYTES;
    stored[hash + byte] ^= 1;
    Ok(Verifier::decode(&stored)?)
}
