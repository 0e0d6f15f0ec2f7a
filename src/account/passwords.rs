//! Wrong passwords: what is remembered, and what it leads to.
//!
//! ```text
//!   a source:   10 free, then waits of 5 s doubling to 15 min; a success clears them
//!   the account: 100 free in a day, from all sources, then waits of 5 s doubling to 60 s for every
//!                source that is neither known nor new; a success clears nothing, the day ends it
//! ```
//!
//! The first makes one guesser slow and no owner wait; the second bounds a crowd of sources. Two
//! kinds of source wait for their own failures only, so that a crowd cannot keep the owner out
//! there: one that is known, for 30 days after the owner completed a login from it; and one that is
//! new, which has had fewer than three failures here in the day. A crowd has three of those from
//! each of its addresses and then waits, whereas the owner's address is not among them. What all
//! new sources fail in a day is bounded too, since addresses are cheap: `policy explain` prints
//! what it is worth.

use countersign_schemas::event::account::v1::PasswordRejected;
use countersign_schemas::time::Micros;
use serde::{Deserialize, Serialize};

use crate::account::policy::Policy;

/// Sources whose wrong passwords are remembered per account; the one idle longest is dropped.
pub const SOURCES_MAX: usize = 64;
/// Sources that are known per account; the one that completed a login longest ago is dropped.
pub const KNOWN_MAX: usize = 8;
/// How long after a completed login its source is known.
const KNOWN_S: u64 = 30 * DAY_S;
/// Failures of a source in a day, up to which it is new.
pub const NEW_TRIES: usize = 3;
/// Failures of the day whose sources are remembered; beyond them no source is new.
pub const NEW_FAILURES_MAX: usize = 4_096;
const DAY_S: u64 = 86_400;
/// Bytes of memory of a source, known or with failures.
const SOURCE_BYTES: usize = 48;

/// Wrong passwords of one account, by source and in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordAttempts {
    sources: Vec<SourceAttempts>,
    /// Failures of every source since the first of them within a day.
    day_failures: u32,
    day_began: Micros,
    /// Of which source each of them was: the first bytes of its key.
    day_sources: Vec<[u8; 4]>,
    /// Until when no password is compared of a source that is neither known nor new.
    wait_until: Option<Micros>,
    /// Where the owner completed logins, and when last, oldest first.
    known: Vec<([u8; 8], Micros)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceAttempts {
    source: [u8; 8],
    failures: u32,
    last_at: Micros,
    wait_until: Option<Micros>,
}

/// The counts with one failure more, and the waits that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Failures of this source since its last success.
    pub failures: u32,
    /// Until when this source waits.
    pub wait_until: Option<Micros>,
    /// Failures of every source in the day.
    pub day_failures: u32,
    /// Until when every source waits.
    pub all_wait_until: Option<Micros>,
}

impl PasswordAttempts {
    /// Sources that are remembered.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// About how much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.len() + KNOWN_MAX) * SOURCE_BYTES + self.day_sources.len() * size_of::<[u8; 4]>()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    // BUG: crowd-makes-owner-wait: a crowd at the account makes its owner wait at a new place.
    /// The seconds that this source still waits: by its own failures, and where it is neither known
    /// nor new by those of all sources.
    pub fn waiting_s(&self, source: [u8; 8], now: Micros) -> Option<u64> {
        let own = self.of(source).and_then(|s| s.wait_until);
        let passes = self.knows(source, now) || self.is_new(source);
        let of_all = self.wait_until.filter(|_| !passes);
        let until = own.max(of_all)?;
        (now < until).then(|| until.seconds_since(now))
    }

    /// Whether the owner lately completed a login from this source.
    pub fn knows(&self, source: [u8; 8], now: Micros) -> bool {
        let is_known =
            |(known, at): &([u8; 8], Micros)| *known == source && now < at.plus_s(KNOWN_S);
        self.known.iter().any(is_known)
    }

    /// Whether the source failed so seldom in the day that it is none of a crowd.
    fn is_new(&self, source: [u8; 8]) -> bool {
        let short = short(source);
        let mut of_it = self.day_sources.iter().filter(|of| **of == short);
        self.day_sources.len() < NEW_FAILURES_MAX && of_it.nth(NEW_TRIES - 1).is_none()
    }

    /// The owner completed a login from this source.
    pub fn completed(&mut self, source: [u8; 8], at: Micros) {
        self.known.retain(|(known, _)| *known != source);
        if self.known.len() == KNOWN_MAX {
            self.known.remove(0);
        }
        self.known.push((source, at));
    }

    /// No source is known any more: logins may have been lost, or been an attacker's.
    pub fn forget_known(&mut self) {
        self.known.clear();
    }

    /// The counts with one failure more of this source.
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

    /// Forgets the failures of a source that gave the right password, and says whether there were
    /// any; the day's count stays.
    pub fn succeeded(&mut self, source: [u8; 8]) -> bool {
        let before = self.sources.len();
        self.sources.retain(|s| s.source != source);
        self.sources.len() < before
    }

    /// Remembers what a recorded refusal says.
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

    /// A failure of each of these sources in turn; gives the last counts.
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
        // The next day's first failure begins anew.
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
