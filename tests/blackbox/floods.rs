//! Messages of one user of the broker must not keep others from getting replies, nor fill the
//! memory: malformed header blocks, huge ones, and too many.

use std::fs;

use serde_json::json;

use super::operating::shipped;
use super::raw::{Raw, message};
use super::support::bus::Bus;
use super::support::person::PASSWORD;
use super::support::service::Service;
use super::support::site::Site;

/// The memory that the service may use, in KiB.
const RESIDENT_KIB_MAX: u64 = 256 * 1024;
/// A header block of 30 bytes without a colon.
const NO_COLON: &[u8] = b"NATS/1.0\r\nno colon in this\r\n\r\n";

/// The most memory that a process had, in KiB.
fn resident_kib(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

/// `times` of a message on one connection, in one write; the replies go nowhere.
fn flood(raw: &mut Raw, subject: &str, block: &[u8], body: &[u8], times: usize) {
    let one = message(subject, "_INBOX.auditor.away", block, block.len(), body);
    raw.write(&one.repeat(times));
    raw.flush();
}

/// a hundred malformed messages for each login, and every login gets its reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a03_malformed_blocks_of_an_auditor_take_no_login_from_a_platform() {
    const LOGINS: usize = 40;
    const MALFORMED_EACH: usize = 100;
    let broker = shipped();
    let site = Site::new("");
    let url = |user: &str| format!("nats://{user}:secret@127.0.0.1:{}", broker.port());
    let _service = Service::start(&site, &url("countersign"), &[]);
    let gateway = Bus::connect_as(&broker.url(), "login-gw", "secret").await;
    let ada = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    gateway.command("register-account", ada).await.ok();
    let mut auditor = Raw::connect(broker.port(), "auditor");
    for _ in 0..LOGINS {
        flood(
            &mut auditor,
            "countersign.v1.query.errors",
            NO_COLON,
            b"",
            MALFORMED_EACH,
        );
        flood(&mut auditor, "$SRV.PING", NO_COLON, b"", 1);
        let body = json!({"username": "ada", "password": PASSWORD});
        gateway.command("start-login", body).await.ok();
    }
    let answered = auditor.ask("countersign.v1.query.errors", NO_COLON, b"");
    assert_eq!(answered.code(), "actor.unverified");
}

/// blocks of 60,000 headers, and as much of everything else as the broker passes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a05_a_message_that_is_too_large_is_not_kept_and_others_get_replies() {
    let broker = shipped();
    let site = Site::new("");
    let url = |user: &str| format!("nats://{user}:secret@127.0.0.1:{}", broker.port());
    let service = Service::start(&site, &url("countersign"), &[]);
    let gateway = Bus::connect_as(&broker.url(), "login-gw", "secret").await;
    let ada = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    gateway.command("register-account", ada).await.ok();
    let mut auditor = Raw::connect(broker.port(), "auditor");
    let headers = format!("NATS/1.0\r\n{}\r\n", "a:b\r\n".repeat(60_000)).into_bytes();
    let small = b"NATS/1.0\r\n\r\n";
    let within = format!(
        "NATS/1.0\r\n{}\r\n",
        format!("a:{}\r\n", "b".repeat(240)).repeat(60)
    );
    let body = vec![b' '; 65_536];
    let large = vec![b' '; 1_000_000];
    for subject in [
        "countersign.v1.query.errors",
        "countersign.v1.query.audit-page",
    ] {
        for (block, body, times) in [
            (&headers[..], &b""[..], 100),
            (&small[..], &large[..], 50),
            (within.as_bytes(), &body[..], 500),
            (&within.as_bytes()[..within.len() - 2], &body[..], 500),
        ] {
            flood(&mut auditor, subject, block, body, times);
            let body = json!({"username": "ada", "password": PASSWORD});
            gateway.command("start-login", body).await.ok();
        }
    }
    let resident = resident_kib(&service);
    println!("at most {resident} KiB");
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
}
