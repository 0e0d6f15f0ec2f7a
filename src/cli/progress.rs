//! A progress bar on standard error, for people.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The shortest time between two drawings.
const DRAW_EVERY: Duration = Duration::from_millis(100);
const BAR_CELLS: u64 = 24;

/// A piece of work that counts events.
pub struct Progress {
    what: &'static str,
    begun: Instant,
    drawn: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Begins; draws nothing with `--json` or if standard error is not a terminal.
    pub fn new(what: &'static str, json: bool) -> Self {
        Self {
            what,
            begun: Instant::now(),
            drawn: None,
            is_shown: !json && stderr().is_terminal(),
        }
    }

    /// Shows how far it is.
    pub fn at(&mut self, done: u64, total: u64) {
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY);
        if self.is_shown && (is_due || done == total) {
            self.drawn = Some(Instant::now());
            let line = bar(self.what, done, total, self.begun.elapsed());
            // A closed terminal does not end the work.
            let _ = write!(stderr(), "\r{line}\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// The line: the work, a bar, the count, the rate and the remaining time.
fn bar(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let total = total.max(done).max(1);
    let full = done * BAR_CELLS / total;
    let cells: String = (0..BAR_CELLS)
        .map(|cell| if cell < full { '█' } else { '░' })
        .collect();
    let rate = (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let left_s = (total - done).checked_div(rate).unwrap_or(0);
    format!(
        "{what} {cells} {:>3} %  {} of {}  {}/s  {}:{:02} left",
        done * 100 / total,
        grouped(done),
        grouped(total),
        grouped(rate),
        left_s / 60,
        left_s % 60
    )
}

/// A number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let all = [0, 7, 123, 1_234, 123_456, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "7", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn a_bar_says_how_far_how_fast_and_how_long_still() {
        let text = bar("verifying", 1_500_000, 6_000_000, Duration::from_secs(3));
        let expected = "verifying ██████░░░░░░░░░░░░░░░░░░  25 %  1,500,000 of 6,000,000  500,000/s  0:09 left";
        assert_eq!(text, expected);
        assert!(bar("x", 0, 0, Duration::ZERO).contains("0 of 1  0/s  0:00 left"));
    }
}
