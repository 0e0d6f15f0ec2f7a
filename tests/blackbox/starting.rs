//! An error at the start ends the service within 15 s, with one sentence and a cure.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::person::Person;
use super::support::service::{Service, lines};
use super::support::site::{Site, binary, ends, eventually};
use super::support::{CHEAP, Rig};

/// The start fails long before it needs a broker, so there is none.
const NOWHERE: &str = "nats://127.0.0.1:9";

/// The service refuses to start; the one sentence names each of these words.
pub fn refuses(site: &Site, more: &[&str], words: &[&str]) -> String {
    refuses_at(NOWHERE, site, more, words)
}

/// The same on a real broker.
pub fn refuses_at(url: &str, site: &Site, more: &[&str], words: &[&str]) -> String {
    let output = ends(site.serve(url, more));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_ne!(output.status.code(), None, "killed by a signal: {said}");
    assert_ne!(output.status.code(), Some(0), "{said}");
    let sentences: Vec<_> = said
        .lines()
        .filter(|l| l.starts_with("countersign: "))
        .collect();
    assert_eq!(sentences.len(), 1, "{said}");
    for word in words {
        assert!(
            sentences[0].contains(word),
            "no {word} in: {}",
            sentences[0]
        );
    }
    assert!(!said.contains("panicked"), "{said}");
    sentences[0].to_owned()
}

fn init(site: &Site) {
    let mut command = binary();
    command.arg("init").arg("--data").arg(site.data());
    let output = ends({
        command.arg("--keyring").arg(site.keyring());
        command
    });
    assert!(output.status.success(), "{output:?}");
}

/// An installation with a history: a user with 2FA, and a clean or an unclean end.
async fn lived(clean: bool) -> Site {
    let mut rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    ada.vouched(&ada.codes[0]).await.ok();
    if clean {
        rig.service.terminate();
        assert!(rig.service.ended().success());
    } else {
        rig.service.kill();
    }
    rig.site
}

