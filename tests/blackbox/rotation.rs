//! Rotating the keys: killed at any step, it goes on at the next start, and no user is locked out.

use serde_json::{Value, json};

use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::Service;
use super::support::site::{Site, binary, ends, eventually_async};
use super::support::{CHEAP, Rig, broker, model};

const ROTATE: &str = "countersign.v1.admin.rotate-keys";

/// The points where the service is killed, and whether the rotation is recorded by then, so that
/// its repetition has no effect. Three earlier commands reach the log's own points.
pub const STEPS: &[(&str, bool)] = &[
    ("keyring-unrotated:1", false),
    ("keyring-rotated:1", false),
    ("before-log:4", false),
    ("after-commit:4", true),
    ("before-reply:4", true),
    ("keys-copied:1", true),
    ("keys-unreplaced:1", true),
    ("keys-replaced:1", true),
    ("keys-rewritten:1", true),
    ("after-commit:5", true),
];

async fn rotate(bus: &Bus, id: &str) -> super::support::answer::Answer {
    let body = json!({"reason": "a yearly custom"}).to_string();
    bus.send(ROTATE, &[("Nats-Msg-Id", id)], body.as_bytes())
        .await
}

/// Rotates on a service that ends at this point, with or without a reply.
async fn rotate_through(site: &Site, bus: &Bus, url: &str, point: &str) -> Person {
    let mut service = Service::start_armed(site, url, point);
    let ada = Person::with_2fa(bus, "ada").await;
    let payload = json!({"reason": "a yearly custom"}).to_string();
    let headers = [("Nats-Msg-Id", "once")];
    let asked = bus.clone();
    tokio::spawn(async move {
        // The reply may be lost with the process; the repetition below gets it.
        let _ = asked.try_send(ROTATE, &headers, payload.as_bytes()).await;
    });
    let ended = tokio::task::spawn_blocking(move || !service.ended().success());
    assert!(ended.await.unwrap(), "{point}");
    ada
}

/// How many events of each of these types there are.
async fn counted(bus: &Bus, types: [&str; 2]) -> [usize; 2] {
    let page = bus.query("audit-page", json!({"types": types})).await;
    let events = page.ok()["events"].as_array().unwrap().clone();
    types.map(|name| events.iter().filter(|e| e["type"] == name).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_at_any_step_goes_on_at_the_next_start() {
    let broker = broker(None);
    let (url, bus) = (broker.url(), Bus::connect(&broker.url()).await);
    for (point, is_recorded) in STEPS {
        let site = Site::new(CHEAP);
        let mut ada = rotate_through(&site, &bus, &url, point).await;
        let mut service = Service::start(&site, &url, &["--identity", "dev"]);
        let code = ada.phone().next();
        ada.vouched(&code).await.ok();
        // Killed between keyring and log, the rotation is completed as the service's own, and the
        // command would rotate once more.
        if *is_recorded || point.starts_with("keyring-unrotated") {
            let again = rotate(&bus, "once").await;
            assert_eq!(again.ok()["key_id"], 2, "{point}");
            let replayed = again.header("Countersign-Replayed");
            assert_eq!(replayed, is_recorded.then_some("true"), "{point}");
        }
        let both = ["keys-rotated", "data-keys-rewrapped"];
        eventually_async(point, async || {
            let [rotated, rewrapped] = counted(&bus, both).await;
            rotated > 0 && rotated == rewrapped
        })
        .await;
        let code = ada.phone().next();
        ada.vouched(&code).await.ok();
        let last = ada.start_login().await.position();
        let events = bus.history(last).await;
        model::has_no_gap(&events);
        let rotated = |e: &&Value| e["type"] == "keys-rotated";
        assert_eq!(events.iter().filter(rotated).count(), 1, "{point}");
        service.kill();
    }
}

/// What `keys VERB …` prints on the files of an installation.
fn keys(site: &Site, url: &str, verb: &[&str], files: bool) -> std::process::Output {
    let mut command = binary();
    command.arg("keys").args(verb).args(["--server", url]);
    if files {
        command.arg("--keyring").arg(site.keyring());
        command.arg("--data").arg(site.data());
    }
    ends(command)
}

/// Kind, number, state and count of each key.
fn listed(output: &std::process::Output) -> Vec<(String, u64, String, Option<u64>)> {
    assert!(output.status.success(), "{output:?}");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let vkey = list["vkey"].as_str().unwrap();
    let [name, hash, _] = vkey.splitn(3, '+').collect::<Vec<_>>()[..] else {
        panic!("{vkey}");
    };
    assert!(!name.is_empty() && hash.len() == 8, "{vkey}");
    let key = |key: &Value| {
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        let (id, seals) = (key["key_id"].as_u64().unwrap(), key["seals"].as_u64());
        (text("kind"), id, text("state"), seals)
    };
    list["keys"].as_array().unwrap().iter().map(key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_beside_a_running_service_and_of_a_stopped_one_and_an_old_one_is_forgotten()
{
    let mut rig = Rig::start(CHEAP).await;
    let url = rig.broker.url();
    Person::with_2fa(&rig.bus, "ada").await;
    let list = ["list", "--json"];
    let kek = |id, state: &str, seals| ("key-encryption".to_owned(), id, state.to_owned(), seals);
    let pepper = |id, state: &str| ("pepper".to_owned(), id, state.to_owned(), None);
    // The keys of the account and of the log itself.
    let before = vec![kek(1, "active", Some(2)), pepper(1, "active")];
    for files in [false, true] {
        assert_eq!(listed(&keys(&rig.site, &url, &list, files)), before);
    }
    let rotated = keys(&rig.site, &url, &["rotate", "--reason", "a custom"], false);
    assert!(rotated.status.success(), "{rotated:?}");
    let after = vec![
        kek(1, "retired", Some(0)),
        kek(2, "active", Some(2)),
        pepper(1, "retired"),
        pepper(2, "active"),
    ];
    eventually_async("all data keys are wrapped again", async || {
        listed(&keys(&rig.site, &url, &list, false)) == after
    })
    .await;
    let busy = keys(&rig.site, &url, &["forget", "1"], true);
    assert_eq!(busy.status.code(), Some(1), "{busy:?}");
    rig.service.terminate();
    rig.service.ended();
    assert_eq!(listed(&keys(&rig.site, &url, &list, true)), after);
    let active = keys(&rig.site, &url, &["forget", "2"], true);
    assert_eq!(active.status.code(), Some(6), "{active:?}");
    let forgotten = keys(&rig.site, &url, &["forget", "1"], true);
    assert!(forgotten.status.success(), "{forgotten:?}");
    rig.restart();
    let shown = keys(&rig.site, &url, &["list"], true);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("wraps 2 data keys"), "{shown}");
    let body = json!({"username": "ada", "password": super::support::person::PASSWORD});
    rig.bus.command("start-login", body).await.ok();
    let file = std::fs::read_to_string(rig.site.keyring()).unwrap();
    let secrets: Vec<_> = file
        .lines()
        .filter(|line| line.starts_with("key = "))
        .collect();
    assert_eq!(secrets.len(), 3);
    let is_shown =
        |secret: &&&str| shown.contains(secret.trim_start_matches("key = ").trim_matches('"'));
    assert_eq!(secrets.iter().filter(is_shown).count(), 0);
}
