//! Whether a comparison takes longer the more of a secret is guessed, in the way of dudect
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017).
//!
//! Two classes of input are run in random order, the slowest tenth of all runs is cropped by one
//! threshold for both classes, and Welch's t compares the means: |t| < 4.5 is no leak. Drift and
//! load meet both classes alike because the order is random, and the crop removes what a busy
//! machine interrupts, so t is near a standard normal where nothing leaks: |t| ≥ 4.5 comes once in
//! 150,000 measurements. A leak is said only where three measurements in a row, each with new
//! random order, reach it. The same code with a planted early return must reach |t| > 10 in all.
//!
//! Default: 100,000 runs of each comparison. The long one, two minutes, to be run in both builds:
//!
//! ```text
//! COUNTERSIGN_TIMING_RUNS=1000000 cargo test --lib timing -- --nocapture --test-threads 1
//! COUNTERSIGN_TIMING_RUNS=1000000 cargo test --release --lib timing -- --nocapture --test-threads 1
//! ```
//!
//! What it cannot see: in an optimized build an early return among six digits differs by less than
//! a nanosecond (0.2–0.6 ns measured, of either sign), beside three HMACs and a clock of 10 ns. So
//! that planted one is asserted in the build without optimization only, which runs the same source.

use std::hint::black_box;
use std::time::Instant;

use countersign_schemas::code::TotpCode;

use super::otp::{TotpSecret, hotp, matching_steps};
use super::password::{HASH_BYTES, KdfParams, SALT_BYTES, Verifier, derive, verify};

/// Below it nothing leaks (dudect).
pub(crate) const T_MAX: f64 = 4.5;
/// What a planted leak reaches at least.
pub(crate) const T_PLANTED_MIN: f64 = 10.0;
const TRIES: usize = 3;
const STEP: u64 = 59_058_360;

fn runs() -> usize {
    std::env::var("COUNTERSIGN_TIMING_RUNS").map_or(100_000, |runs| runs.parse().unwrap())
}

/// The smallest |t| of up to three measurements; the first one below the limit ends them.
pub(crate) fn smallest_t<I: Clone, O>(
    what: &str,
    runs: usize,
    classes: &[I; 2],
    run: impl Fn(&I) -> O,
) -> f64 {
    let mut smallest = f64::INFINITY;
    for attempt in 0..TRIES {
        let t = measured_t(runs, attempt as u64, classes, &run);
        println!("{what}: t = {t:.2}");
        smallest = smallest.min(t.abs());
        if smallest < T_MAX {
            break;
        }
    }
    smallest
}

fn measured_t<I: Clone, O>(runs: usize, seed: u64, classes: &[I; 2], run: impl Fn(&I) -> O) -> f64 {
    let mut times = Vec::with_capacity(runs);
    let mut draws = seed;
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
    TotpSecret::new(*b"12345678901234567890")
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
            10 * number + if at < digits { digit } else { wrong.unwrap() }
        });
    let code = TotpCode::from_number(number);
    assert!(matching(&code).is_empty());
    code
}

/// H8, R-10, RUSTSEC-2022-0018 (totp-rs): five right digits take no longer than none.
#[test]
fn right_digits_of_a_wrong_code_take_no_longer() {
    let classes = [code_with_right(0), code_with_right(5)];
    let t = smallest_t("0 or 5 right digits", runs(), &classes, matching);
    assert!(t < T_MAX, "|t| = {t}");
}

/// H8: a code of the step before takes no longer than one of the step after.
#[test]
fn the_step_that_matches_cannot_be_told_by_the_time() {
    let classes = [hotp(&secret(), STEP - 1), hotp(&secret(), STEP + 1)];
    let t = smallest_t("step before or after", runs(), &classes, matching);
    assert!(t < T_MAX, "|t| = {t}");
}

/// H8: whether a code matches at all takes no longer either.
#[test]
fn a_right_code_takes_no_longer_than_a_wrong_one() {
    let classes = [code_with_right(0), hotp(&secret(), STEP + 1)];
    let t = smallest_t("no step or one", runs(), &classes, matching);
    assert!(t < T_MAX, "|t| = {t}");
}

/// A comparison that ends at the first wrong digit.
#[cfg(debug_assertions)]
fn matching_by_digit(code: &TotpCode) -> Vec<u64> {
    let steps = STEP - 1..=STEP + 1;
    let equals = |step: &u64| {
        let right = hotp(&secret(), *step);
        let pairs = right.digits().iter().zip(code.digits());
        for (a, b) in pairs {
            if a != b {
                return false;
            }
        }
        true
    };
    steps.filter(equals).collect()
}

/// A search that ends at the first step that matches.
fn matching_first(code: &TotpCode) -> Option<u64> {
    (STEP - 1..=STEP + 1).find(|step| hotp(&secret(), *step) == *code)
}

#[cfg(debug_assertions)]
#[test]
fn a_comparison_that_ends_at_the_first_wrong_digit_is_caught() {
    let classes = [code_with_right(0), code_with_right(5)];
    let t = smallest_t("planted: digits", runs(), &classes, matching_by_digit);
    assert!(t > T_PLANTED_MIN, "|t| = {t}");
}

#[test]
fn a_search_that_ends_at_the_first_matching_step_is_caught() {
    let classes = [hotp(&secret(), STEP - 1), hotp(&secret(), STEP + 1)];
    let t = smallest_t("planted: steps", runs(), &classes, matching_first);
    assert!(t > T_PLANTED_MIN, "|t| = {t}");
}

const INPUT: &[u8] = b"correct horse";
const PEPPER: &[u8] = b"pepper of the tests";

fn verifier() -> Verifier {
    // The least that Argon2id takes: what is looked for is a difference after it.
    let cost = KdfParams {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    derive(INPUT, cost, 1, PEPPER, [7; SALT_BYTES]).unwrap()
}

/// The verifier with one byte of its hash changed.
fn verifier_wrong_at(byte: usize) -> Verifier {
    let mut stored = verifier().encode().to_vec();
    let hash = stored.len() - HASH_BYTES;
    stored[hash + byte] ^= 1;
    Verifier::decode(&stored).unwrap()
}

/// H8: a hash that differs in its last byte takes no longer than one that differs in its first.
#[test]
fn a_nearly_right_hash_takes_no_longer() {
    let classes = [verifier_wrong_at(0), verifier_wrong_at(HASH_BYTES - 1)];
    let run = |stored: &Verifier| verify(INPUT, stored, PEPPER).unwrap();
    assert!(classes.iter().all(|stored| !run(stored)));
    let t = smallest_t("0 or 31 right bytes", runs(), &classes, run);
    assert!(t < T_MAX, "|t| = {t}");
}

#[test]
fn a_comparison_that_ends_at_the_first_wrong_byte_is_caught() {
    let classes = [verifier_wrong_at(0), verifier_wrong_at(HASH_BYTES - 1)];
    let run = |stored: &Verifier| {
        let computed = verifier().encode();
        for (a, b) in computed.iter().zip(stored.encode().iter()) {
            if a != b {
                return false;
            }
        }
        true
    };
    let t = smallest_t("planted: bytes", runs(), &classes, run);
    assert!(t > T_PLANTED_MIN, "|t| = {t}");
}
