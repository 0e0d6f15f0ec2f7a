//! Brokers that the service leaves or refuses: one that is about to stop, and one that is too old.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use serde_json::json;

use super::starting::refuses_at;
use super::support::CHEAP;
use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::{Service, lines};
use super::support::site::{Site, eventually_async};

const DEV: &[&str] = &["--identity", "dev"];

/// A broker that, after the signal to stop, waits longer for its clients than a test lasts.
fn patient(site: &Site) -> Broker {
    let file = site.data().parent().unwrap().join("patient.conf");
    std::fs::write(
        &file,
        "lame_duck_grace_period: \"10m\"\nlame_duck_duration: \"1h\"\n",
    )
    .unwrap();
    let options = BrokerOptions {
        config: Some(file),
        ..BrokerOptions::default()
    };
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}")).unwrap();
    Broker::start(&server, &options).unwrap()
}

/// N-11: a broker in lame-duck mode is left before it closes anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_about_to_stop_is_left_for_another() {
    let site = Site::new(CHEAP);
    let brokers = [patient(&site), patient(&site)];
    let urls = brokers.each_ref().map(Broker::url);
    let _service = Service::start(&site, &urls.join(","), DEV);
    let buses = [Bus::connect(&urls[0]).await, Bus::connect(&urls[1]).await];
    let errors = "countersign.v1.query.errors";
    // The service chose its first broker freely.
    let first = usize::from(buses[0].try_send(errors, &[], b"").await.is_err());
    Person::register(&buses[first], "ada").await;
    let signalled = Command::new("/bin/sh")
        .args(["-c", "kill -USR2 \"$0\"", &brokers[first].pid().to_string()])
        .status();
    assert!(signalled.unwrap().success());
    let other = &buses[1 - first];
    eventually_async("it replies on the other", async || {
        other.try_send(errors, &[], b"").await.is_ok()
    })
    .await;
    let answer = other.query("login-status.ada", json!({})).await;
    assert_eq!(answer.ok()["second_factor"], "off");
    let said = |line: &String| line.contains("the broker is about to stop");
    assert!(lines(&site).iter().any(said), "{:?}", lines(&site));
}

/// Says that it is a nats-server of that version, and answers every PING.
fn pretend(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port();
    let info = json!({
        "server_id": "OLD", "server_name": "old", "version": version, "go": "go1.22",
        "host": "127.0.0.1", "port": port, "headers": true, "max_payload": 1_048_576,
        "proto": 1, "client_id": 1,
    });
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            write!(connection, "INFO {info}\r\n").unwrap();
            for line in BufReader::new(connection.try_clone().unwrap()).lines() {
                if line.is_ok_and(|line| line.starts_with("PING")) {
                    connection.write_all(b"PONG\r\n").unwrap();
                }
            }
        }
    });
    format!("nats://{address}")
}

#[test]
fn a_broker_that_is_too_old_is_refused_with_its_version() {
    let url = pretend("2.10.29");
    let words = ["2.10.29", "2.12.6", "upgrade"];
    refuses_at(&url, &Site::new(CHEAP), DEV, &words);
}
