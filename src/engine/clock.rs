//! The clocks, as arguments, and how the engine treats a wall clock that was set forward or back.
//!
//! Log time never runs backwards. After the wall clock was set back, log time stands still until
//! the wall clock has caught up: waits, challenges and enrolments do not end meanwhile. Codes are
//! not checked then, since a code that was seen earlier would be fresh again, until an operator
//! accepts the clock as right.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use countersign_schemas::time::Micros;

/// A clock, as an argument.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// Returns the time since this function was first called, by the monotonic clock, which cannot be
/// set.
pub fn monotonic_clock() -> Micros {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = BEGINNING.elapsed().as_micros();
    Micros(u64::try_from(since).unwrap_or(u64::MAX))
}

/// Returns the time by this machine's wall clock.
pub fn wall_clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Micros(since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }))
}

/// The seconds after which the comparison starts again from the present: two right clocks drift
/// apart by less than 2 s an hour.
const COMPARED_S: u64 = 3_600;

// BUG: clock-ahead-ends-waits: a jump ahead is recorded, and ends waits early all the same.
/// Compares the wall clock with the monotonic one.
#[derive(Debug)]
pub struct JumpWatch {
    wall: Micros,
    monotonic: Micros,
}

impl JumpWatch {
    /// Starts to compare from this reading of both clocks.
    pub fn new(wall: Micros, monotonic: Micros) -> Self {
        Self { wall, monotonic }
    }

    /// Returns by how many microseconds the wall clock has run ahead, if that is more than `max_s`
    /// seconds. Each jump is reported once.
    pub fn jumped(&mut self, wall: Micros, monotonic: Micros, max_s: u64) -> Option<u64> {
        let max_us = max_s * Micros::SECOND;
        let ran_us = monotonic.0.saturating_sub(self.monotonic.0);
        let expected = self.wall.0.saturating_add(ran_us);
        let ahead_us = wall.0.saturating_sub(expected);
        let behind_us = expected.saturating_sub(wall.0);
        if ahead_us > max_us || behind_us > max_us || ran_us > COMPARED_S * Micros::SECOND {
            *self = Self::new(wall, monotonic);
        }
        (ahead_us > max_us).then_some(ahead_us)
    }
}

/// A wall clock behind the log that an operator accepted as right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedClock {
    /// Log time at the acceptance; once log time moves on, the wall clock has caught up and the
    /// acceptance ends.
    pub(super) at: Micros,
    /// The wall clock at the acceptance.
    pub(super) wall: Micros,
}

impl AcceptedClock {
    /// Returns the time that the wall clock must have reached for codes to be checked, given log
    /// time and the highest wall clock seen since.
    pub fn floor(accepted: Option<Self>, log_time: Micros, wall_seen: Micros) -> Micros {
        match accepted {
            Some(accepted) if accepted.at == log_time => accepted.wall.max(wall_seen),
            Some(_) | None => log_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Micros = Micros(1_800_000_000_000_000);

    #[test]
    fn only_a_wall_clock_that_runs_ahead_of_the_monotonic_one_has_jumped() {
        let at =
            |wall_s: u64, monotonic_s: u64| (WALL.plus_s(wall_s), Micros(0).plus_s(monotonic_s));
        let mut watch = JumpWatch::new(WALL, Micros(0));
        let mut jumped = |(wall, monotonic): (Micros, Micros)| watch.jumped(wall, monotonic, 60);
        assert_eq!(jumped(at(500, 500)), None);
        assert_eq!(jumped(at(560, 500)), None, "60 s are allowed");
        assert_eq!(jumped(at(561, 500)), Some(61_000_000));
        assert_eq!(jumped(at(562, 501)), None, "said once");
        assert_eq!(jumped(at(100, 502)), None, "back is no jump ahead");
        assert_eq!(jumped(at(563, 503)), Some(462_000_000));
    }

    #[test]
    fn a_clock_that_creeps_ahead_is_noticed_and_one_that_drifts_is_not() {
        let watched = |gained_s: u64| {
            let mut watch = JumpWatch::new(WALL, Micros(0));
            let mut jumps = (1..200).map(|n| {
                let wall = WALL.plus_s(n * (60 + gained_s));
                watch.jumped(wall, Micros(0).plus_s(n * 60), 60)
            });
            jumps.any(|jump| jump.is_some())
        };
        assert!(watched(2));
        assert!(!watched(0));
    }

    #[test]
    fn drift_is_no_jump_since_the_clocks_are_compared_afresh_every_hour() {
        let mut watch = JumpWatch::new(WALL, Micros(0));
        for n in 1..20 {
            let (wall, monotonic) = (WALL.plus_s(n * 4_040), Micros(0).plus_s(n * 4_000));
            assert_eq!(watch.jumped(wall, monotonic, 60), None, "hour {n}");
        }
    }

    #[test]
    fn the_clocks_of_the_machine_run() {
        let (wall, monotonic) = (wall_clock(), monotonic_clock());
        assert!(wall > Micros(1_700_000_000_000_000));
        let has_run = (0..100_000_000).any(|_| monotonic_clock() > monotonic);
        assert!(has_run);
        assert!(wall_clock() >= wall);
    }

    #[test]
    fn what_was_accepted_counts_until_log_time_moves_on() {
        let accepted = Some(AcceptedClock {
            at: WALL,
            wall: WALL.minus_s(600),
        });
        let floor = |log_time, seen| AcceptedClock::floor(accepted, log_time, seen);
        assert_eq!(floor(WALL, Micros(0)), WALL.minus_s(600));
        assert_eq!(floor(WALL, WALL.minus_s(300)), WALL.minus_s(300));
        assert_eq!(floor(WALL.plus_s(1), Micros(0)), WALL.plus_s(1));
        assert_eq!(AcceptedClock::floor(None, WALL, Micros(0)), WALL);
    }
}
