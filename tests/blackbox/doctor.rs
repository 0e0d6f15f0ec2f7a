//! `doctor` beside a running service, and its findings.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::credentials::broker_with;
use super::support::service::Service;
use super::support::site::{Site, binary, ends, eventually};
use super::support::{CHEAP, Rig};

fn doctor(site: &Site, url: &str, more: &[&str]) -> Output {
    doctor_of(&site.keyring(), site, url, more)
}

/// The same with a keyring elsewhere.
fn doctor_of(keyring: &Path, site: &Site, url: &str, more: &[&str]) -> Output {
    let mut command = binary();
    command.args(["--json", "--server", url, "doctor", "--data"]);
    command.arg(site.data()).arg("--keyring").arg(keyring);
    ends({
        command.arg("--config").arg(site.config()).args(more);
        command
    })
}

/// The verdict and the text about one thing.
fn found(output: &Output, what: &str) -> (String, String) {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["what"] == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing of {what} in {document:#}"));
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    (text("verdict"), text("said"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_running_service_it_finds_exactly_what_is_wrong() {
    let config = format!("{CHEAP}[directory]\nvouching = [\"login-gw\"]\n");
    let rig = Rig::start(&config).await;
    let url = rig.broker.url();
    let mut healthy = None;
    // It collects replies for half a second, which is not always enough on a loaded machine.
    eventually("the service replies in time", || {
        let doctor = doctor(&rig.site, &url, &[]);
        let is_heard = found(&doctor, "service").0 == "ok";
        healthy = Some(doctor);
        is_heard
    });
    let healthy = healthy.unwrap();
    // This broker is open: every user can listen to every reply.
    assert_eq!(found(&healthy, "inboxes").0, "wrong");
    assert_eq!(healthy.status.code(), Some(6), "{healthy:?}");
    for (what, words) in [
        ("keyring", "mode 0600"),
        ("keys folder", "writable"),
        ("vouching", "login-gw"),
        ("identity", "verified"),
        ("log", "bytes"),
        ("data disk", "MiB free"),
        ("checkpoint", "s old, covers "),
        ("clock", "checkpoint"),
        ("broker", "nats-server 2."),
        ("service", "one instance"),
        ("publication", " behind"),
        ("stream", "COUNTERSIGN_EVENTS: "),
    ] {
        let (verdict, said) = found(&healthy, what);
        assert_eq!(verdict, "ok", "{what}: {said}");
        assert!(said.contains(words), "{what}: {said}");
    }
    let believing = doctor(&rig.site, &url, &["--identity", "dev"]);
    assert_eq!(believing.status.code(), Some(6), "{believing:?}");
    assert_eq!(found(&believing, "identity").0, "wrong");
    fs::set_permissions(rig.site.keyring(), Permissions::from_mode(0o644)).unwrap();
    let open = doctor(&rig.site, &url, &[]);
    let (verdict, said) = found(&open, "keyring");
    assert_eq!((open.status.code(), verdict.as_str()), (Some(6), "wrong"));
    assert!(
        said.contains("0644") && said.contains("chmod 600"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_where_the_broker_is_away_and_sees_a_clock_before_its_checkpoint() {
    let rig = Rig::start(CHEAP).await;
    let note = rig.site.keyring().with_file_name("checkpoint");
    modified(&note, SystemTime::now() + Duration::from_secs(3_600));
    let output = doctor(&rig.site, "nats://127.0.0.1:9", &["--http", "127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    for what in ["broker", "readiness", "clock"] {
        assert_eq!(found(&output, what).0, "wrong", "{what}");
    }
    assert_eq!(found(&output, "vouching").0, "note");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("checks failed: 3"), "{said}");
}

fn modified(file: &Path, at: SystemTime) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_modified(at).unwrap();
}

/// The finding about one thing.
fn is_wrong(output: &Output, what: &str, words: &str) {
    let (verdict, said) = found(output, what);
    assert_eq!((output.status.code(), verdict.as_str()), (Some(6), "wrong"));
    assert!(said.contains(words), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_sees_what_is_wrong_with_the_files() {
    let mut rig = Rig::start(CHEAP).await;
    rig.service.kill();
    let url = rig.broker.url();
    let inside = rig.site.data().join("keys");
    fs::create_dir(&inside).unwrap();
    let keyring = inside.join("keyring.toml");
    fs::copy(rig.site.keyring(), &keyring).unwrap();
    let output = doctor_of(&keyring, &rig.site, &url, &[]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let is_reported = |finding: &Value| {
        let said = finding["said"].as_str().unwrap();
        finding["verdict"] == "wrong" && said.contains("inside the data folder")
    };
    assert!(findings.iter().any(is_reported), "{document:#}");
    is_wrong(&output, "checkpoint", "restore it from the backup");
    let note = rig.site.keyring().with_file_name("checkpoint");
    let checkpoint = || found(&doctor(&rig.site, &url, &[]), "checkpoint").0;
    assert_eq!(checkpoint(), "ok");
    modified(&note, SystemTime::now() - Duration::from_secs(2 * 86_400));
    assert_eq!(checkpoint(), "note");
    fs::remove_dir_all(rig.site.data().join("log")).unwrap();
    is_wrong(&doctor(&rig.site, &url, &[]), "log", "No such file");
    fs::write(rig.site.keyring(), "rubbish").unwrap();
    is_wrong(&doctor(&rig.site, &url, &[]), "keyring", "keyring");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_sees_a_second_instance_and_another_logs_stream() {
    let mut rig = Rig::start(CHEAP).await;
    let url = rig.broker.url();
    let other = Site::new(CHEAP);
    let _second = Service::start(&other, &url, &["--identity", "dev"]);
    // It collects replies for half a second, which is not always enough on a loaded machine.
    eventually("both instances reply in time", || {
        found(&doctor(&rig.site, &url, &[]), "service")
            .1
            .contains("2 instances")
    });
    rig.service.kill();
    eventually("the remaining instance replies in time", || {
        found(&doctor(&other, &url, &[]), "service")
            .1
            .contains("one instance")
    });
    let output = doctor(&other, &url, &[]);
    is_wrong(&output, "publication", "does not belong to this log");
}

#[test]
fn it_sees_a_broker_with_a_small_max_payload() {
    let site = Site::new(CHEAP);
    let broker = broker_with(site.path(), "max_payload: 4096");
    let output = doctor(&site, &broker.url(), &[]);
    is_wrong(&output, "payload", "set it to at least 786432");
}
