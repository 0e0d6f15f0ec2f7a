//! No password, seed or code stays in the process's memory once the reply has left.
//!
//! The tests read all writable memory of the service and search it for everything that was sent and
//! shown. Six digits occur in memory by chance (in numbers, times and positions), so app codes are
//! searched in their form on the wire: with their quotes. Longer values are searched piece by
//! piece, because only a part of a copy may be left.

mod memory;

use std::thread::sleep;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use futures_util::future::join_all;
use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::{Value, json};

use super::canary::forms::Search;
use super::credentials::{broker_with, certificates, mutual_tls};
use super::support::answer::Answer;
use super::support::bus::{Bus, fresh_id};
use super::support::phone::Phone;
use super::support::service::Service;
use super::support::site::Site;
use super::support::{CHEAP, Rig};

/// The service wipes memory as soon as a reply has left; on a loaded machine this takes longer.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 300;
const USERS: usize = 20;
/// A body that is too large.
const TOO_LARGE_BYTES: usize = 70_000;
/// Requests that are sent at once, and the spaces at the end of each.
const CROWD: usize = 50;
const CROWD_SPACES: usize = 6_000;
/// A name that the service keeps in memory for as long as it runs.
const ISSUER: &str = "an issuer that stays in memory";

/// The length of a piece of a secret that does not occur by chance.
const PIECE_BYTES: usize = 8;

/// The values that were sent and shown.
#[derive(Default)]
struct Secrets {
    whole: Vec<Vec<u8>>,
    pieces: Vec<Vec<u8>>,
}

impl Secrets {
    /// Values that are secret in every part.
    fn add(&mut self, value: impl Into<Vec<u8>>) {
        let value = value.into();
        let pieces = value.chunks_exact(PIECE_BYTES);
        self.pieces.extend(pieces.map(<[u8]>::to_vec));
        self.whole.push(value);
    }

    /// Values with parts that are not secret.
    fn add_whole(&mut self, value: impl Into<Vec<u8>>) {
        self.whole.push(value.into());
    }

    /// A new password, which is searched for from now on.
    fn password(&mut self) -> String {
        let mut random = [0; 18];
        SysRng.try_fill_bytes(&mut random).unwrap();
        let password = BASE64URL_NOPAD.encode(&random);
        self.add(password.as_bytes());
        password
    }

    /// The app of an enrolment.
    fn phone(&mut self, enabled: &Value) -> Phone {
        let text = |name: &str| enabled[name].as_str().unwrap();
        let seed = text("secret");
        self.add(seed);
        self.add(BASE32_NOPAD.decode(seed.as_bytes()).unwrap());
        self.add_whole(text("otpauth_uri"));
        // The middle of the picture: the beginnings of all pictures are equal.
        let svg = text("qr_svg").as_bytes();
        self.add_whole(&svg[svg.len() / 2..][..64]);
        Phone::scan(seed)
    }

    /// A set of backup codes, as they are shown and as they are hashed.
    fn sheet(&mut self, answer: &Value) -> Vec<String> {
        let codes = answer["backup_codes"].as_array().unwrap();
        let codes = codes.iter().map(|code| code.as_str().unwrap().to_owned());
        let codes: Vec<_> = codes.collect();
        for code in &codes {
            self.add(code.as_bytes());
            self.add(code.replace('-', ""));
        }
        codes
    }

    /// An app code that will be sent next.
    fn code(&mut self, code: String) -> String {
        self.add_whole(format!("\"{code}\""));
        code
    }

    fn search(&self) -> Search {
        Search::exactly(self.whole.iter().chain(&self.pieces).cloned())
    }
}

/// A user's whole life, with many errors in it.
struct Life<'a> {
    bus: &'a Bus,
    name: String,
    secrets: &'a mut Secrets,
    /// The service, if its memory is searched after every command of the life: a thread's stack
    /// keeps its last values only until its next work.
    watched: Option<u32>,
}

