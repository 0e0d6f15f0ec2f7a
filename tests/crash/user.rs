//! A user: what they learnt from replies, what they do next, and which codes they have spent.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign::crypto::otp::{STEP_SECONDS, TotpSecret, hotp, step_at};
use countersign_schemas::code::Code;
use data_encoding::BASE32_NOPAD;
use serde_json::{Value, json};

use crate::rng::Rng;
use crate::wire::{Ack, Answer, Sent};

/// After this many commands a new user replaces this one, so that few are ever throttled.
const COMMANDS_MAX: u32 = 24;
/// Wrong app codes that a user sends; the harness replays right ones on top.
const WRONG_CODES_MAX: u32 = 2;

pub struct User {
    pub account: String,
    password: String,
    next_password: String,
    stage: Stage,
    secret: Option<TotpSecret>,
    authenticator: String,
    challenge: Option<String>,
    unused: Vec<String>,
    last_step: u64,
    commands: u32,
    wrong_codes: u32,
    refusals: u32,
    /// App codes that were accepted since the last crash.
    spent_totp: Vec<String>,
    /// Backup codes that were accepted or superseded since the last crash.
    spent_backup: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Off,
    Pending,
    On,
}

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

impl User {
    pub fn new(account: String) -> Self {
        Self {
            password: format!("{account} correct horse 0"),
            next_password: String::new(),
            account,
            stage: Stage::New,
            secret: None,
            authenticator: String::new(),
            challenge: None,
            unused: Vec::new(),
            last_step: 0,
            commands: 0,
            wrong_codes: 0,
            refusals: 0,
            spent_totp: Vec::new(),
            spent_backup: Vec::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.commands >= COMMANDS_MAX || self.refusals > 2
    }

    /// The codes spent since the last crash, app codes and backup codes; empty if 2FA is off.
    pub fn take_spent(&mut self) -> (Vec<String>, Vec<String>) {
        let spent = (
            std::mem::take(&mut self.spent_totp),
            std::mem::take(&mut self.spent_backup),
        );
        if self.stage == Stage::On {
            spent
        } else {
            Default::default()
        }
    }

    /// The next command of this user.
    pub fn next(&mut self, rng: &mut Rng) -> Sent {
        self.commands += 1;
        let (name, body) = match self.stage {
            Stage::New => (
                "register-account",
                self.named(json!({"username": self.account, "password": self.password})),
            ),
            Stage::Off => match rng.below(4) {
                0 => (
                    "start-login",
                    self.named(json!({"password": self.password})),
                ),
                _ => ("enable-2fa", self.named(json!({"proof": self.proof()}))),
            },
            Stage::Pending => self.confirm(rng),
            Stage::On => self.act(rng),
        };
        self.sent(name, body)
    }

    /// A command with an id that names the account and its turn, so that a failure can be followed.
    fn sent(&self, name: &'static str, body: Value) -> Sent {
        Sent {
            id: format!("{}-{}", self.account, self.commands),
            name,
            body,
        }
    }

    /// Tries a code again under a new id.
    pub fn replay(&mut self, code: &str) -> Sent {
        self.commands += 1;
        self.sent("verify-login", self.named(json!({"code": code})))
    }

    fn named(&self, mut body: Value) -> Value {
        body["account_id"] = json!(self.account);
        body
    }

    fn proof(&self) -> Value {
        json!({"password": self.password})
    }

    fn code(&self, step: u64) -> String {
        let secret = self.secret.as_ref().expect("an enrolment has begun");
        Code::Totp(hotp(secret, step)).reveal()
    }

    fn confirm(&self, rng: &mut Rng) -> (&'static str, Value) {
        // The step before leaves two for logins; near the border its code could expire in transit.
        let margin = unix_s() % STEP_SECONDS < STEP_SECONDS - 3;
        let step = step_at(unix_s()) - u64::from(margin);
        let step = if rng.chance(5) { step + 5_000 } else { step };
        let body = json!({"authenticator_id": self.authenticator, "code": self.code(step)});
        ("confirm-code", self.named(body))
    }

    fn act(&mut self, rng: &mut Rng) -> (&'static str, Value) {
        match rng.below(20) {
            0..8 => self.verify_totp(rng),
            8..12 => self.verify_backup(rng),
            12 => (
                "start-login",
                self.named(json!({"password": "wrong password"})),
            ),
            13..15 => (
                "start-login",
                self.named(json!({"password": self.password})),
            ),
            15 => (
                "regenerate-backup-codes",
                self.named(json!({"proof": self.proof()})),
            ),
            16 => {
                self.next_password = format!("{} correct horse {}", self.account, self.commands);
                let body = json!({"password": self.password, "new_password": self.next_password});
                ("change-password", self.named(body))
            }
            17 => ("disable-2fa", self.named(json!({"proof": self.proof()}))),
            _ if self.wrong_codes < WRONG_CODES_MAX => {
                self.wrong_codes += 1;
                let code = self.code(step_at(unix_s()) + 5_000);
                ("verify-login", self.named(json!({"code": code})))
            }
            _ => self.verify_backup(rng),
        }
    }

    fn verify_totp(&mut self, rng: &mut Rng) -> (&'static str, Value) {
        let now = step_at(unix_s());
        let step = now.max(self.last_step + 1);
        if step > now + 1 {
            return self.verify_backup(rng);
        }
        let code = self.code(step);
        ("verify-login", self.factor(json!({"code": code})))
    }

    fn verify_backup(&mut self, rng: &mut Rng) -> (&'static str, Value) {
        let again = rng
            .chance(10)
            .then(|| rng.pick(&self.spent_backup))
            .flatten();
        match again.or(rng.pick(&self.unused)).cloned() {
            Some(code) => ("verify-login", self.factor(json!({"code": code}))),
            None => (
                "regenerate-backup-codes",
                self.named(json!({"proof": self.proof()})),
            ),
        }
    }

    /// Answers the open challenge, or names the account if there is none.
    fn factor(&mut self, mut body: Value) -> Value {
        match self.challenge.take() {
            Some(challenge) => body["challenge_id"] = json!(challenge),
            None => body["account_id"] = json!(self.account),
        }
        body
    }

    /// Learns from a reply.
    pub fn hear(&mut self, ack: &Ack) {
        match &ack.answer {
            Answer::Done(reply) => self.hear_success(ack, reply),
            Answer::Refused(code) if code == "outcome.unseen" => self.hear_unseen(ack.sent.name),
            Answer::Refused(code) => {
                // An enrolment that lapsed or was dropped begins again.
                if ack.sent.name == "confirm-code" && code != "code.invalid" {
                    self.stage = Stage::Off;
                }
                let patience = [
                    "account.throttled",
                    "code.second_required",
                    "factor.suspended",
                ];
                self.refusals += u32::from(patience.contains(&code.as_str()));
            }
        }
    }

    fn hear_success(&mut self, ack: &Ack, reply: &Value) {
        match ack.sent.name {
            "register-account" => self.stage = Stage::Off,
            "change-password" => {
                self.password = ack.sent.body["new_password"].as_str().unwrap().into();
                self.challenge = None;
            }
            "enable-2fa" => {
                self.stage = Stage::Pending;
                self.authenticator = text(reply, "authenticator_id");
                let secret = BASE32_NOPAD.decode(text(reply, "secret").as_bytes());
                self.secret = TotpSecret::from_slice(&secret.unwrap());
            }
            "confirm-code" => {
                self.stage = Stage::On;
                // Which of two steps it was does not matter: no lower one is tried.
                self.last_step = step_at(unix_s());
                if ack.sent.body["code"] == json!(self.code(self.last_step - 1)) {
                    self.last_step -= 1;
                }
                self.spent_totp.push(text(&ack.sent.body, "code"));
                self.unused = codes(reply);
            }
            "regenerate-backup-codes" => {
                self.spent_backup.append(&mut self.unused);
                self.unused = codes(reply);
            }
            "disable-2fa" => {
                self.stage = Stage::Off;
                self.spent_totp.clear();
                self.spent_backup.clear();
                self.unused.clear();
            }
            "start-login" => {
                self.challenge = reply["challenge_id"].as_str().map(str::to_owned);
            }
            "verify-login" => self.spend(&text(&ack.sent.body, "code"), reply),
            other => panic!("{other}"),
        }
    }

    /// The command was done, but its secrets are gone: the user requests new ones.
    fn hear_unseen(&mut self, name: &str) {
        match name {
            "confirm-code" => {
                self.stage = Stage::On;
                self.last_step = step_at(unix_s());
            }
            "regenerate-backup-codes" => self.spent_backup.append(&mut self.unused),
            "enable-2fa" | "start-login" => {}
            other => panic!("{other} has no secret reply"),
        }
    }

    fn spend(&mut self, code: &str, reply: &Value) {
        if reply["method"] == "totp" {
            let now = step_at(unix_s());
            let spent = (now - 3..=now + 1).rfind(|step| self.code(*step) == code);
            self.last_step = spent.expect("a code that was accepted is of a step near now");
            self.spent_totp.push(code.into());
        } else {
            self.unused.retain(|unused| unused != code);
            self.spent_backup.push(code.into());
        }
    }
}

fn text(body: &Value, field: &str) -> String {
    body[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {body}"))
        .into()
}

fn codes(reply: &Value) -> Vec<String> {
    let codes = reply["backup_codes"].as_array().unwrap().iter();
    codes.map(|code| code.as_str().unwrap().into()).collect()
}
