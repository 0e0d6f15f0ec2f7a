//! Wrong passwords: what the account remembers of them, and their consequences.
//!
//! ```text
//!   a source:   10 free, then waits of 5 s doubling to 15 min; a success clears them
//!   the account: 100 free in a day, from all sources, then waits of 5 s doubling to 60 s for every
//!                source that is neither known nor new; a success clears nothing, the day ends it
//! ```
//!
//! The first bound slows one guesser down and makes no owner wait; the second bounds a crowd of
//! sources. Two kinds of source wait for their own failures only, so that a crowd cannot keep the
//! owner out there: a known source, for 30 days after the owner completed a login from it; and a
//! new source, which had fewer than three failures at this account in the day. Each address of a
//! crowd has three failures and then waits; the owner's address is not among them. Addresses are
//! cheap, so the failures of all new sources in a day are bounded too: `policy explain` prints how
//! many guesses remain.

use countersign_schemas::event::account::v1::PasswordRejected;
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use crate::account::policy::Policy;

/// The most sources per account with remembered failures; the one idle longest is dropped.
pub const SOURCES_MAX: usize = 64;
/// The most known sources per account; the one of the oldest completed login is dropped.
pub const KNOWN_MAX: usize = 8;
/// How long after a completed login its source is known, in seconds.
const KNOWN_S: u64 = 30 * DAY_S;
/// A source is new while it has fewer failures than this in a day.
pub const NEW_TRIES: usize = 3;
/// The failures of a day whose sources are remembered; after so many, no source is new.
pub const NEW_FAILURES_MAX: usize = 4_096;
const DAY_S: u64 = 86_400;
/// The memory of one source, known or with failures, in bytes.
const SOURCE_BYTES: usize = 48;

/// Wrong passwords of one account, by source and in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordAttempts {
    sources: Vec<SourceAttempts>,
    /// Failures of every source since the first of them within a day.
    day_failures: u32,
    day_began: Micros,
    /// The source of each of these failures: the first bytes of its key.
    day_sources: Vec<[u8; 4]>,
    /// The end of the wait of every source that is neither known nor new.
    wait_until: Option<Micros>,
    /// The sources of completed logins with the time of the last one, oldest first.
    known: Vec<([u8; 8], Micros)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceAttempts {
    source: [u8; 8],
    failures: u32,
    last_at: Micros,
    wait_until: Option<Micros>,
}

/// The counts with one more failure, and the waits that follow from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Failures of this source since its last success.
    pub failures: u32,
    /// The end of this source's wait.
    pub wait_until: Option<Micros>,
    /// Failures of all sources in the day.
    pub day_failures: u32,
    /// The end of the wait of every source that is neither known nor new.
    pub all_wait_until: Option<Micros>,
}

