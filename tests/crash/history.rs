//! The oracle: compares the history that an auditor reads with the promises of the service.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::wire::{Ack, Answer};

/// Events that no command requests: the beginning of the log, its policy, the counts of throttled
/// attempts, which are recorded after a minute or at a clean stop, and the access records.
const OWN_KINDS: &[&str] = &[
    "epoch-started",
    "policy-in-force",
    "schemas-in-force",
    "attempts-suppressed",
    "subject-viewed",
    "look-ups-counted",
];

/// Everything in the log so far, and the state that follows from it.
#[derive(Default)]
pub struct History {
    pub head: u64,
    versions: HashMap<String, u64>,
    groups: HashMap<String, Group>,
    accounts: HashMap<String, Status>,
    last_command: String,
    last_at: String,
}

/// One command's events.
struct Group {
    kinds: Vec<String>,
    position: u64,
    version: u64,
    at: String,
}

/// The expected `login-status`, folded from the events independently of the service's own fold.
#[derive(Clone, Default)]
pub struct Status {
    factor: &'static str,
    pending_until: String,
    enabled_at: Value,
    throttled_until: String,
    double_until: String,
    left: u64,
    set_no: u64,
}

impl History {
    /// Takes the next event: positions and versions have no gaps, times rise, groups are unbroken.
    pub fn push(&mut self, event: &Value) -> Result<(), String> {
        let number = |field: &str| event[field].as_u64().unwrap();
        let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let (position, account, command) =
            (number("position"), word("account_id"), word("command_id"));
        if position != self.head + 1 {
            return Err(format!("after position {} comes {position}", self.head));
        }
        let version = self.versions.entry(account.clone()).or_default();
        if number("version") != *version + 1 {
            return Err(format!("after version {version}: {event}"));
        }
        *version += 1;
        let at = word("at");
        if at < self.last_at {
            return Err(format!("time runs backwards: {event}"));
        }
        if command != self.last_command && self.groups.contains_key(&command) {
            return Err(format!("a second effect of a command: {event}"));
        }
        let group = self.groups.entry(command.clone()).or_insert_with(|| Group {
            kinds: Vec::new(),
            position,
            version: 0,
            at: at.clone(),
        });
        group.kinds.push(word("type"));
        (group.position, group.version) = (position, number("version"));
        self.accounts.entry(account).or_default().fold(event);
        (self.head, self.last_at, self.last_command) = (position, at, command);
        Ok(())
    }

    /// Checks that the log keeps a promise.
    pub fn check(&self, ack: &Ack) -> Result<(), String> {
        let sent = &ack.sent;
        let group = self.groups.get(&sent.id);
        match (&ack.answer, group) {
            (Answer::Done(_), None) => Err(format!("lost: {ack:?}")),
            (Answer::Done(reply), Some(group)) => {
                let details =
                    json!({"position": group.position, "version": group.version, "at": group.at});
                let kind = success_kind(sent.name, reply);
                if reply["details"] != details
                    || !group.kinds.iter().any(|k| kind.contains(&k.as_str()))
                {
                    return Err(format!(
                        "{details} {:?} is not what the reply said: {ack:?}",
                        group.kinds
                    ));
                }
                Ok(())
            }
            (Answer::Refused(code), group) => {
                let counted = refusal_kinds(sent.name, code);
                match group {
                    None if counted.is_empty() => Ok(()),
                    None => Err(format!("a failure was not counted: {ack:?}")),
                    // The command was done, and its secret reply is gone.
                    Some(_) if code == "outcome.unseen" => Ok(()),
                    Some(group) if counted.contains(&group.kinds[0].as_str()) => Ok(()),
                    Some(group) => Err(format!(
                        "refused, yet {:?} was recorded: {ack:?}",
                        group.kinds
                    )),
                }
            }
        }
    }

    pub fn has(&self, command: &str) -> bool {
        self.groups.contains_key(command)
    }

    pub fn commands(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Whether the service records this event by itself, under an id that it made.
    pub fn is_own(&self, command: &str) -> bool {
        let kinds = &self.groups[command].kinds;
        let [kind] = kinds.as_slice() else {
            return false;
        };
        OWN_KINDS.contains(&kind.as_str()) && command.starts_with(&format!("{kind}-"))
    }

    pub fn accounts(&self) -> impl Iterator<Item = &String> {
        self.accounts.keys().filter(|account| !account.is_empty())
    }

    pub fn is_throttled(&self, account: &str, at: &str) -> bool {
        let status = self.accounts.get(account);
        status.is_some_and(|status| status.factor == "on" && status.throttled_until.as_str() > at)
    }

    /// Compares a status with the fold; `from` and `to` are the times around the query.
    pub fn check_status(&self, status: &Value, from: &str, to: &str) -> Result<(), String> {
        let account = status["account_id"].as_str().unwrap();
        let mut now = status.clone();
        let view_position = now["position"].take().as_u64();
        let expected = &self.accounts[account];
        let fits = [from, to]
            .iter()
            .any(|at| expected.shown(account, at) == now);
        if !fits || view_position < Some(self.head) {
            return Err(format!("{status} is not {}", expected.shown(account, to)));
        }
        Ok(())
    }
}

fn success_kind(command: &str, reply: &Value) -> &'static [&'static str] {
    match (command, reply["method"].as_str()) {
        ("register-account", _) => &["account-registered"],
        ("change-password", _) => &["password-set"],
        ("enable-2fa", _) => &["enrolment-started"],
        ("confirm-code", _) => &["two-factor-enabled"],
        ("regenerate-backup-codes", _) => &["backup-codes-issued"],
        ("disable-2fa", _) => &["two-factor-disabled"],
        ("start-login", Some("password")) => &["login-completed"],
        ("start-login", _) => &["login-started"],
        ("verify-login", Some("totp")) => &["totp-accepted"],
        ("verify-login", Some("backup-code")) => &["backup-code-accepted"],
        other => panic!("{other:?}"),
    }
}

