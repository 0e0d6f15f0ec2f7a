//! `/metrics`: the metrics as OpenMetrics text; no label names an account.

use std::fmt::Write;

use crate::bus::{BOUNDS_US, Counts, Endpoint, Traffic};
use crate::engine::Readings;

const US_PER_S: f64 = 1_000_000.0;

/// The whole page.
pub fn page(readings: &Readings, is_ready: bool, traffic: &Traffic) -> String {
    let mut page = Text(String::new());
    page.family("build", "info", "The program");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge("ready", "Whether requests are taken", u64::from(is_ready));
    let counts: Vec<_> = traffic.counts().collect();
    requests(&mut page, &counts);
    durations(&mut page, &counts);
    engine(&mut page, readings);
    disks(&mut page, readings);
    if let Some(state) = &readings.publication {
        publication(&mut page, state.lag, state.halted.is_some());
    }
    clock(&mut page, readings);
    page.0.push_str("# EOF\n");
    page.0
}

fn requests(page: &mut Text, counts: &[(&Endpoint, Counts)]) {
    page.family(
        "requests",
        "counter",
        "Answered requests by endpoint and outcome: ok, or the word of the refusal or fault",
    );
    for (endpoint, counts) in counts {
        let refused: u64 = counts.refused.iter().map(|(_, count)| count).sum();
        let done = ("ok", counts.answered.saturating_sub(refused));
        for (outcome, count) in std::iter::once(done).chain(counts.refused.iter().copied()) {
            let labels = [
                ("kind", endpoint.kind()),
                ("endpoint", endpoint.name),
                ("outcome", outcome),
            ];
            page.sample("requests_total", &labels, count);
        }
    }
    let sum = |count: fn(&Counts) -> u64| counts.iter().map(|(_, c)| count(c)).sum::<u64>();
    let (received, answered) = (sum(|c| c.received), sum(|c| c.answered));
    let unanswerable = sum(|c| c.unanswerable);
    page.gauge(
        "requests_in_flight",
        "Requests that wait for their reply",
        received
            .saturating_sub(answered)
            .saturating_sub(unanswerable),
    );
    page.counter(
        "requests_without_reply_subject",
        "Requests without a usable reply subject, which are not executed",
        unanswerable,
    );
}

fn durations(page: &mut Text, counts: &[(&Endpoint, Counts)]) {
    page.family(
        "request_seconds",
        "histogram",
        "From the arrival of a request to its reply",
    );
    for (endpoint, counts) in counts.iter().filter(|(_, counts)| counts.answered > 0) {
        let endpoint = ("endpoint", endpoint.name);
        for (bound_us, within) in BOUNDS_US.iter().zip(&counts.within) {
            let le = (*bound_us as f64 / US_PER_S).to_string();
            page.sample("request_seconds_bucket", &[endpoint, ("le", &le)], within);
        }
        let all = [endpoint, ("le", "+Inf")];
        page.sample("request_seconds_bucket", &all, counts.answered);
        page.sample("request_seconds_count", &[endpoint], counts.answered);
        let seconds = counts.processing_us as f64 / US_PER_S;
        page.sample("request_seconds_sum", &[endpoint], seconds);
    }
}

fn engine(page: &mut Text, readings: &Readings) {
    page.family(
        "queued",
        "gauge",
        "Commands that wait, by what they wait for",
    );
    for (queue, count) in [
        ("writer", readings.queued),
        ("proofs", readings.proofs_waiting),
    ] {
        page.sample("queued", &[("queue", queue)], count);
    }
    page.counter(
        "proofs_shed",
        "Commands refused because too many waited for a hash or for their account",
        readings.sheds,
    );
    page.counter(
        "secrets_compared",
        "Passwords and codes compared, right or wrong",
        readings.comparisons,
    );
    page.counter(
        "password_hashes",
        "Argon2id computed, to compare or to make a verifier",
        readings.hashes,
    );
    page.gauge("log_position", "The last durable position", readings.head);
    page.gauge(
        "log_verified_through",
        "The position up to which the log was hashed again since the start",
        readings.verified_through,
    );
    page.gauge(
        "files_misplaced",
        "Whether a file was moved, exchanged or opened to others under the running service",
        u64::from(readings.misplaced.is_some()),
    );
    page.gauge(
        "checkpoint_age_seconds",
        "Time since everything was last covered by a signed checkpoint",
        readings.checkpoint_age_s,
    );
    if let Some(age_s) = readings.backup_age_s {
        page.gauge(
            "backup_age_seconds",
            "Time since the older copy in the backup folders was taken, or since the log began",
            age_s,
        );
    }
    page.family(
        "projection_lag_events",
        "gauge",
        "Events that a view does not show yet",
    );
    for view in &readings.views {
        let lag = readings.head.saturating_sub(view.checkpoint);
        page.sample("projection_lag_events", &[("projection", view.name)], lag);
    }
    page.family(
        "projection_halted",
        "gauge",
        "Whether a view no longer follows the log",
    );
    for view in &readings.views {
        let halted = u8::from(view.halted.is_some());
        page.sample("projection_halted", &[("projection", view.name)], halted);
    }
}

fn disks(page: &mut Text, readings: &Readings) {
    page.family(
        "disk_free_bytes",
        "gauge",
        "Bytes that may still be written, by folder",
    );
    for (folder, free) in [
        ("data", readings.data_free_bytes),
        ("keys", readings.keys_free_bytes),
    ] {
        if let Some(free) = free {
            page.sample("disk_free_bytes", &[("folder", folder)], free);
        }
    }
}

fn publication(page: &mut Text, lag: u64, is_halted: bool) {
    page.gauge(
        "publication_lag_events",
        "Positions that are not published yet",
        lag,
    );
    page.gauge(
        "publication_halted",
        "Whether nothing can be published",
        u64::from(is_halted),
    );
}

fn clock(page: &mut Text, readings: &Readings) {
    page.counter(
        "clock_jumps",
        "Alarms over a wall clock that jumped ahead",
        readings.clock_jumps,
    );
    page.gauge(
        "clock_behind_seconds",
        "How far the wall clock is behind the last recorded time",
        readings.clock_behind_s,
    );
    page.gauge(
        "clock_refuses_codes",
        "Whether no code is checked because of the wall clock",
        u64::from(readings.clock_is_behind),
    );
}

/// Names and labels are our own words, so nothing has to be escaped.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# TYPE countersign_{name} {kind}"));
        self.line(format_args!("# HELP countersign_{name} {help}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        if labels.is_empty() {
            self.line(format_args!("countersign_{name} {value}"));
        } else {
            self.line(format_args!(
                "countersign_{name}{{{}}} {value}",
                labels.join(",")
            ));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes every line");
    }
}
