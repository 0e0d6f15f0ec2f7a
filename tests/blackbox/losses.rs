//! A data folder that is restored to an older state: the refusal, and the one way to go on.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::starting::refuses;
use super::support::person::Person;
use super::support::site::{Site, binary, ends};
use super::support::{CHEAP, Rig};

const DEV: &[&str] = &["--identity", "dev"];

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(file.file_name());
        if file.path().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

pub fn new_epoch(site: &Site, lost_from: &str, dying_at: Option<&str>) -> Output {
    let mut command = binary();
    command.args(["log", "new-epoch", "--reason", "the disk died"]);
    command.args(["--lost-from", lost_from, "--data"]);
    command
        .arg(site.data())
        .arg("--keyring")
        .arg(site.keyring());
    if let Some(point) = dying_at {
        command.env("COUNTERSIGN_CRASH_AT", format!("{point}:1"));
    }
    ends(command)
}

/// A code is used, the service stops, and the data folder is restored to the state before it.
async fn restored() -> (Rig, Person) {
    let mut rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    rig.service.terminate();
    assert!(rig.service.ended().success());
    let backup = rig.site.path().join("backup");
    copy(&rig.site.data(), &backup);
    rig.restart();
    ada.vouched(&ada.codes[0]).await.ok();
    rig.service.terminate();
    assert!(rig.service.ended().success());
    fs::remove_dir_all(rig.site.data()).unwrap();
    copy(&backup, &rig.site.data());
    (rig, ada)
}

/// D-02 and law 5: a code that was used before the loss is never valid again.
#[tokio::test]
async fn a_restored_older_log_is_refused_until_a_new_epoch_and_then_every_account_is_refused() {
    let (mut rig, ada) = restored().await;
    let refusal = refuses(&rig.site, DEV, &["log new-epoch", "--reason"]);
    let (_, rest) = refusal.split_once("--lost-from ").unwrap();
    let lost_from = rest.split(' ').next().unwrap();
    let other = new_epoch(&rig.site, "2", None);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains(lost_from));
    for point in ["epoch-appended", "epoch-keyring"] {
        let killed = new_epoch(&rig.site, lost_from, Some(point));
        assert_eq!(killed.status.code(), None, "{killed:?}");
        refuses(&rig.site, DEV, &["interrupted", "run it again", lost_from]);
    }
    let begun = new_epoch(&rig.site, lost_from, None);
    assert!(begun.status.success(), "{begun:?}");
    assert!(String::from_utf8_lossy(&begun.stdout).contains("epoch 2"));
    let again = new_epoch(&rig.site, lost_from, None);
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing to give up"));

    rig.restart();
    for code in &ada.codes[..2] {
        ada.vouched(code).await.refused("factor.suspended");
    }
    let refused = ada.start_login().await;
    refused.refused("factor.suspended");
    // No attempt failed here, and no backup code helps.
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("reset"), "{detail}");
    assert!(!detail.contains("backup code"), "{detail}");
    let status = ada.status().await;
    assert_eq!(status["second_factor"], "on");
    assert_eq!(status["methods"].as_array().unwrap().len(), 0);
    let eve = Person::with_2fa(&rig.bus, "eve").await;
    eve.vouched(&eve.codes[0]).await.ok();
    let history = rig.bus.history(1).await;
    let epochs = history.iter().filter(|e| e["type"] == "epoch-started");
    assert_eq!(epochs.count(), 2);
}