/// The events that count a refusal; empty if the refusal is not recorded.
fn refusal_kinds(command: &str, code: &str) -> &'static [&'static str] {
    match (command, code) {
        ("confirm-code", "code.invalid") => &["enrolment-code-rejected"],
        (_, "code.invalid") => &["totp-rejected", "code-replayed", "backup-code-rejected"],
        (_, "credentials.invalid") => &["password-rejected"],
        _ => &[],
    }
}

impl Status {
    fn fold(&mut self, event: &Value) {
        let data = &event["data"];
        let until = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str().unwrap() {
            "enrolment-started" => {
                (self.factor, self.pending_until) = ("pending", until("expires_at"));
            }
            "enrolment-code-rejected" if data["tries_left"] == 0 => self.drop_pending(),
            "enrolment-cancelled" | "enrolment-expired" => self.drop_pending(),
            "password-set" if data["cause"] == "changed" => self.drop_pending(),
            "two-factor-enabled" => {
                (self.factor, self.enabled_at) = ("on", event["at"].clone());
            }
            "two-factor-disabled" => {
                let set_no = self.set_no;
                *self = Self {
                    set_no,
                    ..Self::default()
                };
            }
            "backup-codes-issued" => {
                self.set_no = data["set_no"].as_u64().unwrap();
                self.left = data["slots"].as_u64().unwrap();
            }
            "backup-code-accepted" => {
                self.left = data["remaining"].as_u64().unwrap();
                self.throttled_until.clear();
            }
            "totp-accepted" => self.throttled_until.clear(),
            "attempts-throttled" => self.throttled_until = until("until"),
            "double-code-required" => self.double_until = until("until"),
            _ => {}
        }
    }

    fn drop_pending(&mut self) {
        if self.factor == "pending" {
            self.factor = "off";
        }
    }

    /// The expected reply at an instant, without the view's position.
    fn shown(&self, account: &str, now: &str) -> Value {
        let factor = match self.factor {
            "on" => "on",
            "pending" if self.pending_until.as_str() > now => "pending",
            _ => "off",
        };
        let is_on = factor == "on";
        let mut methods = Vec::new();
        if is_on {
            methods.push("totp");
        }
        if is_on && self.left > 0 {
            methods.push("backup-code");
        }
        let throttled = self.throttled_until.as_str() > now;
        json!({
            "account_id": account,
            "second_factor": factor,
            "methods": methods,
            "throttled_until": throttled.then_some(&self.throttled_until),
            "double_code": self.double_until.as_str() > now,
            "backup_codes_left": self.left,
            "backup_codes_low": is_on && self.left <= 3,
            "set_no": self.set_no,
            "enabled_at": if is_on { self.enabled_at.clone() } else { Value::Null },
            "position": null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Sent;

    const AT: &str = "2026-11-24T12:00:00.000000Z";

    fn event(position: u64, version: u64, command: &str, kind: &str) -> Value {
        json!({
            "position": position, "version": version, "type": kind, "account_id": "ada",
            "at": AT, "command_id": command, "data": {},
        })
    }

    fn history() -> History {
        let mut history = History::default();
        history
            .push(&event(1, 1, "a", "account-registered"))
            .unwrap();
        history.push(&event(2, 2, "a", "password-set")).unwrap();
        history.push(&event(3, 3, "b", "login-completed")).unwrap();
        history
    }

    fn ack(id: &str, name: &'static str, answer: Answer) -> Ack {
        let sent = Sent {
            id: id.into(),
            name,
            body: Value::Null,
        };
        Ack {
            sent,
            answer,
            replayed: false,
        }
    }

    fn acknowledged(position: u64) -> Answer {
        Answer::Done(json!({"details": {"position": position, "version": position, "at": AT}}))
    }

    #[test]
    fn a_promise_is_kept_by_its_event_at_the_acknowledged_position() {
        history()
            .check(&ack("a", "register-account", acknowledged(2)))
            .unwrap();
    }

    #[test]
    fn a_lost_a_moved_and_a_changed_event_break_a_promise() {
        let history = history();
        history
            .check(&ack("c", "register-account", acknowledged(2)))
            .unwrap_err();
        history
            .check(&ack("a", "register-account", acknowledged(1)))
            .unwrap_err();
        history
            .check(&ack("a", "disable-2fa", acknowledged(2)))
            .unwrap_err();
    }

    #[test]
    fn a_failure_without_its_event_and_a_refusal_with_one_are_broken() {
        let refused = |code: &str| Answer::Refused(code.into());
        let history = history();
        history
            .check(&ack("c", "verify-login", refused("code.invalid")))
            .unwrap_err();
        history
            .check(&ack("b", "start-login", refused("overloaded")))
            .unwrap_err();
        history
            .check(&ack("c", "start-login", refused("overloaded")))
            .unwrap();
    }

    #[test]
    fn a_gap_a_repeated_version_and_a_second_effect_are_noticed() {
        history()
            .push(&event(5, 4, "c", "login-completed"))
            .unwrap_err();
        history()
            .push(&event(4, 3, "c", "login-completed"))
            .unwrap_err();
        history()
            .push(&event(4, 4, "a", "login-completed"))
            .unwrap_err();
    }
}