impl Life<'_> {
    async fn live(&mut self) {
        let (name, wrong) = (self.name.clone(), self.secrets.password());
        let password = self.secrets.password();
        let body = json!({"account_id": name, "username": name, "password": password});
        self.send("register-account", body).await.ok();
        let body = json!({"username": name, "password": wrong});
        let answer = self.send("start-login", body).await;
        answer.refused("credentials.invalid");
        self.send_malformed_bodies().await;
        self.send_many_at_once().await;
        let mut phone = self.enrol(&password).await;
        self.log_in_by_app(&password, &mut phone).await;
        let proven = json!({"account_id": name, "proof": {"password": password}});
        let renewed = self.send("regenerate-backup-codes", proven).await;
        let sheet = self.secrets.sheet(renewed.ok());
        self.log_in_by_sheet(&password, &sheet).await;
        let new = self.secrets.password();
        let body = json!({"account_id": name, "password": password, "new_password": new});
        self.send("change-password", body).await.ok();
        let body = json!({"account_id": name, "proof": {"password": new, "code": sheet[2]}});
        self.send("disable-2fa", body).await.ok();
        // Half of the users keep their factor to the end.
        if name.ends_with(['1', '3', '5', '7', '9']) {
            self.enrol(&new).await;
        }
        self.search();
    }

    async fn send(&self, command: &str, body: Value) -> Answer {
        self.send_as(command, &fresh_id(), &body.to_string()).await
    }

    async fn send_as(&self, command: &str, id: &str, body: &str) -> Answer {
        self.search();
        self.bus.bytes_as(command, id, body.as_bytes()).await
    }

    /// Checks what this reply and all earlier ones left in memory.
    fn search(&self) {
        if let Some(process) = self.watched {
            nothing_is_left(process, &self.secrets.search());
        }
    }

    /// Turns 2FA on; each of the two commands is sent again, and gets the same reply.
    async fn enrol(&mut self, password: &str) -> Phone {
        let (name, wrong) = (self.name.clone(), self.secrets.password());
        let body = json!({"account_id": name, "proof": {"password": wrong}});
        let answer = self.send("enable-2fa", body).await;
        answer.refused("credentials.invalid");
        let body = json!({"account_id": name, "proof": {"password": password}});
        let (id, body) = (fresh_id(), body.to_string());
        let enabled = self.send_as("enable-2fa", &id, &body).await.body;
        let mut phone = self.secrets.phone(&enabled);
        let again = self.send_as("enable-2fa", &id, &body).await;
        assert!(again.is_replayed() && again.body == enabled);
        let confirming = |code: &str| {
            let authenticator = &enabled["authenticator_id"];
            json!({"account_id": name, "authenticator_id": authenticator, "code": code})
        };
        let wrong = self.secrets.code(phone.wrong());
        let answer = self.send("confirm-code", confirming(&wrong)).await;
        answer.refused("code.invalid");
        let right = confirming(&self.secrets.code(phone.next())).to_string();
        let id = fresh_id();
        let confirmed = self.send_as("confirm-code", &id, &right).await.body;
        self.secrets.sheet(&confirmed);
        let again = self.send_as("confirm-code", &id, &right).await;
        assert!(again.is_replayed() && again.body == confirmed);
        phone
    }

    async fn challenge(&self, password: &str) -> String {
        let body = json!({"username": self.name, "password": password});
        self.send("start-login", body).await.field("challenge_id")
    }

    async fn log_in_by_app(&mut self, password: &str, phone: &mut Phone) {
        let challenge = self.challenge(password).await;
        let wrong = self.secrets.code(phone.wrong());
        let body = json!({"challenge_id": challenge, "code": wrong});
        let answer = self.send("verify-login", body).await;
        answer.refused("code.invalid");
        let right = self.secrets.code(phone.next());
        let body = json!({"challenge_id": challenge, "code": right});
        self.send("verify-login", body).await.ok();
    }

    /// Twice with a code of the sheet, of which the second use is refused; then with codes as
    /// people type them.
    async fn log_in_by_sheet(&self, password: &str, sheet: &[String]) {
        for word in [None, Some("code.invalid")] {
            let challenge = self.challenge(password).await;
            let body = json!({"challenge_id": challenge, "code": sheet[0]});
            assert_eq!(self.send("verify-login", body).await.word(), word);
        }
        let bare = sheet[1].replace('-', "");
        let body = json!({"account_id": self.name, "code": bare});
        self.send("verify-login", body).await.ok();
    }

    /// More than the connection's buffers hold, so that some requests cross the ends of buffers.
    async fn send_many_at_once(&mut self) {
        let bodies: Vec<_> = (0..CROWD)
            .map(|_| cut_short(&self.secrets.password()))
            .collect();
        let sent = bodies.iter().map(async |body| {
            let body = format!("{body}{}", " ".repeat(CROWD_SPACES));
            let id = fresh_id();
            let answer = self.bus.bytes_as("start-login", &id, body.as_bytes()).await;
            answer.refused("request.malformed");
        });
        join_all(sent).await;
        self.search();
    }

    /// Bodies that are cut short, of the wrong form, and too large.
    async fn send_malformed_bodies(&mut self) {
        let [cut, alien, escaped, long] = [(); 4].map(|()| self.secrets.password());
        let name = &self.name;
        let long = json!({"username": "x".repeat(TOO_LARGE_BYTES), "password": long});
        let escaped = format!(r#"{{"username":"no-{name}","password":"\u0041{escaped}"}}"#);
        for (body, word) in [
            (cut_short(&cut), "request.malformed"),
            (format!(r#"{{"{alien}":"{alien}"}}"#), "request.invalid"),
            (escaped, "credentials.invalid"),
            (long.to_string(), "payload.too_large"),
        ] {
            let answer = self.send_as("start-login", &fresh_id(), &body).await;
            answer.refused(word);
        }
    }
}

/// A body that is cut off after a password.
fn cut_short(password: &str) -> String {
    format!(r#"{{"password":"{password}"#)
}

/// Searches until no secret is left, and sends nothing meanwhile that could wipe memory.
fn nothing_is_left(process: u32, search: &Search) {
    let mut found = memory::search(process, search);
    for _ in 0..LOOKS_MAX {
        if found.is_empty() {
            return;
        }
        sleep(LOOK_EVERY);
        found = memory::search(process, search);
    }
    let some: Vec<_> = found.iter().take(40).collect();
    panic!("{} found, such as {some:#?}", found.len());
}

/// A-25: an attacker who controls the machine can read its memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_reply_has_left_no_secret_stays_in_the_memory_of_the_service() {
    let rig = Rig::start(&config()).await;
    live_and_search(&rig.bus, rig.service.id()).await;
}

/// Only the service speaks TLS, so that the requests are sent as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_stays_in_memory_when_the_broker_is_reached_over_tls() {
    let folder = certificates();
    let tls = format!("{}\nallow_non_tls: true\n", mutual_tls(folder.path()));
    let broker = broker_with(folder.path(), &tls);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(file);
    let flags = [
        "--identity",
        "dev",
        "--tlsca",
        &ca,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ];
    let site = Site::new(&config());
    let url = format!("tls://127.0.0.1:{}", broker.port());
    let service = Service::start(&site, &url, &flags);
    let bus = Bus::connect(&broker.url()).await;
    live_and_search(&bus, service.id()).await;
}

fn config() -> String {
    format!("{CHEAP}[service]\nissuer = {ISSUER:?}\n")
}

async fn live_and_search(bus: &Bus, process: u32) {
    let mut secrets = Secrets::default();
    for n in 0..USERS {
        let mut life = Life {
            bus,
            name: format!("user-{n}"),
            secrets: &mut secrets,
            watched: (n + 1 == USERS).then_some(process),
        };
        life.live().await;
    }
    let kept = Search::exactly([ISSUER.into()]);
    let issuer = memory::search(process, &kept);
    assert!(!issuer.is_empty(), "this memory was searched");
    // The test itself keeps them all, and wipes none.
    let found = memory::search(std::process::id(), &secrets.search());
    let is_found = |value: &Vec<u8>| {
        let form = format!("{:?} in ", String::from_utf8_lossy(value));
        found.iter().any(|found| found.starts_with(&form))
    };
    let missed = secrets.whole.iter().find(|value| !is_found(value));
    assert_eq!(missed, None);
}
