//! The whole life of a user, with a SIGKILL and a restart between every two steps.

use serde_json::{Value, json};

use super::support::person::{PASSWORD, Person};
use super::support::{CHEAP, Rig};

/// Every event of the life below, in order; nothing more and nothing less.
const TYPES: &[&str] = &[
    "account-registered",
    "password-set",
    "enrolment-started",
    "two-factor-enabled",
    "backup-codes-issued",
    "login-started",
    "totp-accepted",
    "totp-accepted",
    "code-replayed",
    "login-started",
    "backup-code-accepted",
    "backup-code-rejected",
    "backup-codes-issued",
    "backup-code-rejected",
    "backup-code-accepted",
    "two-factor-disabled",
    "login-completed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_lives_the_whole_life_though_the_service_is_killed_between_every_two_steps() {
    let mut rig = Rig::start(CHEAP).await;
    let mut ada = Person::register(&rig.bus, "ada").await;
    rig.kill_and_restart();
    let secret = ada.enable().await.field("secret");
    rig.kill_and_restart();
    assert_eq!(ada.status().await["second_factor"], "pending");
    let confirmed = ada.confirm().await;
    assert_eq!(confirmed.ok()["state"], "on");
    let first_set = ada.codes.clone();
    rig.kill_and_restart();
    let first_code = log_in_with_the_app(&mut rig, &mut ada).await;
    use_backup_codes(&mut rig, &mut ada, &first_set).await;
    let last = turn_off(&mut rig, &mut ada).await;
    let mut secrets = vec![secret, PASSWORD.to_owned(), first_code];
    secrets.extend(first_set);
    secrets.extend(ada.codes.clone());
    check_history(&ada, last, &secrets).await;
}

/// A challenge answered with the app, then the vouched form, then a replay.
async fn log_in_with_the_app(rig: &mut Rig, ada: &mut Person) -> String {
    let challenge = ada.challenge().await;
    rig.kill_and_restart();
    let code = ada.phone().next();
    let done = ada.verify(&challenge, &code).await;
    assert_eq!(done.ok()["method"], "totp");
    rig.kill_and_restart();
    let second = ada.phone().next();
    assert_eq!(ada.vouched(&second).await.ok()["status"], "complete");
    rig.kill_and_restart();
    ada.vouched(&second).await.refused("code.invalid");
    rig.kill_and_restart();
    ada.verify(&challenge, &second)
        .await
        .refused("challenge.expired");
    rig.kill_and_restart();
    code
}

/// A backup code once, and not again; a new set, and none of the old.
async fn use_backup_codes(rig: &mut Rig, ada: &mut Person, first_set: &[String]) {
    let challenge = ada.challenge().await;
    rig.kill_and_restart();
    let done = ada.verify(&challenge, &first_set[0]).await;
    assert_eq!(done.ok()["method"], "backup-code");
    assert_eq!(done.body["backup_codes_left"], 9);
    rig.kill_and_restart();
    ada.vouched(&first_set[0]).await.refused("code.invalid");
    rig.kill_and_restart();
    let regenerated = ada.regenerate().await;
    assert_eq!(regenerated.ok()["set_no"], 2);
    assert_eq!(regenerated.body["superseded_unused"], 9);
    rig.kill_and_restart();
    ada.vouched(&first_set[1]).await.refused("code.invalid");
    rig.kill_and_restart();
    let new = ada.codes[1].clone();
    assert_eq!(ada.vouched(&new).await.ok()["backup_codes_left"], 9);
    rig.kill_and_restart();
}

/// Off with the password; afterwards the password alone logs in.
async fn turn_off(rig: &mut Rig, ada: &mut Person) -> u64 {
    let off = ada.bus.command("disable-2fa", ada.proven()).await;
    assert_eq!(off.ok()["state"], "off");
    rig.kill_and_restart();
    assert_eq!(ada.status().await["second_factor"], "off");
    let done = ada.start_login().await;
    assert_eq!(done.ok()["status"], "complete");
    assert_eq!(done.body["method"], "password");
    rig.kill_and_restart();
    done.position()
}

async fn check_history(ada: &Person, last: u64, secrets: &[String]) {
    let events = ada.bus.history(last).await;
    let positions: Vec<_> = events.iter().map(|e| e["position"].as_u64()).collect();
    assert_eq!(positions, (1..=last).map(Some).collect::<Vec<_>>());
    let hers: Vec<&Value> = events.iter().filter(|e| e["account_id"] == "ada").collect();
    let types: Vec<_> = hers.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types, TYPES);
    for (before, event) in hers.iter().enumerate() {
        assert_eq!(event["version"], before as u64 + 1);
        assert_eq!(
            event["caller"],
            json!({"name": "shop", "role": "platform", "verified": false})
        );
    }
    let steps: Vec<_> = hers.iter().filter_map(|e| accepted_step(e)).collect();
    assert_eq!(steps.len(), 3);
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    let timeline = ada
        .bus
        .query("audit-timeline.ada", json!({"limit": 500}))
        .await;
    assert_eq!(timeline.ok()["events"], json!(hers));
    assert_eq!(timeline.body.get("next"), None);
    for secret in secrets {
        let bare = secret.replace('-', "");
        assert!(!timeline.text.contains(secret) && !timeline.text.contains(&bare));
    }
}

fn accepted_step(event: &Value) -> Option<u64> {
    match event["type"].as_str()? {
        "two-factor-enabled" | "totp-accepted" => event["data"]["step"].as_u64(),
        _ => None,
    }
}