fn segment(site: &Site) -> PathBuf {
    let mut segments: Vec<_> = fs::read_dir(site.data().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "redb"))
        .collect();
    segments.sort();
    segments.pop().unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn without_a_log_the_refusal_says_how_to_create_one() {
    let site = Site::new(CHEAP);
    let mut command = binary();
    command
        .args(["serve", "--server", NOWHERE, "--identity", "dev", "--data"])
        .arg(site.data());
    command.arg("--keyring").arg(site.keyring());
    let output = ends(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("init"), "{said}");
    assert!(!site.data().exists() && !site.keyring().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_keyring_or_with_another_ones_it_refuses() {
    let site = lived(true).await;
    let own = fs::read(site.keyring()).unwrap();
    fs::remove_file(site.keyring()).unwrap();
    refuses(&site, &["--identity", "dev"], &["keyring", "restore"]);
    refuses(
        &site,
        &["--identity", "dev", "--init"],
        &["keyring", "restore"],
    );
    let other = Site::new("");
    init(&other);
    fs::copy(other.keyring(), site.keyring()).unwrap();
    mode(&site.keyring(), 0o600);
    refuses(
        &site,
        &["--identity", "dev"],
        &["keyring", "same installation"],
    );
    fs::write(site.keyring(), "not a keyring").unwrap();
    refuses(&site, &["--identity", "dev"], &["keyring"]);
    fs::write(site.keyring(), &own).unwrap();
    for unsafe_mode in [0o644, 0o640, 0o620, 0o606] {
        mode(&site.keyring(), unsafe_mode);
        refuses(&site, &["--identity", "dev"], &["keyring", "chmod 600"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_missing_empty_or_cut_off_is_refused() {
    let site = lived(true).await;
    let segment = segment(&site);
    let whole = fs::read(&segment).unwrap();
    for length in [0, 1, 4_096, whole.len() / 2, whole.len() - 1] {
        fs::write(&segment, &whole[..length]).unwrap();
        refuses(&site, &["--identity", "dev"], &["log"]);
    }
    fs::write(&segment, vec![0; whole.len()]).unwrap();
    refuses(&site, &["--identity", "dev"], &["log"]);
    fs::remove_file(&segment).unwrap();
    refuses(&site, &["--identity", "dev"], &["log", "restore"]);
    fs::remove_dir_all(site.data().join("log")).unwrap();
    refuses(&site, &["--identity", "dev"], &["log", "restore"]);
    fs::remove_dir_all(site.data()).unwrap();
    for more in [&["--identity", "dev"][..], &["--identity", "dev", "--init"]] {
        refuses(&site, more, &["keyring", "log", "restore"]);
        assert!(!site.data().exists(), "a refusal has made a folder");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_accounts_data_keys_it_refuses() {
    let site = lived(true).await;
    fs::remove_file(site.data().join("keys.redb")).unwrap();
    refuses(&site, &["--identity", "dev"], &["keys.redb", "restore"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_files_is_refused_and_the_first_goes_on() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::register(&rig.bus, "ada").await;
    refuses(&rig.site, &["--identity", "dev"], &["another process"]);
    ada.start_login().await.ok();
}

#[test]
fn a_configuration_with_an_unknown_key_or_a_bad_number_is_refused_with_its_name() {
    for (config, words) in [
        ("[policy]\nwindow_stepz = 1\n", ["window_stepz"]),
        ("[polizei]\n", ["polizei"]),
        ("[policy]\nwindow_steps = 3\n", ["window_steps"]),
        ("[policy]\nwindow_steps = \"1\"\n", ["line 2"]),
        ("[policy\n", ["config.toml"]),
    ] {
        let site = Site::new(config);
        refuses(&site, &["--identity", "dev"], &words);
        assert!(!site.data().exists(), "a refusal has made a folder");
    }
    let weak = Site::new(CHEAP);
    refuses(&weak, &[], &["kdf_memory_kib", "--identity dev"]);
    let none = Site::new("");
    fs::remove_file(none.config()).unwrap();
    refuses(&none, &["--identity", "dev"], &["config.toml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_refuses_what_exists_and_a_keyring_inside_the_data_folder() {
    let site = lived(true).await;
    let before = (
        fs::read(site.keyring()).unwrap(),
        fs::read(segment(&site)).unwrap(),
    );
    let free = site.path().join("free");
    for (data, keyring) in [
        (site.data(), site.keyring()),
        (site.data(), free.join("k")),
        (free.join("d"), site.keyring()),
        (free.join("d"), free.join("d").join("k")),
    ] {
        let mut command = binary();
        command
            .arg("init")
            .arg("--data")
            .arg(&data)
            .arg("--keyring")
            .arg(&keyring);
        let output = ends(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{data:?} {keyring:?}");
        assert!(
            said.starts_with("countersign: ") && said.lines().count() <= 2,
            "{said}"
        );
    }
    assert!(!free.join("d").join("log").exists());
    let after = (
        fs::read(site.keyring()).unwrap(),
        fs::read(segment(&site)).unwrap(),
    );
    assert!(before == after);
    let fresh = Site::new("");
    init(&fresh);
    let mode = fs::metadata(fresh.keyring()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// T11: a service that crashes leaves its keys in no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_leaves_no_core_file() {
    let rig = Rig::start(CHEAP).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", rig.service.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{words:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_unclean_end_it_starts_by_itself() {
    let site = lived(false).await;
    let broker = super::support::broker(None);
    let more = ["--identity", "dev"];
    let _service = super::support::service::Service::start(&site, &broker.url(), &more);
}

/// Process 1 of a container ignores a signal without a handler, and a start can take as long as
/// building its views.
#[test]
fn a_start_that_gets_a_signal_to_stop_ends_at_once() {
    let site = Site::new(CHEAP);
    init(&site);
    // Reading it waits for a writer that never comes.
    let pipe = site.keyring().with_file_name("stream-witness");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut service = Service::spawn(&site, NOWHERE, &["--identity", "dev"]);
    let has_begun = |line: &String| line.contains("every caller is trusted");
    eventually("it has begun", || lines(&site).iter().any(has_begun));
    service.terminate();
    assert_eq!(service.ended().code(), Some(0));
}
