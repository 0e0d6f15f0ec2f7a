//! Kill −9: a real broker, the real service on a real disk, clients that keep every promise.
//!
//! Each cycle lets several clients work, ends the process at a random moment or at one of the
//! named points (`countersign::crash_point`), starts it again and checks the promises of its
//! replies:
//!
//! - the history is gapless, in order, and each command has one effect at most;
//! - every acknowledged command is at the position and is the event that its reply named, and
//!   every counted failure is in the log; nothing else is there but what was under way;
//! - the same command id has the same outcome (`outcome.unseen` for secrets) and appends nothing;
//! - codes that were accepted or superseded are refused; every login status equals the fold.
//!
//! The harness is tested too. `a_service_that_replies_before_its_commit_is_found` puts a liar
//! between client and service, which replies "done" as soon as a command is sent. A client sees the
//! same of a build that replies early, so the product needs no switch that breaks its first law.
//!
//! ```text
//! cargo test --test crash -- --nocapture
//! CRASH_CYCLES=10000 cargo test --test crash -- --nocapture
//! ```
//! `CRASH_SEED` repeats a run's choices (not its timing). A debug build is needed for the points.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod fixture;
mod history;
mod lane;
#[path = "../patience/mod.rs"]
mod patience;
mod rng;
mod siege;
mod tally;
mod user;
mod wire;

use countersign::crash_point::POINTS;
use siege::Siege;
use tally::Tally;

/// Cycles on one log before the next begins, so that a long run does not become a slow one.
const CYCLES_PER_LOG: u64 = 50;

/// Logs of a run that prints nothing before its end.
const LOGS_UNSAID: u64 = 4;

fn bound(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_promise_is_broken_by_a_killed_process() {
    let cycles = bound("CRASH_CYCLES", 200);
    let seed = bound("CRASH_SEED", 1);
    println!("seed {seed}");
    // Two at a time: a cycle mostly waits for the disk.
    let logs = cycles.div_ceil(CYCLES_PER_LOG);
    let half = |from: u64| {
        let mut tally = Tally::default();
        for log in (from..logs).step_by(2) {
            let count = CYCLES_PER_LOG.min(cycles - log * CYCLES_PER_LOG);
            let mut siege = Siege::new(seed.wrapping_mul(1_000_003) + log);
            siege.run(count);
            tally.add(&siege.tally);
            // The result of a long run so far, in case it is ended.
            if logs > LOGS_UNSAID {
                println!("so far, of every other log: {tally}");
            }
        }
        tally
    };
    let tally = std::thread::scope(|threads| {
        let other = threads.spawn(|| half(1));
        let mut tally = half(0);
        tally.add(&other.join().unwrap());
        tally
    });
    println!("{tally}");
    assert!(tally.totp_logins > 0 && tally.backup_logins > 0 && tally.counted_failures > 0);
    if cycles >= 200 && cfg!(debug_assertions) {
        for point in POINTS {
            assert!(
                tally.points.contains_key(point),
                "{point} was never reached"
            );
        }
    }
}

#[test]
fn a_service_that_replies_before_its_commit_is_found() {
    let mut siege = Siege::new(7);
    siege.run(1);
    let found_out = (0..20).any(|_| siege.finds_out_a_lie());
    assert!(found_out, "twenty early replies went unnoticed");
}
