//! A user of the platform, as the platform's service acts for them.

use serde_json::{Value, json};

use super::answer::Answer;
use super::bus::Bus;
use super::model;
use super::phone::Phone;

pub const PASSWORD: &str = "correct horse battery staple";

/// A registered user; with 2FA there is a phone and a sheet of codes.
pub struct Person {
    pub bus: Bus,
    pub account: String,
    pub username: String,
    pub authenticator: String,
    pub codes: Vec<String>,
    phone: Option<Phone>,
}

impl Person {
    /// Registers; the account id is the name.
    pub async fn register(bus: &Bus, name: &str) -> Self {
        let body = json!({"account_id": name, "username": name, "password": PASSWORD});
        bus.command("register-account", body).await.ok();
        Self {
            bus: bus.clone(),
            account: name.into(),
            username: name.into(),
            authenticator: String::new(),
            codes: Vec::new(),
            phone: None,
        }
    }

    /// Registers and turns 2FA on.
    pub async fn with_2fa(bus: &Bus, name: &str) -> Self {
        let mut person = Self::register(bus, name).await;
        person.enable().await;
        person.confirm().await;
        person
    }

    pub fn proven(&self) -> Value {
        json!({"account_id": self.account, "proof": {"password": PASSWORD}})
    }

    pub fn phone(&mut self) -> &mut Phone {
        self.phone.as_mut().unwrap()
    }

    pub async fn enable(&mut self) -> Answer {
        let answer = self.bus.command("enable-2fa", self.proven()).await;
        self.authenticator = answer.field("authenticator_id");
        self.phone = Some(Phone::scan(&answer.field("secret")));
        answer
    }

    pub fn confirming(&self, code: &str) -> Value {
        json!({"account_id": self.account, "authenticator_id": self.authenticator, "code": code})
    }

    pub async fn confirm(&mut self) -> Answer {
        let code = self.phone().next();
        let answer = self
            .bus
            .command("confirm-code", self.confirming(&code))
            .await;
        self.keep(&answer);
        answer
    }

    /// Keeps the sheet of codes that a reply shows.
    pub fn keep(&mut self, answer: &Answer) {
        let codes = answer.ok()["backup_codes"].as_array().unwrap();
        self.codes = codes.iter().map(|c| c.as_str().unwrap().into()).collect();
    }

    pub async fn regenerate(&mut self) -> Answer {
        let answer = self
            .bus
            .command("regenerate-backup-codes", self.proven())
            .await;
        self.keep(&answer);
        answer
    }

    pub async fn start_login(&self) -> Answer {
        let body = json!({"username": self.username, "password": PASSWORD});
        self.bus.command("start-login", body).await
    }

    /// Opens a login challenge.
    pub async fn challenge(&self) -> String {
        self.start_login().await.field("challenge_id")
    }

    /// Answers a new challenge.
    pub async fn log_in(&self, code: &str) -> Answer {
        let challenge = self.challenge().await;
        self.verify(&challenge, code).await
    }

    pub async fn verify(&self, challenge: &str, code: &str) -> Answer {
        let body = json!({"challenge_id": challenge, "code": code});
        self.bus.command("verify-login", body).await
    }

    /// The second factor of a user, when the caller has checked the first one.
    pub async fn vouched(&self, code: &str) -> Answer {
        self.bus.command("verify-login", self.vouching(code)).await
    }

    pub fn vouching(&self, code: &str) -> Value {
        json!({"account_id": self.account, "code": code})
    }

    /// The same command as a proof: the password with a code.
    pub fn proven_with(&self, code: &str) -> Value {
        json!({"account_id": self.account, "proof": {"password": PASSWORD, "code": code}})
    }

    /// Every event of the user so far, compared with the rules for every history.
    pub async fn life(&self) -> Vec<Value> {
        let head = self.start_login().await.position();
        let events = self.bus.timeline(&self.account, head).await;
        model::check(&events, &self.account);
        events
    }

    pub async fn status(&self) -> Value {
        let name = format!("login-status.{}", self.account);
        self.bus.query(&name, json!({})).await.ok().clone()
    }
}
