//! `/livez`, `/readyz` and `/metrics` of the real binary, and `countersign health` on it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::{Service, lines};
use super::support::site::{PATIENCE, Site, binary, ends, eventually};
use super::support::{CHEAP, broker};

pub(super) const ANYWHERE: [&str; 4] = ["--identity", "dev", "--http", "127.0.0.1:0"];

/// The HTTP address of the newest process of the service, once it listens.
pub(super) fn address(site: &Site) -> SocketAddr {
    let mut found = None;
    eventually("the service answers HTTP", || {
        let lines = lines(site);
        let addresses = lines.iter().rev().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["fields"]["address"].as_str()?.parse().ok()
        });
        found = addresses.take(1).next();
        found.is_some()
    });
    found.unwrap()
}

/// Sends bytes and reads to the end of the connection.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server can close the connection while the client still writes.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The status and the body of a page.
pub(super) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = exchange(address, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of the one sample with this name and these labels.
pub(super) fn sample(page: &str, name: &str) -> f64 {
    let found: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .collect();
    assert_eq!(found.len(), 1, "{name} in:\n{page}");
    found[0].parse().unwrap()
}

fn health(address: &str) -> Output {
    let mut command: Command = binary();
    command.args(["health", "--http", address]);
    ends(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_commands_by_name_and_outcome_and_name_no_account() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let bus = Bus::connect(&broker.url()).await;
    let ada = Person::with_2fa(&bus, "ada-of-the-metrics").await;
    ada.vouched(&ada.codes[0]).await.ok();
    ada.vouched(&ada.codes[0]).await.refused("code.invalid");
    let address = address(&site);
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200);
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(!page.contains("ada"), "{page}");
    let requests = |outcome: &str| {
        let labels = format!(r#"{{kind="command",endpoint="verify-login",outcome="{outcome}"}}"#);
        sample(&page, &format!("countersign_requests_total{labels}"))
    };
    assert_eq!(requests("ok"), 1.0);
    assert_eq!(requests("code.invalid"), 1.0);
    let verify = r#"{endpoint="verify-login"}"#;
    let within = r#"{endpoint="verify-login",le="+Inf"}"#;
    assert_eq!(
        sample(&page, &format!("countersign_request_seconds_count{verify}")),
        2.0
    );
    assert_eq!(
        sample(
            &page,
            &format!("countersign_request_seconds_bucket{within}")
        ),
        2.0
    );
    assert!(sample(&page, &format!("countersign_request_seconds_sum{verify}")) > 0.0);
    assert!(sample(&page, "countersign_log_position") >= 5.0);
    assert!(sample(&page, r#"countersign_disk_free_bytes{folder="data"}"#) > 0.0);
    assert!(sample(&page, r#"countersign_disk_free_bytes{folder="keys"}"#) > 0.0);
    for (name, value) in [
        ("countersign_ready", 1.0),
        (r#"countersign_queued{queue="writer"}"#, 0.0),
        (r#"countersign_queued{queue="proofs"}"#, 0.0),
        ("countersign_requests_in_flight", 0.0),
        ("countersign_proofs_shed_total", 0.0),
        ("countersign_clock_jumps_total", 0.0),
        ("countersign_clock_behind_seconds", 0.0),
        ("countersign_clock_refuses_codes", 0.0),
        (
            r#"countersign_projection_halted{projection="login-status"}"#,
            0.0,
        ),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
    assert!(sample(&page, "countersign_checkpoint_age_seconds") < 60.0);
    assert_eq!(sample(&page, "countersign_publication_halted"), 0.0);
    eventually("everything is published", || {
        let (_, page) = get(address, "/metrics");
        sample(&page, "countersign_publication_lag_events") == 0.0
    });
    eventually("every view shows the whole log", || {
        let (_, page) = get(address, "/metrics");
        sample(
            &page,
            r#"countersign_projection_lag_events{projection="audit-trail"}"#,
        ) == 0.0
    });
}

/// Without publication nothing can be late: there is no number for an alert to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_publication_no_metric_says_that_it_is_behind() {
    let broker = broker(None);
    let site = Site::new(&format!("{CHEAP}[publication]\nenabled = false\n"));
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let bus = Bus::connect(&broker.url()).await;
    Person::register(&bus, "ada").await;
    let (_, page) = get(address(&site), "/metrics");
    assert!(sample(&page, "countersign_log_position") > 0.0);
    assert!(!page.contains("publication"), "{page}");
    let asked = |words: &[&str]| {
        let mut command = binary();
        command.args(["--server", &broker.url()]).args(words);
        String::from_utf8(ends(command).stdout).unwrap()
    };
    let stats = asked(&["log", "stats"]);
    assert!(
        stats.contains("published       nothing, it is off\n"),
        "{stats}"
    );
    let stats: Value = serde_json::from_str(&asked(&["--json", "log", "stats"])).unwrap();
    assert_eq!(stats.get("publication"), None, "{stats}");
    let doctor = asked(&["doctor"]);
    assert!(doctor.contains("publication is off"), "{doctor}");
}

/// Every sample belongs to the family above it, under a name with our prefix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_open_metrics() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let (_, page) = get(address(&site), "/metrics");
    let (mut family, mut families) = (String::new(), Vec::new());
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert!(["gauge", "counter", "histogram", "info"].contains(&kind));
            family = name.to_owned();
            assert!(family.starts_with("countersign_") && !families.contains(&family));
            families.push(family.clone());
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let end = name.strip_prefix(family.as_str()).unwrap();
            let ends = ["", "_total", "_info", "_bucket", "_count", "_sum"];
            assert!(ends.contains(&end), "{line} under {family}");
        }
    }
    assert!(families.len() > 10, "{families:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_broker_and_health_reports_it_by_exit_code() {
    let broker = broker(None);
    let port = broker.port();
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let address = address(&site);
    assert_eq!(get(address, "/livez"), (200, "ok\n".into()));
    let (status, page) = get(address, "/readyz?verbose");
    assert_eq!(status, 200, "{page}");
    for check in ["log", "broker", "views", "clock"] {
        assert!(page.contains(&format!("[+]{check} ok\n")), "{page}");
    }
    let healthy = health(&address.to_string());
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    let everywhere = health(&format!("0.0.0.0:{}", address.port()));
    assert_eq!(everywhere.status.code(), Some(0), "{everywhere:?}");
    broker.stop().unwrap();
    eventually("it is not ready", || get(address, "/readyz").0 == 503);
    let (_, page) = get(address, "/readyz");
    assert!(page.contains("[-]broker failed: "), "{page}");
    assert_eq!(
        get(address, "/livez").0,
        200,
        "an absent broker is no reason to restart"
    );
    let unready = health(&address.to_string());
    assert_eq!(unready.status.code(), Some(6), "{unready:?}");
    let _broker = super::support::broker(Some(port));
    eventually("it is ready again", || get(address, "/readyz").0 == 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_off_by_default_and_a_used_address_is_reported() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let service = Service::start(&site, &broker.url(), &["--identity", "dev"]);
    let said = lines(&site).concat();
    assert!(!said.contains("/readyz"), "{said}");
    drop(service);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let more = ["--identity", "dev", "--http", address.as_str()];
    super::starting::refuses(&site, &more, &[&address, "--http"]);
    drop(taken);
    let away = health(&address);
    assert_eq!(away.status.code(), Some(5), "{away:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_no_page_is_refused_and_disturbs_no_other() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let address = address(&site);
    assert_eq!(get(address, "/").0, 404);
    assert_eq!(get(address, "/../etc/passwd").0, 404);
    let posted = exchange(
        address,
        b"POST /livez HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    let long = format!(
        "GET /livez HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let refused = exchange(address, long.as_bytes());
    assert!(!refused.contains(" 200 "), "{refused}");
    let many = format!(
        "GET /livez HTTP/1.1\r\nHost: t\r\n{}\r\n",
        "X: a\r\n".repeat(65)
    );
    let refused = exchange(address, many.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    assert!(!exchange(address, b"\x16\x03\x01 not HTTP\r\n\r\n").contains(" 200 "));
    let bus = Bus::connect(&broker.url()).await;
    let reply = bus.query("errors", json!({})).await;
    assert!(reply.ok()["errors"].is_array());
}

/// How many connections got an answer before they closed.
fn answered(connections: Vec<TcpStream>) -> usize {
    let is_answered = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer.starts_with(b"HTTP/1.1 200 ")
    };
    connections
        .into_iter()
        .map(is_answered)
        .filter(|is| *is)
        .count()
}

/// S-09: silent connections, slow ones and ones that read nothing, from the probe's own address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_idle_connections_of_one_peer_block_no_probe() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let address = address(&site);
    let asks = b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n";
    for sent in [&b""[..], b"G", b"GET /livez HTTP/1.1\r\n", asks] {
        let idle: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                // A connection that lost its place cannot write.
                let _ = stream.write_all(sent);
                stream
            })
            .collect();
        let healthy = health(&address.to_string());
        assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
        let probes = (0..20).filter(|_| get(address, "/readyz").0 == 200);
        assert_eq!(probes.count(), 20, "beside {sent:?}");
        if sent != asks {
            assert_eq!(answered(idle), 0, "they are closed");
        }
    }
}

/// A connection that never sends anything is closed even if no newcomer needs its place. The bounds
/// of a connection that has begun are tested where they are defined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_closed_and_one_that_sends_in_pieces_gets_its_answer() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    let address = address(&site);
    assert_eq!(answered(vec![TcpStream::connect(address).unwrap()]), 0);
    let mut begun = TcpStream::connect(address).unwrap();
    begun.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    assert_eq!(get(address, "/livez").0, 200);
    begun.write_all(b"Host: t\r\n\r\n").unwrap();
    assert_eq!(answered(vec![begun]), 1, "its time was not over");
}
