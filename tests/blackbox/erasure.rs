//! Erasing an account: killed at any step, it is completed at the next start.

use countersign::crash_point::KEY_POINTS;
use serde_json::{Value, json};

use super::rotation;
use super::support::bus::{Bus, ERASE};
use super::support::person::{PASSWORD, Person};
use super::support::service::Service;
use super::support::site::{Site, binary, ends};
use super::support::{CHEAP, Rig, broker, model};

/// The points where the service is killed: before the erasure begins, then in the order of its
/// steps. Three earlier commands reach the log's own points.
const STEPS: &[(&str, bool)] = &[
    ("tombstone-unwritten:1", false),
    ("tombstone-written:1", true),
    ("before-log:4", true),
    ("after-commit:4", true),
    ("before-reply:4", true),
    ("keys-copied:1", true),
    ("keys-unreplaced:1", true),
    ("keys-replaced:1", true),
    ("keys-rewritten:1", true),
];

fn body() -> Value {
    json!({"account_id": "ada", "reason": "the owner asked for it"})
}

async fn exists(bus: &Bus) -> bool {
    let status = bus.query("login-status.ada", json!({})).await;
    match status.word() {
        None => true,
        word => {
            assert_eq!(word, Some("account.not_found"));
            false
        }
    }
}

/// Erases ada on a service that ends at this point; returns the position of the event.
async fn erase_through(site: &Site, bus: &Bus, url: &str, point: &str, begun: bool) -> u64 {
    let mut service = Service::start_armed(site, url, point);
    Person::with_2fa(bus, "ada").await;
    let payload = body().to_string();
    let headers = [("Nats-Msg-Id", "once")];
    // There is no reply: the wait ends with the process, which the next line checks.
    let replied = tokio::select! {
        replied = bus.try_send(ERASE, &headers, payload.as_bytes()) => replied.is_ok(),
        ended = tokio::task::spawn_blocking(move || !service.ended().success()) => {
            assert!(ended.unwrap(), "{point}");
            false
        }
    };
    assert!(!replied, "{point}: no reply leaves before it is done");
    let _service = Service::start(site, url, &["--identity", "dev"]);
    assert_eq!(exists(bus).await, !begun, "{point}");
    let erased = bus.erase("once", body()).await;
    assert_eq!(erased.ok()["state"], "erased", "{point}");
    let replayed = erased.header("Countersign-Replayed");
    assert_eq!(replayed, begun.then_some("true"), "{point}");
    assert!(!exists(bus).await, "{point}");
    erased.position()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_is_killed_at_any_step_is_completed_at_the_next_start() {
    let broker = broker(None);
    let (url, bus) = (broker.url(), Bus::connect(&broker.url()).await);
    for (point, begun) in STEPS {
        let site = Site::new(CHEAP);
        let last = erase_through(&site, &bus, &url, point, *begun).await;
        let mut service = Service::start(&site, &url, &["--identity", "dev"]);
        let events = bus.history(last).await;
        model::has_no_gap(&events);
        let is_erasure = |event: &&Value| event["type"] == "account-erased";
        assert_eq!(events.iter().filter(is_erasure).count(), 1, "{point}");
        assert_eq!(events.last().unwrap()["command_id"], "once", "{point}");
        bus.command(
            "start-login",
            json!({"username": "ada", "password": PASSWORD}),
        )
        .await
        .refused("credentials.invalid");
        service.kill();
        // The log's own, which seals the reason.
        assert_eq!(data_keys(&site), 1, "{point}");
    }
}

/// How many data keys the store of a stopped service has.
fn data_keys(site: &Site) -> u64 {
    let mut command = binary();
    command.args(["keys", "list", "--json", "--keyring"]);
    command.arg(site.keyring()).arg("--data").arg(site.data());
    let listed = ends(command);
    assert!(listed.status.success(), "{listed:?}");
    let list: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let keys = list["keys"].as_array().unwrap().iter();
    keys.filter_map(|key| key["seals"].as_u64()).sum()
}

#[test]
fn every_point_at_which_keys_change_is_tested_with_a_kill() {
    let steps = STEPS.iter().chain(rotation::STEPS);
    let died_at: Vec<_> = steps
        .filter_map(|(step, _)| step.split(':').next())
        .collect();
    for point in KEY_POINTS {
        assert!(died_at.contains(point), "no kill at {point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_erases_on_the_command_line_and_the_id_lives_again() {
    let rig = Rig::start(CHEAP).await;
    Person::with_2fa(&rig.bus, "ada").await;
    let erase = || {
        let mut command = binary();
        command.args(["account", "erase", "ada", "--reason", "she asked for it"]);
        command.args(["--json", "--server", &rig.broker.url()]);
        ends(command)
    };
    let done = erase();
    assert!(done.status.success(), "{done:?}");
    let reply: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(reply["state"], "erased");
    assert_eq!(reply["details"]["version"], 6);
    let again = erase();
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    Person::with_2fa(&rig.bus, "ada").await;
    let timeline = rig.bus.query("audit-timeline.ada", json!({})).await;
    let events = timeline.ok()["events"].as_array().unwrap().clone();
    let versions: Vec<_> = events.iter().map(|e| e["version"].as_u64()).collect();
    assert_eq!(versions, (1..=11).map(Some).collect::<Vec<_>>());
    let verb = |body| rig.bus.erase("no-reason", body);
    let refused = verb(json!({"account_id": "ada"})).await;
    refused.refused("request.invalid");
}

/// The sources are gone with the key, which is not tampering.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_taken_after_an_erasure_verifies() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let mut body = ada.vouching(&ada.codes[0]);
    body["context"] = json!({"ip": "203.0.113.7", "agent": "Firefox"});
    rig.bus.command("verify-login", body).await.ok();
    let folder = tempfile::tempdir().unwrap();
    let verified = async |name: &str| {
        let file = folder.path().join(name);
        let signed = rig.bus.query("checkpoint", json!({})).await;
        let mut export = binary();
        export.args(["audit", "export", "--server", &rig.broker.url(), "-o"]);
        let done = ends({
            export.arg(&file);
            export
        });
        assert!(done.status.success(), "{done:?}");
        let mut verify = binary();
        verify.args(["audit", "verify", "--json", "--key", &signed.field("vkey")]);
        verify.arg("--export").arg(&file);
        let done = ends(verify);
        assert!(done.status.success(), "{done:?}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["not_compared"], json!([]));
        std::fs::read_to_string(&file).unwrap()
    };
    assert!(verified("before").await.contains("203.0.113.7"));
    rig.bus.erase("once", self::body()).await.ok();
    assert!(!verified("after").await.contains("203.0.113.7"));
}
