//! The broker ends and returns, the service gets a signal to stop, a view is lost.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::RequestErrorKind;
use serde_json::json;
use tokio::task::JoinSet;

use super::support::answer::Answer;
use super::support::bus::Bus;
use super::support::person::{PASSWORD, Person};
use super::support::service::{Service, is_ready, lines};
use super::support::site::{PATIENCE, Site, eventually, eventually_async};
use super::support::{CHEAP, Rig, broker, model};

/// Callers that send requests without a pause.
const ASKERS: usize = 192;
/// A request without a reply after this time is sent again, if it may have been lost.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Waits until a request gets a reply again.
async fn is_answered(bus: &Bus) {
    // Does not wait for a request that a broken connection lost.
    let bus = bus.within(ASK_AGAIN_AFTER);
    eventually_async("the service replies", async || {
        let errors = "countersign.v1.query.errors";
        let answer = bus.try_send(errors, &[], b"").await;
        answer.is_ok_and(|answer| answer.word().is_none())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_outlives_a_broker_that_is_killed_and_replies_on_the_next() {
    let mut rig = Rig::start(CHEAP).await;
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    for _ in 0..2 {
        let port = rig.broker.port();
        rig.broker.kill();
        rig.broker = broker(Some(port));
        is_answered(&rig.bus).await;
        let code = ada.phone().next();
        ada.vouched(&code).await.ok();
        ada.vouched(&code).await.refused("code.invalid");
    }
    let head = ada.start_login().await.position();
    let events = rig.bus.history(head).await;
    model::has_no_gap(&events);
    model::check(&events, "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_starts_without_a_broker_waits_for_it() {
    let mut away = broker(None);
    let (url, port) = (away.url(), away.port());
    away.kill();
    let site = Site::new(CHEAP);
    let mut service = Service::spawn(&site, &url, &["--identity", "dev"]);
    eventually("the service says that the broker is away", || {
        let said = |line: &String| line.contains("WARN") && line.contains(&port.to_string());
        assert!(service.is_running());
        lines(&site).iter().any(said)
    });
    assert!(!lines(&site).iter().any(|line| is_ready(line)));
    let _broker = broker(Some(port));
    eventually("the service is ready", || {
        assert!(service.is_running());
        lines(&site).iter().any(|line| is_ready(line))
    });
    let bus = Bus::connect(&url).await;
    Person::register(&bus, "ada").await;
}

/// Sends requests without a pause until there is no responder; returns how many were delivered
/// without a reply.
async fn ask_until_no_responder(bus: Bus, answered: Arc<AtomicUsize>, at: usize) -> usize {
    let login = json!({"username": "ada", "password": PASSWORD}).to_string();
    let code = json!({"account_id": "ada", "code": "123456"}).to_string();
    let mut lost = 0;
    for number in at.. {
        let (subject, body) = match number % 16 {
            0 => ("countersign.v1.command.start-login", login.as_str()),
            1..=9 => ("countersign.v1.command.verify-login", code.as_str()),
            _ => ("countersign.v1.query.login-status.ada", ""),
        };
        match bus.try_send(subject, &[], body.as_bytes()).await {
            Ok(_) => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(RequestErrorKind::NoResponders) => return lost,
            Err(_) => lost += 1,
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_under_load_it_replies_to_every_delivered_request_and_exits_with_0() {
    let mut rig = Rig::start(CHEAP).await;
    Person::register(&rig.bus, "ada").await;
    let url = rig.broker.url();
    let buses = [
        Bus::connect(&url).await,
        Bus::connect(&url).await,
        Bus::connect(&url).await,
    ];
    for _ in 0..5 {
        let answered = Arc::new(AtomicUsize::new(0));
        let mut asking = JoinSet::new();
        for at in 0..ASKERS {
            let bus = buses[at % buses.len()].clone();
            asking.spawn(ask_until_no_responder(bus, Arc::clone(&answered), at));
        }
        eventually("the load is on", || {
            answered.load(Ordering::Relaxed) > 2_000
        });
        rig.service.terminate();
        let status = rig.service.ended();
        assert_eq!(status.code(), Some(0));
        let lost: usize = asking.join_all().await.into_iter().sum();
        assert_eq!(lost, 0, "requests were delivered and got no reply");
        rig.restart();
    }
    let head = Person::register(&rig.bus, "eve")
        .await
        .start_login()
        .await
        .position();
    let events = rig.bus.history(head).await;
    model::has_no_gap(&events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_view_is_built_again_from_the_log() {
    let mut rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let head = ada.vouched(&ada.codes[0]).await.position();
    let (status, events) = (ada.status().await, rig.bus.history(head).await);
    for by_signal in [true, false] {
        if by_signal {
            rig.service.terminate();
            assert_eq!(rig.service.ended().code(), Some(0));
        } else {
            rig.service.kill();
        }
        fs::remove_file(rig.site.data().join("views.redb")).unwrap();
        rig.restart();
        let mut again = ada.status().await;
        // Each reading of the history left one access record.
        assert!(again["position"].as_u64() > status["position"].as_u64());
        again["position"] = status["position"].clone();
        assert_eq!(again, status);
        assert_eq!(rig.bus.history(head).await, events);
    }
    ada.vouched(&ada.codes[0]).await.refused("code.invalid");
}

/// N-09: the broker cuts off a service that reads no more messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n09_a_service_that_was_cut_off_as_a_slow_consumer_serves_again_and_has_lost_nothing() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let head = ada.vouched(&ada.codes[0]).await.position();
    rig.service.signal("STOP");
    let flood = async_nats::connect(rig.broker.url()).await.unwrap();
    let payload = bytes::Bytes::from(vec![b' '; 65_536]);
    // nats-server drops a client for which 64 MiB wait, or that takes nothing for 10 s.
    let was_cut_off = || {
        let log = fs::read_to_string(rig.broker.log_file()).unwrap();
        log.contains("Slow Consumer")
    };
    let subject = "countersign.v1.command.start-login";
    while !was_cut_off() {
        for _ in 0..64 {
            let sent = flood.publish_with_reply(subject, "unread", payload.clone());
            sent.await.unwrap();
        }
        flood.flush().await.unwrap();
    }
    rig.service.signal("CONT");
    is_answered(&rig.bus).await;
    ada.vouched(&ada.codes[0]).await.refused("code.invalid");
    ada.vouched(&ada.codes[1]).await.ok();
    let events = rig.bus.history(head + 2).await;
    model::has_no_gap(&events);
    model::check(&events, "ada");
}

/// N-11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n11_a_thousand_clients_that_return_at_once_get_replies() {
    let mut rig = Rig::start(CHEAP).await;
    let ada = Person::register(&rig.bus, "ada").await;
    let url = rig.broker.url();
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        clients.push(async_nats::connect(&url).await.unwrap());
    }
    let port = rig.broker.port();
    rig.broker.kill();
    rig.broker = broker(Some(port));
    is_answered(&rig.bus).await;
    let asking = clients.iter().map(async |client| {
        loop {
            let subject = "countersign.v1.query.login-status.ada";
            if let Ok(reply) = client.request(subject, "".into()).await {
                let answer = Answer::read(reply.headers, &reply.payload, b"");
                // If the service is busy, it refuses some with `overloaded`.
                if answer.word() != Some("overloaded") {
                    return answer;
                }
            }
            tokio::task::yield_now().await;
        }
    });
    let asked = futures_util::future::join_all(asking);
    let answers = tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(answers.len(), 1_000);
    for answer in &answers {
        assert_eq!(answer.ok()["second_factor"], "off");
    }
    assert_eq!(ada.status().await["second_factor"], "off");
}
