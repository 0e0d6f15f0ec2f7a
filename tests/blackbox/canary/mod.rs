//! No secret and no personal word of a whole life is in any file or later reply, raw or encoded.

pub mod forms;

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use forms::Search;
use serde_json::{Value, json};

use super::support::bus::{Bus, Heard, fresh_id};
use super::support::phone::Phone;
use super::support::service::Service;
use super::support::site::Site;
use super::support::{CHEAP, model};
use super::watching::{ANYWHERE, address, get};

const PASSWORD: &str = "canary-password-7Qx9";
const NEW_PASSWORD: &str = "canary-renewed-3Wz5";
const WRONG: &str = "canary-mistyped-8Kd2";
const USERNAME: &str = "canary-username-4Tv6";
const NAME: &str = "Canary Account Name 5Rn1";
const LABEL: &str = "canary label 2Lm8";
const IP: &str = "2001:db8:cafe:f00d::1234";
const AGENT: &str = "CanaryAgent/9.81 (6Hb3)";
const REASON: &str = "canary reason 9Yd7";
const BEHALF: &str = "canary-behalf-1Jc4";
/// Reasons and tickets of agents: agents may read them in the queue, no file may have them.
const WHY: [&str; 3] = [
    "canary request 3Fs6",
    "canary approval 8Nw2",
    "canary theft 4Gp9",
];
const TICKET: &str = "canary-ticket-7Ez1";

/// The values to search for: what was sent and what was shown.
#[derive(Default)]
struct Canaries {
    /// Words that no file may hold.
    words: Vec<String>,
    /// Secrets that one reply each creates; no file may hold them either.
    created: Vec<String>,
    /// Sources of requests and texts of agents: some callers may see them, no file may hold them.
    places: Vec<String>,
    /// The same as bytes, and as people type them.
    raw: Vec<Vec<u8>>,
    /// The keyring's own keys: in no file but its own.
    keys: Vec<Vec<u8>>,
}

impl Canaries {
    fn values(&self) -> Vec<Vec<u8>> {
        let words = [&self.words, &self.created, &self.places];
        let texts = words.into_iter().flatten().map(|word| word.clone().into());
        texts.chain(self.raw.iter().cloned()).collect()
    }
}

/// H11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_whole_life_no_file_holds_a_secret_or_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = traced_broker(folder.path());
    let site = Site::new(CHEAP);
    let backup = folder.path().join("backup");
    let keys = folder.path().join("backup-keys");
    let config = format!("{CHEAP}[backup]\nfolder = {backup:?}\nkeys_folder = {keys:?}\n");
    fs::write(site.config(), config).unwrap();
    let url = broker.url();
    let mut service = Service::start(&site, &url, &["--identity", "dev"]);
    let bus = Bus::connect(&url).await.keeping();
    let mut canaries = live(&bus).await;
    service.kill();
    canaries.keys = keyring_keys(&site);
    let folders = [site.path(), folder.path(), broker_folder(&broker)];
    let unclean = findings(&canaries, &folders);
    service = Service::start(&site, &url, &ANYWHERE);
    operate(&bus).await;
    for (name, path) in [("metrics", "/metrics"), ("ready", "/readyz?verbose")] {
        let (status, page) = get(address(&site), path);
        assert_eq!(status, 200, "{page}");
        fs::write(folder.path().join(name), page).unwrap();
    }
    service.terminate();
    assert!(service.ended().success());
    broker.kill();
    let clean = findings(&canaries, &folders);
    assert_eq!((unclean, clean), (Vec::new(), Vec::new()));
    assert!(keys.join("keys.redb").exists());
    assert_eq!(leaked(&canaries, &bus.heard()), Vec::<String>::new());
    let log = fs::read(site.log_lines()).unwrap();
    assert!(log.len() > 1_000, "the service should log at trace level");
}

/// The acts of operators and auditors meanwhile: all their replies and files are searched too.
async fn operate(bus: &Bus) {
    administer(bus, "backup", json!({"reason": REASON})).await;
    for name in ["key-list", "log-stats", "view-list"] {
        administer(bus, name, json!({})).await;
    }
    bus.raw("$SRV.STATS.countersign").await;
    bus.raw("$SRV.INFO.countersign").await;
    bus.query("login-status.id-2", json!({})).await.ok();
    bus.query("audit-timeline.id-2", json!({})).await.ok();
    let queue = bus.query("reset-queue", json!({})).await;
    assert_eq!(queue.ok()["cases"][0]["reason"], WHY[0]);
    let name = json!({"username": format!("{USERNAME}-two")});
    bus.query("find-account", name).await.ok();
    bus.query("account-card.id-2", json!({})).await.ok();
}

