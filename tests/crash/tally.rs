//! The counts of a run, for its report.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::wire::{Ack, Answer};

/// /// The counts of a run.
#[derive(Default)]
pub struct Tally {
    pub cycles: u64,
    pub acks: u64,
    pub events: u64,
    pub totp_logins: u64,
    pub backup_logins: u64,
    pub counted_failures: u64,
    /// Waits that were found to go on after a crash.
    pub waits: u64,
    pub longest_start: Duration,
    /// How often the process ended at each point.
    pub points: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.acks += other.acks;
        self.events += other.events;
        self.totp_logins += other.totp_logins;
        self.backup_logins += other.backup_logins;
        self.counted_failures += other.counted_failures;
        self.waits += other.waits;
        self.longest_start = self.longest_start.max(other.longest_start);
        for (point, count) in &other.points {
            *self.points.entry(point).or_default() += count;
        }
    }

    pub fn count(&mut self, ack: &Ack) {
        self.acks += 1;
        match (&ack.answer, ack.sent.name) {
            (Answer::Done(reply), "verify-login") => {
                if reply["method"] == "totp" {
                    self.totp_logins += 1;
                } else {
                    self.backup_logins += 1;
                }
            }
            (Answer::Refused(code), _) if code.ends_with(".invalid") => self.counted_failures += 1,
            (Answer::Done(_) | Answer::Refused(_), _) => {}
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cycles,
            acks,
            events,
            totp_logins,
            backup_logins,
            counted_failures,
            waits,
            ..
        } = self;
        write!(
            f,
            "{cycles} cycles, {acks} acknowledged commands ({totp_logins} app codes, {backup_logins} \
             backup codes, {counted_failures} counted failures, {waits} waits), {events} events, 0 lost (the first would have ended the run), \
             longest recovery {:?}, ends at named points {:?}",
            self.longest_start, self.points
        )
    }
}
