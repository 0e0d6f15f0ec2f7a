//! Every number of the policy with its source. The rules take the policy as an argument.

use countersign_schemas::secret::SecretText;
use serde::{Deserialize, Serialize};

use super::blocklist::is_common;

/// The most steps of 30 s that any policy lets a code be early or late.
pub const WINDOW_STEPS_MAX: u64 = 2;
/// The longest window in which any policy counts an agent's acts, in seconds.
pub const REQUESTS_WINDOW_MAX_S: u64 = 7 * 86_400;

/// The numbers that the rules decide by.
///
/// `decide` uses them, `evolve` never does: the result of a decision is in its event, so an old log
/// folds to the same account under any policy. Durations are whole seconds of log time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Steps of 30 s that a code may be early or late (RFC 6238 §5.2), 1–2: the window must have
    /// room for two consecutive codes, or double-code mode would shut the owner out.
    pub window_steps: u64,
    /// How many steps to either side a wrong confirming code is searched for, to report by how much
    /// the phone's clock is wrong, 0–30.
    pub diagnosis_steps: u64,
    /// How long an enrolment waits for its first code (NIST SP 800-63B §4.1.2.2).
    pub enrolment_ttl_s: u64,
    /// Wrong confirming codes that drop an enrolment, 1–20.
    pub enrolment_tries: u8,
    /// Whether turning 2FA off, making new backup codes and changing the password also require a
    /// code.
    pub require_code_too: bool,
    /// Wrong app codes in the window that start double-code mode (RFC 4226 §7.3, §7.4), 4–100.
    pub code_failures_budget: u16,
    /// The rolling window of that budget; a success does not clear it.
    pub code_failures_window_s: u64,
    /// Wrong app codes in the window that set no wait.
    pub code_failures_free: u16,
    /// Wrong pairs of codes in an hour, after which the next waits (NIST SP 800-63B §3.2.2).
    pub double_code_tries_per_hour: u16,
    /// Failures in a row that suspend the app (NIST SP 800-63B §3.2.2).
    pub suspend_after: u16,
    /// How long after a clear no agent may clear the attempts again.
    pub clear_again_after_s: u64,
    /// How long after a clear the same agent may not clear them again.
    pub clear_same_agent_after_s: u64,
    /// Wrong passwords of one source that set no wait.
    pub password_failures_free: u32,
    /// Wrong passwords of all sources in a day that set no wait.
    pub password_day_failures_free: u32,
    /// The longest wait that further ones set for every source that is neither known nor new; at
    /// most 60 s, so that a crowd of guessers cannot shut the owner out.
    pub password_day_wait_max_s: u64,
    /// How long after its last wrong password a source's failures are forgotten.
    pub password_forget_s: u64,
    /// Wrong passwords of one address over all accounts and names that set no wait, 10–100,000: as
    /// many as the typing errors in a day of an office behind one address.
    pub source_failures_free: u32,
    /// The first wait after the free failures (RFC 4226 §7.3); each further failure doubles it.
    pub wait_first_s: u64,
    /// The longest wait.
    pub wait_max_s: u64,
    /// Shortest password in bytes (NIST SP 800-63B §3.1.1.2), at least 8.
    pub password_bytes_min: usize,
    /// Longest password in bytes; no byte is cut off.
    pub password_bytes_max: usize,
    /// How long a login challenge can be answered.
    pub challenge_ttl_s: u64,
    /// At this number of unused backup codes or fewer, a login reports that they run low.
    pub low_codes: u8,
    /// How far the wall clock may be behind the log before code checks are refused.
    pub clock_back_max_s: u64,
    /// How far the wall clock may run ahead of the monotonic clock before this raises an alarm.
    pub clock_forward_max_s: u64,
    /// How long an approved reset waits before it can be executed, at least an hour: time for the
    /// owner to object (three business days at GitLab).
    pub reset_cooling_off_s: u64,
    /// When a reset case expires, counted from the request.
    pub reset_ttl_s: u64,
    /// Requests for a reset that one agent may make in the window, over all accounts, 1–100.
    pub reset_requests_max: u16,
    /// The rolling window of that limit.
    pub reset_requests_window_s: u64,
    /// Factors that one agent may suspend in the window, over all accounts, 1–1,000: four in each
    /// working hour of a morning on which phones are stolen (a rogue agent, A-21).
    pub suspensions_max: u16,
    /// Clears of attempts that one agent may make in the window, over all accounts, 1–1,000: each
    /// clear gives a guesser a second budget.
    pub clears_max: u16,
    /// Cases that one agent may reject or cancel in the window, 1–1,000: more than three other
    /// agents may open, so that the requests of a rogue agent can be rejected.
    pub reset_ends_max: u16,
    /// Accounts that one operator may erase in the window, 1–10,000.
    pub erasures_max: u16,
    /// The rolling window of these limits (a day, like the one of requests for resets).
    pub agent_acts_window_s: u64,
    /// How long after a reset every login reports it, so that platforms can delay risky actions.
    pub reset_told_s: u64,
    /// Memory of one Argon2id, KiB (OWASP Password Storage Cheat Sheet).
    pub kdf_memory_kib: u32,
    /// Passes of one Argon2id.
    pub kdf_passes: u32,
    /// Lanes of one Argon2id.
    pub kdf_lanes: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window_steps: 1,
            diagnosis_steps: 10,
            enrolment_ttl_s: 600,
            enrolment_tries: 5,
            require_code_too: false,
            code_failures_budget: 10,
            code_failures_window_s: 30 * 86_400,
            code_failures_free: 3,
            double_code_tries_per_hour: 4,
            suspend_after: 100,
            clear_again_after_s: 7 * 86_400,
            clear_same_agent_after_s: 30 * 86_400,
            password_failures_free: 10,
            password_day_failures_free: 100,
            password_day_wait_max_s: 60,
            password_forget_s: 86_400,
            source_failures_free: 100,
            wait_first_s: 5,
            wait_max_s: 900,
            password_bytes_min: 8,
            password_bytes_max: 256,
            challenge_ttl_s: 300,
            low_codes: 3,
            clock_back_max_s: 60,
            clock_forward_max_s: 60,
            reset_cooling_off_s: 72 * 3_600,
            reset_ttl_s: 7 * 86_400,
            reset_requests_max: 5,
            reset_requests_window_s: 86_400,
            suspensions_max: 20,
            clears_max: 20,
            reset_ends_max: 20,
            erasures_max: 100,
            agent_acts_window_s: 86_400,
            reset_told_s: 30 * 86_400,
            kdf_memory_kib: 19_456,
            kdf_passes: 2,
            kdf_lanes: 1,
        }
    }
}