async fn administer(bus: &Bus, name: &str, body: Value) {
    let subject = format!("countersign.v1.admin.{name}");
    let (id, body) = (fresh_id(), body.to_string());
    let headers = [("Nats-Msg-Id", id.as_str())];
    bus.send(&subject, &headers, body.as_bytes()).await.ok();
}

/// The keys in a keyring file.
fn keyring_keys(site: &Site) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(site.keyring()).unwrap();
    let quoted = text.split('"').skip(1).step_by(2);
    let keys: Vec<_> = quoted
        .filter_map(|hex| HEXLOWER.decode(hex.as_bytes()).ok())
        .filter(|key| key.len() == 32)
        .collect();
    assert!(keys.len() >= 5, "{} keys", keys.len());
    keys
}

/// What replies must not show: a secret in another reply than the one that creates it, a personal
/// word in any reply.
fn leaked(canaries: &Canaries, heard: &[Heard]) -> Vec<String> {
    let shows = |heard: &Heard, search: &Search| !search.found_in(heard.text.as_bytes()).is_empty();
    let mut found = Vec::new();
    let words = canaries.words.iter().map(|word| word.as_bytes().to_vec());
    let bytes = canaries.raw.iter().chain(&canaries.keys).cloned();
    for value in words.chain(bytes) {
        let search = Search::of([&value]);
        let showing = heard.iter().filter(|heard| shows(heard, &search));
        let showing = showing.filter(|heard| {
            let shows_name = ["enable-2fa", "confirm-code", "regenerate-backup-codes"];
            let makes = |name: &&str| heard.subject.ends_with(name);
            // A secret's own bytes are in its reply too, in another form.
            !(shows_name.iter().any(makes)
                && (value == NAME.as_bytes() || canaries.raw.contains(&value)))
        });
        found.extend(showing.map(|heard| format!("{}: {value:?}", heard.subject)));
    }
    for secret in &canaries.created {
        let search = Search::of([&secret.clone().into_bytes()]);
        let showing = heard.iter().filter(|heard| shows(heard, &search));
        match showing.count() {
            1 => {}
            count => found.push(format!("{secret} is in {count} replies")),
        }
    }
    found
}

/// A broker with a JetStream folder that is searched as well.
fn traced_broker(folder: &Path) -> countersign::dev::broker::Broker {
    use countersign::dev::broker::{Broker, BrokerOptions};
    use countersign::dev::find::{find_or_fetch, tools_folder};
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {}).expect("tests need a broker");
    let options = BrokerOptions {
        store: Some(folder.join("jetstream")),
        ..BrokerOptions::default()
    };
    Broker::start(&server, &options).unwrap()
}

fn broker_folder(broker: &countersign::dev::broker::Broker) -> &'static Path {
    let folder = broker.log_file().parent().unwrap().to_owned();
    Box::leak(folder.into_boxed_path())
}

/// Lives the life with marked values; returns every value that was shown or sent.
async fn live(bus: &Bus) -> Canaries {
    let mut canaries = Canaries::default();
    bring_in(bus).await;
    let typed = enrol(bus, "id-1", PASSWORD, &mut canaries).await;
    let challenge = log_in(bus, &typed[1]).await;
    let code = canaries.created[0].clone();
    for word in [None, Some("code.invalid")] {
        let body = marked(json!({"account_id": "id-1", "code": code}));
        assert_eq!(bus.command("verify-login", body).await.word(), word);
    }
    let body = marked(json!({"account_id": "id-1", "proof": {"password": PASSWORD}}));
    let renewed = bus.command("regenerate-backup-codes", body).await;
    canaries
        .created
        .extend(texts(&renewed.body["backup_codes"]));
    let body = json!({"account_id": "id-1", "password": PASSWORD, "new_password": NEW_PASSWORD});
    bus.command("change-password", body).await.ok();
    let body = json!({"account_id": "id-1", "proof": {"password": NEW_PASSWORD}});
    bus.command("disable-2fa", body).await.ok();
    stay(bus, &mut canaries).await;
    let body = marked(json!({"account_id": "id-1", "reason": REASON}));
    let last = bus.erase("last", body).await.position();
    administer(bus, "rotate-keys", json!({"reason": REASON})).await;
    operate(bus).await;
    let history = bus.history(last).await;
    model::check(&history, "id-1");
    canaries.created.push(challenge);
    let words = [PASSWORD, NEW_PASSWORD, WRONG, USERNAME, NAME, LABEL, REASON];
    canaries.words.extend(words.map(String::from));
    canaries
        .words
        .extend(typed.map(|code| format!("\"{code}\"")));
    let seen = [IP, AGENT, BEHALF, TICKET].iter().chain(&WHY);
    canaries.places = seen.map(|word| (*word).to_owned()).collect();
    canaries
}

