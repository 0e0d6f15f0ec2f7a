//! `/livez`, `/readyz` and `/metrics`, asked byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::starting::refuses_at;
use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::{Service, lines};
use super::support::site::{PATIENCE, Site, eventually};
use super::support::{CHEAP, broker};

const DEV: &[&str] = &["--identity", "dev", "--http", "127.0.0.1:0"];

/// Where the service says that it listens.
fn address(site: &Site) -> String {
    let said = lines(site).into_iter().find(|line| line.contains("/livez"));
    let line: serde_json::Value = serde_json::from_str(&said.unwrap()).unwrap();
    line["fields"]["address"].as_str().unwrap().to_owned()
}

/// What comes back for these bytes: nothing where the connection is just closed.
fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that closes early may reset what it has not read.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: &str, path: &str) -> String {
    exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_numbers_are_answered_and_name_nobody() {
    let mut broker = broker(None);
    let site = Site::new(CHEAP);
    let service = Service::start(&site, &broker.url(), DEV);
    let bus = Bus::connect(&broker.url()).await;
    let ada = Person::register(&bus, "ada-of-the-metrics").await;
    ada.start_login().await.ok();
    ada.vouched("123456").await.refused("factor.not_on");
    let address = address(&site);
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    let ready = get(&address, "/readyz?verbose");
    assert!(
        ready.starts_with("HTTP/1.1 200 OK\r\n") && ready.ends_with("ready\n"),
        "{ready}"
    );
    for part in ["broker ok", "log ok", "publication ok"] {
        assert!(ready.contains(part), "{ready}");
    }
    eventually("everything is published", || {
        get(&address, "/metrics").contains("\ncountersign_publication_lag_events 0\n")
    });
    let metrics = get(&address, "/metrics");
    for line in [
        "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r",
        "countersign_ready 1",
        "countersign_publication_halted 0",
        "countersign_requests_total{endpoint=\"start-login\",outcome=\"ok\"} 1",
        "countersign_requests_total{endpoint=\"verify-login\",outcome=\"factor.not_on\"} 1",
    ] {
        assert!(
            metrics.contains(&format!("{line}\n")),
            "{line} is not in {metrics}"
        );
    }
    assert!(metrics.ends_with("# EOF\n") && !metrics.contains("ada-of-the-metrics"));
    broker.kill();
    eventually("it is not ready without a broker", || {
        get(&address, "/readyz").starts_with("HTTP/1.1 503")
    });
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/metrics").contains("countersign_ready 0"));
    drop(service);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_of_ours_gets_nothing() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), DEV);
    let address = address(&site);
    assert!(get(&address, "/").starts_with("HTTP/1.1 404"));
    let posted = exchange(&address, b"POST /livez HTTP/1.1\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    let head = exchange(&address, b"HEAD /livez HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert_eq!(exchange(&address, &[b'x'; 20_000]), "");
    assert!(get(&address, "/livez").starts_with("HTTP/1.1 200"));
    let other = Site::new(CHEAP);
    let more = ["--identity", "dev", "--http", address.as_str()];
    refuses_at(&broker.url(), &other, &more, &["cannot listen", "--http"]);
}