/// A number of the policy is outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[policy] {name} is out of range: it must be {range}")]
pub struct PolicyError {
    name: &'static str,
    range: &'static str,
}

/// Whether a number is in its range, its name, and the range in words.
pub(super) type Rule = (bool, &'static str, &'static str);

impl Policy {
    /// Checks that every number is in the range for which the rules are proven.
    ///
    /// # Errors
    /// [`PolicyError`] with the first number that is out of range.
    pub fn check(&self) -> Result<(), PolicyError> {
        match self.rules().into_iter().find(|(holds, _, _)| !holds) {
            Some((_, name, range)) => Err(PolicyError { name, range }),
            None => Ok(()),
        }
    }

    /// Returns every number with its range.
    fn rules(&self) -> Vec<Rule> {
        [
            self.code_rules(),
            self.password_rules(),
            self.reset_rules(),
            self.quota_rules(),
            self.other_rules(),
        ]
        .concat()
    }

    /// App codes and backup codes.
    fn code_rules(&self) -> Vec<Rule> {
        vec![
            (
                (1..=WINDOW_STEPS_MAX).contains(&self.window_steps),
                "window_steps",
                "1 to 2",
            ),
            (self.diagnosis_steps <= 30, "diagnosis_steps", "0 to 30"),
            (
                (1..=86_400).contains(&self.enrolment_ttl_s),
                "enrolment_ttl_s",
                "1 to 86400",
            ),
            (
                (1..=20).contains(&self.enrolment_tries),
                "enrolment_tries",
                "1 to 20",
            ),
            (
                (4..=100).contains(&self.code_failures_budget),
                "code_failures_budget",
                "4 to 100",
            ),
            (
                self.code_failures_window_s >= 3_600,
                "code_failures_window_s",
                "3600 or more",
            ),
            (
                self.code_failures_free < self.code_failures_budget,
                "code_failures_free",
                "below code_failures_budget",
            ),
            (
                (1..=60).contains(&self.double_code_tries_per_hour),
                "double_code_tries_per_hour",
                "1 to 60",
            ),
            (
                (10..=100).contains(&self.suspend_after),
                "suspend_after",
                "10 to 100",
            ),
            (
                self.clear_again_after_s >= 86_400,
                "clear_again_after_s",
                "86400 or more",
            ),
            (
                self.clear_same_agent_after_s >= self.clear_again_after_s,
                "clear_same_agent_after_s",
                "clear_again_after_s or more",
            ),
            (self.low_codes <= 10, "low_codes", "0 to 10"),
        ]
    }