impl PasswordAttempts {
    /// Returns the number of sources with remembered failures.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Estimates how much memory the counts take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.len() + KNOWN_MAX) * SOURCE_BYTES + self.day_sources.len() * size_of::<[u8; 4]>()
    }

    /// Returns whether no source has a remembered failure.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    // BUG: crowd-makes-owner-wait: a crowd at the account makes its owner wait at a new place.
    /// Returns the seconds that this source still waits: for its own failures and, if it is neither
    /// known nor new, for those of all sources.
    pub fn waiting_s(&self, source: [u8; 8], now: Micros) -> Option<u64> {
        let own = self.of(source).and_then(|s| s.wait_until);
        let passes = self.knows(source, now) || self.is_new(source);
        let of_all = self.wait_until.filter(|_| !passes);
        let until = own.max(of_all)?;
        (now < until).then(|| until.seconds_since(now))
    }

    /// Returns whether the owner completed a login from this source within the last 30 days.
    pub fn knows(&self, source: [u8; 8], now: Micros) -> bool {
        let is_known =
            |(known, at): &([u8; 8], Micros)| *known == source && now < at.plus_s(KNOWN_S);
        self.known.iter().any(is_known)
    }

    /// Returns whether the source failed fewer than [`NEW_TRIES`] times in the day, while the day's
    /// sources are still remembered.
    fn is_new(&self, source: [u8; 8]) -> bool {
        let short = short(source);
        let mut of_it = self.day_sources.iter().filter(|of| **of == short);
        self.day_sources.len() < NEW_FAILURES_MAX && of_it.nth(NEW_TRIES - 1).is_none()
    }

    /// Remembers that the owner completed a login from this source.
    pub fn completed(&mut self, source: [u8; 8], at: Micros) {
        self.known.retain(|(known, _)| *known != source);
        if self.known.len() == KNOWN_MAX {
            self.known.remove(0);
        }
        self.known.push((source, at));
    }

    /// Forgets every known source: its logins may be lost, or an attacker's.
    pub fn forget_known(&mut self) {
        self.known.clear();
    }

    /// Returns the counts with one more failure of this source, and the waits that follow.
    pub fn counted(&self, source: [u8; 8], now: Micros, policy: &Policy) -> Counted {
        let earlier = self
            .of(source)
            .filter(|s| now < s.last_at.plus_s(policy.password_forget_s))
            .map_or(0, |s| s.failures);
        let failures = earlier.saturating_add(1);
        let wait_s = policy.wait_s(failures.saturating_sub(policy.password_failures_free));
        let today = match now < self.day_began.plus_s(DAY_S) {
            true => self.day_failures,
            false => 0,
        };
        let day_failures = today.saturating_add(1);
        let all_wait_s = policy
            .wait_s(day_failures.saturating_sub(policy.password_day_failures_free))
            .min(policy.password_day_wait_max_s);
        let until = |seconds: u64| (seconds > 0).then(|| now.plus_s(seconds));
        Counted {
            failures,
            wait_until: until(wait_s),
            day_failures,
            all_wait_until: until(all_wait_s),
        }
    }

    /// Remembers a failure that was counted.
    pub fn failed(&mut self, source: [u8; 8], at: Micros, counted: &Counted) {
        self.succeeded(source);
        if self.sources.len() == SOURCES_MAX {
            self.sources.remove(0);
        }
        self.sources.push(SourceAttempts {
            source,
            failures: counted.failures,
            last_at: at,
            wait_until: counted.wait_until,
        });
        if counted.day_failures <= 1 {
            self.day_began = at;
            self.day_sources.clear();
        }
        if self.day_sources.len() < NEW_FAILURES_MAX {
            self.day_sources.push(short(source));
        }
        self.day_failures = counted.day_failures;
        self.wait_until = counted.all_wait_until;
    }

    /// Forgets the failures of a source that gave the right password, and returns whether there
    /// were any; the day's count stays.
    pub fn succeeded(&mut self, source: [u8; 8]) -> bool {
        let before = self.sources.len();
        self.sources.retain(|s| s.source != source);
        self.sources.len() < before
    }

    /// Remembers the counts and waits of a recorded refusal.
    pub(in crate::account) fn rejected(
        &mut self,
        source: [u8; 8],
        at: Micros,
        event: &PasswordRejected,
    ) {
        let counted = Counted {
            failures: event.failures,
            wait_until: event.wait_until,
            day_failures: event.day_failures,
            all_wait_until: event.all_wait_until,
        };
        self.failed(source, at, &counted);
    }

    fn of(&self, source: [u8; 8]) -> Option<&SourceAttempts> {
        self.sources.iter().find(|s| s.source == source)
    }
}

