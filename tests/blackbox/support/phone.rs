//! An authenticator app, by another crate than the product's own code.

use std::thread::sleep;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_NOPAD;

use super::site::{POLL, eventually};

const STEP_S: u64 = 30;
/// With so little time left in this step, the code of the last step is not used: it would be out of
/// the window when it arrives on a loaded machine.
const MARGIN_S: u64 = 20;

/// An app that has scanned a secret.
pub struct Phone {
    totp: totp_rs::Totp,
    last: u64,
}

impl Phone {
    /// Takes the secret as a person types it: base32.
    pub fn scan(secret: &str) -> Self {
        let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        let secret: [u8; 20] = secret.try_into().expect("160 bits");
        let totp = totp_rs::Builder::new()
            .with_secret(secret)
            .build_noncompliant();
        Self { totp, last: 0 }
    }

    /// The code of a step.
    pub fn at(&self, step: u64) -> String {
        self.totp.generate(step * STEP_S).to_string()
    }

    /// The next code that is valid and above all earlier ones: of the last step, this one or the
    /// next, so that three are available without waiting for the clock.
    pub fn next(&mut self) -> String {
        loop {
            let (now, left) = now();
            let earliest = if left > MARGIN_S { now - 1 } else { now };
            let step = earliest.max(self.last + 1);
            if step <= now + 1 {
                self.last = step;
                return self.at(step);
            }
            sleep(POLL);
        }
    }

    /// The code of this step or the next, which stays valid for at least 30 s.
    pub fn lasting(&mut self) -> String {
        let mut code = None;
        eventually("a fresh step has come", || {
            let step = now().0.max(self.last + 1);
            if step > now().0 + 1 {
                return false;
            }
            self.last = step;
            code = Some(self.at(step));
            true
        });
        code.unwrap()
    }

    /// The codes of this step and the next, of which none was used before; valid for at least 30 s.
    pub fn pair(&mut self) -> (String, String) {
        let mut pair = None;
        eventually("two fresh steps have come", || {
            let step = now().0;
            if step <= self.last {
                return false;
            }
            self.last = step + 1;
            pair = Some((self.at(step), self.at(step + 1)));
            true
        });
        pair.unwrap()
    }

    /// The highest step of which the code was used.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Six digits that are not a code of any step near the present.
    pub fn wrong(&self) -> String {
        let now = now().0;
        (0..)
            .map(|number| format!("{number:06}"))
            .find(|code| (now - 15..=now + 15).all(|step| self.at(step) != *code))
            .unwrap()
    }
}

/// The present step and its remaining whole seconds.
pub fn now() -> (u64, u64) {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    (seconds / STEP_S, STEP_S - seconds % STEP_S)
}
