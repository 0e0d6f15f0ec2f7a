//! Rotating the keys: killed at any step, it goes on at the next start, and nobody is locked out.

use serde_json::{Value, json};

use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::Service;
use super::support::site::{Site, eventually_async};
use super::support::{CHEAP, broker, model};

const ROTATE: &str = "countersign.v1.admin.rotate-keys";

/// Where the service ends, and whether the rotation stands by then so that its repetition has
/// nothing to do. The log's own points are reached by three commands before.
const STEPS: &[(&str, bool)] = &[
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

/// Rotates under the eyes of a service that ends at this point, told or not.
async fn rotate_through(site: &Site, bus: &Bus, url: &str, point: &str) -> Person {
    let mut service = Service::start_armed(site, url, point);
    let ada = Person::with_2fa(bus, "ada").await;
    let payload = json!({"reason": "a yearly custom"}).to_string();
    let headers = [("Nats-Msg-Id", "once")];
    let asked = bus.clone();
    tokio::spawn(async move {
        // Its answer may be lost with the process; the repetition below hears of it.
        let _ = asked.try_send(ROTATE, &headers, payload.as_bytes()).await;
    });
    let ended = tokio::task::spawn_blocking(move || !service.ended().success());
    assert!(ended.await.unwrap(), "{point}");
    ada
}

/// How many events of each of these types there are by now.
async fn counted(bus: &Bus, types: [&str; 2]) -> [usize; 2] {
    let page = bus.query("audit-page", json!({"types": types})).await;
    let events = page.ok()["events"].as_array().unwrap().clone();
    types.map(|name| events.iter().filter(|e| e["type"] == name).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_at_any_step_goes_on_at_the_next_start() {
    let broker = broker(None);
    let (url, bus) = (broker.url(), Bus::connect(&broker.url()).await);
    for (point, stands) in STEPS {
        let site = Site::new(CHEAP);
        let mut ada = rotate_through(&site, &bus, &url, point).await;
        let mut service = Service::start(&site, &url, &["--identity", "dev"]);
        let code = ada.phone().next();
        ada.vouched(&code).await.ok();
        // Killed between keyring and log, the rotation is completed as the service's own, and the
        // command would rotate once more.
        if *stands || point.starts_with("keyring-unrotated") {
            let again = rotate(&bus, "once").await;
            assert_eq!(again.ok()["key_id"], 2, "{point}");
            let replayed = again.header("Countersign-Replayed");
            assert_eq!(replayed, stands.then_some("true"), "{point}");
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