    /// Passwords and waits.
    fn password_rules(&self) -> Vec<Rule> {
        vec![
            (
                self.password_failures_free <= 100,
                "password_failures_free",
                "0 to 100",
            ),
            (
                (1..=10_000).contains(&self.password_day_failures_free),
                "password_day_failures_free",
                "1 to 10000",
            ),
            (
                self.password_day_wait_max_s <= 60,
                "password_day_wait_max_s",
                "0 to 60",
            ),
            (
                self.password_forget_s >= 3_600,
                "password_forget_s",
                "3600 or more",
            ),
            (
                (10..=100_000).contains(&self.source_failures_free),
                "source_failures_free",
                "10 to 100000",
            ),
            (self.wait_first_s >= 1, "wait_first_s", "1 or more"),
            (
                (self.wait_first_s..=86_400).contains(&self.wait_max_s),
                "wait_max_s",
                "wait_first_s to 86400",
            ),
            (
                (8..=64).contains(&self.password_bytes_min),
                "password_bytes_min",
                "8 to 64",
            ),
            (
                (64..=1_024).contains(&self.password_bytes_max),
                "password_bytes_max",
                "64 to 1024",
            ),
            (
                (8..=1_048_576).contains(&self.kdf_memory_kib),
                "kdf_memory_kib",
                "8 to 1048576",
            ),
            ((1..=16).contains(&self.kdf_passes), "kdf_passes", "1 to 16"),
            (self.kdf_lanes == 1, "kdf_lanes", "1"),
        ]
    }

    /// Support resets.
    fn reset_rules(&self) -> Vec<Rule> {
        vec![
            (
                (3_600..=30 * 86_400).contains(&self.reset_cooling_off_s),
                "reset_cooling_off_s",
                "3600 to 2592000",
            ),
            (
                self.reset_ttl_s > self.reset_cooling_off_s && self.reset_ttl_s <= 90 * 86_400,
                "reset_ttl_s",
                "above reset_cooling_off_s and at most 7776000",
            ),
            (
                (1..=100).contains(&self.reset_requests_max),
                "reset_requests_max",
                "1 to 100",
            ),
            (
                (3_600..=REQUESTS_WINDOW_MAX_S).contains(&self.reset_requests_window_s),
                "reset_requests_window_s",
                "3600 to 604800",
            ),
            (
                self.reset_told_s <= 365 * 86_400,
                "reset_told_s",
                "0 to 31536000",
            ),
        ]
    }

    /// Challenges and time.
    fn other_rules(&self) -> Vec<Rule> {
        vec![
            (
                (1..=3_600).contains(&self.challenge_ttl_s),
                "challenge_ttl_s",
                "1 to 3600",
            ),
            (
                (1..=600).contains(&self.clock_back_max_s),
                "clock_back_max_s",
                "1 to 600",
            ),
            (
                (1..=600).contains(&self.clock_forward_max_s),
                "clock_forward_max_s",
                "1 to 600",
            ),
        ]
    }

    /// Returns whether a password may be set: it is neither too short nor too long nor a common one
    /// (NIST SP 800-63B §3.1.1.2).
    pub fn accepts(&self, password: &SecretText) -> bool {
        let lengths = self.password_bytes_min..=self.password_bytes_max;
        lengths.contains(&password.reveal().len()) && !is_common(password)
    }

    /// Returns the wait in seconds after the `nth` failure beyond the free ones: it doubles from
    /// the first wait up to the longest, and is 0 for `nth` 0 (RFC 4226 §7.3).
    pub fn wait_s(&self, nth: u32) -> u64 {
        match nth {
            0 => 0,
            n => self
                .wait_first_s
                .saturating_mul(1_u64.checked_shl(n - 1).unwrap_or(u64::MAX))
                .min(self.wait_max_s),
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
