//! `doctor` on the shipped broker, and on an open one.

use std::path::Path;
use std::process::Output;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use serde_json::json;

use super::support::person::Person;
use super::support::service::Service;
use super::support::site::{Site, binary, ends, eventually};
use super::support::{CHEAP, Rig};

fn run(words: &[&str]) -> Output {
    let mut command = binary();
    command.args(words);
    ends(command)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The shipped broker, with `secret` as every password.
pub(super) fn shipped() -> Broker {
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}")).unwrap();
    let names = [
        "SERVICE", "PLATFORM", "ALICE", "BOB", "OPERATOR", "AUDIT", "SYS",
    ];
    let options = BrokerOptions {
        config: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/nats.conf")),
        environment: names
            .map(|name| (format!("CS_{name}_PASSWORD"), "secret".into()))
            .into(),
        ..BrokerOptions::default()
    };
    Broker::start(&server, &options).unwrap()
}

#[test]
fn the_doctor_finds_nothing_wrong_with_a_shipped_installation() {
    let broker = shipped();
    let url = |user: &str| format!("nats://{user}:secret@127.0.0.1:{}", broker.port());
    let site = Site::new("[directory]\nvouching = [\"login-gw\"]\n");
    let _service = Service::start(&site, &url("countersign"), &[]);
    let (keyring, config) = (site.keyring(), site.config());
    let (keyring, config) = (keyring.to_str().unwrap(), config.to_str().unwrap());
    let (operator, gateway) = (url("operator"), url("login-gw"));
    let words = [
        "doctor",
        "--server",
        &operator,
        "--keyring",
        keyring,
        "--config",
        config,
    ];
    let mut well = None;
    eventually(
        "everything is published, and the service answers in time",
        || {
            let run = run(&words);
            let is_well = [" 0 behind", "one instance"].map(|part| said(&run).contains(part));
            well = Some(run);
            is_well == [true; 2]
        },
    );
    let well = well.unwrap();
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    for part in [
        "mode 0600",
        "s old, covers ",
        "this user cannot listen",
        "audit-trail follows",
        "one instance",
    ] {
        assert!(said(&well).contains(part), "{}", said(&well));
    }
    assert!(!said(&well).contains("WRONG"));
    let gateway = run(&["doctor", "--server", &gateway, "--timeout", "1s"]);
    assert_eq!(gateway.status.code(), Some(0), "{gateway:?}");
    assert!(said(&gateway).contains("operator's rights"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_what_is_wrong_and_ends_with_6() {
    let mut rig = Rig::start(CHEAP).await;
    let url = rig.broker.url();
    let open = run(&["doctor", "--server", &url]);
    assert_eq!(open.status.code(), Some(6), "{open:?}");
    assert!(said(&open).contains("this user can listen to all replies"));
    rig.service.terminate();
    assert!(rig.service.ended().success());
    let absent = run(&["doctor", "--server", &url, "--keyring", "/nowhere/keyring"]);
    assert_eq!(absent.status.code(), Some(6));
    for part in ["no instance replies on this broker", "WRONG  keyring"] {
        assert!(said(&absent).contains(part), "{}", said(&absent));
    }
    rig.broker.kill();
    let away = run(&["doctor", "--server", &url, "--json"]);
    assert_eq!(away.status.code(), Some(6));
    let found: serde_json::Value = serde_json::from_str(&said(&away)).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let broker = findings.iter().find(|finding| finding["what"] == "broker");
    assert_eq!(broker.unwrap()["verdict"], "wrong");
}

/// The event of an act has the operator's reason, sealed. The service's own log is in clear, so it
/// has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_give_a_reason_and_their_names_are_kept() {
    let rig = Rig::start(CHEAP).await;
    Person::register(&rig.bus, "ada").await;
    let acts = [
        ("erase-account", json!({"account_id": "ada"})),
        ("rotate-keys", json!({})),
        ("backup", json!({})),
        ("view-rebuild", json!({"view": "audit-trail"})),
    ];
    for (nth, (act, mut body)) in acts.into_iter().enumerate() {
        let subject = format!("countersign.v1.admin.{act}");
        for (odd, reason) in [None, Some(""), Some("\u{200b} \u{a0}")].iter().enumerate() {
            body["reason"] = json!(reason);
            let id = format!("odd-{nth}-{odd}");
            let refused = rig
                .bus
                .send(
                    &subject,
                    &[("Nats-Msg-Id", &id)],
                    body.to_string().as_bytes(),
                )
                .await;
            refused.refused("request.invalid");
            assert_eq!(refused.body["errors"][0]["pointer"], "/reason", "{act}");
        }
        body["reason"] = json!(format!("why {act}"));
        let id = format!("right-{nth}");
        let answer = rig
            .bus
            .send(
                &subject,
                &[("Nats-Msg-Id", &id)],
                body.to_string().as_bytes(),
            )
            .await;
        // Without a folder there is no backup, whatever the reason.
        let is_done = answer.word().is_none() || answer.text.contains("[backup]");
        assert!(is_done, "{act}: {}", answer.text);
    }
    let lines = std::fs::read_to_string(rig.site.log_lines()).unwrap();
    assert!(!lines.contains("why "), "a reason is in the log");
    let history = rig.bus.history(1).await;
    let keeps = |kind: &str| history.iter().any(|event| event["type"] == kind);
    assert!(keeps("account-erased") && keeps("keys-rotated"));
    let acted: Vec<_> = history
        .iter()
        .filter(|event| event["type"] == "operator-acted")
        .map(|event| (event["caller"]["name"].clone(), event["data"].clone()))
        .collect();
    let expected = [
        json!({"act": "backup", "view": null}),
        json!({"act": "view-rebuild", "view": "audit-trail"}),
    ];
    assert_eq!(acted, expected.map(|data| (json!("shop"), data)));
}
