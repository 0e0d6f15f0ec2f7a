//! Refusals without a record of their own: counted in memory, and reported by one record a minute.
//!
//! A flood must neither fill the log nor go unseen. A crash loses a minute of counts at most; no
//! budget rests on them. The minutes are of the monotonic clock, so that a wall clock that stands
//! still or jumps neither hides a flood nor lets one fill the log.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use countersign_schemas::event::audit::v1::AgentAct;
use countersign_schemas::event::reset::v1::RequestRefused;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;

/// The seconds for which refusals are gathered before a record reports them.
pub const WINDOW_S: u64 = 60;
/// Accounts whose refusals are counted at once; those of further accounts are only counted in
/// total.
pub const ACCOUNTS_MAX: usize = 65_536;
/// Logins of unknown names in a minute that each have a record.
pub const NAMES_RECORDED_MAX: u32 = 5;

/// The counts of refusals.
#[derive(Debug, Default)]
pub struct Coalesced {
    attempts: Counts<StreamKey>,
    /// Refused requests for resets: by account, agent, and reason.
    requests: Counts<(StreamKey, String, RequestRefused)>,
    /// Refused acts of agents that exceeded an agent's limit: by agent and act.
    acts: Counts<(String, AgentAct)>,
    names: Names,
}

/// Refusals counted by a common key.
#[derive(Debug)]
struct Counts<K> {
    counts: HashMap<K, u32>,
    /// When each count began, oldest first.
    begun: VecDeque<(Micros, K)>,
    /// Refusals for which there was no room.
    overflow: u64,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            counts: HashMap::new(),
            begun: VecDeque::new(),
            overflow: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// Counts a refusal, and returns whether it is the first of its minute.
    fn count(&mut self, key: K, now: Micros) -> bool {
        if let Some(count) = self.counts.get_mut(&key) {
            *count = count.saturating_add(1);
            return false;
        }
        if self.counts.len() < ACCOUNTS_MAX {
            self.counts.insert(key.clone(), 1);
            self.begun.push_back((now, key));
            return true;
        }
        self.overflow += 1;
        false
    }

    /// Takes the counts whose minute is over, at most `max` of them.
    fn due(&mut self, now: Micros, max: usize) -> Vec<(K, u32)> {
        let mut due = Vec::new();
        let is_over = |(begun, _): &&(Micros, K)| begun.plus_s(WINDOW_S) <= now;
        while due.len() < max
            && self.begun.front().filter(is_over).is_some()
            && let Some((_, key)) = self.begun.pop_front()
        {
            due.extend(self.counts.remove(&key).map(|count| (key, count)));
        }
        due
    }
}

/// Logins of unknown names.
#[derive(Debug, Default)]
struct Names {
    window_began: Micros,
    recorded: u32,
    waiting: u32,
}

impl Coalesced {
    /// Counts an attempt at an account that was refused without a comparison.
    pub fn attempt(&mut self, account: StreamKey, now: Micros) {
        self.attempts.count(account, now);
    }

    /// Counts a refused request for a reset of an account.
    pub fn request(&mut self, account: StreamKey, by: &str, cause: RequestRefused, now: Micros) {
        self.requests.count((account, by.to_owned(), cause), now);
    }

    /// Counts an act that was refused because its agent exceeded a limit, and returns whether it is
    /// the first of the minute.
    pub fn act(&mut self, by: &str, act: AgentAct, now: Micros) -> bool {
        self.acts.count((by.to_owned(), act), now)
    }

    /// Takes the refused acts whose minute is over, with their counts, at most `max` of them.
    pub fn due_acts(&mut self, now: Micros, max: usize) -> Vec<((String, AgentAct), u32)> {
        self.acts.due(now, max)
    }

    /// Takes the accounts whose minute is over, with their counts, at most `max` of them.
    pub fn due_attempts(&mut self, now: Micros, max: usize) -> Vec<(StreamKey, u32)> {
        self.attempts.due(now, max)
    }

    /// Takes the refused requests whose minute is over, with their counts, at most `max` of them.
    #[allow(clippy::type_complexity)]
    pub fn due_requests(
        &mut self,
        now: Micros,
        max: usize,
    ) -> Vec<((StreamKey, String, RequestRefused), u32)> {
        self.requests.due(now, max)
    }

