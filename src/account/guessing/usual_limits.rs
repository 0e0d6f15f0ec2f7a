//! Usual limits of other services, for comparison: none of them is a rule of this service.
//!
//! Each is a gate of its own, and is attacked for the same virtual month as the policy in
//! [`crate::account::guessing`].

use super::{Compared, MONTH_S, Owner};

/// A usual limit on single codes.
#[derive(Clone, Copy, Debug)]
pub struct UsualLimit {
    /// The name of the limit in tables.
    pub name: &'static str,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    /// A wait after each group of so many failures.
    Every { failures: u64, wait_s: u64 },
    /// A wait after each failure, doubling up to the longest.
    BackOff { first_s: u64, max_s: u64 },
    /// No more guesses after so many failures in a row.
    Stop { failures: u64 },
}

/// The limits that `policy explain` shows beside ours.
pub const USUAL_LIMITS: [UsualLimit; 6] = [
    UsualLimit {
        name: "no limit, 10 a second",
        rule: Rule::Every {
            failures: 600,
            wait_s: 60,
        },
    },
    UsualLimit {
        name: "3 a minute",
        rule: Rule::Every {
            failures: 3,
            wait_s: 60,
        },
    },
    UsualLimit {
        name: "30, then 1 hour",
        rule: Rule::Every {
            failures: 30,
            wait_s: 3_600,
        },
    },
    UsualLimit {
        name: "5, then 15 minutes",
        rule: Rule::Every {
            failures: 5,
            wait_s: 900,
        },
    },
    UsualLimit {
        name: "back-off, 1 s to 1 hour",
        rule: Rule::BackOff {
            first_s: 1,
            max_s: 3_600,
        },
    },
    UsualLimit {
        name: "100 in a row (NIST)",
        rule: Rule::Stop { failures: 100 },
    },
];

impl UsualLimit {
    /// Counts the guesses that the limit lets an attacker compare in 30 days; a login of the owner
    /// ends the failures in a row and a wait.
    pub fn compared(&self, owner: Owner) -> Compared {
        let (mut now_s, mut in_a_row, mut singles, mut logins) = (0, 0, 0, 0);
        while now_s < MONTH_S {
            let login_s = owner.login_s(logins + 1).filter(|at| *at < MONTH_S);
            if self.is_worth_it(in_a_row, login_s.is_some()) {
                singles += 1;
                in_a_row += 1;
            }
            let free_s = now_s.saturating_add(self.wait_s(in_a_row, login_s.is_some()));
            match login_s {
                Some(login_s) if login_s <= free_s => {
                    now_s = login_s;
                    in_a_row = 0;
                    logins += 1;
                }
                Some(_) | None => now_s = free_s,
            }
        }
        Compared { singles, pairs: 0 }
    }

    /// Returns whether an attacker guesses now: not if the guess would end the row that a login of
    /// the owner resets.
    fn is_worth_it(&self, in_a_row: u64, owner_returns: bool) -> bool {
        match self.rule {
            Rule::Stop { failures } => in_a_row + u64::from(owner_returns) < failures,
            Rule::Every { .. } | Rule::BackOff { .. } => true,
        }
    }

    /// Returns how long the attacker waits after this failure, in seconds.
    fn wait_s(&self, in_a_row: u64, owner_returns: bool) -> u64 {
        match self.rule {
            Rule::Every { failures, wait_s } if in_a_row.is_multiple_of(failures) => wait_s,
            Rule::Every { .. } => 0,
            Rule::BackOff { first_s, max_s } => first_s
                .saturating_mul(1 << (in_a_row - 1).min(20))
                .min(max_s),
            Rule::Stop { .. } if self.is_worth_it(in_a_row, owner_returns) => 0,
            Rule::Stop { .. } => MONTH_S,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::guessing::CODE_ODDS;

    fn counted(name: &str) -> [u64; 2] {
        let limit = USUAL_LIMITS.iter().find(|limit| limit.name == name);
        let limit = limit.expect("a limit of that name");
        [Owner::Away, Owner::Daily].map(|owner| limit.compared(owner).singles)
    }

    /// By hand: bursts in a month, and for a login a day one more burst or part of it at each.
    #[test]
    fn each_usual_limit_compares_what_is_counted_by_hand() {
        assert_eq!(counted("3 a minute")[0], 3 * 43_200);
        assert_eq!(counted("30, then 1 hour")[0], 30 * 720);
        assert_eq!(counted("5, then 15 minutes")[0], 5 * 2_880);
        assert_eq!(counted("100 in a row (NIST)"), [100, 29 * 99 + 100]);
        // 1 + 2 + … + 2048 = 4095 s for the first 12 waits, then one an hour.
        assert_eq!(counted("back-off, 1 s to 1 hour")[0], 12 + 719);
    }

    /// Millions of guesses, one by one.
    #[test]
    fn each_slow_limit_too() {
        assert_eq!(counted("no limit, 10 a second")[0], 25_920_000);
    }

    /// WSTG's table, 10 guesses a second: 3.5 % in 1 hour with one valid code, 93 % in a day with
    /// three.
    #[test]
    fn the_formula_gives_the_published_odds() {
        let after = |hours: u64, window_steps| {
            let (singles, pairs) = (hours * 36_000, 0);
            (Compared { singles, pairs }.odds(CODE_ODDS, window_steps) * 1_000.0).round() / 10.0
        };
        assert_eq!([after(1, 0), after(4, 0), after(24, 0)], [3.5, 13.4, 57.9]);
        assert_eq!([after(1, 1), after(4, 1), after(24, 1)], [10.2, 35.1, 92.5]);
    }
}
