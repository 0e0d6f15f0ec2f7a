//! Counters of one endpoint since the start, written by many, read by `$SRV.STATS`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_schemas::refusal::ErrorCode;
use serde_json::{Value, json};

/// The number of buckets for each doubling of a duration: a percentile is accurate to 1/8.
const BUCKETS_PER_DOUBLING: u64 = 8;
/// Durations are distinguished up to 2^40 µs, twelve days.
const DOUBLINGS_MAX: u64 = 40;
const BUCKETS: usize = (BUCKETS_PER_DOUBLING * DOUBLINGS_MAX) as usize;
/// The value that means "no last error".
const NONE: u64 = u64::MAX;

/// One endpoint's counters at one moment.
#[derive(Debug)]
pub struct Counts {
    /// Requests that arrived.
    pub received: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests without a reply subject, which are not executed.
    pub unanswerable: u64,
    /// Answers that were refusals or faults, by code; codes that never occurred are absent.
    pub refused: Vec<(&'static str, u64)>,
    /// The total time of all answers, in microseconds.
    pub processing_us: u64,
    /// For each of [`BOUNDS_US`], how many answers took less time.
    pub within: Vec<u64>,
}

/// The bounds of the histogram, in microseconds: 256 µs to 16.8 s, each twice the previous one.
pub const BOUNDS_US: [u64; 17] = {
    let mut bounds = [0; 17];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = 1 << (at + 8);
        at += 1;
    }
    bounds
};

/// The counters of one endpoint.
#[derive(Debug)]
pub struct Stats {
    received: AtomicU64,
    answered: AtomicU64,
    unanswerable: AtomicU64,
    faults: AtomicU64,
    last_fault: AtomicU64,
    processing_us: AtomicU64,
    refused: [AtomicU64; ErrorCode::ALL.len()],
    durations: [AtomicU64; BUCKETS],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            received: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            unanswerable: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            last_fault: AtomicU64::new(NONE),
            processing_us: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            durations: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Stats {
    /// Counts a request that arrived.
    pub fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request without a usable reply subject, which is not executed.
    pub fn unanswerable(&self) {
        self.unanswerable.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer, `took_us` microseconds after its request arrived.
    pub fn answered(&self, refused: Option<ErrorCode>, took_us: u64) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.processing_us.fetch_add(took_us, Ordering::Relaxed);
        self.durations[bucket(took_us)].fetch_add(1, Ordering::Relaxed);
        if let Some(code) = refused {
            self.refused[code as usize].fetch_add(1, Ordering::Relaxed);
            if code.status() >= 500 {
                self.faults.fetch_add(1, Ordering::Relaxed);
                self.last_fault.store(code as u64, Ordering::Relaxed);
            }
        }
    }

    /// Reads the counters.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = ErrorCode::ALL.iter().zip(self.refused.iter().map(load));
        let below = |bound: &u64| self.durations[..bucket(*bound)].iter().map(load).sum();
        Counts {
            received: load(&self.received),
            answered: load(&self.answered),
            unanswerable: load(&self.unanswerable),
            refused: refused
                .filter(|(_, count)| *count > 0)
                .map(|(code, count)| (code.as_str(), count))
                .collect(),
            processing_us: load(&self.processing_us),
            within: BOUNDS_US.iter().map(below).collect(),
        }
    }

    /// Returns the members of ADR-32's endpoint statistics, `data` included; times are in
    /// nanoseconds there. Errors are faults (5xx) only: a wrong code is not an error of the
    /// service.
    pub fn members(&self) -> Value {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (received, answered) = (load(&self.received), load(&self.answered));
        let unanswerable = load(&self.unanswerable);
        let processing_ns = load(&self.processing_us).saturating_mul(1_000);
        let refused: BTreeMap<_, _> = ErrorCode::ALL
            .iter()
            .zip(self.refused.iter().map(load))
            .filter(|(_, count)| *count > 0)
            .map(|(code, count)| (code.as_str(), count))
            .collect();
        let last_error = usize::try_from(load(&self.last_fault))
            .ok()
            .and_then(|at| ErrorCode::ALL.get(at))
            .map_or_else(String::new, |code| {
                format!("{}:{}", code.status(), code.title())
            });
        let durations: Vec<_> = self.durations.iter().map(load).collect();
        json!({
            "num_requests": received,
            "num_errors": load(&self.faults),
            "last_error": last_error,
            "processing_time": processing_ns,
            "average_processing_time": processing_ns.checked_div(answered).unwrap_or(0),
            "data": {
                "refused": refused,
                "in_flight": received.saturating_sub(answered).saturating_sub(unanswerable),
                "without_reply_subject": unanswerable,
                "p50_us": percentile(&durations, 50),
                "p99_us": percentile(&durations, 99),
            },
        })
    }
}

