//! Passwords that Countersign does not hold: a password service checks them, or callers vouch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::starting::refuses;
use super::support::Rig;
use super::support::bus::fresh_id;
use super::support::phone::Phone;
use super::support::site::Site;

const SUBJECT: &str = "people.check";
const RIGHT: &str = "known elsewhere";

/// The password service may take the longest time that the configuration allows, and a source that
/// waits does so until the end of the test.
const PEOPLE: &str = "mode = \"nats\"\nsubject = \"people.check\"\ntimeout_ms = 10000";

fn config(directory: &str) -> String {
    let policy = "kdf_memory_kib = 8\nkdf_passes = 1\nwait_first_s = 3600\nwait_max_s = 3600";
    format!("[policy]\n{policy}\n[directory]\n{directory}\n")
}

/// A password service with one password for every account. It counts its requests; `mallory`,
/// `listed` and `failing` get broken replies.
async fn answers(rig: &Rig) -> Arc<AtomicUsize> {
    let client = async_nats::connect(rig.broker.url()).await.unwrap();
    let mut asked = client.subscribe(SUBJECT).await.unwrap();
    client.flush().await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Some(request) = asked.next().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let body: Value = serde_json::from_slice(&request.payload).unwrap();
            assert_eq!(body.as_object().unwrap().len(), 2);
            let mut headers = HeaderMap::new();
            let answer = match body["account_id"].as_str() {
                Some("mallory") => json!({"valid": "perhaps"}),
                Some("listed") => json!([true]),
                Some("failing") => {
                    headers.insert("Nats-Service-Error", "the database is away");
                    headers.insert("Nats-Service-Error-Code", "500");
                    json!({"valid": true})
                }
                _ => json!({"valid": body["password"] == RIGHT}),
            };
            let (reply, answer) = (request.reply.unwrap(), answer.to_string());
            let sent = client.publish_with_headers(reply, headers, answer.into());
            sent.await.unwrap();
        }
    });
    count
}

fn login(account: &str, password: &str) -> Value {
    json!({"account_id": account, "password": password, "audience": "shop"})
}

fn proven(account: &str, password: &str) -> Value {
    json!({"account_id": account, "proof": {"password": password}})
}

/// Turns 2FA on and returns the backup codes.
async fn enable(rig: &Rig, body: Value) -> Vec<String> {
    let account = body["account_id"].clone();
    let begun = rig.bus.command("enable-2fa", body).await;
    let code = Phone::scan(&begun.field("secret")).lasting();
    let authenticator_id = begun.field("authenticator_id");
    let body = json!({"account_id": account, "authenticator_id": authenticator_id, "code": code});
    let confirmed = rig.bus.command("confirm-code", body).await;
    let codes = confirmed.ok()["backup_codes"].as_array().unwrap().clone();
    codes
        .iter()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect()
}