    /// Takes the number of attempts for which there was no room by account.
    pub fn take_overflow(&mut self) -> u64 {
        [
            &mut self.attempts.overflow,
            &mut self.requests.overflow,
            &mut self.acts.overflow,
        ]
        .into_iter()
        .map(std::mem::take)
        .sum()
    }

    // BUG: unknown-user-timing: a known user's refusal commits a record, so it takes longer.
    /// Whether a login of an unknown name is recorded at once; otherwise it is counted.
    pub fn is_name_recorded(&mut self, now: Micros) -> bool {
        self.names.begin_window(now);
        let is_recorded = self.names.recorded < NAMES_RECORDED_MAX;
        match is_recorded {
            true => self.names.recorded += 1,
            false => self.names.waiting = self.names.waiting.saturating_add(1),
        }
        is_recorded
    }

    /// Counts a login of an unknown name that was refused without a comparison.
    pub fn uncompared_name(&mut self, now: Micros) {
        self.names.begin_window(now);
        self.names.waiting = self.names.waiting.saturating_add(1);
    }

    /// Takes the number of logins of unknown names that wait for a record, once their minute is
    /// over.
    pub fn due_names(&mut self, now: Micros) -> Option<u32> {
        let names = &mut self.names;
        if names.waiting == 0 || now < names.window_began.plus_s(WINDOW_S) {
            return None;
        }
        // A continuing flood has had its records.
        names.window_began = now;
        names.recorded = NAMES_RECORDED_MAX;
        Some(std::mem::take(&mut names.waiting))
    }
}

impl Names {
    fn begin_window(&mut self, now: Micros) {
        if self.waiting == 0 && self.window_began.plus_s(WINDOW_S) <= now {
            self.window_began = now;
            self.recorded = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(500_000_000);

    fn stream(n: u64) -> StreamKey {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        StreamKey(key)
    }

    #[test]
    fn an_accounts_attempts_are_reported_once_its_minute_is_over() {
        let mut counts = Coalesced::default();
        for _ in 0..1_000 {
            counts.attempt(stream(1), NOW);
        }
        counts.attempt(stream(2), NOW.plus_s(30));
        assert_eq!(counts.due_attempts(NOW.plus_s(59), 10), []);
        assert_eq!(
            counts.due_attempts(NOW.plus_s(60), 10),
            [(stream(1), 1_000)]
        );
        assert_eq!(counts.due_attempts(NOW.plus_s(60), 10), []);
        counts.attempt(stream(1), NOW.plus_s(70));
        let both = [(stream(2), 1), (stream(1), 1)];
        assert_eq!(counts.due_attempts(NOW.plus_s(130), 10), both);
    }

    #[test]
    fn accounts_beyond_the_table_are_counted_in_all() {
        let mut counts = Coalesced::default();
        for n in 0..ACCOUNTS_MAX as u64 + 3 {
            counts.attempt(stream(n), NOW);
        }
        assert_eq!((counts.take_overflow(), counts.take_overflow()), (3, 0));
        assert_eq!(counts.due_attempts(NOW.plus_s(60), 100).len(), 100);
        assert_eq!(
            counts.due_attempts(NOW.plus_s(60), usize::MAX).len(),
            ACCOUNTS_MAX - 100
        );
    }

    #[test]
    fn the_first_unknown_names_of_a_quiet_time_have_records_and_a_flood_one_a_minute() {
        let mut counts = Coalesced::default();
        let recorded =
            |counts: &mut Coalesced, at| (0..100).filter(|_| counts.is_name_recorded(at)).count();
        assert_eq!(recorded(&mut counts, NOW), 5);
        assert_eq!(counts.due_names(NOW.plus_s(59)), None);
        assert_eq!(counts.due_names(NOW.plus_s(60)), Some(95));
        assert_eq!(
            recorded(&mut counts, NOW.plus_s(61)),
            0,
            "the flood goes on"
        );
        counts.uncompared_name(NOW.plus_s(62));
        assert_eq!(counts.due_names(NOW.plus_s(119)), None);
        assert_eq!(counts.due_names(NOW.plus_s(120)), Some(101));
        assert_eq!(
            recorded(&mut counts, NOW.plus_s(180)),
            5,
            "a quiet minute lay between"
        );
    }
}