/// Returns the bucket of a duration: exact below 8 µs, then eight for each doubling.
fn bucket(us: u64) -> usize {
    let doubling = us.max(1).ilog2().saturating_sub(2);
    let at = u64::from(doubling) * BUCKETS_PER_DOUBLING
        + if doubling == 0 {
            us
        } else {
            (us >> (doubling - 1)) - BUCKETS_PER_DOUBLING
        };
    (at as usize).min(BUCKETS - 1)
}

/// Returns the smallest duration of a bucket, in microseconds.
fn floor_us(bucket: usize) -> u64 {
    let (doubling, part) = (
        bucket as u64 / BUCKETS_PER_DOUBLING,
        bucket as u64 % BUCKETS_PER_DOUBLING,
    );
    match doubling {
        0 => part,
        n => (BUCKETS_PER_DOUBLING + part) << (n - 1),
    }
}

fn percentile(counts: &[u64], percent: u64) -> u64 {
    let total: u64 = counts.iter().sum();
    let rank = (total * percent).div_ceil(100).max(1);
    let mut seen = 0;
    let at = counts.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    at.map_or(0, floor_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_between_its_floor_and_the_next() {
        for us in (0..4_096).chain([1 << 20, (1 << 30) + 1, 1 << 39]) {
            let at = bucket(us);
            assert!(floor_us(at) <= us && us < floor_us(at + 1), "{us} in {at}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_right_within_an_eighth() {
        let stats = Stats::default();
        for us in 1..=1_000 {
            stats.received();
            stats.answered(None, us);
        }
        let members = stats.members();
        let p50 = members["data"]["p50_us"].as_u64().unwrap_or(0);
        let p99 = members["data"]["p99_us"].as_u64().unwrap_or(0);
        assert!(
            (437..=500).contains(&p50) && (866..=990).contains(&p99),
            "{p50} {p99}"
        );
        assert_eq!(members["average_processing_time"], 500_500);
    }

    #[test]
    fn the_histogram_counts_what_took_less_than_each_bound() {
        let stats = Stats::default();
        for us in [1, 255, 256, 1_000_000, u64::MAX] {
            stats.answered(None, us);
        }
        let within = stats.counts().within;
        assert_eq!(within[..2], [2, 3], "{within:?}");
        assert_eq!(within[BOUNDS_US.len() - 1], 4, "{within:?}");
        for bound in BOUNDS_US {
            assert_eq!(floor_us(bucket(bound)), bound, "a bucket begins there");
        }
    }

    #[test]
    fn faults_are_errors_and_refusals_are_not() {
        let stats = Stats::default();
        for _ in 0..4 {
            stats.received();
        }
        stats.answered(Some(ErrorCode::CodeInvalid), 1);
        stats.answered(Some(ErrorCode::Overloaded), 1);
        stats.unanswerable();
        let members = stats.members();
        assert_eq!(members["num_errors"], 1);
        assert_eq!(
            members["data"]["refused"],
            json!({"code.invalid": 1, "overloaded": 1})
        );
        assert_eq!(members["data"]["in_flight"], 1);
        assert!(
            members["last_error"]
                .as_str()
                .is_some_and(|e| e.starts_with("503:"))
        );
    }

    #[test]
    fn the_words_are_counted_in_the_order_of_their_list() {
        for (at, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, at);
        }
    }
}