fn short(source: [u8; 8]) -> [u8; 4] {
    let [a, b, c, d, ..] = source;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000_000_000);
    /// A source of the crowd.
    const CROWD: u64 = 7;

    /// Records one failure of each of these sources in turn; returns the last counts.
    fn fail(
        passwords: &mut PasswordAttempts,
        sources: impl Iterator<Item = u64>,
        at: Micros,
    ) -> Option<Counted> {
        let mut last = None;
        for source in sources {
            let source = source.to_le_bytes();
            let counted = passwords.counted(source, at, &Policy::default());
            passwords.failed(source, at, &counted);
            last = Some(counted);
        }
        last
    }

    #[test]
    fn ten_wrong_passwords_of_a_source_are_free_and_other_sources_do_not_wait() {
        let mut passwords = PasswordAttempts::default();
        for n in 1..=11 {
            let counted = fail(&mut passwords, [1].into_iter(), NOW).expect("one");
            let until = (n == 11).then(|| NOW.plus_s(5));
            assert_eq!((counted.failures, counted.wait_until), (n, until));
        }
        let (one, two) = (1_u64.to_le_bytes(), 2_u64.to_le_bytes());
        assert_eq!(passwords.waiting_s(one, NOW), Some(5));
        assert_eq!(passwords.waiting_s(two, NOW), None);
        let later = passwords.counted(one, NOW.plus_s(86_400), &Policy::default());
        assert_eq!(later.failures, 1);
    }

    #[test]
    fn the_hundred_and_first_failure_of_a_day_makes_every_source_wait() {
        let mut passwords = PasswordAttempts::default();
        let crowd = CROWD.to_le_bytes();
        fail(&mut passwords, (3..100).chain([CROWD; 3]), NOW);
        assert_eq!(passwords.waiting_s(crowd, NOW), None);
        for (source, wait) in (200..).zip([5, 10, 20, 40, 60, 60]) {
            fail(&mut passwords, [source].into_iter(), NOW);
            assert_eq!(passwords.waiting_s(crowd, NOW), Some(wait));
        }
        assert_eq!(passwords.waiting_s(crowd, NOW.plus_s(60)), None);
    }

    #[test]
    fn a_source_is_new_for_three_failures_of_a_day_and_then_waits_with_the_crowd() {
        let mut passwords = PasswordAttempts::default();
        fail(&mut passwords, 100..210, NOW);
        for _ in 0..3 {
            assert_eq!(passwords.waiting_s(CROWD.to_le_bytes(), NOW), None);
            fail(&mut passwords, [CROWD].into_iter(), NOW);
        }
        assert_eq!(passwords.waiting_s(CROWD.to_le_bytes(), NOW), Some(60));
        // The next day's first failure starts a new count.
        let next = NOW.plus_s(DAY_S);
        fail(&mut passwords, 100..210, next);
        assert_eq!(passwords.waiting_s(CROWD.to_le_bytes(), next), None);
    }

    /// Addresses are cheap: an attacker with a new one for each guess is bounded too.
    #[test]
    fn beyond_so_many_failures_of_a_day_no_source_is_new() {
        let mut passwords = PasswordAttempts::default();
        fail(&mut passwords, 0..NEW_FAILURES_MAX as u64 - 1, NOW);
        assert_eq!(passwords.waiting_s([9; 8], NOW), None);
        fail(&mut passwords, [1 << 40].into_iter(), NOW);
        assert_eq!(passwords.waiting_s([9; 8], NOW), Some(60));
        fail(&mut passwords, 0..9, NOW);
        assert_eq!(passwords.day_sources.len(), NEW_FAILURES_MAX);
    }

    #[test]
    fn a_known_source_waits_for_its_own_failures_only_and_for_thirty_days() {
        let mut passwords = PasswordAttempts::default();
        passwords.completed([9; 8], NOW);
        let soon = NOW.plus_s(DAY_S);
        let owner = u64::from_le_bytes([9; 8]);
        fail(
            &mut passwords,
            (0..110).chain([owner, CROWD].repeat(3)),
            soon,
        );
        assert_eq!(passwords.waiting_s([9; 8], soon), None);
        assert_eq!(passwords.waiting_s(CROWD.to_le_bytes(), soon), Some(60));
        fail(&mut passwords, std::iter::repeat_n(u64::MAX, 11), soon);
        passwords.completed([0xff; 8], soon);
        assert_eq!(passwords.waiting_s([0xff; 8], soon), Some(5), "its own");
        assert!(passwords.knows([9; 8], NOW.plus_s(KNOWN_S - 1)));
        assert!(!passwords.knows([9; 8], NOW.plus_s(KNOWN_S)));
        passwords.forget_known();
        assert!(!passwords.knows([9; 8], NOW));
    }

    #[test]
    fn the_source_of_the_oldest_login_is_forgotten_for_a_ninth() {
        let mut passwords = PasswordAttempts::default();
        for n in 0..9 {
            passwords.completed([n; 8], NOW);
            passwords.completed([0; 8], NOW);
        }
        let known = |n| passwords.knows([n; 8], NOW);
        assert_eq!(
            (known(0), known(1), known(2), known(8)),
            (true, false, true, true)
        );
    }

    #[test]
    fn a_success_clears_its_source_and_not_the_day_and_the_day_ends() {
        let mut passwords = PasswordAttempts::default();
        fail(&mut passwords, 0..100, NOW);
        assert!(!passwords.is_empty());
        let first = 100 - SOURCES_MAX as u64;
        for source in 0..100_u64 {
            assert_eq!(passwords.succeeded(source.to_le_bytes()), source >= first);
        }
        assert!(passwords.is_empty());
        let policy = Policy::default();
        let same_day = passwords.counted([9; 8], NOW.plus_s(DAY_S - 1), &policy);
        assert_eq!((same_day.day_failures, same_day.failures), (101, 1));
        let next_day = passwords.counted([9; 8], NOW.plus_s(DAY_S), &policy);
        assert_eq!((next_day.day_failures, next_day.all_wait_until), (1, None));
    }

    #[test]
    fn the_longer_of_both_waits_counts() {
        let mut passwords = PasswordAttempts::default();
        fail(&mut passwords, std::iter::repeat_n(1, 18), NOW);
        let own = passwords.waiting_s(1_u64.to_le_bytes(), NOW);
        assert_eq!(own, Some(640));
        fail(&mut passwords, 100..184, NOW);
        let one = 1_u64.to_le_bytes();
        assert_eq!(
            passwords.waiting_s(one, NOW),
            Some(10),
            "dropped as the idlest"
        );
    }
}
