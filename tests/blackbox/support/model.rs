//! The rules for any history of an account, whatever raced and whatever crashed.

use std::collections::HashSet;

use serde_json::Value;

#[derive(Default)]
struct Model {
    is_on: bool,
    is_pending: bool,
    step: u64,
    set_no: u64,
    used: HashSet<u64>,
}

/// Folds one account's events, and fails on the first one that the rules do not allow.
pub fn check(events: &[Value], account: &str) {
    let mut model = Model::default();
    let hers = events.iter().filter(|event| event["account_id"] == account);
    let mut checked = 0;
    for event in hers {
        checked += 1;
        assert_eq!(event["version"], checked, "{event}");
        model.take(event);
    }
    assert!(checked > 0, "this history has no event of {account}");
}

/// Positions are 1, 2, 3 and so on.
pub fn has_no_gap(events: &[Value]) {
    assert!(!events.is_empty(), "there is no history");
    for (before, event) in events.iter().enumerate() {
        assert_eq!(event["position"], before as u64 + 1, "{event}");
    }
}

/// How many events of this type an account has.
pub fn count(events: &[Value], account: &str, kind: &str) -> usize {
    events
        .iter()
        .filter(|event| event["account_id"] == account && event["type"] == kind)
        .count()
}

impl Model {
    fn take(&mut self, event: &Value) {
        let number = |name: &str| event["data"][name].as_u64().unwrap();
        match event["type"].as_str().unwrap() {
            "enrolment-started" => {
                assert!(!self.is_on, "an enrolment beside a factor: {event}");
                self.is_pending = true;
            }
            "two-factor-enabled" => {
                assert!(self.is_pending, "nothing was pending: {event}");
                (self.is_on, self.is_pending, self.step) = (true, false, number("step"));
            }
            "backup-codes-issued" => {
                assert!(self.is_on && number("set_no") == self.set_no + 1, "{event}");
                self.set_no += 1;
                self.used.clear();
            }
            "totp-accepted" => {
                assert!(self.is_on && number("step") > self.step, "{event}");
                self.step = number("step");
            }
            "backup-code-accepted" => {
                assert!(self.is_on && number("set_no") == self.set_no, "{event}");
                assert!(self.used.insert(number("ordinal")), "used twice: {event}");
                assert_eq!(number("remaining"), 10 - self.used.len() as u64, "{event}");
            }
            "totp-rejected" | "code-replayed" | "backup-code-rejected" | "login-started" => {
                assert!(self.is_on, "{event}");
            }
            "two-factor-disabled" => {
                assert!(self.is_on, "{event}");
                self.is_on = false;
            }
            _ => {}
        }
    }
}
