//! The published events: each once, in order, whatever process is killed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::losses::{copy, new_epoch};
use super::starting::{refuses, refuses_at};
use super::support::bus::{Bus, fresh_id};
use super::support::person::{PASSWORD, Person};
use super::support::service::{Service, lines};
use super::support::site::{Site, eventually_async};
use super::support::stream::Stream;
use super::support::{CHEAP, Rig};

const STREAM: &str = "COUNTERSIGN_EVENTS";
const DEV: &[&str] = &["--identity", "dev"];
/// Accounts on a broker with JetStream, of which this one has no JetStream.
const WITHOUT_JETSTREAM: &str = "accounts { APP: { users: [ { user: app, password: s } ] } }\n\
    no_auth_user: app\n";

/// A broker with a port and a stream that outlive it.
struct Lasting {
    broker: Option<Broker>,
    port: Option<u16>,
    folder: TempDir,
}

impl Lasting {
    fn start() -> Self {
        let mut lasting = Self {
            broker: None,
            port: None,
            folder: tempfile::tempdir().unwrap(),
        };
        lasting.again(None);
        lasting
    }

    /// SIGKILL, and a new one on the same port and files.
    fn again(&mut self, config: Option<&str>) {
        if let Some(broker) = &mut self.broker {
            broker.kill();
        }
        let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}")).unwrap();
        let config = config.map(|text| {
            let file = self.folder.path().join("nats.conf");
            fs::write(&file, text).unwrap();
            file
        });
        let options = BrokerOptions {
            port: self.port,
            store: Some(self.folder.path().join("store")),
            config,
            ..BrokerOptions::default()
        };
        let broker = Broker::start(&server, &options).unwrap();
        self.port = Some(broker.port());
        self.broker = Some(broker);
    }

    fn url(&self) -> String {
        self.broker.as_ref().unwrap().url()
    }
}

/// Makes JetStream forget message ids at once, so that they prevent no second message.
async fn forget_message_ids(broker: &Lasting) {
    let stream = Stream::at(&broker.url(), STREAM).await;
    let changed = stream.changed("duplicate_window", json!(100_000_000)).await;
    assert_eq!(changed.get("error"), None, "{changed}");
}

/// A service on it, that has lived.
async fn lived(broker: &Lasting) -> (Site, Service, Bus, Person) {
    let site = Site::new(CHEAP);
    let service = Service::start(&site, &broker.url(), DEV);
    let bus = Bus::connect(&broker.url()).await;
    let ada = Person::with_2fa(&bus, "ada").await;
    (site, service, bus, ada)
}