/// The claim `amr` of an assertion.
fn amr(assertion: &str) -> Value {
    let claims = assertion.split('.').nth(1).unwrap();
    let claims = data_encoding::BASE64URL_NOPAD
        .decode(claims.as_bytes())
        .unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["amr"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_service_checks_passwords_and_accounts_need_no_registration() {
    let rig = Rig::start(&config(PEOPLE)).await;
    let asked = answers(&rig).await;
    let status = rig.bus.query("login-status.ada", json!({})).await;
    assert_eq!(status.ok()["second_factor"], "off");
    rig.bus
        .command("enable-2fa", proven("ada", "wrong guess"))
        .await
        .refused("credentials.invalid");
    let codes = enable(&rig, proven("ada", RIGHT)).await;
    rig.bus
        .command("start-login", login("ada", "wrong guess"))
        .await
        .refused("credentials.invalid");
    let started = rig.bus.command("start-login", login("ada", RIGHT)).await;
    let body = json!({"challenge_id": started.field("challenge_id"), "code": codes[0], "audience": "shop"});
    let done = rig.bus.command("verify-login", body).await;
    assert_eq!(amr(&done.field("assertion")), json!(["pwd", "otp"]));
    rig.bus
        .command("disable-2fa", proven("ada", "wrong guess"))
        .await
        .refused("credentials.invalid");
    rig.bus
        .command("disable-2fa", proven("ada", RIGHT))
        .await
        .ok();
    // By the password alone; the repeat does not ask the password service.
    let id = fresh_id();
    let first = rig
        .bus
        .command_as("start-login", &id, login("ada", RIGHT))
        .await;
    assert_eq!(amr(&first.field("assertion")), json!(["pwd"]));
    let before = asked.load(Ordering::Relaxed);
    let again = rig
        .bus
        .command_as("start-login", &id, login("ada", RIGHT))
        .await;
    assert!(again.is_replayed());
    assert_eq!(
        (again.body, asked.load(Ordering::Relaxed)),
        (first.body, before)
    );
    // A first login makes the account, and agrees with the `login-status` before it.
    let status = rig.bus.query("login-status.bob", json!({})).await;
    assert_eq!(status.ok()["second_factor"], "off");
    rig.bus
        .command("start-login", login("bob", "wrong guess"))
        .await
        .refused("credentials.invalid");
    let bob = rig.bus.command("start-login", login("bob", RIGHT)).await;
    assert_eq!(bob.ok()["status"], "complete");
    // The service does not ask about an unknown user.
    let body = json!({"username": "unknown", "password": RIGHT});
    rig.bus
        .command("start-login", body)
        .await
        .refused("credentials.invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_service_that_does_not_reply_is_unavailable_and_nothing_is_appended() {
    let mut rig = Rig::start(&config(&PEOPLE.replace("10000", "100"))).await;
    let nobody_there = rig.bus.command("start-login", login("ada", RIGHT)).await;
    nobody_there.refused("directory.unavailable");
    let silent = async_nats::connect(rig.broker.url()).await.unwrap();
    let mut unanswered = silent.subscribe(SUBJECT).await.unwrap();
    silent.flush().await.unwrap();
    let late = rig.bus.command("start-login", login("ada", RIGHT)).await;
    late.refused("directory.unavailable");
    assert!(unanswered.next().await.is_some());
    drop((silent, unanswered));
    // From here on it replies in time, so a refusal has another cause.
    rig.service.kill();
    std::fs::write(rig.site.config(), config(PEOPLE)).unwrap();
    rig.restart();
    let _asked = answers(&rig).await;
    for account in ["mallory", "listed", "failing"] {
        let odd = rig.bus.command("start-login", login(account, RIGHT)).await;
        odd.refused("directory.unavailable");
    }
    let first = rig
        .bus
        .command("enable-2fa", proven("ada", RIGHT))
        .await
        .position();
    let history = rig.bus.history(first).await;
    let hers = history
        .iter()
        .filter(|event| event["account_id"].is_string());
    assert_eq!(hers.count(), 2);
}

/// Countersign counts wrong passwords, and does not ask the password service while their source
/// waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_slowed_down_when_a_password_service_checks_them() {
    let rig = Rig::start(&config(PEOPLE)).await;
    let asked = answers(&rig).await;
    rig.bus
        .command("enable-2fa", proven("ada", RIGHT))
        .await
        .ok();
    let mut words = Vec::new();
    for number in 0..12 {
        let guess = format!("guess number {number}");
        let answer = rig.bus.command("start-login", login("ada", &guess)).await;
        words.push(answer.word().unwrap().to_owned());
    }
    let waiting = words
        .iter()
        .filter(|word| *word == "account.throttled")
        .count();
    assert!(waiting >= 1, "{words:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 1 + 12 - waiting);
    let right = rig.bus.command("start-login", login("ada", RIGHT)).await;
    right.refused("account.throttled");
}

/// Guesses at an unknown username are slowed down like those at a known one, or the replies would
/// reveal names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_an_unknown_username_are_slowed_down_too() {
    let rig = Rig::start(&config(PEOPLE)).await;
    answers(&rig).await;
    let guess = json!({"username": "unknown", "password": "wrong guess"});
    for _ in 0..11 {
        let refused = rig.bus.command("start-login", guess.clone()).await;
        refused.refused("credentials.invalid");
    }
    let waits = rig.bus.command("start-login", guess).await;
    waits.refused("account.throttled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_vouch_and_accounts_need_no_registration() {
    let rig = Rig::start(&config("mode = \"vouched\"\nvouching = [\"shop\"]")).await;
    let status = rig.bus.query("login-status.ada", json!({})).await;
    assert_eq!(status.ok()["second_factor"], "off");
    let plain = json!({"account_id": "ada", "audience": "shop"});
    let codes = enable(&rig, json!({"account_id": "ada"})).await;
    let started = rig.bus.command("start-login", plain.clone()).await;
    let body = json!({"challenge_id": started.field("challenge_id"), "code": codes[0], "audience": "shop"});
    let done = rig.bus.command("verify-login", body).await;
    assert_eq!(amr(&done.field("assertion")), json!(["otp"]));
    let foreign = rig.bus.named("foreign").command("start-login", plain).await;
    foreign.refused("actor.forbidden");
    rig.bus
        .command("disable-2fa", json!({"account_id": "ada"}))
        .await
        .ok();
    let plain = json!({"account_id": "ada", "audience": "shop"});
    let alone = rig.bus.command("start-login", plain).await;
    assert_eq!(amr(&alone.field("assertion")), json!([]));
}

#[test]
fn a_password_service_without_a_valid_subject_is_refused_at_the_start() {
    for (directory, word) in [
        ("mode = \"nats\"", "needs a subject"),
        ("subject = \"people.check\"", "is only for mode"),
        (
            "mode = \"nats\"\nsubject = \"people.*\"",
            "without wildcards",
        ),
        (
            "mode = \"nats\"\nsubject = \"p\"\ntimeout_ms = 0",
            "1 to 10000",
        ),
        ("mode = \"ldap\"", "unknown variant"),
    ] {
        refuses(
            &Site::new(&config(directory)),
            &["--identity", "dev"],
            &[word],
        );
    }
}