/// Another account, which stays to the end.
async fn stay(bus: &Bus, canaries: &mut Canaries) {
    let name = format!("{USERNAME}-two");
    let body = json!({"account_id": "id-2", "username": name, "password": PASSWORD});
    bus.command("register-account", marked(body)).await.ok();
    enrol(bus, "id-2", PASSWORD, canaries).await;
    let [asked, agreed, stolen] = WHY;
    let body = json!({"account_id": "id-2", "reason": asked, "ticket": TICKET});
    let case = agent(bus, "alice", "request-reset", body).await;
    let body = json!({"case_id": case["case_id"], "reason": agreed});
    agent(bus, "bob", "approve-reset", body).await;
    let body = json!({"account_id": "id-2", "reason": stolen, "ticket": TICKET});
    agent(bus, "bob", "suspend-factor", body).await;
}

/// The reply to a support agent's command.
async fn agent(bus: &Bus, name: &str, command: &str, body: Value) -> Value {
    let subject = format!("countersign.v1.support.{command}");
    let (id, body) = (fresh_id(), marked(body).to_string());
    let headers = [("Nats-Msg-Id", id.as_str())];
    let agent = bus.named(name);
    let answer = agent.send(&subject, &headers, body.as_bytes()).await;
    answer.ok().clone()
}

/// Turns 2FA on; the two codes that the app shows then, the first of them typed already.
async fn enrol(bus: &Bus, id: &str, password: &str, canaries: &mut Canaries) -> [String; 2] {
    let body = marked(json!({"account_id": id, "proof": {"password": password},
        "account_name": NAME, "label": LABEL}));
    let enabled = bus.command("enable-2fa", body).await;
    let secret = enabled.field("secret");
    let mut phone = Phone::scan(&secret);
    let typed = [phone.next(), phone.next()];
    let authenticator = enabled.field("authenticator_id");
    let body = json!({"account_id": id, "authenticator_id": authenticator, "code": typed[0]});
    let confirmed = bus.command("confirm-code", marked(body)).await;
    let raw = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    canaries.raw.push(raw);
    let shown = texts(&confirmed.body["backup_codes"]);
    let typable = shown.iter().map(|code| code.replace('-', "").into());
    canaries.raw.extend(typable);
    canaries.created.extend(shown);
    canaries
        .created
        .extend([secret, enabled.field("otpauth_uri")]);
    typed
}

/// A body with the marked context.
fn marked(mut body: Value) -> Value {
    body["context"] = json!({"ip": IP, "agent": AGENT});
    body
}

/// Registers, and makes every possible mistake at a login.
async fn bring_in(bus: &Bus) {
    let body = json!({"account_id": "id-1", "username": USERNAME, "password": PASSWORD});
    bus.command("register-account", marked(body)).await.ok();
    for name in [USERNAME.to_owned(), format!("{USERNAME}-unknown")] {
        let body = marked(json!({"username": name, "password": WRONG}));
        let answer = bus.command("start-login", body).await;
        answer.refused("credentials.invalid");
    }
    for text in [
        format!("{{\"password\":\"{WRONG}\","),
        format!("{{\"{WRONG}\":\"{WRONG}\"}}"),
    ] {
        let answer = bus.bytes_as("start-login", "id", text.as_bytes()).await;
        assert!(answer.word().is_some() && !answer.text.contains(WRONG));
    }
}

/// Answers a challenge, on behalf of a person; returns the challenge's id.
async fn log_in(bus: &Bus, code: &str) -> String {
    let body = marked(json!({"username": USERNAME, "password": PASSWORD})).to_string();
    let headers = [("Countersign-On-Behalf-Of", BEHALF)];
    let subject = "countersign.v1.command.start-login";
    let started = bus.send(subject, &headers, body.as_bytes()).await;
    let challenge = started.field("challenge_id");
    let body = marked(json!({"challenge_id": challenge, "code": code}));
    bus.command("verify-login", body.clone()).await.ok();
    let again = bus.command("verify-login", body).await;
    again.refused("challenge.expired");
    challenge
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|text| text.as_str().unwrap().into())
        .collect()
}

fn findings(canaries: &Canaries, folders: &[&Path]) -> Vec<String> {
    let values = canaries.values();
    let in_keyring = Search::of(&values);
    let elsewhere = Search::of(values.iter().chain(&canaries.keys));
    let mut files = Vec::new();
    for folder in folders {
        walk(folder, &mut files);
    }
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
    assert!(
        names.iter().any(|name| *name == "keyring.toml"),
        "{names:?}"
    );
    let mut found = Vec::new();
    for path in &files {
        let bytes = fs::read(path).unwrap();
        let search = if path.ends_with("keyring.toml") {
            &in_keyring
        } else {
            &elsewhere
        };
        let forms = search.found_in(&bytes);
        found.extend(
            forms
                .iter()
                .map(|form| format!("{} has {form}", path.display())),
        );
    }
    found
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}