async fn history(bus: &Bus) -> Vec<Value> {
    let body = json!({"username": "unknown", "password": PASSWORD});
    bus.command("start-login", body)
        .await
        .refused("credentials.invalid");
    bus.history(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_is_published_once_in_order_and_without_sealed_fields() {
    let mut rig = Rig::start(CHEAP).await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let code = ada.phone().next();
    ada.log_in(&code).await.ok();
    ada.vouched(&code).await.refused("code.invalid");
    let wrong = ada.phone().wrong();
    ada.vouched(&wrong).await.refused("code.invalid");
    ada.vouched(&ada.codes[0].clone()).await.ok();
    ada.regenerate().await.ok();
    rig.bus.command("disable-2fa", ada.proven()).await.ok();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = json!({"username": "ada", "password": "hunter-22-hunter", "context": {"ip": "203.0.113.7"}});
    let headers = [("traceparent", trace), ("Countersign-On-Behalf-Of", "eve")];
    let subject = "countersign.v1.command.start-login";
    let refused = rig
        .bus
        .send(subject, &headers, body.to_string().as_bytes())
        .await;
    refused.refused("credentials.invalid");
    let history = history(&rig.bus).await;
    let stream = Stream::at(&rig.broker.url(), STREAM).await;
    let in_stream = stream.comes_to_hold(&history).await;
    for kind in [
        "epoch-started",
        "two-factor-enabled",
        "backup-code-accepted",
        "totp-rejected",
    ] {
        assert!(
            in_stream.iter().any(|event| event.body["type"] == kind),
            "{kind}"
        );
    }
    assert!(
        in_stream
            .iter()
            .any(|event| event.header("traceparent").is_some())
    );
    assert!(history.iter().any(|event| event.get("source").is_some()));
    // One command made the factor and its codes: published as one group.
    assert!(
        in_stream
            .iter()
            .any(|event| event.body["group"]["size"] == 2)
    );
    // The service publishes the rest before it ends.
    rig.bus.command("enable-2fa", ada.proven()).await.ok();
    rig.service.terminate();
    assert!(rig.service.ended().success());
    let last = stream.read().await.pop().unwrap();
    assert_eq!(last.body["type"], "enrolment-started");
}

/// Registers accounts without a pause until the flag is set.
async fn register(bus: Bus, stop: Arc<AtomicBool>) {
    let bus = bus.within(Duration::from_millis(300));
    while !stop.load(Ordering::Relaxed) {
        let id = fresh_id();
        let body = json!({"account_id": id, "username": id, "password": PASSWORD});
        let _ = bus.try_command_as("register-account", &id, &body).await;
    }
}

/// N-08, N-19: no event is published twice, even without the stream's own memory of message ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n08_each_event_is_published_once_though_service_and_broker_are_killed_in_turns() {
    let mut broker = Lasting::start();
    let (site, mut service, bus, ada) = lived(&broker).await;
    forget_message_ids(&broker).await;
    let stop = Arc::new(AtomicBool::new(false));
    let registering: Vec<_> = (0..4)
        .map(|_| tokio::spawn(register(bus.clone(), Arc::clone(&stop))))
        .collect();
    for round in 0..6 {
        let before = Stream::at(&broker.url(), STREAM).await.last().await;
        let url = broker.url();
        eventually_async("the stream grows", async || {
            Stream::at(&url, STREAM).await.last().await > before + 5
        })
        .await;
        match round % 3 {
            0 => broker.again(None),
            1 => {
                service.kill();
                service = Service::start(&site, &broker.url(), DEV);
            }
            _ => {
                service.kill();
                broker.again(None);
                service = Service::start(&site, &broker.url(), DEV);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for registering in registering {
        registering.await.unwrap();
    }
    eventually_async("the service answers", async || {
        let errors = "countersign.v1.query.errors";
        bus.try_send(errors, &[], b"").await.is_ok()
    })
    .await;
    ada.start_login().await.ok();
    let stream = Stream::at(&broker.url(), STREAM).await;
    stream.comes_to_hold(&history(&bus).await).await;
    assert!(service.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_jetstream_commands_go_on_and_everything_is_published_later() {
    let mut broker = Lasting::start();
    broker.again(Some(WITHOUT_JETSTREAM));
    let (site, service, bus, ada) = lived(&broker).await;
    let said = |line: &String| line.contains("ERROR") && line.contains("JetStream");
    assert!(lines(&site).iter().any(said));
    let stream = Stream::at(&broker.url(), STREAM).await;
    assert_eq!(stream.last().await, 0);
    broker.again(None);
    eventually_async("the service answers", async || {
        let errors = "countersign.v1.query.errors";
        bus.try_send(errors, &[], b"").await.is_ok()
    })
    .await;
    ada.vouched(&ada.codes[0]).await.ok();
    stream.comes_to_hold(&history(&bus).await).await;
    drop(service);
}

/// N-17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n17_a_stream_with_other_settings_is_refused_and_a_deleted_one_is_filled_again() {
    let broker = Lasting::start();
    let (site, mut service, _, _) = lived(&broker).await;
    let stream = Stream::at(&broker.url(), STREAM).await;
    service.terminate();
    assert!(service.ended().success());
    for (key, other, right) in [
        ("max_age", json!(86_400_000_000_000_u64), json!(0)),
        ("max_msgs", json!(1_000_000), json!(-1)),
        ("discard", json!("old"), json!("new")),
        (
            "subjects",
            json!(["countersign.v1.event.*.*"]),
            json!(["countersign.v1.event.>"]),
        ),
        ("allow_atomic", json!(false), json!(true)),
        ("max_bytes", json!(1_000_000_000), json!(-1)),
    ] {
        let changed = stream.changed(key, other).await;
        assert_eq!(changed.get("error"), None, "{key}: {changed}");
        let words = [STREAM, key, "nats stream edit"];
        refuses_at(&broker.url(), &site, DEV, &words);
        assert_eq!(stream.changed(key, right).await.get("error"), None);
    }
    assert_eq!(
        stream.call("DELETE", json!({})).await.unwrap()["success"],
        true
    );
    let _service = Service::start(&site, &broker.url(), DEV);
    let bus = Bus::connect(&broker.url()).await;
    stream.comes_to_hold(&history(&bus).await).await;
}

/// An empty stream may begin anywhere: its last sequence then names no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_begins_at_another_sequence_is_filled() {
    let broker = Lasting::start();
    let (site, mut service, bus, _) = lived(&broker).await;
    let stream = Stream::at(&broker.url(), STREAM).await;
    let in_stream = stream.comes_to_hold(&history(&bus).await).await;
    let last = in_stream.last().unwrap().position();
    service.terminate();
    assert!(service.ended().success());
    let info = stream.call("INFO", json!({})).await.unwrap();
    let mut config = info["config"].clone();
    config["first_seq"] = json!(1_000);
    stream.call("DELETE", json!({})).await.unwrap();
    let created = stream.call("CREATE", config).await.unwrap();
    assert_eq!(created["state"]["last_seq"], 999, "{created}");
    let _service = Service::start(&site, &broker.url(), DEV);
    eventually_async("everything is published", async || {
        stream.last().await >= 1_000 && stream.ends_at(last).await
    })
    .await;
}

/// Data folder and keyring are restored together to before a code was used: only the stream shows
/// it.
async fn set_back(broker: &Lasting) -> (Site, Person, u64) {
    let (site, mut service, bus, ada) = lived(broker).await;
    service.terminate();
    assert!(service.ended().success());
    let backup = site.path().join("backup");
    fs::create_dir(&backup).unwrap();
    let keys = site.keyring().parent().map(Path::to_owned).unwrap();
    copy(&site.data(), &backup.join("data"));
    copy(&keys, &backup.join("keys"));
    let mut service = Service::start(&site, &broker.url(), DEV);
    let head = ada.vouched(&ada.codes[0]).await.position();
    bus.history(head).await;
    service.terminate();
    assert!(service.ended().success());
    for (folder, kept) in [(site.data(), "data"), (keys, "keys")] {
        fs::remove_dir_all(&folder).unwrap();
        copy(&backup.join(kept), &folder);
    }
    (site, ada, head)
}

/// N-18 and law 5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n18_a_log_that_the_stream_is_ahead_of_is_refused_until_a_new_epoch() {
    let broker = Lasting::start();
    let (site, ada, head) = set_back(&broker).await;
    let words = ["the published stream", &head.to_string(), "log new-epoch"];
    let refusal = refuses_at(&broker.url(), &site, DEV, &words);
    // The start refuses without the broker too, because the loss is remembered.
    assert_eq!(refuses(&site, DEV, &words), refusal);
    let (_, rest) = refusal.split_once("--lost-from ").unwrap();
    let lost_from = rest.split(' ').next().unwrap();
    assert_eq!(new_epoch(&site, "2", None).status.code(), Some(1));
    let begun = new_epoch(&site, lost_from, None);
    assert!(begun.status.success(), "{begun:?}");
    let before = Stream::at(&broker.url(), STREAM).await.read().await;

    let _service = Service::start(&site, &broker.url(), DEV);
    ada.vouched(&ada.codes[0]).await.refused("factor.suspended");
    let bus = Bus::connect(&broker.url()).await;
    let later = Person::register(&bus, "eve").await.start_login().await;
    let next = Stream::at(&broker.url(), "COUNTERSIGN_EVENTS_2").await;
    eventually_async("the new stream has it", async || next.last().await >= 3).await;
    let after = next.read().await;
    assert_eq!(after[0].body["type"], "epoch-started");
    assert_eq!(after[0].position(), lost_from.parse::<u64>().unwrap());
    assert_ne!(after[0].header("ce-source"), before[0].header("ce-source"));
    assert!(later.position() > after[0].position());
    let kept = Stream::at(&broker.url(), STREAM).await.read().await;
    assert_eq!(kept.len(), before.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_stops_when_the_stream_that_comes_later_is_ahead_of_its_log() {
    let mut broker = Lasting::start();
    let (site, _, _) = set_back(&broker).await;
    broker.again(Some(WITHOUT_JETSTREAM));
    let mut service = Service::start(&site, &broker.url(), DEV);
    broker.again(None);
    assert_eq!(service.ended().code(), Some(1));
    let said = |line: &String| line.contains("the published stream") && line.contains("new-epoch");
    assert!(lines(&site).iter().any(said), "{:?}", lines(&site));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_logs_stream_halts_publication_and_not_the_start_and_is_left_alone() {
    let broker = Lasting::start();
    let (_, mut first, bus, _) = lived(&broker).await;
    let history = history(&bus).await;
    let stream = Stream::at(&broker.url(), STREAM).await;
    stream.comes_to_hold(&history).await;
    first.terminate();
    assert!(first.ended().success());
    let site = Site::new(CHEAP);
    let mut second = Service::start(&site, &broker.url(), DEV);
    let ada = Person::with_2fa(&bus, "ada").await;
    ada.vouched(&ada.codes[0]).await.ok();
    let said = |line: &String| line.contains("ERROR") && line.contains("is not this log's");
    assert!(lines(&site).iter().any(said));
    stream.comes_to_hold(&history).await;
    let deleted = stream.call("DELETE", json!({})).await.unwrap();
    assert_eq!(deleted["success"], true);
    stream.comes_to_hold(&self::history(&bus).await).await;
    assert!(second.is_running());
}

/// N-14: of two services on copies of one log one serves. The stream keeps the other one out for
/// good, because its log lacks the events published meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n14_of_two_services_on_copies_of_one_log_one_answers_and_the_other_never_does() {
    let broker = Lasting::start();
    let (site, mut service, bus, _) = lived(&broker).await;
    service.terminate();
    assert!(service.ended().success());
    forget_message_ids(&broker).await;
    let twin = Site::new(CHEAP);
    copy(&site.data(), &twin.data());
    copy(
        site.keyring().parent().unwrap(),
        twin.keyring().parent().unwrap(),
    );
    let mut first = Service::start(&site, &broker.url(), DEV);
    let mut second = Service::spawn(&twin, &broker.url(), DEV);
    for number in 0..12 {
        let name = format!("user-{number}");
        let body = json!({"account_id": name, "username": name, "password": PASSWORD});
        bus.command("register-account", body).await.ok();
    }
    assert_eq!(second.ended().code(), Some(1));
    let said = |line: &String| line.contains("another instance of this log answers");
    assert!(lines(&twin).iter().any(said), "{:?}", lines(&twin));
    let stream = Stream::at(&broker.url(), STREAM).await;
    stream.comes_to_hold(&history(&bus).await).await;
    first.terminate();
    assert!(first.ended().success());
    let words = ["the published stream has an event", "log new-epoch"];
    refuses_at(&broker.url(), &twin, DEV, &words);
}
