//! No secret and no personal word of a whole life is found in any file, raw or encoded.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER, HEXUPPER};
use serde_json::{Value, json};

use super::support::bus::Bus;
use super::support::phone::Phone;
use super::support::service::Service;
use super::support::site::Site;
use super::support::{CHEAP, model};

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

/// Secrets that are searched for: what was sent and what was shown.
struct Canaries {
    words: Vec<String>,
    raw: Vec<Vec<u8>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_whole_life_no_file_holds_a_secret_or_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = traced_broker(folder.path());
    let site = Site::new(CHEAP);
    let url = broker.url();
    let mut service = Service::start(&site, &url, &["--identity", "dev"]);
    let bus = Bus::connect(&url).await;
    let canaries = live(&bus).await;
    service.kill();
    let unclean = findings(
        &canaries,
        &[site.path(), folder.path(), broker_folder(&broker)],
    );
    service = Service::start(&site, &url, &["--identity", "dev"]);
    service.terminate();
    assert!(service.ended().success());
    broker.kill();
    let clean = findings(
        &canaries,
        &[site.path(), folder.path(), broker_folder(&broker)],
    );
    assert_eq!((unclean, clean), (Vec::new(), Vec::new()));
    let log = fs::read(site.log_lines()).unwrap();
    assert!(log.len() > 1_000, "the service was to log at trace level");
}

/// A broker whose JetStream folder is looked into as well.
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

/// Lives the life with marked values; what is returned was all told or sent.
async fn live(bus: &Bus) -> Canaries {
    bring_in(bus).await;
    let body = marked(
        json!({"account_id": "id-1", "proof": {"password": PASSWORD},
        "account_name": NAME, "label": LABEL}),
    );
    let enabled = bus.command("enable-2fa", body).await;
    let secret = enabled.field("secret");
    let mut phone = Phone::scan(&secret);
    let typed = [phone.next(), phone.next()];
    let authenticator = enabled.field("authenticator_id");
    let body = json!({"account_id": "id-1", "authenticator_id": authenticator, "code": typed[0]});
    let confirmed = bus.command("confirm-code", marked(body)).await;
    let challenge = log_in(bus, &typed[1]).await;
    let mut codes = texts(&confirmed.body["backup_codes"]);
    for word in [None, Some("code.invalid")] {
        let body = marked(json!({"account_id": "id-1", "code": codes[0]}));
        assert_eq!(bus.command("verify-login", body).await.word(), word);
    }
    let body = marked(json!({"account_id": "id-1", "proof": {"password": PASSWORD}}));
    let renewed = bus.command("regenerate-backup-codes", body).await;
    codes.extend(texts(&renewed.body["backup_codes"]));
    let body = json!({"account_id": "id-1", "password": PASSWORD, "new_password": NEW_PASSWORD});
    bus.command("change-password", body).await.ok();
    let body = json!({"account_id": "id-1", "proof": {"password": NEW_PASSWORD}});
    bus.command("disable-2fa", body).await.ok();
    let body = marked(json!({"account_id": "id-1", "reason": REASON}));
    let last = bus.erase("last", body).await.position();
    let mut words = [PASSWORD, NEW_PASSWORD, WRONG, USERNAME, NAME, LABEL, REASON]
        .map(String::from)
        .to_vec();
    words.extend([challenge, secret.clone(), enabled.field("otpauth_uri")]);
    words.extend(codes.iter().map(|code| code.replace('-', "")));
    words.extend(codes);
    words.extend(typed.iter().map(|code| format!("\"{code}\"")));
    let history = bus.history(last).await;
    model::check(&history, "id-1");
    let told = json!(history).to_string();
    for word in &words {
        assert!(!told.contains(word.as_str()), "the history tells {word}");
    }
    // An auditor may see where a request came from; no file may.
    words.extend([IP, AGENT, BEHALF].map(String::from));
    let raw = vec![BASE32_NOPAD.decode(secret.as_bytes()).unwrap()];
    Canaries { words, raw }
}

/// A body with the marked context.
fn marked(mut body: Value) -> Value {
    body["context"] = json!({"ip": IP, "agent": AGENT});
    body
}

/// Registers, and gets everything wrong that can be wrong at a login.
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

/// Answers a challenge, on behalf of somebody; the challenge's id.
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

/// Every form in which a value could lie in a file.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        value.to_ascii_lowercase(),
        value.to_ascii_uppercase(),
        HEXLOWER.encode(value).into(),
        HEXUPPER.encode(value).into(),
        BASE32_NOPAD.encode(value).into(),
        String::from_utf8_lossy(value)
            .escape_default()
            .to_string()
            .into(),
    ];
    // In base64 a value has three faces, by where in the text it begins.
    for lead in 0..3 {
        let mut padded = vec![0; lead];
        padded.extend(value);
        let text = BASE64.encode(&padded);
        // Characters that the neighbours have a part in are left out.
        let (from, to) = ((lead * 4).div_ceil(3), padded.len() * 4 / 3);
        if to > from + 6 {
            forms.push(text.as_bytes()[from..to].to_vec());
        }
    }
    let list: Vec<String> = value.iter().map(u8::to_string).collect();
    forms.push(list.join(", ").into());
    forms
}

fn findings(canaries: &Canaries, folders: &[&Path]) -> Vec<String> {
    let values = canaries.words.iter().map(|word| word.as_bytes().to_vec());
    let values: Vec<_> = values.chain(canaries.raw.iter().cloned()).collect();
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
        for value in &values {
            for form in forms(value) {
                if memmem(&bytes, &form) {
                    let form = String::from_utf8_lossy(&form).into_owned();
                    found.push(format!("{} has {form}", path.display()));
                }
            }
        }
    }
    found
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, files),
            false => files.push(path),
        }
    }
}

fn memmem(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else {
        return false;
    };
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if haystack[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[test]
fn the_search_itself_finds_every_form() {
    let word = b"canary-password-7Qx9";
    for (before, encode) in [
        (
            b"".as_slice(),
            (|bytes| BASE64.encode(bytes)) as fn(&[u8]) -> String,
        ),
        (b"a", |bytes| BASE64.encode(bytes)),
        (b"ab", |bytes| BASE64.encode(bytes)),
        (b"xy", |bytes| HEXLOWER.encode(bytes)),
        (b"xy", |bytes| format!("{bytes:?}")),
        (b"xy", |bytes| String::from_utf8(bytes.to_vec()).unwrap()),
    ] {
        let file = encode(&[before, word, b"some more"].concat());
        assert!(
            forms(word).iter().any(|form| memmem(file.as_bytes(), form)),
            "{file}"
        );
    }
}
