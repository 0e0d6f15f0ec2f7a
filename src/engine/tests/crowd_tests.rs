//! A crowd that knows a user name, against its owner: an hour of 1,000 addresses and 50 tries a
//! second, by a clock of the test's own, over every count that a password meets.

use countersign_schemas::context::Context;
use countersign_schemas::time::Micros;

use crate::account::{PasswordAttempts, Policy};
use crate::engine::counts::by_text::ByText;
use crate::engine::counts::source::Source;
use crate::engine::counts::source_budget::{Counted, SourceBudget};

const NOW: Micros = Micros(1_800_000_000 * Micros::SECOND);
/// Addresses of the crowd.
const CROWD: u64 = 1_000;
/// Attempts of the crowd in a second.
const TRIES_PER_S: u64 = 50;
const HOUR_S: u64 = 3_600;
/// The name that the whole crowd tries.
const NAME: [u8; 16] = [1; 16];
/// How long an owner has, in seconds.
const PATIENCE_S: u64 = 300;
/// Owners that come during the hour.
const OWNERS: u64 = 100;

/// The counts of one name: by its account, by its text, and by address over all names.
struct Counts {
    policy: Policy,
    account: PasswordAttempts,
    by_text: ByText,
    addresses: SourceBudget,
}

impl Counts {
    fn waiting_s(&self, source: u64, now: Micros) -> Option<u64> {
        let key = source.to_le_bytes();
        let by_text = self.by_text.waiting_s(&NAME, key, now);
        let over_all = self
            .addresses
            .waiting_s(&address(source), now, &self.policy);
        let beside = by_text
            .max(over_all)
            .filter(|_| !self.account.knows(key, now));
        self.account.waiting_s(key, now).max(beside)
    }

    /// Sends a wrong password from a source; returns whether it was compared.
    fn guess(&mut self, source: u64, now: Micros) -> bool {
        if self.waiting_s(source, now).is_some() {
            return false;
        }
        let key = source.to_le_bytes();
        let counted = self.account.counted(key, now, &self.policy);
        self.account.failed(key, now, &counted);
        self.by_text.failed(NAME, key, now, &self.policy);
        self.addresses.failed(&address(source), now, &self.policy);
        true
    }
}

fn address(source: u64) -> Source {
    let ip = std::net::Ipv4Addr::from(source as u32).to_string();
    let context: Context = serde_json::from_value(serde_json::json!({"ip": ip})).unwrap();
    Source::of(Some(&context), "portal")
}

/// Returns numbers that look random and are the same in every run.
fn drawn(nth: u64) -> u64 {
    let mut x = nth.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// An owner with the right password who comes in the hour and obeys every wait.
struct Owner {
    source: u64,
    came: Micros,
    next: Micros,
    passed: Option<Micros>,
    tries: u32,
}

#[test]
fn owners_pass_while_a_thousand_addresses_try_fifty_times_a_second_for_an_hour() {
    let mut counts = Counts {
        policy: Policy::default(),
        account: PasswordAttempts::default(),
        by_text: ByText::default(),
        addresses: SourceBudget::of(Counted::Addresses),
    };
    counts.account.completed(u64::MAX.to_le_bytes(), NOW);
    let mut owners: Vec<_> = (0..OWNERS)
        .map(|nth| {
            let came = NOW.plus_s(drawn(nth) % HOUR_S);
            Owner {
                source: CROWD + 1 + nth,
                came,
                next: came,
                passed: None,
                tries: 0,
            }
        })
        .collect();
    let mut compared = 0;
    for second in 0..HOUR_S {
        let now = NOW.plus_s(second);
        for nth in 0..TRIES_PER_S {
            let source = drawn(second * TRIES_PER_S + nth) % CROWD;
            compared += u64::from(counts.guess(source, now));
        }
        assert_eq!(counts.waiting_s(u64::MAX, now), None, "a known source");
        for owner in &mut owners {
            if owner.passed.is_none() && now >= owner.next {
                owner.tries += 1;
                match counts.waiting_s(owner.source, now) {
                    Some(seconds) => owner.next = now.plus_s(seconds),
                    None => owner.passed = Some(now),
                }
            }
        }
    }
    let in_time = |owner: &&Owner| {
        owner
            .passed
            .is_some_and(|at| at.seconds_since(owner.came) <= PATIENCE_S)
    };
    let passed = owners.iter().filter(in_time).count();
    assert!(passed >= 95, "{passed} of {OWNERS}");
    // The crowd had this many guesses: three from each address, and one a minute.
    assert!(compared <= 3 * CROWD + HOUR_S / 60 + 110, "{compared}");
    assert!(compared >= 3 * CROWD, "the crowd was one: {compared}");
}
