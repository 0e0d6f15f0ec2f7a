//! `doctor` beside a running service, and what it finds wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::Value;

use super::support::CHEAP;
use super::support::Rig;
use super::support::site::{Site, binary, ends};

fn doctor(site: &Site, url: &str, more: &[&str]) -> Output {
    let mut command = binary();
    command.args([
        "--json",
        "--server",
        url,
        "--timeout",
        "2s",
        "doctor",
        "--data",
    ]);
    command
        .arg(site.data())
        .arg("--keyring")
        .arg(site.keyring());
    ends({
        command.arg("--config").arg(site.config()).args(more);
        command
    })
}

/// The verdict on one thing and what was said of it.
fn found(output: &Output, what: &str) -> (String, String) {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["what"] == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing of {what} in {document:#}"));
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    (text("verdict"), text("said"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_running_service_it_finds_nothing_wrong_but_what_is() {
    let config = format!("{CHEAP}[directory]\nvouching = [\"login-gw\"]\n");
    let rig = Rig::start(&config).await;
    let url = rig.broker.url();
    let healthy = doctor(&rig.site, &url, &[]);
    // This broker is open: everybody may listen to everybody.
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
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
    let file = fs::OpenOptions::new().write(true).open(note).unwrap();
    file.set_modified(ahead).unwrap();
    let output = doctor(&rig.site, "nats://127.0.0.1:9", &["--http", "127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    for what in ["broker", "readiness", "clock"] {
        assert_eq!(found(&output, what).0, "wrong", "{what}");
    }
    assert_eq!(found(&output, "vouching").0, "note");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("3 found wrong"), "{said}");
}
